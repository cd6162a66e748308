//! A record's bytes:
//!
//! ```text
//! flags           u8
//! key's length    u8
//! key             its bytes, or an index of the segment's values (u32 LE) if LONG_KEY
//! value's length  u8, if STR
//! value           its bytes (STR), i64 LE (INT), an index of the segment's values (u32 LE, HANDLE), or nothing (EMPTY)
//! expire          milliseconds since 1970, i64 LE, if EXPIRES
//! ```

use std::ops::{Deref, DerefMut};

use crate::Str;
use crate::entry::NEVER;

/// The longest key, and the longest string value, that stands in a block: several records must fit into one.
pub(crate) const PACKED_MAX_BYTES: usize = 128;

/// The value's form: two bits of the flags.
pub(super) const FORM: u8 = 3;
pub(super) const STR: u8 = 0;
pub(super) const INT: u8 = 1;
pub(super) const HANDLE: u8 = 2;
/// The empty string: what a set's members have.
const EMPTY: u8 = 3;
/// The record ends with a time.
const EXPIRES: u8 = 4;
/// The key stands among the values.
pub(super) const LONG_KEY: u8 = 8;

/// Flags and the key's length.
const HEAD_BYTES: usize = 2;
const VALUE_LEN_BYTES: usize = 1;
const EXPIRE_BYTES: usize = 8;
/// What a record takes at most beside its key, its value and its time.
pub(super) const FRAME_BYTES: usize = HEAD_BYTES + VALUE_LEN_BYTES;

/// A record's flags and lengths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) flags: u8,
    key_len: u8,
    value_len: u8,
}

impl Head {
    #[inline]
    pub(super) fn of(record: &[u8]) -> Self {
        let [flags, key_len] = record.first_chunk().copied().unwrap_or_default();
        let value_len = match flags & FORM {
            STR => record.get(HEAD_BYTES + usize::from(key_len)).copied().unwrap_or_default(),
            INT => 8,
            HANDLE => 4,
            _ => 0,
        };
        Head { flags, key_len, value_len }
    }

    /// The key, or its index.
    #[inline]
    pub(super) fn key(self, record: &[u8]) -> &[u8] {
        &record[HEAD_BYTES..self.key_end()]
    }

    /// The value's bytes, or its index.
    #[inline]
    pub(super) fn value(self, record: &[u8]) -> &[u8] {
        &record[self.value_at()..self.value_end()]
    }

    /// The time, or [`NEVER`].
    #[inline]
    pub(super) fn expire_at_ms(self, record: &[u8]) -> i64 {
        if self.flags & EXPIRES == 0 { NEVER } else { i64_of(&record[self.value_end()..]) }
    }

    fn key_end(self) -> usize {
        HEAD_BYTES + usize::from(self.key_len)
    }

    fn value_at(self) -> usize {
        self.key_end() + if self.flags & FORM == STR { VALUE_LEN_BYTES } else { 0 }
    }

    fn value_end(self) -> usize {
        self.value_at() + usize::from(self.value_len)
    }

    pub(super) fn record_len(self) -> usize {
        self.value_end() + if self.flags & EXPIRES == 0 { 0 } else { EXPIRE_BYTES }
    }

    /// Where in the record the indices into the values are.
    pub(super) fn handles(self) -> impl Iterator<Item = usize> {
        let key = (self.flags & LONG_KEY != 0).then_some(HEAD_BYTES);
        let value = (self.flags & FORM == HANDLE).then_some(self.value_at());
        key.into_iter().chain(value)
    }
}

/// A key or a value as it goes into a record.
pub(super) enum Piece<'a> {
    Str(&'a [u8]),
    Owned(Str),
    Int([u8; 8]),
    Handle([u8; 4]),
}

impl Piece<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Piece::Str(bytes) => bytes,
            Piece::Owned(bytes) => bytes,
            Piece::Int(bytes) => bytes,
            Piece::Handle(bytes) => bytes,
        }
    }

    pub(super) fn form(&self) -> u8 {
        match self {
            Piece::Str([]) => EMPTY,
            Piece::Owned(bytes) if bytes.is_empty() => EMPTY,
            Piece::Str(_) | Piece::Owned(_) => STR,
            Piece::Int(_) => INT,
            Piece::Handle(_) => HANDLE,
        }
    }
}

/// What a record has beside its key and its value.
pub(super) struct Frame {
    head: [u8; HEAD_BYTES],
    value_len: [u8; VALUE_LEN_BYTES],
    time: [u8; EXPIRE_BYTES],
}

impl Frame {
    /// Whether there is a time is not what `flags` say, but `expire_at_ms`.
    #[inline]
    pub(super) fn new(flags: u8, key: &[u8], value: &[u8], expire_at_ms: i64) -> Self {
        let expires = if expire_at_ms == NEVER { 0 } else { EXPIRES };
        let flags = flags & !EXPIRES | expires;
        Frame {
            head: [flags, key.len() as u8],
            value_len: [value.len() as u8],
            time: expire_at_ms.to_le_bytes(),
        }
    }

    /// The record, in parts.
    #[inline]
    pub(super) fn around<'a>(&'a self, key: &'a [u8], value: &'a [u8]) -> [&'a [u8]; 5] {
        let [flags, _] = self.head;
        let value_len = if flags & FORM == STR { &self.value_len[..] } else { &[] };
        let time = if flags & EXPIRES == 0 { &[] } else { &self.time[..] };
        [&self.head, key, value_len, value, time]
    }
}

/// A record on its way into a block.
pub(super) struct Record {
    len: usize,
    bytes: [u8; FRAME_BYTES + 2 * PACKED_MAX_BYTES + EXPIRE_BYTES],
}

impl Record {
    #[inline]
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut record = Record { len: 0, bytes: [0; FRAME_BYTES + 2 * PACKED_MAX_BYTES + EXPIRE_BYTES] };
        for part in parts {
            record.bytes[record.len..][..part.len()].copy_from_slice(part);
            record.len += part.len();
        }
        record
    }
}

impl Deref for Record {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

#[inline]
pub(super) fn i64_of(bytes: &[u8]) -> i64 {
    bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// An index that stands in a record.
pub(super) fn index_of(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(usize::MAX, |bytes| u32::from_le_bytes(*bytes) as usize)
}
