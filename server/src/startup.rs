//! From nothing to ready: the data directory, the load, the first log.

use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use aof::fs::remove_and_discard;
use aof::{
    Directory, Executed, Hasher, Options, Progress, Quarantine, Repeated, Report, Request, Sink, SinkError,
    Truncation,
};
use bytes::BytesMut;
use indicatif::ProgressBar;
use keyspace::commands::{self, DataSpec};
use keyspace::{Call, CommandError, Unit};
use resp::{Encoder, Version};
use rewrite::{Rewrite, Settings};
use smallvec::SmallVec;

use crate::bar;
use crate::commands::Handler;
use crate::config::{Config, PropagationErrorBehavior, ReplayErrors};
use crate::executor::{Loading, Server};
use crate::logger::Level;
use crate::persistence::{LOCK_PATIENCE, Loaded};
use crate::rdb::LoadOptions;
use crate::rdb_load::told;
use crate::turn::Turn;

/// Keys that the table reads ahead of their commands.
pub(crate) const WARMED_KEYS: usize = 32;

/// So many commands are found again by comparing names; beyond, looking them up costs no more.
const KNOWN_COMMANDS: usize = 16;

/// Replays a log into the keyspace.
pub struct Loader<'a> {
    pub(crate) server: &'a mut Server,
    /// Serves clients between two commands: they are told LOADING. None inside a command (DEBUG LOADAOF).
    turn: Option<&'a mut Turn>,
    reply: BytesMut,
    unit: Unit,
    /// Commands that were looked up, by their names as the log writes them: it repeats a few.
    known: Vec<(Vec<u8>, &'static DataSpec)>,
    /// How far it is, for who looks at a terminal.
    bar: ProgressBar,
}

impl<'a> Loader<'a> {
    /// Replays into `server`'s keyspace.
    pub fn new(server: &'a mut Server, turn: Option<&'a mut Turn>) -> Self {
        server.keyspace.start_loading();
        let bar = if turn.is_some() { bar::bytes() } else { ProgressBar::hidden() };
        Loader { server, turn, reply: BytesMut::new(), unit: Unit::default(), known: Vec::new(), bar }
    }

    /// Shows how far it is, although no client is served.
    pub(crate) fn with_bar(mut self, bar: ProgressBar) -> Self {
        self.bar = bar;
        self
    }

    /// A command by Redis's own name, which the log carries whatever `rename-command` says, or by the one that clients
    /// must use: other servers' logs carry that.
    fn lookup(&mut self, argv: &[&[u8]]) -> Result<&'static DataSpec, SinkError> {
        let name = argv.first().copied().unwrap_or_default();
        if let Some((_, spec)) = self.known.iter().find(|(known, _)| known == name)
            && spec.takes(argv.len())
        {
            return Ok(spec);
        }
        let spec = self.look_up(argv)?;
        // Where a subcommand decides, the name does not tell the row.
        if spec.name.as_bytes().eq_ignore_ascii_case(name) && spec.subcommands.is_empty() {
            self.known.truncate(KNOWN_COMMANDS - 1);
            self.known.push((name.to_vec(), spec));
        }
        Ok(spec)
    }

    fn look_up(&self, argv: &[&[u8]]) -> Result<&'static DataSpec, SinkError> {
        let known = self.server.table.lookup(argv, None).ok();
        let is_renamed = known.is_some_and(|command| command.renamed_from().is_some());
        let known = known.and_then(|command| match command.handler() {
            Handler::Data(spec) => Some(spec),
            Handler::Process(_) => None,
        });
        if let Some(spec) = known.filter(|_| !is_renamed) {
            return Ok(spec);
        }
        let own = commands::lookup(argv);
        own.or_else(|error| known.ok_or(error)).map_err(|error| match error {
            CommandError::Arity(_) => SinkError::new(error),
            _ => {
                let name = String::from_utf8_lossy(argv.first().copied().unwrap_or_default()).into_owned();
                SinkError::new(format!("Unknown command '{name}' reading the append only file"))
            }
        })
    }

    /// Executes a command whose first argument has this hash.
    fn execute(&mut self, db: usize, argv: &[&[u8]], first_hash: Option<u64>) -> Result<(), SinkError> {
        if db >= self.server.keyspace.dbs().len() {
            return Err(SinkError::new(format!(
                "the log selects database {db}, there are only {} databases",
                self.server.keyspace.dbs().len()
            )));
        }
        if self.server.exit.is_some() {
            return Err(SinkError::new("the server is to end"));
        }
        let spec = self.lookup(argv)?;
        self.reply.clear();
        let call = Call { first_hash, ..Call::new(db, self.server.clock.unix_ms, argv) };
        let mut encoder = Encoder::new(&mut self.reply, Version::Resp2);
        self.server.keyspace.execute_spec(spec, &call, &mut encoder, &mut self.unit);
        if self.reply.first() == Some(&b'-') {
            self.note_error(argv)?;
        }
        if self.rest_after_key() {
            self.serve();
        }
        Ok(())
    }

    /// Shows how far it is, of what [`Loading`] says there is.
    pub(crate) fn show(&self, loaded_bytes: u64) {
        if let Some(Loading { total_bytes, .. }) = self.server.loading {
            self.bar.set_length(total_bytes);
        }
        self.bar.set_position(loaded_bytes);
    }

    pub(crate) fn serve(&mut self) {
        if let Some(turn) = &mut self.turn {
            // A poll that fails now fails again when the load is over.
            let _ = turn.once(self.server, Duration::ZERO);
        }
    }

    /// `key-load-delay`; false if there is none.
    pub(crate) fn rest_after_key(&self) -> bool {
        let delay_us = u64::try_from(self.server.config.key_load_delay_us).unwrap_or(0);
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
        delay_us > 0
    }

    fn note_error(&mut self, argv: &[&[u8]]) -> Result<(), SinkError> {
        let text = String::from_utf8_lossy(&self.reply[1..]).trim_end().to_owned();
        let command = String::from_utf8_lossy(argv.first().copied().unwrap_or_default()).into_owned();
        self.server.persistence.replay_errors += 1;
        self.server.log(
            Level::Warning,
            format!(
                "== CRITICAL == This server is sending an error to its AOF-loading-client: '{text}' after \
                 processing the command '{command}'"
            ),
        );
        let Config { aof_replay_errors, propagation_error_behavior, .. } = &self.server.config;
        let ends_it = match (aof_replay_errors, propagation_error_behavior) {
            (ReplayErrors::Fail, _) => "aof-replay-errors fail",
            (_, PropagationErrorBehavior::Panic) => "propagation-error-behavior panic",
            _ => return Ok(()),
        };
        Err(SinkError::new(format!("'{command}' answers '{text}' ({ends_it})")))
    }
}

impl Drop for Loader<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.server.keyspace.end_loading();
    }
}

impl Sink for Loader<'_> {
    fn command(&mut self, db: u32, argv: &[&[u8]]) -> Result<(), SinkError> {
        self.unit.clear();
        self.execute(db as usize, argv, None)
    }

    fn hasher(&self) -> Hasher {
        let seed = self.server.keyspace.seed();
        Box::new(move |key| seed.hash(key))
    }

    /// Lets the table read ahead. Most commands have their key behind their name; where not, nothing is lost.
    fn commands(&mut self, requests: &[Request<'_>]) -> Result<(), (usize, SinkError)> {
        for (n, ahead) in requests.chunks(WARMED_KEYS).enumerate() {
            let place = |request: &Request<'_>| (request.db as usize, request.hash);
            let places: SmallVec<[_; WARMED_KEYS]> = ahead.iter().map(place).collect();
            self.server.keyspace.warm(&places);
            // Nobody asks what they leave behind.
            self.unit.clear();
            for (at, (request, (db, hash))) in ahead.iter().zip(places).enumerate() {
                let outcome = self.execute(db, request.argv, Some(hash));
                outcome.map_err(|error| (n * WARMED_KEYS + at, error))?;
            }
        }
        Ok(())
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        keys_of(argv)
    }

    fn base_rdb(&mut self, _: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let options = LoadOptions { keeps_expired: true, ..LoadOptions::default() };
        self.rdb(rdb, options).map(drop).map_err(|error| match error.downcast_ref() {
            Some(error) => told(error, 0, "keys"),
            None => SinkError::new(format!("{error:#}")),
        })
    }

    fn progress(&mut self, progress: Progress) {
        if let Some(loading) = &mut self.server.loading {
            loading.loaded_bytes = progress.loaded_bytes;
            loading.total_bytes = progress.total_bytes;
        }
        self.bar.set_length(progress.total_bytes);
        self.show(progress.loaded_bytes);
        self.server.keyspace.expect_growth(progress.loaded_bytes, progress.total_bytes);
        self.serve();
    }
}

/// The keys that a command of a log names.
pub(crate) fn keys_of(argv: &[&[u8]]) -> Vec<Vec<u8>> {
    let Ok(spec) = commands::lookup(argv) else { return Vec::new() };
    spec.keys.places(argv).into_iter().filter_map(|(place, _)| Some(argv.get(place)?.to_vec())).collect()
}

impl Server {
    /// Locks the log's directory, if there is to be a log.
    ///
    /// # Errors
    /// [`aof::Error::InUse`]; when the directory cannot be made.
    pub fn claim_log(&mut self) -> Result<(), aof::Error> {
        if self.config.appendonly {
            self.lock_log_directory(&self.log_options(), LOCK_PATIENCE)?;
        }
        Ok(())
    }

    /// Loads what the data directory holds and starts the log behind it.
    ///
    /// # Errors
    /// What `aof` says of a directory that cannot be loaded: nothing of it was changed.
    pub fn load(&mut self, turn: &mut Turn) -> anyhow::Result<()> {
        if !self.config.appendonly {
            self.load_rdb_file(Some(&mut *turn), LoadOptions::default())?;
            return Ok(());
        }
        let started = Instant::now();
        let (mut directory, options) = self.open_log_directory()?;
        if directory.is_empty() && self.load_rdb_file(Some(&mut *turn), LoadOptions::default())? {
            if self.exit.is_some() {
                return Ok(());
            }
            self.remove_unfinished_bases(|fs, path| fs.remove(path));
            let adopted = self.adopt_rdb(turn, &options);
            if self.exit.is_none() {
                self.start_log(adopted?, &options)?;
            }
            return Ok(());
        }
        if let Some(path) = directory.adopted() {
            let line = format!("Successfully migrated an old-style AOF configuration ({})", path.display());
            self.log(Level::Notice, line);
        }
        self.loading = Some(Loading::begin(started, self.clock.unix_s(), 0));
        let report = directory.replay(&mut Loader::new(self, Some(turn)), &options);
        self.loading = None;
        if self.exit.is_some() {
            return Ok(());
        }
        let report = report?;
        self.report_load(&report, &options, started);
        // What cannot be looked at stays where it is; so does a whole base beside damage, for it may be the only copy.
        let is_whole = report.quarantined.is_empty() && !report.truncated.is_some_and(|cut| cut.is_corrupt);
        let leftovers = if is_whole { directory.leftovers().unwrap_or_default() } else { Vec::new() };
        // Before the log starts: that may need their space.
        self.remove_unfinished_bases(|fs, path| fs.remove(path));
        self.start_log(directory, &options)?;
        self.remove_left(&leftovers, remove_and_discard);
        Ok(())
    }

    /// There is no log yet, but an RDB file, which was just loaded: the log begins behind a base that holds it, where
    /// Redis would begin with nothing. Until that base is published the RDB file is all there is, and this is a load still.
    fn adopt_rdb(&mut self, turn: &mut Turn, options: &Options) -> anyhow::Result<Directory> {
        let key_delay_us = self.config.key_save_delay_us();
        let settings = Settings { background: false, key_delay_us, ..self.rewrite_settings(options) };
        let begin =
            |server: &Self, wake| Rewrite::begin_offline(server.persistence.fs(), options, settings, wake);
        let bar = bar::keys();
        self.loading = Some(Loading::begin(Instant::now(), self.clock.unix_s(), 0));
        let written = self.run_to_end(begin, |server, progress| {
            bar::show_keys(&bar, progress);
            if let Some(loading) = &mut server.loading {
                loading.loaded_bytes = progress.bytes;
                loading.total_bytes = progress.expected_bytes().unwrap_or(0);
            }
            // A poll that fails now fails again when the load is over.
            let _ = turn.once(server, Duration::ZERO);
        });
        self.loading = None;
        bar.finish_and_clear();
        let written = written?;
        let line = format!("The append only file begins with the RDB file: {} keys", written.keys);
        self.log(Level::Notice, line);
        Ok(self.open_log_directory()?.0)
    }

    fn report_load(&mut self, report: &Report, options: &Options, started: Instant) {
        if let Some(cut) = &report.truncated {
            self.report_truncated(cut);
        }
        for Repeated { path, repeated_bytes, offset_bytes, .. } in &report.repeated {
            let place = format!("{}: {repeated_bytes} bytes from offset {offset_bytes} on", path.display());
            let line = format!("{place} stand again in the file behind it and were not executed twice");
            self.log(Level::Warning, line);
        }
        for Quarantine { damage, side_file, executed } in &report.quarantined {
            let fate = match executed {
                Executed::Nothing => "stepped over",
                Executed::Readable => "loaded as far as they can be read",
                Executed::All => "executed all the same",
            };
            let copy = side_file.as_ref().map(|copy| format!(", and copied to {}", copy.display()));
            self.log(Level::Warning, format!("{damage}; {fate}{}", copy.unwrap_or_default()));
        }
        // What memory holds now is all there is: a new base leaves the damage behind.
        self.persistence.scheduled |= !report.quarantined.is_empty();
        self.persistence.loaded = Loaded::of(report);
        let keys: usize = self.keyspace.dbs().iter().map(keyspace::Db::len).sum();
        let (seconds, dir) = (started.elapsed().as_secs_f64(), options.dir.display());
        let Report { commands, bytes, files, .. } = report;
        let what = format!("{keys} keys from {commands} commands ({bytes} bytes in {files} files) in {dir}");
        self.log(Level::Notice, format!("DB loaded from append only file: {seconds:.3} seconds, {what}"));
    }

    fn report_truncated(&mut self, cut: &Truncation) {
        let name = cut.path.file_name().unwrap_or_default().to_string_lossy();
        let (what, directive) = match cut.is_corrupt {
            true => ("corrupted tail", "aof-load-corrupt-tail-max-size"),
            false => ("short read", "aof-load-truncated"),
        };
        self.log(Level::Warning, format!("!!! Warning: {what} while loading the AOF file {name}!!!"));
        let fate = match &cut.side_file {
            Ok(copy) => format!("were set aside in {}", copy.display()),
            Err(failure) => format!(
                "are not cut off yet, for there is no room for a copy of them: {}; writes are refused until there is",
                crate::disk::describe(failure, None)
            ),
        };
        let Truncation { cut_bytes, offset_bytes, reason, .. } = cut;
        let what = format!("{cut_bytes} bytes from offset {offset_bytes} on ({reason}) {fate}");
        let line = format!("AOF {name} loaded anyway because {directive} is enabled: {what}");
        self.log(Level::Warning, line);
    }

    /// DEBUG LOADAOF: the data as the log tells it.
    ///
    /// # Errors
    /// What cannot be loaded; the keyspace is empty or partly filled then, and must not be served nor saved.
    pub fn reload(&mut self) -> anyhow::Result<()> {
        let (mut directory, options) = self.open_log_directory()?;
        self.drop_all();
        let started = Instant::now();
        let report = directory.replay(&mut Loader::new(self, None), &options)?;
        self.report_load(&report, &options, started);
        // The data is what the files say.
        self.persistence.dirty = 0;
        self.break_all_watches();
        Ok(())
    }

    /// Empties all databases, for data that is about to be loaded.
    pub(crate) fn drop_all(&mut self) {
        let old = self.keyspace.clear();
        let garbage = old.into_iter().map(keyspace::Garbage::Db);
        self.lazyfree.drop_later(garbage, self.keyspace.random());
    }
}
