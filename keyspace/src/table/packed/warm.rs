//! Reading ahead of writes, for several keys at once and step by step: the cache misses of a step overlap, which those of
//! writers, with their locked instructions and branches, do not.

use std::hint::black_box;

use triomphe::Arc;

use super::{Arena, Note, Packed, handle_in};
use crate::Value;
use crate::table::block::Block;
use crate::table::place::{guess, place_of};

/// Hashes that are best warmed at once.
pub(crate) const WARMED: usize = 32;

/// A line of the cache.
const LINE_BYTES: usize = 64;

/// So many of a small collection are read: few are longer.
const WARMED_LINES: usize = 8;

/// A segment, and what looks for a record there: its place, and in how many upper bits all places agree.
type Way<'a, N> = (&'a Arena<N>, u32, u32);

/// The block of a record, and where it is there; without the record, the one where it would be added.
type Found<'a, N> = (&'a Arena<N>, &'a Block, Option<u16>);

impl<N: Note> Packed<N> {
    /// Reads what finding these hashes, or adding them, will read, and what changing a small collection there will.
    pub(crate) fn warm(&self, hashes: &[u64]) {
        for hashes in hashes.chunks(WARMED) {
            let ways = each(hashes.iter(), |&hash| self.way(hash));
            read(&ways, |(arena, ..)| arena.lines());
            read(&ways, guessed_slot);
            let records = each(ways.iter().flatten(), |&way| found(way));
            read(&records, |(_, block, _)| block.len());
            read(&records, |(_, block, at)| block.byte(at.map_or(block.len(), usize::from)).into());
            let values = each(records.iter().flatten(), |&record| value(record));
            read(&values, |value| value.is_some().into());
            read(&values, lines);
        }
    }

    #[inline]
    fn way(&self, hash: u64) -> Option<Way<'_, N>> {
        let index = self.index(hash);
        Some((self.segment(index)?, place_of(hash), self.shared_bits(index)))
    }
}

impl<N> Arena<N> {
    /// Reads all lines of its own.
    #[inline]
    fn lines(&self) -> usize {
        let last_block = self.blocks.last().map_or(0, |block| Arc::as_ptr(block) as usize);
        self.slots.len() ^ last_block ^ self.values.end() ^ self.len_bytes as usize
    }
}

#[inline]
fn guessed_slot<N>((arena, place, shared_bits): Way<'_, N>) -> usize {
    let slot = arena.slots.get(guess(arena.slots.len(), place, shared_bits));
    slot.map_or(0, |slot| slot.place as usize)
}

#[inline]
fn found<N: Note>((arena, place, shared_bits): Way<'_, N>) -> Option<Found<'_, N>> {
    let slot = arena.slots.get(arena.lower_bound(place, shared_bits));
    let (block, at) = match slot.filter(|slot| slot.place == place) {
        Some(slot) => (arena.blocks.get(usize::from(slot.block))?, Some(slot.at)),
        None => (arena.blocks.last()?, None),
    };
    Some((arena, &**block, at))
}

#[inline]
fn value<N>((arena, block, at): Found<'_, N>) -> Option<&Option<Value>> {
    arena.values.place(handle_in(block.from(at?))?)
}

/// Reads the lines of a small collection.
#[inline]
fn lines(value: &Option<Value>) -> usize {
    let bytes = value.as_ref().and_then(Value::compact).unwrap_or_default();
    bytes.iter().step_by(LINE_BYTES).take(WARMED_LINES).fold(0, |sum, &byte| sum ^ usize::from(byte))
}

/// Takes a step from each of some things.
#[inline]
fn each<T, U: Copy>(things: impl Iterator<Item = T>, step: impl Fn(T) -> Option<U>) -> [Option<U>; WARMED] {
    let mut reached = [None; WARMED];
    for (reached, thing) in reached.iter_mut().zip(things) {
        *reached = step(thing);
    }
    reached
}

/// Reads something of each. What that is does not matter, so the compiler must not know.
#[inline]
fn read<T: Copy>(things: &[Option<T>; WARMED], of: impl Fn(T) -> usize) {
    black_box(things.iter().flatten().fold(0, |sum, &thing| sum ^ of(thing)));
}
