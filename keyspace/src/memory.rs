//! MEMORY USAGE: what a key takes, from the sizes of its allocations; the members of a table are judged by a sample.

use triomphe::Arc;

use crate::entry::Entry;
use crate::table::packed::{PACKED_MAX_BYTES, RECORD_BYTES};
use crate::table::{Fields, Segment, Spine};
use crate::types::intset::Intset;
use crate::types::list::List;
use crate::types::listpack::Listpack;
use crate::types::stream::{Consumer, Group, Node, Pending, Stream, StreamId};
use crate::types::string::HEADER_BYTES;
use crate::types::zset::{Chunk, Large, Run};
use crate::{Db, Garbage, ValueRef};

impl Entry<'_> {
    /// Bytes of the key, its value and its place in the table. `samples` members of a table are measured, all of them
    /// if that is 0.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let expire = self.expire_at_ms().map_or(0, |at| size_of_val(&at));
        RECORD_BYTES + expire + string_bytes(self.key()) + self.value().memory_bytes(samples)
    }
}

impl Garbage {
    /// About how many bytes fall free with it, from a sample.
    pub fn memory_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        match self {
            Garbage::Value(value) => value.view().memory_bytes(SAMPLES),
            Garbage::Db(db) => {
                let heap = |entry: Entry<'_>| heap_bytes(entry.key()) + entry.value().heap_bytes(SAMPLES);
                table_bytes(db.table(), SAMPLES, heap)
            }
        }
    }
}

impl ValueRef<'_> {
    /// What it has outside of its record.
    fn heap_bytes(self, samples: usize) -> usize {
        match self {
            ValueRef::Int(_) => 0,
            ValueRef::Str(bytes) => heap_bytes(bytes),
            value => value.memory_bytes(samples),
        }
    }

    pub(crate) fn memory_bytes(self, samples: usize) -> usize {
        match self {
            ValueRef::Int(value) => size_of_val(&value),
            ValueRef::Str(bytes) => string_bytes(bytes),
            ValueRef::Chunked(string) => size_of::<crate::Value>() + string.heap_bytes(),
            ValueRef::List(list) => size_of_val(list) + list_bytes(list, samples),
            ValueRef::Set(set) => {
                let compact = set.as_listpack().map_or(0, Listpack::heap_bytes)
                    + set.as_intset().map_or(0, Intset::heap_bytes);
                size_of_val(set) + compact + set.as_table().map_or(0, |table| packed_bytes(table, samples))
            }
            ValueRef::Hash(hash) => {
                let compact = hash.as_listpack().map_or(0, Listpack::heap_bytes);
                size_of_val(hash) + compact + hash.as_table().map_or(0, |table| packed_bytes(table, samples))
            }
            ValueRef::ZSet(zset) => {
                let compact = zset.as_listpack().map_or(0, Listpack::heap_bytes);
                size_of_val(zset) + compact + zset.as_large().map_or(0, |large| large_bytes(large, samples))
            }
            ValueRef::Stream(stream) => stream_bytes(stream, samples),
        }
    }
}

/// A string among a record's bytes, or on the heap.
fn string_bytes(bytes: &[u8]) -> usize {
    if bytes.len() > PACKED_MAX_BYTES { heap_bytes(bytes) + size_of::<crate::Value>() } else { bytes.len() }
}

fn heap_bytes(bytes: &[u8]) -> usize {
    if bytes.len() > PACKED_MAX_BYTES { HEADER_BYTES + bytes.len() } else { 0 }
}

fn packed_bytes(table: &Fields, samples: usize) -> usize {
    table_bytes(table, samples, |entry| heap_bytes(entry.key()) + heap_bytes(entry.string()))
}

/// A sorted set's chunks, judged by a sample, and its index.
fn large_bytes(large: &Large, samples: usize) -> usize {
    let chunks = large.chunks();
    // Whatever is shared has its count, and each chunk a pointer to it in their sequence.
    let shared = size_of::<usize>();
    let own = shared + size_of::<Chunk>() + size_of::<Arc<Chunk>>() + size_of::<Run>();
    let chunks = spread(chunks.len(), samples, |at| chunks.get(at).map(|chunk| own + chunk.heap_bytes()));
    shared + size_of::<Large>() + chunks + table_bytes(large.index(), samples, |_| 0)
}

/// A list's chunks, judged by a sample.
fn list_bytes(list: &List, samples: usize) -> usize {
    spread(list.free_effort(), samples, |at| list.chunk(at).map(Listpack::heap_bytes))
}

/// The sum over `len` things in an order of their own, judged by some from all over them, for neighbours are alike; 0
/// samples are all.
fn spread(len: usize, samples: usize, bytes: impl Fn(usize) -> Option<usize>) -> usize {
    let samples = if samples == 0 { len } else { samples.min(len) };
    let sum: usize = (0..samples).filter_map(|sample| bytes(sample * len / samples)).sum();
    scale(sum, len, samples)
}

/// The sum over `len` things in the order of their hashes, judged by the first few; 0 samples are all.
fn sampled<T>(
    things: impl Iterator<Item = T>,
    len: usize,
    samples: usize,
    bytes: impl Fn(T) -> usize,
) -> usize {
    let samples = if samples == 0 { len } else { samples.min(len) };
    let sum: usize = things.take(samples).map(bytes).sum();
    scale(sum, len, samples)
}

/// A stream's nodes, judged by a sample, and what its groups wait for.
fn stream_bytes(stream: &Stream, samples: usize) -> usize {
    let nodes = stream.nodes();
    let node = |node: &Node| size_of::<Node>() + node.pack().heap_bytes();
    let nodes = spread(nodes.len(), samples, |at| nodes.get(at).map(node));
    // Each pending entry is known to the group and to the consumer.
    let groups = stream.groups().iter().map(|group| {
        let consumers = group.consumers().iter().map(|consumer| size_of::<Consumer>() + consumer.name.len());
        let pending = group.pending().len() * (size_of::<Pending>() + size_of::<StreamId>());
        size_of::<Group>() + group.name.len() + consumers.sum::<usize>() + pending
    });
    nodes + groups.sum::<usize>()
}

/// A table's segments, and what its records have on the heap.
fn table_bytes<'a, S: Segment>(
    table: &'a Spine<S>,
    samples: usize,
    heap: impl Fn(S::Item<'a>) -> usize,
) -> usize {
    let segments = sampled(table.segments(), table.segments_len(), samples, Segment::heap_bytes);
    segments + table.own_bytes() + sampled(table.iter(), table.len(), samples, heap)
}

/// A database beside its data, as MEMORY STATS tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// What the table takes for each key beside its bytes.
    pub main_bytes: usize,
    /// What times to live take beside the times themselves.
    pub expires_bytes: usize,
}

impl Db {
    /// What it takes beside keys and values; found without looking at them.
    pub fn overhead(&self) -> Overhead {
        Overhead {
            main_bytes: self.table().own_bytes() + self.len() * RECORD_BYTES,
            expires_bytes: self.due_len() * size_of::<(i64, usize)>(),
        }
    }
}

/// What `len` items take, of which `samples` take so much.
pub(crate) fn scale(sampled: usize, len: usize, samples: usize) -> usize {
    // Gigabytes times billions.
    let whole = sampled as u128 * len as u128 / samples.max(1) as u128;
    usize::try_from(whole).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn samples_of_any_size_stand_for_any_number() {
        assert_eq!(scale(1000, 50, 5), 10_000);
        assert_eq!(scale(0, 50, 0), 0);
        assert_eq!(scale(1 << 40, 1 << 30, 1 << 30), 1 << 40);
        assert_eq!(scale(usize::MAX, usize::MAX, 1), usize::MAX);
    }
}
