//! Numbers as Redis reads and prints them.

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

/// 2^52. Source: redis 7.2 `src/util.c` `double2ll`.
const EXACT_INTEGERS: f64 = 4_503_599_627_370_496.0;

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
    // Whole numbers that a double holds exactly are printed as integers, however long.
    if value.fract() == 0.0 && value.abs() < EXACT_INTEGERS {
        text.extend(itoa::Buffer::new().format(value.abs() as i64).as_bytes());
        return text;
    }
    let (digits, len, power) = shortest_digits(value.abs());
    lay_out(&mut text, &digits[..len], power);
    text
}

/// The shortest digits of a positive finite double, and the power of ten of the last one.
fn shortest_digits(value: f64) -> ([u8; 20], usize, i32) {
    let mut buffer = zmij::Buffer::new();
    let printed = buffer.format_finite(value);
    let (mantissa, exponent) = printed.split_once(['e', 'E']).unwrap_or((printed, "0"));
    let mut power: i32 = exponent.trim_start_matches('+').parse().unwrap_or(0);
    let mut digits = [0; 20];
    let mut len = 0;
    let mut after_point = false;
    for byte in mantissa.bytes() {
        if byte == b'.' {
            after_point = true;
            continue;
        }
        power -= i32::from(after_point);
        // Leading zeros carry nothing; no shortest form has more than seventeen digits after them.
        if (len > 0 || byte != b'0') && len < digits.len() {
            digits[len] = byte;
            len += 1;
        } else if len == digits.len() {
            power += 1;
        }
    }
    while len > 1 && digits[len - 1] == b'0' {
        len -= 1;
        power += 1;
    }
    (digits, len, power)
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
            (1e16, "1e+16"),
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
