//! Damage of every kind, everywhere: nothing that a checksum could have told is ever executed, what a crash explains is
//! cut, and what none explains is named. redis-server 7.0 loads most flipped bits of a value without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use aof::block::{Epoch, Head, IncrHead, Line, crc32c};
use aof::fs::{Call, Mem, Verdict};
use aof::{BaseFormat, BaseFrame, Error, Executed, Fsync, LoadCorrupt, Log, NewBase, Op, Options, Report};

use crate::bases::{a_log_behind_an_rdb, load_rdb, publish, rdb, started};
use crate::sim::Dice;
use crate::world::{TEMP, load, number, options, path, plain, request, soak, start, turn, until};

pub(crate) const MANIFEST: &str = "appendonly.aof.manifest";
const FIRST: &str = "appendonly.aof.1.incr.aof";
const BASE: &str = "appendonly.aof.1.base.aof";

pub(crate) fn quarantine() -> Options {
    Options { load_corrupt: LoadCorrupt::Quarantine, ..options(Fsync::Always) }
}

pub(crate) fn rotate(log: &mut Log) -> u64 {
    log.begin_rotation().unwrap();
    until("rotation", || log.rotation_ready().is_some());
    log.switch()
}

/// A base, two incrs, and a line that calls all of it durable.
pub(crate) fn a_log() -> Mem {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    for n in 0..3 {
        turn(&mut log, &[("k", n)]);
    }
    let covers = rotate(&mut log);
    let mut frame = BaseFrame::new(log.epoch(), covers, 1_700_000_000_000);
    let mut base = Vec::new();
    frame.head(&mut base);
    for payload in [&request(&["SET", "k", "2"])[..], &request(&["SET", "base", "x"])] {
        frame.block(Some(0), payload, &mut base);
        base.extend_from_slice(payload);
    }
    frame.head(&mut base);
    mem.put(TEMP.as_ref(), &base);
    let len_bytes = base.len() as u64;
    log.publish_base(NewBase { temp_path: TEMP.into(), format: BaseFormat::Resp, covers, len_bytes });
    until("published", || log.base_published().is_some());
    turn(&mut log, &[("k", 3), ("l", 3)]);
    turn(&mut log, &[("k", 4)]);
    rotate(&mut log);
    turn(&mut log, &[("k", 5)]);
    turn(&mut log, &[("m", 6), ("k", 6)]);
    log.stop().unwrap();
    mem
}

pub(crate) fn files(mem: &Mem) -> Vec<String> {
    let manifest = String::from_utf8(mem.bytes(&path(MANIFEST)).unwrap()).unwrap();
    let names = manifest.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned());
    names.chain([MANIFEST.to_owned()]).collect()
}

pub(crate) fn flipped(mem: &Mem, name: &str, bit: usize) -> Mem {
    let image = mem.kill();
    let mut bytes = image.bytes(&path(name)).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    image.put(&path(name), &bytes);
    image
}

/// A refusal names the damaged file and a place in it, which holds the byte: what the operator has to go by. What a
/// damaged manifest lists or lacks is another file's name mostly.
fn assert_is_named(error: &Error, name: &str, at: u64) {
    let text = error.to_string();
    if name == MANIFEST {
        return assert!(text.contains("/data/appendonlydir/"), "{text}");
    }
    let (file, from, to) = match error {
        Error::Corrupt { damage, .. } => {
            (&damage.path, damage.offset_bytes, damage.offset_bytes + damage.len_bytes)
        }
        Error::BadFormat { path, offset_bytes, .. } => (path, 0, offset_bytes + 1),
        Error::UnexpectedEnd { path, valid_len_bytes, .. } => (path, *valid_len_bytes, u64::MAX),
        _ => panic!("{name}, byte {at}: {text}"),
    };
    assert_eq!(file, &path(name), "byte {at}: {text}");
    assert!((from..to).contains(&at), "byte {at}: {text}");
}

/// What loads is what it was; or it lacks a tail, and says which.
fn assert_is_right(loaded: &(Vec<String>, Report), expected: &[String], name: &str, at: u64) {
    let (commands, report) = loaded;
    match &report.truncated {
        None => assert!(commands == expected, "{name}, byte {at}"),
        Some(cut) => {
            assert!(expected.starts_with(commands), "{name}, byte {at}");
            assert!(cut.path == path(name) && cut.offset_bytes <= at, "{name}, byte {at}: {cut:?}");
        }
    }
}

#[test]
fn no_flipped_bit_changes_what_is_loaded_and_the_damaged_block_is_named() {
    for mem in [a_log(), a_log_behind_an_rdb(&["a", "bc", "def"])] {
        let (expected, report) = load_rdb(&mem.kill(), &options(Fsync::Always)).unwrap();
        assert_eq!((expected.len() >= 5, report.unverified_bytes), (true, 0));
        for name in files(&mem) {
            let bytes = mem.bytes(&path(&name)).unwrap();
            for bit in 0..bytes.len() * 8 {
                let (image, at) = (flipped(&mem, &name, bit), (bit / 8) as u64);
                let damaged = image.bytes(&path(&name));
                match load_rdb(&image, &options(Fsync::Always)) {
                    Ok(loaded) => {
                        assert_is_right(&loaded, &expected, &name, at);
                        assert_eq!(loaded.0, expected, "{name}, bit {bit}: all of it was durable");
                    }
                    Err(error) => {
                        assert_is_named(&error, &name, at);
                        assert_eq!(image.bytes(&path(&name)), damaged, "nothing is cut");
                    }
                }
            }
        }
    }
}

/// A base and three incrs of half a megabyte each.
fn a_big_log(format: BaseFormat) -> Mem {
    let mem = Mem::new();
    let mut log = started(&mem);
    let set = |n: usize| request(&["SET", &format!("key:{n}"), &format!("{n:x}.").repeat(n % 1500)]);
    let covers = rotate(&mut log);
    let mut frame = BaseFrame::new(log.epoch(), covers, 1_700_000_000_000);
    let mut base = Vec::new();
    if format == BaseFormat::Rdb {
        let keys: Vec<String> = (100..2600).map(|n: usize| format!("{n}x").repeat(n % 50 + 1)).collect();
        base = rdb(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        frame.rdb_head(base.len() as u64, &mut base);
    } else {
        frame.head(&mut base);
        for n in 0..150 {
            frame.block(Some(0), &set(n * 7), &mut base);
            base.extend_from_slice(&set(n * 7));
        }
        frame.head(&mut base);
    }
    publish(&mem, &mut log, &base, format, covers);
    for file in 0..3 {
        for n in 0..150 {
            log.append(1_700_000_000_000, &[Op { db: file, command: &set(n * 11 + file as usize) }]);
            log.seal(Instant::now());
        }
        until("durable", || log.durable() == log.end());
        if file < 2 {
            rotate(&mut log);
        }
    }
    log.stop().unwrap();
    mem
}

#[test]
fn a_flipped_bit_anywhere_in_megabytes_is_never_loaded_as_something_else_and_is_named() {
    let seed = number("EVERLOG_SEED").unwrap_or(0x5eed);
    println!("EVERLOG_SEED={seed}");
    let mut dice = Dice(seed);
    let mut tried = 0;
    for mem in [a_big_log(BaseFormat::Resp), a_big_log(BaseFormat::Rdb)] {
        let (expected, _) = load_rdb(&mem.kill(), &options(Fsync::Always)).unwrap();
        let names = files(&mem);
        let sizes = names.iter().map(|name| mem.bytes(&path(name)).unwrap().len());
        let sizes: Vec<usize> = sizes.collect();
        assert!(sizes.iter().sum::<usize>() > 1_400_000, "{sizes:?}");
        for _ in 0..25 * soak() {
            let (mut bit, mut file) = (dice.below(sizes.iter().sum::<usize>() * 8), 0);
            while bit >= sizes[file] * 8 {
                (bit, file) = (bit - sizes[file] * 8, file + 1);
            }
            let (name, at) = (&names[file], (bit / 8) as u64);
            match load_rdb(&flipped(&mem, name, bit), &options(Fsync::Always)) {
                Ok(loaded) => assert_is_right(&loaded, &expected, name, at),
                Err(error) => assert_is_named(&error, name, at),
            }
            tried += 1;
        }
    }
    println!("tried: {tried} flipped bits");
}

/// A repair drops all of a block, and said of sixteen keys at most, up to the command that is damaged, that they are in it.
#[test]
fn every_key_of_a_damaged_block_is_named_but_what_is_damaged_itself() {
    let mem = Mem::new();
    let mut log = started(&mem);
    turn(&mut log, &[("before", 1)]);
    for n in 0..100 {
        log.append(0, &[Op { db: 0, command: &request(&["SET", &format!("key:{n}"), "value"]) }]);
    }
    // Each once, and nothing for what merely frames.
    log.append(
        0,
        &[
            Op { db: 0, command: &request(&["SET", "key:99", "again"]) },
            Op { db: 1, command: &request(&["SET", "a", "b"]) },
        ],
    );
    log.seal(Instant::now());
    turn(&mut log, &[("behind", 1)]);
    log.stop().unwrap();
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    let at = bytes.windows(6).position(|window| window == b"key:50").unwrap() - "$6\r\n".len();
    let error = load_rdb(&flipped(&mem, FIRST, at * 8), &options(Fsync::Always)).unwrap_err();
    let text = error.to_string();
    let Error::Corrupt { damage, .. } = error else { panic!("{text}") };
    let left = (0..100).filter(|n| *n != 50).map(|n| format!("key:{n}").into_bytes());
    assert_eq!(damage.keys, left.chain([b"a".to_vec()]).collect::<Vec<_>>());
    assert!(
        text.contains("keys that they name: key:0, key:1, ") && text.contains(", key:15 and 84 more. "),
        "{text}"
    );
}

#[test]
fn quarantine_drops_the_damaged_block_alone_and_keeps_a_copy() {
    let mem = a_log();
    let (expected, _) = load(&mem.kill(), &options(Fsync::Always)).unwrap();
    for name in files(&mem).iter().filter(|name| name.ends_with(".aof")) {
        let bytes = mem.bytes(&path(name)).unwrap();
        for bit in (0..bytes.len() * 8).step_by(3) {
            let image = flipped(&mem, name, bit);
            let (commands, report) = load(&image, &quarantine()).unwrap();
            let mut left = expected.iter();
            assert!(commands.iter().all(|command| left.any(|other| other == command)), "{name}, bit {bit}");
            assert!(commands.len() + 3 >= expected.len(), "{name}, bit {bit}: {commands:?}");
            let Some(place) = report.quarantined.first() else { continue };
            assert_eq!(place.executed, Executed::Nothing);
            let damage = &place.damage;
            let range = damage.offset_bytes as usize..(damage.offset_bytes + damage.len_bytes) as usize;
            let damaged = image.bytes(&path(name)).unwrap();
            assert_eq!(image.bytes(place.side_file.as_ref().unwrap()).unwrap(), damaged[range]);
            // It goes on, and the next start finds the same damage and one copy.
            let mut log = start(image.clone(), &quarantine());
            turn(&mut log, &[("new", 1)]);
            log.stop().unwrap();
            let (again, second) = load(&image, &quarantine()).unwrap();
            assert_eq!(again.last().unwrap(), "0:SET new 1");
            assert_eq!(again[..again.len() - 1], commands, "{name}, bit {bit}");
            assert_eq!(second.quarantined[0].side_file, place.side_file);
        }
    }
}

/// What was durable is damaged, and all behind it goes with it: that is what was asked for.
#[test]
fn a_damaged_block_near_the_end_is_cut_with_all_behind_it_if_the_operator_says_so() {
    let mem = a_log();
    let (expected, _) = load(&mem.kill(), &options(Fsync::Always)).unwrap();
    let [base, earlier, name, _] = &files(&mem)[..] else { panic!("a base and two incrs") };
    let len = mem.bytes(&path(name)).unwrap().len();
    let first = mem.bytes(&path(name)).unwrap().windows(3).position(|bytes| bytes == b"SET").unwrap();
    let image = flipped(&mem, name, (first + 1) * 8);
    let with = |max: usize| Options { load_corrupt_tail_max_bytes: max as u64, ..options(Fsync::Always) };
    let Err(Error::Corrupt { damage, .. }) = load(&image, &with(1)) else { panic!("it is too long") };
    let tail_bytes = len - damage.offset_bytes as usize;
    assert!(matches!(load(&image, &with(tail_bytes - 1)), Err(Error::Corrupt { .. })));
    assert_eq!(image.bytes(&path(name)).unwrap().len(), len);
    let (loaded, report) = load(&image, &with(tail_bytes)).unwrap();
    assert_eq!(loaded, expected[..expected.len() - 3]);
    let cut = report.truncated.unwrap();
    assert_eq!((cut.is_corrupt, cut.cut_bytes as usize), (true, tail_bytes));
    let mut log = start(image.clone(), &options(Fsync::Always));
    turn(&mut log, &[("k", 9)]);
    log.stop().unwrap();
    assert_eq!(load(&image, &options(Fsync::Always)).unwrap().0.last().unwrap(), "0:SET k 9");
    // Set aside by itself it leaves what stands behind it.
    let aside = Options { load_corrupt: LoadCorrupt::Quarantine, ..with(tail_bytes) };
    let (loaded, report) = load(&flipped(&mem, name, (first + 1) * 8), &aside).unwrap();
    assert_eq!((loaded.len(), report.truncated), (expected.len() - 1, None));
    // A file that is not the last is never cut.
    for name in [base, earlier] {
        let middle = mem.bytes(&path(name)).unwrap().len() / 2;
        assert!(load(&flipped(&mem, name, middle * 8), &with(1 << 30)).is_err(), "{name}");
    }
}

/// What is cut may come back: the log goes on where it ended, and there, too, a bit may rot.
#[test]
fn each_damaged_tail_that_is_cut_at_one_place_has_a_copy_of_its_own() {
    let mem = Mem::new();
    let options = Options { load_corrupt_tail_max_bytes: 1 << 20, ..options(Fsync::Always) };
    let mut log = start(mem.clone(), &options);
    turn(&mut log, &[("k", 0)]);
    log.stop().unwrap();
    let end = mem.bytes(&path(FIRST)).unwrap().len();
    let mut copies = Vec::new();
    for n in 1..4 {
        let mut log = start(mem.clone(), &options);
        turn(&mut log, &[("k", n)]);
        log.stop().unwrap();
        let image = flipped(&mem, FIRST, (end + 5) * 8);
        let damaged = image.bytes(&path(FIRST)).unwrap();
        mem.put(&path(FIRST), &damaged);
        let (commands, report) = load(&mem, &options).unwrap();
        assert_eq!(commands, ["0:SET k 0"]);
        let cut = report.truncated.unwrap();
        assert_eq!((cut.is_corrupt, cut.offset_bytes as usize), (true, end));
        copies.push((cut.side_file.unwrap(), damaged[end..].to_vec()));
    }
    for (copy, bytes) in &copies {
        assert_eq!((mem.bytes(copy).as_ref(), bytes.len()), (Some(bytes), copies[0].1.len()));
    }
}

#[test]
fn a_file_of_the_same_name_and_length_that_is_no_copy_of_the_damage_is_left_alone() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let position = turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() == position);
    let damaged = mem.bytes(&path(FIRST)).unwrap().len();
    turn(&mut log, &[("k", 1)]);
    log.stop().unwrap();
    let image = flipped(&mem, FIRST, (damaged + 5) * 8);
    let copy = |image: &Mem| load(image, &quarantine()).unwrap().1.quarantined[0].side_file.clone().unwrap();
    let first = copy(&image);
    let mut other = image.bytes(&first).unwrap();
    *other.last_mut().unwrap() ^= 1;
    image.put(&first, &other);
    let second = copy(&image);
    assert_ne!(first, second);
    assert_eq!(image.bytes(&first).unwrap(), other);
    assert_eq!(copy(&image), second, "each start meets it again");
}

/// Three turns that nothing calls durable, and the offsets behind each.
fn three_turns(fsync: Fsync, times_ms: [i64; 3]) -> (Mem, Vec<usize>) {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(fsync));
    let mut ends = Vec::new();
    for (n, time_ms) in times_ms.into_iter().enumerate() {
        log.append(time_ms, &[Op { db: 0, command: &request(&["SET", "k", &n.to_string()]) }]);
        log.seal(Instant::now());
        until("written", || log.written() == log.end());
        ends.push(mem.bytes(&path(FIRST)).unwrap().len());
    }
    (mem.kill(), ends)
}

#[test]
fn above_the_durable_mark_it_is_a_torn_tail_whatever_the_bytes() {
    let (mem, ends) = three_turns(Fsync::Everysec, [0, 1000, 2000]);
    let whole = mem.bytes(&path(FIRST)).unwrap();
    // Zeros, garbage and a hole before a block that can be read.
    for fill in [0, 0xff, b'*', b'#', b'\n'] {
        for end in [ends[1], ends[2]] {
            let image = mem.kill();
            let mut bytes = whole.clone();
            bytes[ends[0]..end].fill(fill);
            image.put(&path(FIRST), &bytes);
            let (commands, report) = load(&image, &options(Fsync::Everysec)).unwrap();
            assert_eq!(commands, ["0:SET k 0"]);
            let cut = report.truncated.unwrap();
            assert_eq!((cut.offset_bytes as usize, cut.cut_bytes as usize), (ends[0], whole.len() - ends[0]));
            assert_eq!(
                image.bytes(cut.side_file.as_ref().unwrap()).unwrap(),
                bytes[ends[0]..],
                "no byte goes without a copy"
            );
        }
    }
}

/// In the place of new blocks a power cut may leave what their sectors held before: blocks of this very log, its heads
/// too. They are sound, and were once refused as damage that no crash explains.
#[test]
fn an_old_sector_of_this_log_above_the_durable_mark_is_a_torn_tail() {
    let (mem, ends) = three_turns(Fsync::Everysec, [0, 1000, 2000]);
    let whole = mem.bytes(&path(FIRST)).unwrap();
    for (kept, old) in [(0, 0..ends[0]), (1, 0..ends[2]), (1, ends[0]..ends[1]), (2, ends[0]..ends[2])] {
        let image = mem.kill();
        image.put(&path(FIRST), &[&whole[..ends[kept]], &whole[old.clone()]].concat());
        let (commands, report) = load(&image, &options(Fsync::Everysec)).unwrap();
        assert_eq!(commands.len(), kept + 1, "{old:?}");
        let cut = report.truncated.unwrap();
        assert_eq!((cut.offset_bytes as usize, cut.cut_bytes as usize), (ends[kept], old.len()));
    }
}

#[test]
fn a_later_block_that_is_too_young_makes_it_corruption() {
    let (mem, ends) = three_turns(Fsync::No, [0, 1000, 60_001]);
    let mut bytes = mem.bytes(&path(FIRST)).unwrap();
    bytes[ends[0]..ends[1]].fill(0);
    mem.put(&path(FIRST), &bytes);
    let error = load(&mem, &options(Fsync::No)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

/// Under `no` nothing says that what was written before a quiet hour has long been durable; the damaged block itself says
/// when it was begun.
#[test]
fn a_torn_block_is_as_old_as_its_own_line_says() {
    let (mem, ends) = three_turns(Fsync::No, [0, 3_600_000, 3_600_001]);
    let mut bytes = mem.bytes(&path(FIRST)).unwrap();
    bytes[ends[1] - 5..ends[1]].fill(0);
    mem.put(&path(FIRST), &bytes);
    let (commands, report) = load(&mem, &options(Fsync::No)).unwrap();
    assert_eq!(commands.len(), 1);
    assert_eq!(report.truncated.unwrap().offset_bytes as usize, ends[0]);
}

/// How long ago the last durable turn was says nothing of the turns behind it, which one crash has torn.
#[test]
fn an_idle_hour_before_the_torn_turns_makes_it_no_corruption() {
    const HOUR_MS: i64 = 3_600_000;
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    let mut ends = Vec::new();
    for (n, time_ms) in [0, HOUR_MS, HOUR_MS + 1].into_iter().enumerate() {
        log.append(time_ms, &[Op { db: 0, command: &request(&["SET", "k", &n.to_string()]) }]);
        log.seal(Instant::now());
        until("written", || log.written() == log.end());
        ends.push(mem.bytes(&path(FIRST)).unwrap().len());
        if n == 0 {
            log.sync_now();
            until("durable", || log.durable() == log.end());
        }
    }
    let whole = mem.bytes(&path(FIRST)).unwrap();
    // The whole block, and the end of it: then its line can be read.
    for from in [ends[0], ends[1] - 5] {
        let image = mem.kill();
        let mut bytes = whole.clone();
        bytes[from..ends[1]].fill(0);
        image.put(&path(FIRST), &bytes);
        let (commands, report) = load(&image, &options(Fsync::Everysec)).unwrap();
        assert_eq!(commands, ["0:SET k 0"]);
        assert_eq!(report.truncated.unwrap().offset_bytes as usize, ends[0]);
    }
}

#[test]
fn aof_load_truncated_no_refuses_a_torn_tail_in_redis_words() {
    let (mem, ends) = three_turns(Fsync::Everysec, [0; 3]);
    let mut bytes = mem.bytes(&path(FIRST)).unwrap();
    bytes.truncate(ends[2] - 1);
    mem.put(&path(FIRST), &bytes);
    let strict = Options { load_truncated: false, ..options(Fsync::Everysec) };
    let error = load(&mem, &strict).unwrap_err();
    assert!(error.to_string().contains("Unexpected end of file reading the append only file"), "{error}");
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), bytes);
}

#[test]
fn every_truncation_starts_with_the_longest_good_prefix_and_goes_on() {
    let (mem, ends) = three_turns(Fsync::Everysec, [0; 3]);
    let whole = mem.bytes(&path(FIRST)).unwrap();
    for len in 0..whole.len() {
        let image = mem.kill();
        image.put(&path(FIRST), &whole[..len]);
        let good = ends.iter().filter(|&&end| end <= len).count();
        let expected: Vec<String> = (0..good).map(|n| format!("0:SET k {n}")).collect();
        assert_eq!(load(&image, &options(Fsync::Everysec)).unwrap().0, expected, "{len} bytes");
        let mut log = start(image.clone(), &options(Fsync::Everysec));
        turn(&mut log, &[("new", 1), ("new", 2)]);
        log.stop().unwrap();
        let (commands, report) = load(&image, &options(Fsync::Everysec)).unwrap();
        assert_eq!(
            (&commands[..good], &commands[good..]),
            (&expected[..], &["0:SET new 1", "0:SET new 2"].map(String::from)[..])
        );
        assert_eq!((report.truncated, report.unverified_bytes), (None, 0), "{len} bytes");
    }
}

#[test]
fn an_idle_log_calls_its_last_block_durable() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    turn(&mut log, &[("k", 0)]);
    until("durable", || log.durable() == log.end());
    let before = mem.bytes(&path(FIRST)).unwrap().len();
    until("marked", || mem.bytes(&path(FIRST)).unwrap().len() > before);
    until("durably", || mem.power_cut().bytes(&path(FIRST)).unwrap().len() > before);
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    let line = Line::parse(&bytes[before..], Some(log.epoch())).unwrap();
    assert_eq!((line.payload_bytes, line.position, line.durable()), (0, log.end(), log.end()));
    let image = mem.power_cut();
    let mut damaged = bytes.clone();
    damaged[before - 3] ^= 1;
    image.put(&path(FIRST), &damaged);
    assert!(matches!(load(&image, &options(Fsync::Always)), Err(Error::Corrupt { .. })), "no longer torn");
    // Once is enough.
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), bytes);
    log.stop().unwrap();
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), bytes);
}

#[test]
fn what_a_stock_server_appended_is_unverified_until_we_go_on_and_verified_from_then_on() {
    let (mem, _) = three_turns(Fsync::Always, [0; 3]);
    let mut bytes = mem.bytes(&path(FIRST)).unwrap();
    let foreign_at = bytes.len();
    for words in [&["SELECT", "0"][..], &["SET", "k", "foreign"]] {
        bytes.extend_from_slice(&request(words));
    }
    let foreign = bytes.len() - foreign_at;
    mem.put(&path(FIRST), &bytes);
    let (commands, report) = load(&mem, &options(Fsync::Always)).unwrap();
    assert_eq!(commands.last().unwrap(), "0:SET k foreign");
    assert_eq!((report.unverified_bytes, report.truncated), (foreign as u64, None));

    let mut log = start(mem.clone(), &options(Fsync::Always));
    turn(&mut log, &[("k", 9)]);
    log.stop().unwrap();
    let (commands, report) = load(&mem.kill(), &options(Fsync::Always)).unwrap();
    assert_eq!(commands[3..], ["0:SET k foreign", "0:SET k 9"]);
    assert_eq!(report.unverified_bytes, 0, "a head vouches for them");
    for at in [foreign_at, foreign_at + foreign - 4] {
        let image = flipped(&mem, FIRST, at * 8);
        load(&image, &options(Fsync::Always)).unwrap_err();
    }
}

#[test]
fn a_stock_server_s_log_is_gone_on_with_and_verified_from_then_on() {
    let mem = Mem::new();
    start(mem.clone(), &plain(Fsync::Always)).stop().unwrap();
    let stock = [&request(&["SELECT", "3"])[..], &request(&["SET", "k", "stock"])].concat();
    mem.put(&path(FIRST), &stock);
    let mut log = start(mem.clone(), &options(Fsync::Always));
    turn(&mut log, &[("k", 1)]);
    log.stop().unwrap();
    let (commands, report) = load(&mem.kill(), &options(Fsync::Always)).unwrap();
    assert_eq!(commands, ["3:SET k stock", "0:SET k 1"]);
    assert_eq!(report.unverified_bytes, 0);
    for bit in 0..mem.bytes(&path(FIRST)).unwrap().len() * 8 {
        match load(&flipped(&mem, FIRST, bit), &options(Fsync::Always)) {
            Ok((loaded, _)) => assert_eq!(loaded, commands, "bit {bit}"),
            Err(error) => drop(error),
        }
    }
}

/// A client stores what looks like a block. When the one that holds it is damaged, nothing of it may be executed.
#[test]
fn a_value_that_imitates_a_block_is_never_taken_for_one() {
    let payload = request(&["FLUSHALL"]);
    let mut fake = Vec::new();
    let line = Line {
        payload_bytes: payload.len() as u64,
        position: 500,
        lag: 0,
        db: Some(0),
        time_ms: 0,
        head: None,
        payload_crc: crc32c(&payload),
    };
    line.encode(Epoch(0), &mut fake);
    fake.extend_from_slice(&payload);
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let mut command = Vec::new();
    let mut out = bytes::BytesMut::new();
    resp::request::encode(&[b"SET", b"evil", &[&b"\r\n"[..], &fake].concat()], &mut out);
    command.extend_from_slice(&out);
    log.append(0, &[Op { db: 0, command: &command }]);
    log.seal(Instant::now());
    turn(&mut log, &[("k", 1)]);
    log.stop().unwrap();
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    let name = bytes.windows(4).position(|window| window == b"evil").unwrap();
    let (commands, report) = load(&flipped(&mem, FIRST, name * 8), &quarantine()).unwrap();
    assert_eq!(commands, ["0:SET k 1"]);
    assert_eq!(report.quarantined.len(), 1);
}

#[test]
fn a_manifest_that_lost_a_line_is_refused() {
    for mem in [a_log(), a_log_behind_an_rdb(&["a"])] {
        let manifest = String::from_utf8(mem.bytes(&path(MANIFEST)).unwrap()).unwrap();
        for lost in 0..manifest.lines().count() {
            let rest = manifest.lines().enumerate().filter(|(n, _)| *n != lost);
            let rest: String = rest.map(|(_, line)| format!("{line}\n")).collect();
            mem.put(&path(MANIFEST), rest.as_bytes());
            let error = load_rdb(&mem, &options(Fsync::Always)).unwrap_err();
            assert!(error.to_string().contains("/data/appendonlydir/"), "{error}");
        }
    }
}

#[test]
fn an_older_base_or_an_incr_of_another_log_is_refused() {
    let incrs = ["appendonly.aof.2.incr.aof", "appendonly.aof.3.incr.aof"];
    let logs = [
        (a_log(), a_log(), &["appendonly.aof.2.base.aof", incrs[0], incrs[1]][..]),
        (a_log_behind_an_rdb(&["a"]), a_log_behind_an_rdb(&["b"]), &["appendonly.aof.2.base.rdb", incrs[0]]),
    ];
    for (mem, other, names) in logs {
        for name in names {
            let image = mem.kill();
            image.put(&path(name), &other.bytes(&path(name)).unwrap());
            let error = load_rdb(&image, &options(Fsync::Always)).unwrap_err();
            assert!(error.to_string().contains("/data/appendonlydir/appendonly.aof."), "{name}: {error}");
        }
    }
}

#[test]
fn without_checksums_the_files_are_what_a_stock_server_writes() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &plain(Fsync::Always));
    turn(&mut log, &[("k", 0)]);
    log.stop().unwrap();
    let expected = [&request(&["SELECT", "0"])[..], &request(&["SET", "k", "0"])].concat();
    assert_eq!(mem.bytes(&path(FIRST)).unwrap(), expected);
    assert_eq!(mem.bytes(&path("appendonly.aof.1.base.aof")).unwrap(), b"");
}

/// Where even the first head is damaged, and the base is another server's, nothing says which epoch is ours.
#[test]
fn a_value_that_imitates_a_log_of_its_own_is_not_taken_for_the_next_block() {
    let (epoch, payload, mut fake) = (Epoch(7), request(&["FLUSHALL"]), b"\r\n".to_vec());
    let line = Line {
        payload_bytes: 0,
        position: 0,
        lag: 0,
        db: None,
        time_ms: 0,
        head: Some(Head::Incr(IncrHead { epoch, seq: 1, base: 1, moved_bytes: None, behind: None })),
        payload_crc: crc32c(b""),
    };
    line.encode(epoch, &mut fake);
    let (payload_bytes, payload_crc) = (payload.len() as u64, crc32c(&payload));
    Line { payload_bytes, payload_crc, head: None, db: Some(0), ..line }.encode(epoch, &mut fake);
    fake.extend_from_slice(&payload);

    let mem = Mem::new();
    mem.put(&path(MANIFEST), format!("file {BASE} seq 1 type b\nfile {FIRST} seq 1 type i\n").as_bytes());
    mem.put(&path(BASE), &request(&["SET", "old", "1"]));
    mem.put(&path(FIRST), b"");
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let mut command = bytes::BytesMut::new();
    resp::request::encode(&[b"SET", b"evil", &fake], &mut command);
    log.append(0, &[Op { db: 0, command: &command }]);
    log.seal(Instant::now());
    log.stop().unwrap();
    let (commands, report) = load(&flipped(&mem, FIRST, 8 * 10), &quarantine()).unwrap();
    assert_eq!((commands, report.quarantined.len()), (vec!["0:SET old 1".to_owned()], 1));
}

/// Bytes that are read of a file from now on.
fn count_reads(mem: &Mem, name: &str) -> Arc<AtomicU64> {
    let (read_bytes, wanted) = (Arc::new(AtomicU64::new(0)), path(name));
    let counter = Arc::clone(&read_bytes);
    mem.on_call(move |request| {
        if request.call == Call::Read && request.path == wanted {
            counter.fetch_add(request.len_bytes as u64, Ordering::Relaxed);
        }
        Verdict::Pass
    });
    read_bytes
}

#[test]
fn a_file_with_many_damaged_places_is_not_read_through_for_each_of_them() {
    const DAMAGED: usize = 300;
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    for n in 0..2 * DAMAGED as u64 {
        turn(&mut log, &[("k", n)]);
        until("durable", || log.durable() == log.end());
    }
    log.stop().unwrap();
    let mut bytes = mem.bytes(&path(FIRST)).unwrap();
    let lines: Vec<usize> = memchr::memmem::find_iter(&bytes, b"#EV1").collect();
    // Behind the head every other block, by turns its line and its payload.
    for (n, pair) in lines[1..].chunks_exact(2).take(DAMAGED).enumerate() {
        bytes[if n % 2 == 0 { pair[0] + 9 } else { pair[1] - 4 }] ^= 1;
    }
    mem.put(&path(FIRST), &bytes);
    let read_bytes = count_reads(&mem, FIRST);
    let (commands, report) = load(&mem, &quarantine()).unwrap();
    assert_eq!(report.quarantined.len(), DAMAGED);
    assert_eq!(commands.len(), DAMAGED);
    let (read_bytes, len_bytes) = (read_bytes.load(Ordering::Relaxed), bytes.len() as u64);
    assert!(read_bytes <= 6 * len_bytes, "{read_bytes} of {len_bytes} bytes");
}
