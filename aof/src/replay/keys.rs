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

const COMMAND: &[u8] = b"*";
const LINE_BEFORE_COMMAND: &[u8] = b"\n*";

/// Each key once, in the order of the file.
pub(super) fn keys_between(
    place: &mut Scan,
    mut keys_of: impl FnMut(&[&[u8]]) -> Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, Error> {
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    while find_command(place)? {
        let mut parser = Parser::default();
        let len = command_len(&mut parser, place)?;
        if len > 0 {
            let argv = parser.argv(place.rest());
            if !argv.is_empty() && frame(&argv) == Frame::Effect {
                keys.extend(keys_of(&argv).into_iter().filter(|key| seen.insert(key.clone())));
            }
        }
        place.consume(len.max(COMMAND.len()));
    }
    Ok(keys)
}

/// Moves to where a command may begin: here, or behind a line end. False if none does.
fn find_command(place: &mut Scan) -> Result<bool, Error> {
    loop {
        let rest = place.rest();
        if rest.starts_with(COMMAND) {
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

/// The length of the command here; 0 if it is none.
fn command_len(parser: &mut Parser, place: &mut Scan) -> Result<usize, Error> {
    loop {
        match parser.parse(place.rest(), &LIMITS) {
            Ok(Some(len)) => return Ok(len),
            Ok(None) if place.rest().len() <= SOUGHT_BYTES && place.more()? => {}
            _ => return Ok(0),
        }
    }
}
