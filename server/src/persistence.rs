//! The log and its rewrite, as the server sees them: on, off, or waiting for a first base.
//!
//! ```text
//!            CONFIG SET appendonly yes                first base published
//!     Off ------------------------------> WAIT_REWRITE --------------------> On
//!      ^                                       |                             |
//!      '------------ CONFIG SET appendonly no -+-----------------------------'
//! ```
//! Here is how it changes between the three, and its part in a turn; what replies may tell by it, its rewrite, and the
//! server's end are in modules of their own.

mod info;
mod promise;
mod rewriting;
mod shutdown;
pub(crate) mod stale;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aof::fs::{Disk, Fs, remove_and_discard};
use aof::{DirLock, Directory, Log, Options, Position, Report};
use mio::Waker;
use rewrite::Hold;
use rewrite::trigger::Backoff;

use self::rewriting::{LastRewrite, Running};
use crate::clock::monotonic_ns;
use crate::config::{AppendFsync, Config, LoadCorrupt};
use crate::disk::{self, Trouble, Wish};
use crate::executor::Server;
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
    /// A signal to be carried out once no data is in memory alone.
    awaited_stop: Option<i32>,
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
    /// Keeps our tools and other servers of ours away from the log's directory.
    lock: Option<DirLock>,
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

impl Loaded {
    /// What the load of a log reports.
    pub(crate) fn of(report: &Report) -> Self {
        Loaded {
            verified_blocks: report.blocks_verified,
            corrupt_places: report.quarantined.len(),
            unverified_bytes: report.unverified_bytes,
            truncated_bytes: report.truncated.as_ref().map_or(0, |cut| cut.cut_bytes),
        }
    }
}

impl Default for Persistence {
    fn default() -> Self {
        Persistence {
            log: None,
            rewrite: None,
            scheduled: false,
            backoff: Backoff::default(),
            last: LastRewrite::default(),
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
            awaited_stop: None,
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

    /// Whether the log is to begin with a base that is not there yet.
    pub fn is_waiting_rewrite(&self) -> bool {
        self.log.as_ref().is_some_and(Log::is_waiting_rewrite)
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
        self.backoff.reset_stats();
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
        load_corrupt_tail_max_bytes: config.aof_load_corrupt_tail_max_size_bytes,
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
    /// if it is not there: two servers may begin in it at once. True if the lock is new; of a directory that was removed
    /// under the server, the old one is kept until then.
    ///
    /// # Errors
    /// [`aof::Error::InUse`]; when it cannot be made.
    pub(crate) fn lock_log_directory(
        &mut self,
        options: &Options,
        patience: Duration,
    ) -> Result<bool, aof::Error> {
        if self.persistence.lock.as_ref().is_some_and(|lock| lock.is_on(&options.dir)) {
            return Ok(false);
        }
        let began = Instant::now();
        loop {
            match DirLock::take_or_make(&*self.persistence.fs, options) {
                Err(aof::Error::InUse { .. }) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                taken => {
                    self.persistence.lock = Some(taken?);
                    return Ok(true);
                }
            }
        }
    }

    /// Locks the log's directory for a base that is about to be written. If the lock is new no start has looked what killed
    /// rewrites have left there.
    pub(super) fn claim_log_directory(&mut self, options: &Options) -> Result<(), aof::Error> {
        if self.lock_log_directory(options, Duration::ZERO)? {
            self.remove_unfinished_bases(remove_and_discard);
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
        let Persistence { last, saving, .. } = &mut self.persistence;
        last.log_bytes = log.stats(self.clock.now).base_size;
        last.estimate.note(last.log_bytes, saving.loaded.used_memory_bytes);
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
        self.claim_log_directory(&options)?;
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
        // It waited for a base that nobody wants any more.
        self.abort_stop();
        self.persistence.scheduled = false;
        self.persistence.log_end.come();
        self.unlock_log_directory();
    }

    /// Once a turn, between two units: lets the rewrite take its next step, ends the log's turn, and says what happened to
    /// the disk. `idle`: the turn found nothing to do.
    pub fn persist(&mut self, idle: bool) {
        self.step_rewrite();
        self.step_save();
        let now = self.clock.now;
        if let Some(log) = &mut self.persistence.log {
            // A turn that wrote nothing is not worth a look at the clock.
            let began_ns = (log.written() < log.end()).then(monotonic_ns);
            if began_ns.is_some() && !self.debug.aof_flush_sleep.is_zero() {
                std::thread::sleep(self.debug.aof_flush_sleep);
            }
            log.end_turn(now, idle, std::mem::take(&mut self.persistence.sync_wanted));
            if let Some(began_ns) = began_ns {
                self.stats.cycles.log_ns += monotonic_ns().saturating_sub(began_ns);
            }
        }
        self.report_health();
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

    /// Carries changed directives to the log and the rewrite.
    pub fn apply_log_options(&mut self) {
        let options = self.log_options();
        if let Some(running) = &self.persistence.rewrite {
            running.rewrite.set_key_delay_us(self.config.key_save_delay_us());
            running.rewrite.set_max_bytes_per_s(self.config.rewrite_max_bytes_per_s());
        }
        self.persistence.saving.set_key_delay_us(self.config.key_save_delay_us());
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
}

#[cfg(test)]
mod tests;
