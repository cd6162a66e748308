//! Members in a row, in order: what a large sorted set consists of.
//!
//! ```text
//! heads   score f64, place u32 (where the index has the member: see [`crate::table::packed`]), end u32 ..
//! bytes   the members, side by side, each up to its end
//! ```

use std::ops::Range;

use crate::room::{reserve, roomy, trim};
use crate::types::listpack::Element;
use crate::types::partition_point;

/// So many members a chunk has at most. Tests have small ones, and so more of them.
const MEMBERS: usize = if cfg!(test) { 8 } else { 64 };

/// And so many bytes, but for one that has a single member. Tests reach this limit, too.
const BYTES: usize = if cfg!(test) { 64 } else { 4096 };

/// With so many members, or fewer, it may melt into a neighbour.
pub(super) const THIN: usize = MEMBERS / 4;

/// Members in a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    score: f64,
    place: u32,
    end: u32,
}

impl Chunk {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    pub(super) fn score(&self, at: usize) -> f64 {
        self.heads[at].score
    }

    #[inline]
    pub(super) fn member(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.heads[at].end as usize]
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> (Element<'_>, f64) {
        (Element::Bytes(self.member(at)), self.score(at))
    }

    pub(super) fn places(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        self.heads[range].iter().map(|head| head.place)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Head>() + self.bytes.capacity()
    }

    /// Where a member is.
    #[inline]
    pub(super) fn find(&self, place: u32, member: &[u8]) -> Option<usize> {
        self.at_place(place).find(|&at| self.member(at) == member)
    }

    /// Where the members of a place are.
    pub(super) fn at_place(&self, place: u32) -> impl Iterator<Item = usize> {
        let heads = self.heads.iter().enumerate();
        heads.filter(move |(_, head)| head.place == place).map(|(at, _)| at)
    }

    /// Where a member of this score is, or belongs.
    #[inline]
    pub(super) fn position(&self, score: f64, member: &[u8]) -> usize {
        let first = self.partition_scores(|own| own < score);
        if self.heads.get(first).is_none_or(|head| head.score != score) {
            return first;
        }
        let same = self.heads[first..].partition_point(|head| head.score <= score);
        first + partition_point(same, |more| self.member(first + more) < member)
    }

    /// The first member for whose score `is_before` does not hold.
    pub(super) fn partition_scores(&self, is_before: impl Fn(f64) -> bool) -> usize {
        self.heads.partition_point(|head| is_before(head.score))
    }

    /// The first member for which `is_before` does not hold.
    pub(super) fn partition_members(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        partition_point(self.len(), |at| is_before(self.member(at)))
    }

    pub(super) fn has_room(&self, member: &[u8]) -> bool {
        self.len() < MEMBERS && self.bytes.len() + member.len() <= BYTES
    }

    /// Whether it and its neighbour should be one: either is thin, and together they leave room for some more.
    pub(super) fn melts_with(&self, other: &Chunk) -> bool {
        self.len().min(other.len()) <= THIN
            && self.len() + other.len() <= 3 * THIN
            && self.bytes.len() + other.bytes.len() <= BYTES
    }

    pub(super) fn insert(&mut self, at: usize, place: u32, score: f64, member: &[u8]) {
        let (start, old_len) = (self.start(at), self.bytes.len());
        let end = start + member.len();
        reserve(&mut self.heads, 1);
        self.heads.insert(at, Head { score, place, end: end as u32 });
        self.shift(at + 1, member.len() as u32);
        reserve(&mut self.bytes, member.len());
        self.bytes.resize(old_len + member.len(), 0);
        self.bytes.copy_within(start..old_len, end);
        self.bytes[start..end].copy_from_slice(member);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        let (start, end) = (self.start(range.start), self.start(range.end));
        self.heads.drain(range.clone());
        self.bytes.drain(start..end);
        self.shift(range.start, ((end - start) as u32).wrapping_neg());
        trim(&mut self.heads);
        trim(&mut self.bytes);
    }

    /// Asserts what holds of every chunk between two calls.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let is_single = self.len() == 1;
        assert!((1..=MEMBERS).contains(&self.len()), "{} members", self.len());
        assert!(is_single || self.bytes.len() <= BYTES, "{} bytes", self.bytes.len());
        assert_eq!(self.start(self.len()), self.bytes.len(), "the last member ends with the bytes");
        assert!(self.heads.is_sorted_by_key(|head| head.end));
    }

    /// Parts with the members from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Chunk {
        let mut right = Chunk::default();
        right.append(self, at);
        self.remove(at..self.len());
        self.heads.shrink_to(roomy::<Head>(at));
        self.bytes.shrink_to(roomy::<u8>(self.bytes.len()));
        right
    }

    /// Adds another chunk's members from `from` on at the end.
    pub(super) fn append(&mut self, other: &Chunk, from: usize) {
        let (own, start) = (self.bytes.len(), other.start(from));
        let moved = &other.bytes[start..];
        reserve(&mut self.bytes, moved.len());
        self.bytes.extend_from_slice(moved);
        let at = self.len();
        reserve(&mut self.heads, other.len() - from);
        self.heads.extend_from_slice(&other.heads[from..]);
        self.shift(at, (own as u32).wrapping_sub(start as u32));
    }

    /// Moves where members end, from one on, forth or (by a number that wraps) back.
    fn shift(&mut self, from: usize, by: u32) {
        self.heads[from..].iter_mut().for_each(|head| head.end = head.end.wrapping_add(by));
    }

    /// Where a member begins; behind the last one, where the bytes end.
    #[inline]
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.heads[before].end as usize)
    }
}
