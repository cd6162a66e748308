//! What the fuzzers of `keyspace/fuzz` call: `keyspace::fuzz`, and whatever it has in memory can be written as commands,
//! too. Executed as a start executes a log they give the same again.

use bytes::BytesMut;
use keyspace::{Call, Digest, Entry, Keyspace, Unit};
use resp::{Encoder, Limits, Parser, Version};

use crate::emit::{Emitter, RespEmitter};

/// See [`keyspace::fuzz::rdb_file`].
///
/// # Panics
/// When a promise does not hold.
pub fn rdb_file(data: &[u8]) {
    keyspace::fuzz::rdb_file(data, assert_all_replay);
}

/// See [`keyspace::fuzz::restore`].
///
/// # Panics
/// When a promise does not hold.
pub fn restore(body: &[u8]) {
    keyspace::fuzz::restore(body, assert_all_replay);
}

fn assert_all_replay(keyspace: &Keyspace) {
    keyspace.dbs().iter().flat_map(|db| db.table().iter()).for_each(assert_replays);
}

fn assert_replays(entry: Entry<'_>) {
    let (key, value, expire_at_ms) = (entry.key().to_vec(), entry.value(), entry.expire_at_ms());
    let (digest, type_name) = (Digest::of_value(value), value.type_name());
    let mut commands = Vec::new();
    assert!(RespEmitter::default().key(entry, &mut commands).is_ok(), "emitted: {type_name}");
    let again = replayed(&commands);
    // Nothing is over at the beginning of time.
    let found =
        again.entry(0, &key, i64::MIN).map(|entry| (Digest::of_value(entry.value()), entry.expire_at_ms()));
    assert_eq!(found, Some((digest, expire_at_ms)), "replayed: {type_name}");
}

fn replayed(mut commands: &[u8]) -> Keyspace {
    let (mut keyspace, mut parser) = (Keyspace::new(1, 43), Parser::default());
    keyspace.start_loading();
    while !commands.is_empty() {
        let len = parser.parse(commands, &Limits::default()).ok().flatten().expect("a whole command");
        execute(&mut keyspace, &parser.argv(commands));
        commands = commands.get(len..).unwrap_or_default();
    }
    keyspace.end_loading();
    keyspace
}

fn execute(keyspace: &mut Keyspace, argv: &[&[u8]]) {
    let mut out = BytesMut::new();
    keyspace.execute(
        &Call::new(0, 0, argv),
        &mut Encoder::new(&mut out, Version::Resp2),
        &mut Unit::default(),
    );
    assert_ne!(out.first(), Some(&b'-'), "{}: {}", argv.join(&b' ').escape_ascii(), out.escape_ascii());
}
