//! Writes down what a reading finds.

use super::mend::Splice;
use super::{FileReport, Findings, Place, Verdict};
use crate::error::Error;
use crate::replay::{Course, Damage, Find, Good, Kind, Trail, command_lines};
use crate::set::Part;

/// Looks, and lets everything pass.
pub(super) struct Look {
    until_unix_s: Option<i64>,
    pub(super) findings: Findings,
    /// Files that have lost bytes.
    shortened: Vec<Damage>,
    splice: Splice,
    /// What the files before this one came to.
    blocks: u64,
    unverified_bytes: u64,
}

impl Look {
    pub(super) fn new(until_unix_s: Option<i64>) -> Self {
        Look {
            until_unix_s,
            findings: Findings::default(),
            shortened: Vec::new(),
            splice: Splice::default(),
            blocks: 0,
            unverified_bytes: 0,
        }
    }
}

impl Course for Look {
    fn begin(&mut self, part: &Part) -> Result<(), Error> {
        let mut file = FileReport {
            name: part.entry.name.clone(),
            is_base: part.is_base,
            is_rdb: false,
            len_bytes: part.len_bytes,
            ok_up_to_bytes: part.counted_bytes(),
            ok_up_to_line: 1,
            blocks_verified: 0,
            unverified_bytes: 0,
            places: Vec::new(),
        };
        let missing = self.shortened.iter().filter(|damage| damage.path.ends_with(&file.name));
        file.places.extend(missing.cloned().map(missing_place));
        self.findings.files.push(file);
        Ok(())
    }

    fn missing(&mut self, find: Find<'_>) -> Result<(), Error> {
        self.shortened.push(find.damage);
        Ok(())
    }

    fn good(&mut self, good: &Good<'_>) -> Result<(), Error> {
        let Some(file) = self.findings.files.last_mut() else { return Ok(()) };
        if file.places.iter().all(|place| place.verdict == Verdict::Missing) {
            file.ok_up_to_line += command_lines(good.bytes);
        }
        if !file.is_base && !good.is_head() {
            self.findings.incr_payload_bytes += self.splice.len_bytes(good);
        }
        Ok(())
    }

    fn stamp(&mut self, unix_s: Option<i64>) -> Result<bool, Error> {
        Ok(self.until_unix_s.is_none_or(|until| unix_s.is_some_and(|unix_s| unix_s <= until)))
    }

    fn wants_keys(&self, kind: Kind) -> bool {
        kind != Kind::Unwanted
    }

    fn bad(&mut self, find: Find<'_>) -> Result<(), Error> {
        let Some(file) = self.findings.files.last_mut() else { return Ok(()) };
        let start = find.damage.offset_bytes;
        if start < file.ok_up_to_bytes {
            file.ok_up_to_bytes = start;
            file.ok_up_to_line += find.lines;
        }
        file.is_rdb |= matches!(find.kind, Kind::Rdb { .. });
        let (verdict, at_bytes) = match find.kind {
            Kind::Torn(_) => (Verdict::Torn, start),
            Kind::Corrupt | Kind::Tail | Kind::Lost => (Verdict::Corrupt, start),
            Kind::Wrong(at_bytes) => (Verdict::Wrong, at_bytes),
            Kind::Rdb { at_bytes } => (Verdict::Corrupt, at_bytes),
            Kind::Missing => (Verdict::Missing, start),
            Kind::NotAsRecorded { .. } => (Verdict::NotAsRecorded, start),
            Kind::Unwanted => (Verdict::Later, start),
        };
        file.places.push(Place { verdict, at_bytes, can_cut: find.is_last, damage: find.damage });
        Ok(())
    }

    fn end(&mut self, trail: &Trail) -> Result<(), Error> {
        let Some(file) = self.findings.files.last_mut() else { return Ok(()) };
        file.is_rdb |= trail.rdb.is_some();
        file.blocks_verified = trail.blocks - self.blocks;
        file.unverified_bytes = trail.unverified_bytes - self.unverified_bytes;
        file.places.sort_by_key(|place| place.damage.offset_bytes);
        (self.blocks, self.unverified_bytes) = (trail.blocks, trail.unverified_bytes);
        if file.is_base {
            self.findings.base = trail.epoch.zip(trail.covers);
            self.findings.base_rdb = trail.rdb;
        }
        Ok(())
    }
}

/// Where bytes are missing.
fn missing_place(damage: Damage) -> Place {
    Place { verdict: Verdict::Missing, at_bytes: damage.offset_bytes, can_cut: false, damage }
}
