//! The command table of the whole server: the data commands of `keyspace` and the process commands of this folder,
//! rows of the same [`Spec`].

pub mod cluster;
pub mod connection;
pub mod debug;
mod docs;
pub mod introspection;
pub mod memory;
pub mod migrate;
pub mod observation;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod server;
pub mod transactions;
pub mod waiting;

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;
use keyspace::CommandError;
pub(crate) use keyspace::commands::integer;
use keyspace::commands::{
    DataSpec, GROUPS, Group, Keys, Spec, flags, unknown_command, unknown_subcommand, write_help,
};
use smallvec::SmallVec;

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
    Group { name: "cluster", table: cluster::TABLE },
    Group { name: "server", table: server::TABLE },
    Group { name: "server", table: introspection::TABLE },
    Group { name: "server", table: memory::TABLE },
    Group { name: "server", table: observation::TABLE },
    Group { name: "server", table: persistence::TABLE },
    Group { name: "server", table: debug::TABLE },
    Group { name: "server", table: replication::TABLE },
    Group { name: "transactions", table: transactions::TABLE },
    Group { name: "pubsub", table: pubsub::TABLE },
    Group { name: "generic", table: waiting::TABLE },
    Group { name: "generic", table: migrate::TABLE },
];

/// A command that was looked up. It is two words, and so passed on in registers.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    entry: &'static Entry,
    /// Whether clients know it, or its container, by another name.
    renamed: bool,
}

const _: () = assert!(size_of::<Option<Command>>() == 2 * size_of::<usize>());

/// A command or subcommand, by whatever name clients know it.
#[derive(Debug)]
struct Entry {
    row: Row,
    /// Of a subcommand.
    container: Option<Row>,
    number: u16,
    group: &'static str,
    subcommands: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
enum Row {
    Data(&'static DataSpec),
    Process(&'static ProcessSpec),
}

impl Row {
    #[inline]
    fn name(self) -> &'static str {
        match self {
            Row::Data(spec) => spec.name,
            Row::Process(spec) => spec.name,
        }
    }

    #[inline]
    fn has(self, flags: u32) -> bool {
        match self {
            Row::Data(spec) => spec.has(flags),
            Row::Process(spec) => spec.has(flags),
        }
    }

    #[inline]
    fn takes(self, words: usize) -> bool {
        match self {
            Row::Data(spec) => spec.takes(words),
            Row::Process(spec) => spec.takes(words),
        }
    }

    fn subcommands(self) -> Vec<Row> {
        match self {
            Row::Data(spec) => spec.subcommands.iter().map(Row::Data).collect(),
            Row::Process(spec) => spec.subcommands.iter().map(Row::Process).collect(),
        }
    }
}

impl Entry {
    fn new(row: Row, number: u16, group: &'static str) -> Self {
        let undivided = row.has(flags::UNDIVIDED);
        let subcommand = |(own_row, own_number)| Entry {
            row: own_row,
            container: Some(row),
            number: if undivided { number } else { own_number },
            group,
            subcommands: Vec::new(),
        };
        let subcommands = row.subcommands().into_iter().zip(number + 1..).map(subcommand).collect();
        Entry { row, container: None, number, group, subcommands }
    }
}

/// All commands; a subcommand stands in its container's entry.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let data = GROUPS.iter().flat_map(|group| group.table.iter().map(|spec| (Row::Data(spec), group.name)));
    let process = PROCESS_GROUPS
        .iter()
        .flat_map(|group| group.table.iter().map(|spec| (Row::Process(spec), group.name)));
    let mut next = 0;
    data.chain(process)
        .map(|(row, group)| {
            let entry = Entry::new(row, next, group);
            next += 1 + entry.subcommands.len() as u16;
            entry
        })
        .collect()
});

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
    pub fn handler(self) -> Handler {
        match self.entry.row {
            Row::Data(spec) => Handler::Data(spec),
            Row::Process(spec) => Handler::Process(spec.handler),
        }
    }

    /// Whether all of these flags are set.
    #[inline]
    pub fn has(self, flags: u32) -> bool {
        self.entry.row.has(flags)
    }

    /// Its place among all commands and subcommands, whatever they are renamed to.
    #[inline]
    pub fn number(self) -> usize {
        self.entry.number.into()
    }

    /// COMMAND DOCS's group.
    pub fn group(self) -> &'static str {
        self.entry.group
    }

    /// Its columns.
    pub fn columns(self) -> Columns {
        fn columns<H>(spec: &Spec<H>) -> Columns {
            let &Spec { name, arity, flags, keys, since, summary, .. } = spec;
            Columns { name, arity, flags, keys, since, summary }
        }
        match self.entry.row {
            Row::Data(spec) => columns(spec),
            Row::Process(spec) => columns(spec),
        }
    }

    /// The subcommands that it is divided into.
    pub fn subcommands(self) -> impl ExactSizeIterator<Item = Command> {
        let own = if self.has(flags::UNDIVIDED) { &[] } else { &self.entry.subcommands[..] };
        own.iter().map(move |entry| Command { entry, ..self })
    }

    /// Itself and its subcommands.
    pub fn flat(self) -> impl Iterator<Item = Command> {
        std::iter::once(self).chain(self.subcommands())
    }

    /// The subcommand of this name.
    pub fn subcommand(self, word: &[u8]) -> Option<Command> {
        let is_named = |entry: &&Entry| word.eq_ignore_ascii_case(entry.row.name().as_bytes());
        self.entry.subcommands.iter().find(is_named).map(|entry| Command { entry, ..self })
    }

    /// Whether a request of `words` words fits.
    #[inline]
    pub fn takes(self, words: usize) -> bool {
        self.entry.row.takes(words)
    }

    /// Its name; a subcommand's own.
    #[inline]
    pub fn name(self) -> &'static str {
        self.entry.row.name()
    }

    /// `get`, `config|set`.
    pub fn full_name(self) -> String {
        match self.entry.container {
            Some(container) if container.has(flags::UNDIVIDED) => container.name().to_owned(),
            Some(container) => format!("{}|{}", container.name(), self.name()),
            None => self.name().to_owned(),
        }
    }

    /// Its own name, or its container's, if clients know it by another.
    #[inline]
    pub fn renamed_from(self) -> Option<&'static str> {
        self.renamed.then(|| self.first_name())
    }

    /// Whether it is executed between MULTI and EXEC, rather than queued. Source: redis 7.2 `processCommand`.
    #[inline]
    pub fn leaves_queue(self) -> bool {
        const AT_ONCE: [&str; 6] = ["exec", "discard", "multi", "watch", "quit", "reset"];
        self.has(flags::NOSCRIPT) && AT_ONCE.iter().any(|name| self.is(name))
    }

    /// Whether a RESP2 client that listens to channels may send it.
    pub fn serves_listeners(self) -> bool {
        const SERVES: [&str; 7] =
            ["subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ping", "quit", "reset"];
        SERVES.iter().any(|name| self.is(name))
    }

    /// Whether this word alone names it: clients know it by its own name, and the next word chooses no subcommand.
    #[inline]
    fn is_named_alone(self, word: &[u8]) -> bool {
        let stands_alone =
            !self.renamed && self.entry.container.is_none() && self.entry.subcommands.is_empty();
        stands_alone && word.eq_ignore_ascii_case(self.name().as_bytes())
    }

    /// Whether it is the command (or the container) of this name.
    #[inline]
    pub fn is(self, name: &str) -> bool {
        self.first_name() == name
    }

    /// Its own name, or its container's.
    #[inline]
    fn first_name(self) -> &'static str {
        self.entry.container.unwrap_or(self.entry.row).name()
    }
}

/// The commands by the names that clients must use for them.
#[derive(Debug)]
pub struct CommandTable {
    by_name: HashMap<Vec<u8>, Command, FixedState>,
    /// The longest of these names.
    longest_bytes: usize,
}

/// No command's own name is longer; what it is renamed to may be.
const OWN_NAME_BYTES: usize = 32;

impl CommandTable {
    /// All commands, renamed (or, to the empty name, taken away) as `rename-command` says.
    pub fn new(renamed: &[RenamedCommand]) -> Self {
        let own = ENTRIES.iter().map(|entry| Command { entry, renamed: false });
        let mut by_name: HashMap<Vec<u8>, Command, FixedState> =
            own.map(|command| (command.name().into(), command)).collect();
        for RenamedCommand { from, to, .. } in renamed {
            if let Some(command) = by_name.remove(&from.to_ascii_lowercase())
                && !to.is_empty()
            {
                by_name.insert(to.to_ascii_lowercase(), Command { renamed: true, ..command });
            }
        }
        let longest_bytes = by_name.keys().map(Vec::len).max().unwrap_or(0);
        CommandTable { by_name, longest_bytes }
    }

    /// Finds the command of a request and checks the number of its words. `last`: what its client has sent last, which most
    /// send again.
    ///
    /// # Errors
    /// Redis's words for an unknown command or a wrong number of words.
    #[inline]
    pub fn lookup(&self, argv: &[&[u8]], last: Option<Command>) -> Result<Command, CommandError> {
        let again = last.filter(|last| argv.first().is_some_and(|name| last.is_named_alone(name)));
        match again.or_else(|| self.find(argv)) {
            Some(command) if command.takes(argv.len()) => Ok(command),
            Some(command) => Err(CommandError::Arity(command.full_name().into())),
            None if argv.first().is_some_and(|name| self.get(name).is_some()) => {
                Err(unknown_subcommand(argv))
            }
            None => Err(unknown_command(argv)),
        }
    }

    /// Finds the command of a request, whatever the number of its words.
    #[inline]
    pub fn find(&self, argv: &[&[u8]]) -> Option<Command> {
        let command = self.get(argv.first()?)?;
        match argv.get(1) {
            Some(word) if !command.entry.subcommands.is_empty() => command.subcommand(word),
            _ => Some(command),
        }
    }

    /// Finds a command by its full name, `config|set`.
    pub fn named(&self, name: &[u8]) -> Option<Command> {
        match name.iter().position(|&byte| byte == b'|') {
            None => self.get(name),
            Some(at) => self.get(&name[..at])?.subcommand(&name[at + 1..]),
        }
    }

    /// The command (or container) of a name.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Command> {
        if name.len() > self.longest_bytes {
            return None;
        }
        let mut lower: SmallVec<[u8; OWN_NAME_BYTES]> = SmallVec::from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    /// All commands, by name.
    pub fn all(&self) -> Vec<Command> {
        let mut all: Vec<Command> = self.by_name.values().copied().collect();
        all.sort_by_key(|command| command.name());
        all
    }
}

impl CommandTable {
    /// All commands, by name, each followed by its subcommands.
    pub fn flat(&self) -> impl Iterator<Item = Command> {
        self.all().into_iter().flat_map(Command::flat)
    }
}

/// A container's HELP: its subcommands.
pub(crate) fn help(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result<(), CommandError> {
    let name = String::from_utf8_lossy(argv[0]).to_ascii_uppercase();
    let command = server.table.get(argv[0]);
    connection::reply(server, id, |reply| match command.map(|command| command.entry.row) {
        Some(Row::Data(spec)) => write_help(&name, spec.subcommands, reply),
        Some(Row::Process(spec)) => write_help(&name, spec.subcommands, reply),
        None => {}
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::CommandTable;
    use crate::config::{Config, Start};

    #[test]
    fn what_a_client_has_sent_last_changes_nothing_about_what_is_found() {
        let renamed = ["redis-server", "--rename-command", "GET", "put", "--rename-command", "CONFIG", "get"];
        for words in [&renamed[..1], &renamed] {
            let Start::Run(config, ..) = Config::from_args(words.iter().map(Into::into)).unwrap() else {
                panic!()
            };
            let table = CommandTable::new(&config.renamed_commands);
            let found = |argv: &[&[u8]], last| {
                let found = table.lookup(argv, last).map(|command| command.full_name());
                found.map_err(|error| error.to_string())
            };
            let names: Vec<&[u8]> = table.by_name.keys().map(|name| &**name).chain([&b""[..]]).collect();
            for argv in names.iter().flat_map(|name| [vec![*name], vec![name, b"get"], vec![name, b"count"]])
            {
                let expected = found(&argv, None);
                for last in table.flat() {
                    assert_eq!(found(&argv, Some(last)), expected, "{argv:?} behind {}", last.full_name());
                }
            }
        }
    }
}
