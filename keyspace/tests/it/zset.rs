//! Sorted sets.

use keyspace::ValueRef;

use crate::Session;
use crate::allocations::allocated_bytes;

#[test]
fn zadd_adds_updates_and_refuses_as_its_options_say() {
    Session::new().check(&[
        ("ZADD z 1 a", ":1\r\n"),
        ("ZADD z 2 a 3 b", ":1\r\n"),
        ("ZADD z CH 2 a 4 b 5 c", ":2\r\n"),
        ("ZADD z NX 9 a 6 d", ":1\r\n"),
        ("ZADD z XX 7 d 8 e", ":0\r\n"),
        ("ZADD z GT CH 1 a 8 d", ":1\r\n"),
        ("ZADD z LT CH 1 a 9 d", ":1\r\n"),
        ("ZADD z INCR 1.5 a", "$3\r\n2.5\r\n"),
        ("ZADD z NX INCR 1 a", "$-1\r\n"),
        ("ZADD z GT INCR -1 a", "$-1\r\n"),
        ("ZADD none XX 1 a", ":0\r\n"),
        ("EXISTS none", ":0\r\n"),
        ("ZADD z 1", "-ERR wrong number of arguments for 'zadd' command\r\n"),
        ("ZADD z 1 a 2", "-ERR syntax error\r\n"),
        ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible\r\n"),
        ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible\r\n"),
        ("ZADD z NX GT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible\r\n"),
        ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair\r\n"),
        ("ZADD z 1 a nan b", "-ERR value is not a valid float\r\n"),
        ("ZSCORE z a", "$3\r\n2.5\r\n"),
        ("ZADD z inf a", ":0\r\n"),
        ("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)\r\n"),
        ("ZSCORE z a", "$3\r\ninf\r\n"),
        ("SET s x", "+OK\r\n"),
        ("ZADD s 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
}

#[test]
fn ranks_and_scores_are_told_in_both_protocols() {
    let mut session = Session::new();
    session.check(&[
        ("ZADD z 1 a 2 b 3 c", ":3\r\n"),
        ("ZRANK z b", ":1\r\n"),
        ("ZREVRANK z a WITHSCORE", "*2\r\n:2\r\n$1\r\n1\r\n"),
        ("ZRANK z none", "$-1\r\n"),
        ("ZRANK z none WITHSCORE", "*-1\r\n"),
        ("ZRANK none a withscore", "*-1\r\n"),
        ("ZRANK z a bogus", "-ERR syntax error\r\n"),
        ("ZRANK z a withscore x", "-ERR wrong number of arguments for 'zrank' command\r\n"),
        ("ZMSCORE z a none c", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n3\r\n"),
        ("ZMSCORE none a", "*1\r\n$-1\r\n"),
        ("ZCARD z", ":3\r\n"),
        ("ZSCORE none a", "$-1\r\n"),
    ]);
    session.version = resp::Version::Resp3;
    session.check(&[
        ("ZRANK z b WITHSCORE", "*2\r\n:1\r\n,2\r\n"),
        ("ZRANGE z 0 0 WITHSCORES", "*1\r\n*2\r\n$1\r\na\r\n,1\r\n"),
        ("ZPOPMAX z", "*2\r\n$1\r\nc\r\n,3\r\n"),
        ("ZPOPMIN z 1", "*1\r\n*2\r\n$1\r\na\r\n,1\r\n"),
        ("ZMPOP 1 z MIN", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nb\r\n,2\r\n"),
        ("ZMPOP 1 z MIN", "_\r\n"),
    ]);
}

#[test]
fn ranges_are_listed_by_place_by_score_and_by_string() {
    Session::new().check(&[
        ("ZADD z 1 a 2 b 3 c 3 d", ":4\r\n"),
        ("ZRANGE z 0 -3", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("ZRANGE z 0 0 REV WITHSCORES", "*2\r\n$1\r\nd\r\n$1\r\n3\r\n"),
        ("ZREVRANGE z 1 1", "*1\r\n$1\r\nc\r\n"),
        ("ZRANGE z 5 9", "*0\r\n"),
        ("ZRANGE z 2 1", "*0\r\n"),
        ("ZRANGE z (1 +inf BYSCORE LIMIT 1 1", "*1\r\n$1\r\nc\r\n"),
        ("ZRANGE z +inf (1 BYSCORE REV LIMIT 1 1", "*1\r\n$1\r\nc\r\n"),
        ("ZRANGEBYSCORE z -inf (2", "*1\r\n$1\r\na\r\n"),
        ("ZREVRANGEBYSCORE z 2 1", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
        ("ZRANGEBYSCORE z -inf +inf LIMIT -1 5", "*0\r\n"),
        ("ZRANGEBYSCORE z -inf +inf LIMIT 3 -1", "*1\r\n$1\r\nd\r\n"),
        ("ZCOUNT z (1 3", ":3\r\n"),
        ("ZCOUNT z 3 1", ":0\r\n"),
        ("ZADD l 0 a 0 b 0 c", ":3\r\n"),
        ("ZRANGEBYLEX l (a +", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("ZREVRANGEBYLEX l [b -", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
        ("ZLEXCOUNT l - (c", ":2\r\n"),
        ("ZLEXCOUNT l + -", ":0\r\n"),
        ("ZRANGE z a b", "-ERR value is not an integer or out of range\r\n"),
        ("ZRANGE z 0 1 BYLEX", "-ERR min or max not valid string range item\r\n"),
        ("ZRANGE z a b BYSCORE", "-ERR min or max is not a float\r\n"),
        ("ZRANGE z 0 1 BYLEX BYSCORE", "-ERR syntax error\r\n"),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX\r\n",
        ),
        (
            "ZRANGE z - + BYLEX WITHSCORES",
            "-ERR syntax error, WITHSCORES not supported in combination with BYLEX\r\n",
        ),
        ("ZRANGESTORE dst z 1 2", ":2\r\n"),
        ("ZRANGE dst 0 -1 WITHSCORES", "*4\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("ZRANGESTORE dst none 0 -1", ":0\r\n"),
        ("EXISTS dst", ":0\r\n"),
    ]);
}

#[test]
fn sets_and_sorted_sets_are_combined() {
    Session::new().check(&[
        ("ZADD x 1 a 2 b 3 c", ":3\r\n"),
        ("ZADD y 10 b 20 c 30 d", ":3\r\n"),
        ("SADD s a b", ":2\r\n"),
        ("ZUNION 2 x y WITHSCORES WEIGHTS 2 1", "*8\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$2\r\n14\r\n$1\r\nc\r\n$2\r\n26\r\n$1\r\nd\r\n$2\r\n30\r\n"),
        ("ZINTER 2 x y AGGREGATE MAX", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("ZINTER 2 x s WITHSCORES", "*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n"),
        ("ZDIFF 2 x s", "*1\r\n$1\r\nc\r\n"),
        ("ZDIFF 2 x x", "*0\r\n"),
        ("ZINTERCARD 2 x y", ":2\r\n"),
        ("ZINTERCARD 2 x y LIMIT 1", ":1\r\n"),
        ("ZINTERCARD 2 x y LIMIT -1", "-ERR LIMIT can't be negative\r\n"),
        ("ZUNIONSTORE dst 2 x y", ":4\r\n"),
        ("ZINTERSTORE dst 2 x none", ":0\r\n"),
        ("EXISTS dst", ":0\r\n"),
        ("ZADD inf inf a", ":1\r\n"),
        ("ZADD minus -inf a", ":1\r\n"),
        ("ZUNION 2 inf minus WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n0\r\n"),
        ("ZUNION 1 inf WEIGHTS 0 WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n0\r\n"),
        ("ZUNION 0 x", "-ERR at least 1 input key is needed for 'zunion' command\r\n"),
        ("ZUNION 3 x y", "-ERR syntax error\r\n"),
        ("ZUNION 1 x WEIGHTS y", "-ERR weight value is not a float\r\n"),
        ("ZDIFF 1 x WEIGHTS 1", "-ERR syntax error\r\n"),
        ("ZUNIONSTORE dst 1 x WITHSCORES", "-ERR syntax error\r\n"),
        ("SET str v", "+OK\r\n"),
        ("ZUNION 1 str bogus", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
}

/// Where scores differ, what a range of strings finds depends on how the set lies in memory.
#[test]
fn a_range_of_strings_that_makes_no_sense_is_logged_by_its_places() {
    Session::new().check_effects(&[
        ("ZADD one 0 a 0 b 0 c", &["ZADD one 0 a 0 b 0 c"]),
        ("ZRANGESTORE z one [b + BYLEX", &["ZRANGESTORE z one [b + BYLEX"]),
        ("ZREMRANGEBYLEX one - [a", &["ZREMRANGEBYLEX one - [a"]),
        ("ZADD two 1 a 2 b 3 c", &["ZADD two 1 a 2 b 3 c"]),
        ("ZRANGESTORE z two [b + BYLEX", &["ZRANGESTORE z two 1 2"]),
        ("ZRANGESTORE z two + - BYLEX REV LIMIT 0 1", &["ZRANGESTORE z two 2 2"]),
        ("ZRANGESTORE z two [x + BYLEX", &["ZRANGESTORE z two 1 0"]),
        ("ZRANGESTORE z two [x + BYLEX", &[]),
        ("ZREMRANGEBYLEX two [x +", &[]),
        ("ZREMRANGEBYLEX two - [b", &["ZREMRANGEBYRANK two 0 1"]),
    ]);
}

#[test]
fn effects_say_what_was_done() {
    let mut session = Session::new();
    session.check_effects(&[
        ("ZADD z 1 a 2 b 3 c 4 d 5 e", &["ZADD z 1 a 2 b 3 c 4 d 5 e"]),
        ("ZADD z 1 a", &[]),
        ("ZADD z XX 1 none", &[]),
        ("ZINCRBY z 1 a", &["ZINCRBY z 1 a"]),
        ("ZREM z none", &[]),
        ("ZPOPMIN z", &["ZPOPMIN z"]),
        ("ZPOPMIN z 0", &[]),
        ("BZPOPMAX none z 0", &["ZPOPMAX z"]),
        ("ZMPOP 2 none z MIN COUNT 1", &["ZPOPMIN z 1"]),
        ("BZMPOP 0 1 z MAX COUNT 99", &["ZPOPMAX z 2"]),
        ("BZMPOP 0 1 z MAX COUNT 99", &[]),
        ("ZADD z 1 a", &["ZADD z 1 a"]),
        ("ZRANGESTORE dst z 0 -1", &["ZRANGESTORE dst z 0 -1"]),
        ("ZRANGESTORE dst none 0 -1", &["ZRANGESTORE dst none 0 -1"]),
        ("ZRANGESTORE dst none 0 -1", &[]),
        ("ZUNIONSTORE dst 1 z", &["ZUNIONSTORE dst 1 z"]),
        ("ZREMRANGEBYRANK z 5 9", &[]),
        ("ZREMRANGEBYSCORE z -inf +inf", &["ZREMRANGEBYSCORE z -inf +inf"]),
    ]);
}

#[test]
fn events_name_the_change_and_then_the_end_of_the_key() {
    let mut session = Session::new();
    for (line, events) in [
        ("ZADD z 1 a 2 b", &["zadd z"] as &[&str]),
        ("ZINCRBY z 1 a", &["zincr z"]),
        ("ZREM z a", &["zrem z"]),
        ("ZPOPMAX z", &["zpopmax z", "del z"]),
        ("ZADD z 1 a 2 b", &["zadd z"]),
        ("ZRANGESTORE dst z 0 -1", &["zrangestore dst"]),
        ("ZDIFFSTORE dst 2 z z", &["del dst"]),
        ("ZREMRANGEBYRANK z 0 -1", &["zremrangebyrank z", "del z"]),
        ("ZREM z a", &[]),
    ] {
        session.run(line);
        assert_eq!(session.events(), events, "{line}");
    }
}

#[test]
fn a_blocking_pop_parks_its_client_until_a_key_is_ready() {
    let mut session = Session::new();
    session.check(&[
        ("BZPOPMIN a b 0", "*-1\r\n"),
        ("BZPOPMIN a -1", "-ERR timeout is negative\r\n"),
        ("BZPOPMIN a x", "-ERR timeout is not a float or out of range\r\n"),
        ("BZMPOP 0 0 a MIN", "-ERR numkeys should be greater than 0\r\n"),
        ("BZMPOP 0 1 a MID", "-ERR syntax error\r\n"),
        ("BZMPOP 0 1 a MIN COUNT 0", "-ERR count should be greater than 0\r\n"),
    ]);
    session.may_block = true;
    session.check(&[("BZPOPMIN a b 1.5", "")]);
    let block = session.unit.block.take().expect("the client waits");
    assert_eq!(block.keys.iter().map(|key| &key[..]).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!((block.timeout_ms, block.type_name), (Some(1500), "zset"));

    session.check(&[("ZADD b 1 m", ":1\r\n")]);
    assert!(session.unit.ready.iter().any(|(db, key)| *db == 0 && &key[..] == b"b"));
    session.check(&[("BZPOPMIN a b 1.5", "*3\r\n$1\r\nb\r\n$1\r\nm\r\n$1\r\n1\r\n")]);
    assert!(session.unit.block.is_none());
    session.check(&[
        ("SET a x", "+OK\r\n"),
        ("BZPOPMIN a 0", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
}

#[test]
fn random_members_are_members_and_distinct_when_asked() {
    for count in [20, 300] {
        let mut session = Session::new();
        for member in 0..count {
            session.run(&format!("ZADD z {member} m{member}"));
        }
        let drawn = |reply: String| {
            let members: Vec<String> =
                reply.split("\r\n").filter(|line| line.starts_with('m')).map(str::to_owned).collect();
            let distinct: std::collections::BTreeSet<_> = members.iter().cloned().collect();
            (members.len(), distinct.len())
        };
        assert_eq!(drawn(session.run("ZRANDMEMBER z 15")), (15, 15));
        assert_eq!(drawn(session.run("ZRANDMEMBER z 1000")), (count, count));
        assert_eq!(drawn(session.run("ZRANDMEMBER z -5000")), (5000, count));
        assert_eq!(drawn(session.run("ZRANDMEMBER z")), (1, 1));
        session.check(&[
            ("ZRANDMEMBER none", "$-1\r\n"),
            ("ZRANDMEMBER none 5", "*0\r\n"),
            ("ZRANDMEMBER z 0", "*0\r\n"),
            ("ZRANDMEMBER z -9223372036854775807 WITHSCORES", "-ERR value is out of range\r\n"),
            ("ZRANDMEMBER z 1 bogus", "-ERR syntax error\r\n"),
        ]);
    }
}

#[test]
fn zscan_visits_every_member_of_either_encoding() {
    for count in [10, 1000] {
        let mut session = Session::new();
        for member in 0..count {
            session.run(&format!("ZADD z {member} m{member}"));
        }
        let (mut cursor, mut seen) = (String::from("0"), std::collections::BTreeSet::new());
        loop {
            let reply = session.run(&format!("ZSCAN z {cursor} COUNT 50"));
            let lines: Vec<&str> = reply.split("\r\n").collect();
            seen.extend(lines.iter().filter(|line| line.starts_with('m')).map(|line| (*line).to_owned()));
            cursor = lines[2].to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), count);
        session.check(&[
            ("ZSCAN z x", "-ERR invalid cursor\r\n"),
            ("ZSCAN none 0 bogus", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("ZSCAN z 0 MATCH m7 COUNT 5000", "*2\r\n$1\r\n0\r\n*2\r\n$2\r\nm7\r\n$1\r\n7\r\n"),
        ]);
    }
}

/// Writes of every kind, on few keys and members, so that they meet.
fn random_write(random: &mut keyspace::Random) -> String {
    let key = |random: &mut keyspace::Random| ["x", "y", "s"][random.below(3)];
    let number = |random: &mut keyspace::Random| random.below(9) as i64 - 4;
    let (a, b) = (key(random), key(random));
    let (m, n) = (number(random), number(random));
    match random.below(16) {
        0..4 => format!("ZADD {a} {m} m{n} {n} m{m} 0 n{}", random.below(300)),
        4 => format!("ZADD {a} GT CH {m} m{n}"),
        5 => format!("ZINCRBY {a} {m} m{n}"),
        6 => format!("ZREM {a} m{n} m{m}"),
        7 => format!("ZPOPMIN {a} {}", random.below(3)),
        8 => format!("BZPOPMAX {a} {b} 0"),
        9 => format!("ZMPOP 2 {a} {b} MAX COUNT 2"),
        10 => format!("BZMPOP 0 2 {a} {b} MIN COUNT 3"),
        11 => format!("ZUNIONSTORE {a} 2 {b} {a} WEIGHTS 2 -1"),
        12 => format!("ZRANGESTORE {a} {b} -inf {m} BYSCORE LIMIT 1 50"),
        13 => format!("ZREMRANGEBYSCORE {a} {m} {n}"),
        14 => format!("ZREMRANGEBYRANK {a} {m} {n}"),
        _ => format!("ZDIFFSTORE {a} 2 {a} {b}"),
    }
}

#[test]
fn effects_replayed_on_the_state_before_give_the_state_after() {
    let (mut primary, mut replica) = (Session::new(), Session::new());
    primary.keyspace.limits.zset_max_listpack_entries = 16;
    replica.keyspace.limits.zset_max_listpack_entries = 16;
    let mut random = keyspace::Random::new(7);
    for step in 0..3000 {
        let line = random_write(&mut random);
        primary.run(&line);
        for effect in primary.effects() {
            replica.run(&effect);
        }
        for key in ["x", "y", "s"] {
            let all = format!("ZRANGE {key} 0 -1 WITHSCORES");
            assert_eq!(primary.run(&all), replica.run(&all), "step {step}: {line}");
        }
    }
}

#[test]
fn a_snapshot_of_a_big_sorted_set_allocates_nothing_that_grows_with_it() {
    let snapshot_bytes = |members: usize| {
        let mut session = Session::new();
        for first in (0..members).step_by(1_000) {
            let pairs: Vec<String> =
                (first..members.min(first + 1_000)).map(|n| format!("{n} m{n}")).collect();
            session.run(&format!("ZADD z {}", pairs.join(" ")));
        }
        let (snapshot, bytes) = allocated_bytes(|| session.keyspace.snapshot());
        // The first write copies one chunk, one of the index, and the ways to both.
        let (reply, written_bytes) = allocated_bytes(|| session.run("ZADD z 0.5 m7"));
        assert_eq!(reply, ":0\r\n");
        let seen = snapshot.dbs[0].table().iter().next().expect("a key").value();
        assert!(matches!(seen, ValueRef::ZSet(zset) if zset.score(b"m7") == Some(7.0)), "{members}");
        (bytes, written_bytes)
    };
    let [(small, _), (big, written_bytes)] = [200, 200_000].map(snapshot_bytes);
    assert_eq!(small, big, "of 200 members, and of 200,000");
    assert!(written_bytes < 64 << 10, "{written_bytes} bytes for one member");
}
