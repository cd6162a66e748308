//! OBJECT ENCODING: what a server says of 10,000 collections and strings by chance, most of them about as large as a
//! compact encoding may be, with the limits as they are and with others. Valkey has Redis 7.2's encodings, but for
//! strings of 45 bytes to about 100; 7.0 has not.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Chance;
use crate::client::{Client, Value};
use crate::server::{Server, free_port, redis_and_valkey};

/// Keys to a set of limits.
const KEYS: usize = 10_000;

/// The limits: those that are the default, and some that small collections reach.
#[rustfmt::skip]
const LIMITS: &[&[&str]] = &[
    &[],
    &["--hash-max-listpack-entries", "9", "--hash-max-listpack-value", "12", "--zset-max-listpack-entries", "11",
      "--zset-max-listpack-value", "10", "--set-max-intset-entries", "7", "--set-max-listpack-entries", "13",
      "--set-max-listpack-value", "14", "--list-max-listpack-size", "8"],
    &["--hash-max-listpack-entries", "0", "--zset-max-listpack-entries", "0", "--set-max-intset-entries", "0",
      "--set-max-listpack-entries", "0", "--list-max-listpack-size", "-1"],
];

/// How many elements a collection gets at first: about where an encoding ends.
const SIZES: &[usize] = &[1, 3, 7, 8, 9, 11, 12, 13, 14, 60, 127, 128, 129, 200, 511, 512, 513, 700];
/// How long an element is: about where an encoding ends.
const LENGTHS: &[usize] = &[1, 4, 10, 11, 12, 13, 14, 15, 20, 21, 43, 44, 45, 63, 64, 65, 100, 3000];

pub(super) fn compare(ours: &Path, dir: &Path, chance: &mut Chance) -> Result<()> {
    let [_, valkey] = redis_and_valkey()?;
    for (number, limits) in LIMITS.iter().enumerate() {
        let start = |name: &str, program: &Path| {
            Server::start(program, &dir.join(format!("encodings-{number}-{name}")), free_port(), limits)
        };
        let servers = [start("ours", ours)?, start(valkey.name, &valkey.program)?];
        let [mut ours, mut theirs] = [servers[0].connect()?, servers[1].connect()?];
        let mut differences = Vec::new();
        for key in 0..KEYS {
            let requests = life(key, chance);
            let (ours, theirs) = (encodings(&mut ours, &requests)?, encodings(&mut theirs, &requests)?);
            if let Some(at) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
                let request = requests[at].join(" ");
                let request: String = request.chars().take(200).collect();
                differences.push(format!(
                    "{request}: ours {}, {} {}",
                    ours[at].text(),
                    valkey.name,
                    theirs[at].text()
                ));
            }
        }
        ensure!(differences.is_empty(), "{} keys differ:\n  {}", differences.len(), differences.join("\n  "));
        println!("encodings: {KEYS} keys are {}'s, limits {limits:?}", valkey.name);
    }
    Ok(())
}

/// What happens to one key: it is made, perhaps grows, perhaps shrinks.
fn life(key: usize, chance: &mut Chance) -> Vec<Vec<String>> {
    let key = format!("key:{key}");
    let kind = KINDS[chance.below(KINDS.len())];
    let size = SIZES[chance.below(SIZES.len())];
    let (length, odd_length) =
        (LENGTHS[chance.below(LENGTHS.len() - 1)], LENGTHS[chance.below(LENGTHS.len())]);
    let length = if size > 20 { length.min(8) } else { length };
    let mut requests = vec![kind.add(&key, 0..size, length)];
    if chance.below(2) == 0 {
        requests.push(kind.add(&key, size..size + 1, odd_length));
    }
    if chance.below(3) == 0 {
        requests.push(kind.remove(&key, 1..size / 2 + 1, length));
    }
    if chance.below(3) == 0 {
        requests.push(kind.add(&key, 0..size.min(3), length));
    }
    requests.retain(|request| request.len() > 2);
    requests
}

/// A type, and what its elements are like.
#[derive(Clone, Copy)]
struct Kind {
    add: &'static str,
    remove: &'static str,
    /// Whether an element is a number.
    is_integer: bool,
    /// Whether something goes in front of an element, or behind it.
    has_score: bool,
    has_value: bool,
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind { add: "SET",   remove: "",     is_integer: true,  has_score: false, has_value: false },
    Kind { add: "SET",   remove: "",     is_integer: false, has_score: false, has_value: false },
    Kind { add: "RPUSH", remove: "LREM", is_integer: false, has_score: false, has_value: false },
    Kind { add: "LPUSH", remove: "LREM", is_integer: true,  has_score: false, has_value: false },
    Kind { add: "SADD",  remove: "SREM", is_integer: true,  has_score: false, has_value: false },
    Kind { add: "SADD",  remove: "SREM", is_integer: false, has_score: false, has_value: false },
    Kind { add: "HSET",  remove: "HDEL", is_integer: false, has_score: false, has_value: true },
    Kind { add: "ZADD",  remove: "ZREM", is_integer: false, has_score: true,  has_value: false },
];

impl Kind {
    fn add(self, key: &str, elements: std::ops::Range<usize>, length: usize) -> Vec<String> {
        let mut words = vec![String::from(self.add), String::from(key)];
        // A string has one element.
        let elements = if self.add == "SET" { 0..1 } else { elements };
        for at in elements {
            words.extend(self.has_score.then(|| at.to_string()));
            words.push(self.element(at, length));
            words.extend(self.has_value.then(|| "v".repeat(length)));
        }
        words
    }

    fn remove(self, key: &str, elements: std::ops::Range<usize>, length: usize) -> Vec<String> {
        let mut words = vec![String::from(self.remove), String::from(key)];
        match self.remove {
            "" => words.clear(),
            "LREM" => words.extend([String::from("0"), self.element(elements.start, length)]),
            _ => words.extend(elements.map(|at| self.element(at, length))),
        }
        words
    }

    fn element(self, at: usize, length: usize) -> String {
        match (self.is_integer, self.add) {
            (true, "SET") => "1".repeat(string_length(length)),
            (false, "SET") => "x".repeat(string_length(length)),
            (true, _) => (at * 1009).to_string(),
            (false, _) => format!("{at:x>length$}"),
        }
    }
}

/// Where 7.2 and Valkey agree.
fn string_length(length: usize) -> usize {
    if (45..=100).contains(&length) { 44 } else { length }
}

/// OBJECT ENCODING behind each request.
fn encodings(client: &mut Client, requests: &[Vec<String>]) -> Result<Vec<Value>> {
    for request in requests {
        client.push(request);
        client.push(&["OBJECT", "ENCODING", &request[1]]);
    }
    Ok(client.flush()?.into_iter().skip(1).step_by(2).collect())
}
