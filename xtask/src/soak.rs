//! `cargo xtask soak [PART...] [--minutes N] [--seed N] [--quick]`: what is random in ci, for as long as a night has room.
//!
//! A part is tests with their variables set, in release, or `differ` until its CPU minutes are used. What a test has tried
//! it says itself, in a line `tried: <number> <what>`, and these lines are added up; of a part whose tests say nothing the
//! variable is told. All parts run even after one has failed. `--seed` is where all seeds begin, and is the time unless given;
//! `--minutes` are those of `differ`; `--quick` is a hundredth of everything, to see that it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

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
        let (mut tried, mut cpu_s) = (Tried::new(), 0.0);
        let outcome = match work {
            Work::Tests(selections, variable, amount) => {
                let setting = (*variable, (amount / self.scale).max(1));
                let mut tests = |selection: &&str| self.tests(selection, setting, &mut tried, &mut cpu_s);
                let outcome = selections.iter().try_for_each(&mut tests);
                if tried.is_empty() {
                    tried.insert(format!("times ({variable})"), setting.1);
                }
                outcome
            }
            Work::Differ => self.differ(&mut tried, &mut cpu_s),
        };
        if let Err(error) = &outcome {
            println!("{name}: {error:#}");
        }
        Row { name, tried, cpu_s, outcome }
    }

    fn tests(
        &self,
        selection: &str,
        (variable, amount): (&str, u64),
        tried: &mut Tried,
        cpu_s: &mut f64,
    ) -> Result<()> {
        let cargo = |words: &str| {
            let mut command = Command::new("cargo");
            command.args(["test", "--release"]).args(selection.split(' ')).args(words.split(' '));
            command
        };
        ensure!(cargo("--no-run").status()?.success(), "it does not build");
        // Compiling is no soak.
        let before_s = cpu_used_s()?;
        println!("{variable}={amount} EVERLOG_SEED={} cargo test --release {selection}", self.seed);
        let mut command = cargo("-- --show-output");
        command.env(variable, amount.to_string()).env("EVERLOG_SEED", self.seed.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        for line in BufReader::new(child.stdout.take().context("it has an output")?).lines() {
            let line = line?;
            println!("{line}");
            if let Some((what, amount)) = told(&line) {
                *tried.entry(what.to_owned()).or_default() += amount;
            }
        }
        let status = child.wait()?;
        *cpu_s += cpu_used_s()? - before_s;
        ensure!(status.success(), "{selection}: {status}");
        Ok(())
    }

    fn differ(&self, tried: &mut Tried, cpu_s: &mut f64) -> Result<()> {
        workspace::build("everlog-server", &["--bins"])?;
        let (before_s, enough_s) = (cpu_used_s()?, self.minutes as f64 * 60.0 / self.scale as f64);
        for seed in self.seed.. {
            let words = ["--seed".to_owned(), seed.to_string()];
            differ::run(&mut Args::new(words.into_iter()))?;
            *tried.entry(format!("seeds of {} commands to a group", differ::COMMANDS)).or_default() += 1;
            *cpu_s = cpu_used_s()? - before_s;
            if *cpu_s >= enough_s {
                break;
            }
        }
        Ok(())
    }
}

/// What a test has tried, and how often.
fn told(line: &str) -> Option<(&str, u64)> {
    let (amount, what) = line.trim().strip_prefix("tried: ")?.split_once(' ')?;
    Some((what, amount.parse().ok()?))
}

/// The CPU seconds of this process and of all its children that have ended, theirs included: `utime` to `cstime` of
/// `/proc/self/stat`, in ticks of 10 ms.
fn cpu_used_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The program's name, in parentheses, may hold blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(4).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
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
    use super::{Row, Tried, cpu_used_s, table, told};

    #[test]
    fn what_tests_tell_is_read_and_nothing_else() {
        assert_eq!(told("tried: 12 damaged files"), Some(("damaged files", 12)));
        assert_eq!(told("  tried: 3 SIGKILLs"), Some(("SIGKILLs", 3)));
        assert_eq!([told("tried: many"), told("12 damaged files"), told("tried: x y")], [None; 3]);
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
    fn the_time_of_children_counts() {
        let before_s = cpu_used_s().unwrap();
        let busy = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", busy]).status().unwrap().success());
        assert!(cpu_used_s().unwrap() > before_s);
    }
}
