//! The chunks of a quicklist: a tree of them, and beside it the first and the last, at which most writes are: those go
//! down the tree only where such a chunk is full, or empty.
//!
//! ```text
//! front [a b c] | tree [d e] [f g h] ... | back [y z]
//! ```

use std::iter::Chain;
use std::ops::Range;
use std::option;

use crate::types::listpack::Listpack;
use crate::types::tree::{self, Item, Tree};

/// Chunks in a row. They are counted from the front on.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks {
    /// The first; none only if there is no chunk.
    front: Option<Listpack>,
    /// What is between the two.
    tree: Tree<Listpack>,
    /// The last, if it is not the first.
    back: Option<Listpack>,
    /// Elements in all of them: to ask the two at the ends would be a cache miss each.
    weight: usize,
}

/// Where a chunk stands.
enum Place {
    Front,
    Inner(usize),
    Back,
}

/// Goes over chunks from either end.
pub(super) type Iter<'a> =
    Chain<Chain<option::IntoIter<&'a Listpack>, tree::Iter<'a, Listpack>>, option::IntoIter<&'a Listpack>>;

impl Item for Listpack {
    type Key = ();

    fn key(&self) {}

    #[inline]
    fn weight(&self) -> usize {
        self.len()
    }
}

impl FromIterator<Listpack> for Chunks {
    fn from_iter<I: IntoIterator<Item = Listpack>>(chunks: I) -> Self {
        let mut chunks = chunks.into_iter();
        let front = chunks.next();
        let mut tree: Tree<Listpack> = chunks.collect();
        let back = tree.pop_back();
        let mut chunks = Chunks { front, tree, back, weight: 0 };
        chunks.recount();
        chunks
    }
}

impl Chunks {
    /// Number of chunks.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.front.is_some()) + self.tree.len() + usize::from(self.back.is_some())
    }

    /// Number of elements in all of them.
    #[inline]
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    fn recount(&mut self) {
        let ends = [&self.front, &self.back].into_iter().flatten();
        self.weight = self.tree.weight() + ends.map(Listpack::len).sum::<usize>();
    }

    /// Where the chunk at an index stands, if it is there: the two ends may be absent.
    #[inline]
    fn place(&self, index: usize) -> Option<Place> {
        match index.checked_sub(1) {
            None => Some(Place::Front),
            Some(inner) if inner < self.tree.len() => Some(Place::Inner(inner)),
            Some(inner) => (inner == self.tree.len()).then_some(Place::Back),
        }
    }

    /// The chunk at an index.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Listpack> {
        match self.place(index)? {
            Place::Front => self.front.as_ref(),
            Place::Inner(inner) => self.tree.get(inner),
            Place::Back => self.back.as_ref(),
        }
    }

    /// The chunk that has the element at an index, and the element's index there.
    pub(super) fn seek(&self, element: usize) -> Option<(usize, usize)> {
        if element >= self.weight {
            return None;
        }
        let front = self.front.as_ref().map_or(0, Listpack::len);
        let Some(inner) = element.checked_sub(front) else { return Some((0, element)) };
        let in_back = || (self.tree.len(), inner - self.tree.weight());
        let (chunk, offset) = self.tree.seek_weight(inner).unwrap_or_else(in_back);
        Some((1 + chunk, offset))
    }

    /// Changes the chunk at an index; `None` past the end.
    #[inline]
    pub(super) fn update<R>(&mut self, index: usize, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        let place = self.place(index)?;
        let weight = &mut self.weight;
        let change = |chunk: &mut Listpack| {
            let before = chunk.len();
            let result = change(chunk);
            *weight = *weight - before + chunk.len();
            result
        };
        match place {
            Place::Front => self.front.as_mut().map(change),
            Place::Inner(inner) => self.tree.update(inner, change),
            Place::Back => self.back.as_mut().map(change),
        }
    }

    /// Puts a chunk before the one at an index, or behind all.
    pub(super) fn insert(&mut self, index: usize, chunk: Listpack) {
        self.weight += chunk.len();
        if index == 0 || self.front.is_none() {
            match self.front.replace(chunk) {
                Some(second) if self.back.is_none() => self.back = Some(second),
                Some(second) => self.tree.push_front(second),
                None => {}
            }
        } else if index < self.len() {
            self.tree.insert(index - 1, chunk);
        } else if let Some(inner) = self.back.replace(chunk) {
            self.tree.push_back(inner);
        }
    }

    /// Removes the chunk at an index.
    pub(super) fn remove(&mut self, index: usize) -> Option<Listpack> {
        let removed = match self.place(index)? {
            Place::Front => self.take_front(),
            Place::Inner(inner) => Some(self.tree.remove(inner)),
            Place::Back => self.take_back(),
        }?;
        self.weight -= removed.len();
        Some(removed)
    }

    /// Removes the chunks in a range.
    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        let back = 1 + self.tree.len();
        self.tree.remove_range(self.inner(&range));
        if range.contains(&back) {
            self.take_back();
        }
        if range.contains(&0) {
            self.take_front();
        }
        self.recount();
    }

    fn take_front(&mut self) -> Option<Listpack> {
        let second = self.tree.pop_front().or_else(|| self.back.take());
        std::mem::replace(&mut self.front, second)
    }

    fn take_back(&mut self) -> Option<Listpack> {
        let inner = self.tree.pop_back();
        std::mem::replace(&mut self.back, inner)
    }

    /// The chunks in a range.
    pub(super) fn range(&self, range: Range<usize>) -> Iter<'_> {
        let front = self.front.as_ref().filter(|_| range.contains(&0));
        let back = self.back.as_ref().filter(|_| range.contains(&(1 + self.tree.len())));
        front.into_iter().chain(self.tree.range(self.inner(&range))).chain(back)
    }

    /// What a range has of the tree.
    fn inner(&self, range: &Range<usize>) -> Range<usize> {
        let inner = |end: usize| end.saturating_sub(1).min(self.tree.len());
        inner(range.start)..inner(range.end)
    }
}

#[cfg(test)]
mod tests;
