//! `maxmemory` and `maxmemory-clients` on a running server: what goes, what stays, what is told and logged.

use crate::harness::{Client, Server, World, eventually, request};

const VALUE_BYTES: usize = 1_000;

fn used(client: &mut Client) -> usize {
    client.info("used_memory").parse().unwrap()
}

/// Allows so many bytes more than are in use.
fn allow(client: &mut Client, bytes: usize, policy: &str) -> usize {
    let limit = used(client) + bytes;
    client.ok(&format!("CONFIG SET maxmemory {limit} maxmemory-policy {policy}"));
    limit
}

fn fill(client: &mut Client, prefix: &str, count: usize) {
    let value = "x".repeat(VALUE_BYTES);
    (0..count).for_each(|number| client.ok(&format!("SET {prefix}:{number} {value}")));
}

fn number(client: &mut Client, field: &str) -> usize {
    client.info(field).parse().unwrap()
}

fn start(options: &[&str]) -> (World, Server) {
    let world = World::new();
    let server = world.start(&[&["--enable-debug-command", "yes"], options].concat());
    (world, server)
}

/// An effect is copied for the log: behind a SET of 60 MB the copy stayed, and counted, until the next command came.
#[test]
fn the_copy_of_a_large_effect_goes_although_no_command_comes() {
    const LARGE_BYTES: usize = 8 << 20;
    let (_world, server) = start(&["--appendonly", "yes"]);
    let mut client = server.client();
    let before = used(&mut client);
    client.ok(&format!("SET large {}", "x".repeat(LARGE_BYTES)));
    // INFO is none that the keyspace executes; the log holds what is not durable for a second.
    eventually("one copy is left", || used(&mut client) < before + LARGE_BYTES * 3 / 2);
}

#[test]
fn memory_stays_below_the_limit_and_no_more_goes_than_must() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let (_world, server) = start(&[]);
        let mut client = server.client();
        let limit = allow(&mut client, 1_000_000, policy);
        fill(&mut client, "k", 4_000);
        let (used, kept) = (used(&mut client), client.ask("DBSIZE"));
        assert!(used < limit + 4_096, "{policy}: {used} bytes of {limit}");
        // Each key takes some 1,100 bytes, and the buffers of this client some.
        let kept: usize = kept.trim_start_matches(':').parse().unwrap();
        assert!(kept > 700, "{policy}: {kept} keys are left in a million bytes");
    }
}

/// Blocks of small writes take several times their bytes of memory until they are durable, and counted as data: a cache
/// that was filled fast was emptied for them.
#[test]
fn what_the_log_keeps_until_it_is_durable_is_no_data() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "everysec"]);
    let mut client = server.client();
    allow(&mut client, 3_000_000, "allkeys-lru");
    let value = "x".repeat(100);
    for batch in 0..100 {
        let requests: Vec<String> =
            (0..100).map(|n| format!("SET k:{} {value}\r\n", 100 * batch + n)).collect();
        client.send_bytes(requests.concat().as_bytes());
        (0..100).for_each(|_| assert_eq!(client.reply(), "OK"));
    }
    for number in 0..5_000 {
        client.ok(&format!("SET k:{number} {value}"));
    }
    assert_eq!((number(&mut client, "evicted_keys"), client.ask("DBSIZE")), (0, ":10000".to_owned()));
}

#[test]
fn a_small_key_makes_room_for_another_of_its_size() {
    let (_world, server) = start(&[]);
    let mut client = server.client();
    let set = |client: &mut Client, number: usize| client.ok(&format!("SET k:{number} {}", "x".repeat(32)));
    (0..20_000).for_each(|number| set(&mut client, number));
    allow(&mut client, 0, "allkeys-random");
    // Until buffers and tables have found their sizes.
    (20_000..22_000).for_each(|number| set(&mut client, number));
    let before = number(&mut client, "evicted_keys");
    (22_000..26_000).for_each(|number| set(&mut client, number));
    let evicted = number(&mut client, "evicted_keys") - before;
    assert!((3_000..6_000).contains(&evicted), "{evicted} keys went for 4,000 new ones");
}

#[test]
fn a_full_memory_refuses_what_needs_memory_and_nothing_else() {
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
    let (_world, server) = start(&[]);
    let mut client = server.client();
    fill(&mut client, "k", 100);
    client.ok("MULTI");
    client.send("SET a 1");
    assert_eq!(client.reply(), "QUEUED");
    let mut other = server.client();
    for policy in ["noeviction", "volatile-lru", "volatile-ttl", "volatile-random", "volatile-lfu"] {
        other.ok(&format!("CONFIG SET maxmemory 1 maxmemory-policy {policy}"));
        assert_eq!(other.ask("SET a 1"), OOM, "{policy}");
        assert_eq!(other.ask("STRLEN k:1"), format!(":{VALUE_BYTES}"));
        other.ok("MULTI");
        assert_eq!(other.ask("GET k:1"), OOM, "a queue takes memory, too");
        assert_eq!(other.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    }
    assert_eq!(
        client.ask("EXEC"),
        "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
    );
    assert_eq!((number(&mut other, "evicted_keys"), other.ask("DBSIZE")), (0, ":100".into()));
    eventually("the time is counted", || number(&mut other, "current_eviction_exceeded_time") > 0);
    assert_eq!(other.ask("DEL k:1"), ":1");
    other.ok("CONFIG SET maxmemory 0");
    other.ok("SET a 1");
    assert_eq!(other.info("current_eviction_exceeded_time"), "0");
    assert!(number(&mut other, "total_eviction_exceeded_time") > 0);
}

/// What another thread frees is not known before the memory is weighed, which only a request was worth.
#[test]
fn who_is_woken_is_not_refused_for_want_of_memory_that_has_been_freed() {
    let (_world, server) = start(&[]);
    let (mut waiting, mut client) = (server.client(), server.client());
    client.ask("RPUSH s a b");
    let element = "x".repeat(VALUE_BYTES);
    (0..200).for_each(|_| drop(client.ask(&format!("RPUSH big{}", format!(" {element}").repeat(10)))));
    waiting.send("BLMOVE q r LEFT LEFT 0");
    server.wait_for_info("blocked_clients", "1");
    let limit = used(&mut client) - 1_000_000;
    client.ok(&format!("CONFIG SET maxmemory {limit} maxmemory-policy noeviction"));
    // In one turn, so that no cron comes between.
    client.send_bytes(b"SET a 1\r\nUNLINK big\r\nRENAME s q\r\n");
    assert_eq!(client.reply(), "-OOM command not allowed when used memory > 'maxmemory'.");
    assert_eq!([client.reply(), client.reply()], [":1", "OK"]);
    assert_eq!(waiting.reply(), "a");
}

#[test]
fn what_goes_is_logged_before_the_command_that_needed_room() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events Ke");
    let mut listener = server.client();
    listener.ask("PSUBSCRIBE __keyspace@0__:*");
    fill(&mut client, "k", 500);
    // Blocks of the log go with their fsync.
    client.ok("CONFIG SET maxmemory 1 maxmemory-policy allkeys-lru");
    eventually("all keys have gone", || client.ask("DBSIZE") == ":0");
    assert_eq!(number(&mut client, "evicted_keys"), 500);
    assert_eq!(client.ask("SET a 1"), "-OOM command not allowed when used memory > 'maxmemory'.");
    assert!(listener.reply().ends_with("evicted]"), "an event for each");
    client.ok("CONFIG SET maxmemory 0");
    client.ok("SET a 1");
    let changes = client.info("rdb_changes_since_last_save");
    assert_eq!(changes, "501", "evictions are no changes that a save point counts");
    client.ok("DEBUG LOADAOF");
    assert_eq!((client.ask("DBSIZE"), client.ask("GET a")), (":1".into(), "1".into()));
}

#[test]
fn eviction_is_bounded_in_a_turn_and_goes_on() {
    let (_world, server) = start(&["--maxmemory-eviction-tenacity", "0", "--latency-monitor-threshold", "1"]);
    let mut client = server.client();
    fill(&mut client, "k", 2_000);
    // In one turn, so that the reply comes from the midst of it: sixteen keys go, then the time is over.
    let limit: [&[u8]; 6] = [b"CONFIG", b"SET", b"maxmemory", b"1", b"maxmemory-policy", b"allkeys-random"];
    client.send_bytes(&[request(&limit), request(&[b"DBSIZE"])].concat());
    assert_eq!((client.reply(), client.reply()), ("OK".into(), ":1984".into()));
    eventually("all keys have gone", || client.ask("DBSIZE") == ":0");
}

/// What goes while a snapshot is being written does not fall free, since that still holds it. If eviction went on until
/// something did, it would take everything.
#[test]
fn a_snapshot_of_a_full_memory_does_not_empty_it() {
    for (command, in_progress) in
        [("BGSAVE", "rdb_bgsave_in_progress"), ("BGREWRITEAOF", "aof_rewrite_in_progress")]
    {
        let (_world, server) = start(&["--rdb-key-save-delay", "1000000"]);
        let mut client = server.client();
        fill(&mut client, "old", 4_000);
        client.ask(command);
        eventually("the job has what it needs", || number(&mut client, "current_save_keys_processed") > 0);
        allow(&mut client, 0, "allkeys-random");
        fill(&mut client, "new", 200);
        assert_eq!(client.info(in_progress), "1");
        let evicted = number(&mut client, "evicted_keys");
        // Room for the new ones, and for segments that they share with the snapshot and must copy.
        assert!((100..1_000).contains(&evicted), "{command}: {evicted} keys went for 200 new ones");
        client.ok("CONFIG SET rdb-key-save-delay 0");
        eventually("it ends", || client.info(in_progress) == "0");
        let evicted = number(&mut client, "evicted_keys");
        assert!(evicted < 1_000, "{command}: {evicted} keys went by its end");
    }
}

/// What is unlinked beside a snapshot counts as held by it, also where it is a copy's live original that holds it: each copy
/// that was unlinked made room for as much again.
#[test]
fn copies_that_are_unlinked_beside_a_snapshot_do_not_switch_the_limit_off() {
    const COPIES: usize = 100;
    let (_world, server) = start(&["--rdb-key-save-delay", "1000000"]);
    let mut client = server.client();
    let value = "x".repeat(VALUE_BYTES);
    (0..1_000).for_each(|number| assert_eq!(client.ask(&format!("HSET big {number} {value}")), ":1"));
    fill(&mut client, "k", 10);
    let used_before = used(&mut client);
    client.ok(&format!("CONFIG SET maxmemory {}", used_before + (1 << 20)));
    client.ask("BGSAVE");
    eventually("the job has what it needs", || number(&mut client, "current_save_keys_processed") > 0);
    for _ in 0..COPIES {
        assert_eq!(client.ask("COPY big copy"), ":1");
        assert_eq!(client.ask("UNLINK copy"), ":1");
    }
    let chunk = "x".repeat(100 << 10);
    let admitted = (0..1_000).take_while(|number| client.ask(&format!("SET more:{number} {chunk}")) == "OK");
    let admitted_bytes = admitted.count() * chunk.len();
    assert_eq!(client.info("rdb_bgsave_in_progress"), "1");
    assert!(admitted_bytes < used_before + (2 << 20), "{admitted_bytes} bytes beside {used_before}");
    client.ok("CONFIG SET rdb-key-save-delay 0");
}

#[test]
fn use_is_kept_through_a_reload_as_the_policy_notes_it() {
    let (_world, server) =
        start(&["--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0", "--lfu-decay-time", "0"]);
    let mut client = server.client();
    client.ok("SET k v");
    (0..20).for_each(|_| assert_eq!(client.ask("GET k"), "v"));
    assert_eq!(client.ask("OBJECT FREQ k"), ":25");
    client.ok("DEBUG RELOAD");
    assert_eq!(client.ask("OBJECT FREQ k"), ":25");
    let payload = client.ask("OBJECT FREQ none");
    assert_eq!(payload, "nil");
    client.ok("CONFIG SET maxmemory-policy volatile-lru");
    assert!(client.ask("OBJECT FREQ k").starts_with("-ERR An LFU maxmemory policy is not selected"));
    assert_eq!(client.ask("OBJECT IDLETIME k"), ":0");
    client.ok("CLIENT NO-TOUCH ON");
    assert_eq!(client.ask("GET k"), "v");
}

/// What a unit leaves behind is kept in buffers that the next one uses again.
#[test]
fn a_transaction_that_was_large_leaves_no_memory_behind() {
    const PAIRS: usize = 50_000;
    let (_world, server) = start(&[]);
    let mut client = server.client();
    // A key that is written twice in a row is noted once.
    let pair = [request(&[b"SET", b"one", b"v"]), request(&[b"SET", b"other", b"v"])].concat();
    client.ok("FLUSHALL");
    let before = used(&mut client);
    client.ok("MULTI");
    client.send_bytes(&pair.repeat(PAIRS));
    (0..2 * PAIRS).for_each(|_| assert_eq!(client.reply(), "QUEUED"));
    assert_eq!(client.ask("EXEC").matches("OK").count(), 2 * PAIRS);
    client.ok("FLUSHALL");
    let left = used(&mut client).saturating_sub(before);
    assert!(left < 1 << 20, "{left} bytes");
}

#[test]
fn clients_that_take_too_much_are_closed_the_biggest_first() {
    let (_world, server) = start(&["--maxmemory-clients", "2mb"]);
    let mut client = server.client();
    let mut big = server.client();
    let mut spared = server.client();
    spared.ok("CLIENT NO-EVICT ON");
    // Requests that do not end stay in the buffers.
    let torn = format!("*2\r\n$3\r\nGET\r\n${}\r\n{}", 8 << 20, "x".repeat(3 << 20));
    spared.send_bytes(torn.as_bytes());
    big.try_send_bytes(torn.as_bytes());
    eventually("the big one is gone", || number(&mut client, "evicted_clients") == 1);
    assert!(big.is_closed());
    assert_eq!(client.ask("PING"), "PONG");
    assert!(client.ask("CLIENT LIST").lines().any(|line| line.contains("flags=e")));
}

/// What eviction had freed hid what clients took next, as long as that was less: the data went, and they stayed.
#[test]
fn clients_that_outgrow_their_limit_within_a_turn_go_before_the_data_does() {
    let (_world, server) = start(&["--maxmemory-clients", "3mb"]);
    let mut client = server.client();
    client.ok("CLIENT NO-EVICT ON");
    for key in 0..50 {
        client.ask(&format!("SETRANGE {key} 100000 x"));
    }
    allow(&mut client, 6 << 20, "allkeys-lru");
    let mut readers: Vec<Client> = (0..20).map(|_| server.client()).collect();
    // All of it waits until the server wakes, and then for nobody to read the answers.
    client.send("DEBUG SLEEP 0.3");
    let requests = request(&[b"MGET", b"1"]).repeat(40);
    for reader in &mut readers {
        reader.try_send_bytes(&requests);
    }
    client.reply();
    eventually("clients are closed", || number(&mut client, "evicted_clients") > 0);
    assert_eq!((number(&mut client, "evicted_keys"), client.ask("DBSIZE").as_str()), (0, ":50"));
}

#[test]
fn memory_is_told_in_redis_terms() {
    let (_world, server) = start(&[]);
    let mut client = server.client();
    fill(&mut client, "k", 1_000);
    let stats = client.ask("MEMORY STATS");
    for name in
        ["peak.allocated", "db.0", "overhead.hashtable.main", "dataset.percentage", "allocator-rss.ratio"]
    {
        assert!(stats.contains(name), "{name} in {stats}");
    }
    assert!(client.ask("MEMORY DOCTOR").len() > 20);
    assert!(client.ask("MEMORY MALLOC-STATS").contains("jemalloc statistics"));
    client.ok("MEMORY PURGE");
    let five = client.ask("MEMORY USAGE k0");
    assert_eq!(client.ask("MEMORY USAGE k0 SAMPLES 0 SAMPLES 5"), five, "the last one counts");
    for wrong in ["SAMPLES", "SAMPLES 1 SAMPLES", "SAMPLES -1 SAMPLES 1", "x 1"] {
        assert_eq!(client.ask(&format!("MEMORY USAGE k0 {wrong}")), "-ERR syntax error", "{wrong}");
    }
    for field in ["used_memory_startup", "used_memory_overhead", "used_memory_dataset", "mem_clients_normal"]
    {
        assert!(number(&mut client, field) > 0, "{field}");
    }
    let (dataset, used) = (number(&mut client, "used_memory_dataset"), used(&mut client));
    assert!((1_000 * VALUE_BYTES..used).contains(&dataset), "{dataset} of {used}");
    assert_eq!(client.info("maxmemory_policy"), "noeviction");
}
