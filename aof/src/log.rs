//! The log as the executor holds it: frames units, seals blocks, asks for watermarks. Nothing here waits for a disk,
//! except a direct write (see `writer`) and [`Log::stop`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};

use crate::Position;
use crate::backend::{Block, LogBackend};
use crate::block::{Epoch, Line, crc32c};
use crate::clock::Clock;
use crate::dir::Directory;
use crate::error::{Error, io_error};
use crate::event::Event;
use crate::fs::Fs;
use crate::histogram::Histogram;
use crate::options::{Fsync, Options};
use crate::record::{Framer, Op};
use crate::rotate::{NewBase, Rotation, Volume};
use crate::space;
use crate::stats::{Health, Stats};
use crate::sync::{Broken, JoinHandle, Ordering, spawn};
use crate::syncer;
use crate::tail::{Cause, Retired, Tail};
use crate::writer::{Shared, Writer};

/// Blocks are cut from allocations of this size, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// Under `always` the disk rests between two fdatasyncs for as long as the last took, and at most for this.
const REST: Duration = Duration::from_millis(1);
/// A block that is open meanwhile is sealed once it is so long, or this time has passed: a block is what damage takes with
/// it, and what a load holds in memory.
const OPEN_BYTES: usize = 1024 * 1024;
const OPEN: Duration = Duration::from_secs(1);
/// Kept free in front of a payload for what is known only when the block is sealed: a `#TS:` line of at most 26 bytes, and
/// a block's line without file fields, of at most 102.
const PREFIX_BYTES: usize = 128;

/// Told whenever a watermark, the health or a rotation has changed; from any thread, and often.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// A running log.
pub struct Log {
    shared: Arc<Shared>,
    fs: Arc<dyn Fs>,
    /// None if its [`Steps`](crate::Steps) are somebody else's to make.
    threads: Vec<(&'static str, JoinHandle<()>)>,
    is_stopped: bool,
    framer: Framer,
    /// Empty, or [`PREFIX_BYTES`] and the payload of the block that this turn is filling.
    block: BytesMut,
    /// The database selected where its payload begins.
    block_db: Option<u32>,
    /// When it was begun.
    block_time_ms: i64,
    prefix: Vec<u8>,
    epoch: Epoch,
    /// Whether blocks get a line; and whether those of the next file do.
    checksum: bool,
    checksum_next: bool,
    end: Position,
    /// The end of the last block.
    sealed: Position,
    /// When a block was handed over under `always`, until it is seen to be safe; and how long the disk rests then.
    handed_over: Option<Instant>,
    rests_until: Option<Instant>,
}

impl Log {
    /// Opens the last incr to go on with it, or creates what is missing: the directory, an empty base where there is
    /// nothing, an incr. Positions go on where the directory ended.
    ///
    /// Replay first: that is what tells where the last file ends, and that it may be gone on with.
    ///
    /// Should one of its threads panic, the process ends: without it nothing could be promised any more, and what was
    /// promised is in the files.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotReplayed`]. Nothing runs then.
    pub fn start(directory: Directory, options: &Options, wake: Wake) -> Result<Log, Error> {
        Self::start_on(directory, options, wake, Broken::default())
    }

    pub(crate) fn start_on(
        directory: Directory,
        options: &Options,
        wake: Wake,
        broken: Broken,
    ) -> Result<Log, Error> {
        let (tail, volume) = open(directory, options, Clock::monotonic(), broken)?;
        Self::run(tail, volume, options, wake)
    }

    /// Starts a log for `CONFIG SET appendonly yes`: nothing counts before the first base is published, which
    /// supersedes whatever the directory holds. Rotate, switch and publish as for any rewrite; what is appended before
    /// the switch is in the snapshot and goes nowhere else.
    ///
    /// # Errors
    /// Those of [`Directory::open`]; [`Error::Io`].
    pub fn start_waiting_rewrite(fs: Arc<dyn Fs>, options: &Options, wake: Wake) -> Result<Log, Error> {
        let (tail, volume) = open_waiting_rewrite(fs, options, Clock::monotonic())?;
        Self::run(tail, volume, options, wake)
    }

    fn run(tail: Tail, volume: Volume, options: &Options, wake: Wake) -> Result<Log, Error> {
        let (mut log, writer) = Self::assemble(tail, volume, options, wake);
        let for_syncer = log.shared.clone();
        // The syncer first: it alone touches nothing. If there can be no writer either, it must not wait for that one.
        let syncer = spawn("syncer", move || or_abort(|| syncer::run(&for_syncer)))
            .map_err(io_error("spawn a thread for", &options.dir))?;
        log.threads.push(("syncer", syncer));
        let writer = spawn("writer", || or_abort(|| writer.run()))
            .inspect_err(|_| log.change(|tail| tail.writer_done = true))
            .map_err(io_error("spawn a thread for", &options.dir))?;
        log.threads.insert(0, ("writer", writer));
        Ok(log)
    }

    /// Everything but the threads.
    pub(crate) fn assemble(tail: Tail, volume: Volume, options: &Options, wake: Wake) -> (Log, Writer) {
        let (epoch, end, fs) = (volume.epoch(), tail.end, volume.fs());
        let shared = Arc::new(Shared::new(Tail { volume: Some(volume), ..tail }, wake));
        let log = Log {
            shared: shared.clone(),
            fs: fs.clone(),
            threads: Vec::new(),
            is_stopped: false,
            framer: Framer::new(options.timestamps),
            block: BytesMut::with_capacity(CHUNK_BYTES),
            block_db: None,
            block_time_ms: 0,
            prefix: Vec::with_capacity(PREFIX_BYTES),
            epoch,
            checksum: options.checksum,
            checksum_next: options.checksum,
            end,
            sealed: end,
            handed_over: None,
            rests_until: None,
        };
        (log, Writer { shared, epoch, fs })
    }

    /// Frames one execution unit into the current block, MULTI/EXEC around it if it has several effects. No I/O.
    /// Returns the position after it. `time_ms` is the wall clock, which only lines tell.
    pub fn append(&mut self, time_ms: i64, unit: &[Op<'_>]) -> Position {
        if unit.is_empty() {
            return self.end;
        }
        if self.block.is_empty() {
            self.block_db = self.framer.selected();
            self.block_time_ms = time_ms.max(0);
            self.block.put_bytes(0, PREFIX_BYTES);
        }
        let before = self.block.len();
        self.framer.unit(unit, &mut self.block);
        self.end += (self.block.len() - before) as u64;
        self.end
    }

    /// Ends a turn, before the replies are looked at: what it has logged is [sealed](Self::seal), unless it is better left
    /// open for the next turn's. `idle`: there was nothing to do in it; `sync`: somebody waits for all of it to be durable.
    pub fn end_turn(&mut self, now: Instant, idle: bool, sync: bool) {
        let stays_open = !sync && self.gathers(now) && !(idle && self.awaits_only_time());
        if !stays_open {
            self.seal(now);
        }
        if sync {
            self.sync_now();
        }
    }

    /// Whether the block had better be left open, should the next turn come at once: under `always`, while another is on
    /// its way to the disk, and for some time after, so that those whose replies have just left are in this one. The fewer
    /// fdatasyncs, the more the executor gets done.
    fn gathers(&mut self, now: Instant) -> bool {
        if !self.acknowledges_durable() || self.is_waiting_rewrite() {
            return false;
        }
        let took = self.handed_over.map(|since| now.saturating_duration_since(since));
        if self.is_under_way() {
            return self.block.len() < OPEN_BYTES && took.is_some_and(|took| took < OPEN);
        }
        if let Some(took) = took {
            self.handed_over = None;
            self.rests_until = Some(now + took.min(REST));
        }
        self.rests_until.is_some_and(|until| now < until)
    }

    /// A block is open that nothing but time, or the lack of anything to do, will end: the next turn should not wait.
    pub fn awaits_only_time(&self) -> bool {
        !self.block.is_empty() && !self.is_under_way()
    }

    fn is_under_way(&self) -> bool {
        self.written() < self.sealed
    }

    /// The block is complete: it is written directly or handed over.
    pub fn seal(&mut self, now: Instant) {
        if self.block.is_empty() {
            return;
        }
        let buffer_bytes = self.block.capacity();
        let mut bytes = self.block.split();
        let memory_bytes = if bytes.len() > CHUNK_BYTES {
            // What is left of a buffer that grew for one block would keep all of it in memory.
            self.block = BytesMut::with_capacity(CHUNK_BYTES);
            buffer_bytes
        } else if self.block.capacity() < CHUNK_BYTES / 4 {
            self.block.reserve(CHUNK_BYTES);
            buffer_bytes
        } else {
            bytes.len()
        };
        let (start, durable) = (self.sealed, self.durable().min(self.sealed));
        self.write_prefix(start, durable, &bytes[PREFIX_BYTES..]);
        let unused = PREFIX_BYTES - self.prefix.len();
        bytes[unused..PREFIX_BYTES].copy_from_slice(&self.prefix);
        bytes.advance(unused);
        self.sealed = self.end;
        self.handed_over = self.acknowledges_durable().then_some(now);
        let block = Block {
            bytes: bytes.freeze(),
            memory_bytes,
            start,
            end: self.end,
            durable: if self.checksum { durable } else { 0 },
            db: self.block_db,
            db_after: self.framer.selected(),
            sealed: now,
            time_ms: self.block_time_ms,
        };
        self.shared.append(block, now);
    }

    fn write_prefix(&mut self, start: Position, durable: Position, payload: &[u8]) {
        self.prefix.clear();
        self.framer.stamp(self.block_time_ms / 1000, &mut self.prefix);
        if self.checksum {
            let line = Line {
                payload_bytes: payload.len() as u64,
                position: start,
                lag: start - durable,
                db: self.block_db,
                time_ms: self.block_time_ms,
                head: None,
                payload_crc: crc32c(payload),
            };
            line.encode(self.epoch, &mut self.prefix);
        }
    }

    /// What positions count from.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position after everything appended.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Up to here, a kill -9 takes nothing.
    pub fn written(&self) -> Position {
        self.shared.written()
    }

    /// Up to here, a power cut takes nothing.
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }

    /// A reply may leave once this has reached its position: durable under `always`, written else. A log that waits for
    /// its first base holds nothing back, as Redis does not.
    pub fn reply_watermark(&self) -> Position {
        match self.is_waiting_rewrite() {
            true => self.end,
            false if self.acknowledges_durable() => self.durable(),
            false => self.written(),
        }
    }

    /// Whether a reply tells that its write is durable: under `always`, unless the policy rests.
    pub fn acknowledges_durable(&self) -> bool {
        self.shared.acknowledges_durable.load(Ordering::Acquire)
    }

    /// True from [`start_waiting_rewrite`](Self::start_waiting_rewrite) to the first base.
    pub fn is_waiting_rewrite(&self) -> bool {
        self.shared.waiting_rewrite.load(Ordering::Acquire)
    }

    /// True beyond `aof-max-unsynced-bytes`, whatever else lets the policy rest: the server should not execute writes for
    /// now, nor refuse them.
    #[inline]
    pub fn writes_are_held(&self) -> bool {
        self.end > self.shared.held_above.load(Ordering::Acquire)
    }

    /// Whether a part of what was logged can be loaded only once a base is there: the log waits for its first one, or has
    /// lost what a file held. Looks whether the live file still has its name, which otherwise is looked at behind an
    /// fdatasync, and a log that is idle calls none.
    pub fn needs_base(&self) -> bool {
        let is_named = self.look_at_name();
        let tail = self.shared.tail.lock();
        tail.waiting_rewrite || tail.has_lost() || !is_named
    }

    /// Whether the live file has its name; one that has not is retired. Before the first base it is named anew.
    fn look_at_name(&self) -> bool {
        let (live, live_id) = {
            let tail = self.shared.tail.lock();
            (tail.live.clone().filter(|_| !tail.waiting_rewrite), tail.live_id)
        };
        let is_named = live.is_none_or(|live| live.is_named());
        if !is_named {
            self.change(|tail| {
                if tail.live_id == live_id {
                    tail.lose_name();
                }
            });
        }
        is_named
    }

    /// Whether the log can take what it is given.
    pub fn health(&self) -> Health {
        if self.shared.room_bytes.load(Ordering::Acquire) == u64::MAX {
            return Health::Healthy;
        }
        let tail = self.shared.tail.lock();
        match (&tail.retired, &tail.space.shortage) {
            (Some(retired), _) => Health::Failing(retired.failure.clone()),
            (None, Some(shortage)) => Health::Full(shortage.clone()),
            (None, None) => Health::Healthy,
        }
    }

    /// Bytes that can still be appended for certain; [`u64::MAX`] unless the disk is full, 0 while the log fails.
    #[inline]
    pub fn room_bytes(&self) -> u64 {
        let room_bytes = self.shared.room_bytes.load(Ordering::Acquire);
        if room_bytes == u64::MAX { room_bytes } else { room_bytes.saturating_sub(self.end - self.sealed) }
    }

    /// A moment's figures.
    pub fn stats(&self, now: Instant) -> Stats {
        let tail = self.shared.tail.lock();
        let oldest = tail.oldest_unsynced();
        let fsyncs = tail.running(now).filter(|call| matches!(call, Event::Fsync(_) | Event::FsyncAlways(_)));
        Stats {
            current_size: tail.counters.current_size,
            base_size: tail.counters.base_size,
            buffer_length: self.end - tail.written,
            pending_bio_fsync: u32::from(tail.sync_running()),
            delayed_fsync: tail.counters.delayed_fsync,
            fsync_running: fsyncs.map(|fsync| fsync.took()).max(),
            durable: tail.durable_watermark(),
            unsynced_bytes: self.end - tail.durable_watermark(),
            unsynced: oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest)),
            retained_bytes: tail.retained_bytes() + self.block.capacity() as u64,
            slow_direct_writes: tail.counters.slow_direct_writes,
            retired_files: tail.counters.retired_files,
            lost_below: tail.lost.as_ref().map(|lost| lost.below),
            waiting_rewrite: tail.waiting_rewrite,
            reserved_bytes: tail.ahead_bytes(),
            free_bytes: tail.space.free_bytes,
            last_failure: tail.last_failure.clone(),
        }
    }

    /// What `percentile` (0 to 100) of the fdatasyncs since the last reset did not take longer than.
    pub fn fsync_percentile(&self, percentile: f64) -> Duration {
        self.shared.tail.lock().counters.fsyncs.percentile(percentile)
    }

    /// Lets the writer look at the disk, for the next [`stats`](Self::stats).
    pub fn look_at_disk(&self) {
        self.change(|tail| tail.space.is_asked = !tail.space.is_unknown);
    }

    /// CONFIG RESETSTAT: `aof_delayed_fsync` and the times of fdatasyncs start over.
    pub fn reset_stats(&mut self) {
        let mut tail = self.shared.tail.lock();
        tail.counters.delayed_fsync = 0;
        tail.counters.fsyncs = Histogram::default();
    }

    /// What took a millisecond or longer since the last time that somebody asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.shared.tail.lock().counters.events.take()
    }

    /// What the log's threads are at, and how long that has taken so far: of a disk that hangs nothing else tells.
    pub fn running(&self, now: Instant) -> Vec<Event> {
        self.shared.tail.lock().running(now).collect()
    }

    /// `appendfsync`. From any policy to `always`: everything written so far is synced at once, and replies wait for it.
    pub fn set_fsync(&mut self, fsync: Fsync) {
        self.change(|tail| tail.fsync = fsync);
    }

    /// `aof-timestamp-enabled`.
    pub fn set_timestamps(&mut self, timestamps: bool) {
        self.framer.timestamps = timestamps;
    }

    /// `aof-checksum`; it applies from the next file on, that is, from the next rewrite.
    pub fn set_checksum(&mut self, checksum: bool) {
        self.checksum_next = checksum;
    }

    /// `aof-disable-auto-gc`; switched off, history goes at once.
    pub fn set_disable_auto_gc(&mut self, disabled: bool) {
        self.change(|tail| {
            tail.auto_gc = !disabled;
            if tail.auto_gc {
                tail.want_collect();
            }
        });
    }

    /// `aof-direct-write`. Default: yes; with no, the executor never calls write(2) itself.
    pub fn set_direct_write(&mut self, direct: bool) {
        self.change(|tail| tail.direct = direct);
    }

    /// `aof-max-unsynced-bytes`.
    pub fn set_max_unsynced_bytes(&mut self, bytes: u64) {
        self.change(|tail| tail.max_unsynced_bytes = bytes);
    }

    /// `no-appendfsync-on-rewrite`.
    pub fn set_no_fsync_on_rewrite(&mut self, yes: bool) {
        self.change(|tail| tail.no_fsync_on_rewrite = yes);
    }

    /// Told by the server when a rewrite begins and ends, for `no-appendfsync-on-rewrite` and the names of events.
    pub fn set_rewrite_running(&mut self, running: bool) {
        self.change(|tail| tail.rewriting = running);
    }

    /// Asks for everything sealed so far to be made durable, whatever the policy; returns the position to wait for.
    pub fn sync_now(&mut self) -> Position {
        let sealed = self.sealed;
        self.change(|tail| tail.wanted = tail.wanted.max(sealed));
        sealed
    }

    /// For `CONFIG SET appendonly no`: seals, and asks for all of it to be made durable, and called so in the file. Unless
    /// more is appended the log is [idle](Self::is_idle) then; if [`health`](Self::health) says that it will not be, keep
    /// it on.
    pub fn drain(&mut self) -> Position {
        self.seal(self.shared.clock.now());
        self.change(|tail| tail.mark_asked = tail.end);
        self.sync_now()
    }

    /// Whether all is durable and nothing is under way, so that [`stop`](Self::stop) waits for no disk.
    pub fn is_idle(&self) -> bool {
        self.block.is_empty() && self.shared.tail.lock().is_idle()
    }

    /// Whether somebody is at the log's directory: opens the next file, publishes a base, removes what that supersedes.
    /// A stop waits for it, and it can take as long as it likes.
    pub fn is_directory_busy(&self) -> bool {
        self.shared.tail.lock().is_directory_busy()
    }

    /// Step 1 of a rewrite: asks for the next file; [`rotation_ready`](Self::rotation_ready) tells.
    ///
    /// # Errors
    /// None today: whatever fails, fails later. A log on another backend may refuse here.
    pub fn begin_rotation(&mut self) -> Result<(), Error> {
        self.change(|tail| match (&tail.rotation, &tail.next) {
            // A rewrite that was given up after this left its file behind, empty and listed: it will do.
            (_, Some(_)) if tail.switch_at.is_none() => tail.kick_off(),
            _ => tail.rotation = Rotation::Requested,
        });
        Ok(())
    }

    /// Whether the next file is there, and the last one durable but for what was written most recently; or the next one
    /// could not be created. `None`: not yet, or not asked for.
    pub fn rotation_ready(&mut self) -> Option<Result<(), Error>> {
        let mut tail = self.shared.tail.lock();
        if tail.step_rotation() {
            self.shared.changed(tail);
            tail = self.shared.tail.lock();
        }
        match &tail.rotation {
            Rotation::Ready => Some(Ok(())),
            Rotation::Failed(_) => match std::mem::replace(&mut tail.rotation, Rotation::Idle) {
                Rotation::Failed(error) => Some(Err(error)),
                _ => None,
            },
            Rotation::Idle | Rotation::Requested | Rotation::Syncing { .. } => None,
        }
    }

    /// Step 3 of a rewrite, at a turn's boundary: seals, and returns S. Take the snapshot now; whatever is appended
    /// later goes to the next file. Without a [ready](Self::rotation_ready) rotation nothing switches, and a base for
    /// the returned position will be refused.
    pub fn switch(&mut self) -> Position {
        self.seal(self.shared.clock.now());
        let mut tail = self.shared.tail.lock();
        if let Rotation::Ready = tail.rotation {
            tail.rotation = Rotation::Idle;
            tail.switch_at = Some(self.end);
            tail.wanted = tail.wanted.max(self.end);
            tail.checksum = self.checksum_next;
            self.checksum = self.checksum_next;
            self.framer.start_file();
        }
        self.shared.changed(tail);
        self.end
    }

    /// Hands a finished base over for publishing; [`base_published`](Self::base_published) tells.
    pub fn publish_base(&mut self, base: NewBase) {
        self.change(|tail| tail.publish = Some(base));
    }

    /// How the last publishing ended; `None`: not yet. After an error the old files are what counts, and the temporary
    /// base may be gone.
    pub fn base_published(&mut self) -> Option<Result<(), Error>> {
        self.shared.tail.lock().published.take()
    }

    /// Takes back a base whose publishing has not begun: true if there was one. Its file is the caller's again.
    pub fn withdraw_base(&mut self) -> bool {
        self.shared.tail.lock().publish.take().is_some()
    }

    /// The rewrite has failed that was to bring the first base: what was logged behind it can never count, and gives back
    /// the memory and the disk that it takes. Until the next one [switches](Self::switch), what is appended goes
    /// nowhere. Nothing happens while that base is being published, for then it can.
    pub fn give_up_first_base(&mut self) {
        self.change(|tail| {
            if tail.waiting_rewrite && !tail.is_publishing {
                (tail.next, tail.switch_at, tail.rotation) = (None, None, Rotation::Idle);
                tail.abandon_temp();
            }
        });
    }

    /// The file system that the log is on.
    pub fn fs(&self) -> Arc<dyn Fs> {
        self.fs.clone()
    }

    /// Writes and syncs everything, and joins the threads.
    ///
    /// # Errors
    /// [`Error::FileRetired`] if not everything could be made durable; [`Error::ThreadDied`].
    pub fn stop(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_stopped, true) {
            return Ok(());
        }
        self.seal(self.shared.clock.now());
        self.look_at_name();
        self.change(Tail::ask_to_stop);
        for (name, thread) in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| Error::ThreadDied(name))?;
        }
        let tail = self.shared.tail.lock();
        let retired = tail.retired.as_ref().map(|retired| &retired.failure);
        let lost = tail.lost.as_ref().map(|lost| &lost.failure);
        let Some(failure) = retired.or(lost).cloned() else { return Ok(()) };
        // What was durable in a file that has lost its name is not.
        let is_unnamed = tail.is_unnamed() || tail.lost.as_ref().is_some_and(|lost| lost.is_unnamed);
        let durable = if is_unnamed { 0 } else { tail.durable_watermark() };
        Err(Error::FileRetired { path: failure.path, op: failure.op, message: failure.message, durable })
    }

    fn change(&self, change: impl FnOnce(&mut Tail)) {
        let mut tail = self.shared.tail.lock();
        change(&mut tail);
        self.shared.changed(tail);
    }
}

impl Drop for Log {
    /// A log that nobody stopped is stopped all the same; who wants to know how that went calls [`Log::stop`].
    fn drop(&mut self) {
        // A model that fails unwinds through here, and has no threads left to join.
        if cfg!(loom) && std::thread::panicking() {
            return;
        }
        let _ = self.shut_down();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("end", &self.end).finish_non_exhaustive()
    }
}

/// Does the work of a thread; a panic ends the process.
pub(crate) fn or_abort(work: impl FnOnce()) {
    struct Alarm;
    impl Drop for Alarm {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    // A model that fails unwinds through here.
    let alarm = (!cfg!(loom)).then(|| Alarm);
    work();
    std::mem::forget(alarm);
}

/// A tail that goes on where the directory ends.
pub(crate) fn open(
    mut directory: Directory,
    options: &Options,
    clock: Clock,
    broken: Broken,
) -> Result<(Tail, Volume), Error> {
    directory.prepare()?;
    let recovered = directory.recovered()?;
    directory.sync_replayed(&recovered.unsure)?;
    let (epoch, end) = (recovered.epoch.unwrap_or_else(Epoch::random), recovered.end);
    let uncut = recovered.uncut.clone().map(|(_, failure)| failure);
    let live = directory.open_live(recovered, epoch, options)?;
    let sizes = directory.sizes()?;
    let mut tail = Tail::new(options, end, Some(live), clock, broken);
    tail.note_sizes(&sizes);
    tail.last_failure.clone_from(&uncut);
    tail.retired = uncut.map(|failure| Retired::new(failure, Cause::Write, true));
    // The first step, so that a full disk is known before the first command.
    if let (Some(live), None) = (tail.live.clone(), &tail.retired) {
        let place = tail.space.step_due(live.point.offset_bytes, tail.clock.now(), false);
        let claim = space::claim(&**directory.fs(), &live, place);
        tail.note_claim(&live, claim);
    }
    // What a former run left behind.
    if !options.disable_auto_gc && !directory.manifest().history.is_empty() {
        tail.want_collect();
    }
    Ok((tail, Volume::new(directory, epoch, end)))
}

/// A tail without a file.
pub(crate) fn open_waiting_rewrite(
    fs: Arc<dyn Fs>,
    options: &Options,
    clock: Clock,
) -> Result<(Tail, Volume), Error> {
    // An older server's log must not be adopted: it would be superseded, and thus removed.
    let directory = Directory::open_to_supersede(fs, options)?;
    directory.prepare()?;
    let epoch = Epoch::random();
    let tail = Tail::new(options, 0, None, clock, Broken::default());
    Ok((Tail { waiting_rewrite: true, ..tail }, Volume::new_waiting(directory, epoch)))
}
