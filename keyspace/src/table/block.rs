//! A block: the bytes of several records, side by side from the start.

/// Bytes of records to a block: with its count and its length a block has a size that the allocator has, too.
pub(super) const BLOCK_BYTES: usize = 512 - size_of::<usize>() - size_of::<u16>();

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

    /// Appends a record, in parts, for which there is room; returns where it is.
    #[inline]
    pub(super) fn push<const N: usize>(&mut self, parts: [&[u8]; N]) -> u16 {
        let at = self.len;
        for part in parts {
            let start = self.len();
            self.bytes[start..start + part.len()].copy_from_slice(part);
            self.len += part.len() as u16;
        }
        at
    }

    /// Puts a record in the place of `old_len` bytes at `at`; what is behind them moves.
    #[inline]
    pub(super) fn splice(&mut self, at: u16, old_len: usize, record: &[u8]) {
        let start = usize::from(at);
        let (old_end, new_end) = (start + old_len, start + record.len());
        if old_end != new_end {
            let len = self.len();
            self.bytes.copy_within(old_end..len, new_end);
            self.len = (len - old_end + new_end) as u16;
        }
        self.bytes[start..new_end].copy_from_slice(record);
    }
}
