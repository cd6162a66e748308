//! DEBUG RESTART and CRASH-AND-RECOVER: the process becomes itself anew, under the same number and with the arguments that
//! it was started with.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What must be known at the start: paths among the arguments are relative to this folder, not to `dir`.
#[derive(Debug)]
pub(crate) struct Restart {
    started_in: PathBuf,
    /// The server ends to begin again, so long afterwards.
    pub(crate) wanted: Option<Duration>,
}

impl Default for Restart {
    fn default() -> Self {
        Restart { started_in: std::env::current_dir().unwrap_or_default(), wanted: None }
    }
}

impl Restart {
    /// Begins again. The kernel ends the threads and closes the files, as if the process had been killed; returns only if
    /// there is nothing to begin with.
    pub(crate) fn exec(&self, after: Duration) -> io::Error {
        std::thread::sleep(after);
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_default();
        match std::env::current_exe() {
            Ok(program) => Command::new(program).arg0(name).args(args).current_dir(&self.started_in).exec(),
            Err(error) => error,
        }
    }
}
