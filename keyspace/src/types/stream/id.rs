//! The IDs of a stream's entries: `milliseconds-sequence`.

use std::fmt;
use std::ops::Deref;

use resp::number;

use crate::types::tree;

/// An entry's ID. The order is that of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Milliseconds since 1970, unless whoever added the entry says otherwise.
    pub ms: u64,
    /// Tells entries of the same millisecond apart.
    pub seq: u64,
}

impl tree::Item for StreamId {
    type Key = ();

    fn key(&self) {}
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl StreamId {
    /// Before all entries; no entry has it.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// Behind all entries.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// What `to_string` gives, without the machinery of formatting.
    pub fn to_text(self) -> IdText {
        let mut text = IdText { bytes: [0; IdText::BYTES_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b"-");
        text.push(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }

    /// The ID after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The ID before this one; `None` before the first.
    pub fn prev(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads `ms-seq`, or `ms` alone, which has `missing_seq` then.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        match split(text)? {
            (ms, None) => Some(StreamId { ms: parse_part(ms)?, seq: missing_seq }),
            (ms, Some(seq)) => Some(StreamId { ms: parse_part(ms)?, seq: parse_part(seq)? }),
        }
    }

    /// Reads the `ms` of `ms-*`.
    pub fn parse_any_seq(text: &[u8]) -> Option<u64> {
        match split(text)? {
            (ms, Some(b"*")) => parse_part(ms),
            _ => None,
        }
    }
}

/// An ID as text.
#[derive(Debug, Clone, Copy)]
pub struct IdText {
    bytes: [u8; IdText::BYTES_MAX],
    len: usize,
}

impl IdText {
    /// Two numbers of twenty digits, and the dash.
    const BYTES_MAX: usize = 41;

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl Deref for IdText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Parts at the first dash.
fn split(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    /// Longer texts are no IDs to Redis.
    const MAX_BYTES: usize = 127;
    if text.len() > MAX_BYTES {
        return None;
    }
    let dash = text.iter().position(|&byte| byte == b'-');
    Some(dash.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..]))))
}

/// Reads an unsigned number as C's `strtoull` does: blanks, a plus and zeros may stand before it.
fn parse_part(text: &[u8]) -> Option<u64> {
    if let Some(value) = number::parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let add = |value: u64, &byte: &u8| {
        let digit = char::from(byte).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_with_and_without_a_sequence() {
        let id = |ms, seq| Some(StreamId { ms, seq });
        for (text, expected) in [
            ("5-3", id(5, 3)),
            ("5", id(5, 7)),
            ("0-0", id(0, 0)),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("007-+1", id(7, 1)),
            ("18446744073709551616-0", None),
            ("5-", None),
            ("-5", None),
            ("", None),
            ("5-*", None),
            ("a-1", None),
            ("1-2-3", None),
        ] {
            assert_eq!(StreamId::parse(text.as_bytes(), 7), expected, "{text}");
        }
        for id in [StreamId::MIN, StreamId { ms: 5, seq: 30 }, StreamId::MAX] {
            assert_eq!(id.to_text()[..], *id.to_string().as_bytes());
        }
        assert_eq!(StreamId::parse_any_seq(b"5-*"), Some(5));
        assert_eq!(StreamId::parse_any_seq(b"5-**"), None);
        assert_eq!(StreamId::parse(&[b'1'; 128], 0), None);
    }

    #[test]
    fn neighbours_carry_over() {
        let id = |ms, seq| StreamId { ms, seq };
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(id(2, 0).prev(), Some(id(1, u64::MAX)));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.prev()), (None, None));
    }
}
