//! RDB files that other servers wrote, from Redis 2.4 on: each is read to the last key, and holds what the same commands
//! give here.

use std::collections::BTreeSet;

use keyspace::rdb::{Checksum, Crc64, Item, Reader, Verdict};

use crate::Session;
use crate::rdb::{digest, encodings, file_of, read};

/// The commands, each behind the oldest server that got it.
const DATASET: &str = include_str!("../fixtures/dataset.txt");

/// A file and what is known of it.
pub(crate) struct Fixture {
    pub(crate) file: &'static [u8],
    name: &'static str,
    /// The version of its server, as the dataset counts.
    server: &'static str,
    /// The version of the format.
    format: u16,
    /// The types of its values, beside [`EVERYWHERE`].
    types: [&'static [&'static str]; 2],
}

macro_rules! fixture {
    ($name:literal, $server:literal, $format:literal, $types:expr, $more:expr) => {
        Fixture {
            file: include_bytes!(concat!("../fixtures/", $name)),
            name: $name,
            server: $server,
            format: $format,
            types: [$types, $more],
        }
    };
}

pub(crate) const FIXTURES: &[Fixture] = &[
    // Its zipmaps hold longer values than any other did: it was told to.
    fixture!("redis-2.4.18.rdb", "2.4", 2, &["hash-zipmap"], LINKED),
    fixture!("redis-2.6.4.rdb", "2.6", 6, &["hash-hashtable", "hash-ziplist"], LINKED),
    fixture!("redis-2.8.24.rdb", "2.8", 6, &["hash-hashtable", "hash-ziplist"], LINKED),
    fixture!("redis-3.0.7.rdb", "3.0", 6, &["hash-hashtable", "hash-ziplist"], LINKED),
    fixture!("redis-3.2.13.rdb", "3.2", 7, &["quicklist", "zset-v1"], ZIPPED),
    fixture!("redis-4.0.14.rdb", "4.0", 8, &["quicklist", "zset-v2"], ZIPPED),
    fixture!("redis-5.0.14.rdb", "5.0", 9, &["quicklist", "zset-v2", "stream"], ZIPPED),
    fixture!("redis-6.0.20.rdb", "6.0", 9, &["quicklist", "zset-v2", "stream"], ZIPPED),
    fixture!("redis-6.2.16.rdb", "6.2", 9, &["quicklist", "zset-v2", "stream"], ZIPPED),
    fixture!("redis-7.0.15.rdb", "7.0", 10, &["stream-v2"], PACKED),
    fixture!("redis-7.2.6.rdb", "7.2", 11, &["set-listpack", "stream-v3"], PACKED),
    fixture!("valkey-9.1.rdb", "9.1", 80, &["set-listpack", "stream-v3"], PACKED),
];

/// A hash with fields that expire, and a key behind it.
const EXPIRING_FIELDS: &[u8] = include_bytes!("../fixtures/valkey-9.1-expiring-fields.rdb");

/// The types that every file has.
const EVERYWHERE: &[&str] = &["string", "set-hashtable", "set-intset"];
/// Those that many have.
const LINKED: &[&str] = &["list-linked", "list-ziplist", "zset-v1", "zset-ziplist"];
const ZIPPED: &[&str] = &["zset-ziplist", "hash-hashtable", "hash-ziplist"];
const PACKED: &[&str] = &["quicklist-v2", "zset-v2", "zset-listpack", "hash-hashtable", "hash-listpack"];

/// What Redis before 7.0 does not know of a stream: what was deleted, and how much a group has read.
const UNKNOWN_BEFORE_7: &[&str] = &[
    "xgroup setid stream g 2-0",
    "del deleted emptied",
    "xadd deleted 1-2 a 2",
    "xadd emptied maxlen 0 1-1 a 1",
    "xsetid emptied 1-1 entriesadded 0 maxdeletedid 0-0",
];

/// A keyspace that executed what a server of some version got.
pub(crate) fn dataset(server: &str) -> Session {
    let mut session = Session::new();
    if server == "3.2" {
        // It was told so, for lists of several nodes.
        session.keyspace.limits.list_max_listpack_size = 3;
    }
    for (since, line) in DATASET.lines().map(|line| line.split_once(' ').unwrap()) {
        match line.strip_prefix("select ") {
            _ if since > server => {}
            Some(db) => session.db = db.parse().unwrap(),
            None => assert!(!session.run(line).starts_with('-'), "{line}"),
        }
    }
    session.db = 0;
    if ("5.0".."7.0").contains(&server) {
        UNKNOWN_BEFORE_7.iter().for_each(|line| assert!(!session.run(line).starts_with('-'), "{line}"));
    }
    session
}

/// The bodies that DUMP's payloads of a file's keys would have: types and values as they stand there.
pub(crate) fn bodies(file: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(file, Session::new().keyspace.rdb_shapes()).unwrap();
    let (mut start, mut bodies) = (0, Vec::new());
    while let Some(item) = reader.next().unwrap() {
        // Behind what the file says of a key there is the type, the key as a short string, and the value.
        let named = match item {
            Item::Key(key) => Some([&[u8::try_from(key.key.len()).unwrap()], key.key].concat()),
            _ => None,
        };
        let end = usize::try_from(reader.offset_bytes()).unwrap();
        if let Some(named) = named {
            let item = &file[start..end];
            let at = item.windows(named.len()).position(|bytes| bytes == named).unwrap();
            bodies.push([&item[at - 1..at], &item[at + named.len()..]].concat());
        }
        start = end;
    }
    bodies
}

#[test]
fn a_file_of_any_server_holds_what_its_commands_gave() {
    for Fixture { file, name, server, format, .. } in FIXTURES {
        let (found, checksum) = read(file).unwrap();
        let expected = dataset(server);
        let has_checksum = *format >= 5;
        assert_eq!(checksum, if has_checksum { Checksum::Verified } else { Checksum::Unchecked }, "{name}");
        assert_eq!(encodings(&found), encodings(&expected), "{name}");
        for (number, key, _) in encodings(&found) {
            let [found, expected] = [&found, &expected].map(|session| {
                let entry = session.keyspace.entry(number, &key, session.now_ms).unwrap();
                (keyspace::Digest::of_value(entry.value()), entry.expire_at_ms())
            });
            assert_eq!(found, expected, "{name}: {}", key.escape_ascii());
        }
        assert_eq!(digest(&found), digest(&expected), "{name}");
    }
}

/// An error names the type that it met.
#[test]
fn a_file_of_any_server_has_the_types_of_its_time() {
    for Fixture { file, name, types, .. } in FIXTURES {
        let cut = bodies(file).into_iter().map(|body| {
            let whole = file_of(body[0], &body[1..]);
            // Without its last byte and what is behind it.
            read(&whole[..whole.len() - 10]).err().expect(name)
        });
        let found: BTreeSet<&str> = cut.filter_map(|error| error.type_name).collect();
        let expected = [EVERYWHERE, types[0], types[1]].concat();
        assert_eq!(found, expected.into_iter().collect(), "{name}");
    }
}

/// A file of the version brings no type that an older one does not have, unless a hash has fields that expire.
#[test]
fn the_first_version_and_the_newest_are_read_as_those_between() {
    for (name, version) in [("redis-2.4.18.rdb", 1), ("redis-7.2.6.rdb", 12)] {
        let fixture = FIXTURES.iter().find(|fixture| fixture.name == name).unwrap();
        let mut file = fixture.file.to_vec();
        file[5..9].copy_from_slice(format!("{version:04}").as_bytes());
        if version >= 5 {
            let summed = file.len() - 8;
            let crc = Crc64::of(&file[..summed]);
            file[summed..].copy_from_slice(&crc.to_le_bytes());
        }
        assert_eq!(Reader::new(&file[..], Session::new().keyspace.rdb_shapes()).unwrap().version(), version);
        let (found, checksum) = read(&file).unwrap();
        let expected = if version >= 5 { Checksum::Verified } else { Checksum::Unchecked };
        assert_eq!(checksum, expected, "{name} as {version}");
        assert_eq!(digest(&found), digest(&read(fixture.file).unwrap().0), "{name} as {version}");
        assert_eq!(encodings(&found), encodings(&dataset(fixture.server)), "{name} as {version}");
    }
}

/// The code of its hashes is another type of Redis's, by whose name they were refused; what a cluster's import of slots
/// leaves passed for damage.
#[test]
fn what_only_valkey_writes_is_refused_by_its_name() {
    let hash = "hashes with fields that expire are not supported yet";
    for (file, verdict, expected) in [
        (
            EXPIRING_FIELDS,
            Verdict::Unsupported,
            &*format!("{hash}, at byte 116 (type hash-volatile-items, key 'hash')"),
        ),
        (
            b"REDIS0012\x16\x04hash",
            Verdict::Unsupported,
            &format!("{hash}, at byte 15 (type hash-metadata-pre-ga, key 'hash')"),
        ),
        (b"VALKEY080\x17\x04hash", Verdict::Damaged, "unknown RDB type or opcode 23, at byte 10"),
        (
            b"VALKEY080\xf3\x04name\x01\x00\x02",
            Verdict::Unsupported,
            "a cluster's import of slots is not supported, at byte 10",
        ),
        (b"REDIS0011\xf3\x04name", Verdict::Damaged, "unknown RDB type or opcode 243, at byte 10"),
    ] {
        let error = read(file).err().expect(expected);
        assert_eq!((error.to_string().as_str(), error.verdict()), (expected, verdict));
    }
}

#[test]
fn versions_and_what_a_policy_notes_of_each_key_are_read() {
    for Fixture { file, name, format, .. } in FIXTURES {
        let mut reader = Reader::new(*file, Session::new().keyspace.rdb_shapes()).unwrap();
        assert_eq!(reader.version(), *format, "{name}");
        while let Some(item) = reader.next().unwrap() {
            if let Item::Key(key) = item {
                let noted = (key.idle_s.is_some(), key.freq.is_some());
                assert_eq!(noted, (*name == "redis-5.0.14.rdb", *name == "redis-6.0.20.rdb"), "{name}");
            }
        }
    }
}
