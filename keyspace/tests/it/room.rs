//! Room that a load makes ahead of its keys, and what it reads ahead.

use bytes::BytesMut;
use keyspace::{Call, Keyspace, Unit};
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
