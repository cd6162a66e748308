//! Where values too big to be freed between two commands are dropped: on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use keyspace::Garbage;

/// The thread, started with the first piece of garbage.
#[derive(Debug, Default)]
pub struct Lazyfree {
    queue: Option<Sender<(usize, Garbage)>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    pending: AtomicU64,
    freed: AtomicU64,
}

impl Lazyfree {
    /// Drops values and databases elsewhere.
    #[inline]
    pub fn drop_later(&mut self, garbage: impl IntoIterator<Item = Garbage>) {
        for garbage in garbage {
            let objects = match &garbage {
                Garbage::Value(_) => 1,
                Garbage::Db(db) => db.len(),
            };
            self.send(objects, garbage);
        }
    }

    /// Objects waiting to be dropped.
    pub fn pending(&self) -> u64 {
        self.counts.pending.load(Relaxed)
    }

    /// Objects dropped so far.
    pub fn freed(&self) -> u64 {
        self.counts.freed.load(Relaxed)
    }

    fn send(&mut self, objects: usize, garbage: Garbage) {
        let counts = &self.counts;
        counts.pending.fetch_add(objects as u64, Relaxed);
        let queue = self.queue.get_or_insert_with(|| {
            let (queue, garbage) = channel::<(usize, Garbage)>();
            let counts = Arc::clone(counts);
            // Without a thread, the send below fails and the garbage is dropped right here.
            let _ = thread::Builder::new().name("lazyfree".into()).spawn(move || {
                for (objects, garbage) in garbage {
                    drop(garbage);
                    counts.pending.fetch_sub(objects as u64, Relaxed);
                    counts.freed.fetch_add(objects as u64, Relaxed);
                }
            });
            queue
        });
        if queue.send((objects, garbage)).is_err() {
            counts.pending.fetch_sub(objects as u64, Relaxed);
        }
    }
}
