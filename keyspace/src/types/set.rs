//! A set: an intset while its members are integers and few, a listpack while they are few and short, a table otherwise.
//!
//! ```text
//! intset    -> listpack    a member that is no integer, and the thresholds of a listpack hold
//! intset    -> hashtable   the same, and they do not; or more than set-max-intset-entries
//! listpack  -> hashtable   more than set-max-listpack-entries, or a member above set-max-listpack-value bytes
//! ```
//! There is no way back, but for a set whose SPOP leaves less than a fifth. Source: redis 7.2 `src/t_set.c`.

use std::collections::HashSet;

use resp::number;
use triomphe::Arc;

use super::intset::Intset;
use super::listpack::{self, Element, Listpack};
use crate::table::{Fields, HashSeed};
use crate::{Limits, Random, Str};

mod lookup;

pub use self::lookup::Lookup;

/// A set of byte strings.
#[derive(Debug, Clone)]
pub struct Set(Form);

#[derive(Debug, Clone)]
enum Form {
    Ints(Intset),
    Pack(Listpack),
    Table(Arc<Fields>),
}

/// When a set changes its encoding, and what it hashes with then.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    intset_entries: usize,
    listpack_entries: usize,
    listpack_value_bytes: usize,
    seed: HashSeed,
}

/// An intset larger than this is refused by Redis as well, whatever `set-max-intset-entries` says.
const INTSET_ENTRIES_MAX: usize = 1 << 30;

/// SPOP builds a new set of what stays if it takes more than this times as much. Source: `SPOP_MOVE_STRATEGY_MUL`.
const REBUILD_RATIO: usize = 5;

impl Thresholds {
    /// What the configuration says of sets.
    pub fn new(limits: &Limits, seed: HashSeed) -> Self {
        Thresholds {
            intset_entries: limits.set_max_intset_entries.min(INTSET_ENTRIES_MAX),
            listpack_entries: limits.set_max_listpack_entries,
            listpack_value_bytes: limits.set_max_listpack_value,
            seed,
        }
    }
}

impl Default for Set {
    /// An empty intset.
    fn default() -> Self {
        Set(Form::Ints(Intset::new()))
    }
}

impl From<Intset> for Set {
    fn from(intset: Intset) -> Self {
        Set(Form::Ints(intset))
    }
}

impl From<Listpack> for Set {
    /// Takes a listpack without doubles.
    fn from(pack: Listpack) -> Self {
        Set(Form::Pack(pack))
    }
}

impl Set {
    /// An empty set in the encoding that suits `first`, when about `expected` members will be added.
    pub fn for_members(first: &[u8], expected: usize, thresholds: Thresholds) -> Self {
        if number::parse_i64(first).is_some() && expected <= thresholds.intset_entries {
            Set::default()
        } else if expected <= thresholds.listpack_entries {
            Set::listpack()
        } else {
            Set(Form::Table(Arc::new(Fields::new(thresholds.seed))))
        }
    }

    /// An empty listpack.
    pub fn listpack() -> Self {
        Set(Form::Pack(Listpack::new()))
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.len(),
            Form::Pack(pack) => pack.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Ints(_) => "intset",
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// How many allocations freeing it takes.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Form::Table(table) => table.len(),
            _ => 1,
        }
    }

    /// The members as an intset, if that is the encoding.
    pub fn as_intset(&self) -> Option<&Intset> {
        match &self.0 {
            Form::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    /// The members as a listpack, if that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Form::Pack(pack) => Some(pack),
            _ => None,
        }
    }

    /// The members as a table, if that is the encoding.
    pub fn as_table(&self) -> Option<&Fields> {
        match &self.0 {
            Form::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The members: integers ascending, those of a listpack as they were added, those of a table in no order.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        match &self.0 {
            Form::Ints(ints) => Members::Ints(ints.iter().map(Element::Int)),
            Form::Pack(pack) => Members::Pack(pack.iter()),
            Form::Table(table) => Members::Table(table.iter().map(|member| Element::Bytes(member.key()))),
        }
    }

    /// Visits about `count` members from `cursor` on, all of them in a compact encoding; returns the cursor to go on
    /// from, 0 at the end.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'a>)) -> u64 {
        match &self.0 {
            Form::Table(table) => table.scan(cursor, count, |member| visit(Element::Bytes(member.key()))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Whether `member` is one.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Ints(ints) => number::parse_i64(member).is_some_and(|value| ints.contains(value)),
            Form::Pack(pack) => pack.find(pack.first(), member, 1).is_some(),
            Form::Table(table) => table.seek(table.seed().hash(member), member).is_some(),
        }
    }

    /// Whether an element of another set is a member of this one.
    pub fn contains_element(&self, element: Element<'_>) -> bool {
        match (&self.0, element) {
            (Form::Ints(ints), Element::Int(value)) => ints.contains(value),
            _ => element.with_bytes(|bytes| self.contains(bytes)),
        }
    }

    /// Makes room for about `expected` more members: a compact set that would outgrow its encoding changes it now.
    pub fn expect(&mut self, expected: usize, thresholds: Thresholds) {
        let most = match &self.0 {
            Form::Ints(_) => thresholds.intset_entries,
            Form::Pack(_) => thresholds.listpack_entries,
            Form::Table(_) => return,
        };
        if expected > most {
            self.expand(thresholds.seed);
        }
    }

    /// Adds a member; false if it was there.
    pub fn add(&mut self, member: &[u8], thresholds: Thresholds) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => match number::parse_i64(member) {
                Some(value) => {
                    let added = ints.insert(value);
                    if added && ints.len() > thresholds.intset_entries {
                        self.expand(thresholds.seed);
                    }
                    added
                }
                None => {
                    self.leave_intset(member, thresholds);
                    self.add(member, thresholds)
                }
            },
            Form::Pack(pack) => {
                if pack.find(pack.first(), member, 1).is_some() {
                    return false;
                }
                if fits(pack.len(), pack.len_bytes(), member, thresholds) {
                    pack.push_back(member);
                } else {
                    self.expand(thresholds.seed);
                    return self.add(member, thresholds);
                }
                true
            }
            Form::Table(table) => {
                // Nothing shared with a snapshot is copied for a member that is there.
                let Ok(gap) = table.gap(table.seed().hash(member), member) else { return false };
                Arc::make_mut(table).fill(gap, member, &[]);
                true
            }
        }
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => number::parse_i64(member).is_some_and(|value| ints.remove(value)),
            Form::Pack(pack) => match pack.find(pack.first(), member, 1) {
                Some(at) => {
                    pack.remove(at, 1);
                    true
                }
                None => false,
            },
            Form::Table(table) => {
                let hash = table.seed().hash(member);
                // A table shared with a snapshot is not copied for a member that is not there.
                table.seek(hash, member).is_some() && Arc::make_mut(table).remove(hash, member)
            }
        }
    }

    /// A member, each as likely as the next.
    pub fn random(&self, random: &mut Random) -> Option<Element<'_>> {
        match &self.0 {
            Form::Ints(ints) => ints.get(random.below(ints.len())).map(Element::Int),
            Form::Pack(pack) => {
                let at = pack.seek(random.below(pack.len()) as isize)?;
                Some(pack.get(at))
            }
            Form::Table(table) => table.random(random).map(|member| Element::Bytes(member.key())),
        }
    }

    /// Visits `count` different members (all, if there are not so many), each choice as likely as the next.
    pub fn sample<'a>(&'a self, count: usize, random: &mut Random, mut visit: impl FnMut(Element<'a>)) {
        match &self.0 {
            // Few of many: draw until enough of them differ.
            Form::Table(table) if count <= table.len() / 3 => {
                let mut seen = HashSet::new();
                while seen.len() < count {
                    let Some(member) = table.random(random) else { return };
                    if seen.insert(member.key()) {
                        visit(Element::Bytes(member.key()));
                    }
                }
            }
            _ => {
                let mut chosen = random.sample(count, self.len());
                self.iter().filter(|_| chosen()).for_each(visit);
            }
        }
    }

    /// Takes `count` members (all, if there are not so many) out, each choice as likely as the next.
    pub fn pop(&mut self, count: usize, random: &mut Random, thresholds: Thresholds) -> Vec<Str> {
        let left = self.len().saturating_sub(count);
        if count > left.saturating_mul(REBUILD_RATIO) {
            return self.pop_most(count, random, thresholds);
        }
        let mut popped = Vec::with_capacity(count);
        self.sample(count, random, |element| popped.push(element.to_str()));
        for member in &popped {
            self.remove(member);
        }
        popped
    }

    /// As [`pop`](Self::pop), by building a new set of the few members that stay.
    fn pop_most(&mut self, count: usize, random: &mut Random, thresholds: Thresholds) -> Vec<Str> {
        let mut kept = if self.as_intset().is_some() { Set::default() } else { Set::listpack() };
        let mut popped = Vec::with_capacity(count.min(self.len()));
        let mut chosen = random.sample(count, self.len());
        for element in self.iter() {
            if chosen() {
                popped.push(element.to_str());
            } else {
                element.with_bytes(|member| kept.add(member, thresholds));
            }
        }
        *self = kept;
        popped
    }

    /// Becomes an intset, if it has nothing but integers and is not too long for one.
    pub fn prefer_intset(&mut self, thresholds: Thresholds) {
        if self.as_intset().is_some() || self.len() > thresholds.intset_entries {
            return;
        }
        let integer = |element| match element {
            Element::Int(value) => Some(value),
            Element::Bytes(text) => number::parse_i64(text),
        };
        let Some(mut values) = self.iter().map(integer).collect::<Option<Vec<i64>>>() else { return };
        // So that each is appended.
        values.sort_unstable();
        let mut ints = Intset::new();
        values.into_iter().for_each(|value| {
            ints.insert(value);
        });
        self.0 = Form::Ints(ints);
    }

    /// The first member that is no integer has come.
    fn leave_intset(&mut self, member: &[u8], thresholds: Thresholds) {
        let Form::Ints(ints) = &self.0 else { return };
        let ends = [ints.get(0), ints.len().checked_sub(1).and_then(|last| ints.get(last))];
        let longest =
            ends.into_iter().flatten().map(|value| number::format_i64(value).as_bytes().len()).max();
        let longest_bytes = longest.unwrap_or(0);
        // No integer takes more than ten bytes of a listpack.
        if longest_bytes <= thresholds.listpack_value_bytes
            && fits(ints.len(), 10 * ints.len(), member, thresholds)
        {
            let mut pack = Listpack::new();
            for value in ints.iter() {
                pack.push_back(number::format_i64(value).as_bytes());
            }
            self.0 = Form::Pack(pack);
        } else {
            self.expand(thresholds.seed);
        }
    }

    fn expand(&mut self, seed: HashSeed) {
        let mut table = Fields::new(seed);
        for element in self.iter() {
            element.with_bytes(|member| table.set(seed.hash(member), member, &[]));
        }
        self.0 = Form::Table(Arc::new(table));
    }
}

/// Iterates over the members of one form.
enum Members<I, P, T> {
    Ints(I),
    Pack(P),
    Table(T),
}

impl<E, I, P, T> Iterator for Members<I, P, T>
where
    I: Iterator<Item = E>,
    P: Iterator<Item = E>,
    T: Iterator<Item = E>,
{
    type Item = E;

    #[inline]
    fn next(&mut self) -> Option<E> {
        match self {
            Members::Ints(iter) => iter.next(),
            Members::Pack(iter) => iter.next(),
            Members::Table(iter) => iter.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Members::Ints(iter) => iter.size_hint(),
            Members::Pack(iter) => iter.size_hint(),
            Members::Table(iter) => iter.size_hint(),
        }
    }

    /// The form is looked at once, not for each member.
    fn fold<A, F: FnMut(A, E) -> A>(self, first: A, fold: F) -> A {
        match self {
            Members::Ints(iter) => iter.fold(first, fold),
            Members::Pack(iter) => iter.fold(first, fold),
            Members::Table(iter) => iter.fold(first, fold),
        }
    }
}

/// Whether a listpack of that size may take this member in.
pub(crate) fn fits(len: usize, len_bytes: usize, member: &[u8], thresholds: Thresholds) -> bool {
    len < thresholds.listpack_entries
        && member.len() <= thresholds.listpack_value_bytes
        && len_bytes.saturating_add(member.len()) <= listpack::BYTES_MAX
}

#[cfg(test)]
mod tests;
