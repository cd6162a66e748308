//! A log whose threads stop before every call to the file system, until the test has looked at the world there.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use aof::fs::{Call, Mem};
use aof::{Fsync, Log};

use crate::world::{load, options};

type Verdict = Option<std::io::Error>;

/// Drop it to let the log run freely. The test's own thread must make no call on the world while it is there: it would
/// stop, and nobody would let it go on.
pub(crate) struct Stepper {
    arrivals: Receiver<(Call, PathBuf)>,
    verdicts: SyncSender<Verdict>,
}

impl Stepper {
    pub(crate) fn new(mem: &Mem, log: &mut Log) -> Stepper {
        log.set_direct_write(false);
        let (arrive, arrivals) = sync_channel(0);
        let (verdicts, verdict) = sync_channel(0);
        mem.fail_with(move |call, path| {
            arrive.send((call, path.to_path_buf())).ok()?;
            verdict.recv().ok()?
        });
        Stepper { arrivals, verdicts }
    }

    /// Lets calls happen until `done`. `before` looks at the world before each, and may make it fail.
    pub(crate) fn until(
        &self,
        log: &mut Log,
        mut done: impl FnMut(&mut Log) -> bool,
        mut before: impl FnMut(&Log, Call, &Path) -> Verdict,
    ) {
        let started = Instant::now();
        while !done(log) {
            assert!(started.elapsed() < Duration::from_secs(60), "waited in vain");
            if let Ok((call, path)) = self.arrivals.recv_timeout(Duration::from_micros(100)) {
                let verdict = before(log, call, &path);
                self.verdicts.send(verdict).unwrap();
            }
        }
    }
}

/// The ends of the turns `SET k 0`, `SET k 1`, ...
#[derive(Default)]
pub(crate) struct Turns {
    pub(crate) ends: Vec<u64>,
    /// An fdatasync failed: what memory no longer had, which is only so under `no`, may be gone.
    pub(crate) sync_failed: Cell<bool>,
}

impl Turns {
    pub(crate) fn below(&self, position: u64) -> usize {
        self.ends.partition_point(|&end| end <= position)
    }

    /// A kill -9 takes nothing that was acknowledged, and neither does a power cut under `always`; under the others it
    /// takes nothing that was durable. Returns the two images.
    pub(crate) fn judge(&self, mem: &Mem, log: &Log, fsync: Fsync, context: &str) -> [Mem; 2] {
        // The marks first, for the thread that made the last call may still be at it.
        let acknowledged = self.below(log.reply_watermark());
        let safe = if fsync == Fsync::Always { acknowledged } else { self.below(log.durable()) };
        let (killed, cut) = (mem.kill(), mem.power_cut());
        self.judge_image(&killed, fsync, acknowledged, false, &format!("{context}, killed"));
        // What only the kernel had, and then lost in a failed fsync, leaves a hole.
        let is_lossy = fsync == Fsync::No && self.sync_failed.get();
        self.judge_image(&cut, fsync, safe, is_lossy, &format!("{context}, power cut"));
        [killed, cut]
    }

    /// Whatever was appended comes back as one run that ends at or after `at_least`, and is unbroken, unless it is lossy.
    fn judge_image(&self, image: &Mem, fsync: Fsync, at_least: usize, is_lossy: bool, context: &str) {
        let (commands, _) = load(image, &options(fsync)).unwrap_or_else(|error| panic!("{context}: {error}"));
        let number = |command: &String| command.strip_prefix("0:SET k ")?.parse::<usize>().ok();
        let first = commands.first().and_then(number).unwrap_or(0);
        let follows = |(command, n): (&String, usize)| {
            number(command).is_some_and(|found| found == n || is_lossy && found > n && n >= at_least)
        };
        let unbroken = commands.iter().zip(first..).all(follows);
        let count = if commands.is_empty() { 0 } else { first + commands.len() };
        let good = unbroken && (at_least..=self.ends.len()).contains(&count);
        assert!(good, "{context}: {at_least} of {} must be there: {commands:?}", self.ends.len());
    }
}
