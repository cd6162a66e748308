//! What the checksums and the line of a block cost, for the bytes that they stand for.

use std::hint::black_box;

use aof::Epoch;
use aof::block::{Line, crc32c};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// From one small command to the longest block that is left open.
const PAYLOADS_BYTES: [u64; 4] = [80, 1 << 10, 64 << 10, 1 << 20];

fn line(payload: &[u8]) -> Line {
    Line {
        payload_bytes: payload.len() as u64,
        position: 0x2a_4000_0000,
        lag: 0x1000,
        db: Some(0),
        time_ms: 1_700_000_000_000,
        head: None,
        payload_crc: crc32c(payload),
    }
}

fn crc(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in PAYLOADS_BYTES {
        let payload = vec![b'v'; bytes as usize];
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| crc32c(black_box(&payload)));
        });
    }
    group.finish();
}

/// Both checksums and the text of the line: all that `aof-checksum` adds to a turn but the line's own bytes.
fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    let mut out = Vec::new();
    for bytes in PAYLOADS_BYTES {
        let payload = vec![b'v'; bytes as usize];
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes });
        group.bench_function(BenchmarkId::new("encode", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                line(black_box(&payload)).encode(Epoch(7), &mut out);
            });
        });
    }
    let payload = [b'v'; 80];
    out.clear();
    line(&payload).encode(Epoch(7), &mut out);
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: out.len() as u64 });
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Line::parse(black_box(&out), Some(Epoch(7))).expect("it is whole"));
    });
    group.finish();
}

criterion_group!(benches, crc, seal);
criterion_main!(benches);
