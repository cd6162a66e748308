//! Long strings: all commands that read them or write to them, held against a vector of bytes, and what they cost.

use keyspace::rdb::{Options, Writer};
use keyspace::types::chunked::CHUNK_BYTES;
use keyspace::types::string::StringRef;
use keyspace::{Db, Digest, Random, STRING_BYTES_MAX};

use crate::allocations::allocated_bytes;
use crate::{Session, rdb};

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

/// A place near a boundary of chunks, if not just any.
fn place(random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(3 * CHUNK_BYTES),
        1 => random.below(20),
        chunk => ((chunk - 1) * CHUNK_BYTES + random.below(20)).saturating_sub(10),
    }
}

/// Executes a random write, and does the same to the model.
fn write(session: &mut Session, random: &mut Random, model: &mut Vec<u8>) {
    let (at, byte) = (place(random), 1 + random.below(255) as u8);
    let (text, len) = (at.to_string(), [1, 3, 200, 70_000][random.below(4)]);
    let mut put = |at: usize, bytes: &[u8]| {
        model.resize(model.len().max(at + bytes.len()), 0);
        model[at..at + bytes.len()].copy_from_slice(bytes);
    };
    match random.below(6) {
        0 => {
            let patch = vec![byte; len];
            session.run_argv(&[b"SETRANGE", b"k", text.as_bytes(), &patch]);
            put(at, &patch);
        }
        1 => {
            session.run_argv(&[b"BITFIELD", b"k", b"SET", b"u32", format!("#{}", at / 4).as_bytes(), b"258"]);
            put(at / 4 * 4, &[0, 0, 1, 2]);
        }
        2 => {
            session.run(&format!("SETBIT k {} 1", at * 8 + 3));
            let old = model.get(at).copied().unwrap_or_default();
            model.resize(model.len().max(at + 1), 0);
            model[at] = old | 0x10;
        }
        3 => {
            let tail = vec![byte; len];
            session.run_argv(&[b"APPEND", b"k", &tail]);
            model.extend(tail);
        }
        4 if random.below(3) == 0 => {
            *model = vec![byte; at + 1];
            session.run_argv(&[b"SET", b"k", model]);
        }
        _ => {
            session.run("COPY k copy REPLACE");
            session.run("BITOP XOR k copy none");
        }
    }
}

/// Executes each command that reads, with arguments by chance.
fn assert_reads(session: &mut Session, random: &mut Random, model: &[u8]) {
    let (len, start) = (model.len(), place(random));
    let end = start + [0, 1, 9, 70_000][random.below(4)];
    let range = model.get(start..(end + 1).min(len)).unwrap_or_default();
    assert_eq!(session.run("STRLEN k"), format!(":{len}\r\n"));
    assert!(session.run_argv(&[b"GET", b"k"]) == bulk(model));
    let many = [b"*2\r\n", &bulk(model)[..], b"$-1\r\n"].concat();
    assert!(session.run_argv(&[b"MGET", b"k", b"none"]) == many);
    assert!(session.run_argv(&[b"GETEX", b"k"]) == bulk(model));
    let line = format!("GETRANGE k {start} {end}");
    assert!(
        session.run_argv(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()) == bulk(range),
        "{line}"
    );
    let ones: u32 = range.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(session.run(&format!("BITCOUNT k {start} {end}")), format!(":{ones}\r\n"));
    assert_eq!(
        session.run(&format!("GETBIT k {}", start * 8 + 3)),
        format!(":{}\r\n", u8::from(bit(model, start * 8 + 3)))
    );
    for wanted in [false, true] {
        let bits = start * 8..len.min(end + 1) * 8;
        let found = bits.into_iter().find(|&at| bit(model, at) == wanted).map_or(-1, |at| at as i64);
        let line = format!("BITPOS k {} {start} {end}", u8::from(wanted));
        assert_eq!(session.run(&line), format!(":{found}\r\n"), "{line}");
    }
    let at = |at: usize| u64::from(model.get(at).copied().unwrap_or_default());
    let field = (0..4).fold(0, |field, byte| field << 8 | at(start + byte));
    let line = format!("BITFIELD_RO k GET u32 {}", start * 8);
    assert_eq!(session.run(&line), format!("*1\r\n:{field}\r\n"), "{line}");
}

#[test]
fn long_strings_are_vectors_of_bytes_and_snapshots_do_not_see_what_is_written() {
    let (mut session, mut random) = (Session::new(), Random::new(17));
    let (mut model, mut snapshots) = (vec![b'v'; CHUNK_BYTES - 5], Vec::new());
    session.run_argv(&[b"SET", b"k", &model]);
    for step in 0..200 {
        write(&mut session, &mut random, &mut model);
        assert_reads(&mut session, &mut random, &model);
        if step % 8 == 0 {
            snapshots.push((session.keyspace.snapshot(), Digest::of(session.keyspace.dbs())));
            // The same bytes in a row, or in chunks that were never written to, are the same value.
            session.run_argv(&[b"SET", b"again", &model]);
            let value = |key: &[u8]| Digest::of_value(session.keyspace.entry(0, key, 0).unwrap().value());
            assert_eq!(value(b"again"), value(b"k"));
            session.run("DEL again");
        }
        if model.len() > 6 * CHUNK_BYTES {
            model.truncate(CHUNK_BYTES - 5);
            session.run_argv(&[b"SET", b"k", &model]);
        }
    }
    for (snapshot, digest) in snapshots {
        assert_eq!(Digest::of(&snapshot.dbs), digest);
    }
}

#[test]
fn strings_are_combined_across_the_ends_of_chunks() {
    let mut session = Session::new();
    let long = |len: usize, seed: usize| -> Vec<u8> { (0..len).map(|at| (at * seed / 7) as u8).collect() };
    let sources = [long(3 * CHUNK_BYTES + 3, 3), long(CHUNK_BYTES + 1, 5), long(100, 11)];
    for (key, bytes) in [b"a", b"b", b"c"].into_iter().zip(&sources) {
        session.run_argv(&[b"SET", key, bytes]);
    }
    let at = |source: usize, at: usize| sources[source].get(at).copied().unwrap_or_default();
    type Op = fn(u8, u8) -> u8;
    for (name, op) in [("AND", (|a, b| a & b) as Op), ("OR", |a, b| a | b), ("XOR", |a, b| a ^ b)] {
        for keys in [&["a", "b", "c"][..], &["c", "b", "a"], &["c", "b"], &["c", "none", "a"], &["c"]] {
            let source = |key: &str| "abc".find(key).unwrap_or(3);
            let len = keys.iter().filter_map(|key| sources.get(source(key))).map(Vec::len).max().unwrap();
            let byte = |place: usize| {
                let bytes = keys.iter().map(|key| if source(key) < 3 { at(source(key), place) } else { 0 });
                bytes.reduce(op).unwrap()
            };
            let line = format!("BITOP {name} to {}", keys.join(" "));
            assert_eq!(session.run(&line), format!(":{len}\r\n"), "{line}");
            assert!(
                session.run_argv(&[b"GET", b"to"]) == bulk(&(0..len).map(byte).collect::<Vec<_>>()),
                "{line}"
            );
        }
    }
    session.run("BITOP NOT a a");
    let not: Vec<u8> = sources[0].iter().map(|byte| !byte).collect();
    assert!(session.run_argv(&[b"GET", b"a"]) == bulk(&not));
}

#[test]
fn a_long_string_is_no_number_no_hyperloglog_and_a_string_like_any_other() {
    let mut session = Session::new();
    session.run_argv(&[b"SET", b"k", &vec![b'1'; 100_000]]);
    session.check(&[
        ("OBJECT ENCODING k", "$3\r\nraw\r\n"),
        ("TYPE k", "+string\r\n"),
        ("INCR k", "-ERR value is not an integer or out of range\r\n"),
        ("INCRBYFLOAT k 1", "-ERR value is not a valid float\r\n"),
        ("PFADD k a", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
        ("LPUSH k a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("SADD k a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("SET short 1", "+OK\r\n"),
        ("LCS k short", "$1\r\n1\r\n"),
        ("RPUSH list k", ":1\r\n"),
        ("SORT list BY nosort GET * STORE sorted", ":1\r\n"),
        ("LRANGE sorted 0 0", &format!("*1\r\n$100000\r\n{}\r\n", "1".repeat(100_000))),
        ("EXPIRE k 100", ":1\r\n"),
        ("SETRANGE k 99999 22", ":100001\r\n"),
        ("TTL k", ":100\r\n"),
        ("RENAME k l", "+OK\r\n"),
        ("GETRANGE l -3 -1", "$3\r\n122\r\n"),
        ("GETDEL none", "$-1\r\n"),
        ("STRLEN l", ":100001\r\n"),
    ]);
    // One that only begins like a HyperLogLog, and is longer than any.
    session.run_argv(&[
        b"SET",
        b"hll",
        &[b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", &vec![0; 100_000][..]].concat(),
    ]);
    session.check(&[
        ("PFCOUNT hll", "-INVALIDOBJ Corrupted HLL object detected\r\n"),
        ("STRLEN hll", ":100016\r\n"),
    ]);
    session.run("PFADD hll a");
    session.check(&[("STRLEN hll", ":100016\r\n")]);
}

/// The byte of the only key's string.
fn byte(dbs: &[Db], at: usize) -> Option<u8> {
    let entry = dbs[0].table().iter().next()?;
    StringRef::of(entry.value()).ok()?.byte(at)
}

#[test]
fn a_bit_of_a_long_string_that_a_snapshot_holds_costs_one_chunk() {
    const LEN_BYTES: usize = 64 << 20;
    const AT: usize = 37_500_000;
    let mut session = Session::new();
    session.run_argv(&[b"SET", b"k", &vec![b'v'; LEN_BYTES]]);
    let snapshot = session.keyspace.snapshot();
    let (reply, bytes) = allocated_bytes(|| session.run("SETBIT k 300000000 1"));
    assert_eq!(reply, ":0\r\n");
    assert!((CHUNK_BYTES as u64..CHUNK_BYTES as u64 + (16 << 10)).contains(&bytes), "{bytes} bytes");
    // It is the string's own now.
    let (_, bytes) = allocated_bytes(|| session.run("SETBIT k 300000002 0"));
    assert!(bytes < 4096, "{bytes} bytes");
    let (_, bytes) = allocated_bytes(|| session.run("APPEND k tail"));
    assert!(bytes < 2 * CHUNK_BYTES as u64 + (16 << 10), "{bytes} bytes");
    let dbs = session.keyspace.dbs();
    assert_eq!([byte(dbs, AT), byte(dbs, LEN_BYTES)], [Some(0b1101_0110), Some(b't')]);
    assert_eq!([byte(&snapshot.dbs, AT), byte(&snapshot.dbs, LEN_BYTES)], [Some(b'v'), None]);
}

#[test]
fn a_bit_far_out_takes_one_chunk_and_a_restart_leaves_it_so() {
    let mut session = Session::new();
    let (reply, bytes) = allocated_bytes(|| session.run("SETBIT k 4294967295 1"));
    assert_eq!(reply, ":0\r\n");
    assert!(bytes < 1 << 20, "{bytes} bytes");
    session.check(&[
        ("STRLEN k", ":536870912\r\n"),
        ("BITCOUNT k 500000000 -1", ":1\r\n"),
        ("GETBIT k 4294967295", ":1\r\n"),
        ("GETRANGE k 536870908 -1", "$4\r\n\0\0\0\x01\r\n"),
        ("DEL k", ":1\r\n"),
        ("SETBIT k 33554431 1", ":0\r\n"),
    ]);
    let memory_bytes = |session: &Session| session.keyspace.entry(0, b"k", 0).unwrap().memory_bytes(5);
    assert!((1000..128 << 10).contains(&memory_bytes(&session)));
    let file = rdb::write(&session.keyspace, Options { compress: true, checksum: true });
    let (mut found, _) = rdb::read(&file).unwrap();
    found.check(&[("BITPOS k 1", ":33554431\r\n"), ("STRLEN k", ":4194304\r\n")]);
    assert!(memory_bytes(&found) < 128 << 10);
}

#[test]
fn long_strings_are_written_and_read_packed_and_plain() {
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..2 * CHUNK_BYTES + 7).map(|_| random.next_u64() as u8).collect();
    let text = b"the quick brown fox ".repeat(10_000);
    // Too much, packed, to be kept until it is whole.
    let gaps: Vec<u8> =
        noise.chunks(999).cycle().take(5_000).flat_map(|noise| [noise, &[0; 500]].concat()).collect();
    for compress in [false, true] {
        for bytes in [
            &noise[..],
            &text,
            &gaps,
            &vec![0; 5 * CHUNK_BYTES],
            &noise[..CHUNK_BYTES + 1],
            &noise[..CHUNK_BYTES],
        ] {
            let mut session = Session::new();
            session.run_argv(&[b"SET", b"k", bytes]);
            let payload = session.run_argv(&[b"DUMP", b"k"]);
            let body = payload.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            let payload = &payload[body..payload.len() - 2];
            assert_eq!(session.run_argv(&[b"RESTORE", b"l", b"0", payload]), b"+OK\r\n");
            assert!(session.run_argv(&[b"GET", b"l"]) == bulk(bytes));
            let file = rdb::write(&session.keyspace, Options { compress, checksum: true });
            let (found, _) = rdb::read(&file).unwrap();
            assert_eq!(rdb::digest(&found), rdb::digest(&session));
        }
    }
}

#[test]
fn a_string_of_any_length_is_written_through_little_memory() {
    let mut random = Random::new(5);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.next_u64() as u8).collect();
    let gaps = [&noise[..], &[0; 1 << 20]].concat();
    for bytes in [noise.repeat(16), gaps.repeat(8), vec![0; 16 << 20]] {
        let mut session = Session::new();
        session.run_argv(&[b"SET", b"k", &bytes]);
        for compress in [false, true] {
            let mut writer = Writer::new(Options { compress, checksum: true });
            let entry = session.keyspace.entry(0, b"k", 0).unwrap();
            let (written, taken) = allocated_bytes(|| writer.key(entry, None, &mut std::io::sink()));
            written.unwrap();
            assert!(taken < 4 << 20, "{taken} bytes");
        }
    }
}

/// A base would hold it, and no start could read that.
#[test]
fn no_limit_lets_a_string_become_longer_than_a_base_can_hold() {
    let mut session = Session::new();
    session.keyspace.limits.max_string_bytes = 8 << 30;
    let refusal = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    let longest = format!("SETRANGE k {} x", STRING_BYTES_MAX - 1);
    session.check(&[
        (&format!("SETRANGE k {STRING_BYTES_MAX} x"), refusal),
        ("SETBIT k 34359738367 1", "-ERR bit offset is not an integer or out of range\r\n"),
        (&longest, &format!(":{STRING_BYTES_MAX}\r\n")),
        ("APPEND k x", refusal),
    ]);
}
