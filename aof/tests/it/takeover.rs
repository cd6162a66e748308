//! A failed file, and the one that takes over: under `everysec`, a kill -9 between the cut of the old file and the
//! manifest with the new one once lost what had been acknowledged. Now the new file says where the old one ends.

use std::time::Instant;

use aof::block::{FilePoint, Head, IncrHead, Line};
use aof::fs::{Call, Mem};
use aof::{Error, Fsync, Health, Log, Repeated};

use crate::corruption::quarantine;
use crate::stepping::{Stepper, Turns};
use crate::world::{eio, load, options, path, plain, request, start, turn, until};

const FIRST: &str = "appendonly.aof.1.incr.aof";
const SECOND: &str = "appendonly.aof.2.incr.aof";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rotation {
    None,
    /// The next file is there.
    Ready,
    /// And is to take over, once the failing one is durable.
    Pending,
}

/// What a server that skips every `#` line would make of it.
fn as_stock(image: &Mem) -> Mem {
    let stock = image.kill();
    for n in 1..=9 {
        for role in ["base", "incr"] {
            let name = path(&format!("appendonly.aof.{n}.{role}.aof"));
            let Some(bytes) = stock.bytes(&name) else { continue };
            let text = String::from_utf8(bytes).unwrap();
            stock.put(&name, text.replace("#EV1", "#SKIP").as_bytes());
        }
    }
    stock
}

fn take_over(fsync: Fsync, fault: Call, rotation: Rotation) {
    let context = format!("{fsync:?}, failed {fault:?}, {rotation:?}");
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(fsync));
    let mut turns = Turns::default();
    turns.ends.push(turn(&mut log, &[("k", 0)]));
    let durable = log.sync_now();
    until("durable", || log.durable() >= durable);
    turns.ends.push(turn(&mut log, &[("k", 1)]));
    until("acknowledged", || log.reply_watermark() >= log.end());
    if rotation != Rotation::None {
        log.begin_rotation().unwrap();
        until("rotation", || log.rotation_ready().is_some());
        // What it kicked off is over.
        until("synced", || log.durable() >= log.end());
    }
    let stepper = Stepper::new(&mem, &mut log);
    turns.ends.push(turn(&mut log, &[("k", 2)]));
    stepper.until(
        &mut log,
        |log| fault == Call::Write || fsync == Fsync::Always || log.written() == log.end(),
        |_, _, _| None,
    );
    if fault == Call::SyncData {
        log.sync_now();
    }
    if rotation == Rotation::Pending {
        log.switch();
        turns.ends.push(turn(&mut log, &[("k", 3)]));
    }
    let mut calls = Vec::new();
    stepper.until(
        &mut log,
        |log| {
            let safe = fault == Call::Write
                || log.durable() == log.end()
                || log.stats(Instant::now()).lost_below.is_some();
            log.stats(Instant::now()).retired_files == 1
                && log.health() == Health::Healthy
                && log.written() == log.end()
                && safe
        },
        |log, call, _| {
            let images = turns.judge(&mem, log, fsync, &format!("{context}, after {calls:?}"));
            images.iter().for_each(|image| goes_on(image, fsync, &context));
            let first = calls.iter().all(|(_, failed)| !failed) && call == fault;
            calls.push((call, first));
            turns.sync_failed.set(turns.sync_failed.get() || first && call == Call::SyncData);
            first.then(eio).flatten()
        },
    );
    let of = |kind| calls.iter().position(|&(call, _)| call == kind).expect("it is part of a take-over");
    assert!(of(Call::Create) < of(Call::SyncDir) && of(Call::SyncDir) < of(Call::Rename), "{calls:?}");
    assert!(of(Call::Rename) < of(Call::Truncate), "{context}: {calls:?}");
    turns.judge(&mem, &log, fsync, &context);
    let all = load(&mem.kill(), &options(fsync)).unwrap().0;
    assert_eq!(load(&as_stock(&mem), &options(fsync)).unwrap().0, all, "{context}");
    drop(stepper);
    let lossy = fsync == Fsync::No && fault == Call::SyncData;
    assert_eq!(log.stop().is_err(), lossy, "{context}");
}

/// What a start found, a second start finds again, and so does a stock server; what is appended then follows it.
fn goes_on(image: &Mem, fsync: Fsync, context: &str) {
    let options = options(fsync);
    let Ok((mut commands, _)) = load(image, &options) else { return };
    let (again, report) = load(image, &options).unwrap();
    assert_eq!((&again, &report.repeated), (&commands, &Vec::new()), "{context}");
    assert_eq!(load(&as_stock(image), &options).unwrap().0, commands, "{context}");
    let mut log = start(image.clone(), &options);
    turn(&mut log, &[("after", 1)]);
    log.stop().unwrap();
    commands.push("0:SET after 1".to_owned());
    assert_eq!(load(image, &options).unwrap().0, commands, "{context}");
}

#[test]
fn a_crash_before_any_call_of_a_take_over_loses_and_repeats_nothing() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        for fault in [Call::Write, Call::SyncData] {
            for rotation in [Rotation::None, Rotation::Ready, Rotation::Pending] {
                take_over(fsync, fault, rotation);
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_cut_holds_no_reply_and_the_next_start_cuts_it() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &plain(Fsync::Always));
    let first = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= first);
    mem.fail_with(|call, path| {
        let old = path.to_string_lossy().ends_with(FIRST);
        (old && matches!(call, Call::SyncData | Call::Truncate)).then(eio).flatten()
    });
    turn(&mut log, &[("k", 1)]);
    until("recovered", || log.durable() == log.end());
    assert_eq!(log.health(), Health::Healthy);
    let before = mem.bytes(&path(FIRST)).unwrap();

    // It is no reason not to start either.
    let (commands, report) = load(&mem, &plain(Fsync::Always)).unwrap();
    assert_eq!(commands, ["0:SET k 0", "0:SET k 1"]);
    let left = Repeated {
        path: path(FIRST),
        offset_bytes: first,
        repeated_bytes: before.len() as u64 - first,
        side_file: None,
    };
    assert_eq!(report.repeated, [left]);
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), before);

    mem.heal();
    let (commands, report) = load(&mem, &plain(Fsync::Always)).unwrap();
    assert_eq!(commands, ["0:SET k 0", "0:SET k 1"]);
    let side_file = report.repeated[0].side_file.clone().unwrap();
    assert_eq!(mem.bytes(&side_file).unwrap(), before[first as usize..], "no byte goes without a copy");
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), before[..first as usize]);
    assert_eq!(report.bytes, load(&mem, &plain(Fsync::Always)).unwrap().1.bytes);
    log.stop().unwrap();
}

/// `SET k 0` in the first incr, and `SET k 1` in the second, which took over from it.
fn taken_over() -> (Mem, u64) {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let first = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= first);
    fail_next_sync(&mem, &mut log, 1);
    log.stop().unwrap();
    (mem, first)
}

/// The turn `SET k n` retires its file.
fn fail_next_sync(mem: &Mem, log: &mut Log, n: u64) {
    let mut hit = false;
    mem.fail_with(move |call, _| {
        let fails = !hit && call == Call::SyncData;
        hit |= fails;
        fails.then(eio).flatten()
    });
    turn(log, &[("k", n)]);
    until("durable", || log.durable() == log.end());
    mem.heal();
}

#[test]
fn the_file_that_took_over_says_where_the_old_one_ends() {
    let (mem, first) = taken_over();
    let (old, new) = (mem.bytes(&path(FIRST)).unwrap(), mem.bytes(&path(SECOND)).unwrap());
    let head = new.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let line = Line::parse(&new[..head], None).unwrap();
    let Some(Head::Incr(IncrHead { seq: 2, base: 1, moved_bytes: Some(moved), behind, .. })) = line.head
    else {
        panic!("{line:?}")
    };
    assert_eq!(behind, Some((1, FilePoint::default().after(&old))));
    let set = request(&["SET", "k", "1"]);
    assert_eq!((line.position, line.payload_bytes, moved), (first, 23, set.len() as u64));
    assert!(new[head..].starts_with(&request(&["SELECT", "0"])));
}

#[test]
fn a_file_shorter_than_its_successor_says_is_refused_with_both_lengths() {
    let (mem, _) = taken_over();
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    for len in 0..bytes.len() {
        mem.put(&path(FIRST), &bytes[..len]);
        let error = load(&mem, &options(Fsync::Always)).unwrap_err();
        let text = error.to_string();
        let Error::Corrupt { damage, .. } = error else { panic!("{text}") };
        let missing = (bytes.len() - len) as u64;
        assert_eq!((damage.path, damage.offset_bytes, damage.len_bytes), (path(FIRST), len as u64, missing));
        assert!(text.contains(&format!("{FIRST}: {missing} bytes at offset {len} are damaged")), "{text}");
        assert!(text.contains(&format!("ends at byte {}, says {SECOND}", bytes.len())), "{text}");
        assert!(
            text.contains("everlog-check-aof repair /data/appendonlydir/appendonly.aof.manifest"),
            "{text}"
        );
        assert_eq!(mem.bytes(&path(FIRST)).unwrap(), &bytes[..len], "nothing is cut");
        // What is left loads where that is wanted; of what is gone there is nothing to copy.
        let (commands, report) = load(&mem.kill(), &quarantine()).unwrap();
        assert_eq!(commands.last().unwrap(), "0:SET k 1");
        let place = report.quarantined.iter().find(|place| place.damage.len_bytes == missing).unwrap();
        assert_eq!((place.damage.offset_bytes, &place.side_file), (len as u64, &None));
    }
}

#[test]
fn whatever_stands_behind_the_stated_end_is_neither_executed_nor_believed() {
    for behind in
        [&b"*3\r\n$3\r\nSE"[..], b"garbage", &[0; 100], b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$7\r\nUNKNOWN\r\n"]
    {
        let (mem, _) = taken_over();
        let bytes = mem.bytes(&path(FIRST)).unwrap();
        mem.put(&path(FIRST), &[&bytes[..], behind].concat());
        let (commands, report) = load(&mem, &options(Fsync::Always)).unwrap();
        assert_eq!(commands, ["0:SET k 0", "0:SET k 1"]);
        assert_eq!((report.truncated, report.repeated[0].repeated_bytes), (None, behind.len() as u64));
        assert_eq!(mem.bytes(&path(FIRST)).unwrap(), bytes);
    }
}

#[test]
fn nothing_is_cut_where_a_later_file_is_refused() {
    let (mem, _) = taken_over();
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    mem.put(&path(FIRST), &[&bytes[..], b"more"].concat());
    let mut bytes = mem.bytes(&path(SECOND)).unwrap();
    let value = bytes.windows(6).position(|window| window == b"$1\r\n1\r").unwrap();
    bytes[value + 4] ^= 1;
    mem.put(&path(SECOND), &bytes);
    let before = mem.bytes(&path(FIRST)).unwrap();
    assert!(matches!(load(&mem, &options(Fsync::Always)), Err(Error::Corrupt { .. })));
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), before);
}

#[test]
fn an_end_inside_a_block_is_damage_not_a_torn_tail() {
    let (mem, _) = taken_over();
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    // One digit longer, and so is every boundary after it.
    let text =
        String::from_utf8(bytes.clone()).unwrap().replace("$1\r\nk", "$2\r\nkk") + "*1\r\n$4\r\nPING\r\n";
    mem.put(&path(FIRST), text.as_bytes());
    let error = load(&mem, &options(Fsync::Always)).unwrap_err();
    let Error::Corrupt { damage, .. } = error else { panic!("{error}") };
    assert!(damage.offset_bytes < bytes.len() as u64);
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), text.as_bytes());
}

#[test]
fn a_garbled_head_is_refused_and_nothing_is_cut() {
    let (mem, _) = taken_over();
    let (first, second) = (mem.bytes(&path(FIRST)).unwrap(), mem.bytes(&path(SECOND)).unwrap());
    let line = second.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for at in 0..line {
        let mut bytes = second.clone();
        bytes[at] ^= 1;
        mem.put(&path(SECOND), &bytes);
        let error = load(&mem, &options(Fsync::Always)).unwrap_err();
        let Error::Corrupt { damage, .. } = error else { panic!("{at}: {error}") };
        assert_eq!((damage.path, damage.offset_bytes), (path(SECOND), 0));
        assert_eq!((mem.bytes(&path(FIRST)), mem.bytes(&path(SECOND))), (Some(first.clone()), Some(bytes)));
    }
}

/// Name, number and type of a file, as the manifest has them.
type Listed = (&'static str, u64, char);

fn list(mem: &Mem, files: &[Listed]) {
    let lines = files.iter().map(|(name, seq, role)| format!("file {name} seq {seq} type {role}\n"));
    mem.put(&path("appendonly.aof.manifest"), lines.collect::<String>().as_bytes());
}

#[test]
fn a_successor_of_another_file_than_the_listed_one_is_refused() {
    let (base, other) = ("appendonly.aof.1.base.aof", "appendonly.aof.0.incr.aof");
    let (mem, _) = taken_over();
    mem.put(&path(other), &request(&["SET", "other", "1"]));
    list(&mem, &[(base, 1, 'b'), (other, 1, 'i'), (SECOND, 2, 'i')]);
    let error = load(&mem, &options(Fsync::Always)).unwrap_err();
    let text = error.to_string();
    let Error::Corrupt { damage, .. } = error else { panic!("{text}") };
    assert_eq!((damage.path, damage.offset_bytes), (path(other), 31), "{text}");
    assert!(text.contains(SECOND), "{text}");
}

#[test]
fn an_empty_file_may_stand_between_the_two() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let first = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= first);
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    fail_next_sync(&mem, &mut log, 1);
    log.stop().unwrap();
    assert!(mem.bytes(&path(SECOND)).unwrap().is_empty(), "the rotation's file was passed over");
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET k 0", "0:SET k 1"]);
}

#[test]
fn take_overs_in_a_row_form_a_chain() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    for n in 0..6 {
        fail_next_sync(&mem, &mut log, n);
    }
    log.stop().unwrap();
    let expected: Vec<String> = (0..6).map(|n| format!("0:SET k {n}")).collect();
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, expected);
    assert_eq!(load(&as_stock(&mem), &options(Fsync::Always)).unwrap().0, expected);
    // A restart goes on in the last of them.
    let mut log = start(mem.clone(), &options(Fsync::Always));
    fail_next_sync(&mem, &mut log, 6);
    log.stop().unwrap();
    assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0.len(), 7);
}

#[test]
fn a_file_that_takes_over_while_nothing_is_in_memory_knows_the_database() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::No));
    let ping = request(&["PING"]);
    let append = |log: &mut Log| {
        log.append(0, &[aof::Op { db: 5, command: &ping }]);
        log.seal(Instant::now());
        until("written", || log.written() == log.end());
    };
    append(&mut log);
    mem.fail_with(|call, path| {
        let old = path.to_string_lossy().ends_with(FIRST);
        (old && call == Call::SyncData).then(eio).flatten()
    });
    log.sync_now();
    until("retired", || log.stats(Instant::now()).lost_below.is_some());
    append(&mut log);
    drop(log);
    assert_eq!(load(&mem.kill(), &options(Fsync::No)).unwrap().0, ["5:PING"; 2]);
}
