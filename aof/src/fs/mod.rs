//! The few file calls that the log makes, as a trait: [`Disk`] is the real thing, [`Mem`] a simulated one, whose calls fail
//! and whose power is cut as told.

mod disk;
mod mem;
mod sim;

use std::fmt::Debug;
use std::io::{self, BufRead, IoSlice, Read};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, io_error};
use crate::sync::spawn_or_do;

pub use disk::Disk;
pub use mem::{Call, Mem, Request, Verdict};
pub use sim::{PAGE_BYTES, PowerCut};

/// A file system, as far as the log needs one. Paths are whole: `<dir>/<appenddirname>/<file>`.
pub trait Fs: Debug + Send + Sync + 'static {
    /// Creates a file, or empties the one of that name, and opens it for appending. Mode 0644.
    ///
    /// # Errors
    /// Whatever the file system says; so below.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for appending.
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading from `offset_bytes` on.
    fn open_read(&self, path: &Path, offset_bytes: u64) -> io::Result<Arc<dyn File>>;
    /// The length of a file in bytes.
    fn len_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Cuts a file to `len_bytes` and syncs it, length and bytes, through a descriptor of its own.
    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()>;
    /// Writes over what a file holds from `offset_bytes` on, through a descriptor of its own; its length stays. Not durable
    /// before a [`sync_data`](File::sync_data), which may be that of an older descriptor.
    fn overwrite(&self, path: &Path, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, replacing what had it. Not durable before [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no particular order; `NotFound` if there is none.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory, mode 0755; one that exists already is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Keeps everybody else who asks for the same away from a directory, in whatever process of this machine, until the
    /// guard is dropped; `WouldBlock` if somebody has it. Nobody else is at files in memory.
    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn Guard>> {
        let _ = dir;
        Ok(Box::new(()))
    }
    /// Bytes that may still be written to the file system of a directory; `Unsupported` if nobody can tell.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The lock of a directory, until it is dropped.
pub trait Guard: Debug + Send + Sync + 'static {
    /// Whether `dir` still names that directory, and not another one or none.
    fn is_on(&self, dir: &Path) -> bool;
}

impl Guard for () {
    fn is_on(&self, _: &Path) -> bool {
        true
    }
}

/// An open file; dropping it closes it.
pub trait File: Debug + Send + Sync + 'static {
    /// Reads on from where the last read ended; 0 at the end of the file.
    ///
    /// # Errors
    /// Whatever the file system says; so below.
    fn read(&self, buf: &mut [u8]) -> io::Result<usize>;
    /// Appends some of `bufs`, in order: writev(2).
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Makes all that was written durable: fdatasync(2).
    fn sync_data(&self) -> io::Result<()>;
    /// Whether `path` still names this file, and not another one or none.
    fn is_named(&self, path: &Path) -> io::Result<bool>;
    /// Makes disk space for `len_bytes` behind offset `from` the file's own; its length stays: fallocate(2) with
    /// FALLOC_FL_KEEP_SIZE. `Unsupported` where there is no such thing.
    fn reserve(&self, from: u64, len_bytes: u64) -> io::Result<()> {
        let _ = (from, len_bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Gives back what was reserved behind the file's end.
    fn trim(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends everything. EINTR is retried and a short write goes on; anything else is the end of this file.
///
/// # Errors
/// That of the first write that failed; some of the bytes may be in the file.
pub fn write_all(file: &dyn File, mut bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut bufs, 0);
    while !bufs.is_empty() {
        match retry(|| file.write(bufs))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => IoSlice::advance_slices(&mut bufs, count),
        }
    }
    Ok(())
}

/// Makes a directory, and those above it that are not there, and makes their names durable. Also that of one that is there:
/// whoever made it may have been killed before. The root, and the current directory, are always there.
///
/// # Errors
/// The first failure of a call.
pub fn create_dir_all(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let is_missing = |dir| fs.list(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if parent.parent().is_some() && is_missing(parent) {
        create_dir_all(fs, parent)?;
    }
    retry(|| fs.create_dir(dir))?;
    // Redis forgets this one: a strict file system then forgets the whole directory in a power cut.
    retry(|| fs.sync_dir(parent))
}

/// Repeats a call that a signal interrupted: the only failure that says nothing about the file.
///
/// # Errors
/// Any other failure of the call.
pub fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Closes a file whose name is gone, on a thread: that is when the kernel frees its blocks, and gigabytes take long.
pub fn discard(file: impl Send + 'static) {
    spawn_or_do("discard", move || drop(file));
}

/// Removes a name here, and what only the name held on a [thread](discard).
///
/// # Errors
/// That of removing the name.
pub fn remove_and_discard(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let file = fs.open_read(path, 0);
    fs.remove(path)?;
    // What could not be opened is freed by now.
    if let Ok(file) = file {
        discard(file);
    }
    Ok(())
}

/// A whole small file.
pub(crate) fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Reader(fs.open_read(path, 0)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// [`File`] as `std::io` wants it.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Arc<dyn File>);

impl Reader {
    /// Opens a file to read on from an offset.
    pub(crate) fn open(fs: &dyn Fs, path: &Path, offset_bytes: u64) -> Result<Reader, Error> {
        fs.open_read(path, offset_bytes).map(Reader).map_err(io_error("open", path))
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| self.0.read(buf))
    }
}

/// A reader that knows how far its user has come.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) consumed_bytes: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.consumed_bytes += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.consumed_bytes += count as u64;
        self.inner.consume(count);
    }
}
