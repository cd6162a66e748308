//! A real disk that is full: a tmpfs of a few megabytes, and a file that takes all the rest of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Client, Server, World, eventually, not_tested};

/// A tmpfs in a folder of the world's, unmounted at the end.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(world: &World, megabytes: u32) -> Option<SmallDisk> {
        let path = world.path().join("disk");
        fs::create_dir(&path).unwrap();
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        if !mount.is_ok_and(|output| output.status.success()) {
            not_tested("mount");
            return None;
        }
        Some(SmallDisk { path })
    }

    fn option(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn other(&self) -> PathBuf {
        self.path.join("other")
    }

    /// Takes all space that nobody has reserved.
    fn fill(&self) {
        let mut file = File::create(self.other()).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.other()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, should a server that a failed test has left still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn start(world: &World, disk: &SmallDisk, options: &[&str]) -> Server {
    world.start_aof(&[&["--dir", disk.option()], options].concat())
}

/// Writes keys of ten kilobytes until one is refused; returns how many there are, and the refusal.
fn write_until_refused(client: &mut Client) -> (u64, String) {
    let value = "v".repeat(10_000);
    let mut count = 0;
    loop {
        let reply = client.ask(&format!("SET key:{count} {value}"));
        if reply != "OK" {
            return (count, reply);
        }
        count += 1;
    }
}

#[test]
fn a_full_disk_refuses_writes_before_they_run_and_recovers_by_itself() {
    for policy in ["always", "everysec", "no"] {
        let world = World::new();
        let Some(disk) = SmallDisk::mount(&world, 16) else { return };
        let server = start(&world, &disk, &["--appendfsync", policy]);
        let mut client = server.client();
        disk.fill();
        let (count, refusal) = write_until_refused(&mut client);
        assert!((20..500).contains(&count), "{count} writes fit into what was reserved");
        assert!(
            refusal.starts_with("-MISCONF Errors writing to the AOF file: No space left on device (")
                && refusal.contains("appendonly.aof.1.incr.aof, errno 28, 0 bytes free)"),
            "{refusal}"
        );
        assert_eq!(client.ask("MULTI"), "OK");
        assert_eq!(client.ask(&format!("SET other {}", "v".repeat(10_000))), refusal);
        assert!(client.ask("EXEC").starts_with("-EXECABORT"));
        assert_eq!(client.ask(&format!("EXISTS key:{count} other")), ":0");
        assert_eq!(client.ask("STRLEN key:0"), ":10000");
        assert_eq!(client.ask("PING"), "PONG");
        assert_eq!(client.ask("DEL key:0"), ":1", "the second mark is lower");
        assert_eq!(client.info("aof_last_write_status"), "err");
        assert!(client.info("aof_last_write_error").contains("errno 28"));
        assert!(client.info("aof_reserved_bytes").parse::<u64>().unwrap() > 100_000);

        disk.clear();
        let back = format!("SET back {}", "v".repeat(10_000));
        eventually("a write is accepted", || client.ask(&back) == "OK");
        server.wait_for_info("aof_last_write_status", "ok");
        disk.fill();
        assert_eq!(server.terminate().code(), Some(0));
        let server = start(&world, &disk, &[]);
        assert_eq!(server.client().ask("DBSIZE"), format!(":{count}"), "{policy}");
        let log = world.log();
        let lines = log.matches("Error writing to the AOF file: MISCONF").count();
        assert!((1..=3).contains(&lines), "{lines} lines");
        assert_eq!(log.matches("AOF write error looks solved").count(), 1);
    }
}

#[test]
fn a_write_larger_than_the_disk_is_never_answered_and_its_connection_closes() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 4) else { return };
    let server = start(&world, &disk, &["--appendfsync", "always", "--aof-outcome-timeout", "1"]);
    let (mut writer, mut reader) = (server.client(), server.client());
    reader.ok("SET small 1");
    writer.send(&format!("SET big {}", "v".repeat(8 << 20)));
    eventually("the log fails", || reader.info("aof_last_write_status") == "err");
    assert_eq!(reader.ask("GET small"), "1");
    assert_eq!(reader.ask("PING"), "PONG");
    let refusal = reader.ask("SET small 2");
    assert!(refusal.starts_with("-MISCONF Errors writing to the AOF file: No space left"), "{refusal}");
    assert!(writer.try_reply().is_none(), "an error would make it repeat a write that has happened");
    reader.send("STRLEN big");
    let mut witness = server.client();
    assert_eq!(witness.ask("PING"), "PONG");
    assert_eq!(server.terminate().code(), Some(0), "all that was acknowledged is durable");
    assert!(reader.try_reply().is_none(), "nor was anybody told that it was there");
    assert!(world.log().contains("Writes that nobody was told of may be lost"));
    let server = start(&world, &disk, &[]);
    assert_eq!(server.client().ask("EXISTS small big"), ":1");
}

#[test]
fn a_server_starts_on_a_full_disk_and_cuts_a_torn_tail_when_there_is_room_for_its_copy() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 4) else { return };
    let server = start(&world, &disk, &["--appendfsync", "always"]);
    server.client().ok("SET k 1");
    assert_eq!(server.terminate().code(), Some(0));
    let incr: &Path = &disk.path.join("appendonlydir/appendonly.aof.1.incr.aof");
    let torn = vec![b'x'; 64 << 10];
    let mut file = File::options().append(true).open(incr).unwrap();
    file.write_all(&[b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999\r\n", &torn[..]].concat()).unwrap();
    let len_bytes = fs::metadata(incr).unwrap().len();
    disk.fill();

    let server = start(&world, &disk, &["--appendfsync", "always"]);
    let mut client = server.client();
    assert_eq!(client.ask("GET k"), "1");
    let refusal = client.ask("SET k 2");
    assert!(refusal.starts_with("-MISCONF Errors writing to the AOF file: No space left"), "{refusal}");
    assert_eq!(fs::metadata(incr).unwrap().len(), len_bytes, "no byte goes without a copy");
    assert!(world.log().contains("are not cut off yet"));
    disk.clear();
    eventually("a write is accepted", || client.ask("SET k 2") == "OK");
    assert!(fs::metadata(incr).unwrap().len() < torn.len() as u64);
    assert_eq!(server.terminate().code(), Some(0));
    let server = start(&world, &disk, &[]);
    assert_eq!(server.client().ask("GET k"), "2");
}

/// It took the space that the start needed to create a file, and stayed since the start failed.
#[test]
fn a_start_that_must_create_a_file_has_the_space_that_a_killed_rewrite_took() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 4) else { return };
    let server = start(&world, &disk, &[]);
    server.client().ok("SET k 1");
    assert_eq!(server.terminate().code(), Some(0));
    let dir = disk.path.join("appendonlydir");
    let rewriter = Command::new(env!("CARGO_BIN_EXE_everlog-rewrite")).arg(&dir).output().unwrap();
    assert!(rewriter.status.success(), "a log without incrs: {rewriter:?}");
    fs::write(dir.join("temp-rewriteaof-bg-1.aof"), vec![1; 1 << 20]).unwrap();
    disk.fill();
    let server = start(&world, &disk, &[]);
    assert_eq!(server.client().ask("GET k"), "1");
}

/// Each attempt filled the disk, failed, and was repeated.
#[test]
fn a_rewrite_that_would_fill_the_disk_waits_for_room_and_info_says_why() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 80) else { return };
    // What is given back below: of all the rest the log reserves what it can get.
    let most = disk.path.join("most");
    fs::write(&most, vec![1; 64 << 20]).unwrap();
    let options = ["--auto-aof-rewrite-min-size", "1mb", "--auto-aof-rewrite-percentage", "0"];
    let server = start(&world, &disk, &options);
    let mut client = server.client();
    let value = "v".repeat(10_000);
    for number in 0..300 {
        client.ok(&format!("SET key:{number} {value}"));
    }
    assert_eq!(client.info("aof_last_bgrewrite_error"), "");
    disk.fill();
    client.ok("CONFIG SET auto-aof-rewrite-percentage 100");
    server.wait_for_info("aof_last_bgrewrite_status", "err");
    let reason = client.info("aof_last_bgrewrite_error");
    assert!(
        reason.starts_with("no space for a new base of about ") && reason.ends_with(" are free"),
        "{reason}"
    );
    assert_eq!(
        (client.info("aof_rewrites"), client.info("aof_rewrites_consecutive_failures")),
        ("0".into(), "0".into())
    );
    assert_eq!(world.log().matches("Automatic rewriting of AOF is put off: no space").count(), 1);
    // Who asks gets an attempt, and the reason why it failed.
    assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
    eventually("it fails", || client.info("aof_rewrites_consecutive_failures") == "1");
    assert!(world.log().contains("Background AOF rewrite failed: "), "{}", world.log());

    fs::remove_file(&most).unwrap();
    server.wait_for_info("aof_last_bgrewrite_status", "ok");
    assert_eq!(
        (client.info("aof_rewrites"), client.info("aof_last_bgrewrite_error")),
        ("2".into(), String::new())
    );
}

/// At half of the disk it would have been too late for ever.
#[test]
fn a_rewrite_begins_by_itself_before_the_disk_is_too_full_for_one() {
    const BASE_BYTES: u64 = 800 * 10_000;
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 160) else { return };
    let options = ["--auto-aof-rewrite-min-size", "1mb", "--auto-aof-rewrite-percentage", "0"];
    let server = start(&world, &disk, &[&options[..], &["--rdbcompression", "no"]].concat());
    let mut client = server.client();
    let value = "v".repeat(10_000);
    let write_all = |client: &mut Client| {
        (0..800).for_each(|number| client.ok(&format!("SET key:{number} {value}")));
    };
    write_all(&mut client);
    // The moment at which the log's blocks go: what was counted before held them.
    eventually("all is durable", || client.info("aof_unsynced_bytes") == "0");
    server.rewrite();
    write_all(&mut client);
    // It has only doubled.
    client.ok("CONFIG SET auto-aof-rewrite-percentage 1000");
    let statvfs = rustix::fs::statvfs(&disk.path).unwrap();
    let filler_bytes = statvfs.f_bavail * statvfs.f_frsize - BASE_BYTES * 27 / 20;
    fs::write(disk.other(), vec![1; filler_bytes as usize]).unwrap();
    assert_eq!(client.info("aof_rewrites"), "1", "there was room");
    // What is free is looked at when the log has grown.
    client.ok("SET another 1");
    server.wait_for_info("aof_rewrites", "2");
    server.wait_for_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    let log = world.log();
    assert_eq!(log.matches("Starting automatic rewriting of AOF while it fits").count(), 1, "{log}");
}
