//! What the log has done to its files, and how long that took: for whoever watches latencies.
//!
//! Only what took [`LEAST`] or longer is noted, and only [`KEPT`] at a time: a log that nobody asks does not grow.

use std::time::Duration;

/// What is quicker is not worth a word.
pub(crate) const LEAST: Duration = Duration::from_millis(1);
/// Events that wait to be taken.
const KEPT: usize = 256;

/// Something that took time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// write(2), with nothing else going on.
    WriteAlone(Duration),
    /// write(2) that began while an fdatasync was running: the kernel may let it wait for that.
    WritePendingFsync(Duration),
    /// write(2) during a rewrite, which loads the same disk.
    WriteActiveRewrite(Duration),
    /// The fdatasync that replies wait for under `appendfsync always`.
    FsyncAlways(Duration),
    /// Any other fdatasync.
    Fsync(Duration),
    /// Asking for the files' sizes.
    Stat(Duration),
    /// Step 1 of a rewrite: the next file is created, synced and listed.
    OpenNext(Duration),
    /// A new base is renamed into its place and listed.
    Publish(Duration),
    /// The tail of a file that failed has moved to another.
    MoveTail(Duration),
    /// Space ahead was asked for: fallocate, and how much is free.
    Reserve(Duration),
    /// Step 2 of a rewrite: the next file takes over, and what the last one owned behind its end is given back.
    Switch(Duration),
    /// What is superseded is taken from the manifest, or a temporary file is removed.
    Forget(Duration),
}

impl Event {
    /// How long it took.
    pub fn took(&self) -> Duration {
        match *self {
            Event::WriteAlone(took)
            | Event::WritePendingFsync(took)
            | Event::WriteActiveRewrite(took)
            | Event::FsyncAlways(took)
            | Event::Fsync(took)
            | Event::Stat(took)
            | Event::OpenNext(took)
            | Event::Publish(took)
            | Event::MoveTail(took)
            | Event::Reserve(took)
            | Event::Switch(took)
            | Event::Forget(took) => took,
        }
    }
}

/// A kind of event, to be told how long it took.
pub(crate) type EventOf = fn(Duration) -> Event;

/// The events that nobody has taken yet, in their order.
#[derive(Debug, Default)]
pub(crate) struct Events(Vec<Event>);

impl Events {
    pub(crate) fn note(&mut self, event: Event) {
        if event.took() >= LEAST && self.0.len() < KEPT {
            self.0.push(event);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.0)
    }
}
