//! From keys to bytes: version 10, with types that Redis 7.0 and all later servers read.
//!
//! Small sets of other things than integers are written member by member, because their listpacks came with 7.2.

use std::io::{self, Write};

use resp::number::format_i64;

use super::crc64::Crc64;
use super::lzf::Packer;
use super::{VERSION, opcode, stream};
use crate::types::chunked::Chunked;
use crate::types::hash::Hash;
use crate::types::list::List;
use crate::types::listpack::{self, Element};
use crate::types::set::Set;
use crate::types::zset::ZSet;
use crate::{DbIndex, Entry, Usage, ValueRef};

/// Written in pieces of about this size; a longer string is written without being copied.
const PIECE_BYTES: usize = 64 * 1024;
/// Shorter strings are not compressed. Source: redis 7.2 `src/rdb.c` `rdbSaveRawString`.
const PACKED_BYTES_MIN: usize = 21;
/// Longer ones are not either: packing them would stop the writer's thread for seconds.
const PACKED_BYTES_MAX: usize = 1 << 30;
/// No longer string is an integer that has a form of its own.
const INTEGER_BYTES_MAX: usize = 11;

/// What the configuration says of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`; without it the checksum's place holds zero.
    pub checksum: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { compress: true, checksum: true }
    }
}

/// Writes an RDB file: header on creation, then AUX fields, functions, and for each database its number and its keys.
/// What it writes stays in memory until a piece is full; [`finish`](Self::finish) ends the file.
#[derive(Debug)]
pub struct Writer {
    buf: Vec<u8>,
    crc: Crc64,
    options: Options,
    packer: Packer,
    packed: Vec<u8>,
}

impl Writer {
    /// Begins a file.
    pub fn new(options: Options) -> Self {
        let mut writer = Self::bare(options);
        writer.buf.extend_from_slice(format!("REDIS{VERSION:04}").as_bytes());
        writer
    }

    /// Writes values without a file around them.
    pub(super) fn bare(options: Options) -> Self {
        let (packer, packed) = (Packer::default(), Vec::new());
        Writer { buf: Vec::new(), crc: Crc64::default(), options, packer, packed }
    }

    /// Information about the file, for whoever reads it.
    ///
    /// # Errors
    /// Those of `out`; so below.
    pub fn aux(&mut self, name: &str, value: &str, out: &mut impl Write) -> io::Result<()> {
        self.byte(opcode::AUX);
        self.string(name.as_bytes(), out)?;
        self.string(value.as_bytes(), out)
    }

    /// A library of functions.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn function(&mut self, code: &[u8], out: &mut impl Write) -> io::Result<()> {
        self.byte(opcode::FUNCTION2);
        self.string(code, out)
    }

    /// The database of the keys that follow, and how many they are. How many of them expire is a hint, too, which a
    /// snapshot cannot give: 0.
    pub fn select_db(&mut self, db: DbIndex, keys: usize) {
        self.byte(opcode::SELECTDB);
        self.length(db);
        self.byte(opcode::RESIZEDB);
        self.length(keys);
        self.length(0);
    }

    /// A key, its value, when it expires, and, if that is to be kept, how it is used.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn key(&mut self, entry: Entry<'_>, usage: Option<Usage>, out: &mut impl Write) -> io::Result<()> {
        if let Some(at_ms) = entry.expire_at_ms() {
            self.byte(opcode::EXPIRETIME_MS);
            self.buf.extend_from_slice(&at_ms.to_le_bytes());
        }
        match usage {
            Some(Usage::Idle(idle_s)) => {
                self.byte(opcode::IDLE);
                self.length(usize::try_from(idle_s).unwrap_or(usize::MAX));
            }
            Some(Usage::Freq(counter)) => {
                self.byte(opcode::FREQ);
                self.byte(counter);
            }
            None => {}
        }
        self.typed_value(entry.value(), Some(entry.key()), out)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.byte(opcode::EOF);
        self.drain(out)?;
        let crc = if self.options.checksum { self.crc.value() } else { 0 };
        out.write_all(&crc.to_le_bytes())
    }

    /// The type's code, the key if there is one, the value.
    pub(super) fn typed_value(
        &mut self,
        value: ValueRef<'_>,
        key: Option<&[u8]>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.byte(code_of(value));
        if let Some(key) = key {
            self.string(key, out)?;
        }
        match value {
            ValueRef::Int(value) => self.integer(value, out),
            ValueRef::Str(bytes) => self.string(bytes, out),
            ValueRef::Chunked(string) => self.chunked(string, out),
            ValueRef::List(list) => self.list(list, listpack::BYTES_MAX, out),
            ValueRef::Set(set) => self.set(set, out),
            ValueRef::Hash(hash) => self.hash(hash, out),
            ValueRef::ZSet(zset) => self.zset(zset, out),
            ValueRef::Stream(value) => stream::write(self, value, out),
        }
    }

    /// Chunk by chunk. A giant among elements stands alone in its chunk, and is written as Redis writes it: a listpack
    /// about it could be longer than any string that is read.
    fn list(&mut self, list: &List, packed_bytes_max: usize, out: &mut impl Write) -> io::Result<()> {
        const PLAIN: usize = 1;
        const PACKED: usize = 2;
        self.length(list.chunks().count());
        for chunk in list.chunks() {
            let is_giant = chunk.len_bytes() > packed_bytes_max && chunk.len() == 1;
            if let Some(giant) = chunk.iter().next().filter(|_| is_giant) {
                self.length(PLAIN);
                self.element(giant, out)?;
            } else {
                self.length(PACKED);
                self.string(chunk.as_bytes(), out)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, set: &Set, out: &mut impl Write) -> io::Result<()> {
        if let Some(ints) = set.as_intset() {
            return self.string(ints.as_bytes(), out);
        }
        self.items(set.len(), set.iter(), out, |writer, member, out| writer.element(member, out))
    }

    fn hash(&mut self, hash: &Hash, out: &mut impl Write) -> io::Result<()> {
        if let Some(pack) = hash.as_listpack() {
            return self.string(pack.as_bytes(), out);
        }
        self.items(hash.len(), hash.iter(), out, |writer, (field, value), out| {
            writer.element(field, out)?;
            writer.element(value, out)
        })
    }

    /// From the highest score down: Redis puts each in front of what it has, without searching.
    fn zset(&mut self, zset: &ZSet, out: &mut impl Write) -> io::Result<()> {
        if let Some(pack) = zset.as_listpack() {
            return self.string(pack.as_bytes(), out);
        }
        self.items(zset.len(), zset.iter().rev(), out, |writer, (member, score), out| {
            writer.element(member, out)?;
            writer.buf.extend_from_slice(&score.to_le_bytes());
            Ok(())
        })
    }

    /// A count and as many items.
    fn items<T, W: Write>(
        &mut self,
        len: usize,
        items: impl Iterator<Item = T>,
        out: &mut W,
        mut write: impl FnMut(&mut Self, T, &mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        self.length(len);
        let mut written = 0;
        for item in items {
            write(self, item, out)?;
            written += 1;
        }
        if written == len { Ok(()) } else { Err(broken_promise()) }
    }

    fn element(&mut self, element: Element<'_>, out: &mut impl Write) -> io::Result<()> {
        match element {
            Element::Int(value) => self.integer(value, out),
            Element::Bytes(bytes) => self.string(bytes, out),
        }
    }

    /// An integer in its own form, if it has one.
    fn integer(&mut self, value: i64, out: &mut impl Write) -> io::Result<()> {
        if !self.short_integer(value) {
            return self.plain(format_i64(value).as_bytes(), out);
        }
        self.make_room(0, out)
    }

    fn short_integer(&mut self, value: i64) -> bool {
        if let Ok(value) = i8::try_from(value) {
            self.byte(0xc0);
            self.buf.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.byte(0xc1);
            self.buf.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.byte(0xc2);
            self.buf.extend_from_slice(&value.to_le_bytes());
        } else {
            return false;
        }
        true
    }

    /// A string in its shortest form.
    pub(super) fn string(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        if bytes.len() <= INTEGER_BYTES_MAX
            && let Some(value) = resp::number::parse_i64(bytes)
            && self.short_integer(value)
        {
            return self.make_room(0, out);
        }
        let pieces = || bytes.chunks(PIECE_BYTES);
        match self.packs_to(bytes.len(), pieces()) {
            Some(packed_len) => self.packed(packed_len, bytes.len(), pieces(), out),
            None => self.plain(bytes, out),
        }
    }

    /// The same for a string that is long, and stands in chunks.
    fn chunked(&mut self, string: &Chunked, out: &mut impl Write) -> io::Result<()> {
        let (len, pieces) = (string.len(), || string.pieces(0..string.len()));
        match self.packs_to(len, pieces()) {
            Some(packed_len) => self.packed(packed_len, len, pieces(), out),
            None => {
                self.length(len);
                pieces().try_for_each(|piece| self.raw(piece, out))
            }
        }
    }

    /// How many bytes a string of `len` packs to, piece by piece, so that a giant needs no room of its own; `None` if it
    /// stays as it is.
    fn packs_to<'a>(&mut self, len: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
        let may_pack = self.options.compress && (PACKED_BYTES_MIN..=PACKED_BYTES_MAX).contains(&len);
        if may_pack { self.packer.measure(len, pieces, &mut self.packed) } else { None }
    }

    /// A string of `len` bytes that was just measured.
    fn packed<'a>(
        &mut self,
        packed_len: usize,
        len: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.packed_head(packed_len, len);
        let mut packed = std::mem::take(&mut self.packed);
        let written = match packed.len() == packed_len {
            true => self.raw(&packed, out),
            false => self.packed_again(packed_len, pieces, &mut packed, out),
        };
        self.packed = packed;
        written
    }

    /// One that is too long to be kept while it is measured.
    fn packed_again<'a>(
        &mut self,
        packed_len: usize,
        mut pieces: impl Iterator<Item = &'a [u8]>,
        packed: &mut Vec<u8>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let left = pieces.try_fold(packed_len, |left, piece| {
            self.packer.pack_piece(piece, packed);
            self.raw(packed, out)?;
            left.checked_sub(packed.len()).ok_or_else(broken_promise)
        });
        if left? == 0 { Ok(()) } else { Err(broken_promise()) }
    }

    fn packed_head(&mut self, packed_len: usize, len: usize) {
        self.byte(0xc3);
        self.length(packed_len);
        self.length(len);
    }

    fn plain(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        self.length(bytes.len());
        self.raw(bytes, out)
    }

    fn byte(&mut self, byte: u8) {
        self.buf.push(byte);
    }

    fn length(&mut self, len: usize) {
        self.count(len as u64);
    }

    /// A number in the form of a length.
    pub(super) fn count(&mut self, count: u64) {
        match count {
            0..0x40 => self.byte(count as u8),
            0x40..0x4000 => self.buf.extend_from_slice(&(count as u16 | 0x4000).to_be_bytes()),
            _ => match u32::try_from(count) {
                Ok(count) => {
                    self.byte(0x80);
                    self.buf.extend_from_slice(&count.to_be_bytes());
                }
                Err(_) => {
                    self.byte(0x81);
                    self.buf.extend_from_slice(&count.to_be_bytes());
                }
            },
        }
    }

    pub(super) fn raw(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        self.make_room(bytes.len(), out)?;
        if bytes.len() <= PIECE_BYTES {
            self.buf.extend_from_slice(bytes);
            return Ok(());
        }
        self.drain(out)?;
        self.sum(bytes);
        out.write_all(bytes)
    }

    /// Writes a full piece out.
    fn make_room(&mut self, more: usize, out: &mut impl Write) -> io::Result<()> {
        if self.buf.len() + more > PIECE_BYTES { self.drain(out) } else { Ok(()) }
    }

    pub(super) fn drain(&mut self, out: &mut impl Write) -> io::Result<()> {
        let buf = std::mem::take(&mut self.buf);
        self.sum(&buf);
        out.write_all(&buf)?;
        self.buf = buf;
        self.buf.clear();
        Ok(())
    }

    fn sum(&mut self, bytes: &[u8]) {
        if self.options.checksum {
            self.crc.update(bytes);
        }
    }
}

/// Fewer or more followed than was announced: such a file must never be published.
fn broken_promise() -> io::Error {
    io::Error::other("a value does not have the length it claims")
}

/// The type's code, by the value's encoding.
fn code_of(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Int(_) | ValueRef::Str(_) | ValueRef::Chunked(_) => 0,
        ValueRef::List(_) => 18,
        ValueRef::Set(set) if set.as_intset().is_some() => 11,
        ValueRef::Set(_) => 2,
        ValueRef::Hash(hash) if hash.as_listpack().is_some() => 16,
        ValueRef::Hash(_) => 4,
        ValueRef::ZSet(zset) if zset.as_listpack().is_some() => 17,
        ValueRef::ZSet(_) => 5,
        ValueRef::Stream(_) => 19,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{restore, sealed};
    use crate::types::list::{ChunkLimit, End};
    use crate::{Digest, Keyspace, Limits};

    /// An element of almost 4 GiB was packed into a blob that no start read again.
    #[test]
    fn an_element_that_is_alone_and_large_is_written_without_a_listpack() {
        let limit = ChunkLimit::of(&Limits { list_max_listpack_size: 1, ..Limits::default() });
        let mut list = List::new();
        for element in [&[b'a'; 10][..], &[b'b'; 100], &[b'c'; 20], &[b'd'; 200]] {
            list.make_room(&[element], limit);
            list.push(End::Right, element, limit);
        }
        let keyspace = Keyspace::new(1, 42);
        for (packed_bytes_max, plain) in [(150, 1), (99, 2), (1000, 0)] {
            let (mut writer, mut body) =
                (Writer::bare(Options { compress: false, checksum: false }), Vec::new());
            writer.byte(code_of(ValueRef::List(&list)));
            writer.list(&list, packed_bytes_max, &mut body).expect("a Vec takes it");
            writer.drain(&mut body).expect("a Vec takes it");
            // The container, the length in two bytes, the element.
            let is_plain = |&(element, len): &(u8, u8)| {
                let plain = [&[1, 0x40, len][..], &vec![element; len.into()]].concat();
                body.windows(plain.len()).any(|bytes| bytes == plain)
            };
            assert_eq!([(b'b', 100), (b'd', 200)].iter().filter(|of| is_plain(of)).count(), plain);
            let again = restore(&sealed(body.clone()), keyspace.rdb_shapes()).expect("it is read");
            assert_eq!(Digest::of_value(again.view()), Digest::of_value(ValueRef::List(&list)));
        }
    }
}
