//! Whose keys stand in damage, as far as its commands can still be read: for a report, for nothing of it is executed.
//!
//! What is no command is passed over up to the next line that begins as one. So the command that is damaged costs its own
//! key at most, unless a value imitates commands: then its keys are named, too.

use std::collections::HashSet;

use memchr::memmem;
use resp::Parser;

use super::file::{Frame, LIMITS, frame};
use crate::error::Error;
use crate::scan::Scan;

/// A command that is longer than this is passed over: its length may be what is damaged, and it is not to cost more memory
/// than that.
const SOUGHT_BYTES: usize = 64 * 1024 * 1024;

/// So much may be kept of keys: damage may be as long as a log, and nobody reads as many names.
const KEYS_BYTES: usize = 1024 * 1024;

const LINE_BEFORE_COMMAND: &[u8] = b"\n*";

/// Those of all commands in `place`, in their order, each once.
pub(super) fn keys_between(
    place: &mut Scan,
    keys_of: impl Fn(&[&[u8]]) -> Vec<Vec<u8>>,
) -> Result<Keys, Error> {
    let mut keys = Keys::default();
    while !keys.are_more && find_command(place)? {
        let mut parser = Parser::default();
        let len = command_len(&mut parser, place)?;
        if len > 0 {
            let argv = parser.argv(place.rest());
            if !argv.is_empty() && frame(&argv) == Frame::Effect {
                keys_of(&argv).into_iter().for_each(|key| keys.add(key));
            }
        }
        place.consume(len.max(1));
    }
    Ok(keys)
}

/// No more than [`KEYS_BYTES`], but for the last of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) named: Vec<Vec<u8>>,
    /// There was no room for others.
    pub(super) are_more: bool,
    seen: HashSet<Vec<u8>>,
    held_bytes: usize,
}

impl Keys {
    fn add(&mut self, key: Vec<u8>) {
        if self.seen.contains(&key) {
            return;
        }
        self.are_more = self.held_bytes >= KEYS_BYTES;
        if !self.are_more {
            self.held_bytes += size_of::<Vec<u8>>() + key.len();
            self.seen.insert(key.clone());
            self.named.push(key);
        }
    }
}

/// Moves to where a command may begin: here, or behind a line end. False if none does.
fn find_command(place: &mut Scan) -> Result<bool, Error> {
    loop {
        let rest = place.rest();
        if begins_command(rest) {
            return Ok(true);
        }
        // The line end may be the last of what was read.
        let all_but_one = rest.len().saturating_sub(1);
        match memmem::find(rest, LINE_BEFORE_COMMAND) {
            Some(at) => place.consume(at + 1),
            None => {
                place.consume(all_but_one);
                if !place.more()? {
                    return Ok(false);
                }
            }
        }
    }
}

/// A whole first line, or one that may go on behind what was read. Whatever else begins with `*` is not parsed: text may have
/// one in each of its lines.
fn begins_command(rest: &[u8]) -> bool {
    let Some(count) = rest.strip_prefix(b"*") else { return false };
    match count.iter().position(|byte| !byte.is_ascii_digit()) {
        Some(digits) => digits > 0 && count[digits] == b'\r',
        None => true,
    }
}

/// The length of the command here; 0 if it is none.
fn command_len(parser: &mut Parser, place: &mut Scan) -> Result<usize, Error> {
    loop {
        let parsed = parser.parse(place.rest(), &LIMITS);
        let missing_bytes = parser.missing_bytes(place.rest());
        let is_sought = place.rest().len().saturating_add(missing_bytes) <= SOUGHT_BYTES;
        match parsed {
            Ok(Some(len)) => return Ok(len),
            Ok(None) if is_sought && place.more_of(missing_bytes)? => {}
            _ => return Ok(0),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_command_begins_with_a_number_on_a_line_of_its_own() {
        let table: [(&[u8], bool); 9] = [
            (b"*1\r\n", true),
            (b"*123\r", true),
            (b"*12", true),
            (b"*", true),
            (b"", false),
            (b"$1\r\n", false),
            (b"*\r\n", false),
            (b"* bold *\r\n", false),
            (b"*1\n*1\n", false),
        ];
        for (bytes, expected) in table {
            assert_eq!(begins_command(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
