//! SLOWLOG: the last commands that took longer than `slowlog-log-slower-than`, newest first, without their replies.

use std::collections::VecDeque;
use std::time::Duration;

/// Words of a request that are kept.
const MAX_WORDS: usize = 32;
/// Bytes of a word that are kept.
const MAX_WORD_BYTES: usize = 128;

/// The slow log.
#[derive(Debug, Default)]
pub struct Slowlog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// A slow command.
#[derive(Debug)]
pub struct Entry {
    /// Never used again, not even after SLOWLOG RESET.
    pub id: u64,
    /// When it ended, seconds since 1970.
    pub unix_s: i64,
    /// How long it took.
    pub took: Duration,
    /// The request, trimmed.
    pub words: Vec<Vec<u8>>,
    /// The client's address.
    pub peer: String,
    /// The client's name.
    pub name: Vec<u8>,
}

impl Slowlog {
    /// Enters a command; the oldest entries beyond `max_len` go.
    pub fn push(
        &mut self,
        unix_s: i64,
        took: Duration,
        argv: &[&[u8]],
        peer: String,
        name: &[u8],
        max_len: u64,
    ) {
        let id = self.next_id;
        self.next_id += 1;
        let entry = Entry { id, unix_s, took, words: trimmed(argv), peer, name: name.to_vec() };
        self.entries.push_front(entry);
        self.entries.truncate(usize::try_from(max_len).unwrap_or(usize::MAX));
    }

    /// The entries, newest first.
    pub fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// SLOWLOG RESET.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// The first words of a request, each cut. Source: redis 7.2 `src/slowlog.c` `slowlogCreateEntry`.
fn trimmed(argv: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if argv.len() > MAX_WORDS { MAX_WORDS - 1 } else { argv.len() };
    let mut words: Vec<Vec<u8>> = argv.iter().take(kept).map(|word| cut(word)).collect();
    if kept < argv.len() {
        words.push(format!("... ({} more arguments)", argv.len() - kept).into_bytes());
    }
    words
}

fn cut(word: &[u8]) -> Vec<u8> {
    match word.split_at_checked(MAX_WORD_BYTES) {
        Some((kept, rest)) if !rest.is_empty() => {
            [kept, format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
        }
        _ => word.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_and_long_words_are_cut() {
        let words: Vec<&[u8]> = vec![b"a"; 33];
        assert_eq!(trimmed(&words[..32]).len(), 32);
        assert_eq!(trimmed(&words[..32])[31], b"a");
        assert_eq!(trimmed(&words).len(), 32);
        assert_eq!(trimmed(&words)[31], b"... (2 more arguments)");
        let long = [b'x'; 130];
        assert_eq!(cut(&long[..128]), &long[..128]);
        assert_eq!(cut(&long), [&long[..128], b"... (2 more bytes)"].concat());
    }

    #[test]
    fn the_oldest_entries_go_and_numbers_go_on() {
        let mut log = Slowlog::default();
        for _ in 0..5 {
            log.push(0, Duration::ZERO, &[b"PING"], String::new(), b"", 2);
        }
        let ids = |log: &Slowlog| log.entries().iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(&log), [4, 3]);
        log.clear();
        log.push(0, Duration::ZERO, &[b"PING"], String::new(), b"", 2);
        assert_eq!(ids(&log), [5]);
        log.push(0, Duration::ZERO, &[b"PING"], String::new(), b"", 0);
        assert!(ids(&log).is_empty());
    }
}
