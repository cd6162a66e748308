//! Everything that can happen to a log, on a simulated disk: histories by list and by chance, with faults and crashes at
//! every call, each image held to the *prefix oracle*:
//!
//! - what a start finds are the first N units that were appended, whole, once each, none skipped;
//! - N is at least what was promised: written before a kill, durable before a power cut, and both where a start served it;
//! - a second start finds the same, and what is appended then is found behind it.
//!
//! Where somebody has taken the live file away there is one way more to be right: until a base is there that needs it no
//! more, a start may refuse by that file's name, and the log says that it needs a base. Whatever a start does not refuse is
//! held to all of the above.
//!
//! Nothing here knows the format, but that a manifest names files. A failure prints its seed and all that happened, indented
//! where it happened inside a call; `EVERLOG_SOAK` multiplies how much is tried, `EVERLOG_SEED` is where the seeds begin,
//! and `EVERLOG_SIM_SEED` repeats one of the histories by chance.

mod executor;
mod history;
mod run;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use aof::fs::{Mem, PowerCut, Request, Verdict};
use aof::{Fs, Fsync, Options};

use self::history::{History, Wrong};
use self::run::{Faults, Looks, Outcome, Sim};
use crate::world::{number, options, path, rdb, request, soak};

/// How the power may fail, and whether recovery is held to it without checksums too: there a file that goes on behind wrong
/// bytes, or that ends in others than zeros, is refused as damage.
const CUTS: &[(PowerCut, bool)] = &[
    (PowerCut::Unsynced, true),
    (PowerCut::Tail, true),
    (PowerCut::TailLeavingZeros, true),
    (PowerCut::PagesLeavingZeros, false),
    (PowerCut::PagesLeavingOldBlocks, false),
];

type Fault = (&'static str, fn(&Request<'_>, &mut Dice) -> Verdict);

/// What a call may suffer.
#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    ("EIO",       |_, _| Verdict::Fail(error(5))),
    ("ENOSPC",    |_, _| Verdict::Fail(error(28))),
    ("EINTR",     |_, _| Verdict::Fail(error(4))),
    ("late EIO",  |request, dice| Verdict::FailAfter(error(5), dice.below(request.len_bytes + 1))),
    ("short",     |request, dice| Verdict::Short(1 + dice.below(request.len_bytes))),
];

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// What somebody does next.
struct Act {
    name: &'static str,
    /// How often, among the others.
    weight: usize,
    /// Whether others may be at a call meanwhile. The rest ends a process, or its log.
    beside: bool,
    /// False if there was nothing to do.
    act: fn(&Sim) -> bool,
}

const fn act(name: &'static str, weight: usize, beside: bool, act: fn(&Sim) -> bool) -> Act {
    Act { name, weight, beside, act }
}

/// Everything that can happen.
#[rustfmt::skip]
const ACTS: &[Act] = &[
    act("append",          3, true,  Sim::append),
    act("turn",           10, true,  |sim| sim.append() && sim.seal()),
    act("write",          12, true,  |sim| sim.steps().is_some_and(|steps| steps.write())),
    act("begin sync",      8, true,  |sim| sim.steps().is_some_and(|steps| steps.begin_sync())),
    act("end sync",        8, true,  |sim| sim.steps().is_some_and(|steps| steps.end_sync())),
    act("chore",           8, true,  |sim| sim.steps().is_some_and(|steps| steps.do_chore())),
    act("0.4 s",           4, true,  |sim| sim.steps().map(|steps| steps.advance_ms(400)).is_some()),
    act("room",            2, true,  Sim::change_room),
    act("sync now",        1, true,  Sim::sync_now),
    act("rewrite",        10, true,  Sim::rewrite),
    act("policy",          1, true,  Sim::change_policy),
    act("a minute",        1, false, Sim::wait_a_minute),
    act("start",           0, false, Sim::start),
    act("kill",            1, false, |sim| sim.crash(None)),
    act("power cut",       1, false, |sim| sim.crash(Some(sim.any_cut()))),
    act("stop and start",  1, false, |sim| sim.stop() && sim.start()),
    act("appendonly no",   1, false, Sim::stop),
    act("appendonly yes",  3, false, Sim::switch_on),
    act("remove live",     1, false, |sim| sim.take_live_file(|mem, live| mem.remove(live))),
    act("rename live",     1, false, |sim| sim.take_live_file(|mem, live| mem.rename(live, &live.with_extension("old")))),
];

fn named(name: &str) -> &'static Act {
    ACTS.iter().find(|act| act.name == name).unwrap_or_else(|| panic!("no act is called {name}"))
}

const POLICIES: [Fsync; 3] = [Fsync::Always, Fsync::Everysec, Fsync::No];

/// Policy, whether bases are RDB files, and `aof-checksum`: every way, in an order in which the first few differ in all.
#[rustfmt::skip]
const KINDS: [(Fsync, bool, bool); 12] = [
    (Fsync::Everysec, true, true), (Fsync::Always, false, true),  (Fsync::No, true, false),
    (Fsync::Always, true, true),   (Fsync::No, true, true),       (Fsync::Everysec, false, false),
    (Fsync::No, false, true),      (Fsync::Everysec, false, true), (Fsync::Always, false, false),
    (Fsync::Everysec, true, false), (Fsync::Always, true, false), (Fsync::No, false, false),
];

/// So many of them in ci, and all in a soak.
fn kinds(in_ci: usize) -> impl Iterator<Item = Options> {
    let count = if soak() == 1 { in_ci } else { KINDS.len() };
    KINDS.into_iter().take(count).map(|(fsync, is_rdb, checksum)| Options {
        checksum,
        empty_base_rdb: is_rdb.then(|| rdb(&[])),
        ..options(fsync)
    })
}

fn shown(options: &Options) -> String {
    let Options { fsync, checksum, empty_base_rdb, .. } = options;
    let format = if empty_base_rdb.is_some() { "an RDB base" } else { "a base of commands" };
    format!("{fsync:?}, {format}, checksum {checksum}")
}

/// Chance that a seed repeats: splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// So many seeds from `EVERLOG_SEED` on.
#[expect(clippy::print_stdout, reason = "a failure is repeated by it")]
fn seeds(count: u64) -> Range<u64> {
    let first = number("EVERLOG_SEED").unwrap_or(0);
    println!("EVERLOG_SEED={first}");
    first..first.saturating_add(count)
}

/// How many images of power cuts the tests below try together, at each multiple of `EVERLOG_SOAK` as many again.
const LEAST_CUTS: usize = 100_000;
/// So many tests count them, and the last one adds up.
const TALLIES: usize = 4;
static ALL: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// What many histories came to.
#[derive(Default)]
struct Tally {
    histories: usize,
    calls: usize,
    images: usize,
    cuts: usize,
    taken: usize,
    wrong: BTreeMap<Wrong, usize>,
    /// The shortest of the histories that went wrong.
    example: Option<(usize, String)>,
}

impl Tally {
    fn add(&mut self, context: &str, outcome: Outcome) {
        self.histories += 1;
        self.calls += outcome.calls;
        self.images += outcome.images;
        self.cuts += outcome.cuts;
        self.taken += outcome.taken;
        let Some(complaint) = outcome.complaint else { return };
        *self.wrong.entry(complaint.wrong).or_default() += 1;
        let len = outcome.trace.len();
        if self.example.as_ref().is_none_or(|(shortest, _)| len < *shortest) {
            let lines = outcome.trace.join("\n  ");
            self.example =
                Some((len, format!("{context}\n  {lines}\n{:?}: {}", complaint.wrong, complaint.text)));
        }
    }

    #[expect(clippy::print_stdout, reason = "a soak tells how much it has tried")]
    fn conclude(self, name: &str) {
        let Tally { histories, calls, images, cuts, taken, wrong, example } = self;
        println!(
            "{name}: {histories} histories, {calls} calls, {taken} live files taken away, {images} images, {cuts} of \
             power cuts, wrong: {wrong:?}"
        );
        if let Some((_, example)) = example {
            panic!("{wrong:?} of {histories} histories, {images} images; the shortest: {example}");
        }
        let mut all = ALL.lock().expect("nothing panics here");
        all.push(cuts);
        if all.len() == TALLIES {
            let (sum, least) = (all.iter().sum::<usize>(), LEAST_CUTS * soak() as usize);
            println!("tried: {sum} images of power cuts");
            assert!(sum >= least, "{all:?} are fewer than {least}");
        }
    }
}

#[test]
fn whatever_happens_by_chance_a_start_finds_a_prefix_and_all_that_was_promised() {
    let one = number("EVERLOG_SIM_SEED");
    let seeds = one.map_or_else(|| seeds(150 * soak()), |seed| seed..seed.saturating_add(1));
    let mut tally = Tally::default();
    for seed in seeds {
        let mut dice = Dice(seed);
        let options = Options {
            fsync: dice.pick(&POLICIES),
            timestamps: dice.below(2) == 0,
            checksum: dice.below(4) > 0,
            empty_base_rdb: (dice.below(2) == 0).then(|| rdb(&[])),
            disable_auto_gc: dice.below(4) == 0,
            no_fsync_on_rewrite: dice.below(4) == 0,
            ..options(Fsync::No)
        };
        let faults = [Faults::None, Faults::OneIn(8), Faults::OneIn(30), Faults::OneIn(100)];
        let context = format!("EVERLOG_SIM_SEED={seed}, {}", shown(&options));
        let sim = Sim::new(dice.roll(), options, dice.pick(&faults), Looks::OneIn(2));
        // Until a base makes good for a file that is gone, nothing can end.
        sim.state().has_meddlers = dice.below(3) == 0;
        if dice.below(4) == 0 {
            sim.state().has_end = true;
            sim.change_room();
        }
        // Some begin in an empty directory, with the log off.
        if seed % 10 != 9 {
            sim.start();
        }
        for _ in 0..60 {
            if !sim.is_over() {
                sim.act_by_chance();
            }
        }
        tally.add(&context, sim.finish());
    }
    tally.conclude("by chance");
}

/// A little of everything, in an order in which all of it happens; then, in an empty directory, the first base of a log
/// that is switched on.
#[rustfmt::skip]
const SCRIPTS: &[(&str, &[&str])] = &[("a log that goes on", &[
    "start", "turn", "write", "begin sync", "turn", "end sync", "write", "rewrite", "write", "turn", "chore", "begin sync",
    "end sync", "write", "rewrite", "turn", "write", "begin sync", "end sync", "write", "turn", "write", "rewrite", "rewrite",
    "write", "turn", "write", "chore", "rewrite", "write",
    "chore", "write", "chore", "0.4 s", "0.4 s", "0.4 s", "begin sync", "end sync", "write", "sync now", "turn",
]), ("a mark in front of a switch", &[
    "start", "turn", "write", "write", "sync now", "begin sync", "end sync", "0.4 s", "0.4 s", "0.4 s", "write", "rewrite",
    "write", "chore", "rewrite", "write", "turn", "write", "write", "begin sync", "end sync", "write", "turn", "write",
    "rewrite", "rewrite", "write", "chore", "rewrite", "write", "chore", "write", "turn", "chore", "write", "rewrite",
    "rewrite", "write", "chore", "turn", "rewrite", "write",
]), ("a first base", &[
    "append", "appendonly yes", "turn", "rewrite", "write", "chore", "rewrite", "turn", "write", "rewrite", "write", "turn",
    "write", "rewrite", "write", "turn", "chore", "rewrite", "turn", "write", "begin sync", "end sync", "appendonly no", "turn",
    "appendonly yes", "rewrite", "write", "chore", "rewrite", "write", "turn", "write", "rewrite", "rewrite", "write", "chore",
    "rewrite", "write", "chore", "write", "turn", "chore", "write",
]), ("a live file that is taken away", &[
    "start", "turn", "write", "write", "begin sync", "end sync", "turn", "write", "remove live", "turn", "0.4 s", "0.4 s", "0.4 s",
    "begin sync", "end sync", "write", "turn", "rename live", "rewrite", "write", "chore", "rewrite", "write", "rewrite", "write",
    "write", "turn", "rewrite", "rewrite", "write", "chore", "rewrite", "write",
])];

#[test]
fn whichever_call_of_a_rewrite_or_a_take_over_suffers_nothing_promised_is_lost() {
    let mut tally = Tally::default();
    for (seed, options) in seeds(soak()).flat_map(|seed| kinds(3).map(move |options| (seed, options))) {
        for (&(name, script), &fault) in
            SCRIPTS.iter().flat_map(|script| FAULTS.iter().map(move |fault| (script, fault)))
        {
            for nth in 0.. {
                let faults = Faults::Once(nth, fault);
                let sim = Sim::new(seed << 32 | nth as u64, options.clone(), faults, Looks::From(nth));
                let outcome = sim.perform(script);
                let is_last = nth >= outcome.calls;
                let context = format!("{name}, {}, {} at call {nth}, seed {seed}", shown(&options), fault.0);
                tally.add(&context, outcome);
                if is_last {
                    break;
                }
            }
        }
    }
    tally.conclude("a fault at every call");
}

/// Between the manifest that lists the first files and their names there were moments in which a start found bytes that
/// no manifest listed, or names without a file.
#[test]
fn a_crash_before_any_call_of_a_script_loses_nothing_promised() {
    let (mut tally, seeds) = (Tally::default(), seeds(soak().min(20)));
    for (options, &(name, script)) in
        kinds(12).flat_map(|options| SCRIPTS.iter().map(move |script| (options.clone(), script)))
    {
        for seed in seeds.clone() {
            let sim = Sim::new(seed, options.clone(), Faults::None, Looks::EveryWay);
            tally.add(&format!("{name}, {}, seed {seed}", shown(&options)), sim.perform(script));
        }
    }
    let taken = tally.taken as u64;
    tally.conclude("a crash at every call");
    assert!(taken >= KINDS.len() as u64 * soak().min(20), "one of the scripts does so: {taken}");
}

/// What a small history is made of.
const ALPHABET: [&str; 6] = ["turn", "write", "begin sync", "end sync", "rewrite", "chore"];

#[test]
fn every_small_history_survives_a_crash_before_every_call() {
    let (len, first) = (4 + soak().ilog(6), seeds(1).start);
    let mut tally = Tally::default();
    for options in kinds(3) {
        let mut n = 0;
        while n < ALPHABET.len().pow(len) {
            let sim = Sim::new(first.wrapping_add(n as u64), options.clone(), Faults::None, Looks::EveryWay);
            sim.start();
            // The first act is the highest digit: one that does nothing makes all that begin like this superfluous.
            let idle = (0..len).rev().find(|&digit| {
                let name = ALPHABET[n / ALPHABET.len().pow(digit) % ALPHABET.len()];
                !sim.act(named(name))
            });
            n += ALPHABET.len().pow(idle.unwrap_or(0));
            if idle.is_none() {
                tally.add(&format!("{}, history {n}", shown(&options)), sim.finish());
            }
        }
    }
    tally.conclude("every small history");
}

/// An oracle that never complains proves nothing.
#[test]
fn the_oracle_notices_what_is_halved_doubled_skipped_lost_or_refused() {
    let mut history = History::default();
    history.append(None, &[(0, 0)]);
    history.append(None, &[(1, 0), (0, 0)]);
    let whole = history.base(2, None);
    let [select_0, first, select_1, second, third] = [
        request(&["SELECT", "0"]),
        request(&["SET", "k", "0.0"]),
        request(&["SELECT", "1"]),
        request(&["SET", "k", "1.0"]),
        request(&["SET", "k", "1.1"]),
    ];
    let (not_prefix, refused) = (Err(Wrong::NotPrefix), Err(Wrong::Refused));
    type Row<'a> = (&'a [&'a [u8]], usize, Result<usize, Wrong>);
    let table: &[Row<'_>] = &[
        (&[&whole], 2, Ok(2)),
        (&[&first], 1, Ok(1)),
        (&[], 0, Ok(0)),
        (&[&first, &select_1, &second], 0, not_prefix),
        (&[&whole, &third], 0, not_prefix),
        (&[&first, &first], 0, not_prefix),
        (&[&select_1, &second, &select_0, &third], 0, not_prefix),
        (&[&first, &second, &third], 0, not_prefix),
        (&[&first], 2, Err(Wrong::Lost)),
        (&[&first, b"x"], 0, refused),
    ];
    for &(incr, promised, expected) in table {
        let image = Mem::new();
        image.put(&path("appendonly.aof.manifest"), b"file appendonly.aof.1.incr.aof seq 1 type i\n");
        image.put(&path("appendonly.aof.1.incr.aof"), &incr.concat());
        let judged = history.judge(&image, &options(Fsync::No), promised, false);
        assert_eq!(judged.map(|found| found.count).map_err(|complaint| complaint.wrong), expected);
    }
}
