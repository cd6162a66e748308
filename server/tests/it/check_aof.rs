//! The checker as operators and Redis's own tests know it: the words and exit codes of redis-check-aof, which is asked
//! itself wherever it is installed; and the command that a refused start advises, word for word.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{World, eventually, names, not_tested};

const CHECKER: &str = env!("CARGO_BIN_EXE_everlog-check-aof");
const MANIFEST: &str = "appendonly.aof.manifest";
const BASE: &str = "appendonly.aof.1.base.aof";
const INCR: &str = "appendonly.aof.1.incr.aof";
const RDB: &str = "appendonly.aof.2.base.rdb";

/// Runs a checker in the log's directory, and answers its question.
fn run(program: impl AsRef<std::ffi::OsStr>, dir: &Path, args: &[&str], answer: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().ok()?;
    // Whoever asks nothing may be gone by now.
    let _ = process.stdin.take().unwrap().write_all(answer.as_bytes());
    Some(process.wait_with_output().unwrap())
}

/// What ours prints, and its exit code.
fn check(world: &World, args: &[&str], answer: &str) -> (String, i32) {
    words(&run(CHECKER, &world.aof_dir(), args, answer).unwrap())
}

fn words(output: &Output) -> (String, i32) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{text}");
    (text, output.status.code().unwrap())
}

/// What Redis's own prints; none where it is not installed. `cargo xtask ci` installs it.
fn stock(dir: &Path, args: &[&str], answer: &str) -> Option<(String, i32)> {
    let output = run("redis-check-aof", dir, args, answer);
    if output.is_none() {
        not_tested("redis-check-aof");
    }
    output.as_ref().map(words)
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    let argv: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    resp::request::encode(&argv, &mut out);
    out.to_vec()
}

/// A log as another server writes it.
fn foreign(base: &[u8], incr: &[u8]) -> World {
    let world = World::new();
    fs::create_dir(world.aof_dir()).unwrap();
    fs::write(world.aof_file(BASE), base).unwrap();
    fs::write(world.aof_file(INCR), incr).unwrap();
    let manifest = format!("file {BASE} seq 1 type b\nfile {INCR} seq 1 type i\n");
    fs::write(world.aof_file(MANIFEST), manifest).unwrap();
    world
}

/// A log of ours: a base, and an incr of one block for each of these keys.
fn ours(keys: &[&str]) -> World {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always", "--aof-use-rdb-preamble", "no"]);
    let mut client = server.client();
    for key in keys {
        assert_eq!(client.ask(&format!("SET {key} value-of-{key}")), "OK");
    }
    drop(client);
    assert!(server.terminate().success());
    world
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(&name)).unwrap())).collect()
}

fn damage(world: &World, name: &str, needle: &str) {
    let path = world.aof_file(name);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_log_is_valid_to_both_checkers_and_neither_writes() {
    let world = ours(&["a", "b"]);
    let before = contents(&world.aof_dir());
    let (text, code) = check(&world, &[MANIFEST], "");
    let lines: Vec<&str> = text.lines().collect();
    let size = fs::metadata(world.aof_file(INCR)).unwrap().len();
    let analyzed =
        format!("AOF analyzed: filename={INCR}, size={size}, ok_up_to={size}, ok_up_to_line=20, diff=0");
    let incr = format!("INCR AOF {INCR} is valid");
    assert_eq!(lines[..2], ["Start checking Multi Part AOF", "Start to check BASE AOF (RESP format)."]);
    assert_eq!(lines[4..7], ["Start to check INCR files.", &analyzed, &incr], "{text}");
    assert!(
        lines[7].starts_with("Checksums: ") && lines[7].ends_with(" blocks are right, 0 bytes have none")
    );
    assert_eq!((lines[8], lines.len(), code), ("All AOF files and manifest are valid", 9, 0));
    if let Some((text, code)) = stock(&world.aof_dir(), &[MANIFEST], "") {
        assert!(text.contains(&analyzed) && code == 0, "{text}");
    }
    assert_eq!(contents(&world.aof_dir()), before);
}

/// Files of commands without a line of ours: the figures, the verdicts and the exit codes are Redis's.
#[test]
fn single_files_are_judged_as_redis_check_aof_judges_them() {
    let set = request(&["SET", "foo", "hello"]);
    let multi = [request(&["MULTI"]), set.clone()].concat();
    let whole = [multi.clone(), request(&["EXEC"])].concat();
    let cases: &[&[&[u8]]] = &[
        &[],
        &[&set],
        &[&set, &set[..set.len() - 1]],
        &[&set, b"!!!"],
        &[&set, b"*x\r\n"],
        &[&set, b"*1\r\n$4\r\nPIXX\r\r\n", &set],
        &[&set, &whole, &multi],
        &[b"#TS:1628217470\r\n", &set, b"# any line\r\n", &set, b"*3\r\n$3\r\nSE"],
    ];
    for case in cases {
        let world = foreign(b"", b"");
        fs::write(world.aof_file("old.aof"), case.concat()).unwrap();
        let (text, code) = check(&world, &["old.aof"], "");
        let Some((expected, expected_code)) = stock(&world.aof_dir(), &["old.aof"], "") else { return };
        let shared = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("0x") && !line.contains("format error"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!((shared(&text), code), (shared(&expected), expected_code), "{text}\n{expected}");
    }
}

#[test]
fn fix_asks_copies_and_cuts_the_last_file_and_the_server_starts() {
    let set = request(&["SET", "foo", "hello"]);
    let torn = [&set[..], b"!!!"].concat();
    let world = foreign(b"", &torn);
    let (text, code) = check(&world, &[MANIFEST], "");
    assert!(text.contains("ok_up_to=33, ok_up_to_line=8, diff=3"), "{text}");
    assert!(text.contains(&format!("AOF {INCR} is not valid. Use the --fix option to try fixing it.")));
    assert!(!text.contains("All AOF files") && code == 1, "{text}");

    let question = format!(
        "This will shrink the AOF {INCR} from 36 bytes, with 3 bytes, to 33 bytes\nContinue? [y/N]: "
    );
    for answer in ["n\n", "\n", ""] {
        let (text, code) = check(&world, &["--fix", MANIFEST], answer);
        assert!(text.ends_with(&format!("{question}Aborting...\n")) && code == 1, "{text}");
        assert_eq!(fs::read(world.aof_file(INCR)).unwrap(), torn);
    }
    let (text, code) = check(&world, &["--fix", MANIFEST], "y\n");
    assert!(text.contains(&question), "{text}");
    assert!(text.contains(&format!("Successfully truncated AOF {INCR}\n")), "{text}");
    assert!(text.ends_with("All AOF files and manifest are valid\n") && code == 0, "{text}");
    assert_eq!(fs::read(world.aof_file(INCR)).unwrap(), set);
    assert_eq!(fs::read(world.aof_file(&format!("{INCR}.cut-33"))).unwrap(), b"!!!");
    let server = world.start_aof(&["--aof-use-rdb-preamble", "no"]);
    assert_eq!(server.client().ask("GET foo"), "hello");
}

#[test]
fn fix_and_truncate_refuse_a_file_that_is_not_the_last() {
    let set = request(&["SET", "foo", "hello"]);
    let world = foreign(&[&set[..], &request(&["MULTI"]), &set].concat(), &set);
    let before = contents(&world.aof_dir());
    let (text, code) = check(&world, &["--fix", MANIFEST], "y\n");
    let words = format!("Failed to truncate AOF {BASE} because it is not the last file");
    assert!(text.contains(&words) && code == 1, "{text}");
    fs::write(world.aof_file(BASE), [&b"#TS:100\r\n"[..], &set, b"#TS:200\r\n", &set].concat()).unwrap();
    let (text, code) = check(&world, &["--truncate-to-timestamp", "150", MANIFEST], "");
    let words =
        format!("Failed to truncate AOF {BASE} to timestamp 150 to offset 42 because it is not the last");
    assert!(text.contains(&words) && code == 1, "{text}");
    fs::write(world.aof_file(BASE), &before[0].1).unwrap();
    assert_eq!(contents(&world.aof_dir()), before);
}

#[test]
fn a_log_can_be_truncated_to_a_timestamp() {
    let stamped = |second: u64| {
        [format!("#TS:{second}\r\n").into_bytes(), request(&["SET", &format!("k{second}"), "v"])].concat()
    };
    let world = foreign(b"", &[stamped(100), stamped(200), stamped(300)].concat());
    let until = |until: &str| check(&world, &["--truncate-to-timestamp", until, MANIFEST], "");
    let len = || fs::metadata(world.aof_file(INCR)).unwrap().len();
    let whole = len();
    let (text, code) = until("300");
    assert!(
        text.contains(&format!("Truncate nothing in AOF {INCR} to timestamp 300\n")) && code == 0,
        "{text}"
    );
    let (text, code) = until("299");
    assert!(text.contains(&format!("Successfully truncated AOF {INCR} to timestamp 299\n")), "{text}");
    assert!(text.ends_with("All AOF files and manifest are valid\n") && code == 0, "{text}");
    assert_eq!(len(), whole / 3 * 2);
    assert_eq!(fs::read(world.aof_file(&format!("{INCR}.cut-{}", len()))).unwrap(), stamped(300));
    let (text, code) = until("99");
    assert!(text.contains(&format!("AOF {INCR} has nothing before timestamp 99, aborting...")), "{text}");
    assert_eq!((len(), code), (whole / 3 * 2, 1));
    fs::write(world.aof_file("odd.aof"), [&stamped(100)[..], b"#TS:soon\r\n", &stamped(100)].concat())
        .unwrap();
    let (text, code) = check(&world, &["--truncate-to-timestamp", "300", "odd.aof"], "");
    assert!(text.contains("an invalid timestamp") && code == 1, "{text}");
    let (text, code) = until("soon");
    assert!(text.contains("invalid") && code == 1, "{text}");
    let server = world.start_aof(&["--aof-use-rdb-preamble", "no"]);
    assert_eq!(server.client().ask("EXISTS k100 k200 k300"), ":2");
}

#[test]
fn json_names_every_damaged_place_with_its_keys() {
    let world = ours(&["a", "b", "c", "d"]);
    damage(&world, INCR, "value-of-b");
    damage(&world, INCR, "value-of-d");
    let (text, code) = check(&world, &["--json", MANIFEST], "");
    let report: Value = serde_json::from_str(&text).unwrap();
    let places = report["damaged"].as_array().unwrap();
    assert_eq!((places.len(), &report["valid"], code), (2, &Value::Bool(false), 1), "{text}");
    for (place, key) in places.iter().zip(["b", "d"]) {
        assert_eq!(place["file"], INCR);
        assert_eq!(place["verdict"], "corrupt");
        assert_eq!(place["keys"], serde_json::json!([key]));
        assert!(place["offset"].as_u64() > Some(0) && place["length"].as_u64() > Some(0));
        assert!(place["position"].is_u64(), "{place}");
    }
    assert_eq!(report["torn_tail"], Value::Null);
    assert_eq!(report["unverified_bytes"], 0);
    assert_eq!(report["files"][1]["ok_up_to"], places[0]["offset"]);

    let error: Value = serde_json::from_str(&check(&world, &["--json", "nonesuch"], "").0).unwrap();
    assert!(error["error"].as_str().unwrap().starts_with("Cannot open file nonesuch"), "{error}");
}

/// The text of a refused start is the operator's only guide: what it says to type must work.
#[test]
fn the_repair_that_a_refused_start_advises_keeps_every_other_key() {
    let world = ours(&["a", "b", "c", "d"]);
    damage(&world, INCR, "value-of-b");
    let before = contents(&world.aof_dir());
    let refusal = world.refused(&["--appendonly", "yes"]);
    let advice = refusal.output.split("use '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    let mut advised = advice.split(' ');
    assert_eq!(advised.next(), Some("everlog-check-aof"), "{}", refusal.output);
    let args: Vec<&str> = advised.collect();
    let (text, code) = words(&run(CHECKER, Path::new("/"), &args, "").unwrap());
    assert!(text.contains("keys: b\n") && text.contains("Successfully repaired AOF"), "{text}");
    assert_eq!(code, 0, "{text}");
    for (name, bytes) in before.iter().filter(|(name, _)| name != MANIFEST) {
        assert_eq!(&fs::read(world.aof_file(name)).unwrap(), bytes, "{name} stays");
    }
    assert_eq!(&fs::read(world.aof_file(&format!("{MANIFEST}.replaced-0"))).unwrap(), &before[2].1);
    assert!(check(&world, &["repair", MANIFEST], "").0.contains("Nothing to repair"));
    if let Some((text, code)) = stock(&world.aof_dir(), &[MANIFEST], "") {
        assert!(text.contains("All AOF files and manifest are valid") && code == 0, "{text}");
    }

    let expected = "[value-of-a nil value-of-c value-of-d]";
    let server = world.start_aof(&["--aof-use-rdb-preamble", "no"]);
    assert_eq!(server.client().ask("MGET a b c d"), expected);
    assert_eq!(server.client().ask("SET e 1"), "OK");
    assert!(server.terminate().success());
    if let Some(redis) = world.start_redis(&[]) {
        assert_eq!(redis.client().ask("MGET a b c d e"), expected.replace(']', " 1]"));
    }
}

/// A crash between the first manifest and the renames leaves a listed incr under its temporary name. A repair listed
/// another in its place, and the next start removed the only copy of the damage.
#[test]
fn a_repair_names_what_a_crash_left_unnamed_and_no_start_removes_it() {
    let world = ours(&["a", "b", "c"]);
    damage(&world, INCR, "value-of-b");
    let damaged = fs::read(world.aof_file(INCR)).unwrap();
    fs::rename(world.aof_file(INCR), world.aof_file("temp-appendonly.aof.incr")).unwrap();
    let (text, code) = check(&world, &["repair", MANIFEST], "");
    assert!(text.contains("Successfully repaired AOF") && code == 0, "{text}");
    let server = world.start_aof(&["--aof-use-rdb-preamble", "no"]);
    assert_eq!(server.client().ask("MGET a b c"), "[value-of-a nil value-of-c]");
    assert_eq!(fs::read(world.aof_file(INCR)).unwrap(), damaged);
}

#[test]
fn a_repair_keeps_the_rdb_that_a_damaged_base_begins_with() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    assert_eq!(client.ask("MSET a 1 b 2"), "OK");
    server.rewrite();
    assert_eq!(client.ask("SET c 3"), "OK");
    drop(client);
    assert!(server.terminate().success());
    damage(&world, "appendonly.aof.2.base.rdb", " b ");
    assert!(world.refused(&["--appendonly", "yes"]).output.contains("everlog-check-aof repair"));
    let (text, code) = check(&world, &["repair", MANIFEST], "");
    assert!(text.contains("appendonly.aof.3.base.rdb") && code == 0, "{text}");
    if let Some((text, code)) = stock(&world.aof_dir(), &[MANIFEST], "") {
        assert!(text.contains("All AOF files and manifest are valid") && code == 0, "{text}");
    }
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("MGET a b c"), "[1 2 3]");
    assert!(server.terminate().success());
}

#[test]
fn a_repair_keeps_sound_commands_behind_an_rdb_and_before_the_damage() {
    let empty_rdb = b"REDIS0009\xff\0\0\0\0\0\0\0\0".as_slice();
    let base = [empty_rdb, &request(&["SET", "a", "1"]), b"damage\r\n"].concat();
    let world = foreign(&base, &request(&["SET", "b", "2"]));
    let (text, code) = check(&world, &["repair", MANIFEST], "");
    assert!(text.contains("appendonly.aof.2.base.rdb") && code == 0, "{text}");
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("MGET a b"), "[1 2]");
    assert!(server.terminate().success());
}

/// A log behind the RDB base that a rewrite leaves by default.
fn behind_an_rdb() -> World {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    for (key, value) in [("a", "value-of-a"), ("b", "value-of-b"), ("c", "value-of-c")] {
        client.ok(&format!("SET {key} {value}"));
    }
    server.rewrite();
    client.ok("SET d value-of-d");
    drop(client);
    assert!(server.terminate().success());
    world
}

/// Of an RDB base a start said neither length nor keys nor what to do, and the checker looked at nothing behind it.
#[test]
fn damage_to_an_rdb_base_is_refused_with_advice_that_works() {
    let world = behind_an_rdb();
    damage(&world, RDB, "value-of-b");
    let damaged = fs::read(world.aof_file(RDB)).unwrap();
    let refusal = world.refused(&["--appendonly", "yes"]);
    for words in ["RDB CRC error", "bytes at offset 0 are damaged", "everlog-check-aof repair", RDB] {
        assert!(refusal.output.contains(words), "{words}: {refusal:?}");
    }
    let (text, code) = check(&world, &[MANIFEST], "");
    assert!(text.contains("3 keys of 3 announced can be read") && code == 1, "{text}");
    assert!(text.contains("INCR AOF appendonly.aof.2.incr.aof is valid"), "{text}");
    let (text, _) = check(&world, &["--json", MANIFEST], "");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&report["damaged"][0]["file"], &report["damaged"][0]["verdict"]),
        (&RDB.into(), &"corrupt".into())
    );
    assert_eq!(report["files"][1]["valid"], true, "{text}");
    let (text, code) = check(&world, &["repair", MANIFEST], "");
    assert!(text.contains("Successfully repaired AOF") && code == 0, "{text}");
    assert_eq!(fs::read(world.aof_file(RDB)).unwrap(), damaged, "the old one stays");
    if let Some((text, code)) = stock(&world.aof_dir(), &[MANIFEST], "") {
        assert!(text.contains("All AOF files and manifest are valid") && code == 0, "{text}");
    }
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("MGET a c d"), "[value-of-a value-of-c value-of-d]");
    assert!(server.terminate().success());
}

#[test]
fn quarantine_keeps_a_copy_of_a_damaged_rdb_base_and_loads_what_can_be_read() {
    let world = behind_an_rdb();
    let bytes = fs::read(world.aof_file(RDB)).unwrap();
    // Behind one key at least.
    let cut = &bytes[..bytes.windows(8).rposition(|window| window == b"value-of").unwrap()];
    fs::write(world.aof_file(RDB), cut).unwrap();
    let server = world.start_aof(&["--aof-load-corrupt", "quarantine"]);
    let mut client = server.client();
    assert_eq!(client.ask("DBSIZE"), ":3", "two of the base, and one behind it");
    assert_eq!(client.ask("GET d"), "value-of-d");
    eventually("a rewrite has come", || client.info("aof_rewrites") == "1");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    drop(client);
    assert!(server.terminate().success());
    assert_eq!(fs::read(world.aof_file(&format!("{RDB}.corrupt-0"))).unwrap(), cut);
    let log = world.log();
    let told = log
        .lines()
        .find(|line| line.contains(&format!("{RDB}: {} bytes at offset 0 are damaged", cut.len())));
    assert!(
        told.is_some_and(|line| line.contains("; loaded as far as they can be read, and copied to ")),
        "{log}"
    );
    let server = world.start_aof(&[]);
    assert_eq!(server.client().ask("DBSIZE"), ":3");
    assert!(server.terminate().success());
}

/// Whatever byte it is: named by file and place, and the incrs are looked at, unless no version of ours says what it is.
#[test]
fn any_damaged_byte_and_any_length_of_an_rdb_base_is_named() {
    let world = behind_an_rdb();
    let whole = fs::read(world.aof_file(RDB)).unwrap();
    let flipped = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        (format!("byte {at}"), bytes)
    });
    let cut = (0..whole.len()).map(|len| (format!("{len} bytes"), whole[..len].to_vec()));
    let head = whole.windows(5).position(|window| window == b"#EV1 ").unwrap();
    for (what, bytes) in flipped.chain(cut).filter(|(_, bytes)| bytes.len() != head) {
        fs::write(world.aof_file(RDB), bytes).unwrap();
        let (text, code) = check(&world, &["--json", MANIFEST], "");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&report["valid"], code), (&Value::Bool(false), 1), "{what}: {text}");
        match report["error"].as_str() {
            Some(error) => assert!(error.contains(RDB) && error.contains("at byte"), "{what}: {error}"),
            None => {
                assert_eq!(report["damaged"][0]["file"], RDB, "{what}: {text}");
                assert_eq!(report["files"][1]["valid"], true, "{what}: {text}");
            }
        }
    }
}

#[test]
fn an_rdb_base_is_read_through() {
    let world = foreign(b"REDIS0009\xff\0\0\0\0\0\0\0\0", b"");
    let (text, code) = check(&world, &[MANIFEST], "");
    assert!(text.contains("RDB preamble is OK") && code == 0, "{text}");
    let world = foreign(b"REDIS0009\x77\0\0\0\0\0\0\0\0", b"");
    let (text, code) = check(&world, &[MANIFEST], "");
    assert!(text.contains(BASE) && !text.contains("RDB preamble is OK") && code == 1, "{text}");
}

#[test]
fn what_cannot_be_checked_is_said_and_fails() {
    let world = foreign(b"", b"");
    assert_eq!(check(&world, &[], "").1, 1);
    let usage = "[--fix|--truncate-to-timestamp $timestamp|--json] <file.manifest|file.aof>\n";
    assert!(check(&world, &[], "").0.contains(usage));
    assert_eq!(check(&world, &["--fix", "--truncate-to-timestamp", "1", MANIFEST], "").1, 1);
    assert_eq!(check(&world, &["repair", INCR], "").1, 1);
    assert!(check(&world, &["nonesuch"], "").0.starts_with("Cannot open file nonesuch: "));
    let endless = format!("{}/{MANIFEST}", "x/".repeat(5_000));
    let (text, code) = check(&world, &[&endless], "");
    assert!(text.contains("File name too long") && code == 1, "{text}");
    let (text, code) = check(&world, &["-v"], "");
    assert!(text.contains("v=7.2.5") && code == 0, "{text}");
    let link = world.path().join("redis-check-aof");
    std::os::unix::fs::symlink(CHECKER, &link).unwrap();
    let (text, code) = words(&run(&link, &world.aof_dir(), &[MANIFEST], "").unwrap());
    assert!(text.ends_with("All AOF files and manifest are valid\n") && code == 0, "{text}");
    fs::remove_file(world.aof_file(INCR)).unwrap();
    let (text, code) = check(&world, &[MANIFEST], "");
    assert!(text.contains(INCR) && code == 1, "{text}");
    fs::write(world.aof_file(MANIFEST), "file x seq 1 type q\n").unwrap();
    let (text, code) = check(&world, &[MANIFEST], "");
    assert!(text.contains("line 1: Unknown AOF file type") && code == 1, "{text}");
}

/// A log of so many blocks of so many megabytes, of which the last one is torn.
fn megabytes(count: usize, megabytes: u64) -> World {
    let world = World::new();
    let options = aof::Options { fsync: aof::Fsync::No, ..aof::Options::new(world.path()) };
    let directory = aof::Directory::open(Arc::new(aof::fs::Disk), &options).unwrap();
    let mut log = aof::Log::start(directory, &options, Box::new(|| {})).unwrap();
    let command = request(&["SET", "key", &"v".repeat((megabytes * MEGABYTE) as usize)]);
    for _ in 0..count {
        log.append(1_700_000_000_000, &[aof::Op { db: 0, command: &command }]);
        log.seal(Instant::now());
        eventually("it is written", || log.written() == log.end());
    }
    log.stop().unwrap();
    let incr = fs::File::options().append(true).open(world.aof_file(INCR)).unwrap();
    (&incr).write_all(&command[..100]).unwrap();
    world
}

const MEGABYTE: u64 = 1 << 20;

/// The most memory that the checker has had when it has read everything, and asks what to do.
fn peak_bytes(world: &World) -> u64 {
    let mut command = Command::new(CHECKER);
    command.args(["--fix", MANIFEST]).current_dir(world.aof_dir());
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    while !text.ends_with(b"[y/N]: ") {
        let count = process.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..count]);
        assert!(count > 0, "{}", String::from_utf8_lossy(&text));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    // Nobody answers.
    drop(process.stdin.take());
    assert_eq!(process.wait().unwrap().code(), Some(1));
    peak_kib * 1024
}

/// Where no checksum vouches for a length, it may be anything: it took as much memory as the file has bytes.
#[test]
fn a_damaged_length_costs_no_memory() {
    let set = request(&["SET", "key", &"v".repeat(1000)]);
    let behind = set.repeat(100 * MEGABYTE as usize / set.len());
    for len in ["300000000000", "80000000"] {
        let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${len}\r\n");
        let world = foreign(b"", &[&set[..], head.as_bytes(), &behind].concat());
        let peak_bytes = peak_bytes(&world);
        assert!(peak_bytes < 32 * MEGABYTE, "{peak_bytes} bytes for a length of {len}");
    }
}

#[test]
fn a_log_is_checked_in_the_memory_of_a_few_blocks_however_long_it_is() {
    let (short, long) = (peak_bytes(&megabytes(4, 1)), peak_bytes(&megabytes(64, 1)));
    // How far reading gets ahead of checking is chance.
    assert!(long < short + 8 * MEGABYTE, "{long} bytes for 64 blocks, {short} for 4");
    assert!(long < 32 * MEGABYTE, "{long} bytes for 64 MiB");
}

/// Blocks and commands may be long: four of them were in memory.
#[test]
fn a_log_is_checked_in_the_memory_of_one_block_and_one_command() {
    let (short, long) = (peak_bytes(&megabytes(2, 1)), peak_bytes(&megabytes(2, 64)));
    assert!(
        long < short + (64 + 64 + 8) * MEGABYTE,
        "{long} bytes for blocks of 64 MiB, {short} for short ones"
    );
}
