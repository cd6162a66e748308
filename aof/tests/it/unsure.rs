//! What the kernel shows and the disk does not have: after an fdatasync that failed, and in a file that has lost its name.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aof::fs::{Call, Disk, Mem};
use aof::{BaseFormat, Directory, Error, Executed, Fs, Fsync, Health, Log, NewBase};

use crate::corruption::rotate;
use crate::world::{Recorder, TEMP, eio, load, options, path, plain, request, start, turn, until};

const FIRST: &str = "appendonly.aof.1.incr.aof";
const SECOND: &str = "appendonly.aof.2.incr.aof";

fn publish_empty_base(mem: &Mem, log: &mut Log) {
    let covers = rotate(log);
    mem.put(TEMP.as_ref(), &request(&["SELECT", "0"]));
    log.publish_base(NewBase { temp_path: TEMP.into(), format: BaseFormat::Resp, covers, len_bytes: 0 });
    until("published", || log.base_published().is_some_and(|outcome| outcome.is_ok()));
}

/// The killed process knew that its fdatasync had failed; the next one sees clean pages, and its own fdatasync succeeds
/// without them.
#[test]
fn what_an_fsync_failed_for_before_a_kill_is_written_again_before_it_counts() {
    for fsync in [Fsync::Always, Fsync::Everysec] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        turn(&mut log, &[("k", 0)]);
        log.sync_now();
        until("durable", || log.durable() == log.end());
        mem.fail_with(|call, _| matches!(call, Call::SyncData | Call::Create).then(eio).flatten());
        turn(&mut log, &[("k", 1)]);
        log.sync_now();
        until(
            "it cannot be saved",
            || matches!(log.health(), Health::Failing(failure) if failure.op == "create"),
        );
        let killed = mem.kill();
        drop(log);
        assert_eq!(
            load(&killed.power_cut(), &options(fsync)).unwrap().0,
            ["0:SET k 0"],
            "the disk has no more"
        );
        let second = start(killed.clone(), &options(fsync));
        assert_eq!(
            load(&killed.power_cut(), &options(fsync)).unwrap().0,
            ["0:SET k 0", "0:SET k 1"],
            "{fsync:?}"
        );
        drop(second);
    }
}

#[test]
fn after_a_clean_end_nothing_but_its_last_line_is_written_again() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    for n in 0..50 {
        turn(&mut log, &[("k", n)]);
    }
    log.stop().unwrap();
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = calls.clone();
    mem.on_call(move |request| {
        seen.lock().unwrap().extend((request.call == Call::Overwrite).then_some(request.len_bytes));
        aof::fs::Verdict::Pass
    });
    start(mem.clone(), &options(Fsync::Always)).stop().unwrap();
    let bytes = calls.lock().unwrap().iter().sum::<usize>();
    assert!((1..100).contains(&bytes), "{bytes} bytes");
}

/// Under `no` memory has not kept what was written. The file that takes over says so, and a start goes on without.
#[test]
fn what_no_lost_to_a_failed_fsync_and_a_power_cut_is_named_and_stepped_over() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::No));
    turn(&mut log, &[("k", 0)]);
    log.sync_now();
    until("durable", || log.durable() == log.end());
    let durable = mem.bytes(&path(FIRST)).unwrap().len();
    turn(&mut log, &[("k", 1)]);
    turn(&mut log, &[("k", 2)]);
    until("written", || log.written() == log.end());
    mem.fail_with(|call, path| (path.ends_with(FIRST) && call == Call::SyncData).then(eio).flatten());
    log.sync_now();
    until("moved", || log.stats(Instant::now()).lost_below.is_some());
    turn(&mut log, &[("k", 3)]);
    log.sync_now();
    until("synced", || !mem.power_cut().bytes(&path(SECOND)).unwrap_or_default().is_empty());
    until("idle", || mem.power_cut().bytes(&path(SECOND)) == mem.bytes(&path(SECOND)));
    let whole = mem.bytes(&path(FIRST)).unwrap();
    drop(log);
    // Short, or with a hole; whole blocks behind a hole are used.
    let second = durable + (whole.len() - durable) / 2;
    let images: [(&[u8], usize, &[&str]); 4] = [
        (&whole[..durable], whole.len() - durable, &["0:SET k 0", "0:SET k 3"]),
        (&whole[..second], whole.len() - second, &["0:SET k 0", "0:SET k 1", "0:SET k 3"]),
        (
            &[&whole[..durable], &vec![0; whole.len() - durable][..]].concat(),
            whole.len() - durable,
            &["0:SET k 0", "0:SET k 3"],
        ),
        (
            &[&whole[..durable], &vec![0; second - durable][..], &whole[second..]].concat(),
            second - durable,
            &["0:SET k 0", "0:SET k 2", "0:SET k 3"],
        ),
    ];
    for (first, lost_bytes, expected) in images {
        let image = mem.power_cut();
        image.put(&path(FIRST), first);
        let (commands, report) = load(&image, &options(Fsync::No)).unwrap();
        assert_eq!(commands, expected);
        let places: u64 = report.quarantined.iter().map(|place| place.damage.len_bytes).sum();
        assert_eq!((places as usize, &report.quarantined[0].damage.path), (lost_bytes, &path(FIRST)));
        // What was durable is held to it.
        let mut damaged = first.to_vec();
        damaged[durable - 3] ^= 1;
        image.put(&path(FIRST), &damaged);
        let error = load(&image, &options(Fsync::No)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

/// Commands without blocks have no positions: what is left of them ends in the midst of one, in zeros, or has some in a value.
#[test]
fn what_no_lost_of_commands_without_blocks_is_stepped_over_too() {
    let (mem, options) = (Mem::new(), plain(Fsync::No));
    let mut log = start(mem.clone(), &options);
    turn(&mut log, &[("k", 0)]);
    log.sync_now();
    until("durable", || log.durable() == log.end());
    let durable = mem.bytes(&path(FIRST)).unwrap().len();
    turn(&mut log, &[("k", 1)]);
    until("written", || log.written() == log.end());
    let second = mem.bytes(&path(FIRST)).unwrap().len();
    turn(&mut log, &[("k", 2)]);
    until("written", || log.written() == log.end());
    mem.fail_with(|call, path| (path.ends_with(FIRST) && call == Call::SyncData).then(eio).flatten());
    log.sync_now();
    until("moved", || log.stats(Instant::now()).lost_below.is_some());
    turn(&mut log, &[("k", 3)]);
    log.sync_now();
    until("synced", || !mem.power_cut().bytes(&path(SECOND)).unwrap_or_default().is_empty());
    until("idle", || mem.power_cut().bytes(&path(SECOND)) == mem.bytes(&path(SECOND)));
    let whole = mem.bytes(&path(FIRST)).unwrap();
    drop(log);
    let found = |first: &[u8]| {
        let image = mem.power_cut();
        image.put(&path(FIRST), first);
        let (commands, report) = load(&image, &options).unwrap();
        assert!(report.quarantined.iter().all(|place| place.damage.path == path(FIRST)));
        assert_eq!((image.bytes(&path(FIRST)).unwrap(), report.truncated), (first.to_vec(), None));
        (commands, report.quarantined)
    };
    for len in durable..whole.len() {
        let zeros = vec![0; whole.len() - len];
        for fill in [&[][..], &zeros[..]] {
            let (commands, places) = found(&[&whole[..len], fill].concat());
            let kept = if len < second { 1 } else { 2 };
            let left = (0..kept).chain([3]).map(|n| format!("0:SET k {n}"));
            assert_eq!(commands, left.collect::<Vec<_>>(), "{len} bytes, and {} zeros", fill.len());
            assert!(!places.is_empty() && places.iter().all(|place| place.executed == Executed::Nothing));
        }
    }
    // The `1` of the second.
    let mut bytes = whole.clone();
    bytes[second - 3] = 0;
    let (commands, places) = found(&bytes);
    assert_eq!(commands, ["0:SET k 0", "0:SET k \0", "0:SET k 2", "0:SET k 3"]);
    assert_eq!((places.len(), places[0].executed), (1, Executed::All));
}

#[test]
fn a_live_file_that_is_removed_or_renamed_is_left_for_another_until_a_base_covers_it() {
    for renamed in [false, true] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Always));
        turn(&mut log, &[("k", 0)]);
        until("durable", || log.durable() == log.end());
        if renamed {
            mem.rename(&path(FIRST), &path("stolen")).unwrap();
            mem.put(&path(FIRST), b"somebody's");
        } else {
            mem.remove(&path(FIRST)).unwrap();
        }
        until("noticed", || {
            turn(&mut log, &[("k", 1)]);
            log.stats(Instant::now()).retired_files == 1
        });
        until("another", || mem.bytes(&path(SECOND)).is_some_and(|bytes| !bytes.is_empty()));
        until("a rewrite is due", || log.stats(Instant::now()).lost_below.is_some());
        let failure = log.stats(Instant::now()).last_failure.unwrap();
        assert_eq!((failure.op, failure.path), ("stat", path(FIRST)));
        assert_eq!(
            mem.bytes(&path(FIRST)),
            renamed.then(|| b"somebody's".to_vec()),
            "what has the name now is not ours to cut"
        );
        publish_empty_base(&mem, &mut log);
        turn(&mut log, &[("after", 1)]);
        until("durable", || log.durable() == log.end());
        assert_eq!(load(&mem.power_cut(), &options(Fsync::Always)).unwrap().0, ["0:SET after 1"]);
        assert_eq!(mem.bytes(&path("stolen")).is_some(), renamed);
        log.stop().unwrap();
    }
}

/// An idle log calls no fdatasync, and ended as if all were well.
#[test]
fn an_idle_log_whose_file_is_gone_notices_when_it_is_asked_or_stopped() {
    for is_asked in [true, false] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Everysec));
        turn(&mut log, &[("k", 0)]);
        log.drain();
        until("idle", || log.is_idle());
        assert!(!log.needs_base());
        mem.remove(&path(FIRST)).unwrap();
        if is_asked {
            assert!(log.needs_base());
            publish_empty_base(&mem, &mut log);
            until("covered", || !log.needs_base());
            log.stop().unwrap();
            load(&mem.power_cut(), &options(Fsync::Everysec)).unwrap();
        } else {
            let error = log.stop().unwrap_err();
            assert!(matches!(error, Error::FileRetired { op: "stat", .. }), "{error}");
        }
    }
}

#[test]
fn a_real_file_knows_whether_it_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let [name, other] = ["a", "b"].map(|name| dir.path().join(name));
    let file = Disk.create(&name).unwrap();
    assert!(file.is_named(&name).unwrap());
    Disk.rename(&name, &other).unwrap();
    assert!(!file.is_named(&name).unwrap() && file.is_named(&other).unwrap());
    Disk.create(&name).unwrap();
    assert!(!file.is_named(&name).unwrap(), "another one has it");
    Disk.remove(&other).unwrap();
    assert!(!file.is_named(&other).unwrap());
    std::fs::write(&name, b"0123456789").unwrap();
    Disk.overwrite(&name, 3, b"abc").unwrap();
    assert_eq!(std::fs::read(&name).unwrap(), b"012abc6789");
}

/// A disk that the kernel has made read-only, with a log on it and without one.
#[test]
fn a_start_on_a_read_only_disk_says_which_file_it_cannot_write_and_why() {
    let with_log = Mem::new();
    let mut log = start(with_log.clone(), &options(Fsync::Always));
    turn(&mut log, &[("k", 0)]);
    log.stop().unwrap();
    let expected = [
        (with_log, path("appendonly.aof.1.base.aof")),
        (Mem::new(), Path::new("/data/appendonlydir").into()),
    ];
    for (mem, expected) in expected {
        let has_dir = mem.list(&path("")).is_ok();
        mem.fail_with(move |call, _| {
            let reads = match call {
                Call::OpenRead | Call::Read | Call::Len | Call::List | Call::SyncDir | Call::SyncData => true,
                Call::CreateDir => has_dir,
                _ => false,
            };
            (!reads).then(|| io::Error::from_raw_os_error(30))
        });
        let mut directory = Directory::open(Arc::new(mem.clone()), &options(Fsync::Always)).unwrap();
        directory.replay(&mut Recorder::default(), &options(Fsync::Always)).unwrap();
        let error = Log::start(directory, &options(Fsync::Always), Box::new(|| {})).unwrap_err();
        let text = error.to_string();
        let Error::Io { path: file, source, .. } = error else { panic!("{text}") };
        assert_eq!((&file, source.raw_os_error()), (&expected, Some(30)), "{text}");
        assert!(text.contains(&*expected.to_string_lossy()) && text.contains("os error 30"), "{text}");
    }
}
