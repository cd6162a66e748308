//! What a key holds.

use ecow::EcoVec;
use resp::number;

use crate::types::chunked::{CHUNK_BYTES, Chunked};
use crate::types::listpack::Listpack;
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
    /// A string that is too long to be copied at once.
    Chunked(Chunked),
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

/// A value, seen where it stands.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string that is the canonical decimal form of a 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
    /// A string that is too long to be copied at once.
    Chunked(&'a Chunked),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A hash.
    Hash(&'a Hash),
    /// A sorted set.
    ZSet(&'a ZSet),
    /// A stream.
    Stream(&'a Stream),
}

/// A value to be stored; a string need not be copied before it has its place.
#[derive(Debug)]
pub enum New<'a> {
    /// An integer.
    Int(i64),
    /// A string that is none.
    Str(&'a [u8]),
    /// A whole value.
    Value(Value),
}

impl From<Value> for New<'_> {
    fn from(value: Value) -> Self {
        New::Value(value)
    }
}

impl<'a> New<'a> {
    /// A value of its own.
    pub fn into_value(self) -> Value {
        match self {
            New::Int(integer) => Value::Int(integer),
            New::Str(bytes) => Value::Str(copied(bytes)),
            New::Value(value) => value,
        }
    }

    /// A string value in the form that suits it.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> Self {
        match number::parse_i64(bytes) {
            Some(integer) => New::Int(integer),
            None if bytes.len() > CHUNK_BYTES => New::chunked(bytes),
            None => New::Str(bytes),
        }
    }

    #[cold]
    fn chunked(bytes: &[u8]) -> Self {
        New::Value(Value::Chunked(Chunked::new(bytes)))
    }
}

/// Strings up to this length are `embstr`, longer ones `raw`. Source: redis 7.2 `src/object.c`.
const EMBSTR_MAX_BYTES: usize = 44;

impl Value {
    /// The value as readers see it.
    #[inline]
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Value::Int(integer) => ValueRef::Int(*integer),
            Value::Str(bytes) => ValueRef::Str(bytes),
            Value::Chunked(string) => ValueRef::Chunked(string),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::ZSet(zset) => ValueRef::ZSet(zset),
            Value::Stream(stream) => ValueRef::Stream(stream),
        }
    }

    /// A small collection's bytes, and idle ones behind them.
    #[inline]
    pub(crate) fn compact(&self) -> Option<&[u8]> {
        let pack = match self {
            Value::List(list) => list.as_listpack(),
            Value::Set(set) => set.as_listpack(),
            Value::Hash(hash) => hash.as_listpack(),
            Value::ZSet(zset) => zset.as_listpack(),
            Value::Int(_) | Value::Str(_) | Value::Chunked(_) | Value::Stream(_) => None,
        };
        pack.map(Listpack::room)
    }

    /// How many allocations freeing the value takes, roughly: above a threshold UNLINK leaves it to another thread.
    pub fn free_effort(&self) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(_) => 1,
            Value::Chunked(string) => string.free_effort(),
            Value::List(list) => list.free_effort(),
            Value::Set(set) => set.free_effort(),
            Value::Hash(hash) => hash.free_effort(),
            Value::ZSet(zset) => zset.free_effort(),
            Value::Stream(stream) => stream.free_effort(),
        }
    }
}

impl ValueRef<'_> {
    /// A value of its own, in O(1); a string in as much time as its bytes take, unless it is chunked.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Int(integer) => Value::Int(integer),
            ValueRef::Str(bytes) => Value::Str(copied(bytes)),
            ValueRef::Chunked(string) => Value::Chunked(string.clone()),
            ValueRef::List(list) => Value::List(list.clone()),
            ValueRef::Set(set) => Value::Set(set.clone()),
            ValueRef::Hash(hash) => Value::Hash(hash.clone()),
            ValueRef::ZSet(zset) => Value::ZSet(zset.clone()),
            ValueRef::Stream(stream) => Value::Stream(stream.clone()),
        }
    }

    /// TYPE's word.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Int(_) | ValueRef::Str(_) | ValueRef::Chunked(_) => "string",
            ValueRef::List(_) => "list",
            ValueRef::Set(_) => "set",
            ValueRef::Hash(_) => "hash",
            ValueRef::ZSet(_) => "zset",
            ValueRef::Stream(_) => "stream",
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(self) -> &'static str {
        match self {
            ValueRef::Int(_) => "int",
            ValueRef::Str(bytes) if bytes.len() <= EMBSTR_MAX_BYTES => "embstr",
            ValueRef::Str(_) | ValueRef::Chunked(_) => "raw",
            ValueRef::List(list) => list.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::ZSet(zset) => zset.encoding(),
            ValueRef::Stream(_) => "stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn a_segment_has_three_words_for_a_value() {
        assert_eq!(size_of::<Option<Value>>(), 24);
    }
}
