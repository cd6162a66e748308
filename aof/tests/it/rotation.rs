//! A rewrite seen from the log: files change hands at S, and a base retires exactly what it covers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aof::fs::{Call, Mem, Verdict};
use aof::{BaseFormat, Error, Fsync, Log, NewBase, Options, Steps};

use crate::world::{TEMP, append, eio, load, options, path, request, start, stepped, turn, until};

fn rotate(log: &mut Log) -> u64 {
    log.begin_rotation().unwrap();
    let mut outcome = None;
    until("rotation", || {
        outcome = log.rotation_ready();
        outcome.is_some()
    });
    outcome.unwrap().unwrap();
    log.switch()
}

fn offer(mem: &Mem, log: &mut Log, covers: u64, base: &[&str]) {
    let bytes: Vec<u8> = base.iter().flat_map(|value| request(&["SET", "k", value]).to_vec()).collect();
    mem.put(TEMP.as_ref(), &bytes);
    let len_bytes = bytes.len() as u64;
    log.publish_base(NewBase { temp_path: TEMP.into(), format: BaseFormat::Resp, covers, len_bytes });
}

fn publish(mem: &Mem, log: &mut Log, covers: u64, base: &[&str]) -> Result<(), Error> {
    offer(mem, log, covers, base);
    let mut outcome = None;
    until("published", || {
        outcome = log.base_published();
        outcome.is_some()
    });
    outcome.unwrap()
}

fn manifest(mem: &Mem) -> String {
    String::from_utf8(mem.bytes(&path("appendonly.aof.manifest")).unwrap()).unwrap()
}

#[test]
fn a_rewrite_leaves_its_base_and_what_came_after_the_switch() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        turn(&mut log, &[("k", 1)]);
        turn(&mut log, &[("k", 2)]);
        let covers = rotate(&mut log);
        turn(&mut log, &[("k", 3), ("l", 3)]);
        publish(&mem, &mut log, covers, &["2"]).unwrap();
        turn(&mut log, &[("k", 4)]);
        log.stop().unwrap();
        let (commands, _) = load(&mem.power_cut(), &options(fsync)).unwrap();
        assert_eq!(commands, ["0:SET k 2", "0:SET k 3", "0:SET l 3", "0:SET k 4"], "{fsync:?}");
        let expected =
            "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        assert_eq!(manifest(&mem), expected);
        assert!(mem.bytes(&path("appendonly.aof.1.incr.aof")).is_none(), "history is removed");
    }
}

/// It switched at once, and replies under `everysec` and `no` waited for fdatasyncs of all that the old file had.
#[test]
fn the_last_file_is_synced_before_it_is_switched_and_nobody_waits_for_that() {
    for fsync in [Fsync::Everysec, Fsync::No] {
        let (mut log, steps) = stepped(Mem::new(), &options(fsync));
        append(&mut log, steps.now());
        log.begin_rotation().unwrap();
        assert!(steps.write() && steps.do_chore(), "the next file");
        for slow in 0..=3 {
            assert!(log.rotation_ready().is_none(), "{fsync:?}, after {slow} fdatasyncs");
            assert!(steps.begin_sync());
            steps.advance_ms(2000);
            append(&mut log, steps.now());
            assert!(steps.write());
            assert_eq!(log.reply_watermark(), log.end(), "{fsync:?}: it is written while the fdatasync runs");
            assert!(steps.end_sync());
        }
        log.rotation_ready().expect("a disk that stays slow does not put it off for ever").unwrap();
    }
}

#[test]
fn a_file_that_has_failed_does_not_keep_the_base_that_repairs_it_from_being_begun() {
    let mem = Mem::new();
    let (mut log, steps) = stepped(mem.clone(), &options(Fsync::Everysec));
    append(&mut log, steps.now());
    log.begin_rotation().unwrap();
    assert!(steps.write() && steps.do_chore());
    mem.fail_with(|call, _| (call == Call::SyncData || call == Call::Create).then(eio).flatten());
    assert!(steps.begin_sync() && steps.end_sync());
    assert!(log.stats(steps.now()).retired_files == 1 && log.durable() < log.end());
    log.rotation_ready().unwrap().unwrap();
}

/// A head was written only with the first block behind it: until then damage in what was durable passed for a torn end.
#[test]
fn the_file_that_takes_over_says_at_once_where_the_last_one_ended() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        for value in 0..5 {
            turn(&mut log, &[("k", value)]);
        }
        rotate(&mut log);
        until("it has taken over", || {
            mem.bytes(&path("appendonly.aof.2.incr.aof")).is_some_and(|b| !b.is_empty())
        });
        log.stop().unwrap();
        assert_eq!(load(&mem, &options(fsync)).unwrap().0.len(), 5);
        let first = path("appendonly.aof.1.incr.aof");
        let mut bytes = mem.bytes(&first).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        mem.put(&first, &bytes);
        assert!(matches!(load(&mem, &options(fsync)), Err(Error::Corrupt { .. })), "{fsync:?}");
    }
}

#[test]
fn history_stays_while_auto_gc_is_off_and_goes_when_it_is_switched_on() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &Options { disable_auto_gc: true, ..options(Fsync::Always) });
    turn(&mut log, &[("k", 1)]);
    let covers = rotate(&mut log);
    publish(&mem, &mut log, covers, &["1"]).unwrap();
    let expected = "file appendonly.aof.2.base.aof seq 2 type b\n\
        file appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.1.base.aof seq 1 type h\n\
        file appendonly.aof.2.incr.aof seq 2 type i\n";
    assert_eq!(manifest(&mem), expected);
    log.set_disable_auto_gc(false);
    until("collected", || !manifest(&mem).contains("type h"));
    assert!(mem.bytes(&path("appendonly.aof.1.base.aof")).is_none());
    log.stop().unwrap();
}

#[test]
fn a_base_that_would_split_a_file_is_refused() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let inside = turn(&mut log, &[("k", 1)]);
    turn(&mut log, &[("k", 2)]);
    let outcome = publish(&mem, &mut log, inside, &["1"]);
    assert!(matches!(outcome, Err(Error::BaseSplitsFile { .. })), "{outcome:?}");
    let unswitched = log.switch();
    let outcome = publish(&mem, &mut log, unswitched, &["2"]);
    assert!(matches!(outcome, Err(Error::BaseSplitsFile { .. })), "no rotation was ready: {outcome:?}");
    log.stop().unwrap();
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET k 1", "0:SET k 2"]);
}

#[test]
fn an_abandoned_rewrite_costs_a_file_and_the_next_one_retires_both() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    turn(&mut log, &[("k", 1)]);
    rotate(&mut log);
    turn(&mut log, &[("k", 2)]);
    let covers = rotate(&mut log);
    turn(&mut log, &[("k", 3)]);
    publish(&mem, &mut log, covers, &["2"]).unwrap();
    log.stop().unwrap();
    assert_eq!(load(&mem, &options(Fsync::Everysec)).unwrap().0, ["0:SET k 2", "0:SET k 3"]);
    let expected =
        "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.3.incr.aof seq 3 type i\n";
    assert_eq!(manifest(&mem), expected);
}

#[test]
fn a_file_that_fails_during_a_rewrite_leaves_no_file_on_both_sides_of_the_switch() {
    for fail_at in 0..12 {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Always));
        let count = AtomicUsize::new(0);
        mem.fail_with(move |call, path| {
            let live =
                path.to_string_lossy().ends_with(".incr.aof") && matches!(call, Call::Write | Call::SyncData);
            (live && count.fetch_add(1, Ordering::Relaxed) == fail_at).then(eio).flatten()
        });
        turn(&mut log, &[("k", 1)]);
        log.begin_rotation().unwrap();
        turn(&mut log, &[("k", 2)]);
        let mut ready = None;
        until("rotation", || {
            ready = log.rotation_ready();
            ready.is_some()
        });
        if ready.unwrap().is_err() {
            log.begin_rotation().unwrap();
            until("rotation", || log.rotation_ready().is_some_and(|outcome| outcome.is_ok()));
        }
        turn(&mut log, &[("k", 3)]);
        let covers = log.switch();
        turn(&mut log, &[("k", 4)]);
        publish(&mem, &mut log, covers, &["3"]).unwrap();
        until("durable", || log.durable() == log.end());
        let (commands, _) = load(&mem.power_cut(), &options(Fsync::Always)).unwrap();
        assert_eq!(commands, ["0:SET k 3", "0:SET k 4"], "call {fail_at} failed");
        log.stop().unwrap();
    }
}

#[test]
fn a_tail_that_moves_while_a_switch_is_pending_stays_on_its_side() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    mem.fail_with(|call, path| {
        let live = path.to_string_lossy().ends_with(".incr.aof");
        (live && matches!(call, Call::SyncData | Call::Create)).then(eio).flatten()
    });
    turn(&mut log, &[("k", 1)]);
    let covers = log.switch();
    turn(&mut log, &[("k", 2)]);
    until("failing", || matches!(log.health(), aof::Health::Failing(failure) if failure.op == "create"));
    mem.heal();
    until("recovered", || log.durable() == log.end());
    // The second incr stayed empty: its number was too low for a tail that is newer.
    let numbers: Vec<usize> = (1..=5)
        .filter(|n| {
            mem.bytes(&path(&format!("appendonly.aof.{n}.incr.aof"))).is_some_and(|bytes| !bytes.is_empty())
        })
        .collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, ["0:SET k 1", "0:SET k 2"]);
    publish(&mem, &mut log, covers, &["1"]).unwrap();
    log.stop().unwrap();
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET k 1", "0:SET k 2"]);
    let expected =
        "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.4.incr.aof seq 4 type i\n";
    assert_eq!(manifest(&mem), expected);
}

#[test]
fn a_base_heals_a_log_whose_old_file_cannot_be_saved() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let first = turn(&mut log, &[("k", 1)]);
    until("durable", || log.durable() >= first);
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    // From now on the first incr cannot be synced, and no third one can be created.
    mem.fail_with(|call, path| {
        let name = path.to_string_lossy();
        let sick = name.ends_with("1.incr.aof") || call == Call::Create && name.ends_with("incr.aof");
        sick.then(eio).flatten()
    });
    turn(&mut log, &[("k", 2)]);
    let covers = log.switch();
    turn(&mut log, &[("k", 3)]);
    publish(&mem, &mut log, covers, &["2"]).unwrap();
    until("durable", || log.durable() == log.end());
    assert_eq!(log.health(), aof::Health::Healthy);
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, ["0:SET k 2", "0:SET k 3"]);
    mem.heal();
    log.stop().unwrap();
}

#[test]
fn a_log_switched_on_at_run_time_counts_from_its_first_base() {
    let mem = Mem::new();
    // What an earlier time of `appendonly yes` left behind is superseded.
    let mut before = start(mem.clone(), &options(Fsync::Always));
    turn(&mut before, &[("stale", 1)]);
    before.stop().unwrap();

    let mut log =
        Log::start_waiting_rewrite(Arc::new(mem.clone()), &options(Fsync::Always), Box::new(|| {})).unwrap();
    assert!(log.is_waiting_rewrite());
    turn(&mut log, &[("k", 1)]);
    assert_eq!(log.reply_watermark(), log.end(), "nothing is held back yet");
    let covers = rotate(&mut log);
    turn(&mut log, &[("k", 2)]);
    assert!(mem.bytes(&path("temp-appendonly.aof.incr")).is_some());
    assert_eq!(load(&mem.kill(), &options(Fsync::Always)).unwrap().0, ["0:SET stale 1"]);

    publish(&mem, &mut log, covers, &["1"]).unwrap();
    assert!(!log.is_waiting_rewrite());
    let position = turn(&mut log, &[("k", 3)]);
    until("durable", || log.reply_watermark() >= position);
    let (commands, _) = load(&mem.power_cut(), &options(Fsync::Always)).unwrap();
    assert_eq!(commands, ["0:SET k 1", "0:SET k 2", "0:SET k 3"]);
    assert!(mem.bytes(&path("temp-appendonly.aof.incr")).is_none());
    log.stop().unwrap();
}

/// Also the line that calls all of it durable is there by then, which is otherwise written after a second.
#[test]
fn a_log_that_was_drained_and_is_idle_stops_without_another_write_or_sync() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        turn(&mut log, &[("k", 1)]);
        log.drain();
        until("idle", || log.is_idle());
        mem.fail_with(|call, _| {
            matches!(call, Call::Write | Call::SyncData | Call::Rename | Call::SyncDir).then(eio).flatten()
        });
        log.stop().unwrap();
        mem.heal();
        let before = mem.bytes(&path("appendonly.aof.1.incr.aof"));
        start(mem.clone(), &options(fsync)).stop().unwrap();
        assert_eq!(mem.bytes(&path("appendonly.aof.1.incr.aof")), before, "it was called durable");
    }
}

#[test]
fn a_temporary_incr_that_fails_takes_its_base_with_it_and_the_next_attempt_counts() {
    let mem = Mem::new();
    let mut log =
        Log::start_waiting_rewrite(Arc::new(mem.clone()), &options(Fsync::Always), Box::new(|| {})).unwrap();
    let covers = rotate(&mut log);
    mem.fail_with(|call, _| (call == Call::Write).then(eio).flatten());
    turn(&mut log, &[("k", 1)]);
    until("retired", || log.stats(Instant::now()).retired_files == 1);
    // A base that came before would be published, and the tail would move.
    until("given up", || mem.bytes(&path("temp-appendonly.aof.incr")).is_none());
    mem.heal();
    let outcome = publish(&mem, &mut log, covers, &[]);
    assert!(outcome.is_err() && log.is_waiting_rewrite());
    let covers = rotate(&mut log);
    turn(&mut log, &[("k", 2)]);
    publish(&mem, &mut log, covers, &["1"]).unwrap();
    log.stop().unwrap();
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET k 1", "0:SET k 2"]);
}

/// It went on being appended to, and took disk and memory until the next attempt.
#[test]
fn a_first_base_that_is_given_up_gives_back_its_incr_and_the_next_attempt_counts() {
    let (mem, temp) = (Mem::new(), path("temp-appendonly.aof.incr"));
    mem.set_capacity(256 << 10);
    let mut log =
        Log::start_waiting_rewrite(Arc::new(mem.clone()), &options(Fsync::Everysec), Box::new(|| {}))
            .unwrap();
    for attempt in 0..2 {
        rotate(&mut log);
        turn(&mut log, &[("k", attempt)]);
        until("the disk is full", || log.room_bytes() < u64::MAX);
        assert!(mem.bytes(&temp).is_some());
        log.give_up_first_base();
        assert_eq!((log.room_bytes(), log.health()), (u64::MAX, aof::Health::Healthy), "nothing is written");
        let position = turn(&mut log, &[("k", 10 + attempt)]);
        assert_eq!((log.durable(), log.is_waiting_rewrite()), (position, true));
        until("its name is gone", || mem.bytes(&temp).is_none());
    }
    mem.set_capacity(1 << 30);
    let covers = rotate(&mut log);
    log.give_up_first_base();
    assert!(publish(&mem, &mut log, covers, &["20"]).is_err(), "it belongs to another");
    let covers = rotate(&mut log);
    turn(&mut log, &[("k", 30)]);
    publish(&mem, &mut log, covers, &["20"]).unwrap();
    log.stop().unwrap();
    assert_eq!(load(&mem, &options(Fsync::Everysec)).unwrap().0, ["0:SET k 20", "0:SET k 30"]);
}

/// The base counted, and the log had no file behind it: all that came later was called durable, and written nowhere.
#[test]
fn a_first_base_that_is_being_published_is_not_given_up() {
    let (mem, options) = (Mem::new(), options(Fsync::Always));
    let fs = Arc::new(mem.clone());
    let (log, steps) = Steps::start_waiting_rewrite(fs, &options, Box::new(|| {})).unwrap();
    let shared = Arc::new(Mutex::new(log));
    let log = || shared.lock().unwrap();
    let settle = || while steps.write() || steps.begin_sync() && steps.end_sync() {};
    log().begin_rotation().unwrap();
    settle();
    assert!(steps.do_chore(), "the temporary incr");
    log().rotation_ready().unwrap().unwrap();
    let covers = log().switch();
    turn(&mut log(), &[("k", 1)]);
    settle();
    offer(&mem, &mut log(), covers, &["0"]);
    settle();
    let given_up = Arc::clone(&shared);
    mem.on_call(move |request| {
        if request.call == Call::SyncDir {
            given_up.lock().unwrap().give_up_first_base();
        }
        Verdict::Pass
    });
    assert!(steps.do_chore(), "it publishes");
    mem.heal();
    log().base_published().unwrap().unwrap();
    let position = turn(&mut log(), &[("k", 2)]);
    settle();
    assert!(!log().is_waiting_rewrite());
    assert_eq!(steps.durable(), position);
    assert_eq!(load(&mem.power_cut(), &options).unwrap().0, ["0:SET k 0", "0:SET k 1", "0:SET k 2"]);
}

#[test]
fn a_log_that_ends_before_its_first_base_leaves_the_directory_as_it_was() {
    let mem = Mem::new();
    let mut before = start(mem.clone(), &options(Fsync::Always));
    turn(&mut before, &[("old", 1)]);
    before.stop().unwrap();
    let names = || {
        let mut names = aof::Fs::list(&mem, &path("")).unwrap();
        names.sort();
        names
    };
    let found = names();
    let mut log =
        Log::start_waiting_rewrite(Arc::new(mem.clone()), &options(Fsync::Always), Box::new(|| {})).unwrap();
    rotate(&mut log);
    turn(&mut log, &[("new", 1)]);
    until("it has bytes", || log.stats(Instant::now()).buffer_length == 0);
    log.stop().unwrap();
    assert_eq!(names(), found);
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET old 1"]);
}

#[test]
fn every_call_of_a_rewrite_may_be_the_last_before_a_crash() {
    for crash_at in 0.. {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Always));
        let first = turn(&mut log, &[("k", 1)]);
        until("durable", || log.durable() >= first);
        // From the n-th call on the world is dead: what is on disk then is what a start finds.
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        mem.fail_with(move |_, _| (counted.fetch_add(1, Ordering::Relaxed) >= crash_at).then(eio).flatten());
        log.begin_rotation().unwrap();
        let mut ready = None;
        until("rotation", || {
            ready = log.rotation_ready();
            ready.is_some()
        });
        if ready.unwrap().is_ok() {
            let covers = log.switch();
            turn(&mut log, &[("l", 2)]);
            let _ = publish(&mem, &mut log, covers, &["1"]);
        }
        let acknowledged = log.durable();
        for image in [mem.kill(), mem.power_cut()] {
            let (commands, _) = load(&image, &options(Fsync::Always)).unwrap();
            assert_eq!(commands[0], "0:SET k 1", "crash at call {crash_at}");
            assert!(commands.len() <= 2, "crash at call {crash_at}: {commands:?}");
            assert!(acknowledged <= first || commands.len() == 2, "crash at call {crash_at}: {commands:?}");
        }
        let survived = calls.load(Ordering::Relaxed) <= crash_at;
        mem.heal();
        log.stop().unwrap();
        if survived {
            break;
        }
    }
}
