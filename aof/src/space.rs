//! Space ahead: the live file owns disk blocks behind its end, so that a full disk is found out before a command runs.
//! Pure; the writer makes the calls.
//!
//! ```text
//! file   |..... written .....|=========== ahead ===========|
//!                                  FIRST     SECOND   LAST
//!          once no more can be had, new writes end here,
//!                              DEL and the like here, |
//!                                  and this is for what was executed already, marks, and the next file
//! ```
//!
//! | the writer asks | for |
//! |---|---|
//! | when less than half a step is ahead | the next step: `STEPS_BYTES`, doubling, but no more than an eighth of the disk's free space |
//! | when that is refused | half of it, and so on down to `LEAST_BYTES` |
//! | when nothing, or less than `ENOUGH_BYTES` in all, was to be had | again, each `RETRY`, or each `RETRY_FULL` where none is free |
//!
//! Where a file cannot own space ahead, the free space of the file system is what is looked at, at the same moments.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use crate::fs::{File, Fs, retry};
use crate::stats::Failure;
use crate::tail::LiveFile;

/// Less than this ahead on a full disk: writes that need more memory are to be refused.
pub const FIRST_MARK_BYTES: u64 = 256 * 1024;
/// Less than this: all writes are.
pub const SECOND_MARK_BYTES: u64 = 128 * 1024;
/// A disk that gives more, and so much in all, counts as full no longer.
const ENOUGH_BYTES: u64 = 2 * FIRST_MARK_BYTES;
/// The smallest piece worth asking for.
const LEAST_BYTES: u64 = 16 * 1024;
/// From the first step of a file to the largest.
const STEPS_BYTES: RangeInclusive<u64> = 4 * 1024 * 1024..=64 * 1024 * 1024;
/// The time between two attempts on a full disk.
const RETRY: Duration = Duration::from_millis(250);
/// The same where nothing is said to be free: the call may wait for a commit before it says so, too.
const RETRY_FULL: Duration = Duration::from_secs(1);

/// What is known about the space ahead.
#[derive(Debug)]
pub(crate) struct Space {
    /// Neither the file nor the file system can tell: nothing is asked again.
    pub(crate) is_unknown: bool,
    /// The live file's space ends here.
    pub(crate) reserved_to: u64,
    step_bytes: u64,
    /// No more was to be had: why, and when to ask again.
    pub(crate) shortage: Option<Failure>,
    retry_at: Option<Instant>,
    /// Free on the file system when it was last asked.
    pub(crate) free_bytes: Option<u64>,
    /// Somebody wants to know that.
    pub(crate) is_asked: bool,
}

/// How a request for space ended.
#[derive(Debug)]
pub(crate) struct Claim {
    reserved_to: u64,
    free_bytes: Option<u64>,
    /// None if only the free space was looked at.
    result: Option<io::Result<()>>,
}

impl Default for Space {
    fn default() -> Self {
        Space {
            is_unknown: false,
            reserved_to: 0,
            step_bytes: *STEPS_BYTES.start(),
            shortage: None,
            retry_at: None,
            free_bytes: None,
            is_asked: false,
        }
    }
}

impl Space {
    /// Bytes that can still be written for certain behind `end`.
    pub(crate) fn ahead_bytes(&self, end: u64) -> u64 {
        self.reserved_to.saturating_sub(end)
    }

    /// The place that the writer should ask for now, if any; `patient`: none if it is only to be well ahead.
    pub(crate) fn step_due(&self, end: u64, now: Instant, patient: bool) -> Option<Range<u64>> {
        let ahead_bytes = self.ahead_bytes(end);
        let least = if patient { FIRST_MARK_BYTES } else { self.step_bytes / 2 };
        let is_wanted = self.shortage.is_some() || ahead_bytes < least.min(self.step_bytes / 2);
        let is_due = is_wanted && !self.is_unknown && self.retry_at.is_none_or(|at| now >= at);
        let start = self.reserved_to.max(end);
        // More than a step may be ahead of a shortage, for that makes steps small again.
        is_due.then(|| start..(end + self.step_bytes).max(start + LEAST_BYTES))
    }

    /// When to ask again on a full disk.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.shortage.as_ref().and(self.retry_at)
    }

    /// Another file is the live one: nothing is ahead of it yet. A disk that is full stays so until it is asked.
    pub(crate) fn start_file(&mut self) {
        self.reserved_to = 0;
        self.retry_at = None;
    }

    pub(crate) fn note(&mut self, live: &LiveFile, claim: Claim, now: Instant) {
        let Claim { reserved_to, free_bytes, result } = claim;
        self.free_bytes = free_bytes;
        self.reserved_to = self.reserved_to.max(reserved_to);
        let Some(result) = result else { return };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                *self = Space { is_unknown: true, free_bytes, ..Space::default() };
            }
            // Not for want of space: the next write tells, and a shortage would let none come.
            Err(error) if !is_full(&error) => {
                self.shortage = None;
                self.retry_at = Some(now + RETRY);
            }
            Err(error) => {
                let failure = || Failure::new("fallocate", &live.path, &error, now);
                self.shortage.get_or_insert_with(failure);
                self.retry_at = Some(now + if is_said_full(free_bytes) { RETRY_FULL } else { RETRY });
                self.step_bytes = *STEPS_BYTES.start();
            }
            // Less than was asked for is all right, and the next piece may be as small.
            Ok(()) => {
                self.shortage = None;
                self.retry_at = None;
                let got = reserved_to.saturating_sub(live.point.offset_bytes);
                self.step_bytes = (2 * got).clamp(ENOUGH_BYTES, *STEPS_BYTES.end());
            }
        }
    }
}

/// Asks for a place behind the end of the live file, or for as much of it as there is; only how much is free if none is
/// wanted.
pub(crate) fn claim(fs: &dyn Fs, live: &LiveFile, place: Option<Range<u64>>) -> Claim {
    let dir = live.path.parent().unwrap_or(&live.path);
    let free_bytes = retry(|| fs.free_bytes(dir)).ok();
    let Some(Range { start, end: wanted_to }) = place else {
        return Claim { reserved_to: 0, free_bytes, result: None };
    };
    let end = live.point.offset_bytes;
    let step_bytes = wanted_to.saturating_sub(start);
    let most = match free_bytes {
        // One call is enough to find out whether what is left is kept for us.
        _ if is_said_full(free_bytes) => LEAST_BYTES,
        Some(free) => step_bytes.min((free / 8).max(ENOUGH_BYTES)),
        None => step_bytes,
    };
    let (mut piece, mut reserved_to) = (most, start);
    let result = loop {
        match take(&*live.file, reserved_to, piece, free_bytes.map(|free| free.saturating_add(end))) {
            Ok(()) => {
                reserved_to += piece;
                if reserved_to >= end + ENOUGH_BYTES {
                    break Ok(());
                }
            }
            Err(error) if is_full(&error) && piece / 2 >= LEAST_BYTES => piece /= 2,
            Err(error) => break Err(error),
        }
    };
    Claim { reserved_to, free_bytes, result: Some(result) }
}

/// What statvfs(2) says: a file system may keep the last blocks for a user or a group, and we may be of those.
fn is_said_full(free_bytes: Option<u64>) -> bool {
    free_bytes.is_some_and(|free| free < LEAST_BYTES)
}

/// `free_to`: how far the file could grow by what the file system says.
fn take(file: &dyn File, from: u64, len_bytes: u64, free_to: Option<u64>) -> io::Result<()> {
    match (retry(|| file.reserve(from, len_bytes)), free_to) {
        (Err(error), Some(free_to)) if error.kind() == io::ErrorKind::Unsupported => {
            let is_there = from + len_bytes <= free_to;
            if is_there { Ok(()) } else { Err(io::Error::from_raw_os_error(ENOSPC)) }
        }
        (result, _) => result,
    }
}

const ENOSPC: i32 = 28;

/// The disk or the quota is full: what else goes wrong has nothing to do with space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(all(test, not(loom)))]
mod tests;
