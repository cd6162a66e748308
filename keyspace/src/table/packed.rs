//! Records packed into blocks of bytes: what keys, hash fields and set members stand in. A segment is
//!
//! ```text
//! slots    one to a record, by place: place u32, block u16, at u16, and a key's last access, u32
//! blocks   the records, each in one block, without gaps
//! values   what is no short string, and keys that are none, on shelves
//! ```
//! No record has an allocation or a count of its own. The first write to a segment after a snapshot copies the slots
//! and one block; the other blocks stay shared until they are written to. All blocks are of one size: with one growing
//! vector instead the allocator held 97 bytes for a key of 16 and a value of 32, since segments outgrow its sizes
//! together and leave each behind half used.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use smallvec::SmallVec;
use triomphe::Arc;

use self::record::{FORM, FRAME_BYTES, HANDLE, Head, INT, LONG_KEY, Piece, Tail, i64_of, index_of};
use self::values::Values;
use super::block::{BLOCK_BYTES, Block};
use super::place::{cursor_of, lower_bound, place_of};
use super::spine::{Segment, Spine, clone_all};
use super::{HashSeed, Table};
use crate::access::Access;
use crate::entry::{Entry, NEVER};
use crate::room::{reserve, reserve_next, roomy, trim};
use crate::types::string::copied;
use crate::value::New;
use crate::{Random, Value, ValueRef};

mod record;
mod values;
mod warm;

pub(crate) use self::record::PACKED_MAX_BYTES;
pub(crate) use self::warm::WARMED;

/// A table of packed records: a database's, of which each notes its last access.
pub type Packed<N = AtomicU32> = Spine<Arena<N>>;

/// The same of what has no time to live and notes nothing: fields, or members.
pub type Fields = Packed<()>;

/// A segment.
#[derive(Debug)]
pub struct Arena<N = AtomicU32> {
    slots: Vec<Slot<N>>,
    blocks: SmallVec<[Arc<Block>; BLOCKS]>,
    values: Values,
    /// No block but the last has more room than this.
    gap_bytes: u16,
    /// Bytes of all records.
    len_bytes: u32,
    /// No record expires before this. It may be too early, after one was removed.
    due_ms: AtomicI64,
}

/// So many blocks a segment has room for in itself: what 130 records of some fifty bytes take.
const BLOCKS: usize = 11;

/// What a slot notes of how its record is used.
pub trait Note: std::fmt::Debug {
    /// A new record's note; see `crate::access`.
    fn new(access: u32) -> Self;

    /// The last access, if that is noted.
    fn access(&self) -> Option<&AtomicU32>;
}

impl Note for AtomicU32 {
    #[inline]
    fn new(access: u32) -> Self {
        AtomicU32::new(access)
    }

    #[inline]
    fn access(&self) -> Option<&AtomicU32> {
        Some(self)
    }
}

impl Note for () {
    #[inline]
    fn new(_: u32) {}

    #[inline]
    fn access(&self) -> Option<&AtomicU32> {
        None
    }
}

#[derive(Debug)]
struct Slot<N> {
    place: u32,
    block: u16,
    at: u16,
    note: N,
}

/// What a key takes beside its bytes, its value and its time.
pub(crate) const RECORD_BYTES: usize = size_of::<Slot<AtomicU32>>() + FRAME_BYTES;

impl<N: Note> Arena<N> {
    /// Up to so many records, half of what a segment has on average, vectors double: a segment with fewer will hardly stay
    /// there, and each time that it grows costs as much as an insertion.
    const FEW: usize = Self::MEAN_RECORDS / 2;

    /// Finds a record. `shared_bits`: in so many upper bits all places here agree.
    #[inline]
    pub(crate) fn find(&self, place: u32, shared_bits: u32, key: &[u8]) -> Option<usize> {
        self.seek(place, shared_bits, key).ok()
    }

    /// As [`find`](Self::find); without the record, where it would have to be inserted.
    #[inline]
    pub(crate) fn seek(&self, place: u32, shared_bits: u32, key: &[u8]) -> Result<usize, usize> {
        let mut index = self.lower_bound(place, shared_bits);
        while let Some(slot) = self.slots.get(index).filter(|slot| slot.place == place) {
            if self.key(slot) == key {
                return Ok(index);
            }
            index += 1;
        }
        Err(index)
    }

    /// The first slot whose place is not before `place`.
    #[inline]
    fn lower_bound(&self, place: u32, shared_bits: u32) -> usize {
        lower_bound(&self.slots, |slot| slot.place, place, shared_bits)
    }

    /// A record, and what is behind it.
    #[inline]
    fn record(&self, slot: &Slot<N>) -> &[u8] {
        self.blocks[usize::from(slot.block)].from(slot.at)
    }

    fn head(&self, slot: &Slot<N>) -> Head {
        Head::of(self.record(slot))
    }

    #[inline]
    fn key(&self, slot: &Slot<N>) -> &[u8] {
        let record = self.record(slot);
        let head = Head::of(record);
        let key = head.key(record);
        if head.flags & LONG_KEY == 0 { key } else { self.long_key(key) }
    }

    #[cold]
    fn long_key(&self, handle: &[u8]) -> &[u8] {
        match self.value(handle) {
            Some(Value::Str(key)) => key,
            _ => &[],
        }
    }

    fn value(&self, handle: &[u8]) -> Option<&Value> {
        self.values.get(index_of(handle))
    }

    fn expire_at_ms(&self, slot: &Slot<N>) -> i64 {
        let record = self.record(slot);
        Head::of(record).expire_at_ms(record)
    }

    /// A record.
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry<'_> {
        self.entry_of(&self.slots[index])
    }

    #[inline]
    fn entry_of<'a>(&'a self, slot: &'a Slot<N>) -> Entry<'a> {
        let record = self.record(slot);
        let head = Head::of(record);
        let value = head.value(record);
        let value = match head.flags & FORM {
            INT => ValueRef::Int(i64_of(value)),
            HANDLE => self.value(value).map_or(ValueRef::Str(&[]), Value::view),
            _ => ValueRef::Str(value),
        };
        let expire_at_ms = head.expire_at_ms(record);
        Entry { key: self.key(slot), value, expire_at_ms, access: slot.note.access() }
    }

    /// Notes an access.
    #[inline]
    pub(crate) fn touch(&self, index: usize, access: Access) {
        if let Some(noted) = self.slots[index].note.access() {
            access.note(noted);
        }
    }

    /// A record's value, if it does not stand in a block.
    pub(crate) fn value_mut(&mut self, index: usize) -> Option<&mut Value> {
        let handle = self.handle(&self.slots[index])?;
        self.values.get_mut(handle)
    }

    /// A record's value, shared where it does not stand in a block.
    pub(crate) fn to_value(&self, index: usize) -> Value {
        let slot = &self.slots[index];
        let shared = self.handle(slot).and_then(|handle| self.values.get(handle).cloned());
        shared.unwrap_or_else(|| self.entry_of(slot).value.to_value())
    }

    /// The index of a record's value among the values.
    fn handle(&self, slot: &Slot<N>) -> Option<usize> {
        handle_in(self.record(slot))
    }

    /// Adds a record whose key is not there yet, at the index that [`seek`](Self::seek) said.
    pub(crate) fn insert(
        &mut self,
        index: usize,
        place: u32,
        key: &[u8],
        value: New<'_>,
        expire_at_ms: i64,
        access: u32,
    ) {
        let (handle, value) = (self.long(key), self.piece(value));
        let (long_key, key) = handle.as_ref().map_or((0, key), |handle| (LONG_KEY, handle));
        let tail = Tail::new(value.form() | long_key, value.bytes(), expire_at_ms);
        let (block, at, record) = self.append(record::len(key, &tail));
        record::write(record, key, &tail);
        reserve_next(&mut self.slots, Self::FEW);
        self.slots.insert(index, Slot { place, block, at, note: N::new(access) });
        self.note_due(expire_at_ms);
    }

    /// Puts a value and a time in the place of a record's; returns the old value, unless it stood in a block.
    pub(crate) fn replace(&mut self, index: usize, value: New<'_>, expire_at_ms: i64) -> Option<Value> {
        let handle = self.handle(&self.slots[index]);
        let old_value = handle.and_then(|handle| self.values.release(handle));
        let value = self.piece(value);
        let head = self.head(&self.slots[index]);
        let tail = Tail::new(head.flags & LONG_KEY | value.form(), value.bytes(), expire_at_ms);
        self.end_with(index, head.key_end(), &tail);
        self.note_due(expire_at_ms);
        old_value
    }

    /// Sets or takes away a record's time; returns the one before.
    pub(crate) fn set_expire(&mut self, index: usize, expire_at_ms: i64) -> i64 {
        let slot = &self.slots[index];
        let (head, before) = (self.head(slot), self.expire_at_ms(slot));
        self.end_with(index, head.value_end(), &Tail::time(head.flags, expire_at_ms));
        self.note_due(expire_at_ms);
        before
    }

    /// Removes a record; returns its value, unless it stood in a block, and its time.
    pub(crate) fn remove(&mut self, index: usize) -> (Option<Value>, i64) {
        let slot = &self.slots[index];
        let (head, expire_at_ms) = (self.head(slot), self.expire_at_ms(slot));
        let (handle, long_key) = (self.handle(slot), index_of(head.key(self.record(slot))));
        let value = handle.and_then(|handle| self.values.release(handle));
        if head.flags & LONG_KEY != 0 {
            self.values.release(long_key);
        }
        let slot = self.slots.remove(index);
        self.cut(&slot, head.record_len());
        self.tidy();
        trim(&mut self.slots);
        (value, expire_at_ms)
    }

    /// Puts a tail behind the first `kept` bytes of a record, where it is or where there is room.
    fn end_with(&mut self, index: usize, kept: usize, tail: &Tail<'_>) {
        let slot = self.slots[index].clone();
        let (old_len, len) = (self.head(&slot).record_len(), kept + tail.len());
        let block = &self.blocks[usize::from(slot.block)];
        if len > old_len && len - old_len > block.room() {
            let start: SmallVec<[u8; FRAME_BYTES + 2 * PACKED_MAX_BYTES]> =
                SmallVec::from_slice(&self.record(&slot)[..kept]);
            self.cut(&slot, old_len);
            let (block, at, record) = self.append(len);
            record[..kept].copy_from_slice(&start);
            tail.write(record, kept);
            self.slots[index] = Slot { block, at, ..slot };
            self.tidy();
        } else {
            tail.write(self.resize(&slot, old_len, len), kept);
        }
    }

    /// Adds a record of so many bytes, which the caller is to write, to a block with room for it.
    #[inline]
    fn append(&mut self, len: usize) -> (u16, u16, &mut [u8]) {
        let block = match self.blocks.last() {
            Some(last) if len <= last.room() => self.blocks.len() - 1,
            _ => self.find_gap(len).unwrap_or_else(|| self.add_block()),
        };
        self.len_bytes += len as u32;
        let (at, record) = Arc::make_mut(&mut self.blocks[block]).push(len);
        (block as u16, at, record)
    }

    /// A block before the last with room for so many bytes. To look at one is a cache miss, and mostly in vain.
    fn find_gap(&mut self, len: usize) -> Option<usize> {
        if len > usize::from(self.gap_bytes) {
            return None;
        }
        let gap = self.blocks.iter().position(|block| len <= block.room());
        if gap.is_none() {
            self.gap_bytes = len as u16 - 1;
        }
        gap
    }

    /// Opens a block; the last one will hardly be written to again.
    fn add_block(&mut self) -> usize {
        self.note_gap(self.blocks.len().wrapping_sub(1));
        self.blocks.push(Arc::new(Block::new()));
        self.blocks.len() - 1
    }

    /// The room of a block is no longer in the last one, or has grown.
    fn note_gap(&mut self, block: usize) {
        let room = self.blocks.get(block).map_or(0, |block| block.room() as u16);
        self.gap_bytes = self.gap_bytes.max(room);
    }

    /// Makes a record longer or shorter at its end, and returns it; those behind it move.
    fn resize(&mut self, slot: &Slot<N>, old_len: usize, len: usize) -> &mut [u8] {
        if len != old_len {
            self.len_bytes = self.len_bytes - old_len as u32 + len as u32;
            let behind = |other: &&mut Slot<N>| other.block == slot.block && other.at > slot.at;
            for other in self.slots.iter_mut().filter(behind) {
                other.at = other.at - old_len as u16 + len as u16;
            }
            let room = self.blocks[usize::from(slot.block)].room() + old_len - len;
            self.gap_bytes = self.gap_bytes.max(room as u16);
        }
        Arc::make_mut(&mut self.blocks[usize::from(slot.block)]).resize(slot.at, old_len, len)
    }

    /// Takes a record's bytes away, and their block if it is empty then.
    fn cut(&mut self, slot: &Slot<N>, len: usize) {
        self.resize(slot, len, 0);
        if self.blocks[usize::from(slot.block)].len() > 0 {
            return;
        }
        self.blocks.swap_remove(usize::from(slot.block));
        // What was the last may have come there.
        self.note_gap(usize::from(slot.block));
        let last = self.blocks.len() as u16;
        self.slots.iter_mut().filter(|other| other.block == last).for_each(|other| other.block = slot.block);
    }

    /// Packs the records anew, if their blocks are half empty.
    fn tidy(&mut self) {
        let room = self.blocks.len() * BLOCK_BYTES;
        if self.blocks.len() > 2 && room > 2 * self.len_bytes as usize {
            self.repack();
        }
    }

    /// Gives back what can be given back, which [`remove`](Self::remove) keeps for what comes next: whole blocks, and
    /// the room of slots.
    pub(crate) fn tighten(&mut self) {
        let records = self.slots.len();
        self.slots.shrink_to(roomy::<Slot<N>>(records));
        let Some(mean_bytes) = (self.len_bytes as usize + records).checked_div(records) else { return };
        if records.div_ceil((BLOCK_BYTES / mean_bytes).max(1)) < self.blocks.len() {
            self.repack();
        }
    }

    fn repack(&mut self) {
        let (slots, due_ms) = (std::mem::take(&mut self.slots), self.due_ms());
        *self = self.gather(&slots);
        // Too early perhaps, but what the expire index has.
        self.note_due(due_ms);
    }

    /// The index of a key among the values, where it is too long for the bytes.
    #[inline]
    fn long(&mut self, key: &[u8]) -> Option<[u8; 2]> {
        (key.len() > PACKED_MAX_BYTES).then(|| self.keep(Value::Str(copied(key))))
    }

    /// Finds a form for a value; what is too big for the bytes goes among the values.
    #[inline]
    fn piece<'a>(&mut self, value: New<'a>) -> Piece<'a> {
        let value = match value {
            New::Int(value) => return Piece::Int(value.to_le_bytes()),
            New::Str(bytes) if bytes.len() <= PACKED_MAX_BYTES => return Piece::Str(bytes),
            New::Str(bytes) => Value::Str(copied(bytes)),
            New::Value(Value::Int(value)) => return Piece::Int(value.to_le_bytes()),
            New::Value(Value::Str(bytes)) if bytes.len() <= PACKED_MAX_BYTES => return Piece::Owned(bytes),
            New::Value(value) => value,
        };
        Piece::Handle(self.keep(value))
    }

    /// Puts a value among the values; returns its index, as it stands in a record.
    fn keep(&mut self, value: Value) -> [u8; 2] {
        self.values.keep(value).to_le_bytes()
    }

    /// No record expires before this.
    #[inline]
    pub(crate) fn due_ms(&self) -> i64 {
        self.due_ms.load(Relaxed)
    }

    #[inline]
    fn note_due(&self, expire_at_ms: i64) {
        if expire_at_ms < self.due_ms() {
            self.due_ms.store(expire_at_ms, Relaxed);
        }
    }

    /// Looks for the record that expires first, and corrects [`due_ms`](Self::due_ms): it is the same for a snapshot
    /// that shares the segment.
    pub(crate) fn find_due(&self) -> Option<Entry<'_>> {
        let first = self.slots.iter().min_by_key(|slot| self.expire_at_ms(slot));
        let entry = first.map(|slot| self.entry_of(slot)).filter(|entry| entry.expire_at_ms != NEVER);
        self.due_ms.store(entry.map_or(NEVER, |entry| entry.expire_at_ms), Relaxed);
        entry
    }

    /// All records, from the `first` on and around.
    pub(crate) fn entries_from(&self, first: usize) -> impl Iterator<Item = Entry<'_>> {
        let (before, behind) = self.slots.split_at(first.min(self.slots.len()));
        behind.iter().chain(before).map(|slot| self.entry_of(slot))
    }

    /// The times of all records that have one.
    pub(crate) fn expire_times(&self) -> impl Iterator<Item = i64> {
        self.slots.iter().map(|slot| self.expire_at_ms(slot)).filter(|&at| at != NEVER)
    }

    /// Makes a segment of some of this one's records, which lose their values.
    fn gather(&mut self, slots: &[Slot<N>]) -> Self {
        let mut arena = Arena::default();
        reserve(&mut arena.slots, slots.len());
        slots.iter().for_each(|slot| arena.adopt(slot, self));
        arena
    }

    /// Adds a record of another segment, which loses its values; its place must be behind all others.
    fn adopt(&mut self, slot: &Slot<N>, from: &mut Self) {
        let record = from.record(slot);
        let head = Head::of(record);
        self.note_due(head.expire_at_ms(record));
        let record = &record[..head.record_len()];
        let (block, at, own) = self.append(record.len());
        own.copy_from_slice(record);
        self.slots.push(Slot { block, at, ..slot.clone() });
        for place in head.handles() {
            let handle = index_of(&from.record(slot)[place..]);
            let Some(value) = from.values.take(handle) else { continue };
            let handle = self.keep(value);
            let own = Arc::make_mut(&mut self.blocks[usize::from(block)]).behind_mut(at);
            own[place..][..handle.len()].copy_from_slice(&handle);
        }
    }
}

/// The index of a record's value among the values, if it stands there.
#[inline]
fn handle_in(record: &[u8]) -> Option<usize> {
    let head = Head::of(record);
    (head.flags & FORM == HANDLE).then(|| index_of(head.value(record)))
}

impl<N: Note> Clone for Slot<N> {
    #[inline]
    fn clone(&self) -> Self {
        let access = self.note.access().map_or(0, |access| access.load(Relaxed));
        Slot { note: N::new(access), ..*self }
    }
}

impl<N> Default for Arena<N> {
    fn default() -> Self {
        let due_ms = AtomicI64::new(NEVER);
        Arena {
            slots: Vec::new(),
            blocks: SmallVec::new(),
            values: Values::default(),
            gap_bytes: 0,
            len_bytes: 0,
            due_ms,
        }
    }
}

impl<N: Note> Clone for Arena<N> {
    fn clone(&self) -> Self {
        Arena {
            slots: self.slots.clone(),
            blocks: clone_all(&self.blocks),
            values: self.values.clone(),
            due_ms: AtomicI64::new(self.due_ms()),
            ..*self
        }
    }
}

impl<N: Note> Segment for Arena<N> {
    /// The segment itself and its last block, half empty, are 8 bytes to a record of 64, and 5 to one of 96; but the more
    /// records there are, the more the first write after a snapshot copies.
    const MEAN_RECORDS: usize = 96;

    type Item<'a>
        = Entry<'a>
    where
        N: 'a;

    fn records(&self) -> usize {
        self.slots.len()
    }

    fn heap_bytes(&self) -> usize {
        let list = if self.blocks.spilled() { self.blocks.capacity() } else { 0 };
        self.slots.capacity() * size_of::<Slot<N>>()
            + list * size_of::<Arc<Block>>()
            + self.blocks.len() * (size_of::<Block>() + size_of::<usize>())
            + self.values.heap_bytes()
    }

    fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.slots.iter().map(|slot| self.entry_of(slot))
    }

    fn nth(&self, at: usize) -> Option<Entry<'_>> {
        self.slots.get(at).map(|slot| self.entry_of(slot))
    }

    fn split(&mut self, bit: u32) -> Self {
        let mask = (1u32 << 31).checked_shr(bit).unwrap_or(0);
        let mut old = std::mem::take(self);
        let slots = std::mem::take(&mut old.slots);
        let (stay, go) = slots.split_at(slots.partition_point(|slot| slot.place & mask == 0));
        *self = old.gather(stay);
        old.gather(go)
    }

    fn absorb(&mut self, mut other: Self) {
        let slots = std::mem::take(&mut other.slots);
        reserve(&mut self.slots, slots.len());
        slots.iter().for_each(|slot| self.adopt(slot, &mut other));
    }

    fn scan<'a>(&'a self, from: u64, count: usize, visit: &mut impl FnMut(Entry<'a>)) -> Option<u64> {
        let start = self.slots.partition_point(|slot| cursor_of(slot.place) < from);
        let end = self.slots.len().min(start.saturating_add(count));
        // Those of one place are visited together.
        let last = self.slots[start..end].last();
        let same = |slot: &&Slot<N>| last.is_some_and(|last| last.place == slot.place);
        let end = end + self.slots[end..].iter().take_while(same).count();
        self.slots[start..end].iter().for_each(|slot| visit(self.entry_of(slot)));
        self.slots.get(end).map(|slot| cursor_of(slot.place))
    }
}

impl<N: Note> Packed<N> {
    /// The segment of a hash, and a key's index there.
    #[inline]
    pub(crate) fn seek(&self, hash: u64, key: &[u8]) -> Option<(usize, usize)> {
        let index = self.index(hash);
        Some((index, self.segment(index)?.find(place_of(hash), self.shared_bits(index), key)?))
    }

    /// The record of a key.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        let index = self.index(hash);
        let segment = self.segment(index)?;
        Some(segment.entry(segment.find(place_of(hash), self.shared_bits(index), key)?))
    }
}

/// Where a key that is not there belongs.
#[derive(Debug)]
pub(crate) struct Gap {
    segment: usize,
    slot: usize,
    place: u32,
}

impl Fields {
    /// Where a key belongs; the segment and the slot if it is there.
    #[inline]
    pub(crate) fn gap(&self, hash: u64, key: &[u8]) -> Result<Gap, (usize, usize)> {
        let (segment, place) = (self.index(hash), place_of(hash));
        let found = self.segment(segment).map(|arena| arena.seek(place, self.shared_bits(segment), key));
        match found.unwrap_or(Err(0)) {
            Ok(slot) => Err((segment, slot)),
            Err(slot) => Ok(Gap { segment, slot, place }),
        }
    }

    /// Stores a string under a key that belongs there.
    pub(crate) fn fill(&mut self, gap: Gap, key: &[u8], value: &[u8]) {
        let Some(segment) = self.segment_mut(gap.segment) else { return };
        segment.insert(gap.slot, gap.place, key, New::Str(value), NEVER, 0);
        if self.count_added() {
            self.grow();
        }
    }

    /// Stores a string under a key; whether the key is new.
    pub(crate) fn set(&mut self, hash: u64, key: &[u8], value: &[u8]) -> bool {
        match self.gap(hash, key) {
            Ok(gap) => {
                self.fill(gap, key, value);
                true
            }
            Err((index, slot)) => {
                if let Some(segment) = self.segment_mut(index) {
                    segment.replace(slot, New::Str(value), NEVER);
                }
                false
            }
        }
    }

    /// Removes a key; false if it was not there.
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let Some((index, slot)) = self.seek(hash, key) else { return false };
        let Some(segment) = self.segment_mut(index) else { return false };
        segment.remove(slot);
        if self.count_removed() {
            self.shrink();
        }
        true
    }
}

impl Table for Fields {
    fn new(seed: HashSeed) -> Self {
        Spine::new(seed)
    }

    fn len(&self) -> usize {
        Spine::len(self)
    }

    fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        self.find(hash, key).map(|entry| entry.string())
    }

    fn set(&mut self, hash: u64, key: &[u8], value: &[u8]) -> bool {
        Fields::set(self, hash, key, value)
    }

    fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        Fields::remove(self, hash, key)
    }

    fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(&'a [u8], &'a [u8])) -> u64 {
        Spine::scan(self, cursor, count, |entry| visit(entry.key, entry.string()))
    }

    fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        Spine::random(self, random).map(|entry| (entry.key, entry.string()))
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Spine::iter(self).map(|entry| (entry.key, entry.string()))
    }
}

#[cfg(test)]
mod tests;
