//! What a rewrite costs the executor: taking the snapshot, and the first write to a segment after it.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use keyspace::{Call, Keyspace, Unit};
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

criterion_group!(benches, snapshot);
criterion_main!(benches);
