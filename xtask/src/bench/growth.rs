//! `growth`: one request after another, each timed, while a table grows or shrinks: what it does to the one that finds it
//! full, or too empty. The keys of a database, and one hash, set and sorted set.
//!
//! A round trip also has what the machine does in between, which the floor shows; SLOWLOG has the server's own clock, which
//! runs on while the machine takes its core. What a server's threads take of the CPU from one reply to the next has
//! neither, but also what they do by themselves; they wait for no disk here, as there is no log.

use std::time::Instant;

use anyhow::Result;

use super::memory::{fill, words_of};
use super::{Bench, Better, Samples, cpu_us, fresh_dir, has_words, table};
use crate::client::{Client, Value};
use crate::server::{Party, Server, free_port};
use crate::workspace;

/// What happens, the request in [`words_of`]'s words, and how many of them.
type Series = (&'static str, &'static str, u64);

/// A table grows, and then it shrinks; of keys, what the machine does to requests that find it as it is, too.
const SERIES: &[&[Series]] = &[
    &[
        ("SET", "SET key:# a-value-of-32-bytes:#", 5_000_000),
        ("SET, again", "SET key:# a-value-of-32-bytes:#", 5_000_000),
        ("DEL", "DEL key:#", 4_000_000),
    ],
    &[("HSET, one hash", "HSET hash elt:# val:#", 1_000_000), ("HDEL", "HDEL hash elt:#", 800_000)],
    &[("SADD, one set", "SADD set a-member:#", 1_000_000), ("SPOP", "SPOP set", 800_000)],
    &[("ZADD, one sorted set", "ZADD zset # a-member:#", 1_000_000), ("ZPOPMIN", "ZPOPMIN zset", 800_000)],
];
/// What is told of each.
const ROWS: [&str; 6] = [
    "longest, ms",
    "above 1 ms",
    "longest by SLOWLOG, ms",
    "above 1 ms by SLOWLOG",
    "longest of CPU, ms",
    "above 1 ms of CPU",
];
const OPTIONS: [&str; 6] =
    ["--appendonly", "no", "--slowlog-log-slower-than", "1000", "--slowlog-max-len", "100000"];

/// The part `growth`.
pub(super) fn growth(bench: &Bench) -> Result<String> {
    let floor = Party { name: "floor", program: workspace::build("floor", &["--example", "floor"])? };
    let steps = steps(&bench.row, bench.scale);
    let name = |series: &str, row: &str| format!("{series}: {row}");
    let mut samples = Samples::new();
    for round in 0..bench.rounds {
        for party in bench.order(round).chain([&floor]) {
            let dir = fresh_dir(&format!("growth-{}", party.name))?;
            let server = Server::start_by(bench.cores.server(&party.program), &dir, free_port(), &OPTIONS)?;
            let mut client = server.connect()?;
            for &Step { what, words, count, is_timed } in &steps {
                if !is_timed {
                    fill(&mut client, 0..count, count, words)?;
                    continue;
                }
                let values = values(&server, &mut client, words, count)?;
                for (row, value) in ROWS.iter().zip(values).filter(|(_, value)| !value.is_nan()) {
                    samples.entry((name(what, row), party.name)).or_default().push(value);
                }
            }
        }
    }
    let timed = || steps.iter().filter(|step| step.is_timed);
    let rows: Vec<String> = timed().flat_map(|step| ROWS.map(|row| name(step.what, row))).collect();
    let most = timed().map(|step| step.count).max().unwrap_or(0);
    Ok(table(&format!("{most} requests or fewer, one by one"), bench, &rows, &samples, 2, Better::Lower))
}

/// A series of this run.
struct Step {
    what: &'static str,
    words: &'static str,
    count: u64,
    /// Else it only makes what another is to find.
    is_timed: bool,
}

/// The series whose names have the words of `row`, and before those the one that makes what they find.
fn steps(row: &str, scale: u64) -> Vec<Step> {
    let step = |&(what, words, count): &Series| Step {
        what,
        words,
        count: count / scale,
        is_timed: has_words(what, row),
    };
    let wanted = SERIES.iter().flat_map(|series| {
        let mut steps = series.iter().map(step);
        let first = steps.next();
        let others: Vec<Step> = steps.filter(|step| step.is_timed).collect();
        first.filter(|first| first.is_timed || !others.is_empty()).into_iter().chain(others)
    });
    wanted.collect()
}

/// The values of [`ROWS`] for one server; the floor has no SLOWLOG.
fn values(server: &Server, client: &mut Client, words: &str, count: u64) -> Result<[f64; ROWS.len()]> {
    let (mut trips, mut of_cpu) = (Longest::default(), Longest::default());
    client.call(&["SLOWLOG", "RESET"])?;
    let mut used_us = cpu_us(server.pid())?;
    for item in 0..count {
        let words = words_of(words, item, count);
        let words: Vec<&str> = words.split(' ').collect();
        let begin = Instant::now();
        client.call(&words)?;
        trips.note(begin.elapsed().as_secs_f64() * 1e3);
        let before_us = std::mem::replace(&mut used_us, cpu_us(server.pid())?);
        of_cpu.note((used_us - before_us) / 1e3);
    }
    let mut slow = Longest::default();
    match client.call(&["SLOWLOG", "GET", "-1"])? {
        Value::Array(entries) => entries.into_iter().filter_map(took_ms).for_each(|ms| slow.note(ms)),
        _ => slow = Longest { ms: f64::NAN, above: f64::NAN },
    }
    Ok([trips.ms, trips.above, slow.ms, slow.above, of_cpu.ms, of_cpu.above])
}

/// The longest of some times, and how many of them are above 1 ms.
#[derive(Default)]
struct Longest {
    ms: f64,
    above: f64,
}

impl Longest {
    fn note(&mut self, ms: f64) {
        self.ms = self.ms.max(ms);
        self.above += f64::from(ms > 1.0);
    }
}

/// What an entry of SLOWLOG says it took.
fn took_ms(entry: Value) -> Option<f64> {
    Some(entry.into_array().get(2)?.text().parse::<f64>().ok()? / 1e3)
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn what_is_deleted_was_there_and_only_what_is_asked_for_is_timed() {
        let shown = |row: &str| -> Vec<(&str, bool)> {
            steps(row, 1).iter().map(|step| (step.what, step.is_timed)).collect()
        };
        assert_eq!(shown("DEL"), [("SET", false), ("DEL", true)]);
        assert_eq!(shown("HDEL"), [("HSET, one hash", false), ("HDEL", true)]);
        assert_eq!(shown("SET"), [("SET", true), ("SET, again", true)]);
        assert_eq!(shown("ZPOPMIN"), [("ZADD, one sorted set", false), ("ZPOPMIN", true)]);
        assert!(shown("").len() == 9 && shown("").iter().all(|step| step.1));
        assert!(shown("no such row").is_empty());
    }
}
