//! The 80-bit floats of x86 that INCRBYFLOAT and HINCRBYFLOAT add: C's `long double`, whatever machine this is.
//!
//! ```text
//! value = (-1)^sign * mantissa * 2^(exponent - 16383 - 63)      sign 1 bit | exponent 15 | mantissa 64, integer bit shown
//! ```
//! A double would not do: `INCRBYFLOAT` of 3 and 1.1 must answer 4.1, which 17 decimals of a double's sum do not say.
//! Source: redis 7.2 `src/util.c` `string2ld`, `ld2string` (`LD_STR_HUMAN`).

use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round, Status};

/// A number with 64 bits of mantissa.
#[derive(Debug, Clone, Copy)]
pub struct LongDouble(X87DoubleExtended);

/// Texts of this length and above are no numbers to Redis. Source: redis 7.2 `src/util.h` `MAX_LONG_DOUBLE_CHARS`.
const MAX_TEXT_BYTES: usize = 5 * 1024;

/// Exponents are clamped to this: no mantissa of [`MAX_TEXT_BYTES`] brings a greater one back into range.
const MAX_EXPONENT: usize = 99_999;

/// Decimals that are printed.
const DECIMALS: u32 = 17;

impl LongDouble {
    /// Reads what C's `strtold` reads in full: decimal or hexadecimal, with or without an exponent, `inf`. `None` for
    /// anything else, for not-a-number, and for what is too great or too small to hold.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_TEXT_BYTES {
            return None;
        }
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let value = match unsigned {
            _ if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") => {
                X87DoubleExtended::INFINITY
            }
            [b'0', b'x' | b'X', digits @ ..] => parse_finite("0x", digits, Radix::Hexadecimal)?,
            digits => parse_finite("", digits, Radix::Decimal)?,
        };
        Some(LongDouble(if negative { -value } else { value }))
    }

    /// The integer's value, exactly.
    pub fn from_i64(value: i64) -> Self {
        LongDouble(X87DoubleExtended::from_i128(i128::from(value)).value)
    }

    /// The double's value, exactly.
    pub fn from_f64(value: f64) -> Self {
        let double = Double::from_bits(u128::from(value.to_bits()));
        LongDouble(double.convert(&mut false).value)
    }

    /// The sum, rounded to the nearest, ties to even. `None` if it is infinite or not a number.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = (self.0 + other.0).value;
        sum.is_finite().then_some(LongDouble(sum))
    }

    /// The product with a factor, rounded up to an integer; the nearest one if it is beyond all of them.
    pub fn times_rounded_up(self, factor: i64) -> i64 {
        let product = (self.0 * LongDouble::from_i64(factor).0).value;
        product.to_i128_r(64, Round::TowardPositive, &mut false).value as i64
    }

    /// Prints a finite number with 17 decimals, less the zeros at the end: `3`, `0.1`, `-1.5`; never an exponent, so
    /// the greatest takes 4,933 digits. Tiny negative numbers are `0`.
    pub fn format(self) -> String {
        let bits = self.0.to_bits();
        let negative = bits >> 79 & 1 == 1;
        let exponent = (bits >> 64 & 0x7fff) as i32;
        let mantissa = bits as u64;
        // Denormal numbers have the exponent of the least normal ones.
        let power = exponent.max(1) - 16_383 - 63;
        let digits = match u32::try_from(power) {
            Ok(power) => whole_digits(mantissa, power),
            Err(_) => fixed_digits(mantissa, power.unsigned_abs()),
        };
        if negative && digits != "0" { format!("-{digits}") } else { digits }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Radix {
    Decimal,
    Hexadecimal,
}

impl Radix {
    fn is_digit(self, byte: u8) -> bool {
        match self {
            Radix::Decimal => byte.is_ascii_digit(),
            Radix::Hexadecimal => byte.is_ascii_hexdigit(),
        }
    }

    fn exponent_mark(self) -> u8 {
        match self {
            Radix::Decimal => b'e',
            Radix::Hexadecimal => b'p',
        }
    }
}

/// Reads `digits[.digits][mark[sign]digits]`, with a digit on at least one side of the point.
fn parse_finite(prefix: &str, text: &[u8], radix: Radix) -> Option<X87DoubleExtended> {
    let mark = text.iter().position(|byte| byte.to_ascii_lowercase() == radix.exponent_mark());
    let (mantissa, exponent) = match mark {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let points = mantissa.iter().filter(|&&byte| byte == b'.').count();
    let all_digits = mantissa.iter().all(|&byte| byte == b'.' || radix.is_digit(byte));
    if points > 1 || !all_digits || mantissa.len() == points {
        return None;
    }
    let (sign, exponent) = match exponent {
        Some([b'-', digits @ ..]) => ("-", clamp_exponent(digits)?),
        Some([b'+', digits @ ..]) | Some(digits) => ("", clamp_exponent(digits)?),
        None => ("", 0),
    };
    // In the form that the library reads, which wants an exponent behind hexadecimal digits.
    let mantissa = str::from_utf8(mantissa).ok()?;
    let mark = char::from(radix.exponent_mark());
    let text = format!("{prefix}{mantissa}{mark}{sign}{exponent}");
    let parsed = X87DoubleExtended::from_str_r(&text, Round::NearestTiesToEven).ok()?;
    let vanished = parsed.value.is_zero() && parsed.status.intersects(Status::INEXACT);
    (parsed.value.is_finite() && !vanished).then_some(parsed.value)
}

fn clamp_exponent(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |value: usize, digit: &u8| (value * 10 + usize::from(digit - b'0')).min(MAX_EXPONENT);
    Some(digits.iter().fold(0, add))
}

/// `mantissa * 2^power` in decimal.
fn whole_digits(mantissa: u64, power: u32) -> String {
    const LIMB: u64 = 1_000_000_000;
    /// The most by which a limb and its carry can be shifted within 64 bits.
    const SHIFT: u32 = 32;
    let mut limbs = vec![mantissa % LIMB, mantissa / LIMB % LIMB, mantissa / LIMB / LIMB];
    let mut left = power;
    while left > 0 {
        let shift = left.min(SHIFT);
        let mut carry = 0;
        for limb in &mut limbs {
            let value = (*limb << shift) + carry;
            *limb = value % LIMB;
            carry = value / LIMB;
        }
        while carry > 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
        left -= shift;
    }
    while limbs.len() > 1 && limbs.last() == Some(&0) {
        limbs.pop();
    }
    let (last, rest) = limbs.split_last().unwrap_or((&0, &[]));
    let mut digits = last.to_string();
    digits.extend(rest.iter().rev().map(|limb| format!("{limb:09}")));
    digits
}

/// `mantissa / 2^power` with [`DECIMALS`] decimals, rounded to the nearest, ties to even, less the zeros at the end.
fn fixed_digits(mantissa: u64, power: u32) -> String {
    const UNIT: u128 = 10u128.pow(DECIMALS);
    // Below 2^64 * 10^17 < 2^121, and what is less than half of the last decimal is nothing.
    if power > 121 {
        return "0".into();
    }
    let scaled = u128::from(mantissa).checked_shr(power).unwrap_or(0) * UNIT;
    let fraction = u128::from(mantissa) & low_bits(power);
    let product = fraction * UNIT;
    let (quotient, rest, half) = (product >> power, product & low_bits(power), 1u128 << (power - 1));
    let round_up = rest > half || (rest == half && quotient & 1 == 1);
    let total = scaled + quotient + u128::from(round_up);
    let digits = format!("{}.{:017}", total / UNIT, total % UNIT);
    digits.trim_end_matches('0').trim_end_matches('.').into()
}

fn low_bits(count: u32) -> u128 {
    (1 << count) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(left: &str, right: &str) -> Option<String> {
        let parse = |text: &str| LongDouble::parse(text.as_bytes());
        parse(left)?.checked_add(parse(right)?).map(LongDouble::format)
    }

    /// Answers of redis-server 7.0.15 on x86-64.
    #[test]
    fn sums_print_as_redis_prints_them() {
        for (left, right, expected) in [
            ("3", "1.1", "4.1"),
            ("1", "0.25", "1.25"),
            ("0.1", "0.2", "0.3"),
            ("17179869184", "1.5", "17179869185.5"),
            ("5.0e3", "2.0e2", "5200"),
            ("1.23", "-1.23", "0"),
            ("-1e-30", "0", "0"),
            ("0x1.8p1", "0", "3"),
            ("0xA", ".5", "10.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("1e22", "1", "10000000000000000000000"),
            ("0.000000000000000005", "0", "0"),
            ("0.000000000000000006", "0", "0.00000000000000001"),
        ] {
            assert_eq!(sum(left, right).as_deref(), Some(expected), "{left} + {right}");
        }
    }

    #[test]
    fn what_strtold_does_not_read_in_full_is_no_number() {
        for text in [
            "",
            " 1",
            "1 ",
            "+",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "0x",
            "0x.",
            "0xp1",
            "0x1p",
            "1.2.3",
            "nan",
            "-nan",
            "1_0",
            "++1",
            "+-1",
            "1e5000",
            "-1e5000",
            "1e-5000",
            "1e99999999999999999999",
            "0x1p99999999",
            "infin",
            "1,5",
            "é",
        ] {
            assert!(LongDouble::parse(text.as_bytes()).is_none(), "{text:?}");
        }
        for text in
            ["1.", ".1", "+1", "inf", "-Infinity", "0e99999999999999999999", "1E4932", "0X1P-16445", "00012"]
        {
            assert!(LongDouble::parse(text.as_bytes()).is_some(), "{text:?}");
        }
        assert!(LongDouble::parse(&[b'1'; MAX_TEXT_BYTES]).is_none());
    }

    #[test]
    fn infinite_sums_are_refused() {
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("inf", "-inf"), None);
        assert_eq!(sum("1.1e4932", "1.1e4932"), None);
    }

    #[test]
    fn the_greatest_number_prints_all_its_digits() {
        let text = sum("0x1.fffffffffffffffep16383", "0").expect("it is finite");
        assert_eq!(text.len(), 4_933);
        assert!(
            text.starts_with("118973149535723176502126385303097020516906332229462420044032373"),
            "{text}"
        );
    }
}
