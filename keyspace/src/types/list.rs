//! Lists: one listpack while small, else a quicklist, a row of listpacks that `chunks` keeps.
//!
//! ```text
//! listpack    [a b c]
//! quicklist   chunks  [a b c] [d e] [a very long element] [f g h]
//! ```
//! A chunk stays about within `list-max-listpack-size`; an element beyond it has a chunk of its own. A write after a clone
//! copies one chunk and, between the ends, the tree's path to it. What another server wrote keeps its chunks, but for those
//! far beyond any limit.
//!
//! Where chunks end shows, for a quicklist of which one is left may become a listpack again: they end where Redis's nodes
//! do, but for what `ChunkLimit::has_room` and `ChunkLimit::may_replace` say.
//!
//! Source of the conversions: redis 7.2 `src/t_list.c` `listTypeTryConvertListpack`, `listTypeTryConvertQuicklist`; of the
//! chunks: valkey 8.0 `src/quicklist.c`.

use triomphe::Arc;

use self::chunks::Chunks;
use crate::Limits;
use crate::types::listpack::{At, Element, Listpack};

mod chunks;

/// Beyond any limit: twice the highest that `list-max-listpack-size` may set. A listpack that is no longer knows how many
/// elements it has.
const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// A list. Cloning it takes a snapshot.
#[derive(Debug, Clone, Default)]
pub struct List(Repr);

#[derive(Debug, Clone)]
enum Repr {
    Listpack(Listpack),
    /// Behind a pointer: a value has a place in its segment's vector, which is to be no wider than most values need.
    Quicklist(Arc<Chunks>),
}

impl Repr {
    fn quicklist(chunks: impl Iterator<Item = Listpack>) -> Self {
        Repr::Quicklist(Arc::new(chunks.collect()))
    }
}

impl Default for Repr {
    fn default() -> Self {
        Repr::Listpack(Listpack::new())
    }
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where index 0 is.
    Left,
    /// Where index -1 is.
    Right,
}

/// How much a chunk may hold, by `list-max-listpack-size`.
#[derive(Debug, Clone, Copy)]
pub struct ChunkLimit {
    bytes: usize,
    count: usize,
    by_size: bool,
    /// Longer elements stand alone.
    packed: usize,
}

impl ChunkLimit {
    /// The limit that the configuration sets.
    pub fn of(limits: &Limits) -> Self {
        /// Where the number of elements is the limit, this is too.
        const SAFE_BYTES: usize = 8192;
        let (bytes, count, by_size) = match limits.list_max_listpack_size {
            level @ ..0 => (2048 << level.unsigned_abs().min(5), usize::MAX, true),
            count => (SAFE_BYTES, count.max(1) as usize, false),
        };
        ChunkLimit { bytes, count, by_size, packed: limits.list_packed_threshold.min(bytes) }
    }

    fn admits(&self, bytes: usize, count: usize) -> bool {
        bytes <= self.bytes && count <= self.count
    }

    /// Whether a quicklist of this one chunk may be a listpack. What is left of a longer one must be within half of the
    /// limit, so that a list about as long as the limit does not go back and forth.
    fn admits_as_listpack(&self, chunk: &Listpack, is_left: bool) -> bool {
        let share = if is_left { 2 } else { 1 };
        let is_small = if self.by_size {
            chunk.len_bytes() <= self.bytes / share
        } else {
            chunk.len() <= self.count / share
        };
        is_small && !self.holds_plain(chunk)
    }

    fn is_packed(&self, element_bytes: usize) -> bool {
        element_bytes <= self.packed
    }

    /// Whether the chunk is one element that must stand alone.
    fn holds_plain(&self, chunk: &Listpack) -> bool {
        chunk.len() == 1
            && chunk.iter().any(|element| !element.with_bytes(|bytes| self.is_packed(bytes.len())))
    }

    /// By Redis's estimate, and by what a chunk takes in memory: a little beyond the limit that is a quarter more. What an
    /// element is encoded as, ten bytes more than its own at most, matters only near the limit.
    fn has_room(&self, chunk: &Listpack, element: &[u8]) -> bool {
        const ESTIMATED_HEAD_BYTES: usize = 8;
        const NEAR_BYTES: usize = 10;
        let estimated_bytes = chunk.len_bytes() + element.len() + ESTIMATED_HEAD_BYTES;
        self.is_packed(element.len())
            && !self.holds_plain(chunk)
            && self.admits(estimated_bytes, chunk.len() + 1)
            && (estimated_bytes + NEAR_BYTES <= self.bytes || chunk.heap_bytes_with(element) <= self.bytes)
    }

    /// Whether an element may take the place of another. In Redis a node grows by that without a limit; here the next write
    /// behind a snapshot would copy all of it.
    fn may_replace(&self, chunk: &Listpack, at: At, element: &[u8]) -> bool {
        let bytes = chunk.heap_bytes_replacing(at, element);
        self.is_packed(element.len())
            && !self.holds_plain(chunk)
            && bytes <= self.bytes.max(chunk.heap_bytes())
    }

    /// Whether two chunks are to be one.
    fn may_merge(&self, one: &Listpack, other: &Listpack) -> bool {
        let bytes = one.len_bytes() + other.len_bytes();
        !self.holds_plain(one) && !self.holds_plain(other) && self.admits(bytes, one.len() + other.len())
    }
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        List::default()
    }

    /// A list of these listpacks in a row, none of them empty: a single one that is small enough stays one.
    pub fn from_chunks(mut chunks: Vec<Listpack>, limit: ChunkLimit) -> Self {
        match chunks.pop() {
            Some(chunk) if chunks.is_empty() && limit.admits_as_listpack(&chunk, false) => {
                List(Repr::Listpack(chunk))
            }
            last => {
                chunks.extend(last);
                List(Repr::quicklist(split_giants(chunks, limit).into_iter()))
            }
        }
    }

    /// A list of these elements: a listpack if one chunk takes them all.
    pub fn of<'a>(elements: impl Iterator<Item = &'a [u8]>, limit: ChunkLimit) -> Self {
        let mut chunks: Vec<Listpack> = Vec::new();
        elements.for_each(|element| append(&mut chunks, element, limit));
        List::from_chunks(chunks, limit)
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Listpack(pack) => pack.len(),
            Repr::Quicklist(chunks) => chunks.weight(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Listpack(_) => "listpack",
            Repr::Quicklist(_) => "quicklist",
        }
    }

    /// How many allocations freeing it takes.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Listpack(_) => 1,
            Repr::Quicklist(chunks) => chunks.len(),
        }
    }

    /// The elements as a listpack, if that is the encoding.
    pub(crate) fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Listpack(pack) => Some(pack),
            Repr::Quicklist(_) => None,
        }
    }

    /// One of its chunks.
    pub(crate) fn chunk(&self, at: usize) -> Option<&Listpack> {
        match &self.0 {
            Repr::Listpack(pack) => (at == 0).then_some(pack),
            Repr::Quicklist(chunks) => chunks.get(at),
        }
    }

    /// The listpacks that the list consists of, in order: what an RDB file holds.
    pub fn chunks(&self) -> impl Iterator<Item = &Listpack> {
        let (pack, chunks) = match &self.0 {
            Repr::Listpack(pack) => (Some(pack), None),
            Repr::Quicklist(chunks) => (None, Some(chunks.range(0..chunks.len()))),
        };
        pack.into_iter().chain(chunks.into_iter().flatten())
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        self.iter_from(index).next()
    }

    /// The elements from first to last.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The elements from an index on to the last.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        self.walk(index, End::Right)
    }

    /// The elements from an index on back to the first.
    pub fn iter_back_from(&self, index: usize) -> Iter<'_> {
        self.walk(index, End::Left)
    }

    fn walk(&self, index: usize, towards: End) -> Iter<'_> {
        match &self.0 {
            Repr::Listpack(pack) => {
                Iter { towards, chunks: None, current: seek(pack, index).map(|at| (pack, at)) }
            }
            Repr::Quicklist(chunks) => {
                let found = chunks.seek(index).and_then(|(chunk, offset)| {
                    let pack = chunks.get(chunk)?;
                    Some((chunk, (pack, seek(pack, offset)?)))
                });
                let rest = found.map(|(chunk, _)| match towards {
                    End::Left => chunks.range(0..chunk),
                    End::Right => chunks.range(chunk + 1..chunks.len()),
                });
                Iter { towards, chunks: rest, current: found.map(|(_, current)| current) }
            }
        }
    }

    /// Becomes a quicklist if a listpack should not take these elements too. Call it before they are added: a listpack
    /// grows as far as it is told to.
    pub fn make_room(&mut self, elements: &[&[u8]], limit: ChunkLimit) {
        if let Repr::Listpack(pack) = &mut self.0 {
            let bytes: usize = elements.iter().map(|element| element.len()).sum();
            if !limit.admits(pack.len_bytes() + bytes, pack.len() + elements.len())
                || elements.iter().any(|element| !limit.is_packed(element.len()))
            {
                let pack = std::mem::take(pack);
                self.0 = Repr::quicklist(Some(pack).filter(|pack| !pack.is_empty()).into_iter());
            }
        }
    }

    /// Becomes a listpack again if little is left. Call it after elements were removed or replaced.
    pub fn shrink(&mut self, limit: ChunkLimit) {
        if let Repr::Quicklist(chunks) = &self.0
            && chunks.len() <= 1
            && chunks.get(0).is_none_or(|chunk| limit.admits_as_listpack(chunk, true))
        {
            self.0 = Repr::Listpack(chunks.get(0).cloned().unwrap_or_default());
        }
    }

    /// Adds an element at an end.
    pub fn push(&mut self, end: End, element: &[u8], limit: ChunkLimit) {
        match &mut self.0 {
            Repr::Listpack(pack) => push_in(pack, end, element),
            Repr::Quicklist(chunks) => {
                let chunk = if end == End::Left { 0 } else { chunks.len().saturating_sub(1) };
                push_in_chunks(Arc::make_mut(chunks), chunk, end, element, limit);
            }
        }
    }

    /// Puts an element beside the one at `index`; nothing happens if there is none.
    pub fn insert(&mut self, index: usize, side: End, element: &[u8], limit: ChunkLimit) {
        match &mut self.0 {
            Repr::Listpack(pack) if index >= pack.len() => {}
            Repr::Listpack(pack) => insert_at(pack, index + usize::from(side == End::Right), element),
            Repr::Quicklist(chunks) => insert_in_chunks(Arc::make_mut(chunks), index, side, element, limit),
        }
    }

    /// Puts an element in the place of the one at `index`; false if there is none.
    pub fn set(&mut self, index: usize, element: &[u8], limit: ChunkLimit) -> bool {
        match &mut self.0 {
            Repr::Listpack(pack) => seek(pack, index).map(|at| pack.replace(at, element)).is_some(),
            Repr::Quicklist(chunks) => {
                replace_in_chunks(Arc::make_mut(chunks), index, element, limit).is_some()
            }
        }
    }

    /// Removes `count` elements from `start` on, or as many as there are.
    pub fn remove(&mut self, start: usize, count: usize) {
        let count = count.min(self.len().saturating_sub(start));
        match &mut self.0 {
            _ if count == 0 => {}
            Repr::Listpack(pack) => remove_at(pack, start, count),
            Repr::Quicklist(chunks) => remove_in_chunks(Arc::make_mut(chunks), start, start + count - 1),
        }
    }

    /// Removes up to `max` elements that are equal to `element`, beginning at an end. Returns how many they were.
    pub fn remove_equal(&mut self, element: &[u8], max: usize, from: End) -> usize {
        match &mut self.0 {
            Repr::Listpack(pack) => remove_equal(pack, element, max, from),
            Repr::Quicklist(chunks) => {
                let chunks = Arc::make_mut(chunks);
                let mut removed = 0;
                // Walked by the number of chunks still to visit, because chunks that become empty go.
                let mut left = chunks.len();
                while left > 0 && removed < max {
                    let chunk = if from == End::Right { left - 1 } else { chunks.len() - left };
                    left -= 1;
                    // Chunks without it are not copied.
                    if chunks.get(chunk).is_none_or(|pack| pack.find(pack.first(), element, 1).is_none()) {
                        continue;
                    }
                    let change = |pack: &mut Listpack| remove_equal(pack, element, max - removed, from);
                    removed += chunks.update(chunk, change).unwrap_or(0);
                    if chunks.get(chunk).is_some_and(Listpack::is_empty) {
                        chunks.remove(chunk);
                    }
                }
                removed
            }
        }
    }
}

/// Iterates over the elements of a list, towards either end.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    towards: End,
    /// The chunks still to come.
    chunks: Option<chunks::Iter<'a>>,
    current: Option<(&'a Listpack, At)>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let (pack, at) = self.current?;
        let element = pack.get(at);
        let next = match self.towards {
            End::Left => pack.prev(at),
            End::Right => pack.next(at),
        };
        self.current = next.map(|at| (pack, at)).or_else(|| self.next_chunk());
        Some(element)
    }
}

impl<'a> Iter<'a> {
    fn next_chunk(&mut self) -> Option<(&'a Listpack, At)> {
        let chunks = self.chunks.as_mut()?;
        match self.towards {
            End::Left => chunks.next_back().and_then(|pack| Some((pack, pack.last()?))),
            End::Right => chunks.next().and_then(|pack| Some((pack, pack.first()?))),
        }
    }
}

/// Adds an element behind the last chunk's, or as a chunk of its own there.
fn append(chunks: &mut Vec<Listpack>, element: &[u8], limit: ChunkLimit) {
    match chunks.last_mut().filter(|last| limit.has_room(last, element)) {
        Some(last) => last.push_back(element),
        None => chunks.push(single(element)),
    }
}

/// Makes small chunks of those that are far beyond the limit. An element that is so by itself stays.
fn split_giants(chunks: Vec<Listpack>, limit: ChunkLimit) -> Vec<Listpack> {
    let is_giant = |chunk: &Listpack| chunk.len_bytes() > CHUNK_BYTES_MAX && chunk.len() > 1;
    if !chunks.iter().any(is_giant) {
        return chunks;
    }
    let mut split = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        if is_giant(&chunk) {
            chunk.iter().for_each(|element| element.with_bytes(|bytes| append(&mut split, bytes, limit)));
        } else {
            split.push(chunk);
        }
    }
    split
}

/// Adds an element at an end of a chunk, or as a chunk of its own there.
fn push_in_chunks(chunks: &mut Chunks, chunk: usize, end: End, element: &[u8], limit: ChunkLimit) {
    if has_room(chunks, chunk, element, limit) {
        chunks.update(chunk, |pack| push_in(pack, end, element));
    } else {
        let beside = chunk + usize::from(end == End::Right);
        chunks.insert(beside, single(element));
    }
}

/// The chunk of the element beside which it is to stand is the first choice, the chunk on the other side the second.
fn insert_in_chunks(chunks: &mut Chunks, index: usize, side: End, element: &[u8], limit: ChunkLimit) {
    let Some((chunk, offset)) = chunks.seek(index) else { return };
    let len = chunks.get(chunk).map_or(0, Listpack::len);
    let at = offset + usize::from(side == End::Right);
    if has_room(chunks, chunk, element, limit) {
        chunks.update(chunk, |pack| insert_at(pack, at, element));
    } else if at == 0 {
        match chunk.checked_sub(1) {
            Some(before) => push_in_chunks(chunks, before, End::Right, element, limit),
            None => chunks.insert(0, single(element)),
        }
    } else if at == len {
        push_in_chunks(chunks, chunk + 1, End::Left, element, limit);
    } else if !limit.is_packed(element.len()) {
        split(chunks, chunk, at);
        chunks.insert(chunk + 1, single(element));
    } else {
        split(chunks, chunk, at);
        // Away from the one beside which it stands.
        let (to, end, center) = match side {
            End::Left => (chunk, End::Right, chunk + 1),
            End::Right => (chunk + 1, End::Left, chunk),
        };
        chunks.update(to, |pack| push_in(pack, end, element));
        merge_around(chunks, center, limit);
    }
}

/// `None` if there is no such element.
fn replace_in_chunks(chunks: &mut Chunks, index: usize, element: &[u8], limit: ChunkLimit) -> Option<()> {
    let (chunk, offset) = chunks.seek(index)?;
    let pack = chunks.get(chunk)?;
    let at = seek(pack, offset)?;
    if limit.may_replace(pack, at, element) || pack.len() == 1 && !limit.is_packed(element.len()) {
        chunks.update(chunk, |pack| pack.replace(at, element));
    } else if pack.len() == 1 {
        chunks.remove(chunk);
        push_in_chunks(chunks, chunk, End::Left, element, limit);
    } else {
        // It stands alone between what was in front of the other and what was behind it.
        if offset + 1 < pack.len() {
            split(chunks, chunk, offset + 1);
        }
        if offset == 0 {
            chunks.update(chunk, |pack| *pack = single(element));
        } else {
            chunks.update(chunk, |pack| remove_at(pack, offset, 1));
            chunks.insert(chunk + 1, single(element));
            merge_around(chunks, chunk + 1, limit);
        }
    }
    Some(())
}

/// Makes two chunks of one: what was at `offset` begins the second.
fn split(chunks: &mut Chunks, chunk: usize, offset: usize) {
    let right = chunks.update(chunk, |pack| split_off(pack, offset));
    right.into_iter().for_each(|right| chunks.insert(chunk + 1, right));
}

/// Makes one of neighbours that are small enough, around a place where chunks were split: first of the two on either side,
/// then of the one in the middle with what is in front of it, and of that with what is behind.
fn merge_around(chunks: &mut Chunks, center: usize, limit: ChunkLimit) {
    let mut center = center;
    if center >= 2 && merge(chunks, center - 2, limit) {
        center -= 1;
    }
    merge(chunks, center + 1, limit);
    if center >= 1 && merge(chunks, center - 1, limit) {
        center -= 1;
    }
    merge(chunks, center, limit);
}

/// Makes one chunk of this one and the next, if they are small enough; false if they are not.
fn merge(chunks: &mut Chunks, chunk: usize, limit: ChunkLimit) -> bool {
    let pair = chunks.get(chunk).zip(chunks.get(chunk + 1));
    let may_merge = pair.is_some_and(|(one, other)| limit.may_merge(one, other));
    if may_merge {
        let behind = chunks.remove(chunk + 1);
        chunks.update(chunk, |pack| behind.iter().for_each(|behind| pack.extend(behind.iter())));
    }
    may_merge
}

fn has_room(chunks: &Chunks, chunk: usize, element: &[u8], limit: ChunkLimit) -> bool {
    chunks.get(chunk).is_some_and(|pack| limit.has_room(pack, element))
}

fn remove_in_chunks(chunks: &mut Chunks, first: usize, last: usize) {
    let (Some((head, skipped)), Some((tail, offset))) = (chunks.seek(first), chunks.seek(last)) else {
        return;
    };
    if head == tail && skipped > 0 {
        chunks.update(head, |pack| remove_at(pack, skipped, last - first + 1));
        return;
    }
    // Whole chunks go as they are; what is left of the outer two is cut out of them.
    let mut whole = head..tail + 1;
    if chunks.get(tail).is_some_and(|pack| offset + 1 < pack.len()) {
        chunks.update(tail, |pack| remove_at(pack, 0, offset + 1));
        whole.end = tail;
    }
    if skipped > 0 {
        chunks.update(head, |pack| remove_at(pack, skipped, usize::MAX));
        whole.start = head + 1;
    }
    if whole.start < whole.end {
        chunks.remove_range(whole);
    }
}

fn single(element: &[u8]) -> Listpack {
    let mut pack = Listpack::new();
    pack.push_back(element);
    pack
}

fn seek(pack: &Listpack, index: usize) -> Option<At> {
    isize::try_from(index).ok().and_then(|index| pack.seek(index))
}

fn insert_at(pack: &mut Listpack, index: usize, element: &[u8]) {
    match seek(pack, index) {
        Some(at) => pack.insert(at, element),
        None => pack.push_back(element),
    }
}

fn push_in(pack: &mut Listpack, end: End, element: &[u8]) {
    match end {
        End::Left => pack.push_front(element),
        End::Right => pack.push_back(element),
    }
}

fn remove_at(pack: &mut Listpack, index: usize, count: usize) {
    if let Some(at) = seek(pack, index) {
        pack.remove(at, count);
    }
}

fn split_off(pack: &mut Listpack, index: usize) -> Listpack {
    let mut right = pack.clone();
    remove_at(&mut right, 0, index);
    remove_at(pack, index, usize::MAX);
    right
}

fn remove_equal(pack: &mut Listpack, element: &[u8], max: usize, from: End) -> usize {
    let mut removed = 0;
    let mut at = match from {
        End::Left => pack.find(pack.first(), element, 1),
        End::Right => pack.last(),
    };
    while let Some(place) = at.filter(|_| removed < max) {
        match from {
            End::Left => {
                let next = pack.remove(place, 1);
                removed += 1;
                at = pack.find(next, element, 1);
            }
            End::Right => {
                at = pack.prev(place);
                if pack.get(place).is(element) {
                    pack.remove(place, 1);
                    removed += 1;
                }
            }
        }
    }
    removed
}

#[cfg(test)]
mod tests;
