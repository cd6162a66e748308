//! Load speed below the commands: from bytes of a file to argument vectors.

use std::path::Path;
use std::sync::Arc;

use aof::fs::Mem;
use aof::{Directory, Options, Sink, SinkError};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn command(&mut self, _: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.0 += argv.len() as u64;
        Ok(())
    }
}

fn replay(criterion: &mut Criterion) {
    const COMMANDS: u64 = 200_000;
    const SET: &str =
        "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n";
    let framed = format!("*1\r\n$5\r\nMULTI\r\n{SET}{SET}*1\r\n$4\r\nEXEC\r\n");
    let mut group = criterion.benchmark_group("replay");
    for (name, bytes) in
        [("commands", SET.repeat(COMMANDS as usize)), ("transactions", framed.repeat(COMMANDS as usize / 2))]
    {
        let mem = Mem::new();
        let dir = Path::new("/d/appendonlydir");
        mem.put(&dir.join("appendonly.aof.manifest"), b"file appendonly.aof.1.incr.aof seq 1 type i\n");
        mem.put(&dir.join("appendonly.aof.1.incr.aof"), bytes.as_bytes());
        let options = Options::new("/d");
        let mut directory = Directory::open(Arc::new(mem), &options).expect("it opens");
        group.throughput(Throughput::Elements(COMMANDS)).sample_size(20);
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
