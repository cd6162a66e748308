//! Numbers against what real servers printed and accepted; see fixtures/README.md.

use proptest::prelude::*;
use resp::number::{format_f64, format_i64, parse_f64, parse_i64};

fn bits(hex: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(hex, 16).unwrap())
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.strip_prefix('-').unwrap_or(hex);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn doubles_print_as_a_real_server_printed_them() {
    let mut lines = 0;
    for line in include_str!("../fixtures/format_f64.txt").lines() {
        let (value, expected) = line.split_once(' ').unwrap();
        assert_eq!(std::str::from_utf8(format_f64(bits(value)).as_bytes()), Ok(expected), "{value}");
        lines += 1;
    }
    assert_eq!(lines, 750);
}

#[test]
fn doubles_are_read_as_a_real_server_read_them() {
    let mut refused = 0;
    for line in include_str!("../fixtures/parse_f64.txt").lines() {
        let (text, expected) = line.split_once(' ').unwrap();
        let text = bytes(text);
        let value =
            parse_f64(&text).map_or("refused".to_owned(), |value| format!("{:016x}", value.to_bits()));
        assert_eq!(value, expected, "{:?}", String::from_utf8_lossy(&text));
        refused += usize::from(value == "refused");
    }
    assert!(refused > 100);
}

#[test]
fn a_negative_zero_keeps_its_sign() {
    assert_eq!(parse_f64(b"-0").map(f64::to_bits), Some((-0.0f64).to_bits()));
}

#[test]
fn rows_of_digits_are_read_to_the_last_one_however_long() {
    for text in [
        "0",
        "007",
        "999999999999999",
        "9999999999999999",
        "123456789012345678901234567890",
        "12345678901234.5",
    ] {
        assert_eq!(parse_f64(text.as_bytes()), text.parse().ok());
    }
}

#[test]
fn bytes_that_are_not_text_are_no_number() {
    for text in [&b"\xff"[..], b"1\xff", b"1\0", b"0x\xff", b"\xd9\xa1"] {
        assert_eq!(parse_f64(text), None);
        assert_eq!(parse_i64(text), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16 * ProptestConfig::default().cases))]

    #[test]
    fn every_double_reads_back_from_its_text(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan());
        let text = format_f64(value);
        prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits));
    }

    #[test]
    fn every_integer_reads_back_from_its_text(value: i64) {
        prop_assert_eq!(parse_i64(format_i64(value).as_bytes()), Some(value));
    }

    #[test]
    fn integers_are_accepted_only_in_the_form_they_are_printed(text in "[-+ 0-9]{0,21}") {
        if let Some(value) = parse_i64(text.as_bytes()) {
            prop_assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn no_text_breaks_the_double_parser(text in "[-+0-9a-fxXpP.]{0,40}") {
        let hexadecimal = text.contains(['x', 'X']);
        let std: Option<f64> = text.parse().ok().filter(|value: &f64| value.is_normal());
        if let (false, Some(value)) = (hexadecimal, std) {
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(value));
        } else {
            let _ = parse_f64(text.as_bytes());
        }
    }
}
