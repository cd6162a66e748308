//! The digits of a double, chosen by Grisu2 as Redis's `fpconv` chooses them.
//!
//! They always read back as the same double, but in about one case of four hundred they are not the shortest, or not
//! the nearest of the shortest: `1.5900000000000001e22`. Clients compare such texts and logs hold them, so an exact
//! algorithm would be the wrong one here.
//!
//! Source: F. Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers" (2010); redis 7.2
//! `deps/fpconv` for the choices that the paper leaves open: the power table's step, rounded products, the last digit.

/// The longest run of digits: no double needs more to be told from its neighbours.
pub(crate) const MAX_DIGITS: usize = 17;

/// Decimal digits (1..=9 first) and the power of ten of the last one.
pub(crate) struct Decimal {
    digits: [u8; MAX_DIGITS + 1],
    len: usize,
    pub(crate) power: i32,
}

impl Decimal {
    /// The digits as text.
    pub(crate) fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// A leading zero carries nothing, and an eighteenth digit is never asked for.
    fn push(&mut self, digit: u64) {
        if (self.len > 0 || digit > 0) && self.len < self.digits.len() {
            self.digits[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }
}

/// `fraction * 2^exponent`.
#[derive(Clone, Copy)]
struct Fp {
    fraction: u64,
    exponent: i32,
}

impl Fp {
    fn normalized(self) -> Self {
        let shift = self.fraction.leading_zeros();
        Fp { fraction: self.fraction << shift, exponent: self.exponent - shift as i32 }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.fraction) * u128::from(other.fraction) + (1 << 63);
        Fp { fraction: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
const EXPONENT_BIAS: i32 = 1023 + FRACTION_BITS as i32;

/// The digits of a positive finite double.
pub(crate) fn digits(value: f64) -> Decimal {
    let exact = unpack(value);
    let upper = Fp { fraction: 2 * exact.fraction + 1, exponent: exact.exponent - 1 }.normalized();
    // Below a power of two the neighbour is half as far away.
    let step = if exact.fraction == HIDDEN_BIT { 2 } else { 1 };
    let lower_exponent = exact.exponent - step;
    let lower = Fp {
        fraction: ((exact.fraction << step) - 1) << (lower_exponent - upper.exponent),
        exponent: upper.exponent,
    };
    let (power, power_exponent) = cached_power(upper.exponent);
    let upper = upper.times(power);
    let lower = lower.times(power);
    let value = exact.normalized().times(power);
    // The products are off by less than one: step inside, so that every text between reads back right.
    generate(value.fraction, upper.fraction - 1, lower.fraction + 1, -upper.exponent, -power_exponent)
}

fn unpack(value: f64) -> Fp {
    let bits = value.to_bits();
    let fraction = bits & (HIDDEN_BIT - 1);
    match (bits >> FRACTION_BITS) as i32 & 0x7ff {
        0 => Fp { fraction, exponent: 1 - EXPONENT_BIAS },
        biased => Fp { fraction: fraction | HIDDEN_BIT, exponent: biased - EXPONENT_BIAS },
    }
}

/// The power of ten that brings a binary exponent into -60..=-32, and its decimal exponent.
fn cached_power(exponent: i32) -> (Fp, i32) {
    let guess = (-f64::from(exponent + POWERS.len() as i32) * std::f64::consts::LOG10_2) as i32;
    let mut index = (guess - FIRST_POWER) / POWER_STEP;
    loop {
        let (fraction, power_exponent) = POWERS[index as usize];
        match exponent + power_exponent + 64 {
            ..=-61 => index += 1,
            -31.. => index -= 1,
            _ => return (Fp { fraction, exponent: power_exponent }, FIRST_POWER + index * POWER_STEP),
        }
    }
}

/// Takes digits from `upper` until what is left cannot be told from `value`; all three are scaled by two to `shift`.
fn generate(value: u64, upper: u64, lower: u64, shift: i32, power: i32) -> Decimal {
    let mut decimal = Decimal { digits: [0; MAX_DIGITS + 1], len: 0, power };
    let one = 1u64 << shift;
    let distance = upper - value;
    let mut delta = upper - lower;
    let mut whole = upper >> shift;
    let mut rest = upper & (one - 1);
    let mut unit = 1_000_000_000u64;
    for left in (0..10).rev() {
        decimal.push(whole / unit);
        whole %= unit;
        let remainder = (whole << shift) + rest;
        if remainder <= delta {
            decimal.power += left;
            round_last(&mut decimal, delta, remainder, unit << shift, distance);
            return decimal;
        }
        unit /= 10;
    }
    let mut scale = 1u64;
    loop {
        rest *= 10;
        delta *= 10;
        scale = scale.wrapping_mul(10);
        decimal.power -= 1;
        decimal.push(rest >> shift);
        rest &= one - 1;
        if rest < delta {
            // Redis lets this product wrap as well.
            round_last(&mut decimal, delta, rest, one, distance.wrapping_mul(scale));
            return decimal;
        }
    }
}

/// Lowers the last digit while that brings the text nearer to the value.
fn round_last(decimal: &mut Decimal, delta: u64, mut remainder: u64, unit: u64, distance: u64) {
    while remainder < distance
        && delta - remainder >= unit
        && (remainder + unit < distance || distance - remainder > remainder + unit - distance)
    {
        decimal.digits[decimal.len - 1] -= 1;
        remainder += unit;
    }
}

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// Ten to -348, -340, ... 340: sixty-four rounded bits and a binary exponent. The test below recomputes it.
#[rustfmt::skip]
const POWERS: [(u64, i32); 87] = [
    (0xfa8fd5a0081c0288, -1220), (0xbaaee17fa23ebf76, -1193),
    (0x8b16fb203055ac76, -1166), (0xcf42894a5dce35ea, -1140),
    (0x9a6bb0aa55653b2d, -1113), (0xe61acf033d1a45df, -1087),
    (0xab70fe17c79ac6ca, -1060), (0xff77b1fcbebcdc4f, -1034),
    (0xbe5691ef416bd60c, -1007), (0x8dd01fad907ffc3c, -980),
    (0xd3515c2831559a83, -954), (0x9d71ac8fada6c9b5, -927),
    (0xea9c227723ee8bcb, -901), (0xaecc49914078536d, -874),
    (0x823c12795db6ce57, -847), (0xc21094364dfb5637, -821),
    (0x9096ea6f3848984f, -794), (0xd77485cb25823ac7, -768),
    (0xa086cfcd97bf97f4, -741), (0xef340a98172aace5, -715),
    (0xb23867fb2a35b28e, -688), (0x84c8d4dfd2c63f3b, -661),
    (0xc5dd44271ad3cdba, -635), (0x936b9fcebb25c996, -608),
    (0xdbac6c247d62a584, -582), (0xa3ab66580d5fdaf6, -555),
    (0xf3e2f893dec3f126, -529), (0xb5b5ada8aaff80b8, -502),
    (0x87625f056c7c4a8b, -475), (0xc9bcff6034c13053, -449),
    (0x964e858c91ba2655, -422), (0xdff9772470297ebd, -396),
    (0xa6dfbd9fb8e5b88f, -369), (0xf8a95fcf88747d94, -343),
    (0xb94470938fa89bcf, -316), (0x8a08f0f8bf0f156b, -289),
    (0xcdb02555653131b6, -263), (0x993fe2c6d07b7fac, -236),
    (0xe45c10c42a2b3b06, -210), (0xaa242499697392d3, -183),
    (0xfd87b5f28300ca0e, -157), (0xbce5086492111aeb, -130),
    (0x8cbccc096f5088cc, -103), (0xd1b71758e219652c, -77),
    (0x9c40000000000000, -50), (0xe8d4a51000000000, -24),
    (0xad78ebc5ac620000, 3), (0x813f3978f8940984, 30),
    (0xc097ce7bc90715b3, 56), (0x8f7e32ce7bea5c70, 83),
    (0xd5d238a4abe98068, 109), (0x9f4f2726179a2245, 136),
    (0xed63a231d4c4fb27, 162), (0xb0de65388cc8ada8, 189),
    (0x83c7088e1aab65db, 216), (0xc45d1df942711d9a, 242),
    (0x924d692ca61be758, 269), (0xda01ee641a708dea, 295),
    (0xa26da3999aef774a, 322), (0xf209787bb47d6b85, 348),
    (0xb454e4a179dd1877, 375), (0x865b86925b9bc5c2, 402),
    (0xc83553c5c8965d3d, 428), (0x952ab45cfa97a0b3, 455),
    (0xde469fbd99a05fe3, 481), (0xa59bc234db398c25, 508),
    (0xf6c69a72a3989f5c, 534), (0xb7dcbf5354e9bece, 561),
    (0x88fcf317f22241e2, 588), (0xcc20ce9bd35c78a5, 614),
    (0x98165af37b2153df, 641), (0xe2a0b5dc971f303a, 667),
    (0xa8d9d1535ce3b396, 694), (0xfb9b7cd9a4a7443c, 720),
    (0xbb764c4ca7a44410, 747), (0x8bab8eefb6409c1a, 774),
    (0xd01fef10a657842c, 800), (0x9b10a4e5e9913129, 827),
    (0xe7109bfba19c0c9d, 853), (0xac2820d9623bf429, 880),
    (0x80444b5e7aa7cf85, 907), (0xbf21e44003acdd2d, 933),
    (0x8e679c2f5e44ff8f, 960), (0xd433179d9c8cb841, 986),
    (0x9e19db92b4e31ba9, 1013), (0xeb96bf6ebadf77d9, 1039),
    (0xaf87023b9bf0ee6b, 1066),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Little-endian words, as many as the table's largest number needs.
    fn times(number: &mut Vec<u32>, factor: u32) {
        let mut carry = 0u64;
        for word in number.iter_mut() {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            number.push(carry as u32);
        }
    }

    #[test]
    fn the_table_holds_powers_of_ten_rounded_to_64_bits() {
        for (index, &(fraction, exponent)) in POWERS.iter().enumerate() {
            let power = FIRST_POWER + index as i32 * POWER_STEP;
            // 10^power = fraction * 2^exponent, within half a unit: compare twice both sides as whole numbers.
            let (mut exact, mut table) = (vec![2u32], vec![1u32]);
            (0..power).for_each(|_| times(&mut exact, 10));
            (power..0).for_each(|_| times(&mut table, 10));
            (0..-exponent).for_each(|_| times(&mut exact, 2));
            (0..exponent).for_each(|_| times(&mut table, 2));
            let compare = |twice: u128| {
                let mut side = vec![0u32; table.len() + 4];
                for (at, &word) in table.iter().enumerate() {
                    let mut carry = u128::from(word) * twice;
                    for place in &mut side[at..] {
                        carry += u128::from(*place);
                        *place = carry as u32;
                        carry >>= 32;
                    }
                }
                let len = side.len().max(exact.len());
                let pad = |words: &[u32]| {
                    words.iter().copied().chain(std::iter::repeat(0)).take(len).collect::<Vec<_>>()
                };
                pad(&exact).iter().rev().cmp(pad(&side).iter().rev())
            };
            assert!(compare(2 * u128::from(fraction) - 1).is_ge(), "10^{power}");
            assert!(compare(2 * u128::from(fraction) + 1).is_le(), "10^{power}");
        }
    }
}
