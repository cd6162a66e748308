//! Both encodings against one byte to a register.

use proptest::prelude::*;

use super::*;

fn registers(bytes: &[u8]) -> Vec<u8> {
    let mut registers = Registers::default();
    registers.merge(HyperLogLog::new(bytes).expect("a header")).expect("sound");
    registers.values().to_vec()
}

#[test]
fn the_hash_is_murmur_hash_64a() {
    for (text, hash) in [
        ("", 0xd8df_ea65_85bc_9732),
        ("a", 0x53d2_470a_9b43_b1a7),
        ("hyperlog", 0x7014_45f4_d652_a918),
        ("more than eight", 0x9547_598e_c763_bd75),
    ] {
        assert_eq!(murmur_hash_64a(text.as_bytes(), 0xadc8_3b19), hash, "{text:?}");
    }
}

#[test]
fn an_empty_one_is_eighteen_bytes() {
    assert_eq!(&empty()[..], b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!(HyperLogLog::new(&empty()).map(|hll| (hll.cached(), hll.count())), Some((Some(0), Ok(0))));
}

#[test]
fn strings_without_a_sound_header_are_none() {
    let mut dense = empty();
    make_dense(&mut dense).expect("sound");
    assert!(HyperLogLog::new(&dense).is_some_and(|hll| !hll.is_sparse()));
    dense.push(0);
    let cases: [&[u8]; 5] = [
        b"",
        b"HYLL",
        &dense,
        b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
        b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
    ];
    for bytes in cases {
        assert!(HyperLogLog::new(bytes).is_none(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn runs_that_do_not_add_up_are_corrupt() {
    for runs in [&b""[..], b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f\xff\x80", b"\x7f\xff\x40", b"\x00"] {
        let mut bytes = Str::from(&empty()[..HEADER_BYTES]);
        bytes.extend_from_slice(runs);
        let hll = HyperLogLog::new(&bytes).expect("a header");
        assert_eq!((hll.count(), hll.check()), (Err(Corrupt), Err(Corrupt)), "{}", runs.escape_ascii());
        let before = bytes.clone();
        assert_eq!(make_dense(&mut bytes), Err(Corrupt));
        assert_eq!(raise(&mut bytes, REGISTERS - 1, 33, 3000), Err(Corrupt));
        assert_eq!(bytes, before);
    }
}

#[test]
fn estimates_are_within_their_error() {
    test_estimates_up_to(20_000);
}

fn test_estimates_up_to(elements: u64) {
    let mut bytes = empty();
    for number in 1..=elements {
        add(&mut bytes, &number.to_le_bytes(), 3000).expect("sound");
        if number.is_power_of_two() {
            let estimate = HyperLogLog::new(&bytes).expect("a header").count().expect("sound");
            assert!(estimate.abs_diff(number) as f64 <= 1.0 + number as f64 * 0.05, "{estimate} of {number}");
        }
    }
}

proptest! {
    #![proptest_config(crate::soak::cases(32))]

    /// Registers that are few apart make runs meet, split and join.
    #[test]
    fn a_sparse_one_holds_what_registers_hold(
        raises in prop::collection::vec((0usize..60, 1u8..34), 1..100),
        max_bytes in 20usize..80,
    ) {
        let (mut bytes, mut model) = (empty(), vec![0; REGISTERS]);
        for (place, value) in raises {
            let index = if place < 30 { place } else { REGISTERS - 1 - (place - 30) * 3 };
            let raised = model[index] < value;
            prop_assert_eq!(raise(&mut bytes, index, value, max_bytes), Ok(raised));
            model[index] = value.max(model[index]);
            prop_assert_eq!(&registers(&bytes), &model);
            prop_assert!(bytes.len() <= max_bytes || bytes.len() == DENSE_BYTES);
        }
        let estimate = HyperLogLog::new(&bytes).and_then(|hll| hll.count().ok());
        let mut union = Registers::default();
        union.merge(HyperLogLog::new(&bytes).expect("a header")).expect("sound");
        prop_assert_eq!(estimate, Some(union.count()));
        make_dense(&mut bytes).expect("sound");
        prop_assert_eq!(HyperLogLog::new(&bytes).and_then(|hll| hll.count().ok()), estimate);
    }

    #[test]
    fn no_bytes_make_it_panic(
        runs in prop::collection::vec(any::<u8>(), 0..40),
        index in 0..REGISTERS,
        value in 1u8..52,
    ) {
        let mut bytes = Str::from(&empty()[..HEADER_BYTES]);
        bytes.extend_from_slice(&runs);
        let sound = HyperLogLog::new(&bytes).is_some_and(|hll| hll.check().is_ok());
        let raised = raise(&mut bytes, index, value, 30);
        prop_assert!(raised.is_ok() || !sound);
    }
}
