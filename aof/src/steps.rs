//! A log without threads: what its writer, its syncer and those that they start would do, a step at a time.
//!
//! For simulations, where the order of everything must come from a seed, and for embedders with a loop of their own. The
//! code is that of the threads; only the waiting is somebody else's. Time stands still until it is [told](Steps::advance_ms).
//!
//! A step may be made while another one is under way, from inside a call to the file system: then it is as if the other
//! thread had been waiting for the disk. One that cannot be made now says so, and has done nothing.

use std::path::PathBuf;
use std::time::Instant;

use crate::Position;
use crate::backend::LogBackend;
use crate::clock::Clock;
use crate::dir::Directory;
use crate::error::Error;
use crate::fs::Fs;
use crate::log::{Log, Wake, open, open_waiting_rewrite};
use crate::options::Options;
use crate::policy::Action;
use crate::rotate::Volume;
use crate::sync::{Arc, Broken, Mutex};
use crate::syncer::{self, Cover};
use crate::tail::{Job, Tail, sync_action};
use crate::writer::{Chore, Shared, Writer};

/// The steps of one log. [`Log::stop`] does not wait for them: [`ask_to_stop`](Self::ask_to_stop) first, and go on until
/// it [is stopped](Self::is_stopped).
pub struct Steps {
    shared: Arc<Shared>,
    writer: Mutex<Writer>,
    syncing: Mutex<Option<Cover>>,
    chores: Mutex<Vec<Chore>>,
}

impl Steps {
    /// As [`Log::start`].
    ///
    /// # Errors
    /// The same.
    pub fn start(directory: Directory, options: &Options, wake: Wake) -> Result<(Log, Steps), Error> {
        let (tail, volume) = open(directory, options, Clock::standing(), Broken::default())?;
        Ok(Self::of(tail, volume, options, wake))
    }

    /// As [`Log::start_waiting_rewrite`].
    ///
    /// # Errors
    /// The same.
    pub fn start_waiting_rewrite(
        fs: Arc<dyn Fs>,
        options: &Options,
        wake: Wake,
    ) -> Result<(Log, Steps), Error> {
        let (tail, volume) = open_waiting_rewrite(fs, options, Clock::standing())?;
        Ok(Self::of(tail, volume, options, wake))
    }

    fn of(tail: Tail, volume: Volume, options: &Options, wake: Wake) -> (Log, Steps) {
        let (log, writer) = Log::assemble(tail, volume, options, wake);
        let shared = writer.shared.clone();
        let steps =
            Steps { shared, writer: Mutex::new(writer), syncing: Mutex::default(), chores: Mutex::default() };
        (log, steps)
    }

    /// One job of the writer; false if it has none, or is at one.
    pub fn write(&self) -> bool {
        let Some(writer) = self.writer.try_lock() else { return false };
        let taken = {
            let mut tail = self.shared.tail.lock();
            if tail.writer_done {
                return false;
            }
            tail.take_job(self.now())
        };
        if let Job::Wait(_) = taken.job {
            return false;
        }
        let chore = writer.perform(taken);
        self.chores.lock().extend(chore);
        true
    }

    /// The syncer notes what an fdatasync is going to cover; false if none is due, or one is running.
    pub fn begin_sync(&self) -> bool {
        let mut tail = self.shared.tail.lock();
        if sync_action(&tail, self.now()) != Action::Sync {
            return false;
        }
        let cover = syncer::begin(&mut tail);
        drop(tail);
        std::mem::replace(&mut *self.syncing.lock(), cover).is_none()
    }

    /// The syncer calls fdatasync; false if none has begun, or it is at it.
    pub fn end_sync(&self) -> bool {
        let Some(cover) = self.syncing.lock().take() else { return false };
        self.shared.changed(syncer::end(&self.shared, &cover));
        true
    }

    /// Does what the writer has left to a thread of its own: whatever takes directory fsyncs, and the removal of files that
    /// a rewrite has superseded. False if there is none, or somebody is at it.
    pub fn do_chore(&self) -> bool {
        let Some(chore) = self.chores.lock().pop() else { return false };
        chore.perform();
        true
    }

    /// Lets time pass.
    pub fn advance_ms(&self, ms: u64) {
        self.shared.clock.advance_ms(ms);
    }

    /// The time, for [`Log::seal`].
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// [`Log::written`], for who has the steps at hand and not the log.
    pub fn written(&self) -> Position {
        self.shared.written()
    }

    /// [`Log::durable`].
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }

    /// The file that is appended to, for who wants to do it harm.
    pub fn live_path(&self) -> Option<PathBuf> {
        self.shared.tail.lock().live.as_ref().map(|live| live.path.to_path_buf())
    }

    /// Asks the writer to end as soon as all that was sealed is durable, or cannot be.
    pub fn ask_to_stop(&self) {
        let mut tail = self.shared.tail.lock();
        tail.ask_to_stop();
        self.shared.changed(tail);
    }

    /// True once the writer has ended.
    pub fn is_stopped(&self) -> bool {
        self.shared.tail.lock().writer_done
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("tail", &self.shared.tail).finish_non_exhaustive()
    }
}
