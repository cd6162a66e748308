//! Stopping, and being told.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use super::{Bell, explore, model, model_with, start, write, write_at};
use crate::options::{Fsync, Options};
use crate::policy::EVERYSEC;
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

#[test]
#[should_panic(expected = "deadlock")]
fn no_lost_wakeup_notices_a_syncer_that_tells_nobody() {
    wakeup_model(Some(Sabotage::ForgetToNotify));
}

/// The last line that the writer writes, which says that all else is durable, has no position for anybody to wait for.
fn last_line_model(sabotage: Option<Sabotage>) {
    let options = Options { fsync: Fsync::Always, ..Options::new("/d") };
    model_with(2, options, sabotage, |mut log, disk| {
        write(&mut log);
        let end = log.end();
        log.stop().expect("nothing failed");
        let (len, synced) = disk.incr_bytes();
        assert!(len > end, "no line calls it durable");
        assert_eq!(synced, len, "the last line is not durable");
    });
}

#[test]
fn stop_syncs_the_last_line_too() {
    last_line_model(None);
}

#[test]
#[should_panic(expected = "the last line is not durable")]
fn stop_syncs_the_last_line_too_notices_a_line_that_nobody_syncs() {
    last_line_model(Some(Sabotage::ForgetMark));
}

/// The fdatasync of the first block may end while the executor is at the second, and then the syncer has nothing to wait
/// for: who wrote last must wake it. A stop would, too: nobody stops before all is durable.
fn direct_write_model(sabotage: Option<Sabotage>) {
    explore(2, move || {
        let options = Options { fsync: Fsync::Everysec, checksum: false, ..Options::new("/d") };
        let bell = Bell::new();
        let told = bell.clone();
        let (mut log, disk) = start(&options, sabotage, Box::new(move || told.ring()));
        // Both are due for an fdatasync as soon as they are written: time stands still.
        let long_ago = Instant::now() - 2 * EVERYSEC;
        write_at(&mut log, long_ago);
        write_at(&mut log, long_ago);
        let end = log.end();
        bell.sleep_until(|| log.durable() >= end);
        assert!(disk.incr_bytes().1 >= end, "told before it was durable");
    });
}

#[test]
fn a_write_that_outlasts_an_fdatasync_is_synced() {
    direct_write_model(None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_write_that_outlasts_an_fdatasync_is_synced_notices_a_syncer_that_sleeps_on() {
    direct_write_model(Some(Sabotage::LookBeforeOnly));
}
