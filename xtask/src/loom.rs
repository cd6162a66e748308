//! `cargo xtask loom [MODEL]`: the models of cross-thread protocols, every interleaving of them.
//!
//! `--cfg loom` swaps what `sync.rs` exports, so all is built again: in `loom/` below the build directory, lest a
//! model costs the next ordinary build its cache.

use anyhow::{Result, ensure};
use xshell::cmd;

use crate::args::Args;
use crate::workspace;

/// `cargo xtask loom`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let filter = &args.words()?;
    let shell = workspace::shell()?;
    shell.set_var("CARGO_TARGET_DIR", workspace::target_dir().join("loom"));
    shell.set_var("RUSTFLAGS", "--cfg loom");
    // Two preemptions find nearly all that three find, in minutes instead of days.
    shell.set_var("LOOM_MAX_PREEMPTIONS", "2");
    let packages = ["-p", "everlog-aof", "-p", "everlog-rewrite"];
    // A misspelt model must not pass for one that holds.
    let list =
        cmd!(shell, "cargo test --quiet --lib --release {packages...} -- {filter...} --list").read()?;
    let models: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    ensure!(filter.is_empty() || !models.is_empty(), "no model matches {filter:?}");
    println!("{} models", models.len());
    cmd!(shell, "cargo test --quiet --lib --release {packages...} -- {filter...}").run()?;
    Ok(())
}
