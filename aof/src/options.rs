//! What the configuration says about the log.

use std::path::PathBuf;

/// `appendfsync`: when what was written is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before the reply leaves.
    Always,
    /// At most one second after the oldest byte that is not.
    Everysec,
    /// When the kernel likes.
    No,
}

/// `aof-load-corrupt`: what a start does about bytes that were safe once and are damaged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadCorrupt {
    /// Refuses, and says where they are.
    Fail,
    /// Copies them aside and loads the rest.
    Quarantine,
}

/// The directives that concern the log; each field names its own.
#[derive(Debug, Clone)]
pub struct Options {
    /// `<dir>/<appenddirname>`, where the files are.
    pub dir: PathBuf,
    /// `dir`, where a single-file log of an older server may stand.
    pub adopt_from: PathBuf,
    /// `appendfilename`. Default: appendonly.aof.
    pub filename: String,
    /// `appendfsync`. Default: everysec.
    pub fsync: Fsync,
    /// `aof-load-truncated`: cut a torn tail off the last file, after a copy. Default: yes.
    pub load_truncated: bool,
    /// `aof-load-corrupt-tail-max-size`: bytes at the end of the last file that may be cut, after a copy, although they are
    /// damaged and not merely torn; more are refused. Default: 0.
    pub load_corrupt_tail_max_bytes: u64,
    /// `aof-load-corrupt`: what to do about damage that no crash explains. Default: fail.
    pub load_corrupt: LoadCorrupt,
    /// `aof-checksum`: a line with position and checksums before each block. Default: yes; no for readers that do not
    /// skip `#` lines.
    pub checksum: bool,
    /// `aof-timestamp-enabled`: a `#TS:` line in every second that writes. Default: no.
    pub timestamps: bool,
    /// `aof-disable-auto-gc`: keep history files. Default: no.
    pub disable_auto_gc: bool,
    /// `aof-direct-write`: the appending thread may call write(2) while nobody else is at the file. Default: yes.
    pub direct_write: bool,
    /// `aof-max-unsynced-bytes`: beyond this, counted as memory, writes are to be held. Default: 256 MiB. 0, which the
    /// directive cannot be, is no bound.
    pub max_unsynced_bytes: u64,
    /// What the base of a log that begins empty holds: an RDB file without keys, or nothing, as commands.
    pub empty_base_rdb: Option<Vec<u8>>,
    /// `no-appendfsync-on-rewrite`: no reply waits for an fsync while a rewrite runs, and the policy asks for none,
    /// unless `max_unsynced_bytes` holds writers. Default: no.
    pub no_fsync_on_rewrite: bool,
}

impl Options {
    /// The defaults, with the log in `<dir>/appendonlydir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let adopt_from = dir.into();
        Options {
            dir: adopt_from.join("appendonlydir"),
            adopt_from,
            filename: "appendonly.aof".to_owned(),
            fsync: Fsync::Everysec,
            load_truncated: true,
            load_corrupt_tail_max_bytes: 0,
            load_corrupt: LoadCorrupt::Fail,
            checksum: true,
            timestamps: false,
            disable_auto_gc: false,
            direct_write: true,
            max_unsynced_bytes: 256 * 1024 * 1024,
            empty_base_rdb: None,
            no_fsync_on_rewrite: false,
        }
    }
}
