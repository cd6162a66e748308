//! The compact encoding of small lists, sets, hashes and sorted sets: elements back to back in one blob, byte for byte
//! Redis's listpack, so that an RDB file can hold the blob as it is.
//!
//! ```text
//! header   total bytes u32 LE | number of elements u16 LE (65535: unknown, count them)
//! element  encoding and data | backlen: their length, 7 bits a byte, most significant first, read from the right
//! end      0xff
//!
//! 0xxxxxxx                      integer 0..127
//! 10xxxxxx <x bytes>            string of up to 63 bytes
//! 110xxxxx yyyyyyyy             13-bit integer, two's complement
//! 1110xxxx yyyyyyyy <bytes>     string of up to 4095 bytes
//! 11110000 <u32 LE> <bytes>     string
//! 11110001/2/3/4 <2/3/4/8 LE>   16-, 24-, 32-, 64-bit integer
//! ```
//! Source: redis 7.2 `src/listpack.c`.

use std::ops::Range;

use resp::number;

use super::blob::Blob;
use crate::Str;

mod builder;

pub(crate) use self::builder::Builder;

/// Redis lets none grow beyond this, and its header has 32 bits for as many bytes. The tests of what is built of it reach
/// a smaller one.
pub(crate) const BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 1 << 30 };

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// A listpack. Cloning it shares the blob until one side writes.
#[derive(Debug, Clone)]
pub struct Listpack(Blob);

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

/// The place of an element: its byte offset. A write moves the elements behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(usize);

/// An element: strings in an integer's canonical form are stored as integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element<'a> {
    /// An integer.
    Int(i64),
    /// Any other string.
    Bytes(&'a [u8]),
}

impl Element<'_> {
    /// Calls `with` with the element as the bytes that a client sees.
    #[inline]
    pub fn with_bytes<T>(&self, with: impl FnOnce(&[u8]) -> T) -> T {
        match *self {
            Element::Int(value) => with(number::format_i64(value).as_bytes()),
            Element::Bytes(bytes) => with(bytes),
        }
    }

    /// The element as a string of its own.
    pub fn to_str(&self) -> Str {
        self.with_bytes(|bytes| Str::from(bytes))
    }

    /// Whether it is the string `bytes`.
    #[inline]
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.with_bytes(|own| own == bytes)
    }
}

impl Default for Listpack {
    fn default() -> Self {
        Listpack::new()
    }
}

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Self {
        // As much room as a single short element takes anyway.
        Listpack(Blob::with_room(&[7, 0, 0, 0, 0, 0, END], 2 * HEADER_BYTES))
    }

    /// Takes a blob from outside; `None` unless it is a sound listpack. Elements that are not encoded as short as they
    /// could be are encoded anew, because [`find`](Self::find) compares encodings.
    pub fn from_bytes(blob: &[u8]) -> Option<Self> {
        let (&last, elements) = blob.split_last()?;
        let total_bytes = elements.get(..4).map(little_endian_u32)?;
        let count = u16::from_le_bytes(*elements.get(4..)?.first_chunk()?);
        if last != END || total_bytes as usize != blob.len() {
            return None;
        }
        let (mut rest, mut len, mut shortest) = (elements.get(HEADER_BYTES..)?, 0, true);
        while !rest.is_empty() {
            let entry = sound_entry_bytes(rest)?;
            let (body, behind) = rest.split_at_checked(entry)?;
            rest = behind_backlen(entry, behind)?;
            shortest &= is_shortest(body);
            len += 1;
        }
        if count != COUNT_UNKNOWN && usize::from(count) != len {
            return None;
        }
        let pack = Listpack(Blob::new(blob));
        Some(if shortest { pack } else { pack.encoded_anew() })
    }

    fn encoded_anew(&self) -> Self {
        let mut pack = Listpack::new();
        self.iter().for_each(|element| element.with_bytes(|bytes| pack.push_back(bytes)));
        pack
    }

    /// The blob.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[..self.len_bytes()]
    }

    /// The blob, and idle bytes behind it.
    #[inline]
    pub(crate) fn room(&self) -> &[u8] {
        &self.0
    }

    /// Its size in bytes.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.0.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    /// The bytes that its blob has on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// The same, at least, with one element more.
    pub(crate) fn heap_bytes_with(&self, element: &[u8]) -> usize {
        Blob::bytes_for(self.len_bytes() + Encoded::new(element).len_bytes())
    }

    /// The same, with an element in the place of another.
    pub(crate) fn heap_bytes_replacing(&self, At(at): At, element: &[u8]) -> usize {
        self.heap_bytes_with(element) - span(&self.0, at)
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match u16::from_le_bytes([self.0[4], self.0[5]]) {
            COUNT_UNKNOWN => self.counted(),
            count => usize::from(count),
        }
    }

    #[cold]
    fn counted(&self) -> usize {
        self.places().count()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.0[HEADER_BYTES] == END
    }

    /// The first element's place.
    pub fn first(&self) -> Option<At> {
        self.checked(HEADER_BYTES)
    }

    /// The last element's place.
    pub fn last(&self) -> Option<At> {
        self.prev(At(self.len_bytes() - 1))
    }

    /// The place after `at`.
    #[inline]
    pub fn next(&self, At(at): At) -> Option<At> {
        self.checked(at + span(&self.0, at))
    }

    /// The place before `at`.
    pub fn prev(&self, At(at): At) -> Option<At> {
        if at == HEADER_BYTES {
            return None;
        }
        let mut entry = 0;
        let mut shift = 0;
        let mut read = 0;
        loop {
            read += 1;
            let byte = self.0[at - read];
            entry |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(At(at - read - entry));
            }
        }
    }

    /// The place of element `index`; negative counts from the end.
    pub fn seek(&self, index: isize) -> Option<At> {
        let len = self.len();
        let index = if index < 0 { len.checked_sub(index.unsigned_abs())? } else { index as usize };
        if index >= len {
            return None;
        }
        // Walk from the nearer end.
        if index * 2 < len {
            (0..index).try_fold(self.first()?, |at, _| self.next(at))
        } else {
            (index + 1..len).try_fold(self.last()?, |at, _| self.prev(at))
        }
    }

    /// The element at a place.
    #[inline]
    pub fn get(&self, At(at): At) -> Element<'_> {
        element_at(&self.0, at)
    }

    /// The elements from first to last.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> + Clone {
        self.places().map(|at| self.get(at))
    }

    /// The elements from last to first.
    pub fn iter_rev(&self) -> impl Iterator<Item = Element<'_>> {
        std::iter::successors(self.last(), |&at| self.prev(at)).map(|at| self.get(at))
    }

    /// The places from first to last.
    pub fn places(&self) -> impl Iterator<Item = At> + Clone + '_ {
        std::iter::successors(self.first(), |&at| self.next(at))
    }

    /// The place of the first element equal to `bytes`, looking at every `step`th from `from` on: a hash or a sorted
    /// set has its keys at every second.
    pub fn find(&self, from: Option<At>, bytes: &[u8], step: usize) -> Option<At> {
        let wanted = Encoded::new(bytes);
        let At(start) = from?;
        let (tag, tail) = (wanted.head[0], wanted.tail());
        let mut rest = &self.0[start..];
        loop {
            // Most elements differ in their first byte already: the tag, with a short string's length. And names of one
            // length mostly in their last eight.
            let may_be = |(behind, tail)| rest.get(behind..).and_then(<[u8]>::first_chunk) == Some(tail);
            if rest[0] == tag && tail.is_none_or(may_be) && wanted.begins(rest) {
                return Some(At(self.0.len() - rest.len()));
            }
            for _ in 0..step {
                rest = &rest[span(rest, 0)..];
                if rest[0] == END {
                    return None;
                }
            }
        }
    }

    /// Appends an element.
    pub fn push_back(&mut self, bytes: &[u8]) {
        self.put(self.end(), &[Encoded::new(bytes)], 1);
    }

    /// Appends elements, at the cost of one. Each is encoded twice, to be measured and to be written right where it is
    /// to stand: that takes less than to keep what it becomes.
    pub fn extend<'a>(&mut self, elements: impl Iterator<Item = Element<'a>> + Clone) {
        let measure = |(len_bytes, added), element| (len_bytes + Encoded::of(element).len_bytes(), added + 1);
        let (len_bytes, added) = elements.clone().fold((0, 0), measure);
        let to = self.reshape(self.end(), len_bytes, added);
        elements.fold(0, |at, element| at + Encoded::of(element).write(&mut to[at..]));
    }

    /// Puts an element in front.
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.insert(At(HEADER_BYTES), bytes);
    }

    /// Puts an element before `at`, which is its place then.
    pub fn insert(&mut self, At(at): At, bytes: &[u8]) {
        self.put(at..at, &[Encoded::new(bytes)], 1);
    }

    /// Puts two elements before `at`, or at the end.
    pub fn insert_pair(&mut self, at: Option<At>, first: &[u8], second: &[u8]) {
        let range = at.map_or_else(|| self.end(), |At(at)| at..at);
        self.put(range, &[Encoded::new(first), Encoded::new(second)], 2);
    }

    /// Puts an element behind `at`.
    pub fn insert_after(&mut self, at: At, bytes: &[u8]) {
        match self.next(at) {
            Some(next) => self.insert(next, bytes),
            None => self.push_back(bytes),
        }
    }

    /// Puts an element in the place of another.
    pub fn replace(&mut self, at: At, bytes: &[u8]) {
        self.replace_by(at, &Encoded::new(bytes));
    }

    /// Puts an integer in the place of an element.
    pub fn replace_int(&mut self, at: At, value: i64) {
        self.replace_by(at, &Encoded::integer(value));
    }

    /// Puts an element in the place of another: right there, if it is as long and nobody else has the blob.
    #[inline]
    fn replace_by(&mut self, At(at): At, new: &Encoded<'_>) {
        let old_len = span(&self.0, at);
        // Counters, flags and times mostly stay as long as they are.
        match self.0.own_mut() {
            Some(blob) if new.len_bytes() == old_len => _ = new.write(&mut blob[at..]),
            _ => self.put(at..at + old_len, std::slice::from_ref(new), 0),
        }
    }

    /// Removes `count` elements (or those that are left) from `at` on; returns the place of what follows them.
    pub fn remove(&mut self, At(start): At, count: usize) -> Option<At> {
        let (mut end, mut removed) = (start, 0);
        while removed < count && self.0[end] != END {
            removed += 1;
            end += span(&self.0, end);
        }
        self.reshape(start..end, 0, -(removed as isize));
        self.checked(start)
    }

    #[inline]
    fn checked(&self, at: usize) -> Option<At> {
        (self.0[at] != END).then_some(At(at))
    }

    /// Where an appended element goes.
    fn end(&self) -> Range<usize> {
        let end = self.len_bytes() - 1;
        end..end
    }

    /// Puts elements in the place of a range of bytes; `added` is the change in the number of elements.
    fn put(&mut self, range: Range<usize>, elements: &[Encoded<'_>], added: isize) {
        let len_bytes = elements.iter().map(Encoded::len_bytes).sum();
        let to = self.reshape(range, len_bytes, added);
        elements.iter().fold(0, |at, element| at + element.write(&mut to[at..]));
    }

    /// Puts `inserted` bytes, which the caller is to write, in the place of a range.
    fn reshape(&mut self, range: Range<usize>, inserted: usize, added: isize) -> &mut [u8] {
        let old_len = self.len_bytes();
        let (start, len) = (range.start, old_len - range.len() + inserted);
        let blob = self.0.splice(old_len, range, inserted);
        set_header(blob, len, added);
        &mut blob[start..start + inserted]
    }
}

#[inline]
fn set_header(blob: &mut [u8], len: usize, added: isize) {
    let [a, b, c, d] = (len as u32).to_le_bytes();
    let count = u16::from_le_bytes([blob[4], blob[5]]);
    let count = match usize::from(count).checked_add_signed(added) {
        Some(new) if count != COUNT_UNKNOWN => u16::try_from(new).unwrap_or(COUNT_UNKNOWN),
        _ => COUNT_UNKNOWN,
    };
    let [e, f] = count.to_le_bytes();
    blob[..HEADER_BYTES].copy_from_slice(&[a, b, c, d, e, f]);
}

/// An element's head (tag, and length or integer) and the string behind it.
struct Encoded<'a> {
    /// Nine bytes at most.
    head: [u8; 16],
    head_bytes: usize,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn of(element: Element<'a>) -> Self {
        match element {
            Element::Int(value) => Self::integer(value),
            Element::Bytes(bytes) => Self::new(bytes),
        }
    }

    #[inline]
    fn new(bytes: &'a [u8]) -> Self {
        // No integer has more than twenty characters.
        match number::parse_i64(bytes).filter(|_| bytes.len() <= 20) {
            Some(value) => Self::integer(value),
            None => Self::string(bytes),
        }
    }

    #[inline]
    fn string(body: &'a [u8]) -> Self {
        let len = body.len() as u64;
        match len {
            0..=63 => Self::with(0x80 | len, 0, 1, body),
            64..=4095 => Self::with(0xe0 | len >> 8, len, 2, body),
            _ => Self::with(0xf0, len, 5, body),
        }
    }

    #[inline]
    fn integer(value: i64) -> Self {
        let low = value as u64;
        match value {
            0..=127 => Self::with(low, 0, 1, &[]),
            -4096..=4095 => Self::with(0xc0 | low >> 8 & 0x1f, low, 2, &[]),
            -0x8000..=0x7fff => Self::with(0xf1, low, 3, &[]),
            -0x80_0000..=0x7f_ffff => Self::with(0xf2, low, 4, &[]),
            -0x8000_0000..=0x7fff_ffff => Self::with(0xf3, low, 5, &[]),
            _ => Self::with(0xf4, low, 9, &[]),
        }
    }

    /// Of a head, the tag and as many bytes of a number behind it as belong to it. A number in a register takes no
    /// loop.
    #[inline]
    fn with(tag: u64, number: u64, head_bytes: usize, body: &'a [u8]) -> Self {
        let head = u128::from(tag) | u128::from(number) << 8;
        Encoded { head: head.to_le_bytes(), head_bytes, body }
    }

    /// The last eight bytes of a string, and how far behind the element's place they are.
    #[inline]
    fn tail(&self) -> Option<(usize, &[u8; 8])> {
        self.body.last_chunk().map(|tail| (self.entry_bytes() - tail.len(), tail))
    }

    /// Whether this element is the first of `rest`, which begins with its tag. Equal strings are encoded alike, so bytes
    /// decide; only the head says how many.
    #[inline]
    fn begins(&self, rest: &[u8]) -> bool {
        let has_head = self.head_bytes == 1 || rest.starts_with(self.head());
        has_head && rest[self.head_bytes..].starts_with(self.body)
    }

    #[inline]
    fn head(&self) -> &[u8] {
        &self.head[..self.head_bytes]
    }

    /// Bytes of the element without its backlen.
    #[inline]
    fn entry_bytes(&self) -> usize {
        self.head_bytes + self.body.len()
    }

    #[inline]
    fn len_bytes(&self) -> usize {
        let entry = self.entry_bytes();
        entry + backlen_bytes(entry)
    }

    /// Writes the element over the first bytes of `to`; returns how many.
    #[inline]
    fn write(&self, to: &mut [u8]) -> usize {
        match to {
            // A small integer, as flags and counters are.
            [tag, backlen, ..] if self.entry_bytes() == 1 => {
                [*tag, *backlen] = [self.head[0], 1];
                2
            }
            to => self.write_long(to),
        }
    }

    /// Of itself, so that what is short needs none of the registers that this does.
    #[inline(never)]
    fn write_long(&self, to: &mut [u8]) -> usize {
        let (entry, len_bytes) = (self.entry_bytes(), self.len_bytes());
        match &mut to[..self.head_bytes] {
            // No call for one byte.
            [tag] => *tag = self.head[0],
            head => head.copy_from_slice(self.head()),
        }
        to[self.head_bytes..entry].copy_from_slice(self.body);
        write_backlen(&mut to[entry..len_bytes], entry);
        len_bytes
    }
}

/// The element whose bytes begin at `at`.
#[inline]
fn element_at(bytes: &[u8], at: usize) -> Element<'_> {
    let string = |start: usize, len: usize| Element::Bytes(&bytes[start..start + len]);
    match bytes[at] {
        head @ 0x00..=0x7f => Element::Int(i64::from(head)),
        head @ 0x80..=0xbf => string(at + 1, usize::from(head & 0x3f)),
        head @ 0xc0..=0xdf => {
            let value = i64::from(head & 0x1f) << 8 | i64::from(bytes[at + 1]);
            Element::Int(if value >= 1 << 12 { value - (1 << 13) } else { value })
        }
        head @ 0xe0..=0xef => string(at + 2, usize::from(head & 0x0f) << 8 | usize::from(bytes[at + 1])),
        0xf0 => string(at + 5, long_string_len(bytes, at)),
        head => Element::Int(little_endian(&bytes[at + 1..at + 1 + integer_bytes(head)])),
    }
}

/// Bytes of an element, its backlen included.
#[inline]
fn span(blob: &[u8], at: usize) -> usize {
    // Whatever is shorter than 128 bytes has a backlen of one.
    match blob[at] {
        0x00..=0x7f => 2,
        head @ 0x80..=0xbf => 2 + usize::from(head & 0x3f),
        0xc0..=0xdf => 3,
        head @ 0xf1..=0xff => 2 + integer_bytes(head),
        _ => {
            let entry = string_entry_bytes(blob, at);
            entry + backlen_bytes(entry)
        }
    }
}

/// Bytes of a string of 64 bytes or more, without its backlen.
#[inline]
fn string_entry_bytes(blob: &[u8], at: usize) -> usize {
    match blob[at] {
        0xf0 => 5 + long_string_len(blob, at),
        head => 2 + (usize::from(head & 0x0f) << 8 | usize::from(blob[at + 1])),
    }
}

fn long_string_len(blob: &[u8], at: usize) -> usize {
    little_endian_u32(&blob[at + 1..at + 5]) as usize
}

/// Bytes of the first element of `rest` without its backlen, if it is one and `rest` holds all of it.
fn sound_entry_bytes(rest: &[u8]) -> Option<usize> {
    let entry = match *rest {
        [0x00..=0x7f, ..] => 1,
        [head @ 0x80..=0xbf, ..] => 1 + usize::from(head & 0x3f),
        [0xc0..=0xdf, ..] => 2,
        [0xe0..=0xef, _, ..] | [0xf0, _, _, _, _, ..] => string_entry_bytes(rest, 0),
        [head @ 0xf1..=0xf4, ..] => 1 + integer_bytes(head),
        _ => return None,
    };
    (entry <= rest.len()).then_some(entry)
}

/// What follows the backlen of an entry of so many bytes, if that is sound.
#[inline]
fn behind_backlen(entry: usize, behind: &[u8]) -> Option<&[u8]> {
    if let (0..=127, Some((&backlen, rest))) = (entry, behind.split_first()) {
        return (usize::from(backlen) == entry).then_some(rest);
    }
    let (found, rest) = behind.split_at_checked(backlen_bytes(entry))?;
    let mut backlen = [0; 5];
    let backlen = &mut backlen[..found.len()];
    write_backlen(backlen, entry);
    (found == backlen).then_some(rest)
}

/// Whether a sound element, without its backlen, is encoded as this module would encode it.
#[inline]
fn is_shortest(entry: &[u8]) -> bool {
    match element_at(entry, 0) {
        Element::Int(value) => matches!(entry, [0x00..=0x7f]) || Encoded::integer(value).head() == entry,
        Element::Bytes(bytes) => match number::parse_i64(bytes) {
            Some(_) => false,
            None => Encoded::string(bytes).head_bytes + bytes.len() == entry.len(),
        },
    }
}

/// Bytes of the integer behind a tag from 0xf1 to 0xf4.
#[inline]
fn integer_bytes(head: u8) -> usize {
    match head {
        0xf1 => 2,
        0xf2 => 3,
        0xf3 => 4,
        _ => 8,
    }
}

/// A signed little-endian integer of up to eight bytes.
fn little_endian(bytes: &[u8]) -> i64 {
    let mut padded = [0; 8];
    padded[8 - bytes.len()..].copy_from_slice(bytes);
    i64::from_le_bytes(padded) >> (64 - 8 * bytes.len())
}

fn little_endian_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

#[inline]
fn backlen_bytes(entry: usize) -> usize {
    match entry {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Seven bits a byte; every byte but the leftmost says that there is one more to its left.
#[inline]
fn write_backlen(to: &mut [u8], entry: usize) {
    if let [only] = to {
        *only = entry as u8;
        return;
    }
    let mut rest = entry;
    for (at, byte) in to.iter_mut().enumerate().rev() {
        *byte = (rest & 0x7f) as u8 | if at == 0 { 0 } else { 0x80 };
        rest >>= 7;
    }
}

#[cfg(test)]
mod tests;
