//! Replies, written piece by piece as a command produces them.
//!
//! A RESP3 type that RESP2 lacks is written as Redis writes it there: a map as a flat array, a double as a bulk string,
//! a boolean as an integer.

use bytes::{BufMut, BytesMut};

use crate::error::{ProtocolError, ProtocolErrorKind};
use crate::number;

/// The protocol that a client speaks; `HELLO` chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// What a connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Appends replies to a buffer.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut BytesMut,
    version: Version,
}

impl<'a> Encoder<'a> {
    /// Appends to `out` in the given protocol.
    #[inline]
    pub fn new(out: &'a mut BytesMut, version: Version) -> Self {
        Encoder { out, version }
    }

    /// The protocol in which this encoder writes.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Bytes in the buffer: with [`truncate`](Self::truncate), a way to take a half-written reply back.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.out.len()
    }

    /// Takes back all after the first `len_bytes` bytes.
    pub fn truncate(&mut self, len_bytes: usize) {
        self.out.truncate(len_bytes);
    }

    /// Appends bytes that are replies already, written for the same protocol.
    pub fn raw(&mut self, replies: &[u8]) {
        self.out.put_slice(replies);
    }

    /// `+text`. CR and LF would break the stream, so they become blanks.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.put_slice(b"+OK\r\n");
    }

    /// `-text`; the text begins with its code (`ERR`, `WRONGTYPE`, ...). CR and LF become blanks.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.as_bytes());
    }

    /// `-ERR Protocol error: ...`, what a client is told before its connection is closed. As in Redis an unexpected
    /// byte is quoted as it is, be it text or not; only CR and LF become blanks.
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        match error.kind {
            ProtocolErrorKind::ExpectedBulk(byte) => {
                self.line(b'-', &[b"ERR Protocol error: expected '$', got '", &[byte][..], b"'"].concat());
            }
            kind => self.error(&format!("ERR {kind}")),
        }
    }

    /// `:value`.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match value {
            0 => self.out.put_slice(b":0\r\n"),
            1 => self.out.put_slice(b":1\r\n"),
            _ => self.header(b':', value),
        }
    }

    /// A count as an integer.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.integer(value as i64);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.blob(b'$', bytes);
    }

    /// A bulk string of `len` bytes, which stand in pieces.
    pub fn bulk_pieces<'b>(&mut self, len: usize, pieces: impl Iterator<Item = &'b [u8]>) {
        self.out.reserve(len + 32);
        self.header(b'$', len as i64);
        let mut left = len;
        for piece in pieces {
            left -= piece.len();
            self.out.put_slice(piece);
        }
        assert_eq!(left, 0, "the length was sent already");
        self.out.put_slice(b"\r\n");
    }

    /// An integer as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(number::format_i64(value).as_bytes());
    }

    /// The null: `$-1`, or `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        self.out.put_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// The null that stands for an array: `*-1`, or `_` in RESP3.
    pub fn null_array(&mut self) {
        self.out.put_slice(match self.version {
            Version::Resp2 => b"*-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array; `len` replies must follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// The head of a map; `len` pairs must follow.
    pub fn map(&mut self, len: usize) {
        match self.version {
            Version::Resp2 => self.header(b'*', 2 * len as i64),
            Version::Resp3 => self.header(b'%', len as i64),
        }
    }

    /// The head of a set; `len` replies must follow.
    pub fn set(&mut self, len: usize) {
        self.aggregate(b'~', len);
    }

    /// The head of an out-of-band message; `len` replies must follow.
    pub fn push(&mut self, len: usize) {
        self.aggregate(b'>', len);
    }

    /// A double: a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        self.double_text(number::format_f64(value).as_bytes());
    }

    /// A double that is printed already, with more digits than it needs, say.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.version {
            Version::Resp2 => self.bulk(text),
            Version::Resp3 => self.line(b',', text),
        }
    }

    /// A boolean: an integer in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match self.version {
            Version::Resp2 => self.integer(i64::from(value)),
            Version::Resp3 => self.out.put_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// An integer of any size, in decimal: a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        self.big_number_bytes(digits.as_bytes());
    }

    pub(crate) fn big_number_bytes(&mut self, digits: &[u8]) {
        match self.version {
            Version::Resp2 => self.bulk(digits),
            Version::Resp3 => self.line(b'(', digits),
        }
    }

    /// An error that may hold line ends: an error line, with blanks for them, in RESP2.
    pub fn bulk_error(&mut self, text: &[u8]) {
        match self.version {
            Version::Resp2 => self.line(b'-', text),
            Version::Resp3 => self.blob(b'!', text),
        }
    }

    /// Text with a three-letter format (`txt`, `mkd`): a bulk string in RESP2.
    ///
    /// # Panics
    /// In debug builds, when `format` has not three bytes.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        debug_assert_eq!(format.len(), 3, "a verbatim string's format has three letters");
        self.verbatim_bytes(format.as_bytes(), text);
    }

    pub(crate) fn verbatim_bytes(&mut self, format: &[u8], text: &[u8]) {
        match self.version {
            Version::Resp2 => self.bulk(text),
            Version::Resp3 => {
                self.header(b'=', (format.len() + 1 + text.len()) as i64);
                self.out.put_slice(format);
                self.out.put_u8(b':');
                self.out.put_slice(text);
                self.out.put_slice(b"\r\n");
            }
        }
    }

    /// An array whose length is known only after its replies are written: `write` returns it.
    pub fn counted_array(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        self.counted(write, Self::array);
    }

    /// A map whose length is known only after its pairs are written: `write` returns it.
    pub fn counted_map(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        self.counted(write, Self::map);
    }

    fn counted(&mut self, write: impl FnOnce(&mut Self) -> usize, write_head: impl FnOnce(&mut Self, usize)) {
        let start = self.out.len();
        let len = write(self);
        let head = self.out.len();
        write_head(self, len);
        let head_bytes = self.out.len() - head;
        self.out[start..].rotate_right(head_bytes);
    }

    fn aggregate(&mut self, resp3: u8, len: usize) {
        let kind = if self.version == Version::Resp2 { b'*' } else { resp3 };
        self.header(kind, len as i64);
    }

    #[inline]
    fn blob(&mut self, kind: u8, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        self.header(kind, bytes.len() as i64);
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    #[inline]
    pub(crate) fn header(&mut self, kind: u8, value: i64) {
        put_header(self.out, kind, value);
    }

    /// One line, kept one: CR and LF become blanks.
    pub(crate) fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.put_u8(kind);
        let start = self.out.len();
        self.out.put_slice(text);
        for byte in &mut self.out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.put_slice(b"\r\n");
    }
}

/// A number on a line of its own, behind its kind.
#[inline]
pub(crate) fn put_header(out: &mut BytesMut, kind: u8, value: i64) {
    let digit = |digit: i64| b'0' + digit as u8;
    match value {
        // Most lengths are short: one write of so many bytes, without a loop over digits.
        0..=9 => out.put_slice(&[kind, digit(value), b'\r', b'\n']),
        10..=99 => out.put_slice(&[kind, digit(value / 10), digit(value % 10), b'\r', b'\n']),
        _ => {
            out.put_u8(kind);
            out.put_slice(itoa::Buffer::new().format(value).as_bytes());
            out.put_slice(b"\r\n");
        }
    }
}
