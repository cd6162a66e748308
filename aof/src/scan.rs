//! One file of the log as a window that moves over it.
//!
//! The window holds no more than its user has not consumed, and it knows the crc of what he has.

use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use bytes::{Buf, BytesMut};
use memchr::memmem;

use crate::block::{Epoch, FilePoint, Head, Line, MAGIC, MAX_LINE_BYTES};
use crate::error::{Error, io_error};
use crate::fs::{Counted, Fs, Reader};

const READ_BYTES: usize = 1024 * 1024;

/// A file, from its start to where its content ends.
pub(crate) struct Scan {
    path: PathBuf,
    source: Counted<BufReader<Take<Reader>>>,
    /// Read and not consumed.
    buf: BytesMut,
    /// Where `buf` begins.
    point: FilePoint,
    /// The end of the content: the file may be longer.
    end_bytes: u64,
}

impl Scan {
    /// Opens a file of which `end_bytes` count, at a point that was found in it before, or at its start.
    pub(crate) fn open(fs: &dyn Fs, path: &Path, point: FilePoint, end_bytes: u64) -> Result<Scan, Error> {
        let from = point.offset_bytes;
        let file = Reader::open(fs, path, from)?.take(end_bytes.saturating_sub(from));
        let inner = BufReader::with_capacity(READ_BYTES, file);
        let source = Counted { inner, consumed_bytes: from };
        Ok(Scan { path: path.to_path_buf(), source, buf: BytesMut::new(), point, end_bytes })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was read and not consumed.
    #[inline]
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buf
    }

    /// Where that begins.
    #[inline]
    pub(crate) fn point(&self) -> FilePoint {
        self.point
    }

    pub(crate) fn offset_bytes(&self) -> u64 {
        self.point.offset_bytes
    }

    /// Bytes from there to the end.
    pub(crate) fn left_bytes(&self) -> u64 {
        self.end_bytes.saturating_sub(self.point.offset_bytes)
    }

    /// Reads on; false at the end.
    pub(crate) fn more(&mut self) -> Result<bool, Error> {
        self.read(usize::MAX)
    }

    /// Reads on in an item that lacks so many bytes, or 0 if that is not known: all of them, if the file has so many.
    pub(crate) fn more_of(&mut self, missing_bytes: usize) -> Result<bool, Error> {
        match missing_bytes {
            0 => self.more(),
            missing_bytes => self.fill((self.buf.len() as u64).saturating_add(missing_bytes as u64)),
        }
    }

    /// Reads until `count` bytes are there; false if the file ends before.
    pub(crate) fn fill(&mut self, count: u64) -> Result<bool, Error> {
        if count > self.left_bytes() {
            return Ok(false);
        }
        let count = count as usize;
        self.make_room(count);
        while self.buf.len() < count && self.read(count - self.buf.len())? {}
        Ok(self.buf.len() >= count)
    }

    fn read(&mut self, most_bytes: usize) -> Result<bool, Error> {
        let chunk = self.source.fill_buf().map_err(io_error("read", &self.path))?;
        let count = chunk.len().min(most_bytes);
        self.buf.extend_from_slice(&chunk[..count]);
        self.source.consume(count);
        Ok(count > 0)
    }

    /// Room for something long, and for no more: growing would come to twice as much, beside the room that there was.
    fn make_room(&mut self, count: usize) {
        let missing_bytes = count.saturating_sub(self.buf.len());
        if missing_bytes > READ_BYTES && !self.buf.try_reclaim(missing_bytes) {
            let window = std::mem::take(&mut self.buf).to_vec();
            self.buf.reserve(count);
            self.buf.extend_from_slice(&window);
        }
    }

    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.point = self.point.after(&self.buf[..count]);
        self.buf.advance(count);
    }

    /// The file itself, as long as nothing of it was consumed: for a base that is no log.
    pub(crate) fn source(&mut self) -> &mut Counted<impl BufRead> {
        &mut self.source
    }

    /// Consumes what is in front of an offset, or the rest.
    pub(crate) fn go_to(&mut self, offset_bytes: u64) -> Result<(), Error> {
        loop {
            let wanted = offset_bytes.saturating_sub(self.point.offset_bytes);
            let count = self.buf.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            self.consume(count);
            if count as u64 == wanted || !self.more()? {
                return Ok(());
            }
        }
    }

    /// Consumes the rest.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        self.go_to(u64::MAX)
    }

    /// Whether all the rest is zeros.
    pub(crate) fn skip_zeros(&mut self) -> Result<bool, Error> {
        loop {
            if self.buf.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            let count = self.buf.len();
            self.consume(count);
            if !self.more()? {
                return Ok(true);
            }
        }
    }

    /// Shows where in the rest lines of ours stand, and what they say, for as long as more are asked for. Whose epoch is not
    /// known shows nothing but heads, which bring their own.
    pub(crate) fn lines(
        &mut self,
        epoch: Option<Epoch>,
        mut is_more_wanted: impl FnMut(FilePoint, &Line) -> bool,
    ) -> Result<(), Error> {
        let finder = memmem::Finder::new(MAGIC);
        loop {
            let at_end = self.buf.len() < 2 * MAX_LINE_BYTES && !self.more()?;
            let found = finder.find(&self.buf);
            // A line may go on behind what was read.
            let keep = if at_end { 0 } else { MAX_LINE_BYTES };
            match found.filter(|&at| at_end || at + MAX_LINE_BYTES <= self.buf.len()) {
                Some(at) => {
                    self.consume(at);
                    if self.line(epoch).is_some_and(|line| !is_more_wanted(self.point, &line)) {
                        return Ok(());
                    }
                    self.consume(MAGIC.len());
                }
                None if at_end => {
                    self.consume(self.buf.len());
                    return Ok(());
                }
                None => self.consume(self.buf.len().saturating_sub(keep)),
            }
        }
    }

    /// The line of ours at the start of the window.
    fn line(&self, epoch: Option<Epoch>) -> Option<Line> {
        let window = &self.buf[..self.buf.len().min(MAX_LINE_BYTES)];
        let len = memchr::memchr(b'\n', window)? + 1;
        Line::parse(&window[..len], epoch).filter(|line| match &line.head {
            Some(head) => epoch.is_none_or(|epoch| head.epoch() == epoch) && matches!(head, Head::Incr(_)),
            None => true,
        })
    }
}
