//! Hash.

/// Hash.
#[derive(Debug, Clone, Default)]
pub struct Hash;

impl Hash {
    /// Number of elements.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }

    /// How many allocations freeing it takes.
    pub fn free_effort(&self) -> usize {
        1
    }
}
