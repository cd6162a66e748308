//! The compact encoding of small sets of integers: sorted, in one blob, byte for byte Redis's intset, so that an RDB
//! file can hold the blob as it is.
//!
//! ```text
//! width u32 LE: 2, 4 or 8 | number of members u32 LE | members, each `width` bytes, two's complement LE, ascending
//! ```
//! Every member is as wide as the widest needs; a blob never narrows again. Source: redis 7.2 `src/intset.c`.

use std::cell::Cell;
use std::ops::Range;

use super::blob::Blob;
use super::partition_point;

const HEADER_BYTES: usize = 8;

/// A sorted set of integers. Cloning it shares the blob until one side writes.
#[derive(Debug, Clone)]
pub struct Intset(Blob);

impl PartialEq for Intset {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Intset {}

impl Default for Intset {
    fn default() -> Self {
        Intset::new()
    }
}

impl Intset {
    /// An empty set.
    pub fn new() -> Self {
        Intset(Blob::new(&[2, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Takes a blob from outside; `None` unless it is an intset with its members in order.
    pub fn from_bytes(blob: &[u8]) -> Option<Self> {
        let (width, len) = (u32_at(blob, 0)?, u32_at(blob, 4)?);
        let body_bytes = u64::from(width) * u64::from(len);
        if !matches!(width, 2 | 4 | 8) || body_bytes != (blob.len() - HEADER_BYTES) as u64 {
            return None;
        }
        let intset = Intset(Blob::new(blob));
        intset.iter().is_sorted_by(|a, b| a < b).then_some(intset)
    }

    /// The blob.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[..HEADER_BYTES + self.len() * self.width()]
    }

    /// The members' bytes.
    #[inline]
    fn members(&self) -> &[u8] {
        &self.as_bytes()[HEADER_BYTES..]
    }

    /// What its blob takes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        u32_at(&self.0, 4).unwrap_or_default() as usize
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        self.members().chunks_exact(self.width()).map(read)
    }

    /// The member at an index, in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        let start = index * self.width();
        self.members().get(start..start + self.width()).map(read)
    }

    /// Whether `value` is a member.
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// Adds a member; false if it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(index) = self.search(value) else { return false };
        self.widen(width_of(value));
        let (width, start) = (self.width(), HEADER_BYTES + index * self.width());
        let blob = self.splice(start..start, self.len() + 1);
        blob[start..start + width].copy_from_slice(&value.to_le_bytes()[..width]);
        true
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.search(value) else { return false };
        let (width, start) = (self.width(), HEADER_BYTES + index * self.width());
        self.splice(start..start + width, self.len() - 1);
        true
    }

    /// Removes the bytes of a range, or makes room there for one more member, so that there are `len` members.
    fn splice(&mut self, range: Range<usize>, len: usize) -> &mut [u8] {
        let inserted = if len > self.len() { self.width() } else { 0 };
        let blob = self.0.splice(self.as_bytes().len(), range, inserted);
        blob[4..HEADER_BYTES].copy_from_slice(&(len as u32).to_le_bytes());
        blob
    }

    /// Bytes of a member.
    #[inline]
    fn width(&self) -> usize {
        usize::from(self.0[0])
    }

    /// The index of `value`, or the one where it belongs.
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (width, members) = (self.width(), self.members());
        let at = |index: usize| read(&members[index * width..(index + 1) * width]);
        let (mut low, mut high) = (0, members.len() / width);
        // Ids are mostly added in ascending order.
        if high > 0 && at(high - 1) < value {
            return Err(high);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match at(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Rewrites all members at a greater width.
    fn widen(&mut self, width: usize) {
        if width <= self.width() {
            return;
        }
        let mut wide = Vec::with_capacity(HEADER_BYTES + self.len() * width);
        wide.extend_from_slice(&(width as u32).to_le_bytes());
        wide.extend_from_slice(&self.0[4..HEADER_BYTES]);
        for value in self.iter() {
            wide.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.0 = Blob::new(&wide);
    }
}

/// Looks members up, each from where the last one was, in steps that double: in ascending order that is as quick as to
/// go through both sets at once.
#[derive(Debug)]
pub struct Finger<'a> {
    width: usize,
    members: &'a [u8],
    /// All before are at most the value that was looked for last.
    at: Cell<usize>,
}

impl<'a> Finger<'a> {
    /// At the first member.
    pub fn new(intset: &'a Intset) -> Self {
        Finger { width: intset.width(), members: intset.members(), at: Cell::new(0) }
    }

    /// Whether `value` is a member.
    pub fn contains(&self, value: i64) -> bool {
        let is_below = |index| self.get(index).is_some_and(|own| own < value);
        let mut low = self.at.get();
        if low > 0 && !is_below(low - 1) {
            low = 0;
        }
        let mut step = 1;
        while is_below(low + step - 1) {
            low += step;
            step *= 2;
        }
        // All before `low` are below, and the one that ended the loop is not.
        let at = low + partition_point(step - 1, |more| is_below(low + more));
        let is_there = self.get(at) == Some(value);
        self.at.set(at + usize::from(is_there));
        is_there
    }

    #[inline]
    fn get(&self, index: usize) -> Option<i64> {
        self.members.get(index * self.width..)?.get(..self.width).map(read)
    }
}

/// The bytes that a member of this value takes.
fn width_of(value: i64) -> usize {
    match value {
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

/// Reads a member of two, four or eight bytes.
#[inline]
fn read(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

fn u32_at(blob: &[u8], at: usize) -> Option<u32> {
    blob.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Values about the borders between widths, and few enough to meet again.
    fn values() -> impl Strategy<Value = i64> {
        let borders =
            [0, 0x7fff, -0x8000, 0x8000, -0x8001, 0x7fff_ffff, -0x8000_0000, 0x8000_0000, i64::MAX, i64::MIN];
        prop_oneof![-20i64..20, prop::sample::select(borders.to_vec()), any::<i32>().prop_map(i64::from)]
    }

    proptest! {
        #[test]
        fn an_intset_is_a_sorted_set(steps in prop::collection::vec((values(), any::<bool>()), 0..200)) {
            let (mut intset, mut model) = (Intset::new(), BTreeSet::new());
            for (value, add) in steps {
                let (snapshot, before) = (intset.clone(), model.clone());
                if add {
                    prop_assert_eq!(intset.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(intset.remove(value), model.remove(&value));
                }
                prop_assert!(snapshot.iter().eq(before.iter().copied()));
                prop_assert!(intset.iter().eq(model.iter().copied()));
                prop_assert_eq!(intset.contains(value), add);
                prop_assert_eq!(intset.len(), model.len());
                prop_assert_eq!(Intset::from_bytes(intset.as_bytes()), Some(intset.clone()));
            }
            let finger = Finger::new(&intset);
            let ends = [i64::MIN, i64::MAX];
            for value in model.iter().copied().chain(-25..25).chain(ends).chain(model.iter().rev().copied()) {
                prop_assert_eq!(finger.contains(value), model.contains(&value));
            }
            let by_index: Vec<i64> = (0..intset.len() + 1).map_while(|index| intset.get(index)).collect();
            prop_assert_eq!(by_index, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(blob in prop::collection::vec(any::<u8>(), 0..40), width in 0u8..10, len in 0u8..5) {
            let mut framed = vec![width, 0, 0, 0, len, 0, 0, 0];
            framed.extend_from_slice(&blob);
            for blob in [blob, framed] {
                if let Some(mut intset) = Intset::from_bytes(&blob) {
                    intset.insert(70_000);
                    prop_assert!(intset.contains(70_000));
                }
            }
        }
    }

    #[test]
    fn the_blob_is_what_redis_writes() {
        let mut intset = Intset::new();
        for value in [5, -1, 3] {
            intset.insert(value);
        }
        assert_eq!(intset.as_bytes(), b"\x02\0\0\0\x03\0\0\0\xff\xff\x03\0\x05\0");
        intset.insert(0x8000);
        assert_eq!(intset.as_bytes(), b"\x04\0\0\0\x04\0\0\0\xff\xff\xff\xff\x03\0\0\0\x05\0\0\0\0\x80\0\0");
        intset.remove(0x8000);
        assert_eq!(intset.as_bytes()[0], 4, "a blob never narrows");
    }
}
