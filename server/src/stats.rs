//! Counters for INFO that belong to no other part.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the turns of the event loop were spent on: INFO's `eventloop_*`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cycles {
    /// Turns.
    pub count: u64,
    /// What they took, without the poll.
    pub total_ns: u64,
    /// Of that, commands; what EXEC executes is in its time.
    pub commands_ns: u64,
    /// The end of the log's turn: sealing, writing or handing over.
    pub log_ns: u64,
    /// Periodic work.
    pub cron_ns: u64,
    /// The longest turn.
    pub longest_ns: u64,
    /// The most commands in one.
    pub most_commands: u64,
}

impl Cycles {
    /// A turn has ended.
    #[inline]
    pub fn note(&mut self, took_ns: u64, commands: u64) {
        self.count += 1;
        self.total_ns += took_ns;
        self.longest_ns = self.longest_ns.max(took_ns);
        self.most_commands = self.most_commands.max(commands);
    }
}

/// Counters since the start or CONFIG RESETSTAT.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    /// Commands executed.
    pub commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused at `maxclients`.
    pub rejected_connections: u64,
    /// Reads from clients that brought something.
    pub reads: u64,
    /// Writes to clients.
    pub writes: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// Those of them that replicas were sent.
    pub replica_output_bytes: u64,
    /// The turns.
    pub cycles: Cycles,
    /// Error replies by code.
    pub errors: BTreeMap<String, u64>,
    /// Error replies of all codes.
    pub error_replies: u64,
    /// Commands, bytes received, bytes sent, those to replicas, turns, and what turns took in nanoseconds, a second.
    pub rates: [f64; 6],
    /// What was counted of each when they were computed, and when that was.
    rates_seen: ([u64; 6], Option<Instant>),
    /// The longest turn while a rewrite was running: CPU time of this thread, microseconds.
    pub rewrite_turn_cpu_us_max: u64,
    /// The longest of as many turns behind rewrites, for comparison.
    pub usual_turn_cpu_us_max: u64,
    /// How many turns are still to be measured for it.
    pub turns_to_compare: u64,
    /// Connections closed because all together took more than `maxmemory-clients`.
    pub evicted_clients: u64,
    /// The largest memory use seen, bytes.
    pub used_memory_peak_bytes: u64,
}

impl Stats {
    /// Computes the rates anew, over at least a second.
    pub fn note_rates(&mut self, now: Instant) {
        let (seen, since) = self.rates_seen;
        let elapsed = since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        if elapsed >= Duration::from_secs(1) {
            let counts = [
                self.commands,
                self.input_bytes,
                self.output_bytes,
                self.replica_output_bytes,
                self.cycles.count,
                self.cycles.total_ns,
            ];
            for (rate, (count, seen)) in self.rates.iter_mut().zip(counts.into_iter().zip(seen)) {
                *rate = count.saturating_sub(seen) as f64 / elapsed.as_secs_f64();
            }
            self.rates_seen = (counts, Some(now));
        }
    }

    /// Notes how long a turn was: during a rewrite, or behind one.
    pub fn note_turn(&mut self, rewriting: bool, cpu_us: u64) {
        let longest_us = if rewriting {
            self.turns_to_compare += 1;
            &mut self.rewrite_turn_cpu_us_max
        } else {
            self.turns_to_compare = self.turns_to_compare.saturating_sub(1);
            &mut self.usual_turn_cpu_us_max
        };
        *longest_us = cpu_us.max(*longest_us);
    }

    /// Counts an error reply by its code.
    pub fn note_error(&mut self, code: &str) {
        /// Codes come from scripts and modules too: the table stays small.
        const MAX_CODES: usize = 128;
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < MAX_CODES {
            self.errors.insert(code.to_owned(), 1);
        }
    }
}
