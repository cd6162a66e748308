//! DEBUG RESTART and CRASH-AND-RECOVER: the process becomes itself anew, under the same number and with the arguments that
//! it was started with.
//!
//! ```text
//! may it?  -- no --> the client is told, nothing has happened
//!    | yes
//! shut down, or crash -> the turn is the last -> nobody is served for the delay -> exec
//! ```
//! Whoever supervises the process hears nothing of an end: it is told once more that the server is ready.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::clients::Clients;
use crate::config::Config;
use crate::executor::Server;
use crate::listening::Listeners;
use crate::logger::Level;
use crate::turn::Turn;

/// What must be known at the start, and what is wanted since.
#[derive(Debug)]
pub(crate) struct Restart {
    /// Once a package has replaced the file, /proc/self/exe names one that is not there.
    pub(crate) program: PathBuf,
    /// Paths among the arguments are relative to this folder, not to `dir`.
    started_in: PathBuf,
    /// The server ends to begin again.
    pub(crate) wanted: Option<Wanted>,
}

/// How the server begins again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// So long after its end.
    pub(crate) after: Duration,
    /// As if it had been killed, and not after a shutdown.
    pub(crate) crash: bool,
}

impl Default for Restart {
    fn default() -> Self {
        // What is not known is not there either, for `check`.
        Restart {
            program: std::env::current_exe().unwrap_or_default(),
            started_in: std::env::current_dir().unwrap_or_default(),
            wanted: None,
        }
    }
}

impl Restart {
    /// Whether there is still what the server was started from.
    ///
    /// # Errors
    /// What there is not, in words.
    pub(crate) fn check(&self, config: &Config) -> Result<(), String> {
        let may_execute = |path: &Path| {
            access(path, Access::EXEC_OK).map_err(|error| format!("{}: {error}", path.display()))
        };
        may_execute(&self.program)?;
        may_execute(&self.started_in)?;
        if config.is_from_stdin {
            return Err("the configuration came from standard input, which cannot be read again".to_owned());
        }
        Ok(())
    }

    /// Begins again. The kernel ends the threads and closes the files, as if the process had been killed; returns only if
    /// that failed, to a process that must end: its folder and its signals are no longer what they were.
    fn exec(&self) -> io::Error {
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_default();
        let mut command = Command::new(&self.program);
        command.arg0(name).args(args).current_dir(&self.started_in);
        // Upstart lets a process go on once: one that stopped itself again would stand still.
        command.env_remove("UPSTART_JOB").exec()
    }
}

impl Server {
    /// Begins again if that is wanted; else, and where it fails, returns the exit code. `code`: the one without it.
    ///
    /// # Errors
    /// When epoll fails.
    pub(crate) fn restart(&mut self, turn: &mut Turn, code: i32) -> io::Result<i32> {
        let Some(Wanted { after, crash }) = self.restart.wanted else { return Ok(code) };
        if code != 0 && !crash {
            self.log(Level::Warning, "Can't restart: the shutdown did not succeed.");
            return Ok(code);
        }
        // Nobody shall wait for who serves nobody.
        self.clients = Clients::default();
        self.listeners = Listeners::default();
        if turn.rest(after)? {
            self.log(Level::Warning, "Received a signal to end: the server is not started again.");
            return Ok(code);
        }
        let error = self.restart.exec();
        self.log(Level::Warning, format!("Can't restart: {}: {error}", self.restart.program.display()));
        Ok(1)
    }
}
