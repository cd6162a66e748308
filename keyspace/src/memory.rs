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
use crate::{Db, Garbage, Random, ValueRef};

impl Entry<'_> {
    /// Bytes of the key, its value and its place in the table. `samples` members of a table are measured, all of them
    /// if that is 0.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        self.sampled_bytes(Samples::from_first(samples))
    }

    pub(crate) fn sampled_bytes(&self, samples: Samples) -> usize {
        let expire = self.expire_at_ms().map_or(0, |at| size_of_val(&at));
        RECORD_BYTES + expire + string_bytes(self.key()) + self.value().memory_bytes(samples)
    }
}

/// Which parts of a value stand for all of them: so many, from all over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples {
    /// 0 is all.
    count: usize,
    first: usize,
}

impl Samples {
    /// The same ones each time that a value is asked about.
    fn from_first(count: usize) -> Self {
        Samples { count, first: 0 }
    }

    /// Those that nobody can foresee, for what decides about eviction: who knew them could make one field stand for a
    /// million.
    pub(crate) fn by_chance(random: &mut Random) -> Self {
        const COUNT: usize = 16;
        Samples { count: COUNT, first: random.next_u64() as usize }
    }

    /// How many they are of `len` things.
    fn of(self, len: usize) -> usize {
        if self.count == 0 { len } else { self.count.min(len) }
    }

    /// Which they are of `len` things.
    fn places(self, len: usize) -> impl Iterator<Item = usize> {
        let count = self.of(len);
        (0..count).map(move |sample| (self.first % len + sample * len / count) % len)
    }
}

impl Garbage {
    /// About how many bytes fall free with it, from samples by chance.
    pub fn memory_bytes(&self, random: &mut Random) -> usize {
        let samples = Samples::by_chance(random);
        match self {
            Garbage::Value(value) => value.view().memory_bytes(samples),
            Garbage::Db(db) => {
                let heap = |entry: Entry<'_>| heap_bytes(entry.key()) + entry.value().heap_bytes(samples);
                table_bytes(db.table(), samples, heap)
            }
        }
    }
}

impl ValueRef<'_> {
    /// What it has outside of its record.
    fn heap_bytes(self, samples: Samples) -> usize {
        match self {
            ValueRef::Int(_) => 0,
            ValueRef::Str(bytes) => heap_bytes(bytes),
            value => value.memory_bytes(samples),
        }
    }

    fn memory_bytes(self, samples: Samples) -> usize {
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

fn packed_bytes(table: &Fields, samples: Samples) -> usize {
    table_bytes(table, samples, |entry| heap_bytes(entry.key()) + heap_bytes(entry.string()))
}

/// A sorted set's chunks, judged by a sample, and its index.
fn large_bytes(large: &Large, samples: Samples) -> usize {
    let chunks = large.chunks();
    // Whatever is shared has its count, and each chunk a pointer to it in their sequence.
    let shared = size_of::<usize>();
    let own = shared + size_of::<Chunk>() + size_of::<Arc<Chunk>>() + size_of::<Run>();
    let chunks = spread(chunks.len(), samples, |at| chunks.get(at).map(|chunk| own + chunk.heap_bytes()));
    shared + size_of::<Large>() + chunks + table_bytes(large.index(), samples, |_| 0)
}

/// A list's chunks, judged by a sample.
fn list_bytes(list: &List, samples: Samples) -> usize {
    spread(list.free_effort(), samples, |at| list.chunk(at).map(Listpack::heap_bytes))
}

/// The sum over `len` things, judged by some of them.
fn spread(len: usize, samples: Samples, bytes: impl Fn(usize) -> Option<usize>) -> usize {
    scale(samples.places(len).filter_map(bytes).sum(), len, samples.of(len))
}

/// A stream's nodes, and its groups, each judged by a sample.
fn stream_bytes(stream: &Stream, samples: Samples) -> usize {
    let nodes = stream.nodes();
    let node = |node: &Node| size_of::<Node>() + node.pack().heap_bytes();
    let nodes = spread(nodes.len(), samples, |at| nodes.get(at).map(node));
    let groups = stream.groups();
    nodes + spread(groups.len(), samples, |at| groups.get(at).map(|group| group_bytes(group, samples)))
}

/// A group's consumers, judged by a sample, and what they have not acknowledged.
fn group_bytes(group: &Group, samples: Samples) -> usize {
    let consumers = group.consumers();
    let consumer = |consumer: &Consumer| size_of::<Consumer>() + consumer.name.len();
    let consumers = spread(consumers.len(), samples, |at| consumers.get(at).map(consumer));
    // Each pending entry is known to the group and to the consumer.
    let pending = group.pending().len() * (size_of::<Pending>() + size_of::<StreamId>());
    size_of::<Group>() + group.name.len() + consumers + pending
}

/// A table's segments, and what its records have on the heap.
fn table_bytes<'a, S: Segment>(
    table: &'a Spine<S>,
    samples: Samples,
    heap: impl Fn(S::Item<'a>) -> usize,
) -> usize {
    let segments = spread(table.segments_len(), samples, |at| table.segment(at).map(Segment::heap_bytes));
    segments + table.own_bytes() + records_bytes(table, samples, heap)
}

/// The sum over a table's records. One stands for its segment, of which some have twice as many records as others.
fn records_bytes<'a, S: Segment>(
    table: &'a Spine<S>,
    samples: Samples,
    bytes: impl Fn(S::Item<'a>) -> usize,
) -> usize {
    let (len, segments, count) = (table.len(), table.segments_len(), samples.of(table.len()));
    if count == len {
        return table.iter().map(bytes).sum();
    }
    let judge = |place: usize| {
        let segment = table.segment(place * segments / len)?;
        let at = place * segments % len * segment.records() / len;
        segment.nth(at).map(|record| segment.records() * bytes(record))
    };
    scale(samples.places(len).filter_map(judge).sum(), segments, count)
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
