//! `memory`: the resident bytes that an item costs, by what kind of item it is; the key of its collection counts.
//! Before the last look a server gives back what it keeps for reuse (MEMORY PURGE): that is not what an item costs. Ours and
//! Redis have an allocator that can; Valkey's build goes by the C library's, and answers OK.

use std::ops::Range;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};

use super::{Bench, Better, Samples, fresh_dir, table};
use crate::client::Client;
use crate::server::{Server, free_port};

/// Items to a kind.
const ITEMS: u64 = 1_000_000;
/// So many are there before the first look: the pages of its program that a server needs for a command, and its
/// buffers, are not what an item costs.
const FIRST: u64 = 1_000;
/// Before a look: neither are the threads that a server starts when it needs them first, its cron's for example.
const SETTLING: Duration = Duration::from_secs(1);

/// An item, how many of them make a collection, and the request that adds one: see [`words_of`].
const ROWS: &[(&str, u64, &str)] = &[
    ("key of 16, value of 32", 1, "SET key:# a-value-of-32-bytes:#"),
    ("key of 16, integer", 1, "SET key:# 1#"),
    ("key of 16, value of 32, time to live", 1, "SET key:# a-value-of-32-bytes:# EX 100000"),
    ("field of 16, value of 32, a hash of 1 M", ITEMS, "HSET hash elt:# a-value-of-32-bytes:#"),
    ("member of 32, a set of 1 M", ITEMS, "SADD set a-member-of-32-bytes#"),
    ("member of 32, a sorted set of 1 M", ITEMS, "ZADD zset # a-member-of-32-bytes#"),
    ("element of 24, a list of 1 M", ITEMS, "RPUSH list element-24::#"),
    ("field of 16, value of 16, hashes of 50", 50, "HSET hash:@ elt:# val:#"),
    ("member of 13, sets of 50", 50, "SADD set:@ #m"),
    ("member of 13, sorted sets of 50", 50, "ZADD zset:@ # #m"),
    ("element of 16, lists of 50", 50, "RPUSH list:@ elt:#"),
];

pub(super) fn memory(bench: &Bench) -> Result<String> {
    let items = ITEMS / bench.scale;
    let mut samples = Samples::new();
    let rows = bench.rows(ROWS, |row| row.0);
    for (row, per_collection, words) in &rows {
        samples.extend(bench.sample(&[String::from(*row)], |party| {
            let dir = fresh_dir(&format!("memory-{}", party.name))?;
            let server = Server::start(&party.program, &dir, free_port(), &["--appendonly", "no"])?;
            let mut client = server.connect()?;
            let mut bytes_with = |items: Range<u64>| {
                fill(&mut client, items, *per_collection, words)?;
                thread::sleep(SETTLING);
                client.call(&["MEMORY", "PURGE"])?;
                resident_bytes(server.pid())
            };
            let before = bytes_with(0..FIRST)?;
            Ok([(bytes_with(FIRST..items)? - before) / (items - FIRST) as f64])
        })?);
    }
    let rows: Vec<String> = rows.iter().map(|(row, ..)| String::from(*row)).collect();
    Ok(table("resident bytes per item", bench, &rows, &samples, 1, Better::Lower))
}

/// The request for an item: `#` in its words becomes the item's number, `@` that of its collection.
pub(super) fn words_of(words: &str, item: u64, per_collection: u64) -> String {
    let words = words.replace('@', &format!("{:012}", item / per_collection));
    words.replace('#', &format!("{item:012}"))
}

/// Sends a [request](words_of) for each item.
pub(super) fn fill(client: &mut Client, items: Range<u64>, per_collection: u64, words: &str) -> Result<()> {
    let end = items.end;
    for item in items {
        let words = words_of(words, item, per_collection);
        client.push(&words.split(' ').collect::<Vec<_>>());
        if item % 1000 == 999 || item + 1 == end {
            client.flush()?;
        }
    }
    Ok(())
}

/// A process's resident memory.
pub(super) fn resident_bytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}
