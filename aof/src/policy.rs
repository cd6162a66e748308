//! `appendfsync`, decided purely: what the syncer should do at a moment, from what is known then.
//!
//! | policy | an fdatasync starts |
//! |---|---|
//! | always | as soon as anything is written that is not durable, one at a time |
//! | everysec | [`EVERYSEC`] after the oldest byte that is not durable, also when traffic has stopped |
//! | no | only where it was asked for (WAITAOF, a rotation, a stop) |
//! | any | for the line that an idle log writes once all else is durable |
//!
//! Every interval is of the monotonic clock: Redis's wall clock, set back an hour, stops its fsyncs for that hour.

use std::time::{Duration, Instant};

use crate::Position;
use crate::options::Fsync;

/// The age that the oldest byte may reach under `everysec` before its fdatasync starts.
pub const EVERYSEC: Duration = Duration::from_secs(1);

/// What is known when the syncer asks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The policy.
    pub fsync: Fsync,
    /// A rewrite runs and `no-appendfsync-on-rewrite` lets the policy rest; never while writers are held for a sync.
    pub rests: bool,
    /// Everything up to here is in the file.
    pub written: Position,
    /// Everything up to here was covered by an fdatasync.
    pub durable: Position,
    /// Somebody waits for this much to be durable, whatever the policy.
    pub wanted: Position,
    /// When the oldest byte that is written and not durable was sealed; `None` if nobody knows.
    pub oldest: Option<Instant>,
    /// A line without a position was written, which shall be durable too.
    pub unsynced_mark: bool,
}

/// What the syncer should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Call fdatasync.
    Sync,
    /// Nothing before this moment.
    WaitUntil(Instant),
    /// Nothing before something is written or wanted.
    Wait,
}

/// Decides. One fdatasync at a time is the caller's business: it asks only between two.
pub fn decide(now: Instant, moment: &Moment) -> Action {
    if moment.unsynced_mark {
        return Action::Sync;
    }
    if moment.written <= moment.durable {
        return Action::Wait;
    }
    if moment.durable < moment.wanted {
        return Action::Sync;
    }
    match moment.fsync {
        _ if moment.rests => Action::Wait,
        Fsync::No => Action::Wait,
        Fsync::Always => Action::Sync,
        Fsync::Everysec => match moment.oldest.map(|oldest| oldest + EVERYSEC) {
            Some(due) if now < due => Action::WaitUntil(due),
            _ => Action::Sync,
        },
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
