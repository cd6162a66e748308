//! What the structure promises: small segments, few splits, copies only of what is written.

use triomphe::Arc;

use super::super::Fields;
use super::super::packed::Arena;
use super::super::tests::{SEED, Words};
use super::{Form, GROUP, Group, Segment, Sequence, Spine};
use crate::rdb::Key;
use crate::{Db, Keyspace, New};

const MEAN_RECORDS: usize = <Arena<()> as Segment>::MEAN_RECORDS;

fn filled(numbers: std::ops::Range<u32>) -> Fields {
    let mut table = Fields::new(SEED);
    numbers.for_each(|number| _ = table.set_word(number, 0));
    table
}

fn fullest(table: &Fields) -> usize {
    table.all().map(|segment| segment.records()).max().unwrap()
}

#[test]
fn a_segment_s_nth_record_is_that_of_its_order() {
    let table = filled(0..1_000);
    for segment in table.all() {
        let keys = |entry: crate::entry::Entry<'_>| entry.key().to_vec();
        let by_place: Vec<_> = (0..segment.records()).filter_map(|at| segment.nth(at)).map(keys).collect();
        assert!(!by_place.is_empty() && by_place == segment.iter().map(keys).collect::<Vec<_>>());
        assert!(segment.nth(segment.records()).is_none());
    }
}

/// How many segments two tables do not share.
fn copied(a: &Fields, b: &Fields) -> usize {
    a.all().zip(b.all()).filter(|(a, b)| !Arc::ptr_eq(a, b)).count() + a.segments.abs_diff(b.segments)
}

#[test]
fn a_segment_never_outgrows_four_times_the_mean() {
    let mut table = Fields::new(SEED);
    for number in 0..150_000 {
        table.set_word(number, 0);
        if number % 97 == 0 {
            assert!(fullest(&table) <= 4 * MEAN_RECORDS, "at {number}: {}", fullest(&table));
        }
    }
    for number in 0..149_000 {
        table.take_word(number);
        if number % 97 == 0 {
            assert!(fullest(&table) <= 4 * MEAN_RECORDS, "down at {number}: {}", fullest(&table));
        }
    }
    assert!(table.segments <= 1_000 / (MEAN_RECORDS / 4) + 1, "segments melt away with their records");
}

#[test]
fn one_operation_copies_at_most_the_segments_that_split_or_melt() {
    let mut table = filled(0..20_000);
    for number in 20_000..24_000 {
        let before = table.clone();
        table.set_word(number, 0);
        // The segment of the record; when one splits, also its parent and the new one.
        assert!(copied(&table, &before) <= 3);
    }
    for number in 0..22_000 {
        let before = table.clone();
        table.take_word(number);
        assert!(copied(&table, &before) <= 3);
    }
}

#[test]
fn what_is_not_there_copies_nothing() {
    let mut table = filled(0..2000);
    let snapshot = table.clone();
    assert!(table.take_word(2000).is_none());
    assert_eq!(copied(&table, &snapshot), 0);
    table.set_word(7, 1);
    assert_eq!(copied(&table, &snapshot), 1);
    assert_eq!(snapshot.word(7), Some(0));
}

#[test]
fn a_table_at_a_threshold_does_not_split_and_melt_by_turns() {
    for start in [4 * MEAN_RECORDS as u32, 4 * MEAN_RECORDS as u32 + 1] {
        let mut table = filled(0..start);
        let mut changes = 0;
        let mut segments = table.segments;
        for turn in 0..2000 {
            if turn % 2 == 0 {
                table.set_word(start, 0);
            } else {
                table.take_word(start);
            }
            changes += usize::from(table.segments != segments);
            segments = table.segments;
        }
        assert!(changes <= 1, "{changes} changes");
    }
}

#[test]
fn a_consumed_table_gives_each_record_once_and_frees_as_it_goes() {
    let table = filled(0..5000);
    let mut segments = table.into_segments();
    let first = segments.next().unwrap();
    assert_eq!(Arc::strong_count(&first), 1, "dropping a segment that was given frees it");
    let mut keys: Vec<Vec<u8>> = first.iter().map(|entry| entry.key().to_vec()).collect();
    segments.for_each(|segment| keys.extend(segment.iter().map(|entry| entry.key().to_vec())));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5000);
}

fn groups_of<S>(table: &Spine<S>) -> &Sequence<Group<S>> {
    let Form::Groups(groups) = &table.form else { panic!("it is flat") };
    groups
}

#[test]
fn while_it_is_flat_a_table_and_its_snapshots_are_what_they_were() {
    let mut db = Db::new(SEED);
    (0..3000).for_each(|number| _ = db.set_word(number, 0));
    let before = db.clone();
    db.start_loading();
    assert!(matches!(db.table().form, Form::Flat(_)));
    (2000..9000).for_each(|number| _ = db.set_word(number, 1));
    (0..8000).step_by(2).for_each(|number| _ = db.take_word(number));
    let flat = db.clone();
    db.set_word(4001, 2);
    assert!(matches!(db.table().form, Form::Flat(_)), "writes and snapshots leave it flat");
    db.end_loading();
    assert!(groups_of(db.table()).iter().rev().skip(1).all(|group| group.0.len() == GROUP));
    let value = |db: &Db, number: u32| db.word(number);
    assert_eq!([value(&before, 0), value(&before, 2001), value(&before, 4001)], [Some(0), Some(0), None]);
    assert_eq!([value(&flat, 0), value(&flat, 1), value(&flat, 4001)], [None, Some(0), Some(1)]);
    assert_eq!([value(&db, 0), value(&db, 1), value(&db, 4001)], [None, Some(0), Some(2)]);
    assert_eq!((before.len(), flat.len(), db.len()), (3000, 5000, 5000));
    (0..9000).for_each(|number| _ = db.set_word(number, 3));
    assert_eq!((db.len(), value(&db, 8999), value(&flat, 8999)), (9000, Some(3), Some(1)));
}

#[test]
fn a_guess_makes_less_room_than_what_a_file_announces() {
    let room = |coming: usize| {
        let mut db = Db::new(SEED);
        (0..3000).for_each(|number| _ = db.set_word(number, 0));
        // Nearly full, so that an expectation counts.
        let more = db.table().capacity() as u32;
        (3000..more).for_each(|number| _ = db.set_word(number, 0));
        db.expect(usize::MAX, coming);
        (db.table().capacity(), db.len() + coming)
    };
    let segment = <Arena as Segment>::MEAN_RECORDS;
    let (guessed, certain) = room(0);
    assert!(guessed <= 4 * certain + segment, "{guessed} for {certain}");
    let (announced, certain) = room(1);
    assert!((8 * certain..=16 * certain + segment).contains(&announced), "{announced} for {certain}");
}

#[test]
fn a_load_that_fails_leaves_groups() {
    let key = |keyspace: &Keyspace, db: u64| Key {
        offset_bytes: 0,
        db,
        key: b"key",
        hash: keyspace.hash(b"key"),
        value: Some(New::Int(1)),
        expire_at_ms: None,
        idle_s: None,
        freq: None,
    };
    let mut keyspace = Keyspace::new(2, 42);
    keyspace.start_loading();
    assert!(keyspace.load_key(key(&keyspace, 1), false, 0).is_ok());
    assert!(keyspace.load_key(key(&keyspace, 1), false, 0).is_err(), "it is there");
    assert!(keyspace.load_key(key(&keyspace, 2), false, 0).is_err(), "there is no such database");
    keyspace.end_loading();
    assert!(keyspace.dbs().iter().all(|db| matches!(db.table().form, Form::Groups(_))));
    assert_eq!(keyspace.dbs()[1].len(), 1);
}

#[test]
fn what_is_emptied_while_it_is_loaded_goes_on_as_flat_as_before() {
    let forms = |keyspace: &Keyspace| -> Vec<bool> {
        keyspace.dbs().iter().map(|db| matches!(db.table().form, Form::Flat(_))).collect()
    };
    let mut keyspace = Keyspace::new(2, 42);
    keyspace.start_loading();
    keyspace.flush(1, false);
    assert_eq!(forms(&keyspace), [true, true]);
    keyspace.clear();
    assert_eq!(forms(&keyspace), [true, true]);
    keyspace.end_loading();
    assert_eq!(forms(&keyspace), [false, false]);
    keyspace.flush(1, false);
    keyspace.clear();
    assert_eq!(forms(&keyspace), [false, false]);
}

#[test]
fn a_write_after_a_snapshot_copies_one_group_and_one_segment() {
    let mut db = Db::new(SEED);
    (0..20_000).for_each(|number| _ = db.set_word(number, 0));
    let snapshot = db.clone();
    db.set_word(7, 1);
    let (a, b) = (db.table(), snapshot.table());
    let groups = groups_of(a).iter().zip(groups_of(b)).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
    let segments = a.all().zip(b.all()).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
    assert_eq!((groups, segments), (1, 1));
    assert!(groups_of(a).iter().all(|group| group.0.len() <= GROUP && !group.0.spilled()));
}

#[test]
fn the_shared_bits_of_a_segment_are_those_that_chose_it() {
    let mut table = filled(0..0);
    for number in 0..20_000 {
        table.set_word(number, 0);
        let hash = SEED.hash(number.to_string().as_bytes());
        let index = table.index(hash);
        let bits = table.shared_bits(index);
        assert_eq!(hash & ((1 << bits) - 1), index as u64, "{bits} bits of segment {index}");
    }
}
