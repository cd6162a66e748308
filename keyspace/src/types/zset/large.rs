//! The expanded form of a sorted set: chunks of members, their order, and where each member is.
//!
//! ```text
//! chunks   by number: up to 64 members in a row, with their scores
//! runs     the chunks in order: a tree of (number, members, first score), weighted by the members
//! index    the place of a member's hash -> the number of its chunk
//! ```
//! A member is stored once, in its chunk: a range of ranks is read from front to back, and a lookup looks at the few
//! members of one chunk. When a chunk is split, or melts into its neighbour, the members that move are marked anew, as is
//! one whose new score belongs to another chunk; when a chunk goes, the last one takes its number.

use std::ops::Range;

use triomphe::Arc;

use super::chunk::{self, Chunk};
use super::numbered::Numbered;
use crate::table::HashSeed;
use crate::table::place::place_of;
use crate::table::places::{Mark, Near, Places, Spot};
use crate::types::listpack::Element;
use crate::types::tree::{self, Tree, Way};

/// The bits of a place that count. In tests there are few of them, so that many members share one.
const PLACE_BITS: u32 = if cfg!(test) { 0xf000_0000 } else { u32::MAX };

/// Members in order.
#[derive(Debug, Clone)]
pub(crate) struct Large {
    chunks: Numbered<Chunk>,
    runs: Tree<Run>,
    index: Places,
}

/// A chunk's place in the order.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    chunk: u32,
    len: u32,
    first: f64,
}

impl Run {
    fn of(number: u32, chunk: &Chunk) -> Self {
        Run { chunk: number, len: chunk.len() as u32, first: chunk.score(0) }
    }
}

impl tree::Item for Run {
    type Key = Run;

    #[inline]
    fn key(&self) -> Run {
        *self
    }

    #[inline]
    fn weight(&self) -> usize {
        self.len as usize
    }
}

/// A run, and the way there.
#[derive(Debug, Clone, Copy)]
struct Seat {
    way: Way,
    run: Run,
}

/// What is known of a member to which a score is to be given.
#[derive(Debug)]
pub(super) struct Look {
    place: u32,
    found: Option<Found>,
    /// The run where it is, or belongs, with the score that it will probably get.
    ahead: Option<(f64, Seat)>,
}

impl Look {
    /// The score that it has.
    #[inline]
    pub(super) fn score(&self) -> Option<f64> {
        self.found.map(|found| found.score)
    }
}

/// A member, and where it is.
#[derive(Debug, Clone, Copy)]
struct Found {
    chunk: u32,
    /// Where in the chunk.
    at: usize,
    /// Where its mark is, or that of another member of its place and its chunk.
    spot: Spot,
    score: f64,
}

impl Large {
    pub(super) fn new(seed: HashSeed) -> Self {
        Large { chunks: Numbered::new(), runs: Tree::new(), index: Places::new(seed) }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.runs.weight()
    }

    pub(crate) fn chunks(&self) -> &Numbered<Chunk> {
        &self.chunks
    }

    pub(crate) fn index(&self) -> &Places {
        &self.index
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(self.place(member), member).map(|found| found.score)
    }

    /// A member's place in the order, and its score.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let Found { at, score, .. } = self.find(self.place(member), member)?;
        Some((self.before(&self.seek(score, member)?) + at, score))
    }

    pub(super) fn get(&self, rank: usize) -> Option<(Element<'_>, f64)> {
        let (index, at) = self.runs.seek_weight(rank)?;
        Some(self.chunk(self.runs.get(index)?.chunk).get(at))
    }

    /// The number of members in front for whose scores `is_before` holds.
    pub(super) fn partition_scores(&self, is_before: impl Fn(f64) -> bool) -> usize {
        let seat = self.last_seat(|run| is_before(run.first));
        seat.map_or(0, |seat| self.before(&seat) + self.chunk_of(&seat).partition_scores(is_before))
    }

    /// The number of members in front for which `is_before` holds.
    pub(super) fn partition_members(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let seat = self.last_seat(|run| is_before(self.chunk(run.chunk).member(0)));
        seat.map_or(0, |seat| self.before(&seat) + self.chunk_of(&seat).partition_members(is_before))
    }

    /// Looks a member up that will probably be given this score. The run of that is looked for meanwhile: so the cache
    /// misses on the ways to both places overlap.
    #[inline]
    pub(super) fn look(&self, member: &[u8], likely: Option<f64>) -> Look {
        let place = self.place(member);
        let near = self.index.near(place);
        near.warm();
        let ahead = likely.and_then(|score| Some((score, self.seek(score, member)?)));
        if let Some((_, seat)) = &ahead {
            self.chunk_of(seat).warm();
        }
        Look { place, found: self.find_near(near, place, member), ahead }
    }

    /// Gives a member that was just looked up a score that it has not.
    pub(super) fn set(&mut self, look: Look, score: f64, member: &[u8]) {
        let Look { place, found, ahead } = look;
        let seat = match ahead {
            Some((likely, seat)) if likely == score => Some(seat),
            _ => self.seek(score, member),
        };
        match (found, seat) {
            (None, seat) => {
                let number = self.add(seat, place, score, member);
                self.index.add(Mark { place, number });
            }
            (Some(found), Some(seat)) if seat.run.chunk == found.chunk => {
                self.change(&seat, |chunk| chunk.change(found.at, score));
            }
            (Some(found), seat) => self.shift(found, seat, place, score, member),
        }
    }

    /// Moves a member to the chunk of another run.
    fn shift(&mut self, found: Found, seat: Option<Seat>, place: u32, score: f64, member: &[u8]) {
        let Some(old) = self.seek(found.score, member) else { return };
        let runs = self.runs.len();
        self.cut(&old, found.at..found.at + 1);
        // Where a chunk has gone, others have its number, and runs are elsewhere.
        let seat = if self.runs.len() == runs { seat } else { self.seek(score, member) };
        let number = self.add(seat, place, score, member);
        // Until now its mark has been as it was, whoever has that number by now.
        self.index.renumber_at(found.spot, Mark { place, number: found.chunk }, number);
    }

    /// Removes a member; returns the score it had.
    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let place = self.place(member);
        let Found { chunk, at, score, .. } = self.find(place, member)?;
        self.index.remove(Mark { place, number: chunk });
        let seat = self.seek(score, member)?;
        self.cut(&seat, at..at + 1);
        Some(score)
    }

    /// Removes the members at a range of places.
    pub(super) fn remove_range(&mut self, ranks: Range<usize>) {
        let mut left = ranks.len();
        while left > 0 {
            let Some((index, at)) = self.runs.seek_weight(ranks.start) else { return };
            let Some(seat) = self.seat(index) else { return };
            let Run { chunk: number, len, .. } = seat.run;
            let range = at..at + left.min(len as usize - at);
            for place in self.chunks[number as usize].places(range.clone()) {
                self.index.remove(Mark { place, number });
            }
            left -= range.len();
            self.cut(&seat, range);
        }
    }

    /// Visits about `count` members from `cursor` on; returns the cursor to go on from, 0 at the end.
    pub(crate) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut((Element<'a>, f64)),
    ) -> u64 {
        let mut visited: Vec<Mark> = Vec::new();
        self.index.scan(cursor, count, |mark| {
            // Members of one place and one chunk have the same mark, as often as they are.
            if visited.last().is_none_or(|last| last.place != mark.place) {
                visited.clear();
            }
            if !visited.contains(&mark) {
                let chunk = self.chunk(mark.number);
                chunk.at_place(mark.place).for_each(|at| visit(chunk.get(at)));
                visited.push(mark);
            }
        })
    }

    /// The members at a range of places.
    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let seat = |rank| {
            let (index, at) = self.runs.seek_weight(rank)?;
            Some((index, (self.chunk(self.runs.get(index)?.chunk), at)))
        };
        let ends = (!ranks.is_empty()).then(|| seat(ranks.start).zip(seat(ranks.end - 1)));
        let (front, back) = ends.flatten().unzip();
        let first_run = front.map_or(self.runs.len(), |(index, _)| index + 1);
        let last_run = back.map_or(0, |(index, _)| index);
        Iter {
            large: self,
            left: ranks.len(),
            front: front.map(|(_, at)| at),
            back: back.map(|(_, at)| at),
            front_runs: self.runs.range(first_run..self.runs.len()),
            back_runs: self.runs.range(0..last_run),
        }
    }

    fn place(&self, member: &[u8]) -> u32 {
        place_of(self.index.seed().hash(member)) & PLACE_BITS
    }

    fn chunk(&self, number: u32) -> &Chunk {
        &self.chunks[number as usize]
    }

    fn chunk_of(&self, seat: &Seat) -> &Chunk {
        self.chunk(seat.run.chunk)
    }

    /// A member, by the place of its hash.
    #[inline]
    fn find(&self, place: u32, member: &[u8]) -> Option<Found> {
        self.find_near(self.index.near(place), place, member)
    }

    #[inline]
    fn find_near(&self, near: Near<'_>, place: u32, member: &[u8]) -> Option<Found> {
        near.numbers().find_map(|(number, spot)| {
            let chunk = self.chunk(number);
            let at = chunk.find(place, member)?;
            Some(Found { chunk: number, at, spot, score: chunk.score(at) })
        })
    }

    /// The run at an index.
    fn seat(&self, index: usize) -> Option<Seat> {
        self.runs.locate(index).map(|(way, &run)| Seat { way, run })
    }

    /// The members in front of a run.
    fn before(&self, seat: &Seat) -> usize {
        self.runs.weight_before(&seat.way)
    }

    /// The last run for which `is_before` holds.
    #[inline]
    fn last_seat(&self, is_before: impl Fn(&Run) -> bool) -> Option<Seat> {
        let (way, &run) = self.runs.last_before(is_before)?;
        Some(Seat { way, run })
    }

    /// The run in which a member of this score is, or belongs; `None` if there is no run.
    #[inline]
    fn seek(&self, score: f64, member: &[u8]) -> Option<Seat> {
        let seat = self.last_seat(|run| run.first <= score).or_else(|| self.seat(0))?;
        if seat.run.first == score { self.seek_among(score, member) } else { Some(seat) }
    }

    /// As [`seek`](Self::seek), where runs begin with the same score. Their first members are far away: they are asked
    /// for only here.
    fn seek_among(&self, score: f64, member: &[u8]) -> Option<Seat> {
        let is_before =
            |run: &Run| run.first < score || run.first == score && self.chunk(run.chunk).member(0) <= member;
        self.last_seat(is_before).or_else(|| self.seat(0))
    }

    /// Puts a member where [`seek`](Self::seek) says; returns the number of its chunk, with which it is to be marked.
    fn add(&mut self, seat: Option<Seat>, place: u32, score: f64, member: &[u8]) -> u32 {
        let Some(seat) = seat else { return self.add_alone(0, place, score, member) };
        let chunk = self.chunk_of(&seat);
        let at = chunk.position(score, member);
        if chunk.has_room(member) {
            return self.change(&seat, |chunk| chunk.insert(at, place, score, member));
        }
        let index = self.runs.index(&seat.way);
        // Or in front of the next chunk, where it would else be alone behind a big one.
        if at == chunk.len()
            && let Some(next) = self.seat(index + 1)
            && self.chunk_of(&next).has_room(member)
        {
            return self.change(&next, |chunk| chunk.insert(0, place, score, member));
        }
        // At the ends, where more will probably follow, a full chunk stays full.
        let is_first = index == 0 && at == 0;
        let is_last = index + 1 == self.runs.len() && at == chunk.len();
        if is_first || is_last || chunk.len() == 1 {
            return self.add_alone(index + usize::from(at > 0), place, score, member);
        }
        self.split(&seat);
        self.add(self.seek(score, member), place, score, member)
    }

    /// Adds a member that is not there, whose place the caller does not know.
    pub(super) fn push(&mut self, score: f64, member: &[u8]) {
        let look = Look { place: self.place(member), found: None, ahead: None };
        self.set(look, score, member);
    }

    /// Adds a chunk with a single member.
    fn add_alone(&mut self, index: usize, place: u32, score: f64, member: &[u8]) -> u32 {
        let mut chunk = Chunk::default();
        chunk.insert(0, place, score, member);
        self.add_chunk(index, chunk)
    }

    fn add_chunk(&mut self, index: usize, chunk: Chunk) -> u32 {
        let number = self.chunks.len() as u32;
        self.runs.insert(index, Run::of(number, &chunk));
        self.chunks.push_back(Arc::new(chunk));
        number
    }

    /// Changes the chunk of a run, which must not become empty; returns its number.
    fn change(&mut self, seat: &Seat, change: impl FnOnce(&mut Chunk)) -> u32 {
        let number = seat.run.chunk;
        if let Some(chunk) = self.chunks.get_mut(number as usize) {
            let chunk = Arc::make_mut(chunk);
            change(chunk);
            let run = Run::of(number, chunk);
            self.runs.update_at(&seat.way, |own| *own = run);
        }
        number
    }

    fn split(&mut self, seat: &Seat) {
        let mut right = Chunk::default();
        self.change(seat, |chunk| right = chunk.split_off(chunk.len() / 2));
        self.renumber(&right, seat.run.chunk, self.chunks.len() as u32);
        self.add_chunk(self.runs.index(&seat.way) + 1, right);
    }

    /// Removes some of a run's members, but not their marks.
    fn cut(&mut self, seat: &Seat, range: Range<usize>) {
        let Run { chunk: number, len, .. } = seat.run;
        let left = len as usize - range.len();
        if left > 0 {
            self.change(seat, |chunk| chunk.remove(range));
        }
        if left > chunk::THIN {
            return;
        }
        let index = self.runs.index(&seat.way);
        if left > 0 {
            self.melt(index);
        } else {
            self.runs.remove(index);
            self.release(number);
        }
        // A set that is pruned from its front has full chunks behind the thin one, and thin ones before it.
        if let Some(before) = index.checked_sub(1) {
            self.melt(before);
        }
    }

    /// Lets a chunk melt into the one before it, if either is thin.
    fn melt(&mut self, index: usize) {
        let Some((left, right)) = self.seat(index).zip(self.seat(index + 1)) else { return };
        if !self.chunk_of(&left).melts_with(self.chunk_of(&right)) {
            return;
        }
        let moved = Arc::clone(&self.chunks[right.run.chunk as usize]);
        self.renumber(&moved, right.run.chunk, left.run.chunk);
        self.change(&left, |chunk| chunk.append(&moved, 0..moved.len()));
        self.runs.remove(index + 1);
        self.release(right.run.chunk);
    }

    /// Drops a chunk that no run has any more; the last one takes its number.
    fn release(&mut self, number: u32) {
        let last_number = self.chunks.len() as u32 - 1;
        let last = self.chunk(last_number);
        let seat = (number != last_number).then(|| self.seek(last.score(0), last.member(0))).flatten();
        let Some((last, seat)) = self.chunks.pop_back().zip(seat) else { return };
        self.renumber(&last, last_number, number);
        if let Some(chunk) = self.chunks.get_mut(number as usize) {
            *chunk = last;
        }
        self.runs.update_at(&seat.way, |run| run.chunk = number);
    }

    /// Asserts that runs, chunks and index agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.runs.len(), self.chunks.len());
        let mut numbers: Vec<u32> = self.runs.range(0..self.runs.len()).map(|run| run.chunk).collect();
        for run in self.runs.range(0..self.runs.len()) {
            let chunk = self.chunk(run.chunk);
            chunk.check();
            assert_eq!((run.len as usize, run.first), (chunk.len(), chunk.score(0)));
            for (at, place) in chunk.places(0..chunk.len()).enumerate() {
                assert_eq!(place, self.place(chunk.member(at)));
                let marks = self.index.near(place).numbers().filter(|&(number, _)| number == run.chunk);
                assert_eq!(marks.count(), chunk.at_place(place).count(), "as many marks as members");
            }
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..self.chunks.len() as u32), "each chunk has one run");
        assert_eq!(self.index.len(), self.len(), "each member has one mark");
    }

    /// Marks a chunk's members anew.
    fn renumber(&mut self, chunk: &Chunk, from: u32, to: u32) {
        let places = chunk.places(0..chunk.len());
        places.for_each(|place| self.index.renumber(Mark { place, number: from }, to));
    }
}

/// Iterates over members in order.
#[derive(Debug, Clone)]
pub(super) struct Iter<'a> {
    large: &'a Large,
    left: usize,
    /// The next members from the front and from the back, while any are left.
    front: Option<(&'a Chunk, usize)>,
    back: Option<(&'a Chunk, usize)>,
    /// The runs behind the front's and before the back's.
    front_runs: tree::Iter<'a, Run>,
    back_runs: tree::Iter<'a, Run>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (chunk, at) = self.front?;
        self.front = if at + 1 < chunk.len() {
            Some((chunk, at + 1))
        } else {
            self.front_runs.next().map(|run| (self.large.chunk(run.chunk), 0))
        };
        Some(chunk.get(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (chunk, at) = self.back?;
        self.back = match at.checked_sub(1) {
            Some(before) => Some((chunk, before)),
            None => self.back_runs.next_back().map(|run| {
                let chunk = self.large.chunk(run.chunk);
                (chunk, chunk.len() - 1)
            }),
        };
        Some(chunk.get(at))
    }
}

impl ExactSizeIterator for Iter<'_> {}
