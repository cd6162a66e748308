//! `cargo xtask tidy`: the rules that neither rustc nor clippy knows. Also a test, so `cargo test` keeps them.
//!
//! Each rule is a function from the tree to complaints, and most are a table with a loop around it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::args::Args;
use crate::workspace;

/// Our packages and their folders.
pub(crate) const CRATES: &[(&str, &str)] = &[
    ("everlog-resp", "resp"),
    ("everlog-keyspace", "keyspace"),
    ("everlog-aof", "aof"),
    ("everlog-rewrite", "rewrite"),
    ("everlog-server", "server"),
    ("xtask", "xtask"),
];

/// Which of our crates a crate depends on: all of these, and no other.
const ARROWS: &[(&str, &[&str])] = &[
    ("everlog-resp", &[]),
    ("everlog-keyspace", &["everlog-resp"]),
    ("everlog-aof", &["everlog-resp"]),
    ("everlog-rewrite", &["everlog-aof", "everlog-keyspace", "everlog-resp"]),
    ("everlog-server", &["everlog-aof", "everlog-keyspace", "everlog-resp", "everlog-rewrite"]),
    ("xtask", &[]),
];

/// The crate roots that must carry a line.
const ROOT_LINES: &[(&str, &str)] = &[
    ("resp/src/lib.rs", "#![forbid(unsafe_code)]"),
    // Not forbidden: a module may have to allow it one day, and then says why.
    ("keyspace/src/lib.rs", "#![deny(unsafe_code)]"),
    ("aof/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("rewrite/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("xtask/src/main.rs", "#![forbid(unsafe_code)]"),
];

/// Words that code below a folder does not use, but for the listed files: what a crate is kept free of.
#[rustfmt::skip]
const ABSENCES: &[(&str, &[&str], &[&str], &str)] = &[
    ("aof/src",      THREAD_WORDS, SYNC_FILES, "loom must see every thread, lock and atomic: import sync.rs"),
    ("rewrite/src",  THREAD_WORDS, SYNC_FILES, "loom must see every thread, lock and atomic: import sync.rs"),
    ("resp/src",     IO_WORDS,     &[],        "the protocol does no I/O"),
    ("keyspace/src", IO_WORDS,     &[],        "the data knows no file, socket, thread or clock"),
];

/// The last is a disk in memory, for tests; its lock is the disk's, not the log's.
const SYNC_FILES: &[&str] = &["aof/src/sync.rs", "rewrite/src/sync.rs", "aof/src/fs/mem.rs"];

/// `std::sync::Arc` is none of them: a reference count is no protocol, and loom's cannot hold a trait object.
#[rustfmt::skip]
const THREAD_WORDS: &[&str] = &[
    "std::sync::{", "sync::atomic", "sync::Mutex", "sync::RwLock", "sync::Condvar", "sync::Once", "sync::Lazy", "sync::mpsc",
    "use std::thread", "thread::spawn", "thread::Builder", "thread::scope", "parking_lot", "loom::",
];

#[rustfmt::skip]
const IO_WORDS: &[&str] = &[
    "std::net", "std::fs", "std::thread", "thread::spawn", "SystemTime", "Instant::now", "mio::", "rustix::",
];

/// Hosts that an address in the tree may name. Where packages are downloaded from is the machine's business.
#[rustfmt::skip]
const HOSTS: &[&str] = &[
    "127.0.0.1", "localhost", "example.com", "github.com", "docs.rs", "crates.io", "doc.rust-lang.org", "rust-lang.org",
    "redis.io", "valkey.io", "lwn.net", "man7.org", "kernel.org", "www.usenix.org", "en.wikipedia.org", "json-schema.org",
    "opensource.org", "www.apache.org", "www.rfc-editor.org", "keepachangelog.com", "semver.org", "spec.commonmark.org",
];

/// Files that may be longer than [`MAX_LINES`], with the reason.
const LONG_FILES: &[(&str, &str)] = &[];
const MAX_LINES: usize = 1000;

/// `cargo xtask tidy`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    args.finish()?;
    let complaints = complaints()?;
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    ensure!(complaints.is_empty(), "{} complaints", complaints.len());
    Ok(())
}

fn complaints() -> Result<Vec<String>> {
    let root = workspace::root();
    let mut complaints = arrows()?;
    complaints.extend(root_lines(root));
    for path in files(root)? {
        // What is not text has no rule.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        complaints.extend(addresses(&name, &text));
        if name.ends_with(".rs") {
            complaints.extend(source_file(&name, &text));
            complaints.extend(absences(&name, &text));
        }
    }
    Ok(complaints)
}

/// All files of the tree but what is built, hidden, or a data directory of a server run by hand.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && ![".ci", ".cargo"].contains(&name.as_str());
        if hidden || ["target", "everlog-data", "appendonlydir"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() { files.extend(self::files(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// `[dependencies]` among our crates are exactly [`ARROWS`].
fn arrows() -> Result<Vec<String>> {
    let shell = workspace::shell()?;
    let metadata = cmd!(shell, "cargo metadata --quiet --no-deps --format-version 1").quiet().read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let mut complaints = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            complaints.push(format!("{name}: not in the table of arrows"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().context("a package has no dependencies")?;
        let found = our_dependencies(dependencies);
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        if found != allowed {
            complaints.push(format!("{name}: depends on {found:?}, the arrows say {allowed:?}"));
        }
    }
    Ok(complaints)
}

/// Names of our own crates among normal and build dependencies; tests may reach sideways.
fn our_dependencies(dependencies: &[serde_json::Value]) -> BTreeSet<&str> {
    let is_shipped = |dependency: &&serde_json::Value| dependency["kind"].as_str() != Some("dev");
    let names = dependencies.iter().filter(is_shipped).filter_map(|dependency| dependency["name"].as_str());
    names.filter(|name| CRATES.iter().any(|(ours, _)| ours == name)).collect()
}

fn root_lines(root: &Path) -> Vec<String> {
    let missing = |(file, line): &&(&str, &str)| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        !text.lines().any(|found| found == *line)
    };
    ROOT_LINES.iter().filter(missing).map(|(file, line)| format!("{file}: needs the line {line}")).collect()
}

/// Rules for every source file.
fn source_file(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") && !text.is_empty() {
        complaints.push(format!("{name}: opens without a `//!` line that says what it is"));
    }
    for (at, line) in text.lines().enumerate() {
        // In two parts, so that this file passes its own rule.
        if [concat!("to", "do!"), concat!("unimpl", "emented!")].iter().any(|word| line.contains(word)) {
            complaints.push(format!("{name}:{}: absent is better than pretended", at + 1));
        }
    }
    let listed = LONG_FILES.iter().any(|(file, _)| *file == name);
    let long = !is_test(name) && text.lines().count() > MAX_LINES;
    match (long, listed) {
        (true, false) => {
            complaints.push(format!("{name}: more than {MAX_LINES} lines, and not listed with a reason"))
        }
        (false, true) => complaints.push(format!("{name}: listed as long, but it is not")),
        _ => {}
    }
    complaints
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

/// Rules for every text file: no foreign hosts, no paths of one person's machine.
fn addresses(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut complain = |what: &str| complaints.push(format!("{name}:{}: {what}", at + 1));
        for host in line.split("://").skip(1).map(host) {
            // Templates and prefixes (`redis://{host}`) name no host.
            if host.contains('.') && !HOSTS.contains(&host) {
                complain(&format!("names the host {host}, which is not in xtask's list"));
            }
        }
        if MACHINE_PATHS.iter().any(|path| line.contains(path)) {
            complain("names a path of somebody's machine");
        }
    }
    complaints
}

/// In two parts, so that this file passes its own rule.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

fn host(address: &str) -> &str {
    let end = address.find(|next: char| !next.is_ascii_alphanumeric() && !".-_".contains(next));
    end.map_or(address, |end| &address[..end]).trim_end_matches('.')
}

fn absences(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, words, except, why) in ABSENCES {
        if !Path::new(name).starts_with(folder) || except.contains(&name) || is_test(name) {
            continue;
        }
        for (at, line) in shipped(text) {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{name}:{}: {word}: {why}", at + 1));
            }
        }
    }
    complaints
}

/// The lines of code that ship, with their places: no comments, and not the tests at the file's end.
fn shipped(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let is_tests = |(line, next): (&str, &str)| {
        line.starts_with("#[cfg(") && line.contains("test") && next.starts_with("mod ") && next.contains('{')
    };
    let tests = text.lines().zip(text.lines().skip(1)).position(is_tests).unwrap_or(usize::MAX);
    text.lines().enumerate().take(tests).filter(move |(_, line)| !is_comment(line))
}

#[cfg(test)]
mod tests {
    use super::{absences, addresses, complaints, source_file};

    #[test]
    fn the_tree_is_tidy() {
        let complaints = complaints().unwrap();
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }

    #[test]
    fn a_file_must_say_what_it_is_and_pretend_nothing() {
        assert_eq!(source_file("aof/src/x.rs", "//! Does x.\nfn x() {}\n"), [""; 0]);
        assert_eq!(source_file("aof/src/x.rs", "fn x() {}\n").len(), 1);
        assert_eq!(source_file("aof/src/x.rs", concat!("//! X.\nfn x() { to", "do!() }\n")).len(), 1);
        let long = format!("//! X.\n{}", "\n".repeat(1000));
        assert_eq!(source_file("aof/src/x.rs", &long).len(), 1);
        assert_eq!(source_file("aof/src/tests/x.rs", &long), [""; 0]);
    }

    #[test]
    fn threads_are_named_in_sync_only() {
        let code = "//! X. Not std::sync.\n#[cfg(test)]\nmod tests;\nuse std::sync::Arc;\nuse std::sync::atomic::AtomicU64;\n\
                    #[cfg(all(test, not(loom)))]\nmod more { use std::thread; }\n";
        assert_eq!(absences("aof/src/x.rs", code).len(), 1);
        assert_eq!(absences("aof/src/sync.rs", code), [""; 0]);
        assert_eq!(absences("aof/src/tests/x.rs", code), [""; 0]);
        assert_eq!(absences("server/src/x.rs", code), [""; 0]);
        assert_eq!(absences("keyspace/src/x.rs", "//! X.\nlet now = SystemTime::now();\n").len(), 1);
    }

    #[test]
    fn foreign_hosts_and_private_paths_are_found() {
        assert_eq!(
            addresses("README.md", "https://github.com/x and redis://127.0.0.1:6379 and https://{host}/x"),
            [""; 0]
        );
        let foreign = format!("see https{}packages.invalid.corp/simple", "://");
        assert_eq!(addresses("README.md", &foreign).len(), 1);
        assert_eq!(addresses("README.md", concat!("cd /wo", "rk/x")).len(), 1);
    }
}
