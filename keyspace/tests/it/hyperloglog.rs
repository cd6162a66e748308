//! HyperLogLogs. The replies and the bytes were asked of a redis-server.

use crate::Session;

#[test]
fn elements_are_shown_counted_and_merged() {
    Session::new().check(&[
        ("PFADD h a b c", ":1\r\n"),
        ("PFADD h a", ":0\r\n"),
        ("PFCOUNT h", ":3\r\n"),
        ("PFADD h d", ":1\r\n"),
        ("PFADD e", ":1\r\n"),
        ("PFADD e", ":0\r\n"),
        ("PFCOUNT none", ":0\r\n"),
        ("PFCOUNT h none e", ":4\r\n"),
        ("PFMERGE m h e", "+OK\r\n"),
        ("PFCOUNT m", ":4\r\n"),
        ("PFMERGE new", "+OK\r\n"),
        ("PFDEBUG DECODE h", "$57\r\nZ:7292 v:1,1 Z:1143 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603\r\n"),
        ("PFDEBUG ENCODING h", "+sparse\r\n"),
        ("PFDEBUG TODENSE h", ":1\r\n"),
        ("PFDEBUG TODENSE h", ":0\r\n"),
        ("PFDEBUG ENCODING h", "+dense\r\n"),
        ("PFDEBUG DECODE h", "-ERR HLL encoding is not sparse\r\n"),
        ("PFDEBUG bogus h", "-ERR Unknown PFDEBUG subcommand 'bogus'\r\n"),
        ("PFDEBUG GETREG none", "-ERR The specified key does not exist\r\n"),
        ("STRLEN h", ":12304\r\n"),
        ("PFMERGE m h", "+OK\r\n"),
        ("PFDEBUG ENCODING m", "+dense\r\n"),
        ("SET s v", "+OK\r\n"),
        ("PFADD s a", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
        ("PFCOUNT s", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
        ("PFCOUNT s h", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
        ("PFMERGE s h", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
        ("SET i 123456789012345678", "+OK\r\n"),
        ("PFADD i a", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
        ("RPUSH l a", ":1\r\n"),
        ("PFADD l a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("PFCOUNT l", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("PFADD c a b c", ":1\r\n"),
        ("APPEND c hello", ":32\r\n"),
        ("PFCOUNT c", "-INVALIDOBJ Corrupted HLL object detected\r\n"),
        ("PFCOUNT c c", "-INVALIDOBJ Corrupted HLL object detected\r\n"),
        ("PFADD c x", ":1\r\n"),
        ("SETRANGE e 0 0123", ":18\r\n"),
        ("PFCOUNT e", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"),
    ]);
}

/// A string as its owner reads it.
fn get(session: &mut Session, key: &[u8]) -> Vec<u8> {
    let reply = session.run_argv(&[b"GET", key]);
    let head = reply.iter().position(|&byte| byte == b'\n').expect("a bulk string");
    reply[head + 1..reply.len() - 2].to_vec()
}

#[test]
fn the_strings_are_those_of_redis() {
    let mut session = Session::new();
    session.run("PFADD h a b c");
    assert_eq!(
        get(&mut session, b"h"),
        b"HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80`\xf3\x80P\xb1\x84K\xfb\x80BZ"
    );
    session.run("PFCOUNT h");
    assert_eq!(
        get(&mut session, b"h"),
        b"HYLL\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00`\xf3\x80P\xb1\x84K\xfb\x80BZ"
    );
    session.run("PFADD h d");
    assert_eq!(
        get(&mut session, b"h"),
        b"HYLL\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x80\x5c{\x80Dv\x80P\xb1\x84K\xfb\x80BZ"
    );
    session.run("PFADD e");
    session.run("PFMERGE m h e");
    assert_eq!(
        get(&mut session, b"m"),
        b"HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x5c{\x80Dv\x80P\xb1\x84K\xfb\x80BZ"
    );
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn long_strings_are_those_of_redis_too() {
    let mut session = Session::new();
    for (key, elements, bytes, hash, count) in [
        ("mid", 400, 878, 0xb5dd00435da3e570, ":402\r\n"),
        ("big", 2000, 12304, 0xfd9e0fbad28050f4, ":2007\r\n"),
    ] {
        for number in 0..elements {
            session.run(&format!("PFADD {key} {number}"));
        }
        let string = get(&mut session, key.as_bytes());
        assert_eq!((string.len(), fingerprint(&string)), (bytes, hash), "{key}");
        assert_eq!(session.run(&format!("PFCOUNT {key}")), count, "{key}");
    }
}

#[test]
fn what_the_string_shows_is_logged() {
    let mut session = Session::new();
    session.check_effects(&[
        ("PFADD h a b", &["PFADD h a b"]),
        ("PFADD h a", &[]),
        ("PFCOUNT h", &["PFCOUNT h"]),
        ("PFCOUNT h", &[]),
        ("PFCOUNT h h", &[]),
        ("PFMERGE m h", &["PFMERGE m h"]),
        ("PFDEBUG TODENSE m", &["PFDEBUG TODENSE m"]),
        ("PFDEBUG TODENSE m", &[]),
        ("PFDEBUG GETREG h", &["PFDEBUG GETREG h"]),
    ]);
    session.run("PFADD h c");
    assert_eq!(session.events(), ["pfadd h"]);
    session.run("PFMERGE m h");
    assert_eq!(session.events(), ["pfadd m"]);
    session.run("PFCOUNT h");
    assert_eq!(session.events(), [""; 0]);
}

#[test]
fn a_corrupt_one_is_left_as_it_is() {
    let mut session = Session::new();
    session.run("PFADD h a");
    session.run("APPEND h x");
    let before = get(&mut session, b"h");
    let refused = "-INVALIDOBJ Corrupted HLL object detected\r\n";
    session.check(&[
        ("PFADD h b c", refused),
        ("PFCOUNT h", refused),
        ("PFMERGE h h", refused),
        ("PFDEBUG TODENSE h", refused),
    ]);
    assert_eq!(session.effects(), [""; 0]);
    assert_eq!(get(&mut session, b"h"), before);
}
