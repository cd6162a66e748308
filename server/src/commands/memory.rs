//! MEMORY: what takes how much.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, keys, spec, unknown_subcommand};
use resp::Encoder;

use super::connection::reply;
use super::{ProcessSpec, help};
use crate::client::ClientId;
use crate::executor::Server;
use crate::memory::{self, Books};

type Result = std::result::Result<(), CommandError>;

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[ProcessSpec] = &[
    ProcessSpec {
        subcommands: &[
            spec("doctor", doctor, 2, 0, Keys::None, "4.0.0", "Says what about the memory stands out, and what may help."),
            spec("help", help, 2, LOADING | STALE, Keys::None, "4.0.0", "Lists the subcommands."),
            spec("malloc-stats", malloc_stats, 2, 0, Keys::None, "4.0.0", "Answers the allocator's own report."),
            spec("purge", purge, 2, 0, Keys::None, "4.0.0", "Gives memory that nothing stands in back to the kernel."),
            spec("stats", stats, 2, 0, Keys::None, "4.0.0", "Answers what takes how much memory."),
            spec("usage", usage, -3, READ, keys::LOOK_SUB, "4.0.0", "Answers the bytes that a key takes."),
        ],
        ..spec("memory", container, -2, 0, Keys::None, "4.0.0", "Commands about memory.")
    },
];

fn container(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(unknown_subcommand(argv))
}

fn doctor(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let text = server.memory_books().diagnosis(server.clients.len());
    reply(server, id, |reply| reply.verbatim("txt", text.as_bytes()));
    Ok(())
}

fn malloc_stats(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let text = memory::report();
    reply(server, id, |reply| reply.verbatim("txt", text.as_bytes()));
    Ok(())
}

fn purge(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    memory::purge();
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn stats(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.wait_for_all(id);
    let books = server.memory_books();
    let keys = server.keyspace.dbs().iter().map(|db| db.len() as u64).sum();
    reply(server, id, |reply| write_stats(reply, &books, keys));
    Ok(())
}

/// In Redis's order and with its names.
fn write_stats(reply: &mut Encoder<'_>, books: &Books, keys: u64) {
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
    let counts = [
        ("peak.allocated", books.peak),
        ("total.allocated", books.used),
        ("startup.allocated", books.startup),
        ("replication.backlog", books.backlog),
        ("clients.slaves", books.replicas),
        ("clients.normal", books.clients),
        ("cluster.links", 0),
        ("aof.buffer", books.log_buffer),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ];
    let totals = [
        ("overhead.total", books.overhead),
        ("keys.count", keys),
        ("keys.bytes-per-key", books.net().checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", books.dataset()),
    ];
    let percentages = [
        ("dataset.percentage", percent(books.dataset(), books.net())),
        ("peak.percentage", percent(books.used, books.peak)),
    ];
    let pages = [
        ("allocator.allocated", books.used),
        ("allocator.active", books.active),
        ("allocator.resident", books.resident),
    ];
    let ratio_names = ["allocator-fragmentation", "allocator-rss", "rss-overhead", "fragmentation"];
    let fields = counts.len()
        + books.dbs.len()
        + totals.len()
        + percentages.len()
        + pages.len()
        + 2 * ratio_names.len();
    reply.map(fields);
    write_counts(reply, &counts);
    for (db, overhead) in &books.dbs {
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(3);
        write_counts(
            reply,
            &[
                ("overhead.hashtable.main", overhead.main_bytes as u64),
                ("overhead.hashtable.expires", overhead.expires_bytes as u64),
                ("overhead.hashtable.slot-to-keys", 0),
            ],
        );
    }
    write_counts(reply, &totals);
    percentages.into_iter().for_each(|(name, value)| write_double(reply, name, value));
    write_counts(reply, &pages);
    for (ratio, name) in books.ratios().iter().zip(ratio_names) {
        // The last one is called by its first name alone.
        let suffix = if name == "fragmentation" { "" } else { ".ratio" };
        write_double(reply, &format!("{name}{suffix}"), ratio.value());
        reply.bulk(format!("{name}.bytes").as_bytes());
        reply.integer(ratio.bytes());
    }
}

fn write_counts(reply: &mut Encoder<'_>, fields: &[(&str, u64)]) {
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(i64::try_from(*value).unwrap_or(i64::MAX));
    }
}

fn write_double(reply: &mut Encoder<'_>, name: &str, value: f64) {
    reply.bulk(name.as_bytes());
    reply.double(value);
}

fn usage(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let mut samples = 5;
    for option in argv[3..].chunks(2) {
        // As in Redis the last one counts.
        samples = match option {
            [name, count] if name.eq_ignore_ascii_case(b"samples") => super::integer(count)?.try_into(),
            _ => return Err(CommandError::Syntax),
        }
        .map_err(|_| CommandError::Syntax)?;
    }
    server.wait_for_all(id);
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let entry = server.keyspace.entry(client.db, argv[2], server.clock.unix_ms);
    let (bytes, mut reply) = (entry.map(|entry| entry.memory_bytes(samples)), client.reply());
    match bytes {
        Some(bytes) => reply.count(bytes),
        None => reply.null(),
    }
    Ok(())
}
