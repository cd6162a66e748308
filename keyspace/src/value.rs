//! What a key holds.

use ecow::EcoVec;
use resp::number;

use crate::types::{hash::Hash, list::List, set::Set, stream::Stream, string::copied, zset::ZSet};

/// A stored byte string: 16 bytes of handle, shared until somebody writes to it.
pub type Str = EcoVec<u8>;

/// A value. Cloning one is O(1): every large part is shared until one side writes.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string that is the canonical decimal form of a 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(Str),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    ZSet(ZSet),
    /// A stream.
    Stream(Stream),
}

/// Strings up to this length are `embstr`, longer ones `raw`. Source: redis 7.2 `src/object.c`.
const EMBSTR_MAX_BYTES: usize = 44;

impl Value {
    /// A string value in its smallest form.
    #[inline]
    pub fn string(bytes: &[u8]) -> Self {
        match number::parse_i64(bytes) {
            Some(integer) => Value::Int(integer),
            None => Value::Str(copied(bytes)),
        }
    }

    /// TYPE's word.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str(_) => "string",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Hash(_) => "hash",
            Value::ZSet(_) => "zset",
            Value::Stream(_) => "stream",
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Str(bytes) if bytes.len() <= EMBSTR_MAX_BYTES => "embstr",
            Value::Str(_) => "raw",
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::ZSet(zset) => zset.encoding(),
            Value::Stream(_) => "stream",
        }
    }

    /// How many allocations freeing the value takes, roughly: above a threshold UNLINK leaves it to another thread.
    pub fn free_effort(&self) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(_) => 1,
            Value::List(list) => list.free_effort(),
            Value::Set(set) => set.free_effort(),
            Value::Hash(hash) => hash.free_effort(),
            Value::ZSet(zset) => zset.free_effort(),
            Value::Stream(stream) => stream.free_effort(),
        }
    }
}
