//! The default table: a spine of small copy-on-write SwissTable segments, grown by linear hashing.
//!
//! ```text
//! n segments; a hash belongs to segment   i = hash mod 2^k        if i < n      (2^k: the least power of two >= n)
//!                                         i = hash mod 2^(k-1)    otherwise
//! growing appends segment n and moves to it half of segment n - 2^(k-1); shrinking is the reverse
//! ```
//! So no operation ever rehashes more than one segment. A snapshot clones the spine (`im::Vector`, O(1)); the first
//! write to a segment after it copies that segment, once.
//!
//! `im` is archived and parts of it are unsound. Only `im::Vector` is used, only here, and of it only `push_back`,
//! `pop_back`, `get`, `get_mut`, `len`, `iter` and `clone`, which a property test covers.

use std::sync::Arc;

use hashbrown::HashTable;
use im::Vector;

use super::{HashSeed, Record, SCAN_END, Table, scan_place};
use crate::Random;

/// Mean number of records to a segment. Segments not yet split hold up to twice as many: 96 of the 112 that a
/// SwissTable of 128 slots takes. Few, because the first write after a snapshot copies a whole segment and touches the
/// count of every key and value in it: 400 made turns of 9 ms, 48 make them 1.5 ms, for 1.5 % more memory.
const MEAN_RECORDS: usize = 48;

/// A table in segments.
#[derive(Debug, Clone)]
pub struct Segmented<R: Clone> {
    spine: Vector<Arc<Segment<R>>>,
    len: usize,
    seed: HashSeed,
}

type Segment<R> = HashTable<R>;

/// Where a hash stands within its segment. The low bits chose the segment, so the rest must choose the slot.
#[inline]
fn slot_hash(hash: u64) -> u64 {
    hash.rotate_right(32)
}

impl<R: Record> Segmented<R> {
    #[inline]
    fn segment_index(&self, hash: u64) -> usize {
        let segments = self.spine.len();
        let mask = segments.next_power_of_two() - 1;
        let index = hash as usize & mask;
        if index < segments { index } else { index & (mask >> 1) }
    }

    #[inline]
    fn segment(&self, index: usize) -> Option<&Segment<R>> {
        self.spine.get(index).map(|segment| &**segment)
    }

    #[inline]
    fn segment_mut(&mut self, index: usize) -> Option<&mut Segment<R>> {
        self.spine.get_mut(index).map(Arc::make_mut)
    }

    /// The segment that `index` splits off from, or melts into.
    fn parent(index: usize) -> usize {
        match index {
            0 => 0,
            _ => index & !(1 << index.ilog2()),
        }
    }

    fn grow(&mut self) {
        let index = self.spine.len();
        self.spine.push_back(Arc::new(Segment::new()));
        let seed = self.seed;
        let bit = 1u64 << index.ilog2();
        let Some(parent) = self.segment_mut(Self::parent(index)) else { return };
        let moved: Vec<R> = parent.extract_if(|record| seed.hash(record.key()) & bit != 0).collect();
        parent.shrink_to_fit(|record| slot_hash(seed.hash(record.key())));
        let Some(child) = self.segment_mut(index) else { return };
        child.reserve(moved.len(), |record| slot_hash(seed.hash(record.key())));
        for record in moved {
            let hash = slot_hash(seed.hash(record.key()));
            child.insert_unique(hash, record, |record| slot_hash(seed.hash(record.key())));
        }
    }

    fn shrink(&mut self) {
        let Some(last) = self.spine.pop_back() else { return };
        let seed = self.seed;
        let Some(parent) = self.segment_mut(Self::parent(self.spine.len())) else { return };
        let last = Arc::try_unwrap(last).unwrap_or_else(|shared| (*shared).clone());
        for record in last {
            let hash = slot_hash(seed.hash(record.key()));
            parent.insert_unique(hash, record, |record| slot_hash(seed.hash(record.key())));
        }
    }

    /// Bytes of all slots, full and empty.
    pub(crate) fn slot_bytes(&self) -> usize {
        self.spine.iter().map(|segment| segment.allocation_size()).sum()
    }

    /// Gives the records away segment by segment, releasing each: for a snapshot's reader, so that memory shared with
    /// it falls free as it goes.
    pub fn into_segments(mut self) -> impl Iterator<Item = Vec<R>> {
        std::iter::from_fn(move || {
            let segment = self.spine.pop_back()?;
            Some(match Arc::try_unwrap(segment) {
                Ok(own) => own.into_iter().collect(),
                Err(shared) => shared.iter().cloned().collect(),
            })
        })
    }
}

impl<R: Record> Table<R> for Segmented<R> {
    fn new(seed: HashSeed) -> Self {
        Segmented { spine: Vector::unit(Arc::new(Segment::new())), len: 0, seed }
    }

    #[inline]
    fn seed(&self) -> HashSeed {
        self.seed
    }

    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn find(&self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&R> {
        self.segment(self.segment_index(hash))?.find(slot_hash(hash), is)
    }

    #[inline]
    fn find_mut(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&mut R> {
        let index = self.segment_index(hash);
        let segment = self.spine.get_mut(index)?;
        // A segment shared with a snapshot is not copied for a record that is not there.
        if Arc::strong_count(segment) > 1 {
            segment.find(slot_hash(hash), &is)?;
        }
        Arc::make_mut(segment).find_mut(slot_hash(hash), is)
    }

    #[inline]
    fn insert(&mut self, hash: u64, record: R) {
        let seed = self.seed;
        let index = self.segment_index(hash);
        let Some(segment) = self.segment_mut(index) else { return };
        segment.insert_unique(slot_hash(hash), record, |record| slot_hash(seed.hash(record.key())));
        self.len += 1;
        if self.len > self.spine.len() * MEAN_RECORDS {
            self.grow();
        }
    }

    fn remove(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<R> {
        let seed = self.seed;
        let index = self.segment_index(hash);
        let segment = self.spine.get_mut(index)?;
        if Arc::strong_count(segment) > 1 {
            segment.find(slot_hash(hash), &is)?;
        }
        let segment = Arc::make_mut(segment);
        let (record, _) = segment.find_entry(slot_hash(hash), is).ok()?.remove();
        // Tiny segments are left: a set of one member would allocate each time it comes back.
        if segment.capacity() > 16 && segment.len() * 8 < segment.capacity() {
            segment.shrink_to(segment.len() * 2, |record| slot_hash(seed.hash(record.key())));
        }
        self.len -= 1;
        if self.spine.len() > 1 && self.len < self.spine.len() * (MEAN_RECORDS / 4) {
            self.shrink();
        }
        Some(record)
    }

    fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(&'a R)) -> u64
    where
        R: 'a,
    {
        let mut cursor = cursor % SCAN_END;
        let mut left = count.max(1);
        let mut found: Vec<(u64, &R)> = Vec::new();
        loop {
            let index = self.segment_index((cursor << 16).reverse_bits());
            let Some(segment) = self.segment(index) else { return 0 };
            let places = segment.iter().map(|record| (scan_place(self.seed.hash(record.key())), record));
            found.clear();
            found.extend(places.filter(|&(place, _)| place >= cursor));
            let next = if found.len() > left {
                let (_, &mut (last, _), _) = found.select_nth_unstable_by_key(left - 1, |&(place, _)| place);
                last + 1
            } else {
                self.range_end(index)
            };
            for &(_, record) in found.iter().filter(|&&(place, _)| place < next) {
                visit(record);
                left = left.saturating_sub(1);
            }
            if next >= SCAN_END {
                return 0;
            }
            cursor = next;
            if left == 0 {
                return cursor;
            }
        }
    }

    fn random(&self, random: &mut Random) -> Option<&R> {
        if self.len == 0 {
            return None;
        }
        loop {
            let segment = self.segment(random.below(self.spine.len()))?;
            // A segment is chosen as often as any other, and then rejected the more often the emptier it is: a place
            // in the fullest possible one is drawn. The mean filling is never below a twelfth of that.
            let slots =
                if self.spine.len() == 1 { segment.len() } else { segment.len().max(3 * MEAN_RECORDS) };
            let slot = random.below(slots);
            if slot < segment.len() {
                return segment.iter().nth(slot);
            }
        }
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a R>
    where
        R: 'a,
    {
        self.spine.iter().flat_map(|segment| segment.iter())
    }
}

impl<R: Record> Segmented<R> {
    /// One past the last scan place of a segment.
    fn range_end(&self, index: usize) -> u64 {
        let segments = self.spine.len();
        let level = segments.next_power_of_two().trailing_zeros();
        // A segment that has been split, or was split off, on this level has one bit more than the others.
        let bit = 1usize << level >> 1;
        let split = level > 0 && (index | bit) < segments;
        let bits = if level == 0 {
            0
        } else if split {
            level
        } else {
            level - 1
        };
        if bits == 0 {
            return SCAN_END;
        }
        let first = (index as u64).reverse_bits() >> (64 - bits);
        (first + 1) << (48 - bits)
    }
}

#[cfg(test)]
mod tests;
