//! What to make of bytes that are no log: torn off by a crash, or damaged. Decided purely, from what the files say.
//!
//! A crash can leave anything where nothing had been synced: a cut, zeros, old sectors, holes between whole blocks. It
//! cannot touch what was. Every block says how far the log was durable when it was written, so the bytes themselves tell
//! the two apart; where no block says so (the logs of other servers) only what merely stops, or turns to zeros until the
//! end, is taken for torn.

use std::time::Duration;

use crate::Position;

/// Blocks that can be read stand at most so many bytes behind a torn place: beyond `aof-max-unsynced-bytes`, 256 MiB
/// unless it was raised, writes are held. Lines may double that, and the block that went beyond it may be as large again
/// twice.
pub const MAX_TORN_BYTES: u64 = 1024 * 1024 * 1024;
/// Readable blocks behind a torn place are at most this much younger than what was not durable before them: kernels write
/// dirty pages back within half of that.
pub const MAX_TORN_AGE: Duration = Duration::from_secs(60);

/// What is known about the place where a file stops being a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Nothing that has bytes is listed behind this file.
    pub is_last: bool,
    /// The position of the first byte that is damaged.
    pub position: Position,
    /// The highest position that any line, in whatever file, calls durable.
    pub durable: Position,
    /// From the damage to the last line behind it that can be read; 0 if there is none, for then nothing is lost by a cut.
    pub behind_bytes: u64,
    /// When the damaged bytes were written: what their own line says, if it can be read; else at the earliest, which is the
    /// time of the last readable block before them if that was not durable either, else of the first line behind them.
    /// Milliseconds since 1970.
    pub before_ms: Option<i64>,
    /// The same of the last readable block behind it.
    pub behind_ms: Option<i64>,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody was promised these bytes: they may be cut off, after a copy.
    Torn,
    /// They were safe once.
    Corrupt,
}

/// Judges damage that stands where a block of ours should.
pub fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { is_last, position, durable, behind_bytes, before_ms, behind_ms } = *evidence;
    let age_ms = before_ms.zip(behind_ms).map_or(0, |(before, behind)| behind.saturating_sub(before));
    let is_young = age_ms <= MAX_TORN_AGE.as_millis() as i64;
    let torn = is_last && durable <= position && behind_bytes <= MAX_TORN_BYTES && is_young;
    if torn { Verdict::Torn } else { Verdict::Corrupt }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TORN: Evidence = Evidence {
        is_last: true,
        position: 100,
        durable: 100,
        behind_bytes: MAX_TORN_BYTES,
        before_ms: Some(1_000),
        behind_ms: Some(61_000),
    };

    #[test]
    fn what_was_never_durable_is_torn() {
        assert_eq!(judge(&TORN), Verdict::Torn);
        assert_eq!(judge(&Evidence { behind_ms: None, ..TORN }), Verdict::Torn);
        assert_eq!(judge(&Evidence { before_ms: None, ..TORN }), Verdict::Torn);
        assert_eq!(judge(&Evidence { behind_ms: Some(0), ..TORN }), Verdict::Torn, "a clock set back");
    }

    #[test]
    fn each_sign_of_having_been_safe_makes_it_corrupt() {
        let signs = [
            Evidence { is_last: false, ..TORN },
            Evidence { durable: 101, ..TORN },
            Evidence { behind_bytes: MAX_TORN_BYTES + 1, ..TORN },
            Evidence { behind_ms: Some(61_001), ..TORN },
        ];
        for evidence in signs {
            assert_eq!(judge(&evidence), Verdict::Corrupt, "{evidence:?}");
        }
    }
}
