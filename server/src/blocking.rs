//! Clients parked by BLPOP and its kin, by WAIT and WAITAOF, and the order in which they are served.
//!
//! A parked client's command is executed again when one of its keys is ready: the handler that could not serve it then
//! serves it now, and leaves the same effect as if it had never waited.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use aof::Position;
use keyspace::{DbIndex, Str, Touch};

use crate::client::{Blocked, ClientId, Copies, Waiting};

/// Who waits for which key.
#[derive(Debug, Default)]
pub struct Blocking {
    /// First come, first served.
    waiting: HashMap<(DbIndex, Str), VecDeque<ClientId>>,
    /// Who waits until the log is durable up to a position; for replicas, in vain, up to the last.
    copies: BTreeSet<(Position, ClientId)>,
    deadlines: BTreeSet<(Instant, ClientId)>,
    /// Keys that may serve somebody, in the order in which they became ready.
    ready: VecDeque<(DbIndex, Str)>,
    clients: usize,
}

impl Blocking {
    /// Number of parked clients.
    pub fn len(&self) -> usize {
        self.clients
    }

    /// Whether nobody is parked.
    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// Whether somebody waits for a key.
    #[inline]
    pub fn waits_for_keys(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Parks a client.
    pub fn park(&mut self, client: ClientId, blocked: &Blocked) {
        self.clients += 1;
        for key in blocked.on.keys() {
            let queue = self.waiting.entry((blocked.db, key.clone())).or_default();
            // A key named twice is waited for once.
            if queue.back() != Some(&client) {
                queue.push_back(client);
            }
        }
        self.copies.extend(blocked.on.copies().map(|copies| (place(copies), client)));
        self.deadlines.extend(blocked.deadline.map(|at| (at, client)));
    }

    /// Forgets a client that was served, gave up, or left.
    pub fn unpark(&mut self, client: ClientId, blocked: &Blocked) {
        self.clients -= 1;
        for key in blocked.on.keys() {
            let place = (blocked.db, key.clone());
            if let Some(queue) = self.waiting.get_mut(&place) {
                queue.retain(|&id| id != client);
                if queue.is_empty() {
                    self.waiting.remove(&place);
                }
            }
        }
        if let Some(copies) = blocked.on.copies() {
            self.copies.remove(&(place(copies), client));
        }
        if let Some(at) = blocked.deadline {
            self.deadlines.remove(&(at, client));
        }
    }

    /// Notes keys that became ready while somebody was parked.
    pub fn note_ready(&mut self, keys: impl IntoIterator<Item = (DbIndex, Str)>) {
        for place in keys {
            if self.waiting.contains_key(&place) && !self.ready.contains(&place) {
                self.ready.push_back(place);
            }
        }
    }

    /// Notes the keys of databases that changed as a whole (SWAPDB): any of them may hold something now.
    pub fn note_changed(&mut self, touched: &[Touch]) {
        for touch in touched {
            if let Touch::Db { db, wrote: true } = *touch {
                let keys: Vec<_> = self.waiting.keys().filter(|(of, _)| *of == db).cloned().collect();
                self.note_ready(keys);
            }
        }
    }

    /// The next ready key, and those who wait for it now, in order.
    pub fn next_ready(&mut self) -> Option<(DbIndex, Str, Vec<ClientId>)> {
        let (db, key) = self.ready.pop_front()?;
        let clients = self.waiting.get(&(db, key.clone())).map(|queue| queue.iter().copied().collect());
        Some((db, key, clients.unwrap_or_default()))
    }

    /// A client whose wait for the log is over, if it is durable up to there.
    pub fn next_copied(&self, durable: Position) -> Option<ClientId> {
        self.copies.first().filter(|&&(position, _)| position <= durable).map(|&(_, client)| client)
    }

    /// Everybody who waits for copies.
    pub fn waiting_for_copies(&self) -> impl Iterator<Item = ClientId> {
        self.copies.iter().map(|&(_, client)| client)
    }

    /// The next moment at which somebody gives up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// A client whose time is over.
    pub fn next_due(&self, now: Instant) -> Option<ClientId> {
        self.deadlines.first().filter(|&&(at, _)| at <= now).map(|&(_, client)| client)
    }
}

fn place(copies: Copies) -> Position {
    if copies.replicas { Position::MAX } else { copies.position }
}

impl Waiting {
    fn keys(&self) -> &[Str] {
        match self {
            Waiting::Key(block) => &block.keys,
            Waiting::Copies(_) | Waiting::LogEnd => &[],
        }
    }

    fn copies(&self) -> Option<Copies> {
        match *self {
            Waiting::Copies(copies) => Some(copies),
            Waiting::Key(_) | Waiting::LogEnd => None,
        }
    }
}
