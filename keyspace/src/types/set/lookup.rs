//! A set that is asked for many members: a listpack would be searched from its start for each of them, so its members
//! are put into a table first.

use hashbrown::HashTable;

use super::Set;
use crate::types::listpack::Element;

/// Whether elements are in a set.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// It is asked itself.
    Set(&'a Set),
    /// The members of a listpack.
    Table(HashTable<Element<'a>>),
}

impl<'a> Lookup<'a> {
    /// Prepares `set` to be asked for the members of `asked`.
    pub fn new(set: &'a Set, asked: &Set) -> Self {
        /// So few are found sooner than a table is built.
        const FEW: usize = 8;
        // In a table an integer is a string, so what comes from one does not compare with a listpack's elements.
        let Some(pack) = set.as_listpack().filter(|_| asked.len() > FEW && asked.as_table().is_none()) else {
            return Lookup::Set(set);
        };
        let mut table = HashTable::with_capacity(pack.len());
        for element in pack.iter() {
            table.insert_unique(hash(element), element, |&element| hash(element));
        }
        Lookup::Table(table)
    }

    /// Whether the set has the member.
    pub fn contains(&self, element: Element<'_>) -> bool {
        match self {
            Lookup::Set(set) => set.contains_element(element),
            Lookup::Table(table) => table.find(hash(element), |own| *own == element).is_some(),
        }
    }
}

/// A hash that is quick, and not secret: if all members collide, they are compared one by one as in the listpack.
fn hash(element: Element<'_>) -> u64 {
    let low = match element {
        Element::Int(value) => value as u64,
        Element::Bytes(bytes) => {
            // Names are told apart by their ends.
            let short = || bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            bytes.last_chunk().map_or_else(short, |end| u64::from_le_bytes(*end))
        }
    };
    // The table takes its bits from both ends.
    let product = u128::from(low) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}
