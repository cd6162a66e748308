//! MIGRATE: moves keys to another server.
//!
//! ```text
//! DUMP the keys -> hold writes, park the client -> a thread: connect, RESTORE ... -> DEL what has arrived, reply, let writes go
//! ```
//! A key must not change between its DUMP and its DEL. Redis stands still for that long; here writes wait, as they do
//! under CLIENT PAUSE WRITE, and readers are served. Inside a transaction nobody can be parked: there the executor waits.
//! The keys are deleted though the client has left meanwhile: they are at the other server.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use keyspace::commands::{flags::*, keys, lookup, spec};
use keyspace::{Call, CommandError, DbIndex};
use resp::{Encoder, Version};

use super::connection::reply;
use super::{ProcessSpec, integer};
use crate::client::{ClientId, Waiting};
use crate::executor::Server;
use crate::migrate::{Failure, Links, Outcome, Target, Transfer};

type Result<T = ()> = std::result::Result<T, CommandError>;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[spec(
    "migrate",
    migrate,
    -6,
    WRITE | DANGEROUS,
    keys::MIGRATE,
    "2.6.0",
    "Moves keys to another server.",
)];

/// MIGRATE's state: its sockets, and the one that is under way. Another waits for it, being a write.
#[derive(Debug, Default)]
pub struct Migrations {
    /// Sockets for the next one.
    pub links: Links,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    client: ClientId,
    moving: Moving,
    outcome: Receiver<Outcome>,
}

/// What becomes of the keys here.
#[derive(Debug)]
struct Moving {
    target: Target,
    db: DbIndex,
    copy: bool,
    keys: Vec<Vec<u8>>,
}

impl Migrations {
    /// Whether one is under way.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

#[derive(Debug)]
struct Options<'a> {
    copy: bool,
    replace: bool,
    auth: &'a [&'a [u8]],
    keys: &'a [&'a [u8]],
}

impl<'a> Options<'a> {
    fn parse(argv: &'a [&'a [u8]]) -> Result<Self> {
        let mut options = Options { copy: false, replace: false, auth: &[], keys: &argv[3..4] };
        let mut words = &argv[6..];
        while let [word, rest @ ..] = words {
            let values = match &word.to_ascii_lowercase()[..] {
                b"copy" => {
                    options.copy = true;
                    0
                }
                b"replace" => {
                    options.replace = true;
                    0
                }
                b"auth" => 1,
                b"auth2" => 2,
                b"keys" if argv[3].is_empty() => {
                    options.keys = rest;
                    return Ok(options);
                }
                b"keys" => {
                    let text = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";
                    return Err(CommandError::other(text));
                }
                _ => return Err(CommandError::Syntax),
            };
            let (auth, rest) = rest.split_at_checked(values).ok_or(CommandError::Syntax)?;
            if values > 0 {
                options.auth = auth;
            }
            words = rest;
        }
        Ok(options)
    }
}

fn migrate(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    const DEFAULT_TIMEOUT_MS: u64 = 1000;
    let options = Options::parse(argv)?;
    let timeout_ms = u64::try_from(integer(argv[5])?).ok().filter(|&ms| ms > 0).unwrap_or(DEFAULT_TIMEOUT_MS);
    let db = integer(argv[4])?;
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    // A port that is none is one that nobody answers at.
    let target = Target { host: text(argv[1]), port: text(argv[2]).parse().unwrap_or(0) };

    let (restores, moving) = server.pack(id, target.clone(), &options);
    let keys = moving.keys.len();
    if keys == 0 {
        reply(server, id, |reply| reply.simple("NOKEY"));
        return Ok(());
    }
    let auth = options.auth.iter().map(|word| word.to_vec()).collect();
    let transfer = Transfer { target, db, auth, timeout: Duration::from_millis(timeout_ms), restores, keys };
    if server.in_exec {
        let outcome = transfer.run(server.migrations.links.take(&transfer.target));
        let result = server.unpack(moving, outcome);
        reply(server, id, |reply| tell(reply, &result));
        return Ok(());
    }
    server.start_migration(id, argv, transfer, moving)
}

fn tell(reply: &mut Encoder<'_>, result: &std::result::Result<(), Failure>) {
    match result {
        Ok(()) => reply.ok(),
        Err(failure) => reply.error(&failure.to_string()),
    }
}

impl Server {
    /// Makes the requests that carry the keys that are there.
    fn pack(&mut self, id: ClientId, target: Target, options: &Options<'_>) -> (BytesMut, Moving) {
        let db = self.clients.get(id).map_or(0, |client| client.db);
        let (mut restores, mut keys) = (BytesMut::new(), Vec::new());
        if !self.in_exec {
            self.unit.clear();
        }
        let call = Call::new(db, self.clock.unix_ms, &[]);
        for &key in options.keys {
            let Some((payload, expire_at_ms)) = self.keyspace.dump(&call, key, &mut self.unit) else {
                continue;
            };
            // 0 is for ever, and a key that is still here has not expired.
            let ttl_ms = expire_at_ms.map_or(0, |at_ms| (at_ms - call.now_ms).max(1)).to_string();
            let restore = [b"RESTORE", key, ttl_ms.as_bytes(), &payload, b"REPLACE"];
            let words = if options.replace { &restore[..] } else { &restore[..4] };
            resp::request::encode(words, &mut restores);
            keys.push(key.to_vec());
        }
        if !self.in_exec {
            self.finish_unit(Some(id), true);
        }
        (restores, Moving { target, db, copy: options.copy, keys })
    }

    fn start_migration(
        &mut self,
        id: ClientId,
        argv: &[&[u8]],
        transfer: Transfer,
        moving: Moving,
    ) -> Result {
        let link = self.migrations.links.take(&transfer.target);
        let (sender, outcome) = channel();
        let wake = self.persistence.wake();
        let work = move || {
            // A server that has ended takes no outcome.
            let _ = sender.send(transfer.run(link));
            wake();
        };
        thread::Builder::new()
            .name("migrate".into())
            .spawn(work)
            .map_err(|error| CommandError::other(format!("ERR MIGRATE cannot start a thread: {error}")))?;
        self.migrations.running = Some(Running { client: id, moving, outcome });
        self.park(id, argv, Waiting::Migration, None);
        Ok(())
    }

    /// Ends a MIGRATE whose transfer is over. While clients are paused nothing is written, and once the log is closed
    /// nothing can be: then the keys are at both servers.
    pub fn end_migration(&mut self) {
        if self.paused.is_some() || self.exit.is_some() {
            return;
        }
        let Some(running) = &self.migrations.running else { return };
        let outcome = match running.outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return,
            // The thread is gone without a word: no key is known to have arrived.
            Err(TryRecvError::Disconnected) => {
                Outcome { link: None, restored: Vec::new(), result: Err(Failure::Read) }
            }
        };
        let Some(Running { client, moving, .. }) = self.migrations.running.take() else { return };
        self.unit.clear();
        let result = self.unpack(moving, outcome);
        self.answer_parked(client, |reply| tell(reply, &result));
        self.finish_unit(Some(client), true);
        self.serve_ready();
    }

    /// Deletes the keys that have arrived, which is one DEL to the log, and keeps the connection.
    fn unpack(&mut self, moving: Moving, outcome: Outcome) -> std::result::Result<(), Failure> {
        let Moving { target, db, copy, keys } = moving;
        if let Some(link) = outcome.link {
            self.migrations.links.keep(target, link, self.clock.now);
        }
        let arrived = keys.iter().zip(&outcome.restored).filter(|(_, restored)| **restored && !copy);
        let del: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(arrived.map(|(key, _)| &key[..])).collect();
        if del.len() > 1
            && let Ok(spec) = lookup(&del)
        {
            let mut count = BytesMut::new();
            let call = Call::new(db, self.clock.unix_ms, &del);
            self.keyspace.execute_spec(
                spec,
                &call,
                &mut Encoder::new(&mut count, Version::Resp2),
                &mut self.unit,
            );
        }
        outcome.result
    }
}
