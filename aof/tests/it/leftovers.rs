//! What a killed process has made and listed nowhere is removed once all that is listed was replayed; what might be
//! somebody's data is not.

use std::sync::Arc;

use aof::block::Epoch;
use aof::fs::Mem;
use aof::{BaseFrame, Directory, Fsync};

use crate::corruption::a_log;
use crate::world::{Recorder, load, options, path, request};

/// A base of commands, or the end of an RDB one.
fn base(epoch: Epoch, covers: u64, is_rdb: bool) -> Vec<u8> {
    let (mut frame, mut bytes) = (BaseFrame::new(epoch, covers, 1), Vec::new());
    if is_rdb {
        bytes.extend_from_slice(b"REDIS0011 and more than a line is long".repeat(20).as_slice());
        let len_bytes = bytes.len() as u64;
        frame.rdb_head(len_bytes, &mut bytes);
        return bytes;
    }
    frame.head(&mut bytes);
    let payload = request(&["SET", "k", "2"]);
    frame.block(Some(0), &payload, &mut bytes);
    bytes.extend_from_slice(&payload);
    frame.head(&mut bytes);
    bytes
}

/// Puts a file into the log's directory; whether it is one.
fn is_leftover(mem: &Mem, name: &str, bytes: &[u8]) -> bool {
    let options = options(Fsync::Always);
    mem.put(&path(name), bytes);
    let mut directory = Directory::open(Arc::new(mem.clone()), &options).unwrap();
    directory.replay(&mut Recorder::default(), &options).unwrap();
    directory.leftovers().unwrap().contains(&path(name))
}

#[test]
fn only_what_holds_nothing_of_its_own_is_a_leftover() {
    let mem = a_log();
    let before = load(&mem, &options(Fsync::Always)).unwrap().0;
    let listed = mem.bytes(&path("appendonly.aof.2.base.aof")).unwrap();
    let line = listed.split(|&byte| byte == b'\n').next().unwrap();
    let epoch = String::from_utf8_lossy(line).split(" b ").nth(1).unwrap()[..16].to_owned();
    let epoch = Epoch(u64::from_str_radix(&epoch, 16).unwrap());
    let (resp, rdb) = ("appendonly.aof.9.base.aof", "appendonly.aof.9.base.rdb");
    for (what, name, bytes, expected) in [
        ("of this log, and covered", resp, base(epoch, 10, false), true),
        ("the same as RDB", rdb, base(epoch, 10, true), true),
        ("of another log", "appendonly.aof.8.base.aof", base(Epoch(7), 10, false), false),
        ("beyond what there is", "appendonly.aof.7.base.aof", base(epoch, 1 << 40, false), false),
        ("without a line", "appendonly.aof.6.base.rdb", b"REDIS0011".to_vec(), false),
        ("an incr without a byte", "appendonly.aof.9.incr.aof", Vec::new(), true),
        ("no file of a log", "appendonly.aof.9.incr.aof.torn-1", Vec::new(), false),
        ("the listed base", "appendonly.aof.2.base.aof", listed, false),
    ] {
        assert_eq!(is_leftover(&mem, name, &bytes), expected, "{what}");
    }
    assert_eq!(load(&mem, &options(Fsync::Always)).unwrap().0, before);
}
