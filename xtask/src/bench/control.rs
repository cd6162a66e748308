//! A control for the longest turn: arithmetic that always takes as long, timed by its thread's own CPU time. On a
//! virtual machine a thread is charged for what its host or the other thread of its core took; the longest of these
//! rounds says how much.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A round, when nothing disturbs it: as long as a turn executes commands beside a snapshot.
const ROUND: Duration = Duration::from_micros(200);
/// Between two rounds, so that a core is left to those that are measured.
const REST: Duration = Duration::from_millis(1);

/// Counts as high as a round takes.
pub(super) struct Control {
    steps: u64,
}

impl Control {
    /// Finds out how many steps a round has, undisturbed.
    pub(super) fn new() -> Self {
        const TRIAL_STEPS: u64 = 100_000;
        let trials = (0..100).map(|_| took(TRIAL_STEPS));
        let fastest = trials.min().unwrap_or_default().max(Duration::from_nanos(1));
        Control { steps: (TRIAL_STEPS as f64 * ROUND.as_secs_f64() / fastest.as_secs_f64()) as u64 }
    }

    /// The longest round until `is_done`, milliseconds.
    pub(super) fn longest_ms(&self, is_done: impl Fn() -> bool) -> f64 {
        let mut longest = Duration::ZERO;
        while !is_done() {
            longest = longest.max(took(self.steps));
            std::thread::sleep(REST);
        }
        longest.as_secs_f64() * 1e3
    }
}

fn took(steps: u64) -> Duration {
    let before = own_cpu();
    for step in 0..steps {
        black_box(step);
    }
    own_cpu().saturating_sub(before)
}

/// CPU time of this thread.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
