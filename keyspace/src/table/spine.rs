//! The spine: small copy-on-write segments, grown and shrunk one at a time by linear hashing.
//!
//! ```text
//! n segments; a hash belongs to segment   i = hash mod 2^k        if i < n      (2^k: the least power of two >= n)
//!                                         i = hash mod 2^(k-1)    otherwise
//! growing appends segment n and moves to it half of segment n - 2^(k-1); shrinking is the reverse
//! ```
//! So no operation ever rehashes more than one segment. A snapshot clones the spine (`im::Vector`, O(1)); the first
//! write to a segment after it copies that segment, once.
//!
//! Segments stand in groups of [`GROUP`], because a copy of a node of the spine touches the count of everything that
//! the node holds: `im::Vector`'s have 64 places, and with segments in them the first write to one of 64 took 64 cache
//! misses, more than the segment itself.
//!
//! While data is loaded no snapshot is taken, and segments stand side by side.

use std::hint::black_box;

use smallvec::SmallVec;
use triomphe::Arc;

use super::sequence::Sequence;
use super::{HashSeed, SCAN_END};
use crate::Random;

/// Segments to a group.
const GROUP: usize = 16;

/// What the spine demands of a segment.
pub trait Segment: Clone + Default {
    /// Mean number of records. Segments not yet split hold up to twice as many.
    const MEAN_RECORDS: usize;

    /// A record, as it is seen where it stands.
    type Item<'a>
    where
        Self: 'a;

    /// Number of records.
    fn records(&self) -> usize;

    /// Bytes that it has allocated.
    fn heap_bytes(&self) -> usize;

    /// All records, in an order that stays while nothing is written.
    fn iter(&self) -> impl Iterator<Item = Self::Item<'_>>;

    /// The record at a place in that order, found without looking at those before it.
    fn nth(&self, at: usize) -> Option<Self::Item<'_>>;

    /// Moves the records whose hash has bit `bit` to a segment of their own; they agree in all bits below.
    fn split(&mut self, bit: u32) -> Self;

    /// The reverse of [`split`](Self::split).
    fn absorb(&mut self, other: Self);

    /// Visits records from a cursor on, at most about `count`; returns where to go on from, `None` if that were all.
    fn scan<'a>(&'a self, from: u64, count: usize, visit: &mut impl FnMut(Self::Item<'a>)) -> Option<u64>;
}

/// A table of segments.
#[derive(Debug, Clone)]
pub struct Spine<S> {
    form: Form<S>,
    /// Number of segments.
    segments: usize,
    /// Number of records.
    len: usize,
    seed: HashSeed,
}

#[derive(Debug, Clone)]
enum Form<S> {
    Groups(Sequence<Group<S>>),
    /// Where nobody takes snapshots: to clone it takes as long as it is, to find a segment to write to a fifth of the
    /// instructions, and no locked ones but that of the segment itself.
    Flat(Vec<Arc<S>>),
}

#[derive(Debug)]
struct Group<S>(SmallVec<[Arc<S>; GROUP]>);

impl<S> Clone for Group<S> {
    fn clone(&self) -> Self {
        Group(clone_all(&self.0))
    }
}

/// Clones references that have probably left the cache. Counting up is a locked instruction, and the processor does not
/// look beyond one: reading all the counts first lets their cache misses overlap.
pub(crate) fn clone_all<T: ?Sized, C: FromIterator<Arc<T>>>(all: &[Arc<T>]) -> C {
    black_box(all.iter().map(Arc::strong_count).sum::<usize>());
    all.iter().cloned().collect()
}

impl<S: Segment> Spine<S> {
    /// An empty table.
    pub fn new(seed: HashSeed) -> Self {
        let mut spine = Spine { form: Form::Groups(Sequence::new()), segments: 0, len: 0, seed };
        spine.push(S::default());
        spine
    }

    /// The key of its hash function.
    #[inline]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Number of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The segment that a hash belongs to.
    #[inline]
    pub(crate) fn index(&self, hash: u64) -> usize {
        let mask = self.segments.next_power_of_two() - 1;
        let index = hash as usize & mask;
        if index < self.segments { index } else { index & (mask >> 1) }
    }

    /// How many of their lowest bits the hashes in a segment agree in.
    #[inline]
    pub(crate) fn shared_bits(&self, index: usize) -> u32 {
        let level = self.segments.next_power_of_two().trailing_zeros();
        // A segment that has been split, or was split off, on this level agrees in one bit more than the others.
        let split = (index | 1usize << level >> 1) < self.segments;
        level - u32::from(level > 0 && !split)
    }

    #[inline]
    pub(crate) fn segment(&self, index: usize) -> Option<&S> {
        let segment = match &self.form {
            Form::Groups(groups) => groups.get(index / GROUP)?.0.get(index % GROUP),
            Form::Flat(segments) => segments.get(index),
        };
        segment.map(|segment| &**segment)
    }

    /// A segment to write to: it is copied if a snapshot has it too.
    #[inline]
    pub(crate) fn segment_mut(&mut self, index: usize) -> Option<&mut S> {
        let segment = match &mut self.form {
            Form::Groups(groups) => {
                let group = Arc::make_mut(groups.get_mut(index / GROUP)?);
                group.0.get_mut(index % GROUP)
            }
            Form::Flat(segments) => segments.get_mut(index),
        };
        segment.map(Arc::make_mut)
    }

    /// Takes the form for many writes and no snapshots, until it is [grouped](Self::group) again.
    pub(crate) fn flatten(&mut self) {
        self.form = Form::Flat(self.all().cloned().collect());
    }

    /// Takes the form for snapshots.
    pub(crate) fn group(&mut self) {
        let Form::Flat(segments) = &mut self.form else { return };
        let mut segments = std::mem::take(segments).into_iter();
        let mut groups = Sequence::new();
        while !segments.as_slice().is_empty() {
            groups.push_back(Arc::new(Group(segments.by_ref().take(GROUP).collect())));
        }
        self.form = Form::Groups(groups);
    }

    /// Counts a record that was added to a segment; [`grow`](Self::grow) if this is true.
    #[inline]
    pub(crate) fn count_added(&mut self) -> bool {
        self.len += 1;
        self.len > self.segments * S::MEAN_RECORDS
    }

    /// Counts a record that was removed from a segment; [`shrink`](Self::shrink) if this is true.
    #[inline]
    pub(crate) fn count_removed(&mut self) -> bool {
        self.len -= 1;
        self.segments > 1 && self.len < self.segments * (S::MEAN_RECORDS / 4)
    }

    /// Number of records that fill the segments to their mean.
    pub(crate) fn capacity(&self) -> usize {
        self.segments * S::MEAN_RECORDS
    }

    /// Whether one segment less would do.
    pub(crate) fn has_spare_segment(&self) -> bool {
        self.segments > 1 && self.len <= self.capacity() - S::MEAN_RECORDS
    }

    /// The segment that would be split next, and the index of the new one.
    pub(crate) fn splitting(&self) -> (usize, usize) {
        (parent(self.segments), self.segments)
    }

    /// Splits a segment.
    pub(crate) fn grow(&mut self) {
        let (parent, index) = self.splitting();
        let Some(parent) = self.segment_mut(parent) else { return };
        let child = parent.split(index.ilog2());
        self.push(child);
    }

    /// The segment that the last one would melt into, and the last one's index.
    pub(crate) fn melting(&self) -> (usize, usize) {
        (parent(self.segments - 1), self.segments - 1)
    }

    /// Lets the last segment melt into the one that it was split off from.
    pub(crate) fn shrink(&mut self) {
        let (parent, _) = self.melting();
        let Some(last) = self.pop() else { return };
        let Some(parent) = self.segment_mut(parent) else { return };
        parent.absorb(Arc::unwrap_or_clone(last));
    }

    fn push(&mut self, segment: S) {
        let segment = Arc::new(segment);
        match &mut self.form {
            Form::Flat(segments) => segments.push(segment),
            Form::Groups(groups) if self.segments.is_multiple_of(GROUP) => {
                groups.push_back(Arc::new(Group(SmallVec::from_iter([segment]))));
            }
            Form::Groups(groups) => {
                if let Some(last) = groups.get_mut(self.segments / GROUP) {
                    Arc::make_mut(last).0.push(segment);
                }
            }
        }
        self.segments += 1;
    }

    fn pop(&mut self) -> Option<Arc<S>> {
        let index = self.segments.checked_sub(1)?;
        let segment = match &mut self.form {
            Form::Flat(segments) => segments.pop(),
            Form::Groups(groups) if index.is_multiple_of(GROUP) => {
                Arc::unwrap_or_clone(groups.pop_back()?).0.pop()
            }
            Form::Groups(groups) => Arc::make_mut(groups.get_mut(index / GROUP)?).0.pop(),
        };
        self.segments = index;
        segment
    }

    fn all(&self) -> impl Iterator<Item = &Arc<S>> {
        let (groups, flat) = match &self.form {
            Form::Groups(groups) => (Some(groups), &[][..]),
            Form::Flat(segments) => (None, &segments[..]),
        };
        groups.into_iter().flatten().flat_map(|group| group.0.iter()).chain(flat)
    }

    /// Number of segments.
    pub(crate) fn segments_len(&self) -> usize {
        self.segments
    }

    /// Bytes of the spine and of its segments, without what those have allocated.
    pub(crate) fn own_bytes(&self) -> usize {
        // A segment with its count, and its place in a group.
        let segment = size_of::<S>() + size_of::<usize>() + size_of::<Arc<S>>();
        self.segments * segment
    }

    /// All records, in no order.
    pub fn iter(&self) -> impl Iterator<Item = S::Item<'_>> {
        self.all().flat_map(|segment| segment.iter())
    }

    /// Gives the segments away one by one, releasing each: for a snapshot's reader, so that memory shared with it falls
    /// free as it goes.
    pub fn into_segments(mut self) -> impl Iterator<Item = Arc<S>> {
        std::iter::from_fn(move || self.pop())
    }

    /// Visits about `count` records from `cursor` on and returns the cursor to go on from, 0 at the end. A record that
    /// is there from the first call to the last is visited exactly once, however the table grows or shrinks meanwhile.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(S::Item<'a>)) -> u64 {
        let mut cursor = cursor % SCAN_END;
        let mut left = count.max(1);
        loop {
            let index = self.index((cursor << 16).reverse_bits());
            let Some(segment) = self.segment(index) else { return 0 };
            let next = segment.scan(cursor, left, &mut |item| {
                left = left.saturating_sub(1);
                visit(item);
            });
            cursor = next.unwrap_or_else(|| self.range_end(index));
            if cursor >= SCAN_END {
                return 0;
            }
            if left == 0 {
                return cursor;
            }
        }
    }

    /// One past the last scan place of a segment.
    fn range_end(&self, index: usize) -> u64 {
        match self.shared_bits(index) {
            0 => SCAN_END,
            bits => (((index as u64).reverse_bits() >> (64 - bits)) + 1) << (48 - bits),
        }
    }

    /// A record, each as likely as the next.
    pub fn random(&self, random: &mut Random) -> Option<S::Item<'_>> {
        if self.len == 0 {
            return None;
        }
        loop {
            let segment = self.segment(random.below(self.segments))?;
            // A segment is chosen as often as any other, and then rejected the more often the emptier it is: a place
            // in the fullest possible one is drawn. The mean filling is never below a twelfth of that.
            let places = if self.segments == 1 {
                segment.records()
            } else {
                segment.records().max(3 * S::MEAN_RECORDS)
            };
            let place = random.below(places);
            if place < segment.records() {
                return segment.nth(place);
            }
        }
    }
}

/// The segment that `index` splits off from, or melts into.
fn parent(index: usize) -> usize {
    match index {
        0 => 0,
        _ => index & !(1 << index.ilog2()),
    }
}

#[cfg(test)]
mod tests;
