//! OBJECT ENCODING: what a server says of 10,000 collections and strings by chance, most of them about as large as a
//! compact encoding may be, and of what is made of them, with the limits as they are and with others. Valkey has Redis
//! 7.2's encodings, but for strings of 45 bytes to about 100; 7.0 has not.

use std::collections::BTreeMap;
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
        let (mut differences, mut keys) = (Vec::new(), Keys::new());
        for key in 0..KEYS {
            let steps = life(key, &mut keys, chance);
            let (ours, theirs) = (encodings(&mut ours, &steps)?, encodings(&mut theirs, &steps)?);
            let is_other = |at: &usize| differ(&steps[*at], &ours[*at], &theirs[*at]);
            if let Some(at) = (0..steps.len()).find(is_other) {
                let short = |step: &Step| step.request.join(" ").chars().take(200).collect::<String>();
                let requests: Vec<String> = steps[..=at].iter().map(short).collect();
                differences.push(format!(
                    "{}: ours {}, {} {}",
                    requests.join("; "),
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

/// A request, and the key whose encoding is asked for then.
struct Step {
    request: Vec<String>,
    key: String,
}

/// Those that there are, by what made them.
type Keys = BTreeMap<&'static str, Vec<String>>;

/// Ours does not keep how a short string came about, and Valkey has longer ones that are short.
fn differ(step: &Step, ours: &Value, theirs: &Value) -> bool {
    let is_computed = step.request[0] != "SET";
    let is_text = |encoding: &Value| matches!(encoding.text().as_str(), "embstr" | "raw");
    ours != theirs && !(is_computed && is_text(ours) && is_text(theirs))
}

/// What happens to one key: it is made, perhaps grows, perhaps shrinks, perhaps others are made of it.
fn life(key: usize, keys: &mut Keys, chance: &mut Chance) -> Vec<Step> {
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
    let mut steps: Vec<Step> =
        requests.into_iter().map(|request| Step { request, key: key.clone() }).collect();
    keys.entry(kind.add).or_default().push(key);
    let derived: Vec<&str> =
        DERIVED.iter().filter(|row| row.0.split(' ').any(|add| add == kind.add)).map(|row| row.1).collect();
    for _ in 0..chance.below(3) {
        steps.push(derive(derived[chance.below(derived.len())], &keys[kind.add], chance));
    }
    steps
}

/// What is done with keys, by what made them. `^` is the key of this life, `K` any of its kind, `D` the one that is made
/// of them; `I` is a size.
#[rustfmt::skip]
const DERIVED: &[(&str, &str)] = &[
    ("SET", "INCRBYFLOAT ^ 1"), ("SET", "INCRBY ^ 1"), ("SET", "BITOP OR D ^ K"), ("SET", "BITOP NOT D ^"),
    ("SET", "SETRANGE ^ 0 x"), ("SET", "SETRANGE D 0 12"), ("SET", "APPEND ^ 1"), ("SET", "GETSET ^ 12"),
    ("RPUSH LPUSH", "SORT ^ BY nosort STORE D"), ("RPUSH LPUSH", "SORT ^ ALPHA LIMIT 0 I STORE D"), ("RPUSH LPUSH", "LTRIM ^ 0 I"),
    ("RPUSH LPUSH", "LTRIM ^ I -1"), ("RPUSH LPUSH", "LPOP ^ I"), ("RPUSH LPUSH", "LMOVE ^ D LEFT RIGHT"), ("RPUSH LPUSH", "LSET ^ 0 x"),
    ("RPUSH LPUSH", "LSET ^ -1 x"), ("RPUSH LPUSH", "RPOP ^ I"), ("RPUSH LPUSH", "LMOVE ^ ^ LEFT RIGHT"),
    ("SADD", "SINTERSTORE D ^ K"), ("SADD", "SINTERSTORE D ^ ^"), ("SADD", "SUNIONSTORE D ^ K"), ("SADD", "SDIFFSTORE D ^ K"),
    ("SADD", "SORT ^ ALPHA STORE D"),
    ("HSET", "HINCRBYFLOAT ^ f 1.5"), ("HSET", "HINCRBY ^ f 1"), ("HSET", "HSETNX ^ a-name-of-many-letters 1"),
    ("ZADD", "ZUNIONSTORE D 2 ^ K"), ("ZADD", "ZINTERSTORE D 2 ^ K"), ("ZADD", "ZDIFFSTORE D 2 ^ K"), ("ZADD", "ZRANGESTORE D ^ 0 I"),
    ("ZADD", "ZINCRBY ^ 1 a-member-of-many-letters"), ("ZADD", "ZREMRANGEBYRANK ^ 0 I"),
    ("SET RPUSH LPUSH SADD HSET ZADD", "COPY ^ D REPLACE"), ("SET RPUSH LPUSH SADD HSET ZADD", "RENAME ^ D"),
];

/// Fills a row in; the last of the keys is the one of this life.
fn derive(row: &str, keys: &[String], chance: &mut Chance) -> Step {
    let own = keys.last().map_or("", String::as_str);
    let word = |word: &str| match word {
        "^" => own.into(),
        "K" => keys[chance.below(keys.len())].clone(),
        "D" => format!("of:{own}"),
        "I" => SIZES[chance.below(SIZES.len())].to_string(),
        word => word.into(),
    };
    let request: Vec<String> = row.split(' ').map(word).collect();
    let made = request.iter().find(|word| word.starts_with("of:"));
    let key = made.map_or(own, String::as_str).to_owned();
    Step { request, key }
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
            // No number: what becomes of a set of both depends on the order in which a table gives its members.
            (false, "SADD") => format!("{:x>length$}", format!("e{at}")),
            (false, _) => format!("{at:x>length$}"),
        }
    }
}

/// Where 7.2 and Valkey agree.
fn string_length(length: usize) -> usize {
    if (45..=100).contains(&length) { 44 } else { length }
}

/// OBJECT ENCODING behind each request, which may be refused: not every string is a number.
fn encodings(client: &mut Client, steps: &[Step]) -> Result<Vec<Value>> {
    for Step { request, key } in steps {
        client.push(request);
        client.push(&["OBJECT", "ENCODING", key]);
    }
    Ok(client.flush_all()?.into_iter().skip(1).step_by(2).collect())
}
