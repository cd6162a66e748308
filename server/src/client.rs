//! One client: its connection, its buffers, and what it has told us about itself.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use aof::Position;
use bytes::{Buf, BytesMut};
use keyspace::{Block, DbIndex};
use resp::{Encoder, Parser, Version};

use crate::commands::Command;
use crate::connection::Connection;
use crate::transaction::Transaction;

/// A client's identity: its slot in the table, and the number that CLIENT ID answers, which is never used again. So an
/// id that outlives its client finds nobody, rather than the next client in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// CLIENT ID's number, from 1.
    pub serial: u64,
    /// The slot.
    pub slot: usize,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub id: ClientId,
    /// Its socket.
    pub connection: Connection,
    /// Where it connects from; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address it connects to, as CLIENT LIST prints it.
    pub local: String,
    /// Bytes received and not yet executed, beginning with a request's first.
    pub input: BytesMut,
    /// Its place in `input`.
    pub parser: Parser,
    /// Replies on their way.
    pub output: Output,
    /// The database it has selected.
    pub db: DbIndex,
    /// The protocol it speaks.
    pub version: Version,
    /// Whether it may execute commands.
    pub authenticated: bool,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// MULTI was sent; EXEC and DISCARD end it.
    pub transaction: Option<Transaction>,
    /// WATCHed keys, by database and hash.
    pub watched: Vec<Watched>,
    /// A watched key has changed: EXEC will refuse.
    pub watch_broken: bool,
    /// It waits for a key.
    pub blocked: Option<Blocked>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// Close once everything has been sent.
    pub closing: bool,
    /// When it connected.
    pub connected_at: Instant,
    /// When it last sent something, or was sent something.
    pub active_at: Instant,
    /// The last command.
    pub last_command: Option<Command>,
    /// Its next request, or the one that has parked it, waits until the pause is over or writes are held no more.
    pub postponed: bool,
    /// The position that its oldest held reply waits for, and since when.
    pub held: Option<(Position, Instant)>,
    /// Since when its unsent replies are above the soft limit.
    pub output_over_since: Option<Instant>,
    /// It is to be read on, first what `input` holds: it has waited, or its slice or the turn was over.
    pub cut: bool,
    /// It waits in the list of sockets to be read.
    pub to_be_read: bool,
    /// It may have sent more, which stays in the socket until it no longer waits.
    pub left_unread: bool,
    /// It will send no more: behind what is in the socket stands its end.
    pub read_closed: bool,
    /// The end of the replicas' stream behind its last write.
    pub replicated_to: u64,
    /// It has sent MONITOR.
    pub monitors: bool,
    /// CLIENT NO-EVICT and NO-TOUCH, for CLIENT LIST.
    pub no_evict: bool,
    /// See [`no_evict`](Self::no_evict).
    pub no_touch: bool,
}

/// A WATCHed key.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its database.
    pub db: DbIndex,
    /// Its [`keyspace::Keyspace::hash`].
    pub hash: u64,
    /// The key.
    pub key: Vec<u8>,
    /// It was there when it was watched.
    pub existed: bool,
}

/// What a parked client waits for, and the command that is to be answered.
#[derive(Debug)]
pub struct Blocked {
    /// The command's row.
    pub command: Command,
    /// The command.
    pub argv: OwnedArgv,
    /// What ends the waiting.
    pub on: Waiting,
    /// The database of the keys.
    pub db: DbIndex,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// How long the command has been executed so far, nanoseconds.
    pub took_ns: u64,
    /// Its place among those who wait: nobody has the same.
    pub ticket: u64,
}

/// What a parked client waits for.
#[derive(Debug)]
pub enum Waiting {
    /// A key: the keys, the timeout's reply, the type that wakes it.
    Key(Block),
    /// That a write has been copied: WAIT and WAITAOF.
    Copies(Copies),
    /// That all is durable, so that the log can be turned off.
    LogEnd,
    /// That another server has taken its keys.
    Migration,
}

/// How safe WAIT or WAITAOF wants the writes to be that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// Where the log ended then.
    pub position: Position,
    /// WAITAOF: it tells of the disk.
    pub aof: bool,
    /// WAITAOF: it must be durable here.
    pub local: bool,
    /// So many replicas must have it too; WAITAOF: on their disks.
    pub replicas: u64,
    /// Where the replicas' stream ended behind the client's last write.
    pub offset: u64,
}

/// How far that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// All before is durable here.
    pub durable: bool,
    /// So many replicas have it.
    pub replicas: u64,
}

impl Copies {
    /// Whether that is enough.
    pub fn are_made(&self, made: Made) -> bool {
        made.replicas >= self.replicas && (made.durable || !self.local)
    }

    /// Answers what is so.
    pub fn answer(&self, reply: &mut Encoder<'_>, made: Made) {
        if self.aof {
            reply.array(2);
            reply.integer(i64::from(made.durable));
        }
        reply.integer(made.replicas as i64);
    }
}

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The command behind this one is not.
    SkipNext,
    /// The next command is not.
    Skip,
}

/// What frames a word in a log, at most: `$`, ten digits, and twice CR LF.
pub(crate) const WORD_BYTES: u64 = 15;

/// A request that outlives the buffer it came in: queued by MULTI, or parked.
#[derive(Debug, Clone, Default)]
pub struct OwnedArgv {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl OwnedArgv {
    /// Copies a request.
    pub fn new(argv: &[&[u8]]) -> Self {
        let mut own = OwnedArgv {
            bytes: Vec::with_capacity(argv.iter().map(|word| word.len()).sum()),
            ends: Vec::with_capacity(argv.len()),
        };
        for word in argv {
            own.bytes.extend_from_slice(word);
            own.ends.push(own.bytes.len());
        }
        own
    }

    /// Bytes of the words.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// About how much the request takes in a log.
    pub fn log_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.ends.len() as u64 * WORD_BYTES
    }

    /// The words.
    pub fn words(&self) -> Vec<&[u8]> {
        let mut start = 0;
        self.ends.iter().map(|&end| &self.bytes[std::mem::replace(&mut start, end)..end]).collect()
    }
}

/// Replies: some may leave, those after an unsettled write must wait.
///
/// Positions of one connection never fall, so what is held is always a tail.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes not yet sent.
    bytes: BytesMut,
    /// Bytes sent since the connection began: the offset of `bytes[0]`.
    sent: u64,
    /// From this offset on, replies wait for that position; both rise.
    held: VecDeque<(u64, Position)>,
    /// Offset up to which `held` has been decided.
    gated_to: u64,
    /// The position that the replies after `gated_to` wait for.
    position: Position,
    /// See [`give_up`](Self::give_up).
    given_up: bool,
}

impl Output {
    /// Appends to the replies.
    #[inline]
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Bytes not yet sent.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the buffer takes.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The replies of this turn tell of (or have seen) a write at `position`.
    #[inline]
    pub fn wait_for(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    /// Ends the turn: what was appended since the last time waits if the watermark has not passed its position.
    #[inline]
    pub fn end_turn(&mut self, watermark: Position) {
        if self.position > watermark && self.end() > self.gated_to {
            self.held.push_back((self.gated_to, self.position));
        }
        self.gated_to = self.end();
    }

    /// The bytes that may be sent, given the watermark.
    #[inline]
    pub fn released(&mut self, watermark: Position) -> &[u8] {
        while self.held.front().is_some_and(|&(_, position)| position <= watermark) {
            self.held.pop_front();
        }
        let end = self.held.front().map_or(self.gated_to, |&(from, _)| from);
        &self.bytes[..(end.saturating_sub(self.sent)) as usize]
    }

    /// The position that the oldest of the replies waits for which the watermark has not passed.
    pub fn waits_for(&self, watermark: Position) -> Option<Position> {
        // What the watermark has passed stands in front until the socket takes it.
        let passed = self.held.partition_point(|&(_, position)| position <= watermark);
        self.held.get(passed).map(|&(_, position)| position)
    }

    /// Lets everything leave: the log that positions belong to has ended, durably.
    pub fn forget_positions(&mut self) {
        self.held.clear();
        self.position = 0;
    }

    /// Drops what was not sent: the connection is to be closed, with nothing more sent.
    pub fn give_up(&mut self) {
        *self = Output { sent: self.sent, gated_to: self.sent, given_up: true, ..Output::default() };
    }

    /// Whether the connection is to be closed as it is.
    #[inline]
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Whether replies wait for a watermark, as of the last [`released`](Self::released).
    #[inline]
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Notes that the first `count` bytes were sent.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        /// An idle client keeps no more than this.
        const KEPT_BYTES: usize = 64 * 1024;
        self.sent += count as u64;
        if count < self.bytes.len() {
            self.bytes.advance(count);
        } else if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
    }

    fn end(&self) -> u64 {
        self.sent + self.bytes.len() as u64
    }
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: ClientId, connection: Connection, authenticated: bool, now: Instant) -> Self {
        let (peer, local) = (connection.peer(), connection.local());
        Client {
            id,
            connection,
            peer,
            local,
            input: BytesMut::new(),
            parser: Parser::default(),
            output: Output::default(),
            db: 0,
            version: Version::Resp2,
            authenticated,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            transaction: None,
            watched: Vec::new(),
            watch_broken: false,
            blocked: None,
            reply_mode: ReplyMode::On,
            closing: false,
            connected_at: now,
            active_at: now,
            last_command: None,
            postponed: false,
            held: None,
            output_over_since: None,
            cut: false,
            to_be_read: false,
            left_unread: false,
            read_closed: false,
            replicated_to: 0,
            monitors: false,
            no_evict: false,
            no_touch: false,
        }
    }

    /// Whether what it sends must wait: it is parked, or its next request is held back.
    #[inline]
    pub fn waits(&self) -> bool {
        self.blocked.is_some() || self.postponed
    }

    /// Notes which reply waits for the disk now, if one does.
    pub fn note_held(&mut self, watermark: Position, now: Instant) {
        let Some(position) = self.output.waits_for(watermark) else {
            self.held = None;
            return;
        };
        if self.held.is_none_or(|(oldest, _)| oldest != position) {
            self.held = Some((position, now));
        }
    }

    /// Whether it came over a loopback address or the Unix socket.
    pub fn is_local(&self) -> bool {
        self.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback())
    }

    /// Where it connects from, as CLIENT LIST prints it.
    pub fn peer_text(&self) -> String {
        self.peer.map_or_else(|| self.local.clone(), |peer| peer.to_string())
    }

    /// The same, as MONITOR prints it.
    pub fn monitored_as(&self) -> String {
        let socket = self.local.strip_suffix(":0").unwrap_or(&self.local);
        self.peer.map_or_else(|| format!("unix:{socket}"), |peer| peer.to_string())
    }

    /// Writes replies in the client's protocol.
    #[inline]
    pub fn reply(&mut self) -> Encoder<'_> {
        Encoder::new(self.output.buffer(), self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_after_an_unsettled_write_wait_and_those_before_leave() {
        let mut output = Output::default();
        output.buffer().extend_from_slice(b"one");
        output.end_turn(0);
        output.buffer().extend_from_slice(b"two");
        output.wait_for(10);
        output.end_turn(0);
        output.buffer().extend_from_slice(b"three");
        output.end_turn(0);
        assert_eq!(output.released(0), b"one");
        output.advance(3);
        assert_eq!(output.released(9), b"");
        assert_eq!(output.released(10), b"twothree");
    }

    #[test]
    fn a_half_sent_reply_stays_released() {
        let mut output = Output::default();
        output.buffer().extend_from_slice(b"hello");
        output.end_turn(0);
        output.released(0);
        output.advance(2);
        output.buffer().extend_from_slice(b"held");
        output.wait_for(1);
        output.end_turn(0);
        assert_eq!(output.released(0), b"llo");
        output.advance(3);
        assert_eq!(output.released(0), b"");
        assert!(output.is_held());
    }
}
