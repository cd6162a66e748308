//! The append-only file: every write command, in order, on disk as `appendfsync` promises.
//!
//! This crate never interprets a command: the executor appends units of effects, replay hands `(db, argv)` to a [`Sink`].
//! Three words say how safe a byte is: *buffered* (in memory), *written* (write(2) returned: a kill -9 cannot take it),
//! *durable* (fdatasync returned: a power cut cannot take it).
//!
//! | policy | [`Log::reply_watermark`] is | a power cut may lose |
//! |---|---|---|
//! | [`Fsync::Always`] | durable | nothing acknowledged |
//! | [`Fsync::Everysec`] | written | 1 s plus one fsync |
//! | [`Fsync::No`] | written | whatever the kernel had not written back |
//!
//! While a rewrite runs, [`Options::no_fsync_on_rewrite`] lets the first two rest: the watermark is then written, and a power
//! cut may lose up to [`Options::max_unsynced_bytes`] of what was acknowledged.
//!
//! Under all three a kill -9 loses nothing acknowledged. A failed write or fsync retires its file for ever: what was not
//! durable is still in memory (except under `no`, where what was written is not kept) and moves to a new file, whose head
//! says where the content of the old one ends; while none can be opened the watermarks stand still and
//! [`Log::health`] says why.
//!
//! What a turn leaves is a [`block`]: commands behind a line with their position, how far the log was durable then, and
//! checksums. So a start knows what a crash tore, which it copies aside and cuts, from what was safe once and is
//! damaged, which it refuses by file, offset and keys, or steps over; [`recover`] has the rules. Nothing that a checksum
//! speaks against is executed, nor what stands where a block should, unless another server has appended it.
//!
//! ```text
//! <dir>/appendonlydir/appendonly.aof.manifest       which files count, in which order
//! <dir>/appendonlydir/appendonly.aof.1.base.aof     what the data was when it was last rewritten
//! <dir>/appendonlydir/appendonly.aof.1.incr.aof     everything since; appended to
//! ```
//!
//! Recovery order after a failure: the new file and its name are durable, the manifest lists it, the old file is cut, the
//! replies leave. A start that finds the old file longer than the head says executes none of the rest and cuts it;
//! bytes missing from it are refused, or stepped over, like any other damage. But under `no` an fsync that failed and then
//! a power cut, before a rewrite has made [`Stats::lost_below`] go away, can make such a hole; the head says so, and a
//! start steps over it and [names it](Report::quarantined).
//!
//! It refuses: a manifest that Redis refuses, log files without their manifest, files that contradict each other or the
//! manifest, wrong bytes, a torn file that is not the last one with bytes, EXEC without MULTI, a base that does not end
//! where a file ends. RDB bases need a [`Sink::base_rdb`] of the caller's.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use aof::{Directory, Fsync, Log, Op, Options, Sink, SinkError, fs::Mem};
//!
//! #[derive(Default)]
//! struct Count(usize);
//! impl Sink for Count {
//!     fn command(&mut self, _db: u32, _argv: &[&[u8]]) -> Result<(), SinkError> {
//!         self.0 += 1;
//!         Ok(())
//!     }
//! }
//!
//! let (disk, options) = (Mem::new(), Options { fsync: Fsync::Always, ..Options::new("/data") });
//! let directory = Directory::open(Arc::new(disk.clone()), &options)?;
//! let mut log = Log::start(directory, &options, Box::new(|| {}))?;
//! let position = log.append(0, &[Op { db: 0, command: b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" }]);
//! log.seal(Instant::now());
//! // The reply leaves once `log.reply_watermark() >= position`.
//! log.stop()?;
//!
//! let mut count = Count::default();
//! let mut directory = Directory::open(Arc::new(disk.power_cut()), &options)?;
//! directory.replay(&mut count, &options)?;
//! assert_eq!(count.0, 1);
//! # Ok::<(), aof::Error>(())
//! ```
#![forbid(unsafe_code)]

mod aside;
mod backend;
pub mod block;
pub mod check;
mod clock;
mod dir;
pub mod error;
mod event;
pub mod fs;
mod histogram;
mod leftover;
mod lock;
mod log;
pub mod manifest;
mod offline;
mod options;
pub mod policy;
mod record;
pub mod recover;
pub mod replay;
mod rotate;
mod scan;
mod set;
pub mod space;
mod stats;
#[cfg(not(loom))]
mod steps;
mod sync;
mod syncer;
mod tail;
mod writer;

#[cfg(all(test, loom))]
mod tests;

pub use backend::{Block, LogBackend};
pub use block::{BaseFrame, Epoch};
pub use check::Checkup;
pub use dir::{BaseFormat, Directory};
pub use error::{Error, ManifestErrorKind};
pub use event::Event;
pub use fs::Fs;
pub use histogram::Histogram;
pub use lock::DirLock;
pub use log::{Log, Wake};
pub use options::{Fsync, LoadCorrupt, Options};
pub use record::Op;
pub use replay::{
    Damage, Executed, Hasher, Progress, Quarantine, RdbDamage, Repeated, Report, Request, Sink, SinkError,
    Truncation,
};
pub use rotate::NewBase;
pub use stats::{Failure, Health, Stats};
#[cfg(not(loom))]
pub use steps::Steps;

/// Bytes of the log since it was started: the one number that ties memory, files and replies together.
pub type Position = u64;
