//! `cargo xtask interop [PART...]`: data directories that move between servers, and the clients people use.
//!
//! | part | what |
//! |---|---|
//! | `data` | our directory read by redis-server 7.0.15 and valkey-server 9.1, and theirs by us |
//! | `dump` | a plain dump.rdb, without a log: ours read by each of them, and theirs by us; with each key's use, too |
//! | `rewrite` | their directories and ours compacted by everlog-rewrite, and read by each of them |
//! | `migrate` | all keys by MIGRATE from our server to each of them, to another of ours, and back |
//! | `replicas` | redis-server 7.0.15 and valkey-server 9.1 as our replicas: data, writes meanwhile, WAIT, a broken link |
//! | `peers` | their directories read by each other: proves the harness, not us; not part of the default |
//! | `redis-py`, `ioredis` | the default clients of Python and Node, in both protocols |
//! | `redis-cli`, `redis-benchmark` | Redis's own tools |
//!
//! A writer fills its databases, perhaps rewrites its log and goes on writing, and ends by SIGTERM or SIGKILL; the
//! reader starts on a copy of the directory and must hold what the writer's clients last saw.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xshell::cmd;

use crate::args::Args;
use crate::client::{Client, Value};
use crate::dataset::{self, Dataset};
use crate::server::{Party, Server, free_port, redis_and_valkey};
use crate::{install, workspace};

/// AOF on; what its bases are is said beside it.
const OPTIONS: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

/// `aof-use-rdb-preamble`, and what its bases are then.
const BASES: [(&str, &str); 2] = [("yes", "rdb"), ("no", "commands")];

type Part = (&'static str, bool, fn(&Path) -> Result<()>);

const PARTS: &[Part] = &[
    ("data", true, data),
    ("dump", true, dump),
    ("rewrite", true, rewrite),
    ("migrate", true, migrate),
    ("replicas", true, replicas),
    ("peers", false, peers),
    ("redis-py", true, redis_py),
    ("ioredis", true, ioredis),
    ("redis-cli", true, redis_cli),
    ("redis-benchmark", true, redis_benchmark),
];

/// `cargo xtask interop`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let server = workspace::server_under_test(args)?;
    let wanted = args.words()?;
    for name in &wanted {
        ensure!(PARTS.iter().any(|part| part.0 == name), "no part {name:?}");
    }
    let mut failed = Vec::new();
    for (name, default, part) in PARTS {
        if if wanted.is_empty() { *default } else { wanted.iter().any(|each| each == name) } {
            let outcome = part(&server);
            println!(
                "{name}: {}",
                outcome.as_ref().map_or_else(|error| format!("{error:#}"), |()| String::from("ok"))
            );
            failed.extend(outcome.is_err().then_some(*name));
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Both directions between our server and each peer, and from our server to itself.
fn data(ours: &Path) -> Result<()> {
    let ours = Party { name: "everlog", program: ours.to_path_buf() };
    let [redis, valkey] = redis_and_valkey()?;
    for base in BASES {
        exchange(&ours, &[&ours, &redis, &valkey], base)?;
        exchange(&redis, &[&ours], base)?;
        exchange(&valkey, &[&ours], base)?;
    }
    Ok(())
}

/// Eviction policies, and what each has a file say of the use of keys.
const POLICIES: &[(&str, Option<Use>)] =
    &[("noeviction", None), ("allkeys-lru", Some(Use::Idle)), ("allkeys-lfu", Some(Use::Freq))];

/// How the use of a key is asked for, by RESTORE and by OBJECT, and what the key of that use is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Idle,
    Freq,
}

impl Use {
    const KEY: &str = "used";

    fn words(self) -> (&'static str, u64) {
        match self {
            Use::Idle => ("IDLETIME", 1_000_000),
            Use::Freq => ("FREQ", 200),
        }
    }

    /// Makes a key of a use that no other has.
    fn note(self, client: &mut Client) -> Result<()> {
        let (word, figure) = self.words();
        client.call(&["SET", Use::KEY, "value"])?;
        let Value::Bytes(payload) = client.call(&["DUMP", Use::KEY])? else { bail!("DUMP gave no payload") };
        let figure = figure.to_string();
        let [key, word, figure] = [Use::KEY, word, &figure].map(str::as_bytes);
        client.call(&[b"RESTORE", key, b"0", &payload, b"REPLACE", word, figure])?;
        Ok(())
    }

    /// Looks for that key, and removes it.
    fn check(self, client: &mut Client) -> Result<()> {
        let (word, figure) = self.words();
        let found: u64 = client.call(&["OBJECT", word, Use::KEY])?.text().parse()?;
        // Idle seconds go on, and no policy is so slow as to come here an hour late.
        let most = if self == Use::Idle { figure + 3600 } else { figure };
        ensure!((figure..=most).contains(&found), "OBJECT {word} is {found} instead of {figure}");
        client.call(&["DEL", Use::KEY])?;
        Ok(())
    }
}

/// A file that SAVE has written in place of a log, both ways.
fn dump(ours: &Path) -> Result<()> {
    let ours = Party { name: "everlog", program: ours.to_path_buf() };
    let [redis, valkey] = redis_and_valkey()?;
    for (policy, noted) in POLICIES {
        // Counters do not decay while they travel.
        let options = ["--appendonly", "no", "--maxmemory-policy", policy, "--lfu-decay-time", "0"];
        for (writer, readers) in
            [(&ours, &[&ours, &redis, &valkey][..]), (&redis, &[&ours][..]), (&valkey, &[&ours][..])]
        {
            let folder = fresh_dir(&format!("{}-dump-{policy}", writer.name))?;
            let expected = save(writer, &folder.join("written"), *noted, &options)
                .with_context(|| format!("{} saves, {policy}", writer.name))?;
            for reader in readers {
                read_with(reader, &folder, &expected, &options, |client| {
                    noted.map_or(Ok(()), |noted| noted.check(client))
                })
                .with_context(|| format!("{} saves, {policy}, {} reads", writer.name, reader.name))?;
                println!(
                    "  {} -> dump.rdb, {policy} -> {}: {} keys",
                    writer.name,
                    reader.name,
                    expected.len()
                );
            }
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Fills a server, has it save, and returns what its clients saw last.
fn save(writer: &Party, dir: &Path, noted: Option<Use>, options: &[&str]) -> Result<Dataset> {
    let server = Server::start(&writer.program, dir, free_port(), options)?;
    let mut client = server.connect()?;
    dataset::fill(&mut client)?;
    dataset::change(&mut client)?;
    let seen = dataset::read(&mut client)?;
    // Last, since whoever reads a key uses it.
    client.call(&["SELECT", "0"])?;
    noted.map_or(Ok(()), |noted| noted.note(&mut client))?;
    client.call(&["SAVE"])?;
    server.kill()?;
    ensure!(!dir.join("appendonlydir").exists(), "there is a log");
    Ok(seen)
}

/// How long a replica may take for what it owes, milliseconds.
const WAIT_MS: &str = "30000";

/// Each peer as a replica of ours, with and without a log.
fn replicas(ours: &Path) -> Result<()> {
    for appendonly in ["yes", "no"] {
        for peer in redis_and_valkey()? {
            let folder = fresh_dir(&format!("replica-{}-{appendonly}", peer.name))?;
            let options = ["--appendonly", appendonly, "--repl-backlog-size", "64mb"];
            let primary = Server::start(ours, &folder.join("primary"), free_port(), &options)?;
            let keys = follow(&peer, &folder.join("replica"), &primary)
                .with_context(|| format!("{} follows, appendonly {appendonly}", peer.name))?;
            primary.stop()?;
            println!("  everlog -> {} by replication, appendonly {appendonly}: {keys} keys", peer.name);
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Attaches a replica to a server that has data, goes on writing while it is brought up, and cuts its link.
fn follow(peer: &Party, dir: &Path, primary: &Server) -> Result<usize> {
    let mut client = primary.connect()?;
    dataset::fill(&mut client)?;
    // The snapshot is under way when the second part is written.
    client.call(&["CONFIG", "SET", "rdb-key-save-delay", "5000"])?;
    let port = primary.port().to_string();
    let options = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-load", "disabled"];
    let replica = Server::start(&peer.program, dir, free_port(), &options)?;
    client.wait_for("rdb_bgsave_in_progress", "1", Duration::from_secs(30))?;
    dataset::change(&mut client)?;
    ensure!(client.info("rdb_bgsave_in_progress")? == "1", "the snapshot was written too soon for this test");
    client.call(&["CONFIG", "SET", "rdb-key-save-delay", "0"])?;
    compare(&mut client, &replica)?;
    client.call(&["CLIENT", "KILL", "TYPE", "replica"])?;
    client.call(&["FLUSHALL"])?;
    dataset::fill(&mut client)?;
    let found = compare(&mut client, &replica)?;
    for (field, value) in [("sync_full", "1"), ("sync_partial_ok", "1")] {
        let is = client.info(field)?;
        ensure!(is == value, "{field} is {is} instead of {value}");
    }
    replica.stop()?;
    Ok(found)
}

/// A replica that has confirmed the last write must hold what its primary does.
fn compare(primary: &mut Client, replica: &Server) -> Result<usize> {
    primary.call(&["SET", "last", "write"])?;
    let confirmed = primary.call(&["WAIT", "1", WAIT_MS])?.text();
    ensure!(confirmed == "1", "WAIT answers {confirmed}");
    let (expected, found) = (dataset::read(primary)?, dataset::read(&mut replica.connect()?)?);
    let differences = dataset::differences(&expected, &found);
    ensure!(differences.is_empty(), "{} differences:\n  {}", differences.len(), differences.join("\n  "));
    Ok(found.len())
}

fn peers(_: &Path) -> Result<()> {
    let [redis, valkey] = redis_and_valkey()?;
    exchange(&redis, &[&redis, &valkey], BASES[0])?;
    // Valkey's RDB files are not for Redis.
    exchange(&valkey, &[&redis], BASES[1])
}

/// Has `writer` make a directory in each way there is, and each reader read it.
fn exchange(writer: &Party, readers: &[&Party], (preamble, base): (&str, &str)) -> Result<()> {
    let options = [OPTIONS, &["--aof-use-rdb-preamble", preamble]].concat();
    for rewrites in [false, true] {
        for killed in [false, true] {
            let way = format!(
                "{base}-{}{}",
                if rewrites { "rewritten-" } else { "" },
                if killed { "killed" } else { "stopped" }
            );
            let folder = fresh_dir(&format!("{}-{way}", writer.name))?;
            let expected = write(writer, &folder.join("written"), rewrites, killed, &options)
                .with_context(|| format!("{} writes", writer.name))?;
            // Neither checker knows the RDB magic that Valkey 9 writes.
            if writer.name != "valkey" || preamble == "no" {
                for checker in checkers()? {
                    check(&checker, &folder.join("written"))
                        .with_context(|| format!("{} writes, {way}", writer.name))?;
                }
            }
            for reader in readers {
                read(reader, &folder, &expected, &options)
                    .with_context(|| format!("{} writes, {way}, {} reads", writer.name, reader.name))?;
                println!("  {} -> {}, {way}: {} keys", writer.name, reader.name, expected.len());
            }
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Between each writer and each reader, our tool makes one base of all that was written.
fn rewrite(ours: &Path) -> Result<()> {
    let tool = workspace::build("everlog-rewrite", &["--bins"])?;
    let ours = Party { name: "everlog", program: ours.to_path_buf() };
    let [redis, valkey] = redis_and_valkey()?;
    let parties = [ours, redis, valkey];
    for (writer, (preamble, base)) in parties.iter().flat_map(|party| BASES.map(|base| (party, base))) {
        let options = [OPTIONS, &["--aof-use-rdb-preamble", preamble]].concat();
        for format in ["rdb", "resp"] {
            let way = format!("{base} compacted as {format}");
            let context = || format!("{} writes, {way}", writer.name);
            let folder = fresh_dir(&format!("{}-{base}-compacted-{format}", writer.name))?;
            let written = folder.join("written");
            let expected = write(writer, &written, true, false, &options).with_context(context)?;
            compact(&tool, &written.join("appendonlydir"), format).with_context(context)?;
            for checker in checkers()? {
                check(&checker, &written).with_context(context)?;
            }
            for reader in &parties {
                read(reader, &folder, &expected, &options)
                    .with_context(|| format!("{}, {} reads", context(), reader.name))?;
                println!("  {} -> {}, {way}: {} keys", writer.name, reader.name, expected.len());
            }
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// All keys go to each server and come back.
fn migrate(ours: &Path) -> Result<()> {
    let ours = Party { name: "everlog", program: ours.to_path_buf() };
    let [redis, valkey] = redis_and_valkey()?;
    for peer in [&ours, &redis, &valkey] {
        let folder = fresh_dir(&format!("migrate-{}", peer.name))?;
        let here = Server::start(&ours.program, &folder.join("here"), free_port(), OPTIONS)?;
        let there = Server::start(&peer.program, &folder.join("there"), free_port(), OPTIONS)?;
        let mut client = here.connect()?;
        dataset::fill(&mut client)?;
        let expected = dataset::mortality(dataset::read(&mut client)?);
        for (from, to) in [(&here, &there), (&there, &here)] {
            let way = || format!("from port {} to {}, {} and back", from.port(), to.port(), peer.name);
            move_all(from, to.port(), &expected).with_context(way)?;
            let left = dataset::read(&mut from.connect()?)?;
            ensure!(left.is_empty(), "{}: {} keys were left", way(), left.len());
            let found = dataset::mortality(dataset::read(&mut to.connect()?)?);
            let differences = dataset::differences(&expected, &found);
            ensure!(differences.is_empty(), "{}:\n  {}", way(), differences.join("\n  "));
        }
        println!("  everlog -> {} -> everlog: {} keys", peer.name, expected.len());
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// One MIGRATE to each database.
fn move_all(from: &Server, port: u16, keys: &Dataset) -> Result<()> {
    let mut client = from.connect()?;
    for db in keys.keys().map(|(db, _)| *db).collect::<BTreeSet<_>>() {
        let (port, db_text) = (port.to_string(), db.to_string());
        let head = ["MIGRATE", "127.0.0.1", &port, "", &db_text, "60000", "KEYS"].map(str::as_bytes);
        let keys = keys.keys().filter(|key| key.0 == db).map(|(_, key)| &key[..]);
        let request: Vec<&[u8]> = head.into_iter().chain(keys).collect();
        client.call(&[&b"SELECT"[..], db_text.as_bytes()])?;
        let reply = client.call(&request)?.text();
        ensure!(reply == "OK", "MIGRATE: {reply}");
    }
    Ok(())
}

/// A base and the manifest must be all that is left.
fn compact(tool: &Path, dir: &Path, format: &str) -> Result<()> {
    let output = Command::new(tool).args(["--format", format]).arg(dir).output()?;
    ensure!(output.status.success(), "everlog-rewrite:\n{}", String::from_utf8_lossy(&output.stdout));
    let left = fs::read_dir(dir)?.count();
    ensure!(left == 2, "{left} files are left in {}", dir.display());
    Ok(())
}

/// Fills a server and returns what its clients saw last.
fn write(writer: &Party, dir: &Path, rewrites: bool, killed: bool, options: &[&str]) -> Result<Dataset> {
    let server = Server::start(&writer.program, dir, free_port(), options)?;
    let mut client = server.connect()?;
    dataset::fill(&mut client)?;
    if rewrites {
        if writer.name != "everlog" && options.ends_with(&["--aof-use-rdb-preamble", "no"]) {
            dataset::forget_deleted(&mut client)?;
        }
        client.rewrite_aof()?;
    }
    dataset::change(&mut client)?;
    let seen = dataset::read(&mut client)?;
    if killed {
        server.kill()?
    } else {
        server.stop()?
    }
    Ok(seen)
}

/// Each is a server under another name.
fn checkers() -> Result<[(&'static str, PathBuf); 2]> {
    let redis = install::program("redis-server")?.with_file_name("redis-check-aof");
    let valkey = workspace::cache_dir("interop")?.join("valkey-check-aof");
    if !valkey.exists() {
        symlink(install::valkey_server()?, &valkey)?;
    }
    Ok([("redis-check-aof", redis), ("valkey-check-aof", valkey)])
}

/// A peer's checker must find nothing to complain of: no warning, no truncation.
fn check((name, checker): &(&str, PathBuf), dir: &Path) -> Result<()> {
    let manifest = dir.join("appendonlydir/appendonly.aof.manifest");
    let output = Command::new(checker).arg(manifest).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.contains("All AOF files and manifest are valid"),
        "{name}:\n{text}"
    );
    Ok(())
}

/// Has `reader` start on a copy of what is in `folder`.
fn read(reader: &Party, folder: &Path, expected: &Dataset, options: &[&str]) -> Result<()> {
    read_with(reader, folder, expected, options, |_| Ok(()))
}

/// The same; `look` comes before any key is used.
fn read_with(
    reader: &Party,
    folder: &Path,
    expected: &Dataset,
    options: &[&str],
    look: impl FnOnce(&mut Client) -> Result<()>,
) -> Result<()> {
    let (written, dir) = (folder.join("written"), folder.join(format!("read-by-{}", reader.name)));
    let shell = workspace::shell()?;
    cmd!(shell, "cp -r {written} {dir}").quiet().run()?;
    fs::remove_file(dir.join("server.log"))?;
    let server = Server::start(&reader.program, &dir, free_port(), options)?;
    let mut client = server.connect()?;
    look(&mut client)?;
    let found = dataset::read(&mut client)?;
    server.stop()?;
    let differences = dataset::differences(expected, &found);
    if !differences.is_empty() {
        bail!(
            "{} differences in {}:\n  {}",
            differences.len(),
            dir.display(),
            differences[..differences.len().min(10)].join("\n  ")
        );
    }
    Ok(())
}

fn redis_py(ours: &Path) -> Result<()> {
    script(ours, "redis-py", &install::python()?, "redis_py.py")
}

fn ioredis(ours: &Path) -> Result<()> {
    script(ours, "ioredis", &install::program("node")?, "ioredis.js")
}

/// Runs a script of `xtask/clients` against a fresh server, once per protocol.
fn script(ours: &Path, name: &str, interpreter: &Path, file: &str) -> Result<()> {
    let shell = workspace::shell()?;
    shell.set_var("NODE_PATH", workspace::cache_dir("npm")?.join("node_modules"));
    if name == "ioredis" {
        install::node_modules()?;
    }
    for protocol in ["3", "2"] {
        let server = Server::start(ours, &fresh_dir(name)?, free_port(), OPTIONS)?;
        let port = server.port().to_string();
        cmd!(shell, "{interpreter} xtask/clients/{file} {port} {protocol}").quiet().run()?;
        server.stop()?;
    }
    Ok(())
}

/// A session through a pipe in each protocol, and what its help makes of COMMAND DOCS.
fn redis_cli(ours: &Path) -> Result<()> {
    let cli = install::program("redis-cli")?;
    let server = Server::start(ours, &fresh_dir("redis-cli")?, free_port(), OPTIONS)?;
    let session = |option: &str, input: &str| {
        pipe(Command::new(&cli).args(["-p", &server.port().to_string(), option]), input)
    };
    for (option, expected) in [("-2", CLI_RESP2), ("-3", CLI_RESP3)] {
        let output = session(option, CLI_SESSION)?;
        ensure!(
            output.trim_end() == expected,
            "redis-cli {option} printed\n{output}\ninstead of\n{expected}"
        );
        for (command, usage) in CLI_HELP {
            let output = session(option, &format!("HELP {command}\n"))?;
            ensure!(output.contains(usage), "redis-cli {option} printed\n{output}\nwithout\n{usage}");
        }
    }
    server.stop()
}

/// What a redis-cli prints that reads this.
fn pipe(cli: &mut Command, input: &str) -> Result<String> {
    let mut process = cli.arg("--no-raw").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    process.stdin.take().context("no pipe")?.write_all(input.as_bytes())?;
    Ok(String::from_utf8_lossy(&process.wait_with_output()?.stdout).into_owned())
}

/// What comes behind a command's name.
const CLI_HELP: &[(&str, &str)] = &[
    ("GETEX", "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]"),
    (
        "XADD",
        "key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]",
    ),
    ("CONFIG SET", "parameter value [parameter value ...]"),
];

const CLI_SESSION: &str = "FLUSHALL\nSET key \"a value\"\nGET key\nHSET hash field 1\nHGETALL hash\nZADD zset 1.5 m\n\
                           ZSCORE zset m\nGET none\nINCR key\n";
const CLI_RESP2: &str = "OK\nOK\n\"a value\"\n(integer) 1\n1) \"field\"\n2) \"1\"\n(integer) 1\n\"1.5\"\n(nil)\n\
                         (error) ERR value is not an integer or out of range";
const CLI_RESP3: &str = "OK\nOK\n\"a value\"\n(integer) 1\n1# \"field\" => \"1\"\n(integer) 1\n(double) 1.5\n(nil)\n\
                         (error) ERR value is not an integer or out of range";

/// All default tests of redis-benchmark, briefly, plain and pipelined.
fn redis_benchmark(ours: &Path) -> Result<()> {
    let benchmark = install::program("redis-cli")?.with_file_name("redis-benchmark");
    let server = Server::start(ours, &fresh_dir("redis-benchmark")?, free_port(), OPTIONS)?;
    let port = server.port().to_string();
    let shell = workspace::shell()?;
    for depth in ["1", "16"] {
        let output =
            cmd!(shell, "{benchmark} -p {port} -n 3000 -c 20 -r 100 -P {depth} --csv").quiet().output()?;
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let complaint =
            text.lines().find(|line| line.contains("Error") || line.contains("WARN") || line.contains("ERR"));
        ensure!(complaint.is_none(), "-P {depth}: {}", complaint.unwrap_or_default());
        ensure!(text.contains("MSET"), "-P {depth}: it ended before its last test:\n{text}");
    }
    server.stop()
}

fn fresh_dir(name: &str) -> Result<PathBuf> {
    let dir = workspace::cache_dir("interop")?.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
