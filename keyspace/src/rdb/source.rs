//! Where a reader's bytes come from: primitives of the format, an offset, and the checksum of what went by.
//!
//! Bytes are parsed in a copy of some of what the `BufRead` holds, and consumed there (and summed) together: a primitive
//! costs no call, be it for its bytes or for its checksum. [`Source::settle`] leaves the `BufRead` exactly behind the
//! last byte that was used.

use std::io::{self, BufRead};

use super::crc64::Crc64;
use super::error::ErrorKind;
use super::lzf;
use crate::STRING_BYTES_MAX;

/// Reserved before the bytes have come; beyond, room grows with what comes.
const RESERVE_BYTES: u64 = 64 * 1024;
/// Copied at once: the first levels of the cache hold as much.
const COPIED_BYTES: usize = 32 * 1024;

type Result<T> = std::result::Result<T, ErrorKind>;

/// A length, or the code of a string in another form.
enum Length {
    Plain(u64),
    Form(u8),
}

#[derive(Debug)]
pub(super) struct Source<R> {
    inner: R,
    /// The first bytes that `inner` has buffered.
    copied: Vec<u8>,
    /// How many of them are used.
    used: usize,
    /// Offset of the first of them.
    base: u64,
    crc: Crc64,
    sums: bool,
    packed: Vec<u8>,
}

impl<R: BufRead> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        let copied = Vec::new();
        Source { inner, copied, used: 0, base: 0, crc: Crc64::default(), sums: true, packed: Vec::new() }
    }

    /// Computes no checksum from here on.
    pub(super) fn stop_summing(&mut self) {
        self.sums = false;
    }

    pub(super) fn offset(&self) -> u64 {
        self.base + self.used as u64
    }

    /// Gives used bytes back to `inner`, summed, and forgets the others.
    pub(super) fn settle(&mut self) {
        if self.sums {
            self.crc.update(self.copied.get(..self.used).unwrap_or_default());
        }
        self.inner.consume(self.used);
        self.base += self.used as u64;
        self.used = 0;
        self.copied.clear();
    }

    /// The checksum of all bytes used so far.
    pub(super) fn checksum(&mut self) -> u64 {
        self.settle();
        self.crc.value()
    }

    /// What is copied and not used, at least one byte.
    #[inline]
    fn window(&mut self) -> Result<&[u8]> {
        if self.used == self.copied.len() {
            self.copy()?;
        }
        Ok(self.copied.get(self.used..).unwrap_or_default())
    }

    /// Copies what comes behind bytes that are all used.
    #[cold]
    fn copy(&mut self) -> Result<()> {
        self.settle();
        let buffered = fill(&mut self.inner)?;
        let count = buffered.len().min(COPIED_BYTES);
        self.copied.extend_from_slice(buffered.get(..count).unwrap_or_default());
        if count == 0 { Err(ErrorKind::UnexpectedEnd) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        let byte = self.window()?.first().copied().ok_or(ErrorKind::UnexpectedEnd)?;
        self.used += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if let Some(&bytes) = self.window()?.first_chunk::<N>() {
            self.used += N;
            return Ok(bytes);
        }
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// Appends the next `len` bytes to `out`.
    pub(super) fn bytes(&mut self, len: u64, out: &mut Vec<u8>) -> Result<()> {
        if len > STRING_BYTES_MAX {
            return Err(ErrorKind::Length(format!("a string of {len} bytes").into()));
        }
        out.reserve(len.min(RESERVE_BYTES) as usize);
        let mut left = len as usize;
        while left > 0 {
            let window = self.window()?;
            let step = window.len().min(left);
            out.extend_from_slice(window.get(..step).unwrap_or_default());
            self.used += step;
            left -= step;
        }
        Ok(())
    }

    fn length(&mut self) -> Result<Length> {
        let head = self.byte()?;
        Ok(match head {
            0x00..=0x3f => Length::Plain(u64::from(head)),
            0x40..=0x7f => Length::Plain(u64::from(head & 0x3f) << 8 | u64::from(self.byte()?)),
            0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            0xc0..=0xff => Length::Form(head & 0x3f),
            _ => return Err(ErrorKind::Length(format!("it begins with 0x{head:02x}").into())),
        })
    }

    /// A length that counts something.
    pub(super) fn count(&mut self) -> Result<u64> {
        match self.length()? {
            Length::Plain(count) => Ok(count),
            Length::Form(_) => Err(ErrorKind::Length("the code of a string in its place".into())),
        }
    }

    /// A string in any form, in place of what `out` holds.
    #[inline]
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        // Most are short, as they are, and here as a whole.
        if let Some((&len @ ..0x40, rest)) = self.window()?.split_first()
            && let Some(bytes) = rest.get(..usize::from(len))
        {
            out.extend_from_slice(bytes);
            self.used += 1 + usize::from(len);
            return Ok(());
        }
        self.any_string(out)
    }

    fn any_string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match self.length()? {
            Length::Plain(len) => self.bytes(len, out),
            Length::Form(0) => print(i64::from(i8::from_le_bytes(self.array()?)), out),
            Length::Form(1) => print(i64::from(i16::from_le_bytes(self.array()?)), out),
            Length::Form(2) => print(i64::from(i32::from_le_bytes(self.array()?)), out),
            Length::Form(3) => self.packed_string(out),
            Length::Form(form) => Err(ErrorKind::Length(format!("unknown string form {form}").into())),
        }
    }

    fn packed_string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let (packed_len, len) = (self.count()?, self.count()?);
        if len > STRING_BYTES_MAX || len / lzf::RATIO_MAX as u64 > packed_len {
            return Err(ErrorKind::Lzf);
        }
        // Most stand here as a whole.
        if let Some(packed) =
            self.copied.get(self.used..).and_then(|window| window.get(..packed_len as usize))
        {
            let is_whole = lzf::unpack(packed, len as usize, out);
            self.used += packed_len as usize;
            return if is_whole { Ok(()) } else { Err(ErrorKind::Lzf) };
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        self.bytes(packed_len, &mut packed)?;
        let is_whole = lzf::unpack(&packed, len as usize, out);
        // A rare giant's room is not kept.
        packed.shrink_to(RESERVE_BYTES as usize);
        self.packed = packed;
        if is_whole { Ok(()) } else { Err(ErrorKind::Lzf) }
    }

    /// A score as text: its length or one of three codes, and as many characters.
    pub(super) fn score_text(&mut self) -> Result<f64> {
        let score = match self.byte()? {
            255 => f64::NEG_INFINITY,
            254 => f64::INFINITY,
            253 => f64::NAN,
            len => {
                let mut text = Vec::new();
                self.bytes(u64::from(len), &mut text)?;
                resp::number::parse_f64(&text).unwrap_or(f64::NAN)
            }
        };
        number(score)
    }

    pub(super) fn score_binary(&mut self) -> Result<f64> {
        number(f64::from_le_bytes(self.array()?))
    }
}

fn number(score: f64) -> Result<f64> {
    if score.is_nan() { Err(ErrorKind::Score) } else { Ok(score) }
}

fn print(value: i64, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(resp::number::format_i64(value).as_bytes());
    Ok(())
}

fn fill<R: BufRead>(inner: &mut R) -> Result<&[u8]> {
    loop {
        match inner.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    // Buffered by now: what has come is returned without another read. The borrow cannot leave the loop.
    Ok(inner.fill_buf()?)
}
