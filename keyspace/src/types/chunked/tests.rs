//! Chunked strings against vectors of bytes.

use proptest::prelude::*;

use super::*;
use crate::types::string::{StringMut, StringRef};
use crate::{New, Value};

#[derive(Debug, Clone)]
enum Step {
    Write { at: usize, len: usize },
    Append { len: usize },
    Grow { len: usize },
    Snapshot,
}

/// Places and lengths near the boundaries of chunks, where the mistakes are.
fn near_boundary() -> impl Strategy<Value = usize> {
    (0..4usize, 0..20usize).prop_map(|(chunk, off)| (chunk * CHUNK_BYTES + off).saturating_sub(10))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (near_boundary(), prop_oneof![0..40usize, near_boundary()])
            .prop_map(|(at, len)| Step::Write { at, len }),
        prop_oneof![0..200usize, near_boundary()].prop_map(|len| Step::Append { len }),
        near_boundary().prop_map(|len| Step::Grow { len }),
        Just(Step::Snapshot),
    ]
}

fn write(model: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    model.resize(model.len().max(end), 0);
    model[at..end].copy_from_slice(bytes);
}

fn bytes_of(string: &Chunked, range: Range<usize>) -> Vec<u8> {
    string.pieces(range).collect::<Vec<_>>().concat()
}

fn assert_same(string: &Chunked, model: &[u8], ranges: &[(usize, usize)]) {
    assert_eq!(string.len(), model.len());
    assert!(bytes_of(string, 0..string.len()) == model);
    for &(start, end) in ranges {
        let clipped = model.get(start..end.min(model.len())).unwrap_or_default();
        assert!(bytes_of(string, start..end) == clipped, "{start}..{end} of {}", model.len());
    }
    // What it holds, and what it says that it takes.
    let held: usize = string.chunks.iter().map(|chunk| chunk.0.len()).sum();
    assert!(string.chunks.iter().all(|chunk| chunk.0.len() <= CHUNK_BYTES));
    assert!(string.heap_bytes() >= held);
}

proptest! {
    #![proptest_config(crate::soak::cases(64))]

    #[test]
    fn a_chunked_string_is_a_vector_of_bytes_and_snapshots_do_not_change(
        start in near_boundary(),
        steps in prop::collection::vec(step(), 1..20),
        ranges in prop::collection::vec((near_boundary(), near_boundary()), 8),
    ) {
        let mut model = vec![b's'; start];
        let mut string = Chunked::new(&model);
        let mut snapshots = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let bytes = |len| vec![number as u8; len];
            match step {
                Step::Write { at, len } => {
                    string.write(at, &bytes(len));
                    write(&mut model, at, &bytes(len));
                }
                Step::Append { len } => {
                    string.write(model.len(), &bytes(len));
                    model.extend(bytes(len));
                }
                Step::Grow { len } => {
                    string.grow(len);
                    model.resize(model.len().max(len), 0);
                }
                Step::Snapshot => snapshots.push((string.clone(), model.clone())),
            }
            assert_same(&string, &model, &ranges);
        }
        for (string, model) in snapshots {
            assert_same(&string, &model, &ranges);
        }
    }
}

#[test]
fn zeros_far_out_take_no_memory() {
    let mut string = Chunked::new(&[0; 3 * CHUNK_BYTES + 1]);
    assert_eq!(string.chunks.weight(), 0);
    string.grow(1 << 29);
    assert_eq!(string.chunks.weight(), 0);
    string.write((1 << 28) + 1, b"x");
    assert!((1..=CHUNK_BYTES + HEADER_BYTES).contains(&string.chunks.weight()));
    assert_eq!(bytes_of(&string, (1 << 28)..(1 << 28) + 4), b"\0x\0\0");
    assert!(string.heap_bytes() < 512 << 10);
    // Near ones do: room is reserved by writing behind it.
    let before = string.chunks.weight();
    string.grow(string.len() + RESERVED_BYTES);
    assert!(string.chunks.weight() > before + RESERVED_BYTES - CHUNK_BYTES);
}

#[test]
fn a_string_is_filled_chunk_by_chunk() {
    for len in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
        let byte = |at: usize| (at / 1000) as u8;
        let string = Chunked::filled(len, |range, bytes| {
            assert!(bytes.iter().all(|byte| *byte == 0));
            range.zip(bytes).for_each(|(at, into)| *into = byte(at));
        });
        assert_same(&string, &(0..len).map(byte).collect::<Vec<_>>(), &[]);
    }
}

#[test]
fn a_string_is_chunked_once_it_is_longer_than_a_chunk() {
    for len in [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1] {
        let is_chunked = len > CHUNK_BYTES;
        let stored = New::string(&vec![b'v'; len]).into_value();
        assert_eq!(matches!(stored, Value::Chunked(_)), is_chunked, "{len}");
        let mut grown = Value::Str(copied(b"grown"));
        let before = grown.clone();
        let mut string = StringMut::lengthened(&mut grown, len).expect("a string");
        string.write(len - 2, b"nd");
        assert_eq!(matches!(grown, Value::Chunked(_)), is_chunked, "{len}");
        let grown = StringRef::of(grown.view()).unwrap();
        assert_eq!(grown.len(), len);
        assert_eq!(&grown.contiguous()[..8], b"grown\0\0\0");
        assert_eq!(grown.byte(len - 1), Some(b'd'));
        assert_eq!(grown.byte(len), None);
        assert_eq!(StringRef::of(before.view()).unwrap().contiguous()[..], *b"grown");
    }
}

#[test]
fn what_stands_in_a_row_although_it_is_long_is_chunked_when_it_is_written_to() {
    let mut value = Value::Str(copied(&[b'v'; 2 * CHUNK_BYTES]));
    StringMut::lengthened(&mut value, 0).expect("a string").write(CHUNK_BYTES, b"w");
    let Value::Chunked(string) = &value else { panic!("{value:?}") };
    assert_eq!(bytes_of(string, CHUNK_BYTES - 1..CHUNK_BYTES + 2), b"vwv");
    assert!(StringMut::lengthened(&mut Value::Int(1), 9).is_none());
}
