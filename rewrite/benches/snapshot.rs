//! What a rewrite costs the executor: taking the snapshot, and the first write to a segment after it. What it costs the job
//! to walk one, before a byte is written.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::table::Segment;
use keyspace::{Call, Keyspace, Snapshot, Unit};
use resp::{Encoder, Version};

fn set(keyspace: &mut Keyspace, key: &str, value: &[u8]) {
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    let argv: &[&[u8]] = &[b"SET", key.as_bytes(), value];
    keyspace.execute(&Call::new(0, 0, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
}

fn filled(keys: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(16, 42);
    (0..keys).for_each(|n| set(&mut keyspace, &format!("key:{n:012}"), &[b'v'; 32]));
    keyspace
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    for keys in [1_000, 100_000, 1_000_000] {
        let mut keyspace = filled(keys);
        group.bench_function(BenchmarkId::new("take", keys), |bencher| {
            bencher.iter(|| black_box(keyspace.snapshot()));
        });
        let key = format!("key:{:012}", keys / 2);
        group.bench_function(BenchmarkId::new("take, then write", keys), |bencher| {
            bencher.iter_with_large_drop(|| {
                let view = keyspace.snapshot();
                set(&mut keyspace, &key, b"w");
                view
            });
        });
    }
    group.finish();
}

/// Consumes a snapshot, segment by segment, and looks at each key.
fn walk_all(snapshot: Snapshot) -> usize {
    let segments = snapshot.dbs.into_iter().flat_map(|db| db.into_table().into_segments());
    segments.map(|segment| segment.iter().map(|entry| entry.key().len()).sum::<usize>()).sum()
}

fn walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk");
    group.sample_size(20);
    for keys in [1_000, 100_000, 1_000_000] {
        let keyspace = filled(keys);
        group.throughput(Throughput::Elements(keys as u64));
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter_batched(|| keyspace.snapshot(), walk_all, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, snapshot, walk);
criterion_main!(benches);
