//! The writer: the thread that does whatever the log does to files, except fdatasync and direct writes.
//!
//! ```text
//! executor --push--> Tail --next_job--> writer: write | open next | switch | publish base | recover | collect
//!    '--- direct write, while nobody else is at it ---> file            syncer: fdatasync
//! ```
//!
//! Under `everysec` and `no` the executor writes by itself while no fdatasync runs, nothing is queued and the last such
//! write was quick: a hand-over costs a context switch. Whoever writes owns the tail for as long ([`Owner`]).

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Position;
use crate::backend::{Block, LogBackend};
use crate::clock::Clock;
use crate::error::Error;
use crate::fs::{retry, write_all};
use crate::manifest::Entry;
use crate::options::Fsync;
use crate::rotate::{NewBase, Rotation, Volume};
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, spawn};
use crate::tail::{Collect, Job, LiveFile, Lost, NextFile, Owner, RETRY, Tail};

/// A direct write that takes longer sends the following blocks through the writer, for [`DETOUR`].
const SLOW_WRITE: Duration = Duration::from_millis(5);
/// Dirty-page throttling comes in episodes; this is the order of their length.
const DETOUR: Duration = Duration::from_secs(2);

/// What executor, writer and syncer share.
pub(crate) struct Shared {
    pub(crate) tail: Mutex<Tail>,
    pub(crate) to_writer: Condvar,
    pub(crate) to_syncer: Condvar,
    written: AtomicU64,
    durable: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) waiting_rewrite: AtomicBool,
    pub(crate) clock: Clock,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    pub(crate) fn new(tail: Tail, wake: Box<dyn Fn() + Send + Sync>, clock: Clock) -> Self {
        Shared {
            to_writer: Condvar::new(),
            to_syncer: Condvar::new(),
            written: AtomicU64::new(tail.written),
            durable: AtomicU64::new(tail.durable),
            failing: AtomicBool::new(false),
            waiting_rewrite: AtomicBool::new(tail.waiting_rewrite),
            tail: Mutex::new(tail),
            clock,
            wake,
        }
    }

    /// Ends a change of the tail: shows the watermarks, and tells the two threads and the server.
    pub(crate) fn changed(&self, mut tail: MutexGuard<'_, Tail>) {
        self.show(&tail);
        self.to_writer.notify_one();
        self.to_syncer.notify_one();
        let garbage = std::mem::take(&mut tail.garbage);
        drop(tail);
        drop(garbage);
        (self.wake)();
    }

    fn show(&self, tail: &Tail) {
        self.written.store(tail.written, Ordering::Release);
        self.durable.store(tail.durable_watermark(), Ordering::Release);
        self.failing.store(tail.failure.is_some(), Ordering::Release);
        self.waiting_rewrite.store(tail.waiting_rewrite, Ordering::Release);
    }

    fn write_directly(&self, live: &LiveFile, block: &Block) {
        let started = self.clock.now();
        let result = write_all(&*live.file, &mut [IoSlice::new(&block.bytes)]);
        let ended = self.clock.now();
        let slow = ended.saturating_duration_since(started) > SLOW_WRITE;
        let mut tail = self.tail.lock();
        let was_clean = tail.written <= tail.durable;
        tail.owner = Owner::Nobody;
        if slow {
            tail.counters.slow_direct_writes += 1;
            tail.direct_after = Some(ended + DETOUR);
        }
        tail.note_write(block.end, block.bytes.len(), result);
        self.show(&tail);
        // Neither thread is woken for nothing: this runs once a turn. The syncer sleeps without a date only while all
        // is durable.
        if tail.writer_blocked || tail.failure.is_some() {
            self.to_writer.notify_one();
        }
        if was_clean && tail.fsync != Fsync::No {
            self.to_syncer.notify_one();
        }
    }
}

impl LogBackend for Shared {
    fn append(&self, block: Block, now: Instant) {
        let mut tail = self.tail.lock();
        let direct = block.clone();
        tail.push(block);
        if tail.may_write_directly(now)
            && let Some(live) = tail.live.clone()
        {
            tail.owner = Owner::Executor;
            drop(tail);
            return self.write_directly(&live, &direct);
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
    /// What to do next; whoever gets a job that touches the live file owns the tail.
    pub(crate) fn take_job(&mut self, now: Instant) -> (Job, Option<LiveFile>) {
        let job = self.next_job(now);
        self.writer_blocked = self.owner == Owner::Executor;
        if !matches!(job, Job::Publish(_) | Job::Recover | Job::Switch(_) | Job::Write(_)) {
            return (job, None);
        }
        self.owner = Owner::Writer;
        (job, self.live.clone())
    }

    fn note_write(&mut self, end: Position, len_bytes: usize, result: std::io::Result<()>) {
        match result {
            Ok(()) => {
                self.counters.current_size += len_bytes as u64;
                self.set_written(end);
            }
            Err(error) => self.retire("write", &error),
        }
    }
}

/// Work for a thread of its own.
pub(crate) type Chore = Box<dyn FnOnce() + Send>;

/// The thread's own: the directory is nobody else's while the log runs.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) volume: Volume,
}

impl Writer {
    pub(crate) fn run(mut self) {
        loop {
            let (job, live) = self.wait_for_job();
            let is_last = matches!(job, Job::Exit);
            // Nobody joins it: `Collect::Running` keeps the writer, and the writer a stop, until it is done.
            self.perform(job, live).into_iter().for_each(|chore| drop(spawn(chore)));
            if is_last {
                return;
            }
        }
    }

    /// Does a job. What it returns is to be done beside all others.
    pub(crate) fn perform(&mut self, job: Job, live: Option<LiveFile>) -> Option<Chore> {
        match (job, live) {
            (Job::Write(blocks), Some(live)) => self.write(&live, &blocks),
            (Job::Recover, live) => self.recover(live),
            (Job::Switch(at), _) => self.switch(at),
            (Job::OpenNext, _) => self.open_next(),
            (Job::Publish(base), live) => self.publish(&base, live),
            (Job::CollectHistory, _) => return Some(self.collect()),
            (Job::Forget(removed), _) => self.forget(&removed),
            (Job::Exit, _) => self.exit(),
            (Job::Write(_) | Job::Wait(_), _) => {}
        }
        None
    }

    /// Sleeps until there is a job.
    fn wait_for_job(&self) -> (Job, Option<LiveFile>) {
        let mut tail = self.shared.tail.lock();
        loop {
            let now = self.shared.clock.now();
            match tail.take_job(now) {
                (Job::Wait(None), _) => self.shared.to_writer.wait(&mut tail),
                (Job::Wait(Some(at)), _) => {
                    let _ = self.shared.to_writer.wait_for(&mut tail, at.saturating_duration_since(now));
                }
                taken => return taken,
            }
        }
    }

    fn exit(&self) {
        let mut tail = self.shared.tail.lock();
        tail.writer_done = true;
        self.shared.changed(tail);
    }

    fn write(&self, live: &LiveFile, blocks: &[Block]) {
        let mut bufs: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(&block.bytes)).collect();
        let len_bytes = blocks.iter().map(|block| block.bytes.len()).sum();
        let result = write_all(&*live.file, &mut bufs);
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.note_write(blocks.last().map_or(0, |block| block.end), len_bytes, result);
        self.shared.changed(tail);
    }

    /// A file failed. Its un-durable tail, which is in memory, moves into a new one; see [`Volume::move_tail`].
    fn recover(&mut self, live: Option<LiveFile>) {
        let (cut, moving, limit) = {
            let tail = self.shared.tail.lock();
            let limit = tail.switch_at.unwrap_or(tail.end);
            (tail.retained_from(), tail.moving(limit), limit)
        };
        let Some(live) = live.filter(|_| !self.shared.waiting_rewrite.load(Ordering::Acquire)) else {
            return self.abandon_temp(limit);
        };
        self.sync_kept(&live, cut);
        let moved = self.volume.move_tail(&live, cut, &moving);
        let sizes = self.volume.sizes();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        match moved {
            Ok((live, next)) => {
                let failure = tail.failure.take();
                if tail.durable < cut {
                    // Only `no` keeps nothing in memory. Whether these bytes survived nobody can say.
                    let from = tail.lost.as_ref().map_or(tail.durable, |lost| lost.from);
                    tail.lost = Some(Lost { from, below: cut, failure });
                }
                tail.next = next;
                tail.take_over(Some(live));
                tail.written = tail.written.max(limit);
                tail.set_durable(limit);
                tail.retry_at = None;
                tail.note_sizes(sizes);
            }
            Err(error) => tail.note_failed_recovery(&error, self.shared.clock.now()),
        }
        self.shared.changed(tail);
    }

    /// Under `no`, what was written is in the file alone. It must be durable before another file is listed that counts
    /// on it: else a power cut leaves a hole between the two. After a failed write an fdatasync can still see to that.
    fn sync_kept(&self, live: &LiveFile, cut: Position) {
        let (durable, sync_failed) = {
            let tail = self.shared.tail.lock();
            (tail.durable, tail.sync_failed)
        };
        if durable >= cut || sync_failed {
            return;
        }
        // Through the descriptor that has seen all: to open another may fail, and one may not be told of an old error.
        let synced = retry(|| live.file.sync_data());
        let mut tail = self.shared.tail.lock();
        match synced {
            Ok(()) => tail.set_durable(cut),
            Err(_) => tail.sync_failed = true,
        }
    }

    /// Nothing was promised of a temporary incr: the base that it belongs to will not be published, that is all.
    fn abandon_temp(&self, limit: Position) {
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.take_over(None);
        tail.temp_broken = true;
        tail.failure = None;
        let limit = if tail.switch_at.is_some() { limit } else { tail.end };
        tail.set_written(limit);
        tail.set_durable(limit);
        self.shared.changed(tail);
    }

    /// Everything before `at` is durable in the last file (or covered by a base): the next file takes over.
    fn switch(&mut self, at: Position) {
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        self.volume.switch(&mut tail, at);
        self.shared.changed(tail);
    }

    fn open_next(&mut self) {
        let temporary = self.shared.waiting_rewrite.load(Ordering::Acquire);
        let opened = self.volume.open_next(temporary);
        let mut tail = self.shared.tail.lock();
        match opened {
            Ok(next) => {
                tail.next = Some(next);
                tail.rotation = Rotation::Ready;
                // Kicked off early, so that little is left to be synced when the switch comes.
                tail.wanted = tail.wanted.max(tail.written);
            }
            Err(error) => tail.rotation = Rotation::Failed(error),
        }
        self.shared.changed(tail);
    }

    fn publish(&mut self, base: &NewBase, live: Option<LiveFile>) {
        let (pending, waiting, usable) = {
            let tail = self.shared.tail.lock();
            let usable = !tail.temp_broken && tail.switch_at.is_none() && tail.next.is_none();
            (tail.switch_at, tail.waiting_rewrite, usable)
        };
        let published = if waiting {
            self.volume.publish_first_base(base, live.filter(|_| usable))
        } else {
            self.volume.publish_base(base, pending).map(|()| None)
        };
        let sizes = self.volume.sizes();
        let mut tail = self.shared.tail.lock();
        tail.owner = Owner::Nobody;
        tail.published = Some(match published {
            Ok(renamed) => {
                self.volume.cover(&mut tail, base.covers);
                tail.live = renamed.or(tail.live.take());
                tail.waiting_rewrite = false;
                if tail.auto_gc {
                    tail.want_collect();
                }
                tail.note_sizes(sizes);
                Ok(())
            }
            Err(error) => Err(error),
        });
        self.shared.changed(tail);
    }

    fn collect(&self) -> Chore {
        let (fs, files, shared) = (self.volume.fs(), self.volume.history(), self.shared.clone());
        Box::new(move || {
            let is_gone = |path: &Path| {
                let removed = fs.remove(path);
                removed.map_or_else(|error| error.kind() == ErrorKind::NotFound, |()| true)
            };
            let removed = files.into_iter().filter(|(_, path)| is_gone(path));
            let removed = removed.map(|(entry, _)| entry).collect();
            let mut tail = shared.tail.lock();
            tail.collect = Collect::Done(removed);
            shared.changed(tail);
        })
    }

    fn forget(&mut self, removed: &[Entry]) {
        // What stays listed is history still, and the next rewrite tries again.
        let forgotten = self.volume.forget(removed);
        let mut tail = self.shared.tail.lock();
        tail.collect = Collect::Idle;
        if forgotten.is_ok() && !removed.is_empty() && tail.auto_gc && !self.volume.history().is_empty() {
            // More has become history meanwhile.
            tail.want_collect();
        }
        self.shared.changed(tail);
    }
}

impl Tail {
    fn note_sizes(&mut self, sizes: Result<(u64, u64), Error>) {
        // They are for INFO only: a stat that fails leaves the old ones.
        if let Ok((current_size, base_size)) = sizes {
            self.counters.current_size = current_size;
            self.counters.base_size = base_size;
        }
    }

    fn note_failed_recovery(&mut self, error: &Error, now: Instant) {
        self.retry_at = Some(now + RETRY);
        self.gave_up = self.stopping;
        let Some(failure) = &mut self.failure else { return };
        if let Error::Io { op, path, source } = error {
            failure.op = op;
            failure.path.clone_from(path);
            failure.errno = source.raw_os_error();
        }
        failure.message = error.to_string();
    }
}

/// The next file, once it is the live one.
pub(crate) fn live_from(next: NextFile, start: Position) -> LiveFile {
    LiveFile { file: next.file, path: next.path, start, start_offset: 0 }
}
