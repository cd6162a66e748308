//! Hashes.

use std::collections::BTreeMap;

use crate::Session;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

fn encoding(session: &Session, key: &str) -> &'static str {
    let value = session.keyspace.dbs()[0].table().iter().find(|entry| entry.key() == key.as_bytes());
    value.map_or("none", |entry| entry.value().encoding())
}

/// A line that sets the fields from `first` to `last`, each to itself.
fn hset(key: &str, first: usize, last: usize) -> String {
    let pairs: Vec<String> = (first..=last).map(|field| format!("{field} {field}")).collect();
    format!("HSET {key} {}", pairs.join(" "))
}

#[test]
fn replies_are_those_of_redis() {
    Session::new().check(&[
        ("HSET h a 1", ":1\r\n"),
        ("HSET h a 2 b 3 b 4", ":1\r\n"),
        ("HSET h a", "-ERR wrong number of arguments for 'hset' command\r\n"),
        ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command\r\n"),
        ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command\r\n"),
        ("hmset h c x", "+OK\r\n"),
        ("HGET h a", "$1\r\n2\r\n"),
        ("HGET h z", "$-1\r\n"),
        ("HGET none a", "$-1\r\n"),
        ("HMGET h a z b", "*3\r\n$1\r\n2\r\n$-1\r\n$1\r\n4\r\n"),
        ("HMGET none a b", "*2\r\n$-1\r\n$-1\r\n"),
        ("HSETNX h a 9", ":0\r\n"),
        ("HSETNX h d 9", ":1\r\n"),
        ("HSETNX new a 9", ":1\r\n"),
        ("HLEN h", ":4\r\n"),
        ("HLEN none", ":0\r\n"),
        ("HSTRLEN h c", ":1\r\n"),
        ("HSTRLEN h z", ":0\r\n"),
        ("HSTRLEN none z", ":0\r\n"),
        ("HEXISTS h a", ":1\r\n"),
        ("HEXISTS h z", ":0\r\n"),
        ("HDEL h d d z", ":1\r\n"),
        ("HDEL none d", ":0\r\n"),
        ("HKEYS h", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("HVALS h", "*3\r\n$1\r\n2\r\n$1\r\n4\r\n$1\r\nx\r\n"),
        ("HGETALL h", "*6\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n4\r\n$1\r\nc\r\n$1\r\nx\r\n"),
        ("HKEYS none", "*0\r\n"),
        ("HVALS none", "*0\r\n"),
        ("HGETALL none", "*0\r\n"),
        ("HDEL h a b c", ":3\r\n"),
        ("EXISTS h", ":0\r\n"),
        ("HSET h \"\" \"\"", ":1\r\n"),
        ("HGET h \"\"", "$0\r\n\r\n"),
    ]);
}

#[test]
fn integers_and_floats_are_added_as_redis_adds_them() {
    Session::new().check(&[
        ("HINCRBY h n 5", ":5\r\n"),
        ("HINCRBY h n -7", ":-2\r\n"),
        ("HINCRBY h n x", "-ERR value is not an integer or out of range\r\n"),
        ("HSET h s foo max 9223372036854775807 min -9223372036854775808 blank \" 1\"", ":4\r\n"),
        ("HINCRBY h s 1", "-ERR hash value is not an integer\r\n"),
        ("HINCRBY h blank 1", "-ERR hash value is not an integer\r\n"),
        ("HINCRBY h max 1", "-ERR increment or decrement would overflow\r\n"),
        ("HINCRBY h min -1", "-ERR increment or decrement would overflow\r\n"),
        ("HINCRBY h max -9223372036854775808", ":-1\r\n"),
        ("HINCRBYFLOAT h f 3", "$1\r\n3\r\n"),
        ("HINCRBYFLOAT h f 1.1", "$3\r\n4.1\r\n"),
        ("HINCRBYFLOAT h f 5.0e3", "$22\r\n5004.10000000000000009\r\n"),
        ("HINCRBYFLOAT h f nan", "-ERR value is not a valid float\r\n"),
        ("HINCRBYFLOAT h f x", "-ERR value is not a valid float\r\n"),
        ("HINCRBYFLOAT h f inf", "-ERR value is NaN or Infinity\r\n"),
        ("HINCRBYFLOAT h f -inf", "-ERR value is NaN or Infinity\r\n"),
        ("HINCRBYFLOAT h s 1", "-ERR hash value is not a float\r\n"),
        ("HSET h big 1.1e4932", ":1\r\n"),
        ("HINCRBYFLOAT h big 1.1e4932", "-ERR increment would produce NaN or Infinity\r\n"),
        ("HINCRBYFLOAT h min 1", "$20\r\n-9223372036854775807\r\n"),
    ]);
}

#[test]
fn random_fields_have_redis_errors_and_shapes() {
    let out_of_range =
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n";
    let table = [
        ("HSET h a 1", ":1\r\n"),
        ("HRANDFIELD h", "$1\r\na\r\n"),
        ("HRANDFIELD h 0", "*0\r\n"),
        ("HRANDFIELD h 5", "*1\r\n$1\r\na\r\n"),
        ("HRANDFIELD h -2", "*2\r\n$1\r\na\r\n$1\r\na\r\n"),
        ("HRANDFIELD none 5", "*0\r\n"),
        ("HRANDFIELD none 5 WITHVALUES", "*0\r\n"),
        ("HRANDFIELD h x", "-ERR value is not an integer or out of range\r\n"),
        ("HRANDFIELD h x y z", "-ERR value is not an integer or out of range\r\n"),
        ("HRANDFIELD h 1 y", "-ERR syntax error\r\n"),
        ("HRANDFIELD h 1 WITHVALUES z", "-ERR syntax error\r\n"),
        ("HRANDFIELD h -9223372036854775808", out_of_range),
        ("HRANDFIELD h -9223372036854775807 WITHVALUES", "-ERR value is out of range\r\n"),
    ];
    Session::new().check(&table);
    Session::resp3().check(&table);
    Session::new().check(&[
        ("HRANDFIELD none", "$-1\r\n"),
        ("HSET h a 1", ":1\r\n"),
        ("HRANDFIELD h 5 withvalues", "*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HRANDFIELD h -2 withvalues", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n1\r\n"),
    ]);
    Session::resp3().check(&[
        ("HRANDFIELD none", "_\r\n"),
        ("HSET h a 1", ":1\r\n"),
        ("HGETALL h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HGETALL none", "%0\r\n"),
        ("HKEYS h", "*1\r\n$1\r\na\r\n"),
        ("HGET h z", "_\r\n"),
        ("HRANDFIELD h 5 withvalues", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HRANDFIELD h -2 withvalues", "*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HINCRBYFLOAT h a 1", "$1\r\n2\r\n"),
    ]);
}

#[test]
fn random_fields_are_drawn_evenly_from_both_encodings() {
    let mut session = Session::new();
    session.run(&hset("pack", 0, 19));
    session.run(&hset("table", 0, 19));
    session.run(&format!("HSET table 0 {}", "v".repeat(65)));
    assert_eq!([encoding(&session, "pack"), encoding(&session, "table")], ["listpack", "hashtable"]);
    for key in ["pack", "table"] {
        for (count, times) in [("", 2000), ("-50", 40), ("5", 400), ("10", 200)] {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..times {
                let reply = session.run(&format!("HRANDFIELD {key} {count}"));
                let lines: Vec<&str> = reply.split("\r\n").collect();
                for pair in lines.windows(2).filter(|pair| pair[0].starts_with('$')) {
                    *seen.entry(pair[1].to_owned()).or_default() += 1;
                }
            }
            // 2,000 draws from 20: each is due a hundred times; five standard deviations are 49.
            assert_eq!(seen.len(), 20, "{key} {count}");
            assert!(seen.values().all(|times| (50..150).contains(times)), "{key} {count}: {seen:?}");
        }
    }
}

#[test]
fn another_type_is_refused_by_every_command() {
    let mut session = Session::new();
    session.run("SET string v");
    for line in [
        "HSET string a 1",
        "HMSET string a 1",
        "HSETNX string a 1",
        "HGET string a",
        "HMGET string a",
        "HDEL string a",
        "HLEN string",
        "HSTRLEN string a",
        "HEXISTS string a",
        "HKEYS string",
        "HVALS string",
        "HGETALL string",
        "HINCRBY string a 1",
        "HINCRBYFLOAT string a 1",
        "HRANDFIELD string",
        "HRANDFIELD string 1",
        "HSCAN string 0",
    ] {
        session.check(&[(line, WRONG_TYPE)]);
        assert!(session.effects().is_empty(), "{line}");
    }
}

#[test]
fn effects_replay_to_the_same_state() {
    let mut session = Session::new();
    session.check_effects(&[
        ("HSET h a 1", &["HSET h a 1"]),
        ("HSET h a 1", &["HSET h a 1"]),
        ("HSETNX h a 1", &[]),
        ("HDEL h z", &[]),
        ("HINCRBY h a 1", &["HINCRBY h a 1"]),
        ("HINCRBYFLOAT h a 1.5", &["HSET h a 3.5"]),
        ("HINCRBY h a 1", &[]),
        ("HDEL h a", &["HDEL h a"]),
    ]);
    assert_eq!(session.events(), ["hdel h", "del h"]);
    session.run("HSET h a 1 b 2");
    assert_eq!((session.unit.dirty, session.events()), (2, vec!["hset h".to_owned()]));
}

#[test]
fn encodings_change_where_redis_7_2_changes_them() {
    let mut session = Session::new();
    let mut case = |lines: &[String], key: &str, expected: &str| {
        lines.iter().for_each(|line| assert!(!session.run(line).starts_with('-')));
        assert_eq!(encoding(&session, key), expected, "{}", lines.last().unwrap());
    };
    case(&[hset("h", 1, 512)], "h", "listpack");
    case(&[hset("h", 1, 512)], "h", "listpack");
    case(&[hset("h", 513, 513)], "h", "hashtable");
    case(&["HDEL h 513".into()], "h", "hashtable");
    case(&[hset("i", 1, 513)], "i", "hashtable");
    case(&[format!("HSET j a {}", "v".repeat(64))], "j", "listpack");
    case(&[format!("HSET j a {}", "v".repeat(65))], "j", "hashtable");
    case(&[format!("HSET k {} a", "f".repeat(65))], "k", "hashtable");
    case(&["HSET l a 1".into(), format!("HINCRBY l {} 1", "f".repeat(65))], "l", "hashtable");
}

#[test]
fn long_fields_and_values_survive_the_table() {
    let mut session = Session::new();
    let table: Vec<(String, String)> = [0, 1, 254, 255, 256, 70_000]
        .into_iter()
        .map(|len| ("f".repeat(len), "v".repeat(len + 100)))
        .collect();
    for (field, value) in &table {
        session.run_argv(&[b"HSET", b"h", field.as_bytes(), b"first"]);
        session.run_argv(&[b"HSET", b"h", field.as_bytes(), value.as_bytes()]);
    }
    for (field, value) in &table {
        let reply = session.run_argv(&[b"HGET", b"h", field.as_bytes()]);
        assert_eq!(reply, format!("${}\r\n{value}\r\n", value.len()).into_bytes());
        assert_eq!(session.run_argv(&[b"HDEL", b"h", field.as_bytes()]), b":1\r\n");
    }
    assert_eq!(session.run("EXISTS h"), ":0\r\n");
}

#[test]
fn hscan_filters_by_field() {
    Session::new().check(&[
        ("HSET h a1 x a2 y b1 a", ":3\r\n"),
        ("HSCAN h 0 MATCH a*", "*2\r\n$1\r\n0\r\n*4\r\n$2\r\na1\r\n$1\r\nx\r\n$2\r\na2\r\n$1\r\ny\r\n"),
        ("HSCAN h 0 NOVALUES", "-ERR syntax error\r\n"),
        ("HSCAN none 0 bogus", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("HSCAN none x", "-ERR invalid cursor\r\n"),
    ]);
}
