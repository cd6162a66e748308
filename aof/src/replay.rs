//! From the files back to commands, in manifest order.
//!
//! A file is sound up to its last boundary: the end of a command outside MULTI, of a transaction, or of a `#` line. What
//! follows the last boundary of the last file is a *torn tail* if it merely stops (in a command, a transaction or a `#`
//! line) or turns to zeros until the end: that is what a crash leaves behind. `aof-load-truncated yes` copies it
//! aside and cuts it; anything else wrong is corruption, and nothing is cut for it.
//!
//! A file from which another took over counts up to where that one says (see `continuation`), and must be sound up to
//! there: whatever stands behind it is not even read, and is cut once all else was replayed.
//!
//! Nothing of a transaction reaches the sink before its EXEC was read.
//!
//! Source: redis 7.2 `src/aof.c` `loadAppendOnlyFiles`, `loadSingleAppendOnlyFile`; but CR LF after a value is looked
//! at, a transaction is executed whole, and a file is not cut before all that may refuse it has been asked.

use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use bytes::{Buf, BytesMut};
use resp::request::Argv;
use resp::{Limits, Parser};
use thiserror::Error;

use crate::continuation::Part;
use crate::dir::Directory;
use crate::error::{Error, io_error};
use crate::fs::{Counted, Reader, retry, write_all};
use crate::manifest::Entry;
use crate::options::Options;

/// The longest `#` line that Redis skips as one, LF included, in bytes.
pub const MAX_ANNOTATION_BYTES: usize = 1023;
/// Progress is reported at least this often, in commands and in bytes.
pub const PROGRESS_COMMANDS: u64 = 1024;
/// See [`PROGRESS_COMMANDS`].
pub const PROGRESS_BYTES: u64 = 2 * 1024 * 1024;

const READ_BYTES: usize = 1024 * 1024;
/// A length line is damaged by zeros that begin this soon after its start.
const LENGTH_LINE_BYTES: u64 = 32;
/// A log may hold any value that any `proto-max-bulk-len` let in; this bound only keeps sums in range.
const LIMITS: Limits = Limits { max_bulk_bytes: 1 << 40, authenticated: true, check_crlf: true };

/// Where replay goes to: the one who knows what commands mean.
pub trait Sink {
    /// Executes a command of database `db`. SELECT, MULTI and EXEC never come here.
    ///
    /// # Errors
    /// Those that must stop the start; an error *reply* is not one.
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError>;

    /// Loads an RDB base or preamble: `rdb` stands at its magic, and must be left behind its last byte, for commands may
    /// follow.
    ///
    /// # Errors
    /// Any failure; the default refuses.
    fn base_rdb(&mut self, path: &Path, rdb: &mut dyn BufRead) -> Result<(), SinkError> {
        let _ = rdb;
        Err(SinkError::new(format!("{}: RDB bases are not supported yet", path.display())))
    }

    /// Told at least every [`PROGRESS_COMMANDS`] commands and [`PROGRESS_BYTES`], so that clients can be answered.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
}

/// Why a sink stops the start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SinkError(pub String);

impl SinkError {
    /// From anything that can be printed.
    pub fn new(reason: impl ToString) -> Self {
        SinkError(reason.to_string())
    }
}

/// How far replay has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Commands given to the sink.
    pub commands: u64,
    /// Bytes read through, of all files.
    pub loaded_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// What replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files replayed.
    pub files: u32,
    /// Commands given to the sink.
    pub commands: u64,
    /// Bytes of all files, without what was cut.
    pub bytes: u64,
    /// Bytes of the base.
    pub base_bytes: u64,
    /// The torn tail that was cut.
    pub truncated: Option<Truncation>,
    /// What a take-over that was cut short left in retired files.
    pub repeated: Vec<Repeated>,
}

/// A torn tail: cut from its file, kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// The file that was cut.
    pub path: PathBuf,
    /// Its length now: the last sound boundary.
    pub offset_bytes: u64,
    /// What was cut.
    pub cut_bytes: u64,
    /// Where the cut bytes are now.
    pub side_file: PathBuf,
    /// What was torn.
    pub reason: &'static str,
}

/// Bytes of a retired file that stand again in the one that took over from it, and so were not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The retired file.
    pub path: PathBuf,
    /// Where its content ends, and its length now if it was cut.
    pub offset_bytes: u64,
    /// Bytes behind that.
    pub repeated_bytes: u64,
    /// Where the cut bytes are now; none if they could not be copied and cut. They do no harm here, and the next start
    /// tries again, but another server would execute them twice.
    pub side_file: Option<PathBuf>,
}

impl Directory {
    /// Replays all files into `sink`.
    ///
    /// # Errors
    /// Before anything is replayed: [`Error::Unavailable`] for a listed file that is not there, [`Error::Shortened`],
    /// [`Error::WrongPredecessor`]. Later [`Error::UnexpectedEnd`], [`Error::BadFormat`], [`Error::Refused`],
    /// [`Error::BaseRefused`], [`Error::Io`].
    pub fn replay(&self, sink: &mut impl Sink, options: &Options) -> Result<Report, Error> {
        let parts = self.parts()?;
        let total_bytes = parts.iter().map(Part::counted_bytes).sum();
        let base = parts.first().filter(|_| self.manifest().base.is_some());
        let base_bytes = base.map_or(0, |base| base.len_bytes);
        let mut report = Report { base_bytes, bytes: total_bytes, ..Report::default() };
        let mut progress = Progress { total_bytes, ..Progress::default() };
        for (n, part) in parts.iter().enumerate() {
            let mut file = Replay::open(self, part, sink, progress)?;
            let torn = file.run()?;
            progress = file.progress;
            report.files += 1;
            let Some(torn) = torn else { continue };
            let is_last = self.may_be_torn(part, &parts[n + 1..]);
            report.truncated = Some(self.tear(&part.entry, torn, is_last, options)?);
        }
        // Last, for until now the files that hold these bytes again might have been refused.
        let repeating = parts.iter().filter(|part| part.repeated_bytes() > 0);
        report.repeated = repeating.map(|part| self.cut_repeated(part)).collect();
        report.bytes -= report.truncated.as_ref().map_or(0, |truncation| truncation.cut_bytes);
        report.commands = progress.commands;
        Ok(report)
    }

    /// Only the file that was appended to last. A crash during a rotation leaves it torn beside a new one without a byte,
    /// which Redis refuses. A base is appended to only as the adopted log of an older server, before any incr; and where
    /// the content of a file has a stated end, it is whole up to there.
    fn may_be_torn(&self, part: &Part, rest: &[Part]) -> bool {
        let is_base = self.manifest().base.as_ref() == Some(&part.entry);
        let rest_is_empty = rest.iter().all(|part| part.len_bytes == 0);
        part.end_bytes.is_none() && (rest.is_empty() || !is_base && rest_is_empty)
    }

    /// Finishes what a take-over could not: a server that knows nothing of it would execute these bytes twice.
    fn cut_repeated(&self, part: &Part) -> Repeated {
        let (path, offset_bytes) = (self.path(&part.entry.name), part.counted_bytes());
        let cut = self.copy_aside(&part.entry, offset_bytes).and_then(|side_file| {
            retry(|| self.fs().truncate(&path, offset_bytes)).map_err(io_error("truncate", &path))?;
            Ok(side_file)
        });
        Repeated { path, offset_bytes, repeated_bytes: part.repeated_bytes(), side_file: cut.ok() }
    }

    /// Cuts a torn tail, if it may be cut.
    fn tear(&self, entry: &Entry, torn: Torn, is_last: bool, options: &Options) -> Result<Truncation, Error> {
        let path = self.path(&entry.name);
        let Torn { valid_len_bytes, reason } = torn;
        if !is_last {
            let reason = "the truncated file is not the last file";
            return Err(Error::UnexpectedEnd { path, valid_len_bytes, reason });
        }
        if !options.load_truncated {
            return Err(Error::UnexpectedEnd { path, valid_len_bytes, reason });
        }
        let cut_bytes = self.len_bytes(entry)?.saturating_sub(valid_len_bytes);
        let side_file = self.copy_aside(entry, valid_len_bytes)?;
        retry(|| self.fs().truncate(&path, valid_len_bytes)).map_err(io_error("truncate", &path))?;
        Ok(Truncation { path, offset_bytes: valid_len_bytes, cut_bytes, side_file, reason })
    }

    /// Copies what follows `from` into a file of its own, durably: no byte goes without a copy.
    fn copy_aside(&self, entry: &Entry, from: u64) -> Result<PathBuf, Error> {
        let (source, fs) = (self.path(&entry.name), self.fs());
        let mut names = (0u32..).map(|n| match n {
            0 => self.path(&format!("{}.torn-{from}", entry.name)),
            n => self.path(&format!("{}.torn-{from}-{n}", entry.name)),
        });
        let side = names.find(|path| fs.len_bytes(path).is_err()).unwrap_or_else(|| self.path("torn"));
        let mut reader = Reader(fs.open_read(&source).map_err(io_error("open", &source))?);
        let skip = std::io::copy(&mut reader.by_ref().take(from), &mut std::io::sink());
        skip.map_err(io_error("read", &source))?;
        let copy = fs.create(&side).map_err(io_error("create", &side))?;
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let count = reader.read(&mut chunk).map_err(io_error("read", &source))?;
            if count == 0 {
                break;
            }
            let mut bufs = [std::io::IoSlice::new(&chunk[..count])];
            write_all(&*copy, &mut bufs).map_err(io_error("write", &side))?;
        }
        retry(|| copy.sync_data()).map_err(io_error("fdatasync", &side))?;
        let dir = side.parent().unwrap_or(Path::new("."));
        retry(|| fs.sync_dir(dir)).map_err(io_error("fsync", dir))?;
        Ok(side)
    }
}

/// The file stops being a log after this boundary, in a way that a crash explains.
struct Torn {
    valid_len_bytes: u64,
    reason: &'static str,
}

/// One file on its way into the sink.
struct Replay<'a, S> {
    path: PathBuf,
    source: Counted<BufReader<Take<Reader>>>,
    sink: &'a mut S,
    buf: BytesMut,
    /// Where in `buf` the last boundary is; an open transaction begins there.
    boundary: usize,
    /// Where in the file that is.
    offset_bytes: u64,
    /// Where in `buf` the next item begins: beyond `boundary` only in an open transaction.
    parsed: usize,
    in_multi: bool,
    at_end: bool,
    db: u32,
    parser: Parser,
    progress: Progress,
    told: Progress,
    /// Loaded bytes when this file began.
    start_bytes: u64,
}

/// What the next bytes are.
enum Next {
    More,
    End,
    Item(usize, Item),
}

enum Item {
    Annotation,
    Command,
}

/// The commands that are framing, not effects.
enum Frame {
    Multi,
    Exec,
    Select,
    Effect,
}

impl<'a, S: Sink> Replay<'a, S> {
    fn open(directory: &Directory, part: &Part, sink: &'a mut S, progress: Progress) -> Result<Self, Error> {
        let path = directory.path(&part.entry.name);
        let file = directory.fs().open_read(&path);
        let file = file.map_err(|source| Error::Unavailable {
            name: part.entry.name.clone(),
            path: path.clone(),
            source,
        })?;
        let inner =
            BufReader::with_capacity(READ_BYTES, Reader(file).take(part.end_bytes.unwrap_or(u64::MAX)));
        Ok(Replay {
            path,
            source: Counted { inner, consumed_bytes: 0 },
            sink,
            buf: BytesMut::new(),
            boundary: 0,
            offset_bytes: 0,
            parsed: 0,
            in_multi: false,
            at_end: false,
            db: 0,
            parser: Parser::default(),
            progress,
            told: progress,
            start_bytes: progress.loaded_bytes,
        })
    }

    fn run(&mut self) -> Result<Option<Torn>, Error> {
        self.rdb()?;
        let torn = self.commands()?;
        self.advance_progress();
        self.tell();
        Ok(torn)
    }

    /// An RDB base, or the RDB preamble of a mixed file, is known by its magic.
    fn rdb(&mut self) -> Result<(), Error> {
        let head = self.source.fill_buf().map_err(io_error("read", &self.path))?;
        if !(head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")) {
            return Ok(());
        }
        let refused = |source| Error::BaseRefused { path: self.path.clone(), source };
        self.sink.base_rdb(&self.path, &mut self.source).map_err(refused)?;
        self.offset_bytes = self.source.consumed_bytes;
        Ok(())
    }

    fn commands(&mut self) -> Result<Option<Torn>, Error> {
        loop {
            match self.next() {
                Ok(Next::More) if self.at_end => return Ok(Some(self.torn("it ends inside a command"))),
                Ok(Next::More) => self.read()?,
                Ok(Next::End) if !self.at_end => self.read()?,
                Ok(Next::End) if self.in_multi => return Ok(Some(self.torn("it ends inside a transaction"))),
                Ok(Next::End) => return Ok(None),
                Ok(Next::Item(len, Item::Annotation)) => self.consume(len),
                Ok(Next::Item(len, Item::Command)) => self.command(len)?,
                Err((at, found)) => return self.damage(at, found).map(Some),
            }
        }
    }

    /// Looks at the next bytes. The error is relative to `parsed`.
    fn next(&mut self) -> Result<Next, (usize, String)> {
        let rest = &self.buf[self.parsed..];
        match rest.first() {
            None => Ok(Next::End),
            Some(b'*') => {
                let parsed = self.parser.parse(rest, &LIMITS);
                let len = parsed.map_err(|error| (error.offset_bytes, error.to_string()))?;
                Ok(len.map_or(Next::More, |len| Next::Item(len, Item::Command)))
            }
            Some(b'#') => {
                let window = &rest[..rest.len().min(MAX_ANNOTATION_BYTES)];
                match window.iter().position(|&byte| byte == b'\n') {
                    Some(at) => Ok(Next::Item(at + 1, Item::Annotation)),
                    None if window.len() < MAX_ANNOTATION_BYTES => Ok(Next::More),
                    None => Err((0, "an annotation without a line end".to_owned())),
                }
            }
            Some(byte) => Err((0, format!("expected '*' or '#', got 0x{byte:02x}"))),
        }
    }

    fn command(&mut self, len: usize) -> Result<(), Error> {
        let argv = self.parser.argv(&self.buf[self.parsed..self.parsed + len]);
        if argv.is_empty() {
            return Err(self.bad_format(0, "a command without a name".to_owned()));
        }
        match (frame(&argv), self.in_multi) {
            (Frame::Effect | Frame::Select, false) => {
                let Replay { path, sink, offset_bytes, db, progress, .. } = self;
                deliver(&mut **sink, path, *offset_bytes, db, progress, &argv)?;
                drop(argv);
                self.consume(len);
                return Ok(());
            }
            // What it holds is parsed once more at its EXEC: simpler than to keep it, and transactions are short.
            (Frame::Effect | Frame::Select, true) => self.parsed += len,
            (Frame::Multi, false) => {
                self.in_multi = true;
                self.parsed += len;
            }
            (Frame::Multi, true) => return Err(self.bad_format(0, "MULTI inside MULTI".to_owned())),
            (Frame::Exec, false) => return Err(self.bad_format(0, "EXEC without MULTI".to_owned())),
            (Frame::Exec, true) => {
                drop(argv);
                return self.transaction(len);
            }
        }
        Ok(())
    }

    /// Gives the sink everything between MULTI and EXEC, which begins at `parsed`.
    fn transaction(&mut self, exec_len: usize) -> Result<(), Error> {
        let (mut parser, multi, exec) = (Parser::default(), self.boundary, self.parsed);
        let mut at = multi;
        while at < exec {
            let rest = &self.buf[at..exec];
            if rest[0] == b'#' {
                at += rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
                continue;
            }
            let parsed = parser.parse(rest, &LIMITS);
            let Ok(Some(len)) = parsed else {
                return Err(self.bad_format(0, "a transaction that changed".to_owned()));
            };
            let argv = parser.argv(rest);
            let offset_bytes = self.offset_bytes + (at - multi) as u64;
            let Replay { path, sink, db, progress, .. } = self;
            if at > multi {
                deliver(&mut **sink, path, offset_bytes, db, progress, &argv)?;
            }
            at += len;
        }
        self.in_multi = false;
        self.consume(exec_len);
        Ok(())
    }

    /// Moves past an item; outside of MULTI its end is a boundary.
    #[inline]
    fn consume(&mut self, len: usize) {
        self.parsed += len;
        if !self.in_multi {
            self.offset_bytes += (self.parsed - self.boundary) as u64;
            self.boundary = self.parsed;
        }
        self.advance_progress();
        let since = self.progress.commands - self.told.commands;
        if since >= PROGRESS_COMMANDS || self.progress.loaded_bytes - self.told.loaded_bytes >= PROGRESS_BYTES
        {
            self.tell();
        }
    }

    /// The offset in the file of what is next.
    fn parsed_offset(&self) -> u64 {
        self.offset_bytes + (self.parsed - self.boundary) as u64
    }

    fn advance_progress(&mut self) {
        self.progress.loaded_bytes = self.start_bytes + self.parsed_offset();
    }

    fn tell(&mut self) {
        self.told = self.progress;
        self.sink.progress(self.progress);
    }

    fn read(&mut self) -> Result<(), Error> {
        self.buf.advance(self.boundary);
        self.parsed -= self.boundary;
        self.boundary = 0;
        let chunk = self.source.fill_buf().map_err(io_error("read", &self.path))?;
        self.at_end = chunk.is_empty();
        self.buf.extend_from_slice(chunk);
        let count = chunk.len();
        self.source.consume(count);
        if self.progress.loaded_bytes + PROGRESS_BYTES < self.start_bytes + self.source.consumed_bytes {
            // Inside one huge command nothing else would tell.
            self.tell();
        }
        Ok(())
    }

    fn torn(&self, reason: &'static str) -> Torn {
        Torn { valid_len_bytes: self.offset_bytes, reason }
    }

    /// Wrong bytes are a torn tail only where zeros run from them to the end of the file: the size reached the disk
    /// before the data did.
    fn damage(&mut self, at: usize, found: String) -> Result<Torn, Error> {
        let wrong_at = self.parsed_offset() + at as u64;
        let rest = &self.buf[self.boundary..];
        let mut zeros_from = self.offset_bytes + trailing_zeros_start(rest) as u64;
        let mut end = self.offset_bytes + rest.len() as u64;
        loop {
            let chunk = self.source.fill_buf().map_err(io_error("read", &self.path))?;
            let (count, start) = (chunk.len(), trailing_zeros_start(chunk));
            if count == 0 {
                break;
            }
            if start > 0 {
                zeros_from = end + start as u64;
            }
            end += count as u64;
            self.source.consume(count);
        }
        if zeros_from < end && zeros_from <= wrong_at + LENGTH_LINE_BYTES {
            return Ok(self.torn("it ends in zeros"));
        }
        Err(self.bad_format(at, found))
    }

    fn bad_format(&self, at: usize, found: String) -> Error {
        let offset_bytes = self.parsed_offset() + at as u64;
        Error::BadFormat { path: self.path.clone(), offset_bytes, found }
    }
}

/// Gives one command to the sink, or follows its SELECT.
fn deliver(
    sink: &mut impl Sink,
    path: &Path,
    offset_bytes: u64,
    db: &mut u32,
    progress: &mut Progress,
    argv: &Argv<'_>,
) -> Result<(), Error> {
    if let Frame::Select = frame(argv) {
        let index = argv.get(1).and_then(|text| resp::number::parse_i64(text));
        let index = index.and_then(|index| u32::try_from(index).ok()).filter(|_| argv.len() == 2);
        let found = "a SELECT without a database".to_owned();
        *db = index.ok_or_else(|| Error::BadFormat { path: path.to_path_buf(), offset_bytes, found })?;
        return Ok(());
    }
    progress.commands += 1;
    let refused = |source| Error::Refused { path: path.to_path_buf(), offset_bytes, source };
    sink.command(*db, argv).map_err(refused)
}

#[inline]
fn frame(argv: &[&[u8]]) -> Frame {
    let is = |name: &[u8]| argv[0].eq_ignore_ascii_case(name);
    match argv[0].len() {
        4 if is(b"EXEC") => Frame::Exec,
        5 if is(b"MULTI") => Frame::Multi,
        6 if is(b"SELECT") => Frame::Select,
        _ => Frame::Effect,
    }
}

/// Where the zeros at the end begin.
fn trailing_zeros_start(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}
