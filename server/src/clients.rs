//! The table of connected clients.

use std::time::Instant;

use aof::Position;

use crate::client::{Client, ClientId};

/// What clients are told apart by: CLIENT LIST, CLIENT KILL, `client-output-buffer-limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It sends commands, or has sent MONITOR.
    Normal,
    /// It is subscribed to something.
    PubSub,
    /// It follows.
    Replica,
    /// This server would follow it.
    Master,
}

impl Class {
    /// The one of this name.
    pub fn named(word: &[u8]) -> Option<Self> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Class::Normal),
            b"pubsub" => Some(Class::PubSub),
            b"replica" | b"slave" => Some(Class::Replica),
            b"master" => Some(Class::Master),
            _ => None,
        }
    }
}

/// Clients by slot; a slot is used again, a serial number never.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Client>>,
    free: Vec<usize>,
    next_serial: u64,
}

impl Clients {
    /// Number of clients.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identity of the next client.
    pub fn next_id(&mut self) -> ClientId {
        self.next_serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        ClientId { serial: self.next_serial, slot }
    }

    /// Puts a client into the slot of its id.
    pub fn insert(&mut self, client: Client) {
        let slot = client.id.slot;
        self.slots[slot] = Some(client);
    }

    /// Gives an id back that no client was made for.
    pub fn release(&mut self, id: ClientId) {
        self.free.push(id.slot);
    }

    /// A client, if it is still connected.
    #[inline]
    pub fn get(&self, id: ClientId) -> Option<&Client> {
        self.slots.get(id.slot)?.as_ref().filter(|client| client.id == id)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.slots.get_mut(id.slot)?.as_mut().filter(|client| client.id == id)
    }

    /// The client in a slot.
    #[inline]
    pub fn in_slot_mut(&mut self, slot: usize) -> Option<&mut Client> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// The client with a CLIENT ID number.
    pub fn by_serial(&self, serial: u64) -> Option<&Client> {
        self.iter().find(|client| client.id.serial == serial)
    }

    /// Takes a client out of the table.
    pub fn remove(&mut self, id: ClientId) -> Option<Client> {
        let client = self.slots.get_mut(id.slot)?.take_if(|client| client.id == id)?;
        self.free.push(id.slot);
        Some(client)
    }

    /// Forgets which positions replies waited for: the log that they belong to has ended.
    pub fn forget_positions(&mut self) {
        self.slots.iter_mut().flatten().for_each(|client| client.output.forget_positions());
    }

    /// Notes which reply of each client waits for the disk now, if one does.
    pub fn note_held(&mut self, watermark: Position, now: Instant) {
        self.slots.iter_mut().flatten().for_each(|client| client.note_held(watermark, now));
    }

    /// All clients, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.slots.iter().flatten()
    }

    /// All clients' ids, oldest first.
    pub fn ids(&self) -> Vec<ClientId> {
        let mut ids: Vec<ClientId> = self.iter().map(|client| client.id).collect();
        ids.sort_unstable();
        ids
    }
}
