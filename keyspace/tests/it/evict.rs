//! Eviction against what each policy promises, and how the use of a key is told, kept and carried.

use keyspace::{By, Keyspace, Lfu, Limits, Policy, Touch, Unit};

use crate::{START_MS, Session};

const KEYS: usize = 4_000;

fn under(by: By, volatile_only: bool) -> Session {
    let mut session = Session::new();
    session.keyspace.limits.policy = Some(Policy { by, volatile_only });
    session
}

fn policies() -> impl Iterator<Item = Policy> {
    let by = [By::Lru, By::Lfu, By::Random, By::Ttl];
    by.into_iter().flat_map(|by| [true, false].map(|volatile_only| Policy { by, volatile_only }))
}

impl Session {
    /// Deletes one key to make room; false if there is none.
    fn evict(&mut self) -> bool {
        self.unit.clear();
        self.keyspace.evict(self.now_ms, &mut self.unit).is_some()
    }

    /// Of the keys numbered 0 to `KEYS`, how many of the first half are left, and how many of the second.
    fn left(&self) -> (usize, usize) {
        let is_there =
            |number: &usize| self.keyspace.entry(0, name(*number).as_bytes(), self.now_ms).is_some();
        ((0..KEYS / 2).filter(is_there).count(), (KEYS / 2..KEYS).filter(is_there).count())
    }
}

fn name(number: usize) -> String {
    format!("key:{number}")
}

#[test]
fn lru_takes_mostly_what_was_not_used_for_long() {
    for samples in [5, 10] {
        let mut session = under(By::Lru, false);
        session.keyspace.limits.maxmemory_samples = samples;
        (0..KEYS).for_each(|number| assert_eq!(session.run(&format!("SET {} v", name(number))), "+OK\r\n"));
        // The first half is used again, each key at a time of its own; the others are as old as their numbers are low.
        for number in (KEYS / 2..KEYS).chain(0..KEYS / 2) {
            session.now_ms += 1_000;
            session.run(&format!("GET {}", name(number)));
        }
        (0..KEYS / 2).for_each(|_| assert!(session.evict()));
        let (young, old) = session.left();
        assert_eq!(young + old, KEYS / 2);
        assert!(
            young > KEYS / 2 * 9 / 10,
            "{samples} samples: {young} of the young are left, {old} of the old"
        );
    }
}

#[test]
fn lfu_takes_mostly_what_is_used_least() {
    let mut session = under(By::Lfu, false);
    (0..KEYS).for_each(|number| assert_eq!(session.run(&format!("SET {} v", name(number))), "+OK\r\n"));
    for _ in 0..20 {
        (0..KEYS / 2)
            .for_each(|number| assert_eq!(session.run(&format!("GET {}", name(number))), "$1\r\nv\r\n"));
    }
    (0..KEYS / 2).for_each(|_| assert!(session.evict()));
    let (often, seldom) = session.left();
    assert!(often > KEYS / 2 * 8 / 10, "{often} of the often used are left, {seldom} of the others");
}

#[test]
fn what_the_pool_has_kept_is_spared_if_it_is_used_meanwhile() {
    let mut session = under(By::Lru, false);
    // So few keys that one sample sees them all.
    session.keyspace.limits.maxmemory_samples = 8;
    for (seconds, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        session.now_ms = START_MS + seconds as i64 * 1_000;
        session.run(&format!("SET {key} v"));
    }
    session.now_ms += 10_000;
    assert!(session.evict());
    assert_eq!(session.effects(), ["DEL a"]);
    session.run("GET b");
    assert!(session.evict());
    assert_eq!(session.effects(), ["DEL c"]);
}

#[test]
fn volatile_ttl_takes_what_expires_first_of_all_databases() {
    let mut session = under(By::Ttl, true);
    for (db, line) in [(0, "SET a v EX 40"), (1, "SET b v EX 10"), (0, "SET c v EX 20"), (1, "SET d v EX 30")]
    {
        session.db = db;
        session.run(line);
        session.run("SET stays v");
    }
    session.db = 0;
    // An index that is too early misleads nobody.
    session.run("EXPIRE c 50");
    for effect in ["@1 DEL b", "@1 DEL d", "DEL a", "DEL c"] {
        assert!(session.evict());
        assert_eq!(session.effects(), [effect]);
    }
    assert!(!session.evict());
}

#[test]
fn volatile_policies_find_the_last_key_that_expires_and_never_touch_another() {
    for policy in policies().filter(|policy| policy.volatile_only) {
        let mut session = under(policy.by, true);
        (0..KEYS).for_each(|number| assert_eq!(session.run(&format!("SET {} v", name(number))), "+OK\r\n"));
        (0..20)
            .for_each(|number| assert_eq!(session.run(&format!("SETEX volatile:{number} 100 v")), "+OK\r\n"));
        // Some that did expire leave their traces in the index.
        for number in 0..KEYS / 4 {
            session.run(&format!("EXPIRE {} 10", name(number)));
            session.run(&format!("PERSIST {}", name(number)));
        }
        for count in 0..20 {
            assert!(session.evict(), "{policy:?}: {count} of 20");
            assert!(session.effects()[0].starts_with("DEL volatile:"), "{policy:?}: {:?}", session.effects());
        }
        assert!(!session.evict(), "{policy:?}");
        assert_eq!(session.run("DBSIZE"), format!(":{KEYS}\r\n"));
    }
}

#[test]
fn every_policy_ends_with_nothing_to_give() {
    for policy in policies() {
        let mut session = under(policy.by, policy.volatile_only);
        for db in [0, 3, 15] {
            session.db = db;
            (0..100).for_each(|number| {
                assert_eq!(session.run(&format!("SETEX {} 100 v", name(number))), "+OK\r\n")
            });
        }
        (0..300).for_each(|count| assert!(session.evict(), "{policy:?}: {count} of 300"));
        assert!(!session.evict(), "{policy:?}");
        assert_eq!(session.keyspace.stats.evicted_keys, 300);
        assert!(session.keyspace.dbs().iter().all(keyspace::Db::is_empty), "{policy:?}");
    }
    let mut session = Session::new();
    session.run("SET a v");
    assert!(!session.evict(), "noeviction");
}

#[test]
fn an_eviction_is_an_effect_an_event_and_a_write() {
    let mut session = under(By::Random, false);
    session.run("SET a v");
    assert!(session.evict());
    assert_eq!((session.effects(), session.events()), (vec!["DEL a".into()], vec!["evicted a".into()]));
    let hash = session.keyspace.hash(b"a");
    assert_eq!(session.unit.touched[..], [Touch::Key { db: 0, hash, wrote: true }]);
    assert_eq!(session.unit.ready.len(), 1, "who waits for the key to go hears of it");
    session.keyspace.limits.lazy_eviction = true;
    session.run("SET a v");
    assert!(session.evict());
    assert_eq!(session.effects(), ["UNLINK a"]);
}

#[test]
fn a_big_value_is_garbage_of_a_known_size() {
    let mut session = under(By::Random, false);
    for number in 0..2_000 {
        session.run(&format!("RPUSH big {number}:{}", "x".repeat(500)));
    }
    let freed = session.keyspace.evict(session.now_ms, &mut Unit::default()).unwrap();
    let garbage = session.keyspace.take_garbage();
    assert_eq!(garbage.len(), 1);
    assert!((1_000_000..1_100_000).contains(&freed), "{freed} bytes");
    session.run("SET small v");
    assert_eq!(session.keyspace.evict(session.now_ms, &mut Unit::default()), Some(0));
}

#[test]
fn idle_time_and_frequency_are_told_as_the_policy_is() {
    const NO_LFU: &str = "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                          when switching between policies at runtime LRU and LFU data will take some time to adjust.\r\n";
    const NO_LRU: &str = "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
                          switching between policies at runtime LRU and LFU data will take some time to adjust.\r\n";
    let mut session = under(By::Lru, false);
    session.run("SET k v");
    session.now_ms += 90_000;
    session.check(&[
        ("OBJECT IDLETIME k", ":90\r\n"),
        ("OBJECT FREQ k", NO_LFU),
        ("OBJECT FREQ none", "$-1\r\n"),
        ("OBJECT IDLETIME none", "$-1\r\n"),
        ("TOUCH k", ":1\r\n"),
        ("OBJECT IDLETIME k", ":0\r\n"),
    ]);
    session.keyspace.limits.policy = Some(Policy { by: By::Lfu, volatile_only: true });
    session.check(&[
        ("OBJECT FREQ k", ":5\r\n"),
        ("OBJECT IDLETIME k", NO_LRU),
        ("OBJECT IDLETIME none", "$-1\r\n"),
    ]);
    session.keyspace.limits.lfu = Lfu { log_factor: 0, decay_minutes: 1 };
    session.check(&[("GET k", "$1\r\nv\r\n"), ("SET k w", "+OK\r\n"), ("OBJECT FREQ k", ":7\r\n")]);
    session.now_ms += 180_000;
    session.check(&[("OBJECT FREQ k", ":4\r\n"), ("SET new v", "+OK\r\n"), ("OBJECT FREQ new", ":5\r\n")]);
    session.keyspace.limits.policy = None;
    session.check(&[("OBJECT IDLETIME new", ":0\r\n"), ("OBJECT FREQ new", NO_LFU)]);
}

/// Of the lookups that a command may write after, each notes an access, whether it writes or not.
const WRITERS: [(&str, &str); 32] = [
    ("SET k 1", "EXPIRE k 100"),
    ("SET k 1", "EXPIRE k 100 XX"),
    ("SET k 1 EX 100", "PERSIST k"),
    ("SET k 1", "PERSIST k"),
    ("SET k 1", "SETNX k 2"),
    ("SET k 1", "SET k 2 NX"),
    ("SET k 1", "MSETNX new 1 k 2"),
    ("SET k 1", "SETBIT k 0 0"),
    ("SET k 1", "BITFIELD k SET u8 0 49"),
    ("SET k 1", "SETRANGE k 0 \"\""),
    ("SET k 1", "APPEND k \"\""),
    ("SET k 1", "INCR k"),
    ("SET k 1", "INCRBYFLOAT k 1"),
    ("PFADD k a", "PFADD k a"),
    ("PFADD k a", "PFMERGE k"),
    ("HSET k f 1", "HSETNX k f 2"),
    ("HSET k f 1", "HINCRBY k f 1"),
    ("HSET k f 1", "HDEL k g"),
    ("RPUSH k a", "LPOP k 0"),
    ("RPUSH k a", "LPUSHX k b"),
    ("RPUSH k a", "LINSERT k BEFORE x b"),
    ("RPUSH k a", "RPOPLPUSH k k"),
    ("RPUSH k a", "LREM k 0 x"),
    ("SADD k a", "SMOVE k l x"),
    ("SADD k a", "SMOVE l k x"),
    ("SADD k a", "SPOP k 0"),
    ("SADD k a", "SREM k x"),
    ("ZADD k 1 a", "ZADD k 1 a"),
    ("ZADD k 1 a", "ZREM k x"),
    ("SET k 1", "RENAME k k"),
    ("SET k 1", "RENAMENX l k"),
    ("SET k 1", "COPY l k"),
];

#[test]
fn a_lookup_for_a_write_is_an_access_unless_the_client_does_not_touch() {
    for (make, line) in WRITERS {
        for no_touch in [false, true] {
            let mut session = Session::new();
            let other = if make.starts_with("SADD") { "SADD l b" } else { "SET l 1" };
            [make, other].iter().for_each(|line| _ = session.run(line));
            session.now_ms += 50_000;
            session.no_touch = no_touch;
            let reply = session.run(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
            // What replaces a value is new, whoever brings it.
            let stored_anew = ["INCR k", "INCRBYFLOAT k 1"].contains(&line);
            let idle = if no_touch && !stored_anew { ":50\r\n" } else { ":0\r\n" };
            assert_eq!(session.run("OBJECT IDLETIME k"), idle, "{line}, no-touch {no_touch}");
        }
    }
}

#[test]
fn a_move_uses_the_key_that_is_in_its_way() {
    let mut session = Session::new();
    for db in [0, 1] {
        session.db = db;
        session.run("SET k 1");
    }
    session.now_ms += 50_000;
    session.db = 0;
    session.check(&[("MOVE k 1", ":0\r\n"), ("OBJECT IDLETIME k", ":0\r\n")]);
    session.db = 1;
    session.check(&[("OBJECT IDLETIME k", ":0\r\n")]);
}

#[test]
fn what_tells_of_a_key_leaves_it_as_idle_as_it_was() {
    let mut session = Session::new();
    session.run("SET k 1 EX 1000");
    session.now_ms += 50_000;
    for line in
        ["TTL k", "EXISTS k", "TYPE k", "OBJECT ENCODING k", "EXPIRETIME k", "RANDOMKEY", "SCAN 0", "KEYS *"]
    {
        session.run(line);
        assert_eq!(session.run("OBJECT IDLETIME k"), ":50\r\n", "{line}");
    }
}

#[test]
fn a_command_that_looks_twice_uses_a_key_once() {
    let mut session = under(By::Lfu, false);
    session.keyspace.limits.lfu = Lfu { log_factor: 0, decay_minutes: 0 };
    for (make, line) in [
        ("SET k 1", "INCR k"),
        ("SET k 1", "APPEND k 1"),
        ("SET k 1", "SETBIT k 0 1"),
        ("SET k 1", "SET k 2 XX"),
        ("HSET k f 1", "HINCRBY k f 1"),
        ("RPUSH k a b", "LPOP k"),
        ("SADD k a b", "SPOP k 1"),
    ] {
        session.run("DEL k");
        session.run(make);
        session.run(line);
        assert_eq!(session.run("OBJECT FREQ k"), ":6\r\n", "{line}");
    }
}

#[test]
fn how_often_a_value_was_used_goes_with_it_and_not_with_the_key() {
    let mut session = under(By::Lfu, false);
    session.keyspace.limits.lfu = Lfu { log_factor: 1_000_000_000, decay_minutes: 0 };
    session.run("SET source 1");
    let payload = session.run_argv(&[b"DUMP", b"source"]);
    let payload =
        payload[payload.iter().position(|&byte| byte == b'\n').unwrap() + 1..payload.len() - 2].to_vec();
    let restore: [&[u8]; 7] = [b"RESTORE", b"k", b"0", &payload, b"REPLACE", b"FREQ", b"200"];
    session.run_argv(&restore);
    // (key, what moves or replaces it, where it is then, its counter)
    for (line, db, key, freq) in [
        ("RENAME k j", 0, "j", 200),
        ("RENAMENX j k", 0, "k", 200),
        ("MOVE k 1", 1, "k", 200),
        ("MOVE k 0", 0, "k", 200),
        // What replaces a value in place is used as that was; a copy was never used.
        ("SET k 2", 0, "k", 200),
        ("COPY source k REPLACE", 0, "k", 5),
    ] {
        session.run(line);
        session.db = db;
        assert_eq!(session.run(&format!("OBJECT FREQ {key}")), format!(":{freq}\r\n"), "{line}");
    }
    session.run_argv(&restore);
    session.run_argv(&restore[..5]);
    session.check(&[("OBJECT FREQ k", ":5\r\n")]);
    // And it takes the place of a value that was.
    session.run_argv(&restore);
    session.check(&[("SET j 1", "+OK\r\n"), ("RENAME j k", "+OK\r\n"), ("OBJECT FREQ k", ":6\r\n")]);
}

#[test]
fn a_client_that_does_not_touch_leaves_keys_as_idle_as_they_were_but_by_touch() {
    let mut session = Session::new();
    session.run("SET k 1");
    session.run("RPUSH l a");
    session.now_ms += 50_000;
    session.no_touch = true;
    for line in ["GET k", "STRLEN k", "RPUSH l b"] {
        session.run(line);
    }
    session.check(&[("OBJECT IDLETIME k", ":50\r\n"), ("OBJECT IDLETIME l", ":50\r\n")]);
    session.run("TOUCH k");
    session.check(&[("OBJECT IDLETIME k", ":0\r\n")]);
}

#[test]
fn a_read_beside_a_snapshot_is_noted_and_copies_nothing() {
    for by in [By::Lru, By::Lfu] {
        let mut session = under(by, false);
        session.keyspace.limits.lfu = Lfu { log_factor: 0, decay_minutes: 0 };
        session.run("SET k v");
        session.now_ms += 50_000;
        let snapshot = session.keyspace.snapshot();
        let at =
            |keyspace: &Keyspace| keyspace.dbs()[0].table().iter().map(|entry| entry.key().as_ptr()).next();
        session.run("GET k");
        assert_eq!(
            at(&session.keyspace),
            snapshot.dbs[0].table().iter().map(|entry| entry.key().as_ptr()).next()
        );
        let told = if by == By::Lru { ("OBJECT IDLETIME k", ":0\r\n") } else { ("OBJECT FREQ k", ":6\r\n") };
        session.check(&[told]);
    }
}

#[test]
fn restore_takes_what_the_policy_looks_at() {
    let mut session = under(By::Lru, false);
    session.run("SET k v");
    let payload = session.run_argv(&[b"DUMP", b"k"]);
    let payload =
        payload[payload.iter().position(|&byte| byte == b'\n').unwrap() + 1..payload.len() - 2].to_vec();
    let restore = |session: &mut Session, option: &[u8], number: &[u8]| {
        let argv: &[&[u8]] = &[b"RESTORE", b"k", b"0", &payload, b"REPLACE", option, number];
        assert_eq!(session.run_argv(argv), b"+OK\r\n");
    };
    restore(&mut session, b"IDLETIME", b"1000");
    session.check(&[("OBJECT IDLETIME k", ":1000\r\n")]);
    restore(&mut session, b"FREQ", b"100");
    session.check(&[("OBJECT IDLETIME k", ":0\r\n")]);
    session.keyspace.limits.policy = Some(Policy { by: By::Lfu, volatile_only: false });
    restore(&mut session, b"FREQ", b"100");
    session.check(&[("OBJECT FREQ k", ":100\r\n")]);
}

#[test]
fn small_integers_are_not_shared_where_each_has_an_access_of_its_own() {
    let mut session = under(By::Lru, false);
    session.run("SET k 1");
    session.check(&[("OBJECT REFCOUNT k", ":2147483647\r\n")]);
    session.keyspace.limits = Limits { maxmemory_bytes: 1 << 30, ..session.keyspace.limits.clone() };
    session.check(&[("OBJECT REFCOUNT k", ":1\r\n")]);
    session.keyspace.limits.policy = Some(Policy { by: By::Random, volatile_only: false });
    session.check(&[("OBJECT REFCOUNT k", ":2147483647\r\n")]);
}
