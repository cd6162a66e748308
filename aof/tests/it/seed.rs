//! The story: Redis 2.6.4 kept its log in one file of C, `aof.c`. What that file did is a checklist, and what it did wrong
//! is known. The table in the crate's README says which test holds each line; here are the lines that no other file is
//! about. Where the original was wrong, the test would fail on it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aof::fs::{Call, Mem};
use aof::{Fsync, Log, Op, Options};

use crate::world::{eio, load, options, path, plain, request, start, turn, until};

const BASE: &str = "appendonly.aof.1.base.aof";
const INCR: &str = "appendonly.aof.1.incr.aof";

fn size(mem: &Mem, name: &str) -> u64 {
    mem.bytes(&path(name)).unwrap().len() as u64
}

/// A log that calls nothing by itself, and the calls that it makes from now on.
fn watched() -> (Log, Arc<Mutex<Vec<Call>>>) {
    let mem = Mem::new();
    let log = start(mem.clone(), &plain(Fsync::No));
    let calls = Arc::<Mutex<Vec<Call>>>::default();
    let seen = calls.clone();
    mem.fail_with(move |call, _| {
        seen.lock().unwrap().push(call);
        None
    });
    (log, calls)
}

#[test]
fn a_turn_without_effects_calls_nothing() {
    let (mut log, calls) = watched();
    for _ in 0..100 {
        log.append(0, &[]);
        log.seal(Instant::now());
    }
    // Whatever those turns had asked for would have come before this.
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= position);
    assert_eq!(*calls.lock().unwrap(), [Call::Write]);
    log.stop().unwrap();
}

#[test]
fn all_units_of_a_turn_are_one_write() {
    let (mut log, calls) = watched();
    for turn in 0..10 {
        for n in 0..100 {
            let command = request(&["SET", "k", &n.to_string()]);
            log.append(0, &[Op { db: n % 3, command: &command }]);
        }
        log.seal(Instant::now());
        until("written", || log.written() == log.end());
        assert_eq!(calls.lock().unwrap().len(), turn + 1);
    }
    assert!(calls.lock().unwrap().iter().all(|call| *call == Call::Write));
    log.stop().unwrap();
}

#[test]
fn an_fsync_of_more_than_two_seconds_counts_as_delayed() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    turn(&mut log, &[("k", 0)]);
    log.drain();
    // The line that calls it durable is synced, too.
    until("all is durable", || log.is_idle());
    assert_eq!(log.stats(Instant::now()).delayed_fsync, 0);
    mem.fail_with(|call, _| {
        if call == Call::SyncData {
            std::thread::sleep(Duration::from_millis(2050));
        }
        None
    });
    turn(&mut log, &[("k", 1)]);
    let position = log.drain();
    until("durable", || log.durable() >= position);
    assert_eq!(log.stats(Instant::now()).delayed_fsync, 1);
    mem.heal();
    log.reset_stats();
    assert_eq!(log.stats(Instant::now()).delayed_fsync, 0);
    log.stop().unwrap();
}

#[test]
fn the_sizes_are_those_of_the_files_while_it_runs_and_after_a_start() {
    for checksum in [false, true] {
        let options = Options { checksum, ..options(Fsync::No) };
        let mem = Mem::new();
        mem.put(&path("appendonly.aof.manifest"), b"file appendonly.aof.1.base.aof seq 1 type b\n");
        mem.put(&path(BASE), &request(&["SET", "k", "0"]));
        for n in 1..4 {
            let mut log = start(mem.clone(), &options);
            let sizes = log.stats(Instant::now());
            let incr = mem.bytes(&path(INCR)).unwrap().len() as u64;
            // After a start the base is what growth is measured by, not what came after it.
            assert_eq!((sizes.current_size, sizes.base_size), (size(&mem, BASE) + incr, size(&mem, BASE)));
            let position = turn(&mut log, &[("k", n)]);
            until("written", || log.written() >= position);
            assert_eq!(log.stats(Instant::now()).current_size, size(&mem, BASE) + size(&mem, INCR));
            log.stop().unwrap();
        }
    }
}

#[test]
fn a_log_of_no_bytes_is_an_empty_data_set() {
    let single = Mem::new();
    single.put("/data/appendonly.aof".as_ref(), b"");
    let listed = Mem::new();
    listed.put(&path("appendonly.aof.manifest"), b"file appendonly.aof.1.incr.aof seq 1 type i\n");
    listed.put(&path(INCR), b"");
    for mem in [single, listed] {
        let options = Options { load_truncated: false, ..options(Fsync::Always) };
        assert_eq!(load(&mem, &options).unwrap().0, [""; 0]);
        let mut log = start(mem.clone(), &options);
        turn(&mut log, &[("k", 1)]);
        log.stop().unwrap();
        assert_eq!(load(&mem, &options).unwrap().0, ["0:SET k 1"]);
    }
}

#[test]
fn each_file_is_read_from_database_0_on() {
    let mem = Mem::new();
    let manifest =
        b"file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n\
        file appendonly.aof.2.incr.aof seq 2 type i\n";
    mem.put(&path("appendonly.aof.manifest"), manifest);
    for name in [BASE, INCR] {
        mem.put(&path(name), &[request(&["PING"]), request(&["SELECT", "5"]), request(&["PING"])].concat());
    }
    mem.put(&path("appendonly.aof.2.incr.aof"), &request(&["PING"]));
    let commands = load(&mem, &options(Fsync::No)).unwrap().0;
    assert_eq!(commands, ["0:PING", "5:PING", "0:PING", "5:PING", "0:PING"]);
}

/// 2.6.4 put off the flush while an fsync ran, and SHUTDOWN then synced the file without what was still in memory.
#[test]
fn an_end_in_the_middle_of_an_fsync_saves_what_came_meanwhile() {
    for fsync in [Fsync::Everysec, Fsync::Always] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        let position = turn(&mut log, &[("k", 0)]);
        until("written", || log.written() >= position);
        let begun = Arc::new(AtomicBool::new(false));
        let begins = begun.clone();
        mem.fail_with(move |call, _| {
            if call == Call::SyncData && !begins.swap(true, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
            }
            None
        });
        turn(&mut log, &[("k", 1)]);
        log.sync_now();
        until("an fsync runs", || begun.load(Ordering::Relaxed));
        turn(&mut log, &[("k", 2)]);
        log.stop().unwrap();
        let (commands, _) = load(&mem.power_cut(), &options(fsync)).unwrap();
        assert_eq!(commands, ["0:SET k 0", "0:SET k 1", "0:SET k 2"], "{fsync:?}");
    }
}

/// 2.6.4 looked at no fsync's result. Later servers do, but take a write for synced once its fsync was asked for, and an
/// fsync that succeeds after one that failed for the proof that nothing was lost; the kernel has dropped those pages.
#[test]
fn a_background_fsync_that_fails_acknowledges_nothing_although_the_next_one_succeeds() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    let position = turn(&mut log, &[("k", 0)]);
    until("written", || log.written() >= position);
    let failed = AtomicBool::new(false);
    mem.fail_with(move |call, _| {
        (call == Call::SyncData && !failed.swap(true, Ordering::Relaxed)).then(eio).flatten()
    });
    log.sync_now();
    until("durable", || {
        let durable = log.durable() >= position;
        let survives = load(&mem.power_cut(), &options(Fsync::Everysec)).unwrap().0 == ["0:SET k 0"];
        assert!(survives || !durable, "acknowledged, and gone with the power");
        durable
    });
    assert_eq!(log.stats(Instant::now()).retired_files, 1);
    log.stop().unwrap();
}

/// Whether a file named `file.rs` or `file/tests.rs` below a folder holds a test of this name.
fn holds(dir: &Path, file: &str, test: &str) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        let is_file = path.ends_with(format!("{file}.rs")) || path.ends_with(format!("{file}/tests.rs"));
        let text = || fs::read_to_string(&path).unwrap_or_default();
        path.is_dir() && holds(&path, file, test) || is_file && text().contains(&format!("fn {test}("))
    })
}

#[test]
fn every_test_that_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rows: Vec<&str> =
        include_str!("../../README.md").lines().filter(|line| line.starts_with("| ")).collect();
    let mut named = 0;
    for name in rows.iter().flat_map(|row| row.split('`')) {
        let [member, file, test] = name.split("::").collect::<Vec<_>>()[..] else { continue };
        let found = ["src", "tests"].iter().any(|dir| holds(&root.join(member).join(dir), file, test));
        assert!(found, "{name}");
        named += 1;
    }
    assert!(named > 60, "{named}");
}
