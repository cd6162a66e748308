//! The whole dance as one object that the server drives once a turn.
//!
//! ```text
//! with a log   Rotating --switch, snapshot, job--> Walking --publish_base--> Publishing --> done
//! offline      Waiting ---------snapshot, job----> Walking (the job publishes) -----------> done
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aof::fs::discard;
use aof::{Epoch, Fs, Log, Options, Position};
#[cfg(not(loom))]
use keyspace::Noting;

use crate::Error;
use crate::control::{Control, Progress, Written};
use crate::job::{Destination, Hold, Job, Source, Wake};
use crate::sync::{Arc, Broken, Sabotage};

/// The models have no keys whose use could be noted.
#[cfg(loom)]
type Noting = ();

/// What the configuration says about rewrites.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the base is written: [`temp_path`](crate::temp_path), on the file system of the log.
    pub temp_path: PathBuf,
    /// `aof-timestamp-enabled`.
    pub timestamps: bool,
    /// `aof-checksum`: the base is framed as blocks, and says where it ends.
    pub checksum: bool,
    /// `aof-rewrite-incremental-fsync`: an fdatasync every 4 MiB instead of one at the end.
    pub incremental_fsync: bool,
    /// `rdb-key-save-delay`: microseconds of rest after each key, for tests; 0: none.
    pub key_delay_us: u32,
    /// `aof-rewrite-max-mb-per-sec`, in bytes; 0: no limit.
    pub max_bytes_per_s: u64,
    /// The job gives way to the rest of the server, and to its neighbours: not where somebody waits for it.
    pub background: bool,
    /// How the base is written.
    pub format: Format,
}

impl Settings {
    /// The directives' defaults: checksums, an fdatasync every 4 MiB, no timestamps, and neither rest nor limit; in the
    /// background.
    pub fn new(temp_path: PathBuf, format: Format) -> Self {
        Settings {
            temp_path,
            timestamps: false,
            checksum: true,
            incremental_fsync: true,
            key_delay_us: 0,
            max_bytes_per_s: 0,
            background: true,
            format,
        }
    }
}

/// How a base is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// As commands, which every Redis reads.
    Commands,
    /// As an RDB file, which Redis 7.0 and later servers read: `aof-use-rdb-preamble yes`, and every save.
    Rdb(RdbFormat),
}

/// What an RDB file is to say of itself, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdbFormat {
    /// `redis-ver`: the version whose behaviour the data has.
    pub redis_version: String,
    /// `used-mem`: bytes in use when the file was begun.
    pub used_memory_bytes: u64,
    /// `aof-base`: whether it is the base of a log.
    pub aof_base: bool,
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// Whether each key's use is written, as the eviction policy notes it.
    pub usage: Option<Noting>,
}

/// How a rewrite went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Keys in the new base.
    pub keys: u64,
    /// Its length.
    pub base_bytes: u64,
    /// It holds everything up to here; 0 offline.
    pub covers: Position,
    /// From the start of the job to the durable file.
    pub walk: Duration,
    /// From the request to the published base.
    pub total: Duration,
}

/// A rewrite under way. Dropping one aborts it.
#[derive(Debug)]
pub struct Rewrite {
    stage: Stage,
    control: Arc<Control>,
    settings: Settings,
    wake: Wakeup,
    begun: Instant,
    hold: Hold,
}

#[derive(Debug)]
enum Stage {
    /// The log creates the next incr.
    Rotating,
    /// No log is concerned; the next step takes the snapshot.
    Waiting(Box<Destination>),
    /// The job writes the base.
    Walking {
        covers: Position,
        publishes: bool,
    },
    /// The log publishes it.
    Publishing {
        covers: Position,
        written: Written,
    },
    Done,
}

struct Wakeup(Wake);

impl std::fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

impl Rewrite {
    /// Begins a rewrite of a running log, or the first base of one that waits for it: asks the log for its next file.
    /// `wake` is called from another thread when [`step`](Self::step) has something to do (and so is the log's own).
    ///
    /// # Errors
    /// [`Error::Log`].
    pub fn begin(log: &mut Log, settings: Settings, wake: Wake) -> Result<Rewrite, Error> {
        Self::begin_on(log, settings, wake, Broken::default())
    }

    pub(crate) fn begin_on(
        log: &mut Log,
        settings: Settings,
        wake: Wake,
        broken: Broken,
    ) -> Result<Rewrite, Error> {
        log.begin_rotation()?;
        Ok(Self::new(log.fs(), Stage::Rotating, settings, wake, broken))
    }

    /// Begins a rewrite although no log is running, as BGREWRITEAOF with `appendonly no` does: the base supersedes
    /// whatever the directory holds.
    pub fn begin_offline(fs: Arc<dyn Fs>, options: &Options, settings: Settings, wake: Wake) -> Rewrite {
        let destination = Destination::Directory(options.clone());
        Self::new(fs, Stage::Waiting(Box::new(destination)), settings, wake, Broken::default())
    }

    /// Begins a save: the same walk into a file of its own, which takes the place of `target` once it is whole and
    /// durable. It has nothing to do with a log; [`step`](Self::step) it with `None`.
    pub fn begin_save(fs: Arc<dyn Fs>, target: PathBuf, settings: Settings, wake: Wake) -> Rewrite {
        let destination = Destination::File(target);
        Self::new(fs, Stage::Waiting(Box::new(destination)), settings, wake, Broken::default())
    }

    fn new(fs: Arc<dyn Fs>, stage: Stage, settings: Settings, wake: Wake, broken: Broken) -> Rewrite {
        let control = Arc::new(Control::new(fs, settings.temp_path.clone(), settings.key_delay_us, broken));
        if settings.max_bytes_per_s > 0 {
            control.set_max_bytes_per_s(settings.max_bytes_per_s);
        }
        let (wake, begun) = (Wakeup(wake), Instant::now());
        Rewrite { stage, control, settings, wake, begun, hold: Hold::default() }
    }

    /// Goes on as far as it can without waiting. Call it once a turn, between two execution units, with the log that it
    /// began on; `take_snapshot` is called at most once in a rewrite, for the data as of the end of `log`. Returns the
    /// outcome once; after an error the log is as good as before, and may have one more incr.
    ///
    /// # Errors
    /// Inside: any of [`Error`].
    pub fn step<S: Source>(
        &mut self,
        log: Option<&mut Log>,
        unix_s: i64,
        take_snapshot: impl FnOnce() -> S,
    ) -> Option<Result<Summary, Error>> {
        let outcome = match (&self.stage, log) {
            (Stage::Rotating, Some(log)) => self.launch_when_rotated(log, unix_s, take_snapshot),
            (Stage::Waiting(_), _) => self.launch_offline(unix_s, take_snapshot()),
            (&Stage::Walking { covers, publishes: true }, _) => self.end_offline(covers),
            (&Stage::Walking { covers, .. }, Some(log)) => self.publish_when_written(covers, log),
            (Stage::Publishing { .. }, Some(log)) => self.end_when_published(log),
            (Stage::Done, _) => None,
            (_, None) => Some(Err(Error::LogStopped)),
        };
        if let Some(Err(_)) = &outcome {
            self.give_up();
        }
        outcome
    }

    /// How far the job has come.
    pub fn progress(&self) -> Progress {
        self.control.progress()
    }

    /// What tells how long the job has something of its snapshot: ask before an [abort](Self::abort), which does not wait
    /// for that.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// `rdb-key-save-delay`, in microseconds; it also ends a rest that has begun.
    pub fn set_key_delay_us(&self, key_delay_us: u32) {
        self.control.set_key_delay_us(key_delay_us);
    }

    /// `aof-rewrite-max-mb-per-sec`, in bytes; it also ends a rest that has begun.
    pub fn set_max_bytes_per_s(&self, max_bytes_per_s: u64) {
        self.control.set_max_bytes_per_s(max_bytes_per_s);
    }

    /// Ends the job and removes its file. What the log did for it stays: one more incr, which loads. A base that the
    /// log, or an offline job, is publishing at this moment is published; an offline one is waited for.
    pub fn abort(mut self, log: Option<&mut Log>) {
        if let (Stage::Publishing { .. }, Some(log)) = (&self.stage, log)
            && !log.withdraw_base()
        {
            // Too late. Whoever rotates next finds it published: the log does one thing after the other to its
            // directory.
            self.stage = Stage::Done;
        }
        self.give_up();
    }

    #[cfg(all(test, loom))]
    pub(crate) fn is_rotating(&self) -> bool {
        matches!(self.stage, Stage::Rotating)
    }

    /// The next file is there: this is position S. Everything up to it is in the snapshot, everything later in the next
    /// file; nothing may be executed between the two lines.
    fn launch_when_rotated<S: Source>(
        &mut self,
        log: &mut Log,
        unix_s: i64,
        take_snapshot: impl FnOnce() -> S,
    ) -> Option<Result<Summary, Error>> {
        if let Err(error) = log.rotation_ready()? {
            return Some(Err(error.into()));
        }
        let covers = log.switch();
        let snapshot = take_snapshot();
        // What an aborted rewrite had published too late to be stopped.
        let _ = log.base_published();
        self.launch(Stage::Walking { covers, publishes: false }, log.epoch(), None, unix_s, snapshot)
    }

    fn launch_offline(&mut self, unix_s: i64, snapshot: impl Source) -> Option<Result<Summary, Error>> {
        let stage = Stage::Walking { covers: 0, publishes: true };
        let Stage::Waiting(destination) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return None;
        };
        self.launch(stage, Epoch::random(), Some(*destination), unix_s, snapshot)
    }

    fn launch(
        &mut self,
        stage: Stage,
        epoch: Epoch,
        offline: Option<Destination>,
        unix_s: i64,
        source: impl Source,
    ) -> Option<Result<Summary, Error>> {
        let (control, settings) = (Arc::clone(&self.control), self.settings.clone());
        let wake = Arc::clone(&self.wake.0);
        let covers = match stage {
            Stage::Walking { covers, .. } => (epoch, covers),
            _ => (epoch, 0),
        };
        self.stage = stage;
        let job = Job { control, settings, source, unix_s, covers, offline, wake };
        match job.start() {
            Ok(hold) => {
                self.hold = hold;
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn end_offline(&mut self, covers: Position) -> Option<Result<Summary, Error>> {
        let written = self.control.take_outcome()?;
        self.stage = Stage::Done;
        Some(written.map(|written| self.summary(covers, &written)))
    }

    fn publish_when_written(&mut self, covers: Position, log: &mut Log) -> Option<Result<Summary, Error>> {
        let written = match self.control.take_outcome()? {
            Ok(written) => written,
            Err(error) => return Some(Err(error)),
        };
        let claimed = if self.control.broken.is(Sabotage::CoverTooMuch) { log.end() } else { covers };
        log.publish_base(self.settings.base(claimed, written.len_bytes));
        self.stage = Stage::Publishing { covers, written };
        None
    }

    fn end_when_published(&mut self, log: &mut Log) -> Option<Result<Summary, Error>> {
        if let Err(error) = log.base_published()? {
            return Some(Err(error.into()));
        }
        let Stage::Publishing { covers, written } = std::mem::replace(&mut self.stage, Stage::Done) else {
            return None;
        };
        Some(Ok(self.summary(covers, &written)))
    }

    fn summary(&self, covers: Position, written: &Written) -> Summary {
        let Written { len_bytes: base_bytes, keys, walk, .. } = *written;
        Summary { keys, base_bytes, covers, walk, total: self.begun.elapsed() }
    }

    /// Leaves nothing behind.
    fn give_up(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Walking { publishes, .. } => self.control.abort(publishes),
            Stage::Publishing { written, .. } => {
                // Its publishing failed, or was withdrawn. If the rename was done the name is free already.
                self.control.remove();
                discard(written.file);
            }
            Stage::Rotating | Stage::Waiting(_) | Stage::Done => {}
        }
    }
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        // A base whose publishing nobody can stop any more must not lose its name under the log's hands.
        if !matches!(self.stage, Stage::Publishing { .. }) {
            self.give_up();
        }
    }
}
