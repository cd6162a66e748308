//! The hand-over from one file to the next.

use super::{model, write};
use crate::options::Fsync;
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
