//! The chunks of a quicklist: a tree of them, and beside it the first and the last, at which most writes are.
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
    /// The first.
    front: Option<Listpack>,
    tree: Tree<Listpack>,
    /// The last, if it is not the first.
    back: Option<Listpack>,
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
        Chunks { front, tree, back }
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
        let ends = [&self.front, &self.back].into_iter().flatten();
        self.tree.weight() + ends.map(Listpack::len).sum::<usize>()
    }

    /// The chunk at an index.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Listpack> {
        match index.checked_sub(1) {
            None => self.front.as_ref(),
            Some(inner) if inner < self.tree.len() => self.tree.get(inner),
            Some(inner) => self.back.as_ref().filter(|_| inner == self.tree.len()),
        }
    }

    /// The chunk that has the element at an index, and the element's index there.
    pub(super) fn seek(&self, element: usize) -> Option<(usize, usize)> {
        let front = self.front.as_ref().map_or(0, Listpack::len);
        let Some(inner) = element.checked_sub(front) else { return Some((0, element)) };
        match self.tree.seek_weight(inner) {
            Some((chunk, offset)) => Some((1 + chunk, offset)),
            None => {
                let offset = inner - self.tree.weight();
                let is_there = self.back.as_ref().is_some_and(|back| offset < back.len());
                is_there.then_some((1 + self.tree.len(), offset))
            }
        }
    }

    /// Changes the chunk at an index; `None` past the end.
    #[inline]
    pub(super) fn update<R>(&mut self, index: usize, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        match index.checked_sub(1) {
            None => self.front.as_mut().map(change),
            Some(inner) if inner < self.tree.len() => self.tree.update(inner, change),
            Some(inner) => self.back.as_mut().filter(|_| inner == self.tree.len()).map(change),
        }
    }

    /// Puts a chunk before the one at an index, or behind all.
    pub(super) fn insert(&mut self, index: usize, chunk: Listpack) {
        let behind = self.len();
        if index == 0 {
            match self.front.replace(chunk) {
                Some(second) if self.back.is_none() => self.back = Some(second),
                Some(second) => self.tree.push_front(second),
                None => {}
            }
        } else if index < behind {
            self.tree.insert(index - 1, chunk);
        } else if let Some(inner) = self.back.replace(chunk) {
            self.tree.push_back(inner);
        }
    }

    /// Removes the chunk at an index.
    pub(super) fn remove(&mut self, index: usize) -> Option<Listpack> {
        match index.checked_sub(1) {
            None => {
                let second = self.tree.pop_front().or_else(|| self.back.take());
                std::mem::replace(&mut self.front, second)
            }
            Some(inner) if inner < self.tree.len() => Some(self.tree.remove(inner)),
            Some(_) => {
                let inner = self.tree.pop_back();
                std::mem::replace(&mut self.back, inner)
            }
        }
    }

    /// Removes the chunks in a range.
    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        let len = self.len();
        self.tree.remove_range(self.inner(&range));
        if range.contains(&(len - 1)) && len > 1 {
            self.back = self.tree.pop_back();
        }
        if range.contains(&0) {
            self.front = self.tree.pop_front().or_else(|| self.back.take());
        }
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
