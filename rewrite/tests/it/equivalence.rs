//! Replaying base and incrs gives the data, whatever was executed before, during and after the rewrite.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use aof::fs::{Disk, Mem};
use aof::{Fs, Fsync, Options};
use keyspace::types::stream::{Header, StreamId};
use keyspace::{Random, ValueRef};

use super::{KINDS, Kind, World, exists, load, manifest};

/// A random command on a few keys, so that they meet each other; collections grow past their compact encodings.
fn random_command(random: &mut Random, now_ms: i64) -> (usize, Vec<Vec<u8>>) {
    let db = if random.below(4) == 0 { random.below(16) } else { 0 };
    let text = |random: &mut Random| -> Vec<u8> {
        match random.below(6) {
            0 => (random.next_u64() as i64 % 100).to_string().into_bytes(),
            1 => Vec::new(),
            2 => b"\r\n$3\r\n\0\xff".to_vec(),
            3 => vec![b'x'; random.below(300)],
            _ => format!("m{}", random.below(500)).into_bytes(),
        }
    };
    let key =
        |random: &mut Random, kind: &str| [kind.as_bytes(), b"\0\xfe", &[random.below(8) as u8]].concat();
    let group = |random: &mut Random| vec![b"gh"[random.below(2)]];
    let many = if random.below(10) == 0 { 200 } else { 3 };
    let mut command: Vec<Vec<u8>> = Vec::new();
    let mut word = |word: &str| command.push(word.as_bytes().to_vec());
    match random.below(19) {
        0 => {
            word("SET");
            command.extend([key(random, "string"), text(random)]);
        }
        1 => {
            let at = now_ms + 1 + random.below(5_000) as i64;
            word("SET");
            command.extend([key(random, "string"), text(random), b"PXAT".to_vec()]);
            command.push(at.to_string().into_bytes());
        }
        2 => {
            word("INCR");
            command.push(key(random, "counter"));
        }
        3 | 4 => {
            word(if random.below(2) == 0 { "RPUSH" } else { "LPUSH" });
            command.push(key(random, "list"));
            command.extend((0..many).map(|_| text(random)));
        }
        5 => {
            word("LPOP");
            command.push(key(random, "list"));
        }
        6 => {
            word("SADD");
            command.push(key(random, "set"));
            let numbers = random.below(2) == 0;
            command.extend((0..many).map(|_| match numbers {
                true => random.below(100_000).to_string().into_bytes(),
                false => text(random),
            }));
        }
        7 => {
            word("SPOP");
            command.push(key(random, "set"));
        }
        8 => {
            word("HSET");
            command.push(key(random, "hash"));
            command.extend((0..2 * many).map(|_| text(random)));
        }
        9 => {
            word("HDEL");
            command.extend([key(random, "hash"), text(random)]);
        }
        10 => {
            word("ZADD");
            command.push(key(random, "zset"));
            for _ in 0..many {
                let score = f64::from_bits(random.next_u64());
                let score = if score.is_nan() { 0.1 + random.below(10) as f64 } else { score };
                command.extend([resp::number::format_f64(score).as_bytes().to_vec(), text(random)]);
            }
        }
        11 => {
            word("ZREMRANGEBYRANK");
            command.extend([key(random, "zset"), b"0".to_vec(), b"1".to_vec()]);
        }
        12 => {
            word("XADD");
            command.extend([key(random, "stream"), b"*".to_vec()]);
            command.extend((0..2 * (many % 5 + 1)).map(|_| text(random)));
        }
        13 => {
            word("XGROUP");
            word("CREATE");
            // One in the future, too.
            let id = ["0", "$", "1700000001000-5"][random.below(3)].as_bytes().to_vec();
            command.extend([key(random, "stream"), group(random), id, b"MKSTREAM".to_vec()]);
        }
        14 => {
            word("XREADGROUP");
            word("GROUP");
            command.extend([group(random), text(random)]);
            command.extend([b"COUNT".to_vec(), b"2".to_vec(), b"STREAMS".to_vec()]);
            command.extend([key(random, "stream"), b">".to_vec()]);
        }
        15 => {
            word("XTRIM");
            command.extend([key(random, "stream"), b"MAXLEN".to_vec()]);
            command.push(random.below(5).to_string().into_bytes());
        }
        16 => {
            word("XDEL");
            command.push(key(random, "stream"));
            command.extend((0..20).map(|ago| (now_ms - ago).to_string().into_bytes()));
        }
        17 => {
            let kind = ["string", "list", "set", "hash", "zset", "stream", "counter"][random.below(7)];
            let at = now_ms + random.below(5_000) as i64 - 500;
            word("PEXPIREAT");
            command.extend([key(random, kind), at.to_string().into_bytes()]);
        }
        _ => {
            let kind = ["string", "list", "set", "hash", "zset", "stream", "counter"][random.below(7)];
            word(if random.below(2) == 0 { "DEL" } else { "PERSIST" });
            command.push(key(random, kind));
        }
    }
    (db, command)
}

/// What depends on what a stream knows about itself: its IDs are moved to where they may be.
fn header_commands(world: &World, random: &mut Random) -> Option<Vec<Vec<Vec<u8>>>> {
    let key = [&b"stream\0\xfe"[..], &[random.below(8) as u8]].concat();
    let entry = world.keyspace.entry(0, &key, world.now_ms)?;
    let ValueRef::Stream(stream) = entry.value() else { return None };
    let Header { len, last_id, max_deleted_id, .. } = stream.header();
    let top = stream.last().map_or(StreamId::MIN, |entry| entry.id);
    let group = stream.groups().get(random.below(2))?.name.to_vec();
    let near = |random: &mut Random| format!("{}", world.now_ms + random.below(20) as i64 - 15);
    let next = last_id.next()?;
    let lines = match random.below(10) {
        0 => format!("XSETID K {next} MAXDELETEDID 0-1"),
        1 | 2 => format!("XSETID K {}", top.max(max_deleted_id)),
        3 => format!("XSETID K {last_id} ENTRIESADDED {}", len + random.below(5) as u64),
        4 => format!("XTRIM K MINID {}", near(random)),
        5 => format!("XGROUP SETID K G {} ENTRIESREAD {}", near(random), random.below(9) as i64 - 1),
        6 => format!("XCLAIM K G c 0 {} {top} RETRYCOUNT 3 FORCE", near(random)),
        7 => format!("XADD K {next} f v"),
        8 => format!("XDEL K {top}"),
        // A trim that meets a deleted entry, and what is added in front of that then.
        _ => format!(
            "XADD K {next} f v\nXDEL K {next}\nXTRIM K MINID {next}\nXSETID K {next} MAXDELETEDID 0-1\n\
             XSETID K 0-2\nXADD K 0-3 f v"
        ),
    };
    let word = |word: &str| match word {
        "K" => key.clone(),
        "G" => group.clone(),
        word => word.as_bytes().to_vec(),
    };
    Some(lines.lines().map(|line| line.split(' ').map(word).collect()).collect())
}

fn has_group(world: &World, db: usize, key: &[u8], group: &[u8]) -> bool {
    match world.keyspace.entry(db, key, world.now_ms).map(|entry| entry.value()) {
        Some(ValueRef::Stream(stream)) => stream.group(group).is_some(),
        _ => false,
    }
}

pub(super) fn run_random(world: &mut World, random: &mut Random, count: usize) {
    for _ in 0..count {
        world.now_ms += random.below(3) as i64;
        let of_a_header = (random.below(8) == 0).then(|| header_commands(world, random)).flatten();
        if let Some(commands) = of_a_header {
            for command in commands {
                world.run(0, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            continue;
        }
        let (db, command) = random_command(random, world.now_ms);
        let argv: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        // A group is made once, and read only if it is there.
        let fits = match argv[..] {
            [b"XGROUP", _, key, group, ..] => !has_group(world, db, key, group),
            [b"XREADGROUP", _, group, .., key, _] => has_group(world, db, key, group),
            _ => true,
        };
        if fits {
            world.run(db, &argv);
        }
    }
}

#[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
fn rewrites_keep_everything(seed: u64, kind: Kind, fs: Arc<dyn Fs>, options: Options) {
    println!("seed {seed}, {kind:?}");
    let mut random = Random::new(seed);
    let mut world = World::with(fs, kind, options);
    for _ in 0..3 {
        let count = 100 + random.below(500);
        run_random(&mut world, &mut random, count);
        let rewrite = world.begin();
        let summary = world.finish(rewrite, |world| run_random(world, &mut random, 20)).expect("it succeeds");
        assert!(summary.covers <= world.log().end());
        run_random(&mut world, &mut random, 30);
    }
    let expected = world.dump();
    assert!(!expected.is_empty());
    world.stop();
    assert_eq!(world.reload(), expected, "seed {seed}");
}

#[test]
fn replaying_base_and_incrs_gives_the_data_under_every_policy() {
    for seed in 0..24 {
        let fsync = [Fsync::Everysec, Fsync::Always, Fsync::No][seed as usize % 3];
        let (timestamps, kind) = (seed % 2 == 0, KINDS[seed as usize / 6]);
        let options = Options { fsync, timestamps, ..Options::new("/d") };
        rewrites_keep_everything(seed, kind, Arc::new(Mem::new()), options);
    }
}

#[test]
fn replaying_base_and_incrs_gives_the_data_on_a_disk() {
    for (seed, kind) in (1..).zip(KINDS) {
        let dir = tempfile::tempdir().expect("a directory");
        rewrites_keep_everything(seed, kind, Arc::new(Disk), Options::new(dir.path()));
    }
}

#[test]
fn the_base_alone_is_the_snapshot() {
    for kind in KINDS {
        let mem = Mem::new();
        let mut world = World::new(Arc::new(mem.clone()), kind);
        run_random(&mut world, &mut Random::new(5), 1000);
        let expected = world.dump();
        let summary = world.rewrite().expect("it succeeds");
        world.stop();
        assert_eq!(world.reload(), expected, "{kind:?}");
        let file = |name: &str| mem.bytes(&world.options.dir.join(name)).expect("it is there");
        let name = kind.base_name(2);
        let base = file(&name);
        assert_eq!(summary.base_bytes, base.len() as u64);
        assert_eq!(summary.keys, expected.len() as u64);
        assert_eq!(base.starts_with(b"REDIS0"), kind.rdb);
        let last_line = base.split_inclusive(|&byte| byte == b'\n').next_back().unwrap_or_default();
        let ends_with_a_head = last_line.windows(5).any(|word| word == b"#EV1 ");
        assert_eq!(ends_with_a_head, kind.checksum, "{kind:?}: {}", last_line.escape_ascii());
        let incr = file("appendonly.aof.2.incr.aof");
        let heads = incr.lines().filter(|line| line.as_ref().is_ok_and(|line| line.starts_with("#EV1 0 ")));
        assert_eq!(
            (incr.lines().count(), heads.count()),
            (usize::from(kind.checksum), usize::from(kind.checksum)),
            "a head, and no block"
        );
        assert!(!exists(&mem, &world.temp_path()));
        assert_eq!(
            manifest(&mem, &world.options),
            format!("file {name} seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n")
        );
    }
}

#[test]
fn a_key_that_is_past_its_time_is_neither_lost_nor_immortal() {
    for kind in KINDS {
        let mut world = World::new(Arc::new(Mem::new()), kind);
        let at_ms = world.now_ms + 100;
        world.run_line(&format!("SET due v PXAT {at_ms}"));
        world.now_ms += 1000;
        world.rewrite().expect("it succeeds");
        world.stop();
        let loaded = world.reload();
        assert_eq!(loaded[&(0, b"due".to_vec())], ("string v".to_owned(), Some(at_ms)), "{kind:?}");
    }
}

#[test]
fn a_value_larger_than_any_buffer_passes_through() {
    let value: Vec<u8> = (0..5_000_000u32).map(|at| (at % 251) as u8).collect();
    for kind in KINDS {
        let mut world = World::new(Arc::new(Mem::new()), kind);
        world.run(3, &[b"SET", b"huge", &value]);
        world.run(3, &[b"SET", b"edge", &value[..256 * 1024]]);
        world.run(3, &[b"SET", b"next", &value[..256 * 1024 - 1]]);
        let expected = world.dump();
        world.rewrite().expect("it succeeds");
        world.stop();
        assert!(world.reload() == expected, "{kind:?}: too long to print");
    }
}

#[test]
fn a_log_turned_on_counts_from_its_first_base() {
    for kind in KINDS {
        let mem = Mem::new();
        let mut world = World::without_log(Arc::new(mem.clone()), kind, Options::new("/d"));
        run_random(&mut world, &mut Random::new(9), 300);
        mem.put(Path::new("/d/appendonly.aof"), b"*1\r\n$8\r\nFLUSHALL\r\n");
        let wake = Arc::clone(&world.wake);
        let log =
            aof::Log::start_waiting_rewrite(Arc::new(mem.clone()), &world.options, Box::new(move || wake()));
        world.log = Some(log.expect("it starts"));
        let mut random = Random::new(10);
        run_random(&mut world, &mut random, 50);
        let rewrite = world.begin();
        world.finish(rewrite, |world| run_random(world, &mut random, 20)).expect("it succeeds");
        assert!(!world.log().is_waiting_rewrite());
        run_random(&mut world, &mut random, 50);
        let expected = world.dump();
        world.stop();
        assert_eq!(world.reload(), expected);
        assert!(exists(&mem, Path::new("/d/appendonly.aof")), "an older server's log is not ours to remove");
    }
}

#[test]
fn a_rewrite_without_a_log_supersedes_the_directory() {
    for kind in KINDS {
        let mem = Mem::new();
        let mut old = World::new(Arc::new(mem.clone()), kind);
        old.run_line("SET old v");
        old.stop();
        mem.put(Path::new("/d/appendonly.aof"), b"*3\r\n$3\r\nSET\r\n$6\r\nsingle\r\n$1\r\nv\r\n");

        let mut world = World::without_log(Arc::new(mem.clone()), kind, Options::new("/d"));
        run_random(&mut world, &mut Random::new(3), 300);
        let rewrite = world.begin_offline();
        let summary = world.finish(rewrite, |_| {}).expect("it succeeds");
        assert_eq!((summary.covers, summary.keys), (0, world.dump().len() as u64));
        assert_eq!(manifest(&mem, &world.options), format!("file {} seq 2 type b\n", kind.base_name(2)));
        assert!(!exists(&mem, Path::new("/d/appendonlydir/appendonly.aof.1.incr.aof")), "history goes");
        assert!(exists(&mem, Path::new("/d/appendonly.aof")), "an older server's log is not ours to remove");
        assert_eq!(load(Arc::new(mem), &world.options).expect("it loads"), world.dump());
    }
}
