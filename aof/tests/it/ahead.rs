//! A file that is read on another thread than it is executed on: nobody can tell, whatever goes wrong, and wherever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aof::fs::{Call, Mem, Verdict};
use aof::{Directory, Error, Fsync, LoadCorrupt, Options, Sink, SinkError};

use crate::world::{Recorder, load, options, path, request};

const MANIFEST: &[u8] = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
const INCR: &str = "appendonly.aof.1.incr.aof";
/// Enough for several batches, in a file that is read ahead.
const COMMANDS: usize = 5_000;
const MIB: usize = 1 << 20;

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

#[test]
fn a_command_longer_than_a_batch_or_than_all_of_them_keeps_its_place() {
    let (mut bytes, mut commands) = (Vec::new(), Vec::new());
    for (n, len) in [3, MIB / 5, 3, 9 * MIB, 9 * MIB, 3, 3 * MIB, 0].into_iter().enumerate() {
        let (key, value) = (format!("key:{n}"), "v".repeat(len));
        bytes.extend_from_slice(&request(&["SET", &key, &value]));
        commands.push(format!("0:SET {key} {value}"));
    }
    let words = vec![""; 300_000];
    bytes.extend_from_slice(&request(&[&["RPUSH"][..], &words].concat()));
    commands.push(format!("0:RPUSH{}", " ".repeat(words.len())));
    let (loaded, report) = load(&world(&bytes), &options(Fsync::Everysec)).unwrap();
    // Not assert_eq: nobody wants to read them.
    assert!(loaded == commands);
    assert_eq!(report.commands, commands.len() as u64);
}

#[test]
fn a_transaction_goes_over_several_batches_and_is_executed_whole_or_not_at_all() {
    let (mut bytes, mut commands) = (request(&["SET", "before", "1"]).to_vec(), Vec::new());
    let multi = bytes.len();
    commands.push("0:SET before 1".to_owned());
    bytes.extend_from_slice(&request(&["MULTI"]));
    for n in 0..COMMANDS {
        if n == 1_500 {
            bytes.extend_from_slice(&request(&["SELECT", "3"]));
        }
        bytes.extend_from_slice(&request(&["SET", &format!("key:{n}"), "v"]));
        commands.push(format!("{}:SET key:{n} v", if n < 1_500 { 0 } else { 3 }));
    }
    let exec = bytes.len();
    bytes.extend_from_slice(&request(&["EXEC"]));
    let behind = bytes.len();
    bytes.extend_from_slice(&request(&["SET", "behind", "1"]));
    commands.push("3:SET behind 1".to_owned());

    let (loaded, _) = load(&world(&bytes), &options(Fsync::Everysec)).unwrap();
    assert_eq!(loaded, commands);
    for cut in [exec, behind - 1] {
        let (loaded, report) = load(&world(&bytes[..cut]), &options(Fsync::Everysec)).unwrap();
        assert_eq!(loaded, commands[..1]);
        assert_eq!(report.truncated.unwrap().offset_bytes, multi as u64);
    }
}

const LONG_COMMANDS: usize = 12;

/// A log of commands of which only a few may be on their way.
fn long_commands() -> Vec<u8> {
    request(&["SET", "key", &"v".repeat(2 * MIB)]).repeat(LONG_COMMANDS)
}

/// Lets the reader run ahead as far as it may before the first command ends like this.
struct Late(fn() -> Result<(), SinkError>);

impl Sink for Late {
    fn command(&mut self, _: u32, _: &[&[u8]]) -> Result<(), SinkError> {
        std::thread::sleep(Duration::from_millis(100));
        (self.0)()
    }
}

#[test]
fn a_reader_that_waits_is_let_go_when_the_sink_refuses_or_panics() {
    let (short, starts, _) = sample();
    // It waits until a batch is taken; and until a command was executed.
    for (bytes, start) in [(short, starts[0]), (long_commands(), 0)] {
        let mem = world(&bytes);
        let mut late = Late(|| Err(SinkError::new("too late")));
        let refused = replay(&mem, &mut late, &options(Fsync::Everysec)).unwrap_err();
        let Error::Refused { offset_bytes, source, .. } = &refused else { panic!("{refused}") };
        assert_eq!((*offset_bytes, source), (start as u64, &SinkError::new("too late")));
        let mut late = Late(|| panic!("on purpose"));
        let replay = || replay(&mem, &mut late, &options(Fsync::Everysec)).map(drop);
        let panic = catch_unwind(AssertUnwindSafe(replay)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    }
}

/// Whether this is the thread that reads ahead.
fn is_reader() -> bool {
    std::thread::current().name() == Some("decode")
}

/// Counts the bytes that were executed, and is late with the first.
struct Slow(Arc<AtomicUsize>);

impl Sink for Slow {
    fn command(&mut self, _: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        if self.0.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        self.0.fetch_add(argv.iter().map(|word| word.len()).sum(), Ordering::Relaxed);
        Ok(())
    }
}

/// Before there was a bound in bytes, ten batches of one command each were on their way, however long it was.
#[test]
fn long_commands_are_not_read_far_ahead() {
    let mem = world(&long_commands());
    let (executed, farthest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (hook_executed, hook_farthest, read) = (executed.clone(), farthest.clone(), AtomicUsize::new(0));
    mem.on_call(move |call| {
        if call.call == Call::Read && is_reader() {
            let read = read.fetch_add(call.len_bytes, Ordering::Relaxed) + call.len_bytes;
            let ahead = read.saturating_sub(hook_executed.load(Ordering::Relaxed));
            hook_farthest.fetch_max(ahead, Ordering::Relaxed);
        }
        Verdict::Pass
    });
    replay(&mem, &mut Slow(executed.clone()), &options(Fsync::Everysec)).unwrap();
    assert_eq!(executed.load(Ordering::Relaxed), LONG_COMMANDS * (2 * MIB + 6));
    // One command must be read before any is executed. Then 8 MiB of copies, a command that waits to be one, and what is
    // read at once.
    let farthest = farthest.load(Ordering::Relaxed);
    assert!((2 * MIB..13 * MIB).contains(&farthest), "{farthest} bytes ahead");
}

#[test]
fn the_sink_is_told_again_while_nothing_comes() {
    let bytes = sample().0.repeat(8);
    assert!(bytes.len() > MIB, "more than is read at once");
    let mem = world(&bytes);
    mem.on_call(|call| {
        if call.call == Call::Read && is_reader() {
            std::thread::sleep(Duration::from_millis(200));
        }
        Verdict::Pass
    });
    let mut sink = Recorder::default();
    replay(&mem, &mut sink, &options(Fsync::Everysec)).unwrap();
    assert_eq!(sink.commands.len(), 8 * COMMANDS);
    assert!(sink.tellings.windows(2).any(|pair| pair[0] == pair[1]), "clients wait");
    assert!(sink.tellings.is_sorted_by_key(|progress| (progress.commands, progress.loaded_bytes)));
}

/// Knows the keys of commands, after a while.
#[derive(Default)]
struct Keyed {
    seen: Recorder,
    asked: AtomicUsize,
    takes: Duration,
}

impl Sink for Keyed {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.seen.command(db, argv)
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.takes);
        argv.get(1).map(|key| key.to_vec()).into_iter().collect()
    }

    fn progress(&mut self, progress: aof::Progress) {
        self.seen.progress(progress);
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
    let loaded: Vec<_> = sink.seen.commands.iter().map(|command| &command[..12]).collect();
    assert_eq!(loaded, ["0:SET first ", "0:SET third "]);
}

/// A log of one block that sets each of `keys` to `value`, between two others, with a wrong byte at its end.
fn damaged(keys: impl Iterator<Item = String>, value: &str) -> Mem {
    let mem = Mem::new();
    let mut log = crate::world::start(mem.clone(), &options(Fsync::Always));
    crate::world::turn(&mut log, &[("first", 1)]);
    let commands: Vec<_> = keys.map(|key| request(&["SET", &key, value])).collect();
    let unit: Vec<_> = commands.iter().map(|command| aof::Op { db: 0, command }).collect();
    log.append(0, &unit);
    log.seal(std::time::Instant::now());
    crate::world::turn(&mut log, &[("last", 1)]);
    log.stop().unwrap();
    let mut bytes = mem.bytes(&path(INCR)).unwrap();
    // That of its EXEC.
    let end = bytes.windows(4).rposition(|window| window == b"EXEC").unwrap();
    bytes[end] ^= 1;
    mem.put(&path(INCR), &bytes);
    mem
}

#[test]
fn clients_are_answered_while_the_keys_of_long_damage_are_looked_for() {
    let mem = damaged((0..5).map(|n| format!("key:{n}")), &"v".repeat(20_000));
    let mut sink = Keyed { takes: Duration::from_millis(20), ..Keyed::default() };
    let error = replay(&mem, &mut sink, &options(Fsync::Always)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let asked = sink.asked.into_inner();
    let tellings = sink.seen.tellings.len();
    assert!(asked >= 5 && tellings > asked, "{tellings} for {asked} questions");
}

#[test]
fn of_very_many_keys_a_mib_is_named() {
    let mem = damaged((0..50_000).map(|n| format!("key:{n}")), "* a list\r\n* in a text");
    let error = replay(&mem, &mut Keyed::default(), &options(Fsync::Always)).unwrap_err();
    let text = error.to_string();
    let Error::Corrupt { damage, .. } = error else { panic!("{text}") };
    let named: Vec<_> = (0..damage.keys.len()).map(|n| format!("key:{n}").into_bytes()).collect();
    assert!(damage.keys == named && (20_000..50_000).contains(&named.len()), "{} keys", named.len());
    assert!(damage.are_more_keys);
    assert!(text.contains(&format!("key:15 and more than {} more", named.len() - 16)), "{text}");
}

#[test]
fn nobody_asks_for_keys_that_are_not_told() {
    let (mut bytes, starts, _) = sample();
    bytes[starts[10]] = b'?';
    let mut sink = Keyed::default();
    let error = replay(&world(&bytes), &mut sink, &options(Fsync::Always)).unwrap_err();
    assert!(matches!(error, Error::BadFormat { .. }), "{error}");
    assert_eq!(sink.asked.into_inner(), 0);
}
