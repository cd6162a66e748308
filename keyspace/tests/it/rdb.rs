//! RDB files: what other servers wrote is read, what we write comes back, and no bytes at all do harm.

use std::io::Read;

use keyspace::rdb::{
    Checksum, Error, ErrorKind, Item, Keys, Loaded, ModuleType, Options, Reader, Sorter, VERSION, Writer,
};
use keyspace::types::stream::{Header, Stream};
use keyspace::{Digest, Keyspace, Usage, ValueRef};

use crate::allocations::allocated_bytes;
use crate::{START_MS, Session, fixtures};

const REDIS: &[u8] = include_bytes!("../fixtures/redis-7.0.15.rdb");
const VALKEY: &[u8] = include_bytes!("../fixtures/valkey-9.1.rdb");

/// A keyspace that executed all of the dataset.
fn dataset() -> Session {
    fixtures::dataset("9.1")
}

pub(crate) fn write(keyspace: &Keyspace, options: Options) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(options), Vec::new());
    writer.aux("redis-ver", "7.2.5", &mut out).unwrap();
    writer.aux("ctime", "1700000000", &mut out).unwrap();
    for (number, db) in keyspace.dbs().iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        writer.select_db(number, db.len());
        for entry in db.table().iter() {
            writer.key(entry, None, &mut out).unwrap();
        }
    }
    writer.finish(&mut out).unwrap();
    out
}

/// What a file holds, and what its end says.
pub(crate) fn read(bytes: &[u8]) -> Result<(Session, Checksum), Error> {
    let mut session = Session::new();
    let mut reader = Reader::new(bytes, session.keyspace.rdb_shapes())?;
    loop {
        match reader.next()? {
            Some(Item::Key(key)) => drop(session.keyspace.load_key(key, true, START_MS)),
            Some(Item::End(checksum)) => return Ok((session, checksum)),
            Some(_) => {}
            None => unreachable!("the end comes first"),
        }
    }
}

pub(crate) fn digest(session: &Session) -> Digest {
    Digest::of(session.keyspace.dbs())
}

pub(crate) fn encodings(session: &Session) -> Vec<(usize, Vec<u8>, &'static str)> {
    let dbs = session.keyspace.dbs().iter().enumerate();
    let entries = dbs.flat_map(|(number, db)| db.table().iter().map(move |entry| (number, entry)));
    let mut all: Vec<_> =
        entries.map(|(number, entry)| (number, entry.key().to_vec(), entry.value().encoding())).collect();
    all.sort();
    all
}

#[test]
fn what_is_written_comes_back_whatever_the_options() {
    let session = dataset();
    for (compress, checksum) in [(true, true), (true, false), (false, true), (false, false)] {
        let file = write(&session.keyspace, Options { compress, checksum });
        let (found, end) = read(&file).unwrap();
        assert_eq!(end, if checksum { Checksum::Verified } else { Checksum::Unchecked });
        assert_eq!(digest(&found), digest(&session));
        assert_eq!(encodings(&found), encodings(&session));
    }
    let sizes =
        [true, false].map(|compress| write(&session.keyspace, Options { compress, checksum: true }).len());
    assert!(sizes[0] < sizes[1] / 2, "{sizes:?}");
}

#[test]
fn values_about_their_thresholds_come_back_in_their_encodings() {
    let mut session = Session::new();
    for (n, len) in [1, 63, 64, 65, 127, 128, 129, 511, 512, 513, 600].into_iter().enumerate() {
        let numbers: String = (0..len).map(|i| format!(" {i}")).collect();
        let words: String = (0..len).map(|i| format!(" w{i}")).collect();
        let pairs: String = (0..len).map(|i| format!(" {i} w{i}")).collect();
        session.run(&format!("SADD ints{n}{numbers}"));
        session.run(&format!("SADD words{n}{words}"));
        session.run(&format!("RPUSH list{n}{words}"));
        session.run(&format!("HSET hash{n}{pairs}"));
        session.run(&format!("ZADD zset{n}{pairs}"));
        session.run(&format!("SADD wide{n} {}", "x".repeat(len)));
        session.run(&format!("HSET widehash{n} f {}", "y".repeat(len)));
        session.run(&format!("ZADD widezset{n} 1 {}", "z".repeat(len)));
        session.run(&format!("SET string{n} {}", "s".repeat(len)));
    }
    let (found, _) = read(&write(&session.keyspace, Options::default())).unwrap();
    assert_eq!(digest(&found), digest(&session));
    assert_eq!(encodings(&found), encodings(&session));
}

/// The story: a hash with one value of 500 MB took as much again, or twice as much, to be written, and up to the end of
/// the file; keys could be evicted for it.
#[test]
fn a_giant_element_is_written_without_a_copy_of_it() {
    const LEN_BYTES: usize = 4 << 20;
    let mut state = 42u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(LEN_BYTES).collect();
    // Packs to more than is kept while that is found out, and to less.
    let text: Vec<u8> = noise.iter().flat_map(|&byte| [byte & 3, 7, byte & 3, 7]).take(LEN_BYTES).collect();
    for (value, least, most) in [
        (&noise, LEN_BYTES, LEN_BYTES + 100),
        (&text, 1 << 20, LEN_BYTES * 3 / 4),
        (&vec![b'a'; LEN_BYTES], 0, 1 << 20),
    ] {
        let mut session = Session::new();
        session.run_argv(&[b"HSET", b"hash", b"field", value]);
        session.run_argv(&[b"RPUSH", b"list", value]);
        let file = write(&session.keyspace, Options::default());
        assert!((2 * least..2 * most).contains(&file.len()), "{}", file.len());
        assert_eq!(digest(&read(&file).unwrap().0), digest(&session));
        let db = &session.keyspace.dbs()[0];
        let (_, allocated) = allocated_bytes(|| {
            let (mut writer, mut out) = (Writer::new(Options::default()), std::io::sink());
            db.table().iter().try_for_each(|entry| writer.key(entry, None, &mut out)).unwrap();
            writer.finish(&mut out).unwrap();
        });
        assert!(allocated < 3 << 20, "{allocated} bytes");
    }
}

#[test]
fn larger_compact_forms_become_what_the_thresholds_say() {
    let mut session = Session::new();
    let limits = &mut session.keyspace.limits;
    (limits.set_max_intset_entries, limits.set_max_listpack_entries) = (2, 2);
    (limits.hash_max_listpack_entries, limits.zset_max_listpack_entries) = (1, 1);
    limits.list_max_listpack_size = 2;
    let mut reader = Reader::new(VALKEY, session.keyspace.rdb_shapes()).unwrap();
    while let Some(item) = reader.next().unwrap() {
        if let Item::Key(key) = item {
            assert_eq!(session.keyspace.load_key(key, false, START_MS), Ok(Loaded::Stored));
        }
    }
    assert_eq!(digest(&session), digest(&dataset()));
    for (key, encoding) in [
        ("set", "hashtable"),
        ("intset16", "hashtable"),
        ("hash", "hashtable"),
        ("zset", "skiplist"),
        ("list", "quicklist"),
    ] {
        assert_eq!(
            session.run(&format!("OBJECT ENCODING {key}")),
            format!("${}\r\n{encoding}\r\n", encoding.len())
        );
    }
}

#[test]
fn how_a_key_is_used_comes_back() {
    let mut session = Session::new();
    session.run("SET k v");
    let idle = [0, 63, 64, 16_383, 16_384, u64::from(u32::MAX), 1 << 32].map(Usage::Idle);
    let frequencies = [0, 7, 255].map(Usage::Freq);
    for usage in idle.into_iter().chain(frequencies) {
        let (mut writer, mut file) = (Writer::new(Options::default()), Vec::new());
        let entry = session.keyspace.dbs()[0].table().iter().next().unwrap();
        writer.key(entry, Some(usage), &mut file).unwrap();
        writer.finish(&mut file).unwrap();
        let mut reader = Reader::new(&file[..], session.keyspace.rdb_shapes()).unwrap();
        let Some(Item::Key(key)) = reader.next().unwrap() else { panic!("{usage:?}") };
        let found = key.idle_s.map(Usage::Idle).or(key.freq.map(Usage::Freq));
        assert_eq!(found, Some(usage));
    }
}

#[test]
fn every_flipped_bit_of_a_file_is_noticed() {
    let mut session = Session::new();
    for line in
        ["SET a 1", "RPUSH b 1 x 3", "HSET c f v", "ZADD d 1 m", "SADD e 1 2", "SADD f x y", "PEXPIRE a 99"]
    {
        session.run(line);
    }
    let file = write(&session.keyspace, Options::default());
    for bit in 0..8 * file.len() {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&damaged).is_err(), "bit {bit}");
    }
    for len in 0..file.len() {
        assert!(read(&file[..len]).is_err(), "cut at {len}");
    }
}

/// The file of one key with this type and body, and no checksum.
pub(crate) fn file_of(code: u8, body: &[u8]) -> Vec<u8> {
    [b"REDIS0011\xfe\0", &[code][..], b"\x03key", body, b"\xff", &[0; 8]].concat()
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    #[rustfmt::skip]
    let cases: &[(u8, &[u8], &str)] = &[
        ( 2, b"\x02\x01a\x01a",            "Duplicate set member detected, at byte 21 (type set-hashtable, key 'key')"),
        ( 4, b"\x02\x01a\x01b\x01a\x01c",  "Duplicate hash field detected, at byte 25 (type hash-hashtable, key 'key')"),
        ( 3, b"\x02\x01a\x011\x01a\x012",  "Duplicate sorted set member detected, at byte 25 (type zset-v1, key 'key')"),
        ( 3, b"\x01\x01a\xfd",             "sorted set with a score that is not a number, at byte 20 (type zset-v1, key 'key')"),
        ( 5, b"\x01\x01a\0\0\0\0\0\0\xf8\x7f", "sorted set with a score that is not a number, at byte 27 (type zset-v2, key 'key')"),
        (11, b"\x03abc",                   "Intset integrity check failed, at byte 20 (type set-intset, key 'key')"),
        (16, b"\x03abc",                   "Hash listpack integrity check failed, at byte 20 (type hash-listpack, key 'key')"),
        (10, b"\x03abc",                   "List ziplist integrity check failed, at byte 20 (type list-ziplist, key 'key')"),
        ( 9, b"\x03abc",                   "Zipmap integrity check failed, at byte 20 (type hash-zipmap, key 'key')"),
        (18, b"\x01\x03\x01a",             "Quicklist integrity check failed, at byte 20 (type quicklist-v2, key 'key')"),
        ( 9, b"\x02\x00\xff",              "Zipmap integrity check failed, at byte 19 (type hash-zipmap, key 'key')"),
        (18, b"\x01\x01\x00",             "Quicklist integrity check failed, at byte 19 (type quicklist-v2, key 'key')"),
        (16, b"\x0f\x0f\0\0\0\x04\0\x01\x01\x02\x01\x01\x01\x03\x01\xff", "Hash listpack integrity check failed: listpack with dup elements, at byte 32 (type hash-listpack, key 'key')"),
        (17, b"\x0f\x0f\0\0\0\x04\0\x01\x01\x02\x01\x02\x01\x81a\x02\xff", "Zset listpack integrity check failed, at byte 32 (type zset-listpack, key 'key')"),
        (16, b"\x09\x09\0\0\0\x01\0\x01\x01\xff", "Hash listpack integrity check failed, at byte 26 (type hash-listpack, key 'key')"),
        (19, b"\x01\x01a",                 "Stream node ID integrity check failed, at byte 19 (type stream-v2, key 'key')"),
        (21, b"\x01\x100123456789abcdef\x03abc", "Stream listpack integrity check failed, at byte 38 (type stream-v3, key 'key')"),
        (15, b"\x01\x100123456789abcdef\x07\x07\0\0\0\0\0\xff", "Stream listpack integrity check failed, at byte 42 (type stream, key 'key')"),
        (22, b"\x00",                      "hashes with fields that expire are not supported yet, at byte 16 (type hash-metadata-pre-ga, key 'key')"),
        (23, b"\x00",                      "hashes with fields that expire are not supported yet, at byte 16 (type hash-listpack-ex-pre-ga, key 'key')"),
        (24, b"\x00",                      "hashes with fields that expire are not supported yet, at byte 16 (type hash-metadata, key 'key')"),
        (25, b"\x00",                      "hashes with fields that expire are not supported yet, at byte 16 (type hash-listpack-ex, key 'key')"),
        ( 6, b"\x00",                      "values of modules of a pre-release are not supported, at byte 16 (type module-pre-release, key 'key')"),
        ( 7, b"\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03", "values of modules are not supported: this one is of 'ReJSON-RL', at byte 25 (type module-value, key 'key')"),
        (77, b"\x00",                      "unknown RDB type or opcode 77, at byte 12"),
        ( 0, b"\xc3\x02\x05\x01a",         "invalid LZF compressed string"),
        ( 0, b"\xc7",                      "impossible length: unknown string form 7, at byte 17 (type string, key 'key')"),
        ( 0, b"\x82",                      "impossible length: it begins with 0x82, at byte 17 (type string, key 'key')"),
    ];
    for &(code, body, expected) in cases {
        let error = read(&file_of(code, body)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(expected), "{code}: {error}");
    }
    for (file, expected) in [
        (&b"REDIS0099x"[..], "can't handle RDB format version REDIS 0099, at byte 9"),
        (b"REDIS00x1x", "can't handle RDB format version REDIS 00x1, at byte 9"),
        (b"VALKEY081", "can't handle RDB format version VALKEY 081, at byte 9"),
        (b"SQLite format", "wrong signature trying to load DB from file, at byte 9"),
        (b"REDIS", "unexpected end of the RDB data, at byte 5"),
    ] {
        assert_eq!(read(file).err().unwrap().to_string(), expected);
    }
}

#[test]
fn a_claimed_length_takes_no_memory() {
    for body in [
        &b"\x81\x00\x00\x00\x00\xff\x00\x00\x00"[..],
        b"\x80\xff\x00\x00\x00",
        b"\xc3\x05\x80\xf0\x00\x00\x00\x01a",
    ] {
        assert!(read(&file_of(0, body)).is_err());
    }
    // So many elements that room for their handles alone would not be there.
    for code in [1, 2, 3, 4, 5, 14, 15, 18, 19, 21] {
        let error = read(&file_of(code, b"\x81\x00\xff\xff\xff\xff\xff\xff\xff")).err().unwrap();
        assert!(!matches!(error.kind, ErrorKind::Io(_)), "{code}: {error}");
    }
}

#[test]
fn collections_without_elements_are_no_keys() {
    for (code, body) in [
        (1, &b"\x00"[..]),
        (2, b"\x00"),
        (4, b"\x00"),
        (5, b"\x00"),
        (11, b"\x08\x02\0\0\0\0\0\0\0"),
        (16, b"\x07\x07\0\0\0\0\0\xff"),
        (18, b"\x01\x02\x07\x07\0\0\0\0\0\xff"),
    ] {
        let (found, _) = read(&file_of(code, body)).unwrap();
        assert!(found.keyspace.dbs()[0].is_empty(), "{code}");
    }
}

#[test]
fn a_sorted_set_out_of_order_is_put_in_order() {
    let pack = b"\x11\x11\0\0\0\x04\0\x81b\x02\x02\x01\x81a\x02\x01\x01\xff";
    let (mut found, _) = read(&file_of(17, pack)).unwrap();
    assert_eq!(found.run("ZRANGE key 0 -1 WITHSCORES"), "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n");
}

/// The value of a stream, as DUMP of redis-server 7.0.15 gave it, without type and footer.
fn redis_stream() -> &'static [u8] {
    let payload = include_bytes!("../fixtures/stream-redis-7.0.15.dump");
    assert_eq!(payload[0], 19);
    &payload[1..payload.len() - 10]
}

/// What a command says of the one key of a file.
fn asked(file: &[u8], command: &str) -> String {
    read(file).map(|(mut session, _)| session.run(command)).unwrap().replace("\r\n", " ")
}

#[test]
fn a_stream_of_redis_is_read_and_written_byte_for_byte() {
    let file = file_of(19, redis_stream());
    assert_eq!(
        asked(&file, "XRANGE key - +"),
        "*3 *2 $3 1-1 *4 $1 a $1 1 $1 b $3 two *2 $3 2-0 *2 $1 c $1 4 *2 $3 3-0 *4 $1 a $1 5 $1 b $1 6 "
    );
    assert_eq!(asked(&file, "XPENDING key g"), "*4 :2 $3 2-0 $3 3-0 *2 *2 $3 one $1 1 *2 $3 two $1 1 ");
    let (found, _) = read(&file).unwrap();
    let written = write(&found.keyspace, Options { compress: false, checksum: true });
    let key = [&b"\x13\x03key"[..], redis_stream()].concat();
    assert!(written.windows(key.len()).any(|bytes| bytes == key));
    assert_eq!(digest(&read(&written).unwrap().0), digest(&found));
}

/// The parts of [`redis_stream`] that other layouts have, or have not: nodes, length and last ID, first and greatest
/// deleted ID and count of entries, the first group up to its last ID, what it has read, and so on.
#[test]
fn streams_are_read_in_each_layout() {
    let [counts, read_g, seen_one, seen_two, read_none, seen_idle] =
        [100..105, 110..111, 175..175, 204..204, 228..237, 252..252];
    let stream = redis_stream();
    let splice = |cuts: &[(&std::ops::Range<usize>, &[u8])]| {
        let (mut bytes, mut at) = (Vec::new(), 0);
        for (cut, instead) in cuts {
            bytes.extend_from_slice(&stream[at..cut.start]);
            bytes.extend_from_slice(instead);
            at = cut.end;
        }
        [&bytes, &stream[at..]].concat()
    };
    let first = file_of(15, &splice(&[(&counts, b""), (&read_g, b""), (&read_none, b"")]));
    assert_eq!(asked(&first, "XRANGE key - + COUNT 1"), "*1 *2 $3 1-1 *4 $1 a $1 1 $1 b $3 two ");
    let groups = asked(&first, "XINFO GROUPS key");
    assert!(groups.contains("$12 entries-read :3 $3 lag :0 "), "{groups}");
    assert!(groups.contains("$12 entries-read $-1 $3 lag $-1 "), "{groups}");
    let (active, never) = (&1_600_000_000_000i64.to_le_bytes(), &(-1i64).to_le_bytes());
    let third = file_of(21, &splice(&[(&seen_one, active), (&seen_two, active), (&seen_idle, never)]));
    let consumers = asked(&third, "XINFO CONSUMERS key none");
    assert!(consumers.contains("$8 inactive :-1 "), "{consumers}");
    let consumers = asked(&third, "XINFO CONSUMERS key g");
    let inactive_ms = START_MS - 1_600_000_000_000;
    assert!(consumers.contains(&format!("$8 inactive :{inactive_ms} ")), "{consumers}");
    assert!(asked(&third, "XINFO GROUPS key").contains("$12 entries-read :4 $3 lag :0 "));
}

/// A stream restored with the greatest count of entries ended the process when a group had read one more.
#[test]
fn counts_at_their_end_stay_there() {
    let with_added = |added: u64| {
        let stream = redis_stream();
        file_of(19, &[&stream[..104], b"\x81", &added.to_be_bytes(), &stream[105..]].concat())
    };
    // The first are less than the entries that are there, the last more than a command can say.
    for added in [0, 1, i64::MAX as u64 - 1, i64::MAX as u64, 1 << 63, u64::MAX] {
        let (mut found, _) = read(&with_added(added)).unwrap();
        found.run("XGROUP CREATE key new 0");
        for _ in 0..3 {
            assert!(found.run("XREADGROUP GROUP new me STREAMS key >").starts_with("*1"), "{added}");
            found.run("XADD key * f v");
        }
        let written = write(&found.keyspace, Options::default());
        assert_eq!(digest(&read(&written).unwrap().0), digest(&found), "{added}");
    }
}

/// The story: XSETID of Redis 7.0 sets the last ID below deleted entries, below pending ones and below the greatest
/// deleted one, and counts past the end of signed numbers; we refused what it saved then, or could not write it as
/// commands. Of an entry in front of its node's master, behind none but deleted ones, it says so in negative numbers.
/// The last three it never saved, but would load.
#[test]
fn streams_that_no_command_of_ours_makes_are_put_right() {
    macro_rules! body {
        ($name:literal) => {
            &include_bytes!(concat!("../../fuzz/corpus/restore/stream_v2_", $name))[..]
        };
    }
    let table: &[(&[u8], &str)] = &[
        (body!("id_set_back"), "entries 1-1 1-6 last 1-6 deleted 0-1 added 3 pending"),
        (body!("nodes_overlap"), "entries 1-1 1-6 last 1-6 deleted 0-1 added 3 pending"),
        (body!("in_front_of_its_master"), "entries 0-3 0-4 last 0-4 deleted 0-1 added 4 pending"),
        (body!("deleted_behind_the_last"), "entries 1-1 last 1-5 deleted 0-1 added 2 pending"),
        (body!("greatest_deleted_ahead"), "entries 1-1 last 2-1 deleted 2-1 added 2 pending"),
        (body!("counts_overflow"), "entries 1-1 2-1 last 2-1 deleted 0-0 added 9223372036854775807 pending"),
        (body!("pending_ahead"), "entries 1-1 last 2-1 deleted 0-1 added 2 pending 1-1 5-1"),
        (body!("header_lies"), "entries 1-1 1-6 last 1-6 deleted 1-6 added 2 pending"),
        (body!("pending_zero"), "entries 1-1 last 2-1 deleted 0-1 added 2 pending 1-1"),
        (
            body!("pending_at_the_end"),
            "entries 1-1 last 2-1 deleted 0-1 added 2 pending 1-1 18446744073709551615-18446744073709551615",
        ),
    ];
    for (body, expected) in table {
        let (found, _) = read(&file_of(body[0], &body[1..])).expect(expected);
        let entry = found.keyspace.dbs()[0].table().iter().next().expect(expected);
        let ValueRef::Stream(stream) = entry.value() else { panic!("{expected}") };
        assert_eq!(described(stream), *expected);
        assert_eq!(digest(&read(&write(&found.keyspace, Options::default())).unwrap().0), digest(&found));
    }
}

fn described(stream: &Stream) -> String {
    let Header { last_id, max_deleted_id, entries_added, .. } = stream.header();
    let entries: String = stream.iter().map(|entry| format!(" {}", entry.id)).collect();
    let pending = stream.groups().iter().flat_map(|group| group.pending().iter());
    let pending: String = pending.map(|pending| format!(" {}", pending.id)).collect();
    format!("entries{entries} last {last_id} deleted {max_deleted_id} added {entries_added} pending{pending}")
}

#[test]
fn groups_that_contradict_themselves_are_refused() {
    // No nodes, all numbers zero.
    const HEAD: &[u8] = b"\0\0\0\0\0\0\0\0\0";
    const GROUP: &[u8] = b"\x01g\0\0\0";
    const ID: &[u8] = b"0123456789abcdef";
    const DELIVERY: &[u8] = b"01234567\x01";
    const CONSUMER: &[u8] = b"\x01c01234567";
    const OTHER: &[u8] = b"\x01d01234567";
    let parts = |parts: &[&[u8]]| read(&file_of(19, &[&[HEAD], parts].concat().concat()));
    for (expected, body) in [
        ("", &[b"\x01", GROUP, b"\x01", ID, DELIVERY, b"\x01", CONSUMER, b"\x01", ID][..]),
        ("NACK entry without consumer", &[b"\x01", GROUP, b"\x01", ID, DELIVERY, b"\0"]),
        ("Consumer entry not found", &[b"\x01", GROUP, b"\0", b"\x01", CONSUMER, b"\x01", ID]),
        (
            "Stream consumer PEL entry already has a consumer",
            &[b"\x01", GROUP, b"\x01", ID, DELIVERY, b"\x02", CONSUMER, b"\x01", ID, OTHER, b"\x01", ID],
        ),
        ("Duplicate pending entry", &[b"\x01", GROUP, b"\x02", ID, DELIVERY, ID, DELIVERY]),
        ("Duplicate stream consumer", &[b"\x01", GROUP, b"\0", b"\x02", CONSUMER, b"\0", CONSUMER, b"\0"]),
        ("Stream integrity", &[b"\x02", GROUP, b"\0\0", GROUP, b"\0\0"]),
    ] {
        let error = parts(body).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            error.starts_with(expected) && error.is_empty() == expected.is_empty(),
            "{expected}: {error}"
        );
    }
}

#[test]
fn a_damaged_stream_does_no_harm() {
    for (at, flip) in (0..redis_stream().len()).flat_map(|at| [1, 2, 0x40, 0x80, 0xff].map(|flip| (at, flip)))
    {
        let mut stream = redis_stream().to_vec();
        stream[at] ^= flip;
        let Ok((mut found, _)) = read(&file_of(19, &stream)) else { continue };
        for line in [
            "XINFO STREAM key FULL",
            "XREADGROUP GROUP g one STREAMS key 0",
            "XREADGROUP GROUP g two STREAMS key >",
            "XAUTOCLAIM key g new 0 0",
            "XADD key MAXLEN 3 * f v",
            "XDEL key 2-0",
            "XREVRANGE key + -",
            "XTRIM key MINID 3",
        ] {
            found.run(line);
        }
        let written = write(&found.keyspace, Options::default());
        assert_eq!(digest(&read(&written).unwrap().0), digest(&found), "{at} {flip}");
    }
}

#[test]
fn old_forms_and_opcodes_are_read() {
    let file = [
        &b"REDIS0003\xfe\x00"[..],
        b"\xfd\x00\xca\x9a\x3b\x00\x01a\xc1\x10\x27",
        b"\x09\x01m\x08\x01\x01f\x02\x00vv\xff",
        b"\xff",
    ]
    .concat();
    let (mut found, end) = read(&file).unwrap();
    assert_eq!(end, Checksum::Unchecked);
    assert_eq!(found.run("HGETALL m"), "*2\r\n$1\r\nf\r\n$2\r\nvv\r\n");
    let db = &found.keyspace.dbs()[0];
    assert_eq!((db.len(), db.expires_len()), (2, 1));
    assert_eq!(found.keyspace.entry(0, b"a", 0).unwrap().expire_at_ms(), Some(1_000_000_000_000));
}

/// `ReJSON-RL`, version 3.
const REJSON: u64 = 0x45e2_5238_df91_2c03;

#[test]
fn attributes_functions_and_what_is_skipped_come_as_items() {
    let file = [
        &b"REDIS0011"[..],
        b"\xfa\x03ver\x037.2",
        b"\xf5\x04code",
        b"\xf7\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x01\x01\x2a\x03abcd\x04abcdefgh\x05\x02xy\x00",
        b"\xfe\x02\xfb\x01\x00\xf4\x01\x02\x03",
        b"\xf8\x40\x64\xf9\x07\x00\x01k\x01v",
        b"\x07\x04json\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x2a\x05\x02xy\x00",
        b"\xff\0\0\0\0\0\0\0\0behind",
    ]
    .concat();
    let mut source = &file[..];
    let reader = Reader::new(&mut source, Session::new().keyspace.rdb_shapes()).unwrap();
    let mut reader = reader.without_module_values();
    let mut items = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        items.push(format!("{item:?}"));
    }
    assert_eq!(items.len(), 9, "{items:#?}");
    assert!(items[0].starts_with("Aux"), "{items:#?}");
    assert!(items[1].starts_with("Function"), "{items:#?}");
    let module = |key: Option<&str>| {
        format!("Module {{ module: {:?}, key: {:?} }}", ModuleType(REJSON), key.map(str::as_bytes))
    };
    assert_eq!(items[2], module(None));
    assert_eq!(items[3..6], ["Db(2)", "Sizes { keys: 1, expires: 0 }", "Skipped(\"slot info\")"]);
    assert!(items[6].contains("idle_s: Some(100), freq: Some(7)"), "{items:#?}");
    assert_eq!(items[7], module(Some("json")));
    assert_eq!(items[8], "End(Unchecked)");
    drop(reader);
    assert_eq!(source, b"behind", "what follows an RDB preamble is not touched");
}

#[test]
fn a_source_that_gives_one_byte_at_a_time_gives_the_same() {
    struct Trickle(&'static [u8]);
    impl Read for Trickle {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(buf.len()).min(1);
            let (now, rest) = self.0.split_at(count);
            buf[..count].copy_from_slice(now);
            self.0 = rest;
            Ok(count)
        }
    }
    let source = std::io::BufReader::new(Trickle(REDIS));
    let mut session = Session::new();
    let mut reader = Reader::new(source, session.keyspace.rdb_shapes()).unwrap();
    let mut end = None;
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Key(key) => drop(session.keyspace.load_key(key, false, START_MS).unwrap()),
            Item::End(checksum) => end = Some(checksum),
            _ => {}
        }
    }
    assert_eq!(end, Some(Checksum::Verified));
    assert_eq!(digest(&session), digest(&dataset()));
    assert_eq!(reader.offset_bytes(), REDIS.len() as u64);
}

#[test]
fn sorted_keys_are_the_same_and_equal_ones_stay_in_order() {
    let mut session = Session::new();
    let (mut sorter, mut keys) = (Sorter::default(), Keys::default());
    for file in [REDIS, VALKEY, REDIS] {
        let mut reader = Reader::new(file, session.keyspace.rdb_shapes()).unwrap();
        while let Some(item) = reader.next().unwrap() {
            if let Item::Key(key) = item {
                sorter.push(key);
            }
        }
    }
    let (all, mut loaded, mut last) = (sorter.len(), 0, 0);
    assert!(all > 0 && sorter.len_bytes() > all);
    for part in 0..Sorter::PARTS {
        sorter.take(part, &mut keys);
        let places: Vec<u32> = keys.places().map(|(_, hash)| (hash as u32).reverse_bits()).collect();
        assert!(places.is_sorted() && places.first().is_none_or(|&first| first >= last));
        last = places.last().copied().unwrap_or(last);
        assert_eq!((keys.is_empty(), keys.len()), (places.is_empty(), places.len()));
        for key in keys.drain() {
            loaded += usize::from(session.keyspace.load_key(key, true, START_MS).is_ok());
        }
        keys.clear(0);
    }
    assert_eq!((loaded, sorter.is_empty(), sorter.len_bytes()), (all, true, 0));
    assert_eq!(digest(&session), digest(&dataset()), "the last of equal ones is what is there");
}

/// The least of all times stood for none between the reader and the keyspace.
#[test]
fn every_time_is_one_with_and_without_a_sorter() {
    for (at_ms, expected) in [
        (i64::MIN, Some(i64::MIN)),
        (i64::MIN + 1, Some(i64::MIN + 1)),
        (-1, Some(-1)),
        (0, Some(0)),
        (i64::MAX, Some(i64::MAX - 1)),
    ] {
        let file = [&b"REDIS0010\xfc"[..], &at_ms.to_le_bytes(), b"\x00\x01k\x01v\xff", &[0; 8]].concat();
        let (mut direct, mut sorted) = (Session::new(), Session::new());
        let mut reader = Reader::new(&file[..], direct.keyspace.rdb_shapes()).unwrap();
        let Some(Item::Key(key)) = reader.next().unwrap() else { panic!("{at_ms}") };
        direct.keyspace.load_key(key, false, START_MS).unwrap();
        let mut reader = Reader::new(&file[..], sorted.keyspace.rdb_shapes()).unwrap();
        let Some(Item::Key(key)) = reader.next().unwrap() else { panic!("{at_ms}") };
        let (mut sorter, mut keys) = (Sorter::default(), Keys::default());
        sorter.push(key);
        (0..Sorter::PARTS).for_each(|part| sorter.take(part, &mut keys));
        for key in keys.drain() {
            sorted.keyspace.load_key(key, false, START_MS).unwrap();
        }
        let time = |session: &Session| {
            session.keyspace.dbs()[0].table().iter().next().expect("the key").expire_at_ms()
        };
        assert_eq!(time(&direct), expected, "{at_ms}");
        assert_eq!(time(&sorted), expected.map(|at_ms| at_ms.max(i64::MIN + 1)), "{at_ms}");
    }
}

#[test]
fn a_key_comes_once_and_into_a_database_that_is_there() {
    let mut session = Session::new();
    let mut load = |db: u64, replace| {
        let file = [&b"REDIS0010\xfe"[..], &[db as u8], b"\x00\x01k\x01v\xff", &[0; 8]].concat();
        let mut reader = Reader::new(&file[..], session.keyspace.rdb_shapes()).unwrap();
        loop {
            if let Some(Item::Key(key)) = reader.next().unwrap() {
                return session.keyspace.load_key(key, replace, START_MS);
            }
        }
    };
    assert_eq!(load(3, false), Ok(Loaded::Stored));
    let error = load(3, false).unwrap_err();
    assert_eq!(error.to_string(), "RDB has duplicated key 'k' in DB 3, at byte 11");
    assert_eq!(load(3, true), Ok(Loaded::Replaced));
    let error = load(16, false).unwrap_err();
    let expected =
        "the data was created with a server of more than 16 databases: key 'k' is in DB 16, at byte 11";
    assert_eq!((error.to_string().as_str(), error.offset_bytes()), (expected, 11));
}

#[test]
fn the_header_is_that_of_version_10() {
    assert_eq!(VERSION, 10);
    assert_eq!(write(&Keyspace::new(1, 1), Options::default())[..9], *b"REDIS0010");
}
