//! Bases that were emptied, shortened or damaged, and bases without their manifest. Servers start without the data where
//! only the base is gone, say nothing, and make that permanent with the next rewrite: here it is named, and the rest of the
//! log is kept.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use aof::block::crc32c;
use aof::check::{Findings, Repaired, Verdict};
use aof::fs::{Fs, Mem};
use aof::{
    BaseFormat, BaseFrame, Checkup, Directory, Error, Executed, Fsync, Log, NewBase, Options, Quarantine,
    RdbDamage, Report, Sink, SinkError,
};

use crate::corruption::{MANIFEST, a_log, quarantine, rotate};
use crate::world::{Recorder, TEMP, load, options, path, request, turn, until};

const INCR: &str = "appendonly.aof.2.incr.aof";
const RESP: &str = "appendonly.aof.2.base.aof";
const RDB: &str = "appendonly.aof.2.base.rdb";

const HEADER: &[u8] = b"REDIS0010";

/// An RDB as far as a log knows one: a header, the keys, each with its length, and behind a 0 a checksum of it all.
pub(crate) fn rdb(keys: &[&str]) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for key in keys {
        bytes.push(key.len() as u8);
        bytes.extend_from_slice(key.as_bytes());
    }
    end(&mut bytes);
    bytes
}

fn end(bytes: &mut Vec<u8>) {
    bytes.push(0);
    bytes.extend_from_slice(&crc32c(bytes).to_le_bytes());
}

/// Reads such an RDB, and remembers its keys among the commands.
#[derive(Default)]
pub(crate) struct RdbRecorder(pub(crate) Recorder);

impl RdbRecorder {
    /// Fails with where it could not go on, and why; `sound_bytes` is where its last whole key ends.
    fn read(
        &mut self,
        rdb: &mut dyn BufRead,
        sound_bytes: &mut u64,
    ) -> Result<(), (u64, String, Option<u64>)> {
        let mut seen = Vec::new();
        let mut take = |seen: &mut Vec<u8>, count: usize| {
            let start = seen.len();
            seen.resize(start + count, 0);
            let at = start as u64;
            rdb.read_exact(&mut seen[start..]).map_err(|error| (at, error.to_string(), None))
        };
        take(&mut seen, HEADER.len())?;
        loop {
            *sound_bytes = seen.len() as u64;
            take(&mut seen, 1)?;
            match usize::from(seen[seen.len() - 1]) {
                0 => break,
                len => take(&mut seen, len)?,
            }
            let key = &seen[*sound_bytes as usize + 1..];
            if !key.iter().all(u8::is_ascii_alphanumeric) {
                return Err((seen.len() as u64, "no key".to_owned(), None));
            }
            self.0.commands.push(format!("0:RDB {}", key.escape_ascii()));
        }
        let expected = crc32c(&seen);
        take(&mut seen, 4)?;
        let at = seen.len() as u64;
        if seen.ends_with(&expected.to_le_bytes()) {
            Ok(())
        } else {
            Err((at, "wrong sum".to_owned(), Some(at)))
        }
    }
}

impl Sink for RdbRecorder {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.0.command(db, argv)
    }

    fn base_rdb(&mut self, _: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let mut sound_bytes = 0;
        self.read(rdb, &mut sound_bytes).map_err(|(at_bytes, reason, end_bytes)| {
            let damage = RdbDamage { at_bytes, end_bytes, sound_bytes, keys: vec![b"found".to_vec()] };
            SinkError::damaged_rdb(reason, damage)
        })
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        argv.get(1).map(|key| key.to_vec()).into_iter().collect()
    }

    fn rdb_end(&mut self, rdb: &mut dyn BufRead) -> Result<Vec<u8>, SinkError> {
        let mut bytes = Vec::new();
        rdb.read_to_end(&mut bytes).map_err(SinkError::new)?;
        let len = bytes.len();
        end(&mut bytes);
        Ok(bytes.split_off(len))
    }
}

pub(crate) fn load_rdb(mem: &Mem, options: &Options) -> Result<(Vec<String>, Report), Error> {
    let mut directory = Directory::open(Arc::new(mem.clone()), options)?;
    let mut sink = RdbRecorder::default();
    let report = directory.replay(&mut sink, options)?;
    Ok((sink.0.commands, report))
}

fn look(mem: &Mem) -> (Vec<String>, Findings) {
    let mut sink = RdbRecorder::default();
    let findings = checkup(mem).look(&mut sink, None).unwrap();
    (sink.0.commands, findings)
}

fn repair(mem: &Mem) -> Repaired {
    let (_, findings) = look(mem);
    checkup(mem).repair(&findings, &mut RdbRecorder::default()).unwrap()
}

fn checkup(mem: &Mem) -> Checkup {
    Checkup::open(Arc::new(mem.clone()), &path(MANIFEST)).unwrap()
}

/// A log behind an RDB base of these keys.
pub(crate) fn a_log_behind_an_rdb(keys: &[&str]) -> Mem {
    let mem = Mem::new();
    let mut log = started(&mem);
    turn(&mut log, &[("k", 0)]);
    let covers = rotate(&mut log);
    let mut base = rdb(keys);
    BaseFrame::new(log.epoch(), covers, 1_700_000_000_000).rdb_head(base.len() as u64, &mut base);
    publish(&mem, &mut log, &base, BaseFormat::Rdb, covers);
    turn(&mut log, &[("k", 1)]);
    turn(&mut log, &[("k", 2)]);
    log.stop().unwrap();
    mem
}

pub(crate) fn publish(mem: &Mem, log: &mut Log, base: &[u8], format: BaseFormat, covers: u64) {
    mem.put(TEMP.as_ref(), base);
    let (temp_path, len_bytes) = (TEMP.into(), base.len() as u64);
    log.publish_base(NewBase { temp_path, format, covers, len_bytes });
    until("published", || log.base_published().is_some_and(|outcome| outcome.is_ok()));
}

pub(crate) fn started(mem: &Mem) -> Log {
    let options = options(Fsync::Always);
    let mut directory = Directory::open(Arc::new(mem.clone()), &options).unwrap();
    directory.replay(&mut RdbRecorder::default(), &options).unwrap();
    Log::start(directory, &options, Box::new(|| {})).unwrap()
}

fn with(mem: &Mem, name: &str, bytes: &[u8]) -> Mem {
    let image = mem.kill();
    image.put(&path(name), bytes);
    image
}

/// What a refusal must bring along: the file, the place, and what to do, to the letter.
fn is_named(error: &Error, name: &str, offset_bytes: u64) {
    let text = error.to_string();
    let Error::Corrupt { damage, .. } = error else { panic!("{text}") };
    assert_eq!((&damage.path, damage.offset_bytes), (&path(name), offset_bytes), "{text}");
    assert!(
        text.contains("'everlog-check-aof repair /data/appendonlydir/appendonly.aof.manifest'"),
        "{text}"
    );
}

/// The checker says where it stops being sound and reads on, and what it repairs is what it read.
fn is_repaired(mem: &Mem, verdict: Verdict) -> Vec<String> {
    let (seen, findings) = look(mem);
    let (file, place) = findings.places().next().unwrap();
    assert_eq!((file.is_base, place.verdict), (true, verdict));
    repair(mem);
    assert!(look(mem).1.is_sound());
    let (commands, report) = load_rdb(mem, &options(Fsync::Always)).unwrap();
    assert_eq!((commands, report.unverified_bytes), (seen.clone(), 0));
    let mut log = started(mem);
    turn(&mut log, &[("new", 1)]);
    log.stop().unwrap();
    assert_eq!(load_rdb(mem, &options(Fsync::Always)).unwrap().0.last().unwrap(), "0:SET new 1");
    seen
}

/// It started without the data, and said nothing.
#[test]
fn a_base_that_was_emptied_is_named_and_the_rest_can_be_had() {
    for (mem, name) in [(a_log(), RESP), (a_log_behind_an_rdb(&["a", "b"]), RDB)] {
        let (expected, _) = load_rdb(&mem.kill(), &options(Fsync::Always)).unwrap();
        let image = with(&mem, name, b"");
        is_named(&load_rdb(&image, &options(Fsync::Always)).unwrap_err(), name, 0);
        let (commands, report) = load_rdb(&image.kill(), &quarantine()).unwrap();
        assert_eq!(commands, expected[2..]);
        assert_eq!(
            (&report.quarantined[0].damage.path, &report.quarantined[0].side_file),
            (&path(name), &None)
        );
        assert_eq!(is_repaired(&image, Verdict::Missing), commands);
    }
}

/// Whatever tells is read before anything is executed: the incr that goes on behind it, or the name alone.
#[test]
fn an_empty_base_is_believed_only_where_a_server_begins_with_it() {
    let base = |name: &str| format!("file {name} seq 2 type b\n");
    let incr = &*format!("file {INCR} seq 2 type i\n");
    // Nothing was written behind it yet.
    for (manifest, name) in [(base(RDB) + incr, RDB), (base(RDB), RDB), (base(RESP), RESP)] {
        let mem = Mem::new();
        mem.put(&path(MANIFEST), manifest.as_bytes());
        mem.put(&path(name), b"");
        mem.put(&path(INCR), b"");
        is_named(&load(&mem, &options(Fsync::Always)).unwrap_err(), name, 0);
    }
    // Redis's own, of `aof-use-rdb-preamble no`, and what we go on with behind it.
    let mem = Mem::new();
    mem.put(&path(MANIFEST), (base(RESP) + incr).as_bytes());
    mem.put(&path(RESP), b"");
    mem.put(&path(INCR), b"");
    for n in 0..2 {
        let mut log = started(&mem);
        turn(&mut log, &[("k", n)]);
        log.stop().unwrap();
    }
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET k 0", "0:SET k 1"]);
    // An incr that is older than the base, although it begins at position 0 as the base does.
    let manifest = format!("file appendonly.aof.3.base.aof seq 3 type b\n{incr}");
    mem.put(&path(MANIFEST), manifest.as_bytes());
    mem.put(&path("appendonly.aof.3.base.aof"), b"");
    is_named(&load(&mem, &options(Fsync::Always)).unwrap_err(), "appendonly.aof.3.base.aof", 0);
}

#[test]
fn every_truncation_of_a_base_is_named_or_takes_nothing() {
    for (mem, name) in [(a_log(), RESP), (a_log_behind_an_rdb(&["a", "bc", "def"]), RDB)] {
        let (expected, _) = load_rdb(&mem.kill(), &options(Fsync::Always)).unwrap();
        let whole = mem.bytes(&path(name)).unwrap();
        for len in 0..whole.len() {
            let image = with(&mem, name, &whole[..len]);
            match load_rdb(&image, &options(Fsync::Always)) {
                // All of an RDB is there, but for the line that ends it.
                Ok((commands, _)) => {
                    assert_eq!((commands, len), (expected.clone(), rdb(&["a", "bc", "def"]).len()))
                }
                Err(Error::Corrupt { damage, .. }) => {
                    assert_eq!(damage.path, path(name), "{len} bytes");
                    assert!(damage.offset_bytes <= len as u64);
                    assert_eq!(damage.len_bytes, len as u64 - damage.offset_bytes, "{len} bytes: {damage}");
                    let (commands, report) = load_rdb(&image, &quarantine()).unwrap();
                    assert!(expected.ends_with(&commands[commands.len() - 2..]), "{len} bytes: {commands:?}");
                    assert!(!report.quarantined.is_empty(), "{len} bytes");
                    let verdict = if len == 0 { Verdict::Missing } else { Verdict::Corrupt };
                    assert_eq!(is_repaired(&image, verdict), commands, "{len} bytes");
                }
                Err(error) => panic!("{len} bytes: {error}"),
            }
        }
    }
}

/// A base that was made while no server ran, and behind which nothing was written, is cut as little as any other.
#[test]
fn a_base_without_an_incr_is_no_torn_tail_at_any_length() {
    let mem = a_log();
    let whole = mem.bytes(&path(RESP)).unwrap();
    mem.put(&path(MANIFEST), format!("file {RESP} seq 2 type b\n").as_bytes());
    for name in [INCR, "appendonly.aof.3.incr.aof"] {
        mem.remove(&path(name)).unwrap();
    }
    for len in 0..whole.len() {
        let image = with(&mem, RESP, &whole[..len]);
        let error = load(&image, &options(Fsync::Always)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{len} bytes: {error}");
        assert_eq!(image.bytes(&path(RESP)).unwrap(), whole[..len]);
    }
}

#[test]
fn damage_to_an_rdb_base_is_named_and_what_can_be_read_is_kept_only_when_asked_to() {
    let mem = a_log_behind_an_rdb(&["a", "bc", "def"]);
    let whole = mem.bytes(&path(RDB)).unwrap();
    let rdb_bytes = rdb(&["a", "bc", "def"]).len();
    // No key, a length that leads astray, another key: the checksum alone tells of that.
    for (at, to, kept) in [(10, b'-', 0), (11, 200, 1), (13, b'x', 3)] {
        let mut bytes = whole.clone();
        bytes[at] = to;
        let image = with(&mem, RDB, &bytes);
        let error = load_rdb(&image, &options(Fsync::Always)).unwrap_err();
        is_named(&error, RDB, 0);
        let Error::Corrupt { damage, .. } = &error else { panic!("{error}") };
        let len = if kept == 3 { rdb_bytes } else { whole.len() };
        assert_eq!((damage.len_bytes, &damage.keys[..]), (len as u64, &[b"found".to_vec()][..]), "{error}");
        assert_eq!(image.bytes(&path(RDB)).unwrap(), bytes, "nothing was changed");
        let (commands, report) = load_rdb(&image, &quarantine()).unwrap();
        assert_eq!(
            (commands.len(), &commands[kept..]),
            (kept + 2, &["0:SET k 1", "0:SET k 2"].map(String::from)[..])
        );
        let Quarantine { side_file, executed, .. } = &report.quarantined[0];
        assert_eq!(image.bytes(side_file.as_ref().unwrap()).unwrap(), bytes[..len]);
        assert_eq!(*executed, Executed::Readable);
        assert_eq!(is_repaired(&image, Verdict::Corrupt), commands);
    }
}

/// An adopted log of an older server: its commands may be most of the data.
#[test]
fn commands_behind_an_rdb_whose_checksum_is_wrong_are_read() {
    let mem = a_log_behind_an_rdb(&["a"]);
    let mut bytes = [&rdb(&["a", "b"])[..], &request(&["SET", "tail", "1"])].concat();
    bytes[10] = b'x';
    mem.put(&path(RDB), &bytes);
    let seen = is_repaired(&mem, Verdict::Corrupt);
    assert_eq!(seen, ["0:RDB x", "0:RDB b", "0:SET tail 1", "0:SET k 1", "0:SET k 2"]);
}

/// A flipped bit makes history of an incr: a base of ours misses it by its epoch, and had it started alone, the next rewrite
/// would have removed the incr.
#[test]
fn an_incr_behind_another_server_s_base_is_missed_when_the_manifest_no_longer_lists_it() {
    for (name, base) in [(RESP, request(&["SET", "old", "1"]).to_vec()), (RDB, rdb(&["old"]))] {
        let mem = Mem::new();
        let lines = [format!("file {name} seq 2 type b\n"), format!("file {INCR} seq 2 type i\n")];
        mem.put(&path(MANIFEST), lines.concat().as_bytes());
        mem.put(&path(name), &base);
        mem.put(&path(INCR), b"");
        let mut log = started(&mem);
        turn(&mut log, &[("k", 1)]);
        log.stop().unwrap();
        assert_eq!(load_rdb(&mem, &options(Fsync::Always)).unwrap().0.len(), 2);
        for damaged in [lines[0].clone(), lines.concat().replace("type i", "type h")] {
            let error =
                load_rdb(&with(&mem, MANIFEST, damaged.as_bytes()), &options(Fsync::Always)).unwrap_err();
            assert!(
                error.to_string().contains("2.incr.aof: it belongs to the log and is not listed"),
                "{error}"
            );
        }
    }
}

/// A log that was taken over from an older server has no number in its name, and was overlooked: it started empty.
#[test]
fn a_base_without_its_manifest_is_refused_whatever_its_name_is() {
    for name in [RESP, RDB, "appendonly.aof"] {
        for manifest in [None, Some(&b""[..]), Some(b"# nothing\n")] {
            let mem = Mem::new();
            mem.put(&path(name), &request(&["SET", "k", "v"]));
            mem.put(&path(INCR), b"");
            manifest.into_iter().for_each(|text| mem.put(&path(MANIFEST), text));
            let error = load(&mem, &options(Fsync::No)).unwrap_err();
            let is_empty = manifest.is_some_and(<[u8]>::is_empty);
            assert!(
                is_empty || matches!(&error, Error::ManifestMissing { file, .. } if file == name),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn a_log_that_was_taken_over_is_refused_without_its_manifest_and_loads_with_it() {
    let mem = Mem::new();
    mem.put("/data/appendonly.aof".as_ref(), &request(&["SET", "old", "1"]));
    started(&mem).stop().unwrap();
    let manifest = mem.bytes(&path(MANIFEST)).unwrap();
    mem.remove(&path(MANIFEST)).unwrap();
    let error = load(&mem, &options(Fsync::Always)).unwrap_err();
    assert!(matches!(&error, Error::ManifestMissing { file, .. } if file == "appendonly.aof"), "{error}");
    mem.put(&path(MANIFEST), &manifest);
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, ["0:SET old 1"]);
}
