//! Reading ahead of execution: one thread reads, checks and parses, the other executes.
//!
//! ```text
//! decode thread    read(2), checksums, parsing, copying of arguments --batches--> sink.commands    the caller's thread
//!                                                <--emptied batches, answers---
//! ```
//! What is on its way is bounded, and batches are used again. The sink sees what it would see without the thread, in
//! the same order; what it refuses is placed by the offset that came along. Before anything is decided about damage
//! everything before it was executed ([`Feed::settle`]), so that nothing is cut from a file that the sink refuses.

use std::path::Path;

use resp::request::Argv;

use super::{Progress, Request, Sink, SinkError};
use crate::error::{Error, io_error};
use crate::sync::{Builder, Receiver, Sender, SyncSender, channel, scope, sync_channel};

/// A batch is given away once it holds so many commands.
const BATCH_COMMANDS: usize = 512;
/// Or so many bytes.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches on their way.
const BATCHES: usize = 8;
/// Shorter files are read where they are executed: a thread costs more than it gains.
const SMALL_BYTES: u64 = 64 * 1024;

/// Lets `read` feed a file of `len_bytes` to `sink`; what `sink` refuses comes first.
pub(super) fn feed<T: Send>(
    sink: &mut impl Sink,
    path: &Path,
    len_bytes: u64,
    read: impl FnOnce(Feed<'_>) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if len_bytes <= SMALL_BYTES {
        return read(Feed { path, to: To::Sink(sink) });
    }
    let (batches, messages) = sync_channel(BATCHES);
    let (answers, answered) = channel();
    scope(|scope| {
        let reader = move || {
            let (batch, spare) = (Batch::default(), Vec::new());
            read(Feed { path, to: To::Thread(Ahead { batch, spare, batches, answered }) })
        };
        let reader = Builder::new().name("decode".to_owned()).spawn_scoped(scope, reader);
        let reader = reader.map_err(io_error("spawn a thread for", path))?;
        let executed = execute(sink, path, messages, &answers);
        // Nobody is left to answer: should the reader have more to say, it learns that now.
        drop(answers);
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
    batches: SyncSender<Message>,
    answered: Receiver<Answer>,
}

enum Message {
    /// To be executed; then, perhaps, how far that is.
    Batch(Batch, Option<Progress>),
    KeysOf(Vec<Vec<u8>>),
    Settle,
}

enum Answer {
    Emptied(Batch),
    Keys(Vec<Vec<u8>>),
    Settled,
}

impl Ahead {
    /// False if nobody listens any more; so below.
    #[inline]
    fn add(&mut self, offset_bytes: u64, db: u32, argv: &Argv<'_>) -> bool {
        self.batch.add(offset_bytes, db, argv);
        !self.batch.is_full() || self.give(None)
    }

    fn give(&mut self, progress: Option<Progress>) -> bool {
        for answer in self.answered.try_iter() {
            if let Answer::Emptied(batch) = answer {
                self.spare.push(batch);
            }
        }
        let batch = std::mem::replace(&mut self.batch, self.spare.pop().unwrap_or_default());
        self.batches.send(Message::Batch(batch, progress)).is_ok()
    }

    fn settle(&mut self) -> bool {
        let is_told = self.give(None) && self.batches.send(Message::Settle).is_ok();
        is_told && self.answered.iter().any(|answer| matches!(answer, Answer::Settled))
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        let argv = argv.iter().map(|word| word.to_vec()).collect();
        if self.batches.send(Message::KeysOf(argv)).is_err() {
            return Vec::new();
        }
        let keys = self.answered.iter().find_map(|answer| match answer {
            Answer::Keys(keys) => Some(keys),
            Answer::Emptied(_) | Answer::Settled => None,
        });
        keys.unwrap_or_default()
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
    messages: Receiver<Message>,
    answers: &Sender<Answer>,
) -> Result<(), Error> {
    for message in messages {
        let answer = match message {
            Message::Batch(mut batch, progress) => {
                batch.execute(sink).map_err(|(at, source)| refused(path, at, source))?;
                if let Some(progress) = progress {
                    sink.progress(progress);
                }
                batch.clear();
                Answer::Emptied(batch)
            }
            Message::KeysOf(argv) => {
                let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
                Answer::Keys(sink.keys_of(&argv))
            }
            Message::Settle => Answer::Settled,
        };
        // A reader that has ended needs none.
        let _ = answers.send(answer);
    }
    Ok(())
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
}

impl Batch {
    #[inline]
    fn add(&mut self, offset_bytes: u64, db: u32, argv: &Argv<'_>) {
        for word in argv {
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
        }
        self.commands.push(Command { db, words: argv.len(), offset_bytes });
    }

    fn is_full(&self) -> bool {
        self.commands.len() >= BATCH_COMMANDS || self.bytes.len() >= BATCH_BYTES
    }

    /// Empties it; a giant's room is not kept.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * BATCH_BYTES);
        self.ends.clear();
        self.ends.shrink_to(BATCH_BYTES);
        self.commands.clear();
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
            Request { db: command.db, argv }
        };
        let requests: Vec<Request<'_>> = self.commands.iter().map(request).collect();
        let offset_of = |at: usize| self.commands.get(at).map_or(0, |command| command.offset_bytes);
        sink.commands(&requests).map_err(|(at, source)| (offset_of(at), source))
    }
}
