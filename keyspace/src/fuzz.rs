//! What the fuzzers of `keyspace/fuzz` call, one function per target: arbitrary bytes in, a panic if a promise is broken.
//!
//! Ordinary tests damage the files of real servers and replay the committed corpus through the same functions.

use bytes::BytesMut;
use resp::{Encoder, Version};

use crate::rdb::{self, Item, Reader};
use crate::{Call, Digest, Keyspace, Unit, ValueRef};

const NOW_MS: i64 = 1_700_000_000_000;

/// Any bytes as an RDB file, whose checksum no fuzzer would hit. Whatever was loaded in front of what is wrong can be
/// dumped, and restored it is the same. `also` is what else is to hold of the data: of commands that make it, this crate
/// knows nothing.
///
/// # Panics
/// When that does not hold.
pub fn rdb_file(data: &[u8], also: impl Fn(&Keyspace)) {
    let mut keyspace = Keyspace::new(16, 42);
    let Ok(reader) = Reader::new(data, keyspace.rdb_shapes()) else { return };
    let mut reader = reader.without_checksum();
    while let Ok(Some(item)) = reader.next() {
        if let Item::Key(key) = item {
            // A database that is not there is refused, not met.
            let _ = keyspace.load_key(key, true, NOW_MS);
        }
    }
    assert!(reader.offset_bytes() <= data.len() as u64, "read beyond the end");
    assert_all_survive(&keyspace);
    also(&keyspace);
}

/// Any bytes as the body of DUMP's payload, type and value, which gets the footer that fits. What RESTORE takes can be
/// used by every command, dumped, and restored it is the same; `also` as above.
///
/// # Panics
/// When that does not hold.
pub fn restore(body: &[u8], also: impl Fn(&Keyspace)) {
    let mut keyspace = Keyspace::new(1, 42);
    let payload = rdb::sealed(body.to_vec());
    if run(&mut keyspace, &[b"RESTORE", b"key", b"0", &payload]) != b"+OK\r\n"[..] {
        return;
    }
    assert_all_survive(&keyspace);
    also(&keyspace);
    for line in USES {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        run(&mut keyspace, &argv);
    }
    assert_all_survive(&keyspace);
    also(&keyspace);
}

/// Uses of a value of whatever type: of each line the ones that fit do something.
#[rustfmt::skip]
const USES: &[&str] = &[
    "APPEND key x", "SETRANGE key 3 y", "BITCOUNT key", "PFCOUNT key", "INCR key",
    "LINSERT key BEFORE b c", "LPUSH key a", "LRANGE key 0 -1", "LREM key -1 a", "LPOP key", "RPOP key 2",
    "SADD key new 5", "SRANDMEMBER key -3", "SSCAN key 0", "SREM key 5", "SPOP key",
    "HSET key f w", "HINCRBY key n 1", "HRANDFIELD key -3 WITHVALUES", "HSCAN key 0", "HDEL key f",
    "ZADD key 3 new", "ZINCRBY key 1 new", "ZRANGE key 0 -1 WITHSCORES", "ZRANK key new", "ZPOPMIN key",
    "XADD key * f v", "XGROUP CREATE key g 0", "XREADGROUP GROUP g c STREAMS key >", "XADD key * f v",
    "XREADGROUP GROUP g c STREAMS key >", "XREADGROUP GROUP g c STREAMS key 0", "XINFO STREAM key FULL",
    "XAUTOCLAIM key g d 0 0", "XREVRANGE key + -", "XTRIM key MAXLEN 1",
    "XADD key 1700000000009-0 f v", "XREADGROUP GROUP g c STREAMS key >", "XDEL key 0-1 1700000000009-0",
    "XSETID key 1700000000009-9 MAXDELETEDID 0-1", "XSETID key 1700000000001-0", "XADD key 1700000000002-0 f v",
    "XADD key 1700000000009-0 f v", "XDEL key 1700000000009-0", "XTRIM key MINID 1700000000005",
    "XSETID key 1700000000009-0 MAXDELETEDID 0-1", "XSETID key 0-2", "XADD key 0-3 f v", "XDEL key 0-3",
    "XADD key 0-4 f v",
    "SORT key BY nosort", "OBJECT ENCODING key", "MEMORY USAGE key SAMPLES 0", "DUMP key", "COPY key other",
];

fn run(keyspace: &mut Keyspace, argv: &[&[u8]]) -> BytesMut {
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    let mut encoder = Encoder::new(&mut out, Version::Resp2);
    keyspace.execute(&Call::new(0, NOW_MS, argv), &mut encoder, &mut unit);
    out
}

fn assert_all_survive(keyspace: &Keyspace) {
    keyspace.dbs().iter().flat_map(|db| db.table().iter()).for_each(|entry| {
        assert_survives(keyspace, entry.value());
    });
}

fn assert_survives(keyspace: &Keyspace, value: ValueRef<'_>) {
    let again = rdb::restore(&rdb::dump(value, true), keyspace.rdb_shapes());
    let again = again.map(|again| Digest::of_value(again.view())).ok();
    assert_eq!(
        again,
        Some(Digest::of_value(value)),
        "dumped and restored: {} {}",
        value.type_name(),
        value.encoding()
    );
}
