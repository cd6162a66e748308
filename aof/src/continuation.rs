//! The line that opens an incr which took over from a retired one, and what it says about that file.
//!
//! ```text
//! #EV1-CONT 1 5a 0c7d2f19\r\n
//!           | |  '-- crc32c of the line before it, the blank included: eight digits
//!           | '----- where the content of that file ends, in bytes; whatever stands behind that stands again here
//!           '------- the number of the incr that it took over from
//! ```
//!
//! Hexadecimal, lower case, nothing before the first digit that counts; at most [`MAX_LINE_BYTES`]. Every Redis >= 7 and
//! Valkey skips it as the annotation that it is. A line that begins with `#EV1-` and is not exactly that is damage: a
//! file is listed only after its first line is durable, so no crash tears it.
//!
//! This is the first of the *file fields* that the `#EV1` block line will carry (epoch, own number, base; number, length
//! and crc of the predecessor): its two fields are the number and the length among them, so a block line that has them
//! replaces this one.

use std::io::Read;

use crate::dir::Directory;
use crate::error::{Error, io_error};
use crate::fs::Reader;
use crate::manifest::{Entry, FileSeq};

/// The longest such line, in bytes: name, two numbers of 16 digits, checksum, three blanks, CR LF.
pub(crate) const MAX_LINE_BYTES: u64 = 9 + 16 + 16 + 8 + 3 + 2;

/// Whatever begins like this is one of ours; the form that is known is `CONT`.
const OURS: &[u8] = b"#EV1-";

/// From which file an incr took over, and where the content of that file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub(crate) predecessor: FileSeq,
    pub(crate) end_bytes: u64,
}

impl Continuation {
    pub(crate) fn line(self) -> String {
        let Continuation { predecessor, end_bytes } = self;
        let head = format!("#EV1-CONT {predecessor:x} {end_bytes:x} ");
        let crc = crc32c(head.as_bytes());
        format!("{head}{crc:08x}\r\n")
    }

    /// What the first bytes of a file say; `None` if it took over from no other.
    pub(crate) fn parse(head: &[u8]) -> Result<Option<Continuation>, &'static str> {
        if !head.starts_with(OURS) {
            return Ok(None);
        }
        let end = head.iter().position(|&byte| byte == b'\n').ok_or("a first line without an end")?;
        let line = std::str::from_utf8(&head[..=end]).map_err(|_| "a damaged first line")?;
        let mut words = line.split(' ').skip(1);
        let mut number = || words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
        let (Some(predecessor), Some(end_bytes)) = (number(), number()) else {
            return Err("a damaged first line");
        };
        let read = Continuation { predecessor, end_bytes };
        // There is one way to write it, and that includes the checksum.
        if read.line() == line { Ok(Some(read)) } else { Err("a damaged first line") }
    }
}

/// A file of the log, as far as it counts.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) entry: Entry,
    pub(crate) len_bytes: u64,
    /// Where its content ends, if another took over from it.
    pub(crate) end_bytes: Option<u64>,
}

impl Part {
    pub(crate) fn counted_bytes(&self) -> u64 {
        self.end_bytes.unwrap_or(self.len_bytes)
    }

    /// Bytes behind its end: whoever took over crashed before it cut them.
    pub(crate) fn repeated_bytes(&self) -> u64 {
        self.len_bytes - self.counted_bytes()
    }
}

impl Directory {
    /// The files to be replayed, and how much of each.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Io`]; [`Error::BadFormat`] for a damaged first line; [`Error::WrongPredecessor`];
    /// [`Error::Shortened`].
    pub(crate) fn parts(&self) -> Result<Vec<Part>, Error> {
        let bases = usize::from(self.manifest().base.is_some());
        let mut parts: Vec<Part> = Vec::new();
        for entry in self.manifest().replayed() {
            let len_bytes = self.len_bytes(entry)?;
            if parts.len() >= bases
                && let Some(continuation) = self.continuation(entry)?
            {
                self.end_predecessor(&mut parts[bases..], entry, continuation)?;
            }
            parts.push(Part { entry: entry.clone(), len_bytes, end_bytes: None });
        }
        Ok(parts)
    }

    fn continuation(&self, entry: &Entry) -> Result<Option<Continuation>, Error> {
        let path = self.path(&entry.name);
        let file = self.fs().open_read(&path).map_err(io_error("open", &path))?;
        let mut head = Vec::new();
        Reader(file).take(MAX_LINE_BYTES).read_to_end(&mut head).map_err(io_error("read", &path))?;
        let damaged = |found: &str| Error::BadFormat { path, offset_bytes: 0, found: found.to_owned() };
        Continuation::parse(&head).map_err(damaged)
    }

    /// Empty incrs may stand between the two: a rotation that was under way leaves one, and its number is lower. None
    /// need stand before `entry` where there is a base, for that may have superseded them.
    fn end_predecessor(
        &self,
        incrs: &mut [Part],
        entry: &Entry,
        continuation: Continuation,
    ) -> Result<(), Error> {
        let Continuation { predecessor, end_bytes } = continuation;
        let before = incrs.iter_mut().rfind(|part| part.entry.seq == predecessor || part.len_bytes > 0);
        match before {
            Some(part) if part.entry.seq == predecessor && part.len_bytes < end_bytes => {
                Err(Error::Shortened {
                    path: self.path(&part.entry.name),
                    expected_bytes: end_bytes,
                    found_bytes: part.len_bytes,
                    successor: entry.name.clone(),
                })
            }
            Some(part) if part.entry.seq == predecessor => {
                part.end_bytes = Some(end_bytes);
                Ok(())
            }
            None if self.manifest().base.is_some() && predecessor < entry.seq => Ok(()),
            other => Err(Error::WrongPredecessor {
                path: self.path(&entry.name),
                expected: predecessor,
                found: other.map(|part| part.entry.name.clone()),
            }),
        }
    }
}

/// CRC-32C, bit by bit: it is for one short line per failure.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
}

#[cfg(all(test, not(loom)))]
mod tests;
