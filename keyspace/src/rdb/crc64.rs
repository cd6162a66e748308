//! The checksum of RDB files and payloads: CRC-64 with Jones's polynomial, reflected, from zero.

use crc_fast::{CrcAlgorithm, Digest};

/// A checksum in the making.
#[derive(Debug, Clone, Copy)]
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }
}

impl Crc64 {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Crc64::default();
        crc.update(bytes);
        crc.value()
    }
}

#[cfg(test)]
mod tests {
    use super::Crc64;

    #[test]
    fn the_check_value_is_that_of_redis() {
        assert_eq!(Crc64::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(Crc64::of(b""), 0, "no bytes, no checksum");
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| (n * 7) as u8).collect();
        for cut in [0, 1, 15, 16, 17, 255, 256, 4999, 5000] {
            let mut crc = Crc64::default();
            crc.update(&bytes[..cut]);
            crc.update(&bytes[cut..]);
            assert_eq!(crc.value(), Crc64::of(&bytes), "{cut}");
        }
    }
}
