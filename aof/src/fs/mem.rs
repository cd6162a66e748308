//! A file system in memory whose calls can be made to fail, and whose power can be cut.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    Rename,
    Remove,
    List,
    CreateDir,
    SyncDir,
    Read,
    Write,
    SyncData,
}

type Hook = dyn FnMut(Call, &Path) -> Option<io::Error> + Send;

/// Files in memory. Clones share one world.
///
/// Like a strict POSIX file system, it forgets in a [`power_cut`](Self::power_cut) whatever was not synced: the bytes of
/// a file since its last `sync_data`, and names since the last `sync_dir` of their directory.
#[derive(Clone, Default)]
pub struct Mem {
    world: Arc<Mutex<World>>,
    /// Apart from the world, at which a hook may look; held while it runs, so that no call slips past it.
    hook: Arc<Mutex<Option<Box<Hook>>>>,
}

#[derive(Default)]
struct World {
    now: Names,
    durable: Names,
    /// How many bytes there is room for; none: any number.
    capacity_bytes: Option<u64>,
}

#[derive(Default, Clone)]
struct Names {
    files: HashMap<PathBuf, Arc<Inode>>,
    dirs: HashSet<PathBuf>,
}

#[derive(Default)]
struct Inode(Mutex<Content>);

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Space up to here is the file's own.
    reserved_to: u64,
    /// A sync failed: the kernel has marked the pages clean, and no later sync will write them.
    poisoned: bool,
}

impl Mem {
    /// An empty world.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `hook` before every call from now on; the error that it returns is the call's. A failing write writes
    /// half of its bytes first, as disks do; after a failing sync nothing more of that file ever becomes durable, although
    /// later syncs succeed: fsyncgate. The hook may look at the world, but not call into it.
    pub fn fail_with(&self, hook: impl FnMut(Call, &Path) -> Option<io::Error> + Send + 'static) {
        *self.hook() = Some(Box::new(hook));
    }

    /// Lets every call succeed again.
    pub fn heal(&self) {
        *self.hook() = None;
    }

    /// Makes the disk so large and no larger: what does not fit is cut short, and then fails with ENOSPC. Only such a disk
    /// can reserve space; what is left of it in a [`power_cut`](Self::power_cut) or [`kill`](Self::kill) has any size.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = Some(bytes);
    }

    /// What a start finds after the power failed at this moment, at its worst: only what was synced.
    #[must_use]
    pub fn power_cut(&self) -> Mem {
        let world = self.lock();
        let keep = |inode: &Arc<Inode>| {
            let durable = inode.lock().durable.clone();
            Arc::new(Inode(Mutex::new(Content { now: durable.clone(), durable, ..Content::default() })))
        };
        let dirs = world.durable.dirs.clone();
        let named = |path: &Path| path.parent().is_none_or(|dir| is_root(dir) || dirs.contains(dir));
        let files = world.durable.files.iter().filter(|(path, _)| named(path));
        let files = files.map(|(path, inode)| (path.clone(), keep(inode))).collect();
        let names = Names { files, dirs: dirs.clone() };
        Mem::of(World { now: names.clone(), durable: names, capacity_bytes: None })
    }

    /// What a start finds after the process was killed at this moment: everything that was written.
    #[must_use]
    pub fn kill(&self) -> Mem {
        let world = self.lock();
        // A file keeps being one file, whichever of the two worlds names it.
        let mut copies: HashMap<*const Inode, Arc<Inode>> = HashMap::new();
        let mut copy = |names: &Names| {
            let mut once =
                |file: &Arc<Inode>| copies.entry(Arc::as_ptr(file)).or_insert_with(|| file.copy()).clone();
            let files = names.files.iter().map(|(path, file)| (path.clone(), once(file))).collect();
            Names { files, dirs: names.dirs.clone() }
        };
        let (now, durable) = (copy(&world.now), copy(&world.durable));
        Mem::of(World { now, durable, capacity_bytes: None })
    }

    /// The bytes of a file, if there is one.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().now.files.get(path).map(|inode| inode.lock().now.clone())
    }

    /// Puts a file there, durable and with its directory.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let content = Content { now: bytes.to_vec(), durable: bytes.to_vec(), ..Content::default() };
        let inode = Arc::new(Inode(Mutex::new(content)));
        let mut world = self.lock();
        let World { now, durable, .. } = &mut *world;
        for names in [now, durable] {
            names.files.insert(path.to_path_buf(), inode.clone());
            names.dirs.extend(path.parent().filter(|dir| !is_root(dir)).map(Path::to_path_buf));
        }
    }

    fn of(world: World) -> Mem {
        Mem { world: Arc::new(Mutex::new(world)), hook: Arc::default() }
    }

    fn hook(&self) -> MutexGuard<'_, Option<Box<Hook>>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, call: Call, path: &Path) -> io::Result<()> {
        let verdict = self.hook().as_mut().and_then(|hook| hook(call, path));
        verdict.map_or(Ok(()), Err)
    }

    /// Bytes that the disk has room for, if it has an end.
    fn free(&self) -> Option<u64> {
        let world = self.lock();
        let used = world.now.files.values().map(|inode| inode.lock().used_bytes());
        world.capacity_bytes.map(|capacity| capacity.saturating_sub(used.sum()))
    }

    fn inode(&self, path: &Path) -> io::Result<Arc<Inode>> {
        self.lock().now.files.get(path).cloned().ok_or_else(not_found)
    }

    fn handle(&self, inode: Arc<Inode>, path: &Path) -> Arc<dyn File> {
        Arc::new(Handle { mem: self.clone(), inode, path: path.to_path_buf(), read_at: AtomicUsize::new(0) })
    }
}

impl Content {
    fn used_bytes(&self) -> u64 {
        self.reserved_to.max(self.now.len() as u64)
    }

    fn sync(&mut self) {
        if !self.poisoned {
            self.durable.clone_from(&self.now);
        }
    }
}

impl Inode {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(self: &Arc<Self>) -> Arc<Inode> {
        Arc::new(Inode(Mutex::new(self.lock().clone())))
    }
}

impl Fs for Mem {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.ask(Call::Create, path)?;
        let inode = {
            let mut world = self.lock();
            let parent = path.parent().filter(|dir| !is_root(dir));
            if parent.is_some_and(|dir| !world.now.dirs.contains(dir)) {
                return Err(not_found());
            }
            world.now.files.entry(path.to_path_buf()).or_default().clone()
        };
        *inode.lock() = Content::default();
        Ok(self.handle(inode, path))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.ask(Call::OpenAppend, path)?;
        Ok(self.handle(self.inode(path)?, path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.ask(Call::OpenRead, path)?;
        Ok(self.handle(self.inode(path)?, path))
    }

    fn len_bytes(&self, path: &Path) -> io::Result<u64> {
        self.ask(Call::Len, path)?;
        Ok(self.inode(path)?.lock().now.len() as u64)
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()> {
        self.ask(Call::Truncate, path)?;
        let inode = self.inode(path)?;
        let mut content = inode.lock();
        let len = usize::try_from(len_bytes).unwrap_or(usize::MAX);
        content.now.truncate(len);
        content.durable.truncate(len);
        content.reserved_to = 0;
        content.sync();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Call::Rename, from)?;
        let mut world = self.lock();
        let inode = world.now.files.remove(from).ok_or_else(not_found)?;
        world.now.files.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Call::Remove, path)?;
        self.lock().now.files.remove(path).map(drop).ok_or_else(not_found)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.ask(Call::List, dir)?;
        let world = self.lock();
        if !world.now.dirs.contains(dir) {
            return Err(not_found());
        }
        let names = world.now.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(Call::CreateDir, dir)?;
        self.lock().now.dirs.insert(dir.to_path_buf());
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(Call::SyncDir, dir)?;
        let mut world = self.lock();
        let World { now, durable, .. } = &mut *world;
        durable.files.retain(|path, _| path.parent() != Some(dir));
        let files = now.files.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable.files.extend(files.map(|(path, inode)| (path.clone(), inode.clone())));
        durable.dirs.extend(now.dirs.iter().filter(|path| path.parent() == Some(dir)).cloned());
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        self.free().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

struct Handle {
    mem: Mem,
    inode: Arc<Inode>,
    path: PathBuf,
    read_at: AtomicUsize,
}

impl File for Handle {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.mem.ask(Call::Read, &self.path)?;
        let content = self.inode.lock();
        let at = self.read_at.load(Ordering::Relaxed).min(content.now.len());
        let rest = &content.now[at..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.read_at.store(at + count, Ordering::Relaxed);
        Ok(count)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let verdict = self.mem.ask(Call::Write, &self.path);
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let interrupted = verdict.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
        let wanted = if interrupted {
            0
        } else if verdict.is_err() {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        let free = self.mem.free();
        let mut content = self.inode.lock();
        let owned = content.reserved_to.saturating_sub(content.now.len() as u64);
        let room = free.map_or(u64::MAX, |free| free.saturating_add(owned));
        let landed = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
        content.now.extend_from_slice(&bytes[..landed]);
        if landed == 0 && wanted > 0 {
            return verdict.and(Err(no_space()));
        }
        verdict.map(|()| landed)
    }

    fn reserve(&self, from: u64, len_bytes: u64) -> io::Result<()> {
        let Some(free) = self.mem.free() else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut content = self.inode.lock();
        let to = from.saturating_add(len_bytes);
        if to.saturating_sub(content.used_bytes()) > free {
            return Err(no_space());
        }
        content.reserved_to = content.reserved_to.max(to);
        Ok(())
    }

    fn trim(&self) -> io::Result<()> {
        self.inode.lock().reserved_to = 0;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let verdict = self.mem.ask(Call::SyncData, &self.path);
        let mut content = self.inode.lock();
        match &verdict {
            Ok(()) => content.sync(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => content.poisoned = true,
        }
        verdict
    }
}

/// The directories that exist before anybody makes one.
fn is_root(dir: &Path) -> bool {
    dir.parent().is_none() || dir.as_os_str().is_empty()
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn not_found() -> io::Error {
    // The number, so that its text is the system's.
    io::Error::from_raw_os_error(2)
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: Vec<_> = self.lock().now.files.keys().cloned().collect();
        files.sort();
        f.debug_struct("Mem").field("files", &files).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("path", &self.path).finish()
    }
}
