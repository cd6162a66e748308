//! The sorted set beside what could be put together from others' crates: `indexset` has ranks and no snapshots, `imbl`
//! has snapshots and no ranks. Both need a table beside them that finds a member's score.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::table::HashSeed;
use keyspace::types::zset::{Thresholds, ZSet};
use keyspace::{Limits, Random};

const MEMBERS: usize = 100_000;

type Member = Vec<u8>;

/// What a sorted set does; scores are integers, which all of them order.
trait Scores: Clone {
    fn new() -> Self;
    fn set(&mut self, member: &[u8], score: u64);
    fn score(&self, member: &[u8]) -> Option<u64>;
    /// Bytes of so many members from a rank on.
    fn range_bytes(&self, from: usize, count: usize) -> usize;
}

/// Those that know a member's rank.
trait Ranks: Scores {
    fn rank(&self, member: &[u8]) -> Option<usize>;
}

#[derive(Clone)]
struct Ours(ZSet);

fn thresholds() -> Thresholds {
    Thresholds::new(&Limits::default(), HashSeed::new(1, 2))
}

impl Scores for Ours {
    fn new() -> Self {
        Ours(ZSet::for_members(b"", MEMBERS, thresholds()))
    }

    fn set(&mut self, member: &[u8], score: u64) {
        self.0.insert(member, score as f64, thresholds());
    }

    fn score(&self, member: &[u8]) -> Option<u64> {
        self.0.score(member).map(|score| score as u64)
    }

    fn range_bytes(&self, from: usize, count: usize) -> usize {
        self.0.range(from..from + count).map(|(member, _)| member.with_bytes(<[u8]>::len)).sum()
    }
}

impl Ranks for Ours {
    fn rank(&self, member: &[u8]) -> Option<usize> {
        self.0.rank(member).map(|(rank, _)| rank)
    }
}

#[derive(Clone)]
struct Indexset {
    scores: std::collections::HashMap<Member, u64>,
    order: indexset::BTreeSet<(u64, Member)>,
}

impl Scores for Indexset {
    fn new() -> Self {
        Indexset { scores: std::collections::HashMap::new(), order: indexset::BTreeSet::new() }
    }

    fn set(&mut self, member: &[u8], score: u64) {
        if let Some(old) = self.scores.insert(member.to_vec(), score) {
            self.order.remove(&(old, member.to_vec()));
        }
        self.order.insert((score, member.to_vec()));
    }

    fn score(&self, member: &[u8]) -> Option<u64> {
        self.scores.get(member).copied()
    }

    fn range_bytes(&self, from: usize, count: usize) -> usize {
        (from..from + count)
            .filter_map(|rank| self.order.get_index(rank))
            .map(|(_, member)| member.len())
            .sum()
    }
}

impl Ranks for Indexset {
    fn rank(&self, member: &[u8]) -> Option<usize> {
        Some(self.order.rank(&(self.score(member)?, member.to_vec())))
    }
}

#[derive(Clone)]
struct Imbl {
    scores: imbl::HashMap<Member, u64>,
    order: imbl::OrdSet<(u64, Member)>,
}

impl Scores for Imbl {
    fn new() -> Self {
        Imbl { scores: imbl::HashMap::new(), order: imbl::OrdSet::new() }
    }

    fn set(&mut self, member: &[u8], score: u64) {
        if let Some(old) = self.scores.insert(member.to_vec(), score) {
            self.order.remove(&(old, member.to_vec()));
        }
        self.order.insert((score, member.to_vec()));
    }

    fn score(&self, member: &[u8]) -> Option<u64> {
        self.scores.get(member).copied()
    }

    fn range_bytes(&self, from: usize, count: usize) -> usize {
        self.order.iter().skip(from).take(count).map(|(_, member)| member.len()).sum()
    }
}

fn member(number: usize) -> Member {
    format!("member:{number:012}").into_bytes()
}

fn filled<S: Scores>() -> S {
    let mut random = Random::new(1);
    let mut scores = S::new();
    (0..MEMBERS).for_each(|number| scores.set(&member(number), random.next_u64() >> 20));
    scores
}

fn scores<S: Scores>(criterion: &mut Criterion, name: &str) {
    let (mut set, mut random) = (filled::<S>(), Random::new(2));
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.bench_function("change a score", |b| {
        b.iter(|| set.set(&member(random.below(MEMBERS)), random.next_u64() >> 20));
    });
    group.bench_function("score", |b| b.iter(|| set.score(&member(random.below(MEMBERS)))));
    group.bench_function("first write after a snapshot", |b| {
        b.iter_batched(
            || (set.clone(), member(random.below(MEMBERS)), random.next_u64() >> 20),
            |(mut set, member, score)| {
                set.set(&member, score);
                black_box(set)
            },
            BatchSize::NumIterations(16),
        );
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("a hundred from the first on", |b| b.iter(|| set.range_bytes(0, 100)));
    group.finish();
}

fn ranks<S: Ranks>(criterion: &mut Criterion, name: &str) {
    let (set, mut random) = (filled::<S>(), Random::new(3));
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.bench_function("rank", |b| b.iter(|| set.rank(&member(random.below(MEMBERS)))));
    group.finish();
}

fn all(criterion: &mut Criterion) {
    scores::<Ours>(criterion, "ZSet");
    ranks::<Ours>(criterion, "ZSet");
    scores::<Indexset>(criterion, "HashMap and indexset");
    ranks::<Indexset>(criterion, "HashMap and indexset");
    scores::<Imbl>(criterion, "imbl");
}

criterion_group!(benches, all);
criterion_main!(benches);
