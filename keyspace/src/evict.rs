//! `maxmemory-policy`: which keys make room. Whoever knows how much memory is in use asks for one after the other.
//!
//! The least used key is looked for among a few by chance (`maxmemory-samples` of each database) and those that earlier
//! samples have left in a pool, as in Redis; the one that expires first is known.

use crate::effect::{Touch, Unit};
use crate::memory::Samples;
use crate::{DbIndex, Keyspace, Str, Usage, Value};

/// A policy, but for `noeviction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which keys go first.
    pub by: By,
    /// Only those that expire may go.
    pub volatile_only: bool,
}

/// Which keys go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Those that were not used for the longest time.
    Lru,
    /// Those that are used least often.
    Lfu,
    /// Any.
    Random,
    /// Those that expire soonest.
    Ttl,
}

/// The best candidates of earlier samples. Source: redis 7.2 `src/evict.c` `EVPOOL_SIZE`.
const POOL_LEN: usize = 16;

/// Candidates, the best one last.
#[derive(Debug, Default)]
pub(crate) struct Pool(Vec<Candidate>);

#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: DbIndex,
    key: Str,
}

impl Pool {
    /// Takes a candidate in, if it is better than the worst one or there is room.
    fn offer(&mut self, score: u64, db: DbIndex, key: &[u8]) {
        let mut at = self.0.partition_point(|held| held.score < score);
        if self.0.len() == POOL_LEN {
            if at == 0 {
                return;
            }
            self.0.remove(0);
            at -= 1;
        }
        self.0.insert(at, Candidate { score, db, key: Str::from(key) });
    }
}

/// The higher, the less it is used.
fn score(usage: Usage) -> u64 {
    match usage {
        Usage::Idle(idle_s) => idle_s,
        Usage::Freq(counter) => u64::from(u8::MAX - counter),
    }
}

impl Keyspace {
    /// Deletes a key to make room, as an effect of its own; returns how many bytes will fall free with the garbage that
    /// it leaves. `None`: the policy has no key to give.
    pub fn evict(&mut self, now_ms: i64, unit: &mut Unit) -> Option<usize> {
        let (db, key) = self.next_to_go(now_ms)?;
        let hash = self.hash(&key);
        let (value, _) = self.dbs[db].evict(hash, &key)?;
        Some(self.leave_evicted(db, hash, &key, value, unit))
    }

    /// The same beside a snapshot, which may go on holding what the key took: nothing is packed anew, for that would
    /// first copy more than it frees. Returns how many bytes the key and its value take, but for the garbage, and how
    /// many the garbage does.
    pub fn evict_beside_snapshot(&mut self, now_ms: i64, unit: &mut Unit) -> Option<(usize, usize)> {
        let (db, key) = self.next_to_go(now_ms)?;
        let hash = self.hash(&key);
        let samples = Samples::by_chance(&mut self.random);
        let bytes = self.dbs[db].find(hash, &key)?.sampled_bytes(samples);
        let (value, _) = self.dbs[db].remove(hash, &key)?;
        let garbage_bytes = self.leave_evicted(db, hash, &key, value, unit);
        Some((bytes.saturating_sub(garbage_bytes), garbage_bytes))
    }

    /// The key that the policy gives.
    fn next_to_go(&mut self, now_ms: i64) -> Option<(DbIndex, Str)> {
        let policy = self.limits.policy?;
        match policy.by {
            By::Lru | By::Lfu => self.least_used(policy, now_ms),
            By::Random => self.any(policy),
            By::Ttl => self.first_to_expire(),
        }
    }

    /// Leaves everything behind that follows from an eviction; returns how many bytes the garbage takes.
    fn leave_evicted(
        &mut self,
        db: DbIndex,
        hash: u64,
        key: &[u8],
        value: Option<Value>,
        unit: &mut Unit,
    ) -> usize {
        unit.touched.push(Touch::Key { db, hash, wrote: true });
        unit.dirty += 1;
        self.stats.evicted_keys += 1;
        self.leave_deletion(db, key, self.limits.lazy_eviction, ('e', "evicted"), unit);
        let garbage_len = self.garbage.len();
        if let Some(value) = value {
            self.discard(value);
        }
        let Keyspace { garbage, random, .. } = self;
        garbage[garbage_len..].iter().map(|garbage| garbage.memory_bytes(random)).sum()
    }

    /// The best candidate that is still one.
    fn least_used(&mut self, policy: Policy, now_ms: i64) -> Option<(DbIndex, Str)> {
        while self.sample(policy, now_ms) {
            while let Some(Candidate { score, db, key }) = self.candidates.0.pop() {
                if self.rank(policy, db, &key, now_ms) >= Some(score) {
                    return Some((db, key));
                }
            }
        }
        None
    }

    /// A key's score, if it may go.
    fn rank(&self, policy: Policy, db: DbIndex, key: &[u8], now_ms: i64) -> Option<u64> {
        let entry = self.dbs[db].find(self.hash(key), key)?;
        let eligible = !policy.volatile_only || entry.expire_at_ms().is_some();
        eligible.then(|| score(entry.usage(self.limits.noting(), now_ms)))
    }

    /// Offers the pool some keys of each database; false if none may go.
    fn sample(&mut self, policy: Policy, now_ms: i64) -> bool {
        let Keyspace { dbs, limits, random, candidates, .. } = self;
        let (noting, mut found) = (limits.noting(), false);
        for (index, db) in dbs.iter_mut().enumerate().filter(|(_, db)| !db.is_empty()) {
            for entry in db.sample(policy.volatile_only, limits.maxmemory_samples, random) {
                candidates.offer(score(entry.usage(noting, now_ms)), index, entry.key());
                found = true;
            }
        }
        found
    }

    /// Any key that may go, of the next database that has one.
    fn any(&mut self, policy: Policy) -> Option<(DbIndex, Str)> {
        let Keyspace { dbs, random, next_db, .. } = self;
        (0..dbs.len()).find_map(|_| {
            let index = *next_db % dbs.len();
            *next_db = index + 1;
            let db = &mut dbs[index];
            let sampled = if policy.volatile_only {
                db.sample(true, 1, random).first().copied()
            } else {
                db.table().random(random)
            };
            sampled.map(|entry| (index, Str::from(entry.key())))
        })
    }

    /// The key that expires first, of all databases.
    fn first_to_expire(&mut self) -> Option<(DbIndex, Str)> {
        let firsts = self.dbs.iter_mut().enumerate().filter_map(|(index, db)| {
            let (at_ms, key) = db.first_to_expire()?;
            Some((at_ms, index, key))
        });
        firsts.min_by_key(|(at_ms, ..)| *at_ms).map(|(_, index, key)| (index, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_the_best_and_gives_the_best_first() {
        let mut pool = Pool::default();
        for score in (0..40).chain(0..40) {
            pool.offer(score, 0, &[score as u8]);
        }
        let scores: Vec<u64> = pool.0.iter().map(|held| held.score).collect();
        assert_eq!(scores, [32, 32, 33, 33, 34, 34, 35, 35, 36, 36, 37, 37, 38, 38, 39, 39]);
        pool.offer(31, 0, b"worse");
        assert_eq!(pool.0.first().map(|held| held.score), Some(32));
    }
}
