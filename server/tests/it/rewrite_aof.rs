//! everlog-rewrite as operators know it: what comes out loads to the same data, what is damaged or in use is left alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{World, eventually, let_rest, names, reaped};

const REWRITER: &str = env!("CARGO_BIN_EXE_everlog-rewrite");
const CHECKER: &str = env!("CARGO_BIN_EXE_everlog-check-aof");
const MANIFEST: &str = "appendonly.aof.manifest";

/// What a tool prints, and whether it succeeded.
fn run(program: &str, args: &[&str]) -> (String, bool) {
    let output = Command::new(program).args(args).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

fn rewrite(world: &World, args: &[&str]) -> (String, bool) {
    let dir = world.aof_dir();
    run(REWRITER, &[args, &[dir.to_str().unwrap()]].concat())
}

/// Values of every type, some changed and deleted again; returns their digest.
fn fill(world: &World, options: &[&str]) -> String {
    let server = world.start_aof(options);
    let mut client = server.client();
    for n in 0..300 {
        client.ok(&format!("SET string:{n} {n}"));
    }
    for line in [
        "DEL string:7",
        "INCR string:8",
        "RPUSH list a b c 1 2 3",
        "SADD set x y z",
        "HSET hash f v g w",
        "ZADD zset 1 one 2.5 two",
        "XADD stream 1-1 f v",
        "SETEX volatile 100000 soon",
        "SELECT 9",
        "SET elsewhere yes",
    ] {
        client.ask(line);
    }
    let digest = client.ask("DEBUG DIGEST");
    drop(client);
    assert!(server.terminate().success());
    digest
}

fn digest(world: &World, options: &[&str]) -> String {
    let server = world.start_aof(options);
    server.client().ask("DEBUG DIGEST")
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

#[test]
fn the_new_base_is_all_there_is_and_loads_to_the_same_data() {
    for (preamble, format) in [("yes", "rdb"), ("yes", "resp"), ("no", "rdb"), ("no", "resp")] {
        let (world, options) = (World::new(), ["--aof-use-rdb-preamble", preamble]);
        let expected = fill(&world, &options);
        // An earlier run was killed; the other file may be a stock server's.
        let nobody = reaped();
        let (killed, other) = (format!("temp-rewriteaof-bg-{nobody}.aof"), format!("temp-{nobody}.rdb"));
        for name in [&killed, &other] {
            fs::write(world.path().join(name), "").unwrap();
            let_rest(&world.path().join(name));
        }
        fs::write(world.aof_file(&killed), "").unwrap();
        let (text, is_done) = rewrite(&world, &["--format", format]);
        assert!(is_done && text.contains(" keys from ") && text.contains(" bytes in one after ("), "{text}");
        let removed = format!("{killed}, left by a process that was killed\n");
        assert!(text.ends_with(&removed) && text.matches(&removed).count() == 2, "{text}");
        let suffix = if format == "rdb" { "rdb" } else { "aof" };
        let base = format!("appendonly.aof.2.base.{suffix}");
        assert_eq!(world.aof_names(), [&base, MANIFEST], "{preamble} to {format}");
        assert_eq!(names(world.path()), ["appendonlydir", "server.log", &other]);
        fs::remove_file(world.path().join(other)).unwrap();
        assert_eq!(digest(&world, &options), expected, "{preamble} to {format}");
    }
}

#[test]
fn a_directory_of_redis_s_is_compacted_too_and_redis_reads_the_result() {
    for format in ["rdb", "resp"] {
        let world = World::new();
        let Some(redis) = world.start_redis(&[]) else { return };
        let mut client = redis.client();
        client.ask("MSET a 1 b 2 c 3");
        assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
        eventually("its rewrite ends", || redis.info("aof_rewrite_in_progress") == "0");
        client.ask("RPUSH list x y z");
        client.ask("INCR a");
        drop(client);
        assert!(redis.terminate().success());
        let (text, is_done) = rewrite(&world, &["--format", format]);
        assert!(is_done && text.starts_with("4 keys from 2 commands: "), "{text}");
        let Some(redis) = world.start_redis(&[]) else { return };
        assert_eq!(redis.client().ask("MGET a b c"), "[2 2 3]");
        assert_eq!(redis.client().ask("LRANGE list 0 -1"), "[x y z]");
    }
}

#[test]
fn a_damaged_log_is_left_alone_and_the_repair_is_told() {
    let world = World::new();
    fill(&world, &[]);
    let incr = world.aof_file("appendonly.aof.1.incr.aof");
    let (sound, manifest) = (fs::read(&incr).unwrap(), world.aof_file(MANIFEST));
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    for (damaged, action) in [(&flipped[..], "repair"), (&sound[..sound.len() / 2], "--fix")] {
        fs::write(&incr, damaged).unwrap();
        let before = contents(&world.aof_dir());
        let left = world.path().join(format!("temp-rewriteaof-bg-{}.aof", reaped()));
        fs::write(&left, "").unwrap();
        let_rest(&left);
        let (text, is_done) = rewrite(&world, &[]);
        assert!(left.exists(), "what is beside it stays, too");
        let advice =
            format!("\nNothing was rewritten. Use: everlog-check-aof {action} {}\n", manifest.display());
        assert!(!is_done && text.ends_with(&advice), "{text}");
        assert_eq!(contents(&world.aof_dir()), before);
    }
}

#[test]
fn a_log_that_a_server_uses_is_left_alone() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("SET k v");
    let (text, is_done) = rewrite(&world, &[]);
    let dir = world.aof_dir();
    let refusal =
        format!("{}: another program is using this log: it has locked the directory\n", dir.display());
    assert!(!is_done && text == refusal, "{text}");
    let manifest = world.aof_file(MANIFEST);
    for action in ["--fix", "repair"] {
        let (text, is_done) = run(CHECKER, &[action, manifest.to_str().unwrap()]);
        assert!(!is_done && text == refusal, "{text}");
    }
    let (text, is_done) = run(CHECKER, &[manifest.to_str().unwrap()]);
    assert!(is_done, "who only looks disturbs nobody: {text}");
    server.client().ok("CONFIG SET appendonly no");
    assert!(rewrite(&world, &[]).1, "no log, no lock");
}

/// What the checker read before it had the lock, a server that was about to end could still supersede.
#[test]
fn the_checker_reads_nothing_that_it_is_to_change_before_it_has_the_lock() {
    let world = World::new();
    let _server = world.start_aof(&[]);
    let nonesuch = world.aof_file("nonesuch.manifest");
    for args in [&["--fix"][..], &["repair"], &["--truncate-to-timestamp", "1"]] {
        let (text, is_done) = run(CHECKER, &[args, &[nonesuch.to_str().unwrap()]].concat());
        assert!(!is_done && text.contains("another program is using this log"), "{text}");
    }
    let (text, _) = run(CHECKER, &[nonesuch.to_str().unwrap()]);
    assert!(text.starts_with("Cannot open file"), "{text}");
}

#[test]
fn a_log_that_cannot_be_switched_on_leaves_no_lock() {
    let world = World::new();
    fs::create_dir(world.aof_dir()).unwrap();
    let manifest = world.aof_file(MANIFEST);
    fs::write(&manifest, "no manifest\n").unwrap();
    let server = world.start(&[]);
    let mut client = server.client();
    assert!(client.ask("CONFIG SET appendonly yes").starts_with("-ERR CONFIG SET failed"));
    let (text, is_done) = run(CHECKER, &["--fix", manifest.to_str().unwrap()]);
    assert!(!is_done && !text.contains("another program is using this log"), "{text}");
    fs::remove_file(manifest).unwrap();
    client.ok("CONFIG SET appendonly yes");
}

#[test]
fn a_rewrite_that_cannot_have_the_lock_has_failed_and_is_not_tried_for_ever() {
    let world = World::new();
    fs::create_dir(world.aof_dir()).unwrap();
    let lock = ::aof::DirLock::take(&::aof::fs::Disk, &world.aof_dir()).unwrap();
    let server = world.start(&[]);
    let mut client = server.client();
    client.ok("MULTI");
    assert_eq!(client.ask("BGREWRITEAOF"), "QUEUED");
    assert_eq!(client.ask("EXEC"), "[Background append only file rewriting scheduled]");
    eventually("it has failed", || client.info("aof_rewrites_consecutive_failures") == "1");
    assert_eq!(client.info("aof_rewrite_scheduled"), "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "err");
    let line = "Background AOF rewrite failed: ";
    assert!(world.log().contains(line), "{}", world.log());
    drop(lock);
    server.rewrite();
}

#[test]
fn what_is_no_log_is_said() {
    let world = World::new();
    let dir = world.path().to_str().unwrap();
    let (text, is_done) = run(REWRITER, &[dir]);
    assert!(!is_done && text == format!("{dir}: there is no manifest of a log here\n"), "{text}");
    assert!(!run(REWRITER, &[]).1);
    assert!(!run(REWRITER, &["--format", "xml", dir]).1);
}

#[test]
fn the_lock_is_that_of_the_directory_in_use() {
    let world = World::new();
    let server = world.start(&["--enable-protected-configs", "yes"]);
    let mut client = server.client();
    client.ok("SET k v");
    server.rewrite();
    assert!(rewrite(&world, &[]).1, "the rewrite is over, and there is no log");
    let other = world.path().join("other");
    fs::create_dir(&other).unwrap();
    client.ok(&format!("CONFIG SET dir {}", other.display()));
    client.ok("CONFIG SET appendonly yes");
    eventually("the first base is there", || client.info("aof_rewrite_in_progress") == "0");
    assert!(rewrite(&world, &[]).1, "the log is elsewhere");
    let in_use = other.join("appendonlydir");
    let (text, is_done) = run(REWRITER, &[in_use.to_str().unwrap()]);
    assert!(!is_done && text.contains("another program is using this log"), "{text}");
}

/// The repair made it anew, and the lock was on the one that is gone: the tool superseded the log under its writer.
#[test]
fn a_directory_that_was_removed_under_the_server_is_locked_again_before_its_repair() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    client.ok("SET k 1");
    fs::remove_dir_all(world.aof_dir()).unwrap();
    eventually("its loss is noticed and repaired", || {
        client.ok("SET k 2");
        client.info("aof_rewrites") == "1" && client.info("aof_rewrite_in_progress") == "0"
    });
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    let (text, is_done) = rewrite(&world, &[]);
    assert!(!is_done && text.contains("another program is using this log"), "{text}");
    server.rewrite();
    client.ok("SET k 3");
    assert!(server.terminate().success());
    assert_eq!(world.start_aof(&[]).client().ask("GET k"), "3");
}

#[test]
fn of_two_servers_that_begin_a_log_in_one_place_the_second_is_refused_before_it_loads() {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes"]);
    server.client().ok("DEBUG POPULATE 500");
    server.client().ok("SAVE");
    assert!(server.terminate().success());
    let first = world.start_loading(&["--appendonly", "yes", "--key-load-delay", "10000"]);
    eventually("it loads", || first.client().ask("PING").starts_with("-LOADING"));
    let refusal = world.refused(&["--appendonly", "yes"]);
    assert!(refusal.output.contains("another program is using this log"), "{}", refusal.output);
}
