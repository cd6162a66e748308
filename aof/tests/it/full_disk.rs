//! A disk that fills up: it is known before a write, what was written stays, and nobody has to restart anything.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aof::fs::Mem;
use aof::space::FIRST_MARK_BYTES;
use aof::{Directory, Fs, Fsync, Health, Log, Op};

use crate::world::{Recorder, load, options, path, request, start, stepped, turn, until};

const MIB: u64 = 1024 * 1024;

fn free(mem: &Mem) -> u64 {
    mem.free_bytes(Path::new("/data")).unwrap()
}

/// Fills the disk but for what is reserved.
fn fill(mem: &Mem) {
    let (free, file) = (free(mem), mem.create(&path("other")).unwrap());
    file.reserve(0, free).unwrap();
}

fn clear(mem: &Mem) {
    mem.remove(&path("other")).unwrap();
}

fn big_turn(log: &mut Log, value: &str) -> u64 {
    let command = request(&["SET", "big", value]);
    let position = log.append(0, &[Op { db: 0, command: &command }]);
    log.seal(Instant::now());
    position
}

#[test]
fn a_full_disk_is_known_before_a_write_and_its_end_too() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        mem.set_capacity(8 * MIB);
        let mut log = start(mem.clone(), &options(fsync));
        assert_eq!((log.health(), log.room_bytes()), (Health::Healthy, u64::MAX));
        fill(&mem);
        let value = "v".repeat(10_000);
        let mut written = 0;
        while log.room_bytes() >= FIRST_MARK_BYTES {
            let position = big_turn(&mut log, &value);
            written += 1;
            until("written", || log.written() >= position);
        }
        let Health::Full(shortage) = log.health() else { panic!("{:?}", log.health()) };
        assert_eq!((shortage.errno, shortage.op), (Some(28), "fallocate"));
        assert!((10..100).contains(&written), "{written} writes into a reserve of a megabyte");
        assert_eq!(log.stats(Instant::now()).retired_files, 0);
        clear(&mem);
        until("there is room", || log.room_bytes() == u64::MAX);
        assert_eq!(log.health(), Health::Healthy);
        big_turn(&mut log, &value);
        log.stop().unwrap();
        assert_eq!(load(&mem, &options(fsync)).unwrap().0.len(), written + 1, "{fsync:?}");
    }
}

#[test]
fn what_is_larger_than_all_that_was_reserved_is_held_and_not_lost() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        mem.set_capacity(2 * MIB);
        let mut log = start(mem.clone(), &options(fsync));
        let first = turn(&mut log, &[("k", 0)]);
        until("safe", || log.reply_watermark() >= first);
        let position = big_turn(&mut log, &"v".repeat(3 * MIB as usize));
        until("failing", || matches!(log.health(), Health::Failing(_)));
        assert_eq!((log.room_bytes(), log.reply_watermark()), (0, first));
        until("half of a block takes no room", || free(&mem) > MIB);
        assert_eq!(load(&mem.kill(), &options(fsync)).unwrap().0, ["0:SET k 0"]);
        mem.set_capacity(16 * MIB);
        until("safe", || log.reply_watermark() >= position);
        log.stop().unwrap();
        assert_eq!(load(&mem, &options(fsync)).unwrap().0.len(), 2, "{fsync:?}");
    }
}

/// By the log's own clock, which only the test moves: how busy the machine is does not matter.
#[test]
fn within_a_second_of_space_returning_all_is_as_before() {
    for (fsync, value_bytes) in [10_000, 12 << 20]
        .into_iter()
        .flat_map(|bytes| [Fsync::Always, Fsync::Everysec, Fsync::No].map(|fsync| (fsync, bytes)))
    {
        let mem = Mem::new();
        mem.set_capacity(8 * MIB);
        let (mut log, steps) = stepped(mem.clone(), &options(fsync));
        let settle = || while steps.write() || steps.begin_sync() && steps.end_sync() {};
        fill(&mem);
        let command = request(&["SET", "big", &"v".repeat(value_bytes)]);
        while log.room_bytes() >= FIRST_MARK_BYTES {
            log.append(0, &[Op { db: 0, command: &command }]);
            log.seal(steps.now());
            settle();
        }
        assert_ne!(log.health(), Health::Healthy);
        mem.set_capacity(64 * MIB);
        settle();
        assert_ne!(log.health(), Health::Healthy, "{fsync:?}: nobody asks again at once");
        steps.advance_ms(1000);
        settle();
        assert_eq!(
            (log.health(), log.room_bytes()),
            (Health::Healthy, u64::MAX),
            "{fsync:?}, {value_bytes} bytes"
        );
        assert_eq!(log.reply_watermark(), log.end(), "{fsync:?}, {value_bytes} bytes");
    }
}

#[test]
fn a_stop_on_a_full_disk_says_how_far_all_is_durable() {
    let mem = Mem::new();
    mem.set_capacity(2 * MIB);
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let first = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= first);
    big_turn(&mut log, &"v".repeat(3 * MIB as usize));
    let error = log.stop().unwrap_err();
    assert!(matches!(error, aof::Error::FileRetired { durable, .. } if durable == first), "{error}");
}

#[test]
fn reserved_space_is_given_back_by_a_rotation_and_by_a_stop() {
    let mem = Mem::new();
    mem.set_capacity(64 * MIB);
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    let reserved_bytes = log.stats(Instant::now()).reserved_bytes;
    assert_eq!(reserved_bytes, 4 * MIB);
    assert_eq!(mem.len_bytes(&path("appendonly.aof.1.incr.aof")).unwrap(), 0, "nobody sees it");
    turn(&mut log, &[("k", 0)]);
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    let covers = log.switch();
    until("durable", || log.durable() >= covers);
    until("the next file has space", || {
        let stats = log.stats(Instant::now());
        stats.reserved_bytes > 0 && free(&mem) == 64 * MIB - stats.reserved_bytes - bytes(&mem)
    });
    log.stop().unwrap();
    assert_eq!(free(&mem), 64 * MIB - bytes(&mem));
}

/// The length of all files.
fn bytes(mem: &Mem) -> u64 {
    let names = mem.list(Path::new("/data/appendonlydir")).unwrap();
    names.iter().map(|name| mem.len_bytes(&path(name)).unwrap_or(0)).sum()
}

#[test]
fn a_start_on_a_full_disk_reads_and_cuts_a_torn_tail_once_there_is_room_for_its_copy() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let position = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() >= position);
    log.stop().unwrap();
    let file = path("appendonly.aof.1.incr.aof");
    let whole = mem.bytes(&file).unwrap();
    let torn = b"*3\r\n$3\r\nSET\r\n$1\r\nk";
    mem.put(&file, &[&whole, &torn[..]].concat());
    mem.set_capacity(0);

    let options = options(Fsync::Always);
    let mut directory = Directory::open(Arc::new(mem.clone()), &options).unwrap();
    let mut recorder = Recorder::default();
    let report = directory.replay(&mut recorder, &options).unwrap();
    assert_eq!(recorder.commands, ["0:SET k 0"]);
    assert_eq!(report.truncated.unwrap().side_file.unwrap_err().errno, Some(28));
    let mut log = Log::start(directory, &options, Box::new(|| {})).unwrap();
    assert!(matches!(log.health(), Health::Failing(_)));
    assert_eq!(log.room_bytes(), 0);
    assert_eq!(mem.bytes(&file).unwrap().len(), whole.len() + torn.len(), "no byte goes without a copy");

    mem.set_capacity(16 * MIB);
    until("there is room", || log.room_bytes() == u64::MAX);
    let position = turn(&mut log, &[("k", 1)]);
    until("durable", || log.durable() >= position);
    log.stop().unwrap();
    assert_eq!(mem.bytes(&file).unwrap(), whole);
    let copy = path(&format!("appendonly.aof.1.incr.aof.torn-{}", whole.len()));
    assert_eq!(mem.bytes(&copy).unwrap(), torn);
    assert_eq!(load(&mem, &options).unwrap().0, ["0:SET k 0", "0:SET k 1"]);
}
