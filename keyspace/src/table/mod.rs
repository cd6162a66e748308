//! The table that keys, hash fields and set members stand in: a hash table whose clone is an immutable snapshot in
//! O(1).
//!
//! [`Packed`] holds strings, packed, and values: keys, and as [`Fields`] a hash's fields or a set's members. `Places`
//! finds what stands elsewhere: a sorted set's members. Both are a [`Spine`] of segments. What a table is to hold and
//! to find is the trait [`Table`]; [`Persistent`] (`im::HashMap`) has it, too, and is the obviously right one: property
//! tests put the same questions to both.

mod block;
mod im;
pub(crate) mod packed;
pub(crate) mod place;
pub(crate) mod places;
pub(crate) mod sequence;
mod spine;

use std::hash::Hasher;

pub use self::im::Persistent;
pub use self::packed::{Arena, Fields, Note, Packed};
pub(crate) use self::spine::clone_all;
pub use self::spine::{Segment, Spine};
use crate::Random;

/// A hash table from strings to strings; `Clone` takes a snapshot, and costs the same for any number of records.
///
/// The caller brings the hash ([`HashSeed::hash`]), so that it is computed once per command.
pub trait Table: Clone {
    /// An empty table of keys that are hashed with this seed.
    fn new(seed: HashSeed) -> Self;

    /// Number of records.
    fn len(&self) -> usize;

    /// Whether there is no record.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]>;

    /// Stores a value under a key; whether the key is new.
    fn set(&mut self, hash: u64, key: &[u8], value: &[u8]) -> bool;

    /// Removes a key; false if it was not there.
    fn remove(&mut self, hash: u64, key: &[u8]) -> bool;

    /// Visits about `count` records from `cursor` on and returns the cursor to go on from, 0 at the end. A record that
    /// is there from the first call to the last is visited exactly once, however the table grows or shrinks meanwhile.
    fn scan<'a>(&'a self, cursor: u64, count: usize, visit: impl FnMut(&'a [u8], &'a [u8])) -> u64;

    /// A record, each as likely as the next.
    fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])>;

    /// All records, in no order.
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])>;
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

/// One past the last cursor: 48 bits, which every client's number type holds. A cursor is a place in the order of
/// reversed hash bits, so that a segment, which shares the low bits of its hashes, is a contiguous range, and so are the
/// two halves it splits into.
const SCAN_END: u64 = 1 << 48;

#[cfg(test)]
mod tests;
