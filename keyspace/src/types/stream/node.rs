//! A node of a stream: up to `stream-node-max-entries` entries in one listpack, byte for byte as Redis packs them, so
//! that an RDB file can hold the blob as it is.
//!
//! ```text
//! master   live entries | deleted entries | number of fields | field .. | 0
//! entry    flags | ms - master's ms | seq - master's seq | value ..                               with flag 2
//!          flags | ms - master's ms | seq - master's seq | number of fields | field | value ..    without
//!          | number of elements before this one
//! ```
//! The master's ID is that of the first entry, its fields are those of the first entry: most entries of a stream have
//! the same fields, and name them not again. A deleted entry is flagged (1) and stays until all of its node goes. The
//! last element leads back to an entry's flags; the master's 0 ends the way back.
//!
//! Source: redis 7.2 `src/t_stream.c` `streamAppendItem`.

use super::{NODE_BYTES_MAX, NodeLimits, StreamId};
use crate::types::listpack::{At, Element, Listpack};
use crate::types::tree;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Entries in a row.
#[derive(Debug, Clone)]
pub struct Node {
    master: StreamId,
    pack: Listpack,
}

/// Where the master's parts are.
#[derive(Debug, Clone, Copy)]
struct Head {
    live_at: At,
    deleted_at: At,
    /// Number of its fields.
    fields: usize,
    /// The place of the first one; of the 0 behind them, if there is none.
    fields_at: At,
}

impl tree::Item for Node {
    type Key = ();

    fn key(&self) {}
}

impl Node {
    /// A node of one entry.
    pub(super) fn new(id: StreamId, pairs: &[[&[u8]; 2]]) -> Self {
        let mut pack = Listpack::new();
        let fields = pairs.iter().map(|[field, _]| Element::Bytes(field));
        pack.extend(ints(&[1, 0, pairs.len() as i64]).chain(fields).chain(ints(&[0])));
        let mut node = Node { master: id, pack };
        node.append(id, pairs, true);
        node
    }

    /// Takes a listpack from outside, whose entries are deltas to `master`; `None` unless it is packed as above. Deleted
    /// entries leave if they are not in order: Redis adds behind them what is smaller, once XSETID has lowered the last
    /// ID; even what is smaller than the master, if no other entry is left.
    pub fn from_parts(master: StreamId, pack: Listpack) -> Option<Self> {
        let mut node = Node { master, pack };
        let head = node.head()?;
        let (mut live, mut deleted, mut next) = (0, 0, Some(node.first_entry(&head)?));
        // No entry has the ID zero, and none is in front of its master.
        let (mut last_live, mut in_order) = (StreamId::MIN, true);
        let mut last = master.prev().unwrap_or(StreamId::MIN);
        while let Some(at) = next {
            let (entry, end) = node.entry(&head, at)?;
            let is_sound = node.back(end) == Some(at)
                && entry.fields.len() > 0
                && entry.fields.clone().count() == entry.fields.len()
                && (entry.deleted || last_live < entry.id);
            if !is_sound {
                return None;
            }
            in_order &= last < entry.id;
            last = entry.id;
            if entry.deleted {
                deleted += 1;
            } else {
                live += 1;
                last_live = entry.id;
            }
            next = node.pack.next(end);
        }
        if node.counts() != (live, deleted) {
            return None;
        }
        if !in_order {
            // From another master an entry can be further away, and then takes more bytes.
            if node.pack.len_bytes() > NODE_BYTES_MAX {
                return None;
            }
            node.retain(|entry| !entry.deleted);
        }
        Some(node)
    }

    /// The ID that the entries' IDs are counted from.
    pub fn master(&self) -> StreamId {
        self.master
    }

    /// The blob.
    pub fn pack(&self) -> &Listpack {
        &self.pack
    }

    /// Number of entries that are not deleted.
    pub fn live(&self) -> usize {
        self.pack.first().map_or(0, |at| self.count(at))
    }

    /// Appends an entry; false if the node is full.
    pub(super) fn push(&mut self, id: StreamId, pairs: &[[&[u8]; 2]], limits: NodeLimits) -> bool {
        let Some(head) = self.head() else { return false };
        let (live, deleted) = (self.count(head.live_at), self.count(head.deleted_at));
        let has_room = self.pack.len_bytes().saturating_add(len_bytes(pairs)) < limits.bytes
            && live + deleted < limits.entries;
        if has_room {
            let same_fields = self.has_fields(&head, pairs);
            self.pack.replace_int(head.live_at, live as i64 + 1);
            self.append(id, pairs, same_fields);
        }
        has_room
    }

    /// Writes an entry behind the last one; `same_fields`: they are the master's.
    fn append(&mut self, id: StreamId, pairs: &[[&[u8]; 2]], same_fields: bool) {
        let ([ms, seq], fields) = (deltas(id, self.master), pairs.len() as i64);
        if same_fields {
            let values = pairs.iter().map(|[_, value]| Element::Bytes(value));
            self.pack.extend(ints(&[SAME_FIELDS, ms, seq]).chain(values).chain(ints(&[fields + 3])));
        } else {
            let texts = pairs.as_flattened().iter().map(|text| Element::Bytes(text));
            self.pack.extend(ints(&[0, ms, seq, fields]).chain(texts).chain(ints(&[2 * fields + 4])));
        }
    }

    /// Flags an entry as deleted; false if there is no such entry that is not.
    pub(super) fn delete(&mut self, id: StreamId) -> bool {
        let found = self.places().find(|(_, entry)| entry.id == id).filter(|(_, entry)| !entry.deleted);
        let Some((at, _)) = found else { return false };
        self.flag_deleted(at);
        let (live, deleted) = self.counts();
        self.set_counts(live - 1, deleted + 1);
        true
    }

    /// Flags entries from the first one on as deleted, for as long as `is_doomed` says so, which is asked with the
    /// number of those flagged before; returns how many they are.
    pub(super) fn delete_front(&mut self, mut is_doomed: impl FnMut(StreamId, usize) -> bool) -> usize {
        let mut doomed = Vec::new();
        for (at, entry) in self.places() {
            if !is_doomed(entry.id, doomed.len()) {
                break;
            }
            if !entry.deleted {
                doomed.push(at);
            }
        }
        // A flag takes one byte with and without the bit: the places stay.
        doomed.iter().for_each(|&at| self.flag_deleted(at));
        let (live, deleted) = self.counts();
        self.set_counts(live - doomed.len(), deleted + doomed.len());
        doomed.len()
    }

    /// Drops entries, those deleted before and others, without a trace. If the first that is kept is in front of the
    /// master, it is the new one; the fields stay the old one's.
    pub(super) fn retain(&mut self, keeps: impl Fn(&Entry<'_>) -> bool) {
        let Some(head) = self.head() else { return };
        let first = self.entries().find(|entry| keeps(entry));
        let master = first.map_or(self.master, |entry| entry.id.min(self.master));
        let (mut pack, mut live, mut deleted) = (Listpack::new(), 0, 0);
        let mut next = self.first_entry(&head);
        pack.extend(self.elements(self.pack.first(), next));
        while let Some((at, (entry, end))) = next.and_then(|at| Some((at, self.entry(&head, at)?))) {
            next = self.pack.next(end);
            if keeps(&entry) {
                let elements = || self.elements(Some(at), next);
                let id = deltas(entry.id, master).map(Element::Int);
                pack.extend(elements().take(1).chain(id).chain(elements().skip(3)));
                *if entry.deleted { &mut deleted } else { &mut live } += 1;
            }
        }
        (self.master, self.pack) = (master, pack);
        self.set_counts(live, deleted);
    }

    /// The elements from one place up to another.
    fn elements(&self, from: Option<At>, to: Option<At>) -> impl Iterator<Item = Element<'_>> + Clone {
        let places = std::iter::successors(from, |&at| self.pack.next(at));
        places.take_while(move |&at| Some(at) != to).map(|at| self.pack.get(at))
    }

    /// The ID of the last entry that is not deleted.
    pub(super) fn last_live_id(&self) -> Option<StreamId> {
        self.entries_rev().find(|entry| !entry.deleted).map(|entry| entry.id)
    }

    /// The ID of the last entry, deleted or not.
    pub(super) fn last_id(&self) -> StreamId {
        self.entries_rev().next().map_or(self.master, |entry| entry.id)
    }

    /// The entries in order, deleted ones among them.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.places().map(|(_, entry)| entry)
    }

    /// The entries in reverse order, deleted ones among them.
    pub(super) fn entries_rev(&self) -> impl Iterator<Item = Entry<'_>> {
        let head = self.head();
        let mut end = self.pack.last();
        std::iter::from_fn(move || {
            let at = self.back(end?)?;
            end = self.pack.prev(at);
            Some(self.entry(&head?, at)?.0)
        })
    }

    fn places(&self) -> impl Iterator<Item = (At, Entry<'_>)> {
        let head = self.head();
        let mut next = head.and_then(|head| self.first_entry(&head));
        std::iter::from_fn(move || {
            let at = next?;
            let (entry, end) = self.entry(&head?, at)?;
            next = self.pack.next(end);
            Some((at, entry))
        })
    }

    /// Reads the entry whose flags are at a place; also where its last element is.
    fn entry(&self, head: &Head, flags_at: At) -> Option<(Entry<'_>, At)> {
        let (pack, master) = (&self.pack, self.master);
        let ms_at = pack.next(flags_at)?;
        let seq_at = pack.next(ms_at)?;
        let (flags, ms, seq) = (self.int(flags_at)?, self.int(ms_at)?, self.int(seq_at)?);
        let id = StreamId { ms: master.ms.wrapping_add(ms as u64), seq: master.seq.wrapping_add(seq as u64) };
        let behind_seq = pack.next(seq_at)?;
        let (fields, texts) = if flags & SAME_FIELDS != 0 {
            let names = Some(head.fields_at);
            (Fields { pack, names, at: Some(behind_seq), left: head.fields }, head.fields)
        } else {
            let left = usize::try_from(self.int(behind_seq)?).ok()?;
            let texts = left.checked_mul(2)?;
            (Fields { pack, names: None, at: pack.next(behind_seq), left }, texts)
        };
        let end = (0..texts).try_fold(fields.at?, |at, _| pack.next(at))?;
        Some((Entry { id, deleted: flags & DELETED != 0, fields }, end))
    }

    /// The place of the flags of the entry whose last element is at a place; `None` at the master's end.
    fn back(&self, end: At) -> Option<At> {
        let elements = self.int(end).filter(|&elements| elements > 0)?;
        (0..elements).try_fold(end, |at, _| self.pack.prev(at))
    }

    fn flag_deleted(&mut self, flags_at: At) {
        let flags = self.int(flags_at).unwrap_or(0);
        self.pack.replace_int(flags_at, flags | DELETED);
    }

    fn counts(&self) -> (usize, usize) {
        self.head().map_or((0, 0), |head| (self.count(head.live_at), self.count(head.deleted_at)))
    }

    fn count(&self, at: At) -> usize {
        self.int(at).unwrap_or(0).max(0) as usize
    }

    fn set_counts(&mut self, live: usize, deleted: usize) {
        let Some(live_at) = self.pack.first() else { return };
        self.pack.replace_int(live_at, live as i64);
        if let Some(deleted_at) = self.pack.next(live_at) {
            self.pack.replace_int(deleted_at, deleted as i64);
        }
    }

    /// Reads what stands before the master's fields.
    fn head(&self) -> Option<Head> {
        let live_at = self.pack.first()?;
        let deleted_at = self.pack.next(live_at)?;
        let fields_len_at = self.pack.next(deleted_at)?;
        let fields = usize::try_from(self.int(fields_len_at)?).ok()?;
        Some(Head { live_at, deleted_at, fields, fields_at: self.pack.next(fields_len_at)? })
    }

    /// Whether the master has the fields of an entry, in their order.
    fn has_fields(&self, head: &Head, pairs: &[[&[u8]; 2]]) -> bool {
        let mut at = head.fields_at;
        head.fields == pairs.len()
            && pairs.iter().all(|[field, _]| {
                let is_same = self.pack.get(at).is(field);
                // Behind the last field there is the master's 0.
                at = self.pack.next(at).unwrap_or(at);
                is_same
            })
    }

    fn first_entry(&self, head: &Head) -> Option<At> {
        let zero = (0..head.fields).try_fold(head.fields_at, |at, _| self.pack.next(at))?;
        self.pack.next(zero)
    }

    fn int(&self, at: At) -> Option<i64> {
        match self.pack.get(at) {
            Element::Int(value) => Some(value),
            Element::Bytes(_) => None,
        }
    }
}

fn ints(values: &[i64]) -> impl Iterator<Item = Element<'_>> + Clone {
    values.iter().map(|&value| Element::Int(value))
}

/// What the texts of an entry take.
pub(super) fn len_bytes(pairs: &[[&[u8]; 2]]) -> usize {
    pairs.as_flattened().iter().map(|text| text.len()).sum()
}

/// How an ID is packed.
fn deltas(id: StreamId, master: StreamId) -> [i64; 2] {
    [id.ms.wrapping_sub(master.ms) as i64, id.seq.wrapping_sub(master.seq) as i64]
}

/// An entry of a stream, where it is stored.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: StreamId,
    pub(super) deleted: bool,
    /// Its fields and their values.
    pub fields: Fields<'a>,
}

/// Iterates over fields and their values.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    pack: &'a Listpack,
    /// The master's next field, if the entry has the master's.
    names: Option<At>,
    /// The next field, or the next value.
    at: Option<At>,
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (name_at, value_at) = match self.names {
            Some(name_at) => {
                self.names = self.pack.next(name_at);
                (name_at, self.at?)
            }
            None => {
                let name_at = self.at?;
                (name_at, self.pack.next(name_at)?)
            }
        };
        self.at = self.pack.next(value_at);
        Some((self.pack.get(name_at), self.pack.get(value_at)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
