//! From values to the bytes of a base: [`Emitter`] is the format, [`RespEmitter`] the one of commands, [`RdbEmitter`]
//! the one of RDB files (drawn in `keyspace::rdb`).
//!
//! ```text
//! #TS:1700000000\r\n              if aof-timestamp-enabled
//! SELECT 0                        for each database that has keys
//! SET k v                         or RPUSH, SADD, ZADD k score member.., HMSET k field value..: 64 items each, or 1 MiB
//! SETRANGE k 536870911 v          of a string beyond 1 MiB the last byte, then what is not zeros, 64 KiB each
//! XADD k id field value..         one for each entry of a stream, then XSETID, XGROUP and XCLAIM
//! PEXPIREAT k 1700000000000       behind a key with a time to live
//! ```
//! A key whose time is over is written like any other: leaving it out would lose it early should the clock be set back,
//! leaving its PEXPIREAT out would make it immortal.
//!
//! What takes one command is there or not when `aof-load-corrupt quarantine` steps over a damaged block. What takes
//! several is missing a part then: items of a collection, the time to live, and of a long string 64 KiB or more, where
//! there are zeros then.
//!
//! Source: redis 7.2 `src/aof.c` `rewriteAppendOnlyFileRio`, `rewriteListObject` and its like.

mod stream;

use std::io::{self, Write};

use keyspace::types::chunked::Chunked;
use keyspace::types::listpack::Element;
use keyspace::{DbIndex, Entry, ValueRef};
use resp::number::{format_f64, format_i64};

pub use rdb::RdbEmitter;

mod rdb;

/// Items in one command; the last one of a value may have fewer. Source: redis 7.2 `src/server.h`
/// `AOF_REWRITE_ITEMS_PER_CMD`.
pub const ITEMS_PER_COMMAND: usize = 64;
/// Bytes of the items in one command, which has fewer items then, but one: Redis has a small buffer for any command, but a
/// block holds whole ones.
pub const ITEM_BYTES_PER_COMMAND: usize = 1 << 20;
/// A string of more bytes is made piece by piece: whoever frames the commands, or loads them, has one of them in memory.
pub const WHOLE_STRING_BYTES: usize = 1 << 20;

/// A format of bases. The methods are called in the order in which they stand here; the middle two repeatedly.
pub trait Emitter {
    /// What precedes all keys.
    ///
    /// # Errors
    /// Those of `out`; so below.
    fn begin(&mut self, unix_s: i64, out: &mut impl Write) -> io::Result<()>;

    /// What precedes the keys of a database; it has at least one.
    fn database(&mut self, db: DbIndex, keys: usize, out: &mut impl Write) -> io::Result<()>;

    /// A key, its value, and when it expires.
    fn key(&mut self, entry: Entry<'_>, out: &mut impl Write) -> io::Result<()>;

    /// What follows all keys.
    fn end(&mut self, out: &mut impl Write) -> io::Result<()>;
}

/// A base of commands, which every Redis reads: `.base.aof`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RespEmitter {
    /// `aof-timestamp-enabled`.
    pub timestamps: bool,
}

impl Emitter for RespEmitter {
    fn begin(&mut self, unix_s: i64, out: &mut impl Write) -> io::Result<()> {
        if self.timestamps {
            out.write_all(b"#TS:")?;
            out.write_all(format_i64(unix_s).as_bytes())?;
            out.write_all(b"\r\n")?;
        }
        Ok(())
    }

    fn database(&mut self, db: DbIndex, _: usize, out: &mut impl Write) -> io::Result<()> {
        command(out, b"SELECT", 1)?;
        integer(out, db as i64)
    }

    fn key(&mut self, entry: Entry<'_>, out: &mut impl Write) -> io::Result<()> {
        self.value(entry.key(), entry.value(), out)?;
        let Some(at_ms) = entry.expire_at_ms() else { return Ok(()) };
        command(out, b"PEXPIREAT", 2)?;
        bulk(out, entry.key())?;
        integer(out, at_ms)
    }

    fn end(&mut self, _: &mut impl Write) -> io::Result<()> {
        Ok(())
    }
}

impl RespEmitter {
    fn value(&self, key: &[u8], value: ValueRef<'_>, out: &mut impl Write) -> io::Result<()> {
        match value {
            ValueRef::Int(value) => {
                command(out, b"SET", 2)?;
                bulk(out, key)?;
                integer(out, value)
            }
            ValueRef::Str(bytes) => {
                command(out, b"SET", 2)?;
                bulk(out, key)?;
                bulk(out, bytes)
            }
            ValueRef::Chunked(string) if string.len() > WHOLE_STRING_BYTES => patches(key, string, out),
            ValueRef::Chunked(string) => {
                command(out, b"SET", 2)?;
                bulk(out, key)?;
                header(out, b'$', string.len())?;
                string.pieces(0..string.len()).try_for_each(|piece| out.write_all(piece))?;
                out.write_all(b"\r\n")
            }
            ValueRef::List(list) => {
                Batches::of(b"RPUSH", key, list.len(), 1).write(list.iter(), out, len_bytes, single)
            }
            ValueRef::Set(set) => {
                Batches::of(b"SADD", key, set.len(), 1).write(set.iter(), out, len_bytes, single)
            }
            ValueRef::Hash(hash) => {
                let pair_bytes = |&(field, value): &_| len_bytes(&field) + len_bytes(&value);
                Batches::of(b"HMSET", key, hash.len(), 2).write(hash.iter(), out, pair_bytes, pair)
            }
            ValueRef::ZSet(zset) => {
                let member_bytes = |(member, _): &_| len_bytes(member);
                Batches::of(b"ZADD", key, zset.len(), 2).write(zset.iter(), out, member_bytes, scored)
            }
            ValueRef::Stream(stream) => stream::write(key, stream, out),
        }
    }
}

/// A long string, as what differs from zeros. Its last byte comes first, so that Redis makes room for all of it at once.
fn patches(key: &[u8], string: &Chunked, out: &mut impl Write) -> io::Result<()> {
    let last = string.len() - 1;
    string.pieces(last..string.len()).try_for_each(|byte| patch(key, last, byte, out))?;
    string.held().try_for_each(|(offset, bytes)| patch(key, offset, bytes, out))
}

fn patch(key: &[u8], offset: usize, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    command(out, b"SETRANGE", 3)?;
    bulk(out, key)?;
    integer(out, offset as i64)?;
    bulk(out, bytes)
}

/// A collection, as commands of at most [`ITEMS_PER_COMMAND`] items and about [`ITEM_BYTES_PER_COMMAND`].
struct Batches<'a> {
    name: &'static [u8],
    key: &'a [u8],
    items: usize,
    args_per_item: usize,
}

impl<'a> Batches<'a> {
    fn of(name: &'static [u8], key: &'a [u8], items: usize, args_per_item: usize) -> Self {
        Batches { name, key, items, args_per_item }
    }

    fn write<T, W: Write>(
        &self,
        items: impl Iterator<Item = T>,
        out: &mut W,
        len_bytes: impl Fn(&T) -> usize,
        mut write_item: impl FnMut(T, &mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        // Looked at before any is written, because a command begins with their number.
        let mut batch = Vec::with_capacity(self.items.min(ITEMS_PER_COMMAND));
        let (mut batch_bytes, mut done) = (0, 0);
        for item in items {
            let bytes = len_bytes(&item);
            let is_long = !batch.is_empty() && batch_bytes + bytes > ITEM_BYTES_PER_COMMAND;
            if is_long || batch.len() == ITEMS_PER_COMMAND {
                self.command(&mut batch, out, &mut write_item)?;
                batch_bytes = 0;
            }
            batch.push(item);
            batch_bytes += bytes;
            done += 1;
        }
        if !batch.is_empty() {
            self.command(&mut batch, out, &mut write_item)?;
        }
        // A base without a part of a value must never be published.
        if done == self.items {
            Ok(())
        } else {
            Err(io::Error::other("a value does not have the length it claims"))
        }
    }

    fn command<T, W: Write>(
        &self,
        batch: &mut Vec<T>,
        out: &mut W,
        write_item: &mut impl FnMut(T, &mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        command(out, self.name, 1 + batch.len() * self.args_per_item)?;
        bulk(out, self.key)?;
        batch.drain(..).try_for_each(|item| write_item(item, out))
    }
}

/// Begins a command. What precedes it is whole: who cuts the stream into blocks may cut here.
fn command(out: &mut impl Write, name: &[u8], args: usize) -> io::Result<()> {
    out.flush()?;
    header(out, b'*', 1 + args)?;
    bulk(out, name)
}

#[inline]
fn bulk(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    header(out, b'$', bytes.len())?;
    out.write_all(bytes)?;
    out.write_all(b"\r\n")
}

fn integer(out: &mut impl Write, value: i64) -> io::Result<()> {
    bulk(out, format_i64(value).as_bytes())
}

fn element(out: &mut impl Write, element: Element<'_>) -> io::Result<()> {
    element.with_bytes(|bytes| bulk(out, bytes))
}

/// No integer is long.
fn len_bytes(element: &Element<'_>) -> usize {
    match element {
        Element::Int(_) => 0,
        Element::Bytes(bytes) => bytes.len(),
    }
}

fn single(item: Element<'_>, out: &mut impl Write) -> io::Result<()> {
    element(out, item)
}

fn pair((field, value): (Element<'_>, Element<'_>), out: &mut impl Write) -> io::Result<()> {
    element(out, field)?;
    element(out, value)
}

fn scored((member, score): (Element<'_>, f64), out: &mut impl Write) -> io::Result<()> {
    bulk(out, format_f64(score).as_bytes())?;
    element(out, member)
}

#[inline]
fn header(out: &mut impl Write, kind: u8, count: usize) -> io::Result<()> {
    out.write_all(&[kind])?;
    out.write_all(format_i64(count as i64).as_bytes())?;
    out.write_all(b"\r\n")
}

#[cfg(all(test, not(loom)))]
mod tests;
