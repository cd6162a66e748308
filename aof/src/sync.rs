//! The one place that names threads, locks and atomics: parking_lot and std, or loom's models of them.
//!
//! Both sides have parking_lot's signatures, so that the code that loom checks is the code that ships.
//! `std::sync::Arc` stays itself under loom: reference counts are not what the models are about.

pub(crate) use std::sync::Arc;

// Reading ahead, which no model runs: its two ends share nothing but these.
pub(crate) use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    thread::{Builder, scope},
};

#[cfg(not(loom))]
pub(crate) use {
    self::ship::{spawn, spawn_or_do},
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::sync::atomic::{AtomicBool, AtomicU64, Ordering},
    std::thread::JoinHandle,
};

#[cfg(loom)]
pub(crate) use {
    self::model::{Condvar, Mutex, MutexGuard, spawn, spawn_or_do},
    loom::sync::atomic::{AtomicBool, AtomicU64, Ordering},
    loom::thread::JoinHandle,
};

/// What a test may break on purpose, so that a model proves that it would notice. Always whole in a shipped build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The syncer notes what it covers after fdatasync instead of before.
    CoverAfterSync,
    /// A failed fdatasync moves the durable watermark.
    AdvanceOnFailure,
    /// Stopping does not wait for the last fdatasync.
    StopWithoutSync,
    /// The executor writes without asking who owns the tail.
    IgnoreTailOwner,
    /// The switch to the next file does not wait for the fdatasync of the last.
    SwitchWithoutSync,
    /// The syncer does not tell the writer that it is done.
    ForgetToNotify,
    /// An fdatasync begins while another is running.
    SyncBeside,
    /// What an fdatasync was to cover is acknowledged, and nobody calls it.
    SkipSync,
    /// Nobody notes that the line is to be synced which calls all else durable.
    ForgetMark,
    /// A base is published, and its switch is done with it, while others write in front of that.
    PublishBeforeSwitch,
    /// The executor looks before its write, and not after it, whether the syncer is at rest.
    LookBeforeOnly,
}

/// The sabotage in force: none, unless a model asks for one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Broken(#[cfg(loom)] pub(crate) Option<Sabotage>);

impl Broken {
    #[cfg(loom)]
    pub(crate) fn is(self, sabotage: Sabotage) -> bool {
        self.0 == Some(sabotage)
    }

    #[cfg(not(loom))]
    pub(crate) const fn is(self, _: Sabotage) -> bool {
        false
    }
}

#[cfg(not(loom))]
mod ship {
    use super::{Arc, Builder, JoinHandle, Mutex};

    /// Starts a thread. [`std::thread::spawn`] panics where a process may have no more of them.
    pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        Builder::new().name(name.to_owned()).spawn(work)
    }

    /// Lets a thread of its own do it, which nobody joins; where there can be none, it is done before this returns.
    pub(crate) fn spawn_or_do(name: &str, work: impl FnOnce() + Send + 'static) {
        spawn_by_or_do(Builder::new().name(name.to_owned()), work);
    }

    fn spawn_by_or_do(builder: Builder, work: impl FnOnce() + Send + 'static) {
        // A spawn that fails drops what it was given.
        let kept = Arc::new(Mutex::new(Some(work)));
        let given = kept.clone();
        if builder.spawn(move || take_and_do(&given)).is_err() {
            take_and_do(&kept);
        }
    }

    fn take_and_do(kept: &Mutex<Option<impl FnOnce()>>) {
        let work = kept.lock().take();
        if let Some(work) = work {
            work();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::channel;
        use super::*;

        #[test]
        fn work_for_which_there_is_no_thread_is_done_at_once() {
            let (sender, done) = channel();
            let here = std::thread::current().id();
            let work = || {
                let sender = sender.clone();
                move || sender.send(std::thread::current().id()).expect("somebody listens")
            };
            // No machine has room for such a stack.
            spawn_by_or_do(Builder::new().stack_size(1 << 60), work());
            assert_eq!(done.try_recv(), Ok(here));
            spawn_or_do("work", work());
            let elsewhere = done.recv().expect("it is done");
            assert_ne!(elsewhere, here);
        }
    }
}

#[cfg(loom)]
mod model {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use super::JoinHandle;

    pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        loom::thread::Builder::new().name(name.to_owned()).spawn(work)
    }

    /// A model has five threads at most, and those of `rewrite` have four that they are about: only publishing, which writes
    /// race with, gets one, and in this crate's models.
    pub(crate) fn spawn_or_do(name: &str, work: impl FnOnce() + Send + 'static) {
        if cfg!(test) && name == "publish" {
            drop(loom::thread::spawn(work));
        } else {
            work();
        }
    }

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// `None` only while a condition variable has it.
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("loom's locks are not poisoned")))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("held outside of a wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held outside of a wait")
        }
    }

    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().expect("held outside of a wait");
            guard.0 = Some(self.0.wait(held).expect("loom's locks are not poisoned"));
        }

        /// A model has no clock: it waits to be told.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            self.wait(guard);
        }
    }
}
