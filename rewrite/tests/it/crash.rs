//! A crash before every single file call of a rewrite: what is left loads, and is a state that the data once had. Every
//! file that a manifest lists stands there by its name, so that a stock server would start, too.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aof::fs::Mem;
use aof::{Fs, Fsync, Options};

use super::{Dump, KINDS, Kind, World, exists, load_and_go_on, manifest};

/// The directory at one moment, and how many units the log had promised before it.
struct Image {
    call: String,
    mem: Mem,
    promised: usize,
}

/// The files by their types, as the manifest lists them.
fn listed(mem: &Mem, options: &Options, types: &str) -> BTreeSet<String> {
    let lines = manifest(mem, options);
    let words = lines.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| types.contains(words[5])).map(|words| words[1].to_owned()).collect()
}

/// What a stock server insists on.
fn assert_all_listed_are_there(mem: &Mem, options: &Options, context: &str) {
    for name in listed(mem, options, "bi") {
        assert!(exists(mem, &options.dir.join(&name)), "{context}: {name} is listed and not there");
    }
}

/// The bases that stand in the directory.
fn bases(mem: &Mem, dir: &Path) -> BTreeSet<String> {
    mem.list(dir).expect("it is there").into_iter().filter(|name| name.contains(".base.")).collect()
}

/// Every unit leaves a state that no other has, and none may be executed twice.
fn unit(world: &mut World, n: usize) {
    world.run_line("INCR counter");
    match n % 4 {
        0 => world.run_line(&format!("RPUSH list {n}")),
        1 => world.run_line(&format!("SADD set {n}")),
        2 => world.run_line(&format!("ZADD zset {n} m")),
        _ => world.run_line(&format!("HSET hash f{n} v")),
    }
}

/// Runs two rewrites among writes, keeping an image before each call; checks each against the history.
fn every_image_loads(
    fsync: Fsync,
    kind: Kind,
    image_of: fn(&Mem) -> Mem,
    promised_of: fn(&mut World) -> u64,
) {
    let mem = Mem::new();
    let mut world = World::with(Arc::new(mem.clone()), kind, Options { fsync, ..Options::new("/d") });
    let images = Arc::new(Mutex::new(Vec::new()));
    // What the executor last saw promised: a lower bound for every image from then on.
    let promised = Arc::new(Mutex::new(0));
    let (for_hook, seen, of) = (Arc::clone(&images), Arc::clone(&promised), mem.clone());
    mem.fail_with(move |call, path| -> Option<io::Error> {
        let call = format!("{call:?} {}", path.display());
        let promised = *seen.lock().expect("not poisoned");
        for_hook.lock().expect("not poisoned").push(Image { call, mem: image_of(&of), promised });
        None
    });
    let mut history: Vec<(u64, Dump)> = vec![(0, Dump::new())];
    let mut n = 0;
    let mut turn = |world: &mut World| {
        for _ in 0..3 {
            n += 1;
            unit(world, n);
            let end = world.log().end();
            // Two units: the state between them counts as well, but only the last is looked up by its position.
            history.push((end, world.dump()));
        }
        let safe = promised_of(world);
        let known = history.iter().rposition(|(end, _)| *end <= safe).unwrap_or(0);
        *promised.lock().expect("not poisoned") = known;
    };
    for _ in 0..2 {
        turn(&mut world);
        let rewrite = world.begin();
        world.finish(rewrite, &mut turn).expect("it succeeds");
        turn(&mut world);
    }
    world.stop();
    mem.heal();
    let images = std::mem::take(&mut *images.lock().expect("not poisoned"));
    assert!(images.len() > 40, "{} images", images.len());
    for (at, Image { call, mem, promised }) in images.into_iter().enumerate() {
        let context = format!("{fsync:?}, {kind:?}, image {at}, before {call}");
        assert_all_listed_are_there(&mem, &world.options, &context);
        let fs: Arc<dyn Fs> = Arc::new(mem);
        let loaded = load_and_go_on(&fs, &world.options).unwrap_or_else(|error| panic!("{context}: {error}"));
        let found = history.iter().position(|(_, dump)| same_but_for_half_a_turn(dump, &loaded));
        let found = found.unwrap_or_else(|| panic!("{context}: never was {loaded:?}"));
        assert!(found >= promised, "{context}: {promised} units were promised, {found} are there");
    }
}

/// Each `unit` is two blocks: after the first, only the counter is ahead.
fn same_but_for_half_a_turn(dump: &Dump, loaded: &Dump) -> bool {
    let counter = (0, b"counter".to_vec());
    let count = |dump: &Dump| -> i64 {
        dump.get(&counter)
            .map_or(0, |(text, _)| text.trim_start_matches("string ").parse().expect("a number"))
    };
    let ahead = count(loaded) - count(dump);
    let mut rest = loaded.clone();
    match dump.get(&counter) {
        Some(value) => rest.insert(counter, value.clone()),
        None => rest.remove(&counter),
    };
    (ahead == 0 || ahead == 1) && rest == *dump
}

fn every_way() -> impl Iterator<Item = (Fsync, Kind)> {
    let policies = [Fsync::Always, Fsync::Everysec, Fsync::No];
    policies.into_iter().flat_map(|fsync| KINDS.map(|kind| (fsync, kind)))
}

#[test]
fn a_kill_before_any_call_loses_nothing_written() {
    for (fsync, kind) in every_way() {
        every_image_loads(fsync, kind, Mem::kill, |world| world.log().written());
    }
}

#[test]
fn a_power_cut_before_any_call_loses_nothing_durable() {
    for (fsync, kind) in every_way() {
        every_image_loads(fsync, kind, Mem::power_cut, |world| world.log().durable());
    }
}

#[test]
fn a_crash_during_a_rewrite_without_a_log_leaves_the_old_data_or_the_new() {
    let crashes: [fn(&Mem) -> Mem; 2] = [Mem::kill, Mem::power_cut];
    for (image_of, kind) in crashes.into_iter().flat_map(|crash| KINDS.map(|kind| (crash, kind))) {
        let mem = Mem::new();
        let mut old = World::new(Arc::new(mem.clone()), kind);
        old.run_line("SET old v");
        old.stop();
        let before = old.dump();

        let mut world = World::without_log(Arc::new(mem.clone()), kind, Options::new("/d"));
        world.run_line("SET new v");
        let images = Arc::new(Mutex::new(Vec::new()));
        let (for_hook, of) = (Arc::clone(&images), mem.clone());
        mem.fail_with(move |call, path| {
            let call = format!("{call:?} {}", path.display());
            for_hook.lock().expect("not poisoned").push((call, image_of(&of)));
            None
        });
        let rewrite = world.begin_offline();
        world.finish(rewrite, |_| {}).expect("it succeeds");
        mem.heal();
        let after = world.dump();
        let mut is_new = false;
        for (call, image) in images.lock().expect("not poisoned").drain(..) {
            assert_all_listed_are_there(&image, &world.options, &format!("{kind:?}, before {call}"));
            let fs: Arc<dyn Fs> = Arc::new(image.clone());
            let loaded =
                load_and_go_on(&fs, &world.options).unwrap_or_else(|error| panic!("before {call}: {error}"));
            let listed = listed(&image, &world.options, "b");
            assert_eq!(bases(&image, &world.options.dir), listed, "before {call}: another base stays");
            assert!(loaded == before || loaded == after, "before {call}: {loaded:?}");
            assert!(!is_new || loaded == after, "before {call}: the old data is back");
            is_new = loaded == after;
        }
        assert!(is_new, "the history is removed after the base counts");
    }
}
