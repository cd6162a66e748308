//! The table that keys, hash fields and set members stand in: a hash table whose clone is an immutable snapshot in O(1).
//!
//! [`Packed`] holds strings, packed, and values: keys, hash fields, set members. `Places` finds what stands elsewhere: a
//! sorted set's members. [`Segmented`] holds records of any type. All are a [`Spine`] of segments. [`Persistent`]
//! (`im::HashMap`) is the obviously right one that property tests and benches hold them against.

mod block;
mod im;
pub(crate) mod packed;
pub(crate) mod place;
pub(crate) mod places;
mod segmented;
pub(crate) mod sequence;
mod spine;

use std::hash::Hasher;

pub use self::im::Persistent;
pub use self::packed::{Arena, Fields, Note, Packed};
pub use self::segmented::{Segmented, Slots};
pub(crate) use self::spine::clone_all;
pub use self::spine::{Segment, Spine};
use crate::Random;

/// What a [`Table`] stores: it carries its own key.
pub trait Record: Clone {
    /// The key.
    fn key(&self) -> &[u8];
}

/// A hash table of records; `Clone` takes a snapshot, and costs the same for any number of records.
///
/// The caller brings the hash ([`HashSeed::hash`]), so that it is computed once per command, and says which record it
/// means, so that a lookup needs no key.
pub trait Table<R: Record>: Clone {
    /// An empty table.
    fn new(seed: HashSeed) -> Self;

    /// The key of its hash function.
    fn seed(&self) -> HashSeed;

    /// Number of records.
    fn len(&self) -> usize;

    /// Whether there is no record.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record with this hash that `is` accepts.
    fn find(&self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&R>;

    /// The same, to be changed in place; its key must stay.
    fn find_mut(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&mut R>;

    /// Adds a record whose key is not there yet.
    fn insert(&mut self, hash: u64, record: R);

    /// Takes the record with this hash that `is` accepts.
    fn remove(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<R>;

    /// Visits about `count` records from `cursor` on and returns the cursor to go on from, 0 at the end. A record that
    /// is there from the first call to the last is visited exactly once, however the table grows or shrinks meanwhile.
    fn scan<'a>(&'a self, cursor: u64, count: usize, visit: impl FnMut(&'a R)) -> u64
    where
        R: 'a;

    /// A record, each as likely as the next.
    fn random(&self, random: &mut Random) -> Option<&R>;

    /// All records, in no order.
    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a R>
    where
        R: 'a;

    /// The record with this key.
    fn get(&self, key: &[u8]) -> Option<&R> {
        self.find(self.seed().hash(key), |record| record.key() == key)
    }

    /// The record with this key, to be changed in place.
    fn get_mut(&mut self, key: &[u8]) -> Option<&mut R> {
        self.find_mut(self.seed().hash(key), |record| record.key() == key)
    }

    /// Takes the record with this key.
    fn take(&mut self, key: &[u8]) -> Option<R> {
        self.remove(self.seed().hash(key), |record| record.key() == key)
    }

    /// Adds a record, or puts it in the place of the one with its key, which is returned.
    fn replace(&mut self, record: R) -> Option<R> {
        let hash = self.seed().hash(record.key());
        if let Some(old) = self.find_mut(hash, |old| old.key() == record.key()) {
            return Some(std::mem::replace(old, record));
        }
        self.insert(hash, record);
        None
    }
}

/// The key of the hash function. Clients name keys, fields and members, so the function is SipHash-1-3 and its key a
/// secret: nobody can aim at one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(u64, u64);

impl HashSeed {
    /// A key of 128 bits.
    pub fn new(high: u64, low: u64) -> Self {
        HashSeed(high, low)
    }

    /// Hashes a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(key);
        hasher.finish()
    }
}

/// The place of a hash in the order of [`Table::scan`]: its bits reversed, so that a segment, which shares the low bits
/// of its hashes, is a contiguous range, and so are the two halves it splits into. 48 bits of it make a cursor that
/// every client's number type holds.
#[inline]
fn scan_place(hash: u64) -> u64 {
    hash.reverse_bits() >> 16
}

/// One past the last place.
const SCAN_END: u64 = 1 << 48;

#[cfg(test)]
mod tests;
