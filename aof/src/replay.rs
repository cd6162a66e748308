//! From the files back to commands, in manifest order.
//!
//! A file is sound up to its last boundary: the end of a block, of a command outside MULTI, of a transaction, or of a `#`
//! line. Where a block stands (see [`block`](crate::block)), nothing of it is executed before all of it was checked;
//! where none does, nothing of a transaction before its EXEC was read, and what other servers wrote counts as
//! *unverified* until a head vouches for it. One that stands behind it is asked before any of it is executed.
//!
//! What follows the last boundary is judged by [`recover`](crate::recover). A *torn tail* is copied aside and cut
//! (`aof-load-truncated yes`); *corruption* is refused, or copied aside and stepped over (`aof-load-corrupt quarantine`);
//! wrong bytes among commands that no block holds are refused in Redis's words. Damage that begins so near to the end of
//! the last file as `aof-load-corrupt-tail-max-size` says is cut, too, with all behind it.
//!
//! A file from which another took over counts up to where that one says (see `set`): whatever stands behind it is
//! not even read, and is cut once all else was replayed.
//!
//! Source: redis 7.2 `src/aof.c` `loadAppendOnlyFiles`, `loadSingleAppendOnlyFile`; but CR LF after a value is looked
//! at, a transaction is executed whole, and a file is not cut before all that may refuse it has been asked.
//!
//! Reading finds, and a `Course` says what becomes of it: [`Directory::replay`] cuts, sets aside or refuses, and
//! [`check`](crate::check) only writes it down.

mod ahead;
mod course;
mod file;
mod keys;
mod rdb;
mod settle;
mod sure;
mod survey;

use std::io::BufRead;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::course::Load;
pub(crate) use self::course::{Course, Find, Good, Kind};
pub(crate) use self::file::LIMITS;
use self::file::Replay;
pub(crate) use self::rdb::{Rdb, is_rdb};
pub(crate) use self::settle::command_lines;
use self::sure::FileEnd;
pub(crate) use self::sure::Unsure;
use crate::Position;
use crate::block::Epoch;
use crate::dir::{Directory, Recovered};
use crate::error::Error;
use crate::manifest::FileSeq;
use crate::options::Options;
use crate::set::Part;
use crate::stats::Failure;

/// The longest `#` line that Redis skips as one, LF included, in bytes.
pub const MAX_ANNOTATION_BYTES: usize = 1023;
/// Progress is reported at least this often, in commands and in bytes.
pub const PROGRESS_COMMANDS: u64 = 1024;
/// See [`PROGRESS_COMMANDS`].
pub const PROGRESS_BYTES: u64 = 2 * 1024 * 1024;

/// Where replay goes to: the one who knows what commands mean.
pub trait Sink {
    /// Executes a command of database `db`. SELECT, MULTI and EXEC never come here.
    ///
    /// # Errors
    /// Those that must stop the start; an error *reply* is not one.
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError>;

    /// What it wants to know of the first argument of each of the [`commands`](Self::commands): the thread that reads ahead
    /// computes it. The default is nothing.
    fn hasher(&self) -> Hasher {
        Box::new(|_| 0)
    }

    /// Executes commands that follow each other. Who gains something by looking at all of them first overrides this.
    ///
    /// # Errors
    /// The first that stops the start: its index, and why.
    fn commands(&mut self, requests: &[Request<'_>]) -> Result<(), (usize, SinkError)> {
        let mut requests = requests.iter().enumerate();
        requests
            .try_for_each(|(at, request)| self.command(request.db, request.argv).map_err(|error| (at, error)))
    }

    /// Loads an RDB base or preamble: `rdb` stands at its magic, and must be left behind its last byte, for commands may
    /// follow. What it holds in front of damage may be loaded: whether the start goes on with that is not decided here.
    ///
    /// # Errors
    /// [`SinkError::damaged_rdb`] for one that is not as it was written; any other failure stops the start. The default
    /// refuses.
    fn base_rdb(&mut self, path: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let _ = rdb;
        Err(SinkError::new(format!("{}: RDB bases are not supported yet", path.display())))
    }

    /// What makes an RDB of the first [`RdbDamage::sound_bytes`] of a damaged one: its end, with a checksum of its own. A
    /// repair asks for it.
    ///
    /// # Errors
    /// When reading fails; the default refuses.
    fn rdb_end(&mut self, rdb: &mut dyn BufRead) -> Result<Vec<u8>, SinkError> {
        let _ = rdb;
        Err(SinkError::new("RDB bases are not supported yet"))
    }

    /// The keys that a command names, for a report about damage.
    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        let _ = argv;
        Vec::new()
    }

    /// Told at least every [`PROGRESS_COMMANDS`] commands and [`PROGRESS_BYTES`], and again while reading takes long, so that
    /// clients can be answered.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
}

/// A command of a log.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its database.
    pub db: u32,
    /// Its words.
    pub argv: &'a [&'a [u8]],
    /// What [`Sink::hasher`] says of its first argument, or of nothing where there is none.
    pub hash: u64,
}

/// See [`Sink::hasher`].
pub type Hasher = Box<dyn Fn(&[u8]) -> u64 + Send>;

/// Why a sink stops the start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct SinkError {
    reason: String,
    rdb: Option<RdbDamage>,
}

impl SinkError {
    /// From anything that can be printed.
    pub fn new(reason: impl ToString) -> Self {
        SinkError { reason: reason.to_string(), rdb: None }
    }

    /// An RDB is not as it was written: a finding like any other damage.
    pub fn damaged_rdb(reason: impl ToString, damage: RdbDamage) -> Self {
        SinkError { reason: reason.to_string(), rdb: Some(damage) }
    }
}

/// What a sink knows of an RDB that is not as it was written. One checksum covers all of it: what is wrong may stand
/// anywhere in front of where it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RdbDamage {
    /// Where it shows.
    pub at_bytes: u64,
    /// Where the RDB ends, if it could be read so far: commands may follow.
    pub end_bytes: Option<u64>,
    /// What can be read of it ends here, between two keys; 0 if that is nothing.
    pub sound_bytes: u64,
    /// The key of what cannot be read, if that is known.
    pub keys: Vec<Vec<u8>>,
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
    /// Damage that the start went on in spite of.
    pub quarantined: Vec<Quarantine>,
    /// Blocks whose checksums were right.
    pub blocks_verified: u64,
    /// Bytes that no checksum vouches for: written by other servers, or with `aof-checksum no`.
    pub unverified_bytes: u64,
}

/// Damaged bytes: copied beside their file, and still in it; or missing ones. A start goes on in spite of them where
/// `aof-load-corrupt` says so, and where they were [lost](crate::Stats::lost_below) before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// What is damaged.
    pub damage: Damage,
    /// Where the copy is; none of what is missing.
    pub side_file: Option<PathBuf>,
    /// What was executed all the same.
    pub executed: Executed,
}

/// How much of [damaged bytes](Quarantine) was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// They were stepped over.
    Nothing,
    /// What of an RDB can be read.
    Readable,
    /// All of them: they are commands, and not those that were recorded.
    All,
}

/// Bytes that were safe once and cannot be executed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where the damaged block begins.
    pub offset_bytes: u64,
    /// The position of that, where the log has positions.
    pub position: Option<Position>,
    /// How far it goes: to the next block that can be read, or to the end.
    pub len_bytes: u64,
    /// What is wrong.
    pub found: String,
    /// Keys of the commands in it, as far as they can still be read, each once.
    pub keys: Vec<Vec<u8>>,
    /// It names more keys than those, which are a MiB.
    pub are_more_keys: bool,
}

/// A line names so many keys.
const NAMED_KEYS: usize = 16;

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damage { path, offset_bytes, len_bytes, found, keys, are_more_keys, .. } = self;
        let path = path.display();
        match len_bytes {
            0 => write!(f, "{path} is damaged at offset {offset_bytes}: {found}")?,
            _ => write!(f, "{path}: {len_bytes} bytes at offset {offset_bytes} are damaged: {found}")?,
        }
        for (n, key) in keys.iter().take(NAMED_KEYS).enumerate() {
            let before = if n == 0 { "; keys that they name: " } else { ", " };
            write!(f, "{before}{}", key.escape_ascii())?;
        }
        match (keys.len().saturating_sub(NAMED_KEYS), are_more_keys) {
            (0, false) => Ok(()),
            (0, true) => write!(f, " and more"),
            (more, false) => write!(f, " and {more} more"),
            (more, true) => write!(f, " and more than {more} more"),
        }
    }
}

/// A torn tail, or a damaged one that was short enough: cut from its file, kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// The file that was cut.
    pub path: PathBuf,
    /// Its length now: the last sound boundary.
    pub offset_bytes: u64,
    /// What was cut.
    pub cut_bytes: u64,
    /// Where the cut bytes are now; or why there was no room for a copy of them. They are still there then: the log goes
    /// on in another file, as soon as it can make one, and cuts them when they are copied.
    pub side_file: Result<PathBuf, Failure>,
    /// What was torn.
    pub reason: &'static str,
    /// It was damaged, and cut because `aof-load-corrupt-tail-max-size` says so.
    pub is_corrupt: bool,
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
    /// Replays all files into `sink`, and remembers where they end for [`Log::start`](crate::Log::start).
    ///
    /// # Errors
    /// Before anything is replayed: [`Error::Unavailable`] for a listed file that is not there, [`Error::Corrupt`] for one
    /// that has lost bytes, [`Error::WrongPredecessor`], [`Error::Contradiction`]. Later [`Error::UnexpectedEnd`],
    /// [`Error::BadFormat`], [`Error::Corrupt`], [`Error::Refused`], [`Error::BaseRefused`], [`Error::Io`].
    pub fn replay(&mut self, sink: &mut impl Sink, options: &Options) -> Result<Report, Error> {
        let mut load = Load::new(options);
        let (parts, epoch) = self.parts(&mut load)?;
        let reading = self.read(&parts, epoch, sink, &mut load)?;
        // Last, for until now the files that hold these bytes again might have been refused.
        let repeating = parts.iter().filter(|part| part.repeated_bytes() > 0);
        let repeated = repeating.map(|part| self.cut_repeated(part)).collect();
        let cut_bytes = load.truncated.as_ref().map_or(0, |truncation| truncation.cut_bytes);
        let is_torn = |part: &&Part| {
            let path = self.path(&part.entry.name);
            load.truncated.as_ref().is_some_and(|cut| cut.path == path)
        };
        let torn = parts.iter().find(is_torn).map(|part| part.entry.seq);
        let uncut = load.truncated.as_ref().and_then(|cut| cut.side_file.clone().err());
        let uncut = uncut.map(|failure| (torn.unwrap_or(0), failure));
        let base = parts.first().filter(|part| part.is_base);
        let report = Report {
            files: parts.len() as u32,
            commands: reading.commands,
            bytes: parts.iter().map(Part::counted_bytes).sum::<u64>() - cut_bytes,
            base_bytes: base.map_or(0, |base| base.len_bytes),
            truncated: load.truncated,
            repeated,
            quarantined: load.quarantined,
            blocks_verified: reading.trail.blocks,
            unverified_bytes: reading.trail.unverified_bytes,
        };
        let (epoch, end) = (reading.trail.epoch, reading.trail.expected.unwrap_or(0));
        let incrs = parts.iter().zip(&reading.ends).filter(|(part, _)| !part.is_base);
        let incrs: Vec<(FileSeq, FileEnd)> = incrs.map(|(part, end)| (part.entry.seq, *end)).collect();
        let unsure = sure::unsure(&incrs, reading.trail.durable);
        let incrs = incrs.into_iter().map(|(seq, end)| (seq, end.point)).collect();
        self.set_recovered(Recovered { epoch, end, incrs, unsure, uncut });
        Ok(report)
    }

    /// Reads `parts` into `sink`. What is found goes to `course`; nothing is changed here.
    pub(crate) fn read(
        &self,
        parts: &[Part],
        epoch: Option<Epoch>,
        sink: &mut impl Sink,
        course: &mut (impl Course + Send),
    ) -> Result<Reading, Error> {
        let total_bytes = parts.iter().map(Part::counted_bytes).sum();
        let mut progress = Progress { total_bytes, ..Progress::default() };
        sink.progress(progress);
        let mut trail = Trail { epoch, ..Trail::default() };
        let mut ends = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let is_last = self.may_be_torn(part, &parts[n + 1..]);
            let context = Context { directory: self, part, is_last };
            course.begin(part)?;
            let scan = rdb::open_behind(&context, &mut *sink, &mut trail, &mut *course)?;
            let (path, left_bytes) = (self.path(&part.entry.name), scan.left_bytes());
            // An RDB before it was read already.
            let loaded_bytes = progress.loaded_bytes + scan.offset_bytes();
            let told = Progress { loaded_bytes, ..progress };
            let (trail, course) = (&mut trail, &mut *course);
            let end = ahead::feed(&mut *sink, &path, left_bytes, told, |feed| {
                let mut file = Replay::new(scan, feed, &mut *course, &mut *trail, part, progress);
                let end = file.run(&context)?;
                progress = file.place.progress;
                Ok(end)
            })?;
            ends.push(end);
            course.end(trail)?;
        }
        Ok(Reading { trail, ends, commands: progress.commands })
    }

    /// Only the file that was appended to last. A crash during a rotation leaves it torn beside a new one without a byte,
    /// which Redis refuses. A base is appended to only as the adopted log of an older server, before any incr; and where
    /// the content of a file has a stated end, it is whole up to there.
    fn may_be_torn(&self, part: &Part, rest: &[Part]) -> bool {
        let rest_is_empty = rest.iter().all(|part| part.len_bytes == 0);
        part.end.is_none() && (rest.is_empty() || !part.is_base && rest_is_empty)
    }
}

/// What a reading came to.
pub(crate) struct Reading {
    pub(crate) trail: Trail,
    /// Where each file ends.
    pub(crate) ends: Vec<FileEnd>,
    /// Given to the sink.
    pub(crate) commands: u64,
}

/// What the files have told so far.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) epoch: Option<Epoch>,
    /// Where the next block must begin; unknown before the first.
    pub(crate) expected: Option<Position>,
    /// It may begin later: there were commands without positions, or damage.
    unsure: bool,
    /// The highest position that a line calls durable.
    durable: Position,
    /// When the last block was written.
    time_ms: Option<i64>,
    pub(crate) blocks: u64,
    pub(crate) unverified_bytes: u64,
    /// What the base that was just read says that it covers.
    pub(crate) covers: Option<Position>,
    /// The RDB that the file that was just read begins with, if it does.
    pub(crate) rdb: Option<Rdb>,
}

/// What a file is replayed by.
struct Context<'a> {
    directory: &'a Directory,
    part: &'a Part,
    /// It may be torn.
    is_last: bool,
}
