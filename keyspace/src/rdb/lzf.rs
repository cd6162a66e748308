//! LZF, the compression of long strings in RDB files.
//!
//! ```text
//! 000nnnnn <n+1 bytes>              bytes as they are, 1..32
//! LLLooooo oooooooo                 L+2 bytes (L: 1..6) from 1 + o bytes back in the output
//! 111ooooo llllllll oooooooo        9 + l bytes from there
//! ```
//! The copy may reach into what it writes itself: that is how runs are coded. Ours rather than the `lzf` crate's, which
//! clears a table of half a megabyte for each string that it packs.

/// Literals in one run.
const LITERAL_MAX: usize = 32;
/// The farthest and the longest copy.
const OFFSET_MAX: usize = 1 << 13;
const COPY_MAX: usize = 264;
const HASH_BITS: u32 = 14;
/// Most runs are short: so many bytes are copied without a look at how many it is.
const STEP_BYTES: usize = LITERAL_MAX;
const SHORT_BYTES: usize = 16;
/// Packing must save as much.
const SAVED_BYTES: usize = 4;
/// Of what a string in pieces packs to, so much is kept until its length is known; beyond, it is packed twice.
const KEPT_BYTES: usize = 1 << 20;
/// No input unpacks to more than this many times its length: three bytes give at most `COPY_MAX`.
pub const RATIO_MAX: usize = COPY_MAX / 3;

/// Unpacks `packed` to the end of `out`; false, and `out` undefined, unless it is whole and gives exactly `len_bytes`.
pub fn unpack(packed: &[u8], len_bytes: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let end = start + len_bytes;
    out.resize(end + STEP_BYTES, 0);
    let (mut rest, mut at) = (packed, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    while let Some((&head, after)) = rest.split_first() {
        let head = usize::from(head);
        let step = if head < LITERAL_MAX {
            literals(head + 1, after, room, at)
        } else {
            copy(head, after, room, at)
        };
        match step {
            Some((written, left)) if at + written <= len_bytes => (at, rest) = (at + written, left),
            _ => return false,
        }
    }
    out.truncate(end);
    at == len_bytes
}

/// Writes `count` bytes of `rest` at `at`; returns how many, and what is left.
#[inline]
fn literals<'a>(count: usize, rest: &'a [u8], room: &mut [u8], at: usize) -> Option<(usize, &'a [u8])> {
    let (bytes, left) = rest.split_at_checked(count)?;
    let to = room.get_mut(at..)?;
    match (rest.first_chunk::<STEP_BYTES>(), to.first_chunk_mut::<STEP_BYTES>()) {
        // No literal is longer; what is too much is written over or cut off.
        (Some(from), Some(to)) => *to = *from,
        _ => to.get_mut(..count)?.copy_from_slice(bytes),
    }
    Some((count, left))
}

#[inline]
fn copy<'a>(head: usize, rest: &'a [u8], room: &mut [u8], at: usize) -> Option<(usize, &'a [u8])> {
    let (len, rest) = match head >> 5 {
        7 => rest.split_first().map(|(&more, rest)| (9 + usize::from(more), rest))?,
        short => (short + 2, rest),
    };
    let (&low, rest) = rest.split_first()?;
    let back = 1 + ((head & 0x1f) << 8 | usize::from(low));
    let from = at.checked_sub(back)?;
    let (before, behind) = room.split_at_mut_checked(at)?;
    let source = before.get(from..)?.first_chunk::<SHORT_BYTES>();
    match (source, behind.first_chunk_mut::<SHORT_BYTES>()) {
        (Some(source), Some(to)) if len <= SHORT_BYTES => *to = *source,
        _ => copy_long(room.get_mut(from..at + len)?, back),
    }
    Some((len, rest))
}

/// Fills `room` with what its first bytes are: what was copied already is copied again.
fn copy_long(room: &mut [u8], first_bytes: usize) {
    if let (1, Some((&mut byte, run))) = (first_bytes, room.split_first_mut()) {
        return run.fill(byte);
    }
    let mut filled = first_bytes;
    while filled < room.len() {
        let step = filled.min(room.len() - filled);
        room.copy_within(..step, filled);
        filled += step;
    }
}

/// Packs strings; reused, because its table is large.
#[derive(Debug)]
pub struct Packer {
    /// Where three bytes with this hash were seen last, counted from the first string on: `base` is where the current
    /// one begins, so that whatever former strings left is recognised without being cleared.
    seen: Vec<u32>,
    base: u32,
    next: u32,
}

impl Default for Packer {
    fn default() -> Self {
        Packer { seen: vec![0; 1 << HASH_BITS], base: 1, next: 1 }
    }
}

impl Packer {
    /// How many bytes a string of `len` bytes packs to that stands in pieces, of which each is [packed](Self::pack_piece)
    /// by itself; `None` if that would not save at least four. `out` has all of them if there are no more, and never many
    /// more than a piece gives.
    pub fn measure<'a>(
        &mut self,
        len: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        out.clear();
        let (room, mut dropped) = (len.checked_sub(SAVED_BYTES)?, 0);
        for piece in pieces {
            if out.len() > KEPT_BYTES {
                dropped += out.len();
                out.clear();
            }
            if !self.append_packed(piece, room - dropped, out) {
                return None;
            }
        }
        Some(dropped + out.len())
    }

    /// Packs a piece into `out`, which is cleared first.
    pub fn pack_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.clear();
        self.append_packed(piece, usize::MAX, out);
    }

    /// False, too, once there is no room in `out`.
    fn append_packed(&mut self, bytes: &[u8], room: usize, out: &mut Vec<u8>) -> bool {
        if !self.begin(bytes.len()) {
            return false;
        }
        let (mut at, mut literal_from) = (0, 0);
        while let Some(&[a, b, c, ..]) = bytes.get(at..).filter(|rest| rest.len() >= 3) {
            let Some(from) = self.visit([a, b, c], at).filter(|&from| is_match(bytes, from, at)) else {
                at += 1;
                continue;
            };
            let len = match_len(bytes, from, at);
            push_literals(bytes.get(literal_from..at).unwrap_or_default(), out);
            push_copy(at - from - 1, len, out);
            if out.len() > room {
                return false;
            }
            at += len;
            literal_from = at;
        }
        push_literals(bytes.get(literal_from..).unwrap_or_default(), out);
        out.len() <= room
    }

    /// Makes positions of this string differ from all before it; false if they could not be counted.
    fn begin(&mut self, len: usize) -> bool {
        let Ok(len) = u32::try_from(len) else { return false };
        self.base = self.next;
        if self.base.checked_add(len).is_none() {
            self.seen.fill(0);
            self.base = 1;
        }
        self.next = self.base.saturating_add(len);
        true
    }

    /// Notes a position, and returns the one before it with the same hash.
    fn visit(&mut self, three: [u8; 3], at: usize) -> Option<usize> {
        let value = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        let slot = (value.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize;
        let seen = self.seen.get_mut(slot)?;
        let before = std::mem::replace(seen, self.base + at as u32);
        before.checked_sub(self.base).map(|from| from as usize)
    }
}

fn is_match(bytes: &[u8], from: usize, at: usize) -> bool {
    at - from <= OFFSET_MAX && bytes.get(from..from + 3) == bytes.get(at..at + 3)
}

fn match_len(bytes: &[u8], from: usize, at: usize) -> usize {
    let (Some(ahead), Some(behind)) = (bytes.get(at..), bytes.get(from..)) else { return 0 };
    ahead.iter().zip(behind).take(COPY_MAX).take_while(|(a, b)| a == b).count()
}

fn push_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(LITERAL_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn push_copy(offset: usize, len: usize, out: &mut Vec<u8>) {
    let high = (offset >> 8) as u8;
    if len < 9 {
        out.push((len as u8 - 2) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 9) as u8]);
    }
    out.push(offset as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(packer: &mut Packer, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut packed = Vec::new();
        packer.measure(bytes.len(), std::iter::once(bytes), &mut packed).map(|_| packed)
    }

    fn round_trip(packer: &mut Packer, bytes: &[u8]) -> Option<usize> {
        let packed = pack(packer, bytes)?;
        let mut out = b"before".to_vec();
        assert!(unpack(&packed, bytes.len(), &mut out));
        assert_eq!(&out[6..], bytes);
        assert!(!unpack(&packed, bytes.len() + 1, &mut Vec::new()));
        assert!(!unpack(&packed, bytes.len() - 1, &mut Vec::new()));
        Some(packed.len())
    }

    #[test]
    fn runs_and_repetitions_shrink_and_noise_does_not() {
        let mut packer = Packer::default();
        assert!(round_trip(&mut packer, &[b'a'; 10_000]).unwrap() < 200);
        let text = b"the quick brown fox ".repeat(50);
        assert!(round_trip(&mut packer, &text).unwrap() < 100);
        assert_eq!(round_trip(&mut packer, b"abcdefghijklmnopqrstuvwxyz"), None);
        assert_eq!(round_trip(&mut packer, b""), None);
    }

    #[test]
    fn a_string_is_packed_the_same_whatever_came_before_it() {
        let (mut fresh, mut used) = (Packer::default(), Packer::default());
        let text = b"one two three one two three one two three".repeat(3);
        for other in [&b"three two one three two one"[..], &[0; 100], &text] {
            pack(&mut used, other);
        }
        let packed = pack(&mut fresh, &text);
        assert!(packed.is_some());
        assert_eq!(packed, pack(&mut used, &text));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(parts in prop::collection::vec((0u8..4, 1usize..400), 0..20)) {
            let bytes: Vec<u8> = parts
                .iter()
                .flat_map(|&(kind, len)| (0..len).map(move |n| if kind == 0 { (n * n / 7) as u8 } else { kind }))
                .collect();
            round_trip(&mut Packer::default(), &bytes);
        }

        #[test]
        fn no_bytes_unpack_to_more_than_they_may(bytes in prop::collection::vec(any::<u8>(), 0..60), len in 0usize..600) {
            let mut out = Vec::new();
            let whole = unpack(&bytes, len, &mut out);
            prop_assert!(!whole || out.len() == len);
            prop_assert!(out.len() <= len + COPY_MAX);
        }
    }
}
