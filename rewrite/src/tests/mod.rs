//! Models of the protocols between the executor, the job and the log's threads, on the shipped code over a file system
//! in memory. Each names its invariant, and each has twins that break the code on purpose and must fail.
//!
//! What they do not see: time (a rest waits to be told), and the order of file calls against each other, which is not a
//! point where the model switches threads: the crash tests look at that.

mod loom_abort;
mod loom_handover;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Format, Output, Settings, Source};
use aof::Options;
use aof::fs::Mem;

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(body);
}

fn options() -> Options {
    // History would be removed on one more thread.
    Options { disable_auto_gc: true, ..Options::new("/") }
}

fn settings() -> Settings {
    Settings {
        checksum: false,
        incremental_fsync: false,
        ..Settings::new(PathBuf::from("/temp"), Format::Commands)
    }
}

fn disk() -> Arc<Mem> {
    Arc::new(Mem::new())
}

/// All the data there is: a counter. As a base it is the command that sets it.
#[derive(Debug, Clone, Copy)]
struct Counter(u8);

impl Source for Counter {
    fn keys(&self) -> u64 {
        1
    }

    fn write(self, _: &Settings, _: i64, out: &mut Output<'_>) -> io::Result<()> {
        write!(out, "*2\r\n$3\r\nSET\r\n$1\r\n{}\r\n", self.0)?;
        out.key_done()
    }
}
