//! When a rewrite starts by itself: decided purely, so that each row of the rule is one assertion.
//!
//! | who asks | needs | waits for the back-off | refused for want of space |
//! |---|---|---|---|
//! | BGREWRITEAOF | no rewrite running | no | no |
//! | what the log has lost and memory has still | the same | its own: 5 s after a failure, 10, 20, ... 300 after more of them, since replies may wait for it | no |
//! | a scheduled rewrite (another job ran when it was asked for, or the last one of a log without a base failed) | the same | yes | no |
//! | growth past `auto-aof-rewrite-percentage` | the same, and the log on | yes | yes |
//! | a disk that would soon be too full for one ([`Space`]) | the same | yes | yes |
//!
//! Source of the first three: redis 7.2 `src/server.c` `serverCron`, `src/aof.c` `aofRewriteLimited`.

mod space;

use std::time::{Duration, Instant};

pub use self::space::{Estimate, Space};

/// The size of the log, held against the two `auto-aof-rewrite-*` directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// `aof_current_size`: bytes that a start would replay.
    pub current_bytes: u64,
    /// `aof_base_size`: what the log measured after the last rewrite, or at the start.
    pub base_bytes: u64,
    /// `auto-aof-rewrite-min-size`: a log that is not larger is left alone.
    pub min_bytes: u64,
    /// `auto-aof-rewrite-percentage`: growth over the base that starts a rewrite; 0: never.
    pub percentage: u32,
}

impl Growth {
    /// By how many percent the log exceeds its base, which counts as one byte if it has none. Negative while it is
    /// smaller.
    pub fn percent(&self) -> i64 {
        let ratio = u128::from(self.current_bytes) * 100 / u128::from(self.base_bytes.max(1));
        i64::try_from(ratio).map_or(i64::MAX, |ratio| ratio - 100)
    }

    /// Whether a rewrite may start by itself at all.
    pub fn is_considered(&self) -> bool {
        self.percentage > 0 && self.current_bytes > self.min_bytes
    }

    /// Whether that starts a rewrite.
    pub fn is_due(&self) -> bool {
        self.is_considered() && self.percent() >= i64::from(self.percentage)
    }
}

/// Failures in a row before rewrites that nobody asked for are put off.
const PATIENCE: u32 = 3;
/// Delays double from one minute up to this many.
const MAX_MINUTES: u64 = 60;

/// What brings back what the log has lost is put off after the first failure for so long, after the next for twice that,
/// and at last for this: each attempt may fill the disk, and leaves an incr.
const REPAIR: Duration = Duration::from_secs(5);
const MAX_REPAIR: Duration = Duration::from_secs(300);

/// Puts off rewrites that keep failing: after the third failure in a row by 1 minute, then 2, 4, ... 60.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Since the last success, or since [`reset_stats`](Self::reset_stats).
    failures: u32,
    /// Since the last success.
    in_a_row: u32,
    failed_at: Option<Instant>,
}

impl Backoff {
    /// A rewrite failed.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.failed_at = Some(now);
    }

    /// CONFIG RESETSTAT. As in Redis, failures that it forgets put off no rewrite any more; but a repair, which Redis does
    /// not have, comes no sooner on a disk that fails it.
    pub fn reset_stats(&mut self) {
        self.failures = 0;
    }

    /// A rewrite succeeded; or somebody asked for one that has to wait for another job, and shall not wait for this as
    /// well.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// Whether a rewrite that nobody asks for has to wait. One that a client asks for never does.
    pub fn limits(&self, now: Instant) -> bool {
        delay(self.failures).is_some_and(|delay| self.is_within(delay, now))
    }

    /// Whether one has to wait that brings back what the log has lost.
    pub fn limits_repair(&self, now: Instant) -> bool {
        let doublings = self.in_a_row.saturating_sub(1).min(MAX_REPAIR.as_secs().ilog2());
        self.is_within((REPAIR * (1 << doublings)).min(MAX_REPAIR), now)
    }

    fn is_within(&self, delay: Duration, now: Instant) -> bool {
        self.failed_at.is_some_and(|at| now.saturating_duration_since(at) < delay)
    }

    /// `aof_rewrites_consecutive_failures`.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn delay(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(PATIENCE)?;
    let minutes = 1u64.checked_shl(doublings).map_or(MAX_MINUTES, |minutes| minutes.min(MAX_MINUTES));
    Some(Duration::from_secs(60 * minutes))
}

/// What the server knows when it looks whether a rewrite is to start.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Another background job runs, a rewrite for example, or data is being loaded.
    pub is_busy: bool,
    /// A part of what was logged is in memory alone, and replies may wait for the base that holds it.
    pub has_lost: bool,
    /// A rewrite was asked for and could not start then.
    pub is_scheduled: bool,
    /// The log's size; `None` while it is off or waits for its first base.
    pub growth: Option<Growth>,
    /// What the disk has for a base; `None` where nobody can tell.
    pub space: Option<Space>,
    /// How the last rewrites ended.
    pub backoff: &'a Backoff,
    /// The monotonic clock.
    pub now: Instant,
}

/// Why a rewrite starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A part of the log is in memory alone.
    Repair,
    /// It was asked for.
    Scheduled,
    /// The log has grown by this many percent.
    Growth(i64),
    /// The disk would soon be too full for one.
    Space(Space),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Wait,
    /// A rewrite starts.
    Start(Reason),
    /// One is due, and would only fill the disk.
    Refuse(Space),
}

/// Whether a rewrite starts now, and why.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let Situation { backoff, now, .. } = *situation;
    let may_repair = situation.has_lost && !backoff.limits_repair(now);
    if situation.is_busy || (backoff.limits(now) && !may_repair) {
        return Decision::Wait;
    }
    if may_repair {
        return Decision::Start(Reason::Repair);
    }
    if situation.is_scheduled {
        return Decision::Start(Reason::Scheduled);
    }
    match (due_by_itself(situation), situation.space) {
        (None, _) => Decision::Wait,
        (Some(_), Some(space)) if !space.is_enough() => Decision::Refuse(space),
        (Some(reason), _) => Decision::Start(reason),
    }
}

fn due_by_itself(situation: &Situation<'_>) -> Option<Reason> {
    let growth = situation.growth.filter(Growth::is_considered)?;
    if growth.is_due() {
        return Some(Reason::Growth(growth.percent()));
    }
    situation.space.filter(|space| space.is_running_out(growth.current_bytes)).map(Reason::Space)
}

#[cfg(all(test, not(loom)))]
mod tests;
