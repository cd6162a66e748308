//! Redis's data without a server: execute commands, take a snapshot, go on writing, read the snapshot elsewhere.
//!
//! `cargo run -p everlog-keyspace --example embedded`
// To prove that a value may go to another thread, the compiler goes through the tables within values.
#![recursion_limit = "256"]
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use bytes::BytesMut;
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};

/// The crate reads no clock: each command is told its time.
const NOW_MS: i64 = 1_700_000_000_000;

/// Executes a line of words; prints the reply, and the effects that a log would hold.
fn run(keyspace: &mut Keyspace, line: &str) {
    let argv: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    keyspace.execute(&Call::new(0, NOW_MS, &argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
    println!("{line:28} {}", out.escape_ascii());
    for (db, effect) in unit.ops() {
        println!("{:28} logged for db {db}: {}", "", effect.escape_ascii());
    }
}

fn main() {
    let mut keyspace = Keyspace::new(16, 42);
    run(&mut keyspace, "SET greeting hello");
    run(&mut keyspace, "EXPIRE greeting 100");
    run(&mut keyspace, "INCRBY visits 41");

    // O(1), whatever the size: from here on the keyspace copies what it writes.
    let snapshot = keyspace.snapshot();
    let reader = std::thread::spawn(move || {
        let keys: Vec<_> =
            snapshot.dbs[0].table().iter().map(|entry| entry.key().escape_ascii().to_string()).collect();
        println!("{:28} the snapshot still has {keys:?}", "");
    });
    run(&mut keyspace, "INCR visits");
    run(&mut keyspace, "DEL greeting");
    reader.join().expect("the reader only reads");
    run(&mut keyspace, "KEYS *");
}
