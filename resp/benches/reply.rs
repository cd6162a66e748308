//! Our reply decoder beside the one of the `redis` crate, and the encoder and the double's printer alone.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use resp::{Decoder, Encoder, Version, number};

fn ours(decoder: &mut Decoder, mut buf: &[u8]) -> usize {
    let mut replies = 0;
    while let Ok(Some((reply, len_bytes))) = decoder.decode(buf) {
        black_box(reply);
        replies += 1;
        buf = &buf[len_bytes..];
    }
    replies
}

/// It swallows the whole buffer with the first value and hands the others out from its own.
fn theirs(parser: &mut redis::Parser, mut buf: &[u8], replies: usize) -> usize {
    (0..replies).map_while(|_| parser.parse_value(&mut buf).map(black_box).ok()).count()
}

fn stream(version: Version, write: impl FnOnce(&mut Encoder<'_>)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut Encoder::new(&mut out, version));
    out
}

/// Name, replies, bytes.
fn streams() -> [(&'static str, usize, BytesMut); 5] {
    [
        ("16 OK", 16, stream(Version::Resp2, |out| (0..16).for_each(|_| out.ok()))),
        ("16 bulks", 16, stream(Version::Resp2, |out| (0..16).for_each(|_| out.bulk(b"value:0000000001")))),
        ("bulk of 1 MiB", 1, stream(Version::Resp2, |out| out.bulk(&vec![b'x'; 1 << 20]))),
        (
            "array of 1000",
            1,
            stream(Version::Resp2, |out| {
                out.array(1000);
                (0..1000).for_each(|_| out.bulk(b"member:000000001"));
            }),
        ),
        (
            "map of 100",
            1,
            stream(Version::Resp3, |out| {
                out.map(100);
                (0..100).for_each(|value| {
                    out.bulk(b"field:0000000001");
                    out.integer(value);
                });
            }),
        ),
    ]
}

fn decode(criterion: &mut Criterion) {
    for (name, replies, stream) in streams() {
        let mut group = criterion.benchmark_group(format!("reply/{name}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let (mut decoder, mut rival) = (Decoder::default(), redis::Parser::new());
        assert_eq!(ours(&mut decoder, &stream), theirs(&mut rival, &stream, replies), "both read the same");
        group.bench_function("resp", |bencher| bencher.iter(|| ours(&mut decoder, black_box(&stream))));
        group.bench_function("redis", |bencher| {
            bencher.iter(|| theirs(&mut rival, black_box(&stream), replies))
        });
        group.finish();
    }
}

fn encode(criterion: &mut Criterion) {
    let mut out = BytesMut::with_capacity(64 * 1024);
    let mut group = criterion.benchmark_group("encode/16 bulks");
    group.throughput(Throughput::Bytes(16 * 23));
    group.bench_function("resp", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut encoder = Encoder::new(&mut out, Version::Resp2);
            (0..16).for_each(|_| encoder.bulk(black_box(b"value:0000000001")));
        });
    });
    group.finish();
    criterion.bench_function("format_f64/shortest", |bencher| {
        bencher.iter(|| number::format_f64(black_box(0.30000000000000004)));
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
