//! What replicas send: SYNC, PSYNC, REPLCONF; and ROLE, which tells of them.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec};

use super::connection::reply;
use super::{ProcessSpec, integer};
use crate::client::ClientId;
use crate::executor::Server;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    spec(
        "sync",
        sync,
        1,
        NO_MULTI | NO_ASYNC_LOADING | ADMIN | NOSCRIPT | DANGEROUS,
        Keys::None,
        "1.0.0",
        "Makes the connection a replica's: all data, then the stream of writes.",
    ),
    spec(
        "psync",
        psync,
        -3,
        NO_MULTI | NO_ASYNC_LOADING | ADMIN | NOSCRIPT | DANGEROUS,
        Keys::None,
        "2.8.0",
        "The same, but only what is missing where that is still known.",
    ),
    spec(
        "replconf",
        replconf,
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY | DANGEROUS,
        Keys::None,
        "3.0.0",
        "What replicas and their primary tell each other.",
    ),
    spec(
        "role",
        role,
        1,
        LOADING | STALE | NOSCRIPT | FAST | DANGEROUS,
        Keys::None,
        "2.8.12",
        "Answers the role in replication.",
    ),
];

/// Source: redis 7.2 `src/util.h` `NET_HOST_STR_LEN`.
const MAX_IP_BYTES: usize = 255;

type Result = std::result::Result<(), CommandError>;

fn sync(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    attach(server, id, None)
}

fn psync(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    if server.replication.has(id) {
        return Ok(());
    }
    if argv.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover")) {
        return Err(CommandError::other("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    let next_byte = integer(argv[2])?;
    attach(server, id, Some((argv[1], next_byte)))
}

/// One that is a replica already is not answered, as in Redis.
fn attach(server: &mut Server, id: ClientId, psync: Option<(&[u8], i64)>) -> Result {
    if server.replication.has(id) {
        return Ok(());
    }
    // Replies and the stream would mix.
    if server.clients.get(id).is_some_and(|client| client.output.len_bytes() > 0) {
        return Err(CommandError::other("ERR SYNC and PSYNC are invalid with pending output"));
    }
    server.attach_replica(id, psync);
    Ok(())
}

/// REPLCONF option value ...: ACK and GETACK are not answered, nor is what stands behind them looked at.
fn replconf(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let (pairs, rest) = argv[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    for (at, [option, value]) in pairs.iter().enumerate() {
        match option.to_ascii_lowercase().as_slice() {
            b"ack" => {
                let offset = |text: &[u8]| u64::try_from(integer(text).unwrap_or(-1)).ok();
                let durable = pairs.get(at + 1).filter(|[word, _]| word.eq_ignore_ascii_case(b"fack"));
                let durable = durable.and_then(|[_, value]| offset(value));
                if let Some(offset) = offset(value) {
                    server.replication.note_ack(id, offset, durable, server.clock.now);
                }
                return Ok(());
            }
            // A primary asks for it; this server follows none.
            b"getack" => return Ok(()),
            // What it is was settled when it was attached.
            _ if server.replication.has(id) => return Ok(()),
            _ => announce(server, id, option, value)?,
        }
    }
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn announce(server: &mut Server, id: ClientId, option: &[u8], value: &[u8]) -> Result {
    let announced = server.replication.announced_mut(id);
    match option.to_ascii_lowercase().as_slice() {
        b"listening-port" => announced.port = integer(value)?,
        b"ip-address" if value.len() > MAX_IP_BYTES => {
            let line = format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                value.len()
            );
            return Err(CommandError::other(line));
        }
        // It stands in lines of INFO.
        b"ip-address" if value.iter().any(|byte| byte.is_ascii_control()) => {
            return Err(CommandError::Syntax);
        }
        b"ip-address" => announced.ip = Some(String::from_utf8_lossy(value).into_owned()),
        // Whoever can take more than this is sent this.
        b"capa" => announced.psync2 |= value.eq_ignore_ascii_case(b"psync2"),
        b"rdb-only" => match integer(value)? {
            wanted @ 0..=1 => announced.rdb_only = wanted == 1,
            _ => return Err(CommandError::other("ERR value is out of range, must be between 0 and 1")),
        },
        _ => {
            let option = String::from_utf8_lossy(option);
            return Err(CommandError::other(format!("ERR Unrecognized REPLCONF option: {option}")));
        }
    }
    Ok(())
}

fn role(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let online = server.replication.replicas().iter().filter(|replica| replica.is_online());
    let replicas: Vec<[String; 3]> = online
        .map(|replica| {
            [server.replica_ip(replica.id), replica.announced.port.to_string(), replica.acked.to_string()]
        })
        .collect();
    let offset = server.replication.backlog.end();
    reply(server, id, |reply| {
        reply.array(3);
        reply.bulk(b"master");
        reply.integer(offset as i64);
        reply.array(replicas.len());
        for replica in &replicas {
            reply.array(replica.len());
            replica.iter().for_each(|word| reply.bulk(word.as_bytes()));
        }
    });
    Ok(())
}
