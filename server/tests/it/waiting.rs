//! The story: WAITAOF is a promise about the disk that its client has asked for, whatever `appendfsync` promises to the
//! others. It must never be given before fdatasync(2) has covered what was written before it, nor after one that failed;
//! and nobody else may wait for it. The same holds for CONFIG SET appendonly no, which must lose nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Client, Server, World, eventually};

/// Longer than a few round trips take on a busy machine.
const FSYNC: Duration = Duration::from_millis(800);

const POLICIES: [&str; 3] = ["everysec", "no", "always"];

/// Waits until somebody is parked and the disk at work.
fn under_way(server: &Server) -> Client {
    let mut witness = server.client();
    eventually("somebody waits for the disk", || {
        witness.info("blocked_clients") == "1" && witness.info("aof_pending_bio_fsync") == "1"
    });
    witness
}

/// The place of the first line behind `from` that holds all of these texts.
fn find(trace: &[&str], from: usize, texts: &[&str]) -> usize {
    let holds = |line: &&str| texts.iter().all(|text| line.contains(text));
    let found = trace.iter().skip(from).position(holds);
    from + found.unwrap_or_else(|| panic!("no {texts:?} behind line {from} of\n{}", trace.join("\n")))
}

#[test]
fn waitaof_is_answered_after_the_fdatasync_that_covers_what_came_before() {
    for policy in POLICIES {
        let world = World::new();
        let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", policy]) else { return };
        let mut client = server.client();
        client.send("SET k v");
        client.send("WAITAOF 1 0 0");
        if policy != "always" {
            assert_eq!(client.reply(), "OK");
        }
        let mut stranger = under_way(&server);
        assert_eq!(stranger.ask("GET stranger"), "nil");
        assert!(client.is_silent(), "{policy}");
        if policy == "always" {
            assert_eq!(client.reply(), "OK");
        }
        assert_eq!(client.reply(), "[:1 :0]", "{policy}");
        assert_eq!(stranger.info("aof_unsynced_bytes"), "0", "{policy}");
        drop(server);

        let trace = world.trace();
        let trace: Vec<&str> = trace.lines().collect();
        let written = find(&trace, 0, &["write", r"$1\r\nk\r\n$1\r\nv"]);
        let begun = find(&trace, written, &["fdatasync("]);
        let synced = find(&trace, begun, &["fdatasync", "= 0"]);
        let acknowledged = find(&trace, 0, &["sendto(", r"*2\r\n:1\r\n:0\r\n"]);
        assert!(synced < acknowledged, "{policy}:\n{}", trace.join("\n"));
    }
}

#[test]
fn many_that_wait_are_answered_by_one_fdatasync() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "no"]) else { return };
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    let syncs = || world.trace().lines().filter(|line| line.contains("fdatasync(")).count();
    let before = syncs();
    for client in &mut clients {
        client.send("INCR n");
        client.send("WAITAOF 1 0 0");
    }
    for client in &mut clients {
        assert!(client.reply().starts_with(':'));
        assert_eq!(client.reply(), "[:1 :0]");
    }
    // Who comes while one is running needs another; and no more.
    assert!((1..=2).contains(&(syncs() - before)), "{} instead of one or two", syncs() - before);
}

#[test]
fn waitaof_gives_up_in_time_and_by_unblock() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "everysec"]) else { return };
    let mut client = server.client();
    client.ok("SET k 1");
    assert_eq!(client.ask("WAITAOF 1 0 1"), "[:0 :0]");
    let serial = client.ask("CLIENT ID").replace(':', "");
    for (how, answer) in [("TIMEOUT", "[:0 :0]"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    {
        client.ok("SET k 1");
        client.send("WAITAOF 1 0 0");
        let mut other = under_way(&server);
        assert_eq!(other.ask(&format!("CLIENT UNBLOCK {serial} {how}")), ":1");
        assert_eq!(client.reply(), answer);
    }
    // What has nothing to wait for is answered at once.
    eventually("all is durable", || client.info("aof_unsynced_bytes") == "0");
    assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
}

#[test]
fn a_transaction_does_not_wait() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "everysec"]);
    let mut client = server.client();
    for command in ["MULTI", "WAITAOF 1 0 0", "SET k 1", "WAITAOF 1 0 0", "WAIT 1 0"] {
        client.ask(command);
    }
    assert_eq!(client.ask("EXEC"), "[[:1 :0] OK [:0 :0] :0]");
}

#[test]
fn what_cannot_be_waited_for_is_refused_or_times_out() {
    let world = World::new();
    let server = world.start(&[]);
    let mut client = server.client();
    for (command, answer) in [
        ("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
        ("WAITAOF 0 0 0", "[:0 :0]"),
        ("WAITAOF 0 1 20", "[:0 :0]"),
        ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF x 0 0", "-ERR value is not an integer or out of range"),
        ("WAITAOF 0 -1 0", "-ERR value is out of range, must be positive"),
        ("WAITAOF 0 0 -1", "-ERR timeout is negative"),
        ("WAITAOF 0 0 x", "-ERR timeout is not an integer or out of range"),
        ("WAITAOF 0 1 9223372036854775807", "-ERR timeout is out of range"),
        ("WAITAOF 0 0", "-ERR wrong number of arguments for 'waitaof' command"),
        ("WAIT 0 0", ":0"),
        ("WAIT 1 20", ":0"),
    ] {
        assert_eq!(client.ask(command), answer, "{command}");
    }
}

#[test]
fn an_fdatasync_that_fails_acknowledges_nothing() {
    for policy in POLICIES {
        let world = World::new();
        let server = world.start_aof(&["--appendfsync", policy]);
        // The head of the file is behind us.
        server.client().ok("SET k 0");
        let Some(broken) = server.break_fdatasync() else { return };
        let mut client = server.client();
        client.send("SET k 1");
        if policy != "always" {
            assert_eq!(client.reply(), "OK");
        }
        let mut waiting = server.client();
        waiting.send("WAITAOF 1 0 0");
        // The first failure retires the file, those behind it keep another from taking over.
        server.wait_for_info("aof_last_write_status", "err");
        assert_eq!(server.client().ask("WAITAOF 1 0 50"), "[:0 :0]", "{policy}");
        assert!(waiting.is_silent(), "{policy}");
        broken.repair();
        assert_eq!(waiting.reply(), "[:1 :0]", "{policy}");
        if policy == "always" {
            assert_eq!(client.reply(), "OK");
        }
    }
}

/// Each failure retires a file, and everything goes on in the next one.
#[test]
fn however_often_an_fdatasync_fails_the_server_lives_and_loses_nothing_acknowledged() {
    const FAILURES: usize = 5;
    for policy in POLICIES {
        let world = World::new();
        let mut server = world.start_aof(&["--appendfsync", policy]);
        let mut client = server.client();
        client.ok("SET n 0");
        for n in 1..=FAILURES {
            let Some(broken) = server.break_fdatasync() else { return };
            client.send("INCR n");
            client.send("WAITAOF 1 0 0");
            server.wait_for_info("aof_last_write_status", "err");
            broken.repair();
            assert_eq!(client.reply(), format!(":{n}"), "{policy}");
            assert_eq!(client.reply(), "[:1 :0]", "{policy}");
            server.wait_for_info("aof_last_write_status", "ok");
            // The error is told once in thirty seconds; that all goes on, each time.
            let lines = ["AOF write error looks solved", "The log goes on in another file"];
            let told = || lines.iter().map(|line| world.log().matches(line).count()).sum::<usize>();
            eventually("the log says so", || told() >= n);
        }
        server.kill();
        drop(server);
        let server = world.start_aof(&[]);
        assert_eq!(server.client().ask("GET n"), FAILURES.to_string(), "{policy}");
    }
}

/// Nobody can say whether the write is safe, so nobody is told anything.
#[test]
fn whoever_waits_for_an_fdatasync_that_hangs_is_let_go_without_a_word_and_the_write_is_kept() {
    let world = World::new();
    let options = ["--appendfsync", "always", "--aof-outcome-timeout", "1"];
    let Some(server) = world.start_on_slow_disk(3 * FSYNC, &options) else { return };
    let mut writer = server.client();
    writer.send("SET k v");
    let mut witness = server.client();
    eventually("it is logged", || witness.info("aof_unsynced_bytes") != "0");
    assert!(writer.try_reply().is_none(), "neither OK nor an error");
    assert_ne!(witness.info("aof_unsynced_bytes"), "0", "the disk is still at it");
    assert_eq!(witness.ask("GET stranger"), "nil");
    eventually("it is durable after all", || witness.info("aof_unsynced_bytes") == "0");
    assert_eq!(witness.ask("GET k"), "v");
}

#[test]
fn appendonly_no_waits_for_the_disk_and_nobody_else_does() {
    for policy in POLICIES {
        let world = World::new();
        let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", policy]) else { return };
        let (mut writer, mut admin) = (server.client(), server.client());
        writer.send("SET k 1");
        eventually("it is logged", || admin.info("aof_unsynced_bytes") != "0");
        admin.send("CONFIG SET appendonly no maxclients 77");
        let mut other = under_way(&server);
        assert_eq!(other.ask("GET stranger"), "nil");
        if policy != "always" {
            other.ok("SET other 1");
        }
        assert_eq!(other.ask("CONFIG GET appendonly"), "[appendonly yes]");
        assert!(admin.is_silent(), "{policy}");
        assert_eq!(admin.reply(), "OK");
        assert_eq!(writer.reply(), "OK");
        assert_eq!(admin.ask("CONFIG GET appendonly maxclients"), "[appendonly no maxclients 77]");
        assert_eq!(admin.info("aof_enabled"), "0", "{policy}");
        drop(server);
        let server = world.start_aof(&[]);
        assert_eq!(server.client().ask("GET k"), "1", "{policy}");
    }
}

/// Whoever came second found the log ready to end, ended it, and with it the memory of who had come first.
#[test]
fn all_that_turn_the_log_off_at_once_are_answered() {
    for second in [&["CONFIG SET appendonly no"][..], &["MULTI", "CONFIG SET appendonly no", "EXEC"]] {
        let world = World::new();
        let server = world.start_aof(&["--appendfsync", "everysec"]);
        let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "PONG"));
        let [sleeper, a, between, b] = &mut clients[..] else { unreachable!() };
        // Meanwhile the others' commands come together, for one turn; in that the fdatasync ends between the two.
        sleeper.send("DEBUG SLEEP 0.3");
        a.send("SET k v");
        a.send("CONFIG SET appendonly no maxclients 77");
        between.send("DEBUG SLEEP 0.3");
        second.iter().for_each(|command| b.send(command));
        let answers: Vec<String> = second.iter().map(|_| b.reply()).collect();
        assert!(answers.last().is_some_and(|last| last.contains("OK")), "{answers:?}");
        assert_eq!((a.reply(), a.reply()), ("OK".into(), "OK".into()), "{second:?}");
        assert_eq!(b.ask("CONFIG GET appendonly maxclients"), "[appendonly no maxclients 77]");
    }
}

/// A log without a base promises nothing. But to stop it means to wait for the call that the disk is at.
#[test]
fn appendonly_no_before_the_first_base_waits_for_the_disk_and_nobody_else_does() {
    let world = World::new();
    let options = ["--appendfsync", "everysec", "--rdb-key-save-delay", "100000000"];
    let Some(server) = world.start_on_slow_disk(FSYNC, &options) else { return };
    let (mut writer, mut admin) = (server.client(), server.client());
    writer.ok("SET k 0");
    admin.ok("CONFIG SET appendonly no");
    admin.ok("CONFIG SET appendonly yes");
    eventually("the snapshot is taken", || admin.info("current_save_keys_processed") != "0");
    writer.ok("SET k 1");
    admin.send("CONFIG SET appendonly no");
    let mut other = under_way(&server);
    assert_eq!(other.ask("GET stranger"), "nil");
    assert!(admin.is_silent());
    assert_eq!(admin.reply(), "OK");
    assert_eq!((admin.info("aof_enabled"), admin.info("aof_rewrite_in_progress")), ("0".into(), "0".into()));
}

#[test]
fn appendonly_no_comes_to_its_end_although_others_write() {
    for policy in POLICIES {
        let world = World::new();
        let mut server = world.start_aof(&["--appendfsync", policy]);
        let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut writer = server.client();
        let before = thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(writer.ask("INCR n").starts_with(':'));
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
            eventually("it writes", || written.load(Ordering::Relaxed) > 100);
            let before = written.load(Ordering::Relaxed);
            let reply = server.client().ask("CONFIG SET appendonly no");
            stop.store(true, Ordering::Relaxed);
            assert_eq!(reply, "OK", "{policy}");
            before
        });
        server.kill();
        let server = world.start_aof(&[]);
        assert!(server.client().ask("GET n").parse::<u64>().unwrap() >= before, "{policy}");
    }
}

#[test]
fn appendonly_no_is_refused_by_a_disk_that_fails_and_the_log_stays_on() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "everysec"]);
    let mut client = server.client();
    client.ok("SET k 0");
    let Some(broken) = server.break_fdatasync() else { return };
    client.ok("SET k 1");
    let reply = client.ask("CONFIG SET maxclients 77 appendonly no");
    assert!(
        reply.starts_with("-ERR CONFIG SET failed (possibly related to argument 'appendonly') - "),
        "{reply}"
    );
    assert_eq!(client.ask("CONFIG GET appendonly maxclients"), "[appendonly yes maxclients 10000]");
    broken.repair();
    assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
    client.ok("SET k 2");
}
