//! Records of any type, in segments that are SwissTables: what ZUNION gathers in.

use hashbrown::HashTable;

use super::spine::{Segment, Spine};
use super::{HashSeed, Record, Table, scan_place};
use crate::Random;

/// A table of records.
pub type Segmented<R> = Spine<Slots<R>>;

/// A segment.
#[derive(Debug, Clone)]
pub struct Slots<R>(HashTable<R>);

impl<R> Default for Slots<R> {
    fn default() -> Self {
        Slots(HashTable::new())
    }
}

/// Where a hash stands within its segment. The low bits chose the segment, so the rest must choose the slot.
#[inline]
fn slot_hash(hash: u64) -> u64 {
    hash.rotate_right(32)
}

fn rehash<R: Record>(seed: HashSeed) -> impl Fn(&R) -> u64 {
    move |record| slot_hash(seed.hash(record.key()))
}

impl<R: Record> Segment for Slots<R> {
    /// Unsplit segments hold 96 of the 112 that a SwissTable of 128 slots takes.
    const MEAN_RECORDS: usize = 48;

    type Item<'a>
        = &'a R
    where
        R: 'a;

    fn records(&self) -> usize {
        self.0.len()
    }

    fn heap_bytes(&self) -> usize {
        self.0.allocation_size()
    }

    fn iter(&self) -> impl Iterator<Item = &R> {
        self.0.iter()
    }

    fn split(&mut self, bit: u32, seed: HashSeed) -> Self {
        let moved: Vec<R> = self.0.extract_if(|record| seed.hash(record.key()) >> bit & 1 == 1).collect();
        self.0.shrink_to_fit(rehash(seed));
        let mut child = HashTable::with_capacity(moved.len());
        for record in moved {
            child.insert_unique(slot_hash(seed.hash(record.key())), record, rehash(seed));
        }
        Slots(child)
    }

    fn absorb(&mut self, other: Self, seed: HashSeed) {
        for record in other.0 {
            self.0.insert_unique(slot_hash(seed.hash(record.key())), record, rehash(seed));
        }
    }

    fn scan<'a>(
        &'a self,
        from: u64,
        count: usize,
        seed: HashSeed,
        visit: &mut impl FnMut(&'a R),
    ) -> Option<u64> {
        let places = self.0.iter().map(|record| (scan_place(seed.hash(record.key())), record));
        let mut found: Vec<(u64, &R)> = places.filter(|&(place, _)| place >= from).collect();
        let next = (found.len() > count).then(|| {
            let (_, &mut (last, _), _) = found.select_nth_unstable_by_key(count - 1, |&(place, _)| place);
            last + 1
        });
        let wanted = |place| next.is_none_or(|next| place < next);
        found.iter().filter(|&&(place, _)| wanted(place)).for_each(|&(_, record)| visit(record));
        next
    }
}

impl<R: Record> Table<R> for Segmented<R> {
    fn new(seed: HashSeed) -> Self {
        Spine::new(seed)
    }

    #[inline]
    fn seed(&self) -> HashSeed {
        Spine::seed(self)
    }

    #[inline]
    fn len(&self) -> usize {
        Spine::len(self)
    }

    #[inline]
    fn find(&self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&R> {
        self.segment(self.index(hash))?.0.find(slot_hash(hash), is)
    }

    #[inline]
    fn find_mut(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&mut R> {
        // A segment shared with a snapshot is not copied for a record that is not there.
        self.find(hash, &is)?;
        let index = self.index(hash);
        self.segment_mut(index)?.0.find_mut(slot_hash(hash), is)
    }

    #[inline]
    fn insert(&mut self, hash: u64, record: R) {
        let (index, seed) = (self.index(hash), Spine::seed(self));
        let Some(segment) = self.segment_mut(index) else { return };
        segment.0.insert_unique(slot_hash(hash), record, rehash(seed));
        if self.count_added() {
            self.grow();
        }
    }

    fn remove(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<R> {
        self.find(hash, &is)?;
        let (index, seed) = (self.index(hash), Spine::seed(self));
        let segment = &mut self.segment_mut(index)?.0;
        let (record, _) = segment.find_entry(slot_hash(hash), is).ok()?.remove();
        // Tiny segments are left: a set of one member would allocate each time it comes back.
        if segment.capacity() > 16 && segment.len() * 8 < segment.capacity() {
            segment.shrink_to(segment.len() * 2, rehash(seed));
        }
        if self.count_removed() {
            self.shrink();
        }
        Some(record)
    }

    fn scan<'a>(&'a self, cursor: u64, count: usize, visit: impl FnMut(&'a R)) -> u64
    where
        R: 'a,
    {
        Spine::scan(self, cursor, count, visit)
    }

    fn random(&self, random: &mut Random) -> Option<&R> {
        Spine::random(self, random)
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a R>
    where
        R: 'a,
    {
        Spine::iter(self)
    }
}
