//! Requests: whole, in pieces, wrong.

use bytes::BytesMut;
use proptest::prelude::*;
use resp::{Encoder, Limits, Parser, Version, request};

const DEFAULT: Limits = Limits { max_bulk_bytes: 512 * 1024 * 1024, authenticated: true, check_crlf: false };
const STRICT: Limits = Limits { check_crlf: true, ..DEFAULT };
const STRANGER: Limits = Limits { authenticated: false, ..DEFAULT };

type Requests = Vec<Vec<Vec<u8>>>;

/// Parses a stream that arrives in the given pieces; the error as the client would read it.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> (Requests, Option<Vec<u8>>) {
    let (mut parser, mut buf, mut requests) = (Parser::default(), Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.parse(&buf, limits) {
                Ok(None) => break,
                Ok(Some(len_bytes)) => {
                    requests.push(parser.argv(&buf).iter().map(|arg| arg.to_vec()).collect());
                    buf.drain(..len_bytes);
                }
                Err(error) => {
                    let mut out = BytesMut::new();
                    Encoder::new(&mut out, Version::Resp2).protocol_error(&error);
                    return (requests, Some(out.to_vec()));
                }
            }
        }
    }
    (requests, None)
}

/// What a table's row expects: the argument vectors and, if the stream goes wrong, the error line.
fn check(limits: &Limits, stream: &[u8], expected: &[&[&[u8]]], error: &str) {
    let (requests, sent) = parse([stream], limits);
    let shown = String::from_utf8_lossy(&stream[..stream.len().min(60)]);
    assert_eq!(requests, expected, "{shown:?}");
    let sent = sent.map(|line| String::from_utf8_lossy(&line).into_owned()).unwrap_or_default();
    let error = if error.is_empty() { String::new() } else { format!("-ERR Protocol error: {error}\r\n") };
    assert_eq!(sent, error, "{shown:?}");
}

/// Each row was sent to redis-server 7.0.15, which answered so and closed the connection.
#[test]
fn wrong_requests_are_refused_in_the_words_of_redis() {
    for (stream, error) in [
        (&b"*\r\n"[..], "invalid multibulk length"),
        (b"*a\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"* 1\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*-9223372036854775809\r\n", "invalid multibulk length"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n:4\r\n", "expected '$', got ':'"),
        (b"*1\r\nabc\rx", "expected '$', got 'a'"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$a\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"ECHO \"a\"b\r\n", "unbalanced quotes in request"),
        (b"ECHO \"a\r\n", "unbalanced quotes in request"),
        (b"ECHO \"a\\\"\r\n", "unbalanced quotes in request"),
        (b"ECHO \"ab\\\n", "unbalanced quotes in request"),
    ] {
        check(&DEFAULT, stream, &[], error);
    }
}

#[test]
fn an_unexpected_byte_is_quoted_as_it_is() {
    let (_, sent) = parse([&b"*1\r\n\xff\r\n"[..]], &DEFAULT);
    assert_eq!(sent.as_deref(), Some(&b"-ERR Protocol error: expected '$', got '\xff'\r\n"[..]));
}

#[test]
fn lines_may_wait_for_their_end_for_64_kib() {
    for (head, error) in [
        ("x", "too big inline request"),
        ("x\0\r\n", "too big inline request"),
        ("*", "too big mbulk count string"),
        ("*1\r\n$", "too big bulk count string"),
        ("*1\r\nx", "too big bulk count string"),
    ] {
        let line = head.rfind(['*', '$', 'x']).unwrap_or(0).min(if head.contains('\0') { 0 } else { 9 });
        let mut stream = head.as_bytes().to_vec();
        stream.resize(line + request::MAX_LINE_BYTES, b'1');
        check(&DEFAULT, &stream, &[], "");
        stream.push(b'1');
        check(&DEFAULT, &stream, &[], error);
        if !head.starts_with('x') {
            stream.extend_from_slice(b"\r\n");
            check(&DEFAULT, &stream, &[], error);
        }
    }
}

#[test]
fn a_stranger_may_claim_little() {
    check(&STRANGER, b"*10\r\n", &[], "");
    check(&STRANGER, b"*11\r\n", &[], "unauthenticated multibulk length");
    check(&STRANGER, b"*1\r\n$16384\r\n", &[], "");
    check(&STRANGER, b"*1\r\n$16385\r\n", &[], "unauthenticated bulk length");
    check(&STRANGER, b"*2147483648\r\n", &[], "invalid multibulk length");
}

#[test]
fn a_configured_bulk_limit_holds_for_short_arguments_too() {
    let limits = Limits { max_bulk_bytes: 3, ..DEFAULT };
    check(&limits, b"*1\r\n$3\r\nGET\r\n*1\r\n$4\r\nPING\r\n", &[&[b"GET"]], "invalid bulk length");
}

#[test]
fn odd_requests_mean_what_redis_takes_them_for() {
    let ping: &[&[u8]] = &[b"PING"];
    for (stream, expected) in [
        (&b"*-1\r\n*1\r\n$4\r\nPING\r\n"[..], &[&[], ping][..]),
        (b"*0\r\n*1\r\n$4\r\nPING\r\n", &[&[], ping]),
        (b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", &[ping, ping]),
        (b"*1\rX$4\rYPING\r\n", &[ping]),
        (b"*1\n$4\nPING\n", &[]),
        (b"\r\n\nPING\r\n", &[&[], &[], ping]),
        (b"PING\r\r\n", &[ping]),
        (b"  PING  \r\n", &[ping]),
        (b"PING\0\r\nPING\r\n", &[]),
        (b"ECHO \"a\\x41\\n\"\r\n", &[&[b"ECHO", b"aA\n"]]),
        (b"ECHO \"\\x4\"\r\n", &[&[b"ECHO", b"x4"]]),
        (b"ECHO a\"b c\"\r\n", &[&[b"ECHO", b"ab c"]]),
        (b"ECHO 'a\\'b'\r\n", &[&[b"ECHO", b"a'b"]]),
        (b"ECHO \"a\"\x0b\r\n", &[&[b"ECHO", b"a"]]),
        (b"\"\" x\r\n", &[&[b"", b"x"]]),
    ] {
        check(&DEFAULT, stream, expected, "");
    }
}

#[test]
fn a_log_s_reader_takes_no_line_end_on_trust() {
    for stream in [&b"*1\rX$4\r\nPING\r\n"[..], b"*1\r\n$4\rXPING\r\n", b"*1\r\n$4\r\nPINGxx"] {
        check(&STRICT, stream, &[], "invalid CRLF in request");
    }
}

#[test]
fn an_error_tells_where_it_is() {
    let error = Parser::default().parse(b"*2\r\n$3\r\nGET\r\n:3\r\n", &DEFAULT).unwrap_err();
    assert_eq!(error.offset_bytes, 13);
}

#[test]
fn a_stream_split_at_any_byte_is_the_same_stream() {
    let mut stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello\r\nworld\r\n".to_vec();
    stream.extend_from_slice(b"PING\r\n*0\r\n\r\nSET k \"a b\"\n*12\r\n");
    for len in [0, 1, 9, 10, 99, 100, 999, 1000, 1001, 2, 3, 4] {
        stream.extend_from_slice(format!("${len}\r\n{}\r\n", "\r".repeat(len)).as_bytes());
    }
    stream.extend_from_slice(b"*1\r\n$4\r\nQUIT\r\n*x\r\n");
    let whole = parse([&stream[..]], &DEFAULT);
    assert_eq!((whole.0.len(), whole.1.is_some()), (7, true));
    for at in 0..=stream.len() {
        assert_eq!(parse([&stream[..at], &stream[at..]], &DEFAULT), whole, "split at {at}");
    }
    assert_eq!(parse(stream.chunks(1), &DEFAULT), whole);
}

#[test]
fn missing_bytes_are_counted_to_the_argument_s_end() {
    let mut parser = Parser::default();
    for (buf, missing, idle) in [
        (&b""[..], 0, true),
        (b"*1\r\n", 0, false),
        (b"*1\r\n$5000\r\n", 5002, false),
        (b"*1\r\n$5000\r\nabc", 4999, false),
        // Less than before: nothing is known to be there.
        (b"*1", 5002, false),
    ] {
        assert_eq!(parser.parse(buf, &DEFAULT), Ok(None));
        assert_eq!((parser.missing_bytes(buf), parser.is_idle()), (missing, idle), "{buf:?}");
    }
}

#[test]
fn the_largest_claims_cost_nothing_and_overflow_nothing() {
    let limits = Limits { max_bulk_bytes: i64::MAX, ..DEFAULT };
    let mut parser = Parser::default();
    let buf = b"*2147483647\r\n$1\r\na\r\n$9223372036854775807\r\nabc";
    assert_eq!(parser.parse(buf, &limits), Ok(None));
    assert_eq!(parser.missing_bytes(buf), i64::MAX as usize - 1);
}

#[test]
fn a_shrunk_parser_goes_on() {
    let mut parser = Parser::default();
    let mut stream = BytesMut::new();
    request::encode(&vec![&b"a"[..]; 5000], &mut stream);
    for _ in 0..3 {
        assert_eq!(parser.parse(&stream, &DEFAULT), Ok(Some(stream.len())));
        assert_eq!(parser.argv(&stream).len(), 5000);
        parser.shrink();
        // In the middle of a request it takes nothing away.
        assert_eq!(parser.parse(&stream[..100], &DEFAULT), Ok(None));
        parser.shrink();
        assert_eq!(parser.parse(&stream, &DEFAULT), Ok(Some(stream.len())));
        assert_eq!(parser.argv(&stream).len(), 5000);
    }
}

fn argv() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 1..14)
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed_again(requests in prop::collection::vec(argv(), 1..5), piece_bytes in 1usize..4000) {
        let mut stream = BytesMut::new();
        for argv in &requests {
            request::encode(&argv.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut stream);
        }
        prop_assert_eq!(parse(stream.chunks(piece_bytes), &STRICT), (requests, None));
    }

    #[test]
    fn no_bytes_break_the_parser(stream in prop::collection::vec(prop::sample::select(&b"*$-01239\r\n \"'\\x\0aP"[..]), 0..60)) {
        resp::fuzz::request(&stream);
    }
}
