//! BGREWRITEAOF without fork: a new base from a snapshot, while writers go on.
//!
//! A [`Rewrite`] is driven by the executor, once a turn, and never makes it wait. The base holds exactly the log's
//! positions up to S, and the files behind it exactly those after S; nothing is in both and nothing in neither, however
//! the process or the machine ends. A rewrite that fails changes nothing: its file is removed, and the log goes on.
//!
//! | step | who | what | a crash here leaves |
//! |---|---|---|---|
//! | 1 | a thread of the log's | creates incr n+1, empty; syncs it, its name and the manifest that lists it | n, perhaps torn, and an empty n+1 |
//! | 2 | log's syncer | syncs n, so that little is left for step 4; up to three times more while that is slow | the same |
//! | 3 | executor | between two units: seals at position S, takes the snapshot (O(1)), starts the job | the same |
//! | 4 | log's threads | write and sync the rest of n; only then the head of n+1, synced, too, and its blocks | the old base, n, and n+1 |
//! | 5 | job | walks the snapshot, consuming it, into `temp-rewriteaof-bg-<pid>.aof`; syncs it | the same, and a temporary file that counts nowhere |
//! | 6 | a thread of the log's | renames that, syncs the directory, publishes the manifest: new base, n+1 live, the rest history | the same and an unlisted base, removed by the next start; or, once the manifest is renamed, new base and n+1 |
//! | 7 | history | removes superseded files, then their lines | history files, removed by the next start |
//!
//! We load every one of these directories; stock Redis refuses a torn n beside an empty n+1.
//!
//! What it costs: memory for the segments that writers change before the job has released them; no pause that grows with
//! the data. The job runs at nice 10 unless somebody waits for it, rests `rdb-key-save-delay` after each key and as
//! `aof-rewrite-max-mb-per-sec` demands, and can be [aborted](Rewrite::abort) at any moment. One rewrite at a
//! time: the server sees to it, [`trigger`] says when.
//!
//! Under `CONFIG SET appendonly yes` the same steps write the first base; with `appendonly no`
//! ([`Rewrite::begin_offline`]) the job publishes by itself, and the base supersedes what the directory held.
//! Bases are written as commands or as RDB files: two [`emit::Emitter`]s. A save ([`Rewrite::begin_save`]) is the same
//! walk into a file beside the log.
//!
//! ```
//! use std::sync::Arc;
//! use aof::{Options, fs::Mem};
//! use keyspace::Keyspace;
//! use rewrite::{Format, Rewrite, Settings};
//!
//! let (keyspace, options) = (Keyspace::new(16, 42), Options::new("/"));
//! let (fs, (wake, woken)) = (Arc::new(Mem::new()), std::sync::mpsc::channel());
//! let settings = Settings::new(rewrite::temp_path(&options, 1), Format::Commands);
//! let wake = Arc::new(move || {
//!     let _ = wake.send(());
//! });
//! let mut rewrite = Rewrite::begin_offline(fs, &options, settings, wake);
//! let summary = loop {
//!     match rewrite.step(None, 1_700_000_000, || keyspace.snapshot()) {
//!         Some(outcome) => break outcome.unwrap(),
//!         None => woken.recv().unwrap(),
//!     }
//! };
//! assert_eq!(summary.keys, 0);
//! ```
// To prove that a value may go to another thread, the compiler goes through the tables within values.
#![recursion_limit = "256"]
#![forbid(unsafe_code)]

mod control;
#[cfg(not(loom))]
pub mod emit;
mod error;
#[cfg(not(loom))]
pub mod fuzz;
mod handover;
mod job;
mod output;
mod sync;
pub mod trigger;
#[cfg(not(loom))]
mod walk;

#[cfg(all(test, loom))]
mod tests;

use std::path::PathBuf;

pub use control::Progress;
pub use error::Error;
pub use handover::{Format, RdbFormat, Rewrite, Settings, Summary};
pub use job::{Hold, Source, Wake};
pub use output::Output;

/// Where a rewrite of process `pid` writes its base: `temp-rewriteaof-bg-<pid>.aof`, as Redis, but in the log's directory.
/// Who has the lock on that knows of each such file whether somebody is still at it.
pub fn temp_path(options: &aof::Options, pid: u32) -> PathBuf {
    options.dir.join(format!("temp-rewriteaof-bg-{pid}.aof"))
}

/// The README's example, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
