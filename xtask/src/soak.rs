//! `cargo xtask soak [FACTOR]`: the randomised tests and `differ`, each FACTOR times as long as in ci.
//!
//! Such a test reads the environment variable `EVERLOG_SOAK` and multiplies its iterations by it. The packages whose
//! sources name the variable are the ones that run.

use std::fs;

use anyhow::{Result, ensure};
use xshell::cmd;

use crate::args::Args;
use crate::{differ, tidy, workspace};

/// The variable that randomised tests multiply their iterations by.
const VARIABLE: &str = "EVERLOG_SOAK";

/// `cargo xtask soak`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let words = args.words()?;
    let factor: u32 = words.first().map_or(Ok(100), |word| word.parse())?;
    ensure!(factor > 0 && words.len() < 2, "one factor, at least 1");
    let packages = packages()?;
    ensure!(!packages.is_empty(), "no test reads {VARIABLE}");
    println!("{VARIABLE}={factor}: {}", packages.join(" "));
    let selection = packages.iter().flat_map(|package| ["-p", package]);
    let shell = workspace::shell()?;
    shell.set_var(VARIABLE, factor.to_string());
    // Some tell how much they have tried.
    cmd!(shell, "cargo test --release {selection...} -- --show-output").run()?;
    let commands = (u64::from(factor) * differ::COMMANDS).to_string();
    differ::run(&mut Args::new([String::from("--commands"), commands].into_iter()))
}

fn packages() -> Result<Vec<&'static str>> {
    let mut packages = Vec::new();
    for (package, folder) in tidy::CRATES {
        let files = tidy::files(&workspace::root().join(folder))?;
        let soaks =
            |path: &std::path::PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(VARIABLE));
        if *folder != "xtask" && files.iter().any(soaks) {
            packages.push(*package);
        }
    }
    Ok(packages)
}
