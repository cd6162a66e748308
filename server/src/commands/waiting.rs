//! WAIT and WAITAOF: the reply tells how safe the writes before it are, whatever `appendfsync` promises.
//!
//! WAITAOF asks for an fdatasync at once, one for all that ask in a turn, and is answered when all that was logged
//! before it is durable. That is a little more than Redis asks for, which is what its client had seen. An fdatasync that
//! fails answers nobody: the tail must have reached another file first, or a new base cover it.
//!
//! Replicas are asked how far they are at the end of the turn in which somebody begins to wait for them; they confirm
//! once a second anyway. What they must have is what the client itself wrote last.

use std::time::{Duration, Instant};

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec};
use smallvec::SmallVec;

use super::connection::reply;
use super::{ProcessSpec, integer};
use crate::client::{ClientId, Copies, Made, Waiting};
use crate::executor::Server;

type Result<T = ()> = std::result::Result<T, CommandError>;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[
    spec("wait", wait, 3, CONNECTION, Keys::None, "3.0.0", "Waits for replicas."),
    spec(
        "waitaof",
        waitaof,
        4,
        NOSCRIPT | CONNECTION,
        Keys::None,
        "7.2.0",
        "Waits until earlier writes are durable, here and at replicas.",
    ),
];

const NO_LOG: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

fn wait(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let (wanted, deadline) = (integer(argv[1])?, deadline(server, argv[2])?);
    let (replicas, offset) = (u64::try_from(wanted).unwrap_or(0), server.replicated_to(id));
    let copies = Copies { position: 0, aof: false, local: false, replicas, offset };
    server.wait_for_copies(id, argv, copies, deadline);
    Ok(())
}

fn waitaof(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let local = match integer(argv[1])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::other("ERR value is out of range, value must between 0 and 1")),
    };
    let replicas = match integer(argv[2])? {
        ..0 => return Err(CommandError::other("ERR value is out of range, must be positive")),
        count => count.unsigned_abs(),
    };
    let deadline = deadline(server, argv[3])?;
    let end = server.persistence.log_mut().map(|log| log.end());
    if local && end.is_none() {
        return Err(CommandError::other(NO_LOG));
    }
    let (position, offset) = (end.unwrap_or(0), server.replicated_to(id));
    let copies = Copies { position, aof: true, local, replicas, offset };
    server.wait_for_copies(id, argv, copies, deadline);
    Ok(())
}

/// When a timeout in milliseconds is over; never, if it is 0.
fn deadline(server: &Server, timeout: &[u8]) -> Result<Option<Instant>> {
    let timeout = resp::number::parse_i64(timeout)
        .ok_or(CommandError::other("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| CommandError::other("ERR timeout is negative"))?;
    if timeout == 0 {
        return Ok(None);
    }
    // The wall clock has to be able to say when, as in Redis.
    let fits = i64::try_from(timeout).is_ok_and(|ms| ms.checked_add(server.clock.unix_ms).is_some());
    let at = server.clock.now.checked_add(Duration::from_millis(timeout)).filter(|_| fits);
    at.map(Some).ok_or(CommandError::other("ERR timeout is out of range"))
}

impl Server {
    /// Answers if what is asked for is so, or nobody may wait here; else parks the client.
    fn wait_for_copies(&mut self, id: ClientId, argv: &[&[u8]], copies: Copies, deadline: Option<Instant>) {
        let mut made = self.made(copies);
        made.durable &= !self.is_in_dirty_exec();
        if copies.are_made(made) || self.in_exec {
            return reply(self, id, |reply| copies.answer(reply, made));
        }
        self.persistence.sync_wanted |= copies.local;
        self.replication.ack_wanted |= copies.replicas > 0;
        self.park(id, argv, Waiting::Copies(copies), deadline);
    }

    /// Answers a client that waits for copies with how far they are.
    pub fn answer_copies(&mut self, id: ClientId, copies: Copies) {
        let made = self.made(copies);
        self.answer_parked(id, |reply| copies.answer(reply, made));
    }

    /// How far copies are.
    fn made(&self, copies: Copies) -> Made {
        Made {
            durable: self.persistence.is_durable(copies.position),
            replicas: self.replication.count_acks(copies.offset, copies.aof),
        }
    }

    /// The end of the replicas' stream behind a client's last write.
    fn replicated_to(&self, id: ClientId) -> u64 {
        self.clients.get(id).map_or(0, |client| client.replicated_to)
    }

    /// Answers whoever waited for what is durable now, or at replicas. Call it behind [`persist`](Self::persist).
    pub fn acknowledge(&mut self) {
        if let Some(durable) = self.persistence.acknowledged() {
            while let Some(id) = self.blocking.next_copied(durable) {
                self.acknowledge_to(id);
            }
        }
        let waiting: SmallVec<[ClientId; 4]> = self.blocking.waiting_for_replicas().collect();
        waiting.into_iter().for_each(|id| self.acknowledge_to(id));
    }

    /// Answers a client if it has waited long enough.
    fn acknowledge_to(&mut self, id: ClientId) {
        let blocked = self.clients.get(id).and_then(|client| client.blocked.as_ref());
        if let Some(&Waiting::Copies(copies)) = blocked.map(|blocked| &blocked.on)
            && copies.are_made(self.made(copies))
        {
            self.answer_copies(id, copies);
        }
    }

    /// The log is off: whoever waits for the disk does so in vain.
    pub fn refuse_waiting_for_log(&mut self) {
        let waiting: Vec<ClientId> = self.blocking.waiting_for_copies().collect();
        for id in waiting {
            let blocked = self.clients.get(id).and_then(|client| client.blocked.as_ref());
            if blocked
                .is_some_and(|blocked| matches!(blocked.on, Waiting::Copies(Copies { local: true, .. })))
            {
                self.answer_parked(id, |reply| reply.error(NO_LOG));
            }
        }
    }
}
