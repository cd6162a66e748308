//! Where things lie: the root, the build directory, our own programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::args::Args;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Makes the root the working directory, which all commands count on.
pub(crate) fn enter() -> Result<()> {
    std::env::set_current_dir(root()).with_context(|| format!("{}", root().display()))
}

/// A shell in the root.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    Ok(shell)
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target`. Always absolute.
pub(crate) fn target_dir() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target")))
}

/// `target/xtask/<name>`, created: downloads, logs and scratch folders, each command below its own name.
pub(crate) fn cache_dir(name: &str) -> Result<PathBuf> {
    let dir = target_dir().join("xtask").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    Ok(dir)
}

/// A server or tool under test. `--server PATH` puts another in our server's place, to prove a command against a
/// server whose results are known.
pub(crate) fn server_under_test(args: &mut Args) -> Result<PathBuf> {
    match args.value("--server")? {
        // Not resolved: redis-server is a link to a program that goes by the name it is called with.
        Some(path) => std::path::absolute(&path).with_context(|| path),
        None => build("everlog-server", &["--bins"]),
    }
}

/// Builds one release program of our server package and returns its path.
pub(crate) fn build(program: &str, selection: &[&str]) -> Result<PathBuf> {
    let shell = shell()?;
    cmd!(shell, "cargo build --quiet --release -p everlog-server {selection...}").run()?;
    let folder = if selection.contains(&"--example") { "release/examples" } else { "release" };
    Ok(target_dir().join(folder).join(program))
}
