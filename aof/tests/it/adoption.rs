//! Starting on what is there: nothing, a log, a single-file log of an older server, or a contradiction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aof::fs::{Disk, Mem};
use aof::{Directory, Error, Fsync, Options};

use crate::world::{eio, load, options, path, plain, request, start, turn};

#[test]
fn an_empty_place_stays_empty_until_the_log_starts_and_then_looks_as_redis_leaves_it() {
    let mem = Mem::new();
    let options = plain(Fsync::Always);
    let (commands, report) = load(&mem, &options).unwrap();
    assert!(commands.is_empty() && report == aof::Report::default());
    assert_eq!(format!("{mem:?}"), "Mem { files: [] }");

    start(mem.clone(), &options).stop().unwrap();
    let manifest =
        b"file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(mem.bytes(&path("appendonly.aof.manifest")).unwrap(), manifest);
    assert_eq!(mem.bytes(&path("appendonly.aof.1.base.aof")).unwrap(), b"");
    assert_eq!(mem.power_cut().bytes(&path("appendonly.aof.1.incr.aof")).unwrap(), b"", "named durably");
}

#[test]
fn a_restart_goes_on_in_the_last_incr_and_leaves_the_manifest_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { timestamps: true, checksum: false, ..Options::new(dir.path()) };
    for n in 0..3 {
        let mut log = start(Disk, &options);
        turn(&mut log, &[("k", n)]);
        log.stop().unwrap();
    }
    let incr = std::fs::read_to_string(options.dir.join("appendonly.aof.1.incr.aof")).unwrap();
    let session = |n| {
        let select = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
        format!("#TS:1700000000\r\n{select}*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n{n}\r\n")
    };
    assert_eq!(incr, [session(0), session(1), session(2)].concat());
    assert_eq!(std::fs::read_dir(&options.dir).unwrap().count(), 3);
}

#[test]
fn a_single_file_log_is_moved_in_whatever_call_the_first_attempts_die_at() {
    let single = [&request(&["SET", "old", "1"])[..], &request(&["SET", "old", "2"])].concat();
    let options = options(Fsync::Everysec);
    for fail_at in 0.. {
        let mem = Mem::new();
        mem.put("/data/appendonly.aof".as_ref(), &single);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        mem.fail_with(move |_, _| (counted.fetch_add(1, Ordering::Relaxed) == fail_at).then(eio).flatten());
        let outcome = Directory::open(Arc::new(mem.clone()), &options).map(drop);
        for image in [mem.kill(), mem.power_cut()] {
            let (commands, _) = load(&image, &options).unwrap();
            assert_eq!(commands, ["0:SET old 1", "0:SET old 2"], "failed at call {fail_at}");
            assert!(image.bytes(&path("appendonly.aof")).is_some());
        }
        if calls.load(Ordering::Relaxed) <= fail_at {
            outcome.unwrap();
            break;
        }
    }
}

#[test]
fn a_single_file_log_with_a_torn_tail_is_moved_in_and_cut() {
    let mem = Mem::new();
    mem.put(
        "/data/appendonly.aof".as_ref(),
        &[&request(&["SET", "old", "1"])[..], b"*3\r\n$3\r\nSE"].concat(),
    );
    let (commands, report) = load(&mem, &options(Fsync::No)).unwrap();
    assert_eq!(commands, ["0:SET old 1"]);
    assert_eq!(report.truncated.unwrap().cut_bytes, 10);
}

#[test]
fn log_files_without_their_manifest_are_refused_not_restarted_empty() {
    for manifest in [None, Some(&b"# nothing\n"[..])] {
        let mem = Mem::new();
        mem.put(&path("appendonly.aof.3.incr.aof"), &request(&["SET", "k", "v"]));
        manifest.into_iter().for_each(|text| mem.put(&path("appendonly.aof.manifest"), text));
        let error = load(&mem, &options(Fsync::No)).unwrap_err();
        assert!(
            matches!(&error, Error::ManifestMissing { file, .. } if file == "appendonly.aof.3.incr.aof"),
            "{error}"
        );
    }
    let mem = Mem::new();
    mem.put(&path("appendonly.aof.3.incr.aof"), b"");
    mem.put(&path("unrelated"), b"data");
    load(&mem, &options(Fsync::No)).unwrap();
}

#[test]
fn a_listed_file_that_is_missing_is_named_in_redis_words_before_anything_is_replayed() {
    let mem = Mem::new();
    let manifest =
        b"file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    mem.put(&path("appendonly.aof.manifest"), manifest);
    mem.put(&path("appendonly.aof.1.base.aof"), &request(&["UNKNOWN"]));
    let text = load(&mem, &options(Fsync::No)).unwrap_err().to_string();
    assert!(
        text.contains("appendonly.aof.1.incr.aof ") && text.contains("No such file or directory"),
        "{text}"
    );
}

#[test]
fn an_rdb_base_is_handed_to_the_sink_and_refused_by_default() {
    let mem = Mem::new();
    mem.put(&path("appendonly.aof.manifest"), b"file appendonly.aof.1.base.rdb seq 1 type b\n");
    mem.put(&path("appendonly.aof.1.base.rdb"), b"REDIS0010rest");
    struct Commands;
    impl aof::Sink for Commands {
        fn command(&mut self, _: u32, _: &[&[u8]]) -> Result<(), aof::SinkError> {
            Ok(())
        }
    }
    let mut directory = Directory::open(Arc::new(mem.clone()), &options(Fsync::No)).unwrap();
    let text = directory.replay(&mut Commands, &options(Fsync::No)).unwrap_err().to_string();
    assert!(text.contains("appendonly.aof.1.base.rdb: RDB bases are not supported yet"), "{text}");
    drop(directory);

    struct Rdb(Vec<String>);
    impl aof::Sink for Rdb {
        fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), aof::SinkError> {
            self.0.push(format!("{db}:{}", String::from_utf8_lossy(argv[0])));
            Ok(())
        }
        fn base_rdb(
            &mut self,
            _: &std::path::Path,
            rdb: &mut (dyn std::io::BufRead + Send),
        ) -> Result<(), aof::SinkError> {
            let mut bytes = [0; 13];
            rdb.read_exact(&mut bytes).map_err(aof::SinkError::new)?;
            self.0.push(String::from_utf8_lossy(&bytes).into_owned());
            Ok(())
        }
    }
    // A preamble: commands follow.
    mem.put(
        &path("appendonly.aof.1.base.rdb"),
        &[b"REDIS0010rest", &request(&["PING"])[..], b"*1\r\n"].concat(),
    );
    let mut sink = Rdb(Vec::new());
    let mut directory = Directory::open(Arc::new(mem), &options(Fsync::No)).unwrap();
    let report = directory.replay(&mut sink, &options(Fsync::No)).unwrap();
    assert_eq!(sink.0, ["REDIS0010rest", "0:PING"]);
    assert_eq!(report.truncated.unwrap().offset_bytes, 13 + 14);
}

#[test]
fn leftovers_of_a_crash_go_and_history_goes_unless_it_is_to_stay() {
    for keep in [false, true] {
        let mem = Mem::new();
        let manifest =
            b"file appendonly.aof.1.base.aof seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        mem.put(&path("appendonly.aof.manifest"), manifest);
        for name in ["appendonly.aof.1.base.aof", "appendonly.aof.2.incr.aof", "temp-appendonly.aof.manifest"]
        {
            mem.put(&path(name), b"");
        }
        let options = Options { disable_auto_gc: keep, ..options(Fsync::No) };
        let log = start(mem.clone(), &options);
        log.stop().unwrap();
        assert!(mem.bytes(&path("temp-appendonly.aof.manifest")).is_none());
        assert_eq!(mem.bytes(&path("appendonly.aof.1.base.aof")).is_some(), keep);
        let text = mem.bytes(&path("appendonly.aof.manifest")).unwrap();
        assert_eq!(String::from_utf8(text).unwrap().contains("type h"), keep);
    }
}

/// An incr behind a torn base could never be read again.
#[test]
fn a_single_file_log_with_a_torn_tail_is_not_gone_on_with_before_there_is_room_for_a_copy_of_it() {
    let options = options(Fsync::Always);
    let mem = Mem::new();
    let whole = request(&["SET", "k", "1"]);
    mem.put("/data/appendonly.aof".as_ref(), &[&whole[..], b"*3\r\n$3\r\nSET\r\n$1\r\nk"].concat());
    drop(Directory::open(Arc::new(mem.clone()), &options).unwrap());
    mem.set_capacity(0);
    let error = load(&mem, &options).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(28)), "{error}");
    mem.set_capacity(1 << 20);
    for n in 2..4 {
        let mut log = start(mem.clone(), &options);
        turn(&mut log, &[("k", n)]);
        log.stop().unwrap();
    }
    assert_eq!(load(&mem, &options).unwrap().0, ["0:SET k 1", "0:SET k 2", "0:SET k 3"]);
}

#[test]
fn a_lock_is_that_of_a_directory_and_not_of_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let take = || aof::DirLock::take_or_make(&Disk, &options);
    let old = take().unwrap();
    assert!(old.is_on(&options.dir) && matches!(take(), Err(Error::InUse { .. })));
    std::fs::remove_dir(&options.dir).unwrap();
    assert!(!old.is_on(&options.dir));
    let new = take().unwrap();
    assert!(!old.is_on(&options.dir) && new.is_on(&options.dir));
}

#[test]
fn a_link_to_nowhere_is_no_directory_to_lock() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    std::os::unix::fs::symlink(dir.path().join("unmounted"), &options.dir).unwrap();
    let error = aof::DirLock::take_or_make(&Disk, &options).unwrap_err();
    assert!(error.to_string().contains("appendonlydir"), "{error}");
}
