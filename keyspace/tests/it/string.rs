//! String commands.

use crate::{START_MS, Session};

const OK: &str = "+OK\r\n";
const NULL: &str = "$-1\r\n";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
const NOT_A_FLOAT: &str = "-ERR value is not a valid float\r\n";

#[test]
fn set_obeys_its_options() {
    Session::new().check(&[
        ("SET k a XX", NULL),
        ("SET k a NX", OK),
        ("SET k b NX", NULL),
        ("SET k b XX GET", "$1\r\na\r\n"),
        ("SET k c NX GET", "$1\r\nb\r\n"),
        ("SET new c NX GET", NULL),
        ("GET new", "$1\r\nc\r\n"),
        ("SET k 7 EX 10 EX 20", OK),
        ("TTL k", ":20\r\n"),
        ("SET k 8 KEEPTTL", OK),
        ("TTL k", ":20\r\n"),
        ("SET k 9", OK),
        ("TTL k", ":-1\r\n"),
        ("SET k a NX XX", SYNTAX),
        ("SET k a EX 1 PX 1", SYNTAX),
        ("SET k a KEEPTTL EX 1", SYNTAX),
        ("SET k a EX", SYNTAX),
        ("SET k a PERSIST", SYNTAX),
        ("SET k a EX x", NOT_AN_INTEGER),
        ("SET k a EX 0", "-ERR invalid expire time in 'set' command\r\n"),
        ("SET k a EX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
        ("SET k a PX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
        ("SETEX k -1 a", "-ERR invalid expire time in 'setex' command\r\n"),
        ("PSETEX k 0 a", "-ERR invalid expire time in 'psetex' command\r\n"),
        ("GET k", "$1\r\n9\r\n"),
        ("LPUSH list a", ":1\r\n"),
        ("SET list a GET", WRONG_TYPE),
        ("SET list a", OK),
        ("SETNX list b", ":0\r\n"),
        ("SET k", "-ERR wrong number of arguments for 'set' command\r\n"),
    ]);
}

#[test]
fn times_to_live_are_logged_as_points_in_time() {
    let at = START_MS + 10_000;
    let set_at = format!("SET k v PXAT {at}");
    let expire_at = format!("PEXPIREAT k {at}");
    let exat = format!("SET k v EXAT {}", at / 1000);
    let pxat = format!("SET k v NX PXAT {at}");
    Session::new().check_effects(&[
        ("SET k v", &["SET k v"]),
        ("SET k v EX 10 GET", &[&set_at]),
        ("SET k v PX 10000", &[&set_at]),
        (&exat, &[&set_at]),
        (&pxat, &[]),
        ("DEL k", &["DEL k"]),
        (&pxat, &[&pxat]),
        ("SETEX k 10 v", &[&set_at]),
        ("PSETEX k 10000 v", &[&set_at]),
        ("SET k v GET KEEPTTL", &["SET k v KEEPTTL"]),
        ("GETEX k", &[]),
        ("GETEX k EX 10", &[&expire_at]),
        ("GETEX k PERSIST", &["PERSIST k"]),
        ("GETEX k PERSIST", &[]),
        ("GETEX k PXAT 1", &["DEL k"]),
        ("GETEX k EX 10", &[]),
        ("SET k 1", &["SET k 1"]),
        ("GETSET k 2", &["SET k 2"]),
        ("GETDEL k", &["DEL k"]),
        ("GETDEL k", &[]),
        ("INCRBYFLOAT k 1.5", &["SET k 1.5 KEEPTTL"]),
        ("INCRBYFLOAT k x", &[]),
        ("MSETNX k 1 l 2", &[]),
        ("MSETNX m 1 l 2", &["MSETNX m 1 l 2"]),
        ("INCR m", &["INCR m"]),
    ]);
}

#[test]
fn strings_are_read_and_patched_in_ranges() {
    Session::new().check(&[
        ("SETRANGE k 3 abc", ":6\r\n"),
        ("GET k", "$6\r\n\0\0\0abc\r\n"),
        ("SETRANGE k 0 xyz", ":6\r\n"),
        ("GETRANGE k 2 3", "$2\r\nza\r\n"),
        ("GETRANGE k -3 -1", "$3\r\nabc\r\n"),
        ("SUBSTR k 0 -100", "$1\r\nx\r\n"),
        ("GETRANGE k -1 -3", "$0\r\n\r\n"),
        ("GETRANGE none 0 9223372036854775807", "$0\r\n\r\n"),
        ("GETRANGE k -9223372036854775808 9223372036854775807", "$6\r\nxyzabc\r\n"),
        ("SETRANGE none 5 \"\"", ":0\r\n"),
        ("EXISTS none", ":0\r\n"),
        ("SETRANGE k -1 a", "-ERR offset is out of range\r\n"),
        ("SETRANGE k 536870911 ab", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
        (
            "SETRANGE k 9223372036854775807 a",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n",
        ),
        ("SET n 12", OK),
        ("APPEND n 34", ":4\r\n"),
        ("INCR n", ":1235\r\n"),
        ("APPEND new 5", ":1\r\n"),
        ("STRLEN n", ":4\r\n"),
        ("STRLEN none", ":0\r\n"),
        ("LPUSH list a", ":1\r\n"),
        ("APPEND list a", WRONG_TYPE),
        ("SETRANGE list 0 a", WRONG_TYPE),
        ("MGET n list none", "*3\r\n$4\r\n1235\r\n$-1\r\n$-1\r\n"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
    ]);
}

#[test]
fn numbers_do_not_overflow() {
    Session::new().check(&[
        ("SET k 9223372036854775806", OK),
        ("INCR k", ":9223372036854775807\r\n"),
        ("INCR k", "-ERR increment or decrement would overflow\r\n"),
        ("DECRBY k -9223372036854775808", "-ERR decrement would overflow\r\n"),
        ("INCRBY k 1.5", NOT_AN_INTEGER),
        ("DECR none", ":-1\r\n"),
        ("SET k \" 1\"", OK),
        ("INCR k", NOT_AN_INTEGER),
        ("INCRBYFLOAT k 1", NOT_A_FLOAT),
        ("SET k 3", OK),
        ("INCRBYFLOAT k 1.1", "$3\r\n4.1\r\n"),
        ("INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity\r\n"),
        ("INCRBYFLOAT k nan", NOT_A_FLOAT),
        ("INCRBYFLOAT k -1.1", "$1\r\n3\r\n"),
        ("INCR k", ":4\r\n"),
    ]);
}

#[test]
fn longest_common_subsequences_are_found() {
    let mut session = Session::new();
    session.check(&[
        ("MSET a ohmytext b mynewtext", OK),
        ("LCS a b", "$6\r\nmytext\r\n"),
        ("LCS a b LEN", ":6\r\n"),
        ("LCS a none", "$0\r\n\r\n"),
        ("LCS a b IDX LEN", "-ERR If you want both the length and indexes, please just use IDX.\r\n"),
        ("LCS a b MINMATCHLEN", SYNTAX),
        ("LPUSH list a", ":1\r\n"),
        ("LCS a list", "-ERR The specified keys must contain string values\r\n"),
        (
            "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
            "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6\r\n",
        ),
    ]);
    session.version = resp::Version::Resp3;
    session.check(&[("LCS a none IDX", "%2\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n")]);
    session.run("SETRANGE a 20000 x");
    session.check(&[(
        "LCS a a",
        "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n",
    )]);
}

#[test]
fn events_name_what_happened() {
    let mut session = Session::new();
    for (line, events) in [
        ("SET k 1 EX 9", &["set k", "expire k"][..]),
        ("APPEND k 2", &["append k"]),
        ("INCR k", &["incrby k"]),
        ("SETRANGE k 0 9", &["setrange k"]),
        ("GETEX k PERSIST", &["persist k"]),
        ("INCRBYFLOAT k 1", &["incrbyfloat k"]),
        ("GETDEL k", &["del k"]),
        ("MSET k 1 l 2", &["set k", "set l"]),
    ] {
        session.run(line);
        assert_eq!(session.events(), events, "{line}");
    }
}

/// Found against redis-server and valkey-server, which keep as a string what these commands compute. `raw` is `embstr` here.
#[test]
fn what_is_computed_is_a_string_also_where_it_spells_an_integer() {
    let mut session = Session::new();
    for (line, key, encoding) in [
        ("SET k 3", "k", "int"),
        ("INCRBYFLOAT k 1", "k", "embstr"),
        ("INCRBYFLOAT new 5", "new", "embstr"),
        ("INCR k", "k", "int"),
        ("SET k 3 KEEPTTL", "k", "int"),
        ("BITOP OR d k", "d", "embstr"),
        ("BITOP NOT d k", "d", "embstr"),
        ("SETRANGE r 0 12", "r", "embstr"),
        ("APPEND a 12", "a", "int"),
        ("APPEND a 3", "a", "embstr"),
        ("GETSET a 123", "a", "int"),
        ("COPY d e", "e", "embstr"),
        // Also where it is what it was.
        ("SET k 123", "k", "int"),
        ("SETRANGE k 0 \"\"", "k", "int"),
        ("BITFIELD k GET u8 0", "k", "int"),
        ("SETRANGE k 0 1", "k", "embstr"),
        ("SET k 123", "k", "int"),
        ("APPEND k \"\"", "k", "embstr"),
        ("SET k 123", "k", "int"),
        ("SETBIT k 0 0", "k", "embstr"),
        ("SET k 123", "k", "int"),
        ("BITFIELD k SET u8 0 49", "k", "embstr"),
    ] {
        assert!(!session.run(line).starts_with('-'), "{line}");
        let entry = session.keyspace.entry(0, key.as_bytes(), session.now_ms).unwrap();
        assert_eq!(entry.value().encoding(), encoding, "{line}");
    }
    session.check(&[("SET k 3", "+OK\r\n"), ("INCRBYFLOAT k 1.0", "$1\r\n4\r\n"), ("INCRBY k 2", ":6\r\n")]);
}
