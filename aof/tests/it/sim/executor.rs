//! What the thread does that executes commands, and the one that rewrites: as a server does it.

use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use aof::fs::{Mem, PowerCut, retry, write_all};
use aof::space::SECOND_MARK_BYTES;
use aof::{BaseFormat, BaseFrame, Directory, Error, Fs, Fsync, Health, Log, NewBase, Steps};

use super::POLICIES;
use super::history::{Complaint, History, Promised, TIME_MS, Wrong};
use super::run::{Rewrite, Sim};
use crate::world::{Recorder, TEMP};

/// Longer than a power cut takes what was written at one time.
const MINUTE_MS: u64 = 61_000;
/// More steps than any log needs to come to rest.
const PATIENCE: usize = 300;

impl Sim {
    /// None while the executor is at a call.
    fn lock_log(&self) -> Option<MutexGuard<'_, Option<Log>>> {
        self.log.try_lock().ok()
    }

    fn with_log(&self, work: impl FnOnce(&mut Log) -> bool) -> bool {
        self.lock_log().is_some_and(|mut log| log.as_mut().is_some_and(work))
    }

    /// Nobody asks for anything for a minute, but for what is written to be synced, at its beginning: the threads come
    /// to rest, and the kernel writes back what is dirty.
    pub(super) fn wait_a_minute(&self) -> bool {
        let Some(steps) = self.steps() else { return false };
        self.seal();
        self.sync_now();
        for _ in 0..MINUTE_MS / 500 {
            let mut left = PATIENCE;
            while left > 0 && (steps.write() || steps.begin_sync() || steps.end_sync() || steps.do_chore()) {
                left -= 1;
            }
            steps.advance_ms(500);
        }
        let live = steps.live_path();
        self.by_others(|mem| live.map(|live| mem.open_append(&live)?.sync_data()));
        let state = &mut *self.state();
        state.history.rest_ms(MINUTE_MS);
        state.has_rested = true;
        true
    }

    /// Executes a unit of one command or several, at times a large one, unless there is no room for it.
    pub(super) fn append(&self) -> bool {
        let Some(mut log) = self.lock_log() else { return false };
        let is_full = |log: &Log| log.health() != Health::Healthy && log.room_bytes() < SECOND_MARK_BYTES;
        if self.state().has_end && log.as_ref().is_some_and(is_full) {
            return false;
        }
        let state = &mut *self.state();
        let count = 1 + state.dice.below(2) * state.dice.below(4);
        let mut op = || {
            let padding = if state.dice.below(8) == 0 { state.dice.below(6000) } else { 0 };
            (state.dice.below(3) as u32, padding)
        };
        let ops: Vec<(u32, usize)> = (0..count).map(|_| op()).collect();
        state.history.append(log.as_mut(), &ops);
        true
    }

    pub(super) fn seal(&self) -> bool {
        let now = self.steps().map(|steps| steps.now());
        self.with_log(|log| now.map(|now| log.seal(now)).is_some())
    }

    pub(super) fn sync_now(&self) -> bool {
        self.with_log(|log| log.sync_now() > log.durable())
    }

    pub(super) fn change_policy(&self) -> bool {
        let fsync = self.state().dice.pick(&POLICIES);
        self.with_log(|log| {
            self.state().set_fsync(fsync);
            log.set_fsync(fsync);
            true
        })
    }

    /// The next step of a rewrite. Its base holds the whole history up to the switch: nothing can hide behind a state.
    pub(super) fn rewrite(&self) -> bool {
        let stage = self.state().rewrite.clone();
        match stage {
            Rewrite::None => self.with_log(|log| {
                log.set_rewrite_running(true);
                self.enter(log.begin_rotation().map_or(Rewrite::None, |()| Rewrite::Rotating))
            }),
            Rewrite::Rotating => self.with_log(|log| match log.rotation_ready() {
                None => false,
                Some(Err(_)) => self.give_up(log),
                Some(Ok(())) => {
                    let covers = log.switch();
                    let frame = BaseFrame::new(log.epoch(), covers, TIME_MS);
                    let state = &mut *self.state();
                    let frame = state.options.checksum.then_some(frame);
                    let write = match state.format() {
                        BaseFormat::Rdb => History::rdb_base,
                        BaseFormat::Resp => History::base,
                    };
                    let base = write(&state.history, state.history.len(), frame);
                    state.rewrite = Rewrite::Switched { covers, base };
                    true
                }
            }),
            Rewrite::Switched { covers, base } => {
                self.enter(Rewrite::Working);
                let written = self.write_base(&base);
                // Else a crash has ended it, or appendonly no.
                if self.state().rewrite == Rewrite::Working {
                    self.enter(if written.is_ok() { Rewrite::Written { covers } } else { Rewrite::Failed });
                }
                true
            }
            Rewrite::Working => false,
            Rewrite::Failed => self.with_log(|log| self.give_up(log)),
            Rewrite::Written { covers } => self.with_log(|log| {
                let (temp_path, format) = (TEMP.into(), self.state().format());
                log.publish_base(NewBase { temp_path, format, covers, len_bytes: 0 });
                self.enter(Rewrite::Publishing)
            }),
            Rewrite::Publishing => self.with_log(|log| match log.base_published() {
                None => false,
                Some(Err(_)) => self.give_up(log),
                Some(Ok(())) => {
                    let is_failing = matches!(log.health(), Health::Failing(_));
                    let is_whole = !is_failing && log.stats(Instant::now()).lost_below.is_none();
                    let state = &mut *self.state();
                    state.is_waiting = false;
                    state.is_lossy &= !is_whole;
                    state.forgive_unlisted();
                    state.rewrite = Rewrite::None;
                    log.set_rewrite_running(false);
                    true
                }
            }),
        }
    }

    fn enter(&self, stage: Rewrite) -> bool {
        self.state().rewrite = stage;
        true
    }

    fn give_up(&self, log: &mut Log) -> bool {
        log.set_rewrite_running(false);
        log.give_up_first_base();
        self.enter(Rewrite::None)
    }

    fn write_base(&self, base: &[u8]) -> std::io::Result<()> {
        let mem = self.state().mem.clone();
        let written = retry(|| mem.create(TEMP.as_ref())).and_then(|file| {
            write_all(&*file, &mut [std::io::IoSlice::new(base)])?;
            retry(|| file.sync_data())
        });
        written.inspect_err(|_| drop(mem.remove(TEMP.as_ref())))
    }

    pub(super) fn any_cut(&self) -> PowerCut {
        let state = &mut *self.state();
        let cuts: Vec<PowerCut> = state.enabled_cuts().filter(|&cut| !state.misdates(cut)).collect();
        let cut = state.dice.pick(&cuts);
        state.note(&format!("{cut:?}"));
        cut
    }

    /// The process ends, and with it what the kernel has not, or what the disk has not; then it starts again.
    pub(super) fn crash(&self, cut: Option<PowerCut>) -> bool {
        let image = {
            let state = &mut *self.state();
            // What was lost under `no` may be refused.
            let may_be_refused = if cut.is_some() { state.is_lossy } else { state.deceives() };
            if may_be_refused || !state.missing.is_empty() {
                return false;
            }
            state.has_lost_pages &= cut.is_none();
            let seed = state.dice.roll();
            let Promised { by_kill, by_power_cut } = state.promised();
            // A kill that follows cannot bring back what the power cut took.
            state
                .history
                .end(Promised { by_kill: if cut.is_some() { by_power_cut } else { by_kill }, by_power_cut });
            cut.map_or_else(|| state.mem.kill(), |cut| state.mem.power_cut_with(cut, seed))
        };
        self.mount(image);
        self.end_log(|_| ());
        self.start()
    }

    /// Somebody takes the live file away.
    pub(super) fn take_live_file(&self, how: fn(&Mem, &Path) -> std::io::Result<()>) -> bool {
        // Before the first base it has a name that does not matter.
        let steps = self.steps().filter(|_| {
            let state = self.state();
            state.has_meddlers && !state.is_waiting
        });
        let Some(live) = steps.and_then(|steps| steps.live_path()) else { return false };
        if self.by_others(|mem| how(mem, &live)).is_err() {
            return false;
        }
        let state = &mut *self.state();
        state.missing.extend(live.file_name().map(|name| name.to_string_lossy().into_owned()));
        state.is_lossy |= state.has_forgotten;
        state.taken += 1;
        true
    }

    /// A server asks before it ends, and does not end with a log that the next start would refuse.
    fn refuses_to_stop(&self) -> bool {
        if self.state().missing.is_empty() {
            return false;
        }
        let misses_listed = self.state().misses_listed();
        if self.with_log(|log| misses_listed && !log.needs_base()) {
            self.state().complain(Complaint::new(Wrong::Untold, "a file is gone, and no base is asked for"));
        }
        true
    }

    /// Whatever was sealed becomes durable, or that fails; then nothing is logged.
    pub(super) fn stop(&self) -> bool {
        let Some(steps) = self.steps() else { return false };
        if self.refuses_to_stop() {
            return false;
        }
        let stopped = {
            // It waits: nothing is appended meanwhile.
            let Some(mut log) = self.lock_log() else { return false };
            if let Some(log) = log.as_mut() {
                log.seal(steps.now());
            }
            steps.ask_to_stop();
            self.go_on_until(&steps, || false, || steps.is_stopped())
        };
        let promised = self.state().promised();
        let outcome = self.end_log(Log::stop);
        let state = &mut *self.state();
        let all = state.history.len();
        match outcome {
            Some(Ok(())) if stopped && !state.is_waiting => {
                state.history.end(Promised { by_kill: all, by_power_cut: all });
            }
            Some(Err(error)) if state.is_healed && !state.is_lossy => {
                state.complain(Complaint::new(Wrong::Stuck, format!("stop: {error}")));
            }
            _ => state.history.end(promised),
        }
        true
    }

    /// Everybody goes on as long as possible, and time passes, until `done`.
    fn go_on_until(&self, steps: &Steps, executor: impl Fn() -> bool, done: impl Fn() -> bool) -> bool {
        for _ in 0..PATIENCE {
            if done() || self.is_over() {
                return true;
            }
            if !(executor() || steps.write() || steps.begin_sync() || steps.end_sync() || steps.do_chore()) {
                steps.advance_ms(500);
            }
        }
        self.be_stuck(steps);
        false
    }

    fn be_stuck(&self, steps: &Steps) {
        self.state().complain(Complaint::new(Wrong::Stuck, format!("it never came to rest: {steps:?}")));
    }

    fn end_log<T>(&self, end: impl FnOnce(Log) -> T) -> Option<T> {
        let log = self.lock_log().and_then(|mut log| log.take());
        let ended = log.map(end);
        let state = &mut *self.state();
        (state.steps, state.rewrite) = (None, Rewrite::None);
        ended
    }

    /// Opens, replays and starts, as often as it takes.
    pub(super) fn start(&self) -> bool {
        let was_healed = self.state().is_healed;
        for attempt in 1..=3 {
            self.reboot_if_deceived();
            match self.try_start() {
                Ok(()) => break,
                Err(error) if attempt == 3 => {
                    self.state().complain(Complaint::new(Wrong::Refused, format!("start: {error}")));
                }
                Err(_) => self.heal(),
            }
        }
        self.state().is_healed = was_healed;
        true
    }

    /// Who starts on pages that no fdatasync has saved, without checksums, takes them for durable: the machine has to
    /// go down first.
    fn reboot_if_deceived(&self) {
        let image = {
            let state = &mut *self.state();
            // With a hole, what a start finds is no prefix.
            if !state.deceives() || state.is_lossy {
                return;
            }
            state.has_lost_pages = false;
            // What only the kernel had is gone, and no later kill brings it back.
            let by_power_cut = state.history.floor().by_power_cut;
            state.history.end(Promised { by_kill: by_power_cut, by_power_cut });
            let seed = state.dice.roll();
            state.mem.power_cut_with(PowerCut::Tail, seed)
        };
        self.mount(image);
    }

    fn try_start(&self) -> Result<(), Error> {
        let (options, mem) = {
            let state = self.state();
            (state.options.clone(), state.mem.clone())
        };
        let mut directory = Directory::open(Arc::new(mem), &options)?;
        let mut found = Recorder::default();
        directory.replay(&mut found, &options)?;
        let (log, steps) = Steps::start(directory, &options, Box::new(|| {}))?;
        let state = &mut *self.state();
        match state.history.count(&found.commands) {
            Some(units) => state.history.begin(units),
            None => state.complain(Complaint::new(Wrong::NotPrefix, format!("start: {:?}", found.commands))),
        }
        state.steps = Some(Arc::new(steps));
        // What a start without checksums does not know to be lost, it does not write again.
        state.is_lossy &= state.deceives();
        (state.is_waiting, state.has_forgotten) = (false, options.fsync == Fsync::No);
        *self.log.lock().expect("not poisoned") = Some(log);
        Ok(())
    }

    /// `CONFIG SET appendonly yes`: may fail, with an error reply.
    pub(super) fn switch_on(&self) -> bool {
        if self.steps().is_some() {
            return false;
        }
        let (options, mem) = {
            let state = self.state();
            (state.options.clone(), state.mem.clone())
        };
        let Ok((log, steps)) = Steps::start_waiting_rewrite(Arc::new(mem), &options, Box::new(|| {})) else {
            return true;
        };
        let state = &mut *self.state();
        state.history.begin_waiting();
        state.steps = Some(Arc::new(steps));
        (state.is_waiting, state.has_forgotten) = (true, options.fsync == Fsync::No);
        *self.log.lock().expect("not poisoned") = Some(log);
        true
    }

    /// Makes everything durable, with a rewrite where nothing less does. A disk that has room again counts as full no
    /// longer.
    pub(super) fn settle(&self) {
        self.switch_on();
        let Some(steps) = self.steps() else { return };
        // An fdatasync that failed after all has lost nothing, and the log cannot know.
        let needs_base = || {
            let is_asked_for = self.with_log(|log| log.needs_base());
            let state = self.state();
            is_asked_for || state.is_waiting || state.is_lossy || !state.missing.is_empty()
        };
        let is_healthy = || self.with_log(|log| log.health() == Health::Healthy);
        self.go_on_until(&steps, || needs_base() && self.rewrite(), || !needs_base() && is_healthy());
        self.stop();
    }
}
