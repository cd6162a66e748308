//! The data commands through the public API: a line of words in, the reply's bytes and the effects out.

mod allocations;
mod bitmap;
mod chunked;
mod corpus;
mod damage;
mod digest;
mod dump;
mod effects;
mod evict;
mod fixtures;
mod garbage;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod rdb;
mod replay;
mod room;
mod set;
mod sort;
mod stream;
mod string;
mod table;
mod zset;

use bytes::BytesMut;
use keyspace::{Call, Keyspace, Unit};
use resp::{Encoder, Version};

/// 2023-11-14; a session's clock stands still until a test moves it.
const START_MS: i64 = 1_700_000_000_000;

/// A variable that holds a number.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `EVERLOG_SOAK`: how many times as much is tried by chance as in ci.
fn soak() -> u64 {
    number("EVERLOG_SOAK").unwrap_or(1)
}

/// A client of a keyspace of its own.
struct Session {
    keyspace: Keyspace,
    /// What SELECT would set.
    db: usize,
    now_ms: i64,
    /// RESP2 until a test says otherwise.
    version: Version,
    may_block: bool,
    /// CLIENT NO-TOUCH.
    no_touch: bool,
    /// What the last command left behind.
    unit: Unit,
}

impl Session {
    fn new() -> Self {
        let mut keyspace = Keyspace::new(16, 42);
        keyspace.has_listeners = true;
        keyspace.has_blocked = true;
        Session {
            keyspace,
            db: 0,
            now_ms: START_MS,
            version: Version::Resp2,
            may_block: false,
            no_touch: false,
            unit: Unit::default(),
        }
    }

    fn resp3() -> Self {
        Session { version: Version::Resp3, ..Session::new() }
    }

    /// Executes a line, split into [`words`]; returns the reply as text.
    fn run(&mut self, line: &str) -> String {
        let words = words(line);
        let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        String::from_utf8_lossy(&self.run_argv(&argv)).into_owned()
    }

    /// Executes a request; returns the reply.
    fn run_argv(&mut self, argv: &[&[u8]]) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.unit.clear();
        let Session { db, now_ms, may_block, no_touch, .. } = *self;
        let call = Call { may_block, no_touch, ..Call::new(db, now_ms, argv) };
        self.keyspace.execute(&call, &mut Encoder::new(&mut out, self.version), &mut self.unit);
        out.to_vec()
    }

    /// Executes lines, each with the reply that it must have.
    #[track_caller]
    fn check(&mut self, table: &[(&str, &str)]) {
        for (line, reply) in table {
            assert_eq!(self.run(line), *reply, "{line}");
        }
    }

    /// Executes lines, each with the effects that it must have, as [`effects`](Self::effects) prints them.
    #[track_caller]
    fn check_effects(&mut self, table: &[(&str, &[&str])]) {
        for (line, effects) in table {
            self.run(line);
            assert_eq!(self.effects(), *effects, "{line}");
        }
    }

    /// The last command's effects: words with blanks between; `@1 ` in front for another database than the session's.
    fn effects(&self) -> Vec<String> {
        let print = |(db, request): (usize, &[u8])| {
            let mut parser = resp::Parser::default();
            let len = parser.parse(request, &resp::Limits::default()).unwrap();
            assert_eq!(len, Some(request.len()), "an effect is one whole request");
            let words: Vec<_> =
                parser.argv(request).iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let at = if db == self.db { String::new() } else { format!("@{db} ") };
            at + &words.join(" ")
        };
        self.unit.ops().map(print).collect()
    }

    /// The last command's keyspace events, as `event key`, but for those of class `m` and `n`.
    fn events(&self) -> Vec<String> {
        self.events_where(|class| !"mn".contains(class))
    }

    /// Those of some classes.
    fn events_where(&self, wanted: impl Fn(char) -> bool) -> Vec<String> {
        let print =
            |event: &keyspace::KeyEvent| format!("{} {}", event.name, String::from_utf8_lossy(&event.key));
        self.unit.events.iter().filter(|event| wanted(event.class)).map(print).collect()
    }
}

/// Splits a line at blanks; `"..."` is one word, may be empty, and knows `\n \r \t \\ \" \xHH`.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.bytes().peekable();
    while let Some(byte) = rest.next() {
        let mut word = Vec::new();
        match byte {
            b' ' => continue,
            b'"' => {
                while let Some(byte) = rest.next().filter(|&byte| byte != b'"') {
                    word.push(if byte == b'\\' { escaped(&mut rest) } else { byte });
                }
            }
            _ => {
                word.push(byte);
                while let Some(byte) = rest.next_if(|&byte| byte != b' ') {
                    word.push(byte);
                }
            }
        }
        words.push(word);
    }
    words
}

fn escaped(rest: &mut impl Iterator<Item = u8>) -> u8 {
    let mut next = || rest.next().expect("an escape goes on");
    match next() {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'x' => {
            let mut hex = || char::from(next()).to_digit(16).expect("a hex digit") as u8;
            hex() << 4 | hex()
        }
        byte => byte,
    }
}
