//! A server that Redis's clients, tools and configuration files work with, and whose writes survive.
//!
//! A thin composition: the protocol is `resp`, the data and its commands are `keyspace`, the log is `aof`, its
//! compaction is `rewrite`. Here are the sockets, the clients, the configuration, and the order of effects:
//! [`turn`] is the place to begin reading.
// A database holds values, which hold tables: that all of it may go to another thread takes many steps to prove.
#![recursion_limit = "256"]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod blocking;
pub mod check_aof;
pub mod client;
pub mod clients;
pub mod clock;
pub mod commands;
pub mod commandstats;
pub mod config;
pub mod connection;
pub mod disk;
pub mod evict;
pub mod executor;
pub mod gate;
pub mod info;
pub mod latency;
pub mod lazyfree;
pub mod log_end;
pub mod logger;
pub mod migrate;
pub mod observer;
pub mod persistence;
pub mod pubsub;
pub mod rdb;
pub mod redact;
pub mod replication;
pub mod rewrite_aof;
pub mod settings;
pub mod slowlog;
pub mod startup;
pub mod stats;
pub mod transaction;
pub mod turn;

mod bar;
mod cron;
mod listening;
mod memory;
mod propagate;
mod rdb_load;
mod restart;
mod supervise;

use std::fs;
use std::io::Read;

use anyhow::Context;

use crate::commands::CommandTable;
use crate::config::{Config, Warning};
use crate::executor::Server;
use crate::listening::Listeners;
use crate::logger::{Level, Logger};
use crate::restart::Restart;
use crate::supervise::Supervisor;
use crate::turn::Turn;

/// The version of Redis whose behaviour and encodings we follow, as INFO and HELLO name it.
pub const REDIS_VERSION: &str = "7.2.5";

/// Runs a server to its end; returns its exit code.
///
/// # Errors
/// What kept it from starting: the data directory, the log, a port. Nothing was changed then.
pub fn run(config: Config, warnings: &[Warning]) -> anyhow::Result<i32> {
    // Pages that fall free go back to the kernel from a thread of the allocator's, not from the executor.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    let restart = Restart::default();
    settings::change_dir(&config.dir).map_err(anyhow::Error::msg)?;
    let logger = Logger::open(&config.logfile, config.log_level())
        .with_context(|| format!("Can't open the log file {}", config.logfile.display()))?;
    let stock = CommandTable::new(&[]);
    config.check_renames(|name| stock.get(name).is_some())?;
    let mut server = Server::new(config, logger, random_u64()?);
    server.restart = restart;
    server.persistence.run_id = random_id()?;
    server.replication.id = random_id()?;
    server.weigh();
    server.room.pages = memory::Pages::look();
    server.room.startup_bytes = server.room.count.used;
    server.greet(warnings);
    match Supervisor::find(server.config.supervised) {
        Ok(supervisor) => server.supervisor = supervisor,
        Err(reason) => server.log(Level::Warning, reason),
    }
    server.fit_maxclients().map_err(|reason| fail(&mut server, &reason))?;
    server.listeners = Listeners::open(&server.config).map_err(|reason| fail(&mut server, &reason))?;
    let mut turn = Turn::new().context("the event loop cannot be made")?;
    server.persistence.set_waker(turn.waker());
    // Before the pid file, which may be that of the server that has it.
    server.claim_log().map_err(|error| fail(&mut server, &error.to_string()))?;
    write_pid_file(&server.config);
    server.log(Level::Notice, "Server initialized");
    server.tell_supervisor(|supervisor| supervisor.notify("STATUS=Loading the data\n"));
    if let Err(error) = server.load(&mut turn) {
        return Err(fail(&mut server, &error.to_string()));
    }
    if server.exit.is_none() {
        server.remove_stale_files();
        server.log(Level::Notice, format!("Ready to accept connections tcp on port {}", server.config.port));
        server.tell_supervisor(Supervisor::is_ready);
    }
    let code = turn.run(&mut server)?;
    let code = server.restart(&mut turn, code)?;
    server.tell_supervisor(|supervisor| supervisor.notify("STOPPING=1\n"));
    server.log(Level::Warning, "Everlog is now ready to exit, bye bye...");
    let _ = fs::remove_file(&server.config.pidfile);
    if !server.config.unixsocket.as_os_str().is_empty() {
        let _ = fs::remove_file(&server.config.unixsocket);
    }
    Ok(code)
}

/// A start that failed is told where the rest of the story is, too.
fn fail(server: &mut Server, reason: &str) -> anyhow::Error {
    for line in reason.lines() {
        server.log(Level::Warning, line);
    }
    anyhow::Error::msg(reason.to_owned())
}

impl Server {
    /// A supervisor that cannot be told is no reason not to serve.
    fn tell_supervisor(&mut self, tell: impl FnOnce(&Supervisor) -> std::io::Result<()>) {
        if let Err(error) = tell(&self.supervisor) {
            let line = format!("The supervisor ({}) cannot be told: {error}", self.supervisor.name());
            self.log(Level::Warning, line);
        }
    }

    fn greet(&mut self, warnings: &[Warning]) {
        let pid = std::process::id();
        self.log(
            Level::Notice,
            format!(
                "Everlog {} is starting (compatible with redis version {REDIS_VERSION}), pid={pid}",
                env!("CARGO_PKG_VERSION")
            ),
        );
        if self.config.always_show_logo {
            let port = self.config.port;
            self.logger.raw(&format!(
                "\n    Everlog {}, speaking Redis {REDIS_VERSION}\n    Port: {port}\n    PID: {pid}\n\n",
                env!("CARGO_PKG_VERSION")
            ));
        }
        for warning in warnings {
            self.log(Level::Warning, warning.to_string());
        }
    }
}

fn write_pid_file(config: &Config) {
    if !config.pidfile.as_os_str().is_empty() {
        // As Redis: a PID file that cannot be written is no reason not to serve.
        let _ = fs::write(&config.pidfile, format!("{}\n", std::process::id()));
    }
}

/// Random bits of the operating system.
fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("/dev/urandom cannot be read")?;
    Ok(bytes)
}

fn random_u64() -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(random_bytes()?))
}

/// Forty hexadecimal digits.
fn random_id() -> anyhow::Result<String> {
    let bytes: [u8; 20] = random_bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
