//! A set that is asked for many members: a listpack would be searched from its start for each of them, so its members
//! are put into a table first; an intset is asked for integers in their order, and searched from the last one on.

use hashbrown::HashTable;

use super::Set;
use crate::types::intset::Finger;
use crate::types::listpack::Element;

/// Whether elements are in a set.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// It is asked itself.
    Set(&'a Set),
    /// An intset that is asked for the members of another: they come in order.
    Ints(Finger<'a>),
    /// The members of a listpack.
    Table(HashTable<Element<'a>>),
}

impl<'a> Lookup<'a> {
    /// Prepares `set` to be asked for the members of `asked`.
    pub fn new(set: &'a Set, asked: &Set) -> Self {
        /// So few are found sooner than a table is built.
        const FEW: usize = 8;
        if let Some((ints, _)) = set.as_intset().zip(asked.as_intset()) {
            return Lookup::Ints(Finger::new(ints));
        }
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
        match (self, element) {
            (Lookup::Ints(finger), Element::Int(value)) => finger.contains(value),
            // Nobody asks for them.
            (Lookup::Ints(_), Element::Bytes(_)) => false,
            (Lookup::Set(set), _) => set.contains_element(element),
            (Lookup::Table(table), _) => table.find(hash(element), |own| *own == element).is_some(),
        }
    }
}

/// A hash that is quick, and not secret: if all members collide, they are compared one by one as in the listpack.
fn hash(element: Element<'_>) -> u64 {
    match element {
        Element::Int(value) => mixed(value as u64, 0),
        Element::Bytes(bytes) => {
            // Names differ at their ends, as `user:17`, or at their beginnings, as `17:name` and `17.example.org`.
            let (start, end) = match (bytes.first_chunk(), bytes.last_chunk()) {
                (Some(start), Some(end)) => (u64::from_le_bytes(*start), u64::from_le_bytes(*end)),
                _ => (0, bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))),
            };
            mixed(end, start.wrapping_add(bytes.len() as u64))
        }
    }
}

/// The product of two numbers, folded: the table takes its bits from both ends.
fn mixed(a: u64, b: u64) -> u64 {
    // Added rather than combined by exclusive or: the small numbers that are usual never make a factor zero.
    let product =
        u128::from(a.wrapping_add(0x9e37_79b9_7f4a_7c15)) * u128::from(b.wrapping_add(0xa076_1d64_78bd_642f));
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Element, hash};

    #[test]
    fn names_that_differ_at_either_end_or_in_length_have_different_hashes() {
        let names = |name: fn(u32) -> String| (0..1000).map(name).collect::<Vec<_>>();
        for names in [
            names(|n| format!("user:{n}")),
            names(|n| format!("{n}.example.org")),
            names(|n| "x".repeat(n as usize)),
            names(|n| "\0".repeat(n as usize)),
        ] {
            let hashes: BTreeSet<u64> =
                names.iter().map(|name| hash(Element::Bytes(name.as_bytes()))).collect();
            assert_eq!(hashes.len(), names.len(), "{}", names[1]);
        }
        assert_eq!((0..1000).map(|n| hash(Element::Int(n))).collect::<BTreeSet<_>>().len(), 1000);
    }
}
