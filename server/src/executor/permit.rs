//! Whether a command may run now.

use keyspace::CommandError;
use keyspace::commands::flags;

use crate::client::{Client, ClientId, WORD_BYTES};
use crate::commands::Command;
use crate::disk::Wish;
use crate::executor::{PauseMode, Server};
use crate::transaction::Transaction;

/// Why a command waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delay {
    /// The server is paused.
    Pause,
    /// Writes are held.
    Hold,
}

impl Server {
    /// Whether a command may run now. The order is Redis's: the first reason is the one that is told.
    pub(crate) fn permit(&self, id: ClientId, command: Command, argv: &[&[u8]]) -> Result<(), CommandError> {
        let Some(client) = self.clients.get(id) else { return Ok(()) };
        self.permit_to(client, command)?;
        self.permit_write(id, command, argv)?;
        self.permit_here(client, command)
    }

    /// Whether a client may send a command at all.
    fn permit_to(&self, client: &Client, command: Command) -> Result<(), CommandError> {
        if command.is("debug") && !self.config.enable_debug_command.allows(client.is_local()) {
            return Err(CommandError::other(
                "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
                 it from a local connection, otherwise you need to set this option in the configuration file, and \
                 then restart the server.",
            ));
        }
        if !self.may_speak(client) && !command.has(flags::NO_AUTH) {
            return Err(CommandError::other("NOAUTH Authentication required."));
        }
        if client.transaction.is_some() && command.has(flags::NO_MULTI) {
            return Err(CommandError::other("ERR Command not allowed inside a transaction"));
        }
        Ok(())
    }

    /// Whether memory, disk and replicas can take what a command, or the transaction that it executes, may write.
    fn permit_write(&self, id: ClientId, command: Command, argv: &[&[u8]]) -> Result<(), CommandError> {
        if self.room.is_exceeded() && self.needs_memory(id, command) {
            return Err(CommandError::other("OOM command not allowed when used memory > 'maxmemory'."));
        }
        let writes = self.has_or_executes(id, command, flags::WRITE);
        if writes && let Some(reason) = self.persistence.misconf() {
            let grows = self.has_or_executes(id, command, flags::DENYOOM);
            if !self.persistence.admits(Wish { writes, grows, bytes: self.log_bytes(id, command, argv) }) {
                return Err(CommandError::other(reason.to_owned()));
            }
        }
        if writes && let Some(reason) = self.save_misconf() {
            return Err(CommandError::other(reason));
        }
        if writes && self.replication.lacks_replicas(&self.config, self.clock.now) {
            return Err(CommandError::other("NOREPLICAS Not enough good replicas to write."));
        }
        Ok(())
    }

    /// Whether a command fits what its client, and the server, is about.
    fn permit_here(&self, client: &Client, command: Command) -> Result<(), CommandError> {
        if client.version == resp::Version::Resp2
            && self.pubsub.is_subscribed(client.id)
            && !command.serves_listeners()
        {
            return Err(CommandError::other(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.full_name()
            )));
        }
        if self.loading.is_some() && !command.has(flags::LOADING) {
            return Err(CommandError::other("LOADING Redis is loading the dataset in memory"));
        }
        let touches = |flag| self.has_or_executes(client.id, command, flag);
        if (client.monitors || self.replication.has(client.id))
            && [flags::READ, flags::WRITE, flags::MAY_REPLICATE].into_iter().any(touches)
        {
            return Err(CommandError::other("ERR Replica can't interact with the keyspace"));
        }
        Ok(())
    }

    /// Makes a command wait where it stands, if it must.
    pub(crate) fn postpone(&mut self, id: ClientId, command: Command) -> bool {
        let waiting = match self.delay(id, command) {
            Some(Delay::Pause) => &mut self.postponed,
            Some(Delay::Hold) => &mut self.held,
            None => return false,
        };
        waiting.push(id);
        if let Some(client) = self.clients.get_mut(id) {
            client.postponed = true;
        }
        true
    }

    /// Why a command must wait, if it must.
    pub(crate) fn delay(&self, id: ClientId, command: Command) -> Option<Delay> {
        // A replica's word about how far it is must not wait.
        if self.replication.has(id) {
            return None;
        }
        let writes =
            [flags::WRITE, flags::MAY_REPLICATE].iter().any(|&flag| self.has_or_executes(id, command, flag));
        match self.paused {
            Some((_, mode)) if writes || mode == PauseMode::All => Some(Delay::Pause),
            _ if writes && self.writes_are_held() => Some(Delay::Hold),
            _ => None,
        }
    }

    /// Whether a command is refused where there is no memory: whatever is queued takes some, too.
    pub(crate) fn needs_memory(&self, id: ClientId, command: Command) -> bool {
        let is_queued = || self.clients.get(id).is_some_and(|client| client.transaction.is_some());
        !command.leaves_queue() && is_queued() || self.has_or_executes(id, command, flags::DENYOOM)
    }

    /// Whether writes wait: the log has no room for them, or a key that is on its way to another server must not change.
    pub(crate) fn writes_are_held(&self) -> bool {
        self.persistence.writes_are_held() || self.migrations.is_running()
    }

    /// Whether a command has a flag, or is the EXEC of one that has.
    fn has_or_executes(&self, id: ClientId, command: Command, flag: u32) -> bool {
        let queued =
            |transaction: &Transaction| transaction.queue.iter().any(|(command, _)| command.has(flag));
        command.has(flag)
            || command.is("exec")
                && self.clients.get(id).and_then(|client| client.transaction.as_ref()).is_some_and(queued)
    }

    /// About how much a command, or the transaction that it executes, will log.
    fn log_bytes(&self, id: ClientId, command: Command, argv: &[&[u8]]) -> u64 {
        let queue = self.clients.get(id).and_then(|client| client.transaction.as_ref());
        let queued = queue
            .filter(|_| command.is("exec"))
            .map_or(0, |transaction| transaction.queue.iter().map(|(_, argv)| argv.log_bytes()).sum::<u64>());
        queued + argv.iter().map(|word| word.len() as u64 + WORD_BYTES).sum::<u64>()
    }
}
