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
    /// How far the wall clock was ahead of the monotonic one when that was looked at last, milliseconds.
    ahead_ms: i64,
}

/// So far the wall clock is set at once. What keeps it right by itself moves it by half a millisecond a second.
const JUMP_MS: i64 = 1000;

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        let (started, started_ns) = (Instant::now(), monotonic_ns());
        let mut clock =
            Clock { now: started, now_ns: started_ns, unix_ms: 0, started, started_ns, ahead_ms: 0 };
        clock.refresh();
        clock.jump_ms();
        clock
    }

    /// Reads both clocks again.
    pub fn refresh(&mut self) {
        self.now_ns = monotonic_ns();
        self.now = self.started + Duration::from_nanos(self.now_ns.saturating_sub(self.started_ns));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    }

    /// By how much the wall clock was set since the last call, milliseconds, unless that is too little to be worth a
    /// word. A machine that has slept counts: only the wall clock goes on meanwhile.
    pub fn jump_ms(&mut self) -> Option<i64> {
        let ahead_ms = self.unix_ms - (self.now_ns / 1_000_000) as i64;
        let jump_ms = ahead_ms - std::mem::replace(&mut self.ahead_ms, ahead_ms);
        (jump_ms.abs() >= JUMP_MS).then_some(jump_ms)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_is_told_once_and_one_that_drifts_never() {
        let mut clock = Clock::start();
        assert_eq!(clock.jump_ms(), None);
        for step_ms in [-3_600_000, 3_600_000, 1000] {
            clock.unix_ms += step_ms;
            assert_eq!((clock.jump_ms(), clock.jump_ms()), (Some(step_ms), None));
        }
        for _ in 0..10 {
            clock.unix_ms += 999;
            assert_eq!(clock.jump_ms(), None);
        }
        clock.now_ns += 5_000_000_000;
        clock.unix_ms += 5_000;
        assert_eq!(clock.jump_ms(), None, "both have gone on");
    }
}
