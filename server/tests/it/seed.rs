//! The story: whoever comes from Redis 2.6.4 brings along what its `aof.c` did, from the bytes in the file to the words
//! of a reply, and leaves behind what it did wrong. The table in `aof/README.md` says which test holds each line of that
//! checklist; here are the lines about a whole server that no other file is about. Where the original was wrong, the test
//! would fail on it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, Server, World, eventually, names, not_tested};

const INCR: &str = "appendonly.aof.1.incr.aof";

/// A file of the log as text, its times in milliseconds blotted out: two servers do not read the clock at once.
fn timeless(world: &World, name: &str) -> String {
    let text = String::from_utf8(fs::read(world.aof_file(name)).unwrap()).unwrap();
    let is_time = |line: &str| line.len() == 13 && line.bytes().all(|byte| byte.is_ascii_digit());
    let lines = text.split("\r\n").map(|line| if is_time(line) { "<milliseconds>" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether or not a command changes something, and whatever is logged for it.
const COMMANDS: &[&str] = &[
    "SELECT 9",
    "GET absent",
    "sEt k v",
    "SELECT 0",
    "set k 007",
    "SET t v EX 1000",
    "SETEX t 1000 v",
    "PSETEX t 1000000 v",
    "SET t v KEEPTTL",
    "SET t v GET PX 1000000",
    "SET t v NX",
    "EXPIRE t 500",
    "expire t 600 gt",
    "PEXPIRE t 500000 LT",
    "EXPIREAT t 4000000000",
    "PEXPIREAT t 4000000000001",
    "EXPIRE absent 10",
    "EXPIREAT k 1",
    "GETEX t EX 100",
    "GETEX t PERSIST",
    "GETEX t",
    "PERSIST t",
    "GETSET t w",
    "GETDEL t",
    "INCR n",
    "INCR t",
    "INCRBYFLOAT n 0.5",
    "APPEND t x",
    "SETRANGE t 3 abc",
    "SETBIT b 7 1",
    "BITFIELD b INCRBY u4 0 1",
    "MSET a 1 b 2",
    "MSETNX a 1 z 2",
    "HSET h f 1 g 2",
    "HINCRBYFLOAT h f 0.25",
    "HDEL h absent",
    "HDEL h g",
    "SADD s a",
    "SADD s a",
    "SPOP s",
    "SADD s a",
    "SPOP s 3",
    "SPOP s",
    "ZADD z 1.50 a 2 b",
    "ZADD z XX 3 c",
    "ZPOPMIN z",
    "BZPOPMAX z 0",
    "ZADD z 1 a 2 b 3 c",
    "ZMPOP 1 z MIN COUNT 2",
    "RPUSH l 3 1 2",
    "LTRIM l 0 100",
    "BLPOP absent l 0",
    "BRPOP l 0",
    "RPUSH l a b c d e f",
    "RPOPLPUSH l m",
    "BRPOPLPUSH l m 0",
    "LMOVE l m LEFT RIGHT",
    "BLMOVE l m LEFT RIGHT 0",
    "LMPOP 2 l m LEFT COUNT 9",
    "BLMPOP 0 2 l m RIGHT COUNT 1",
    "SORT m ALPHA STORE sorted",
    "RENAME sorted m",
    "COPY m c",
    "MOVE c 3",
    "SWAPDB 0 3",
    "SWAPDB 3 0",
    "DEL absent",
    "DEL b absent a",
    "UNLINK h",
    "PUBLISH channel message",
    "LPUSH n x",
    "NOSUCHCOMMAND x",
    "MULTI",
    "SET a 1",
    "EXEC",
    "MULTI",
    "SET a 1",
    "SELECT 5",
    "SET a 2",
    "GET a",
    "LPUSH a x",
    "EXEC",
    "MULTI",
    "SELECT 0",
    "GET a",
    "EXEC",
    "MULTI",
    "EXEC",
    "MULTI",
    "SET a 3",
    "DISCARD",
    "SET a 4",
    "FLUSHDB",
    "FLUSHDB",
    "FLUSHALL",
    "SET after all",
];

/// Runs [`COMMANDS`], lets a parked client be served, and ends the server.
fn run_commands(server: Server) -> Vec<String> {
    let mut client = server.client();
    let mut replies: Vec<String> = COMMANDS.iter().map(|line| client.ask(line)).collect();
    for (waits, pushes) in [
        ("BLPOP q 0", "RPUSH q a b"),
        ("BRPOPLPUSH q r 0", "LPUSH q c"),
        ("BLMOVE q r left left 0", "RPUSH q d"),
    ] {
        let mut waiting = server.client();
        client.ask("DEL q");
        waiting.send(waits);
        server.wait_for_info("blocked_clients", "1");
        replies.push(client.ask(pushes));
        replies.push(waiting.reply());
    }
    drop(client);
    assert!(server.terminate().success());
    replies
}

#[test]
fn without_checksums_the_log_is_byte_for_byte_what_redis_writes() {
    let (ours, theirs) = (World::new(), World::new());
    let Some(redis) = theirs.start_redis(&[]) else { return };
    let expected = run_commands(redis);
    let replies = run_commands(ours.start_aof(&["--aof-checksum", "no"]));
    for ((line, reply), expected) in COMMANDS.iter().zip(&replies).zip(&expected) {
        assert_eq!(reply, expected, "{line}");
    }
    assert_eq!(replies, expected);
    let (ours, theirs) = (timeless(&ours, INCR), timeless(&theirs, INCR));
    assert!(theirs.lines().count() > 500, "it has logged");
    for (at, (our, their)) in ours.lines().zip(theirs.lines()).enumerate() {
        let before: Vec<&str> = theirs.lines().take(at).collect();
        assert_eq!(our, their, "line {at}, behind {:?}", &before[at.saturating_sub(12)..]);
    }
    assert_eq!(ours, theirs);
}

#[test]
fn without_checksums_a_base_is_byte_for_byte_what_redis_writes() {
    // One key to a database: the order of keys within one is chance.
    let fill = |server: Server| {
        let mut client = server.client();
        let many = |prefix: &str, count: u32| -> String {
            (0..count).map(|n| format!(" {}", prefix.replace('N', &n.to_string()))).collect()
        };
        for (db, line) in [
            "SET text v".to_owned(),
            "SET number -42".to_owned(),
            format!("RPUSH list{}", many("aN", 130)),
            format!("SADD numbers{}", many("N", 65)),
            format!("ZADD scores{}", many("N.5 mN", 100)),
            format!("HSET hash{}", many("fN vN", 64)),
            "SET timed v PXAT 4000000000000".to_owned(),
            format!("SET long {}", "x".repeat(100_000)),
        ]
        .iter()
        .enumerate()
        {
            client.ok(&format!("SELECT {db}"));
            assert!(!client.ask(line).starts_with('-'), "{line}");
        }
        server.rewrite();
        drop(client);
        assert!(server.terminate().success());
    };
    let (ours, theirs) = (World::new(), World::new());
    let Some(redis) = theirs.start_redis(&["--aof-use-rdb-preamble", "no"]) else { return };
    fill(redis);
    fill(ours.start_aof(&["--aof-checksum", "no", "--aof-use-rdb-preamble", "no"]));
    let base = "appendonly.aof.2.base.aof";
    let read = |world: &World| String::from_utf8(fs::read(world.aof_file(base)).unwrap()).unwrap();
    assert_eq!(read(&ours), read(&theirs));
}

/// A log of one file, as every server before Redis 7 wrote it.
fn single_file(commands: &[&str]) -> World {
    let world = World::new();
    let requests = commands.iter().map(|line| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        crate::harness::request(&words)
    });
    fs::write(world.path().join("appendonly.aof"), requests.collect::<Vec<_>>().concat()).unwrap();
    world
}

#[test]
fn a_key_whose_time_was_over_before_the_start_is_loaded_and_then_expires() {
    let log = ["SELECT 0", "RPUSH list a", "PEXPIREAT list 1", "RPUSH list b", "SET kept v"];
    let world = single_file(&log);
    // The list must not come to life again without its time, as it would if it expired between its two pushes.
    let server = world.start_aof(&[]);
    eventually("it has expired", || server.client().ask("DBSIZE") == ":1");
    assert_eq!(server.client().ask("EXISTS list kept"), ":1");
    assert!(server.terminate().success());
    let incr = fs::read(world.aof_file(INCR)).unwrap();
    let logged = |words: &[u8]| incr.windows(words.len()).any(|window| window == words);
    assert!(logged(b"*2\r\n$3\r\nDEL\r\n$4\r\nlist\r\n"));
}

#[test]
fn a_command_that_may_wait_does_not_do_so_in_a_log() {
    let world = single_file(&["BLPOP l 0", "BLMOVE l m LEFT RIGHT 0", "BZPOPMIN z 0", "SET after all"]);
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("GET after"), "all");
    assert_eq!(
        (server.info("blocked_clients"), server.info("aof_load_replay_errors")),
        ("0".into(), "0".into())
    );
}

#[test]
fn a_start_goes_on_behind_a_command_that_fails_unless_the_operator_says_otherwise() {
    let world = single_file(&["SET k v", "LPUSH k x", "SET after all"]);
    for ends_it in ["aof-replay-errors fail", "propagation-error-behavior panic"] {
        let (name, value) = ends_it.split_once(' ').unwrap();
        let refusal = world.refused(&["--appendonly", "yes", &format!("--{name}"), value]);
        assert_eq!(refusal.code, Some(1), "{refusal:?}");
        assert!(refusal.output.contains(&format!("({ends_it})")), "{refusal:?}");
    }
    let server = world.start_aof(&["--propagation-error-behavior", "panic-on-replicas"]);
    assert_eq!(server.client().ask("GET after"), "all");
    assert_eq!(server.info("aof_load_replay_errors"), "1");
}

#[test]
fn a_damaged_end_that_is_short_enough_is_cut_and_told() {
    let world = single_file(&["SET k v", "SET k w"]);
    let log = world.path().join("appendonly.aof");
    let garbage = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\nXX\r\n";
    fs::write(&log, [&fs::read(&log).unwrap()[..], garbage].concat()).unwrap();
    let directive = "aof-load-corrupt-tail-max-size";
    let with = |bytes: usize| [format!("--{directive}"), bytes.to_string()];
    let [name, too_few] = with(garbage.len() - 1);
    let refusal = world.refused(&["--appendonly", "yes", &name, &too_few]);
    assert!(refusal.output.contains("Bad file format reading the append only file"), "{refusal:?}");
    let [name, enough] = with(garbage.len());
    let server = world.start_aof(&[&name, &enough]);
    assert_eq!(server.client().ask("GET k"), "w");
    assert_eq!(server.info("aof_load_truncated_bytes"), garbage.len().to_string());
    assert!(world.log().contains(&format!("loaded anyway because {directive} is enabled")));
}

#[test]
fn what_a_logged_command_answers_with_an_error_is_counted_and_told_or_ends_the_start() {
    let world = single_file(&["SELECT 0", "SET s v", "RPUSH s a", "SET after all"]);
    let told = "'WRONGTYPE Operation against a key holding the wrong kind of value'";
    let critical = format!(
        "== CRITICAL == This server is sending an error to its AOF-loading-client: {told} after processing the command \
         'RPUSH'"
    );
    let refusal = world.refused(&["--appendonly", "yes", "--aof-replay-errors", "fail"]);
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.output.contains(&critical), "{}", refusal.output);
    let reason = format!("'RPUSH' answers {told} (aof-replay-errors fail)");
    assert!(refusal.output.contains(&reason), "{}", refusal.output);

    let server = world.start_aof(&[]);
    assert_eq!(world.log().matches(&critical).count(), 2);
    assert_eq!(server.client().ask("GET after"), "all");
    for field in ["aof_load_replay_errors", "unexpected_error_replies"] {
        assert_eq!(server.info(field), "1", "{field}");
    }
}

#[test]
fn with_a_log_nobody_looks_at_the_rdb_file() {
    let world = single_file(&["SET k v"]);
    let rdb = world.path().join("dump.rdb");
    fs::write(&rdb, b"REDIS0011 is what it begins with; the rest is nonsense").unwrap();
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("GET k"), "v");
    assert_eq!(server.client().ask("DBSIZE"), ":1");
    assert!(server.terminate().success());
    assert!(rdb.exists());
}

#[test]
fn debug_loadaof_empties_the_data_and_leaves_nothing_unsaved() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    client.ok("SET k v");
    client.ok("DEBUG POPULATE 100");
    assert_ne!(client.info("rdb_changes_since_last_save"), "0");
    client.ok("DEBUG LOADAOF");
    assert_eq!(
        (client.ask("DBSIZE"), client.info("rdb_changes_since_last_save")),
        (":101".into(), "0".into())
    );
}

#[test]
fn what_the_log_holds_in_memory_does_not_count_against_maxmemory() {
    const VALUE_BYTES: usize = 128 << 10;
    let world = World::new();
    // Nothing is durable for a second, so the log holds all that comes meanwhile: one key, many times over.
    let server = world.start_aof(&["--appendfsync", "everysec"]);
    let mut client = server.client();
    let set = format!("SET k {}", "x".repeat(VALUE_BYTES));
    client.ok(&set);
    let used: usize = client.info("used_memory").parse().unwrap();
    client.ok(&format!("CONFIG SET maxmemory {}", used + 12 * VALUE_BYTES));
    for _ in 0..32 {
        client.ok(&set);
    }
}

/// What stands in the way of the next base.
fn obstacle(world: &World, server: &Server) -> PathBuf {
    world.aof_file(&format!("temp-rewriteaof-bg-{}.aof", server.info("process_id")))
}

/// 2.6.4 said `aof_last_bgrewrite_status:ok` of a rewrite that could not even be started.
#[test]
fn a_rewrite_that_cannot_begin_is_told_by_info() {
    let world = World::new();
    let server = world.start_aof(&["--auto-aof-rewrite-percentage", "0"]);
    let mut client = server.client();
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    let obstacle = obstacle(&world, &server);
    fs::create_dir(&obstacle).unwrap();
    client.ok("SET before v");
    client.ask("BGREWRITEAOF");
    server.wait_for_info("aof_last_bgrewrite_status", "err");
    assert_eq!(client.info("aof_rewrite_in_progress"), "0");
    assert!(world.log().contains("Background AOF rewrite failed"));
    client.ok("SET after v");
    fs::remove_dir(&obstacle).unwrap();
    server.rewrite();
    drop(client);
    assert!(server.terminate().success());
    assert_eq!(world.start_aof(&[]).client().ask("EXISTS before after"), ":2");
    assert_eq!(names(world.path()), ["appendonlydir", "server.log"]);
}

#[test]
fn a_first_base_that_fails_is_tried_again() {
    let world = World::new();
    // Once a second, so that the obstacle is gone before patience is.
    let server = world.start(&["--hz", "1"]);
    let mut client = server.client();
    client.ok("SET k v");
    let obstacle = obstacle(&world, &server);
    fs::create_dir_all(&obstacle).unwrap();
    client.send("CONFIG SET appendonly yes");
    client.reply();
    server.wait_for_info("aof_last_bgrewrite_status", "err");
    assert_eq!((client.info("aof_enabled"), client.info("aof_pending_rewrite")), ("1".into(), "1".into()));
    fs::remove_dir(&obstacle).unwrap();
    server.wait_for_info("aof_pending_rewrite", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    drop(client);
    assert!(server.terminate().success());
    assert_eq!(world.start_aof(&[]).client().ask("GET k"), "v");
}

#[test]
fn a_log_that_cannot_be_turned_on_says_so_and_stays_off() {
    let world = World::new();
    fs::write(world.aof_dir(), "a file where the folder would be").unwrap();
    let server = world.start(&[]);
    let mut client = server.client();
    let refusal = client.ask("CONFIG SET appendonly yes");
    assert!(refusal.ends_with("Unable to turn on AOF. Check server logs."), "{refusal}");
    assert_eq!(client.ask("CONFIG GET appendonly"), "[appendonly no]");
    assert_eq!(client.info("aof_enabled"), "0");
    client.ok("SET k v");
}

/// 2.6.4 went on rewriting a log that had been turned off, since it still compared the sizes.
#[test]
fn a_log_that_is_off_is_not_rewritten_by_itself() {
    let world = World::new();
    let server = world.start_aof(&["--hz", "100", "--auto-aof-rewrite-percentage", "0"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 1000");
    client.ok("CONFIG SET appendonly no");
    client.ok("CONFIG SET auto-aof-rewrite-min-size 1 auto-aof-rewrite-percentage 1");
    client.ok("SET soon gone PX 200");
    // By then the clock has struck some twenty times.
    eventually("time has passed", || client.info("expired_keys") == "1");
    assert_eq!(
        (client.info("aof_rewrites"), client.info("aof_rewrite_in_progress")),
        ("0".into(), "0".into())
    );
    client.ok("CONFIG SET appendonly yes");
    eventually("it is rewritten once it is on", || client.info("aof_rewrites") != "0");
}

#[test]
fn the_directives_of_the_log_are_told_and_set_while_it_runs() {
    let world = World::new();
    let server = world.start(&[]);
    let mut client = server.client();
    for (name, default, other) in [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("no-appendfsync-on-rewrite", "no", "yes"),
        ("auto-aof-rewrite-percentage", "100", "50"),
        ("auto-aof-rewrite-min-size", "67108864", "1048576"),
    ] {
        assert_eq!(client.ask(&format!("CONFIG GET {name}")), format!("[{name} {default}]"));
        client.ok(&format!("CONFIG SET {name} {other}"));
        assert_eq!(client.ask(&format!("CONFIG GET {name}")), format!("[{name} {other}]"));
    }
    assert_eq!(client.ask("CONFIG GET appendfilename"), "[appendfilename appendonly.aof]");
    assert!(client.ask("CONFIG SET appendfilename other").contains("immutable"));
    client.ok("CONFIG RESETSTAT");
    assert_eq!(client.info("aof_delayed_fsync"), "0");
}

/// The fields of INFO persistence in Redis 7.2, and what it says elsewhere of the log.
#[rustfmt::skip]
const ALWAYS: &[&str] = &[
    "loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age", "current_fork_perc",
    "current_save_keys_processed", "current_save_keys_total", "rdb_changes_since_last_save", "rdb_bgsave_in_progress",
    "rdb_last_save_time", "rdb_last_bgsave_status", "rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec", "rdb_saves",
    "rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded", "aof_enabled", "aof_rewrite_in_progress",
    "aof_rewrite_scheduled", "aof_last_rewrite_time_sec", "aof_current_rewrite_time_sec", "aof_last_bgrewrite_status",
    "aof_rewrites", "aof_rewrites_consecutive_failures", "aof_last_write_status", "aof_last_cow_size",
    "module_fork_in_progress", "module_fork_last_cow_size", "mem_aof_buffer", "latest_fork_usec", "total_forks",
    "unexpected_error_replies",
];

/// Those of a log that is on: Redis's, then ours.
#[rustfmt::skip]
const WHILE_ON: &[&str] = &[
    "aof_current_size", "aof_base_size", "aof_pending_rewrite", "aof_buffer_length", "aof_pending_bio_fsync",
    "aof_delayed_fsync",
    "aof_fsync_running_ms", "aof_fsync_p50_usec", "aof_fsync_p99_usec", "aof_durable_offset", "aof_unsynced_bytes",
    "aof_unsynced_ms", "aof_slow_direct_writes", "aof_retired_files", "aof_disk_free_bytes", "aof_reserved_bytes",
    "aof_load_blocks_verified", "aof_load_corrupt_places", "aof_load_unverified_bytes", "aof_load_truncated_bytes",
    "aof_load_replay_errors", "aof_writes_held", "aof_held_clients", "aof_unanswered_clients",
];

#[rustfmt::skip]
const WHILE_LOADING: &[&str] = &[
    "loading_start_time", "loading_total_bytes", "loading_rdb_used_mem", "loading_loaded_bytes", "loading_loaded_perc",
    "loading_eta_seconds",
];

#[test]
fn info_has_the_fields_of_the_log_while_it_is_on_and_those_of_loading_while_it_loads() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 2000");
    // So many of them are there.
    let has = |client: &mut Client, fields: &[&str]| -> usize {
        fields.iter().filter(|field| !client.info(field).is_empty()).count()
    };
    let all = (ALWAYS.len(), WHILE_ON.len(), WHILE_LOADING.len());
    assert_eq!(
        (has(&mut client, ALWAYS), has(&mut client, WHILE_ON), has(&mut client, WHILE_LOADING)),
        (all.0, all.1, 0)
    );
    client.ok("CONFIG SET appendonly no");
    assert_eq!((has(&mut client, ALWAYS), has(&mut client, WHILE_ON)), (all.0, 0));
    drop(client);
    assert!(server.terminate().success());

    let options = ["--appendonly", "yes", "--enable-debug-command", "yes", "--key-load-delay", "2000"];
    let server = world.start_loading(&options);
    let mut client = server.client();
    assert_eq!(client.info("loading"), "1");
    assert_eq!((has(&mut client, ALWAYS), has(&mut client, WHILE_LOADING)), (all.0, all.2));
    eventually("its base says what memory it took", || client.info("loading_rdb_used_mem") != "0");
    client.ok("CONFIG SET key-load-delay 0");
}

/// A disk on which some calls fail, until this is dropped.
struct BadDisk(Child);

/// No room: only the log and its manifest are written with writev(2).
const FULL: (&str, &str) = ("writev", "ENOSPC");
/// Remounted read-only, as kernels do after an error.
const READ_ONLY: (&str, &str) = ("writev,fdatasync,fsync,fallocate,ftruncate,rename,unlink", "EROFS");

impl BadDisk {
    /// `None` where strace is missing or forbidden.
    fn of(server: &Server, (calls, error): (&str, &str)) -> Option<BadDisk> {
        let pid = server.info("process_id");
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", &trace, "-e", &inject, "-p", &pid]);
        let strace = strace.args(["-o", "/dev/null"]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(mut strace) = strace else {
            not_tested("strace");
            return None;
        };
        let mut traced = false;
        eventually("strace traces all threads, or gives up", || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            traced = threads.flatten().all(|thread| {
                let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            });
            traced || strace.try_wait().unwrap().is_some()
        });
        if !traced {
            not_tested("strace");
        }
        traced.then_some(BadDisk(strace))
    }
}

impl Drop for BadDisk {
    fn drop(&mut self) {
        // Killed, it would leave the server stopped.
        let tracer = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = kill_process(tracer, Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_file_that_is_removed_under_a_server_is_noticed_told_and_made_good() {
    let world = World::new();
    let mut server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    client.ok("SET before 1");
    std::fs::remove_file(world.path().join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    for n in 0.. {
        client.ok(&format!("SET meanwhile {n}"));
        if server.info("aof_retired_files") == "1" {
            break;
        }
        assert!(n < 200, "nobody looks");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Its reply waits for the base that makes all of it durable.
    client.ok("SET after 2");
    assert!(world.log().contains("The log goes on in another file: the file was removed or renamed"));
    server.kill();
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("MGET before after"), "[1 2]");
}

/// 2.6.4 exited at the first write that found no room, under every policy, and with all that was in memory.
#[test]
fn a_full_disk_ends_no_server_and_is_over_when_there_is_room() {
    outlives_a_bad_disk(FULL);
}

#[test]
fn a_disk_that_becomes_read_only_ends_no_server_and_is_over_when_it_is_writable() {
    outlives_a_bad_disk(READ_ONLY);
}

fn outlives_a_bad_disk(how: (&str, &str)) {
    for policy in ["always", "everysec", "no"] {
        let world = World::new();
        let mut server = world.start_aof(&["--appendfsync", policy]);
        let mut client = server.client();
        client.ok("SET before 1");
        let Some(bad) = BadDisk::of(&server, how) else { return };
        let mut writer = server.client();
        writer.send("SET meanwhile 2");
        server.wait_for_info("aof_last_write_status", "err");
        let refusal = client.ask("SET refused 3");
        assert!(refusal.starts_with("-MISCONF Errors writing to the AOF file"), "{refusal}");
        assert_eq!((client.ask("GET before"), client.ask("PING")), ("1".into(), "PONG".into()));
        assert!(writer.is_silent(), "it was neither refused nor is it safe");
        drop(bad);
        assert_eq!(writer.reply(), "OK");
        server.wait_for_info("aof_last_write_status", "ok");
        client.ok("SET after 4");
        assert!(world.log().contains("AOF write error looks solved, Redis can write again."));
        server.kill();
        let server = world.start_aof(&[]);
        assert_eq!(server.client().ask("MGET before meanwhile refused after"), "[1 2 nil 4]", "{policy}");
    }
}
