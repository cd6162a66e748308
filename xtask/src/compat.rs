//! Redis's own test suite, unmodified, against our server: `compat/scoreboard.md` is what it said last.
//!
//! Each file runs in a scratch folder of its own, two at a time, in its own network and process namespace where the
//! machine allows that (else in its own port range), and everything it started is killed when it ends or takes too
//! long. `src/redis-server` and `src/redis-check-aof` are links to our programs, the other programs are Debian's.
//!
//! ```text
//! cargo xtask compat                 the quick list: fails if a file does worse than the scoreboard says
//! cargo xtask compat unit/scan ...   these files (quoted where a directive follows the name)
//! cargo xtask compat --all           all files of the table below
//! cargo xtask compat --update ...    writes the results into the scoreboard
//! cargo xtask compat --verbose ...   names all that failed and keeps what its servers wrote
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::args::Args;
use crate::install::{self, REDIS_VERSION};
use crate::{server, workers, workspace};

const SCOREBOARD: &str = "compat/scoreboard.md";
const BASE_PORT: usize = 21100;
const PORTS_PER_SLOT: usize = 200;
/// Two cores are enough for more: what a file takes is mostly waiting.
const SLOTS: usize = 3;

/// A file of the suite, perhaps with a directive that all its servers get; how many of its tests redis-server 7.0.15
/// itself passes, the seconds that it takes there, and whether ci runs it.
type Row = (&'static str, usize, u64, bool);

#[rustfmt::skip]
const FILES: &[Row] = &[
    // name                     passes  s   quick
    ("unit/type/string",          77,  14,  true),
    ("unit/type/incr",            25,   1,  true),
    ("unit/type/list",           240,  16,  true),
    ("unit/type/list-2",           2,  10,  true),
    ("unit/type/list-3",          11,  45,  false),
    ("unit/type/set",             99,  16,  true),
    ("unit/type/zset",           312,  21,  true),
    ("unit/type/hash",            73,   6,  true),
    ("unit/type/stream",          72,  35,  true),
    ("unit/type/stream-cgroups",  57,  30,  true),
    ("unit/hyperloglog",          22,  59,  false),
    ("unit/geo",                  59,  25,  true),
    ("unit/expire",               70,  17,  true),
    ("unit/scan",                 17,   8,  true),
    ("unit/keyspace",             54,   3,  true),
    ("unit/multi",                63,   6,  true),
    ("unit/slowlog",              16,   3,  true),
    ("unit/latency-monitor",      14,   8,  true),
    ("unit/info",                 17,   2,  true),
    ("unit/info-command",          3,   1,  true),
    ("unit/introspection",        43,   9,  true),
    ("unit/introspection-2",      43,   7,  true),
    ("unit/aofrw",                20,  25,  false),
    ("unit/dump",                 26,  27,  true),
    ("unit/maxmemory",            31,  34,  false),
    ("unit/lazyfree",              4,   2,  true),
    ("unit/other",                26,   8,  true),
    ("unit/bitops",               45,   3,  true),
    ("unit/bitfield",             20,   2,  true),
    ("unit/sort",                 52,   9,  true),
    // Its last test waits for ever for an event of class n.
    ("unit/pubsub",               30,   2,  false),
    ("integration/aof",           40,  16,  true),
    ("integration/aof-multi-part", 35, 14,  false),
    // Some of their tests read the log themselves, and know no lines between commands.
    ("unit/expire aof-checksum no",     70, 17, false),
    ("unit/multi aof-checksum no",      63,  6, false),
    ("integration/aof aof-checksum no", 40, 16, false),
    ("integration/rdb",           14,   9,  true),
    ("integration/corrupt-dump",  78,  60,  false),
    ("integration/convert-zipmap-hash-on-load", 3, 2, true),
    ("integration/convert-ziplist-hash-on-load", 2, 2, true),
    ("integration/convert-ziplist-zset-on-load", 2, 2, true),
];

/// Tests that are not run, for what they leave behind fails those that follow; they count as not passed.
const SKIPPED: &[(&str, &str)] = &[
    // Without REPLICAOF it ends inside of MULTI.
    ("unit/multi", "exec with read commands and stale replica state change"),
    ("unit/multi", "MULTI / EXEC with REPLICAOF"),
    // Without REPLICAOF it waits for a replica for ever.
    (
        "unit/expire",
        "For all replicated TTL-related commands, absolute expire times are identical on primary and replica",
    ),
    // Without REPLICAOF its server does not start: the suite tries that for two minutes, and then counts it as passed.
    ("integration/aof", "EVAL can process writes from AOF in read-only replicas"),
    // Without scripts these end inside of MULTI.
    ("unit/multi", "MULTI propagation of SCRIPT LOAD"),
    ("unit/multi", "MULTI propagation of EVAL"),
    ("unit/multi", "MULTI propagation of SCRIPT FLUSH"),
];

/// `cargo xtask compat`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let (all, update, verbose) = (args.flag("--all"), args.flag("--update"), args.flag("--verbose"));
    let patience = args.number("--timeout")?.map(Duration::from_secs);
    let server = workspace::server_under_test(args)?;
    let rows = selection(&args.words()?, all)?;
    let bench = Bench {
        programs: programs(&server)?,
        source: install::redis_source()?,
        isolated: can_isolate(),
        patience,
    };

    let before = parse(&fs::read_to_string(SCOREBOARD).unwrap_or_default());
    let scores = bench.run_all(&rows, &before, verbose)?;
    println!("\n{}", table(&scores));
    if update {
        return write_scoreboard(before, &scores);
    }
    let worse: Vec<String> = scores
        .iter()
        .filter_map(|(name, score)| {
            let missed = missed(&before, name, score)?;
            Some(format!("{name} passes {}, {SCOREBOARD} says {}", score.passed, missed.passed))
        })
        .collect();
    ensure!(worse.is_empty(), "{}", worse.join("; "));
    Ok(())
}

/// What one file of the suite said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Score {
    passed: usize,
    failed: usize,
    expected: usize,
}

type Scores = BTreeMap<&'static str, Score>;

/// The score before, if a file does worse now.
fn missed<'a>(before: &'a Scores, name: &str, score: &Score) -> Option<&'a Score> {
    before.get(name).filter(|before| score.passed < before.passed)
}

fn selection(names: &[String], all: bool) -> Result<Vec<Row>> {
    for name in names {
        ensure!(FILES.iter().any(|row| row.0 == name), "{name} is not in the table of xtask/src/compat.rs");
    }
    let wanted =
        |row: &&Row| if names.is_empty() { all || row.3 } else { names.iter().any(|name| name == row.0) };
    let mut rows: Vec<Row> = FILES.iter().filter(wanted).copied().collect();
    // The longest first, so that the last to end is a short one.
    rows.sort_by_key(|row| std::cmp::Reverse(row.2));
    Ok(rows)
}

/// What goes into `src/`: our server, our checkers where they are there, and Debian's programs.
fn programs(server: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let stock = install::program("redis-server")?;
    let ours_or_stock = |ours: &str, name: &str| {
        let ours = server.with_file_name(ours);
        if ours.exists() { ours } else { stock.with_file_name(name) }
    };
    let cli = install::program("redis-cli")?;
    let programs = vec![
        ("redis-server", server.to_path_buf()),
        ("redis-check-aof", ours_or_stock("everlog-check-aof", "redis-check-aof")),
        ("redis-check-rdb", ours_or_stock("everlog-check-rdb", "redis-check-rdb")),
        ("redis-benchmark", cli.with_file_name("redis-benchmark")),
        ("redis-cli", cli),
    ];
    for tool in ["tclsh", "pgrep", "ip"] {
        install::program(tool)?;
    }
    Ok(programs)
}

/// Namespaces need root or user namespaces; containers often allow neither.
fn can_isolate() -> bool {
    let probe = isolate().args(["sh", "-c", "ip link set lo up"]).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

fn isolate() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child"]);
    command
}

/// What all runs share.
struct Bench {
    programs: Vec<(&'static str, PathBuf)>,
    source: PathBuf,
    isolated: bool,
    patience: Option<Duration>,
}

impl Bench {
    /// Says what failed of each file that does worse than `before`, or of all.
    fn run_all(&self, rows: &[Row], before: &Scores, verbose: bool) -> Result<Scores> {
        let scores = Mutex::new(Scores::new());
        workers::share(rows, SLOTS, |slot, row| {
            let start = Instant::now();
            let report = self.run_file(row, slot, verbose).with_context(|| String::from(row.0))?;
            let score = Score { expected: row.1, ..report.score };
            println!(
                "{:<32} {:>4} of {:>4}  {:>4} s",
                row.0,
                score.passed,
                score.expected,
                start.elapsed().as_secs()
            );
            if verbose || missed(before, row.0, &score).is_some() {
                report.failures.iter().for_each(|failure| println!("    {failure}"));
            }
            if let Ok(mut scores) = scores.lock() {
                scores.insert(row.0, score);
            }
            Ok(())
        })?;
        Ok(scores.into_inner().unwrap_or_default())
    }

    fn run_file(&self, &(name, _, seconds, _): &Row, slot: usize, verbose: bool) -> Result<Report> {
        let file_name = name.replace(['/', ' '], "-");
        let log = workspace::cache_dir("compat")?.join(format!("{file_name}.log"));
        // Not in the workspace: a Unix socket's path has 107 bytes, and nobody knows how deep the workspace lies.
        let scratch = std::env::temp_dir().join(format!("everlog-compat-{}-{file_name}", std::process::id()));
        let (file, directive) = name.split_once(' ').unwrap_or((name, ""));
        self.lay_out(&scratch, directive)?;
        let patience = self.patience.unwrap_or(Duration::from_secs(60 + 6 * seconds));
        let ended = wait(&mut self.spawn(file, slot, &scratch, &log)?, patience)?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let mut report = read_report(&text);
        if !ended {
            report.fail(format!("took longer than {patience:?}"));
        }
        if verbose && !report.failures.is_empty() {
            report.failures.push(format!("logs: {} and {}/tests/tmp", log.display(), scratch.display()));
        } else {
            fs::remove_dir_all(&scratch)?;
        }
        Ok(report)
    }

    /// A folder that looks like a built source tree. Links do, but for `tests/tmp`, which the suite writes to, and for
    /// the configuration that all servers start with.
    fn lay_out(&self, scratch: &Path, directive: &str) -> Result<()> {
        if scratch.exists() {
            fs::remove_dir_all(scratch)?;
        }
        fs::create_dir_all(scratch.join("src"))?;
        fs::create_dir_all(scratch.join("tests/tmp"))?;
        for (name, program) in &self.programs {
            symlink(program, scratch.join("src").join(name))?;
        }
        symlink(self.source.join("runtest"), scratch.join("runtest"))?;
        for entry in fs::read_dir(self.source.join("tests"))? {
            let entry = entry?;
            if entry.file_name() != "tmp" && entry.file_name() != "assets" {
                symlink(entry.path(), scratch.join("tests").join(entry.file_name()))?;
            }
        }
        let (assets, ours) = (self.source.join("tests/assets"), scratch.join("tests/assets"));
        fs::create_dir(&ours)?;
        for entry in fs::read_dir(assets)? {
            let entry = entry?;
            fs::copy(entry.path(), ours.join(entry.file_name()))?;
        }
        let mut default = File::options().append(true).open(ours.join("default.conf"))?;
        write!(default, "\n{directive}\n")?;
        Ok(())
    }

    fn spawn(&self, name: &str, slot: usize, scratch: &Path, log: &Path) -> Result<Child> {
        let mut command = if self.isolated {
            let mut command = isolate();
            command.args(["sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]);
            command.arg("./runtest");
            command
        } else {
            Command::new("./runtest")
        };
        let port = BASE_PORT + slot * PORTS_PER_SLOT;
        command.args(["--single", name, "--clients", "1", "--durable", "--ignore-encoding"]);
        command.args(["--baseport", &port.to_string(), "--portcount", &PORTS_PER_SLOT.to_string()]);
        for (_, test) in SKIPPED.iter().filter(|(file, _)| *file == name) {
            command.args(["--skiptest", test]);
        }
        let log = File::create(log)?;
        // The suite colours its words by the terminal's name.
        command.env("TERM", "dumb").current_dir(scratch).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        command.spawn().context("runtest")
    }
}

/// Waits for a run; false if it had to be killed. Either way nothing of it lives on: its servers are in its process
/// group, and in its namespace if it has one.
fn wait(run: &mut Child, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    let ended = loop {
        if run.try_wait()?.is_some() {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    // Fails when the group is empty already, which is what we want.
    let _ = server::signal("KILL", format_args!("-{}", run.id()));
    run.wait()?;
    Ok(ended)
}

/// What a log says: the score, and one line per failure.
#[derive(Debug, Default)]
struct Report {
    score: Score,
    failures: Vec<String>,
}

impl Report {
    fn fail(&mut self, what: String) {
        self.score.failed += 1;
        self.failures.push(what);
    }
}

/// Counts `[ok]: name (ms)`, `[err]: name`, `[exception]: ...` and the timeout of the suite itself. The line after a
/// failure says why.
fn read_report(log: &str) -> Report {
    let mut report = Report::default();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        match line.split_once("]: ") {
            Some(("[ok", _)) => report.score.passed += 1,
            Some(("[err" | "[exception" | "[TIMEOUT", what)) => {
                let why = lines.next_if(|next| !next.starts_with('[')).unwrap_or_default();
                report.fail(format!("{what}: {why}"));
            }
            _ => {}
        }
    }
    if report.score == Score::default() {
        report.fail(String::from("not one test ran: did the server start?"));
    }
    report
}

fn table(scores: &Scores) -> String {
    let mut text = String::from("| file | passed | failed | redis-server passes |\n|---|---:|---:|---:|\n");
    let mut total = Score::default();
    for (name, ..) in FILES {
        let Some(score) = scores.get(name) else { continue };
        let _ = writeln!(text, "| {name} | {} | {} | {} |", score.passed, score.failed, score.expected);
        total.passed += score.passed;
        total.failed += score.failed;
        total.expected += score.expected;
    }
    let per_cent = 100.0 * total.passed as f64 / total.expected.max(1) as f64;
    let Score { passed, failed, expected } = total;
    let _ = writeln!(text, "| **total** | **{passed}** | **{failed}** | **{expected}** ({per_cent:.1} %) |");
    text
}

/// The rows of a scoreboard; headings and totals are not rows.
fn parse(scoreboard: &str) -> Scores {
    let mut scores = Scores::new();
    for line in scoreboard.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, passed, failed, expected, _] = cells[..] else { continue };
        let Some((known, ..)) = FILES.iter().find(|row| row.0 == name) else { continue };
        let (Ok(passed), Ok(failed), Ok(expected)) = (passed.parse(), failed.parse(), expected.parse())
        else {
            continue;
        };
        scores.insert(known, Score { passed, failed, expected });
    }
    scores
}

fn write_scoreboard(mut scores: Scores, new: &Scores) -> Result<()> {
    scores.extend(new);
    let text = format!(
        "# Redis's own test suite\n\n\
        The Tcl tests of Redis {REDIS_VERSION} as Debian ships them, unmodified, with our server in redis-server's place.\n\
        Options: `--single FILE --clients 1 --durable --ignore-encoding` (our encodings are those of 7.2).\n\
        The last column is what redis-server {REDIS_VERSION} itself passes; tests that follow a failed server start do not run at all.\n\
        Written by `cargo xtask compat --all --update`; ci fails when a file passes fewer than this page says.\n\n{}",
        table(&scores)
    );
    fs::create_dir_all("compat")?;
    fs::write(SCOREBOARD, text).context(SCOREBOARD)
}

#[cfg(test)]
mod tests {
    use super::{Score, Scores, parse, read_report, selection, table};

    #[test]
    fn a_log_is_counted_line_by_line() {
        let log = "[ok]: SET and GET (3 ms)\n[err]: GETEX in tests/unit/type/string.tcl\nlate detail\n\
                   [ignore]: large memory\n[exception]: Executing test client: I/O error\n[1/1 done]: unit/type/string (1 seconds)\n";
        let report = read_report(log);
        assert_eq!(report.score, Score { passed: 1, failed: 2, expected: 0 });
        let why = ["GETEX in tests/unit/type/string.tcl: late detail", "Executing test client: I/O error: "];
        assert_eq!(report.failures, why);
    }

    #[test]
    fn a_server_that_does_not_start_counts_as_a_failure() {
        assert_eq!(
            read_report("can't start the server\n").score,
            Score { passed: 0, failed: 1, expected: 0 }
        );
    }

    #[test]
    fn a_scoreboard_is_read_as_it_was_written() {
        let scores = Scores::from([
            ("unit/scan", Score { passed: 15, failed: 2, expected: 17 }),
            ("unit/multi", Score { passed: 63, failed: 0, expected: 63 }),
        ]);
        let text = table(&scores);
        assert_eq!(parse(&text), scores);
        assert!(text.contains("| **total** | **78** | **2** | **80** (97.5 %) |"), "{text}");
    }

    #[test]
    fn a_file_outside_the_table_is_refused() {
        assert!(selection(&[String::from("unit/nonesuch")], false).is_err());
        assert_eq!(selection(&[String::from("unit/aofrw")], false).unwrap().len(), 1);
        assert!(selection(&[], true).unwrap().len() > selection(&[], false).unwrap().len());
    }
}
