//! The RDB file, as the server sees it: loaded at start, written by SAVE, BGSAVE, save points and SHUTDOWN.
//!
//! A save walks a snapshot as a rewrite does, on a thread of its own, into `temp-<pid>.rdb`; the file takes the place of
//! `dbfilename` once it is whole and durable. One background job runs at a time: while one does, the other kind is
//! refused or scheduled, in Redis's words.

mod points;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use keyspace::rdb::{Error, Verdict};
use keyspace::{By, Noting};
use rewrite::emit::{Emitter, RdbEmitter};
use rewrite::{Format, Progress, RdbFormat, Rewrite, Settings, Summary, Wake};

use self::points::LastSave;
use crate::clock::Clock;
use crate::config::SavePoint;
use crate::executor::{Loading, Server};
use crate::info::Fields;
use crate::logger::Level;
use crate::startup::Loader;
use crate::turn::Turn;

/// How often somebody sees how far a job is that he waits for.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// What the server knows about saves.
#[derive(Debug)]
pub struct Saving {
    running: Option<Running>,
    /// BGSAVE SCHEDULE while a rewrite ran.
    pub scheduled: bool,
    last: LastSave,
    /// What the last load of a file found.
    pub loaded: Found,
}

#[derive(Debug)]
struct Running {
    save: Rewrite,
    /// The file that it writes.
    target: PathBuf,
    /// It is to be sent to replicas, and saves nothing.
    for_replicas: bool,
    started: Instant,
    /// Changes that are in the snapshot.
    dirty: u64,
}

impl Default for Saving {
    fn default() -> Self {
        let clock = Clock::start();
        let last = LastSave::at_start(clock.now, clock.unix_s());
        Saving { running: None, scheduled: false, last, loaded: Found::default() }
    }
}

/// How many keys a file had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys that are there now.
    pub loaded: u64,
    /// Keys that were left out, for their time was over.
    pub expired: u64,
    /// Keys that were left out, for their collections had no elements.
    pub empty: u64,
    /// The memory in use when it was written; 0 if it does not say.
    pub used_memory_bytes: u64,
}

/// How a file is loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Expired keys stay until their DEL is logged: commands of the log may prolong them, or meet them.
    pub keeps_expired: bool,
    /// A key that is there already is replaced: DEBUG RELOAD MERGE.
    pub replace: bool,
}

impl Saving {
    /// Whether a background save is running.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether what is running writes a file for replicas.
    pub(crate) fn is_for_replicas(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.for_replicas)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset_stats(&mut self) {
        self.last.count = 0;
    }

    /// How far a background save has come.
    pub fn progress(&self) -> Option<Progress> {
        self.running.as_ref().map(|running| running.save.progress())
    }

    /// When the data was saved last, seconds since 1970; the start of the server counts.
    pub fn last_unix_s(&self) -> i64 {
        self.last.at_unix_s
    }

    /// `rdb-key-save-delay` has changed.
    pub fn set_key_delay_us(&self, delay_us: u32) {
        if let Some(running) = &self.running {
            running.save.set_key_delay_us(delay_us);
        }
    }

    /// The fields of INFO's section.
    pub fn info(&self, clock: &Clock, dirty: u64, fields: &mut Fields) {
        let seconds = |time: Option<Duration>| time.map_or(-1, |time| time.as_secs() as i64);
        let running = self.running.as_ref();
        let current = running.map(|running| clock.now.saturating_duration_since(running.started));
        fields.add("rdb_changes_since_last_save", dirty);
        fields.add("rdb_bgsave_in_progress", u8::from(running.is_some()));
        fields.add("rdb_last_save_time", self.last.at_unix_s);
        fields.add("rdb_last_bgsave_status", if self.last.failed { "err" } else { "ok" });
        fields.add("rdb_last_bgsave_time_sec", seconds(self.last.took));
        fields.add("rdb_current_bgsave_time_sec", seconds(current));
        fields.add("rdb_saves", self.last.count);
        fields.add("rdb_last_cow_size", 0);
        fields.add("rdb_last_load_keys_expired", self.loaded.expired);
        fields.add("rdb_last_load_keys_loaded", self.loaded.loaded);
    }
}

/// An RDB file without keys: the base of a log that begins.
pub(crate) fn empty_file(format: RdbFormat, unix_s: i64) -> Vec<u8> {
    let (mut emitter, mut file) = (RdbEmitter::new(format), Vec::new());
    // Writing to a vector does not fail.
    let _ = emitter.begin(unix_s, &mut file).and_then(|()| emitter.end(&mut file));
    file
}

impl Server {
    /// How RDB files are written now.
    pub(crate) fn rdb_format(&self, aof_base: bool) -> RdbFormat {
        RdbFormat {
            redis_version: crate::REDIS_VERSION.to_owned(),
            used_memory_bytes: self.room.count.used_by_now(),
            aof_base,
            compress: self.config.rdbcompression,
            checksum: self.config.rdbchecksum,
            usage: self.kept_usage(),
        }
    }

    /// How the use of keys is noted, if the policy asks for that to be kept.
    fn kept_usage(&self) -> Option<Noting> {
        let limits = &self.keyspace.limits;
        let kept = limits.policy.is_some_and(|policy| matches!(policy.by, By::Lru | By::Lfu));
        kept.then(|| limits.noting())
    }

    /// Where the RDB file is.
    pub(crate) fn rdb_path(&self) -> PathBuf {
        let dir = std::env::current_dir().unwrap_or_default();
        dir.join(String::from_utf8_lossy(&self.config.dbfilename).into_owned())
    }

    fn save_settings(&self) -> Settings {
        let dir = std::env::current_dir().unwrap_or_default();
        let temp_path = dir.join(format!("temp-{}.rdb", std::process::id()));
        let format = Format::Rdb(self.rdb_format(false));
        let incremental_fsync = self.config.rdb_save_incremental_fsync;
        Settings { checksum: false, incremental_fsync, ..Settings::new(temp_path, format) }
    }

    /// Runs a rewrite or a save that concerns no log, and is none in the background, to its end, and lets `watch` see how
    /// far it is; the executor waits, unless `watch` lets it do something. What that does must not change the data.
    ///
    /// # Errors
    /// What kept it from its end; in a load also that the server is to end.
    pub(crate) fn run_to_end(
        &mut self,
        make: impl FnOnce(&Self, Wake) -> Rewrite,
        mut watch: impl FnMut(&mut Self, Progress),
    ) -> anyhow::Result<Summary> {
        let (sender, woken) = mpsc::channel();
        let wake: Wake = Arc::new(move || {
            // Nobody listens once it has ended.
            let _ = sender.send(());
        });
        let mut job = make(self, wake);
        loop {
            if let Some(outcome) = job.step(None, self.clock.unix_s(), || self.keyspace.snapshot()) {
                return Ok(outcome?);
            }
            watch(self, job.progress());
            ensure!(self.exit.is_none() || self.loading.is_none(), "the server is to end");
            match woken.recv_timeout(WATCH_INTERVAL) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the job has died"),
            }
        }
    }

    /// SAVE: the executor waits until the file is durable.
    ///
    /// # Errors
    /// What kept it from being written; the former file is as it was.
    pub fn save(&mut self) -> anyhow::Result<()> {
        let settings = Settings { background: false, ..self.save_settings() };
        let target = self.rdb_path();
        let saved = self.run_to_end(
            |server, wake| Rewrite::begin_save(server.persistence.fs(), target, settings, wake),
            |_, _| (),
        );
        self.persistence.saving.last.count += 1;
        match saved {
            Ok(_) => {
                self.persistence.dirty = 0;
                self.persistence.saving.last.succeeded(Instant::now(), self.clock.unix_s());
                self.log(Level::Notice, "DB saved on disk");
                Ok(())
            }
            Err(error) => {
                self.log(Level::Warning, format!("Error saving DB on disk: {error}"));
                Err(error)
            }
        }
    }

    /// BGSAVE: the file is written by another thread.
    pub fn start_save(&mut self) {
        let saving = &mut self.persistence.saving;
        saving.last.tried_at = Some(self.clock.now);
        saving.last.count += 1;
        saving.scheduled = false;
        self.start_job(self.rdb_path(), false);
    }

    /// The same job, for a file that replicas are to be sent. It has a name only until it is whole.
    pub(crate) fn start_save_for_replicas(&mut self) {
        let dir = std::env::current_dir().unwrap_or_default();
        self.start_job(dir.join(format!("temp-sync-{}.rdb", std::process::id())), true);
    }

    fn start_job(&mut self, target: PathBuf, for_replicas: bool) {
        // What a process that was killed shortly before the start had left could not be told from another's then.
        self.remove_stale_files();
        let settings = Settings { key_delay_us: self.config.key_save_delay_us(), ..self.save_settings() };
        let (fs, wake) = (self.persistence.fs(), self.persistence.wake());
        let save = Rewrite::begin_save(fs, target.clone(), settings, wake);
        let (started, dirty) = (self.clock.now, self.persistence.dirty);
        self.persistence.saving.running = Some(Running { save, target, for_replicas, started, dirty });
        self.log(Level::Notice, "Background saving started");
        // The snapshot is of this moment, not of the end of the turn.
        self.step_save();
    }

    /// Once a turn: takes note of a background save that has ended.
    pub(crate) fn step_save(&mut self) {
        let Some(running) = &mut self.persistence.saving.running else { return };
        let (room, keyspace) = (&mut self.room, &self.keyspace);
        let outcome = running.save.step(None, self.clock.unix_s(), || room.snapshot(keyspace));
        let Some(outcome) = outcome else { return };
        let Some(running) = self.persistence.saving.running.take() else { return };
        match running.for_replicas {
            true => self.end_save_for_replicas(&running, outcome),
            false => self.end_save(&running, outcome),
        }
    }

    fn end_save(&mut self, running: &Running, outcome: Result<Summary, rewrite::Error>) {
        let now = self.clock.now;
        let last = &mut self.persistence.saving.last;
        last.took = Some(now.saturating_duration_since(running.started));
        match outcome {
            Ok(summary) => {
                last.succeeded(now, self.clock.unix_s());
                self.persistence.dirty = self.persistence.dirty.saturating_sub(running.dirty);
                self.log(Level::Notice, "DB saved on disk");
                self.log_saved(&summary);
            }
            Err(error) => {
                last.failed = true;
                self.log(Level::Warning, format!("Background saving error: {error}"));
            }
        }
    }

    /// What replicas get is no save: it is not counted, and its failure is no reason to refuse writes.
    fn end_save_for_replicas(&mut self, running: &Running, outcome: Result<Summary, rewrite::Error>) {
        match outcome {
            Ok(summary) => {
                self.log_saved(&summary);
                self.full_sync_written(&running.target);
            }
            Err(error) => self.full_sync_failed(&error.to_string()),
        }
    }

    fn log_saved(&mut self, &Summary { keys, base_bytes, .. }: &Summary) {
        let line = format!("Background saving terminated with success: {keys} keys, {base_bytes} bytes");
        self.log(Level::Notice, line);
    }

    /// Ends a background save and removes its file.
    pub fn abort_save(&mut self) {
        if let Some(running) = self.persistence.saving.running.take() {
            self.log(Level::Notice, "Killing RDB child");
            self.persistence.note_hold(running.save.hold());
            running.save.abort(None);
            if running.for_replicas {
                // One that had just been renamed.
                let _ = aof::fs::remove_and_discard(&*self.persistence.fs(), &running.target);
                self.full_sync_failed("the background save was killed");
            }
        }
    }

    /// Starts a save that is scheduled, or that a save point asks for.
    pub(crate) fn save_if_due(&mut self) {
        if self.persistence.is_rewriting() || self.persistence.saving.is_running() || self.loading.is_some() {
            return;
        }
        let Saving { scheduled, ref last, .. } = self.persistence.saving;
        if !last.may_try(self.clock.now) {
            return;
        }
        let due = last.due_point(&self.config.save, self.persistence.dirty, self.clock.now).copied();
        if let Some(SavePoint { changes, period_s }) = due {
            self.log(Level::Notice, format!("{changes} changes in {period_s} seconds. Saving..."));
            self.start_save();
        } else if scheduled {
            self.start_save();
            // One that could not even begin is still to come.
            let saving = &mut self.persistence.saving;
            saving.scheduled = saving.last.failed && !saving.is_running();
        }
    }

    /// FLUSHALL has emptied everything: a save of what was there is of no use, and the file is to say the same.
    pub(crate) fn flushed_all(&mut self) {
        self.abort_save();
        if !self.config.save.is_empty() && self.loading.is_none() {
            // A failure is logged, and the next save point tries again.
            let _ = self.save();
        }
    }

    /// Why writes are refused although the log takes them: what was promised to be saved could not be.
    pub(crate) fn save_misconf(&self) -> Option<&'static str> {
        let refuses = self.config.stop_writes_on_bgsave_error
            && !self.config.save.is_empty()
            && self.persistence.saving.last.failed;
        refuses.then_some(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
             that may modify the data set are disabled, because this instance is configured to report errors during \
             writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
             details about the RDB error.",
        )
    }

    /// Loads the RDB file, if there is one; false if there is none.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn load_rdb_file(
        &mut self,
        turn: Option<&mut Turn>,
        options: LoadOptions,
    ) -> anyhow::Result<bool> {
        let (path, started) = (self.rdb_path(), Instant::now());
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => bail!("Fatal error loading the DB: {}: {error}. Exiting.", path.display()),
            Ok(file) => file,
        };
        let total_bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let is_start = turn.is_some();
        if is_start {
            self.loading = Some(Loading::begin(started, self.clock.unix_s(), total_bytes));
        }
        let found = Loader::new(self, turn).rdb(BufReader::with_capacity(1 << 20, file), options);
        self.loading = None;
        if self.exit.is_some() {
            return Ok(true);
        }
        if let Err(error) = found {
            // Redis's words, which its tests look for: one report of damage, and one line for the end.
            let known = error.downcast_ref::<Error>();
            if let Some(error) = known {
                self.log(Level::Warning, error.report());
            }
            let is_damaged = known.is_some_and(|error| error.verdict() == Verdict::Damaged);
            let end = match is_start && is_damaged {
                true => "Terminating server after rdb file reading failure.",
                false => "Fatal error loading the DB, check server logs. Exiting.",
            };
            bail!("{}: {error:#}\n{end}", path.display());
        }
        let line = format!("DB loaded from disk: {:.3} seconds", started.elapsed().as_secs_f64());
        self.log(Level::Notice, line);
        Ok(true)
    }
}
