//! The append-only file: every write command, in order, on disk as `appendfsync` promises.
#![forbid(unsafe_code)]

mod backend;
mod dir;
pub mod error;
pub mod fs;
mod log;
pub mod manifest;
mod options;
pub mod policy;
mod record;
pub mod replay;
mod rotate;
mod stats;
mod sync;
mod syncer;
mod tail;
mod writer;

#[cfg(all(test, loom))]
mod tests;

pub use backend::{Block, LogBackend};
pub use dir::{BaseFormat, Directory};
pub use error::{Error, ManifestErrorKind};
pub use fs::Fs;
pub use log::{Log, Wake};
pub use options::{Fsync, Options};
pub use record::Op;
pub use replay::{Progress, Report, Sink, SinkError, Truncation};
pub use rotate::NewBase;
pub use stats::{Failure, Health, Stats};

/// Bytes of the log since it was started: the one number that ties memory, files and replies together.
pub type Position = u64;
