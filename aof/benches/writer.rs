//! What a turn costs: framing, sealing, and the write(2), or the fdatasync under `always`. Real files in the temp
//! directory, and whatever file system that is on. Bytes are those of the commands.

use std::sync::Arc;
use std::time::Instant;

use aof::fs::Disk;
use aof::{Directory, Fsync, Log, Op, Options, Wake};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SET: &[u8] =
    b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n";

fn start(options: &Options, wake: Wake) -> Log {
    let directory = Directory::open(Arc::new(Disk), options).expect("it opens");
    Log::start(directory, options, wake).expect("it starts")
}

fn append(log: &mut Log, commands: u64) {
    for _ in 0..commands {
        log.append(0, &[Op { db: 0, command: SET }]);
    }
    log.seal(Instant::now());
}

fn throughput(commands: u64) -> Throughput {
    Throughput::ElementsAndBytes { elements: commands, bytes: commands * SET.len() as u64 }
}

/// A turn, until it is written.
fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for (name, fsync, checksum) in
        [("everysec", Fsync::Everysec, true), ("no", Fsync::No, true), ("no, plain", Fsync::No, false)]
    {
        for commands in [1, 16, 256] {
            let place = tempfile::tempdir().expect("a temp directory");
            let options = Options { fsync, checksum, ..Options::new(place.path()) };
            let mut log = start(&options, Box::new(|| {}));
            group.throughput(throughput(commands));
            group.bench_function(BenchmarkId::new(name, commands), |bencher| {
                bencher.iter(|| {
                    append(&mut log, commands);
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

/// Group commit under `always`: a turn, until it is durable.
fn always(criterion: &mut Criterion) {
    let place = tempfile::tempdir().expect("a temp directory");
    let options = Options { fsync: Fsync::Always, ..Options::new(place.path()) };
    let here = std::thread::current();
    let mut log = start(&options, Box::new(move || here.unpark()));
    let mut group = criterion.benchmark_group("acknowledged");
    group.sample_size(10);
    for commands in [1, 16, 256] {
        group.throughput(throughput(commands));
        group.bench_function(BenchmarkId::new("always", commands), |bencher| {
            bencher.iter(|| {
                append(&mut log, commands);
                while log.durable() < log.end() {
                    std::thread::park();
                }
            });
        });
    }
    group.finish();
    log.stop().expect("it stops");
}

criterion_group!(benches, turns, always);
criterion_main!(benches);
