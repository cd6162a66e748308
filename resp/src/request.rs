//! Requests: what a client sends, and the records of an append-only file.
//!
//! ```text
//! multibulk   *<count>\r\n  then count times  $<length>\r\n<length bytes>\r\n
//! inline      SET key "a value"\n             words, quoted as in redis.conf; \r before \n is dropped
//! ```
//!
//! [`Parser::parse`] keeps its place between calls, so a request that arrives in a thousand pieces is scanned once. It
//! records spans, not copies; [`Parser::argv`] lays them over the caller's buffer.

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::encoder::put_header;
use crate::error::{ProtocolError, ProtocolErrorKind as Kind};
use crate::number;

/// The arguments of one request, borrowed from the buffer they arrived in. Eight need no allocation.
pub type Argv<'a> = SmallVec<[&'a [u8]; 8]>;

/// The most arguments that a request may announce.
pub const MAX_ARGS: i64 = i32::MAX as i64;
/// The longest inline request, and the longest line that holds a count or a length, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Before AUTH: the most arguments, and the longest of them in bytes.
pub const UNAUTHENTICATED_ARGS: i64 = 10;
/// See [`UNAUTHENTICATED_ARGS`].
pub const UNAUTHENTICATED_BULK_BYTES: i64 = 16 * 1024;

/// What a parser accepts at the moment; it may change from one request to the next.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub max_bulk_bytes: i64,
    /// False until a client that must has authenticated: then counts and lengths are held small.
    pub authenticated: bool,
    /// Refuse a length line or an argument that does not end in CR LF, as a log's reader must and Redis's socket reader
    /// does not.
    pub check_crlf: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_bulk_bytes: 512 * 1024 * 1024, authenticated: true, check_crlf: false }
    }
}

/// A range of the buffer, relative to the request's first byte.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

/// An incremental parser of requests.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// Bytes of the current request that are parsed already.
    cursor: usize,
    /// Bytes after `cursor` that are known to hold no line end.
    scanned: usize,
    /// One per argument that has arrived, never per argument announced.
    spans: Vec<Span>,
    /// The unquoted words of an inline request, which cannot be borrowed.
    words: Vec<u8>,
    words_are_inline: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// This many arguments are still to come.
    BulkHeader {
        left: i64,
    },
    BulkBody {
        left: i64,
        len: usize,
    },
}

/// Room for so many arguments outlives a request; more is given back when the next one starts.
const RETAINED_ARGS: usize = 1024;

impl Parser {
    /// Parses on in `buf`, which must begin with the current request's first byte, and returns the request's length in
    /// bytes once it is whole; `None` asks for more.
    ///
    /// A request without arguments (an empty line, `*0`) is whole too; its [`argv`](Self::argv) is empty.
    ///
    /// # Errors
    /// Any request kind of [`ProtocolErrorKind`](crate::ProtocolErrorKind). The stream has lost its rhythm then: reply, and close the connection.
    #[inline]
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if self.state == State::Start {
            self.start();
            match buf.first() {
                None => return Ok(None),
                Some(b'*') if !self.count(buf, limits)? => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.inline(buf),
            }
        }
        if !self.arguments(buf, limits)? {
            return Ok(None);
        }
        self.state = State::Start;
        Ok(Some(std::mem::take(&mut self.cursor)))
    }

    /// The arguments of the request that [`parse`](Self::parse) has just completed; `buf` as it was then.
    ///
    /// # Panics
    /// When `buf` is shorter than it was then.
    #[inline]
    pub fn argv<'a>(&'a self, buf: &'a [u8]) -> Argv<'a> {
        let source = if self.words_are_inline { &self.words[..] } else { buf };
        self.spans.iter().map(|span| &source[span.start..span.start + span.len]).collect()
    }

    /// How many bytes the current argument still needs after those in `buf`: what a reader may reserve for, as the
    /// bytes come. Zero when that is not known.
    pub fn missing_bytes(&self, buf: &[u8]) -> usize {
        match self.state {
            State::BulkBody { len, .. } => len.saturating_add(2).saturating_sub(rest(buf, self.cursor).len()),
            State::Start | State::BulkHeader { .. } => 0,
        }
    }

    /// True between requests: nothing of the next one has been parsed.
    pub fn is_idle(&self) -> bool {
        self.state == State::Start && self.cursor == 0
    }

    /// Gives back what an unusually long request left behind, where the next one may be long in coming. The arguments
    /// of a completed request are gone after it; a request that is still arriving is not disturbed.
    pub fn shrink(&mut self) {
        if self.is_idle() {
            self.spans = Vec::new();
            self.words = Vec::new();
        }
    }

    #[inline]
    fn start(&mut self) {
        self.spans.clear();
        self.words_are_inline = false;
        if self.spans.capacity() > RETAINED_ARGS || self.words.capacity() > MAX_LINE_BYTES {
            self.shrink();
        }
    }

    /// Reads `*<count>`; false asks for more bytes, here and below.
    #[inline]
    fn count(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        // One digit announces less than any limit.
        if let [b'*', digit @ b'1'..=b'9', b'\r', b'\n', ..] = buf {
            self.advance(4);
            self.state = State::BulkHeader { left: i64::from(digit - b'0') };
            return Ok(true);
        }
        let Some(line) = self.line(buf, limits, Kind::CountLineTooLong)? else { return Ok(false) };
        let count = number::parse_i64(&buf[1..line.end]).filter(|&count| count <= MAX_ARGS);
        let count = count.ok_or_else(|| error(1, Kind::InvalidCount))?;
        if count > UNAUTHENTICATED_ARGS && !limits.authenticated {
            return Err(error(1, Kind::UnauthenticatedCount));
        }
        self.advance(line.next);
        self.state = State::BulkHeader { left: count.max(0) };
        Ok(true)
    }

    fn arguments(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        loop {
            match self.state {
                State::Start => return Ok(true),
                State::BulkHeader { left } => match self.short_arguments(buf, left, limits) {
                    0 => return Ok(true),
                    left => match self.bulk_header(buf, limits)? {
                        None => return Ok(false),
                        Some(len) => self.state = State::BulkBody { left, len },
                    },
                },
                State::BulkBody { left, len } => {
                    if !self.bulk_body(buf, len, limits)? {
                        return Ok(false);
                    }
                    self.state = State::BulkHeader { left: left - 1 };
                }
            }
        }
    }

    /// Takes arguments as long as they are short, whole and well-formed, which nearly all are; returns how many are
    /// left. Whatever else stands at the cursor is for the slow path to judge.
    #[inline]
    fn short_arguments(&mut self, buf: &[u8], announced: i64, limits: &Limits) -> i64 {
        let mut left = announced;
        if limits.max_bulk_bytes < SHORT_BULK_BYTES {
            return left;
        }
        let mut cursor = self.cursor;
        while left > 0 {
            let Some((head, len)) = short_header(rest(buf, cursor)) else { break };
            let start = cursor + head;
            if buf.get(start + len..start + len + 2) != Some(b"\r\n") {
                break;
            }
            self.spans.push(Span { start, len });
            cursor = start + len + 2;
            left -= 1;
        }
        if left < announced {
            self.advance(cursor);
            self.state = State::BulkHeader { left };
        }
        left
    }

    /// Reads `$<length>` and returns the length.
    fn bulk_header(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        // As Redis: a missing line end is complained of before a wrong first byte.
        let Some(line) = self.line(buf, limits, Kind::BulkLineTooLong)? else { return Ok(None) };
        let start = self.cursor;
        if buf[start] != b'$' {
            return Err(error(start, Kind::ExpectedBulk(buf[start])));
        }
        let len = number::parse_i64(&buf[start + 1..line.end]);
        let len = len.filter(|&len| (0..=limits.max_bulk_bytes).contains(&len));
        let len = len.ok_or_else(|| error(start + 1, Kind::InvalidBulkLength))?;
        if len > UNAUTHENTICATED_BULK_BYTES && !limits.authenticated {
            return Err(error(start + 1, Kind::UnauthenticatedBulkLength));
        }
        let len = usize::try_from(len).map_err(|_| error(start + 1, Kind::InvalidBulkLength))?;
        self.advance(line.next);
        Ok(Some(len))
    }

    fn bulk_body(&mut self, buf: &[u8], len: usize, limits: &Limits) -> Result<bool, ProtocolError> {
        if rest(buf, self.cursor).len() < len.saturating_add(2) {
            return Ok(false);
        }
        let end = self.cursor + len;
        if limits.check_crlf && &buf[end..end + 2] != b"\r\n" {
            return Err(error(end, Kind::ExpectedCrlf));
        }
        self.spans.push(Span { start: self.cursor, len });
        self.advance(end + 2);
        Ok(true)
    }

    fn inline(&mut self, buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
        // As Redis, whose C string ends there: a NUL hides the line end, until the line is too long.
        let end = match memchr::memchr2(b'\n', 0, rest(buf, self.scanned)).map(|at| self.scanned + at) {
            Some(end) if buf[end] == b'\n' => end,
            stop => {
                self.scanned = stop.unwrap_or(buf.len());
                return if buf.len() > MAX_LINE_BYTES {
                    Err(error(0, Kind::InlineTooLong))
                } else {
                    Ok(None)
                };
            }
        };
        self.scanned = 0;
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        self.words.clear();
        self.words_are_inline = true;
        let Parser { spans, words, .. } = self;
        split_words(line, words, |start, len| spans.push(Span { start, len }))?;
        Ok(Some(end + 1))
    }

    /// The line at the cursor, without its end. Redis looks for CR and takes the byte after it on trust.
    fn line(&mut self, buf: &[u8], limits: &Limits, too_long: Kind) -> Result<Option<Line>, ProtocolError> {
        let start = self.cursor;
        // A longer one is refused in whatever pieces it comes, and behind it there may be much.
        let window = rest(buf, start);
        let window = &window[..window.len().min(MAX_LINE_BYTES + 1)];
        match memchr::memchr(b'\r', rest(window, self.scanned)).map(|at| start + self.scanned + at) {
            Some(end) if end + 2 <= buf.len() => {
                if limits.check_crlf && buf[end + 1] != b'\n' {
                    return Err(error(end, Kind::ExpectedCrlf));
                }
                Ok(Some(Line { end, next: end + 2 }))
            }
            Some(end) => {
                self.scanned = end - start;
                Ok(None)
            }
            None => {
                self.scanned = window.len();
                if self.scanned > MAX_LINE_BYTES { Err(error(start, too_long)) } else { Ok(None) }
            }
        }
    }

    #[inline]
    fn advance(&mut self, to: usize) {
        self.cursor = to;
        self.scanned = 0;
    }
}

struct Line {
    end: usize,
    next: usize,
}

/// What [`short_header`] knows is below this.
const SHORT_BULK_BYTES: i64 = 1000;

/// The bytes of `$<length>\r\n`, and the length, if it has one to three digits.
#[inline]
fn short_header(rest: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: &u8| usize::from(byte - b'0');
    match rest {
        [b'$', a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((4, digit(a))),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => Some((5, 10 * digit(a) + digit(b))),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((6, 100 * digit(a) + 10 * digit(b) + digit(c)))
        }
        _ => None,
    }
}

/// What follows the first `from` bytes; nothing, should a caller have come back with less than before.
#[inline]
fn rest(buf: &[u8], from: usize) -> &[u8] {
    buf.get(from..).unwrap_or_default()
}

fn error(offset_bytes: usize, kind: Kind) -> ProtocolError {
    ProtocolError { offset_bytes, kind }
}

/// Splits a line into words as redis.conf and inline requests do: blanks separate, `"..."` takes `\n \r \t \b \a \xHH
/// \\ \"`, `'...'` takes `\'`, and a closing quote must end its word. Appends the words to `words` and reports each
/// one's start and length there.
///
/// # Errors
/// [`ProtocolErrorKind::UnbalancedQuotes`](crate::ProtocolErrorKind::UnbalancedQuotes). Source: redis 7.2 `src/sds.c` `sdssplitargs`.
pub fn split_words(
    line: &[u8],
    words: &mut Vec<u8>,
    mut word: impl FnMut(usize, usize),
) -> Result<(), ProtocolError> {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        // A NUL ends the line, as it does for Redis's C strings.
        if matches!(line.get(at), None | Some(0)) {
            return Ok(());
        }
        let start = words.len();
        while let Some(&byte) = line.get(at).filter(|&&byte| byte != 0 && !is_space(byte)) {
            at += 1;
            match byte {
                b'"' | b'\'' => at = unquote(line, at, byte, words)?,
                _ => words.push(byte),
            }
        }
        word(start, words.len() - start);
    }
}

/// Copies a quoted part that begins at `at` into `words`; returns the place after its closing quote.
fn unquote(line: &[u8], mut at: usize, quote: u8, words: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    let unbalanced = |at| error(at, Kind::UnbalancedQuotes);
    loop {
        let byte = *line.get(at).filter(|&&byte| byte != 0).ok_or_else(|| unbalanced(at))?;
        at += 1;
        match (byte, quote) {
            (b'\\', b'"') => {
                if let Some(value) = hex_escape(&line[at..]) {
                    words.push(value);
                    at += 3;
                } else {
                    let escaped = *line.get(at).filter(|&&byte| byte != 0).ok_or_else(|| unbalanced(at))?;
                    at += 1;
                    words.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 0x08,
                        b'a' => 0x07,
                        other => other,
                    });
                }
            }
            (b'\\', _) if line.get(at) == Some(&b'\'') => {
                words.push(b'\'');
                at += 1;
            }
            _ if byte == quote => {
                return match line.get(at) {
                    Some(&next) if !is_space(next) && next != 0 => Err(unbalanced(at)),
                    _ => Ok(at),
                };
            }
            _ => words.push(byte),
        }
    }
}

/// The byte that `xHH` stands for.
fn hex_escape(rest: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match rest {
        [b'x', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// C's `isspace`, which knows one blank more than [`u8::is_ascii_whitespace`].
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Appends `argv` as a multibulk request, the one form that a log holds.
pub fn encode(argv: &[&[u8]], out: &mut BytesMut) {
    let bytes: usize = argv.iter().map(|arg| arg.len() + 16).sum();
    out.reserve(bytes + 16);
    put_header(out, b'*', argv.len() as i64);
    for arg in argv {
        put_header(out, b'$', arg.len() as i64);
        out.put_slice(arg);
        out.put_slice(b"\r\n");
    }
}
