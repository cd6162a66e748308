//! The story: under `appendfsync always` an acknowledgement is a promise about the disk, so no reply to a write may
//! leave before fdatasync(2) has covered it, nor a reply that shows the write to somebody else; and a reply that has
//! nothing to do with it must not wait. A slow disk would show it, if there were one: instead, a stranger's command
//! stops time between the write and its fsync by holding the executor, and strace, where it is installed, sees the
//! order of the system calls.

use std::process::{Command, Stdio};

use crate::harness::{Client, World, eventually, request};


#[test]
fn whatever_was_acknowledged_is_durable_at_that_moment() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let mut client = server.client();
    for count in 1..=50 {
        assert_eq!(client.ask("INCR n"), format!(":{count}"));
        // The reply has left: no position may be behind.
        let info = client.ask("INFO persistence");
        let unsynced = info.lines().find_map(|line| line.strip_prefix("aof_unsynced_bytes:"));
        assert_eq!(unsynced, Some("0"));
    }
}

#[test]
fn a_pipeline_of_writes_and_reads_is_answered_in_order() {
    let world = World::new();
    let server = world.start_aof(&["--appendfsync", "always"]);
    let (mut writer, mut reader) = (server.client(), server.client());
    let mut pipeline = Vec::new();
    for _ in 0..500 {
        pipeline.extend(request(&[b"GET", b"stranger"]));
        pipeline.extend(request(&[b"INCR", b"n"]));
        pipeline.extend(request(&[b"GET", b"n"]));
    }
    writer.send_bytes(&pipeline);
    for count in 1..=500 {
        assert_eq!(writer.reply(), "nil");
        assert_eq!(writer.reply(), format!(":{count}"));
        assert_eq!(writer.reply(), count.to_string());
    }
    assert_eq!(reader.ask("GET n"), "500");
}
