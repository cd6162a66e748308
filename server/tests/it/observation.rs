//! What operators see: INFO, SLOWLOG, LATENCY and MONITOR must say what happened, and no secrets.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::harness::{Client, PATIENCE, Server, World, eventually};

fn server(options: &[&str]) -> (World, Server) {
    let world = World::new();
    let server = world.start(&[&["--enable-debug-command", "yes"], options].concat());
    (world, server)
}

/// The fields of a section, in order.
fn section(client: &mut Client, name: &str) -> Vec<String> {
    let text = client.ask(&format!("INFO {name}"));
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
}

fn cmdstat(client: &mut Client, command: &str) -> String {
    client.info(&format!("cmdstat_{command}"))
}

#[test]
fn calls_refusals_and_failures_are_counted_by_command() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    client.ok("CONFIG RESETSTAT");
    client.ok("SET k v");
    client.ask("INCR k");
    client.ask("INCR");
    client.ask("CLIENT ID");
    client.ask("CLIENT NOSUCH");
    client.ask("NOSUCH");
    for command in ["MULTI", "SET k 1", "INCR k", "AUTH a", "EXEC"] {
        client.ask(command);
    }
    for (command, start, end) in [
        ("set", "calls=2,usec=", ",rejected_calls=0,failed_calls=0"),
        ("incr", "calls=2,usec=", ",rejected_calls=1,failed_calls=1"),
        ("client|id", "calls=1,usec=", ",rejected_calls=0,failed_calls=0"),
        ("auth", "calls=1,usec=", ",rejected_calls=0,failed_calls=1"),
        ("exec", "calls=1,usec=", ",rejected_calls=0,failed_calls=0"),
        ("config|resetstat", "calls=1,usec=", ",rejected_calls=0,failed_calls=0"),
    ] {
        let stat = cmdstat(&mut client, command);
        assert!(stat.starts_with(start) && stat.contains(",usec_per_call=") && stat.ends_with(end), "{stat}");
    }
    assert_eq!(cmdstat(&mut client, "client"), "");
    // INCR of a word, INCR alone, an unknown subcommand, an unknown command, AUTH.
    assert_eq!(client.info("errorstat_ERR"), "count=5");
    assert_eq!(client.info("total_error_replies"), "5");
    client.ok("CONFIG RESETSTAT");
    assert_eq!(client.info("errorstat_ERR"), "");
    assert_eq!(client.info("total_error_replies"), "0");
    assert_eq!(cmdstat(&mut client, "set"), "");
}

#[test]
fn a_parked_command_counts_once_when_it_is_over() {
    let (_world, server) = server(&["--slowlog-log-slower-than", "0"]);
    let (mut waiting, mut client) = (server.client(), server.client());
    let serial = waiting.ask("CLIENT ID").replace(':', "");
    waiting.send("BLPOP l 0");
    server.wait_for_info("blocked_clients", "1");
    assert_eq!(cmdstat(&mut client, "blpop"), "");
    client.ask("RPUSH l a");
    assert_eq!(waiting.reply(), "[l a]");
    assert!(client.ask("SLOWLOG GET 1").contains("[BLPOP l 0]"));
    waiting.send("BLPOP l 0");
    server.wait_for_info("blocked_clients", "1");
    client.ask(&format!("CLIENT UNBLOCK {serial} ERROR"));
    assert!(waiting.reply().starts_with("-UNBLOCKED"));
    let stat = cmdstat(&mut client, "blpop");
    assert!(stat.starts_with("calls=2,") && stat.ends_with(",rejected_calls=0,failed_calls=1"), "{stat}");
    assert_eq!(client.info("errorstat_UNBLOCKED"), "count=1");
    assert!(client.info("latency_percentiles_usec_blpop").starts_with("p50="));
}

#[test]
fn latencies_are_tracked_unless_that_is_turned_off() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    client.ok("DEBUG SLEEP 0.01");
    let percentiles = client.info("latency_percentiles_usec_debug");
    let p50 = percentiles.strip_prefix("p50=").and_then(|rest| rest.split(',').next()).unwrap();
    assert!(p50.parse::<f64>().unwrap() >= 10_000.0, "{percentiles}");
    assert!(percentiles.contains(",p99=") && percentiles.contains(",p99.9="), "{percentiles}");
    let histogram = client.ask("LATENCY HISTOGRAM debug nosuch");
    assert!(histogram.starts_with("[debug [calls :1 histogram_usec [:"), "{histogram}");
    client.ok("CONFIG SET latency-tracking no");
    client.ok("CONFIG RESETSTAT");
    client.ok("SET k v");
    assert_eq!(client.ask("LATENCY HISTOGRAM"), "[]");
    assert_eq!(client.info("latency_percentiles_usec_set"), "");
    assert!(cmdstat(&mut client, "set").starts_with("calls=1,"));
}

#[test]
fn info_shows_the_sections_that_are_asked_for() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    client.ok("SET k v");
    for (question, shows) in [
        ("INFO", "default"),
        ("INFO default", "default"),
        ("INFO all", "all"),
        ("INFO everything", "all"),
        ("INFO cpu all", "all"),
        ("INFO Debug", "cycles"),
        ("INFO commandSTATS latencystats", "statistics"),
        ("INFO nosuch", "nothing"),
    ] {
        let text = client.ask(question);
        let expected = |of: &[&str]| of.contains(&shows);
        assert_eq!(text.contains("redis_version"), expected(&["default", "all"]), "{question}");
        assert_eq!(text.contains("cmdstat_set"), expected(&["all", "statistics"]), "{question}");
        assert_eq!(
            text.contains("latency_percentiles_usec_set"),
            expected(&["all", "statistics"]),
            "{question}"
        );
        assert_eq!(text.contains("eventloop_duration_aof_sum:"), expected(&["cycles"]), "{question}");
        assert_eq!(
            text.matches("used_cpu_sys:").count(),
            usize::from(expected(&["default", "all"])),
            "{question}"
        );
    }
}

#[test]
fn info_persistence_has_rediss_fields_in_rediss_order() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let redis = "loading async_loading current_cow_peak current_cow_size current_cow_size_age current_fork_perc \
        current_save_keys_processed current_save_keys_total rdb_changes_since_last_save rdb_bgsave_in_progress \
        rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec rdb_saves \
        rdb_last_cow_size rdb_last_load_keys_expired rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress \
        aof_rewrite_scheduled aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_bgrewrite_status \
        aof_rewrites aof_rewrites_consecutive_failures aof_last_write_status aof_last_cow_size \
        module_fork_in_progress module_fork_last_cow_size aof_current_size aof_base_size aof_pending_rewrite \
        aof_buffer_length aof_pending_bio_fsync aof_delayed_fsync";
    let redis: Vec<&str> = redis.split_ascii_whitespace().collect();
    let fields = section(&mut server.client(), "persistence");
    assert_eq!(fields[..redis.len()], redis);
    let ours = ["aof_fsync_running_ms", "aof_fsync_p50_usec", "aof_fsync_p99_usec", "aof_durable_offset"];
    assert!(ours.iter().all(|field| fields.iter().any(|own| own == field)), "{fields:?}");
}

#[test]
fn info_says_how_long_the_disk_takes_while_clients_wait_for_it() {
    const FSYNC: Duration = Duration::from_millis(1500);
    let world = World::new();
    // With lines between blocks there are more fsyncs than writes.
    let options = ["--appendfsync", "always", "--aof-checksum", "no"];
    let Some(server) = world.start_on_slow_disk(FSYNC, &options) else { return };
    let (mut writer, mut witness) = (server.client(), server.client());
    let number = |client: &mut Client, field: &str| client.info(field).parse::<u64>().unwrap();
    witness.ok("CONFIG RESETSTAT");
    witness.ok("CONFIG SET latency-monitor-threshold 100");
    assert_eq!(number(&mut witness, "aof_fsync_running_ms"), 0);
    let before = number(&mut witness, "aof_durable_offset");
    writer.send("SET k v");
    eventually("the fsync has been running for a while", || {
        number(&mut witness, "aof_fsync_running_ms") >= 50
    });
    // What was so beforehand says something only if the fsync still runs.
    let seen = (number(&mut witness, "aof_durable_offset"), writer.is_silent());
    if number(&mut witness, "aof_fsync_running_ms") > 0 {
        assert_eq!(seen, (before, true));
    }
    // One sample that grows, and not one for each look.
    for longer_ms in [100, 300] {
        eventually("LATENCY tells of the fsync that runs", || {
            let history = witness.ask("LATENCY HISTORY aof-fsync-always");
            assert!(history.matches("[:").count() <= 1, "{history}");
            let took = history.trim_end_matches(']').rsplit(':').next().unwrap();
            took.parse::<u64>().is_ok_and(|took_ms| took_ms >= longer_ms)
        });
    }
    assert!(witness.ask("LATENCY LATEST").starts_with("[[aof-fsync-always :"));
    assert_eq!(writer.reply(), "OK");
    assert_eq!(number(&mut witness, "aof_fsync_running_ms"), 0);
    assert!(number(&mut witness, "aof_durable_offset") > before);
    for field in ["aof_fsync_p50_usec", "aof_fsync_p99_usec"] {
        assert!(number(&mut witness, field) >= FSYNC.as_micros() as u64, "{field}");
    }
    let latest = witness.ask("LATENCY LATEST");
    assert!(latest.contains("[aof-fsync-always :"), "{latest}");
    assert!(witness.ask("LATENCY DOCTOR").contains("aof-fsync-always: 1 latency spikes"));
}

#[test]
fn the_latency_monitor_keeps_what_took_long() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    client.ok("DEBUG SLEEP 0.02");
    assert_eq!(client.ask("LATENCY LATEST"), "[]");
    client.ok("CONFIG SET latency-monitor-threshold 20");
    client.ok("DEBUG SLEEP 0.03");
    let history = client.ask("LATENCY HISTORY command");
    let took: u64 = history.trim_end_matches(']').rsplit(':').next().unwrap().parse().unwrap();
    assert!(took >= 30, "{history}");
    assert!(client.ask("LATENCY LATEST").starts_with("[[command :"));
    assert!(client.ask("LATENCY GRAPH command").starts_with("command - high "));
    assert_eq!(client.ask("LATENCY GRAPH nosuch"), "-ERR No samples available for event 'nosuch'");
    assert_eq!(client.ask("LATENCY HISTORY nosuch"), "[]");
    assert_eq!(client.ask("LATENCY RESET nosuch command"), ":1");
    assert_eq!(client.ask("LATENCY LATEST"), "[]");
    assert_eq!(client.ask("LATENCY HELP x"), "-ERR wrong number of arguments for 'latency|help' command");
    assert!(client.ask("LATENCY HELP").starts_with("[LATENCY <subcommand>"));
}

#[test]
fn the_slow_log_shows_requests_and_no_secrets() {
    let (_world, server) = server(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "5"]);
    let mut client = server.client();
    client.ok("CLIENT SETNAME me");
    client.ok("SLOWLOG RESET");
    client.ok("CONFIG SET masterauth secret");
    client.ask("AUTH secret");
    for command in ["MULTI", "SET k v", "EXEC"] {
        client.ask(command);
    }
    client.ok("CONFIG SET slowlog-log-slower-than -1");
    let log = client.ask("SLOWLOG GET -1");
    // EXEC is not there, only what it executed.
    let requests =
        ["SET k v", "MULTI", "AUTH (redacted)", "CONFIG SET masterauth (redacted)", "SLOWLOG RESET"];
    let mut rest = log.as_str();
    for request in requests {
        let at = rest.find(&format!("[{request}] 127.0.0.1:"));
        rest = &rest[at.unwrap_or_else(|| panic!("{request} is not in {log}"))..];
    }
    assert!(!log.contains("secret") && log.ends_with(" me]]"), "{log}");
    assert_eq!(client.ask("SLOWLOG LEN"), ":5");
    assert_eq!(client.ask("SLOWLOG GET 0"), "[]");
    for count in ["-2", "x"] {
        let refusal = "-ERR count should be greater than or equal to -1";
        assert_eq!(client.ask(&format!("SLOWLOG GET {count}")), refusal);
    }
    client.ok("SLOWLOG RESET");
    assert_eq!(client.ask("SLOWLOG LEN"), ":0");
}

#[test]
fn monitor_shows_what_is_executed_in_order_and_no_secrets() {
    let (_world, server) = server(&[]);
    let (mut monitor, mut client) = (server.client(), server.client());
    monitor.ok("MONITOR");
    client.ok("SELECT 3");
    client.send("SET k \"x\"");
    client.reply();
    client.ask("HELLO 2 AUTH u secret");
    for command in ["MULTI", "GET k", "EXEC", "CONFIG GET port", "NOSUCH", "GET"] {
        client.ask(command);
    }
    client.ok("SELECT 0");
    for shown in [
        r#""SELECT" "3""#,
        r#""SET" "k" "\"x\"""#,
        r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)""#,
        r#""MULTI""#,
        r#""GET" "k""#,
        r#""EXEC""#,
        // Neither CONFIG, which is for operators, nor what was refused.
        r#""SELECT" "0""#,
    ] {
        let line = monitor.reply();
        let (head, words) = line.split_once("] ").unwrap();
        assert_eq!(words, shown);
        let (time, client) = head.split_once(" [").unwrap();
        assert!(time.parse::<f64>().unwrap() > 1e9 && client.contains(" 127.0.0.1:"), "{line}");
    }
    assert_eq!(monitor.ask("GET k"), "-ERR Replica can't interact with the keyspace");
    assert_eq!(monitor.ask("PING"), "PONG");
    assert!(monitor.reply().ends_with(r#"] "PING""#));
    assert_eq!(monitor.ask("RESET"), "RESET");
    client.ok("SET k v");
    assert_eq!(monitor.ask("GET k"), "v");
    for command in ["MULTI", "MONITOR"] {
        client.ask(command);
    }
    assert_eq!(client.ask("EXEC"), "[-ERR MONITOR isn't allowed for DENY BLOCKING client]");
}

#[test]
fn info_says_what_turns_are_spent_on() {
    let world = World::new();
    let server = world.start_aof(&[]);
    let mut client = server.client();
    client.ok("DEBUG AOF-FLUSH-SLEEP 20000");
    client.ok("SET k v");
    client.ok("DEBUG AOF-FLUSH-SLEEP 0");
    client.ok("DEBUG SLEEP 0.01");
    let mut number = |section: &str, field: &str| {
        let text = client.ask(&format!("INFO {section}"));
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().parse::<u64>().unwrap()
    };
    assert!(number("stats", "eventloop_duration_cmd_sum") >= 10_000);
    assert!(number("stats", "eventloop_duration_sum") >= 30_000);
    assert!(number("debug", "eventloop_duration_aof_sum") >= 20_000);
    assert!(number("debug", "eventloop_duration_max") >= 20_000);
    assert!(number("debug", "eventloop_cmd_per_cycle_max") >= 1);
    assert!(number("stats", "eventloop_cycles") >= 5);
    client.ok("CONFIG RESETSTAT");
    let text = client.ask("INFO debug");
    let log_us = text.lines().find_map(|line| line.strip_prefix("eventloop_duration_aof_sum:")).unwrap();
    assert!(log_us.parse::<u64>().unwrap() < 20_000, "{text}");
}

/// Commands had taken more time than the turns that they were executed in.
#[test]
fn what_exec_executes_is_timed_once() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    client.ok("MULTI");
    assert_eq!(client.ask("DEBUG SLEEP 0.1"), "QUEUED");
    assert_eq!(client.ask("EXEC"), "[OK]");
    let mut us = |name: &str| client.info(name).parse::<u64>().unwrap();
    let (commands, turns) = (us("eventloop_duration_cmd_sum"), us("eventloop_duration_sum"));
    assert!((100_000..=turns).contains(&commands), "{commands} of {turns}");
}

/// Fields that dashboards are made of.
#[test]
fn info_has_the_fields_that_monitors_ask_for() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    let (reads, writes) = (client.info("total_reads_processed"), client.info("total_writes_processed"));
    for field in [
        "instantaneous_input_kbps",
        "instantaneous_output_kbps",
        "instantaneous_eventloop_cycles_per_sec",
        "instantaneous_eventloop_duration_usec",
        "io_threads_active",
        "used_memory_lua",
        "expired_stale_perc",
        "active_defrag_hits",
        "tracking_total_keys",
        "pubsubshard_channels",
        "used_cpu_sys_main_thread",
        "clients_in_timeout_table",
    ] {
        assert!(client.info(field).parse::<f64>().is_ok(), "{field}");
    }
    assert_ne!(client.info("lru_clock"), "0");
    assert_ne!(
        (client.info("total_reads_processed"), client.info("total_writes_processed")),
        (reads, writes)
    );
}

#[test]
fn command_tells_keys_and_categories() {
    let (_world, server) = server(&[]);
    let mut client = server.client();
    const INVALID: &str = "-ERR Invalid arguments specified for command";
    for (request, keys) in [
        ("ZUNION 2 a b", "[a b]"),
        ("ZUNION 3 a b", INVALID),
        ("ZUNION x a b", INVALID),
        ("SINTERCARD 2 a", INVALID),
        ("ZUNIONSTORE d 2 a b", "[d a b]"),
        ("ZUNIONSTORE d 0 a b", INVALID),
        ("ZUNIONSTORE d 3 a b", INVALID),
        ("LMPOP 2 a LEFT", "[a LEFT]"),
    ] {
        assert_eq!(client.ask(&format!("COMMAND GETKEYS {request}")), keys, "{request}");
    }
    let mut resp3 = server.client();
    resp3.ask("HELLO 3");
    for (request, keys) in [
        ("SET k v", "[[k ~[OW update]]]"),
        ("SET k v EX 1 get", "[[k ~[RW access update]]]"),
        ("BITFIELD k GET u8 0 OVERFLOW FAIL GET u8 1", "[[k ~[RO access]]]"),
        ("BITFIELD k GET u8 0 SET u8 0 1", "[[k ~[RW access update]]]"),
        ("SORT k GET store STORE a STORE b", "[[k ~[RO access]] [b ~[OW update]]]"),
        ("LMOVE a b LEFT LEFT", "[[a ~[RW access delete]] [b ~[RW insert]]]"),
        ("XREADGROUP GROUP streams c STREAMS a b > >", "[[a ~[RO access]] [b ~[RO access]]]"),
        ("XREAD COUNT 1 STREAMS a", INVALID),
        ("MIGRATE h 1 k 0 1", "[[k ~[RW access delete]]]"),
        ("MIGRATE h 1  0 1 AUTH keys KEYS a b", "[[a ~[RW access delete]] [b ~[RW access delete]]]"),
        ("NONESUCH k", "-ERR Invalid command specified"),
        ("PING k", "-ERR The command has no key arguments"),
        ("GET", "-ERR Invalid number of arguments specified for command"),
    ] {
        assert_eq!(resp3.ask(&format!("COMMAND GETKEYSANDFLAGS {request}")), keys, "{request}");
    }
    for (category, has, lacks) in [
        ("keyspace", &["dbsize", "flushall", "swapdb", "del"][..], &["sort", "wait", "get"][..]),
        ("sortedset", &["sort", "sort_ro", "zadd"], &["dbsize"]),
    ] {
        let listed = client.ask(&format!("COMMAND LIST FILTERBY ACLCAT {category}"));
        let is_listed = |name: &str| listed.trim_matches(['[', ']']).split(' ').any(|listed| listed == name);
        assert!(
            has.iter().all(|name| is_listed(name)) && !lacks.iter().any(|name| is_listed(name)),
            "{listed}"
        );
    }
    assert!(!client.ask("COMMAND INFO exec").contains("allow_busy"));
}

/// What a unit of `Type=notify` waits for, by a socket with an abstract name.
#[test]
fn systemd_is_told_what_becomes_of_the_server() {
    let world = World::new();
    let name = format!("everlog-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut text = [0; 200];
        let len = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let server = world.start_in(&format!("NOTIFY_SOCKET=@{name}"), &["--supervised", "auto"]);
    assert_eq!(told(), "STATUS=Loading the data\n");
    assert_eq!(told(), "STATUS=Ready to accept connections\nREADY=1\n");
    assert_eq!(server.info("process_supervised"), "systemd");
    assert!(server.terminate().success());
    assert_eq!(told(), "STOPPING=1\n");
}
