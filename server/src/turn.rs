//! THE TURN: one pass of the event loop through every room of the server.
//!
//! ```text
//! poll -> accept -> resumed -> read + parse + execute -> due -> cron -> expire -> seal the block -> release replies
//!  ^                                                                                                         |
//!  '---------------------------------------------------------------------------------------------------------'
//! ```
//! Everything that clients sent in one turn goes to the log as one block, and everything they are told leaves after
//! that block is as safe as `appendfsync` promises.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::client::{Client, ClientId};
use crate::clock::monotonic_ns;
use crate::connection::Connection;
use crate::executor::Server;
use crate::logger::Level;

/// Tokens below are clients' slots.
const WAKE: Token = Token(usize::MAX);
const FIRST_SIGNAL: usize = usize::MAX - 8;
const FIRST_LISTENER: usize = usize::MAX - 1024;
const SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGHUP];

/// Bytes read from one client before the next one gets its turn.
const READ_BYTES: usize = 64 * 1024;
/// How long a turn executes commands while a snapshot is being written. Many writes copy first what they share with it:
/// that lets a turn do less, not take longer.
const SNAPSHOT_EXECUTE_NS: u64 = 200_000;
/// How long one client executes commands then, before the others have theirs: a few commands that copy. Else a PING would
/// wait for a whole turn of each client that sent a pipeline before it.
const SNAPSHOT_SLICE_NS: u64 = 30_000;
/// Events taken from one poll.
const EVENTS: usize = 1024;

/// The event loop: what epoll watches, and who is known to have sent more.
#[derive(Debug)]
pub struct Turn {
    poll: Poll,
    events: Events,
    signals: Vec<mio::net::UnixStream>,
    waker: Arc<Waker>,
    /// Where every read goes first: a request that arrives whole is executed from here and never copied.
    scratch: Vec<u8>,
    /// Clients whose socket was not read to its end, which epoll will not mention again.
    unread: VecDeque<ClientId>,
    /// Clients with replies that wait for a watermark.
    gated: Vec<ClientId>,
    /// Clients to be sent to, in [`release`](Self::release).
    due: Vec<ClientId>,
    /// Accepting has failed while clients waited.
    missed: bool,
    next_cron: Instant,
    /// The last turn read nobody, so that this one does whatever the clock says.
    was_cron_alone: bool,
}

impl Turn {
    /// Watches the signals; the listeners from the first turn on.
    ///
    /// # Errors
    /// What epoll or sigaction says.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut signals = Vec::new();
        for (at, signal) in SIGNALS.into_iter().enumerate() {
            let (read, write) = std::os::unix::net::UnixStream::pair()?;
            signal_hook::low_level::pipe::register(signal, write)?;
            read.set_nonblocking(true)?;
            let mut read = mio::net::UnixStream::from_std(read);
            poll.registry().register(&mut read, Token(FIRST_SIGNAL + at), Interest::READABLE)?;
            signals.push(read);
        }
        Ok(Turn {
            poll,
            events: Events::with_capacity(EVENTS),
            signals,
            waker,
            scratch: vec![0; READ_BYTES],
            unread: VecDeque::new(),
            gated: Vec::new(),
            due: Vec::new(),
            missed: false,
            next_cron: Instant::now(),
            was_cron_alone: false,
        })
    }

    /// What other threads call to end a poll: a watermark has moved, a rewrite is done.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Runs turns until the server has decided to end; returns its exit code.
    ///
    /// # Errors
    /// When epoll fails, which it does not.
    pub fn run(&mut self, server: &mut Server) -> io::Result<i32> {
        loop {
            if let Some(code) = server.exit {
                return Ok(code);
            }
            let timeout = self.timeout(server);
            self.once(server, timeout)?;
        }
    }

    /// Serves nobody for a time, or until a signal asks for the end; says whether one did.
    ///
    /// # Errors
    /// When epoll fails.
    pub(crate) fn rest(&mut self, time: Duration) -> io::Result<bool> {
        /// epoll_wait(2) counts milliseconds in 31 bits.
        const LONGEST: Duration = Duration::from_secs(3600);
        let asks_for_end = |event: &Event| {
            let at = event.token().0.checked_sub(FIRST_SIGNAL);
            at.and_then(|at| SIGNALS.get(at)).is_some_and(|&signal| signal != SIGHUP)
        };
        let began = Instant::now();
        loop {
            let left = time.saturating_sub(began.elapsed());
            match self.poll.poll(&mut self.events, Some(left.min(LONGEST))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if self.events.iter().any(asks_for_end) {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// One turn, waiting at most `timeout` for something to do.
    ///
    /// # Errors
    /// When epoll fails.
    pub fn once(&mut self, server: &mut Server, timeout: Duration) -> io::Result<()> {
        server.listeners.watch(self.poll.registry(), |at| Token(FIRST_LISTENER + at))?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        server.clock.refresh();
        let (began_ns, commands) = (server.clock.now_ns, server.stats.commands);
        server.notice_first_base();
        let idle = self.is_idle(server);
        let writing = server.is_writing_snapshot();
        let measured = (writing || server.stats.turns_to_compare > 0).then(thread_cpu);
        self.dispatch(server);
        self.work(server, writing);
        server.unit.shrink();
        // The order that everything rests on: the block is written (or handed over), then the gate forgets what is
        // settled, then replies leave. After a shutdown that failed none may: a closed connection means "perhaps".
        if server.exit.is_none() {
            server.persist(idle);
            server.acknowledge();
            server.step_log_end();
        }
        if server.exit.is_none_or(|code| code == 0) {
            self.release(server);
            server.evict_grown_clients();
        }
        if let Some(before) = measured {
            let cpu_us = thread_cpu().saturating_sub(before).as_micros() as u64;
            server.stats.note_turn(writing, cpu_us);
        }
        let commands = server.stats.commands.saturating_sub(commands);
        server.stats.cycles.note(monotonic_ns().saturating_sub(began_ns), commands);
        Ok(())
    }

    /// Everything that executes commands. Once the server has decided to end, nothing does: its log is closed.
    /// `writing`: a snapshot is being written. The time for commands begins here: connections would take all of it. What
    /// is due by the clock, above all the allocator's count, takes as long, so it has a turn of its own then; never two
    /// in a row, as long as it may take.
    fn work(&mut self, server: &mut Server, writing: bool) {
        let cron_is_due = server.clock.now >= self.next_cron;
        self.was_cron_alone = writing && cron_is_due && !self.was_cron_alone;
        if !self.was_cron_alone {
            let limits = writing.then(|| (monotonic_ns() + SNAPSHOT_EXECUTE_NS, SNAPSHOT_SLICE_NS));
            (server.turn_ends_ns, server.slice_ns) = limits.unwrap_or((u64::MAX, u64::MAX));
            server.resume_all();
            self.read_all(server, writing);
        }
        server.time_out_parked();
        server.end_migration();
        if server.exit.is_none() && cron_is_due {
            let began_ns = monotonic_ns();
            self.next_cron = server.clock.now + server.cron();
            server.stats.cycles.cron_ns += monotonic_ns().saturating_sub(began_ns);
            self.accept_missed(server);
        }
        if server.exit.is_none() {
            server.hear_bookkeeper();
            server.expire_cycle();
            server.make_room(false);
        }
    }

    /// Whether the turn that begins finds nobody to be served.
    fn is_idle(&self, server: &Server) -> bool {
        self.events.is_empty() && self.unread.is_empty() && !server.has_clients_to_read()
    }

    /// How long the next poll may wait.
    fn timeout(&self, server: &Server) -> Duration {
        if !self.unread.is_empty() || server.has_work() {
            return Duration::ZERO;
        }
        let pause_end = server.paused.map(|(until, _)| until);
        let next = [server.blocking.next_deadline(), pause_end].into_iter().flatten().min();
        let next = next.map_or(self.next_cron, |at| at.min(self.next_cron));
        next.saturating_duration_since(Instant::now())
    }

    fn dispatch(&mut self, server: &mut Server) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token().0 {
                token if token == WAKE.0 => {}
                token if token >= FIRST_SIGNAL => self.signal(server, token - FIRST_SIGNAL),
                token if token >= FIRST_LISTENER => self.accept(server, token - FIRST_LISTENER),
                slot => self.note(server, slot, event),
            }
        }
        self.events = events;
    }

    /// Notes what epoll says of a client, which it says once.
    fn note(&mut self, server: &mut Server, slot: usize, event: &Event) {
        let Some(client) = server.clients.in_slot_mut(slot) else { return };
        client.read_closed |= event.is_read_closed();
        if event.is_writable() {
            server.replication.note_writable(client.id);
            if client.output.len_bytes() > 0 {
                server.answered.push(client.id);
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read_soon(client);
        }
    }

    fn read_soon(&mut self, client: &mut Client) {
        if !client.to_be_read {
            client.to_be_read = true;
            self.unread.push_back(client.id);
        }
    }

    fn signal(&mut self, server: &mut Server, at: usize) {
        let mut drained = [0; 16];
        while let Some(pipe) = self.signals.get_mut(at)
            && matches!(io::Read::read(pipe, &mut drained), Ok(count) if count > 0)
        {}
        server.signal(SIGNALS[at]);
    }

    fn accept(&mut self, server: &mut Server, at: usize) {
        let keepalive = u64::from(server.config.tcp_keepalive_s);
        let keepalive = (keepalive > 0).then(|| Duration::from_secs(keepalive));
        while let Some(listener) = server.listeners.get(at) {
            match listener.accept(keepalive) {
                Ok(connection) => self.welcome(server, connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors, likely. Nobody will mention those who wait in the queue again.
                    self.missed = true;
                    server.log(Level::Warning, format!("Accepting client connection: {error}"));
                    return;
                }
            }
        }
    }

    /// Tries again to accept those whom an error left in the queue.
    fn accept_missed(&mut self, server: &mut Server) {
        if std::mem::take(&mut self.missed) {
            (0..server.listeners.len()).for_each(|at| self.accept(server, at));
        }
    }

    fn welcome(&mut self, server: &mut Server, mut connection: Connection) {
        if let Some(refusal) = server.refusal(&connection) {
            // A courtesy; whoever does not read it fast enough has it in vain.
            let _ = connection.write(refusal.as_bytes());
            server.stats.rejected_connections += 1;
            return;
        }
        let id = server.clients.next_id();
        if connection.register(self.poll.registry(), Token(id.slot)).is_err() {
            server.clients.release(id);
            return;
        }
        server.stats.connections += 1;
        let authenticated = server.config.requirepass.is_empty();
        server.clients.insert(Client::new(id, connection, authenticated, server.clock.now));
    }

    /// Reads every client once, or, beside a snapshot, slice after slice until the turn is over.
    fn read_all(&mut self, server: &mut Server, writing: bool) {
        loop {
            for id in std::mem::take(&mut server.readable) {
                if let Some(client) = server.clients.get_mut(id) {
                    self.read_soon(client);
                }
            }
            for _ in 0..self.unread.len() {
                if let Some(id) = self.unread.pop_front() {
                    self.read(server, id);
                }
                if server.turn_is_over() {
                    return;
                }
            }
            if !writing || server.readable.is_empty() {
                return;
            }
        }
    }

    fn read(&mut self, server: &mut Server, id: ClientId) {
        let was_cut = server.clients.get_mut(id).is_some_and(|client| std::mem::take(&mut client.cut));
        if was_cut {
            server.resume(id);
        }
        let has_had_its_slice = was_cut && server.slice_is_over();
        let Some(client) = server.clients.get_mut(id).filter(|client| !client.closing) else { return };
        client.to_be_read = false;
        if client.cut {
            return;
        }
        if client.waits() {
            // What it sends meanwhile stays in the socket: the kernel holds the sender back, no buffer grows.
            client.left_unread = true;
            if client.read_closed {
                drop(server.forget(id));
            }
            return;
        }
        if has_had_its_slice {
            return server.read_on(id);
        }
        match client.connection.read(&mut self.scratch) {
            // It may still read what it is owed.
            Ok(0) if client.output.len_bytes() > 0 => {
                client.closing = true;
                server.answered.push(id);
            }
            Ok(0) => drop(server.forget(id)),
            Ok(count) => {
                server.receive(id, &self.scratch[..count]);
                // A short read has emptied the socket; after a full one, and of the end behind it, nobody will tell us.
                if let Some(client) = server.clients.get_mut(id)
                    && (count == self.scratch.len() || client.read_closed)
                    && !client.cut
                {
                    self.read_soon(client);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => drop(server.forget(id)),
        }
    }

    /// Sends what the watermark allows.
    fn release(&mut self, server: &mut Server) {
        let watermark = server.persistence.release_replies();
        server.gate.settle(watermark);
        server.settle_stream(watermark);
        // Both lists' buffers are used again.
        let mut due = std::mem::take(&mut self.due);
        due.append(&mut self.gated);
        due.append(&mut server.answered);
        for id in due.drain(..) {
            self.send(server, id, watermark);
        }
        self.due = due;
        server.feed_replicas();
        self.gated.sort_unstable();
        self.gated.dedup();
    }

    fn send(&mut self, server: &mut Server, id: ClientId, watermark: aof::Position) {
        let Some(client) = server.clients.get_mut(id) else { return };
        if client.output.is_given_up() {
            return drop(server.forget(id));
        }
        client.output.end_turn(watermark);
        loop {
            let released = client.output.released(watermark);
            if released.is_empty() {
                break;
            }
            match client.connection.write(released) {
                Ok(count) => {
                    client.output.advance(count);
                    client.active_at = server.clock.now;
                    server.stats.writes += 1;
                    server.stats.output_bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return server.limit_output(id),
                Err(_) => return drop(server.forget(id)),
            }
        }
        if client.output.is_held() {
            self.gated.push(id);
            server.limit_output(id);
        } else if client.closing {
            drop(server.forget(id));
        }
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use tempfile::TempDir;

    use super::*;
    use crate::config::Config;
    use crate::executor::PauseMode;
    use crate::logger::Logger;

    /// A server that can be connected to, by sockets in a folder. Cron is not due.
    fn server() -> (Server, Turn, TempDir) {
        let logger = Logger::open(std::path::Path::new("/dev/null"), Level::Warning).unwrap();
        let mut server = Server::new(Config::redis_defaults(), logger, 1);
        let dir = tempfile::tempdir().unwrap();
        server.config.port = 0;
        server.config.unixsocket = dir.path().join("socket");
        server.listeners = crate::listening::Listeners::open(&server.config).unwrap();
        let mut turn = Turn::new().unwrap();
        turn.next_cron = Instant::now() + Duration::from_secs(1000);
        server.listeners.watch(turn.poll.registry(), |at| Token(FIRST_LISTENER + at)).unwrap();
        (server, turn, dir)
    }

    /// Connects a client that has sent something, which is not read yet.
    fn connect(server: &mut Server, turn: &mut Turn, sent: &[u8]) -> UnixStream {
        let mut client = UnixStream::connect(&server.config.unixsocket).unwrap();
        client.write_all(sent).unwrap();
        let unread = turn.unread.len();
        while turn.unread.len() == unread {
            turn.poll.poll(&mut turn.events, None).unwrap();
            turn.dispatch(server);
        }
        client
    }

    #[test]
    fn a_turn_ends_when_a_pause_does() {
        let (mut server, mut turn, _dir) = server();
        server.paused = Some((Instant::now() + Duration::from_millis(1), PauseMode::All));
        let timeout = turn.timeout(&server);
        assert!(timeout <= Duration::from_millis(1), "{timeout:?}");
        while server.paused.is_some() {
            turn.once(&mut server, timeout).unwrap();
        }
        assert!(turn.timeout(&server) > Duration::from_secs(500), "which cron did not do");
    }

    #[test]
    fn beside_a_snapshot_what_is_due_by_the_clock_has_a_turn_of_its_own_and_never_two_in_a_row() {
        let (mut server, mut turn, _dir) = server();
        let _client = connect(&mut server, &mut turn, b"PING\r\n");
        turn.next_cron = server.clock.now;
        turn.work(&mut server, true);
        assert_eq!(server.stats.commands, 0);
        assert!(turn.next_cron > server.clock.now);
        turn.next_cron = server.clock.now;
        turn.work(&mut server, true);
        assert_eq!(server.stats.commands, 1);
        assert!(turn.next_cron > server.clock.now, "it is late, but not left out");
    }

    /// One that sent a pipeline had its turn's time for itself.
    #[test]
    fn beside_a_snapshot_clients_take_slices() {
        let (mut server, mut turn, _dir) = server();
        server.config.enable_debug_command = crate::config::ProtectedAction::Yes;
        let mut long = connect(&mut server, &mut turn, b"DEBUG SLEEP 0.00003\r\nINCR n\r\n");
        let mut short = connect(&mut server, &mut turn, b"INCR n\r\n");
        while server.stats.commands < 3 {
            turn.work(&mut server, true);
        }
        turn.release(&mut server);
        let mut reply = [0; 4];
        short.read_exact(&mut reply).unwrap();
        assert_eq!(reply, *b":1\r\n");
        let mut replies = [0; 9];
        long.read_exact(&mut replies).unwrap();
        assert_eq!(replies, *b"+OK\r\n:2\r\n");
    }

    #[test]
    fn who_has_had_its_slice_is_not_read_in_the_same_visit() {
        let (mut server, mut turn, _dir) = server();
        let mut client = connect(&mut server, &mut turn, b"PING\r\nPING\r\n");
        server.slice_ns = 1;
        let id = turn.unread.pop_front().unwrap();
        turn.read(&mut server, id);
        client.write_all(b"PING\r\n").unwrap();
        for commands in [1, 2] {
            assert_eq!((server.stats.commands, std::mem::take(&mut server.readable)), (commands, vec![id]));
            turn.read(&mut server, id);
        }
        assert_eq!((server.stats.commands, server.readable.len()), (3, 0));
    }

    /// The log's block was closed behind it, and had an fdatasync of its own.
    #[test]
    fn a_turn_of_clients_that_were_cut_or_held_is_not_idle() {
        let (mut server, mut turn, _dir) = server();
        assert!(turn.is_idle(&server));
        let _client = connect(&mut server, &mut turn, b"PING\r\nPING\r\n");
        (server.turn_ends_ns, server.slice_ns) = (u64::MAX, 1);
        turn.read_all(&mut server, false);
        turn.events.clear();
        assert_eq!((server.stats.commands, turn.unread.len()), (1, 0));
        assert!(!turn.is_idle(&server));
        while !server.readable.is_empty() {
            turn.read_all(&mut server, false);
        }
        assert!(turn.is_idle(&server));
        server.held.extend(server.clients.ids());
        assert!(!turn.is_idle(&server));
    }
}
