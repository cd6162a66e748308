//! The reference table: `im::HashMap` from hash to the records with that hash. Persistent by construction, several
//! times as large; it is what [`Segmented`](super::Segmented) is checked and measured against.

use im::HashMap;

use super::{HashSeed, Record, SCAN_END, Table, scan_place};
use crate::Random;

/// A table in an `im::HashMap`.
#[derive(Debug, Clone)]
pub struct Persistent<R: Clone> {
    buckets: HashMap<u64, Vec<R>>,
    len: usize,
    seed: HashSeed,
}

impl<R: Record> Table<R> for Persistent<R> {
    fn new(seed: HashSeed) -> Self {
        Persistent { buckets: HashMap::new(), len: 0, seed }
    }

    fn seed(&self) -> HashSeed {
        self.seed
    }

    fn len(&self) -> usize {
        self.len
    }

    fn find(&self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&R> {
        self.buckets.get(&hash)?.iter().find(|record| is(record))
    }

    fn find_mut(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<&mut R> {
        self.buckets.get_mut(&hash)?.iter_mut().find(|record| is(record))
    }

    fn insert(&mut self, hash: u64, record: R) {
        self.buckets.entry(hash).or_default().push(record);
        self.len += 1;
    }

    fn remove(&mut self, hash: u64, is: impl Fn(&R) -> bool) -> Option<R> {
        let bucket = self.buckets.get_mut(&hash)?;
        let record = bucket.swap_remove(bucket.iter().position(is)?);
        if bucket.is_empty() {
            self.buckets.remove(&hash);
        }
        self.len -= 1;
        Some(record)
    }

    fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(&'a R)) -> u64
    where
        R: 'a,
    {
        let mut rest: Vec<(u64, &R)> = self
            .iter()
            .map(|record| (scan_place(self.seed.hash(record.key())), record))
            .filter(|&(place, _)| place >= cursor)
            .collect();
        rest.sort_by_key(|&(place, _)| place);
        let next = rest.get(count.max(1)).map_or(SCAN_END, |_| rest[count.max(1) - 1].0 + 1);
        rest.iter().take_while(|&&(place, _)| place < next).for_each(|&(_, record)| visit(record));
        if next == SCAN_END { 0 } else { next }
    }

    fn random(&self, random: &mut Random) -> Option<&R> {
        self.iter().nth(random.below(self.len))
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a R>
    where
        R: 'a,
    {
        self.buckets.values().flatten()
    }
}
