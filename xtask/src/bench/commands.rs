//! `commands`: what the collections' commands cost a server, pipelined by 16: CPU microseconds per request above the
//! floor of the same slice of a round. The log is off.
//!
//! Large collections have 100,000 members, in the expanded form; the small ones are compact everywhere, but for the
//! sets of a redis-server before 7.2.

use anyhow::Result;

use super::memory::fill;
use super::{Bench, Better, Samples, cpu_us, fresh_dir, table};
use crate::server::{Party, Server, free_port};
use crate::{install, workspace};

/// In how many parts each server is asked, in turns with the others: a machine may change its speed within a second.
const SLICES: u64 = 4;
/// Members of a large collection, and the range of redis-benchmark's random numbers.
const LARGE: u64 = 100_000;

/// What is measured, the request in redis-benchmark's words, and how many requests take about half a second: see [`SLICES`].
const ROWS: &[(&str, &str, u64)] = &[
    ("ZADD, large", "ZADD zset __rand_int__ member:__rand_int__", 300_000),
    ("HSET, large", "HSET hash field:__rand_int__ value:__rand_int__", 600_000),
    ("SADD, large", "SADD set member:__rand_int__", 600_000),
    ("ZRANK, large", "ZRANK zset member:__rand_int__", 600_000),
    ("LPUSH", "LPUSH list element:__rand_int__", 600_000),
    ("XADD", "XADD stream * field:1 value:__rand_int__", 300_000),
    ("ZADD, small", "ZADD small-zset 7 member:000000000007", 600_000),
    ("HSET, small", "HSET small-hash field:000000000007 value:__rand_int__", 600_000),
    ("SADD, small", "SADD small-set member:000000000007", 600_000),
    ("ZRANGE of 100", "ZRANGE zset 1000 1099", 100_000),
    ("LRANGE of 100", "LRANGE hundred 0 99", 100_000),
    ("HGETALL of 50", "HGETALL fifty", 100_000),
    ("SINTER of 100", "SINTER hundred-a hundred-b", 60_000),
    ("SINTER of 100 integers", "SINTER integers-a integers-b", 60_000),
];

/// How many members a collection has, and the request that adds one: see [`fill`].
const COLLECTIONS: &[(u64, &str)] = &[
    (LARGE, "ZADD zset # member:#"),
    (LARGE, "HSET hash field:# value:#"),
    (LARGE, "SADD set member:#"),
    (20, "ZADD small-zset # member:#"),
    (20, "HSET small-hash field:# value:#"),
    (20, "SADD small-set member:#"),
    (100, "RPUSH hundred element:#"),
    (50, "HSET fifty field:# value:#"),
    (100, "SADD hundred-a member:#"),
    (100, "SADD hundred-b member:#"),
    (100, "SADD integers-a 1#"),
    (100, "SADD integers-b 1#"),
];

pub(super) fn commands(bench: &Bench) -> Result<String> {
    let floor = Party { name: "floor", program: workspace::build("floor", &["--example", "floor"])? };
    let rows = bench.rows(ROWS, |row| row.0);
    let mut costs = Samples::new();
    for round in 0..bench.rounds {
        let mut servers = Vec::new();
        for party in std::iter::once(&floor).chain(bench.order(round)) {
            let dir = fresh_dir(&format!("commands-{}", party.name))?;
            let command = bench.cores.server(&party.program);
            let server = Server::start_by(command, &dir, free_port(), &["--appendonly", "no"])?;
            COLLECTIONS
                .iter()
                .try_for_each(|(len, words)| fill(&mut server.connect()?, 0..*len, *len, words))?;
            servers.push((party.name, server));
        }
        for (row, words, requests) in &rows {
            for _ in 0..SLICES {
                let mut floor_us = 0.0;
                for (name, server) in &servers {
                    let cost_us = cost_us(server, words, requests / SLICES / bench.scale)?;
                    costs.entry((String::from(*row), name)).or_default().push(cost_us - floor_us);
                    if *name == "floor" {
                        floor_us = cost_us;
                    }
                }
            }
        }
    }
    let rows: Vec<String> = rows.iter().map(|(row, ..)| String::from(*row)).collect();
    Ok(table("CPU us per request above the floor", bench, &rows, &costs, 2, Better::Lower))
}

/// The server's CPU microseconds per request.
fn cost_us(server: &Server, words: &str, requests: u64) -> Result<f64> {
    let program = install::program("redis-cli")?.with_file_name("redis-benchmark");
    let (port, range, count) = (server.port().to_string(), LARGE.to_string(), requests.to_string());
    let options = ["-p", &port, "-r", &range, "-n", &count, "-c", "50", "-P", "16", "-q"];
    let shell = workspace::shell()?;
    let before_us = cpu_us(server.pid())?;
    let words = words.split(' ');
    xshell::cmd!(shell, "{program} {options...} {words...}").quiet().ignore_stdout().ignore_stderr().run()?;
    Ok((cpu_us(server.pid())? - before_us) / requests as f64)
}
