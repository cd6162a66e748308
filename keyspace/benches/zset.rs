//! The sorted set beside what could be put together from others' crates: `indexset` has ranks and no snapshots, `imbl`
//! has snapshots and no ranks. Both need a table beside them that finds a member's score.

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::table::HashSeed;
use keyspace::types::zset::{Thresholds, ZSet};
use keyspace::{Limits, Random};

const MEMBERS: usize = 100_000;

type Member = Vec<u8>;

/// What a sorted set does; scores are integers, which all of them order.
trait Scores {
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

fn scores<S: Scores>(criterion: &mut Criterion, name: &str) -> S {
    let (mut set, mut random) = (filled::<S>(), Random::new(2));
    let mut group = criterion.benchmark_group("zset");
    group.sample_size(20);
    group.bench_function(BenchmarkId::new("change a score", name), |bencher| {
        bencher.iter(|| set.set(&member(random.below(MEMBERS)), random.next_u64() >> 20));
    });
    group.bench_function(BenchmarkId::new("score", name), |bencher| {
        bencher.iter(|| set.score(&member(random.below(MEMBERS))));
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function(BenchmarkId::new("a hundred from the first on", name), |bencher| {
        bencher.iter(|| set.range_bytes(0, 100));
    });
    group.finish();
    set
}

fn ranks<S: Ranks>(criterion: &mut Criterion, name: &str, set: &S) {
    let mut random = Random::new(3);
    let mut group = criterion.benchmark_group("zset");
    group.sample_size(20);
    group.bench_function(BenchmarkId::new("rank", name), |bencher| {
        bencher.iter(|| set.rank(&member(random.below(MEMBERS))));
    });
    group.finish();
}

fn first_write_after_a_snapshot<S: Scores + Clone>(criterion: &mut Criterion, name: &str, set: &S) {
    let mut random = Random::new(4);
    let mut group = criterion.benchmark_group("zset");
    group.sample_size(20);
    let id = BenchmarkId::new("first write after a snapshot", name);
    let change = || (member(random.below(MEMBERS)), random.next_u64() >> 20);
    common::first_write(&mut group, id, set, change, |set, (member, score)| set.set(&member, score));
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let ours: Ours = scores(criterion, "ZSet");
    let indexset: Indexset = scores(criterion, "HashMap and indexset");
    let imbl: Imbl = scores(criterion, "imbl");
    ranks(criterion, "ZSet", &ours);
    ranks(criterion, "HashMap and indexset", &indexset);
    first_write_after_a_snapshot(criterion, "ZSet", &ours);
    first_write_after_a_snapshot(criterion, "imbl", &imbl);
}

criterion_group!(benches, all);
criterion_main!(benches);
