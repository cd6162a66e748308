//! Generic commands: replies, effects, events.

use std::collections::BTreeSet;

use keyspace::Touch;

use crate::{START_MS, Session};

#[test]
fn an_unknown_command_is_refused_in_redis_words() {
    let mut session = Session::new();
    session.check(&[
        ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n"),
        ("NOSUCH \"a\\r\\nb\"", "-ERR unknown command 'NOSUCH', with args beginning with: 'a  b' \r\n"),
        ("del", "-ERR wrong number of arguments for 'del' command\r\n"),
        ("object", "-ERR wrong number of arguments for 'object' command\r\n"),
        ("object encoding", "-ERR wrong number of arguments for 'object|encoding' command\r\n"),
        (
            &format!("object {}", "n".repeat(200)),
            &format!("-ERR unknown subcommand '{}'. Try OBJECT HELP.\r\n", "n".repeat(128)),
        ),
        ("object nosuch a", "-ERR unknown subcommand 'nosuch'. Try OBJECT HELP.\r\n"),
    ]);
    assert!(session.effects().is_empty() && session.events().is_empty());
    let (a, b) = (|count| "a".repeat(count), |count| "b".repeat(count));
    // The lengths of two arguments, and how much of them redis-server 7.0.15 shows.
    for (lens, shown) in [
        ((100, 100), format!("'{}' '{}' ", a(100), b(25))),
        ((124, 1), format!("'{}' 'b' ", a(124))),
        ((125, 1), format!("'{}' ", a(125))),
        ((200, 1), format!("'{}' ", a(128))),
    ] {
        let reply = format!("-ERR unknown command 'NOSUCH', with args beginning with: {shown}\r\n");
        session.check(&[(&format!("NOSUCH {} {}", a(lens.0), b(lens.1)), &reply)]);
    }
}

#[test]
fn keys_are_counted_named_and_deleted() {
    let mut session = Session::new();
    session.check(&[
        ("MSET a 1 b 2 c 3", "+OK\r\n"),
        ("EXISTS a a b none", ":3\r\n"),
        ("TOUCH a none", ":1\r\n"),
        ("TYPE a", "+string\r\n"),
        ("TYPE none", "+none\r\n"),
        ("DBSIZE", ":3\r\n"),
        ("DEL a none a", ":1\r\n"),
        ("UNLINK b c", ":2\r\n"),
        ("RANDOMKEY", "$-1\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("SET only 1", "+OK\r\n"),
        ("RANDOMKEY", "$4\r\nonly\r\n"),
    ]);
    let mut session = Session::resp3();
    session.check(&[("RANDOMKEY", "_\r\n"), ("OBJECT ENCODING none", "_\r\n")]);
}

#[test]
fn what_changes_nothing_leaves_no_effect_and_breaks_no_watch() {
    let mut session = Session::new();
    session.run("SET n 1 EX 100");
    for line in [
        "DEL none",
        "UNLINK none",
        "EXPIRE none 10",
        "PERSIST none",
        "MOVE none 1",
        "COPY none other",
        "SETBIT n 0 0",
    ] {
        assert_eq!(session.run(line), ":0\r\n", "{line}");
        assert!(session.effects().is_empty() && session.events().is_empty(), "{line}");
        let wrote =
            |touch: &Touch| matches!(touch, Touch::Key { wrote: true, .. } | Touch::Db { wrote: true, .. });
        assert!(!session.unit.touched.iter().any(wrote), "{line}");
        assert!(!session.unit.touched.is_empty(), "its reply depends on the key: {line}");
    }
    session.check(&[("GET n", "$1\r\n1\r\n"), ("TTL n", ":100\r\n")]);
}

#[test]
fn effects_are_those_of_redis() {
    let mut session = Session::new();
    session.run("MSET a 1 b 2 c 3 d 4 e 5");
    session.check_effects(&[
        ("Del a none", &["Del a none"]),
        ("EXPIRE b 10", &["PEXPIREAT b 1700000010000"]),
        ("expire b 20 gt", &["PEXPIREAT b 1700000020000 gt"]),
        ("EXPIREAT b 1800000000", &["PEXPIREAT b 1800000000000"]),
        ("PEXPIRE b 5 LT", &["PEXPIREAT b 1700000000005 LT"]),
        ("pexpireat b 1800000000001", &["pexpireat b 1800000000001"]),
        ("EXPIRE b 1 NX", &[]),
        ("PERSIST b", &["PERSIST b"]),
        ("PERSIST b", &[]),
        ("EXPIRE c -1", &["DEL c"]),
        ("PEXPIREAT d 1700000000000", &["DEL d"]),
        ("RENAME e f", &["RENAME e f"]),
        ("RENAME f f", &[]),
        ("RENAMENX f b", &[]),
        ("COPY f g", &["COPY f g"]),
        ("COPY f g", &[]),
        ("MOVE g 3", &["MOVE g 3"]),
        ("SWAPDB 0 3", &["SWAPDB 0 3"]),
        ("FLUSHDB", &["FLUSHDB"]),
        ("FLUSHDB async", &["FLUSHDB async"]),
        ("FLUSHALL", &["FLUSHALL"]),
        ("TTL b", &[]),
    ]);
    session.keyspace.limits.lazy_expire = true;
    session.run("SET a 1");
    session.check_effects(&[("EXPIRE a 0", &["UNLINK a"])]);
}

#[test]
fn times_to_live_are_set_told_and_refused_in_redis_words() {
    let mut session = Session::new();
    session.check(&[
        ("SET k v", "+OK\r\n"),
        ("TTL none", ":-2\r\n"),
        ("TTL k", ":-1\r\n"),
        ("PEXPIRETIME k", ":-1\r\n"),
        ("PEXPIRE k 1499", ":1\r\n"),
        ("PTTL k", ":1499\r\n"),
        ("TTL k", ":1\r\n"),
        ("EXPIRETIME k", ":1700000001\r\n"),
        ("PEXPIRETIME k", ":1700000001499\r\n"),
        ("EXPIRE k 100 NX", ":0\r\n"),
        ("EXPIRE k 1 GT", ":0\r\n"),
        ("EXPIRE k 2 LT", ":0\r\n"),
        ("EXPIRE k 100 XX GT", ":1\r\n"),
        ("TTL k", ":100\r\n"),
        ("PERSIST k", ":1\r\n"),
        ("EXPIRE k 100 XX", ":0\r\n"),
        ("EXPIRE k 100 GT", ":0\r\n"),
        ("EXPIRE k 100 LT", ":1\r\n"),
        ("EXPIRE k x", "-ERR value is not an integer or out of range\r\n"),
        ("EXPIRE k 1 YY", "-ERR Unsupported option YY\r\n"),
        ("EXPIRE k x YY", "-ERR Unsupported option YY\r\n"),
        ("EXPIRE k 1 NX LT", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"),
        ("EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n"),
        ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n"),
        ("EXPIRE none 9223372036854770", "-ERR invalid expire time in 'expire' command\r\n"),
        ("EXPIREAT k -9223372036854775", ":1\r\n"),
        ("EXISTS k", ":0\r\n"),
        ("PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n"),
        ("SET k v", "+OK\r\n"),
        ("PEXPIREAT k 9223372036854775807", ":1\r\n"),
        ("TYPE k", "+string\r\n"),
    ]);
    assert_ne!(session.run("PTTL k"), ":-1\r\n", "the latest time is still a time");
}

#[test]
fn a_key_whose_time_is_over_is_gone_and_its_deletion_comes_first_in_the_log() {
    let mut session = Session::new();
    session.run("SET k v PX 10");
    session.now_ms += 10;
    session.check(&[("EXISTS k", ":1\r\n")]);
    session.now_ms += 1;
    session.check(&[("SET k w NX", "+OK\r\n")]);
    assert_eq!(session.effects(), ["DEL k", "SET k w NX"]);
    assert_eq!(session.events(), ["expired k", "set k"]);
    assert_eq!(session.keyspace.stats.expired_keys, 1);
}

#[test]
fn nothing_expires_while_the_log_is_replayed() {
    let mut session = Session::new();
    session.keyspace.loading = true;
    session.check(&[
        ("SET k v", "+OK\r\n"),
        ("PEXPIREAT k 1", ":1\r\n"),
        ("EXISTS k", ":1\r\n"),
        ("KEYS *", "*1\r\n$1\r\nk\r\n"),
        ("PEXPIREAT k -9223372036854775808", ":1\r\n"),
        ("PTTL k", ":0\r\n"),
    ]);
    assert_eq!(session.keyspace.average_ttl_ms(0, START_MS), 0);
    session.keyspace.loading = false;
    session.check(&[("EXISTS k", ":0\r\n")]);
}

#[test]
fn active_expiry_deletes_what_is_due_in_order_and_within_its_budget() {
    let mut session = Session::new();
    for key in 0..100 {
        session.run(&format!("SET k{key} v PX {}", 1000 - key));
    }
    session.run("SET stays v");
    session.unit.clear();
    let later = START_MS + 951;
    assert!(session.keyspace.expire_due(later, 30, &mut session.unit), "more is due");
    let first: Vec<String> = (70..100).rev().map(|key| format!("DEL k{key}")).collect();
    assert_eq!(session.effects(), first);
    assert!(!session.keyspace.expire_due(later, 30, &mut session.unit));
    assert_eq!(session.keyspace.stats.expired_keys, 50);
    assert!(!session.keyspace.expire_due(later, 30, &mut session.unit));
    assert_eq!(session.keyspace.stats.expired_keys, 50);
    session.now_ms = later;
    session.check(&[("DBSIZE", ":51\r\n")]);
    assert_eq!(session.keyspace.dbs()[0].expires_len(), 50);
}

#[test]
fn a_renamed_key_keeps_its_time_and_replaces_the_other() {
    let mut session = Session::new();
    session.check(&[
        ("RENAME none none", "-ERR no such key\r\n"),
        ("RENAMENX none a", "-ERR no such key\r\n"),
        ("SET a 1 EX 100", "+OK\r\n"),
        ("SET b 2", "+OK\r\n"),
        ("RENAMENX a b", ":0\r\n"),
        ("RENAMENX a a", ":0\r\n"),
        ("RENAME a b", "+OK\r\n"),
        ("GET b", "$1\r\n1\r\n"),
        ("TTL b", ":100\r\n"),
        ("EXISTS a", ":0\r\n"),
        ("RENAMENX b c", ":1\r\n"),
    ]);
    assert_eq!(session.events(), ["rename_from b", "rename_to c"]);
    assert_eq!(session.unit.ready.len(), 2, "a client may wait for the new name, or in vain for the old");
}

#[test]
fn keys_are_copied_and_moved_between_databases() {
    let mut session = Session::new();
    session.check(&[
        ("SET a 1 EX 100", "+OK\r\n"),
        ("COPY a a", "-ERR source and destination objects are the same\r\n"),
        ("COPY a a DB 0 REPLACE", "-ERR source and destination objects are the same\r\n"),
        ("COPY a b REPLACE BOGUS", "-ERR syntax error\r\n"),
        ("COPY a b DB", "-ERR syntax error\r\n"),
        (
            "MOVE a 2147483648",
            "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
        ),
        ("SWAPDB 0 2147483648", "-ERR invalid second DB index\r\n"),
        ("COPY a b DB 16", "-ERR DB index is out of range\r\n"),
        ("COPY a b DB x", "-ERR value is not an integer or out of range\r\n"),
        ("COPY a a DB 1", ":1\r\n"),
        ("COPY a a DB 1", ":0\r\n"),
        ("COPY a a db 1 replace", ":1\r\n"),
        ("COPY none x", ":0\r\n"),
        ("MOVE a 0", "-ERR source and destination objects are the same\r\n"),
        ("MOVE a 99", "-ERR DB index is out of range\r\n"),
        ("MOVE a x", "-ERR value is not an integer or out of range\r\n"),
        ("MOVE a 1", ":0\r\n"),
        ("MOVE a 2", ":1\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
    assert_eq!(session.events(), [""; 0]);
    session.db = 2;
    session.check(&[("TTL a", ":100\r\n"), ("GET a", "$1\r\n1\r\n")]);
    session.db = 1;
    session.check(&[("TTL a", ":100\r\n"), ("SET a 2", "+OK\r\n")]);
    session.db = 2;
    session.check(&[("GET a", "$1\r\n1\r\n")]);
}

#[test]
fn databases_are_swapped_and_flushed() {
    let mut session = Session::new();
    session.check(&[
        ("SWAPDB a 1", "-ERR invalid first DB index\r\n"),
        ("SWAPDB 1 a", "-ERR invalid second DB index\r\n"),
        ("SWAPDB 0 16", "-ERR DB index is out of range\r\n"),
        ("SWAPDB -1 0", "-ERR DB index is out of range\r\n"),
        ("SET a 1 PX 100", "+OK\r\n"),
        ("SWAPDB 0 5", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
    let before = session.keyspace.snapshot();
    session.unit.clear();
    session.keyspace.expire_due(START_MS + 101, 10, &mut session.unit);
    assert_eq!(session.effects(), ["@5 DEL a"], "times move with the keys");
    assert_eq!(before.dbs[5].len(), 1);
    session.check(&[
        ("MSET a 1 b 2", "+OK\r\n"),
        ("FLUSHDB bogus", "-ERR syntax error\r\n"),
        ("FLUSHALL sync async", "-ERR syntax error\r\n"),
        ("FLUSHDB SYNC", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
    assert!(session.keyspace.take_garbage().is_empty());
    session.check(&[("SET a 1", "+OK\r\n"), ("FLUSHALL ASYNC", "+OK\r\n"), ("DBSIZE", ":0\r\n")]);
    assert_eq!(session.keyspace.take_garbage().len(), 1);
}

#[test]
fn keys_lists_what_fits_and_is_not_due() {
    let mut session = Session::new();
    session.check(&[
        ("MSET foo 1 fox 2 bar 3", "+OK\r\n"),
        ("SET food 1 PX 1", "+OK\r\n"),
        ("KEYS b*", "*1\r\n$3\r\nbar\r\n"),
        ("KEYS none", "*0\r\n"),
    ]);
    session.now_ms += 2;
    assert!(session.run("KEYS fo*").starts_with("*2\r\n"));
    assert!(session.run("KEYS *").starts_with("*3\r\n"));
    assert!(session.effects().is_empty(), "KEYS reads only");
    session.check(&[("DBSIZE", ":4\r\n")]);
}

#[test]
fn scan_walks_all_keys_once_filters_and_deletes_what_is_due() {
    let mut session = Session::new();
    for key in 0..3000 {
        session.run(&format!("SET key:{key} v PX {}", 100 + key % 2));
    }
    session.now_ms += 101;
    let (mut cursor, mut seen, mut deleted) = ("0".to_string(), BTreeSet::new(), 0);
    loop {
        let reply = session.run(&format!("SCAN {cursor} COUNT 70 TYPE String"));
        deleted += session.effects().len();
        let mut words = reply.split("\r\n").filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
        cursor = words.next().unwrap().to_string();
        for key in words {
            assert!(seen.insert(key.to_string()), "{key} came twice");
        }
        if cursor == "0" {
            break;
        }
    }
    assert_eq!((seen.len(), deleted), (1500, 1500));
    session.check(&[
        ("SCAN 0 MATCH key:77 COUNT 10000", "*2\r\n$1\r\n0\r\n*1\r\n$6\r\nkey:77\r\n"),
        ("SCAN 0 TYPE nosuch COUNT 10000", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("SCAN x", "-ERR invalid cursor\r\n"),
        ("SCAN x BOGUS", "-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
        ("SCAN 0 COUNT a", "-ERR value is not an integer or out of range\r\n"),
        ("SCAN 0 MATCH", "-ERR syntax error\r\n"),
    ]);
    assert!(session.run("SCAN 18446744073709551615 COUNT 1").starts_with("*2\r\n"));
}

#[test]
fn randomkey_passes_over_what_is_due() {
    let mut session = Session::new();
    for key in 0..50 {
        session.run(&format!("SET k{key} v PX 1"));
    }
    session.run("SET stays v");
    session.now_ms += 2;
    for _ in 0..20 {
        session.check(&[("RANDOMKEY", "$5\r\nstays\r\n")]);
    }
}

#[test]
fn object_tells_how_a_value_is_kept() {
    let mut session = Session::new();
    session.check(&[
        ("SET n 100", "+OK\r\n"),
        ("SET big 10000", "+OK\r\n"),
        ("OBJECT ENCODING n", "$3\r\nint\r\n"),
        ("OBJECT REFCOUNT n", ":2147483647\r\n"),
        ("OBJECT REFCOUNT big", ":1\r\n"),
        ("OBJECT REFCOUNT none", "$-1\r\n"),
        ("OBJECT FREQ none", "$-1\r\n"),
    ]);
    assert!(session.run("OBJECT FREQ n").starts_with("-ERR An LFU maxmemory policy is not selected"));
    assert!(session.run("OBJECT HELP").starts_with("*11\r\n+OBJECT <subcommand>"));
    session.now_ms += 7_000;
    session.check(&[
        ("OBJECT IDLETIME n", ":7\r\n"),
        ("TTL n", ":-1\r\n"),
        ("OBJECT IDLETIME n", ":7\r\n"),
        ("GET n", "$3\r\n100\r\n"),
        ("OBJECT IDLETIME n", ":0\r\n"),
    ]);
}

/// Asked of Redis 7.0.15.
#[test]
fn lookups_are_hits_and_misses_where_redis_counts_them() {
    // (command, hits and misses where its keys are there, where they are not)
    for (line, there, absent) in [
        ("GET s", (1, 0), (0, 1)),
        ("EXISTS s n", (2, 0), (0, 2)),
        ("TYPE s", (1, 0), (0, 1)),
        ("TTL s", (1, 0), (0, 1)),
        ("PEXPIRETIME s", (1, 0), (0, 1)),
        ("OBJECT ENCODING s", (1, 0), (0, 1)),
        ("OBJECT IDLETIME s", (1, 0), (0, 1)),
        ("OBJECT REFCOUNT s", (1, 0), (0, 1)),
        ("PERSIST s", (0, 0), (0, 0)),
        ("SET s w NX", (0, 0), (0, 0)),
        ("INCR n", (0, 0), (0, 0)),
        ("HGET h f", (1, 0), (0, 1)),
        ("HSETNX h f 1", (0, 0), (0, 0)),
        ("HINCRBY h f 1", (0, 0), (0, 0)),
        ("HINCRBYFLOAT h f 1", (0, 0), (0, 0)),
        ("SMOVE t u b", (0, 0), (0, 0)),
        ("SPOP t", (0, 0), (0, 0)),
        ("SPOP t 1", (0, 0), (0, 0)),
        ("SPOP t 9", (1, 0), (0, 0)),
        ("SDIFF t u", (2, 0), (0, 2)),
        ("XADD x 2-0 f v", (0, 0), (0, 0)),
        ("XACK x g 1-0", (1, 0), (0, 1)),
        ("XREAD STREAMS x 0", (2, 0), (0, 2)),
        ("XREADGROUP GROUP g c STREAMS x >", (2, 0), (0, 1)),
        ("XREADGROUP GROUP g c STREAMS x 0", (2, 0), (0, 1)),
        ("XCLAIM x g c 0 1-0", (1, 0), (0, 1)),
        ("XAUTOCLAIM x g c 0 0", (1, 0), (0, 1)),
    ] {
        for (are_there, counts) in [(true, there), (false, absent)] {
            let mut session = Session::new();
            if are_there {
                for line in ["SET s v", "SET n 1", "HSET h f 1", "SADD t a b", "SADD u a"] {
                    session.run(line);
                }
                session.run("XADD x 1-0 f v");
                session.run("XGROUP CREATE x g 0");
            }
            session.keyspace.stats = Default::default();
            session.run(line);
            let stats = session.keyspace.stats;
            assert_eq!((stats.hits, stats.misses), counts, "{line}, keys there: {are_there}");
        }
    }
}

/// Asked of Redis 7.0.15.
#[test]
fn keys_that_are_missed_and_keys_that_are_new_are_events() {
    let mut session = Session::new();
    for (line, events) in [
        ("GET a", &["keymiss a"][..]),
        ("EXISTS a b", &["keymiss a", "keymiss b"]),
        ("TTL a", &["keymiss a"]),
        ("OBJECT ENCODING a", &[]),
        ("DEL a", &[]),
        ("SET a v", &["new a"]),
        ("SET a v", &[]),
        ("APPEND a w", &[]),
        ("RPUSH l x y", &["new l"]),
        ("RPUSH l z", &[]),
        ("SINTERSTORE d s", &["keymiss s"]),
        ("GETSET b v", &["keymiss b", "new b"]),
        ("HINCRBY h f 1", &["new h"]),
        ("COPY a c", &["new c"]),
        ("COPY a c REPLACE", &["new c"]),
        ("RENAME a c", &["new c"]),
        ("MOVE b 1", &["new b"]),
    ] {
        session.run(line);
        assert_eq!(session.events_where(|class| "mn".contains(class)), events, "{line}");
    }
}

#[test]
fn what_is_due_is_hidden_and_stays_while_expired_keys_are_kept() {
    let mut session = Session::new();
    session.run("SET k v PX 10");
    session.run("SADD s a");
    session.run("PEXPIRE s 10");
    session.now_ms += 11;
    session.keyspace.keeps_expired = true;
    session.check(&[
        ("GET k", "$-1\r\n"),
        ("EXISTS k s", ":0\r\n"),
        ("TTL k", ":-2\r\n"),
        ("SMEMBERS s", "*0\r\n"),
        ("KEYS *", "*0\r\n"),
        ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("DBSIZE", ":2\r\n"),
    ]);
    assert_eq!(session.keyspace.stats.expired_keys, 0);
    // There is no other key: as in Redis, one of them is named.
    assert_ne!(session.run("RANDOMKEY"), "$-1\r\n");
    // A write (of a transaction that holds the pause) finds no old value.
    session.check(&[("APPEND k w", ":1\r\n"), ("TTL k", ":-1\r\n")]);
    session.keyspace.keeps_expired = false;
    session.check_effects(&[("SMEMBERS s", &["DEL s"]), ("SMEMBERS s", &[])]);
}
