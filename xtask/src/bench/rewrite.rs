//! `rewrite`: BGREWRITEAOF of 3 million keys, idle and while clients overwrite them as fast as they can: how long PINGs
//! and SETs take meanwhile, how much memory it needs, and how long it lasts.
//!
//! Memory is sampled during a rewrite of its own: reading it stops a process for milliseconds, which PINGs would feel.
//! Our longest turn is that of the rewrite beside which PINGs are sent.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::control::Control;
use super::{Bench, Better, Load, fresh_dir, memory, pings_during, quantile, table, trips_during};
use crate::server::{Party, Server, free_port};

const OPTIONS: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
/// Between two looks at a process's memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// What we allow ourselves of memory at its peak, of that before: so much, and so much more for the share of the keys that
/// is overwritten meanwhile, since writers copy what they touch.
const ALLOWED: (f64, f64) = (1.15, 0.6);
const ROWS: [&str; 13] = [
    "longest PING, ms",
    "p99.9 PING, ms",
    "longest PING before it, ms",
    "p99.9 PING before it, ms",
    "longest SET, ms",
    "p99.9 SET, ms",
    "rewrite, ms",
    "rewrite when idle, ms",
    "memory at its peak, of before",
    "allowed: 1.15 and 0.6 of what is overwritten",
    "keys overwritten meanwhile, of all",
    "longest turn, CPU ms (ours alone says)",
    "longest of 0.2 ms of arithmetic beside one, CPU ms",
];

/// The part `rewrite`.
pub(super) fn rewrite(bench: &Bench) -> Result<String> {
    let keys = 3_000_000 / bench.scale;
    let rows = ROWS.map(String::from);
    let control = Control::new();
    let samples = bench.sample(&rows, |party| values(bench, party, keys, &control))?;
    let title = format!("{keys} keys, under SETs of 10 connections, pipelined by 16");
    Ok(table(&title, bench, &rows, &samples, 2, Better::Lower))
}

/// The values of [`ROWS`] for one server.
fn values(bench: &Bench, party: &Party, keys: u64, control: &Control) -> Result<[f64; ROWS.len()]> {
    let dir = fresh_dir(&format!("rewrite-{}", party.name))?;
    let server = Server::start_by(bench.cores.anywhere(&party.program), &dir, free_port(), &OPTIONS)?;
    memory::fill(&mut server.connect()?, 0..keys, 1, "SET key:# 00000000000000000000#")?;
    let idle = rewritten(&server)?;
    let load = Load::start(&server, keys)?;
    let (before, _) = pings_during(&server, || {
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    })?;
    server.connect()?.call(&["CONFIG", "RESETSTAT"])?;
    let (during, elapsed) = pings_during(&server, || rewritten(&server).map(drop))?;
    let longest_turn_ms = longest_turn_ms(&server);
    let (sets, _) = trips_during(&server, &["SET", "probe", "1"], || rewritten(&server).map(drop))?;
    let control_ms = beside_rewrite(&server, |is_done| Ok(control.longest_ms(is_done)))?;
    let (peak, overwritten) = memory_of_rewrite(&server, keys)?;
    drop(load);
    Ok([
        quantile(&during, 1.0),
        quantile(&during, 0.999),
        quantile(&before, 1.0),
        quantile(&before, 0.999),
        quantile(&sets, 1.0),
        quantile(&sets, 0.999),
        elapsed.as_secs_f64() * 1e3,
        idle.as_secs_f64() * 1e3,
        peak,
        ALLOWED.0 + ALLOWED.1 * overwritten,
        overwritten,
        longest_turn_ms,
        control_ms,
    ])
}

fn rewritten(server: &Server) -> Result<Duration> {
    let begin = Instant::now();
    server.connect()?.rewrite_aof()?;
    Ok(begin.elapsed())
}

/// The largest memory during a rewrite, as a share of that before it; and the share of the keys that clients overwrote
/// meanwhile, each counted once.
fn memory_of_rewrite(server: &Server, keys: u64) -> Result<(f64, f64)> {
    let mut client = server.connect()?;
    let before = proportional_bytes(server.pid())?;
    let commands = client.info("total_commands_processed")?.parse::<f64>()?;
    let peak = beside_rewrite(server, |is_done| peak_until(server.pid(), is_done))?;
    let writes = client.info("total_commands_processed")?.parse::<f64>()? - commands;
    Ok((peak / before, 1.0 - (-writes / keys as f64).exp()))
}

/// What `watch` says of the time of a rewrite, at whose end it is told.
fn beside_rewrite(
    server: &Server,
    watch: impl FnOnce(&dyn Fn() -> bool) -> Result<f64> + Send,
) -> Result<f64> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| watch(&|| done.load(Ordering::Relaxed)));
        let outcome = rewritten(server);
        done.store(true, Ordering::Relaxed);
        outcome.and(watched.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

fn peak_until(pid: u32, is_done: impl Fn() -> bool) -> Result<f64> {
    let mut peak = 0.0;
    while !is_done() {
        peak = f64::max(peak, proportional_bytes(pid)?);
        std::thread::sleep(SAMPLE_EVERY);
    }
    Ok(peak)
}

/// The resident memory of a process and its children, where pages that they share count once.
fn proportional_bytes(pid: u32) -> Result<f64> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    // A child may end between the two looks.
    let of_children = children.split_whitespace().filter_map(|child| pss_bytes(child).ok()).sum::<f64>();
    Ok(pss_bytes(&pid.to_string())? + of_children)
}

fn pss_bytes(pid: &str) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// What our INFO says of the executor's own CPU time; the peers do not say.
fn longest_turn_ms(server: &Server) -> f64 {
    let said = server.connect().and_then(|mut client| client.info("rewrite_turn_cpu_max_usec"));
    said.ok().and_then(|us| us.parse::<f64>().ok()).map_or(f64::NAN, |us| us / 1e3)
}
