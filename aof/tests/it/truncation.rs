//! What is torn is cut to the last whole unit, after a copy; what is wrong is refused, and nothing is cut for it.

use aof::fs::Mem;
use aof::{Error, Fsync, Options};

use crate::world::{load, options, path, request, start, turn};

const MANIFEST: &[u8] = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
const INCR: &str = "appendonly.aof.1.incr.aof";

fn world(incr: &[u8]) -> Mem {
    let mem = Mem::new();
    mem.put(&path("appendonly.aof.manifest"), MANIFEST);
    mem.put(&path(INCR), incr);
    mem
}

fn lenient() -> Options {
    options(Fsync::Everysec)
}

fn strict() -> Options {
    Options { load_truncated: false, ..lenient() }
}

/// Units of every shape, and where each ends.
fn sample() -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut bytes = Vec::new();
    let mut boundaries = vec![(0, 0)];
    let mut commands = 0;
    let units: &[(&[&[&str]], usize)] = &[
        (&[&["SELECT", "0"]], 0),
        (&[&["SET", "a", "1"]], 1),
        (&[&["MULTI"], &["SELECT", "3"], &["SET", "b", "2"], &["DEL", "a"], &["EXEC"]], 2),
        (&[&["SET", "binary", "\r\n*1\r\n#\0"]], 1),
        (&[&["multi"], &["SET", "c", "3"], &["exec"]], 1),
    ];
    for (unit, count) in units {
        bytes.extend_from_slice(b"#TS:1700000000\r\n");
        boundaries.push((bytes.len(), commands));
        unit.iter().for_each(|command| bytes.extend_from_slice(&request(command)));
        commands += count;
        boundaries.push((bytes.len(), commands));
    }
    (bytes, boundaries)
}

#[test]
fn a_file_cut_at_any_byte_keeps_its_whole_units_and_goes_on() {
    let (bytes, boundaries) = sample();
    let (all, _) = load(&world(&bytes), &lenient()).unwrap();
    for cut in 0..=bytes.len() {
        let &(valid, commands) = boundaries.iter().rfind(|(end, _)| *end <= cut).unwrap();
        let mem = world(&bytes[..cut]);
        let strictly = load(&mem, &strict());
        let (loaded, report) = load(&mem, &lenient()).unwrap();
        assert_eq!(loaded, all[..commands], "cut at {cut}");
        assert_eq!(mem.bytes(&path(INCR)).unwrap(), &bytes[..valid], "cut at {cut}");
        assert_eq!(report.bytes, valid as u64);
        if valid == cut {
            assert!(strictly.is_ok() && report.truncated.is_none(), "cut at {cut}");
        } else {
            let Err(Error::UnexpectedEnd { valid_len_bytes, .. }) = strictly else { panic!("cut at {cut}") };
            assert_eq!(valid_len_bytes, valid as u64);
            let truncation = report.truncated.unwrap();
            assert_eq!(
                mem.bytes(truncation.side_file.as_ref().unwrap()).unwrap(),
                &bytes[valid..cut],
                "no byte goes without a copy"
            );
        }

        // An open MULTI left behind would swallow this write at the next start.
        let mut log = start(mem.clone(), &lenient());
        turn(&mut log, &[("after", cut as u64)]);
        log.stop().unwrap();
        let (again, _) = load(&mem, &strict()).unwrap();
        assert_eq!(again[..commands], all[..commands]);
        assert_eq!(again[commands..], [format!("0:SET after {cut}")]);
    }
}

#[test]
fn zeros_up_to_the_end_are_a_torn_tail_wherever_they_begin() {
    let (bytes, boundaries) = sample();
    let (all, _) = load(&world(&bytes), &lenient()).unwrap();
    for zeros in [1, 7, 5000] {
        for cut in 0..=bytes.len() {
            let mem = world(&[&bytes[..cut], &vec![0; zeros]].concat());
            let (loaded, report) = load(&mem, &lenient()).unwrap();
            // The zeros may happen to complete a value, never its CR LF.
            let &(valid, commands) = boundaries.iter().rfind(|(end, _)| *end <= cut).unwrap();
            assert_eq!(loaded, all[..commands], "cut at {cut}, {zeros} zeros");
            assert_eq!(report.truncated.unwrap().offset_bytes, valid as u64, "cut at {cut}, {zeros} zeros");
        }
    }
}

/// Redis 8.4 has the directive; it takes no account of `aof-load-truncated`.
#[test]
fn a_damaged_end_is_cut_after_a_copy_if_it_is_as_short_as_the_operator_says() {
    let set = request(&["SET", "k", "v"]).to_vec();
    let multi = [request(&["MULTI"]), request(&["DEL", "k"])].concat();
    for (damaged, open_bytes) in [
        (&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nvXX*1\r\n$4\r\nPING\r\n"[..], 0),
        (b"\x07garbage", 0),
        // The cut is in front of what the damage leaves open.
        (b"*2\r\n:3\r\n", multi.len()),
    ] {
        let open = &multi[..open_bytes];
        let bytes = [&set[..], open, damaged].concat();
        let tail_bytes = (open.len() + damaged.len()) as u64;
        let with = |max: u64| Options { load_corrupt_tail_max_bytes: max, ..strict() };
        for max in [0, tail_bytes - 1] {
            let mem = world(&bytes);
            assert!(matches!(load(&mem, &with(max)), Err(Error::BadFormat { .. })), "{max} of {tail_bytes}");
            assert_eq!(mem.bytes(&path(INCR)).unwrap(), bytes);
        }
        let mem = world(&bytes);
        let (loaded, report) = load(&mem, &with(tail_bytes)).unwrap();
        assert_eq!((loaded.len(), mem.bytes(&path(INCR)).unwrap()), (1, set.clone()));
        let cut = report.truncated.unwrap();
        assert_eq!((cut.is_corrupt, cut.cut_bytes, cut.offset_bytes), (true, tail_bytes, set.len() as u64));
        assert_eq!(mem.bytes(&cut.side_file.unwrap()).unwrap(), bytes[set.len()..]);
        let mut log = start(mem.clone(), &with(0));
        turn(&mut log, &[("after", 1)]);
        log.stop().unwrap();
        let (again, _) = load(&mem, &with(0)).unwrap();
        assert_eq!(again, ["0:SET k v", "0:SET after 1"]);
    }
}

#[test]
fn zeros_before_more_data_are_damage() {
    let (bytes, _) = sample();
    let mem = world(&[&bytes[..], &[0; 10], &bytes[..]].concat());
    let Err(Error::BadFormat { offset_bytes, .. }) = load(&mem, &lenient()) else { panic!() };
    assert_eq!(offset_bytes, bytes.len() as u64);
}

#[test]
fn wrong_bytes_are_refused_with_their_offset_and_left_alone() {
    let set = String::from_utf8(request(&["SET", "k", "v"]).to_vec()).unwrap();
    let cases = [
        (format!("{set}SET k v\r\n"), set.len()),
        (format!("{set}*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nvXX{set}"), set.len() + 25),
        (format!("{set}*3\r\n:3\r\nSET\r\n"), set.len() + 4),
        (format!("{set}*x\r\n"), set.len() + 1),
        (format!("{set}*1\r\n$-1\r\n"), set.len() + 5),
        (format!("{set}*1\r\n$9223372036854775807\r\n"), set.len() + 5),
        (format!("{set}*0\r\n{set}"), set.len()),
        (format!("{set}*-1\r\n{set}"), set.len()),
        (format!("{set}*1\r\n$4\r\nEXEC\r\n"), set.len()),
        (format!("{set}*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n"), set.len() + 15),
        (format!("{set}*1\r\n$6\r\nSELECT\r\n"), set.len()),
        (format!("{set}*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n"), set.len()),
        (format!("{set}#{}", "x".repeat(1023)), set.len()),
    ];
    for (text, offset) in cases {
        let mem = world(text.as_bytes());
        let error = load(&mem, &lenient()).unwrap_err();
        let Error::BadFormat { offset_bytes, .. } = error else { panic!("{text:?}: {error}") };
        assert_eq!(offset_bytes, offset as u64, "{text:?}");
        assert!(error.to_string().contains("Bad file format reading the append only file"));
        assert!(error.to_string().contains("make a backup of your AOF file"));
        assert_eq!(mem.bytes(&path(INCR)).unwrap(), text.as_bytes(), "nothing is cut");
    }
}

/// A value so long is not read before it is known to end where its length says.
#[test]
fn the_damaged_length_of_a_long_value_is_judged_as_that_of_a_short_one() {
    let set = request(&["SET", "k", "v"]);
    let behind = set.repeat(3 << 20 >> 5);
    let head =
        |len: usize| [&set[..], format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n").as_bytes()].concat();
    for len in [2 << 20, behind.len() - 4] {
        let mem = world(&[&head(len), &behind[..]].concat());
        let error = load(&mem, &lenient()).unwrap_err();
        let Error::BadFormat { offset_bytes, ref found, .. } = error else { panic!("{error}") };
        assert_eq!(offset_bytes, (head(len).len() + len) as u64, "{error}");
        assert!(found.contains("invalid CRLF"), "{error}");
    }
    for len in [behind.len() - 1, 300_000_000_000] {
        let mem = world(&[&head(len), &behind[..]].concat());
        let (loaded, report) = load(&mem, &lenient()).unwrap();
        let cut = report.truncated.unwrap();
        assert_eq!((loaded.len(), cut.offset_bytes), (1, set.len() as u64));
        assert_eq!(cut.reason, "it ends inside a command");
    }
    let zeros = [&head(2 << 20), &vec![b'v'; 1 << 20][..], &vec![0; 2 << 20]].concat();
    let (_, report) = load(&world(&zeros), &lenient()).unwrap();
    assert_eq!(report.truncated.unwrap().reason, "it ends in zeros");
    let whole = [&head(2 << 20), &vec![b'v'; 2 << 20][..], b"\r\n", &set].concat();
    assert_eq!(load(&world(&whole), &strict()).unwrap().0.len(), 3);
}

#[test]
fn an_annotation_may_have_1023_bytes_and_stand_anywhere_between_commands() {
    let long = format!("#{}\n", "x".repeat(1021));
    let text =
        format!("{long}*1\r\n$5\r\nMULTI\r\n{long}*1\r\n$4\r\nPING\r\n{long}*1\r\n$4\r\nEXEC\r\n{long}");
    let (loaded, report) = load(&world(text.as_bytes()), &strict()).unwrap();
    assert_eq!((loaded, report.commands), (vec!["0:PING".to_owned()], 1));
}

#[test]
fn only_the_last_file_with_bytes_may_be_torn() {
    let (bytes, _) = sample();
    let torn = &bytes[..bytes.len() - 1];
    let two = b"file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    let mem = world(torn);
    mem.put(&path("appendonly.aof.manifest"), two);
    mem.put(&path("appendonly.aof.2.incr.aof"), &request(&["SET", "later", "1"]));
    let error = load(&mem, &lenient()).unwrap_err();
    assert!(matches!(error, Error::UnexpectedEnd { .. }), "{error}");
    assert_eq!(
        mem.bytes(&path(INCR)).unwrap(),
        torn,
        "Redis cuts it and then refuses: the next start accepts the hole"
    );

    mem.put(&path("appendonly.aof.2.incr.aof"), b"");
    let (_, report) = load(&mem, &lenient()).unwrap();
    assert!(report.truncated.is_some(), "a rotation that crashed leaves an empty file behind");
}

#[test]
fn a_base_beside_an_incr_is_never_cut() {
    let (bytes, _) = sample();
    let torn = &bytes[..bytes.len() - 1];
    let mem = world(b"");
    let manifest =
        b"file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    mem.put(&path("appendonly.aof.manifest"), manifest);
    mem.put(&path("appendonly.aof.1.base.aof"), torn);
    let error = load(&mem, &lenient()).unwrap_err();
    assert!(error.to_string().contains("not the last file"), "{error}");
    assert_eq!(mem.bytes(&path("appendonly.aof.1.base.aof")).unwrap(), torn);
}

#[test]
fn a_second_tear_at_the_same_place_overwrites_no_copy() {
    let (bytes, _) = sample();
    let mem = world(&bytes[..bytes.len() - 1]);
    let first = load(&mem, &lenient()).unwrap().1.truncated.unwrap();
    let valid = mem.bytes(&path(INCR)).unwrap();
    mem.put(&path(INCR), &[&valid, &b"*1\r\n"[..]].concat());
    let second = load(&mem, &lenient()).unwrap().1.truncated.unwrap();
    assert_eq!(first.offset_bytes, second.offset_bytes);
    assert_ne!(first.side_file, second.side_file);
}

#[test]
fn progress_is_told_every_1024_commands_and_a_sink_can_refuse() {
    use crate::world::Recorder;
    let ping = request(&["PING"]);
    let mem = world(&ping.repeat(5000));
    let mut directory = aof::Directory::open(std::sync::Arc::new(mem), &lenient()).unwrap();
    let mut recorder = Recorder::default();
    directory.replay(&mut recorder, &lenient()).unwrap();
    let mut told: Vec<u64> = recorder.tellings.iter().map(|progress| progress.commands).collect();
    // A reader that is late makes it tell again.
    told.dedup();
    assert_eq!(told, [0, 1024, 2048, 3072, 4096, 5000]);
    let last = recorder.tellings.last().unwrap();
    assert_eq!((last.loaded_bytes, last.total_bytes), (5000 * ping.len() as u64, 5000 * ping.len() as u64));

    let mem = world(&[&ping[..], &request(&["UNKNOWN"])].concat());
    let Err(Error::Refused { offset_bytes, .. }) = load(&mem, &lenient()) else { panic!() };
    assert_eq!(offset_bytes, ping.len() as u64);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(damage in proptest::collection::vec((0usize..600, proptest::num::u8::ANY), 1..6)) {
        let (mut bytes, _) = sample();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = load(&world(&bytes), &lenient());
    }
}
