//! Strings of more than one chunk: a counted tree of chunks, of 64 KiB each, so that a write after a clone copies those
//! that it touches, and the tree's path to them, and not the string.
//!
//! ```text
//! [64 KiB] [64 KiB] [] [64 KiB] [5 bytes, and 3 idle ones]
//! ```
//! A chunk holds its first bytes; what it does not hold is zeros. So a string is lengthened by much without being
//! filled: a bitmap with one bit far out takes one chunk and 16 bytes for each that is empty, and does so again when it
//! is loaded. Behind the string's end the last chunk may hold idle bytes, zeros too.

use std::ops::Range;

use triomphe::Arc;

use super::string::{HEADER_BYTES, copied, make_private};
use super::tree::{Item, Tree};
use crate::Str;

/// Bytes of a chunk, but for the last one: with the header of their allocation 64 KiB. What is longer is chunked.
pub const CHUNK_BYTES: usize = 64 * 1024 - HEADER_BYTES;

/// By up to so many bytes a string is lengthened in earnest, for who writes behind its end to reserve room.
const RESERVED_BYTES: usize = 1 << 20;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// A string in chunks. Cloning it takes a snapshot.
#[derive(Debug, Clone)]
pub struct Chunked {
    chunks: Arc<Tree<Chunk>>,
    len: usize,
}

/// The bytes that a chunk holds.
#[derive(Debug, Clone, Default)]
struct Chunk(Str);

impl Item for Chunk {
    type Key = ();

    fn key(&self) {}

    /// What it takes on the heap.
    fn weight(&self) -> usize {
        if self.0.is_empty() { 0 } else { HEADER_BYTES + self.0.len() }
    }
}

impl Chunk {
    fn new(bytes: &[u8]) -> Self {
        let is_zero = ZEROS.starts_with(bytes);
        Chunk(if is_zero { Str::new() } else { copied(bytes) })
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.hold(end);
        self.0.make_mut()[at..end].copy_from_slice(bytes);
    }

    /// Makes it hold at least `len` bytes, in a place of its own.
    fn hold(&mut self, len: usize) {
        let held = self.0.len();
        if len <= held {
            return make_private(&mut self.0);
        }
        let mut longer = Str::from_elem(0, (2 * held).clamp(len, CHUNK_BYTES));
        longer.make_mut()[..held].copy_from_slice(&self.0);
        self.0 = longer;
    }
}

impl Chunked {
    /// A string of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Chunked::from_chunks(bytes.len(), bytes.chunks(CHUNK_BYTES).map(Chunk::new))
    }

    /// A string of `len` bytes, which `fill` writes over zeros, range by range.
    pub fn filled(len: usize, mut fill: impl FnMut(Range<usize>, &mut [u8])) -> Self {
        let mut bytes = vec![0; CHUNK_BYTES];
        let chunk = |start: usize| {
            let range = start..len.min(start + CHUNK_BYTES);
            let bytes = &mut bytes[..range.len()];
            bytes.fill(0);
            fill(range, bytes);
            Chunk::new(bytes)
        };
        Chunked::from_chunks(len, (0..len).step_by(CHUNK_BYTES).map(chunk))
    }

    fn from_chunks(len: usize, chunks: impl Iterator<Item = Chunk>) -> Self {
        Chunked { chunks: Arc::new(chunks.collect()), len }
    }

    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many allocations freeing it takes, at most.
    pub fn free_effort(&self) -> usize {
        self.chunks.len()
    }

    /// What it takes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of::<usize>()
            + size_of::<Tree<Chunk>>()
            + self.chunks.len() * size_of::<Chunk>()
            + self.chunks.weight()
    }

    /// The bytes of a range, as far as there are any, in pieces.
    pub fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        pieces(range, self.len, |range| self.piece(range))
    }

    /// The bytes that its chunks hold, and where: all others are zeros.
    pub fn held(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let starts = (0..self.len).step_by(CHUNK_BYTES);
        let held = self.chunks.iter().zip(starts).map(|(chunk, start)| {
            let len = chunk.0.len().min(self.len - start);
            (start, &chunk.0[..len])
        });
        held.filter(|(_, bytes)| !bytes.is_empty())
    }

    /// The first bytes of a range of its bytes that stand in a row: what a chunk holds, or its zeros behind that.
    pub(super) fn piece(&self, range: Range<usize>) -> &[u8] {
        let place = range.start % CHUNK_BYTES;
        let end = CHUNK_BYTES.min(place + range.len());
        let chunk = self.chunks.get(range.start / CHUNK_BYTES);
        let held = chunk.and_then(|chunk| chunk.0.get(place..end.min(chunk.0.len())));
        held.filter(|held| !held.is_empty()).unwrap_or(&ZEROS[place..end])
    }

    /// Lengthens it with zeros to at least `len` bytes.
    pub fn grow(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        let is_near = len - self.len <= RESERVED_BYTES;
        let chunks = Arc::make_mut(&mut self.chunks);
        while let Some(more) = len.checked_sub(chunks.len() * CHUNK_BYTES).filter(|more| *more > 0) {
            let held = if is_near { more.min(CHUNK_BYTES) } else { 0 };
            chunks.push_back(Chunk(Str::from_elem(0, held)));
        }
        self.len = len;
    }

    /// Overwrites it from `at` on, and lengthens it where its end comes first.
    pub fn write(&mut self, mut at: usize, bytes: &[u8]) {
        self.grow(at + bytes.len());
        let chunks = Arc::make_mut(&mut self.chunks);
        let mut rest = bytes;
        while !rest.is_empty() {
            let place = at % CHUNK_BYTES;
            let (bytes, behind) = rest.split_at(rest.len().min(CHUNK_BYTES - place));
            chunks.update(at / CHUNK_BYTES, |chunk| chunk.write(place, bytes));
            at += bytes.len();
            rest = behind;
        }
    }
}

/// Cuts a range, as far as it is within `len`, into pieces: `first` is the first one of a range.
pub(super) fn pieces<'a>(
    range: Range<usize>,
    len: usize,
    first: impl Fn(Range<usize>) -> &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    let (mut start, end) = (range.start, range.end.min(len));
    std::iter::from_fn(move || {
        let piece = if start < end { first(start..end) } else { &[] };
        start += piece.len();
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests;
