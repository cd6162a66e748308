//! Consumer groups: how far a group has read a stream, who reads for it, and what they have not acknowledged yet.
//!
//! The group's pending entries say whose each is; a consumer has the IDs of its own. Both are counted copy-on-write
//! trees in the order of their keys, so a snapshot shares them.

use std::cmp::Ordering;

use super::StreamId;
use crate::Str;
use crate::types::tree::{Item, Tree};

/// A group of consumers that share a stream's entries.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: Str,
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of the stream, counted from its very first, were delivered; `None` if that cannot be told.
    pub entries_read: Option<u64>,
    pending: Tree<Pending>,
    consumers: Tree<Consumer>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The entry.
    pub id: StreamId,
    /// Who has it.
    pub consumer: Str,
    /// When it was delivered last, milliseconds since 1970.
    pub delivered_at_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Somebody who reads for a group.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// The name.
    pub name: Str,
    /// When it was heard of last, milliseconds since 1970.
    pub seen_at_ms: i64,
    /// When it last got an entry.
    pub active_at_ms: Option<i64>,
    pending: Tree<StreamId>,
}

impl Item for Group {
    type Key = ();

    fn key(&self) {}

    /// How many things are freed with it, roughly.
    fn weight(&self) -> usize {
        1 + self.consumers.len() + self.pending.len()
    }
}

impl Item for Pending {
    type Key = ();

    fn key(&self) {}
}

impl Item for Consumer {
    type Key = ();

    fn key(&self) {}
}

/// The index of an item, or where it would be.
pub(super) fn search<T: Item>(tree: &Tree<T>, compare: impl Fn(&T) -> Ordering) -> Result<usize, usize> {
    let index = tree.partition_point(|item| compare(item).is_lt());
    match tree.get(index) {
        Some(item) if compare(item).is_eq() => Ok(index),
        _ => Err(index),
    }
}

impl Consumer {
    fn new(name: &[u8], now_ms: i64) -> Self {
        Consumer { name: Str::from(name), seen_at_ms: now_ms, active_at_ms: None, pending: Tree::new() }
    }

    /// The entries that it has not acknowledged.
    pub fn pending(&self) -> &Tree<StreamId> {
        &self.pending
    }
}

impl Group {
    /// A group without consumers.
    pub fn new(name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> Self {
        Group { name: Str::from(name), last_id, entries_read, pending: Tree::new(), consumers: Tree::new() }
    }

    /// What was not acknowledged, in the order of the stream.
    pub fn pending(&self) -> &Tree<Pending> {
        &self.pending
    }

    /// The consumers, by name.
    pub fn consumers(&self) -> &Tree<Consumer> {
        &self.consumers
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(self.search_consumer(name).ok()?)
    }

    /// A pending entry.
    pub fn get_pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(self.search_pending(id).ok()?)
    }

    /// The pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = &Pending> {
        let first = self.pending.partition_point(|pending| pending.id < start);
        self.pending.range(first..self.pending.len())
    }

    /// The pending entries of one of its consumers, from `start` on.
    pub fn pending_of<'a>(
        &'a self,
        consumer: &'a Consumer,
        start: StreamId,
    ) -> impl Iterator<Item = &'a Pending> {
        let ids = &consumer.pending;
        let first = ids.partition_point(|id| *id < start);
        ids.range(first..ids.len()).filter_map(|id| self.get_pending(*id))
    }

    /// Makes a consumer; false if it is there.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        let absent = self.search_consumer(name).err();
        if let Some(index) = absent {
            self.consumers.insert(index, Consumer::new(name, now_ms));
        }
        absent.is_some()
    }

    /// Notes that a consumer was heard of, and perhaps that it got something.
    pub fn touch_consumer(&mut self, name: &[u8], now_ms: i64, is_active: bool) {
        self.update_consumer(name, |consumer| {
            consumer.seen_at_ms = now_ms;
            if is_active {
                consumer.active_at_ms = Some(now_ms);
            }
        });
    }

    /// Removes a consumer and what is pending for it; returns how many entries that were.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(self.search_consumer(name).ok()?);
        for &id in consumer.pending.iter() {
            if let Ok(index) = self.search_pending(id) {
                self.pending.remove(index);
            }
        }
        Some(consumer.pending.len())
    }

    /// Gives an entry to a consumer that is there, whoever had it before.
    pub fn assign(&mut self, id: StreamId, consumer: &[u8], delivered_at_ms: i64, deliveries: u64) {
        let Some(name) = self.consumer(consumer).map(|consumer| consumer.name.clone()) else { return };
        let pending = Pending { id, consumer: name, delivered_at_ms, deliveries };
        let before = match self.search_pending(id) {
            Ok(index) => self.pending.update(index, |old| std::mem::replace(old, pending)),
            Err(index) => {
                self.pending.insert(index, pending);
                None
            }
        };
        match before {
            Some(before) if before.consumer[..] == *consumer => return,
            Some(before) => self.take_from(&before.consumer, id),
            None => {}
        }
        self.update_consumer(consumer, |consumer| {
            if let Err(index) = search(&consumer.pending, |own| own.cmp(&id)) {
                consumer.pending.insert(index, id);
            }
        });
    }

    /// Forgets a pending entry; false if it was not pending.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Ok(index) = self.search_pending(id) else { return false };
        let pending = self.pending.remove(index);
        self.take_from(&pending.consumer, id);
        true
    }

    fn take_from(&mut self, consumer: &[u8], id: StreamId) {
        self.update_consumer(consumer, |consumer| {
            if let Ok(index) = search(&consumer.pending, |own| own.cmp(&id)) {
                consumer.pending.remove(index);
            }
        });
    }

    fn update_consumer(&mut self, name: &[u8], change: impl FnOnce(&mut Consumer)) {
        if let Ok(index) = self.search_consumer(name) {
            self.consumers.update(index, change);
        }
    }

    fn search_consumer(&self, name: &[u8]) -> Result<usize, usize> {
        search(&self.consumers, |consumer| consumer.name[..].cmp(name))
    }

    fn search_pending(&self, id: StreamId) -> Result<usize, usize> {
        search(&self.pending, |pending| pending.id.cmp(&id))
    }
}
