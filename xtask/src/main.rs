//! The project's own commands: `cargo xtask` lists them, `cargo xtask <command>` runs one.
//!
//! One file per command. A command gets its words as [`Args`], runs from the workspace's root and fails with an
//! error, which becomes exit code 1.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod args;
mod bench;
mod ci;
mod client;
mod compat;
mod dataset;
mod differ;
mod install;
mod interop;
mod loom;
mod server;
mod soak;
mod tidy;
mod workers;
mod workspace;

use std::process::ExitCode;

use crate::args::Args;

/// A command's name, its arguments, what it does, and the function.
type Command = (&'static str, &'static str, &'static str, fn(&mut Args) -> anyhow::Result<()>);

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    ("ci",      "[STEP...]",                               "everything that must hold before a merge", ci::run),
    ("tidy",    "",                                        "the rules that compilers do not know", tidy::run),
    ("loom",    "[MODEL]",                                 "the models of cross-thread protocols", loom::run),
    ("compat",  "[FILE...] [--all] [--update] [--verbose]", "Redis's own test suite against our server", compat::run),
    ("differ",  "[GROUP...] [--seed N] [--commands N]",    "random commands to our server and redis-server", differ::run),
    ("interop", "[PART...]",                               "data directories to and from other servers, and clients", interop::run),
    ("bench",   "[--only PART] [--rounds N] [--quick]",    "our server beside its peers, as a table", bench::run),
    ("soak",    "[PART...] [--minutes N] [--seed N] [--quick]", "all that is random, for a night", soak::run),
    ("install", "",                                        "what the commands above need, where it is missing", install::run),
];

fn main() -> ExitCode {
    loom::become_rustc();
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        list();
        return ExitCode::SUCCESS;
    };
    let Some((.., run)) = COMMANDS.iter().find(|(known, ..)| *known == name) else {
        eprintln!("no command {name:?}");
        list();
        return ExitCode::FAILURE;
    };
    let outcome = workspace::enter().and_then(|()| run(&mut Args::new(words)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for (name, arguments, summary, _) in COMMANDS {
        println!("cargo xtask {name:<8} {arguments:<40} {summary}");
    }
}
