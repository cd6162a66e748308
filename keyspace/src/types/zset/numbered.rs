//! Shared things by number; a clone is a snapshot in O(1).
//!
//! ```text
//! node   up to 32 nodes of the level below; on the lowest level, up to 32 things
//! ```
//! All nodes but the last of each level are full, so a number's bits, five to a level, are the way to what has it. (An
//! `im::Vector` must find its way through nodes that were cut and joined, at more than twice the instructions.)

use std::ops::Index;

use triomphe::Arc;

use crate::table::clone_all;

/// Tests have small nodes, and so more levels.
const BITS: u32 = if cfg!(test) { 2 } else { 5 };
const FANOUT: usize = 1 << BITS;

/// Things, numbered from 0 on.
#[derive(Debug, Clone)]
pub(crate) struct Numbered<T> {
    root: Arc<Node<T>>,
    /// Levels above the lowest.
    levels: u32,
    len: usize,
}

#[derive(Debug)]
enum Node<T> {
    Nodes(Vec<Arc<Node<T>>>),
    Things(Vec<Arc<T>>),
}

/// The place in a node of a level that leads to a number.
#[inline]
fn digit(number: usize, level: u32) -> usize {
    number >> (BITS * level) & (FANOUT - 1)
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Node::Nodes(nodes) => Node::Nodes(clone_all(nodes)),
            Node::Things(things) => Node::Things(clone_all(things)),
        }
    }
}

impl<T> Node<T> {
    fn new(level: u32) -> Self {
        if level == 0 { Node::Things(Vec::new()) } else { Node::Nodes(Vec::new()) }
    }

    /// Appends what has this number.
    fn push(&mut self, number: usize, level: u32, thing: Arc<T>) {
        match self {
            Node::Things(things) => things.push(thing),
            Node::Nodes(nodes) => {
                if nodes.len() == digit(number, level) {
                    nodes.push(Arc::new(Node::new(level - 1)));
                }
                if let Some(last) = nodes.last_mut() {
                    Arc::make_mut(last).push(number, level - 1, thing);
                }
            }
        }
    }

    fn pop(&mut self) -> Option<Arc<T>> {
        match self {
            Node::Things(things) => things.pop(),
            Node::Nodes(nodes) => {
                let last = Arc::make_mut(nodes.last_mut()?);
                let thing = last.pop();
                if last.is_empty() {
                    nodes.pop();
                }
                thing
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Nodes(nodes) => nodes.is_empty(),
            Node::Things(things) => things.is_empty(),
        }
    }
}

impl<T> Numbered<T> {
    pub(super) fn new() -> Self {
        Numbered { root: Arc::new(Node::new(0)), levels: 0, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&Arc<T>> {
        if number >= self.len {
            return None;
        }
        let (mut node, mut level) = (&*self.root, self.levels);
        loop {
            match node {
                Node::Things(things) => return things.get(digit(number, level)),
                Node::Nodes(nodes) => node = nodes.get(digit(number, level))?,
            }
            level -= 1;
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Arc<T>> {
        if number >= self.len {
            return None;
        }
        let (mut node, mut level) = (Arc::make_mut(&mut self.root), self.levels);
        loop {
            match node {
                Node::Things(things) => return things.get_mut(digit(number, level)),
                Node::Nodes(nodes) => node = Arc::make_mut(nodes.get_mut(digit(number, level))?),
            }
            level -= 1;
        }
    }

    /// Adds what has the next number.
    pub(super) fn push_back(&mut self, thing: Arc<T>) {
        if self.len == FANOUT << (BITS * self.levels) {
            let full = Arc::clone(&self.root);
            self.root = Arc::new(Node::Nodes(vec![full]));
            self.levels += 1;
        }
        Arc::make_mut(&mut self.root).push(self.len, self.levels, thing);
        self.len += 1;
    }

    /// Takes what has the last number.
    pub(super) fn pop_back(&mut self) -> Option<Arc<T>> {
        let thing = Arc::make_mut(&mut self.root).pop()?;
        self.len -= 1;
        while let Node::Nodes(nodes) = &*self.root
            && let [only] = &nodes[..]
        {
            self.root = Arc::clone(only);
            self.levels -= 1;
        }
        Some(thing)
    }
}

impl<T> Index<usize> for Numbered<T> {
    type Output = Arc<T>;

    /// # Panics
    /// If nothing has this number.
    #[inline]
    fn index(&self, number: usize) -> &Arc<T> {
        match self.get(number) {
            Some(thing) => thing,
            None => panic!("number {number} of {}", self.len),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(numbered: &Numbered<u32>) -> Vec<u32> {
        (0..numbered.len()).map(|number| *numbered[number]).collect()
    }

    proptest! {
        /// Pushes come in rows, so that there are several levels.
        #[test]
        fn numbers_do_what_a_vector_does_and_snapshots_stay(
            steps in prop::collection::vec((0u8..4, 0usize..150, any::<u32>()), 0..40),
        ) {
            let (mut numbered, mut model) = (Numbered::new(), Vec::new());
            let mut snapshots = Vec::new();
            for (kind, at, value) in steps {
                match kind {
                    0 => (0..at as u32).for_each(|more| {
                        numbered.push_back(Arc::new(more));
                        model.push(more);
                    }),
                    1 => {
                        for _ in 0..at {
                            prop_assert_eq!(numbered.pop_back().map(|value| *value), model.pop());
                        }
                    }
                    2 => snapshots.push((numbered.clone(), model.clone())),
                    _ => {
                        if let Some(own) = numbered.get_mut(at) {
                            *own = Arc::new(value);
                        }
                        if let Some(own) = model.get_mut(at) {
                            *own = value;
                        }
                    }
                }
                prop_assert_eq!((numbered.len(), values(&numbered)), (model.len(), model.clone()));
                prop_assert!(numbered.get(model.len()).is_none() && numbered.get_mut(model.len()).is_none());
            }
            for (snapshot, model) in snapshots {
                prop_assert_eq!(values(&snapshot), model);
            }
        }
    }
}
