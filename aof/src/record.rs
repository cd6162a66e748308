//! Framing: from units of effects to the bytes of the log.
//!
//! ```text
//! #TS:1700000000\r\n                     a block that is the first of its second, if aof-timestamp-enabled
//! #EV1 ...\r\n                           the line of a block, see `block`
//! *2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n      the database changed, or a file begins
//! *3\r\n$3\r\nSET\r\n...                 a unit of one command
//! *1\r\n$5\r\nMULTI\r\n                  a unit of several: SELECT stands inside
//! *3\r\n$3\r\nSET\r\n... *2\r\n$3\r\nDEL\r\n...
//! *1\r\n$4\r\nEXEC\r\n
//! ```
//!
//! Source: redis 7.2 `src/aof.c` `feedAppendOnlyFile`, `genAofTimestampAnnotationIfNeeded`; `src/server.c`
//! `propagatePendingCommands`.

use bytes::{BufMut, BytesMut};
use resp::number::format_i64;

const SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// One effect of an execution unit.
#[derive(Debug, Clone, Copy)]
pub struct Op<'a> {
    /// The database that it concerns.
    pub db: u32,
    /// The command as a RESP request, which goes to the log as it is.
    pub command: &'a [u8],
}

/// Adds what replay needs between the effects.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// The database that a reader of this file has selected here; none where a file begins.
    selected: Option<u32>,
    /// The second of the last `#TS:` line.
    stamped_unix_s: i64,
    pub(crate) timestamps: bool,
}

impl Framer {
    pub(crate) fn new(timestamps: bool) -> Self {
        Framer { timestamps, ..Framer::default() }
    }

    /// The database selected at the end of what was framed.
    pub(crate) fn selected(&self) -> Option<u32> {
        self.selected
    }

    /// The next unit begins a file.
    pub(crate) fn start_file(&mut self) {
        self.selected = None;
    }

    /// Frames one execution unit: all of it or nothing will be replayed.
    pub(crate) fn unit(&mut self, unit: &[Op<'_>], out: &mut BytesMut) {
        if unit.len() > 1 {
            out.put_slice(MULTI);
        }
        for op in unit {
            self.select(op.db, out);
            out.put_slice(op.command);
        }
        if unit.len() > 1 {
            out.put_slice(EXEC);
        }
    }

    /// Stamps what begins a block: in front of its line, which does not vouch for it, so that a tool that cuts at a stamp
    /// cuts between two blocks. A clock that was set back must not stamp again: readers rely on stamps that grow.
    pub(crate) fn stamp(&mut self, unix_s: i64, out: &mut Vec<u8>) {
        if self.timestamps && unix_s > self.stamped_unix_s {
            self.stamped_unix_s = unix_s;
            out.extend_from_slice(b"#TS:");
            out.extend_from_slice(format_i64(unix_s).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    fn select(&mut self, db: u32, out: &mut BytesMut) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            select(db, out);
        }
    }
}

/// How every server begins that goes on with a file, whoever wrote it until then: what it has selected, nobody knows. A stamp
/// may stand before that.
const OPENINGS: [&[u8]; 2] = [SELECT, MULTI];

/// Each `0` may be any digit.
const STAMP: &[u8] = b"#TS:0000000000\r\n";

/// So many bytes tell how something begins.
pub(crate) const OPENING_BYTES: usize = STAMP.len() + SELECT.len();

/// Any other command differs from SELECT and MULTI in more than so many bytes.
const MAX_WRONG_BYTES: usize = 2;

/// How what stands somewhere compares with an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is one.
    Whole,
    /// It was one before a byte or two of it changed.
    Damaged,
    /// It has nothing to do with one, or ends before it can be told.
    Other,
}

impl Opening {
    /// What `rest` begins with, of which [`OPENING_BYTES`] are enough.
    pub(crate) fn of(rest: &[u8]) -> Opening {
        let is_near = |rest: &[u8]| OPENINGS.iter().any(|opening| is_almost(rest, opening));
        if OPENINGS.iter().any(|opening| rest.starts_with(opening)) {
            Opening::Whole
        } else if is_near(rest) || is_almost(rest, STAMP) && is_near(&rest[STAMP.len()..]) {
            Opening::Damaged
        } else {
            Opening::Other
        }
    }
}

fn is_almost(rest: &[u8], pattern: &[u8]) -> bool {
    let is_wrong =
        |&(&byte, &expected): &(&u8, &u8)| byte != expected && !(expected == b'0' && byte.is_ascii_digit());
    rest.len() >= pattern.len() && rest.iter().zip(pattern).filter(is_wrong).count() <= MAX_WRONG_BYTES
}

/// Appends a SELECT.
pub(crate) fn select(db: u32, out: &mut BytesMut) {
    let text = format_i64(db.into());
    resp::request::encode(&[b"SELECT", text.as_bytes()], out);
}

#[cfg(all(test, not(loom)))]
mod tests;
