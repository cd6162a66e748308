//! What INFO and the error replies of the server are made of: plain values, taken at a moment.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Position;

/// Whether the log can take what it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Health {
    /// It can.
    #[default]
    Healthy,
    /// A write or fsync failed and no new file could take over yet. The watermarks stand still; it tries again every
    /// second, by itself.
    Failing(Failure),
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
    /// What half of the fdatasyncs since the last reset did not take longer than.
    pub fsync_p50: Duration,
    /// The same for 99 of 100.
    pub fsync_p99: Duration,
    /// Up to here, a power cut takes nothing.
    pub durable: Position,
    /// Bytes that are not durable yet.
    pub unsynced_bytes: u64,
    /// The age of the oldest of them that is still in memory.
    pub unsynced: Duration,
    /// Bytes in memory until they are durable.
    pub retained_bytes: u64,
    /// Direct writes by the executor that took long enough to send the next ones through the writer.
    pub slow_direct_writes: u64,
    /// Files retired after a failed write or fsync.
    pub retired_files: u64,
    /// Bytes that an fsync failed for and memory no longer had (only under `appendfsync no`): up to this position, only
    /// a rewrite makes the log durable again.
    pub lost_below: Option<Position>,
    /// True until the first base after `CONFIG SET appendonly yes`.
    pub waiting_rewrite: bool,
}
