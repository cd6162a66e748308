//! DUMP's payloads: one value with a footer of version and checksum.

use thiserror::Error;

use super::crc64::Crc64;
use super::decode::{Decoder, Shapes};
use super::error::ErrorKind;
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
    /// The value.
    #[error("Bad data format")]
    Value,
}

/// The payload of a value.
pub fn dump(value: ValueRef<'_>) -> Vec<u8> {
    let mut writer = Writer::bare(Options { compress: true, checksum: false });
    let mut payload = Vec::new();
    // Writing to a vector does not fail; nor does a value have another length than it says.
    let _ = writer.typed_value(value, None, &mut payload).and_then(|()| writer.drain(&mut payload));
    sealed(payload)
}

/// A type and its value with the footer.
pub(crate) fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(&VERSION.to_le_bytes());
    body.extend_from_slice(&Crc64::of(&body).to_le_bytes());
    body
}

/// The value of a payload.
///
/// # Errors
/// The footer is checked first.
pub fn restore(payload: &[u8], shapes: Shapes) -> Result<Value, PayloadError> {
    let body = checked_body(payload).ok_or(PayloadError::Footer)?;
    value(body, shapes).ok().flatten().ok_or(PayloadError::Value)
}

fn checked_body(payload: &[u8]) -> Option<&[u8]> {
    let (summed, crc) = payload.split_last_chunk::<8>()?;
    let (body, version) = summed.split_last_chunk::<2>()?;
    let version = u16::from_le_bytes(*version);
    let is_known = version <= VERSION_MAX || version == VALKEY_VERSION;
    (is_known && u64::from_le_bytes(*crc) == Crc64::of(summed)).then_some(body)
}

fn value(body: &[u8], shapes: Shapes) -> Result<Option<Value>, ErrorKind> {
    let mut source = Source::new(body);
    source.stop_summing();
    let code = source.byte()?;
    let known = Type::of(code).ok_or(ErrorKind::UnknownType(code))?;
    let mut decoder = Decoder::new(shapes);
    let decoded = decoder.value(known.form, &mut source)?;
    let is_whole = source.offset() == body.len() as u64;
    Ok(decoded.filter(|_| is_whole).map(|decoded| decoder.view(decoded).into_value()))
}
