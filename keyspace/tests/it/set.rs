//! Sets.

use std::collections::{BTreeMap, BTreeSet};

use keyspace::ValueRef;

use crate::Session;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// A line that adds the integers from `first` to `last`, and then `more`, to a set.
fn sadd(key: &str, first: i64, last: i64, more: &str) -> String {
    let members: Vec<String> = (first..=last).map(|member| member.to_string()).collect();
    format!("SADD {key} {} {more}", members.join(" "))
}

fn encoding(session: &mut Session, key: &str) -> &'static str {
    let value = session.keyspace.dbs()[0].table().iter().find(|entry| entry.key() == key.as_bytes());
    value.map_or("none", |entry| entry.value().encoding())
}

/// The bulk strings of a reply, sorted.
fn bulks(reply: &str) -> Vec<String> {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let mut bulks: Vec<String> =
        lines.windows(2).filter(|pair| pair[0].starts_with('$')).map(|pair| pair[1].to_owned()).collect();
    bulks.sort();
    bulks
}

/// The reply was built until no memory was left.
#[test]
fn a_count_beyond_all_memory_is_refused() {
    let mut session = Session::new();
    session.keyspace.limits.max_repeated_bytes = 1000;
    session.run("SADD s a");
    session.run("HSET h f v");
    session.run("ZADD z 1 a");
    let refusal = "-ERR value is out of range, the reply would be longer than 1000 bytes\r\n";
    for (command, member) in
        [("SRANDMEMBER s", "$1\r\na\r\n"), ("HRANDFIELD h", "$1\r\nf\r\n"), ("ZRANDMEMBER z", "$1\r\na\r\n")]
    {
        assert_eq!(session.run(&format!("{command} -9000000000000000000")), refusal);
        assert_eq!(session.run(&format!("{command} -100")), format!("*100\r\n{}", member.repeat(100)));
    }
    for command in
        ["HRANDFIELD h -4000000000000000000 WITHVALUES", "ZRANDMEMBER z -4000000000000000000 WITHSCORES"]
    {
        assert_eq!(session.run(command), refusal);
    }
}

#[test]
fn replies_are_those_of_redis() {
    Session::new().check(&[
        ("SADD s a", ":1\r\n"),
        ("SADD s a b b", ":1\r\n"),
        ("SADD s", "-ERR wrong number of arguments for 'sadd' command\r\n"),
        ("SCARD s", ":2\r\n"),
        ("SCARD none", ":0\r\n"),
        ("SMEMBERS s", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("SMEMBERS none", "*0\r\n"),
        ("SISMEMBER s a", ":1\r\n"),
        ("SISMEMBER s c", ":0\r\n"),
        ("SISMEMBER none a", ":0\r\n"),
        ("SMISMEMBER s a c b", "*3\r\n:1\r\n:0\r\n:1\r\n"),
        ("SMISMEMBER none a", "*1\r\n:0\r\n"),
        ("SREM none a", ":0\r\n"),
        ("SREM s c", ":0\r\n"),
        ("SREM s a c a", ":1\r\n"),
        ("SREM s b", ":1\r\n"),
        ("EXISTS s", ":0\r\n"),
        ("SADD i 3 -1 2", ":3\r\n"),
        ("SMEMBERS i", "*3\r\n$2\r\n-1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("SISMEMBER i 02", ":0\r\n"),
        ("SREM i x", ":0\r\n"),
        ("SPOP none", "$-1\r\n"),
        ("SPOP none 3", "*0\r\n"),
        ("SPOP i 0", "*0\r\n"),
        ("SPOP i -1", "-ERR value is out of range, must be positive\r\n"),
        ("SPOP i x", "-ERR value is out of range, must be positive\r\n"),
        ("SPOP i 1 2", "-ERR syntax error\r\n"),
        ("SRANDMEMBER none", "$-1\r\n"),
        ("SRANDMEMBER none 2", "*0\r\n"),
        ("SRANDMEMBER i 0", "*0\r\n"),
        ("SRANDMEMBER i 9", "*3\r\n$2\r\n-1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("SRANDMEMBER i x", "-ERR value is not an integer or out of range\r\n"),
        (
            "SRANDMEMBER i -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
        ),
        ("SRANDMEMBER i 1 2", "-ERR syntax error\r\n"),
        ("SRANDMEMBER i 9223372036854775807", "*3\r\n$2\r\n-1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("SPOP i 9", "*3\r\n$2\r\n-1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("EXISTS i", ":0\r\n"),
    ]);
}

#[test]
fn moving_a_member_keeps_it_in_one_set_at_least() {
    Session::new().check(&[
        ("SADD a 1 x", ":2\r\n"),
        ("SET string v", "+OK\r\n"),
        ("SMOVE none string x", ":0\r\n"),
        ("SMOVE a string x", WRONG_TYPE),
        ("SMOVE string a x", WRONG_TYPE),
        ("SMOVE a string nomember", WRONG_TYPE),
        ("SMOVE a b nomember", ":0\r\n"),
        ("EXISTS b", ":0\r\n"),
        ("SMOVE a a x", ":1\r\n"),
        ("SMOVE a a y", ":0\r\n"),
        ("SCARD a", ":2\r\n"),
        ("SMOVE a b x", ":1\r\n"),
        ("SADD b 1", ":1\r\n"),
        ("SMOVE a b 1", ":1\r\n"),
        ("EXISTS a", ":0\r\n"),
        ("SMEMBERS b", "*2\r\n$1\r\nx\r\n$1\r\n1\r\n"),
    ]);
}

#[test]
fn set_algebra_replies_as_redis_does() {
    Session::new().check(&[
        ("SADD a 1 2 3 x", ":4\r\n"),
        ("SADD b 2 3 y", ":3\r\n"),
        ("SADD c 3", ":1\r\n"),
        ("SET string v", "+OK\r\n"),
        ("SINTER a b", "*2\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("SINTER a b c", "*1\r\n$1\r\n3\r\n"),
        ("SINTER a none", "*0\r\n"),
        ("SINTER none string", WRONG_TYPE),
        ("SINTERSTORE d none string", WRONG_TYPE),
        ("SINTERCARD 2 a b", ":2\r\n"),
        ("SINTERCARD 2 a b limit 1", ":1\r\n"),
        ("SINTERCARD 2 a b LIMIT 0", ":2\r\n"),
        ("SINTERCARD 2 none string", WRONG_TYPE),
        ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0\r\n"),
        ("SINTERCARD x a", "-ERR numkeys should be greater than 0\r\n"),
        ("SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args\r\n"),
        ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative\r\n"),
        ("SINTERCARD 1 a LIMIT", "-ERR syntax error\r\n"),
        ("SINTERCARD 1 a b", "-ERR syntax error\r\n"),
        ("SDIFF a b", "*2\r\n$1\r\n1\r\n$1\r\nx\r\n"),
        ("SDIFF a a", "*0\r\n"),
        ("SDIFF none a", "*0\r\n"),
        ("SDIFF none string", WRONG_TYPE),
        ("SUNION c none c", "*1\r\n$1\r\n3\r\n"),
        ("SUNION none string", WRONG_TYPE),
        ("SUNIONSTORE d a b c", ":5\r\n"),
        ("SINTERSTORE string a b", ":2\r\n"),
        ("SMEMBERS string", "*2\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("SDIFFSTORE d c a", ":0\r\n"),
        ("EXISTS d", ":0\r\n"),
        ("SUNIONSTORE a a b", ":5\r\n"),
    ]);
}

#[test]
fn resp3_has_sets() {
    Session::resp3().check(&[
        ("SADD s a", ":1\r\n"),
        ("SMEMBERS s", "~1\r\n$1\r\na\r\n"),
        ("SMEMBERS none", "~0\r\n"),
        ("SINTER s s", "~1\r\n$1\r\na\r\n"),
        ("SUNION s none", "~1\r\n$1\r\na\r\n"),
        ("SDIFF s none", "~1\r\n$1\r\na\r\n"),
        ("SRANDMEMBER s 1", "*1\r\n$1\r\na\r\n"),
        ("SRANDMEMBER none 1", "*0\r\n"),
        ("SPOP none", "_\r\n"),
        ("SPOP none 1", "~0\r\n"),
        ("SPOP s 1", "~1\r\n$1\r\na\r\n"),
    ]);
}

#[test]
fn another_type_is_refused_by_every_command() {
    let mut session = Session::new();
    session.run("SET string v");
    for line in [
        "SADD string a",
        "SREM string a",
        "SISMEMBER string a",
        "SMISMEMBER string a",
        "SCARD string",
        "SMEMBERS string",
        "SPOP string",
        "SPOP string 1",
        "SRANDMEMBER string",
        "SRANDMEMBER string 1",
        "SINTER string",
        "SUNIONSTORE d string",
        "SDIFFSTORE d string",
        "SSCAN string 0",
    ] {
        session.check(&[(line, WRONG_TYPE)]);
        assert!(session.effects().is_empty(), "{line}");
    }
}

#[test]
fn effects_replay_to_the_same_state() {
    let mut session = Session::new();
    session.check_effects(&[
        ("SADD s a", &["SADD s a"]),
        ("SADD s a", &[]),
        ("SREM s b", &[]),
        ("SPOP s 0", &[]),
        ("SPOP s", &["SREM s a"]),
        ("SADD s a b", &["SADD s a b"]),
        ("SPOP s 5", &["DEL s"]),
        ("SUNIONSTORE d s", &[]),
        ("SADD d a", &["SADD d a"]),
        ("SUNIONSTORE d s", &["SUNIONSTORE d s"]),
        ("SADD a x", &["SADD a x"]),
        ("SMOVE a a x", &[]),
        ("SMOVE a b x", &["SMOVE a b x"]),
    ]);
    assert_eq!(session.events(), ["srem a", "del a", "sadd b"]);
    session.keyspace.limits.lazy_server_del = true;
    session.check_effects(&[("SPOP b 1", &["UNLINK b"])]);
    assert_eq!(session.events(), ["spop b", "del b"]);
    assert_eq!(session.unit.dirty, 1);
}

#[test]
fn spop_with_a_count_is_logged_in_batches_of_removals() {
    let mut session = Session::new();
    session.run(&sadd("s", 1, 3000, "x"));
    let popped = bulks(&session.run("SPOP s 2900"));
    assert_eq!(popped.iter().collect::<BTreeSet<_>>().len(), 2900, "all different");
    let effects = session.effects();
    assert_eq!(
        effects.iter().map(|effect| effect.split(' ').count() - 2).collect::<Vec<_>>(),
        [1024, 1024, 852]
    );
    let mut logged: Vec<String> =
        effects.iter().flat_map(|effect| effect.split(' ').skip(2)).map(str::to_owned).collect();
    logged.sort();
    assert_eq!(logged, popped);
    assert_eq!(session.run("SCARD s"), ":101\r\n");
    for member in &popped {
        assert_eq!(session.run(&format!("SISMEMBER s {member}")), ":0\r\n");
    }
    assert_eq!(encoding(&mut session, "s"), "listpack", "what little stays is packed");
}

#[test]
fn encodings_change_where_redis_7_2_changes_them() {
    let mut session = Session::new();
    let mut case = |lines: &[String], key: &str, expected: &str| {
        lines.iter().for_each(|line| assert!(!session.run(line).starts_with('-')));
        assert_eq!(encoding(&mut session, key), expected, "{}", lines.last().unwrap());
    };
    case(&[sadd("i", 1, 512, "")], "i", "intset");
    case(&[sadd("i", 1, 512, "")], "i", "intset");
    case(&[sadd("i", 513, 513, "")], "i", "hashtable");
    case(&["SPOP i 500".into()], "i", "listpack");
    case(&[sadd("j", 1, 513, "")], "j", "hashtable");
    case(&[sadd("m", 1, 127, "x")], "m", "listpack");
    case(&[sadd("m", 1, 127, "y")], "m", "hashtable");
    case(&[sadd("n", 1, 128, "x")], "n", "hashtable");
    case(&["SADD p a".into(), format!("SADD p {}", "v".repeat(64))], "p", "listpack");
    case(&[format!("SADD p {}", "v".repeat(65))], "p", "hashtable");
    case(&["SADD q 1".into(), format!("SADD q {}", "v".repeat(65))], "q", "hashtable");
    case(&["SREM p a".into()], "p", "hashtable");
    // Results of set algebra.
    case(&[sadd("a", 1, 200, "x"), sadd("b", 1, 200, ""), "SINTERSTORE d a b".into()], "d", "intset");
    case(&["SADD c x 1 2 3".into(), "SINTERSTORE d c a".into()], "d", "listpack");
    case(&["SADD e 1 2 3 q".into(), "SINTERSTORE d c e".into()], "d", "intset");
    case(&["SUNIONSTORE d c".into()], "d", "listpack");
    case(&["SREM c x".into(), "SUNIONSTORE d c".into()], "d", "intset");
    case(&["SDIFFSTORE d a c".into()], "d", "hashtable");
    // What valkey-server 9.1 says, which has 7.2's encodings.
    case(&["SADD e x".into(), "SREM e x q".into(), "SINTERSTORE d e e".into()], "d", "intset");
    case(&[sadd("f", 1, 200, ""), "SADD f x".into(), "SREM f x".into()], "f", "hashtable");
    case(&["SINTERSTORE d f f".into()], "d", "intset");
    case(&["SADD f y".into(), "SINTERSTORE d f f".into()], "d", "hashtable");
    case(&[sadd("g", 100, 700, ""), "SADD g y".into(), "SINTERSTORE d f g".into()], "d", "listpack");
}

/// It was built as an intset, and outgrew that before the member came that is no integer.
#[test]
fn an_intersection_of_tables_is_built_as_a_listpack() {
    let mut session = Session::new();
    session.run(&sadd("s", 1, 200, "x"));
    session.keyspace.limits.set_max_intset_entries = 100;
    session.keyspace.limits.set_max_listpack_entries = 1_000;
    assert_eq!(
        (session.run("SINTERSTORE d s s"), encoding(&mut session, "d")),
        (":201\r\n".into(), "listpack")
    );
}

#[test]
fn random_members_are_drawn_evenly_from_every_encoding() {
    let mut session = Session::new();
    session.run(&sadd("ints", 0, 19, ""));
    session.run("SADD pack a b c d e f g h i j k l m n o p q r s t");
    session.run(&format!("SADD table {} a b c d e f g h i j k l m n o p q r s", "v".repeat(65)));
    for key in ["ints", "pack", "table"] {
        for (count, times) in [("", 2000), ("-50", 40), ("5", 400), ("10", 200)] {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..times {
                let reply = session.run(&format!("SRANDMEMBER {key} {count}"));
                bulks(&reply).into_iter().for_each(|member| *seen.entry(member).or_default() += 1);
            }
            // 2,000 draws from 20: each is due a hundred times; five standard deviations are 49.
            assert_eq!(seen.len(), 20, "{key} {count}");
            assert!(seen.values().all(|times| (50..150).contains(times)), "{key} {count}: {seen:?}");
        }
    }
}

#[test]
fn a_scan_that_grows_and_shrinks_the_set_returns_every_lasting_member() {
    let mut session = Session::new();
    session.run(&sadd("s", 1, 1000, "lasting"));
    let mut seen = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for round in 0.. {
        let reply = session.run(&format!("SSCAN s {cursor} COUNT 50"));
        cursor = reply.split("\r\n").nth(2).unwrap().to_owned();
        let members = bulks(reply.split_once("\r\n").unwrap().1.split_once("\r\n").unwrap().1);
        seen.extend(members);
        if cursor == "0" {
            break;
        }
        if round % 2 == 0 {
            session.run(&sadd("s", 2000 + round * 700, 2700 + round * 700, ""));
        } else {
            session.run("SPOP s 0");
        }
    }
    assert!((1..=1000).all(|member| seen.contains(&member.to_string())) && seen.contains("lasting"));
}

#[test]
fn sscan_filters_and_refuses_as_redis_does() {
    let mut session = Session::new();
    session.check(&[
        ("SADD s a1 a2 b1 7", ":4\r\n"),
        ("SSCAN s 0", "*2\r\n$1\r\n0\r\n*4\r\n$2\r\na1\r\n$2\r\na2\r\n$2\r\nb1\r\n$1\r\n7\r\n"),
        ("SSCAN s 0 MATCH a*", "*2\r\n$1\r\n0\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n"),
        ("SSCAN s 5 MATCH [7] COUNT 1", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\n7\r\n"),
        ("SSCAN none 0 bogus", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("SSCAN none x", "-ERR invalid cursor\r\n"),
        ("SSCAN s 0 COUNT 0", "-ERR syntax error\r\n"),
        ("SSCAN s 0 COUNT x", "-ERR value is not an integer or out of range\r\n"),
        ("SSCAN s 0 MATCH", "-ERR syntax error\r\n"),
        ("SSCAN s 0 TYPE set", "-ERR syntax error\r\n"),
    ]);
}

#[test]
fn a_snapshot_keeps_the_members_of_its_moment() {
    let mut session = Session::new();
    session.run(&sadd("table", 1, 2000, "x"));
    session.run(&sadd("ints", 1, 20, ""));
    session.run("SADD pack a b c");
    let snapshot = session.keyspace.snapshot();
    for line in
        ["SPOP table 1500", "SADD table new", "SPOP ints 5", "SADD ints 70000", "SREM pack a", "SADD pack d"]
    {
        session.run(line);
    }
    let lens: BTreeMap<Vec<u8>, usize> = snapshot.dbs[0]
        .table()
        .iter()
        .map(|entry| match entry.value() {
            ValueRef::Set(set) => (entry.key().to_vec(), set.iter().count()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lens.into_values().collect::<Vec<_>>(), [20, 3, 2001]);
}

/// A few small others are taken from a copy of a large first set; large others are asked for its members.
#[test]
fn a_difference_is_the_same_either_way() {
    // (sizes of the sets, of which set `n` holds the multiples of `n + 1`)
    for sizes in [&[1000, 3][..], &[1000, 3, 0, 10], &[3, 1000], &[10, 10, 10, 10, 10], &[7]] {
        let mut session = Session::new();
        for (n, size) in sizes.iter().enumerate() {
            for at in 0..*size {
                session.run(&format!("SADD s{n} {}", at * (n + 1)));
                session.run(&format!("ZADD z{n} {at} {}", at * (n + 1)));
            }
        }
        let is_other = |member: usize| {
            let mut others = sizes.iter().enumerate().skip(1);
            others.any(|(n, size)| member.is_multiple_of(n + 1) && member / (n + 1) < *size)
        };
        let left: Vec<usize> = (0..sizes[0]).filter(|&member| !is_other(member)).collect();
        for kind in ["s", "z"] {
            let keys: Vec<String> = (0..sizes.len()).map(|n| format!("{kind}{n}")).collect();
            let (keys, count) =
                (keys.join(" "), if kind == "z" { format!("{} ", sizes.len()) } else { String::new() });
            let stored = session.run(&format!("{kind}DIFFSTORE d {count}{keys}"));
            assert_eq!(stored, format!(":{}\r\n", left.len()), "{kind}, {sizes:?}");
            for member in &left {
                let command = if kind == "z" { "ZSCORE" } else { "SISMEMBER" };
                assert!(
                    !["$-1\r\n", ":0\r\n"].contains(&&*session.run(&format!("{command} d {member}"))),
                    "{member}"
                );
            }
            let listed = session.run(&format!("{kind}DIFF {count}{keys}"));
            assert!(listed.starts_with(&format!("*{}\r\n", left.len())), "{kind}, {sizes:?}: {listed}");
        }
    }
}
