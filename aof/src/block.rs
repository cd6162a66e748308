//! THE BLOCK: what one turn wrote, behind a line that says how long it is, where it belongs and what it must hash to.
//!
//! ```text
//! #EV1 1f 2a40 0 0 18bcfe56800 5d6b1c02 0c7d2f19\r\n     the line of a block
//!      |  |    | | |           |        '-- crc32c of the epoch and of the line up to here
//!      |  |    | | |           '----------- crc32c of the payload
//!      |  |    | | '--- when its turn ended, milliseconds since 1970
//!      |  |    | '----- the database selected where the payload begins; `-`: the payload selects one itself
//!      |  |    '------- the lag: position minus the highest position known to be durable then
//!      |  '------------ the position of the payload's first byte
//!      '--------------- the length of the payload, which follows the line, in bytes
//!
//! #EV1 17 2a40 0 - 18bcfe56800 i 9f..16 digits..3c 3 2 - 2 5a10 77aa0b1c 5d6b1c02 0c7d2f19\r\n     a head of an incr
//!                              | |                 | | | | |    '-- crc32c of those bytes
//!                              | |                 | | | | '------- length of what is behind us, in bytes
//!                              | |                 | | | '--------- in which incr that is: the last one, or this one; 0: nowhere
//!                              | |                 | | '----------- if it took over from a failed file: the bytes it brought along;
//!                              | |                 | |              all digits f: nobody has counted, for they stand in no blocks
//!                              | |                 | '------------- number of the base then; 0: none
//!                              | |                 '--------------- number of this incr
//!                              | '--------------------------------- the epoch
//!                              '----------------------------------- `b`: epoch, then the position that this base covers
//! ```
//!
//! Numbers are hexadecimal, lower case; crcs have eight digits and an epoch sixteen. A line is at most
//! [`MAX_LINE_BYTES`] long. Every Redis >= 7 and Valkey skips it as the annotation that it is.
//!
//! A payload holds whole commands and whole transactions. Positions count the payload bytes of plain blocks since the
//! epoch began; an epoch is a random number that no client can know, and it goes into the crc of each line, so that a
//! value that imitates a block is never taken for one.
//!
//! A *head* is a line with file fields. It opens a file, and each later run of a server that goes on with it. Its
//! payload is a SELECT at most, and has no positions.
//!
//! A block is valid if and only if (1) its line parses and its last crc is right; (2) that many bytes follow, and hash
//! to the other crc; (3) its position is where the block before it ended. A payload that is damaged does not spoil what
//! its line says.

use std::hash::{BuildHasher, RandomState};

use crc_fast::{CrcAlgorithm, Digest};

use crate::Position;
use crate::manifest::FileSeq;

/// The longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 320;
/// How a line of ours begins.
pub const MAGIC: &[u8] = b"#EV1 ";

/// No length or position is beyond this, so that sums of two of them are in range, whatever a file claims.
const MAX_CLAIM: u64 = 1 << 62;

const CRLF: &[u8] = b"\r\n";
const CRC_DIGITS: usize = 8;
const EPOCH_DIGITS: usize = 16;

/// Names a sequence of positions; two positions compare only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// One that nobody has had or can guess.
    pub fn random() -> Self {
        Epoch(RandomState::new().hash_one(0u64))
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// The position of its first byte.
    pub position: Position,
    /// How far the durable watermark was behind that.
    pub lag: u64,
    /// The database selected where the payload begins; none if it selects one itself.
    pub db: Option<u32>,
    /// Wall clock, milliseconds since 1970.
    pub time_ms: i64,
    /// What a head adds.
    pub head: Option<Head>,
    /// What the payload must hash to.
    pub payload_crc: u32,
}

/// What a head says about its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// It opens an incr, or a later run's part of one.
    Incr(IncrHead),
    /// It opens a base, or closes it: then its position is the payload bytes between the two.
    Base(BaseHead),
}

/// The file fields of an incr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrHead {
    /// The epoch of this file's positions.
    pub epoch: Epoch,
    /// Its number.
    pub seq: FileSeq,
    /// The number of the base that the manifest lists at that time; 0 if none.
    pub base: FileSeq,
    /// For a file that takes over from a failed one: the payload that it holds before the manifest lists it; or
    /// [`NO_BLOCKS`].
    pub moved_bytes: Option<u64>,
    /// What came before, and in which file: the last incr, or for a head inside a file that file itself.
    pub behind: Option<(FileSeq, FilePoint)>,
}

/// In the place of [`IncrHead::moved_bytes`]: without checksums, commands go on behind the head as they come.
pub const NO_BLOCKS: u64 = u64::MAX;

/// The file fields of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseHead {
    /// The epoch of `covers`.
    pub epoch: Epoch,
    /// The base holds everything before this position.
    pub covers: Position,
}

/// What a head says of the place where it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It was written here.
    Here,
    /// It was, and something before it is not what it was.
    Changed,
    /// It was written into another file, or elsewhere in this one.
    Elsewhere,
}

impl IncrHead {
    /// Whether it was written at `here`, in incr number `seq` (0 if nobody knows it). One that opens a file
    /// [was looked at](crate::set) before; any other names the file that it is in, and what precedes it there, which was
    /// durable before it was written.
    pub(crate) fn stands(&self, seq: FileSeq, here: FilePoint) -> Stands {
        let is_own = |behind| behind == self.seq && (seq == behind || seq == 0);
        match self.behind {
            _ if here.offset_bytes == 0 => Stands::Here,
            Some((behind, point)) if is_own(behind) && point == here => Stands::Here,
            Some((behind, point)) if is_own(behind) && point.offset_bytes == here.offset_bytes => {
                Stands::Changed
            }
            _ => Stands::Elsewhere,
        }
    }
}

impl Head {
    /// What follows it stands in blocks.
    pub(crate) fn precedes_blocks(&self) -> bool {
        !matches!(self, Head::Incr(IncrHead { moved_bytes: Some(NO_BLOCKS), .. }))
    }

    /// The epoch of the file.
    pub fn epoch(&self) -> Epoch {
        match self {
            Head::Incr(head) => head.epoch,
            Head::Base(head) => head.epoch,
        }
    }
}

/// A place in a file: its offset, and the crc32c of everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilePoint {
    /// Bytes before it.
    pub offset_bytes: u64,
    /// What they hash to.
    pub crc: u32,
}

impl FilePoint {
    /// The place behind `bytes`, which follow here.
    #[must_use]
    pub fn after(self, bytes: &[u8]) -> FilePoint {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!self.crc));
        digest.update(bytes);
        FilePoint { offset_bytes: self.offset_bytes + bytes.len() as u64, crc: digest.finalize() as u32 }
    }
}

/// CRC-32C.
pub fn crc32c(bytes: &[u8]) -> u32 {
    FilePoint::default().after(bytes).crc
}

impl Line {
    /// The position behind the payload: a head's payload has none.
    pub fn end(&self) -> Position {
        let advance = if self.head.is_some() { 0 } else { self.payload_bytes };
        self.position.saturating_add(advance)
    }

    /// Whether a line leads what was written at once, perhaps behind a stamp.
    pub(crate) fn leads(bytes: &[u8]) -> bool {
        let stamp_bytes = if bytes.starts_with(b"#TS:") {
            memchr::memchr(b'\n', bytes).map_or(0, |end| end + 1)
        } else {
            0
        };
        bytes[stamp_bytes..].starts_with(MAGIC)
    }

    /// What was durable when the line was written.
    pub fn durable(&self) -> Position {
        self.position.saturating_sub(self.lag)
    }

    /// Appends the line. `epoch` must be that of the head, where there is one.
    pub fn encode(&self, epoch: Epoch, out: &mut Vec<u8>) {
        let start = out.len();
        let Line { payload_bytes, position, lag, time_ms, payload_crc, .. } = self;
        out.extend_from_slice(MAGIC);
        for number in [*payload_bytes, *position, *lag] {
            push_word(out, Some(number), 1);
        }
        push_word(out, self.db.map(u64::from), 1);
        push_word(out, Some(time_ms.cast_unsigned()), 1);
        if let Some(head) = &self.head {
            head.encode(out);
        }
        push_word(out, Some(u64::from(*payload_crc)), CRC_DIGITS);
        let crc = line_crc(epoch, &out[start..]);
        push_hex(out, u64::from(crc), CRC_DIGITS);
        out.extend_from_slice(CRLF);
    }

    /// Reads a line, its end included. Without a head in it, `epoch` is the one it must belong to; a head brings its own.
    /// `None` for anything that is not exactly a line of ours.
    pub fn parse(line: &[u8], epoch: Option<Epoch>) -> Option<Line> {
        let text = line.strip_suffix(CRLF)?;
        let (signed, crc) = text.split_at_checked(text.len().checked_sub(CRC_DIGITS)?)?;
        let mut words = Words(signed.strip_prefix(MAGIC)?);
        let payload_bytes = words.claim()?;
        let position = words.claim()?;
        let lag = words.claim()?;
        let db = words.optional()?.map(u32::try_from).transpose().ok()?;
        let time_ms = i64::try_from(words.number()?).ok()?;
        let head = words.head()?;
        let payload_crc = u32::try_from(words.number()?).ok()?;
        let epoch = head.as_ref().map(Head::epoch).or(epoch)?;
        let is_whole = words.0.is_empty() && parse_hex(crc)? == u64::from(line_crc(epoch, signed));
        is_whole.then_some(Line { payload_bytes, position, lag, db, time_ms, head, payload_crc })
    }
}

impl Head {
    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Head::Incr(IncrHead { epoch, seq, base, moved_bytes, behind }) => {
                let (behind_seq, FilePoint { offset_bytes, crc }) = behind.unwrap_or_default();
                out.extend_from_slice(b"i ");
                push_word(out, Some(epoch.0), EPOCH_DIGITS);
                for number in [Some(seq), Some(base), moved_bytes, Some(behind_seq), Some(offset_bytes)] {
                    push_word(out, number, 1);
                }
                push_word(out, Some(u64::from(crc)), CRC_DIGITS);
            }
            Head::Base(BaseHead { epoch, covers }) => {
                out.extend_from_slice(b"b ");
                push_word(out, Some(epoch.0), EPOCH_DIGITS);
                push_word(out, Some(covers), 1);
            }
        }
    }
}

fn line_crc(epoch: Epoch, signed: &[u8]) -> u32 {
    FilePoint::default().after(&epoch.0.to_le_bytes()).after(signed).crc
}

/// Frames what a rewrite writes: a head, blocks whose positions count from 0, and the head again, behind which the base
/// is known to be whole. An RDB, which cannot begin with a line, has only the last.
#[derive(Debug, Clone)]
pub struct BaseFrame {
    head: BaseHead,
    time_ms: i64,
    position: Position,
}

impl BaseFrame {
    /// For a base that holds everything before `covers`.
    pub fn new(epoch: Epoch, covers: Position, time_ms: i64) -> Self {
        BaseFrame { head: BaseHead { epoch, covers }, time_ms, position: 0 }
    }

    /// Appends the line of a block.
    pub fn block(&mut self, db: Option<u32>, payload: &[u8], out: &mut Vec<u8>) {
        let (payload_bytes, payload_crc) = (payload.len() as u64, crc32c(payload));
        Line { payload_bytes, payload_crc, db, ..self.line() }.encode(self.head.epoch, out);
        self.position += payload_bytes;
    }

    /// Appends the head that opens the base, or closes it.
    pub fn head(&self, out: &mut Vec<u8>) {
        Line { head: Some(Head::Base(self.head)), ..self.line() }.encode(self.head.epoch, out);
    }

    /// Appends the head that closes an RDB of `len_bytes`.
    pub fn rdb_head(mut self, len_bytes: u64, out: &mut Vec<u8>) {
        self.position = len_bytes;
        self.head(out);
    }

    fn line(&self) -> Line {
        let BaseFrame { position, time_ms, .. } = *self;
        Line { payload_bytes: 0, position, lag: 0, db: None, time_ms, head: None, payload_crc: 0 }
    }
}

/// The words of a line, each with a blank behind it.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == b' ')?;
        let word = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(word)
    }

    fn number(&mut self) -> Option<u64> {
        parse_hex(self.word()?)
    }

    /// A length or a position.
    fn claim(&mut self) -> Option<u64> {
        self.number().filter(|&claim| claim <= MAX_CLAIM)
    }

    /// `-` is no number.
    fn optional(&mut self) -> Option<Option<u64>> {
        match self.word()? {
            b"-" => Some(None),
            word => parse_hex(word).map(Some),
        }
    }

    /// The fields that a letter announces; where there is none, there are none.
    fn head(&mut self) -> Option<Option<Head>> {
        match self.0.first_chunk() {
            Some(b"i ") => {
                self.word()?;
                let (epoch, seq, base) = (Epoch(self.number()?), self.number()?, self.number()?);
                let moved_bytes = self.optional()?;
                let behind_seq = self.number()?;
                let point = FilePoint { offset_bytes: self.claim()?, crc: self.number()?.try_into().ok()? };
                let behind = (behind_seq != 0).then_some((behind_seq, point));
                Some(Some(Head::Incr(IncrHead { epoch, seq, base, moved_bytes, behind })))
            }
            Some(b"b ") => {
                self.word()?;
                let epoch = Epoch(self.number()?);
                Some(Some(Head::Base(BaseHead { epoch, covers: self.claim()? })))
            }
            _ => Some(None),
        }
    }
}

/// Appends a number, or the `-` that stands for none, and the blank behind it.
fn push_word(out: &mut Vec<u8>, number: Option<u64>, min_digits: usize) {
    match number {
        Some(number) => push_hex(out, number, min_digits),
        None => out.push(b'-'),
    }
    out.push(b' ');
}

/// By hand: the standard formatting of its numbers took longer than the checksum of a line does.
fn push_hex(out: &mut Vec<u8>, number: u64, min_digits: usize) {
    let significant = (u64::BITS - number.leading_zeros()).div_ceil(4) as usize;
    let digit = |at: usize| b"0123456789abcdef"[(number >> (4 * at) & 15) as usize];
    out.extend((0..significant.max(min_digits)).rev().map(digit));
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(all(test, not(loom)))]
mod tests;
