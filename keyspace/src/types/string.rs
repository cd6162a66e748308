//! Strings, as the commands see them: bytes in a row or in chunks, or the integer that they spell.

use std::borrow::Cow;
use std::ops::Range;

use resp::Encoder;
use resp::number::{self, Text};

use super::chunked::{CHUNK_BYTES, Chunked, pieces};
use crate::{CommandError, Str, Value, ValueRef};

/// The bytes of a string value, borrowed where they are stored.
#[derive(Debug)]
pub enum StringRef<'a> {
    /// Stored bytes.
    Bytes(&'a [u8]),
    /// The same, in chunks.
    Chunked(&'a Chunked),
    /// An integer, printed.
    Int(Text),
}

impl PartialEq for StringRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.contiguous() == other.contiguous()
    }
}

impl<'a> StringRef<'a> {
    /// The bytes of a string value.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub fn of(value: ValueRef<'a>) -> Result<Self, CommandError> {
        match value {
            ValueRef::Str(bytes) => Ok(StringRef::Bytes(bytes)),
            ValueRef::Chunked(string) => Ok(StringRef::Chunked(string)),
            ValueRef::Int(integer) => Ok(StringRef::Int(number::format_i64(integer))),
            _ => Err(CommandError::WrongType),
        }
    }

    /// As [`of`](Self::of); a key that is not there holds the empty string.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub fn of_key(value: Option<ValueRef<'a>>) -> Result<Self, CommandError> {
        value.map_or(Ok(StringRef::Bytes(&[])), StringRef::of)
    }

    /// Its bytes, where they stand in a row.
    #[inline]
    fn row(&self) -> Option<&[u8]> {
        match self {
            StringRef::Bytes(bytes) => Some(bytes),
            StringRef::Int(text) => Some(text.as_bytes()),
            StringRef::Chunked(_) => None,
        }
    }

    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            StringRef::Bytes(bytes) => bytes.len(),
            StringRef::Chunked(string) => string.len(),
            StringRef::Int(text) => text.as_bytes().len(),
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The byte at `at`.
    #[inline]
    pub fn byte(&self, at: usize) -> Option<u8> {
        match self.row() {
            Some(bytes) => bytes.get(at).copied(),
            None => self.pieces(at..at.saturating_add(1)).next()?.first().copied(),
        }
    }

    /// The bytes of a range, as far as there are any, in pieces.
    #[inline]
    pub fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        pieces(range, self.len(), |range| match self {
            StringRef::Bytes(bytes) => &bytes[range],
            StringRef::Int(text) => &text.as_bytes()[range],
            StringRef::Chunked(string) => string.piece(range),
        })
    }

    /// Reads bytes from `at` on; what is behind the end stays as it is.
    pub fn read(&self, at: usize, mut into: &mut [u8]) {
        for piece in self.pieces(at..at.saturating_add(into.len())) {
            let (bytes, rest) = into.split_at_mut(piece.len());
            bytes.copy_from_slice(piece);
            into = rest;
        }
    }

    /// All bytes in a row: a copy, if they stand in chunks.
    pub fn contiguous(&self) -> Cow<'_, [u8]> {
        match self.row() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => Cow::Owned(self.pieces(0..self.len()).collect::<Vec<_>>().concat()),
        }
    }

    /// Replies with it.
    #[inline]
    pub fn reply(&self, out: &mut Encoder<'_>) {
        match self.row() {
            Some(bytes) => out.bulk(bytes),
            None => out.bulk_pieces(self.len(), self.pieces(0..self.len())),
        }
    }
}

/// A string value to be changed where it stands, which no snapshot sees.
#[derive(Debug)]
pub enum StringMut<'a> {
    /// Bytes in a row.
    Bytes(&'a mut [u8]),
    /// Bytes in chunks.
    Chunked(&'a mut Chunked),
}

impl<'a> StringMut<'a> {
    /// A stored string, lengthened with zeros to at least `len` bytes; `None` for what is none.
    pub fn lengthened(value: &'a mut Value, len: usize) -> Option<Self> {
        if let Value::Str(bytes) = value
            && len.max(bytes.len()) > CHUNK_BYTES
        {
            *value = Value::Chunked(Chunked::new(bytes));
        }
        match value {
            Value::Str(bytes) => {
                make_private(bytes);
                grow(bytes, len);
                Some(StringMut::Bytes(bytes.make_mut()))
            }
            Value::Chunked(string) => {
                string.grow(len);
                Some(StringMut::Chunked(string))
            }
            _ => None,
        }
    }

    /// The string as readers see it.
    pub fn view(&self) -> StringRef<'_> {
        match self {
            StringMut::Bytes(bytes) => StringRef::Bytes(bytes),
            StringMut::Chunked(string) => StringRef::Chunked(string),
        }
    }

    /// Overwrites bytes from `at` on, for which it is long enough.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        match self {
            StringMut::Bytes(string) => string[at..at + bytes.len()].copy_from_slice(bytes),
            StringMut::Chunked(string) => string.write(at, bytes),
        }
    }
}

/// What precedes the bytes of a [`Str`] on the heap: count and capacity.
pub(crate) const HEADER_BYTES: usize = 16;

/// Copies bytes. The vector's own ways take them one by one, a nanosecond for three; filling and overwriting go at
/// memory's speed, ten times as fast for a long string.
#[inline]
pub fn copied(bytes: &[u8]) -> Str {
    let mut copy = Str::from_elem(0, bytes.len());
    copy.make_mut().copy_from_slice(bytes);
    copy
}

/// Copies the string if it is shared with a snapshot, so that a write need not.
#[inline]
pub fn make_private(bytes: &mut Str) {
    if !bytes.is_unique() {
        *bytes = copied(bytes);
    }
}

/// Lengthens a string with zero bytes to at least `len` bytes.
fn grow(bytes: &mut Str, len: usize) {
    const ZEROS: [u8; 4096] = [0; 4096];
    if len / 2 > bytes.len() {
        // Most of it is new.
        let mut longer = Str::from_elem(0, len);
        longer.make_mut()[..bytes.len()].copy_from_slice(bytes);
        *bytes = longer;
        return;
    }
    let mut more = len.saturating_sub(bytes.len());
    bytes.reserve(more);
    while more > 0 {
        let step = more.min(ZEROS.len());
        bytes.extend_from_slice(&ZEROS[..step]);
        more -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_grows_with_zeros_and_leaves_its_clones_alone() {
        for (start, len) in
            [(0, 0), (0, 1), (3, 2), (3, 3), (3, 4), (3, 9), (5000, 9999), (5000, 10_001), (9000, 9001)]
        {
            let before = Str::from_elem(7, start);
            let mut bytes = before.clone();
            make_private(&mut bytes);
            grow(&mut bytes, len);
            assert_eq!(before, Str::from_elem(7, start));
            let zeros = std::iter::repeat_n(0, len.saturating_sub(start));
            assert!(bytes.iter().copied().eq(std::iter::repeat_n(7, start).chain(zeros)), "{start} {len}");
        }
    }

    #[test]
    fn a_copy_has_the_same_bytes() {
        for text in [&b""[..], b"a", &[9; 5000]] {
            assert_eq!(&copied(text)[..], text);
        }
    }
}
