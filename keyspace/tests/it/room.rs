//! Room that a load makes ahead of its keys, and what it reads ahead.

use bytes::BytesMut;
use keyspace::{Call, Digest, Keyspace, Unit};
use resp::{Encoder, Version};

#[test]
fn room_made_ahead_and_given_back_changes_nothing_but_the_work() {
    // What is expected of each part: the truth, far too much, and nothing.
    for whole in [4_000_u64, u64::MAX, 0] {
        let mut keyspace = Keyspace::new(2, 42);
        keyspace.start_loading();
        let (mut out, mut unit) = (BytesMut::new(), Unit::default());
        for n in 0..4_000_u64 {
            let key = format!("key:{n}");
            keyspace.expect_growth(n, whole);
            let hash = keyspace.hash(key.as_bytes());
            keyspace.warm(&[(0, hash), (1, 1), (7, u64::MAX)]);
            let argv: &[&[u8]] = &[b"SET", key.as_bytes(), b"v", b"PXAT", b"9000000000000"];
            keyspace.execute(&Call::new(0, 1, argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
        }
        keyspace.end_loading();
        assert_eq!((keyspace.dbs()[0].len(), keyspace.dbs()[0].expires_len()), (4_000, 4_000));
        for n in 0..4_000 {
            let entry = keyspace.entry(0, format!("key:{n}").as_bytes(), 1);
            assert!(entry.is_some_and(|entry| entry.expire_at_ms() == Some(9_000_000_000_000)), "key:{n}");
        }
        let (mut cursor, mut seen) = (0, 0);
        loop {
            cursor = keyspace.dbs()[0].table().scan(cursor, 10, |_| seen += 1);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, 4_000, "{whole} expected");
    }
}

#[test]
fn values_of_every_form_are_read_ahead_and_stay_what_they_are() {
    let mut keyspace = Keyspace::new(1, 42);
    let (mut out, mut unit) = (BytesMut::new(), Unit::default());
    let long = "x".repeat(10_000);
    let lines = [
        "SET string s".to_owned(),
        "SET integer 12".to_owned(),
        format!("SET raw {long}"),
        format!("SET {long} s"),
        format!("RPUSH {long}list a"),
        "RPUSH list a b c".to_owned(),
        format!("RPUSH quicklist {long} {long}"),
        "SADD intset 1 2 3".to_owned(),
        "SADD set a b c".to_owned(),
        format!("SADD table {long}"),
        "HSET hash name value".to_owned(),
        format!("HSET long-hash {long} value"),
        "ZADD zset 1 a 2.5 b".to_owned(),
        format!("ZADD skiplist 1 {long}"),
        "XADD stream 1-1 field value".to_owned(),
        "PFADD hyperloglog a".to_owned(),
    ];
    for line in &lines {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        out.clear();
        keyspace.execute(&Call::new(0, 1, &argv), &mut Encoder::new(&mut out, Version::Resp2), &mut unit);
        assert_ne!(out.first(), Some(&b'-'), "{line:.40}: {}", out.escape_ascii());
    }
    let digest = Digest::of(keyspace.dbs());
    let hashes = |line: &String| (0, keyspace.hash(line.split(' ').nth(1).unwrap_or_default().as_bytes()));
    let places: Vec<(usize, u64)> = lines.iter().map(hashes).cycle().take(100).collect();
    keyspace.warm(&places);
    assert_eq!(Digest::of(keyspace.dbs()), digest);
}
