//! The one place that names threads, locks and atomics: parking_lot and std, or loom's models of them.
//!
//! Both sides have parking_lot's signatures, so that the code that loom checks is the code that ships.
//! `std::sync::Arc` and its `Weak` stay themselves under loom: reference counts are not what the models are about.

pub(crate) use std::sync::{Arc, Weak};

#[cfg(not(loom))]
pub(crate) use {
    parking_lot::{Condvar, Mutex},
    std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    std::thread::Builder,
};

#[cfg(loom)]
pub(crate) use {
    self::model::{Condvar, Mutex},
    loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    loom::thread::Builder,
};

/// What a test may break on purpose, so that a model proves that it would notice. Always whole in a shipped build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A job that ends removes its file without asking whether an abort has done so already.
    RemoveUnasked,
    /// A job creates its file without asking whether it was aborted.
    CreateUnasked,
    /// The executor is woken before there is an outcome to be found.
    WakeTooEarly,
    /// The base claims everything that was logged until it was published.
    CoverTooMuch,
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

#[cfg(loom)]
mod model {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

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

        /// A model has no clock: it waits to be told.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            let held = guard.0.take().expect("held outside of a wait");
            guard.0 = Some(self.0.wait(held).expect("loom's locks are not poisoned"));
        }
    }
}
