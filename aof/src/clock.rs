//! The monotonic clock of a log; or one that stands until it is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Arc;

/// Clones tell the same time.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Option<Arc<Standing>>);

/// Where a clock that stands began, and how long ago. Its atomic is none of loom's: nobody tells it in a model.
#[derive(Debug)]
struct Standing {
    begun: Instant,
    passed_ms: AtomicU64,
}

impl Clock {
    /// It stands in a model: loom demands that the same choices lead to the same state, however long the machine takes.
    pub(crate) fn monotonic() -> Clock {
        if cfg!(loom) { Clock::standing() } else { Clock(None) }
    }

    pub(crate) fn standing() -> Clock {
        let (begun, passed_ms) = (Instant::now(), AtomicU64::new(0));
        Clock(Some(Arc::new(Standing { begun, passed_ms })))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |standing| {
            standing.begun + Duration::from_millis(standing.passed_ms.load(Ordering::Relaxed))
        })
    }

    /// How long ago that was.
    pub(crate) fn since(&self, started: Instant) -> Duration {
        self.now().saturating_duration_since(started)
    }

    /// Nobody tells the monotonic clock.
    #[cfg(not(loom))]
    pub(crate) fn advance_ms(&self, ms: u64) {
        if let Some(standing) = &self.0 {
            standing.passed_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }
}
