//! Bases and saves as RDB files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aof::Options;
use aof::fs::{Call, Mem};
use keyspace::Random;
use keyspace::rdb::{Checksum, Item, Reader};
use rewrite::{Error, Format, RdbFormat, Rewrite, Settings};

use super::equivalence::run_random;
use super::{World, exists, load, manifest};

const TARGET: &str = "/d/dump.rdb";
const TEMP: &str = "/d/temp-7.rdb";

fn format() -> Format {
    Format::Rdb(RdbFormat {
        redis_version: "7.2.5".to_owned(),
        used_memory_bytes: 1,
        aof_base: true,
        compress: true,
        checksum: true,
        usage: None,
    })
}

fn save(world: &World) -> Rewrite {
    let settings = Settings { temp_path: TEMP.into(), format: format(), ..world.settings() };
    Rewrite::begin_save(Arc::clone(&world.fs), PathBuf::from(TARGET), settings, Arc::clone(&world.wake))
}

#[test]
fn an_rdb_base_and_what_was_written_meanwhile_are_the_whole() {
    let mem = Mem::new();
    let mut world = World::new(Arc::new(mem.clone()));
    let mut random = Random::new(5);
    run_random(&mut world, &mut random, 400);
    let settings = Settings { format: format(), ..world.settings() };
    let wake = Arc::clone(&world.wake);
    let rewrite = Rewrite::begin(world.log(), settings, wake).expect("it begins");
    world.finish(rewrite, |world| run_random(world, &mut random, 20)).expect("it succeeds");
    run_random(&mut world, &mut random, 50);
    let expected = world.dump();
    world.stop();
    assert!(manifest(&mem, &world.options).starts_with("file appendonly.aof.2.base.rdb seq 2 type b\n"));
    assert_eq!(world.reload(), expected);
}

#[test]
fn long_strings_that_are_written_to_meanwhile_are_whole_again_from_either_format() {
    for format in [Format::Commands, format()] {
        let mut world = World::new(Arc::new(Mem::new()));
        let value: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        for (key, len) in [("a", 300_000), ("b", 65_520), ("c", 65_521), ("d", 65_519)] {
            world.run(0, &[b"SET", key.as_bytes(), &value[..len]]);
        }
        world.run_line("SETBIT far 8000000 1");
        let settings = Settings { format, ..world.settings() };
        let wake = Arc::clone(&world.wake);
        let rewrite = Rewrite::begin(world.log(), settings, wake).expect("it begins");
        let mut round = 0;
        let write = |world: &mut World| {
            round += 1;
            for key in ["a", "b", "c", "d", "far"] {
                world.run_line(&format!("APPEND {key} {round}"));
                world.run_line(&format!("SETBIT {key} {} 1", round * 1_000));
            }
        };
        world.finish(rewrite, write).expect("it succeeds");
        let expected = world.dump();
        world.stop();
        assert!(world.reload() == expected, "too long to print");
    }
}

#[test]
fn an_empty_base_is_an_rdb_file_where_its_bytes_are_given() {
    let mem = Mem::new();
    let mut world = World::without_log(Arc::new(mem.clone()), Options::new("/d"));
    let rewrite = save(&world);
    world.finish(rewrite, |_| {}).expect("it succeeds");
    let empty_base_rdb = mem.bytes(Path::new(TARGET)).expect("it was saved");

    let mem = Mem::new();
    let mut world = World::with(
        Arc::new(mem.clone()),
        Options { empty_base_rdb: Some(empty_base_rdb.clone()), ..Options::new("/d") },
    );
    world.run_line("SET a 1");
    world.stop();
    let base = mem.bytes(Path::new("/d/appendonlydir/appendonly.aof.1.base.rdb")).expect("it was created");
    let head = base.strip_prefix(&empty_base_rdb[..]).expect("it begins with the RDB file");
    assert!(head.starts_with(b"#EV1 "), "what follows ties it to the log");
    assert_eq!(load(Arc::new(mem), &world.options).expect("it loads"), world.dump());
}

#[test]
fn a_save_takes_the_place_of_the_former_file_once_it_is_whole() {
    let mem = Mem::new();
    let mut world = World::without_log(Arc::new(mem.clone()), Options::new("/d"));
    mem.put(Path::new(TARGET), b"the former file");
    run_random(&mut world, &mut Random::new(7), 300);
    let rewrite = save(&world);
    let summary = world.finish(rewrite, |_| {}).expect("it succeeds");
    assert!(!exists(&mem, Path::new(TEMP)));
    // What a power cut leaves.
    let file = mem.power_cut().bytes(Path::new(TARGET)).expect("it is durable");
    assert_eq!(file.len() as u64, summary.base_bytes);
    let mut reader = Reader::new(&file[..], world.keyspace.rdb_shapes()).expect("it is an RDB file");
    let (mut keys, mut end) = (0, None);
    while let Some(item) = reader.next().expect("it is sound") {
        match item {
            Item::Key(_) => keys += 1,
            Item::End(checksum) => end = Some(checksum),
            _ => {}
        }
    }
    assert_eq!((keys, end), (world.dump().len() as u64, Some(Checksum::Verified)));
}

#[test]
fn a_save_that_fails_leaves_the_former_file() {
    for (call, path) in
        [(Call::Create, TEMP), (Call::Write, TEMP), (Call::SyncData, TEMP), (Call::Rename, TEMP)]
    {
        let mem = Mem::new();
        let mut world = World::without_log(Arc::new(mem.clone()), Options::new("/d"));
        mem.put(Path::new(TARGET), b"the former file");
        world.run_line("SET a 1");
        mem.fail_with(move |now, at| {
            (now == call && at == Path::new(path)).then(|| io::Error::from_raw_os_error(28))
        });
        let rewrite = save(&world);
        let outcome = world.finish(rewrite, |_| {});
        assert!(matches!(outcome, Err(Error::Io { .. })), "{call:?}: {outcome:?}");
        mem.heal();
        assert_eq!(mem.bytes(Path::new(TARGET)).as_deref(), Some(&b"the former file"[..]), "{call:?}");
        assert!(!exists(&mem, Path::new(TEMP)), "{call:?}");
    }
}

#[test]
fn an_aborted_save_leaves_the_former_file() {
    let mem = Mem::new();
    let mut world = World::without_log(Arc::new(mem.clone()), Options::new("/d"));
    mem.put(Path::new(TARGET), b"the former file");
    world.run_line("SET a 1");
    world.run_line("SET b 1");
    let mut rewrite = save(&world);
    rewrite.set_key_delay_us(10_000_000);
    world.step_until(&mut rewrite, |rewrite| rewrite.progress().keys > 0);
    rewrite.abort(None);
    assert!(!exists(&mem, Path::new(TEMP)));
    assert_eq!(mem.bytes(Path::new(TARGET)).as_deref(), Some(&b"the former file"[..]));
}
