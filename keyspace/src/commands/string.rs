//! The string commands.

use resp::{Encoder, number};

use super::flags::{DENYOOM, FAST, READ, WRITE};
use super::{DataSpec, Done, integer, keys, lower_case, spec};
use crate::types::long_double::LongDouble;
use crate::types::string::StringRef;
use crate::{CommandError, Ctx, New, STRING_BYTES_MAX, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("get",         get,         2,  READ | FAST,            keys::READ_KEY,        "1.0.0", "Returns the string that a key holds."),
    spec("set",         set,         -3, WRITE | DENYOOM,        keys::SET,             "1.0.0", "Stores a string under a key, whatever it held; on conditions and with a time to live if asked."),
    spec("setnx",       setnx,       3,  WRITE | DENYOOM | FAST, keys::STORE_NEW,       "1.0.0", "Stores a string under a key that is not there."),
    spec("setex",       setex,       4,  WRITE | DENYOOM,        keys::STORE,           "2.0.0", "Stores a string that expires after so many seconds."),
    spec("psetex",      psetex,      4,  WRITE | DENYOOM,        keys::STORE,           "2.6.0", "Stores a string that expires after so many milliseconds."),
    spec("getset",      getset,      3,  WRITE | DENYOOM | FAST, keys::CHANGE,          "1.0.0", "Stores a string and returns the one before it."),
    spec("getex",       getex,       -2, WRITE | FAST,           keys::CHANGE,          "6.2.0", "Returns a string and changes its time to live."),
    spec("getdel",      getdel,      2,  WRITE | FAST,           keys::TAKE,            "6.2.0", "Returns a string and deletes its key."),
    spec("mget",        mget,        -2, READ | FAST,            keys::READ_ALL,        "1.0.0", "Returns the strings of several keys."),
    spec("mset",        mset,        -3, WRITE | DENYOOM,        keys::STORE_PAIRS,     "1.0.1", "Stores several strings at once."),
    spec("msetnx",      msetnx,      -3, WRITE | DENYOOM,        keys::STORE_NEW_PAIRS, "1.0.1", "Stores several strings if none of their keys is there."),
    spec("append",      append,      3,  WRITE | DENYOOM | FAST, keys::ADD,             "2.0.0", "Appends to a string, and returns how long it became."),
    spec("strlen",      strlen,      2,  READ | FAST,            keys::LOOK,            "2.2.0", "Returns the length of a string in bytes."),
    spec("getrange",    getrange,    4,  READ,                   keys::READ_KEY,        "2.4.0", "Returns the bytes of a string between two offsets."),
    spec("substr",      getrange,    4,  READ,                   keys::READ_KEY,        "1.0.0", "Returns the bytes of a string between two offsets."),
    spec("setrange",    setrange,    4,  WRITE | DENYOOM,        keys::UPDATE_KEY,      "2.2.0", "Overwrites a string from an offset on, and returns how long it became."),
    spec("incr",        incr,        2,  WRITE | DENYOOM | FAST, keys::CHANGE,          "1.0.0", "Adds one to an integer."),
    spec("decr",        decr,        2,  WRITE | DENYOOM | FAST, keys::CHANGE,          "1.0.0", "Subtracts one from an integer."),
    spec("incrby",      incrby,      3,  WRITE | DENYOOM | FAST, keys::CHANGE,          "1.0.0", "Adds to an integer."),
    spec("decrby",      decrby,      3,  WRITE | DENYOOM | FAST, keys::CHANGE,          "1.0.0", "Subtracts from an integer."),
    spec("incrbyfloat", incrbyfloat, 3,  WRITE | DENYOOM | FAST, keys::CHANGE,          "2.6.0", "Adds to a floating-point number."),
    spec("lcs",         lcs,         -3, READ,                   keys::READ_TWO,        "7.0.0", "Finds the longest common subsequence of two strings."),
];

fn get(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match ctx.read(argv[1]) {
        Some(ValueRef::Str(bytes)) => out.bulk(bytes),
        Some(ValueRef::Int(integer)) => out.bulk_integer(integer),
        Some(value) => StringRef::of(value)?.reply(out),
        None => out.null(),
    }
    Ok(())
}

fn set(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    if let [_, key, value] = *argv {
        ctx.set(key, New::string(value));
        note_set(ctx, key);
        out.ok();
        return Ok(());
    }
    let (key, value) = (argv[1], argv[2]);
    let options = Options::parse(&argv[3..], OptionSet::Set)?;
    let expire_at_ms = options.expire.map(|expire| expire.at_ms(ctx.now_ms, "set")).transpose()?;
    if options.get {
        get(ctx, argv, out)?;
    }
    if options.condition.is_some_and(|wanted| (wanted == Condition::Exists) != ctx.exists(key)) {
        if !options.get {
            out.null();
        }
        return Ok(());
    }
    match options.keep_ttl {
        true => ctx.set_keep_ttl(key, New::string(value)),
        false => ctx.set_in(ctx.db, key, New::string(value), expire_at_ms),
    }
    note_set(ctx, key);
    match (expire_at_ms, options.expire) {
        (Some(at_ms), Some(expire)) => {
            ctx.notify('g', "expire", key);
            if !expire.is_log_form() {
                propagate_set_at(ctx, key, value, at_ms);
            }
        }
        _ if options.get => propagate_without_get(ctx, argv),
        _ => {}
    }
    if !options.get {
        out.ok();
    }
    Ok(())
}

/// Nobody reads the replies of a log.
fn propagate_without_get(ctx: &mut Ctx<'_>, argv: &[&[u8]]) {
    let words = argv.iter().enumerate().filter(|(at, word)| *at < 3 || !word.eq_ignore_ascii_case(b"get"));
    let words: Vec<&[u8]> = words.map(|(_, word)| *word).collect();
    ctx.propagate(&words);
}

fn setnx(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let absent = !ctx.exists(argv[1]);
    if absent {
        ctx.set(argv[1], New::string(argv[2]));
        note_set(ctx, argv[1]);
    }
    out.integer(i64::from(absent));
    Ok(())
}

fn setex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    set_expiring(ctx, argv, out, TimeForm::EX, "setex")
}

fn psetex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    set_expiring(ctx, argv, out, TimeForm::PX, "psetex")
}

fn set_expiring(
    ctx: &mut Ctx<'_>,
    argv: &[&[u8]],
    out: &mut Encoder<'_>,
    form: TimeForm,
    command: &'static str,
) -> Done {
    let (key, time, value) = (argv[1], argv[2], argv[3]);
    let at_ms = Expire { form, time }.at_ms(ctx.now_ms, command)?;
    ctx.set_in(ctx.db, key, New::string(value), Some(at_ms));
    note_set(ctx, key);
    ctx.notify('g', "expire", key);
    propagate_set_at(ctx, key, value, at_ms);
    out.ok();
    Ok(())
}

fn getset(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    get(ctx, argv, out)?;
    ctx.set(argv[1], New::string(argv[2]));
    note_set(ctx, argv[1]);
    ctx.propagate(&[b"SET", argv[1], argv[2]]);
    Ok(())
}

fn getex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let options = Options::parse(&argv[2..], OptionSet::GetEx)?;
    match ctx.read(key) {
        Some(value) => StringRef::of(value)?.reply(out),
        None => {
            out.null();
            return Ok(());
        }
    }
    let expire_at_ms = options.expire.map(|expire| expire.at_ms(ctx.now_ms, "getex")).transpose()?;
    match (expire_at_ms, options.expire) {
        (Some(at_ms), Some(expire))
            if expire.form.absolute && at_ms <= ctx.now_ms && !ctx.keyspace.loading =>
        {
            ctx.delete_instead(key, ctx.limits().lazy_expire);
        }
        (Some(at_ms), _) => {
            ctx.set_expire(key, expire_at_ms);
            ctx.changed(key, 'g', "expire", 1);
            ctx.propagate(&[b"PEXPIREAT", key, number::format_i64(at_ms).as_bytes()]);
        }
        _ if options.persist && ctx.expire_at_ms(key).is_some() => {
            ctx.set_expire(key, None);
            ctx.changed(key, 'g', "persist", 1);
            ctx.propagate(&[b"PERSIST", key]);
        }
        _ => {}
    }
    Ok(())
}

fn getdel(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    get(ctx, argv, out)?;
    if ctx.delete(argv[1], false) {
        ctx.changed(argv[1], 'g', "del", 1);
        ctx.propagate(&[b"DEL", argv[1]]);
    }
    Ok(())
}

fn mget(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.array(argv.len() - 1);
    for key in &argv[1..] {
        match ctx.read(key).map(StringRef::of) {
            Some(Ok(string)) => string.reply(out),
            _ => out.null(),
        }
    }
    Ok(())
}

fn mset(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    set_pairs(ctx, pairs(argv, "mset")?);
    out.ok();
    Ok(())
}

fn msetnx(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let pairs = pairs(argv, "msetnx")?;
    let absent = !pairs.iter().any(|[key, _]| ctx.exists(key));
    if absent {
        set_pairs(ctx, pairs);
    }
    out.integer(i64::from(absent));
    Ok(())
}

fn pairs<'a, 'b>(argv: &'a [&'b [u8]], command: &'static str) -> Result<&'a [[&'b [u8]; 2]], CommandError> {
    match argv[1..].as_chunks() {
        (pairs, []) => Ok(pairs),
        _ => Err(CommandError::Arity(command.into())),
    }
}

fn set_pairs(ctx: &mut Ctx<'_>, pairs: &[[&[u8]; 2]]) {
    for [key, value] in pairs {
        ctx.set(key, New::string(value));
        note_set(ctx, key);
    }
}

fn append(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, tail) = (argv[1], argv[2]);
    let len = match ctx.lookup_write(key) {
        Some(value) => {
            let at = StringRef::of(value)?.len();
            let len = at + tail.len();
            check_length(len, longest(ctx))?;
            ctx.edit(key, len, |mut string| string.write(at, tail))?;
            len
        }
        None => {
            ctx.set(key, New::string(tail));
            tail.len()
        }
    };
    ctx.changed(key, '$', "append", 1);
    out.count(len);
    Ok(())
}

fn strlen(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.count(StringRef::of_key(ctx.read(argv[1]))?.len());
    Ok(())
}

fn getrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (start, end) = (integer(argv[2])?, integer(argv[3])?);
    let string = StringRef::of_key(ctx.read(argv[1]))?;
    let range =
        if is_crossed(start, end) { None } else { range(start, end, string.len()) }.unwrap_or_default();
    out.bulk_pieces(range.len(), string.pieces(range));
    Ok(())
}

/// Whether both ends are counted from the end, and the first is the later one: GETRANGE and BITCOUNT find nothing then.
pub(super) fn is_crossed(start: i64, end: i64) -> bool {
    start < 0 && end < 0 && start > end
}

/// The bytes from `start` to `end`, both included and counted from the end if negative. `None`: there are none.
///
/// An `end` before the string's begin is its first byte: a quirk that clients may rely on.
pub(super) fn range(start: i64, end: i64, len: usize) -> Option<std::ops::Range<usize>> {
    let place = |index: i64| if index < 0 { index.saturating_add(len as i64).max(0) } else { index };
    let (start, end) = (place(start), place(end).min(len as i64 - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

fn setrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, patch) = (argv[1], argv[3]);
    let offset = integer(argv[2])?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::other("ERR offset is out of range"))?;
    let longest = longest(ctx);
    let end = offset.saturating_add(patch.len());
    let len = StringRef::of_key(ctx.lookup_write(key))?.len();
    if patch.is_empty() {
        out.count(len);
        return Ok(());
    }
    check_length(end, longest)?;
    ctx.edit(key, end, |mut string| string.write(offset, patch))?;
    ctx.changed(key, '$', "setrange", 1);
    out.count(len.max(end));
    Ok(())
}

fn incr(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    increment(ctx, argv[1], 1, out)
}

fn decr(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    increment(ctx, argv[1], -1, out)
}

fn incrby(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    increment(ctx, argv[1], integer(argv[2])?, out)
}

fn decrby(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let decrement = integer(argv[2])?;
    let delta = decrement.checked_neg().ok_or(CommandError::other("ERR decrement would overflow"))?;
    increment(ctx, argv[1], delta, out)
}

fn increment(ctx: &mut Ctx<'_>, key: &[u8], delta: i64, out: &mut Encoder<'_>) -> Done {
    let (value, expire_at_ms) = match ctx.lookup_write_in(ctx.db, key) {
        Some(entry) => (stored_integer(entry.value())?, entry.expire_at_ms()),
        None => (0, None),
    };
    let overflow = CommandError::other("ERR increment or decrement would overflow");
    let sum = value.checked_add(delta).ok_or(overflow)?;
    ctx.set_in(ctx.db, key, New::Int(sum), expire_at_ms);
    ctx.changed(key, '$', "incrby", 1);
    out.integer(sum);
    Ok(())
}

fn stored_integer(value: ValueRef<'_>) -> Result<i64, CommandError> {
    match value {
        ValueRef::Int(integer) => Ok(integer),
        // APPEND and SETRANGE can spell an integer too.
        ValueRef::Str(bytes) => integer(bytes),
        ValueRef::Chunked(_) => Err(CommandError::NotAnInteger),
        _ => Err(CommandError::WrongType),
    }
}

fn incrbyfloat(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, increment) = (argv[1], argv[2]);
    let parse = |text: &[u8]| LongDouble::parse(text).ok_or(CommandError::NotAFloat);
    let value = match ctx.lookup_write(key) {
        Some(ValueRef::Int(integer)) => LongDouble::from_i64(integer),
        Some(ValueRef::Str(bytes)) => parse(bytes)?,
        Some(ValueRef::Chunked(_)) => return Err(CommandError::NotAFloat),
        Some(_) => return Err(CommandError::WrongType),
        None => LongDouble::from_i64(0),
    };
    let sum = value.checked_add(parse(increment)?);
    let text = sum.ok_or(CommandError::other("ERR increment would produce NaN or Infinity"))?.format();
    // As in Redis: also a whole number is a string here, until SET stores it.
    ctx.set_keep_ttl(key, New::Str(text.as_bytes()));
    ctx.changed(key, '$', "incrbyfloat", 1);
    // Replay must not depend on how the machine that replays adds floats.
    ctx.propagate(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    out.bulk(text.as_bytes());
    Ok(())
}

fn lcs(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let mut len = |key| match StringRef::of_key(ctx.read(key)) {
        Ok(string) => Ok(string.len()),
        Err(_) => Err(CommandError::other("ERR The specified keys must contain string values")),
    };
    let (left_len, right_len) = (len(argv[1])?, len(argv[2])?);
    let options = LcsOptions::parse(&argv[3..])?;
    LcsTable::check(left_len, right_len, ctx.limits().max_string_bytes)?;
    let mut copy = |key| StringRef::of_key(ctx.peek(key)).map(|string| string.contiguous().into_owned());
    let (left, right) = (copy(argv[1])?, copy(argv[2])?);
    let table = LcsTable::new(&left, &right);
    if options.len {
        out.count(table.len(left.len(), right.len()) as usize);
    } else if options.idx {
        write_matches(&table, &options, out);
    } else {
        let mut common: Vec<u8> = table.matches().map(|(at, _)| left[at]).collect();
        common.reverse();
        out.bulk(&common);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct LcsOptions {
    idx: bool,
    len: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl LcsOptions {
    fn parse(words: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = LcsOptions::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match &word.to_ascii_lowercase()[..] {
                b"idx" => options.idx = true,
                b"len" => options.len = true,
                b"withmatchlen" => options.with_match_len = true,
                b"minmatchlen" => {
                    let number = integer(words.next().ok_or(CommandError::Syntax)?)?;
                    options.min_match_len = usize::try_from(number).unwrap_or(0);
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        if options.idx && options.len {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::other(text));
        }
        Ok(options)
    }
}

/// Cell (i, j): the length of the longest common subsequence of the first i and the first j bytes.
struct LcsTable<'a> {
    left: &'a [u8],
    right: &'a [u8],
    cells: Vec<u32>,
}

impl<'a> LcsTable<'a> {
    /// Refuses a table of more than `max_bytes`.
    fn check(left_len: usize, right_len: usize, max_bytes: u64) -> Done {
        let cells = (left_len as u128 + 1) * (right_len as u128 + 1);
        if cells * 4 > u128::from(max_bytes) {
            let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
            return Err(CommandError::other(text));
        }
        Ok(())
    }

    /// Fills the table, O(left * right).
    fn new(left: &'a [u8], right: &'a [u8]) -> Self {
        let width = right.len() + 1;
        let mut cells = vec![0u32; (left.len() + 1) * width];
        for (i, byte) in left.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, other) in right.iter().enumerate() {
                row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        LcsTable { left, right, cells }
    }

    fn len(&self, i: usize, j: usize) -> u32 {
        self.cells[i * (self.right.len() + 1) + j]
    }

    /// The places of the common bytes in both strings, from last to first.
    fn matches(&self) -> impl Iterator<Item = (usize, usize)> {
        let (mut i, mut j) = (self.left.len(), self.right.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if self.left[i - 1] == self.right[j - 1] {
                    (i, j) = (i - 1, j - 1);
                    return Some((i, j));
                }
                if self.len(i - 1, j) > self.len(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
            None
        })
    }

    /// The same in runs `(place in left, place in right, length)` that are contiguous in both strings.
    fn runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (i, j) in self.matches() {
            match runs.last_mut() {
                Some((a, b, len)) if *a == i + 1 && *b == j + 1 => (*a, *b, *len) = (i, j, *len + 1),
                _ => runs.push((i, j, 1)),
            }
        }
        runs
    }
}

fn write_matches(table: &LcsTable<'_>, options: &LcsOptions, out: &mut Encoder<'_>) {
    let mut runs = table.runs();
    runs.retain(|&(.., len)| len >= options.min_match_len);
    out.map(2);
    out.bulk(b"matches");
    out.array(runs.len());
    for (left, right, len) in runs {
        out.array(2 + usize::from(options.with_match_len));
        for start in [left, right] {
            out.array(2);
            out.count(start);
            out.count(start + len - 1);
        }
        if options.with_match_len {
            out.count(len);
        }
    }
    out.bulk(b"len");
    out.count(table.len(table.left.len(), table.right.len()) as usize);
}

// What several of them need.

/// The traces of a string stored by [`Ctx::set`] and its kin, which have marked the key: it is not hashed again.
#[inline]
fn note_set(ctx: &mut Ctx<'_>, key: &[u8]) {
    ctx.add_dirty(1);
    ctx.notify('$', "set", key);
}

fn propagate_set_at(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], at_ms: i64) {
    ctx.propagate(&[b"SET", key, value, b"PXAT", number::format_i64(at_ms).as_bytes()]);
}

/// How long a string may become. A log's strings were allowed when they were written, perhaps under a greater limit; but
/// no offset in a damaged log may ask for all memory.
pub(super) fn longest(ctx: &Ctx<'_>) -> u64 {
    if ctx.keyspace.loading { STRING_BYTES_MAX } else { ctx.limits().max_string_bytes.min(STRING_BYTES_MAX) }
}

fn check_length(len: usize, longest: u64) -> Done {
    if len as u64 > longest {
        return Err(CommandError::other("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Absent,
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionSet {
    Set,
    GetEx,
}

/// How a time to live is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeForm {
    seconds: bool,
    absolute: bool,
}

impl TimeForm {
    const EX: Self = TimeForm { seconds: true, absolute: false };
    const PX: Self = TimeForm { seconds: false, absolute: false };
    const EXAT: Self = TimeForm { seconds: true, absolute: true };
    const PXAT: Self = TimeForm { seconds: false, absolute: true };
}

#[derive(Debug, Clone, Copy)]
struct Expire<'a> {
    form: TimeForm,
    time: &'a [u8],
}

impl Expire<'_> {
    /// When that is, milliseconds since 1970.
    fn at_ms(&self, now_ms: i64, command: &'static str) -> Result<i64, CommandError> {
        let time = integer(self.time)?;
        let milliseconds = if self.form.seconds { time.checked_mul(1000) } else { Some(time) };
        let base_ms = if self.form.absolute { 0 } else { now_ms };
        milliseconds
            .filter(|&milliseconds| milliseconds > 0)
            .and_then(|milliseconds| milliseconds.checked_add(base_ms))
            .ok_or(CommandError::InvalidExpire(command))
    }

    /// Whether it is written as the log writes it, so that the command can stand there as it came.
    fn is_log_form(&self) -> bool {
        self.form == TimeForm::PXAT
    }
}

/// The options of SET and GETEX.
#[derive(Debug, Default)]
struct Options<'a> {
    condition: Option<Condition>,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    expire: Option<Expire<'a>>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a [u8]], allowed: OptionSet) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut words = words.iter();
        let for_set = allowed == OptionSet::Set;
        while let Some(word) = words.next() {
            let fits = match &lower_case(word)[..] {
                b"nx" if for_set => options.set_condition(Condition::Absent),
                b"xx" if for_set => options.set_condition(Condition::Exists),
                b"get" if for_set => {
                    options.get = true;
                    true
                }
                b"keepttl" if for_set && options.expire.is_none() => {
                    options.keep_ttl = true;
                    true
                }
                b"persist" if !for_set && options.expire.is_none() => {
                    options.persist = true;
                    true
                }
                b"ex" => options.set_expire(TimeForm::EX, words.next()),
                b"px" => options.set_expire(TimeForm::PX, words.next()),
                b"exat" => options.set_expire(TimeForm::EXAT, words.next()),
                b"pxat" => options.set_expire(TimeForm::PXAT, words.next()),
                _ => false,
            };
            if !fits {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// The same condition may be given twice, the opposite one not.
    fn set_condition(&mut self, condition: Condition) -> bool {
        *self.condition.get_or_insert(condition) == condition
    }

    /// The same form may be given twice (the last one counts), another one not.
    fn set_expire(&mut self, form: TimeForm, time: Option<&&'a [u8]>) -> bool {
        let fits = !self.keep_ttl && !self.persist && self.expire.is_none_or(|expire| expire.form == form);
        self.expire = time.map(|time| Expire { form, time });
        fits && self.expire.is_some()
    }
}
