//! The story: under `appendfsync always` an acknowledgement is a promise about the disk, so no reply to a write may
//! leave before fdatasync(2) has covered it, nor a reply that shows the write to somebody else; and a reply that has
//! nothing to do with it must not wait. Under the other policies nobody waits for an fsync at all.
//!
//! strace makes the disk slow by delaying the system call. Nothing is measured: what must not wait is asked while what
//! must wait is silent.

use std::time::Duration;

use crate::harness::{Client, Server, World, eventually, request};

/// Longer than a few round trips take on a busy machine.
const FSYNC: Duration = Duration::from_millis(800);

/// As long, of a write(2) that the kernel throttles.
const WRITE: Duration = Duration::from_secs(1);

/// Sends a write and waits until it has been executed, but not until it is durable.
fn begin(server: &Server, command: &str) -> Client {
    let mut writer = server.client();
    let mut witness = server.client();
    let unsynced = |witness: &mut Client| witness.info("aof_unsynced_bytes") != "0";
    assert!(!unsynced(&mut witness));
    writer.send(command);
    eventually("the write is on its way to the disk", || unsynced(&mut witness));
    writer
}

#[test]
fn a_write_is_acknowledged_and_shown_only_when_it_is_durable_and_strangers_do_not_wait() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "always"]) else { return };
    for command in ["SET k 1", "INCR k", "DEL k", "SADD set a b"] {
        let mut writer = begin(&server, command);
        let key = command.split(' ').nth(1).unwrap();
        let (mut same, mut whole, mut stranger) = (server.client(), server.client(), server.client());
        same.send(&format!("TYPE {key}"));
        whole.send("DBSIZE");
        // Both have been executed by the time that a later command is answered.
        assert_eq!(stranger.ask("GET stranger"), "nil");
        assert_eq!(stranger.ask("PING"), "PONG");
        assert_eq!(stranger.info("aof_unanswered_clients"), "3");
        assert!(writer.is_silent() && same.is_silent() && whole.is_silent(), "{command}");
        assert!(!writer.reply().starts_with('-'));
        assert_eq!(writer.info("aof_unsynced_bytes"), "0", "{command}");
        same.reply();
        whole.reply();
        assert_eq!(stranger.info("aof_unanswered_clients"), "0");
    }
}

#[test]
fn transactions_and_served_waiters_are_answered_when_their_writes_are_durable() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "always"]) else { return };
    let mut waiting = server.client();
    waiting.send("BLPOP l 0");
    server.wait_for_info("blocked_clients", "1");
    let mut watcher = server.client();
    watcher.ok("WATCH l");
    let mut pusher = begin(&server, "RPUSH l a");
    // Its refusal tells that the list has changed.
    watcher.send("MULTI");
    watcher.send("EXEC");
    assert_eq!(server.client().ask("GET stranger"), "nil");
    assert!(waiting.is_silent() && pusher.is_silent());
    assert_eq!(pusher.reply(), ":1");
    assert_eq!(waiting.reply(), "[l a]");
    assert_eq!([watcher.reply(), watcher.reply()], ["OK", "nil[]"]);
    assert_eq!(pusher.info("aof_unsynced_bytes"), "0");
}

/// Every CONFIG SET let all databases wait for the disk, not only one of `appendfsync`.
#[test]
fn a_directive_that_promises_nothing_lets_nobody_wait() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "always"]) else { return };
    let mut writer = begin(&server, "SET k 1");
    let mut operator = server.client();
    operator.ok("CONFIG SET maxmemory 1gb");
    assert_eq!(operator.ask("GET stranger"), "nil");
    assert!(writer.is_silent());
    operator.ok("CONFIG SET appendfsync everysec");
    operator.ok("CONFIG SET appendfsync always");
    assert_eq!(operator.info("aof_unsynced_bytes"), "0");
}

#[test]
fn replies_that_wait_for_the_disk_count_as_unsent() {
    let world = World::new();
    let limit = ["--appendfsync", "always", "--client-output-buffer-limit", "normal 1mb 0 0"];
    let Some(server) = world.start_on_slow_disk(FSYNC, &limit) else { return };
    server.client().ok(&format!("SET big {}", "x".repeat(100_000)));
    let mut writer = begin(&server, "SET k 1");
    for _ in 0..20 {
        writer.send("GET big");
    }
    assert!(writer.try_reply().is_none(), "it is closed before the first reply may leave");
    eventually("the log says why", || world.log().contains("for overcoming of output buffer limits"));
}

#[test]
fn who_ends_its_side_after_a_write_is_told_of_it() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "always"]) else { return };
    let mut writer = begin(&server, "SET k 1");
    writer.end_sending();
    assert_eq!(writer.reply(), "OK");
    assert!(writer.is_closed());
}

#[test]
fn a_shutdown_in_the_middle_of_an_fsync_tells_of_what_it_saved() {
    let world = World::new();
    let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", "always"]) else { return };
    let mut writer = begin(&server, "SET k 1");
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(writer.reply(), "OK");
    assert_eq!(world.start_aof(&[]).client().ask("GET k"), "1");
}

#[test]
fn under_everysec_and_no_nobody_waits_for_an_fsync() {
    for policy in ["everysec", "no"] {
        let world = World::new();
        let Some(server) = world.start_on_slow_disk(FSYNC, &["--appendfsync", policy]) else { return };
        let mut client = server.client();
        client.ok("SET k 1");
        if policy == "everysec" {
            eventually("an fsync is under way", || client.info("aof_pending_bio_fsync") == "1");
        }
        for count in 2..100 {
            assert_eq!(client.ask("INCR k"), format!(":{count}"));
        }
        if policy == "everysec" {
            assert_eq!(client.info("aof_pending_bio_fsync"), "1", "it is still under way");
        }
    }
}

#[test]
fn a_policy_that_takes_hold_again_holds_back_what_was_told_while_it_rested() {
    let world = World::new();
    let resting = ["--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"];
    let Some(server) = world.start_on_slow_disk(FSYNC, &resting) else { return };
    let (mut client, mut reader, mut witness) = (server.client(), server.client(), server.client());
    client.ok("SET k 1");
    client.ok("CONFIG SET rdb-key-save-delay 100000000");
    client.ask("BGREWRITEAOF");
    eventually("replies leave before an fsync", || {
        client.ask("INCR k");
        witness.info("aof_unsynced_bytes") != "0"
    });
    client.send("CONFIG SET no-appendfsync-on-rewrite no");
    assert_eq!(witness.ask("PING"), "PONG");
    reader.send("GET k");
    assert_eq!(witness.ask("PING"), "PONG");
    assert!(client.is_silent() && reader.is_silent());
    assert_eq!(client.reply(), "OK");
    assert_ne!(reader.reply(), "nil");
}

#[test]
fn nothing_expires_into_a_log_that_holds_writes_back() {
    let world = World::new();
    let limits = ["--appendfsync", "everysec", "--aof-max-unsynced-bytes", "1mb", "--hz", "500"];
    let Some(server) = world.start_on_slow_disk(FSYNC, &limits) else { return };
    let (mut held, mut witness) = (server.client(), server.client());
    held.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    for number in 0..100 {
        held.ok(&format!("SET key:{number} v PX 1"));
    }
    held.ok(&format!("SET big {}", "v".repeat(2 << 20)));
    held.send("SET last 1");
    server.wait_for_info("aof_held_clients", "1");
    assert_eq!(witness.info("aof_writes_held"), "1");
    witness.ok("DEBUG SET-ACTIVE-EXPIRE 1");
    let mut looks = 0;
    while witness.ask("DBSIZE") == ":101" {
        looks += 1;
    }
    assert!(looks > 0, "writes were held");
    assert_eq!(held.reply(), "OK");
    assert_eq!((held.info("aof_writes_held"), held.info("aof_held_clients")), ("0".into(), "0".into()));
    eventually("they have expired", || witness.ask("DBSIZE") == ":2");
}

#[test]
fn a_reply_under_always_leaves_nothing_unsynced() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    for count in 1..=50 {
        assert_eq!(client.ask("INCR n"), format!(":{count}"));
        assert_eq!(client.info("aof_unsynced_bytes"), "0");
    }
}

#[test]
fn a_pipeline_of_writes_and_reads_is_answered_in_order() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    let mut pipeline = Vec::new();
    for _ in 0..500 {
        pipeline.extend(request(&[b"GET", b"stranger"]));
        pipeline.extend(request(&[b"INCR", b"n"]));
        pipeline.extend(request(&[b"GET", b"n"]));
    }
    client.send_bytes(&pipeline);
    for count in 1..=500 {
        assert_eq!(client.reply(), "nil");
        assert_eq!(client.reply(), format!(":{count}"));
        assert_eq!(client.reply(), count.to_string());
    }
}

/// While a write(2) of the log's thread hangs, who has nothing to do with it is answered.
fn strangers_go_on(server: &Server) {
    let (mut writer, mut witness) = (server.client(), server.client());
    writer.send("SET k 2");
    eventually("the write is on its way to the kernel", || witness.info("aof_buffer_length") != "0");
    assert_eq!(witness.ask("PING"), "PONG");
    assert_eq!(witness.ask("GET stranger"), "nil");
    assert_eq!(witness.ask("GET first"), "1");
    assert!(writer.is_silent());
    assert_eq!(writer.reply(), "OK");
}

#[test]
fn a_write_that_hangs_delays_no_stranger_without_direct_writes_and_with_them_one_stalls() {
    for (direct, stalls) in [("no", "0"), ("yes", "1")] {
        let world = World::new();
        // Under this policy nothing but commands makes the log write.
        let server = world.start_aof(&["--appendfsync", "no", "--aof-direct-write", direct]);
        let mut client = server.client();
        // Behind it, no head is owed.
        client.ok("SET first 1");
        let Some(_disk) = server.slow_log_writes(WRITE) else { return };
        // The log's thread may have been looking at the disk just then.
        let stalls_at_last = (1..5).any(|_| {
            client.ok("SET k 1");
            client.info("aof_slow_direct_writes") == stalls
        });
        assert!(stalls_at_last, "{direct}");
        strangers_go_on(&server);
        assert_eq!(client.info("aof_slow_direct_writes"), stalls, "{direct}");
    }
}
