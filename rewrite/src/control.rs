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
use aof::fs::{File, discard, retry};

use crate::Error;
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Broken, Condvar, Mutex, Ordering, Sabotage};

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

impl Progress {
    /// How long the rest takes, if it goes on as in the time that has elapsed; nobody knows before the first key.
    pub fn eta(&self, elapsed: Duration) -> Option<Duration> {
        let left = self.keys_total.saturating_sub(self.keys);
        let nanos = elapsed.as_nanos().saturating_mul(left.into()).checked_div(self.keys.into())?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// How long the base becomes, if it goes on as it began; nobody knows before the first key.
    pub fn expected_bytes(&self) -> Option<u64> {
        let bytes = u128::from(self.bytes) * u128::from(self.keys_total);
        Some(u64::try_from(bytes.checked_div(self.keys.into())?).unwrap_or(u64::MAX))
    }
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
    max_bytes_per_s: AtomicU64,
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
            max_bytes_per_s: AtomicU64::new(0),
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
            let delay_us = || self.key_delay_us.load(Ordering::Acquire);
            self.rest_since(Instant::now(), || Duration::from_micros(delay_us().into()));
        }
    }

    pub(crate) fn set_max_bytes_per_s(&self, max_bytes_per_s: u64) {
        self.max_bytes_per_s.store(max_bytes_per_s, Ordering::Release);
        self.stir();
    }

    /// After bytes that were begun at `start`: rests until they have taken as long as they must, or until that changes.
    pub(crate) fn keep_pace(&self, start: Instant, bytes: u64) {
        let max_bytes_per_s = || self.max_bytes_per_s.load(Ordering::Acquire);
        if max_bytes_per_s() > 0 {
            self.rest_since(start, || least_time(bytes, max_bytes_per_s()));
        }
    }

    fn rest_since(&self, start: Instant, delay: impl Fn() -> Duration) {
        let mut pace = self.pace.lock();
        while !self.is_aborted() {
            let left = delay().saturating_sub(start.elapsed());
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

/// What so many bytes take at least; 0 a second means that there is no limit.
fn least_time(bytes: u64, max_bytes_per_s: u64) -> Duration {
    let nanos = (u128::from(bytes) * 1_000_000_000).checked_div(max_bytes_per_s.into()).unwrap_or(0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_as_long_as_the_limit_says() {
        for (bytes, max_bytes_per_s, expected_ms) in
            [(0, 1, 0), (1, 1, 1_000), (1_048_576, 0, 0), (262_144, 1_048_576, 250), (3, 1_500, 2)]
        {
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(least_time(bytes, max_bytes_per_s), expected, "{bytes} at {max_bytes_per_s}/s");
        }
        assert_eq!(least_time(u64::MAX, 1), Duration::from_nanos(u64::MAX), "no overflow");
    }

    #[test]
    fn a_base_is_expected_to_become_as_long_as_it_begins() {
        for (keys, keys_total, bytes, expected) in [
            (0, 10, 500, None),
            (2, 10, 500, Some(2500)),
            (10, 10, 500, Some(500)),
            (1, u64::MAX, u64::MAX, Some(u64::MAX)),
        ] {
            let progress = Progress { keys, keys_total, bytes };
            assert_eq!(progress.expected_bytes(), expected, "{progress:?}");
        }
    }

    #[test]
    fn the_rest_is_expected_to_go_on_like_the_start() {
        let progress = |keys, keys_total| Progress { keys, keys_total, bytes: 0 };
        let elapsed = Duration::from_secs(10);
        assert_eq!(progress(0, 100).eta(elapsed), None);
        assert_eq!(progress(25, 100).eta(elapsed), Some(Duration::from_secs(30)));
        assert_eq!(progress(100, 100).eta(elapsed), Some(Duration::ZERO));
        assert_eq!(progress(1, u64::MAX).eta(Duration::MAX).map(|eta| eta.is_zero()), Some(false));
    }
}
