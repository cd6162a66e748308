//! BGREWRITEAOF.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec};

use super::ProcessSpec;
use super::connection::reply;
use crate::client::ClientId;
use crate::executor::Server;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[spec(
    "bgrewriteaof",
    bgrewriteaof,
    1,
    ADMIN | NOSCRIPT | DANGEROUS,
    Keys::None,
    "1.0.0",
    "Writes a new base of the append-only file in the background.",
)];

fn bgrewriteaof(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result<(), CommandError> {
    if server.persistence.is_rewriting() {
        return Err(CommandError::other("ERR Background append only file rewriting already in progress"));
    }
    server.start_rewrite().map_err(|error| {
        CommandError::other(format!("ERR Can't execute an AOF background rewriting. Please check the server logs for more information. ({error})"))
    })?;
    reply(server, id, |reply| reply.simple("Background append only file rewriting started"));
    Ok(())
}
