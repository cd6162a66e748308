//! The counted copy-on-write B+tree: a sequence that is reached by index, by weight and by binary search, all in
//! O(log n), and whose clone is a snapshot in O(1). What is between a list's ends is a tree of chunks, weighted by their
//! elements; sorted sets are trees of runs of members in order, long strings trees of chunks.
//!
//! ```text
//! inner   up to 32 children, each with the number of items and the weight below it, and the first item's key
//! leaf    up to 64 items
//! ```
//! All leaves are equally deep. Nodes are at least a quarter full, but for those on the two outer edges, which may
//! hold a single element: so a tree that grows at an end has full nodes, and popping never borrows from a neighbour.
//! A write after a clone copies the nodes on one path from the root and no others.

use std::fmt::Debug;
use std::iter::FusedIterator;
use std::ops::Range;

use triomphe::Arc;

const MAX_ITEMS: usize = 64;
const CHILD_BITS: u32 = 5;
const MAX_CHILDREN: usize = 1 << CHILD_BITS;

/// What a tree holds.
pub trait Item: Clone {
    /// What [`Tree::last_before`] goes by. The nodes have a copy of the first below each child, so that a search on its
    /// way down reads the nodes that it goes through and no others.
    type Key: Copy + Default + Debug;

    /// The item's key.
    fn key(&self) -> Self::Key;

    /// What the item counts for in [`Tree::weight`].
    #[inline]
    fn weight(&self) -> usize {
        1
    }
}

/// A sequence of items. Cloning it takes a snapshot.
#[derive(Debug, Clone)]
pub struct Tree<T: Item> {
    root: Child<T>,
}

/// The way to an item: the places in the nodes from the root down, from the lowest bits up; that in the leaf is all
/// that is left then. It leads there until an item is added or removed.
///
/// There is room for twelve levels. To get a thirteenth the nodes, which but for those at the edges are at least a
/// quarter full, would have to hold 2^38 items.
#[derive(Debug, Clone, Copy)]
pub struct Way(u64);

/// A node and what is below it.
#[derive(Debug)]
struct Child<T: Item> {
    node: Arc<Node<T>>,
    len: usize,
    weight: usize,
    /// The first item's; without an item, none that counts.
    key: T::Key,
}

#[derive(Debug, Clone)]
enum Node<T: Item> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

/// Whether a change is at an end of the whole sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    First,
    Last,
    Inside,
}

impl Way {
    /// The place in a node of children; what is left leads on from there.
    #[inline]
    fn next(&mut self) -> usize {
        let place = self.0 as usize % MAX_CHILDREN;
        self.0 >>= CHILD_BITS;
        place
    }

    /// The place in the leaf.
    #[inline]
    fn last(self) -> usize {
        self.0 as usize
    }
}

impl<T: Item> Clone for Child<T> {
    fn clone(&self) -> Self {
        Child { node: Arc::clone(&self.node), ..*self }
    }
}

impl<T: Item> Default for Tree<T> {
    fn default() -> Self {
        Tree { root: Child::of(Node::Leaf(Vec::new())) }
    }
}

impl<T: Item> Tree<T> {
    /// An empty tree.
    pub fn new() -> Self {
        Tree::default()
    }

    /// Number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.root.len
    }

    /// Whether there is no item.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.root.len == 0
    }

    /// The items' weights, added up.
    #[inline]
    pub fn weight(&self) -> usize {
        self.root.weight
    }

    /// Number of levels, 1 for a single leaf.
    pub fn depth(&self) -> usize {
        let mut depth = 1;
        let mut node = &*self.root.node;
        while let Node::Inner(children) = node {
            depth += 1;
            node = &children[0].node;
        }
        depth
    }

    /// The item at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        let (items, start) = self.leaf(index);
        items.get(index - start)
    }

    /// The first item.
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last item.
    pub fn last(&self) -> Option<&T> {
        self.len().checked_sub(1).and_then(|last| self.get(last))
    }

    /// The index of the item that holds unit `weight_index` of the weight, and how many of the item's own units come
    /// before it. `None` past the end.
    pub fn seek_weight(&self, weight_index: usize) -> Option<(usize, usize)> {
        if weight_index >= self.weight() {
            return None;
        }
        let mut index = 0;
        let mut offset = weight_index;
        let mut node = &*self.root.node;
        while let Node::Inner(children) = node {
            let at = skip(&mut offset, children, |child| child.weight);
            index += children[..at].iter().map(|child| child.len).sum::<usize>();
            node = &children[at].node;
        }
        if let Node::Leaf(items) = node {
            index += skip(&mut offset, items, T::weight);
        }
        Some((index, offset))
    }

    /// The number of items in front for which `is_before` holds, given that it holds for none behind them.
    pub fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let mut len = 0;
        let mut node = &*self.root.node;
        loop {
            match node {
                Node::Leaf(items) => return len + items.partition_point(is_before),
                Node::Inner(children) => {
                    let at = children.partition_point(|child| child.first().is_some_and(&mut is_before));
                    let at = at.saturating_sub(1);
                    len += children[..at].iter().map(|child| child.len).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The last item for whose key `is_before` holds, given that it holds for all in front of it and for none behind;
    /// and the way there.
    #[inline]
    pub fn last_before(&self, is_before: impl Fn(&T::Key) -> bool) -> Option<(Way, &T)> {
        self.descend(|node| match node {
            Node::Leaf(items) => items.partition_point(|item| is_before(&item.key())).checked_sub(1),
            Node::Inner(children) => {
                Some(children.partition_point(|child| is_before(&child.key)).saturating_sub(1))
            }
        })
    }

    /// The item at `index`, and the way there.
    pub fn locate(&self, index: usize) -> Option<(Way, &T)> {
        let mut rest = index;
        self.descend(|node| match node {
            Node::Leaf(_) => Some(rest),
            Node::Inner(children) => Some(skip(&mut rest, children, |child| child.len)),
        })
    }

    /// Goes down from the root to an item, at each node to the place that `choose` says.
    #[inline]
    fn descend(&self, mut choose: impl FnMut(&Node<T>) -> Option<usize>) -> Option<(Way, &T)> {
        let mut way = 0;
        let mut node = &*self.root.node;
        for shift in (0..u64::BITS - CHILD_BITS).step_by(CHILD_BITS as usize) {
            let at = choose(node)?;
            way |= (at as u64) << shift;
            match node {
                Node::Leaf(items) => return Some((Way(way), items.get(at)?)),
                Node::Inner(children) => node = &children.get(at)?.node,
            }
        }
        None
    }

    /// The index of the item that a way leads to.
    pub fn index(&self, way: &Way) -> usize {
        self.sum_before(way, |child| child.len, |_| 1)
    }

    /// The weight of the items in front of the one that a way leads to.
    pub fn weight_before(&self, way: &Way) -> usize {
        self.sum_before(way, |child| child.weight, T::weight)
    }

    fn sum_before(
        &self,
        way: &Way,
        of_child: impl Fn(&Child<T>) -> usize,
        of_item: impl Fn(&T) -> usize,
    ) -> usize {
        let (mut sum, mut way) = (0, *way);
        let mut node = &*self.root.node;
        loop {
            match node {
                Node::Leaf(items) => return sum + items.iter().take(way.last()).map(of_item).sum::<usize>(),
                Node::Inner(children) => {
                    let place = way.next();
                    sum += children[..place].iter().map(&of_child).sum::<usize>();
                    node = &children[place].node;
                }
            }
        }
    }

    /// Changes the item at `index` in place; its weight may change. `None` past the end.
    pub fn update<R>(&mut self, index: usize, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let (way, _) = self.locate(index)?;
        self.update_at(&way, change)
    }

    /// As [`update`](Self::update), of the item that a way leads to.
    #[inline]
    pub fn update_at<R>(&mut self, way: &Way, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.root.update(*way, change)
    }

    /// Puts an item before the one at `index`, or at the end.
    ///
    /// # Panics
    /// If `index` is past the end.
    pub fn insert(&mut self, index: usize, item: T) {
        assert!(index <= self.len(), "insert at {index} of {}", self.len());
        let edge = match index {
            _ if index == self.len() => Edge::Last,
            0 => Edge::First,
            _ => Edge::Inside,
        };
        if let Some(right) = self.root.insert(index, item, edge) {
            let left = std::mem::replace(&mut self.root, Tree::default().root);
            self.root = Child::of(Node::Inner(vec![left, right]));
        }
    }

    /// Removes the item at `index`.
    ///
    /// # Panics
    /// If `index` is past the end.
    pub fn remove(&mut self, index: usize) -> T {
        assert!(index < self.len(), "remove at {index} of {}", self.len());
        let edge = match index {
            _ if index + 1 == self.len() => Edge::Last,
            0 => Edge::First,
            _ => Edge::Inside,
        };
        let item = self.root.remove(index, edge);
        self.collapse();
        item
    }

    /// Removes the items in a range.
    ///
    /// # Panics
    /// If the range ends past the end.
    pub fn remove_range(&mut self, range: Range<usize>) {
        assert!(range.end <= self.len(), "remove {range:?} of {}", self.len());
        if range.is_empty() {
            return;
        }
        if range.len() == self.len() {
            *self = Tree::default();
            return;
        }
        let seam = range.start;
        self.root.cut(range);
        self.collapse();
        // Both sides of the cut may be left with thin nodes, on every level; and one that is merged may leave its parent
        // thin in turn.
        for index in [seam.saturating_sub(1), seam] {
            let index = index.min(self.len() - 1);
            while self.root.has_thin_path(index) {
                self.root.mend_path(index);
                self.collapse();
            }
        }
    }

    /// Appends an item.
    pub fn push_back(&mut self, item: T) {
        self.insert(self.len(), item);
    }

    /// Puts an item in front.
    pub fn push_front(&mut self, item: T) {
        self.insert(0, item);
    }

    /// Removes the last item.
    pub fn pop_back(&mut self) -> Option<T> {
        self.len().checked_sub(1).map(|last| self.remove(last))
    }

    /// Removes the first item.
    pub fn pop_front(&mut self) -> Option<T> {
        (!self.is_empty()).then(|| self.remove(0))
    }

    /// The items from first to last, and from either end.
    pub fn iter(&self) -> Iter<'_, T> {
        self.range(0..self.len())
    }

    /// The items at the indices of a range, from either end. No step allocates.
    ///
    /// # Panics
    /// If the range ends past the end.
    pub fn range(&self, range: Range<usize>) -> Iter<'_, T> {
        assert!(range.end <= self.len(), "iterate over {range:?} of {}", self.len());
        Iter { tree: self, range, front: &[], back: &[] }
    }

    /// The leaf that holds `index` (the last one for an index past the end), and the index of its first item.
    #[inline]
    fn leaf(&self, index: usize) -> (&[T], usize) {
        let mut rest = index;
        let mut node = &*self.root.node;
        loop {
            match node {
                Node::Leaf(items) => return (items, index - rest),
                Node::Inner(children) => {
                    let at = skip(&mut rest, children, |child| child.len);
                    node = &children[at].node;
                }
            }
        }
    }

    /// Drops root nodes that have a single child.
    fn collapse(&mut self) {
        while let Node::Inner(children) = &*self.root.node {
            match children.as_slice() {
                [] => *self = Tree::default(),
                [only] => self.root = only.clone(),
                _ => return,
            }
        }
    }
}

impl<T: Item> Node<T> {
    /// The key of the first item.
    #[inline]
    fn key(&self) -> T::Key {
        let key = match self {
            Node::Leaf(items) => items.first().map(T::key),
            Node::Inner(children) => children.first().map(|child| child.key),
        };
        key.unwrap_or_default()
    }
}

impl<T: Item> Child<T> {
    fn of(node: Node<T>) -> Self {
        let mut child = Child { node: Arc::new(node), len: 0, weight: 0, key: T::Key::default() };
        child.recount();
        child
    }

    fn recount(&mut self) {
        self.key = self.node.key();
        (self.len, self.weight) = match &*self.node {
            Node::Leaf(items) => (items.len(), items.iter().map(T::weight).sum()),
            Node::Inner(children) => {
                children.iter().fold((0, 0), |(len, weight), child| (len + child.len, weight + child.weight))
            }
        };
    }

    #[inline]
    fn first(&self) -> Option<&T> {
        let mut node = &*self.node;
        loop {
            match node {
                Node::Leaf(items) => return items.first(),
                Node::Inner(children) => node = &children.first()?.node,
            }
        }
    }

    /// Whether it has so few elements that it should share with a neighbour.
    fn is_thin(&self) -> bool {
        match &*self.node {
            Node::Leaf(items) => items.len() < MAX_ITEMS / 4,
            Node::Inner(children) => children.len() < MAX_CHILDREN / 4,
        }
    }

    fn update<R>(&mut self, mut way: Way, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let (before, after, result) = match Arc::make_mut(&mut self.node) {
            Node::Leaf(items) => {
                let item = items.get_mut(way.last())?;
                let before = item.weight();
                let result = change(item);
                (before, item.weight(), result)
            }
            Node::Inner(children) => {
                let child = children.get_mut(way.next())?;
                let before = child.weight;
                let result = child.update(way, change)?;
                (before, child.weight, result)
            }
        };
        self.weight = self.weight - before + after;
        self.key = self.node.key();
        Some(result)
    }

    /// Inserts; returns the right half if the node had to be split.
    fn insert(&mut self, mut index: usize, item: T, edge: Edge) -> Option<Child<T>> {
        self.len += 1;
        self.weight += item.weight();
        let right = match Arc::make_mut(&mut self.node) {
            Node::Leaf(items) => insert_or_split(items, index, item, MAX_ITEMS, edge).map(Node::Leaf),
            Node::Inner(children) => {
                let at = skip(&mut index, children, |child| child.len);
                let right = children[at].insert(index, item, edge);
                let right =
                    right.and_then(|right| insert_or_split(children, at + 1, right, MAX_CHILDREN, edge));
                right.map(Node::Inner)
            }
        };
        self.key = self.node.key();
        let right = Child::of(right?);
        self.len -= right.len;
        self.weight -= right.weight;
        Some(right)
    }

    fn remove(&mut self, mut index: usize, edge: Edge) -> T {
        let item = match Arc::make_mut(&mut self.node) {
            Node::Leaf(items) => items.remove(index),
            Node::Inner(children) => {
                let at = skip(&mut index, children, |child| child.len);
                let item = children[at].remove(index, edge);
                if children[at].len == 0 {
                    children.remove(at);
                } else if edge == Edge::Inside {
                    mend(children, at);
                }
                item
            }
        };
        self.len -= 1;
        self.weight -= item.weight();
        self.key = self.node.key();
        item
    }

    /// Removes a range that leaves something over. Nodes at its ends may become thin.
    fn cut(&mut self, range: Range<usize>) {
        match Arc::make_mut(&mut self.node) {
            Node::Leaf(items) => drop(items.drain(range)),
            Node::Inner(children) => {
                let mut end = 0;
                children.retain_mut(|child| {
                    let start = end;
                    end += child.len;
                    let part = range.start.max(start)..range.end.min(end);
                    if !part.is_empty() && part.len() < child.len {
                        child.cut(part.start - start..part.end - start);
                        return true;
                    }
                    part.is_empty()
                });
            }
        }
        self.recount();
    }

    /// Fills up the thin nodes on the way to the item at `index`, from the top down, so that each has a neighbour by
    /// the time it is met.
    fn mend_path(&mut self, index: usize) {
        if !self.has_thin_path(index) {
            return;
        }
        let Node::Inner(children) = Arc::make_mut(&mut self.node) else { return };
        loop {
            let mut rest = index;
            let at = skip(&mut rest, children, |child| child.len);
            if children.len() == 1 || !children[at].is_thin() {
                return children[at].mend_path(rest);
            }
            mend(children, at);
        }
    }

    fn has_thin_path(&self, index: usize) -> bool {
        let mut rest = index;
        let mut node = &*self.node;
        while let Node::Inner(children) = node {
            let at = skip(&mut rest, children, |child| child.len);
            if children[at].is_thin() {
                return true;
            }
            node = &children[at].node;
        }
        false
    }

    /// Moves elements from `right` here: all of them (then nothing is returned), or so many that both have as many.
    fn join(&mut self, right: Child<T>) -> Option<Child<T>> {
        let rest = match (Arc::make_mut(&mut self.node), Arc::unwrap_or_clone(right.node)) {
            (Node::Leaf(left), Node::Leaf(right)) => join(left, right, MAX_ITEMS).map(Node::Leaf),
            (Node::Inner(left), Node::Inner(right)) => join(left, right, MAX_CHILDREN).map(Node::Inner),
            // Leaves are equally deep, so neighbours are of one kind.
            (_, other) => Some(other),
        };
        self.recount();
        rest.map(Child::of)
    }
}

/// Finds the element that holds unit `rest` of a measure: its index; `rest` becomes the place within it. Past the end
/// it is the last element.
#[inline]
fn skip<E>(rest: &mut usize, elements: &[E], measure: impl Fn(&E) -> usize) -> usize {
    let last = elements.len().saturating_sub(1);
    for (at, element) in elements[..last].iter().enumerate() {
        let size = measure(element);
        if *rest < size {
            return at;
        }
        *rest -= size;
    }
    last
}

/// Inserts an element; a full node is split and its right half returned. At the ends of the sequence, where more will
/// probably follow, the full part stays full.
fn insert_or_split<E>(
    elements: &mut Vec<E>,
    at: usize,
    element: E,
    max: usize,
    edge: Edge,
) -> Option<Vec<E>> {
    if elements.len() < max {
        elements.insert(at, element);
        return None;
    }
    let cut = match edge {
        // A split below put its right half at 1: the left one stays alone.
        Edge::First => at,
        Edge::Last => max,
        Edge::Inside => max / 2,
    };
    let mut right = elements.split_off(cut);
    if edge == Edge::First && at == 0 || at < cut {
        elements.insert(at, element);
    } else {
        right.insert(at - cut, element);
    }
    Some(right)
}

/// Lets a thin child share with a neighbour.
fn mend<T: Item>(children: &mut Vec<Child<T>>, at: usize) {
    if children.len() == 1 || !children[at].is_thin() {
        return;
    }
    let left = at.saturating_sub(1);
    let right = children.remove(left + 1);
    if let Some(right) = children[left].join(right) {
        children.insert(left + 1, right);
    }
}

/// Puts two neighbours' elements into the left one if that leaves it room to grow, else halves them; returns the right
/// one if it is still needed.
fn join<E>(left: &mut Vec<E>, mut right: Vec<E>, max: usize) -> Option<Vec<E>> {
    let total = left.len() + right.len();
    if total <= max / 4 * 3 {
        left.append(&mut right);
        return None;
    }
    let half = total / 2;
    if left.len() > half {
        right.splice(0..0, left.drain(half..));
    } else {
        left.extend(right.drain(..half - left.len()));
    }
    Some(right)
}

/// Builds a tree of full nodes in O(n).
impl<T: Item> FromIterator<T> for Tree<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut level: Vec<Child<T>> = in_chunks(items.into_iter(), MAX_ITEMS, Node::Leaf);
        while level.len() > 1 {
            level = in_chunks(level.into_iter(), MAX_CHILDREN, Node::Inner);
        }
        level.pop().map_or_else(Tree::default, |root| Tree { root })
    }
}

fn in_chunks<T: Item, E>(
    mut elements: impl Iterator<Item = E>,
    max: usize,
    node: impl Fn(Vec<E>) -> Node<T>,
) -> Vec<Child<T>> {
    let mut nodes = Vec::new();
    loop {
        let chunk: Vec<E> = elements.by_ref().take(max).collect();
        if chunk.is_empty() {
            return nodes;
        }
        nodes.push(Child::of(node(chunk)));
    }
}

/// Iterates over a range of a tree. It looks a leaf up once for all its items.
#[derive(Debug, Clone)]
pub struct Iter<'a, T: Item> {
    tree: &'a Tree<T>,
    /// The indices that are left.
    range: Range<usize>,
    /// What is left of the leaf at the front; its first item is at `range.start`.
    front: &'a [T],
    /// What is left of the leaf at the back; its last item is at `range.end - 1`.
    back: &'a [T],
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        let index = self.range.next()?;
        if self.front.is_empty() {
            let (items, start) = self.tree.leaf(index);
            self.front = &items[index - start..];
        }
        let (item, rest) = self.front.split_first()?;
        self.front = rest;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl<'a, T: Item> DoubleEndedIterator for Iter<'a, T> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a T> {
        let index = self.range.next_back()?;
        if self.back.is_empty() {
            let (items, start) = self.tree.leaf(index);
            self.back = &items[..=index - start];
        }
        let (item, rest) = self.back.split_last()?;
        self.back = rest;
        Some(item)
    }
}

impl<T: Item> ExactSizeIterator for Iter<'_, T> {}

impl<T: Item> FusedIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests;
