//! The default table against `im::HashMap` and plain hashbrown: reading, writing, and writing while a snapshot lives
//! (which hashbrown does not have). All three hash with the same keyed SipHash-1-3.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashTable;
use keyspace::table::{HashSeed, Persistent, Record, Segmented, Table};
use keyspace::{Random, Str};

const RECORDS: usize = 200_000;
/// Operations to a sample.
const RUN: usize = 1_000;

#[derive(Clone)]
struct Word {
    key: Str,
    value: u64,
}

impl Record for Word {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// What all three can do.
trait Map {
    fn new() -> Self;
    fn get(&self, key: &[u8]) -> Option<u64>;
    fn set(&mut self, key: &[u8], value: u64);
}

fn seed() -> HashSeed {
    HashSeed::new(1, 2)
}

#[derive(Clone)]
struct Ours<T>(T);

impl<T: Table<Word>> Map for Ours<T> {
    fn new() -> Self {
        Ours(T::new(seed()))
    }

    fn get(&self, key: &[u8]) -> Option<u64> {
        self.0.get(key).map(|word| word.value)
    }

    fn set(&mut self, key: &[u8], value: u64) {
        let hash = seed().hash(key);
        match self.0.find_mut(hash, |word| word.key == *key) {
            Some(word) => word.value = value,
            None => self.0.insert(hash, Word { key: Str::from(key), value }),
        }
    }
}

struct Plain(HashTable<Word>);

impl Map for Plain {
    fn new() -> Self {
        Plain(HashTable::new())
    }

    fn get(&self, key: &[u8]) -> Option<u64> {
        self.0.find(seed().hash(key), |word| word.key == *key).map(|word| word.value)
    }

    fn set(&mut self, key: &[u8], value: u64) {
        let hash = seed().hash(key);
        match self.0.find_mut(hash, |word| word.key == *key) {
            Some(word) => word.value = value,
            None => {
                let word = Word { key: Str::from(key), value };
                self.0.insert_unique(hash, word, |word| seed().hash(&word.key));
            }
        }
    }
}

fn key(number: usize) -> String {
    format!("key:{number:012}")
}

fn filled<M: Map>() -> M {
    let mut map = M::new();
    (0..RECORDS).for_each(|number| map.set(key(number).as_bytes(), number as u64));
    map
}

/// Keys by chance, the same for each map.
fn some_keys() -> Vec<String> {
    let mut random = Random::new(11);
    (0..RUN).map(|_| key(random.below(RECORDS))).collect()
}

fn set_all<M: Map>(map: &mut M, keys: &[String]) {
    keys.iter().zip(0..).for_each(|(key, value)| map.set(key.as_bytes(), value));
}

fn reads_and_writes<M: Map>(criterion: &mut Criterion, name: &str) {
    let mut map = filled::<M>();
    let keys = some_keys();
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(RUN as u64));
    group.bench_function(BenchmarkId::new("get", name), |bencher| {
        bencher.iter(|| keys.iter().filter_map(|key| map.get(black_box(key.as_bytes()))).sum::<u64>());
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
    reads_and_writes::<Ours<Segmented<Word>>>(criterion, "segmented");
    reads_and_writes::<Ours<Persistent<Word>>>(criterion, "im");
    reads_and_writes::<Plain>(criterion, "hashbrown");
    writes_during_a_snapshot::<Ours<Segmented<Word>>>(criterion, "segmented");
    writes_during_a_snapshot::<Ours<Persistent<Word>>>(criterion, "im");
}

criterion_group!(benches, all);
criterion_main!(benches);
