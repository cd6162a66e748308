//! From a type's code and the bytes behind its key to a value, in the encoding that the configuration gives it.
//!
//! `Ok(None)` is a collection without elements: old servers wrote such keys, loading drops them, RESTORE refuses them.

use std::collections::HashSet;
use std::io::BufRead;

use smallvec::SmallVec;

use super::error::ErrorKind;
use super::source::Source;
use super::{Blob, Form, Holds, ModuleType, legacy, stream};
use crate::table::HashSeed;
use crate::types::hash::{self, Hash};
use crate::types::intset::Intset;
use crate::types::list::{ChunkLimit, End, List};
use crate::types::listpack::{Builder, Element, Listpack};
use crate::types::set::{self, Set};
use crate::types::zset::{self, Scored, ZSet};
use crate::{Limits, New, Value};

type Result<T> = std::result::Result<T, ErrorKind>;

/// What values become: the thresholds between encodings, and what tables hash with.
#[derive(Debug, Clone)]
pub struct Shapes {
    limits: Limits,
    seed: HashSeed,
    list: ChunkLimit,
    set: set::Thresholds,
    hash: hash::Thresholds,
    zset: zset::Thresholds,
}

impl Shapes {
    /// Those of a keyspace with these limits and this seed.
    pub fn new(limits: &Limits, seed: HashSeed) -> Self {
        Shapes {
            seed,
            list: ChunkLimit::of(limits),
            set: set::Thresholds::new(limits, seed),
            hash: hash::Thresholds::new(limits, seed),
            zset: zset::Thresholds::new(limits, seed),
            limits: limits.clone(),
        }
    }
}

/// A value that was read.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A string: it stands in the decoder until the next one is read.
    Text,
    /// Any other.
    Value(Value),
}

/// Reads values; its buffers are used again.
#[derive(Debug)]
pub(super) struct Decoder {
    shapes: Shapes,
    string: Vec<u8>,
    second: Vec<u8>,
    small: Builder,
}

impl Decoder {
    pub(super) fn new(shapes: Shapes) -> Self {
        Decoder { shapes, string: Vec::new(), second: Vec::new(), small: Builder::default() }
    }

    /// The hash of a key in the keyspace that the shapes are of.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.shapes.seed.hash(key)
    }

    /// What was just decoded.
    pub(super) fn view(&self, decoded: Decoded) -> New<'_> {
        match decoded {
            Decoded::Text => New::string(&self.string),
            Decoded::Value(value) => New::Value(value),
        }
    }

    pub(super) fn value<R: BufRead>(
        &mut self,
        form: Form,
        source: &mut Source<R>,
    ) -> Result<Option<Decoded>> {
        self.give_room_back();
        let value = match form {
            Form::String => {
                source.string(&mut self.string)?;
                return Ok(Some(Decoded::Text));
            }
            Form::List => self.list(source)?,
            Form::Set => self.set(source)?,
            Form::ZSetText => self.zset(source, Source::score_text)?,
            Form::ZSetBinary => self.zset(source, Source::score_binary)?,
            Form::Hash => self.hash_table(source)?,
            Form::Blob(blob, holds) => self.blob(blob, holds, source)?,
            Form::Ziplists => self.ziplists(source)?,
            Form::Nodes => self.nodes(source)?,
            Form::Stream(layout) => Some(Value::Stream(stream::read(layout, source)?)),
            Form::Module => return Err(ErrorKind::Module(ModuleType(source.count()?))),
            Form::Unsupported(what) => return Err(ErrorKind::Unsupported(what)),
        };
        Ok(value.map(Decoded::Value))
    }

    /// A rare giant's room is not kept.
    fn give_room_back(&mut self) {
        const KEPT_BYTES: usize = 1 << 20;
        for buffer in [&mut self.string, &mut self.second] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
    }

    fn list<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let mut list = List::new();
        for _ in 0..source.count()? {
            source.string(&mut self.string)?;
            list.make_room(&[&self.string], self.shapes.list);
            list.push(End::Right, &self.string, self.shapes.list);
        }
        Ok((!list.is_empty()).then_some(Value::List(list)))
    }

    fn set<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let (count, limits) = (source.count()?, &self.shapes.limits);
        let is_small = expected(count) <= limits.set_max_listpack_entries;
        let mut building = None;
        self.small.clear();
        for _ in 0..count {
            source.string(&mut self.string)?;
            let (len, len_bytes) = (self.small.len(), self.small.len_bytes());
            if is_small && building.is_none() && set::fits(len, len_bytes, &self.string, self.shapes.set) {
                self.small.push(&self.string);
                continue;
            }
            let set = match &mut building {
                Some(set) => set,
                none => none.insert(
                    self.packed_set()?
                        .unwrap_or_else(|| Set::for_members(&self.string, expected(count), self.shapes.set)),
                ),
            };
            if !set.add(&self.string, self.shapes.set) {
                return Err(ErrorKind::Duplicate("set member"));
            }
        }
        if building.is_none() {
            building = self.packed_set()?;
        }
        Ok(building.map(Value::Set))
    }

    /// The small set of the members so far. Before 7.2 every set but one of integers was written member by member.
    fn packed_set(&mut self) -> Result<Option<Set>> {
        let pack = self.small.finish();
        if pack.is_empty() {
            return Ok(None);
        }
        if !all_differ(&pack, 1) {
            return Err(ErrorKind::Duplicate("set member"));
        }
        let has_text = pack.iter().any(|member| matches!(member, Element::Bytes(_)));
        let set = Set::from(pack);
        Ok(Some(if has_text { set } else { self.rebuild_set(set) }))
    }

    fn zset<R: BufRead>(
        &mut self,
        source: &mut Source<R>,
        score: impl Fn(&mut Source<R>) -> Result<f64>,
    ) -> Result<Option<Value>> {
        let count = source.count()?;
        let mut building = None;
        for _ in 0..count {
            source.string(&mut self.string)?;
            let score = score(source)?;
            let (member, expected) = (&self.string[..], expected(count));
            let zset = building.get_or_insert_with(|| ZSet::for_members(member, expected, self.shapes.zset));
            if zset.insert(member, score, self.shapes.zset).is_some() {
                return Err(ErrorKind::Duplicate("sorted set member"));
            }
        }
        Ok(building.map(Value::ZSet))
    }

    fn hash_table<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let count = source.count()?;
        let mut hash = Hash::for_fields(expected(count), self.shapes.hash);
        for _ in 0..count {
            source.string(&mut self.string)?;
            source.string(&mut self.second)?;
            if !hash.set(&self.string, &self.second, self.shapes.hash) {
                return Err(ErrorKind::Duplicate("hash field"));
            }
        }
        Ok((!hash.is_empty()).then_some(Value::Hash(hash)))
    }

    fn blob<R: BufRead>(
        &mut self,
        blob: Blob,
        holds: Holds,
        source: &mut Source<R>,
    ) -> Result<Option<Value>> {
        source.string(&mut self.string)?;
        if blob == Blob::Intset {
            return self.intset();
        }
        let damaged = || ErrorKind::Blob(name_of(blob, holds));
        let pack = self.pack(blob).ok_or_else(damaged)?;
        if pack.is_empty() {
            return Ok(None);
        }
        let repeats = match holds {
            Holds::List => false,
            Holds::Set => !all_differ(&pack, 1),
            Holds::Hash | Holds::ZSet => !all_differ(&pack, 2),
        };
        if repeats {
            return Err(ErrorKind::Repeats(name_of(blob, holds)));
        }
        let value = match holds {
            Holds::List => self.finish_list(vec![pack]),
            Holds::Set => Some(self.set_of(pack)),
            Holds::Hash => self.hash_of(pack, blob == Blob::Zipmap),
            Holds::ZSet => self.zset_of(pack),
        };
        value.ok_or_else(damaged).map(Some)
    }

    /// The blob that was read, as a listpack.
    fn pack(&self, blob: Blob) -> Option<Listpack> {
        match blob {
            Blob::Listpack => Listpack::from_bytes(&self.string),
            Blob::Ziplist => legacy::ziplist(&self.string),
            Blob::Zipmap => legacy::zipmap(&self.string),
            Blob::Intset => None,
        }
    }

    fn intset(&mut self) -> Result<Option<Value>> {
        let ints = Intset::from_bytes(&self.string).ok_or(ErrorKind::Blob("Intset"))?;
        if ints.is_empty() {
            return Ok(None);
        }
        let fits = ints.len() <= self.shapes.limits.set_max_intset_entries;
        Ok(Some(Value::Set(if fits { Set::from(ints) } else { self.rebuild_set(Set::from(ints)) })))
    }

    fn set_of(&self, pack: Listpack) -> Value {
        let fits = pack.len() <= self.shapes.limits.set_max_listpack_entries;
        Value::Set(if fits { Set::from(pack) } else { self.rebuild_set(Set::from(pack)) })
    }

    /// The same set in the encoding of its size.
    fn rebuild_set(&self, old: Set) -> Set {
        let mut new: Option<Set> = None;
        for element in old.iter() {
            element.with_bytes(|member| {
                let make = || Set::for_members(member, old.len(), self.shapes.set);
                new.get_or_insert_with(make).add(member, self.shapes.set)
            });
        }
        new.unwrap_or(old)
    }

    /// `None` if a field has no value. `by_value`: the longest of its strings decides, too; a zipmap had other thresholds
    /// than ours.
    fn hash_of(&self, pack: Listpack, by_value: bool) -> Option<Value> {
        let limits = &self.shapes.limits;
        let is_long =
            |element: Element<'_>| element.with_bytes(|bytes| bytes.len() > limits.hash_max_listpack_value);
        let is_wide = by_value && pack.iter().any(is_long);
        let hash = Hash::from_listpack(pack)?;
        if hash.len() <= limits.hash_max_listpack_entries && !is_wide {
            return Some(Value::Hash(hash));
        }
        let expected = if is_wide { usize::MAX } else { hash.len() };
        let mut table = Hash::for_fields(expected, self.shapes.hash);
        for (field, value) in hash.iter() {
            field.with_bytes(|field| value.with_bytes(|value| table.set(field, value, self.shapes.hash)));
        }
        Some(Value::Hash(table))
    }

    /// `None` if a score is missing or no number.
    fn zset_of(&self, pack: Listpack) -> Option<Value> {
        let rebuilt = self.rebuild_zset(&members_of(&pack)?);
        Some(Value::ZSet(rebuilt.unwrap_or_else(|| ZSet::from(pack))))
    }

    /// The sorted set of these members, unless their listpack is it already. Redis takes any order; here it is put right.
    fn rebuild_zset(&self, members: &[(f64, Element<'_>)]) -> Option<ZSet> {
        let limits = &self.shapes.limits;
        let is_long = |(_, member): &(f64, Element<'_>)| {
            member.with_bytes(|bytes| bytes.len() > limits.zset_max_listpack_value)
        };
        let is_listpack = members.len() <= limits.zset_max_listpack_entries && !members.iter().any(is_long);
        if is_listpack && members.is_sorted_by(|a, b| is_before(*a, *b)) {
            return None;
        }
        let scored = |&(score, member): &(f64, Element<'_>)| Scored { score, member: member.to_str() };
        Some(ZSet::from_members(members.iter().map(scored).collect(), self.shapes.zset))
    }

    fn ziplists<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        let mut packs = Vec::new();
        for _ in 0..source.count()? {
            source.string(&mut self.string)?;
            packs.push(self.pack(Blob::Ziplist).ok_or(ErrorKind::Blob("Ziplist"))?);
        }
        Ok(self.finish_list(packs))
    }

    fn nodes<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<Option<Value>> {
        const PLAIN: u64 = 1;
        const PACKED: u64 = 2;
        let mut packs = Vec::new();
        for _ in 0..source.count()? {
            let container = source.count()?;
            source.string(&mut self.string)?;
            packs.push(match container {
                PLAIN if !self.string.is_empty() => single(&self.string),
                PACKED => self.pack(Blob::Listpack).ok_or(ErrorKind::Blob("Listpack"))?,
                _ => return Err(ErrorKind::Blob("Quicklist")),
            });
        }
        Ok(self.finish_list(packs))
    }

    fn finish_list(&self, mut packs: Vec<Listpack>) -> Option<Value> {
        packs.retain(|pack| !pack.is_empty());
        (!packs.is_empty()).then(|| Value::List(List::from_chunks(packs, self.shapes.list)))
    }
}

/// What Redis's log calls a blob that is a whole value.
fn name_of(blob: Blob, holds: Holds) -> &'static str {
    match (blob, holds) {
        (Blob::Zipmap, _) => "Zipmap",
        (Blob::Intset, _) => "Intset",
        (Blob::Ziplist, Holds::List) => "List ziplist",
        (Blob::Ziplist, Holds::Set) => "Set ziplist",
        (Blob::Ziplist, Holds::ZSet) => "Zset ziplist",
        (Blob::Ziplist, Holds::Hash) => "Hash ziplist",
        (Blob::Listpack, Holds::List) => "List listpack",
        (Blob::Listpack, Holds::Set) => "Set listpack",
        (Blob::Listpack, Holds::ZSet) => "Zset listpack",
        (Blob::Listpack, Holds::Hash) => "Hash listpack",
    }
}

/// So many elements of a small collection are looked at without an allocation.
const FEW: usize = 32;

/// How many elements are announced: it decides about encodings, never about memory.
fn expected(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn single(element: &[u8]) -> Listpack {
    let mut pack = Listpack::new();
    pack.push_back(element);
    pack
}

/// The scores and members of a sorted set's listpack; `None` if a score is missing or no number.
fn members_of(pack: &Listpack) -> Option<SmallVec<[(f64, Element<'_>); FEW]>> {
    let mut elements = pack.iter();
    let mut members = SmallVec::new();
    while let Some(member) = elements.next() {
        members.push((score_of(elements.next()?)?, member));
    }
    Some(members)
}

/// Whether one member may stand before another.
fn is_before(a: (f64, Element<'_>), b: (f64, Element<'_>)) -> bool {
    a.0 < b.0 || (a.0 == b.0 && a.1.with_bytes(|a| b.1.with_bytes(|b| a < b)))
}

/// Whether every `step`th element is a different one. Equal elements are encoded equally. The marks of a few are compared
/// with each other sooner than these are hashed.
fn all_differ(pack: &Listpack, step: usize) -> bool {
    let elements = || pack.iter().step_by(step);
    if pack.len() <= step * FEW {
        let marks: SmallVec<[u64; FEW]> = elements().map(mark).collect();
        if (1..marks.len()).all(|at| !marks[..at].contains(&marks[at])) {
            return true;
        }
    }
    let mut seen = HashSet::with_capacity(pack.len() / step);
    elements().all(|element| seen.insert(element))
}

/// Eight bytes of an element, the last ones: names often begin alike.
fn mark(element: Element<'_>) -> u64 {
    match element {
        Element::Int(value) => value as u64,
        Element::Bytes(bytes) => match bytes.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => bytes.iter().fold(0, |mark, &byte| mark << 8 | u64::from(byte)),
        },
    }
}

fn score_of(element: Element<'_>) -> Option<f64> {
    let score = match element {
        Element::Int(score) => Some(score as f64),
        Element::Bytes(text) => resp::number::parse_f64(text),
    };
    score.filter(|score| !score.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_giant_is_given_back_with_the_next_value() {
        const GIANT_BYTES: u32 = 4 << 20;
        let giant = [&b"\x80"[..], &GIANT_BYTES.to_be_bytes(), &vec![b'x'; GIANT_BYTES as usize]].concat();
        let file = [&b"\x01\x01f"[..], &giant, b"\x01", &giant, b"\x01v", b"\x01s"].concat();
        let mut decoder = Decoder::new(Shapes::new(&Limits::default(), HashSeed::new(1, 2)));
        let mut source = Source::new(&file[..]);
        let mut room = |form| {
            decoder.value(form, &mut source).expect("it is sound");
            decoder.string.capacity() + decoder.second.capacity()
        };
        // Its value, then its field is one; then there is none.
        assert!(room(Form::Hash) >= GIANT_BYTES as usize);
        assert!(room(Form::Hash) >= GIANT_BYTES as usize);
        assert!(room(Form::String) <= 2 << 20);
    }
}
