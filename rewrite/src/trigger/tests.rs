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
    let (now, mut backoff) = (Instant::now(), Backoff::default());
    (0..5).for_each(|_| backoff.failed(now));
    assert!(backoff.limits(now));
    backoff.reset();
    assert!(!backoff.limits(now));
    backoff.failed(now);
    assert_eq!((backoff.limits(now), backoff.failures()), (false, 1));
}

/// They forgot that it had failed a moment ago, and it was tried again at once.
#[test]
fn statistics_that_start_over_do_not_hasten_a_repair() {
    let (start, mut backoff) = (Instant::now(), Backoff::default());
    let delay_s = |backoff: &Backoff| (0..).find(|&s| !backoff.limits_repair(start + Duration::from_secs(s)));
    (0..3).for_each(|_| backoff.failed(start));
    assert_eq!((backoff.failures(), backoff.limits(start), delay_s(&backoff)), (3, true, Some(20)));
    backoff.reset_stats();
    assert_eq!((backoff.failures(), backoff.limits(start), delay_s(&backoff)), (0, false, Some(20)));
    backoff.failed(start);
    assert_eq!((backoff.failures(), backoff.limits(start), delay_s(&backoff)), (1, false, Some(40)));
    backoff.reset();
    assert_eq!((backoff.failures(), delay_s(&backoff)), (0, Some(0)));
}

#[test]
fn a_base_is_as_long_for_each_byte_of_memory_as_the_last_one_that_tells() {
    let after = |bases: &[(u64, u64)]| {
        let mut estimate = Estimate::default();
        bases.iter().for_each(|&(base_bytes, memory_bytes)| estimate.note(base_bytes, memory_bytes));
        estimate
    };
    let (unknown, half) = (after(&[]), after(&[(40 * MIB, 80 * MIB)]));
    // estimate, log, memory -> base
    let table = [
        (half, 900 * MIB, 80 * MIB, 40 * MIB),
        (half, 900 * MIB, 160 * MIB, 80 * MIB),
        (half, 900 * MIB, 8 * MIB, 4 * MIB),
        (after(&[(40 * MIB, 80 * MIB), (30 * MIB, 90 * MIB)]), 900 * MIB, 90 * MIB, 30 * MIB),
        // Never longer than the log.
        (half, 60 * MIB, 160 * MIB, 60 * MIB),
        (unknown, 90 * MIB, 160 * MIB, 90 * MIB),
        // Nothing is known: as its data.
        (unknown, 900 * MIB, 160 * MIB, 160 * MIB),
        (after(&[(40 * MIB, 0)]), 900 * MIB, 160 * MIB, 160 * MIB),
        // The memory was the server's own, not that of a hundred bytes.
        (after(&[(100, 5 * MIB)]), 900 * MIB, 160 * MIB, 160 * MIB),
        (after(&[(40 * MIB, 80 * MIB), (100, 5 * MIB)]), 900 * MIB, 160 * MIB, 80 * MIB),
        (after(&[(u64::MAX, 1)]), u64::MAX, u64::MAX, u64::MAX),
    ];
    for (estimate, log_bytes, memory_bytes, expected) in table {
        assert_eq!(estimate.base_bytes(log_bytes, memory_bytes), expected, "{estimate:?}");
    }
}

/// It may end before anybody has counted.
#[test]
fn the_memory_of_a_base_is_the_first_count_after_it_was_begun() {
    type Step = fn(&mut Estimate);
    let (count, later): (Step, Step) = (|all| all.note_memory(80 * MIB), |all| all.note_memory(160 * MIB));
    let end: Step = |all| all.note_base(40 * MIB);
    for steps in [[count, later, end], [count, end, later], [end, count, later]] {
        let mut estimate = Estimate::default();
        estimate.note_memory(MIB);
        estimate.note_base(MIB);
        estimate.begin();
        steps.iter().for_each(|step| step(&mut estimate));
        assert_eq!(estimate.base_bytes(u64::MAX, 80 * MIB), 40 * MIB);
    }
}

#[test]
fn space_is_enough_or_runs_out() {
    // free, base, log, enough, runs out
    let table = [
        (1700, 1600, 1600, true, false),
        (1699, 1600, 1600, false, false),
        // An eighth can be gained.
        (1699, 1600, 1800, false, true),
        (1700, 1600, 1800, true, true),
        (1700, 1600, 1799, true, false),
        (2399, 1600, 1800, true, true),
        (2400, 1600, 1800, true, false),
        // Nothing is lost by waiting where there is no data, and nothing gained where there is no log.
        (0, 0, 1000, true, false),
        (0, 5, 5, false, false),
        (u64::MAX - 1, u64::MAX, u64::MAX, false, false),
    ];
    for (free_bytes, base_bytes, log_bytes, is_enough, runs_out) in table {
        let space = Space { free_bytes, base_bytes };
        assert_eq!((space.is_enough(), space.is_running_out(log_bytes)), (is_enough, runs_out), "{space:?}");
    }
}

/// A log that nobody but its base and its growth shares the disk with, from rewrite to rewrite.
#[test]
fn a_base_of_up_to_45_percent_of_the_disk_is_always_rewritten_in_time() {
    const DISK: u64 = 1_000_000;
    let backoff = Backoff::default();
    for base_bytes in (DISK / 100..=DISK * 45 / 100).step_by(1000) {
        let mut log_bytes = base_bytes;
        let decision = loop {
            log_bytes += DISK / 1000;
            let situation = Situation {
                is_busy: false,
                has_lost: false,
                is_scheduled: false,
                growth: Some(Growth { current_bytes: log_bytes, base_bytes, min_bytes: 0, percentage: 100 }),
                space: Some(Space { free_bytes: DISK - log_bytes, base_bytes }),
                backoff: &backoff,
                now: Instant::now(),
            };
            match decide(&situation) {
                Decision::Wait => assert!(log_bytes < DISK, "the disk is full: a base of {base_bytes}"),
                decision => break decision,
            }
        };
        assert!(matches!(decision, Decision::Start(_)), "a base of {base_bytes}: {decision:?}");
    }
}

#[test]
fn what_starts_a_rewrite() {
    let now = Instant::now();
    let growth = |current_bytes, percentage| {
        Some(Growth { current_bytes, base_bytes: 100, min_bytes: 64, percentage })
    };
    let (grown, small) = (growth(300, 100), growth(150, 100));
    let space = |free_bytes| Space { free_bytes, base_bytes: 96 };
    let (ample, scarce, full) = (space(144), space(143), space(101));
    let (well, mut failing) = (Backoff::default(), Backoff::default());
    (0..3).for_each(|_| failing.failed(now));
    let by_growth = Decision::Start(Reason::Growth(200));
    let (by_space, asked) = (Decision::Start(Reason::Space(scarce)), Decision::Start(Reason::Scheduled));
    // busy, scheduled, growth, space, back-off -> decision
    let table = [
        (false, false, None, None, &well, Decision::Wait),
        (false, false, small, None, &well, Decision::Wait),
        (false, false, grown, None, &well, by_growth),
        (true, false, grown, None, &well, Decision::Wait),
        (false, false, grown, None, &failing, Decision::Wait),
        (false, true, None, None, &well, asked),
        (false, true, grown, None, &well, asked),
        (true, true, None, None, &well, Decision::Wait),
        (false, true, None, None, &failing, Decision::Wait),
        // Space.
        (false, false, grown, Some(scarce), &well, by_growth),
        (false, false, grown, Some(full), &well, Decision::Refuse(full)),
        (false, false, small, Some(ample), &well, Decision::Wait),
        (false, false, small, Some(scarce), &well, by_space),
        (false, false, small, Some(full), &well, Decision::Refuse(full)),
        (false, false, small, Some(scarce), &failing, Decision::Wait),
        (true, false, small, Some(scarce), &well, Decision::Wait),
        // Who asks gets an attempt.
        (false, true, grown, Some(full), &well, asked),
        // Small, switched off, or not there.
        (false, false, growth(64, 100), Some(full), &well, Decision::Wait),
        (false, false, growth(300, 0), Some(full), &well, Decision::Wait),
        (false, false, None, Some(full), &well, Decision::Wait),
    ];
    for (is_busy, is_scheduled, growth, space, backoff, expected) in table {
        let situation = Situation { is_busy, has_lost: false, is_scheduled, growth, space, backoff, now };
        assert_eq!(decide(&situation), expected, "{situation:?}");
    }
}

/// Under `always` replies wait for it: an hour of back-off, begun while the disk was full, held them for that hour.
#[test]
fn what_the_log_has_lost_is_brought_back_after_seconds_and_then_minutes() {
    let (failed, mut backoff) = (Instant::now(), Backoff::default());
    let decided = |backoff: &Backoff, is_busy, after_s| {
        let (now, is_scheduled) = (failed + Duration::from_secs(after_s), false);
        decide(&Situation { is_busy, has_lost: true, is_scheduled, growth: None, space: None, backoff, now })
    };
    let repair = Decision::Start(Reason::Repair);
    assert_eq!(decided(&backoff, false, 0), repair);
    for delay_s in [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300] {
        backoff.failed(failed);
        assert_eq!(decided(&backoff, false, delay_s - 1), Decision::Wait);
        assert_eq!(decided(&backoff, false, delay_s), repair);
        assert_eq!(decided(&backoff, true, delay_s), Decision::Wait);
    }
}
