//! What a full or failing disk still lets clients do. Decided purely, before a command runs: an error then means that
//! nothing has happened.
//!
//! | space ahead of the log, once the command is logged | needs memory (`denyoom`); eviction | other writes: DEL, EXPIRE, LPOP ...; active expiry | reads, PING |
//! |---|---|---|---|
//! | the disk is not full | yes | yes | yes |
//! | at least [`FIRST_MARK_BYTES`] | yes | yes | yes |
//! | at least [`SECOND_MARK_BYTES`] | no | yes | yes |
//! | less, or no file can be opened | no | no | yes |

use std::time::{Duration, Instant};

use aof::space::{FIRST_MARK_BYTES, SECOND_MARK_BYTES};
use aof::{Failure, Health, Log};

/// While it lasts, the server's log is told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What a command will ask of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// It may change data.
    pub writes: bool,
    /// It may need memory for that.
    pub grows: bool,
    /// Its length: about what it will log.
    pub bytes: u64,
}

/// Whether `wish` may be granted with `room_bytes` ahead: [`u64::MAX`] unless the disk is full, 0 while the log fails.
pub fn admits(room_bytes: u64, wish: Wish) -> bool {
    let left_bytes = if room_bytes == u64::MAX { room_bytes } else { room_bytes.saturating_sub(wish.bytes) };
    let mark_bytes = if wish.grows { FIRST_MARK_BYTES } else { SECOND_MARK_BYTES };
    !wish.writes || left_bytes >= mark_bytes
}

/// What is wrong with the disk, in the words that clients see, and when the server's log was told.
#[derive(Debug, Default)]
pub struct Trouble {
    reason: Option<String>,
    told_at: Option<Instant>,
    /// The log knows of a trouble that is not over.
    is_told: bool,
}

/// What the server's log should say.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing.
    None,
    /// It has begun, or still lasts.
    Lasts,
    /// It is over.
    Over,
}

impl Trouble {
    /// The reason, as long as there is one.
    #[inline]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Notes how things are.
    pub fn note(&mut self, reason: Option<String>, now: Instant) -> Line {
        self.reason = reason;
        let is_due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        match (&self.reason, self.is_told) {
            (Some(_), _) if is_due => {
                (self.told_at, self.is_told) = (Some(now), true);
                Line::Lasts
            }
            (None, true) => {
                self.is_told = false;
                Line::Over
            }
            _ => Line::None,
        }
    }
}

/// Why writes are refused, or may be: Redis's words, and what one needs to know to help.
pub fn reason(log: &Log, now: Instant) -> Option<String> {
    let (Health::Failing(failure) | Health::Full(failure)) = log.health() else { return None };
    Some(format!("MISCONF Errors writing to the AOF file: {}", describe(&failure, log.stats(now).free_bytes)))
}

/// `No space left on device (write of /data/appendonlydir/..., errno 28, 4096 bytes free)`.
pub fn describe(failure: &Failure, free_bytes: Option<u64>) -> String {
    let Failure { op, path, errno, message, .. } = failure;
    let errno = errno.map(|errno| format!(", errno {errno}")).unwrap_or_default();
    let free = free_bytes.map(|bytes| format!(", {bytes} bytes free")).unwrap_or_default();
    format!("{message} ({op} of {}{errno}{free})", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Wish = Wish { writes: false, grows: false, bytes: 0 };
    const DEL: Wish = Wish { writes: true, grows: false, bytes: 0 };
    const SET: Wish = Wish { writes: true, grows: true, bytes: 0 };

    #[test]
    fn each_mark_ends_one_kind_of_write() {
        for (room_bytes, set, del) in [
            (u64::MAX, true, true),
            (FIRST_MARK_BYTES, true, true),
            (FIRST_MARK_BYTES - 1, false, true),
            (SECOND_MARK_BYTES, false, true),
            (SECOND_MARK_BYTES - 1, false, false),
            (0, false, false),
        ] {
            let found = (admits(room_bytes, SET), admits(room_bytes, DEL), admits(room_bytes, READ));
            assert_eq!(found, (set, del, true), "{room_bytes} bytes ahead");
        }
    }

    #[test]
    fn a_command_that_would_cross_a_mark_is_refused_before_it_does() {
        for (wish, expected) in [
            (Wish { bytes: 99, ..SET }, true),
            (Wish { bytes: 100, ..SET }, true),
            (Wish { bytes: 101, ..SET }, false),
            (Wish { bytes: u64::MAX, ..SET }, false),
            (Wish { bytes: 101, ..DEL }, true),
            (Wish { bytes: u64::MAX, ..READ }, true),
        ] {
            assert_eq!(admits(FIRST_MARK_BYTES + 100, wish), expected, "{wish:?}");
        }
        assert!(admits(u64::MAX, Wish { bytes: u64::MAX, ..SET }), "the disk is not full");
    }

    #[test]
    fn the_log_is_told_when_it_begins_and_ends_and_each_half_minute_between() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        for (seconds, is_trouble, expected) in [
            (0, false, Line::None),
            (1, true, Line::Lasts),
            (2, true, Line::None),
            (30, true, Line::None),
            (31, true, Line::Lasts),
            (32, false, Line::Over),
            (33, false, Line::None),
            (34, true, Line::None),
            (35, false, Line::None),
            (36, true, Line::None),
            (61, true, Line::Lasts),
            (62, false, Line::Over),
        ] {
            let reason = is_trouble.then(|| "why".to_owned());
            let line = trouble.note(reason, start + Duration::from_secs(seconds));
            assert_eq!(line, expected, "after {seconds} s");
        }
    }
}
