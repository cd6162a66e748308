//! The syncer: the thread that calls fdatasync, and nothing else. Under `always`, on a disk that is quick, the writer does so
//! itself as soon as it has written: everybody waits for both, and to wake a second thread between the two costs more than
//! it gains.
//!
//! The handshake is three lines long and everything hangs on their order: note under the lock what is *written*, call
//! fdatasync without the lock, then let *durable* be what was noted. A byte written meanwhile may or may not be covered,
//! so it is not.
//!
//! There is one fdatasync at a time: the kernel tells of an error once, and a second call beside the one that is told
//! would succeed, and cover what is gone.

use std::time::{Duration, Instant};

use crate::Position;
use crate::block::FilePoint;
use crate::fs::retry;
use crate::options::Fsync;
use crate::policy::Action;
use crate::sync::{Arc, MutexGuard, Sabotage};
use crate::tail::{Cause, LiveFile, Tail, sync_action};
use crate::writer::Shared;

/// An fdatasync that takes longer counts as `aof_delayed_fsync`: Redis waits this long for one.
const DELAYED: Duration = Duration::from_secs(2);
/// How often an fdatasync is followed by a look at the file's name.
const LOOK: Duration = Duration::from_secs(1);

/// What an fdatasync is about to make durable.
pub(crate) struct Cover {
    live: LiveFile,
    live_id: u64,
    up_to: Position,
    mark: Option<(Position, FilePoint)>,
    started: Instant,
    is_skipped: bool,
    /// It is time to see whether the file still has its name.
    looks: bool,
}

pub(crate) fn run(shared: &Arc<Shared>) {
    let mut tail = shared.tail.lock();
    loop {
        let now = shared.clock.now();
        match sync_action(&tail, now) {
            Action::Sync => {
                tail = sync(shared, tail);
                if !tail.broken.is(Sabotage::ForgetToNotify) {
                    shared.changed(tail);
                    tail = shared.tail.lock();
                }
            }
            _ if tail.writer_done => return,
            Action::WaitUntil(due) => {
                let _ = shared.to_syncer.wait_for(&mut tail, due.saturating_duration_since(now));
            }
            Action::Wait => shared.to_syncer.wait(&mut tail),
        }
    }
}

/// The fdatasync that is due under `always` after a write.
pub(crate) fn follow_write<'a>(shared: &'a Shared, tail: MutexGuard<'a, Tail>) -> MutexGuard<'a, Tail> {
    let is_mine = tail.fsync == Fsync::Always && !tail.syncs_are_slow;
    let is_due = is_mine && sync_action(&tail, shared.clock.now()) == Action::Sync;
    if is_due { sync(shared, tail) } else { tail }
}

fn sync<'a>(shared: &'a Shared, mut tail: MutexGuard<'a, Tail>) -> MutexGuard<'a, Tail> {
    let Some(cover) = begin(&mut tail) else { return tail };
    drop(tail);
    end(shared, &cover)
}

/// Before the call: notes what it will cover.
pub(crate) fn begin(tail: &mut Tail) -> Option<Cover> {
    let live = tail.live.clone()?;
    let started = tail.clock.now();
    tail.sync_started = Some(started);
    // Before the first base it is named anew.
    let looks = !tail.waiting_rewrite && started.saturating_duration_since(tail.looked) >= LOOK;
    if looks {
        tail.looked = started;
    }
    let (live_id, up_to, mark) = (tail.live_id, tail.written, tail.unsynced_mark);
    let is_skipped = tail.broken.is(Sabotage::SkipSync);
    Some(Cover { live, live_id, up_to, mark, started, is_skipped, looks })
}

/// The call, and what follows from it.
pub(crate) fn end<'a>(shared: &'a Shared, cover: &Cover) -> MutexGuard<'a, Tail> {
    let result = if cover.is_skipped { Ok(()) } else { retry(|| cover.live.file.sync_data()) };
    let took = shared.clock.since(cover.started);
    let is_named = !cover.looks || cover.live.is_named();

    let mut tail = shared.tail.lock();
    tail.sync_started = None;
    tail.note_sync_time(took);
    if took > DELAYED {
        tail.counters.delayed_fsync += 1;
    }
    if result.is_ok() && !is_named && cover.live_id == tail.live_id {
        // Durable in a file that nobody can find: what memory still has moves.
        tail.lose_name();
    } else {
        finish(&mut tail, cover, &result);
    }
    tail
}

fn finish(tail: &mut Tail, cover: &Cover, result: &std::io::Result<()>) {
    let up_to = if tail.broken.is(Sabotage::CoverAfterSync) { tail.written } else { cover.up_to };
    match result {
        Ok(()) => {
            tail.set_durable(up_to);
            // Nothing that it has left was there before it.
            tail.unsynced_since = tail.unsynced_since.map(|_| cover.started);
            tail.unsynced_mark.take_if(|mark| cover.mark == Some(*mark));
        }
        // The file was replaced meanwhile, by a base that covers it: its failure concerns nobody.
        Err(_) if cover.live_id != tail.live_id => {}
        Err(_) if tail.broken.is(Sabotage::AdvanceOnFailure) => tail.set_durable(up_to),
        Err(error) => tail.retire(Cause::Sync, error),
    }
}
