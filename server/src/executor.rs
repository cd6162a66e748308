//! The one owner of the keyspace: looks a command up, checks whether it may run, executes it, and carries what it
//! leaves behind to where it belongs (the log, watchers, parked clients).

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use keyspace::commands::{DataSpec, flags};
use keyspace::{Call, CommandError, Keyspace, Unit};
use resp::{Encoder, Limits, Parser};

use crate::blocking::Blocking;
use crate::client::{Blocked, Client, ClientId, OwnedArgv, ReplyMode, Waiting};
use crate::clients::Clients;
use crate::commands::{Command, CommandTable, Handler};
use crate::config::Config;
use crate::disk::Wish;
use crate::evict::Room;
use crate::gate::Gate;
use crate::logger::{Level, Logger};
use crate::observer::Observer;
use crate::persistence::Persistence;
use crate::pubsub::PubSub;
use crate::transaction::{Transaction, Watching};

/// What frames a word in a log, at most: `$`, ten digits, and twice CR LF.
pub(crate) const WORD_BYTES: u64 = 15;

/// The whole server, but for its sockets' poll. Has no `Debug`: the configuration holds the password.
pub struct Server {
    /// redis.conf and CONFIG SET.
    pub config: Config,
    /// The data.
    pub keyspace: Keyspace,
    /// Who is connected.
    pub clients: Clients,
    /// The log and the rewrite.
    pub persistence: Persistence,
    /// Which replies must wait.
    pub gate: Gate,
    /// Who waits for keys.
    pub blocking: Blocking,
    /// Who watches keys.
    pub watching: Watching,
    /// Who listens to channels.
    pub pubsub: PubSub,
    /// All commands, under the names that `rename-command` leaves them.
    pub table: CommandTable,
    /// The log file of the server itself.
    pub logger: Logger,
    /// Time, read once a turn.
    pub clock: Clock,
    /// Counters for INFO.
    pub stats: Stats,
    /// Who is told of each command that is over.
    pub observer: Observer,
    /// What is in use, and what is done about it.
    pub room: Room,
    /// What DEBUG has switched.
    pub debug: Debug,
    /// The data is being loaded: how far.
    pub loading: Option<Loading>,
    /// The process shall end: with this exit code.
    pub exit: Option<i32>,
    /// Where values too big to be freed here are dropped.
    pub lazyfree: crate::lazyfree::Lazyfree,
    /// CLIENT PAUSE: until when, and whether reads go on.
    pub paused: Option<(Instant, PauseMode)>,
    /// Clients whose buffered input is to be looked at again: they were parked, paused or held.
    pub resumed: Vec<ClientId>,
    /// Clients whose next write waits until the log has room.
    pub held: Vec<ClientId>,
    /// Clients whose sockets are to be read again: they were left alone while their clients waited.
    pub readable: Vec<ClientId>,
    /// Clients that have replies to be sent at the end of the turn.
    pub answered: Vec<ClientId>,
    /// Who is being answered, and what was published to it meanwhile: that follows the reply, never splits it.
    pub executing: Option<ClientId>,
    /// See [`executing`](Self::executing).
    pub pushes: BytesMut,
    /// Bytes of the input that is being executed, for CLIENT LIST.
    pub executing_bytes: usize,
    /// More keys are due than the last cycle has deleted.
    pub expire_more: bool,
    /// What the current unit leaves behind; reused.
    unit: Unit,
    /// In the middle of EXEC: units are one, nobody is parked.
    pub in_exec: bool,
    /// FLUSHALL has taken place in the current unit.
    flushed: bool,
}

/// CLIENT PAUSE's two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseMode {
    /// Nothing is executed.
    All,
    /// Only commands that may write wait.
    Write,
}

/// The clock of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Monotonic: intervals.
    pub now: Instant,
    /// Wall clock, milliseconds since 1970: times to live.
    pub unix_ms: i64,
    /// When the server started.
    pub started: Instant,
}

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        let mut clock = Clock { now: Instant::now(), unix_ms: 0, started: Instant::now() };
        clock.refresh();
        clock
    }

    /// Reads both clocks again.
    pub fn refresh(&mut self) {
        self.now = Instant::now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    }

    /// Seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        self.unix_ms / 1000
    }
}

/// Counters since the start or CONFIG RESETSTAT.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    /// Commands executed.
    pub commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused at `maxclients`.
    pub rejected_connections: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// Error replies by code.
    pub errors: BTreeMap<String, u64>,
    /// Error replies of all codes.
    pub error_replies: u64,
    /// Commands a second, smoothed, and the count at the last look.
    pub ops_per_s: u64,
    /// See [`ops_per_s`](Self::ops_per_s).
    pub ops_seen: (u64, Option<Instant>),
    /// The longest turn while a rewrite was running: CPU time of this thread, microseconds.
    pub rewrite_turn_cpu_us_max: u64,
    /// The longest of as many turns behind rewrites, for comparison.
    pub usual_turn_cpu_us_max: u64,
    /// How many turns are still to be measured for it.
    pub turns_to_compare: u64,
    /// Connections closed because all together took more than `maxmemory-clients`.
    pub evicted_clients: u64,
    /// The largest memory use seen, bytes.
    pub used_memory_peak_bytes: u64,
}

/// DEBUG's switches.
#[derive(Debug, Clone, Copy)]
pub struct Debug {
    /// SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// AOF-FLUSH-SLEEP.
    pub aof_flush_sleep: Duration,
}

impl Default for Debug {
    fn default() -> Self {
        Debug { active_expire: true, aof_flush_sleep: Duration::ZERO }
    }
}

/// Progress of the load at start.
#[derive(Debug, Clone, Copy)]
pub struct Loading {
    /// When it began.
    pub started: Instant,
    /// The same on the wall clock, seconds since 1970.
    pub started_unix_s: i64,
    /// Bytes to load.
    pub total_bytes: u64,
    /// Bytes loaded.
    pub loaded_bytes: u64,
}

impl Server {
    /// A server with no data, no listeners and no log.
    pub fn new(config: Config, logger: Logger, seed: u64) -> Self {
        let mut keyspace = Keyspace::new(config.databases as usize, seed);
        keyspace.limits = config.keyspace_limits();
        keyspace.has_listeners = config.notify_keyspace_events.0 != 0;
        let table = CommandTable::new(&config.renamed_commands);
        Server {
            keyspace,
            table,
            clients: Clients::default(),
            persistence: Persistence::default(),
            gate: Gate::default(),
            blocking: Blocking::default(),
            watching: Watching::default(),
            pubsub: PubSub::default(),
            logger,
            clock: Clock::start(),
            stats: Stats::default(),
            observer: Observer::new(&config),
            room: Room::default(),
            debug: Debug::default(),
            loading: None,
            exit: None,
            lazyfree: crate::lazyfree::Lazyfree::default(),
            paused: None,
            resumed: Vec::new(),
            held: Vec::new(),
            readable: Vec::new(),
            answered: Vec::new(),
            executing: None,
            pushes: BytesMut::new(),
            executing_bytes: 0,
            expire_more: false,
            unit: Unit::default(),
            in_exec: false,
            flushed: false,
            config,
        }
    }

    /// Writes a line to the server's log.
    pub fn log(&mut self, level: Level, message: impl AsRef<str>) {
        self.logger.log(level, message.as_ref());
    }

    /// Executes what a client has sent: `received` if nothing older is buffered, which is then never copied but for an
    /// incomplete tail.
    pub fn receive(&mut self, id: ClientId, received: &[u8]) {
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

    /// Executes what a client's buffer holds, and lets its socket be read again if it was left alone meanwhile.
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
        if client.left_unread && !client.waits() {
            client.left_unread = false;
            self.readable.push(id);
        }
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
        self.observer.begin(self.clock.now);
        self.executing_bytes = input.len();
        self.answered.push(id);
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
                max_bulk_bytes: self.config.proto_max_bulk_len_bytes,
                authenticated: self.may_speak(client),
                check_crlf: false,
            };
            match parser.parse(&input[used..], &limits) {
                Ok(None) => return used,
                Ok(Some(len)) => {
                    let argv = parser.argv(&input[used..]);
                    if !argv.is_empty() && !self.execute_request(id, &argv) {
                        return used;
                    }
                    used += len;
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

    /// Whether a client has authenticated, or need not.
    pub fn may_speak(&self, client: &Client) -> bool {
        client.authenticated || self.config.requirepass.is_empty()
    }

    /// One request: everything that happens before, to and after it. False if it must wait where it stands.
    fn execute_request(&mut self, id: ClientId, argv: &[&[u8]]) -> bool {
        let looked_up = self.table.lookup(argv);
        let command = looked_up.as_ref().ok().copied();
        self.make_room();
        let admitted = looked_up.and_then(|command| self.permit(id, command, argv).map(|()| command));
        if let Ok(command) = admitted
            && self.postpone(id, command)
        {
            return false;
        }
        self.executing = Some(id);
        self.answer_with(id, |server| match admitted {
            Ok(command) => server.queue_or_call(id, command, argv),
            Err(error) => server.refuse(id, command.or_else(|| server.table.find(argv)), &error),
        });
        self.executing = None;
        true
    }

    fn queue_or_call(&mut self, id: ClientId, command: Command, argv: &[&[u8]]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.last_command = Some(command);
        match &mut client.transaction {
            Some(transaction) if !command.leaves_queue() => {
                transaction.queue.push((command, OwnedArgv::new(argv)));
                client.reply().simple("QUEUED");
                self.observer.begin(Instant::now());
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
        let pushes = std::mem::take(&mut self.pushes);
        let Some(client) = self.clients.get_mut(id) else { return };
        // CLIENT REPLY ON is answered even where it ends a silence; a parked command's silence lasts until it is served.
        if before != ReplyMode::On && client.reply_mode != ReplyMode::On {
            client.output.buffer().truncate(start);
            if before == ReplyMode::SkipNext && client.reply_mode == before && client.blocked.is_none() {
                client.reply_mode = ReplyMode::On;
            }
        }
        client.output.buffer().extend_from_slice(&pushes);
    }

    /// Counts the reply at `start` if it is an error; says whether it is.
    fn count_error(&mut self, id: ClientId, start: usize) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some([b'-', error @ ..]) = client.output.buffer().get(start..) else { return false };
        let code = error.split(|byte| matches!(byte, b' ' | b'\r')).next();
        self.stats.note_error(&String::from_utf8_lossy(code.unwrap_or_default()));
        true
    }

    /// Answers with an error; an open transaction is spoilt by it, and over if the command was its EXEC.
    fn refuse(&mut self, id: ClientId, command: Option<Command>, error: &CommandError) {
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
                client.reply().error(&format!("EXECABORT Transaction discarded because of: {error}"));
            }
            Some(transaction) => {
                transaction.spoilt = true;
                client.reply().error(&error.to_string());
            }
            None => client.reply().error(&error.to_string()),
        }
        self.count_error(id, start);
        self.observer.begin(Instant::now());
    }

    /// Makes a command wait where it stands, if it must: the server is paused, or the log has no room for its write.
    fn postpone(&mut self, id: ClientId, command: Command) -> bool {
        let writes =
            [flags::WRITE, flags::MAY_REPLICATE].iter().any(|&flag| self.has_or_executes(id, command, flag));
        let waiting = match self.paused {
            Some((_, mode)) if writes || mode == PauseMode::All => &mut self.resumed,
            _ if writes && self.persistence.writes_are_held() => &mut self.held,
            _ => return false,
        };
        waiting.push(id);
        if let Some(client) = self.clients.get_mut(id) {
            client.postponed = true;
        }
        true
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

    /// Whether a command may run now. The order is Redis's: the first reason is the one that is told.
    fn permit(&self, id: ClientId, command: Command, argv: &[&[u8]]) -> Result<(), CommandError> {
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
        // Whatever is queued takes memory.
        let is_queued = || self.clients.get(id).is_some_and(|client| client.transaction.is_some());
        let grows =
            || !command.leaves_queue() && is_queued() || self.has_or_executes(id, command, flags::DENYOOM);
        if self.room.is_exceeded() && grows() {
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
        // There are no replicas, so none is good.
        if writes && self.config.min_replicas_to_write > 0 {
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
        if client.monitors && [flags::READ, flags::WRITE, flags::MAY_REPLICATE].into_iter().any(touches) {
            return Err(CommandError::other("ERR Replica can't interact with the keyspace"));
        }
        Ok(())
    }

    /// Executes a command outside or inside a transaction, and tells everybody who watches.
    pub fn call(&mut self, id: ClientId, command: Command, argv: &[&[u8]]) {
        let began = self.observer.mark();
        let start = self.clients.get(id).map_or(0, |client| client.output.len_bytes());
        match command.handler() {
            Handler::Process(handler) => {
                if let Err(error) = handler(self, id, argv)
                    && let Some(client) = self.clients.get_mut(id)
                {
                    client.reply().error(&error.to_string());
                }
            }
            Handler::Data(spec) if self.in_exec => self.execute_data(id, spec, argv, false),
            Handler::Data(spec) => {
                self.unit.clear();
                self.execute_data(id, spec, argv, true);
                self.finish_own_unit(Some(id), !command.has(flags::TOUCHES_ARBITRARY_KEYS));
                if let Some(block) = self.unit.block.take() {
                    self.park_for_key(id, argv, block);
                }
            }
        }
        self.flushed |= command.is("flushall") && self.has_succeeded(id, start);
        if !self.in_exec && std::mem::take(&mut self.flushed) {
            self.flushed_all();
        }
        self.end_call(id, command, argv, began, start);
        if !self.in_exec {
            self.serve_ready();
        }
    }

    /// Whether the reply at `start` is none that refuses.
    fn has_succeeded(&mut self, id: ClientId, start: usize) -> bool {
        let client = self.clients.get_mut(id);
        client.is_some_and(|client| client.output.buffer().get(start) != Some(&b'-'))
    }

    /// A command's handler has returned: it is over, unless it has parked its client.
    fn end_call(&mut self, id: ClientId, command: Command, argv: &[&[u8]], began: Instant, start: usize) {
        let took = self.observer.lap(began);
        if !self.observer.monitors.is_empty() {
            self.feed_monitors(id, command, argv);
        }
        let mut failed = false;
        if let Some(client) = self.clients.get_mut(id) {
            if let Some(blocked) = &mut client.blocked {
                blocked.took = took;
                return;
            }
            failed = client.output.buffer().get(start) == Some(&b'-') && self.count_error(id, start);
        }
        self.finished(id, command, argv, took, failed);
    }

    /// Executes a data command; what it leaves behind is added to the current unit.
    fn execute_data(&mut self, id: ClientId, spec: &DataSpec, argv: &[&[u8]], may_block: bool) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Client { db, no_touch, .. } = *client;
        let call = Call { db, now_ms: self.clock.unix_ms, argv, may_block, no_touch };
        self.keyspace.execute_spec(spec, &call, &mut client.reply(), &mut self.unit);
    }

    /// Executes a transaction's queue as one unit; the caller has written the head of the reply.
    pub fn call_queue(&mut self, id: ClientId, queue: Vec<(Command, OwnedArgv)>) {
        self.unit.clear();
        self.in_exec = true;
        for (command, argv) in queue {
            self.call(id, command, &argv.words());
        }
        self.in_exec = false;
        self.finish_own_unit(Some(id), true);
    }

    /// Whether the transaction that is being executed has written, which the log does not know yet.
    pub fn is_in_dirty_exec(&self) -> bool {
        self.in_exec && self.unit.dirty > 0
    }

    fn finish_own_unit(&mut self, client: Option<ClientId>, wrap: bool) {
        let mut unit = std::mem::take(&mut self.unit);
        self.finish_unit(client, &mut unit, wrap);
        self.unit = unit;
    }

    /// Carries what a unit left behind to where it belongs. `wrap`: several effects are one transaction.
    pub fn finish_unit(&mut self, client: Option<ClientId>, unit: &mut Unit, wrap: bool) {
        let garbage = self.keyspace.take_garbage();
        self.lazyfree.drop_later(garbage);
        self.propagate(client, unit, wrap);
        self.persistence.dirty += unit.dirty;
        if !self.watching.is_empty() && unit.dirty > 0 {
            self.break_watches(unit);
        }
        if self.blocking.waits_for_keys() {
            self.blocking.note_ready(unit.ready.drain(..));
            self.blocking.note_changed(&unit.touched);
        }
        if !unit.events.is_empty() {
            self.publish_events(unit);
        }
    }

    fn break_watches(&mut self, unit: &Unit) {
        for (id, db, hash) in self.watching.watchers(&unit.touched) {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let keyspace = &mut self.keyspace;
            let now_ms = self.clock.unix_ms;
            client.watch_broken |= client.watched.iter().any(|watched| {
                watched.db == db
                    && hash.map_or_else(
                        || watched.existed || keyspace.entry(db, &watched.key, now_ms).is_some(),
                        |hash| watched.hash == hash,
                    )
            });
        }
    }

    fn park_for_key(&mut self, id: ClientId, argv: &[&[u8]], mut block: keyspace::Block) {
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
        let blocked = Blocked { command, argv, on, db, deadline, took: Duration::ZERO };
        self.blocking.park(id, &blocked);
        client.blocked = Some(blocked);
        self.keyspace.has_blocked = self.blocking.waits_for_keys();
    }

    /// Takes a client out of its waiting; its command is over, and what it sent since is looked at again.
    pub fn unpark(&mut self, id: ClientId) -> Option<Blocked> {
        let client = self.clients.get_mut(id)?;
        let blocked = client.blocked.take()?;
        self.blocking.unpark(id, &blocked);
        self.keyspace.has_blocked = self.blocking.waits_for_keys();
        self.resumed.push(id);
        self.answered.push(id);
        Some(blocked)
    }

    /// Executes the commands of parked clients whose keys became ready, until none can be served.
    pub fn serve_ready(&mut self) {
        while let Some((db, key, clients)) = self.blocking.next_ready() {
            for id in clients {
                let entry = self.keyspace.entry(db, &key, self.clock.unix_ms);
                let held = entry.map(|entry| entry.value().type_name());
                let Some(client) = self.clients.get(id) else { continue };
                let Some(blocked) = &client.blocked else { continue };
                let wakes = |on: &keyspace::Block| held == Some(on.type_name) || on.wakes_without_it;
                if matches!(&blocked.on, Waiting::Key(on) if wakes(on)) {
                    self.serve_parked(id);
                }
            }
        }
    }

    fn serve_parked(&mut self, id: ClientId) {
        let began = self.observer.mark();
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(mut blocked) = client.blocked.take() else { return };
        let argv = blocked.argv.words();
        self.unit.clear();
        let start = client.output.len_bytes();
        if let Handler::Data(spec) = blocked.command.handler() {
            let (db, no_touch) = (blocked.db, client.no_touch);
            let call = Call { db, now_ms: self.clock.unix_ms, argv: &argv, may_block: true, no_touch };
            self.keyspace.execute_spec(spec, &call, &mut client.reply(), &mut self.unit);
        }
        blocked.took += self.observer.lap(began);
        client.blocked = Some(blocked);
        if self.unit.block.is_none() {
            self.end_parked(id, start);
        }
        self.finish_own_unit(Some(id), true);
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
        self.finished(id, blocked.command, &blocked.argv.words(), blocked.took, failed);
    }

    /// CLIENT REPLY, for the reply of a command that was parked.
    fn end_silence(&mut self, id: ClientId, start: usize) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.reply_mode != ReplyMode::On {
            client.output.buffer().truncate(start);
        }
        if client.reply_mode == ReplyMode::SkipNext {
            client.reply_mode = ReplyMode::On;
        }
    }

    /// Answers a parked client whose time is over.
    pub fn time_out(&mut self, id: ClientId) {
        let blocked = self.clients.get(id).and_then(|client| client.blocked.as_ref());
        match blocked.map(|blocked| &blocked.on) {
            Some(Waiting::Key(block)) if block.null_array => {
                self.answer_parked(id, |reply| reply.null_array())
            }
            Some(Waiting::Key(_)) => self.answer_parked(id, |reply| reply.null()),
            Some(&Waiting::Copies(copies)) => self.answer_copies(id, copies),
            Some(Waiting::LogEnd) | None => {}
        }
    }

    /// Ends a client's connection and everything that refers to it.
    pub fn forget(&mut self, id: ClientId) -> Option<Client> {
        self.unpark(id);
        self.unwatch(id);
        self.pubsub.forget(id);
        self.stop_monitoring(id);
        self.clients.remove(id)
    }

    /// Forgets a client's watched keys.
    pub fn unwatch(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.watch_broken = false;
        for watched in std::mem::take(&mut client.watched) {
            self.watching.remove(watched.db, watched.hash, id);
        }
    }

    /// Deletes keys that are due, within a budget.
    pub fn expire_cycle(&mut self) {
        /// Keys to a cycle: some 100 microseconds. What is due beyond is due in the next turn, which does not wait.
        const BUDGET: usize = 200;
        self.expire_more = false;
        let idle = !self.debug.active_expire || self.loading.is_some() || self.paused.is_some();
        // Behind a disk that is late or fails, the DELs would only pile up; reads find an expired key absent all the same.
        let is_late = self.persistence.writes_are_held();
        if idle || is_late || !self.persistence.admits(Wish { writes: true, grows: true, bytes: 0 }) {
            return;
        }
        let began = self.watches_latency().then(Instant::now);
        self.unit.clear();
        self.expire_more = self.keyspace.expire_due(self.clock.unix_ms, BUDGET, &mut self.unit);
        self.finish_own_unit(None, false);
        if let Some(began) = began {
            self.note_latency("expire-cycle", began.elapsed());
        }
        // Who reads for a group of a stream that expired waits in vain.
        self.serve_ready();
    }
}

/// A parser keeps the room of its longest request; after a very long one, it is given back.
fn give_back(parser: &mut Parser, used_bytes: usize) {
    const LONG_BYTES: usize = 128 << 10;
    if used_bytes > LONG_BYTES {
        parser.shrink();
    }
}

impl Stats {
    /// Notes how long a turn was: during a rewrite, or behind one.
    pub fn note_turn(&mut self, rewriting: bool, cpu_us: u64) {
        let longest_us = if rewriting {
            self.turns_to_compare += 1;
            &mut self.rewrite_turn_cpu_us_max
        } else {
            self.turns_to_compare = self.turns_to_compare.saturating_sub(1);
            &mut self.usual_turn_cpu_us_max
        };
        *longest_us = cpu_us.max(*longest_us);
    }

    /// Counts an error reply by its code.
    pub fn note_error(&mut self, code: &str) {
        /// Codes come from scripts and modules too: the table stays small.
        const MAX_CODES: usize = 128;
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < MAX_CODES {
            self.errors.insert(code.to_owned(), 1);
        }
    }
}
