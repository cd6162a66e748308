//! Reading ahead of execution: one thread reads, checks and parses, the other executes.
//!
//! ```text
//! decode thread    read(2), checksums, parsing, copying of arguments --batches--> sink.commands    the caller's thread
//!                                                <--emptied batches-------
//! ```
//! What is copied and not executed yet is at most [`AHEAD_BYTES`], or one command that is longer than that: it is
//! copied once all before it was executed, and the next once it was executed itself. Batches are used again, but for
//! the room of long commands. The reader waits by receiving what was emptied; whoever ends, for whatever reason, drops
//! its ends of all channels, so nobody waits for somebody who is gone.
//!
//! The sink sees what it would see without the thread, in the same order; what it refuses is placed by the offset that
//! came along. Before anything is decided about damage everything before it was executed ([`Feed::settle`]), so that
//! nothing is cut from a file that the sink refuses. While the reader has nothing to give, for it looks for the end of
//! damage or reads one long command, the sink is told again how far it is, so that clients can be answered.

use std::path::Path;
use std::time::Duration;

use resp::request::Argv;

use super::{Hasher, Progress, Request, Sink, SinkError};
use crate::clock::Clock;
use crate::error::{Error, io_error};
use crate::sync::{Builder, Receiver, RecvTimeoutError, Sender, SyncSender, channel, scope, sync_channel};

/// A batch is given away once it holds so many commands.
const BATCH_COMMANDS: usize = 512;
/// Or takes up so many bytes.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches on their way.
const BATCHES: usize = 8;
/// They and the one that is being filled take up no more than so many bytes, unless they are one command that is longer.
/// Where commands are short they stay far below.
const AHEAD_BYTES: usize = 8 * 1024 * 1024;
/// How long the sink is left alone when nothing comes.
const PATIENCE: Duration = Duration::from_millis(10);
/// Shorter files are read where they are executed: a thread costs more than it gains.
const SMALL_BYTES: u64 = 64 * 1024;

/// Lets `read` feed a file of `len_bytes` to `sink`, which was told `told`; what `sink` refuses comes first.
pub(super) fn feed<T: Send>(
    sink: &mut impl Sink,
    path: &Path,
    len_bytes: u64,
    told: Progress,
    read: impl FnOnce(Feed<'_>) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if len_bytes <= SMALL_BYTES {
        return read(Feed { path, to: To::Sink(sink) });
    }
    let (batches, messages) = sync_channel(BATCHES);
    let (executed, emptied) = channel();
    let hasher = sink.hasher();
    scope(|scope| {
        let reader = move || {
            let (batch, spare) = (Batch::default(), Vec::new());
            let ahead = Ahead { batch, spare, out_bytes: 0, batches, emptied, hasher };
            read(Feed { path, to: To::Thread(ahead) })
        };
        let reader = Builder::new().name("decode".to_owned()).spawn_scoped(scope, reader);
        let reader = reader.map_err(io_error("spawn a thread for", path))?;
        let executed = execute(sink, path, told, messages, executed);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        executed.and(read)
    })
}

/// Where what was read goes.
pub(super) struct Feed<'a> {
    path: &'a Path,
    to: To<'a>,
}

enum To<'a> {
    Sink(&'a mut dyn Sink),
    Thread(Ahead),
}

impl Feed<'_> {
    /// A command of database `db`, which stands at `offset_bytes`.
    #[inline]
    pub(super) fn command(&mut self, offset_bytes: u64, db: u32, argv: &Argv<'_>) -> Result<(), Error> {
        match &mut self.to {
            To::Sink(sink) => {
                sink.command(db, argv).map_err(|source| refused(self.path, offset_bytes, source))
            }
            To::Thread(ahead) => heard(ahead.add(offset_bytes, db, argv), self.path, offset_bytes),
        }
    }

    /// Returns once everything was executed.
    pub(super) fn settle(&mut self, offset_bytes: u64) -> Result<(), Error> {
        match &mut self.to {
            To::Sink(_) => Ok(()),
            To::Thread(ahead) => heard(ahead.settle(), self.path, offset_bytes),
        }
    }

    pub(super) fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        match &self.to {
            To::Sink(sink) => sink.keys_of(argv),
            To::Thread(ahead) => ahead.keys_of(argv),
        }
    }

    pub(super) fn progress(&mut self, progress: Progress) {
        match &mut self.to {
            To::Sink(sink) => sink.progress(progress),
            To::Thread(ahead) => drop(ahead.give(Some(progress))),
        }
    }
}

/// Where the executing side has stopped, its own reason is the one that is told.
fn heard(is_heard: bool, path: &Path, offset_bytes: u64) -> Result<(), Error> {
    let unheard = || refused(path, offset_bytes, SinkError::new("nobody executes it"));
    if is_heard { Ok(()) } else { Err(unheard()) }
}

fn refused(path: &Path, offset_bytes: u64, source: SinkError) -> Error {
    Error::Refused { path: path.to_path_buf(), offset_bytes, source }
}

/// The reader's end.
struct Ahead {
    /// What is being filled.
    batch: Batch,
    spare: Vec<Batch>,
    /// What was given away and did not come back emptied.
    out_bytes: usize,
    batches: SyncSender<Message>,
    emptied: Receiver<Emptied>,
    hasher: Hasher,
}

enum Message {
    /// To be executed; then, perhaps, how far that is.
    Batch(Batch, Option<Progress>),
    /// A command, and where its keys are to be sent.
    KeysOf(Vec<Vec<u8>>, Sender<Vec<Vec<u8>>>),
}

/// A batch that was executed, and what it took up.
struct Emptied {
    batch: Batch,
    held_bytes: usize,
}

impl Ahead {
    /// False if nobody listens any more; so below.
    #[inline]
    fn add(&mut self, offset_bytes: u64, db: u32, argv: &Argv<'_>) -> bool {
        let len_bytes = argv.iter().map(|word| word.len()).sum();
        if !self.make_room(size_bytes(1, argv.len(), len_bytes)) {
            return false;
        }
        let hash = (self.hasher)(argv.get(1).copied().unwrap_or_default());
        self.batch.add(argv, len_bytes, Command { db, words: argv.len(), offset_bytes, hash });
        !self.batch.is_full() || self.give(None)
    }

    /// Waits until so much more may be on its way; what is more than may ever be goes alone.
    #[inline]
    fn make_room(&mut self, more_bytes: usize) -> bool {
        let has_room = self.out_bytes + self.batch.size_bytes() + more_bytes <= AHEAD_BYTES;
        has_room || self.give(None) && self.wait(AHEAD_BYTES.saturating_sub(more_bytes))
    }

    /// Waits until no more than `most_bytes` are out.
    fn wait(&mut self, most_bytes: usize) -> bool {
        while self.out_bytes > most_bytes {
            let Ok(emptied) = self.emptied.recv() else { return false };
            self.take_back(emptied);
        }
        true
    }

    fn give(&mut self, progress: Option<Progress>) -> bool {
        while let Ok(emptied) = self.emptied.try_recv() {
            self.take_back(emptied);
        }
        let batch = std::mem::replace(&mut self.batch, self.spare.pop().unwrap_or_default());
        self.out_bytes += batch.size_bytes();
        self.batches.send(Message::Batch(batch, progress)).is_ok()
    }

    fn take_back(&mut self, Emptied { batch, held_bytes }: Emptied) {
        self.out_bytes -= held_bytes;
        self.spare.push(batch);
    }

    /// No command takes up nothing: where nothing is out, all was executed.
    fn settle(&mut self) -> bool {
        self.give(None) && self.wait(0)
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        let argv = argv.iter().map(|word| word.to_vec()).collect();
        let (keys, told) = channel();
        // A question that nobody hears is dropped, and `keys` with it.
        let _ = self.batches.send(Message::KeysOf(argv, keys));
        told.recv().unwrap_or_default()
    }
}

impl Drop for Ahead {
    /// What was read before an error is executed, as it would be without a thread.
    fn drop(&mut self) {
        self.give(None);
    }
}

/// The executing end, until the reader has ended or the sink refuses something.
fn execute(
    sink: &mut impl Sink,
    path: &Path,
    mut told: Progress,
    messages: Receiver<Message>,
    executed: Sender<Emptied>,
) -> Result<(), Error> {
    let clock = Clock::monotonic();
    let mut told_at = clock.now();
    loop {
        match messages.recv_timeout(PATIENCE) {
            Ok(Message::Batch(batch, progress)) => {
                batch.execute(sink).map_err(|(at, source)| refused(path, at, source))?;
                if let Some(progress) = progress {
                    sink.progress(progress);
                    (told, told_at) = (progress, clock.now());
                }
                // A reader that has ended needs none.
                let _ = executed.send(batch.emptied());
            }
            Ok(Message::KeysOf(argv, keys)) => {
                let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
                let _ = keys.send(sink.keys_of(&argv));
                // Damage may be long, and all that comes of it are such questions.
                if clock.now().duration_since(told_at) >= PATIENCE {
                    sink.progress(told);
                    told_at = clock.now();
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                sink.progress(told);
                told_at = clock.now();
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Some commands, with their words copied behind each other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each word ends in `bytes`.
    ends: Vec<usize>,
    commands: Vec<Command>,
}

struct Command {
    db: u32,
    words: usize,
    offset_bytes: u64,
    hash: u64,
}

/// What commands of so many words take up, which have so many bytes.
fn size_bytes(commands: usize, words: usize, len_bytes: usize) -> usize {
    commands * size_of::<Command>() + words * size_of::<usize>() + len_bytes
}

impl Batch {
    /// Adds a command of `len_bytes`.
    #[inline]
    fn add(&mut self, argv: &Argv<'_>, len_bytes: usize, command: Command) {
        // At once: growing would leave a long one with twice its room.
        self.bytes.reserve(len_bytes);
        self.ends.reserve(argv.len());
        for word in argv {
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
        }
        self.commands.push(command);
    }

    fn size_bytes(&self) -> usize {
        size_bytes(self.commands.len(), self.ends.len(), self.bytes.len())
    }

    fn is_full(&self) -> bool {
        self.commands.len() >= BATCH_COMMANDS || self.size_bytes() >= BATCH_BYTES
    }

    /// Empties it; the room of long commands is given back.
    fn emptied(mut self) -> Emptied {
        let held_bytes = self.size_bytes();
        self.bytes.clear();
        self.bytes.shrink_to(2 * BATCH_BYTES);
        self.ends.clear();
        self.ends.shrink_to(2 * BATCH_BYTES / size_of::<usize>());
        self.commands.clear();
        Emptied { batch: self, held_bytes }
    }

    /// Fails with the offset of the command that was refused.
    fn execute(&self, sink: &mut impl Sink) -> Result<(), (u64, SinkError)> {
        let mut start = 0;
        let word = |&end: &usize| &self.bytes[std::mem::replace(&mut start, end)..end];
        let words: Vec<&[u8]> = self.ends.iter().map(word).collect();
        let mut rest = &words[..];
        let request = |command: &Command| {
            let (argv, behind) = rest.split_at(command.words);
            rest = behind;
            Request { db: command.db, argv, hash: command.hash }
        };
        let requests: Vec<Request<'_>> = self.commands.iter().map(request).collect();
        let offset_of = |at: usize| self.commands.get(at).map_or(0, |command| command.offset_bytes);
        sink.commands(&requests).map_err(|(at, source)| (offset_of(at), source))
    }
}
