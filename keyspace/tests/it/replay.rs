//! The invariant that the log rests on: replaying the effects of commands gives what the commands gave.
//!
//! Commands by chance, on few keys and with few elements, so that types clash, collections empty and conditions hold as
//! often as not; encodings are crossed by thresholds of a few elements. The replay has another hash key, another
//! sequence of chance and a clock that says nothing.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::BytesMut;
use keyspace::{Call, Db, Digest, Keyspace, Random, Unit, ValueRef};
use resp::{Encoder, Version};

use crate::{Session, number, soak, words};

/// `K` stands for a key, `E` for an element, `I` for an integer, `F` for a float, `T` for a time to live,
/// `N` for a small number or a part of a stream's ID, `P` for a payload of DUMP.
const COMMANDS: &[&str] = &[
    "SET K E",
    "SET K I EX 2",
    "SET K E PX T GET",
    "SET K E XX KEEPTTL",
    "SET K E NX PXAT 1700000003000",
    "GETSET K E",
    "GETDEL K",
    "GETEX K PX T",
    "GETEX K PERSIST",
    "GETEX K EXAT 1600000000",
    "GETEX K PXAT 1600000000000",
    "GETEX K PXAT 1700000003000",
    "MSET K E K E",
    "MSETNX K E K E",
    "SETEX K 1 E",
    "APPEND K E",
    "SETRANGE K 3 E",
    "INCR K",
    "DECRBY K I",
    "INCRBYFLOAT K F",
    "SETBIT K 17 1",
    "BITOP XOR K K K",
    "BITFIELD K INCRBY u4 3 I OVERFLOW SAT INCRBY i8 0 I",
    "LPUSH K E E",
    "RPUSH K E E E",
    "RPUSHX K E",
    "LPOP K",
    "RPOP K 2",
    "LSET K 1 E",
    "LINSERT K BEFORE E E",
    "LREM K I E",
    "LTRIM K 0 3",
    "LMOVE K K LEFT RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 2 K K RIGHT COUNT 2",
    "LMPOP 2 K K LEFT",
    "BLPOP K K 0",
    "BRPOP K 0",
    "BLMOVE K K RIGHT LEFT 0",
    "BRPOPLPUSH K K 0",
    "BLMPOP 0 2 K K LEFT COUNT 3",
    "SADD K E E E",
    "SADD K I I I",
    "SREM K E E",
    "SPOP K",
    "SPOP K 3",
    "SMOVE K K E",
    "SUNIONSTORE K K K",
    "SINTERSTORE K K K",
    "SDIFFSTORE K K K",
    "HSET K E E E I",
    "HMSET K E E",
    "HSETNX K E E",
    "HDEL K E E",
    "HINCRBY K E I",
    "HINCRBYFLOAT K E F",
    "ZADD K F E F E",
    "ZADD K NX F E",
    "ZADD K XX CH F E",
    "ZADD K GT F E",
    "ZADD K INCR F E",
    "ZINCRBY K F E",
    "ZREM K E E",
    "ZPOPMIN K",
    "ZPOPMAX K 2",
    "BZPOPMIN K K 0",
    "BZPOPMAX K 0",
    "ZMPOP 2 K K MIN COUNT 2",
    "BZMPOP 0 1 K MAX",
    "ZREMRANGEBYRANK K 0 1",
    "ZREMRANGEBYSCORE K -1 I",
    "ZREMRANGEBYLEX K [1 (b",
    "ZREMRANGEBYLEX K (c +",
    "ZRANGESTORE K K 0 2",
    "ZRANGESTORE K K 0 1 REV",
    "ZRANGESTORE K K -1 (I BYSCORE LIMIT 0 3",
    "ZRANGESTORE K K +inf -1 BYSCORE REV LIMIT 1 2",
    "ZRANGESTORE K K [1 (c BYLEX",
    "ZRANGESTORE K K + - BYLEX REV LIMIT 1 2",
    "ZUNIONSTORE K 2 K K WEIGHTS 2 F",
    "ZINTERSTORE K 2 K K AGGREGATE MAX",
    "ZDIFFSTORE K 2 K K",
    "PFADD K E E",
    "PFADD K I",
    "PFCOUNT K",
    "PFMERGE K K K",
    "PFDEBUG TODENSE K",
    "GEOADD K I I E I I E",
    "GEOADD K XX CH I I E",
    "GEORADIUS K I I 300 km STORE K",
    "GEORADIUSBYMEMBER K E 500 km STORE K",
    "GEORADIUSBYMEMBER K E 500 km COUNT 2 STOREDIST K",
    "GEOSEARCHSTORE K K FROMLONLAT 1 1 BYBOX 500 400 km STOREDIST",
    "XADD K * E E",
    "XADD K NOMKSTREAM N-* E E E E",
    "XADD K N-N E E",
    "XADD K MAXLEN ~ 4 * a 1",
    "XADD K MINID = N * a 1",
    "XTRIM K MAXLEN ~ 3",
    "XTRIM K MINID ~ N LIMIT 4",
    "XTRIM K MAXLEN 5",
    "XDEL K N N-1",
    "XSETID K 2000000000000-N",
    "XGROUP CREATE K g N MKSTREAM",
    "XGROUP CREATE K h $ ENTRIESREAD 2",
    "XGROUP SETID K g N",
    "XGROUP CREATECONSUMER K g E",
    "XGROUP DELCONSUMER K g E",
    "XGROUP DESTROY K h",
    "XREADGROUP GROUP g E COUNT 2 STREAMS K >",
    "XREADGROUP GROUP g E BLOCK 0 STREAMS K >",
    "XREADGROUP GROUP h E NOACK COUNT 3 STREAMS K >",
    READ_HISTORY,
    "XREAD COUNT 2 STREAMS K N",
    "XACK K g N N-1",
    "XCLAIM K g E 0 N N-1 N-2",
    "XCLAIM K h E 0 N RETRYCOUNT 3 FORCE LASTID N",
    "XCLAIM K g E 100 N-1 IDLE 50 JUSTID",
    "XAUTOCLAIM K g E 0 0 COUNT 2",
    "XAUTOCLAIM K g E 50 N JUSTID",
    "SORT K ALPHA STORE K",
    "SORT K BY none_* STORE K",
    "DEL K",
    "UNLINK K K",
    "EXPIRE K 1 GT",
    "PEXPIRE K T",
    "PEXPIRE K T LT",
    "PEXPIREAT K 1700000004000 NX",
    "EXPIRE K -1",
    "PERSIST K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K REPLACE",
    "COPY K K DB 1",
    "MOVE K 1",
    "RESTORE K 0 P",
    "RESTORE K T P REPLACE",
    "RESTORE K 1700000004000 P ABSTTL",
    "RESTORE K 1600000000000 P ABSTTL REPLACE",
    "SWAPDB 0 1",
    "FLUSHDB",
    "FLUSHALL",
    "RANDOMKEY",
    "SCAN 0",
    "EXISTS K K",
];

/// It notes that entries were delivered once more, and when; as in Redis, no effect tells of that.
const READ_HISTORY: &str = "XREADGROUP GROUP g E STREAMS K 0";

const ELEMENTS: &[&str] = &["a", "b", "c", "d", "1", "2", "-3", "70000", "a-longer-element", "\"\""];

/// What DUMP gives of a value of each type, as words of a line.
static PAYLOADS: LazyLock<Vec<String>> = LazyLock::new(|| {
    const VALUES: &[&str] = &[
        "SET k text",
        "SET k 12",
        "RPUSH k a b 1",
        "SADD k 1 2",
        "SADD k a b c d e",
        "HSET k a 1 b 2",
        "ZADD k 1 a 2 b",
        "XADD k 5-1 a 1",
    ];
    let payload = |line: &&str| {
        let mut session = Session::new();
        session.run(line);
        let reply = session.run_argv(&[b"DUMP", b"k"]);
        let start = reply.iter().position(|byte| *byte == b'\n').expect("a bulk reply") + 1;
        let bytes = &reply[start..reply.len() - 2];
        format!("\"{}\"", bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>())
    };
    VALUES.iter().map(payload).collect()
});

fn filled(template: &str, random: &mut Random) -> String {
    let mut line = Vec::new();
    for word in template.split(' ') {
        line.push(match word {
            "K" => format!("k{}", random.below(6)),
            "E" => ELEMENTS[random.below(ELEMENTS.len())].to_string(),
            "I" => (random.below(9) as i64 - 4).to_string(),
            "(I" => format!("({}", random.below(9)),
            "P" => PAYLOADS[random.below(PAYLOADS.len())].clone(),
            "F" => ["1.5", "-2", "0.1", "3e2", "inf", "-0"][random.below(6)].to_string(),
            "N" => random.below(9).to_string(),
            "N-*" => format!("{}-*", random.below(9)),
            "N-N" => format!("{}-{}", random.below(9), random.below(3)),
            "N-1" | "N-2" => word.replace('N', &random.below(9).to_string()),
            "2000000000000-N" => format!("2000000000000-{}", random.below(9)),
            "T" => (random.below(3000) as i64 - 100).to_string(),
            word => word.to_string(),
        });
    }
    line.join(" ")
}

/// Thresholds that a few elements cross.
fn tighten(keyspace: &mut Keyspace) {
    let limits = &mut keyspace.limits;
    limits.hash_max_listpack_entries = 3;
    limits.set_max_intset_entries = 3;
    limits.set_max_listpack_entries = 4;
    limits.zset_max_listpack_entries = 3;
    limits.list_max_listpack_size = 3;
    limits.stream_node_max_entries = 3;
}

/// Executes the effects of a unit as a log's replay does.
fn replay(keyspace: &mut Keyspace, unit: &Unit) {
    for (db, effect) in unit.ops() {
        let mut parser = resp::Parser::default();
        parser.parse(effect, &resp::Limits::default()).unwrap().expect("an effect is a whole request");
        let mut out = BytesMut::new();
        let argv = parser.argv(effect);
        let call = Call::new(db, 0, &argv);
        keyspace.execute(&call, &mut Encoder::new(&mut out, Version::Resp2), &mut Unit::default());
        assert_ne!(out[0], b'-', "{}: {}", effect.escape_ascii(), out.escape_ascii());
    }
}

/// What waits to be acknowledged: where, which entry, whose, delivered when and how often. A digest leaves the last two out.
fn deliveries(dbs: &[Db]) -> BTreeSet<String> {
    let entries = dbs.iter().enumerate().flat_map(|(db, keys)| keys.table().iter().map(move |key| (db, key)));
    let mut deliveries = BTreeSet::new();
    for (db, entry) in entries {
        let ValueRef::Stream(stream) = entry.value() else { continue };
        let key = String::from_utf8_lossy(entry.key());
        for (group, pending) in stream
            .groups()
            .iter()
            .flat_map(|group| group.pending().iter().map(move |pending| (group, pending)))
        {
            deliveries.insert(format!("{db} {key} {:?} {pending:?}", group.name));
        }
    }
    deliveries
}

/// `reads_history`: deliveries differ then.
fn follow(seed: u64, commands: usize, reads_history: bool) {
    let mut random = Random::new(seed);
    let mut session = Session::new();
    let mut copy = Keyspace::new(16, seed ^ 0xffff);
    copy.loading = true;
    tighten(&mut session.keyspace);
    let mut lines: Vec<String> = Vec::new();
    let mut snapshots = Vec::new();
    for number in 0..commands {
        if number % 40 == 0 {
            snapshots.push((session.keyspace.snapshot(), Digest::of(session.keyspace.dbs())));
        }
        session.now_ms += random.below(200) as i64;
        let template = COMMANDS[random.below(COMMANDS.len())];
        if template == READ_HISTORY && !reads_history {
            continue;
        }
        let line = filled(template, &mut random);
        let before = Digest::of(session.keyspace.dbs());
        let reply = session.run(&line);
        lines.push(line);
        let story = || {
            format!(
                "seed {seed}, {reply:?} to the last of\n{}",
                lines[lines.len().saturating_sub(12)..].join("\n")
            )
        };
        let after = Digest::of(session.keyspace.dbs());
        if session.unit.ops().len() == 0 {
            assert_eq!(before, after, "a change without an effect: {}", story());
        }
        replay(&mut copy, &session.unit);
        assert_eq!(after, Digest::of(copy.dbs()), "the effects {:?} differ: {}", session.effects(), story());
        if !reads_history {
            let (ours, copied) = (deliveries(session.keyspace.dbs()), deliveries(copy.dbs()));
            assert_eq!(ours, copied, "of the effects {:?}: {}", session.effects(), story());
        }
    }
    for (snapshot, digest) in &snapshots {
        assert_eq!(Digest::of(&snapshot.dbs), *digest, "seed {seed}: a snapshot changed");
    }
}

#[test]
fn every_command_here_is_known() {
    let mut random = Random::new(1);
    for template in COMMANDS {
        let mut session = Session::new();
        let reply = session.run(&filled(template, &mut random));
        assert!(!reply.contains("unknown command") && !reply.contains("syntax error"), "{template}: {reply}");
        assert!(!words(template).is_empty());
    }
}

#[test]
fn replayed_effects_give_the_same_data_and_snapshots_stay() {
    /// In ci; `EVERLOG_SOAK` multiplies it.
    const HISTORIES: u64 = 40;
    const COMMANDS: usize = 400;
    let (first, histories) = (number("EVERLOG_SEED").unwrap_or(0), HISTORIES * soak());
    println!("EVERLOG_SEED={first}");
    for seed in first..first + histories {
        follow(seed, COMMANDS, seed % 2 == 0);
    }
    println!("tried: {} commands whose effects were replayed", histories * COMMANDS as u64);
}

#[test]
fn an_spop_of_many_members_is_replayed() {
    const MEMBERS: usize = 3_000;
    for count in [1_024, 1_025, 2_500, MEMBERS - 1, MEMBERS] {
        let mut session = Session::new();
        let mut copy = Keyspace::new(16, 7);
        copy.loading = true;
        let members: Vec<String> = (0..MEMBERS).map(|member| member.to_string()).collect();
        for line in [format!("SADD k {}", members.join(" ")), format!("SPOP k {count}")] {
            session.run(&line);
            replay(&mut copy, &session.unit);
        }
        assert_eq!(session.run("SCARD k"), format!(":{}\r\n", MEMBERS - count));
        assert_eq!(Digest::of(session.keyspace.dbs()), Digest::of(copy.dbs()), "SPOP k {count}");
    }
}
