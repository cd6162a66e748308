//! A file that is read on another thread than it is executed on: nobody can tell, whatever goes wrong, and wherever.

use std::sync::Arc;

use aof::fs::Mem;
use aof::{Directory, Error, Fsync, LoadCorrupt, Options, Sink, SinkError};

use crate::world::{Recorder, load, options, path, request};

const MANIFEST: &[u8] = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
const INCR: &str = "appendonly.aof.1.incr.aof";
/// Enough for several batches, in a file that is read ahead.
const COMMANDS: usize = 5_000;

/// A log of `COMMANDS` commands in changing databases; with each, where it begins.
fn sample() -> (Vec<u8>, Vec<usize>, Vec<String>) {
    let (mut bytes, mut starts, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..COMMANDS {
        let (db, value) = ((n / 700).to_string(), "v".repeat(n % 50));
        if n % 700 == 0 {
            bytes.extend_from_slice(&request(&["SELECT", &db]));
        }
        starts.push(bytes.len());
        bytes.extend_from_slice(&request(&["SET", &format!("key:{n}"), &value]));
        commands.push(format!("{db}:SET key:{n} {value}"));
    }
    (bytes, starts, commands)
}

fn world(incr: &[u8]) -> Mem {
    let mem = Mem::new();
    mem.put(&path("appendonly.aof.manifest"), MANIFEST);
    mem.put(&path(INCR), incr);
    mem
}

fn replay(mem: &Mem, sink: &mut impl Sink, options: &Options) -> Result<aof::Report, Error> {
    Directory::open(Arc::new(mem.clone()), options)?.replay(sink, options)
}

#[test]
fn the_sink_sees_everything_in_order_and_how_far_it_is() {
    let (bytes, _, commands) = sample();
    let (mut sink, options) = (Recorder::default(), options(Fsync::Everysec));
    let report = replay(&world(&bytes), &mut sink, &options).unwrap();
    assert_eq!(sink.commands, commands);
    assert_eq!((report.commands, report.bytes), (COMMANDS as u64, bytes.len() as u64));
    assert!(sink.tellings.is_sorted_by_key(|progress| (progress.commands, progress.loaded_bytes)));
    let last = sink.tellings.last().unwrap();
    assert_eq!((last.commands, last.loaded_bytes), (COMMANDS as u64, bytes.len() as u64));
}

#[test]
fn what_the_sink_refuses_is_placed_and_nothing_behind_it_is_executed() {
    let (mut bytes, starts, commands) = sample();
    for at in [0, 1, 511, 512, 513, 3_000, COMMANDS - 1] {
        let start = starts[at];
        let unknown = request(&["UNKNOWN"]);
        let mut bytes = bytes.clone();
        bytes.splice(start..start, unknown.iter().copied());
        let mut sink = Recorder::default();
        let refused = replay(&world(&bytes), &mut sink, &options(Fsync::Everysec)).unwrap_err();
        let Error::Refused { offset_bytes, source, .. } = &refused else { panic!("{refused}") };
        assert_eq!((*offset_bytes, source), (start as u64, &SinkError::new("unknown command")));
        assert_eq!(sink.commands, commands[..at]);
    }
    // Nor is anything cut behind it.
    bytes.extend_from_slice(&request(&["UNKNOWN"]));
    bytes.extend_from_slice(b"*3\r\n$3\r\nSET");
    let mem = world(&bytes);
    let refused = load(&mem, &options(Fsync::Everysec)).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert_eq!(mem.bytes(&path(INCR)).unwrap(), bytes);
}

#[test]
fn a_torn_tail_is_cut_once_everything_before_it_was_executed() {
    let (bytes, starts, commands) = sample();
    let cut = starts[4_000] + 7;
    let mem = world(&bytes[..cut]);
    let (loaded, report) = load(&mem, &options(Fsync::Everysec)).unwrap();
    assert_eq!(loaded, commands[..4_000]);
    assert_eq!(report.truncated.unwrap().offset_bytes, starts[4_000] as u64);
    assert_eq!(mem.bytes(&path(INCR)).unwrap(), bytes[..starts[4_000]]);
}

/// Knows the keys of commands.
#[derive(Default)]
struct Keyed(Recorder);

impl Sink for Keyed {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.0.command(db, argv)
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        vec![argv[1].to_vec()]
    }
}

#[test]
fn the_keys_of_damage_are_asked_of_the_sink() {
    let mem = Mem::new();
    let options = Options { load_corrupt: LoadCorrupt::Quarantine, ..options(Fsync::Always) };
    let mut log = crate::world::start(mem.clone(), &options);
    let value = "v".repeat(100_000);
    for key in ["first", "second", "third"] {
        let command = request(&["SET", key, &value]);
        log.append(0, &[aof::Op { db: 0, command: &command }]);
        log.seal(std::time::Instant::now());
    }
    log.stop().unwrap();
    let mut bytes = mem.bytes(&path(INCR)).unwrap();
    let damaged = bytes.len() / 2;
    bytes[damaged] ^= 1;
    mem.put(&path(INCR), &bytes);
    let mut sink = Keyed::default();
    let report = replay(&mem, &mut sink, &options).unwrap();
    assert_eq!(report.quarantined[0].damage.keys, [b"second".to_vec()]);
    let loaded: Vec<_> = sink.0.commands.iter().map(|command| &command[..12]).collect();
    assert_eq!(loaded, ["0:SET first ", "0:SET third "]);
}
