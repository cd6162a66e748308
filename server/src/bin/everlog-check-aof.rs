//! Checks an append-only file: see [`server::check_aof`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
    match server::check_aof::run(std::env::args_os(), &mut input, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        // Nobody is left to be told about a standard output that is closed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}
