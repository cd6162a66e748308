//! The time that a blocking command waits.

use crate::CommandError;
use crate::types::long_double::LongDouble;

/// Reads a timeout in seconds, fractions allowed, as milliseconds; `None` is for ever, which clients write as 0.
///
/// # Errors
/// Redis's words for what is no float, is negative, or ends after the end of time.
/// Source: redis 7.2 `src/timeout.c` `getTimeoutFromObjectOrReply`.
pub(crate) fn parse_timeout(text: &[u8], now_ms: i64) -> Result<Option<u64>, CommandError> {
    let seconds = LongDouble::parse(text);
    let seconds = seconds.ok_or(CommandError::other("ERR timeout is not a float or out of range"))?;
    let timeout_ms = seconds.times_rounded_up(1000);
    let timeout = u64::try_from(timeout_ms).map_err(|_| CommandError::other("ERR timeout is negative"))?;
    match timeout_ms.checked_add(now_ms) {
        Some(_) => Ok(Some(timeout).filter(|&timeout| timeout > 0)),
        None => Err(CommandError::other("ERR timeout is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_and_bounded() {
        let now_ms = 1_700_000_000_000;
        for (text, timeout_ms) in
            [("0", None), ("-0", None), ("1", Some(1000)), ("0.0001", Some(1)), ("0x1p1", Some(2000))]
        {
            assert_eq!(parse_timeout(text.as_bytes(), now_ms), Ok(timeout_ms), "{text}");
        }
        for (text, error) in [
            ("-1", "ERR timeout is negative"),
            ("-inf", "ERR timeout is negative"),
            ("inf", "ERR timeout is out of range"),
            // More than a double holds.
            ("1e400", "ERR timeout is out of range"),
            ("-1e400", "ERR timeout is negative"),
            ("1e5000", "ERR timeout is not a float or out of range"),
            ("9223372036854775", "ERR timeout is out of range"),
            ("x", "ERR timeout is not a float or out of range"),
            ("", "ERR timeout is not a float or out of range"),
        ] {
            let refused = parse_timeout(text.as_bytes(), now_ms).map_err(|error| error.to_string());
            assert_eq!(refused, Err(error.to_owned()), "{text}");
        }
    }
}
