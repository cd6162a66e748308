//! One replica that hangs on this server: how far it is, what it has confirmed, and when it is given up.
//!
//! ```text
//!  SYNC --> Waiting --snapshot--> Saving --file settled--> Sending --all sent--> Online
//!               (PSYNC: +FULLRESYNC id offset)   ($len)          (what was appended since the snapshot)
//!  PSYNC that goes on -------------------------------------------------------------^   (+CONTINUE id)
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use crate::client::ClientId;
use crate::config::OutputBufferLimit;
use crate::connection::Connection;

/// Bytes sent to one replica before the next one, and everybody else, gets a turn.
const TURN_BYTES: usize = 256 << 10;

/// What a client says of itself before it asks for data: REPLCONF.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// `listening-port`.
    pub port: i64,
    /// `ip-address`.
    pub ip: Option<String>,
    /// `capa psync2`: it takes +CONTINUE with an id.
    pub psync2: bool,
    /// `rdb-only`: it wants the data and nothing of the stream.
    pub rdb_only: bool,
}

/// A replica.
#[derive(Debug)]
pub struct Attached {
    /// Its connection.
    pub id: ClientId,
    /// What it has said of itself.
    pub announced: Announced,
    /// How far it is.
    pub stage: Stage,
    /// It came by SYNC, and confirms nothing: silence is no sign.
    pub is_mute: bool,
    /// It has executed the stream up to here, as it said last.
    pub acked: u64,
    /// The same, durably: REPLCONF ACK .. FACK.
    pub acked_durable: u64,
    /// When it said so, or came online.
    pub acked_at: Instant,
    /// When its socket took something last.
    pub sent_at: Instant,
    /// Its socket is full.
    pub is_blocked: bool,
    /// Since when what it was not sent is above the soft limit.
    pub over_since: Option<Instant>,
}

/// How far a replica is.
#[derive(Debug, Clone)]
pub enum Stage {
    /// It waits for a snapshot.
    Waiting,
    /// The snapshot is being written.
    Saving {
        /// The stream's end when it was taken.
        from: u64,
    },
    /// It is being sent.
    Sending {
        /// See [`Saving`](Self::Saving).
        from: u64,
        /// The file.
        file: Arc<Nameless>,
        /// Its length.
        len_bytes: u64,
        /// How much of it was sent.
        sent_bytes: u64,
    },
    /// It has the data, and follows.
    Online {
        /// The offset up to which it was sent the stream.
        sent: u64,
    },
}

/// A file that is gone with whoever drops it last, and who does not wait for the kernel to free its blocks.
#[derive(Debug)]
pub struct Nameless(Option<File>);

impl Nameless {
    /// Takes the file.
    pub fn new(file: File) -> Self {
        Nameless(Some(file))
    }

    /// Fills `piece` from an offset on.
    pub fn read_exact_at(&self, piece: &mut [u8], offset: u64) -> io::Result<()> {
        let file = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(piece, offset)
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            aof::fs::discard(file);
        }
    }
}

/// What became of sending.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the socket has taken.
    pub bytes: usize,
    /// It would take more: in the next turn.
    pub is_more: bool,
    /// The last byte of the snapshot has left.
    pub came_online: bool,
}

impl Attached {
    /// A replica that has asked for data just now.
    pub fn new(id: ClientId, announced: Announced, stage: Stage, is_mute: bool, now: Instant) -> Self {
        Attached {
            id,
            announced,
            stage,
            is_mute,
            acked: 0,
            acked_durable: 0,
            acked_at: now,
            sent_at: now,
            is_blocked: false,
            over_since: None,
        }
    }

    /// INFO's word for how far it is.
    pub fn state(&self) -> &'static str {
        match self.stage {
            Stage::Waiting | Stage::Saving { .. } => "wait_bgsave",
            Stage::Sending { .. } => "send_bulk",
            Stage::Online { .. } => "online",
        }
    }

    /// Whether it follows the stream.
    pub fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online { .. })
    }

    /// Whether its data are not ready yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Saving { .. })
    }

    /// Whether it will follow the stream, once it has its data.
    pub fn follows(&self) -> bool {
        !self.announced.rdb_only
    }

    /// The offset from which on it needs the stream; `None` before its snapshot, and if it wants none.
    pub fn needs(&self) -> Option<u64> {
        match self.stage {
            _ if !self.follows() => None,
            Stage::Waiting => None,
            Stage::Saving { from } | Stage::Sending { from, .. } => Some(from),
            Stage::Online { sent } => Some(sent),
        }
    }

    /// How long ago it has confirmed something.
    pub fn lag(&self, now: Instant) -> Duration {
        if self.is_online() { now.saturating_duration_since(self.acked_at) } else { Duration::ZERO }
    }

    /// Whether it has been silent for too long: it confirms nothing, or takes nothing of its snapshot.
    pub fn is_lost(&self, now: Instant, timeout: Duration) -> bool {
        let silent = match self.stage {
            Stage::Waiting | Stage::Saving { .. } => Duration::ZERO,
            Stage::Sending { .. } => now.saturating_duration_since(self.sent_at),
            Stage::Online { .. } if self.is_mute => Duration::ZERO,
            Stage::Online { .. } => self.lag(now),
        };
        silent > timeout
    }

    /// How much of the stream it may have, and has not been sent.
    pub fn waiting_bytes(&self, backlog: &Backlog) -> u64 {
        self.needs().map_or(0, |from| backlog.settled().saturating_sub(from))
    }

    /// Whether more waits for it than `client-output-buffer-limit replica` allows, or that for too long. What the
    /// backlog keeps anyway is no reason to give it up, nor is what our own disk holds back.
    pub fn is_over(
        &mut self,
        backlog: &Backlog,
        size_bytes: u64,
        mut limit: OutputBufferLimit,
        now: Instant,
    ) -> bool {
        let waiting = self.waiting_bytes(backlog);
        if limit.hard_bytes > 0 {
            limit.hard_bytes = limit.hard_bytes.max(size_bytes);
        }
        limit.is_exceeded(waiting, &mut self.over_since, now)
    }

    /// Sends what it needs next and may have, as far as its socket takes it and one turn allows.
    ///
    /// # Errors
    /// What write(2) says, or read(2) of the snapshot.
    pub fn send(
        &mut self,
        connection: &mut Connection,
        backlog: &Backlog,
        scratch: &mut [u8],
    ) -> io::Result<Sent> {
        let mut sent = Sent::default();
        while sent.bytes < TURN_BYTES {
            let piece = self.next(backlog, scratch)?;
            if piece.is_empty() {
                return Ok(sent);
            }
            match connection.write(piece) {
                Ok(count) => {
                    sent.bytes += count;
                    sent.came_online |= self.advance(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Ok(sent);
                }
                Err(error) => return Err(error),
            }
        }
        sent.is_more = true;
        Ok(sent)
    }

    /// What is to be sent next; nothing if there is nothing.
    fn next<'a>(&self, backlog: &'a Backlog, scratch: &'a mut [u8]) -> io::Result<&'a [u8]> {
        match &self.stage {
            Stage::Sending { file, len_bytes, sent_bytes, .. } => {
                let left = usize::try_from(len_bytes.saturating_sub(*sent_bytes)).unwrap_or(usize::MAX);
                let piece = scratch.split_at_mut(left.min(scratch.len())).0;
                file.read_exact_at(piece, *sent_bytes)?;
                Ok(piece)
            }
            Stage::Online { sent } if self.follows() => Ok(backlog.piece(*sent)),
            Stage::Online { .. } | Stage::Waiting | Stage::Saving { .. } => Ok(&[]),
        }
    }

    /// So much of that has left; whether it was the last of the snapshot.
    fn advance(&mut self, count: u64) -> bool {
        match &mut self.stage {
            Stage::Sending { from, len_bytes, sent_bytes, .. } => {
                *sent_bytes += count;
                let is_all = sent_bytes >= len_bytes;
                if is_all {
                    self.stage = Stage::Online { sent: *from };
                }
                is_all
            }
            Stage::Online { sent } => {
                *sent += count;
                false
            }
            Stage::Waiting | Stage::Saving { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use aof::Op;

    use super::*;

    fn attached(stage: Stage) -> Attached {
        let id = ClientId { serial: 1, slot: 0 };
        Attached::new(id, Announced::default(), stage, false, Instant::now())
    }

    fn backlog(bytes: usize) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.start();
        backlog.append_unit(&[Op { db: 0, command: &vec![b'x'; bytes] }]);
        backlog.settle_all();
        backlog
    }

    #[test]
    fn a_snapshot_is_sent_whole_and_what_came_since_follows() {
        let backlog = backlog(100);
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[b'f'; 100]).unwrap();
        let mut replica = attached(Stage::Sending {
            from: 7,
            file: Arc::new(Nameless::new(file)),
            len_bytes: 100,
            sent_bytes: 0,
        });
        let mut scratch = [0; 64];
        assert_eq!((replica.state(), replica.needs()), ("send_bulk", Some(7)));
        for (taken, is_last) in [(64, false), (35, false), (1, true)] {
            let piece = replica.next(&backlog, &mut scratch).unwrap();
            assert!(piece.len() >= taken && piece.iter().all(|&byte| byte == b'f'), "{piece:?}");
            assert_eq!(replica.advance(taken as u64), is_last);
        }
        assert_eq!((replica.state(), replica.needs()), ("online", Some(7)));
        assert_eq!(replica.next(&backlog, &mut scratch).unwrap(), backlog.piece(7));
        replica.announced.rdb_only = true;
        assert_eq!(replica.next(&backlog, &mut scratch).unwrap(), b"");
        assert_eq!(replica.needs(), None, "it keeps nothing for itself");
    }

    #[test]
    fn silence_is_measured_by_what_a_replica_owes() {
        let (timeout, late) = (Duration::from_secs(60), Instant::now() + Duration::from_secs(61));
        let file = Arc::new(Nameless::new(tempfile::tempfile().unwrap()));
        for (stage, is_mute, is_lost) in [
            (Stage::Waiting, false, false),
            (Stage::Saving { from: 0 }, false, false),
            (Stage::Sending { from: 0, file, len_bytes: 1, sent_bytes: 0 }, true, true),
            (Stage::Online { sent: 0 }, false, true),
            (Stage::Online { sent: 0 }, true, false),
        ] {
            let replica = Attached { is_mute, ..attached(stage) };
            assert_eq!(replica.is_lost(late, timeout), is_lost, "{replica:?}");
            assert!(!replica.is_lost(replica.acked_at, timeout));
        }
    }

    #[test]
    fn who_lags_beyond_the_limits_is_given_up_but_never_for_what_the_backlog_keeps() {
        let (backlog, start) = (backlog(1000), Instant::now());
        let later = start + Duration::from_secs(2);
        let limit = |hard_bytes, soft_bytes| OutputBufferLimit { hard_bytes, soft_bytes, soft_s: 1 };
        let mut replica = attached(Stage::Online { sent: 0 });
        assert!(!replica.is_over(&backlog, 1, limit(0, 0), start));
        assert!(!replica.is_over(&backlog, 1, limit(2000, 0), start));
        assert!(replica.is_over(&backlog, 1, limit(500, 0), start));
        assert!(!replica.is_over(&backlog, 2000, limit(500, 0), start));
        assert!(!replica.is_over(&backlog, 1, limit(0, 500), start));
        assert!(replica.is_over(&backlog, 1, limit(0, 500), later));
        replica.stage = Stage::Online { sent: backlog.settled() };
        assert!(!replica.is_over(&backlog, 1, limit(500, 500), later));
        assert_eq!(replica.over_since, None, "the next time counts anew");
    }
}
