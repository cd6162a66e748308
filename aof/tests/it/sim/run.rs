//! One history of a log on a simulated disk. Whoever would be a thread takes a step at a time, in the order of a seed or
//! of a list; before every single call to the disk the power may fail, others may go on, and the call may fail.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use aof::fs::{Call, Mem, PowerCut, Request, Verdict};
use aof::{BaseFormat, Fs, Fsync, Log, Options, Steps};

use super::history::{Complaint, History, Promised, Wrong};
use super::{ACTS, Act, CUTS, Dice, FAULTS, Fault, named};
use crate::world::path;

/// A disk that is never full.
const ENDLESS_BYTES: u64 = 1 << 40;
/// What may be free on others: nothing, too little for a mark of `aof::space`, or enough.
const ROOMS_BYTES: [u64; 7] = [0, 1 << 10, 60 << 10, 200 << 10, 300 << 10, 600 << 10, 8 << 20];

/// Steps within steps: three threads, each of them at a call.
const DEEPEST: usize = 3;

/// Which calls fail.
#[derive(Clone, Copy)]
pub(super) enum Faults {
    None,
    /// The one with this number.
    Once(usize, Fault),
    /// One in so many.
    OneIn(usize),
}

/// Before which calls the world is looked at.
#[derive(Clone, Copy)]
pub(super) enum Looks {
    /// Before each: killed, and cut in every way.
    EveryWay,
    /// Before the one with this number, and before half of those that follow, in one way by chance.
    From(usize),
    /// Before one in so many, in one way by chance. Others go on meanwhile.
    OneIn(usize),
}

pub(super) struct Sim {
    me: Weak<Sim>,
    faults: Faults,
    looks: Looks,
    /// Who has the lock is the executor, which is one thread; none while `appendonly no`.
    pub(super) log: Mutex<Option<Log>>,
    /// Never held while a step is made.
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) mem: Mem,
    pub(super) options: Options,
    pub(super) steps: Option<Arc<Steps>>,
    pub(super) dice: Dice,
    pub(super) history: History,
    pub(super) rewrite: Rewrite,
    /// Nothing counts before the first base.
    pub(super) is_waiting: bool,
    /// This log was under `no`: memory has not kept all that is not durable.
    pub(super) has_forgotten: bool,
    /// Then an fdatasync failed: what only the kernel had may be gone, and a start steps over that hole.
    pub(super) is_lossy: bool,
    /// An fdatasync failed: pages are clean that are not on the disk.
    pub(super) has_lost_pages: bool,
    /// Somebody else is at the files, too.
    pub(super) has_meddlers: bool,
    /// Files that they have taken away, and that a start may look for.
    pub(super) missing: Vec<String>,
    /// Blocks are more than a minute apart.
    pub(super) has_rested: bool,
    /// The disk may be full.
    pub(super) has_end: bool,
    /// From now on, every call succeeds.
    pub(super) is_healed: bool,
    depth: usize,
    calls: usize,
    images: usize,
    cuts: usize,
    pub(super) taken: usize,
    pub(super) trace: Vec<String>,
    complaint: Option<Complaint>,
}

/// How far a rewrite has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rewrite {
    None,
    Rotating,
    /// The snapshot was taken; a thread writes it.
    Switched {
        covers: u64,
        base: Vec<u8>,
    },
    Working,
    /// It could not.
    Failed,
    Written {
        covers: u64,
    },
    Publishing,
}

/// How a history went.
pub(super) struct Outcome {
    pub(super) images: usize,
    /// Those of them that a power cut has left.
    pub(super) cuts: usize,
    /// Live files that somebody has taken away.
    pub(super) taken: usize,
    pub(super) calls: usize,
    pub(super) complaint: Option<Complaint>,
    pub(super) trace: Vec<String>,
}

impl Sim {
    pub(super) fn new(seed: u64, options: Options, faults: Faults, looks: Looks) -> Arc<Sim> {
        let sim = Arc::new_cyclic(|me| Sim {
            me: me.clone(),
            faults,
            looks,
            log: Mutex::default(),
            state: Mutex::new(State {
                mem: Mem::new(),
                options,
                steps: None,
                dice: Dice(seed),
                history: History::default(),
                rewrite: Rewrite::None,
                is_waiting: false,
                has_forgotten: false,
                is_lossy: false,
                has_lost_pages: false,
                has_meddlers: true,
                missing: Vec::new(),
                has_rested: false,
                has_end: false,
                is_healed: false,
                depth: 0,
                calls: 0,
                images: 0,
                cuts: 0,
                taken: 0,
                trace: Vec::new(),
                complaint: None,
            }),
        });
        let mem = Mem::new();
        mem.put("/data/redis.conf".as_ref(), b"");
        sim.mount(mem);
        sim
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test goes on after a panic")
    }

    pub(super) fn steps(&self) -> Option<Arc<Steps>> {
        self.state().steps.clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().complaint.is_some()
    }

    /// Makes `mem` the disk.
    pub(super) fn mount(&self, mem: Mem) {
        self.watch(&mem);
        let old = std::mem::replace(&mut self.state().mem, mem);
        old.heal();
        self.change_room();
    }

    /// Everything succeeds from now on, and there is room.
    pub(super) fn heal(&self) {
        self.state().is_healed = true;
        self.change_room();
    }

    /// Others fill the disk, or make room on it.
    pub(super) fn change_room(&self) -> bool {
        let state = &mut *self.state();
        if state.has_end {
            state.mem.set_capacity(ENDLESS_BYTES);
            let free_bytes = state.mem.free_bytes("/data".as_ref()).unwrap_or(ENDLESS_BYTES);
            if !state.is_healed {
                let room_bytes = state.dice.pick(&ROOMS_BYTES);
                state.mem.set_capacity(ENDLESS_BYTES - free_bytes + room_bytes);
                state.note(&format!("{room_bytes} bytes free"));
            }
        }
        state.has_end
    }

    fn watch(&self, mem: &Mem) {
        let me = self.me.clone();
        mem.on_call(move |request| me.upgrade().map_or(Verdict::Pass, |sim| sim.before(request)));
    }

    /// What another process does to the disk: no call of ours, and nothing of ours happens meanwhile.
    pub(super) fn by_others<T>(&self, work: impl FnOnce(&Mem) -> T) -> T {
        let mem = self.state().mem.clone();
        mem.heal();
        let done = work(&mem);
        self.watch(&mem);
        done
    }

    /// Does one thing; false if there was nothing to do, and thus nothing happened.
    pub(super) fn act(&self, act: &Act) -> bool {
        let lines = {
            let mut state = self.state();
            let line = format!("{}{}", "    ".repeat(state.depth), act.name);
            state.trace.push(line);
            state.trace.len()
        };
        let is_done = (act.act)(self);
        let mut state = self.state();
        if !is_done && state.trace.len() == lines {
            state.trace.pop();
        }
        is_done
    }

    pub(super) fn act_by_chance(&self) {
        let chosen = {
            let mut state = self.state();
            let is_alone = state.depth == 0;
            let may = |act: &&Act| is_alone || act.beside;
            let mut chance = state.dice.below(ACTS.iter().filter(may).map(|act| act.weight).sum());
            ACTS.iter().filter(may).find(|act| {
                let is_it = chance < act.weight;
                chance = chance.saturating_sub(act.weight);
                is_it
            })
        };
        chosen.map(|act| self.act(act));
    }

    /// Does what a list says, one after the other.
    pub(super) fn perform(&self, script: &[&str]) -> Outcome {
        for name in script.iter().filter(|_| !self.is_over()) {
            self.act(named(name));
        }
        self.finish()
    }

    /// Everything succeeds from now on: then all is durable in the end, and a power cut takes nothing.
    pub(super) fn finish(&self) -> Outcome {
        self.heal();
        if !self.is_over() {
            self.settle();
        }
        if !self.is_over() {
            let state = &mut *self.state();
            let (all, image) = (state.history.len(), state.mem.power_cut());
            (state.images, state.cuts) = (state.images + 1, state.cuts + 1);
            state.complaint = state.history.judge(&image, &state.options, all, false).err();
        }
        self.mount(Mem::new());
        let mut state = self.state();
        Outcome {
            images: state.images,
            cuts: state.cuts,
            taken: state.taken,
            calls: state.calls,
            complaint: state.complaint.take(),
            trace: std::mem::take(&mut state.trace),
        }
    }

    /// Before every call to the disk.
    fn before(&self, request: &Request<'_>) -> Verdict {
        let (call, depth) = {
            let state = &mut *self.state();
            let name = request.path.file_name().unwrap_or_default().to_string_lossy();
            state.trace.push(format!("{}- {:?} {name}", "    ".repeat(state.depth), request.call));
            state.calls += 1;
            state.depth += 1;
            (state.calls - 1, state.depth)
        };
        if !self.is_over() {
            self.look(call);
            if matches!(self.looks, Looks::OneIn(_)) {
                while depth <= DEEPEST && !self.is_over() && self.state().dice.below(3) == 0 {
                    self.act_by_chance();
                }
            }
        }
        let mut state = self.state();
        state.depth -= 1;
        state.verdict(self.faults, call, request)
    }

    fn look(&self, call: usize) {
        let state = &mut *self.state();
        let mut ways: Vec<Option<PowerCut>> = state.enabled_cuts().map(Some).chain([None]).collect();
        let is_due = match self.looks {
            Looks::EveryWay => true,
            Looks::From(first) => call == first || call > first && state.dice.below(2) == 0,
            Looks::OneIn(many) => state.dice.below(many) == 0,
        };
        if !is_due {
            return;
        }
        if !matches!(self.looks, Looks::EveryWay) {
            ways = vec![state.dice.pick(&ways)];
        }
        let promised = state.promised();
        for way in ways {
            let seed = state.dice.roll();
            if let Err(complaint) = state.judge(way, seed, promised) {
                let text = format!("before call {call}, {way:?} {seed:#x}: {}", complaint.text);
                state.complain(Complaint { text, ..complaint });
            }
        }
    }
}

impl State {
    /// More of what happens.
    pub(super) fn note(&mut self, what: &str) {
        self.trace.push(format!("{}  {what}", "    ".repeat(self.depth)));
    }

    /// The first complaint is the one that is told.
    pub(super) fn complain(&mut self, complaint: Complaint) {
        self.complaint.get_or_insert(complaint);
    }

    pub(super) fn promised(&self) -> Promised {
        match &self.steps {
            Some(steps) if !self.is_waiting => self.history.promised(steps.written(), steps.durable()),
            _ => self.history.floor(),
        }
    }

    /// Of bases, the first and empty one included.
    pub(super) fn format(&self) -> BaseFormat {
        if self.options.empty_base_rdb.is_some() { BaseFormat::Rdb } else { BaseFormat::Resp }
    }

    /// Those that recovery is held to.
    pub(super) fn enabled_cuts(&self) -> impl Iterator<Item = PowerCut> + use<> {
        let has_checksums = self.options.checksum;
        CUTS.iter().filter(move |(_, without)| has_checksums || *without).map(|(cut, _)| *cut)
    }

    /// Whether what this one leaves may be refused, a hole being taken for older than it is.
    pub(super) fn misdates(&self, cut: PowerCut) -> bool {
        self.has_rested && matches!(cut, PowerCut::PagesLeavingZeros | PowerCut::PagesLeavingOldBlocks)
    }

    pub(super) fn set_fsync(&mut self, fsync: Fsync) {
        self.options.fsync = fsync;
        self.has_forgotten |= fsync == Fsync::No;
    }

    /// Whether a process that starts now believes what is not on the disk: without checksums no line says what is, and a
    /// start does not write again all that there is.
    pub(super) fn deceives(&self) -> bool {
        self.has_lost_pages && !self.options.checksum
    }

    /// Judges what a kill, or a power cut, leaves at this moment.
    fn judge(&mut self, way: Option<PowerCut>, seed: u64, promised: Promised) -> Result<(), Complaint> {
        let is_lossy = self.is_lossy && way.is_some();
        // The hole may be inside a value, and nothing tells.
        if is_lossy && !self.options.checksum {
            return Ok(());
        }
        let (image, least) = match way {
            None => (self.mem.kill(), promised.by_kill),
            Some(cut) => (self.mem.power_cut_with(cut, seed), promised.by_power_cut),
        };
        let judged = self.history.judge(&image, &self.options, least, is_lossy);
        let misdates = way.is_some_and(|cut| self.misdates(cut));
        if judged
            .as_ref()
            .is_err_and(|complaint| self.explains(complaint) || misdates && complaint.wrong == Wrong::Refused)
        {
            return Ok(());
        }
        self.images += 1;
        self.cuts += usize::from(way.is_some());
        let found = judged?;
        let crash = if way.is_none() && self.deceives() { Mem::kill } else { Mem::power_cut };
        self.history.goes_on(&image, &self.options, &found, crash)
    }

    /// A start that names the file which somebody has taken away is right to refuse.
    fn explains(&self, complaint: &Complaint) -> bool {
        complaint.wrong == Wrong::Refused && self.missing.iter().any(|name| complaint.text.contains(name))
    }

    /// Whether a start would look for a file that somebody has taken away.
    pub(super) fn misses_listed(&self) -> bool {
        self.missing.iter().any(|name| self.lists(name))
    }

    /// A base is durable, and a manifest with it: what that no longer lists, nobody will look for.
    pub(super) fn forgive_unlisted(&mut self) {
        let mut missing = std::mem::take(&mut self.missing);
        missing.retain(|name| self.lists(name));
        self.missing = missing;
    }

    fn lists(&self, name: &str) -> bool {
        let manifest = self.mem.bytes(&path("appendonly.aof.manifest")).unwrap_or_default();
        let is_listed = |line: &str| line.split(' ').any(|word| word == name) && line.ends_with(" type i");
        String::from_utf8_lossy(&manifest).lines().any(is_listed)
    }

    fn verdict(&mut self, faults: Faults, call: usize, request: &Request<'_>) -> Verdict {
        let fault = match faults {
            _ if self.is_healed => None,
            Faults::None => None,
            Faults::Once(nth, fault) => (call == nth).then_some(fault),
            Faults::OneIn(many) => (self.dice.below(many) == 0).then(|| self.dice.pick(FAULTS)),
        };
        let Some((name, fault)) = fault else { return Verdict::Pass };
        let verdict = fault(request, &mut self.dice);
        let fails = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        if request.call == Call::SyncData && matches!(&verdict, Verdict::Fail(error) if fails(error)) {
            self.has_lost_pages = true;
            self.is_lossy |= self.has_forgotten;
        }
        self.note(name);
        verdict
    }
}
