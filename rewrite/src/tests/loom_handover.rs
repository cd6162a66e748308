//! A rewrite among writes: executor, job, writer and syncer together.

use std::sync::Arc;
use std::time::Instant;

use aof::fs::Mem;
use aof::{Directory, Log, Op, Options, Sink, SinkError};

use super::{Counter, disk, model, options, settings};
use crate::Rewrite;
use crate::sync::{Broken, Sabotage};

/// Four threads meet here: with two, the model takes ten minutes and more.
const PREEMPTIONS: usize = 1;

const INCR: &[u8] = b"*1\r\n$4\r\nINCR\r\n";

fn increment(counter: &mut Counter, log: &mut Log) {
    counter.0 += 1;
    log.append(0, &[Op { db: 0, command: INCR }]);
    log.seal(Instant::now());
}

/// Steps until the stage that `is_there` recognises, or to the end.
fn drive(rewrite: &mut Rewrite, log: &mut Log, view: impl Fn() -> Counter, is_there: fn(&Rewrite) -> bool) {
    while !is_there(rewrite) {
        if let Some(outcome) = rewrite.step(Some(log), 0, &view) {
            outcome.expect("the rewrite failed");
            return;
        }
        loom::thread::yield_now();
    }
}

impl Sink for Counter {
    fn command(&mut self, _: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        match argv {
            [b"SET", [digit]] => self.0 = digit - b'0',
            _ => self.0 += 1,
        }
        Ok(())
    }
}

/// What a start after a power cut would count.
fn replayed(disk: &Mem, options: &Options) -> u8 {
    let mut directory = Directory::open(Arc::new(disk.power_cut()), options).expect("it opens");
    let mut counter = Counter(0);
    directory.replay(&mut counter, options).expect("it replays");
    counter.0
}

/// One write between the request and the switch, one during the walk: each is in the base or in the incr behind it, and
/// in one of them only.
fn handover_model(sabotage: Option<Sabotage>, snapshot_too_early: bool) {
    model(PREEMPTIONS, move || {
        let (disk, options) = (disk(), options());
        let directory = Directory::open(disk.clone(), &options).expect("a fresh disk opens");
        let mut log = Log::start(directory, &options, Box::new(|| {})).expect("it starts");
        let mut counter = Counter(0);
        let rewrite = Rewrite::begin_on(&mut log, settings(), Arc::new(|| {}), Broken(sabotage));
        let mut rewrite = rewrite.expect("it begins");
        let early = counter;
        increment(&mut counter, &mut log);
        let view = if snapshot_too_early { early } else { counter };
        drive(&mut rewrite, &mut log, || view, |rewrite| !rewrite.is_rotating());
        increment(&mut counter, &mut log);
        drive(&mut rewrite, &mut log, || counter, |_| false);
        log.stop().expect("nothing failed");
        assert_eq!(replayed(&disk, &options), 2, "a write was missed or repeated");
    });
}

#[test]
fn rewrite_handover_misses_no_write() {
    handover_model(None, false);
}

#[test]
#[should_panic(expected = "a write was missed or repeated")]
fn rewrite_handover_misses_no_write_notices_a_snapshot_before_the_switch() {
    handover_model(None, true);
}

#[test]
#[should_panic(expected = "the rewrite failed")]
fn rewrite_handover_misses_no_write_notices_a_base_that_claims_too_much() {
    handover_model(Some(Sabotage::CoverTooMuch), false);
}
