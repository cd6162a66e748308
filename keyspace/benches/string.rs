//! What strings cost: short ones, long ones in a row or in chunks, and a write to one that a snapshot holds.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};

/// A client that reuses its buffers.
struct Session {
    keyspace: Keyspace,
    out: BytesMut,
    unit: Unit,
}

impl Session {
    fn new(key_bytes: usize) -> Self {
        let (mut keyspace, out, unit) = (Keyspace::new(1, 42), BytesMut::new(), Unit::default());
        keyspace.has_log = false;
        let mut session = Session { keyspace, out, unit };
        session.run(&[b"SET", b"key", &vec![b'v'; key_bytes]]);
        session
    }

    fn run(&mut self, argv: &[&[u8]]) {
        self.out.clear();
        self.unit.clear();
        let Session { keyspace, out, unit } = self;
        keyspace.execute(&Call::new(0, 0, argv), &mut Encoder::new(out, Version::Resp2), unit);
        black_box(&self.out);
    }
}

fn string(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("string");
    for len in [32, 1_000, 60_000, 1 << 20] {
        let (mut session, value) = (Session::new(len), vec![b'w'; len]);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("SET", len), |bencher| {
            bencher.iter(|| session.run(&[b"SET", b"key", black_box(&value)]));
        });
        group.bench_function(BenchmarkId::new("GET", len), |bencher| {
            bencher.iter(|| session.run(&[b"GET", black_box(b"key")]));
        });
        group.bench_function(BenchmarkId::new("SETBIT", len), |bencher| {
            let mut bit = 0;
            bencher.iter(|| {
                bit = 1 - bit;
                session.run(&[b"SETBIT", black_box(b"key"), b"77", &[b'0' + bit]]);
            });
        });
    }
    group.finish();
}

/// The write copies what it touches: all that a client waits for beside its own command.
fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("string, first write after a snapshot");
    for len in [60_000, 1 << 20, 64 << 20] {
        let mut session = Session::new(len);
        let offset = (len * 4).to_string();
        group.bench_function(BenchmarkId::new("SETBIT", len), |bencher| {
            let mut bit = 0;
            bencher.iter_with_large_drop(|| {
                bit = 1 - bit;
                let view = session.keyspace.snapshot();
                session.run(&[b"SETBIT", b"key", offset.as_bytes(), &[b'0' + bit]]);
                view
            });
        });
    }
    group.finish();
}

criterion_group!(benches, string, snapshot);
criterion_main!(benches);
