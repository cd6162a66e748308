//! A module's type, as RDB files and payloads name it: 64 bits.
//!
//! ```text
//! bits 63..10   nine characters of six bits each, the first one highest: A-Z a-z 0-9 - _
//! bits  9..0    the version of what the module wrote
//! ```
//! Source: redis 7.2 `src/module.c` `moduleTypeEncodeId`.

use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NAME_CHARS: u32 = 9;
const VERSION_BITS: u32 = 10;

/// The type: `Display` is its name, `ReJSON-RL` for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleType(pub u64);

impl ModuleType {
    /// The version of what the module wrote.
    pub fn version(self) -> u16 {
        (self.0 & ((1 << VERSION_BITS) - 1)) as u16
    }
}

impl fmt::Display for ModuleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..NAME_CHARS).rev().try_for_each(|place| {
            let six_bits = (self.0 >> (VERSION_BITS + 6 * place)) as usize % ALPHABET.len();
            write!(f, "{}", char::from(ALPHABET.get(six_bits).copied().unwrap_or(b'?')))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nine_characters_of_six_bits() {
        for (id, name, version) in [
            (0, "AAAAAAAAA", 0),
            (u64::MAX, "_________", 1023),
            (1 << 10, "AAAAAAAAB", 0),
            (1 << 58 | 7, "BAAAAAAAA", 7),
            (0x3016_e5a2_89be_f804, "MBbloom--", 4),
            (0x45e2_5238_df91_2c03, "ReJSON-RL", 3),
        ] {
            let found = ModuleType(id);
            assert_eq!((found.to_string().as_str(), found.version()), (name, version), "{id:x}");
        }
    }
}
