//! Redis's data without a server: execute commands, take a snapshot, go on writing, read the snapshot elsewhere; and
//! what is to be done between commands.
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

/// A keyspace, and the unit that each command leaves its effects in.
struct Embedded {
    keyspace: Keyspace,
    unit: Unit,
}

impl Embedded {
    /// Executes a line of words; prints the reply, and the effects that a log would hold.
    fn run(&mut self, line: &str) {
        let argv: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let mut out = BytesMut::new();
        let call = Call::new(0, NOW_MS, &argv);
        self.keyspace.execute(&call, &mut Encoder::new(&mut out, Version::Resp2), &mut self.unit);
        println!("{line:28.28} {}", out.escape_ascii());
        self.log();
    }

    /// What a server does now and then: keys go that are due and that nobody has met.
    fn expire(&mut self, now_ms: i64) {
        println!("{} ms later", now_ms - NOW_MS);
        while self.keyspace.expire_due(now_ms, 200, &mut self.unit) {}
        self.log();
    }

    /// Tells on what a unit has left behind, and empties it.
    fn log(&mut self) {
        for (db, effect) in self.unit.ops() {
            println!("{:28} logged for db {db}: {:.80}", "", effect.escape_ascii().to_string());
        }
        self.unit.clear();
        // Big values are freed where they are in nobody's way.
        let garbage = self.keyspace.take_garbage();
        if !garbage.is_empty() {
            println!("{:28} freed elsewhere: {} values", "", garbage.len());
            std::thread::spawn(move || drop(garbage));
        }
    }
}

fn main() {
    let mut embedded = Embedded { keyspace: Keyspace::new(16, 42), unit: Unit::default() };
    embedded.run("SET greeting hello");
    embedded.run("EXPIRE greeting 100");
    embedded.run("INCRBY visits 41");

    // O(1), whatever the size: from here on the keyspace copies what it writes.
    let snapshot = embedded.keyspace.snapshot();
    let reader = std::thread::spawn(move || {
        let keys: Vec<_> =
            snapshot.dbs[0].table().iter().map(|entry| entry.key().escape_ascii().to_string()).collect();
        println!("{:28} the snapshot still has {keys:?}", "");
    });
    embedded.run("INCR visits");
    embedded.run("DEL greeting");
    reader.join().expect("the reader only reads");

    let members: Vec<String> = (0..1_000).map(|number| format!("member:{number}")).collect();
    embedded.run(&format!("SADD crowd {}", members.join(" ")));
    embedded.run("UNLINK crowd");
    embedded.run("SET session open PX 500");
    embedded.expire(NOW_MS + 1_000);
    embedded.run("KEYS *");
}
