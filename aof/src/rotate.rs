//! From one file to the next: for a rewrite, and after a failure.
//!
//! A rewrite takes five steps, and its base holds exactly the positions <= S:
//! 1. incr n+1 is created (0 bytes), synced with the directory, and listed by the manifest; n is still live;
//! 2. n is synced while nobody waits for it, so that little is left for step 4;
//! 3. at a turn's boundary the executor seals at S and takes its snapshot; later blocks belong to n+1;
//! 4. the rest of n is written and synced;
//! 5. the head of n+1, which says where n ended, is written and synced, and its blocks follow.
//!
//! Steps 4 and 5 are two fdatasyncs of little, for which replies to what is behind S wait under every policy.
//!
//! No file ever holds positions on both sides of S, so that publishing the base retires whole files: those whose last
//! position is <= S.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use crate::Position;
use crate::backend::Block;
use crate::block::{Epoch, FilePoint, IncrHead, NO_BLOCKS, crc32c};
use crate::dir::{BaseFormat, Directory, Sizes};
use crate::error::{Error, io_error};
use crate::fs::{Fs, retry, write_all};
use crate::manifest::{Entry, FileSeq, Manifest};
use crate::record::select;
use crate::sync::Arc;
use crate::tail::{LiveFile, NextFile, Tail, head_line};

/// A finished base, to be published.
#[derive(Debug, Clone)]
pub struct NewBase {
    /// Where it is: `temp-rewriteaof-bg-<pid>.aof` in the log's directory, whole and synced; and not empty, even if there
    /// are no keys: a start would take it for one that has lost all its bytes.
    pub temp_path: PathBuf,
    /// Which kind of file it is.
    pub format: BaseFormat,
    /// It holds everything up to here: what [`Log::switch`](crate::Log::switch) returned.
    pub covers: Position,
    /// Its length.
    pub len_bytes: u64,
}

/// How far a rotation has come that has not switched yet.
#[derive(Debug)]
pub(crate) enum Rotation {
    Idle,
    Requested,
    /// The next file is there. What the last one has shall be durable up to here before it takes over; and if that took long,
    /// what was written meanwhile, too, and so on for so many times.
    Syncing {
        below: Position,
        repeats_left: u32,
    },
    Ready,
    Failed(Error),
}

impl Rotation {
    pub(crate) fn is_requested(&self) -> bool {
        matches!(self, Rotation::Requested)
    }
}

/// Beside a slow fdatasync much is written, and the next one is slow for that reason.
const REPEATS: u32 = 3;

impl Tail {
    /// Step 2.
    pub(crate) fn kick_off(&mut self) {
        self.sync_before_switch(REPEATS);
    }

    fn sync_before_switch(&mut self, repeats_left: u32) {
        self.wanted = self.wanted.max(self.written);
        self.rotation = Rotation::Syncing { below: self.written, repeats_left };
    }

    /// Looks whether step 3 may come; true if that has changed.
    pub(crate) fn step_rotation(&mut self) -> bool {
        let Rotation::Syncing { below, repeats_left } = self.rotation else { return false };
        // Before the first base nothing waits for the last file, and a file that has failed is repaired by a base.
        let is_moot = self.waiting_rewrite || self.retired.is_some();
        if self.durable < below && !is_moot {
            return false;
        }
        if repeats_left > 0 && self.syncs_are_slow && self.durable < self.written && !is_moot {
            self.sync_before_switch(repeats_left - 1);
        } else {
            self.rotation = Rotation::Ready;
        }
        true
    }
}

/// Positions that a file of this run holds. Files of former runs hold none: they end where this run begins.
#[derive(Debug)]
struct Span {
    seq: FileSeq,
    /// `Position::MAX` until it takes over.
    start: Position,
    /// None while it may grow.
    end: Option<Position>,
}

impl Span {
    fn is_live(&self) -> bool {
        self.end.is_none() && self.start < Position::MAX
    }
}

/// What leaves a retired file.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) blocks: Vec<Block>,
    /// The database selected where they begin, or where the next one will.
    pub(crate) db: Option<u32>,
    /// The position where they begin, and where that is in the file.
    pub(crate) cut: Position,
    pub(crate) at: FilePoint,
    /// How far the durable watermark is behind it.
    pub(crate) lag: u64,
    pub(crate) time_ms: i64,
    /// They are blocks, and so is what follows them.
    pub(crate) has_lines: bool,
    /// A file for after the next switch is needed too.
    pub(crate) wants_next: bool,
    /// What stands behind them there stands nowhere else.
    pub(crate) is_torn: bool,
    /// The file has lost its name.
    pub(crate) is_unnamed: bool,
}

/// The directory, and which positions each of its incrs holds.
#[derive(Debug)]
pub(crate) struct Volume {
    directory: Directory,
    epoch: Epoch,
    spans: Vec<Span>,
}

impl Volume {
    /// The last incr is appended to, from position `start` on.
    pub(crate) fn new(directory: Directory, epoch: Epoch, start: Position) -> Self {
        let live = directory.manifest().incrs.last();
        let spans = live.map(|incr| Span { seq: incr.seq, start, end: None }).into_iter().collect();
        Volume { directory, epoch, spans }
    }

    /// No file counts before the first base.
    pub(crate) fn new_waiting(directory: Directory, epoch: Epoch) -> Self {
        Volume { directory, epoch, spans: Vec::new() }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn sizes(&self) -> Result<Sizes, Error> {
        self.directory.sizes()
    }

    /// Step 1.
    pub(crate) fn open_next(&mut self, temporary: bool) -> Result<NextFile, Error> {
        if temporary {
            let (file, seq) = (self.directory.create_temp_incr()?, self.directory.free_incr_seq(0)?);
            return Ok(NextFile { file, path: self.directory.temp_incr().into(), seq, entry: None });
        }
        let next = self.create_next(0)?;
        self.list(&next)?;
        Ok(next)
    }

    /// Removes the incr of a first base that will not be published.
    pub(crate) fn remove_temp_incr(&self) -> Result<(), Error> {
        self.directory.remove_temp_incr()
    }

    /// Step 5, or its equal after a base was published that covers all of the last file.
    pub(crate) fn switch(&mut self, tail: &mut Tail, at: Position) {
        let Some(next) = tail.next.take() else { return };
        // Before the first base, what precedes is in the snapshot, and in a file that will never be listed.
        let behind = tail.live.as_ref().filter(|_| !tail.waiting_rewrite).map(|live| (live.seq, live.point));
        let owed = tail.checksum.then(|| self.head(next.seq, behind, None));
        self.close_live(at);
        if let Some(entry) = &next.entry {
            self.begin_span(entry.seq, at);
        }
        if tail.waiting_rewrite {
            // Whatever was before is in the snapshot, and nothing was promised of it.
            tail.set_written(at);
            tail.set_durable(at);
        }
        tail.switch_at = None;
        tail.take_over(Some(live_from(next, at, FilePoint::default(), owed)));
    }

    fn head(&self, seq: FileSeq, behind: Option<(FileSeq, FilePoint)>, moved_bytes: Option<u64>) -> IncrHead {
        let base = self.directory.manifest().base.as_ref().map_or(0, |base| base.seq);
        IncrHead { epoch: self.epoch, seq, base, moved_bytes, behind }
    }

    /// Everything up to `covers` is in a durable base: no file of it is needed any more, whatever state it is in.
    /// `pending`: a switch that waits for that, since the last file has failed.
    pub(crate) fn cover(&mut self, tail: &mut Tail, covers: Position, pending: Option<Position>) {
        tail.set_written(covers);
        tail.set_durable(covers);
        tail.lost.take_if(|lost| lost.below <= covers);
        if pending.is_some_and(|at| at <= covers) {
            self.switch(tail, covers);
        }
    }

    /// A write or fsync of `live` failed, so nothing in it counts from `cut` on: `moving`, which is all of that, goes to a
    /// new file. If a rotation was under way, its empty file is of no use (its number is too low) and another follows.
    ///
    /// The order is what a crash between any two steps asks for:
    /// 1. the new file is written, led by a line that says where the old one ends, and durable;
    /// 2. its name is durable, then the manifest that lists it: from here on no reader of that line executes anything
    ///    behind that end, and until here all of the old file counts, for it was written and perhaps acknowledged;
    /// 3. the old file is cut there, for the readers that skip the line;
    /// 4. the caller moves the watermarks, and replies leave.
    pub(crate) fn move_tail(
        &mut self,
        live: &LiveFile,
        moving: &Moving,
    ) -> Result<(LiveFile, Option<NextFile>), Error> {
        let (cut, mut created) = (moving.cut, Vec::new());
        let moved = self.prepare_move(live, moving, &mut created);
        let end = match moved {
            Ok(end) => end,
            Err(error) => {
                created.iter().for_each(|file| self.remove_quietly(file));
                return Err(error);
            }
        };
        let entries = created.iter().filter_map(|file| file.entry.clone()).collect();
        self.list_entries(entries)?;
        // If the old file cannot be cut it stays as it is: nothing is lost by it, and the next start tries again.
        let _ = self.cut(live, moving);
        self.spans.iter_mut().filter(|span| span.end.is_none()).for_each(|span| {
            span.start = span.start.min(cut);
            span.end = Some(cut);
        });
        let mut created = created.into_iter();
        let Some(tail_file) = created.next() else { return Err(Error::ThreadDied("writer")) };
        if let Some(entry) = &tail_file.entry {
            self.spans.push(Span { seq: entry.seq, start: cut, end: None });
        }
        let next = created.next();
        if let Some(entry) = next.as_ref().and_then(|next| next.entry.as_ref()) {
            self.spans.push(Span { seq: entry.seq, start: Position::MAX, end: None });
        }
        Ok((live_from(tail_file, cut, end, None), next))
    }

    fn cut(&self, live: &LiveFile, moving: &Moving) -> Result<(), Error> {
        let at = moving.at.offset_bytes;
        if moving.is_unnamed {
            return Ok(());
        }
        if moving.is_torn
            && let Some(entry) = self.directory.manifest().incrs.iter().find(|incr| incr.seq == live.seq)
        {
            let torn_bytes = self.directory.len_bytes(entry)?.saturating_sub(at);
            self.directory.copy_aside(entry, at, torn_bytes, "torn")?;
        }
        let truncated = retry(|| self.directory.fs().truncate(&live.path, at));
        truncated.map_err(io_error("truncate", &*live.path))
    }

    /// Publishes a base beside incrs. `pending` is a switch that the writer has not done yet.
    pub(crate) fn publish_base(&mut self, base: &NewBase, pending: Option<Position>) -> Result<(), Error> {
        let ends_by = |span: &Span| {
            let end = span.end.or(pending.filter(|_| span.start < Position::MAX));
            end.is_some_and(|end| end <= base.covers)
        };
        if let Some(split) = self.spans.iter().find(|span| span.start < base.covers && !ends_by(span)) {
            let entry = self.directory.manifest().incrs.iter().find(|incr| incr.seq == split.seq);
            let file = entry.map_or_else(|| split.seq.to_string(), |entry| entry.name.clone());
            return Err(Error::BaseSplitsFile { covers: base.covers, file });
        }
        let keeps = |incr: &Entry| self.spans.iter().any(|span| span.seq == incr.seq && !ends_by(span));
        let old = self.directory.manifest();
        let (incrs, retired): (Vec<_>, Vec<_>) = old.incrs.iter().cloned().partition(keeps);
        let history = retired.into_iter().chain(old.base.clone()).chain(old.history.clone()).collect();
        self.bring_in_base(base, |entry| Manifest { base: Some(entry), history, incrs })?;
        let listed: Vec<FileSeq> = self.directory.manifest().incrs.iter().map(|incr| incr.seq).collect();
        self.spans.retain(|span| listed.contains(&span.seq));
        Ok(())
    }

    /// Publishes the first base after `CONFIG SET appendonly yes`, and with it the temporary incr; whatever was there
    /// before is superseded. Returns the new path of the live file.
    pub(crate) fn publish_first_base(
        &mut self,
        base: &NewBase,
        live: Option<LiveFile>,
    ) -> Result<Arc<Path>, Error> {
        let Some(live) = live.filter(|live| live.start == base.covers) else {
            return Err(Error::BaseSplitsFile { covers: base.covers, file: "the temporary incr".to_owned() });
        };
        let incr = self.directory.incr_entry(live.seq);
        let path = self.directory.path(&incr.name);
        let entry = self.directory.new_base_entry(base.format)?;
        let old = self.directory.manifest().clone();
        let history = old.incrs.into_iter().chain(old.base).chain(old.history).collect();
        let manifest = Manifest { base: Some(entry), history, incrs: vec![incr] };
        self.directory.publish_first(&base.temp_path, manifest)?;
        self.spans = vec![Span { seq: live.seq, start: live.start, end: None }];
        // Where it could not be renamed, it has the old name until the next start.
        Ok(if live.file.is_named(&path).unwrap_or(true) { path.into() } else { live.path })
    }

    /// The files of the history, and where they are.
    pub(crate) fn history(&self) -> Vec<(Entry, PathBuf)> {
        self.directory.superseded()
    }

    /// Drops the lines of files that are gone.
    pub(crate) fn forget(&mut self, removed: &[Entry]) -> Result<(), Error> {
        self.directory.forget(removed)
    }

    pub(crate) fn fs(&self) -> Arc<dyn Fs> {
        self.directory.fs().clone()
    }

    fn bring_in_base(
        &mut self,
        base: &NewBase,
        manifest: impl FnOnce(Entry) -> Manifest,
    ) -> Result<(), Error> {
        let entry = self.directory.new_base_entry(base.format)?;
        let brought_in = self.directory.bring_in(&base.temp_path, &self.directory.path(&entry.name));
        let published = brought_in.and_then(|()| self.directory.list(manifest(entry.clone())));
        published.inspect_err(|_| self.directory.remove_unlisted(&[entry]))
    }

    /// The part of [`move_tail`](Self::move_tail) that can be taken back by removing what it created. Returns the end of
    /// the first new file.
    fn prepare_move(
        &mut self,
        live: &LiveFile,
        moving: &Moving,
        created: &mut Vec<NextFile>,
    ) -> Result<FilePoint, Error> {
        let tail_file = self.create_next(0)?;
        let (file, path, seq) = (tail_file.file.clone(), tail_file.path.clone(), tail_file.seq);
        created.push(tail_file);
        let prefix = self.moving_head(seq, live, moving);
        let mut bufs = vec![IoSlice::new(&prefix)];
        bufs.extend(moving.blocks.iter().map(|block| IoSlice::new(&block.bytes)));
        let end = bufs.iter().fold(FilePoint::default(), |point, buf| point.after(buf));
        write_all(&*file, &mut bufs).map_err(io_error("write", &*path))?;
        retry(|| file.sync_data()).map_err(io_error("fdatasync", &*path))?;
        if moving.wants_next {
            created.push(self.create_next(seq)?);
        }
        Ok(end)
    }

    /// The head of a file that takes over from a failed one, and the SELECT that what follows counted on there.
    fn moving_head(&self, seq: FileSeq, live: &LiveFile, moving: &Moving) -> Vec<u8> {
        let mut payload = BytesMut::new();
        if let Some(db) = moving.db {
            select(db, &mut payload);
        }
        let moved_bytes = match moving.blocks.last() {
            _ if !moving.has_lines => NO_BLOCKS,
            last => last.map_or(0, |block| block.end - moving.cut),
        };
        let head = self.head(seq, Some((live.seq, moving.at)), Some(moved_bytes));
        let mut line = head_line(head, moving.cut, moving.lag, moving.time_ms);
        line.payload_bytes = payload.len() as u64;
        line.payload_crc = crc32c(&payload);
        let mut bytes = Vec::new();
        line.encode(self.epoch, &mut bytes);
        bytes.extend_from_slice(&payload);
        bytes
    }

    fn create_next(&self, after: FileSeq) -> Result<NextFile, Error> {
        let (entry, file) = self.directory.create_incr(after)?;
        let path = self.directory.path(&entry.name).into();
        Ok(NextFile { file, path, seq: entry.seq, entry: Some(entry) })
    }

    fn list(&mut self, next: &NextFile) -> Result<(), Error> {
        let entries: Vec<Entry> = next.entry.iter().cloned().collect();
        self.list_entries(entries.clone())?;
        self.spans.extend(entries.iter().map(|entry| Span {
            seq: entry.seq,
            start: Position::MAX,
            end: None,
        }));
        Ok(())
    }

    fn list_entries(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let mut manifest = self.directory.manifest().clone();
        manifest.incrs.extend(entries.iter().cloned());
        let published = self.directory.publish(manifest);
        published.inspect_err(|_| self.directory.remove_unlisted(&entries))
    }

    fn remove_quietly(&self, file: &NextFile) {
        // If it stays, its number is skipped from now on.
        let _ = self.directory.fs().remove(&file.path);
    }

    fn close_live(&mut self, at: Position) {
        if let Some(span) = self.spans.iter_mut().find(|span| span.is_live()) {
            span.end = Some(at);
        }
    }

    fn begin_span(&mut self, seq: FileSeq, at: Position) {
        if let Some(span) = self.spans.iter_mut().find(|span| span.seq == seq) {
            span.start = at;
        }
    }
}

/// The next file, once it is the live one.
fn live_from(next: NextFile, start: Position, point: FilePoint, owed: Option<IncrHead>) -> LiveFile {
    LiveFile { file: next.file, path: next.path, seq: next.seq, start, point, owed }
}
