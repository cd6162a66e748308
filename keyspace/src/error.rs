//! Why a command was refused, in Redis's own words.

use std::borrow::Cow;

use thiserror::Error;

/// An error reply: `Display` is its text, code included.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// An argument (or a stored string) is not a signed 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// An argument (or a stored string) is not a float.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// Options that do not fit together, or are unknown.
    #[error("ERR syntax error")]
    Syntax,
    /// The command needs a key that is there.
    #[error("ERR no such key")]
    NoSuchKey,
    /// An index beyond a list's ends.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// A time to live that is not positive, or overflows.
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    /// The number of arguments does not fit the command.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    /// Any other refusal; the text has its code.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

impl CommandError {
    /// A refusal with a text of its own; give the code too (`ERR ...`).
    pub fn other(text: impl Into<Cow<'static, str>>) -> Self {
        CommandError::Other(text.into())
    }
}
