//! Time, read as seldom as possible: once a client's turn, and once a command for how long it took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

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
    /// How long the machine had slept then, milliseconds.
    slept_ms: i64,
}

/// How the wall clock has gone on without the monotonic one, milliseconds; 0 where that is too little to be worth a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Because the machine slept.
    pub slept_ms: i64,
    /// Because somebody set it, forward or back.
    pub set_ms: i64,
}

/// So far the wall clock is set at once. What keeps it right by itself moves it by half a millisecond a second.
const JUMP_MS: i64 = 1000;

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        let (started, started_ns) = (Instant::now(), monotonic_ns());
        let mut clock = Clock {
            now: started,
            now_ns: started_ns,
            unix_ms: 0,
            started,
            started_ns,
            ahead_ms: 0,
            slept_ms: 0,
        };
        clock.refresh();
        clock.jump(slept_ms());
        clock
    }

    /// Reads both clocks again.
    pub fn refresh(&mut self) {
        self.now_ns = monotonic_ns();
        self.now = self.started + Duration::from_nanos(self.now_ns.saturating_sub(self.started_ns));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    }

    /// What has become of the wall clock since the last call. `slept_ms`: [`slept_ms`].
    pub fn jump(&mut self, slept_ms: i64) -> Jump {
        let ahead_ms = self.unix_ms - (self.now_ns / 1_000_000) as i64;
        let went_ms = ahead_ms - std::mem::replace(&mut self.ahead_ms, ahead_ms);
        let slept_ms = slept_ms - std::mem::replace(&mut self.slept_ms, slept_ms);
        let notable = |ms: i64| if ms.abs() >= JUMP_MS { ms } else { 0 };
        Jump { slept_ms: notable(slept_ms), set_ms: notable(went_ms - slept_ms) }
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
    now_ns(ClockId::Monotonic)
}

/// How long the machine has slept since it was booted, milliseconds: of the two clocks that nobody sets, only this one
/// goes on meanwhile.
pub fn slept_ms() -> i64 {
    (now_ns(ClockId::Boottime).saturating_sub(monotonic_ns()) / 1_000_000) as i64
}

#[inline]
fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Jump = Jump { slept_ms: 0, set_ms: 0 };

    #[test]
    fn a_wall_clock_that_is_set_is_told_once_and_one_that_drifts_never() {
        let mut clock = Clock::start();
        let slept_ms = clock.slept_ms;
        assert_eq!(clock.jump(slept_ms), NONE);
        for set_ms in [-3_600_000, 3_600_000, 1000] {
            clock.unix_ms += set_ms;
            assert_eq!((clock.jump(slept_ms), clock.jump(slept_ms)), (Jump { set_ms, ..NONE }, NONE));
        }
        for _ in 0..10 {
            clock.unix_ms += 999;
            assert_eq!(clock.jump(slept_ms), NONE);
        }
        clock.now_ns += 5_000_000_000;
        clock.unix_ms += 5_000;
        assert_eq!(clock.jump(slept_ms), NONE, "both have gone on");
    }

    #[test]
    fn a_machine_that_sleeps_sets_no_clock() {
        let mut clock = Clock::start();
        let before_ms = clock.slept_ms;
        for (set_ms, slept_ms) in [(0, 3_600_000), (-2000, 7000)] {
            clock.unix_ms += slept_ms + set_ms;
            let so_far_ms = clock.slept_ms + slept_ms;
            assert_eq!((clock.jump(so_far_ms), clock.jump(so_far_ms)), (Jump { slept_ms, set_ms }, NONE));
        }
        assert_eq!(clock.slept_ms - before_ms, 3_607_000);
    }
}
