//! What a peer can get wrong, in Redis's own words.

use thiserror::Error;

/// Bytes that are not the protocol: where they stand and what is wrong with them.
///
/// `Display` is the text that Redis sends after `-ERR ` before it closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct ProtocolError {
    /// Bytes from the start of the request (or reply) to the offending one.
    pub offset_bytes: usize,
    /// What is wrong there.
    pub kind: ProtocolErrorKind,
}

/// The kinds of [`ProtocolError`]. Source: redis 7.2 `src/networking.c` `processInlineBuffer`, `processMultibulkBuffer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolErrorKind {
    /// No line end within the first 64 KiB of an inline request.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// An inline request whose quotes do not close, or are not followed by a space.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// No line end within 64 KiB of a `*`.
    #[error("Protocol error: too big mbulk count string")]
    CountLineTooLong,
    /// `*` followed by something that is not a count, or by too large a one.
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// More than ten arguments before AUTH.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// No line end within 64 KiB of a `$`.
    #[error("Protocol error: too big bulk count string")]
    BulkLineTooLong,
    /// Another byte where `$` must stand.
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// `$` followed by something that is not a length, or by too large a one.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument of more than 16 KiB before AUTH.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// Something else where CR LF must stand. In a request only [`check_crlf`](crate::Limits::check_crlf) asks for it:
    /// Redis takes those bytes on trust. The words are Valkey 9's.
    #[error("Protocol error: invalid CRLF in request")]
    ExpectedCrlf,
    /// A reply that starts with no known type byte, or whose value does not parse.
    #[error("Protocol error: invalid reply")]
    InvalidReply,
    /// A reply nested deeper than [`crate::reply::MAX_DEPTH`].
    #[error("Protocol error: reply nested too deeply")]
    TooDeep,
}

/// An error text must stay one line, whatever the client sent.
fn printable(byte: u8) -> char {
    if byte.is_ascii_control() { ' ' } else { char::from(byte) }
}
