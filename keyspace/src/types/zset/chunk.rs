//! Members in a row, in order: what a large sorted set consists of.
//!
//! ```text
//! scores   f64 ..
//! places   u32 ..   where the index has the members: see [`crate::table::packed`]
//! ends     u32 ..   where a member ends among the bytes
//! bytes    the members, side by side
//! ```

use std::ops::Range;

use crate::room::{reserve, roomy};
use crate::types::listpack::Element;

/// So many members a chunk has at most. Tests have small ones, and so more of them.
const MEMBERS: usize = if cfg!(test) { 8 } else { 64 };

/// And so many bytes, but for one that has a single member.
const BYTES: usize = 4096;

/// Members in a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    scores: Vec<f64>,
    places: Vec<u32>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Chunk {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    #[inline]
    pub(super) fn score(&self, at: usize) -> f64 {
        self.scores[at]
    }

    #[inline]
    pub(super) fn member(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.ends[at] as usize]
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> (Element<'_>, f64) {
        (Element::Bytes(self.member(at)), self.scores[at])
    }

    pub(super) fn scores(&self) -> &[f64] {
        &self.scores
    }

    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.scores.capacity() * size_of::<f64>()
            + (self.places.capacity() + self.ends.capacity()) * size_of::<u32>()
            + self.bytes.capacity()
    }

    /// Where a member is.
    #[inline]
    pub(super) fn find(&self, place: u32, member: &[u8]) -> Option<usize> {
        self.at_place(place).find(|&at| self.member(at) == member)
    }

    /// Where the members of a place are.
    pub(super) fn at_place(&self, place: u32) -> impl Iterator<Item = usize> {
        let places = self.places.iter().enumerate();
        places.filter(move |(_, own)| **own == place).map(|(at, _)| at)
    }

    /// Where a member of this score is, or belongs.
    #[inline]
    pub(super) fn position(&self, score: f64, member: &[u8]) -> usize {
        let first = self.scores.partition_point(|&own| own < score);
        let same = self.scores[first..].partition_point(|&own| own <= score);
        first + partition_point(same, |more| self.member(first + more) < member)
    }

    /// The first member for which `is_before` does not hold.
    pub(super) fn partition_members(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        partition_point(self.len(), |at| is_before(self.member(at)))
    }

    pub(super) fn has_room(&self, member: &[u8]) -> bool {
        self.len() < MEMBERS && self.bytes.len() + member.len() <= BYTES
    }

    /// Whether a neighbour should come here.
    pub(super) fn is_thin(&self) -> bool {
        self.len() <= MEMBERS / 4
    }

    /// Whether all of another chunk has its place here, and some more.
    pub(super) fn takes(&self, other: &Chunk) -> bool {
        self.len() + other.len() <= MEMBERS / 4 * 3 && self.bytes.len() + other.bytes.len() <= BYTES
    }

    pub(super) fn insert(&mut self, at: usize, place: u32, score: f64, member: &[u8]) {
        let (start, old_len) = (self.start(at), self.bytes.len());
        let end = start + member.len();
        put(&mut self.scores, at, score);
        put(&mut self.places, at, place);
        put(&mut self.ends, at, end as u32);
        self.ends[at + 1..].iter_mut().for_each(|end| *end += member.len() as u32);
        reserve(&mut self.bytes, member.len());
        self.bytes.resize(old_len + member.len(), 0);
        self.bytes.copy_within(start..old_len, end);
        self.bytes[start..end].copy_from_slice(member);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        let (start, end) = (self.start(range.start), self.start(range.end));
        self.scores.drain(range.clone());
        self.places.drain(range.clone());
        self.ends.drain(range.clone());
        self.bytes.drain(start..end);
        self.ends[range.start..].iter_mut().for_each(|own| *own -= (end - start) as u32);
    }

    /// Parts with the members from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Chunk {
        let mut right = Chunk::default();
        right.append(self, at..self.len());
        self.remove(at..self.len());
        self.scores.shrink_to(roomy::<f64>(at));
        self.places.shrink_to(roomy::<u32>(at));
        self.ends.shrink_to(roomy::<u32>(at));
        self.bytes.shrink_to(roomy::<u8>(self.bytes.len()));
        right
    }

    /// Adds some of another chunk's members at the end.
    pub(super) fn append(&mut self, other: &Chunk, range: Range<usize>) {
        let (start, end) = (other.start(range.start), other.start(range.end));
        let base = self.bytes.len();
        extend(&mut self.scores, &other.scores[range.clone()]);
        extend(&mut self.places, &other.places[range.clone()]);
        extend(&mut self.bytes, &other.bytes[start..end]);
        reserve(&mut self.ends, range.len());
        self.ends.extend(other.ends[range].iter().map(|&own| (base + own as usize - start) as u32));
    }

    /// Where a member begins; behind the last one, where the bytes end.
    #[inline]
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }
}

fn put<T>(vec: &mut Vec<T>, at: usize, value: T) {
    reserve(vec, 1);
    vec.insert(at, value);
}

fn extend<T: Copy>(vec: &mut Vec<T>, more: &[T]) {
    reserve(vec, more.len());
    vec.extend_from_slice(more);
}

/// The first of `len` indices for which `is_before` does not hold.
fn partition_point(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
