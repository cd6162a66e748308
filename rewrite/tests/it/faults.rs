//! Calls that fail: the rewrite fails, its file goes, the log goes on, and the next rewrite works.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aof::Options;
use aof::fs::{Call, Fs, Mem};
use keyspace::Random;
use rewrite::{Error, Rewrite};

use super::{KINDS, Kind, World, exists, load, manifest};

const TEMP: &str = "/d/appendonlydir/temp-rewriteaof-bg-7.aof";
const NO_SPACE: i32 = 28;

/// Small keys, and one value that is written apart from them, and that nothing compresses.
fn world_of(kind: Kind, big_bytes: usize) -> (Mem, World) {
    let mem = Mem::new();
    let mut world = World::new(Arc::new(mem.clone()), kind);
    for n in 0..100 {
        world.run_line(&format!("SET key{n} value{n}"));
    }
    let mut random = Random::new(1);
    let big: Vec<u8> = (0..big_bytes / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    world.run(1, &[b"SET", b"big", &big]);
    (mem, world)
}

/// Fails the nth call of a kind on a path that ends so, once.
fn fail_once(mem: &Mem, nth: u32, call: Call, suffix: &'static str, errno: i32) {
    let count = AtomicU32::new(0);
    mem.fail_with(move |now, path| {
        let is_it = now == call && path.to_string_lossy().ends_with(suffix);
        let fails = is_it && count.fetch_add(1, Ordering::Relaxed) == nth;
        fails.then(|| io::Error::from_raw_os_error(errno))
    });
}

/// Each would be as long as the data, and no rewrite takes its number.
fn unlisted_bases(mem: &Mem, options: &Options) -> Vec<String> {
    let listed = manifest(mem, options);
    let names = mem.list(&options.dir).expect("it is there").into_iter();
    names.filter(|name| name.contains(".base.") && !listed.contains(name.as_str())).collect()
}

/// As an RDB file and as commands.
fn in_both_formats<Row: Copy>(table: &[Row]) -> impl Iterator<Item = (Row, Kind)> {
    let with_checksums = KINDS.into_iter().filter(|kind| kind.checksum);
    with_checksums.flat_map(|kind| table.iter().map(move |&row| (row, kind)))
}

#[test]
fn a_call_that_fails_fails_the_rewrite_and_nothing_else() {
    // call, which one of its kind, on which file, and whether the base had its final name already
    let table = [
        (Call::Create, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::Write, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::Write, 2, "temp-rewriteaof-bg-7.aof"),
        (Call::SyncData, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::SyncData, 1, "temp-rewriteaof-bg-7.aof"),
        (Call::Rename, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::SyncDir, 2, "/d/appendonlydir"),
        // The manifest that lists the base may be durable: it stays.
        (Call::SyncDir, 3, "/d/appendonlydir"),
        (Call::Create, 0, "incr.aof"),
        (Call::SyncData, 0, "2.incr.aof"),
        // The manifest of step 1, and that of step 6.
        (Call::Create, 0, ".manifest"),
        (Call::Rename, 0, ".manifest"),
        (Call::Create, 1, ".manifest"),
        (Call::Write, 1, ".manifest"),
        (Call::SyncData, 1, ".manifest"),
        (Call::Rename, 1, ".manifest"),
    ];
    for ((call, nth, suffix), kind) in in_both_formats(&table) {
        let context = format!("{kind:?}, {call:?} {nth} of {suffix}");
        let is_second_sync = call == Call::SyncData && nth == 1 && suffix.starts_with("temp");
        let (mem, mut world) = world_of(kind, if is_second_sync { 5 << 20 } else { 300 << 10 });
        fail_once(&mem, nth, call, suffix, NO_SPACE);
        let rewrite = world.begin();
        let error = world.finish(rewrite, |world| world.run_line("INCR during")).expect_err(&context);
        assert!(matches!(error, Error::Io { .. } | Error::Log(_)), "{context}: {error}");
        assert!(error.to_string().contains("os error 28"), "{context}: {error}");
        assert!(!exists(&mem, Path::new(TEMP)), "{context}: the temporary file stays");
        mem.heal();
        assert_eq!(unlisted_bases(&mem, &world.options), [""; 0], "{context}");
        world.run_line("INCR after");
        world.settle();
        let cut = Arc::new(mem.power_cut());
        assert!(load(cut, &world.options).expect(&context) == world.dump(), "{context}");
        world.rewrite().unwrap_or_else(|error| panic!("the next one, after {context}: {error}"));
        world.run_line("INCR last");
        let expected = world.dump();
        world.stop();
        assert!(world.reload() == expected, "{context}");
        assert_eq!(manifest(&mem, &world.options).lines().count(), 2, "{context}");
    }
}

#[test]
fn an_interrupted_call_is_repeated() {
    for (call, kind) in in_both_formats(&[Call::Create, Call::Write, Call::SyncData]) {
        let (mem, mut world) = world_of(kind, 300 << 10);
        fail_once(&mem, 0, call, "temp-rewriteaof-bg-7.aof", 4);
        world.rewrite().unwrap_or_else(|error| panic!("{kind:?}, {call:?}: {error}"));
        let expected = world.dump();
        world.stop();
        assert!(world.reload() == expected, "{kind:?}, {call:?}");
    }
}

#[test]
fn the_temporary_file_is_synced_as_it_grows_if_told() {
    for ((incremental_fsync, expected), kind) in in_both_formats(&[(true, 3), (false, 1)]) {
        let (mem, mut world) = world_of(kind, 9 << 20);
        let syncs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&syncs);
        mem.fail_with(move |call, path| {
            let is_it = call == Call::SyncData && path == Path::new(TEMP);
            counted.fetch_add(u32::from(is_it), Ordering::Relaxed);
            None
        });
        let settings = rewrite::Settings { incremental_fsync, ..world.settings() };
        let wake = Arc::clone(&world.wake);
        let rewrite = Rewrite::begin(world.log(), settings, wake).expect("it begins");
        world.finish(rewrite, |_| {}).expect("it succeeds");
        assert_eq!(syncs.load(Ordering::Relaxed), expected, "{kind:?}, 9 MiB");
        world.stop();
    }
}

#[test]
fn a_rewrite_without_a_log_that_fails_leaves_the_old_data() {
    let table = [
        (Call::Create, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::SyncData, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::Rename, 0, "temp-rewriteaof-bg-7.aof"),
        (Call::OpenRead, 0, ".manifest"),
        (Call::Rename, 0, ".manifest"),
        (Call::Rename, 1, ".manifest"),
    ];
    for ((call, nth, suffix), kind) in in_both_formats(&table) {
        let context = format!("{kind:?}, {call:?} {nth} of {suffix}");
        let (mem, mut old) = world_of(kind, 300 << 10);
        old.stop();
        let mut world = World::without_log(Arc::new(mem.clone()), kind, Options::new("/d"));
        world.run_line("SET new v");
        fail_once(&mem, nth, call, suffix, NO_SPACE);
        let rewrite = world.begin_offline();
        world.finish(rewrite, |_| {}).expect_err(&context);
        mem.heal();
        assert!(!exists(&mem, Path::new(TEMP)), "{context}: the temporary file stays");
        assert!(load(Arc::new(mem.clone()), &world.options).expect(&context) == old.dump(), "{context}");
        assert!(!manifest(&mem, &world.options).contains(" type h"), "{context}: something is history");
        let bases = mem.list(&world.options.dir).expect(&context);
        assert_eq!(bases.iter().filter(|name| name.contains(".base.")).count(), 1, "{context}: {bases:?}");
        let rewrite = world.begin_offline();
        world.finish(rewrite, |_| {}).expect(&context);
        assert_eq!(load(Arc::new(mem), &world.options).expect(&context), world.dump(), "{context}");
    }
}

#[test]
fn a_log_that_is_gone_ends_the_rewrite() {
    let (mem, mut world) = world_of(KINDS[0], 300 << 10);
    let rewrite = world.begin();
    world.stop();
    let outcome = world.finish(rewrite, |_| {});
    assert!(matches!(outcome, Err(Error::LogStopped)));
    assert!(!exists(&mem, Path::new(TEMP)));
}
