//! What a small collection is: bytes behind nothing but their count of owners, shared until one side writes.
//!
//! Behind the bytes that count there may be idle ones: all that the allocator gives. How many count, the format of the
//! bytes says.

use std::ops::{Deref, Range};

use smallvec::SmallVec;
use triomphe::Arc;

use crate::room::allocated_bytes;

/// The count of owners.
const HEADER_BYTES: usize = size_of::<usize>();

/// Blobs up to this size are put together without an allocation more.
const SHORT_BYTES: usize = 1024;

/// A blob.
#[derive(Debug, Clone)]
pub(crate) struct Blob(Arc<[u8]>);

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Blob {
    /// A blob of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Blob::of(bytes, 0, &[])
    }

    /// Bytes, so many idle ones, and bytes.
    fn of(before: &[u8], gap: usize, behind: &[u8]) -> Self {
        let len = before.len() + gap + behind.len();
        let room = allocated_bytes(HEADER_BYTES + len) - HEADER_BYTES;
        let mut bytes: SmallVec<[u8; SHORT_BYTES]> = SmallVec::with_capacity(room);
        bytes.extend_from_slice(before);
        bytes.resize(before.len() + gap, 0);
        bytes.extend_from_slice(behind);
        bytes.resize(room, 0);
        Blob(Arc::from(&bytes[..]))
    }

    /// What a blob of so many bytes takes on the heap, at least.
    pub(crate) fn bytes_for(len: usize) -> usize {
        HEADER_BYTES + len
    }

    /// What it takes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        Blob::bytes_for(self.len())
    }

    /// Puts `inserted` bytes, which the caller is to write, in the place of a range of the first `len`; returns all.
    pub(crate) fn splice(&mut self, len: usize, range: Range<usize>, inserted: usize) -> &mut [u8] {
        let (end, new_len) = (range.start + inserted, len - range.len() + inserted);
        let moves = self.must_move(new_len);
        if moves {
            *self = Blob::of(&self[..range.start], inserted, &self[range.end..len]);
        }
        // By now it has one owner.
        let bytes = Arc::get_mut(&mut self.0).unwrap_or_default();
        if !moves && range.end != end {
            bytes.copy_within(range.end..len, end);
        }
        bytes
    }

    /// Whether so many bytes need another place: a snapshot has this one too, or its size does not suit.
    #[inline]
    fn must_move(&self, len: usize) -> bool {
        let own = self.len();
        len > own || own > 2 * len + 4 * HEADER_BYTES || !self.0.is_unique()
    }
}
