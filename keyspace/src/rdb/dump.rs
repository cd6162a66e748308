//! DUMP's payloads: one value with a footer of version and checksum.

use thiserror::Error;

use super::crc64::Crc64;
use super::decode::{Decoder, Shapes};
use super::error::{Error, ErrorKind};
use super::source::Source;
use super::write::{Options, Writer};
use super::{Type, VALKEY_VERSION, VERSION, VERSION_MAX};
use crate::{Value, ValueRef};

/// Why RESTORE refuses a payload.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// The footer: another version, or a byte that has changed.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// The value: what is wrong with it.
    #[error("Bad data format")]
    Value(#[source] Error),
}

/// Version and checksum.
const FOOTER_BYTES: usize = 2 + 8;

/// The payload of a value. `compress`: `rdbcompression`.
pub fn dump(value: ValueRef<'_>, compress: bool) -> Vec<u8> {
    let mut writer = Writer::bare(Options { compress, checksum: false });
    let mut payload = Vec::new();
    // Writing to a vector does not fail; nor does a value have another length than it says.
    let _ = writer.typed_value(value, None, &mut payload).and_then(|()| writer.drain(&mut payload));
    sealed(payload)
}

/// A type and its value with the footer.
pub(crate) fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    // A giant is not to take twice its room for this.
    body.reserve_exact(FOOTER_BYTES);
    body.extend_from_slice(&VERSION.to_le_bytes());
    body.extend_from_slice(&Crc64::of(&body).to_le_bytes());
    body
}

/// The same payload with the checksum that its bytes have.
pub(crate) fn resealed(payload: &[u8]) -> Vec<u8> {
    match payload.split_last_chunk::<8>() {
        Some((summed, _)) => [summed, &Crc64::of(summed).to_le_bytes()].concat(),
        None => payload.to_vec(),
    }
}

/// The value of a payload.
///
/// # Errors
/// The footer is checked first.
pub fn restore(payload: &[u8], shapes: Shapes) -> Result<Value, PayloadError> {
    let (body, version) = checked_body(payload).ok_or(PayloadError::Footer)?;
    let mut source = Source::new(body);
    source.stop_summing();
    let mut type_name = None;
    value(&mut source, body.len(), version, shapes, &mut type_name).map_err(|kind| {
        PayloadError::Value(Error { offset_bytes: source.offset(), type_name, key: None, kind })
    })
}

/// A type and its value, and the version of the format.
fn checked_body(payload: &[u8]) -> Option<(&[u8], u16)> {
    let (summed, crc) = payload.split_last_chunk::<8>()?;
    let (body, version) = summed.split_last_chunk::<2>()?;
    let version = u16::from_le_bytes(*version);
    let is_known = version <= VERSION_MAX || version == VALKEY_VERSION;
    (is_known && u64::from_le_bytes(*crc) == Crc64::of(summed)).then_some((body, version))
}

/// Reads a type and its value, and notes the type's name as soon as it is known.
fn value(
    source: &mut Source<&[u8]>,
    len_bytes: usize,
    version: u16,
    shapes: Shapes,
    type_name: &mut Option<&'static str>,
) -> Result<Value, ErrorKind> {
    let code = source.byte()?;
    let known = Type::of(code, version).ok_or(ErrorKind::UnknownType(code))?;
    *type_name = Some(known.name);
    let mut decoder = Decoder::new(shapes);
    let decoded = decoder.value(known.form, source)?.ok_or(ErrorKind::Empty)?;
    if source.offset() != len_bytes as u64 {
        return Err(ErrorKind::Trailing);
    }
    Ok(decoder.view(decoded).into_value())
}
