//! `cargo xtask differ [GROUP...] [--seed N] [--commands N]`: random commands to our server and to redis-server, and
//! their replies compared byte for byte, in RESP2 and RESP3 by turns.
//!
//! A template is a request. In it
//!
//! ```text
//! K key   E element   I small integer   LON LAT coordinates   M place   U unit   D distance
//! NEW an ID that mostly is greater than those before   OLD one that was NEW lately   ID any small one
//! G group   C consumer   ^K ^G ^C the last one again   A|B|C one of these   [X Y] perhaps   ; another request
//! ```
//! stand for words by chance. Where Everlog follows Redis 7.2 and 7.0 differs, the templates stay clear of it:
//! [differences.md](../../compat/differences.md) lists them. The group `commands` is something else: what COMMAND says,
//! compared with valkey-server, too.

mod commands;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::args::Args;
use crate::client;
use crate::server::{Server, free_port};
use crate::{install, workspace};

#[rustfmt::skip]
const HYPERLOGLOG: &[&str] = &[
    "PFADD K E E", "PFADD K E [E E E E]", "PFADD K", "PFCOUNT K", "PFCOUNT K K", "PFMERGE K K K", "GET K", "STRLEN K",
    "PFDEBUG DECODE|ENCODING K", "PFDEBUG TODENSE|GETREG K", "DEL K",
];

#[rustfmt::skip]
const GEO: &[&str] = &[
    "GEOADD K [NX|XX] [CH] LON LAT M LON LAT M", "GEOADD K LON LAT M", "GEODIST K M M [U]", "GEOHASH K M M", "GEOPOS K M M",
    "GEORADIUS K LON LAT D U [WITHDIST] [WITHCOORD] [WITHHASH] [ASC|DESC]",
    "GEORADIUSBYMEMBER K M D U [COUNT 3 ANY] [WITHDIST]", "GEORADIUS K LON LAT D U STORE|STOREDIST d", "ZRANGE d 0 -1",
    "GEOSEARCH K FROMMEMBER M BYRADIUS D U [WITHDIST] [ASC|DESC]",
    "GEOSEARCH K FROMLONLAT LON LAT BYBOX D D U [WITHCOORD] [ASC|DESC]",
    "GEOSEARCHSTORE d K FROMLONLAT LON LAT BYBOX D D U [STOREDIST]", "GEOSEARCH K FROMMEMBER M BYRADIUS D U ANY",
];

#[rustfmt::skip]
const STREAM: &[&str] = &[
    "XADD K NEW f E", "XADD K NEW f E g E", "XADD K [NOMKSTREAM] NEW E E", "XADD K MAXLEN ~|= I NEW f E",
    "XADD K MINID ~|= OLD NEW f E", "XTRIM K MAXLEN|MINID [~] I", "XTRIM K MINID ~ OLD LIMIT I", "XLEN K", "XDEL K OLD OLD",
    "XRANGE K -|ID|OLD +|ID|OLD [COUNT I]", "XREVRANGE K +|OLD -|ID [COUNT I]", "XREAD [COUNT I] STREAMS K K OLD ID|$",
    "XGROUP CREATE K G $|0|OLD [MKSTREAM] [ENTRIESREAD I]", "XGROUP SETID K G $|0|OLD [ENTRIESREAD I]",
    "XGROUP DELCONSUMER K G C", "XGROUP DESTROY K G", "XACK K G OLD OLD", "XPENDING K G", "XINFO STREAM|GROUPS K",
    // 7.0 makes no consumer that gets nothing, so it is there already.
    "XGROUP CREATECONSUMER K G C ; XREADGROUP GROUP ^G ^C COUNT I [NOACK] STREAMS ^K >|>|0|ID",
    "XGROUP CREATECONSUMER K G C ; XCLAIM ^K ^G ^C 0 OLD OLD [FORCE] [JUSTID] [RETRYCOUNT I] [LASTID OLD]",
    "XGROUP CREATECONSUMER K G C ; XAUTOCLAIM ^K ^G ^C 0 0|ID [COUNT I] [JUSTID]",
    "COPY K K REPLACE",
];

/// What is asked about these is where their keys stand, and what becomes of them: words need not make sense.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "COMMAND GETKEYS|GETKEYSANDFLAGS SET K E [GET] [EX I]", "COMMAND GETKEYS|GETKEYSANDFLAGS MSET|MSETNX K E [K E] [K]",
    "COMMAND GETKEYSANDFLAGS BITFIELD K [OVERFLOW WRAP] [GET u8 I] [SET u8 I E] [GET u4]",
    "COMMAND GETKEYSANDFLAGS LMPOP|SINTERCARD|ZUNION|ZMPOP I K [K K] [LEFT]",
    "COMMAND GETKEYSANDFLAGS BLMPOP|BZMPOP|ZUNIONSTORE|ZDIFFSTORE K I K [K K] [LEFT]",
    "COMMAND GETKEYSANDFLAGS SORT K [BY E] [STORE d] [LIMIT I I] [STORE K]", "COMMAND GETKEYSANDFLAGS SORT_RO K [GET E]",
    "COMMAND GETKEYSANDFLAGS GEORADIUS K I I D U [WITHDIST] [STORE|STOREDIST d] [COUNT I]",
    "COMMAND GETKEYSANDFLAGS GEORADIUSBYMEMBER K M D U [ASC] [STORE d]",
    "COMMAND GETKEYSANDFLAGS XREAD [COUNT I] [BLOCK I] STREAMS K [K] ID [ID]",
    "COMMAND GETKEYSANDFLAGS XREADGROUP GROUP G C [NOACK] STREAMS K [K] ID",
    "COMMAND GETKEYSANDFLAGS MIGRATE h I K I I [COPY] [AUTH E] [REPLACE]",
    "COMMAND GETKEYSANDFLAGS BITOP AND K K [K]", "COMMAND GETKEYSANDFLAGS BLPOP|BZPOPMIN|SDIFFSTORE|PFMERGE|DEL K K [K] [I]",
    "COMMAND GETKEYSANDFLAGS OBJECT|MEMORY|XINFO|XGROUP|PING|NONE ENCODING|USAGE|STREAM|CREATE|PING K [G] [ID]",
    "COMMAND GETKEYS|GETKEYSANDFLAGS GET|COPY|RENAME|RENAMENX|LCS|SMOVE|EXISTS|PFCOUNT|GEOSEARCHSTORE K [K] [E]",
    "COMMAND GETKEYS|GETKEYSANDFLAGS SORT|XREAD|MIGRATE K",
];

const GROUPS: &[(&str, &[&str])] =
    &[("hyperloglog", HYPERLOGLOG), ("geo", GEO), ("stream", STREAM), ("keys", KEYS)];

/// `cargo xtask differ`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let ours = workspace::server_under_test(args)?;
    let commands = args.number("--commands")?.unwrap_or(20_000);
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = args.number("--seed")?.map_or_else(|| Ok(clock()?.as_secs()), anyhow::Ok)?;
    let wanted = args.words()?;
    for name in &wanted {
        ensure!(name == "commands" || GROUPS.iter().any(|group| group.0 == name), "no group {name:?}");
    }
    let dir = workspace::cache_dir("differ")?;
    if wanted.is_empty() || wanted.iter().any(|name| name == "commands") {
        commands::compare(&ours, &dir)?;
    }
    for (name, templates) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|each| each == name) {
            let dir = dir.join(name);
            if dir.exists() {
                fs::remove_dir_all(&dir)?;
            }
            let start = |name: &str, program| Server::start(program, &dir.join(name), free_port(), OPTIONS);
            let servers = [start("ours", &ours)?, start("redis", &install::program("redis-server")?)?];
            compare(&servers, templates, seed, commands).with_context(|| format!("{name}, --seed {seed}"))?;
            println!("{name}: {commands} replies are the same (--seed {seed})");
        }
    }
    Ok(())
}

/// Nodes and sparse encodings that a few elements fill.
const OPTIONS: &[&str] = &["--stream-node-max-entries", "5", "--hll-sparse-max-bytes", "300"];

fn compare(servers: &[Server; 2], templates: &[&str], seed: u64, commands: u64) -> Result<()> {
    let mut chance = Chance::new(seed);
    let connect = |resp3: bool| -> Result<[Connection; 2]> {
        let [ours, redis] = servers.each_ref().map(|server| Connection::open(server.port(), resp3));
        Ok([ours?, redis?])
    };
    let mut protocols = [connect(false)?, connect(true)?];
    for number in 0..commands {
        let template = templates[chance.below(templates.len())];
        let [ours, redis] = &mut protocols[chance.below(2)];
        for request in chance.fill(template) {
            let (ours, redis) = (ours.ask(&request)?, redis.ask(&request)?);
            if ours != redis {
                bail!(
                    "command {number}: {}\n  ours  {}\n  redis {}",
                    request.join(" "),
                    ours.escape_ascii(),
                    redis.escape_ascii()
                );
            }
        }
    }
    Ok(())
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

    fn remembered(&mut self, place: usize, names: &[&str]) -> String {
        self.last[place] = names[self.below(names.len())].into();
        self.last[place].clone()
    }

    fn word(&mut self, word: &str) -> String {
        match word {
            "K" => self.remembered(0, &["k0", "k1", "k2", "k3"]),
            "G" => self.remembered(1, &["g", "h"]),
            "C" => self.remembered(2, &["alice", "bob"]),
            "^K" => self.last[0].clone(),
            "^G" => self.last[1].clone(),
            "^C" => self.last[2].clone(),
            "E" => match self.below(4) {
                0 => ["", "1", "-3", "70000", "b"][self.below(5)].into(),
                _ => format!("element-{}", self.below(3000)),
            },
            "I" => (self.below(12) as i64 - 2).to_string(),
            "LON" => format!("{:.6}", self.below(360_000_001) as f64 / 1e6 - 180.0),
            "LAT" => format!("{:.6}", self.below(172_000_001) as f64 / 1e6 - 86.0),
            "M" => format!("m{}", self.below(12)),
            "U" => ["m", "km", "ft", "mi"][self.below(4)].into(),
            "D" => ["0", "100", "900.5", "5000", "20000"][self.below(5)].into(),
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
        let mut bytes = Vec::new();
        client::encode(request, &mut bytes);
        self.0.get_mut().write_all(&bytes)?;
        let mut reply = Vec::new();
        copy_reply(&mut self.0, &mut reply)?;
        Ok(reply)
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
    use super::{Chance, GROUPS, copy_reply};

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
    fn templates_are_filled_whole() {
        let mut chance = Chance::new(1);
        for template in GROUPS.iter().flat_map(|group| group.1) {
            for _ in 0..20 {
                let requests = chance.fill(template);
                assert!(requests.iter().all(|words| words.len() >= 2), "{template}");
                let mut words = requests.iter().flatten();
                assert!(words.all(|word| !word.contains(['[', ']', '|', '^', ';'])), "{requests:?}");
            }
        }
    }
}
