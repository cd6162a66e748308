//! The stream, packed in nodes, beside what could hold its entries one by one: `OrdMap` of `im` and of `imbl` has
//! snapshots, `indexset`'s map has none.

mod common;

use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::types::stream::{NodeLimits, Stream, StreamId};
use keyspace::{Limits, Random, Str};

const ENTRIES: u64 = 50_000;
/// The two fields of each entry, and their values.
const PAIRS: [[&[u8]; 2]; 2] = [[b"sensor", b"north-7"], [b"celsius", b"21.5"]];

/// What all of them can do. An entry's ID is a millisecond.
trait Entries: Default {
    fn append(&mut self, ms: u64);
    /// Bytes of the entries of so many milliseconds.
    fn range_bytes(&self, from_ms: u64, count: u64) -> usize;
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

impl Entries for Stream {
    fn append(&mut self, ms: u64) {
        self.add(id(ms), &PAIRS, NodeLimits::new(&Limits::default()));
    }

    fn range_bytes(&self, from_ms: u64, count: u64) -> usize {
        self.range(id(from_ms), id(from_ms + count - 1))
            .flat_map(|entry| entry.fields)
            .map(|(field, value)| field.with_bytes(<[u8]>::len) + value.with_bytes(<[u8]>::len))
            .sum()
    }
}

macro_rules! one_by_one {
    ($($name:ty)*) => {
        $(impl Entries for $name {
            fn append(&mut self, ms: u64) {
                self.insert((ms, 0), PAIRS.as_flattened().iter().copied().map(Str::from).collect());
            }

            fn range_bytes(&self, from_ms: u64, count: u64) -> usize {
                let entries = self.range((from_ms, 0)..=(from_ms + count - 1, 0));
                entries.flat_map(|(_, pairs)| pairs.iter()).map(|text| text.len()).sum()
            }
        })*
    };
}

/// Counted, so that a copy of a map's node costs as little as it can.
type Pairs = Arc<[Str]>;

one_by_one!(im::OrdMap<(u64, u64), Pairs> imbl::OrdMap<(u64, u64), Pairs> indexset::BTreeMap<(u64, u64), Pairs>);

fn filled<E: Entries>() -> E {
    let mut entries = E::default();
    (1..=ENTRIES).for_each(|ms| entries.append(ms));
    entries
}

/// Appending is for all the entries.
fn reads_and_writes<E: Entries>(criterion: &mut Criterion, name: &str) -> E {
    let (entries, mut random) = (filled::<E>(), Random::new(1));
    assert_eq!(entries.range_bytes(ENTRIES / 2, 100), 100 * PAIRS.as_flattened().concat().len());
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(100));
    group.bench_function(BenchmarkId::new("a hundred by ID", name), |bencher| {
        bencher.iter(|| entries.range_bytes(1 + random.below(ENTRIES as usize - 100) as u64, 100));
    });
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    group.bench_function(BenchmarkId::new("append", name), |bencher| {
        bencher.iter_batched(|| (), |()| filled::<E>(), BatchSize::PerIteration);
    });
    group.finish();
    entries
}

fn first_append_after_a_snapshot<E: Entries + Clone>(criterion: &mut Criterion, name: &str, entries: &E) {
    let mut group = criterion.benchmark_group("stream");
    let id = BenchmarkId::new("first append after a snapshot", name);
    common::first_write(&mut group, id, entries, || ENTRIES + 1, E::append);
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let stream: Stream = reads_and_writes(criterion, "Stream");
    let im: im::OrdMap<_, Pairs> = reads_and_writes(criterion, "im::OrdMap");
    let imbl: imbl::OrdMap<_, Pairs> = reads_and_writes(criterion, "imbl::OrdMap");
    reads_and_writes::<indexset::BTreeMap<_, Pairs>>(criterion, "indexset");
    first_append_after_a_snapshot(criterion, "Stream", &stream);
    first_append_after_a_snapshot(criterion, "im::OrdMap", &im);
    first_append_after_a_snapshot(criterion, "imbl::OrdMap", &imbl);
}

criterion_group!(benches, all);
criterion_main!(benches);
