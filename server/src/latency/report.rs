//! What LATENCY GRAPH and DOCTOR say.

use std::fmt::Write;

use super::{LatencyMonitor, Sample, Series};

/// Samples to a line of a graph.
const COLUMNS: usize = 80;
/// Lines of a graph.
const ROWS: usize = 4;
/// A row's steps, from empty to full.
const STEPS: [char; 3] = ['_', 'o', '#'];

/// LATENCY GRAPH: bars, with the age of each sample written downwards.
pub fn graph(event: &str, series: &Series, now_unix_s: i64) -> String {
    let took = || series.samples().map(|sample| sample.took_ms);
    let (low, high) = (took().min().unwrap_or(0), took().max().unwrap_or(0));
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.max_ms);
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    let samples: Vec<Sample> = series.samples().collect();
    for (at, part) in samples.chunks(COLUMNS).enumerate() {
        text.push_str(if at > 0 { "\n" } else { "" });
        let bars: Vec<usize> = part.iter().map(|sample| step(sample.took_ms, low, high)).collect();
        for row in (0..ROWS).rev() {
            text.extend(bars.iter().map(|&step| bar(step, row)));
            text.push('\n');
        }
        let ages: Vec<String> = part.iter().map(|sample| age(now_unix_s - sample.unix_s)).collect();
        text.push_str(&" ".repeat(part.len()));
        text.push('\n');
        for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
            text.extend(ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')));
            text.push('\n');
        }
    }
    text
}

/// How high a bar is, in steps from 0.
fn step(took_ms: u64, low_ms: u64, high_ms: u64) -> usize {
    let steps = (ROWS * STEPS.len()) as u64;
    let step = (took_ms - low_ms).saturating_mul(steps) / (high_ms - low_ms).max(1);
    step.min(steps - 1) as usize
}

/// What a bar shows in a row, counted from below.
fn bar(step: usize, row: usize) -> char {
    match step.checked_sub(row * STEPS.len()) {
        None => ' ',
        Some(above) => STEPS.get(above).copied().unwrap_or('|'),
    }
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What an operator can do about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    Slowlog,
    Scheduler,
    Disk,
    Policy,
    NoFsyncOnRewrite,
    LargeValues,
}

use Advice::{Disk, LargeValues, NoFsyncOnRewrite, Policy, Scheduler, Slowlog};

/// Which advice goes with which event.
const EVENTS: &[(&str, &[Advice])] = &[
    ("command", &[Slowlog, LargeValues]),
    ("fast-command", &[Scheduler]),
    ("aof-write-pending-fsync", &[Disk]),
    ("aof-write-active-child", &[NoFsyncOnRewrite, Disk]),
    ("aof-write-alone", &[Disk]),
    ("aof-fsync-always", &[Policy, Disk]),
    ("aof-fsync", &[Disk]),
    ("aof-fstat", &[Disk]),
    ("aof-rename", &[Disk]),
    ("aof-rewrite-open", &[Disk]),
    ("aof-move-tail", &[Disk]),
    ("aof-reserve", &[Disk]),
    ("aof-rewrite-switch", &[Disk]),
    ("aof-forget", &[Disk]),
    ("expire-cycle", &[LargeValues]),
];

/// What each advice says.
const ADVICE: &[(Advice, &str)] = &[
    (
        Slowlog,
        "Look into the slow log for the commands: CONFIG SET slowlog-log-slower-than (in microseconds) to less than \
         these events take, then SLOWLOG GET.",
    ),
    (
        Scheduler,
        "A command in O(1) or O(log n) took long: the process did not get the CPU. Look for other load on the \
         machine, limits of the container, swapping, and noisy neighbours of a virtual machine.",
    ),
    (
        Disk,
        "The disk is slow or shared: iostat -x tells. A local SSD helps, and so does moving what else writes to it. \
         INFO persistence says what waits for it: aof_fsync_running_ms, aof_unsynced_ms, \
         aof_buffer_length, aof_held_clients, aof_unanswered_clients.",
    ),
    (
        Policy,
        "Under appendfsync always each reply to a write waits for an fdatasync. If a second may be lost in a power \
         cut, appendfsync everysec does not; WAITAOF then waits for the writes that matter.",
    ),
    (
        NoFsyncOnRewrite,
        "no-appendfsync-on-rewrite yes keeps fsyncs from waiting for a rewrite's writes; what a power cut during a \
         rewrite may then lose has no limit.",
    ),
    (
        LargeValues,
        "Commands on large values, and their expiry, take time in proportion: split them, use the SCAN family and \
         UNLINK.",
    ),
];

/// LATENCY DOCTOR. `enabled`: there is a threshold.
pub fn doctor(monitor: &LatencyMonitor, enabled: bool, now_unix_s: i64) -> String {
    if monitor.all().len() == 0 {
        return if enabled {
            "No event has taken latency-monitor-threshold or longer.\n".into()
        } else {
            "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n"
                .into()
        };
    }
    let mut text = String::from("What took latency-monitor-threshold or longer:\n\n");
    let mut wanted = Vec::new();
    for (number, (event, series)) in monitor.all().enumerate() {
        text.push_str(&summary(number + 1, event, series, now_unix_s));
        wanted.extend(EVENTS.iter().filter(|(name, _)| *name == event).flat_map(|(_, advice)| *advice));
    }
    text.push_str("\nWhat may help:\n\n");
    for (_, words) in ADVICE.iter().filter(|(advice, _)| wanted.contains(advice)) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- {words}");
    }
    text
}

fn summary(number: usize, event: &str, series: &Series, now_unix_s: i64) -> String {
    let count = series.samples().count().max(1) as u64;
    let average = series.samples().map(|sample| sample.took_ms).sum::<u64>() / count;
    let deviation = series.samples().map(|sample| sample.took_ms.abs_diff(average)).sum::<u64>() / count;
    let oldest = series.samples().next().map_or(0, |sample| now_unix_s - sample.unix_s).max(1);
    format!(
        "{number}. {event}: {count} latency spikes (average {average} ms, mean deviation {deviation} ms, one in \
         {:.2} s), worst of all time {} ms\n",
        oldest as f64 / count as f64,
        series.max_ms
    )
}
