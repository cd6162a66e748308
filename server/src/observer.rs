//! Who is told of a command that is over: the counters, the slow log, the latency monitor, and MONITOR.
//!
//! The clock is read once a command: the end of one is the beginning of the next.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyspace::commands::flags;
use resp::quote;

use crate::client::ClientId;
use crate::clock::monotonic_ns;
use crate::commands::Command;
use crate::commandstats::CommandStats;
use crate::config::Config;
use crate::executor::Server;
use crate::latency::{self, LatencyMonitor};
use crate::redact::shown;
use crate::slowlog::Slowlog;

/// All that watches commands.
#[derive(Debug)]
pub struct Observer {
    /// Counters by command.
    pub commands: CommandStats,
    /// SLOWLOG.
    pub slowlog: Slowlog,
    /// LATENCY.
    pub latency: LatencyMonitor,
    /// Who has sent MONITOR.
    pub monitors: Vec<ClientId>,
    /// When the last command ended, or the turn of the current client began.
    mark_ns: u64,
    /// What takes less concerns neither the slow log nor the latency monitor.
    notable_ns: u64,
}

impl Observer {
    /// With nothing seen so far.
    pub fn new(config: &Config) -> Self {
        let mut observer = Observer {
            commands: CommandStats::default(),
            slowlog: Slowlog::default(),
            latency: LatencyMonitor::default(),
            monitors: Vec::new(),
            mark_ns: monotonic_ns(),
            notable_ns: u64::MAX,
        };
        observer.set_thresholds(config);
        observer
    }

    /// Goes by the thresholds of the configuration.
    pub fn set_thresholds(&mut self, config: &Config) {
        let thresholds = [slowlog_threshold(config), latency_threshold(config)];
        let notable = thresholds.into_iter().flatten().min().unwrap_or(Duration::MAX);
        self.notable_ns = u64::try_from(notable.as_nanos()).unwrap_or(u64::MAX);
    }

    /// The next command begins now.
    #[inline]
    pub fn begin(&mut self, now_ns: u64) {
        self.mark_ns = now_ns;
    }

    /// When the next command will have begun.
    #[inline]
    pub fn mark_ns(&self) -> u64 {
        self.mark_ns
    }

    /// A command ends now that began at `began_ns`: how long it took.
    #[inline]
    pub fn lap(&mut self, began_ns: u64) -> u64 {
        self.mark_ns = monotonic_ns();
        self.mark_ns.saturating_sub(began_ns)
    }
}

/// `slowlog-log-slower-than`, unless it is negative.
fn slowlog_threshold(config: &Config) -> Option<Duration> {
    u64::try_from(config.slowlog_log_slower_than_us).ok().map(Duration::from_micros)
}

/// `latency-monitor-threshold`, unless it is 0.
fn latency_threshold(config: &Config) -> Option<Duration> {
    let threshold_ms = config.latency_monitor_threshold_ms;
    (threshold_ms > 0).then(|| Duration::from_millis(threshold_ms))
}

/// The wall clock as of now, which is later than the turn's.
fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Server {
    /// Counts a command that has been executed to its end, and enters it where it took long.
    #[inline]
    pub fn finished(&mut self, id: ClientId, command: Command, argv: &[&[u8]], took_ns: u64, failed: bool) {
        self.stats.commands += 1;
        // EXEC counts what it executes.
        if !self.in_exec {
            self.stats.cycles.commands_ns += took_ns;
        }
        self.observer.commands.called(command, took_ns, failed, self.config.latency_tracking);
        if took_ns >= self.observer.notable_ns {
            self.note_slow(id, command, argv, Duration::from_nanos(took_ns));
        }
    }

    #[cold]
    fn note_slow(&mut self, id: ClientId, command: Command, argv: &[&[u8]], took: Duration) {
        self.note_latency(if command.has(flags::FAST) { "fast-command" } else { "command" }, took);
        let slow = slowlog_threshold(&self.config).is_some_and(|threshold| took >= threshold);
        if slow
            && !command.has(flags::SKIP_SLOWLOG)
            && let Some(client) = self.clients.get(id)
        {
            let (unix_s, words) = (unix_now().as_secs() as i64, shown(command, argv));
            let (peer, max_len) = (client.peer_text(), self.config.slowlog_max_len);
            self.observer.slowlog.push(unix_s, took, &words, peer, &client.name, max_len);
        }
    }

    /// Whether the latency monitor is on.
    #[inline]
    pub fn watches_latency(&self) -> bool {
        self.config.latency_monitor_threshold_ms > 0
    }

    /// Tells the latency monitor of an event.
    pub fn note_latency(&mut self, event: &'static str, took: Duration) {
        if latency_threshold(&self.config).is_some_and(|threshold| took >= threshold) {
            self.observer.latency.add(event, unix_now().as_secs() as i64, took);
        }
    }

    /// Tells the latency monitor what the log has done since the last time, and what it is at: a disk that hangs lets
    /// nothing end.
    pub fn note_log_events(&mut self) {
        let now = self.clock.now;
        let log = self.persistence.log_mut();
        let (over, running) = log.map(|log| (log.take_events(), log.running(now))).unwrap_or_default();
        for (name, took) in over.into_iter().flat_map(latency::named) {
            self.note_latency(name, took);
        }
        let threshold = latency_threshold(&self.config).unwrap_or(Duration::MAX);
        let running = running.into_iter().flat_map(latency::named).filter(|(_, took)| *took >= threshold);
        self.observer.latency.set_running(running, unix_now().as_secs() as i64);
    }

    /// Shows a command to those who monitor, except what is for operators. They are not held back until it is durable.
    pub fn feed_monitors(&mut self, id: ClientId, command: Command, argv: &[&[u8]]) {
        if command.has(flags::ADMIN) || command.has(flags::SKIP_MONITOR) || self.loading.is_some() {
            return;
        }
        let Some(client) = self.clients.get(id) else { return };
        let line = monitor_line(unix_now(), client.db, &client.monitored_as(), &shown(command, argv));
        for at in 0..self.observer.monitors.len() {
            let monitor = self.observer.monitors[at];
            let Some(client) = self.clients.get_mut(monitor) else { continue };
            // What it has sent itself is shown behind the reply.
            let out = if monitor == id { &mut self.pushes } else { client.output.buffer() };
            out.extend_from_slice(&line);
            self.answered.push(monitor);
            self.limit_unsent(monitor);
        }
    }

    /// Lets a client see all commands from now on.
    pub fn start_monitoring(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.monitors
        {
            client.monitors = true;
            self.observer.monitors.push(id);
            client.reply().ok();
        }
    }

    /// Ends that.
    pub fn stop_monitoring(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.monitors = false;
        }
        self.observer.monitors.retain(|&monitor| monitor != id);
    }
}

/// `+1700000000.123456 [0 127.0.0.1:50000] "SET" "k" "v"`. Source: redis 7.2 `replicationFeedMonitors`.
fn monitor_line(now: Duration, db: usize, peer: &str, words: &[&[u8]]) -> Vec<u8> {
    let mut line = format!("+{}.{:06} [{db} {peer}]", now.as_secs(), now.subsec_micros()).into_bytes();
    for word in words {
        line.push(b' ');
        quote(word, &mut line);
    }
    line.extend(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitored_word_is_quoted_and_what_does_not_print_is_escaped() {
        let words: [&[u8]; 3] = [b"SET", b"a \"b\"\\", b"\r\n\t\x07\x08\x00\xff\x7f"];
        assert_eq!(
            monitor_line(Duration::new(1_700_000_000, 12_345_678), 3, "127.0.0.1:5", &words),
            b"+1700000000.012345 [3 127.0.0.1:5] \"SET\" \"a \\\"b\\\"\\\\\" \"\\r\\n\\t\\a\\b\\x00\\xff\\x7f\"\r\n"
        );
    }
}
