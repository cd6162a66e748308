//! Compacts a log that no server is using: replays it into a keyspace, and writes that as a new base. `redis-server` can be
//! started on the result.
//!
//!     cargo run -p everlog-rewrite --example compact
//!
//! The log is a thousand increments in a temporary directory. The tool for logs that count, with RDB bases, damage and all,
//! is `everlog-rewrite` of `everlog-server`.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use aof::fs::Disk;
use aof::{DirLock, Directory, Log, Op, Options, Sink, SinkError};
use bytes::BytesMut;
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};
use rewrite::{Format, Rewrite, Settings};

/// Executes what is replayed; a command that answers with an error stops the compaction rather than vanish.
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
}

fn compact(options: &Options) -> Result<(u64, rewrite::Summary), Box<dyn Error>> {
    let fs = Arc::new(Disk);
    let _lock = DirLock::take(&*fs, &options.dir)?;
    let mut directory = Directory::open(fs.clone(), options)?;
    let mut keyspace = Keyspace::new(16, std::process::id().into());
    keyspace.start_loading();
    let mut loader = Loader { keyspace, out: BytesMut::new(), unit: Unit::default() };
    let report = directory.replay(&mut loader, options)?;
    loader.keyspace.end_loading();

    let settings = Settings::new(rewrite::temp_path(options, std::process::id()), Format::Commands);
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

/// Makes a log that is worth compacting.
fn sample() -> Result<Options, Box<dyn Error>> {
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
    Ok(options)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = sample()?;
    let (before_bytes, summary) = compact(&options)?;
    let (keys, after_bytes, took) = (summary.keys, summary.base_bytes, summary.total);
    let dir = options.dir.display();
    writeln!(std::io::stdout(), "{dir}: {keys} key: {before_bytes} -> {after_bytes} bytes in {took:.1?}")?;
    Ok(())
}
