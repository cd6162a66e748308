//! Channels and patterns: who listens, and what they are told.

use std::collections::{BTreeMap, BTreeSet};

use keyspace::glob;
use resp::Encoder;

use crate::client::ClientId;
use crate::config::KeyspaceEvents;
use crate::executor::Server;

/// A channel's (or pattern's) name.
pub type Channel = Vec<u8>;

/// Who listens to what.
#[derive(Debug, Default)]
pub struct PubSub {
    /// Listeners by channel.
    channels: BTreeMap<Channel, BTreeSet<ClientId>>,
    /// Listeners by pattern.
    patterns: BTreeMap<Channel, BTreeSet<ClientId>>,
    /// What each client listens to.
    clients: BTreeMap<ClientId, Subscriptions>,
}

/// What one client listens to.
#[derive(Debug, Default, Clone)]
pub struct Subscriptions {
    /// SUBSCRIBE.
    pub channels: BTreeSet<Channel>,
    /// PSUBSCRIBE.
    pub patterns: BTreeSet<Channel>,
}

/// The two kinds of subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By name.
    Channel,
    /// By glob pattern.
    Pattern,
}

impl Subscriptions {
    /// Number of subscriptions, as the replies count them.
    pub fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn of(&mut self, kind: Kind) -> &mut BTreeSet<Channel> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }
}

impl PubSub {
    /// Whether nobody listens to anything.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether a client listens to something.
    #[inline]
    pub fn is_subscribed(&self, client: ClientId) -> bool {
        !self.clients.is_empty() && self.clients.contains_key(&client)
    }

    /// What a client listens to, if to anything.
    pub fn subscriptions(&self, client: ClientId) -> Option<&Subscriptions> {
        self.clients.get(&client)
    }

    /// Adds a subscription; returns how many the client has now.
    pub fn subscribe(&mut self, client: ClientId, kind: Kind, channel: &[u8]) -> usize {
        let listeners = self.listeners(kind);
        listeners.entry(channel.to_vec()).or_default().insert(client);
        let own = self.clients.entry(client).or_default();
        own.of(kind).insert(channel.to_vec());
        own.count()
    }

    /// Takes a subscription away; returns how many the client has left.
    pub fn unsubscribe(&mut self, client: ClientId, kind: Kind, channel: &[u8]) -> usize {
        let listeners = self.listeners(kind);
        if let Some(clients) = listeners.get_mut(channel) {
            clients.remove(&client);
            if clients.is_empty() {
                listeners.remove(channel);
            }
        }
        let Some(own) = self.clients.get_mut(&client) else { return 0 };
        own.of(kind).remove(channel);
        let left = own.count();
        if left == 0 {
            self.clients.remove(&client);
        }
        left
    }

    /// Forgets a client that left.
    pub fn forget(&mut self, client: ClientId) {
        let own = self.subscriptions(client).cloned().unwrap_or_default();
        for channel in &own.channels {
            self.unsubscribe(client, Kind::Channel, channel);
        }
        for pattern in &own.patterns {
            self.unsubscribe(client, Kind::Pattern, pattern);
        }
    }

    /// The channels that somebody listens to by name.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.keys()
    }

    /// How many listen to a channel by name.
    pub fn listeners_of(&self, channel: &[u8]) -> usize {
        self.channels.get(channel).map_or(0, BTreeSet::len)
    }

    /// Number of patterns that somebody listens to.
    pub fn patterns_len(&self) -> usize {
        self.patterns.len()
    }

    /// Who is told of a message on a channel, and by which pattern.
    fn receivers(&self, channel: &[u8]) -> Vec<(ClientId, Option<Channel>)> {
        let by_name = self.channels.get(channel).into_iter().flatten().map(|&client| (client, None));
        let matching = self.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel, false));
        let by_pattern = matching
            .flat_map(|(pattern, clients)| clients.iter().map(|&client| (client, Some(pattern.clone()))));
        by_name.chain(by_pattern).collect()
    }

    fn listeners(&mut self, kind: Kind) -> &mut BTreeMap<Channel, BTreeSet<ClientId>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }
}

impl Server {
    /// Tells everybody who listens; returns how many were told.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let receivers = self.pubsub.receivers(channel);
        for (id, pattern) in &receivers {
            let Some(client) = self.clients.get_mut(*id) else { continue };
            let out = match self.executing {
                Some(executing) if executing == *id => &mut self.pushes,
                _ => client.output.buffer(),
            };
            let mut reply = Encoder::new(out, client.version);
            match pattern {
                None => {
                    reply.push(3);
                    reply.bulk(b"message");
                }
                Some(pattern) => {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(pattern);
                }
            }
            reply.bulk(channel);
            reply.bulk(message);
            self.answered.push(*id);
            self.limit_unsent(*id);
        }
        receivers.len()
    }

    /// Publishes what happened to keys, as `notify-keyspace-events` selects.
    pub fn publish_events(&mut self) {
        let selected = self.config.notify_keyspace_events;
        for event in std::mem::take(&mut self.unit.events) {
            let class = KeyspaceEvents::parse(&[event.class as u8]).unwrap_or_default();
            if selected.0 & class.0 == 0 {
                continue;
            }
            if selected.0 & KeyspaceEvents::KEYSPACE != 0 {
                let channel = [format!("__keyspace@{}__:", event.db).as_bytes(), &event.key].concat();
                self.publish(&channel, event.name.as_bytes());
            }
            if selected.0 & KeyspaceEvents::KEYEVENT != 0 {
                let channel = format!("__keyevent@{}__:{}", event.db, event.name);
                self.publish(channel.as_bytes(), &event.key);
            }
        }
    }
}
