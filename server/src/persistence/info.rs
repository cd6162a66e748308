//! INFO persistence.

use std::time::Duration;

use aof::Log;

use crate::clock::Clock;
use crate::disk;
use crate::executor::Server;
use crate::info::Fields;
use crate::persistence::Persistence;

impl Persistence {
    /// The fields of INFO's section, behind those of loading. What Everlog cannot have, since it does not fork, is
    /// as Redis says it where it never happened. Source: redis 7.2 `src/server.c` `genRedisInfoString`.
    pub fn info(&self, clock: &Clock, fields: &mut Fields) {
        let status = |ok| if ok { "ok" } else { "err" };
        let seconds = |time: Option<Duration>| time.map_or(-1, |time| time.as_secs() as i64);
        let running = self.rewrite.as_ref();
        let progress = running.map(|running| running.rewrite.progress());
        let of_either = progress.or_else(|| self.saving.progress());
        let (keys, keys_total) = of_either.map_or((0, 0), |progress| (progress.keys, progress.keys_total));
        fields.add("current_cow_peak", 0);
        fields.add("current_cow_size", 0);
        fields.add("current_cow_size_age", 0);
        fields.add("current_fork_perc", format!("{:.2}", keys as f64 * 100.0 / keys_total.max(1) as f64));
        fields.add("current_save_keys_processed", keys);
        fields.add("current_save_keys_total", keys_total);
        self.saving.info(clock, self.dirty, fields);
        let current = running.map(|running| clock.now.saturating_duration_since(running.started));
        fields.add("aof_enabled", u8::from(self.log.is_some()));
        fields.add("aof_rewrite_in_progress", u8::from(running.is_some()));
        fields.add("aof_rewrite_scheduled", u8::from(self.scheduled));
        fields.add("aof_last_rewrite_time_sec", seconds(self.last.took));
        fields.add("aof_current_rewrite_time_sec", seconds(current));
        fields.add("aof_last_bgrewrite_status", status(self.last.trouble().is_none()));
        fields.add("aof_rewrites", self.rewrites);
        fields.add("aof_rewrites_consecutive_failures", self.backoff.failures());
        fields.add("aof_last_write_status", status(self.misconf().is_none()));
        fields.add("aof_last_cow_size", 0);
        fields.add("module_fork_in_progress", 0);
        fields.add("module_fork_last_cow_size", 0);
        if let Some(log) = &self.log {
            self.info_log(log, clock, fields);
        }
        fields.add("aof_last_bgrewrite_error", self.last.trouble().unwrap_or_default());
        fields.add("aof_shutdown_awaited", u8::from(self.awaited_stop.is_some()));
        if let Some(progress) = progress {
            fields.add("aof_rewrite_bytes", progress.bytes);
            fields.add("aof_rewrite_keys", progress.keys);
            fields.add("aof_rewrite_keys_total", progress.keys_total);
            fields.add("aof_rewrite_eta_sec", seconds(progress.eta(current.unwrap_or_default())));
        }
    }

    /// The fields of a log that is on: Redis's, then ours. Of these, the age of the fsync that runs now and of the oldest
    /// byte that is not durable tell why clients wait.
    fn info_log(&self, log: &Log, clock: &Clock, fields: &mut Fields) {
        let stats = log.stats(clock.now);
        fields.add("aof_current_size", stats.current_size);
        fields.add("aof_base_size", self.last.log_bytes);
        fields.add("aof_pending_rewrite", u8::from(stats.waiting_rewrite));
        fields.add("aof_buffer_length", stats.buffer_length);
        fields.add("aof_pending_bio_fsync", stats.pending_bio_fsync);
        fields.add("aof_delayed_fsync", stats.delayed_fsync);
        fields.add("aof_fsync_running_ms", stats.fsync_running.unwrap_or_default().as_millis());
        fields.add("aof_fsync_p50_usec", log.fsync_percentile(50.0).as_micros());
        fields.add("aof_fsync_p99_usec", log.fsync_percentile(99.0).as_micros());
        fields.add("aof_durable_offset", stats.durable);
        fields.add("aof_unsynced_bytes", stats.unsynced_bytes);
        fields.add("aof_unsynced_ms", stats.unsynced.as_millis());
        fields.add("aof_slow_direct_writes", stats.slow_direct_writes);
        fields.add("aof_retired_files", stats.retired_files);
        log.look_at_disk();
        fields.add("aof_disk_free_bytes", stats.free_bytes.map_or(-1, |bytes| bytes as i64));
        fields.add("aof_reserved_bytes", stats.reserved_bytes);
        let error = stats.last_failure.map(|failure| disk::describe(&failure, None));
        fields.add("aof_last_write_error", error.unwrap_or_default());
        fields.add("aof_load_blocks_verified", self.loaded.verified_blocks);
        fields.add("aof_load_corrupt_places", self.loaded.corrupt_places);
        fields.add("aof_load_unverified_bytes", self.loaded.unverified_bytes);
        fields.add("aof_load_truncated_bytes", self.loaded.truncated_bytes);
        fields.add("aof_load_replay_errors", self.replay_errors);
    }
}

impl Server {
    /// Who waits for a log that is on: those whose next write is held back until it has caught up, and those who have not
    /// been told yet what they did or saw.
    pub(crate) fn info_held(&self, fields: &mut Fields) {
        if self.persistence.log().is_none() {
            return;
        }
        let holds = self.persistence.writes_are_held();
        let held = self.held.iter().filter_map(|&id| self.clients.get(id));
        let held = held.filter(|client| holds && client.postponed);
        let watermark = self.persistence.reply_watermark();
        let unanswered = self.clients.iter().filter(|client| client.output.waits_for(watermark).is_some());
        fields.add("aof_writes_held", u8::from(holds));
        fields.add("aof_held_clients", held.count());
        fields.add("aof_unanswered_clients", unanswered.count());
    }
}
