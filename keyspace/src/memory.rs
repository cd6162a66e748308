//! MEMORY USAGE: what a key takes, from the sizes of its allocations; the members of a table are judged by a sample.

use crate::db::Entry;
use crate::table::{Record, Segmented, Table};
use crate::types::listpack::Listpack;
use crate::types::stream::{Consumer, Group, Node, Pending, Stream, StreamId};
use crate::{Str, Value};

/// What precedes the bytes of a [`Str`] on the heap: count and capacity.
const STR_HEADER_BYTES: usize = 16;

impl Entry {
    /// Bytes of the key, its value and its place in the table. `samples` members of a table are measured, all of them
    /// if that is 0.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        size_of::<Entry>() + str_bytes(self.key_str()) + self.value().memory_bytes(samples)
    }
}

impl Value {
    /// Bytes on the heap; see [`Entry::memory_bytes`].
    pub fn memory_bytes(&self, samples: usize) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(bytes) => str_bytes(bytes),
            Value::List(list) => list.chunks().map(pack_bytes).sum(),
            Value::Set(set) => {
                let compact = set.as_listpack().map_or(0, pack_bytes)
                    + set.as_intset().map_or(0, |set| set.as_bytes().len());
                compact
                    + set
                        .as_table()
                        .map_or(0, |table| table_bytes(table, samples, |member| member.as_bytes().len()))
            }
            Value::Hash(hash) => {
                let heap = |field: &crate::types::hash::Field| {
                    let (name, value) = field.parts();
                    name.len() + value.len() + 1
                };
                let compact = hash.as_listpack().map_or(0, pack_bytes);
                compact + hash.as_table().map_or(0, |table| table_bytes(table, samples, heap))
            }
            Value::ZSet(zset) => {
                // A member stands in the table and, with its score, in the tree; its bytes are shared.
                let heap = |scored: &crate::types::zset::Scored| scored.member.len() + size_of_val(scored);
                let compact = zset.as_listpack().map_or(0, pack_bytes);
                compact + zset.as_table().map_or(0, |table| table_bytes(table, samples, heap))
            }
            Value::Stream(stream) => stream_bytes(stream, samples),
        }
    }
}

fn str_bytes(bytes: &Str) -> usize {
    if bytes.capacity() == 0 { 0 } else { STR_HEADER_BYTES + bytes.capacity() }
}

fn pack_bytes(pack: &Listpack) -> usize {
    STR_HEADER_BYTES + pack.len_bytes()
}

/// A stream's nodes, judged by a sample, and what its groups wait for.
fn stream_bytes(stream: &Stream, samples: usize) -> usize {
    let nodes = stream.nodes();
    let samples = if samples == 0 { nodes.len() } else { samples.min(nodes.len()) };
    let node = |node: &Node| size_of::<Node>() + pack_bytes(node.pack());
    let sampled: usize = nodes.iter().take(samples).map(node).sum();
    // Each pending entry is known to the group and to the consumer.
    let groups = stream.groups().iter().map(|group| {
        let consumers = group.consumers().iter().map(|consumer| size_of::<Consumer>() + consumer.name.len());
        let pending = group.pending().len() * (size_of::<Pending>() + size_of::<StreamId>());
        size_of::<Group>() + group.name.len() + consumers.sum::<usize>() + pending
    });
    sampled * nodes.len() / samples.max(1) + groups.sum::<usize>()
}

/// A table's slots, and what its records have on the heap.
fn table_bytes<R: Record>(table: &Segmented<R>, samples: usize, heap: impl Fn(&R) -> usize) -> usize {
    let samples = if samples == 0 { table.len() } else { samples.min(table.len()) };
    let sampled: usize = table.iter().take(samples).map(|record| STR_HEADER_BYTES + heap(record)).sum();
    table.slot_bytes() + sampled * table.len() / samples.max(1)
}
