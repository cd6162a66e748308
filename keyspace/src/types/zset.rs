//! A sorted set: a listpack of members and their scores in order while it is small, else chunks of members, a tree that
//! has them in order, and an index that finds a member's chunk.
//!
//! ```text
//! listpack -> skiplist   more than zset-max-listpack-entries, or a member above zset-max-listpack-value bytes
//! ```
//! There is no way back, but for what a STORE command builds. `skiplist` is what clients are told; every
//! question is answered by rank, so a range of scores or of members becomes a range of ranks first.
//! Source: redis 7.2 `src/t_zset.c` (`zsetAdd`, `zzlInsertAt`).

use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::Range;

use resp::number;
use triomphe::Arc;

use super::listpack::{self, At, Element, Listpack};
use crate::table::HashSeed;
use crate::{Limits, Random, Str};

mod chunk;
mod large;
mod numbered;

pub(crate) use self::chunk::Chunk;
pub(crate) use self::large::{Large, Run};

/// A set of byte strings, each with a score, ordered by score and then by bytes.
#[derive(Debug, Clone)]
pub struct ZSet(Form);

#[derive(Debug, Clone)]
enum Form {
    Pack(Listpack),
    Large(Arc<Large>),
}

/// A member and its score, which is never NaN.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The score.
    pub score: f64,
    /// The member.
    pub member: Str,
}

impl Scored {
    /// The order of a sorted set: by score, then by bytes.
    pub fn compare(&self, other: &Scored) -> Ordering {
        compare((self.score, &self.member), (other.score, &other.member))
    }
}

/// The order of a sorted set. Negative zero is zero.
#[inline]
fn compare((a_score, a): (f64, &[u8]), (b_score, b): (f64, &[u8])) -> Ordering {
    a_score.partial_cmp(&b_score).unwrap_or(Ordering::Equal).then_with(|| a.cmp(b))
}

/// When a sorted set changes its encoding, and what it hashes with then.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    entries: usize,
    value_bytes: usize,
    seed: HashSeed,
}

impl Thresholds {
    /// What the configuration says of sorted sets.
    pub fn new(limits: &Limits, seed: HashSeed) -> Self {
        Thresholds {
            entries: limits.zset_max_listpack_entries,
            value_bytes: limits.zset_max_listpack_value,
            seed,
        }
    }
}

impl Default for ZSet {
    /// An empty listpack.
    fn default() -> Self {
        ZSet(Form::Pack(Listpack::new()))
    }
}

impl From<Listpack> for ZSet {
    /// Takes a listpack of members and scores in order.
    fn from(pack: Listpack) -> Self {
        ZSet(Form::Pack(pack))
    }
}

impl ZSet {
    /// An empty sorted set in the encoding that suits about `expected` members of which `first` is one.
    pub fn for_members(first: &[u8], expected: usize, thresholds: Thresholds) -> Self {
        if expected <= thresholds.entries && first.len() <= thresholds.value_bytes {
            ZSet::default()
        } else {
            ZSet(Form::Large(Arc::new(Large::new(thresholds.seed))))
        }
    }

    /// Builds a sorted set from members that are all different, in any order, in O(n log n).
    pub fn from_members(mut members: Vec<Scored>, thresholds: Thresholds) -> Self {
        members.sort_unstable_by(Scored::compare);
        let bytes: usize = members.iter().map(|scored| scored.member.len() + SCORE_BYTES).sum();
        let longest = members.iter().map(|scored| scored.member.len()).max().unwrap_or(0);
        if members.len() > thresholds.entries
            || longest > thresholds.value_bytes
            || bytes > listpack::BYTES_MAX
        {
            let members = members.iter().map(|scored| (Element::Bytes(&scored.member), scored.score));
            return ZSet::large(members, thresholds.seed);
        }
        let mut pack = Listpack::new();
        for Scored { score, member } in &members {
            pack.push_back(member);
            pack.push_back(packed_score(*score).as_bytes());
        }
        ZSet(Form::Pack(pack))
    }

    /// Takes members in order.
    fn large<'a>(members: impl Iterator<Item = (Element<'a>, f64)>, seed: HashSeed) -> Self {
        let mut large = Large::new(seed);
        members.for_each(|(element, score)| element.with_bytes(|member| large.push(score, member)));
        ZSet(Form::Large(Arc::new(large)))
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Pack(pack) => pack.len() / 2,
            Form::Large(large) => large.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Pack(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    /// How much work freeing it is: 1 for a listpack, else the number of members, as in Redis. The chunks to be freed
    /// are far fewer, so this errs towards another thread.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Form::Pack(_) => 1,
            Form::Large(large) => large.len(),
        }
    }

    /// The members and scores as a listpack, if that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Form::Pack(pack) => Some(pack),
            Form::Large(_) => None,
        }
    }

    /// The expanded form, if that is the encoding.
    pub(crate) fn as_large(&self) -> Option<&Large> {
        match &self.0 {
            Form::Pack(_) => None,
            Form::Large(large) => Some(large),
        }
    }

    /// A member's score.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Pack(pack) => pack.find(pack.first(), member, 2).map(|at| score_behind(pack, at)),
            Form::Large(large) => large.score(member),
        }
    }

    /// A member's place in the order, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Form::Pack(pack) => {
                let rank = self.iter().position(|(element, _)| element.is(member))?;
                pack.seek(2 * rank as isize).map(|at| (rank, score_behind(pack, at)))
            }
            Form::Large(large) => large.rank(member),
        }
    }

    /// The member at a place in the order.
    pub fn get(&self, rank: usize) -> Option<(Element<'_>, f64)> {
        match &self.0 {
            Form::Pack(pack) => {
                let at = pack.seek(isize::try_from(rank).ok()?.checked_mul(2)?)?;
                Some((pack.get(at), score_behind(pack, at)))
            }
            Form::Large(large) => large.get(rank),
        }
    }

    /// A member, each as likely as the next.
    pub fn random(&self, random: &mut Random) -> Option<(Element<'_>, f64)> {
        self.get(random.below(self.len()))
    }

    /// The members in order, from either end.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The members at a range of places.
    ///
    /// # Panics
    /// If the range ends past the end.
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        assert!(ranks.end <= self.len(), "iterate over {ranks:?} of {}", self.len());
        match &self.0 {
            Form::Pack(pack) => {
                let seek = |rank: usize| pack.seek(2 * rank as isize);
                let (front, back) = match ranks.len() {
                    0 => (None, None),
                    _ => (seek(ranks.start), seek(ranks.end - 1)),
                };
                Iter(Cursor::Pack { pack, front, back, left: ranks.len() })
            }
            Form::Large(large) => Iter(Cursor::Large(large.range(ranks))),
        }
    }

    /// Whether all members have the same score.
    pub fn has_one_score(&self) -> bool {
        let score = |rank| self.get(rank).map(|(_, score)| score);
        score(0) == score(self.len().saturating_sub(1))
    }

    /// The places of the members whose scores are in a range.
    pub fn score_range(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.partition_scores(|score| !range.reaches(score));
        let end = self.partition_scores(|score| !range.is_passed(score));
        start..end.max(start)
    }

    /// The places of the members that are in a range of byte strings; only if all scores are the same does that make
    /// sense.
    pub fn lex_range(&self, range: &LexRange<'_>) -> Range<usize> {
        let start = self.partition_members(|member| !range.reaches(member));
        let end = self.partition_members(|member| !range.is_passed(member));
        start..end.max(start)
    }

    fn partition_scores(&self, is_before: impl Fn(f64) -> bool) -> usize {
        match &self.0 {
            Form::Pack(_) => self.iter().take_while(|&(_, score)| is_before(score)).count(),
            Form::Large(large) => large.partition_scores(is_before),
        }
    }

    fn partition_members(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        match &self.0 {
            Form::Pack(_) => self.iter().take_while(|(member, _)| member.with_bytes(&is_before)).count(),
            Form::Large(large) => large.partition_members(is_before),
        }
    }

    /// Makes room for about `expected` more members: a compact one that would outgrow its encoding changes it now.
    pub fn expect(&mut self, expected: usize, thresholds: Thresholds) {
        if expected > thresholds.entries && matches!(self.0, Form::Pack(_)) {
            self.grow_large(thresholds.seed);
        }
    }

    /// Gives a member a score; returns the score it had.
    pub fn insert(&mut self, member: &[u8], score: f64, thresholds: Thresholds) -> Option<f64> {
        let Ok((old, _)) = self.update(member, Some(score), thresholds, |_| Ok::<_, Infallible>(Some(score)));
        old
    }

    /// Gives a member the score that `decide` makes of the one it has, if it makes one; returns both. The member is
    /// looked up once, and faster if that score is the `likely` one.
    ///
    /// # Errors
    /// What `decide` says; nothing is changed then.
    pub fn update<E>(
        &mut self,
        member: &[u8],
        likely: Option<f64>,
        thresholds: Thresholds,
        decide: impl FnOnce(Option<f64>) -> Result<Option<f64>, E>,
    ) -> Result<(Option<f64>, Option<f64>), E> {
        let (old, new) = match &mut self.0 {
            Form::Pack(pack) => {
                let at = pack.find(pack.first(), member, 2);
                let old = at.map(|at| score_behind(pack, at));
                let new = decide(old)?;
                if let Some(score) = new.filter(|_| new != old) {
                    self.set_packed(at, member, score, thresholds);
                }
                (old, new)
            }
            Form::Large(large) => {
                let look = large.look(member, likely);
                let old = look.score();
                let new = decide(old)?;
                if let Some(score) = new.filter(|_| new != old) {
                    Arc::make_mut(large).set(look, score, member);
                }
                (old, new)
            }
        };
        Ok((old, new))
    }

    /// Gives a member, found in the listpack or not there, a score that it has not.
    fn set_packed(&mut self, at: Option<At>, member: &[u8], score: f64, thresholds: Thresholds) {
        let Form::Pack(pack) = &mut self.0 else { return };
        let fits = pack.len() / 2 < thresholds.entries && member.len() <= thresholds.value_bytes;
        let added_bytes = if at.is_none() { member.len() } else { 0 };
        let has_room = pack.len_bytes().saturating_add(added_bytes) <= listpack::BYTES_MAX;
        if !has_room || at.is_none() && !fits {
            self.grow_large(thresholds.seed);
            self.insert(member, score, thresholds);
            return;
        }
        if let Some(at) = at {
            pack.remove(at, 2);
        }
        pack_insert(pack, member, score);
    }

    /// Removes a member; returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Pack(pack) => {
                let at = pack.find(pack.first(), member, 2)?;
                let score = score_behind(pack, at);
                pack.remove(at, 2);
                Some(score)
            }
            Form::Large(large) => Arc::make_mut(large).remove(member),
        }
    }

    /// Removes the members at a range of places.
    ///
    /// # Panics
    /// If the range ends past the end.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        assert!(ranks.end <= self.len(), "remove {ranks:?} of {}", self.len());
        if ranks.is_empty() {
            return;
        }
        match &mut self.0 {
            Form::Pack(pack) => {
                if let Some(at) = pack.seek(2 * ranks.start as isize) {
                    pack.remove(at, 2 * ranks.len());
                }
            }
            Form::Large(large) => Arc::make_mut(large).remove_range(ranks),
        }
    }

    fn grow_large(&mut self, seed: HashSeed) {
        *self = ZSet::large(self.iter(), seed);
    }
}

/// What a listpack takes at most beside a member: both elements' frames, and the score as text.
const SCORE_BYTES: usize = 48;

/// The score that follows a member.
fn score_behind(pack: &Listpack, member: At) -> f64 {
    match pack.next(member).map(|at| pack.get(at)) {
        Some(Element::Int(score)) => score as f64,
        Some(Element::Bytes(text)) => number::parse_f64(text).unwrap_or(0.0),
        None => 0.0,
    }
}

/// A score as a listpack holds it; negative zero becomes zero there, as in Redis.
fn packed_score(score: f64) -> number::Text {
    number::format_f64(score + 0.0)
}

/// Puts a member that is not there at its place.
fn pack_insert(pack: &mut Listpack, member: &[u8], score: f64) {
    let is_behind = |place: At| {
        let own_score = score_behind(pack, place);
        pack.get(place).with_bytes(|own| compare((own_score, own), (score, member)).is_gt())
    };
    let place = pack.places().step_by(2).find(|&place| is_behind(place));
    pack.insert_pair(place, member, packed_score(score).as_bytes());
}

/// Iterates over members in order.
#[derive(Debug, Clone)]
pub struct Iter<'a>(Cursor<'a>);

#[derive(Debug, Clone)]
enum Cursor<'a> {
    /// The places of the members next from the front and from the back, while any are left.
    Pack {
        pack: &'a Listpack,
        front: Option<At>,
        back: Option<At>,
        left: usize,
    },
    Large(large::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Cursor::Large(iter) => iter.next(),
            Cursor::Pack { pack, front, left, .. } => {
                *left = left.checked_sub(1)?;
                let at = (*front)?;
                *front = pack.next(at).and_then(|score| pack.next(score));
                Some((pack.get(at), score_behind(pack, at)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Cursor::Pack { left, .. } => *left,
            Cursor::Large(iter) => iter.len(),
        };
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Cursor::Large(iter) => iter.next_back(),
            Cursor::Pack { pack, back, left, .. } => {
                *left = left.checked_sub(1)?;
                let at = (*back)?;
                *back = pack.prev(at).and_then(|score| pack.prev(score));
                Some((pack.get(at), score_behind(pack, at)))
            }
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// A range of scores; a bound is part of it unless it is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    /// The lower bound.
    pub min: f64,
    /// The upper bound.
    pub max: f64,
    /// Whether the lower bound is left out.
    pub min_open: bool,
    /// Whether the upper bound is left out.
    pub max_open: bool,
}

impl ScoreRange {
    fn reaches(&self, score: f64) -> bool {
        if self.min_open { score > self.min } else { score >= self.min }
    }

    fn is_passed(&self, score: f64) -> bool {
        if self.max_open { score >= self.max } else { score > self.max }
    }
}

/// A bound of a range of byte strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all strings: `-`.
    Lowest,
    /// Behind all strings: `+`.
    Highest,
    /// This string, part of the range: `[abc`.
    Closed(&'a [u8]),
    /// This string, not part of the range: `(abc`.
    Open(&'a [u8]),
}

/// A range of byte strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The lower bound.
    pub min: LexBound<'a>,
    /// The upper bound.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    fn reaches(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Closed(min) => member >= min,
            LexBound::Open(min) => member > min,
        }
    }

    fn is_passed(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Closed(max) => member > max,
            LexBound::Open(max) => member >= max,
        }
    }
}

#[cfg(test)]
mod tests;
