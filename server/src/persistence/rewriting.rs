//! BGREWRITEAOF in the server: when one begins, its step in each turn, how it ends, and what killed ones have left.

use std::path::Path;
use std::time::{Duration, Instant};

use aof::{Log, Options};
use rewrite::trigger::{Growth, Reason, Situation, decide};
use rewrite::{Format, Hold, Rewrite, Settings};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::config::Config;
use crate::disk;
use crate::executor::Server;
use crate::logger::Level;
use crate::persistence::Persistence;

#[derive(Debug)]
pub(super) struct Running {
    pub(super) rewrite: Rewrite,
    pub(super) started: Instant,
}

/// How the last rewrite ended.
#[derive(Debug)]
pub(super) struct LastRewrite {
    pub(super) ok: bool,
    pub(super) took: Option<Duration>,
    /// What the log measured when it ended: the base and all that was logged meanwhile. After a start, the base alone.
    pub(super) log_bytes: u64,
}

impl Config {
    /// `rdb-key-save-delay`; those below zero, in Redis less than a microsecond, are none here.
    pub(crate) fn key_save_delay_us(&self) -> u32 {
        u32::try_from(self.rdb_key_save_delay_us).unwrap_or(0)
    }

    pub(super) fn rewrite_max_bytes_per_s(&self) -> u64 {
        u64::from(self.aof_rewrite_max_mb_per_sec) << 20
    }
}

impl Persistence {
    /// Whether a base is being written.
    pub fn is_rewriting(&self) -> bool {
        self.rewrite.is_some()
    }

    /// Whether a rewrite or a save may hold a snapshot. One that was aborted lets go of gigabytes in its own time.
    pub fn holds_snapshot(&self) -> bool {
        self.is_rewriting() || self.saving.is_running() || self.left_held.iter().any(Hold::is_held)
    }

    /// A job is about to be aborted.
    pub(crate) fn note_hold(&mut self, hold: Hold) {
        self.left_held.retain(Hold::is_held);
        self.left_held.push(hold);
    }
}

impl Server {
    /// Starts writing a new base.
    ///
    /// # Errors
    /// When no file can be made; the log goes on as it was.
    pub fn start_rewrite(&mut self) -> anyhow::Result<()> {
        let options = self.log_options();
        let settings = Settings {
            key_delay_us: self.config.key_save_delay_us(),
            max_bytes_per_s: self.config.rewrite_max_bytes_per_s(),
            ..self.rewrite_settings(&options)
        };
        if let Err(error) = self.lock_log_directory(&options, Duration::ZERO) {
            return self.rewrite_not_begun(error);
        }
        let wake = self.persistence.wake();
        let begun = match &mut self.persistence.log {
            Some(log) => {
                log.set_rewrite_running(true);
                Rewrite::begin(log, settings, wake)
            }
            None => Ok(Rewrite::begin_offline(self.persistence.fs(), &options, settings, wake)),
        };
        match begun {
            Ok(rewrite) => {
                self.persistence.scheduled = false;
                self.persistence.rewrites += 1;
                self.persistence.rewrite = Some(Running { rewrite, started: self.clock.now });
                self.log(Level::Notice, "Background append only file rewriting started");
                Ok(())
            }
            Err(error) => self.rewrite_not_begun(error),
        }
    }

    /// One that was scheduled has had its chance: else each cron would try it again.
    fn rewrite_not_begun(&mut self, error: impl Into<anyhow::Error>) -> anyhow::Result<()> {
        let error = error.into();
        self.change_log(|log| log.set_rewrite_running(false));
        self.persistence.scheduled = false;
        self.rewrite_failed(&error.to_string());
        Err(error)
    }

    /// What the configuration says about a base.
    pub(crate) fn rewrite_settings(&self, options: &Options) -> Settings {
        let format = if self.config.aof_use_rdb_preamble {
            Format::Rdb(self.rdb_format(true))
        } else {
            Format::Commands
        };
        Settings {
            timestamps: self.config.aof_timestamp_enabled,
            checksum: self.config.aof_checksum,
            incremental_fsync: self.config.aof_rewrite_incremental_fsync,
            ..Settings::new(rewrite::temp_path(options, std::process::id()), format)
        }
    }

    /// Notes that a rewrite shall start as soon as the background save has ended; failures of the past do not delay it.
    pub fn schedule_rewrite(&mut self) {
        self.persistence.scheduled = true;
        self.persistence.backoff.reset();
    }

    /// Removes bases and RDB files that no one will finish: their writer was killed. Redis leaves them, one for each
    /// kill.
    pub(crate) fn remove_stale_files(&mut self, dir: &Path) {
        let fs = self.persistence.fs();
        for name in fs.list(dir).unwrap_or_default() {
            let between = |prefix, suffix| name.strip_prefix(prefix)?.strip_suffix(suffix);
            let pid = between("temp-rewriteaof-bg-", ".aof");
            let pid = pid.or_else(|| between("temp-sync-", ".rdb")).or_else(|| between("temp-", ".rdb"));
            let Some(pid) = pid.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else { continue };
            // Another server may share the folder. In a container, everybody's number is the same as ours.
            let alive = pid != rustix::process::getpid() && test_kill_process(pid) != Err(Errno::SRCH);
            if !alive && fs.remove(&dir.join(&name)).is_ok() {
                self.log(Level::Notice, format!("Removed {name}, left by a process that was killed"));
            }
        }
    }

    /// Stops a rewrite that is running; what was logged meanwhile stays where it is.
    pub fn abort_rewrite(&mut self) {
        if let Some(running) = self.persistence.rewrite.take() {
            self.log(Level::Notice, "Killing AOF child");
            self.persistence.note_hold(running.rewrite.hold());
            running.rewrite.abort(self.persistence.log.as_mut());
            self.change_log(|log| log.set_rewrite_running(false));
            self.unlock_log_directory();
        }
    }

    pub(super) fn step_rewrite(&mut self) {
        let Some(running) = &mut self.persistence.rewrite else { return };
        let keyspace = &self.keyspace;
        let log = self.persistence.log.as_mut();
        let (started, began) = (running.started, Instant::now());
        let outcome = running.rewrite.step(log, self.clock.unix_s(), || keyspace.snapshot());
        // Redis's fork: nobody is served while the snapshot is taken.
        self.note_latency("aof-rewrite-snapshot", began.elapsed());
        let Some(outcome) = outcome else { return };
        self.persistence.rewrite = None;
        self.unlock_log_directory();
        self.change_log(|log| log.set_rewrite_running(false));
        match outcome {
            Ok(summary) => {
                let persistence = &mut self.persistence;
                persistence.backoff.succeeded();
                persistence.last.ok = true;
                if let Some(log) = &persistence.log {
                    persistence.last.log_bytes = log.stats(self.clock.now).current_size;
                }
                persistence.last.took = Some(self.clock.now.saturating_duration_since(started));
                self.log(
                    Level::Notice,
                    format!(
                        "Background AOF rewrite finished successfully: {} keys, {} bytes in {:.3} seconds",
                        summary.keys,
                        summary.base_bytes,
                        summary.total.as_secs_f64()
                    ),
                );
            }
            Err(error) => self.rewrite_failed(&error.to_string()),
        }
    }

    fn rewrite_failed(&mut self, reason: &str) {
        self.log(Level::Warning, format!("Background AOF rewrite failed: {reason}"));
        let persistence = &mut self.persistence;
        persistence.last.ok = false;
        persistence.backoff.failed(self.clock.now);
        // Without a base there is no log: it is tried again.
        persistence.scheduled |= persistence.is_waiting_rewrite();
        self.change_log(Log::give_up_first_base);
    }

    /// Starts a rewrite that is scheduled, or due by `auto-aof-rewrite-percentage`.
    pub fn rewrite_if_due(&mut self) {
        let persistence = &self.persistence;
        let stats = persistence.log.as_ref().map(|log| log.stats(self.clock.now));
        let growth = stats.as_ref().filter(|stats| !stats.waiting_rewrite).map(|stats| Growth {
            current_bytes: stats.current_size,
            base_bytes: persistence.last.log_bytes,
            min_bytes: self.config.auto_aof_rewrite_min_size_bytes,
            percentage: self.config.auto_aof_rewrite_percentage,
        });
        // What the disk has lost is still in memory: a new base is the repair.
        let has_lost = stats.as_ref().is_some_and(|stats| stats.lost_below.is_some());
        let reason = decide(&Situation {
            is_busy: persistence.rewrite.is_some()
                || persistence.log_end.is_awaited()
                || persistence.saving.is_running()
                || self.loading.is_some(),
            is_scheduled: persistence.scheduled || has_lost,
            growth,
            backoff: &persistence.backoff,
            now: self.clock.now,
        });
        if let Some(stats) = stats {
            self.report_retired(stats.retired_files, stats.last_failure.as_ref());
        }
        let Some(reason) = reason else { return };
        if let Reason::Growth(percent) = reason {
            self.log(Level::Notice, format!("Starting automatic rewriting of AOF on {percent}% growth"));
        }
        // A failure is logged, and delays the next attempt.
        let _ = self.start_rewrite();
    }

    /// Logs that a file was left for a new one: that may be over before anybody had to wait.
    fn report_retired(&mut self, retired: u64, failure: Option<&aof::Failure>) {
        let told = std::mem::replace(&mut self.persistence.told_retired, retired);
        if let Some(failure) = failure.filter(|_| retired > told) {
            let line = format!("The log goes on in another file: {}", disk::describe(failure, None));
            self.log(Level::Warning, line);
        }
    }
}
