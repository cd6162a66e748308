//! Models of the protocols between the executor, the job and the log's threads, on the shipped code over a file system
//! in memory. Each names its invariant, and each has twins that break the code on purpose and must fail.
//!
//! What they do not see: time (a rest waits to be told), and the order of file calls against each other, which is not a
//! point where the model switches threads: the crash tests look at that.

mod loom_abort;
mod loom_handover;

use std::path::PathBuf;
use std::sync::Arc;

use aof::fs::Mem;
use aof::{BaseFormat, Options};
use bytes::BytesMut;
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};

use crate::Settings;

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.max_branches = 20_000;
    builder.check(body);
}

fn options() -> Options {
    // History would be removed on one more thread.
    Options { disable_auto_gc: true, ..Options::new("/") }
}

fn settings() -> Settings {
    Settings {
        temp_path: PathBuf::from("/temp"),
        timestamps: false,
        incremental_fsync: false,
        key_delay_us: 0,
        format: BaseFormat::Resp,
    }
}

fn disk() -> Arc<Mem> {
    Arc::new(Mem::new())
}

/// Executes `INCR k`; returns its effect.
fn increment(keyspace: &mut Keyspace) -> Vec<u8> {
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    let argv: &[&[u8]] = &[b"INCR", b"k"];
    keyspace.execute(&Call::new(0, 0, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
    unit.ops().next().expect("it has an effect").1.to_vec()
}
