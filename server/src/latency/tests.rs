//! The series, and what is said of them.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_second_has_one_sample_the_worst() {
    let mut monitor = LatencyMonitor::default();
    for (unix_s, took) in [(10, 5), (10, 9), (10, 7), (12, 1)] {
        monitor.add("command", unix_s, ms(took));
    }
    let (_, series) = monitor.series(b"command").unwrap();
    let samples: Vec<(i64, u64)> = series.samples().map(|at| (at.unix_s, at.took_ms)).collect();
    assert_eq!(samples, [(10, 9), (12, 1)]);
    assert_eq!(series.max_ms, 9);
}

#[test]
fn what_hangs_is_one_sample_that_grows_until_it_is_over() {
    let mut monitor = LatencyMonitor::default();
    let samples = |monitor: &LatencyMonitor| {
        let series = monitor.series(b"aof-fsync").map(|(_, series)| series);
        series.into_iter().flat_map(Series::samples).map(|at| (at.unix_s, at.took_ms)).collect::<Vec<_>>()
    };
    monitor.add("aof-fsync", 10, ms(200));
    for second in [11, 12, 15] {
        monitor.set_running([("aof-fsync", ms(100 * second as u64))], second);
        assert_eq!(samples(&monitor), [(10, 200), (second, 100 * second as u64)]);
    }
    monitor.add("aof-fsync", 16, ms(1600));
    monitor.set_running([], 16);
    assert_eq!(samples(&monitor), [(10, 200), (16, 1600)]);
    assert_eq!(monitor.reset(None), 1);
    monitor.set_running([("aof-fsync", ms(5))], 17);
    assert_eq!(samples(&monitor), [(17, 5)], "it goes on whoever forgets it");
    monitor.set_running([], 18);
    assert_eq!(monitor.all().len(), 0);
}

#[test]
fn what_hangs_shares_its_second_and_takes_the_place_of_the_oldest() {
    let mut monitor = LatencyMonitor::default();
    for second in 0..KEPT as i64 {
        monitor.add("aof-fsync", second, ms(20));
    }
    let last = KEPT as i64 - 1;
    for (took, second, oldest, expected) in
        [(10, last, 0, (last, 20)), (30, last, 0, (last, 30)), (10, last + 1, 1, (last + 1, 10))]
    {
        monitor.set_running([("aof-fsync", ms(took))], second);
        let (_, series) = monitor.series(b"aof-fsync").unwrap();
        let samples: Vec<(i64, u64)> = series.samples().map(|at| (at.unix_s, at.took_ms)).collect();
        assert_eq!((samples.len(), samples[0], samples[KEPT - 1]), (KEPT, (oldest, 20), expected));
        assert!(samples.is_sorted_by(|one, next| one.0 < next.0));
    }
}

#[test]
fn the_oldest_samples_go_and_the_worst_of_all_time_stays() {
    let mut monitor = LatencyMonitor::default();
    for second in 0..200 {
        monitor.add("command", second, ms(200 - second as u64));
    }
    let (_, series) = monitor.series(b"command").unwrap();
    assert_eq!(series.over.len(), KEPT);
    assert_eq!(series.over[0].unix_s, 40);
    assert_eq!(series.max_ms, 200);
}

#[test]
fn reset_forgets_one_event_or_all_and_says_how_many() {
    let mut monitor = LatencyMonitor::default();
    for event in ["command", "fast-command", "aof-write"] {
        monitor.add(event, 1, ms(1));
    }
    assert_eq!(monitor.reset(Some(b"nothing")), 0);
    assert_eq!(monitor.reset(Some(b"COMMAND")), 1);
    assert_eq!(monitor.reset(None), 2);
    assert_eq!(monitor.all().len(), 0);
}

#[test]
fn a_graph_rises_with_its_samples_and_tells_their_age() {
    let mut monitor = LatencyMonitor::default();
    for (unix_s, took) in [(0, 1), (3_000, 6), (3_590, 12)] {
        monitor.add("command", unix_s, ms(took));
    }
    let (event, series) = monitor.series(b"command").unwrap();
    let expected = [
        "command - high 12 ms, low 1 ms (all time high 12 ms)",
        &"-".repeat(80),
        "  #",
        "  |",
        " #|",
        "_||",
        "   ",
        "111",
        "h00",
        " ms",
    ];
    assert_eq!(graph(event, series, 3_600).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_doctor_names_events_and_what_may_help() {
    let mut monitor = LatencyMonitor::default();
    assert!(doctor(&monitor, false, 0).contains("CONFIG SET latency-monitor-threshold"));
    assert!(doctor(&monitor, true, 0).contains("No event"));
    monitor.add("aof-fsync-always", 90, ms(30));
    monitor.add("aof-fsync-always", 95, ms(10));
    let report = doctor(&monitor, true, 100);
    assert!(report.contains(
        "1. aof-fsync-always: 2 latency spikes (average 20 ms, mean deviation 10 ms, one in 5.00 s), worst of all \
         time 30 ms"
    ));
    assert!(report.contains("appendfsync everysec"));
    assert!(!report.contains("slow log"));
}

/// What Redis 7.2 names, but for `fork`, which does not happen here; then ours.
const NAMES: &[&str] = &[
    "aof-write",
    "aof-write-pending-fsync",
    "aof-write-active-child",
    "aof-write-alone",
    "aof-fsync-always",
    "aof-fstat",
    "aof-rename",
    "aof-fsync",
    "aof-rewrite-open",
    "aof-move-tail",
    "aof-reserve",
    "aof-rewrite-switch",
    "aof-forget",
];

#[test]
fn what_the_log_does_has_the_names_of_redis_where_it_has_one() {
    type Kind = fn(Duration) -> Event;
    let table: &[(Kind, &[&str])] = &[
        (Event::WriteAlone, &["aof-write", "aof-write-alone"]),
        (Event::WritePendingFsync, &["aof-write", "aof-write-pending-fsync"]),
        (Event::WriteActiveRewrite, &["aof-write", "aof-write-active-child"]),
        (Event::FsyncAlways, &["aof-fsync-always"]),
        (Event::Fsync, &["aof-fsync"]),
        (Event::Stat, &["aof-fstat"]),
        (Event::OpenNext, &["aof-rewrite-open"]),
        (Event::Publish, &["aof-rename"]),
        (Event::MoveTail, &["aof-move-tail"]),
        (Event::Reserve, &["aof-reserve"]),
        (Event::Switch, &["aof-rewrite-switch"]),
        (Event::Forget, &["aof-forget"]),
    ];
    for (kind, expected) in table {
        assert_eq!(names(kind(ms(1))), *expected);
    }
    let mut told: Vec<&str> = table.iter().flat_map(|(_, names)| *names).copied().collect();
    told.sort_unstable();
    told.dedup();
    let mut all = NAMES.to_vec();
    all.sort_unstable();
    assert_eq!(told, all);
}

/// `aof-write` comes with another that says more.
#[test]
fn the_doctor_has_advice_for_whatever_the_log_does() {
    for &name in NAMES.iter().filter(|name| **name != "aof-write") {
        let mut monitor = LatencyMonitor::default();
        monitor.add(name, 1, ms(30));
        let text = doctor(&monitor, true, 2);
        let (_, advice) = text.split_once("What may help:").expect("there is such a part");
        assert!(advice.contains("\n- "), "{name}: {text}");
    }
}
