//! Replies: each type in both protocols, in pieces, wrong.

use bytes::BytesMut;
use proptest::prelude::*;
use resp::{Decoder, Encoder, ProtocolErrorKind, Reply, Version, reply::MAX_DEPTH};

fn encode(reply: &Reply, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    reply.encode(&mut Encoder::new(&mut out, version));
    out
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.into())
}

/// The RESP2 column is what redis-server sends to a client that has not said `HELLO 3`.
#[test]
fn each_type_has_its_bytes_in_both_protocols() {
    let pairs = || vec![(bulk("k"), Reply::Integer(1))];
    for (reply, resp2, resp3) in [
        (Reply::Simple("OK".into()), "+OK\r\n", "+OK\r\n"),
        (Reply::Error("ERR x".into()), "-ERR x\r\n", "-ERR x\r\n"),
        (Reply::Integer(-7), ":-7\r\n", ":-7\r\n"),
        (bulk("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
        (Reply::Null, "$-1\r\n", "_\r\n"),
        (Reply::NullArray, "*-1\r\n", "_\r\n"),
        (Reply::Array(vec![bulk("a"), Reply::Null]), "*2\r\n$1\r\na\r\n$-1\r\n", "*2\r\n$1\r\na\r\n_\r\n"),
        (Reply::Map(pairs()), "*2\r\n$1\r\nk\r\n:1\r\n", "%1\r\n$1\r\nk\r\n:1\r\n"),
        (Reply::Set(vec![Reply::Integer(1)]), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
        (Reply::Push(vec![Reply::Integer(1)]), "*1\r\n:1\r\n", ">1\r\n:1\r\n"),
        (Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
        (Reply::Double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
        (Reply::Boolean(true), ":1\r\n", "#t\r\n"),
        (Reply::Boolean(false), ":0\r\n", "#f\r\n"),
        (Reply::BigNumber("-12".into()), "$3\r\n-12\r\n", "(-12\r\n"),
        (Reply::Verbatim { format: *b"txt", text: "a".into() }, "$1\r\na\r\n", "=5\r\ntxt:a\r\n"),
        (Reply::BulkError("ERR\r\nx".into()), "-ERR  x\r\n", "!6\r\nERR\r\nx\r\n"),
        (
            Reply::Attributed { attributes: pairs(), reply: Box::new(Reply::Integer(2)) },
            ":2\r\n",
            "|1\r\n$1\r\nk\r\n:1\r\n:2\r\n",
        ),
    ] {
        assert_eq!(encode(&reply, Version::Resp2), resp2, "{reply:?}");
        assert_eq!(encode(&reply, Version::Resp3), resp3, "{reply:?}");
    }
}

#[test]
fn resp2_tells_two_nulls_apart() {
    assert_eq!(Reply::decode(b"$-1\r\n"), Ok(Some((Reply::Null, 5))));
    assert_eq!(Reply::decode(b"*-1\r\n"), Ok(Some((Reply::NullArray, 5))));
}

#[test]
fn numbers_and_lengths_have_all_their_digits() {
    for value in [i64::MIN, -10, -1, 0, 1, 9, 10, 11, 99, 100, 101, 1000, i64::MAX] {
        let mut out = BytesMut::new();
        Encoder::new(&mut out, Version::Resp2).integer(value);
        assert_eq!(out, format!(":{value}\r\n"));
    }
    for len in [0, 9, 10, 11, 99, 100, 101, 1000] {
        let text = "x".repeat(len);
        let mut out = BytesMut::new();
        Encoder::new(&mut out, Version::Resp2).bulk(text.as_bytes());
        assert_eq!(out, format!("${len}\r\n{text}\r\n"));
        out.clear();
        resp::request::encode(&[text.as_bytes()], &mut out);
        assert_eq!(out, format!("*1\r\n${len}\r\n{text}\r\n"));
    }
}

#[test]
fn a_bulk_in_pieces_is_a_bulk() {
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new(&mut out, Version::Resp2);
    encoder.bulk_pieces(5, [&b"ab"[..], b"", b"cde"].into_iter());
    encoder.bulk_pieces(0, std::iter::empty());
    assert_eq!(&out[..], b"$5\r\nabcde\r\n$0\r\n\r\n");
}

#[test]
fn a_counted_array_gets_its_head_afterwards() {
    let mut out = BytesMut::from(&b"+OK\r\n"[..]);
    Encoder::new(&mut out, Version::Resp2).counted_array(|out| {
        (0..12).for_each(|value| out.integer(value));
        out.counted_array(|_| 0);
        13
    });
    assert!(out.starts_with(b"+OK\r\n*13\r\n:0\r\n:1\r\n") && out.ends_with(b":11\r\n*0\r\n"), "{out:?}");
}

#[test]
fn line_ends_cannot_be_smuggled_into_a_line() {
    let mut out = BytesMut::new();
    Encoder::new(&mut out, Version::Resp3).error("ERR a\r\n+OK");
    Encoder::new(&mut out, Version::Resp3).simple("a\nb");
    assert_eq!(&out[..], b"-ERR a  +OK\r\n+a b\r\n");
}

#[test]
fn wrong_replies_are_refused_where_they_are_wrong() {
    use ProtocolErrorKind::{ExpectedCrlf, InvalidReply};
    for (stream, offset_bytes, kind) in [
        (&b"@1\r\n"[..], 0, InvalidReply),
        (b"\r\n", 0, InvalidReply),
        (b"x", 0, InvalidReply),
        (b":1a\r\n", 0, InvalidReply),
        (b":9223372036854775808\r\n", 0, InvalidReply),
        (b"$-2\r\n", 0, InvalidReply),
        (b"$?\r\n", 0, InvalidReply),
        (b"*-2\r\n", 0, InvalidReply),
        (b"*?\r\n", 0, InvalidReply),
        (b">-1\r\n", 0, InvalidReply),
        (b"_x\r\n", 0, InvalidReply),
        (b"#x\r\n", 0, InvalidReply),
        (b",\r\n", 0, InvalidReply),
        (b",1e999\r\n", 0, InvalidReply),
        (b"(12a\r\n", 0, InvalidReply),
        (b"(-\r\n", 0, InvalidReply),
        (b"=3\r\ntxt\r\n", 0, InvalidReply),
        (b"=4\r\ntxtx\r\n", 0, InvalidReply),
        (b"*2\r\n:1\r\n:x\r\n", 8, InvalidReply),
        (b"+OK\n", 3, ExpectedCrlf),
        (b"+a\rb\r\n", 2, ExpectedCrlf),
        (b"$2\r\nabcd", 6, ExpectedCrlf),
    ] {
        let error = Reply::decode(stream).expect_err(&String::from_utf8_lossy(stream));
        assert_eq!(
            (error.offset_bytes, error.kind),
            (offset_bytes, kind),
            "{:?}",
            String::from_utf8_lossy(stream)
        );
    }
}

#[test]
fn a_number_s_line_must_end_but_a_text_s_may_be_long() {
    let long = |kind: &str| format!("{kind}{}", "1".repeat(70_000)).into_bytes();
    assert!(Reply::decode(&long(":")).is_err());
    assert_eq!(Reply::decode(&long("-")), Ok(None));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    let (mut reply, len_bytes) = Reply::decode(&nested(MAX_DEPTH)).unwrap().expect("whole");
    assert_eq!(len_bytes, nested(MAX_DEPTH).len());
    let mut depth = 0;
    while let Reply::Array(mut members) = reply {
        reply = members.remove(0);
        depth += 1;
    }
    assert_eq!(depth, MAX_DEPTH);
    let error = Reply::decode(&nested(MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(error.kind, ProtocolErrorKind::TooDeep);
}

#[test]
fn claims_are_waited_for_without_room_being_made() {
    for kind in ["*", "%", "~", ">", "|", "$", "=", "!"] {
        assert_eq!(Reply::decode(format!("{kind}9223372036854775807\r\n").as_bytes()), Ok(None));
    }
    assert_eq!(Reply::decode(&b"*9223372036854775807\r\n".repeat(MAX_DEPTH)), Ok(None));
}

/// Lets a stream arrive in pieces and collects its replies.
fn decode(stream: &[u8], piece_bytes: usize) -> Vec<Reply> {
    let (mut decoder, mut buf, mut replies) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece_bytes) {
        buf.extend_from_slice(piece);
        while let Some((reply, len_bytes)) = decoder.decode(&buf).unwrap() {
            replies.push(reply);
            buf.drain(..len_bytes);
        }
    }
    assert!(buf.is_empty() && decoder.is_idle());
    replies
}

fn leaf() -> impl Strategy<Value = Reply> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let text = || "[ -~]{0,40}".prop_map(String::into_bytes);
    prop_oneof![
        text().prop_map(Reply::Simple),
        text().prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        Just(Reply::Null),
        any::<f64>().prop_filter("equal to itself", |value| !value.is_nan()).prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        "-?[0-9]{1,40}".prop_map(|digits| Reply::BigNumber(digits.into_bytes())),
        (any::<[u8; 3]>(), bytes()).prop_map(|(format, text)| Reply::Verbatim { format, text }),
        bytes().prop_map(Reply::BulkError),
    ]
}

fn any_reply() -> impl Strategy<Value = Reply> {
    leaf().prop_recursive(5, 40, 6, |inner| {
        let members = || prop::collection::vec(inner.clone(), 0..6);
        let pairs = || prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            members().prop_map(Reply::Array),
            members().prop_map(Reply::Set),
            members().prop_map(Reply::Push),
            pairs().prop_map(Reply::Map),
            (pairs(), inner.clone())
                .prop_map(|(attributes, reply)| Reply::Attributed { attributes, reply: Box::new(reply) }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_again(replies in prop::collection::vec(any_reply(), 1..4), piece_bytes in 1usize..50) {
        let mut stream = BytesMut::new();
        for reply in &replies {
            reply.encode(&mut Encoder::new(&mut stream, Version::Resp3));
        }
        prop_assert_eq!(decode(&stream, piece_bytes), replies);
    }

    #[test]
    fn resp2_text_of_any_reply_is_a_reply(reply in any_reply()) {
        let stream = encode(&reply, Version::Resp2);
        prop_assert_eq!(decode(&stream, stream.len()).len(), 1);
    }

    #[test]
    fn no_bytes_break_the_decoder(stream in prop::collection::vec(prop::sample::select(&b"+-:_#,($=!*%~>|-0123tf.ex\r\n\r\n"[..]), 0..60)) {
        resp::fuzz::reply(&stream);
    }
}
