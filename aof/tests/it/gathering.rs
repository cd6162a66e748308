//! Under `always` a block may stay open, so that more clients share its fdatasync.

use std::time::{Duration, Instant};

use aof::fs::Mem;
use aof::{Fsync, Log, Op, Steps};

use crate::world::{options, request, stepped};

fn start(fsync: Fsync) -> (Log, Steps) {
    let (mut log, steps) = stepped(Mem::new(), &options(fsync));
    // It sees that the first is durable, and the rest after that goes by.
    log.end_turn(steps.now(), false, false);
    steps.advance_ms(10);
    (log, steps)
}

fn append(log: &mut Log) {
    log.append(0, &[Op { db: 0, command: &request(&["PING"]) }]);
}

/// Ends a turn with something open; returns whether it stays so.
fn stays_open(log: &mut Log, now: Instant) -> bool {
    log.end_turn(now, false, false);
    log.sync_now() < log.end()
}

#[test]
fn a_block_gathers_while_another_is_under_way_and_as_long_again() {
    let (mut log, steps) = start(Fsync::Always);
    append(&mut log);
    assert!(
        log.awaits_only_time() && !stays_open(&mut log, steps.now()),
        "nothing is in the way of the first"
    );
    append(&mut log);
    assert!(
        stays_open(&mut log, steps.now()) && !log.awaits_only_time(),
        "under way: to poll without waiting would be in vain"
    );
    assert!(steps.write());
    assert_eq!(log.durable(), log.written(), "one step writes and syncs");
    assert!(!stays_open(&mut log, steps.now()), "it took no time");

    append(&mut log);
    assert!(stays_open(&mut log, steps.now()));
    steps.advance_ms(200);
    assert!(steps.write());
    assert!(stays_open(&mut log, steps.now()) && log.awaits_only_time());
    let at_most = steps.now() + Duration::from_millis(1);
    assert!(stays_open(&mut log, at_most - Duration::from_micros(1)));
    assert!(!stays_open(&mut log, at_most), "a millisecond at most");
}

#[test]
fn an_open_block_ends_where_nothing_else_is_to_do_and_where_somebody_waits_for_it() {
    for (idle, sync) in [(true, false), (false, true)] {
        let (mut log, steps) = start(Fsync::Always);
        append(&mut log);
        log.seal(steps.now());
        append(&mut log);
        log.end_turn(steps.now(), idle, sync);
        assert_eq!(log.sync_now() < log.end(), idle, "another is under way: who is idle loses nothing");
        steps.advance_ms(200);
        assert!(steps.write());
        append(&mut log);
        assert!(stays_open(&mut log, steps.now()));
        log.end_turn(steps.now(), idle, sync);
        assert_eq!(log.sync_now(), log.end(), "idle {idle}, sync {sync}");
    }
}

#[test]
fn under_the_other_policies_no_block_waits() {
    for fsync in [Fsync::Everysec, Fsync::No] {
        let (mut log, steps) = start(fsync);
        append(&mut log);
        log.seal(steps.now());
        append(&mut log);
        assert!(!stays_open(&mut log, steps.now()), "{fsync:?}");
    }
}

#[test]
fn behind_a_disk_that_is_stuck_blocks_end_all_the_same() {
    let (mut log, steps) = start(Fsync::Always);
    append(&mut log);
    log.seal(steps.now());
    append(&mut log);
    while stays_open(&mut log, steps.now()) {
        log.append(0, &[Op { db: 0, command: &request(&["SET", "k", &"v".repeat(100_000)]) }]);
    }
    let open_bytes = log.end() - log.written();
    assert!((1 << 20..2 << 20).contains(&open_bytes), "{open_bytes}");
    let retained_bytes = log.stats(steps.now()).retained_bytes;
    assert!((open_bytes..3 * open_bytes).contains(&retained_bytes), "none of it is data: {retained_bytes}");
    append(&mut log);
    assert!(stays_open(&mut log, steps.now()));
    steps.advance_ms(1000);
    assert!(!stays_open(&mut log, steps.now()), "a second");
}
