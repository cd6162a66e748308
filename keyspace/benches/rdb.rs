//! The RDB codec: keys of each type to bytes, and the same bytes to keys again.

use std::hint::black_box;
use std::io;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::rdb::{Item, Options, Reader, Writer};
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};

/// Keys of one type: their name, the command that adds to one, how many there are, and items and arguments of each.
const SHAPES: &[(&str, &str, usize, usize, usize)] = &[
    ("strings of 32 bytes", "SET", 100_000, 1, 1),
    ("lists of 10", "RPUSH", 10_000, 10, 1),
    ("lists of 1000", "RPUSH", 100, 1000, 1),
    ("sets of 1000", "SADD", 100, 1000, 1),
    ("hashes of 10", "HSET", 10_000, 10, 2),
    ("hashes of 1000", "HSET", 100, 1000, 2),
    ("sorted sets of 1000", "ZADD", 100, 1000, 2),
];

fn filled(add: &str, keys: usize, items: usize, args_per_item: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(1, 42);
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    for key in 0..keys {
        let key = format!("key:{key:012}");
        // Scores and fields come first, and differ.
        let item = |n: usize| match n % args_per_item {
            0 if args_per_item == 2 => (n * 7919).to_string(),
            _ => format!("item:{n:027}"),
        };
        let items: Vec<String> = (0..items * args_per_item).map(item).collect();
        let mut argv: Vec<&[u8]> = vec![add.as_bytes(), key.as_bytes()];
        argv.extend(items.iter().map(String::as_bytes));
        keyspace.execute(&Call::new(0, 0, &argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
        out.clear();
        unit.clear();
    }
    assert_eq!(keyspace.dbs()[0].len(), keys, "{add}");
    keyspace
}

fn encode(keyspace: &Keyspace, options: Options, out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    let mut writer = Writer::new(options);
    let db = &keyspace.dbs()[0];
    writer.select_db(0, db.len());
    db.table().iter().try_for_each(|entry| writer.key(entry, None, out))?;
    writer.finish(out)
}

fn decode(file: &[u8], keyspace: &Keyspace) -> usize {
    let mut reader = Reader::new(file, keyspace.rdb_shapes()).expect("it begins as one");
    let mut keys = 0;
    while let Some(item) = reader.next().expect("it is sound") {
        keys += usize::from(matches!(black_box(item), Item::Key(_)));
    }
    keys
}

fn rdb(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rdb");
    group.sample_size(20);
    // LZF is measured by itself: with it the figures would be those of the sample's text.
    let options = Options { compress: false, checksum: true };
    for &(name, add, keys, items, args_per_item) in SHAPES {
        let (keyspace, mut file) = (filled(add, keys, items, args_per_item), Vec::new());
        encode(&keyspace, options, &mut file).expect("a Vec takes it");
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| assert_eq!(decode(&file, &keyspace), keys));
        });
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| encode(&keyspace, options, black_box(&mut file)).expect("a Vec takes it"));
        });
    }
    group.finish();
}

criterion_group!(benches, rdb);
criterion_main!(benches);
