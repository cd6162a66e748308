//! The story: a rewrite's base was renamed and listed by the thread that writes the log, and so were the next file and what
//! had become history. Each takes fsyncs of the directory, and for as long no reply to a write could leave, under any policy.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use aof::fs::{Call, Mem, Verdict};
use aof::{BaseFormat, Fsync, Log, NewBase, Steps};

use crate::world::{append, load, options, path, request, start, stepped, turn, until};

const TEMP: &str = "temp-rewriteaof-bg-1.aof";

fn publish(mem: &Mem, log: &mut Log, covers: u64) {
    let bytes = request(&["SET", "k", "base"]);
    mem.put(&path(TEMP), &bytes);
    let len_bytes = bytes.len() as u64;
    log.publish_base(NewBase { temp_path: path(TEMP), format: BaseFormat::Resp, covers, len_bytes });
}

#[test]
fn a_directory_s_fsync_that_hangs_delays_no_reply() {
    for (fsync, direct) in [Fsync::Always, Fsync::Everysec, Fsync::No]
        .into_iter()
        .flat_map(|fsync| [(fsync, true), (fsync, false)])
    {
        let mem = Mem::new();
        let mut log = start(mem.clone(), &options(fsync));
        log.set_direct_write(direct);
        turn(&mut log, &[("k", 0)]);
        let (arrive, arrivals) = sync_channel(0);
        let (go_on, told) = sync_channel::<()>(0);
        let told = Mutex::new(told);
        mem.on_call(move |request| {
            if request.call == Call::SyncDir && arrive.send(()).is_ok() {
                let _ = told.lock().unwrap().recv();
            }
            Verdict::Pass
        });
        let mut fsyncs = 0;
        let mut until_done = |log: &mut Log, what: &str, done: &dyn Fn(&mut Log) -> bool| {
            until(what, || {
                if arrivals.try_recv().is_ok() {
                    fsyncs += 1;
                    let position = turn(log, &[("k", fsyncs)]);
                    let context = format!("{fsync:?}, direct {direct}: a reply, {what}, at fsync {fsyncs}");
                    until(&context, || log.reply_watermark() >= position);
                    go_on.send(()).unwrap();
                }
                done(log)
            });
        };
        log.begin_rotation().unwrap();
        until_done(&mut log, "opening the next file", &|log| {
            log.rotation_ready().is_some_and(|ready| ready.is_ok())
        });
        let covers = log.switch();
        let position = turn(&mut log, &[("k", 10)]);
        until("the next file takes over", || log.written() >= position);
        publish(&mem, &mut log, covers);
        until_done(&mut log, "publishing", &|log| {
            log.base_published().is_some_and(|published| published.is_ok())
        });
        until_done(&mut log, "forgetting history", &|log| !log.is_directory_busy());
        // The names, then the manifest, each time.
        assert_eq!(fsyncs, 6, "{fsync:?}");
        mem.heal();
        log.stop().unwrap();
        let (commands, _) = load(&mem.power_cut(), &options(fsync)).unwrap();
        let after = ["base", "10", "3", "4", "5", "6"].map(|value| format!("0:SET k {value}"));
        assert_eq!(commands, after, "{fsync:?}");
    }
}

fn settle(steps: &Steps) {
    while steps.write() || steps.begin_sync() && steps.end_sync() {}
}

/// A log at position `covers` that has switched, and a base for it.
fn switched(mem: &Mem) -> (Log, Steps, u64) {
    let (mut log, steps) = stepped(mem.clone(), &options(Fsync::Everysec));
    log.begin_rotation().unwrap();
    settle(&steps);
    assert!(steps.do_chore());
    settle(&steps);
    log.rotation_ready().unwrap().unwrap();
    let covers = log.switch();
    append(&mut log, steps.now());
    settle(&steps);
    assert_eq!(log.written(), log.end());
    (log, steps, covers)
}

fn manifest(mem: &Mem) -> String {
    String::from_utf8(mem.bytes(&path("appendonly.aof.manifest")).unwrap()).unwrap()
}

#[test]
fn an_abort_that_comes_in_time_leaves_the_base_to_the_caller() {
    let mem = Mem::new();
    let (mut log, steps, covers) = switched(&mem);
    let before = manifest(&mem);
    publish(&mem, &mut log, covers);
    assert!(log.withdraw_base());
    settle(&steps);
    assert!(!steps.do_chore() && log.base_published().is_none());
    assert_eq!(manifest(&mem), before);
    assert!(mem.bytes(&path(TEMP)).is_some());
}

/// Whoever rotates next finds it published: the next file is opened by who has the directory, and that is one.
#[test]
fn an_abort_while_the_log_publishes_comes_too_late_and_the_next_rotation_waits() {
    let mem = Mem::new();
    let (mut log, steps, covers) = switched(&mem);
    publish(&mem, &mut log, covers);
    assert!(steps.write(), "it is handed over");
    assert!(!log.withdraw_base());
    log.begin_rotation().unwrap();
    append(&mut log, steps.now());
    settle(&steps);
    assert_eq!(log.written(), log.end());
    assert!(log.rotation_ready().is_none() && log.base_published().is_none() && !log.is_idle());
    assert!(steps.do_chore(), "it publishes");
    assert!(log.rotation_ready().is_none());
    assert!(steps.write() && steps.do_chore(), "the next file");
    assert!(log.base_published().is_some_and(|published| published.is_ok()));
    let expected = "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.1.base.aof seq 1 type h\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n\
                    file appendonly.aof.3.incr.aof seq 3 type i\n";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&manifest(&mem)), sorted(expected));
}

/// What a stat found of the live file was out of date by what was written until it was noted.
#[test]
fn the_log_s_size_counts_what_was_written_while_a_base_was_published() {
    let mem = Mem::new();
    let (mut log, steps, covers) = switched(&mem);
    publish(&mem, &mut log, covers);
    assert!(steps.write());
    // Another thread writes, behind the look at each file.
    std::thread::scope(|scope| {
        let (arrive, arrivals) = sync_channel(0);
        let (go_on, told) = sync_channel::<()>(0);
        let told = Mutex::new(told);
        mem.on_call(move |request| {
            if request.call == Call::Len {
                arrive.send(()).unwrap();
                told.lock().unwrap().recv().unwrap();
            }
            Verdict::Pass
        });
        let publishing = scope.spawn(|| steps.do_chore());
        for _ in ["the base", "the live file"] {
            arrivals.recv().unwrap();
            append(&mut log, steps.now());
            go_on.send(()).unwrap();
            settle(&steps);
        }
        assert!(publishing.join().unwrap());
    });
    mem.heal();
    settle(&steps);
    let len_bytes = |name: &str| mem.bytes(&path(name)).unwrap().len() as u64;
    let (base, incr) = (len_bytes("appendonly.aof.2.base.aof"), len_bytes("appendonly.aof.2.incr.aof"));
    let stats = log.stats(steps.now());
    assert_eq!((stats.base_size, stats.current_size), (base, base + incr));
}
