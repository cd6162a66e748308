//! The story: the kernel ends the server at any moment (out of memory, an operator's `kill -9`), while several clients
//! write, pipelined and not, and perhaps while the log is being rewritten. Whoever was told that a write happened finds
//! it after the restart, under every `appendfsync`, and nobody finds half of a transaction. The page cache survives a
//! killed process, so this is about what the server has handed to the kernel before it answers; power cuts are
//! simulated in `aof`.

use std::fs;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::thread;

use resp::Reply;

use crate::harness::{Client, Random, Server, Victim, World, eventually, eventually_or, names, request};

const POLICIES: [&str; 3] = ["always", "everysec", "no"];
const WRITERS: usize = 6;

/// What one connection has written under its own keys: each counts its own writes from 1.
#[derive(Debug, Default, Clone)]
struct Ledger {
    /// By kind: how many were sent, and how many of them were acknowledged.
    kinds: [(i64, i64); KINDS.len()],
}

/// The kinds of write. Each leaves its own number behind, so that what is missing or doubled is seen.
const KINDS: [&str; 5] = ["incr", "rpush", "set", "multi", "hash"];

/// The requests of the `number`th write of a kind, and how many replies they have; the last one tells.
fn write(kind: usize, writer: usize, number: i64) -> (Vec<u8>, usize) {
    let number = number.to_string();
    let name = |suffix: &str| format!("{}:{writer}{suffix}", KINDS[kind]);
    let key = name("");
    let words = |words: &[&str]| request(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    match KINDS[kind] {
        "incr" => (words(&["INCR", &key]), 1),
        "rpush" => (words(&["RPUSH", &key, &number]), 1),
        "set" => ([words(&["SET", &key, &number]), words(&["EXPIRE", &key, "100000"])].concat(), 2),
        "hash" => (words(&["HSET", &key, "a", &number, "b", &number]), 1),
        _ => {
            let queue = [
                words(&["MULTI"]),
                words(&["INCR", &name("a")]),
                words(&["RPUSH", &name("l"), &number]),
                words(&["SET", &name("s"), &number, "EX", "100000"]),
                words(&["EXEC"]),
            ];
            (queue.concat(), 5)
        }
    }
}

/// Writes until the server is killed; returns what was sent and acknowledged.
fn write_until_killed(
    victim: &Victim,
    writer: usize,
    mut ledger: Ledger,
    seed: u64,
    acked: &AtomicU64,
) -> Ledger {
    let mut random = Random(seed);
    let Some(mut client) = victim.client() else { return ledger };
    // Half of the connections wait for each reply.
    let depth = if writer.is_multiple_of(2) { 1 } else { 24 };
    loop {
        let mut batch = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..depth {
            let kind = random.below(KINDS.len() as u64) as usize;
            ledger.kinds[kind].0 += 1;
            let number = ledger.kinds[kind].0;
            let (bytes, replies) = write(kind, writer, number);
            batch.extend_from_slice(&bytes);
            expected.push((kind, number, replies));
        }
        if !victim.takes(&mut client, &batch) {
            return ledger;
        }
        for (kind, number, replies) in expected {
            for _ in 0..replies {
                let Some(reply) = victim.reply(&mut client) else { return ledger };
                assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
            }
            ledger.kinds[kind].1 = number;
            acked.fetch_add(1, Relaxed);
        }
    }
}

fn number(text: &str) -> i64 {
    if text == "nil" {
        0
    } else {
        text.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{text:?}"))
    }
}

/// A list that must be 1, 2, 3...; returns its length.
fn sequence(client: &mut Client, key: &str) -> i64 {
    let Reply::Array(items) = client.call(&[b"LRANGE", key.as_bytes(), b"0", b"-1"]) else { panic!("{key}") };
    for (at, item) in items.iter().enumerate() {
        assert_eq!(*item, Reply::Bulk((at + 1).to_string().into_bytes()), "{key} at {at}");
    }
    items.len() as i64
}

/// What the restarted server holds of a writer's kind; halves of one write must agree.
fn recovered(client: &mut Client, kind: usize, writer: usize) -> i64 {
    let key = format!("{}:{writer}", KINDS[kind]);
    match KINDS[kind] {
        "rpush" => sequence(client, &key),
        "hash" => {
            let (a, b) = (client.ask(&format!("HGET {key} a")), client.ask(&format!("HGET {key} b")));
            assert_eq!(a, b, "{key}: half a command");
            number(&a)
        }
        "multi" => {
            let count = number(&client.ask(&format!("GET {key}a")));
            assert_eq!(sequence(client, &format!("{key}l")), count, "{key}: half a transaction");
            assert_eq!(number(&client.ask(&format!("GET {key}s"))), count, "{key}: half a transaction");
            count
        }
        _ => number(&client.ask(&format!("GET {key}"))),
    }
}

fn check(server: &Server, ledgers: &mut [Ledger], context: &str) {
    let mut client = server.client();
    for (writer, ledger) in ledgers.iter_mut().enumerate() {
        for (kind, (sent, acked)) in ledger.kinds.iter_mut().enumerate() {
            let found = recovered(&mut client, kind, writer);
            let name = KINDS[kind];
            assert!(found >= *acked, "{context}: {name}:{writer}: {acked} acknowledged, {found} found");
            assert!(found <= *sent, "{context}: {name}:{writer}: {sent} sent, {found} found");
            let mut whole = found;
            if name == "set" && found > 0 && number(&client.ask(&format!("TTL set:{writer}"))) < 0 {
                // The last SET may have come without the EXPIRE behind it: they are two commands, perhaps of two turns.
                assert!(found > *acked, "{context}: set:{writer} has lost its EXPIRE");
                whole -= 1;
            }
            (*sent, *acked) = (found, whole);
        }
    }
}

/// What is in the log's directory without a reason. What a kill tore off is kept on purpose; what it left between a
/// file's making and its naming was removed by the start.
fn unexplained(world: &World) -> Vec<String> {
    let manifest = fs::read_to_string(world.aof_file("appendonly.aof.manifest")).unwrap_or_default();
    let listed: Vec<&str> = manifest.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let mut names = world.aof_names();
    names.retain(|name| {
        let is_kept = name.contains(".torn-") || name == "appendonly.aof.manifest";
        !is_kept && !listed.contains(&name.as_str())
    });
    names
}

/// Nothing is left in the two folders that has no reason to be there.
fn no_stray_files(world: &World, context: &str) {
    eventually_or(
        || unexplained(world).is_empty(),
        || {
            let manifest = fs::read_to_string(world.aof_file("appendonly.aof.manifest"));
            format!("{context}: {:?} are in no manifest: {manifest:?}", unexplained(world))
        },
    );
    let strays: Vec<String> = names(world.path())
        .into_iter()
        .filter(|name| !["appendonlydir", "server.log"].contains(&name.as_str()))
        .collect();
    assert!(strays.is_empty(), "{context}: {strays:?}");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `EVERLOG_KILL_CYCLES`: 500 in a soak.
fn cycles() -> u64 {
    variable("EVERLOG_KILL_CYCLES").unwrap_or(6)
}

/// One life: writers write, a reader notes what it has seen, the kill comes after a number of acknowledgements.
fn live_and_die(
    world: &World,
    ledgers: &mut Vec<Ledger>,
    options: &[&str],
    rewrite: bool,
    random: &mut Random,
) -> i64 {
    let mut server = world.start_aof(options);
    let victim = server.victim();
    let acked = AtomicU64::new(0);
    let seen = AtomicI64::new(0);
    let target = 50 + random.below(1_500);
    let seeds: Vec<u64> = ledgers.iter().map(|_| random.below(u64::MAX)).collect();
    *ledgers = thread::scope(|scope| {
        let (victim, acked) = (&victim, &acked);
        let writers: Vec<_> = ledgers
            .iter()
            .cloned()
            .zip(seeds)
            .enumerate()
            .map(|(writer, (ledger, seed))| {
                scope.spawn(move || write_until_killed(victim, writer, ledger, seed, acked))
            })
            .collect();
        scope.spawn(|| {
            let Some(mut client) = victim.client() else { return };
            while victim.takes(&mut client, &request(&[b"GET", b"incr:1"])) {
                let Some(reply) = victim.reply(&mut client) else { return };
                seen.fetch_max(number(&crate::harness::show(&reply)), Relaxed);
            }
        });
        if rewrite {
            eventually("the writers are at it", || acked.load(Relaxed) > target / 2);
            assert_eq!(server.client().ask("BGREWRITEAOF"), "Background append only file rewriting started");
        }
        eventually("enough is acknowledged", || acked.load(Relaxed) > target);
        server.kill();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    seen.load(Relaxed)
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_halves_nothing() {
    let seed = variable("EVERLOG_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("EVERLOG_SEED={seed}");
    let mut random = Random(seed);
    for (at, policy) in POLICIES.iter().enumerate() {
        let world = World::new();
        // A base large enough that a rewrite is met at its work: 3000 keys of 100 us and more.
        let mut server = world.start_aof(&[]);
        server.client().ok("DEBUG POPULATE 3000");
        server.kill();
        let mut ledgers = vec![Ledger::default(); WRITERS];
        let mine = (0..cycles()).filter(|cycle| cycle % 3 == at as u64);
        for (life, cycle) in mine.enumerate() {
            let rewrite = life % 2 == 1;
            let delay = ["0", "20", "100"][random.below(3) as usize];
            let context =
                format!("cycle {cycle}, appendfsync {policy}, rewrite {rewrite} (delay {delay} us)");
            let options = ["--appendfsync", policy, "--rdb-key-save-delay", delay];
            let seen = live_and_die(&world, &mut ledgers, &options, rewrite, &mut random);
            let mut server = world.start_aof(&options);
            check(&server, &mut ledgers, &context);
            assert!(ledgers[1].kinds[0].0 >= seen, "{context}: {seen} was read and is gone");
            assert_eq!(server.client().ask("EXISTS key:0 key:2999"), ":2", "{context}");
            no_stray_files(&world, &context);
            // Found by one kill, still there after the next.
            server.kill();
            println!("{context}: ok");
        }
        let server = world.start_aof(&["--appendfsync", policy]);
        check(&server, &mut ledgers, policy);
        server.rewrite();
        check(&server, &mut ledgers, policy);
        no_stray_files(&world, policy);
    }
    println!("tried: {} SIGKILLs under load", cycles());
}

fn rewrite_cycles() -> u64 {
    variable("EVERLOG_KILL_CYCLES").unwrap_or(20)
}

/// Writes one counter and one growing list, as one, until killed; returns the last number that was acknowledged.
fn count_until_killed(victim: &Victim, from: i64) -> i64 {
    let Some(mut client) = victim.client() else { return from };
    let mut acked = from;
    loop {
        let (bytes, replies) = write(3, 0, acked + 1);
        if !victim.takes(&mut client, &bytes) {
            return acked;
        }
        for _ in 0..replies {
            let Some(reply) = victim.reply(&mut client) else { return acked };
            assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
        }
        acked += 1;
    }
}

#[test]
fn kill_9_during_a_rewrite_loses_nothing_and_leaves_nothing_behind() {
    let seed = variable("EVERLOG_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("EVERLOG_SEED={seed}");
    let (mut random, world) = (Random(seed), World::new());
    let mut server = world.start_aof(&[]);
    server.client().ok("DEBUG POPULATE 2000");
    let (mut acked, mut unfinished) = (0, 0);
    for cycle in 0..rewrite_cycles() {
        // Every other rewrite is slow and surely met at its work; the others may be met at their end.
        let delay = if cycle % 2 == 0 { "100" } else { "0" };
        server.client().ok(&format!("CONFIG SET rdb-key-save-delay {delay}"));
        let preamble = ["yes", "no"][random.below(2) as usize];
        server.client().ok(&format!("CONFIG SET aof-use-rdb-preamble {preamble}"));
        server.client().ok(&format!("CONFIG SET appendfsync {}", POLICIES[random.below(3) as usize]));
        // Anywhere in a rewrite, which takes some milliseconds, and a little behind it.
        let moment = std::time::Duration::from_micros(random.below(30_000));
        let (victim, base) = (server.victim(), base_line(&world));
        acked = thread::scope(|scope| {
            let writer = scope.spawn(move || count_until_killed(&victim, acked));
            server.client().ask("BGREWRITEAOF");
            thread::sleep(moment);
            server.kill();
            writer.join().unwrap()
        });
        unfinished += u64::from(base_line(&world) == base);
        server = world.start_aof(&[]);
        let context = format!("cycle {cycle}, killed after {moment:?}, delay {delay}, preamble {preamble}");
        let found = recovered(&mut server.client(), 3, 0);
        assert!(found == acked || found == acked + 1, "{context}: {acked} acknowledged, {found} found");
        acked = found;
        assert_eq!(server.client().ask("EXISTS key:0 key:1999"), ":2", "{context}");
        no_stray_files(&world, &context);
    }
    println!("{unfinished} of {} rewrites were not finished", rewrite_cycles());
    println!("tried: {} SIGKILLs during rewrites", rewrite_cycles());
    assert!(unfinished >= rewrite_cycles() / 4, "only {unfinished} kills came in time");
}

#[test]
fn kill_9_during_a_save_leaves_the_last_file_or_the_next_one() {
    let seed = variable("EVERLOG_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("EVERLOG_SEED={seed}");
    let (mut random, world) = (Random(seed), World::new());
    let mut server = world.start(&["--enable-debug-command", "yes"]);
    server.client().ok("DEBUG POPULATE 2000");
    server.client().ok("SET saved 0");
    server.client().ok("SAVE");
    let (mut saved, mut unfinished) = (0, 0);
    for cycle in 1..=rewrite_cycles() {
        // Every other save is slow and surely met at its work; the others may be met at their end.
        let delay = if cycle % 2 == 0 { "100" } else { "0" };
        server.client().ok(&format!("CONFIG SET rdb-key-save-delay {delay}"));
        server.client().ok(&format!("SET saved {cycle}"));
        assert_eq!(server.client().ask("BGSAVE"), "Background saving started");
        let moment = std::time::Duration::from_micros(random.below(30_000));
        thread::sleep(moment);
        server.kill();
        world.let_temps_rest();
        server = world.start(&[]);
        let context = format!("cycle {cycle}, killed after {moment:?}, delay {delay}");
        let found: u64 = server.client().ask("GET saved").parse().expect(&context);
        assert!(found == saved || found == cycle, "{context}: {saved} was saved, {found} is found");
        unfinished += u64::from(found == saved);
        saved = found;
        assert_eq!(server.client().ask("EXISTS key:0 key:1999"), ":2", "{context}");
        assert_eq!(names(world.path()), ["dump.rdb", "server.log"], "{context}");
    }
    println!("{unfinished} of {} saves were not finished", rewrite_cycles());
    println!("tried: {} SIGKILLs during saves", rewrite_cycles());
    assert!(unfinished >= rewrite_cycles() / 4, "only {unfinished} kills came in time");
}

/// The manifest's line of the base: another one once a rewrite is published.
fn base_line(world: &World) -> Option<String> {
    let manifest = fs::read_to_string(world.aof_file("appendonly.aof.manifest")).unwrap();
    manifest.lines().find(|line| line.ends_with(" type b")).map(str::to_owned)
}

#[test]
fn only_a_kill_excuses_that_nobody_listens() {
    let world = World::new();
    let mut server = world.start(&[]);
    let victim = server.victim();
    assert!(victim.client().is_some());
    server.kill();
    assert!(victim.client().is_none());
    let server = world.start(&[]);
    let victim = server.victim();
    assert!(server.terminate().success());
    assert!(std::panic::catch_unwind(|| victim.client().is_some()).is_err());
}
