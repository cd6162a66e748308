//! The real file system.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, StatVfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{File, Fs, Guard};

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Fs for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        // O_APPEND and O_TRUNC together are what std refuses; so the file is emptied in a step of its own.
        let file = options.append(true).create(true).mode(0o644).open(path)?;
        file.set_len(0)?;
        Ok(Arc::new(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().append(true).open(path)?))
    }

    fn open_read(&self, path: &Path, offset_bytes: u64) -> io::Result<Arc<dyn File>> {
        let mut file = fs::File::open(path)?;
        if offset_bytes > 0 {
            file.seek(SeekFrom::Start(offset_bytes))?;
        }
        Ok(Arc::new(file))
    }

    fn len_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len_bytes)?;
        file.sync_all()
    }

    fn overwrite(&self, path: &Path, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all_at(bytes, offset_bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o755).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        match fs::File::open(dir)?.sync_all() {
            Err(error) if cannot_sync(&error) => Ok(()),
            other => other,
        }
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn Guard>> {
        let dir = fs::File::open(dir)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(io::ErrorKind::WouldBlock.into()),
            // Of a directory the kernel keeps this lock itself, whatever the file system is, but for those of clusters, which
            // may be mounted without. There nobody is kept away, as by Redis.
            _ => Ok(Box::new(dir)),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        free_bytes(&stat, geteuid().is_root()).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

impl Guard for fs::File {
    fn is_on(&self, dir: &Path) -> bool {
        // What cannot be looked at now is as it was.
        self.is_named(dir).unwrap_or(true)
    }
}

/// What a file system has for us, of which it may keep some for root. One that has no blocks at all does not tell: a FUSE
/// without statfs.
fn free_bytes(stat: &StatVfs, is_root: bool) -> Option<u64> {
    let free = if is_root { stat.f_bfree } else { stat.f_bavail };
    (stat.f_blocks > 0).then(|| free.saturating_mul(stat.f_frsize))
}

/// Some file systems (SMB, FUSE, shares of virtual machines) do not know what it is to sync a directory. It is no failure of
/// one. Source: redis 7.2 `src/util.c` `fsyncFileDir`.
fn cannot_sync(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::INVAL | Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS))
}

impl File for fs::File {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buf)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Write::write_vectored(&mut &*self, bufs)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn is_named(&self, path: &Path) -> io::Result<bool> {
        let ours = self.metadata()?;
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        }
    }

    fn reserve(&self, from: u64, len_bytes: u64) -> io::Result<()> {
        rustix::fs::fallocate(self, FallocateFlags::KEEP_SIZE, from, len_bytes).map_err(|errno| match errno {
            // ZFS and old kernels: not for this file, or not at all.
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => io::ErrorKind::Unsupported.into(),
            errno => errno.into(),
        })
    }

    /// By asking for the length that it has: what is cut is blocks behind the end, never bytes.
    fn trim(&self) -> io::Result<()> {
        self.set_len(self.metadata()?.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use rustix::fs::StatVfsMountFlags;

    use super::*;

    /// Every write was refused for ever where statvfs(2) shows no blocks, or leaves the last ones to root, who asks.
    #[test]
    fn free_is_what_we_may_write_and_unknown_where_nobody_counts() {
        let stat = |f_blocks, f_bfree, f_bavail| StatVfs {
            f_bsize: 1 << 20,
            f_frsize: 4096,
            f_blocks,
            f_bfree,
            f_bavail,
            f_files: 0,
            f_ffree: 0,
            f_favail: 0,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        for (stat, is_root, expected) in [
            (stat(100, 10, 5), false, Some(5 * 4096)),
            (stat(100, 10, 5), true, Some(10 * 4096)),
            (stat(100, 10, 0), false, Some(0)),
            (stat(100, 10, 0), true, Some(10 * 4096)),
            (stat(0, 0, 0), false, None),
            (stat(0, 0, 0), true, None),
        ] {
            let what = (stat.f_blocks, stat.f_bfree, stat.f_bavail, is_root);
            assert_eq!(free_bytes(&stat, is_root), expected, "{what:?}");
        }
    }

    /// A directory of /proc can be opened, and fsync(2) says EINVAL.
    #[test]
    fn a_directory_that_cannot_be_synced_is_no_failure() {
        let dir = Path::new("/proc/self");
        let error = fs::File::open(dir).unwrap().sync_all().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        Disk.sync_dir(dir).unwrap();
        assert!(!cannot_sync(&io::Error::from_raw_os_error(5)), "EIO is one");
        assert!(Disk.sync_dir(Path::new("/proc/none")).is_err());
    }
}
