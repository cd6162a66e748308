//! Calls, times and latencies by command: INFO's Commandstats and Latencystats, LATENCY HISTOGRAM.

use aof::Histogram;

use crate::commands::{Command, CommandTable};
use crate::info::Fields;

/// What is counted of each command, by [`Command::number`].
#[derive(Debug, Default)]
pub struct CommandStats {
    rows: Vec<Row>,
}

/// What is counted of one command.
#[derive(Debug, Default, Clone)]
struct Row {
    /// Executed, to the end.
    calls: u64,
    /// Nanoseconds that took.
    took_ns: u64,
    /// Refused before they were executed.
    rejected: u64,
    /// Answered with an error.
    failed: u64,
    latencies: Histogram,
}

impl CommandStats {
    /// A command was executed. `tracked`: `latency-tracking` is on.
    #[inline]
    pub fn called(&mut self, command: Command, took_ns: u64, failed: bool, tracked: bool) {
        let row = self.row(command);
        row.calls += 1;
        row.took_ns += took_ns;
        row.failed += u64::from(failed);
        if tracked {
            row.latencies.record_ns(took_ns);
        }
    }

    /// A command was refused.
    pub fn rejected(&mut self, command: Command) {
        self.row(command).rejected += 1;
    }

    /// The latencies of a command, if any were recorded.
    pub fn latencies(&self, command: Command) -> Option<&Histogram> {
        let row = self.rows.get(command.number());
        row.map(|row| &row.latencies).filter(|latencies| !latencies.is_empty())
    }

    /// INFO's Commandstats.
    pub fn info(&self, table: &CommandTable, fields: &mut Fields) {
        for command in table.flat() {
            let Some(row) = self.rows.get(command.number()) else { continue };
            if row.calls + row.rejected + row.failed == 0 {
                continue;
            }
            let usec = row.took_ns / 1000;
            let per_call = usec as f64 / row.calls.max(1) as f64;
            fields.add(
                &format!("cmdstat_{}", command.full_name()),
                format!(
                    "calls={},usec={usec},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
                    row.calls, row.rejected, row.failed
                ),
            );
        }
    }

    /// INFO's Latencystats.
    pub fn info_latencies(&self, table: &CommandTable, percentiles: &[f64], fields: &mut Fields) {
        for command in table.flat() {
            let Some(latencies) = self.latencies(command) else { continue };
            let usec = |percentile| latencies.percentile(percentile).as_nanos() as f64 / 1000.0;
            let values: Vec<String> = percentiles
                .iter()
                .map(|&percentile| format!("p{percentile}={:.3}", usec(percentile)))
                .collect();
            fields.add(&format!("latency_percentiles_usec_{}", command.full_name()), values.join(","));
        }
    }

    #[inline]
    fn row(&mut self, command: Command) -> &mut Row {
        let at = command.number();
        if at >= self.rows.len() {
            self.add_rows(at);
        }
        &mut self.rows[at]
    }

    #[cold]
    fn add_rows(&mut self, last: usize) {
        self.rows.resize(last + 1, Row::default());
    }
}
