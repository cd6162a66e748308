//! Compacts the log in an AOF directory, with no server running: replays it into a keyspace, and writes that as a new
//! base. `redis-server` can be started on the result.
//!
//!     cargo run -p everlog-rewrite --example compact -- <dir> [appenddirname] [appendfilename]
//!
//! Without arguments it makes itself a log of a thousand increments in a temporary directory, and compacts that.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use aof::fs::Disk;
use aof::{DirLock, Directory, Log, Op, Options, Sink, SinkError};
use bytes::BytesMut;
use keyspace::rdb::{Item, Reader};
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};
use rewrite::{Format, Rewrite, Settings};

/// Executes what is replayed; a command that Everlog does not know stops the compaction rather than vanish.
struct Loader {
    keyspace: Keyspace,
    out: BytesMut,
    unit: Unit,
}

impl Sink for Loader {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.out.clear();
        self.unit.clear();
        let mut reply = Encoder::new(&mut self.out, Version::Resp2);
        // Nothing expires while it loads, so the time does not matter.
        self.keyspace.execute(&Call::new(db as usize, 0, argv), &mut reply, &mut self.unit);
        match self.out.first() {
            Some(b'-') => Err(SinkError::new(String::from_utf8_lossy(&self.out).trim_end())),
            _ => Ok(()),
        }
    }

    fn base_rdb(&mut self, _: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let mut reader = Reader::new(rdb, self.keyspace.rdb_shapes()).map_err(SinkError::new)?;
        while let Some(item) = reader.next().map_err(SinkError::new)? {
            match item {
                Item::Key(key) => drop(self.keyspace.load_key(key, false, 0).map_err(SinkError::new)?),
                Item::Function(_) => return Err(SinkError::new("functions would be lost")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn compact(options: &Options) -> Result<(u64, rewrite::Summary), Box<dyn Error>> {
    let fs = Arc::new(Disk);
    let _lock = DirLock::take(&*fs, &options.dir)?;
    let mut directory = Directory::open(fs.clone(), options)?;
    if directory.is_empty() {
        return Err(format!("{}: there is no log", options.dir.display()).into());
    }
    let mut keyspace = Keyspace::new(16, std::process::id().into());
    keyspace.start_loading();
    let mut loader = Loader { keyspace, out: BytesMut::new(), unit: Unit::default() };
    let report = directory.replay(&mut loader, options)?;
    loader.keyspace.end_loading();

    let settings = Settings {
        temp_path: rewrite::temp_path(options, std::process::id()),
        timestamps: options.timestamps,
        checksum: true,
        incremental_fsync: true,
        key_delay_us: 0,
        max_bytes_per_s: 0,
        format: Format::Commands,
    };
    let (wake, woken) = channel();
    let wake = Arc::new(move || {
        let _ = wake.send(());
    });
    let unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64;
    let mut rewrite = Rewrite::begin_offline(fs, options, settings, wake);
    loop {
        if let Some(outcome) = rewrite.step(None, unix_s, || loader.keyspace.snapshot()) {
            return Ok((report.bytes, outcome?));
        }
        woken.recv()?;
    }
}

/// Makes a directory with a log that is worth compacting.
fn sample() -> Result<String, Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("compact-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let options = Options::new(&dir);
    let mut log = Log::start(Directory::open(Arc::new(Disk), &options)?, &options, Box::new(|| ()))?;
    let mut incr = BytesMut::new();
    resp::request::encode(&[b"INCR", b"visits"], &mut incr);
    for _ in 0..1000 {
        log.append(0, &[Op { db: 0, command: &incr }]);
    }
    log.stop()?;
    Ok(dir.display().to_string())
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let dir = match args.next().map_or_else(sample, Ok) {
        Ok(dir) => dir,
        Err(error) => {
            let _ = writeln!(err, "{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut options = Options::new(&dir);
    if let Some(name) = args.next() {
        options.dir = options.adopt_from.join(name);
    }
    if let Some(name) = args.next() {
        options.filename = name;
    }
    match compact(&options) {
        Ok((before_bytes, summary)) => {
            let (keys, after_bytes, took) = (summary.keys, summary.base_bytes, summary.total);
            let _ = writeln!(out, "{keys} keys: {before_bytes} -> {after_bytes} bytes in {took:.1?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::FAILURE
        }
    }
}
