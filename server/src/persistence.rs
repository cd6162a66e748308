//! The log and its rewrite, as the server sees them: on, off, or waiting for a first base.
//!
//! ```text
//!            CONFIG SET appendonly yes                first base published
//!     Off ------------------------------> WAIT_REWRITE --------------------> On
//!      ^                                       |                             |
//!      '------------ CONFIG SET appendonly no -+-----------------------------'
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aof::fs::{Disk, Fs};
use aof::{DirLock, Directory, Log, Options, Position};
use keyspace::Touch;
use mio::Waker;
use rewrite::trigger::{Backoff, Growth, Reason, Situation, decide};
use rewrite::{Format, Hold, Rewrite, Settings};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::clock::Clock;
use crate::config::{AppendFsync, Config, LoadCorrupt};
use crate::disk::{self, Trouble, Wish};
use crate::executor::Server;
use crate::info::Fields;
use crate::log_end::LogEnd;
use crate::logger::Level;
use crate::rdb::{Saving, empty_file};

/// How long a start waits for who has the log's directory: a server that was killed a moment ago may not be gone yet.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Everything about durability.
#[derive(Debug)]
pub struct Persistence {
    log: Option<Log>,
    rewrite: Option<Running>,
    /// A rewrite shall start as soon as it can.
    pub scheduled: bool,
    backoff: Backoff,
    last: LastRewrite,
    /// Rewrites begun, since the start or CONFIG RESETSTAT.
    rewrites: u64,
    fs: Arc<dyn Fs>,
    waker: Option<Arc<Waker>>,
    /// Where `dir` pointed when the log was started: it stays there.
    home: PathBuf,
    /// The RDB file.
    pub saving: Saving,
    /// Changes since the last save, or the start.
    pub dirty: u64,
    /// Commands of a log that answered with an error when they were replayed.
    pub replay_errors: u64,
    /// What the last load found.
    pub loaded: Loaded,
    /// Forty hexadecimal digits that name this run of the server.
    pub run_id: String,
    /// Somebody waits for what is logged to be durable: asked for when the turn's block is sealed.
    pub(crate) sync_wanted: bool,
    /// Who wants the log to be turned off.
    pub(crate) log_end: LogEnd,
    /// What replies may tell of once there is no log any more.
    last_watermark: Position,
    /// The log waited for its first base when the turn began.
    was_waiting: bool,
    /// The highest watermark that replies of this log have left by. The log's own may fall: when `no-appendfsync-on-rewrite`
    /// ends with the rewrite, or with `appendfsync always`.
    told: Position,
    /// What jobs that were aborted may still have of their snapshots.
    left_held: Vec<Hold>,
    /// Why the log cannot take all writes, since the last turn.
    trouble: Trouble,
    /// Keeps our tools and other servers of ours away from the log, in this directory.
    lock: Option<(PathBuf, DirLock)>,
    /// Files of the log that failed, as far as the server's log tells of them.
    told_retired: u64,
}

/// What a load found out about the files, for INFO.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loaded {
    /// Blocks whose checksums were right.
    pub verified_blocks: u64,
    /// Damaged places that were stepped over.
    pub corrupt_places: usize,
    /// Bytes that no checksum vouched for.
    pub unverified_bytes: u64,
    /// Bytes of a torn tail, cut off.
    pub truncated_bytes: u64,
}

#[derive(Debug)]
struct Running {
    rewrite: Rewrite,
    started: Instant,
}

/// How the last rewrite ended.
#[derive(Debug)]
struct LastRewrite {
    ok: bool,
    took: Option<Duration>,
    /// What the log measured when it ended: the base and all that was logged meanwhile. After a start, the base alone.
    log_bytes: u64,
}

impl Default for Persistence {
    fn default() -> Self {
        Persistence {
            log: None,
            rewrite: None,
            scheduled: false,
            backoff: Backoff::default(),
            last: LastRewrite { ok: true, took: None, log_bytes: 0 },
            rewrites: 0,
            fs: Arc::new(Disk),
            waker: None,
            home: PathBuf::new(),
            saving: Saving::default(),
            dirty: 0,
            replay_errors: 0,
            loaded: Loaded::default(),
            run_id: String::new(),
            sync_wanted: false,
            log_end: LogEnd::default(),
            last_watermark: Position::MAX,
            was_waiting: false,
            told: 0,
            left_held: Vec::new(),
            trouble: Trouble::default(),
            lock: None,
            told_retired: 0,
        }
    }
}

impl Persistence {
    /// Lets the log's threads end the poll.
    pub fn set_waker(&mut self, waker: Arc<Waker>) {
        self.waker = Some(waker);
    }

    /// The file system.
    pub fn fs(&self) -> Arc<dyn Fs> {
        Arc::clone(&self.fs)
    }

    /// The log, unless it is off.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// The same, to be changed.
    #[inline]
    pub fn log_mut(&mut self) -> Option<&mut Log> {
        self.log.as_mut()
    }

    /// The position up to which replies may leave: whoever asks lets them.
    #[inline]
    pub fn reply_watermark(&mut self) -> Position {
        let Some(log) = &self.log else { return self.last_watermark };
        let watermark = if self.was_waiting { log.end() } else { log.reply_watermark() };
        self.told = self.told.max(watermark);
        watermark
    }

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

    /// Whether the log is to begin with a base that is not there yet.
    pub fn is_waiting_rewrite(&self) -> bool {
        self.log.as_ref().is_some_and(Log::is_waiting_rewrite)
    }

    /// Why data is in memory alone although the log is on; `None`: all of it can be loaded. Until a base has come, nothing of
    /// what it is to hold can.
    pub(crate) fn only_in_memory(&self) -> Option<&'static str> {
        let log = self.log.as_ref()?;
        if log.is_waiting_rewrite() {
            return Some("Writing initial AOF");
        }
        log.needs_base().then_some("Writing again from memory what the AOF has lost")
    }

    /// Whether writes wait until the log has caught up.
    #[inline]
    pub fn writes_are_held(&self) -> bool {
        self.log.as_ref().is_some_and(Log::writes_are_held) || self.log_end.holds_writes()
    }

    /// See [`Log::awaits_only_time`].
    pub fn block_awaits_only_time(&self) -> bool {
        self.log.as_ref().is_some_and(Log::awaits_only_time)
    }

    /// Up to here a power cut takes nothing; `None` while nothing is promised: the log is off, or has no base yet.
    #[inline]
    pub fn acknowledged(&self) -> Option<Position> {
        self.log.as_ref().filter(|log| !log.is_waiting_rewrite()).map(Log::durable)
    }

    /// Whether a power cut takes nothing of what was logged up to a position.
    pub fn is_durable(&self, position: Position) -> bool {
        self.acknowledged().is_some_and(|durable| durable >= position)
    }

    /// What is wrong with the disk, in the words that clients see; what is still possible then says
    /// [`admits`](Self::admits).
    #[inline]
    pub fn misconf(&self) -> Option<&str> {
        self.trouble.reason()
    }

    /// Whether the log can take it.
    pub fn admits(&self, wish: Wish) -> bool {
        self.log.as_ref().is_none_or(|log| disk::admits(log.room_bytes(), wish))
    }

    /// Bytes of the log that are not written yet.
    pub fn buffer_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.stats(Instant::now()).buffer_length)
    }

    /// What the log takes of memory, mostly for blocks that are not safe yet.
    pub fn retained_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.stats(Instant::now()).retained_bytes)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        self.rewrites = 0;
        self.saving.reset_stats();
        if let Some(log) = &mut self.log {
            log.reset_stats();
        }
    }

    pub(crate) fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        let waker = self.waker.clone();
        Arc::new(move || {
            if let Some(waker) = &waker {
                // Nobody is left to wake when this fails.
                let _ = waker.wake();
            }
        })
    }

    /// The fields of INFO's section, behind those of loading. What Everlog cannot have, since it does not fork and has
    /// no RDB, is as Redis says it where it never happened. Source: redis 7.2 `src/server.c` `genRedisInfoString`.
    pub fn info(&self, clock: &Clock, fields: &mut Fields) {
        let status = |ok| if ok { "ok" } else { "err" };
        let seconds = |time: Option<Duration>| time.map_or(-1, |time| time.as_secs() as i64);
        let running = self.rewrite.as_ref();
        let progress = running.map(|running| running.rewrite.progress());
        let of_either = progress.or_else(|| self.saving.progress());
        let (keys, keys_total) = of_either.map_or((0, 0), |progress| (progress.keys, progress.keys_total));
        fields.add("current_cow_peak", 0);
        fields.add("current_cow_size", 0);
        fields.add("current_cow_size_age", 0);
        fields.add("current_fork_perc", format!("{:.2}", keys as f64 * 100.0 / keys_total.max(1) as f64));
        fields.add("current_save_keys_processed", keys);
        fields.add("current_save_keys_total", keys_total);
        self.saving.info(clock, self.dirty, fields);
        let current = running.map(|running| clock.now.saturating_duration_since(running.started));
        fields.add("aof_enabled", u8::from(self.log.is_some()));
        fields.add("aof_rewrite_in_progress", u8::from(running.is_some()));
        fields.add("aof_rewrite_scheduled", u8::from(self.scheduled));
        fields.add("aof_last_rewrite_time_sec", seconds(self.last.took));
        fields.add("aof_current_rewrite_time_sec", seconds(current));
        fields.add("aof_last_bgrewrite_status", status(self.last.ok));
        fields.add("aof_rewrites", self.rewrites);
        fields.add("aof_rewrites_consecutive_failures", self.backoff.failures());
        fields.add("aof_last_write_status", status(self.misconf().is_none()));
        fields.add("aof_last_cow_size", 0);
        fields.add("module_fork_in_progress", 0);
        fields.add("module_fork_last_cow_size", 0);
        if let Some(log) = &self.log {
            self.info_log(log, clock, fields);
        }
        if let Some(progress) = progress {
            fields.add("aof_rewrite_bytes", progress.bytes);
            fields.add("aof_rewrite_keys", progress.keys);
            fields.add("aof_rewrite_keys_total", progress.keys_total);
            fields.add("aof_rewrite_eta_sec", seconds(progress.eta(current.unwrap_or_default())));
        }
    }

    /// The fields of a log that is on: Redis's, then ours. Of these, the age of the fsync that runs now and of the oldest
    /// byte that is not durable tell why clients wait.
    fn info_log(&self, log: &Log, clock: &Clock, fields: &mut Fields) {
        let stats = log.stats(clock.now);
        fields.add("aof_current_size", stats.current_size);
        fields.add("aof_base_size", self.last.log_bytes);
        fields.add("aof_pending_rewrite", u8::from(stats.waiting_rewrite));
        fields.add("aof_buffer_length", stats.buffer_length);
        fields.add("aof_pending_bio_fsync", stats.pending_bio_fsync);
        fields.add("aof_delayed_fsync", stats.delayed_fsync);
        fields.add("aof_fsync_running_ms", stats.fsync_running.unwrap_or_default().as_millis());
        fields.add("aof_fsync_p50_usec", stats.fsync_p50.as_micros());
        fields.add("aof_fsync_p99_usec", stats.fsync_p99.as_micros());
        fields.add("aof_durable_offset", stats.durable);
        fields.add("aof_unsynced_bytes", stats.unsynced_bytes);
        fields.add("aof_unsynced_ms", stats.unsynced.as_millis());
        fields.add("aof_slow_direct_writes", stats.slow_direct_writes);
        fields.add("aof_retired_files", stats.retired_files);
        log.look_at_disk();
        fields.add("aof_disk_free_bytes", stats.free_bytes.map_or(-1, |bytes| bytes as i64));
        fields.add("aof_reserved_bytes", stats.reserved_bytes);
        let error = stats.last_failure.map(|failure| disk::describe(&failure, None));
        fields.add("aof_last_write_error", error.unwrap_or_default());
        fields.add("aof_load_blocks_verified", self.loaded.verified_blocks);
        fields.add("aof_load_corrupt_places", self.loaded.corrupt_places);
        fields.add("aof_load_unverified_bytes", self.loaded.unverified_bytes);
        fields.add("aof_load_truncated_bytes", self.loaded.truncated_bytes);
        fields.add("aof_load_replay_errors", self.replay_errors);
    }
}

impl Config {
    fn rewrite_max_bytes_per_s(&self) -> u64 {
        u64::from(self.aof_rewrite_max_mb_per_sec) << 20
    }
}

/// What the configuration says to `aof`, for a log that lives in `home`.
fn options(config: &Config, home: PathBuf) -> Options {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Options {
        dir: home.join(text(&config.appenddirname)),
        adopt_from: home,
        filename: text(&config.appendfilename),
        fsync: fsync(config.appendfsync),
        load_truncated: config.aof_load_truncated,
        timestamps: config.aof_timestamp_enabled,
        checksum: config.aof_checksum,
        load_corrupt: match config.aof_load_corrupt {
            LoadCorrupt::Fail => aof::LoadCorrupt::Fail,
            LoadCorrupt::Quarantine => aof::LoadCorrupt::Quarantine,
        },
        disable_auto_gc: config.aof_disable_auto_gc,
        direct_write: config.aof_direct_write,
        max_unsynced_bytes: config.aof_max_unsynced_bytes,
        empty_base_rdb: None,
        no_fsync_on_rewrite: config.no_appendfsync_on_rewrite,
    }
}

fn fsync(policy: AppendFsync) -> aof::Fsync {
    match policy {
        AppendFsync::Always => aof::Fsync::Always,
        AppendFsync::Everysec => aof::Fsync::Everysec,
        AppendFsync::No => aof::Fsync::No,
    }
}

impl Server {
    /// What the configuration says to the log. One that is on stays where it is, wherever `dir` points since: its
    /// manifest may name no files of another folder, and a base may be moved on one file system only.
    pub(crate) fn log_options(&self) -> Options {
        let home = match self.persistence.log {
            Some(_) => self.persistence.home.clone(),
            None => std::env::current_dir().unwrap_or_default(),
        };
        options(&self.config, home)
    }

    /// Opens the log's directory, as the configuration names it.
    ///
    /// # Errors
    /// What `aof` says of a directory that contradicts itself.
    pub fn open_log_directory(&self) -> Result<(Directory, Options), aof::Error> {
        let mut options = self.log_options();
        if self.config.aof_use_rdb_preamble {
            options.empty_base_rdb = Some(empty_file(self.rdb_format(true), self.clock.unix_s()));
        }
        Ok((Directory::open(self.persistence.fs(), &options)?, options))
    }

    /// Locks the log's directory, unless that is done; whoever else has it may give it back within `patience`. Made first
    /// if it is not there: two servers may begin in it at once.
    ///
    /// # Errors
    /// [`aof::Error::InUse`]; when it cannot be made.
    pub(crate) fn lock_log_directory(
        &mut self,
        options: &Options,
        patience: Duration,
    ) -> Result<(), aof::Error> {
        let began = Instant::now();
        while self.persistence.lock.as_ref().is_none_or(|(dir, _)| *dir != options.dir) {
            match DirLock::take_or_make(&*self.persistence.fs, options) {
                Err(aof::Error::InUse { .. }) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                taken => self.persistence.lock = Some((options.dir.clone(), taken?)),
            }
        }
        Ok(())
    }

    /// Nobody is kept away from the log's directory while it has neither a log nor a rewrite.
    fn unlock_log_directory(&mut self) {
        if self.persistence.log.is_none() && self.persistence.rewrite.is_none() {
            self.persistence.lock = None;
        }
    }

    /// Starts logging behind what has been loaded.
    ///
    /// # Errors
    /// When the last file cannot be opened, or the first not be made.
    pub fn start_log(&mut self, directory: Directory, options: &Options) -> Result<(), aof::Error> {
        let wake = self.persistence.wake();
        let log = Log::start(directory, options, Box::new(move || wake()))?;
        self.persistence.last.log_bytes = log.stats(self.clock.now).base_size;
        self.set_log(Some(log));
        self.persistence.home.clone_from(&options.adopt_from);
        Ok(())
    }

    /// Turns the log on or off. What a unit did before, in the same transaction, needs no log: the first base holds it.
    fn set_log(&mut self, log: Option<Log>) {
        self.persistence.log = log;
        self.leave_effects();
        self.persistence.told_retired = 0;
        self.persistence.told = 0;
    }

    /// CONFIG SET appendonly yes: logs from here on, behind a base that is still to be written.
    ///
    /// # Errors
    /// When the log cannot be opened or the rewrite not be started; the log is off then.
    pub fn turn_log_on(&mut self) -> anyhow::Result<()> {
        if self.persistence.log.is_some() {
            return Ok(());
        }
        self.abort_rewrite();
        let wake = self.persistence.wake();
        let options = self.log_options();
        self.lock_log_directory(&options, Duration::ZERO)?;
        let log = Log::start_waiting_rewrite(self.persistence.fs(), &options, Box::new(move || wake()))
            .inspect_err(|_| self.unlock_log_directory())?;
        self.set_log(Some(log));
        self.persistence.home = options.adopt_from;
        // Within a transaction the snapshot would hold a part of it.
        let hindrance = match self.in_exec {
            true => Some("AOF was enabled during a transaction."),
            false if self.persistence.saving.is_running() => {
                Some("AOF was enabled but there is already another background operation.")
            }
            false => None,
        };
        if let Some(hindrance) = hindrance {
            self.persistence.scheduled = true;
            let line = format!("{hindrance} An AOF background was scheduled to start when possible.");
            self.log(Level::Notice, line);
            return Ok(());
        }
        if let Err(error) = self.start_rewrite() {
            self.drop_log();
            return Err(error);
        }
        Ok(())
    }

    /// The log ends. What was worth waiting for is durable: what fails now is of no consequence.
    pub(crate) fn drop_log(&mut self) {
        if let Some(log) = self.persistence.log.take() {
            let _ = log.stop();
        }
        self.set_log(None);
        self.persistence.scheduled = false;
        self.persistence.log_end.come();
        self.unlock_log_directory();
    }

    /// Starts writing a new base.
    ///
    /// # Errors
    /// When no file can be made; the log goes on as it was.
    pub fn start_rewrite(&mut self) -> anyhow::Result<()> {
        let options = self.log_options();
        let key_delay_us = u32::try_from(self.config.rdb_key_save_delay_us).unwrap_or(0);
        let max_bytes_per_s = self.config.rewrite_max_bytes_per_s();
        let settings = Settings { max_bytes_per_s, ..self.rewrite_settings(&options, key_delay_us) };
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
    pub(crate) fn rewrite_settings(&self, options: &Options, key_delay_us: u32) -> Settings {
        let format = if self.config.aof_use_rdb_preamble {
            Format::Rdb(self.rdb_format(true))
        } else {
            Format::Commands
        };
        Settings {
            temp_path: rewrite::temp_path(options, std::process::id()),
            timestamps: self.config.aof_timestamp_enabled,
            checksum: self.config.aof_checksum,
            incremental_fsync: self.config.aof_rewrite_incremental_fsync,
            key_delay_us,
            max_bytes_per_s: 0,
            format,
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

    /// Once a turn, between two units: lets the rewrite take its next step, ends the log's turn, and says what happened to
    /// the disk. `idle`: the turn found nothing to do.
    pub fn persist(&mut self, idle: bool) {
        self.step_rewrite();
        self.step_save();
        let now = self.clock.now;
        if let Some(log) = &mut self.persistence.log {
            if !self.debug.aof_flush_sleep.is_zero() && log.written() < log.end() {
                std::thread::sleep(self.debug.aof_flush_sleep);
            }
            log.end_turn(now, idle, std::mem::take(&mut self.persistence.sync_wanted));
        }
        self.report_health();
    }

    fn step_rewrite(&mut self) {
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

    /// Logs when the disk begins to fail, and when it works again.
    fn report_health(&mut self) {
        let now = self.clock.now;
        let is_limited = self.persistence.log.as_ref().is_some_and(|log| log.room_bytes() < u64::MAX);
        if !is_limited && self.persistence.misconf().is_none() {
            return;
        }
        let reason = self.persistence.log.as_ref().and_then(|log| disk::reason(log, now));
        match self.persistence.trouble.note(reason, now) {
            disk::Line::None => {}
            disk::Line::Over => {
                self.log(Level::Warning, "AOF write error looks solved, Redis can write again.")
            }
            disk::Line::Lasts => {
                let reason = self.persistence.misconf().unwrap_or_default();
                let line = format!("Error writing to the AOF file: {reason}");
                self.log(Level::Warning, line);
            }
        }
    }

    /// Closes connections whose replies have waited for the disk longer than `aof-outcome-timeout`: an error would make
    /// clients repeat a write that has happened, and a closed connection means perhaps.
    pub(crate) fn close_unanswered(&mut self) {
        let (timeout_s, now) = (u64::from(self.config.aof_outcome_timeout_s), self.clock.now);
        if timeout_s == 0 {
            return;
        }
        let is_over = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(timeout_s);
        let late = self.clients.iter().filter(|client| client.held.is_some_and(|(_, since)| is_over(since)));
        for id in late.map(|client| client.id).collect::<Vec<_>>() {
            self.forget(id);
            let line = format!(
                "Client {} closed: its reply has waited for the disk for {timeout_s} seconds (aof-outcome-timeout)",
                id.serial
            );
            self.log(Level::Warning, line);
        }
    }

    /// Waits until everything logged has been written, for a command that reads the files.
    pub fn write_log_out(&mut self) {
        let now = self.clock.now;
        let Some(log) = &mut self.persistence.log else { return };
        log.seal(now);
        while log.written() < log.end() && log.room_bytes() > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Carries changed directives to the log and the rewrite.
    pub fn apply_log_options(&mut self) {
        let options = self.log_options();
        if let Some(running) = &self.persistence.rewrite {
            running.rewrite.set_key_delay_us(u32::try_from(self.config.rdb_key_save_delay_us).unwrap_or(0));
            running.rewrite.set_max_bytes_per_s(self.config.rewrite_max_bytes_per_s());
        }
        let delay_us = u32::try_from(self.config.rdb_key_save_delay_us).unwrap_or(0);
        self.persistence.saving.set_key_delay_us(delay_us);
        self.change_log(|log| {
            log.set_fsync(options.fsync);
            log.set_timestamps(options.timestamps);
            log.set_checksum(options.checksum);
            log.set_direct_write(options.direct_write);
            log.set_disable_auto_gc(options.disable_auto_gc);
            log.set_max_unsynced_bytes(options.max_unsynced_bytes);
            log.set_no_fsync_on_rewrite(options.no_fsync_on_rewrite);
        });
    }

    /// Changes what the log promises. Where that is more than before, nothing may be told before it is durable, not even
    /// what was answered under the old promise.
    fn change_log(&mut self, change: impl FnOnce(&mut Log)) {
        let Some(log) = &mut self.persistence.log else { return };
        let before = log.acknowledges_durable();
        change(log);
        if !before && log.acknowledges_durable() && log.durable() < log.end() {
            self.gate_everything();
        }
    }

    /// Called as a turn begins: once the first base is there, the log keeps its promise, also for what was answered
    /// before. A turn in whose midst it comes is still one without a promise.
    pub(crate) fn notice_first_base(&mut self) {
        let is_waiting = self.persistence.is_waiting_rewrite();
        if std::mem::replace(&mut self.persistence.was_waiting, is_waiting) && !is_waiting {
            self.gate_everything();
        }
    }

    /// Nobody is told of anything logged so far before it is safe.
    fn gate_everything(&mut self) {
        let Some(log) = &self.persistence.log else { return };
        let everything: Vec<Touch> =
            (0..self.keyspace.dbs().len()).map(|db| Touch::Db { db, wrote: true }).collect();
        self.gate.wrote(&everything, log.end());
        if let Some(client) = self.executing.and_then(|id| self.clients.get_mut(id)) {
            client.output.wait_for(log.end());
        }
    }

    /// Makes everything durable and lets the turn end with exit code 0; false if that failed and `force` is not set. While
    /// a part of the data is in memory alone the server can be left by force only, and then the code is 1; else the base
    /// that ends this is begun.
    /// `save`: whether an RDB file is written; where nobody says so, if there are save points.
    pub fn shut_down(&mut self, force: bool, save: Option<bool>) -> bool {
        self.log(Level::Warning, "User requested shutdown...");
        let only_in_memory = self.persistence.only_in_memory();
        if let Some(reason) = only_in_memory {
            let outcome = if force { ". Exit anyway." } else { ", can't exit." };
            self.log(Level::Warning, format!("{reason}{outcome}"));
        }
        if only_in_memory.is_some() && !force {
            if !self.persistence.is_rewriting() {
                self.schedule_rewrite();
            }
            return false;
        }
        self.abort_save();
        if self.save_finally(save).is_err() && !force {
            return false;
        }
        self.abort_rewrite();
        let code = self.close_log();
        self.exit = Some(code.max(i32::from(only_in_memory.is_some())));
        true
    }

    /// Writes the last RDB file, if there is to be one.
    fn save_finally(&mut self, save: Option<bool>) -> Result<(), ()> {
        if self.loading.is_some() || !save.unwrap_or(!self.config.save.is_empty()) {
            return Ok(());
        }
        self.log(Level::Notice, "Saving the final RDB snapshot before exiting.");
        self.save().map_err(|_| self.log(Level::Warning, "Error trying to save the DB, can't exit."))
    }

    /// Makes the log durable and ends it; returns the exit code: 0 unless something is lost that somebody was told of.
    fn close_log(&mut self) -> i32 {
        let Some(log) = self.persistence.log.take() else { return 0 };
        self.log(Level::Notice, "Calling fsync() on the AOF file.");
        let Err(error) = log.stop() else { return 0 };
        let told = self.persistence.told;
        if matches!(error, aof::Error::FileRetired { durable, .. } if durable >= told) {
            self.log(Level::Warning, format!("Writes that nobody was told of are lost: {error}"));
            self.persistence.last_watermark = told;
            return 0;
        }
        self.log(Level::Warning, format!("The append only file could not be made durable: {error}"));
        1
    }
}

#[cfg(test)]
mod tests;
