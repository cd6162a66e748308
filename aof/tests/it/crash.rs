//! Killed and cut off at random moments: what comes back is a prefix, and holds all that was acknowledged.

use std::time::{Duration, Instant};

use aof::fs::Mem;
use aof::{Fsync, Options};

use crate::world::{load, options, start, turn, until};

/// A seed's pseudo-random numbers: xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn is_prefix(commands: &[String], at_least: usize, at_most: usize) -> bool {
    let whole = commands.iter().enumerate().all(|(n, command)| *command == format!("0:SET k {n}"));
    whole && (at_least..=at_most).contains(&commands.len())
}

#[test]
fn killing_and_reopening_keeps_all_that_was_acknowledged() {
    let seed = 0x5eed_0001_u64;
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mut state = seed;
        let (mut mem, mut count) = (Mem::new(), 0_usize);
        for round in 0..30 {
            let mut log = start(mem.clone(), &options(fsync));
            let mut positions = Vec::new();
            for _ in 0..next(&mut state) % 20 {
                positions.push(turn(&mut log, &[("k", (count + positions.len()) as u64)]));
                if next(&mut state).is_multiple_of(4) {
                    std::thread::sleep(Duration::from_micros(next(&mut state) % 300));
                }
            }
            let watermark = log.reply_watermark();
            let acknowledged = count + positions.iter().filter(|&&end| end <= watermark).count();
            // Under `always` the power may go as well.
            let image = if fsync == Fsync::Always { mem.power_cut() } else { mem.kill() };
            let (commands, _) = load(&image, &options(fsync)).unwrap();
            let good = is_prefix(&commands, acknowledged, count + positions.len());
            assert!(
                good,
                "seed {seed:#x}, {fsync:?}, round {round}: {acknowledged} acknowledged, {commands:?}"
            );
            count = commands.len();
            drop(log);
            mem = image;
        }
    }
}

#[test]
fn everysec_syncs_within_about_a_second_although_traffic_has_stopped() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    let begun = Instant::now();
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= position);
    assert_eq!((log.reply_watermark(), log.durable()), (position, 0));
    until("durable", || log.durable() >= position);
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(is_prefix(&load(&mem.power_cut(), &options(Fsync::Everysec)).unwrap().0, 1, 1));
    log.stop().unwrap();
}

#[test]
fn becoming_always_syncs_at_once_and_gates() {
    for before in [Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(before));
        let position = turn(&mut log, &[("k", 0)]);
        until("written", || log.written() >= position);
        log.set_fsync(Fsync::Always);
        until("durable", || log.reply_watermark() >= position);
        assert!(is_prefix(&load(&mem.power_cut(), &options(before)).unwrap().0, 1, 1));
        log.stop().unwrap();
    }
}

#[test]
fn draining_makes_everything_durable_under_every_policy() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        turn(&mut log, &[("k", 0)]);
        let position = log.drain();
        until("durable", || log.durable() >= position);
        assert!(is_prefix(&load(&mem.power_cut(), &options(fsync)).unwrap().0, 1, 1));
        let stats = log.stats(Instant::now());
        assert_eq!((stats.unsynced_bytes, stats.buffer_length, stats.current_size), (0, 0, position));
        log.stop().unwrap();
    }
}

#[test]
fn a_resting_policy_gates_on_written_only_while_a_rewrite_runs() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &Options { no_fsync_on_rewrite: true, ..options(Fsync::Always) });
    log.set_rewrite_running(true);
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.reply_watermark() >= position);
    assert_eq!(log.durable(), 0);
    log.set_rewrite_running(false);
    until("durable", || log.durable() >= position);
    log.stop().unwrap();
}
