//! `cargo xtask loom [MODEL]`: the models of cross-thread protocols, every interleaving of them.
//!
//! `--cfg loom` swaps what `sync.rs` exports, so all is built again: in `loom/` below the build directory, lest a
//! model costs the next ordinary build its cache. Some crates of others heed the same word and then ask for a loom
//! that their manifest does not bring (`ecow` does). So this program stands in front of rustc, as `RUSTC_WRAPPER`, and
//! takes the word out wherever the crate is not ours.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use crate::args::Args;
use crate::{workers, workspace};

/// Set where this program is called in rustc's place.
const WRAPPER: &str = "EVERLOG_LOOM_RUSTC";

/// `cargo xtask loom`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    const PACKAGES: [&str; 2] = ["everlog-aof", "everlog-rewrite"];
    let (filter, shell) = (&args.words()?, shell()?);
    // A misspelt model must not pass for one that holds.
    let packages = PACKAGES.iter().flat_map(|package| ["-p", package]);
    let list =
        cmd!(shell, "cargo test --quiet --lib --release {packages...} -- {filter...} --list").read()?;
    let models = list.lines().filter(|line| line.ends_with(": test")).count();
    ensure!(filter.is_empty() || models > 0, "no model matches {filter:?}");
    println!("{models} models");
    // Side by side, since one model takes most of the time of the second.
    workers::share(&PACKAGES, PACKAGES.len(), |_, package| {
        let shell = self::shell()?;
        cmd!(shell, "cargo test --quiet --lib --release -p {package} -- {filter...}").run()?;
        Ok(())
    })
}

/// Where `cargo` builds with `--cfg loom`.
fn shell() -> Result<Shell> {
    let shell = workspace::shell()?;
    shell.set_var("CARGO_TARGET_DIR", workspace::target_dir().join("loom"));
    shell.set_var("RUSTFLAGS", "--cfg loom");
    shell.set_var("RUSTC_WRAPPER", std::env::current_exe()?);
    shell.set_var(WRAPPER, "1");
    // It would take longer than it saves.
    shell.set_var("CARGO_PROFILE_RELEASE_LTO", "off");
    Ok(shell)
}

/// In rustc's place, becomes rustc; returns otherwise, and when there is no rustc to become.
pub(crate) fn become_rustc() {
    if std::env::var_os(WRAPPER).is_none() {
        return;
    }
    let mut words = std::env::args_os().skip(1);
    let Some(rustc) = words.next() else { return };
    // Unset when cargo asks which words are set: its answer decides whether loom is a dependency at all.
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let is_ours = package.is_none_or(|folder| Path::new(&folder).starts_with(workspace::root()));
    let words: Vec<OsString> = words.collect();
    let words = if is_ours { words } else { without_cfg_loom(words) };
    let error = Command::new(rustc).args(words).exec();
    eprintln!("rustc: {error}");
}

fn without_cfg_loom(words: Vec<OsString>) -> Vec<OsString> {
    let mut kept: Vec<OsString> = Vec::with_capacity(words.len());
    for word in words {
        if word == "loom" && kept.last().is_some_and(|last| last == "--cfg") {
            kept.pop();
        } else {
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::without_cfg_loom;

    #[test]
    fn only_the_word_itself_is_taken_out() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(OsString::from).collect() };
        let given = words("--crate-name loom --cfg feature=\"std\" --cfg loom --cfg");
        assert_eq!(without_cfg_loom(given), words("--crate-name loom --cfg feature=\"std\" --cfg"));
    }
}
