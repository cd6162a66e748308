//! Members in a row, in order: what a large sorted set consists of.
//!
//! ```text
//! heads   score f64, place u32 (where the index has the member: see [`crate::table::place`]), at u16, len u16 ..
//! bytes   the members, side by side, in no order
//! ```
//! A member is added at the end of the bytes, and the last one there fills the hole that it leaves, if that is as long;
//! else what is behind it moves up. To move that always would be as many cache misses again as to move the heads.

use std::hint::black_box;
use std::ops::Range;

use crate::room::{reserve, trim};
use crate::types::listpack::Element;
use crate::types::partition_point;

/// So many members a chunk has at most. Tests have small ones, and so more of them.
const MEMBERS: usize = if cfg!(test) { 8 } else { 64 };

/// And so many bytes, but for one that has a single member. Tests reach this limit, too.
const BYTES: usize = if cfg!(test) { 64 } else { 4096 };

/// With so many members, or fewer, it may melt into a neighbour.
pub(super) const THIN: usize = MEMBERS / 4;

/// A search looks at one of so many heads first.
const STRIDE: usize = if cfg!(test) { 3 } else { 8 };

/// So many heads are in a line of the cache.
const LINE_HEADS: usize = 64 / size_of::<Head>();

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
    /// Where the bytes begin, and how many they are. A member without a neighbour is all the bytes: it may be longer
    /// than these can tell.
    at: u16,
    len: u16,
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
        let head = &self.heads[at];
        match self.len() {
            1 => &self.bytes,
            _ => &self.bytes[usize::from(head.at)..][..usize::from(head.len)],
        }
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

    /// Reads ahead what [`position`](Self::position) and [`insert`](Self::insert) will read: each line of the heads,
    /// and the last one of the bytes. How many there are is read only now, too, so no branch may depend on it.
    #[inline]
    pub(super) fn warm(&self) {
        let last = self.heads.len().saturating_sub(1);
        let heads = (0..MEMBERS).step_by(LINE_HEADS).map(|at| self.heads.get(at.min(last)));
        black_box(heads.fold(0, |sum, head| sum ^ head.map_or(0, |head| head.place)));
        black_box(self.bytes.last());
    }

    /// Where the members of a place are.
    pub(super) fn at_place(&self, place: u32) -> impl Iterator<Item = usize> {
        let heads = self.heads.iter().enumerate();
        heads.filter(move |(_, head)| head.place == place).map(|(at, _)| at)
    }

    /// Where a member of this score is, or belongs.
    #[inline]
    pub(super) fn position(&self, score: f64, member: &[u8]) -> usize {
        let first = self.first(score);
        if self.heads.get(first).is_none_or(|head| head.score != score) {
            return first;
        }
        let same = self.heads[first..].partition_point(|head| head.score <= score);
        first + partition_point(same, |more| self.member(first + more) < member)
    }

    /// The first member whose score is not below one. A binary search's steps would each wait for the cache miss of the
    /// one before; here there are two.
    #[inline]
    fn first(&self, score: f64) -> usize {
        let below = |heads: &[Head]| heads.iter().filter(|head| head.score < score).count();
        let strides = self.heads.iter().step_by(STRIDE).filter(|head| head.score < score).count();
        let start = STRIDE * strides.saturating_sub(1);
        start + below(&self.heads[start..self.len().min(start + STRIDE)])
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
        // What is empty is nowhere, and so is not to be moved.
        let start = if member.is_empty() { 0 } else { self.bytes.len() };
        reserve(&mut self.heads, 1);
        self.heads.insert(at, Head { score, place, at: start as u16, len: member.len() as u16 });
        reserve(&mut self.bytes, member.len());
        self.bytes.extend_from_slice(member);
    }

    /// Removes some members, but not all.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        range.rev().for_each(|at| self.remove_one(at));
        trim(&mut self.heads);
        trim(&mut self.bytes);
    }

    fn remove_one(&mut self, at: usize) {
        let Head { at, len, .. } = self.heads.remove(at);
        let (start, end, left) =
            (usize::from(at), usize::from(at + len), self.bytes.len() - usize::from(len));
        match self.heads.iter_mut().find(|head| usize::from(head.at) == left && head.len == len) {
            Some(last) => {
                last.at = at;
                self.bytes.copy_within(left.., start);
            }
            None => {
                self.bytes.copy_within(end.., start);
                self.heads.iter_mut().filter(|head| head.at > at).for_each(|head| head.at -= len);
            }
        }
        self.bytes.truncate(left);
    }

    /// Gives a member another score, and the position of that.
    pub(super) fn change(&mut self, at: usize, score: f64) {
        let to = self.position(score, self.member(at));
        self.heads[at].score = score;
        if to > at {
            self.heads[at..to].rotate_left(1);
        } else {
            self.heads[to..=at].rotate_right(1);
        }
    }

    /// Asserts what holds of every chunk between two calls.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let is_single = self.len() == 1;
        assert!((1..=MEMBERS).contains(&self.len()), "{} members", self.len());
        assert!(is_single || self.bytes.len() <= BYTES, "{} bytes", self.bytes.len());
        let mut members: Vec<(usize, usize)> = match self.len() {
            1 => vec![(0, self.bytes.len())],
            _ => self.heads.iter().map(|head| (head.at.into(), head.len.into())).collect(),
        };
        members.sort_unstable();
        let end = members.into_iter().filter(|(_, len)| *len > 0).fold(0, |end, (at, len)| {
            assert_eq!(at, end, "the members stand side by side");
            end + len
        });
        assert_eq!(end, self.bytes.len());
    }

    /// Parts with the members from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Chunk {
        let (mut left, mut right) = (Chunk::default(), Chunk::default());
        left.append(self, 0..at);
        right.append(self, at..self.len());
        *self = left;
        right
    }

    /// Adds some of another chunk's members at the end.
    pub(super) fn append(&mut self, other: &Chunk, range: Range<usize>) {
        reserve(&mut self.heads, range.len());
        reserve(&mut self.bytes, range.clone().map(|at| other.member(at).len()).sum());
        for at in range {
            let Head { score, place, .. } = other.heads[at];
            self.insert(self.len(), place, score, other.member(at));
        }
    }
}
