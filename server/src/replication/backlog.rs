//! THE STREAM that replicas are sent, and how much of its past is kept: for those that lag, and for those that come back.
//!
//! ```text
//!        first              sent, of each replica             settled                 end
//!  -------|--------------------|------------------------------|------------------------|---->
//!   gone  |  kept: repl-backlog-size, or as far back as a replica needs                |  not written yet
//! ```
//! An *offset* is the number of bytes in front of it since the history began; `end` is Redis's `master_repl_offset`.
//! Up to `settled` no crash can take back what the bytes tell of, and only so far are they sent: positions of the log,
//! noted as the stream grows, say how far that is. Redis counts bytes from 1, so PSYNC and INFO name an offset plus one.
//!
//! The stream is made of what the log is made of, framed for a reader that never starts anew: SELECT where the database
//! changes, and in front of a MULTI rather than behind it, as Redis 7.0 does; replicas take either.

use std::collections::VecDeque;

use aof::{Op, Position};
use bytes::BytesMut;

/// Bytes of a chunk: all have this room. Less than a socket takes at once, and a small part of a useful
/// `repl-backlog-size`.
const CHUNK_BYTES: usize = 16 << 10;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// The stream, as far as it is kept.
#[derive(Debug, Default)]
pub struct Backlog {
    chunks: VecDeque<Chunk>,
    end: u64,
    settled: u64,
    /// Which offsets settle when the log's watermark has reached which positions; both rise.
    marks: VecDeque<(u64, Position)>,
    /// The database that a reader of everything so far has selected.
    selected: Option<u32>,
    /// Somebody reads it, or may come back to.
    is_active: bool,
}

#[derive(Debug)]
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// What PSYNC gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// All from this offset on.
    Continue(u64),
    /// All data: it knows of no history, `PSYNC ? -1`.
    Asked,
    /// All data: it tells of a history that is not this one.
    OtherHistory,
    /// All data: what it needs next is gone, or never was.
    NotKept,
}

impl Backlog {
    /// Whether effects are to be appended.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Begins to keep the stream, with nothing in it.
    pub fn start(&mut self) {
        self.is_active = true;
        self.settled = self.end;
    }

    /// Gives all of it up. Offsets go on where they were, which the next history need not know.
    pub fn stop(&mut self) {
        *self = Backlog { end: self.end, settled: self.end, ..Backlog::default() };
    }

    /// The offset behind the last byte.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The offset of the oldest byte that is kept.
    pub fn first(&self) -> u64 {
        self.chunks.front().map_or(self.end, |chunk| chunk.start)
    }

    /// The offset up to which it may be sent.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Bytes that are kept.
    pub fn len_bytes(&self) -> u64 {
        self.end - self.first()
    }

    /// Bytes of memory that they take.
    pub fn memory_bytes(&self) -> u64 {
        (self.chunks.len() * (CHUNK_BYTES + size_of::<Chunk>())) as u64
    }

    /// Appends one unit: replicas execute all of it or nothing.
    pub fn append_unit(&mut self, unit: &[Op<'_>]) {
        if let [first, _, ..] = unit {
            self.select(first.db);
            self.append(MULTI);
        }
        for op in unit {
            self.select(op.db);
            self.append(op.command);
        }
        if unit.len() > 1 {
            self.append(EXEC);
        }
    }

    /// Appends a command that concerns no database.
    pub fn append_command(&mut self, argv: &[&[u8]]) {
        let mut encoded = BytesMut::new();
        resp::request::encode(argv, &mut encoded);
        self.append(&encoded);
    }

    fn select(&mut self, db: u32) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            self.append_command(&[b"SELECT", db.to_string().as_bytes()]);
        }
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.chunks.back().is_none_or(|chunk| chunk.bytes.len() == CHUNK_BYTES) {
                self.chunks.push_back(Chunk { start: self.end, bytes: Vec::with_capacity(CHUNK_BYTES) });
            }
            let Some(chunk) = self.chunks.back_mut() else { return };
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - chunk.bytes.len()));
            chunk.bytes.extend_from_slice(now);
            self.end += now.len() as u64;
            bytes = later;
        }
    }

    /// A reader begins here who knows nothing of what came before.
    pub fn forget_selected(&mut self) {
        self.selected = None;
    }

    /// Notes that everything so far settles with this position of the log.
    #[inline]
    pub fn mark(&mut self, position: Position) {
        let marked = self.marks.back().map_or(self.settled, |&(offset, _)| offset);
        if self.end > marked {
            self.marks.push_back((self.end, position));
        }
    }

    /// The log's watermark is here.
    #[inline]
    pub fn settle(&mut self, watermark: Position) {
        while let Some(&(offset, _)) = self.marks.front().filter(|&&(_, position)| position <= watermark) {
            self.settled = offset;
            self.marks.pop_front();
        }
    }

    /// Everything is settled: the log that positions belong to has ended, durably.
    pub fn settle_all(&mut self) {
        self.settled = self.end;
        self.marks.clear();
    }

    /// Settled bytes from an offset on, as many as stand together; none if there are none, or they are not kept.
    pub fn piece(&self, from: u64) -> &[u8] {
        let behind = self.chunks.partition_point(|chunk| chunk.start <= from);
        let Some(chunk) = behind.checked_sub(1).and_then(|at| self.chunks.get(at)) else { return &[] };
        let to = chunk.end().min(self.settled);
        let place = |offset: u64| usize::try_from(offset.saturating_sub(chunk.start)).unwrap_or(usize::MAX);
        chunk.bytes.get(place(from)..place(to)).unwrap_or_default()
    }

    /// Lets go of what is older than `repl-backlog-size` and than `needed`, the offset that the slowest reader is at.
    #[inline]
    pub fn trim(&mut self, needed: u64, size_bytes: u64) {
        while let Some(oldest) = self.chunks.front().map(Chunk::end)
            && oldest <= needed
            && self.end - oldest >= size_bytes.max(1)
        {
            self.chunks.pop_front();
        }
    }

    /// What a replica gets that has everything of the history `asked` in front of the byte with this number.
    pub fn resync(&self, history: &str, asked: &[u8], next_byte: i64) -> Resync {
        if asked.first() == Some(&b'?') {
            return Resync::Asked;
        }
        if !asked.eq_ignore_ascii_case(history.as_bytes()) {
            return Resync::OtherHistory;
        }
        let from = u64::try_from(next_byte).ok().and_then(|number| number.checked_sub(1));
        match from.filter(|from| self.is_active && (self.first()..=self.end).contains(from)) {
            Some(from) => Resync::Continue(from),
            None => Resync::NotKept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Backlog {
        let mut backlog = Backlog::default();
        backlog.start();
        backlog
    }

    /// Everything that may be sent from an offset on.
    fn read(backlog: &Backlog, mut from: u64) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = backlog.piece(from);
            if piece.is_empty() {
                return all;
            }
            from += piece.len() as u64;
            all.extend_from_slice(piece);
        }
    }

    #[test]
    fn a_unit_of_several_is_a_transaction_and_the_database_is_told_where_it_changes() {
        let (a, b) = (Op { db: 0, command: b"a" }, Op { db: 9, command: b"b" });
        let mut backlog = started();
        backlog.append_unit(&[a]);
        backlog.append_unit(&[a]);
        backlog.append_unit(&[b, a]);
        backlog.append_unit(&[]);
        backlog.append_command(&[b"PING"]);
        backlog.forget_selected();
        backlog.append_unit(&[a]);
        backlog.settle_all();
        let (zero, nine) = ("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", "*2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n");
        let expected = format!(
            "{zero}aa{nine}*1\r\n$5\r\nMULTI\r\nb{zero}a*1\r\n$4\r\nEXEC\r\n*1\r\n$4\r\nPING\r\n{zero}a"
        );
        assert_eq!(String::from_utf8_lossy(&read(&backlog, 0)), expected);
        assert_eq!(backlog.end(), expected.len() as u64);
    }

    #[test]
    fn what_a_crash_could_take_back_is_not_sent() {
        let mut backlog = started();
        backlog.append(b"one");
        backlog.mark(10);
        backlog.mark(10);
        backlog.append(b"two");
        backlog.mark(20);
        backlog.settle(9);
        assert_eq!(read(&backlog, 0), b"");
        backlog.settle(19);
        assert_eq!((read(&backlog, 0), read(&backlog, 2)), (b"one".to_vec(), b"e".to_vec()));
        backlog.append(b"six");
        backlog.settle(20);
        assert_eq!(read(&backlog, 3), b"two", "what no mark covers is of a turn that goes on");
        backlog.settle_all();
        assert_eq!(read(&backlog, 3), b"twosix");
    }

    #[test]
    fn the_past_is_kept_as_long_as_it_is_needed_and_as_far_as_it_is_wanted() {
        let all: Vec<u8> = (0..10 * CHUNK_BYTES).map(|at| (at % 251) as u8).collect();
        let mut backlog = started();
        all.chunks(1000).for_each(|piece| backlog.append(piece));
        backlog.settle_all();
        let chunk = CHUNK_BYTES as u64;
        backlog.trim(0, 1);
        assert_eq!(backlog.first(), 0, "a replica stands there");
        backlog.trim(3 * chunk + 1, 1);
        assert_eq!(backlog.first(), 3 * chunk);
        assert_eq!(read(&backlog, 3 * chunk + 1), all[3 * CHUNK_BYTES + 1..]);
        backlog.trim(u64::MAX, 4 * chunk + 1);
        assert_eq!(backlog.len_bytes(), 5 * chunk, "whole chunks, and never less than is wanted");
        backlog.trim(u64::MAX, 1);
        assert_eq!(backlog.len_bytes(), chunk, "what was written last stays");
        assert_eq!(backlog.piece(0), b"", "what is gone is not made up");
    }

    #[test]
    fn only_who_has_this_history_and_misses_what_is_kept_goes_on() {
        let mut backlog = started();
        (0..3 * CHUNK_BYTES).for_each(|_| backlog.append(b"x"));
        backlog.trim(u64::MAX, CHUNK_BYTES as u64 + 1);
        let (first, end) = (backlog.first(), backlog.end());
        assert_eq!(first, CHUNK_BYTES as u64);
        let next = |offset: u64| offset as i64 + 1;
        for (asked, number, expected) in [
            (&b"abc"[..], next(end), Resync::Continue(end)),
            (b"ABC", next(first), Resync::Continue(first)),
            (b"abc", next(first) - 1, Resync::NotKept),
            (b"abc", next(end) + 1, Resync::NotKept),
            (b"abc", 0, Resync::NotKept),
            (b"abc", -1, Resync::NotKept),
            (b"abd", next(end), Resync::OtherHistory),
            (b"", next(end), Resync::OtherHistory),
            (b"?", -1, Resync::Asked),
        ] {
            assert_eq!(backlog.resync("abc", asked, number), expected, "{asked:?} {number}");
        }
        backlog.stop();
        assert_eq!(backlog.resync("abc", b"abc", next(end)), Resync::NotKept, "nobody has written it on");
        assert_eq!((backlog.end(), backlog.len_bytes()), (end, 0));
    }
}
