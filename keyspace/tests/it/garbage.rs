//! What takes long to free is left to another thread, however it goes; what does not is freed at once.

use keyspace::{By, Garbage, Policy, Random};

use crate::{START_MS, Session};

/// Keys that take long to free, each made by many lines of this form; `#` stands for a number.
const BIG: &[&str] = &[
    "RPUSH big #",
    "SADD big m#",
    "HSET big f# v",
    "ZADD big # m#",
    "XADD big #-1 f v",
    "XGROUP CREATE big g# 0 MKSTREAM",
    "XGROUP CREATECONSUMER big g c#",
    "XCLAIM big g c 0 #-1 FORCE JUSTID",
];

/// A session in which `big` is made of so many lines.
fn with_big(form: &str, lines: usize) -> Session {
    let mut session = Session::new();
    session.keyspace.limits.hash_max_listpack_entries = 128;
    session.keyspace.limits.list_max_listpack_size = 1;
    session.keyspace.limits.stream_node_max_entries = 1;
    if form.starts_with("XGROUP CREATECONSUMER") {
        session.run("XGROUP CREATE big g 0 MKSTREAM");
    }
    if form.starts_with("XCLAIM") {
        // A claim is of what is there.
        session.keyspace.limits.stream_node_max_entries = 1_000_000;
        session.run("XGROUP CREATE big g 0 MKSTREAM");
        (1..=lines).for_each(|number| _ = session.run(&format!("XADD big {number}-1 f v")));
    }
    for number in 1..=lines {
        let reply = session.run(&form.replace('#', &number.to_string()));
        assert!(!reply.starts_with('-'), "{form}: {reply}");
    }
    session
}

fn expire(session: &mut Session) {
    session.run("PEXPIRE big 10");
    session.now_ms += 20;
    session.unit.clear();
    assert!(!session.keyspace.expire_due(session.now_ms, 10, &mut session.unit));
}

fn evict(session: &mut Session) {
    session.keyspace.limits.policy = Some(Policy { by: By::Random, volatile_only: false });
    session.keyspace.evict(session.now_ms, &mut session.unit);
}

fn evict_beside_snapshot(session: &mut Session) {
    session.keyspace.limits.policy = Some(Policy { by: By::Random, volatile_only: false });
    let _snapshot = session.keyspace.snapshot();
    session.keyspace.evict_beside_snapshot(session.now_ms, &mut session.unit);
}

/// Ways for a key to go.
type Way = fn(&mut Session);
const WAYS: &[(&str, Way)] = &[
    ("UNLINK", |session| _ = session.run("UNLINK big")),
    ("expiry", expire),
    ("a lookup behind its time", |session| {
        session.run("PEXPIRE big 10");
        session.now_ms += 20;
        session.run("GET big");
    }),
    ("eviction", evict),
    ("eviction beside a snapshot", evict_beside_snapshot),
    ("DEL, lazy", |session| {
        session.keyspace.limits.lazy_user_del = true;
        session.run("DEL big");
    }),
    ("SET, lazy", |session| {
        session.keyspace.limits.lazy_server_del = true;
        session.run("SET big small");
    }),
];

#[test]
fn a_value_of_many_parts_is_garbage_whatever_it_is_and_however_it_goes() {
    for form in BIG {
        for (way, go) in WAYS {
            let mut session = with_big(form, 200);
            go(&mut session);
            let garbage = session.keyspace.take_garbage();
            assert!(matches!(garbage[..], [Garbage::Value(_)]), "{form}, {way}: {garbage:?}");
            let mut small = with_big(form, 20);
            go(&mut small);
            assert!(small.keyspace.take_garbage().is_empty(), "{form}, {way}");
        }
    }
}

/// One allocation of Redis's is thousands of ours: whoever deletes it must not wait for more than there.
#[test]
fn a_long_string_is_garbage_whoever_deletes_it() {
    for line in
        ["DEL big", "GETDEL big", "SET big small", "RENAME other big", "BITOP AND big none", "UNLINK big"]
    {
        for (last, garbage) in [(5_000_000, 1), (1_000_000, 0)] {
            let mut session = Session::new();
            session.check(&[("SET other v", "+OK\r\n"), ("SETRANGE big 5000 x", ":5001\r\n")]);
            session.run(&format!("SETRANGE big {last} x"));
            assert!(!session.run(line).starts_with('-'));
            assert_eq!(session.keyspace.take_garbage().len(), garbage, "{line}, {last} bytes");
        }
    }
}

#[test]
fn flushed_databases_are_garbage() {
    for (line, databases) in [("FLUSHALL ASYNC", 2), ("FLUSHDB ASYNC", 1), ("FLUSHALL SYNC", 0)] {
        let mut session = Session::new();
        session.check(&[("SET k v", "+OK\r\n"), ("COPY k k DB 3", ":1\r\n"), (line, "+OK\r\n")]);
        let garbage = session.keyspace.take_garbage();
        assert_eq!(garbage.len(), databases, "{line}");
        assert!(garbage.iter().all(|garbage| matches!(garbage, Garbage::Db(db) if db.len() == 1)));
    }
}

/// To learn whether a stream takes long to free, and how much, each of its groups and consumers was looked at.
#[test]
fn a_stream_of_many_consumers_is_judged_by_a_sample() {
    for form in ["XGROUP CREATECONSUMER big g a-consumer-with-a-name-#", "XGROUP CREATE big g# 0 MKSTREAM"] {
        let session = with_big(form, 5_000);
        let entry = session.keyspace.entry(0, b"big", START_MS).unwrap();
        let (exact, judged) = (entry.memory_bytes(0), entry.memory_bytes(5));
        assert!((exact / 8 * 7..exact / 8 * 9).contains(&judged), "{form}: {judged} for {exact}");
        assert_eq!(entry.value().to_value().free_effort(), 5_000 + usize::from(form.contains("CONSUMER")));
    }
}

/// What garbage takes is counted as free until a snapshot ends. It was judged by the members that HSCAN shows first: ten
/// megabytes in one of them stood for a million, and nothing was evicted any more.
#[test]
fn the_fields_that_hscan_shows_first_do_not_stand_for_all() {
    let mut session = Session::new();
    (0..20_000).for_each(|number| assert_eq!(session.run(&format!("HSET h f:{number} value")), ":1\r\n"));
    let shown = session.run("HSCAN h 0 COUNT 16");
    let big = "x".repeat(100_000);
    for field in shown.lines().filter(|line| line.starts_with("f:")) {
        assert_eq!(session.run(&format!("HSET h {field} {big}")), ":0\r\n");
    }
    let exact = session.keyspace.entry(0, b"h", session.now_ms).unwrap().memory_bytes(0);
    session.run("UNLINK h");
    let garbage = session.keyspace.take_garbage();
    let judged = |seed| garbage[0].memory_bytes(&mut Random::new(seed));
    let judged: Vec<usize> = (0..10).map(judged).collect();
    assert!(judged.iter().all(|bytes| (exact / 10..2 * exact).contains(bytes)), "{judged:?} for {exact}");
}

/// A segment that is yet to be split has twice as many records as one that was.
#[test]
fn a_sample_stands_for_all_however_far_the_table_is_split() {
    for fields in [500, 3_000, 4_000, 5_000, 6_000] {
        let mut session = Session::new();
        for number in 0..fields {
            session.run(&format!("HSET h f:{number} {}", "x".repeat(500 + number % 7)));
        }
        let bytes = |samples| session.keyspace.entry(0, b"h", START_MS).unwrap().memory_bytes(samples);
        let (exact, judged) = (bytes(0), bytes(16));
        assert!((exact / 4 * 3..exact / 4 * 5).contains(&judged), "{fields} fields: {judged} for {exact}");
    }
}
