//! Listpacks against a vector of byte strings, and byte for byte against Redis's.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What a listpack should hold.
type Model = Vec<Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    PushBack(Vec<u8>),
    Extend(Vec<Vec<u8>>),
    PushFront(Vec<u8>),
    Insert(Index, Vec<u8>),
    InsertAfter(Index, Vec<u8>),
    Replace(Index, Vec<u8>),
    Remove(Index, usize),
}

/// Every form of integer, about its borders, and strings that look like integers but are none.
fn integers() -> impl Strategy<Value = Vec<u8>> {
    let borders: [i128; 12] =
        [0, 127, 128, 4095, 4096, 0x7fff, 0x8000, 0x7f_ffff, 0x80_0000, 0x7fff_ffff, 1 << 31, 1 << 63];
    let near = (prop::sample::select(borders.to_vec()), -2i128..3, any::<bool>());
    prop_oneof![
        near.prop_map(|(border, by, negative)| if negative { by - border } else { border + by }.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        prop::sample::select(vec!["00", "+1", "-0", "-", "1 ", "01", ""]).prop_map(str::to_owned),
    ]
    .prop_map(String::into_bytes)
}

/// Strings whose lengths stand about the borders between heads (63, 4095) and between backlens (127, 16382).
fn strings() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        8 => 0usize..8,
        3 => prop::sample::select(vec![62, 63, 64, 124, 125, 126, 127, 128]),
        1 => prop::sample::select(vec![4094, 4095, 4096, 16_376, 16_377, 16_378, 16_379]),
    ];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

fn elements() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![integers(), strings()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => elements().prop_map(Step::PushBack),
        1 => prop::collection::vec(elements(), 0..7).prop_map(Step::Extend),
        1 => elements().prop_map(Step::PushFront),
        2 => (any::<Index>(), elements()).prop_map(|(at, element)| Step::Insert(at, element)),
        1 => (any::<Index>(), elements()).prop_map(|(at, element)| Step::InsertAfter(at, element)),
        2 => (any::<Index>(), elements()).prop_map(|(at, element)| Step::Replace(at, element)),
        2 => (any::<Index>(), 0usize..4).prop_map(|(at, count)| Step::Remove(at, count)),
    ];
    prop::collection::vec(step, 0..60)
}

fn apply(pack: &mut Listpack, model: &mut Model, step: &Step) {
    let place =
        |pack: &Listpack, index: usize| pack.seek(index as isize).expect("the index is below the length");
    match step {
        Step::PushBack(element) => {
            pack.push_back(element);
            model.push(element.clone());
        }
        Step::Extend(elements) => {
            let element = |text| match number::parse_i64(text) {
                Some(value) => Element::Int(value),
                None => Element::Bytes(text),
            };
            // Both forms in which an integer may come.
            let (front, back) = elements.split_at(elements.len() / 2);
            let front = front.iter().map(|text| element(text));
            pack.extend(front.chain(back.iter().map(|text| Element::Bytes(text))));
            model.extend_from_slice(elements);
        }
        Step::PushFront(element) => {
            pack.push_front(element);
            model.insert(0, element.clone());
        }
        _ if model.is_empty() => {}
        Step::Insert(at, element) => {
            let index = at.index(model.len());
            pack.insert(place(pack, index), element);
            model.insert(index, element.clone());
        }
        Step::InsertAfter(at, element) => {
            let index = at.index(model.len());
            pack.insert_after(place(pack, index), element);
            model.insert(index + 1, element.clone());
        }
        Step::Replace(at, element) => {
            let index = at.index(model.len());
            pack.replace(place(pack, index), element);
            model[index] = element.clone();
        }
        Step::Remove(at, count) => {
            let index = at.index(model.len());
            let after = pack.remove(place(pack, index), *count);
            model.drain(index..(index + count).min(model.len()));
            assert_eq!(after, pack.seek(index as isize));
        }
    }
}

/// Compares everything that can be asked.
fn check(pack: &Listpack, model: &Model) {
    let forth: Model = pack.iter().map(|element| element.to_str().to_vec()).collect();
    let back: Model = pack.iter_rev().map(|element| element.to_str().to_vec()).collect();
    assert_eq!(&forth, model);
    assert!(back.iter().eq(model.iter().rev()));
    assert_eq!((pack.len(), pack.is_empty()), (model.len(), model.is_empty()));
    let sum_bytes: usize = model.iter().map(|element| Encoded::new(element).len_bytes()).sum();
    assert_eq!(pack.len_bytes(), HEADER_BYTES + sum_bytes + 1);
    assert_eq!(Listpack::from_bytes(pack.as_bytes()).as_ref(), Some(pack));
    let places: Vec<At> = pack.places().collect();
    for (index, &at) in places.iter().enumerate() {
        assert_eq!(pack.seek(index as isize), Some(at));
        assert_eq!(pack.seek(index as isize - model.len() as isize), Some(at));
        assert!(pack.get(at).is(&model[index]));
        for step in 1..4 {
            let found = model.iter().step_by(step).position(|element| *element == model[index]);
            let found = found.map(|found| places[found * step]);
            assert_eq!(pack.find(pack.first(), &model[index], step), found, "step {step}");
        }
    }
    let len = model.len() as isize;
    for index in [len, len + 1, -len - 1, isize::MAX, isize::MIN] {
        assert_eq!(pack.seek(index), None, "{index}");
    }
    assert_eq!(pack.find(pack.first(), b"not there", 1), None);
}

proptest! {
    #![proptest_config(crate::soak::cases(128))]

    #[test]
    fn a_listpack_is_a_list_of_strings(steps in steps()) {
        let (mut pack, mut model) = (Listpack::new(), Model::new());
        let mut snapshots = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            if number % 7 == 0 {
                snapshots.push((pack.clone(), model.clone()));
            }
            apply(&mut pack, &mut model, step);
            if number % 5 == 0 {
                check(&pack, &model);
            }
        }
        check(&pack, &model);
        let mut builder = Builder::default();
        for _ in 0..2 {
            model.iter().for_each(|element| builder.push(element));
            prop_assert_eq!(&builder.finish(), &pack);
        }
        snapshots.iter().for_each(|(pack, model)| check(pack, model));
    }

    #[test]
    fn no_damaged_blob_makes_it_panic(
        elements in prop::collection::vec(elements(), 0..6),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut pack = Listpack::new();
        elements.iter().for_each(|element| pack.push_back(element));
        let mut blob = pack.as_bytes().to_vec();
        let cut = blob[..cut.index(blob.len())].to_vec();
        for (at, byte) in damage {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        let mut framed = (noise.len() as u32 + 7).to_le_bytes().to_vec();
        framed.extend([0xff, 0xff]);
        framed.extend(noise);
        framed.push(END);
        for blob in [blob, cut, framed] {
            if let Some(pack) = Listpack::from_bytes(&blob) {
                let model = pack.iter().map(|element| element.to_str().to_vec()).collect();
                check(&pack, &model);
            }
        }
    }
}

#[test]
fn the_blob_is_what_redis_writes() {
    let cases: [(&[u8], &[u8]); 12] = [
        (b"0", b"\x00\x01"),
        (b"127", b"\x7f\x01"),
        (b"128", b"\xc0\x80\x02"),
        (b"-1", b"\xdf\xff\x02"),
        (b"-4096", b"\xd0\x00\x02"),
        (b"4096", b"\xf1\x00\x10\x03"),
        (b"-32769", b"\xf2\xff\x7f\xff\x04"),
        (b"8388608", b"\xf3\x00\x00\x80\x00\x05"),
        (b"9223372036854775807", b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09"),
        (b"9223372036854775808", b"\x939223372036854775808\x14"),
        (b"", b"\x80\x01"),
        (b"ab", b"\x82ab\x03"),
    ];
    for (element, encoded) in cases {
        let mut pack = Listpack::new();
        pack.push_back(element);
        let mut expected = vec![7 + encoded.len() as u8, 0, 0, 0, 1, 0];
        expected.extend_from_slice(encoded);
        expected.push(END);
        assert_eq!(pack.as_bytes(), expected, "{:?}", String::from_utf8_lossy(element));
    }
}

#[test]
fn backlens_are_read_backwards_at_every_length() {
    for len in [1, 126, 127, 128, 16_377, 16_378, 2_097_145, 2_097_146, 3_000_000] {
        let mut pack = Listpack::new();
        pack.push_back(b"first");
        pack.push_back(&vec![b'x'; len]);
        pack.push_back(b"last");
        let lens: Vec<usize> = pack.iter_rev().map(|element| element.to_str().len()).collect();
        assert_eq!(lens, [4, len, 5]);
        assert!(Listpack::from_bytes(pack.as_bytes()).is_some());
    }
}

#[test]
fn more_elements_than_the_header_counts_are_counted() {
    const LEN: usize = 65_600;
    let mut pack = Listpack::new();
    (0..LEN).for_each(|value| pack.push_back(value.to_string().as_bytes()));
    assert_eq!(pack.as_bytes()[4..6], [0xff, 0xff]);
    assert_eq!(pack.len(), LEN);
    assert_eq!(pack.seek(-1).map(|at| pack.get(at)), Some(Element::Int(LEN as i64 - 1)));
    assert_eq!(pack.seek(LEN as isize), None);
    let first = pack.seek(10).expect("there are more");
    let after = pack.remove(first, LEN - 20);
    assert_eq!(after.map(|at| pack.get(at)), Some(Element::Int(LEN as i64 - 10)));
    assert_eq!(pack.len(), 20, "the count stays unknown, and right");
    assert!(Listpack::from_bytes(pack.as_bytes()).is_some());
}

#[test]
fn elements_that_others_encoded_longer_are_found() {
    // "5" as a string, in 13 and in 64 bits; "a" with two longer heads.
    for (element, text, shortest) in [
        (&b"\x815\x02"[..], b"5", &b"\x05\x01"[..]),
        (b"\xc0\x05\x02", b"5", b"\x05\x01"),
        (b"\xf4\x05\0\0\0\0\0\0\0\x09", b"5", b"\x05\x01"),
        (b"\xe0\x01a\x03", b"a", b"\x81a\x02"),
        (b"\xf0\x01\0\0\0a\x06", b"a", b"\x81a\x02"),
    ] {
        let framed = |element: &[u8]| [&[7 + element.len() as u8, 0, 0, 0, 1, 0], element, &[END]].concat();
        let pack = Listpack::from_bytes(&framed(element)).expect("it is sound");
        assert_eq!(pack.find(pack.first(), text, 1), pack.first());
        assert_eq!(pack.as_bytes(), framed(shortest));
    }
}
