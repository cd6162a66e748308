//! The list, packed in chunks, beside what could hold its elements one by one: `Vector` of `im` and of `imbl` has
//! snapshots, but is cut in two and joined again by an insert in the middle; `VecDeque` has no snapshots, and moves a
//! quarter of itself.

mod common;

use std::collections::VecDeque;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::types::list::{ChunkLimit, End, List};
use keyspace::{Limits, Random, Str};

const ELEMENTS: usize = 100_000;
const ELEMENT: &[u8] = b"element:000000000123";

/// What all of them can do.
trait Elements: Default {
    fn push(&mut self, end: End);
    fn insert(&mut self, index: usize);
    fn remove(&mut self, index: usize);
    /// Bytes of so many elements from an index on.
    fn range_bytes(&self, from: usize, count: usize) -> usize;
}

fn limit() -> ChunkLimit {
    ChunkLimit::of(&Limits::default())
}

impl Elements for List {
    fn push(&mut self, end: End) {
        self.make_room(&[ELEMENT], limit());
        self.push(end, ELEMENT, limit());
    }

    fn insert(&mut self, index: usize) {
        self.insert(index, End::Left, ELEMENT, limit());
    }

    fn remove(&mut self, index: usize) {
        self.remove(index, 1);
    }

    fn range_bytes(&self, from: usize, count: usize) -> usize {
        self.iter_from(from).take(count).map(|element| element.with_bytes(<[u8]>::len)).sum()
    }
}

macro_rules! one_by_one {
    ($name:ty, $($range:tt)+) => {
        impl Elements for $name {
            fn push(&mut self, end: End) {
                match end {
                    End::Left => self.push_front(Str::from(ELEMENT)),
                    End::Right => self.push_back(Str::from(ELEMENT)),
                }
            }

            fn insert(&mut self, index: usize) {
                self.insert(index, Str::from(ELEMENT));
            }

            fn remove(&mut self, index: usize) {
                self.remove(index);
            }

            fn range_bytes(&self, from: usize, count: usize) -> usize {
                self.$($range)+(from..from + count).into_iter().map(|element| element.len()).sum()
            }
        }
    };
}

one_by_one!(im::Vector<Str>, focus().narrow);
one_by_one!(imbl::Vector<Str>, focus().narrow);
one_by_one!(VecDeque<Str>, range);

fn filled<L: Elements>(end: End) -> L {
    let mut list = L::default();
    (0..ELEMENTS).for_each(|_| list.push(end));
    list
}

/// Pushes are for all the elements.
fn ranges_and_pushes<L: Elements>(criterion: &mut Criterion, name: &str) -> L {
    let (list, mut random) = (filled::<L>(End::Right), Random::new(1));
    assert_eq!(list.range_bytes(ELEMENTS / 2, 100), 100 * ELEMENT.len());
    let mut group = criterion.benchmark_group("list");
    group.throughput(Throughput::Elements(100));
    group.bench_function(BenchmarkId::new("a hundred in the middle", name), |bencher| {
        bencher.iter(|| list.range_bytes(random.below(ELEMENTS - 100), 100));
    });
    group.throughput(Throughput::Elements(ELEMENTS as u64)).sample_size(10);
    for (what, end) in [("push at the left", End::Left), ("push at the right", End::Right)] {
        group.bench_function(BenchmarkId::new(what, name), |bencher| {
            bencher.iter_batched(|| (), |()| filled::<L>(end), BatchSize::PerIteration);
        });
    }
    group.finish();
    list
}

fn first_push_after_a_snapshot<L: Elements + Clone>(criterion: &mut Criterion, name: &str, list: &L) {
    let mut group = criterion.benchmark_group("list");
    let id = BenchmarkId::new("first push after a snapshot", name);
    common::first_write(&mut group, id, list, || End::Right, L::push);
    group.finish();
}

/// Both, so that its length stays the same.
fn inserts_and_removals<L: Elements>(criterion: &mut Criterion, name: &str, mut list: L) {
    let mut random = Random::new(2);
    let mut group = criterion.benchmark_group("list");
    group.bench_function(BenchmarkId::new("insert in the middle and remove elsewhere", name), |bencher| {
        bencher.iter(|| {
            list.insert(random.below(ELEMENTS));
            list.remove(random.below(ELEMENTS));
        });
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let list: List = ranges_and_pushes(criterion, "List");
    let im: im::Vector<Str> = ranges_and_pushes(criterion, "im::Vector");
    let imbl: imbl::Vector<Str> = ranges_and_pushes(criterion, "imbl::Vector");
    let deque: VecDeque<Str> = ranges_and_pushes(criterion, "VecDeque");
    first_push_after_a_snapshot(criterion, "List", &list);
    first_push_after_a_snapshot(criterion, "im::Vector", &im);
    first_push_after_a_snapshot(criterion, "imbl::Vector", &imbl);
    inserts_and_removals(criterion, "List", list);
    inserts_and_removals(criterion, "im::Vector", im);
    inserts_and_removals(criterion, "imbl::Vector", imbl);
    inserts_and_removals(criterion, "VecDeque", deque);
}

criterion_group!(benches, all);
criterion_main!(benches);
