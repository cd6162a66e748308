//! All tables against a standard map: the same operations, snapshots taken and scans running meanwhile. The packed one
//! is tested as the database that it is for, with its times to live.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Fields, HashSeed, Persistent, Table};
use crate::access::Access;
use crate::db::Due;
use crate::types::set::{Set, Thresholds};
use crate::types::string::copied;
use crate::{Db, Entry, Limits, New, Random, Value, ValueRef};

pub(super) const SEED: HashSeed = HashSeed(1, 2);

/// What the tests do with any table.
pub(super) trait Words: Clone {
    fn empty() -> Self;
    /// Stores a value under a number; returns the one before.
    fn set_word(&mut self, number: u32, value: u32) -> Option<u32>;
    fn word(&self, number: u32) -> Option<u32>;
    fn take_word(&mut self, number: u32) -> Option<u32>;
    fn words(&self) -> Vec<(u32, u32)>;
    fn scan_words(&self, cursor: u64, count: usize, visit: impl FnMut(u32)) -> u64;
    fn random_word(&self, random: &mut Random) -> Option<u32>;
    /// What else must hold.
    fn check(&mut self) {}
}

fn number(text: &[u8]) -> u32 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

/// Numbers as text.
impl<T: Table> Words for T {
    fn empty() -> Self {
        T::new(SEED)
    }

    fn set_word(&mut self, number: u32, value: u32) -> Option<u32> {
        let (before, key) = (self.word(number), number.to_string());
        let is_new = self.set(SEED.hash(key.as_bytes()), key.as_bytes(), value.to_string().as_bytes());
        assert_eq!(is_new, before.is_none());
        before
    }

    fn word(&self, number: u32) -> Option<u32> {
        let key = number.to_string();
        self.get(SEED.hash(key.as_bytes()), key.as_bytes()).map(self::number)
    }

    fn take_word(&mut self, number: u32) -> Option<u32> {
        let (before, key) = (self.word(number), number.to_string());
        let was_there = self.remove(SEED.hash(key.as_bytes()), key.as_bytes());
        assert_eq!(was_there, before.is_some());
        before
    }

    fn words(&self) -> Vec<(u32, u32)> {
        let words: Vec<_> = self.iter().map(|(key, value)| (number(key), number(value))).collect();
        assert_eq!((words.len(), words.is_empty()), (self.len(), self.is_empty()));
        words
    }

    fn scan_words(&self, cursor: u64, count: usize, mut visit: impl FnMut(u32)) -> u64 {
        self.scan(cursor, count, |key, _| visit(number(key)))
    }

    fn random_word(&self, random: &mut Random) -> Option<u32> {
        self.random(random).map(|(key, _)| number(key))
    }
}

/// Keys of all lengths about those that a record has room for.
fn key_of(number: u32) -> String {
    let pad = [0, 0, 0, 119, 120, 121, 122, 123, 1000][number as usize % 9];
    format!("{number}:{}", "k".repeat(pad))
}

/// Values of all forms; each is told from the others by its number.
fn value_of(value: u32) -> Value {
    let text = |len| copied(format!("{value}:{}", "v".repeat(len)).as_bytes());
    match value % 7 {
        0 => Value::Int(i64::from(value)),
        1 => Value::Str(text(value as usize % 40)),
        2 => Value::Str(text(120 + value as usize % 5)),
        3 => Value::Str(text(5000)),
        4 => {
            let mut set = Set::default();
            set.add(value.to_string().as_bytes(), Thresholds::new(&Limits::default(), SEED));
            Value::Set(set)
        }
        _ => Value::Str(text(0)),
    }
}

fn time_of(value: u32) -> Option<i64> {
    (value.is_multiple_of(3)).then_some(i64::from(value / 3))
}

fn number_in(text: &[u8]) -> u32 {
    let digits = text.split(|&byte| byte == b':').next().unwrap();
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

/// The value's number; it and the time must be those that were stored with it.
fn number_of(entry: &Entry<'_>) -> u32 {
    let value = match entry.value() {
        ValueRef::Int(value) => value as u32,
        ValueRef::Str(bytes) => number_in(bytes),
        ValueRef::Set(set) => set.iter().next().unwrap().with_bytes(number_in),
        other => panic!("{other:?}"),
    };
    match (entry.value(), value_of(value).view()) {
        (ValueRef::Str(found), ValueRef::Str(stored)) => assert_eq!(found, stored),
        (found, stored) => assert_eq!(found.encoding(), stored.encoding()),
    }
    assert_eq!(entry.expire_at_ms(), time_of(value));
    value
}

impl Words for Db {
    fn empty() -> Self {
        Db::new(SEED)
    }

    fn set_word(&mut self, number: u32, value: u32) -> Option<u32> {
        let key = key_of(number);
        let hash = SEED.hash(key.as_bytes());
        let before = self.word(number);
        match value_of(value) {
            Value::Str(bytes) if value.is_multiple_of(2) => {
                self.put(
                    hash,
                    key.as_bytes(),
                    New::Str(&bytes),
                    time_of(value),
                    Access::new(0, &Limits::default(), &mut Random::new(0)),
                );
            }
            stored => {
                // The time on its own, or with the value.
                let at = if value.is_multiple_of(4) { None } else { time_of(value) };
                self.put(
                    hash,
                    key.as_bytes(),
                    stored.into(),
                    at,
                    Access::new(0, &Limits::default(), &mut Random::new(0)),
                );
                assert!(self.set_expire(hash, key.as_bytes(), time_of(value)));
            }
        }
        before
    }

    fn word(&self, number: u32) -> Option<u32> {
        let key = key_of(number);
        self.find(SEED.hash(key.as_bytes()), key.as_bytes()).as_ref().map(number_of)
    }

    fn take_word(&mut self, number: u32) -> Option<u32> {
        let key = key_of(number);
        let value = self.word(number);
        let removed = self.remove(SEED.hash(key.as_bytes()), key.as_bytes());
        assert_eq!(removed.map(|(_, at)| at), value.map(time_of));
        value
    }

    fn words(&self) -> Vec<(u32, u32)> {
        let words = self.table().iter().map(|entry| {
            let number = number_in(entry.key());
            assert_eq!(entry.key(), key_of(number).as_bytes());
            (number, number_of(&entry))
        });
        words.collect()
    }

    fn scan_words(&self, cursor: u64, count: usize, mut visit: impl FnMut(u32)) -> u64 {
        self.table().scan(cursor, count, |entry| visit(number_in(entry.key())))
    }

    fn random_word(&self, random: &mut Random) -> Option<u32> {
        self.table().random(random).map(|entry| number_in(entry.key()))
    }

    /// All keys with a time are due, in its order.
    fn check(&mut self) {
        let mut times: Vec<i64> = self.table().iter().filter_map(|entry| entry.expire_at_ms()).collect();
        times.sort_unstable();
        assert_eq!(self.expires_len(), times.len());
        let mut due = Vec::new();
        loop {
            match self.first_due(i64::MAX) {
                Due::Key(hash, key) => due.extend(self.remove(hash, &key).and_then(|(_, at)| at)),
                Due::Corrected => {}
                Due::Nothing => break,
            }
        }
        assert_eq!(due, times);
        assert_eq!(self.expires_len(), 0);
    }
}

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

fn contents<T: Words>(table: &T) -> Model {
    let words = table.words();
    let contents: Model = words.iter().copied().collect();
    assert_eq!(words.len(), contents.len(), "a key stands twice");
    contents
}

fn advance<T: Words>(table: &T, model: &Model, walk: &mut Walk, count: usize) {
    if walk.cursor == 0 {
        *walk = Walk { constant: model.keys().copied().collect(), ..Walk::default() };
    }
    let mut visited = 0;
    let next = table.scan_words(walk.cursor, count, |number| {
        visited += 1;
        assert!(walk.seen.insert(number), "{number} was visited twice");
    });
    assert!(visited <= count, "no two of these keys share a place");
    assert!(visited == count || next == 0, "a short answer is the last");
    walk.cursor = next;
    if next == 0 {
        assert!(walk.seen.is_superset(&walk.constant), "a record was missed");
    }
}

fn follow<T: Words>(steps: &[Step]) {
    let mut table = T::empty();
    let mut model = Model::new();
    let mut snapshots: Vec<(T, Model)> = Vec::new();
    let mut walk = Walk::default();
    for step in steps {
        match *step {
            Step::Put { first, count, value } => {
                for number in run_of(first, count) {
                    let value = value.wrapping_add(number);
                    assert_eq!(table.set_word(number, value), model.insert(number, value));
                }
            }
            Step::Remove { first, count } => {
                for number in run_of(first, count) {
                    assert_eq!(table.take_word(number), model.remove(&number));
                    assert!(table.word(number).is_none());
                    walk.constant.remove(&number);
                }
            }
            Step::Snapshot => snapshots.push((table.clone(), model.clone())),
            Step::Forget => _ = snapshots.pop(),
            Step::Scan { count } => advance(&table, &model, &mut walk, count),
        }
    }
    assert_eq!(contents(&table), model);
    for (&number, &value) in &model {
        assert_eq!(table.word(number), Some(value));
    }
    while walk.cursor != 0 {
        advance(&table, &model, &mut walk, 500);
    }
    table.check();
    for (snapshot, model) in &snapshots {
        assert_eq!(contents(snapshot), *model, "a snapshot changed");
    }
}

proptest! {
    #![proptest_config(crate::soak::cases(48))]

    #[test]
    fn fields_hold_what_a_standard_map_holds(steps in prop::collection::vec(step(), 1..24)) {
        follow::<Fields>(&steps);
    }
}

proptest! {
    #![proptest_config(crate::soak::cases(12))]

    #[test]
    fn the_persistent_map_holds_what_a_standard_map_holds(steps in prop::collection::vec(step(), 1..12)) {
        follow::<Persistent>(&steps);
    }

    #[test]
    fn a_database_holds_what_a_standard_map_holds(steps in prop::collection::vec(step(), 1..16)) {
        follow::<Db>(&steps);
    }
}

/// Pearson's statistic of `draws` random records, as standard deviations from its mean.
fn unfairness(table: &impl Words, draws: usize) -> f64 {
    let mut random = Random::new(7);
    let mut drawn: BTreeMap<u32, f64> = table.words().iter().map(|&(number, _)| (number, 0.0)).collect();
    for _ in 0..draws {
        *drawn.get_mut(&table.random_word(&mut random).unwrap()).unwrap() += 1.0;
    }
    let expected = draws as f64 / drawn.len() as f64;
    let square: f64 = drawn.values().map(|count| (count - expected).powi(2) / expected).sum();
    let freedom = (drawn.len() - 1) as f64;
    (square - freedom) / (2.0 * freedom).sqrt()
}

fn draws_are_fair<T: Words>() {
    let mut table = T::empty();
    assert!(table.random_word(&mut Random::new(1)).is_none());
    (0..5000).for_each(|number| _ = table.set_word(number, 5));
    assert!(unfairness(&table, 100_000).abs() < 4.0, "{}", unfairness(&table, 100_000));
    // Thinned out, just before segments melt away.
    (0..3600).for_each(|number| _ = table.take_word(number));
    assert!(unfairness(&table, 50_000).abs() < 4.0, "{}", unfairness(&table, 50_000));
}

#[test]
fn each_record_is_drawn_as_often_as_the_next() {
    draws_are_fair::<Fields>();
    draws_are_fair::<Db>();
}

fn any_cursor_is_harmless<T: Words>() {
    let mut table = T::empty();
    (0..2000).for_each(|number| _ = table.set_word(number, 5));
    let mut random = Random::new(3);
    for cursor in [1, super::SCAN_END - 1, super::SCAN_END, u64::MAX]
        .into_iter()
        .chain((0..500).map(|_| random.next_u64()))
    {
        for count in [1, 10, usize::MAX] {
            table.scan_words(cursor, count, |_| ());
        }
    }
}

#[test]
fn any_cursor_of_a_client_ends_the_scan_without_harm() {
    any_cursor_is_harmless::<Fields>();
    any_cursor_is_harmless::<Db>();
}
