//! SUBSCRIBE and its kin, PUBLISH, PUBSUB.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec, unknown_subcommand};
use keyspace::glob;
use resp::Encoder;

use super::ProcessSpec;
use crate::client::{ClientId, ReplyMode};
use crate::executor::Server;
use crate::pubsub::{Kind, Subscriptions};

type Result = std::result::Result<(), CommandError>;

const LISTEN: u32 = PUBSUB | NOSCRIPT | LOADING | STALE;
const TELL: u32 = PUBSUB | LOADING | STALE | FAST;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    spec("subscribe", subscribe, -2, LISTEN, Keys::None, "2.0.0", "Listens to channels."),
    spec(
        "unsubscribe",
        unsubscribe,
        -1,
        LISTEN,
        Keys::None,
        "2.0.0",
        "Stops listening to channels, or to all.",
    ),
    spec(
        "psubscribe",
        psubscribe,
        -2,
        LISTEN,
        Keys::None,
        "2.0.0",
        "Listens to the channels that match patterns.",
    ),
    spec(
        "punsubscribe",
        punsubscribe,
        -1,
        LISTEN,
        Keys::None,
        "2.0.0",
        "Stops listening to patterns, or to all.",
    ),
    spec("publish", publish, 3, TELL, Keys::None, "2.0.0", "Sends a message to a channel's listeners."),
    ProcessSpec {
        subcommands: &[
            spec("channels", channels, -2, TELL & !FAST, Keys::None, "2.8.0", "Lists the channels in use."),
            spec(
                "numsub",
                numsub,
                -2,
                TELL & !FAST,
                Keys::None,
                "2.8.0",
                "Counts the listeners of channels.",
            ),
            spec("numpat", numpat, 2, TELL & !FAST, Keys::None, "2.8.0", "Counts the patterns in use."),
        ],
        ..spec("pubsub", pubsub, -2, 0, Keys::None, "2.8.0", "Answers questions about channels.")
    },
];

fn subscribe(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    listen(server, id, Kind::Channel, argv)
}

fn psubscribe(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    listen(server, id, Kind::Pattern, argv)
}

fn unsubscribe(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    leave(server, id, Kind::Channel, argv)
}

fn punsubscribe(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    leave(server, id, Kind::Pattern, argv)
}

fn listen(server: &mut Server, id: ClientId, kind: Kind, argv: &[&[u8]]) -> Result {
    let word = if kind == Kind::Channel { "subscribe" } else { "psubscribe" };
    for channel in &argv[1..] {
        let count = server.pubsub.subscribe(id, kind, channel);
        confirm(server, id, word, Some(channel), count);
    }
    Ok(())
}

fn leave(server: &mut Server, id: ClientId, kind: Kind, argv: &[&[u8]]) -> Result {
    let word = if kind == Kind::Channel { "unsubscribe" } else { "punsubscribe" };
    let own = server.pubsub.subscriptions(id);
    let count = own.map_or(0, Subscriptions::count);
    let all = own.map(|own| if kind == Kind::Channel { &own.channels } else { &own.patterns });
    let named: Vec<Vec<u8>> = match &argv[1..] {
        [] => all.into_iter().flatten().cloned().collect(),
        named => named.iter().map(|name| name.to_vec()).collect(),
    };
    if named.is_empty() {
        confirm(server, id, word, None, count);
    }
    for channel in named {
        let count = server.pubsub.unsubscribe(id, kind, &channel);
        confirm(server, id, word, Some(&channel), count);
    }
    Ok(())
}

fn confirm(server: &mut Server, id: ClientId, word: &str, channel: Option<&[u8]>, count: usize) {
    let Some(client) = server.clients.get_mut(id) else { return };
    // CLIENT REPLY silences replies, and this is none: it comes as messages do.
    let mut reply = match client.reply_mode {
        ReplyMode::On => client.reply(),
        _ => Encoder::new(&mut server.pushes, client.version),
    };
    reply.push(3);
    reply.bulk(word.as_bytes());
    match channel {
        Some(channel) => reply.bulk(channel),
        None => reply.null(),
    }
    reply.count(count);
}

fn publish(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let told = server.publish(argv[1], argv[2]);
    // Replicas know it by its own name.
    let is_own = argv[0].eq_ignore_ascii_case(b"publish");
    let name = if is_own { argv[0] } else { b"publish" };
    server.replicate_only(id, &[name, argv[1], argv[2]]);
    if let Some(client) = server.clients.get_mut(id) {
        client.reply().count(told);
    }
    Ok(())
}

fn channels(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    if argv.len() > 3 {
        return Err(unknown_subcommand(argv));
    }
    let pattern = argv.get(2).copied().unwrap_or(b"*");
    let matching = server.pubsub.channels().filter(|channel| glob::matches(pattern, channel, false));
    let matching: Vec<Vec<u8>> = matching.cloned().collect();
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let mut reply = client.reply();
    reply.array(matching.len());
    matching.iter().for_each(|channel| reply.bulk(channel));
    Ok(())
}

fn numsub(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let mut reply = client.reply();
    reply.array(2 * (argv.len() - 2));
    for channel in &argv[2..] {
        reply.bulk(channel);
        reply.count(server.pubsub.listeners_of(channel));
    }
    Ok(())
}

fn numpat(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let count = server.pubsub.patterns_len();
    if let Some(client) = server.clients.get_mut(id) {
        client.reply().count(count);
    }
    Ok(())
}

fn pubsub(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(unknown_subcommand(argv))
}
