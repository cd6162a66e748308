//! The kinds of values that directives take: how each is parsed, bounded and printed.
//!
//! | kind | accepts | prints |
//! |---|---|---|
//! | yes/no | `yes`, `no`, any case | the same, in lower case |
//! | number, octal | an integer without blanks or sign `+` | the same |
//! | memory | digits and `b k kb m mb g gb`: 1k = 1000, 1kb = 1024 | bytes |
//! | one of | a word of a list, any case | the word |
//! | text | one argument, any bytes | the bytes |
//! | the rest | several words | the words, separated by one space |
//!
//! Error texts are those of redis 7.0 and 7.2, found by experiment.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use resp::number;

/// What a directive accepts.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// An integer within these bounds, inclusive.
    Number {
        /// The least.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// An octal number of at most this.
    Octal(u32),
    /// A quantity of bytes with an optional unit, within these bounds, inclusive.
    Memory {
        /// The least, in bytes.
        min: i128,
        /// The greatest, in bytes.
        max: i128,
    },
    /// A quantity of bytes, or a percentage of `maxmemory`.
    MemoryOrPercent,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any bytes that the check lets pass.
    Text(Check),
    /// A folder that exists; relative to the current one, it moves there.
    Dir,
    /// `<seconds> <changes>` pairs.
    Save,
    /// `<class> <hard> <soft> <soft seconds>`, for one class or more; the others keep theirs.
    OutputBufferLimits,
    /// The letters of keyspace events.
    KeyspaceEvents,
    /// Percentiles between 0 and 100.
    Percentiles,
    /// Words out of `save nosave now force`, or `default`.
    ShutdownFlags,
    /// Up to sixteen addresses.
    Bind,
    /// Three integers between -2000 and 2000.
    OomScoreAdjValues,
    /// `<host> <port>`, or `no one`.
    ReplicaOf,
}

/// Says why a text is not acceptable.
pub type Check = fn(&[u8]) -> Result<(), &'static str>;

/// A parsed value. It prints itself as CONFIG GET does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Yes or no.
    YesNo(bool),
    /// A number, also one of bytes.
    Number(i128),
    /// A number that prints in octal.
    Octal(u32),
    /// Per cent, 0 to 100.
    Percent(u8),
    /// A word of the directive's list.
    Word(&'static str),
    /// Bytes.
    Text(Vec<u8>),
    /// Words, as they came.
    Words(Vec<Vec<u8>>),
    /// See [`SavePoint`].
    Save(Vec<SavePoint>),
    /// See [`OutputBufferLimits`].
    OutputBufferLimits(OutputBufferLimits),
    /// See [`KeyspaceEvents`].
    KeyspaceEvents(KeyspaceEvents),
    /// Percentiles.
    Percentiles(Vec<f64>),
    /// See [`ShutdownFlags`].
    ShutdownFlags(ShutdownFlags),
}

/// Save after `period_s` seconds if at least `changes` keys have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds, at least 1.
    pub period_s: u64,
    /// Changes, at least 0.
    pub changes: u64,
}

/// When a client is closed because it does not read its replies; zeros mean never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// At this size at once.
    pub hard_bytes: u64,
    /// At this size, if it lasts.
    pub soft_bytes: u64,
    /// How long it lasts.
    pub soft_s: u64,
}

impl OutputBufferLimit {
    /// Whether so much is more than the hard limit.
    #[inline]
    pub(crate) fn forbids(&self, bytes: u64) -> bool {
        self.hard_bytes > 0 && bytes > self.hard_bytes
    }

    /// Whether it is, or there has been more than the soft limit for too long; `since` when, is kept.
    pub(crate) fn is_exceeded(&self, bytes: u64, since: &mut Option<Instant>, now: Instant) -> bool {
        let is_over = self.soft_bytes > 0 && bytes > self.soft_bytes;
        *since = is_over.then(|| since.unwrap_or(now));
        let lasts = since.is_some_and(|since| now.saturating_duration_since(since).as_secs() >= self.soft_s);
        self.forbids(bytes) || lasts
    }
}

/// `client-output-buffer-limit`, by class of client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Clients that send commands, also under MONITOR.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Clients that are subscribed to something.
    pub pubsub: OutputBufferLimit,
}

impl OutputBufferLimits {
    /// The classes as CONFIG REWRITE names them.
    pub(crate) fn classes(&self) -> [(&'static str, OutputBufferLimit); 3] {
        [("normal", self.normal), ("replica", self.replica), ("pubsub", self.pubsub)]
    }

    fn class_mut(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"replica" | b"slave" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

/// The bits of `notify-keyspace-events`; zero notifies of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(pub u32);

/// Letter and bit, in the order in which Redis prints them.
const EVENT_LETTERS: [(u8, u32); 14] = [
    (b'g', KeyspaceEvents::GENERIC),
    (b'$', KeyspaceEvents::STRING),
    (b'l', KeyspaceEvents::LIST),
    (b's', KeyspaceEvents::SET),
    (b'h', KeyspaceEvents::HASH),
    (b'z', KeyspaceEvents::ZSET),
    (b'x', KeyspaceEvents::EXPIRED),
    (b'e', KeyspaceEvents::EVICTED),
    (b't', KeyspaceEvents::STREAM),
    (b'd', KeyspaceEvents::MODULE),
    (b'n', KeyspaceEvents::NEW),
    (b'K', KeyspaceEvents::KEYSPACE),
    (b'E', KeyspaceEvents::KEYEVENT),
    (b'm', KeyspaceEvents::KEY_MISS),
];

impl KeyspaceEvents {
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: u32 = 1 << 0;
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: u32 = 1 << 1;
    /// `g`: DEL, EXPIRE, RENAME...
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// `x`: a key has expired.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: a key was evicted.
    pub const EVICTED: u32 = 1 << 9;
    /// `t`: streams.
    pub const STREAM: u32 = 1 << 10;
    /// `m`: a key was looked for and is not there. Not in `A`.
    pub const KEY_MISS: u32 = 1 << 11;
    /// `d`: module types.
    pub const MODULE: u32 = 1 << 12;
    /// `n`: a key was created. Not in `A`.
    pub const NEW: u32 = 1 << 13;
    /// `A`: an alias of `g$lshzxetd`.
    pub const ALL: u32 = Self::GENERIC
        | Self::STRING
        | Self::LIST
        | Self::SET
        | Self::HASH
        | Self::ZSET
        | Self::EXPIRED
        | Self::EVICTED
        | Self::STREAM
        | Self::MODULE;

    /// The bits of these letters, unless one of them means nothing.
    pub fn parse(letters: &[u8]) -> Option<Self> {
        let bit = |letter: u8| match letter {
            b'A' => Some(Self::ALL),
            _ => EVENT_LETTERS.iter().find(|entry| entry.0 == letter).map(|entry| entry.1),
        };
        letters.iter().try_fold(0, |bits, &letter| Some(bits | bit(letter)?)).map(KeyspaceEvents)
    }
}

impl fmt::Display for KeyspaceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0 & Self::ALL == Self::ALL;
        // As Redis: behind `A`, an `n` is not printed (though its events are sent).
        let hidden = if all { Self::ALL | Self::NEW } else { 0 };
        if all {
            f.write_char('A')?;
        }
        let shown = EVENT_LETTERS.iter().filter(|entry| self.0 & entry.1 & !hidden != 0);
        shown.into_iter().try_for_each(|entry| f.write_char(char::from(entry.0)))
    }
}

/// What `shutdown-on-sigterm` and `shutdown-on-sigint` add to a shutdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Save, even without save points.
    pub save: bool,
    /// Do not save, even with save points.
    pub nosave: bool,
    /// Do not wait for replicas that lag.
    pub now: bool,
    /// Go on where an error would stop the shutdown.
    pub force: bool,
}

impl fmt::Display for ShutdownFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let set: Vec<&str> = flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
        f.write_str(if set.is_empty() { "default".to_owned() } else { set.join(" ") }.as_str())
    }
}

impl Value {
    /// The value as CONFIG GET prints it.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Value::YesNo(yes) => if *yes { "yes" } else { "no" }.into(),
            Value::Number(number) => number.to_string().into(),
            Value::Octal(number) => format!("{number:o}").into(),
            Value::Percent(percent) => format!("{percent}%").into(),
            Value::Word(word) => (*word).into(),
            Value::Text(text) => text.clone(),
            Value::Words(words) => words.join(&b' '),
            Value::Save(points) => {
                join(points.iter().map(|point| format!("{} {}", point.period_s, point.changes)))
            }
            Value::OutputBufferLimits(limits) => join(limits.classes().iter().map(|(class, limit)| {
                // CONFIG GET still says slave where CONFIG REWRITE says replica.
                let class = if *class == "replica" { "slave" } else { class };
                format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_s)
            })),
            Value::KeyspaceEvents(events) => events.to_string().into(),
            Value::Percentiles(percentiles) => join(percentiles.iter().map(f64::to_string)),
            Value::ShutdownFlags(flags) => flags.to_string().into(),
        }
    }
}

fn join(words: impl Iterator<Item = String>) -> Vec<u8> {
    words.collect::<Vec<_>>().join(" ").into()
}

impl Kind {
    /// True for kinds that take several arguments, or one that holds several words.
    pub fn is_multi_arg(&self) -> bool {
        use Kind::*;
        matches!(
            self,
            Save | OutputBufferLimits | Percentiles | ShutdownFlags | Bind | OomScoreAdjValues | ReplicaOf
        )
    }

    /// Parses the arguments of a directive whose value is `current` now.
    ///
    /// # Errors
    /// Redis's text for what is wrong.
    pub fn parse(&self, args: &[Vec<u8>], current: &Value) -> Result<Value, String> {
        match self {
            Kind::Save => parse_save(args),
            Kind::OutputBufferLimits => parse_output_buffer_limits(args, current),
            Kind::Percentiles => parse_percentiles(args),
            Kind::ShutdownFlags => parse_shutdown_flags(args),
            Kind::Bind => parse_bind(args),
            Kind::OomScoreAdjValues => parse_oom_score_adj_values(args),
            Kind::ReplicaOf => parse_replica_of(args),
            _ => match args {
                [arg] => self.parse_one(arg, current),
                _ => Err(WRONG_NUMBER.to_owned()),
            },
        }
    }

    fn parse_one(&self, arg: &[u8], current: &Value) -> Result<Value, String> {
        match *self {
            Kind::YesNo if arg.eq_ignore_ascii_case(b"yes") => Ok(Value::YesNo(true)),
            Kind::YesNo if arg.eq_ignore_ascii_case(b"no") => Ok(Value::YesNo(false)),
            Kind::YesNo => Err("argument must be 'yes' or 'no'".to_owned()),
            Kind::Number { min, max } => {
                let number = number::parse_i64(arg).ok_or("argument couldn't be parsed into an integer")?;
                within(number.into(), min, max).map(Value::Number)
            }
            Kind::Octal(max) => parse_octal(arg, max),
            Kind::Memory { min, max } => {
                let bytes = parse_memory(arg).ok_or("argument must be a memory value")?;
                within(bytes.into(), min, max).map(Value::Number)
            }
            Kind::MemoryOrPercent => parse_memory_or_percent(arg),
            Kind::OneOf(words) => {
                let word = words.iter().find(|word| arg.eq_ignore_ascii_case(word.as_bytes()));
                word.map(|word| Value::Word(word)).ok_or_else(|| one_of(words))
            }
            Kind::Text(check) => check(arg).map(|()| Value::Text(arg.to_vec())).map_err(str::to_owned),
            Kind::Dir => parse_dir(arg, current),
            Kind::KeyspaceEvents => {
                let events = KeyspaceEvents::parse(arg);
                let events = events.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
                Ok(Value::KeyspaceEvents(events))
            }
            // `parse` keeps the kinds of several words away from here.
            _ => Err(WRONG_NUMBER.to_owned()),
        }
    }
}

const WRONG_NUMBER: &str = "wrong number of arguments";

fn one_of(words: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", words.join(", "))
}

fn within(number: i128, min: i128, max: i128) -> Result<i128, String> {
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("argument must be between {min} and {max} inclusive"))
}

/// Zero or more, and less strict than a number: redis reads these with strtoll, which allows leading zeros.
fn count(arg: &[u8]) -> Option<u64> {
    let number: i64 = std::str::from_utf8(arg).ok()?.parse().ok()?;
    u64::try_from(number).ok()
}

fn parse_octal(arg: &[u8], max: u32) -> Result<Value, String> {
    let number = std::str::from_utf8(arg).ok().filter(|arg| !arg.starts_with('+'));
    let number = number.and_then(|arg| u32::from_str_radix(arg, 8).ok());
    let number = number.ok_or("argument couldn't be parsed as an octal number")?;
    if number > max {
        return Err(format!("argument must be between 0 and {max:o} inclusive"));
    }
    Ok(Value::Octal(number))
}

/// Parses digits and a unit into bytes; no digits are zero, as in Redis.
///
/// Unlike Redis, which wraps around, refuses what does not fit. Source: redis 7.2 `src/util.c` `memtoull`.
pub(crate) fn parse_memory(arg: &[u8]) -> Option<u64> {
    let digits_len = arg.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = arg.split_at(digits_len);
    let unit_bytes: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let digit = |value: u64, &byte: &u8| value.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
    digits.iter().try_fold(0, digit)?.checked_mul(unit_bytes)
}

fn parse_memory_or_percent(arg: &[u8]) -> Result<Value, String> {
    let neither = "argument must be a memory or percent value";
    let Some(digits) = arg.strip_suffix(b"%") else {
        let bytes = parse_memory(arg).ok_or(neither)?;
        return within(bytes.into(), 0, i64::MAX.into()).map(Value::Number);
    };
    let percent = number::parse_i64(digits).filter(|&percent| percent >= 0).ok_or(neither)?;
    match u8::try_from(percent) {
        // Nothing per cent is nothing, which is no limit.
        Ok(0) => Ok(Value::Number(0)),
        Ok(percent @ 1..=100) => Ok(Value::Percent(percent)),
        _ => Err("percentage argument must be less or equal to 100".to_owned()),
    }
}

fn parse_dir(arg: &[u8], current: &Value) -> Result<Value, String> {
    let Value::Text(current) = current else { return Err(WRONG_NUMBER.to_owned()) };
    let dir = super::bytes_to_path(current).join(super::bytes_to_path(arg));
    let dir: PathBuf = dir.canonicalize().map_err(|error| super::strerror(&error))?;
    // A folder that cannot be entered fails here rather than at the first write.
    std::fs::read_dir(&dir).map_err(|error| super::strerror(&error))?;
    Ok(Value::Text(super::path_to_bytes(&dir)))
}

fn parse_save(args: &[Vec<u8>]) -> Result<Value, String> {
    let invalid = || "Invalid save parameters".to_owned();
    if matches!(args, [arg] if arg.is_empty()) {
        return Ok(Value::Save(Vec::new()));
    }
    if !args.len().is_multiple_of(2) {
        return Err(invalid());
    }
    let number = |arg: &[u8], min: u64| count(arg).filter(|&number| number >= min).ok_or_else(invalid);
    let points = args.chunks_exact(2).map(|pair| match pair {
        [period, changes] => Ok(SavePoint { period_s: number(period, 1)?, changes: number(changes, 0)? }),
        _ => Err(invalid()),
    });
    points.collect::<Result<_, _>>().map(Value::Save)
}

fn parse_output_buffer_limits(args: &[Vec<u8>], current: &Value) -> Result<Value, String> {
    let mut limits = match current {
        Value::OutputBufferLimits(limits) => *limits,
        _ => OutputBufferLimits::default(),
    };
    if !args.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    for quad in args.chunks_exact(4) {
        let [class, hard, soft, soft_s] = quad else { continue };
        let class = limits.class_mut(class);
        let class = class.ok_or("Invalid client class specified in buffer limit configuration.")?;
        let limit = (|| {
            let [hard_bytes, soft_bytes] = [parse_memory(hard)?, parse_memory(soft)?];
            Some(OutputBufferLimit { hard_bytes, soft_bytes, soft_s: count(soft_s)? })
        })();
        *class = limit.ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
    }
    Ok(Value::OutputBufferLimits(limits))
}

fn parse_percentiles(args: &[Vec<u8>]) -> Result<Value, String> {
    if matches!(args, [arg] if arg.is_empty()) {
        return Ok(Value::Percentiles(Vec::new()));
    }
    let percentile = |arg: &Vec<u8>| {
        let number = std::str::from_utf8(arg).ok().and_then(|arg| arg.parse::<f64>().ok());
        let number = number.ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if (0.0..=100.0).contains(&number) {
            return Ok(number);
        }
        Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned())
    };
    args.iter().map(percentile).collect::<Result<_, _>>().map(Value::Percentiles)
}

fn parse_shutdown_flags(args: &[Vec<u8>]) -> Result<Value, String> {
    let unknown = || one_of(&["default", "save", "nosave", "now", "force"]);
    let mut flags = ShutdownFlags::default();
    for arg in args {
        match arg.to_ascii_lowercase().as_slice() {
            b"default" => {}
            b"save" => flags.save = true,
            b"nosave" => flags.nosave = true,
            b"now" => flags.now = true,
            b"force" => flags.force = true,
            _ => return Err(unknown()),
        }
    }
    if args.is_empty() {
        return Err(unknown());
    }
    if flags.save && flags.nosave {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned());
    }
    Ok(Value::ShutdownFlags(flags))
}

fn parse_bind(args: &[Vec<u8>]) -> Result<Value, String> {
    match args {
        // No address: the server listens on its Unix socket alone.
        [] => Ok(Value::Words(Vec::new())),
        [arg] if arg.is_empty() => Ok(Value::Words(Vec::new())),
        _ if args.len() > 16 => Err("Too many bind addresses specified.".to_owned()),
        _ => Ok(Value::Words(args.to_vec())),
    }
}

fn parse_oom_score_adj_values(args: &[Vec<u8>]) -> Result<Value, String> {
    if args.len() != 3 {
        return Err(WRONG_NUMBER.to_owned());
    }
    if args.iter().any(|arg| !number::parse_i64(arg).is_some_and(|value| (-2000..=2000).contains(&value))) {
        return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_owned());
    }
    Ok(Value::Words(args.to_vec()))
}

fn parse_replica_of(args: &[Vec<u8>]) -> Result<Value, String> {
    match args {
        [arg] if arg.is_empty() => Ok(Value::Words(Vec::new())),
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => {
            Ok(Value::Words(Vec::new()))
        }
        [_, port] if !number::parse_i64(port).is_some_and(|port| (0..=65535).contains(&port)) => {
            Err("Invalid master port".to_owned())
        }
        [_, _] => Ok(Value::Words(args.to_vec())),
        _ => Err(WRONG_NUMBER.to_owned()),
    }
}
