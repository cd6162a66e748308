//! The story: whatever comes over the wire, from a wrong client, a port scanner or a browser, is answered as Redis
//! answers it or waited for. It is never the end of the server, nor of another client's connection.
//!
//! The bytes are those of the parser's fuzzer; `resp` holds what they mean to the parser, this is about the server
//! around it.

use std::fs;
use std::path::PathBuf;

use crate::harness::{PATIENCE, World, show};

fn corpus() -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../resp/fuzz/corpus/request");
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .expect("the corpus is committed")
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 24, "only {} files", files.len());
    files
}

#[test]
fn whatever_a_client_sends_the_others_are_served() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut witness = server.client();
    witness.ok("SET witness here");
    for (name, bytes) in corpus() {
        let mut client = server.client();
        client.send_bytes(&bytes);
        // What is complete is answered, what is not is forgotten with the connection.
        client.end_sending();
        while let Some(reply) = client.try_reply() {
            let text = show(&reply);
            if text.starts_with('-') {
                assert!(text.starts_with("-ERR "), "{name}: {text}");
            }
        }
        assert_eq!(witness.ask("GET witness"), "here", "after {name}");
    }
    let mut client = server.client();
    assert_eq!(client.ask("PING"), "PONG");
    drop((client, witness));
    assert!(server.terminate().success());
}

#[test]
fn whatever_a_client_sends_byte_by_byte_is_answered_the_same() {
    let world = World::new();
    let server = world.start(&[]);
    for (name, bytes) in corpus() {
        let answers = |pieces: Vec<&[u8]>| {
            let mut client = server.client();
            for piece in pieces {
                // The server may close after an error while more is being sent.
                if !client.try_send_bytes(piece) {
                    break;
                }
            }
            client.end_sending();
            let replies: Vec<String> =
                std::iter::from_fn(|| client.try_reply()).map(|reply| show(&reply)).collect();
            server.client().ok("FLUSHALL");
            replies
        };
        // A browser is turned away without what it was owed for the lines before.
        if bytes.len() > 4096 || name == "inline_http_get" {
            continue;
        }
        let whole = answers(vec![&bytes]);
        let pieces = answers(bytes.chunks(1).collect());
        // After a protocol error the rest of the bytes meets a closed socket, whose reset may overtake the error.
        if !pieces.is_empty() || whole.last().is_none_or(|last| !last.contains("Protocol error")) {
            assert_eq!(pieces, whole, "{name}");
        }
    }
}

#[test]
fn protocol_errors_have_the_words_of_redis_and_end_the_connection() {
    let world = World::new();
    let server = world.start(&[]);
    for (bytes, words) in [
        (&b"*abc\r\n"[..], "-ERR Protocol error: invalid multibulk length"),
        (b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"SET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request"),
    ] {
        let mut client = server.client();
        client.send_bytes(b"PING\r\n");
        client.send_bytes(bytes);
        assert_eq!(client.reply(), "PONG");
        assert_eq!(client.reply(), words);
        assert!(client.is_closed());
    }
    // No line end within 64 KiB.
    let mut client = server.client();
    client.try_send_bytes(&vec![b'x'; 70_000]);
    assert!(client.is_closed(), "within {PATIENCE:?}");
    assert_eq!(server.client().ask("PING"), "PONG");
}

#[test]
fn an_unauthenticated_client_may_announce_little() {
    let world = World::new();
    let server = world.start(&["--requirepass", "secret"]);
    let mut client = server.client();
    client.send_bytes(b"*11\r\n");
    assert_eq!(client.reply(), "-ERR Protocol error: unauthenticated multibulk length");
    assert!(client.is_closed());
    let mut client = server.client();
    client.send_bytes(b"*2\r\n$16385\r\n");
    assert_eq!(client.reply(), "-ERR Protocol error: unauthenticated bulk length");
    assert!(client.is_closed());
}
