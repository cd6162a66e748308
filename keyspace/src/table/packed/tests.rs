//! One segment: records are packed without gaps, whatever becomes of them, and memory follows.

use std::sync::atomic::AtomicU32;

use super::super::spine::Segment;
use super::super::tests::SEED;
use super::{Arena, Fields, NEVER, Note, PACKED_MAX_BYTES, Slot, place_of, reserve, roomy, trim};
use crate::types::string::copied;
use crate::{New, Value, ValueRef};

fn put(arena: &mut Arena, place: u32, key: &[u8], value: New<'_>, expire_at_ms: i64) -> Option<Value> {
    match arena.seek(place, 0, key) {
        Ok(index) => arena.replace(index, value, expire_at_ms),
        Err(index) => {
            arena.insert(index, place, key, value, expire_at_ms, 0);
            None
        }
    }
}

/// The records side by side, as the layout says.
fn is_packed<N: Note>(arena: &Arena<N>) -> bool {
    let lens = |block| {
        let own = arena.slots.iter().filter(move |slot| usize::from(slot.block) == block);
        own.map(|slot| arena.head(slot).record_len()).sum::<usize>()
    };
    arena.slots.is_sorted_by_key(|slot| slot.place)
        && arena.blocks.iter().enumerate().all(|(block, bytes)| bytes.len() > 0 && bytes.len() == lens(block))
        && arena.blocks.iter().map(|block| block.len()).sum::<usize>() == arena.len_bytes as usize
        && arena.values.sound_len()
            == Some(arena.slots.iter().map(|slot| arena.head(slot).handles().count()).sum())
        && arena.blocks.iter().rev().skip(1).all(|block| block.room() <= usize::from(arena.gap_bytes))
}

#[test]
fn a_record_changes_its_form_and_its_length_in_place() {
    let mut arena = Arena::<AtomicU32>::default();
    let long = [b'x'; PACKED_MAX_BYTES + 1];
    for number in 0..40u32 {
        put(&mut arena, number.reverse_bits(), &number.to_le_bytes(), New::Int(number.into()), NEVER);
    }
    let (place, key) = (7u32.reverse_bits(), 7u32.to_le_bytes());
    for value in [&b"short"[..], b"", &long[1..], &long, b"1", &long, &long[1..]] {
        for expire_at_ms in [NEVER, 5, 6, NEVER] {
            put(&mut arena, place, &key, New::Str(value), expire_at_ms);
            let entry = arena.entry(arena.find(place, 0, &key).unwrap());
            assert!(matches!(entry.value(), ValueRef::Str(found) if found == value));
            assert_eq!(entry.expire_at_ms().unwrap_or(NEVER), expire_at_ms);
            assert!(is_packed(&arena));
        }
    }
    for number in (0..40u32).filter(|&number| number != 7) {
        let index = arena.find(number.reverse_bits(), 0, &number.to_le_bytes()).unwrap();
        assert!(matches!(arena.entry(index).value(), ValueRef::Int(value) if value == i64::from(number)));
    }
}

#[test]
fn a_segment_has_a_size_that_the_allocator_has() {
    assert_eq!(size_of::<usize>() + size_of::<Arena<AtomicU32>>(), 224);
}

#[test]
fn keys_of_one_place_are_told_apart() {
    let mut arena = Arena::<AtomicU32>::default();
    let long = [b'k'; PACKED_MAX_BYTES + 1];
    for key in [&b"a"[..], b"b", b"", &long] {
        put(&mut arena, 9, key, New::Str(key), NEVER);
    }
    for key in [&b"a"[..], b"b", b"", &long] {
        let index = arena.find(9, 0, key).unwrap();
        assert_eq!(arena.entry(index).string(), key);
    }
    assert_eq!(arena.find(9, 0, b"c"), None);
    let mut visited = 0;
    assert_eq!(arena.scan(0, 1, &mut |_| visited += 1), None);
    assert_eq!(visited, 4, "a cursor cannot tell them apart");
}

#[test]
fn what_is_replaced_or_removed_is_handed_out_and_its_index_used_again() {
    let mut arena = Arena::<AtomicU32>::default();
    let big = |byte| Value::Str(copied(&[byte; 1000]));
    for key in [b"a", b"b", b"c"] {
        assert!(put(&mut arena, u32::from(key[0]), key, big(key[0]).into(), NEVER).is_none());
    }
    let Some(Value::Str(old)) = put(&mut arena, u32::from(b'a'), b"a", New::Int(1), NEVER) else { panic!() };
    assert_eq!(old[0], b'a');
    put(&mut arena, u32::from(b'd'), b"d", big(b'd').into(), NEVER);
    assert_eq!(arena.values.end(), 3);
    let (Some(Value::Str(value)), NEVER) = arena.remove(arena.find(u32::from(b'c'), 0, b"c").unwrap()) else {
        panic!()
    };
    assert_eq!(value[0], b'c');
    assert!(is_packed(&arena));
    let index = arena.find(u32::from(b'd'), 0, b"d").unwrap();
    assert_eq!(arena.entry(index).string()[0], b'd');
}

#[test]
fn halves_of_a_segment_have_each_record_once() {
    let mut arena = Arena::<AtomicU32>::default();
    for number in 0..100u32 {
        let key = number.to_string();
        let place = place_of(SEED.hash(key.as_bytes()));
        let value = Value::Str(copied(&vec![number as u8; number as usize * 3]));
        put(&mut arena, place, key.as_bytes(), value.into(), i64::from(number + 1000));
    }
    let whole: Vec<String> = arena.iter().map(|entry| format!("{entry:?}")).collect();
    let right = arena.split(0);
    assert!(right.records() > 30 && arena.records() > 30);
    assert!(right.slots.iter().all(|slot| slot.place >> 31 == 1));
    assert!(is_packed(&arena) && is_packed(&right));
    assert_eq!(arena.due_ms().min(right.due_ms()), 1000);
    arena.absorb(right);
    assert!(is_packed(&arena));
    assert_eq!(arena.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>(), whole);
}

#[test]
fn the_room_of_what_was_removed_is_used_again() {
    let mut arena = Arena::<AtomicU32>::default();
    for number in 0..60u32 {
        put(&mut arena, number.reverse_bits(), &number.to_le_bytes(), New::Str(&[b'v'; 50]), NEVER);
    }
    let blocks = arena.blocks.len();
    for number in 60..1000u32 {
        let (old, key) = (number - 60, (number - 60).to_le_bytes());
        arena.remove(arena.find(old.reverse_bits(), 0, &key).unwrap());
        // Longer and shorter by turns: what has no room for one may have it for the other.
        let value = &[b'v'; 80][..if number % 2 == 0 { 80 } else { 20 }];
        put(&mut arena, number.reverse_bits(), &number.to_le_bytes(), New::Str(value), NEVER);
        assert!(is_packed(&arena), "{number}");
        assert!(arena.blocks.len() <= blocks + 2, "{number}: {} blocks", arena.blocks.len());
    }
}

#[test]
fn memory_follows_what_is_stored() {
    assert_eq!([1, 16, 17, 129, 256, 257, 2049].map(roomy::<u8>), [16, 16, 32, 160, 256, 320, 2560]);
    let mut bytes = Vec::new();
    for len in 1..10_000 {
        reserve(&mut bytes, 1);
        bytes.push(0u8);
        assert!(bytes.capacity() <= (len + 16).max(len * 5 / 4 + 1), "{} for {len}", bytes.capacity());
    }
    while bytes.pop().is_some() {
        trim(&mut bytes);
        assert!(bytes.capacity() < 3 * bytes.len() + 48, "{} for {}", bytes.capacity(), bytes.len());
    }
    // 16 bytes of key, 32 of value: no more than two thirds on top.
    let mut table = Fields::new(SEED);
    for number in 0..100_000 {
        let key = format!("key:{number:012}");
        table.set(SEED.hash(key.as_bytes()), key.as_bytes(), &[b'v'; 32]);
    }
    let full_bytes = bytes_of(&table);
    assert!(full_bytes <= 75 * table.len(), "{} bytes to a record", full_bytes / table.len());
    assert_eq!((size_of::<Slot<AtomicU32>>(), size_of::<Slot<()>>()), (12, 8));
    // Each record that makes room makes as much as it took, though it shares its block with others.
    for number in 0..20_000 {
        let key = format!("key:{:012}", number * 5);
        let hash = SEED.hash(key.as_bytes());
        assert!(table.remove(hash, key.as_bytes()));
        table.segment_mut(table.index(hash)).unwrap().tighten();
    }
    assert!(segments(&table).all(is_packed));
    assert!(bytes_of(&table) < full_bytes * 85 / 100, "{} of {full_bytes} bytes", bytes_of(&table));
}

fn bytes_of(table: &Fields) -> usize {
    table.own_bytes() + segments(table).map(Segment::heap_bytes).sum::<usize>()
}

fn segments(table: &Fields) -> impl Iterator<Item = &Arena<()>> {
    (0..table.segments_len()).filter_map(|at| table.segment(at))
}
