//! DUMP and RESTORE.

use keyspace::rdb::Crc64;

use crate::{START_MS, Session};

/// The payload that DUMP replies with.
fn dump(session: &mut Session, key: &str) -> Vec<u8> {
    let reply = session.run_argv(&[b"DUMP", key.as_bytes()]);
    let start = reply.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    reply[start..reply.len() - 2].to_vec()
}

fn restore(session: &mut Session, key: &str, ttl: &str, payload: &[u8], options: &str) -> String {
    let mut argv: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), ttl.as_bytes(), payload];
    argv.extend(options.split_whitespace().map(str::as_bytes));
    String::from_utf8_lossy(&session.run_argv(&argv)).into_owned()
}

#[test]
fn a_payload_has_the_form_that_every_server_reads() {
    let mut session = Session::new();
    session.run("SET k hello");
    let payload = dump(&mut session, "k");
    assert_eq!(payload[..9], *b"\x00\x05hello\x0a\x00");
    assert_eq!(payload[9..], Crc64::of(&payload[..9]).to_le_bytes());
    assert_eq!(session.run("DUMP nothing"), "$-1\r\n");
    assert_eq!(session.unit.ops().count(), 0);
}

#[test]
fn a_payload_is_compressed_as_rdbcompression_says() {
    let mut session = Session::new();
    let long = "x".repeat(100);
    session.run(&format!("SET k {long}"));
    session.run(&format!("RPUSH l {long}"));
    for (key, rdb_compression) in [("k", true), ("k", false), ("l", true), ("l", false)] {
        session.keyspace.limits.rdb_compression = rdb_compression;
        let payload = dump(&mut session, key);
        let is_plain = payload.windows(long.len()).any(|bytes| bytes == long.as_bytes());
        assert_eq!(is_plain, !rdb_compression, "{key}");
        assert_eq!(restore(&mut session, "restored", "0", &payload, "REPLACE"), "+OK\r\n");
        assert_eq!(session.run(&format!("DUMP {key}")), session.run("DUMP restored"));
    }
}

#[test]
fn every_type_survives() {
    let mut session = Session::new();
    for line in [
        "SET a 12",
        "RPUSH b x 1 y",
        "SADD c 1 2",
        "SADD d x y",
        "HSET e f v",
        "ZADD g 1.5 m",
        "PFADD h x y",
        "XADD i 5-1 f v",
        "XGROUP CREATE i g 0",
        "XREADGROUP GROUP g c STREAMS i >",
        "XADD j MAXLEN 0 * f v",
    ] {
        session.run(line);
    }
    let before = keyspace::Digest::of(session.keyspace.dbs());
    for key in ["a", "b", "c", "d", "e", "g", "h", "i", "j"] {
        let payload = dump(&mut session, key);
        session.run(&format!("DEL {key}"));
        assert_eq!(restore(&mut session, key, "0", &payload, ""), "+OK\r\n");
    }
    assert_eq!(keyspace::Digest::of(session.keyspace.dbs()), before);
    assert!(session.keyspace.dbs()[0].table().iter().all(|entry| entry.expire_at_ms().is_none()));
}

#[test]
fn a_relative_time_is_logged_as_an_absolute_one() {
    let mut session = Session::new();
    session.run("SET k hello");
    let payload = dump(&mut session, "k");
    assert_eq!(restore(&mut session, "k", "0", &payload, ""), "-BUSYKEY Target key name already exists.\r\n");
    assert_eq!(restore(&mut session, "k", "5000", &payload, "REPLACE"), "+OK\r\n");
    let logged = session.effects();
    assert!(logged[0].starts_with(&format!("RESTORE k {} ", START_MS + 5000)), "{logged:?}");
    assert!(logged[0].ends_with("REPLACE ABSTTL"), "{logged:?}");
    assert_eq!(session.run("PTTL k"), ":5000\r\n");
    let at = (START_MS + 7000).to_string();
    assert_eq!(restore(&mut session, "k", &at, &payload, "absttl replace"), "+OK\r\n");
    assert!(session.effects()[0].ends_with("absttl replace"), "{:?}", session.effects());
    assert_eq!(session.run("PTTL k"), ":7000\r\n");
}

#[test]
fn a_time_that_is_over_deletes_what_was_to_be_replaced() {
    let mut session = Session::new();
    session.run("SET k hello");
    let payload = dump(&mut session, "k");
    let past = (START_MS - 1).to_string();
    assert_eq!(restore(&mut session, "other", &past, &payload, "ABSTTL"), "+OK\r\n");
    assert_eq!(session.unit.ops().count(), 0);
    assert_eq!(restore(&mut session, "k", &past, &payload, "ABSTTL REPLACE"), "+OK\r\n");
    assert_eq!(session.effects(), ["DEL k"]);
    assert_eq!(session.run("EXISTS k other"), ":0\r\n");
}

#[test]
fn a_refused_value_is_explained_to_the_log() {
    let mut session = Session::new();
    let zset = sealed(b"\x0c\x03abc", 10);
    assert_eq!(restore(&mut session, "k", "0", &zset, ""), "-ERR Bad data format\r\n");
    let expected =
        "Internal error in RDB reading: Zset ziplist integrity check failed, at byte 5 (type zset-ziplist)";
    assert_eq!(session.unit.remarks, [expected]);
    assert_eq!(restore(&mut session, "k", "0", &sealed(b"\x00\x01a!", 10), ""), "-ERR Bad data format\r\n");
    assert_eq!(session.unit.remarks.len(), 1, "the one of this command");
    assert!(
        session.unit.remarks[0].contains("bytes behind the value, at byte 3"),
        "{:?}",
        session.unit.remarks
    );
    session.run("EXISTS k");
    session.run("EXISTS k");
    assert!(session.unit.remarks.is_empty());
}

/// What DUMP of valkey-server 9.1.2 gave for a hash with fields that expire.
#[test]
fn a_value_that_only_valkey_has_is_refused_by_its_name() {
    let body = b"\x16\x01\x01a\xc0\x01\x00\xd8\xc3,\xbb\x03\x00\x00";
    for (version, name) in [(80, "hash-volatile-items"), (12, "hash-metadata-pre-ga")] {
        let mut session = Session::new();
        let reply = restore(&mut session, "k", "0", &sealed(body, version), "");
        assert_eq!(reply, "-ERR Bad data format\r\n");
        let remark = &session.unit.remarks[0];
        assert!(remark.starts_with("RDB data that are sound, but have no place here"), "{remark}");
        assert!(remark.contains(name), "{remark}");
    }
}

#[test]
fn a_checksum_that_is_skipped_is_put_right_for_the_log() {
    let mut session = Session::new();
    let good = sealed(b"\x00\x01a", 10);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let footer = "-ERR DUMP payload version or checksum are wrong\r\n";
    assert_eq!(restore(&mut session, "k", "0", &bad, ""), footer);
    session.keyspace.skips_checksums = true;
    assert_eq!(restore(&mut session, "k", "0", b"\x00\x00\x0a\x00", ""), footer);
    assert_eq!(restore(&mut session, "k", "0", &bad, ""), "+OK\r\n");
    let (_, effect) = session.unit.ops().next().unwrap();
    assert!(effect.windows(good.len()).any(|window| window == good), "{}", effect.escape_ascii());
    assert_eq!(session.run("GET k"), "$1\r\na\r\n");
}

#[test]
fn refusals_are_those_of_redis() {
    let mut session = Session::new();
    session.run("SET k hello");
    let good = dump(&mut session, "k");
    let footer = "-ERR DUMP payload version or checksum are wrong\r\n";
    for (payload, expected) in [
        (&b""[..], footer),
        (b"123456789", footer),
        (&good[..good.len() - 1], footer),
        (&sealed(b"\x00\x05hello", 13), footer),
        (&sealed(b"\x00\x06hello", 10), "-ERR Bad data format\r\n"),
        (&sealed(b"\x00\x04hello", 10), "-ERR Bad data format\r\n"),
        (&sealed(b"\x02\x00", 10), "-ERR Bad data format\r\n"),
        (&sealed(b"", 10), "-ERR Bad data format\r\n"),
    ] {
        assert_eq!(restore(&mut session, "new", "0", payload, ""), expected, "{payload:?}");
    }
    for (ttl, options, expected) in [
        ("-1", "", "-ERR Invalid TTL value, must be >= 0\r\n"),
        ("x", "", "-ERR value is not an integer or out of range\r\n"),
        ("0", "bad", "-ERR syntax error\r\n"),
        ("0", "idletime", "-ERR syntax error\r\n"),
        ("0", "idletime -1", "-ERR Invalid IDLETIME value, must be >= 0\r\n"),
        ("0", "freq 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n"),
        ("0", "freq 1 idletime 1", "-ERR syntax error\r\n"),
    ] {
        assert_eq!(restore(&mut session, "new", ttl, &good, options), expected, "{ttl} {options}");
    }
    assert_eq!(restore(&mut session, "new", "0", &sealed(b"\x00\x05hello", 12), "idletime 1000"), "+OK\r\n");
    assert_eq!(session.run("OBJECT IDLETIME new"), ":1000\r\n");
}

fn sealed(body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [body, &version.to_le_bytes()].concat();
    payload.extend_from_slice(&Crc64::of(&payload).to_le_bytes());
    payload
}
