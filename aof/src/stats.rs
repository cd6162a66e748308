//! What INFO and the error replies of the server are made of: plain values, taken at a moment.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Position;
use crate::space::is_full;

/// Whether the log can take what it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Health {
    /// It can.
    #[default]
    Healthy,
    /// A write or fsync failed and no new file could take over yet. The watermarks stand still; it tries again four
    /// times a second, by itself.
    Failing(Failure),
    /// It can for now: the disk has no more space than [`Stats::reserved_bytes`]. It asks again, several times a second.
    Full(Failure),
}

/// The failure that a log is trying to leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The call: `write`, `fdatasync`, `create`, ...
    pub op: &'static str,
    /// Of which file.
    pub path: PathBuf,
    /// The number of the error, if the system gave one.
    pub errno: Option<i32>,
    /// Its text.
    pub message: String,
    /// When it began.
    pub since: Instant,
}

impl Failure {
    pub(crate) fn new(op: &'static str, path: &Path, error: &io::Error, since: Instant) -> Self {
        let errno = error.raw_os_error();
        // Without the " (os error 28)" that std adds: there is a field for it.
        let text = error.to_string();
        let message = text.split(" (os error ").next().unwrap_or_default().to_owned();
        Failure { op, path: path.to_path_buf(), errno, message, since }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.errno.map(io::Error::from_raw_os_error).is_some_and(|error| is_full(&error))
    }
}

/// Counters and gauges of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// `aof_current_size`: bytes of all files that would be replayed.
    pub current_size: u64,
    /// `aof_base_size`: bytes of the base alone.
    pub base_size: u64,
    /// `aof_buffer_length`: bytes in memory that are not written yet.
    pub buffer_length: u64,
    /// `aof_pending_bio_fsync`: 1 while an fdatasync runs.
    pub pending_bio_fsync: u32,
    /// `aof_delayed_fsync`: fdatasyncs that took more than two seconds, since the last reset.
    pub delayed_fsync: u64,
    /// How long the fdatasync that runs now has been running; `None` if none does.
    pub fsync_running: Option<Duration>,
    /// Up to here, a power cut takes nothing.
    pub durable: Position,
    /// Bytes that are not durable yet.
    pub unsynced_bytes: u64,
    /// The age of the oldest of them.
    pub unsynced: Duration,
    /// What blocks take of memory: those that are not durable yet, and the buffer of the one that is open.
    pub retained_bytes: u64,
    /// Direct writes by the executor that took long enough to send the next ones through the writer.
    pub slow_direct_writes: u64,
    /// Files retired after a failed write or fsync.
    pub retired_files: u64,
    /// Bytes that an fsync failed for and memory no longer had (only under `appendfsync no`): up to this position, only
    /// a rewrite makes the log durable again.
    pub lost_below: Option<Position>,
    /// Bytes that the live file can still take for certain: space on the disk that is its own already.
    pub reserved_bytes: u64,
    /// Bytes free on the file system when the writer last looked.
    pub free_bytes: Option<u64>,
    /// The last failure, over or not.
    pub last_failure: Option<Failure>,
    /// True until the first base after `CONFIG SET appendonly yes`.
    pub waiting_rewrite: bool,
}
