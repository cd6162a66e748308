//! The compact encoding at the sizes where it ends: finding the last field of a hash, a member that is not there, and
//! building a listpack element by element.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::types::listpack::Listpack;

fn build(elements: &[Vec<u8>]) -> Listpack {
    let mut pack = Listpack::new();
    elements.iter().for_each(|element| pack.push_back(element));
    pack
}

/// `len` elements of each kind: short strings that share a tag, integers, and strings with a head of two bytes.
fn kinds(len: usize) -> [(&'static str, Vec<Vec<u8>>); 3] {
    let elements = |name: fn(usize) -> String| (0..len).map(|number| name(number).into_bytes()).collect();
    [
        ("strings", elements(|number| format!("field:{number:04}"))),
        ("integers", elements(|number| (1000 + number).to_string())),
        ("long", elements(|number| format!("{number:064}x"))),
    ]
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("listpack/find");
    for len in [128, 512] {
        group.throughput(Throughput::Elements(len as u64));
        for (kind, elements) in kinds(len) {
            let pack = build(&elements);
            group.bench_function(BenchmarkId::new(kind, len), |bencher| {
                bencher.iter(|| black_box(&pack).find(pack.first(), black_box(b"field:none"), 1));
            });
        }
    }
    group.finish();
}

fn push_back(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("listpack/push_back");
    for (kind, elements) in kinds(128) {
        group.throughput(Throughput::Elements(elements.len() as u64));
        group.bench_function(kind, |bencher| bencher.iter(|| build(black_box(&elements))));
    }
    group.finish();
}

criterion_group!(benches, find, push_back);
criterion_main!(benches);
