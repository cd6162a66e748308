//! Where a command's keys stand among its words (word 0 is the name), and what it does with them: Redis's key
//! specifications, which COMMAND INFO shows, and from which the keys of a request are found.
//!
//! | column | means |
//! |---|---|
//! | begin | the word at which a search begins |
//! | find | the keys from there on |
//! | flags | what becomes of them: `RO` `RW` `OW` `RM` (read, changed, overwritten, removed whatever they hold), and for what their contents are used |
//!
//! Where a specification cannot say it all, as Redis's cannot, the variants of [`Begin`] say what else holds.

use smallvec::{SmallVec, smallvec};

/// A command's keys.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// It has none.
    None,
    /// They are found by these specifications.
    At(&'static [KeySpec]),
}

/// One group of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: Begin,
    /// The keys from there on.
    pub find: Find,
    /// See [`KEY_FLAGS`].
    pub flags: u32,
    /// What the flags are in a request, where that depends on its words.
    varies: Option<FlagsOf>,
}

/// The flags in a request.
type FlagsOf = fn(&[&[u8]]) -> u32;

/// Where a search begins.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// At this word.
    Index(usize),
    /// Behind the last of these options, from word `from` on. Each is shown as a specification of its own.
    Option {
        /// In upper case.
        words: &'static [&'static str],
        /// No option stands before this word.
        from: usize,
    },
    /// XREAD: behind STREAMS.
    Streams {
        /// The word from which a client looks for it.
        from: usize,
    },
    /// MIGRATE: behind KEYS, if the key before it is the empty word, which is no key then.
    InsteadOfEmpty,
    /// SORT: behind the last of this option anywhere. Shown as unknown.
    Anywhere(&'static str),
    /// It depends on the data.
    Unknown,
}

/// The keys from where the search begins.
#[derive(Debug, Clone, Copy)]
pub enum Find {
    /// Every `step`th word.
    Range {
        /// The last key, seen from the first; negative: from the end.
        last: isize,
        /// 2 where keys and values alternate.
        step: usize,
        /// The words up to the last are as many as there are behind them, if this is 2; not so, if it is 0.
        limit: usize,
    },
    /// The first word says how many follow it, at least one.
    Counted,
    /// It depends on the data.
    Unknown,
}

/// Read, and not changed.
pub const RO: u32 = 1 << 0;
/// Read and changed.
pub const RW: u32 = 1 << 1;
/// Overwritten, whatever they hold.
pub const OW: u32 = 1 << 2;
/// Removed.
pub const RM: u32 = 1 << 3;
/// The contents are returned, copied or compared.
pub const ACCESS: u32 = 1 << 4;
/// The contents are changed, with what they were or without.
pub const UPDATE: u32 = 1 << 5;
/// Something is added, and nothing changed or removed.
pub const INSERT: u32 = 1 << 6;
/// Something is removed.
pub const DELETE: u32 = 1 << 7;
/// There may be more than the specification finds.
pub const INCOMPLETE: u32 = 1 << 8;
/// The request tells which of the flags hold.
pub const VARIABLE: u32 = 1 << 9;

/// The flags of keys, as COMMAND INFO and COMMAND GETKEYSANDFLAGS name them. Source: redis 7.2 `src/server.c`
/// `addReplyFlagsForKeyArgs`.
pub const KEY_FLAGS: &[(u32, &str)] = &[
    (RO, "RO"),
    (RW, "RW"),
    (OW, "OW"),
    (RM, "RM"),
    (ACCESS, "access"),
    (UPDATE, "update"),
    (INSERT, "insert"),
    (DELETE, "delete"),
    (INCOMPLETE, "incomplete"),
    (VARIABLE, "variable_flags"),
];

const fn range(first: usize, last: isize, step: usize, flags: u32) -> KeySpec {
    KeySpec { begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 }, flags, varies: None }
}

const fn key(at: usize, flags: u32) -> KeySpec {
    range(at, 0, 1, flags)
}

const fn all(first: usize, flags: u32) -> KeySpec {
    range(first, -1, 1, flags)
}

const fn counted(at: usize, flags: u32) -> KeySpec {
    KeySpec { begin: Begin::Index(at), find: Find::Counted, flags, varies: None }
}

const fn streams(from: usize) -> KeySpec {
    let find = Find::Range { last: -1, step: 1, limit: 2 };
    KeySpec { begin: Begin::Streams { from }, find, flags: RO | ACCESS, varies: None }
}

const fn stored(from: usize) -> KeySpec {
    KeySpec { begin: Begin::Option { words: &["STORE", "STOREDIST"], from }, ..key(0, OW | UPDATE) }
}

const fn by_content() -> KeySpec {
    KeySpec { begin: Begin::Unknown, find: Find::Unknown, flags: RO | ACCESS, varies: None }
}

// The kinds of keys that rows name: by what becomes of them, and where they are not one at word 1, by where they stand.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $($spec:expr),+;)+) => {
        $($(#[$doc])* pub const $name: Keys = Keys::At(&[$($spec),+]);)+
    };
}

kinds! {
    /// Told of.
    LOOK = key(1, RO);
    /// Told of, all.
    LOOK_ALL = all(1, RO);
    /// Told of, behind a subcommand.
    LOOK_SUB = key(2, RO);
    /// Read.
    READ_KEY = key(1, RO | ACCESS);
    /// Read, two.
    READ_TWO = range(1, 1, 1, RO | ACCESS);
    /// Read, all.
    READ_ALL = all(1, RO | ACCESS);
    /// Read, behind a subcommand.
    READ_SUB = key(2, RO | ACCESS);
    /// Read, as many as the first word says.
    READ_COUNTED = counted(1, RO | ACCESS);
    /// Changed, whatever it holds.
    UPDATE_KEY = key(1, RW | UPDATE);
    /// The same, behind a subcommand.
    UPDATE_SUB = key(2, RW | UPDATE);
    /// Changed after it was read.
    CHANGE = key(1, RW | ACCESS | UPDATE);
    /// Given something more.
    ADD = key(1, RW | INSERT);
    /// The same, behind a subcommand.
    ADD_SUB = key(2, RW | INSERT);
    /// Relieved of something.
    REMOVE = key(1, RW | DELETE);
    /// The same, behind a subcommand.
    REMOVE_SUB = key(2, RW | DELETE);
    /// Relieved of what is returned.
    TAKE = key(1, RW | ACCESS | DELETE);
    /// The same, the first of several, before a timeout.
    TAKE_BEFORE_TIMEOUT = range(1, -2, 1, RW | ACCESS | DELETE);
    /// The same, as many as the first word says.
    TAKE_COUNTED = counted(1, RW | ACCESS | DELETE);
    /// The same, as many as the second word says.
    TAKE_COUNTED_BEHIND_TIMEOUT = counted(2, RW | ACCESS | DELETE);
    /// From one to the other.
    MOVE = key(1, RW | ACCESS | DELETE), key(2, RW | INSERT);
    /// Deleted, all.
    DELETE_ALL = all(1, RM | DELETE);
    /// Overwritten.
    STORE = key(1, OW | UPDATE);
    /// Overwritten, with another's contents.
    STORE_ONE = key(1, OW | UPDATE), key(2, RO | ACCESS);
    /// Overwritten, with the contents of all others.
    STORE_ALL = key(1, OW | UPDATE), all(2, RO | ACCESS);
    /// The same, said in other words of SINTERSTORE.
    UPDATE_ALL = key(1, RW | UPDATE), all(2, RO | ACCESS);
    /// Overwritten, with the contents of as many as the second word says.
    STORE_COUNTED = key(1, OW | UPDATE), counted(2, RO | ACCESS);
    /// BITOP.
    BITOP = key(2, OW | UPDATE), all(3, RO | ACCESS);
    /// BITFIELD.
    BITFIELD = KeySpec { varies: Some(bitfield_flags), ..key(1, RW | ACCESS | UPDATE | VARIABLE) };
    /// COPY.
    COPY = key(1, RO | ACCESS), key(2, OW | UPDATE);
    /// GEORADIUS.
    GEORADIUS = key(1, RO | ACCESS), stored(6);
    /// GEORADIUSBYMEMBER.
    GEORADIUS_BY_MEMBER = key(1, RO | ACCESS), stored(5);
    /// MIGRATE.
    MIGRATE = key(3, RW | ACCESS | DELETE), KeySpec {
        begin: Begin::InsteadOfEmpty, ..all(0, RW | ACCESS | DELETE | INCOMPLETE)
    };
    /// MSET.
    STORE_PAIRS = range(1, -1, 2, OW | UPDATE);
    /// MSETNX.
    STORE_NEW_PAIRS = range(1, -1, 2, OW | INSERT);
    /// PFCOUNT, which may pack anew what it has read.
    PFCOUNT = all(1, RW | ACCESS);
    /// PFDEBUG.
    PFDEBUG = key(2, RW | ACCESS);
    /// PFMERGE.
    PFMERGE = key(1, RW | ACCESS | INSERT), all(2, RO | ACCESS);
    /// RENAME.
    RENAME = key(1, RW | ACCESS | DELETE), key(2, OW | UPDATE);
    /// RENAMENX.
    RENAME_NEW = key(1, RW | ACCESS | DELETE), key(2, OW | INSERT);
    /// SET.
    SET = KeySpec { varies: Some(set_flags), ..key(1, RW | ACCESS | UPDATE | VARIABLE) };
    /// SETNX.
    STORE_NEW = key(1, OW | INSERT);
    /// SORT.
    SORT = key(1, RO | ACCESS), by_content(), KeySpec {
        begin: Begin::Anywhere("STORE"), ..key(0, OW | UPDATE)
    };
    /// SORT_RO.
    SORT_RO = key(1, RO | ACCESS), by_content();
    /// XREAD.
    XREAD = streams(1);
    /// XREADGROUP.
    XREADGROUP = streams(4);
}

/// SET reads only if it is to return what was there.
fn set_flags(argv: &[&[u8]]) -> u32 {
    let gets = argv.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get"));
    if gets { RW | ACCESS | UPDATE } else { OW | UPDATE }
}

/// BITFIELD reads only, unless an operation writes.
fn bitfield_flags(argv: &[&[u8]]) -> u32 {
    let mut words = argv.get(2..).unwrap_or_default();
    while let Some(word) = words.first() {
        let len = match &word.to_ascii_lowercase()[..] {
            b"get" => 3,
            b"overflow" => 2,
            _ => return RW | ACCESS | UPDATE,
        };
        let Some(rest) = words.get(len..) else { return RW | ACCESS | UPDATE };
        words = rest;
    }
    RO | ACCESS
}

/// A key's place in a request, and what becomes of it.
pub type Place = (usize, u32);

/// The keys of a request.
pub type Places = SmallVec<[Place; 8]>;

impl Keys {
    /// The specifications.
    pub const fn specs(&self) -> &'static [KeySpec] {
        match *self {
            Keys::None => &[],
            Keys::At(specs) => specs,
        }
    }

    /// Whether there are none.
    pub const fn is_none(&self) -> bool {
        self.specs().is_empty()
    }

    /// Whether some keys are not found by their places alone.
    pub fn are_movable(&self) -> bool {
        self.specs().iter().any(|spec| spec.fixed().is_none())
    }

    /// First, last and step, in which COMMAND described keys before there were specifications: of what stands at fixed
    /// places, the part without a gap. Zeros, if none does.
    pub fn first_last_step(&self) -> [i64; 3] {
        let mut whole = [0; 3];
        for [first, last, step] in self.specs().iter().filter_map(KeySpec::fixed) {
            whole = match whole {
                [0, ..] => [first, last, step],
                [from, to, 1] if step == 1 && to + 1 == first => [from, last, 1],
                other => return other,
            };
        }
        whole
    }

    /// The places of the keys in a request; places that the request is too short for are left out. One that does not
    /// have as many keys as it says has none.
    pub fn places(&self, argv: &[&[u8]]) -> Places {
        let mut places = Places::new();
        for spec in self.specs() {
            if matches!(spec.begin, Begin::InsteadOfEmpty) && instead_of_empty(argv).is_some() {
                places.clear();
            }
            let Some(found) = spec.places(argv) else { return Places::new() };
            let flags = spec.varies.map_or(spec.flags, |varies| varies(argv));
            places.extend(found.into_iter().map(|at| (at, flags & !(INCOMPLETE | VARIABLE))));
        }
        places
    }
}

impl KeySpec {
    /// First, last and step, if these are the same in each request.
    fn fixed(&self) -> Option<[i64; 3]> {
        match (self.begin, self.find) {
            (Begin::Index(first), Find::Range { last, step, limit: 0 }) => {
                let last = if last < 0 { last } else { first as isize + last };
                Some([first as i64, last as i64, step as i64])
            }
            _ => None,
        }
    }

    /// The places of the keys; `None` if the request does not say how many, or says that there are more than it has.
    fn places(&self, argv: &[&[u8]]) -> Option<SmallVec<[usize; 8]>> {
        let Some(first) = self.begin.place(argv).filter(|&first| first < argv.len()) else {
            return Some(smallvec![]);
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let words = (argv.len() - first) as isize;
                let last = match limit {
                    2.. => words / 2 - 1,
                    _ if last < 0 => words + last,
                    _ => last.min(words - 1),
                };
                let end = first + usize::try_from(last + 1).unwrap_or(0);
                Some((first..end).step_by(step.max(1)).collect())
            }
            Find::Counted => {
                let count = argv.get(first).and_then(|text| resp::number::parse_i64(text))?;
                let end = usize::try_from(count).ok().filter(|&count| count > 0)?.checked_add(first + 1)?;
                (end <= argv.len()).then(|| (first + 1..end).collect())
            }
            Find::Unknown => Some(smallvec![]),
        }
    }
}

impl Begin {
    fn place(&self, argv: &[&[u8]]) -> Option<usize> {
        let behind_last = |words: &[&str], from: usize| {
            let is_option =
                |word: &&[u8]| words.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
            let options = argv.get(from..argv.len().saturating_sub(1))?;
            options.iter().rposition(is_option).map(|at| from + at + 1)
        };
        match *self {
            Begin::Index(at) => Some(at),
            Begin::Option { words, from } => behind_last(words, from),
            Begin::Anywhere(word) => behind_last(&[word], 2),
            Begin::Streams { .. } => streams_at(argv),
            Begin::InsteadOfEmpty => instead_of_empty(argv),
            Begin::Unknown => None,
        }
    }
}

/// Where the keys of an XREAD or XREADGROUP begin; its options are passed over by their lengths, since a group may be
/// called STREAMS.
fn streams_at(argv: &[&[u8]]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += match &argv.get(at)?.to_ascii_lowercase()[..] {
            b"block" | b"count" => 2,
            b"group" => 3,
            b"noack" => 1,
            b"streams" => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where the keys of a MIGRATE of several begin; its options are passed over by their lengths, since a password may be
/// KEYS.
fn instead_of_empty(argv: &[&[u8]]) -> Option<usize> {
    let mut at = 6;
    argv.get(3).filter(|key| key.is_empty())?;
    loop {
        at += match &argv.get(at)?.to_ascii_lowercase()[..] {
            b"auth" => 2,
            b"auth2" => 3,
            b"keys" => return Some(at + 1),
            _ => 1,
        }
    }
}
