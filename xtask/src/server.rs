//! A server started for a test or a measurement, in a folder and on a port of its own, and stopped when dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::Client;
use crate::install;

/// How long a server may take to load its data, and to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server program and what to call it.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    /// In messages and tables.
    pub(crate) name: &'static str,
    /// Its path.
    pub(crate) program: PathBuf,
}

/// The servers that ours is compared with.
pub(crate) fn redis_and_valkey() -> Result<[Party; 2]> {
    let redis = Party { name: "redis", program: install::program("redis-server")? };
    let valkey = Party { name: "valkey", program: install::valkey_server()? };
    Ok([redis, valkey])
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts `program` in `dir` with `options` (`--key value` words) and waits until it answers.
    pub(crate) fn start(program: &Path, dir: &Path, port: u16, options: &[&str]) -> Result<Self> {
        Self::start_by(Command::new(program), dir, port, options)
    }

    /// Starts a server by a given command, such as one that pins it to a core.
    pub(crate) fn start_by(mut command: Command, dir: &Path, port: u16, options: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let log = dir.join("server.log");
        let output = File::options().create(true).append(true).open(&log)?;
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir);
        if !options.contains(&"--save") {
            command.args(["--save", ""]);
        }
        command.args(options).current_dir(dir).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().with_context(|| format!("{}", command.get_program().display()))?;
        let mut server = Server { process, port, log };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its process, for `/proc`.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it by SIGTERM, as an operator would.
    ///
    /// # Errors
    /// If it does not end, or ends with another code than 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        signal("TERM", self.process.id())?;
        let status = self.wait()?;
        if !status.success() {
            bail!("ended with {status} after SIGTERM: {}", self.log.display());
        }
        Ok(())
    }

    /// Ends it by SIGKILL, as the kernel does when memory is short.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("still running {PATIENCE:?} after SIGTERM: {}", self.log.display())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                bail!("ended with {status} instead of starting:\n{}", tail(&self.log));
            }
            if self.connect().is_ok_and(|mut client| client.call(&["PING"]).is_ok()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("no answer on port {} within {PATIENCE:?}:\n{}", self.port, tail(&self.log))
    }
}

impl Drop for Server {
    /// A failed test leaves no server behind.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// A port that nobody listens on, below those that the kernel gives to clients.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(26_100);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port > 32_000 || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Sends a signal: std has no call for it, and `kill` is built into every shell.
pub(crate) fn signal(name: impl AsRef<OsStr>, pid: impl std::fmt::Display) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"$1\""])
        .arg(name.as_ref())
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("cannot signal {pid}");
    }
    Ok(())
}
