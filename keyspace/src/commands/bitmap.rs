//! The bitmap commands: strings as arrays of bits, bit 0 the highest of the first byte.

use std::ops::Range;

use resp::{Encoder, number};
use smallvec::SmallVec;

use super::flags::{DENYOOM, FAST, READ, WRITE};
use super::string::{is_crossed, longest, range};
use super::{DataSpec, Done, integer, keys, spec};
use crate::types::chunked::{CHUNK_BYTES, Chunked};
use crate::types::string::{StringMut, StringRef};
use crate::{CommandError, Ctx, New, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("setbit",      setbit,      4,  WRITE | DENYOOM, keys::CHANGE,   "2.2.0", "Sets or clears a bit, and returns what it was."),
    spec("getbit",      getbit,      3,  READ | FAST,     keys::READ_KEY, "2.2.0", "Returns a bit."),
    spec("bitcount",    bitcount,    -2, READ,            keys::READ_KEY, "2.6.0", "Counts the bits that are set, in a range if asked."),
    spec("bitpos",      bitpos,      -3, READ,            keys::READ_KEY, "2.8.7", "Finds the first bit that is set, or clear."),
    spec("bitop",       bitop,       -4, WRITE | DENYOOM, keys::BITOP,    "2.6.0", "Combines strings bit by bit and stores the result."),
    spec("bitfield",    bitfield,    -2, WRITE | DENYOOM, keys::BITFIELD, "3.2.0", "Reads, stores and adds to integers of any width within a string."),
    spec("bitfield_ro", bitfield_ro, -2, READ | FAST,     keys::READ_KEY, "6.0.0", "Reads integers of any width within a string."),
];

fn setbit(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let bit = bit_offset(ctx, argv[2], None)?;
    let on = match number::parse_i64(argv[3]) {
        Some(value @ 0..=1) => value == 1,
        _ => return Err(CommandError::other("ERR bit is not an integer or out of range")),
    };
    let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
    let value = ctx.lookup_write(key);
    let is_int = matches!(value, Some(ValueRef::Int(_)));
    let held = StringRef::of_key(value)?.byte(byte);
    let old = held.unwrap_or_default();
    let was_on = old & mask != 0;
    let differs = was_on != on || held.is_none();
    if differs || is_int {
        let new = if on { old | mask } else { old & !mask };
        ctx.edit(key, byte + 1, |mut string| string.write(byte, &[new]))?;
    }
    if differs {
        ctx.changed(key, '$', "setbit", 1);
    }
    out.integer(i64::from(was_on));
    Ok(())
}

fn getbit(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let bit = bit_offset(ctx, argv[2], None)?;
    let byte = StringRef::of_key(ctx.read(argv[1]))?.byte(bit / 8);
    out.integer(byte.map_or(0, |byte| i64::from(byte >> (7 - bit % 8) & 1)));
    Ok(())
}

fn bitcount(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    // As in Redis: what is wrong with a range shows only where there is a string.
    let Some(value) = ctx.read(argv[1]) else {
        out.integer(0);
        return Ok(());
    };
    let string = StringRef::of(value)?;
    let bits = match argv[2..] {
        [] => Unit::Byte.bits(0, -1, string.len()),
        [start, end, ref unit @ ..] if unit.len() < 2 => match (integer(start)?, integer(end)?) {
            (start, end) if is_crossed(start, end) => None,
            (start, end) => {
                let unit = unit.first().map_or(Ok(Unit::Byte), |unit| Unit::parse(unit))?;
                unit.bits(start, end, string.len())
            }
        },
        _ => return Err(CommandError::Syntax),
    };
    out.count(bits.map_or(0, |bits| count_ones(&string, bits)));
    Ok(())
}

fn count_ones(string: &StringRef<'_>, bits: Range<usize>) -> usize {
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let whole: usize = string.pieces(first..last + 1).map(ones_of).sum();
    // The bits of the outermost bytes that lie outside.
    let outside = |at, mask: u8| (string.byte(at).unwrap_or_default() & mask).count_ones() as usize;
    whole - outside(first, !(0xff >> (bits.start % 8))) - outside(last, 0x7f >> ((bits.end - 1) % 8))
}

fn ones_of(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let whole: usize = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk).count_ones() as usize).sum();
    whole + rest.iter().map(|byte| byte.count_ones() as usize).sum::<usize>()
}

fn bitpos(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let wanted = match integer(argv[2])? {
        bit @ 0..=1 => bit == 1,
        _ => return Err(CommandError::other("ERR The bit argument must be 1 or 0.")),
    };
    let Some(value) = ctx.read(argv[1]) else {
        // A key that is not there is endless zeros.
        out.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let string = StringRef::of(value)?;
    let (start, end, unit) = match argv[3..] {
        [] => (0, None, Unit::Byte),
        [start] => (integer(start)?, None, Unit::Byte),
        [start, end] => (integer(start)?, Some(integer(end)?), Unit::Byte),
        [start, end, unit] => {
            let start = integer(start)?;
            let unit = Unit::parse(unit)?;
            (start, Some(integer(end)?), unit)
        }
        _ => return Err(CommandError::Syntax),
    };
    let position = unit.bits(start, end.unwrap_or(-1), string.len()).and_then(|bits| {
        let end_of_range = bits.end;
        // Behind a string that is looked through to its end there are zeros too.
        let beyond = (!wanted && end.is_none()).then_some(end_of_range);
        find_bit(&string, bits, wanted).or(beyond)
    });
    out.integer(position.map_or(-1, |position| position as i64));
    Ok(())
}

fn find_bit(string: &StringRef<'_>, bits: Range<usize>, wanted: bool) -> Option<usize> {
    let skipped = if wanted { 0x00 } else { 0xff };
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    // As if all wanted bits were ones; those before the range are none.
    let ones = |byte: u8| byte ^ skipped;
    let place = |byte: usize, ones: u8| byte * 8 + ones.leading_zeros() as usize;
    let head = ones(string.byte(first)?) & (0xff >> (bits.start % 8));
    let mut at = first;
    let mut found = (head != 0).then(|| place(first, head));
    let mut pieces = string.pieces(first + 1..last + 1);
    while found.is_none() {
        let piece = pieces.next()?;
        found = find_other(piece, skipped).map(|(index, byte)| place(at + 1 + index, ones(byte)));
        at += piece.len();
    }
    found.filter(|&found| found < bits.end)
}

/// The first byte that is another one, and where it is.
fn find_other(bytes: &[u8], skipped: u8) -> Option<(usize, u8)> {
    // Eight bytes at a time up to the neighbourhood, then byte by byte.
    let (chunks, _) = bytes.as_chunks::<8>();
    let plain = chunks.iter().take_while(|chunk| **chunk == [skipped; 8]).count() * 8;
    bytes.iter().copied().enumerate().skip(plain).find(|&(_, byte)| byte != skipped)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BitOp {
    And,
    Or,
    Xor,
    Not,
}

fn bitop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (destination, sources) = (argv[2], &argv[3..]);
    let op = match &argv[1].to_ascii_lowercase()[..] {
        b"and" => BitOp::And,
        b"or" => BitOp::Or,
        b"xor" => BitOp::Xor,
        b"not" => BitOp::Not,
        _ => return Err(CommandError::Syntax),
    };
    if op == BitOp::Not && sources.len() != 1 {
        return Err(CommandError::other("ERR BITOP NOT must be called with a single source key."));
    }
    let read = |key: &&[u8]| ctx.read(key).map(ValueRef::to_value);
    let values: SmallVec<[Option<Value>; 4]> = sources.iter().map(read).collect();
    let strings = values.iter().map(|value| StringRef::of_key(value.as_ref().map(Value::view)));
    let strings = strings.collect::<Result<SmallVec<[StringRef<'_>; 4]>, _>>()?;
    let len = strings.iter().map(StringRef::len).max().unwrap_or_default();
    if len > 0 {
        store_combined(ctx, destination, op, &strings, len);
        ctx.changed(destination, '$', "set", 1);
    } else if ctx.delete(destination, false) {
        ctx.changed(destination, 'g', "del", 1);
    }
    out.count(len);
    Ok(())
}

/// A long result is never in one row.
fn store_combined(ctx: &mut Ctx<'_>, key: &[u8], op: BitOp, strings: &[StringRef<'_>], len: usize) {
    if len > CHUNK_BYTES {
        let combine = |range, result: &mut [u8]| op.combine(strings, range, result);
        ctx.set(key, Value::Chunked(Chunked::filled(len, combine)));
    } else {
        let mut result = vec![0; len];
        op.combine(strings, 0..len, &mut result);
        // As in Redis: bits that happen to spell an integer are none.
        ctx.set(key, New::Str(&result));
    }
}

impl BitOp {
    /// Combines a range of strings into zeros; the shorter ones go on with zeros.
    fn combine(self, strings: &[StringRef<'_>], range: Range<usize>, result: &mut [u8]) {
        for (number, string) in strings.iter().enumerate() {
            let mut rest = &mut *result;
            for piece in string.pieces(range.clone()) {
                let (bytes, behind) = rest.split_at_mut(piece.len());
                match number {
                    0 => bytes.copy_from_slice(piece),
                    _ => self.apply(bytes, piece),
                }
                rest = behind;
            }
            if self == BitOp::And {
                rest.fill(0);
            }
        }
        if self == BitOp::Not {
            result.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    fn apply(self, bytes: &mut [u8], others: &[u8]) {
        let pairs = bytes.iter_mut().zip(others);
        match self {
            BitOp::And => pairs.for_each(|(byte, other)| *byte &= other),
            BitOp::Or => pairs.for_each(|(byte, other)| *byte |= other),
            BitOp::Xor | BitOp::Not => pairs.for_each(|(byte, other)| *byte ^= other),
        }
    }
}

fn bitfield(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let operations = Operation::parse_all(ctx, &argv[2..])?;
    match operations.iter().filter(|operation| operation.action.writes()).map(Operation::end_byte).max() {
        Some(len) => change_fields(ctx, argv[1], &operations, len, out),
        None => read_fields(ctx, argv[1], &operations, out),
    }
}

fn bitfield_ro(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let operations = Operation::parse_all(ctx, &argv[2..])?;
    if operations.iter().any(|operation| operation.action.writes()) {
        return Err(CommandError::other("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_fields(ctx, argv[1], &operations, out)
}

fn read_fields(ctx: &mut Ctx<'_>, key: &[u8], operations: &[Operation], out: &mut Encoder<'_>) -> Done {
    let string = StringRef::of_key(ctx.read(key))?;
    out.array(operations.len());
    for operation in operations {
        out.integer(operation.field.load(&string, operation.bit));
    }
    Ok(())
}

/// Executes operations on a string lengthened to `len` bytes.
fn change_fields(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    operations: &[Operation],
    len: usize,
    out: &mut Encoder<'_>,
) -> Done {
    let grows = StringRef::of_key(ctx.lookup_write(key))?.len() < len;
    out.array(operations.len());
    let changes = ctx.edit(key, len, |mut string| {
        operations.iter().filter(|operation| operation.execute(&mut string, grows, out)).count()
    })?;
    match changes {
        // A string that only grew has changed as well, but Redis has no event for it.
        0 if grows => ctx.changed_without_event(key, 1),
        0 => {}
        _ => ctx.changed(key, '$', "setbit", changes),
    }
    Ok(())
}

/// One of BITFIELD's operations.
#[derive(Debug)]
struct Operation {
    action: Action,
    field: Field,
    bit: usize,
    overflow: Overflow,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

impl Operation {
    /// Executes it and replies; whether it changed bytes, or stored some in a string that has just grown.
    fn execute(&self, string: &mut StringMut<'_>, grows: bool, out: &mut Encoder<'_>) -> bool {
        let old = self.field.load(&string.view(), self.bit);
        let (wanted, reply_new) = match self.action {
            Action::Get => {
                out.integer(old);
                return false;
            }
            Action::Set(value) => (self.field.widen(value), false),
            Action::IncrBy(increment) => (i128::from(old) + i128::from(increment), true),
        };
        let Some(new) = self.field.fit(wanted, self.overflow) else {
            out.null();
            return false;
        };
        out.integer(if reply_new { new } else { old });
        self.field.store(string, self.bit, new);
        grows || new != old
    }
}

impl Action {
    fn writes(self) -> bool {
        !matches!(self, Action::Get)
    }
}

/// What happens to a value that its field cannot hold.
#[derive(Debug, Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// The type of a field: `i1` to `i64`, `u1` to `u63`.
#[derive(Debug, Clone, Copy)]
struct Field {
    signed: bool,
    bits: u32,
}

impl Operation {
    fn parse_all(ctx: &Ctx<'_>, words: &[&[u8]]) -> Result<Vec<Self>, CommandError> {
        let mut operations = Vec::new();
        let mut overflow = Overflow::Wrap;
        let mut rest = words;
        while let [name, args @ ..] = rest {
            let name = name.to_ascii_lowercase();
            rest = match (&name[..], args) {
                (b"get", [field, bit, rest @ ..]) => {
                    operations.push(Self::parse(ctx, field, bit, overflow)?);
                    rest
                }
                (b"set" | b"incrby", [field, bit, value, rest @ ..]) => {
                    let mut operation = Self::parse(ctx, field, bit, overflow)?;
                    let value = integer(value)?;
                    operation.action =
                        if name == b"set" { Action::Set(value) } else { Action::IncrBy(value) };
                    operations.push(operation);
                    rest
                }
                (b"overflow", [kind, rest @ ..]) => {
                    overflow = Overflow::parse(kind)?;
                    rest
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(operations)
    }

    fn parse(ctx: &Ctx<'_>, field: &[u8], bit: &[u8], overflow: Overflow) -> Result<Self, CommandError> {
        let field = Field::parse(field)?;
        let bit = bit_offset(ctx, bit, Some(field.bits))?;
        Ok(Operation { action: Action::Get, field, bit, overflow })
    }

    /// The length of a string that just holds the field.
    fn end_byte(&self) -> usize {
        (self.bit + self.field.bits as usize).div_ceil(8)
    }
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match &word.to_ascii_lowercase()[..] {
            b"wrap" => Ok(Overflow::Wrap),
            b"sat" => Ok(Overflow::Saturate),
            b"fail" => Ok(Overflow::Fail),
            _ => Err(CommandError::other("ERR Invalid OVERFLOW type specified")),
        }
    }
}

impl Field {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        let (signed, max, bits) = match word {
            [b'i', bits @ ..] => (true, 64, bits),
            [b'u', bits @ ..] => (false, 63, bits),
            _ => (false, 0, word),
        };
        match number::parse_i64(bits) {
            Some(bits) if (1..=max).contains(&bits) => Ok(Field { signed, bits: bits as u32 }),
            _ => Err(CommandError::other(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            )),
        }
    }

    /// The field at a bit; behind the string's end there are zeros.
    fn load(self, string: &StringRef<'_>, bit: usize) -> i64 {
        let mut window = [0; 16];
        string.read(bit / 8, &mut window[..9]);
        let raw = u128::from_be_bytes(window) << (bit % 8) >> (128 - self.bits);
        if self.signed { self.sign_extend(raw) } else { raw as i64 }
    }

    /// Writes a value that fits, at a bit; the string is long enough.
    fn store(self, string: &mut StringMut<'_>, bit: usize, value: i64) {
        let first = bit / 8;
        let len = (bit + self.bits as usize).div_ceil(8) - first;
        let mut window = [0; 16];
        string.view().read(first, &mut window[..len]);
        let shift = 128 - self.bits - (bit % 8) as u32;
        let mask = (u128::MAX >> (128 - self.bits)) << shift;
        let new = (u128::from_be_bytes(window) & !mask) | (value as u128) << shift & mask;
        string.write(first, &new.to_be_bytes()[..len]);
    }

    /// An argument as a value: for an unsigned field its 64 bits are.
    fn widen(self, value: i64) -> i128 {
        if self.signed { i128::from(value) } else { i128::from(value as u64) }
    }

    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.bounds();
        match overflow {
            _ if (min..=max).contains(&value) => Some(value as i64),
            Overflow::Wrap if self.signed => Some(self.sign_extend(value as u128)),
            Overflow::Wrap => Some((value & max) as i64),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }

    fn bounds(self) -> (i128, i128) {
        if self.signed {
            let half = 1 << (self.bits - 1);
            (-half, half - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    fn sign_extend(self, raw: u128) -> i64 {
        let spare = 128 - self.bits;
        ((raw << spare) as i128 >> spare) as i64
    }
}

/// What a range counts.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match &word.to_ascii_lowercase()[..] {
            b"byte" => Ok(Unit::Byte),
            b"bit" => Ok(Unit::Bit),
            _ => Err(CommandError::Syntax),
        }
    }

    /// The bits of a range of a string of `len` bytes, never empty.
    fn bits(self, start: i64, end: i64, len: usize) -> Option<Range<usize>> {
        match self {
            Unit::Byte => range(start, end, len).map(|bytes| bytes.start * 8..bytes.end * 8),
            Unit::Bit => range(start, end, len * 8),
        }
    }
}

/// Reads a bit's offset; `#3` counts in fields of `field_bits` bits, where there are any.
fn bit_offset(ctx: &Ctx<'_>, text: &[u8], field_bits: Option<u32>) -> Result<usize, CommandError> {
    let (digits, scale) = match (text, field_bits) {
        ([b'#', digits @ ..], Some(bits)) => (digits, i64::from(bits)),
        _ => (text, 1),
    };
    number::parse_i64(digits)
        .and_then(|offset| offset.checked_mul(scale))
        .and_then(|offset| usize::try_from(offset).ok())
        .filter(|&offset| (offset as u64 >> 3) < longest(ctx))
        .ok_or(CommandError::other("ERR bit offset is not an integer or out of range"))
}
