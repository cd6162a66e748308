//! What the disk does to clients: reads beside synced writes, writes while an fsync runs, and a disk that others keep
//! busy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Bench, Better, Cell, Load, fresh_dir, measure, pings_during, quantile, table};
use crate::server::{Party, Server, free_port};
use crate::workspace;

const EVERYSEC: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
const ALWAYS: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];
const WRITERS: usize = 8;
const SLOW_FSYNC_MS: u64 = 700;
/// What counts as the executor having stood still. A write of ours that takes longer sends those of the next seconds through
/// another thread.
const STALL: Duration = Duration::from_millis(1);
const EPISODE: Duration = Duration::from_secs(2);

/// The part `disk`.
pub(super) fn disk(bench: &Bench) -> Result<String> {
    Ok([reads(bench)?, slow_fsyncs(bench)?, hog(bench)?].join("\n"))
}

impl Bench {
    fn seconds(&self, seconds: u64) -> Duration {
        Duration::from_millis(1000 * seconds / self.scale)
    }
}

// ---- reads beside writes under always

fn reads(bench: &Bench) -> Result<String> {
    let rows = ["p50 GET, ms", "p99 GET, ms", "SETs/s of the writers"].map(String::from);
    let samples = bench.sample(&rows, |party| {
        let dir = fresh_dir(&format!("disk-{}", party.name))?;
        let server = Server::start_by(bench.cores.server(&party.program), &dir, free_port(), &ALWAYS)?;
        gets_beside_writers(&server, bench.seconds(4))
    })?;
    let title = format!("GET of another key beside {WRITERS} writers under always");
    Ok(table(&title, bench, &rows, &samples, 3, Better::Lower))
}

fn gets_beside_writers(server: &Server, lasts: Duration) -> Result<[f64; 3]> {
    let mut reader = server.connect()?;
    reader.call(&["SET", "read", "only"])?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|at| {
                scope.spawn({
                    let done = &done;
                    move || write(server, at, done)
                })
            })
            .collect();
        let begin = Instant::now();
        let mut trips_ms = Vec::new();
        let read = (|| {
            while begin.elapsed() < lasts {
                let sent = Instant::now();
                reader.call(&["GET", "read"])?;
                trips_ms.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(())
        })();
        let elapsed_s = begin.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        let mut written = 0;
        for writer in writers {
            written += writer.join().unwrap_or_else(|_| bail!("a writer panicked"))?;
        }
        trips_ms.sort_by(f64::total_cmp);
        read.map(|()| [quantile(&trips_ms, 0.5), quantile(&trips_ms, 0.99), written as f64 / elapsed_s])
    })
}

/// SETs one at a time until told to stop; how many.
fn write(server: &Server, at: usize, done: &AtomicBool) -> Result<u64> {
    let mut client = server.connect()?;
    let mut written = 0;
    while !done.load(Ordering::Relaxed) {
        client.call(&["SET", &format!("writer:{at}"), &written.to_string()])?;
        written += 1;
    }
    Ok(written)
}

// ---- writes while an fsync runs

fn slow_fsyncs(bench: &Bench) -> Result<String> {
    let shim = slow_fsync_shim()?;
    let rows = ["SETs/s", "SETs/s while fsyncs are slow", "share of it"].map(String::from);
    let samples = bench.sample(&rows, |party| {
        let mut rates = [0.0; 2];
        for (rate, preload) in rates.iter_mut().zip([None, Some(&shim)]) {
            let dir = fresh_dir(&format!("disk-{}", party.name))?;
            let mut command = bench.cores.server(&party.program);
            command.envs(preload.map(|shim| ("LD_PRELOAD", shim)));
            let server = Server::start_by(command, &dir, free_port(), &EVERYSEC)?;
            *rate = sets_per_s(&server, bench.scale)?;
        }
        Ok([rates[0], rates[1], rates[1] / rates[0]])
    })?;
    let title = format!("50 conn., pipelined by 16, everysec; a slow fsync takes {SLOW_FSYNC_MS} ms");
    Ok(table(&title, bench, &rows, &samples, 2, Better::Higher))
}

/// Long enough for several fsyncs.
fn sets_per_s(server: &Server, scale: u64) -> Result<f64> {
    let cell = Cell { policy: "everysec", test: "set", connections: 50, pipeline: 16 };
    Ok(measure(&cell, server, 2_000_000 / scale)?.0)
}

/// A library that makes every fsync of a server slow, whatever the disk: to be preloaded.
fn slow_fsync_shim() -> Result<PathBuf> {
    let dir = workspace::cache_dir("bench")?;
    let (source, library) = (dir.join("slow_fsync.c"), dir.join("slow_fsync.so"));
    let functions = ["fsync", "fdatasync"].map(|name| {
        format!(
            "int {name}(int fd) {{ struct timespec t = {{0, {SLOW_FSYNC_MS} * 1000000L}}; nanosleep(&t, 0); \
             return syscall(SYS_{name}, fd); }}\n"
        )
    });
    let includes = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n";
    fs::write(&source, String::from(includes) + &functions.concat())?;
    let shell = workspace::shell()?;
    xshell::cmd!(shell, "gcc -shared -fPIC -O -o {library} {source}").quiet().run()?;
    Ok(library)
}

// ---- beside a disk hog

fn hog(bench: &Bench) -> Result<String> {
    let rows = [
        "stalls of more than 1 ms, each second",
        "longest stall, ms",
        "most calls of more than 1 ms within 2 s",
        "longest PING, ms",
        "the same without a hog: stalls each second",
        "longest stall, ms (no hog)",
    ]
    .map(String::from);
    let bench = bench.with_detour();
    let samples = bench.sample(&rows, |party| {
        let dir = fresh_dir(&format!("disk-{}", party.name))?;
        let options: Vec<&str> = EVERYSEC.iter().chain(detour_options(party)).copied().collect();
        let server = Server::start_by(bench.cores.server(&party.program), &dir, free_port(), &options)?;
        let load = Load::start(&server, 100_000)?;
        let lasts = bench.seconds(10);
        let quiet = Stalls::watch(server.pid(), lasts)?;
        let hog = Hog::start(&dir.join("hog"))?;
        let (pings, _) = pings_during(&server, || {
            std::thread::sleep(lasts);
            Ok(())
        })?;
        let busy = Stalls::watch(server.pid(), lasts)?;
        drop((hog, load));
        let pings = quantile(&pings, 1.0);
        Ok([
            busy.each_second(),
            busy.longest_ms(),
            busy.most_in_an_episode(),
            pings,
            quiet.each_second(),
            quiet.longest_ms(),
        ])
    })?;
    let title = "everysec, 10 conn. pipelined by 16, while another process writes and syncs 64 MiB at a time";
    Ok(table(title, &bench, &rows, &samples, 2, Better::Lower))
}

const DETOUR: &str = "everlog, no direct write";

fn detour_options(party: &Party) -> &'static [&'static str] {
    if party.name == DETOUR { &["--aof-direct-write", "no"] } else { &[] }
}

impl Bench {
    /// The same, with our server twice: `aof-direct-write` as it is, and off.
    fn with_detour(&self) -> Bench {
        let detour = Party { name: DETOUR, program: self.parties[0].program.clone() };
        let parties = self.parties.iter().cloned().chain([detour]).collect();
        Bench { parties, cores: self.cores.clone(), row: self.row.clone(), ..*self }
    }
}

/// A process that keeps the disk busy until dropped.
struct Hog(std::process::Child);

impl Hog {
    fn start(file: &Path) -> Result<Self> {
        let script =
            "while :; do dd if=/dev/zero of=\"$0\" bs=1M count=64 conv=fsync 2>/dev/null || exit; done";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(file);
        Ok(Hog(command.spawn()?))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When a server's main thread was asleep in a system call that is not its wait for events.
///
/// `/proc/PID/task/TID/schedstat` has the time that a thread ran and the time that it waited for a core; what is left is the
/// time that it was blocked, to the nanosecond and without a sample. But the wait for events is most of that, and nothing
/// there tells it from a write(2) that the kernel throttles. `syscall` beside it does, and calls `running` what is runnable,
/// on a core or not. So `syscall` says when a stall begins and ends, to within a look; and since the one who looks may have
/// waited for a core itself, what the thread ran or could have run meanwhile, by `schedstat`, is no part of it.
struct Stalls {
    /// When each began, and how long it was.
    lengths: Vec<(Duration, Duration)>,
    watched: Duration,
}

impl Stalls {
    /// Looks several thousand times a second.
    fn watch(pid: u32, lasts: Duration) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/task/{pid}/{file}");
            fs::read_to_string(&path).context(path)
        };
        let (begin, mut since, mut lengths) = (Instant::now(), None, Vec::new());
        let mut is_over = false;
        while !is_over {
            // One that lasts until the end counts up to there.
            is_over = begin.elapsed() >= lasts;
            match (!is_over && is_stalled(&read("syscall")?), since) {
                (true, None) => since = Some((begin.elapsed(), runnable(&read("schedstat")?)?)),
                (false, Some((from, before))) => {
                    let ran = runnable(&read("schedstat")?)?.saturating_sub(before);
                    lengths.push((from, (begin.elapsed() - from).saturating_sub(ran)));
                    since = None;
                }
                _ => {}
            }
        }
        lengths.retain(|(_, length)| *length > STALL);
        Ok(Stalls { lengths, watched: begin.elapsed() })
    }

    fn each_second(&self) -> f64 {
        self.lengths.len() as f64 / self.watched.as_secs_f64()
    }

    fn longest_ms(&self) -> f64 {
        self.lengths.iter().map(|(_, length)| length.as_secs_f64() * 1e3).fold(0.0, f64::max)
    }

    /// How many calls stalled to an episode: as many as there are within the time for which our server then leaves all writing
    /// to another thread. One is what it promises.
    fn most_in_an_episode(&self) -> f64 {
        let stalls = || self.lengths.iter().map(|(from, _)| *from);
        let within =
            |first: Duration| stalls().filter(|from| (first..first + EPISODE).contains(from)).count();
        stalls().map(within).max().unwrap_or(0) as f64
    }
}

/// Reads `/proc/PID/task/TID/schedstat`: how long the thread has run, or waited for a core.
fn runnable(schedstat: &str) -> Result<Duration> {
    let nanoseconds = schedstat.split_whitespace().take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
    Ok(Duration::from_nanos(nanoseconds.context("no schedstat")?))
}

/// Reads `/proc/PID/task/TID/syscall`: `running`, or the number of the call that the thread sleeps in.
fn is_stalled(syscall: &str) -> bool {
    const EPOLL: &[&str] = if cfg!(target_arch = "x86_64") { &["232", "281", "441"] } else { &["22", "441"] };
    let call = syscall.split_whitespace().next().unwrap_or_default();
    !call.is_empty() && call != "running" && !EPOLL.contains(&call)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Stalls, is_stalled, runnable};

    #[test]
    fn who_waits_in_a_call_is_seen_to() {
        let mut waits = Command::new("sh")
            .args(["-c", "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.05; done"])
            .spawn()
            .unwrap();
        let stalls = Stalls::watch(waits.id(), Duration::from_millis(400)).unwrap();
        waits.kill().unwrap();
        waits.wait().unwrap();
        assert!(stalls.longest_ms() > 10.0 && stalls.each_second() > 0.0, "{:?}", stalls.lengths);
        assert!(stalls.most_in_an_episode() > 0.0);
    }

    #[test]
    fn an_episode_is_two_seconds_of_slow_calls() {
        let stalls = |lengths: &[(u64, u64)]| {
            let ms = Duration::from_millis;
            let lengths = lengths.iter().map(|&(from, length)| (ms(from), ms(length))).collect();
            Stalls { lengths, watched: ms(10_000) }.most_in_an_episode()
        };
        assert_eq!(stalls(&[]), 0.0);
        assert_eq!(stalls(&[(100, 9), (2_100, 7)]), 1.0);
        assert_eq!(stalls(&[(0, 9), (1_500, 9), (1_900, 9), (3_600, 9)]), 3.0);
    }

    #[test]
    fn a_thread_that_runs_or_could_is_not_blocked() {
        assert_eq!(runnable("2000 3000 7\n").unwrap(), Duration::from_nanos(5000));
        assert!(runnable("x y 1").is_err());
    }

    #[test]
    fn asleep_in_anything_but_the_wait_for_events_is_a_stall() {
        assert!(is_stalled("1 0x7 0x7f 0x40 0x0 0x0 0x0 0x7ffc 0x7f31\n"));
        assert!(!is_stalled("running\n"));
        assert!(!is_stalled("441 0x3 0x7f 0x400\n"));
    }
}
