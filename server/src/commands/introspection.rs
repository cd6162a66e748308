//! COMMAND: what the table says.

#[cfg(test)]
mod tests;

use keyspace::CommandError;
use keyspace::commands::keys::{Begin, Find, KEY_FLAGS, KeySpec, Keys, Places};
use keyspace::commands::{flags::*, spec, unknown_subcommand};
use keyspace::glob;
use resp::Encoder;

use super::connection::reply;
use super::{Command, ProcessSpec, docs};
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
        spec("docs", docs::docs, -2, ASK, Keys::None, "7.0.0", "Documents some commands, or all."),
        spec(
            "help",
            super::help,
            2,
            LOADING | STALE | CONNECTION,
            Keys::None,
            "5.0.0",
            "Lists the subcommands.",
        ),
        spec("getkeys", getkeys, -3, ASK, Keys::None, "2.8.13", "Answers the keys of a request."),
        spec(
            "getkeysandflags",
            getkeysandflags,
            -3,
            ASK,
            Keys::None,
            "7.0.0",
            "Answers the keys of a request, and what becomes of them.",
        ),
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
pub(super) fn named(server: &Server, names: &[&[u8]]) -> Vec<Option<Command>> {
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
                None => reply.null(),
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
    (NO_ASYNC_LOADING, "no_async_loading"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (ASKING, "asking"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
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
    match (own, command.group()) {
        (Some((_, own)), _) => categories.extend(own.iter().map(|name| format!("@{name}"))),
        // A container is in none: its subcommands are.
        _ if command.subcommands().len() > 0 => {}
        (_, "generic") => categories.push("@keyspace".into()),
        (_, "sorted-set") => categories.push("@sortedset".into()),
        (_, "string" | "bitmap" | "list" | "set" | "hash" | "hyperloglog" | "geo" | "stream") => {
            categories.push(format!("@{}", command.group()))
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
    ("restore-asking", &["keyspace"]),
    ("swapdb", &["keyspace"]),
    ("sort", &["list", "set", "sortedset"]),
    ("sort_ro", &["list", "set", "sortedset"]),
    ("lastsave", &["admin"]),
    ("role", &["admin"]),
    ("wait", &[]),
    ("waitaof", &[]),
];

fn write_info(reply: &mut Encoder<'_>, command: Command) {
    let columns = command.columns();
    reply.array(10);
    reply.bulk(command.full_name().as_bytes());
    reply.integer(i64::from(columns.arity));
    let shown = SHOWN_FLAGS.iter().filter(|(flag, _)| command.has(*flag)).map(|(_, name)| *name);
    let movable = columns.keys.are_movable().then_some("movablekeys");
    write_names(reply, &shown.chain(movable).collect::<Vec<_>>());
    columns.keys.first_last_step().into_iter().for_each(|number| reply.integer(number));
    write_names(reply, &categories(command));
    let tips = tips(command);
    reply.array(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    write_key_specs(reply, columns.keys);
    let subcommands = command.subcommands();
    reply.array(subcommands.len());
    subcommands.for_each(|sub| write_info(reply, sub));
}

pub(super) fn write_names(reply: &mut Encoder<'_>, names: &[impl AsRef<str>]) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name.as_ref()));
}

fn write_key_flags(reply: &mut Encoder<'_>, flags: u32) {
    let names = KEY_FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name);
    write_names(reply, &names.collect::<Vec<_>>());
}

/// The specifications as they are shown: a search for one of several options is as many searches.
pub(super) fn searches(keys: Keys) -> Vec<(&'static KeySpec, &'static str)> {
    let searches = |spec: &'static KeySpec| {
        let words = match spec.begin {
            Begin::Option { words, .. } => words,
            _ => &[""],
        };
        words.iter().map(move |word| (spec, *word))
    };
    keys.specs().iter().flat_map(searches).collect()
}

fn write_key_specs(reply: &mut Encoder<'_>, keys: Keys) {
    let searches = searches(keys);
    reply.array(searches.len());
    for (spec, option) in searches {
        reply.map(3);
        reply.bulk(b"flags");
        write_key_flags(reply, spec.flags);
        let [(kind, begin), (find_kind, find)] = shown(spec, option);
        write_search(reply, "begin_search", kind, &begin);
        write_search(reply, "find_keys", find_kind, &find);
    }
}

/// A field of a key specification's half.
type Field<'a> = (&'static str, Shown<'a>);

enum Shown<'a> {
    Number(i64),
    Word(&'a str),
}

/// Where a specification's keys begin, and where they are found from there.
fn shown<'a>(spec: &KeySpec, option: &'a str) -> [(&'static str, Vec<Field<'a>>); 2] {
    let begin = shown_begin(spec.begin, option);
    // What is not shown where it begins is not shown where it ends.
    let find = if begin.0 == "unknown" { Find::Unknown } else { spec.find };
    [begin, shown_find(find)]
}

fn shown_begin(begin: Begin, option: &str) -> (&'static str, Vec<Field<'_>>) {
    let keyword = |word, from| vec![("keyword", Shown::Word(word)), ("startfrom", Shown::Number(from))];
    match begin {
        Begin::Index(at) => ("index", vec![("index", Shown::Number(at as i64))]),
        Begin::Option { from, .. } => ("keyword", keyword(option, from as i64)),
        Begin::Streams { from } => ("keyword", keyword("STREAMS", from as i64)),
        Begin::InsteadOfEmpty => ("keyword", keyword("KEYS", -2)),
        Begin::Anywhere(_) | Begin::Unknown => ("unknown", Vec::new()),
    }
}

fn shown_find(find: Find) -> (&'static str, Vec<Field<'static>>) {
    let numbers = |names: [&'static str; 3], numbers: [i64; 3]| {
        names.into_iter().zip(numbers.map(Shown::Number)).collect()
    };
    match find {
        Find::Range { last, step, limit } => {
            ("range", numbers(["lastkey", "keystep", "limit"], [last as i64, step as i64, limit as i64]))
        }
        Find::Counted => ("keynum", numbers(["keynumidx", "firstkey", "keystep"], [0, 1, 1])),
        Find::Unknown => ("unknown", Vec::new()),
    }
}

fn write_search(reply: &mut Encoder<'_>, name: &str, kind: &str, fields: &[Field<'_>]) {
    reply.bulk(name.as_bytes());
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        match value {
            Shown::Number(number) => reply.integer(*number),
            Shown::Word(word) => reply.bulk(word.as_bytes()),
        }
    }
}

/// What proxies and clients of clusters may want to know. Source: redis 7.2 `src/commands/*.json`, `command_tips`.
#[rustfmt::skip]
const TIPS: &[(&str, &str)] = &[
    (
        "client|setinfo client|setname config|resetstat config|rewrite config|set slowlog|reset",
        "request_policy:all_nodes response_policy:all_succeeded",
    ),
    ("latency|reset", "request_policy:all_nodes response_policy:agg_sum"),
    (
        "client|info client|list cluster|bumpepoch cluster|count-failure-reports cluster|getkeysinslot \
         cluster|info cluster|links cluster|nodes cluster|replicas cluster|shards cluster|slaves \
         cluster|slots dump hrandfield hscan lastsave migrate object|encoding object|freq object|idletime \
         object|refcount pttl spop srandmember sscan time ttl xadd xautoclaim xclaim xinfo|consumers xpending \
         xtrim zrandmember zscan",
        "nondeterministic_output",
    ),
    ("dbsize", "request_policy:all_shards response_policy:agg_sum"),
    ("command command|docs command|info command|list hgetall hkeys hvals sdiff sinter smembers sunion", "nondeterministic_output_order"),
    ("del exists touch unlink", "request_policy:multi_shard response_policy:agg_sum"),
    ("flushall flushdb memory|purge ping", "request_policy:all_shards response_policy:all_succeeded"),
    ("mget", "request_policy:multi_shard"),
    ("info memory|doctor memory|malloc-stats memory|stats", "nondeterministic_output request_policy:all_shards response_policy:special"),
    ("wait waitaof", "request_policy:all_shards response_policy:agg_min"),
    ("mset", "request_policy:multi_shard response_policy:all_succeeded"),
    ("scan", "nondeterministic_output request_policy:special response_policy:special"),
    ("keys", "request_policy:all_shards nondeterministic_output_order"),
    ("latency|doctor latency|graph latency|histogram latency|history latency|latest", "nondeterministic_output request_policy:all_nodes response_policy:special"),
    ("slowlog|len", "request_policy:all_nodes response_policy:agg_sum nondeterministic_output"),
    ("slowlog|get", "request_policy:all_nodes nondeterministic_output"),
    ("randomkey", "request_policy:all_shards response_policy:special nondeterministic_output"),
];

fn tips(command: Command) -> Vec<&'static str> {
    let tips = TIPS.iter().find(|row| docs::are_named(row.0, &command.full_name()));
    tips.map_or(Vec::new(), |(_, tips)| tips.split(' ').collect())
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
    let (request, places) = keys_of(server, argv)?;
    reply(server, id, |reply| {
        reply.array(places.len());
        places.iter().for_each(|&(place, _)| reply.bulk(request[place]));
    });
    Ok(())
}

fn getkeysandflags(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let (request, places) = keys_of(server, argv)?;
    reply(server, id, |reply| {
        reply.array(places.len());
        for &(place, flags) in &places {
            reply.array(2);
            reply.bulk(request[place]);
            write_key_flags(reply, flags);
        }
    });
    Ok(())
}

/// The request that is asked about, and where its keys stand.
fn keys_of<'a>(
    server: &Server,
    argv: &'a [&'a [u8]],
) -> std::result::Result<(&'a [&'a [u8]], Places), CommandError> {
    let request = &argv[2..];
    let refused = |why: &'static str| Err(CommandError::other(why));
    let Some(command) = server.table.find(request) else { return refused("ERR Invalid command specified") };
    let keys = command.columns().keys;
    if keys.is_none() {
        return refused("ERR The command has no key arguments");
    }
    if !command.takes(request.len()) {
        return refused("ERR Invalid number of arguments specified for command");
    }
    match keys.places(request) {
        places if places.is_empty() => refused("ERR Invalid arguments specified for command"),
        places => Ok((request, places)),
    }
}
