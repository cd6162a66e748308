//! One database: keys, their values, and when they expire.
//!
//! The expire index holds, for each segment of the table that has a time in it, the earliest one and the segment; the
//! key is looked for among the segment's records. So active expiry takes the keys that are due, in order, and never
//! samples, and the index costs less than a byte to a key. An indexed time may be too early (its key was removed, or
//! was given another time), never too late: it is corrected when it is due.

use std::collections::BTreeSet;

use crate::access::Access;
use crate::entry::{Entry, NEVER, stored_time};
use crate::table::place::place_of;
use crate::table::{HashSeed, Packed, Segment};
use crate::value::New;
use crate::{Random, Str, Value};

/// One database. Cloning it is a snapshot of its keys, in O(1); the clone has no expire index of its own, because a
/// reader of a snapshot finds each key's time in its [`Entry`].
#[derive(Debug)]
pub struct Db {
    table: Packed,
    /// The earliest time in a segment, and the segment.
    due: BTreeSet<(i64, usize)>,
    /// Number of keys with a time to live.
    expires: usize,
}

impl Clone for Db {
    fn clone(&self) -> Self {
        Db { table: self.table.clone(), due: BTreeSet::new(), expires: self.expires }
    }
}

/// What became of a value that was to be stored.
#[derive(Debug)]
pub(crate) enum Stored {
    /// Its key is new.
    Added,
    /// It replaced this one, or a short string or an integer.
    Replaced(Option<Value>),
    /// Its key was there.
    Refused,
}

/// Where active expiry stands.
#[derive(Debug)]
pub(crate) enum Due {
    /// This key is due, and none before it.
    Key(u64, Str),
    /// An indexed time was too early: look again.
    Corrected,
    /// Nothing is due.
    Nothing,
}

impl Db {
    /// An empty database.
    pub fn new(seed: HashSeed) -> Self {
        Db { table: Packed::new(seed), due: BTreeSet::new(), expires: 0 }
    }

    /// Number of keys, expired ones that nobody has met yet among them.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys with a time to live.
    pub fn expires_len(&self) -> usize {
        self.expires
    }

    /// Number of segments with a key that expires.
    pub(crate) fn due_len(&self) -> usize {
        self.due.len()
    }

    /// The table, for iteration: SCAN, KEYS, RANDOMKEY, the rewrite.
    pub fn table(&self) -> &Packed {
        &self.table
    }

    /// Gives the table away, for a snapshot's reader that consumes it.
    pub fn into_table(self) -> Packed {
        self.table
    }

    /// Makes room for keys that are expected, ahead of them: a segment that is split while it is nearly empty is split
    /// cheaply. `coming` of them are certain; beyond, an expectation may be wrong, so there is never room for more than
    /// sixteen times the keys that are there or certain if a file announces them, and four times if none is certain and
    /// all is guessed.
    pub fn expect(&mut self, keys: usize, coming: usize) {
        let certain = self.len() + coming;
        let is_full = certain + certain / 4 > self.table.capacity();
        let times = if coming == 0 { 4 } else { 16 };
        let keys = keys.clamp(certain, certain.saturating_mul(times));
        while is_full && self.table.capacity() < keys {
            self.grow();
        }
    }

    /// Prepares for many writes, during which nobody takes a snapshot.
    pub(crate) fn start_loading(&mut self) {
        self.table.flatten();
    }

    /// Is like any other again, and gives back room that was expected to be needed.
    pub(crate) fn end_loading(&mut self) {
        let is_roomy = self.table.capacity() > self.len() + self.len() / 4;
        while is_roomy && self.table.has_spare_segment() {
            self.shrink();
        }
        self.table.group();
    }

    #[inline]
    pub(crate) fn has_expires(&self) -> bool {
        self.expires > 0
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        self.table.find(hash, key)
    }

    /// A key's value, as its own or shared.
    pub(crate) fn value(&self, hash: u64, key: &[u8]) -> Option<Value> {
        let (index, slot) = self.table.seek(hash, key)?;
        Some(self.table.segment(index)?.to_value(slot))
    }

    /// A key's value, to be changed in place: `None` without the key, `Some(None)` for a short string or an integer,
    /// which can only be replaced.
    pub(crate) fn value_mut(
        &mut self,
        hash: u64,
        key: &[u8],
        access: Option<Access>,
    ) -> Option<Option<&mut Value>> {
        let (index, slot) = self.table.seek(hash, key)?;
        let segment = self.table.segment_mut(index)?;
        if let Some(access) = access {
            segment.touch(slot, access);
        }
        Some(segment.value_mut(slot))
    }

    /// Stores a value under a key; returns the value it replaced, unless that was a short string or an integer.
    #[inline]
    pub(crate) fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        value: New<'_>,
        expire_at_ms: Option<i64>,
        access: Access,
    ) -> Option<Value> {
        match self.store(hash, key, value, expire_at_ms, access, true) {
            Stored::Replaced(old) => old,
            Stored::Added | Stored::Refused => None,
        }
    }

    /// The same; without `replace` a key that is there stays as it is.
    pub(crate) fn store(
        &mut self,
        hash: u64,
        key: &[u8],
        value: New<'_>,
        expire_at_ms: Option<i64>,
        access: Access,
        replace: bool,
    ) -> Stored {
        let at = stored_time(expire_at_ms);
        let index = self.table.index(hash);
        let (place, shared_bits) = (place_of(hash), self.table.shared_bits(index));
        let Some(segment) = self.table.segment_mut(index) else { return Stored::Refused };
        let indexed = segment.due_ms();
        match segment.seek(place, shared_bits, key) {
            Err(slot) => {
                segment.insert(slot, place, key, value, at, access.first());
                self.reindex(index, indexed, NEVER, at);
                if self.table.count_added() {
                    self.grow();
                }
                Stored::Added
            }
            Ok(_) if !replace => Stored::Refused,
            Ok(slot) => {
                let entry = segment.entry(slot);
                entry.touch(access);
                let before = entry.expire_at_ms;
                let old = segment.replace(slot, value, at);
                self.reindex(index, indexed, before, at);
                Stored::Replaced(old)
            }
        }
    }

    /// Stores a short string or an integer in another form, by which nothing else of its key changes.
    pub(crate) fn restate(&mut self, hash: u64, key: &[u8], value: New<'_>) {
        let Some((index, slot)) = self.table.seek(hash, key) else { return };
        let Some(segment) = self.table.segment_mut(index) else { return };
        let at = segment.entry(slot).expire_at_ms;
        segment.replace(slot, value, at);
    }

    /// Removes a key; returns its value (`None` for a short string or an integer) and when it would have expired.
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<(Option<Value>, Option<i64>)> {
        let (index, slot) = self.table.seek(hash, key)?;
        let (value, at) = self.table.segment_mut(index)?.remove(slot);
        self.expires -= usize::from(at != NEVER);
        if self.table.count_removed() {
            self.shrink();
        }
        Some((value, (at != NEVER).then_some(at)))
    }

    /// As [`remove`](Self::remove), for the sake of the memory.
    pub(crate) fn evict(&mut self, hash: u64, key: &[u8]) -> Option<(Option<Value>, Option<i64>)> {
        let removed = self.remove(hash, key)?;
        if let Some(segment) = self.table.segment_mut(self.table.index(hash)) {
            segment.tighten();
        }
        Some(removed)
    }

    /// Some keys by chance, perhaps fewer than `count`; `volatile_only`: of those that expire. There are none only if
    /// there is no such key.
    pub(crate) fn sample(
        &mut self,
        volatile_only: bool,
        count: usize,
        random: &mut Random,
    ) -> Vec<Entry<'_>> {
        if volatile_only && self.expires == 0 {
            return Vec::new();
        }
        // By a hash, since a segment that is yet to be split has twice as many keys.
        let mut first = self.table.index(random.next_u64());
        // Those that expire may be few among many: then the index knows where they are.
        if volatile_only && self.sample_from(first, true, 1, random).is_empty() {
            first = self.volatile_segment(random).unwrap_or(first);
        }
        self.sample_from(first, volatile_only, count, random)
    }

    /// The same, from one segment on.
    fn sample_from(
        &self,
        first: usize,
        volatile_only: bool,
        count: usize,
        random: &mut Random,
    ) -> Vec<Entry<'_>> {
        /// A sample costs no more cache misses, whatever it finds.
        const SEGMENTS: usize = 32;
        let segments = self.table.segments_len();
        let visited =
            (first..first + SEGMENTS.min(segments)).filter_map(|at| self.table.segment(at % segments));
        let eligible = visited.filter(|segment| !volatile_only || segment.due_ms() != NEVER);
        let entries = eligible.flat_map(|segment| segment.entries_from(random.below(segment.records())));
        entries.filter(|entry| !volatile_only || entry.expire_at_ms != NEVER).take(count).collect()
    }

    /// A segment with a key that expires, among those that are due first.
    fn volatile_segment(&mut self, random: &mut Random) -> Option<usize> {
        const FIRST: usize = 256;
        loop {
            let at = random.below(self.due.len().min(FIRST));
            let &(indexed, index) = self.due.iter().nth(at)?;
            let due_ms = self.table.segment(index)?.find_due().map_or(NEVER, |entry| entry.expire_at_ms);
            self.move_due(index, indexed, due_ms);
            if due_ms != NEVER {
                return Some(index);
            }
        }
    }

    /// The key that expires first, and when.
    pub(crate) fn first_to_expire(&mut self) -> Option<(i64, Str)> {
        loop {
            match self.first_due(NEVER) {
                Due::Key(hash, key) => return Some((self.find(hash, &key)?.expire_at_ms, key)),
                Due::Corrected => {}
                Due::Nothing => return None,
            }
        }
    }

    /// Sets or clears a key's time to live; false if the key is not there.
    pub(crate) fn set_expire(&mut self, hash: u64, key: &[u8], expire_at_ms: Option<i64>) -> bool {
        let at = stored_time(expire_at_ms);
        let Some((index, slot)) = self.table.seek(hash, key) else { return false };
        let Some(segment) = self.table.segment_mut(index) else { return false };
        let indexed = segment.due_ms();
        let before = segment.set_expire(slot, at);
        self.reindex(index, indexed, before, at);
        true
    }

    /// Looks for the key that is due first.
    pub(crate) fn first_due(&mut self, now_ms: i64) -> Due {
        let Some(&(indexed, index)) = self.due.first().filter(|(at, _)| *at < now_ms) else {
            return Due::Nothing;
        };
        let Some(segment) = self.table.segment(index) else { return Due::Nothing };
        match segment.find_due() {
            Some(entry) if entry.expire_at_ms == indexed => {
                Due::Key(self.table.seed().hash(entry.key), Str::from(entry.key))
            }
            first => {
                let at = first.map_or(NEVER, |entry| entry.expire_at_ms);
                self.move_due(index, indexed, at);
                Due::Corrected
            }
        }
    }

    /// Some keys' times, of those that expire first and their neighbours, for an average.
    pub(crate) fn expire_times(&self, count: usize) -> impl Iterator<Item = i64> {
        let segments = self.due.iter().filter_map(|&(_, index)| self.table.segment(index));
        segments.flat_map(|segment| segment.expire_times()).take(count)
    }

    /// A key's time was `before` and is `after`; the earliest in its segment was `indexed`.
    #[inline]
    fn reindex(&mut self, index: usize, indexed: i64, before: i64, after: i64) {
        if before == after {
            return;
        }
        self.expires = self.expires + usize::from(after != NEVER) - usize::from(before != NEVER);
        if after < indexed {
            self.move_due(index, indexed, after);
        }
    }

    /// The earliest time in a segment is `after`, and no longer `before`.
    fn move_due(&mut self, index: usize, before: i64, after: i64) {
        if before != NEVER {
            self.due.remove(&(before, index));
        }
        if after != NEVER {
            self.due.insert((after, index));
        }
    }

    fn due_ms(&self, index: usize) -> i64 {
        self.table.segment(index).map_or(NEVER, |segment| segment.due_ms())
    }

    fn grow(&mut self) {
        let (parent, child) = self.table.splitting();
        let before = self.due_ms(parent);
        self.table.grow();
        self.move_due(parent, before, self.due_ms(parent));
        self.move_due(child, NEVER, self.due_ms(child));
    }

    fn shrink(&mut self) {
        let (parent, child) = self.table.melting();
        let before = self.due_ms(parent);
        self.move_due(child, self.due_ms(child), NEVER);
        self.table.shrink();
        self.move_due(parent, before, self.due_ms(parent));
    }
}
