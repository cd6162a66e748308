//! A dataset with everything that an append-only file must carry, and the comparison of what two servers hold.
//!
//! Values are compared one by one, not by DEBUG DIGEST: a difference is named, and no server has to know another's
//! digest. Contents depend on nothing but this file, so a failure repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::client::{Client, Value};

/// Databases that get data: the first, the last, and one between.
const DATABASES: [u8; 3] = [0, 3, 15];
/// Elements of an expanded collection: more than any server's compact encoding takes.
const EXPANDED: usize = 700;
/// Keys that live for a while do so for far longer than a test takes.
const TTL_MS: u64 = 3_600_000;

/// All that a server holds: `(database, key)` to value.
pub(crate) type Dataset = BTreeMap<(u8, Vec<u8>), Entry>;

/// A key's value as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    kind: String,
    /// Unix time in milliseconds; -1 for never.
    expire_at_ms: i64,
    /// Elements in the type's order; by content where the type has none.
    content: Vec<Value>,
}

/// Writes the dataset's first part: all types, small and large, in several databases.
pub(crate) fn fill(client: &mut Client) -> Result<()> {
    for database in DATABASES {
        client.call(&[b"SELECT".to_vec(), database.to_string().into_bytes()])?;
        strings(client)?;
        for (suffix, count, padding) in [("compact", 5, 0), ("expanded", EXPANDED, 0), ("wide", 5, 300)] {
            collections(client, suffix, count, padding)?;
        }
        streams(client)?;
        expiring(client)?;
    }
    // Long enough for the short-lived keys to be gone, so that all servers agree on them.
    std::thread::sleep(Duration::from_millis(60));
    Ok(())
}

/// Writes the second part, on top of the first: changes of each kind, removals, a transaction. What happens after a
/// rewrite lands in another file than what happened before.
pub(crate) fn change(client: &mut Client) -> Result<()> {
    for database in DATABASES {
        client.call(&[b"SELECT".to_vec(), database.to_string().into_bytes()])?;
        for line in CHANGES.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            client.push(&words);
        }
        client.flush()?;
    }
    Ok(())
}

const CHANGES: &str = "\
    SET text rewritten KEEPTTL
    APPEND empty not-any-more
    INCRBY integer -5
    INCRBYFLOAT float 0.25
    SETRANGE raw 10 patched
    DEL binary-value
    PERSIST ttl:string
    PEXPIRE ttl:hash 7200000
    GETEX text EX 5000
    LPUSH list:compact left
    RPOP list:compact
    LTRIM list:expanded 3 650
    LREM list:wide 1 nothing
    LMOVE list:expanded list:wide RIGHT LEFT
    SADD set:integers 100000 -7
    SPOP set:expanded 20
    SREM set:compact member:1
    SMOVE set:compact set:wide member:2
    HSET hash:compact field:1 changed extra 1
    HINCRBY hash:compact extra 41
    HDEL hash:expanded field:7 field:8
    ZADD zset:compact 2.5 member:0 -inf lowest
    ZINCRBY zset:compact 0.1 member:1
    ZREMRANGEBYRANK zset:expanded 0 9
    ZPOPMAX zset:wide
    RENAME hash:wide hash:renamed
    COPY zset:compact zset:copied
    MULTI
    SET in-transaction 1
    RPUSH in-transaction:list a b c
    EXEC
    XADD stream:compact MAXLEN 3 2-0 field changed
    XDEL stream:expanded 500 501
    XREADGROUP GROUP readers carol COUNT 2 STREAMS stream:expanded >
    XGROUP DESTROY stream:expanded idle
    PFADD hyperloglog a b c d
    SUNIONSTORE set:union set:compact set:integers
    ZADD zset:emptied 1 a
    ZREM zset:emptied a
    SET ttl:fresh value PX 3600000";

fn strings(client: &mut Client) -> Result<()> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long: Vec<u8> = (0..200_000u32).map(|at| (at * 31 % 251) as u8).collect();
    let rows: [(&[u8], &[u8]); 9] = [
        (b"text", b"plain"),
        (b"empty", b""),
        (b"integer", b"-9223372036854775808"),
        (b"float", b"3.0e3"),
        (b"raw", b"a string that is longer than forty-four bytes and so has an encoding of its own"),
        (b"long", &long),
        (b"binary-value", &every_byte),
        (&every_byte, b"under a key of every byte"),
        (b"line\r\nend *3\r\n$3\r\n", b"\r\n$5\r\nhello\r\n"),
    ];
    for (key, value) in rows {
        client.push(&[b"SET", key, value]);
    }
    client.push(&["SET", "integer", "12345"]);
    // Too many for the sparse form.
    let elements: Vec<String> = (0..5000).map(|at| format!("element:{at}")).collect();
    client.push(
        &[&["PFADD", "hyperloglog:dense"][..], &elements.iter().map(String::as_str).collect::<Vec<_>>()]
            .concat(),
    );
    client.flush()?;
    Ok(())
}

/// One list, set, hash and sorted set of `count` elements, each padded with `padding` bytes.
fn collections(client: &mut Client, suffix: &str, count: usize, padding: usize) -> Result<()> {
    let padding = "x".repeat(padding);
    for at in 0..count {
        client.push(&["RPUSH", &format!("list:{suffix}"), &format!("element:{at}{padding}")]);
        client.push(&["SADD", &format!("set:{suffix}"), &format!("member:{at}{padding}")]);
        client.push(&["HSET", &format!("hash:{suffix}"), &format!("field:{at}"), &format!("{at}{padding}")]);
        let score =
            [String::from("0.1"), format!("{}", at as f64 / 3.0), String::from("inf"), format!("{at}")];
        client.push(&["ZADD", &format!("zset:{suffix}"), &score[at % 4], &format!("member:{at}{padding}")]);
        client.push(&["SADD", &format!("set:integers{padding}"), &(at * at).to_string()]);
        if at % 100 == 99 {
            client.flush()?;
        }
    }
    let binary: &[u8] = b"\x00\xff\r\n";
    client.push(&[b"RPUSH", format!("list:{suffix}").as_bytes(), binary, b"", b"42"]);
    client.push(&[b"SADD", format!("set:{suffix}").as_bytes(), binary, b"", b"42"]);
    client.push(&[b"HSET", format!("hash:{suffix}").as_bytes(), binary, binary, b"", b""]);
    client.push(&[b"ZADD", format!("zset:{suffix}").as_bytes(), b"-1.5", binary, b"1e300", b""]);
    client.flush()?;
    Ok(())
}

/// Acknowledges the entries that are pending and gone: a base of commands by Redis or Valkey leaves those out.
pub(crate) fn forget_deleted(client: &mut Client) -> Result<()> {
    for database in DATABASES {
        client.call(&["SELECT", &database.to_string()])?;
        client.call(&["XACK", "stream:haunted", "readers", "1-1", "3-1", "5-1"])?;
        client.call(&["XACK", "stream:haunted", "others", "1-1", "3-1"])?;
        client.call(&["XACK", "stream:all-gone", "readers", "1-1", "2-1"])?;
    }
    Ok(())
}

/// A small stream, one of many nodes with entries that are gone, groups, consumers and pending entries, and two where such
/// an entry is pending. Of these it is said how many entries a group has read: the logs of Redis and Valkey do not tell.
fn streams(client: &mut Client) -> Result<()> {
    client.push(&["XADD", "stream:compact", "1-1", "field", "value"]);
    for at in 1..=EXPANDED {
        client.push(&[
            "XADD",
            "stream:expanded",
            &format!("{at}-0"),
            "same",
            &at.to_string(),
            &format!("other:{}", at % 3),
            "",
        ]);
    }
    for line in STREAMS.lines() {
        client.push(&line.split_whitespace().collect::<Vec<_>>());
    }
    client.flush()?;
    Ok(())
}

const STREAMS: &str = "\
    XDEL stream:expanded 5 6 7 700
    XTRIM stream:expanded MINID 4
    XGROUP CREATE stream:expanded readers 0
    XGROUP CREATE stream:expanded idle $
    XGROUP CREATECONSUMER stream:expanded idle nobody
    XREADGROUP GROUP readers alice COUNT 20 STREAMS stream:expanded >
    XREADGROUP GROUP readers bob COUNT 10 STREAMS stream:expanded >
    XACK stream:expanded readers 8 9 30
    XCLAIM stream:expanded readers bob 0 11 RETRYCOUNT 4
    XGROUP CREATE stream:emptied g 0 MKSTREAM
    XADD stream:emptied 3-3 a b
    XDEL stream:emptied 3-3
    XADD stream:haunted 1-1 a 1
    XADD stream:haunted 2-1 a 2
    XADD stream:haunted 3-1 a 3
    XADD stream:haunted 4-1 a 4
    XADD stream:haunted 5-1 a 5
    XGROUP CREATE stream:haunted readers 0
    XGROUP CREATE stream:haunted others 0
    XREADGROUP GROUP readers alice COUNT 3 STREAMS stream:haunted >
    XREADGROUP GROUP readers bob COUNT 2 STREAMS stream:haunted >
    XREADGROUP GROUP others carol COUNT 3 STREAMS stream:haunted >
    XGROUP SETID stream:haunted readers 5-1 ENTRIESREAD 5
    XGROUP SETID stream:haunted others 3-1 ENTRIESREAD 3
    XDEL stream:haunted 1-1 3-1 5-1
    XADD stream:all-gone 1-1 a 1
    XADD stream:all-gone 2-1 a 2
    XGROUP CREATE stream:all-gone readers 0
    XREADGROUP GROUP readers alice STREAMS stream:all-gone >
    XGROUP SETID stream:all-gone readers 2-1 ENTRIESREAD 2
    XTRIM stream:all-gone MAXLEN 0";

fn expiring(client: &mut Client) -> Result<()> {
    for key in ["string", "list", "set", "hash", "zset"] {
        let name = format!("ttl:{key}");
        match key {
            "string" => client.push(&["SET", &name, "value"]),
            "list" => client.push(&["RPUSH", &name, "a", "b"]),
            "set" => client.push(&["SADD", &name, "a", "b"]),
            "hash" => client.push(&["HSET", &name, "a", "b"]),
            _ => client.push(&["ZADD", &name, "1", "a"]),
        }
        client.push(&["PEXPIRE", &name, &TTL_MS.to_string()]);
    }
    client.push(&["SET", "ttl:relative", "value", "EX", "5000"]);
    client.push(&["SET", "ttl:absolute", "value", "EXAT", "4102444800"]);
    client.push(&["SET", "ttl:gone", "value", "PX", "20"]);
    client.push(&["SET", "ttl:past", "value"]);
    client.push(&["EXPIREAT", "ttl:past", "1"]);
    client.flush()?;
    Ok(())
}

/// Reads all that a server holds.
pub(crate) fn read(client: &mut Client) -> Result<Dataset> {
    let mut dataset = Dataset::new();
    for database in 0..16u8 {
        client.call(&[b"SELECT".to_vec(), database.to_string().into_bytes()])?;
        for key in keys(client)? {
            let entry = entry(client, &key)?;
            dataset.insert((database, key), entry);
        }
    }
    Ok(dataset)
}

fn keys(client: &mut Client) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    let mut cursor = String::from("0");
    loop {
        let mut page = client.call(&["SCAN", &cursor, "COUNT", "100"])?.into_array();
        ensure!(page.len() == 2, "SCAN replied {page:?}");
        let found = page.pop().map(Value::into_array).unwrap_or_default();
        keys.extend(
            found.into_iter().filter_map(|key| if let Value::Bytes(key) = key { Some(key) } else { None }),
        );
        cursor = page.pop().map(|cursor| cursor.text()).unwrap_or_default();
        if cursor == "0" {
            return Ok(keys);
        }
    }
}

fn entry(client: &mut Client, key: &[u8]) -> Result<Entry> {
    let kind = client.call(&[b"TYPE", key])?.text();
    let expire_at_ms = client.call(&[b"PEXPIRETIME", key])?.text().parse()?;
    let content = match kind.as_str() {
        "string" => vec![client.call(&[b"GET", key])?],
        "list" => client.call(&[b"LRANGE", key, b"0", b"-1"])?.into_array(),
        "set" => sorted(client.call(&[b"SMEMBERS", key])?.into_array()),
        "hash" => sorted(pairs(client.call(&[b"HGETALL", key])?.into_array())),
        "stream" => stream(client, key)?,
        "zset" => scores(client.call(&[&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"])?.into_array())?,
        other => bail!("a key of type {other}"),
    };
    Ok(Entry { kind, expire_at_ms, content })
}

fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort();
    values
}

fn pairs(flat: Vec<Value>) -> Vec<Value> {
    flat.chunks(2).map(|pair| Value::Array(pair.to_vec())).collect()
}

/// A stream's entries, what is kept of those that are gone, and its groups with what is pending: who has it, how often it
/// was delivered, and not when.
fn stream(client: &mut Client, key: &[u8]) -> Result<Vec<Value>> {
    let mut content = client.call(&[&b"XRANGE"[..], key, b"-", b"+"])?.into_array();
    let about = pairs(client.call(&[&b"XINFO"[..], b"STREAM", key])?.into_array());
    let kept = ["length", "last-generated-id", "max-deleted-entry-id", "entries-added"];
    content.extend(about.into_iter().filter(|field| has_name(field, &kept)));
    for group in client.call(&[&b"XINFO"[..], b"GROUPS", key])?.into_array() {
        let name = group.clone().into_array().swap_remove(1).text();
        let pending =
            client.call(&[&b"XPENDING"[..], key, name.as_bytes(), b"-", b"+", b"100000"])?.into_array();
        let without_idle =
            |entry: Value| entry.into_array().into_iter().enumerate().filter(|(at, _)| *at != 2);
        content.extend([
            group_without_lag(group),
            Value::Array(pending.into_iter().flat_map(without_idle).map(|(_, field)| field).collect()),
        ]);
    }
    Ok(content)
}

/// A group as XINFO tells it, without its lag: that follows from the rest, and Valkey 9.1 tells it of fewer groups than
/// Redis 7.2. What it follows to, the differ asks redis-server.
fn group_without_lag(group: Value) -> Value {
    let fields = pairs(group.into_array()).into_iter();
    Value::Array(fields.filter(|field| !has_name(field, &["lag"])).collect())
}

/// Whether a name and its value have one of these names.
fn has_name(field: &Value, names: &[&str]) -> bool {
    matches!(field, Value::Array(pair) if names.contains(&pair[0].text().as_str()))
}

/// Members and scores; the scores printed one way, as 7.0 and 7.2 print doubles differently.
fn scores(mut flat: Vec<Value>) -> Result<Vec<Value>> {
    for score in flat.iter_mut().skip(1).step_by(2) {
        let value: f64 = score.text().parse()?;
        *score = Value::Bytes(format!("{value:?}").into_bytes());
    }
    Ok(pairs(flat))
}

/// The same without the times at which keys expire, but for whether they do: a time to live that travels arrives late.
pub(crate) fn mortality(mut dataset: Dataset) -> Dataset {
    dataset.values_mut().for_each(|entry| entry.expire_at_ms = entry.expire_at_ms.min(0));
    dataset
}

/// What differs, one line per key; empty if nothing does.
pub(crate) fn differences(expected: &Dataset, found: &Dataset) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, entry) in expected {
        match found.get(place) {
            None => lines.push(format!("{}: missing", shown(place))),
            Some(other) if other != entry => {
                lines.push(format!("{}: {}", shown(place), difference(entry, other)))
            }
            Some(_) => {}
        }
    }
    let surplus = found.keys().filter(|place| !expected.contains_key(*place));
    lines.extend(surplus.map(|place| format!("{}: should not be there", shown(place))));
    lines
}

fn shown((database, key): &(u8, Vec<u8>)) -> String {
    format!("db {database} key \"{}\"", key.escape_ascii())
}

fn difference(expected: &Entry, found: &Entry) -> String {
    if expected.kind != found.kind {
        return format!("a {} became a {}", expected.kind, found.kind);
    }
    if expected.expire_at_ms != found.expire_at_ms {
        return format!("expires at {} instead of {}", found.expire_at_ms, expected.expire_at_ms);
    }
    let at = expected.content.iter().zip(&found.content).position(|(expected, found)| expected != found);
    let (had, has) = (expected.content.len(), found.content.len());
    format!("{had} elements became {has}, the first difference at {:?}", at.unwrap_or(had.min(has)))
}

#[cfg(test)]
mod tests {
    use super::{Dataset, Entry, differences};
    use crate::client::Value;

    fn one(key: &[u8], expire_at_ms: i64, content: &str) -> Dataset {
        let content = vec![Value::Bytes(content.into())];
        Dataset::from([((0, key.to_vec()), Entry { kind: String::from("string"), expire_at_ms, content })])
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let expected = one(b"k\n", -1, "v");
        assert_eq!(differences(&expected, &expected), [""; 0]);
        assert_eq!(differences(&expected, &Dataset::new()), ["db 0 key \"k\\n\": missing"]);
        assert_eq!(differences(&Dataset::new(), &expected), ["db 0 key \"k\\n\": should not be there"]);
        assert!(differences(&expected, &one(b"k\n", 5, "v"))[0].contains("expires at 5 instead of -1"));
        assert!(differences(&expected, &one(b"k\n", -1, "w"))[0].contains("first difference at 0"));
    }
}
