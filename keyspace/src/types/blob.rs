//! What a small collection is: bytes behind nothing but their count of owners, shared until one side writes.
//!
//! Behind the bytes that count there may be idle ones: all that the allocator gives. How many count, the format of the
//! bytes says.

use std::ops::{Deref, Range};

use triomphe::Arc;

use crate::room::allocated_bytes;

/// The count of owners.
const HEADER_BYTES: usize = size_of::<usize>();

/// What a blob begins as, up to the size of a list's node: longer ones take another allocation until they are filled.
static IDLE: [u8; 8 * 1024 + 512] = [0; 8 * 1024 + 512];

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

    /// A blob of these bytes, and room for so many more.
    pub(crate) fn with_room(bytes: &[u8], more: usize) -> Self {
        Blob::of(bytes, more, &[])
    }

    /// Bytes, so many idle ones, and bytes.
    fn of(before: &[u8], gap: usize, behind: &[u8]) -> Self {
        let len = before.len() + gap + behind.len();
        let room = allocated_bytes(HEADER_BYTES + len) - HEADER_BYTES;
        let mut blob = Blob(IDLE.get(..room).map_or_else(|| Arc::from(vec![0; room]), Arc::from));
        if let Some(bytes) = blob.own_mut() {
            bytes[..before.len()].copy_from_slice(before);
            bytes[before.len() + gap..len].copy_from_slice(behind);
        }
        blob
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
        let bytes = self.own_mut().unwrap_or_default();
        if !moves && range.end != end {
            bytes.copy_within(range.end..len, end);
        }
        bytes
    }

    /// All bytes, to be changed where they are, if nobody else has them.
    #[inline]
    pub(crate) fn own_mut(&mut self) -> Option<&mut [u8]> {
        Arc::get_mut(&mut self.0)
    }

    /// Whether so many bytes need another place: a snapshot has this one too, or its size does not suit.
    #[inline]
    fn must_move(&self, len: usize) -> bool {
        let own = self.len();
        len > own || own > 2 * len + 4 * HEADER_BYTES || !self.0.is_unique()
    }
}
