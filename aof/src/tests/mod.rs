//! Models of the protocols between executor, writer and syncer, on the shipped code over a fake disk. Each names its
//! invariant, and each has a twin that breaks the code on purpose and must fail.
//!
//! What they do not see: time (a timed wait waits to be told), more than one turn of two or three blocks, and the middle of
//! a call to the disk, where loom finds nothing that two threads share: the simulation does.

mod fake;
mod loom_rotation;
mod loom_stop;
mod loom_sync;
mod loom_tail;

use std::sync::Arc;
use std::time::Instant;

use fake::FakeDisk;

use crate::options::{Fsync, Options};
use crate::sync::{Broken, Condvar, Mutex, Sabotage};
use crate::{Directory, Log, Op, Wake};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Explores `body` with a log that is broken as told, on a fresh fake disk each time.
fn model(
    fsync: Fsync,
    sabotage: Option<Sabotage>,
    body: impl Fn(Log, Arc<FakeDisk>) + Send + Sync + 'static,
) {
    // Heads and marks are calls of the writer's like others: one model has them. Two preemptions find nearly all that three
    // find, in minutes instead of days.
    model_with(2, Options { fsync, checksum: false, ..Options::new("/d") }, sabotage, body);
}

fn model_with(
    preemptions: usize,
    options: Options,
    sabotage: Option<Sabotage>,
    body: impl Fn(Log, Arc<FakeDisk>) + Send + Sync + 'static,
) {
    explore(preemptions, move || {
        let (log, disk) = start(&options, sabotage, Box::new(|| {}));
        body(log, disk);
    });
}

fn explore(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(body);
}

fn start(options: &Options, sabotage: Option<Sabotage>, wake: Wake) -> (Log, Arc<FakeDisk>) {
    let disk = Arc::new(FakeDisk::default());
    let directory = Directory::open(disk.clone(), options).expect("a fresh disk opens");
    let log = Log::start_on(directory, options, wake, Broken(sabotage)).expect("it starts");
    (log, disk)
}

fn write(log: &mut Log) {
    write_at(log, Instant::now());
}

fn write_at(log: &mut Log, at: Instant) {
    log.append(0, &[Op { db: 0, command: PING }]);
    log.seal(at);
}

/// What the log wakes, for an executor that sleeps until it is told.
struct Bell {
    has_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    fn new() -> Arc<Bell> {
        Arc::new(Bell { has_rung: Mutex::new(false), rung: Condvar::new() })
    }

    fn ring(&self) {
        *self.has_rung.lock() = true;
        self.rung.notify_one();
    }

    fn sleep_until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            let mut has_rung = self.has_rung.lock();
            while !std::mem::take(&mut *has_rung) {
                self.rung.wait(&mut has_rung);
            }
        }
    }
}
