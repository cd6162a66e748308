//! A fingerprint of data, for DEBUG DIGEST and for tests that say "the same after a restart".
//!
//! It depends on what the commands can see (database, key, type, elements, time to live) and on nothing else: not on
//! encodings, nor on the order in which a table holds its records. It is not Redis's figure for the same data.

use std::fmt;
use std::hash::Hasher;

use resp::number;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::types::listpack::Element;
use crate::types::stream::{Group, Header, Stream, StreamId};
use crate::{Db, Entry, ValueRef};

/// A fingerprint; `Display` gives forty hexadecimal digits, as DEBUG DIGEST does, and all zeros for no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:040x}", self.0)
    }
}

impl Digest {
    /// The fingerprint of databases; those of a [`Snapshot`](crate::Snapshot), for example.
    pub fn of(dbs: &[Db]) -> Self {
        let keys =
            dbs.iter().enumerate().flat_map(|(db, keys)| keys.table().iter().map(move |key| (db, key)));
        Digest(sum(keys.map(|(db, entry)| entry_sum(db, &entry))))
    }

    /// The fingerprint of one value.
    pub fn of_value(value: ValueRef<'_>) -> Self {
        Digest(value_sum(value))
    }
}

/// Adds up: the same in any order, and unlike exclusive or it keeps two equal terms apart from none.
fn sum(terms: impl Iterator<Item = u128>) -> u128 {
    terms.fold(0, u128::wrapping_add)
}

fn entry_sum(db: usize, entry: &Entry<'_>) -> u128 {
    let mut terms = Terms::new("key");
    terms.add(&(db as u64).to_le_bytes());
    terms.add(entry.key());
    terms.add(&value_sum(entry.value()).to_le_bytes());
    terms.add(&entry.expire_at_ms().unwrap_or(i64::MAX).to_le_bytes());
    terms.finish()
}

fn value_sum(value: ValueRef<'_>) -> u128 {
    match value {
        ValueRef::Int(value) => string_sum(number::format_i64(value).as_bytes()),
        ValueRef::Str(bytes) => string_sum(bytes),
        ValueRef::Chunked(string) => {
            let mut terms = Terms::new("string");
            terms.add_pieces(string.len(), string.pieces(0..string.len()));
            terms.finish()
        }
        ValueRef::List(list) => {
            let mut terms = Terms::new("list");
            list.iter().for_each(|element| terms.add_element(element));
            terms.finish()
        }
        ValueRef::Set(set) => sum(set.iter().map(|member| {
            let mut terms = Terms::new("set");
            terms.add_element(member);
            terms.finish()
        })),
        ValueRef::Hash(hash) => sum(hash.iter().map(|(field, value)| {
            let mut terms = Terms::new("hash");
            terms.add_element(field);
            terms.add_element(value);
            terms.finish()
        })),
        ValueRef::ZSet(zset) => sum(zset.iter().map(|(member, score)| {
            let mut terms = Terms::new("zset");
            terms.add_element(member);
            // -0 and 0 are one score.
            terms.add(&(score + 0.0).to_le_bytes());
            terms.finish()
        })),
        ValueRef::Stream(stream) => stream_sum(stream),
    }
}

/// When something was delivered and how often, and when a consumer was seen, is not part of it: a consumer that reads
/// its own history again changes that, and the log does not hold it.
fn stream_sum(stream: &Stream) -> u128 {
    let mut terms = Terms::new("stream");
    let Header { last_id, max_deleted_id, entries_added, .. } = stream.header();
    terms.add_id(last_id);
    terms.add_id(max_deleted_id);
    terms.add(&entries_added.to_le_bytes());
    for entry in stream.iter() {
        terms.add_id(entry.id);
        terms.add(&(entry.fields.len() as u64).to_le_bytes());
        for (field, value) in entry.fields {
            terms.add_element(field);
            terms.add_element(value);
        }
    }
    stream.groups().iter().for_each(|group| terms.add(&group_sum(group).to_le_bytes()));
    terms.finish()
}

fn group_sum(group: &Group) -> u128 {
    let mut terms = Terms::new("group");
    terms.add(&group.name);
    terms.add_id(group.last_id);
    terms.add(&group.entries_read.unwrap_or(u64::MAX).to_le_bytes());
    for consumer in group.consumers().iter() {
        terms.add(&consumer.name);
        terms.add(&(consumer.pending().len() as u64).to_le_bytes());
        consumer.pending().iter().for_each(|&id| terms.add_id(id));
    }
    terms.finish()
}

fn string_sum(bytes: &[u8]) -> u128 {
    let mut terms = Terms::new("string");
    terms.add(bytes);
    terms.finish()
}

/// Strings in a row, each after its length, so that no two rows run together.
struct Terms(SipHasher13);

impl Terms {
    fn new(kind: &str) -> Self {
        let mut terms = Terms(SipHasher13::new());
        terms.add(kind.as_bytes());
        terms
    }

    fn add(&mut self, bytes: &[u8]) {
        self.add_pieces(bytes.len(), [bytes].into_iter());
    }

    /// A string of `len` bytes.
    fn add_pieces<'a>(&mut self, len: usize, pieces: impl Iterator<Item = &'a [u8]>) {
        self.0.write(&(len as u64).to_le_bytes());
        pieces.for_each(|piece| self.0.write(piece));
    }

    fn add_id(&mut self, id: StreamId) {
        self.add(&id.ms.to_le_bytes());
        self.add(&id.seq.to_le_bytes());
    }

    fn add_element(&mut self, element: Element<'_>) {
        element.with_bytes(|bytes| self.add(bytes));
    }

    fn finish(&self) -> u128 {
        self.0.finish128().as_u128()
    }
}
