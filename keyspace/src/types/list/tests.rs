//! Lists against a vector, in both encodings and across the conversions, with snapshots.

use proptest::prelude::*;

use super::*;

/// Limits with which a few dozen elements already make several chunks.
fn limits() -> impl Strategy<Value = ChunkLimit> {
    prop_oneof![
        (1usize..6).prop_map(|count| ChunkLimit { bytes: 8192, count, by_size: false, packed: usize::MAX }),
        (24usize..90, 4usize..24).prop_map(|(bytes, packed)| ChunkLimit {
            bytes,
            count: usize::MAX,
            by_size: true,
            packed
        }),
    ]
}

#[derive(Debug, Clone)]
enum Op {
    Push(End, Vec<Vec<u8>>),
    Insert(usize, End, Vec<u8>),
    Set(usize, Vec<u8>),
    Remove(usize, usize),
    RemoveEqual(Vec<u8>, usize, End),
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Few values, so that some are equal; integers and strings of several heads.
        (0i64..6).prop_map(|value| (value * 40).to_string().into_bytes()),
        (b'a'..b'e').prop_map(|byte| vec![byte]),
        (0usize..100).prop_map(|len| vec![b'x'; len]),
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Left), Just(End::Right)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (end(), prop::collection::vec(element(), 1..12)).prop_map(|(end, elements)| Op::Push(end, elements)),
        3 => (any::<usize>(), end(), element()).prop_map(|(at, side, element)| Op::Insert(at, side, element)),
        3 => (any::<usize>(), element()).prop_map(|(at, element)| Op::Set(at, element)),
        3 => (any::<usize>(), 0usize..20).prop_map(|(at, count)| Op::Remove(at, count)),
        2 => (element(), 0usize..4, end()).prop_map(|(element, max, end)| Op::RemoveEqual(element, max, end)),
    ]
}

fn apply(list: &mut List, model: &mut Vec<Vec<u8>>, op: Op, limit: ChunkLimit) {
    match op {
        Op::Push(end, elements) => {
            let words: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
            list.make_room(&words, limit);
            for element in &elements {
                list.push(end, element, limit);
                model.insert(if end == End::Left { 0 } else { model.len() }, element.clone());
            }
        }
        Op::Insert(at, side, element) => {
            let at = at % (model.len() + 1);
            list.make_room(&[&element], limit);
            list.insert(at, side, &element, limit);
            if at < model.len() {
                model.insert(at + usize::from(side == End::Right), element);
            }
        }
        Op::Set(at, element) => {
            let at = at % (model.len() + 1);
            list.make_room(&[&element], limit);
            assert_eq!(list.set(at, &element, limit), at < model.len());
            list.shrink(limit);
            model.get_mut(at).into_iter().for_each(|old| old.clone_from(&element));
        }
        Op::Remove(at, count) => {
            let at = at % (model.len() + 1);
            list.remove(at, count);
            list.shrink(limit);
            model.drain(at..(at + count).min(model.len()));
        }
        Op::RemoveEqual(element, max, from) => {
            let equal = model.iter().enumerate().filter(|(_, other)| **other == element).map(|(at, _)| at);
            let mut equal: Vec<usize> = equal.collect();
            if from == End::Right {
                equal.reverse();
            }
            equal.truncate(max);
            assert_eq!(list.remove_equal(&element, max, from), equal.len());
            list.shrink(limit);
            equal.sort_unstable();
            equal.iter().rev().for_each(|&at| drop(model.remove(at)));
        }
    }
}

fn contents<'a>(elements: impl Iterator<Item = Element<'a>>) -> Vec<Vec<u8>> {
    elements.map(|element| element.with_bytes(<[u8]>::to_vec)).collect()
}

/// Chunks of a quicklist are never empty, and beyond the limit only with a single element.
fn assert_sound(list: &List, limit: ChunkLimit) {
    assert!(list.len() == list.chunks().map(Listpack::len).sum::<usize>());
    if list.encoding() == "quicklist" {
        for chunk in list.chunks().skip(1) {
            assert!(!chunk.is_empty());
            // The first chunk may be the listpack that the list was: it grew by Redis's rule, which counts no heads.
            assert!(chunk.len() == 1 || chunk.len_bytes() <= limit.bytes + 1024);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..crate::soak::cases(300) })]

    #[test]
    fn a_list_does_what_a_vector_does(limit in limits(), ops in prop::collection::vec(op(), 0..40)) {
        let (mut list, mut model) = (List::new(), Vec::new());
        for op in ops {
            apply(&mut list, &mut model, op, limit);
            assert_sound(&list, limit);
            prop_assert_eq!(contents(list.iter()), model.clone());
        }
        for at in 0..=model.len() {
            prop_assert_eq!(contents(list.iter_from(at)), model[at..].to_vec());
            prop_assert_eq!(list.get(at).map(|element| element.to_str().to_vec()), model.get(at).cloned());
        }
        for at in 0..model.len() {
            let expected: Vec<_> = model[..=at].iter().rev().cloned().collect();
            prop_assert_eq!(contents(list.iter_back_from(at)), expected);
        }
    }

    #[test]
    fn writes_after_a_snapshot_do_not_change_it(
        limit in limits(),
        before in prop::collection::vec(op(), 0..30),
        after in prop::collection::vec(op(), 1..30),
    ) {
        let (mut list, mut model) = (List::new(), Vec::new());
        before.into_iter().for_each(|op| apply(&mut list, &mut model, op, limit));
        let (snapshot, frozen) = (list.clone(), model.clone());
        for op in after {
            apply(&mut list, &mut model, op, limit);
            prop_assert_eq!(contents(snapshot.iter()), frozen.clone());
        }
        prop_assert_eq!(contents(list.iter()), model);
    }
}

#[test]
fn limits_are_those_of_list_max_listpack_size() {
    let limit = |size| ChunkLimit::of(&Limits { list_max_listpack_size: size, ..Limits::default() });
    for (size, bytes) in
        [(-1, 4096), (-2, 8192), (-3, 16384), (-4, 32768), (-5, 65536), (-9, 65536), (i64::MIN, 65536)]
    {
        assert!(limit(size).admits(bytes, 1 << 20) && !limit(size).admits(bytes + 1, 1), "{size}");
    }
    for (size, count) in [(0, 1), (1, 1), (128, 128)] {
        assert!(limit(size).admits(8192, count) && !limit(size).admits(8, count + 1), "{size}");
        assert!(!limit(size).admits(8193, 1), "{size}");
    }
}

#[test]
fn a_list_at_the_limit_does_not_go_back_and_forth() {
    let limit = ChunkLimit { bytes: 8192, count: 8, by_size: false, packed: usize::MAX };
    let mut list = List::new();
    for _ in 0..9 {
        list.make_room(&[b"a"], limit);
        list.push(End::Right, b"a", limit);
    }
    assert_eq!(list.encoding(), "quicklist");
    let mut encodings = Vec::new();
    while !list.is_empty() {
        list.remove(list.len() - 1, 1);
        list.shrink(limit);
        encodings.push((list.len(), list.encoding()));
    }
    assert_eq!(
        encodings[..5],
        [(8, "quicklist"), (7, "quicklist"), (6, "quicklist"), (5, "quicklist"), (4, "listpack")]
    );
}

#[test]
fn an_element_beyond_a_chunk_has_one_of_its_own() {
    let limit = ChunkLimit::of(&Limits::default());
    let long = vec![b'l'; 20_000];
    let mut list = List::new();
    for element in [&b"a"[..], b"b", &long, b"c"] {
        list.make_room(&[element], limit);
        list.push(End::Right, element, limit);
    }
    assert_eq!(chunk_lens(&list), [2, 1, 1]);
    list.remove(2, 1);
    list.shrink(limit);
    assert_eq!(contents(list.iter()), [b"a", b"b", b"c"]);
}

fn chunk_lens(list: &List) -> Vec<usize> {
    list.chunks().map(Listpack::len).collect()
}

#[test]
fn chunks_end_where_the_nodes_of_redis_do() {
    let limit = ChunkLimit { bytes: 8192, count: 8, by_size: false, packed: 10 };
    // Elements in three chunks of eight, of which the first loses some; then a change.
    type Change = fn(&mut List, ChunkLimit);
    let table: &[(usize, Change, &[usize])] = &[
        (2, |list, limit| assert!(list.set(6, b"x", limit)), &[6, 8, 8]),
        (2, |list, limit| list.insert(6, End::Left, b"x", limit), &[7, 8, 8]),
        (2, |list, limit| list.insert(5, End::Right, b"x", limit), &[7, 8, 8]),
        (0, |list, limit| list.insert(7, End::Right, b"x", limit), &[8, 1, 8, 8]),
        (0, |list, limit| list.insert(0, End::Left, b"x", limit), &[1, 8, 8, 8]),
        (0, |list, limit| list.insert(10, End::Left, b"x", limit), &[8, 3, 6, 8]),
        (0, |list, limit| list.insert(10, End::Right, b"x", limit), &[8, 3, 6, 8]),
        (6, |list, limit| list.insert(4, End::Left, b"x", limit), &[5, 6, 8]),
        (6, |list, limit| list.insert(4, End::Right, b"x", limit), &[5, 6, 8]),
        (0, |list, limit| list.insert(10, End::Left, b"stands alone", limit), &[8, 2, 1, 6, 8]),
        (6, |list, limit| assert!(list.set(4, b"stands alone", limit)), &[4, 1, 5, 8]),
        (6, |list, limit| assert!(list.set(2, b"stands alone", limit)), &[2, 1, 7, 8]),
    ];
    for (row, (removed, change, expected)) in table.iter().enumerate() {
        let mut list = List::new();
        list.make_room(&[&b"a"[..]; 24], limit);
        (0..24).for_each(|_| list.push(End::Right, b"a", limit));
        list.remove(0, *removed);
        change(&mut list, limit);
        assert_eq!(chunk_lens(&list), *expected, "row {row}");
    }
}

#[test]
fn an_element_that_need_not_stand_alone_any_more_joins_what_is_behind_it() {
    let limit = ChunkLimit { bytes: 8192, count: 8, by_size: false, packed: 10 };
    let mut list = List::new();
    for element in [&b"a"[..], b"stands alone", b"c"] {
        list.make_room(&[element], limit);
        list.push(End::Right, element, limit);
    }
    assert_eq!(chunk_lens(&list), [1, 1, 1]);
    assert!(list.set(1, b"b", limit));
    assert_eq!(chunk_lens(&list), [1, 2]);
    assert_eq!(contents(list.iter()), [b"a", b"b", b"c"]);
}

#[test]
fn a_longer_element_does_not_let_a_chunk_grow_beyond_the_limit() {
    let limit = ChunkLimit::of(&Limits { list_max_listpack_size: -1, ..Limits::default() });
    let mut list = List::new();
    list.make_room(&[&b"a"[..]; 5000], limit);
    (0..5000).for_each(|_| list.push(End::Right, b"a", limit));
    let long = [b'l'; 3000];
    (0..5000).for_each(|at| assert!(list.set(at, &long, limit)));
    assert!(list.chunks().all(|chunk| chunk.len_bytes() <= 4096));
    assert_eq!(list.len(), 5000);
}

/// A file of an older server, or of one with another `list-max-listpack-size`, may hold a million elements in one blob. To
/// count them at each write would be quadratic, and the first write behind a snapshot would copy them all.
#[test]
fn a_listpack_far_beyond_any_limit_becomes_many_chunks_of_the_same_list() {
    let limits = Limits::default();
    for (elements, one_bytes) in [(100_000, 0), (200, 1000), (3, 100_000), (1, 1 << 20)] {
        let word = |at: usize| [at.to_string().as_bytes(), &vec![b'x'; one_bytes]].concat();
        let words: Vec<Vec<u8>> = (0..elements).map(word).collect();
        let mut pack = Listpack::new();
        words.iter().for_each(|word| pack.push_back(word));
        assert!(pack.len_bytes() > CHUNK_BYTES_MAX);
        for size in [-2, -5, 128] {
            let limit = ChunkLimit::of(&Limits { list_max_listpack_size: size, ..limits.clone() });
            let mut list = List::from_chunks(vec![single(b"first"), pack.clone(), single(b"last")], limit);
            assert_eq!((list.len(), list.encoding()), (words.len() + 2, "quicklist"));
            let shown: Vec<Vec<u8>> = list.iter().map(|element| element.with_bytes(<[u8]>::to_vec)).collect();
            assert_eq!(
                (&*shown[0], &shown[1..=elements], &*shown[elements + 1]),
                (&b"first"[..], &words[..], &b"last"[..])
            );
            let is_fit = |chunk: &Listpack| chunk.len() == 1 || chunk.len_bytes() <= CHUNK_BYTES_MAX;
            assert!(list.chunks().all(is_fit), "{elements} elements, {size}");
            list.remove(0, elements + 1);
            assert_eq!(list.get(0).map(|element| element.is(b"last")), Some(true));
        }
        // As Redis reports it: where the number alone is the limit, all within it are a listpack.
        let limit = ChunkLimit::of(&Limits { list_max_listpack_size: i64::from(i32::MAX), ..limits.clone() });
        let plain = one_bytes > 8192 && elements == 1;
        let expected = if plain { "quicklist" } else { "listpack" };
        assert_eq!(List::from_chunks(vec![pack.clone()], limit).encoding(), expected, "{elements} elements");
    }
}

#[test]
fn a_chunk_has_room_up_to_the_limit_whatever_an_element_is_encoded_as() {
    let lens = [0, 1, 62, 63, 64, 126, 4095, 4096, 16_377, 16_378];
    let texts = lens.map(|len| "x".repeat(len)).into_iter();
    let numbers = [0, 127, 128, 4096, 1 << 20, i64::MAX, i64::MIN].map(|number| number.to_string());
    let elements: Vec<String> = texts.chain(numbers).collect();
    for (held, element) in
        elements.iter().flat_map(|held| elements.iter().map(move |element| (held, element)))
    {
        let mut chunk = single(b"first");
        chunk.push_back(held.as_bytes());
        let fits_bytes =
            (chunk.len_bytes() + element.len() + 8).max(chunk.heap_bytes_with(element.as_bytes()));
        for bytes in fits_bytes - 20..fits_bytes + 20 {
            let limit = ChunkLimit { bytes, count: 3, by_size: true, packed: usize::MAX };
            let expected = bytes >= fits_bytes;
            assert_eq!(
                limit.has_room(&chunk, element.as_bytes()),
                expected,
                "{held:.9} {element:.9} {bytes}"
            );
        }
    }
}
