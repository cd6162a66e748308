//! Durations by size: what percentiles are read from.
//!
//! ```text
//! ns       0 1 2 ... 255 | 256-257 258-259 ... | 512-515 ... | 1024-1031 ...
//! buckets  one each      | 128 to the octave, so that each is less than 1 % wide
//! ```
//! Buckets and their rounding upwards are those of an HdrHistogram of two digits, which Redis has: the same durations
//! give the same figures. Memory follows the longest duration seen: 4 KiB for a microsecond, 20 KiB for a second.

use std::time::Duration;

/// The octave's share is two to this power.
const SHARE_BITS: u32 = 7;
/// Longer ones (18 minutes) count as this.
const MAX_NS: u64 = (1 << 40) - 1;

/// Counts of durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts a duration.
    #[inline]
    pub fn record(&mut self, took: Duration) {
        self.record_ns(u64::try_from(took.as_nanos()).unwrap_or(MAX_NS));
    }

    /// Counts a duration that is known in nanoseconds.
    #[inline]
    pub fn record_ns(&mut self, took_ns: u64) {
        let at = bucket(took_ns.min(MAX_NS));
        self.total += 1;
        match self.counts.get_mut(at) {
            Some(count) => *count += 1,
            None => self.count_first(at),
        }
    }

    /// Counts the longest duration so far.
    #[cold]
    fn count_first(&mut self, at: usize) {
        self.counts.resize(at, 0);
        self.counts.push(1);
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration that `percentile` (0 to 100) of those counted do not exceed, rounded up to its bucket's end; zero if
    /// there are none.
    pub fn percentile(&self, percentile: f64) -> Duration {
        let wanted = ((percentile / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut below = 0;
        let at = self.counts.iter().position(|count| {
            below += count;
            below >= wanted
        });
        at.map_or(Duration::ZERO, |at| Duration::from_nanos(highest(at)))
    }

    /// How many do not exceed 1,024 ns, twice that, and so on: those steps that bring any. The durations are rounded up
    /// to their buckets' ends.
    pub fn by_octave(&self) -> Vec<(Duration, u64)> {
        let (mut steps, mut from, mut count) = (Vec::new(), 0, 0);
        let mut limit_ns = 1024;
        while from < self.counts.len() {
            let last = bucket(limit_ns);
            let added: u64 = self.counts.iter().take(last + 1).skip(from).sum();
            count += added;
            if added > 0 {
                steps.push((Duration::from_nanos(highest(last)), count));
            }
            (from, limit_ns) = (last + 1, limit_ns * 2);
        }
        steps
    }
}

/// The place of a duration.
#[inline]
fn bucket(ns: u64) -> usize {
    if ns < 2 << SHARE_BITS {
        return ns as usize;
    }
    let shift = ns.ilog2() - SHARE_BITS;
    ((shift as usize) << SHARE_BITS) + (ns >> shift) as usize
}

/// The longest duration of a place.
fn highest(bucket: usize) -> u64 {
    if bucket < 2 << SHARE_BITS {
        return bucket as u64;
    }
    let shift = (bucket >> SHARE_BITS) - 1;
    (((bucket - (shift << SHARE_BITS) + 1) as u64) << shift) - 1
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_less_than_one_percent_wide() {
        let mut last = None;
        for ns in (0..20_000).chain((20..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let (at, top) = (bucket(ns), highest(bucket(ns)));
            assert!(top >= ns && (top - ns) as f64 <= ns as f64 / 128.0, "{ns}: {top}");
            assert_eq!(bucket(top + 1), at + 1, "{ns}");
            assert!(last.is_none_or(|last| at >= last), "{ns}");
            last = Some(at);
        }
        assert!(bucket(MAX_NS) < 4400);
    }

    #[test]
    fn percentiles_are_the_ends_of_buckets() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), Duration::ZERO);
        (1..=100).for_each(|us| histogram.record(Duration::from_micros(us)));
        assert_eq!(histogram.len(), 100);
        assert_eq!(histogram.percentile(0.0), Duration::from_nanos(1003));
        assert_eq!(histogram.percentile(50.0), Duration::from_nanos(50_175));
        assert_eq!(histogram.percentile(100.0), Duration::from_nanos(100_351));
    }

    #[test]
    fn octaves_count_everything_below_them() {
        let mut histogram = Histogram::default();
        for us in [0, 1, 3, 20, 20, 5_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let steps = histogram.by_octave();
        let steps: Vec<(u128, u64)> = steps.iter().map(|(us, count)| (us.as_micros(), *count)).collect();
        // 16, 33, 66 ... as Redis prints them.
        assert_eq!(steps, [(1, 2), (4, 3), (33, 5), (8_657_043, 6)]);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.percentile(99.0), Duration::from_nanos(MAX_NS));
    }
}
