//! The story: between a key's DUMP here and its DEL there is another machine, which may be slow, gone, or something else
//! altogether. A key must be at one of the two at any time, and the only word for its arrival is that key's own +OK.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{Client, PATIENCE, Server, World, eventually, free_port};

/// What a test plays the other server with.
struct Target {
    listener: TcpListener,
}

impl Target {
    fn new() -> Self {
        Target { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap() }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection, on which so many RESTOREs have arrived.
    fn receive(&self, restores: usize) -> TcpStream {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        while received.windows(7).filter(|word| *word == b"RESTORE").count() < restores {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed behind {}", received.escape_ascii());
            received.extend_from_slice(&buffer[..count]);
        }
        stream
    }
}

fn aof_source() -> (World, Server) {
    let world = World::new();
    let server = world.start(&["--appendonly", "yes", "--aof-checksum", "no"]);
    (world, server)
}

fn migrate(port: u16, rest: &str) -> String {
    format!("MIGRATE 127.0.0.1 {port} {rest}")
}

/// MIGRATE with KEYS, whose key argument is the empty word.
fn migrate_keys(client: &mut Client, port: u16, rest: &str) {
    client.send(&format!("MIGRATE 127.0.0.1 {port}  3 5000 {rest}"));
}

#[test]
fn keys_move_with_their_times_to_live_and_the_log_says_so() {
    let ((here, mut source), there) = (aof_source(), World::new());
    let target = there.start(&[]);
    let (mut client, mut other) = (source.client(), target.client());
    client.ok("SET plain v");
    client.ok("SET mortal v PX 100000");
    client.ask("RPUSH list a b");
    client.ok("SET stays v");

    migrate_keys(&mut client, target.port(), "KEYS plain nowhere mortal list");
    assert_eq!(client.reply(), "OK");
    other.ok("SELECT 3");
    assert_eq!(other.ask("GET plain"), "v");
    assert_eq!(other.ask("TTL plain"), ":-1");
    assert_eq!(other.ask("LRANGE list 0 -1"), "[a b]");
    let ttl_ms: i64 = other.ask("PTTL mortal")[1..].parse().unwrap();
    assert!((1..=100_000).contains(&ttl_ms), "{ttl_ms}");
    assert_eq!(client.ask("EXISTS plain mortal list stays"), ":1");
    assert_eq!(client.info("migrate_cached_sockets"), "1");
    assert_eq!(client.ask(&migrate(target.port(), "plain 3 5000")), "NOKEY");

    source.kill();
    let log = std::fs::read(here.aof_file("appendonly.aof.1.incr.aof")).unwrap();
    let del = b"*4\r\n$3\r\nDEL\r\n$5\r\nplain\r\n$6\r\nmortal\r\n$4\r\nlist\r\n";
    assert!(log.ends_with(del), "{}", log.escape_ascii());
    let source = here.start(&["--appendonly", "yes"]);
    assert_eq!(source.client().ask("KEYS *"), "[stays]");
}

#[test]
fn copy_keeps_the_key_and_only_replace_takes_the_place_of_another() {
    let ((_here, source), there) = (aof_source(), World::new());
    let target = there.start(&["--requirepass", "secret"]);
    let (mut client, mut other) = (source.client(), target.client());
    other.ok("AUTH secret");
    client.ok("SET k new");
    other.ok("SET k old");
    for (options, reply) in [
        ("", "-ERR Target instance replied with error: NOAUTH Authentication required."),
        (
            " AUTH wrong",
            "-ERR Target instance replied with error: WRONGPASS invalid username-password pair or user is disabled.",
        ),
        (
            " COPY AUTH secret",
            "-ERR Target instance replied with error: BUSYKEY Target key name already exists.",
        ),
        (" COPY REPLACE AUTH secret", "OK"),
    ] {
        assert_eq!(client.ask(&migrate(target.port(), &format!("k 0 5000{options}"))), reply, "{options}");
        assert_eq!(client.ask("GET k"), "new", "{options}");
    }
    assert_eq!(other.ask("GET k"), "new");
    assert_eq!(
        client.ask(&migrate(target.port(), "k 99 5000 AUTH2 default secret")),
        "-ERR Target instance replied with error: ERR DB index is out of range"
    );
    assert_eq!(client.ask("GET k"), "new");
}

#[test]
fn what_is_no_migrate_is_refused_in_words_of_redis() {
    let (_here, source) = aof_source();
    let mut client = source.client();
    client.ok("SET k v");
    let nobody = free_port();
    for (rest, reply) in [
        ("k 0 x", "-ERR value is not an integer or out of range"),
        ("k x 100", "-ERR value is not an integer or out of range"),
        ("k 0 100 COPIED", "-ERR syntax error"),
        ("k 0 100 AUTH", "-ERR syntax error"),
        ("k 0 100 AUTH2 user", "-ERR syntax error"),
        (
            "k 0 100 KEYS k",
            "-ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
        ),
        ("k 0 100", "-IOERR error or timeout connecting to the client"),
    ] {
        assert_eq!(client.ask(&migrate(nobody, rest)), reply, "{rest}");
    }
    assert_eq!(
        client.ask("MIGRATE 127.0.0.1 nowhere k 0 100"),
        "-IOERR error or timeout connecting to the client"
    );
    assert_eq!(client.ask("GET k"), "v");
}

#[test]
fn while_the_other_side_is_still_reads_go_on_and_writes_wait() {
    let ((_here, source), target) = (aof_source(), Target::new());
    let (mut client, mut reader, mut writer) = (source.client(), source.client(), source.client());
    client.ok("SET k v");
    client.send(&migrate(target.port(), "k 0 60000"));
    let mut stream = target.receive(1);

    writer.send("SET k late");
    assert_eq!(reader.ask("GET k"), "v");
    assert_eq!(reader.info("blocked_clients"), "1");
    assert!(writer.is_silent() && client.is_silent());

    stream.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert_eq!(client.reply(), "OK");
    assert_eq!(writer.reply(), "OK");
    // The write came behind the key's removal: it made a key of its own.
    assert_eq!(reader.ask("GET k"), "late");
}

#[test]
fn a_target_that_hangs_ends_in_an_error_after_the_timeout_and_nothing_is_lost() {
    let ((_here, source), target) = (aof_source(), Target::new());
    let mut client = source.client();
    for key in ["a", "b", "c"] {
        client.ok(&format!("SET {key} v"));
    }
    let began = Instant::now();
    client.send(&format!("MIGRATE 127.0.0.1 {}  0 300 KEYS a b c", target.port()));
    let mut stream = target.receive(3);
    // Of three keys one arrives, one is refused and one is never spoken of.
    stream.write_all(b"+OK\r\n+OK\r\n-ERR no\r\n").unwrap();
    assert_eq!(client.reply(), "-ERR Target instance replied with error: ERR no");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(client.ask("KEYS *").len(), "[b c]".len());
    assert_eq!(client.ask("EXISTS b c"), ":2");

    client.send(&migrate(target.port(), "b 0 300"));
    let _silent = target.receive(1);
    assert_eq!(client.reply(), "-IOERR error or timeout reading to target instance");
    assert_eq!(client.ask("GET b"), "v");
    assert_eq!(client.info("migrate_cached_sockets"), "0");
}

#[test]
fn what_is_no_answer_takes_no_key_away() {
    let ((_here, source), target) = (aof_source(), Target::new());
    let mut client = source.client();
    client.ok("SET k v");
    for answer in [
        &b"+OK\r\n:1\r\n"[..],
        b"+OK\r\n$2\r\nOK\r\n",
        b"+OK\r\n+OK",
        b"HTTP/1.1 400\r\n",
        b"",
        &[b'+'; 4000],
    ] {
        client.send(&migrate(target.port(), "k 0 60000"));
        let mut stream = target.receive(1);
        stream.write_all(answer).unwrap();
        drop(stream);
        let shown = answer.escape_ascii();
        assert_eq!(client.reply(), "-IOERR error or timeout reading to target instance", "{shown}");
        assert_eq!(client.ask("GET k"), "v", "{shown}");
    }
}

#[test]
fn a_key_that_has_arrived_goes_although_its_client_has_left() {
    let ((_here, source), target) = (aof_source(), Target::new());
    let (mut client, mut witness) = (source.client(), source.client());
    client.ok("SET k v");
    client.send(&migrate(target.port(), "k 0 60000"));
    let mut stream = target.receive(1);
    drop(client);
    eventually("the client is gone", || witness.info("blocked_clients") == "0");
    assert_eq!(witness.ask("GET k"), "v");
    stream.write_all(b"+OK\r\n+OK\r\n").unwrap();
    eventually("the key is gone", || witness.ask("EXISTS k") == ":0");
    witness.ok("SET k again");
}

#[test]
fn a_transaction_waits_in_place_and_is_one_unit_with_the_removal() {
    let ((here, mut source), there) = (aof_source(), World::new());
    let target = there.start(&[]);
    let mut client = source.client();
    client.ok("MULTI");
    for queued in ["SET k v", "SET l v", &migrate(target.port(), "k 0 5000"), "EXISTS k"] {
        assert_eq!(client.ask(queued), "QUEUED");
    }
    assert_eq!(client.ask("EXEC"), "[OK OK OK :0]");
    assert_eq!(target.client().ask("GET k"), "v");
    source.kill();
    let source = here.start(&["--appendonly", "yes"]);
    assert_eq!(source.client().ask("KEYS *"), "[l]");
}

#[test]
fn a_kept_socket_that_the_other_side_has_closed_is_made_anew() {
    let ((_here, source), target) = (aof_source(), Target::new());
    let mut client = source.client();
    client.ok("SET a v");
    client.ok("SET b v");
    client.send(&migrate(target.port(), "a 0 60000"));
    let mut stream = target.receive(1);
    stream.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert_eq!(client.reply(), "OK");
    assert_eq!(client.info("migrate_cached_sockets"), "1");
    drop(stream);
    client.send(&migrate(target.port(), "b 0 60000"));
    target.receive(1).write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert_eq!(client.reply(), "OK");
    assert_eq!(client.ask("EXISTS a b"), ":0");
}

/// An operator who compares offsets in a pause must not see them move.
#[test]
fn a_key_that_arrives_during_a_pause_is_deleted_behind_it() {
    let (_world, source) = aof_source();
    let target = Target::new();
    let (mut client, mut operator) = (source.client(), source.client());
    client.ok("SET k v");
    client.send(&migrate(target.port(), "k 0 5000"));
    let mut stream = target.receive(1);
    operator.ok("CLIENT PAUSE 1000000 WRITE");
    stream.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert!(client.is_silent());
    assert_eq!(operator.ask("EXISTS k"), ":1");
    operator.ok("CLIENT UNPAUSE");
    assert_eq!(client.reply(), "OK");
    assert_eq!(operator.ask("EXISTS k"), ":0");
}
