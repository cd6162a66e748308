//! Writes what is sound into new files.
//!
//! ```text
//! appendonly.aof.4.base.aof      if the old base was damaged: head, blocks, head
//! appendonly.aof.4.base.rdb      the same, if it began as an RDB: what can be read of that, commands, head
//! appendonly.aof.7.incr.aof      head, and the blocks of all old incrs, each with a new line: their positions have moved
//! ```
//!
//! A payload is copied as it is, but for `#` lines within. What selected its database may be gone, so a SELECT is put
//! in front of it wherever the one that its line names is not the one that is selected in the new file.
//!
//! Until the manifest lists it, the new incr is a file that brings along all that it holds: should the repair be
//! interrupted, no start takes it for a part of the log.

use std::io::{BufReader, IoSlice, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use resp::Parser;

use super::Findings;
use crate::Position;
use crate::block::{BaseFrame, Epoch, IncrHead, Line, crc32c};
use crate::dir::Directory;
use crate::error::{Error, io_error};
use crate::fs::{File, Reader, retry, write_all};
use crate::manifest::{Entry, FileSeq};
use crate::record::select;
use crate::replay::{Course, Find, Good, LIMITS, Rdb, Sink};
use crate::set::Part;
use crate::tail::head_line;

/// Payloads are gathered up to about this much, in bytes: damage takes a block whole. One that is as long as that is not
/// copied, so that a repair needs no more memory than a look.
const BLOCK_BYTES: usize = 16 * 1024;

/// Keeps track of the selected database across payloads that were not neighbours.
#[derive(Debug, Default)]
pub(super) struct Splice {
    selected: Option<u32>,
}

impl Splice {
    /// What a payload, with what must stand before it, comes to.
    pub(super) fn len_bytes(&mut self, good: &Good<'_>) -> u64 {
        let select_bytes = self.select(good).map_or(0, |command| command.len());
        (select_bytes + pieces(good).map(<[u8]>::len).sum::<usize>()) as u64
    }

    /// The command that must stand before a payload, if one must; what that selects counts as selected then.
    fn select(&mut self, good: &Good<'_>) -> Option<BytesMut> {
        let needed = good.db.filter(|&db| self.selected != Some(db));
        self.selected = Some(good.end_db);
        needed.map(|db| {
            let mut command = BytesMut::new();
            select(db, &mut command);
            command
        })
    }
}

/// A payload of ours; or the commands of others, without the `#` lines that may stand in a transaction: a payload of ours
/// has none.
fn pieces<'a>(good: &Good<'a>) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut parser, is_ours) = (good.bytes, Parser::default(), good.line.is_some());
    let next = move || {
        let (len, is_wanted) = match memchr::memchr(b'\n', rest) {
            _ if is_ours => (rest.len(), true),
            Some(end) if rest.starts_with(b"#") => (end + 1, false),
            // What was read as commands once is read again.
            _ => (parser.parse(rest, &LIMITS).ok().flatten().unwrap_or(rest.len()), true),
        };
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        (!piece.is_empty()).then_some((piece, is_wanted))
    };
    std::iter::from_fn(next).filter(|&(_, is_wanted)| is_wanted).map(|(piece, _)| piece)
}

/// How a file is framed.
enum Frame {
    Base(BaseFrame),
    /// The length of all that is before the payload.
    Rdb {
        frame: BaseFrame,
        len_bytes: u64,
    },
    Incr {
        epoch: Epoch,
        position: Position,
    },
}

/// A file that is being written.
struct Output {
    path: PathBuf,
    file: Arc<dyn File>,
    frame: Frame,
    splice: Splice,
    payload: Vec<u8>,
    /// What is selected where that begins.
    db: Option<u32>,
    time_ms: i64,
    /// A `#TS:` line that belongs before it.
    stamp: Option<i64>,
    /// The line that opens the file, until it is there.
    opening: Option<Vec<u8>>,
}

impl Output {
    fn new(path: PathBuf, file: Arc<dyn File>, frame: Frame, opening: Vec<u8>) -> Self {
        let (splice, payload, opening) = (Splice::default(), Vec::new(), Some(opening));
        Output { path, file, frame, splice, payload, db: None, time_ms: 0, stamp: None, opening }
    }

    fn add(&mut self, good: &Good<'_>) -> Result<(), Error> {
        let select = self.splice.select(good);
        if self.payload.is_empty() {
            self.db = good.db.filter(|_| select.is_none());
        }
        self.payload.extend_from_slice(&select.unwrap_or_default());
        self.time_ms = good.line.map_or(self.time_ms, |line| line.time_ms);
        let is_long = good.bytes.len() >= BLOCK_BYTES;
        if is_long && pieces(good).next().is_some_and(|piece| piece.len() == good.bytes.len()) {
            self.flush()?;
            return self.block(good.db, good.bytes);
        }
        pieces(good).for_each(|piece| self.payload.extend_from_slice(piece));
        if self.payload.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.payload);
        let written = self.block(self.db, &payload);
        payload.clear();
        self.payload = payload;
        written
    }

    /// Writes a block. `db`: what is selected where it begins.
    fn block(&mut self, db: Option<u32>, payload: &[u8]) -> Result<(), Error> {
        let mut lines = self.opening.take().unwrap_or_default();
        if let Some(unix_s) = self.stamp.take() {
            lines.extend_from_slice(format!("#TS:{unix_s}\r\n").as_bytes());
        }
        match &mut self.frame {
            Frame::Base(frame) => frame.block(db, payload, &mut lines),
            Frame::Rdb { len_bytes, .. } => *len_bytes += (lines.len() + payload.len()) as u64,
            Frame::Incr { epoch, position } => {
                let (payload_bytes, payload_crc) = (payload.len() as u64, crc32c(payload));
                let time_ms = self.time_ms;
                // The file is durable before it is listed.
                let lag = 0;
                Line { payload_bytes, position: *position, lag, db, time_ms, head: None, payload_crc }
                    .encode(*epoch, &mut lines);
                *position += payload_bytes;
            }
        }
        let mut bufs = [IoSlice::new(&lines), IoSlice::new(payload)];
        write_all(&*self.file, &mut bufs).map_err(io_error("write", &self.path))
    }

    /// The file is whole and durable.
    fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        // An incr without a block has no head either, as one that nobody has written to.
        let mut lines = Vec::new();
        match &self.frame {
            Frame::Base(frame) => {
                lines = self.opening.take().unwrap_or_default();
                frame.head(&mut lines);
            }
            Frame::Rdb { frame, len_bytes } => frame.clone().rdb_head(*len_bytes, &mut lines),
            Frame::Incr { .. } => {}
        }
        write_all(&*self.file, &mut [IoSlice::new(&lines)]).map_err(io_error("write", &self.path))?;
        retry(|| self.file.sync_data()).map_err(io_error("fdatasync", &self.path))
    }
}

/// Keeps what is good.
pub(super) struct Mend {
    /// None where the old base is kept.
    base_out: Option<Output>,
    incr_out: Output,
    in_base: bool,
}

impl Mend {
    /// Into `base`, where the old one is not kept, and `incr`, which is there and empty.
    pub(super) fn new(
        directory: &Directory,
        findings: &Findings,
        base: Option<&Entry>,
        incr: &Entry,
        sink: &mut impl Sink,
    ) -> Result<Self, Error> {
        let kept = findings.base.filter(|_| base.is_none());
        // Positions of the new files are not those of the old ones, and must not be taken for them.
        let (epoch, position) = kept.unwrap_or_else(|| (Epoch::random(), 0));
        let base_seq = base.or(directory.manifest().base.as_ref()).map_or(0, |base| base.seq);
        let frame = BaseFrame::new(epoch, 0, 0);
        let base_out = base.map(|base| match findings.base_rdb {
            Some(rdb) => rdb_output(directory, base, frame, rdb, sink),
            None => base_output(directory, base, frame),
        });
        let base_out = base_out.transpose()?;
        let head = incr_head(epoch, incr, base_seq, findings.incr_payload_bytes);
        let incr_out = incr_output(directory, incr, head, position)?;
        Ok(Mend { base_out, incr_out, in_base: false })
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        self.base_out.map_or(Ok(()), Output::finish)?;
        self.incr_out.finish()
    }

    /// Where the bytes of the current file go.
    fn output(&mut self) -> Option<&mut Output> {
        if self.in_base { self.base_out.as_mut() } else { Some(&mut self.incr_out) }
    }
}

impl Course for Mend {
    fn begin(&mut self, part: &Part) -> Result<(), Error> {
        self.in_base = part.is_base;
        Ok(())
    }

    fn missing(&mut self, find: Find<'_>) -> Result<(), Error> {
        // It was named by the look before.
        drop(find);
        Ok(())
    }

    fn good(&mut self, good: &Good<'_>) -> Result<(), Error> {
        match self.output() {
            Some(output) if !good.is_head() => output.add(good),
            _ => Ok(()),
        }
    }

    fn stamp(&mut self, unix_s: Option<i64>) -> Result<bool, Error> {
        if let Some(output) = self.output() {
            output.flush()?;
            output.stamp = unix_s.or(output.stamp);
        }
        Ok(true)
    }

    fn bad(&mut self, find: Find<'_>) -> Result<(), Error> {
        drop(find);
        Ok(())
    }
}

fn base_output(directory: &Directory, entry: &Entry, frame: BaseFrame) -> Result<Output, Error> {
    let path = directory.path(&entry.name);
    let file = retry(|| directory.fs().create(&path)).map_err(io_error("create", &path))?;
    let mut opening = Vec::new();
    frame.head(&mut opening);
    Ok(Output::new(path, file, Frame::Base(frame), opening))
}

/// Begins with the RDB of the old base, which has a checksum of its own and was read to its end; or with as much as can be
/// read of it, and a new end.
fn rdb_output(
    directory: &Directory,
    entry: &Entry,
    frame: BaseFrame,
    rdb: Rdb,
    sink: &mut impl Sink,
) -> Result<Output, Error> {
    let Some(old) = &directory.manifest().base else { return base_output(directory, entry, frame) };
    let (source, path) = (directory.path(&old.name), directory.path(&entry.name));
    let kept = || Ok(Reader::open(&**directory.fs(), &source, 0)?.take(rdb.len_bytes));
    let mut end = Vec::new();
    if !rdb.is_whole {
        let refused = |error| Error::BaseRefused { path: source.clone(), source: error };
        end = sink.rdb_end(&mut BufReader::new(kept()?)).map_err(refused)?;
    }
    directory.copy_to(&path, &source, kept()?.chain(&end[..]))?;
    let len_bytes = rdb.len_bytes + end.len() as u64;
    let file = retry(|| directory.fs().open_append(&path)).map_err(io_error("open", &path))?;
    Ok(Output::new(path, file, Frame::Rdb { frame, len_bytes }, Vec::new()))
}

fn incr_head(epoch: Epoch, incr: &Entry, base: FileSeq, payload_bytes: u64) -> IncrHead {
    IncrHead { epoch, seq: incr.seq, base, moved_bytes: Some(payload_bytes), behind: None }
}

fn incr_output(
    directory: &Directory,
    entry: &Entry,
    head: IncrHead,
    position: Position,
) -> Result<Output, Error> {
    let path = directory.path(&entry.name);
    let file = retry(|| directory.fs().open_append(&path)).map_err(io_error("open", &path))?;
    let mut opening = Vec::new();
    head_line(head, position, 0, 0).encode(head.epoch, &mut opening);
    Ok(Output::new(path, file, Frame::Incr { epoch: head.epoch, position }, opening))
}
