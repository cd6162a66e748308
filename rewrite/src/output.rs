//! The temporary base as a stream: buffered, synced as it grows, slowed down as told, and cut off by an abort.

use std::io::{self, IoSlice, Write};

use aof::fs::{File, retry, write_all};

use crate::control::Control;
use crate::sync::Arc;

/// Keys are collected to this many bytes before they are written; a longer value is written without being copied.
const BUFFER_BYTES: usize = 256 * 1024;
/// Written bytes between two fdatasyncs, so that the last one finds little to do, and the log's own fsyncs on the same
/// disk do not wait behind gigabytes. Source: redis 7.2 `src/rdb.h` `REDIS_AUTOSYNC_BYTES`.
const AUTOSYNC_BYTES: u64 = 4 * 1024 * 1024;

/// The temporary base, as a [`Source`](crate::Source) writes it.
#[derive(Debug)]
pub struct Output<'a> {
    file: Arc<dyn File>,
    control: &'a Control,
    buf: Vec<u8>,
    written_bytes: u64,
    synced_bytes: u64,
    incremental_fsync: bool,
    /// The call that is being made, for the error that it may end in.
    op: &'static str,
}

impl<'a> Output<'a> {
    pub(crate) fn new(file: Arc<dyn File>, control: &'a Control, incremental_fsync: bool) -> Self {
        let buf = Vec::with_capacity(BUFFER_BYTES);
        Output { file, control, buf, written_bytes: 0, synced_bytes: 0, incremental_fsync, op: "write" }
    }

    /// Makes everything durable; returns the length of the file.
    pub(crate) fn finish(&mut self) -> io::Result<u64> {
        self.flush()?;
        self.sync()?;
        Ok(self.written_bytes)
    }

    /// Told after each key: counts it, and rests as long as `rdb-key-save-delay` says.
    ///
    /// # Errors
    /// When the rewrite was aborted: end the walk.
    #[inline]
    pub fn key_done(&mut self) -> io::Result<()> {
        self.control.count_key();
        self.control.rest();
        if self.control.is_aborted() { Err(aborted()) } else { Ok(()) }
    }

    pub(crate) fn op(&self) -> &'static str {
        self.op
    }

    fn write_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(AUTOSYNC_BYTES as usize) {
            if self.control.is_aborted() {
                return Err(aborted());
            }
            write_all(&*self.file, &mut [IoSlice::new(chunk)])?;
            self.written_bytes += chunk.len() as u64;
            self.control.count_bytes(chunk.len() as u64);
            if self.incremental_fsync && self.written_bytes - self.synced_bytes >= AUTOSYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.op = "fdatasync";
        retry(|| self.file.sync_data())?;
        self.op = "write";
        self.synced_bytes = self.written_bytes;
        Ok(())
    }
}

impl Write for Output<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buf.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() > BUFFER_BYTES {
            self.write_out(bytes)?;
        } else {
            self.buf.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buf = std::mem::take(&mut self.buf);
        let result = self.write_out(&buf);
        buf.clear();
        self.buf = buf;
        result
    }
}

/// Nobody sees this error: an aborted job has no say.
pub(crate) fn aborted() -> io::Error {
    io::Error::other("aborted")
}
