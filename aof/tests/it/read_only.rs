//! What kernels do to a file system with an error, below a log that is running: from some moment on nothing can be changed,
//! until somebody has repaired it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use aof::fs::{Call, Mem, Verdict};
use aof::{Fsync, Health};

use crate::world::{load, options, start, turn, until};

const EROFS: i32 = 30;

fn expected(count: u64) -> Vec<String> {
    (0..count).map(|n| format!("0:SET k {n}")).collect()
}

/// Whether a file system that was remounted read-only refuses it. An fdatasync, too: ext4 aborts its journal first.
fn changes_something(call: Call) -> bool {
    !matches!(call, Call::OpenRead | Call::Len | Call::List | Call::Read)
}

#[test]
fn a_file_system_that_becomes_read_only_takes_and_loses_nothing_and_goes_on_once_it_is_writable() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        turn(&mut log, &[("k", 0)]);
        let safe = log.sync_now();
        until("durable", || log.durable() >= safe);
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        mem.on_call(move |request| {
            if !changes_something(request.call) {
                return Verdict::Pass;
            }
            counted.fetch_add(usize::from(request.call == Call::Create), Ordering::Relaxed);
            Verdict::Fail(std::io::Error::from_raw_os_error(EROFS))
        });
        let position = turn(&mut log, &[("k", 1)]);
        until("it was tried again", || tries.load(Ordering::Relaxed) >= 3);
        let Health::Failing(failure) = log.health() else { panic!("{fsync:?}: {:?}", log.health()) };
        assert_eq!((failure.errno, failure.op), (Some(EROFS), "create"), "{fsync:?}");
        assert_eq!((log.reply_watermark(), log.durable(), log.room_bytes()), (safe, safe, 0), "{fsync:?}");
        for image in [mem.power_cut(), mem.kill()] {
            assert_eq!(load(&image, &options(fsync)).unwrap().0, expected(1), "{fsync:?}");
        }

        mem.heal();
        until("acknowledged", || log.reply_watermark() >= position);
        until("healthy", || log.health() == Health::Healthy);
        turn(&mut log, &[("k", 2)]);
        let stats = log.stats(Instant::now());
        assert_eq!((stats.retired_files, stats.lost_below), (1, None), "{fsync:?}");
        log.stop().unwrap();
        let (commands, report) = load(&mem.power_cut(), &options(fsync)).unwrap();
        assert_eq!((commands, report.truncated), (expected(3), None), "{fsync:?}");
    }
}
