//! One program at a time: an advisory lock (flock(2)) on the log's directory.
//!
//! A server holds it as long as it has a log, and while a rewrite without one runs; the tools while they change files. The
//! kernel gives it back when its holder ends, however that is. Redis and Valkey know nothing of it; nor does another
//! kernel, for on NFS, SMB and FUSE each keeps this lock for its own processes.
//!
//! It is on a directory, not on its path: one that was removed and made anew has another.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::dir::make;
use crate::error::{Error, io_error};
use crate::fs::{Fs, Guard};
use crate::options::Options;

/// Keeps others away from a directory for as long as it lives.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    guard: Box<dyn Guard>,
}

impl DirLock {
    /// The path that it was taken by.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it is that of the directory at `dir` now.
    pub fn is_on(&self, dir: &Path) -> bool {
        self.dir == dir && self.guard.is_on(dir)
    }

    /// As [`take`](Self::take), of the directory of a log that is about to be used: it is made, durably, if it is not there.
    ///
    /// # Errors
    /// [`Error::InUse`]; [`Error::Io`].
    pub fn take_or_make(fs: &dyn Fs, options: &Options) -> Result<DirLock, Error> {
        if let Some(lock) = DirLock::take(fs, &options.dir)? {
            return Ok(lock);
        }
        make(fs, &options.dir, &options.adopt_from)?;
        // A link to nowhere is made again and again, and is never there.
        let gone = || io_error("open", &options.dir)(ErrorKind::NotFound.into());
        DirLock::take(fs, &options.dir)?.ok_or_else(gone)
    }

    /// Takes the lock, without waiting; `None` if there is no such directory.
    ///
    /// # Errors
    /// [`Error::InUse`]; [`Error::Io`].
    pub fn take(fs: &dyn Fs, dir: &Path) -> Result<Option<DirLock>, Error> {
        match fs.lock_dir(dir) {
            Ok(guard) => Ok(Some(DirLock { dir: dir.to_path_buf(), guard })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(Error::InUse { path: dir.to_path_buf() })
            }
            Err(error) => Err(io_error("flock", dir)(error)),
        }
    }
}
