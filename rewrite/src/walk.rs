//! A snapshot as a [`Source`]: it is taken apart segment by segment, so that what it alone still holds falls free as it
//! goes, on the job's thread.

use std::io;

use keyspace::Snapshot;
use keyspace::table::{Arena, Segment};

use crate::emit::{Emitter, RdbEmitter, RespEmitter};
use crate::job::Source;
use crate::output::Output;
use crate::{Format, Settings};

impl Source for Snapshot {
    fn keys(&self) -> u64 {
        self.dbs.iter().map(|db| db.len() as u64).sum()
    }

    fn write(self, settings: &Settings, unix_s: i64, out: &mut Output<'_>) -> io::Result<()> {
        match &settings.format {
            Format::Commands => walk(self, &mut RespEmitter { timestamps: settings.timestamps }, unix_s, out),
            Format::Rdb(format) => walk(self, &mut RdbEmitter::new(format.clone()), unix_s, out),
        }
    }
}

fn walk(snapshot: Snapshot, emitter: &mut impl Emitter, unix_s: i64, out: &mut Output<'_>) -> io::Result<()> {
    emitter.begin(unix_s, out)?;
    out.end_preamble()?;
    for (index, db) in snapshot.dbs.into_iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        out.begin_database(index as u32)?;
        emitter.database(index, db.len(), out)?;
        for segment in db.into_table().into_segments() {
            write_segment(&segment, emitter, out)?;
        }
    }
    emitter.end(out)
}

fn write_segment(segment: &Arena, emitter: &mut impl Emitter, out: &mut Output<'_>) -> io::Result<()> {
    for entry in segment.iter() {
        emitter.key(entry, out)?;
        out.key_done()?;
    }
    Ok(())
}
