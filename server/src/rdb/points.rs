//! Save points: when one has been reached, decided purely. Intervals are the monotonic clock's; the wall clock, which may
//! be set back, says only what LASTSAVE answers.

use std::time::{Duration, Instant};

use crate::config::SavePoint;

/// After a failure save points and BGSAVE SCHEDULE wait for longer than so many seconds. Source: redis 7.2 `src/server.h`
/// `CONFIG_BGSAVE_RETRY_DELAY`.
const RETRY_S: u64 = 5;

/// When data was saved last, and how that went.
#[derive(Debug)]
pub(super) struct LastSave {
    /// When the data was saved; the start of the server counts.
    pub(super) at: Instant,
    /// The same for LASTSAVE, seconds since 1970.
    pub(super) at_unix_s: i64,
    /// When a background save was begun.
    pub(super) tried_at: Option<Instant>,
    pub(super) failed: bool,
    pub(super) took: Option<Duration>,
    /// Saves since the start, or CONFIG RESETSTAT.
    pub(super) count: u64,
}

impl LastSave {
    /// As if the data had been saved when the server started.
    pub(super) fn at_start(at: Instant, at_unix_s: i64) -> Self {
        LastSave { at, at_unix_s, tried_at: None, failed: false, took: None, count: 0 }
    }

    /// The data was saved.
    pub(super) fn succeeded(&mut self, now: Instant, unix_s: i64) {
        (self.at, self.at_unix_s, self.failed) = (now, unix_s, false);
    }

    /// Whether a background save that nobody waits for may begin: not so soon after a failure.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        let since = self.tried_at.map(|tried_at| now.saturating_duration_since(tried_at).as_secs());
        !self.failed || since.is_none_or(|seconds| seconds > RETRY_S)
    }

    /// The first point that `dirty` changes have reached: so many of them in more than so many whole seconds.
    pub(super) fn due_point<'a>(
        &self,
        points: &'a [SavePoint],
        dirty: u64,
        now: Instant,
    ) -> Option<&'a SavePoint> {
        let elapsed_s = now.saturating_duration_since(self.at).as_secs();
        points.iter().find(|point| dirty >= point.changes && elapsed_s > point.period_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: &[SavePoint] =
        &[SavePoint { period_s: 60, changes: 100 }, SavePoint { period_s: 10, changes: 1000 }];

    #[test]
    fn a_point_is_reached_by_changes_and_by_more_than_its_seconds() {
        let start = Instant::now();
        let last = LastSave::at_start(start, 0);
        for (seconds, dirty, expected) in [
            (0, 1_000_000, None),
            (10, 1000, None),
            (11, 999, None),
            (11, 1000, Some(10)),
            (60, 100, None),
            (61, 99, None),
            (61, 100, Some(60)),
            (61, 1000, Some(60)),
        ] {
            let due = last.due_point(POINTS, dirty, start + Duration::from_secs(seconds));
            assert_eq!(due.map(|point| point.period_s), expected, "{dirty} changes in {seconds} s");
        }
    }

    #[test]
    fn after_a_failure_it_waits_five_seconds_by_the_monotonic_clock_whatever_the_wall_clock_says() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        // By the wall clock the data will be saved in an hour.
        let mut last = LastSave::at_start(start, i64::MAX);
        (last.failed, last.tried_at) = (true, Some(after(100)));
        for (seconds, is_due) in [(100, false), (105, false), (106, true), (4000, true)] {
            assert_eq!(last.may_try(after(seconds)), is_due, "after {seconds} s");
        }
        last.succeeded(after(107), 0);
        assert!(last.may_try(after(107)));
        assert!(last.due_point(POINTS, 100, after(167)).is_none());
        assert!(last.due_point(POINTS, 100, after(168)).is_some());
    }

    #[test]
    fn a_failed_save_that_blocked_everybody_delays_nothing() {
        let start = Instant::now();
        let last = LastSave { failed: true, ..LastSave::at_start(start, 0) };
        assert!(last.may_try(start));
    }
}
