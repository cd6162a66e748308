//! Load speed below the commands: from the bytes of a file to checked blocks and argument vectors. The file is in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aof::fs::Mem;
use aof::{Directory, Fsync, Log, Op, Options, Sink, SinkError};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// As a smoke test, in a build for debugging, fewer do.
const COMMANDS: u64 = if cfg!(debug_assertions) { 1 << 10 } else { 1 << 18 };
const SET: &str = "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n";
const INCR: &str = "/d/appendonlydir/appendonly.aof.1.incr.aof";

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn command(&mut self, _: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.0 += argv.len() as u64;
        Ok(())
    }
}

fn options(checksum: bool) -> Options {
    Options { fsync: Fsync::No, checksum, ..Options::new("/d") }
}

/// A log as another server writes it: no lines.
fn foreign(text: &str) -> Mem {
    let mem = Mem::new();
    let manifest = Path::new("/d/appendonlydir/appendonly.aof.manifest");
    mem.put(manifest, b"file appendonly.aof.1.incr.aof seq 1 type i\n");
    mem.put(Path::new(INCR), text.as_bytes());
    mem
}

/// A log of ours, so many commands to a block.
fn ours(checksum: bool, commands: u64) -> Mem {
    let mem = Mem::new();
    let options = options(checksum);
    let directory = Directory::open(Arc::new(mem.clone()), &options).expect("it opens");
    let mut log = Log::start(directory, &options, Box::new(|| {})).expect("it starts");
    for n in 1..=COMMANDS {
        log.append(1_700_000_000_000, &[Op { db: 0, command: SET.as_bytes() }]);
        if n.is_multiple_of(commands) {
            log.seal(Instant::now());
        }
    }
    log.stop().expect("it stops");
    mem
}

fn replay(criterion: &mut Criterion) {
    let count = COMMANDS as usize;
    let framed = format!("*1\r\n$5\r\nMULTI\r\n{SET}{SET}*1\r\n$4\r\nEXEC\r\n");
    let mut group = criterion.benchmark_group("replay");
    for (name, mem) in [
        ("commands", foreign(&SET.repeat(count))),
        ("transactions", foreign(&framed.repeat(count / 2))),
        ("aof-checksum no", ours(false, 16)),
        ("blocks of 1", ours(true, 1)),
        ("blocks of 16", ours(true, 16)),
        ("blocks of 1024", ours(true, 1024)),
    ] {
        let bytes = mem.bytes(Path::new(INCR)).expect("it is there").len() as u64;
        let options = options(true);
        let mut directory = Directory::open(Arc::new(mem), &options).expect("it opens");
        group.throughput(Throughput::ElementsAndBytes { elements: COMMANDS, bytes }).sample_size(20);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut sink = Count::default();
                directory.replay(&mut sink, &options).expect("it is sound");
                assert_eq!(sink.0, COMMANDS * 3);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
