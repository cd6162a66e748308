//! One database: keys, their values, and when they expire.
//!
//! The expire index holds `(expire_at_ms, hash)` and no key: the table finds the entry by hash and time. So active
//! expiry takes the keys that are due, in order, and never samples.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::table::{HashSeed, Record, Segmented, Table};
use crate::types::string::copied;
use crate::{Str, Value};

/// A key, its value and its bookkeeping.
#[derive(Debug)]
pub struct Entry {
    key: Str,
    value: Value,
    /// [`NEVER`] without a time to live.
    expire_at_ms: i64,
    /// Seconds (of the wall clock, modulo 2^32) of the last access. Readers refresh it even where the segment is
    /// shared with a snapshot, so that a GET during a rewrite copies nothing.
    accessed_s: AtomicU32,
}

/// Stands for "no time to live"; a time as late as this is stored one millisecond earlier.
const NEVER: i64 = i64::MAX;

fn stored_time(expire_at_ms: Option<i64>) -> i64 {
    expire_at_ms.map_or(NEVER, |at| at.min(NEVER - 1))
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        Entry {
            key: self.key.clone(),
            value: self.value.clone(),
            expire_at_ms: self.expire_at_ms,
            accessed_s: AtomicU32::new(self.accessed_s.load(Relaxed)),
        }
    }
}

impl Record for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Entry {
    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn key_str(&self) -> &Str {
        &self.key
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value, to be changed in place.
    #[inline]
    pub(crate) fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    /// When the key expires, milliseconds since 1970.
    #[inline]
    pub fn expire_at_ms(&self) -> Option<i64> {
        (self.expire_at_ms != NEVER).then_some(self.expire_at_ms)
    }

    /// Whether its time is over.
    #[inline]
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.expire_at_ms < now_ms
    }

    /// Notes an access.
    #[inline]
    pub(crate) fn touch(&self, now_ms: i64) {
        self.accessed_s.store(seconds(now_ms), Relaxed);
    }

    /// Seconds since the last access.
    pub fn idle_s(&self, now_ms: i64) -> u32 {
        seconds(now_ms).wrapping_sub(self.accessed_s.load(Relaxed))
    }
}

fn seconds(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32
}

/// One database. Cloning it is a snapshot of its keys, in O(1); the clone has no expire index of its own, because a
/// reader of a snapshot finds each key's time in its [`Entry`].
#[derive(Debug)]
pub struct Db {
    table: Segmented<Entry>,
    expires: BTreeSet<(i64, u64)>,
}

impl Clone for Db {
    fn clone(&self) -> Self {
        Db { table: self.table.clone(), expires: BTreeSet::new() }
    }
}

impl Db {
    /// An empty database.
    pub fn new(seed: HashSeed) -> Self {
        Db { table: Segmented::new(seed), expires: BTreeSet::new() }
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
        self.expires.len()
    }

    /// The table, for iteration: SCAN, KEYS, RANDOMKEY, the rewrite.
    pub fn table(&self) -> &Segmented<Entry> {
        &self.table
    }

    /// Gives the table away, for a snapshot's reader that consumes it.
    pub fn into_table(self) -> Segmented<Entry> {
        self.table
    }

    #[inline]
    pub(crate) fn has_expires(&self) -> bool {
        !self.expires.is_empty()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, |entry| &entry.key[..] == key)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        self.table.find_mut(hash, |entry| &entry.key[..] == key)
    }

    /// Stores a value under a key; returns the value it replaced.
    pub(crate) fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Value,
        expire_at_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<Value> {
        let at = stored_time(expire_at_ms);
        if let Some(entry) = self.table.find_mut(hash, |entry| &entry.key[..] == key) {
            let before = std::mem::replace(&mut entry.expire_at_ms, at);
            let old = std::mem::replace(&mut entry.value, value);
            entry.touch(now_ms);
            self.reindex(hash, before, at);
            return Some(old);
        }
        let accessed_s = AtomicU32::new(seconds(now_ms));
        self.table.insert(hash, Entry { key: copied(key), value, expire_at_ms: at, accessed_s });
        self.reindex(hash, NEVER, at);
        None
    }

    /// Removes a key; returns its value and when it would have expired.
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<(Value, Option<i64>)> {
        let entry = self.table.remove(hash, |entry| &entry.key[..] == key)?;
        self.reindex(hash, entry.expire_at_ms, NEVER);
        let at = entry.expire_at_ms();
        Some((entry.value, at))
    }

    /// Sets or clears a key's time to live; false if the key is not there.
    pub(crate) fn set_expire(&mut self, hash: u64, key: &[u8], expire_at_ms: Option<i64>) -> bool {
        let at = stored_time(expire_at_ms);
        let Some(entry) = self.find_mut(hash, key) else { return false };
        let before = std::mem::replace(&mut entry.expire_at_ms, at);
        self.reindex(hash, before, at);
        true
    }

    /// The key that is due first, if it is due: its hash and the key.
    pub(crate) fn first_due(&self, now_ms: i64) -> Option<(u64, Str)> {
        let &(at, hash) = self.expires.first().filter(|(at, _)| *at < now_ms)?;
        self.table.find(hash, |entry| entry.expire_at_ms == at).map(|entry| (hash, entry.key.clone()))
    }

    /// The next `count` times in the expire index, for an average.
    pub(crate) fn expire_times(&self, count: usize) -> impl Iterator<Item = i64> {
        self.expires.iter().take(count).map(|&(at, _)| at)
    }

    #[inline]
    fn reindex(&mut self, hash: u64, before: i64, after: i64) {
        if before == after {
            return;
        }
        if before != NEVER {
            self.expires.remove(&(before, hash));
        }
        if after != NEVER {
            self.expires.insert((after, hash));
        }
    }
}
