//! What the executor and the job share: progress, pace, and the one question that both ask, whose file is it?
//!
//! ```text
//!                  job creates it            job ends it: Ok              executor takes it
//!     Unnamed ------------------> Named --------------------> Finished ----------------------> Taken
//!        |                          |  '-- Err, removed ----------^ |
//!        '--------- abort ----------+------------ abort ------------'
//!                                   v
//!                                Aborted                 its file is gone, and the job never names one again
//! ```
//! The name of the temporary base is the same for every rewrite of a process. So whoever moves this state may create or
//! remove the file, under the lock, and nobody else: an aborted job that is late would take its successor's file away.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aof::Fs;
use aof::fs::{File, retry};

use crate::Error;
use crate::sync::{
    Arc, AtomicBool, AtomicU32, AtomicU64, Broken, Builder, Condvar, Mutex, Ordering, Sabotage,
};

/// How far a rewrite has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Keys written.
    pub keys: u64,
    /// Keys in the snapshot; 0 until it is taken.
    pub keys_total: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// A whole base, durable, under its temporary name or (offline) published already.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) len_bytes: u64,
    pub(crate) keys: u64,
    pub(crate) walk: Duration,
    /// Kept open: see [`discard`].
    pub(crate) file: Arc<dyn File>,
}

#[derive(Debug)]
enum State {
    Unnamed,
    Named,
    Finished(Result<Written, Error>),
    Taken,
    Aborted,
}

/// Shared by the executor and one job.
#[derive(Debug)]
pub(crate) struct Control {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    state: Mutex<State>,
    /// The state is `Finished`: what the executor looks at every turn, without a lock.
    finished: AtomicBool,
    aborted: AtomicBool,
    /// Pairs with `stirred`, and guards nothing: both values are atomics.
    pace: Mutex<()>,
    stirred: Condvar,
    key_delay_us: AtomicU32,
    keys: AtomicU64,
    keys_total: AtomicU64,
    bytes: AtomicU64,
    pub(crate) broken: Broken,
}

impl Control {
    pub(crate) fn new(fs: Arc<dyn Fs>, path: PathBuf, key_delay_us: u32, broken: Broken) -> Self {
        Control {
            fs,
            path,
            state: Mutex::new(State::Unnamed),
            finished: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            pace: Mutex::new(()),
            stirred: Condvar::new(),
            key_delay_us: AtomicU32::new(key_delay_us),
            keys: AtomicU64::new(0),
            keys_total: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            broken,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// The job's: creates the file, unless it was aborted.
    pub(crate) fn create(&self) -> std::io::Result<Option<Arc<dyn File>>> {
        let mut state = self.state.lock();
        if matches!(*state, State::Aborted) && !self.broken.is(Sabotage::CreateUnasked) {
            return Ok(None);
        }
        // Under the lock: an abort waits for one open(2).
        let file = retry(|| self.fs.create(&self.path))?;
        *state = State::Named;
        Ok(Some(file))
    }

    /// The job's last word, unless it was aborted. `seal` turns success into what the executor finds, under the lock,
    /// so that no abort can come between. After a failure the file is removed.
    pub(crate) fn finish(
        &self,
        outcome: Result<Written, Error>,
        seal: impl FnOnce(&Written) -> Result<(), Error>,
        wake: &(dyn Fn() + Send + Sync),
    ) {
        if self.broken.is(Sabotage::WakeTooEarly) {
            wake();
        }
        let mut state = self.state.lock();
        if matches!(*state, State::Unnamed | State::Named) {
            let outcome = outcome.and_then(|written| seal(&written).map(|()| written));
            if outcome.is_err() {
                self.remove();
            }
            *state = State::Finished(outcome);
            self.finished.store(true, Ordering::Release);
        } else if self.broken.is(Sabotage::RemoveUnasked) {
            self.remove();
        }
        drop(state);
        if !self.broken.is(Sabotage::WakeTooEarly) {
            wake();
        }
    }

    /// The executor's: the outcome, once.
    pub(crate) fn take_outcome(&self) -> Option<Result<Written, Error>> {
        if !self.finished.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Finished(outcome) => Some(outcome),
            other => {
                *state = other;
                None
            }
        }
    }

    /// The executor's: after this the file is gone, whatever the job is doing. A base that was published is not.
    pub(crate) fn abort(&self, published_by_job: bool) {
        self.aborted.store(true, Ordering::Release);
        self.stir();
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Aborted) {
            State::Named => self.remove(),
            State::Finished(Ok(written)) if !published_by_job => {
                self.remove();
                discard(written.file);
            }
            State::Taken => *state = State::Taken,
            State::Unnamed | State::Finished(_) | State::Aborted => {}
        }
    }

    #[inline]
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    pub(crate) fn set_key_delay_us(&self, key_delay_us: u32) {
        self.key_delay_us.store(key_delay_us, Ordering::Release);
        self.stir();
    }

    /// After each key: rests as long as `rdb-key-save-delay` says, or until that changes.
    #[inline]
    pub(crate) fn rest(&self) {
        if self.key_delay_us.load(Ordering::Relaxed) > 0 {
            self.rest_since(Instant::now());
        }
    }

    fn rest_since(&self, start: Instant) {
        let mut pace = self.pace.lock();
        while !self.is_aborted() {
            let delay = Duration::from_micros(self.key_delay_us.load(Ordering::Acquire).into());
            let left = delay.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            self.stirred.wait_for(&mut pace, left);
        }
    }

    fn stir(&self) {
        // A rest that has looked at the values already must be waiting before it is told.
        drop(self.pace.lock());
        self.stirred.notify_one();
    }

    pub(crate) fn expect_keys(&self, keys: u64) {
        self.keys_total.store(keys, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn count_key(&self) {
        self.keys.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            keys: self.keys.load(Ordering::Relaxed),
            keys_total: self.keys_total.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Removes the temporary base. One that cannot be removed is overwritten by the next rewrite.
    pub(crate) fn remove(&self) {
        let _ = self.fs.remove(&self.path);
    }
}

/// Closes a file whose name is gone, on a thread: that is when the kernel frees its blocks, and gigabytes take long.
pub(crate) fn discard(file: Arc<dyn File>) {
    let spawned = Builder::new().name("discard".to_owned()).spawn(move || drop(file));
    // Without a thread it was dropped right here.
    drop(spawned);
}
