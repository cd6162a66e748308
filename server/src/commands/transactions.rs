//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, keys, spec};

use super::ProcessSpec;
use crate::client::{ClientId, Watched};
use crate::executor::Server;
use crate::transaction::Transaction;

type Result = std::result::Result<(), CommandError>;

const ANYWHERE: u32 = NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | TRANSACTION;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    spec(
        "multi",
        multi,
        1,
        ANYWHERE,
        Keys::None,
        "1.2.0",
        "Starts a transaction: commands are queued until EXEC.",
    ),
    spec(
        "exec",
        exec,
        1,
        ANYWHERE & !(FAST | ALLOW_BUSY) | SKIP_SLOWLOG,
        Keys::None,
        "1.2.0",
        "Executes the queued commands as one.",
    ),
    spec("discard", discard, 1, ANYWHERE, Keys::None, "2.0.0", "Forgets the queued commands."),
    spec(
        "watch",
        watch,
        -2,
        ANYWHERE,
        keys::LOOK_ALL,
        "2.2.0",
        "Lets EXEC refuse if one of the keys changes before it.",
    ),
    spec("unwatch", unwatch, 1, ANYWHERE, Keys::None, "2.2.0", "Forgets the watched keys."),
];

fn multi(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    if client.transaction.is_some() {
        return Err(CommandError::other("ERR MULTI calls can not be nested"));
    }
    client.transaction = Some(Transaction::default());
    client.reply().ok();
    Ok(())
}

fn exec(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let Some(transaction) = client.transaction.take() else {
        return Err(CommandError::other("ERR EXEC without MULTI"));
    };
    let broken = client.watch_broken;
    let watched = client.watched.clone();
    let now_ms = server.clock.unix_ms;
    // A key that expired under the watch was changed, though nobody has met it yet.
    let keyspace = &server.keyspace;
    let expired = watched
        .iter()
        .any(|watched| watched.existed && keyspace.entry(watched.db, &watched.key, now_ms).is_none());
    server.unwatch(id);
    // Either answer tells what the watched keys were: it waits for the writes to them.
    server.wait_for_keys(id, &watched);
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    if transaction.spoilt {
        return Err(CommandError::other("EXECABORT Transaction discarded because of previous errors."));
    }
    if broken || expired {
        client.reply().null_array();
        return Ok(());
    }
    client.reply().array(transaction.queue.len());
    server.call_queue(id, transaction.queue);
    Ok(())
}

fn discard(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    if client.transaction.take().is_none() {
        return Err(CommandError::other("ERR DISCARD without MULTI"));
    }
    client.reply().ok();
    server.unwatch(id);
    Ok(())
}

fn watch(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    if client.transaction.is_some() {
        return Err(CommandError::other("ERR WATCH inside MULTI is not allowed"));
    }
    client.reply().ok();
    let db = client.db;
    for &key in argv.iter().skip(1) {
        let hash = server.keyspace.hash(key);
        if client.watched.iter().any(|watched| watched.db == db && watched.hash == hash) {
            continue;
        }
        let existed = server.keyspace.entry(db, key, server.clock.unix_ms).is_some();
        client.watched.push(Watched { db, hash, key: key.to_vec(), existed });
        server.watching.add(db, hash, id);
    }
    Ok(())
}

fn unwatch(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.unwatch(id);
    if let Some(client) = server.clients.get_mut(id) {
        client.reply().ok();
    }
    Ok(())
}
