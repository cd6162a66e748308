//! What one unit of execution leaves behind: a command, or a whole MULTI/EXEC.
//!
//! Redis's `server.dirty`, `propagate`, `signalModifiedKey`, `signalKeyAsReady` and `notifyKeyspaceEvent` are calls
//! into the rest of the server; here they are a value that the server reads when the unit is over.

use bytes::BytesMut;
use smallvec::SmallVec;

use crate::{DbIndex, Str};

/// The residue of a unit of execution. Reused from unit to unit: [`clear`](Self::clear) keeps its buffers, unless
/// they are large.
#[derive(Debug, Default)]
pub struct Unit {
    /// Changes made (Redis's `dirty`).
    pub dirty: u64,
    /// Keys and databases that were read or written.
    pub touched: SmallVec<[Touch; 4]>,
    /// Keys that came to hold a new value, or none, while clients were blocked, in order. After a SWAPDB, which touches
    /// two whole databases, any key of them may be ready.
    pub ready: Vec<(DbIndex, Str)>,
    /// Keyspace events, in order; only while [`Keyspace::has_listeners`](crate::Keyspace::has_listeners).
    pub events: Vec<KeyEvent>,
    /// Lines for the server's log that explain an error: why a payload was refused.
    pub remarks: Vec<String>,
    /// The command could not be served yet: park its client.
    pub block: Option<Block>,
    /// The effects, encoded as requests, back to back.
    encoded: BytesMut,
    /// Database and end (in `encoded`) of each effect.
    ends: SmallVec<[(DbIndex, usize); 4]>,
}

/// The command by which the log tells of a key's deletion.
pub(crate) const fn deletion(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

/// A key, or a whole database, that a unit read or wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// One key, present or not.
    Key {
        /// Its database.
        db: DbIndex,
        /// Its [`Keyspace::hash`](crate::Keyspace::hash).
        hash: u64,
        /// Whether the unit changed it.
        wrote: bool,
    },
    /// Every key of a database.
    Db {
        /// The database.
        db: DbIndex,
        /// Whether the unit changed them.
        wrote: bool,
    },
}

/// Something that happened to a key, for `notify-keyspace-events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    /// The key's database.
    pub db: DbIndex,
    /// The letter of `notify-keyspace-events` that selects it.
    pub class: char,
    /// `set`, `del`, `expired`, ...
    pub name: &'static str,
    /// The key.
    pub key: Str,
}

/// What a blocking command waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The keys, in the order of preference.
    pub keys: Vec<Str>,
    /// How long to wait; `None` for ever.
    pub timeout_ms: Option<u64>,
    /// The type ([`ValueRef::type_name`](crate::ValueRef::type_name)) that wakes the client: another one leaves it parked.
    pub type_name: &'static str,
    /// The client is woken too when a key goes, or comes to hold another type: it waits in vain then.
    pub wakes_without_it: bool,
    /// The request to execute again, if not the one that was sent: what `$` meant is lost by then.
    pub again: Option<Vec<Str>>,
}

impl Unit {
    /// Forgets everything if its buffers are large: nobody knows when the next unit comes.
    pub fn shrink(&mut self) {
        if self.is_large() {
            *self = Unit::default();
        }
    }

    /// Forgets everything, for the next unit.
    pub fn clear(&mut self) {
        self.shrink();
        self.dirty = 0;
        self.touched.clear();
        self.ready.clear();
        self.events.clear();
        self.remarks.clear();
        // Hardly ever; and a call to drop nothing is one.
        if self.block.is_some() {
            self.block = None;
        }
        self.encoded.clear();
        self.ends.clear();
    }

    /// Whether one of its buffers holds more room than units usually need: after one that was unusually large.
    #[inline]
    fn is_large(&self) -> bool {
        const KEPT_BYTES: usize = 64 << 10;
        const KEPT_ITEMS: usize = 1 << 10;
        self.encoded.capacity() > KEPT_BYTES
            || self.touched.capacity() > KEPT_ITEMS
            || self.ends.capacity() > KEPT_ITEMS
            || self.ready.capacity() > KEPT_ITEMS
            || self.events.capacity() > KEPT_ITEMS
    }

    /// The effects: database and encoded request, in order. More than one must be logged as a transaction.
    pub fn ops(&self) -> impl ExactSizeIterator<Item = (DbIndex, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(db, end)| (db, &self.encoded[std::mem::replace(&mut start, end)..end]))
    }

    /// Adds an effect.
    pub fn push(&mut self, db: DbIndex, argv: &[&[u8]]) {
        resp::request::encode(argv, &mut self.encoded);
        self.ends.push((db, self.encoded.len()));
    }
}
