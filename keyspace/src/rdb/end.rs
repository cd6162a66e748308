//! The end that makes an RDB of the start of a damaged one.

use std::io::{self, Read};

use super::crc64::Crc64;
use super::opcode;
use super::read::{HEADER_BYTES, version};

/// Versions below have no checksum.
pub(super) const CHECKSUM_SINCE: u16 = 5;

const CHUNK_BYTES: usize = 64 * 1024;

/// What `start` lacks, which is an RDB up to [the end of an item](super::Reader::sound_bytes).
///
/// # Errors
/// Those of reading, and when it does not begin as an RDB of a known version does.
pub fn end_of(mut start: impl Read) -> io::Result<Vec<u8>> {
    let (mut header, mut crc) = ([0; HEADER_BYTES], Crc64::default());
    start.read_exact(&mut header)?;
    let version =
        version(&header).map_err(|kind| io::Error::new(io::ErrorKind::InvalidData, kind.to_string()))?;
    crc.update(&header);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match start.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        crc.update(chunk.get(..count).unwrap_or_default());
    }
    let mut end = vec![opcode::EOF];
    crc.update(&end);
    if version >= CHECKSUM_SINCE {
        end.extend_from_slice(&crc.value().to_le_bytes());
    }
    Ok(end)
}
