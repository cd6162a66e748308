//! Checks an RDB file: everlog-check-rdb FILE. Also works as redis-check-rdb, with its main lines and exit codes.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use keyspace::Keyspace;
use keyspace::rdb::{Checksum, Error, Item, Reader, Verdict};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let [name, path] = &args[..] else {
        let name = args.first().map_or_else(|| "everlog-check-rdb".into(), |name| name.to_string_lossy());
        let _ = writeln!(io::stderr(), "Usage: {name} <rdb-file-name>");
        return ExitCode::FAILURE;
    };
    let mut out = io::stdout().lock();
    if path == "-v" || path == "--version" {
        let name = std::path::Path::new(name).file_name().unwrap_or(name).to_string_lossy().into_owned();
        let _ = writeln!(out, "{name} {} (everlog {})", server::REDIS_VERSION, env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            let _ = writeln!(io::stderr(), "Cannot open file {}: {error}", path.to_string_lossy());
            return ExitCode::FAILURE;
        }
    };
    let _ = writeln!(out, "[offset 0] Checking RDB file {}", path.to_string_lossy());
    let mut counts = Counts::default();
    let checked = check(file, &mut counts, &mut out);
    if let Err(error) = &checked {
        // Whoever closes the pipe has seen enough.
        let _ = report(error, &mut out);
    }
    let _ = counts.write(&mut out);
    if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Debug, Default)]
struct Counts {
    keys: u64,
    expires: u64,
    expired: u64,
    functions: u64,
}

impl Counts {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "[info] {} keys read", self.keys)?;
        writeln!(out, "[info] {} expires", self.expires)?;
        writeln!(out, "[info] {} already expired", self.expired)?;
        match self.functions {
            0 => Ok(()),
            count => writeln!(out, "[info] {count} function libraries, whose code was not looked at"),
        }
    }
}

fn check(file: File, counts: &mut Counts, out: &mut impl Write) -> Result<(), Error> {
    let shapes = Keyspace::new(1, 0).rdb_shapes();
    let reader = Reader::new(BufReader::with_capacity(1 << 20, file), shapes)?;
    // As Redis, which knows how they are framed.
    let mut reader = reader.without_module_values();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    while let Some(item) = reader.next()? {
        let line = match item {
            Item::Aux { name, value } => {
                format!("AUX FIELD {} = '{}'", name.escape_ascii(), value.escape_ascii())
            }
            Item::Db(db) => format!("Selecting DB ID {db}"),
            Item::Skipped(what) => format!("Skipped: {what}"),
            Item::Module { module, key: None } => {
                format!("Skipped: what module type '{module}' keeps beside the keys")
            }
            Item::Module { module, key: Some(key) } => {
                counts.keys += 1;
                let key = key.escape_ascii();
                format!("Skipped: the value of '{key}', of module type '{module}': no server here loads it")
            }
            Item::End(Checksum::Verified) => "Checksum OK".to_owned(),
            Item::End(Checksum::Unchecked) => {
                "RDB file was saved with checksum disabled: no check performed.".to_owned()
            }
            Item::Sizes { .. } => continue,
            Item::Function(_) => {
                counts.functions += 1;
                continue;
            }
            Item::Key(key) => {
                counts.keys += 1;
                counts.expires += u64::from(key.expire_at_ms.is_some());
                counts.expired += u64::from(key.expire_at_ms.is_some_and(|at_ms| at_ms < now_ms));
                continue;
            }
        };
        let _ = writeln!(out, "[offset {}] {line}", reader.offset_bytes());
    }
    let _ = writeln!(out, "[offset {}] \\o/ RDB looks OK! \\o/", reader.offset_bytes());
    Ok(())
}

fn report(error: &Error, out: &mut impl Write) -> io::Result<()> {
    let title = match error.verdict() {
        Verdict::Unsupported => "--- RDB SOUND SO FAR, BUT NOT SUPPORTED HERE ---",
        Verdict::Damaged | Verdict::Unknown => "--- RDB ERROR DETECTED ---",
    };
    writeln!(out, "{title}")?;
    writeln!(out, "[offset {}] {}", error.offset_bytes, error.kind)?;
    if let Some(name) = error.type_name {
        let doing = if error.key.is_some() { "read-object-value" } else { "read-key" };
        writeln!(out, "[additional info] While doing: {doing}")?;
        if let Some(key) = &error.key {
            writeln!(out, "[additional info] Reading key '{}'", key.escape_ascii())?;
        }
        writeln!(out, "[additional info] Reading type {name}")?;
    }
    Ok(())
}
