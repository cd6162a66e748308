//! Reading, refusing and writing manifests.

use super::*;
use crate::error::ManifestErrorKind as Kind;

const SAMPLE: &[u8] = b"file appendonly.aof.2.base.rdb seq 2 type b\n\
    file appendonly.aof.1.base.rdb seq 1 type h\n\
    file appendonly.aof.4.incr.aof seq 4 type i\n\
    file appendonly.aof.5.incr.aof seq 5 type i\n";

fn parse(text: &[u8]) -> Result<Manifest, (u32, Kind)> {
    Manifest::parse(text)
}

#[test]
fn what_redis_writes_is_written_back_byte_for_byte() {
    let manifest = parse(SAMPLE).unwrap();
    assert_eq!(manifest.format(), SAMPLE);
    assert_eq!(manifest.replayed().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 4, 5]);
}

#[test]
fn comments_cases_orders_and_unknown_keys_are_read() {
    let text =
        b"# made by hand\nTYPE incremental SEQ 7 startoffset 12 FILE \"a b.7.incr.aof\" endoffset 90\n";
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.incrs, [Entry { name: "a b.7.incr.aof".to_owned(), seq: 7 }]);
    assert_eq!(manifest.format(), b"file \"a b.7.incr.aof\" seq 7 type i\n", "what Redis drops is dropped");
}

#[test]
fn each_refusal_names_its_line() {
    let good = "file a.1.incr.aof seq 1 type i\n";
    let cases: &[(String, u32, Kind)] = &[
        (String::new(), 0, Kind::Empty),
        (format!("{good}\n"), 2, Kind::Format),
        (format!("{good}   \n"), 2, Kind::Format),
        ("file a seq 1 type\n".into(), 1, Kind::Format),
        ("file a seq 1\n".into(), 1, Kind::Format),
        ("file a seq 1 typo i\n".into(), 1, Kind::Format),
        ("file a seq 0 type i\n".into(), 1, Kind::Format),
        ("file a seq -1 type i\n".into(), 1, Kind::Format),
        ("file a seq 99999999999999999999 type i\n".into(), 1, Kind::Format),
        ("file \"a seq 1 type i\n".into(), 1, Kind::Format),
        ("file d/a seq 1 type i\n".into(), 1, Kind::NotABaseName),
        ("file .. seq 1 type i\n".into(), 1, Kind::NotABaseName),
        ("file a seq 1 type x\n".into(), 1, Kind::UnknownType),
        ("file a seq 1 type b\nfile b seq 2 type b\n".into(), 2, Kind::DuplicateBase),
        (format!("{good}{good}"), 2, Kind::NonMonotonic),
        ("file a seq 1 type i".into(), 1, Kind::LineTooLong),
        (format!("file {} seq 1 type i\n", "x".repeat(1024)), 1, Kind::LineTooLong),
    ];
    for (text, line, kind) in cases {
        assert_eq!(parse(text.as_bytes()), Err((*line, *kind)), "{text:?}");
    }
}

#[test]
fn a_line_of_1024_bytes_is_the_longest() {
    let tail = " seq 1 type i\n";
    let line = |len: usize| format!("file {}{tail}", "x".repeat(len - tail.len() - 5));
    assert_eq!(line(1024).len(), 1024);
    assert!(parse(line(1024).as_bytes()).is_ok());
    assert_eq!(parse(line(1025).as_bytes()), Err((1, Kind::LineTooLong)));
}

#[test]
fn any_name_survives_its_quoting() {
    for name in ["plain", "two words", "q\"uote", "it's", "back\tslash", "é", "\u{7}\u{8}\u{1}"] {
        let manifest =
            Manifest { base: Some(Entry { name: name.to_owned(), seq: 1 }), ..Manifest::default() };
        assert_eq!(parse(&manifest.format()), Ok(manifest), "{name:?}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"file ".as_slice(), &bytes, b"\n"].concat());
    }
}
