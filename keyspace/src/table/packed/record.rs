//! A record's bytes:
//!
//! ```text
//! flags           u8
//! key's length    u8
//! key             its bytes, or an index of the segment's values (u16 LE) if LONG_KEY
//! value's length  u8, if STR
//! value           its bytes (STR), i64 LE (INT), an index of the segment's values (u16 LE, HANDLE), or nothing (EMPTY)
//! expire          milliseconds since 1970, i64 LE, if EXPIRES
//! ```

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
            HANDLE => 2,
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

    /// Where the key ends.
    #[inline]
    pub(super) fn key_end(self) -> usize {
        HEAD_BYTES + usize::from(self.key_len)
    }

    #[inline]
    fn value_at(self) -> usize {
        self.key_end() + if self.flags & FORM == STR { VALUE_LEN_BYTES } else { 0 }
    }

    /// Where the value ends.
    #[inline]
    pub(super) fn value_end(self) -> usize {
        self.value_at() + usize::from(self.value_len)
    }

    #[inline]
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
    Handle([u8; 2]),
}

impl Piece<'_> {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Piece::Str(bytes) => bytes,
            Piece::Owned(bytes) => bytes,
            Piece::Int(bytes) => bytes,
            Piece::Handle(bytes) => bytes,
        }
    }

    #[inline]
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

/// What stands behind a record's key, or behind its value; its flags tell of it.
pub(super) struct Tail<'a> {
    flags: u8,
    value: Option<&'a [u8]>,
    expire_at_ms: i64,
}

impl<'a> Tail<'a> {
    /// A value and a time. Whether there is a time is not what `flags` say, but `expire_at_ms`.
    #[inline]
    pub(super) fn new(flags: u8, value: &'a [u8], expire_at_ms: i64) -> Self {
        Tail { value: Some(value), ..Tail::time(flags, expire_at_ms) }
    }

    /// A time behind a value that stays.
    #[inline]
    pub(super) fn time(flags: u8, expire_at_ms: i64) -> Self {
        let expires = if expire_at_ms == NEVER { 0 } else { EXPIRES };
        Tail { flags: flags & !EXPIRES | expires, value: None, expire_at_ms }
    }

    /// Its length in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let value_len = if self.tells_length() { VALUE_LEN_BYTES } else { 0 };
        let expire = if self.flags & EXPIRES == 0 { 0 } else { EXPIRE_BYTES };
        value_len + self.value.map_or(0, <[u8]>::len) + expire
    }

    /// Ends a record with it, of which the first `kept` bytes are there.
    #[inline]
    pub(super) fn write(&self, record: &mut [u8], kept: usize) {
        record[0] = self.flags;
        let mut to = &mut record[kept..];
        let value = self.value.unwrap_or_default();
        if self.tells_length() {
            to[0] = value.len() as u8;
            to = &mut to[VALUE_LEN_BYTES..];
        }
        let (own, time) = to.split_at_mut(value.len());
        own.copy_from_slice(value);
        if let Some(time) = time.first_chunk_mut() {
            *time = self.expire_at_ms.to_le_bytes();
        }
    }

    #[inline]
    fn tells_length(&self) -> bool {
        self.value.is_some() && self.flags & FORM == STR
    }
}

/// Writes a record.
#[inline]
pub(super) fn write(record: &mut [u8], key: &[u8], tail: &Tail<'_>) {
    let kept = HEAD_BYTES + key.len();
    record[1] = key.len() as u8;
    record[HEAD_BYTES..kept].copy_from_slice(key);
    tail.write(record, kept);
}

/// How long the record of a key is.
#[inline]
pub(super) fn len(key: &[u8], tail: &Tail<'_>) -> usize {
    HEAD_BYTES + key.len() + tail.len()
}

#[inline]
pub(super) fn i64_of(bytes: &[u8]) -> i64 {
    bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// An index that stands in a record.
pub(super) fn index_of(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(usize::MAX, |bytes| u16::from_le_bytes(*bytes).into())
}
