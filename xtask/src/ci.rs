//! `cargo xtask ci [STEP...]`: everything that must hold before a merge, in the order of what fails soonest.
//!
//! All steps run even after one has failed, so that one visit shows all; the first failure decides the exit code.
//! Warnings are refused through clippy's own arguments: RUSTFLAGS would build every dependency a second time.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use xshell::cmd;

use crate::args::Args;
use crate::{compat, differ, install, interop, loom, tidy, workspace};

type Step = (&'static str, fn() -> Result<()>);

#[rustfmt::skip]
const STEPS: &[Step] = &[
    ("tidy",     || tidy::run(&mut no_args())),
    ("fmt",      || cargo("fmt --all --check")),
    ("clippy",   || cargo("clippy --workspace --all-targets --quiet -- -D warnings")),
    // Library, unit and integration tests, doctests; builds the examples too.
    ("test",     test),
    ("examples", examples),
    ("docs",     docs),
    ("loom",     || loom::run(&mut no_args())),
    // One iteration of each bench, as the tests are built: it must run, its figures mean nothing here.
    ("bench",    || cargo("test --workspace --benches --quiet")),
    ("server",   || cargo("build --release --quiet -p everlog-server --bins")),
    // The same commands each time; a soak sends others.
    ("differ",   || differ::run(&mut Args::new(["--seed", "1"].map(String::from).into_iter()))),
    ("interop",  || interop::run(&mut no_args())),
    ("compat",   || compat::run(&mut no_args())),
];

/// `cargo xtask ci`.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    let wanted = args.words()?;
    for name in &wanted {
        ensure!(STEPS.iter().any(|(step, _)| step == name), "no step {name:?}");
    }
    let mut results = Vec::new();
    for (name, step) in
        STEPS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|each| each == name))
    {
        println!("\n==== {name}");
        let start = Instant::now();
        let outcome = step();
        if let Err(error) = &outcome {
            println!("{name}: {error:#}");
        }
        println!("==== {name}: {:.1} s", start.elapsed().as_secs_f64());
        results.push((name, start.elapsed(), outcome));
    }

    println!("\n| step | seconds | |\n|---|---:|---|");
    for (name, elapsed, outcome) in &results {
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("| {name} | {:.1} | {word} |", elapsed.as_secs_f64());
    }
    let failed: Vec<&str> =
        results.iter().filter(|result| result.2.is_err()).map(|result| *result.0).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn no_args() -> Args {
    Args::new(std::iter::empty())
}

fn cargo(line: &str) -> Result<()> {
    let words = line.split(' ');
    let shell = workspace::shell()?;
    cmd!(shell, "cargo {words...}").run()?;
    Ok(())
}

/// What the server's tests need beside the server, and whether it can be used here: a disk that is slow or fails, one
/// that is full, and others who read our log. A container may forbid the first two.
#[rustfmt::skip]
const NEEDS: &[(&str, &str)] = &[
    ("strace",          "strace -qq -e trace=none true"),
    ("mount",           "unshare --mount mount -t tmpfs tmpfs /mnt"),
    ("redis-server",    "redis-server --version"),
    ("redis-check-aof", "which redis-check-aof"),
];

/// A test that finds missing what it needs passes untested. Where we know better it fails; else it is told.
fn test() -> Result<()> {
    for program in ["strace", "redis-server", "redis-check-aof"] {
        install::program(program)?;
    }
    let shell = workspace::shell()?;
    let works = |line: &str| {
        let words = line.split(' ');
        let output = cmd!(shell, "env {words...}").quiet().ignore_status().output();
        output.is_ok_and(|output| output.status.success())
    };
    let (there, missing): (Vec<_>, Vec<_>) = NEEDS.iter().copied().partition(|(_, probe)| works(probe));
    for (name, probe) in missing {
        println!("not tested: what needs {name}, which cannot be used here ({probe})");
    }
    let there: Vec<&str> = there.into_iter().map(|(name, _)| name).collect();
    shell.set_var("EVERLOG_TEST_WITH", there.join(","));
    // More than there are cores: the server's tests wait for most of the time.
    shell.set_var("RUST_TEST_THREADS", (2 * thread::available_parallelism()?.get()).to_string());
    cmd!(shell, "cargo test --workspace --quiet").run()?;
    Ok(())
}

/// Runs each crate's examples: a reader will type them. They are built with the workspace, as the tests have been; that a
/// crate stands alone, whatever features its neighbours ask for, is checked beside that. The floor server is a measuring
/// tool and runs in `bench`.
fn examples() -> Result<()> {
    cargo("build --workspace --examples --quiet")?;
    let shell = workspace::shell()?;
    for (package, folder) in tidy::CRATES {
        let examples = workspace::root().join(folder).join("examples");
        if !examples.is_dir() {
            continue;
        }
        cargo(&format!("check --quiet -p {package} --examples"))?;
        for path in tidy::files(&examples)? {
            let name = path.file_stem().unwrap_or_default();
            if name != "floor" && path.extension().is_some_and(|suffix| suffix == "rs") {
                let example = workspace::target_dir().join("debug/examples").join(name);
                cmd!(shell, "{example}").run()?;
            }
        }
    }
    Ok(())
}

/// Broken links in the documentation are errors too.
fn docs() -> Result<()> {
    let shell = workspace::shell()?;
    shell.set_var("RUSTDOCFLAGS", "-D warnings");
    cmd!(shell, "cargo doc --workspace --no-deps --quiet").run()?;
    Ok(())
}
