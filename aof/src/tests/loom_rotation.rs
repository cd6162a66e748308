//! The hand-over from one file to the next.

use super::{model, model_with, write};
use crate::options::{Fsync, Options};
use crate::sync::Sabotage;

fn rotation_model(sabotage: Option<Sabotage>) {
    model(Fsync::Everysec, sabotage, |mut log, disk| {
        log.begin_rotation().expect("it can always be asked for");
        // Before the next file is there, or after: then nothing but the switch waits for it.
        write(&mut log);
        while log.rotation_ready().is_none() {
            loom::thread::yield_now();
        }
        log.switch();
        write(&mut log);
        assert!(disk.only_the_last_is_dirty(), "a byte of n+1 before n was synced");
        let end = log.end();
        log.stop().expect("nothing failed");
        assert_eq!(disk.incr_bytes(), (end, end), "a byte of n+1 before n was synced");
    });
}

#[test]
fn rotation_keeps_pending_fsync() {
    rotation_model(None);
}

#[test]
#[should_panic(expected = "a byte of n+1 before n was synced")]
fn rotation_keeps_pending_fsync_notices_a_switch_that_does_not_wait() {
    rotation_model(Some(Sabotage::SwitchWithoutSync));
}

/// The head of n+1 says where n ends, behind the line that calls all of n durable: that has no position to wait for.
fn mark_model(sabotage: Option<Sabotage>) {
    let options = Options { fsync: Fsync::Everysec, ..Options::new("/d") };
    model_with(1, options, sabotage, |mut log, disk| {
        log.begin_rotation().expect("it can always be asked for");
        while log.rotation_ready().is_none() {
            loom::thread::yield_now();
        }
        write(&mut log);
        log.drain();
        log.switch();
        write(&mut log);
        log.stop().expect("nothing failed");
        assert!(disk.only_the_last_is_dirty(), "n+1 counts on a line of n that is not durable");
    });
}

#[test]
fn rotation_waits_for_the_last_line() {
    mark_model(None);
}

#[test]
#[should_panic(expected = "n+1 counts on a line of n that is not durable")]
fn rotation_waits_for_the_last_line_notices_a_line_that_nobody_syncs() {
    mark_model(Some(Sabotage::ForgetMark));
}
