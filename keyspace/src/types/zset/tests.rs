//! Sorted sets against an ordered map, in both encodings and across the conversion, with snapshots.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, f64>;

fn thresholds(entries: usize) -> Thresholds {
    Thresholds { entries, value_bytes: 12, seed: HashSeed::new(1, 2) }
}

/// What a sorted set and its model must agree on: members and scores in order.
fn members(zset: &ZSet) -> Vec<(Vec<u8>, f64)> {
    zset.iter().map(|(element, score)| (element.with_bytes(<[u8]>::to_vec), score)).collect()
}

fn ordered(model: &Model) -> Vec<(Vec<u8>, f64)> {
    let mut members: Vec<_> = model.iter().map(|(member, &score)| (member.clone(), score)).collect();
    members.sort_by(|a, b| compare((a.1, &a.0), (b.1, &b.0)));
    members
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<u8>, f64),
    /// With a score that was likely, and was not decided on.
    Decide(Vec<u8>, Option<f64>, f64),
    Remove(Vec<u8>),
    RemoveRange(usize, usize),
    Expect(usize),
    Rebuild,
    Snapshot,
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u32..200).prop_map(|number| number.to_string().into_bytes()),
        4 => vec(b'a'..=b'c', 0..4),
        // Above the threshold of one encoding.
        1 => vec(any::<u8>(), 0..14),
        // A few of them, or one alone, are all that a chunk takes.
        2 => vec(any::<u8>(), 0..100),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-5i32..5).prop_map(f64::from),
        2 => any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
        1 => Just(f64::INFINITY),
        1 => Just(-0.0),
        1 => Just(4_503_599_627_370_496.0),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (member(), score()).prop_map(|(member, score)| Step::Insert(member, score)),
        5 => (member(), proptest::option::of(score()), score())
            .prop_map(|(member, likely, score)| Step::Decide(member, likely, score)),
        5 => member().prop_map(Step::Remove),
        1 => (any::<usize>(), 0usize..20).prop_map(|(at, count)| Step::RemoveRange(at, count)),
        1 => (0usize..100).prop_map(Step::Expect),
        1 => Just(Step::Rebuild),
        2 => Just(Step::Snapshot),
    ]
}

fn apply(step: Step, zset: &mut ZSet, model: &mut Model, thresholds: Thresholds) {
    match step {
        Step::Insert(member, score) => {
            assert_eq!(zset.insert(&member, score, thresholds), model.get(&member).copied());
            model.insert(member, score);
        }
        Step::Decide(member, likely, score) => {
            let decide = |old: Option<f64>| Ok::<_, Infallible>(old.is_some().then_some(score));
            let Ok((old, new)) = zset.update(&member, likely, thresholds, decide);
            assert_eq!((old, new), (model.get(&member).copied(), model.get(&member).map(|_| score)));
            model.entry(member).and_modify(|own| *own = score);
        }
        Step::Remove(member) => assert_eq!(zset.remove(&member), model.remove(&member)),
        Step::RemoveRange(at, count) => {
            let start = at % (model.len() + 1);
            let range = start..(start + count).min(model.len());
            zset.remove_range(range.clone());
            for (member, _) in &ordered(model)[range] {
                model.remove(member);
            }
        }
        Step::Expect(expected) => zset.expect(expected, thresholds),
        Step::Rebuild => {
            let members = zset.iter().map(|(element, score)| Scored { score, member: element.to_str() });
            *zset = ZSet::from_members(members.rev().collect(), thresholds);
        }
        Step::Snapshot => {}
    }
}

fn check_places(zset: &ZSet, model: &Model) {
    zset.as_large().into_iter().for_each(Large::check);
    let ordered = ordered(model);
    assert_eq!(members(zset), ordered);
    assert_eq!(zset.len(), ordered.len());
    for (rank, (member, score)) in ordered.iter().enumerate() {
        assert_eq!(zset.rank(member), Some((rank, *score)));
        assert_eq!(zset.score(member), Some(*score));
        assert!(zset.get(rank).is_some_and(|(element, at)| element.is(member) && at == *score));
    }
    assert!(zset.get(ordered.len()).is_none());
    assert_eq!(zset.rank(b"no such member"), None);
    let reversed: Vec<_> =
        zset.iter().rev().map(|(element, score)| (element.with_bytes(<[u8]>::to_vec), score)).collect();
    assert!(reversed.iter().eq(ordered.iter().rev()));
}

proptest! {
    #![proptest_config(crate::soak::cases(96))]

    #[test]
    fn a_sorted_set_does_what_a_map_does_and_its_snapshots_stay(
        steps in vec(step(), 1..300),
        entries in prop_oneof![Just(0usize), 1usize..100],
    ) {
        let thresholds = thresholds(entries);
        let mut zset = ZSet::for_members(b"", 0, thresholds);
        let mut model = Model::new();
        let mut snapshots = Vec::new();
        for step in steps {
            if matches!(step, Step::Snapshot) {
                snapshots.push((zset.clone(), model.clone()));
            }
            apply(step, &mut zset, &mut model, thresholds);
            zset.as_large().into_iter().for_each(Large::check);
        }
        check_places(&zset, &model);
        // By the index, too.
        snapshots.iter().for_each(|(snapshot, model)| check_places(snapshot, model));
    }

    /// Members of one length fill each other's holes, others move up.
    #[test]
    fn a_chunk_does_what_a_row_does(
        steps in vec((0u8..4, member(), score(), any::<usize>()), 1..100),
    ) {
        let mut chunk = Chunk::default();
        let mut model: Vec<(f64, Vec<u8>)> = Vec::new();
        for (kind, member, score, at) in steps {
            let at = at % model.len().max(1);
            match kind {
                0 | 1 if chunk.has_room(&member) && model.iter().all(|(_, own)| *own != member) => {
                    chunk.insert(chunk.position(score, &member), 7, score, &member);
                    model.push((score, member));
                }
                2 if model.len() > 1 => {
                    chunk.remove(at..at + 1);
                    model.remove(at);
                }
                3 if !model.is_empty() && model[at].0 != score => {
                    chunk.change(at, score);
                    model[at].0 = score;
                }
                _ => {}
            }
            model.sort_by(|a, b| compare((a.0, &a.1), (b.0, &b.1)));
            if !model.is_empty() {
                chunk.check();
            }
            let row: Vec<_> = (0..chunk.len()).map(|at| (chunk.score(at), chunk.member(at).to_vec())).collect();
            prop_assert_eq!(&row, &model);
        }
    }

    #[test]
    fn a_range_holds_what_is_between_its_bounds(
        scores in vec((member(), score()), 0..200),
        (min, max) in (score(), score()),
        (min_open, max_open) in any::<(bool, bool)>(),
        (low, high) in (member(), member()),
        entries in prop_oneof![Just(0usize), Just(1000)],
    ) {
        let model: Model = scores.into_iter().collect();
        let build = |model: &Model| {
            let members = model.iter().map(|(member, &score)| Scored { score, member: Str::from(&member[..]) });
            ZSet::from_members(members.collect(), thresholds(entries))
        };
        let zset = build(&model);
        let range = ScoreRange { min, max, min_open, max_open };
        let inside = |score: f64| {
            (if min_open { score > min } else { score >= min }) && (if max_open { score < max } else { score <= max })
        };
        let places = zset.score_range(&range);
        let wanted: Vec<_> = ordered(&model).into_iter().filter(|&(_, score)| inside(score)).collect();
        prop_assert_eq!(&members(&zset)[places], &wanted);

        let same: Model = model.into_keys().map(|member| (member, 0.0)).collect();
        let zset = build(&same);
        for (min, max) in [
            (LexBound::Lowest, LexBound::Closed(&high)),
            (LexBound::Open(&low), LexBound::Open(&high)),
            (LexBound::Closed(&low), LexBound::Highest),
            (LexBound::Highest, LexBound::Lowest),
        ] {
            let above = |member: &[u8]| match min {
                LexBound::Lowest => true,
                LexBound::Highest => false,
                LexBound::Closed(bound) => member >= bound,
                LexBound::Open(bound) => member > bound,
            };
            let below = |member: &[u8]| match max {
                LexBound::Highest => true,
                LexBound::Lowest => false,
                LexBound::Closed(bound) => member <= bound,
                LexBound::Open(bound) => member < bound,
            };
            let wanted: Vec<_> =
                ordered(&same).into_iter().filter(|(member, _)| above(member) && below(member)).collect();
            prop_assert_eq!(&members(&zset)[zset.lex_range(&LexRange { min, max })], &wanted);
        }
    }
}

#[test]
fn a_range_of_strings_over_different_scores_is_some_range() {
    let scored =
        |(rank, member): (usize, &&str)| Scored { score: rank as f64, member: Str::from(member.as_bytes()) };
    let members: Vec<Scored> = ["z", "a", "m", "b", "y"].iter().enumerate().map(scored).collect();
    for entries in [0, 100] {
        let zset = ZSet::from_members(members.clone(), thresholds(entries));
        for bound in ["a", "c", "m", "n", "zz"] {
            let min = LexBound::Open(bound.as_bytes());
            let places = zset.lex_range(&LexRange { min, max: LexBound::Closed(b"b") });
            assert!(places.start <= places.end && places.end <= zset.len());
        }
    }
}

#[test]
fn encodings_change_where_the_configuration_says() {
    let thresholds = thresholds(2);
    let mut zset = ZSet::for_members(b"a", 1, thresholds);
    zset.insert(b"a", 1.0, thresholds);
    zset.insert(b"b", 2.0, thresholds);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(b"b", 3.0, thresholds);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(b"c", 3.0, thresholds);
    assert_eq!(zset.encoding(), "skiplist");
    zset.remove(b"c");
    assert_eq!(zset.encoding(), "skiplist");
    assert_eq!(ZSet::for_members(b"thirteen bytes", 1, thresholds).encoding(), "skiplist");
    assert_eq!(ZSet::for_members(b"a", 3, thresholds).encoding(), "skiplist");
    let long = Scored { score: 0.0, member: Str::from(b"thirteen bytes".as_slice()) };
    assert_eq!(ZSet::from_members(vec![long], thresholds).encoding(), "skiplist");
}

#[test]
fn a_scan_meets_every_member_once_though_many_share_a_place() {
    let thresholds = thresholds(0);
    let mut zset = ZSet::for_members(b"", 0, thresholds);
    for number in 0u32..500 {
        zset.insert(number.to_string().as_bytes(), f64::from(number % 7), thresholds);
    }
    let large = zset.as_large().unwrap();
    let (mut found, mut cursor) = (Vec::new(), 0);
    loop {
        cursor =
            large.scan(cursor, 10, |(member, score)| found.push((member.with_bytes(<[u8]>::to_vec), score)));
        if cursor == 0 {
            break;
        }
    }
    found.sort_by(|a, b| compare((a.1, &a.0), (b.1, &b.0)));
    assert_eq!(found, members(&zset));
}

/// Prunes a set of 4000 members in the order that `ranks` gives, down to one of eight, and looks what is left.
fn check_pruned(ranks: impl Iterator<Item = u32>) {
    let thresholds = thresholds(0);
    let mut zset = ZSet::for_members(b"", 0, thresholds);
    let member = |number: u32| number.to_string().into_bytes();
    (0..4000).for_each(|number| _ = zset.insert(&member(number), f64::from(number), thresholds));
    ranks.filter(|number| number % 8 != 0).for_each(|number| _ = zset.remove(&member(number)));
    let model: Model = (0..4000).step_by(8).map(|number| (member(number), f64::from(number))).collect();
    check_places(&zset, &model);
    let chunks = zset.as_large().unwrap().chunks();
    assert!(chunks.len() <= zset.len() / 3 + 1, "{} chunks", chunks.len());
    let bytes: usize = (0..chunks.len()).map(|number| chunks[number].heap_bytes()).sum();
    assert!(bytes <= zset.len() * 100, "{bytes} bytes");
}

#[test]
fn what_is_left_of_a_pruned_set_stands_together_and_takes_little() {
    check_pruned(0..4000);
    check_pruned((0..4000).rev());
    check_pruned((0..4000).map(|number| number * 1009 % 4000));
    let mut zset = ZSet::for_members(b"", 0, thresholds(0));
    (0..4000u32).for_each(|number| _ = zset.insert(&number.to_be_bytes(), f64::from(number), thresholds(0)));
    (0..500).for_each(|start| zset.remove_range(start..start + 7));
    assert_eq!(zset.len(), 500);
    let chunks = zset.as_large().unwrap().chunks().len();
    assert!(chunks <= zset.len() / 3 + 1, "{chunks} chunks");
}

/// Each had a chunk of its own: its place is behind the big one, and that is full.
#[test]
fn members_that_come_in_falling_order_behind_a_big_one_share_chunks() {
    let mut zset = ZSet::for_members(b"", 0, thresholds(0));
    zset.insert(&[b'x'; 1000], 0.0, thresholds(0));
    (1..=400u32)
        .rev()
        .for_each(|number| _ = zset.insert(&number.to_be_bytes(), number.into(), thresholds(0)));
    let chunks = zset.as_large().unwrap().chunks().len();
    assert!(chunks <= zset.len() / 3, "{chunks} chunks");
    let model: Model =
        (1..=400u32).map(|number| (number.to_be_bytes().to_vec(), f64::from(number))).collect();
    assert_eq!(members(&zset)[1..], ordered(&model));
}

/// A member's length has sixteen bits where it has neighbours, so this long it must have none.
#[test]
fn a_member_of_more_than_64_kib_is_alone_in_its_chunk() {
    let all = thresholds(0);
    let (mut zset, mut model) = (ZSet::for_members(b"", 0, all), Model::new());
    let long = |len: usize| vec![b'x'; len];
    for (number, member) in [long(65_536), long(70_000), long(65_535), long(131_072)].into_iter().enumerate()
    {
        let score = 10.0 * number as f64;
        for (neighbour, distance) in [("below", -0.5), ("", 0.0), ("above", 0.5)] {
            let neighbour =
                if neighbour.is_empty() { Vec::new() } else { format!("{neighbour}:{number}").into() };
            apply(Step::Insert(neighbour, score + distance), &mut zset, &mut model, all);
        }
        // Within its run, into another one, and back.
        for score in [score, score + 0.1, -7.0, score] {
            apply(Step::Insert(member.clone(), score), &mut zset, &mut model, all);
            check_places(&zset, &model);
        }
    }
    let neighbours: Vec<Vec<u8>> = model.keys().filter(|member| member.len() < 100).cloned().collect();
    for neighbour in neighbours {
        apply(Step::Remove(neighbour), &mut zset, &mut model, all);
        check_places(&zset, &model);
    }
    assert_eq!(zset.len(), 4);
}

#[test]
fn ranges_past_the_end_are_refused_in_either_form() {
    for entries in [0, 100] {
        let mut zset = ZSet::for_members(b"a", 1, thresholds(entries));
        zset.insert(b"a", 1.0, thresholds(entries));
        let refused = |run: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        assert!(refused(&|| _ = zset.range(0..2)));
        assert!(refused(&|| zset.clone().remove_range(0..2)));
        assert_eq!(zset.range(0..1).len(), 1);
    }
}

#[test]
fn a_handle_is_small_and_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<ZSet>();
    assert!(size_of::<ZSet>() <= 24);
}

#[test]
fn a_listpack_ends_at_its_greatest_size_whatever_the_thresholds_are() {
    let boundless = Thresholds { value_bytes: usize::MAX, ..thresholds(usize::MAX) };
    let third = |letter: u8| vec![letter; listpack::BYTES_MAX / 3];
    let mut zset = ZSet::default();
    // Another score takes no room for the member a second time.
    [b'a', b'b', b'a'].iter().enumerate().for_each(|(score, &letter)| {
        zset.insert(&third(letter), score as f64, boundless);
    });
    assert_eq!((zset.encoding(), zset.len()), ("listpack", 2));
    let mut zset = ZSet::default();
    let encodings = [b'a', b'b', b'c'].map(|letter| {
        zset.insert(&third(letter), 1.0, boundless);
        zset.encoding()
    });
    assert_eq!((encodings, zset.len()), (["listpack", "listpack", "skiplist"], 3));
    // Scores take room, too.
    let many: Vec<Scored> = (0..30_000u32)
        .map(|number| Scored { score: 1.0 / f64::from(number), member: Str::from(&number.to_be_bytes()[..]) })
        .collect();
    assert_eq!(ZSet::from_members(many, boundless).encoding(), "skiplist");
}
