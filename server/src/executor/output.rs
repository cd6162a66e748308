//! `client-output-buffer-limit`: whoever lets its replies pile up is closed. The hard limit holds in the midst of what a
//! turn executes, or one pipeline could fill the memory; the soft one is looked at when something could not be sent, and
//! by the clock.

use crate::client::{Client, ClientId};
use crate::clients::Class;
use crate::config::OutputBufferLimit;
use crate::executor::Server;
use crate::logger::Level;

impl Server {
    /// Gives a client's replies up if they have passed its hard limit. Nothing more is sent to it, and of what it has
    /// sent nothing more is executed but the rest of a transaction that has begun.
    #[inline]
    pub(crate) fn limit_unsent(&mut self, id: ClientId) {
        let limits = &self.config.client_output_buffer_limit;
        let Some(client) = self.clients.get(id) else { return };
        let bytes = client.output.len_bytes() as u64;
        if [limits.normal, limits.pubsub, limits.replica].iter().any(|limit| limit.forbids(bytes)) {
            self.give_up_unsent(id, bytes);
        }
    }

    #[cold]
    fn give_up_unsent(&mut self, id: ClientId, bytes: u64) {
        if !self.output_limit(id).forbids(bytes) {
            return;
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        client.output.give_up();
        if !std::mem::replace(&mut client.closing, true) {
            self.log_overflow(id);
        }
    }

    /// Closes a client whose replies are above its limit, now that they could not be sent.
    pub fn limit_output(&mut self, id: ClientId) {
        let limit = self.output_limit(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        let (bytes, now) = (client.output.len_bytes() as u64, self.clock.now);
        if limit.is_exceeded(bytes, &mut client.output_over_since, now) {
            self.forget(id);
            self.log_overflow(id);
        }
    }

    /// Looks again at those above the soft limit: to some of them nothing more may ever be sent.
    pub(crate) fn limit_lasting_output(&mut self) {
        let over = self.clients.iter().filter(|client| client.output_over_since.is_some());
        for id in over.map(|client: &Client| client.id).collect::<Vec<_>>() {
            self.limit_output(id);
        }
    }

    fn output_limit(&self, id: ClientId) -> OutputBufferLimit {
        let limits = &self.config.client_output_buffer_limit;
        match self.class_of(id) {
            Class::Replica => limits.replica,
            Class::PubSub => limits.pubsub,
            Class::Normal | Class::Master => limits.normal,
        }
    }

    pub(crate) fn log_overflow(&mut self, id: ClientId) {
        let line = format!(
            "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
            id.serial
        );
        self.log(Level::Warning, line);
    }
}
