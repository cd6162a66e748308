//! Strings, as the commands see them: bytes, whether a value holds them or the integer that they spell.

use std::ops::Deref;

use resp::number::{self, Text};

use crate::{CommandError, Str, ValueRef};

/// The bytes of a string value, borrowed where they are stored.
#[derive(Debug)]
pub enum StringRef<'a> {
    /// Stored bytes.
    Bytes(&'a [u8]),
    /// An integer, printed.
    Int(Text),
}

impl Deref for StringRef<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            StringRef::Bytes(bytes) => bytes,
            StringRef::Int(text) => text.as_bytes(),
        }
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
pub fn grow(bytes: &mut Str, len: usize) {
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
