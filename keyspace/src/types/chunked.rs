//! Strings of more than one chunk: a counted tree of chunks, of 64 KiB each, so that a write after a clone copies those
//! that it touches, and the tree's path to them, and not the string.
//!
//! ```text
//! [64 KiB] [64 KiB] [] [64 KiB] [5 bytes, and 3 idle ones]
//! ```
//! A chunk holds its first bytes; what it does not hold is zeros. So a string is lengthened without being filled, a bitmap
//! with one bit far out takes one chunk, and chunks of zeros are never stored. Behind the string's end the last chunk may
//! hold idle bytes, zeros too.

use std::ops::Range;

use triomphe::Arc;

use super::string::{HEADER_BYTES, copied, make_private};
use super::tree::{Item, Tree};
use crate::Str;

/// Bytes of a chunk, but for the last one: with the header of their allocation 64 KiB. A string that is longer is chunked.
pub const CHUNK_BYTES: usize = 64 * 1024 - HEADER_BYTES;

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

    /// The bytes of a range, those that it holds and the zeros behind them.
    fn pieces(&self, range: Range<usize>) -> [&[u8]; 2] {
        let held = self.0.get(range.start..range.end.min(self.0.len())).unwrap_or_default();
        [held, &ZEROS[held.len()..range.len()]]
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
        let (start, end) = (range.start, range.end.min(self.len));
        let numbers = start / CHUNK_BYTES..if start < end { end.div_ceil(CHUNK_BYTES) } else { 0 };
        let chunks = self.chunks.range(numbers.clone()).zip(numbers);
        let pieces = chunks.flat_map(move |(chunk, number)| {
            let origin = number * CHUNK_BYTES;
            chunk.pieces(start.max(origin) - origin..(end - origin).min(CHUNK_BYTES))
        });
        pieces.filter(|piece| !piece.is_empty())
    }

    /// Lengthens it with zeros to at least `len` bytes.
    pub fn grow(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        while chunks.len() * CHUNK_BYTES < len {
            chunks.push_back(Chunk::default());
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

#[cfg(test)]
mod tests;
