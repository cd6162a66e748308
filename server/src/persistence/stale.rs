//! Temporary files that nobody will finish: their writer was killed. Redis leaves them, one for each kill.
//!
//! | name | where | written by |
//! |---|---|---|
//! | `temp-rewriteaof-bg-<pid>.aof` | the log's directory | a rewrite, ours or everlog-rewrite's |
//! | the same | `dir` | in the end a stock server's rewrite; those of our first builds |
//! | `temp-rewriteaof-<pid>.aof` | `dir` | a stock server's, before that |
//! | `temp-<pid>.rdb` | `dir` | a save, ours or a stock server's |
//! | `temp-sync-<pid>.rdb` | `dir` | a full sync of ours |
//! | `temp-<unix time>.<pid>.rdb` | `dir` | a stock replica, of what its primary sends |
//!
//! Who writes a base into the log's directory has the lock on that, until the base is published or gone; the kernel gives
//! it back once the last thread of a killed process has ended. So who has the lock, and writes none, knows that nobody
//! does: of this machine, and another one that writes to this log has destroyed it anyway. An unfinished base counts
//! nowhere, and goes beside damage, too: a rewrite by the same number, as in a container, would empty it.
//! Of `dir` the lock says nothing: other servers may share the folder, and those of another container or host cannot be
//! looked for by their numbers. A file there is nobody's only if nobody has written to it for ten minutes, and its process
//! is gone or does not have it open; a stock server also closes a finished file a while before it renames it. A file of
//! another owner stays, and so does any name that no server would give: dates are not numbers of processes.
//! Source: redis 7.2 `src/aof.c` `rewriteAppendOnlyFileBackground`, `src/rdb.c`, `src/replication.c`.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aof::fs::remove_and_discard;
use aof::{DirLock, Fs};
use rustix::io::Errno;
use rustix::process::{Pid, geteuid, test_kill_process};

use crate::executor::Server;
use crate::logger::Level;

/// What begins the name of a base while a rewrite writes it.
pub(crate) const BASE_PREFIX: &str = "temp-rewriteaof-bg-";

/// What stands around the number of the process; the longer ones of the same beginning come first.
const NAMES: &[(&str, &str)] =
    &[(BASE_PREFIX, ".aof"), ("temp-rewriteaof-", ".aof"), ("temp-sync-", ".rdb"), ("temp-", ".rdb")];

/// Linux gives no process a higher number: PID_MAX_LIMIT.
const PID_MAX: u64 = 1 << 22;

/// A time of ten digits: what is earlier is no time of a stock replica.
const TIME_MIN_UNIX_S: u64 = 1_000_000_000;

/// How long nobody may have written to a file.
const QUIET: Duration = Duration::from_secs(600);

impl Server {
    /// Removes what killed processes have left in `dir`: at the start, and whenever a BGSAVE or a full sync begins.
    pub(crate) fn remove_stale_files(&mut self) {
        let dir = std::env::current_dir().unwrap_or_default();
        let paths = stale_files(&*self.persistence.fs(), &dir, "");
        self.remove_left(&paths, remove_and_discard);
    }

    /// Removes the bases that killed rewrites have left in the log's directory. The lock on that is ours, and no rewrite runs.
    pub(crate) fn remove_unfinished_bases(&mut self, remove: Removal) {
        let Some(lock) = &self.persistence.lock else { return };
        let paths = unfinished_bases(&*self.persistence.fs(), lock);
        self.remove_left(&paths, remove);
    }

    /// Removes files that nobody will finish.
    pub(crate) fn remove_left(&mut self, paths: &[PathBuf], remove: Removal) {
        let fs = self.persistence.fs();
        for line in remove_all(&*fs, paths, remove) {
            self.log(Level::Notice, line);
        }
    }
}

/// How a file is removed: [`remove_and_discard`] where clients wait meanwhile, and where somebody waits for its space,
/// [`Fs::remove`].
pub(crate) type Removal = fn(&dyn Fs, &Path) -> io::Result<()>;

/// Removes files that nobody will finish; a line of each that is gone.
pub(crate) fn remove_all(fs: &dyn Fs, paths: &[PathBuf], remove: Removal) -> impl Iterator<Item = String> {
    let gone = paths.iter().filter(move |path| remove(fs, path).is_ok());
    gone.map(|path| format!("Removed {}, left by a process that was killed", path.display()))
}

/// What killed processes have left in `dir`, of the names that begin so.
pub(crate) fn stale_files(fs: &dyn Fs, dir: &Path, prefix: &str) -> Vec<PathBuf> {
    left_files(fs, dir, prefix, false)
}

/// The bases in a log's directory that nobody will finish. `lock` is that on it, and who has it writes none.
pub(crate) fn unfinished_bases(fs: &dyn Fs, lock: &DirLock) -> Vec<PathBuf> {
    left_files(fs, lock.dir(), BASE_PREFIX, true)
}

fn left_files(fs: &dyn Fs, dir: &Path, prefix: &str, nobody_writes: bool) -> Vec<PathBuf> {
    let names = fs.list(dir).unwrap_or_default().into_iter().filter(|name| name.starts_with(prefix));
    let written = names.filter_map(|name| Some((writer_of(&name)?, dir.join(name))));
    written.filter(|(pid, path)| is_left(*pid, path, nobody_writes)).map(|(_, path)| path).collect()
}

/// The process in a temporary file's name.
fn writer_of(name: &str) -> Option<Pid> {
    NAMES.iter().find_map(|&(prefix, suffix)| {
        let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let number = match number.split_once('.') {
            Some((time, pid)) if prefix == "temp-" => {
                decimal(time).filter(|&time| time >= TIME_MIN_UNIX_S)?;
                pid
            }
            _ => number,
        };
        let pid = decimal(number).filter(|&pid| pid <= PID_MAX)?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    })
}

/// A number as a server prints it: digits, of which the first is no zero.
fn decimal(text: &str) -> Option<u64> {
    let is_printed = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_printed.then(|| text.parse().ok())?
}

fn is_left(pid: Pid, path: &Path, nobody_writes: bool) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| {
        let is_own_file = file.is_file() && file.uid() == geteuid().as_raw();
        is_own_file && (nobody_writes || is_quiet(&file) && !may_have_open(pid, &file))
    })
}

/// A time as far ahead is that of a clock which was set back.
fn is_quiet(file: &Metadata) -> bool {
    let age = |at: SystemTime| at.elapsed().unwrap_or_else(|ahead| ahead.duration());
    file.modified().is_ok_and(|at| age(at) > QUIET)
}

/// False only where there is no such process, or all that it has open can be looked at. It may be this one, for in a
/// container everybody has the same number.
fn may_have_open(pid: Pid, file: &Metadata) -> bool {
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return false;
    }
    let Ok(open) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else { return true };
    open.into_iter().any(|descriptor| {
        // What it has closed meanwhile is gone.
        descriptor.map_or(true, |descriptor| {
            fs::metadata(descriptor.path()).is_ok_and(|other| is_same(&other, file))
        })
    })
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_process() {
        for (name, pid) in [
            ("temp-rewriteaof-bg-5277.aof", Some(5277)),
            ("temp-rewriteaof-5277.aof", Some(5277)),
            ("temp-sync-1.rdb", Some(1)),
            ("temp-42.rdb", Some(42)),
            ("temp-1700000000.42.rdb", Some(42)),
            ("temp-4194304.rdb", Some(4_194_304)),
            ("temp-4194305.rdb", None),
            // What people name by the day, and by the month.
            ("temp-20240115.rdb", None),
            ("temp-2024.01.rdb", None),
            ("temp-2024.1.rdb", None),
            ("temp-999999999.42.rdb", None),
            ("temp-01700000000.42.rdb", None),
            ("temp-1700000000.042.rdb", None),
            ("temp-042.rdb", None),
            ("temp-+42.rdb", None),
            ("temp-1.2.3.rdb", None),
            ("temp-1700000000.2.3.rdb", None),
            ("temp-a.42.rdb", None),
            ("temp-sync-1.2.rdb", None),
            ("temp--1.rdb", None),
            ("temp-0.rdb", None),
            ("temp-99999999999999999999.rdb", None),
            ("temp-.rdb", None),
            ("temp-42.aof", None),
            ("dump.rdb", None),
        ] {
            assert_eq!(writer_of(name).map(|pid| pid.as_raw_nonzero().get()), pid, "{name}");
        }
    }
}
