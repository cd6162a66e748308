//! Starts the server: arguments, configuration, run.

use std::io::Write;
use std::process::ExitCode;

use server::config::{Config, Start};

fn main() -> ExitCode {
    let started = Config::from_args(std::env::args_os());
    let outcome = match started {
        Ok(Start::Print(text)) => {
            // A closed standard output is the reader's own decision.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Ok(Start::Run(config, warnings)) => server::run(*config, &warnings),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}
