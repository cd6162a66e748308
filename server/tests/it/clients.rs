//! The story: clients of every kind meet on one server. They speak both protocols, whole or in pieces; they queue and
//! watch, wait for lists, listen to channels, are paused, refused and killed. What each of them sees is what Redis 7.2
//! would show it.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use resp::Reply;

use crate::harness::{Client, Server, World, eventually, request, show};

const MIB: u64 = 1 << 20;

fn server() -> (World, Server) {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes"]);
    (world, server)
}

/// Waits until so many clients are parked.
fn blocked(server: &Server, count: usize) {
    server.wait_for_info("blocked_clients", &count.to_string());
}

/// The serial number of a client.
fn serial(client: &mut Client) -> String {
    client.ask("CLIENT ID").trim_start_matches(':').to_owned()
}

#[test]
fn hello_chooses_the_protocol_and_may_authenticate_and_name() {
    let world = World::new();
    let server = world.start(&["--requirepass", "secret"]);
    let mut client = server.client();
    assert!(client.ask("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert!(client.ask("HELLO 3 AUTH default wrong").starts_with("-WRONGPASS "));
    assert_eq!(client.ask("HELLO 4"), "-NOPROTO unsupported protocol version");
    assert!(client.ask("HELLO x").starts_with("-ERR Protocol version is not an integer"));
    let hello = client.ask("HELLO 3 AUTH default secret SETNAME me");
    assert!(hello.starts_with("{server:redis version:7.2.") && hello.contains("proto::3"), "{hello}");
    assert_eq!(client.ask("CLIENT GETNAME"), "me");
    client.ask("HSET h f v");
    assert_eq!(client.ask("HGETALL h"), "{f:v}");
    assert_eq!(client.ask("GET absent"), "nil");
    assert!(client.ask("HELLO 2").starts_with("[server redis version 7.2."));
    assert_eq!(client.ask("HGETALL h"), "[f v]");
    assert_eq!(client.ask("RESET"), "RESET");
    assert_eq!(client.ask("HGETALL h"), "-NOAUTH Authentication required.");
}

#[test]
fn attributes_precede_their_reply_in_resp3_alone() {
    let (_world, server) = server();
    let mut client = server.client();
    let answer = "Some real reply following the attribute";
    assert_eq!(client.ask("DEBUG PROTOCOL attrib"), answer);
    client.ask("HELLO 3");
    let text = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let popularity = Reply::Array(vec![text("key:123"), Reply::Integer(90)]);
    let attributes = vec![(text("key-popularity"), popularity)];
    let expected = Reply::Attributed { attributes, reply: Box::new(text(answer)) };
    assert_eq!(client.call(&[b"DEBUG", b"PROTOCOL", b"ATTRIB"]), expected);
}

#[test]
fn without_the_password_little_is_possible() {
    let world = World::new();
    let server = world.start(&["--requirepass", "secret"]);
    let mut client = server.client();
    for command in ["GET a", "SET a 1", "PING", "INFO", "MULTI", "CONFIG GET *", "SUBSCRIBE c", "CLIENT LIST"]
    {
        assert_eq!(client.ask(command), "-NOAUTH Authentication required.", "{command}");
    }
    assert!(client.ask("AUTH wrong").starts_with("-WRONGPASS "));
    assert!(client.ask("AUTH nobody secret").starts_with("-WRONGPASS "));
    client.ok("AUTH secret");
    client.ok("SET a 1");
    // A password that is taken away lets nobody out, and nobody new has to name one.
    client.ok("CONFIG SET requirepass other");
    client.ok("SET a 2");
    assert!(server.client().ask("AUTH secret").starts_with("-WRONGPASS "));
    server.client().ok("AUTH default other");
}

#[test]
fn of_several_reasons_to_refuse_the_first_is_told() {
    let world = World::new();
    let server = world.start(&["--min-replicas-to-write", "1", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ok("MULTI");
    assert!(client.ask("DEBUG POPULATE 1").starts_with("-ERR Command not allowed inside a transaction"));
    client.ok("DISCARD");
    assert!(client.ask("DEBUG POPULATE 1").starts_with("-NOREPLICAS"));
    client.ask("SUBSCRIBE c");
    assert!(client.ask("SET k v").starts_with("-NOREPLICAS"));
    assert!(client.ask("GET k").starts_with("-ERR Can't execute 'get'"));
    let server = world.start(&["--requirepass", "secret"]);
    assert!(server.client().ask("DEBUG SLEEP 0").starts_with("-ERR DEBUG command not allowed"));
    assert!(server.client().ask("SAVE").starts_with("-NOAUTH"));
}

#[test]
fn inline_commands_are_split_like_a_shell_line() {
    let (_world, server) = server();
    let mut client = server.client();
    client.send_bytes(b"SET \"a b\" 'c\\'d'\r\n\r\n  GET   \"a b\"  \nECHO \"\\x41\\n\"\r\n");
    assert_eq!([client.reply(), client.reply(), client.reply()], ["OK", "c'd", "A\n"]);
}

#[test]
fn a_pipeline_may_be_split_at_every_byte() {
    let (_world, server) = server();
    let pipeline = [
        request(&[b"SET", b"k", b"a\r\nb\0"]),
        b"GET k\r\n".to_vec(),
        request(&[b"MULTI"]),
        request(&[b"APPEND", b"k", b""]),
        request(&[b"EXEC"]),
        request(&[b"LPUSH", b"l", b"x"]),
        request(&[b"DEL", b"l"]),
    ]
    .concat();
    let mut client = server.client();
    for cut in 0..=pipeline.len() {
        client.send_bytes(&pipeline[..cut]);
        // Another's round trip: the first part has been read, too.
        assert_eq!(server.client().ask("PING"), "PONG");
        client.send_bytes(&pipeline[cut..]);
        let replies: Vec<String> = (0..7).map(|_| client.reply()).collect();
        assert_eq!(replies, ["OK", "a\r\nb\0", "OK", "QUEUED", "[:5]", ":1", ":1"], "cut at {cut}");
    }
}

#[test]
fn what_was_sent_before_the_end_is_answered() {
    let (_world, server) = server();
    let mut client = server.client();
    let mut pipeline = Vec::new();
    for _ in 0..10_000 {
        pipeline.extend_from_slice(&request(&[b"INCR", b"n"]));
    }
    client.send_bytes(&pipeline);
    client.end_sending();
    for number in 1..=10_000 {
        assert_eq!(client.reply(), format!(":{number}"));
    }
    assert!(client.is_closed());
    server.wait_for_info("connected_clients", "1");
}

#[test]
fn a_transaction_is_queued_and_executed_as_one() {
    let (_world, server) = server();
    let (mut one, mut two) = (server.client(), server.client());
    one.ok("MULTI");
    assert_eq!(one.ask("INCR n"), "QUEUED");
    assert_eq!(one.ask("MULTI"), "-ERR MULTI calls can not be nested");
    assert_eq!(one.ask("WATCH n"), "-ERR WATCH inside MULTI is not allowed");
    assert_eq!(two.ask("GET n"), "nil");
    assert_eq!(one.ask("LPUSH n x"), "QUEUED");
    assert_eq!(one.ask("INCR n"), "QUEUED");
    let wrongtype = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(one.ask("EXEC"), format!("[:1 {wrongtype} :2]"));
    assert_eq!(one.ask("EXEC"), "-ERR EXEC without MULTI");
    assert_eq!(one.ask("DISCARD"), "-ERR DISCARD without MULTI");

    one.ok("MULTI");
    assert!(one.ask("NOSUCH").starts_with("-ERR unknown command"));
    assert!(one.ask("GET").starts_with("-ERR wrong number of arguments"));
    assert_eq!(one.ask("INCR n"), "QUEUED");
    assert_eq!(one.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(one.ask("GET n"), "2");

    one.ok("MULTI");
    assert_eq!(one.ask("INCR n"), "QUEUED");
    one.ok("DISCARD");
    assert_eq!(one.ask("GET n"), "2");
    one.ok("MULTI");
    assert_eq!(one.ask("EXEC"), "[]");
    // Nothing waits inside.
    one.ok("MULTI");
    assert_eq!(one.ask("BLPOP absent 0"), "QUEUED");
    assert_eq!(one.ask("EXEC"), "[nil[]]");
    // RESET leaves the queue; another command's subcommand of that name does not.
    one.ok("MULTI");
    assert_eq!(one.ask("LATENCY RESET"), "QUEUED");
    let arity = "wrong number of arguments for 'exec' command";
    assert_eq!(one.ask("EXEC now"), format!("-EXECABORT Transaction discarded because of: {arity}"));
}

#[test]
fn a_watched_key_that_changed_spoils_the_transaction() {
    // (before WATCH, meanwhile by another client, whether EXEC refuses)
    for (before, meanwhile, refused) in [
        ("SET k 1", "SET k 1", true),
        ("SET k 1", "SET other 1", false),
        ("SET k 1", "GET k", false),
        ("SET k 1", "EXPIRE k 100", true),
        ("SET k 1", "DEL k", true),
        ("PING", "SET k 1", true),
        ("PING", "DEL k", false),
        ("SET k 1", "FLUSHALL", true),
        ("PING", "FLUSHALL", false),
        ("SET k 1", "FLUSHDB", true),
        ("SET k 1", "SWAPDB 0 1", true),
        ("PING", "SWAPDB 0 1", false),
        ("PING", "SWAPDB 0 9", true),
        ("SET k 1", "SWAPDB 1 2", false),
        ("SET k 1", "RENAME k j", true),
        ("SET k 1", "COPY k j", false),
        ("SET k 1", "MOVE k 1", true),
        ("SET k 1", "SET k 2 NX", false),
        ("SADD k a", "SADD k a", false),
        ("SET k 1", "DEBUG RELOAD", true),
        ("PING", "DEBUG RELOAD", false),
    ] {
        let (_world, server) = server();
        let (mut one, mut two) = (server.client(), server.client());
        two.ok("SELECT 9");
        two.ok("SET k there");
        two.ok("SELECT 0");
        one.ask(before);
        one.ok("WATCH k unrelated");
        two.ask(meanwhile);
        one.ok("MULTI");
        assert_eq!(one.ask("PING"), "QUEUED");
        let exec = one.ask("EXEC");
        assert_eq!(exec, if refused { "nil[]" } else { "[PONG]" }, "{before}, WATCH k, {meanwhile}");
        // EXEC forgets the watched keys.
        two.ok("SET k 3");
        one.ok("MULTI");
        assert_eq!(one.ask("EXEC"), "[]");
    }
}

#[test]
fn a_watched_key_that_expired_spoils_the_transaction() {
    for active in ["0", "1"] {
        let (_world, server) = server();
        let mut client = server.client();
        client.ok(&format!("DEBUG SET-ACTIVE-EXPIRE {active}"));
        client.ok("SET k v PX 50");
        client.ok("WATCH k");
        let deadline = Instant::now() + Duration::from_millis(51);
        eventually("its time is over", || Instant::now() > deadline);
        client.ok("MULTI");
        assert_eq!(client.ask("PING"), "QUEUED");
        assert_eq!(client.ask("EXEC"), "nil[]", "active expiry {active}");
        // One that had expired before it was watched is absent, and stays so.
        client.ok("WATCH k");
        client.ok("MULTI");
        assert_eq!(client.ask("PING"), "QUEUED");
        assert_eq!(client.ask("EXEC"), "[PONG]");
    }
}

#[test]
fn unwatch_discard_and_reset_forget_watched_keys() {
    for forget in ["UNWATCH", "DISCARD", "RESET"] {
        let (_world, server) = server();
        let (mut one, mut two) = (server.client(), server.client());
        one.ok("WATCH k");
        two.ok("SET k 1");
        if forget == "DISCARD" {
            one.ok("MULTI");
        }
        assert!(["OK", "RESET"].contains(&one.ask(forget).as_str()));
        one.ok("MULTI");
        assert_eq!(one.ask("EXEC"), "[]", "{forget}");
    }
}

#[test]
fn who_waits_longest_is_served_first() {
    let (_world, server) = server();
    let mut waiting: Vec<Client> = Vec::new();
    for at in 0..3 {
        let mut client = server.client();
        client.send("BLPOP l m 0");
        waiting.push(client);
        blocked(&server, at + 1);
    }
    let mut pusher = server.client();
    assert_eq!(pusher.ask("RPUSH m a b"), ":2");
    assert_eq!(waiting[0].reply(), "[m a]");
    assert_eq!(waiting[1].reply(), "[m b]");
    assert!(waiting[2].is_silent());
    assert_eq!(pusher.ask("EXISTS m"), ":0");
    assert_eq!(pusher.ask("LPUSH l c"), ":1");
    assert_eq!(waiting[2].reply(), "[l c]");
    blocked(&server, 0);
}

#[test]
fn a_transaction_wakes_who_waits_when_it_is_over() {
    let (_world, server) = server();
    let (mut waiting, mut pusher) = (server.client(), server.client());
    waiting.send("BLPOP a b 0");
    blocked(&server, 1);
    for command in ["MULTI", "RPUSH b 1", "RPUSH a 2", "DEL b", "EXEC"] {
        pusher.ask(command);
    }
    // `b` came first and is gone.
    assert_eq!(waiting.reply(), "[a 2]");
    waiting.send("BLPOP a 0");
    blocked(&server, 1);
    for command in ["MULTI", "RPUSH a 1", "DEL a", "EXEC"] {
        pusher.ask(command);
    }
    assert_eq!(pusher.ask("PING"), "PONG");
    assert!(waiting.is_silent());
    // Another type does not wake it, nor end its waiting.
    pusher.ok("SET a text");
    pusher.ask("DEL a");
    pusher.ask("RPUSH a 3");
    assert_eq!(waiting.reply(), "[a 3]");
}

#[test]
fn all_who_wait_for_a_stream_hear_of_an_entry() {
    let (_world, server) = server();
    let (mut one, mut other, mut adder) = (server.client(), server.client(), server.client());
    assert_eq!(adder.ask("XADD s 1-0 f v"), "1-0");
    // `$` is the end of the stream as it was when the waiting began.
    one.send("XREAD BLOCK 0 STREAMS s none $ $");
    blocked(&server, 1);
    other.send("XREAD BLOCK 0 STREAMS s 1-0");
    blocked(&server, 2);
    assert_eq!(adder.ask("XADD s 2-0 f w"), "2-0");
    for client in [&mut one, &mut other] {
        assert_eq!(client.reply(), "[[s [[2-0 [f w]]]]]");
    }
    assert_eq!(one.ask("XREAD BLOCK 20 STREAMS s $"), "nil[]");
}

#[test]
fn one_consumer_of_a_group_gets_an_entry_and_all_hear_of_its_end() {
    let (_world, server) = server();
    let (mut one, mut other, mut adder) = (server.client(), server.client(), server.client());
    adder.ok("XGROUP CREATE s g $ MKSTREAM");
    one.send("XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
    blocked(&server, 1);
    other.send("XREADGROUP GROUP g other BLOCK 0 STREAMS s >");
    blocked(&server, 2);
    adder.ask("XADD s 1-0 f v");
    assert_eq!(one.reply(), "[[s [[1-0 [f v]]]]]");
    assert!(other.is_silent());
    one.send("XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
    blocked(&server, 2);
    adder.ask("DEL s");
    let gone = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
    assert_eq!([one.reply(), other.reply()], [gone, gone]);
    adder.ok("XGROUP CREATE s g $ MKSTREAM");
    for (ending, error) in [
        ("XGROUP DESTROY s g", gone),
        ("SET s text", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("FLUSHALL", gone),
        ("PEXPIRE s 20", gone),
    ] {
        adder.ask("DEL s");
        adder.ok("XGROUP CREATE s g $ MKSTREAM");
        one.send("XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
        blocked(&server, 1);
        adder.ask(ending);
        assert_eq!(one.reply(), error, "{ending}");
    }
}

#[test]
fn waiting_commands_chain() {
    let (_world, server) = server();
    let (mut first, mut second, mut pusher) = (server.client(), server.client(), server.client());
    second.send("BLPOP two 0");
    blocked(&server, 1);
    first.send("BLMOVE one two LEFT RIGHT 0");
    blocked(&server, 2);
    assert_eq!(pusher.ask("RPUSH one x"), ":1");
    assert_eq!(first.reply(), "x");
    assert_eq!(second.reply(), "[two x]");
    assert_eq!(pusher.ask("EXISTS one two"), ":0");
}

#[test]
fn sorted_sets_and_several_elements_are_waited_for() {
    let (_world, server) = server();
    let (mut waiting, mut pusher) = (server.client(), server.client());
    waiting.send("BZPOPMIN z y 0");
    blocked(&server, 1);
    assert_eq!(pusher.ask("ZADD z 2 b 1 a"), ":2");
    assert_eq!(waiting.reply(), "[z a 1]");
    waiting.ask("DEL z");
    waiting.send("BLMPOP 0 2 k l LEFT COUNT 10");
    blocked(&server, 1);
    assert_eq!(pusher.ask("RPUSH l a b c"), ":3");
    assert_eq!(waiting.reply(), "[l [a b c]]");
}

/// What makes the data, who waits, what wakes it (not before the last of them), and the reply.
#[rustfmt::skip]
const WAKING: &[(&str, &str, &str, &str)] = &[
    ("RPUSH s a", "BLPOP q 0", "COPY s q", "[q a]"),
    ("RPUSH s a", "BLPOP q 0", "RESTORE q 0 <DUMP s>", "[q a]"),
    ("SELECT 1 ; RPUSH q a", "BLPOP q 0", "MOVE q 0", "[q a]"),
    ("RPUSH s 2 1", "BLPOP q 0", "SORT s STORE q", "[q 1]"),
    ("SELECT 1 ; RPUSH q a", "BLPOP q 0", "SWAPDB 0 1", "[q a]"),
    ("RPUSH s a", "BLPOP q 0", "RENAME s q", "[q a]"),
    ("RPUSH s a b", "BLPOP q 0", "LMOVE s q RIGHT LEFT", "[q b]"),
    ("RPUSH s a b", "BLMOVE q r LEFT LEFT 0", "RPOPLPUSH s q", "b"),
    ("SADD s a", "BLPOP q 0", "SINTERSTORE q s s ; DEL q ; RPUSH q x", "[q x]"),
    ("SADD s a", "BLPOP q 0", "SINTERSTORE q s s ; SORT s ALPHA STORE q", "[q a]"),
    ("SADD s a", "BZPOPMIN q 0", "SINTERSTORE q s s ; ZUNIONSTORE q 1 s", "[q a 1]"),
    ("GEOADD s 1 1 a", "BZPOPMIN q 0", "GEOSEARCHSTORE q s FROMLONLAT 1 1 BYRADIUS 1 km", "[q a 3377822707026402]"),
    ("GEOADD s 1 1 a", "BZPOPMIN q 0", "GEORADIUS s 1 1 1 km STORE q", "[q a 3377822707026402]"),
    ("ZADD s 1 a 2 b", "BZPOPMAX q 0", "ZRANGESTORE q s 1 1", "[q b 2]"),
    ("ZADD s 1 a 2 b", "BZMPOP 0 1 q MAX", "COPY s q", "[q [[b 2]]]"),
    ("ZADD s 1 a", "BZPOPMIN q 0", "RESTORE q 0 <DUMP s>", "[q a 1]"),
    ("XGROUP CREATE q g $ MKSTREAM", "XREADGROUP GROUP g c BLOCK 0 STREAMS q >", "XADD q 1-1 f v", "[[q [[1-1 [f v]]]]]"),
    ("XGROUP CREATE q g $ MKSTREAM ; SET s v", "XREADGROUP GROUP g c BLOCK 0 STREAMS q >", "RENAME s q",
     "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("XADD s 1-1 f v", "XREAD BLOCK 0 STREAMS q 0", "SET q v ; DEL q ; COPY s q", "[[q [[1-1 [f v]]]]]"),
];

#[test]
fn whatever_makes_a_key_wakes_who_waits_for_its_type() {
    let (_world, server) = server();
    for (data, wait, wakers, reply) in WAKING {
        let (mut waiting, mut other) = (server.client(), server.client());
        other.ok("FLUSHALL");
        data.split(" ; ").for_each(|line| drop(other.ask(line)));
        waiting.send(wait);
        blocked(&server, 1);
        for waker in wakers.split(" ; ") {
            assert!(waiting.is_silent(), "{wait} before {waker}");
            let payload = waker.ends_with(" <DUMP s>").then(|| other.call(&[b"DUMP", b"s"]));
            let words = waker.split(' ').take(3).map(str::as_bytes);
            match payload {
                Some(Reply::Bulk(payload)) => {
                    drop(other.call(&words.chain([&payload[..]]).collect::<Vec<_>>()))
                }
                _ => drop(other.ask(waker)),
            }
        }
        assert_eq!(waiting.reply(), *reply, "{wait} after {wakers}");
    }
}

#[test]
fn who_is_woken_is_looked_at_as_if_it_had_just_come() {
    let (_world, server) = server();
    let (mut waiting, mut other) = (server.client(), server.client());
    other.ask("RPUSH s a b");
    other.ok("CONFIG SET maxmemory 1");
    waiting.send("BLMOVE q r LEFT LEFT 0");
    assert_eq!(waiting.reply(), "-OOM command not allowed when used memory > 'maxmemory'.");
    other.ok("CONFIG SET maxmemory 0");
    waiting.send("BLMOVE q r LEFT LEFT 0");
    blocked(&server, 1);
    other.ok("CONFIG SET maxmemory 1");
    other.ok("RENAME s q");
    assert_eq!(waiting.reply(), "-OOM command not allowed when used memory > 'maxmemory'.");
    assert_eq!(other.ask("LRANGE q 0 -1"), "[a b]");
    blocked(&server, 0);
    other.ok("CONFIG SET maxmemory 0");
    other.ok("RENAME q s");
    // What a transaction has pushed under its own pause stays until that is over.
    waiting.send("BLPOP q 0");
    blocked(&server, 1);
    for command in ["MULTI", "CLIENT PAUSE 100000 WRITE", "RENAME s q", "EXEC", "PING"] {
        other.ask(command);
    }
    assert!(waiting.is_silent());
    assert_eq!(other.ask("LRANGE q 0 -1"), "[a b]");
    other.ok("CLIENT UNPAUSE");
    assert_eq!(waiting.reply(), "[q a]");
}

#[test]
fn waiting_ends_in_time_and_by_unblock() {
    let (_world, server) = server();
    let (mut waiting, mut other) = (server.client(), server.client());
    let start = Instant::now();
    assert_eq!(waiting.ask("BLPOP l 0.05"), "nil[]");
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(
        waiting.ask("BLMOVE a b LEFT LEFT 0.01"),
        "nil[]",
        "as Redis's, though its reply is no array else"
    );
    assert_eq!(waiting.ask("BLPOP l -1"), "-ERR timeout is negative");
    let id = serial(&mut waiting);
    assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id}")), ":0");
    waiting.send("BLPOP l 0");
    blocked(&server, 1);
    assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id}")), ":1");
    assert_eq!(waiting.reply(), "nil[]");
    waiting.send("BLPOP l 0");
    blocked(&server, 1);
    assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id} ERROR")), ":1");
    assert_eq!(waiting.reply(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    assert_eq!(waiting.ask("PING"), "PONG");
}

#[test]
fn what_is_sent_while_waiting_comes_after() {
    let (_world, server) = server();
    let (mut waiting, mut pusher) = (server.client(), server.client());
    waiting.send_bytes(&[request(&[b"BLPOP", b"l", b"0"]), request(&[b"INCR", b"n"])].concat());
    blocked(&server, 1);
    waiting.send("INCR n");
    assert_eq!(pusher.ask("GET n"), "nil");
    pusher.ask("RPUSH l x");
    assert_eq!([waiting.reply(), waiting.reply(), waiting.reply()], ["[l x]", ":1", ":2"]);
}

#[test]
fn who_leaves_while_waiting_takes_nothing_along() {
    let (_world, server) = server();
    let mut pusher = server.client();
    for way in ["closes", "is killed"] {
        let mut waiting = server.client();
        let id = serial(&mut waiting);
        waiting.send("BLPOP l 0");
        blocked(&server, 1);
        if way == "closes" {
            drop(waiting);
        } else {
            assert_eq!(pusher.ask(&format!("CLIENT KILL ID {id}")), ":1");
            assert!(waiting.is_closed());
        }
        blocked(&server, 0);
        assert_eq!(pusher.ask("RPUSH l x"), ":1");
        assert_eq!(pusher.ask("LPOP l"), "x", "{way}");
    }
}

#[test]
fn messages_reach_channels_and_patterns_in_both_protocols() {
    let (_world, server) = server();
    let (mut two, mut three, mut teller) = (server.client(), server.client(), server.client());
    assert_eq!(two.ask("SUBSCRIBE a b"), "[subscribe a :1]");
    assert_eq!(two.reply(), "[subscribe b :2]");
    three.ask("HELLO 3");
    assert_eq!(three.ask("PSUBSCRIBE a*"), ">[psubscribe a* :1]");
    assert_eq!(teller.ask("PUBLISH a hi"), ":2");
    assert_eq!(two.reply(), "[message a hi]");
    assert_eq!(three.reply(), ">[pmessage a* a hi]");
    assert_eq!(teller.ask("PUBLISH c hi"), ":0");
    assert_eq!(teller.ask("PUBSUB NUMSUB a b c"), "[a :1 b :1 c :0]");
    assert_eq!(teller.ask("PUBSUB NUMPAT"), ":1");
    // RESP2 listeners may say little, RESP3's everything.
    assert_eq!(
        two.ask("GET k"),
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    );
    assert!(two.ask("SLOWLOG RESET").starts_with("-ERR Can't execute 'slowlog|reset': only"));
    assert_eq!(two.ask("PING"), "[pong ]");
    assert_eq!(three.ask("GET k"), "nil");
    assert_eq!(two.ask("UNSUBSCRIBE"), "[unsubscribe a :1]");
    assert_eq!(two.reply(), "[unsubscribe b :0]");
    assert_eq!(two.ask("GET k"), "nil");
    drop(three);
    eventually("the listener has gone", || teller.ask("PUBSUB NUMPAT") == ":0");
}

#[test]
fn what_happens_to_keys_is_told_to_who_asked() {
    let (_world, server) = server();
    let (mut listener, mut writer) = (server.client(), server.client());
    writer.ok("CONFIG SET notify-keyspace-events KEA");
    listener.ask("PSUBSCRIBE __key*__:*");
    for (command, events) in [
        ("SET k v", &["set k"][..]),
        ("EXPIRE k 100", &["expire k"]),
        ("DEL k", &["del k"]),
        ("RPUSH l a", &["rpush l"]),
        ("LPOP l", &["lpop l", "del l"]),
        ("SET e v PX 1", &["set e", "expire e", "expired e"]),
        ("CONFIG SET notify-keyspace-events KEmn", &[]),
        ("GET absent", &["keymiss absent"]),
        ("SET k v", &["new k"]),
        ("SET k v", &[]),
        ("CONFIG SET notify-keyspace-events KEA", &[]),
    ] {
        writer.ask(command);
        for event in events {
            let (name, key) = event.split_once(' ').unwrap();
            assert_eq!(listener.reply(), format!("[pmessage __key*__:* __keyspace@0__:{key} {name}]"));
            assert_eq!(listener.reply(), format!("[pmessage __key*__:* __keyevent@0__:{name} {key}]"));
        }
    }
}

#[test]
fn a_pause_holds_commands_back_and_loses_none() {
    let (_world, server) = server();
    let (mut operator, mut one) = (server.client(), server.client());
    operator.ok("SET k 0");
    operator.ok("CLIENT PAUSE 60000 WRITE");
    assert_eq!(one.ask("GET k"), "0");
    one.send("INCR k");
    one.send("GET k");
    assert_eq!(operator.ask("GET k"), "0");
    assert!(one.is_silent());
    operator.ok("CLIENT UNPAUSE");
    assert_eq!([one.reply(), one.reply()], [":1", "1"]);
    // It ends by itself.
    let start = Instant::now();
    operator.ok("CLIENT PAUSE 50 ALL");
    assert_eq!(one.ask("INCR k"), ":2");
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(operator.ask("CLIENT PAUSE 9223372036854775807"), "-ERR timeout is out of range");
    // EXEC with a write in it is one.
    one.ok("MULTI");
    assert_eq!(one.ask("INCR k"), "QUEUED");
    operator.ok("CLIENT PAUSE 60000 WRITE");
    one.send("EXEC");
    assert_eq!(operator.ask("GET k"), "2");
    operator.ok("CLIENT UNPAUSE");
    assert_eq!(one.reply(), "[:3]");
}

#[test]
fn no_key_is_deleted_during_a_pause() {
    let (_world, server) = server();
    let mut client = server.client();
    client.ok("SET k v PX 1");
    client.ok("CLIENT PAUSE 60000 WRITE");
    eventually("its time is over", || client.ask("GET k") == "nil");
    if client.info("expired_keys") == "0" {
        assert_eq!(client.ask("DBSIZE"), ":1");
    }
    client.ok("CLIENT UNPAUSE");
    eventually("it is deleted", || client.ask("DBSIZE") == ":0");
}

#[test]
fn client_reply_turns_replies_off_skips_one_and_turns_them_on() {
    let (_world, server) = server();
    let mut client = server.client();
    for command in ["CLIENT REPLY OFF", "INCR n", "NOSUCH", "CLIENT REPLY SKIP", "INCR n", "CLIENT REPLY ON"]
    {
        client.send(command);
    }
    assert_eq!(client.reply(), "OK");
    client.send("CLIENT REPLY SKIP");
    client.send("INCR n");
    assert_eq!(client.ask("GET n"), "3");
    // A SKIP that is skipped skips the next command, too.
    for command in ["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "INCR n"] {
        client.send(command);
    }
    assert_eq!(client.ask("GET n"), "4");
}

/// A page in a browser can make it POST anything to any port, with commands in the lines behind.
#[test]
fn a_request_of_http_ends_the_connection_before_its_commands() {
    let (world, server) = server();
    for line in ["POST / HTTP/1.1", "post x", "Host: redis.local:6379", "hOST:"] {
        let mut browser = server.client();
        browser.send_bytes(format!("SET before 1\r\n{line}\r\nSET after 1\r\n").as_bytes());
        assert!(browser.is_closed());
        assert_eq!(server.client().ask("GET after"), "nil", "{line}");
    }
    assert_eq!(server.client().ask("GET before"), "1");
    assert_eq!(server.client().ask("HOSTS"), "-ERR unknown command 'HOSTS', with args beginning with: ");
    assert_eq!(world.log().matches("SECURITY: a request of HTTP").count(), 1, "not for each of them");
}

/// The most memory that a server has ever had resident, bytes.
fn peak_bytes(client: &mut Client) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", client.info("process_id"))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// One pipeline, or one transaction, could make the server build gigabytes before it looked at the limit.
#[test]
fn the_hard_limit_of_the_output_holds_between_two_commands() {
    let world = World::new();
    let server = world.start(&["--client-output-buffer-limit", "normal 4mb 0 0"]);
    let mut client = server.client();
    client.ok(&format!("SET k {}", "x".repeat(MIB as usize)));
    let gets: Vec<u8> = (0..200).flat_map(|_| request(&[b"GET", b"k"])).collect();
    let (head, tail) = (request(&[b"MULTI"]), [request(&[b"INCR", b"n"]), request(&[b"EXEC"])].concat());
    let before = peak_bytes(&mut client);
    let mut greedy = server.client();
    greedy.send_bytes(&gets);
    assert!(greedy.is_closed());
    let gets_done = client.info("cmdstat_get");
    let gets_done: u64 = gets_done["calls=".len()..].split(',').next().unwrap().parse().unwrap();
    assert!(gets_done < 100, "{gets_done} of 200 were executed");
    let mut greedy = server.client();
    greedy.send_bytes(&[head, gets, tail].concat());
    assert!(greedy.is_closed());
    assert_eq!(client.ask("GET n"), "1", "a transaction is executed to its end");
    let grown = peak_bytes(&mut client) - before;
    assert!(grown < 64 * MIB, "{grown} bytes");
    assert_eq!(world.log().matches("overcoming of output buffer limits").count(), 2);
}

#[test]
fn who_stays_above_the_soft_limit_is_closed_although_nothing_more_is_sent() {
    let world = World::new();
    let server = world.start(&["--client-output-buffer-limit", "pubsub 0 1mb 1"]);
    let (mut stuck, mut teller) = (server.client(), server.client());
    stuck.ask("SUBSCRIBE c");
    assert_eq!(teller.ask(&format!("PUBLISH c {}", "x".repeat(32 * MIB as usize))), ":1");
    eventually("it has gone", || teller.ask("PUBSUB NUMSUB c") == "[c :0]");
}

#[test]
fn too_many_clients_are_turned_away() {
    let world = World::new();
    let server = world.start(&["--maxclients", "3"]);
    let mut first = server.client();
    eventually("whoever waited for the start has gone", || first.info("connected_clients") == "1");
    let mut others = [server.client(), server.client()];
    assert!(others.iter_mut().all(|client| client.ask("PING") == "PONG"));
    let mut refused = server.client();
    assert_eq!(refused.reply(), "-ERR max number of clients reached");
    assert!(refused.is_closed());
    drop(first);
    eventually("there is room again", || {
        let mut client = server.client();
        client.try_send_bytes(b"PING\r\n");
        client.try_reply().is_some_and(|reply| show(&reply) == "PONG")
    });
}

/// More than any system has descriptors for: clients would have taken those that the log needs.
#[test]
fn maxclients_leaves_descriptors_for_the_log() {
    let world = World::new();
    let server = world.start(&["--maxclients", "4294967295"]);
    let mut client = server.client();
    let limits = fs::read_to_string(format!("/proc/{}/limits", client.info("process_id"))).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let descriptors: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    let room = format!("[maxclients {}]", descriptors - 32);
    assert_eq!(client.ask("CONFIG GET maxclients"), room);
    assert!(world.log().contains("to compensate for low ulimit"));
    assert!(
        client.ask("CONFIG SET maxclients 4294967295").contains(
            "The operating system is not able to handle the specified number of clients, try with "
        )
    );
    assert_eq!(client.ask("CONFIG GET maxclients"), room);
}

#[test]
fn protected_mode_turns_strangers_away() {
    // An address of this machine that is not loopback; without one there is nothing to show.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("192.0.2.1:9").is_err() || socket.local_addr().unwrap().ip().is_loopback() {
        return;
    }
    let address = socket.local_addr().unwrap().ip();
    let world = World::new();
    let server = world.start(&["--bind", &format!("127.0.0.1 {address}")]);
    let mut stranger = Client::connect_to(address, server.port());
    let refusal = stranger.reply();
    assert!(refusal.starts_with("-DENIED ") && refusal.contains("protected mode"), "{refusal}");
    assert!(stranger.is_closed());
    server.client().ok("CONFIG SET requirepass secret");
    Client::connect_to(address, server.port()).ok("AUTH secret");
}

#[test]
fn big_values_pass_whole() {
    let (_world, server) = server();
    let mut client = server.client();
    let value: Vec<u8> = (0..64 * MIB as usize).map(|at| (at * 31 % 251) as u8).collect();
    assert_eq!(client.call(&[b"SET", b"big", &value]), Reply::Simple(b"OK".to_vec()));
    assert_eq!(server.client().ask("STRLEN big"), format!(":{}", value.len()));
    assert!(client.call(&[b"GET", b"big"]) == Reply::Bulk(value));
    assert_eq!(client.ask("DEL big"), ":1");
}

#[test]
fn memory_follows_what_was_received_and_not_what_was_announced() {
    let (_world, server) = server();
    let before = server.rss_bytes();
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send_bytes(b"*2\r\n$3\r\nGET\r\n$536870912\r\n");
    }
    let mut counts: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut counts {
        client.send_bytes(b"*1000000000\r\n$3\r\nDEL\r\n");
    }
    eventually("all has been read", || {
        let list = server.client().ask("CLIENT LIST");
        // The question itself is input, too.
        list.lines().filter(|line| !line.contains(" qbuf=0 ")).count() == 41
    });
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes");
}

#[test]
fn a_client_that_reads_nothing_can_be_killed() {
    let (_world, server) = server();
    let mut stuck = server.client();
    stuck.ok(&format!("SET k {}", "x".repeat(1_000_000)));
    let id = serial(&mut stuck);
    for _ in 0..50 {
        stuck.send("GET k");
    }
    let mut operator = server.client();
    eventually("replies have piled up", || {
        let line = operator.ask(&format!("CLIENT LIST ID {id}"));
        !line.contains(" omem=0 ") && line.contains(" cmd=get ")
    });
    assert_eq!(operator.ask(&format!("CLIENT KILL ID {id}")), ":1");
    eventually("it has gone", || operator.ask(&format!("CLIENT LIST ID {id}")).is_empty());
}

#[test]
fn idle_clients_are_closed_and_waiting_ones_are_not() {
    let world = World::new();
    let server = world.start(&["--hz", "100"]);
    let (mut idle, mut waiting, mut listening) = (server.client(), server.client(), server.client());
    assert_eq!(idle.ask("PING"), "PONG");
    waiting.send("BLPOP l 0");
    listening.ask("SUBSCRIBE c");
    blocked(&server, 1);
    server.client().ok("CONFIG SET timeout 1");
    assert!(idle.is_closed());
    let mut pusher = server.client();
    pusher.ask("RPUSH l x");
    assert_eq!(waiting.reply(), "[l x]");
    assert_eq!(pusher.ask("PUBLISH c x"), ":1");
    assert_eq!(listening.reply(), "[message c x]");
}

/// `timeout` is for those who are idle, not for those who read slowly what they have asked for.
#[test]
fn who_still_receives_a_reply_is_not_idle() {
    const PART: usize = 2 << 20;
    let world = World::new();
    let server = world.start(&["--hz", "100"]);
    let mut client = server.client();
    // More than the kernel takes off the server's hands at once.
    const VALUE: usize = 64 << 20;
    assert_eq!(client.ask(&format!("SETRANGE k {} x", VALUE - 1)), format!(":{VALUE}"));
    // Now: without optimization it takes about as long to make the value.
    client.ok("CONFIG SET timeout 1");
    client.send("GET k");
    let (start, mut received) = (Instant::now(), 0);
    while received < VALUE {
        std::thread::sleep(Duration::from_millis(100));
        received += client.receive(PART.min(VALUE - received));
    }
    assert!(start.elapsed() > Duration::from_secs(2));
}

#[test]
fn client_list_tells_what_a_client_takes() {
    let (_world, server) = server();
    let (mut client, mut other) = (server.client(), server.client());
    let id = serial(&mut other);
    let line = |client: &mut Client| client.ask(&format!("CLIENT LIST ID {id}"));
    let field = |line: &str, name: &str| -> u64 {
        let value = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("{name} in {line}")).parse().unwrap()
    };
    let before = line(&mut client);
    other.ok("MULTI");
    assert_eq!(other.ask(&format!("SET k {}", "x".repeat(100_000))), "QUEUED");
    let queued = line(&mut client);
    assert_eq!(field(&before, "multi-mem"), 0);
    assert!(field(&queued, "multi-mem") > 100_000, "{queued}");
    assert!(field(&queued, "tot-mem") > field(&before, "tot-mem") + 100_000, "{before}{queued}");
    other.ask("EXEC");
    other.send("BLPOP l 0");
    blocked(&server, 1);
    assert_eq!(field(&line(&mut client), "argv-mem"), "BLPOPl0".len() as u64);
    assert_eq!(client.ask("CLIENT LIST TYPE Abc"), "-ERR Unknown client type 'Abc'");
}
