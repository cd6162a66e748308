//! The command table of the whole server: the data commands of `keyspace` and the process commands of this folder,
//! rows of the same [`Spec`].

pub mod connection;
pub mod debug;
pub mod introspection;
pub mod persistence;
pub mod pubsub;
pub mod server;
pub mod transactions;

use std::collections::HashMap;

use foldhash::fast::FixedState;
use keyspace::CommandError;
use keyspace::commands::{flags, DataSpec, GROUPS, Group, Keys, Spec, resolve, unknown_command};

use crate::client::ClientId;
use crate::config::RenamedCommand;
use crate::executor::Server;

/// Executes a command that needs the process: replies to the client, or returns why not.
pub type ProcessHandler = fn(&mut Server, ClientId, &[&[u8]]) -> Result<(), CommandError>;

/// A process command's row.
pub type ProcessSpec = Spec<ProcessHandler>;

/// All process commands.
pub const PROCESS_GROUPS: &[Group<ProcessHandler>] = &[
    Group { name: "connection", table: connection::TABLE },
    Group { name: "server", table: server::TABLE },
    Group { name: "server", table: introspection::TABLE },
    Group { name: "server", table: persistence::TABLE },
    Group { name: "server", table: debug::TABLE },
    Group { name: "transactions", table: transactions::TABLE },
    Group { name: "pubsub", table: pubsub::TABLE },
];

/// A command that was looked up: its row, and its container's where it is a subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    row: Row,
    container: Option<&'static str>,
    /// COMMAND DOCS's group.
    pub group: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Row {
    Data(&'static DataSpec),
    Process(&'static ProcessSpec),
}

/// What executes a command.
#[derive(Debug, Clone, Copy)]
pub enum Handler {
    /// The keyspace, by this row.
    Data(&'static DataSpec),
    /// The server, by this function.
    Process(ProcessHandler),
}

/// The columns that do not depend on who executes a command.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// The name; a subcommand's own.
    pub name: &'static str,
    /// Number of words; negative: at least as many.
    pub arity: i32,
    /// [`keyspace::commands::flags`].
    pub flags: u32,
    /// Where the keys stand.
    pub keys: Keys,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// One line.
    pub summary: &'static str,
}

impl Command {
    /// What executes it.
    #[inline]
    pub fn handler(&self) -> Handler {
        match self.row {
            Row::Data(spec) => Handler::Data(spec),
            Row::Process(spec) => Handler::Process(spec.handler),
        }
    }

    /// Whether all of these flags are set.
    #[inline]
    pub fn has(&self, flags: u32) -> bool {
        match self.row {
            Row::Data(spec) => spec.has(flags),
            Row::Process(spec) => spec.has(flags),
        }
    }

    /// Its columns.
    pub fn columns(&self) -> Columns {
        fn columns<H>(spec: &Spec<H>) -> Columns {
            let &Spec { name, arity, flags, keys, since, summary, .. } = spec;
            Columns { name, arity, flags, keys, since, summary }
        }
        match self.row {
            Row::Data(spec) => columns(spec),
            Row::Process(spec) => columns(spec),
        }
    }

    /// Its subcommands.
    pub fn subcommands(&self) -> Vec<Command> {
        let inner = |row, name| Command { row, container: Some(name), group: self.group };
        match self.row {
            Row::Data(spec) => spec.subcommands.iter().map(|sub| inner(Row::Data(sub), spec.name)).collect(),
            Row::Process(spec) => {
                spec.subcommands.iter().map(|sub| inner(Row::Process(sub), spec.name)).collect()
            }
        }
    }

    /// Its name; a subcommand's own.
    #[inline]
    pub fn name(&self) -> &'static str {
        match self.row {
            Row::Data(spec) => spec.name,
            Row::Process(spec) => spec.name,
        }
    }

    /// `get`, `config|set`.
    pub fn full_name(&self) -> String {
        match self.container {
            Some(container) => format!("{container}|{}", self.name()),
            None => self.name().to_owned(),
        }
    }

    /// Whether it is executed between MULTI and EXEC, rather than queued. Source: redis 7.2 `processCommand`.
    #[inline]
    pub fn leaves_queue(&self) -> bool {
        const AT_ONCE: [&str; 6] = ["exec", "discard", "multi", "watch", "quit", "reset"];
        self.has(flags::NOSCRIPT) && AT_ONCE.contains(&self.name())
    }

    /// Whether a RESP2 client that listens to channels may send it.
    pub fn serves_listeners(&self) -> bool {
        const SERVES: [&str; 7] =
            ["subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ping", "quit", "reset"];
        SERVES.contains(&self.name())
    }

    /// Whether it is the command (or the container) of this name.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        self.container.unwrap_or(self.name()) == name
    }
}

/// The commands by the names that clients must use for them.
#[derive(Debug)]
pub struct CommandTable {
    by_name: HashMap<Vec<u8>, Command, FixedState>,
}

/// No command's name is longer.
const MAX_NAME_BYTES: usize = 32;

impl CommandTable {
    /// All commands, renamed (or, to the empty name, taken away) as `rename-command` says.
    pub fn new(renamed: &[RenamedCommand]) -> Self {
        let data = GROUPS.iter().flat_map(|group| {
            group.table.iter().map(|spec| (spec.name, Row::Data(spec), group.name))
        });
        let process = PROCESS_GROUPS.iter().flat_map(|group| {
            group.table.iter().map(|spec| (spec.name, Row::Process(spec), group.name))
        });
        let mut by_name: HashMap<Vec<u8>, Command, FixedState> = data
            .chain(process)
            .map(|(name, row, group)| (name.as_bytes().to_vec(), Command { row, container: None, group }))
            .collect();
        for RenamedCommand { from, to, .. } in renamed {
            if let Some(command) = by_name.remove(&from.to_ascii_lowercase())
                && !to.is_empty()
            {
                by_name.insert(to.to_ascii_lowercase(), command);
            }
        }
        CommandTable { by_name }
    }

    /// Finds the command of a request and checks the number of its words.
    ///
    /// # Errors
    /// Redis's words for an unknown command or a wrong number of words.
    #[inline]
    pub fn lookup(&self, argv: &[&[u8]]) -> Result<Command, CommandError> {
        let name = argv.first().copied().unwrap_or_default();
        let command = self.get(name).ok_or_else(|| unknown_command(argv))?;
        let inner = |row| Command { row, container: Some(command.name()), group: command.group };
        match command.row {
            Row::Data(spec) => {
                let sub = resolve(spec, argv)?;
                Ok(if std::ptr::eq(sub, spec) { command } else { inner(Row::Data(sub)) })
            }
            Row::Process(spec) => {
                let sub = resolve(spec, argv)?;
                Ok(if std::ptr::eq(sub, spec) { command } else { inner(Row::Process(sub)) })
            }
        }
    }

    /// The command (or container) of a name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Command> {
        let mut lower = [0; MAX_NAME_BYTES];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    /// All commands, by name.
    pub fn all(&self) -> Vec<Command> {
        let mut all: Vec<Command> = self.by_name.values().copied().collect();
        all.sort_by_key(Command::name);
        all
    }
}

/// Reads an integer argument.
///
/// # Errors
/// [`CommandError::NotAnInteger`].
pub(crate) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    resp::number::parse_i64(text).ok_or(CommandError::NotAnInteger)
}
