//! How fast a base is written, as commands and as an RDB file: values to bytes, and a whole rewrite without a log into
//! memory.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::channel;

use aof::Options;
use aof::fs::Mem;
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};
use rewrite::emit::{Emitter, RdbEmitter, RespEmitter};
use rewrite::{Format, RdbFormat, Rewrite, Settings, Summary};

fn run(keyspace: &mut Keyspace, argv: &[&[u8]]) {
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    keyspace.execute(&Call::new(0, 0, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
}

/// One key of each type, collections of 1,000 items.
fn one(add: &[u8], args_per_item: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(1, 42);
    let items: Vec<String> = (0..1000 * args_per_item)
        .map(|n| if n % 2 == 0 { n.to_string() } else { format!("item:{n:08}") })
        .collect();
    let mut argv: Vec<&[u8]> = vec![add, b"key"];
    argv.extend(items.iter().map(String::as_bytes));
    if add == b"SET" {
        argv.truncate(3);
    }
    run(&mut keyspace, &argv);
    keyspace
}

/// As `aof-use-rdb-preamble yes` and the other defaults have it, but for LZF, which would measure the sample's text.
fn rdb_format() -> RdbFormat {
    RdbFormat {
        redis_version: "7.2.5".to_owned(),
        used_memory_bytes: 0,
        aof_base: true,
        compress: false,
        checksum: true,
        usage: None,
    }
}

fn write_all(keyspace: &Keyspace, mut emitter: impl Emitter, out: &mut Vec<u8>) {
    out.clear();
    let db = &keyspace.dbs()[0];
    let written = emitter
        .database(0, db.len(), out)
        .and_then(|()| db.table().iter().try_for_each(|entry| emitter.key(entry, out)))
        .and_then(|()| emitter.end(out));
    written.expect("a Vec takes it");
}

fn emit_as<E: Emitter>(criterion: &mut Criterion, format: &str, emitter: impl Fn() -> E) {
    let mut group = criterion.benchmark_group(format!("emit {format}"));
    for (add, args_per_item) in [("SET", 1), ("RPUSH", 1), ("SADD", 1), ("HSET", 2), ("ZADD", 2)] {
        let (keyspace, mut out) = (one(add.as_bytes(), args_per_item), Vec::new());
        write_all(&keyspace, emitter(), &mut out);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(add, |bencher| {
            bencher.iter(|| write_all(&keyspace, emitter(), black_box(&mut out)));
        });
    }
    group.finish();
}

fn emit(criterion: &mut Criterion) {
    emit_as(criterion, "commands", RespEmitter::default);
    emit_as(criterion, "rdb", || RdbEmitter::new(rdb_format()));
}

fn rewrite_all(keyspace: &Keyspace, format: &Format) -> Summary {
    let options = Options::new("/");
    let settings = Settings {
        incremental_fsync: false,
        ..Settings::new(rewrite::temp_path(&options, 1), format.clone())
    };
    let (wake, woken) = channel();
    let wake = Arc::new(move || {
        let _ = wake.send(());
    });
    let mut rewrite = Rewrite::begin_offline(Arc::new(Mem::new()), &options, settings, wake);
    loop {
        if let Some(outcome) = rewrite.step(None, 0, || keyspace.snapshot()) {
            return outcome.expect("it succeeds");
        }
        woken.recv().expect("it wakes");
    }
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rewrite");
    group.sample_size(10);
    for keys in [10_000u64, 300_000] {
        let mut keyspace = Keyspace::new(16, 42);
        for n in 0..keys {
            run(&mut keyspace, &[b"SET", format!("key:{n:012}").as_bytes(), &[b'v'; 32]]);
        }
        group.throughput(Throughput::Elements(keys));
        for (name, format) in [("commands", Format::Commands), ("rdb", Format::Rdb(rdb_format()))] {
            group.bench_function(BenchmarkId::new(format!("{name}, strings of 32 bytes"), keys), |bencher| {
                bencher.iter(|| rewrite_all(&keyspace, &format));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, emit, whole);
criterion_main!(benches);
