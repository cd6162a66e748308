//! The fingerprint of data: equal for equal data, different for any other.

use keyspace::Digest;

use crate::Session;

fn digest(lines: &[&str]) -> Digest {
    let mut session = Session::new();
    for line in lines {
        let reply = session.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    Digest::of(session.keyspace.dbs())
}

#[test]
fn no_data_is_forty_zeros() {
    assert_eq!(digest(&["SET a 1", "DEL a"]).to_string(), "0".repeat(40));
}

#[test]
fn neither_order_nor_encoding_matters() {
    let expanded = format!("HSET h b 2 c {} a 1", "x".repeat(100));
    let table: [(&[&str], &[&str]); 6] = [
        (&["SET a 1", "SET b 2"], &["SET b 2", "SET a 1"]),
        (&["SADD s 1 2 3"], &["SADD s a 3 2 1", "SREM s a"]),
        (&["HSET h a 1 b 2"], &[&expanded, "HDEL h c"]),
        (&["ZADD z 1 a 2 b"], &["ZADD z 2 b 1 a"]),
        (&["RPUSH l a b"], &["LPUSH l b a"]),
        (&["SET n 12"], &["APPEND n 1", "APPEND n 2"]),
    ];
    for (one, other) in table {
        assert_eq!(digest(one), digest(other), "{one:?}");
    }
}

#[test]
fn each_difference_shows() {
    let all = [
        vec!["SET a 1"],
        vec!["SET a 2"],
        vec!["SET b 1"],
        vec!["SET a 1 PXAT 1800000000000"],
        vec!["SET a 1 PXAT 1800000000001"],
        vec!["SET a 1", "MOVE a 1"],
        vec!["SADD a 1"],
        vec!["RPUSH a 1"],
        vec!["RPUSH a 1 1"],
        vec!["RPUSH a 1 2"],
        vec!["RPUSH a 2 1"],
        vec!["RPUSH a 12"],
        vec!["HSET a 1 2"],
        vec!["HSET a 2 1"],
        vec!["ZADD a 1 1"],
        vec!["ZADD a 2 1"],
        vec!["XADD a 1-1 f 1"],
        vec!["XADD a 1-2 f 1"],
        vec!["XADD a 1-1 f 2"],
        vec!["XADD a 1-1 f 1", "XSETID a 1-2"],
        vec!["XADD a 1-1 f 1", "XSETID a 1-1 ENTRIESADDED 2"],
        vec!["XADD a 1-1 f 1", "XGROUP CREATE a g 0"],
        vec!["XADD a 1-1 f 1", "XGROUP CREATE a g 1"],
        vec!["XADD a 1-1 f 1", "XGROUP CREATE a g 0", "XGROUP CREATECONSUMER a g c"],
        vec!["XADD a 1-1 f 1", "XGROUP CREATE a g 1-1", "XCLAIM a g c 0 1-1 FORCE"],
        vec!["SADD a 1 2", "SADD b 3"],
        vec!["SADD a 1", "SADD b 2 3"],
    ];
    let mut digests: Vec<String> = all.iter().map(|lines| digest(lines).to_string()).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), all.len());
}
