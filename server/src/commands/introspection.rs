//! COMMAND: what the table says.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec, unknown_subcommand};
use keyspace::glob;
use resp::Encoder;

use super::connection::reply;
use super::{Command, ProcessSpec};
use crate::client::ClientId;
use crate::executor::Server;

type Result = std::result::Result<(), CommandError>;

const ASK: u32 = LOADING | STALE | CONNECTION;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[ProcessSpec {
    subcommands: &[
        spec("count", count, 2, ASK, Keys::None, "2.8.13", "Counts the commands."),
        spec("info", info, -2, ASK, Keys::None, "2.8.13", "Describes some commands, or all."),
        spec("list", list, -2, ASK, Keys::None, "7.0.0", "Lists the commands' names."),
        spec("docs", docs, -2, ASK, Keys::None, "7.0.0", "Documents some commands, or all."),
        spec("help", super::help, 2, LOADING | STALE, Keys::None, "5.0.0", "Lists the subcommands."),
        spec("getkeys", getkeys, -4, ASK, Keys::None, "2.8.13", "Answers the keys of a request."),
    ],
    ..spec("command", command, -1, ASK, Keys::None, "2.8.13", "Describes all commands.")
}];

fn command(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    if argv.len() > 1 {
        return Err(unknown_subcommand(argv));
    }
    describe(server, id, &[])
}

fn info(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    describe(server, id, &argv[2..])
}

fn count(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let count = server.table.all().len();
    reply(server, id, |reply| reply.count(count));
    Ok(())
}

/// The commands of these names (`config|get` for a subcommand), or all.
fn named(server: &Server, names: &[&[u8]]) -> Vec<Option<Command>> {
    if names.is_empty() {
        return server.table.all().into_iter().map(Some).collect();
    }
    names.iter().map(|name| server.table.named(name)).collect()
}

fn describe(server: &mut Server, id: ClientId, names: &[&[u8]]) -> Result {
    let commands = named(server, names);
    reply(server, id, |reply| {
        reply.array(commands.len());
        for command in commands {
            match command {
                Some(command) => write_info(reply, command),
                None => reply.null_array(),
            }
        }
    });
    Ok(())
}

/// The flags that COMMAND INFO shows. Source: redis 7.2 `addReplyFlagsForCommand`.
const SHOWN_FLAGS: &[(u32, &str)] = &[
    (WRITE, "write"),
    (READ, "readonly"),
    (DENYOOM, "denyoom"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (TOUCHES_ARBITRARY_KEYS, "touches_arbitrary_keys"),
    (MOVABLE_KEYS, "movablekeys"),
    (NO_MULTI, "no_multi"),
    (ALLOW_BUSY, "allow_busy"),
];

/// The ACL categories that follow from the flags, and from the group.
fn categories(command: Command) -> Vec<String> {
    let has = |flag| command.has(flag);
    let fast = has(FAST);
    let from_flags = [
        (has(WRITE), "write"),
        (has(READ), "read"),
        (has(ADMIN), "admin"),
        (has(DANGEROUS) || has(ADMIN), "dangerous"),
        (has(CONNECTION), "connection"),
        (has(TRANSACTION), "transaction"),
        (has(PUBSUB), "pubsub"),
        (has(BLOCKING), "blocking"),
        (fast, "fast"),
        (!fast, "slow"),
    ];
    let mut categories: Vec<String> =
        from_flags.iter().filter(|(is, _)| *is).map(|(_, name)| format!("@{name}")).collect();
    let own = OWN_CATEGORIES.iter().find(|(name, _)| *name == command.full_name());
    match (own, command.group) {
        (Some((_, own)), _) => categories.extend(own.iter().map(|name| format!("@{name}"))),
        // A container is in none: its subcommands are.
        _ if !command.subcommands().is_empty() => {}
        (_, "generic") => categories.push("@keyspace".into()),
        (_, "sorted-set") => categories.push("@sortedset".into()),
        (_, "string" | "bitmap" | "list" | "set" | "hash" | "hyperloglog" | "geo" | "stream") => {
            categories.push(format!("@{}", command.group))
        }
        _ => {}
    }
    categories
}

/// Where the group does not tell the categories.
const OWN_CATEGORIES: &[(&str, &[&str])] = &[
    ("dbsize", &["keyspace"]),
    ("flushall", &["keyspace"]),
    ("flushdb", &["keyspace"]),
    ("swapdb", &["keyspace"]),
    ("sort", &["list", "set", "sortedset"]),
    ("sort_ro", &["list", "set", "sortedset"]),
    ("wait", &[]),
    ("waitaof", &[]),
];

fn write_info(reply: &mut Encoder<'_>, command: Command) {
    let columns = command.columns();
    let (first, last, step) = match columns.keys {
        Keys::Range { first, last, step } => (first as i64, last as i64, step as i64),
        Keys::StoreCounted { .. } | Keys::Sort | Keys::GeoRadius => (1, 1, 1),
        Keys::None | Keys::Counted { .. } | Keys::Streams => (0, 0, 0),
    };
    reply.array(10);
    reply.bulk(command.full_name().as_bytes());
    reply.integer(i64::from(columns.arity));
    let flags: Vec<&str> =
        SHOWN_FLAGS.iter().filter(|(flag, _)| command.has(*flag)).map(|(_, name)| *name).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories = categories(command);
    reply.set(categories.len());
    categories.iter().for_each(|category| reply.simple(category));
    reply.array(0);
    reply.array(0);
    let subcommands = command.subcommands();
    reply.array(subcommands.len());
    subcommands.into_iter().for_each(|sub| write_info(reply, sub));
}

fn docs(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let commands: Vec<Command> = named(server, &argv[2..]).into_iter().flatten().collect();
    reply(server, id, |reply| {
        reply.map(commands.len());
        for command in commands {
            write_docs(reply, command);
        }
    });
    Ok(())
}

fn write_docs(reply: &mut Encoder<'_>, command: Command) {
    let columns = command.columns();
    let subcommands = command.subcommands();
    reply.bulk(command.full_name().as_bytes());
    reply.map(if subcommands.is_empty() { 3 } else { 4 });
    reply.bulk(b"summary");
    reply.bulk(columns.summary.as_bytes());
    reply.bulk(b"since");
    reply.bulk(columns.since.as_bytes());
    reply.bulk(b"group");
    reply.bulk(command.group.as_bytes());
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.into_iter().for_each(|sub| write_docs(reply, sub));
    }
}

fn list(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let mut commands: Vec<Command> = server.table.flat().collect();
    match argv[2..] {
        [] => {}
        [filter, kind, wanted] if filter.eq_ignore_ascii_case(b"filterby") => {
            match kind.to_ascii_lowercase().as_slice() {
                b"pattern" => {
                    commands.retain(|command| glob::matches(wanted, command.full_name().as_bytes(), true))
                }
                b"aclcat" => commands.retain(|&command| has_category(command, wanted)),
                // There are none.
                b"module" => commands.clear(),
                _ => return Err(CommandError::Syntax),
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    reply(server, id, |reply| {
        reply.array(commands.len());
        commands.iter().for_each(|command| reply.bulk(command.full_name().as_bytes()));
    });
    Ok(())
}

fn has_category(command: Command, wanted: &[u8]) -> bool {
    let is = |category: &String| category.trim_start_matches('@').as_bytes().eq_ignore_ascii_case(wanted);
    categories(command).iter().any(is)
}

fn getkeys(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let request = &argv[2..];
    let command =
        server.table.lookup(request).map_err(|_| CommandError::other("ERR Invalid command specified"))?;
    let keys = command.columns().keys;
    if keys == Keys::None {
        return Err(CommandError::other("ERR The command has no key arguments"));
    }
    let places = keys.places(request);
    if places.is_empty() {
        return Err(CommandError::other("ERR Invalid arguments specified for command"));
    }
    reply(server, id, |reply| {
        reply.array(places.len());
        places.iter().for_each(|&place| reply.bulk(request[place]));
    });
    Ok(())
}
