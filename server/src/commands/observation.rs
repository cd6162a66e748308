//! LATENCY, SLOWLOG, MONITOR: what commands did, and how long they took.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec, unknown_subcommand};
use resp::Encoder;

use super::connection::reply;
use super::{Command, ProcessSpec, help};
use crate::client::ClientId;
use crate::executor::Server;
use crate::latency;

type Result = std::result::Result<(), CommandError>;

const RULE: u32 = ADMIN | DANGEROUS | LOADING | STALE;
const ASK: u32 = LOADING | STALE;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    ProcessSpec {
        subcommands: &[
            spec(
                "doctor",
                doctor,
                2,
                RULE | NOSCRIPT,
                Keys::None,
                "2.8.13",
                "Says what was slow, and what may help.",
            ),
            spec("graph", graph, 3, RULE | NOSCRIPT, Keys::None, "2.8.13", "Draws an event's samples."),
            spec("help", help, 2, ASK, Keys::None, "2.8.13", "Lists the subcommands."),
            spec(
                "histogram",
                histogram,
                -2,
                RULE | NOSCRIPT,
                Keys::None,
                "7.0.0",
                "Answers how often some commands, or all, took how long.",
            ),
            spec("history", history, 3, RULE | NOSCRIPT, Keys::None, "2.8.13", "Answers an event's samples."),
            spec(
                "latest",
                latest,
                2,
                RULE | NOSCRIPT,
                Keys::None,
                "2.8.13",
                "Answers each event's last sample and its worst.",
            ),
            spec(
                "reset",
                latency_reset,
                -2,
                RULE | NOSCRIPT,
                Keys::None,
                "2.8.13",
                "Forgets the samples of some events, or of all.",
            ),
        ],
        ..spec("latency", container, -2, 0, Keys::None, "2.8.13", "Commands about latencies.")
    },
    ProcessSpec {
        subcommands: &[
            spec("get", slowlog_get, -2, RULE, Keys::None, "2.2.12", "Answers the last slow commands."),
            spec("help", help, 2, ASK, Keys::None, "6.2.0", "Lists the subcommands."),
            spec(
                "len",
                slowlog_len,
                2,
                RULE,
                Keys::None,
                "2.2.12",
                "Counts the slow commands that are kept.",
            ),
            spec("reset", slowlog_reset, 2, RULE, Keys::None, "2.2.12", "Forgets the slow commands."),
        ],
        ..spec("slowlog", container, -2, 0, Keys::None, "2.2.12", "Commands about slow commands.")
    },
    spec(
        "monitor",
        monitor,
        1,
        RULE | NOSCRIPT,
        Keys::None,
        "1.0.0",
        "Shows all commands as they are executed.",
    ),
];

fn container(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(unknown_subcommand(argv))
}

fn doctor(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.note_log_events();
    let report = latency::doctor(&server.observer.latency, server.watches_latency(), server.clock.unix_s());
    reply(server, id, |reply| reply.verbatim("txt", report.as_bytes()));
    Ok(())
}

fn graph(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.note_log_events();
    let Some((event, series)) = server.observer.latency.series(argv[2]) else {
        let event = String::from_utf8_lossy(argv[2]);
        return Err(CommandError::other(format!("ERR No samples available for event '{event}'")));
    };
    let graph = latency::graph(event, series, server.clock.unix_s());
    reply(server, id, |reply| reply.verbatim("txt", graph.as_bytes()));
    Ok(())
}

fn histogram(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let commands: Vec<Command> = match &argv[2..] {
        [] => server.table.flat().collect(),
        names => names.iter().flat_map(|name| server.table.named(name)).flat_map(Command::flat).collect(),
    };
    let stats = &server.observer.commands;
    let recorded: Vec<_> =
        commands.iter().filter_map(|&command| Some((command, stats.latencies(command)?))).collect();
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let mut reply = client.reply();
    reply.map(recorded.len());
    for (command, latencies) in recorded {
        reply.bulk(command.full_name().as_bytes());
        write_histogram(&mut reply, latencies);
    }
    Ok(())
}

fn write_histogram(reply: &mut Encoder<'_>, latencies: &aof::Histogram) {
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(latencies.len() as i64);
    reply.bulk(b"histogram_usec");
    let steps = latencies.by_octave();
    reply.map(steps.len());
    for (took, count) in steps {
        reply.integer(took.as_micros() as i64);
        reply.integer(count as i64);
    }
}

fn history(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.note_log_events();
    let series = server.observer.latency.series(argv[2]);
    let samples: Vec<_> = series.into_iter().flat_map(|(_, series)| series.samples()).collect();
    reply(server, id, |reply| {
        reply.array(samples.len());
        for sample in samples {
            reply.array(2);
            reply.integer(sample.unix_s);
            reply.integer(sample.took_ms as i64);
        }
    });
    Ok(())
}

fn latest(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.note_log_events();
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let mut reply = client.reply();
    let all = server.observer.latency.all();
    reply.array(all.len());
    for (event, series) in all {
        let last = series.samples().next_back();
        reply.array(4);
        reply.bulk(event.as_bytes());
        reply.integer(last.map_or(0, |last| last.unix_s));
        reply.integer(last.map_or(0, |last| last.took_ms as i64));
        reply.integer(series.max_ms as i64);
    }
    Ok(())
}

fn latency_reset(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.note_log_events();
    let monitor = &mut server.observer.latency;
    let forgotten: usize = match &argv[2..] {
        [] => monitor.reset(None),
        events => events.iter().map(|event| monitor.reset(Some(event))).sum(),
    };
    reply(server, id, |reply| reply.count(forgotten));
    Ok(())
}

fn slowlog_get(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let count = match argv[2..] {
        [] => 10,
        [count] => super::integer(count)
            .ok()
            .filter(|&count| count >= -1)
            .ok_or(CommandError::other("ERR count should be greater than or equal to -1"))?,
        _ => return Err(unknown_subcommand(argv)),
    };
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let entries = server.observer.slowlog.entries();
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(entries.len());
    let mut reply = client.reply();
    reply.array(count);
    for entry in entries.iter().take(count) {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_s);
        reply.integer(entry.took.as_micros() as i64);
        reply.array(entry.words.len());
        entry.words.iter().for_each(|word| reply.bulk(word));
        reply.bulk(entry.peer.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}

fn slowlog_len(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let len = server.observer.slowlog.entries().len();
    reply(server, id, |reply| reply.count(len));
    Ok(())
}

fn slowlog_reset(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.observer.slowlog.clear();
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn monitor(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    if server.in_exec {
        return Err(CommandError::other("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    server.start_monitoring(id);
    Ok(())
}
