//! Sets against the standard library's, through every encoding.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Model = BTreeSet<Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Expect(usize),
    Pop(usize),
    Snapshot,
}

/// Thresholds low enough that few steps cross them.
fn thresholds() -> Thresholds {
    Thresholds { intset_entries: 12, listpack_entries: 8, listpack_value_bytes: 6, seed: HashSeed::new(1, 2) }
}

/// Mostly integers, some of them too long for a listpack; now and then a string, seldom a long one.
fn members() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => (-15i64..15).prop_map(|value| value.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => "[a-d]{0,2}".prop_map(String::into_bytes),
        1 => "[ab]{7}".prop_map(String::into_bytes),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => members().prop_map(Step::Add),
        6 => members().prop_map(Step::Remove),
        1 => (0usize..14).prop_map(Step::Expect),
        1 => (0usize..20).prop_map(Step::Pop),
        2 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 0..120)
}

fn check(set: &Set, model: &Model) {
    let members: Vec<Vec<u8>> = set.iter().map(|element| element.to_str().to_vec()).collect();
    assert_eq!(members.len(), model.len(), "each member once");
    assert_eq!(&members.into_iter().collect::<Model>(), model);
    assert_eq!(set.len(), model.len());
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, 3, |element| {
            scanned.insert(element.to_str().to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(&scanned, model);
    let forms = [set.as_intset().is_some(), set.as_listpack().is_some(), set.as_table().is_some()];
    assert_eq!(forms.iter().filter(|&&is| is).count(), 1);
}

/// No compact set is beyond its thresholds.
fn check_encoding(set: &Set, thresholds: Thresholds) {
    let fits = match &set.0 {
        Form::Ints(ints) => ints.len() <= thresholds.intset_entries,
        Form::Pack(pack) => {
            pack.len() <= thresholds.listpack_entries
                && pack.iter().all(|element| element.to_str().len() <= thresholds.listpack_value_bytes)
        }
        Form::Table(_) => true,
    };
    assert!(fits, "{set:?}");
}

proptest! {
    #[test]
    fn a_set_is_a_set_in_every_encoding(first in members(), steps in steps(), seed in any::<u64>()) {
        let (thresholds, mut random) = (thresholds(), Random::new(seed));
        let (mut set, mut model) = (Set::for_members(&first, 1, thresholds), Model::new());
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Add(member) => {
                    prop_assert_eq!(set.add(&member, thresholds), model.insert(member.clone()));
                    prop_assert!(set.contains(&member));
                }
                Step::Remove(member) => {
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                    prop_assert!(!set.contains(&member));
                }
                Step::Expect(more) => set.expect(more, thresholds),
                Step::Pop(count) => {
                    let popped = set.pop(count, &mut random, thresholds);
                    prop_assert_eq!(popped.len(), count.min(model.len()));
                    prop_assert!(popped.iter().all(|member| model.remove(&member[..])), "members, each once");
                }
                Step::Snapshot => snapshots.push((set.clone(), model.clone())),
            }
            check(&set, &model);
            check_encoding(&set, thresholds);
        }
        snapshots.iter().for_each(|(set, model)| check(set, model));
    }

    #[test]
    fn samples_are_different_members(members in prop::collection::hash_set(members(), 1..60), seed in any::<u64>()) {
        let (thresholds, mut random) = (thresholds(), Random::new(seed));
        let mut set = Set::default();
        members.iter().for_each(|member| {
            set.add(member, thresholds);
        });
        for count in [0, 1, members.len() / 4, members.len() / 2, members.len(), usize::MAX] {
            let mut sample = Vec::new();
            set.sample(count, &mut random, |element| sample.push(element.to_str().to_vec()));
            prop_assert_eq!(sample.len(), count.min(members.len()));
            prop_assert_eq!(sample.iter().collect::<BTreeSet<_>>().len(), sample.len());
            prop_assert!(sample.iter().all(|member| members.contains(member)));
        }
        let member = set.random(&mut random).map(|element| element.to_str().to_vec());
        prop_assert!(member.is_some_and(|member| members.contains(&member)));
    }
}

#[test]
fn every_sample_of_two_is_as_likely_as_the_next() {
    let (thresholds, mut random) = (thresholds(), Random::new(7));
    for len in [5usize, 13] {
        let mut set = Set::default();
        (0..len).for_each(|value| {
            set.add(value.to_string().as_bytes(), thresholds);
        });
        let mut seen = std::collections::BTreeMap::new();
        let pairs = len * (len - 1) / 2;
        for _ in 0..400 * pairs {
            let mut sample = Vec::new();
            set.sample(2, &mut random, |element| sample.push(element.to_str().to_vec()));
            sample.sort();
            *seen.entry(sample).or_insert(0usize) += 1;
        }
        // Each is due 400 times; five standard deviations are a hundred.
        assert_eq!(seen.len(), pairs);
        assert!(seen.values().all(|times| (300..500).contains(times)), "{}: {seen:?}", set.encoding());
    }
}

#[test]
fn a_handle_is_three_words_at_most() {
    assert!(size_of::<Set>() <= 24);
}

#[test]
fn a_listpack_ends_at_its_greatest_size_whatever_the_thresholds_are() {
    let boundless =
        Thresholds { listpack_entries: usize::MAX, listpack_value_bytes: usize::MAX, ..thresholds() };
    let mut set = Set::listpack();
    let encodings = [b'a', b'b', b'c'].map(|letter| {
        assert!(set.add(&vec![letter; listpack::BYTES_MAX / 3], boundless));
        set.encoding()
    });
    assert_eq!((encodings, set.len()), (["listpack", "listpack", "hashtable"], 3));
}

#[test]
fn integers_become_an_intset_from_either_form() {
    let mut thresholds = Thresholds { intset_entries: 4, ..thresholds() };
    for (members, encoding) in [
        (&["3", "-1", "70000", "2"][..], "intset"),
        (&["3", "-1", "70000", "2", "5"], "hashtable"),
        (&["3", "01"], "hashtable"),
    ] {
        thresholds.listpack_entries = 0;
        let mut set = Set::listpack();
        members.iter().for_each(|member| assert!(set.add(member.as_bytes(), thresholds)));
        let mut packed = Set::listpack();
        thresholds.listpack_entries = 10;
        members.iter().for_each(|member| assert!(packed.add(member.as_bytes(), thresholds)));
        set.prefer_intset(thresholds);
        packed.prefer_intset(thresholds);
        assert_eq!(set.encoding(), encoding, "{members:?}");
        assert_eq!(packed.encoding(), encoding.replace("hashtable", "listpack"), "{members:?}");
        assert!(members.iter().all(|member| set.contains(member.as_bytes())));
        assert_eq!(set.len(), members.len());
    }
}
