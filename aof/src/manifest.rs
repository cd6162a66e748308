//! The manifest: which files make up the log, in which order.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b      at most one base, first to be replayed
//! file appendonly.aof.1.base.rdb seq 1 type h      history: superseded, to be removed
//! file appendonly.aof.4.incr.aof seq 4 type i      then the incrs, their numbers increasing
//! file appendonly.aof.5.incr.aof seq 5 type i      the last one is the live one
//! ```
//!
//! Read as Redis reads it: lines of at most 1024 bytes with their LF, `#` comments, an even number of words (at least
//! six, quoted as in redis.conf), keys of any case in any order, unknown ones ignored. Written byte for byte as Redis
//! writes it; what Redis would drop at its next write is not kept either.
//!
//! Source: redis 7.2 `src/aof.c` `aofLoadManifestFromFile`, `aofInfoFormat`, `persistAofManifest`.

use std::path::Path;

use resp::number::parse_i64;
use resp::quote;
use resp::request::split_words;

use crate::error::{Error, ManifestErrorKind as Kind, io_error};
use crate::fs::{Fs, retry, write_all};

/// The longest line, in bytes, LF included.
pub const MAX_LINE_BYTES: usize = 1024;

/// The number in a file's name. Bases and incrs are counted apart.
pub type FileSeq = u64;

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the directory.
    pub name: String,
    /// Its number.
    pub seq: FileSeq,
}

/// The files of the log by their role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What the log was when it was last rewritten.
    pub base: Option<Entry>,
    /// Superseded files, the latest first.
    pub history: Vec<Entry>,
    /// What was written since, in order.
    pub incrs: Vec<Entry>,
}

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// The kind and the line, counted from 1, of the first thing that Redis would refuse.
    pub fn parse(text: &[u8]) -> Result<Manifest, (u32, Kind)> {
        let mut manifest = Manifest::default();
        let (mut rest, mut number) = (text, 0);
        if text.is_empty() {
            return Err((0, Kind::Empty));
        }
        while !rest.is_empty() {
            let line = first_line(rest);
            rest = &rest[line.len()..];
            number += 1;
            if line[0] != b'#' {
                manifest.line(line).map_err(|kind| (number, kind))?;
            }
        }
        Ok(manifest)
    }

    /// The text, as Redis orders and quotes it.
    pub fn format(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut lines = |entries: &[Entry], role: char| {
            for Entry { name, seq } in entries {
                text.extend_from_slice(b"file ");
                quote_if_needed(name.as_bytes(), &mut text);
                text.extend_from_slice(format!(" seq {seq} type {role}\n").as_bytes());
            }
        };
        lines(self.base.as_slice(), 'b');
        lines(&self.history, 'h');
        lines(&self.incrs, 'i');
        text
    }

    /// What is replayed, in order.
    pub fn replayed(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.base.iter().chain(&self.incrs)
    }

    /// True if it lists no file that has data.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    /// Replaces the manifest at `path` in one step: a crash leaves the old or the new one. `temp` is beside it.
    ///
    /// # Errors
    /// [`Error::Io`]; the old manifest then stands, unless only the sync of the directory failed.
    pub fn publish(&self, fs: &dyn Fs, temp: &Path, path: &Path) -> Result<(), Error> {
        let text = self.format();
        let file = retry(|| fs.create(temp)).map_err(io_error("create", temp))?;
        let mut bufs = [std::io::IoSlice::new(&text)];
        write_all(&*file, &mut bufs).map_err(io_error("write", temp))?;
        // Before the rename: a name must never lead to bytes that a power cut can take back.
        retry(|| file.sync_data()).map_err(io_error("fdatasync", temp))?;
        retry(|| fs.rename(temp, path)).map_err(io_error("rename", temp))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        retry(|| fs.sync_dir(dir)).map_err(io_error("fsync", dir))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Kind> {
        let line = line.strip_suffix(b"\n").ok_or(Kind::LineTooLong)?;
        let (entry, role) = parse_entry(line)?;
        match role {
            b'b' if self.base.is_some() => return Err(Kind::DuplicateBase),
            b'b' => self.base = Some(entry),
            b'h' => self.history.push(entry),
            b'i' if self.incrs.last().is_some_and(|last| entry.seq <= last.seq) => {
                return Err(Kind::NonMonotonic);
            }
            b'i' => self.incrs.push(entry),
            _ => return Err(Kind::UnknownType),
        }
        Ok(())
    }
}

/// As fgets with a buffer of 1025: up to a line end, or 1024 bytes of a line that has none so soon.
fn first_line(text: &[u8]) -> &[u8] {
    let window = &text[..text.len().min(MAX_LINE_BYTES)];
    let end = window.iter().position(|&byte| byte == b'\n').map_or(window.len(), |at| at + 1);
    &window[..end]
}

fn parse_entry(line: &[u8]) -> Result<(Entry, u8), Kind> {
    let (mut text, mut spans) = (Vec::new(), Vec::new());
    split_words(line, &mut text, |start, len| spans.push(start..start + len)).map_err(|_| Kind::Format)?;
    if spans.len() < 6 || spans.len() % 2 == 1 {
        return Err(Kind::Format);
    }
    let (mut name, mut seq, mut role) = (None, None, None);
    for pair in spans.chunks_exact(2) {
        let (key, value) = (&text[pair[0].clone()], &text[pair[1].clone()]);
        match key.to_ascii_lowercase().as_slice() {
            b"file" => name = Some(base_name(value)?),
            b"seq" => seq = parse_i64(value).and_then(|seq| u64::try_from(seq).ok()).filter(|&seq| seq > 0),
            b"type" => role = value.first().copied(),
            _ => {}
        }
    }
    match (name, seq, role) {
        (Some(name), Some(seq), Some(role)) => Ok((Entry { name, seq }, role)),
        _ => Err(Kind::Format),
    }
}

fn base_name(value: &[u8]) -> Result<String, Kind> {
    if value.contains(&b'/') || value.contains(&b'\\') || value == b"." || value == b".." {
        return Err(Kind::NotABaseName);
    }
    let name = String::from_utf8(value.to_vec()).map_err(|_| Kind::Format)?;
    if name.is_empty() { Err(Kind::Format) } else { Ok(name) }
}

/// Quotes as `sdscatrepr`, where `sdsneedsrepr` asks for it. One byte more than Redis's: it leaves a single quote bare
/// and then cannot read its own line.
fn quote_if_needed(name: &[u8], out: &mut Vec<u8>) {
    if name.iter().all(|&byte| byte.is_ascii_graphic() && !b"\\\"'".contains(&byte)) {
        return out.extend_from_slice(name);
    }
    quote(name, out);
}

#[cfg(all(test, not(loom)))]
mod tests;
