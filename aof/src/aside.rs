//! No byte is destroyed without a copy: what is cut off, stepped over or replaced is put into a file of its own first.
//!
//! ```text
//! appendonly.aof.3.incr.aof.torn-81        cut off behind offset 81, by a start
//! appendonly.aof.3.incr.aof.tail-81        damaged at offset 81 and cut off with all behind it, by a start
//! appendonly.aof.3.incr.aof.cut-81         cut off behind offset 81, by the checker
//! appendonly.aof.3.incr.aof.corrupt-81     damaged at offset 81, and still in its file
//! appendonly.aof.manifest.replaced-0       the manifest that a repair replaced
//! ```

use std::io::{BufRead, BufReader, IoSlice, Read};
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::dir::Directory;
use crate::error::{Error, io_error};
use crate::fs::{Reader, retry, write_all};
use crate::manifest::Entry;
use crate::replay::{Repeated, Truncation};
use crate::set::Part;
use crate::space::is_full;
use crate::stats::Failure;

const CHUNK_BYTES: usize = 1024 * 1024;

impl Directory {
    /// Cuts a file to `len_bytes`, after a copy of the rest whose name says why.
    pub(crate) fn cut(
        &self,
        entry: &Entry,
        len_bytes: u64,
        why: &str,
        reason: &'static str,
    ) -> Result<Truncation, Error> {
        let path = self.path(&entry.name);
        let cut_bytes = self.len_bytes(entry)?.saturating_sub(len_bytes);
        let is_base = self.manifest().base.as_ref() == Some(entry);
        let side_file = match self.copy_aside(entry, len_bytes, cut_bytes, why) {
            Ok(side_file) => {
                retry(|| self.fs().truncate(&path, len_bytes)).map_err(io_error("truncate", &path))?;
                Ok(side_file)
            }
            // A full disk is no reason not to serve reads. But what comes next is an incr, and behind a base that is torn no
            // start could read it.
            Err(Error::Io { op, path, source }) if is_full(&source) && !is_base => {
                Err(Failure::new(op, &path, &source, Clock::monotonic().now()))
            }
            Err(error) => return Err(error),
        };
        Ok(Truncation { path, offset_bytes: len_bytes, cut_bytes, side_file, reason, is_corrupt: false })
    }

    /// Finishes what a take-over could not: a server that knows nothing of it would execute these bytes twice.
    pub(crate) fn cut_repeated(&self, part: &Part) -> Repeated {
        let (path, offset_bytes) = (self.path(&part.entry.name), part.counted_bytes());
        let repeated_bytes = part.repeated_bytes();
        let cut = self.copy_aside(&part.entry, offset_bytes, repeated_bytes, "torn").and_then(|side_file| {
            retry(|| self.fs().truncate(&path, offset_bytes)).map_err(io_error("truncate", &path))?;
            Ok(side_file)
        });
        Repeated { path, offset_bytes, repeated_bytes, side_file: cut.ok() }
    }

    /// Copies `len_bytes` behind `from` into a file of its own, durably. What stands in the way under that name is left
    /// alone, unless it is that copy.
    pub(crate) fn copy_aside(
        &self,
        entry: &Entry,
        from: u64,
        len_bytes: u64,
        why: &str,
    ) -> Result<PathBuf, Error> {
        let (source, fs) = (self.path(&entry.name), self.fs());
        let names = (0u32..).map(|n| match n {
            0 => self.path(&format!("{}.{why}-{from}", entry.name)),
            n => self.path(&format!("{}.{why}-{from}-{n}", entry.name)),
        });
        let mut side = PathBuf::new();
        for name in names {
            side = name;
            match self.len_bytes_if_there(&side)? {
                // What stays in its file each start meets again. What is cut may have stood there before and was cut then.
                Some(found)
                    if why == "corrupt"
                        && found == len_bytes
                        && self.holds(&side, &source, from, len_bytes)? =>
                {
                    return Ok(side);
                }
                Some(_) => {}
                None => break,
            }
        }
        let reader = Reader::open(&**fs, &source, from)?.take(len_bytes);
        let copied = self.copy_to(&side, &source, reader);
        // Half a copy is none, and takes the room that a whole one needs.
        copied.inspect_err(|_| drop(fs.remove(&side)))?;
        Ok(side)
    }

    /// Whether `side` is what stands in `source` behind `from`.
    fn holds(&self, side: &Path, source: &Path, from: u64, len_bytes: u64) -> Result<bool, Error> {
        let mut copy = BufReader::with_capacity(CHUNK_BYTES, Reader::open(&**self.fs(), side, 0)?);
        let reader = Reader::open(&**self.fs(), source, from)?.take(len_bytes);
        let mut reader = BufReader::with_capacity(CHUNK_BYTES, reader);
        loop {
            let here = reader.fill_buf().map_err(io_error("read", source))?;
            let there = copy.fill_buf().map_err(io_error("read", side))?;
            if here.is_empty() || there.is_empty() {
                return Ok(here.is_empty() && there.is_empty());
            }
            let count = here.len().min(there.len());
            if here[..count] != there[..count] {
                return Ok(false);
            }
            reader.consume(count);
            copy.consume(count);
        }
    }

    /// Durably.
    pub(crate) fn copy_to(&self, side: &Path, source: &Path, mut reader: impl Read) -> Result<(), Error> {
        let fs = self.fs();
        let copy = fs.create(side).map_err(io_error("create", side))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = reader.read(&mut chunk).map_err(io_error("read", source))?;
            if count == 0 {
                break;
            }
            let mut bufs = [IoSlice::new(&chunk[..count])];
            write_all(&*copy, &mut bufs).map_err(io_error("write", side))?;
        }
        retry(|| copy.sync_data()).map_err(io_error("fdatasync", side))?;
        let dir = side.parent().unwrap_or(Path::new("."));
        retry(|| fs.sync_dir(dir)).map_err(io_error("fsync", dir))
    }
}
