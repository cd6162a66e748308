//! Strings, as the commands see them: bytes, whether a value holds them or the integer that they spell.

use std::ops::Deref;

use resp::number::{self, Text};

use crate::{CommandError, Str, Value};

/// The bytes of a string value, borrowed where they are stored.
#[derive(Debug)]
pub enum StringRef<'a> {
    /// Stored bytes.
    Bytes(&'a [u8]),
    /// An integer, printed.
    Int(Text),
}

impl Deref for StringRef<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            StringRef::Bytes(bytes) => bytes,
            StringRef::Int(text) => text.as_bytes(),
        }
    }
}

impl<'a> StringRef<'a> {
    /// The bytes of a string value.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub fn of(value: &'a Value) -> Result<Self, CommandError> {
        match value {
            Value::Str(bytes) => Ok(StringRef::Bytes(bytes)),
            Value::Int(integer) => Ok(StringRef::Int(number::format_i64(*integer))),
            _ => Err(CommandError::WrongType),
        }
    }

    /// As [`of`](Self::of); a key that is not there holds the empty string.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub fn of_key(value: Option<&'a Value>) -> Result<Self, CommandError> {
        value.map_or(Ok(StringRef::Bytes(&[])), StringRef::of)
    }
}

/// The bytes of a string value, to be changed in place; an integer is spelled out first.
///
/// # Errors
/// [`CommandError::WrongType`].
pub fn make_bytes(value: &mut Value) -> Result<&mut Str, CommandError> {
    if let Value::Int(integer) = *value {
        *value = Value::Str(Str::from(number::format_i64(integer).as_bytes()));
    }
    match value {
        Value::Str(bytes) => Ok(bytes),
        _ => Err(CommandError::WrongType),
    }
}

/// Lengthens a string with zero bytes to at least `len` bytes.
pub fn grow(bytes: &mut Str, len: usize) {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut more = len.saturating_sub(bytes.len());
    bytes.reserve(more);
    while more > 0 {
        let step = more.min(ZEROS.len());
        bytes.extend_from_slice(&ZEROS[..step]);
        more -= step;
    }
}
