//! The command line and redis.conf.
//!
//! ```text
//! everlog-server [FILE] [-] [--name value ...] [-]
//! everlog-server - | -v | --version | -h | --help
//!
//! # a comment; blank lines and blanks around a line mean nothing
//! name value "a quoted value\n" 'another'        words as in resp::request::split_words
//! include /etc/redis/conf.d/*.conf               read in place; a pattern may match nothing
//! ```
//!
//! The last value of a directive counts: file, then standard input, then options. Only `save` adds up, from the first
//! one on. Source: redis 7.0 `src/server.c` `main`, `src/config.c` `loadServerConfigFromString`, and experiments.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use aof::Fs;
use aof::fs::{Disk, create_dir_all};
use resp::quote;
use thiserror::Error;

use super::{Config, DIRECTIVES, Directive, Status, bytes_to_path, find, path_to_bytes, strerror};

/// How deep files may include each other; Redis has no limit and runs out of stack.
const MAX_INCLUDE_DEPTH: u32 = 16;

/// What the command line asks for.
pub enum Start {
    /// A server.
    Run(Box<Config>, Vec<Warning>),
    /// This text on standard output, and nothing else.
    Print(String),
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Run(_, warnings) => f.debug_tuple("Run").field(warnings).finish_non_exhaustive(),
            Start::Print(text) => f.debug_tuple("Print").field(text).finish(),
        }
    }
}

/// A directive that was accepted and does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its name.
    pub directive: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted, has no effect: {}", self.directive)
    }
}

/// `rename-command <from> <to>`; an empty `to` removes the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenamedCommand {
    /// The name to give up.
    pub from: Vec<u8>,
    /// The new name.
    pub to: Vec<u8>,
    at: Place,
}

/// A line of a configuration file, or an option.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    source: String,
    line: usize,
    text: String,
}

/// Why the server does not start. `Display` is what it prints on standard error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A line that is not a directive, or a value that it does not take.
    #[error(
        "\n*** FATAL CONFIG FILE ERROR (Everlog {version}) ***\nReading the configuration file, at line {line} of \
         {file}\n>>> '{text}'\n{reason}",
        version = env!("CARGO_PKG_VERSION")
    )]
    Line {
        /// The file, `standard input`, or `the command line`, whose options are lines.
        file: String,
        /// From 1.
        line: usize,
        /// The line, without blanks around it.
        text: String,
        /// What is wrong, in Redis's words where it has some.
        reason: String,
    },
    /// Something that only shows at the end, such as a log file that cannot be opened.
    #[error("\n*** FATAL CONFIG FILE ERROR (Everlog {version}) ***\n{reason}", version = env!("CARGO_PKG_VERSION"))]
    Whole {
        /// What is wrong.
        reason: String,
    },
    /// A configuration file that cannot be read.
    #[error("Fatal error, can't open config file '{}': {}", path.display(), strerror(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder of Everlog's defaults cannot be made.
    #[error("can't create the folder '{}': {}", path.display(), strerror(source))]
    CreateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mode of redis-server that Everlog does not have.
    #[error("{0} is not offered")]
    NotOffered(&'static str),
}

const USAGE: &str = "\
Usage: everlog-server [/path/to/redis.conf] [options] [-]
       everlog-server - (read config from stdin)
       everlog-server -v or --version
       everlog-server -h or --help

Examples:
       everlog-server (append-only file on, in ./everlog-data)
       echo 'appendfsync always' | everlog-server -
       everlog-server /etc/redis/6379.conf
       everlog-server --port 7777 --appendonly yes
       everlog-server /etc/myredis.conf --loglevel verbose -
";

impl Config {
    /// Reads the command line, `argv[0]` included, and the files that it names.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Start, ConfigError> {
        let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
        let (program, args) = args.split_first().map_or((&[][..], &[][..]), |(first, rest)| (first, rest));
        let program = bytes_to_path(program).file_name().unwrap_or_default();
        match args.first().map(Vec::as_slice) {
            _ if program == "redis-sentinel" => return Err(ConfigError::NotOffered("sentinel mode")),
            None if program != "redis-server" => return Config::everlog_defaults().start_in_new_dir(&Disk),
            Some(b"-v" | b"--version") => return Ok(Start::Print(version())),
            Some(b"-h" | b"--help") => return Ok(Start::Print(USAGE.to_owned())),
            Some(b"--test-memory") => return Err(ConfigError::NotOffered("--test-memory")),
            Some(b"--check-system") => return Err(ConfigError::NotOffered("--check-system")),
            _ => {}
        }
        let command_line = CommandLine::parse(args);
        let mut loader = Loader { config: Config::redis_defaults(), save_seen: false, depth: 0 };
        if let Some(file) = command_line.file {
            let path = loader.config.dir.join(bytes_to_path(&file));
            loader.file(&path)?;
            loader.config.config_file = Some(path);
        }
        if command_line.stdin {
            let mut text = Vec::new();
            let read = io::stdin().read_to_end(&mut text);
            read.map_err(|source| ConfigError::Open { path: "standard input".into(), source })?;
            loader.text(&text, "standard input")?;
            loader.config.is_from_stdin = true;
        }
        loader.text(&command_line.options, "the command line")?;
        loader.config.check_logfile()?;
        Ok(loader.config.start())
    }

    /// A log cannot be safer than the names of the folders that it is in.
    pub(crate) fn start_in_new_dir(self, fs: &dyn Fs) -> Result<Start, ConfigError> {
        match create_dir_all(fs, &self.dir) {
            Ok(()) => Ok(self.start()),
            Err(source) => Err(ConfigError::CreateDir { path: self.dir, source }),
        }
    }

    fn start(self) -> Start {
        let warnings = self.warnings(DIRECTIVES.iter());
        Start::Run(Box::new(self), warnings)
    }

    /// Those of some directives that do nothing, whatever else than their default is asked for.
    pub(crate) fn warnings(&self, rows: impl Iterator<Item = &'static Directive>) -> Vec<Warning> {
        let idle =
            |row: &&Directive| row.status == Status::Accepted && Some(self.value(row)) != row.default_value();
        rows.filter(idle).map(|row| Warning { directive: row.name }).collect()
    }

    /// A log file that cannot be opened stops the start, because later there is nowhere to say so.
    fn check_logfile(&self) -> Result<(), ConfigError> {
        if self.logfile.as_os_str().is_empty() {
            return Ok(());
        }
        let opened = File::options().append(true).create(true).open(self.dir.join(&self.logfile));
        let failed =
            |error| ConfigError::Whole { reason: format!("Can't open the log file: {}", strerror(&error)) };
        opened.map(drop).map_err(failed)
    }

    /// Checks `rename-command` lines against the command table, which is above this module.
    ///
    /// `exists` tells whether a command has this name, whatever its case, before any renaming.
    ///
    /// # Errors
    /// [`ConfigError::Line`]: a name that is not there, or a new one that is taken.
    pub fn check_renames(&self, exists: impl Fn(&[u8]) -> bool) -> Result<(), ConfigError> {
        let is_taken = |earlier: &[RenamedCommand], name: &[u8]| {
            let latest = earlier.iter().rev().find_map(|rename| match rename {
                _ if rename.to.eq_ignore_ascii_case(name) => Some(true),
                _ if rename.from.eq_ignore_ascii_case(name) => Some(false),
                _ => None,
            });
            latest.unwrap_or_else(|| exists(name))
        };
        for (index, rename) in self.renamed_commands.iter().enumerate() {
            let earlier = self.renamed_commands.get(..index).unwrap_or_default();
            if !is_taken(earlier, &rename.from) {
                return Err(rename.at.error("No such command in rename-command"));
            }
            let is_itself = rename.to.eq_ignore_ascii_case(&rename.from);
            if !rename.to.is_empty() && !is_itself && is_taken(earlier, &rename.to) {
                return Err(rename.at.error("Target command name already exists"));
            }
        }
        Ok(())
    }
}

fn version() -> String {
    format!("Everlog server v={} malloc=jemalloc bits={}\n", env!("CARGO_PKG_VERSION"), usize::BITS)
}

/// The command line, taken apart: options become lines of a configuration file.
struct CommandLine {
    file: Option<Vec<u8>>,
    stdin: bool,
    options: Vec<u8>,
}

impl CommandLine {
    /// As redis 7.0: an argument that begins with `--` is an option, unless the one before it is an option that has no
    /// value yet; then it is that value. `--save` and `--sentinel` may lack theirs.
    fn parse(args: &[Vec<u8>]) -> Self {
        let mut line = CommandLine { file: None, stdin: false, options: Vec::new() };
        let has_file = args.first().is_some_and(|arg| arg.first() != Some(&b'-'));
        line.file = args.first().filter(|_| has_file).cloned();
        let mut needs_value = false;
        for (index, arg) in args.iter().enumerate().skip(usize::from(has_file)) {
            let next = args.get(index + 1);
            match arg.strip_prefix(b"--") {
                _ if arg == b"-" && (index == 0 || next.is_none()) => line.stdin = true,
                Some(name) if !needs_value => {
                    let alone = words(arg).is_some_and(|words| words.len() == 1);
                    needs_value = line.option(name, alone, next);
                }
                _ => {
                    quote(arg, &mut line.options);
                    line.options.push(b' ');
                    needs_value = false;
                }
            }
        }
        line
    }

    /// Begins an option's line; returns true if its value must follow. `alone`: the argument holds no value itself.
    fn option(&mut self, name: &[u8], alone: bool, next: Option<&Vec<u8>>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(name);
        self.options.push(b' ');
        let is_save = alone && name.eq_ignore_ascii_case(b"save");
        let may_lack = is_save || alone && name.eq_ignore_ascii_case(b"sentinel");
        let lacks = may_lack && next.is_none_or(|next| next.starts_with(b"--"));
        if is_save && lacks {
            self.options.extend_from_slice(b"\"\"");
        }
        alone && !lacks
    }
}

/// Reads lines into a configuration.
struct Loader {
    config: Config,
    /// The first `save` replaces the default, the next ones add to it.
    save_seen: bool,
    depth: u32,
}

impl Loader {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read(path).map_err(|source| ConfigError::Open { path: path.into(), source })?;
        self.text(&text, &path.display().to_string())
    }

    fn text(&mut self, text: &[u8], source: &str) -> Result<(), ConfigError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = trim(line);
            if matches!(line.first(), None | Some(b'#')) {
                continue;
            }
            let text = String::from_utf8_lossy(line).into_owned();
            let place = Place { source: source.to_owned(), line: index + 1, text };
            let words = words(line).ok_or_else(|| place.error("Unbalanced quotes in configuration line"))?;
            if let Some((name, args)) = words.split_first() {
                self.directive(&name.to_ascii_lowercase(), args, place)?;
            }
        }
        Ok(())
    }

    fn directive(&mut self, name: &[u8], args: &[Vec<u8>], place: Place) -> Result<(), ConfigError> {
        if let Some((row, _)) = find(name) {
            return self.assign(row, args).map_err(|reason| place.error(reason));
        }
        let reason = match (name, args) {
            (b"include", [path]) => return self.include(path, &place),
            (b"rename-command", [from, to]) => {
                let rename = RenamedCommand { from: from.clone(), to: to.clone(), at: place };
                self.config.renamed_commands.push(rename);
                return Ok(());
            }
            // Redis's leftovers, which it skips.
            (b"list-max-ziplist-entries" | b"list-max-ziplist-value" | b"lua-replicate-commands", [_]) => {
                return Ok(());
            }
            (b"user", [_, ..]) => {
                "refused: access control lists are not built yet, and this user would be missing"
            }
            (b"loadmodule", [_, ..]) => "refused: modules are not offered",
            (b"sentinel", []) => return Err(ConfigError::NotOffered("sentinel mode")),
            (b"sentinel", _) => "sentinel directive while not in sentinel mode",
            (_, []) if name.contains(&b'.') => "Module config specified without value",
            _ if name.contains(&b'.') => "refused: modules are not offered",
            _ => "Bad directive or wrong number of arguments",
        };
        Err(place.error(reason))
    }

    fn assign(&mut self, row: &'static Directive, args: &[Vec<u8>]) -> Result<(), String> {
        // `--save "900 1"`: one argument may hold all of the words.
        let args = match args {
            [arg] if row.kind.is_multi_arg() && !arg.is_empty() => &words(arg).ok_or("Unbalanced quotes")?,
            _ => args,
        };
        let mut earlier = match row.name {
            "save" if std::mem::replace(&mut self.save_seen, true) => self.config.save.clone(),
            _ => Vec::new(),
        };
        self.config.assign(row, args)?;
        if row.name == "save" && !self.config.save.is_empty() {
            earlier.append(&mut self.config.save);
            self.config.save = earlier;
        }
        Ok(())
    }

    fn include(&mut self, path: &[u8], place: &Place) -> Result<(), ConfigError> {
        if self.depth == MAX_INCLUDE_DEPTH {
            return Err(place.error("files include each other too deeply"));
        }
        let is_pattern = path.iter().any(|byte| b"*?[".contains(byte));
        let path = self.config.dir.join(bytes_to_path(path));
        let paths = if is_pattern { expand(&path) } else { vec![path] };
        self.depth += 1;
        let included = paths.iter().try_for_each(|path| self.file(path));
        self.depth -= 1;
        included
    }
}

impl Place {
    fn error(&self, reason: impl Into<String>) -> ConfigError {
        let Place { source, line, text } = self.clone();
        ConfigError::Line { file: source, line, text, reason: reason.into() }
    }
}

/// The words of a line; none if its quotes do not close.
pub(crate) fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    resp::request::split_words(line, &mut bytes, |start, len| spans.push((start, len))).ok()?;
    spans.into_iter().map(|(start, len)| bytes.get(start..start + len).map(<[u8]>::to_vec)).collect()
}

/// Without the blanks around it, and without what follows a NUL, which ends Redis's strings.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
    line.get(..end).unwrap_or(line).trim_ascii()
}

/// The files that a pattern names, sorted, as glob(3) does: a leading dot is only matched by a dot.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            paths.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let name = name.as_encoded_bytes();
        let children = |path: &PathBuf| -> Vec<PathBuf> {
            if !name.iter().any(|byte| b"*?[".contains(byte)) {
                return vec![path.join(component)];
            }
            let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
            let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
            let matches = |entry: &OsString| {
                let entry = entry.as_encoded_bytes();
                (entry.first() != Some(&b'.') || name.first() == Some(&b'.')) && wildcard(name, entry)
            };
            names.filter(matches).map(|name| path.join(name)).collect()
        };
        paths = paths.iter().flat_map(children).collect();
    }
    paths.retain(|path| path.exists());
    paths.sort_by_key(|path| path_to_bytes(path));
    paths
}

/// `*`, `?` and `[a-z]`, `[!a-z]` within one name of a path. Takes time of the order of both lengths multiplied.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    loop {
        let rest = pattern.get(p..).unwrap_or_default();
        if rest.first() == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if let Some(len) = text.get(t).and_then(|&byte| one(rest, byte)) {
            p += len;
            t += 1;
        } else if rest.is_empty() && t == text.len() {
            return true;
        } else {
            // Let the last star take one byte more.
            match retry {
                Some((after, from)) if from < text.len() => {
                    (p, t) = (after, from + 1);
                    retry = Some((after, t));
                }
                _ => return false,
            }
        }
    }
}

/// How many bytes of the pattern match this byte, if they do.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => {
            let negated = matches!(set.first(), Some(b'!' | b'^'));
            let start = usize::from(negated);
            // A bracket that comes first is a member.
            let end = set.iter().skip(start + 1).position(|&byte| byte == b']')? + start + 1;
            let mut members = set.get(start..end)?;
            let mut found = false;
            while let [first, rest @ ..] = members {
                members = match rest {
                    [b'-', last, rest @ ..] => {
                        found |= (*first..=*last).contains(&byte);
                        rest
                    }
                    _ => {
                        found |= *first == byte;
                        rest
                    }
                };
            }
            (found != negated).then_some(end + 2)
        }
        [other, ..] => (*other == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod wildcard_tests {
    use super::wildcard;

    #[test]
    fn wildcards_match_names() {
        let rows: [(&str, &str, bool); 12] = [
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("?.conf", "a.conf", true),
            ("?.conf", ".conf", false),
            ("[a-c]1", "b1", true),
            ("[!a-c]1", "b1", false),
            ("[]x]", "]", true),
            ("[a", "a", false),
            ("\\*", "*", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(wildcard(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
