//! Whether the files that the manifest lists are the ones that belong together, by what their heads say.
//!
//! The manifest is Redis's and has no checksum; a bit of it can turn an incr into history or one number into another.
//! But each incr names the one before it, with its length and checksum, and the base that was there; a base says where
//! it ends in the sequence of positions, and a base of ours is never empty. So a file that is missing, foreign, cut or out
//! of place shows, but for a base of commands that was emptied before any base took its place: then nothing tells it from
//! the empty one that a server begins with.
//!
//! A file that took over from a failed one says where the content of that ends. Whatever stands behind that end stands
//! again in the new file, and is not read: a crash between the manifest and the cut neither loses nor repeats anything.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use memchr::memmem;

use crate::Position;
use crate::block::{Epoch, FilePoint, Head, IncrHead, Line, MAGIC, MAX_LINE_BYTES};
use crate::dir::{Directory, Role};
use crate::error::{Error, io_error};
use crate::fs::Reader;
use crate::manifest::{Entry, FileSeq};
use crate::replay::{Course, Damage, Find, Kind};

/// Whether a base begins as an RDB, by its name.
fn has_rdb_name(entry: &Entry) -> bool {
    entry.name.ends_with(".rdb")
}

/// A file of the log, as far as it counts.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) entry: Entry,
    pub(crate) is_base: bool,
    pub(crate) len_bytes: u64,
    /// Where its content ends, and what it must hash to, if another says so.
    pub(crate) end: Option<FilePoint>,
    /// It ends before that: then the file itself is all there is.
    pub(crate) is_short: bool,
    /// When another took over, an fdatasync had failed and memory had not kept what stands here from this position on: says
    /// the head of the other. A power cut may have taken any of it.
    pub(crate) lost_from: Option<Position>,
}

impl Part {
    /// A file of which nobody says where it ends.
    pub(crate) fn whole(entry: Entry, is_base: bool, len_bytes: u64) -> Part {
        Part { entry, is_base, len_bytes, end: None, is_short: false, lost_from: None }
    }

    pub(crate) fn counted_bytes(&self) -> u64 {
        self.end.map_or(self.len_bytes, |end| end.offset_bytes)
    }

    /// Commands from the start.
    pub(crate) fn is_resp(&self) -> bool {
        !has_rdb_name(&self.entry)
    }

    /// Bytes behind its end: whoever took over crashed before it cut them.
    pub(crate) fn repeated_bytes(&self) -> u64 {
        self.len_bytes - self.counted_bytes()
    }
}

/// The head that opens a file.
#[derive(Debug, Clone, Copy)]
struct Opening {
    head: IncrHead,
    position: Position,
    durable: Position,
}

impl Opening {
    fn lost_from(&self) -> Option<Position> {
        (self.head.moved_bytes.is_some() && self.durable < self.position).then_some(self.durable)
    }
}

impl Directory {
    /// The files to be replayed, and how much of each; and what their positions count from, as far as heads say so.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Io`]; [`Error::WrongPredecessor`]; [`Error::Contradiction`];
    /// [`Error::Corrupt`] if `course` does not put up with missing bytes.
    pub(crate) fn parts(&self, course: &mut impl Course) -> Result<(Vec<Part>, Option<Epoch>), Error> {
        let mut parts = Vec::new();
        if let Some(base) = &self.manifest().base {
            let len_bytes = self.len_bytes(base)?;
            parts.push(Part::whole(base.clone(), true, len_bytes));
        }
        let bases = parts.len();
        let mut openings: Vec<(FileSeq, Opening)> = Vec::new();
        for entry in &self.manifest().incrs {
            let len_bytes = self.len_bytes(entry)?;
            if let Some(opening) = self.opening(entry)? {
                self.check_opening(entry, &opening, openings.first())?;
                self.end_predecessor(&mut parts[bases..], entry, &opening, course)?;
                openings.push((entry.seq, opening));
            }
            parts.push(Part::whole(entry.clone(), false, len_bytes));
        }
        let first = openings.first().map(|(_, opening)| opening.head.epoch);
        // Where the first incr cannot tell where it begins, replay will say so.
        let begins = openings.first().filter(|(seq, _)| {
            let had_none = |part: &Part| part.len_bytes == 0 && !part.is_short;
            parts[bases..].iter().all(|part| part.entry.seq >= *seq || had_none(part))
        });
        let base = parts.first().filter(|part| part.is_base);
        let base = base.map_or(Ok(None), |base| self.check_base(base, begins, course))?;
        let epoch = first.or(base.map(|head| head.epoch()));
        self.check_unlisted(epoch)?;
        Ok((parts, epoch))
    }

    fn check_opening(
        &self,
        entry: &Entry,
        opening: &Opening,
        first: Option<&(FileSeq, Opening)>,
    ) -> Result<(), Error> {
        let IncrHead { epoch, seq, base, .. } = opening.head;
        let listed = self.manifest().base.as_ref().map_or(0, |base| base.seq);
        let reason = if seq != entry.seq {
            format!("it is incr number {seq}, says its head, and is listed as number {}", entry.seq)
        } else if first.is_some_and(|(_, first)| first.head.epoch != epoch) {
            "it belongs to another log than the incrs before it".to_owned()
        } else if base > listed {
            format!("its head speaks of base number {base}, and number {listed} is listed")
        } else {
            return Ok(());
        };
        Err(self.contradiction(&entry.name, reason))
    }

    /// Empty incrs may stand between the two: a rotation that was under way leaves one, and its number is lower. None
    /// need stand before `entry` where there is a base, for that may have superseded them.
    fn end_predecessor(
        &self,
        incrs: &mut [Part],
        entry: &Entry,
        opening: &Opening,
        course: &mut impl Course,
    ) -> Result<(), Error> {
        let behind = opening.head.behind;
        let named = behind.map_or(0, |(seq, _)| seq);
        let before = incrs.iter_mut().rfind(|part| part.entry.seq == named || part.len_bytes > 0);
        match (before, behind) {
            (Some(part), Some((seq, end))) if part.entry.seq == seq => {
                part.lost_from = opening.lost_from();
                if part.len_bytes >= end.offset_bytes {
                    part.end = Some(end);
                    return Ok(());
                }
                part.is_short = true;
                let ends = format!("its content ends at byte {}, says {}", end.offset_bytes, entry.name);
                course.missing(self.missing_bytes(part, end.offset_bytes, ends))
            }
            (None, None) => Ok(()),
            (None, Some((seq, _))) if self.manifest().base.is_some() && seq < entry.seq => Ok(()),
            (before, _) => Err(Error::WrongPredecessor {
                path: self.path(&entry.name),
                expected: named,
                found: before.map(|part| part.entry.name.clone()),
            }),
        }
    }

    /// A base of ours ends where the first incr begins. Returns its head.
    fn check_base(
        &self,
        part: &Part,
        first: Option<&(FileSeq, Opening)>,
        course: &mut impl Course,
    ) -> Result<Option<Head>, Error> {
        let base = &part.entry;
        if let Some(found) = self.emptied(part, first) {
            course.missing(self.missing_bytes(part, 0, found))?;
        }
        let head = self.base_head(base)?;
        let Some((seq, opening)) = first else { return Ok(head) };
        let reason = match head {
            Some(Head::Base(head)) if head.epoch != opening.head.epoch => {
                format!("it belongs to another log than incr number {seq}")
            }
            Some(Head::Base(head)) if head.covers != opening.position => format!(
                "it covers everything up to position {}, and incr number {seq} begins at {}",
                head.covers, opening.position
            ),
            _ => return Ok(head),
        };
        Err(self.contradiction(&base.name, reason))
    }

    /// What a base of ours says of itself: in its first line, or behind an RDB in its last one. Without it an incr that a bit
    /// of the manifest has turned into history would belong to nothing.
    pub(crate) fn base_head(&self, base: &Entry) -> Result<Option<Head>, Error> {
        let line = if has_rdb_name(base) { self.last_line(base)? } else { self.first_line(base)? };
        Ok(line.and_then(|line| line.head))
    }

    /// The line that ends an RDB base: it says where it stands.
    fn last_line(&self, base: &Entry) -> Result<Option<Line>, Error> {
        let (path, mut end) = (self.path(&base.name), Vec::new());
        let from = self.len_bytes(base)?.saturating_sub(MAX_LINE_BYTES as u64);
        let mut reader = Reader::open(&**self.fs(), &path, from)?;
        reader.read_to_end(&mut end).map_err(io_error("read", &path))?;
        let Some(at) = memmem::rfind(&end, MAGIC) else { return Ok(None) };
        let line = end.get(at..).and_then(|line| Line::parse(line, None));
        Ok(line.filter(|line| line.position == from + at as u64))
    }

    /// What tells that a base without a byte had some once. The base that a server begins with may be empty: it is older
    /// than the first incr, which begins at position 0, and comes with it.
    fn emptied(&self, base: &Part, first: Option<&(FileSeq, Opening)>) -> Option<String> {
        if base.len_bytes > 0 {
            return None;
        }
        match first {
            _ if !base.is_resp() => Some("no RDB is empty".to_owned()),
            Some((seq, Opening { position, head, .. })) if *position > 0 || head.base < base.entry.seq => {
                Some(format!(
                    "incr number {seq}, which goes on behind it from position {position}, tells that it had some"
                ))
            }
            None if self.manifest().incrs.is_empty() && !self.is_adopted(&base.entry.name) => {
                Some("no server leaves an empty base alone".to_owned())
            }
            _ => None,
        }
    }

    /// `part` lacks what it had up to `end_bytes` at least.
    fn missing_bytes<'a>(&'a self, part: &'a Part, end_bytes: u64, found: String) -> Find<'a> {
        let damage = Damage {
            path: self.path(&part.entry.name),
            offset_bytes: part.len_bytes,
            position: None,
            len_bytes: end_bytes.saturating_sub(part.len_bytes),
            found: format!("bytes are missing: {found}"),
            keys: Vec::new(),
            are_more_keys: false,
        };
        Find { directory: self, part, is_last: false, kind: Kind::Missing, damage, lines: 0 }
    }

    /// A file of this log that is newer than any that is listed, or history that no base covers, was listed once. The
    /// exception is a file that was to take over and whose writer was killed before it could be listed: what it holds
    /// stands in the listed file, too.
    fn check_unlisted(&self, epoch: Option<Epoch>) -> Result<(), Error> {
        let last = self.manifest().incrs.last().map_or(0, |incr| incr.seq);
        for name in self.names()? {
            let Some((Role::Incr, seq)) = self.role(&name) else { continue };
            let entry = Entry { name, seq };
            if seq <= last || self.manifest().incrs.iter().any(|listed| listed.name == entry.name) {
                continue;
            }
            let Some(opening) = self.opening(&entry)? else { continue };
            let IncrHead { epoch: its, base, moved_bytes, behind, .. } = opening.head;
            // Other servers' bases know no epoch; but what was written behind the listed one is not superseded by it.
            let is_behind_base = self.manifest().base.as_ref().is_some_and(|listed| listed.seq == base);
            // What a base of another log has superseded is history indeed.
            let is_history = self.manifest().history.iter().any(|listed| listed.name == entry.name);
            let follows = behind.is_some_and(|(seq, _)| seq == last) && !is_history;
            let was_listed = match moved_bytes {
                Some(moved_bytes) => self.moved_end(&entry, moved_bytes)? < self.len_bytes(&entry)?,
                None => true,
            };
            if was_listed && (epoch == Some(its) || follows || is_behind_base) {
                return Err(
                    self.contradiction(&entry.name, "it belongs to the log and is not listed".to_owned())
                );
            }
        }
        Ok(())
    }

    /// Where, in a file that was to take over, the payload ends that was there before it was listed; beyond any file if
    /// not even all of that is there.
    fn moved_end(&self, entry: &Entry, moved_bytes: u64) -> Result<u64, Error> {
        let path = self.path(&entry.name);
        let mut reader = BufReader::new(Reader::open(&**self.fs(), &path, 0)?);
        let (mut at, mut left, mut epoch, mut text) = (0, moved_bytes, None, Vec::new());
        while left > 0 || epoch.is_none() {
            text.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut text);
            match read.map_err(io_error("read", &path))? {
                0 => return Ok(u64::MAX),
                len => at += len as u64,
            }
            let Some(line) = Line::parse(&text, epoch) else { continue };
            epoch = epoch.or(line.head.map(|head| head.epoch()));
            let payload = io::copy(&mut reader.by_ref().take(line.payload_bytes), &mut io::sink());
            at += payload.map_err(io_error("read", &path))?;
            left = left.saturating_sub(if line.head.is_some() { 0 } else { line.payload_bytes });
        }
        Ok(at)
    }

    fn opening(&self, entry: &Entry) -> Result<Option<Opening>, Error> {
        let line = self.first_line(entry)?;
        Ok(line.and_then(|line| match line.head {
            Some(Head::Incr(head)) => {
                Some(Opening { head, position: line.position, durable: line.durable() })
            }
            _ => None,
        }))
    }

    /// The line of ours that a file begins with.
    pub(crate) fn first_line(&self, entry: &Entry) -> Result<Option<Line>, Error> {
        self.first_line_of(&self.path(&entry.name))
    }

    pub(crate) fn first_line_of(&self, path: &Path) -> Result<Option<Line>, Error> {
        let mut head = Vec::new();
        Reader::open(&**self.fs(), path, 0)?
            .take(MAX_LINE_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(io_error("read", path))?;
        let len = head.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let line = head.get(..len).filter(|line| line.starts_with(MAGIC));
        Ok(line.and_then(|line| Line::parse(line, None)))
    }

    fn contradiction(&self, name: &str, reason: String) -> Error {
        Error::Contradiction { manifest: self.manifest_path(), path: self.path(name), reason }
    }
}
