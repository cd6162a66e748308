//! Looking at a log without changing it, and mending it when asked to: what `everlog-check-aof` does.
//!
//! It reads by the code that loads a log (see [`replay`](crate::replay)), so a log that is sound here loads, and what is
//! named here is what a start would cut, set aside or refuse. Where a start stops, it reads on: at the next block that can
//! be read, else in the next file.
//!
//! | what | changes |
//! |---|---|
//! | [`Checkup::look`] | nothing |
//! | [`Checkup::cut`] | shortens one file, after a copy of what it cuts |
//! | [`Checkup::repair`] | writes what is sound into new files and lists those; the old ones stay, and count nowhere |
//!
//! No more is kept in memory than one block, or transaction, and one command, also in a repair; a transaction of others that
//! is repaired, twice.

mod look;
mod mend;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::look::Look;
use self::mend::Mend;
use crate::Position;
use crate::block::{Epoch, Head};
use crate::dir::{BaseFormat, Directory};
use crate::error::{Error, io_error};
use crate::fs::{Fs, Reader};
use crate::manifest::{Entry, Manifest};
use crate::options::Options;
use crate::replay::{Damage, Rdb, Sink, Truncation, is_rdb};
use crate::set::Part;

/// As much of a file is looked at to tell what it is.
const MAGIC_BYTES: u64 = 64 * 1024;
const MANIFEST_SUFFIX: &str = ".manifest";

/// A log, or a single file of one.
#[derive(Debug)]
pub struct Checkup {
    directory: Directory,
    options: Options,
    /// The file that alone is looked at.
    single: Option<Part>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The files, in the order of their replay.
    pub files: Vec<FileReport>,
    /// Commands that can be read.
    pub commands: u64,
    /// What the base says of itself.
    base: Option<(Epoch, Position)>,
    /// The RDB that the base begins with, as far as it can be read.
    base_rdb: Option<Rdb>,
    /// Payload of the incrs that a repair would keep.
    incr_payload_bytes: u64,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// It is the base, or a log of a single file.
    pub is_base: bool,
    /// It begins as an RDB.
    pub is_rdb: bool,
    /// Its length.
    pub len_bytes: u64,
    /// The end of what is sound from its start on.
    pub ok_up_to_bytes: u64,
    /// The number of the line there, as `redis-check-aof` counts: lines of commands, from 1.
    pub ok_up_to_line: u64,
    /// Blocks whose checksums are right.
    pub blocks_verified: u64,
    /// Bytes that no checksum vouches for.
    pub unverified_bytes: u64,
    /// Where it is not sound, in order.
    pub places: Vec<Place>,
}

/// A place where a file is not sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it is.
    pub verdict: Verdict,
    /// Where it shows: not before `damage.offset_bytes`.
    pub at_bytes: u64,
    /// The file may be cut there without loss of what follows in other files.
    pub can_cut: bool,
    /// Where, how long, and whose keys.
    pub damage: Damage,
}

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What a crash leaves at the end of a file.
    Torn,
    /// Damage in what was safe once.
    Corrupt,
    /// No commands, where no block of ours is.
    Wrong,
    /// The file is readable and not what its successor recorded: something that no checksum covers was changed.
    NotAsRecorded,
    /// Bytes are missing from the end of the file.
    Missing,
    /// It stands again in the file that took over: other servers would execute it twice.
    Repeated,
    /// It is sound, and later than the timestamp that was asked for.
    Later,
}

impl Verdict {
    /// As a word of a report.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Torn => "torn",
            Verdict::Corrupt => "corrupt",
            Verdict::Wrong => "wrong",
            Verdict::NotAsRecorded => "not-as-recorded",
            Verdict::Missing => "missing",
            Verdict::Repeated => "repeated",
            Verdict::Later => "later",
        }
    }
}

/// What a repair has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// A copy of the manifest that was replaced.
    pub manifest_copy: PathBuf,
    /// The base that is listed now, and the incr behind it.
    pub files: Vec<String>,
    /// Files that were listed: unchanged, and counting nowhere.
    pub left: Vec<String>,
}

impl Findings {
    /// Nothing is wrong anywhere.
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(|file| file.places.is_empty())
    }

    /// All places, with their files.
    pub fn places(&self) -> impl Iterator<Item = (&FileReport, &Place)> {
        self.files.iter().flat_map(|file| file.places.iter().map(move |place| (file, place)))
    }

    /// The base need not be written again.
    fn base_is_sound(&self) -> bool {
        self.files.iter().filter(|file| file.is_base).all(|file| file.places.is_empty())
    }
}

impl Checkup {
    /// Of whatever `path` is: a manifest by its name or its first line, else a file of commands or an RDB with commands.
    ///
    /// # Errors
    /// [`Error::Io`]; what [`Directory::open`] says of a manifest.
    pub fn open(fs: Arc<dyn Fs>, path: &Path) -> Result<Checkup, Error> {
        let start = start_of(&*fs, path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let stem = name.strip_suffix(MANIFEST_SUFFIX);
        let filename = stem.unwrap_or(&name).to_owned();
        let options = Options { dir: dir.clone(), filename, ..Options::new(dir) };
        if stem.is_some() {
            return Ok(Checkup { directory: Directory::open_to_look(fs, &options)?, options, single: None });
        }
        if is_manifest(&start) {
            let reason = format!("the name of a manifest ends in {MANIFEST_SUFFIX}");
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, reason);
            return Err(io_error("open", path)(source));
        }
        let directory = Directory::around(fs, &options);
        let entry = Entry { name, seq: 1 };
        let (is_incr, seq) = match directory.first_line(&entry)?.and_then(|line| line.head) {
            Some(Head::Incr(head)) => (true, head.seq),
            Some(Head::Base(_)) => (false, 0),
            None => (!is_rdb(&start) && entry.name.ends_with(".incr.aof"), 0),
        };
        let entry = Entry { seq, ..entry };
        let len_bytes = directory.len_bytes(&entry)?;
        let single = Some(Part::whole(entry, !is_incr, len_bytes));
        Ok(Checkup { directory, options, single })
    }

    /// It is a log with a manifest.
    pub fn is_set(&self) -> bool {
        self.single.is_none()
    }

    /// Reads everything; changes nothing. Where a `#TS:` line exceeds `until_unix_s`, what follows it is
    /// [`Verdict::Later`]. The sink is given what is sound.
    ///
    /// # Errors
    /// As [`Directory::replay`], of files that do not belong together and of what the sink refuses.
    pub fn look(&self, sink: &mut impl Sink, until_unix_s: Option<i64>) -> Result<Findings, Error> {
        let mut look = Look::new(until_unix_s);
        let (parts, epoch) = match &self.single {
            Some(part) => (vec![part.clone()], None),
            None => self.directory.parts(&mut look)?,
        };
        let reading = self.directory.read(&parts, epoch, sink, &mut look)?;
        for (part, file) in parts.iter().zip(&mut look.findings.files) {
            note_repeated(part, self.directory.path(&part.entry.name), file);
        }
        look.findings.commands = reading.commands;
        Ok(look.findings)
    }

    /// Cuts a file at its first place; the bytes are copied into a file beside it before. Who calls this has asked
    /// [`Place::can_cut`].
    ///
    /// # Errors
    /// [`Error::Io`]: the file is as before then.
    pub fn cut(&self, file: &FileReport) -> Result<Truncation, Error> {
        let first = file.places.first().map_or(Verdict::Torn, |place| place.verdict);
        let entry = Entry { name: file.name.clone(), seq: 1 };
        self.directory.cut(&entry, file.ok_up_to_bytes, "cut", first.name())
    }

    /// Writes what is sound into new files, and publishes a manifest that lists those. A sound base is kept; all incrs
    /// become one. No old byte is touched: the old files stay, and the old manifest is copied first.
    ///
    /// No server may use the directory meanwhile. `findings` are those of a [`look`](Self::look) at the same files.
    ///
    /// # Errors
    /// [`Error::NotRepairable`] for a log that is no set; else as [`look`](Self::look): the log is as before then.
    pub fn repair(mut self, findings: &Findings, sink: &mut impl Sink) -> Result<Repaired, Error> {
        if let Some(part) = &self.single {
            return Err(Error::NotRepairable { path: self.directory.path(&part.entry.name) });
        }
        // A listed file that still has its temporary name gets its own: under that name, and no longer listed, the next
        // start would take it for a leftover.
        self.directory = Directory::open_to_supersede(Arc::clone(self.directory.fs()), &self.options)?;
        let old = self.directory.manifest().clone();
        let manifest_copy = self.copy_manifest()?;
        let (base, incr) = new_files(&self.directory, findings)?;
        let new: Vec<Entry> = base.iter().chain([&incr]).cloned().collect();
        let mut mend = Mend::new(&self.directory, findings, base.as_ref(), &incr, sink)
            .inspect_err(|_| self.directory.remove_unlisted(&new))?;
        let base = base.or(old.base.clone());
        let written = self.directory.parts(&mut mend).and_then(|(parts, epoch)| {
            self.directory.read(&parts, epoch, sink, &mut mend)?;
            mend.finish()
        });
        let manifest = Manifest { base, history: old.history.clone(), incrs: vec![incr] };
        let published = written.and_then(|()| self.directory.publish(manifest));
        published.inspect_err(|_| self.directory.remove_unlisted(&new))?;
        let listed = self.directory.manifest().clone();
        let left = old.replayed().filter(|entry| listed.replayed().all(|kept| kept != *entry));
        Ok(Repaired {
            manifest_copy,
            files: listed.replayed().map(|entry| entry.name.clone()).collect(),
            left: left.map(|entry| entry.name.clone()).collect(),
        })
    }

    fn copy_manifest(&self) -> Result<PathBuf, Error> {
        let path = self.directory.manifest_path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry = Entry { name, seq: 1 };
        let len_bytes = self.directory.len_bytes(&entry)?;
        self.directory.copy_aside(&entry, 0, len_bytes, "replaced")
    }
}

/// What stands behind the stated end of a file was not read.
fn note_repeated(part: &Part, path: PathBuf, file: &mut FileReport) {
    let len_bytes = part.repeated_bytes();
    if len_bytes == 0 {
        return;
    }
    let offset_bytes = part.counted_bytes();
    let found = "it stands again in the file that took over".to_owned();
    let damage = Damage {
        path,
        offset_bytes,
        position: None,
        len_bytes,
        found,
        keys: Vec::new(),
        are_more_keys: false,
    };
    // Cut there, the file would keep what is damaged before.
    let can_cut = file.places.is_empty();
    file.places.push(Place { verdict: Verdict::Repeated, at_bytes: offset_bytes, can_cut, damage });
}

fn start_of(fs: &dyn Fs, path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let mut start = Vec::new();
    Reader::open(fs, path, 0)?.take(MAGIC_BYTES).read_to_end(&mut start).map_err(io_error("read", path))?;
    Ok(start)
}

/// Source: redis 7.2 `src/redis-check-aof.c` `fileIsManifest`.
fn is_manifest(start: &[u8]) -> bool {
    let mut lines = start.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"#"));
    lines.next().is_some_and(|line| line.starts_with(b"file "))
}

/// The new files of a repair: a base only if the old one is not kept.
fn new_files(directory: &Directory, findings: &Findings) -> Result<(Option<Entry>, Entry), Error> {
    let format = if findings.base_rdb.is_some() { BaseFormat::Rdb } else { BaseFormat::Resp };
    let keeps_base = findings.base_is_sound();
    let base = if keeps_base { None } else { Some(directory.new_base_entry(format)?) };
    Ok((base, directory.create_incr(0)?.0))
}
