//! The tail of the log: the blocks that are not durable yet, who may write them, and what is to be done next.
//!
//! Pure state under one lock; the executor, the writer, the syncer and the threads of [`Chore`](crate::writer::Chore)s
//! share it, and do the I/O.
//!
//! ```text
//! positions   ......durable.........written.............end
//! blocks            [ retained    ][ queued             ]        under `no`, retained is empty
//! files       n ..................................S) (S.. n+1    S: a switch; n+1 gets no byte before durable >= S
//! ```
//!
//! So at most one file is not durable, and that is the one that a failure retires: `retained` and `queued` then move.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backend::Block;
use crate::block::{FilePoint, Head, IncrHead, Line};
use crate::clock::Clock;
use crate::dir::Sizes;
use crate::error::Error;
use crate::event::{Event, EventOf, Events};
use crate::fs::File;
use crate::histogram::Histogram;
use crate::manifest::{Entry, FileSeq};
use crate::options::{Fsync, Options};
use crate::policy::Moment;
use crate::rotate::{Moving, NewBase, Rotation, Volume};
use crate::space::Space;
use crate::stats::Failure;
use crate::sync::{Arc, Broken, Sabotage};
use crate::{Position, policy};

/// After a failure, the time between attempts to open a new file.
pub(crate) const RETRY: Duration = Duration::from_millis(250);

/// Beside an fdatasync that takes longer a wake-up costs nothing, and the writer had better stay free.
const SLOW_SYNC: Duration = Duration::from_millis(5);

/// Our own last write was this long ago, and all of it is durable: a line is written that says so.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// The file that is being appended to.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: Arc<Path>,
    pub(crate) seq: FileSeq,
    /// The position of its first byte that has one.
    pub(crate) start: Position,
    /// Its end, as far as writes have succeeded.
    pub(crate) point: FilePoint,
    /// The head that the writer puts before the next block, or at once where another file precedes; and makes durable first:
    /// so a crash cannot tear it.
    pub(crate) owed: Option<IncrHead>,
}

impl LiveFile {
    /// Whether a start would find it. Who cannot tell says so.
    pub(crate) fn is_named(&self) -> bool {
        self.file.is_named(&self.path).unwrap_or(true)
    }
}

/// A head without a payload.
pub(crate) fn head_line(head: IncrHead, position: Position, lag: u64, time_ms: i64) -> Line {
    let head = Some(Head::Incr(head));
    Line { payload_bytes: 0, position, lag, db: None, time_ms, head, payload_crc: 0 }
}

/// A block in memory, and where it stands in the live file once it is written there.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) block: Block,
    pub(crate) at: Option<FilePoint>,
    /// What all blocks before it have taken of memory, those that are gone included.
    pub(crate) memory_start: u64,
}

/// The file that takes over at the next switch: there, durable, listed, and empty.
#[derive(Debug, Clone)]
pub(crate) struct NextFile {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: Arc<Path>,
    /// Its number, or the one that it will have.
    pub(crate) seq: FileSeq,
    /// None while the log waits for its first base: then it is not listed.
    pub(crate) entry: Option<Entry>,
}

/// Who may write to the live file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Executor,
    Writer,
}

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Job {
    /// `pending`: a switch that waits for the base, since the last file has failed.
    Publish {
        base: NewBase,
        pending: Option<Position>,
    },
    Recover,
    Switch(Position),
    OpenNext,
    /// Space for that place in the live file; none: only a look at the disk.
    Reserve(Option<Range<u64>>),
    Head(Line),
    Write(Vec<Block>),
    Mark(Line),
    /// Where superseded files are.
    CollectHistory(Vec<(Entry, PathBuf)>),
    Forget(Vec<Entry>),
    RemoveTemp,
    Exit,
    Wait(Option<Instant>),
}

impl Job {
    fn is_of_live_file(&self) -> bool {
        match self {
            Job::Recover | Job::Switch(_) | Job::Reserve(_) | Job::Head(_) | Job::Write(_) | Job::Mark(_) => {
                true
            }
            Job::Publish { .. }
            | Job::OpenNext
            | Job::CollectHistory(_)
            | Job::Forget(_)
            | Job::RemoveTemp
            | Job::Exit
            | Job::Wait(_) => false,
        }
    }

    fn is_of_directory(&self) -> bool {
        self.is_beside_writes() || matches!(self, Job::Recover | Job::Switch(_))
    }

    /// It has a thread of its own, for a directory's fsync can take as long as it likes.
    fn is_beside_writes(&self) -> bool {
        matches!(self, Job::Publish { .. } | Job::OpenNext | Job::Forget(_) | Job::RemoveTemp)
    }
}

/// A job, and what it needs: the live file, if it is of that; the directory, if it is of that.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) job: Job,
    pub(crate) live: Option<LiveFile>,
    pub(crate) volume: Option<Volume>,
}

/// The removal of history, which runs on a thread of its own: unlinking a large file can take as long as it likes.
#[derive(Debug)]
pub(crate) enum Collect {
    Idle,
    Wanted,
    Running,
    Done(Vec<Entry>),
}

/// Why a file was retired. Each is worse than the one before, and a file may come to several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// A write failed. What precedes it can still be made durable.
    Write,
    /// An fdatasync failed: even what was written long ago may be gone.
    Sync,
    /// It was removed or renamed: nothing in it is safe, and nothing of that name is ours to cut.
    Unnamed,
}

impl Cause {
    fn op(self) -> &'static str {
        match self {
            Cause::Write => "write",
            Cause::Sync => "fdatasync",
            Cause::Unnamed => "stat",
        }
    }
}

/// The live file has failed: it is never written or synced again, and another takes over what memory has of it.
#[derive(Debug)]
pub(crate) struct Retired {
    /// The first failure, then that of the last attempt to open another file.
    pub(crate) failure: Failure,
    pub(crate) cause: Cause,
    /// It ends in bytes that a start could not copy: they must be, before they are cut off.
    pub(crate) is_torn: bool,
    /// When to try again to open another.
    pub(crate) retry_at: Option<Instant>,
}

impl Retired {
    pub(crate) fn new(failure: Failure, cause: Cause, is_torn: bool) -> Self {
        Retired { failure, cause, is_torn, retry_at: None }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| now >= at)
    }
}

/// Written under `no`, not durable when the file failed, and no longer in memory; or in a file that has lost its name.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) from: Position,
    pub(crate) below: Position,
    pub(crate) failure: Failure,
    /// What was durable in that file is gone, too.
    pub(crate) is_unnamed: bool,
}

#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) blocks: VecDeque<Held>,
    /// What all blocks so far have taken of memory.
    pub(crate) memory_end: u64,
    pub(crate) garbage: Vec<VecDeque<Held>>,
    pub(crate) clock: Clock,
    pub(crate) end: Position,
    /// The database selected there.
    pub(crate) selected: Option<u32>,
    pub(crate) written: Position,
    pub(crate) durable: Position,
    pub(crate) live: Option<LiveFile>,
    /// Counts live files: a late result of a former one is told apart by it.
    pub(crate) live_id: u64,
    pub(crate) next: Option<NextFile>,
    pub(crate) switch_at: Option<Position>,
    pub(crate) owner: Owner,
    /// The writer sleeps although there may be work, because the executor has the tail.
    pub(crate) writer_blocked: bool,

    /// Blocks get lines with checksums.
    pub(crate) checksum: bool,
    /// The highest durable position that a line in a file speaks of.
    pub(crate) marked: Position,
    /// The position and the place of a line that was written and that no fdatasync has covered; it has no bytes of its own
    /// among positions.
    pub(crate) unsynced_mark: Option<(Position, FilePoint)>,
    /// The log is about to end, if nothing comes behind this: the line that calls all of it durable shall not wait until it
    /// has been idle.
    pub(crate) mark_asked: Position,
    pub(crate) last_write: Instant,
    pub(crate) time_ms: i64,

    pub(crate) fsync: Fsync,
    /// `no-appendfsync-on-rewrite`.
    pub(crate) no_fsync_on_rewrite: bool,
    /// A rewrite is running.
    pub(crate) rewriting: bool,
    /// `aof-max-unsynced-bytes`; 0 is no bound.
    pub(crate) max_unsynced_bytes: u64,
    /// Since when bytes are not durable that memory no longer has, as it need not under `no`.
    pub(crate) unsynced_since: Option<Instant>,
    pub(crate) wanted: Position,
    /// Since when an fdatasync is running.
    pub(crate) sync_started: Option<Instant>,
    /// The last one took longer than [`SLOW_SYNC`].
    pub(crate) syncs_are_slow: bool,
    /// One was running when the writer began its write.
    pub(crate) write_met_sync: bool,
    /// What the writer is at, and since when, if that is an event; and whoever has the directory.
    pub(crate) call: Option<(EventOf, Instant)>,
    pub(crate) directory_call: Option<(EventOf, Instant)>,
    /// The directory, while nobody is at it.
    pub(crate) volume: Option<Volume>,
    /// The live file has failed.
    pub(crate) retired: Option<Retired>,
    /// The last failure, also when it is over.
    pub(crate) last_failure: Option<Failure>,
    pub(crate) space: Space,
    /// When it was last looked whether the live file has its name.
    pub(crate) looked: Instant,
    /// Positions that an fsync failed for and memory no longer has: durable only once a base covers them.
    pub(crate) lost: Option<Lost>,

    pub(crate) waiting_rewrite: bool,
    /// While it waits for its first base: the temporary incr was given up, and its file is still there.
    pub(crate) temp_is_left: bool,
    pub(crate) rotation: Rotation,
    pub(crate) publish: Option<NewBase>,
    /// One is being published: it, and the file that it belongs to, may count at any moment.
    pub(crate) is_publishing: bool,
    pub(crate) published: Option<Result<(), Error>>,
    pub(crate) collect: Collect,
    pub(crate) auto_gc: bool,

    pub(crate) stopping: bool,
    pub(crate) writer_done: bool,
    /// The last attempt to save the tail failed while stopping.
    pub(crate) gave_up: bool,
    /// `aof-direct-write`.
    pub(crate) direct: bool,
    pub(crate) direct_after: Option<Instant>,
    pub(crate) counters: Counters,
    pub(crate) broken: Broken,
}

/// What [`Stats`](crate::Stats) shows and no position tells.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) current_size: u64,
    pub(crate) base_size: u64,
    pub(crate) delayed_fsync: u64,
    pub(crate) slow_direct_writes: u64,
    pub(crate) retired_files: u64,
    pub(crate) fsyncs: Histogram,
    pub(crate) events: Events,
}

impl Tail {
    pub(crate) fn new(
        options: &Options,
        start: Position,
        live: Option<LiveFile>,
        clock: Clock,
        broken: Broken,
    ) -> Self {
        Tail {
            blocks: VecDeque::new(),
            memory_end: 0,
            garbage: Vec::new(),
            end: start,
            selected: None,
            written: start,
            durable: start,
            live,
            live_id: 0,
            next: None,
            switch_at: None,
            owner: Owner::Nobody,
            writer_blocked: false,
            checksum: options.checksum,
            marked: start,
            unsynced_mark: None,
            mark_asked: start,
            last_write: clock.now(),
            time_ms: 0,
            fsync: options.fsync,
            no_fsync_on_rewrite: options.no_fsync_on_rewrite,
            rewriting: false,
            max_unsynced_bytes: options.max_unsynced_bytes,
            unsynced_since: None,
            wanted: start,
            sync_started: None,
            syncs_are_slow: false,
            write_met_sync: false,
            call: None,
            directory_call: None,
            volume: None,
            retired: None,
            last_failure: None,
            space: Space::default(),
            looked: clock.now(),
            lost: None,
            gave_up: false,
            waiting_rewrite: false,
            temp_is_left: false,
            rotation: Rotation::Idle,
            publish: None,
            is_publishing: false,
            published: None,
            collect: Collect::Idle,
            auto_gc: !options.disable_auto_gc,
            stopping: false,
            writer_done: false,
            direct: options.direct_write,
            direct_after: None,
            counters: Counters::default(),
            broken,
            clock,
        }
    }

    /// Takes a block in. One that nobody will read is forgotten at once: while a log waits for its first base, and nobody is
    /// writing one that it belongs behind.
    pub(crate) fn push(&mut self, block: Block) {
        self.end = block.end;
        self.selected = block.db_after;
        self.time_ms = block.time_ms;
        if self.live.is_none() && self.switch_at.is_none() {
            self.written = self.end;
            self.durable = self.end;
        } else {
            let memory_start = self.memory_end;
            self.memory_end += block.memory_bytes as u64;
            self.blocks.push_back(Held { block, at: None, memory_start });
        }
    }

    /// May the executor write the block that it has just pushed itself?
    pub(crate) fn may_write_directly(&self, now: Instant) -> bool {
        let quiet = self.owner == Owner::Nobody || self.broken.is(Sabotage::IgnoreTailOwner);
        let alone = self.blocks.back().is_some_and(|held| held.block.start == self.written);
        let unhindered = !self.sync_running() && self.retired.is_none() && self.switch_at.is_none();
        let in_time = self.direct_after.is_none_or(|after| now >= after);
        let allowed = self.direct && self.fsync != Fsync::Always;
        let begun = self.live.as_ref().is_some_and(|live| live.owed.is_none());
        allowed && quiet && alone && unhindered && in_time && begun
    }

    pub(crate) fn sync_running(&self) -> bool {
        self.sync_started.is_some()
    }

    /// What a write(2) met is named in Redis's order.
    fn write_event(&self) -> EventOf {
        match () {
            () if self.write_met_sync => Event::WritePendingFsync,
            () if self.rewriting => Event::WriteActiveRewrite,
            () => Event::WriteAlone,
        }
    }

    /// A write(2) by the executor has taken so long.
    pub(crate) fn note_write_time(&mut self, took: Duration) {
        self.counters.events.note(self.write_event()(took));
    }

    fn sync_event(&self) -> EventOf {
        if self.fsync == Fsync::Always { Event::FsyncAlways } else { Event::Fsync }
    }

    /// An fdatasync has taken so long.
    pub(crate) fn note_sync_time(&mut self, took: Duration) {
        self.syncs_are_slow = took > SLOW_SYNC;
        self.counters.fsyncs.record(took);
        self.counters.events.note(self.sync_event()(took));
    }

    /// What the writer was at is over.
    pub(crate) fn note_call(&mut self, ended: Instant) {
        let call = self.call.take();
        self.note_end(call, ended);
    }

    /// What was done to the directory is over.
    pub(crate) fn give_back(&mut self, volume: Volume, ended: Instant) {
        self.volume = Some(volume);
        let call = self.directory_call.take();
        self.note_end(call, ended);
    }

    fn note_end(&mut self, call: Option<(EventOf, Instant)>, ended: Instant) {
        if let Some((event, began)) = call {
            self.counters.events.note(event(ended.saturating_duration_since(began)));
        }
    }

    /// What the threads are at, and how long it has taken so far.
    pub(crate) fn running(&self, now: Instant) -> impl Iterator<Item = Event> {
        let sync = self.sync_started.map(|began| (self.sync_event(), began));
        let calls = sync.into_iter().chain(self.call).chain(self.directory_call);
        calls.map(move |(event, began)| event(now.saturating_duration_since(began)))
    }

    /// What a crash of the process can no longer take: moves the watermark, drops what needs no memory any more.
    pub(crate) fn set_written(&mut self, position: Position) {
        self.written = self.written.max(position);
        // Those of a file that has failed move.
        if self.fsync == Fsync::No && self.retired.is_none() {
            self.unsynced_since = self.oldest_unsynced();
            self.drop_blocks(self.written);
        }
    }

    /// What a power cut can no longer take.
    pub(crate) fn set_durable(&mut self, position: Position) {
        self.durable = self.durable.max(position);
        self.drop_blocks(self.durable);
        // Where memory does not say, what is left is at least as old as the last write.
        let is_forgotten = self.durable < self.written.min(self.retained_from());
        self.unsynced_since = is_forgotten.then_some(self.last_write);
    }

    /// The watermark that others may see: it stops below bytes that are lost.
    pub(crate) fn durable_watermark(&self) -> Position {
        self.lost.as_ref().map_or(self.durable, |lost| self.durable.min(lost.from))
    }

    /// Whether a part of the log is in no file that can be trusted, nor in memory; or will be, once another file takes over.
    pub(crate) fn has_lost(&self) -> bool {
        let is_distrusted = self.retired.as_ref().is_some_and(|retired| retired.cause > Cause::Write);
        self.lost.is_some() || (is_distrusted && self.durable < self.retained_from())
    }

    /// The end of what the live file keeps if it is retired: memory has everything from there on.
    pub(crate) fn retained_from(&self) -> Position {
        self.blocks.front().map_or(self.written.max(self.durable), |held| held.block.start)
    }

    /// What blocks take of memory: a small one many times its payload.
    fn taken_bytes(&self) -> u64 {
        let memory_start = self.blocks.front().map_or(self.memory_end, |held| held.memory_start);
        self.memory_end - memory_start + (self.blocks.len() * size_of::<Held>()) as u64
    }

    /// The same, with the room for more of them.
    pub(crate) fn retained_bytes(&self) -> u64 {
        let free = self.blocks.capacity() - self.blocks.len();
        self.taken_bytes() + (free * size_of::<Held>()) as u64
    }

    /// Where that is in the live file.
    pub(crate) fn cut_point(&self) -> FilePoint {
        let live = self.live.as_ref().map(|live| live.point).unwrap_or_default();
        let held = self.blocks.front().and_then(|held| held.at);
        // What stands behind the line counts under `no`, where memory has lost it; the line alone does not.
        let mark = self.unsynced_mark.filter(|(position, _)| *position == self.retained_from());
        mark.map(|(_, at)| at).or(held).unwrap_or(live)
    }

    /// What a retired file hands over: everything up to `limit` that is in memory, but for the blocks themselves.
    pub(crate) fn moving(&self, limit: Position) -> Moving {
        let first = self.blocks.front().map(|held| &held.block).filter(|block| block.end <= limit);
        let db = first.map_or(self.selected, |block| block.db);
        // It may have changed for what comes behind a switch.
        let has_lines = first.map_or(self.checksum, |block| Line::leads(&block.bytes));
        let (lag, time_ms) = (self.retained_from().saturating_sub(self.durable_watermark()), self.time_ms);
        Moving {
            blocks: Vec::new(),
            db,
            cut: self.retained_from(),
            at: self.cut_point(),
            lag,
            time_ms,
            has_lines,
            wants_next: self.next.is_some(),
            is_torn: self.retired.as_ref().is_some_and(|retired| retired.is_torn),
            is_unnamed: self.is_unnamed(),
        }
    }

    /// When the oldest byte that is not durable was sealed.
    pub(crate) fn oldest_unsynced(&self) -> Option<Instant> {
        self.unsynced_since.or_else(|| self.blocks.front().map(|held| held.block.sealed))
    }

    /// The policy need not sync for now, and replies do not wait for it.
    fn may_rest(&self) -> bool {
        self.rewriting && self.no_fsync_on_rewrite
    }

    /// Whether a reply tells that its write is durable.
    pub(crate) fn acknowledges_durable(&self) -> bool {
        self.fsync == Fsync::Always && !self.may_rest()
    }

    /// Writers wait while the log ends behind this position: so many bytes may be unsafe, with what they take of memory
    /// beside themselves. What is lost is none of them, for no fdatasync that anybody could wait for covers it.
    pub(crate) fn held_above(&self) -> Position {
        if self.max_unsynced_bytes == 0 {
            return Position::MAX;
        }
        let safe = if self.fsync == Fsync::No { self.written } else { self.durable };
        let beside_bytes = self.taken_bytes().saturating_sub(self.end - self.retained_from());
        safe.saturating_add(self.max_unsynced_bytes.saturating_sub(beside_bytes))
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment {
            fsync: self.fsync,
            rests: self.may_rest() && self.end <= self.held_above(),
            written: self.written,
            durable: self.durable,
            wanted: if self.stopping { self.end } else { self.wanted },
            oldest: self.oldest_unsynced(),
            unsynced_mark: self.unsynced_mark.is_some(),
        }
    }

    /// Retires the live file; the writer will find it another. What fails once it was given up concerns nobody.
    pub(crate) fn retire(&mut self, cause: Cause, error: &std::io::Error) {
        let Some(live) = &self.live else { return };
        let failure = Failure::new(cause.op(), &live.path, error, self.clock.now());
        self.last_failure = Some(failure.clone());
        if self.retired.is_none() {
            self.counters.retired_files += 1;
        }
        self.retired.get_or_insert(Retired::new(failure, cause, false));
        self.worsen(cause);
    }

    /// The live file was removed, or renamed: what it holds is gone with the process.
    pub(crate) fn lose_name(&mut self) {
        let gone = "the file was removed or renamed while it was written to; what it held is safe again after a rewrite";
        self.retire(Cause::Unnamed, &std::io::Error::new(std::io::ErrorKind::NotFound, gone));
    }

    /// More has become known about a file that has failed.
    pub(crate) fn worsen(&mut self, cause: Cause) {
        if let Some(retired) = &mut self.retired {
            retired.cause = retired.cause.max(cause);
        }
    }

    pub(crate) fn is_unnamed(&self) -> bool {
        self.retired.as_ref().is_some_and(|retired| retired.cause == Cause::Unnamed)
    }

    /// The writer ends as soon as all is durable, or once more it has turned out that it cannot be.
    pub(crate) fn ask_to_stop(&mut self) {
        self.stopping = true;
        if let Some(retired) = &mut self.retired {
            retired.retry_at = None;
        }
    }

    /// Nothing was promised of a temporary incr: the base that it belongs to will not be published, that is all, and the
    /// next one holds what it held.
    pub(crate) fn abandon_temp(&mut self) {
        self.take_over(None);
        let limit = self.switch_at.unwrap_or(self.end);
        self.set_written(limit);
        self.set_durable(limit);
        // One that is to take over has its name.
        self.temp_is_left = self.next.is_none();
    }

    /// Bytes that the live file can take for certain, on a disk that has no more; [`u64::MAX`] on any other, and where none
    /// is needed; 0 while it has failed.
    pub(crate) fn room_bytes(&self) -> u64 {
        if self.retired.is_some() {
            return 0;
        }
        if self.space.shortage.is_none() || self.live.is_none() {
            return u64::MAX;
        }
        let queued = self.blocks.range(self.first_queued()..).map(|held| held.block.bytes.len() as u64);
        self.ahead_bytes().saturating_sub(queued.sum()).max(1)
    }

    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| self.space.ahead_bytes(live.point.offset_bytes))
    }

    /// What to ask the disk for, if anything. Nothing while an fdatasync runs, if there is time: the file system may let
    /// the call wait for it, and everybody behind it. Under `always` they wait for it anyway.
    pub(crate) fn reserve_due(&self, now: Instant) -> Option<Option<Range<u64>>> {
        let live = self.live.as_ref()?;
        let patient = self.sync_running() && self.fsync != Fsync::Always;
        let is_open = self.retired.is_none() && self.switch_at.is_none() && !self.stopping;
        let place = self.space.step_due(live.point.offset_bytes, now, patient);
        (is_open && (place.is_some() || self.space.is_asked)).then_some(place)
    }

    /// Everything is durable, as far as this log can make it.
    pub(crate) fn is_settled(&self) -> bool {
        let synced = self.durable >= self.end || self.broken.is(Sabotage::StopWithoutSync);
        let is_clean =
            self.written >= self.end && synced && self.unsynced_mark.is_none() && self.retired.is_none();
        self.live.is_none() || is_clean
    }

    /// When to write the line that covers all that is durable: the next block's would do so, but none comes. Without it
    /// the last block could not be told from one that a crash tore.
    fn mark_due(&self) -> Option<Instant> {
        let is_current = self.live.as_ref().is_some_and(|live| live.owed.is_none());
        let is_settled = self.is_settled() && self.lost.is_none() && self.switch_at.is_none();
        let is_wanted = self.checksum && self.durable >= self.end && self.marked < self.end;
        (is_current && is_settled && is_wanted).then(|| self.last_write + IDLE)
    }

    /// The writer is at nothing, nothing is left for it, and so it would end at once if it were asked to.
    pub(crate) fn is_idle(&self) -> bool {
        let is_nobody_at_it = self.owner == Owner::Nobody && self.volume.is_some() && !self.sync_running();
        let is_at_rest = is_nobody_at_it && self.is_settled();
        let is_asked = self.publish.is_some() || self.switch_at.is_some() || self.rotation.is_requested();
        let is_left =
            self.retired.is_some() || self.lost.is_some() || self.temp_is_left || self.mark_due().is_some();
        is_at_rest && !is_asked && !is_left && self.head_due().is_none() && !self.is_collecting()
    }

    /// Somebody is at the directory, or removes history, or will.
    pub(crate) fn is_directory_busy(&self) -> bool {
        self.volume.is_none() || self.is_collecting()
    }

    /// History is being removed, or will be.
    fn is_collecting(&self) -> bool {
        !matches!(self.collect, Collect::Idle)
    }

    /// The head that the live file owes, if it is time for it: in front of the next block, or at once where another file
    /// precedes. Until it says where that one ended, a start takes that for the last, whose end a crash may have torn.
    fn head_due(&self) -> Option<Line> {
        let live = self.live.as_ref()?;
        let owed = live.owed?;
        let next = self.blocks.get(self.first_queued());
        let takes_over = owed.behind.is_some_and(|(seq, _)| seq != live.seq);
        // On a full disk it could fail, and retire a file that nobody needs yet.
        if next.is_none() && (!takes_over || self.space.shortage.is_some()) {
            return None;
        }
        let time_ms = next.map_or(self.time_ms, |held| held.block.time_ms);
        let lag = self.written.saturating_sub(self.durable_watermark());
        Some(head_line(owed, self.written, lag, time_ms))
    }

    fn mark(&self) -> Line {
        let (position, time_ms) = (self.end, self.time_ms);
        Line { payload_bytes: 0, position, lag: 0, db: self.selected, time_ms, head: None, payload_crc: 0 }
    }

    /// What the writer is to do next; with a job that touches the live file it gets that, and owns the tail; with one
    /// that touches the directory it gets that, and nobody else does before it is given back.
    pub(crate) fn take_job(&mut self, now: Instant) -> Taken {
        let job = self.next_job(now);
        self.writer_blocked = self.owner == Owner::Executor;
        let live = if job.is_of_live_file() {
            self.owner = Owner::Writer;
            self.write_met_sync = self.sync_running();
            self.live.clone()
        } else {
            None
        };
        let call = self.event_of(&job).map(|event| (event, now));
        *if job.is_beside_writes() { &mut self.directory_call } else { &mut self.call } = call;
        let volume = self.volume.take_if(|_| job.is_of_directory());
        Taken { job, live, volume }
    }

    /// What a job is to whoever watches latencies.
    fn event_of(&self, job: &Job) -> Option<EventOf> {
        match job {
            Job::Write(_) | Job::Mark(_) => Some(self.write_event()),
            // Its fdatasync is what takes time.
            Job::Head(_) => Some(self.sync_event()),
            Job::OpenNext => Some(Event::OpenNext),
            Job::Publish { .. } => Some(Event::Publish),
            Job::Recover => Some(Event::MoveTail),
            Job::Reserve(_) => Some(Event::Reserve),
            Job::Switch(_) => Some(Event::Switch),
            Job::Forget(_) | Job::RemoveTemp => Some(Event::Forget),
            // The first is a thread's own, and behind the others there is nothing that could wait.
            Job::CollectHistory(_) | Job::Exit | Job::Wait(_) => None,
        }
    }

    /// What the writer does next. The order is the priority: a base can make a failure pointless, a failure everything
    /// else.
    fn next_job(&mut self, now: Instant) -> Job {
        let mine = self.owner == Owner::Nobody || self.broken.is(Sabotage::IgnoreTailOwner);
        let is_home = self.volume.is_some();
        if self.gave_up && mine {
            return Job::Exit;
        }
        if mine
            && is_home
            && self.may_publish()
            && let Some(base) = self.publish.take()
        {
            self.is_publishing = true;
            return Job::Publish { base, pending: self.switch_at };
        }
        let may_move = mine && is_home && !self.sync_running();
        if may_move && self.retired.as_ref().is_some_and(|retired| retired.is_due(now)) {
            return Job::Recover;
        }
        if let Some(at) = self.switch_at.filter(|&at| self.may_switch(at) && mine && is_home) {
            return Job::Switch(at);
        }
        if self.temp_is_left && is_home {
            return Job::RemoveTemp;
        }
        if self.rotation.is_requested() && self.switch_at.is_none() && is_home {
            return Job::OpenNext;
        }
        if mine && let Some(place) = self.reserve_due(now) {
            return Job::Reserve(place);
        }
        if mine && self.retired.is_none() && self.live.is_some() {
            if let Some(head) = self.head_due() {
                return Job::Head(head);
            }
            let blocks = self.writable();
            if !blocks.is_empty() {
                return Job::Write(blocks);
            }
        }
        let mark_due = self.mark_due();
        if mine && mark_due.is_some_and(|due| now >= due || self.stopping || self.end <= self.mark_asked) {
            return Job::Mark(self.mark());
        }
        match std::mem::replace(&mut self.collect, Collect::Running) {
            Collect::Wanted if let Some(volume) = &self.volume => {
                return Job::CollectHistory(volume.history());
            }
            Collect::Done(removed) if is_home => return Job::Forget(removed),
            unchanged => self.collect = unchanged,
        }
        let busy = matches!(self.collect, Collect::Running) || self.owner != Owner::Nobody || !is_home;
        if self.stopping && self.is_settled() && !busy {
            return Job::Exit;
        }
        // A time that has come and could not be used will be told by whoever was in the way.
        let retry_at = self.retired.as_ref().map_or(self.space.retry_at(), |retired| retired.retry_at);
        Job::Wait(retry_at.into_iter().chain(mark_due).filter(|&at| at > now).min())
    }

    /// The switch that a base counts on comes first, lest what is behind it waits for the directory. But where the last file
    /// has failed, the switch waits for the base; nobody is at that file then, nor will be.
    fn may_publish(&self) -> bool {
        let is_repair = self.retired.is_some() && !self.waiting_rewrite;
        self.switch_at.is_none() || is_repair || self.broken.is(Sabotage::PublishBeforeSwitch)
    }

    fn may_switch(&self, at: Position) -> bool {
        let synced = self.durable >= at || self.broken.is(Sabotage::SwitchWithoutSync) && self.written >= at;
        // The next file says where this one ends, and the line that calls all of it durable is a part of it.
        let is_whole = synced && self.unsynced_mark.is_none() && !self.sync_running();
        self.waiting_rewrite || (is_whole && self.retired.is_none())
    }

    /// The queued blocks that belong to the live file, as many as one writev(2) takes.
    fn writable(&self) -> Vec<Block> {
        const IOVECS: usize = 512;
        let limit = self.switch_at.unwrap_or(Position::MAX);
        let queued = self.blocks.range(self.first_queued()..).map(|held| &held.block);
        queued.take_while(|block| block.end <= limit).take(IOVECS).cloned().collect()
    }

    fn first_queued(&self) -> usize {
        self.blocks.partition_point(|held| held.block.end <= self.written)
    }

    /// Blocks were written to the live file: where each of them begins, and where it ends now.
    pub(crate) fn note_written(&mut self, starts: &[FilePoint], end: FilePoint) {
        let first = self.first_queued();
        let Some(last) = self.blocks.range_mut(first..).zip(starts).fold(None, |_, (held, &at)| {
            held.at = Some(at);
            Some((held.block.end, held.block.durable))
        }) else {
            return;
        };
        self.marked = self.marked.max(last.1);
        self.note_point(end);
        self.set_written(last.0);
    }

    /// What a stat says of the live file is out of date already.
    pub(crate) fn note_sizes(&mut self, sizes: &Sizes) {
        let live = self.live.as_ref().map(|live| (live.seq, live.point.offset_bytes));
        let incr_bytes = |&(seq, len_bytes): &(FileSeq, u64)| match live {
            Some((of_live, end_bytes)) if of_live == seq => end_bytes,
            _ => len_bytes,
        };
        self.counters.current_size = sizes.base_bytes + sizes.incrs.iter().map(incr_bytes).sum::<u64>();
        self.counters.base_size = sizes.base_bytes;
    }

    pub(crate) fn note_point(&mut self, end: FilePoint) {
        self.last_write = self.clock.now();
        let Some(live) = &mut self.live else { return };
        self.counters.current_size += end.offset_bytes - live.point.offset_bytes;
        live.point = end;
        live.owed = None;
    }

    /// A file takes over at `start`; what precedes is behind us.
    pub(crate) fn take_over(&mut self, live: Option<LiveFile>) {
        self.live = live;
        self.live_id += 1;
        self.retired = None;
        self.unsynced_mark = None;
        self.space.start_file();
    }

    /// Asks for the history to be removed; not twice at a time.
    pub(crate) fn want_collect(&mut self) {
        if let Collect::Idle = self.collect {
            self.collect = Collect::Wanted;
        }
    }

    /// A second of small turns is tens of thousands of blocks, and the executor may be waiting for this lock: many are
    /// only set aside here, for [`Shared::changed`](crate::writer::Shared::changed) to drop without it.
    fn drop_blocks(&mut self, below: Position) {
        const FEW: usize = 64;
        let count = self.blocks.partition_point(|held| held.block.end <= below);
        if count <= FEW {
            self.blocks.drain(..count);
            return;
        }
        let kept = self.blocks.split_off(count);
        self.garbage.push(std::mem::replace(&mut self.blocks, kept));
    }
}

/// When an fdatasync must be called, by the policy. One at a time.
pub(crate) fn sync_action(tail: &Tail, now: Instant) -> policy::Action {
    let is_at_it = tail.sync_running() && !tail.broken.is(Sabotage::SyncBeside);
    if is_at_it || tail.live.is_none() || tail.retired.is_some() {
        return policy::Action::Wait;
    }
    policy::decide(now, &tail.moment())
}
