//! The story: others hang on this server. They are given all data, then every effect in order, and nothing that a crash
//! could take back; who comes back is given what it missed, and who only claims to be where it is gets everything anew.
//! Here a replica is a socket; that real ones of Redis and Valkey hold the same data, `cargo xtask interop replicas`
//! shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::harness::{Client, PATIENCE, Server, World, eventually, request};

/// Longer than a few round trips take on a busy machine.
const FSYNC: Duration = Duration::from_millis(800);

/// A replica that only listens.
struct Replica {
    stream: BufReader<TcpStream>,
}

impl Replica {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Replica { stream: BufReader::new(stream) }
    }

    fn send(&mut self, line: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.stream.get_mut().write_all(&request(&words)).unwrap();
    }

    /// The next line, without the newlines that only say that the server lives.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the connection was closed");
            if line != "\n" {
                return line.trim_end().to_owned();
            }
        }
    }

    /// A snapshot: `$`, its length, its bytes, and nothing behind.
    fn snapshot(&mut self) -> Vec<u8> {
        let line = self.line();
        let len = line.strip_prefix('$').unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        assert!(bytes.starts_with(b"REDIS00"), "{:?}", String::from_utf8_lossy(&bytes[..9]));
        bytes
    }

    /// SYNC.
    fn sync(server: &Server) -> Self {
        let mut replica = Self::connect(server);
        replica.send("SYNC");
        replica.snapshot();
        replica
    }

    /// PSYNC by one who knows nothing: the history and the offset of what follows the snapshot.
    fn psync(server: &Server) -> (Self, String, u64) {
        let mut replica = Self::connect(server);
        replica.send("REPLCONF listening-port 7001 ip-address 10.0.0.7 capa eof capa psync2");
        assert_eq!(replica.line(), "+OK");
        replica.send("PSYNC ? -1");
        let line = replica.line();
        let [full, id, offset] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        assert_eq!((full, id.len()), ("+FULLRESYNC", 40));
        let (id, offset) = (id.to_owned(), offset.parse().unwrap());
        replica.snapshot();
        (replica, id, offset)
    }

    /// The next command of the stream.
    fn command(&mut self) -> String {
        let line = self.line();
        let words = line.strip_prefix('*').unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        let words: Vec<String> = (0..words)
            .map(|_| {
                assert!(self.line().starts_with('$'));
                self.line()
            })
            .collect();
        words.join(" ")
    }

    /// Whether the next commands of the stream are these.
    fn expect(&mut self, commands: &[&str]) {
        for &command in commands {
            assert_eq!(self.command(), command);
        }
    }

    /// Whether something has arrived that says more than that the server lives.
    fn has_news(&mut self) -> bool {
        let (stream, mut arrived) = (self.stream.get_ref(), [b'\n'; 64]);
        stream.set_nonblocking(true).unwrap();
        // Fails if nothing has.
        let _ = stream.peek(&mut arrived);
        stream.set_nonblocking(false).unwrap();
        self.stream.buffer().iter().chain(&arrived).any(|&byte| byte != b'\n')
    }

    fn is_closed(&mut self) -> bool {
        self.stream.read_to_end(&mut Vec::new()).map_or(true, |_| true)
    }
}

/// Commands whose effects are not what was sent, and what the stream makes of them.
#[test]
fn the_stream_carries_effects_with_and_without_a_log() {
    for appendonly in ["yes", "no"] {
        let world = World::new();
        let server = world.start(&["--appendonly", appendonly, "--repl-ping-replica-period", "3600"]);
        let mut client = server.client();
        client.ok("SET before 1");
        let mut replica = Replica::sync(&server);
        for command in [
            "SET k v",
            "GET k",
            "DEL absent",
            "SELECT 9",
            "SADD s a",
            "SPOP s",
            "MULTI",
            "SET x 1",
            "PUBLISH channel message",
            "INCR x",
            "EXEC",
            "PUBLISH channel again",
            "SET e 1 PX 1",
        ] {
            client.ask(command);
        }
        eventually("it has expired", || client.ask("EXISTS e") == ":0");
        replica.expect(&["SELECT 0", "SET k v", "SELECT 9", "SADD s a", "SREM s a"]);
        replica.expect(&["MULTI", "SET x 1", "PUBLISH channel message", "INCR x", "EXEC"]);
        replica.expect(&["PUBLISH channel again"]);
        assert!(replica.command().starts_with("SET e 1 PXAT "));
        replica.expect(&["DEL e"]);
        drop(server);
        if appendonly == "yes" {
            let log = std::fs::read(world.aof_file("appendonly.aof.1.incr.aof")).unwrap();
            assert!(
                !String::from_utf8_lossy(&log).contains("PUBLISH"),
                "what is for replicas alone is not logged"
            );
        }
    }
}

#[test]
fn the_stream_knows_commands_by_their_own_names() {
    let world = World::new();
    let renamed = ["--rename-command", "SET", "put", "--rename-command", "PUBLISH", "shout"];
    let server = world.start(&[&renamed[..], &["--repl-ping-replica-period", "3600"]].concat());
    let mut client = server.client();
    client.ok("put before 1");
    let mut replica = Replica::sync(&server);
    ["put k v", "SHOUT channel message", "Append k w"].iter().for_each(|command| _ = client.ask(command));
    replica.expect(&["SELECT 0", "set k v", "publish channel message", "Append k w"]);
}

#[test]
fn what_blocked_clients_take_and_what_is_evicted_is_in_the_stream() {
    let world = World::new();
    let server = world.start(&["--repl-ping-replica-period", "3600"]);
    let (mut waiting, mut client) = (server.client(), server.client());
    let mut replica = Replica::sync(&server);
    waiting.send("BLPOP list 0");
    server.wait_for_info("blocked_clients", "1");
    client.ask("RPUSH list a");
    assert_eq!(waiting.reply(), "[list a]");
    client.ok("SET k v");
    client.ok("CONFIG SET maxmemory-policy allkeys-random maxmemory 1");
    eventually("all is evicted", || client.ask("DBSIZE") == ":0");
    replica.expect(&["SELECT 0", "RPUSH list a", "LPOP list", "SET k v", "DEL k"]);
}

/// Nobody else would delete it: active expiry is off.
#[test]
fn a_push_that_expired_before_it_could_serve_anybody_is_deleted_everywhere() {
    let world = World::new();
    let server = world.start(&["--repl-ping-replica-period", "3600", "--enable-debug-command", "yes"]);
    let (mut waiting, mut client) = (server.client(), server.client());
    let mut replica = Replica::sync(&server);
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    waiting.send("BLPOP list 0");
    server.wait_for_info("blocked_clients", "1");
    for command in ["MULTI", "RPUSH list a", "PEXPIRE list 1", "DEBUG SLEEP 0.01", "EXEC"] {
        client.ask(command);
    }
    replica.expect(&["SELECT 0", "MULTI", "RPUSH list a"]);
    assert!(replica.command().starts_with("PEXPIREAT list "));
    replica.expect(&["EXEC", "DEL list"]);
    client.ask("RPUSH list b");
    assert_eq!(waiting.reply(), "[list b]");
}

#[test]
fn a_link_that_broke_is_mended_by_what_was_missed_and_only_if_that_is_kept() {
    let world = World::new();
    let server = world.start(&["--repl-ping-replica-period", "3600", "--repl-backlog-size", "20kb"]);
    let mut client = server.client();
    client.ok("SET k 1");
    let (mut replica, id, offset) = Replica::psync(&server);
    client.ok("SET k 2");
    replica.expect(&["SELECT 0", "SET k 2"]);
    let seen =
        offset + request(&[b"SELECT", b"0"]).len() as u64 + request(&[b"SET", b"k", b"2"]).len() as u64;
    drop(replica);
    server.wait_for_info("connected_slaves", "0");
    client.ok("SET k 3");

    let mut replica = Replica::connect(&server);
    replica.send("REPLCONF capa psync2");
    assert_eq!(replica.line(), "+OK");
    replica.send(&format!("PSYNC {id} {}", seen + 1));
    assert_eq!(replica.line(), format!("+CONTINUE {id}"));
    replica.expect(&["SET k 3"]);

    let long = "x".repeat(50_000);
    client.ok(&format!("SET long {long}"));
    replica.expect(&[&format!("SET long {long}")]);
    for (history, next_byte) in
        [(id.as_str(), seen + 1), (&id, u64::from(u32::MAX)), (&"0".repeat(40), seen + 1)]
    {
        let mut late = Replica::connect(&server);
        late.send(&format!("PSYNC {history} {next_byte}"));
        assert!(late.line().starts_with("+FULLRESYNC "), "{history} {next_byte}");
        late.snapshot();
    }
    let counts = ["sync_full", "sync_partial_ok", "sync_partial_err"].map(|field| client.info(field));
    assert_eq!(counts, ["4", "1", "3"]);
}

#[test]
fn nothing_reaches_a_replica_that_a_power_cut_could_take_back() {
    let world = World::new();
    let options = ["--appendfsync", "always", "--repl-ping-replica-period", "3600"];
    let Some(server) = world.start_on_slow_disk(FSYNC, &options) else { return };
    let mut client = server.client();
    let mut replica = Replica::sync(&server);
    client.send("SET k v");
    eventually("it is logged", || server.info("aof_unsynced_bytes") != "0");
    let mut late = Replica::connect(&server);
    late.send("SYNC");
    eventually("the snapshot is written", || server.info("rdb_bgsave_in_progress") == "0");
    // Asked in this order: the client is told first of what is durable.
    let told = [replica.has_news(), late.has_news()];
    if client.is_silent() {
        assert_eq!(told, [false; 2], "stream and snapshot hold a write that is not durable");
    }
    assert_eq!(client.reply(), "OK");
    replica.expect(&["SELECT 0", "SET k v"]);
    late.snapshot();
}

/// The job writes keys slowly enough for others to come, and to write, meanwhile.
#[test]
fn those_that_come_while_a_snapshot_is_written_share_it_and_what_follows() {
    let world = World::new();
    let server = world.start(&["--repl-ping-replica-period", "3600", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 100");
    client.ok("CONFIG SET rdb-key-save-delay 1000000000");
    let mut first = Replica::connect(&server);
    first.send("SYNC");
    server.wait_for_info("rdb_bgsave_in_progress", "1");
    client.ok("SET while 1");
    let mut second = Replica::connect(&server);
    second.send("PSYNC ? -1");
    assert_eq!(second.line(), format!("+FULLRESYNC {} 0", client.info("master_replid")));
    let mut gone = Replica::connect(&server);
    gone.send("SYNC");
    server.wait_for_info("connected_slaves", "3");
    drop(gone);
    server.wait_for_info("connected_slaves", "2");
    assert_eq!(client.ask("BGSAVE"), "-ERR Background save already in progress");
    let saves = client.info("rdb_saves");
    client.ok("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(first.snapshot(), second.snapshot());
    client.ok("SET behind 1");
    for replica in [&mut first, &mut second] {
        replica.expect(&["SELECT 0", "SET while 1", "SET behind 1"]);
    }
    assert_eq!(client.info("rdb_saves"), saves, "it was no save");
    let left = crate::harness::names(world.path());
    assert!(left.iter().all(|name| !name.ends_with(".rdb")), "{left:?}");
}

#[test]
fn a_snapshot_waits_for_another_job_and_one_that_is_killed_takes_its_replicas_along() {
    let world = World::new();
    let server = world.start(&["--repl-ping-replica-period", "3600", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 100");
    client.ok("CONFIG SET rdb-key-save-delay 1000000000");
    client.ask("BGSAVE");
    let mut patient = Replica::connect(&server);
    patient.send("SYNC");
    eventually("it waits", || client.info("slave0").contains("state=wait_bgsave"));
    client.ok("CONFIG SET rdb-key-save-delay 0");
    patient.snapshot();

    client.ok("CONFIG SET rdb-key-save-delay 1000000000");
    let mut killed = Replica::connect(&server);
    killed.send("SYNC");
    eventually("its snapshot is being written", || client.info("rdb_bgsave_in_progress") == "1");
    client.ok("FLUSHALL");
    assert!(killed.is_closed());
    patient.expect(&["SELECT 0", "FLUSHALL"]);
    assert_eq!(client.info("rdb_bgsave_in_progress"), "0");
}

#[test]
fn a_replica_is_told_of_by_its_words_and_counts_by_what_it_confirms() {
    let world = World::new();
    let server = world.start(&["--repl-ping-replica-period", "3600"]);
    let mut client = server.client();
    client.ok("CONFIG SET min-replicas-to-write 1");
    assert_eq!(client.ask("SET k v"), "-NOREPLICAS Not enough good replicas to write.");
    let (mut replica, _, offset) = Replica::psync(&server);
    eventually("it is online", || client.info("slave0").contains("state=online"));
    client.ok("SET k v");
    client.send("WAIT 1 0");
    replica.expect(&["SELECT 0", "SET k v", "REPLCONF GETACK *"]);
    let written = request(&[b"SELECT", b"0"]).len() + request(&[b"SET", b"k", b"v"]).len();
    replica.send(&format!("REPLCONF ACK {}", offset + written as u64 - 1));
    let mut other = server.client();
    eventually("it has said so", || !other.info("slave0").contains("offset=0,"));
    assert!(client.is_silent(), "a byte is missing");
    replica.send(&format!("REPLCONF ACK {}", offset + written as u64));
    assert_eq!(client.reply(), ":1");
    assert_eq!(client.ask("WAITAOF 0 1 20"), "[:0 :0]", "it has said nothing of its disk");
    replica.send(&format!("REPLCONF ACK {0} FACK {0}", offset + written as u64));
    assert_eq!(client.ask("WAITAOF 0 1 0"), "[:0 :1]");

    let confirmed = offset + written as u64;
    let slave = client.info("slave0");
    assert_eq!(slave, format!("ip=10.0.0.7,port=7001,state=online,offset={confirmed},lag=0"));
    let end = client.info("master_repl_offset");
    assert_eq!(client.ask("ROLE"), format!("[master :{end} [[10.0.0.7 7001 {confirmed}]]]"));
    assert!(client.ask("CLIENT LIST TYPE replica").contains(" flags=S "));
    assert_eq!(client.info("connected_clients"), "2");
    assert_eq!(client.ask("CLIENT KILL TYPE slave"), ":1");
    assert!(replica.is_closed());
    assert_eq!(client.ask("SET k v"), "-NOREPLICAS Not enough good replicas to write.");
}

#[test]
fn a_replica_that_asks_falls_silent_or_lags_is_let_go() {
    let world = World::new();
    let server = world.start(&["--repl-timeout", "1", "--repl-backlog-size", "1kb"]);
    let mut client = server.client();
    for question in ["GET k", "PING", "INFO"] {
        let mut replica = Replica::sync(&server);
        replica.send(question);
        assert!(replica.is_closed(), "{question}");
    }
    let (mut silent, ..) = Replica::psync(&server);
    assert!(silent.is_closed(), "repl-timeout");

    // It reads nothing: what the kernel does not hold for it is more than the limit soon.
    let lagging = Replica::sync(&server);
    let limit: [&[u8]; 4] = [b"CONFIG", b"SET", b"client-output-buffer-limit", b"replica 1mb 0 0"];
    client.call(&limit);
    client.ok("CONFIG SET repl-ping-replica-period 3600");
    let long = "x".repeat(1 << 20);
    eventually("it is let go", || {
        client.ok(&format!("SET k {long}"));
        client.info("connected_slaves") == "0"
    });
    drop(lagging);
    eventually("nothing is kept for it", || {
        client.info("mem_total_replication_buffers").parse::<u64>().unwrap() < 64 << 10
    });
}

#[test]
fn a_history_without_readers_ends_with_its_backlog() {
    let world = World::new();
    let server = world.start(&["--repl-backlog-ttl", "1"]);
    let mut client = server.client();
    let (replica, id, _) = Replica::psync(&server);
    client.ok("SET k v");
    assert_eq!(client.info("repl_backlog_active"), "1");
    drop(replica);
    server.wait_for_info("repl_backlog_active", "0");
    assert_ne!(client.info("master_replid"), id, "what is written now is not in it");
    let [before, after] = [(); 2].map(|()| {
        client.ok("SET k v");
        client.info("master_repl_offset")
    });
    assert_eq!(before, after, "nobody pays for a stream that nobody reads");
}

/// Data only, as `redis-cli --rdb` asks for.
#[test]
fn who_wants_the_data_alone_is_let_go_behind_it() {
    let world = World::new();
    let server = world.start(&[]);
    Client::connect(server.port()).ok("SET k v");
    let mut copy = Replica::connect(&server);
    copy.send("REPLCONF rdb-only 1");
    assert_eq!(copy.line(), "+OK");
    copy.send("SYNC");
    copy.snapshot();
    assert!(copy.is_closed());
}

/// It would lose its claim on the stream, and get nothing more.
#[test]
fn who_is_attached_stays_what_it_was() {
    let world = World::new();
    let server = world.start(&[]);
    let mut replica = Replica::sync(&server);
    replica.send("REPLCONF rdb-only 1");
    Client::connect(server.port()).ok("SET k v");
    assert_eq!([replica.command(), replica.command()], ["SELECT 0", "SET k v"]);
}
