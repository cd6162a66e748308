//! A rewrite among writes: executor, job, writer and syncer together.

use std::sync::Arc;
use std::time::Instant;

use aof::fs::Mem;
use aof::{Directory, Log, Op, Options, Sink, SinkError};
use bytes::BytesMut;
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};

use super::{disk, increment, model, options, settings};
use crate::Rewrite;
use crate::sync::{Broken, Sabotage};

fn write(keyspace: &mut Keyspace, log: &mut Log) {
    let command = increment(keyspace);
    log.append(0, &[Op { db: 0, command: &command }]);
    log.seal(Instant::now());
}

/// Steps until the stage that `is_there` recognises, or to the end.
fn drive(rewrite: &mut Rewrite, log: &mut Log, keyspace: &Keyspace, mut is_there: impl FnMut(&Rewrite) -> bool) {
    while !is_there(rewrite) {
        if let Some(outcome) = rewrite.step(Some(log), 0, || keyspace.snapshot()) {
            outcome.expect("the rewrite failed");
            return;
        }
        loom::thread::yield_now();
    }
}

struct Loader(Keyspace);

impl Sink for Loader {
    fn command(&mut self, _: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        let (mut out, mut unit) = (BytesMut::new(), Unit::default());
        self.0.execute(&Call::new(0, 0, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
        Ok(())
    }
}

/// What a start after a power cut would count.
fn replayed(disk: &Mem, options: &Options) -> Vec<u8> {
    let directory = Directory::open(Arc::new(disk.power_cut()), options).expect("it opens");
    let mut loader = Loader(Keyspace::new(1, 42));
    directory.replay(&mut loader, options).expect("it replays");
    increment(&mut loader.0);
    let argv: &[&[u8]] = &[b"GET", b"k"];
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    loader.0.execute(&Call::new(0, 0, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
    out.to_vec()
}

/// One write before the rotation, one between its request and the switch, one during the walk: each is in the base or
/// in the incr behind it, and in one of them only.
fn handover_model(sabotage: Option<Sabotage>) {
    model(move || {
        let (disk, options) = (disk(), options());
        let directory = Directory::open(disk.clone(), &options).expect("a fresh disk opens");
        let mut log = Log::start(directory, &options, Box::new(|| {})).expect("it starts");
        let mut keyspace = Keyspace::new(1, 42);
        let mut rewrite =
            Rewrite::begin_on(&mut log, settings(), Arc::new(|| {}), Broken(sabotage)).expect("it begins");
        let _ = rewrite.step(Some(&mut log), 0, || keyspace.snapshot());
        write(&mut keyspace, &mut log);
        drive(&mut rewrite, &mut log, &keyspace, |rewrite| !rewrite.is_rotating());
        write(&mut keyspace, &mut log);
        drive(&mut rewrite, &mut log, &keyspace, |_| false);
        log.stop().expect("nothing failed");
        assert_eq!(replayed(&disk, &options), b"$1\r\n3\r\n", "a write was missed or repeated");
    });
}

#[test]
fn rewrite_handover_misses_no_write() {
    handover_model(None);
}

#[test]
#[should_panic(expected = "a write was missed or repeated")]
fn rewrite_handover_misses_no_write_notices_a_snapshot_before_the_switch() {
    handover_model(Some(Sabotage::SnapshotTooEarly));
}

#[test]
#[should_panic(expected = "the rewrite failed")]
fn rewrite_handover_misses_no_write_notices_a_base_that_claims_too_much() {
    handover_model(Some(Sabotage::CoverTooMuch));
}
