//! MIGRATE's way to another server: the sockets that are kept for the next one, and a transfer, which waits for the
//! other side and touches nothing of this one.
//!
//! ```text
//! [AUTH ...] [SELECT db] RESTORE key ttl payload [REPLACE] RESTORE ...      in one pipeline
//! [+OK]      [+OK]       +OK | -ERR ...                    +OK ...          a key has moved once its own +OK was read
//! ```
//! `timeout` is, as in Redis, how long the other side may be still: to connect, to take bytes, to answer each request.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use resp::request::encode;

/// Sockets that are kept, at most. Source: redis 7.2 `src/cluster.c` `MIGRATE_SOCKET_CACHE_ITEMS`.
const SOCKETS: usize = 64;

/// How long one is kept unused. Source: `MIGRATE_SOCKET_CACHE_TTL`.
const IDLE: Duration = Duration::from_secs(10);

/// No line of a reply that is looked at is longer.
const LINE_BYTES: usize = 1024;

/// Where keys go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A connection to a target.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<TcpStream>,
    /// The database that is selected there, if that is known.
    db: Option<i64>,
}

/// The connections that wait for the next MIGRATE.
#[derive(Debug, Default)]
pub struct Links {
    /// In the order of their last use.
    idle: Vec<(Target, Link, Instant)>,
}

impl Links {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// Takes out the one to a target.
    pub fn take(&mut self, target: &Target) -> Option<Link> {
        let at = self.idle.iter().position(|(to, ..)| to == target)?;
        Some(self.idle.remove(at).1)
    }

    /// Keeps one for a while.
    pub fn keep(&mut self, target: Target, link: Link, now: Instant) {
        if self.idle.len() >= SOCKETS {
            self.idle.remove(0);
        }
        self.idle.push((target, link, now));
    }

    /// Closes those that nobody has used for long.
    pub fn close_idle(&mut self, now: Instant) {
        self.idle.retain(|(.., used_at)| now.saturating_duration_since(*used_at) <= IDLE);
    }
}

/// What is to be sent, and how.
#[derive(Debug)]
pub struct Transfer {
    /// Where to.
    pub target: Target,
    /// The database there.
    pub db: i64,
    /// AUTH's arguments, or nothing.
    pub auth: Vec<Vec<u8>>,
    /// How long the target may be still.
    pub timeout: Duration,
    /// The requests, one RESTORE a key.
    pub restores: BytesMut,
    /// How many they are.
    pub keys: usize,
}

/// How a transfer ended.
#[derive(Debug)]
pub struct Outcome {
    /// The connection, if it can be used again.
    pub link: Option<Link>,
    /// Of each key, whether the target has said that it holds it.
    pub restored: Vec<bool>,
    /// What is told to the client.
    pub result: Result<(), Failure>,
}

/// Why not all keys have moved. The words are Redis's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("IOERR error or timeout connecting to the client")]
    Connect,
    /// It takes no bytes.
    #[error("IOERR error or timeout writing to target instance")]
    Write,
    /// It does not answer, or what it says is no answer.
    #[error("IOERR error or timeout reading to target instance")]
    Read,
    /// What it says to the first request that it refuses.
    #[error("ERR Target instance replied with error: {0}")]
    Refused(String),
}

impl Transfer {
    /// Sends everything and waits for the answers; over the connection that is given, or a new one.
    ///
    /// The other side may have closed a connection while it was not used: one that breaks before anything was answered
    /// is tried again with a new one. A timeout is not.
    pub fn run(&self, kept: Option<Link>) -> Outcome {
        let mut attempt = Attempt::new(self.keys);
        if let Some(link) = kept {
            let began = Instant::now();
            attempt.make(self, link);
            let waited = began.elapsed() >= self.timeout;
            if attempt.answers > 0
                || waited
                || !matches!(attempt.failure, Some(Failure::Read | Failure::Write))
            {
                return attempt.outcome();
            }
            attempt = Attempt::new(self.keys);
        }
        match Link::open(&self.target, self.timeout) {
            Ok(link) => attempt.make(self, link),
            Err(_) => attempt.failure = Some(Failure::Connect),
        }
        attempt.outcome()
    }

    /// The requests in front of the RESTOREs, and how many they are.
    fn head(&self, selected: Option<i64>) -> (BytesMut, usize) {
        let (mut head, mut requests) = (BytesMut::new(), 0);
        if !self.auth.is_empty() {
            let auth = self.auth.iter().map(|word| &word[..]);
            encode(&[&b"AUTH"[..]].into_iter().chain(auth).collect::<Vec<_>>(), &mut head);
            requests += 1;
        }
        if selected != Some(self.db) {
            encode(&[b"SELECT", self.db.to_string().as_bytes()], &mut head);
            requests += 1;
        }
        (head, requests)
    }
}

/// A transfer over one connection.
#[derive(Debug)]
struct Attempt {
    link: Option<Link>,
    restored: Vec<bool>,
    answers: usize,
    failure: Option<Failure>,
}

impl Attempt {
    fn new(keys: usize) -> Self {
        Attempt { link: None, restored: vec![false; keys], answers: 0, failure: None }
    }

    fn make(&mut self, transfer: &Transfer, mut link: Link) {
        let (head, requests) = transfer.head(link.db);
        if link
            .send(&head, transfer.timeout)
            .and_then(|()| link.send(&transfer.restores, transfer.timeout))
            .is_err()
        {
            self.failure = Some(Failure::Write);
            return;
        }
        if self.read(&mut link, requests, transfer.timeout).is_err() {
            // What was refused before is what the client can do something about.
            self.failure.get_or_insert(Failure::Read);
            return;
        }
        link.db = self.failure.is_none().then_some(transfer.db);
        // An answer too many would be taken for that to the next key.
        self.link = Some(link).filter(|link| link.stream.buffer().is_empty());
    }

    /// Reads the answers to the head, then those to the RESTOREs. Behind an AUTH or SELECT that was refused no key has
    /// gone where it should.
    fn read(&mut self, link: &mut Link, head: usize, timeout: Duration) -> io::Result<()> {
        for _ in 0..head {
            let answer = link.answer(timeout)?;
            self.note(answer);
        }
        let arrives = self.failure.is_none();
        for key in 0..self.restored.len() {
            let answer = link.answer(timeout)?;
            let is_taken = self.note(answer);
            if let Some(restored) = self.restored.get_mut(key) {
                *restored = is_taken && arrives;
            }
        }
        Ok(())
    }

    /// Notes an answer; says whether it was OK.
    fn note(&mut self, answer: Result<(), String>) -> bool {
        self.answers += 1;
        let is_taken = answer.is_ok();
        if let Err(text) = answer {
            self.failure.get_or_insert(Failure::Refused(text));
        }
        is_taken
    }

    fn outcome(self) -> Outcome {
        Outcome { link: self.link, restored: self.restored, result: self.failure.map_or(Ok(()), Err) }
    }
}

impl Link {
    fn open(target: &Target, timeout: Duration) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (target.host.as_str(), target.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Link { stream: BufReader::new(stream), db: None });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(timeout))?;
        stream.write_all(bytes)
    }

    /// The answer to one request: `+OK` and its like, or the words of an error.
    fn answer(&mut self, timeout: Duration) -> io::Result<Result<(), String>> {
        let line = self.line(Instant::now() + timeout)?;
        match line.trim_ascii_end().split_first() {
            Some((b'+', _)) => Ok(Ok(())),
            Some((b'-', text)) => Ok(Err(String::from_utf8_lossy(text).into_owned())),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn line(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if self.stream.buffer().is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = Some(left).filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut)?;
                self.stream.get_ref().set_read_timeout(Some(left))?;
            }
            let received = match self.stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            let part = received.split_inclusive(|&byte| byte == b'\n').next();
            let part = part.ok_or(io::ErrorKind::UnexpectedEof)?;
            line.extend_from_slice(part);
            let taken = part.len();
            self.stream.consume(taken);
            if line.len() > LINE_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(line)
    }
}
