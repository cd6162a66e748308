//! Our request parser beside the one of the `redis` crate, which reads a request as an array of bulk strings.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use resp::{Limits, Parser, request};

/// As a server does it: parse, lay the arguments over the buffer, go on behind the request.
fn ours(parser: &mut Parser, mut buf: &[u8]) -> usize {
    let limits = Limits::default();
    let mut args = 0;
    while let Ok(Some(len_bytes)) = parser.parse(buf, &limits) {
        args += black_box(parser.argv(buf)).len();
        buf = &buf[len_bytes..];
    }
    args
}

/// It swallows the whole buffer with the first value and hands the others out from its own.
fn theirs(parser: &mut redis::Parser, mut buf: &[u8], requests: usize) -> usize {
    let mut args = 0;
    for _ in 0..requests {
        let Ok(redis::Value::Array(argv)) = parser.parse_value(&mut buf) else { break };
        args += black_box(argv).len();
    }
    args
}

/// Sixteen times the same request.
fn pipeline(argv: &[&[u8]]) -> BytesMut {
    let mut stream = BytesMut::new();
    (0..16).for_each(|_| request::encode(argv, &mut stream));
    stream
}

/// Name, requests, bytes.
fn streams() -> [(&'static str, usize, BytesMut); 4] {
    let mut value_1_mib = BytesMut::new();
    request::encode(&[b"SET", b"key:000000000001", &vec![b'x'; 1 << 20]], &mut value_1_mib);
    [
        ("16 SET", 16, pipeline(&[b"SET", b"key:000000000001", b"xxx"])),
        ("16 GET", 16, pipeline(&[b"GET", b"key:000000000001"])),
        ("16 SET of 4 KiB", 16, pipeline(&[b"SET", b"key:000000000001", &[b'x'; 4096]])),
        ("SET of 1 MiB", 1, value_1_mib),
    ]
}

fn parse(criterion: &mut Criterion) {
    for (name, requests, stream) in streams() {
        let mut group = criterion.benchmark_group(format!("request/{name}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let (mut parser, mut rival) = (Parser::default(), redis::Parser::new());
        assert_eq!(ours(&mut parser, &stream), theirs(&mut rival, &stream, requests), "both read the same");
        group.bench_function("resp", |bencher| bencher.iter(|| ours(&mut parser, black_box(&stream))));
        group.bench_function("redis", |bencher| {
            bencher.iter(|| theirs(&mut rival, black_box(&stream), requests))
        });
        group.finish();
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
