//! `cargo xtask soak [PART...] [--minutes N] [--seed N] [--quick]`: what is random in ci, for as long as a night has room.
//!
//! A part is tests with their variables set, in release, or `differ` until its CPU minutes are used. What a test has tried
//! it says itself, in a line `tried: <number> <what>`, and these lines are added up; of a part whose tests say nothing the
//! variable is told. All parts run even after one has failed, and all tests of one. `--seed` is where all seeds begin,
//! those of proptest too, and is the time unless given; when a thread or a SIGKILL has its turn is chance that no seed
//! repeats. `--minutes` are those of `differ`, the servers' that it asks included; `--quick` is a hundredth of everything,
//! to see that it runs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::args::Args;
use crate::{differ, workspace};

/// What runs, and for how long.
enum Work {
    /// `cargo test` with each of these words, and a variable that is set to a number.
    Tests(&'static [&'static str], &'static str, u64),
    /// One seed after the other, for so many minutes of CPU time.
    Differ,
}

#[rustfmt::skip]
const PARTS: &[(&str, Work)] = &[
    // A thousand of each property in ci.
    ("damage",     Work::Tests(&["-p everlog-keyspace --test it damage::"], SOAK, 500)),
    // As commands, and through the threads of a load.
    ("loads",      Work::Tests(&["-p everlog-rewrite --test it survival::", "-p everlog-server --lib rdb_load::"], SOAK, 500)),
    ("power-cuts", Work::Tests(&["-p everlog-aof --test it sim::"], SOAK, 100)),
    ("flips",      Work::Tests(&["-p everlog-aof --test it corruption::"], SOAK, 100)),
    ("kills",      Work::Tests(&["-p everlog-server --test it durability::kill_9"], "EVERLOG_KILL_CYCLES", 500)),
    ("replay",     Work::Tests(&["-p everlog-keyspace --test it replay::"], SOAK, 100)),
    // Of 256 cases.
    ("properties", Work::Tests(PROPERTIES, "PROPTEST_CASES", 25_600)),
    ("differ",     Work::Differ),
];

/// Where proptest is at work, but for `damage`.
const PROPERTIES: &[&str] = &[
    "-p everlog-keyspace --lib",
    "-p everlog-resp --test it",
    "-p everlog-aof --lib",
    "-p everlog-aof --test it check::",
    "-p everlog-aof --test it truncation::",
    "-p everlog-aof --test it crash::whatever",
];

/// The variable that randomised tests multiply their iterations by.
const SOAK: &str = "EVERLOG_SOAK";
/// CPU minutes of `differ`.
const MINUTES: u64 = 24;

/// What a part came to.
struct Row {
    name: &'static str,
    tried: Tried,
    cpu_s: f64,
    outcome: Result<()>,
}

/// Amounts by what was tried.
type Tried = BTreeMap<String, u64>;

/// What all parts need.
struct Soak {
    seed: u64,
    minutes: u64,
    /// Amounts are divided by this.
    scale: u64,
}

/// `cargo xtask soak`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let scale = if args.flag("--quick") { 100 } else { 1 };
    let minutes = args.number("--minutes")?.unwrap_or(MINUTES);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let soak = Soak { seed: args.number("--seed")?.unwrap_or(clock), minutes, scale };
    let wanted = args.words()?;
    for name in &wanted {
        ensure!(PARTS.iter().any(|(part, _)| part == name), "no part {name:?}");
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|each| each == name);
    let parts = PARTS.iter().filter(|(name, _)| is_wanted(name));
    let rows: Vec<Row> = parts.map(|(name, work)| soak.part(name, work)).collect();
    println!("\n--seed {}\n{}", soak.seed, table(&rows));
    let failed: Vec<&str> = rows.iter().filter(|row| row.outcome.is_err()).map(|row| row.name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

impl Soak {
    fn part(&self, name: &'static str, work: &Work) -> Row {
        println!("\n==== {name}");
        let mut row = Row { name, tried: Tried::new(), cpu_s: 0.0, outcome: Ok(()) };
        row.outcome = match work {
            Work::Tests(selections, variable, amount) => {
                let setting = (*variable, (amount / self.scale).max(1));
                self.selections(selections, setting, &mut row)
            }
            Work::Differ => self.differ(&mut row),
        };
        if let Err(error) = &row.outcome {
            println!("{name}: {error:#}");
        }
        row
    }

    /// All of them, also behind one that fails.
    fn selections(&self, selections: &[&str], setting: (&str, u64), row: &mut Row) -> Result<()> {
        let outcomes = selections.iter().map(|selection| self.tests(selection, setting, row));
        let failures: Vec<String> =
            outcomes.filter_map(|outcome| Some(format!("{:#}", outcome.err()?))).collect();
        ensure!(failures.is_empty(), "{}", failures.join("; "));
        if row.tried.is_empty() {
            row.tried.insert(format!("times ({})", setting.0), setting.1);
        }
        Ok(())
    }

    fn tests(&self, selection: &str, (variable, amount): (&str, u64), row: &mut Row) -> Result<()> {
        let cargo = |words: &str| {
            let mut command = Command::new("cargo");
            command.args(["test", "--release"]).args(selection.split(' ')).args(words.split(' '));
            command
        };
        ensure!(cargo("--no-run").status()?.success(), "{selection}: it does not build");
        let (amount, seed) = (amount.to_string(), self.seed.to_string());
        let variables = [(variable, &amount), ("EVERLOG_SEED", &seed), ("PROPTEST_RNG_SEED", &seed)];
        let shown = variables.map(|(name, value)| format!("{name}={value}")).join(" ");
        println!("{shown} cargo test --release {selection}");
        let mut command = cargo("-- --show-output");
        command.envs(variables).stdout(Stdio::piped());
        // Compiling is no soak.
        let Row { tried, cpu_s, .. } = row;
        let (status, passed) = timed(cpu_s, || listen(command.spawn()?, tried))?;
        ensure!(status.success(), "{selection}: {status}");
        // A filter that matches nothing is all right to cargo.
        ensure!(passed > 0, "{selection}: no such test");
        Ok(())
    }

    fn differ(&self, row: &mut Row) -> Result<()> {
        let server = workspace::build("everlog-server", &["--bins"])?.display().to_string();
        let enough_s = self.minutes as f64 * 60.0 / self.scale as f64;
        let what = format!("seeds of {} commands to a group", differ::COMMANDS);
        for seed in self.seed.. {
            let words = ["--server".to_owned(), server.clone(), "--seed".to_owned(), seed.to_string()];
            timed(&mut row.cpu_s, || differ::run(&mut Args::new(words.into_iter())))?;
            *row.tried.entry(what.clone()).or_default() += 1;
            if row.cpu_s >= enough_s {
                break;
            }
        }
        Ok(())
    }
}

/// Does some work, and adds the CPU time that it took, whatever came of it.
fn timed<T>(cpu_s: &mut f64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before_s = cpu_used_s()?;
    let outcome = work();
    *cpu_s += cpu_used_s()? - before_s;
    outcome
}

/// Shows what tests say, and adds up what they have tried; how they ended, and how many have passed.
fn listen(mut tests: Child, tried: &mut Tried) -> Result<(ExitStatus, u64)> {
    let output = tests.stdout.take().context("it has an output")?;
    let passed = add_up(BufReader::new(output), tried);
    // Also if nothing more can be read.
    let status = tests.wait()?;
    Ok((status, passed?))
}

/// Values that tests print need not be UTF-8.
fn add_up(output: impl BufRead, tried: &mut Tried) -> Result<u64> {
    let mut passed_so_far = 0;
    for line in output.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some((what, amount)) = told(&line) {
            *tried.entry(what.to_owned()).or_default() += amount;
        }
        passed_so_far += passed(&line).unwrap_or(0);
    }
    Ok(passed_so_far)
}

/// How many tests have passed, from the last line of a test program.
fn passed(line: &str) -> Option<u64> {
    let words = line.strip_prefix("test result: ")?.split_once(" passed")?.0;
    words.rsplit(' ').next()?.parse().ok()
}

/// What a test has tried, and how often.
fn told(line: &str) -> Option<(&str, u64)> {
    let (amount, what) = line.trim().strip_prefix("tried: ")?.split_once(' ')?;
    Some((what, amount.parse().ok()?))
}

/// The CPU seconds of this process and of all its children that have ended, theirs included.
fn cpu_used_s() -> Result<f64> {
    let (own, children) = (getrusage(UsageWho::RUSAGE_SELF)?, getrusage(UsageWho::RUSAGE_CHILDREN)?);
    let times = [own.user_time(), own.system_time(), children.user_time(), children.system_time()];
    Ok(times.iter().map(|time| time.num_microseconds() as f64 / 1e6).sum())
}

fn table(rows: &[Row]) -> String {
    let mut text = "| part | tried | CPU minutes | |\n|---|---|---:|---|\n".to_owned();
    for Row { name, tried, cpu_s, outcome } in rows {
        let tried: Vec<String> = tried.iter().map(|(what, amount)| format!("{amount} {what}")).collect();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        text += &format!("| {name} | {} | {:.1} | {word} |\n", tried.join(", "), cpu_s / 60.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use anyhow::ensure;

    use super::{Row, Tried, add_up, passed, table, timed, told};

    #[test]
    fn what_tests_tell_is_read_and_nothing_else() {
        assert_eq!(told("tried: 12 damaged files"), Some(("damaged files", 12)));
        assert_eq!(told("  tried: 3 SIGKILLs"), Some(("SIGKILLs", 3)));
        assert_eq!([told("tried: many"), told("12 damaged files"), told("tried: x y")], [None; 3]);
    }

    #[test]
    fn tests_that_passed_are_counted_and_none_is_none() {
        let line =
            |passed, others| format!("test result: ok. {passed} passed; 0 failed; {others} filtered out");
        assert_eq!([line(0, 7), line(12, 0)].map(|line| passed(&line)), [Some(0), Some(12)]);
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed; 0 ignored"), Some(3));
        assert_eq!(passed("test a::b ... ok"), None);
    }

    #[test]
    fn whatever_tests_print_is_read_to_its_end() {
        let output = b"value \xff\ntried: 2 things\ntest result: ok. 1 passed; 0 failed\ntried: 3 things";
        let mut tried = Tried::new();
        assert_eq!(add_up(&output[..], &mut tried).unwrap(), 1);
        assert_eq!(tried, Tried::from([("things".to_owned(), 5)]));
    }

    #[test]
    fn a_part_that_failed_shows() {
        let row = |name, tried: &[(&str, u64)], outcome| Row {
            name,
            tried: tried.iter().map(|(what, amount)| ((*what).to_owned(), *amount)).collect::<Tried>(),
            cpu_s: 90.0,
            outcome,
        };
        let rows = [row("a", &[("x", 1), ("y", 2)], Ok(())), row("b", &[], Err(anyhow::anyhow!("no")))];
        assert!(table(&rows).ends_with("| a | 1 x, 2 y | 1.5 | ok |\n| b |  | 1.5 | FAILED |\n"));
    }

    #[test]
    fn the_time_of_children_counts_and_that_of_what_fails() {
        let busy = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done; false";
        let mut cpu_s = 0.0;
        let outcome = timed(&mut cpu_s, || {
            ensure!(Command::new("sh").args(["-c", busy]).status()?.success(), "it failed");
            Ok(())
        });
        assert!(outcome.is_err() && cpu_s > 0.0, "{outcome:?}, {cpu_s} s");
    }
}
