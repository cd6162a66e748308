//! Redis's data: databases of typed values with expiry, the data commands, and snapshots in O(1).
//!
//! The crate touches no socket, file, thread or clock. Time comes in with each [`Call`], randomness with
//! [`Keyspace::new`]; replies go into a [`resp::Encoder`], and what else an execution leaves behind (what the log must
//! hold, which keys it touched, which became ready for blocked clients) is added to a [`Unit`].
//!
//! Invariants
//! - A snapshot ([`Keyspace::snapshot`]) costs the same for ten keys and for ten million, and never changes.
//! - No operation on a table touches more than three of its segments: its own, and the two between which growth or
//!   shrinking moves records.
//! - Replaying the effects of a [`Unit`] on the state before it gives the state after it, but for what no effect tells of,
//!   in Redis neither: when a key was used and a consumer seen, and that a consumer was given once more what it has not
//!   acknowledged.
//!
//! Three things are for the caller to do, or memory is never given back
//! - [`Keyspace::take_garbage`]: what takes long to free piles up in the keyspace until it is taken, and dropped on any
//!   thread.
//! - [`Keyspace::expire_due`]: what nobody meets again is deleted only here.
//! - [`Unit::clear`] before the next unit, and [`Unit::shrink`] before a long rest: units add up.
//!
//! Limits
//! - A key, a string, an element, a field, a member: 512 MiB ([`Limits::max_string_bytes`]), and never more than
//!   4 GiB - 64 KiB ([`STRING_BYTES_MAX`]). How many there are, memory alone decides.
//! - A time to live: to the millisecond, up to 2^63 - 2 milliseconds after 1970; one that is a millisecond later is
//!   stored as that.
//! - The cursors of SCAN and its kin: 48 bits, so that every client's number type holds them.
//! - An idle time: seconds, up to 34 years.
//!
//! Refused, as errors that change nothing: what Redis 7.2 refuses; strings beyond the limit; payloads and RDB files
//! that are damaged, of an RDB version beyond 12 (or Valkey's 80), or hold values of modules or fields that expire.
//!
//! ```
//! use bytes::BytesMut;
//! use keyspace::{Call, Keyspace, Unit};
//! use resp::{Encoder, Version};
//!
//! let mut keyspace = Keyspace::new(16, 42);
//! let (mut out, mut unit) = (BytesMut::new(), Unit::default());
//! let argv: &[&[u8]] = &[b"SET", b"greeting", b"hello"];
//! keyspace.execute(&Call::new(0, 1_700_000_000_000, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
//! assert_eq!(&out[..], b"+OK\r\n");
//! assert_eq!(unit.ops().count(), 1);
//! unit.clear();
//! keyspace.expire_due(1_700_000_000_100, 200, &mut unit);
//! drop(keyspace.take_garbage());
//! ```
//!
//! A crate that sends a keyspace or a snapshot to a thread needs `#![recursion_limit = "256"]`.
// To prove that a value may go to another thread, the compiler goes through the tables within values.
#![recursion_limit = "256"]
#![deny(unsafe_code)]

mod access;
mod ctx;
mod db;
mod digest;
mod effect;
mod entry;
mod error;
mod evict;
mod expire;
mod limits;
mod memory;
mod random;
mod room;
#[cfg(test)]
mod soak;
mod value;

pub mod commands;
pub mod fuzz;
pub mod glob;
pub mod rdb;
pub mod table;
pub mod types;

use resp::Encoder;
use smallvec::SmallVec;

use crate::table::packed::WARMED;

pub use access::{Lfu, Noting, Usage};
pub use ctx::{Call, Ctx};
pub use db::Db;
pub use digest::Digest;
pub use effect::{Block, KeyEvent, Touch, Unit};
pub use entry::Entry;
pub use error::CommandError;
pub use evict::{By, Policy};
pub use limits::{Limits, STRING_BYTES_MAX};
pub use memory::Overhead;
pub use random::Random;
pub use table::HashSeed;
pub use value::{New, Str, Value, ValueRef};

/// The README's example, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A database's number.
pub type DbIndex = usize;

/// All the data of one server.
#[derive(Debug)]
pub struct Keyspace {
    dbs: Vec<Db>,
    /// Thresholds between encodings, and the `lazyfree-*` switches.
    pub limits: Limits,
    /// Counters since the start (or `CONFIG RESETSTAT`).
    pub stats: Stats,
    /// True while a log is replayed: nothing expires then, as in Redis, a command is not encoded as its own effect, and
    /// the keys that it visits are not noted.
    pub loading: bool,
    /// True unless nobody logs effects: then none are left in a [`Unit`].
    pub has_log: bool,
    /// True while some client is blocked on a key: then keys that appear are reported in [`Unit::ready`].
    pub has_blocked: bool,
    /// True while somebody listens to keyspace events: then they are reported in [`Unit::events`].
    pub has_listeners: bool,
    /// True while clients are paused: what readers meet and is due is hidden then, and deleted later.
    pub keeps_expired: bool,
    /// True if RESTORE takes any checksum: `DEBUG SET-SKIP-CHECKSUM-VALIDATION`.
    pub skips_checksums: bool,
    seed: HashSeed,
    random: Random,
    garbage: Vec<Garbage>,
    candidates: evict::Pool,
    /// Where a random policy goes on.
    next_db: DbIndex,
}

/// What takes long to free: drop it on another thread.
#[derive(Debug)]
pub enum Garbage {
    /// A value of many parts.
    Value(Value),
    /// A database that was flushed.
    Db(Db),
}

/// Values that take more than this many allocations to free are garbage rather than dropped at once. Source: redis
/// 7.2 `src/lazyfree.c` `LAZYFREE_THRESHOLD`.
const LAZYFREE_THRESHOLD: usize = 64;

/// Counters that INFO prints.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Lookups of reading commands that found the key.
    pub hits: u64,
    /// Lookups of reading commands that did not.
    pub misses: u64,
    /// Keys that expired, lazily or actively.
    pub expired_keys: u64,
    /// Keys that made room.
    pub evicted_keys: u64,
}

/// The data as it was at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The databases, by number.
    pub dbs: Vec<Db>,
}

impl Keyspace {
    /// Makes `databases` empty databases. `seed` keys the hash function and the random commands: take it from the
    /// operating system, or fix it in a test.
    pub fn new(databases: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let seed = HashSeed::new(random.next_u64(), random.next_u64());
        Keyspace {
            dbs: (0..databases).map(|_| Db::new(seed)).collect(),
            limits: Limits::default(),
            stats: Stats::default(),
            loading: false,
            has_log: true,
            has_blocked: false,
            has_listeners: false,
            keeps_expired: false,
            skips_checksums: false,
            seed,
            random,
            garbage: Vec::new(),
            candidates: evict::Pool::default(),
            next_db: 0,
        }
    }

    /// Executes one data command: finds it in the table, checks its arity, writes its reply, and adds what it leaves
    /// behind to `unit`. An unknown command and a wrong number of arguments are error replies.
    pub fn execute(&mut self, call: &Call<'_>, out: &mut Encoder<'_>, unit: &mut Unit) {
        let argv = call.argv;
        match commands::lookup(argv) {
            Ok(spec) => self.execute_spec(spec, call, out, unit),
            Err(error) => out.error(&error.to_string()),
        }
    }

    /// Reads a database number from an argument.
    ///
    /// # Errors
    /// [`CommandError::NotAnInteger`], or Redis's words for a number out of range.
    pub fn parse_db(&self, text: &[u8]) -> Result<DbIndex, CommandError> {
        const NO_INT: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
        let number = commands::integer(text)?;
        self.db_index(i32::try_from(number).map_err(|_| CommandError::other(NO_INT))?)
    }

    /// The database of a number.
    pub(crate) fn db_index(&self, number: i32) -> Result<DbIndex, CommandError> {
        let db = usize::try_from(number).ok().filter(|&db| db < self.dbs.len());
        db.ok_or(CommandError::other("ERR DB index is out of range"))
    }

    /// Executes a command that was looked up before, and whose arity was checked.
    // So that `call` stays in registers: read back from memory in wider words, it would wait for the narrow stores.
    #[inline(always)]
    pub fn execute_spec(
        &mut self,
        spec: &commands::DataSpec,
        call: &Call<'_>,
        out: &mut Encoder<'_>,
        unit: &mut Unit,
    ) {
        // Handlers index by it, and a damaged log may select anything.
        if call.db >= self.dbs.len() {
            out.error("ERR DB index is out of range");
            return;
        }
        let start_bytes = out.len_bytes();
        let mut ctx = Ctx::new(self, call, unit);
        match (spec.handler)(&mut ctx, call.argv, out) {
            Ok(()) => ctx.finish(),
            Err(error) => {
                ctx.abandon();
                out.truncate(start_bytes);
                out.error(&error.to_string());
            }
        }
    }

    /// A key's value as DUMP gives it, and when the key expires: for MIGRATE. It is read as a command reads it.
    pub fn dump(&mut self, call: &Call<'_>, key: &[u8], unit: &mut Unit) -> Option<(Vec<u8>, Option<i64>)> {
        let compress = self.limits.rdb_compression;
        let mut ctx = Ctx::new(self, call, unit);
        let payload = rdb::dump(ctx.read(key)?, compress);
        Some((payload, ctx.expire_at_ms(key)))
    }

    /// Takes a view of everything that no later command changes. O(number of databases).
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { dbs: self.dbs.clone() }
    }

    /// The databases, by number.
    pub fn dbs(&self) -> &[Db] {
        &self.dbs
    }

    /// A key's entry as a client would find it now: an expired one is absent. Nothing is deleted, touched or counted.
    pub fn entry(&self, db: DbIndex, key: &[u8], now_ms: i64) -> Option<Entry<'_>> {
        let entry = self.dbs.get(db)?.find(self.hash(key), key)?;
        let expired = !self.loading && entry.expire_at_ms().is_some_and(|at| at < now_ms);
        (!expired).then_some(entry)
    }

    /// One database, to inspect or to load; commands go through [`execute`](Self::execute).
    pub fn db_mut(&mut self, db: DbIndex) -> Option<&mut Db> {
        self.dbs.get_mut(db)
    }

    /// The hash by which `key` stands in [`Touch`] and in every table.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    /// The key of the hash function, for tables that values grow into.
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Makes room for what is still to come, if the rest brings as many keys as the part of it that was loaded.
    pub fn expect_growth(&mut self, part: u64, whole: u64) {
        for db in &mut self.dbs {
            let keys = db.len() as u128 * u128::from(whole) / u128::from(part.max(1));
            db.expect(usize::try_from(keys).unwrap_or(usize::MAX), 0);
        }
    }

    /// Data is about to be loaded: see [`loading`](Self::loading).
    pub fn start_loading(&mut self) {
        self.loading = true;
        self.dbs.iter_mut().for_each(Db::start_loading);
    }

    /// The data is there: from here on snapshots are cheap again.
    pub fn end_loading(&mut self) {
        self.loading = false;
        self.dbs.iter_mut().for_each(Db::end_loading);
    }

    /// Reads ahead of writes what finding keys of these hashes will read, for several at once: the misses of the cache
    /// overlap then. It changes nothing, and a hash may be anything.
    pub fn warm(&self, keys: &[(DbIndex, u64)]) {
        for keys in keys.chunk_by(|one, next| one.0 == next.0) {
            let hashes: SmallVec<[u64; WARMED]> = keys.iter().map(|key| key.1).collect();
            if let Some(db) = keys.first().and_then(|key| self.dbs.get(key.0)) {
                db.table().warm(&hashes);
            }
        }
    }

    /// Takes the big values that were unlinked and the databases that were flushed, to be dropped on another thread.
    #[inline]
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    /// Its source of chance.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// An access at some time.
    #[inline]
    pub(crate) fn access(&mut self, now_ms: i64) -> access::Access {
        access::Access::new(now_ms, &self.limits, &mut self.random)
    }

    /// Drops a value: a small one here, a big one where the garbage goes.
    pub(crate) fn discard(&mut self, value: Value) {
        if value.free_effort() > LAZYFREE_THRESHOLD {
            self.garbage.push(Garbage::Value(value));
        }
    }

    /// Empties a database; returns how many keys it had. `lazy` leaves them to another thread.
    pub(crate) fn flush(&mut self, db: DbIndex, lazy: bool) -> usize {
        let empty = self.empty_db();
        let old = std::mem::replace(&mut self.dbs[db], empty);
        let keys = old.len();
        if lazy && keys > 0 {
            self.garbage.push(Garbage::Db(old));
        }
        keys
    }

    /// Replaces all data by that of empty databases, and returns the old databases to be dropped anywhere.
    pub fn clear(&mut self) -> Vec<Db> {
        let empty: Vec<Db> = self.dbs.iter().map(|_| self.empty_db()).collect();
        std::mem::replace(&mut self.dbs, empty)
    }

    /// A database to take the place of another: a log that is loaded may flush, and most of its writes come behind that.
    fn empty_db(&self) -> Db {
        let mut db = Db::new(self.seed);
        if self.loading {
            db.start_loading();
        }
        db
    }
}
