//! `everlog-check-aof`, also by the name `redis-check-aof`: the words around [`aof::check`].
//!
//! Messages, prompts and exit codes are those of Redis 7.2 wherever it has them; what it has not stands on lines of its
//! own. Nothing is written unless `--fix`, `--truncate-to-timestamp` or `repair` asks for it, and no byte goes without a
//! copy. Unlike Redis it does not end at the first file that is not valid.
//!
//! Source: redis 7.2 `src/redis-check-aof.c`, for the messages.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail, ensure};
use aof::check::{Checkup, FileReport, Findings, Place, Repaired, Verdict};
use aof::fs::Disk;
use aof::{DirLock, Error, Progress, Sink, SinkError, Truncation};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::ProgressBar;
use keyspace::Keyspace;
use keyspace::rdb::{Item, ModuleType, Reader, end_of};
use serde_json::{Value, json};

use crate::bar;
use crate::rdb_load::told;
use crate::startup::keys_of;

const USAGE: &str =
    "everlog-check-aof [--fix|--truncate-to-timestamp $timestamp|--json] <file.manifest|file.aof>
       everlog-check-aof repair [--json] <file.manifest>";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Check,
    Fix,
    Until(i64),
    Repair,
}

struct Request {
    action: Action,
    json: bool,
    path: PathBuf,
}

/// Does what the arguments say; true if all is well in the end.
///
/// # Errors
/// That of writing to `out`.
pub fn run(
    args: impl Iterator<Item = OsString>,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> std::io::Result<bool> {
    let request = match grammar().try_get_matches_from(args) {
        Ok(matches) => request(&matches),
        Err(error) => {
            write!(out, "{error}")?;
            return Ok(!error.use_stderr());
        }
    };
    let done = Session { request: &request, input, out: &mut *out }.run();
    match done {
        Ok(is_sound) => Ok(is_sound),
        Err(error) => {
            if request.json {
                writeln!(out, "{}", json!({ "valid": false, "error": format!("{error:#}") }))?;
            } else {
                writeln!(out, "{error:#}")?;
            }
            Ok(false)
        }
    }
}

fn grammar() -> Command {
    const ABOUT: &str = "Checks an append-only file, and mends it when asked to. Exit code 0: it is valid.";
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("A report for programs");
    let file = || Arg::new("file").required(true).value_parser(value_parser!(PathBuf));
    let version = concat!("v=7.2.5 everlog=", env!("CARGO_PKG_VERSION"));
    let fix = Arg::new("fix").long("fix").action(ArgAction::SetTrue).conflicts_with("json");
    let until = Arg::new("until").long("truncate-to-timestamp").value_name("timestamp");
    let until = until.value_parser(value_parser!(i64)).conflicts_with_all(["fix", "json"]);
    let repair = Command::new("repair").about("Keeps all that is sound in new files; the old ones stay");
    Command::new("everlog-check-aof")
        .about(ABOUT)
        .version(version)
        .override_usage(USAGE)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(fix.help("Cuts the last file where it stops being valid, after a question and a copy"))
        .arg(until.help("Cuts the last file at the first #TS: line that is later, after a copy"))
        .arg(json())
        .arg(Arg::new("version").short('v').long("version").action(ArgAction::Version).help("Prints it"))
        .arg(file().value_name("file.manifest|file.aof"))
        .subcommand(repair.arg(json()).arg(file().value_name("file.manifest")))
}

fn request(matches: &ArgMatches) -> Request {
    let (action, matches) = match matches.subcommand() {
        Some((_, matches)) => (Action::Repair, matches),
        None => match matches.get_one("until") {
            Some(&until) => (Action::Until(until), matches),
            None if matches.get_flag("fix") => (Action::Fix, matches),
            None => (Action::Check, matches),
        },
    };
    // The grammar requires it.
    let path = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
    Request { action, json: matches.get_flag("json"), path }
}

/// One run of the program.
struct Session<'a> {
    request: &'a Request,
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
}

impl Session<'_> {
    fn run(mut self) -> Result<bool> {
        let path = &self.request.path;
        // Before anything is read: whoever has the log may publish another manifest. Whoever only looks disturbs nobody.
        let _lock = (self.request.action != Action::Check).then(|| lock(path)).transpose()?;
        let checkup = Checkup::open(Arc::new(Disk), path).map_err(|error| match error {
            Error::Io { op: "open", path, source } => {
                anyhow::anyhow!("Cannot open file {}: {source}", path.display())
            }
            error => error.into(),
        })?;
        match (self.request.action, self.request.json) {
            (Action::Repair, _) => self.repair(checkup),
            (_, true) => {
                let findings = look(&checkup)?;
                writeln!(self.out, "{}", report(path, &findings, None))?;
                Ok(findings.is_sound())
            }
            (action, false) => self.check(&checkup, action),
        }
    }

    fn check(&mut self, checkup: &Checkup, action: Action) -> Result<bool> {
        let is_set = checkup.is_set();
        let kind = if is_set { "Multi Part AOF" } else { "Old-Style AOF" };
        writeln!(self.out, "Start checking {kind}")?;
        let until = if let Action::Until(until) = action { Some(until) } else { None };
        let mut validator = Validator::new();
        let findings = checkup.look(&mut validator, until)?;
        for module in &validator.modules {
            let what = format!("data of module type '{module}', which no server here loads");
            writeln!(self.out, "Warning: the base holds {what}")?;
        }
        let (mut all_valid, mut in_incrs) = (true, false);
        for file in &findings.files {
            if is_set && file.is_base {
                let format = if file.is_rdb { "RDB" } else { "RESP" };
                writeln!(self.out, "Start to check BASE AOF ({format} format).")?;
            } else if is_set && !in_incrs {
                in_incrs = true;
                writeln!(self.out, "Start to check INCR files.")?;
            }
            all_valid &= self.file(checkup, file, action)?;
        }
        self.sum_up(&findings, is_set, all_valid)?;
        Ok(all_valid)
    }

    fn sum_up(&mut self, findings: &Findings, is_set: bool, all_valid: bool) -> Result<()> {
        let blocks: u64 = findings.files.iter().map(|file| file.blocks_verified).sum();
        let bytes: u64 = findings.files.iter().map(|file| file.unverified_bytes).sum();
        if blocks > 0 {
            writeln!(self.out, "Checksums: {blocks} blocks are right, {bytes} bytes have none")?;
        }
        if is_set && all_valid {
            writeln!(self.out, "All AOF files and manifest are valid")?;
        } else if is_set {
            let manifest = self.request.path.display();
            writeln!(self.out, "To keep all that is sound, use: everlog-check-aof repair {manifest}")?;
        }
        Ok(())
    }

    /// One file; false if it is not valid and stays so.
    fn file(&mut self, checkup: &Checkup, file: &FileReport, action: Action) -> Result<bool> {
        let (name, title) = (self.name(checkup, file), self.title(checkup, file));
        if file.len_bytes == 0 && file.places.is_empty() {
            writeln!(self.out, "{title} is empty")?;
            return Ok(true);
        }
        if file.is_rdb && file.ok_up_to_bytes > 0 {
            writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
        }
        let first = file.places.first();
        if let (Action::Until(until), Some(place)) = (action, first)
            && place.verdict == Verdict::Later
        {
            return self.cut_later(checkup, file, place, until);
        }
        for place in &file.places {
            self.place(&name, place)?;
        }
        let (size, ok) = (file.len_bytes, file.ok_up_to_bytes);
        match action {
            Action::Until(until) if first.is_none() => {
                writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {until}")?;
            }
            _ => writeln!(
                self.out,
                "AOF analyzed: filename={name}, size={size}, ok_up_to={ok}, ok_up_to_line={}, diff={}",
                file.ok_up_to_line,
                size - ok
            )?,
        }
        match first {
            None => writeln!(self.out, "{title} is valid")?,
            Some(place) if action == Action::Fix => self.fix(checkup, file, place)?,
            Some(_) => {
                writeln!(self.out, "AOF {name} is not valid. Use the --fix option to try fixing it.")?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn place(&mut self, name: &str, place: &Place) -> Result<()> {
        if matches!(place.verdict, Verdict::Wrong | Verdict::Corrupt) {
            writeln!(self.out, "AOF {name} format error")?;
        }
        writeln!(self.out, "0x{:16x}: {}", place.at_bytes, describe(place))?;
        Ok(())
    }

    fn fix(&mut self, checkup: &Checkup, file: &FileReport, place: &Place) -> Result<()> {
        let (name, size, ok) = (self.name(checkup, file), file.len_bytes, file.ok_up_to_bytes);
        ensure!(place.can_cut, "Failed to truncate AOF {name} because it is not the last file");
        if place.damage.offset_bytes + place.damage.len_bytes < size {
            writeln!(
                self.out,
                "Sound blocks stand behind the damage; 'repair' instead of --fix keeps them."
            )?;
        }
        let diff = size - ok;
        writeln!(
            self.out,
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {ok} bytes"
        )?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        ensure!(answer.starts_with(['y', 'Y']), "Aborting...");
        let cut = checkup.cut(file)?;
        writeln!(self.out, "The {diff} bytes are kept in {}", copy(&cut)?.display())?;
        writeln!(self.out, "Successfully truncated AOF {name}")?;
        Ok(())
    }

    fn cut_later(&mut self, checkup: &Checkup, file: &FileReport, place: &Place, until: i64) -> Result<bool> {
        let (name, offset) = (self.name(checkup, file), place.at_bytes);
        ensure!(offset > 0, "AOF {name} has nothing before timestamp {until}, aborting...");
        if !place.can_cut {
            bail!(
                "Failed to truncate AOF {name} to timestamp {until} to offset {offset} because it is not the last file.\n\
                 The files behind it, and their lines in the manifest, would have to go first."
            );
        }
        let cut = checkup.cut(file)?;
        writeln!(self.out, "The {} bytes behind are kept in {}", cut.cut_bytes, copy(&cut)?.display())?;
        writeln!(self.out, "Successfully truncated AOF {name} to timestamp {until}")?;
        Ok(true)
    }

    fn repair(&mut self, checkup: Checkup) -> Result<bool> {
        let path = &self.request.path;
        let findings = look(&checkup)?;
        let repaired = if findings.is_sound() && checkup.is_set() {
            None
        } else {
            let repaired = checkup.repair(&findings, &mut Validator::new())?;
            let again = look(&Checkup::open(Arc::new(Disk), path)?)?;
            ensure!(again.is_sound(), "{}: the repaired log is not sound", path.display());
            Some(repaired)
        };
        if self.request.json {
            writeln!(self.out, "{}", report(path, &findings, repaired.as_ref()))?;
            return Ok(true);
        }
        for (_, place) in findings.places() {
            let path = place.damage.path.display();
            writeln!(self.out, "{path}: at byte {}: {}", place.at_bytes, describe(place))?;
        }
        let Some(Repaired { manifest_copy, files, left }) = repaired else {
            writeln!(self.out, "Nothing to repair: all AOF files and manifest are valid")?;
            return Ok(true);
        };
        writeln!(self.out, "The log is now: {}", files.join(", "))?;
        writeln!(self.out, "No longer a part of it, and unchanged: {}", left.join(", "))?;
        writeln!(self.out, "The manifest that listed them: {}", manifest_copy.display())?;
        writeln!(self.out, "Successfully repaired AOF {}", path.display())?;
        Ok(true)
    }

    /// As Redis names it.
    fn name(&self, checkup: &Checkup, file: &FileReport) -> String {
        if checkup.is_set() { file.name.clone() } else { self.request.path.display().to_string() }
    }

    fn title(&self, checkup: &Checkup, file: &FileReport) -> String {
        let role = match (checkup.is_set(), file.is_base) {
            (false, _) => "",
            (true, true) => "BASE ",
            (true, false) => "INCR ",
        };
        format!("{role}AOF {}", self.name(checkup, file))
    }
}

/// Keeps servers of ours away from the log while it is changed.
fn lock(file: &Path) -> Result<Option<DirLock>, Error> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    DirLock::take(&Disk, dir.unwrap_or(Path::new(".")))
}

fn look(checkup: &Checkup) -> Result<Findings> {
    Ok(checkup.look(&mut Validator::new(), None)?)
}

/// What a place is, how much of the file it takes, and whose data may be missing.
fn describe(place: &Place) -> String {
    let damage = &place.damage;
    let mut text = format!("{}: {}; {} bytes", place.verdict.name(), damage.found, damage.len_bytes);
    if let Some(position) = damage.position {
        text += &format!(", position {position}");
    }
    if !damage.keys.is_empty() {
        let more = if damage.are_more_keys { " and more" } else { "" };
        text += &format!(", keys: {}{more}", keys(place).join(" "));
    }
    text
}

fn keys(place: &Place) -> Vec<String> {
    place.damage.keys.iter().map(|key| key.escape_ascii().to_string()).collect()
}

/// The report for programs.
fn report(path: &Path, findings: &Findings, repaired: Option<&Repaired>) -> Value {
    let torn = findings.places().find(|(_, place)| place.verdict == Verdict::Torn && place.can_cut);
    json!({
        "path": path.display().to_string(),
        "valid": findings.is_sound() || repaired.is_some(),
        "commands": findings.commands,
        "blocks_verified": findings.files.iter().map(|file| file.blocks_verified).sum::<u64>(),
        "unverified_bytes": findings.files.iter().map(|file| file.unverified_bytes).sum::<u64>(),
        "torn_tail": torn.map(|(file, place)| report_place(file, place)),
        "damaged": findings.places().map(|(file, place)| report_place(file, place)).collect::<Vec<_>>(),
        "files": findings.files.iter().map(report_file).collect::<Vec<_>>(),
        "repaired": repaired.map(|repaired| json!({
            "files": repaired.files,
            "left": repaired.left,
            "manifest_copy": repaired.manifest_copy.display().to_string(),
        })),
    })
}

fn report_file(file: &FileReport) -> Value {
    json!({
        "name": file.name,
        "role": if file.is_base { "base" } else { "incr" },
        "format": if file.is_rdb { "rdb" } else { "resp" },
        "size": file.len_bytes,
        "ok_up_to": file.ok_up_to_bytes,
        "ok_up_to_line": file.ok_up_to_line,
        "blocks_verified": file.blocks_verified,
        "unverified_bytes": file.unverified_bytes,
        "valid": file.places.is_empty(),
    })
}

fn report_place(file: &FileReport, place: &Place) -> Value {
    json!({
        "file": file.name,
        "verdict": place.verdict.name(),
        "offset": place.damage.offset_bytes,
        "at": place.at_bytes,
        "length": place.damage.len_bytes,
        "position": place.damage.position,
        "found": place.damage.found,
        "keys": keys(place),
        "more_keys": place.damage.are_more_keys,
        "can_cut": place.can_cut,
    })
}

/// Takes every command that is framed right, as `redis-check-aof` does, and shows how far it is, on a terminal.
struct Validator {
    bar: ProgressBar,
    /// Whose data an RDB base holds.
    modules: BTreeSet<ModuleType>,
}

impl Validator {
    fn new() -> Self {
        Validator { bar: bar::bytes(), modules: BTreeSet::new() }
    }
}

impl Drop for Validator {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Sink for Validator {
    fn command(&mut self, _db: u32, _argv: &[&[u8]]) -> Result<(), SinkError> {
        Ok(())
    }

    fn base_rdb(&mut self, _path: &Path, rdb: &mut (dyn BufRead + Send)) -> Result<(), SinkError> {
        let shapes = Keyspace::new(1, 0).rdb_shapes();
        let reader = Reader::new(rdb, shapes).map_err(|error| told(&error, 0, "no key"))?;
        let (mut reader, mut keys, mut announced) = (reader.without_module_values(), 0u64, 0u64);
        loop {
            match reader.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Key(_))) => keys += 1,
                Ok(Some(Item::Sizes { keys, .. })) => announced = announced.saturating_add(keys),
                Ok(Some(Item::Module { module, .. })) => drop(self.modules.insert(module)),
                Ok(Some(_)) => {}
                Err(error) => {
                    let keys = format!("{keys} keys of {announced} announced");
                    return Err(told(&error, reader.sound_bytes(), &keys));
                }
            }
        }
    }

    fn rdb_end(&mut self, rdb: &mut dyn BufRead) -> Result<Vec<u8>, SinkError> {
        end_of(rdb).map_err(SinkError::new)
    }

    fn keys_of(&self, argv: &[&[u8]]) -> Vec<Vec<u8>> {
        keys_of(argv)
    }

    fn progress(&mut self, progress: Progress) {
        self.bar.set_length(progress.total_bytes);
        self.bar.set_position(progress.loaded_bytes);
    }
}

/// Where the bytes are that were cut; without a copy nothing is.
fn copy(cut: &Truncation) -> Result<&Path> {
    cut.side_file.as_deref().map_err(|failure| anyhow!("{}: {}", failure.path.display(), failure.message))
}
