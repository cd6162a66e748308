//! Clients parked by BLPOP and its kin, by WAIT and WAITAOF, and the order in which they are served.
//!
//! A parked client's command is executed again when one of its keys is ready: the handler that could not serve it then
//! serves it now, and leaves the same effect as if it had never waited. Before, it is looked at as if it were sent only
//! now: it may be refused for want of memory, say, or be postponed to the end of a pause, like any other. Until then no
//! further key and no timeout concerns it; then it has its place again. Source: redis 7.2 `src/blocked.c`
//! `unblockClientOnKey`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use aof::Position;
use keyspace::{Call, CommandError, DbIndex, Str, Touch};
use resp::Encoder;

use crate::client::{Blocked, ClientId, Copies, OwnedArgv, ReplyMode, Waiting};
use crate::clock::monotonic_ns;
use crate::commands::{Command, Handler};
use crate::executor::Server;

/// Who waits for which key.
#[derive(Debug, Default)]
pub struct Blocking {
    waiting: HashMap<(DbIndex, Str), Waiters>,
    /// Who waits until the log is durable up to a position; who waits for replicas stands behind all positions.
    copies: BTreeSet<(Position, ClientId)>,
    deadlines: BTreeSet<(Instant, ClientId)>,
    /// Keys that may serve somebody, in the order in which they became ready.
    ready: VecDeque<(DbIndex, Str)>,
    clients: usize,
    /// Of the client that was parked last.
    last_ticket: u64,
    /// In this turn the memory was weighed for those who were about to be refused.
    pub(crate) has_weighed: bool,
}

/// Who waits for one key.
#[derive(Debug, Default)]
struct Waiters {
    /// By ticket: first come, first served.
    queue: BTreeMap<u64, ClientId>,
    /// The key is in [`Blocking::ready`].
    is_ready: bool,
}

impl Blocking {
    /// Number of parked clients.
    pub fn len(&self) -> usize {
        self.clients
    }

    /// Whether nobody is parked.
    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// Whether somebody waits for a key.
    #[inline]
    pub fn waits_for_keys(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Parks a client.
    pub fn park(&mut self, client: ClientId, blocked: &mut Blocked) {
        self.clients += 1;
        self.last_ticket += 1;
        blocked.ticket = self.last_ticket;
        self.line_up(client, blocked);
    }

    /// Forgets a client that was served, gave up, or left.
    pub fn unpark(&mut self, client: ClientId, blocked: &Blocked) {
        self.clients -= 1;
        self.step_aside(client, blocked);
    }

    /// Puts a client in its places: what it waits for, and its time, may end its wait.
    fn line_up(&mut self, client: ClientId, blocked: &Blocked) {
        for key in blocked.on.keys() {
            let waiters = self.waiting.entry((blocked.db, key.clone())).or_default();
            waiters.queue.insert(blocked.ticket, client);
        }
        self.copies.extend(blocked.on.copies().map(|copies| (place(copies), client)));
        self.deadlines.extend(blocked.deadline.map(|at| (at, client)));
    }

    /// Takes a client out of its places, if it is there.
    fn step_aside(&mut self, client: ClientId, blocked: &Blocked) {
        for key in blocked.on.keys() {
            let place = (blocked.db, key.clone());
            if let Some(waiters) = self.waiting.get_mut(&place) {
                waiters.queue.remove(&blocked.ticket);
                if waiters.queue.is_empty() {
                    self.waiting.remove(&place);
                }
            }
        }
        if let Some(copies) = blocked.on.copies() {
            self.copies.remove(&(place(copies), client));
        }
        if let Some(at) = blocked.deadline {
            self.deadlines.remove(&(at, client));
        }
    }

    /// Notes keys that became ready while somebody was parked.
    pub fn note_ready(&mut self, keys: impl IntoIterator<Item = (DbIndex, Str)>) {
        for place in keys {
            if let Some(waiters) = self.waiting.get_mut(&place)
                && !std::mem::replace(&mut waiters.is_ready, true)
            {
                self.ready.push_back(place);
            }
        }
    }

    /// Notes the keys of databases that changed as a whole (SWAPDB): any of them may hold something now.
    pub fn note_changed(&mut self, touched: &[Touch]) {
        for touch in touched {
            if let Touch::Db { db, wrote: true } = *touch {
                let keys: Vec<_> = self.waiting.keys().filter(|(of, _)| *of == db).cloned().collect();
                self.note_ready(keys);
            }
        }
    }

    /// The next ready key, and those who wait for it now, in order.
    pub fn next_ready(&mut self) -> Option<(DbIndex, Str, Vec<ClientId>)> {
        let place = self.ready.pop_front()?;
        let clients = self.waiting.get_mut(&place).map_or_else(Vec::new, |waiters| {
            waiters.is_ready = false;
            waiters.queue.values().copied().collect()
        });
        Some((place.0, place.1, clients))
    }

    /// A client whose wait for the log is over, if it is durable up to there.
    pub fn next_copied(&self, durable: Position) -> Option<ClientId> {
        self.copies.first().filter(|&&(position, _)| position <= durable).map(|&(_, client)| client)
    }

    /// Everybody who waits for replicas.
    pub fn waiting_for_replicas(&self) -> impl Iterator<Item = ClientId> {
        let behind = ClientId { serial: 0, slot: 0 };
        self.copies.range((Position::MAX, behind)..).map(|&(_, client)| client)
    }

    /// Everybody who waits for copies.
    pub fn waiting_for_copies(&self) -> impl Iterator<Item = ClientId> {
        self.copies.iter().map(|&(_, client)| client)
    }

    /// Number of parked clients that give up in time.
    pub fn deadlines_len(&self) -> usize {
        self.deadlines.len()
    }

    /// The next moment at which somebody gives up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// A client whose time is over.
    pub fn next_due(&self, now: Instant) -> Option<ClientId> {
        self.deadlines.first().filter(|&&(at, _)| at <= now).map(|&(_, client)| client)
    }
}

fn place(copies: Copies) -> Position {
    if copies.replicas > 0 { Position::MAX } else { copies.position }
}

impl Waiting {
    fn keys(&self) -> &[Str] {
        match self {
            Waiting::Key(block) => &block.keys,
            Waiting::Copies(_) | Waiting::LogEnd | Waiting::Migration => &[],
        }
    }

    fn copies(&self) -> Option<Copies> {
        match *self {
            Waiting::Copies(copies) => Some(copies),
            Waiting::Key(_) | Waiting::LogEnd | Waiting::Migration => None,
        }
    }
}

impl Server {
    pub(crate) fn park_for_key(&mut self, id: ClientId, argv: &[&[u8]], mut block: keyspace::Block) {
        let deadline = block.timeout_ms.and_then(|ms| self.clock.now.checked_add(Duration::from_millis(ms)));
        match block.again.take() {
            Some(again) => {
                let again: Vec<&[u8]> = again.iter().map(|word| &word[..]).collect();
                self.park(id, &again, Waiting::Key(block), deadline);
            }
            None => self.park(id, argv, Waiting::Key(block), deadline),
        }
    }

    /// Lets a client wait; the command that it has sent is not over.
    pub fn park(&mut self, id: ClientId, argv: &[&[u8]], on: Waiting, deadline: Option<Instant>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(command) = client.last_command else { return };
        let (argv, db) = (OwnedArgv::new(argv), client.db);
        let mut blocked = Blocked { command, argv, on, db, deadline, took_ns: 0, ticket: 0 };
        self.blocking.park(id, &mut blocked);
        client.blocked = Some(blocked);
        self.keyspace.has_blocked = self.blocking.waits_for_keys();
    }

    /// Takes a client out of its waiting; its command is over, and it is read on if it has sent anything since.
    pub fn unpark(&mut self, id: ClientId) -> Option<Blocked> {
        let client = self.clients.get_mut(id)?;
        let blocked = client.blocked.take()?;
        client.postponed = false;
        self.blocking.unpark(id, &blocked);
        self.keyspace.has_blocked = self.blocking.waits_for_keys();
        self.answered.push(id);
        if client.left_unread || !client.input.is_empty() {
            self.read_on(id);
        }
        Some(blocked)
    }

    /// Executes the commands of parked clients whose keys became ready, until none can be served.
    #[inline]
    pub fn serve_ready(&mut self) {
        if !self.blocking.ready.is_empty() {
            self.serve_all_ready();
        }
    }

    fn serve_all_ready(&mut self) {
        while let Some((db, key, clients)) = self.blocking.next_ready() {
            // What made it ready may have taken longer than it lives; and the server may have been idle since.
            self.clock.refresh();
            self.observer.begin(self.clock.now_ns);
            for id in clients {
                if self.is_woken(id, db, &key) {
                    self.serve_woken(id);
                }
            }
        }
    }

    /// Whether what a key holds, or that it holds nothing, ends a parked client's wait.
    fn is_woken(&self, id: ClientId, db: DbIndex, key: &Str) -> bool {
        // Nothing more is sent to one that is being closed, and what it took would be lost.
        let Some(client) = self.clients.get(id).filter(|client| !client.closing) else { return false };
        let Some(Blocked { on: Waiting::Key(on), .. }) = &client.blocked else { return false };
        let entry = self.keyspace.entry(db, key, self.clock.unix_ms);
        let held = entry.map(|entry| entry.value().type_name());
        // One whose time is over serves nobody, but who looks for it deletes it: log and replicas are to know.
        let has_expired = held.is_none() && self.keyspace.entry(db, key, i64::MIN).is_some();
        held == Some(on.type_name) || on.wakes_without_it || has_expired
    }

    /// Looks at a parked client's command as if it were sent only now.
    fn serve_woken(&mut self, id: ClientId) {
        let Some(command) = self.clients.get(id).and_then(|client| Some(client.blocked.as_ref()?.command))
        else {
            return;
        };
        self.look_for_room(id, command);
        let Some(blocked) = self.clients.get(id).and_then(|client| client.blocked.as_ref()) else { return };
        match self.permit(id, command, &blocked.argv.words()) {
            Err(error) => self.refuse_parked(id, &error),
            Ok(()) if self.postpone(id, command) => self.set_aside(id),
            Ok(()) => self.serve_parked(id),
        }
    }

    /// What other threads have freed is known once memory is weighed: before somebody is refused for want of it, once a
    /// turn.
    fn look_for_room(&mut self, id: ClientId, command: Command) {
        let wants_room = self.room.is_exceeded() && self.needs_memory(id, command);
        if wants_room && !std::mem::replace(&mut self.blocking.has_weighed, true) {
            self.weigh();
            // Evicts nothing, which would serve others in the midst of this.
            self.make_room(false);
            self.observer.begin(monotonic_ns());
        }
    }

    /// A parked client was postponed: nothing else brings it back.
    fn set_aside(&mut self, id: ClientId) {
        if let Some(blocked) = self.clients.get(id).and_then(|client| client.blocked.as_ref()) {
            self.blocking.step_aside(id, blocked);
        }
    }

    /// A client that was postponed goes on: it is read on, or, if it is parked, has its place again and is served if it
    /// still can be. Who was unparked meanwhile has gone on already.
    pub(crate) fn go_on(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id).filter(|client| client.postponed) else { return };
        client.postponed = false;
        let Some(blocked) = &client.blocked else { return self.read_on(id) };
        self.blocking.line_up(id, blocked);
        self.blocking.note_ready(blocked.on.keys().iter().map(|key| (blocked.db, key.clone())));
        self.keyspace.has_blocked = self.blocking.waits_for_keys();
    }

    fn serve_parked(&mut self, id: ClientId) {
        let began_ns = self.observer.mark_ns();
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(mut blocked) = client.blocked.take() else { return };
        let argv = blocked.argv.words();
        self.unit.clear();
        let start = client.output.len_bytes();
        if let Handler::Data(spec) = blocked.command.handler() {
            let (db, no_touch, renamed_from) = (blocked.db, client.no_touch, blocked.command.renamed_from());
            let call = Call::new(db, self.clock.unix_ms, &argv);
            let call = Call { renamed_from, may_block: true, no_touch, ..call };
            self.keyspace.execute_spec(spec, &call, &mut client.reply(), &mut self.unit);
        }
        blocked.took_ns += self.observer.lap(began_ns);
        client.blocked = Some(blocked);
        if self.unit.block.is_none() {
            self.end_parked(id, start);
        }
        self.finish_unit(Some(id), true);
    }

    fn refuse_parked(&mut self, id: ClientId, error: &CommandError) {
        let Some(blocked) = self.unpark(id) else { return };
        let start = self.clients.get(id).map_or(0, |client| client.output.len_bytes());
        self.refuse(id, Some(blocked.command), error);
        self.end_silence(id, start);
    }

    /// Answers a parked client, whose command is over by that.
    pub fn answer_parked(&mut self, id: ClientId, write: impl FnOnce(&mut Encoder<'_>)) {
        let Some(client) = self.clients.get_mut(id).filter(|client| client.blocked.is_some()) else { return };
        let start = client.output.len_bytes();
        write(&mut client.reply());
        self.end_parked(id, start);
    }

    /// The command of a parked client was answered, from `start` on.
    fn end_parked(&mut self, id: ClientId, start: usize) {
        let Some(blocked) = self.unpark(id) else { return };
        let failed = self.count_error(id, start);
        self.end_silence(id, start);
        self.finished(id, blocked.command, &blocked.argv.words(), blocked.took_ns, failed);
    }

    /// CLIENT REPLY, for the reply of a command that was parked.
    fn end_silence(&mut self, id: ClientId, start: usize) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.reply_mode != ReplyMode::On {
            client.output.buffer().truncate(start);
        }
        if client.reply_mode == ReplyMode::Skip {
            client.reply_mode = ReplyMode::On;
        }
    }

    /// Answers a parked client whose time is over.
    pub fn time_out(&mut self, id: ClientId) {
        let blocked = self.clients.get(id).and_then(|client| client.blocked.as_ref());
        match blocked.map(|blocked| &blocked.on) {
            // Also of BLMOVE, whose reply is no array else. Source: redis 7.2 `src/blocked.c` `replyToBlockedClientOnTimeout`.
            Some(Waiting::Key(_)) => self.answer_parked(id, |reply| reply.null_array()),
            Some(&Waiting::Copies(copies)) => self.answer_copies(id, copies),
            Some(Waiting::LogEnd | Waiting::Migration) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::config::Config;
    use crate::connection::Connection;
    use crate::logger::{Level, Logger};

    fn server() -> Server {
        let logger = Logger::open(std::path::Path::new("/dev/null"), Level::Warning).unwrap();
        Server::new(Config::redis_defaults(), logger, 1)
    }

    /// A client whose socket nobody watches.
    fn client(server: &mut Server) -> ClientId {
        let id = server.clients.next_id();
        let connection = Connection::Unix(mio::net::UnixStream::pair().unwrap().0);
        server.clients.insert(Client::new(id, connection, true, server.clock.now));
        id
    }

    /// Pushes to `q` in a transaction that begins a pause, which holds back who waits for it.
    fn push_under_pause(server: &mut Server) {
        let pusher = client(server);
        server.receive(pusher, b"MULTI\r\nCLIENT PAUSE 100000 WRITE\r\nRPUSH q x\r\nEXEC\r\n");
    }

    #[test]
    fn the_time_between_two_turns_is_no_command_s() {
        let (began_ns, mut server) = (monotonic_ns(), server());
        let waiting = client(&mut server);
        server.receive(waiting, b"BLPOP q 0\r\n");
        push_under_pause(&mut server);
        // The last command has ended long ago.
        server.observer.begin(0);
        server.pause(None);
        server.resume_all();
        assert!(server.blocking.is_empty());
        assert!(server.stats.cycles.commands_ns < monotonic_ns() - began_ns);
    }

    #[test]
    fn who_is_woken_is_read_on_at_once_if_it_has_sent_more_and_else_not() {
        let mut server = server();
        for (behind, left_unread, is_read_on) in
            [("PING\r\n", false, true), ("", true, true), ("", false, false)]
        {
            let (waiting, other) = (client(&mut server), client(&mut server));
            server.receive(waiting, format!("XREAD BLOCK 0 STREAMS s $\r\n{behind}").as_bytes());
            server.clients.get_mut(waiting).unwrap().left_unread = left_unread;
            let unblock = format!("CLIENT PAUSE 100000 WRITE\r\nCLIENT UNBLOCK {}\r\n", waiting.serial);
            server.receive(other, unblock.as_bytes());
            assert!(server.blocking.is_empty());
            server.answered.clear();
            let expected = if is_read_on { vec![waiting] } else { vec![] };
            assert_eq!(std::mem::take(&mut server.readable), expected, "{behind:?} {left_unread}");
            assert!(!server.has_work());
        }
    }

    /// Each command of anybody went through all that waited for the key; and whoever's time was over had nothing of it.
    #[test]
    fn who_is_woken_under_a_pause_is_brought_back_by_its_end_and_by_nothing_else() {
        let mut server = server();
        let waiting: Vec<ClientId> = (0..3).map(|_| client(&mut server)).collect();
        waiting.iter().for_each(|&id| server.receive(id, b"BLPOP q r 5\r\n"));
        push_under_pause(&mut server);
        assert!(server.blocking.ready.is_empty() && !server.blocking.waits_for_keys());
        assert_eq!((server.blocking.len(), server.blocking.next_deadline()), (3, None));
        server.answer_parked(waiting[0], |reply| reply.null_array());
        assert!(!server.clients.get(waiting[0]).unwrap().waits());
        server.resume_all();
        assert_eq!(server.postponed, waiting);
        server.pause(None);
        server.resume_all();
        let replies = |server: &mut Server| {
            waiting
                .iter()
                .map(|&id| server.clients.get_mut(id).unwrap().output.buffer().split())
                .collect::<Vec<_>>()
        };
        assert_eq!(replies(&mut server), [&b"*-1\r\n"[..], b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n", b""]);
        assert_eq!((server.blocking.len(), server.blocking.deadlines_len()), (1, 1));
        server.clock.now += Duration::from_secs(5);
        server.time_out_parked();
        assert_eq!(replies(&mut server), [&b""[..], b"", b"*-1\r\n"]);
    }
}
