//! Executor and writer take turns at the file's tail.

use super::{model, write};
use crate::options::Fsync;
use crate::sync::Sabotage;

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
