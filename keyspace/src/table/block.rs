//! A block: the bytes of several records, side by side from the start.

/// Bytes of records to a block: with its count and its length a block has a size that the allocator has, too.
pub(super) const BLOCK_BYTES: usize = 640 - size_of::<usize>() - size_of::<u16>();

/// Some records.
#[derive(Debug, Clone)]
pub(super) struct Block {
    len: u16,
    bytes: [u8; BLOCK_BYTES],
}

impl Block {
    pub(super) fn new() -> Self {
        Block { len: 0, bytes: [0; BLOCK_BYTES] }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// What stands at `at`, be it a record's or not.
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    /// The bytes from `at` on; where the record there ends it says itself. To ask for the length would be one cache
    /// miss more.
    #[inline]
    pub(super) fn from(&self, at: u16) -> &[u8] {
        &self.bytes[usize::from(at)..]
    }

    /// By how many bytes it can grow.
    #[inline]
    pub(super) fn room(&self) -> usize {
        BLOCK_BYTES - self.len()
    }

    /// Appends a record of so many bytes, for which there is room and which the caller is to write; returns where it is.
    #[inline]
    pub(super) fn push(&mut self, len: usize) -> (u16, &mut [u8]) {
        let at = self.len;
        self.len += len as u16;
        (at, &mut self.bytes[usize::from(at)..usize::from(self.len)])
    }

    /// Makes a record at `at` longer or shorter at its end, and returns it; what is behind it moves.
    #[inline]
    pub(super) fn resize(&mut self, at: u16, old_len: usize, new_len: usize) -> &mut [u8] {
        let start = usize::from(at);
        let (old_end, new_end) = (start + old_len, start + new_len);
        if old_end != new_end {
            let len = self.len();
            self.bytes.copy_within(old_end..len, new_end);
            self.len = (len - old_end + new_end) as u16;
        }
        &mut self.bytes[start..new_end]
    }

    /// As [`from`](Self::from), to be changed.
    #[inline]
    pub(super) fn behind_mut(&mut self, at: u16) -> &mut [u8] {
        &mut self.bytes[usize::from(at)..]
    }
}
