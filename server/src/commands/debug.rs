//! DEBUG: what tests and operators use to look inside and to provoke. Off unless `enable-debug-command` says so.

use std::time::Duration;

use keyspace::commands::{Keys, flags::*, spec, unknown_subcommand};
use keyspace::{Call, CommandError, Digest};
use resp::Reply;

use super::ProcessSpec;
use super::connection::reply;
use crate::client::ClientId;
use crate::executor::Server;
use crate::logger::Level;
use crate::rdb::LoadOptions;
use crate::restart::Wanted;

type Result = std::result::Result<(), CommandError>;

const RULE: u32 = ADMIN | NOSCRIPT | LOADING | STALE | DANGEROUS;
/// They change data, or all of it, beside the current unit.
const ALONE: u32 = (RULE & !LOADING) | NO_MULTI;

/// The rows.
pub const TABLE: &[ProcessSpec] = &[ProcessSpec {
    subcommands: &[
        spec("help", super::help, 2, RULE, Keys::None, "1.0.0", "Lists the subcommands."),
        spec("digest", digest, 2, RULE, Keys::None, "1.0.0", "Answers a digest of all data."),
        spec("digest-value", digest_value, -2, RULE, Keys::None, "1.0.0", "Answers digests of values."),
        spec("loadaof", loadaof, 2, ALONE, Keys::None, "1.0.0", "Drops all data and loads the log again."),
        spec(
            "reload",
            reload,
            -2,
            ALONE,
            Keys::None,
            "1.0.0",
            "Writes the RDB file and loads it: [NOSAVE] [NOFLUSH] [MERGE].",
        ),
        spec("restart", restart, -2, ALONE, Keys::None, "1.0.0", "Ends the server and starts it again."),
        spec(
            "crash-and-recover",
            crash_and_recover,
            -2,
            ALONE,
            Keys::None,
            "1.0.0",
            "Starts the server again as if it had been killed.",
        ),
        spec(
            "aof-flush-sleep",
            aof_flush_sleep,
            3,
            RULE,
            Keys::None,
            "1.0.0",
            "Sleeps some microseconds before each write of the log.",
        ),
        spec(
            "quicklist-packed-threshold",
            packed_threshold,
            3,
            RULE,
            Keys::None,
            "1.0.0",
            "Sets from which length on elements of lists stand alone.",
        ),
        spec("sleep", sleep, 3, RULE, Keys::None, "1.0.0", "Stops the executor for some seconds."),
        spec(
            "set-active-expire",
            set_active_expire,
            3,
            RULE,
            Keys::None,
            "1.0.0",
            "Turns active expiry on or off.",
        ),
        spec(
            "set-skip-checksum-validation",
            set_skip_checksum_validation,
            3,
            RULE,
            Keys::None,
            "1.0.0",
            "Lets RESTORE and loads of RDB files take any checksum, or not.",
        ),
        spec("object", object, -3, RULE, Keys::None, "1.0.0", "Describes how a value is stored."),
        spec("populate", populate, -3, ALONE | WRITE | DENYOOM, Keys::None, "1.0.0", "Makes keys."),
        spec(
            "stringmatch-len",
            stringmatch_len,
            4,
            RULE,
            Keys::None,
            "1.0.0",
            "Matches a string with a pattern.",
        ),
        spec("protocol", protocol, 3, RULE, Keys::None, "1.0.0", "Answers a value of a protocol type."),
        spec("error", error, 3, RULE, Keys::None, "1.0.0", "Answers an error."),
        spec("log", log, 3, RULE, Keys::None, "1.0.0", "Writes a line to the server's log."),
    ],
    ..spec("debug", debug, -2, RULE | UNDIVIDED, Keys::None, "1.0.0", "Commands for debugging.")
}];

fn debug(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(unknown_subcommand(argv))
}

fn digest(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.wait_for_all(id);
    let digest = Digest::of(server.keyspace.dbs());
    reply(server, id, |reply| reply.simple(&digest.to_string()));
    Ok(())
}

fn digest_value(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.wait_for_all(id);
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let (db, mut reply) = (client.db, client.reply());
    reply.array(argv.len() - 2);
    for key in &argv[2..] {
        let digest =
            server.keyspace.entry(db, key, server.clock.unix_ms).map(|entry| Digest::of_value(entry.value()));
        reply.simple(&digest.unwrap_or_default().to_string());
    }
    Ok(())
}

fn loadaof(server: &mut Server, id: ClientId, _: &[&[u8]]) -> Result {
    server.rest_log().map_err(|reason| CommandError::other(format!("ERR {reason}")))?;
    if let Err(error) = server.reload() {
        // As in Redis: what is left in memory must neither be served nor become a base.
        server.log(Level::Warning, format!("Error trying to load the AOF files: {error}"));
        std::process::exit(1);
    }
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn reload(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let (mut save, mut flush, mut replace) = (true, true, false);
    for option in &argv[2..] {
        match option.to_ascii_lowercase().as_slice() {
            b"nosave" => save = false,
            b"noflush" => flush = false,
            b"merge" => replace = true,
            _ => {
                return Err(CommandError::other(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if save {
        // It would write the same temporary file.
        server.abort_save();
        server.save().map_err(|error| CommandError::other(format!("ERR {error}")))?;
    }
    let failed = |why: &str| {
        CommandError::other(format!("ERR Error trying to load the RDB dump, check server logs. ({why})"))
    };
    // Redis would empty the data before it finds that there is nothing to load.
    if let Err(error) = std::fs::File::open(server.rdb_path()) {
        return Err(failed(&error.to_string()));
    }
    if flush {
        server.drop_all();
    }
    let options = LoadOptions { replace, keeps_expired: true };
    let loaded = server.load_rdb_file(None, options);
    server.break_all_watches();
    let why = match loaded {
        Ok(true) => None,
        Ok(false) => Some("the file has gone".to_owned()),
        Err(error) => Some(format!("{error:#}")),
    };
    match why {
        Some(why) if flush => {
            // As in DEBUG LOADAOF: what is left in memory must neither be served nor become a base.
            server.log(Level::Warning, format!("Error trying to load the RDB dump: {why}"));
            std::process::exit(1);
        }
        Some(why) => return Err(failed(&why)),
        None => {}
    }
    reply(server, id, |reply| reply.ok());
    Ok(())
}

/// DEBUG RESTART [milliseconds]: as SHUTDOWN ends the server, and with the configuration of now if it has a file for that.
fn restart(server: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    let after = delay(argv)?;
    check_restart(server)?;
    if server.config.config_file.is_some() {
        server.config.rewrite().map_err(|error| cannot_restart(server, &error.to_string()))?;
    }
    server.shut_down(false, None).map_err(|_| cannot_restart(server, "it cannot be shut down"))?;
    server.restart.wanted = Some(Wanted { after, crash: false });
    Ok(())
}

/// DEBUG CRASH-AND-RECOVER [milliseconds].
fn crash_and_recover(server: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    let after = delay(argv)?;
    check_restart(server)?;
    server.restart.wanted = Some(Wanted { after, crash: true });
    // With this code nothing more is logged, and nobody is answered.
    server.exit = Some(1);
    Ok(())
}

fn check_restart(server: &mut Server) -> Result {
    server.restart.check(&server.config).map_err(|why| cannot_restart(server, &why))
}

fn delay(argv: &[&[u8]]) -> std::result::Result<Duration, CommandError> {
    let delay_ms = argv.get(2).map_or(Ok(0), |word| super::integer(word))?;
    Ok(Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0)))
}

fn cannot_restart(server: &mut Server, why: &str) -> CommandError {
    server.log(Level::Warning, format!("Can't restart: {why}"));
    CommandError::other("ERR failed to restart the server. Check server logs.")
}

fn aof_flush_sleep(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.debug.aof_flush_sleep =
        Duration::from_micros(u64::try_from(super::integer(argv[2])?).unwrap_or(0));
    reply(server, id, |reply| reply.ok());
    Ok(())
}

/// Takes a number of bytes, with a unit as in redis.conf.
fn packed_threshold(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let bytes = crate::config::value::parse_memory(argv[2]).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or(CommandError::other(
        "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
    ))?;
    // As Redis: 0 means the usual.
    server.keyspace.limits.list_packed_threshold = if bytes == 0 { usize::MAX } else { bytes };
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn sleep(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let seconds = resp::number::parse_f64(argv[2]).ok_or(CommandError::NotAFloat)?;
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn set_active_expire(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.debug.active_expire = super::integer(argv[2])? != 0;
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn set_skip_checksum_validation(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.keyspace.skips_checksums = super::integer(argv[2])? != 0;
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn object(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    server.wait_for_all(id);
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let entry =
        server.keyspace.entry(client.db, argv[2], server.clock.unix_ms).ok_or(CommandError::NoSuchKey)?;
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:0 lru:0 lru_seconds_idle:{}",
        entry.value().encoding(),
        entry.idle_s(server.clock.unix_ms)
    );
    client.reply().simple(&text);
    Ok(())
}

/// DEBUG POPULATE count [prefix] [size]: keys that are there already stay as they are.
fn populate(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let count = super::integer(argv[2])?;
    let prefix = String::from_utf8_lossy(argv.get(3).copied().unwrap_or(b"key")).into_owned();
    let size = argv.get(4).map(|size| super::integer(size)).transpose()?;
    let max_bytes = server.keyspace.limits.max_string_bytes;
    if size.is_some_and(|size| u64::try_from(size).is_ok_and(|size| size > max_bytes)) {
        return Err(CommandError::other("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    let size = size.map(|size| usize::try_from(size).unwrap_or(0));
    let db = server.clients.get(id).map_or(0, |client| client.db);
    let mut out = bytes::BytesMut::new();
    for number in 0..count {
        let key = format!("{prefix}:{number}");
        let mut value = format!("value:{number}").into_bytes();
        if let Some(size) = size {
            value.resize(size, 0);
        }
        let words: [&[u8]; 3] = [b"SETNX", key.as_bytes(), &value];
        let call = Call::new(db, server.clock.unix_ms, &words);
        let mut encoder = resp::Encoder::new(&mut out, resp::Version::Resp2);
        server.unit.clear();
        server.keyspace.execute(&call, &mut encoder, &mut server.unit);
        server.finish_unit(Some(id), false);
        out.clear();
    }
    reply(server, id, |reply| reply.ok());
    Ok(())
}

fn stringmatch_len(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    /// The text is really made.
    const MAX_BYTES: usize = 64 << 20;
    let len = usize::try_from(super::integer(argv[2])?).ok().filter(|&len| len <= MAX_BYTES);
    let len = len.ok_or(CommandError::IndexOutOfRange)?;
    let matched = keyspace::glob::matches(argv[3], &vec![b'a'; len], false);
    reply(server, id, |reply| reply.integer(i64::from(matched)));
    Ok(())
}

fn protocol(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let Some(client) = server.clients.get_mut(id) else { return Ok(()) };
    let mut reply = client.reply();
    match argv[2].to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => {
            #[expect(clippy::approx_constant, reason = "what Redis answers")]
            reply.double(3.141);
        }
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|value| reply.integer(value));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|value| reply.integer(value));
        }
        b"map" => {
            reply.map(3);
            for value in 0..3 {
                reply.integer(value);
                reply.boolean(value == 1);
            }
        }
        b"attrib" => {
            let text = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
            let popularity = Reply::Array(vec![text("key:123"), Reply::Integer(90)]);
            let attributes = vec![(text("key-popularity"), popularity)];
            let answer = Box::new(text("Some real reply following the attribute"));
            Reply::Attributed { attributes, reply: answer }.encode(&mut reply);
        }
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err(CommandError::other(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn error(_: &mut Server, _: ClientId, argv: &[&[u8]]) -> Result {
    Err(CommandError::other(String::from_utf8_lossy(argv[2]).into_owned()))
}

fn log(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result {
    let line = format!("DEBUG LOG: {}", String::from_utf8_lossy(argv[2]));
    server.log(crate::logger::Level::Warning, line);
    reply(server, id, |reply| reply.ok());
    Ok(())
}
