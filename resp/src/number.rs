//! Numbers as Redis reads and prints them.

use crate::grisu;

/// Parses a signed integer as strictly as Redis does: no spaces, no `+`, no leading zero, no `-0`.
///
/// Source: redis 7.2 `src/util.c` `string2ll`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits fit in 64 unsigned bits.
        value = value * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// Parses a double as C's `strtod` does, but to the last byte: decimal or hexadecimal (`0x1.8p3`), `inf` and `infinity`
/// in any case, a sign. No blanks, no NaN, and nothing whose magnitude a double can only round to infinity or zero.
///
/// Source: redis 7.2 `src/util.c` `string2d`, `src/object.c` `getDoubleFromObject`.
///
/// ```
/// assert_eq!(resp::number::parse_f64(b"-Inf"), Some(f64::NEG_INFINITY));
/// assert_eq!(resp::number::parse_f64(b"0x1.8p3"), Some(12.0));
/// assert_eq!(resp::number::parse_f64(b"1e400"), None);
/// ```
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => parse_hex(digits)?,
        [b'0'..=b'9' | b'.', ..] => parse_decimal(magnitude)?,
        _ if magnitude.eq_ignore_ascii_case(b"inf") => f64::INFINITY,
        _ if magnitude.eq_ignore_ascii_case(b"infinity") => f64::INFINITY,
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

fn parse_decimal(text: &[u8]) -> Option<f64> {
    parse_short_decimal(text).or_else(|| parse_any_decimal(text))
}

/// Digits, and perhaps a point, as most scores are: a double holds them as an integer, and the power of ten that divides
/// it, too, so that the quotient is the only thing that is rounded.
#[inline]
fn parse_short_decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 15] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
    if text.len() > POWERS.len() || text == b"." {
        return None;
    }
    let (mut digits, mut point) = (0u64, text.len());
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point == text.len() => point = at,
            _ => return None,
        }
    }
    Some(digits as f64 / POWERS[text.len().saturating_sub(point + 1)])
}

fn parse_any_decimal(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_zero = || {
        text.iter().take_while(|byte| !matches!(byte, b'e' | b'E')).all(|byte| !matches!(byte, b'1'..=b'9'))
    };
    (value.is_finite() && (value != 0.0 || is_zero())).then_some(value)
}

/// Reads what follows `0x`, rounding to nearest, ties to even.
fn parse_hex(text: &[u8]) -> Option<f64> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (mut fraction, mut exponent, mut any, mut point) = (0u64, exponent, false, false);
    for &byte in mantissa {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = u64::from(char::from(byte).to_digit(16)?);
        any = true;
        if fraction >> 60 == 0 {
            fraction = fraction << 4 | digit;
            exponent -= 4 * i64::from(point);
        } else {
            // More than sixty bits are kept; what follows matters only by not being zero.
            fraction |= u64::from(digit != 0);
            exponent += 4 * i64::from(!point);
        }
    }
    if !any {
        return None;
    }
    compose(fraction, exponent)
}

/// A decimal exponent, held far from where arithmetic on it could overflow.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let exponent = digits.iter().fold(0i64, |sum, byte| (sum * 10 + i64::from(byte - b'0')).min(1 << 48));
    Some(sign * exponent)
}

/// `fraction * 2^exponent` as a double; its lowest bit may stand for more bits below it.
fn compose(fraction: u64, exponent: i64) -> Option<f64> {
    if fraction == 0 {
        return Some(0.0);
    }
    let shift = fraction.leading_zeros();
    let fraction = fraction << shift;
    // The value of the fraction's highest bit.
    let highest = exponent - i64::from(shift) + 63;
    // Subnormals keep fewer bits, down to none.
    let kept_bits = if highest < -1022 { 53 - (-1022 - highest) } else { 53 };
    if highest > 1023 || kept_bits < 0 {
        return None;
    }
    let dropped_bits = 64 - kept_bits as u32;
    let kept = fraction.checked_shr(dropped_bits).unwrap_or(0);
    let dropped = u128::from(fraction) & ((1 << dropped_bits) - 1);
    let half = 1u128 << (dropped_bits - 1);
    let up = dropped > half || (dropped == half && kept & 1 == 1);
    // A carry out of the fraction lands in the exponent, which is what rounding up means there.
    let biased = if highest < -1022 { 0 } else { (highest + 1022) as u64 };
    let value = f64::from_bits((biased << 52) + kept + u64::from(up));
    (value.is_finite() && value != 0.0).then_some(value)
}

/// Room for any double that [`format_f64`] prints, and for any integer.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    bytes: [u8; 40],
    len: usize,
}

impl Text {
    fn new() -> Self {
        Text { bytes: [0; 40], len: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.push(b'0');
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Prints an integer.
pub fn format_i64(value: i64) -> Text {
    let mut text = Text::new();
    text.extend(itoa::Buffer::new().format(value).as_bytes());
    text
}

/// 2^62, far beyond what a double holds digit by digit: `1e18` prints as an integer, `1e19` does not.
///
/// Source: redis 7.2 `src/util.c` `double2ll`.
const PRINTED_AS_INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0;

/// Prints a double with the fewest digits that read back as the same value, laid out as Redis 7.2 does: `3`, `0.1`,
/// `1e+20`, `1.5e-9`, `inf`, `-inf`, `nan`, `-0`.
///
/// Source: redis 7.2 `src/util.c` `d2string`, `deps/fpconv` (when to write an exponent).
pub fn format_f64(value: f64) -> Text {
    let mut text = Text::new();
    if value.is_nan() {
        text.extend(b"nan");
        return text;
    }
    if value.is_sign_negative() {
        text.push(b'-');
    }
    if value.is_infinite() {
        text.extend(b"inf");
        return text;
    }
    if value == 0.0 {
        text.push(b'0');
        return text;
    }
    if value.fract() == 0.0 && value.abs() <= PRINTED_AS_INTEGER_MAX {
        text.extend(itoa::Buffer::new().format(value.abs() as i64).as_bytes());
        return text;
    }
    let decimal = grisu::digits(value.abs());
    lay_out(&mut text, decimal.digits(), decimal.power);
    text
}

/// Writes `digits` times ten to `power`.
fn lay_out(text: &mut Text, digits: &[u8], power: i32) {
    let count = digits.len() as i32;
    let exponent = power + count - 1;
    if power >= 0 && exponent.abs() < count + 7 {
        text.extend(digits);
        text.zeros(power as usize);
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        let whole = count + power;
        if whole <= 0 {
            text.extend(b"0.");
            text.zeros(whole.unsigned_abs() as usize);
            text.extend(digits);
        } else {
            let (whole, fraction) = digits.split_at(whole as usize);
            text.extend(whole);
            text.push(b'.');
            text.extend(fraction);
        }
    } else {
        text.push(digits[0]);
        if digits.len() > 1 {
            text.push(b'.');
            text.extend(&digits[1..]);
        }
        text.extend(if exponent < 0 { b"e-" } else { b"e+" });
        text.extend(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_redis_7_2_prints_them() {
        for (value, expected) in [
            (3.0, "3"),
            (-3.5, "-3.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "1e+20"),
            (1e7, "10000000"),
            (1e8, "100000000"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (123456789.0, "123456789"),
            (1.5e-9, "1.5e-9"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (17179869184.0, "17179869184"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(std::str::from_utf8(format_f64(value).as_bytes()), Ok(expected));
        }
    }

    #[test]
    fn short_decimals_are_read_as_any_other() {
        let texts = ["0", "7", "00.50", ".5", "5.", "0.1", "123.75", "24999.25", "0.0000000000001"];
        let longest =
            ["123456789012345", "999999999999999", "1234567.1234567", ".99999999999999", "9007199254740.9"];
        for text in texts.iter().chain(&longest) {
            assert_eq!(parse_short_decimal(text.as_bytes()), text.parse().ok(), "{text}");
            assert_eq!(parse_short_decimal(text.as_bytes()), parse_any_decimal(text.as_bytes()), "{text}");
        }
        for thousandths in (0..3_000_000).step_by(7) {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            assert_eq!(parse_short_decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in [".", "1..2", "1e3", "1234567890123456", "1 ", "0x1"] {
            assert_eq!(parse_short_decimal(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_f64(b"."), None);
    }

    #[test]
    fn integers_are_read_strictly() {
        for text in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }
}
