//! The real file system.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

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
        fs::File::open(dir)?.sync_all()
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
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl Guard for fs::File {
    fn is_on(&self, dir: &Path) -> bool {
        // What cannot be looked at now is as it was.
        self.is_named(dir).unwrap_or(true)
    }
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
