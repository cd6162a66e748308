//! HyperLogLog: how many different elements were seen, give or take 0.81 %, in 12 KiB at most. It is a string, byte for
//! byte as Redis keeps it, so GET, SET and logs carry it between servers.
//!
//! ```text
//! header   "HYLL" | encoding: 0 dense, 1 sparse | 3 bytes 0 | cardinality u64 LE, its top bit set: count anew
//! dense    16,384 registers of 6 bits, each from the lowest free bit upwards
//! sparse   runs of registers, 16,384 in all
//!
//! 00xxxxxx            x + 1 registers of 0
//! 01xxxxxx yyyyyyyy   (x * 256 + y) + 1 registers of 0
//! 1vvvvvxx            x + 1 registers of v + 1
//! ```
//! An element's hash says which register it belongs to and how long a run of zeros it has seen: the register keeps the
//! longest. A string is sound if it has the header, and dense ones the exact length; whether the runs of a sparse one
//! add up shows when it is walked. A sparse one becomes dense when a register passes 32 or when it would grow beyond
//! `hll-sparse-max-bytes`.
//!
//! Source: redis 7.2 `src/hyperloglog.c`; the estimate is Ertl's, arXiv:1702.01284.

use smallvec::SmallVec;

use super::string::make_private;
use crate::{Random, Str};

/// Number of registers.
pub const REGISTERS: usize = 1 << REGISTER_BITS;

const REGISTER_BITS: u32 = 14;
/// Bits of a hash in which zeros are counted.
const RUN_BITS: u32 = 64 - REGISTER_BITS;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
/// What a HyperLogLog begins with.
pub const MAGIC: [u8; 4] = *b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Where the header's top byte of the cardinality is; its top bit says that the cardinality is out of date.
const CACHE_FLAG_AT: usize = 15;
const CACHE_STALE: u8 = 0x80;
/// What a sparse run can express.
const ZERO_MAX_LEN: usize = 64;
const VALUE_MAX: u8 = 32;
const VALUE_MAX_LEN: usize = 4;

/// The runs of a sparse HyperLogLog do not add up to all registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// A sound header and what is behind it.
#[derive(Debug, Clone, Copy)]
pub struct HyperLogLog<'a>(&'a [u8]);

impl<'a> HyperLogLog<'a> {
    /// Looks at a string; `None` if it is no HyperLogLog.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let sound = match header[4] {
            DENSE => bytes.len() == DENSE_BYTES,
            encoding => encoding == SPARSE,
        };
        (header.starts_with(&MAGIC) && sound).then_some(HyperLogLog(bytes))
    }

    /// Whether it is sparse.
    pub fn is_sparse(self) -> bool {
        self.0[4] == SPARSE
    }

    /// The cardinality in the header, unless it is out of date.
    pub fn cached(self) -> Option<u64> {
        let card = u64::from_le_bytes(*self.0[8..].first_chunk()?);
        (self.0[CACHE_FLAG_AT] & CACHE_STALE == 0).then_some(card)
    }

    /// The estimate.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn count(self) -> Result<u64, Corrupt> {
        let mut histogram = Histogram::default();
        self.each_run(|value, len| histogram.add(value, len))?;
        Ok(histogram.estimate())
    }

    /// Whether the runs add up.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn check(self) -> Result<(), Corrupt> {
        self.each_run(|_, _| {})
    }

    /// The runs of a sparse one.
    pub fn runs(self) -> Runs<'a> {
        Runs { bytes: &self.0[HEADER_BYTES..] }
    }

    /// The registers, in order, as value and number.
    fn each_run(self, mut each: impl FnMut(u8, usize)) -> Result<(), Corrupt> {
        if !self.is_sparse() {
            (0..REGISTERS).for_each(|index| each(dense_get(self.0, index), 1));
            return Ok(());
        }
        let (mut total, mut runs) = (0, self.runs());
        for run in &mut runs {
            total += run.len;
            if total > REGISTERS {
                return Err(Corrupt);
            }
            each(run.value, run.len);
        }
        if total == REGISTERS && runs.bytes.is_empty() { Ok(()) } else { Err(Corrupt) }
    }
}

/// Adjacent registers of one value, in a sparse HyperLogLog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// What they hold.
    pub value: u8,
    /// How many they are.
    pub len: usize,
    /// Bytes that the run takes.
    pub size_bytes: usize,
}

impl Run {
    /// Reads the run at the front; `None` at the end, and for one that is cut short.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&head, rest) = bytes.split_first()?;
        let low = usize::from(head & 0x3f);
        Some(match head >> 6 {
            0 => Run { value: 0, len: low + 1, size_bytes: 1 },
            1 => Run { value: 0, len: (low << 8 | usize::from(*rest.first()?)) + 1, size_bytes: 2 },
            _ => Run { value: (head >> 2 & 0x1f) + 1, len: usize::from(head & 3) + 1, size_bytes: 1 },
        })
    }

    /// Appends registers of one value, if there are any, in as few bytes as they take.
    fn write(out: &mut SmallVec<[u8; 8]>, value: u8, len: usize) {
        match (value, len) {
            (_, 0) => {}
            (0, 1..=ZERO_MAX_LEN) => out.push((len - 1) as u8),
            (0, _) => out.extend_from_slice(&[0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
            (value, len) => out.push(value_head(value, len)),
        }
    }
}

fn value_head(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Iterates over the runs of a sparse HyperLogLog.
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    bytes: &'a [u8],
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let run = Run::read(self.bytes)?;
        self.bytes = &self.bytes[run.size_bytes..];
        Some(run)
    }
}

/// One byte to a register: the union of several HyperLogLogs.
#[derive(Debug, Clone)]
pub struct Registers(Vec<u8>);

impl Default for Registers {
    /// Nothing was seen.
    fn default() -> Self {
        Registers(vec![0; REGISTERS])
    }
}

impl Registers {
    /// Takes over what another one has seen.
    ///
    /// # Errors
    /// [`Corrupt`]; nothing that these registers say can be relied on then.
    pub fn merge(&mut self, other: HyperLogLog<'_>) -> Result<(), Corrupt> {
        let mut at = 0;
        other.each_run(|value, len| {
            for register in &mut self.0[at..at + len] {
                *register = value.max(*register);
            }
            at += len;
        })
    }

    /// The estimate.
    pub fn count(&self) -> u64 {
        let mut histogram = Histogram::default();
        self.0.iter().for_each(|&value| histogram.add(value, 1));
        histogram.estimate()
    }

    /// The values by number.
    pub fn values(&self) -> &[u8] {
        &self.0
    }
}

/// How many registers hold each value.
#[derive(Debug)]
struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; 64])
    }
}

impl Histogram {
    #[inline]
    fn add(&mut self, value: u8, registers: usize) {
        self.0[usize::from(value & 63)] += registers as u32;
    }

    fn estimate(&self) -> u64 {
        /// 1 / (2 ln 2).
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        let registers = REGISTERS as f64;
        let of = |value: u32| f64::from(self.0[value as usize]);
        let mut z = registers * tau((registers - of(RUN_BITS + 1)) / registers);
        for value in (1..=RUN_BITS).rev() {
            z = (z + of(value)) * 0.5;
        }
        z += registers * sigma(of(0) / registers);
        (ALPHA * registers * registers / z).round() as u64
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let before = z;
        x *= x;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let before = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

// Changing one. The string has a sound header: see [`HyperLogLog::new`].

/// A sparse HyperLogLog that has seen nothing.
pub fn empty() -> Str {
    let mut bytes = Str::from_elem(0, HEADER_BYTES);
    let header = bytes.make_mut();
    header[..4].copy_from_slice(&MAGIC);
    header[4] = SPARSE;
    let mut runs = SmallVec::new();
    Run::write(&mut runs, 0, REGISTERS);
    bytes.extend_from_slice(&runs);
    bytes
}

/// Shows it an element; whether that changed a register.
///
/// # Errors
/// [`Corrupt`]; it is what it was.
pub fn add(bytes: &mut Str, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Corrupt> {
    let (index, run) = place(element);
    raise(bytes, index, run, sparse_max_bytes)
}

/// Raises a register to at least `value`, which is not 0; whether that changed it.
///
/// # Errors
/// [`Corrupt`]; it is what it was.
pub fn raise(bytes: &mut Str, index: usize, value: u8, sparse_max_bytes: usize) -> Result<bool, Corrupt> {
    if bytes[4] == SPARSE {
        return raise_sparse(bytes, index, value, sparse_max_bytes);
    }
    let raised = dense_get(bytes, index) < value;
    if raised {
        make_private(bytes);
        dense_set(bytes.make_mut(), index, value);
        invalidate(bytes);
    }
    Ok(raised)
}

/// Makes a sparse one dense; whether it was sparse.
///
/// # Errors
/// [`Corrupt`]; it is what it was.
pub fn make_dense(bytes: &mut Str) -> Result<bool, Corrupt> {
    let Some(hll) = HyperLogLog::new(bytes).filter(|hll| hll.is_sparse()) else { return Ok(false) };
    let mut dense = Str::from_elem(0, DENSE_BYTES);
    let to = dense.make_mut();
    to[..HEADER_BYTES].copy_from_slice(&bytes[..HEADER_BYTES]);
    to[4] = DENSE;
    let mut at = 0;
    hll.each_run(|value, len| {
        // Zeros are there already.
        let set = if value == 0 { at..at } else { at..at + len };
        set.for_each(|index| dense_set(to, index, value));
        at += len;
    })?;
    *bytes = dense;
    Ok(true)
}

/// Says that the cardinality in the header is out of date.
pub fn invalidate(bytes: &mut Str) {
    make_private(bytes);
    bytes.make_mut()[CACHE_FLAG_AT] |= CACHE_STALE;
}

/// Notes the cardinality in the header.
pub fn set_cached(bytes: &mut Str, cardinality: u64) {
    make_private(bytes);
    bytes.make_mut()[8..HEADER_BYTES].copy_from_slice(&cardinality.to_le_bytes());
}

/// The register that an element belongs to, and the run of zeros (with the 1 behind it) that it has.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur_hash_64a(element, 0xadc8_3b19);
    let run = (hash >> REGISTER_BITS | 1 << RUN_BITS).trailing_zeros() + 1;
    ((hash & (REGISTERS as u64 - 1)) as usize, run as u8)
}

fn murmur_hash_64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let tail = tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

/// A register's bits may lie in two bytes: the two as a number, and by how many bits to shift it.
#[inline]
fn dense_word(bytes: &[u8], index: usize) -> (usize, u16, usize) {
    let bit = index * 6;
    let at = HEADER_BYTES + bit / 8;
    // The last register ends with the string.
    let next = bytes.get(at + 1).copied().unwrap_or(0);
    (at, u16::from_le_bytes([bytes[at], next]), bit % 8)
}

#[inline]
fn dense_get(bytes: &[u8], index: usize) -> u8 {
    let (_, word, shift) = dense_word(bytes, index);
    (word >> shift) as u8 & 63
}

#[inline]
fn dense_set(bytes: &mut [u8], index: usize, value: u8) {
    let (at, word, shift) = dense_word(bytes, index);
    let [low, high] = (word & !(63 << shift) | u16::from(value & 63) << shift).to_le_bytes();
    bytes[at] = low;
    if let Some(next) = bytes.get_mut(at + 1) {
        *next = high;
    }
}

fn raise_sparse(bytes: &mut Str, index: usize, value: u8, max_bytes: usize) -> Result<bool, Corrupt> {
    if value > VALUE_MAX {
        make_dense(bytes)?;
        return raise(bytes, index, value, max_bytes);
    }
    let Found { run, at, first, before } = find(bytes, index).ok_or(Corrupt)?;
    if run.value >= value {
        return Ok(false);
    }
    let mut split = SmallVec::new();
    Run::write(&mut split, run.value, index - first);
    Run::write(&mut split, value, 1);
    Run::write(&mut split, run.value, first + run.len - 1 - index);
    let grown_bytes = bytes.len() + split.len() - run.size_bytes;
    if split.len() > run.size_bytes && grown_bytes > max_bytes {
        make_dense(bytes)?;
        return raise(bytes, index, value, max_bytes);
    }
    splice(bytes, at, run.size_bytes, &split);
    join(bytes, before.unwrap_or(at));
    invalidate(bytes);
    Ok(true)
}

/// The run that holds a register.
struct Found {
    run: Run,
    /// Its offset.
    at: usize,
    /// Its first register.
    first: usize,
    /// The offset of the run before it.
    before: Option<usize>,
}

fn find(bytes: &[u8], index: usize) -> Option<Found> {
    let (mut at, mut first, mut before) = (HEADER_BYTES, 0, None);
    loop {
        let run = Run::read(bytes.get(at..)?)?;
        if index < first + run.len {
            return Some(Found { run, at, first, before });
        }
        before = Some(at);
        at += run.size_bytes;
        first += run.len;
    }
}

/// Joins neighbours of one value, in the five steps from `at` on that Redis takes.
fn join(bytes: &mut Str, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = bytes.get(at..).and_then(Run::read) else { return };
        let next = bytes
            .get(at + 1..)
            .and_then(Run::read)
            .filter(|next| run.value > 0 && next.value == run.value && run.len + next.len <= VALUE_MAX_LEN);
        match next {
            Some(next) => splice(bytes, at, 2, &[value_head(run.value, run.len + next.len)]),
            None => at += run.size_bytes,
        }
    }
}

/// Puts bytes in the place of `removed` others; few more, if any.
fn splice(bytes: &mut Str, at: usize, removed: usize, with: &[u8]) {
    make_private(bytes);
    let old_len = bytes.len();
    if with.len() > removed {
        bytes.extend_from_slice(&with[removed..]);
    }
    let blob = bytes.make_mut();
    blob.copy_within(at + removed..old_len, at + with.len());
    blob[at..at + with.len()].copy_from_slice(with);
    bytes.truncate(old_len - removed + with.len());
}

/// PFSELFTEST: registers keep what they are set to, estimates of up to ten million elements are as good as they should
/// be, and both encodings agree.
///
/// # Errors
/// What failed.
pub fn self_test(random: &mut Random, sparse_max_bytes: usize) -> Result<(), String> {
    const CYCLES: usize = 1000;
    let mut dense = empty();
    make_dense(&mut dense).map_err(|Corrupt| "an empty one is corrupt")?;
    for _ in 0..CYCLES {
        test_registers(dense.make_mut(), random)?;
    }
    test_estimates(random.next_u64(), sparse_max_bytes)
}

fn test_registers(dense: &mut [u8], random: &mut Random) -> Result<(), String> {
    let expected: Vec<u8> = (0..REGISTERS).map(|_| random.next_u64() as u8 & 63).collect();
    expected.iter().enumerate().for_each(|(index, &value)| dense_set(dense, index, value));
    match (0..REGISTERS).find(|&index| dense_get(dense, index) != expected[index]) {
        Some(index) => {
            let (expected, found) = (expected[index], dense_get(dense, index));
            Err(format!("Register {index} should be {expected} but is {found}"))
        }
        None => Ok(()),
    }
}

fn test_estimates(seed: u64, sparse_max_bytes: usize) -> Result<(), String> {
    const ELEMENTS: u64 = 10_000_000;
    let (mut dense, mut either) = (empty(), empty());
    let corrupt = |Corrupt| "it became corrupt";
    make_dense(&mut dense).map_err(corrupt)?;
    let mut checkpoint = 1;
    for number in 1..=ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        add(&mut dense, &element, sparse_max_bytes).map_err(corrupt)?;
        add(&mut either, &element, sparse_max_bytes).map_err(corrupt)?;
        if number != checkpoint {
            continue;
        }
        checkpoint *= 10;
        let view = |bytes| HyperLogLog::new(bytes).ok_or("it lost its header");
        let (dense, either) = (view(&dense)?, view(&either)?);
        if number < sparse_max_bytes as u64 / 2 && !either.is_sparse() {
            return Err("sparse encoding not used".into());
        }
        let estimate = dense.count().map_err(corrupt)?;
        if estimate != either.count().map_err(corrupt)? {
            return Err("dense/sparse disagree".into());
        }
        // Six times the standard error; among ten elements a collision is likelier than that.
        let tolerance = (1.04 / (REGISTERS as f64).sqrt() * 6.0 * number as f64).ceil() as u64;
        let error = number.abs_diff(estimate);
        if error > if number == 10 { 1 } else { tolerance } {
            return Err(format!("Too big error. card:{number} abserr:{error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
