//! The background job: a thread that consumes a view of the data, and leaves a durable file. Unless somebody waits for
//! it, it runs at a lower priority than the rest of the server.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use aof::fs::{create_dir_all, retry};
use aof::{BaseFormat, BaseFrame, Directory, Epoch, Fs, NewBase, Position};

use crate::control::{Control, Written};
use crate::output::{Output, aborted};
use crate::sync::{Arc, Builder, Weak};
use crate::{Error, Format, Settings};

/// Below the executor, which answers clients, and the log's threads, which others wait for.
const NICE: i32 = 10;

/// Told whenever a rewrite has something for [`Rewrite::step`](crate::Rewrite::step); from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A view of the data that never changes, for a job to consume: a `keyspace::Snapshot`.
pub trait Source: Send + 'static {
    /// Keys in it.
    fn keys(&self) -> u64;

    /// Writes itself as a base, releasing what it holds as it goes, and tells `out` after each key.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(self, settings: &Settings, unix_s: i64, out: &mut Output<'_>) -> io::Result<()>;
}

/// Tells whether a job still has something of its snapshot, also when its [`Rewrite`](crate::Rewrite) is gone: an aborted
/// job does not notice at once, and gigabytes take their time to fall free.
#[derive(Debug, Clone, Default)]
pub struct Hold(Weak<()>);

impl Hold {
    /// False also where no snapshot has been taken.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Everything that the thread needs.
pub(crate) struct Job<S> {
    pub(crate) control: Arc<Control>,
    pub(crate) settings: Settings,
    pub(crate) source: S,
    pub(crate) unix_s: i64,
    /// What the base holds everything before.
    pub(crate) covers: (Epoch, Position),
    /// Where the job publishes what it wrote by itself: no log is concerned.
    pub(crate) offline: Option<Destination>,
    pub(crate) wake: Wake,
}

impl<S: Source> Job<S> {
    /// Starts the thread.
    pub(crate) fn start(self) -> Result<Hold, Error> {
        self.control.expect_keys(self.source.keys());
        let held = Arc::new(());
        let hold = Hold(Arc::downgrade(&held));
        let thread = Builder::new().name("rewrite".to_owned());
        let started = thread.spawn(move || self.run(held));
        started.map(|_| hold).map_err(|source| Error::Thread { source })
    }

    /// Drops `held` behind the source.
    fn run(self, held: Arc<()>) {
        if self.settings.background {
            lower_priority();
        }
        let Job { control, settings, source, unix_s, covers: (epoch, covers), offline, wake } = self;
        // An RDB file that no log stands behind yet has its own checksum, and nothing to be tied to.
        let is_tied = offline.is_none() || settings.format == Format::Commands;
        let frame = (settings.checksum && is_tied).then(|| BaseFrame::new(epoch, covers, unix_s * 1000));
        // If something below panics, the executor must not wait for ever, and the file must go.
        let last_word = LastWord { control: &control, wake: &wake, is_said: false };
        // Opened first: a directory that contradicts itself is known before the walk.
        let offline = offline.map(|destination| Offline::open(control.fs(), destination)).transpose();
        let (outcome, offline) = match offline {
            Ok(offline) => (write_base(&control, &settings, held, source, unix_s, frame), offline),
            Err(error) => {
                drop(source);
                (Err(error), None)
            }
        };
        last_word.say(outcome, |written| {
            offline.map_or(Ok(()), |offline| offline.publish(control.fs(), &settings, written))
        });
    }
}

/// Where a job publishes what it wrote.
#[derive(Debug)]
pub(crate) enum Destination {
    /// The directory of a log that is not running: as its only file.
    Directory(aof::Options),
    /// A path of its own.
    File(PathBuf),
}

/// A destination that was looked at.
enum Offline {
    Directory(Box<(Directory, aof::Options)>),
    File(PathBuf),
}

impl Offline {
    fn open(fs: &Arc<dyn Fs>, destination: Destination) -> Result<Self, Error> {
        Ok(match destination {
            Destination::File(path) => Offline::File(path),
            Destination::Directory(options) => {
                // The file is to stand in it, and there may never have been a log.
                create_dir_all(&**fs, &options.dir).map_err(|source| Error::Io {
                    op: "mkdir",
                    path: options.dir.clone(),
                    source,
                })?;
                let directory = Directory::open_to_supersede(Arc::clone(fs), &options)?;
                Offline::Directory(Box::new((directory, options)))
            }
        })
    }

    fn publish(self, fs: &Arc<dyn Fs>, settings: &Settings, written: &Written) -> Result<(), Error> {
        match self {
            Offline::File(target) => replace(&**fs, &settings.temp_path, &target),
            Offline::Directory(offline) => {
                let (directory, options) = *offline;
                Ok(directory.supersede(&settings.base(0, written.len_bytes), &options)?)
            }
        }
    }
}

/// Gives a durable file the name of another, durably.
fn replace(fs: &dyn Fs, from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |op| move |source| Error::Io { op, path: to.to_path_buf(), source };
    retry(|| fs.rename(from, to)).map_err(failed("rename"))?;
    retry(|| fs.sync_dir(to.parent().unwrap_or(Path::new(".")))).map_err(failed("fsync"))
}

/// Says how the job ended, at the latest when it is dropped.
struct LastWord<'a> {
    control: &'a Control,
    wake: &'a Wake,
    is_said: bool,
}

impl LastWord<'_> {
    fn say(mut self, outcome: Result<Written, Error>, seal: impl FnOnce(&Written) -> Result<(), Error>) {
        self.control.finish(outcome, seal, &**self.wake);
        self.is_said = true;
    }
}

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        // A model that fails unwinds through here; its locks are gone.
        if !self.is_said && !cfg!(loom) {
            self.control.finish(Err(Error::ThreadDied), |_| Ok(()), &**self.wake);
        }
    }
}

/// Writes a base under the temporary name, and makes it durable. Parameters are dropped last to first: `held` stands
/// before the source.
fn write_base(
    control: &Control,
    settings: &Settings,
    held: Arc<()>,
    source: impl Source,
    unix_s: i64,
    frame: Option<BaseFrame>,
) -> Result<Written, Error> {
    let start = Instant::now();
    let failed = |op| move |source| Error::Io { op, path: control.path().to_path_buf(), source };
    let file = control.create().map_err(failed("create"))?;
    let file = file.ok_or_else(|| failed("create")(aborted()))?;
    let mut out = Output::new(Arc::clone(&file), control, settings, frame);
    let walked = out.begin().and_then(|()| source.write(settings, unix_s, &mut out));
    drop(held);
    let finished = walked.and_then(|()| out.finish());
    let len_bytes = finished.map_err(|source| failed(out.op())(source))?;
    Ok(Written { len_bytes, keys: control.progress().keys, walk: start.elapsed(), file })
}

impl Settings {
    pub(crate) fn base(&self, covers: aof::Position, len_bytes: u64) -> NewBase {
        let format = match self.format {
            Format::Commands => BaseFormat::Resp,
            Format::Rdb(_) => BaseFormat::Rdb,
        };
        NewBase { temp_path: self.temp_path.clone(), format, covers, len_bytes }
    }
}

/// On Linux a thread has a priority of its own. A refusal costs some latency, no data.
fn lower_priority() {
    if cfg!(not(loom)) {
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc;

    use aof::fs::Mem;

    use super::*;
    use crate::Rewrite;

    /// Tells which priority its thread has.
    struct Probe(mpsc::Sender<i32>);

    impl Source for Probe {
        fn keys(&self) -> u64 {
            0
        }

        fn write(self, _: &Settings, _: i64, _: &mut Output<'_>) -> io::Result<()> {
            self.0.send(priority()).map_err(io::Error::other)
        }
    }

    fn priority() -> i32 {
        rustix::process::getpriority_process(None).expect("a thread may ask")
    }

    #[test]
    fn only_the_job_s_own_thread_becomes_less_urgent_and_only_if_nobody_waits_for_it() {
        let before = priority();
        for (background, expected) in [(true, NICE.max(before)), (false, before)] {
            let settings = Settings { background, ..Settings::new("/temp".into(), Format::Commands) };
            let (sender, found) = mpsc::channel();
            let mut job =
                Rewrite::begin_save(Arc::new(Mem::new()), "/target".into(), settings, Arc::new(|| ()));
            assert!(job.step(None, 0, || Probe(sender)).is_none());
            assert_eq!(found.recv(), Ok(expected), "background: {background}");
        }
        assert_eq!(priority(), before);
    }
}
