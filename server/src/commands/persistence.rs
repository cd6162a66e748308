//! SAVE, BGSAVE, LASTSAVE and BGREWRITEAOF.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec};

use super::ProcessSpec;
use super::connection::reply;
use crate::client::ClientId;
use crate::executor::Server;

const RULE: u32 = ADMIN | NOSCRIPT | DANGEROUS;

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[ProcessSpec] = &[
    spec("bgrewriteaof", bgrewriteaof, 1, RULE | NO_ASYNC_LOADING, Keys::None, "1.0.0", "Writes a new base of the append-only file in the background."),
    spec("bgsave", bgsave, -1, RULE | NO_ASYNC_LOADING, Keys::None, "1.0.0", "Writes the RDB file in the background."),
    spec("lastsave", lastsave, 1, DANGEROUS | FAST | LOADING | STALE, Keys::None, "1.0.0", "Tells when the RDB file was written last."),
    spec("save", save, 1, RULE | NO_ASYNC_LOADING | NO_MULTI, Keys::None, "1.0.0", "Writes the RDB file; all clients wait."),
];

type Result = std::result::Result<(), CommandError>;

fn answer(server: &mut Server, id: ClientId, text: &str) -> Result {
    reply(server, id, |reply| reply.simple(text));
    Ok(())
}

fn bgrewriteaof(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    if server.persistence.is_rewriting() {
        return Err(CommandError::other("ERR Background append only file rewriting already in progress"));
    }
    // Within a transaction the snapshot would hold a part of it; and a log that is about to end is to come to rest.
    let must_wait = server.persistence.saving.is_running() || server.persistence.log_end.is_awaited();
    if must_wait || server.in_exec {
        server.schedule_rewrite();
        return answer(server, id, "Background append only file rewriting scheduled");
    }
    server.start_rewrite().map_err(|error| {
        CommandError::other(format!("ERR Can't execute an AOF background rewriting. Please check the server logs for more information. ({error})"))
    })?;
    answer(server, id, "Background append only file rewriting started")
}

fn bgsave(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let schedule = match argv[1..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"schedule") => true,
        _ => return Err(CommandError::Syntax),
    };
    if server.persistence.saving.is_running() {
        return Err(in_progress());
    }
    if !server.persistence.is_rewriting() && !server.in_exec {
        server.start_save();
        if !server.persistence.saving.is_running() {
            // Redis, whose fork has failed, says no more than ERR.
            return Err(CommandError::other(
                "ERR Can't start a background save. Please check the server logs for more information.",
            ));
        }
        return answer(server, id, "Background saving started");
    }
    // Within a transaction the snapshot would hold a part of it.
    if !schedule && !server.in_exec {
        return Err(CommandError::other(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
             schedule a BGSAVE whenever possible.",
        ));
    }
    server.persistence.saving.scheduled = true;
    answer(server, id, "Background saving scheduled")
}

fn lastsave(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    let last = server.persistence.saving.last_unix_s();
    reply(server, id, |reply| reply.integer(last));
    Ok(())
}

fn save(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    if server.persistence.saving.is_running() {
        return Err(in_progress());
    }
    server.save().map_err(|error| CommandError::other(format!("ERR {error}")))?;
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn in_progress() -> CommandError {
    CommandError::other("ERR Background save already in progress")
}
