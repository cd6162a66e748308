//! BGREWRITEAOF in the server: when one begins, its step in each turn, and how it ends.

use std::time::{Duration, Instant};

use aof::{Log, Options, Stats};
use rewrite::trigger::{Decision, Estimate, Growth, Reason, Situation, Space, decide};
use rewrite::{Format, Hold, Rewrite, Settings, Summary};

use crate::config::Config;
use crate::disk;
use crate::executor::Server;
use crate::logger::Level;
use crate::memory::Bookkeeper;
use crate::persistence::Persistence;

#[derive(Debug)]
pub(super) struct Running {
    pub(super) rewrite: Rewrite,
    pub(super) started: Instant,
}

/// How the last rewrite ended.
#[derive(Debug, Default)]
pub(super) struct LastRewrite {
    /// Why it failed.
    error: Option<String>,
    /// Why the next one is not begun although it is due.
    pub(super) refusal: Option<String>,
    /// Whether it succeeded or failed, but not if it was aborted or never begun: then it is that of the one before.
    pub(super) took: Option<Duration>,
    /// What the log measured when it ended: the base and all that was logged meanwhile. After a start, the base alone.
    pub(super) log_bytes: u64,
    /// What is known of how long the next base becomes.
    pub(super) estimate: Estimate,
    /// When the disk was looked at last, and the log's size then.
    looked_at: Option<(Instant, u64)>,
}

/// How often the disk is looked at for the next decision: the cron asks more often than a disk fills or empties.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl LastRewrite {
    /// What an operator is to know: why the next one is put off, or why the last one failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.refusal.as_deref().or(self.error.as_deref())
    }

    /// Whether it is time for a look at the disk of a log of this size; one that stands still takes nothing.
    pub(super) fn looks(&mut self, now: Instant, log_bytes: u64) -> bool {
        let is_early =
            self.looked_at.is_some_and(|(at, _)| now.saturating_duration_since(at) < LOOK_INTERVAL);
        let has_grown = self.looked_at.is_none_or(|(_, then_bytes)| then_bytes != log_bytes);
        let looks = !is_early && (has_grown || self.refusal.is_some());
        if looks {
            self.looked_at = Some((now, log_bytes));
        }
        looks
    }
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
        if let Err(error) = self.claim_log_directory(&options) {
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
                self.persistence.last.refusal = None;
                self.persistence.last.estimate.begin();
                self.persistence.rewrite = Some(Running { rewrite, started: self.clock.now });
                self.keep_books(Bookkeeper::ask_anew);
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
        let (room, keyspace) = (&mut self.room, &self.keyspace);
        let (log, began) = (self.persistence.log.as_mut(), Instant::now());
        let outcome = running.rewrite.step(log, self.clock.unix_s(), || room.snapshot(keyspace));
        // Redis's fork: nobody is served while the snapshot is taken.
        self.note_latency("aof-rewrite-snapshot", began.elapsed());
        let Some(outcome) = outcome else { return };
        let Some(running) = self.persistence.rewrite.take() else { return };
        self.unlock_log_directory();
        self.change_log(|log| log.set_rewrite_running(false));
        self.persistence.last.took = Some(self.clock.now.saturating_duration_since(running.started));
        match outcome {
            Ok(summary) => self.rewrite_succeeded(&summary),
            Err(error) => {
                let expected_bytes = running.rewrite.progress().expected_bytes().unwrap_or(0);
                self.persistence.last.estimate.note_base(expected_bytes);
                self.rewrite_failed(&error.to_string());
            }
        }
    }

    fn rewrite_succeeded(&mut self, summary: &Summary) {
        let Summary { keys, base_bytes, total, .. } = *summary;
        let Persistence { backoff, last, log, .. } = &mut self.persistence;
        backoff.reset();
        last.error = None;
        last.estimate.note_base(base_bytes);
        if let Some(log) = log {
            last.log_bytes = log.stats(self.clock.now).current_size;
        }
        let what = format!("{keys} keys, {base_bytes} bytes in {:.3} seconds", total.as_secs_f64());
        self.log(Level::Notice, format!("Background AOF rewrite finished successfully: {what}"));
    }

    fn rewrite_failed(&mut self, reason: &str) {
        self.log(Level::Warning, format!("Background AOF rewrite failed: {reason}"));
        let persistence = &mut self.persistence;
        persistence.last.error = Some(reason.to_owned());
        persistence.backoff.failed(self.clock.now);
        // Without a base there is no log: it is tried again.
        persistence.scheduled |= persistence.is_waiting_rewrite();
        self.change_log(Log::give_up_first_base);
    }

    /// Starts a rewrite that is scheduled, due by `auto-aof-rewrite-percentage`, or soon impossible for want of space.
    /// `memory_bytes` count against `maxmemory` now.
    pub fn rewrite_if_due(&mut self, memory_bytes: u64) {
        self.persistence.last.estimate.note_memory(memory_bytes);
        let stats = self.persistence.log.as_ref().map(|log| log.stats(self.clock.now));
        let situation = self.situation(stats.as_ref(), memory_bytes);
        let (decision, growth, is_busy) = (decide(&situation), situation.growth, situation.is_busy);
        self.look_at_disk(growth);
        if let Some(stats) = stats {
            self.report_retired(stats.retired_files, stats.last_failure.as_ref());
        }
        match decision {
            // Behind another job it would only be refused, and logged, again.
            Decision::Wait if is_busy => {}
            Decision::Wait => self.persistence.last.refusal = None,
            Decision::Start(reason) => self.start_rewrite_for(reason),
            Decision::Refuse(space) => self.refuse_rewrite(space),
        }
    }

    /// What a rewrite depends on; `stats` are those of the log, unless it is off.
    fn situation(&self, stats: Option<&Stats>, memory_bytes: u64) -> Situation<'_> {
        let persistence = &self.persistence;
        let growth = stats.filter(|stats| !stats.waiting_rewrite).map(|stats| Growth {
            current_bytes: stats.current_size,
            base_bytes: persistence.last.log_bytes,
            min_bytes: self.config.auto_aof_rewrite_min_size_bytes,
            percentage: self.config.auto_aof_rewrite_percentage,
        });
        let space = stats.and_then(|stats| {
            let base_bytes = persistence.last.estimate.base_bytes(stats.current_size, memory_bytes);
            Some(Space { free_bytes: stats.free_bytes?, base_bytes })
        });
        // What the disk has lost is still in memory: a new base is the repair.
        let has_lost = stats.is_some_and(|stats| stats.lost_below.is_some());
        Situation {
            is_busy: persistence.rewrite.is_some()
                || persistence.log_end.is_awaited()
                || persistence.saving.is_running()
                || self.loading.is_some(),
            has_lost,
            is_scheduled: persistence.scheduled,
            growth,
            space,
            backoff: &persistence.backoff,
            now: self.clock.now,
        }
    }

    /// Lets the log's writer look how much is free, for the next decision: others write to the disk, too, and may give back
    /// what they took.
    fn look_at_disk(&mut self, growth: Option<Growth>) {
        let Persistence { log: Some(log), last, .. } = &mut self.persistence else { return };
        let Some(growth) = growth.filter(Growth::is_considered) else { return };
        if last.looks(self.clock.now, growth.current_bytes) {
            log.look_at_disk();
        }
    }

    fn start_rewrite_for(&mut self, reason: Reason) {
        match reason {
            Reason::Scheduled => {}
            Reason::Repair => {
                self.log(Level::Notice, "Starting rewriting of AOF for what is in memory alone");
            }
            Reason::Growth(percent) => {
                self.log(Level::Notice, format!("Starting automatic rewriting of AOF on {percent}% growth"));
            }
            Reason::Space(Space { free_bytes, base_bytes }) => {
                let why = format!("{free_bytes} bytes are free, and the base will take about {base_bytes}");
                self.log(Level::Notice, format!("Starting automatic rewriting of AOF while it fits: {why}"));
            }
        }
        // A failure is logged, and delays the next attempt.
        let _ = self.start_rewrite();
    }

    /// It would fill the disk, fail, and try again. Once there is room it begins.
    fn refuse_rewrite(&mut self, space: Space) {
        let last = &mut self.persistence.last;
        if last.refusal.is_some() {
            return;
        }
        let Space { free_bytes, base_bytes } = space;
        let reason = format!(
            "no space for a new base of about {base_bytes} bytes: {} are needed, {free_bytes} are free",
            space.needed_bytes()
        );
        last.refusal = Some(reason.clone());
        self.log(Level::Warning, format!("Automatic rewriting of AOF is put off: {reason}"));
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
