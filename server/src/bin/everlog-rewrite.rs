//! Compacts a log that no server is using: see [`server::rewrite_aof`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match server::rewrite_aof::run(std::env::args_os(), &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // Nobody is left to be told about a standard output that is closed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}
