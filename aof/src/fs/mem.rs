//! A file system in memory whose calls can be made to fail, and whose power can be cut.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sim::{Content, FileId, PowerCut, World, no_space};
use super::{File, Fs};

/// The kind of call that a fault hook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after its method")]
pub enum Call {
    Create,
    OpenAppend,
    OpenRead,
    Len,
    Truncate,
    Overwrite,
    Rename,
    Remove,
    List,
    CreateDir,
    SyncDir,
    Read,
    Write,
    SyncData,
    Reserve,
    Trim,
}

/// A call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Which.
    pub call: Call,
    /// On what; of a rename, the old name.
    pub path: &'a Path,
    /// What a write is to write, and what a read finds.
    pub len_bytes: usize,
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Verdict {
    /// It succeeds.
    Pass,
    /// A write writes at most so many bytes, and says so; other calls succeed.
    Short(usize),
    /// Nothing happens. But a sync that fails for another reason than EINTR leaves its pages clean: fsyncgate.
    Fail(io::Error),
    /// It happens, of a write so many bytes, and fails all the same.
    FailAfter(io::Error, usize),
}

type Hook = dyn Fn(&Request<'_>) -> Verdict + Send + Sync;

/// Files in memory. Clones share one world.
///
/// Like a strict POSIX file system, it may forget in a [power cut](Self::power_cut_with) whatever was not synced: pages
/// of a file written since its last `sync_data`, and names changed since the last `sync_dir` of their directory.
#[derive(Clone, Default)]
pub struct Mem {
    world: Arc<Mutex<World>>,
    /// Apart from the world, at which a hook may look.
    hook: Arc<Mutex<Option<Arc<Hook>>>>,
}

impl Mem {
    /// An empty world.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `hook` before every call from now on, in the thread that makes it and without a lock: it may wait, and it may
    /// call into this world.
    pub fn on_call(&self, hook: impl Fn(&Request<'_>) -> Verdict + Send + Sync + 'static) {
        *lock(&self.hook) = Some(Arc::new(hook));
    }

    /// As [`on_call`](Self::on_call), for who only knows errors, and one call at a time. A failing write writes half of
    /// its bytes first, as disks do. The hook may look at the world, but not call into it.
    pub fn fail_with(&self, hook: impl FnMut(Call, &Path) -> Option<io::Error> + Send + 'static) {
        let hook = Mutex::new(hook);
        self.on_call(move |request| match lock(&hook)(request.call, request.path) {
            None => Verdict::Pass,
            Some(error) if request.call == Call::Write && error.kind() != io::ErrorKind::Interrupted => {
                Verdict::FailAfter(error, request.len_bytes / 2)
            }
            Some(error) => Verdict::Fail(error),
        });
    }

    /// Lets every call succeed again.
    pub fn heal(&self) {
        *lock(&self.hook) = None;
    }

    /// Makes the disk so large and no larger: what does not fit is cut short, and then fails with ENOSPC. Only such a disk
    /// can reserve space; what is left of it in a [power cut](Self::power_cut_with) or [`kill`](Self::kill) has any size.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().set_capacity(bytes);
    }

    /// What a start finds after the power failed at this moment, at its worst: only what was synced.
    #[must_use]
    pub fn power_cut(&self) -> Mem {
        self.power_cut_with(PowerCut::Unsynced, 0)
    }

    /// What a start finds after the power failed at this moment; `seed` is the chance in it.
    #[must_use]
    pub fn power_cut_with(&self, cut: PowerCut, seed: u64) -> Mem {
        Mem::of(self.lock().after(cut, seed))
    }

    /// What a start finds after the process was killed at this moment: everything that was written, which a power cut can
    /// still take.
    #[must_use]
    pub fn kill(&self) -> Mem {
        Mem::of(self.lock().without_end())
    }

    /// The bytes of a file, if there is one.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let mut world = self.lock();
        let id = world.find(path).ok()?;
        Some(world.content(id).bytes().to_vec())
    }

    /// Puts a file there, durable and with its directory.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.lock().put(path, bytes);
    }

    fn of(world: World) -> Mem {
        Mem { world: Arc::new(Mutex::new(world)), hook: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn ask(&self, call: Call, path: &Path, len_bytes: usize) -> Verdict {
        let hook = lock(&self.hook).clone();
        hook.map_or(Verdict::Pass, |hook| hook(&Request { call, path, len_bytes }))
    }

    /// Any call but a write or a sync.
    fn call<T>(
        &self,
        call: Call,
        path: &Path,
        work: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<T> {
        self.call_with(call, path, 0, work)
    }

    fn call_with<T>(
        &self,
        call: Call,
        path: &Path,
        len_bytes: usize,
        work: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.ask(call, path, len_bytes) {
            Verdict::Pass | Verdict::Short(_) => work(&mut self.lock()),
            Verdict::Fail(error) => Err(error),
            Verdict::FailAfter(error, _) => work(&mut self.lock()).and(Err(error)),
        }
    }

    fn open(
        &self,
        call: Call,
        path: &Path,
        read_at: usize,
        work: impl FnOnce(&mut World) -> io::Result<FileId>,
    ) -> io::Result<Arc<dyn File>> {
        let (id, read_at) = (self.call(call, path, work)?, AtomicUsize::new(read_at));
        Ok(Arc::new(Handle { mem: self.clone(), id, path: path.to_path_buf(), read_at }))
    }
}

impl Fs for Mem {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(Call::Create, path, 0, |world| world.create(path))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(Call::OpenAppend, path, 0, |world| world.find(path))
    }

    fn open_read(&self, path: &Path, offset_bytes: u64) -> io::Result<Arc<dyn File>> {
        let read_at = usize::try_from(offset_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.open(Call::OpenRead, path, read_at, |world| world.find(path))
    }

    fn len_bytes(&self, path: &Path) -> io::Result<u64> {
        self.call(Call::Len, path, |world| {
            let id = world.find(path)?;
            Ok(world.content(id).bytes().len() as u64)
        })
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()> {
        self.call(Call::Truncate, path, |world| {
            let id = world.find(path)?;
            let len_bytes = usize::try_from(len_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
            world.content(id).truncate(len_bytes);
            Ok(())
        })
    }

    fn overwrite(&self, path: &Path, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.call_with(Call::Overwrite, path, bytes.len(), |world| {
            let id = world.find(path)?;
            let offset_bytes = usize::try_from(offset_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
            world.content(id).overwrite(offset_bytes, bytes)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, from, |world| world.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, path, |world| world.remove(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(Call::List, dir, |world| world.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Call::CreateDir, dir, |world| {
            world.create_dir(dir);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Call::SyncDir, dir, |world| {
            world.sync_dir(dir);
            Ok(())
        })
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        self.lock().free_bytes().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

struct Handle {
    mem: Mem,
    id: FileId,
    path: PathBuf,
    read_at: AtomicUsize,
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        work(self.mem.lock().content(self.id))
    }
}

impl File for Handle {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let at = self.read_at.load(Ordering::Relaxed);
        let found = self.with(|content| content.bytes().len().saturating_sub(at).min(buf.len()));
        self.mem.call_with(Call::Read, &self.path, found, |world| {
            let bytes = world.content(self.id).bytes();
            let at = at.min(bytes.len());
            let count = (bytes.len() - at).min(buf.len());
            buf[..count].copy_from_slice(&bytes[at..at + count]);
            self.read_at.store(at + count, Ordering::Relaxed);
            Ok(count)
        })
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let (limit, error) = match self.mem.ask(Call::Write, &self.path, bytes.len()) {
            Verdict::Pass => (bytes.len(), None),
            Verdict::Short(limit) => (limit, None),
            Verdict::Fail(error) => (0, Some(error)),
            Verdict::FailAfter(error, limit) => (limit, Some(error)),
        };
        let wanted = limit.min(bytes.len());
        let landed = self.mem.lock().append(self.id, &bytes[..wanted]);
        match error {
            Some(error) => Err(error),
            None if landed == 0 && wanted > 0 => Err(no_space()),
            None => Ok(landed),
        }
    }

    fn is_named(&self, path: &Path) -> io::Result<bool> {
        Ok(self.mem.lock().find(path).is_ok_and(|id| id == self.id))
    }

    fn reserve(&self, from: u64, len_bytes: u64) -> io::Result<()> {
        self.mem.call(Call::Reserve, &self.path, |world| match len_bytes {
            // As fallocate(2) says EINVAL, and `Disk` this.
            0 => Err(io::ErrorKind::Unsupported.into()),
            _ => world.reserve(self.id, from.saturating_add(len_bytes)),
        })
    }

    fn trim(&self) -> io::Result<()> {
        self.mem.call(Call::Trim, &self.path, |world| {
            world.content(self.id).trim();
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.mem.ask(Call::SyncData, &self.path, 0) {
            Verdict::Pass | Verdict::Short(_) => self.with(Content::sync),
            Verdict::Fail(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Verdict::Fail(error) => {
                self.with(Content::fail_to_sync);
                return Err(error);
            }
            Verdict::FailAfter(error, _) => {
                self.with(Content::sync);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mem").field("files", &self.lock().paths().collect::<Vec<_>>()).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("path", &self.path).finish()
    }
}
