//! How long a start takes: a log of two million commands as clients sent them, and the RDB base that it is rewritten to.
//!
//! Nothing else runs meanwhile, so a server has all cores. What it loads is in the page cache.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use super::{Bench, Better, Samples, fresh_dir, table};
use crate::client::Client;
use crate::server::{Server, free_port};
use crate::workspace;

const OPTIONS: &[&str] = &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"];

/// The `n`th command of a log.
type Command = fn(u64) -> Vec<String>;

const LOGS: &[(&str, Command)] = &[("strings", string), ("mixed", any)];

/// A directory that is loaded.
struct Original {
    name: String,
    dir: PathBuf,
    /// What DBSIZE says then.
    keys: String,
}

pub(super) fn start(bench: &Bench) -> Result<String> {
    let commands = 2_000_000 / bench.scale;
    let mut originals = Vec::new();
    for (kind, command) in LOGS {
        originals.extend(originals_of(bench, commands, kind, *command)?);
    }
    let mut samples = Samples::new();
    for round in 0..bench.rounds {
        for original in &originals {
            for party in bench.order(round) {
                let dir = copied(&original.dir, &format!("start-{}", party.name))?;
                let begin = Instant::now();
                let command = bench.cores.anywhere(&party.program);
                let server = Server::start_by(command, &dir, free_port(), OPTIONS)?;
                let elapsed_ms = begin.elapsed().as_secs_f64() * 1e3;
                let keys = server.connect()?.call(&["DBSIZE"])?.text();
                ensure!(keys == original.keys, "{}: {keys} of {} keys", party.name, original.keys);
                samples.entry((original.name.clone(), party.name)).or_default().push(elapsed_ms);
                server.stop()?;
            }
        }
    }
    let rows: Vec<String> = originals.into_iter().map(|original| original.name).collect();
    Ok(table("load time, ms", bench, &rows, &samples, 0, Better::Lower))
}

/// The log of redis-server for these commands, and a copy of it after a rewrite.
fn originals_of(bench: &Bench, commands: u64, kind: &str, command: Command) -> Result<[Original; 2]> {
    let redis = bench.parties.iter().find(|party| party.name == "redis").context("no redis")?;
    let log = fresh_dir(&format!("start-log-{kind}"))?;
    let server = Server::start(&redis.program, &log, free_port(), OPTIONS)?;
    let mut client = server.connect()?;
    send(&mut client, (0..commands).map(command))?;
    let keys = client.call(&["DBSIZE"])?.text();
    server.stop()?;

    let base = copied(&log, &format!("start-base-{kind}"))?;
    let server = Server::start(&redis.program, &base, free_port(), OPTIONS)?;
    server.connect()?.rewrite_aof()?;
    server.stop()?;
    let named =
        |form, dir, keys| Original { name: format!("{commands} commands, {kind}, {form}"), dir, keys };
    Ok([named("as a log", log, keys.clone()), named("as an RDB base", base, keys)])
}

fn send(client: &mut Client, commands: impl Iterator<Item = Vec<String>>) -> Result<()> {
    for (n, command) in commands.enumerate() {
        client.push(&command);
        if n % 1000 == 999 {
            client.flush()?;
        }
    }
    client.flush().map(drop)
}

fn copied(original: &Path, name: &str) -> Result<PathBuf> {
    let dir = fresh_dir(name)?.join("data");
    let shell = workspace::shell()?;
    cmd!(shell, "cp -r {original} {dir}").quiet().run()?;
    Ok(dir)
}

/// A key of 16 bytes and a value of 32.
fn string(n: u64) -> Vec<String> {
    words(format!("SET key:{:012} {n:032}", scattered(n) % 1_000_000_000_000))
}

/// In each ten: five strings, one of which expires, a small hash, a counter, and an element for a list, a set and a
/// sorted set of some ten.
fn any(n: u64) -> Vec<String> {
    let (random, member, key) = (scattered(n), scattered(n + 5) % 1_000_000, scattered(n) % 20_000);
    words(match n % 10 {
        0..4 => return string(n),
        4 => format!(
            "SET session:{random:016x} {random:016x}{n:016x} PXAT {}",
            1_893_456_000_000 + random % 1000
        ),
        5 => format!("HSET user:{n:08} name name-{random} age {} mail {key:x}@example.org", random % 90),
        6 => format!("RPUSH list:{key:06} item:{n}"),
        7 => format!("SADD set:{key:06} member:{member}"),
        8 => format!("ZADD zset:{key:06} {} member:{member}", (random % 100_000) as f64 / 4.0),
        _ => format!("INCR counter:{:06}", random % 100_000),
    })
}

fn words(line: String) -> Vec<String> {
    line.split(' ').map(String::from).collect()
}

/// A number that depends on `n` and looks as if it did not.
fn scattered(n: u64) -> u64 {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::{any, string};

    #[test]
    fn commands_are_whole_and_of_all_kinds() {
        assert_eq!(string(7).iter().map(String::len).collect::<Vec<_>>(), [3, 16, 32]);
        let names: Vec<String> = (0..10).map(|n| any(n).swap_remove(0)).collect();
        assert_eq!(names.join(" "), "SET SET SET SET SET HSET RPUSH SADD ZADD INCR");
        assert!((0..100).all(|n| any(n).iter().all(|word| !word.is_empty())));
    }
}
