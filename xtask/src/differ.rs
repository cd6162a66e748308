//! `cargo xtask differ [GROUP...] [--seed N] [--commands N]`: random commands to our server and to another, their replies
//! compared byte for byte, in RESP2 and RESP3 by turns, and in the end all that they hold and have logged.
//!
//! A template is a request. In it
//!
//! ```text
//! K key   E element   V one of fewer   I small integer   N any integer   F float   B bit   T integer type
//! S score   R bound of scores   L bound of members   LON LAT coordinates   M place   U unit   D distance
//! NEW an ID that mostly is greater than those before   OLD one that was NEW lately   ID any small one
//! G group   C consumer   ^K ^G ^C the last one again   A|B|C one of these   [X Y] perhaps   ; another request
//! ```
//! stand for words by chance; where a template begins with `~` the reply's order is nobody's promise, where it begins with
//! `@` its times are not. Where Everlog follows Redis 7.2 and 7.0 or Valkey 9 differ, the templates stay clear of it:
//! [differences.md](../../compat/differences.md) lists them. Groups of collections are asked twice: with the limits between
//! encodings as they are, and with such that a few elements pass. What a request makes known as keyspace events is
//! compared, too. In the groups `refused` a word of each second request is another one, missing, too many, or in another
//! place: what is refused there, and why, depends on the order in which a command looks at keys and words.
//! Three groups are something else: `commands` is what COMMAND says, `docs` what COMMAND DOCS says, `encodings` what OBJECT
//! ENCODING says of collections by chance.

mod commands;
mod docs;
mod effects;
mod encodings;
mod templates;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::args::Args;
use crate::server::{Party, Server, free_port, redis_and_valkey};
use crate::{client, dataset, workers, workspace};
use templates::{GROUPS, Group};

/// What is compared by other means than templates.
type Special = fn(&Path, &Path, &mut Chance) -> Result<()>;
const SPECIAL: &[(&str, Special)] =
    &[("commands", commands::compare), ("docs", docs::compare), ("encodings", encodings::compare)];

/// In ci.
pub(crate) const COMMANDS: u64 = 15_000;

/// `cargo xtask differ`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let ours = workspace::server_under_test(args)?;
    let commands = args.number("--commands")?.unwrap_or(COMMANDS);
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = args.number("--seed")?.map_or_else(|| Ok(clock()?.as_secs()), anyhow::Ok)?;
    let wanted = args.words()?;
    let names = || SPECIAL.iter().map(|part| part.0).chain(GROUPS.iter().map(|group| group.name));
    for name in &wanted {
        ensure!(names().any(|known| known == name), "no group {name:?}");
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|each| each == name);
    let dir = workspace::cache_dir("differ")?;
    let context = |name: &str, peer: &str| format!("{name}, {peer}, --seed {seed}");
    for (name, special) in SPECIAL.iter().filter(|part| is_wanted(part.0)) {
        special(&ours, &dir, &mut Chance::new(seed)).with_context(|| context(name, "all"))?;
    }
    let peers = redis_and_valkey()?;
    let mut jobs = Vec::new();
    for group in GROUPS.iter().filter(|group| is_wanted(group.name)) {
        for peer in peers.iter().filter(|peer| group.peers.contains(&peer.name)) {
            let limits = LIMITS.iter().filter(|limits| !limits.tight || group.collections);
            jobs.extend(limits.map(|limits| Job { group, peer, limits }));
        }
    }
    let workers = thread::available_parallelism()?.get();
    workers::share(&jobs, workers, |_, job| {
        let logged =
            job.run(&ours, &dir, seed, commands).with_context(|| context(&job.name(), job.peer.name))?;
        let replies = commands / job.limits.share;
        println!("{}: {replies} replies{logged} are {}'s (--seed {seed})", job.name(), job.peer.name);
        Ok(())
    })
}

/// A group of templates for one of the other servers.
struct Job<'a> {
    group: &'a Group,
    peer: &'a Party,
    limits: &'a Limits,
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{}{}", self.group.name, self.limits.name)
    }

    /// Says how many effects were compared, if they were.
    fn run(&self, ours: &Path, dir: &Path, seed: u64, commands: u64) -> Result<String> {
        let Job { group, peer, limits } = self;
        let dir = dir.join(format!("{} {}", self.name(), peer.name));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let start = |name: &str, program: &Path| {
            Server::start(program, &dir.join(name), free_port(), &limits.options(name))
        };
        let servers = [start("ours", ours)?, start(peer.name, &peer.program)?];
        compare(&servers, group, Chance::new(seed), commands / limits.share)?;
        if !group.same_effects {
            return Ok(String::new());
        }
        servers.into_iter().try_for_each(Server::stop)?;
        Ok(format!(" and {} effects", effects::compare(&dir.join("ours"), &dir.join(peer.name))?))
    }
}

/// Limits that both servers have.
struct Limits {
    name: &'static str,
    /// Collections are expanded early.
    tight: bool,
    /// One of so many commands is sent.
    share: u64,
}

const LIMITS: &[Limits] =
    &[Limits { name: "", tight: false, share: 1 }, Limits { name: ", expanded", tight: true, share: 2 }];

impl Limits {
    /// Nodes and sparse encodings that a few elements fill; perhaps listpacks, too.
    fn options(&self, server: &str) -> Vec<&'static str> {
        let mut options = vec!["--stream-node-max-entries", "5", "--hll-sparse-max-bytes", "300"];
        options.extend(["--notify-keyspace-events", "KEA"]);
        options.extend(["--appendonly", "yes", "--appendfsync", "no", "--aof-use-rdb-preamble", "no"]);
        // Valkey's default is to say UNLINK.
        options.extend(["--lazyfree-lazy-server-del", "no", "--lazyfree-lazy-expire", "no"]);
        if self.tight {
            options.extend(["--hash-max-listpack-entries", "2", "--hash-max-listpack-value", "8"]);
            options.extend(["--zset-max-listpack-entries", "2", "--zset-max-listpack-value", "8"]);
            options.extend(["--set-max-intset-entries", "2", "--list-max-listpack-size", "2"]);
            // 7.0 has no sets that are listpacks.
            let none: &[&str] = &[];
            options.extend(if server == "redis" { none } else { &["--set-max-listpack-entries", "2"] });
        }
        options
    }
}

fn compare(servers: &[Server; 2], group: &Group, mut chance: Chance, commands: u64) -> Result<()> {
    let templates = group.templates.concat();
    let connect = |resp3: bool| -> Result<[Connection; 2]> {
        let [ours, theirs] = servers.each_ref().map(|server| Connection::open(server.port(), resp3));
        Ok([ours?, theirs?])
    };
    let mut protocols = [connect(false)?, connect(true)?];
    let mut listeners = connect(false)?;
    for listener in &mut listeners {
        listener.ask(&["PSUBSCRIBE", "__key*"])?;
    }
    for number in 0..commands {
        let template = templates[chance.below(templates.len())];
        let asked = &mut protocols[chance.below(2)];
        let (compared, template): (Comparable, &str) = match template.split_at(1) {
            ("~", template) if group.garbled => (refusal, template),
            ("~", template) => (unordered, template),
            ("@", template) => (timeless, template),
            _ => (lines, template),
        };
        for mut request in chance.fill(template) {
            if group.garbled {
                chance.garble(&mut request);
            }
            let replies = both(asked, &request, Connection::reply)?;
            let events = both(&mut listeners, &["PING"], Connection::heard)?;
            for ([ours, theirs], compared) in [(replies, compared), (events, lines)] {
                if ours != theirs && compared(&ours) != compared(&theirs) {
                    bail!(
                        "command {number}: {}\n  ours   {}\n  theirs {}",
                        request.join(" "),
                        ours.escape_ascii(),
                        theirs.escape_ascii()
                    );
                }
            }
        }
    }
    if !group.same_data {
        return Ok(());
    }
    let [ours, theirs] = servers.each_ref().map(|server| dataset::read(&mut server.connect()?));
    let differences = dataset::differences(&theirs?, &ours?);
    ensure!(differences.is_empty(), "they hold other data:\n  {}", differences.join("\n  "));
    Ok(())
}

/// Asks both servers, so that one works while the other does.
fn both(
    connections: &mut [Connection; 2],
    request: &[impl AsRef<[u8]>],
    read: fn(&mut Connection) -> Result<Vec<u8>>,
) -> Result<[Vec<u8>; 2]> {
    connections.iter_mut().try_for_each(|connection| connection.send(request))?;
    let [ours, theirs] = connections.each_mut().map(read);
    Ok([ours?, theirs?])
}

/// What of a reply is compared.
type Comparable = fn(&[u8]) -> Vec<&[u8]>;

fn lines(reply: &[u8]) -> Vec<&[u8]> {
    reply.split(|byte| *byte == b'\n').collect()
}

/// A reply's lines in an order of their own.
fn unordered(reply: &[u8]) -> Vec<&[u8]> {
    let mut lines = lines(reply);
    lines.sort_unstable();
    lines
}

/// What an error says; other replies are all the same.
fn refusal(reply: &[u8]) -> Vec<&[u8]> {
    if reply.starts_with(b"-") { lines(reply) } else { Vec::new() }
}

/// A reply's lines, whatever the times in it: integers of many digits, and those behind the name of a duration or a
/// consumer. Nor does it matter what is behind the names that Valkey counts on for.
fn timeless(reply: &[u8]) -> Vec<&[u8]> {
    const TIMED: &[&[u8]] = &[b"idle\r", b"inactive\r", b"alice\r", b"bob\r"];
    const COUNTED_ON: &[&[u8]] = &[b"entries-read\r", b"lag\r"];
    const DIGITS: usize = 12;
    let mut lines = lines(reply);
    for at in (1..lines.len()).rev() {
        let (line, before) = (lines[at], lines[at - 1]);
        let is_time = line.starts_with(b":") && (line.len() > DIGITS || TIMED.contains(&before));
        if is_time || COUNTED_ON.contains(&before) {
            lines[at] = b"any";
        }
    }
    lines
}

/// SplitMix64, and the clock of the streams.
struct Chance {
    state: u64,
    newest: usize,
    /// The last key, group and consumer.
    last: [String; 3],
}

impl Chance {
    fn new(seed: u64) -> Self {
        Chance { state: seed, newest: 1, last: Default::default() }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }

    fn fill(&mut self, template: &str) -> Vec<Vec<String>> {
        template.split(" ; ").map(|request| self.fill_request(request)).collect()
    }

    fn fill_request(&mut self, template: &str) -> Vec<String> {
        let mut words = Vec::new();
        let (mut inside, mut wanted) = (false, true);
        for word in template.split(' ') {
            if word.starts_with('[') {
                (inside, wanted) = (true, self.below(5) < 2);
            }
            if wanted {
                let choices: Vec<&str> = word.trim_matches(['[', ']']).split('|').collect();
                let choice = choices[self.below(choices.len())];
                words.push(self.word(choice));
            }
            if inside && word.ends_with(']') {
                (inside, wanted) = (false, true);
            }
        }
        words
    }

    /// Every second time another word in the place of one, none, it twice, one more, or it in another place. The first
    /// stays, and so does a request of one word.
    fn garble(&mut self, request: &mut Vec<String>) {
        const OTHERS: &[&str] = &[
            "x",
            "",
            "-1",
            "0",
            "1.5",
            "absent",
            "k0",
            "k1",
            "NX",
            "GET",
            "COUNT",
            "LIMIT",
            "STORE",
            "WITHSCORES",
            "BYLEX",
            "MATCH",
            "9223372036854775806",
            "99999999999999999999",
        ];
        // Scores of so many digits 7.0 prints by another rule.
        let others = if request[0].starts_with('Z') { &OTHERS[..OTHERS.len() - 2] } else { OTHERS };
        if request.len() == 1 || self.below(2) == 0 {
            return;
        }
        let at = 1 + self.below(request.len() - 1);
        match self.below(5) {
            0 => drop(request.remove(at)),
            1 => request.insert(at, request[at].clone()),
            2 => request.insert(at, self.one_of(others)),
            3 => request.swap(at, 1),
            _ => request[at] = self.one_of(others),
        }
    }

    fn one_of(&mut self, words: &[&str]) -> String {
        words[self.below(words.len())].into()
    }

    fn remembered(&mut self, place: usize, names: &[&str]) -> String {
        self.last[place] = self.one_of(names);
        self.last[place].clone()
    }

    fn word(&mut self, word: &str) -> String {
        match word {
            "K" => self.remembered(0, &["k0", "k1", "k2", "k3"]),
            "G" => self.remembered(1, &["g", "h"]),
            "C" => self.remembered(2, &["alice", "bob"]),
            "#I" => format!("#{}", self.below(12)),
            "^K" => self.last[0].clone(),
            "^G" => self.last[1].clone(),
            "^C" => self.last[2].clone(),
            "E" => match self.below(4) {
                0 => self.one_of(&["", "1", "-3", "70000", "b"]),
                _ => format!("element-{}", self.below(3000)),
            },
            "V" => match self.below(40) {
                0 => "a-value-that-is-longer-than-64-bytes-".repeat(2),
                1..8 => format!("v{}", self.below(300)),
                8..16 => self.below(20).to_string(),
                _ => format!("v{}", self.below(12)),
            },
            "N" => self.one_of(&[
                "1",
                "-1",
                "7",
                "-70000",
                "9223372036854775807",
                "-9223372036854775808",
                "1.5",
                "x",
            ]),
            "F" => self.one_of(&["0.5", "-2.25", "3", "1e3", "0.1", "inf", "nan", "x", "1e308"]),
            "B" => self.one_of(&["0", "1", "7", "8", "13", "40", "100", "255", "-1", "4294967296", "x"]),
            "T" => self.one_of(&["u1", "u8", "i5", "i16", "u63", "i64", "u64", "i0"]),
            "S" => self.one_of(&["0", "1", "1", "-2.5", "3.25", "10", "1000", "inf", "-inf", "nan", "x"]),
            "R" => self.one_of(&["-inf", "+inf", "0", "(1", "1", "(-2.5", "3.25", "(10", "x"]),
            "L" => self.one_of(&["-", "+", "[v1", "(v3", "[v7", "(1", "[x", "x"]),
            "I" => (self.below(12) as i64 - 2).to_string(),
            "LON" => format!("{:.6}", self.below(360_000_001) as f64 / 1e6 - 180.0),
            "LAT" => format!("{:.6}", self.below(172_000_001) as f64 / 1e6 - 86.0),
            "M" => format!("m{}", self.below(12)),
            "U" => self.one_of(&["m", "km", "ft", "mi"]),
            "D" => self.one_of(&["0", "100", "900.5", "5000", "20000"]),
            "NEW" => {
                self.newest += self.below(2);
                match self.below(6) {
                    seq @ 0..3 => format!("{}-{seq}", self.newest),
                    _ => format!("{}-*", self.newest),
                }
            }
            "OLD" => {
                let ms = self.newest.saturating_sub(self.below(12));
                match self.below(6) {
                    seq @ 0..3 => format!("{ms}-{seq}"),
                    _ => ms.to_string(),
                }
            }
            "ID" => format!("{}-{}", self.below(9), self.below(3)),
            word => word.into(),
        }
    }
}

/// A connection whose replies are bytes.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(port: u16, resp3: bool) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Connection(BufReader::new(stream));
        if resp3 {
            connection.ask(&["HELLO", "3"])?;
        }
        Ok(connection)
    }

    fn ask(&mut self, request: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
        self.send(request)?;
        self.reply()
    }

    fn send(&mut self, request: &[impl AsRef<[u8]>]) -> Result<()> {
        let mut bytes = Vec::new();
        client::encode(request, &mut bytes);
        Ok(self.0.get_mut().write_all(&bytes)?)
    }

    fn reply(&mut self) -> Result<Vec<u8>> {
        let mut reply = Vec::new();
        copy_reply(&mut self.0, &mut reply)?;
        Ok(reply)
    }

    /// What was published to it before its PING.
    fn heard(&mut self) -> Result<Vec<u8>> {
        const END: &[u8] = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n";
        let mut heard = self.reply()?;
        while !heard.ends_with(END) {
            copy_reply(&mut self.0, &mut heard)?;
        }
        Ok(heard)
    }
}

/// Copies one whole reply.
fn copy_reply(input: &mut impl BufRead, reply: &mut Vec<u8>) -> Result<()> {
    let start = reply.len();
    input.read_until(b'\n', reply)?;
    let line = reply[start..].strip_suffix(b"\r\n").context("a reply without its end")?;
    let (&kind, text) = line.split_first().context("an empty line")?;
    let len = || Ok::<i64, anyhow::Error>(std::str::from_utf8(text)?.parse()?);
    match kind {
        b'$' | b'=' | b'!' => {
            if let Ok(len) = u64::try_from(len()?) {
                let copied = input.take(len + 2).read_to_end(reply)?;
                ensure!(copied as u64 == len + 2, "a reply without its end");
            }
        }
        b'*' | b'~' | b'>' | b'%' => {
            let replies = len()? * if kind == b'%' { 2 } else { 1 };
            (0..replies).try_for_each(|_| copy_reply(input, reply))?;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Chance, GROUPS, copy_reply, timeless};

    #[test]
    fn a_reply_is_copied_to_its_last_byte() {
        for reply in [
            &b"+OK\r\n"[..],
            b"$-1\r\n",
            b"$3\r\n\r\n1\r\n",
            b"%1\r\n+a\r\n*2\r\n:1\r\n$1\r\nx\r\n",
            b"*0\r\n",
        ] {
            let (mut input, mut copy) = ([reply, b"+NEXT\r\n"].concat(), Vec::new());
            copy_reply(&mut &input[..], &mut copy).unwrap();
            assert_eq!(copy, reply);
            input.truncate(reply.len() - 1);
            assert!(copy_reply(&mut &input[..], &mut Vec::new()).is_err(), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn times_are_left_out_and_counts_are_not() {
        let pending =
            |idle: &str, count: &str| format!("*4\r\n$3\r\n1-0\r\n$5\r\nalice\r\n:{idle}\r\n:{count}\r\n");
        let [one, later, again] = [pending("1", "2"), pending("17", "2"), pending("1", "3")];
        let [one, later, again] = [&one, &later, &again].map(|reply| timeless(reply.as_bytes()));
        assert_eq!(one, later);
        assert_ne!(one, again);
        assert_eq!(timeless(b"*1\r\n:1700000000000\r\n"), timeless(b"*1\r\n:1700000000001\r\n"));
        assert_ne!(timeless(b"*1\r\n:1700000\r\n"), timeless(b"*1\r\n:1700001\r\n"));
    }

    #[test]
    fn templates_are_filled_whole() {
        let mut chance = Chance::new(1);
        for template in GROUPS.iter().flat_map(|group| group.templates).copied().flatten() {
            for _ in 0..20 {
                let requests = chance.fill(template);
                assert!(requests.iter().all(|words| !words.is_empty()), "{template}");
                let mut words = requests.iter().flatten();
                assert!(words.all(|word| !word.contains([']', '|', '^', ';'])), "{requests:?}");
            }
        }
    }
}
