//! Replies: what a server answers, read back as a value.
//!
//! ```text
//! RESP2  +simple  -ERR error  :1  $3\r\nabc  $-1 (null)  *2 (array)  *-1 (null array)
//! RESP3  the same, and  _ (null)  #t  ,1.5  (123 (big number)  =7\r\ntxt:abc  !5\r\nERR x  %1 (map)  ~1 (set)
//!        >1 (push)  |1 (attributes, then the reply they belong to)
//! ```
//!
//! A number, a count or a length is at most 64 KiB of line; text lines and bulks are as long as their sender makes them,
//! and whoever reads bounds the buffer. A claimed length or count reserves nothing. Streamed aggregates (`*?`, `$?`) are refused: no
//! Redis sends them.

use crate::encoder::{Encoder, Version};
use crate::error::{ProtocolError, ProtocolErrorKind as Kind};
use crate::number;
use crate::request::MAX_LINE_BYTES;

/// How deep replies may nest: so many aggregates around a value.
pub const MAX_DEPTH: usize = 128;

/// One reply of either protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+OK`.
    Simple(Vec<u8>),
    /// `-ERR ...`, its code included.
    Error(Vec<u8>),
    /// `:1`.
    Integer(i64),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// `$-1`, and RESP3's `_`.
    Null,
    /// `*-1`, which only RESP2 tells from [`Reply::Null`].
    NullArray,
    /// `*`.
    Array(Vec<Reply>),
    /// `%`, in the order sent.
    Map(Vec<(Reply, Reply)>),
    /// `~`, in the order sent.
    Set(Vec<Reply>),
    /// `>`: out of band, an answer to nothing.
    Push(Vec<Reply>),
    /// `,`.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `(`: an optional minus and digits.
    BigNumber(Vec<u8>),
    /// `=`.
    Verbatim {
        /// `txt` or `mkd`.
        format: [u8; 3],
        /// What follows the colon.
        text: Vec<u8>,
    },
    /// `!`: an error that may hold line ends.
    BulkError(Vec<u8>),
    /// `|`: a reply with something said about it.
    Attributed {
        /// Names and values.
        attributes: Vec<(Reply, Reply)>,
        /// The reply proper.
        reply: Box<Reply>,
    },
}

impl Reply {
    /// Decodes the reply at the start of `buf` and returns it with its length in bytes, or `None` if it goes on after
    /// `buf`. Where a large reply arrives in pieces, a [`Decoder`] keeps its place between them.
    ///
    /// # Errors
    /// [`InvalidReply`](crate::ProtocolErrorKind::InvalidReply), [`TooDeep`](crate::ProtocolErrorKind::TooDeep),
    /// [`ExpectedCrlf`](crate::ProtocolErrorKind::ExpectedCrlf).
    ///
    /// ```
    /// use resp::Reply;
    ///
    /// let received = b"*2\r\n:7\r\n$2\r\nhi\r\n+OK";
    /// let (reply, len_bytes) = Reply::decode(received).unwrap().expect("the first reply is whole");
    /// assert_eq!(reply, Reply::Array(vec![Reply::Integer(7), Reply::Bulk(b"hi".to_vec())]));
    /// assert_eq!(Reply::decode(&received[len_bytes..]).unwrap(), None);
    /// ```
    pub fn decode(buf: &[u8]) -> Result<Option<(Reply, usize)>, ProtocolError> {
        Decoder::default().decode(buf)
    }

    /// Writes the reply in the encoder's protocol. Where RESP2 lacks a type it gets what Redis sends instead, and
    /// attributes are left out.
    pub fn encode(&self, out: &mut Encoder<'_>) {
        match self {
            Reply::Simple(text) => out.line(b'+', text),
            Reply::Error(text) => out.line(b'-', text),
            Reply::Integer(value) => out.integer(*value),
            Reply::Bulk(bytes) => out.bulk(bytes),
            Reply::Null => out.null(),
            Reply::NullArray => out.null_array(),
            Reply::Array(replies) => {
                out.array(replies.len());
                encode_all(replies, out);
            }
            Reply::Map(pairs) => {
                out.map(pairs.len());
                encode_pairs(pairs, out);
            }
            Reply::Set(replies) => {
                out.set(replies.len());
                encode_all(replies, out);
            }
            Reply::Push(replies) => {
                out.push(replies.len());
                encode_all(replies, out);
            }
            Reply::Double(value) => out.double(*value),
            Reply::Boolean(value) => out.boolean(*value),
            Reply::BigNumber(digits) => out.big_number_bytes(digits),
            Reply::Verbatim { format, text } => out.verbatim_bytes(format, text),
            Reply::BulkError(text) => out.bulk_error(text),
            Reply::Attributed { attributes, reply } => {
                if out.version() == Version::Resp3 {
                    out.header(b'|', attributes.len() as i64);
                    encode_pairs(attributes, out);
                }
                reply.encode(out);
            }
        }
    }
}

fn encode_all(replies: &[Reply], out: &mut Encoder<'_>) {
    for reply in replies {
        reply.encode(out);
    }
}

fn encode_pairs(pairs: &[(Reply, Reply)], out: &mut Encoder<'_>) {
    for (key, value) in pairs {
        key.encode(out);
        value.encode(out);
    }
}

/// An incremental decoder of replies: a reply that arrives in a thousand pieces is read once.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the current reply that are decoded already.
    cursor: usize,
    /// Bytes after `cursor` that are known to hold no line end.
    scanned: usize,
    /// The aggregates around the cursor, outermost first. A stack of ours rather than the thread's: a peer chooses its depth.
    open: Vec<Aggregate>,
}

/// An aggregate whose members are still coming.
#[derive(Debug)]
struct Aggregate {
    kind: AggregateKind,
    members: Vec<Reply>,
    /// Members still to come.
    left: u64,
}

#[derive(Debug, Clone, Copy)]
enum AggregateKind {
    Array,
    Map,
    Set,
    Push,
    /// The attributes' names and values, then the reply.
    Attributed,
}

/// What stands at the cursor.
enum Item {
    Whole(Reply),
    Open(Aggregate),
}

impl Decoder {
    /// Decodes on in `buf`, which must begin with the current reply's first byte, and returns the reply with its
    /// length in bytes once it is whole; `None` asks for more.
    ///
    /// # Errors
    /// As [`Reply::decode`]. The stream has lost its rhythm then, and so has this decoder.
    pub fn decode(&mut self, buf: &[u8]) -> Result<Option<(Reply, usize)>, ProtocolError> {
        while let Some(item) = self.item(buf)? {
            match item {
                Item::Whole(reply) => {
                    if let Some(reply) = self.close(reply) {
                        return Ok(Some((reply, std::mem::take(&mut self.cursor))));
                    }
                }
                Item::Open(_) if self.open.len() == MAX_DEPTH => {
                    return Err(error(self.cursor, Kind::TooDeep));
                }
                Item::Open(aggregate) => self.open.push(aggregate),
            }
        }
        Ok(None)
    }

    /// True between replies: nothing of the next one has been decoded.
    pub fn is_idle(&self) -> bool {
        self.cursor == 0
    }

    /// Puts a whole reply into the aggregate around it, and that one into the next if it is whole now; returns what
    /// stands alone.
    fn close(&mut self, mut reply: Reply) -> Option<Reply> {
        while let Some(around) = self.open.last_mut() {
            around.members.push(reply);
            around.left -= 1;
            if around.left > 0 {
                return None;
            }
            reply = self.open.pop()?.into_reply()?;
        }
        Some(reply)
    }

    fn item(&mut self, buf: &[u8]) -> Result<Option<Item>, ProtocolError> {
        let start = self.cursor;
        let Some((line, next)) = self.line(buf)? else { return Ok(None) };
        let Some((&kind, text)) = line.split_first() else { return Err(error(start, Kind::InvalidReply)) };
        let invalid = || error(start, Kind::InvalidReply);
        let whole = |reply| Ok(Some((Item::Whole(reply), next)));
        let item = match kind {
            b'+' => whole(Reply::Simple(text.to_vec())),
            b'-' => whole(Reply::Error(text.to_vec())),
            b':' => whole(Reply::Integer(number::parse_i64(text).ok_or_else(invalid)?)),
            b'_' if text.is_empty() => whole(Reply::Null),
            b'#' if text == b"t" => whole(Reply::Boolean(true)),
            b'#' if text == b"f" => whole(Reply::Boolean(false)),
            b',' => whole(Reply::Double(double(text).ok_or_else(invalid)?)),
            b'(' => whole(Reply::BigNumber(big_number(text).ok_or_else(invalid)?)),
            b'$' | b'=' | b'!' if text == b"-1" => whole(Reply::Null),
            b'*' | b'%' | b'~' if text == b"-1" => whole(Reply::NullArray),
            b'$' | b'=' | b'!' => bulk(buf, start, kind, text, next),
            b'*' | b'%' | b'~' | b'>' | b'|' => Ok(Some((aggregate(kind, text).ok_or_else(invalid)?, next))),
            _ => Err(invalid()),
        }?;
        Ok(item.map(|(item, next)| {
            self.cursor = next;
            self.scanned = 0;
            item
        }))
    }

    /// The line at the cursor without its end, and the place after that. The first byte settles how long it may be.
    fn line<'b>(&mut self, buf: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, ProtocolError> {
        let Some(rest) = buf.get(self.cursor..) else { return Ok(None) };
        let Some(&kind) = rest.first() else { return Ok(None) };
        if !b"+-:_#,($=!*%~>|".contains(&kind) {
            return Err(error(self.cursor, Kind::InvalidReply));
        }
        let unscanned = rest.get(self.scanned..).unwrap_or_default();
        match memchr::memchr2(b'\r', b'\n', unscanned).map(|at| self.scanned + at) {
            None => {
                self.scanned = rest.len();
                let endless = rest.len() > MAX_LINE_BYTES && !matches!(kind, b'+' | b'-' | b'(');
                if endless { Err(error(self.cursor, Kind::InvalidReply)) } else { Ok(None) }
            }
            Some(end) => {
                self.scanned = end;
                match &rest[end..] {
                    [b'\r', b'\n', ..] => Ok(Some((&rest[..end], self.cursor + end + 2))),
                    [b'\r'] => Ok(None),
                    _ => Err(error(self.cursor + end, Kind::ExpectedCrlf)),
                }
            }
        }
    }
}

impl Aggregate {
    fn into_reply(self) -> Option<Reply> {
        Some(match self.kind {
            AggregateKind::Array => Reply::Array(self.members),
            AggregateKind::Set => Reply::Set(self.members),
            AggregateKind::Push => Reply::Push(self.members),
            AggregateKind::Map => Reply::Map(pairs(self.members)),
            AggregateKind::Attributed => {
                let mut members = self.members;
                let reply = Box::new(members.pop()?);
                Reply::Attributed { attributes: pairs(members), reply }
            }
        })
    }
}

fn pairs(members: Vec<Reply>) -> Vec<(Reply, Reply)> {
    let mut pairs = Vec::with_capacity(members.len() / 2);
    let mut members = members.into_iter();
    while let (Some(key), Some(value)) = (members.next(), members.next()) {
        pairs.push((key, value));
    }
    pairs
}

/// A bulk of any kind, whose length line is `text` and whose bytes begin at `body`.
fn bulk(
    buf: &[u8],
    start: usize,
    kind: u8,
    text: &[u8],
    body: usize,
) -> Result<Option<(Item, usize)>, ProtocolError> {
    let invalid = || error(start, Kind::InvalidReply);
    let len = number::parse_i64(text).and_then(|len| usize::try_from(len).ok()).ok_or_else(invalid)?;
    let rest = &buf[body..];
    if rest.len() < len.saturating_add(2) {
        return Ok(None);
    }
    if &rest[len..len + 2] != b"\r\n" {
        return Err(error(body + len, Kind::ExpectedCrlf));
    }
    let bytes = &rest[..len];
    let reply = match (kind, bytes) {
        (b'$', _) => Reply::Bulk(bytes.to_vec()),
        (b'!', _) => Reply::BulkError(bytes.to_vec()),
        (_, [a, b, c, b':', text @ ..]) => Reply::Verbatim { format: [*a, *b, *c], text: text.to_vec() },
        _ => return Err(invalid()),
    };
    Ok(Some((Item::Whole(reply), body + len + 2)))
}

/// The most members that a count makes room for before they have come: enough for most replies, little for a lie.
const RESERVED_MEMBERS: u64 = 32;

fn aggregate(kind: u8, text: &[u8]) -> Option<Item> {
    let count = u64::try_from(number::parse_i64(text)?).ok()?;
    let (kind, left) = match kind {
        b'*' => (AggregateKind::Array, count),
        b'~' => (AggregateKind::Set, count),
        b'>' => (AggregateKind::Push, count),
        b'%' => (AggregateKind::Map, count * 2),
        _ => (AggregateKind::Attributed, count * 2 + 1),
    };
    let members = Vec::with_capacity(left.min(RESERVED_MEMBERS) as usize);
    let aggregate = Aggregate { kind, members, left };
    if left > 0 { Some(Item::Open(aggregate)) } else { aggregate.into_reply().map(Item::Whole) }
}

fn double(text: &[u8]) -> Option<f64> {
    match text {
        b"nan" | b"-nan" => Some(f64::NAN),
        _ => number::parse_f64(text),
    }
}

fn big_number(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then(|| text.to_vec())
}

fn error(offset_bytes: usize, kind: Kind) -> ProtocolError {
    ProtocolError { offset_bytes, kind }
}
