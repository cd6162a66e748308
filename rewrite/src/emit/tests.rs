//! What a base of commands looks like, byte for byte.

use std::fmt::Write as _;

use bytes::BytesMut;
use keyspace::types::chunked::CHUNK_BYTES;
use keyspace::{Call, Digest, Keyspace, Unit};
use resp::{Encoder, Version};

use super::*;

/// Executes lines in database 0.
fn executed(lines: &[Vec<Vec<u8>>]) -> Keyspace {
    let mut keyspace = Keyspace::new(1, 42);
    for words in lines {
        let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (mut out, mut unit) = (BytesMut::new(), Unit::default());
        keyspace.execute(&Call::new(0, 0, &argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
        assert_ne!(out.first(), Some(&b'-'), "{}", String::from_utf8_lossy(&out));
    }
    keyspace
}

/// The same, and emits the one key that they leave.
fn emitted(lines: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let keyspace = executed(lines);
    let (mut out, mut keys) = (Vec::new(), keyspace.dbs()[0].table().iter());
    let entry = keys.next().expect("one key");
    let mut emitter = RespEmitter::default();
    emitter.key(entry, &mut out).expect("a Vec takes it");
    assert!(keys.next().is_none(), "one key");
    out
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The words of each request.
fn requests(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    let mut parser = resp::Parser::default();
    while !bytes.is_empty() {
        let len = parser.parse(bytes, &resp::Limits::default()).expect("sound").expect("whole");
        requests.push(parser.argv(bytes).iter().map(|arg| arg.to_vec()).collect());
        bytes = &bytes[len..];
    }
    requests
}

/// Requests as lines of words.
fn lines(bytes: &[u8]) -> Vec<String> {
    let line = |words: &Vec<Vec<u8>>| String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    requests(bytes).iter().map(line).collect()
}

#[test]
fn each_type_has_its_command() {
    let table: &[(&str, &[&str])] = &[
        ("SET k v", &["SET k v"]),
        ("SET k -42", &["SET k -42"]),
        ("SET k 9223372036854775808", &["SET k 9223372036854775808"]),
        ("SET k v PXAT 1700000000123", &["SET k v", "PEXPIREAT k 1700000000123"]),
        ("RPUSH k c a b a", &["RPUSH k c a b a"]),
        ("SADD k 3 1 2", &["SADD k 1 2 3"]),
        ("SADD k x", &["SADD k x"]),
        ("HSET k f 1 g v", &["HMSET k f 1 g v"]),
        ("ZADD k 1.5 a -inf b +inf c 0.1 d", &["ZADD k -inf b 0.1 d 1.5 a inf c"]),
        ("ZADD k 1e300 a 3 b", &["ZADD k 3 b 1e+300 a"]),
    ];
    for (command, expected) in table {
        assert_eq!(lines(&emitted(&[words(command)])), *expected, "{command}");
    }
}

#[test]
fn a_stream_is_its_entries_its_header_and_its_groups() {
    let table: &[(&[&str], &[&str])] = &[
        (
            &["XADD k MAXLEN 0 5-1 f v"],
            &["XADD k MAXLEN 0 0-1 x y", "XSETID k 5-1 ENTRIESADDED 1 MAXDELETEDID 0-0"],
        ),
        (
            &["XADD k 1-1 f v g 2", "XADD k 2-0 f w", "XADD k 3-0 f w", "XDEL k 2-0 3-0"],
            &["XADD k 1-1 f v g 2", "XSETID k 3-0 ENTRIESADDED 3 MAXDELETEDID 3-0"],
        ),
        (
            &[
                "XADD k 1-1 f v",
                "XGROUP CREATE k g 0",
                "XGROUP CREATE k unknown 0 ENTRIESREAD -1",
                "XGROUP CREATECONSUMER k g idle",
                "XREADGROUP GROUP g busy STREAMS k >",
            ],
            &[
                "XADD k 1-1 f v",
                "XSETID k 1-1 ENTRIESADDED 1 MAXDELETEDID 0-0",
                "XGROUP CREATE k g 1-1 ENTRIESREAD 1",
                "XCLAIM k g busy 0 1-1 TIME 0 RETRYCOUNT 1 JUSTID FORCE",
                "XGROUP CREATECONSUMER k g idle",
                "XGROUP CREATE k unknown 0-0 ENTRIESREAD -1",
            ],
        ),
        (
            &[
                "XADD k 1-1 f v",
                "XADD k 2-1 f v",
                "XADD k 3-1 f v",
                "XADD k 4-1 f v",
                "XGROUP CREATE k g 0 ENTRIESREAD 0",
                "XREADGROUP GROUP g c STREAMS k >",
                "XACK k g 2-1 4-1",
                "XTRIM k MINID 2",
                "XDEL k 3-1",
            ],
            &[
                "XADD k 1-1 x y",
                "XADD k 3-1 x y",
                "XGROUP CREATE k g 4-1 ENTRIESREAD 4",
                "XCLAIM k g c 0 1-1 TIME 0 RETRYCOUNT 1 JUSTID FORCE",
                "XCLAIM k g c 0 3-1 TIME 0 RETRYCOUNT 1 JUSTID FORCE",
                "XTRIM k MAXLEN 0",
                "XSETID k 0-0",
                "XADD k 2-1 f v",
                "XADD k 4-1 f v",
                "XSETID k 4-1 ENTRIESADDED 4 MAXDELETEDID 3-1",
                "XGROUP SETID k g 4-1 ENTRIESREAD 4",
            ],
        ),
        (
            &[
                "XADD k 1-1 f v",
                "XADD k 5-1 f v",
                "XGROUP CREATE k g 0",
                "XREADGROUP GROUP g c STREAMS k >",
                "XDEL k 5-1",
                "XSETID k 5-1 MAXDELETEDID 0-1",
                "XSETID k 2-1",
            ],
            &[
                "XADD k 5-1 x y",
                "XGROUP CREATE k g 5-1 ENTRIESREAD 2",
                "XCLAIM k g c 0 5-1 TIME 0 RETRYCOUNT 1 JUSTID FORCE",
                "XTRIM k MAXLEN 0",
                "XSETID k 0-0",
                "XADD k 1-1 f v",
                "XSETID k 2-1 ENTRIESADDED 2 MAXDELETEDID 0-1",
                "XGROUP SETID k g 5-1 ENTRIESREAD 2",
                "XCLAIM k g c 0 1-1 TIME 0 RETRYCOUNT 1 JUSTID FORCE",
            ],
        ),
        (
            &[
                "XADD k 1-1 f v",
                "XGROUP CREATE k g 0",
                "XREADGROUP GROUP g c STREAMS k >",
                "XTRIM k MAXLEN 0",
            ],
            &[
                "XADD k 1-1 x y",
                "XGROUP CREATE k g 1-1 ENTRIESREAD 1",
                "XCLAIM k g c 0 1-1 TIME 0 RETRYCOUNT 1 JUSTID FORCE",
                "XTRIM k MAXLEN 0",
                "XSETID k 0-0",
                "XSETID k 1-1 ENTRIESADDED 1 MAXDELETEDID 0-0",
                "XGROUP SETID k g 1-1 ENTRIESREAD 1",
            ],
        ),
    ];
    for (commands, expected) in table {
        let commands: Vec<Vec<Vec<u8>>> = commands.iter().map(|line| words(line)).collect();
        assert_eq!(lines(&emitted(&commands)), *expected);
    }
}

#[test]
fn collections_are_cut_into_commands_of_64_items() {
    let table = [
        ("RPUSH", "RPUSH", 1, "list-max-listpack-size"),
        ("SADD", "SADD", 1, "set"),
        ("HSET", "HMSET", 2, "hash"),
        ("ZADD", "ZADD", 2, "zset"),
    ];
    for (add, name, args, _) in table {
        for items in [1, 63, 64, 65, 128, 129, 700] {
            let mut line = format!("{add} k");
            for item in 0..items {
                // Seven hundred of these are beyond every compact encoding.
                let text = if args == 2 { format!(" {item} m{item}") } else { format!(" m{item}") };
                line.write_str(&text).expect("a String takes it");
            }
            let commands = lines(&emitted(&[words(&line)]));
            let lens: Vec<usize> = commands.iter().map(|line| (line.split(' ').count() - 2) / args).collect();
            let mut expected = vec![64; items / 64];
            expected.extend(Some(items % 64).filter(|&rest| rest > 0));
            assert_eq!(lens, expected, "{add} of {items}");
            assert!(commands.iter().all(|line| line.starts_with(&format!("{name} k "))), "{add} of {items}");
        }
    }
}

#[test]
fn a_command_ends_before_it_is_longer_than_a_mebibyte_unless_one_item_is() {
    const K: usize = 1 << 10;
    let table: &[(&[usize], &[usize])] = &[
        (&[16 * K - 10; 130], &[64, 64, 2]),
        (&[400 * K; 5], &[2, 2, 1]),
        (&[600 * K; 3], &[1, 1, 1]),
        (&[9, 9, 2048 * K, 9, 9], &[2, 1, 2]),
    ];
    for (add, args) in [("RPUSH", 1), ("SADD", 1), ("HSET", 2), ("ZADD", 2)] {
        // Where the order is the table's own, a giant may be anywhere.
        let is_ordered =
            |lens: &[usize]| matches!(add, "RPUSH" | "ZADD") || lens.iter().all(|&len| len == lens[0]);
        for (lens, expected) in table.iter().filter(|(lens, _)| is_ordered(lens)) {
            let mut command = words(&format!("{add} k"));
            for (at, &len) in lens.iter().enumerate() {
                let number = format!("{at:03}").into_bytes();
                let item = [&number[..], &vec![b'x'; len]].concat();
                command.extend(Some(number).filter(|_| args == 2).into_iter().chain([item]));
            }
            let base = requests(&emitted(&[command.clone()]));
            let items: Vec<usize> = base.iter().map(|words| (words.len() - 2) / args).collect();
            assert_eq!(items, *expected, "{add} of {lens:?}");
            let digest = |lines: &[_]| Digest::of(executed(lines).dbs());
            assert_eq!(digest(&base), digest(&[command]), "{add} of {lens:?}");
        }
    }
}

#[test]
fn a_long_string_is_made_piece_by_piece_of_what_is_not_zeros() {
    let set = |len: usize| vec![b"SET".to_vec(), b"k".to_vec(), (0..len).map(|at| at as u8 | 1).collect()];
    let chunks = (3 << 20) / CHUNK_BYTES + 1;
    for (made, commands) in [
        (vec![set(WHOLE_STRING_BYTES)], 1),
        (vec![set(WHOLE_STRING_BYTES + 1)], 1 + WHOLE_STRING_BYTES / CHUNK_BYTES + 1),
        (vec![set(3 << 20)], 1 + chunks),
        (vec![words("SETBIT k 134217727 1")], 2),
        (vec![words("SETBIT k 134217727 0"), words("SETBIT k 77 1"), words("SETBIT k 9000000 1")], 4),
        (vec![set(3 << 20), words("SETBIT k 134217727 1"), words("APPEND k behind")], 1 + chunks + 1),
    ] {
        let base = requests(&emitted(&made));
        assert_eq!(base.len(), commands);
        let longest = base.iter().map(|words| words.concat().len()).max();
        assert!(commands == 1 || longest <= Some(CHUNK_BYTES + 100), "{longest:?}");
        let digest = |lines| Digest::of(executed(lines).dbs());
        assert_eq!(digest(&base), digest(&made));
    }
}

#[test]
fn a_key_whose_time_is_over_keeps_its_time() {
    let lines = lines(&emitted(&[words("RPUSH k a"), words("PEXPIREAT k 1")]));
    assert_eq!(lines, ["RPUSH k a", "PEXPIREAT k 1"]);
}

#[test]
fn bytes_of_any_value_pass_through() {
    let key: Vec<u8> = (0..=255).collect();
    let value = b"\r\n$3\r\n*1\r\n\0".to_vec();
    let out = emitted(&[vec![b"SET".to_vec(), key.clone(), value.clone()]]);
    let mut expected = b"*3\r\n$3\r\nSET\r\n$256\r\n".to_vec();
    expected.extend(&key);
    expected.extend(b"\r\n$11\r\n");
    expected.extend(&value);
    expected.extend(b"\r\n");
    assert_eq!(out, expected);
}

#[test]
fn a_base_begins_with_its_time_only_if_told() {
    for (timestamps, expected) in [(true, "#TS:1700000000\r\n"), (false, "")] {
        let mut out = Vec::new();
        RespEmitter { timestamps }.begin(1_700_000_000, &mut out).expect("a Vec takes it");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn a_collection_that_breaks_its_promise_is_an_error() {
    for (promised, given) in [(3, 2), (2, 3), (64, 65), (0, 1)] {
        let batches = Batches { name: b"RPUSH", key: b"k", items: promised, args_per_item: 1 };
        let write = |item: i64, out: &mut Vec<u8>| integer(out, item);
        let written = batches.write(0..given, &mut Vec::new(), |_| 1, write);
        assert!(written.is_err(), "{promised} promised, {given} given");
    }
}
