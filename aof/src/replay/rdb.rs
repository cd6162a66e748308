//! The RDB that a base, or the log of an older server, begins with.
//!
//! Only the sink can read it. One checksum at its end covers all of it, so damage to it is told as one place, from its
//! start to its end, or to that of the file where nobody can tell where it ends; where it shows is said beside that.

use std::io::BufRead;

use super::{Context, Course, Damage, Find, Kind, RdbDamage, Sink, SinkError, Trail};
use crate::block::FilePoint;
use crate::error::{Error, io_error};
use crate::scan::Scan;

/// What can be read of an RDB at the start of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rdb {
    /// Up to here.
    pub(crate) len_bytes: u64,
    /// That is all of it.
    pub(crate) is_whole: bool,
}

/// Opens a file behind its RDB base or preamble, which is known by its magic and goes to the sink.
pub(super) fn open_behind(
    context: &Context<'_>,
    sink: &mut impl Sink,
    trail: &mut Trail,
    course: &mut impl Course,
) -> Result<Scan, Error> {
    let Context { directory, part, .. } = context;
    let path = directory.path(&part.entry.name);
    let mut scan = open(context, FilePoint::default())?;
    let source = scan.source();
    let head = source.fill_buf().map_err(io_error("read", &path))?;
    trail.rdb = None;
    if !is_rdb(head) {
        return Ok(scan);
    }
    let end_bytes = match sink.base_rdb(&path, source) {
        Ok(()) => {
            let len_bytes = source.consumed_bytes;
            trail.rdb = Some(Rdb { len_bytes, is_whole: true });
            len_bytes
        }
        Err(SinkError { reason, rdb: Some(damage) }) => {
            let sound = Some(damage.sound_bytes).filter(|&len_bytes| len_bytes > 0);
            trail.rdb = sound.map(|len_bytes| Rdb { len_bytes, is_whole: false });
            trail.unsure = true;
            let find = find(context, reason, damage);
            let end_bytes = find.damage.len_bytes;
            course.bad(find)?;
            end_bytes
        }
        Err(source) => return Err(Error::BaseRefused { path, source }),
    };
    open(context, FilePoint { offset_bytes: end_bytes, crc: 0 })
}

fn open(context: &Context<'_>, point: FilePoint) -> Result<Scan, Error> {
    let Context { directory, part, .. } = context;
    let path = directory.path(&part.entry.name);
    Scan::open(&**directory.fs(), &path, point, part.counted_bytes()).map_err(|error| match error {
        Error::Io { path, source, .. } => Error::Unavailable { name: part.entry.name.clone(), path, source },
        error => error,
    })
}

fn find<'a>(context: &Context<'a>, found: String, rdb: RdbDamage) -> Find<'a> {
    let Context { directory, part, .. } = *context;
    let RdbDamage { at_bytes, end_bytes, keys, .. } = rdb;
    let path = directory.path(&part.entry.name);
    let len_bytes = end_bytes.unwrap_or(u64::MAX).min(part.counted_bytes());
    let damage =
        Damage { path, offset_bytes: 0, position: None, len_bytes, found, keys, are_more_keys: false };
    Find { directory, part, is_last: false, kind: Kind::Rdb { at_bytes }, damage, lines: 0 }
}

/// An RDB of Redis or Valkey, by its first bytes.
pub(crate) fn is_rdb(head: &[u8]) -> bool {
    head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")
}
