//! Stopping, and being told.

use std::sync::atomic::Ordering::SeqCst;

use super::{model, model_with, write};
use crate::options::{Fsync, Options};
use crate::sync::Sabotage;

fn stop_model(sabotage: Option<Sabotage>) {
    model(Fsync::Everysec, sabotage, |mut log, disk| {
        disk.fail_sync.store(true, SeqCst);
        write(&mut log);
        let end = log.end();
        let stopped = log.stop();
        assert!(stopped.is_ok() && disk.incr_bytes().1 >= end, "stopped before all was durable");
    });
}

#[test]
fn stop_joins_and_flushes() {
    stop_model(None);
}

#[test]
#[should_panic(expected = "stopped before all was durable")]
fn stop_joins_and_flushes_notices_a_writer_that_does_not_wait() {
    stop_model(Some(Sabotage::StopWithoutSync));
}

fn wakeup_model(sabotage: Option<Sabotage>) {
    model(Fsync::Everysec, sabotage, |mut log, disk| {
        write(&mut log);
        log.sync_now();
        write(&mut log);
        let end = log.end();
        log.stop().expect("nothing failed");
        assert_eq!(disk.incr_bytes(), (end, end));
    });
}

#[test]
fn no_lost_wakeup() {
    wakeup_model(None);
}

/// The last line that the writer writes, which says that all else is durable, has no position for anybody to wait for.
#[test]
fn stop_syncs_the_last_line_too() {
    let options = Options { fsync: Fsync::Always, ..Options::new("/d") };
    model_with(2, options, None, |mut log, disk| {
        write(&mut log);
        let end = log.end();
        log.stop().expect("nothing failed");
        let (len, synced) = disk.incr_bytes();
        assert!(len > end && synced == len, "{synced} of {len} bytes are durable");
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn no_lost_wakeup_notices_a_syncer_that_tells_nobody() {
    wakeup_model(Some(Sabotage::ForgetToNotify));
}
