//! Expiry: lazily when a key is met, actively in small budgets.

use crate::db::Due;
use crate::effect::{Unit, deletion};
use crate::{DbIndex, KeyEvent, Keyspace, Str};

impl Keyspace {
    /// Deletes a key whose time is over, as an effect of its own.
    pub(crate) fn expire_key(&mut self, db: DbIndex, hash: u64, key: &[u8], unit: &mut Unit) {
        let Some((value, _)) = self.dbs[db].remove(hash, key) else { return };
        self.stats.expired_keys += 1;
        self.leave_deletion(db, key, self.limits.lazy_expire, ('x', "expired"), unit);
        // Nobody waits for an expired value: a big one never stalls the executor.
        if let Some(value) = value {
            self.discard(value);
        }
    }

    /// What a deletion leaves behind that no client has asked for.
    pub(crate) fn leave_deletion(
        &self,
        db: DbIndex,
        key: &[u8],
        lazy: bool,
        (class, name): (char, &'static str),
        unit: &mut Unit,
    ) {
        if self.has_log {
            unit.push(db, &[deletion(lazy), key]);
        }
        if self.has_listeners {
            unit.events.push(KeyEvent { db, class, name, key: Str::from(key) });
        }
        if self.has_blocked {
            unit.ready.push((db, Str::from(key)));
        }
    }

    /// Deletes at most `budget` keys that are due, over all databases; each is an effect of its own in `unit`, never
    /// part of a transaction. True means that more may be due.
    pub fn expire_due(&mut self, now_ms: i64, budget: usize, unit: &mut Unit) -> bool {
        // After each key its segment's time is corrected; others were too early by themselves.
        let (mut keys, mut looks) = (0, 0);
        for db in 0..self.dbs.len() {
            while keys < budget && looks < 2 * budget {
                looks += 1;
                match self.dbs[db].first_due(now_ms) {
                    Due::Key(hash, key) => {
                        self.expire_key(db, hash, &key, unit);
                        keys += 1;
                    }
                    Due::Corrected => {}
                    Due::Nothing => break,
                }
            }
        }
        keys == budget || looks >= 2 * budget
    }

    /// Mean time to live of a database's keys in milliseconds, from a sample of those that expire first and
    /// their neighbours.
    pub fn average_ttl_ms(&self, db: DbIndex, now_ms: i64) -> i64 {
        const SAMPLE: usize = 16;
        let Some(db) = self.dbs.get(db) else { return 0 };
        let (sum, count) = db.expire_times(SAMPLE).fold((0i64, 0i64), |(sum, count), at| {
            (sum.saturating_add(at.saturating_sub(now_ms).max(0)), count + 1)
        });
        if count == 0 { 0 } else { sum / count }
    }
}
