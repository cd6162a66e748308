//! Bases and saves as RDB files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aof::Options;
use aof::fs::{Call, Mem};
use keyspace::Random;
use keyspace::rdb::{Checksum, Item, Reader};
use rewrite::{Error, Format, Rewrite, Settings};

use super::equivalence::run_random;
use super::{KINDS, World, exists, load, rdb_format};

const TARGET: &str = "/d/dump.rdb";
const TEMP: &str = "/d/temp-7.rdb";

fn save(world: &World) -> Rewrite {
    let settings = Settings { temp_path: TEMP.into(), format: Format::Rdb(rdb_format()), ..world.settings() };
    Rewrite::begin_save(Arc::clone(&world.fs), PathBuf::from(TARGET), settings, Arc::clone(&world.wake))
}

#[test]
fn long_strings_that_are_written_to_meanwhile_are_whole_again_from_either_format() {
    for kind in KINDS {
        let mut world = World::new(Arc::new(Mem::new()), kind);
        let value: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        for (key, len) in [("a", 300_000), ("b", 65_520), ("c", 65_521), ("d", 65_519)] {
            world.run(0, &[b"SET", key.as_bytes(), &value[..len]]);
        }
        world.run_line("SETBIT far 8000000 1");
        let rewrite = world.begin();
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
    let mut world = World::new(Arc::new(mem.clone()), KINDS[0]);
    let empty_base_rdb = world.options.empty_base_rdb.clone().expect("it is of that kind");
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
    let mut world = World::without_log(Arc::new(mem.clone()), KINDS[0], Options::new("/d"));
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
        let mut world = World::without_log(Arc::new(mem.clone()), KINDS[0], Options::new("/d"));
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
    let mut world = World::without_log(Arc::new(mem.clone()), KINDS[0], Options::new("/d"));
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
