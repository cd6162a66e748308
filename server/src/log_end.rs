//! CONFIG SET appendonly no: the log ends once everything in it is durable, and only its client waits for that.
//!
//! ```text
//! CONFIG SET -> park, drain -> durable up to there -> hold writes, drain -> the log is idle -> executed again: log off, OK
//!                   '----------- the disk fails, or takes more than PATIENCE ----------> log stays on, an error
//! ```
//! A log is idle once all of it is durable and its threads have nothing to do: only then does to stop it mean to wait for
//! nobody. Writes are held while the last bytes are synced, else new ones would never let it come to an end; not while
//! somebody is at the directory, which takes as long as it likes.
//!
//! A parked command is executed again, as BLPOP's is, and either ends the log, or finds that somebody else has, or has to
//! wait anew. Whoever comes while others wait joins them, even if the log has become idle meanwhile. Inside a transaction
//! nobody can be parked: there the executor waits.
//!
//! A log that waits for its first base has promised nothing, and may end although its disk fails.

use std::time::{Duration, Instant};

use aof::{Health, Log, Position};

use crate::client::{ClientId, Waiting};
use crate::config::SetError;
use crate::executor::Server;
use crate::settings::Setting;

/// How long the disk may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The end of a log, as long as somebody waits for it.
#[derive(Debug, Default)]
pub struct LogEnd {
    /// Whose CONFIG SET waits.
    clients: Vec<ClientId>,
    /// What for. None: for nothing more, since the log that they waited for is no more.
    goal: Option<Goal>,
}

/// What a log that is to end must come to.
#[derive(Debug)]
struct Goal {
    /// What must be durable next.
    position: Position,
    /// It is the last that must be: writes are held until then.
    holds_writes: bool,
    deadline: Instant,
}

impl LogEnd {
    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether the last bytes are being made durable.
    pub fn holds_writes(&self) -> bool {
        self.goal.as_ref().is_some_and(|goal| goal.holds_writes)
    }

    /// The log is no more: who waits is to be [served](Server::step_log_end), for positions of the next one begin anew.
    pub(crate) fn come(&mut self) {
        self.goal = None;
    }
}

impl Goal {
    /// Takes the next step; true if the log may end.
    fn step(&mut self, log: &mut Log, now: Instant) -> Result<bool, String> {
        if log.is_idle() {
            return Ok(true);
        }
        check(log, self.deadline, now)?;
        let is_near = self.holds_writes || log.durable() >= self.position;
        let holds_writes = is_near && !log.is_directory_busy();
        if holds_writes && (!self.holds_writes || log.end() > self.position) {
            self.position = log.drain();
        }
        self.holds_writes = holds_writes;
        Ok(false)
    }
}

impl Server {
    /// Whether a CONFIG SET that turns the log off must wait for others, or for the disk.
    pub(crate) fn must_wait_for_log_end(&self) -> bool {
        let is_near = || self.persistence.log().is_none_or(Log::is_idle);
        !self.in_exec && (self.persistence.log_end.is_awaited() || !is_near())
    }

    /// Parks a client until the log may end.
    pub fn wait_for_log_end(&mut self, id: ClientId, argv: &[&[u8]]) {
        self.park(id, argv, Waiting::LogEnd, None);
        self.join_log_end(id);
    }

    fn join_log_end(&mut self, id: ClientId) {
        let position = self.persistence.log_mut().map_or(0, Log::drain);
        let deadline = self.clock.now + PATIENCE;
        let log_end = &mut self.persistence.log_end;
        log_end.clients.push(id);
        log_end.goal.get_or_insert(Goal { position, holds_writes: false, deadline }).deadline = deadline;
    }

    /// Once a turn, behind [`persist`](Self::persist): serves those who wait for the log's end, if it has come or may come.
    pub fn step_log_end(&mut self) {
        if !self.persistence.log_end.is_awaited() {
            return;
        }
        let mut log_end = std::mem::take(&mut self.persistence.log_end);
        log_end.clients.retain(|&id| self.clients.get(id).is_some());
        let step = match (self.persistence.log_mut(), &mut log_end.goal) {
            (Some(log), Some(goal)) => goal.step(log, self.clock.now),
            _ => Ok(true),
        };
        match step {
            Ok(false) if log_end.is_awaited() => self.persistence.log_end = log_end,
            Ok(_) => log_end.clients.into_iter().for_each(|id| self.end_log_for(id, None)),
            Err(reason) => log_end.clients.into_iter().for_each(|id| self.end_log_for(id, Some(&reason))),
        }
    }

    /// Executes a command that waited for the log's end, or refuses it.
    fn end_log_for(&mut self, id: ClientId, refusal: Option<&str>) {
        let Some(client) = self.clients.get(id) else { return };
        let Some(argv) = client.blocked.as_ref().map(|blocked| blocked.argv.clone()) else { return };
        let (argv, local) = (argv.words(), client.is_local());
        let set = match refusal {
            None => self.set_config(&crate::commands::server::pairs(&argv), local),
            Some(reason) => {
                Err(SetError::Failed { name: b"appendonly".to_vec(), reason: reason.to_owned() }.into())
            }
        };
        match set {
            Ok(Setting::Done) => self.answer_parked(id, |reply| reply.ok()),
            Ok(Setting::AwaitsLogEnd) => self.join_log_end(id),
            Err(error) => self.answer_parked(id, |reply| reply.error(&error.to_string())),
        }
    }

    /// Turns the log off at once, or after a wait in which nothing else happens.
    ///
    /// # Errors
    /// When the disk fails or takes too long; the log stays on, and so does a rewrite.
    pub fn turn_log_off(&mut self) -> anyhow::Result<()> {
        self.turn_log_off_within(PATIENCE)
    }

    pub(crate) fn turn_log_off_within(&mut self, patience: Duration) -> anyhow::Result<()> {
        if let Some(log) = self.persistence.log_mut() {
            await_idle(log, patience).map_err(anyhow::Error::msg)?;
            // The file may be gone since anything was last written to it.
            if !log.is_waiting_rewrite() && log.needs_base() {
                return Err(anyhow::Error::msg(LOST));
            }
        }
        // Not before: it may be the one that a log without a base waits for, and nobody would begin another.
        self.abort_rewrite();
        self.drop_log();
        self.refuse_waiting_for_log();
        // Positions of the next log begin anew.
        self.gate = crate::gate::Gate::default();
        self.clients.forget_positions();
        self.settle_whole_stream();
        Ok(())
    }

    /// Lets nobody but the executor be at the log's files, for a command that reads them: a rewrite ends, to begin anew
    /// later, and a base that is being published already, and the removal of what it supersedes, are waited for.
    ///
    /// # Errors
    /// When the disk fails or takes too long, in words.
    pub(crate) fn rest_log(&mut self) -> Result<(), String> {
        self.persistence.scheduled |= self.persistence.is_rewriting();
        self.abort_rewrite();
        self.persistence.log_mut().map_or(Ok(()), |log| await_idle(log, PATIENCE))
    }
}

/// Waits until all of a log is durable and its threads have nothing to do.
fn await_idle(log: &mut Log, patience: Duration) -> Result<(), String> {
    log.drain();
    let deadline = Instant::now() + patience;
    while !log.is_idle() {
        check(log, deadline, Instant::now())?;
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

const LOST: &str = "the disk has lost writes; a rewrite repairs that";

/// Whether the disk may still make everything durable in time. A log without a base gives up by itself what fails.
fn check(log: &Log, deadline: Instant, now: Instant) -> Result<(), String> {
    if let Health::Failing(failure) = log.health()
        && !log.is_waiting_rewrite()
    {
        return Err(format!("{} of {}: {}", failure.op, failure.path.display(), failure.message));
    }
    if log.stats(now).lost_below.is_some() {
        return Err(LOST.into());
    }
    if now >= deadline {
        return Err(format!("the disk takes more than {PATIENCE:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aof::fs::Mem;
    use aof::{Options, Steps};

    use super::*;

    /// A hanging fsync of the directory held all writes for as long as PATIENCE.
    #[test]
    fn writes_are_not_held_for_who_is_at_the_directory() {
        let (fs, options) = (Arc::new(Mem::new()), Options::new("/data"));
        let (mut log, steps) = Steps::start_waiting_rewrite(fs, &options, Box::new(|| {})).unwrap();
        let now = steps.now();
        log.begin_rotation().unwrap();
        assert!(steps.write(), "the next file is being opened");
        let mut goal = Goal { position: log.drain(), holds_writes: false, deadline: now + PATIENCE };
        assert_eq!((goal.step(&mut log, now), goal.holds_writes), (Ok(false), false));
        assert!(steps.do_chore());
        assert_eq!(goal.step(&mut log, now), Ok(true));
        steps.ask_to_stop();
        while steps.write() {}
    }
}
