//! From a reader's keys into the keyspace.

use thiserror::Error;

use super::{Key, Shapes};
use crate::db::Stored;
use crate::{Keyspace, Usage};

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// It is there.
    Stored,
    /// It replaced one that was there.
    Replaced,
    /// Its value has no elements: there is no such key.
    Empty,
}

/// Why a key cannot be loaded.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// Its database is beyond those that there are.
    #[error(
        "the data was created with a server of more than {databases} databases: key '{key}' is in DB {db}, \
         at byte {offset_bytes}",
        key = key.escape_ascii()
    )]
    Database {
        /// The key.
        key: Vec<u8>,
        /// Its database.
        db: u64,
        /// How many there are.
        databases: usize,
        /// Where the key begins in the file.
        offset_bytes: u64,
    },
    /// It is there already, and may not be replaced.
    #[error("RDB has duplicated key '{key}' in DB {db}, at byte {offset_bytes}", key = key.escape_ascii())]
    Duplicate {
        /// The key.
        key: Vec<u8>,
        /// Its database.
        db: u64,
        /// Where the key begins in the file.
        offset_bytes: u64,
    },
}

impl LoadError {
    /// Where the key begins in the file.
    pub fn offset_bytes(&self) -> u64 {
        match self {
            LoadError::Database { offset_bytes, .. } | LoadError::Duplicate { offset_bytes, .. } => {
                *offset_bytes
            }
        }
    }
}

impl Keyspace {
    /// Which encodings values get here: for a [`Reader`](super::Reader) whose keys come here.
    pub fn rdb_shapes(&self) -> Shapes {
        Shapes::new(&self.limits, self.seed())
    }

    /// Stores a key as it was read, with its times, and leaves no effect: this is how data comes back, not how it
    /// changes.
    ///
    /// # Errors
    /// [`LoadError::Database`]; [`LoadError::Duplicate`] unless `replace`.
    pub fn load_key(&mut self, key: Key<'_>, replace: bool, now_ms: i64) -> Result<Loaded, LoadError> {
        let Key { db, offset_bytes, key, hash, value, expire_at_ms, idle_s, freq } = key;
        let databases = self.dbs().len();
        let number = usize::try_from(db).ok().filter(|&number| number < databases);
        let beyond = || LoadError::Database { key: key.to_vec(), db, databases, offset_bytes };
        let number = number.ok_or_else(beyond)?;
        let usages = [idle_s.map(Usage::Idle), freq.map(Usage::Freq)];
        debug_assert_eq!(hash, self.hash(key), "the reader's shapes are of another keyspace");
        let Some(value) = value else { return Ok(Loaded::Empty) };
        let (access, noting) = (self.access(now_ms), self.limits.noting());
        let target = &mut self.dbs[number];
        let stored = target.store(hash, key, value, expire_at_ms, access, replace);
        if let Stored::Refused = stored {
            return Err(LoadError::Duplicate { key: key.to_vec(), db, offset_bytes });
        }
        for usage in usages.into_iter().flatten() {
            if let Some(entry) = target.find(hash, key) {
                entry.set_usage(usage, noting, now_ms);
            }
        }
        let Stored::Replaced(old) = stored else { return Ok(Loaded::Stored) };
        if let Some(old) = old {
            self.discard(old);
        }
        Ok(Loaded::Replaced)
    }
}
