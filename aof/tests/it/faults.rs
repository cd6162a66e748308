//! Writes and fsyncs that fail: nothing acknowledged is lost or executed twice, and nobody exits.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aof::fs::{Call, Mem, Verdict};
use aof::{Error, Event, Fs, Fsync, Health, Log, Options};

use crate::world::{TEMP, append, eio, load, options, path, request, start, stepped, turn, until};

fn expected(count: u64) -> Vec<String> {
    (0..count).map(|n| format!("0:SET k {n}")).collect()
}

/// Fails the `n`-th call of `kind` on an incr with `errno`, once.
fn fail_once(mem: &Mem, kind: Call, n: usize, errno: i32) {
    let count = AtomicUsize::new(0);
    mem.fail_with(move |call, path| {
        let concerned = call == kind && path.to_string_lossy().ends_with(".incr.aof");
        let hit = concerned && count.fetch_add(1, Ordering::Relaxed) == n;
        hit.then(|| std::io::Error::from_raw_os_error(errno))
    });
}

#[test]
fn one_failed_fsync_under_always_moves_the_tail_and_acknowledges_it_from_there() {
    for n in 0..4 {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Always));
        fail_once(&mem, Call::SyncData, n, 5);
        for value in 0..8 {
            let position = turn(&mut log, &[("k", value)]);
            until("durable", || log.durable() >= position);
            let (commands, _) = load(&mem.power_cut(), &options(Fsync::Always)).unwrap();
            assert_eq!(commands, expected(value + 1), "fsync {n} failed");
        }
        assert_eq!((log.health(), log.stats(Instant::now()).retired_files), (Health::Healthy, 1));
        log.stop().unwrap();
        let (commands, _) = load(&mem, &options(Fsync::Always)).unwrap();
        assert_eq!(commands, expected(8));
        let manifest = String::from_utf8(mem.bytes(&path("appendonly.aof.manifest")).unwrap()).unwrap();
        assert!(manifest.ends_with("file appendonly.aof.2.incr.aof seq 2 type i\n"), "{manifest}");
    }
}

#[test]
fn a_failed_write_under_every_policy_loses_and_repeats_nothing() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        for n in 0..6 {
            let mem = Mem::new();
            let mut log = start(mem.clone(), &options(fsync));
            fail_once(&mem, Call::Write, n, 28);
            for value in 0..6 {
                let position = turn(&mut log, &[("k", value)]);
                until("written", || log.written() >= position);
                let (commands, report) = load(&mem.kill(), &options(fsync)).unwrap();
                assert_eq!(commands, expected(value + 1), "{fsync:?}, write {n} failed");
                assert_eq!(report.truncated, None);
            }
            log.stop().unwrap();
            assert_eq!(load(&mem, &options(fsync)).unwrap().0, expected(6));
        }
    }
}

/// Under `no` a file that fails is synced once more, for memory no longer has what was written to it. That took a second
/// descriptor, and where none could be had, the bytes were given up although no fdatasync had failed.
#[test]
fn a_failed_write_under_no_loses_nothing_where_no_file_can_be_opened() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::No));
    let mut writes = 0;
    mem.fail_with(move |call, _| {
        writes += usize::from(call == Call::Write);
        // The first is the head of the file.
        (call == Call::OpenAppend || call == Call::Write && writes == 3).then(eio).flatten()
    });
    for value in 0..2 {
        let position = turn(&mut log, &[("k", value)]);
        until("written", || log.written() >= position);
    }
    let stats = log.stats(Instant::now());
    assert_eq!((stats.retired_files, stats.lost_below, log.durable()), (1, None, log.end()));
    assert_eq!(load(&mem.power_cut(), &options(Fsync::No)).unwrap().0, expected(2));
    log.stop().unwrap();
}

#[test]
fn a_tail_that_moves_takes_its_database_with_it() {
    for fsync in [Fsync::Always, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        fail_once(&mem, Call::Write, 1, 5);
        for _ in 0..3 {
            let ping = request(&["PING"]);
            let position = log.append(0, &[aof::Op { db: 5, command: &ping }]);
            log.seal(Instant::now());
            until("written", || log.reply_watermark() >= position);
        }
        log.stop().unwrap();
        assert_eq!(load(&mem, &options(fsync)).unwrap().0, ["5:PING"; 3], "{fsync:?}");
        assert_ne!(mem.bytes(&path("appendonly.aof.2.incr.aof")), None);
    }
}

#[test]
fn a_retired_file_is_never_written_or_synced_again() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let failed: Arc<Mutex<HashSet<_>>> = Arc::default();
    let touched = Arc::new(AtomicBool::new(false));
    let (again, retired) = (touched.clone(), failed.clone());
    let count = AtomicUsize::new(0);
    mem.fail_with(move |call, path| {
        if !matches!(call, Call::Write | Call::SyncData) || !path.to_string_lossy().ends_with(".incr.aof") {
            return None;
        }
        if retired.lock().unwrap().contains(path) {
            again.store(true, Ordering::Relaxed);
        }
        let hit = count.fetch_add(1, Ordering::Relaxed) % 5 == 4;
        hit.then(|| retired.lock().unwrap().insert(path.to_path_buf())).and_then(|_| eio())
    });
    for value in 0..20 {
        let position = turn(&mut log, &[("k", value)]);
        until("durable", || log.durable() >= position);
    }
    assert!(failed.lock().unwrap().len() >= 2);
    assert!(!touched.load(Ordering::Relaxed));
    mem.heal();
    log.stop().unwrap();
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, expected(20));
}

#[test]
fn a_thousand_failed_fsyncs_lose_and_repeat_nothing() {
    const FAILURES: u64 = 1000;
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    // A new file's first two are those that make it and its tail durable.
    let mut syncs: HashMap<PathBuf, u32> = HashMap::new();
    mem.fail_with(move |call, path| {
        let concerned = call == Call::SyncData && path.to_string_lossy().ends_with(".incr.aof");
        let count = syncs.entry(path.to_path_buf()).or_default();
        *count += u32::from(concerned);
        (concerned && *count > 2).then(eio).flatten()
    });
    for value in 0..=FAILURES {
        let position = turn(&mut log, &[("k", value)]);
        until("durable", || log.durable() >= position);
        if value % 250 == 0 {
            assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, expected(value + 1));
        }
    }
    assert!(log.stats(Instant::now()).retired_files >= FAILURES - 1);
    mem.heal();
    log.stop().unwrap();
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, expected(FAILURES + 1));
}

#[test]
fn eintr_is_retried_and_retires_nothing() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let count = AtomicUsize::new(0);
    mem.fail_with(move |_, _| {
        count
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(2)
            .then(|| std::io::ErrorKind::Interrupted.into())
    });
    let position = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= position);
    assert_eq!(log.stats(Instant::now()).retired_files, 0);
    mem.heal();
    log.stop().unwrap();
}

#[test]
fn a_dead_disk_stops_the_watermarks_not_the_server_and_recovery_is_by_itself() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &Options { max_unsynced_bytes: 100, ..options(Fsync::Always) });
    let first = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= first);
    mem.fail_with(|call, _| {
        matches!(call, Call::Write | Call::SyncData | Call::Create | Call::SyncDir).then(eio).flatten()
    });
    for value in 1..6 {
        turn(&mut log, &[("k", value)]);
    }
    until("failing", || matches!(log.health(), Health::Failing(_)));
    until("an attempt", || matches!(log.health(), Health::Failing(failure) if failure.op == "create"));
    let Health::Failing(failure) = log.health() else { panic!() };
    assert_eq!((failure.errno, log.durable()), (Some(5), first));
    assert!(log.writes_are_held());
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, expected(1));
    mem.heal();
    until("healed", || log.durable() == log.end());
    assert_eq!((log.health(), log.writes_are_held()), (Health::Healthy, false));
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, expected(6));
    log.stop().unwrap();
}

#[test]
fn stopping_on_a_dead_disk_says_so() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    mem.fail_with(|call, _| matches!(call, Call::Write | Call::Create).then(eio).flatten());
    turn(&mut log, &[("k", 0)]);
    let error = log.stop().unwrap_err();
    assert!(matches!(error, aof::Error::FileRetired { .. }), "{error}");
}

#[test]
fn every_call_of_a_recovery_may_fail_once_and_a_crash_after_it_repeats_nothing() {
    // The first fsync of the live file fails, and then the n-th call of the recovery that follows.
    for n in 0.. {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Always));
        let position = turn(&mut log, &[("k", 0)]);
        until("durable", || log.durable() >= position);
        let (calls, failed) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
        let counted = calls.clone();
        mem.fail_with(move |call, _| {
            if !failed.load(Ordering::Relaxed) {
                return (call == Call::SyncData && !failed.swap(true, Ordering::Relaxed)).then(eio).flatten();
            }
            (counted.fetch_add(1, Ordering::Relaxed) == n).then(eio).flatten()
        });
        let position = turn(&mut log, &[("k", 1)]);
        until("the fault", || calls.load(Ordering::Relaxed) > n || log.durable() >= position);
        for mem in [mem.kill(), mem.power_cut()] {
            mem.heal();
            let (commands, _) = load(&mem, &options(Fsync::Always)).unwrap();
            assert!(commands == expected(1) || commands == expected(2), "call {n}: {commands:?}");
        }
        until("recovered", || log.durable() >= position);
        let done = calls.load(Ordering::Relaxed) <= n;
        mem.heal();
        log.stop().unwrap();
        assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, expected(2), "call {n}");
        if done {
            break;
        }
    }
}

#[test]
fn under_no_a_failed_fsync_holds_the_durable_watermark_until_a_base_covers_it() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::No));
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= position);
    fail_once(&mem, Call::SyncData, 0, 5);
    log.sync_now();
    until("retired", || log.stats(Instant::now()).lost_below == Some(position));
    turn(&mut log, &[("k", 1)]);
    let end = log.sync_now();
    until("written", || log.written() == end);
    assert_eq!(log.durable(), 0, "nobody knows what the first file kept");
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    let covers = log.switch();
    mem.put(TEMP.as_ref(), &request(&["SELECT", "0"]));
    log.publish_base(aof::NewBase {
        temp_path: TEMP.into(),
        format: aof::BaseFormat::Resp,
        covers,
        len_bytes: 0,
    });
    until("published", || log.base_published().is_some_and(|outcome| outcome.is_ok()));
    until("durable", || log.durable() == log.end());
    assert_eq!(log.stats(Instant::now()).lost_below, None);
    log.stop().unwrap();
}

/// What stood in a file without a name was called durable again, once its successor had lost less.
#[test]
fn a_second_loss_does_not_make_durable_what_the_first_took() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::No));
    turn(&mut log, &[("k", 0)]);
    let durable = log.sync_now();
    until("durable", || log.durable() == durable);
    mem.remove(&path("appendonly.aof.1.incr.aof")).unwrap();
    assert!(log.needs_base());
    until("moved", || log.stats(Instant::now()).lost_below == Some(durable));
    let second = turn(&mut log, &[("k", 1)]);
    until("written", || log.written() == second);
    fail_once(&mem, Call::SyncData, 0, 5);
    log.sync_now();
    until("lost more", || log.stats(Instant::now()).lost_below == Some(second));
    assert!(matches!(log.stop(), Err(Error::FileRetired { durable: 0, .. })));
}

/// It was counted as lost with what memory no longer had.
#[test]
fn under_no_a_block_that_was_being_written_when_the_fdatasync_failed_moves() {
    let mem = Mem::new();
    let (mut log, steps) = stepped(mem.clone(), &options(Fsync::No));
    let lost = log.sync_now();
    assert!(steps.begin_sync());
    append(&mut log, steps.now());
    let steps = Arc::new(steps);
    let syncer = steps.clone();
    let is_first = AtomicBool::new(true);
    mem.on_call(move |request| match request.call {
        Call::Write if is_first.swap(false, Ordering::Relaxed) => {
            assert!(syncer.end_sync());
            Verdict::Pass
        }
        Call::SyncData => Verdict::Fail(std::io::Error::from_raw_os_error(5)),
        _ => Verdict::Pass,
    });
    assert!(steps.write());
    mem.heal();
    assert!(steps.write(), "the tail moves");
    assert_eq!(log.stats(steps.now()).lost_below, Some(lost));
}

/// All that was logged since counted as not durable, until the base was there.
#[test]
fn what_is_lost_holds_no_writers_for_no_fdatasync_can_cover_it() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &Options { max_unsynced_bytes: 100, ..options(Fsync::No) });
    for value in 0..4 {
        turn(&mut log, &[("k", value)]);
    }
    until("written", || log.written() == log.end());
    fail_once(&mem, Call::SyncData, 0, 5);
    log.sync_now();
    until("lost", || log.stats(Instant::now()).lost_below == Some(log.end()));
    log.set_fsync(Fsync::Everysec);
    assert!(log.end() > 100 && !log.writes_are_held());
    for value in 4..12 {
        turn(&mut log, &[("k", value)]);
    }
    log.sync_now();
    until("synced", || !log.writes_are_held());
    assert_eq!(log.durable(), 0);
    assert!(log.stop().is_err());
}

/// The bound was one of payload alone, and small blocks take ten times as much.
#[test]
fn writers_are_held_by_the_memory_that_what_is_not_durable_takes() {
    const MIB: u64 = 1 << 20;
    for fsync in [Fsync::Always, Fsync::Everysec] {
        let bounded = Options { max_unsynced_bytes: MIB, ..options(fsync) };
        let (mut log, steps) = stepped(Mem::new(), &bounded);
        while !log.writes_are_held() {
            append(&mut log, steps.now());
        }
        let retained_bytes = log.stats(steps.now()).retained_bytes;
        // The room for blocks has doubled perhaps.
        assert!((MIB / 2..2 * MIB).contains(&retained_bytes), "{retained_bytes} bytes under {fsync:?}");
        steps.advance_ms(1000);
        while log.writes_are_held() {
            assert!(steps.write() || steps.begin_sync() && steps.end_sync(), "{fsync:?}");
        }
    }
}

#[test]
fn what_takes_long_is_told_once_and_fdatasyncs_are_timed() {
    const SLOW: Duration = Duration::from_millis(20);
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let position = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= position);
    log.take_events();
    log.reset_stats();
    assert_eq!(log.fsync_percentile(99.0), Duration::ZERO);

    mem.fail_with(|call, _| {
        if matches!(call, Call::Write | Call::SyncData) {
            std::thread::sleep(SLOW);
        }
        None
    });
    let position = turn(&mut log, &[("k", 1)]);
    until("an fdatasync runs", || log.stats(Instant::now()).fsync_running.is_some());
    assert!(log.stats(Instant::now()).durable < position);
    until("durable", || log.durable() >= position);
    let stats = log.stats(Instant::now());
    assert_eq!((stats.fsync_running, stats.durable), (None, position));
    assert!(log.fsync_percentile(50.0) >= SLOW && log.fsync_percentile(99.0) >= SLOW);
    let events = log.take_events();
    assert!(events.iter().all(|event| event.took() >= SLOW));
    assert!(matches!(events[..], [Event::WriteAlone(_), Event::FsyncAlways(_)]), "{events:?}");
    assert_eq!(log.take_events(), []);
}

/// The first block waits for the fdatasync of its file's head, which was nowhere to be seen.
#[test]
fn what_has_not_returned_is_told_and_a_head_counts_as_an_fdatasync() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let hangs = Arc::new(AtomicBool::new(true));
    let theirs = Arc::clone(&hangs);
    mem.fail_with(move |call, _| {
        while call == Call::SyncData && theirs.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    assert_eq!(log.running(Instant::now()), []);
    let position = turn(&mut log, &[("k", 0)]);
    let longest = |log: &Log| log.stats(Instant::now()).fsync_running.unwrap_or_default();
    until("it has hung for a while", || longest(&log) >= Duration::from_millis(20));
    let running = log.running(Instant::now());
    assert!(
        matches!(running[..], [Event::FsyncAlways(took)] if took >= Duration::from_millis(20)),
        "{running:?}"
    );
    hangs.store(false, Ordering::Release);
    until("durable", || log.durable() >= position);
    until("nothing runs", || log.running(Instant::now()).is_empty());
    assert!(log.take_events().iter().any(|event| matches!(event, Event::FsyncAlways(_))));
}

/// Both block the writer as a write does, blocks piled up behind them, and nothing told why.
#[test]
fn space_that_is_asked_for_or_given_back_is_told_while_the_call_hangs() {
    let mem = Mem::new();
    mem.set_capacity(8 << 20);
    let hanging = Arc::new(Mutex::new(None));
    let theirs = Arc::clone(&hanging);
    mem.fail_with(move |call, _| {
        while *theirs.lock().unwrap() == Some(call) {
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    let mut log = start(mem, &options(Fsync::Everysec));
    let waits = |log: &mut Log, is_it: fn(&Event) -> bool| {
        let hangs = |event: &Event| is_it(event) && event.took() >= Duration::from_millis(20);
        until("it has hung for a while", || log.running(Instant::now()).iter().any(hangs));
        *hanging.lock().unwrap() = None;
        until("it is over", || !log.running(Instant::now()).iter().any(is_it));
        assert!(log.take_events().iter().any(hangs));
    };
    // What the start has asked for is just enough for an empty file.
    *hanging.lock().unwrap() = Some(Call::Reserve);
    turn(&mut log, &[("k", 0)]);
    waits(&mut log, |event| matches!(event, Event::Reserve(_)));
    log.begin_rotation().unwrap();
    until("the next file is there", || log.rotation_ready().is_some());
    *hanging.lock().unwrap() = Some(Call::Trim);
    log.switch();
    waits(&mut log, |event| matches!(event, Event::Switch(_)));
    log.stop().unwrap();
}

/// The process that dies is this test again, told so by its environment.
#[test]
fn a_thread_that_panics_ends_the_process_instead_of_acknowledging_nothing_for_ever() {
    const VARIABLE: &str = "EVERLOG_TEST_PANIC";
    for call in ["Write", "SyncData"] {
        if std::env::var(VARIABLE).is_ok_and(|wanted| wanted == call) {
            let mem = Mem::new();
            let mut log = start(mem.clone(), &options(Fsync::Always));
            mem.fail_with(move |found, _| (format!("{found:?}") != call).then_some(None).expect("a bug"));
            turn(&mut log, &[("k", 1)]);
            std::thread::sleep(Duration::from_secs(60));
        }
    }
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    for call in ["Write", "SyncData"] {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "faults::a_thread_that_panics_ends_the_process_instead_of_acknowledging_nothing_for_ever";
        let output = again.args(["--exact", name]).env(VARIABLE, call).output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
    }
}

/// What was written before the write that fails can be made durable where it is: on a full disk there may be room for no
/// second copy of it.
#[test]
fn a_failed_write_moves_only_what_was_not_written() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= position);
    fail_once(&mem, Call::Write, 0, 28);
    let position = turn(&mut log, &[("k", 1)]);
    until("durable", || log.durable() >= position);
    let second = mem.bytes(&path("appendonly.aof.2.incr.aof")).unwrap();
    let values = |value: &str| memmem(&second, request(&["SET", "k", value]).as_ref());
    assert_eq!((values("0"), values("1")), (false, true));
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Everysec)).unwrap().0, expected(2));
}

fn memmem(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A new file whose fdatasync fails is removed: another follows four times a second.
#[test]
fn files_that_could_not_be_synced_do_not_pile_up() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let position = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= position);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    mem.fail_with(move |call, path| {
        let is_incr = path.to_string_lossy().ends_with(".incr.aof");
        counted.fetch_add(usize::from(is_incr && call == Call::Create), Ordering::Relaxed);
        (is_incr && call == Call::SyncData).then(eio).flatten()
    });
    let position = turn(&mut log, &[("k", 1)]);
    until("it was tried again", || tries.load(Ordering::Relaxed) >= 3);
    mem.heal();
    until("durable", || log.durable() >= position);
    log.stop().unwrap();
    let names = aof::Fs::list(&mem, "/data/appendonlydir".as_ref()).unwrap();
    let incrs: Vec<&String> = names.iter().filter(|name| name.ends_with(".incr.aof")).collect();
    assert_eq!(incrs.len(), 2, "{incrs:?}");
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, expected(2));
}
