//! `everlog-rewrite`: compacts a log that no server is using, whoever wrote it.
//!
//! It loads the directory as a start would, and lets the job of BGREWRITEAOF write and publish the new base: temporary
//! file, its sync, rename, the directory's sync, manifest, and only then the old files go. So a crash at any moment
//! leaves the old log or the new one, for any server. What a start would cut, set aside or complain of is refused here.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use aof::fs::Disk;
use aof::{DirLock, Directory, Error, LoadCorrupt, Options, Report};
use clap::{Arg, Command, value_parser};
use rewrite::{Rewrite, Settings, Summary};

use crate::bar;
use crate::config::{Config, ReplayErrors};
use crate::executor::Server;
use crate::logger::{Level, Logger};
use crate::persistence::stale::{BASE_PREFIX, remove_all, stale_files, unfinished_bases};
use crate::startup::Loader;

const MANIFEST_SUFFIX: &str = ".manifest";

/// Does what the arguments say; true if the log is compact in the end.
///
/// # Errors
/// That of writing to `out`.
pub fn run(args: impl Iterator<Item = OsString>, out: &mut dyn Write) -> std::io::Result<bool> {
    let matches = match grammar().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            write!(out, "{error}")?;
            return Ok(!error.use_stderr());
        }
    };
    // The grammar has defaults for these, and requires that.
    let dir = matches.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    let mut config = Config::redis_defaults();
    config.databases = matches.get_one("databases").copied().unwrap_or(config.databases);
    config.aof_use_rdb_preamble = matches.get_one::<String>("format").is_none_or(|format| format == "rdb");
    config.aof_replay_errors = ReplayErrors::Fail;
    match compact(config, &dir) {
        Ok((report, summary, took)) => {
            writeln!(out, "{}", sum_up(&report, &summary, took))?;
            remove_stale_bases(&dir, out)?;
        }
        Err(error) => {
            writeln!(out, "{error:#}")?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn grammar() -> Command {
    const ABOUT: &str = "Compacts an append-only file that no server is using: the directory of a manifest, written by \
                         Everlog, Redis or Valkey. Exit code 0: the log is its new base.";
    let format = Arg::new("format").long("format").value_parser(["rdb", "resp"]).default_value("rdb");
    let databases = Arg::new("databases").long("databases").value_name("count").default_value("16");
    Command::new("everlog-rewrite")
        .about(ABOUT)
        .arg(format.help("How the base is written: as an RDB file, or as commands"))
        .arg(databases.value_parser(value_parser!(u32).range(1..)).help("As the server that wrote it has"))
        .arg(Arg::new("dir").value_name("DIR").required(true).value_parser(value_parser!(PathBuf)))
}

/// Loads what `dir` holds, and writes it as the only file of the log.
fn compact(config: Config, dir: &Path) -> Result<(Report, Summary, Duration)> {
    let began = Instant::now();
    let options = options(dir)?;
    let _lock = DirLock::take(&Disk, &options.dir)?;
    let logger = Logger::open(Path::new(""), Level::Warning)?;
    let mut server = Server::new(config, logger, crate::random_u64()?);
    let mut directory = Directory::open(server.persistence.fs(), &options)?;
    let report = directory.replay(&mut Loader::new(&mut server, None).with_bar(bar::bytes()), &options);
    let report = report.map_err(|error| advise(error, &options))?;
    if let Some(stepped_over) = report.quarantined.first() {
        let manifest = options.dir.join(format!("{}{MANIFEST_SUFFIX}", options.filename));
        let damage = &stepped_over.damage;
        bail!("{damage}\nNothing was rewritten. Use: everlog-check-aof repair {}", manifest.display());
    }
    let bar = bar::keys();
    let settings = Settings { background: false, ..server.rewrite_settings(&options) };
    let begin =
        |server: &Server, wake| Rewrite::begin_offline(server.persistence.fs(), &options, settings, wake);
    let summary = server.run_to_end(begin, |_, progress| bar::show_keys(&bar, progress));
    bar.finish_and_clear();
    Ok((report, summary?, began.elapsed()))
}

/// Removes the bases that killed rewrites have left in the log's directory and beside it, and nothing else: whose folder
/// that is nobody knows here.
fn remove_stale_bases(dir: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let mut paths = stale_files(&Disk, dir.parent().unwrap_or(&dir), BASE_PREFIX);
    // A server that has started since sees to it itself.
    let lock = DirLock::take(&Disk, &dir).ok().flatten();
    paths.extend(lock.iter().flat_map(|lock| unfinished_bases(&Disk, lock)));
    remove_all(&Disk, &paths, |fs, path| fs.remove(path)).try_for_each(|line| writeln!(out, "{line}"))
}

/// The log whose manifest stands in `dir`.
fn options(dir: &Path) -> Result<Options> {
    let dir = std::path::absolute(dir)?;
    let names = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    let names = names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<std::io::Result<Vec<String>>>()?;
    let mut manifests = names
        .iter()
        .filter(|name| !name.starts_with("temp-"))
        .filter_map(|name| name.strip_suffix(MANIFEST_SUFFIX));
    let (filename, other) = (manifests.next(), manifests.next());
    let filename =
        filename.ok_or_else(|| anyhow!("{}: there is no manifest of a log here", dir.display()))?;
    if let Some(other) = other {
        bail!("{}: there are two logs here, {filename} and {other}", dir.display());
    }
    let parent = dir.parent().unwrap_or(&dir);
    Ok(Options {
        filename: filename.to_owned(),
        load_truncated: false,
        load_corrupt: LoadCorrupt::Fail,
        dir: dir.clone(),
        ..Options::new(parent)
    })
}

/// What to do about a log that is not sound: exactly.
fn advise(error: Error, options: &Options) -> anyhow::Error {
    let action = match &error {
        Error::UnexpectedEnd { .. } | Error::BadFormat { .. } => "--fix",
        Error::Corrupt { .. } => "repair",
        _ => return error.into(),
    };
    let manifest = options.dir.join(format!("{}{MANIFEST_SUFFIX}", options.filename));
    anyhow!("{error}\nNothing was rewritten. Use: everlog-check-aof {action} {}", manifest.display())
}

fn sum_up(report: &Report, summary: &Summary, took: Duration) -> String {
    let (before, after) = (report.bytes, summary.base_bytes);
    let percent = 100.0 * after as f64 / before.max(1) as f64;
    format!(
        "{} keys from {} commands: {before} bytes in {} files before, {after} bytes in one after ({percent:.1} %), \
         {:.1} s",
        summary.keys,
        report.commands,
        report.files,
        took.as_secs_f64()
    )
}
