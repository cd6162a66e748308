//! When a reply may leave: after the write that it tells of, or that it has seen, is as safe as `appendfsync` promises.
//!
//! A reply's position is the largest of its own effect's and those of the newest unsettled writes to the keys it read
//! or wrote, present or not. *Settled* means at or below the watermark that replies wait for (durable under `always`,
//! written otherwise). Only unsettled writes are remembered, so the table is empty whenever nobody has to wait, and a
//! GET never waits for a stranger's fsync.

use std::collections::{HashMap, VecDeque};

use aof::Position;
use foldhash::fast::FixedState;
use keyspace::{DbIndex, Touch};

/// The unsettled writes.
#[derive(Debug, Default)]
pub struct Gate {
    /// Database and key hash (which is keyed, so no client can aim at a bucket) -> position of the newest write.
    keys: HashMap<(DbIndex, u64), Position, FixedState>,
    /// The same in the order of positions, to be forgotten from the front.
    order: VecDeque<(Position, Unsettled)>,
    /// Database -> position of the newest write that concerned all of it (FLUSHDB, SWAPDB).
    dbs: HashMap<DbIndex, Position, FixedState>,
    /// Position of the newest write anywhere.
    newest: Position,
}

#[derive(Debug, Clone, Copy)]
enum Unsettled {
    Key(DbIndex, u64),
    Db(DbIndex),
}

impl Gate {
    /// Remembers what a unit wrote, whose effects end at `position`.
    pub fn wrote(&mut self, touched: &[Touch], position: Position) {
        self.newest = position;
        for touch in touched {
            match *touch {
                Touch::Key { db, hash, wrote: true } => {
                    self.keys.insert((db, hash), position);
                    self.order.push_back((position, Unsettled::Key(db, hash)));
                }
                Touch::Db { db, wrote: true } => {
                    self.dbs.insert(db, position);
                    self.order.push_back((position, Unsettled::Db(db)));
                }
                Touch::Key { .. } | Touch::Db { .. } => {}
            }
        }
    }

    /// The position that a reply with these visits must wait for; 0 if none.
    #[inline]
    pub fn needs(&self, touched: &[Touch]) -> Position {
        if self.order.is_empty() {
            return 0;
        }
        let needs = |touch: &Touch| match *touch {
            Touch::Key { db, hash, .. } => self.key(db, hash),
            // Whoever sees a whole database sees every write to it: the newest is not told apart by database.
            Touch::Db { .. } => self.newest,
        };
        touched.iter().map(needs).max().unwrap_or(0)
    }

    /// The position of the newest unsettled write; 0 if there is none.
    pub fn newest(&self) -> Position {
        if self.order.is_empty() { 0 } else { self.newest }
    }

    /// The position of the newest unsettled write to a key; 0 if there is none.
    pub fn key(&self, db: DbIndex, hash: u64) -> Position {
        let key = self.keys.get(&(db, hash)).copied().unwrap_or(0);
        key.max(self.dbs.get(&db).copied().unwrap_or(0))
    }

    /// Forgets what the watermark has passed.
    pub fn settle(&mut self, watermark: Position) {
        if self.newest <= watermark {
            self.forget_all();
            return;
        }
        while let Some(&(position, unsettled)) = self.order.front()
            && position <= watermark
        {
            self.order.pop_front();
            match unsettled {
                Unsettled::Key(db, hash) => {
                    if self.keys.get(&(db, hash)) == Some(&position) {
                        self.keys.remove(&(db, hash));
                    }
                }
                Unsettled::Db(db) => {
                    if self.dbs.get(&db) == Some(&position) {
                        self.dbs.remove(&db);
                    }
                }
            }
        }
    }
}

impl Gate {
    /// Clearing a table costs its capacity, every turn: one that a stall has grown is given back.
    fn forget_all(&mut self) {
        const KEPT: usize = 4096;
        if self.keys.capacity() > KEPT {
            self.keys = HashMap::default();
            self.order = VecDeque::new();
        }
        self.keys.clear();
        self.order.clear();
        self.dbs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u64, wrote: bool) -> Touch {
        Touch::Key { db: 0, hash, wrote }
    }

    #[test]
    fn a_read_waits_only_for_writes_to_its_own_key() {
        let mut gate = Gate::default();
        gate.wrote(&[key(1, true), key(3, false)], 10);
        gate.wrote(&[key(2, true)], 20);
        assert_eq!(gate.needs(&[key(1, false)]), 10);
        assert_eq!(gate.needs(&[key(2, false), key(1, false)]), 20);
        assert_eq!(gate.needs(&[key(3, false)]), 0);
        assert_eq!(gate.needs(&[Touch::Db { db: 0, wrote: false }]), 20);
    }

    #[test]
    fn a_newer_write_to_a_key_outlives_the_settling_of_an_older_one() {
        let mut gate = Gate::default();
        gate.wrote(&[key(1, true)], 10);
        gate.wrote(&[key(1, true)], 20);
        gate.settle(10);
        assert_eq!(gate.needs(&[key(1, false)]), 20);
        gate.settle(20);
        assert_eq!(gate.needs(&[key(1, false)]), 0);
    }

    #[test]
    fn a_flush_holds_every_key_of_its_database_and_of_no_other() {
        let mut gate = Gate::default();
        gate.wrote(&[Touch::Db { db: 0, wrote: true }], 10);
        assert_eq!(gate.needs(&[key(7, false)]), 10);
        assert_eq!(gate.needs(&[Touch::Key { db: 1, hash: 7, wrote: false }]), 0);
    }
}
