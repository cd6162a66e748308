//! A listpack that is built from its first element to its last, as one allocation at the end.

use super::{END, Encoded, HEADER_BYTES, Listpack, set_header};
use crate::types::blob::Blob;

/// Elements on their way into a listpack. Its room is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// Room for the header, and the elements.
    bytes: Vec<u8>,
    len: usize,
}

impl Builder {
    /// Appends an element.
    pub(crate) fn push(&mut self, element: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER_BYTES, 0);
        }
        let (start, encoded) = (self.bytes.len(), Encoded::new(element));
        self.bytes.resize(start + encoded.len_bytes(), 0);
        encoded.write(&mut self.bytes[start..]);
        self.len += 1;
    }

    /// Number of elements so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What they take.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The listpack; the builder is empty then.
    pub(crate) fn finish(&mut self) -> Listpack {
        self.bytes.resize(self.bytes.len().max(HEADER_BYTES), 0);
        self.bytes.push(END);
        let len_bytes = self.bytes.len();
        set_header(&mut self.bytes, len_bytes, self.len as isize);
        let pack = Listpack(Blob::new(&self.bytes));
        self.clear();
        pack
    }

    /// Forgets the elements, and a rare giant's room.
    pub(crate) fn clear(&mut self) {
        const KEPT_BYTES: usize = 1 << 16;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.len = 0;
    }
}
