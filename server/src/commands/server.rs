//! CONFIG, SHUTDOWN, TIME and what else is about the process as a whole.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec, unknown_subcommand};

use super::ProcessSpec;
use super::connection::reply;
use crate::client::{Client, ClientId};
use crate::executor::Server;
use crate::settings::Setting;

type Result = std::result::Result<(), CommandError>;

const RULE: u32 = ADMIN | NOSCRIPT | LOADING | STALE | DANGEROUS;
const ASK: u32 = LOADING | STALE;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    ProcessSpec {
        subcommands: &[
            spec("help", super::help, 2, ASK, Keys::None, "5.0.0", "Lists the subcommands."),
            spec("get", config_get, -3, RULE, Keys::None, "2.0.0", "Answers directives and their values."),
            spec("set", config_set, -4, RULE, Keys::None, "2.0.0", "Changes directives, all or none."),
            spec(
                "rewrite",
                config_rewrite,
                2,
                RULE,
                Keys::None,
                "2.8.0",
                "Writes the directives to the configuration file.",
            ),
            spec(
                "resetstat",
                config_resetstat,
                2,
                RULE,
                Keys::None,
                "2.0.0",
                "Sets the counters of INFO to zero.",
            ),
        ],
        ..spec("config", config, -2, 0, Keys::None, "2.0.0", "Commands about the configuration.")
    },
    spec("info", info, -1, ASK | DANGEROUS, Keys::None, "1.0.0", "Describes the server."),
    spec("time", time, 1, ASK | FAST, Keys::None, "2.6.0", "Answers the wall clock."),
    spec(
        "shutdown",
        shutdown,
        -1,
        RULE | NO_MULTI | ALLOW_BUSY,
        Keys::None,
        "1.0.0",
        "Makes everything durable and exits.",
    ),
];

fn config(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(unknown_subcommand(argv))
}

fn config_get(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let found = server.config.get(&argv[2..], |pattern, text| keyspace::glob::matches(pattern, text, true));
    reply(server, id, |reply| {
        reply.map(found.len());
        for (name, value) in &found {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
    });
    Ok(())
}

fn config_set(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    if argv.len() % 2 == 1 {
        return Err(CommandError::Arity("config|set".into()));
    }
    let pairs = pairs(argv);
    let local = server.clients.get(id).is_some_and(Client::is_local);
    match server.set_config(&pairs, local)? {
        Setting::Done => reply(server, id, |reply| reply.ok()),
        Setting::AwaitsLogEnd => server.wait_for_log_end(id, argv),
    }
    Ok(())
}

/// The directives of a CONFIG SET and their values.
pub(crate) fn pairs<'a>(argv: &[&'a [u8]]) -> Vec<(&'a [u8], &'a [u8])> {
    let pairs = argv.get(2..).unwrap_or_default().as_chunks::<2>().0;
    pairs.iter().map(|&[name, value]| (name, value)).collect()
}

fn config_rewrite(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.config.rewrite().map_err(|error| CommandError::other(format!("ERR {error}")))?;
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn config_resetstat(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.stats = crate::stats::Stats::default();
    server.replication.stats = crate::replication::SyncStats::default();
    server.observer.commands = crate::commandstats::CommandStats::default();
    server.keyspace.stats = keyspace::Stats::default();
    server.persistence.reset_stats();
    server.lazyfree.reset_stats();
    server.room.reset_stats(server.clock.now);
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn info(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let text = server.info(&argv[1..]);
    reply(server, id, |reply| reply.verbatim("txt", text.as_bytes()));
    Ok(())
}

fn time(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    reply(server, id, |reply| {
        reply.array(2);
        reply.bulk(since.as_secs().to_string().as_bytes());
        reply.bulk(since.subsec_micros().to_string().as_bytes());
    });
    Ok(())
}

fn shutdown(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let (mut save, mut nosave, mut abort, mut force) = (false, false, false, false);
    for option in &argv[1..] {
        match option.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"abort" => abort = true,
            b"force" => force = true,
            b"now" => {}
            _ => return Err(CommandError::Syntax),
        }
    }
    if save && nosave || abort && argv.len() > 2 {
        return Err(CommandError::Syntax);
    }
    if abort {
        if !server.abort_stop() {
            return Err(CommandError::other("ERR No shutdown in progress."));
        }
        reply(server, id, |reply| reply.ok());
        return Ok(());
    }
    let save = (save || nosave).then_some(save);
    let failed = |_| CommandError::other("ERR Errors trying to SHUTDOWN. Check logs.");
    server.shut_down(force, save).map_err(failed)?;
    // As Redis, the last client sees its connection close.
    if let Some(client) = server.clients.get_mut(id) {
        client.closing = true;
    }
    Ok(())
}
