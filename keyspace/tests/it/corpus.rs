//! The fuzzers' corpus, replayed without a fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in dir.read_dir().expect("the corpus is committed") {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let kept = catch_unwind(AssertUnwindSafe(|| run(&bytes)));
        assert!(kept.is_ok(), "{}", path.display());
        files += 1;
    }
    assert!(files > 0, "nothing in {}", dir.display());
}

#[test]
fn rdb_files_of_the_corpus_keep_their_promises() {
    replay("rdb_file", |bytes| keyspace::fuzz::rdb_file(bytes, |_| {}));
}

#[test]
fn payloads_of_the_corpus_keep_their_promises() {
    replay("restore", |bytes| keyspace::fuzz::restore(bytes, |_| {}));
}
