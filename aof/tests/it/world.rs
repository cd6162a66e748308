//! What the tests share: a world in memory, a sink that remembers, and patience with threads.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aof::fs::Mem;
use aof::{Directory, Error, Fs, Fsync, Log, Op, Options, Report, Sink, SinkError, Steps};
use bytes::BytesMut;

/// Where a rewrite writes its base.
pub(crate) const TEMP: &str = "/data/appendonlydir/temp-rewriteaof-bg-1.aof";

pub(crate) fn options(fsync: Fsync) -> Options {
    Options { fsync, ..Options::new("/data") }
}

/// Without lines: the file holds what a stock server would write, and positions are offsets.
pub(crate) fn plain(fsync: Fsync) -> Options {
    Options { checksum: false, ..options(fsync) }
}

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new("/data/appendonlydir").join(name)
}

pub(crate) fn request(words: &[&str]) -> BytesMut {
    let mut out = BytesMut::new();
    let argv: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    resp::request::encode(&argv, &mut out);
    out
}

/// Remembers each command as `db:word word ...`.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) commands: Vec<String>,
    pub(crate) tellings: Vec<aof::Progress>,
}

impl Sink for Recorder {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        let words: Vec<_> = argv.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
        if words[0] == "UNKNOWN" {
            return Err(SinkError::new("unknown command"));
        }
        self.commands.push(format!("{db}:{}", words.join(" ")));
        Ok(())
    }

    fn base_rdb(&mut self, _: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let mut lines = rdb.lines().map(|line| line.map_err(SinkError::new));
        let mut next = || lines.next().unwrap_or_else(|| Err(SinkError::new("an RDB file that is torn")));
        let head = next()?;
        let count = head.strip_prefix(RDB_MAGIC).and_then(|count| count.parse().ok());
        for _ in 0..count.ok_or_else(|| SinkError::new(format!("an RDB file that begins {head:?}")))? {
            self.commands.push(next()?);
        }
        Ok(())
    }

    fn progress(&mut self, progress: aof::Progress) {
        self.tellings.push(progress);
    }
}

const RDB_MAGIC: &str = "REDIS0010 ";

/// What stands for an RDB file: how many commands there are, and these as [`Recorder`] remembers them, which reads it.
pub(crate) fn rdb<'a>(commands: impl IntoIterator<Item = &'a String>) -> Vec<u8> {
    let commands: Vec<&String> = commands.into_iter().collect();
    let lines: String = commands.iter().map(|command| format!("{command}\n")).collect();
    format!("{RDB_MAGIC}{}\n{lines}", commands.len()).into_bytes()
}

/// How many times as much is to be tried by chance.
pub(crate) fn soak() -> u64 {
    number("EVERLOG_SOAK").unwrap_or(1)
}

/// A variable that holds a number.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

pub(crate) fn load(mem: &Mem, options: &Options) -> Result<(Vec<String>, Report), Error> {
    let mut directory = Directory::open(Arc::new(mem.clone()), options)?;
    let mut recorder = Recorder::default();
    let report = directory.replay(&mut recorder, options)?;
    Ok((recorder.commands, report))
}

pub(crate) fn start(fs: impl Fs, options: &Options) -> Log {
    let mut directory = Directory::open(Arc::new(fs), options).unwrap();
    directory.replay(&mut Recorder::default(), options).unwrap();
    Log::start(directory, options, Box::new(|| {})).unwrap()
}

/// A log without threads in which a block is written, its head too.
pub(crate) fn stepped(mem: Mem, options: &Options) -> (Log, Steps) {
    let mut directory = Directory::open(Arc::new(mem), options).unwrap();
    directory.replay(&mut Recorder::default(), options).unwrap();
    let (mut log, steps) = Steps::start(directory, options, Box::new(|| {})).unwrap();
    log.set_direct_write(false);
    append(&mut log, steps.now());
    while steps.write() || steps.begin_sync() && steps.end_sync() {}
    (log, steps)
}

/// A block with one command.
pub(crate) fn append(log: &mut Log, now: Instant) {
    log.append(0, &[Op { db: 0, command: &request(&["PING"]) }]);
    log.seal(now);
}

/// One turn with one unit of `SET key value` commands; returns its position.
pub(crate) fn turn(log: &mut Log, pairs: &[(&str, u64)]) -> u64 {
    let commands: Vec<_> =
        pairs.iter().map(|(key, value)| request(&["SET", key, &value.to_string()])).collect();
    let unit: Vec<_> = commands.iter().map(|command| Op { db: 0, command }).collect();
    let position = log.append(1_700_000_000_000, &unit);
    log.seal(Instant::now());
    position
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn eio() -> Option<std::io::Error> {
    Some(std::io::Error::from_raw_os_error(5))
}
