//! The handshake around fdatasync.

use std::sync::atomic::Ordering::SeqCst;

use super::{model, model_with, write};
use crate::options::{Fsync, Options};
use crate::sync::Sabotage;

fn no_reply_before_fsync_model(fsync: Fsync, sabotage: Option<Sabotage>) {
    // Executor, syncer at its call, executor, writer: that takes three.
    let options = Options { fsync, checksum: false, ..Options::new("/d") };
    model_with(3, options, sabotage, |mut log, disk| {
        write(&mut log);
        log.sync_now();
        write(&mut log);
        let durable = log.durable();
        assert!(durable <= disk.incr_bytes().1, "a reply left before its fdatasync returned");
        let end = log.end();
        log.stop().expect("nothing failed");
        assert_eq!(disk.incr_bytes(), (end, end), "all that was acknowledged is synced");
    });
}

#[test]
fn no_reply_before_fsync() {
    no_reply_before_fsync_model(Fsync::Always, None);
}

#[test]
#[should_panic(expected = "all that was acknowledged is synced")]
fn no_reply_before_fsync_notices_one_that_nobody_calls() {
    no_reply_before_fsync_model(Fsync::Always, Some(Sabotage::SkipSync));
}

/// Here a block is written while the fdatasync runs that WAITAOF has asked for.
#[test]
fn flush_against_background_fsync() {
    no_reply_before_fsync_model(Fsync::Everysec, None);
}

#[test]
#[should_panic(expected = "all that was acknowledged is synced")]
fn flush_against_background_fsync_notices_what_is_noted_too_late() {
    no_reply_before_fsync_model(Fsync::Everysec, Some(Sabotage::CoverAfterSync));
}

fn failed_fsync_model(sabotage: Option<Sabotage>) {
    model(Fsync::Always, sabotage, |mut log, disk| {
        disk.fail_sync.store(true, SeqCst);
        write(&mut log);
        let durable = log.durable();
        assert!(durable <= disk.incr_bytes().1, "a failed fdatasync acknowledged");
        let end = log.end();
        log.stop().expect("the tail found a new file");
        assert!(disk.incr_bytes().1 >= end, "a failed fdatasync acknowledged");
    });
}

#[test]
fn failed_fsync_never_advances_durable() {
    failed_fsync_model(None);
}

#[test]
#[should_panic(expected = "a failed fdatasync acknowledged")]
fn failed_fsync_never_advances_durable_notices_one_that_does() {
    failed_fsync_model(Some(Sabotage::AdvanceOnFailure));
}

/// The kernel tells of an error once: who calls beside the one that is told believes that all is well.
fn one_fsync_model(sabotage: Option<Sabotage>) {
    model(Fsync::Always, sabotage, |mut log, disk| {
        disk.fail_sync.store(true, SeqCst);
        write(&mut log);
        log.sync_now();
        let durable = log.durable();
        assert!(durable <= disk.incr_bytes().1, "an error that another was told of");
        let end = log.end();
        log.stop().expect("the tail found a new file");
        assert!(disk.incr_bytes().1 >= end, "an error that another was told of");
    });
}

#[test]
fn one_fsync_at_a_time() {
    one_fsync_model(None);
}

#[test]
#[should_panic(expected = "an error that another was told of")]
fn one_fsync_at_a_time_notices_a_second_one() {
    one_fsync_model(Some(Sabotage::SyncBeside));
}
