//! Aborts and refusals at moments that only a disk in memory can hold still.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aof::Op;
use aof::fs::{Call, Mem, Request, Verdict};
use aof::space::{FIRST_MARK_BYTES, SECOND_MARK_BYTES};
use bytes::BytesMut;
use resp::{Encoder, Version};
use tempfile::TempDir;

use super::shutdown::Hindrance;
use super::*;
use crate::listening::Listeners;
use crate::logger::Logger;
use crate::settings::Setting;
use crate::turn::Turn;

/// A server whose files are in memory.
fn server(mem: &Mem) -> Server {
    let logger = Logger::open(Path::new("/dev/null"), Level::Warning).unwrap();
    let mut config = Config::redis_defaults();
    config.rdbcompression = false;
    let mut server = Server::new(config, logger, 1);
    mem.create_dir(&std::env::current_dir().unwrap()).unwrap();
    server.persistence.fs = Arc::new(mem.clone());
    server
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A disk on which some calls do not return for now.
struct Hung {
    hangs: AtomicBool,
    is_met: AtomicBool,
}

impl Hung {
    fn on(mem: &Mem, concerns: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) -> Arc<Hung> {
        let hung = Arc::new(Hung { hangs: AtomicBool::new(true), is_met: AtomicBool::new(false) });
        let theirs = Arc::clone(&hung);
        mem.on_call(move |request| {
            while concerns(request) && theirs.hangs.load(Ordering::Acquire) {
                theirs.is_met.store(true, Ordering::Release);
                std::thread::sleep(Duration::from_millis(1));
            }
            Verdict::Pass
        });
        hung
    }

    fn is_met(&self) -> bool {
        self.is_met.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.hangs.store(false, Ordering::Release);
    }
}

/// The rewrite was aborted first, and a log without a base has no growth that would start another.
#[test]
fn a_log_that_cannot_be_turned_off_goes_on_to_its_first_base() {
    let mem = Mem::new();
    let mut server = server(&mem);
    let hung = Hung::on(&mem, |request| request.call == Call::Write);
    server.turn_log_on().unwrap();
    // The job has begun, and so the temporary incr is there.
    eventually(|| {
        server.persist(true);
        hung.is_met()
    });
    let log = server.persistence.log_mut().unwrap();
    log.append(0, &[Op { db: 0, command: b"*1\r\n$4\r\nPING\r\n" }]);
    let refused = server.turn_log_off_within(Duration::from_millis(20));
    let goes_on = server.persistence.is_rewriting();
    hung.end();
    assert!(refused.is_err());
    assert!(goes_on);
    eventually(|| {
        server.persist(true);
        !server.persistence.is_waiting_rewrite()
    });
    server.turn_log_off().unwrap();
}

/// It went on being written to: on a disk that it had filled itself writes were refused, for as long as the next attempt
/// was put off.
#[test]
fn a_first_base_that_fails_gives_back_what_was_logged_behind_it() {
    let mem = Mem::new();
    let mut server = server(&mem);
    let temp = server.log_options().dir.join("temp-appendonly.aof.incr");
    server.turn_log_on().unwrap();
    let value = vec![b'x'; 1 << 20];
    set(&mut server, &value);
    let hung = Hung::on(&mem, |request| {
        request.call == Call::Write && request.path.to_string_lossy().contains("temp-rewriteaof-bg-")
    });
    eventually(|| {
        server.persist(true);
        hung.is_met()
    });
    let ping = [Op { db: 0, command: b"*1\r\n$4\r\nPING\r\n" }];
    server.persistence.log_mut().unwrap().append(0, &ping);
    eventually(|| {
        server.persist(true);
        mem.bytes(&temp).is_some_and(|bytes| !bytes.is_empty())
    });
    mem.fail_with(|call, path| {
        let is_base = call == Call::Write && path.to_string_lossy().contains("temp-rewriteaof-bg-");
        is_base.then(|| std::io::Error::from_raw_os_error(28))
    });
    hung.end();
    eventually(|| {
        server.persist(true);
        !server.persistence.is_rewriting()
    });
    eventually(|| mem.bytes(&temp).is_none());
    let log = server.persistence.log_mut().unwrap();
    let position = log.append(0, &ping);
    log.seal(Instant::now());
    assert_eq!((log.is_waiting_rewrite(), log.durable()), (true, position), "the next base will hold it");
    assert_eq!(log.stats(Instant::now()).buffer_length, 0);
    assert_eq!(server.persistence.backoff.failures(), 1);
    assert_eq!(server.shut_down(false, None), Err(Hindrance::OnlyInMemory));
    assert_eq!(server.persistence.backoff.failures(), 0, "the next attempt is due at once");
    mem.heal();
    server.start_rewrite().unwrap();
    eventually(|| {
        server.persist(true);
        !server.persistence.is_waiting_rewrite()
    });
    server.turn_log_off().unwrap();
}

/// The executor joined a writer that was at a call of the disk: nobody was served for as long as that took.
#[test]
fn a_log_ends_only_when_its_threads_have_nothing_to_do() {
    for what in ["publishing", "removal"] {
        let mem = Mem::new();
        let mut server = server(&mem);
        server.config.appendonly = true;
        turn_log_on(&mut server);
        let manifests = AtomicUsize::new(0);
        let hung = Hung::on(&mem, move |request| match what {
            // The first lists the next file.
            "publishing" => {
                request.call == Call::Rename
                    && request.path.ends_with("temp-appendonly.aof.manifest")
                    && manifests.fetch_add(1, Ordering::Relaxed) > 0
            }
            _ => request.call == Call::Remove && request.path.to_string_lossy().ends_with(".incr.aof"),
        });
        server.start_rewrite().unwrap();
        eventually(|| {
            server.persist(true);
            hung.is_met()
        });
        let off: [(&[u8], &[u8]); 1] = [(b"appendonly", b"no")];
        let while_it_hangs = server.set_config(&off, true);
        hung.end();
        assert_eq!(while_it_hangs.unwrap(), Setting::AwaitsLogEnd, "{what}");
        eventually(|| {
            server.persist(true);
            server.set_config(&off, true).unwrap() == Setting::Done
        });
        assert!(server.persistence.log().is_none(), "{what}");
    }
}

/// It ended the server at the next cron, and what was in memory alone was gone.
#[test]
fn a_signal_that_waits_for_a_first_base_is_forgotten_with_the_log() {
    let mem = Mem::new();
    let mut server = server(&mem);
    server.config.save = Vec::new();
    mem.fail_with(|call, _| (call == Call::Write).then(|| std::io::Error::from_raw_os_error(28)));
    server.turn_log_on().unwrap();
    server.signal(signal_hook::consts::SIGTERM);
    server.stop_if_awaited();
    assert_eq!((server.exit, server.persistence.awaited_stop), (None, Some(signal_hook::consts::SIGTERM)));
    eventually(|| {
        server.persist(true);
        server.turn_log_off_within(Duration::ZERO).is_ok()
    });
    server.stop_if_awaited();
    assert_eq!((server.exit, server.persistence.awaited_stop), (None, None));
}

/// The second took the log that was not there any more for one that had ended well.
#[test]
fn of_two_signals_in_a_turn_the_first_decides_how_the_server_ends() {
    let mem = Mem::new();
    let mut server = server(&mem);
    server.turn_log_on().unwrap();
    server.shut_down(true, None).unwrap();
    assert_eq!(server.exit, Some(1));
    server.signal(signal_hook::consts::SIGINT);
    assert_eq!(server.exit, Some(1));
}

/// Turns the log on, and waits for its first base.
fn turn_log_on(server: &mut Server) {
    server.turn_log_on().unwrap();
    eventually(|| {
        server.persist(true);
        !server.persistence.is_waiting_rewrite()
    });
    eventually(|| server.persistence.log().is_some_and(Log::is_idle));
}

/// The load read the old manifest, and before it had read the files that this names they were gone: the process ended.
#[test]
fn the_log_is_loaded_again_only_once_a_base_is_published() {
    let mem = Mem::new();
    let mut server = server(&mem);
    turn_log_on(&mut server);
    let base = server.log_options().dir.join("appendonly.aof.1.base.rdb");
    assert!(mem.bytes(&base).is_some());
    let manifests = AtomicUsize::new(0);
    // The first lists the next incr.
    let publishing = Hung::on(&mem, move |request| {
        request.call == Call::Rename
            && request.path.ends_with("temp-appendonly.aof.manifest")
            && manifests.fetch_add(1, Ordering::Relaxed) > 0
    });
    server.start_rewrite().unwrap();
    eventually(|| {
        server.persist(true);
        publishing.is_met()
    });
    let (end, disk) = (Arc::clone(&publishing), mem.clone());
    mem.on_call(move |request| {
        if request.call == Call::OpenRead && request.path == base {
            end.end();
            eventually(|| disk.bytes(&base).is_none());
        }
        Verdict::Pass
    });
    // Somebody must end it, unless the load comes too early.
    let ends_soon = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        publishing.end();
    });
    server.rest_log().unwrap();
    server.reload().unwrap();
    ends_soon.join().unwrap();
}

/// Expiry ended with the first mark, too.
#[test]
fn on_a_disk_that_is_almost_full_keys_expire_and_none_is_evicted() {
    let mem = Mem::new();
    // For the log and what it reserves: between the marks. That is not to be in the way of the first base.
    mem.set_capacity(208 * 1024);
    mem.fail_with(|call, _| (call == Call::Reserve).then(|| std::io::Error::from_raw_os_error(28)));
    let mut server = server(&mem);
    turn_log_on(&mut server);
    mem.heal();
    let room_bytes = || server.persistence.log().unwrap().room_bytes();
    eventually(|| (SECOND_MARK_BYTES..FIRST_MARK_BYTES).contains(&room_bytes()));
    execute(&mut server, &[b"SET", b"k", b"v", b"PX", b"1"]);
    let end = server.persistence.log().unwrap().end();
    let config: [(&[u8], &[u8]); 2] = [(b"maxmemory-policy", b"allkeys-random"), (b"maxmemory", b"1")];
    server.set_config(&config, true).unwrap();
    server.make_room(false);
    assert_eq!(
        server.persistence.log().unwrap().end(),
        end,
        "writes that need memory are refused all the same"
    );
    server.expire_cycle();
    assert!(server.persistence.log().unwrap().end() > end);
}

/// Each eviction was appended behind a disk that could not keep up, and nothing put an end to that.
#[test]
fn nothing_is_evicted_while_writes_are_held() {
    let mem = Mem::new();
    let mut server = server(&mem);
    let config: [(&[u8], &[u8]); 2] = [(b"maxmemory-policy", b"allkeys-random"), (b"maxmemory", b"1")];
    server.config.aof_max_unsynced_bytes = 1;
    server.turn_log_on().unwrap();
    eventually(|| {
        server.persist(true);
        !server.persistence.is_waiting_rewrite()
    });
    set(&mut server, b"v");
    let hung = Hung::on(&mem, |request| request.call == Call::SyncData);
    server.persistence.log_mut().unwrap().append(0, &[Op { db: 0, command: b"*1\r\n$4\r\nPING\r\n" }]);
    server.persist(true);
    assert!(server.persistence.writes_are_held());
    let end = server.persistence.log().unwrap().end();
    server.set_config(&config, true).unwrap();
    server.make_room(false);
    let while_held = server.persistence.log().unwrap().end();
    hung.end();
    assert_eq!(while_held, end);
    eventually(|| !server.persistence.writes_are_held());
    server.make_room(false);
    assert!(server.persistence.log().unwrap().end() > end);
}

/// INFO went on to say `err` and that there is no room, for as long as no other rewrite succeeded.
#[test]
fn a_refusal_for_want_of_space_ends_with_its_reason() {
    let mem = Mem::new();
    let mut server = server(&mem);
    mem.set_capacity(64 << 20);
    turn_log_on(&mut server);
    server.config.auto_aof_rewrite_min_size_bytes = 0;
    server.config.auto_aof_rewrite_percentage = 1;
    mem.set_capacity(1);
    set(&mut server, &vec![b'x'; 1 << 20]);
    server.persistence.log_mut().unwrap().append(0, &[Op { db: 0, command: b"*1\r\n$4\r\nPING\r\n" }]);
    let refusal = |server: &Server| server.persistence.last.refusal.clone();
    eventually(|| {
        server.persist(true);
        server.clock.refresh();
        server.rewrite_if_due(1 << 20);
        refusal(&server).is_some()
    });
    assert!(server.persistence.last.trouble().unwrap().starts_with("no space for a new base"));
    server.loading = Some(crate::executor::Loading::begin(Instant::now(), 0, 0));
    server.rewrite_if_due(1 << 20);
    assert!(refusal(&server).is_some(), "it is put off still");
    server.loading = None;
    server.config.auto_aof_rewrite_percentage = 0;
    server.rewrite_if_due(1 << 20);
    assert_eq!(server.persistence.last.trouble(), None);
    assert_eq!(server.persistence.backoff.failures(), 0);
}

/// `aof_last_rewrite_time_sec` was that of the last one that succeeded, and CONFIG RESETSTAT left the failures.
#[test]
fn a_rewrite_that_fails_has_taken_time_and_resetstat_forgets_that_it_failed() {
    let mem = Mem::new();
    let mut server = server(&mem);
    mem.fail_with(|call, _| (call == Call::Write).then(|| std::io::Error::from_raw_os_error(28)));
    server.start_rewrite().unwrap();
    eventually(|| {
        server.persist(true);
        !server.persistence.is_rewriting()
    });
    assert!(server.persistence.last.took.is_some());
    assert_eq!(server.persistence.backoff.failures(), 1);
    let trouble = server.persistence.last.trouble().map(str::to_owned);
    server.persistence.reset_stats();
    assert_eq!(server.persistence.backoff.failures(), 0);
    assert!(server.persistence.backoff.limits_repair(server.clock.now), "a repair is put off as before");
    assert!(trouble.is_some() && server.persistence.last.trouble() == trouble.as_deref(), "it is no count");
}

/// It was begun at once, again and again, where save points wait.
#[test]
fn a_save_that_is_scheduled_waits_after_a_failure_as_save_points_do() {
    let mem = Mem::new();
    let mut server = server(&mem);
    mem.fail_with(|call, _| (call == Call::Write).then(|| std::io::Error::from_raw_os_error(28)));
    let run = |server: &mut Server| {
        server.persistence.saving.scheduled = true;
        server.save_if_due();
        eventually(|| {
            server.persist(true);
            !server.persistence.saving.is_running()
        });
    };
    let has_failed = |server: &Server| server.save_misconf().is_some();
    run(&mut server);
    assert!(has_failed(&server));
    mem.heal();
    run(&mut server);
    assert!(has_failed(&server) && server.persistence.saving.scheduled, "it waits");
    server.clock.now += Duration::from_secs(6);
    run(&mut server);
    assert!(!has_failed(&server) && !server.persistence.saving.scheduled, "it has succeeded");
}

/// The writer was sent to the disk by each cron, `hz` times a second.
#[test]
fn a_log_that_grows_has_its_disk_looked_at_once_a_second() {
    let mut last = rewriting::LastRewrite::default();
    let start = Instant::now();
    let looks: Vec<u64> = (0..40u64)
        .map(|step| step * 100)
        .filter(|&ms| last.looks(start + Duration::from_millis(ms), ms))
        .collect();
    assert_eq!(looks, [0, 1000, 2000, 3000]);
    assert!(!last.looks(start + Duration::from_secs(9), 3000), "it has not grown");
}

/// While it has gigabytes of what keys have left, they are no data, and nothing more must be evicted for them.
#[test]
fn an_aborted_job_counts_until_it_has_let_go_of_its_snapshot() {
    for is_save in [false, true] {
        let mem = Mem::new();
        let mut server = server(&mem);
        set(&mut server, &vec![b'x'; 1 << 20]);
        let hung = Hung::on(&mem, |request| request.call == Call::Write);
        if is_save {
            server.start_save();
        } else {
            server.start_rewrite().unwrap();
        }
        server.persist(true);
        eventually(|| hung.is_met());
        server.abort_save();
        server.abort_rewrite();
        let is_held = server.is_writing_snapshot();
        hung.end();
        assert!(is_held, "save: {is_save}");
        eventually(|| !server.is_writing_snapshot());
    }
}

/// Its time began with the turn, and what accepting connections took of it was missing.
#[test]
fn a_turn_beside_a_snapshot_has_all_its_time_for_commands() {
    let mem = Mem::new();
    let (mut server, mut turn) = (server(&mem), Turn::new().unwrap());
    let dir = listen(&mut server);
    let connections: Vec<_> = std::iter::repeat_with(|| connect(&dir)).take(100).collect();
    server.start_rewrite().unwrap();
    turn.once(&mut server, Duration::ZERO).unwrap();
    assert_eq!(server.clients.len(), connections.len());
    // No command has read the clock again, so that it tells of the turn's begin.
    assert!(server.turn_ends_ns > server.clock.now_ns + 200_000);
}

/// Its last reply counted until the socket took it, and its connection was closed for that.
#[test]
fn who_reads_slowly_does_not_wait_for_the_disk() {
    let mem = Mem::new();
    let (mut server, mut turn) = (server(&mem), Turn::new().unwrap());
    server.persistence.set_waker(turn.waker());
    server.config.appendonly = true;
    server.config.appendfsync = AppendFsync::Always;
    server.load(&mut turn).unwrap();
    let dir = listen(&mut server);
    let unanswered = |server: &Server| {
        let text = server.info(&[b"persistence"]);
        let count = text.lines().find_map(|line| line.strip_prefix("aof_unanswered_clients:"));
        count.unwrap().to_owned()
    };
    let mut until = |server: &mut Server, is_so: &dyn Fn(&Server) -> bool| {
        eventually(|| {
            turn.once(server, Duration::from_millis(1)).unwrap();
            is_so(server)
        });
    };
    let is_durable = |server: &Server| server.persistence.log().is_some_and(|log| log.durable() == log.end());
    let mut slow = connect(&dir);
    slow.write_all(b"SETRANGE long 4000000 x\r\nGET long\r\n").unwrap();
    let has_long_reply = |server: &Server| {
        server.clients.iter().any(|client| client.output.len_bytes() > 1 << 20 && !client.output.is_held())
    };
    until(&mut server, &has_long_reply);
    slow.write_all(b"SET k v\r\n").unwrap();
    until(&mut server, &|server| server.stats.commands == 3 && is_durable(server));
    assert_eq!(unanswered(&server), "0");
    let hung = Hung::on(&mem, |request| request.call == Call::SyncData);
    let mut waiting = connect(&dir);
    waiting.write_all(b"SET k w\r\n").unwrap();
    until(&mut server, &|server| server.stats.commands == 4);
    assert_eq!((unanswered(&server).as_str(), server.clients.len()), ("1", 2));
    server.close_unanswered();
    server.clock.now += Duration::from_secs(u64::from(server.config.aof_outcome_timeout_s));
    server.close_unanswered();
    hung.end();
    assert_eq!((unanswered(&server).as_str(), server.clients.len()), ("0", 1));
}

#[test]
fn who_is_woken_while_writes_are_held_is_served_when_they_are_not() {
    let mem = Mem::new();
    let (mut server, mut turn) = (server(&mem), Turn::new().unwrap());
    server.persistence.set_waker(turn.waker());
    server.config.appendonly = true;
    server.config.aof_max_unsynced_bytes = 1;
    server.load(&mut turn).unwrap();
    let dir = listen(&mut server);
    let mut until = |server: &mut Server, is_so: &dyn Fn(&Server) -> bool| {
        eventually(|| {
            turn.once(server, Duration::from_millis(1)).unwrap();
            is_so(server)
        });
    };
    let (mut waiting, mut pusher) = (connect(&dir), connect(&dir));
    waiting.write_all(b"BLPOP q 1000\r\n").unwrap();
    until(&mut server, &|server| server.blocking.len() == 1 && !server.persistence.writes_are_held());
    let hung = Hung::on(&mem, |request| request.call == Call::SyncData);
    pusher.write_all(b"RPUSH q x\r\n").unwrap();
    until(&mut server, &|server| server.stats.commands == 1);
    let (held, blocked) = (server.held.len(), (server.blocking.len(), server.blocking.next_deadline()));
    hung.end();
    assert_eq!((held, blocked), (1, (1, None)));
    until(&mut server, &|server| server.blocking.is_empty());
    let mut reply = [0; 18];
    waiting.read_exact(&mut reply).unwrap();
    assert_eq!(reply, *b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
}

/// Lets a server be connected to.
fn listen(server: &mut Server) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    server.config.port = 0;
    server.config.unixsocket = dir.path().join("socket");
    server.listeners = Listeners::open(&server.config).unwrap();
    dir
}

fn connect(dir: &TempDir) -> UnixStream {
    UnixStream::connect(dir.path().join("socket")).unwrap()
}

/// A value that a job writes in the midst of its walk.
fn set(server: &mut Server, value: &[u8]) {
    execute(server, &[b"SET", b"k", value]);
}

fn execute(server: &mut Server, argv: &[&[u8]]) {
    let mut out = BytesMut::new();
    let call = keyspace::Call::new(0, 1_700_000_000_000, argv);
    server.keyspace.execute(&call, &mut Encoder::new(&mut out, Version::Resp2), &mut server.unit);
    server.unit.clear();
    assert_eq!(&out[..], b"+OK\r\n");
}
