//! What a turn costs: framing, sealing, and the write(2), or the fdatasync under `always`. Real files in the temp
//! directory, and whatever file system that is on.

use std::sync::Arc;
use std::time::Instant;

use aof::fs::Disk;
use aof::{Directory, Fsync, Log, Op, Options};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SET: &[u8] =
    b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n";

fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for fsync in [Fsync::Everysec, Fsync::No] {
        for commands in [1_u64, 16] {
            let place = tempfile::tempdir().expect("a temp directory");
            let options = Options { fsync, ..Options::new(place.path()) };
            let directory = Directory::open(Arc::new(Disk), &options).expect("it opens");
            let mut log = Log::start(directory, &options, Box::new(|| {})).expect("it starts");
            group.throughput(Throughput::Elements(commands));
            group.bench_function(BenchmarkId::new(format!("{fsync:?}"), commands), |bencher| {
                bencher.iter(|| {
                    for _ in 0..commands {
                        log.append(0, &[Op { db: 0, command: SET }]);
                    }
                    log.seal(Instant::now());
                    // At once after a direct write; an executor that never lets the queue run empty measures memory.
                    while log.written() < log.end() {
                        std::thread::yield_now();
                    }
                });
            });
            log.stop().expect("it stops");
        }
    }
    group.finish();
}

/// Group commit: a turn of 16 commands, until it is durable.
fn always(criterion: &mut Criterion) {
    let place = tempfile::tempdir().expect("a temp directory");
    let options = Options { fsync: Fsync::Always, ..Options::new(place.path()) };
    let directory = Directory::open(Arc::new(Disk), &options).expect("it opens");
    let here = std::thread::current();
    let mut log = Log::start(directory, &options, Box::new(move || here.unpark())).expect("it starts");
    let mut group = criterion.benchmark_group("acknowledged");
    group.throughput(Throughput::Elements(16)).sample_size(10);
    group.bench_function("Always/16", |bencher| {
        bencher.iter(|| {
            for _ in 0..16 {
                log.append(0, &[Op { db: 0, command: SET }]);
            }
            log.seal(Instant::now());
            while log.durable() < log.end() {
                std::thread::park();
            }
        });
    });
    group.finish();
    log.stop().expect("it stops");
}

criterion_group!(benches, turns, always);
criterion_main!(benches);
