//! From bytes to commands: what a client has sent is parsed where it lies, admitted or refused, and executed until its
//! client's slice or the turn is over.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use keyspace::{CommandError, STRING_BYTES_MAX};
use resp::{Limits, Parser};

use crate::client::{Client, ClientId, OwnedArgv, ReplyMode};
use crate::clock::monotonic_ns;
use crate::commands::Command;
use crate::executor::Server;
use crate::logger::Level;

impl Server {
    /// Executes what a client has sent: `received` if nothing older is buffered, which is then never copied but for an
    /// incomplete tail.
    pub fn receive(&mut self, id: ClientId, received: &[u8]) {
        self.stats.reads += 1;
        self.stats.input_bytes += received.len() as u64;
        let Some(client) = self.clients.get_mut(id) else { return };
        client.active_at = self.clock.now;
        if !client.input.is_empty() {
            client.input.extend_from_slice(received);
            self.resume(id);
            return self.limit_input(id);
        }
        let mut parser = std::mem::take(&mut client.parser);
        let used = self.execute_all(id, &mut parser, received);
        give_back(&mut parser, used);
        if let Some(client) = self.clients.get_mut(id) {
            client.parser = parser;
            let rest = &received[used..];
            // Room follows what came, never what was announced.
            client.input.reserve(client.parser.missing_bytes(rest).min(rest.len()) + rest.len());
            client.input.extend_from_slice(rest);
        }
    }

    /// Executes what a client's buffer holds.
    pub fn resume(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let mut parser = std::mem::take(&mut client.parser);
        let mut input = std::mem::take(&mut client.input);
        let used = self.execute_all(id, &mut parser, &input);
        give_back(&mut parser, used);
        let Some(client) = self.clients.get_mut(id) else { return };
        input.advance(used);
        client.input = if input.is_empty() { BytesMut::new() } else { input };
        client.parser = parser;
    }

    /// Closes a client that sends more than `client-query-buffer-limit` without a complete request.
    fn limit_input(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.input.len() as u64 > self.config.client_query_buffer_limit_bytes {
            client.closing = true;
            let line =
                format!("Closing client that reached max query buffer length: {} bytes", client.input.len());
            self.log(Level::Warning, line);
        }
    }

    /// Executes the complete requests in `input`; returns how many bytes they took.
    fn execute_all(&mut self, id: ClientId, parser: &mut Parser, input: &[u8]) -> usize {
        let mut used = 0;
        self.clock.refresh();
        self.observer.begin(self.clock.now_ns);
        self.executing_bytes = input.len();
        self.answered.push(id);
        self.slice_ends_ns = self.turn_ends_ns.min(self.clock.now_ns.saturating_add(self.slice_ns));
        loop {
            // Once the log is closed nothing may be acknowledged any more.
            if self.exit.is_some() {
                return used;
            }
            let Some(client) = self.clients.get(id) else { return input.len() };
            if client.closing || client.waits() {
                return used;
            }
            let limits = Limits {
                max_bulk_bytes: self.config.proto_max_bulk_len_bytes.min(STRING_BYTES_MAX as i64),
                authenticated: self.may_speak(client),
                check_crlf: false,
            };
            match parser.parse(&input[used..], &limits) {
                Ok(None) => return used,
                Ok(Some(len)) => {
                    let argv = parser.argv(&input[used..]);
                    if argv.is_empty() {
                        self.replication.note_alive(id, self.clock.now);
                    } else if !self.execute_request(id, &argv) {
                        return used;
                    }
                    used += len;
                    if used < input.len() && self.slice_is_over() {
                        self.read_on(id);
                        return used;
                    }
                }
                Err(error) => {
                    self.answer(id, |client| {
                        client.reply().protocol_error(&error);
                        client.closing = true;
                    });
                    return input.len();
                }
            }
        }
    }

    /// Whether the turn has executed for as long as it may; as of the last command.
    #[inline]
    pub fn turn_is_over(&self) -> bool {
        self.observer.mark_ns() >= self.turn_ends_ns
    }

    /// The same of what the client that was read last may execute.
    #[inline]
    pub fn slice_is_over(&self) -> bool {
        self.observer.mark_ns() >= self.slice_ends_ns
    }

    /// Leaves what else a client has sent, buffered or in its socket, until those have been read that wait already.
    pub(crate) fn read_on(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.cut = true;
            client.left_unread = false;
            self.readable.push(id);
        }
    }

    /// Whether a client has authenticated, or need not.
    pub fn may_speak(&self, client: &Client) -> bool {
        client.authenticated || self.config.requirepass.is_empty()
    }

    /// One request: everything that happens before, to and after it. False if it must wait where it stands.
    fn execute_request(&mut self, id: ClientId, argv: &[&[u8]]) -> bool {
        let last = self.clients.get(id).and_then(|client| client.last_command);
        let command = match self.table.lookup(argv, last) {
            Ok(command) => command,
            Err(_) if is_from_browser(argv) => {
                self.turn_browser_away(id);
                return true;
            }
            Err(error) => {
                self.refuse_request(id, argv, self.table.find(argv), &error);
                return true;
            }
        };
        // Before it is known whether the command may run, as in Redis; what is no command needs no room.
        self.make_room(self.room.is_exceeded() && self.needs_memory(id, command));
        if let Err(error) = self.permit(id, command, argv) {
            self.refuse_request(id, argv, Some(command), &error);
            return true;
        }
        if self.postpone(id, command) {
            return false;
        }
        self.answer_request(id, argv, |server| server.queue_or_call(id, command, argv));
        true
    }

    #[cold]
    fn refuse_request(
        &mut self,
        id: ClientId,
        argv: &[&[u8]],
        command: Option<Command>,
        error: &CommandError,
    ) {
        self.answer_request(id, argv, |server| server.refuse(id, command, error));
    }

    /// Lets `write` answer a request, as the one that is being executed. A replica that it answers is dropped.
    #[inline]
    fn answer_request(&mut self, id: ClientId, argv: &[&[u8]], write: impl FnOnce(&mut Self)) {
        let start = self.unsent_by_replica(id);
        self.executing = Some(id);
        self.answer_with(id, write);
        self.executing = None;
        if start.is_some() && start != self.unsent_by_replica(id) {
            self.drop_answered_replica(id, argv);
        }
    }

    /// What a replica has not been sent yet beside snapshot and stream; `None` of any other client.
    #[inline]
    fn unsent_by_replica(&self, id: ClientId) -> Option<usize> {
        let is_replica = !self.replication.is_empty() && self.replication.has(id);
        is_replica.then(|| self.clients.get(id).map_or(0, |client| client.output.len_bytes()))
    }

    /// A reply would stand in the midst of the stream.
    #[cold]
    fn drop_answered_replica(&mut self, id: ClientId, argv: &[&[u8]]) {
        if self.forget(id).is_none() {
            return;
        }
        let name = String::from_utf8_lossy(argv.first().copied().unwrap_or_default()).into_owned();
        self.log(Level::Warning, format!("Replica generated a reply to command '{name}', disconnecting it"));
    }

    /// A page in a browser can make it send a request of HTTP to any port: the commands in it are not the user's.
    #[cold]
    fn turn_browser_away(&mut self, id: ClientId) {
        const PATIENCE: Duration = Duration::from_secs(60);
        let Some(client) = self.forget(id) else { return };
        let now = self.clock.now;
        if self.browser_seen_at.is_none_or(|at| now.saturating_duration_since(at) > PATIENCE) {
            self.browser_seen_at = Some(now);
            let line = format!(
                "SECURITY: a request of HTTP (POST or Host:) came from {}: perhaps a page in somebody's browser tries to \
                 send commands here. Its connection was closed, and what else it sent was not executed.",
                client.peer_text()
            );
            self.log(Level::Warning, line);
        }
    }

    fn queue_or_call(&mut self, id: ClientId, command: Command, argv: &[&[u8]]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.last_command = Some(command);
        match &mut client.transaction {
            Some(transaction) if !command.leaves_queue() => {
                transaction.queue.push((command, OwnedArgv::new(argv)));
                client.reply().simple("QUEUED");
                self.observer.begin(monotonic_ns());
            }
            _ => self.call(id, command, argv),
        }
    }

    /// Answers a client outside of any command; counts an error.
    fn answer(&mut self, id: ClientId, write: impl FnOnce(&mut Client)) {
        self.answer_with(id, |server| {
            let Some(client) = server.clients.get_mut(id) else { return };
            let start = client.output.len_bytes();
            write(client);
            server.count_error(id, start);
        });
    }

    /// Lets `write` answer a client; then applies CLIENT REPLY, and adds the messages that the client published to
    /// itself meanwhile.
    fn answer_with(&mut self, id: ClientId, write: impl FnOnce(&mut Self)) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let (start, before) = (client.output.len_bytes(), client.reply_mode);
        write(self);
        let Some(client) = self.clients.get_mut(id) else {
            self.pushes.clear();
            return;
        };
        // CLIENT REPLY ON is answered even where it ends a silence; a parked command's silence lasts until it is served.
        if before != ReplyMode::On && client.reply_mode != ReplyMode::On {
            client.output.buffer().truncate(start);
        }
        client.reply_mode = match client.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip if client.blocked.is_none() => ReplyMode::On,
            mode => mode,
        };
        if !self.pushes.is_empty() {
            client.output.buffer().extend_from_slice(&std::mem::take(&mut self.pushes));
        }
        self.limit_unsent(id);
    }

    /// Counts the reply at `start` if it is an error; says whether it is.
    pub(crate) fn count_error(&mut self, id: ClientId, start: usize) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some([b'-', error @ ..]) = client.output.buffer().get(start..) else { return false };
        let code = error.split(|byte| matches!(byte, b' ' | b'\r')).next();
        self.stats.note_error(&String::from_utf8_lossy(code.unwrap_or_default()));
        true
    }

    /// Answers with an error; an open transaction is spoilt by it, and over if the command was its EXEC.
    pub(crate) fn refuse(&mut self, id: ClientId, command: Option<Command>, error: &CommandError) {
        let is_exec = command.is_some_and(|command| command.is("exec"));
        if is_exec {
            self.unwatch(id);
        }
        if let Some(command) = command {
            self.observer.commands.rejected(command);
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        let start = client.output.len_bytes();
        match &mut client.transaction {
            open if is_exec => {
                *open = None;
                let text = error.to_string();
                let why = text.strip_prefix("ERR ").unwrap_or(&text);
                client.reply().error(&format!("EXECABORT Transaction discarded because of: {why}"));
            }
            Some(transaction) => {
                transaction.spoilt = true;
                client.reply().error(&error.to_string());
            }
            None => client.reply().error(&error.to_string()),
        }
        self.count_error(id, start);
        self.observer.begin(monotonic_ns());
    }
}

/// Whether a request is a line of HTTP: no command has such a name. Source: redis 7.2 `processCommand`.
fn is_from_browser(argv: &[&[u8]]) -> bool {
    argv.first()
        .is_some_and(|name| [&b"post"[..], b"host:"].iter().any(|word| name.eq_ignore_ascii_case(word)))
}

/// A parser keeps the room of its longest request; after a very long one, it is given back.
fn give_back(parser: &mut Parser, used_bytes: usize) {
    const LONG_BYTES: usize = 128 << 10;
    if used_bytes > LONG_BYTES {
        parser.shrink();
    }
}
