//! The end of the server: by a signal, by SHUTDOWN, and with which exit code. 0 says that everything anybody was told of
//! is durable, in files of which the last has its name.

use signal_hook::consts::{SIGHUP, SIGINT};

use crate::executor::Server;
use crate::logger::Level;
use crate::persistence::Persistence;

impl Persistence {
    /// Why a part of the data could not be loaded although the log is on, until a base is there; `None`: all of it could.
    pub(crate) fn only_in_memory(&self) -> Option<&'static str> {
        let log = self.log.as_ref()?;
        if log.is_waiting_rewrite() {
            return Some("Writing initial AOF");
        }
        log.needs_base().then_some("Writing again from memory what the AOF has lost")
    }
}

/// Why the server goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// A part of the data is in memory alone, until the base is there that is being written.
    OnlyInMemory,
    /// The RDB file could not be written.
    NotSaved,
}

impl Server {
    /// SIGTERM and SIGINT shut down; SIGHUP opens the log file again.
    pub(crate) fn signal(&mut self, signal: i32) {
        if signal == SIGHUP {
            return self.logger.reopen();
        }
        self.log(Level::Warning, format!("Received {} scheduling shutdown...", name(signal)));
        self.stop_for(signal);
    }

    /// A supervisor sends its signal once, and kills the process some time later: while data is in memory alone the signal
    /// is remembered, so that the server ends in time if it can.
    fn stop_for(&mut self, signal: i32) {
        let config = &self.config;
        let flags = if signal == SIGINT { config.shutdown_on_sigint } else { config.shutdown_on_sigterm };
        let save = (flags.save || flags.nosave).then_some(flags.save);
        let Err(hindrance) = self.shut_down(flags.force, save) else { return };
        let line = "Errors trying to shut down the server. Check the logs for more information.";
        self.log(Level::Warning, line);
        if hindrance == Hindrance::OnlyInMemory {
            self.persistence.awaited_stop = Some(signal);
            let line =
                format!("{} is carried out once that is done. SHUTDOWN ABORT forgets it.", name(signal));
            self.log(Level::Warning, line);
        }
    }

    /// Carries a signal out that could not be while data was in memory alone.
    pub(crate) fn stop_if_awaited(&mut self) {
        let Some(signal) = self.persistence.awaited_stop else { return };
        if self.persistence.only_in_memory().is_none() {
            self.persistence.awaited_stop = None;
            self.stop_for(signal);
        }
    }

    /// SHUTDOWN ABORT: forgets a signal that could not be carried out yet; false if there is none.
    pub(crate) fn abort_stop(&mut self) -> bool {
        let signal = self.persistence.awaited_stop.take();
        if let Some(signal) = signal {
            self.log(Level::Notice, format!("{} is forgotten: the server goes on.", name(signal)));
        }
        signal.is_some()
    }

    /// Makes everything durable and lets the turn end with exit code 0. While a part of the data is in memory alone the
    /// server can be left by force only, and then the code is 1; else the base that ends this is begun.
    /// `save`: whether an RDB file is written; where nobody says so, if there are save points.
    ///
    /// # Errors
    /// What failed, unless `force` is set: the server goes on.
    pub(crate) fn shut_down(&mut self, force: bool, save: Option<bool>) -> Result<(), Hindrance> {
        if self.exit.is_some() {
            // A second signal in the same turn.
            return Ok(());
        }
        self.log(Level::Warning, "User requested shutdown...");
        if !force {
            self.refuse_while_only_in_memory()?;
        }
        self.abort_save();
        if self.save_finally(save).is_err() && !force {
            return Err(Hindrance::NotSaved);
        }
        // A save takes its time, in which a file may vanish.
        if !force {
            self.refuse_while_only_in_memory()?;
        }
        let only_in_memory = self.persistence.only_in_memory();
        if let Some(reason) = only_in_memory {
            self.log(Level::Warning, format!("{reason}. Exit anyway."));
        }
        self.abort_rewrite();
        let code = self.close_log();
        self.exit = Some(code.max(i32::from(only_in_memory.is_some())));
        Ok(())
    }

    /// The base that ends this is begun.
    fn refuse_while_only_in_memory(&mut self) -> Result<(), Hindrance> {
        let Some(reason) = self.persistence.only_in_memory() else { return Ok(()) };
        self.log(Level::Warning, format!("{reason}, can't exit. SHUTDOWN FORCE loses it."));
        if !self.persistence.is_rewriting() {
            self.schedule_rewrite();
        }
        Err(Hindrance::OnlyInMemory)
    }

    /// Writes the last RDB file, if there is to be one.
    fn save_finally(&mut self, save: Option<bool>) -> Result<(), ()> {
        if self.loading.is_some() || !save.unwrap_or(!self.config.save.is_empty()) {
            return Ok(());
        }
        self.log(Level::Notice, "Saving the final RDB snapshot before exiting.");
        self.save().map_err(|_| self.log(Level::Warning, "Error trying to save the DB, can't exit."))
    }

    /// Makes the log durable and ends it; returns the exit code: 0 unless something may be lost that somebody was told of,
    /// under `appendfsync no` by a power cut that nothing was promised against, too: of pages whose fdatasync failed nobody
    /// knows whether even the kernel still has them.
    fn close_log(&mut self) -> i32 {
        let Some(log) = self.persistence.log.take() else { return 0 };
        self.log(Level::Notice, "Calling fsync() on the AOF file.");
        let Err(error) = log.stop() else { return 0 };
        // Replies that waited for more stay here.
        let told = self.persistence.told;
        self.persistence.last_watermark = told;
        if matches!(error, aof::Error::FileRetired { durable, .. } if durable >= told) {
            self.log(Level::Warning, format!("Writes that nobody was told of may be lost: {error}"));
            return 0;
        }
        self.log(Level::Warning, format!("The append only file could not be made durable: {error}"));
        1
    }
}

fn name(signal: i32) -> &'static str {
    if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
}
