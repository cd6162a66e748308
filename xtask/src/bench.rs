//! `cargo xtask bench [--only PART] [--row WORDS] [--rounds N] [--quick]`: our server beside redis-server and
//! valkey-server.
//!
//! | part | what is measured |
//! |---|---|
//! | `load` | SET and GET by redis-benchmark: requests a second, and the server's CPU microseconds per request |
//! | `commands` | the server's CPU microseconds per request of the collections' commands, above the floor |
//! | `start` | milliseconds to load the same append-only directory: a RESP log and an RDB base, of strings and mixed |
//! | `memory` | resident bytes per key, field, member and element |
//! | `growth` | 5 million new keys, a million fields and members, and most of them gone again, each request timed: does a table that grows or shrinks stop the server? |
//! | `rewrite` | BGREWRITEAOF of 3 million keys under writes: how long PINGs and SETs take, the memory at its peak; and how long it takes when idle |
//! | `instructions` | of a pipelined SET, counted by callgrind, with the log's checksums and without |
//! | `disk` | reads beside synced writes, writes while an fsync runs, and a disk that another process keeps busy |
//!
//! The servers take turns within a round, in another order each round, and medians over the rounds (of `commands` over
//! their slices) are printed: a noisy machine then harms all alike. `--row`: of `commands`, `memory` and `growth` only
//! the rows with these words, whole, in their names. `ratio` is ours to the better peer's. The floor
//! (`server/examples/floor.rs`) parses and answers and does nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::time::ClockId;
use nix::unistd::Pid;
use xshell::cmd;

use crate::args::Args;
use crate::server::{Party, Server, free_port, redis_and_valkey};
use crate::{install, workspace};

mod commands;
mod control;
mod disk;
mod growth;
mod instructions;
mod memory;
mod rewrite;
mod start;

type Part = (&'static str, fn(&Bench) -> Result<String>);

const PARTS: &[Part] = &[
    ("load", load),
    ("commands", commands::commands),
    ("start", start::start),
    ("memory", memory::memory),
    ("growth", growth::growth),
    ("rewrite", rewrite::rewrite),
    ("instructions", instructions::instructions),
    ("disk", disk::disk),
];

/// `cargo xtask bench`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let only = args.value("--only")?;
    let row = args.value("--row")?.unwrap_or_default();
    let quick = args.flag("--quick");
    let rounds = args.number("--rounds")?.unwrap_or(if quick { 1 } else { 3 }).max(1);
    let server = workspace::server_under_test(args)?;
    args.finish()?;
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| only == name);
    ensure!(PARTS.iter().any(|(name, _)| is_wanted(name)), "no part {only:?}");

    let [redis, valkey] = redis_and_valkey()?;
    let ours = Party { name: "everlog", program: server };
    let bench = Bench {
        parties: vec![ours, redis, valkey],
        rounds,
        row,
        scale: if quick { 10 } else { 1 },
        cores: Cores::split()?,
    };
    let mut page = heading(&bench)?;
    for (name, part) in PARTS.iter().filter(|(name, _)| is_wanted(name)) {
        eprintln!("{name} ...");
        page += &format!("\n## {name}\n\n{}", part(&bench)?);
    }
    println!("{page}");
    Ok(())
}

struct Bench {
    /// Ours first.
    parties: Vec<Party>,
    rounds: u64,
    /// Words of the rows that are wanted.
    row: String,
    /// Amounts are divided by this.
    scale: u64,
    cores: Cores,
}

fn heading(bench: &Bench) -> Result<String> {
    let shell = workspace::shell()?;
    let commit =
        cmd!(shell, "git describe --always --dirty").quiet().ignore_stderr().read().unwrap_or_default();
    let machine = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        machine.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = bench.cores.count;
    let mut page = format!("# Commit {commit}, {cores} cores{model}, medians of {}\n\n", bench.rounds);
    for Party { name, program } in &bench.parties {
        let version = cmd!(shell, "{program} --version").quiet().read().unwrap_or_default();
        page += &format!("- {name}: {}\n", version.lines().next().unwrap_or("no --version"));
    }
    Ok(page)
}

impl Bench {
    /// The parties in the order of a round.
    fn order(&self, round: u64) -> impl Iterator<Item = &Party> {
        let shift = round as usize % self.parties.len();
        self.parties[shift..].iter().chain(&self.parties[..shift])
    }

    /// Of a part's rows, by their names, those that are wanted.
    fn rows<'a, R>(&self, rows: &'a [R], name: impl Fn(&R) -> &str) -> Vec<&'a R> {
        rows.iter().filter(|row| has_words(name(row), &self.row)).collect()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.parties.iter().map(|party| party.name)
    }

    /// All values of `rows` from all servers and rounds; NaN stands for what a server does not say.
    fn sample<const N: usize>(
        &self,
        rows: &[String; N],
        one: impl Fn(&Party) -> Result<[f64; N]>,
    ) -> Result<Samples> {
        let mut samples = Samples::new();
        for round in 0..self.rounds {
            for party in self.order(round) {
                let values = one(party).with_context(|| String::from(party.name))?;
                for (row, value) in rows.iter().zip(values).filter(|(_, value)| !value.is_nan()) {
                    samples.entry((row.clone(), party.name)).or_default().push(value);
                }
            }
        }
        Ok(samples)
    }
}

/// Whether a name has these words, and not as a part of others: `SET` is none of `HSET`'s.
fn has_words(name: &str, words: &str) -> bool {
    let goes_on = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
    words.is_empty()
        || name.match_indices(words).any(|(at, _)| {
            let (before, behind) = (name[..at].chars().next_back(), name[at + words.len()..].chars().next());
            !goes_on(before) && !goes_on(behind)
        })
}

/// Load and server on cores of their own, where there is more than one: half of them each.
#[derive(Clone)]
struct Cores {
    count: usize,
    server: Option<String>,
    all: Option<String>,
}

impl Cores {
    /// Moves this process, and so the load that it starts, to its half.
    fn split() -> Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        if count < 2 {
            return Ok(Cores { count, server: None, all: None });
        }
        let half = count / 2;
        let load = format!("{half}-{}", count - 1);
        let pid = std::process::id().to_string();
        let shell = workspace::shell()?;
        cmd!(shell, "taskset --all-tasks --cpu-list --pid {load} {pid}").quiet().ignore_stdout().run()?;
        let (server, all) = (format!("0-{}", half - 1), format!("0-{}", count - 1));
        Ok(Cores { count, server: Some(server), all: Some(all) })
    }

    /// A command that runs on the server's cores.
    fn server(&self, program: &Path) -> Command {
        pinned(self.server.as_deref(), program)
    }

    /// A command that runs wherever there is room: a rewrite is background work, and needs a core to be it.
    fn anywhere(&self, program: &Path) -> Command {
        pinned(self.all.as_deref(), program)
    }
}

fn pinned(cores: Option<&str>, program: &Path) -> Command {
    let Some(cores) = cores else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores]).arg(program);
    command
}

// ---- load

struct Cell {
    policy: &'static str,
    test: &'static str,
    connections: u64,
    pipeline: u64,
}

const POLICIES: &[(&str, &[&str])] = &[
    ("no AOF", &["--appendonly", "no"]),
    ("everysec", &["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]),
    ("always", &["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]),
];

impl Cell {
    fn all() -> Vec<Cell> {
        let mut cells = Vec::new();
        for (policy, _) in POLICIES {
            // A GET has nothing to do with the log: once is enough.
            let tests: &[&str] = if *policy == "no AOF" { &["get", "set"] } else { &["set"] };
            for test in tests {
                for pipeline in [1, 16] {
                    cells.extend([1, 50, 500].map(|connections| Cell {
                        policy,
                        test,
                        connections,
                        pipeline,
                    }));
                }
            }
        }
        cells
    }

    /// So many that it takes about a second.
    fn requests(&self) -> u64 {
        let plain = match (self.policy, self.connections) {
            ("always", 1) => 2_000,
            ("always", _) => 40_000,
            (_, 1) => 40_000,
            _ => 150_000,
        };
        if self.pipeline > 1 { 6 * plain } else { plain }
    }

    fn name(&self) -> String {
        let Cell { policy, test, connections, pipeline } = self;
        format!("{}, {policy}, {connections} conn., pipeline {pipeline}", test.to_uppercase())
    }
}

/// A measurement's name and a server's name, to its values in all rounds.
type Samples = BTreeMap<(String, &'static str), Vec<f64>>;

fn load(bench: &Bench) -> Result<String> {
    let floor = workspace::build("floor", &["--example", "floor"])?;
    let floor = Party { name: "floor", program: floor };
    let (mut rates, mut costs) = (Samples::new(), Samples::new());
    for round in 0..bench.rounds {
        for (policy, options) in POLICIES {
            // The floor keeps nothing, so the log's policies are all the same to it.
            let floor = (*policy == "no AOF").then_some(&floor);
            let mut servers = Vec::new();
            for party in bench.order(round).chain(floor) {
                let dir = fresh_dir(&format!("load-{}", party.name))?;
                let command = bench.cores.server(&party.program);
                servers.push((party.name, Server::start_by(command, &dir, free_port(), options)?));
            }
            for cell in Cell::all().iter().filter(|cell| cell.policy == *policy) {
                for (name, server) in &servers {
                    let (rate, cost_us) = measure(cell, server, cell.requests() / bench.scale)?;
                    rates.entry((cell.name(), name)).or_default().push(rate);
                    costs.entry((cell.name(), name)).or_default().push(cost_us);
                }
            }
        }
    }
    let rows: Vec<String> = Cell::all().iter().map(Cell::name).collect();
    let rates = table("requests/s", bench, &rows, &rates, 0, Better::Higher);
    Ok(rates + "\n" + &table("CPU us per request", bench, &rows, &costs, 2, Better::Lower))
}

/// Requests a second, and the server's CPU microseconds per request.
fn measure(cell: &Cell, server: &Server, requests: u64) -> Result<(f64, f64)> {
    let program = install::program("redis-cli")?.with_file_name("redis-benchmark");
    let [port, requests_word, connections, pipeline] =
        [u64::from(server.port()), requests, cell.connections, cell.pipeline]
            .map(|number| number.to_string());
    let test = cell.test;
    let shell = workspace::shell()?;
    let before_us = cpu_us(server.pid())?;
    let csv = cmd!(
        shell,
        "{program} -p {port} -t {test} -n {requests_word} -c {connections} -P {pipeline} -d 32 -r 1000000 --csv"
    )
    .quiet()
    .ignore_stderr()
    .read()?;
    let cost_us = (cpu_us(server.pid())? - before_us) / requests as f64;
    let row = csv.lines().find(|line| line.to_lowercase().starts_with(&format!("\"{test}")));
    let rate = row.and_then(|row| row.split(',').nth(1)).context("redis-benchmark printed no figure")?;
    Ok((rate.trim_matches('"').parse()?, cost_us))
}

/// What all threads of a process have used of all cores, in microseconds, each as of its last switch or tick: what it has
/// used since then is seen the next time. What the host of a virtual machine took is not in it, where the kernel knows
/// (CONFIG_PARAVIRT_TIME_ACCOUNTING). Source: clock_getcpuclockid(3).
fn cpu_us(pid: u32) -> Result<f64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(Duration::from(clock.now()?).as_secs_f64() * 1e6)
}

// ---- what parts share

/// The round trips of PINGs while `work` runs, and how long it ran.
fn pings_during(server: &Server, work: impl FnOnce() -> Result<()>) -> Result<(Vec<f64>, Duration)> {
    trips_during(server, &["PING"], work)
}

/// The round trips of one request after the other while `work` runs, and how long it ran.
fn trips_during(
    server: &Server,
    words: &[&str],
    work: impl FnOnce() -> Result<()>,
) -> Result<(Vec<f64>, Duration)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trips = scope.spawn(|| trips_ms(server, words, &done));
        let begin = Instant::now();
        let outcome = work();
        let elapsed = begin.elapsed();
        done.store(true, Ordering::Relaxed);
        let trips = trips.join().unwrap_or_else(|_| bail!("a thread panicked"));
        outcome.and(trips).map(|trips| (trips, elapsed))
    })
}

/// Asks as fast as it can until told to stop; the round trips in milliseconds, in ascending order. The load on the same
/// core would hold each reply back for a slice of the scheduler's: where it may, this thread goes first.
fn trips_ms(server: &Server, words: &[&str], done: &AtomicBool) -> Result<Vec<f64>> {
    let shell = workspace::shell()?;
    let thread = fs::read_link("/proc/thread-self")?;
    let thread = thread.file_name().unwrap_or_default();
    let _ = cmd!(shell, "chrt --fifo --pid 1 {thread}").quiet().ignore_stdout().ignore_stderr().run();
    let mut client = server.connect()?;
    let mut trips_ms = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let begin = Instant::now();
        client.call(words)?;
        trips_ms.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    trips_ms.sort_by(f64::total_cmp);
    Ok(trips_ms)
}

/// redis-benchmark writing until dropped.
struct Load(std::process::Child);

impl Load {
    fn start(server: &Server, keys: u64) -> Result<Self> {
        let program = install::program("redis-cli")?.with_file_name("redis-benchmark");
        let load = Command::new(program)
            .args(["-p", &server.port().to_string(), "-t", "set", "-c", "10", "-P", "16"])
            .args(["-d", "32", "-n", "1000000000"])
            .args(["-r", &keys.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Load(load))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---- tables

#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

/// A markdown table of medians: a row per measurement, a column per server, and ours to the better peer's.
fn table(
    title: &str,
    bench: &Bench,
    rows: &[String],
    samples: &Samples,
    decimals: usize,
    better: Better,
) -> String {
    let names: Vec<&str> = bench.names().chain(has_floor(samples).then_some("floor")).collect();
    let mut text =
        format!("| {title} | {} | ratio |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len() + 1));
    for row in rows {
        let value = |name: &str| {
            let found = samples.iter().find(|((known, server), _)| known == row && *server == name);
            found.map(|(_, values)| median(values))
        };
        let cells: Vec<String> = names
            .iter()
            .map(|name| value(name).map_or_else(String::new, |value| format!("{value:.decimals$}")))
            .collect();
        let peers = names[1..].iter().filter(|name| **name != "floor").filter_map(|name| value(name));
        let peer = match better {
            Better::Higher => peers.reduce(f64::max),
            Better::Lower => peers.reduce(f64::min),
        };
        let ratio = value(names[0]).zip(peer.filter(|peer| *peer != 0.0));
        let ratio = ratio.map_or_else(String::new, |(ours, peer)| format!("{:.2}", ours / peer));
        text += &format!("| {row} | {} | {ratio} |\n", cells.join(" | "));
    }
    text
}

fn has_floor(samples: &Samples) -> bool {
    samples.keys().any(|(_, server)| *server == "floor")
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&sorted, 0.5), sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN));
    if sorted.len().is_multiple_of(2) { (low + high) / 2.0 } else { high }
}

/// The smallest value that at least this share of the values does not exceed.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn fresh_dir(name: &str) -> Result<PathBuf> {
    let dir = workspace::cache_dir("bench")?.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::memory::resident_bytes;
    use super::{cpu_us, has_words, median, quantile};

    #[test]
    fn medians_and_quantiles_take_the_nearest_rank() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!([quantile(&values, 0.999), quantile(&values, 1.0)], [999.0, 1000.0]);
    }

    #[test]
    fn a_row_is_wanted_by_whole_words() {
        for name in ["SET", "HSET, one hash", "a SET"] {
            assert_eq!(has_words(name, "SET"), !name.starts_with('H'), "{name}");
        }
        assert!(has_words("HSET, one hash", "one hash") && has_words("HDEL", ""));
        assert!(!has_words("DELETED", "DEL"));
    }

    #[test]
    fn a_process_costs_time_and_memory() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 1e5);
        let before_us = cpu_us(pid).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 20 {}
        assert!(cpu_us(pid).unwrap() > before_us);
    }
}
