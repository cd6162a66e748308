//! The writer: the thread that does whatever the log does to files, except direct writes, the fdatasyncs that replies
//! wait for, and what has a thread of its own ([`Chore`]).
//!
//! ```text
//! executor --push--> Tail --next_job--> writer: write | mark | switch | recover          syncer: fdatasync
//!    |                                     '--> a thread each: open next | publish base | collect | forget
//!    '--- direct write, while nobody else is at it ---> file
//! ```
//!
//! What takes directory fsyncs, of which replies need none, is done beside the writes. The directory is with one job at a
//! time ([`Tail::volume`]).
//!
//! Under `everysec` and `no` the executor writes by itself while no fdatasync runs, nothing is queued and the last such
//! write was quick: a hand-over costs a context switch. Whoever writes owns the tail for as long ([`Owner`]).

use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Position;
use crate::backend::{Block, LogBackend};
use crate::block::{Epoch, FilePoint, Line};
use crate::clock::Clock;
use crate::dir::{Sizes, remove_superseded};
use crate::error::Error;
use crate::event::Event;
use crate::fs::{Fs, retry, write_all};
use crate::log::or_abort;
use crate::manifest::Entry;
use crate::policy::Action;
use crate::rotate::{NewBase, Rotation, Volume};
use crate::space::{self, Claim};
use crate::stats::Failure;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, Sabotage, spawn_or_do};
use crate::syncer;
use crate::tail::{Cause, Collect, Job, LiveFile, Lost, Owner, RETRY, Retired, Tail, Taken, sync_action};

/// A direct write that takes longer sends the following blocks through the writer, for [`DETOUR`].
const SLOW_WRITE: Duration = Duration::from_millis(1);
/// Dirty-page throttling comes in episodes; this is the order of their length.
const DETOUR: Duration = Duration::from_secs(2);

/// What executor, writer and syncer share.
pub(crate) struct Shared {
    pub(crate) tail: Mutex<Tail>,
    pub(crate) to_writer: Condvar,
    pub(crate) to_syncer: Condvar,
    written: AtomicU64,
    durable: AtomicU64,
    /// See [`Tail::room_bytes`].
    pub(crate) room_bytes: AtomicU64,
    /// See [`Tail::held_above`].
    pub(crate) held_above: AtomicU64,
    pub(crate) acknowledges_durable: AtomicBool,
    pub(crate) waiting_rewrite: AtomicBool,
    pub(crate) clock: Clock,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    pub(crate) fn new(tail: Tail, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Shared {
            to_writer: Condvar::new(),
            to_syncer: Condvar::new(),
            written: AtomicU64::new(tail.written),
            durable: AtomicU64::new(tail.durable),
            room_bytes: AtomicU64::new(tail.room_bytes()),
            held_above: AtomicU64::new(tail.held_above()),
            acknowledges_durable: AtomicBool::new(tail.acknowledges_durable()),
            waiting_rewrite: AtomicBool::new(tail.waiting_rewrite),
            clock: tail.clock.clone(),
            tail: Mutex::new(tail),
            wake,
        }
    }

    /// Ends a change of the tail: shows the watermarks, and tells the two threads and the server.
    pub(crate) fn changed(&self, mut tail: MutexGuard<'_, Tail>) {
        self.show(&tail);
        self.to_writer.notify_one();
        if tail.writer_done || sync_action(&tail, self.clock.now()) != Action::Wait {
            self.to_syncer.notify_one();
        }
        let garbage = std::mem::take(&mut tail.garbage);
        drop(tail);
        drop(garbage);
        (self.wake)();
    }

    fn show(&self, tail: &Tail) {
        self.written.store(tail.written, Ordering::Release);
        self.durable.store(tail.durable_watermark(), Ordering::Release);
        self.room_bytes.store(tail.room_bytes(), Ordering::Release);
        self.held_above.store(tail.held_above(), Ordering::Release);
        self.acknowledges_durable.store(tail.acknowledges_durable(), Ordering::Release);
        self.waiting_rewrite.store(tail.waiting_rewrite, Ordering::Release);
    }

    /// `was_at_rest`: before the block was there, the syncer had nothing to wait for.
    fn write_directly(&self, live: &LiveFile, block: &Block, was_at_rest: bool) {
        let started = self.clock.now();
        let (start, end) = (live.point, live.point.after(&block.bytes));
        let result = write_all(&*live.file, &mut [IoSlice::new(&block.bytes)]);
        let ended = self.clock.now();
        let took = ended.saturating_duration_since(started);
        let slow = took > SLOW_WRITE;
        let mut tail = self.tail.lock();
        // It may also have come to rest meanwhile, with the fdatasync of what was there before.
        let looks = !tail.broken.is(Sabotage::LookBeforeOnly);
        let was_at_rest = was_at_rest || looks && sync_action(&tail, ended) == Action::Wait;
        tail.note_write_time(took);
        tail.owner = Owner::Nobody;
        if slow {
            tail.counters.slow_direct_writes += 1;
            tail.direct_after = Some(ended + DETOUR);
        }
        tail.note_write(&[start], end, result);
        self.show(&tail);
        // Neither thread is woken for nothing: this runs once a turn. The syncer sleeps without a date while there is
        // nothing for it to do.
        if tail.writer_blocked || tail.retired.is_some() || tail.reserve_due(ended).is_some() {
            self.to_writer.notify_one();
        }
        if was_at_rest && sync_action(&tail, ended) != Action::Wait {
            self.to_syncer.notify_one();
        }
    }
}

impl LogBackend for Shared {
    fn append(&self, block: Block, at: Instant) {
        let mut tail = self.tail.lock();
        let was_at_rest = sync_action(&tail, at) == Action::Wait;
        let direct = block.clone();
        tail.push(block);
        if tail.may_write_directly(at)
            && let Some(live) = tail.live.clone()
        {
            tail.owner = Owner::Executor;
            tail.write_met_sync = false;
            drop(tail);
            return self.write_directly(&live, &direct, was_at_rest);
        }
        self.show(&tail);
        self.to_writer.notify_one();
    }

    fn written(&self) -> Position {
        self.written.load(Ordering::Acquire)
    }

    fn durable(&self) -> Position {
        self.durable.load(Ordering::Acquire)
    }
}

impl Tail {
    fn note_write(&mut self, starts: &[FilePoint], end: FilePoint, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.note_written(starts, end),
            Err(error) => self.retire(Cause::Write, &error),
        }
    }
}

/// Work for a thread of its own, which nobody joins: until it is done the log [is not idle](Tail::is_idle), and does not
/// stop.
pub(crate) struct Chore {
    name: &'static str,
    work: Box<dyn FnOnce() + Send>,
}

impl Chore {
    fn new(name: &'static str, work: impl FnOnce() + Send + 'static) -> Self {
        Chore { name, work: Box::new(work) }
    }

    pub(crate) fn perform(self) {
        (self.work)();
    }

    fn spawn(self) {
        spawn_or_do(self.name, || or_abort(|| self.perform()));
    }
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) epoch: Epoch,
    pub(crate) fs: Arc<dyn Fs>,
}

impl Writer {
    pub(crate) fn run(self) {
        loop {
            let taken = self.wait_for_job();
            let is_last = matches!(taken.job, Job::Exit);
            self.perform(taken).into_iter().for_each(Chore::spawn);
            if is_last {
                return;
            }
        }
    }

    /// Does a job. What it returns is to be done beside all others.
    pub(crate) fn perform(&self, taken: Taken) -> Option<Chore> {
        let Taken { job, live, volume } = taken;
        match (job, live, volume) {
            (Job::Write(blocks), Some(live), _) => self.write(&live, &blocks),
            (Job::Head(head), Some(live), _) => self.write_head(&live, &head),
            (Job::Mark(line), Some(live), _) => self.mark(&live, &line),
            (Job::Reserve(place), Some(live), _) => self.reserve(&live, place),
            (Job::Recover, live, Some(volume)) => self.recover(live, volume),
            (Job::Switch(at), live, Some(volume)) => self.switch(at, live, volume),
            (Job::OpenNext, _, Some(volume)) => return Some(self.open_next(volume)),
            (Job::Publish { base, pending }, _, Some(volume)) => {
                return Some(self.publish(volume, base, pending));
            }
            (Job::Forget(removed), _, Some(volume)) => return Some(self.forget(volume, removed)),
            (Job::RemoveTemp, _, Some(volume)) => return Some(self.remove_temp(volume)),
            (Job::CollectHistory(files), ..) => return Some(self.collect(files)),
            (Job::Exit, ..) => return self.exit(),
            _ => {}
        }
        None
    }

    /// Sleeps until there is a job.
    fn wait_for_job(&self) -> Taken {
        let mut tail = self.shared.tail.lock();
        loop {
            let now = self.shared.clock.now();
            match tail.take_job(now) {
                Taken { job: Job::Wait(None), .. } => self.shared.to_writer.wait(&mut tail),
                Taken { job: Job::Wait(Some(at)), .. } => {
                    let _ = self.shared.to_writer.wait_for(&mut tail, at.saturating_duration_since(now));
                }
                taken => return taken,
            }
        }
    }

    fn exit(&self) -> Option<Chore> {
        let (live, volume) = {
            let tail = &mut *self.shared.tail.lock();
            match tail.waiting_rewrite {
                true => (tail.live.take(), tail.volume.take()),
                false => (tail.live.clone(), None),
            }
        };
        let is_waiting = volume.is_some();
        if let Some(volume) = volume {
            // Its base will never be there. If it stays, the next start removes it.
            let _ = volume.remove_temp_incr();
        } else {
            // Space that nobody will use is nobody's. If this fails, the next start goes on in it.
            let _ = live.as_ref().map(|live| live.file.trim());
        }
        let mut tail = self.shared.tail.lock();
        tail.writer_done = true;
        self.shared.changed(tail);
        // What a file without a name held goes with its last descriptor, and nobody shall wait for that.
        live.filter(|_| is_waiting).map(|live| Chore::new("discard", || drop(live)))
    }

    fn write(&self, live: &LiveFile, blocks: &[Block]) {
        let mut bufs: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(&block.bytes)).collect();
        let mut end = live.point;
        let mut starts = Vec::with_capacity(blocks.len());
        for block in blocks {
            starts.push(end);
            end = end.after(&block.bytes);
        }
        let result = write_all(&*live.file, &mut bufs);
        let ended = self.shared.clock.now();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.note_call(ended);
        tail.note_write(&starts, end, result);
        self.shared.changed(syncer::follow_write(&self.shared, tail));
    }

    /// What opens a file, or this run's part of it; the blocks follow when it is durable.
    fn write_head(&self, live: &LiveFile, head: &Line) {
        let mut bytes = Vec::new();
        head.encode(self.epoch, &mut bytes);
        let failed = |cause| move |error| (cause, error);
        let written = write_all(&*live.file, &mut [IoSlice::new(&bytes)]).map_err(failed(Cause::Write));
        let synced = written.and_then(|()| retry(|| live.file.sync_data()).map_err(failed(Cause::Sync)));
        let ended = self.shared.clock.now();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.note_call(ended);
        match synced {
            Ok(()) => {
                tail.marked = tail.marked.max(head.durable());
                tail.note_point(live.point.after(&bytes));
            }
            Err((cause, error)) => tail.retire(cause, &error),
        }
        self.shared.changed(tail);
    }

    /// Says in the file that all of it is durable.
    fn mark(&self, live: &LiveFile, line: &Line) {
        let mut bytes = Vec::new();
        line.encode(self.epoch, &mut bytes);
        let result = write_all(&*live.file, &mut [IoSlice::new(&bytes)]);
        let ended = self.shared.clock.now();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.note_call(ended);
        match result {
            Ok(()) => {
                tail.marked = line.position;
                let is_noted = !tail.broken.is(Sabotage::ForgetMark);
                tail.unsynced_mark = is_noted.then_some((line.position, live.point));
                tail.note_point(live.point.after(&bytes));
            }
            Err(error) => tail.retire(Cause::Write, &error),
        }
        self.shared.changed(tail);
    }

    /// A file failed. Its un-durable tail, which is in memory, moves into a new one; see [`Volume::move_tail`].
    fn recover(&self, live: Option<LiveFile>, mut volume: Volume) {
        let Some(live) = live.filter(|_| !self.shared.waiting_rewrite.load(Ordering::Acquire)) else {
            let mut tail = self.shared.tail.lock();
            tail.owner = Owner::Nobody;
            tail.volume = Some(volume);
            tail.abandon_temp();
            return self.shared.changed(tail);
        };
        // Since the last attempt somebody may have removed it, to make room.
        if !live.is_named() {
            self.shared.tail.lock().worsen(Cause::Unnamed);
        }
        self.sync_written(&live);
        // Where the file ends moves no more: whatever comes now is kept. An attempt that began before the stop was asked
        // for is not the last.
        let (cut, is_last) = {
            let tail = self.shared.tail.lock();
            (tail.retained_from(), tail.stopping)
        };
        self.give_up_space(&live);
        let (mut moving, limit) = {
            let tail = self.shared.tail.lock();
            let limit = tail.switch_at.unwrap_or(tail.end);
            (tail.moving(limit), limit)
        };
        moving.blocks = self.blocks_below(limit);
        let moved = volume.move_tail(&live, &moving);
        let ended = self.shared.clock.now();
        let (stat, sizes) = sizes(&self.shared, &volume);
        let free_bytes = live.path.parent().and_then(|dir| self.fs.free_bytes(dir).ok());
        let mut tail = self.shared.tail.lock();
        tail.note_call(ended);
        tail.counters.events.note(stat);
        tail.owner = Owner::Nobody;
        match moved {
            Ok((live, next)) => {
                tail.note_lost(cut);
                tail.next = next;
                tail.take_over(Some(live));
                tail.written = tail.written.max(limit);
                tail.set_durable(limit);
                let _ = sizes.map(|sizes| tail.note_sizes(&sizes));
            }
            Err(error) => {
                tail.note_failed_recovery(&error, is_last);
                tail.space.free_bytes = free_bytes;
            }
        }
        tail.volume = Some(volume);
        self.shared.changed(tail);
    }

    /// All blocks in memory up to `limit`, a few at a time: the executor may be waiting for the lock. Once a file has failed
    /// none of them goes before this has moved them.
    fn blocks_below(&self, limit: Position) -> Vec<Block> {
        const FEW: usize = 1024;
        let mut blocks = Vec::new();
        loop {
            let (tail, before) = (self.shared.tail.lock(), blocks.len());
            let more = tail.blocks.iter().skip(before).take(FEW).map(|held| &held.block);
            blocks.extend(more.take_while(|block| block.end <= limit).cloned());
            if blocks.len() < before + FEW {
                return blocks;
            }
        }
    }

    /// After a failed write an fdatasync can still make durable what was written before, and that need not move: on a full
    /// disk there may be no room for it. Under `no` it is in the file alone, and must be durable before another file is
    /// listed that counts on it: else a power cut leaves a hole between the two.
    fn sync_written(&self, live: &LiveFile) {
        let (durable, written, is_of_use) = {
            let tail = self.shared.tail.lock();
            let is_of_use = tail.retired.as_ref().is_some_and(|retired| retired.cause == Cause::Write);
            (tail.durable, tail.written, is_of_use)
        };
        if durable >= written || !is_of_use {
            return;
        }
        // Through the descriptor that has seen all: to open another may fail, and one may not be told of an old error.
        let synced = retry(|| live.file.sync_data());
        let mut tail = self.shared.tail.lock();
        match synced {
            Ok(()) => tail.set_durable(written),
            Err(_) => tail.worsen(Cause::Sync),
        }
    }

    /// Lets the next file have what a retired one owns behind its end, and on a full disk the half of a block that a failed
    /// write left there: there may be nothing else for it.
    fn give_up_space(&self, live: &LiveFile) {
        let is_half_a_block = {
            let tail = self.shared.tail.lock();
            let ends_in_ours = |retired: &&Retired| retired.cause == Cause::Write && !retired.is_torn;
            tail.retired.as_ref().filter(ends_in_ours).is_some_and(|retired| retired.failure.is_full())
        };
        let _ = if is_half_a_block {
            retry(|| self.fs.truncate(&live.path, live.point.offset_bytes))
        } else {
            live.file.trim()
        };
    }

    /// Everything before `at` is durable in the last file (or covered by a base): the next file takes over.
    fn switch(&self, at: Position, last: Option<LiveFile>, mut volume: Volume) {
        // It is complete. Whatever it owns beyond its end, the next one will need.
        let _ = last.as_ref().map(|last| last.file.trim());
        // Nobody will look at it again.
        let is_named = last.is_none_or(|last| last.is_named());
        let ended = self.shared.clock.now();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.note_call(ended);
        if !is_named && !tail.waiting_rewrite {
            tail.lose_name();
        }
        if tail.waiting_rewrite || tail.retired.is_none() {
            volume.switch(&mut tail, at);
        }
        tail.volume = Some(volume);
        self.shared.changed(tail);
    }

    /// Asks for space behind the end of the live file.
    fn reserve(&self, live: &LiveFile, place: Option<Range<u64>>) {
        let claim = space::claim(&*self.fs, live, place);
        let ended = self.shared.clock.now();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.note_call(ended);
        tail.note_claim(live, claim);
        self.shared.changed(tail);
    }

    fn open_next(&self, mut volume: Volume) -> Chore {
        let shared = self.shared.clone();
        Chore::new("open next", move || {
            let temporary = shared.waiting_rewrite.load(Ordering::Acquire);
            let opened = volume.open_next(temporary);
            let ended = shared.clock.now();
            let mut tail = shared.tail.lock();
            tail.give_back(volume, ended);
            match opened {
                Ok(next) => {
                    tail.next = Some(next);
                    tail.temp_is_left = false;
                    tail.kick_off();
                }
                Err(error) => tail.rotation = Rotation::Failed(error),
            }
            shared.changed(tail);
        })
    }

    fn publish(&self, mut volume: Volume, base: NewBase, pending: Option<Position>) -> Chore {
        let shared = self.shared.clone();
        Chore::new("publish", move || {
            let first_live = {
                let tail = shared.tail.lock();
                let usable = |_: &LiveFile| tail.switch_at.is_none() && tail.next.is_none();
                tail.waiting_rewrite.then(|| tail.live.clone().filter(usable))
            };
            let published = match first_live {
                Some(live) => volume.publish_first_base(&base, live).map(Some),
                None => volume.publish_base(&base, pending).map(|()| None),
            };
            let ended = shared.clock.now();
            let (stat, sizes) = sizes(&shared, &volume);
            let mut tail = shared.tail.lock();
            tail.counters.events.note(stat);
            tail.is_publishing = false;
            tail.published = Some(published.map(|renamed| {
                volume.cover(&mut tail, base.covers, pending);
                tail.note_published(renamed);
                // They are for INFO only: a stat that fails leaves the old ones.
                let _ = sizes.map(|sizes| tail.note_sizes(&sizes));
            }));
            tail.give_back(volume, ended);
            shared.changed(tail);
        })
    }

    fn collect(&self, files: Vec<(Entry, PathBuf)>) -> Chore {
        let (fs, shared) = (self.fs.clone(), self.shared.clone());
        Chore::new("collect", move || {
            let removed = remove_superseded(&*fs, files);
            let mut tail = shared.tail.lock();
            tail.collect = Collect::Done(removed);
            shared.changed(tail);
        })
    }

    fn forget(&self, mut volume: Volume, removed: Vec<Entry>) -> Chore {
        let shared = self.shared.clone();
        Chore::new("forget", move || {
            // What stays listed is history still, and the next rewrite tries again.
            let forgotten = volume.forget(&removed);
            let ended = shared.clock.now();
            let mut tail = shared.tail.lock();
            tail.collect = Collect::Idle;
            if forgotten.is_ok() && !removed.is_empty() && tail.auto_gc && !volume.history().is_empty() {
                // More has become history meanwhile.
                tail.want_collect();
            }
            tail.give_back(volume, ended);
            shared.changed(tail);
        })
    }

    fn remove_temp(&self, volume: Volume) -> Chore {
        let shared = self.shared.clone();
        Chore::new("remove temp", move || {
            // If it stays, the next attempt removes it, or the next start.
            let _ = volume.remove_temp_incr();
            let ended = shared.clock.now();
            let mut tail = shared.tail.lock();
            tail.temp_is_left = false;
            tail.give_back(volume, ended);
            shared.changed(tail);
        })
    }
}

fn sizes(shared: &Shared, volume: &Volume) -> (Event, Result<Sizes, Error>) {
    let started = shared.clock.now();
    let sizes = volume.sizes();
    (Event::Stat(shared.clock.since(started)), sizes)
}

impl Tail {
    /// A base counts; `renamed`: so does the temporary incr, by this name.
    fn note_published(&mut self, renamed: Option<Arc<Path>>) {
        if let (Some(path), Some(live)) = (renamed, &mut self.live) {
            live.path = path;
        }
        self.waiting_rewrite = false;
        if self.auto_gc {
            self.want_collect();
        }
    }

    /// What a failed file held below `cut` is in no file that counts, but for what is durable in one that has its name. Only
    /// `no` keeps none of that in memory. Whether these bytes survived nobody can say.
    fn note_lost(&mut self, cut: Position) {
        let Some(Retired { failure, cause, .. }) = self.retired.take() else { return };
        let is_unnamed = cause == Cause::Unnamed;
        if self.durable >= cut && !is_unnamed {
            return;
        }
        let before = self.lost.take();
        self.lost = Some(Lost {
            from: before.as_ref().map_or(self.durable.min(cut), |lost| lost.from),
            below: cut,
            failure,
            is_unnamed: is_unnamed || before.is_some_and(|lost| lost.is_unnamed),
        });
    }

    fn note_failed_recovery(&mut self, error: &Error, is_last: bool) {
        self.gave_up = is_last;
        let next_at = (!self.stopping).then(|| self.clock.now() + RETRY);
        let Some(Retired { failure, retry_at, .. }) = &mut self.retired else { return };
        *retry_at = next_at;
        match error {
            Error::Io { op, path, source } => *failure = Failure::new(op, path, source, failure.since),
            error => failure.message = error.to_string(),
        }
        self.last_failure = Some(failure.clone());
    }

    pub(crate) fn note_claim(&mut self, live: &LiveFile, claim: Claim) {
        self.space.is_asked = false;
        self.space.note(live, claim, self.clock.now());
        if let Some(shortage) = &self.space.shortage {
            self.last_failure = Some(shortage.clone());
        }
    }
}
