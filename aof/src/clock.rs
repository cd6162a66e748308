//! The monotonic clock of a log; or one that stands until it is told.

use std::time::{Duration, Instant};

use crate::sync::Arc;
#[cfg(not(loom))]
use crate::sync::{AtomicU64, Ordering};

/// Clones tell the same time.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Option<Arc<Standing>>);

/// Where a clock that stands began, and how long ago. Nobody tells it in a model, which has one atomic less to explore.
#[derive(Debug)]
struct Standing {
    begun: Instant,
    #[cfg(not(loom))]
    passed_ms: AtomicU64,
}

impl Standing {
    fn now(&self) -> Instant {
        #[cfg(not(loom))]
        let passed_ms = self.passed_ms.load(Ordering::Relaxed);
        #[cfg(loom)]
        let passed_ms = 0;
        self.begun + Duration::from_millis(passed_ms)
    }
}

impl Clock {
    /// It stands in a model: loom demands that the same choices lead to the same state, however long the machine takes.
    pub(crate) fn monotonic() -> Clock {
        if cfg!(loom) { Clock::standing() } else { Clock(None) }
    }

    pub(crate) fn standing() -> Clock {
        Clock(Some(Arc::new(Standing {
            begun: Instant::now(),
            #[cfg(not(loom))]
            passed_ms: AtomicU64::new(0),
        })))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |standing| standing.now())
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
