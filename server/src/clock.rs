//! Time, read as seldom as possible: once a client's turn, and once a command for how long it took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Monotonic: intervals.
    pub now: Instant,
    /// The same in nanoseconds, from the kernel's zero.
    pub now_ns: u64,
    /// Wall clock, milliseconds since 1970: times to live.
    pub unix_ms: i64,
    /// When the server started.
    pub started: Instant,
    started_ns: u64,
}

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        let (started, started_ns) = (Instant::now(), monotonic_ns());
        let mut clock = Clock { now: started, now_ns: started_ns, unix_ms: 0, started, started_ns };
        clock.refresh();
        clock
    }

    /// Reads both clocks again.
    pub fn refresh(&mut self) {
        self.now_ns = monotonic_ns();
        self.now = self.started + Duration::from_nanos(self.now_ns.saturating_sub(self.started_ns));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    }

    /// Seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        self.unix_ms / 1000
    }
}

/// The monotonic clock as a number. An [`Instant`] tells the same, but to subtract two of them takes longer than to read
/// the clock.
#[inline]
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
