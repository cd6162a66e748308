//! The counted B+tree beside what could stand in its place: `BTreeSet` has no places and no snapshots, `indexset`'s has
//! places and no snapshots, `OrdSet` of `im` and of `imbl` has snapshots and no places; their `Vector` has both, but no
//! order of its own, and no cheap insert.

mod common;

use std::collections::BTreeSet;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::Random;
use keyspace::types::tree::{Item, Tree};

const RECORDS: usize = 100_000;

/// As long as a sorted set's record, and found in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record(u64, [u64; 2]);

impl Item for Record {
    type Key = u64;

    fn key(&self) -> u64 {
        self.0
    }
}

/// What all of them can do.
trait Walk {
    /// The sum of all records, wrapped.
    fn sum(&self) -> u64;
}

/// Those that keep records in order.
trait Sorted: Default {
    fn insert(&mut self, record: Record);
    fn contains(&self, record: &Record) -> bool;
}

/// Those in which a record has a place.
trait Placed: Default {
    /// Adds a record that is greater than all others.
    fn append(&mut self, record: Record);
    fn get(&self, place: usize) -> Option<&Record>;
}

macro_rules! walk {
    ($($name:ty)*) => {
        $(impl Walk for $name {
            fn sum(&self) -> u64 {
                self.iter().fold(0, |sum, record| sum.wrapping_add(record.0))
            }
        })*
    };
}

macro_rules! sorted {
    ($($name:ty)*) => {
        $(impl Sorted for $name {
            fn insert(&mut self, record: Record) {
                self.insert(record);
            }

            fn contains(&self, record: &Record) -> bool {
                self.contains(record)
            }
        })*
    };
}

macro_rules! placed {
    ($($name:ty, $append:ident, $get:ident;)*) => {
        $(impl Placed for $name {
            fn append(&mut self, record: Record) {
                self.$append(record);
            }

            fn get(&self, place: usize) -> Option<&Record> {
                self.$get(place)
            }
        })*
    };
}

type Indexset = indexset::BTreeSet<Record>;

walk!(Tree<Record> BTreeSet<Record> Indexset im::OrdSet<Record> imbl::OrdSet<Record>);
walk!(im::Vector<Record> imbl::Vector<Record>);
sorted!(BTreeSet<Record> Indexset im::OrdSet<Record> imbl::OrdSet<Record>);
placed! {
    Tree<Record>, push_back, get;
    Indexset, insert, get_index;
    im::Vector<Record>, push_back, get;
    imbl::Vector<Record>, push_back, get;
}

impl Sorted for Tree<Record> {
    fn insert(&mut self, record: Record) {
        let place = self.last_before(|&key| key < record.0).map_or(0, |(way, _)| self.index(&way) + 1);
        self.insert(place, record);
    }

    fn contains(&self, record: &Record) -> bool {
        self.last_before(|&key| key <= record.0).is_some_and(|(_, found)| found == record)
    }
}

fn records() -> Vec<Record> {
    let mut random = Random::new(1);
    (0..RECORDS).map(|_| Record(random.next_u64(), [0; 2])).collect()
}

fn inserted<S: Sorted>(records: &[Record]) -> S {
    let mut set = S::default();
    records.iter().for_each(|&record| set.insert(record));
    set
}

fn appended<P: Placed>() -> P {
    let mut row = P::default();
    (0..RECORDS as u64).for_each(|number| row.append(Record(number, [0; 2])));
    row
}

/// Building is for all the records, finding for one.
fn sorted<S: Sorted + Walk>(criterion: &mut Criterion, name: &str) -> S {
    let (records, mut random) = (records(), Random::new(2));
    let set: S = inserted(&records);
    let mut group = criterion.benchmark_group("tree");
    group.bench_function(BenchmarkId::new("find", name), |bencher| {
        bencher.iter(|| set.contains(&records[random.below(RECORDS)]));
    });
    group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(10);
    group.bench_function(BenchmarkId::new("insert in random order", name), |bencher| {
        bencher.iter_batched(|| (), |()| inserted::<S>(&records), BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("iterate over inserted", name), |bencher| {
        bencher.iter(|| set.sum());
    });
    group.finish();
    set
}

/// Building is for all the records, reading for one.
fn placed<P: Placed + Walk>(criterion: &mut Criterion, name: &str) {
    let (row, mut random) = (appended::<P>(), Random::new(3));
    let mut group = criterion.benchmark_group("tree");
    group.bench_function(BenchmarkId::new("get by place", name), |bencher| {
        bencher.iter(|| row.get(random.below(RECORDS)).copied());
    });
    group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(10);
    group.bench_function(BenchmarkId::new("append", name), |bencher| {
        bencher.iter_batched(|| (), |()| appended::<P>(), BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("iterate over appended", name), |bencher| {
        bencher.iter(|| row.sum());
    });
    group.finish();
}

fn first_write_after_a_snapshot<S: Sorted + Clone>(criterion: &mut Criterion, name: &str, set: &S) {
    let mut random = Random::new(4);
    let mut group = criterion.benchmark_group("tree");
    let id = BenchmarkId::new("first write after a snapshot", name);
    common::first_write(&mut group, id, set, || Record(random.next_u64(), [1; 2]), S::insert);
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let tree: Tree<Record> = sorted(criterion, "Tree");
    sorted::<BTreeSet<_>>(criterion, "BTreeSet");
    sorted::<Indexset>(criterion, "indexset");
    let im: im::OrdSet<Record> = sorted(criterion, "im::OrdSet");
    let imbl: imbl::OrdSet<Record> = sorted(criterion, "imbl::OrdSet");
    placed::<Tree<_>>(criterion, "Tree");
    placed::<Indexset>(criterion, "indexset");
    placed::<im::Vector<_>>(criterion, "im::Vector");
    placed::<imbl::Vector<_>>(criterion, "imbl::Vector");
    first_write_after_a_snapshot(criterion, "Tree", &tree);
    first_write_after_a_snapshot(criterion, "im::OrdSet", &im);
    first_write_after_a_snapshot(criterion, "imbl::OrdSet", &imbl);
}

criterion_group!(benches, all);
criterion_main!(benches);
