//! What SCAN, SSCAN, HSCAN and ZSCAN share: the cursor, the options, the shape of the reply.
//!
//! A handler reads the cursor first, then looks its key up, and reads the options last: the order in which Redis
//! refuses.
//!
//! ```text
//! let cursor = scan::parse_cursor(argv[2])?;
//! let Some(set) = ... else { scan::write_empty(out); return Ok(()) };
//! let options = Options::parse(&argv[3..], false)?;
//! table:    let (next, members) = options.walk(table, cursor);
//!           scan::write_head(out, next, members.len());     twice as many for fields with values
//! compact:  scan::write_all(out, |out| ...);               everything at once, with cursor 0
//! ```

use resp::Encoder;

use crate::table::Packed;
use crate::{CommandError, Entry, glob};

/// MATCH, COUNT and TYPE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// About how many elements to visit.
    pub(crate) count: usize,
    /// What their names must fit; `None` for `*` too.
    pattern: Option<&'a [u8]>,
    /// The wanted type's name; SCAN only.
    pub(crate) type_name: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads the words behind the cursor. `with_type` is SCAN's.
    ///
    /// # Errors
    /// [`CommandError::Syntax`] for an unknown option or a COUNT below 1, [`CommandError::NotAnInteger`].
    pub(crate) fn parse(words: &[&'a [u8]], with_type: bool) -> Result<Self, CommandError> {
        let mut options = Options { count: 10, pattern: None, type_name: None };
        let mut words = words;
        while let [name, rest @ ..] = words {
            let [value, rest @ ..] = rest else { return Err(CommandError::Syntax) };
            if name.eq_ignore_ascii_case(b"count") {
                let count = usize::try_from(super::integer(value)?).ok();
                options.count = count.filter(|&count| count > 0).ok_or(CommandError::Syntax)?;
            } else if name.eq_ignore_ascii_case(b"match") {
                options.pattern = (*value != b"*").then_some(value);
            } else if with_type && name.eq_ignore_ascii_case(b"type") {
                options.type_name = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            words = rest;
        }
        Ok(options)
    }

    /// Whether MATCH lets this element through.
    #[inline]
    pub(crate) fn accepts(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }

    /// Walks a table from `cursor` on: where to go on from, and the keys that MATCH lets through.
    pub(crate) fn walk<'t>(&self, table: &'t Packed, cursor: u64) -> (u64, Vec<Entry<'t>>) {
        let mut found = Vec::new();
        let next = table.scan(cursor, self.count, |entry| {
            if self.accepts(entry.key()) {
                found.push(entry);
            }
        });
        (next, found)
    }
}

/// Reads a cursor as `strtoul` does: an optional sign, then digits, perhaps none.
///
/// # Errors
/// `ERR invalid cursor`.
pub(crate) fn parse_cursor(text: &[u8]) -> Result<u64, CommandError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // A sign alone is no number, but nothing at all is 0.
    if digits.is_empty() && !text.is_empty() {
        return Err(invalid_cursor());
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        value.checked_mul(10).filter(|_| digit <= 9)?.checked_add(u64::from(digit))
    });
    value.map(|value| if negative { value.wrapping_neg() } else { value }).ok_or_else(invalid_cursor)
}

fn invalid_cursor() -> CommandError {
    CommandError::other("ERR invalid cursor")
}

/// The start of the reply: the next cursor (0 at the end), and the head of an array; `len` bulk strings must follow.
pub(crate) fn write_head(out: &mut Encoder<'_>, next: u64, len: usize) {
    out.array(2);
    // A table's cursors are below 2^48.
    out.bulk_integer(next as i64);
    out.array(len);
}

/// A compact collection's reply: cursor 0 and an array of what `write` writes; it returns how many bulk strings.
pub(crate) fn write_all(out: &mut Encoder<'_>, write: impl FnOnce(&mut Encoder<'_>) -> usize) {
    out.array(2);
    out.bulk(b"0");
    out.counted_array(|out| write(out));
}

/// The reply for a key that is not there.
pub(crate) fn write_empty(out: &mut Encoder<'_>) {
    write_head(out, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_strtoul_reads_them() {
        for (text, value) in
            [("0", 0), ("", 0), ("17", 17), ("+3", 3), ("-1", u64::MAX), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(parse_cursor(text.as_bytes()), Ok(value), "{text}");
        }
        for text in ["a", "1a", " 1", "-", "+", "18446744073709551616", "1 "] {
            assert!(parse_cursor(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_refused_in_redis_order() {
        let parse = |words: &[&str], with_type| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            Options::parse(&words, with_type).map(|options| options.count)
        };
        assert_eq!(parse(&[], false), Ok(10));
        assert_eq!(parse(&["COUNT", "5", "match", "*", "Type", "set"], true), Ok(5));
        assert_eq!(parse(&["count", "0"], false), Err(CommandError::Syntax));
        assert_eq!(parse(&["count", "x", "bogus"], false), Err(CommandError::NotAnInteger));
        assert_eq!(parse(&["count"], false), Err(CommandError::Syntax));
        assert_eq!(parse(&["type", "set"], false), Err(CommandError::Syntax));
    }
}
