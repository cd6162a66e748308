//! The tree against a vector, with snapshots; its invariants after every step.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A number that weighs as much as it is large.
impl Item for usize {
    type Key = usize;

    fn key(&self) -> usize {
        *self
    }

    fn weight(&self) -> usize {
        *self
    }
}

/// Checks what the header promises of every node, and returns the items.
fn checked(tree: &Tree<usize>) -> Vec<usize> {
    fn walk(child: &Child<usize>, left: bool, right: bool, is_root: bool, items: &mut Vec<usize>) -> usize {
        assert!(is_root || left || right || !child.is_thin(), "a thin node inside the tree");
        let before = items.len();
        let depth = match &*child.node {
            Node::Leaf(own) => {
                assert!(is_root || !own.is_empty());
                assert!(own.len() <= MAX_ITEMS);
                items.extend(own);
                1
            }
            Node::Inner(children) => {
                assert!(children.len() <= MAX_CHILDREN && children.len() > usize::from(is_root));
                let last = children.len() - 1;
                let depths: Vec<usize> = children
                    .iter()
                    .enumerate()
                    .map(|(at, child)| walk(child, left && at == 0, right && at == last, false, items))
                    .collect();
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "leaves of unequal depth");
                depths[0] + 1
            }
        };
        assert_eq!(child.len, items.len() - before);
        assert!(child.len == 0 || child.key == items[before]);
        assert_eq!(child.weight, items[before..].iter().sum::<usize>());
        depth
    }
    let mut items = Vec::new();
    assert_eq!(walk(&tree.root, true, true, true, &mut items), tree.depth());
    items
}

#[derive(Debug, Clone)]
enum Step {
    Insert(usize, Vec<usize>),
    Remove(usize, usize),
    RemoveRange(usize, usize),
    Update(usize, usize),
    PushBack(usize),
    PushFront(usize),
    PopBack(usize),
    PopFront(usize),
    Rebuild,
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<usize>;
    prop_oneof![
        (at(), vec(0usize..9, 1..200)).prop_map(|(at, items)| Step::Insert(at, items)),
        (at(), 1usize..200).prop_map(|(at, count)| Step::Remove(at, count)),
        (at(), at()).prop_map(|(a, b)| Step::RemoveRange(a, b)),
        (at(), 0usize..99).prop_map(|(at, item)| Step::Update(at, item)),
        (1usize..3000).prop_map(Step::PushBack),
        (1usize..3000).prop_map(Step::PushFront),
        (1usize..1000).prop_map(Step::PopBack),
        (1usize..1000).prop_map(Step::PopFront),
        Just(Step::Rebuild),
        Just(Step::Snapshot),
    ]
}

fn apply(step: Step, tree: &mut Tree<usize>, model: &mut Vec<usize>) {
    let len = model.len();
    match step {
        Step::Insert(at, items) => {
            let at = at % (len + 1);
            for &item in items.iter().rev() {
                tree.insert(at, item);
            }
            model.splice(at..at, items);
        }
        Step::Remove(at, count) => {
            for index in std::iter::repeat_n(at, count) {
                if let Some(index) = index.checked_rem(model.len()) {
                    assert_eq!(tree.remove(index), model.remove(index));
                }
            }
        }
        Step::RemoveRange(a, b) => {
            let (a, b) = (a % (len + 1), b % (len + 1));
            let range = a.min(b)..a.max(b).min(a.min(b) + 2500);
            tree.remove_range(range.clone());
            model.drain(range);
        }
        Step::Update(at, item) => {
            let replaced = tree.update(at, |old| std::mem::replace(old, item));
            assert_eq!(replaced, model.get(at).copied());
            if let Some(at) = at.checked_rem(len) {
                let replaced = tree.update(at, |old| std::mem::replace(old, item));
                assert_eq!(replaced, Some(std::mem::replace(&mut model[at], item)));
            }
        }
        Step::PushBack(count) => (0..count).for_each(|item| {
            tree.push_back(item % 7);
            model.push(item % 7);
        }),
        Step::PushFront(count) => {
            (0..count).for_each(|item| tree.push_front(item % 7));
            model.splice(0..0, (0..count).rev().map(|item| item % 7));
        }
        Step::PopBack(count) => (0..count).for_each(|_| assert_eq!(tree.pop_back(), model.pop())),
        Step::PopFront(count) => {
            for index in 0..count {
                assert_eq!(tree.pop_front(), model.get(index).copied());
            }
            model.drain(..count.min(len));
        }
        Step::Rebuild => *tree = model.iter().copied().collect(),
        Step::Snapshot => {}
    }
}

/// Of the second of four nodes eight leaves are left, and the two at the cut then become one.
#[test]
fn a_merged_leaf_leaves_no_thin_parent() {
    let mut model: Vec<usize> = (0..100 * MAX_ITEMS).map(|item| item % 7).collect();
    let mut tree: Tree<usize> = model.iter().copied().collect();
    let node = MAX_ITEMS * MAX_CHILDREN;
    let range = node + 6 * MAX_ITEMS + 30..2 * node - 10;
    tree.remove_range(range.clone());
    model.drain(range);
    assert_eq!(checked(&tree), model);
}

proptest! {
    #![proptest_config(crate::soak::cases(128))]

    #[test]
    fn a_tree_does_what_a_vector_does_and_its_snapshots_stay(steps in vec(step(), 1..24)) {
        let mut tree = Tree::new();
        let mut model = Vec::new();
        let mut snapshots = Vec::new();
        for step in steps {
            if matches!(step, Step::Snapshot) {
                snapshots.push((tree.clone(), model.clone()));
            }
            apply(step, &mut tree, &mut model);
            prop_assert_eq!(&checked(&tree), &model);
        }
        for (snapshot, model) in snapshots {
            prop_assert_eq!(checked(&snapshot), model);
        }
    }

    #[test]
    fn every_place_is_found_by_index_by_weight_and_by_search(
        mut items in vec(0usize..5, 0..6000),
        at in any::<usize>(),
        ends in (any::<usize>(), any::<usize>()),
    ) {
        let len = items.len();
        let tree: Tree<usize> = items.iter().copied().collect();
        prop_assert_eq!(tree.get(at), items.get(at));
        prop_assert_eq!(tree.get(len), None);
        let index = at.checked_rem(len);
        let located = index.and_then(|at| tree.locate(at));
        let located = located.map(|(way, item)| (tree.index(&way), tree.weight_before(&way), item));
        prop_assert_eq!(located, index.map(|at| (at, items[..at].iter().sum::<usize>(), &items[at])));
        prop_assert!(tree.locate(len).is_none());
        prop_assert_eq!((tree.first(), tree.last()), (items.first(), items.last()));

        let (a, b) = (ends.0 % (len + 1), ends.1 % (len + 1));
        let range = a.min(b)..a.max(b);
        prop_assert!(tree.range(range.clone()).eq(&items[range.clone()]));
        prop_assert!(tree.range(range.clone()).rev().eq(items[range].iter().rev()));

        let units = items.iter().enumerate().flat_map(|(index, &item)| (0..item).map(move |unit| (index, unit)));
        prop_assert_eq!(tree.weight(), items.iter().sum::<usize>());
        for (unit, place) in units.enumerate().step_by(97) {
            prop_assert_eq!(tree.seek_weight(unit), Some(place));
        }
        prop_assert_eq!(tree.seek_weight(tree.weight()), None);

        items.sort_unstable();
        let tree: Tree<usize> = items.iter().copied().collect();
        for bound in 0..6 {
            let point = items.partition_point(|&item| item < bound);
            prop_assert_eq!(tree.partition_point(|&item| item < bound), point);
            let found = tree.last_before(|&key| key < bound);
            let last = found.map(|(way, item)| (tree.index(&way), tree.weight_before(&way), item));
            let weight = |last: usize| items[..last].iter().sum::<usize>();
            prop_assert_eq!(last, point.checked_sub(1).map(|last| (last, weight(last), &items[last])));
        }
    }
}

#[test]
fn an_iterator_meets_itself_in_the_middle() {
    let tree: Tree<usize> = (0..1000).collect();
    let mut iter = tree.range(100..900);
    for step in 0..400 {
        assert_eq!(iter.next(), Some(&(100 + step)));
        assert_eq!(iter.next_back(), Some(&(899 - step)));
    }
    assert_eq!((iter.next(), iter.next_back()), (None, None));
}

#[test]
fn a_tree_that_grows_at_an_end_has_full_nodes() {
    for front in [false, true] {
        let mut tree = Tree::new();
        for item in 0..MAX_ITEMS * MAX_CHILDREN {
            if front { tree.push_front(item) } else { tree.push_back(item) }
        }
        assert_eq!(tree.depth(), 2);
    }
}

#[test]
fn a_write_after_a_snapshot_copies_one_path() {
    fn nodes(child: &Child<usize>, found: &mut Vec<*const Node<usize>>) {
        found.push(Arc::as_ptr(&child.node));
        if let Node::Inner(children) = &*child.node {
            children.iter().for_each(|child| nodes(child, found));
        }
    }
    let snapshot: Tree<usize> = (0..100_000).collect();
    let mut tree = snapshot.clone();
    tree.update(50_000, |item| *item += 1);
    let (mut old, mut new) = (Vec::new(), Vec::new());
    nodes(&snapshot.root, &mut old);
    nodes(&tree.root, &mut new);
    let copied = new.iter().filter(|node| !old.contains(node)).count();
    assert_eq!(copied, tree.depth());
}
