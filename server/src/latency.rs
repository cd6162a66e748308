//! THE LATENCY MONITOR: what took `latency-monitor-threshold` or longer, as a series for each kind of event.
//!
//! Commands and the expire cycle are the executor's. What the log does comes as [`aof::Event`]s, which [`names`] gives
//! Redis's names; of these the executor itself does direct writes alone, the rest happens on the log's threads.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aof::Event;

mod report;

pub use report::{doctor, graph};

/// Samples that a series keeps.
const KEPT: usize = 160;

/// The series, by event.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    series: BTreeMap<&'static str, Series>,
}

/// One event's worst moments: one a second, and `KEPT` of them, at most.
#[derive(Debug, Default, Clone)]
pub struct Series {
    /// Oldest first.
    over: VecDeque<Sample>,
    /// What has not returned yet.
    running: Option<Sample>,
    /// The worst since LATENCY RESET, milliseconds.
    pub max_ms: u64,
}

impl Series {
    /// Oldest first. What is still going on is the last, as it stands now: with what else its second has had, or in place
    /// of the oldest.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = Sample> {
        let of_its_second = self.running.and_then(|running| {
            self.over.back().filter(|last| last.unix_s == running.unix_s).map(|last| last.took_ms)
        });
        let until = self.over.len() - usize::from(of_its_second.is_some());
        let from = (until + usize::from(self.running.is_some())).saturating_sub(KEPT);
        let last = self.running.map(|running| Sample {
            took_ms: running.took_ms.max(of_its_second.unwrap_or_default()),
            ..running
        });
        self.over.range(from..until).copied().chain(last)
    }
}

/// The worst of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When, seconds since 1970.
    pub unix_s: i64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

impl LatencyMonitor {
    /// Notes an event that took long enough.
    pub fn add(&mut self, event: &'static str, unix_s: i64, took: Duration) {
        let took_ms = took.as_millis() as u64;
        let series = self.series.entry(event).or_default();
        series.max_ms = series.max_ms.max(took_ms);
        match series.over.back_mut() {
            Some(last) if last.unix_s == unix_s => last.took_ms = last.took_ms.max(took_ms),
            _ => series.over.push_back(Sample { unix_s, took_ms }),
        }
        if series.over.len() > KEPT {
            series.over.pop_front();
        }
    }

    /// Notes what is going on, in place of what was: a call that hangs is one sample, which grows until it is
    /// [added](Self::add).
    pub fn set_running(&mut self, running: impl IntoIterator<Item = (&'static str, Duration)>, unix_s: i64) {
        self.series.values_mut().for_each(|series| series.running = None);
        for (event, took) in running {
            let took_ms = took.as_millis() as u64;
            let series = self.series.entry(event).or_default();
            series.max_ms = series.max_ms.max(took_ms);
            series.running = Some(Sample { unix_s, took_ms });
        }
        self.series.retain(|_, series| series.samples().next().is_some());
    }

    /// The series of an event.
    pub fn series(&self, event: &[u8]) -> Option<(&'static str, &Series)> {
        let event = std::str::from_utf8(event).ok()?;
        self.series.get_key_value(event).map(|(name, series)| (*name, series))
    }

    /// All series, by event.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (&'static str, &Series)> {
        self.series.iter().map(|(name, series)| (*name, series))
    }

    /// LATENCY RESET: forgets an event, or all; returns how many.
    pub fn reset(&mut self, event: Option<&[u8]>) -> usize {
        let before = self.series.len();
        self.series.retain(|name, _| event.is_some_and(|event| !event.eq_ignore_ascii_case(name.as_bytes())));
        before - self.series.len()
    }
}

/// The names of what the log does. Where Redis has one it is used, also where ours does a little more: `aof-rename` is
/// all of the publishing of a new base.
pub fn names(event: Event) -> &'static [&'static str] {
    match event {
        Event::WriteAlone(_) => &["aof-write", "aof-write-alone"],
        Event::WritePendingFsync(_) => &["aof-write", "aof-write-pending-fsync"],
        Event::WriteActiveRewrite(_) => &["aof-write", "aof-write-active-child"],
        Event::FsyncAlways(_) => &["aof-fsync-always"],
        Event::Fsync(_) => &["aof-fsync"],
        Event::Stat(_) => &["aof-fstat"],
        Event::OpenNext(_) => &["aof-rewrite-open"],
        Event::Publish(_) => &["aof-rename"],
        Event::MoveTail(_) => &["aof-move-tail"],
        Event::Reserve(_) => &["aof-reserve"],
        Event::Switch(_) => &["aof-rewrite-switch"],
        Event::Forget(_) => &["aof-forget"],
    }
}

/// The same, each with how long it took.
pub fn named(event: Event) -> impl Iterator<Item = (&'static str, Duration)> {
    names(event).iter().map(move |&name| (name, event.took()))
}

#[cfg(test)]
mod tests;
