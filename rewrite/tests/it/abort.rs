//! Aborts at every stage: the file goes at once, the log goes on, and the next rewrite is not disturbed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use aof::Options;
use aof::fs::{Call, Mem};
use rewrite::{Output, Progress, Rewrite, Settings, Source};

use super::{KINDS, Kind, PATIENCE, World, exists, load};

const TEMP: &str = "/d/appendonlydir/temp-rewriteaof-bg-7.aof";
const A_DAY_US: u32 = 3_600_000_000;

fn world_of(kind: Kind, keys: usize) -> (Mem, World) {
    let mem = Mem::new();
    let mut world = World::new(Arc::new(mem.clone()), kind);
    (0..keys).for_each(|n| world.run_line(&format!("SET key{n} value{n}")));
    (mem, world)
}

fn begin_slow(world: &mut World) -> Rewrite {
    let settings = Settings { key_delay_us: A_DAY_US, ..world.settings() };
    let wake = Arc::clone(&world.wake);
    Rewrite::begin(world.log(), settings, wake).expect("it begins")
}

/// The next rewrite works, and everything is there.
fn goes_on(mem: &Mem, mut world: World, context: &str) {
    world.run_line("INCR after");
    world.settle();
    let cut = load(Arc::new(mem.power_cut()), &world.options).expect(context);
    assert_eq!(cut, world.dump(), "{context}");
    world.rewrite().expect(context);
    let expected = world.dump();
    world.stop();
    assert_eq!(world.reload(), expected, "{context}");
    assert!(!exists(mem, Path::new(TEMP)), "{context}");
}

#[test]
fn an_abort_ends_a_rest_of_an_hour_and_removes_the_file_at_once() {
    for kind in KINDS {
        let (mem, mut world) = world_of(kind, 300);
        let mut rewrite = begin_slow(&mut world);
        world.step_until(&mut rewrite, |rewrite| rewrite.progress().keys == 1);
        assert!(exists(&mem, Path::new(TEMP)));
        // At most what stands in front of the keys is out.
        assert!(matches!(rewrite.progress(), Progress { keys: 1, keys_total: 300, bytes: 0..200 }));
        let start = Instant::now();
        rewrite.abort(world.log.as_mut());
        assert!(start.elapsed() < PATIENCE / 2);
        assert!(!exists(&mem, Path::new(TEMP)));
        goes_on(&mem, world, &format!("{kind:?}, while walking"));
    }
}

#[test]
fn an_abort_at_any_moment_leaves_a_log_that_goes_on() {
    for (steps, kind) in (0..40).flat_map(|steps| KINDS.map(|kind| (steps, kind))) {
        let (mem, mut world) = world_of(kind, 50);
        let mut rewrite = world.begin();
        let mut ended = false;
        for _ in 0..steps {
            ended = ended || world.step(&mut rewrite).is_some();
            std::thread::yield_now();
        }
        let log = world.log.as_mut();
        if steps % 2 == 0 {
            rewrite.abort(log)
        } else {
            drop(rewrite)
        }
        goes_on(&mem, world, &format!("{kind:?}, after {steps} steps, ended: {ended}"));
    }
}

#[test]
fn a_finished_base_that_nobody_took_is_removed() {
    for kind in KINDS {
        let (mem, mut world) = world_of(kind, 50);
        let mut rewrite = world.begin();
        world.step_until(&mut rewrite, |rewrite| rewrite.progress().keys_total > 0);
        let start = Instant::now();
        while rewrite.progress().keys < 50 || rewrite.progress().bytes == 0 {
            assert!(start.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        rewrite.abort(world.log.as_mut());
        assert!(!exists(&mem, Path::new(TEMP)));
        goes_on(&mem, world, &format!("{kind:?}, when finished"));
    }
}

#[test]
fn a_base_that_waits_for_the_writer_is_withdrawn_or_published() {
    for kind in KINDS.repeat(15) {
        let (mem, mut world) = world_of(kind, 20);
        let mut rewrite = world.begin();
        let slow = mem.clone();
        // The writer takes its time, so that the abort meets it now before, now in, now after its work.
        slow.fail_with(|call, _| {
            if call == Call::Rename {
                std::thread::sleep(Duration::from_millis(1));
            }
            None
        });
        world.step_until(&mut rewrite, |rewrite| rewrite.progress().bytes > 0);
        (0..30).for_each(|_| drop(world.step(&mut rewrite)));
        rewrite.abort(world.log.as_mut());
        goes_on(&mem, world, &format!("{kind:?}, while publishing"));
    }
}

#[test]
fn a_rest_follows_the_directive() {
    let (_, mut world) = world_of(KINDS[0], 300);
    let mut rewrite = begin_slow(&mut world);
    world.step_until(&mut rewrite, |rewrite| rewrite.progress().keys == 1);
    rewrite.set_key_delay_us(1);
    let summary = world.finish(rewrite, |_| {}).expect("it succeeds");
    assert_eq!(summary.keys, 300);
    world.stop();
}

#[test]
fn the_limit_of_bytes_a_second_can_be_lifted_while_the_job_rests() {
    let (_, mut world) = world_of(KINDS[0], 30_000);
    let settings = Settings { max_bytes_per_s: 1, ..world.settings() };
    let wake = Arc::clone(&world.wake);
    let mut rewrite = Rewrite::begin(world.log(), settings, wake).expect("it begins");
    // The first bytes alone take longer than anybody waits.
    world.step_until(&mut rewrite, |rewrite| rewrite.progress().bytes > 0);
    rewrite.set_max_bytes_per_s(0);
    let summary = world.finish(rewrite, |_| {}).expect("it succeeds");
    assert_eq!(summary.keys, 30_000);
    world.stop();
}

#[test]
fn a_rest_that_the_limit_of_bytes_demands_can_be_aborted() {
    let (mem, mut world) = world_of(KINDS[0], 300);
    let settings = Settings { max_bytes_per_s: 1, ..world.settings() };
    let wake = Arc::clone(&world.wake);
    let mut rewrite = Rewrite::begin(world.log(), settings, wake).expect("it begins");
    world.step_until(&mut rewrite, |rewrite| rewrite.progress().bytes > 0);
    rewrite.abort(world.log.as_mut());
    assert!(!exists(&mem, Path::new(TEMP)));
    goes_on(&mem, world, "while resting");
}

/// A view whose walk ends when it is told to, aborted or not.
struct Stubborn(Receiver<()>);

impl Source for Stubborn {
    fn keys(&self) -> u64 {
        1
    }

    fn write(self, _: &Settings, _: i64, _: &mut Output<'_>) -> io::Result<()> {
        self.0.recv().map_err(io::Error::other)
    }
}

#[test]
fn who_aborts_can_tell_when_the_snapshot_is_gone() {
    let (mem, mut world) = world_of(KINDS[0], 1);
    let (walk_on, told) = channel();
    let (mut view, start) = (Some(Stubborn(told)), Instant::now());
    let mut rewrite = world.begin();
    assert!(!rewrite.hold().is_held(), "none is taken yet");
    while !rewrite.hold().is_held() {
        assert!(start.elapsed() < PATIENCE, "it never came");
        let outcome = rewrite.step(world.log.as_mut(), 0, || view.take().expect("one snapshot is taken"));
        assert!(outcome.is_none(), "it ended too early");
        let _ = world.woken.recv_timeout(Duration::from_millis(5));
    }
    let hold = rewrite.hold();
    rewrite.abort(world.log.as_mut());
    assert!(hold.is_held(), "the job is still at it");
    walk_on.send(()).expect("the job waits");
    while hold.is_held() {
        assert!(start.elapsed() < PATIENCE, "it never let go");
        std::thread::yield_now();
    }
    goes_on(&mem, world, "let go");
}

#[test]
fn a_rewrite_without_a_log_can_be_aborted() {
    let mem = Mem::new();
    let mut world = World::without_log(Arc::new(mem.clone()), KINDS[0], Options::new("/d"));
    (0..10).for_each(|n| world.run_line(&format!("SET key{n} value{n}")));
    let settings = Settings { key_delay_us: A_DAY_US, ..world.settings() };
    let (fs, wake) = (Arc::clone(&world.fs), Arc::clone(&world.wake));
    let mut rewrite = Rewrite::begin_offline(fs, &world.options, settings, wake);
    world.step_until(&mut rewrite, |rewrite| rewrite.progress().keys == 1);
    rewrite.abort(None);
    assert!(!exists(&mem, Path::new(TEMP)));
    assert!(!exists(&mem, Path::new("/d/appendonlydir/appendonly.aof.manifest")));
    let rewrite = world.begin_offline();
    world.finish(rewrite, |_| {}).expect("it succeeds");
    assert_eq!(load(Arc::new(mem), &world.options).expect("it loads"), world.dump());
}
