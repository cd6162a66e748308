//! Keys on their way from a reader to a keyspace on another thread, side by side.

use super::Key;
use crate::table::packed::PACKED_MAX_BYTES;
use crate::table::place::place_of;
use crate::types::string::copied;
use crate::{DbIndex, New, Value};

/// The room for bytes that a [`Sorter`]'s part keeps: one huge key is not to cost as much up to the end of the file.
const KEPT_PART_BYTES: usize = 1024 * 1024;

/// Keys of a batch, or of a part of one: batches follow each other as in the file. Emptied ones are used again, so that no key is an allocation of one thread that another
/// has to free.
#[derive(Debug, Default)]
pub struct Keys {
    /// Each key's bytes, and those of its value if it is a short string.
    bytes: Vec<u8>,
    keys: Vec<Bare>,
}

/// A key without its bytes.
#[derive(Debug)]
struct Bare {
    db: u64,
    hash: u64,
    /// Unless it is a short string.
    value: Option<New<'static>>,
    expire_at_ms: Option<i64>,
    idle_s: Option<u64>,
    freq: Option<u8>,
    /// Where its bytes begin.
    start: usize,
    key_len: usize,
    /// Of the value, if it is a short string.
    string_len: Option<usize>,
}

impl Bare {
    fn len(&self) -> usize {
        self.key_len + self.string_len.unwrap_or(0)
    }
}

/// Keys as a file has them, put into the order of the table: those of a segment come together then.
///
/// They are parted while they come, and each part is small enough for the caches when it is sorted.
#[derive(Debug, Default)]
pub struct Sorter {
    parts: [Keys; Sorter::PARTS],
    len: usize,
    len_bytes: usize,
}

impl Sorter {
    /// Number of parts.
    pub const PARTS: usize = 16;

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of keys and short strings.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Adds a key.
    pub fn push(&mut self, key: Key<'_>) {
        let part = (place_of(key.hash) >> (u32::BITS - Self::PARTS.ilog2())) as usize;
        if let Some(keys) = self.parts.get_mut(part) {
            self.len += 1;
            let before = keys.bytes.len();
            keys.push(key);
            self.len_bytes += keys.bytes.len() - before;
        }
    }

    /// Takes a part; the parts follow each other in the table.
    pub fn take(&mut self, part: usize, into: &mut Keys) {
        if let Some(keys) = self.parts.get_mut(part) {
            self.len -= keys.keys.len();
            self.len_bytes -= keys.bytes.len();
            into.take_sorted(keys);
        }
    }
}

impl Keys {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a key.
    pub fn push(&mut self, key: Key<'_>) {
        let Key { db, key, hash, value, expire_at_ms, idle_s, freq } = key;
        let (start, key_len) = (self.bytes.len(), key.len());
        self.bytes.extend_from_slice(key);
        let (value, string_len) = match value {
            Some(New::Str(string)) if string.len() <= PACKED_MAX_BYTES => {
                self.bytes.extend_from_slice(string);
                (None, Some(string.len()))
            }
            // Copied once, to where it stays.
            Some(New::Str(string)) => (Some(New::Value(Value::Str(copied(string)))), None),
            Some(New::Int(integer)) => (Some(New::Int(integer)), None),
            Some(New::Value(value)) => (Some(New::Value(value)), None),
            None => (None, None),
        };
        self.keys.push(Bare { db, hash, value, expire_at_ms, idle_s, freq, start, key_len, string_len });
    }

    /// Takes the keys of `from`, in the order of the table, and equal ones as they were.
    fn take_sorted(&mut self, from: &mut Keys) {
        let place = |(at, bare): (usize, &Bare)| (place_of(bare.hash), at as u32);
        let mut order: Vec<(u32, u32)> = from.keys.iter().enumerate().map(place).collect();
        order.sort_unstable();
        self.keys.reserve(order.len());
        self.bytes.reserve(from.bytes.len());
        for (_, at) in order {
            let Some(bare) = from.keys.get_mut(at as usize) else { continue };
            let (start, value) = (self.bytes.len(), bare.value.take());
            let bytes = from.bytes.get(bare.start..bare.start + bare.len());
            self.bytes.extend_from_slice(bytes.unwrap_or_default());
            self.keys.push(Bare { value, start, ..*bare });
        }
        from.clear(KEPT_PART_BYTES);
    }

    /// Where they belong, for [`Keyspace::warm`](crate::Keyspace::warm).
    pub fn places(&self) -> impl Iterator<Item = (DbIndex, u64)> {
        self.keys.iter().map(|bare| (DbIndex::try_from(bare.db).unwrap_or(DbIndex::MAX), bare.hash))
    }

    /// Takes all keys out. Values that nobody takes are dropped.
    pub fn drain(&mut self) -> impl Iterator<Item = Key<'_>> {
        let bytes = &self.bytes;
        self.keys.drain(..).map(move |bare| {
            let Bare { db, hash, value, expire_at_ms, idle_s, freq, start, key_len, string_len } = bare;
            let bytes = bytes.get(start..).unwrap_or_default();
            let (key, behind) = bytes.split_at_checked(key_len).unwrap_or_default();
            let string = string_len.and_then(|len| behind.get(..len)).map(New::Str);
            Key { db, key, hash, value: string.or(value), expire_at_ms, idle_s, freq }
        })
    }

    /// Empties it, and gives back what is more room than for so many bytes.
    pub fn clear(&mut self, kept_bytes: usize) {
        self.keys.clear();
        self.bytes.clear();
        self.bytes.shrink_to(kept_bytes);
    }
}
