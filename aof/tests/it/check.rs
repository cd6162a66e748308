//! A log is looked at by the code that loads it: both agree about every byte, looking changes nothing, and a repair loses
//! no more than the damaged blocks, whoever reads the result and whenever the power goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use aof::check::{Findings, Place, Repaired, Verdict};
use aof::fs::{Fs, Mem};
use aof::{Checkup, Error, Executed, Fsync, Op, Options, Quarantine};
use proptest::prelude::ProptestConfig;
use resp::{Limits, Parser};

use crate::corruption::{MANIFEST, a_log, files, flipped, quarantine, rotate};
use crate::world::{Recorder, TEMP, eio, load, options, path, plain, request, start, turn};

const INCR: &str = "appendonly.aof.1.incr.aof";

/// The Options of a start that puts up with nothing.
fn strict() -> Options {
    Options { load_truncated: false, ..options(Fsync::Always) }
}

fn open(mem: &Mem, name: &str) -> Checkup {
    Checkup::open(Arc::new(mem.clone()), &path(name)).unwrap()
}

fn look(mem: &Mem) -> Result<(Vec<String>, Findings), Error> {
    let mut sink = Recorder::default();
    let findings = Checkup::open(Arc::new(mem.clone()), &path(MANIFEST))?.look(&mut sink, None)?;
    Ok((sink.commands, findings))
}

fn repair(mem: &Mem) -> Result<Repaired, Error> {
    let open = || Checkup::open(Arc::new(mem.clone()), &path(MANIFEST));
    let findings = open()?.look(&mut Recorder::default(), None)?;
    open()?.repair(&findings, &mut Recorder::default())
}

fn contents(mem: &Mem) -> BTreeMap<String, Vec<u8>> {
    let names = mem.list(Path::new("/data/appendonlydir")).unwrap();
    names.into_iter().map(|name| (name.clone(), mem.bytes(&path(&name)).unwrap())).collect()
}

fn place(findings: &Findings) -> Place {
    let places: Vec<Place> = findings.places().map(|(_, place)| place.clone()).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    places[0].clone()
}

/// What a server executes that knows nothing of our lines.
fn as_stock(mem: &Mem) -> Vec<String> {
    let mut commands = Vec::new();
    for name in files(mem).iter().filter(|name| name.ends_with(".aof")) {
        let (bytes, mut at, mut db) = (mem.bytes(&path(name)).unwrap(), 0, String::from("0"));
        while at < bytes.len() {
            if bytes[at] == b'#' {
                let line = bytes[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
                assert!(line < 1024);
                at += line;
                continue;
            }
            let mut parser = Parser::default();
            let len = parser.parse(&bytes[at..], &Limits::default()).unwrap().unwrap();
            let argv: Vec<String> = parser
                .argv(&bytes[at..])
                .iter()
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            match argv[0].as_str() {
                "SELECT" => db = argv[1].clone(),
                "MULTI" | "EXEC" => {}
                _ => commands.push(format!("{db}:{}", argv.join(" "))),
            }
            at += len;
        }
    }
    commands
}

#[test]
fn a_sound_log_is_found_sound_and_counted() {
    let mem = a_log();
    let before = contents(&mem);
    let (expected, report) = load(&mem.kill(), &strict()).unwrap();
    let (commands, findings) = look(&mem).unwrap();
    assert_eq!((commands, findings.is_sound()), (expected, true));
    let blocks: u64 = findings.files.iter().map(|file| file.blocks_verified).sum();
    assert_eq!((blocks, findings.commands), (report.blocks_verified, report.commands));
    let names: Vec<String> = findings.files.iter().map(|file| file.name.clone()).collect();
    assert_eq!(names, files(&mem)[..3]);
    assert!(findings.files.iter().all(|file| file.ok_up_to_bytes == file.len_bytes));
    assert_eq!(contents(&mem), before);
}

#[test]
fn looking_and_loading_agree_about_every_flipped_bit_and_looking_changes_nothing() {
    let mem = a_log();
    for name in &files(&mem) {
        for bit in (0..mem.bytes(&path(name)).unwrap().len() * 8).step_by(5) {
            let image = flipped(&mem, name, bit);
            let before = contents(&image);
            let looked = look(&image);
            assert_eq!(contents(&image), before, "{name}, bit {bit}");
            match (load(&image, &strict()), looked) {
                (Ok((commands, report)), Ok((seen, findings))) => {
                    assert_eq!((commands, true), (seen, findings.is_sound()), "{name}, bit {bit}");
                    assert!(report.truncated.is_none());
                }
                (Err(Error::Corrupt { damage, .. }), Ok((_, findings))) => {
                    assert!(findings.places().any(|(_, place)| place.damage == *damage), "{name}, bit {bit}");
                }
                (Err(_), Ok((_, findings))) => assert!(!findings.is_sound(), "{name}, bit {bit}"),
                (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
                (Ok(_), Err(error)) => panic!("{name}, bit {bit}: only a load finds it sound: {error}"),
            }
        }
    }
}

#[test]
fn a_repair_drops_the_damaged_blocks_alone_and_touches_no_old_file() {
    let mem = a_log();
    for name in files(&mem).iter().filter(|name| name.ends_with(".aof")) {
        for bit in (0..mem.bytes(&path(name)).unwrap().len() * 8).step_by(7) {
            let image = flipped(&mem, name, bit);
            let Ok((seen, findings)) = look(&image) else { continue };
            if findings.is_sound() {
                continue;
            }
            let old = contents(&image);
            let repaired = repair(&image).unwrap();
            let (commands, report) = load(&image, &strict()).unwrap();
            assert_eq!((&commands, report.unverified_bytes), (&seen, 0), "{name}, bit {bit}");
            assert_eq!(as_stock(&image), commands, "{name}, bit {bit}");
            let new = contents(&image);
            for (name, bytes) in old.iter().filter(|(name, _)| *name != MANIFEST) {
                assert_eq!(new.get(name), Some(bytes), "{name} stays");
            }
            assert_eq!(image.bytes(&repaired.manifest_copy).as_ref(), old.get(MANIFEST));
            // What a start with quarantine would load.
            let loaded = load(&flipped(&mem, name, bit), &quarantine()).unwrap().0;
            assert_eq!(commands, loaded, "{name}, bit {bit}");
            // It goes on.
            let mut log = start(image.clone(), &strict());
            turn(&mut log, &[("new", 1)]);
            log.stop().unwrap();
            assert_eq!(load(&image, &strict()).unwrap().0.len(), commands.len() + 1);
        }
    }
}

#[test]
fn a_transaction_of_another_server_loses_the_lines_within_it() {
    for value in ["v", &"v".repeat(40_000)] {
        let mem = Mem::new();
        start(mem.clone(), &plain(Fsync::Always)).stop().unwrap();
        let (stamp, set) = (&b"#TS:5\r\n"[..], request(&["SET", "k", value]));
        let unit = [&request(&["MULTI"])[..], stamp, &set, stamp, &request(&["EXEC"]), &set];
        mem.put(&path(INCR), &[&unit.concat()[..], b"!!!"].concat());
        let (seen, _) = look(&mem).unwrap();
        assert_eq!(seen, [format!("0:SET k {value}"), format!("0:SET k {value}")]);
        repair(&mem).unwrap();
        assert_eq!((load(&mem, &strict()).unwrap().0, as_stock(&mem)), (seen.clone(), seen));
    }
}

/// Three databases; the damaged block is the one that selected the second.
#[test]
fn a_select_that_went_with_its_block_is_put_back() {
    for value in ["1", &"1".repeat(40_000)] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(Fsync::Always));
        for (db, key) in [(0, "a"), (3, "lost"), (3, "b"), (7, "c"), (7, "d")] {
            log.append(1_700_000_000_000, &[Op { db, command: &request(&["SET", key, value]) }]);
            log.seal(std::time::Instant::now());
        }
        log.stop().unwrap();
        let bytes = mem.bytes(&path(INCR)).unwrap();
        let at = bytes.windows(4).position(|window| window == b"lost").unwrap();
        let image = flipped(&mem, INCR, at * 8);
        let found = place(&look(&image).unwrap().1);
        assert_eq!((found.verdict, found.can_cut), (Verdict::Corrupt, true));
        assert!(found.damage.position.is_some());
        repair(&image).unwrap();
        let expected = ["0:SET a", "3:SET b", "7:SET c", "7:SET d"].map(|set| format!("{set} {value}"));
        assert_eq!(as_stock(&image), expected);
        assert_eq!(load(&image, &strict()).unwrap().0, expected);
    }
}

#[test]
fn a_torn_tail_is_named_and_can_be_cut_after_a_copy() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Everysec));
    for n in 0..3 {
        turn(&mut log, &[("k", n)]);
    }
    log.stop().unwrap();
    let bytes = mem.bytes(&path(INCR)).unwrap();
    mem.put(&path(INCR), &bytes[..bytes.len() - 1]);
    let (_, findings) = look(&mem).unwrap();
    let torn = place(&findings);
    assert_eq!((torn.verdict, torn.can_cut), (Verdict::Torn, true));
    let file = findings.files.last().unwrap();
    let cut = open(&mem, MANIFEST).cut(file).unwrap();
    assert_eq!(cut.offset_bytes, file.ok_up_to_bytes);
    assert_eq!(
        mem.bytes(cut.side_file.as_ref().unwrap()).unwrap(),
        bytes[cut.offset_bytes as usize..bytes.len() - 1]
    );
    assert!(look(&mem).unwrap().1.is_sound());
}

#[test]
fn lines_are_counted_as_redis_check_aof_counts_them() {
    let mem = Mem::new();
    start(mem.clone(), &plain(Fsync::Always)).stop().unwrap();
    let set = request(&["SET", "foo", "hello"]).to_vec();
    let multi = [&request(&["MULTI"])[..], &set].concat();
    // Measured with redis-check-aof 7.0.15.
    let cases: [(&[u8], u64, u64); 5] = [
        (b"", 33, 8),
        (b"!!!", 33, 8),
        (&set[..set.len() - 1], 33, 14),
        (&set[..10], 33, 10),
        (&multi, 33, 18),
    ];
    for (tail, ok, line) in cases {
        let bytes = [&b"#TS:1\r\n"[..], &set, tail].concat();
        mem.put(&path(INCR), &bytes);
        let (_, findings) = look(&mem).unwrap();
        let file = findings.files.last().unwrap();
        assert_eq!((file.ok_up_to_bytes, file.ok_up_to_line), (ok + 7, line), "{}", tail.escape_ascii());
    }
}

#[test]
fn wrong_bytes_among_foreign_commands_end_their_file() {
    let mem = Mem::new();
    start(mem.clone(), &plain(Fsync::Always)).stop().unwrap();
    let set = request(&["SET", "k", "v"]).to_vec();
    for wrong in [&b"SET k v\r\n"[..], b"*1\r\n$4\r\nEXEC\r\n", b"*0\r\n", b"*1\r\n$4\r\nPIXX\r\r\n"] {
        mem.put(&path(INCR), &[&set, wrong, &set].concat());
        let (commands, findings) = look(&mem).unwrap();
        let found = place(&findings);
        assert_eq!((found.verdict, found.can_cut), (Verdict::Wrong, true), "{}", wrong.escape_ascii());
        assert_eq!(found.damage.offset_bytes, set.len() as u64);
        assert_eq!(commands, ["0:SET k v"]);
        let image = mem.kill();
        repair(&image).unwrap();
        assert_eq!(load(&image, &strict()).unwrap().0, ["0:SET k v"]);
        assert_eq!(as_stock(&image), ["0:SET k v"]);
    }
}

/// An incr that lost its end, one that has too much, and one that was changed where no block vouches for it.
#[test]
fn what_a_successor_says_of_a_file_is_held_against_it() {
    let mem = a_log();
    let second = &files(&mem)[1];
    let bytes = mem.bytes(&path(second)).unwrap();

    let image = mem.kill();
    image.put(&path(second), &bytes[..bytes.len() - 3]);
    let (seen, findings) = look(&image).unwrap();
    let verdicts: Vec<Verdict> = findings.places().map(|(_, place)| place.verdict).collect();
    assert!(verdicts.contains(&Verdict::Missing), "{verdicts:?}");
    repair(&image).unwrap();
    assert_eq!(load(&image, &strict()).unwrap().0, seen);

    let image = mem.kill();
    image.put(&path(second), &[&bytes[..], &request(&["SET", "twice", "1"])].concat());
    let (seen, findings) = look(&image).unwrap();
    let found = place(&findings);
    assert_eq!((found.verdict, found.can_cut), (Verdict::Repeated, true));
    assert!(!seen.contains(&"0:SET twice 1".to_owned()));
    open(&image, MANIFEST).cut(&findings.files[1]).unwrap();
    assert_eq!(image.bytes(&path(second)).unwrap(), bytes);

    let mem = Mem::new();
    start(mem.clone(), &plain(Fsync::Always)).stop().unwrap();
    mem.put(&path(INCR), &request(&["SET", "k", "old"]));
    let mut log = start(mem.clone(), &options(Fsync::Always));
    rotate(&mut log);
    turn(&mut log, &[("k", 1)]);
    log.stop().unwrap();
    assert!(look(&mem).unwrap().1.is_sound());
    mem.put(&path(INCR), &request(&["SET", "k", "odd"]));
    let recorded = (path(INCR), 0, request(&["SET", "k", "odd"]).len() as u64);
    let Err(Error::Corrupt { damage, .. }) = load(&mem.kill(), &strict()) else { panic!("it loads") };
    assert_eq!((damage.path, damage.offset_bytes, damage.len_bytes), recorded);
    // Nothing tells which byte it is: what can be read is executed where that is wanted, and all of it is kept.
    let image = mem.kill();
    let (loaded, report) = load(&image, &quarantine()).unwrap();
    assert_eq!(loaded, ["0:SET k odd", "0:SET k 1"]);
    let Quarantine { side_file, executed, .. } = &report.quarantined[0];
    assert_eq!(image.bytes(side_file.as_ref().unwrap()), mem.bytes(&path(INCR)));
    assert_eq!(*executed, Executed::All);
    let (seen, findings) = look(&mem).unwrap();
    assert_eq!(place(&findings).verdict, Verdict::NotAsRecorded);
    repair(&mem).unwrap();
    assert_eq!(load(&mem, &strict()).unwrap().0, seen);
}

#[test]
fn what_is_later_than_a_timestamp_can_be_cut_between_two_blocks() {
    let mem = Mem::new();
    let stamped = Options { timestamps: true, ..options(Fsync::Always) };
    let mut log = start(mem.clone(), &stamped);
    for second in [100, 101, 103] {
        let command = request(&["SET", "k", &second.to_string()]);
        log.append(second * 1000, &[Op { db: 0, command: &command }]);
        log.seal(std::time::Instant::now());
    }
    log.stop().unwrap();
    for (until, kept) in [(103, 3), (102, 2), (101, 2), (100, 1)] {
        let image = mem.kill();
        let mut sink = Recorder::default();
        let findings = open(&image, MANIFEST).look(&mut sink, Some(until)).unwrap();
        assert_eq!(sink.commands.len(), kept, "until {until}");
        if kept < 3 {
            assert_eq!(place(&findings).verdict, Verdict::Later);
            open(&image, MANIFEST).cut(findings.files.last().unwrap()).unwrap();
        }
        assert_eq!(load(&image, &strict()).unwrap().0, sink.commands);
    }
}

#[test]
fn a_file_alone_is_looked_at_without_its_manifest_and_cannot_be_repaired() {
    let mem = a_log();
    for name in &files(&mem)[..3] {
        let findings = open(&mem, name).look(&mut Recorder::default(), None).unwrap();
        assert!(findings.is_sound() && findings.files[0].blocks_verified > 0, "{name}");
    }
    let image = flipped(&mem, &files(&mem)[2], 8 * 200);
    let name = &files(&mem)[2];
    let findings = open(&image, name).look(&mut Recorder::default(), None).unwrap();
    assert!(!findings.is_sound());
    let refused = open(&image, name).repair(&findings, &mut Recorder::default());
    assert!(matches!(refused, Err(Error::NotRepairable { .. })));
}

static LOG: LazyLock<Mem> = LazyLock::new(a_log);

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]
    #[test]
    fn whatever_the_damage_a_repair_loads_what_a_look_saw(
        damage in proptest::collection::vec((0_usize..3, 0_usize..4000, 0_u8..4), 1..6),
        cut in 0_usize..3000,
        foreign in 0_usize..3,
    ) {
        let image = LOG.kill();
        let names = files(&image);
        let unit = [request(&["MULTI"]), "#TS:5\r\n".into(), request(&["SET", "foreign", "1"]), request(&["EXEC"])];
        let stock = [&request(&["SELECT", "5"])[..], &unit.concat()].concat().repeat(foreign);
        let mut contents: Vec<Vec<u8>> =
            names[..3].iter().map(|name| image.bytes(&path(name)).unwrap()).collect();
        contents[2].extend_from_slice(&stock);
        for (file, at, change) in damage {
            let bytes = &mut contents[file];
            let at = at % bytes.len();
            match change {
                0 => bytes[at] = 0,
                1 => bytes[at] ^= 0x10,
                2 => drop(bytes.drain(at..(at + 7).min(bytes.len()))),
                _ => bytes.insert(at, b'\n'),
            }
        }
        let len = contents[2].len();
        contents[2].truncate(len.saturating_sub(cut / 20));
        for (name, bytes) in names.iter().zip(&contents) {
            image.put(&path(name), bytes);
        }
        if let Ok((seen, findings)) = look(&image) {
            let loaded = load(&image.kill(), &strict());
            // A load cuts what is repeated by itself.
            let loads = findings.places().all(|(_, place)| place.verdict == Verdict::Repeated);
            proptest::prop_assert_eq!(loads, loaded.is_ok());
            if !findings.is_sound() {
                repair(&image).unwrap();
                proptest::prop_assert_eq!(&as_stock(&image), &seen);
                proptest::prop_assert_eq!(load(&image, &strict()).unwrap().0, seen);
            }
        }
    }
}

/// Before every call the power goes, or the call fails: what is there then is the damaged log or the repaired one.
#[test]
fn an_interrupted_repair_leaves_the_old_log_or_the_new_one() {
    let whole = a_log();
    let at = whole.bytes(&path(&files(&whole)[1])).unwrap().len() / 2;
    for name in [files(&whole)[0].clone(), files(&whole)[1].clone()] {
        let mem = flipped(&whole, &name, at * 8);
        let Ok((seen, findings)) = look(&mem) else { panic!("{name}: byte {at} is not in a payload") };
        assert!(!findings.is_sound());
        for failing in 0.. {
            let image = mem.kill();
            let (world, mut calls) = (image.clone(), 0);
            let cut = Arc::new(std::sync::Mutex::new(None));
            let seen_by_hook = cut.clone();
            image.fail_with(move |_, _| {
                calls += 1;
                if calls <= failing {
                    return None;
                }
                seen_by_hook.lock().unwrap().get_or_insert_with(|| world.power_cut());
                eio()
            });
            let outcome = repair(&image);
            image.heal();
            let Some(cut) = cut.lock().unwrap().take() else {
                outcome.unwrap();
                assert_eq!(load(&image, &strict()).unwrap().0, seen);
                break;
            };
            for left in [cut, image.kill()] {
                let (commands, _) = look(&left).unwrap();
                assert_eq!(commands, seen, "{name}, call {failing}");
                if load(&left.kill(), &strict()).is_err() {
                    repair(&left).unwrap();
                }
                assert_eq!(load(&left, &strict()).unwrap().0, seen, "{name}, call {failing}");
            }
        }
    }
}

/// What a repair replaced stays where it is, and is listed nowhere. Behind a compaction nothing is listed that it could
/// follow, and it was once taken for a part of the log.
#[test]
fn what_a_repair_left_beside_the_log_is_no_part_of_it_once_that_is_compacted() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    for n in 0..3 {
        turn(&mut log, &[("k", n)]);
    }
    log.stop().unwrap();
    let at = mem.bytes(&path(INCR)).unwrap().len() * 8 / 2;
    let image = flipped(&mem, INCR, at);
    repair(&image).unwrap();
    assert!(image.bytes(&path(INCR)).is_some(), "the damaged file stays");
    let options = options(Fsync::Always);
    image.put(TEMP.as_ref(), &request(&["SET", "compacted", "1"]));
    let mut directory = aof::Directory::open(Arc::new(image.clone()), &options).unwrap();
    directory.replay(&mut Recorder::default(), &options).unwrap();
    let (temp_path, format) = (TEMP.into(), aof::BaseFormat::Resp);
    let base = aof::NewBase { temp_path, format, covers: 0, len_bytes: 0 };
    directory.supersede(&base, &options).unwrap();
    assert!(image.bytes(&path(INCR)).is_some());
    assert_eq!(load(&image, &options).unwrap().0, ["0:SET compacted 1"]);
}
