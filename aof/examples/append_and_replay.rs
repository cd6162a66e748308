//! Appends a transaction, waits until it is durable, and reads the log back.
//!
//! `cargo run -p everlog-aof --example append_and_replay`

#![expect(clippy::print_stdout, reason = "it is what the example shows")]

use std::sync::Arc;
use std::time::Instant;

use aof::fs::Disk;
use aof::{Directory, Error, Fsync, Log, Op, Options, Sink, SinkError};

struct Print;

impl Sink for Print {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        let words: Vec<_> = argv.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
        println!("db {db}: {}", words.join(" "));
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let place = std::env::temp_dir().join(format!("append_and_replay-{}", std::process::id()));
    std::fs::create_dir_all(&place).map_err(|source| Error::Io {
        op: "mkdir",
        path: place.clone(),
        source,
    })?;
    let options = Options { fsync: Fsync::Always, ..Options::new(&place) };

    let main_thread = std::thread::current();
    let directory = Directory::open(Arc::new(Disk), &options)?;
    let mut log = Log::start(directory, &options, Box::new(move || main_thread.unpark()))?;
    let set = b"*3\r\n$3\r\nSET\r\n$5\r\ncount\r\n$2\r\n41\r\n";
    let incr = b"*2\r\n$4\r\nINCR\r\n$5\r\ncount\r\n";
    let position = log.append(0, &[Op { db: 0, command: set }, Op { db: 0, command: incr }]);
    log.seal(Instant::now());
    while log.reply_watermark() < position {
        std::thread::park();
    }
    println!("durable up to byte {}", log.durable());
    log.stop()?;

    let mut directory = Directory::open(Arc::new(Disk), &options)?;
    let report = directory.replay(&mut Print, &options)?;
    println!("{} commands of {} files are in {}", report.commands, report.files, options.dir.display());
    Ok(())
}
