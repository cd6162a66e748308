//! Why a rewrite failed. None of these harms the log: its files count as they did before.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Every failure of this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A call on the temporary file, or on the place that it was to take, failed; the temporary file is gone again.
    #[error("{path}: {op}: {source}", path = path.display())]
    Io {
        /// The call: `create`, `write`, `fdatasync`; then `rename`, and `fsync` of the directory.
        op: &'static str,
        /// The temporary file; for the last two, which only saves make here, the file whose place it was to take.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log could not open its next file, or not publish the base.
    #[error(transparent)]
    Log(#[from] aof::Error),
    /// The log was stopped before the rewrite had ended.
    #[error("the log was stopped during the rewrite")]
    LogStopped,
    /// The job's thread could not be started.
    #[error("the rewrite's thread could not be started: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The job's thread panicked.
    #[error("the rewrite's thread has died")]
    ThreadDied,
}
