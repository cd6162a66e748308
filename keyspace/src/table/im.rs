//! The reference table: `im::HashMap` from hash to the records with that hash. Persistent by construction, several
//! times as large; it is what [`Fields`](super::Fields) is checked and measured against.

use im::HashMap;

use super::{HashSeed, SCAN_END, Table};
use crate::{Random, Str};

/// A table in an `im::HashMap`.
#[derive(Debug, Clone)]
pub struct Persistent {
    buckets: HashMap<u64, Vec<Record>>,
    len: usize,
}

/// A key and its value.
type Record = (Str, Str);

fn view((key, value): &Record) -> (&[u8], &[u8]) {
    (key, value)
}

/// The cursor of a hash, of which it holds all the bits that there is room for.
fn cursor_of(hash: u64) -> u64 {
    hash.reverse_bits() >> 16
}

impl Table for Persistent {
    fn new(_: HashSeed) -> Self {
        Persistent { buckets: HashMap::new(), len: 0 }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        self.buckets.get(&hash)?.iter().map(view).find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    fn set(&mut self, hash: u64, key: &[u8], value: &[u8]) -> bool {
        let bucket = self.buckets.entry(hash).or_default();
        match bucket.iter_mut().find(|(own, _)| own[..] == *key) {
            Some((_, old)) => {
                *old = Str::from(value);
                false
            }
            None => {
                bucket.push((Str::from(key), Str::from(value)));
                self.len += 1;
                true
            }
        }
    }

    fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let Some(bucket) = self.buckets.get_mut(&hash) else { return false };
        let Some(at) = bucket.iter().position(|(own, _)| own[..] == *key) else { return false };
        bucket.swap_remove(at);
        if bucket.is_empty() {
            self.buckets.remove(&hash);
        }
        self.len -= 1;
        true
    }

    fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(&'a [u8], &'a [u8])) -> u64 {
        let all = self.buckets.iter().flat_map(|(&hash, bucket)| bucket.iter().map(move |own| (hash, own)));
        let mut rest: Vec<(u64, &Record)> =
            all.map(|(hash, own)| (cursor_of(hash), own)).filter(|&(at, _)| at >= cursor).collect();
        rest.sort_by_key(|&(at, _)| at);
        let next = rest.get(count.max(1)).map_or(SCAN_END, |_| rest[count.max(1) - 1].0 + 1);
        let visited = rest.iter().take_while(|&&(at, _)| at < next).map(|(_, own)| view(own));
        visited.for_each(|(key, value)| visit(key, value));
        if next == SCAN_END { 0 } else { next }
    }

    fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        self.iter().nth(random.below(self.len))
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.buckets.values().flatten().map(view)
    }
}
