//! The story: an operator brings a redis.conf. What Everlog cannot honour, and what protects, keeps it from starting,
//! with file, line and text; everything else works, can be changed while it runs, and is written back.

use std::fs;
use std::net::{IpAddr, TcpStream};

use crate::harness::{Client, World, free_port, names};

/// Runs a server on a configuration file that it must refuse; returns what it says.
fn refusal(text: &str) -> String {
    let world = World::new();
    let path = world.path().join("redis.conf");
    fs::write(&path, text).unwrap();
    let refusal = world.refused(&[path.to_str().unwrap()]);
    assert_eq!(refusal.code, Some(1), "{refusal:?}");
    // It has not begun anything.
    assert_eq!(names(world.path()), ["redis.conf", "server.log"]);
    refusal.output
}

#[test]
fn a_bad_line_is_refused_with_its_place_and_text() {
    for (line, words) in [
        ("nonsense 1", "Bad directive or wrong number of arguments"),
        ("port", "wrong number of arguments"),
        ("appendonly maybe", "argument must be 'yes' or 'no'"),
        ("appendfsync sometimes", "argument(s) must be one of the following"),
        ("maxmemory 1zb", "argument must be a memory value"),
        ("logfile \"unbalanced", "Unbalanced quotes in configuration line"),
        ("rename-command NOSUCHCOMMAND x", "No such command in rename-command"),
        ("rename-command GET set", "Target command name already exists"),
    ] {
        let output = refusal(&format!("# a comment\n\n{line}\n"));
        assert!(output.contains("*** FATAL CONFIG FILE ERROR"), "{line}: {output}");
        assert!(output.contains("at line 3"), "{line}: {output}");
        assert!(output.contains(&format!(">>> '{line}'")), "{line}: {output}");
        assert!(output.contains(words), "{line}: {output}");
    }
}

#[test]
fn a_directive_that_protects_is_kept_or_refused() {
    for line in [
        "aclfile /etc/redis/users.acl",
        "user alice on >secret ~* +@all",
        "tls-port 6380",
        "tls-cert-file /etc/redis.crt",
        "tls-auth-clients no",
        "tls-replication yes",
        "replicaof 127.0.0.1 6379",
        "cluster-enabled yes",
        "daemonize yes",
        "loadmodule /usr/lib/module.so",
    ] {
        let output = refusal(&format!("{line}\n"));
        assert!(output.contains("at line 1"), "{line}: {output}");
        assert!(output.contains(&format!(">>> '{line}'")), "{line}: {output}");
    }
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let world = World::new();
    let refusal = world.refused(&["/nowhere/redis.conf"]);
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.output.contains("can't open config file '/nowhere/redis.conf'"), "{refusal:?}");
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let world = World::new();
    let server = world.start(&[]);
    let other = World::new();
    let refusal = other.refused(&["--port", &server.port().to_string(), "--appendonly", "yes"]);
    assert_eq!(refusal.code, Some(1));
    assert!(
        refusal.output.contains("Could not create server TCP listening socket 127.0.0.1:"),
        "{refusal:?}"
    );
    assert_eq!(other.aof_names(), Vec::<String>::new());
}

#[test]
fn what_has_no_effect_is_said_once_at_start() {
    let world = World::new();
    let _server = world.start(&["--io-threads", "4"]);
    assert_eq!(world.log().matches("accepted, has no effect: io-threads").count(), 1);
}

#[test]
fn what_was_set_and_rewritten_is_there_after_a_restart() {
    let world = World::new();
    let path = world.path().join("redis.conf");
    let comment = "# keep this comment";
    fs::write(&path, format!("{comment}\nmaxclients 100\nappendfsync no\n")).unwrap();
    let path = path.to_str().unwrap();
    let changes = [
        ("maxclients", "77"),
        ("appendfsync", "always"),
        ("timeout", "300"),
        ("auto-aof-rewrite-min-size", "1048576"),
        ("hash-max-listpack-entries", "7"),
        ("notify-keyspace-events", "AKE"),
        ("requirepass", "pass word"),
    ];
    let server = world.start(&[path]);
    let mut client = server.client();
    for (name, value) in changes {
        let reply = client.call(&[b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()]);
        assert_eq!(crate::harness::show(&reply), "OK", "{name}");
    }
    client.ok("CONFIG REWRITE");
    drop(client);
    assert!(server.terminate().success());
    assert!(fs::read_to_string(path).unwrap().starts_with(comment));

    let server = world.start(&[path]);
    let mut client = server.client();
    assert_eq!(client.ask("GET a"), "-NOAUTH Authentication required.");
    assert_eq!(crate::harness::show(&client.call(&[b"AUTH", b"pass word"])), "OK");
    for (name, value) in changes {
        assert_eq!(client.ask(&format!("CONFIG GET {name}")), format!("[{name} {value}]"));
    }
    // Nothing has changed: the same text again.
    client.ok("CONFIG REWRITE");
    let once = fs::read_to_string(path).unwrap();
    client.ok("CONFIG REWRITE");
    assert_eq!(fs::read_to_string(path).unwrap(), once);
    assert_eq!(names(world.path()), ["redis.conf", "server.log"]);
}

#[test]
fn config_set_changes_all_or_nothing() {
    let world = World::new();
    let server = world.start(&["--maxclients", "50"]);
    let mut client = server.client();
    for (command, reply) in [
        (
            "CONFIG SET maxclients 60 hz abc",
            "-ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer",
        ),
        (
            "CONFIG SET maxclients 60 nonsense 1",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'",
        ),
        (
            "CONFIG SET maxclients 60 databases 3",
            "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
        (
            "CONFIG SET maxclients 60 dir /tmp",
            "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config",
        ),
        (
            "CONFIG SET maxclients 60 maxclients 70",
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter",
        ),
    ] {
        assert_eq!(client.ask(command), reply);
        assert_eq!(client.ask("CONFIG GET maxclients"), "[maxclients 50]");
    }
    assert!(client.ask("CONFIG REWRITE").starts_with("-ERR The server is running without a config file"));
}

#[test]
fn a_renamed_command_has_its_new_name_and_an_empty_one_is_gone() {
    let world = World::new();
    let path = world.path().join("redis.conf");
    // As long as the one in Redis's own redis.conf.
    let secret = "b840fc02d524045429941cc15f59e41cb7be6c52";
    let lines =
        format!("rename-command FLUSHALL \"\"\nrename-command SET put\nrename-command ECHO {secret}\n");
    fs::write(&path, lines).unwrap();
    let options = [path.to_str().unwrap(), "--appendonly", "yes"];
    let server = world.start(&options);
    let mut client = server.client();
    for _ in 0..2 {
        assert_eq!(client.ask(&format!("{} word", secret.to_uppercase())), "word");
        assert_eq!(client.ask("ECHO word"), "-ERR unknown command 'ECHO', with args beginning with: 'word' ");
    }
    assert_eq!(client.ask("FLUSHALL"), "-ERR unknown command 'FLUSHALL', with args beginning with: ");
    assert_eq!(client.ask("SET a 1"), "-ERR unknown command 'SET', with args beginning with: 'a' '1' ");
    client.ok("PUT a 1");
    client.ok("PUT b 1 EX 1000");
    drop(client);
    assert!(server.terminate().success());
    // The log knows commands by their own names.
    assert_eq!(world.start(&options).client().ask("GET a"), "1");
}

#[test]
fn what_renamed_commands_did_is_logged_under_their_own_names() {
    const RENAMED: [(&str, &str); 6] = [
        ("SET", "put"),
        ("GET", "set"),
        ("HMSET", "fill"),
        ("XADD", "note"),
        ("XGROUP", "crowd"),
        ("BLPOP", "fetch"),
    ];
    let world = World::new();
    let path = world.path().join("redis.conf");
    let lines = RENAMED.map(|(from, to)| format!("rename-command {from} {to}\n"));
    fs::write(&path, lines.concat()).unwrap();
    let options = [path.to_str().unwrap(), "--appendonly", "yes"];
    let server = world.start(&options);
    let mut client = server.client();
    for (command, reply) in [
        ("PUT a 1", "OK"),
        ("put a 2 GET", "1"),
        ("fill h f v", "OK"),
        ("fill h f", "-ERR wrong number of arguments for 'hmset' command"),
        ("NOTE s 1-0 f v", "1-0"),
        ("NOTE s 2-* f v", "2-0"),
        ("crowd CREATE s g 0", "OK"),
        ("Set a", "2"),
        ("APPEND a 3", ":2"),
        ("MULTI", "OK"),
        ("PUT b 1", "QUEUED"),
        ("EXEC", "[OK]"),
    ] {
        assert_eq!(client.ask(command), reply, "{command}");
    }
    // One that was parked is logged by its own name, too.
    client.send("FETCH l 0");
    server.wait_for_info("blocked_clients", "1");
    server.client().ask("RPUSH l x");
    assert_eq!(client.reply(), "[l x]");
    drop(client);
    assert!(server.terminate().success());

    let log = fs::read(world.aof_file("appendonly.aof.1.incr.aof")).unwrap();
    let log = String::from_utf8_lossy(&log).to_ascii_lowercase();
    for (_, to) in RENAMED.iter().filter(|(_, to)| *to != "set") {
        assert!(!log.contains(&format!("\n{to}\r")), "{to}: {log}");
    }
    // What clients sent by a name that stayed is as they sent it.
    assert!(log.contains("\nappend\r"));
    // A later start needs no directive, and takes it.
    for options in [&options[1..], &options[..]] {
        let server = world.start(options);
        let get = if options.len() == 3 { "SET" } else { "GET" };
        let mut client = server.client();
        assert_eq!(client.ask(&format!("{get} a")), "23");
        assert_eq!((client.ask(&format!("{get} b")), client.ask("HGET h f")), ("1".into(), "v".into()));
        assert_eq!((client.ask("XLEN s"), client.ask("EXISTS l")), (":2".into(), ":0".into()));
        assert!(client.ask("XINFO GROUPS s").contains("name g "));
    }
}

/// Other servers log what clients send.
#[test]
fn a_log_with_new_names_is_read_where_the_directive_stands() {
    let world = World::new();
    let log = "*3\r\n$3\r\nput\r\n$1\r\na\r\n$1\r\n1\r\n";
    fs::write(world.path().join("appendonly.aof"), log).unwrap();
    let server = world.start(&["--rename-command", "SET", "put", "--appendonly", "yes"]);
    assert_eq!(server.client().ask("GET a"), "1");
}

#[test]
fn port_and_bind_change_while_the_server_runs() {
    let local = |last| IpAddr::from([127, 0, 0, last]);
    let answers = |last: u8, port: u16| {
        TcpStream::connect((local(last), port)).is_ok()
            && Client::connect_to(local(last), port).ask("PING") == "PONG"
    };
    let world = World::new();
    let server = world.start(&[]);
    let taken = World::new().start(&[]).port();
    let other = World::new();
    let other = other.start(&[]);
    let (mut client, old, new) = (server.client(), server.port(), free_port());
    client.ok(&format!("CONFIG SET port {new}"));
    assert!(answers(1, new) && !answers(1, old));
    assert_eq!(client.info("tcp_port"), new.to_string());
    client.ok(&format!("CONFIG SET port {old} bind 127.0.0.2"));
    assert!(answers(2, old) && !answers(1, old) && !answers(1, new));
    // From one address to all, which includes it, and back.
    client.ok("CONFIG SET bind 0.0.0.0");
    client.ok("CONFIG SET bind 127.0.0.1");
    assert!(answers(1, old) && !answers(2, old));
    for (command, reason) in [
        (format!("CONFIG SET port {}", other.port()), "Unable to listen on this port. Check server logs."),
        ("CONFIG SET bind 999.999.999.999".into(), "Failed to bind to specified addresses."),
        ("CONFIG SET bind 192.0.2.1".into(), "Failed to bind to specified addresses."),
        (
            format!("CONFIG SET port {taken} bind 192.0.2.1"),
            "Unable to listen on this port. Check server logs.",
        ),
    ] {
        let refusal = client.ask(&command);
        assert!(refusal.ends_with(reason), "{command}: {refusal}");
        assert!(answers(1, old), "{command}: all is as before");
        assert_eq!(client.ask("CONFIG GET port"), format!("[port {old}]"));
        assert_eq!(client.ask("CONFIG GET bind"), "[bind 127.0.0.1]");
    }
}

/// The start warned, and CONFIG SET said nothing.
#[test]
fn a_directive_without_effect_is_named_whoever_sets_it() {
    let world = World::new();
    let server = world.start(&["--crash-log-enabled", "no"]);
    let warnings = |name: &str| world.log().matches(&format!("accepted, has no effect: {name}")).count();
    assert_eq!(warnings("crash-log-enabled"), 1);
    let mut client = server.client();
    client.ok("CONFIG SET crash-log-enabled no");
    client.ok("CONFIG SET crash-log-enabled yes");
    assert_eq!(warnings("crash-log-enabled"), 1, "nothing new; and the default is no lie");
    client.ok("CONFIG SET shutdown-timeout 5 maxmemory 0");
    assert_eq!([warnings("shutdown-timeout"), warnings("maxmemory")], [1, 0]);
}
