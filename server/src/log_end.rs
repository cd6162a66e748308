//! CONFIG SET appendonly no: the log ends once everything in it is durable, and only its client waits for that.
//!
//! ```text
//! CONFIG SET -> park, sync -> durable up to there -> hold writes, sync the rest -> durable up to the end -> log off, OK
//!                   '----------- the disk fails, or takes more than PATIENCE ----------> log stays on, an error
//! ```
//! Writes are held only while the last bytes are synced, else new ones would never let it come to an end. When all is
//! durable the parked command is executed again, as BLPOP's is, and finds nothing to wait for. Inside a transaction
//! nobody can be parked: there the executor waits.
//!
//! A log that waits for its first base has promised nothing, and may end although its disk fails. But it waits like any
//! other for a call that is under way: to stop it means to wait for that.

use std::time::{Duration, Instant};

use aof::{Health, Log, Position};

use crate::client::{ClientId, Waiting};
use crate::config::SetError;
use crate::executor::Server;

/// How long the disk may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A log that is about to end.
#[derive(Debug)]
pub struct LogEnd {
    /// Whose CONFIG SET waits.
    clients: Vec<ClientId>,
    /// What must be durable next.
    position: Position,
    /// It is the last that must be: writes are held until then.
    pub(crate) holds_writes: bool,
    deadline: Instant,
}

impl Server {
    /// Whether a CONFIG SET must wait because it turns the log off. What it says is checked, and changes nothing yet.
    pub fn must_wait_for_log_end(&mut self, pairs: &[(&[u8], &[u8])], local: bool) -> bool {
        let names_it = pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"appendonly"));
        if !names_it || self.in_exec || self.persistence.log_mut().is_none_or(may_end) {
            return false;
        }
        let Ok(changed) = self.config.set(pairs, self.origin(local)) else { return false };
        let turns_off = !self.config.appendonly && changed.contains("appendonly");
        self.config.rollback(changed);
        turns_off
    }

    /// Parks a client until the log may end.
    pub fn wait_for_log_end(&mut self, id: ClientId, argv: &[&[u8]]) {
        self.park(id, argv, Waiting::LogEnd, None);
        let deadline = self.clock.now + PATIENCE;
        let Some(log) = self.persistence.log_mut() else { return };
        let position = log.drain();
        let log_end = self.persistence.log_end.get_or_insert(LogEnd {
            clients: Vec::new(),
            position,
            holds_writes: false,
            deadline,
        });
        log_end.clients.push(id);
    }

    /// Once a turn, behind [`persist`](Self::persist): ends the log that is to end, if it may.
    pub fn step_log_end(&mut self) {
        let Some(mut log_end) = self.persistence.log_end.take() else { return };
        let Some(log) = self.persistence.log_mut() else { return self.end_log(log_end.clients, None) };
        if may_end(log) {
            return self.end_log(log_end.clients, None);
        }
        if let Err(reason) = check(log, log_end.deadline, self.clock.now) {
            return self.end_log(log_end.clients, Some(reason));
        }
        if log.durable() >= log_end.position {
            log_end.position = log.drain();
            log_end.holds_writes = true;
        }
        self.persistence.log_end = Some(log_end);
    }

    /// Executes what waited for the log's end, or refuses it.
    fn end_log(&mut self, clients: Vec<ClientId>, refusal: Option<String>) {
        for id in clients {
            let Some(client) = self.clients.get(id) else { continue };
            let Some(argv) = client.blocked.as_ref().map(|blocked| blocked.argv.clone()) else { continue };
            let (argv, local) = (argv.words(), client.is_local());
            let result = match &refusal {
                None => self.set_config(&crate::commands::server::pairs(&argv), local),
                Some(reason) => {
                    Err(SetError::Failed { name: b"appendonly".to_vec(), reason: reason.clone() }.into())
                }
            };
            self.answer_parked(id, |reply| match result {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(&error.to_string()),
            });
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
            log.drain();
            let deadline = Instant::now() + patience;
            while !may_end(log) {
                check(log, deadline, Instant::now()).map_err(anyhow::Error::msg)?;
                std::thread::sleep(Duration::from_micros(100));
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
}

/// Whether nothing would be lost with the log, and it would stop at once. One that waits for its first base has promised
/// nothing yet.
fn may_end(log: &mut Log) -> bool {
    let is_worthless = log.is_waiting_rewrite() && matches!(log.health(), Health::Failing(_));
    is_worthless || log.durable() >= log.end()
}

/// Whether the disk may still make everything durable in time.
fn check(log: &Log, deadline: Instant, now: Instant) -> Result<(), String> {
    if let Health::Failing(failure) = log.health() {
        return Err(format!("{} of {}: {}", failure.op, failure.path.display(), failure.message));
    }
    if log.stats(now).lost_below.is_some() {
        return Err("the disk has lost writes; a rewrite repairs that".into());
    }
    if now >= deadline {
        return Err(format!("the disk takes more than {PATIENCE:?} to sync"));
    }
    Ok(())
}
