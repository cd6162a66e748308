//! THE COMMAND TABLE, for what needs only the data. Each group's file opens with its rows; handlers follow in their
//! order. What needs the process (SELECT, CONFIG, MULTI, ...) has rows of the same [`Spec`] in the server.
//!
//! | column | means |
//! |---|---|
//! | name | as clients type it, in lower case |
//! | handler | what executes it |
//! | arity | number of words, the command's name included; negative: at least as many |
//! | flags | what kind of command it is: [`flags`] |
//! | keys | where its keys stand, and what becomes of them: [`keys`] |
//! | since | the Redis version that brought it |
//! | summary | one line for COMMAND DOCS |

pub mod bitmap;
pub mod dump;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod keys;
pub mod list;
pub(crate) mod scan;
pub mod set;
pub mod sort;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub(crate) mod timeout;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use resp::{Encoder, number};
use smallvec::SmallVec;

pub use self::keys::Keys;
use crate::{CommandError, Ctx};

/// What a handler returns: it has replied, or refuses and has changed nothing.
pub type Done = Result<(), CommandError>;

/// Executes a data command: reads or changes the data through the context and writes one reply.
pub type Handler = fn(&mut Ctx<'_>, &[&[u8]], &mut Encoder<'_>) -> Done;

/// A data command's row.
pub type DataSpec = Spec<Handler>;

/// A row of the command table.
#[derive(Debug)]
pub struct Spec<H: 'static> {
    /// The name, in lower case.
    pub name: &'static str,
    /// What executes it.
    pub handler: H,
    /// Number of words; negative: at least as many.
    pub arity: i32,
    /// Its kind.
    pub flags: u32,
    /// Where its keys stand.
    pub keys: Keys,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// One line for COMMAND DOCS.
    pub summary: &'static str,
    /// The rows of a container command (OBJECT, CONFIG); its own handler answers an unknown one.
    pub subcommands: &'static [Spec<H>],
}

/// Makes a row.
pub const fn spec<H: Copy>(
    name: &'static str,
    handler: H,
    arity: i32,
    flags: u32,
    keys: Keys,
    since: &'static str,
    summary: &'static str,
) -> Spec<H> {
    Spec { name, handler, arity, flags, keys, since, summary, subcommands: &[] }
}

impl<H> Spec<H> {
    /// Whether a request of `words` words fits.
    #[inline]
    pub const fn takes(&self, words: usize) -> bool {
        if self.arity >= 0 {
            words == self.arity as usize
        } else {
            words >= self.arity.unsigned_abs() as usize
        }
    }

    /// Whether all of these flags are set.
    #[inline]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }
}

/// What kinds of commands there are. Source: redis 7.2 `src/server.h`, `CMD_*`.
pub mod flags {
    /// May change the data.
    pub const WRITE: u32 = 1 << 0;
    /// Reads the data.
    pub const READ: u32 = 1 << 1;
    /// Refused when memory is over its limit.
    pub const DENYOOM: u32 = 1 << 2;
    /// O(1) or O(log n).
    pub const FAST: u32 = 1 << 3;
    /// May park its client.
    pub const BLOCKING: u32 = 1 << 4;
    /// For operators.
    pub const ADMIN: u32 = 1 << 5;
    /// Not from scripts.
    pub const NOSCRIPT: u32 = 1 << 6;
    /// Answered while the data is being loaded.
    pub const LOADING: u32 = 1 << 7;
    /// Answered by a replica that has lost its primary.
    pub const STALE: u32 = 1 << 8;
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: u32 = 1 << 9;
    /// Not entered in the slow log.
    pub const SKIP_SLOWLOG: u32 = 1 << 10;
    /// Before AUTH too.
    pub const NO_AUTH: u32 = 1 << 11;
    /// Not inside MULTI.
    pub const NO_MULTI: u32 = 1 << 12;
    /// Visits keys that it does not name; its effects are logged without a transaction.
    pub const TOUCHES_ARBITRARY_KEYS: u32 = 1 << 13;
    /// Publish and subscribe.
    pub const PUBSUB: u32 = 1 << 14;
    /// May be dangerous in production.
    pub const DANGEROUS: u32 = 1 << 15;
    /// About connections.
    pub const CONNECTION: u32 = 1 << 16;
    /// About transactions.
    pub const TRANSACTION: u32 = 1 << 17;
    /// Not while a replica takes its data from its primary beside the old.
    pub const NO_ASYNC_LOADING: u32 = 1 << 18;
    /// Allowed while a busy script is running.
    pub const ALLOW_BUSY: u32 = 1 << 19;
    /// Its subcommands are no commands of their own: to COMMAND and in statistics it is one (DEBUG).
    pub const UNDIVIDED: u32 = 1 << 20;
    /// Reads the data, and may leave something for the log all the same.
    pub const MAY_REPLICATE: u32 = 1 << 21;
    /// In a cluster, reaches a slot that is on its way, as if ASKING preceded it.
    pub const ASKING: u32 = 1 << 22;
}

/// A group's rows, under the name that COMMAND DOCS gives the group.
#[derive(Debug, Clone, Copy)]
pub struct Group<H: 'static> {
    /// `string`, `list`, ...
    pub name: &'static str,
    /// Its rows.
    pub table: &'static [Spec<H>],
}

/// All data commands.
pub const GROUPS: &[Group<Handler>] = &[
    Group { name: "string", table: string::TABLE },
    Group { name: "bitmap", table: bitmap::TABLE },
    Group { name: "list", table: list::TABLE },
    Group { name: "set", table: set::TABLE },
    Group { name: "hash", table: hash::TABLE },
    Group { name: "sorted-set", table: sorted_set::TABLE },
    Group { name: "hyperloglog", table: hyperloglog::TABLE },
    Group { name: "geo", table: geo::TABLE },
    Group { name: "stream", table: stream::TABLE },
    Group { name: "generic", table: generic::TABLE },
    Group { name: "generic", table: dump::TABLE },
    Group { name: "generic", table: sort::TABLE },
    Group { name: "server", table: generic::SERVER_TABLE },
    Group { name: "server", table: dump::SERVER_TABLE },
];

static BY_NAME: LazyLock<HashMap<&'static [u8], &'static DataSpec>> = LazyLock::new(|| {
    GROUPS.iter().flat_map(|group| group.table).map(|spec| (spec.name.as_bytes(), spec)).collect()
});

/// Finds a data command's row (a container's subcommand where there is one) and checks the number of words.
///
/// # Errors
/// Redis's words for an unknown command, or [`CommandError::Arity`].
pub fn lookup(argv: &[&[u8]]) -> Result<&'static DataSpec, CommandError> {
    let name = argv.first().copied().unwrap_or_default();
    let spec = *BY_NAME.get(lower_case(name).as_slice()).ok_or_else(|| unknown_command(argv))?;
    resolve(spec, argv)
}

/// A name or an option in lower case.
fn lower_case(word: &[u8]) -> SmallVec<[u8; 32]> {
    word.iter().map(u8::to_ascii_lowercase).collect()
}

/// Goes from a container to the row of its subcommand, and checks the number of words.
///
/// # Errors
/// [`CommandError::Arity`].
pub fn resolve<'a, H>(spec: &'a Spec<H>, argv: &[&[u8]]) -> Result<&'a Spec<H>, CommandError> {
    let sub = argv
        .get(1)
        .filter(|_| !spec.subcommands.is_empty())
        .and_then(|word| spec.subcommands.iter().find(|sub| word.eq_ignore_ascii_case(sub.name.as_bytes())));
    match sub {
        Some(sub) if !sub.takes(argv.len()) => {
            Err(CommandError::Arity(format!("{}|{}", spec.name, sub.name).into()))
        }
        Some(sub) => Ok(sub),
        None if !spec.takes(argv.len()) => Err(CommandError::Arity(spec.name.into())),
        None => Ok(spec),
    }
}

/// How much of a client's own words an error shows.
const SHOWN_BYTES: usize = 128;

fn shown(word: &[u8], bytes: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(&word[..word.len().min(bytes)])
}

/// Redis's words for a command that is not in the table: the name, and what 128 bytes have room for of the arguments. As
/// in Redis the last one's quotes stand behind the end.
pub fn unknown_command(argv: &[&[u8]]) -> CommandError {
    let (mut args, mut left_bytes) = (String::new(), SHOWN_BYTES);
    for word in argv.iter().skip(1) {
        if left_bytes == 0 {
            break;
        }
        args.push_str(&format!("'{}' ", shown(word, left_bytes)));
        left_bytes = left_bytes.saturating_sub(word.len().saturating_add("'' ".len()));
    }
    let name = shown(argv.first().copied().unwrap_or_default(), SHOWN_BYTES);
    CommandError::other(format!("ERR unknown command '{name}', with args beginning with: {args}"))
}

/// Redis's words for a subcommand that its container does not have.
pub fn unknown_subcommand(argv: &[&[u8]]) -> CommandError {
    let word = |at: usize| shown(argv.get(at).copied().unwrap_or_default(), SHOWN_BYTES);
    CommandError::other(format!(
        "ERR unknown subcommand '{}'. Try {} HELP.",
        word(1),
        word(0).to_ascii_uppercase()
    ))
}

/// Lets `write` write `count` items, or as many as it has.
///
/// # Errors
/// The count is one that no memory would be enough for: nothing is as long as this but what the client has made up.
fn repeat(
    count: usize,
    max_bytes: usize,
    out: &mut Encoder<'_>,
    mut write: impl FnMut(&mut Encoder<'_>) -> Option<()>,
) -> Done {
    let end_bytes = out.len_bytes().saturating_add(max_bytes);
    for _ in 0..count {
        if write(out).is_none() {
            break;
        }
        if out.len_bytes() > end_bytes {
            let text = format!("ERR value is out of range, the reply would be longer than {max_bytes} bytes");
            return Err(CommandError::other(text));
        }
    }
    Ok(())
}

/// Reads an integer argument.
///
/// # Errors
/// [`CommandError::NotAnInteger`].
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(text).ok_or(CommandError::NotAnInteger)
}

/// Reads a count of at least `min`; anything else is refused with `refusal`.
fn count_from(min: i64, text: &[u8], refusal: &'static str) -> Result<usize, CommandError> {
    let count = number::parse_i64(text).filter(|&count| count >= min);
    count.and_then(|count| usize::try_from(count).ok()).ok_or(CommandError::other(refusal))
}

/// Reads an integer whose sign has a meaning: a count of SRANDMEMBER, HRANDFIELD or ZRANDMEMBER, a rank of LPOS.
///
/// # Errors
/// [`CommandError::NotAnInteger`]; Redis's words for the one integer that has no opposite.
fn signed(text: &[u8]) -> Result<i64, CommandError> {
    const MOST: i64 = i64::MAX;
    match integer(text)? {
        i64::MIN => Err(CommandError::other(format!(
            "ERR value is out of range, value must between -{MOST} and {MOST}"
        ))),
        number => Ok(number),
    }
}

/// A container's HELP: its subcommands.
pub fn write_help<H>(container: &str, rows: &[Spec<H>], out: &mut Encoder<'_>) {
    out.array(1 + 2 * rows.len());
    out.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for row in rows {
        let key = if row.keys.is_none() { "" } else { " <key>" };
        out.simple(&format!("{}{key}", row.name.to_ascii_uppercase()));
        out.simple(&format!("    {}", row.summary));
    }
}
