//! THE RDB CODEC: Redis's snapshot format, read from any `BufRead` and written to any `Write`; DUMP's payloads too.
//!
//! ```text
//! file     "REDIS" version, 4 digits | item.. | 0xff | CRC-64 (Jones) of all before it, u64 LE; 0: not computed
//! item     250 name value            AUX: strings both, for information
//!          254 db                    the database of the keys that follow
//!          251 keys expires          how many they are, roughly
//!          245 code                  a function library
//!          252 ms, i64 LE | 253 s, i32 LE     when the next key expires
//!          248 seconds | 249 byte    the next key's idle time, or frequency
//!          244 slot keys expires     of a cluster's slot: skipped
//!          247 module when value..   what a module kept beside the keys: named (see `module.rs`) and skipped
//!          243 ..                    of a Valkey cluster: refused by name
//!          type key value            types: see `TYPES`
//!
//! length   00nnnnnn | 01nnnnnn +1 byte | 0x80 u32 BE | 0x81 u64 BE
//! string   length, bytes | 0xc0 i8 | 0xc1 i16 LE | 0xc2 i32 LE | 0xc3 packed-length length LZF
//! payload  type value | version u16 LE | CRC-64 of all before it, u64 LE                 (DUMP, RESTORE)
//! ```
//! A file is valid if it is nothing but this, all blobs (listpack, ziplist, intset, zipmap) are sound throughout, no
//! member or field comes twice, and the checksum fits. Everything is checked, always; what is wrong is named with its
//! offset, type and key. Memory follows the bytes received, never a length that they claim.
//!
//! | version | brought |
//! |---|---|
//! | 1..4 | the types 0..4, EXPIRETIME; 4: the packed types 9..13 and milliseconds |
//! | 5 | the checksum |
//! | 7 | AUX, RESIZEDB, quicklists |
//! | 8, 9 | binary scores, modules; FREQ, IDLE, streams |
//! | 10 | listpacks in place of ziplists, functions: Redis 7.0, and what [`Writer`] writes |
//! | 11 | sets as listpacks: Redis 7.2, Valkey 7.2 and 8 |
//! | 12 | hash fields that expire (refused): Redis 7.4 |
//! | Valkey 80 | magic "VALKEY" and three digits; hash fields that expire (refused): Valkey 9 |
//!
//! Not there, and refused by name: modules' values, fields that expire.
//! Source: redis 7.2 `src/rdb.c`, `src/rdb.h`.

mod crc64;
mod decode;
mod dump;
mod end;
mod error;
mod keys;
mod legacy;
mod load;
pub mod lzf;
mod module;
mod read;
mod source;
mod stream;
mod write;

pub use crc64::Crc64;
pub use decode::Shapes;
pub use dump::{PayloadError, dump, restore};
pub(crate) use dump::{resealed, sealed};
pub use end::end_of;
pub use error::{Error, ErrorKind, Verdict};
pub use keys::{Keys, Sorter};
pub use load::{LoadError, Loaded};
pub use module::ModuleType;
pub use read::{Checksum, Item, Key, Reader};
pub use write::{Options, Writer};

/// The version that [`Writer`] writes: the last one that Redis 7.0 reads.
pub const VERSION: u16 = 10;
/// The newest version of Redis's format that [`Reader`] reads.
pub const VERSION_MAX: u16 = 12;
/// Valkey counts on from here, under its own magic; its later versions are refused.
pub const VALKEY_VERSION: u16 = 80;

mod opcode {
    pub(super) const SLOT_IMPORT: u8 = 243;
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION2: u8 = 245;
    pub(super) const FUNCTION_PRE_GA: u8 = 246;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQ: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZEDB: u8 = 251;
    pub(super) const EXPIRETIME_MS: u8 = 252;
    pub(super) const EXPIRETIME: u8 = 253;
    pub(super) const SELECTDB: u8 = 254;
    pub(super) const EOF: u8 = 255;
}

/// A type of values: its code, the name that redis-check-rdb gives it, and what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// The byte before the key.
    pub code: u8,
    /// `hash-listpack`.
    pub name: &'static str,
    form: Form,
}

/// What follows the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A string.
    String,
    /// A count and as many strings.
    List,
    /// A count and as many strings that differ.
    Set,
    /// A count and as many members with their scores as text.
    ZSetText,
    /// A count and as many members with their scores, f64 LE.
    ZSetBinary,
    /// A count and as many fields and values in turn.
    Hash,
    /// One blob.
    Blob(Blob, Holds),
    /// A count and as many ziplists: a list.
    Ziplists,
    /// A count and as many pairs of a container (1: one element as a string, 2: a listpack) and its blob: a list.
    Nodes,
    /// A stream.
    Stream(stream::Layout),
    /// A module's type, and what it wrote.
    Module,
    /// Something that is not read, and what that is.
    Unsupported(&'static str),
}

/// A compact form, as one string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blob {
    Zipmap,
    Ziplist,
    Listpack,
    Intset,
}

/// What a blob's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    List,
    Set,
    ZSet,
    Hash,
}

const OLD_MODULE: Form = Form::Unsupported("values of modules of a pre-release are not supported");
const FIELD_TTL: Form = Form::Unsupported("hashes with fields that expire are not supported yet");

/// The types that Redis and Valkey share; what no row names is an unknown code.
#[rustfmt::skip]
const TYPES: &[Type] = &[
    Type { code:  0, name: "string",               form: Form::String },
    Type { code:  1, name: "list-linked",          form: Form::List },
    Type { code:  2, name: "set-hashtable",        form: Form::Set },
    Type { code:  3, name: "zset-v1",              form: Form::ZSetText },
    Type { code:  4, name: "hash-hashtable",       form: Form::Hash },
    Type { code:  5, name: "zset-v2",              form: Form::ZSetBinary },
    Type { code:  6, name: "module-pre-release",   form: OLD_MODULE },
    Type { code:  7, name: "module-value",         form: Form::Module },
    Type { code:  9, name: "hash-zipmap",          form: Form::Blob(Blob::Zipmap, Holds::Hash) },
    Type { code: 10, name: "list-ziplist",         form: Form::Blob(Blob::Ziplist, Holds::List) },
    Type { code: 11, name: "set-intset",           form: Form::Blob(Blob::Intset, Holds::Set) },
    Type { code: 12, name: "zset-ziplist",         form: Form::Blob(Blob::Ziplist, Holds::ZSet) },
    Type { code: 13, name: "hash-ziplist",         form: Form::Blob(Blob::Ziplist, Holds::Hash) },
    Type { code: 14, name: "quicklist",            form: Form::Ziplists },
    Type { code: 15, name: "stream",               form: Form::Stream(stream::Layout::First) },
    Type { code: 16, name: "hash-listpack",        form: Form::Blob(Blob::Listpack, Holds::Hash) },
    Type { code: 17, name: "zset-listpack",        form: Form::Blob(Blob::Listpack, Holds::ZSet) },
    Type { code: 18, name: "quicklist-v2",         form: Form::Nodes },
    Type { code: 19, name: "stream-v2",            form: Form::Stream(stream::Layout::Second) },
    Type { code: 20, name: "set-listpack",         form: Form::Blob(Blob::Listpack, Holds::Set) },
    Type { code: 21, name: "stream-v3",            form: Form::Stream(stream::Layout::Third) },
];

/// Redis's own from 7.4 on.
#[rustfmt::skip]
const REDIS_TYPES: &[Type] = &[
    Type { code: 22, name: "hash-metadata-pre-ga", form: FIELD_TTL },
    Type { code: 23, name: "hash-listpack-ex-pre-ga", form: FIELD_TTL },
    Type { code: 24, name: "hash-metadata",        form: FIELD_TTL },
    Type { code: 25, name: "hash-listpack-ex",     form: FIELD_TTL },
];

/// Valkey's own.
#[rustfmt::skip]
const VALKEY_TYPES: &[Type] = &[
    Type { code: 22, name: "hash-volatile-items",  form: FIELD_TTL },
];

impl Type {
    /// What a code means in a file or payload of this version.
    fn of(code: u8, version: u16) -> Option<&'static Type> {
        let own = if version == VALKEY_VERSION { VALKEY_TYPES } else { REDIS_TYPES };
        TYPES.iter().chain(own).find(|row| row.code == code)
    }
}
