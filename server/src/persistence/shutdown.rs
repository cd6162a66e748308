//! The end of the server: by a signal, by SHUTDOWN, and with which exit code. 0 says that everything anybody was told of
//! is durable, in files of which the last has its name.

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

impl Server {
    /// SIGTERM and SIGINT shut down; SIGHUP opens the log file again.
    pub(crate) fn signal(&mut self, signal: i32) {
        use signal_hook::consts::{SIGHUP, SIGINT};
        if signal == SIGHUP {
            self.logger.reopen();
            return;
        }
        let (name, flags) = if signal == SIGINT {
            ("SIGINT", self.config.shutdown_on_sigint)
        } else {
            ("SIGTERM", self.config.shutdown_on_sigterm)
        };
        self.log(Level::Warning, format!("Received {name} scheduling shutdown..."));
        let save = match (flags.save, flags.nosave) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        if !self.shut_down(flags.force, save) {
            let line = "Errors trying to shut down the server. Check the logs for more information.";
            self.log(Level::Warning, line);
        }
    }

    /// Makes everything durable and lets the turn end with exit code 0; false if that failed and `force` is not set. While
    /// a part of the data is in memory alone the server can be left by force only, and then the code is 1; else the base
    /// that ends this is begun.
    /// `save`: whether an RDB file is written; where nobody says so, if there are save points.
    pub fn shut_down(&mut self, force: bool, save: Option<bool>) -> bool {
        self.log(Level::Warning, "User requested shutdown...");
        if !force && self.must_stay(force) {
            return false;
        }
        self.abort_save();
        if self.save_finally(save).is_err() && !force {
            return false;
        }
        // A save takes its time, in which a file may vanish.
        if self.must_stay(force) {
            return false;
        }
        let only_in_memory = self.persistence.only_in_memory().is_some();
        self.abort_rewrite();
        let code = self.close_log();
        self.exit = Some(code.max(i32::from(only_in_memory)));
        true
    }

    /// Whether a part of the data is in memory alone, and nobody forces it. The base that ends this is begun, then.
    fn must_stay(&mut self, force: bool) -> bool {
        let Some(reason) = self.persistence.only_in_memory() else { return false };
        let outcome = if force { ". Exit anyway." } else { ", can't exit. SHUTDOWN FORCE loses it." };
        self.log(Level::Warning, format!("{reason}{outcome}"));
        if !force && !self.persistence.is_rewriting() {
            self.schedule_rewrite();
        }
        !force
    }

    /// Writes the last RDB file, if there is to be one.
    fn save_finally(&mut self, save: Option<bool>) -> Result<(), ()> {
        if self.loading.is_some() || !save.unwrap_or(!self.config.save.is_empty()) {
            return Ok(());
        }
        self.log(Level::Notice, "Saving the final RDB snapshot before exiting.");
        self.save().map_err(|_| self.log(Level::Warning, "Error trying to save the DB, can't exit."))
    }

    /// Makes the log durable and ends it; returns the exit code: 0 unless something is lost that somebody was told of.
    fn close_log(&mut self) -> i32 {
        let Some(log) = self.persistence.log.take() else { return 0 };
        self.log(Level::Notice, "Calling fsync() on the AOF file.");
        let Err(error) = log.stop() else { return 0 };
        let told = self.persistence.told;
        if matches!(error, aof::Error::FileRetired { durable, .. } if durable >= told) {
            self.log(Level::Warning, format!("Writes that nobody was told of are lost: {error}"));
            self.persistence.last_watermark = told;
            return 0;
        }
        self.log(Level::Warning, format!("The append only file could not be made durable: {error}"));
        1
    }
}
