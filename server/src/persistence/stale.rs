//! Temporary files beside the log that nobody will finish: their writer was killed. Redis leaves them, one for each kill.
//!
//! | name | written by |
//! |---|---|
//! | `temp-rewriteaof-bg-<pid>.aof` | a rewrite: ours, everlog-rewrite's, and in the end a stock server's |
//! | `temp-rewriteaof-<pid>.aof` | a stock server's, before that |
//! | `temp-<pid>.rdb` | a save, ours or a stock server's |
//! | `temp-sync-<pid>.rdb` | a full sync of ours |
//! | `temp-<unix time>.<pid>.rdb` | a stock replica, of what its primary sends |
//!
//! The lock on the log's directory says nothing of them: other servers may share the folder. So one is nobody's where its
//! process is gone, or does not have it open. A process that is there is given a minute, in which it may be between
//! closing and renaming what it wrote.
//! Source: redis 7.2 `src/aof.c` `rewriteAppendOnlyFileBackground`, `src/rdb.c`, `src/replication.c`.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use crate::executor::Server;
use crate::logger::Level;

/// What stands around the number of the process; the longer ones of the same beginning come first.
const NAMES: &[(&str, &str)] = &[
    ("temp-rewriteaof-bg-", ".aof"),
    ("temp-rewriteaof-", ".aof"),
    ("temp-sync-", ".rdb"),
    ("temp-", ".rdb"),
];

/// How long a file is left alone once somebody has written to it.
const QUIET: Duration = Duration::from_secs(60);

impl Server {
    /// Removes what killed processes have left in `dir`.
    pub(crate) fn remove_stale_files(&mut self, dir: &Path) {
        let fs = self.persistence.fs();
        for name in fs.list(dir).unwrap_or_default() {
            let path = dir.join(&name);
            if writer_of(&name).is_some_and(|pid| !may_finish(pid, &path)) && fs.remove(&path).is_ok() {
                self.log(Level::Notice, format!("Removed {name}, left by a process that was killed"));
            }
        }
    }
}

/// The process in a temporary file's name.
fn writer_of(name: &str) -> Option<Pid> {
    NAMES.iter().find_map(|(prefix, suffix)| {
        let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let number = match number.split_once('.') {
            Some((time, pid)) if *prefix == "temp-" && time.parse::<u64>().is_ok() => pid,
            _ => number,
        };
        // Below zero it would be a group of processes.
        let number = number.parse::<u32>().ok()?;
        Pid::from_raw(i32::try_from(number).ok()?)
    })
}

/// Whether a process may be at a file. In a container everybody's number is the same as ours.
fn may_finish(pid: Pid, path: &Path) -> bool {
    let is_there = pid != getpid() && test_kill_process(pid) != Err(Errno::SRCH);
    is_there && fs::metadata(path).map_or(true, |file| !is_quiet(&file) || may_have_open(pid, &file))
}

fn is_quiet(file: &Metadata) -> bool {
    file.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age > QUIET)
}

/// False only where all that the process has open can be looked at.
fn may_have_open(pid: Pid, file: &Metadata) -> bool {
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
            ("temp-1.2.3.rdb", None),
            ("temp-a.42.rdb", None),
            ("temp-sync-1.2.rdb", None),
            ("temp--1.rdb", None),
            ("temp-0.rdb", None),
            ("temp-4294967295.rdb", None),
            ("temp-.rdb", None),
            ("temp-42.aof", None),
            ("dump.rdb", None),
        ] {
            assert_eq!(writer_of(name).map(|pid| pid.as_raw_nonzero().get()), pid, "{name}");
        }
    }
}
