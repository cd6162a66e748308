//! Killed and cut off at random moments: what comes back is a prefix, and holds all that was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aof::fs::{Call, Mem};
use aof::{BaseFormat, Fsync, NewBase, Options};

use crate::world::{eio, load, options, request, start, turn, until};

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

/// Rewrites and faults at random moments, and a look at both kinds of crash after every few turns.
#[test]
fn a_log_with_rewrites_and_faults_is_one_unbroken_run_of_commands() {
    const TEMP: &str = "/data/temp-rewriteaof-bg-1.aof";
    for seed in 1..=12_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let fsync = [Fsync::Always, Fsync::Everysec, Fsync::No][seed as usize % 3];
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        let mut faults = next(&mut state);
        mem.fail_with(move |call, path| {
            let live = path.to_string_lossy().ends_with(".incr.aof");
            let sick = live && matches!(call, Call::Write | Call::SyncData);
            (sick && next(&mut faults).is_multiple_of(25)).then(eio).flatten()
        });
        let (mut positions, mut rewriting) = (Vec::new(), None);
        for n in 0..150_u64 {
            positions.push(turn(&mut log, &[("k", n)]));
            match next(&mut state) % 8 {
                0 if rewriting.is_none() => {
                    log.begin_rotation().unwrap();
                    rewriting = Some(None);
                }
                1 => std::thread::sleep(Duration::from_micros(next(&mut state) % 500)),
                _ => {}
            }
            match (rewriting, log.rotation_ready()) {
                (Some(None), Some(Ok(()))) => {
                    let covers = log.switch();
                    mem.put(TEMP.as_ref(), &request(&["SET", "k", &n.to_string()]));
                    rewriting = Some(Some(covers));
                    let format = BaseFormat::Resp;
                    log.publish_base(NewBase { temp_path: TEMP.into(), format, covers, len_bytes: 0 });
                }
                (Some(None), Some(Err(_))) => rewriting = None,
                (Some(Some(_)), _) if log.base_published().is_some() => rewriting = None,
                _ => {}
            }
            if next(&mut state).is_multiple_of(10) {
                let acknowledged = positions.partition_point(|&end| end <= log.reply_watermark());
                let image = if fsync == Fsync::Always { mem.power_cut() } else { mem.kill() };
                let (commands, _) = load(&image, &options(fsync)).unwrap();
                let first = commands
                    .first()
                    .and_then(|command| command.strip_prefix("0:SET k ")?.parse::<u64>().ok());
                let run = (first.unwrap_or(0)..).map(|n| format!("0:SET k {n}"));
                let unbroken = commands.iter().zip(run).all(|(found, expected)| *found == expected);
                let count = first.map_or(0, |first| first as usize + commands.len());
                let good = unbroken && count >= acknowledged && count <= positions.len();
                assert!(good, "seed {seed}, {fsync:?}, turn {n}: {acknowledged} acknowledged, {commands:?}");
            }
        }
        mem.heal();
        log.stop().map_or_else(|error| assert_eq!(fsync, Fsync::No, "seed {seed}: {error}"), |()| ());
        let last = load(&mem, &options(fsync)).unwrap().0.pop();
        assert_eq!(last.as_deref(), Some("0:SET k 149"), "seed {seed}, {fsync:?}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_units_are_appended_come_back(
        units in proptest::collection::vec(
            proptest::collection::vec((0_u32..3, proptest::collection::vec(proptest::num::u8::ANY, 0..20)), 1..4),
            0..12,
        )
    ) {
        let (mem, options) = (Mem::new(), Options { timestamps: true, ..options(Fsync::No) });
        let mut log = start(mem.clone(), &options);
        let mut expected = Vec::new();
        for (second, unit) in (0..).zip(&units) {
            let commands: Vec<_> = unit.iter().map(|(db, value)| {
                expected.push(format!("{db}:SET k {}", String::from_utf8_lossy(value)));
                let mut command = bytes::BytesMut::new();
                resp::request::encode(&[b"SET", b"k", value], &mut command);
                (*db, command)
            }).collect();
            let ops: Vec<_> = commands.iter().map(|(db, command)| aof::Op { db: *db, command }).collect();
            log.append(second / 2, &ops);
            if second % 3 == 0 {
                log.seal(Instant::now());
            }
        }
        log.stop().unwrap();
        let (commands, report) = load(&mem, &options).unwrap();
        proptest::prop_assert_eq!(commands, expected);
        proptest::prop_assert_eq!(report.truncated, None);
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
fn the_executor_writes_itself_unless_it_may_not() {
    for direct in [true, false] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Everysec));
        log.set_direct_write(direct);
        let (here, mine) = (std::thread::current().id(), Arc::new(AtomicUsize::new(0)));
        let counted = mine.clone();
        mem.fail_with(move |call, _| {
            let is_mine = call == Call::Write && std::thread::current().id() == here;
            counted.fetch_add(usize::from(is_mine), Ordering::Relaxed);
            None
        });
        for n in 0..5 {
            let position = turn(&mut log, &[("k", n)]);
            until("written", || log.written() >= position);
        }
        assert_eq!(mine.load(Ordering::Relaxed), if direct { 5 } else { 0 });
        log.set_fsync(Fsync::Always);
        turn(&mut log, &[("k", 5)]);
        log.stop().unwrap();
        assert_eq!(mine.load(Ordering::Relaxed), if direct { 5 } else { 0 }, "never under always");
        assert!(is_prefix(&load(&mem, &options(Fsync::Always)).unwrap().0, 6, 6));
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
