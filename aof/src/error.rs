//! What can go wrong with a log. Where the Redis tests or an operator's habits look for Redis's words, they are there.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::replay::{Damage, SinkError};

/// Every failure of this crate; each names its file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of the file system failed.
    #[error("{path}: {op}: {source}", path = path.display())]
    Io {
        /// The call: `open`, `write`, `fdatasync`, ...
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A manifest that Redis would refuse as well.
    #[error("{path}: line {line}: {kind}", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Counted from 1.
        line: u32,
        /// What is wrong there.
        kind: ManifestErrorKind,
    },
    /// Log files with content stand beside no manifest, or one that lists nothing. Redis would start empty, and number
    /// its files over them.
    #[error("{path}: the AOF manifest is missing or empty, but {file} has data: put the manifest back or move the files away", path = path.display())]
    ManifestMissing {
        /// Where the manifest should be.
        path: PathBuf,
        /// One of the files beside it.
        file: String,
    },
    /// A file that the manifest lists cannot be looked at.
    #[error("Unable to obtain the AOF file {name} length. stat: {source} ({path})", path = path.display())]
    Unavailable {
        /// Its name.
        name: String,
        /// Its path.
        path: PathBuf,
        /// Mostly `NotFound`.
        source: io::Error,
    },
    /// Bytes that are no log, at `offset_bytes`. Nothing after them was executed, and nothing was cut.
    #[error(
        "Bad file format reading the append only file {path} at byte {offset_bytes} ({found}): make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>",
        path = path.display()
    )]
    BadFormat {
        /// The file.
        path: PathBuf,
        /// Where the wrong byte stands.
        offset_bytes: u64,
        /// What is wrong with it.
        found: String,
    },
    /// The file ends inside a command or transaction; its first `valid_len_bytes` are sound. Nothing was cut.
    #[error(
        "Unexpected end of file reading the append only file {path} after byte {valid_len_bytes} ({reason}). You can: 1) make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server",
        path = path.display()
    )]
    UnexpectedEnd {
        /// The file.
        path: PathBuf,
        /// The end of its last whole command or transaction.
        valid_len_bytes: u64,
        /// Why the bytes after that do not count, or may not be cut.
        reason: &'static str,
    },
    /// A file took over from another than the one that is listed before it: the manifest is not the one that listed it.
    /// Nothing was executed.
    #[error(
        "{path}: it took over from incr number {expected}, but {found} stands before it in the manifest: put back the manifest and the files that belong together, from a backup if need be; no repair can tell which these are",
        path = path.display(),
        found = found.as_deref().unwrap_or("nothing")
    )]
    WrongPredecessor {
        /// The file.
        path: PathBuf,
        /// The number that it names.
        expected: u64,
        /// The file with bytes that is listed before it.
        found: Option<String>,
    },
    /// Bytes that were safe once are damaged, or missing, or not what the next file recorded of them. Nothing of a damaged
    /// block was executed, nor anything behind it, and nothing was cut.
    #[error(
        "Bad file format reading the append only file {damage}. Nothing was changed. To keep everything but that, make a backup and use 'everlog-check-aof repair {manifest}', or start once with 'aof-load-corrupt quarantine'",
        manifest = manifest.display()
    )]
    Corrupt {
        /// What and where.
        damage: Box<Damage>,
        /// The manifest that lists the file.
        manifest: PathBuf,
    },
    /// The manifest lists files that do not belong together, or not all that do. Nothing was executed.
    #[error(
        "{path}: {reason}: the manifest {manifest} is not the one that was written with it: put back the manifest and the files that belong together, from a backup if need be; no repair can tell which these are",
        path = path.display(),
        manifest = manifest.display()
    )]
    Contradiction {
        /// The manifest.
        manifest: PathBuf,
        /// The file that contradicts it.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A file that no manifest lists was to be repaired: there is nothing that could list the new files.
    #[error("{path}: only a log with a manifest can be repaired", path = path.display())]
    NotRepairable {
        /// The file.
        path: PathBuf,
    },
    /// A log was to be started behind files that nobody has read: where they end is not known.
    #[error("{path}: replay it before a log is started", path = path.display())]
    NotReplayed {
        /// The directory.
        path: PathBuf,
    },
    /// The sink refused a command or a base.
    #[error("{path}: command at byte {offset_bytes}: {source}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Where the command begins.
        offset_bytes: u64,
        /// The sink's reason.
        source: SinkError,
    },
    /// The sink refused an RDB base or preamble.
    #[error("{path}: {source}", path = path.display())]
    BaseRefused {
        /// The file.
        path: PathBuf,
        /// The sink's reason, with the place in the file.
        source: SinkError,
    },
    /// A write or fsync of this file failed: dirty pages may be gone, so it is never touched again, and its tail could
    /// not be brought into a new file either.
    #[error("{path}: retired after a failed {op}: {message}", path = path.display())]
    FileRetired {
        /// The file.
        path: PathBuf,
        /// The call that failed.
        op: &'static str,
        /// What the system said.
        message: String,
        /// Up to here all is durable, in other files or before the failure.
        durable: u64,
    },
    /// A base that covers a position inside a file: publishing it would repeat or lose commands.
    #[error("a base that covers position {covers} would split {file}")]
    BaseSplitsFile {
        /// The claimed position.
        covers: u64,
        /// The file that holds positions on both sides.
        file: String,
    },
    /// Another program of ours has locked the directory: a server that uses the log, or a tool that changes it.
    #[error("{path}: another program is using this log: it has locked the directory", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A thread of the log is gone.
    #[error("the log's {0} thread has died")]
    ThreadDied(&'static str),
}

/// What a manifest can get wrong, in the words that Redis's tests look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManifestErrorKind {
    /// No line at all.
    #[error("Found an empty AOF manifest")]
    Empty,
    /// A line of more than 1024 bytes, or a last one without its line end.
    #[error("The AOF manifest file contains too long line")]
    LineTooLong,
    /// A blank line, an odd number of words, a missing or wrong value.
    #[error("Invalid AOF manifest file format")]
    Format,
    /// A file name with a directory in it.
    #[error("Invalid AOF manifest file format: file can't be a path, just a filename")]
    NotABaseName,
    /// A type other than b, h and i.
    #[error("Unknown AOF file type")]
    UnknownType,
    /// Two bases.
    #[error("Found duplicate base file information")]
    DuplicateBase,
    /// An incr whose number does not exceed the one before.
    #[error("Found a non-monotonic sequence number")]
    NonMonotonic,
}

/// Names the call and the file that an error belongs to.
pub(crate) fn io_error(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { op, path: path.into(), source }
}
