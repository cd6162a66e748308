//! A base, or a save, as an RDB file.

use std::io::{self, Write};

use keyspace::rdb::{Options, Writer};
use keyspace::{DbIndex, Entry};

use super::Emitter;
use crate::RdbFormat;

/// An RDB file of version 10, which Redis 7.0 and later servers read: `.base.rdb`, `dump.rdb`.
#[derive(Debug)]
pub struct RdbEmitter {
    format: RdbFormat,
    writer: Writer,
    unix_s: i64,
}

impl RdbEmitter {
    /// Begins a file.
    pub fn new(format: RdbFormat) -> Self {
        let writer = Writer::new(Options { compress: format.compress, checksum: format.checksum });
        RdbEmitter { format, writer, unix_s: 0 }
    }
}

impl Emitter for RdbEmitter {
    fn begin(&mut self, unix_s: i64, out: &mut impl Write) -> io::Result<()> {
        self.unix_s = unix_s;
        let RdbEmitter { format, writer, .. } = self;
        writer.aux("redis-ver", &format.redis_version, out)?;
        writer.aux("redis-bits", &usize::BITS.to_string(), out)?;
        writer.aux("ctime", &unix_s.to_string(), out)?;
        writer.aux("used-mem", &format.used_memory_bytes.to_string(), out)?;
        writer.aux("aof-base", if format.aof_base { "1" } else { "0" }, out)
    }

    fn database(&mut self, db: DbIndex, keys: usize, _: &mut impl Write) -> io::Result<()> {
        self.writer.select_db(db, keys);
        Ok(())
    }

    fn key(&mut self, entry: Entry<'_>, out: &mut impl Write) -> io::Result<()> {
        let now_ms = self.unix_s.saturating_mul(1000);
        let usage = self.format.usage.map(|noting| entry.usage(noting, now_ms));
        self.writer.key(entry, usage, out)
    }

    fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.writer.finish(out)
    }
}
