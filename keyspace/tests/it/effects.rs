//! What the log is fed with, where Redis 2.6.4 fed it with something that replays to other data: the stories, and that a
//! command which is its own effect is logged as it was typed.

use crate::{START_MS, Session, words};

/// Executes a line, and its effects on the replica; `between` looks at the replica after each.
fn follow(session: &mut Session, replica: &mut Session, line: &str, mut between: impl FnMut(&mut Session)) {
    session.run(line);
    for effect in session.effects() {
        let words = words(&effect);
        let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        replica.run_argv(&argv);
        between(replica);
    }
}

#[test]
fn a_command_is_logged_as_the_client_typed_it() {
    for line in [
        "sEt k v",
        "mSET a 007 b -0",
        "Append k \u{e9}",
        "rPush l 1 007 1e3 0x10",
        "sadd s 1 01",
        "hset h f 0x1F",
        "zadd z nx 1.50 m",
        "LTRIM l -1 100",
        "iNcR n",
        "Del k l",
        "flushall sync",
    ] {
        let mut session = Session::new();
        session.run("RPUSH l x y");
        session.check_effects(&[(line, &[line])]);
    }
}

/// 2.6.4 logged `INCRBYFLOAT` as a bare SET, which ends a time to live: a counter with one became immortal in a restart.
#[test]
fn a_float_that_is_incremented_keeps_its_time_to_live_through_a_replay() {
    let (mut session, mut replica) = (Session::new(), Session::new());
    follow(&mut session, &mut replica, "SET k 1 PX 5000", |_| ());
    follow(&mut session, &mut replica, "INCRBYFLOAT k 0.5", |_| ());
    for each in [&mut session, &mut replica] {
        each.check(&[("GET k", "$3\r\n1.5\r\n"), ("PTTL k", ":5000\r\n")]);
    }
}

/// 2.6.4 logged `SETEX` as SET and PEXPIREAT: a crash between the two left a key without a time to live.
#[test]
fn a_value_and_its_time_to_live_are_one_effect() {
    for line in ["SETEX k 10 v", "PSETEX k 10000 v", "SET k v EX 10", "SET k v PX 10000"] {
        let (mut session, mut replica) = (Session::new(), Session::new());
        let mut effects = 0;
        follow(&mut session, &mut replica, line, |replica| {
            effects += 1;
            replica.check(&[("PEXPIRETIME k", &format!(":{}\r\n", START_MS + 10_000))]);
        });
        assert_eq!(effects, 1, "{line}");
    }
}

#[test]
fn nothing_is_left_for_a_log_that_nobody_keeps() {
    let mut session = Session::new();
    session.keyspace.has_log = false;
    let rewritten =
        ["INCRBYFLOAT f 1.5", "EXPIRE k 100", "SPOP s", "XADD x * f v", "XADD x 99999999999999-* f v"];
    for line in ["SET k v", "SADD s a", "XADD x MAXLEN ~ 1 1-1 f v"].into_iter().chain(rewritten) {
        session.run(line);
        assert!(session.effects().is_empty(), "{line}");
        assert!(session.unit.dirty > 0, "{line}");
    }
}
