//! Hashes against the standard library's map, in both encodings.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    SetAll(Vec<(Vec<u8>, Vec<u8>)>),
    Snapshot,
}

/// Thresholds low enough that few steps cross them.
fn thresholds() -> Thresholds {
    Thresholds { entries: 10, value_bytes: 6, seed: HashSeed::new(1, 2) }
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => (-8i64..8).prop_map(|value| value.to_string().into_bytes()),
        10 => "[a-d]{0,2}".prop_map(String::into_bytes),
        1 => "[ab]{7}".prop_map(String::into_bytes),
        1 => (250usize..260).prop_map(|len| vec![b'x'; len]),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (words(), words()).prop_map(|(name, value)| Step::Set(name, value)),
        6 => words().prop_map(Step::Remove),
        1 => prop::collection::vec((words(), words()), 0..8).prop_map(Step::SetAll),
        2 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 0..100)
}

fn owned((name, value): (Element<'_>, Element<'_>)) -> (Vec<u8>, Vec<u8>) {
    (name.to_str().to_vec(), value.to_str().to_vec())
}

fn check(hash: &Hash, model: &Model) {
    assert_eq!(hash.iter().count(), model.len(), "each field once");
    assert_eq!(&hash.iter().map(owned).collect::<Model>(), model);
    assert_eq!((hash.len(), hash.is_empty()), (model.len(), model.is_empty()));
    for (name, value) in model {
        assert!(hash.get(name).is_some_and(|own| own.is(value)));
    }
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, 3, |pair| scanned.extend([owned(pair)]));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(&scanned, model);
}

proptest! {
    #[test]
    fn a_hash_is_a_map_in_both_encodings(steps in steps(), seed in any::<u64>()) {
        let thresholds = thresholds();
        let (mut hash, mut model) = (Hash::default(), Model::new());
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Set(name, value) => {
                    let new = model.insert(name.clone(), value.clone()).is_none();
                    prop_assert_eq!(hash.set(&name, &value, thresholds), new);
                }
                Step::Remove(name) => {
                    prop_assert_eq!(hash.remove(&name), model.remove(&name).is_some());
                    prop_assert!(hash.get(&name).is_none());
                }
                Step::SetAll(pairs) => {
                    let words: Vec<&[u8]> = pairs.iter().flat_map(|(name, value)| [&name[..], value]).collect();
                    let added = hash.set_all(&words, thresholds);
                    let before = model.len();
                    model.extend(pairs);
                    prop_assert_eq!(added, model.len() - before);
                }
                Step::Snapshot => snapshots.push((hash.clone(), model.clone())),
            }
            check(&hash, &model);
            if let Some(pack) = hash.as_listpack() {
                prop_assert!(hash.len() <= thresholds.entries);
                prop_assert!(pack.iter().all(|element| element.to_str().len() <= thresholds.value_bytes));
                prop_assert!(Hash::from_listpack(pack.clone()).is_some());
            }
        }
        snapshots.iter().for_each(|(hash, model)| check(hash, model));

        let mut random = Random::new(seed);
        for count in [0, 1, model.len() / 4, model.len() / 2, usize::MAX] {
            let mut sample = Vec::new();
            hash.sample(count, &mut random, |pair| sample.push(owned(pair)));
            prop_assert_eq!(sample.len(), count.min(model.len()));
            let different: Model = sample.iter().cloned().collect();
            prop_assert_eq!(different.len(), sample.len());
            prop_assert!(sample.iter().all(|(name, value)| model.get(name) == Some(value)));
        }
        let pair = hash.random(&mut random).map(owned);
        prop_assert_eq!(pair.is_some(), !model.is_empty());
        prop_assert!(pair.is_none_or(|(name, value)| model.get(&name) == Some(&value)));
    }
}

#[test]
fn a_field_without_a_value_is_no_hash() {
    let mut pack = Listpack::new();
    pack.push_back(b"field");
    assert!(Hash::from_listpack(pack).is_none());
}

#[test]
fn a_handle_is_three_words_at_most() {
    assert!(size_of::<Hash>() <= 24);
}

/// With `hash-max-listpack-value 1gb` nine fields of 500 MB ran over the 32 bits of the header.
#[test]
fn a_listpack_ends_at_its_greatest_size_whatever_the_thresholds_are() {
    let boundless = Thresholds { entries: usize::MAX, value_bytes: usize::MAX, ..thresholds() };
    let third = vec![b'x'; listpack::BYTES_MAX / 3];
    let mut hash = Hash::default();
    for name in [b"a", b"b"] {
        assert!(hash.set(name, &third, boundless));
    }
    let (mut replaced, mut at_once) = (hash.clone(), hash.clone());
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set(b"c", &third, boundless));
    assert!(!replaced.set(b"a", &third.repeat(2), boundless), "a longer value is no new field");
    assert_eq!(at_once.set_all(&[b"c", &third], boundless), 1);
    assert_eq!([hash.encoding(), replaced.encoding(), at_once.encoding()], ["hashtable"; 3]);
    assert_eq!(replaced.get(b"a"), Some(Element::Bytes(&third.repeat(2))));
    assert_eq!((hash.len(), hash.get(b"c")), (3, Some(Element::Bytes(&third))));
}
