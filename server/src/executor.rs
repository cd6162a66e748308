//! The one owner of the keyspace, and of all that its commands concern.
//!
//! ```text
//! input    parses what a client has sent, request by request, until its slice or the turn is over
//! permit   may the command run now?
//! call     executes it, and carries what it leaves behind to where it belongs: the log, watchers, parked clients
//! output   has it left more to be read than its client may leave unread?
//! ```

use std::time::{Duration, Instant};

use bytes::BytesMut;
use keyspace::{Keyspace, Unit};

use crate::blocking::Blocking;
use crate::client::{Client, ClientId};
use crate::clients::{Class, Clients};
use crate::clock::Clock;
use crate::commands::CommandTable;
use crate::commands::migrate::Migrations;
use crate::config::Config;
use crate::evict::Room;
use crate::gate::Gate;
use crate::listening::Listeners;
use crate::logger::{Level, Logger};
use crate::observer::Observer;
use crate::persistence::Persistence;
use crate::pubsub::PubSub;
use crate::replication::Replication;
use crate::restart::Restart;
use crate::stats::Stats;
use crate::supervise::Supervisor;
use crate::transaction::Watching;

mod call;
mod input;
mod output;
mod permit;

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
    /// Keys on their way to other servers.
    pub migrations: Migrations,
    /// Who watches keys.
    pub watching: Watching,
    /// Who listens to channels.
    pub pubsub: PubSub,
    /// Who hangs on this server as a replica.
    pub replication: Replication,
    /// All commands, under the names that `rename-command` leaves them.
    pub table: CommandTable,
    /// The log file of the server itself.
    pub logger: Logger,
    /// Time, read once a turn.
    pub clock: Clock,
    /// When this turn executes no further command, on the clock of [`Clock::now_ns`].
    pub turn_ends_ns: u64,
    /// How long a client executes commands before the others have their turn.
    pub slice_ns: u64,
    /// When the current client executes no further command.
    slice_ends_ns: u64,
    /// Where clients come from.
    pub(crate) listeners: Listeners,
    /// Who is told that the server is ready.
    pub(crate) supervisor: Supervisor,
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
    /// And begin again.
    pub(crate) restart: Restart,
    /// Where values too big to be freed here are dropped.
    pub lazyfree: crate::lazyfree::Lazyfree,
    /// CLIENT PAUSE: until when, and whether reads go on; see `pause`.
    pub paused: Option<(Instant, PauseMode)>,
    /// Clients that a pause has postponed.
    pub postponed: Vec<ClientId>,
    /// Clients whose writes are postponed while writes are held.
    pub held: Vec<ClientId>,
    /// Clients that are to be read on: they have waited, or their slice or the turn was over.
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
    pub(crate) unit: Unit,
    /// In the middle of EXEC: units are one, nobody is parked.
    pub in_exec: bool,
    /// FLUSHALL has taken place in the current unit.
    flushed: bool,
    /// When the log was last told of a browser.
    browser_seen_at: Option<Instant>,
}

/// CLIENT PAUSE's two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseMode {
    /// Nothing is executed.
    All,
    /// Only commands that may write wait.
    Write,
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
    /// The memory in use where the RDB file was written that is being loaded, if it says so.
    pub rdb_used_memory_bytes: u64,
}

impl Loading {
    /// It begins.
    pub fn begin(started: Instant, started_unix_s: i64, total_bytes: u64) -> Self {
        Loading { started, started_unix_s, total_bytes, loaded_bytes: 0, rdb_used_memory_bytes: 0 }
    }
}

impl Server {
    /// A server with no data, no listeners and no log.
    pub fn new(config: Config, logger: Logger, seed: u64) -> Self {
        let mut keyspace = Keyspace::new(config.databases as usize, seed);
        keyspace.limits = config.keyspace_limits();
        keyspace.has_log = false;
        keyspace.has_listeners = config.notify_keyspace_events.0 != 0;
        let table = CommandTable::new(&config.renamed_commands);
        Server {
            keyspace,
            table,
            clients: Clients::default(),
            persistence: Persistence::default(),
            gate: Gate::default(),
            blocking: Blocking::default(),
            migrations: Migrations::default(),
            watching: Watching::default(),
            pubsub: PubSub::default(),
            replication: Replication::default(),
            logger,
            clock: Clock::start(),
            turn_ends_ns: u64::MAX,
            slice_ns: u64::MAX,
            slice_ends_ns: u64::MAX,
            listeners: Listeners::default(),
            supervisor: Supervisor::default(),
            stats: Stats::default(),
            observer: Observer::new(&config),
            room: Room::default(),
            debug: Debug::default(),
            loading: None,
            exit: None,
            restart: Restart::default(),
            lazyfree: crate::lazyfree::Lazyfree::default(),
            paused: None,
            postponed: Vec::new(),
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
            browser_seen_at: None,
            config,
        }
    }

    /// Writes a line to the server's log.
    pub fn log(&mut self, level: Level, message: impl AsRef<str>) {
        self.logger.log(level, message.as_ref());
    }

    /// What a client is.
    pub(crate) fn class_of(&self, id: ClientId) -> Class {
        match () {
            () if self.replication.has(id) => Class::Replica,
            () if self.pubsub.is_subscribed(id) => Class::PubSub,
            () => Class::Normal,
        }
    }

    /// Ends a client's connection and everything that refers to it.
    pub fn forget(&mut self, id: ClientId) -> Option<Client> {
        self.unpark(id);
        self.unwatch(id);
        self.pubsub.forget(id);
        self.stop_monitoring(id);
        self.detach_replica(id);
        self.clients.remove(id)
    }
}
