//! What is remembered of a key's accesses: 32 bits, which readers refresh even where a snapshot shares them.
//!
//! ```text
//! 0 | seconds since 1970, modulo 2^31                   when the last access was
//! 1 | 0, 7 bits | minutes, modulo 2^16 | counter u8     how many there were, under an LFU policy
//! ```
//! The counter grows with the logarithm of the accesses: at n above [`LFU_INIT`] with probability 1 / (n * factor + 1).
//! It shrinks by one for each `lfu-decay-time` of minutes in which it was not looked at. Source: redis 7.2
//! `src/evict.c`, whose 24 bits have no mark for the form: here what was noted under the one kind of policy still has a
//! meaning under the other.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{Limits, Random};

/// The counter of a key that was just made, so that it is not the first to go.
const LFU_INIT: u8 = 5;
/// The form with a counter.
const COUNTS: u32 = 1 << 31;
const MINUTES_SHIFT: u32 = 8;
/// 34 years. What looks longer ago is in the future.
const IDLE_S_MAX: u32 = COUNTS / 2;

/// `lfu-log-factor` and `lfu-decay-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lfu {
    /// How much harder each step of the counter is than the one before.
    pub log_factor: u32,
    /// Minutes after which a counter loses one; 0: it never does.
    pub decay_minutes: u32,
}

/// How accesses are noted: by time, or under an LFU policy by count.
pub type Noting = Option<Lfu>;

/// What is known of how a key is used, as OBJECT tells it and RDB files keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Seconds since the last access.
    Idle(u64),
    /// The counter.
    Freq(u8),
}

/// An access that is to be noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    now_ms: i64,
    /// And what decides whether the counter grows: below 2^53, each as likely as the next.
    counted: Option<(Lfu, u64)>,
}

impl Access {
    /// An access now.
    #[inline]
    pub(crate) fn new(now_ms: i64, limits: &Limits, random: &mut Random) -> Self {
        Access { now_ms, counted: limits.noting().map(|lfu| (lfu, random.next_u64() >> 11)) }
    }

    /// Notes it. What stays the same is not written: the line of the cache stays clean.
    #[inline]
    pub(crate) fn note(self, noted: &AtomicU32) {
        let before = noted.load(Relaxed);
        let after = self.next(before);
        if after != before {
            noted.store(after, Relaxed);
        }
    }

    /// The same access once more: a counter does not grow by it.
    #[inline]
    pub(crate) fn again(self) -> Self {
        Access { counted: self.counted.map(|(lfu, _)| (lfu, u64::MAX)), ..self }
    }

    /// What is noted of a key that it makes.
    #[inline]
    pub(crate) fn first(self) -> u32 {
        match self.counted {
            None => time_bits(self.now_ms),
            Some(_) => count_bits(self.now_ms, LFU_INIT),
        }
    }

    /// What is noted of a key of which `bits` were.
    #[inline]
    fn next(self, bits: u32) -> u32 {
        match self.counted {
            None => time_bits(self.now_ms),
            Some((lfu, luck)) => {
                count_bits(self.now_ms, grown(counter(bits, self.now_ms, lfu), lfu.log_factor, luck))
            }
        }
    }
}

impl Usage {
    /// What `bits` say now.
    pub(crate) fn of(bits: u32, noting: Noting, now_ms: i64) -> Self {
        match noting {
            None => Usage::Idle(idle_s(bits, now_ms).into()),
            Some(lfu) => Usage::Freq(counter(bits, now_ms, lfu)),
        }
    }

    /// The bits that say so, if they can be said under this policy.
    pub(crate) fn bits(self, noting: Noting, now_ms: i64) -> Option<u32> {
        match (self, noting) {
            (Usage::Idle(idle_s), None) => {
                let idle_ms = i64::try_from(idle_s).unwrap_or(i64::MAX).saturating_mul(1000);
                // Longer than the bits reach back is as long as they do.
                let reach_ms = i64::from(IDLE_S_MAX) * 1000;
                Some(time_bits(now_ms.saturating_sub(idle_ms.min(reach_ms))))
            }
            (Usage::Freq(counter), Some(_)) => Some(count_bits(now_ms, counter)),
            _ => None,
        }
    }
}

fn time_bits(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & !COUNTS
}

fn count_bits(now_ms: i64, counter: u8) -> u32 {
    COUNTS | u32::from(minutes(now_ms)) << MINUTES_SHIFT | u32::from(counter)
}

fn minutes(now_ms: i64) -> u16 {
    (now_ms / 60_000) as u16
}

/// Seconds since the last access.
fn idle_s(bits: u32, now_ms: i64) -> u32 {
    if bits & COUNTS != 0 {
        return u32::from(minutes(now_ms).wrapping_sub((bits >> MINUTES_SHIFT) as u16)) * 60;
    }
    let idle_s = time_bits(now_ms).wrapping_sub(bits) & !COUNTS;
    // A clock that was set back.
    if idle_s > IDLE_S_MAX { 0 } else { idle_s }
}

/// The counter, less what it has lost since.
fn counter(bits: u32, now_ms: i64, lfu: Lfu) -> u8 {
    let counter = if bits & COUNTS == 0 { LFU_INIT } else { bits as u8 };
    let lost = (idle_s(bits, now_ms) / 60).checked_div(lfu.decay_minutes).unwrap_or(0);
    counter.saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
}

fn grown(counter: u8, log_factor: u32, luck: u64) -> u8 {
    let steps = u64::from(counter.saturating_sub(LFU_INIT)) * u64::from(log_factor) + 1;
    // One of `steps` equal parts of what may be drawn.
    counter.saturating_add(u8::from(luck < (1 << 53) / steps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{By, Policy};

    const LFU: Lfu = Lfu { log_factor: 10, decay_minutes: 1 };
    const NOW_MS: i64 = 1_700_000_000_000;
    const MINUTE_MS: i64 = 60_000;

    fn accessed(bits: u32, times: usize, lfu: Lfu) -> u32 {
        let limits =
            Limits { policy: Some(Policy { by: By::Lfu, volatile_only: false }), lfu, ..Limits::default() };
        let mut random = Random::new(7);
        (0..times).fold(bits, |bits, _| Access::new(NOW_MS, &limits, &mut random).next(bits))
    }

    #[test]
    fn a_counter_grows_with_the_logarithm_of_the_accesses() {
        // Redis's table for a factor of 10 says 10, 18, 142 for 100, 1,000, 100,000 accesses.
        for (times, at_least, at_most) in
            [(0, 5, 5), (1, 6, 6), (100, 8, 13), (1_000, 14, 24), (100_000, 125, 160)]
        {
            let counter = counter(accessed(count_bits(NOW_MS, LFU_INIT), times, LFU), NOW_MS, LFU);
            assert!((at_least..=at_most).contains(&counter), "{times} accesses: {counter}");
        }
        let every = Lfu { log_factor: 0, ..LFU };
        assert_eq!(counter(accessed(count_bits(NOW_MS, LFU_INIT), 300, every), NOW_MS, every), 255);
    }

    #[test]
    fn a_counter_does_not_grow_by_an_access_that_was_counted() {
        let limits = Limits {
            policy: Some(Policy { by: By::Lfu, volatile_only: false }),
            lfu: Lfu { log_factor: 0, ..LFU },
            ..Limits::default()
        };
        let access = Access::new(NOW_MS, &limits, &mut Random::new(7));
        let once = access.next(count_bits(NOW_MS, 40));
        assert_eq!(counter(once, NOW_MS, LFU), 41);
        assert_eq!(access.again().next(once), once);
    }

    #[test]
    fn a_counter_shrinks_with_the_minutes_and_never_below_zero() {
        let bits = count_bits(NOW_MS, 40);
        for (minutes, left) in [(0, 40), (1, 39), (39, 1), (40, 0), (60_000, 0)] {
            assert_eq!(counter(bits, NOW_MS + minutes * MINUTE_MS, LFU), left, "{minutes} minutes");
        }
        let half = Lfu { decay_minutes: 2, ..LFU };
        assert_eq!(counter(bits, NOW_MS + 9 * MINUTE_MS, half), 36);
        assert_eq!(counter(bits, NOW_MS + 9_000 * MINUTE_MS, Lfu { decay_minutes: 0, ..LFU }), 40);
    }

    #[test]
    fn each_form_has_a_meaning_under_the_other_kind_of_policy() {
        let timed = time_bits(NOW_MS - 3 * MINUTE_MS);
        assert_eq!(Usage::of(timed, Some(LFU), NOW_MS), Usage::Freq(2));
        let counted = count_bits(NOW_MS - 3 * MINUTE_MS, 200);
        assert_eq!(Usage::of(counted, None, NOW_MS), Usage::Idle(180));
    }

    #[test]
    fn what_a_file_says_is_noted_if_the_policy_asks_for_it() {
        for (usage, noting) in [
            (Usage::Idle(0), None),
            (Usage::Idle(1234), None),
            (Usage::Freq(0), Some(LFU)),
            (Usage::Freq(255), Some(LFU)),
        ] {
            let bits = usage.bits(noting, NOW_MS).expect("the policy asks for it");
            assert_eq!(Usage::of(bits, noting, NOW_MS), usage);
        }
        assert_eq!(Usage::Freq(7).bits(None, NOW_MS), None);
        assert_eq!(Usage::Idle(7).bits(Some(LFU), NOW_MS), None);
        assert!(Usage::Idle(u64::MAX).bits(None, NOW_MS).is_some());
    }

    #[test]
    fn a_clock_that_was_set_back_finds_nothing_idle() {
        assert_eq!(idle_s(time_bits(NOW_MS), NOW_MS - 5_000), 0);
        assert_eq!(idle_s(time_bits(NOW_MS), NOW_MS + 5_000), 5);
    }
}
