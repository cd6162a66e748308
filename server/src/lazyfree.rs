//! Where values too big to be freed between two commands are dropped: on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use keyspace::{Garbage, Random};

use crate::memory;

/// The thread, started with the first piece of garbage.
#[derive(Debug, Default)]
pub struct Lazyfree {
    queue: Option<Sender<(Load, Garbage)>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    pending: AtomicU64,
    pending_bytes: AtomicU64,
    held_bytes: AtomicU64,
    freed: AtomicU64,
}

/// What one piece of garbage is.
#[derive(Debug, Clone, Copy)]
struct Load {
    objects: u64,
    bytes: u64,
}

impl Lazyfree {
    /// Drops values and databases elsewhere.
    #[inline]
    pub fn drop_later(&mut self, garbage: impl IntoIterator<Item = Garbage>, random: &mut Random) {
        for garbage in garbage {
            let objects = match &garbage {
                Garbage::Value(_) => 1,
                Garbage::Db(db) => db.len(),
            };
            let bytes = garbage.memory_bytes(random) as u64;
            self.send(Load { objects: objects as u64, bytes }, garbage);
        }
    }

    /// Objects waiting to be dropped.
    pub fn pending(&self) -> u64 {
        self.counts.pending.load(Relaxed)
    }

    /// About how many bytes they take.
    pub fn pending_bytes(&self) -> u64 {
        self.counts.pending_bytes.load(Relaxed)
    }

    /// About how many bytes of those that were dropped did not fall free: a snapshot has a share in them.
    pub fn held_bytes(&self) -> u64 {
        self.counts.held_bytes.load(Relaxed)
    }

    /// There is no snapshot any more.
    pub fn forget_held(&self) {
        self.counts.held_bytes.store(0, Relaxed);
    }

    /// Forgets how many were dropped.
    pub fn reset_stats(&self) {
        self.counts.freed.store(0, Relaxed);
    }

    /// Objects dropped so far.
    pub fn freed(&self) -> u64 {
        self.counts.freed.load(Relaxed)
    }

    fn send(&mut self, load: Load, garbage: Garbage) {
        let counts = &self.counts;
        counts.add(load);
        let queue = self.queue.get_or_insert_with(|| {
            let (queue, garbage) = channel::<(Load, Garbage)>();
            let counts = Arc::clone(counts);
            // Without a thread, the send below fails and the garbage is dropped right here.
            let _ = thread::Builder::new().name("lazyfree".into()).spawn(move || {
                for (load, garbage) in garbage {
                    let before = memory::thread_bytes();
                    drop(garbage);
                    let freed_bytes = before.saturating_sub(memory::thread_bytes());
                    // In this order: what counts neither as pending nor as held would look like data.
                    let held_bytes = load.bytes.saturating_sub(u64::try_from(freed_bytes).unwrap_or(0));
                    counts.held_bytes.fetch_add(held_bytes, Relaxed);
                    counts.take(load);
                    counts.freed.fetch_add(load.objects, Relaxed);
                }
            });
            queue
        });
        if queue.send((load, garbage)).is_err() {
            counts.take(load);
        }
    }
}

impl Counts {
    fn add(&self, load: Load) {
        self.pending.fetch_add(load.objects, Relaxed);
        self.pending_bytes.fetch_add(load.bytes, Relaxed);
    }

    fn take(&self, load: Load) {
        self.pending.fetch_sub(load.objects, Relaxed);
        self.pending_bytes.fetch_sub(load.bytes, Relaxed);
    }
}
