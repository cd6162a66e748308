//! When a rewrite starts, row by row.

use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn growth_is_measured_as_redis_measures_it() {
    //   current     base      min      percentage  percent  due
    let table = [
        (2 * MIB, MIB, MIB, 100, 100, true),
        (2 * MIB - 1, MIB, MIB, 100, 99, false),
        // The minimum must be exceeded, not reached.
        (2 * MIB, MIB, 2 * MIB, 100, 100, false),
        (2 * MIB + 1, MIB, 2 * MIB, 100, 100, true),
        // An empty base counts as one byte.
        (10, 0, 0, 100, 900, true),
        (1, 0, 0, 1, 0, false),
        // 0 switches it off.
        (100 * MIB, 1, 0, 0, 10_485_759_900, false),
        // Shrunk below its base.
        (50, 100, 0, 1, -50, false),
        (0, 0, 0, 1, -100, false),
        (u64::MAX, 1, 0, u32::MAX, i64::MAX, true),
    ];
    for (current_bytes, base_bytes, min_bytes, percentage, percent, is_due) in table {
        let growth = Growth { current_bytes, base_bytes, min_bytes, percentage };
        assert_eq!((growth.percent(), growth.is_due()), (percent, is_due), "{growth:?}");
    }
}

#[test]
fn the_third_failure_in_a_row_delays_and_each_further_one_doubles() {
    let minutes = [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60];
    let (start, mut backoff) = (Instant::now(), Backoff::default());
    for (failure, minutes) in minutes.into_iter().enumerate() {
        backoff.failed(start);
        let end = start + Duration::from_secs(60 * minutes);
        assert_eq!(backoff.failures(), failure as u32 + 1);
        assert_eq!(backoff.limits(start), minutes > 0, "failure {failure}");
        assert!(!backoff.limits(end), "failure {failure}");
        if minutes > 0 {
            assert!(backoff.limits(end - Duration::from_nanos(1)), "failure {failure}");
        }
    }
}

#[test]
fn no_number_of_failures_overflows() {
    for failures in [66, 67, 68, 1000, u32::MAX] {
        assert_eq!(delay(failures), Some(Duration::from_secs(3600)), "{failures}");
    }
}

#[test]
fn a_success_or_a_request_forgives_all_failures() {
    for forgive in [Backoff::succeeded, Backoff::reset] {
        let (now, mut backoff) = (Instant::now(), Backoff::default());
        (0..5).for_each(|_| backoff.failed(now));
        assert!(backoff.limits(now));
        forgive(&mut backoff);
        assert!(!backoff.limits(now));
        backoff.failed(now);
        assert_eq!((backoff.limits(now), backoff.failures()), (false, 1));
    }
}

#[test]
fn what_starts_a_rewrite() {
    let now = Instant::now();
    let grown = Some(Growth { current_bytes: 300, base_bytes: 100, min_bytes: 64, percentage: 100 });
    let small = Some(Growth { current_bytes: 150, base_bytes: 100, min_bytes: 64, percentage: 100 });
    let (well, mut failing) = (Backoff::default(), Backoff::default());
    (0..3).for_each(|_| failing.failed(now));
    // busy, scheduled, growth, back-off -> reason
    let table = [
        (false, false, None, &well, None),
        (false, false, small, &well, None),
        (false, false, grown, &well, Some(Reason::Growth(200))),
        (true, false, grown, &well, None),
        (false, false, grown, &failing, None),
        (false, true, None, &well, Some(Reason::Scheduled)),
        (false, true, grown, &well, Some(Reason::Scheduled)),
        (true, true, None, &well, None),
        (false, true, None, &failing, None),
    ];
    for (is_busy, is_scheduled, growth, backoff, reason) in table {
        let situation = Situation { is_busy, is_scheduled, growth, backoff, now };
        assert_eq!(decide(&situation), reason, "{situation:?}");
    }
}
