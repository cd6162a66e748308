//! What to make of bytes that are no log: torn off by a crash, or damaged. Decided purely, from what the files say.
//!
//! A crash can leave anything where nothing had been synced: a cut, zeros, old sectors, holes between whole blocks. It
//! cannot touch what was. Every block says how far the log was durable when it was written, so the bytes themselves tell
//! the two apart; where no block says so (the logs of other servers) only what merely stops, or turns to zeros until the
//! end, is taken for torn.
//!
//! Another server that goes on with a file of ours does so behind a block, as a crash does. It selects a database first, or
//! begins a transaction, whatever was selected; so by what stands where a block of ours should:
//!
//! | what stands there | what it is |
//! |---|---|
//! | a block that is sound and whose position is the next | ours |
//! | SELECT or MULTI, and of ours nothing is missing behind it: there is nothing of ours at all, or a head that vouches for all before it, or the block that comes next | another server's: executed, unverified until a head vouches for it |
//! | any other bytes, in the last file, above the durable mark, before no head that was written where it stands, with the last readable block behind them near in place and time | torn by a crash, whatever they are: cut after a copy |
//! | the same, if nothing of ours is behind them and they are a SELECT, MULTI or stamp but for a byte or two, or go on for more than a crash leaves | another server's, and damaged: refused in Redis's words, but for zeros up to the end, which are torn |
//! | the same in any other place | damage in what was safe: refused by name, or set aside |
//!
//! So nothing that stands there is executed unless somebody wrote it there, but in one case: bytes that a sector held before,
//! of which the first are by chance those of a whole SELECT or MULTI, with nothing of ours behind them.

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
    /// A head stands behind it, and where it was written: what precedes it was made durable before.
    pub is_vouched_for: bool,
    /// From the damage to the last line behind it that can be read; none if there is none.
    pub behind_bytes: Option<u64>,
    /// From the damage to the end of the file, without the block whose own line can be read.
    pub rest_bytes: u64,
    /// The damage is, but for a byte or two, what another server begins with.
    pub is_almost_foreign: bool,
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
    /// Another server wrote them: what they were worth nobody knows.
    Foreign,
}

/// Judges damage that stands where a block of ours should.
pub fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { position, durable, behind_bytes, rest_bytes, before_ms, behind_ms, .. } = *evidence;
    let age_ms = before_ms.zip(behind_ms).map_or(0, |(before, behind)| behind.saturating_sub(before));
    let is_young = age_ms <= MAX_TORN_AGE.as_millis() as i64;
    let is_near = behind_bytes.is_none_or(|bytes| bytes <= MAX_TORN_BYTES);
    let was_safe = durable > position || evidence.is_vouched_for;
    let is_foreign = evidence.is_almost_foreign || rest_bytes > MAX_TORN_BYTES;
    match () {
        () if !evidence.is_last || was_safe || !is_near || !is_young => Verdict::Corrupt,
        () if behind_bytes.is_none() && is_foreign => Verdict::Foreign,
        () => Verdict::Torn,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TORN: Evidence = Evidence {
        is_last: true,
        position: 100,
        durable: 100,
        is_vouched_for: false,
        behind_bytes: Some(MAX_TORN_BYTES),
        rest_bytes: MAX_TORN_BYTES + 1,
        is_almost_foreign: false,
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
            Evidence { is_vouched_for: true, ..TORN },
            Evidence { behind_bytes: Some(MAX_TORN_BYTES + 1), ..TORN },
            Evidence { behind_ms: Some(61_001), ..TORN },
        ];
        for evidence in signs {
            assert_eq!(judge(&evidence), Verdict::Corrupt, "{evidence:?}");
            let is_almost_foreign = true;
            assert_eq!(judge(&Evidence { is_almost_foreign, ..evidence }), Verdict::Corrupt, "{evidence:?}");
        }
    }

    #[test]
    fn what_another_server_wrote_is_not_torn_where_nothing_of_ours_is_behind_it() {
        let alone = Evidence { behind_bytes: None, behind_ms: None, ..TORN };
        let like_ours = Evidence { rest_bytes: MAX_TORN_BYTES, ..alone };
        assert_eq!(judge(&like_ours), Verdict::Torn);
        assert_eq!(judge(&alone), Verdict::Foreign, "no crash leaves as much");
        assert_eq!(judge(&Evidence { is_almost_foreign: true, ..like_ours }), Verdict::Foreign);
        assert_eq!(
            judge(&Evidence { is_almost_foreign: true, ..TORN }),
            Verdict::Torn,
            "a block is behind it"
        );
    }
}
