//! Executing a command, and carrying what it leaves behind to where it belongs.

use keyspace::Call;
use keyspace::commands::{DataSpec, flags};

use crate::client::{Client, ClientId, OwnedArgv};
use crate::commands::{Command, Handler};
use crate::executor::Server;
use crate::logger::Level;

impl Server {
    /// Executes a command outside or inside a transaction, and tells everybody who watches.
    pub fn call(&mut self, id: ClientId, command: Command, argv: &[&[u8]]) {
        let began_ns = self.observer.mark_ns();
        let start = self.clients.get(id).map_or(0, |client| client.output.len_bytes());
        match command.handler() {
            Handler::Process(handler) => {
                if let Err(error) = handler(self, id, argv)
                    && let Some(client) = self.clients.get_mut(id)
                {
                    client.reply().error(&error.to_string());
                }
            }
            Handler::Data(spec) if self.in_exec => self.execute_data(id, command, spec, argv),
            Handler::Data(spec) => {
                self.unit.clear();
                self.execute_data(id, command, spec, argv);
                self.finish_unit(Some(id), !command.has(flags::TOUCHES_ARBITRARY_KEYS));
                if let Some(block) = self.unit.block.take() {
                    self.park_for_key(id, argv, block);
                }
            }
        }
        self.flushed |= command.is("flushall") && self.has_succeeded(id, start);
        if !self.in_exec && std::mem::take(&mut self.flushed) {
            self.flushed_all();
        }
        self.end_call(id, command, argv, began_ns, start);
        if !self.in_exec {
            self.serve_ready();
        }
    }

    /// Whether the reply at `start` is none that refuses.
    fn has_succeeded(&mut self, id: ClientId, start: usize) -> bool {
        let client = self.clients.get_mut(id);
        client.is_some_and(|client| client.output.buffer().get(start) != Some(&b'-'))
    }

    /// A command's handler has returned: it is over, unless it has parked its client.
    fn end_call(&mut self, id: ClientId, command: Command, argv: &[&[u8]], began_ns: u64, start: usize) {
        let took_ns = self.observer.lap(began_ns);
        if !self.observer.monitors.is_empty() {
            self.feed_monitors(id, command, argv);
        }
        let mut failed = false;
        if let Some(client) = self.clients.get_mut(id) {
            if let Some(blocked) = &mut client.blocked {
                blocked.took_ns = took_ns;
                return;
            }
            failed = client.output.buffer().get(start) == Some(&b'-') && self.count_error(id, start);
        }
        self.finished(id, command, argv, took_ns, failed);
    }

    /// Executes a data command by its row; what it leaves behind is added to the current unit.
    fn execute_data(&mut self, id: ClientId, command: Command, spec: &DataSpec, argv: &[&[u8]]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Client { db, no_touch, .. } = *client;
        let (renamed_from, may_block) = (command.renamed_from(), !self.in_exec);
        let call = Call { renamed_from, may_block, no_touch, ..Call::new(db, self.clock.unix_ms, argv) };
        self.keyspace.execute_spec(spec, &call, &mut client.reply(), &mut self.unit);
    }

    /// Executes a transaction's queue as one unit; the caller has written the head of the reply.
    pub fn call_queue(&mut self, id: ClientId, queue: Vec<(Command, OwnedArgv)>) {
        self.unit.clear();
        self.in_exec = true;
        for (command, argv) in queue {
            self.call(id, command, &argv.words());
            self.limit_unsent(id);
        }
        self.in_exec = false;
        self.finish_unit(Some(id), true);
    }

    /// Whether the transaction that is being executed has written, which the log does not know yet.
    pub fn is_in_dirty_exec(&self) -> bool {
        self.in_exec && self.unit.dirty > 0
    }

    /// Carries what the unit left behind to where it belongs. `wrap`: several effects are one transaction.
    pub fn finish_unit(&mut self, client: Option<ClientId>, wrap: bool) {
        let garbage = self.keyspace.take_garbage();
        if !garbage.is_empty() {
            self.lazyfree.drop_later(garbage, self.keyspace.random());
        }
        self.propagate(client, wrap);
        self.persistence.dirty += self.unit.dirty;
        if !self.watching.is_empty() && self.unit.dirty > 0 {
            self.break_watches();
        }
        if self.blocking.waits_for_keys() {
            self.blocking.note_ready(self.unit.ready.drain(..));
            self.blocking.note_changed(&self.unit.touched);
        }
        if !self.unit.events.is_empty() {
            self.publish_events();
        }
        if !self.unit.remarks.is_empty() {
            self.log_remarks();
        }
    }

    #[cold]
    fn log_remarks(&mut self) {
        for remark in std::mem::take(&mut self.unit.remarks) {
            self.log(Level::Verbose, remark);
        }
    }
}
