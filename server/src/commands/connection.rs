//! What a client says about its connection: AUTH, HELLO, PING, SELECT, CLIENT ...

use std::time::Duration;

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec, unknown_subcommand};
use resp::Version;

use super::{ProcessSpec, integer};
use crate::client::{Blocked, Client, ClientId, ReplyMode, Waiting};
use crate::clients::Class;
use crate::executor::{PauseMode, Server};

type Result = std::result::Result<(), CommandError>;

const OPEN: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | CONNECTION;
const TALK: u32 = NOSCRIPT | LOADING | STALE | CONNECTION;
const RULE: u32 = TALK | ADMIN | DANGEROUS;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    spec("auth", auth, -2, OPEN, Keys::None, "1.0.0", "Authenticates the connection."),
    spec(
        "hello",
        hello,
        -1,
        OPEN,
        Keys::None,
        "6.0.0",
        "Chooses the protocol, and may authenticate and name the connection.",
    ),
    spec("ping", ping, -1, FAST | CONNECTION, Keys::None, "1.0.0", "Answers PONG, or what it was given."),
    spec(
        "echo",
        echo,
        2,
        LOADING | STALE | FAST | CONNECTION,
        Keys::None,
        "1.0.0",
        "Answers what it was given.",
    ),
    spec(
        "select",
        select,
        2,
        LOADING | STALE | FAST | CONNECTION,
        Keys::None,
        "1.0.0",
        "Selects a database.",
    ),
    spec("quit", quit, -1, OPEN, Keys::None, "1.0.0", "Closes the connection."),
    spec("reset", reset, 1, OPEN, Keys::None, "6.2.0", "Brings the connection back to how it began."),
    ProcessSpec {
        subcommands: &[
            spec(
                "help",
                super::help,
                2,
                LOADING | STALE | CONNECTION,
                Keys::None,
                "5.0.0",
                "Lists the subcommands.",
            ),
            spec("id", client_id, 2, TALK, Keys::None, "5.0.0", "Answers the connection's number."),
            spec("info", client_info, 2, TALK, Keys::None, "6.2.0", "Describes this connection."),
            spec("list", client_list, -2, RULE, Keys::None, "2.4.0", "Describes all connections, or some."),
            spec("kill", client_kill, -3, RULE, Keys::None, "2.4.0", "Closes connections."),
            spec("getname", client_getname, 2, TALK, Keys::None, "2.6.9", "Answers the connection's name."),
            spec("setname", client_setname, 3, TALK, Keys::None, "2.6.9", "Names the connection."),
            spec(
                "setinfo",
                client_setinfo,
                4,
                TALK,
                Keys::None,
                "7.2.0",
                "Says which library the client uses.",
            ),
            spec(
                "reply",
                client_reply,
                3,
                TALK,
                Keys::None,
                "3.2.0",
                "Turns replies on or off, or skips the next.",
            ),
            spec("pause", client_pause, -3, RULE, Keys::None, "3.0.0", "Holds back commands for a while."),
            spec("unpause", client_unpause, 2, RULE, Keys::None, "6.2.0", "Ends a pause."),
            spec("unblock", client_unblock, -3, RULE, Keys::None, "5.0.0", "Ends another client's waiting."),
            spec(
                "no-evict",
                client_no_evict,
                3,
                RULE,
                Keys::None,
                "7.0.0",
                "Exempts the connection from eviction.",
            ),
            spec(
                "no-touch",
                client_no_touch,
                3,
                TALK,
                Keys::None,
                "7.2.0",
                "Lets commands leave idle times alone.",
            ),
            spec(
                "getredir",
                client_getredir,
                2,
                TALK,
                Keys::None,
                "6.0.0",
                "Answers where invalidations go: nowhere.",
            ),
        ],
        ..spec("client", client, -2, 0, Keys::None, "2.4.0", "Commands about connections.")
    },
];

fn auth(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    match argv[1..] {
        [_] if server.config.requirepass.is_empty() => Err(CommandError::other(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        )),
        [password] => authenticate(server, id, b"default", password),
        [user, password] => authenticate(server, id, user, password),
        _ => Err(CommandError::Syntax),
    }?;
    reply(server, id, |reply| reply.ok());
    Ok(())
}

/// Compares in a time that does not tell how much was right.
fn same_secret(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == secret.len() && differing == 0
}

fn authenticate(server: &mut Server, id: ClientId, user: &[u8], password: &[u8]) -> Result {
    let secret = server.config.requirepass.as_slice();
    if user != b"default" || !secret.is_empty() && !same_secret(password, secret) {
        return Err(CommandError::other("WRONGPASS invalid username-password pair or user is disabled."));
    }
    if let Some(client) = server.clients.get_mut(id) {
        client.authenticated = true;
    }
    Ok(())
}

fn hello(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let greeting = Greeting::parse(argv)?;
    if let Some((user, password)) = greeting.credentials {
        authenticate(server, id, user, password)?;
    }
    if !server.clients.get(id).is_some_and(|client| server.may_speak(client)) {
        return Err(CommandError::other(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    if let Some(name) = greeting.name {
        client.name = name.to_vec();
    }
    client.version = greeting.version.unwrap_or(client.version);
    let protocol = if client.version == Version::Resp3 { 3 } else { 2 };
    let mut reply = client.reply();
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(protocol);
    reply.bulk(b"id");
    reply.integer(id.serial as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// HELLO's words.
#[derive(Default)]
struct Greeting<'a> {
    version: Option<Version>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Greeting<'a> {
    fn parse(argv: &[&'a [u8]]) -> std::result::Result<Self, CommandError> {
        let version = argv.get(1).map(|text| protocol_version(text)).transpose()?;
        let mut greeting = Greeting { version, ..Greeting::default() };
        let mut words = argv.get(2..).unwrap_or_default();
        while let [option, rest @ ..] = words {
            words = match (&option.to_ascii_lowercase()[..], rest) {
                (b"auth", [user, password, rest @ ..]) => {
                    greeting.credentials = Some((user, password));
                    rest
                }
                (b"setname", [name, rest @ ..]) => {
                    check_name(name)?;
                    greeting.name = Some(name);
                    rest
                }
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(CommandError::other(format!("ERR Syntax error in HELLO option '{option}'")));
                }
            };
        }
        Ok(greeting)
    }
}

fn protocol_version(text: &[u8]) -> std::result::Result<Version, CommandError> {
    match resp::number::parse_i64(text) {
        None => Err(CommandError::other("ERR Protocol version is not an integer or out of range")),
        Some(2) => Ok(Version::Resp2),
        Some(3) => Ok(Version::Resp3),
        Some(_) => Err(CommandError::other("NOPROTO unsupported protocol version")),
    }
}

fn ping(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    if argv.len() > 2 {
        return Err(CommandError::Arity("ping".into()));
    }
    let subscribed = server.pubsub.is_subscribed(id);
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let as_message = subscribed && client.version == Version::Resp2;
    let mut reply = client.reply();
    match argv.get(1) {
        _ if as_message => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(argv.get(1).copied().unwrap_or_default());
        }
        Some(text) => reply.bulk(text),
        None => reply.simple("PONG"),
    }
    Ok(())
}

fn echo(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    reply(server, id, |reply| reply.bulk(argv[1]));
    Ok(())
}

fn select(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let db = server.keyspace.parse_db(argv[1])?;
    if let Some(client) = server.clients.get_mut(id) {
        client.db = db;
        client.reply().ok();
    }
    Ok(())
}

fn quit(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    if let Some(client) = server.clients.get_mut(id) {
        client.reply().ok();
        client.closing = true;
    }
    Ok(())
}

fn reset(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.unwatch(id);
    server.pubsub.forget(id);
    server.stop_monitoring(id);
    let authenticated = server.config.requirepass.is_empty();
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    client.transaction = None;
    client.db = 0;
    client.version = Version::Resp2;
    client.name.clear();
    client.reply_mode = ReplyMode::On;
    client.no_evict = false;
    client.no_touch = false;
    client.authenticated = authenticated;
    client.reply().simple("RESET");
    Ok(())
}

fn client(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(unknown_subcommand(argv))
}

fn client_id(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    reply(server, id, |reply| reply.integer(id.serial as i64));
    Ok(())
}

fn client_info(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let line = server.clients.get(id).map(|client| server.describe(client) + "\n").unwrap_or_default();
    reply(server, id, |reply| reply.verbatim("txt", line.as_bytes()));
    Ok(())
}

fn client_list(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let mut wanted: Option<Vec<u64>> = None;
    match &argv[2..] {
        [] => {}
        [option, kind] if option.eq_ignore_ascii_case(b"type") => {
            let class = class_named(kind)?;
            let of_class = server.clients.iter().filter(|client| server.class_of(client.id) == class);
            wanted = Some(of_class.map(|client| client.id.serial).collect());
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let serial = |text: &&[u8]| resp::number::parse_i64(text).and_then(|id| u64::try_from(id).ok());
            let serials: Option<Vec<u64>> = ids.iter().map(serial).collect();
            wanted = Some(serials.ok_or(CommandError::other("ERR Invalid client ID"))?);
        }
        _ => return Err(CommandError::Syntax),
    }
    let mut text = String::new();
    for other in server.clients.ids() {
        let listed = wanted.as_ref().is_none_or(|wanted| wanted.contains(&other.serial));
        if let Some(client) = server.clients.get(other).filter(|_| listed) {
            text.push_str(&server.describe(client));
            text.push('\n');
        }
    }
    reply(server, id, |reply| reply.verbatim("txt", text.as_bytes()));
    Ok(())
}

fn class_named(word: &[u8]) -> std::result::Result<Class, CommandError> {
    let unknown = || format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word));
    Class::named(word).ok_or_else(|| CommandError::other(unknown()))
}

/// CLIENT KILL's filters: all that are given must hold.
#[derive(Debug, Default)]
struct KillFilter {
    serial: Option<u64>,
    peer: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    class: Option<Class>,
    spare_me: bool,
}

impl KillFilter {
    fn parse(options: &[&[u8]]) -> std::result::Result<Self, CommandError> {
        let mut filter = KillFilter { spare_me: true, ..KillFilter::default() };
        let (pairs, rest) = options.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(CommandError::Syntax);
        }
        for [option, value] in pairs {
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let serial = resp::number::parse_i64(value).filter(|&serial| serial > 0);
                    let serial =
                        serial.ok_or(CommandError::other("ERR client-id should be greater than 0"))?;
                    filter.serial = u64::try_from(serial).ok();
                }
                b"addr" => filter.peer = Some(value.to_vec()),
                b"laddr" => filter.local = Some(value.to_vec()),
                b"user" if value != b"default" => {
                    let user = String::from_utf8_lossy(value);
                    return Err(CommandError::other(format!("ERR No such user '{user}'")));
                }
                b"user" => {}
                b"type" => filter.class = Some(class_named(value)?),
                b"skipme" => match value.to_ascii_lowercase().as_slice() {
                    b"yes" => filter.spare_me = true,
                    b"no" => filter.spare_me = false,
                    _ => return Err(CommandError::Syntax),
                },
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(filter)
    }

    fn takes(&self, server: &Server, client: &Client) -> bool {
        self.serial.is_none_or(|serial| serial == client.id.serial)
            && self.peer.as_ref().is_none_or(|peer| *peer == client.peer_text().as_bytes())
            && self.local.as_ref().is_none_or(|local| *local == client.local.as_bytes())
            && self.class.is_none_or(|class| class == server.class_of(client.id))
    }
}

fn client_kill(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    if let [address] = argv[2..] {
        let victim = server.clients.iter().find(|client| client.peer_text().as_bytes() == address);
        let victim = victim.map(|client| client.id).ok_or(CommandError::other("ERR No such client"))?;
        close(server, victim);
        reply(server, id, |reply| reply.ok());
        return Ok(());
    }
    let filter = KillFilter::parse(&argv[2..])?;
    let taken = server.clients.iter().filter(|client| filter.takes(server, client)).map(|client| client.id);
    let victims: Vec<ClientId> = taken.filter(|&victim| !(filter.spare_me && victim == id)).collect();
    for &victim in &victims {
        close(server, victim);
    }
    reply(server, id, |reply| reply.count(victims.len()));
    Ok(())
}

/// Ends another connection at once, with what it has not read; one's own after the reply.
fn close(server: &mut Server, victim: ClientId) {
    if server.executing != Some(victim) {
        server.forget(victim);
    } else if let Some(client) = server.clients.get_mut(victim) {
        client.closing = true;
    }
}

fn client_getname(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let name = client.name.clone();
    if name.is_empty() {
        client.reply().null()
    } else {
        client.reply().bulk(&name)
    }
    Ok(())
}

/// Names stand in CLIENT LIST's lines: no spaces, no control characters.
fn check_name(name: &[u8]) -> Result {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(())
    } else {
        Err(CommandError::other("ERR Client names cannot contain spaces, newlines or special characters."))
    }
}

fn client_setname(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    check_name(argv[2])?;
    if let Some(client) = server.clients.get_mut(id) {
        client.name = argv[2].to_vec();
        client.reply().ok();
    }
    Ok(())
}

fn client_setinfo(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let (option, value) = (argv[2].to_ascii_lowercase(), argv[3]);
    if !matches!(option.as_slice(), b"lib-name" | b"lib-ver") {
        let option = String::from_utf8_lossy(argv[2]);
        return Err(CommandError::other(format!("ERR Unrecognized option '{option}'")));
    }
    if check_name(value).is_err() {
        let option = String::from_utf8_lossy(&option);
        return Err(CommandError::other(format!(
            "ERR {option} cannot contain spaces, newlines or special characters."
        )));
    }
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let field = if option == b"lib-name" { &mut client.lib_name } else { &mut client.lib_ver };
    *field = value.to_vec();
    client.reply().ok();
    Ok(())
}

fn client_reply(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    match argv[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            client.reply_mode = ReplyMode::On;
            client.reply().ok();
        }
        b"off" => client.reply_mode = ReplyMode::Off,
        b"skip" if client.reply_mode == ReplyMode::Off => {}
        b"skip" => client.reply_mode = ReplyMode::SkipNext,
        _ => return Err(CommandError::Syntax),
    }
    Ok(())
}

fn client_pause(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let mode = match argv.get(3) {
        None => PauseMode::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => PauseMode::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => PauseMode::Write,
        Some(_) => return Err(CommandError::other("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout = resp::number::parse_i64(argv[2])
        .ok_or(CommandError::other("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| CommandError::other("ERR timeout is negative"))?;
    let until = server.clock.now.checked_add(Duration::from_millis(timeout));
    let until = until.filter(|_| server.clock.unix_ms.checked_add_unsigned(timeout).is_some());
    let until = until.ok_or(CommandError::other("ERR timeout is out of range"))?;
    // Of two pauses the stricter mode and the later end hold.
    server.pause(Some(match server.paused {
        Some((other, PauseMode::All)) => (until.max(other), PauseMode::All),
        Some((other, PauseMode::Write)) => (until.max(other), mode),
        None => (until, mode),
    }));
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn client_unpause(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.pause(None);
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn client_unblock(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let with_error = match argv.get(3) {
        None => false,
        Some(how) if how.eq_ignore_ascii_case(b"timeout") => false,
        Some(how) if how.eq_ignore_ascii_case(b"error") => true,
        Some(_) => return Err(CommandError::other("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let serial = u64::try_from(integer(argv[2])?).unwrap_or(0);
    // As Redis: a wait that has no timeout of its own is not cut short.
    let may_end = |blocked: &Blocked| !matches!(blocked.on, Waiting::LogEnd | Waiting::Migration);
    let parked =
        server.clients.by_serial(serial).filter(|client| client.blocked.as_ref().is_some_and(may_end));
    let parked = parked.map(|client| client.id);
    match parked {
        Some(other) if with_error => server.answer_parked(other, |reply| {
            reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        }),
        Some(other) => server.time_out(other),
        None => {}
    }
    reply(server, id, |reply| reply.integer(i64::from(parked.is_some())));
    Ok(())
}

fn client_no_evict(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let on = on_or_off(argv[2])?;
    if let Some(client) = server.clients.get_mut(id) {
        client.no_evict = on;
        client.reply().ok();
    }
    Ok(())
}

fn client_no_touch(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let on = on_or_off(argv[2])?;
    if let Some(client) = server.clients.get_mut(id) {
        client.no_touch = on;
        client.reply().ok();
    }
    Ok(())
}

fn client_getredir(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    reply(server, id, |reply| reply.integer(-1));
    Ok(())
}

fn on_or_off(word: &[u8]) -> std::result::Result<bool, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

/// Writes a reply, if the client is still there.
pub(crate) fn reply(server: &mut Server, id: ClientId, write: impl FnOnce(&mut resp::Encoder<'_>)) {
    if let Some(client) = server.clients.get_mut(id) {
        write(&mut client.reply());
    }
}

impl Server {
    /// A line of CLIENT LIST.
    pub fn describe(&self, client: &Client) -> String {
        let own = self.pubsub.subscriptions(client.id);
        let channels = own.map_or(0, |own| own.channels.len());
        let patterns = own.map_or(0, |own| own.patterns.len());
        let mut flags = String::new();
        for (letter, set) in [
            ('O', client.monitors),
            ('S', self.replication.has(client.id)),
            ('P', own.is_some()),
            ('x', client.transaction.is_some()),
            ('b', client.blocked.is_some()),
            ('d', client.watch_broken),
            ('A', client.closing),
            ('U', client.peer.is_none()),
            ('e', client.no_evict),
            ('T', client.no_touch),
        ] {
            if set {
                flags.push(letter);
            }
        }
        /// What Redis keeps of replies in a client's own buffer, and in each node of the list behind it.
        const BUFFER_BYTES: usize = 16 << 10;
        let seconds = |since| self.clock.now.saturating_duration_since(since).as_secs();
        let executing = if self.executing == Some(client.id) { self.executing_bytes } else { 0 };
        let input_bytes = client.input.len().max(executing);
        let parked = client.blocked.as_ref().map_or(0, |blocked| blocked.argv.len_bytes());
        let output_bytes = client.output.len_bytes();
        let streamed_bytes = self.replication.waiting_bytes(client.id) as usize;
        let listed_bytes = output_bytes.saturating_sub(BUFFER_BYTES) + streamed_bytes;
        let text = String::from_utf8_lossy;
        format!(
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db={} sub={} psub={} ssub=0 multi={} \
             qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp=0 obl={} oll={} omem={} tot-mem={} events={} \
             cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            client.id.serial,
            client.peer_text(),
            client.local,
            text(&client.name),
            seconds(client.connected_at),
            seconds(client.active_at),
            if flags.is_empty() { "N" } else { &flags },
            client.db,
            channels,
            patterns,
            client.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64),
            input_bytes,
            client.input.capacity() - client.input.len(),
            parked.max(executing),
            client.queue_bytes(),
            client.output.capacity_bytes(),
            output_bytes.min(BUFFER_BYTES),
            listed_bytes.div_ceil(BUFFER_BYTES),
            listed_bytes,
            client.memory_bytes() + (executing + streamed_bytes) as u64,
            if output_bytes + streamed_bytes > 0 { "rw" } else { "r" },
            client.last_command.map_or("NULL".into(), |command| command.full_name()),
            if client.version == Version::Resp3 { 3 } else { 2 },
            text(&client.lib_name),
            text(&client.lib_ver),
        )
    }
}
