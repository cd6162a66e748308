//! Through the public calls, without a process of its own: files live in temporary folders.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aof::Fs;
use aof::fs::{Disk, Mem};

use super::*;

/// A stand-in for the server's pattern matching: a star at one of the ends.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.strip_prefix(b"*"), pattern.strip_suffix(b"*")) {
        (Some(b""), _) => true,
        (Some(tail), _) => text.ends_with(tail),
        (_, Some(head)) => text.starts_with(head),
        _ => pattern == text,
    }
}

fn start(args: &[&str]) -> Result<Start, ConfigError> {
    Config::from_args(["everlog-server"].iter().chain(args).map(OsString::from))
}

fn run(args: &[&str]) -> Config {
    match start(args).unwrap() {
        Start::Run(config, _) => *config,
        Start::Print(text) => panic!("printed {text}"),
    }
}

fn warnings(args: &[&str]) -> Vec<String> {
    match start(args).unwrap() {
        Start::Run(_, warnings) => warnings.iter().map(ToString::to_string).collect(),
        Start::Print(text) => panic!("printed {text}"),
    }
}

/// The line, its text and the reason of an error in a file or an option.
fn line_error(args: &[&str]) -> (usize, String, String) {
    match start(args).unwrap_err() {
        ConfigError::Line { line, text, reason, .. } => (line, text, reason),
        other => panic!("{other}"),
    }
}

fn get(config: &Config, name: &str) -> String {
    let values = config.get(&[name.as_bytes()], glob);
    assert_eq!(values.len(), 1, "{name}");
    String::from_utf8(values[0].1.clone()).unwrap()
}

fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Changed, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    config.set(&pairs, Origin::default()).map_err(|error| error.to_string())
}

fn write_conf(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn names_and_aliases_are_unique_and_in_lower_case() {
    let mut seen = HashSet::new();
    for name in DIRECTIVES.iter().flat_map(Directive::names) {
        assert!(seen.insert(name), "{name} twice");
        assert_eq!(name, name.to_ascii_lowercase());
    }
}

#[test]
fn every_default_parses_fits_its_field_and_survives_printing() {
    let config = Config::redis_defaults();
    for row in DIRECTIVES.iter().filter(|row| row.name != "dir") {
        let default = row.default_value().unwrap_or_else(|| panic!("{}: {}", row.name, row.default));
        assert_eq!(config.value(row), default, "{}", row.name);
        let printed = default.to_bytes();
        let args = if row.kind.is_multi_arg() && !printed.is_empty() {
            file::words(&printed).unwrap()
        } else {
            vec![printed]
        };
        assert_eq!(row.kind.parse(&args, &default), Ok(default), "{}", row.name);
    }
}

#[test]
fn bounds_of_numbers_fit_their_fields() {
    let is_refused = |row: &&Directive| matches!(row.status, Status::Refused(_));
    // Redis takes any `hz`, and clamps it.
    for row in DIRECTIVES.iter().filter(|row| row.name != "hz" && !is_refused(row)) {
        let (Kind::Number { min, max } | Kind::Memory { min, max }) = row.kind else { continue };
        for bound in [min, max] {
            let mut config = Config::redis_defaults();
            assert_eq!(config.assign(row, &[bound.to_string().into()]).err(), None, "{} {bound}", row.name);
            assert_eq!(get(&config, row.name), bound.to_string());
        }
        for outside in [min - 1, max + 1] {
            let mut config = Config::redis_defaults();
            assert!(config.assign(row, &[outside.to_string().into()]).is_err(), "{} {outside}", row.name);
        }
    }
}

#[test]
fn an_alias_gets_and_sets_the_same_value() {
    for row in DIRECTIVES.iter().filter(|row| !row.alias.is_empty()) {
        let (found, name) = find(row.alias.to_ascii_uppercase().as_bytes()).unwrap();
        assert_eq!((found.name, name), (row.name, row.alias));
    }
    let mut config = Config::redis_defaults();
    let changed = set(&mut config, &[("LUA-time-limit", "7")]).unwrap();
    assert!(changed.contains("busy-reply-threshold"));
    assert_eq!(config.busy_reply_threshold_ms, 7);
    assert_eq!(get(&config, "lua-time-limit"), get(&config, "busy-reply-threshold"));
}

#[test]
fn no_argument_is_everlog_and_any_argument_is_redis() {
    let everlog = Config::everlog_defaults();
    assert!(everlog.appendonly && everlog.dir.ends_with("everlog-data"));
    assert_eq!(everlog.appendfsync, AppendFsync::Everysec);
    let redis = run(&["--port", "1"]);
    assert!(!redis.appendonly);
    assert_eq!(redis.dir, std::env::current_dir().unwrap());
    let named = Config::from_args([OsString::from("/usr/bin/redis-server")]).unwrap();
    assert!(matches!(named, Start::Run(config, _) if !config.appendonly));
}

#[test]
fn the_folder_of_everlogs_defaults_is_created_or_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let start_in = |dir: PathBuf| Config { dir, ..Config::everlog_defaults() }.start_in_new_dir(&Disk);
    let own = dir.path().join("everlog-data");
    assert!(matches!(start_in(own.clone()), Ok(Start::Run(_, warnings)) if warnings.is_empty()));
    assert!(own.is_dir());
    let below_a_file = PathBuf::from(write_conf(dir.path(), "file", "")).join("x");
    let error = start_in(below_a_file.clone()).unwrap_err().to_string();
    assert_eq!(error, format!("can't create the folder '{}': Not a directory", below_a_file.display()));
}

/// It was made and not synced: on a strict file system a power cut took all of the log with it, acknowledged or not.
#[test]
fn the_folder_of_everlogs_defaults_survives_a_power_cut() {
    let start_in = |mem: &Mem| {
        Config { dir: "/srv/everlog-data".into(), ..Config::everlog_defaults() }.start_in_new_dir(mem)
    };
    let is_durable = |mem: &Mem| mem.power_cut().list("/srv/everlog-data".as_ref()).is_ok();
    let mem = Mem::new();
    start_in(&mem).unwrap();
    assert!(is_durable(&mem));
    // Somebody who was killed has made it.
    let mem = Mem::new();
    mem.create_dir("/srv".as_ref()).unwrap();
    mem.create_dir("/srv/everlog-data".as_ref()).unwrap();
    mem.sync_dir("/".as_ref()).unwrap();
    assert!(!is_durable(&mem));
    start_in(&mem).unwrap();
    assert!(is_durable(&mem));
}

#[test]
fn values_print_as_redis_prints_them() {
    let rows = [
        ("save", "3600 1 300 100 60 10000"),
        ("bind", "* -::*"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("auto-aof-rewrite-min-size", "67108864"),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("unixsocketperm", "0"),
        ("shutdown-on-sigterm", "default"),
        ("notify-keyspace-events", ""),
        ("proto-max-bulk-len", "536870912"),
        ("list-max-ziplist-size", "-2"),
        ("maxmemory-policy", "noeviction"),
        ("oom-score-adj-values", "0 200 800"),
        ("replicaof", ""),
    ];
    let config = Config::redis_defaults();
    for (name, expected) in rows {
        assert_eq!(get(&config, name), expected, "{name}");
    }
    let mut config = run(&["--unixsocketperm", "0750"]);
    assert_eq!((config.unixsocketperm, get(&config, "unixsocketperm").as_str()), (0o750, "750"));
    let rows = [
        ("notify-keyspace-events", "KEA", "AKE"),
        ("notify-keyspace-events", "KEgxmn", "gxnKEm"),
        ("notify-keyspace-events", "AKEmn", "AKEm"),
        ("notify-keyspace-events", "Kg$lshzxetd", "AK"),
        ("shutdown-on-sigterm", "force now save", "save now force"),
        ("maxmemory", "10kB", "10240"),
        ("maxmemory", "2k", "2000"),
        ("maxmemory", "18446744073709551615", "18446744073709551615"),
        ("maxmemory", "", "0"),
        ("maxmemory-clients", "5%", "5%"),
        (
            "client-output-buffer-limit",
            "replica 5mb 4mb 3",
            "normal 0 0 0 slave 5242880 4194304 3 pubsub 33554432 8388608 60",
        ),
        ("latency-tracking-info-percentiles", "50.5 99.999 0 100", "50.5 99.999 0 100"),
        ("latency-tracking-info-percentiles", "", ""),
        ("save", "100 10 60 1", "100 10 60 1"),
        ("save", "", ""),
        ("hz", "9999", "500"),
        ("hz", "0", "1"),
        ("bind", "", ""),
        ("appendfsync", "ALWAYS", "always"),
    ];
    for (name, value, expected) in rows {
        let _ = set(&mut config, &[(name, value)]).unwrap();
        assert_eq!(get(&config, name), expected, "{name} {value}");
    }
}

#[test]
fn get_takes_patterns_aliases_and_hidden_names() {
    let config = Config::redis_defaults();
    let names =
        |patterns: &[&[u8]]| -> Vec<&str> { config.get(patterns, glob).iter().map(|pair| pair.0).collect() };
    assert_eq!(names(&[b"TIMEOUT", b"port", b"time*"]), ["port", "timeout"]);
    assert_eq!(names(&[b"slave-p*"]), ["slave-priority"]);
    assert_eq!(names(&[b"key-load-delay"]), ["key-load-delay"]);
    assert!(!names(&[b"*"]).contains(&"key-load-delay"));
    assert!(names(&[b"*"]).contains(&"lua-time-limit"));
    assert!(names(&[b"no-such"]).is_empty());
}

#[test]
fn set_errors_are_those_of_redis() {
    let failed =
        |name: &str, why: &str| format!("CONFIG SET failed (possibly related to argument '{name}') - {why}");
    let memory = "argument must be a memory value";
    let rows: &[(&[(&str, &str)], String)] = &[
        (&[("foo", "bar")], "Unknown option or number of arguments for CONFIG SET - 'foo'".into()),
        (&[("port", "1"), ("PORT", "2")], failed("PORT", "duplicate parameter")),
        (&[("Databases", "3")], failed("Databases", "can't set immutable config")),
        (&[("DIR", "/")], failed("DIR", "can't set protected config")),
        (&[("dbfilename", "x")], failed("dbfilename", "can't set protected config")),
        (
            &[("SLAVE-priority", "-3")],
            failed("slave-priority", "argument must be between 0 and 2147483647 inclusive"),
        ),
        (
            &[("maxclients", "99999999999")],
            failed("maxclients", "argument must be between 1 and 4294967295 inclusive"),
        ),
        (&[("port", " 1")], failed("port", "argument couldn't be parsed into an integer")),
        (&[("appendonly", "")], failed("appendonly", "argument must be 'yes' or 'no'")),
        (
            &[("appendfsync", "x")],
            failed("appendfsync", "argument(s) must be one of the following: everysec, always, no"),
        ),
        (&[("maxmemory", "-1")], failed("maxmemory", memory)),
        (&[("maxmemory", "1.5gb")], failed("maxmemory", memory)),
        (&[("maxmemory", "99999999999999999999999")], failed("maxmemory", memory)),
        (&[("maxmemory", "99999999999999999gb")], failed("maxmemory", memory)),
        (
            &[("maxmemory-clients", "-5")],
            failed("maxmemory-clients", "argument must be a memory or percent value"),
        ),
        (
            &[("maxmemory-clients", "200%")],
            failed("maxmemory-clients", "percentage argument must be less or equal to 100"),
        ),
        (&[("save", "100  10")], failed("save", "Invalid save parameters")),
        (&[("save", "0 1")], failed("save", "Invalid save parameters")),
        (&[("save", "1 -1")], failed("save", "Invalid save parameters")),
        (
            &[("client-output-buffer-limit", "normal 1")],
            failed("client-output-buffer-limit", "Wrong number of arguments in buffer limit configuration."),
        ),
        (
            &[("client-output-buffer-limit", "master 1 1 1")],
            failed(
                "client-output-buffer-limit",
                "Invalid client class specified in buffer limit configuration.",
            ),
        ),
        (
            &[("client-output-buffer-limit", "normal a 1 1")],
            failed(
                "client-output-buffer-limit",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
        ),
        (
            &[("notify-keyspace-events", "Q")],
            failed("notify-keyspace-events", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ),
        (
            &[("latency-tracking-info-percentiles", "200")],
            failed(
                "latency-tracking-info-percentiles",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ),
        ),
        (
            &[("latency-tracking-info-percentiles", "NaN")],
            failed(
                "latency-tracking-info-percentiles",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ),
        ),
        (
            &[("shutdown-on-sigterm", "save nosave")],
            failed("shutdown-on-sigterm", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ),
        (
            &[("shutdown-on-sigint", "")],
            failed(
                "shutdown-on-sigint",
                "argument(s) must be one of the following: default, save, nosave, now, force",
            ),
        ),
        (&[("oom-score-adj-values", "0 1")], failed("oom-score-adj-values", "wrong number of arguments")),
        (
            &[("oom-score-adj-values", "1 2 9999")],
            failed(
                "oom-score-adj-values",
                "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
            ),
        ),
        (
            &[("proc-title-template", "{title} {foo}")],
            failed("proc-title-template", "template format is invalid or contains unknown variables"),
        ),
        (
            &[("cluster-announce-hostname", "a b")],
            failed(
                "cluster-announce-hostname",
                "Hostnames may only contain alphanumeric characters, hyphens or dots",
            ),
        ),
        (
            &[("tls-port", "1")],
            failed(
                "tls-port",
                "refused: TLS is not built yet: put a TLS proxy in front, or listen on a Unix socket",
            ),
        ),
    ];
    for (pairs, expected) in rows {
        let mut config = Config::redis_defaults();
        assert_eq!(set(&mut config, pairs).unwrap_err(), *expected);
    }
}

#[test]
fn set_changes_all_or_nothing() {
    let mut config = Config::redis_defaults();
    let before = config.get(&[b"*"], glob);
    assert!(set(&mut config, &[("timeout", "7"), ("save", "1 1"), ("port", "abc")]).is_err());
    assert!(set(&mut config, &[("timeout", "7"), ("nonsense", "1")]).is_err());
    assert_eq!(config.get(&[b"*"], glob), before);
}

#[test]
fn set_reports_what_changed_and_takes_it_back() {
    let mut config = Config::redis_defaults();
    let before = config.get(&[b"*"], glob);
    let changed = set(&mut config, &[("timeout", "7"), ("port", "6379"), ("masterauth", "x")]).unwrap();
    assert_eq!(changed.names().collect::<Vec<_>>(), ["timeout", "masterauth"]);
    assert_eq!((config.timeout_s, get(&config, "masterauth").as_str()), (7, "x"));
    config.rollback(changed);
    assert_eq!(config.get(&[b"*"], glob), before);
}

#[test]
fn protected_directives_open_to_all_or_to_local_clients() {
    let attempt = |allowed: &str, local| {
        let mut config = run(&["--enable-protected-configs", allowed]);
        config.set(&[(b"dir", b"/")], Origin { loading: false, local }).is_ok()
    };
    assert_eq!([attempt("no", true), attempt("local", false)], [false, false]);
    assert_eq!([attempt("yes", false), attempt("local", true)], [true, true]);
}

#[test]
fn some_directives_wait_for_the_end_of_loading() {
    let mut config = Config::redis_defaults();
    let loading = Origin { loading: true, local: false };
    assert_eq!(config.set(&[(b"appendonly", b"yes")], loading).unwrap_err(), SetError::Loading);
    assert!(config.set(&[(b"timeout", b"1")], loading).is_ok());
}

#[test]
fn errors_on_the_command_line_name_the_option() {
    let rows: &[(&[&str], usize, &str, &str)] = &[
        (&["--port", "abc"], 1, "port \"abc\"", "argument couldn't be parsed into an integer"),
        (&["--port", "70000"], 1, "port \"70000\"", "argument must be between 0 and 65535 inclusive"),
        (&["--port"], 1, "port", "wrong number of arguments"),
        (&["--port", "1", "--foo", "bar"], 2, "foo \"bar\"", "Bad directive or wrong number of arguments"),
        (&["--port=5"], 1, "port=5", "Bad directive or wrong number of arguments"),
        (&["--save", "1"], 1, "save \"1\"", "Invalid save parameters"),
        (
            &["--port", "1", "--save", "--hz", "x"],
            3,
            "hz \"x\"",
            "argument couldn't be parsed into an integer",
        ),
        (&["--port 1", "--hz x"], 2, "hz x", "argument couldn't be parsed into an integer"),
        (
            &["--requirepass", "--x", "--hz", "x"],
            2,
            "hz \"x\"",
            "argument couldn't be parsed into an integer",
        ),
        (&["-x"], 1, "\"-x\"", "Bad directive or wrong number of arguments"),
        (&["--port", "1", "-", "--hz", "1"], 1, "port \"1\" \"-\"", "wrong number of arguments"),
        (
            &["--appendfilename", "a/b"],
            1,
            "appendfilename \"a/b\"",
            "appendfilename can't be a path, just a filename",
        ),
        (&["--appendfilename", ""], 1, "appendfilename \"\"", "appendfilename can't be empty"),
        (
            &["--appenddirname", "a/b"],
            1,
            "appenddirname \"a/b\"",
            "appenddirname can't be a path, just a dirname",
        ),
        (
            &["--appenddirname", "."],
            1,
            "appenddirname \".\"",
            "appenddirname can't be a path, just a dirname",
        ),
        (
            &["--appenddirname", ".."],
            1,
            "appenddirname \"..\"",
            "appenddirname can't be a path, just a dirname",
        ),
        (&["--dbfilename", "a/b"], 1, "dbfilename \"a/b\"", "dbfilename can't be a path, just a filename"),
        (&["--dir", "/nonexistent"], 1, "dir \"/nonexistent\"", "No such file or directory"),
        (
            &["--unixsocketperm", "999"],
            1,
            "unixsocketperm \"999\"",
            "argument couldn't be parsed as an octal number",
        ),
        (
            &["--unixsocketperm", "1777"],
            1,
            "unixsocketperm \"1777\"",
            "argument must be between 0 and 777 inclusive",
        ),
        (&["--replicaof", "a", "b"], 1, "replicaof \"a\" \"b\"", "Invalid master port"),
        (&["--replicaof", "a", "1"], 1, "replicaof \"a\" \"1\"", "refused: replication is not built yet"),
        (&["--foo.bar"], 1, "foo.bar", "Module config specified without value"),
        (&["--rename-command", "a"], 1, "rename-command \"a\"", "Bad directive or wrong number of arguments"),
        (&["--user"], 1, "user", "Bad directive or wrong number of arguments"),
        (
            &["--daemonize", "yes"],
            1,
            "daemonize \"yes\"",
            "refused: run it under a supervisor, or append & to the command",
        ),
    ];
    for (args, line, text, reason) in rows {
        assert_eq!(line_error(args), (*line, text.to_string(), reason.to_string()), "{args:?}");
    }
    let binds: Vec<&str> = std::iter::once("--bind").chain(std::iter::repeat_n("a", 17)).collect();
    assert_eq!(line_error(&binds).2, "Too many bind addresses specified.");
}

#[test]
fn options_take_values_as_redis_does() {
    let config = run(&["--requirepass", "--x", "--port 7", "--save", "--bind", "a", "b"]);
    assert_eq!((config.requirepass.as_slice(), config.port), (&b"--x"[..], 7));
    assert!(config.save.is_empty());
    assert_eq!(config.bind, [b"a", b"b"]);
    assert!(run(&["--save", ""]).save.is_empty());
    assert!(run(&["--port", "1", "--save"]).save.is_empty());
    assert_eq!(get(&run(&["--save", "9 1 8 2", "--save", "7", "3"]), "save"), "9 1 8 2 7 3");
    assert_eq!(run(&["--PORT", "8", "--port", "9"]).port, 9);
    assert_eq!(run(&["--requirepass", "a\"\\\n\u{e9}"]).requirepass, "a\"\\\n\u{e9}".as_bytes());
}

#[test]
fn the_error_has_the_layout_that_operators_know() {
    let dir = tempfile::tempdir().unwrap();
    let conf = write_conf(dir.path(), "a.conf", "port 1\n   \n  # x\n\tHZ 1\nfoo \n");
    let expected = format!(
        "\n*** FATAL CONFIG FILE ERROR (Everlog {}) ***\nReading the configuration file, at line 5 of {conf}\n>>> \
         'foo'\nBad directive or wrong number of arguments",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(start(&[&conf]).unwrap_err().to_string(), expected);
    let missing = start(&["/nonexistent.conf"]).unwrap_err().to_string();
    assert_eq!(missing, "Fatal error, can't open config file '/nonexistent.conf': No such file or directory");
    let logfile = start(&["--logfile", "/nonexistent/x"]).unwrap_err().to_string();
    assert!(logfile.ends_with("\nCan't open the log file: No such file or directory"), "{logfile}");
}

#[test]
fn a_file_is_read_with_quotes_comments_and_old_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "# c\n\nrequirepass \"a \\\"b\\x41\"\r\nSave 1 2\nsave 3 4\nlua-replicate-commands yes\nbind '1' 2\n";
    let config = run(&[&write_conf(dir.path(), "a.conf", text), "--save", "5 6"]);
    assert_eq!(config.requirepass, b"a \"bA");
    assert_eq!(get(&config, "save"), "1 2 3 4 5 6");
    assert_eq!(get(&config, "bind"), "1 2");
    let unbalanced = write_conf(dir.path(), "b.conf", "port 1\nport \"22\n");
    let expected = (2, "port \"22".into(), "Unbalanced quotes in configuration line".into());
    assert_eq!(line_error(&[&unbalanced]), expected);
}

#[test]
fn included_files_are_read_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    write_conf(dir.path(), "b1.inc", "timeout 1\nport 1\n");
    write_conf(dir.path(), "b2.inc", "timeout 2\n");
    write_conf(dir.path(), ".hidden.inc", "timeout 3\n");
    let text =
        format!("port 5\ninclude {at}/*.inc\ninclude {at}/no*.such\ndir {at}\ninclude b1.inc\nport 6\n");
    let config = run(&[&write_conf(dir.path(), "a.conf", &text)]);
    assert_eq!((config.timeout_s, config.port), (1, 6));
    let missing = start(&["--include", &format!("{at}/x")]).unwrap_err().to_string();
    assert!(missing.starts_with("Fatal error, can't open config file"), "{missing}");
    let own = format!("include {at}/own.conf\n");
    assert_eq!(
        line_error(&[&write_conf(dir.path(), "own.conf", &own)]).2,
        "files include each other too deeply"
    );
}

#[test]
fn directives_that_protect_refuse_to_start_and_idle_ones_warn() {
    for args in [
        &["--aclfile", "x"][..],
        &["--user", "u", "on"],
        &["--tls-port", "1"],
        &["--tls-auth-clients", "no"],
        &["--loadmodule", "x"],
        &["--cluster-enabled", "yes"],
    ] {
        assert!(line_error(args).2.starts_with("refused: "), "{args:?}");
    }
    for args in [["--tls-port", "0"], ["--daemonize", "no"], ["--cluster-enabled", "NO"], ["--aclfile", ""]] {
        assert!(warnings(&args).is_empty(), "{args:?}");
    }
    assert_eq!(warnings(&["--io-threads", "4", "--port", "1"]), ["accepted, has no effect: io-threads"]);
    assert_eq!(start(&["--sentinel"]).unwrap_err().to_string(), "sentinel mode is not offered");
    assert_eq!(start(&["--test-memory", "1"]).unwrap_err().to_string(), "--test-memory is not offered");
}

#[test]
fn help_and_version_print() {
    let text = |arg| match start(&[arg]) {
        Ok(Start::Print(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(text("-h").starts_with("Usage: ") && text("--help") == text("-h"));
    assert!(text("-v").starts_with("Everlog server v=") && text("--version") == text("-v"));
}

#[test]
fn renames_follow_the_file_in_order() {
    let exists = |name: &[u8]| [&b"get"[..], b"set"].contains(&name.to_ascii_lowercase().as_slice());
    let check = |args: &[&str]| run(args).check_renames(exists).map_err(|error| error.to_string());
    check(&[
        "--rename-command",
        "GET",
        "read",
        "--rename-command",
        "set",
        "get",
        "--rename-command",
        "read",
        "",
    ])
    .unwrap();
    check(&["--rename-command", "get", "GET"]).unwrap();
    let gone = check(&["--rename-command", "get", "", "--rename-command", "get", "x"]).unwrap_err();
    assert!(gone.ends_with("No such command in rename-command"), "{gone}");
    let taken = check(&["--rename-command", "get", "set"]).unwrap_err();
    assert!(
        taken.ends_with(">>> 'rename-command \"get\" \"set\"'\nTarget command name already exists"),
        "{taken}"
    );
}

#[test]
fn rewrite_keeps_comments_and_order_and_signs_what_it_adds() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let old =
        "# hello\n\nport 22000\nsave 900 1\nsave 60 5\nslave-priority 50\n\nrename-command get x\n# end\n";
    let conf = write_conf(dir.path(), "a.conf", old);
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o640)).unwrap();
    let mut config = run(&[&conf, "--dir", at]);
    let pairs = [
        ("save", "10 10"),
        ("requirepass", "a \"b"),
        ("maxmemory", "3mb"),
        ("maxmemory-clients", "5%"),
        ("client-output-buffer-limit", "pubsub 1mb 1 1"),
        ("notify-keyspace-events", "AKn"),
        ("bind", "127.0.0.1 ::1"),
        ("shutdown-on-sigterm", "now force"),
    ];
    let _ = set(&mut config, &pairs).unwrap();
    config.rewrite().unwrap();
    let expected = format!(
        "# hello\n\nport 22000\nsave 10 10\nreplica-priority 50\n\nrename-command get x\n# end\n\n# Generated by \
         CONFIG REWRITE\nbind 127.0.0.1 ::1\nrequirepass \"a \\\"b\"\nshutdown-on-sigterm now force\ndir \"{at}\"\n\
         client-output-buffer-limit pubsub 1mb 1 1\nmaxmemory-clients 5%\nmaxmemory 3mb\n\
         notify-keyspace-events \"AKn\"\n"
    );
    assert_eq!(fs::read_to_string(&conf).unwrap(), expected);
    assert_eq!(fs::metadata(&conf).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file is gone");
    config.rewrite().unwrap();
    assert_eq!(fs::read_to_string(&conf).unwrap(), expected, "a second rewrite changes nothing");
    assert_eq!(run(&[&conf]).get(&[b"*"], glob), config.get(&[b"*"], glob));
}

#[test]
fn rewrite_round_trips_every_directive_that_is_not_at_its_default() {
    let mut config = Config::redis_defaults();
    for row in DIRECTIVES.iter().filter(|row| !matches!(row.status, Status::Refused(_))) {
        let other = match row.kind {
            Kind::YesNo => vec![if row.default == "yes" { "no" } else { "yes" }],
            Kind::Number { min, max } => vec![if min > 90 {
                "2000"
            } else if max < 90 {
                "9"
            } else {
                "90"
            }],
            Kind::Memory { .. } => vec!["3mb"],
            Kind::MemoryOrPercent => vec!["7%"],
            Kind::Octal(_) => vec!["640"],
            Kind::OneOf(words) => vec![*words.iter().find(|word| **word != row.default).unwrap()],
            Kind::Text(_) if row.name == "proc-title-template" => vec!["{title} #\"'"],
            Kind::Text(_) if row.name.starts_with("cluster-announce-h") => vec!["a-b"],
            Kind::Text(_) => vec!["a '\"\\\n\t\u{7}\u{e9} b"],
            Kind::Dir => continue,
            Kind::Save => vec!["1", "2", "3", "4"],
            Kind::OutputBufferLimits => vec!["normal", "1", "2", "3", "replica", "1kb", "0", "9"],
            Kind::KeyspaceEvents => vec!["KEAmn"],
            Kind::Percentiles => vec!["0.1", "100"],
            Kind::ShutdownFlags => vec!["nosave", "force"],
            Kind::Bind => vec!["127.0.0.1", "-::1", "a b", "#"],
            Kind::OomScoreAdjValues => vec!["-1", "2", "3"],
            Kind::ReplicaOf => continue,
        };
        let args: Vec<Vec<u8>> = other.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        assert!(config.assign(row, &args).unwrap().is_some(), "{} has not changed", row.name);
    }
    // The logfile of the loop above is not a path that can be opened.
    config.logfile = PathBuf::new();
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("a.conf");
    config.config_file = Some(conf.clone());
    config.rewrite().unwrap();
    let read = run(&[conf.to_str().unwrap()]);
    for row in DIRECTIVES {
        assert_eq!(read.value(row), config.value(row), "{}", row.name);
    }
}

#[test]
fn rewrite_gets_past_what_a_crash_has_left_and_follows_links() {
    let dir = tempfile::tempdir().unwrap();
    let conf = write_conf(dir.path(), "a.conf", "port 1\n");
    write_conf(dir.path(), &format!("a.conf.{}.tmp", std::process::id()), "half a li");
    let link = dir.path().join("link.conf");
    std::os::unix::fs::symlink(&conf, &link).unwrap();
    let mut config = run(&[link.to_str().unwrap()]);
    let _ = set(&mut config, &[("port", "2")]).unwrap();
    config.rewrite().unwrap();
    assert!(fs::read_to_string(&conf).unwrap().starts_with("port 2\n"));
    assert!(link.is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn rewrite_without_a_file_or_a_folder_fails_in_words() {
    let mut config = Config::redis_defaults();
    assert_eq!(config.rewrite().unwrap_err().to_string(), "The server is running without a config file");
    config.config_file = Some("/nonexistent/redis.conf".into());
    assert_eq!(config.rewrite().unwrap_err().to_string(), "Rewriting config file: No such file or directory");
}

#[test]
fn rewrite_leaves_limits_in_the_lines_of_their_class() {
    let mut config = Config::redis_defaults();
    let _ = set(&mut config, &[("client-output-buffer-limit", "pubsub 1kb 1 1 replica 5 5 5")]).unwrap();
    let old = b"client-output-buffer-limit slave 1 1 1\nclient-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit normal 1 1 1 pubsub 1 1 1";
    let new = String::from_utf8(config.rewritten(old)).unwrap();
    let expected =
        "client-output-buffer-limit replica 5 5 5\nclient-output-buffer-limit normal 0 0 0\n\n# Generated by";
    assert!(new.starts_with(expected), "{new}");
    assert!(new.contains("\nclient-output-buffer-limit pubsub 1kb 1 1\n"), "{new}");
}

#[test]
fn a_file_that_names_one_point_of_save_gets_all_even_at_the_default() {
    let config = Config::redis_defaults();
    let new = String::from_utf8(config.rewritten(b"save ''\nport 6379")).unwrap();
    assert!(
        new.starts_with("save 3600 1\nport 6379\n") && new.ends_with("\nsave 300 100\nsave 60 10000\n"),
        "{new}"
    );
    assert!(!String::from_utf8(config.rewritten(b"port 6379")).unwrap().contains("save"));
}

#[test]
fn own_directives_are_left_out_at_their_default() {
    let text = Config::redis_defaults().rewritten(b"");
    assert!(!String::from_utf8(text).unwrap().contains("aof-max-unsynced-bytes"));
}

#[test]
fn no_line_makes_the_parser_panic() {
    // A plain generator: the same lines each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let pieces: Vec<&[u8]> = vec![
        b" ",
        b"\"",
        b"'",
        b"\\",
        b"\\x",
        b"\0",
        b"-",
        b"%",
        b"9999999999999999999",
        b"1",
        b"kb",
        b"yes",
        b"\xff",
        b"\xc3",
        b"normal",
        b"save",
        b"{",
        b"}",
        b"A",
        b".",
        b"*",
        b"[",
        b"\r",
    ];
    for _ in 0..5_000 {
        let row = &DIRECTIVES[next(DIRECTIVES.len())];
        let mut line = [row.name.as_bytes(), b" "].concat();
        (0..next(8)).for_each(|_| line.extend_from_slice(pieces[next(pieces.len())]));
        let args = file::words(&line).unwrap_or_default();
        let mut config = Config::redis_defaults();
        if config.assign(row, args.get(1..).unwrap_or_default()).is_ok() {
            let text = config.rewritten(&line);
            assert!(text.ends_with(b"\n"));
        }
    }
}
