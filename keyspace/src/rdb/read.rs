//! From bytes to keys, one at a time.

use std::io::BufRead;

use super::decode::{Decoded, Decoder, Shapes};
use super::end::CHECKSUM_SINCE;
use super::error::{Error, ErrorKind};
use super::source::Source;
use super::{Form, ModuleType, Type, VALKEY_VERSION, VERSION_MAX, opcode};
use crate::New;

/// What an RDB begins with.
pub(super) const HEADER_BYTES: usize = 9;

/// The room for a key that stays: one of 512 MB is not to cost as much up to the end of the file.
const KEPT_KEY_BYTES: usize = 64 * 1024;

/// Reads an RDB file, item by item, and leaves its source exactly behind the last byte.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    decoder: Decoder,
    version: u16,
    verify: bool,
    skips_values: bool,
    db: u64,
    /// For the error that may come: the type of what is being read.
    type_name: Option<&'static str>,
    /// The key that was read last, and whether its value is being read.
    key: Vec<u8>,
    is_in_value: bool,
    is_done: bool,
    sound_bytes: u64,
}

/// What comes next in the file.
#[derive(Debug)]
pub enum Item<'a> {
    /// Information about the file: `redis-ver`, `ctime`, `aof-base` ...
    Aux {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The keys that follow are of this database.
    Db(u64),
    /// How many keys the database has, and how many of them expire: a hint that nothing checks.
    Sizes {
        /// Keys.
        keys: u64,
        /// Keys with a time to live.
        expires: u64,
    },
    /// A library of functions: its code, for whoever can execute it.
    Function(Vec<u8>),
    /// What a module kept beside the keys, or as the value of one, was left out.
    Module {
        /// Whose it is.
        module: ModuleType,
        /// The key, if it was a value.
        key: Option<Vec<u8>>,
    },
    /// Something that means nothing to us was left out.
    Skipped(&'static str),
    /// A key.
    Key(Key<'a>),
    /// The end: no item follows.
    End(Checksum),
}

/// A key and all that the file says of it, where the reader holds it until it goes on.
#[derive(Debug)]
pub struct Key<'a> {
    /// Its database.
    pub db: u64,
    /// Where its type stands in the file.
    pub offset_bytes: u64,
    /// The key.
    pub key: &'a [u8],
    /// Its hash in the keyspace that the reader's shapes are of.
    pub hash: u64,
    /// Its value; `None` for a collection without elements, which no key may hold.
    pub value: Option<New<'a>>,
    /// When it expires, milliseconds since 1970.
    pub expire_at_ms: Option<i64>,
    /// Seconds since its last access.
    pub idle_s: Option<u64>,
    /// How often it is accessed, on the scale of an LFU policy.
    pub freq: Option<u8>,
}

/// What the end of a file says of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// They are as they were written.
    Verified,
    /// They were written with `rdbchecksum no`, by a version without checksums, or are read without looking at it.
    Unchecked,
}

/// The same, as long as nothing borrows from the reader.
enum Step {
    Item(Item<'static>),
    /// Whose key and value the reader holds.
    Key(Option<Decoded>, Attributes),
}

#[derive(Debug, Default)]
struct Attributes {
    offset_bytes: u64,
    expire_at_ms: Option<i64>,
    idle_s: Option<u64>,
    freq: Option<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the magic and the version. `shapes` says which encodings values get.
    ///
    /// # Errors
    /// [`ErrorKind::Signature`], [`ErrorKind::Version`], and what reading can meet.
    pub fn new(inner: R, shapes: Shapes) -> Result<Self, Error> {
        let mut reader = Reader {
            source: Source::new(inner),
            decoder: Decoder::new(shapes),
            version: 0,
            verify: true,
            skips_values: false,
            db: 0,
            type_name: None,
            key: Vec::new(),
            is_in_value: false,
            is_done: false,
            sound_bytes: 0,
        };
        reader.header().map_err(|kind| reader.error(kind))?;
        Ok(reader)
    }

    /// Does not look whether the checksum fits, and computes none: `rdbchecksum no`.
    #[must_use]
    pub fn without_checksum(mut self) -> Self {
        self.verify = false;
        self.source.stop_summing();
        self
    }

    /// Steps over values of modules instead of refusing them: for who only looks.
    #[must_use]
    pub fn without_module_values(mut self) -> Self {
        self.skips_values = true;
        self
    }

    /// The version of the format: Redis's up to 12, Valkey's from 80 on.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Bytes read so far.
    pub fn offset_bytes(&self) -> u64 {
        self.source.offset()
    }

    /// Where the last item ends that could be read: up to there it is an RDB that lacks [its end](super::end_of).
    pub fn sound_bytes(&self) -> u64 {
        self.sound_bytes
    }

    /// The next item; `None` behind the end.
    ///
    /// # Errors
    /// The first thing wrong; nothing can be read behind it.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Error> {
        if self.is_done {
            return Ok(None);
        }
        self.type_name = None;
        self.sound_bytes = self.source.offset();
        match self.step() {
            Ok(Step::Item(item)) => Ok(Some(item)),
            Ok(Step::Key(decoded, attributes)) => Ok(Some(Item::Key(self.view(decoded, attributes)))),
            Err(kind) => Err(self.error(kind)),
        }
    }

    fn view(&self, decoded: Option<Decoded>, attributes: Attributes) -> Key<'_> {
        let (key, value) = (&self.key[..], decoded.map(|decoded| self.decoder.view(decoded)));
        let Attributes { offset_bytes, expire_at_ms, idle_s, freq } = attributes;
        let (db, hash) = (self.db, self.decoder.hash(key));
        Key { db, offset_bytes, key, hash, value, expire_at_ms, idle_s, freq }
    }

    fn error(&mut self, kind: ErrorKind) -> Error {
        self.is_done = true;
        let key = self.is_in_value.then(|| std::mem::take(&mut self.key));
        Error { offset_bytes: self.source.offset(), type_name: self.type_name, key, kind }
    }

    fn header(&mut self) -> Result<(), ErrorKind> {
        self.version = version(&self.source.array()?)?;
        Ok(())
    }

    fn step(&mut self) -> Result<Step, ErrorKind> {
        let mut attributes = Attributes::default();
        loop {
            match self.source.byte()? {
                opcode::EXPIRETIME => {
                    let at_s = i32::from_le_bytes(self.source.array()?);
                    attributes.expire_at_ms = Some(i64::from(at_s) * 1000);
                }
                opcode::EXPIRETIME_MS => {
                    attributes.expire_at_ms = Some(i64::from_le_bytes(self.source.array()?));
                }
                opcode::FREQ => attributes.freq = Some(self.source.byte()?),
                opcode::IDLE => attributes.idle_s = Some(self.source.count()?),
                opcode::EOF => return self.end().map(Step::Item),
                opcode::SELECTDB => {
                    self.db = self.source.count()?;
                    return Ok(Step::Item(Item::Db(self.db)));
                }
                opcode::RESIZEDB => {
                    let (keys, expires) = (self.source.count()?, self.source.count()?);
                    return Ok(Step::Item(Item::Sizes { keys, expires }));
                }
                opcode::AUX => {
                    let (name, value) = (self.string()?, self.string()?);
                    return Ok(Step::Item(Item::Aux { name, value }));
                }
                opcode::FUNCTION2 => return Ok(Step::Item(Item::Function(self.string()?))),
                opcode::FUNCTION_PRE_GA => {
                    return Err(ErrorKind::Unsupported("functions of a pre-release are not supported"));
                }
                opcode::MODULE_AUX => return self.module_aux().map(Step::Item),
                opcode::SLOT_INFO => {
                    (0..3).try_for_each(|_| self.source.count().map(drop))?;
                    return Ok(Step::Item(Item::Skipped("slot info")));
                }
                opcode::SLOT_IMPORT if self.version == VALKEY_VERSION => {
                    return Err(ErrorKind::Unsupported("a cluster's import of slots is not supported"));
                }
                code => return self.key(code, attributes),
            }
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, ErrorKind> {
        let mut string = Vec::new();
        self.source.string(&mut string)?;
        Ok(string)
    }

    /// Reads a key and its value.
    fn key(&mut self, code: u8, mut attributes: Attributes) -> Result<Step, ErrorKind> {
        attributes.offset_bytes = self.source.offset() - 1;
        let known = Type::of(code, self.version).ok_or(ErrorKind::UnknownType(code))?;
        self.type_name = Some(known.name);
        self.key.clear();
        self.key.shrink_to(KEPT_KEY_BYTES);
        self.source.string(&mut self.key)?;
        self.is_in_value = true;
        let step = if known.form == Form::Module && self.skips_values {
            let module = self.module()?;
            self.skip_module()?;
            Step::Item(Item::Module { module, key: Some(self.key.clone()) })
        } else {
            Step::Key(self.decoder.value(known.form, &mut self.source)?, attributes)
        };
        self.is_in_value = false;
        Ok(step)
    }

    fn module(&mut self) -> Result<ModuleType, ErrorKind> {
        self.source.count().map(ModuleType)
    }

    /// What a module kept beside the keys: when it is to be loaded, as an integer, and then the same as in a value.
    fn module_aux(&mut self) -> Result<Item<'static>, ErrorKind> {
        let module = self.module()?;
        (0..2).try_for_each(|_| self.source.count().map(drop))?;
        self.skip_module()?;
        Ok(Item::Module { module, key: None })
    }

    /// What a module wrote: opcodes and what follows each, up to 0.
    fn skip_module(&mut self) -> Result<(), ErrorKind> {
        let mut string = Vec::new();
        loop {
            match self.source.count()? {
                0 => return Ok(()),
                // Integers with and without a sign.
                1 | 2 => drop(self.source.count()?),
                // A float and a double.
                3 => drop(self.source.array::<4>()?),
                4 => drop(self.source.array::<8>()?),
                5 => self.source.string(&mut string)?,
                _ => return Err(ErrorKind::Blob("Module data")),
            }
        }
    }

    fn end(&mut self) -> Result<Item<'static>, ErrorKind> {
        self.is_done = true;
        if self.version < CHECKSUM_SINCE {
            self.source.settle();
            return Ok(Item::End(Checksum::Unchecked));
        }
        let found = self.source.checksum();
        let expected = u64::from_le_bytes(self.source.array()?);
        self.source.settle();
        match expected {
            0 => Ok(Item::End(Checksum::Unchecked)),
            _ if !self.verify => Ok(Item::End(Checksum::Unchecked)),
            _ if expected == found => Ok(Item::End(Checksum::Verified)),
            _ => Err(ErrorKind::Checksum { expected, found }),
        }
    }
}

/// "REDIS" and four digits, or "VALKEY" and three.
pub(super) fn version(header: &[u8; HEADER_BYTES]) -> Result<u16, ErrorKind> {
    let (magic, digits) = match header {
        [b'R', b'E', b'D', b'I', b'S', digits @ ..] => ("REDIS", &digits[..]),
        [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => ("VALKEY", &digits[..]),
        _ => return Err(ErrorKind::Signature),
    };
    let unknown = || ErrorKind::Version(format!("{magic} {}", digits.escape_ascii()));
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let version = text.and_then(|text| text.parse().ok()).ok_or_else(unknown)?;
    let is_known =
        if magic == "VALKEY" { version == VALKEY_VERSION } else { (1..=VERSION_MAX).contains(&version) };
    if is_known { Ok(version) } else { Err(unknown()) }
}
