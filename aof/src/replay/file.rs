//! One file, item by item: blocks, commands that no block holds, `#` lines.

use std::io::Read;

use resp::request::Argv;
use resp::{Limits, Parser, ProtocolError, ProtocolErrorKind};

use super::ahead::Feed;
use super::sure::{FileEnd, Sure};
use super::survey::Survey;
use super::{
    Context, Course, Good, MAX_ANNOTATION_BYTES, PROGRESS_BYTES, PROGRESS_COMMANDS, Progress, Trail,
};
use crate::Position;
use crate::block::{Head, Line, MAGIC, Stands, crc32c};
use crate::error::{Error, io_error};
use crate::fs::Reader;
use crate::manifest::FileSeq;
use crate::scan::Scan;
use crate::set::Part;

/// A log may hold any value that any `proto-max-bulk-len` let in; this bound only keeps sums in range.
pub(crate) const LIMITS: Limits = Limits { max_bulk_bytes: 1 << 40, authenticated: true, check_crlf: true };

/// Where a value of this length ends is looked at before it is read.
const LONG_BYTES: usize = 1024 * 1024;
const CRLF: [u8; 2] = *b"\r\n";

/// One file on its way into the sink.
pub(super) struct Replay<'a, 'f, C> {
    pub(super) scan: Scan,
    pub(super) feed: Feed<'f>,
    pub(super) course: &'a mut C,
    pub(super) trail: &'a mut Trail,
    pub(super) is_base: bool,
    /// Its number; 0 if nobody knows it.
    pub(super) seq: FileSeq,
    /// Blocks of ours are what should stand here.
    pub(super) ours: bool,
    /// Others went on from here, up to the next head.
    pub(super) is_foreign: bool,
    /// Bytes of commands that no block holds and no head vouches for.
    pub(super) loose_bytes: u64,
    /// A base of ours is between its two heads.
    pub(super) open_base: bool,
    /// What a head said that the base covers.
    pub(super) covers: Option<Position>,
    /// Where the next item begins in the window: beyond 0 only in an open transaction.
    pub(super) parsed: usize,
    pub(super) in_multi: bool,
    pub(super) parser: Parser,
    pub(super) place: Place,
    sure: Sure,
    /// What was seen of the rest where it was damaged last.
    pub(super) survey: Option<Survey>,
    pub(super) told: Progress,
    /// Loaded bytes when this file began.
    pub(super) start_bytes: u64,
}

/// What the next bytes are.
enum Next {
    End,
    Annotation(usize),
    Command(usize),
    /// The line's length, and the line. It was checked, and so was its payload.
    Block(usize, Line),
    Bad(Bad),
}

/// The file stops being a log here.
pub(super) enum Bad {
    /// It merely stops.
    Ends(&'static str),
    /// The same, inside of the block of this line.
    Cut(Line),
    /// A command begins where a block of ours should.
    NoBlock,
    /// The bytes at `at` (from `parsed`) are wrong; `line` is that of a block whose payload is.
    Wrong { at: usize, found: String, line: Option<Line> },
    /// A block that is sound belongs elsewhere: no crash does that.
    Misplaced(String),
    /// What was read whole, and cannot be executed. It stands at this offset.
    Senseless { offset_bytes: u64, found: String },
    /// It is sound, and the course wants none of it.
    Unwanted(&'static str),
}

impl Bad {
    fn wrong(found: impl Into<String>) -> Bad {
        Bad::Wrong { at: 0, found: found.into(), line: None }
    }
}

impl From<ProtocolError> for Bad {
    fn from(error: ProtocolError) -> Bad {
        Bad::Wrong { at: error.offset_bytes, found: error.to_string(), line: None }
    }
}

/// The commands that are framing, not effects.
#[derive(PartialEq)]
pub(super) enum Frame {
    Multi,
    Exec,
    Select,
    Effect,
}

impl<'a, 'f, C: Course> Replay<'a, 'f, C> {
    pub(super) fn new(
        scan: Scan,
        feed: Feed<'f>,
        course: &'a mut C,
        trail: &'a mut Trail,
        part: &Part,
        progress: Progress,
    ) -> Self {
        let ours = trail.epoch.is_some();
        Replay {
            scan,
            feed,
            course,
            trail,
            is_base: part.is_base,
            seq: part.entry.seq,
            ours,
            is_foreign: false,
            loose_bytes: 0,
            open_base: false,
            covers: None,
            parsed: 0,
            in_multi: false,
            parser: Parser::default(),
            place: Place { db: 0, progress },
            sure: Sure::default(),
            survey: None,
            told: progress,
            start_bytes: progress.loaded_bytes,
        }
    }

    /// Returns where the file ends now.
    pub(super) fn run(&mut self, context: &Context<'_>) -> Result<FileEnd, Error> {
        let mut is_whole = true;
        while let Some(bad) = self.items_or_bad(context)? {
            if matches!(bad, Bad::NoBlock) && self.others_go_on(context)? {
                self.is_foreign = true;
                continue;
            }
            is_whole = false;
            if let Some(end) = self.settle(bad, context)? {
                self.end_file();
                return Ok(self.sure.end(end));
            }
        }
        self.trail.unsure |= context.part.is_short;
        if let Some(end) = context.part.end.filter(|&end| is_whole && end != self.scan.point()) {
            self.not_as_recorded(end, context)?;
        }
        self.end_file();
        Ok(self.sure.end(self.scan.point()))
    }

    /// Commands that are no log are a finding like any other.
    fn items_or_bad(&mut self, context: &Context<'_>) -> Result<Option<Bad>, Error> {
        match self.items(context) {
            Err(Error::BadFormat { offset_bytes, found, .. }) => {
                Ok(Some(Bad::Senseless { offset_bytes, found }))
            }
            other => other,
        }
    }

    fn end_file(&mut self) {
        self.trail.unverified_bytes += self.loose_bytes;
        self.trail.covers = self.covers;
        if let Some(covers) = self.covers {
            self.trail.expected = Some(covers);
        }
        self.advance_progress();
        self.tell();
    }

    /// Executes until something is wrong, or nothing is left.
    fn items(&mut self, context: &Context<'_>) -> Result<Option<Bad>, Error> {
        loop {
            match self.next(context)? {
                Next::End if self.open_base => return Ok(Some(Bad::Ends("the base ends before its end"))),
                Next::End => return Ok(None),
                Next::Annotation(len) if self.is_wanted(len)? => self.consume(len),
                Next::Annotation(_) => return Ok(Some(Bad::Unwanted("it is later than the timestamp"))),
                Next::Command(len) => self.command(len)?,
                Next::Block(len, line) => self.block(len, &line)?,
                Next::Bad(bad) => return Ok(Some(bad)),
            }
        }
    }

    /// Whether the course reads on behind this line, which may be a timestamp.
    fn is_wanted(&mut self, len: usize) -> Result<bool, Error> {
        let line = &self.scan.rest()[self.parsed..self.parsed + len];
        let Some(unix_s) = line.strip_prefix(b"#TS:").map(timestamp) else { return Ok(true) };
        match self.course.stamp(unix_s)? {
            false if unix_s.is_none() => Err(self.bad_format(0, "an invalid timestamp")),
            is_wanted => Ok(is_wanted),
        }
    }

    fn next(&mut self, context: &Context<'_>) -> Result<Next, Error> {
        loop {
            let rest = &self.scan.rest()[self.parsed..];
            let next = match rest.first() {
                None => None,
                Some(b'*') if self.is_place_of_block() && !self.is_anybodys() => {
                    return Ok(Next::Bad(Bad::NoBlock));
                }
                Some(b'*') => match self.parser.parse(rest, &LIMITS) {
                    Ok(len) => len.map(Next::Command),
                    Err(error) => return Ok(Next::Bad(error.into())),
                },
                Some(b'#') => match annotation_len(rest) {
                    Some(Ok(len)) if rest.starts_with(MAGIC) && !self.in_multi => {
                        return self.check_block(len);
                    }
                    Some(Ok(len)) => Some(self.check_annotation(len)),
                    Some(Err(found)) => Some(Next::Bad(Bad::wrong(found))),
                    None => None,
                },
                Some(byte) => Some(Next::Bad(Bad::wrong(format!("expected '*' or '#', got 0x{byte:02x}")))),
            };
            if let Some(next) = next {
                return Ok(next);
            }
            let (is_empty, missing_bytes) = (rest.is_empty(), self.parser.missing_bytes(rest));
            if let Some(bad) = self.misses_its_end(missing_bytes, context)? {
                return Ok(Next::Bad(bad));
            }
            if !self.scan.more_of(missing_bytes)? {
                return Ok(match (is_empty, self.in_multi) {
                    (true, false) => Next::End,
                    (true, true) => Next::Bad(Bad::Ends("it ends inside a transaction")),
                    (false, _) => Next::Bad(Bad::Ends("it ends inside a command")),
                });
            }
            self.tell_of_reading();
        }
    }

    /// A value that lacks so many bytes, and does not end where its length says, if that is so far that it should not be
    /// read for nothing: the length may be what is damaged.
    fn misses_its_end(&self, missing_bytes: usize, context: &Context<'_>) -> Result<Option<Bad>, Error> {
        let window_bytes = self.scan.rest().len();
        let is_there = (window_bytes as u64).saturating_add(missing_bytes as u64) <= self.scan.left_bytes();
        if missing_bytes <= LONG_BYTES || !is_there {
            return Ok(None);
        }
        let end = window_bytes + missing_bytes - CRLF.len();
        let (fs, path) = (&**context.directory.fs(), self.scan.path());
        let mut found = [0; CRLF.len()];
        let mut file = Reader::open(fs, path, self.scan.offset_bytes() + end as u64)?;
        file.read_exact(&mut found).map_err(io_error("read", path))?;
        let (offset_bytes, kind) = (end - self.parsed, ProtocolErrorKind::ExpectedCrlf);
        Ok((found != CRLF).then(|| ProtocolError { offset_bytes, kind }.into()))
    }

    /// Whether a block of ours should begin here.
    pub(super) fn is_place_of_block(&self) -> bool {
        self.ours && !self.is_foreign && !self.in_multi
    }

    /// It is a base, and did not open as ours do.
    fn is_anybodys(&self) -> bool {
        self.is_base && self.covers.is_none() && !self.open_base
    }

    /// Among blocks of ours only lines of a known form may stand: anything else was one of ours before it was damaged. Nor
    /// does a block of ours stand inside a transaction.
    fn check_annotation(&self, len: usize) -> Next {
        let line = &self.scan.rest()[self.parsed..self.parsed + len];
        let is_known = line.starts_with(b"#HDR:")
            || line.starts_with(b"#PAD:")
            || line.strip_prefix(b"#TS:").is_some_and(|text| timestamp(text).is_some());
        if line.starts_with(MAGIC) {
            return Next::Bad(Bad::wrong("a block inside a transaction"));
        }
        if self.is_place_of_block() && !is_known {
            return Next::Bad(Bad::wrong("an annotation that nobody writes"));
        }
        Next::Annotation(len)
    }

    fn check_block(&mut self, len: usize) -> Result<Next, Error> {
        let text = &self.scan.rest()[..len];
        let Some(line) = Line::parse(text, self.trail.epoch) else {
            return Ok(Next::Bad(Bad::wrong("the line of a block whose checksum is wrong")));
        };
        let total = len as u64 + line.payload_bytes;
        if !self.scan.fill(total)? {
            return Ok(Next::Bad(Bad::Cut(line)));
        }
        let payload = &self.scan.rest()[len..total as usize];
        let (expected, got) = (line.payload_crc, crc32c(payload));
        if expected != got {
            let found = format!("a block of checksum {expected:08x} hashes to {got:08x}");
            return Ok(Next::Bad(Bad::Wrong { at: len, found, line: Some(line) }));
        }
        Ok(match self.misplaced(&line) {
            Some(bad) => Next::Bad(bad),
            None => Next::Block(len, line),
        })
    }

    /// Why a block that is sound does not belong here. It is [`Bad::Misplaced`] if no crash can have put it there; one that
    /// a sector may have held earlier, when it was another file's or stood elsewhere in this one, is like any other bytes
    /// that are no block: the marks decide.
    fn misplaced(&self, line: &Line) -> Option<Bad> {
        let Trail { epoch, expected, unsure, .. } = *self.trail;
        let expected = expected.filter(|_| !unsure);
        let misplaced = |found: &str| Some(Bad::Misplaced(found.to_owned()));
        let stale = |found: &str| Some(Bad::wrong(found));
        let gap = expected.filter(|&expected| expected != line.position).map(|expected| {
            let found = format!("the block of position {} where that of {expected} should be", line.position);
            if line.position < expected { Bad::wrong(found) } else { Bad::Misplaced(found) }
        });
        match line.head {
            // Others wrote between two blocks of ours, and nothing is missing.
            None if self.loose_bytes > 0 && self.trail.expected == Some(line.position) => None,
            None if self.loose_bytes > 0 => misplaced("a block behind commands that no head vouches for"),
            None if !self.is_base && self.scan.offset_bytes() == 0 => stale("a block before any head"),
            None => gap,
            Some(Head::Base(_)) if !self.is_base => stale("the head of a base"),
            Some(Head::Incr(_)) if self.is_base => misplaced("the head of an incr"),
            Some(head) if epoch.is_some_and(|epoch| epoch != head.epoch()) => {
                stale("a head of another epoch")
            }
            Some(Head::Base(_)) if self.open_base => gap,
            Some(Head::Base(_)) if line.position != self.scan.offset_bytes() => {
                misplaced(&format!("the end of a base of {} bytes", line.position))
            }
            Some(Head::Base(_)) => None,
            Some(Head::Incr(head)) => match head.stands(self.seq, self.scan.point()) {
                Stands::Here => gap,
                Stands::Changed => {
                    misplaced("what stands before this head is not what stood there when it was written")
                }
                Stands::Elsewhere if expected.is_some_and(|expected| line.position <= expected) => {
                    stale("the head of another place")
                }
                Stands::Elsewhere => misplaced("the head of another place"),
            },
        }
    }

    /// Executes a block that was checked.
    fn block(&mut self, line_len: usize, line: &Line) -> Result<(), Error> {
        let end = line_len + line.payload_bytes as usize;
        self.place.db = line.db.unwrap_or(self.place.db);
        let (mut parser, mut at) = (Parser::default(), line_len);
        while at < end {
            let rest = &self.scan.rest()[at..end];
            // The bases of commands of our first builds began so.
            if self.is_base
                && rest.starts_with(b"#TS:")
                && let Some(Ok(len)) = annotation_len(rest)
            {
                at += len;
                continue;
            }
            let Some(len) = command_len(&mut parser, rest) else {
                return Err(self.bad_format(at, "a sound block that holds no commands"));
            };
            let argv = parser.argv(rest);
            if argv.is_empty() {
                return Err(self.bad_format(at, "a command without a name"));
            }
            if !matches!(frame(&argv), Frame::Multi | Frame::Exec) {
                self.place.deliver(&mut self.feed, &self.scan, at, &argv)?;
            }
            drop(argv);
            at += len;
            self.tell_now_and_then();
        }
        let opens_file = self.scan.offset_bytes() == 0;
        let bytes = &self.scan.rest()[line_len..end];
        self.course.good(&Good { line: Some(line), db: line.db, end_db: self.place.db, bytes })?;
        self.consume(end);
        self.note(line, opens_file);
        Ok(())
    }

    /// What a block tells about the log.
    fn note(&mut self, line: &Line, opens_file: bool) {
        self.ours = true;
        self.trail.blocks += 1;
        self.trail.expected = Some(line.end());
        self.trail.unsure = false;
        self.is_foreign = line.head.is_some_and(|head| !head.precedes_blocks());
        if let Some(head) = line.head {
            self.trail.epoch = Some(head.epoch());
            // It vouches for all that precedes it.
            self.loose_bytes = 0;
        }
        if let Some(Head::Base(head)) = line.head {
            self.covers = Some(head.covers);
            // An RDB has but one, behind it.
            self.open_base = opens_file;
        }
        if !self.is_base {
            self.sure.note(line, self.scan.point());
            self.trail.durable = self.trail.durable.max(line.durable());
            self.trail.time_ms = Some(line.time_ms);
        }
    }

    /// A command that no block holds.
    fn command(&mut self, len: usize) -> Result<(), Error> {
        let argv = self.parser.argv(&self.scan.rest()[self.parsed..self.parsed + len]);
        if argv.is_empty() {
            return Err(self.bad_format(0, "a command without a name"));
        }
        match (frame(&argv), self.in_multi) {
            (Frame::Effect | Frame::Select, false) => {
                let db = Some(self.place.db);
                self.place.deliver(&mut self.feed, &self.scan, 0, &argv)?;
                drop(argv);
                self.consume_loose(db, len)?;
            }
            // What it holds is parsed once more at its EXEC: simpler than to keep it, and transactions are short.
            (Frame::Effect | Frame::Select, true) => self.parsed += len,
            (Frame::Multi, false) => {
                self.in_multi = true;
                self.parsed += len;
            }
            (Frame::Multi, true) => return Err(self.bad_format(0, "MULTI inside MULTI")),
            (Frame::Exec, false) => return Err(self.bad_format(0, "EXEC without MULTI")),
            (Frame::Exec, true) => {
                drop(argv);
                return self.transaction(len);
            }
        }
        Ok(())
    }

    /// Gives the sink everything between MULTI and EXEC, which begins at `parsed`.
    fn transaction(&mut self, exec_len: usize) -> Result<(), Error> {
        let (mut parser, exec, mut at) = (Parser::default(), self.parsed, 0);
        let db = Some(self.place.db);
        while at < exec {
            let rest = &self.scan.rest()[at..exec];
            if rest.first() == Some(&b'#') {
                at += rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
                continue;
            }
            let Ok(Some(len)) = parser.parse(rest, &LIMITS) else {
                return Err(self.bad_format(0, "a transaction that changed"));
            };
            if at > 0 {
                let argv = parser.argv(rest);
                self.place.deliver(&mut self.feed, &self.scan, at, &argv)?;
            }
            at += len;
        }
        self.in_multi = false;
        self.parsed = 0;
        self.consume_loose(db, exec + exec_len)
    }

    fn consume_loose(&mut self, db: Option<u32>, len: usize) -> Result<(), Error> {
        let bytes = &self.scan.rest()[..len];
        self.course.good(&Good { line: None, db, end_db: self.place.db, bytes })?;
        (self.is_foreign, self.loose_bytes) = (true, self.loose_bytes + len as u64);
        self.trail.unsure = true;
        self.consume(len);
        Ok(())
    }

    /// Moves past an item; inside of MULTI there is no boundary, and `#` lines belong to the transaction.
    #[inline]
    fn consume(&mut self, len: usize) {
        if self.in_multi {
            self.parsed += len;
            return;
        }
        self.scan.consume(len);
        self.advance_progress();
        self.tell_now_and_then();
    }

    fn advance_progress(&mut self) {
        self.place.progress.loaded_bytes = self.start_bytes + self.scan.offset_bytes();
    }

    fn tell_now_and_then(&mut self) {
        let commands = self.place.progress.commands - self.told.commands;
        let bytes = self.place.progress.loaded_bytes - self.told.loaded_bytes;
        if commands >= PROGRESS_COMMANDS || bytes >= PROGRESS_BYTES {
            self.tell();
        }
    }

    /// Inside one huge item nothing else would tell.
    fn tell_of_reading(&mut self) {
        let read = self.scan.rest().len() as u64;
        if read > PROGRESS_BYTES {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = self.place.progress;
        self.feed.progress(self.place.progress);
    }

    pub(super) fn bad_format(&self, at: usize, found: impl Into<String>) -> Error {
        let offset_bytes = self.scan.offset_bytes() + (self.parsed + at) as u64;
        Error::BadFormat { path: self.scan.path().to_path_buf(), offset_bytes, found: found.into() }
    }
}

/// How long the command at the start of `rest` is. No log has one without a `*`, which the parser would take.
fn command_len(parser: &mut Parser, rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"*") { parser.parse(rest, &LIMITS).ok().flatten() } else { None }
}

/// How long the `#` line at the start of `rest` is; `None` if more must be read.
fn annotation_len(rest: &[u8]) -> Option<Result<usize, &'static str>> {
    let window = &rest[..rest.len().min(MAX_ANNOTATION_BYTES)];
    match memchr::memchr(b'\n', window) {
        Some(at) => Some(Ok(at + 1)),
        None if window.len() < MAX_ANNOTATION_BYTES => None,
        None => Some(Err("an annotation without a line end")),
    }
}

/// What stands behind `#TS:`: `<digits>\r\n`.
fn timestamp(text: &[u8]) -> Option<i64> {
    resp::number::parse_i64(text.strip_suffix(b"\r\n")?)
}

/// Where replay stands among the commands.
pub(super) struct Place {
    pub(super) db: u32,
    pub(super) progress: Progress,
}

impl Place {
    /// Gives one command to the sink, or follows its SELECT. It stands at `at` in the window.
    fn deliver(&mut self, feed: &mut Feed<'_>, scan: &Scan, at: usize, argv: &Argv<'_>) -> Result<(), Error> {
        let offset_bytes = scan.offset_bytes() + at as u64;
        if let Frame::Select = frame(argv) {
            let index = argv.get(1).and_then(|text| resp::number::parse_i64(text));
            let index = index.and_then(|index| u32::try_from(index).ok()).filter(|_| argv.len() == 2);
            self.db = index.ok_or_else(|| {
                let (path, found) = (scan.path().to_path_buf(), "a SELECT without a database".to_owned());
                Error::BadFormat { path, offset_bytes, found }
            })?;
            return Ok(());
        }
        self.progress.commands += 1;
        feed.command(offset_bytes, self.db, argv)
    }
}

#[inline]
pub(super) fn frame(argv: &[&[u8]]) -> Frame {
    let is = |name: &[u8]| argv[0].eq_ignore_ascii_case(name);
    match argv[0].len() {
        4 if is(b"EXEC") => Frame::Exec,
        5 if is(b"MULTI") => Frame::Multi,
        6 if is(b"SELECT") => Frame::Select,
        _ => Frame::Effect,
    }
}
