//! A hash: a listpack of fields and values in turn while they are few and short, a table otherwise.
//!
//! ```text
//! listpack -> hashtable    more than hash-max-listpack-entries fields,
//!                          or a field or value above hash-max-listpack-value bytes, or 1 GiB altogether
//! ```
//! There is no way back.
//!
//! Source: redis 7.2 `src/t_hash.c`.

use std::collections::HashSet;

use triomphe::Arc;

use super::listpack::{self, At, Element, Listpack};
use crate::entry::Entry;
use crate::table::{Fields, HashSeed};
use crate::{Limits, Random};

/// A map from byte strings to byte strings.
#[derive(Debug, Clone)]
pub struct Hash(Form);

#[derive(Debug, Clone)]
enum Form {
    Pack(Listpack),
    Table(Arc<Fields>),
}

/// When a hash changes its encoding, and what it hashes with then.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    entries: usize,
    value_bytes: usize,
    seed: HashSeed,
}

impl Thresholds {
    /// What the configuration says of hashes.
    pub fn new(limits: &Limits, seed: HashSeed) -> Self {
        let (entries, value_bytes) = (limits.hash_max_listpack_entries, limits.hash_max_listpack_value);
        Thresholds { entries, value_bytes, seed }
    }
}

impl Default for Hash {
    /// An empty listpack.
    fn default() -> Self {
        Hash(Form::Pack(Listpack::new()))
    }
}

impl Hash {
    /// Takes a listpack of fields and values in turn; `None` if a field has no value.
    pub fn from_listpack(pack: Listpack) -> Option<Self> {
        pack.len().is_multiple_of(2).then_some(Hash(Form::Pack(pack)))
    }

    /// An empty hash in the encoding that suits about `expected` fields.
    pub fn for_fields(expected: usize, thresholds: Thresholds) -> Self {
        if expected <= thresholds.entries {
            Hash::default()
        } else {
            Hash(Form::Table(Arc::new(Fields::new(thresholds.seed))))
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Pack(pack) => pack.len() / 2,
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// How many allocations freeing it takes.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Form::Pack(_) => 1,
            Form::Table(table) => table.len(),
        }
    }

    /// The fields and values as a listpack, if that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Form::Pack(pack) => Some(pack),
            Form::Table(_) => None,
        }
    }

    /// The fields and values as a table, if that is the encoding.
    pub fn as_table(&self) -> Option<&Fields> {
        match &self.0 {
            Form::Pack(_) => None,
            Form::Table(table) => Some(table),
        }
    }

    /// The fields with their values: those of a listpack as they were added, those of a table in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let pack = self.as_listpack().into_iter().flat_map(|pack| {
            let fields = pack.places().step_by(2);
            fields.filter_map(|at| Some((pack.get(at), pack.get(pack.next(at)?))))
        });
        pack.chain(self.as_table().into_iter().flat_map(Fields::iter).map(elements))
    }

    /// Visits about `count` fields from `cursor` on, all of them in a listpack; returns the cursor to go on from, 0 at
    /// the end.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut((Element<'a>, Element<'a>)),
    ) -> u64 {
        match &self.0 {
            Form::Pack(_) => {
                self.iter().for_each(visit);
                0
            }
            Form::Table(table) => table.scan(cursor, count, |field| visit(elements(field))),
        }
    }

    /// A field's value.
    pub fn get(&self, name: &[u8]) -> Option<Element<'_>> {
        match &self.0 {
            Form::Pack(pack) => {
                let (_, value) = find(pack, name)?;
                Some(pack.get(value))
            }
            Form::Table(table) => {
                table.find(table.seed().hash(name), name).map(|field| Element::Bytes(field.string()))
            }
        }
    }

    /// Sets these words, fields and values in turn; returns how many fields are new.
    pub fn set_all(&mut self, words: &[&[u8]], thresholds: Thresholds) -> usize {
        self.expect(words, thresholds);
        let (pairs, _) = words.as_chunks::<2>();
        match &mut self.0 {
            // A new hash is written at once.
            Form::Pack(pack) if pack.is_empty() && differ(pairs) => {
                pack.extend(pairs.as_flattened().iter().map(|word| Element::Bytes(word)));
                pairs.len()
            }
            _ => pairs.iter().filter(|[field, value]| self.set(field, value, thresholds)).count(),
        }
    }

    /// A listpack that would outgrow its thresholds changes now.
    fn expect(&mut self, words: &[&[u8]], thresholds: Thresholds) {
        let Form::Pack(pack) = &self.0 else { return };
        if words.len() / 2 > thresholds.entries || !fit(pack, words, thresholds) {
            self.expand(thresholds.seed);
        }
    }

    /// Sets a field; true if it is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], thresholds: Thresholds) -> bool {
        match &mut self.0 {
            Form::Pack(pack) if !fit(pack, &[name, value], thresholds) => {
                self.expand(thresholds.seed);
                self.set(name, value, thresholds)
            }
            Form::Pack(pack) => {
                if let Some((_, at)) = find(pack, name) {
                    pack.replace(at, value);
                    return false;
                }
                pack.insert_pair(None, name, value);
                if self.len() > thresholds.entries {
                    self.expand(thresholds.seed);
                }
                true
            }
            Form::Table(table) => {
                let hash = table.seed().hash(name);
                Arc::make_mut(table).set(hash, name, value)
            }
        }
    }

    /// Removes a field; false if it was not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.0 {
            Form::Pack(pack) => match find(pack, name) {
                Some((at, _)) => {
                    pack.remove(at, 2);
                    true
                }
                None => false,
            },
            Form::Table(table) => {
                let hash = table.seed().hash(name);
                // A table shared with a snapshot is not copied for a field that is not there.
                table.seek(hash, name).is_some() && Arc::make_mut(table).remove(hash, name)
            }
        }
    }

    /// A field and its value, each as likely as the next.
    pub fn random(&self, random: &mut Random) -> Option<(Element<'_>, Element<'_>)> {
        match &self.0 {
            Form::Pack(pack) => {
                let at = pack.seek(2 * random.below(self.len()) as isize)?;
                Some((pack.get(at), pack.get(pack.next(at)?)))
            }
            Form::Table(table) => table.random(random).map(elements),
        }
    }

    /// Visits `count` different fields (all, if there are not so many), each choice as likely as the next.
    pub fn sample<'a>(
        &'a self,
        count: usize,
        random: &mut Random,
        mut visit: impl FnMut((Element<'a>, Element<'a>)),
    ) {
        match &self.0 {
            // Few of many: draw until enough of them differ.
            Form::Table(table) if count <= table.len() / 3 => {
                let mut seen = HashSet::new();
                while seen.len() < count {
                    let Some(field) = table.random(random) else { return };
                    if seen.insert(field.key()) {
                        visit(elements(field));
                    }
                }
            }
            _ => {
                let mut chosen = random.sample(count, self.len());
                self.iter().filter(|_| chosen()).for_each(visit);
            }
        }
    }

    fn expand(&mut self, seed: HashSeed) {
        let mut table = Fields::new(seed);
        for (name, value) in self.iter() {
            name.with_bytes(|name| value.with_bytes(|value| table.set(seed.hash(name), name, value)));
        }
        self.0 = Form::Table(Arc::new(table));
    }
}

/// Whether a listpack may take these words in.
#[inline]
fn fit(pack: &Listpack, words: &[&[u8]], thresholds: Thresholds) -> bool {
    let sum_bytes: usize = words.iter().map(|word| word.len()).sum();
    words.iter().all(|word| word.len() <= thresholds.value_bytes)
        && pack.len_bytes().saturating_add(sum_bytes) <= listpack::BYTES_MAX
}

/// Whether all of these fields are different, where few are: each is compared with each.
fn differ(pairs: &[[&[u8]; 2]]) -> bool {
    const FEW: usize = 16;
    let is_new = |at: usize| pairs[..at].iter().all(|[field, _]| *field != pairs[at][0]);
    pairs.len() <= FEW && (1..pairs.len()).all(is_new)
}

/// The places of a field and of its value.
fn find(pack: &Listpack, name: &[u8]) -> Option<(At, At)> {
    let at = pack.find(pack.first(), name, 2)?;
    Some((at, pack.next(at)?))
}

fn elements(field: Entry<'_>) -> (Element<'_>, Element<'_>) {
    (Element::Bytes(field.key()), Element::Bytes(field.string()))
}

#[cfg(test)]
mod tests;
