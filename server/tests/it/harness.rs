//! A server in a folder of its own, and a client that shows replies as short texts.
//!
//! Nothing here sleeps to let something happen: [`eventually`] asks until it is so, or until patience ends.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use resp::{Decoder, Reply};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until it is so.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_or(is_so, || what.to_owned());
}

/// The same, where only the failure knows what to say.
pub(crate) fn eventually_or(mut is_so: impl FnMut() -> bool, what: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The number of a process that is gone.
pub(crate) fn reaped() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// Makes it an hour since anybody has written to what has this name, which may be a link.
pub(crate) fn let_rest(path: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let tv_sec = long_ago.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let time = Timespec { tv_sec, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The server's program.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_everlog-server");

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs of the tests at a time begin in different places.
    let start = (std::process::id() % 10) as u16 * 100;
    loop {
        let port = 24_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 1_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A data directory that outlives the servers that run in it.
pub(crate) struct World {
    dir: TempDir,
}

/// How a process that was to refuse its start ended.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Option<i32>,
    /// Everything that it printed.
    pub(crate) output: String,
}

impl World {
    pub(crate) fn new() -> Self {
        World { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn aof_dir(&self) -> PathBuf {
        self.path().join("appendonlydir")
    }

    /// A file of the log's directory.
    pub(crate) fn aof_file(&self, name: &str) -> PathBuf {
        self.aof_dir().join(name)
    }

    /// The log's directory, sorted.
    pub(crate) fn aof_names(&self) -> Vec<String> {
        names(&self.aof_dir())
    }

    /// What all servers here have printed.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path().join("server.log")).unwrap_or_default()).into_owned()
    }

    /// Lets temporary files beside the log [rest](let_rest), so that the next start removes those of the dead.
    pub(crate) fn let_temps_rest(&self) {
        let temps = names(self.path()).into_iter().filter(|name| name.starts_with("temp-"));
        temps.for_each(|name| let_rest(&self.path().join(name)));
    }

    fn spawn(&self, port: u16, options: &[&str]) -> Child {
        self.spawn_by(Command::new(SERVER), port, options)
    }

    fn spawn_by(&self, mut command: Command, port: u16, options: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.path().join("server.log")).unwrap();
        // A configuration file comes first, as on Redis's command line.
        let (file, options) = match options {
            [file, rest @ ..] if !file.starts_with("--") => (Some(*file), rest),
            all => (None, all),
        };
        command.args(file).args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]);
        command.arg(self.path()).args(["--save", ""]).args(options);
        command.current_dir(self.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    /// Starts a server with these options (`--name value` words) and waits until it has loaded.
    pub(crate) fn start(&self, options: &[&str]) -> Server {
        let mut server = self.start_loading(options);
        eventually("the server has loaded", || {
            if let Some(status) = server.process.try_wait().unwrap() {
                panic!("{status} instead of a start:\n{}", self.log());
            }
            Client::try_connect(server.port).is_ok_and(|mut client| {
                client.try_send_bytes(b"PING\r\n");
                client.try_reply().is_some_and(|reply| !show(&reply).starts_with("-LOADING"))
            })
        });
        server
    }

    /// The same with the append-only file, and DEBUG allowed.
    pub(crate) fn start_aof(&self, options: &[&str]) -> Server {
        self.start(&[&["--appendonly", "yes", "--enable-debug-command", "yes"], options].concat())
    }

    /// Starts a server and waits until it accepts connections, which it does while it loads.
    pub(crate) fn start_loading(&self, options: &[&str]) -> Server {
        let port = free_port();
        self.accepting(Server::adopt(self.spawn(port, options), port))
    }

    fn accepting(&self, mut server: Server) -> Server {
        eventually("the server accepts connections", || {
            if let Some(status) = server.process.try_wait().unwrap() {
                panic!("{status} instead of a start:\n{}", self.log());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).is_ok()
        });
        server
    }

    /// Starts a server for which every fdatasync(2) takes so much longer; `None` where strace is missing or forbidden.
    pub(crate) fn start_on_slow_disk(&self, delay: Duration, options: &[&str]) -> Option<Server> {
        if !can_trace() {
            return None;
        }
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-s", "200", "-e", "trace=fdatasync,write,writev,sendto", "-o"]);
        strace
            .arg(self.path().join(TRACE))
            .arg("-e")
            .arg(format!("inject=fdatasync:delay_enter={}", delay.as_micros()))
            .arg(SERVER);
        let port = free_port();
        let options = [&["--appendonly", "yes", "--enable-debug-command", "yes"], options].concat();
        let mut server = self.accepting(Server::adopt(self.spawn_by(strace, port, &options), port));
        eventually("the server has loaded", || server.client().ask("PING") == "PONG");
        server.traced = server.info("process_id").parse().ok().and_then(Pid::from_raw);
        Some(server)
    }

    /// Redis itself on this folder; `None` where it is not installed.
    pub(crate) fn start_redis(&self, options: &[&str]) -> Option<Server> {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
        ]);
        command.args(options).arg("--dir").arg(self.path()).stdout(Stdio::null());
        let Ok(process) = command.spawn() else {
            not_tested("redis-server");
            return None;
        };
        let server = Server::adopt(process, port);
        eventually("Redis has loaded", || {
            Client::try_connect(port).is_ok_and(|mut client| client.ask("PING") == "PONG")
        });
        Some(server)
    }

    /// What a server on a slow disk has written, sent and synced so far.
    pub(crate) fn trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path().join(TRACE)).unwrap_or_default()).into_owned()
    }

    /// Starts a server that gets no thread beside its own.
    pub(crate) fn start_without_threads(&self, options: &[&str]) -> Server {
        self.start_by(without_threads(), options)
    }

    /// Starts a server with something more in its environment (`NAME=value`).
    pub(crate) fn start_in(&self, environment: &str, options: &[&str]) -> Server {
        let mut command = Command::new("env");
        command.args([environment, SERVER]);
        self.start_by(command, options)
    }

    /// Starts a server by a command of the caller's.
    pub(crate) fn start_by(&self, command: Command, options: &[&str]) -> Server {
        let port = free_port();
        self.accepting(Server::adopt(self.spawn_by(command, port, options), port))
    }

    /// Starts a server that must refuse to run.
    pub(crate) fn refused(&self, options: &[&str]) -> Refusal {
        self.refused_by(Command::new(SERVER), options)
    }

    /// The same, of one that gets no thread beside its own.
    pub(crate) fn refused_without_threads(&self, options: &[&str]) -> Refusal {
        self.refused_by(without_threads(), options)
    }

    fn refused_by(&self, command: Command, options: &[&str]) -> Refusal {
        let before = self.log().len();
        let process = self.spawn_by(command, free_port(), options);
        let mut process = Server::adopt(process, 0);
        let status = process.wait();
        Refusal { code: status.code(), output: self.log().split_off(before) }
    }
}

impl Drop for World {
    #[expect(clippy::print_stdout, reason = "a failed test shows what the server said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// A server that can start no thread: for one with such a stack no machine has room, and pthread_create(3) says EAGAIN as
/// at a limit of threads.
fn without_threads() -> Command {
    let mut command = Command::new(SERVER);
    command.env("RUST_MIN_STACK", (1_u64 << 60).to_string());
    command
}

/// The file that strace writes to.
const TRACE: &str = "strace.log";

/// Says that a test was not run for want of something; where `cargo xtask ci` knows that it is there, that is a failure.
#[expect(clippy::print_stdout, reason = "a test that was not run says so")]
pub(crate) fn not_tested(missing: &str) {
    let there = std::env::var("EVERLOG_TEST_WITH").unwrap_or_default();
    assert!(!there.split(',').any(|name| name == missing), "not tested, although {missing} can be run here");
    println!("not tested: {missing} cannot be run here");
}

fn can_trace() -> bool {
    let probe = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output();
    let can = probe.is_ok_and(|output| output.status.success());
    if !can {
        not_tested("strace");
    }
    can
}

/// A disk on which some calls fail or are slow, until this is dropped.
pub(crate) struct BrokenDisk(Child);

impl BrokenDisk {
    /// Lets them succeed again.
    pub(crate) fn repair(self) {}
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        let tracer = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        // Killed, it would leave the server stopped.
        let _ = kill_process(tracer, Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A running server; dropped, it is killed.
pub(crate) struct Server {
    process: Child,
    port: u16,
    /// The server itself, where `process` is strace.
    traced: Option<Pid>,
    /// Set before its [`kill`](Self::kill).
    is_killed: Arc<AtomicBool>,
}

/// A server that is killed while others are at it: that excuses what fails, and nothing else does.
#[derive(Clone)]
pub(crate) struct Victim {
    port: u16,
    is_killed: Arc<AtomicBool>,
}

impl Victim {
    /// A client, unless it comes too late.
    pub(crate) fn client(&self) -> Option<Client> {
        match Client::try_connect(self.port) {
            Ok(client) => Some(client),
            Err(error) => {
                let is_of_the_dead =
                    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset);
                assert!(is_of_the_dead && self.is_killed(), "cannot connect: {error}");
                None
            }
        }
    }

    /// Sends bytes to it; false once it is killed.
    pub(crate) fn takes(&self, client: &mut Client, bytes: &[u8]) -> bool {
        let is_sent = client.try_send_bytes(bytes);
        assert!(is_sent || self.is_killed(), "the connection is broken");
        is_sent
    }

    /// Its next reply; `None` once it is killed.
    pub(crate) fn reply(&self, client: &mut Client) -> Option<Reply> {
        let reply = client.try_reply();
        assert!(reply.is_some() || self.is_killed(), "the connection is closed or broken");
        reply
    }

    fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst)
    }
}

impl Server {
    /// A server that somebody else has started.
    pub(crate) fn adopt(process: Child, port: u16) -> Self {
        Server { process, port, traced: None, is_killed: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Resident memory, bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Whether SIGSTOP has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap().contains("State:\tT")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let own = || Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        let pid = self.traced.unwrap_or_else(own);
        kill_process(pid, signal).unwrap();
    }

    /// As those see it who are at it while it is killed.
    pub(crate) fn victim(&self) -> Victim {
        Victim { port: self.port, is_killed: Arc::clone(&self.is_killed) }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.is_killed.store(true, Ordering::SeqCst);
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; returns how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGINT; returns how it ended.
    pub(crate) fn interrupt(mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.wait()
    }

    /// Lets every fdatasync(2) fail from now on; `None` where strace is missing or forbidden.
    pub(crate) fn break_fdatasync(&self) -> Option<BrokenDisk> {
        self.inject("fdatasync", "error=EIO")
    }

    /// Lets every write(2) to the log take so much longer from now on: nothing else is written with writev(2).
    pub(crate) fn slow_log_writes(&self, delay: Duration) -> Option<BrokenDisk> {
        self.inject("writev", &format!("delay_enter={}", delay.as_micros()))
    }

    fn inject(&self, call: &str, what: &str) -> Option<BrokenDisk> {
        if !can_trace() {
            return None;
        }
        let pid = self.process.id();
        let mut strace = Command::new("strace");
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
        strace.args(["-f", "-qq", "-e", &trace, "-e", &inject, "-o", "/dev/null", "-p", &pid.to_string()]);
        let broken = BrokenDisk(strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually("all threads are traced", || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            threads.flatten().all(|thread| {
                let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            })
        });
        Some(broken)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the server ends", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// A field of INFO.
    pub(crate) fn info(&self, field: &str) -> String {
        self.client().info(field)
    }

    /// Waits until a field of INFO has a value.
    pub(crate) fn wait_for_info(&self, field: &str, value: &str) {
        let mut client = self.client();
        eventually(&format!("{field}:{value}"), || client.info(field) == value);
    }

    /// BGREWRITEAOF, to its end.
    pub(crate) fn rewrite(&self) {
        let mut client = self.client();
        let done: u64 = client.info("aof_rewrites").parse().unwrap();
        assert_eq!(client.ask("BGREWRITEAOF"), "Background append only file rewriting started");
        eventually("the rewrite ends", || client.info("aof_rewrite_in_progress") == "0");
        assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
        assert_eq!(client.info("aof_rewrites"), (done + 1).to_string());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // A server whose tracer dies lives on.
            let _ = self.traced.map(|pid| kill_process(pid, Signal::KILL));
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    decoder: Decoder,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap()
    }

    pub(crate) fn try_connect(port: u16) -> std::io::Result<Self> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(Self::over)
    }

    pub(crate) fn connect_to(address: IpAddr, port: u16) -> Self {
        TcpStream::connect((address, port)).and_then(Self::over).unwrap()
    }

    fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream, received: Vec::new(), decoder: Decoder::default() })
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The same; false if the connection is broken.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a command and does not wait for its reply.
    pub(crate) fn send(&mut self, line: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.send_bytes(&request(&words));
    }

    /// The next reply; `None` once the connection is closed or broken.
    pub(crate) fn try_reply(&mut self) -> Option<Reply> {
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some((reply, len)) = self.decoder.decode(&self.received).expect("a reply") {
                self.received.drain(..len);
                return Some(reply);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no reply within {PATIENCE:?}"),
                Err(_) => return None,
            }
        }
    }

    /// The next reply, as [`show`] puts it.
    pub(crate) fn reply(&mut self) -> String {
        show(&self.try_reply().expect("the connection is open"))
    }

    /// Sends a command of words without blanks; returns its reply as [`show`] puts it.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }

    /// The same, for words that are any bytes.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> Reply {
        self.send_bytes(&request(words));
        self.try_reply().expect("the connection is open")
    }

    /// Sends a command whose reply must be OK.
    pub(crate) fn ok(&mut self, line: &str) {
        assert_eq!(self.ask(line), "OK", "{line}");
    }

    /// A field of INFO; empty if there is none.
    pub(crate) fn info(&mut self, field: &str) -> String {
        let text = self.ask("INFO everything");
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().to_owned()
    }

    /// Receives at most so many bytes and drops them; returns how many there were.
    pub(crate) fn receive(&mut self, bytes: usize) -> usize {
        let mut buffer = vec![0; bytes];
        let mut received = 0;
        while received < bytes {
            match self.stream.read(&mut buffer[received..]).expect("the connection is open") {
                0 => panic!("the connection was closed"),
                count => received += count,
            }
        }
        received
    }

    /// Whether the server ends the connection, which reads what is still to come.
    pub(crate) fn is_closed(&mut self) -> bool {
        while self.try_reply().is_some() {}
        true
    }

    /// Whether nothing has arrived yet.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let silent = self.received.is_empty()
            && matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
        silent
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_sending(&self) {
        // Fails where the server was faster.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

/// A request's bytes.
pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A reply as a text: `OK`, `-ERR ..`, `:1`, `text`, `nil`, `nil[]`, `[a b]`, `{a:b}`, `~[a]`, `>[a]`, `,1.5`, `#t`.
pub(crate) fn show(reply: &Reply) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let list = |items: &[Reply]| format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "));
    match reply {
        Reply::Simple(bytes) | Reply::Bulk(bytes) => text(bytes),
        Reply::Verbatim { text: bytes, .. } => text(bytes),
        Reply::Error(bytes) | Reply::BulkError(bytes) => format!("-{}", text(bytes)),
        Reply::Integer(value) => format!(":{value}"),
        Reply::Null => "nil".to_owned(),
        Reply::NullArray => "nil[]".to_owned(),
        Reply::Array(items) => list(items),
        Reply::Set(items) => format!("~{}", list(items)),
        Reply::Push(items) => format!(">{}", list(items)),
        Reply::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}:{}", show(key), show(value))).collect();
            format!("{{{}}}", pairs.join(" "))
        }
        Reply::Double(value) => format!(",{value}"),
        Reply::Boolean(value) => if *value { "#t" } else { "#f" }.to_owned(),
        Reply::BigNumber(digits) => format!("({}", text(digits)),
        Reply::Attributed { reply, .. } => show(reply),
    }
}

/// SplitMix64: a test that uses it prints its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}
