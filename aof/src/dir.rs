//! The directory that holds the log: its names, its manifest, and every step that changes either.
//!
//! ```text
//! <dir>/temp-rewriteaof-bg-<pid>.aof                       a base being written by a rewrite
//! <dir>/<appenddirname>/appendonly.aof.manifest            what counts, see `manifest`
//! <dir>/<appenddirname>/appendonly.aof.1.base.aof|rdb      the base
//! <dir>/<appenddirname>/appendonly.aof.1.incr.aof          an incr
//! <dir>/<appenddirname>/appendonly.aof.1.incr.aof.torn-81  bytes cut off after offset 81, kept for whoever wants them
//! <dir>/<appenddirname>/temp-appendonly.aof.manifest       left by a crash, removed at start; so below
//! <dir>/<appenddirname>/temp-appendonly.aof.incr           the log between CONFIG SET appendonly yes and its first base
//! ```
//!
//! A name counts once the directory is synced, and a file once the manifest names it: always in that order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, io_error};
use crate::fs::{File, Fs, read_all, retry};
use crate::manifest::{Entry, FileSeq, Manifest};
use crate::options::Options;

/// How a base is written: as a snapshot or as commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseFormat {
    /// `aof-use-rdb-preamble yes`: `.base.rdb`.
    Rdb,
    /// Commands: `.base.aof`.
    Resp,
}

/// An opened log directory: what is there, not yet what it says.
#[derive(Debug)]
pub struct Directory {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    parent: PathBuf,
    filename: String,
    manifest: Manifest,
    adopted: Option<PathBuf>,
}

/// What a file's name says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Base,
    Incr,
}

impl Directory {
    /// Reads the manifest, and takes over the single-file log of an older server if there is one. An empty place stays
    /// empty: nothing is created before the log starts.
    ///
    /// # Errors
    /// [`Error::Manifest`] for one that Redis refuses too; [`Error::ManifestMissing`] where Redis would start empty
    /// beside its own data; [`Error::Io`].
    pub fn open(fs: Arc<dyn Fs>, options: &Options) -> Result<Directory, Error> {
        let mut directory = Self::open_to_supersede(fs, options)?;
        directory.adopt()?;
        Ok(directory)
    }

    /// As [`open`](Self::open), for who will not read what is there: a single-file log stays where it is.
    ///
    /// # Errors
    /// The same.
    pub fn open_to_supersede(fs: Arc<dyn Fs>, options: &Options) -> Result<Directory, Error> {
        let mut directory = Directory {
            fs,
            dir: options.dir.clone(),
            parent: options.adopt_from.clone(),
            filename: options.filename.clone(),
            manifest: Manifest::default(),
            adopted: None,
        };
        let names = directory.names()?;
        directory.manifest = directory.read_manifest()?;
        if directory.manifest.is_empty() {
            directory.refuse_orphans(&names)?;
        }
        Ok(directory)
    }

    /// The files that make up the log.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// True if there is no log here yet.
    pub fn is_empty(&self) -> bool {
        self.manifest.is_empty()
    }

    /// The single-file log that [`open`](Self::open) moved in, by its old path.
    pub fn adopted(&self) -> Option<&Path> {
        self.adopted.as_deref()
    }

    /// Where a file of this directory is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    pub(crate) fn temp_incr(&self) -> PathBuf {
        self.path(&format!("temp-{}.incr", self.filename))
    }

    /// The length of a listed file.
    pub(crate) fn len_bytes(&self, entry: &Entry) -> Result<u64, Error> {
        let path = self.path(&entry.name);
        let unavailable =
            |source| Error::Unavailable { name: entry.name.clone(), path: path.clone(), source };
        self.fs.len_bytes(&path).map_err(unavailable)
    }

    /// The length of everything that is replayed, and of the base alone.
    pub(crate) fn sizes(&self) -> Result<(u64, u64), Error> {
        let base_bytes = self.manifest.base.as_ref().map_or(Ok(0), |base| self.len_bytes(base))?;
        let incrs = self.manifest.incrs.iter().map(|incr| self.len_bytes(incr));
        Ok((base_bytes + incrs.sum::<Result<u64, Error>>()?, base_bytes))
    }

    /// Makes the directory itself, its name durable, and removes what a crash left half-done.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        retry(|| self.fs.create_dir(&self.dir)).map_err(io_error("mkdir", &self.dir))?;
        // Redis forgets this one: a strict file system then forgets the whole directory in a power cut.
        retry(|| self.fs.sync_dir(&self.parent)).map_err(io_error("fsync", &self.parent))?;
        self.remove_if_there(&self.temp_manifest())?;
        self.remove_if_there(&self.temp_incr())
    }

    /// Makes durable what was just replayed and will be served: the files, then their names and the manifest's. After a
    /// kill -9 the kernel may be the only one who knows of it, and what is appended now counts on it: on the tail of a file
    /// that is not the last one, on the manifest that lists the last one.
    pub(crate) fn sync_replayed(&self) -> Result<(), Error> {
        if self.manifest.is_empty() {
            return Ok(());
        }
        for entry in self.manifest.replayed() {
            let path = self.path(&entry.name);
            let file = retry(|| self.fs.open_append(&path)).map_err(io_error("open", &path))?;
            retry(|| file.sync_data()).map_err(io_error("fdatasync", &path))?;
        }
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))
    }

    /// Creates an empty base of commands, as Redis does where there is nothing (with `aof-use-rdb-preamble no`); it is
    /// durable but unlisted.
    pub(crate) fn create_empty_base(&self) -> Result<Entry, Error> {
        let base = self.new_base_entry(BaseFormat::Resp)?;
        self.create(&self.path(&base.name))?;
        Ok(base)
    }

    /// Creates the next incr, empty and durable but unlisted. Numbers whose file exists are skipped: whatever it holds,
    /// it is not ours to empty.
    pub(crate) fn create_incr(&self, after: FileSeq) -> Result<(Entry, Arc<dyn File>), Error> {
        let taken = self.names()?;
        let last = self.manifest.incrs.last().map_or(0, |incr| incr.seq).max(after);
        let candidates = last.saturating_add(1)..;
        let entries = candidates.map(|seq| Entry { name: self.incr_name(seq), seq });
        let mut free = entries.filter(|entry| !taken.contains(&entry.name));
        let entry = free.next().unwrap_or_else(|| Entry { name: self.incr_name(u64::MAX), seq: u64::MAX });
        let file = self.create(&self.path(&entry.name))?;
        Ok((entry, file))
    }

    /// Creates the temporary incr of a log that waits for its first base. An earlier one loses its name, not its bytes:
    /// it may still be written to.
    pub(crate) fn create_temp_incr(&self) -> Result<Arc<dyn File>, Error> {
        let path = self.temp_incr();
        self.remove_if_there(&path)?;
        self.create(&path)
    }

    /// The entry of a base that is about to be published. Here too a file that exists keeps its name: a manifest whose
    /// publishing failed late may list it all the same.
    pub(crate) fn new_base_entry(&self, format: BaseFormat) -> Result<Entry, Error> {
        let used = self.names()?.into_iter().filter_map(|name| self.role(&name));
        let used = used.filter(|(role, _)| *role == Role::Base).map(|(_, seq)| seq);
        let listed = self.manifest.base.as_ref().map(|base| base.seq);
        let seq = used.chain(listed).max().unwrap_or(0).saturating_add(1);
        let suffix = if format == BaseFormat::Rdb { "rdb" } else { "aof" };
        Ok(Entry { name: format!("{}.{seq}.base.{suffix}", self.filename), seq })
    }

    pub(crate) fn new_incr_entry(&self) -> Entry {
        let seq = self.manifest.incrs.last().map_or(0, |incr| incr.seq) + 1;
        Entry { name: self.incr_name(seq), seq }
    }

    /// Makes the names durable, then the manifest that lists them; only then does `self` change.
    pub(crate) fn publish(&mut self, manifest: Manifest) -> Result<(), Error> {
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))?;
        manifest.publish(&*self.fs, &self.temp_manifest(), &self.manifest_path())?;
        self.manifest = manifest;
        Ok(())
    }

    /// Brings a file of the parent directory in under its final name. Its new name is durable before its old one is
    /// forgotten: a power cut between the two leaves one of them at least.
    pub(crate) fn bring_in(&self, from: &Path, entry: &Entry) -> Result<(), Error> {
        retry(|| self.fs.rename(from, &self.path(&entry.name))).map_err(io_error("rename", from))?;
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))?;
        retry(|| self.fs.sync_dir(&self.parent)).map_err(io_error("fsync", &self.parent))
    }

    /// Removes files that a failed publish was to list, unless the manifest on disk may list them all the same: the
    /// rename can have happened although the sync after it failed.
    pub(crate) fn remove_unlisted(&self, entries: &[Entry]) {
        let Ok(on_disk) = self.read_manifest() else { return };
        for entry in entries.iter().filter(|entry| on_disk.replayed().all(|listed| listed != *entry)) {
            // If it stays, its number is skipped from now on.
            let _ = self.fs.remove(&self.path(&entry.name));
        }
    }

    /// Drops `removed` from the history, once their files are gone.
    pub(crate) fn forget(&mut self, removed: &[Entry]) -> Result<(), Error> {
        let mut manifest = self.manifest.clone();
        manifest.history.retain(|entry| !removed.contains(entry));
        if manifest == self.manifest { Ok(()) } else { self.publish(manifest) }
    }

    fn remove_if_there(&self, path: &Path) -> Result<(), Error> {
        match self.fs.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("unlink", path)(error)),
            _ => Ok(()),
        }
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn File>, Error> {
        let file = retry(|| self.fs.create(path)).map_err(io_error("create", path))?;
        retry(|| file.sync_data()).map_err(io_error("fdatasync", path))?;
        Ok(file)
    }

    fn incr_name(&self, seq: FileSeq) -> String {
        format!("{}.{seq}.incr.aof", self.filename)
    }

    fn manifest_path(&self) -> PathBuf {
        self.path(&format!("{}.manifest", self.filename))
    }

    fn temp_manifest(&self) -> PathBuf {
        self.path(&format!("temp-{}.manifest", self.filename))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(io_error("readdir", &self.dir)),
        }
    }

    fn read_manifest(&self) -> Result<Manifest, Error> {
        let path = self.manifest_path();
        let text = match read_all(&*self.fs, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Manifest::default()),
            other => other.map_err(io_error("read", &path))?,
        };
        Manifest::parse(&text).map_err(|(line, kind)| Error::Manifest { path, line, kind })
    }

    fn refuse_orphans(&self, names: &[String]) -> Result<(), Error> {
        for name in names.iter().filter(|name| self.role(name).is_some()) {
            let path = self.path(name);
            if self.fs.len_bytes(&path).map_err(io_error("stat", &path))? > 0 {
                return Err(Error::ManifestMissing { path: self.manifest_path(), file: name.clone() });
            }
        }
        Ok(())
    }

    /// Takes over `<dir>/<appendfilename>`. Every step may be cut short and repeated: until the rename, the manifest
    /// names a base that is not there yet, which is how the next start knows.
    /// Source: redis 7.2 `src/aof.c` `aofUpgradePrepare`.
    fn adopt(&mut self) -> Result<(), Error> {
        let single = self.parent.join(&self.filename);
        let base = Entry { name: self.filename.clone(), seq: 1 };
        let adopting = Manifest { base: Some(base.clone()), ..Manifest::default() };
        let interrupted = self.manifest == adopting && self.fs.len_bytes(&self.path(&base.name)).is_err();
        if self.fs.len_bytes(&single).is_err() || !(self.manifest.is_empty() || interrupted) {
            return Ok(());
        }
        self.prepare()?;
        self.publish(adopting)?;
        self.bring_in(&single, &base)?;
        self.adopted = Some(single);
        Ok(())
    }

    /// What `<filename>.<seq>.base.rdb`, `.base.aof` and `.incr.aof` are.
    fn role(&self, name: &str) -> Option<(Role, FileSeq)> {
        let rest = name.strip_prefix(&self.filename)?.strip_prefix('.')?;
        let (seq, suffix) = rest.split_once('.')?;
        let role = match suffix {
            "base.rdb" | "base.aof" => Role::Base,
            "incr.aof" => Role::Incr,
            _ => return None,
        };
        Some((role, seq.parse().ok()?))
    }
}
