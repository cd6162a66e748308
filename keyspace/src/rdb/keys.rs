//! Keys on their way from a reader to a keyspace on another thread, side by side.

use super::Key;
use crate::table::packed::PACKED_MAX_BYTES;
use crate::table::place::place_of;
use crate::types::string::copied;
use crate::{DbIndex, New, Value};

/// The room for bytes that a [`Sorter`]'s part keeps: one huge key is not to cost as much up to the end of the file.
const KEPT_PART_BYTES: usize = 1024 * 1024;

/// Keys of a batch, or of a part of one: batches follow each other as in the file. Emptied ones are used again, so that
/// no key is an allocation of one thread that another has to free.
#[derive(Debug, Default)]
pub struct Keys {
    /// Each key's bytes, and those of its value if it is a short string.
    bytes: Vec<u8>,
    keys: Vec<Bare>,
    /// Where the first key of its batch begins in the file.
    start_bytes: u64,
}

/// A key without its bytes: few words, since it is moved from part to batch.
#[derive(Debug)]
struct Bare {
    hash: u64,
    value: Held,
    /// [`NEVER`] without one.
    expire_at_ms: i64,
    /// [`UNKNOWN`] if the file does not say.
    idle_s: u64,
    /// Where its bytes begin.
    start: usize,
    /// No string of a file is as long as 4 GiB.
    key_len: u32,
    /// How far behind the first of its batch it begins in the file.
    at: u32,
    db: u32,
    freq: Option<u8>,
}

/// The value of a key.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Empty,
    /// A short string of so many bytes, which follow the key's.
    Short(u32),
    Own(New<'static>),
}

/// A time that no clock shows.
const NEVER: i64 = i64::MIN;
const UNKNOWN: u64 = u64::MAX;

impl Bare {
    fn len(&self) -> usize {
        let string_len = if let Held::Short(len) = self.value { len } else { 0 };
        self.key_len as usize + string_len as usize
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
    /// Where the first key begins in the file.
    start_bytes: u64,
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

    /// Adds a key that the file has behind those that are there, within 4 GiB: else its errors do not tell where it is.
    pub fn push(&mut self, key: Key<'_>) {
        if self.is_empty() {
            self.start_bytes = key.offset_bytes;
        }
        let at = key.offset_bytes.saturating_sub(self.start_bytes);
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let part = (place_of(key.hash) >> (u32::BITS - Self::PARTS.ilog2())) as usize;
        if let Some(keys) = self.parts.get_mut(part) {
            let before = keys.bytes.len();
            keys.push(at, key);
            self.len += 1;
            self.len_bytes += keys.bytes.len() - before;
        }
    }

    /// Takes a part; the parts follow each other in the table.
    pub fn take(&mut self, part: usize, into: &mut Keys) {
        if let Some(keys) = self.parts.get_mut(part) {
            self.len -= keys.keys.len();
            self.len_bytes -= keys.bytes.len();
            into.take_sorted(keys);
            into.start_bytes = self.start_bytes;
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

    fn push(&mut self, at: u32, key: Key<'_>) {
        let Key { db, offset_bytes: _, key, hash, value, expire_at_ms, idle_s, freq } = key;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value = match value {
            Some(New::Str(string)) if string.len() <= PACKED_MAX_BYTES => {
                self.bytes.extend_from_slice(string);
                Held::Short(string.len() as u32)
            }
            // Copied once, to where it stays.
            Some(New::Str(string)) => Held::Own(New::Value(Value::Str(copied(string)))),
            Some(New::Int(integer)) => Held::Own(New::Int(integer)),
            Some(New::Value(value)) => Held::Own(New::Value(value)),
            None => Held::Empty,
        };
        self.keys.push(Bare {
            hash,
            value,
            expire_at_ms: expire_at_ms.map_or(NEVER, |at_ms| at_ms.max(NEVER + 1)),
            idle_s: idle_s.unwrap_or(UNKNOWN),
            start,
            key_len: key.len() as u32,
            at,
            // There are not so many anyway.
            db: u32::try_from(db).unwrap_or(u32::MAX),
            freq,
        });
    }

    /// Takes the keys of `from`, in the order of the table, and equal ones as they were.
    fn take_sorted(&mut self, from: &mut Keys) {
        // One number, which is sorted without a branch: the place, and behind it which key.
        let place = |(at, bare): (usize, &Bare)| u64::from(place_of(bare.hash)) << 32 | at as u64;
        let mut order: Vec<u64> = from.keys.iter().enumerate().map(place).collect();
        order.sort_unstable();
        self.keys.reserve(order.len());
        self.bytes.reserve(from.bytes.len());
        for at in order {
            let Some(bare) = from.keys.get_mut(at as u32 as usize) else { continue };
            let (start, bytes) = (self.bytes.len(), from.bytes.get(bare.start..bare.start + bare.len()));
            self.bytes.extend_from_slice(bytes.unwrap_or_default());
            self.keys.push(Bare { value: std::mem::take(&mut bare.value), start, ..*bare });
        }
        from.clear(KEPT_PART_BYTES);
    }

    /// Where they belong, for [`Keyspace::warm`](crate::Keyspace::warm).
    pub fn places(&self) -> impl Iterator<Item = (DbIndex, u64)> {
        self.keys.iter().map(|bare| (DbIndex::try_from(bare.db).unwrap_or(DbIndex::MAX), bare.hash))
    }

    /// Takes all keys out. Values that nobody takes are dropped.
    pub fn drain(&mut self) -> impl Iterator<Item = Key<'_>> {
        let (bytes, start_bytes) = (&self.bytes, self.start_bytes);
        self.keys.drain(..).map(move |bare| {
            let Bare { hash, value, expire_at_ms, idle_s, start, key_len, at, db, freq } = bare;
            let bytes = bytes.get(start..).unwrap_or_default();
            let (key, behind) = bytes.split_at_checked(key_len as usize).unwrap_or_default();
            let value = match value {
                Held::Empty => None,
                Held::Short(len) => behind.get(..len as usize).map(New::Str),
                Held::Own(value) => Some(value),
            };
            let expire_at_ms = Some(expire_at_ms).filter(|&at_ms| at_ms != NEVER);
            let idle_s = Some(idle_s).filter(|&idle_s| idle_s != UNKNOWN);
            let (db, offset_bytes) = (u64::from(db), start_bytes + u64::from(at));
            Key { db, offset_bytes, key, hash, value, expire_at_ms, idle_s, freq }
        })
    }

    /// Empties it, and gives back what is more room than for so many bytes.
    pub fn clear(&mut self, kept_bytes: usize) {
        self.keys.clear();
        self.bytes.clear();
        self.bytes.shrink_to(kept_bytes);
    }
}
