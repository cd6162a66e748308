//! INFO: sections of fields, in Redis's order and with its names.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::path::Path;

use keyspace::Block;
use nix::sys::resource::{UsageWho, getrusage};

use crate::client::Waiting;
use crate::executor::Server;
use crate::memory;
use crate::stats::Cycles;

/// One section: its name, who sees it, and what writes its fields.
struct Section {
    name: &'static str,
    shown: Shown,
    write: fn(&Server, &mut Fields),
}

/// What is needed to see a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// INFO.
    Always,
    /// INFO all.
    ToAll,
    /// Its name.
    ByName,
}

use Shown::{Always, ByName, ToAll};

const SECTIONS: &[Section] = &[
    Section { name: "Server", shown: Always, write: server },
    Section { name: "Clients", shown: Always, write: clients },
    Section { name: "Memory", shown: Always, write: memory_section },
    Section { name: "Persistence", shown: Always, write: persistence },
    Section { name: "Stats", shown: Always, write: stats },
    Section { name: "Replication", shown: Always, write: replication },
    Section { name: "CPU", shown: Always, write: cpu },
    Section { name: "Modules", shown: Always, write: |_, _| {} },
    Section { name: "Commandstats", shown: ToAll, write: commandstats },
    Section { name: "Errorstats", shown: Always, write: errorstats },
    Section { name: "Latencystats", shown: ToAll, write: latencystats },
    Section { name: "Cluster", shown: Always, write: cluster },
    Section { name: "Keyspace", shown: Always, write: keyspace },
    Section { name: "Debug", shown: ByName, write: debug },
];

/// `name:value` lines.
#[derive(Debug, Default)]
pub struct Fields(String);

impl Fields {
    /// Adds a field.
    pub fn add(&mut self, name: &str, value: impl Display) {
        self.add_suffixed(name, "", value);
    }

    /// Adds a field whose name has two parts.
    fn add_suffixed(&mut self, name: &str, suffix: &str, value: impl Display) {
        [name, suffix, ":"].into_iter().for_each(|part| self.0.push_str(part));
        // Writing to a string does not fail.
        let _ = write!(self.0, "{value}");
        self.0.push_str("\r\n");
    }

    /// Adds a number of bytes, and the same for human eyes.
    fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add_suffixed(name, "_human", human(bytes));
    }

    /// Begins a section.
    fn begin(&mut self, section: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        [gap, "# ", section, "\r\n"].into_iter().for_each(|part| self.0.push_str(part));
    }
}

/// `1.50M`, as Redis prints sizes.
fn human(bytes: u64) -> String {
    let units = [(1u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

impl Server {
    /// The sections asked for: all that plain INFO shows when none is named; `all`, `everything` and `default` too.
    pub fn info(&self, wanted: &[&[u8]]) -> String {
        let is = |name: &str| wanted.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
        let all = is("all") || is("everything");
        let default = wanted.is_empty() || is("default");
        let mut fields = Fields::default();
        for section in SECTIONS {
            let is_asked = match section.shown {
                Always => all || default,
                ToAll => all,
                ByName => false,
            };
            if is_asked || is(section.name) {
                fields.begin(section.name);
                (section.write)(self, &mut fields);
            }
        }
        fields.0
    }
}

fn server(server: &Server, fields: &mut Fields) {
    let uptime_s = server.clock.now.saturating_duration_since(server.clock.started).as_secs();
    fields.add("redis_version", crate::REDIS_VERSION);
    fields.add("redis_git_sha1", "00000000");
    fields.add("redis_git_dirty", 0);
    fields.add("redis_mode", "standalone");
    fields.add("everlog_version", env!("CARGO_PKG_VERSION"));
    fields.add("os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    fields.add("arch_bits", usize::BITS);
    fields.add("multiplexing_api", "epoll");
    fields.add("process_id", std::process::id());
    fields.add("process_supervised", server.supervisor.name());
    fields.add("run_id", &server.persistence.run_id);
    fields.add("tcp_port", server.config.port);
    fields.add("server_time_usec", server.clock.unix_ms * 1000);
    fields.add("uptime_in_seconds", uptime_s);
    fields.add("uptime_in_days", uptime_s / 86_400);
    fields.add("hz", server.config.hz);
    fields.add("configured_hz", server.config.hz);
    fields.add("lru_clock", server.clock.unix_s() & LRU_CLOCK_MAX);
    fields.add("executable", server.restart.program.display());
    fields.add("config_file", server.config.config_file.as_deref().unwrap_or(Path::new("")).display());
    fields.add("io_threads_active", 0);
}

/// Redis's clock of accesses has 24 bits.
const LRU_CLOCK_MAX: i64 = (1 << 24) - 1;

fn clients(server: &Server, fields: &mut Fields) {
    let input = server.clients.iter().map(|client| client.input.len()).max().unwrap_or(0);
    let output = server.clients.iter().map(|client| client.output.len_bytes()).max().unwrap_or(0);
    fields.add("connected_clients", server.clients.len() - server.replication.replicas().len());
    fields.add("maxclients", server.config.maxclients);
    fields.add("client_recent_max_input_buffer", input);
    fields.add("client_recent_max_output_buffer", output);
    fields.add("blocked_clients", server.blocking.len());
    fields.add("tracking_clients", 0);
    fields.add("clients_in_timeout_table", server.blocking.deadlines_len());
    fields.add("total_blocking_keys", blocking_keys(server, |_| true));
    fields.add("total_blocking_keys_on_nokey", blocking_keys(server, |on| on.wakes_without_it));
}

/// How many keys parked clients wait for, of those that wait as `wanted` says.
fn blocking_keys(server: &Server, wanted: impl Fn(&Block) -> bool) -> usize {
    let parked = server.clients.iter().filter_map(|client| client.blocked.as_ref());
    let waits = parked.filter_map(|blocked| match &blocked.on {
        Waiting::Key(on) => Some((blocked.db, on)),
        Waiting::Copies(_) | Waiting::LogEnd | Waiting::Migration => None,
    });
    let waits = waits.filter(|(_, on)| wanted(on));
    let keys = waits.flat_map(|(db, on)| on.keys.iter().map(move |key| (db, key)));
    keys.collect::<BTreeSet<_>>().len()
}

fn memory_section(server: &Server, fields: &mut Fields) {
    let books = server.memory_books();
    let percent = |part: u64, whole: u64| format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64);
    fields.add_bytes("used_memory", books.used);
    fields.add_bytes("used_memory_rss", books.rss);
    fields.add_bytes("used_memory_peak", books.peak);
    fields.add("used_memory_peak_perc", percent(books.used, books.peak));
    fields.add("used_memory_overhead", books.overhead);
    fields.add("used_memory_startup", books.startup);
    fields.add("used_memory_dataset", books.dataset());
    fields.add("used_memory_dataset_perc", percent(books.dataset(), books.net()));
    fields.add("allocator_allocated", books.used);
    fields.add("allocator_active", books.active);
    fields.add("allocator_resident", books.resident);
    fields.add_bytes("total_system_memory", memory::system_bytes());
    fields.add_bytes("used_memory_lua", 0);
    fields.add_bytes("maxmemory", server.config.maxmemory_bytes);
    fields.add("maxmemory_policy", server.config.maxmemory_policy.word());
    for ratio in books.ratios() {
        fields.add_suffixed(ratio.name, "_ratio", format_args!("{:.2}", ratio.value()));
        fields.add_suffixed(ratio.name, "_bytes", ratio.bytes());
    }
    fields.add("mem_not_counted_for_evict", server.uncounted_bytes());
    fields.add("mem_replication_backlog", books.backlog);
    fields.add("mem_total_replication_buffers", server.replication.backlog.memory_bytes());
    fields.add("mem_clients_slaves", books.replicas);
    fields.add("mem_clients_normal", books.clients);
    fields.add("mem_cluster_links", 0);
    fields.add("mem_aof_buffer", books.log_buffer);
    fields.add("mem_allocator", "jemalloc");
    fields.add("active_defrag_running", 0);
    fields.add("lazyfree_pending_objects", server.lazyfree.pending());
    fields.add("lazyfreed_objects", server.lazyfree.freed());
}

fn persistence(server: &Server, fields: &mut Fields) {
    fields.add("loading", u8::from(server.loading.is_some()));
    fields.add("async_loading", 0);
    server.persistence.info(&server.clock, fields);
    server.info_held(fields);
    if let Some(loading) = &server.loading {
        let elapsed = server.clock.now.saturating_duration_since(loading.started).as_secs_f64();
        let part = loading.loaded_bytes as f64 / loading.total_bytes.max(1) as f64;
        let eta = if part > 0.0 { (elapsed / part - elapsed).max(0.0) } else { 1.0 };
        fields.add("loading_start_time", loading.started_unix_s);
        fields.add("loading_total_bytes", loading.total_bytes);
        fields.add("loading_rdb_used_mem", loading.rdb_used_memory_bytes);
        fields.add("loading_loaded_bytes", loading.loaded_bytes);
        fields.add("loading_loaded_perc", format_args!("{:.2}", part * 100.0));
        fields.add("loading_eta_seconds", eta as u64);
    }
}

fn stats(server: &Server, fields: &mut Fields) {
    let stats = &server.stats;
    let [ops, input, output, to_replicas, cycles, cycles_ns] = stats.rates;
    let kilobytes = |bytes: f64| format!("{:.2}", bytes / 1024.0);
    fields.add("total_connections_received", stats.connections);
    fields.add("total_commands_processed", stats.commands);
    fields.add("instantaneous_ops_per_sec", ops as u64);
    fields.add("total_net_input_bytes", stats.input_bytes);
    fields.add("total_net_output_bytes", stats.output_bytes);
    fields.add("total_net_repl_input_bytes", 0);
    fields.add("total_net_repl_output_bytes", stats.replica_output_bytes);
    fields.add("instantaneous_input_kbps", kilobytes(input));
    fields.add("instantaneous_output_kbps", kilobytes(output));
    fields.add("instantaneous_input_repl_kbps", kilobytes(0.0));
    fields.add("instantaneous_output_repl_kbps", kilobytes(to_replicas));
    fields.add("rejected_connections", stats.rejected_connections);
    fields.add("sync_full", server.replication.stats.full);
    fields.add("sync_partial_ok", server.replication.stats.partial);
    fields.add("sync_partial_err", server.replication.stats.refused);
    fields.add("expired_keys", server.keyspace.stats.expired_keys);
    // The expire index knows what is due, and a cycle that had more to do goes on in the next turn.
    fields.add("expired_stale_perc", "0.00");
    fields.add("expired_time_cap_reached_count", 0);
    let (exceeded, exceeded_now) = server.room.exceeded(server.clock.now);
    fields.add("evicted_keys", server.keyspace.stats.evicted_keys);
    fields.add("evicted_clients", stats.evicted_clients);
    fields.add("total_eviction_exceeded_time", exceeded.as_millis());
    fields.add("current_eviction_exceeded_time", exceeded_now.as_millis());
    fields.add("keyspace_hits", server.keyspace.stats.hits);
    fields.add("keyspace_misses", server.keyspace.stats.misses);
    fields.add("pubsub_channels", server.pubsub.channels().count());
    fields.add("pubsub_patterns", server.pubsub.patterns_len());
    fields.add("pubsubshard_channels", 0);
    fields.add("latest_fork_usec", 0);
    fields.add("total_forks", 0);
    fields.add("migrate_cached_sockets", server.migrations.links.len());
    NOT_DONE.iter().for_each(|name| fields.add(name, 0));
    fields.add("unexpected_error_replies", server.persistence.replay_errors);
    fields.add("total_error_replies", stats.error_replies);
    fields.add("total_reads_processed", stats.reads);
    fields.add("total_writes_processed", stats.writes);
    let Cycles { count, total_ns, commands_ns, .. } = stats.cycles;
    fields.add("eventloop_cycles", count);
    fields.add("eventloop_duration_sum", total_ns / 1000);
    fields.add("eventloop_duration_cmd_sum", commands_ns / 1000);
    fields.add("instantaneous_eventloop_cycles_per_sec", cycles as u64);
    let cycle_us = if cycles > 0.0 { cycles_ns / cycles / 1000.0 } else { 0.0 };
    fields.add("instantaneous_eventloop_duration_usec", cycle_us as u64);
    fields.add("rewrite_turn_cpu_max_usec", stats.rewrite_turn_cpu_us_max);
    fields.add("usual_turn_cpu_max_usec", stats.usual_turn_cpu_us_max);
}

fn debug(server: &Server, fields: &mut Fields) {
    let Cycles { log_ns, cron_ns, longest_ns, most_commands, .. } = server.stats.cycles;
    fields.add("eventloop_duration_aof_sum", log_ns / 1000);
    fields.add("eventloop_duration_cron_sum", cron_ns / 1000);
    fields.add("eventloop_duration_max", longest_ns / 1000);
    fields.add("eventloop_cmd_per_cycle_max", most_commands);
}

/// What monitors look for and is never done here, so that it is zero.
const NOT_DONE: &[&str] = &[
    "total_active_defrag_time",
    "current_active_defrag_time",
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "tracking_total_keys",
    "tracking_total_items",
    "tracking_total_prefixes",
];

fn replication(server: &Server, fields: &mut Fields) {
    let addresses: Vec<String> =
        server.replication.replicas().iter().map(|replica| server.replica_ip(replica.id)).collect();
    server.replication.info(&server.config, &addresses, server.clock.now, fields);
}

fn cpu(_: &Server, fields: &mut Fields) {
    let whose = [
        ("", UsageWho::RUSAGE_SELF),
        ("_children", UsageWho::RUSAGE_CHILDREN),
        ("_main_thread", UsageWho::RUSAGE_THREAD),
    ];
    for (suffix, who) in whose {
        // It fails only for a `who` that the kernel does not know.
        let Ok(usage) = getrusage(who) else { continue };
        for (mode, time) in [("used_cpu_sys", usage.system_time()), ("used_cpu_user", usage.user_time())] {
            fields.add_suffixed(mode, suffix, format_args!("{}.{:06}", time.tv_sec(), time.tv_usec()));
        }
    }
}

fn commandstats(server: &Server, fields: &mut Fields) {
    server.observer.commands.info(&server.table, fields);
}

fn latencystats(server: &Server, fields: &mut Fields) {
    if server.config.latency_tracking {
        let percentiles = &server.config.latency_tracking_info_percentiles;
        server.observer.commands.info_latencies(&server.table, percentiles, fields);
    }
}

fn errorstats(server: &Server, fields: &mut Fields) {
    for (code, count) in &server.stats.errors {
        fields.add(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn cluster(_: &Server, fields: &mut Fields) {
    fields.add("cluster_enabled", 0);
}

fn keyspace(server: &Server, fields: &mut Fields) {
    for (number, db) in server.keyspace.dbs().iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        let average = server.keyspace.average_ttl_ms(number, server.clock.unix_ms);
        fields.add(
            &format!("db{number}"),
            format!("keys={},expires={},avg_ttl={average}", db.len(), db.expires_len()),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::logger::{Level, Logger};

    #[test]
    fn turns_are_counted_a_second_and_timed_on_the_average() {
        let logger = Logger::open(Path::new("/dev/null"), Level::Warning).unwrap();
        let mut server = Server::new(Config::default(), logger, 1);
        let start = server.clock.now;
        let fields = |server: &Server| {
            let text = server.info(&[b"stats"]);
            text.lines()
                .filter(|line| line.starts_with("instantaneous_eventloop_"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let expected = |cycles: u32, us: u32| {
            format!(
                "instantaneous_eventloop_cycles_per_sec:{cycles} instantaneous_eventloop_duration_usec:{us}"
            )
        };
        server.stats.note_rates(start);
        assert_eq!(fields(&server), expected(0, 0));
        [50_000, 100_000, 150_000, 300_000]
            .into_iter()
            .for_each(|took_ns| server.stats.cycles.note(took_ns, 1));
        server.stats.note_rates(start + Duration::from_secs(2));
        assert_eq!(fields(&server), expected(2, 150));
    }
}
