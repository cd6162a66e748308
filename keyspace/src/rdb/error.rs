//! What can be wrong with an RDB file or payload.

use std::borrow::Cow;
use std::fmt;
use std::io;

use thiserror::Error;

use super::ModuleType;

/// Why reading stopped, and where: nothing behind `offset_bytes` was looked at.
#[derive(Debug, Error)]
#[error("{kind}, at byte {offset_bytes}{place}", place = Place(self))]
pub struct Error {
    /// How far the bytes were understood.
    pub offset_bytes: u64,
    /// The name of the value's type, inside one.
    pub type_name: Option<&'static str>,
    /// The key, once it was read.
    pub key: Option<Vec<u8>>,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What an error says of the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A file of a known version is not as it was written.
    Damaged,
    /// It is sound as far as it was read, but what comes next has no place here.
    Unsupported,
    /// It is no file of a known version, or could not be read.
    Unknown,
}

impl Error {
    /// What it says of the file.
    pub fn verdict(&self) -> Verdict {
        match self.kind {
            ErrorKind::Io(_) | ErrorKind::Signature | ErrorKind::Version(_) => Verdict::Unknown,
            ErrorKind::Unsupported(_) | ErrorKind::Module(_) => Verdict::Unsupported,
            _ => Verdict::Damaged,
        }
    }

    /// The line of the server's log about it, which begins as Redis's does unless nothing is wrong with the data.
    pub fn report(&self) -> String {
        match self.verdict() {
            Verdict::Unsupported => format!("RDB data that are sound, but have no place here: {self}"),
            Verdict::Damaged | Verdict::Unknown => format!("Internal error in RDB reading: {self}"),
        }
    }
}

struct Place<'a>(&'a Error);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.0.type_name {
            write!(f, " (type {name}")?;
            if let Some(key) = &self.0.key {
                write!(f, ", key '{}'", key.escape_ascii())?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source failed.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
    /// The bytes end inside something.
    #[error("unexpected end of the RDB data")]
    UnexpectedEnd,
    /// It does not begin as an RDB file does.
    #[error("wrong signature trying to load DB from file")]
    Signature,
    /// A version that this reader does not know.
    #[error("can't handle RDB format version {0}")]
    Version(String),
    /// A byte that is neither an opcode nor a type.
    #[error("unknown RDB type or opcode {0}")]
    UnknownType(u8),
    /// Something that has a meaning, which is not supported here.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A value of a module.
    #[error("values of modules are not supported: this one is of '{0}'")]
    Module(ModuleType),
    /// A length that cannot be one, by its first byte or by its size.
    #[error("impossible length: {0}")]
    Length(Cow<'static, str>),
    /// A compressed string that does not unpack to what it claims.
    #[error("invalid LZF compressed string")]
    Lzf,
    /// A blob that is damaged, by the name that Redis's log has for it.
    #[error("{0} integrity check failed")]
    Blob(&'static str),
    /// A blob with a member or a field that is there twice.
    #[error("{0} integrity check failed: listpack with dup elements")]
    Repeats(&'static str),
    /// A member or a field that is there twice, outside of a blob.
    #[error("Duplicate {0} detected")]
    Duplicate(&'static str),
    /// What a group of a stream and its consumers say of pending entries, which does not fit together.
    #[error("{0}")]
    Pending(&'static str),
    /// A collection without elements, where a key must have some.
    #[error("a collection without elements")]
    Empty,
    /// A payload goes on behind its value.
    #[error("bytes behind the value")]
    Trailing,
    /// A score that is no number.
    #[error("sorted set with a score that is not a number")]
    Score,
    /// The checksum does not fit: some byte has changed.
    #[error("RDB CRC error: wrong RDB checksum, expected {expected:x}, got {found:x}")]
    Checksum {
        /// What the file says.
        expected: u64,
        /// What its bytes give.
        found: u64,
    },
}
