//! A copy-on-write array of shared things; its clone is a snapshot in O(1).
//!
//! `im` is archived and parts of it are unsound. Only `im::Vector` is used, only here, and of it only `push_back`,
//! `pop_back`, `get`, `get_mut`, `len`, `iter` and `clone`, which property tests of the spine cover.

use std::ops::Index;

use im::Vector;
use triomphe::Arc;

/// Things in a row.
#[derive(Debug)]
pub(crate) struct Sequence<T>(Vector<Arc<T>>);

impl<T> Clone for Sequence<T> {
    fn clone(&self) -> Self {
        Sequence(self.0.clone())
    }
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Sequence(Vector::new())
    }
}

impl<T> Index<usize> for Sequence<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.0[index]
    }
}

impl<T> Sequence<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index).map(|thing| &**thing)
    }

    /// A thing to write to: it is copied if a snapshot has it too.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T>
    where
        T: Clone,
    {
        self.0.get_mut(index).map(Arc::make_mut)
    }

    pub(crate) fn push(&mut self, thing: T) {
        self.0.push_back(Arc::new(thing));
    }

    pub(crate) fn pop(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.0.pop_back().map(Arc::unwrap_or_clone)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|thing| &**thing)
    }
}
