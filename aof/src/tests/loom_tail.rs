//! Executor, writer and publisher take turns at the file's tail.

use std::path::PathBuf;

use super::{model, model_with, write};
use crate::fs::Fs;
use crate::options::{Fsync, Options};
use crate::sync::Sabotage;
use crate::{BaseFormat, NewBase};

fn owner_model(sabotage: Option<Sabotage>) {
    model(Fsync::Everysec, sabotage, |mut log, disk| {
        write(&mut log);
        // Wakes the writer, which then finds the tail taken, or takes it.
        log.sync_now();
        write(&mut log);
        let end = log.end();
        log.stop().expect("nothing failed");
        assert_eq!(disk.incr_bytes().0, end, "two threads wrote the same block");
    });
}

#[test]
fn tail_has_one_owner() {
    owner_model(None);
}

#[test]
#[should_panic(expected = "two threads w")]
fn tail_has_one_owner_notices_an_executor_that_does_not_ask() {
    owner_model(Some(Sabotage::IgnoreTailOwner));
}

/// A base is published while there is something to write.
fn publish_model(direct: bool, sabotage: Option<Sabotage>) {
    let options = Options {
        fsync: Fsync::Everysec,
        checksum: false,
        disable_auto_gc: true,
        direct_write: direct,
        ..Options::new("/d")
    };
    model_with(2, options, sabotage, |mut log, disk| {
        log.begin_rotation().expect("it can always be asked for");
        while log.rotation_ready().is_none() {
            loom::thread::yield_now();
        }
        write(&mut log);
        let covers = log.switch();
        let temp_path = PathBuf::from("/d/temp");
        disk.create(&temp_path).expect("there is room");
        log.publish_base(NewBase { temp_path, format: BaseFormat::Resp, covers, len_bytes: 0 });
        write(&mut log);
        let behind = log.end() - covers;
        log.stop().expect("nothing failed");
        assert_eq!(disk.last_incr_bytes(), (behind, behind), "a write went to no file, or to two");
    });
}

#[test]
fn tail_has_one_owner_beside_a_publisher() {
    publish_model(true, None);
    publish_model(false, None);
}

#[test]
#[should_panic(expected = "a write went to no file, or to two")]
fn tail_has_one_owner_beside_a_publisher_notices_one_that_is_too_early() {
    publish_model(false, Some(Sabotage::PublishBeforeSwitch));
}
