//! The directory that holds the log: its names, its manifest, and every step that changes either.
//!
//! ```text
//! <dir>/<appenddirname>/appendonly.aof.manifest            what counts, see `manifest`
//! <dir>/<appenddirname>/appendonly.aof.1.base.aof|rdb      the base
//! <dir>/<appenddirname>/appendonly.aof.1.incr.aof          an incr
//! <dir>/<appenddirname>/appendonly.aof.1.incr.aof.torn-81  bytes cut off after offset 81, kept for whoever wants them
//! <dir>/<appenddirname>/temp-rewriteaof-bg-<pid>.aof       a base being written by a rewrite
//! <dir>/<appenddirname>/temp-appendonly.aof.manifest       left by a crash, removed at start; so below
//! <dir>/<appenddirname>/temp-appendonly.aof.incr           the log between CONFIG SET appendonly yes and its first base
//! <dir>/<appenddirname>/temp-appendonly.aof.base           that base, or the one of a log that begins empty, until the manifest
//!                                                          lists it; so above: a start that finds them listed names them
//! ```
//!
//! A name counts once the directory is synced, and a file once the manifest names it: always in that order.

use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Position;
use crate::block::{BaseFrame, Epoch, FilePoint, Head, IncrHead};
use crate::error::{Error, io_error};
use crate::fs::{File, Fs, Reader, read_all, retry, write_all};
use crate::manifest::{Entry, FileSeq, Manifest};
use crate::options::Options;
use crate::replay::Unsure;
use crate::stats::Failure;
use crate::tail::LiveFile;

/// What is written again is read in pieces of this size, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The number that an adopted base is listed by.
const ADOPTED_SEQ: FileSeq = 1;

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
    recovered: Option<Recovered>,
    /// Listed files that are elsewhere as long as nobody has given them their names.
    unnamed: Vec<(String, PathBuf)>,
}

/// Makes the directory of a log, durably.
pub(crate) fn make(fs: &dyn Fs, dir: &Path, parent: &Path) -> Result<(), Error> {
    retry(|| fs.create_dir(dir)).map_err(io_error("mkdir", dir))?;
    // As in `create_dir_all`.
    retry(|| fs.sync_dir(parent)).map_err(io_error("fsync", parent))
}

/// Removes files that no longer count; returns those that are gone.
pub(crate) fn remove_superseded(fs: &dyn Fs, files: Vec<(Entry, PathBuf)>) -> Vec<Entry> {
    let is_gone = |path: &Path| match fs.remove(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(()) => true,
    };
    files.into_iter().filter(|(_, path)| is_gone(path)).map(|(entry, _)| entry).collect()
}

/// What replay has found out about the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovered {
    /// What their positions count from; none if no line of ours was there.
    pub(crate) epoch: Option<Epoch>,
    /// Where the log ends.
    pub(crate) end: Position,
    /// Where each incr ends.
    pub(crate) incrs: Vec<(FileSeq, FilePoint)>,
    /// What of them the kernel may have alone.
    pub(crate) unsure: Vec<Unsure>,
    /// Which of them still has its torn tail, and why.
    pub(crate) uncut: Option<(FileSeq, Failure)>,
}

/// The lengths of the base and of each incr.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) base_bytes: u64,
    pub(crate) incrs: Vec<(FileSeq, u64)>,
}

/// What a file's name says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
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
        let mut directory = Directory::around(fs, options);
        let names = directory.names()?;
        directory.manifest = directory.read_manifest()?;
        if directory.manifest.is_empty() {
            directory.refuse_orphans(&names)?;
        } else {
            let temps = [directory.temp_base(), directory.temp_incr()];
            if names.iter().any(|name| temps.contains(&directory.path(name))) {
                directory.name_first_files(&directory.manifest)?;
            }
        }
        Ok(directory)
    }

    /// As [`open`](Self::open), for who changes nothing: files that still have a temporary name keep it.
    pub(crate) fn open_to_look(fs: Arc<dyn Fs>, options: &Options) -> Result<Directory, Error> {
        let mut directory = Directory::around(fs, options);
        directory.manifest = directory.read_manifest()?;
        if directory.manifest.is_empty() {
            directory.refuse_orphans(&directory.names()?)?;
        }
        directory.unnamed = directory.unnamed(&directory.manifest)?;
        Ok(directory)
    }

    /// What holds a file that no manifest lists.
    pub(crate) fn around(fs: Arc<dyn Fs>, options: &Options) -> Directory {
        Directory {
            fs,
            dir: options.dir.clone(),
            parent: options.adopt_from.clone(),
            filename: options.filename.clone(),
            manifest: Manifest::default(),
            adopted: None,
            recovered: None,
            unnamed: Vec::new(),
        }
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
        let elsewhere = self.unnamed.iter().find(|(unnamed, _)| unnamed == name);
        elsewhere.map_or_else(|| self.dir.join(name), |(_, path)| path.clone())
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

    /// The length of a file that may not be there.
    pub(crate) fn len_bytes_if_there(&self, path: &Path) -> Result<Option<u64>, Error> {
        match retry(|| self.fs.len_bytes(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(io_error("stat", path)),
        }
    }

    /// The lengths of what is replayed.
    pub(crate) fn sizes(&self) -> Result<Sizes, Error> {
        let base_bytes = self.manifest.base.as_ref().map_or(Ok(0), |base| self.len_bytes(base))?;
        let incrs = self.manifest.incrs.iter().map(|incr| Ok((incr.seq, self.len_bytes(incr)?)));
        Ok(Sizes { base_bytes, incrs: incrs.collect::<Result<_, Error>>()? })
    }

    /// Makes the directory itself, its name durable, and removes what a crash left half-done.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        make(&*self.fs, &self.dir, &self.parent)?;
        let names = self.names()?;
        // A disk that is read-only refuses to remove even what is not there.
        let temps = [self.temp_manifest(), self.temp_base(), self.temp_incr()].into_iter();
        temps
            .filter(|temp| names.iter().any(|name| self.path(name) == *temp))
            .try_for_each(|temp| self.remove_if_there(&temp))
    }

    pub(crate) fn set_recovered(&mut self, recovered: Recovered) {
        self.recovered = Some(recovered);
    }

    /// What replay found out.
    pub(crate) fn recovered(&self) -> Result<Recovered, Error> {
        match &self.recovered {
            Some(recovered) => Ok(recovered.clone()),
            None if self.manifest.incrs.is_empty() => self.recovered_base(),
            None => Err(self.not_replayed()),
        }
    }

    /// The last incr, opened to go on with it; created first where there is none. The manifest is touched only then. But a
    /// file that could not be cut comes first, and must be left for a new one: an empty one may be listed behind it.
    pub(crate) fn open_live(
        &mut self,
        recovered: Recovered,
        epoch: Epoch,
        options: &Options,
    ) -> Result<LiveFile, Error> {
        let checksum = options.checksum;
        if self.manifest.is_empty() {
            let base =
                self.create_empty_base(checksum.then_some(epoch), options.empty_base_rdb.as_deref())?;
            self.create_first_incr(Some(base))?;
            self.name_first_files(&self.manifest)?;
        } else if self.manifest.incrs.is_empty() {
            self.create_first_incr(self.manifest.base.clone())?;
        }
        let uncut = recovered.uncut.as_ref().map(|(seq, _)| *seq);
        let torn = self.manifest.incrs.iter().find(|incr| Some(incr.seq) == uncut);
        let Some(last) = torn.or(self.manifest.incrs.last()) else { return Err(self.not_replayed()) };
        let (path, seq) = (self.path(&last.name), last.seq);
        let file = retry(|| self.fs.open_append(&path)).map_err(io_error("open", &path))?;
        let Recovered { end: start, incrs: ends, .. } = recovered;
        let point = ends.iter().find(|(other, _)| *other == seq).map_or_else(FilePoint::default, |end| end.1);
        let behind = ends.into_iter().rfind(|(_, end)| end.offset_bytes > 0);
        let base = self.manifest.base.as_ref().map_or(0, |base| base.seq);
        let owed = checksum.then_some(IncrHead { epoch, seq, base, moved_bytes: None, behind });
        Ok(LiveFile { file, path: path.into(), seq, start, point, owed })
    }

    /// What a base alone tells, behind which nothing was written yet.
    fn recovered_base(&self) -> Result<Recovered, Error> {
        let head = self.manifest.base.as_ref().map_or(Ok(None), |base| self.base_head(base))?;
        Ok(match head {
            Some(Head::Base(head)) => {
                Recovered { epoch: Some(head.epoch), end: head.covers, ..Recovered::default() }
            }
            _ => Recovered::default(),
        })
    }

    fn not_replayed(&self) -> Error {
        Error::NotReplayed { path: self.dir.clone() }
    }

    fn create_first_incr(&mut self, base: Option<Entry>) -> Result<(), Error> {
        let (entry, _) = self.create_incr(0)?;
        let history = self.manifest.history.clone();
        self.publish(Manifest { base, history, incrs: vec![entry] })
    }

    /// Makes durable what was just replayed and will be served: the files, then their names and the manifest's. After a
    /// kill -9 the kernel may be the only one who knows of it, and what is appended now counts on it: on the tail of a file
    /// that is not the last one, on the manifest that lists the last one. What is [`Unsure`] is written again before.
    pub(crate) fn sync_replayed(&self, unsure: &[Unsure]) -> Result<(), Error> {
        if self.manifest.is_empty() {
            return Ok(());
        }
        for entry in self.manifest.replayed() {
            let path = self.path(&entry.name);
            // Before anything is written: a descriptor is told only of what fails after it was opened.
            let file = retry(|| self.fs.open_append(&path)).map_err(io_error("open", &path))?;
            for unsure in
                unsure.iter().filter(|unsure| self.manifest.incrs.contains(entry) && unsure.seq == entry.seq)
            {
                self.write_again(&path, unsure)?;
            }
            retry(|| file.sync_data()).map_err(io_error("fdatasync", &path))?;
        }
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))
    }

    /// Writes bytes over themselves, so that the kernel takes them for new. They must still be those that were replayed: a
    /// page that is clean may have been dropped and read from the disk again meanwhile.
    fn write_again(&self, path: &Path, unsure: &Unsure) -> Result<(), Error> {
        let from = unsure.from.offset_bytes;
        let mut reader =
            Reader::open(&*self.fs, path, from)?.take(unsure.to.offset_bytes.saturating_sub(from));
        let (mut at, mut chunk) = (unsure.from, vec![0; CHUNK_BYTES]);
        loop {
            let count = reader.read(&mut chunk).map_err(io_error("read", path))?;
            let bytes = &chunk[..count];
            if bytes.is_empty() {
                break;
            }
            let again = retry(|| self.fs.overwrite(path, at.offset_bytes, bytes));
            again.map_err(io_error("write", path))?;
            at = at.after(bytes);
        }
        if at == unsure.to {
            return Ok(());
        }
        let changed = io::Error::new(io::ErrorKind::InvalidData, "it is not what was replayed a moment ago");
        Err(io_error("read", path)(changed))
    }

    /// Gives the first files of a log their names, unless they have them already. The manifest lists those first, durably: a
    /// crash between the two is told by the temporary names, whereas files with bytes and without a manifest may be
    /// anybody's data.
    fn name_first_files(&self, manifest: &Manifest) -> Result<(), Error> {
        let unnamed = self.unnamed(manifest)?;
        if unnamed.is_empty() {
            return Ok(());
        }
        let sync_dir = || retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir));
        sync_dir()?;
        for (name, temp) in unnamed {
            retry(|| self.fs.rename(&temp, &self.dir.join(&name))).map_err(io_error("rename", &temp))?;
        }
        sync_dir()
    }

    /// The listed files that still have a temporary name, and where they are. A file that is not there under either name is
    /// lost: whoever wants to read it will say so.
    fn unnamed(&self, manifest: &Manifest) -> Result<Vec<(String, PathBuf)>, Error> {
        let (base, incr) = (self.temp_base(), self.temp_incr());
        let mut unnamed = Vec::new();
        if let [entry] = self.missing(&manifest.base)?[..]
            && self.len_bytes_if_there(&base)?.is_some()
        {
            unnamed.push((entry.name.clone(), base));
        }
        let missing = self.missing(&manifest.incrs)?;
        if !missing.is_empty()
            && self.len_bytes_if_there(&incr)?.is_some()
            && let Some(entry) = self.listed_as(&incr, &missing)?
        {
            unnamed.push((entry.name.clone(), incr));
        }
        Ok(unnamed)
    }

    fn missing<'a>(&self, listed: impl IntoIterator<Item = &'a Entry>) -> Result<Vec<&'a Entry>, Error> {
        let mut missing = Vec::new();
        for entry in listed {
            if self.len_bytes_if_there(&self.dir.join(&entry.name))?.is_none() {
                missing.push(entry);
            }
        }
        Ok(missing)
    }

    /// Which of the missing incrs the temporary one is: its head tells that from the incr of a log that was given up.
    fn listed_as<'a>(&self, temp: &Path, missing: &[&'a Entry]) -> Result<Option<&'a Entry>, Error> {
        Ok(match (self.first_line_of(temp)?.and_then(|line| line.head), missing) {
            (Some(Head::Incr(head)), _) => missing.iter().find(|entry| entry.seq == head.seq).copied(),
            (_, [entry]) => Some(entry),
            _ => None,
        })
    }

    /// Publishes a base that stands at `temp_path` in place of all that is listed, and with it the temporary incr, if one is
    /// listed. From the manifest on nothing can be taken back: if the names cannot be given now, the next start does so.
    pub(crate) fn publish_first(&mut self, temp_path: &Path, manifest: Manifest) -> Result<(), Error> {
        let base = manifest.base.clone();
        let published = self.bring_in(temp_path, &self.temp_base()).and_then(|()| self.list(manifest));
        if let Err(error) = published {
            if base.is_some_and(|base| self.is_unlisted(&base)) {
                let _ = self.fs.remove(&self.temp_base());
            }
            return Err(error);
        }
        let _ = self.name_first_files(&self.manifest);
        Ok(())
    }

    /// Creates a base without keys, as Redis does where there is nothing: an RDB file if its bytes are given. It names the
    /// epoch, if there is to be one. It is durable but unlisted, and [has no name yet](Self::name_first_files).
    fn create_empty_base(&self, epoch: Option<Epoch>, rdb: Option<&[u8]>) -> Result<Entry, Error> {
        let base = self.new_base_entry(if rdb.is_some() { BaseFormat::Rdb } else { BaseFormat::Resp })?;
        let path = self.temp_base();
        let file = retry(|| self.fs.create(&path)).map_err(io_error("create", &path))?;
        let mut bytes = rdb.unwrap_or_default().to_vec();
        match (epoch.map(|epoch| BaseFrame::new(epoch, 0, 0)), rdb) {
            (Some(frame), None) => (0..2).for_each(|_| frame.head(&mut bytes)),
            (Some(frame), Some(rdb)) => frame.rdb_head(rdb.len() as u64, &mut bytes),
            (None, _) => {}
        }
        write_all(&*file, &mut [IoSlice::new(&bytes)]).map_err(io_error("write", &path))?;
        retry(|| file.sync_data()).map_err(io_error("fdatasync", &path))?;
        Ok(base)
    }

    /// Creates the next incr, empty and durable but unlisted.
    pub(crate) fn create_incr(&self, after: FileSeq) -> Result<(Entry, Arc<dyn File>), Error> {
        let entry = self.incr_entry(self.free_incr_seq(after)?);
        let file = self.create(&self.path(&entry.name))?;
        Ok((entry, file))
    }

    /// The next number that no file has, nor had: whatever exists is not ours to empty, and what the history lists is
    /// removed by its name.
    pub(crate) fn free_incr_seq(&self, after: FileSeq) -> Result<FileSeq, Error> {
        let taken: Vec<FileSeq> = self.used(Role::Incr)?.collect();
        let last = self.manifest.incrs.last().map_or(0, |incr| incr.seq).max(after);
        Ok((last.saturating_add(1)..).find(|seq| !taken.contains(seq)).unwrap_or(FileSeq::MAX))
    }

    /// The numbers of files that are there or listed.
    fn used(&self, role: Role) -> Result<impl Iterator<Item = FileSeq>, Error> {
        let Manifest { base, incrs, history } = &self.manifest;
        let listed = base.iter().chain(incrs).chain(history).map(|entry| entry.name.clone());
        let used = self.names()?.into_iter().chain(listed).filter_map(|name| self.role(&name));
        Ok(used.filter(move |(other, _)| *other == role).map(|(_, seq)| seq))
    }

    /// Creates the temporary incr of a log that waits for its first base. An earlier one loses its name, not its bytes:
    /// it may still be written to.
    pub(crate) fn create_temp_incr(&self) -> Result<Arc<dyn File>, Error> {
        self.remove_temp_incr()?;
        // A name that was given without being told so must be durable before its old one is somebody else's.
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))?;
        self.create(&self.temp_incr())
    }

    /// Removes the temporary incr, if there is one. But a manifest whose publishing failed late may list it, and keeps it.
    pub(crate) fn remove_temp_incr(&self) -> Result<(), Error> {
        self.name_first_files(&self.read_manifest()?)?;
        self.remove_if_there(&self.temp_incr())
    }

    /// The entry of a base that is about to be published. Here too a file that exists keeps its name: a manifest whose
    /// publishing failed late may list it all the same.
    pub(crate) fn new_base_entry(&self, format: BaseFormat) -> Result<Entry, Error> {
        let listed = self.manifest.base.as_ref().map(|base| base.seq);
        let seq = self.used(Role::Base)?.chain(listed).max().unwrap_or(0).saturating_add(1);
        let suffix = if format == BaseFormat::Rdb { "rdb" } else { "aof" };
        Ok(Entry { name: format!("{}.{seq}.base.{suffix}", self.filename), seq })
    }

    pub(crate) fn incr_entry(&self, seq: FileSeq) -> Entry {
        Entry { name: format!("{}.{seq}.incr.aof", self.filename), seq }
    }

    /// What the history lists and nothing else does, and where it is.
    pub(crate) fn superseded(&self) -> Vec<(Entry, PathBuf)> {
        let counts = |entry: &Entry| self.manifest.replayed().any(|listed| listed.name == entry.name);
        let superseded = self.manifest.history.iter().filter(|entry| !counts(entry));
        superseded.map(|entry| (entry.clone(), self.path(&entry.name))).collect()
    }

    /// Makes the names durable, then the manifest that lists them; only then does `self` change.
    pub(crate) fn publish(&mut self, manifest: Manifest) -> Result<(), Error> {
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))?;
        self.list(manifest)
    }

    /// As [`publish`](Self::publish), for who has just made the names durable.
    pub(crate) fn list(&mut self, manifest: Manifest) -> Result<(), Error> {
        manifest.publish(&*self.fs, &self.temp_manifest(), &self.manifest_path())?;
        self.manifest = manifest;
        Ok(())
    }

    /// Gives a file of this directory or of its parent another name here. That is durable before its old one is forgotten:
    /// a power cut between the two leaves one of them at least.
    pub(crate) fn bring_in(&self, from: &Path, to: &Path) -> Result<(), Error> {
        retry(|| self.fs.rename(from, to)).map_err(io_error("rename", from))?;
        retry(|| self.fs.sync_dir(&self.dir)).map_err(io_error("fsync", &self.dir))?;
        if from.parent() == Some(&self.dir) {
            return Ok(());
        }
        retry(|| self.fs.sync_dir(&self.parent)).map_err(io_error("fsync", &self.parent))
    }

    /// Removes files that a failed publish was to list.
    pub(crate) fn remove_unlisted(&self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| self.is_unlisted(entry)) {
            // If it stays, its number is skipped from now on.
            let _ = self.fs.remove(&self.path(&entry.name));
        }
    }

    /// The manifest on disk does not list it. A publish that failed may have got as far as that: the rename can have
    /// happened although the sync after it failed.
    pub(crate) fn is_unlisted(&self, entry: &Entry) -> bool {
        self.read_manifest().is_ok_and(|on_disk| on_disk.replayed().all(|listed| listed.name != entry.name))
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
        let created = retry(|| self.fs.create(path)).or_else(|error| {
            // Somebody has removed the whole directory.
            let made =
                error.kind() == io::ErrorKind::NotFound && make(&*self.fs, &self.dir, &self.parent).is_ok();
            if made { retry(|| self.fs.create(path)) } else { Err(error) }
        });
        let file = created.map_err(io_error("create", path))?;
        match retry(|| file.sync_data()) {
            Ok(()) => Ok(file),
            Err(error) => {
                // Nobody knows of it, and whoever tries again will take another name.
                let _ = self.fs.remove(path);
                Err(io_error("fdatasync", path)(error))
            }
        }
    }

    pub(crate) fn manifest_path(&self) -> PathBuf {
        self.path(&format!("{}.manifest", self.filename))
    }

    fn temp_base(&self) -> PathBuf {
        self.path(&format!("temp-{}.base", self.filename))
    }

    fn temp_manifest(&self) -> PathBuf {
        self.path(&format!("temp-{}.manifest", self.filename))
    }

    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
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

    /// The log of an older server has no number in its name, and keeps that.
    pub(crate) fn is_adopted(&self, name: &str) -> bool {
        name == self.filename
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
        let base = Entry { name: self.filename.clone(), seq: ADOPTED_SEQ };
        let adopting = Manifest { base: Some(base.clone()), ..Manifest::default() };
        let is_interrupted =
            self.manifest == adopting && self.len_bytes_if_there(&self.path(&base.name))?.is_none();
        let is_wanted = self.manifest.is_empty() || is_interrupted;
        if !is_wanted || self.len_bytes_if_there(&single)?.is_none() {
            return Ok(());
        }
        self.prepare()?;
        self.publish(adopting)?;
        self.bring_in(&single, &self.path(&base.name))?;
        self.adopted = Some(single);
        Ok(())
    }

    /// What `<filename>.<seq>.base.rdb`, `.base.aof` and `.incr.aof` are; `<filename>` itself is an adopted base.
    pub(crate) fn role(&self, name: &str) -> Option<(Role, FileSeq)> {
        if self.is_adopted(name) {
            return Some((Role::Base, ADOPTED_SEQ));
        }
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
