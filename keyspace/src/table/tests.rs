//! Both tables against a standard map: the same operations, snapshots taken and scans running meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{HashSeed, Persistent, Record, Segmented, Table};
use crate::Random;

/// A record of the tests: a number as text, and a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub(super) key: Vec<u8>,
    pub(super) value: u32,
}

impl Record for Word {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Word {
    pub(super) fn new(number: u32, value: u32) -> Self {
        Word { key: number.to_string().into_bytes(), value }
    }

    fn number(&self) -> u32 {
        std::str::from_utf8(&self.key).unwrap().parse().unwrap()
    }
}

pub(super) const SEED: HashSeed = HashSeed(1, 2);

/// A step of a test; numbers come in runs, so that few steps grow and shrink a table by many segments.
#[derive(Debug, Clone)]
enum Step {
    Put { first: u32, count: u32, value: u32 },
    Remove { first: u32, count: u32 },
    Snapshot,
    Forget,
    Scan { count: usize },
}

const NUMBERS: u32 = 6000;

fn step() -> impl Strategy<Value = Step> {
    let first = 0..NUMBERS;
    let count = prop_oneof![1..10u32, 1000..3000u32];
    prop_oneof![
        4 => (first.clone(), count.clone(), any::<u32>())
            .prop_map(|(first, count, value)| Step::Put { first, count, value }),
        4 => (first, count).prop_map(|(first, count)| Step::Remove { first, count }),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Forget),
        4 => prop_oneof![1..30usize, 300..2000usize].prop_map(|count| Step::Scan { count }),
    ]
}

fn run_of(first: u32, count: u32) -> impl Iterator<Item = u32> {
    (first..first + count).map(|number| number % NUMBERS)
}

/// A scan under way.
#[derive(Default)]
struct Walk {
    cursor: u64,
    seen: BTreeSet<u32>,
    /// There since the first call.
    constant: BTreeSet<u32>,
}

type Model = BTreeMap<u32, u32>;

fn contents<T: Table<Word>>(table: &T) -> Model {
    let mut contents = Model::new();
    for word in table.iter() {
        assert_eq!(contents.insert(word.number(), word.value), None, "{} stands twice", word.number());
    }
    assert_eq!(table.len(), contents.len());
    contents
}

fn advance<T: Table<Word>>(table: &T, model: &Model, walk: &mut Walk, count: usize) {
    if walk.cursor == 0 {
        *walk = Walk { constant: model.keys().copied().collect(), ..Walk::default() };
    }
    let mut visited = 0;
    let next = table.scan(walk.cursor, count, |word| {
        visited += 1;
        assert!(walk.seen.insert(word.number()), "{} was visited twice", word.number());
    });
    assert!(visited <= count, "no two of these keys share a place");
    assert!(visited == count || next == 0, "a short answer is the last");
    walk.cursor = next;
    if next == 0 {
        assert!(walk.seen.is_superset(&walk.constant), "a record was missed");
    }
}

fn follow<T: Table<Word>>(steps: &[Step]) {
    let mut table = T::new(SEED);
    let mut model = Model::new();
    let mut snapshots: Vec<(T, Model)> = Vec::new();
    let mut walk = Walk::default();
    for step in steps {
        match *step {
            Step::Put { first, count, value } => {
                for number in run_of(first, count) {
                    let old = table.replace(Word::new(number, value)).map(|word| word.value);
                    assert_eq!(old, model.insert(number, value));
                }
            }
            Step::Remove { first, count } => {
                for number in run_of(first, count) {
                    let key = number.to_string();
                    assert_eq!(table.take(key.as_bytes()).map(|word| word.value), model.remove(&number));
                    assert!(table.get(key.as_bytes()).is_none());
                    walk.constant.remove(&number);
                }
            }
            Step::Snapshot => snapshots.push((table.clone(), model.clone())),
            Step::Forget => _ = snapshots.pop(),
            Step::Scan { count } => advance(&table, &model, &mut walk, count),
        }
    }
    assert_eq!(contents(&table), model);
    for (number, value) in &model {
        assert_eq!(table.get(number.to_string().as_bytes()).map(|word| word.value), Some(*value));
    }
    for (snapshot, model) in &snapshots {
        assert_eq!(contents(snapshot), *model, "a snapshot changed");
    }
    while walk.cursor != 0 {
        advance(&table, &model, &mut walk, 500);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn segments_hold_what_a_standard_map_holds(steps in prop::collection::vec(step(), 1..24)) {
        follow::<Segmented<Word>>(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_persistent_map_holds_what_a_standard_map_holds(steps in prop::collection::vec(step(), 1..12)) {
        follow::<Persistent<Word>>(&steps);
    }
}

/// Pearson's statistic of `draws` random records, as standard deviations from its mean.
fn unfairness(table: &impl Table<Word>, draws: usize) -> f64 {
    let mut random = Random::new(7);
    let mut drawn: BTreeMap<u32, f64> = table.iter().map(|word| (word.number(), 0.0)).collect();
    for _ in 0..draws {
        *drawn.get_mut(&table.random(&mut random).unwrap().number()).unwrap() += 1.0;
    }
    let expected = draws as f64 / table.len() as f64;
    let square: f64 = drawn.values().map(|count| (count - expected).powi(2) / expected).sum();
    let freedom = (table.len() - 1) as f64;
    (square - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn each_record_is_drawn_as_often_as_the_next() {
    let mut table = Segmented::new(SEED);
    assert!(Table::<Word>::random(&table, &mut Random::new(1)).is_none());
    for number in 0..5000 {
        table.replace(Word::new(number, 0));
    }
    assert!(unfairness(&table, 100_000).abs() < 4.0, "{}", unfairness(&table, 100_000));
    // Thinned out, just before segments melt away.
    for number in 0..3600 {
        table.take(number.to_string().as_bytes());
    }
    assert!(unfairness(&table, 50_000).abs() < 4.0, "{}", unfairness(&table, 50_000));
}

#[test]
fn any_cursor_of_a_client_ends_the_scan_without_harm() {
    let mut table = Segmented::new(SEED);
    for number in 0..2000 {
        table.replace(Word::new(number, 0));
    }
    let mut random = Random::new(3);
    for cursor in [1, super::SCAN_END - 1, super::SCAN_END, u64::MAX]
        .into_iter()
        .chain((0..500).map(|_| random.next_u64()))
    {
        for count in [1, 10, usize::MAX] {
            table.scan(cursor, count, |_| ());
        }
    }
}
