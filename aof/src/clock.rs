//! The monotonic clock of a log; or one that stands until it is told.

use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, Ordering};

/// Where a clock that stands began, and how many milliseconds ago.
#[derive(Debug)]
pub(crate) struct Clock(Option<(Instant, AtomicU64)>);

impl Clock {
    pub(crate) fn monotonic() -> Clock {
        Clock(None)
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |(begun, passed_ms)| {
            *begun + Duration::from_millis(passed_ms.load(Ordering::Relaxed))
        })
    }
}

#[cfg(not(loom))]
impl Clock {
    pub(crate) fn standing() -> Clock {
        Clock(Some((Instant::now(), AtomicU64::new(0))))
    }

    /// Nobody tells the monotonic clock.
    pub(crate) fn advance_ms(&self, ms: u64) {
        if let Some((_, passed_ms)) = &self.0 {
            passed_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }
}
