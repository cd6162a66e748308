//! An index from places (see [`super::place`]) to numbers: who looks a key up by its hash finds
//! the numbers of what may be it, and asks there for the key, which the index does not hold.

use std::hint::black_box;

use super::place::{cursor_of, guess, lower_bound};
use super::spine::{Segment, Spine};
use crate::room::{reserve, roomy, trim};

/// An index.
pub(crate) type Places = Spine<Marks>;

/// A segment: marks in the order of their places.
type Marks = Vec<Mark>;

/// What is at `place` has this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) place: u32,
    pub(crate) number: u32,
}

/// Where a mark stands while none is added or removed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    segment: usize,
    at: usize,
}

/// A segment in which a place is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Near<'a> {
    marks: &'a [Mark],
    segment: usize,
    place: u32,
    shared_bits: u32,
}

/// The first mark of a place, or where it belongs.
fn first(marks: &[Mark], place: u32, shared_bits: u32) -> usize {
    lower_bound(marks, |mark| mark.place, place, shared_bits)
}

fn find(marks: &[Mark], mark: Mark, shared_bits: u32) -> Option<usize> {
    let first = first(marks, mark.place, shared_bits);
    let same = marks[first..].iter().take_while(|own| own.place == mark.place);
    same.enumerate().find(|(_, own)| **own == mark).map(|(more, _)| first + more)
}

impl Segment for Marks {
    const MEAN_RECORDS: usize = 64;

    type Item<'a> = Mark;

    fn records(&self) -> usize {
        self.len()
    }

    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<Mark>()
    }

    fn iter(&self) -> impl Iterator<Item = Mark> {
        self.as_slice().iter().copied()
    }

    fn nth(&self, at: usize) -> Option<Mark> {
        self.get(at).copied()
    }

    fn split(&mut self, bit: u32) -> Self {
        let mask = (1u32 << 31).checked_shr(bit).unwrap_or(0);
        let mut moved = Vec::new();
        let stay = self.partition_point(|mark| mark.place & mask == 0);
        reserve(&mut moved, self.len() - stay);
        moved.extend(self.drain(stay..));
        self.shrink_to(roomy::<Mark>(stay));
        moved
    }

    fn absorb(&mut self, other: Self) {
        reserve(self, other.len());
        self.extend(other);
    }

    fn scan<'a>(&'a self, from: u64, count: usize, visit: &mut impl FnMut(Self::Item<'a>)) -> Option<u64> {
        let start = self.partition_point(|mark| cursor_of(mark.place) < from);
        let end = self.len().min(start.saturating_add(count));
        // Those of one place are visited together.
        let last = self[start..end].last();
        let same = |mark: &&Mark| last.is_some_and(|last| last.place == mark.place);
        let end = end + self[end..].iter().take_while(same).count();
        self[start..end].iter().for_each(|&mark| visit(mark));
        self.get(end).map(|mark| cursor_of(mark.place))
    }
}

impl<'a> Near<'a> {
    /// Reads ahead what [`numbers`](Self::numbers) reads first. No branch depends on it, so whatever the caller reads
    /// next overlaps with this cache miss.
    #[inline]
    pub(crate) fn warm(&self) {
        let guessed = guess(self.marks.len(), self.place, self.shared_bits);
        black_box(self.marks.get(guessed).map_or(0, |mark| mark.place));
    }

    /// The numbers at the place, and where they stand.
    #[inline]
    pub(crate) fn numbers(self) -> impl Iterator<Item = (u32, Spot)> + use<'a> {
        let Near { marks, segment, place, shared_bits } = self;
        let first = first(marks, place, shared_bits);
        let same = marks[first..].iter().take_while(move |mark| mark.place == place);
        same.enumerate().map(move |(more, mark)| (mark.number, Spot { segment, at: first + more }))
    }
}

impl Places {
    /// The segment of a place, and how many bits its places share.
    #[inline]
    fn locate(&self, place: u32) -> (usize, u32) {
        let index = self.index(u64::from(place.reverse_bits()));
        (index, self.shared_bits(index))
    }

    /// The marks among which those of a place are.
    #[inline]
    pub(crate) fn near(&self, place: u32) -> Near<'_> {
        let (segment, shared_bits) = self.locate(place);
        let marks = self.segment(segment).map_or(&[][..], |marks| marks);
        Near { marks, segment, place, shared_bits }
    }

    pub(crate) fn add(&mut self, mark: Mark) {
        let (index, shared_bits) = self.locate(mark.place);
        let Some(marks) = self.segment_mut(index) else { return };
        let at = first(marks, mark.place, shared_bits);
        reserve(marks, 1);
        marks.insert(at, mark);
        if self.count_added() {
            self.grow();
        }
    }

    pub(crate) fn remove(&mut self, mark: Mark) {
        let (index, shared_bits) = self.locate(mark.place);
        let Some(marks) = self.segment_mut(index) else { return };
        let Some(at) = find(marks, mark, shared_bits) else { return };
        marks.remove(at);
        trim(marks);
        if self.count_removed() {
            self.shrink();
        }
    }

    /// As [`renumber`](Self::renumber), of a mark that stood at `spot`; where another one of its place has been given a
    /// new number there since, it is looked for.
    pub(crate) fn renumber_at(&mut self, spot: Spot, mark: Mark, number: u32) {
        let own = self.segment_mut(spot.segment).and_then(|marks| marks.get_mut(spot.at));
        match own.filter(|own| **own == mark) {
            Some(own) => own.number = number,
            None => self.renumber(mark, number),
        }
    }

    /// Gives what has this mark another number.
    pub(crate) fn renumber(&mut self, mark: Mark, number: u32) {
        let (index, shared_bits) = self.locate(mark.place);
        let Some(marks) = self.segment_mut(index) else { return };
        if let Some(at) = find(marks, mark, shared_bits) {
            marks[at].number = number;
        }
    }
}
