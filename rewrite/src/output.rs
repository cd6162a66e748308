//! The temporary base as a stream: buffered, framed, synced as it grows, slowed down as told, and cut off by an abort.

use std::io::{self, IoSlice, Write};
use std::time::Instant;

use aof::BaseFrame;
use aof::fs::{File, retry, write_all};

use crate::control::Control;
use crate::sync::Arc;
use crate::{Format, Settings};

/// Keys are collected to this many bytes before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
/// The room that the buffer keeps: enough for what commands of many items need, which end at about a mebibyte.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// What a base says that has nothing to say: a base of ours is never empty, so that one which was emptied shows.
const NOTHING: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
/// Written bytes between two fdatasyncs, so that the last one finds little to do, and the log's own fsyncs on the same
/// disk do not wait behind gigabytes. Source: redis 7.2 `src/rdb.h` `REDIS_AUTOSYNC_BYTES`.
const AUTOSYNC_BYTES: u64 = 4 * 1024 * 1024;

/// The temporary base, as a [`Source`](crate::Source) writes it. A base of commands is framed as blocks, which end where
/// the source calls [`flush`](Write::flush): between two commands.
#[derive(Debug)]
pub struct Output<'a> {
    file: Arc<dyn File>,
    control: &'a Control,
    buf: Vec<u8>,
    is_rdb: bool,
    /// None with `aof-checksum no`.
    frame: Option<BaseFrame>,
    /// The database selected where `buf` begins, and the one at its end.
    db: (Option<u32>, Option<u32>),
    written_bytes: u64,
    synced_bytes: u64,
    /// Since when the next bytes are being made.
    paced_at: Instant,
    incremental_fsync: bool,
    /// The call that is being made, for the error that it may end in.
    op: &'static str,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        file: Arc<dyn File>,
        control: &'a Control,
        settings: &Settings,
        frame: Option<BaseFrame>,
    ) -> Self {
        let (is_rdb, incremental_fsync) = (settings.format != Format::Commands, settings.incremental_fsync);
        let (buf, db, op) = (Vec::with_capacity(BUFFER_BYTES), (None, None), "write");
        Output {
            file,
            control,
            buf,
            is_rdb,
            frame,
            db,
            written_bytes: 0,
            synced_bytes: 0,
            paced_at: Instant::now(),
            incremental_fsync,
            op,
        }
    }

    /// Opens the frame. An RDB file must begin with its own magic.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if self.is_rdb { Ok(()) } else { self.write_head() }
    }

    /// Closes the frame, and makes everything durable; returns the length of the file.
    pub(crate) fn finish(&mut self) -> io::Result<u64> {
        self.write_buf()?;
        self.write_head()?;
        if self.written_bytes == 0 {
            self.write_out(NOTHING)?;
        }
        self.sync()?;
        Ok(self.written_bytes)
    }

    /// What was written so far are lines or a head, not commands, and stands in no block.
    #[cfg(not(loom))]
    pub(crate) fn end_preamble(&mut self) -> io::Result<()> {
        let mut preamble = std::mem::take(&mut self.buf);
        let result = self.write_out(&preamble);
        preamble.clear();
        self.buf = preamble;
        result
    }

    /// The commands that follow are of another database, which they select: a block of its own begins.
    #[cfg(not(loom))]
    pub(crate) fn begin_database(&mut self, db: u32) -> io::Result<()> {
        if self.is_framed() {
            self.write_buf()?;
        }
        self.db = (None, Some(db));
        Ok(())
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

    /// Commands are framed; an RDB has checksums of its own.
    fn is_framed(&self) -> bool {
        self.frame.is_some() && !self.is_rdb
    }

    fn write_head(&mut self) -> io::Result<()> {
        let (Some(frame), mut line) = (self.frame.clone(), Vec::new()) else { return Ok(()) };
        if self.is_rdb {
            frame.rdb_head(self.written_bytes, &mut line);
        } else {
            frame.head(&mut line);
        }
        self.write_out(&line)
    }

    fn write_buf(&mut self) -> io::Result<()> {
        let mut buf = std::mem::take(&mut self.buf);
        if self.is_framed()
            && !buf.is_empty()
            && let Some(frame) = &mut self.frame
        {
            let mut line = Vec::new();
            frame.block(self.db.0, &buf, &mut line);
            self.db.0 = self.db.1;
            self.write_out(&line)?;
        }
        let result = self.write_out(&buf);
        buf.clear();
        if buf.capacity() > KEPT_BYTES {
            buf.shrink_to(BUFFER_BYTES);
        }
        self.buf = buf;
        result
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
            self.control.keep_pace(self.paced_at, chunk.len() as u64);
            self.paced_at = Instant::now();
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
        if self.is_framed() {
            if bytes.len() > self.buf.len().max(BUFFER_BYTES) {
                // What ends a giant's command is not to double its room. But room that many make grows by doubling, or
                // all of them would be copied for each.
                self.buf.reserve_exact(bytes.len() + BUFFER_BYTES);
            }
            self.buf.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.buf.len() + bytes.len() > BUFFER_BYTES {
            self.write_buf()?;
        }
        if bytes.len() > BUFFER_BYTES {
            self.write_out(bytes)?;
        } else {
            self.buf.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    /// What was written so far is whole commands.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        if self.buf.len() >= BUFFER_BYTES && self.is_framed() {
            self.write_buf()?;
        }
        Ok(())
    }
}

/// Nobody sees this error: an aborted job has no say.
pub(crate) fn aborted() -> io::Error {
    io::Error::other("aborted")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use aof::block::Epoch;
    use aof::fs::{Fs, Mem};
    use bytes::BytesMut;
    use keyspace::{Call, Keyspace, Unit};
    use resp::{Encoder, Version};

    use super::*;
    use crate::emit::{Emitter, RespEmitter};
    use crate::sync::Broken;

    /// Notes the most room that the buffer ever has.
    struct Watched<'a> {
        out: Output<'a>,
        peak_bytes: usize,
    }

    impl Write for Watched<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.out.write(bytes);
            self.peak_bytes = self.peak_bytes.max(self.out.buf.capacity());
            written
        }

        fn flush(&mut self) -> io::Result<()> {
            self.out.flush()
        }
    }

    /// A hash of values of this length is emitted: the most room that the buffer has, and what it keeps.
    fn room(values: usize, value_bytes: usize) -> (usize, usize) {
        let (mut keyspace, mut unit) = (Keyspace::new(1, 42), Unit::default());
        for field in 0..values {
            let (field, value) = (field.to_string(), vec![b'v'; value_bytes]);
            let (argv, mut reply) = ([&b"HSET"[..], b"k", field.as_bytes(), &value], BytesMut::new());
            let mut encoder = Encoder::new(&mut reply, Version::Resp2);
            keyspace.execute(&Call::new(0, 0, &argv), &mut encoder, &mut unit);
        }
        framed(|out| {
            let mut watched = Watched { out, peak_bytes: 0 };
            let mut emitter = RespEmitter::default();
            for entry in keyspace.dbs()[0].table().iter() {
                emitter.key(entry, &mut watched).expect("it is written");
            }
            watched.flush().expect("it is written");
            (watched.peak_bytes, watched.out.buf.capacity())
        })
    }

    fn framed<T>(work: impl FnOnce(Output<'_>) -> T) -> T {
        let fs: Arc<dyn Fs> = Arc::new(Mem::new());
        let control = Control::new(Arc::clone(&fs), "/base".into(), 0, Broken::default());
        let file = fs.create("/base".as_ref()).expect("a file");
        let settings = Settings::new("/base".into(), Format::Commands);
        work(Output::new(file, &control, &settings, Some(BaseFrame::new(Epoch(1), 0, 0))))
    }

    /// An entry of a stream, or another command that is not divided.
    #[test]
    fn giants_in_one_command_are_copied_a_few_times_at_most() {
        let piece = vec![b'v'; BUFFER_BYTES + 1];
        let rooms: BTreeSet<usize> = framed(|mut out| {
            let rooms = (0..64).map(|_| out.write_all(&piece).map(|()| out.buf.capacity()));
            rooms.collect::<io::Result<_>>().expect("it is held")
        });
        assert!(rooms.len() < 10, "{rooms:?}");
    }

    #[test]
    fn the_buffer_follows_the_longest_item_and_not_the_collection() {
        let (peak_bytes, kept_bytes) = room(16, 512 << 10);
        assert!(peak_bytes <= KEPT_BYTES, "{peak_bytes} bytes for 16 items of 512 KiB");
        assert_eq!(kept_bytes, peak_bytes);
    }

    #[test]
    fn a_giant_s_room_is_given_back() {
        let (peak_bytes, kept_bytes) = room(2, 6 << 20);
        assert!(peak_bytes < 2 * (6 << 20), "{peak_bytes} bytes for 2 items of 6 MiB");
        assert!(kept_bytes <= KEPT_BYTES, "{kept_bytes} bytes kept");
    }
}
