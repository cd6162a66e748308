//! The counted B+tree beside what could stand in its place: `BTreeSet` (no places, no snapshots), `im::OrdSet`
//! (snapshots, no places) and `im::Vector` (places and snapshots, no cheap insert).

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::Random;
use keyspace::types::tree::{Item, Tree};

const ITEMS: usize = 100_000;

/// As long as a sorted set's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record(u64, [u64; 2]);

impl Item for Record {
    type Key = ();

    fn key(&self) {}
}

fn records() -> Vec<Record> {
    let mut random = Random::new(1);
    (0..ITEMS).map(|_| Record(random.next_u64(), [0; 2])).collect()
}

fn insert(tree: &mut Tree<Record>, record: Record) {
    tree.insert(tree.partition_point(|own| *own < record), record);
}

/// Each figure is for all the items.
fn building(c: &mut Criterion) {
    let records = records();
    let mut group = c.benchmark_group("insert in random order");
    group.throughput(Throughput::Elements(ITEMS as u64)).sample_size(10);
    group.bench_function("Tree", |b| {
        b.iter(|| records.iter().fold(Tree::new(), |mut tree, &record| (insert(&mut tree, record), tree).1));
    });
    group.bench_function("BTreeSet", |b| {
        b.iter(|| records.iter().fold(BTreeSet::new(), |mut set, &record| (set.insert(record), set).1));
    });
    group.bench_function("im::OrdSet", |b| {
        b.iter(|| records.iter().fold(im::OrdSet::new(), |mut set, &record| (set.insert(record), set).1));
    });
    group.finish();

    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(ITEMS as u64)).sample_size(10);
    group.bench_function("Tree", |b| {
        b.iter(|| {
            (0..ITEMS as u64).fold(Tree::new(), |mut tree, n| (tree.push_back(Record(n, [0; 2])), tree).1)
        });
    });
    group.bench_function("im::Vector", |b| {
        b.iter(|| {
            (0..ITEMS as u64)
                .fold(im::Vector::new(), |mut list, n| (list.push_back(Record(n, [0; 2])), list).1)
        });
    });
    group.finish();
}

/// Each figure is for one lookup.
fn reading(c: &mut Criterion) {
    let records = records();
    let tree: Tree<Record> = records.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let ordered: BTreeSet<Record> = records.iter().copied().collect();
    let persistent: im::OrdSet<Record> = records.iter().copied().collect();
    let list: im::Vector<Record> = ordered.iter().copied().collect();
    let mut random = Random::new(2);

    let mut group = c.benchmark_group("find");
    group.bench_function("Tree", |b| {
        b.iter(|| {
            let wanted = records[random.below(ITEMS)];
            tree.partition_point(|own| *own < wanted)
        });
    });
    group.bench_function("BTreeSet", |b| b.iter(|| ordered.contains(&records[random.below(ITEMS)])));
    group.bench_function("im::OrdSet", |b| b.iter(|| persistent.contains(&records[random.below(ITEMS)])));
    group.finish();

    let mut group = c.benchmark_group("get by place");
    group.bench_function("Tree", |b| b.iter(|| tree.get(random.below(ITEMS)).copied()));
    group.bench_function("im::Vector", |b| b.iter(|| list.get(random.below(ITEMS)).copied()));
    group.finish();

    let mut group = c.benchmark_group("iterate");
    group.throughput(Throughput::Elements(ITEMS as u64));
    let sum = |records: &mut dyn Iterator<Item = &Record>| {
        records.fold(0u64, |sum, record| sum.wrapping_add(record.0))
    };
    group.bench_function("Tree", |b| b.iter(|| sum(&mut tree.iter())));
    group.bench_function("BTreeSet", |b| b.iter(|| sum(&mut ordered.iter())));
    group.bench_function("im::OrdSet", |b| b.iter(|| sum(&mut persistent.iter())));
    group.bench_function("im::Vector", |b| b.iter(|| sum(&mut list.iter())));
    group.finish();
}

/// Each figure is for one replaced item in a structure that a snapshot shares.
fn writing_after_a_snapshot(c: &mut Criterion) {
    let records = records();
    let tree: Tree<Record> = records.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let persistent: im::OrdSet<Record> = records.iter().copied().collect();
    let mut random = Random::new(3);
    let mut group = c.benchmark_group("first write after a snapshot");
    group.bench_function("Tree", |b| {
        b.iter_batched(
            || (tree.clone(), Record(random.next_u64(), [1; 2])),
            |(mut tree, record)| {
                insert(&mut tree, record);
                black_box(tree)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("im::OrdSet", |b| {
        b.iter_batched(
            || (persistent.clone(), Record(random.next_u64(), [1; 2])),
            |(mut set, record)| {
                set.insert(record);
                black_box(set)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, building, reading, writing_after_a_snapshot);
criterion_main!(benches);
