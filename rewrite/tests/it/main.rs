//! Rewrites through the public API: a keyspace, its log and a rewrite, driven as a server drives them.

mod abort;
mod crash;
mod equivalence;
mod faults;
mod rdb;
mod survival;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use aof::fs::Mem;
use aof::{Directory, Fs, Log, Op, Options, Sink, SinkError};
use bytes::BytesMut;
use keyspace::rdb::{Item, Reader};
use keyspace::{Call, Digest, Keyspace, Unit, ValueRef};
use resp::{Encoder, Version};
use rewrite::emit::{Emitter, RdbEmitter};
use rewrite::{Error, Format, RdbFormat, Rewrite, Settings, Summary, Wake};

const START_MS: i64 = 1_700_000_000_000;
/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a log and its bases are written.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// `aof-use-rdb-preamble`.
    rdb: bool,
    /// `aof-checksum`.
    checksum: bool,
}

/// All of them; the default first.
const KINDS: [Kind; 4] = [
    Kind { rdb: true, checksum: true },
    Kind { rdb: true, checksum: false },
    Kind { rdb: false, checksum: true },
    Kind { rdb: false, checksum: false },
];

impl Kind {
    fn format(self) -> Format {
        if self.rdb { Format::Rdb(rdb_format()) } else { Format::Commands }
    }

    fn options(self, options: Options) -> Options {
        let mut empty = RdbEmitter::new(rdb_format());
        let mut bytes = Vec::new();
        empty.begin(0, &mut bytes).and_then(|()| empty.end(&mut bytes)).expect("a Vec takes it");
        Options { checksum: self.checksum, empty_base_rdb: self.rdb.then_some(bytes), ..options }
    }

    fn base_name(self, seq: u64) -> String {
        format!("appendonly.aof.{seq}.base.{}", if self.rdb { "rdb" } else { "aof" })
    }
}

fn rdb_format() -> RdbFormat {
    RdbFormat {
        redis_version: "7.2.5".to_owned(),
        used_memory_bytes: 1,
        aof_base: true,
        compress: true,
        checksum: true,
        usage: None,
    }
}

/// What a keyspace holds, so that a difference can be read: database and key; value and time.
type Dump = BTreeMap<(usize, Vec<u8>), (String, Option<i64>)>;

/// A server without clients.
struct World {
    fs: Arc<dyn Fs>,
    options: Options,
    /// Of its bases.
    format: Format,
    keyspace: Keyspace,
    log: Option<Log>,
    wake: Wake,
    woken: Receiver<()>,
    now_ms: i64,
    unit: Unit,
}

impl World {
    /// On a fresh directory, with a log.
    fn new(fs: Arc<dyn Fs>, kind: Kind) -> World {
        World::with(fs, kind, Options::new("/d"))
    }

    fn with(fs: Arc<dyn Fs>, kind: Kind, options: Options) -> World {
        let mut world = World::without_log(fs, kind, options);
        let directory = Directory::open(Arc::clone(&world.fs), &world.options).expect("it opens");
        let wake = Arc::clone(&world.wake);
        let log = Log::start(directory, &world.options, Box::new(move || wake()));
        world.log = Some(log.expect("it starts"));
        world
    }

    fn without_log(fs: Arc<dyn Fs>, kind: Kind, options: Options) -> World {
        let (options, format) = (kind.options(options), kind.format());
        // `dir` is there before a server is; a temporary directory of the machine's is, too.
        fs.create_dir(&options.adopt_from).expect("a directory");
        fs.sync_dir(options.adopt_from.parent().expect("it is no root")).expect("it is durable");
        let (sender, woken) = channel();
        let wake: Wake = Arc::new(move || {
            let _ = sender.send(());
        });
        let (keyspace, unit) = (Keyspace::new(16, 42), Unit::default());
        World { fs, options, format, keyspace, log: None, wake, woken, now_ms: START_MS, unit }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("a log is running")
    }

    /// Executes a command and logs its effects; the turn ends with it.
    fn run(&mut self, db: usize, argv: &[&[u8]]) {
        execute(&mut self.keyspace, db, self.now_ms, argv, &mut self.unit);
        let Some(log) = &mut self.log else { return };
        let ops: Vec<Op<'_>> = self.unit.ops().map(|(db, command)| Op { db: db as u32, command }).collect();
        log.append(self.now_ms, &ops);
        log.seal(Instant::now());
    }

    fn run_line(&mut self, line: &str) {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.run(0, &argv);
    }

    fn settings(&self) -> Settings {
        let Options { timestamps, checksum, .. } = self.options;
        Settings { timestamps, checksum, ..Settings::new(self.temp_path(), self.format.clone()) }
    }

    fn temp_path(&self) -> PathBuf {
        rewrite::temp_path(&self.options, 7)
    }

    fn begin(&mut self) -> Rewrite {
        let (settings, wake) = (self.settings(), Arc::clone(&self.wake));
        Rewrite::begin(self.log(), settings, wake).expect("it begins")
    }

    fn begin_offline(&self) -> Rewrite {
        let (fs, wake) = (Arc::clone(&self.fs), Arc::clone(&self.wake));
        Rewrite::begin_offline(fs, &self.options, self.settings(), wake)
    }

    fn step(&mut self, rewrite: &mut Rewrite) -> Option<Result<Summary, Error>> {
        let keyspace = &self.keyspace;
        rewrite.step(self.log.as_mut(), self.now_ms / 1000, || keyspace.snapshot())
    }

    /// Steps whenever it is woken, with a turn of the caller's in between, until the rewrite ends.
    fn finish(&mut self, mut rewrite: Rewrite, mut turn: impl FnMut(&mut World)) -> Result<Summary, Error> {
        loop {
            if let Some(outcome) = self.step(&mut rewrite) {
                assert!(self.step(&mut rewrite).is_none(), "an outcome is told once");
                return outcome;
            }
            turn(self);
            self.sleep();
        }
    }

    fn rewrite(&mut self) -> Result<Summary, Error> {
        let rewrite = self.begin();
        self.finish(rewrite, |_| {})
    }

    /// Steps until `is_there`.
    fn step_until(&mut self, rewrite: &mut Rewrite, mut is_there: impl FnMut(&Rewrite) -> bool) {
        let start = Instant::now();
        while !is_there(rewrite) {
            assert!(start.elapsed() < PATIENCE, "it never came");
            assert!(self.step(rewrite).is_none(), "it ended too early");
            let _ = self.woken.recv_timeout(Duration::from_millis(5));
        }
    }

    fn sleep(&self) {
        self.woken.recv_timeout(PATIENCE).expect("somebody wakes the executor");
        while self.woken.try_recv().is_ok() {}
    }

    /// Waits until everything is durable.
    fn settle(&mut self) {
        let (start, end) = (Instant::now(), self.log().drain());
        while self.log().durable() < end {
            assert!(start.elapsed() < PATIENCE, "it never became durable");
            let _ = self.woken.recv_timeout(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) {
        self.log.take().expect("a log is running").stop().expect("it stops");
    }

    fn dump(&self) -> Dump {
        dump(&self.keyspace)
    }

    /// What a start would find now.
    fn reload(&self) -> Dump {
        load(Arc::clone(&self.fs), &self.options).expect("it loads")
    }
}

fn execute(keyspace: &mut Keyspace, db: usize, now_ms: i64, argv: &[&[u8]], unit: &mut Unit) {
    unit.clear();
    let mut out = BytesMut::new();
    keyspace.execute(&Call::new(db, now_ms, argv), &mut Encoder::new(&mut out, Version::Resp2), unit);
    let command = || argv.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ");
    assert_ne!(out.first(), Some(&b'-'), "{}: {}", command(), String::from_utf8_lossy(&out));
}

/// Replay executes, with an error reply as a failure of the test.
struct Loader(Keyspace);

impl Sink for Loader {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        execute(&mut self.0, db as usize, START_MS, argv, &mut Unit::default());
        Ok(())
    }

    fn base_rdb(&mut self, _: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let mut reader = Reader::new(rdb, self.0.rdb_shapes()).map_err(SinkError::new)?;
        while let Some(item) = reader.next().map_err(SinkError::new)? {
            if let Item::Key(key) = item {
                self.0.load_key(key, false, START_MS).map_err(SinkError::new)?;
            }
        }
        Ok(())
    }
}

fn load(fs: Arc<dyn Fs>, options: &Options) -> Result<Dump, aof::Error> {
    Ok(replay(fs, options)?.1)
}

/// Loads, goes on with the log, and loads again.
fn load_and_go_on(fs: &Arc<dyn Fs>, options: &Options) -> Result<Dump, aof::Error> {
    let (directory, loaded) = replay(Arc::clone(fs), options)?;
    let mut log = Log::start(directory, options, Box::new(|| {}))?;
    log.append(START_MS, &[Op { db: 0, command: b"*3\r\n$3\r\nSET\r\n$7\r\ngoes on\r\n$1\r\n1\r\n" }]);
    log.seal(Instant::now());
    log.stop()?;
    let mut again = load(Arc::clone(fs), options)?;
    assert!(again.remove(&(0, b"goes on".to_vec())).is_some(), "what was appended is gone");
    assert_eq!(again, loaded);
    Ok(loaded)
}

fn replay(fs: Arc<dyn Fs>, options: &Options) -> Result<(Directory, Dump), aof::Error> {
    let mut directory = Directory::open(fs, options)?;
    // Another seed: nothing may depend on the order of tables.
    let mut loader = Loader(Keyspace::new(16, 99));
    loader.0.start_loading();
    directory.replay(&mut loader, options)?;
    loader.0.end_loading();
    Ok((directory, dump(&loader.0)))
}

fn dump(keyspace: &Keyspace) -> Dump {
    let mut dump = Dump::new();
    for (index, db) in keyspace.dbs().iter().enumerate() {
        for entry in db.table().iter() {
            let key = (index, entry.key().to_vec());
            dump.insert(key, (describe(entry.value()), entry.expire_at_ms()));
        }
    }
    dump
}

fn describe(value: ValueRef<'_>) -> String {
    let text = |element: keyspace::types::listpack::Element<'_>| element.with_bytes(short);
    let mut parts: Vec<String> = match value {
        ValueRef::Int(value) => vec![value.to_string()],
        ValueRef::Str(bytes) => vec![short(bytes)],
        ValueRef::Chunked(string) => {
            vec![short(&string.pieces(0..string.len()).collect::<Vec<_>>().concat())]
        }
        ValueRef::List(list) => list.iter().map(text).collect(),
        ValueRef::Set(set) => set.iter().map(text).collect(),
        ValueRef::Hash(hash) => {
            hash.iter().map(|(field, value)| format!("{}={}", text(field), text(value))).collect()
        }
        ValueRef::ZSet(zset) => {
            zset.iter().map(|(member, score)| format!("{score:?} {}", text(member))).collect()
        }
        // Deliveries are told too, which a digest leaves out.
        ValueRef::Stream(stream) => vec![format!(
            "{} {:?}",
            Digest::of_value(value),
            stream
                .groups()
                .iter()
                .map(|group| group.pending().iter().collect::<Vec<_>>())
                .collect::<Vec<_>>()
        )],
    };
    if matches!(value, ValueRef::Set(_) | ValueRef::Hash(_)) {
        parts.sort();
    }
    format!("{} {}", value.type_name(), parts.join(","))
}

/// The bytes, or a fingerprint of too many to be read.
fn short(bytes: &[u8]) -> String {
    if bytes.len() <= 1000 {
        return bytes.escape_ascii().to_string();
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("{} bytes, {:016x}", bytes.len(), hasher.finish())
}

/// What the manifest lists now.
fn manifest(mem: &Mem, options: &Options) -> String {
    let bytes = mem.bytes(&options.dir.join("appendonly.aof.manifest")).expect("there is a manifest");
    String::from_utf8(bytes).expect("it is text")
}

fn exists(mem: &Mem, path: &Path) -> bool {
    mem.bytes(path).is_some()
}
