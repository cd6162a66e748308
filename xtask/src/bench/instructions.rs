//! `instructions`: what a pipelined SET costs under everysec, and which share of that the log's checksums are. Callgrind
//! counts, and its counts are steady where times are not. What a server does by the clock comes on top, more on a busy
//! machine than on an idle one: the least of all rounds counts, and the timer rests as long as it may.
//!
//! All threads of a server are counted from start to end, in a short run and in a long one: the difference is that of the
//! SETs that the long one has more. One connection sends them, so each block is of as many as are pipelined: 16 share its
//! line, or 800, as if 50 connections had sent 16 in the same turn.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Bench, Better, Samples, fresh_dir, table};
use crate::install;
use crate::server::{Party, Server, free_port};

const EVERYSEC: [&str; 8] =
    ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0", "--hz", "1"];
/// SETs of the short run, and how many more the long one has.
const SHORT: u64 = 10_000;
const MORE: u64 = 40_000;
const PIPELINES: [u64; 2] = [16, 800];
/// What is told of each.
const ROWS: [&str; 3] = ["without checksums", "aof-checksum yes", "share of the checksums, %"];
/// Keys, which the short run has all written once.
const KEYS: u64 = 10_000;

/// The part `instructions`.
pub(super) fn instructions(bench: &Bench) -> Result<String> {
    let (mut rows, mut samples) = (Vec::new(), Samples::new());
    for pipeline in PIPELINES {
        let names = ROWS.map(|row| format!("pipeline {pipeline}: {row}"));
        for party in &bench.parties {
            let values = names.iter().cloned().zip(values(bench, party, pipeline)?);
            for (row, value) in values.filter(|(_, value)| !value.is_nan()) {
                samples.insert((row, party.name), vec![value]);
            }
        }
        rows.extend(names);
    }
    let title = format!(
        "instructions per SET, everysec, 1 conn., ours with aof-direct-write no, least of {}",
        bench.rounds
    );
    Ok(table(&title, bench, &rows, &samples, 1, Better::Lower))
}

/// The values of [`ROWS`] for one server; the peers have no checksums. Ours writes through its other thread: by itself it
/// does so for two seconds after each write that took long, and thus as often as the machine is busy.
fn values(bench: &Bench, party: &Party, pipeline: u64) -> Result<[f64; ROWS.len()]> {
    let per_set = |options: &[&str]| per_set(bench, party, options, pipeline);
    if party.name != "everlog" {
        return Ok([per_set(&[])?, f64::NAN, f64::NAN]);
    }
    let of = |checksum| per_set(&["--aof-direct-write", "no", "--aof-checksum", checksum]);
    let (without, with) = (of("no")?, of("yes")?);
    Ok([without, with, 100.0 * (with - without) / with])
}

fn per_set(bench: &Bench, party: &Party, options: &[&str], pipeline: u64) -> Result<f64> {
    let more = MORE / bench.scale;
    let [mut short, mut long] = [f64::INFINITY; 2];
    for _ in 0..bench.rounds {
        short = short.min(counted(bench, party, options, (SHORT, pipeline))?);
        long = long.min(counted(bench, party, options, (SHORT + more, pipeline))?);
    }
    Ok((long - short) / more as f64)
}

/// What a server executes in a life of so many SETs, pipelined.
fn counted(bench: &Bench, party: &Party, options: &[&str], (sets, pipeline): (u64, u64)) -> Result<f64> {
    let dir = fresh_dir(&format!("instructions-{}", party.name))?;
    let counts = dir.join("counts");
    let valgrind = install::program("valgrind")?;
    let mut command: Command = bench.cores.server(&valgrind);
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display()));
    command.arg(&party.program);
    let options: Vec<&str> = EVERYSEC.iter().chain(options).copied().collect();
    let server = Server::start_by(command, &dir, free_port(), &options)?;
    let mut client = server.connect()?;
    for set in 1..=sets {
        let key = format!("key:{:012}", set % KEYS);
        client.push(&["SET", &key, "a-value-of-32-bytes:000000000000"]);
        if set % pipeline == 0 || set == sets {
            client.flush()?;
        }
    }
    server.stop()?;
    summary(&fs::read_to_string(&counts)?).with_context(|| format!("{}: no summary", counts.display()))
}

/// The number of all instructions, in callgrind's file.
fn summary(counts: &str) -> Option<f64> {
    let line = counts.lines().find_map(|line| line.strip_prefix("summary: "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_summary_is_found_wherever_it_stands() {
        assert_eq!(summary("version: 1\nsummary: 123456\n\nfl=(1)\n12 7\n"), Some(123_456.0));
        assert_eq!(summary("version: 1\nsummary: x\n"), None);
        assert_eq!(summary("version: 1\n"), None);
    }
}
