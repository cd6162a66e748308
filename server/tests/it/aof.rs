//! The story: an operator moves a data directory between Redis, Valkey and this server, looks into its files, tears and
//! repairs them, and switches the log on and off under load. What is in the files, and in which words a damaged one is
//! refused, is Redis's.

use std::fs;
use std::io::Write;

use rustix::process::Signal;

use crate::harness::{Client, World, eventually, let_rest, names, reaped};

const INCR: &str = "appendonly.aof.1.incr.aof";
const MANIFEST: &str = "appendonly.aof.manifest";

/// The commands of a log file, one line each; annotations are left out.
fn commands(world: &World, name: &str) -> Vec<String> {
    let bytes = fs::read(world.aof_file(name)).unwrap();
    let mut rest = &bytes[..];
    let mut commands = Vec::new();
    let mut parser = resp::Parser::default();
    while !rest.is_empty() {
        if rest[0] == b'#' {
            let end = rest.iter().position(|&byte| byte == b'\n').expect("a whole line") + 1;
            rest = &rest[end..];
            continue;
        }
        let len = parser.parse(rest, &resp::Limits::default()).unwrap().expect("a whole command");
        let words: Vec<_> =
            parser.argv(rest).iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        commands.push(words.join(" "));
        rest = &rest[len..];
    }
    commands
}

fn append(world: &World, name: &str, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).open(world.aof_file(name)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn the_directory_and_its_manifest_are_as_redis_7_makes_them() {
    let world = World::new();
    let server = world.start_aof(&["--appenddirname", "logs", "--appendfilename", "my log"]);
    server.client().ok("SET a 1");
    let dir = world.path().join("logs");
    let manifest = |base, incr| {
        format!(
            "file \"my log.{base}.base.rdb\" seq {base} type b\nfile \"my log.{incr}.incr.aof\" seq {incr} type i\n"
        )
    };
    assert_eq!(names(&dir), ["my log.1.base.rdb", "my log.1.incr.aof", "my log.manifest"]);
    assert_eq!(fs::read_to_string(dir.join("my log.manifest")).unwrap(), manifest(1, 1));
    server.rewrite();
    eventually("history is removed, then its lines", || {
        names(&dir) == ["my log.2.base.rdb", "my log.2.incr.aof", "my log.manifest"]
            && fs::read_to_string(dir.join("my log.manifest")).unwrap() == manifest(2, 2)
    });
    assert!(server.terminate().success());
    assert_eq!(
        world.start_aof(&["--appenddirname", "logs", "--appendfilename", "my log"]).client().ask("GET a"),
        "1"
    );
}

#[test]
fn the_log_holds_effects_rather_than_commands() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    for line in [
        "SET s v EX 1000",
        "EXPIRE s 500",
        "INCRBYFLOAT f 1.5",
        "SADD one a",
        "SPOP one",
        "GETEX s PERSIST",
        "GET s",
        "DEL absent",
        "SET s v NX",
        "SELECT 3",
        "RPUSH l a b",
        "MULTI",
        "INCR n",
        "SELECT 0",
        "INCR n",
        "EXEC",
        "SELECT 3",
        "LPOP l 1",
        "FLUSHALL ASYNC",
    ] {
        let reply = client.ask(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    // What happened in between is in the files, whatever else is.
    drop(client);
    assert!(server.terminate().success());
    let commands = commands(&world, INCR);
    let timeless: Vec<String> = commands
        .iter()
        .map(|command| {
            let words = command
                .split(' ')
                .map(|word| if word.len() == 13 && word.starts_with('1') { "MS" } else { word });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        timeless,
        [
            "SELECT 0",
            "SET s v PXAT MS",
            "PEXPIREAT s MS",
            "SET f 1.5 KEEPTTL",
            "SADD one a",
            "SREM one a",
            "PERSIST s",
            "SELECT 3",
            "RPUSH l a b",
            "MULTI",
            "INCR n",
            "SELECT 0",
            "INCR n",
            "EXEC",
            "SELECT 3",
            "LPOP l 1",
            "FLUSHALL ASYNC",
        ]
    );
}

#[test]
fn what_expires_is_deleted_in_the_log() {
    let world = World::new();
    let server = world.start_aof(&["--hz", "100"]);
    let mut client = server.client();
    client.ok("SET k v PX 1");
    client.ok("SET kept v");
    eventually("the key has gone", || client.info("expired_keys") == "1");
    drop(client);
    assert!(server.terminate().success());
    assert!(commands(&world, INCR).contains(&"DEL k".to_owned()), "{:?}", commands(&world, INCR));
}

#[test]
fn a_torn_tail_is_cut_set_aside_and_reported() {
    for (tail, keys) in [
        (&b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n"[..], ":1"),
        (b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n", ":1"),
        (&[0; 100], ":1"),
    ] {
        let world = World::new();
        let server = world.start_aof(&[]);
        server.client().ok("SET a 1");
        assert!(server.terminate().success());
        let sound = fs::read(world.aof_file(INCR)).unwrap();
        append(&world, INCR, tail);

        let server = world.start_aof(&[]);
        assert_eq!(server.client().ask("DBSIZE"), keys);
        server.client().ok("SET c 3");
        let side = format!("{INCR}.torn-{}", sound.len());
        assert_eq!(fs::read(world.aof_file(&side)).unwrap(), tail);
        assert!(
            world.log().contains(&format!("!!! Warning: short read while loading the AOF file {INCR}!!!"))
        );
        assert!(world.log().contains(&side), "{}", world.log());
        assert!(server.terminate().success());
        assert!(fs::read(world.aof_file(INCR)).unwrap().starts_with(&sound));
        assert_eq!(commands(&world, INCR).last().unwrap(), "SET c 3");
    }
}

#[test]
fn a_torn_tail_is_refused_where_the_operator_wants_to_know() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("SET a 1");
    assert!(server.terminate().success());
    append(&world, INCR, b"*3\r\n$3\r\nSET");
    let before = fs::read(world.aof_file(INCR)).unwrap();
    let refusal = world.refused(&["--appendonly", "yes", "--aof-load-truncated", "no"]);
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.output.contains("Unexpected end of file reading the append only file"), "{refusal:?}");
    assert!(refusal.output.contains("'aof-load-truncated' configuration option to yes"), "{refusal:?}");
    assert_eq!(fs::read(world.aof_file(INCR)).unwrap(), before);
    assert_eq!(world.aof_names(), ["appendonly.aof.1.base.rdb", INCR, MANIFEST]);
}

#[test]
fn damage_is_refused_in_the_words_of_redis_and_nothing_is_touched() {
    let world = World::new();
    let server = world.start_aof(&["--aof-checksum", "no"]);
    for number in 0..100 {
        server.client().ok(&format!("SET key:{number} value"));
    }
    assert!(server.terminate().success());
    let sound = fs::read(world.aof_file(INCR)).unwrap();
    let middle = sound.iter().enumerate().filter(|&(_, &byte)| byte == b'*').nth(50).unwrap().0;
    let mut damaged = sound.clone();
    damaged[middle] = b'?';
    let unknown = String::from_utf8_lossy(&sound).replacen("$3\r\nSET", "$3\r\nSAT", 1).into_bytes();
    let no_database = String::from_utf8_lossy(&sound).replacen("$1\r\n0\r\n", "$1\r\nx\r\n", 1).into_bytes();
    for (bytes, words) in [
        (&damaged, "Bad file format reading the append only file"),
        (&unknown, "Unknown command 'SAT' reading the append only file"),
        (&no_database, "appendonly.aof.1.incr.aof"),
    ] {
        fs::write(world.aof_file(INCR), bytes).unwrap();
        let refusal = world.refused(&["--appendonly", "yes"]);
        assert_eq!(refusal.code, Some(1), "{refusal:?}");
        assert!(refusal.output.contains(words), "{refusal:?}");
        assert_eq!(&fs::read(world.aof_file(INCR)).unwrap(), bytes);
        assert_eq!(world.aof_names(), ["appendonly.aof.1.base.rdb", INCR, MANIFEST]);
    }
    // A file that is not the last may not even be torn.
    fs::write(world.aof_file("appendonly.aof.1.base.rdb"), b"*3\r\n$3\r\nSET").unwrap();
    fs::write(world.aof_file(INCR), &sound).unwrap();
    let refusal = world.refused(&["--appendonly", "yes"]);
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.output.contains("the truncated file is not the last file"), "{refusal:?}");
}

#[test]
fn a_damaged_block_is_named_with_its_keys_and_quarantine_loads_the_rest() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    for number in 0..100 {
        client.ok(&format!("SET key:{number} value{number}"));
    }
    assert!(server.terminate().success());
    let mut bytes = fs::read(world.aof_file(INCR)).unwrap();
    let at = bytes.windows(7).position(|window| window == b"value50").unwrap();
    bytes[at] ^= 1;
    fs::write(world.aof_file(INCR), &bytes).unwrap();
    let refusal = world.refused(&["--appendonly", "yes"]);
    assert_eq!(refusal.code, Some(1));
    for words in [
        "Bad file format reading the append only file",
        "keys that they name: key:50",
        "everlog-check-aof repair",
    ] {
        assert!(refusal.output.contains(words), "{words}: {refusal:?}");
    }
    assert_eq!(fs::read(world.aof_file(INCR)).unwrap(), bytes, "nothing is touched");

    let server = world.start_aof(&["--aof-load-corrupt", "quarantine"]);
    let mut client = server.client();
    assert_eq!(client.ask("DBSIZE"), ":99");
    assert_eq!(client.ask("EXISTS key:50"), ":0");
    // What is in memory is all there is, so a new base is written at once.
    eventually("a rewrite has come", || client.info("aof_rewrites") == "1");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    assert!(server.terminate().success());
    assert!(world.aof_names().iter().any(|name| name.contains(".corrupt-")), "{:?}", world.aof_names());
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("DBSIZE"), ":99");
    assert!(server.terminate().success());
}

/// The same damage, met by a server that runs: it said nothing, and the next rewrite made that permanent.
#[test]
fn what_debug_loadaof_steps_over_is_told_and_left_behind_by_a_new_base() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always", "--aof-load-corrupt", "quarantine"]);
    let mut client = server.client();
    for number in 0..3 {
        client.ok(&format!("SET key:{number} value{number}"));
    }
    let mut bytes = fs::read(world.aof_file(INCR)).unwrap();
    let at = bytes.windows(6).position(|window| window == b"value1").unwrap();
    bytes[at] ^= 1;
    fs::write(world.aof_file(INCR), &bytes).unwrap();
    client.ok("DEBUG LOADAOF");
    assert_eq!(client.ask("MGET key:0 key:1 key:2"), "[value0 nil value2]");
    let log = world.log();
    assert!(log.contains("keys that they name: key:1; stepped over, and copied to"), "{log}");
    eventually("a rewrite has come", || client.info("aof_rewrites") == "1");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    drop(client);
    assert!(server.terminate().success());
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("DBSIZE"), ":2");
    assert!(server.terminate().success());
}

#[test]
fn a_bad_manifest_is_refused() {
    for (manifest, words) in [
        ("", "Found an empty AOF manifest"),
        ("file a.aof seq 1\n", "Invalid AOF manifest file format"),
        ("file a.aof seq 1 type x\n", "Unknown AOF file type"),
        ("file ../a.aof seq 1 type i\n", "File can't be a path, just a filename"),
        ("file a.aof seq 2 type i\nfile b.aof seq 1 type i\n", "Found a non-monotonic sequence number"),
        ("file a.aof seq 1 type b\nfile b.aof seq 2 type b\n", "Found duplicate base file information"),
    ] {
        let world = World::new();
        fs::create_dir(world.aof_dir()).unwrap();
        fs::write(world.aof_file(MANIFEST), manifest).unwrap();
        let refusal = world.refused(&["--appendonly", "yes"]);
        assert_eq!(refusal.code, Some(1), "{refusal:?}");
        assert!(refusal.output.to_lowercase().contains(&words.to_lowercase()), "{words}: {refusal:?}");
    }
}

/// Some of everything, and what DEBUG DIGEST says of it.
fn fill(client: &mut Client) -> String {
    client.ok("DEBUG POPULATE 500");
    client.ask("RPUSH list a b c");
    client.ask("SADD set a b c");
    client.ask("ZADD zset 1.5 a 2 b");
    client.ask("HSET hash f v g w");
    client.ask("PEXPIREAT key:1 4000000000000");
    client.ok("SELECT 5");
    client.ok("SET other database");
    client.ok("SELECT 0");
    client.ask("DEBUG DIGEST")
}

#[test]
fn a_rewritten_log_restores_the_same_data() {
    let world = World::new();
    let server = world.start_aof(&[]);
    fill(&mut server.client());
    server.rewrite();
    let mut client = server.client();
    client.ask("RPUSH list after");
    let digest = client.ask("DEBUG DIGEST");
    client.ok("DEBUG LOADAOF");
    assert_eq!(client.ask("DEBUG DIGEST"), digest);
    drop(client);
    assert!(server.terminate().success());
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("DEBUG DIGEST"), digest);
    eventually("history is removed", || world.aof_names().len() == 3);
    assert_eq!(server.info("aof_rewrite_in_progress"), "0");
}

/// `dir` is where the next log begins; bases of the one that is on were written there, too.
#[test]
fn a_log_that_is_on_stays_where_it_is() {
    let world = World::new();
    let mut server = world.start_aof(&["--enable-protected-configs", "yes"]);
    let mut client = server.client();
    let digest = fill(&mut client);
    let other = world.path().join("other");
    fs::create_dir(&other).unwrap();
    client.ok(&format!("CONFIG SET dir {}", other.display()));
    client.ok("DEBUG LOADAOF");
    assert_eq!(client.ask("DEBUG DIGEST"), digest);
    client.ok("CONFIG SET rdb-key-save-delay 20000");
    assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
    eventually("the base is being written", || {
        world.aof_names().iter().any(|name| name.starts_with("temp-rewriteaof-bg-"))
    });
    client.ok("CONFIG SET rdb-key-save-delay 0");
    eventually("the rewrite ends", || client.info("aof_rewrite_in_progress") == "0");
    assert_eq!(names(&other), [""; 0]);
    server.kill();
    assert_eq!(world.start_aof(&[]).client().ask("DEBUG DIGEST"), digest);
}

#[test]
fn a_second_rewrite_is_refused_while_one_runs() {
    let world = World::new();
    let server = world.start_aof(&["--rdb-key-save-delay", "10000"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 10000");
    assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    assert_eq!(client.ask("BGREWRITEAOF"), "-ERR Background append only file rewriting already in progress");
    client.ok("CONFIG SET rdb-key-save-delay 0");
    eventually("the rewrite ends", || client.info("aof_rewrite_in_progress") == "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
}

#[test]
fn a_rewrite_asked_for_by_a_transaction_begins_behind_it() {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    for command in ["MULTI", "SET k 1", "CONFIG SET appendonly yes", "BGREWRITEAOF", "INCR k"] {
        client.ask(command);
    }
    assert_eq!(client.ask("EXEC"), "[OK OK Background append only file rewriting scheduled :2]");
    assert!(world.log().contains(
        "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
    ));
    eventually("the first base is there", || client.info("aof_pending_rewrite") == "0");
    drop(client);
    assert!(server.terminate().success());
    assert_eq!(world.start_aof(&[]).client().ask("GET k"), "2");
}

#[test]
fn a_log_that_has_grown_is_rewritten_by_itself() {
    let world = World::new();
    let server = world.start_aof(&["--auto-aof-rewrite-min-size", "50kb", "--hz", "100"]);
    let mut client = server.client();
    let value = "x".repeat(1000);
    for _ in 0..100 {
        client.ok(&format!("SET k {value}"));
    }
    eventually("a rewrite has come", || client.info("aof_rewrites") != "0");
    eventually("the rewrite ends", || client.info("aof_rewrite_in_progress") == "0");
    // What came while it ran is part of it.
    let size: u64 = client.info("aof_base_size").parse().unwrap();
    assert!(size < 80_000, "{size}");
    assert!(world.log().contains("Starting automatic rewriting of AOF"));
    // Not at all at 0 percent. Until then a second one may have come: half of the writes may be behind the first.
    client.ok("CONFIG SET auto-aof-rewrite-percentage 0");
    eventually("no rewrite runs", || client.info("aof_rewrite_in_progress") == "0");
    let rewrites = client.info("aof_rewrites");
    for _ in 0..200 {
        client.ok(&format!("SET k {value}"));
    }
    assert_eq!((client.info("aof_rewrites"), client.info("aof_rewrite_in_progress")), (rewrites, "0".into()));
}

/// The size of the base alone let a log that grew while it was rewritten be rewritten again at once, and for ever. A
/// rewrite counts from its beginning, as in Redis.
#[test]
fn growth_is_measured_from_the_end_of_the_last_rewrite() {
    let world = World::new();
    let server =
        world.start_aof(&["--auto-aof-rewrite-percentage", "0", "--rdb-key-save-delay", "100000000"]);
    let mut client = server.client();
    client.ok("SET k v");
    assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
    eventually("the snapshot is taken", || client.info("current_save_keys_processed") != "0");
    assert_eq!(client.info("aof_rewrites"), "1");
    client.ok(&format!("SET later {}", "x".repeat(100_000)));
    client.ok("CONFIG SET rdb-key-save-delay 0");
    eventually("the rewrite ends", || client.info("aof_rewrite_in_progress") == "0");
    let size: u64 = client.info("aof_base_size").parse().unwrap();
    assert!(size > 100_000, "{size}");
    client.ok("CONFIG RESETSTAT");
    assert_eq!((client.info("aof_rewrites"), client.info("rdb_saves")), ("0".into(), "0".into()));
}

/// It ended the log before it failed, and the one that it began instead had no base yet.
#[test]
fn a_config_set_that_fails_leaves_the_log_as_it_was() {
    let world = World::new();
    let options = ["--appendfsync", "always", "--rdb-key-save-delay", "100000000"];
    let mut server = world.start_aof(&options);
    let mut client = server.client();
    client.ok("SET before 1");
    // An address that no machine has.
    let refusal = client.ask("CONFIG SET appendonly no bind 203.0.113.7");
    assert!(refusal.ends_with("Failed to bind to specified addresses."), "{refusal}");
    assert_eq!(client.ask("CONFIG GET appendonly"), "[appendonly yes]");
    assert_eq!((client.info("aof_enabled"), client.info("aof_pending_rewrite")), ("1".into(), "0".into()));
    client.ok("SET after 1");
    server.kill();
    assert_eq!(world.start_aof(&[]).client().ask("MGET before after"), "[1 1]");
}

/// SIGTERM ended it with exit code 0, and what came back was the state before the log had been off.
#[test]
fn a_log_without_its_first_base_is_left_by_force_alone_and_not_with_0() {
    let world = World::new();
    let mut server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    // The base rests behind this one, whether its snapshot is taken before `new` is there or after.
    client.ok("MSET old 1 stays 1");
    client.ok("CONFIG SET appendonly no");
    client.ok("CONFIG SET rdb-key-save-delay 100000000");
    client.ask("DEL old");
    client.ok("CONFIG SET appendonly yes");
    client.ok("SET new 1");
    let told = || world.log().matches("Writing initial AOF, can't exit.").count();
    for (count, signal) in [(1, Signal::TERM), (2, Signal::INT)] {
        server.signal(signal);
        eventually("it says why not", || told() == count);
    }
    client.ok("SHUTDOWN ABORT");
    assert_eq!(client.ask("SHUTDOWN ABORT"), "-ERR No shutdown in progress.");
    assert_eq!(client.ask("SHUTDOWN"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    client.ok("CONFIG SET rdb-key-save-delay 0");
    eventually("the first base is there", || client.info("aof_pending_rewrite") == "0");
    assert_eq!(server.terminate().code(), Some(0));

    server = world.start_aof(&["--rdb-key-save-delay", "100000000"]);
    let mut client = server.client();
    assert_eq!(client.ask("MGET old new"), "[nil 1]");
    client.ok("CONFIG SET appendonly no");
    client.ok("CONFIG SET appendonly yes");
    client.send("SHUTDOWN NOSAVE FORCE");
    assert!(client.is_closed());
    assert_eq!(server.wait().code(), Some(1));
}

/// SIGTERM killed the rewrite that alone could repair the log, ended with exit code 1, and the next start refused.
#[test]
fn a_log_that_has_lost_its_file_is_left_by_force_alone_until_a_base_has_repaired_it() {
    let (world, by_force) = (World::new(), World::new());
    let [mut server, mut forced] = [&world, &by_force].map(|world| {
        let server = world.start_aof(&["--rdb-key-save-delay", "100000000"]);
        let mut client = server.client();
        client.ok("SET before 1");
        fs::remove_file(world.aof_file(INCR)).unwrap();
        eventually("somebody looks", || {
            // Refused until another file has taken over.
            client.ask("SET meanwhile 2");
            client.info("aof_retired_files") == "1"
        });
        eventually("the repair has begun", || client.info("aof_rewrite_in_progress") == "1");
        client.ok("SET meanwhile 3");
        server
    });
    server.signal(Signal::TERM);
    eventually("it says why not", || {
        world.log().contains("Writing again from memory what the AOF has lost, can't exit.")
    });
    let mut client = server.client();
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    // Who sent the signal will not send another.
    client.ok("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(world.start_aof(&[]).client().ask("MGET before meanwhile"), "[1 3]");

    let mut client = forced.client();
    client.send("SHUTDOWN FORCE");
    assert!(client.is_closed());
    assert_eq!(forced.wait().code(), Some(1));
}

/// Nobody had written since, so that nobody had looked: the exit code was 0, and the next start refused.
#[test]
fn the_end_of_an_idle_server_whose_log_file_is_gone_waits_for_a_base() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    client.ok("SET k 1");
    fs::remove_file(world.aof_file(INCR)).unwrap();
    assert_eq!(client.ask("SHUTDOWN"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    eventually("the base is there", || {
        (client.info("aof_rewrites").as_str(), client.info("aof_rewrite_in_progress").as_str()) == ("1", "0")
    });
    assert_eq!(client.info("aof_retired_files"), "1");
    drop(client);
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(world.start_aof(&[]).client().ask("GET k"), "1");
}

#[test]
fn the_log_is_switched_on_and_off_while_writes_go_on() {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes", "--rdb-key-save-delay", "1000"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 2000");
    assert_eq!(client.info("aof_enabled"), "0");
    client.ok("CONFIG SET appendonly yes");
    // The first base is still being written: WAIT_REWRITE.
    assert_eq!(
        (client.info("aof_rewrite_in_progress"), client.info("aof_enabled")),
        ("1".into(), "1".into())
    );
    client.ok("SET during rewrite");
    client.ok("CONFIG SET rdb-key-save-delay 0");
    eventually("the first base is there", || client.info("aof_rewrite_in_progress") == "0");
    client.ok("SET after rewrite");
    let mut server = server;
    server.kill();

    let server = world.start_aof(&[]);
    let mut client = server.client();
    assert_eq!(client.ask("DBSIZE"), ":2002");
    client.ok("CONFIG SET appendonly no");
    assert_eq!(client.info("aof_enabled"), "0");
    client.ok("SET unlogged 1");
    let mut server = server;
    server.kill();
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("MGET during after unlogged"), "[rewrite rewrite nil]");
}

#[test]
fn a_log_that_is_switched_off_and_on_does_not_take_the_names_of_kept_files() {
    let world = World::new();
    let mut server = world.start_aof(&["--aof-disable-auto-gc", "yes"]);
    let mut client = server.client();
    client.ok("SET a 1");
    client.ok("CONFIG SET appendonly no");
    server.rewrite();
    client.ok("CONFIG SET appendonly yes");
    eventually("the first base is there", || client.info("aof_rewrite_in_progress") == "0");
    client.ok("SET b 2");
    client.ok("CONFIG SET aof-disable-auto-gc no");
    eventually("the history is gone", || {
        !fs::read_to_string(world.aof_file("appendonly.aof.manifest")).unwrap().contains("type h")
    });
    client.ok("SET c 3");
    server.kill();
    assert_eq!(world.start_aof(&[]).client().ask("MGET a b c"), "[1 2 3]");
}

#[test]
fn a_log_that_is_switched_off_before_its_first_base_leaves_the_old_one() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 2000");
    client.ok("CONFIG SET appendonly no");
    client.ok("SET unlogged 1");
    client.ok("CONFIG SET rdb-key-save-delay 1000");
    client.ok("CONFIG SET appendonly yes");
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    client.ok("SET never logged");
    client.ok("CONFIG SET appendonly no");
    assert_eq!(client.info("aof_rewrite_in_progress"), "0");
    let mut server = server;
    server.kill();
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("EXISTS unlogged never key:1999"), ":1");
    assert_eq!(server.client().ask("DBSIZE"), ":2000");
}

#[test]
fn a_rewrite_without_a_log_leaves_one_to_load() {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    let digest = fill(&mut client);
    server.rewrite();
    client.ok("FLUSHALL");
    client.ok("DEBUG LOADAOF");
    assert_eq!(client.ask("DEBUG DIGEST"), digest);
    drop(client);
    assert!(server.terminate().success());
    assert_eq!(world.start_aof(&[]).client().ask("DEBUG DIGEST"), digest);
}

#[test]
fn appendfsync_changes_while_it_runs() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "no"]);
    let mut client = server.client();
    client.ask("INCR n");
    for (count, policy) in [(2, "always"), (3, "everysec"), (4, "no"), (5, "always")] {
        client.ok(&format!("CONFIG SET appendfsync {policy}"));
        assert_eq!(client.ask("INCR n"), format!(":{count}"));
        if policy == "always" {
            assert_eq!(client.info("aof_unsynced_bytes"), "0");
        }
    }
    assert!(server.terminate().success());
    assert_eq!(world.start_aof(&[]).client().ask("GET n"), "5");
}

#[test]
fn every_orderly_end_makes_everything_durable_and_exits_0() {
    let world = World::new();
    for (count, end) in ["SIGTERM", "SIGINT", "SHUTDOWN", "SHUTDOWN NOSAVE NOW FORCE"].into_iter().enumerate()
    {
        let mut server = world.start_aof(&["--appendfsync", "no"]);
        let mut client = server.client();
        assert_eq!(client.ask("INCR n"), format!(":{}", count + 1));
        let status = match end {
            "SIGTERM" => server.terminate(),
            "SIGINT" => server.interrupt(),
            _ => {
                client.send(end);
                assert!(client.is_closed());
                server.wait()
            }
        };
        assert_eq!(status.code(), Some(0), "{end}");
        assert!(world.log().contains("Calling fsync() on the AOF file."));
    }
    assert_eq!(world.start_aof(&[]).client().ask("GET n"), "4");
}

/// A reply had left once its write was in the file. When the server ended, what could leave by then was less than that,
/// and the loss seemed to concern nobody.
#[test]
fn an_end_that_loses_what_was_acknowledged_does_not_exit_with_0() {
    for is_rewriting in [true, false] {
        let world = World::new();
        let policy = if is_rewriting { "always" } else { "everysec" };
        let options = ["--no-appendfsync-on-rewrite", "yes", "--rdb-key-save-delay", "100000000"];
        let server = world.start_aof(&[&["--appendfsync", policy][..], &options].concat());
        let mut client = server.client();
        client.ok("SET k 0");
        if is_rewriting {
            assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
            eventually("the snapshot is taken", || client.info("current_save_keys_processed") != "0");
            // The head of the next file is behind us.
            client.ok("SET k 1");
        }
        let Some(broken) = server.break_fdatasync() else { return };
        client.ok("SET k 2");
        let mut admin = server.client();
        if !is_rewriting {
            admin.send("CONFIG SET appendfsync always");
            // What goes to a client behind its unsafe reply waits with that.
            eventually("it is", || server.client().ask("CONFIG GET appendfsync") == "[appendfsync always]");
        }
        assert_eq!(server.terminate().code(), Some(1), "rewriting: {is_rewriting}");
        assert!(world.log().contains("The append only file could not be made durable"), "{}", world.log());
        drop(broken);
    }
}

#[test]
fn a_server_that_gets_no_thread_refuses_what_needs_one_and_goes_on() {
    let world = World::new();
    let refusal = world.refused_without_threads(&["--appendonly", "yes"]);
    assert_eq!(refusal.code, Some(1), "{refusal:?}");
    assert!(refusal.output.contains("spawn a thread for: Resource temporarily unavailable"), "{refusal:?}");
    let server = world.start_without_threads(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 1000");
    assert!(client.ask("BGSAVE").starts_with("-ERR Can't start a background save"));
    assert_eq!(client.info("rdb_last_bgsave_status"), "err");
    assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
    eventually("it has failed", || client.info("aof_last_bgrewrite_status") == "err");
    let refusal = client.ask("CONFIG SET appendonly yes");
    assert!(refusal.starts_with("-ERR CONFIG SET failed"), "{refusal}");
    assert_eq!(client.info("aof_enabled"), "0");
    client.ok("FLUSHALL ASYNC");
    assert_eq!(client.ask("DBSIZE"), ":0");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn the_end_of_a_server_that_rewrites_waits_for_nothing_and_leaves_nothing() {
    let world = World::new();
    let server = world.start_aof(&["--rdb-key-save-delay", "10000"]);
    server.client().ok("DEBUG POPULATE 10000");
    assert_eq!(server.client().ask("BGREWRITEAOF"), "Background append only file rewriting started");
    server.client().ok("SET last write");
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(names(world.path()), ["appendonlydir", "server.log"]);
    assert_eq!(world.start_aof(&[]).client().ask("DBSIZE"), ":10001");
}

#[test]
fn loading_is_said_while_it_loads() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("DEBUG POPULATE 2000");
    assert!(server.terminate().success());
    let options = ["--appendonly", "yes", "--enable-debug-command", "yes", "--key-load-delay", "2000"];
    let server = world.start_loading(&options);
    let mut client = server.client();
    let loading = "-LOADING Redis is loading the dataset in memory";
    for command in ["GET key:1", "PING", "BGREWRITEAOF"] {
        assert_eq!(client.ask(command), loading, "{command}");
    }
    assert_eq!(client.info("loading"), "1");
    assert!(client.ask("DEBUG LOADAOF").starts_with("-LOADING"));
    assert_eq!(client.ask("CONFIG SET appendonly no"), loading);
    client.ok("CONFIG SET key-load-delay 0");
    eventually("it has loaded", || client.ask("PING") == "PONG");
    assert_eq!((client.ask("DBSIZE"), client.info("loading")), (":2000".into(), "0".into()));
}

/// A log that begins with an RDB file is not there before its first base is.
#[test]
fn loading_is_said_while_an_rdb_file_becomes_the_first_base_and_a_server_that_is_told_to_end_then_ends() {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes"]);
    server.client().ok("DEBUG POPULATE 2000");
    server.client().ok("SAVE");
    assert!(server.terminate().success());
    let options = ["--appendonly", "yes", "--enable-debug-command", "yes", "--rdb-key-save-delay", "500"];
    let first_base = || world.aof_names().iter().any(|name| name.starts_with("temp-rewriteaof-bg-"));
    let server = world.start_loading(&options);
    eventually("the base is being written", first_base);
    let mut client = server.client();
    assert_eq!(client.ask("GET key:1"), "-LOADING Redis is loading the dataset in memory");
    assert_eq!(client.info("loading"), "1");
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(world.aof_names(), Vec::<String>::new());

    let server = world.start_loading(&options);
    eventually("the base is being written", first_base);
    let mut client = server.client();
    eventually("it has loaded", || client.ask("PING") == "PONG");
    assert_eq!((client.ask("DBSIZE"), client.info("loading")), (":2000".into(), "0".into()));
}

#[test]
fn a_server_that_is_told_to_end_while_it_loads_ends() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("DEBUG POPULATE 2000");
    assert!(server.terminate().success());
    let before = fs::read(world.aof_file(INCR)).unwrap();
    let options = ["--appendonly", "yes", "--enable-debug-command", "yes", "--key-load-delay", "2000"];
    let server = world.start_loading(&options);
    eventually("it loads", || server.client().ask("PING").starts_with("-LOADING"));
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(fs::read(world.aof_file(INCR)).unwrap(), before);
}

/// Bases that a rewrite has begun.
fn unfinished(world: &World) -> Vec<String> {
    let names = world.aof_names().into_iter();
    names.filter(|name| name.starts_with("temp-rewriteaof-bg-")).collect()
}

#[test]
fn the_base_of_a_killed_rewrite_is_removed_and_that_of_a_living_one_is_not() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("DEBUG POPULATE 10000");
    assert!(server.terminate().success());
    // Beside the log: this process is there, and has it open.
    let another = format!("temp-rewriteaof-bg-{}.aof", std::process::id());
    let _open = fs::File::create(world.path().join(&another)).unwrap();
    world.let_temps_rest();
    let mut left = String::new();
    // As a supervisor starts it, again and again. While there is no log the next rewrite looks, and not the start.
    for log in ["yes", "yes", "no", "no"] {
        let options = ["--enable-debug-command", "yes", "--rdb-key-save-delay", "10000", "--appendonly", log];
        let mut server = world.start(&options);
        if log == "no" {
            server.client().ok("DEBUG POPULATE 10000");
        } else {
            assert_eq!(unfinished(&world), [""; 0]);
        }
        assert_eq!(server.client().ask("BGREWRITEAOF"), "Background append only file rewriting started");
        eventually("the base is being written", || unfinished(&world).iter().any(|name| *name != left));
        assert_eq!(unfinished(&world).len(), 1);
        server.kill();
        left = unfinished(&world).remove(0);
    }
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("DBSIZE"), ":10000");
    assert_eq!(unfinished(&world), [""; 0]);
    assert_eq!(names(world.path()), ["appendonlydir", "server.log", &another]);
    assert!(world.log().contains(&format!("{left}, left by a process that was killed")));
}

/// Each start wrote its repair beside those of the starts before, until the disk was full.
#[test]
fn killed_repairs_of_a_damaged_log_do_not_pile_up() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    client.ok("SET damaged value");
    client.ok("DEBUG POPULATE 10000");
    drop(client);
    assert!(server.terminate().success());
    let mut bytes = fs::read(world.aof_file(INCR)).unwrap();
    let at = bytes.windows(7).position(|window| window == b"damaged").unwrap();
    bytes[at] ^= 1;
    fs::write(world.aof_file(INCR), &bytes).unwrap();
    let mut left = String::new();
    for _ in 0..3 {
        let options = ["--aof-load-corrupt", "quarantine", "--rdb-key-save-delay", "10000"];
        let mut server = world.start_aof(&options);
        eventually("the repair is written", || unfinished(&world).iter().any(|name| *name != left));
        assert_eq!(unfinished(&world).len(), 1);
        server.kill();
        left = unfinished(&world).remove(0);
    }
    let server = world.start_aof(&["--aof-load-corrupt", "quarantine"]);
    assert_eq!(server.client().ask("DBSIZE"), ":10000");
    eventually("the repair is there", || server.client().info("aof_rewrites") == "1");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    assert_eq!(unfinished(&world), [""; 0]);
    let copies = world.aof_names().into_iter().filter(|name| name.contains(".corrupt-")).count();
    assert_eq!(copies, 1, "{:?}", world.aof_names());
}

/// A kill between its rename and its manifest leaves one. The damage may be in what it holds, too.
#[test]
fn a_whole_base_that_is_not_listed_stays_beside_damage_and_goes_once_there_is_none() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("SET k 1");
    server.rewrite();
    server.client().ok("SET last value");
    assert!(server.terminate().success());
    let unlisted = "appendonly.aof.3.base.rdb";
    fs::copy(world.aof_file("appendonly.aof.2.base.rdb"), world.aof_file(unlisted)).unwrap();
    let incr = "appendonly.aof.2.incr.aof";
    let mut bytes = fs::read(world.aof_file(incr)).unwrap();
    let at = bytes.windows(5).position(|window| window == b"value").unwrap();
    bytes[at] ^= 1;
    fs::write(world.aof_file(incr), &bytes).unwrap();
    for is_damaged in [true, false] {
        let server = world.start_aof(&["--aof-load-corrupt-tail-max-size", "1mb"]);
        assert_eq!(server.client().ask("MGET k last"), "[1 nil]");
        assert_eq!(world.aof_names().iter().any(|name| name == unlisted), is_damaged);
        assert!(server.terminate().success());
    }
}

/// A stock server's stayed for ever, and so did any whose process had the number of another one by then. Then a backup
/// went that was named by its day, and the base of a server in another container.
#[test]
fn what_any_killed_process_has_left_is_removed_and_what_somebody_may_finish_is_not() {
    let (world, me, nobody) = (World::new(), std::process::id(), reaped());
    let put = |name: &String| fs::File::create(world.path().join(name)).unwrap();
    let rest = |name: &String| let_rest(&world.path().join(name));
    let gone = [
        format!("temp-rewriteaof-{nobody}.aof"),
        format!("temp-rewriteaof-bg-{nobody}.aof"),
        format!("temp-sync-{nobody}.rdb"),
        format!("temp-{nobody}.rdb"),
        format!("temp-1700000000.{nobody}.rdb"),
        // This process is there, but has closed it.
        format!("temp-{me}.rdb"),
    ];
    gone.iter().for_each(|name| drop(put(name)));
    let names_of_mine = ["temp-20240115.rdb", "temp-2024.01.rdb", "temp-of-mine.rdb"].map(str::to_owned);
    names_of_mine.iter().for_each(|name| drop(put(name)));
    let link = format!("temp-1700000001.{nobody}.rdb");
    std::os::unix::fs::symlink("temp-of-mine.rdb", world.path().join(&link)).unwrap();
    let open = format!("temp-1700000000.{me}.rdb");
    let _open = put(&open);
    gone.iter().chain(&names_of_mine).chain([&link, &open]).for_each(rest);
    // Whoever wrote it just now need not be a process of this machine.
    let written = format!("temp-1700000002.{nobody}.rdb");
    put(&written);

    let _server = world.start(&[]);
    let mut left = [&names_of_mine[..], &["server.log".to_owned(), link, open, written]].concat();
    left.sort();
    assert_eq!(names(world.path()), left);
    for name in &gone {
        assert!(world.log().contains(&format!("{name}, left by a process that was killed")));
    }
}

#[test]
fn a_kill_before_the_first_base_leaves_the_log_that_was() {
    let world = World::new();
    let server = world.start_aof(&[]);
    server.client().ok("SET old 1");
    assert!(server.terminate().success());
    let mut server = world.start(&["--enable-debug-command", "yes", "--rdb-key-save-delay", "10000"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 10000");
    client.ok("CONFIG SET appendonly yes");
    client.ok("SET new 1");
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    server.kill();
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("MGET old new"), "[1 nil]");
    assert_eq!(names(world.path()), ["appendonlydir", "server.log"]);
    assert_eq!(world.aof_names(), ["appendonly.aof.1.base.rdb", INCR, MANIFEST]);
}

#[test]
fn stock_redis_goes_on_with_our_log_and_we_with_its() {
    let world = World::new();
    let server = world.start_aof(&["--aof-timestamp-enabled", "yes"]);
    let mut client = server.client();
    fill(&mut client);
    server.rewrite();
    for line in [
        "MULTI",
        "INCR n",
        "SELECT 3",
        "INCRBYFLOAT f 1.25",
        "EXEC",
        "SADD s a b c",
        "SPOP s 2",
        "SET t v EX 1000",
    ] {
        assert!(!client.ask(line).starts_with('-'), "{line}");
    }
    let digest = client.ask("DEBUG DIGEST");
    drop(client);
    assert!(server.terminate().success());
    let Some(theirs) = world.start_redis(&[]) else { return };
    // It writes all of it anew, and appends.
    assert_eq!(theirs.client().ask("BGREWRITEAOF"), "Background append only file rewriting started");
    eventually("its rewrite ends", || theirs.info("aof_rewrite_in_progress") == "0");
    assert_eq!(theirs.info("aof_last_bgrewrite_status"), "ok");
    assert_eq!(theirs.client().ask("INCR n"), ":2");
    assert!(theirs.terminate().success());

    let server = world.start_aof(&[]);
    let mut client = server.client();
    assert_eq!(client.ask("DECR n"), ":1");
    assert_eq!(client.ask("DEBUG DIGEST"), digest);
}

#[test]
fn a_rewrite_keeps_to_its_limit_and_tells_how_far_it_is() {
    let world = World::new();
    let server = world.start_aof(&["--aof-rewrite-max-mb-per-sec", "1", "--aof-use-rdb-preamble", "no"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 2000 key 5000");
    assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
    eventually("it has written something", || {
        !["", "0"].contains(&client.info("aof_rewrite_bytes").as_str())
    });
    // All of it takes ten seconds.
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    assert_eq!(client.info("aof_rewrite_keys_total"), "2000");
    assert_ne!(client.info("aof_rewrite_keys"), "2000");
    assert_ne!(client.info("aof_rewrite_eta_sec"), "-1");
    client.ok("CONFIG SET aof-rewrite-max-mb-per-sec 0");
    eventually("it ends", || client.info("aof_rewrite_in_progress") == "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
}

#[test]
fn a_transaction_that_turns_the_log_on_is_kept_whole() {
    let world = World::new();
    let mut server = world.start(&[]);
    let mut client = server.client();
    client.ok("SET before 1");
    client.ok("MULTI");
    for line in ["SET a 1", "CONFIG SET appendonly yes", "SET b 2"] {
        assert_eq!(client.ask(line), "QUEUED");
    }
    assert_eq!(client.ask("EXEC"), "[OK OK OK]");
    client.ok("SET c 3");
    server.wait_for_info("aof_pending_rewrite", "0");
    client.ok("SET d 4");
    server.kill();
    assert_eq!(world.start_aof(&[]).client().ask("MGET before a b c d"), "[1 1 2 3 4]");
}

/// An idle log has not looked for its file; to end it without a look would leave a directory that does not load.
#[test]
fn a_log_whose_file_is_gone_is_not_turned_off() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    let mut client = server.client();
    client.ok("SET k v");
    server.wait_for_info("aof_pending_bio_fsync", "0");
    let incr = world.aof_names().into_iter().find(|name| name.ends_with(".incr.aof")).unwrap();
    fs::remove_file(world.aof_file(&incr)).unwrap();
    let refusal = client.ask("CONFIG SET appendonly no");
    assert!(refusal.contains("the disk has lost writes"), "{refusal}");
    eventually("a rewrite has repaired it", || client.ask("CONFIG SET appendonly no") == "OK");
    drop(server);
    assert_eq!(world.start_aof(&[]).client().ask("GET k"), "v");
}

/// What the first rewrites of Redis did: the writes beside one came twice.
#[test]
fn what_is_counted_beside_rewrites_is_counted_once() {
    const CLIENTS: u64 = 20;
    const EACH: u64 = 1_000;
    for format in ["yes", "no"] {
        let world = World::new();
        let options = ["--aof-use-rdb-preamble", format];
        let server = world.start_aof(&options);
        std::thread::scope(|scope| {
            let count = || {
                let mut client = server.client();
                (0..EACH).for_each(|_| assert!(client.ask("INCR foo").starts_with(':')));
            };
            let counting: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(count)).collect();
            while !counting.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                server.rewrite();
            }
        });
        let count = (CLIENTS * EACH).to_string();
        assert_eq!(server.client().ask("GET foo"), count);
        assert!(server.terminate().success());
        assert_eq!(world.start_aof(&options).client().ask("GET foo"), count, "{format}");
    }
}
