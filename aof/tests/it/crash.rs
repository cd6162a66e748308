//! Killed and cut off at random moments: what comes back is a prefix, and holds all that was acknowledged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aof::fs::{Call, Mem, Verdict, create_dir_all};
use aof::{BaseFormat, Directory, Fsync, Health, Log, NewBase, Op, Options, Steps};

use crate::stepping::{Stepper, Turns};
use crate::world::{
    TEMP, append, eio, load, options, path, plain, rdb, request, start, stepped, turn, until,
};

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

/// What was acknowledged is as safe as the least safe of the directories above it.
#[test]
fn directories_that_are_made_for_a_log_survive_with_it() {
    let mem = Mem::new();
    let dir = Path::new("/srv/redis/data");
    create_dir_all(&mem, dir).unwrap();
    let options = Options { fsync: Fsync::Always, ..Options::new(dir) };
    let mut log = start(mem.clone(), &options);
    let position = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() == position);
    assert_eq!(load(&mem.power_cut(), &options).unwrap().0, ["0:SET k 0"]);
    log.stop().unwrap();
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

/// A kill may come between a call and the sync that makes it durable. The next start finds what the kernel has, serves it,
/// and appends behind it: a power cut then once took the manifest, or the tail of the file before the last.
#[test]
fn what_a_start_after_a_kill_finds_is_durable_before_anything_follows_it() {
    let (mem, images) = (Mem::new(), Arc::new(Mutex::new(Vec::new())));
    let (world, before_each) = (mem.clone(), images.clone());
    mem.fail_with(move |call, _| {
        before_each.lock().unwrap().push((call, world.kill()));
        None
    });
    let mut log = start(mem.clone(), &options(Fsync::No));
    turn(&mut log, &[("k", 0)]);
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    turn(&mut log, &[("k", 1)]);
    log.switch();
    turn(&mut log, &[("k", 2)]);
    log.stop().unwrap();
    mem.heal();
    for (call, image) in images.lock().unwrap().drain(..) {
        let (mut commands, _) = load(&image, &options(Fsync::Always)).unwrap();
        let mut log = start(image.clone(), &options(Fsync::Always));
        let position = turn(&mut log, &[("after", 1)]);
        until("durable", || log.durable() >= position);
        commands.push("0:SET after 1".to_owned());
        let (found, _) = load(&image.power_cut(), &options(Fsync::Always))
            .unwrap_or_else(|error| panic!("killed before {call:?}: {error}"));
        assert_eq!(found, commands, "killed before {call:?}");
    }
}

/// Whether a call fails: by seed, kind, file and how often that was called, so that it does not matter which thread
/// comes first.
fn fails(seed: u64, call: Call, path: &Path, nth: u64) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let words = name.iter().map(|&byte| u64::from(byte)).chain([call as u64, nth]);
    let mut state = words.fold(seed, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3));
    next(&mut state).is_multiple_of(25)
}

/// Rewrites and faults, when and where the seed says, and a look at both kinds of crash before every call that a log in
/// trouble makes, and before some of the others.
#[test]
fn a_log_with_rewrites_and_faults_is_one_unbroken_run_of_commands() {
    // They mostly wait for a second attempt of a recovery that failed.
    std::thread::scope(|scope| {
        (1..=12).for_each(|seed| drop(scope.spawn(move || rewrites_and_faults(seed))));
    });
}

fn rewrites_and_faults(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let fsync = [Fsync::Always, Fsync::Everysec, Fsync::No][seed as usize % 3];
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(fsync));
    let stepper = Stepper::new(&mem, &mut log);
    let (mut looks, mut counts) = (next(&mut state), HashMap::new());
    let mut before = |turns: &Turns, log: &Log, call: Call, path: &Path| {
        if log.health() != Health::Healthy || next(&mut looks).is_multiple_of(16) {
            let context =
                format!("seed {seed}, {fsync:?}, turn {}, before {call:?} {path:?}", turns.ends.len());
            turns.judge(&mem, log, fsync, &context);
        }
        let live = path.to_string_lossy().ends_with(".incr.aof");
        if !live || !matches!(call, Call::Write | Call::SyncData) {
            return None;
        }
        let nth: &mut u64 = counts.entry((call, path.to_path_buf())).or_default();
        *nth += 1;
        let failed = fails(seed, call, path, *nth);
        turns.sync_failed.set(turns.sync_failed.get() || failed && call == Call::SyncData);
        failed.then(eio).flatten()
    };
    let mut turns = Turns::default();
    let mut rewriting = None;
    for n in 0..150_u64 {
        turns.ends.push(turn(&mut log, &[("k", n)]));
        let chance = next(&mut state);
        if chance.is_multiple_of(5) {
            log.sync_now();
        }
        // Else it goes on with a tail that is not written yet.
        if !chance.is_multiple_of(4) {
            stepper.until(
                &mut log,
                |log| log.reply_watermark() >= log.end(),
                |log, call, path| before(&turns, log, call, path),
            );
        }
        if !next(&mut state).is_multiple_of(4) {
            continue;
        }
        let mut outcome = None;
        rewriting = match rewriting {
            None => {
                log.begin_rotation().unwrap();
                Some(false)
            }
            Some(false) => {
                stepper.until(
                    &mut log,
                    |log| {
                        outcome = outcome.take().or_else(|| log.rotation_ready());
                        outcome.is_some()
                    },
                    |log, call, path| before(&turns, log, call, path),
                );
                outcome.is_some_and(|outcome| outcome.is_ok()).then(|| {
                    let covers = log.switch();
                    let (format, base) = match seed % 2 {
                        0 => (BaseFormat::Resp, request(&["SET", "k", &n.to_string()]).to_vec()),
                        _ => (BaseFormat::Rdb, rdb(&[format!("0:SET k {n}")])),
                    };
                    mem.put(TEMP.as_ref(), &base);
                    log.publish_base(NewBase { temp_path: TEMP.into(), format, covers, len_bytes: 0 });
                    true
                })
            }
            Some(true) => {
                stepper.until(
                    &mut log,
                    |log| {
                        outcome = outcome.take().or_else(|| log.base_published());
                        outcome.is_some()
                    },
                    |log, call, path| before(&turns, log, call, path),
                );
                None
            }
        };
    }
    drop(stepper);
    let stopped = log.stop();
    stopped.map_or_else(|error| assert_eq!(fsync, Fsync::No, "seed {seed}: {error}"), |()| ());
    let last = load(&mem, &options(fsync)).unwrap().0.pop();
    assert_eq!(last.as_deref(), Some("0:SET k 149"), "seed {seed}, {fsync:?}");
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

/// Redis's fsyncs stop for as long as its wall clock was set back. Here the log only writes down what it says.
#[test]
fn a_wall_clock_set_back_by_an_hour_stops_no_fsync_and_spoils_no_start() {
    let (mem, options) = (Mem::new(), Options { timestamps: true, ..options(Fsync::Everysec) });
    let directory = Directory::open(Arc::new(mem.clone()), &options).unwrap();
    let (mut log, steps) = Steps::start(directory, &options, Box::new(|| {})).unwrap();
    let mut wall_ms = 1_700_000_000_000;
    for n in 0..4 {
        log.append(wall_ms, &[Op { db: 0, command: &request(&["SET", "k", &n.to_string()]) }]);
        log.seal(steps.now());
        while steps.write() {}
        assert!(!steps.begin_sync(), "turn {n}: not yet a second old");
        steps.advance_ms(1_000);
        assert!(steps.begin_sync() && steps.end_sync(), "turn {n}");
        assert_eq!(log.durable(), log.end(), "turn {n}");
        let found = load(&mem.power_cut(), &options).unwrap();
        assert!(is_prefix(&found.0, n + 1, n + 1) && found.1.truncated.is_none(), "{:?}", found.0);
        wall_ms -= 3_600_000;
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
        let (mut log, steps) = stepped(Mem::new(), &options(Fsync::Everysec));
        log.set_direct_write(direct);
        for _ in 0..4 {
            append(&mut log, steps.now());
            assert_eq!((log.written() == log.end(), steps.write()), (direct, !direct));
        }
        log.set_fsync(Fsync::Always);
        append(&mut log, steps.now());
        assert!(log.written() < log.end() && steps.write(), "never under always");
    }
}

/// One call waits when the kernel throttles, and not each of the next seconds.
#[test]
fn a_direct_write_that_takes_longer_than_a_millisecond_sends_the_next_ones_through_the_writer() {
    for (took_ms, is_slow) in [(1, false), (2, true)] {
        let mem = Mem::new();
        let (mut log, steps) = stepped(mem.clone(), &options(Fsync::No));
        let steps = Arc::new(steps);
        log.set_direct_write(true);
        let slow = Arc::clone(&steps);
        mem.on_call(move |request| {
            if request.call == Call::Write {
                slow.advance_ms(took_ms);
            }
            Verdict::Pass
        });
        append(&mut log, steps.now());
        mem.heal();
        for (passed_ms, is_over) in [(0, false), (1999, false), (1, true)] {
            steps.advance_ms(passed_ms);
            append(&mut log, steps.now());
            let goes_through_the_writer = is_slow && !is_over;
            assert_eq!(log.written() < log.end(), goes_through_the_writer, "{took_ms} ms, then {passed_ms}");
            while steps.write() {}
        }
        assert_eq!(log.stats(steps.now()).slow_direct_writes, u64::from(is_slow), "{took_ms} ms");
    }
}

/// The syncer has nothing left to wait for when the write is over, and must be told of it.
#[test]
fn a_direct_write_that_outlasts_an_fdatasync_is_made_durable_too() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    log.set_direct_write(true);
    let first = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= first);
    let incr = path("appendonly.aof.1.incr.aof");
    let (here, world, written) = (std::thread::current().id(), mem.clone(), mem.bytes(&incr));
    mem.on_call(move |request| {
        if request.call == Call::Write && std::thread::current().id() == here {
            until("the first is durable", || world.power_cut().bytes(&incr) == written);
            // And the syncer has taken note of it.
            std::thread::sleep(Duration::from_millis(20));
        }
        Verdict::Pass
    });
    let second = turn(&mut log, &[("k", 1)]);
    until("durable", || log.durable() >= second);
    log.stop().unwrap();
}

#[test]
fn draining_makes_everything_durable_under_every_policy() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &plain(fsync));
        turn(&mut log, &[("k", 0)]);
        let position = log.drain();
        until("durable", || log.durable() >= position);
        assert!(is_prefix(&load(&mem.power_cut(), &plain(fsync)).unwrap().0, 1, 1));
        let stats = log.stats(Instant::now());
        assert_eq!((stats.unsynced_bytes, stats.buffer_length, stats.current_size), (0, 0, position));
        log.stop().unwrap();
    }
}

#[test]
fn a_resting_policy_gates_on_written_only_while_a_rewrite_runs_and_it_may_rest() {
    let takes_hold: [fn(&mut Log); 2] =
        [|log| log.set_rewrite_running(false), |log| log.set_no_fsync_on_rewrite(false)];
    for takes_hold in takes_hold {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &Options { no_fsync_on_rewrite: true, ..options(Fsync::Always) });
        log.set_rewrite_running(true);
        let position = turn(&mut log, &[("k", 0)]);
        until("written", || log.reply_watermark() >= position);
        assert_eq!(log.durable(), 0);
        takes_hold(&mut log);
        until("durable", || log.durable() >= position);
        log.stop().unwrap();
    }
}

/// Writers wait for what the policy, which rests, would not sync: they stood still as long as the rewrite took.
#[test]
fn the_bound_on_what_is_not_durable_wakes_a_resting_policy() {
    let mem = Mem::new();
    let bounded = Options { no_fsync_on_rewrite: true, max_unsynced_bytes: 600, ..options(Fsync::Everysec) };
    let mut log = start(mem.clone(), &bounded);
    log.set_rewrite_running(true);
    // The first is the writer's, for the head that it owes; the second crosses the bound on the executor.
    let first = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= first);
    assert_eq!(log.durable(), 0);
    let position = turn(&mut log, &[("k", 1)]);
    assert!(position <= 600, "what they take of memory counts");
    until("durable", || log.durable() >= position && !log.writes_are_held());
    log.stop().unwrap();
}

#[test]
fn what_is_not_durable_has_an_age_also_where_memory_has_forgotten_it() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::No));
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= position);
    let later = Instant::now() + Duration::from_secs(5);
    assert!(log.stats(later).unsynced >= Duration::from_secs(5));
    log.sync_now();
    until("durable", || log.durable() >= position);
    assert_eq!(log.stats(later).unsynced, Duration::ZERO);
    log.stop().unwrap();
}
