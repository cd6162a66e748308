//! The table that keys, fields and members stand in, as a hash uses it, against `im`, `imbl`, `hashbrown` and
//! `indexset`: reading, writing, and writing while a snapshot lives, for which the last two would have to be copied
//! whole. All but `indexset`, which is ordered, hash with SipHash-1-3 under a secret key, since clients name the keys.

use std::collections::hash_map::RandomState;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::table::HashSeed;
use keyspace::types::hash::{Hash, Thresholds};
use keyspace::{Limits, Random, Str};

const RECORDS: usize = 200_000;
/// Operations to a sample.
const RUN: usize = 1_000;
const VALUE: [u8; 32] = [b'v'; 32];

/// What all of them can do.
trait Map {
    fn new() -> Self;
    /// How long a key's value is.
    fn value_len(&self, key: &[u8]) -> usize;
    fn set(&mut self, key: &[u8], value: &[u8]);
}

#[derive(Clone)]
struct Packed(Hash);

fn thresholds() -> Thresholds {
    Thresholds::new(&Limits::default(), HashSeed::new(1, 2))
}

impl Map for Packed {
    fn new() -> Self {
        Packed(Hash::for_fields(RECORDS, thresholds()))
    }

    fn value_len(&self, key: &[u8]) -> usize {
        self.0.get(key).map_or(0, |value| value.with_bytes(<[u8]>::len))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.0.set(key, value, thresholds());
    }
}

macro_rules! map_of_strings {
    ($name:ty) => {
        impl Map for $name {
            fn new() -> Self {
                Default::default()
            }

            fn value_len(&self, key: &[u8]) -> usize {
                self.get(key).map_or(0, |value| value.len())
            }

            fn set(&mut self, key: &[u8], value: &[u8]) {
                self.insert(Box::from(key), Str::from(value));
            }
        }
    };
}

map_of_strings!(im::HashMap<Box<[u8]>, Str, RandomState>);
map_of_strings!(imbl::HashMap<Box<[u8]>, Str>);
map_of_strings!(hashbrown::HashMap<Box<[u8]>, Str, RandomState>);
map_of_strings!(indexset::BTreeMap<Box<[u8]>, Str>);

fn key(number: usize) -> String {
    format!("key:{number:012}")
}

fn filled<M: Map>() -> M {
    let mut map = M::new();
    (0..RECORDS).for_each(|number| map.set(key(number).as_bytes(), &VALUE));
    map
}

/// Keys by chance, the same for each map.
fn some_keys() -> Vec<String> {
    let mut random = Random::new(11);
    (0..RUN).map(|_| key(random.below(RECORDS))).collect()
}

fn set_all<M: Map>(map: &mut M, keys: &[String]) {
    keys.iter().for_each(|key| map.set(key.as_bytes(), &VALUE));
}

fn reads_and_writes<M: Map>(criterion: &mut Criterion, name: &str) {
    let mut map = filled::<M>();
    let keys = some_keys();
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(RUN as u64));
    group.bench_function(BenchmarkId::new("get", name), |bencher| {
        bencher.iter(|| keys.iter().map(|key| map.value_len(black_box(key.as_bytes()))).sum::<usize>());
    });
    group.bench_function(BenchmarkId::new("set", name), |bencher| {
        bencher.iter(|| set_all(&mut map, black_box(&keys)));
    });
    group.finish();
}

/// Each sample starts with a new snapshot, so that most of its writes are the first to their segment: the worst case.
fn writes_during_a_snapshot<M: Map + Clone>(criterion: &mut Criterion, name: &str) {
    let mut map = filled::<M>();
    let keys = some_keys();
    let mut snapshot = map.clone();
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(RUN as u64));
    group.bench_function(BenchmarkId::new("set during a snapshot", name), |bencher| {
        bencher.iter_batched(
            || keys.as_slice(),
            |keys| {
                snapshot = map.clone();
                set_all(&mut map, black_box(keys));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    drop(snapshot);
}

fn all(criterion: &mut Criterion) {
    reads_and_writes::<Packed>(criterion, "packed");
    reads_and_writes::<im::HashMap<_, _, _>>(criterion, "im");
    reads_and_writes::<imbl::HashMap<_, _>>(criterion, "imbl");
    reads_and_writes::<hashbrown::HashMap<_, _, _>>(criterion, "hashbrown");
    reads_and_writes::<indexset::BTreeMap<_, _>>(criterion, "indexset");
    writes_during_a_snapshot::<Packed>(criterion, "packed");
    writes_during_a_snapshot::<im::HashMap<_, _, _>>(criterion, "im");
    writes_during_a_snapshot::<imbl::HashMap<_, _>>(criterion, "imbl");
}

criterion_group!(benches, all);
criterion_main!(benches);
