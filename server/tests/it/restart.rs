//! The story: an operator, or Redis's own tests, let a server begin again by itself. It comes back with its data and under
//! its number, or says why it cannot and goes on; it never stays between the two.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Client, PATIENCE, SERVER, Server, World, eventually, request, show};

const REFUSAL: &str = "-ERR failed to restart the server. Check server logs.";
const COMMANDS: [&str; 2] = ["DEBUG RESTART", "DEBUG CRASH-AND-RECOVER"];

/// Sends a command that nobody answers.
fn begin_again(client: &mut Client, command: &str) {
    client.send(command);
    assert!(client.is_closed(), "{command}");
}

/// A client of the server once it is there again. The old one's queue may take a connection yet, which ends with it.
fn client_again(server: &Server) -> Client {
    let again = || {
        let mut client = Client::try_connect(server.port()).ok()?;
        let is_sent = client.try_send_bytes(&request(&[b"PING"]));
        let reply = client.try_reply().filter(|_| is_sent)?;
        (show(&reply) == "PONG").then_some(client)
    };
    let mut client = None;
    eventually("it is there again", || {
        client = again();
        client.is_some()
    });
    client.unwrap()
}

/// The program under a name of its own, which a test may take away.
struct Program {
    dir: TempDir,
}

impl Program {
    fn new() -> Self {
        let program = Program { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        // A copy could not be executed while another test's new process has it open for writing.
        fs::hard_link(SERVER, program.path()).unwrap();
        program
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("everlog-server")
    }

    /// Puts another file in its place.
    fn replace(&self, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::remove_file(self.path()).unwrap();
        fs::write(self.path(), text).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];

#[test]
fn it_has_the_same_data_under_the_same_number() {
    for (command, policy) in
        COMMANDS.iter().flat_map(|command| ["always", "everysec", "no"].map(|policy| (command, policy)))
    {
        let world = World::new();
        let server = world.start_aof(&["--appendfsync", policy]);
        let mut client = server.client();
        client.ok("SET k v");
        let (run_id, pid) = (client.info("run_id"), client.info("process_id"));
        begin_again(&mut client, &format!("{command} 1"));
        let mut client = client_again(&server);
        let which = format!("{command}, {policy}");
        assert_eq!((client.ask("GET k"), client.info("process_id")), ("v".into(), pid), "{which}");
        assert_ne!(client.info("run_id"), run_id);
        assert_eq!(client.ask("DEBUG RESTART x"), "-ERR value is not an integer or out of range");
        let shut_down = || world.log().matches("Calling fsync() on the AOF file.").count();
        assert_eq!(shut_down(), usize::from(*command == "DEBUG RESTART"), "{which}");
        assert!(server.terminate().success());
        assert_eq!(shut_down(), 1 + usize::from(*command == "DEBUG RESTART"), "{which}");
    }
}

/// The server had ended before it looked for its program.
#[test]
fn a_server_whose_program_or_folder_is_gone_says_so_and_goes_on() {
    let program = Program::new();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("env");
    command.arg("-C").arg(folder.path()).arg(program.path());
    let world = World::new();
    let server = world.start_by(command, &DEBUG);
    let mut client = server.client();
    client.ok("SET k v");
    let mut is_refused = |what: &str| {
        for command in COMMANDS {
            assert_eq!(client.ask(command), REFUSAL, "{what}");
            let why = world.log().lines().last().unwrap().to_owned();
            assert!(why.contains("Can't restart: ") && why.contains(what), "{why}");
        }
        assert_eq!(client.ask("GET k"), "v");
        assert_eq!(client.info("executable"), program.path().display().to_string());
    };
    program.replace("a text", 0o644);
    is_refused("everlog-server: Permission denied");
    fs::remove_file(program.path()).unwrap();
    is_refused("everlog-server: No such file or directory");
    fs::hard_link(SERVER, program.path()).unwrap();
    let gone = format!("{}: No such file or directory", folder.path().display());
    folder.close().unwrap();
    is_refused(&gone);
    assert!(server.terminate().success());
}

#[test]
fn what_came_from_standard_input_cannot_be_read_again() {
    let world = World::new();
    let server = world.start(&["--enable-debug-command", "yes", "-"]);
    let mut client = server.client();
    for command in COMMANDS {
        assert_eq!(client.ask(command), REFUSAL);
    }
    assert!(world.log().contains("Can't restart: the configuration came from standard input"));
}

/// It went on in another folder, with no log, and served.
#[test]
fn a_program_that_cannot_be_executed_after_all_ends_the_server_with_a_failure() {
    for command in COMMANDS {
        let program = Program::new();
        let world = World::new();
        let mut server = world.start_by(Command::new(program.path()), &DEBUG);
        program.replace("#!/nonexistent/interpreter\n", 0o755);
        begin_again(&mut server.client(), command);
        assert_eq!(server.wait().code(), Some(1), "{command}");
        let why = format!("Can't restart: {}: ", program.path().display());
        assert!(world.log().contains(&why), "{}", world.log());
    }
}

/// It was forgotten with the process that had received it.
#[test]
fn a_signal_in_the_delay_ends_the_server() {
    for (command, code) in COMMANDS.into_iter().zip([0, 1]) {
        let world = World::new();
        let mut server = world.start_aof(&["--pidfile", "server.pid"]);
        // Longer than a clock counts.
        begin_again(&mut server.client(), &format!("{command} {}", i64::MAX));
        eventually("nobody listens", || Client::try_connect(server.port()).is_err());
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(code), "{command}");
        assert!(world.log().contains("the server is not started again"), "{}", world.log());
        assert!(!world.path().join("server.pid").exists());
    }
}

#[test]
fn a_shutdown_that_fails_is_followed_by_no_start() {
    let world = World::new();
    let mut server = world.start_aof(&["--appendfsync", "everysec"]);
    let mut client = server.client();
    client.ok("SET k 0");
    let Some(broken) = server.break_fdatasync() else { return };
    client.ok("SET k 1");
    begin_again(&mut client, "DEBUG RESTART");
    assert_eq!(server.wait().code(), Some(1));
    assert!(world.log().contains("Can't restart: the shutdown did not succeed."), "{}", world.log());
    drop(broken);
}

/// What a unit of `Type=notify` is told: that the server stops would be the end of the unit.
#[test]
fn systemd_is_told_twice_that_the_server_is_ready_and_of_one_end() {
    let name = format!("everlog-test-restart-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut text = [0; 200];
        let len = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let world = World::new();
    let options = [&DEBUG[..], &["--supervised", "systemd"]].concat();
    let server = world.start_in(&format!("NOTIFY_SOCKET=@{name}"), &options);
    let is_started = || {
        assert_eq!(told(), "STATUS=Loading the data\n");
        assert_eq!(told(), "STATUS=Ready to accept connections\nREADY=1\n");
    };
    is_started();
    for command in COMMANDS {
        begin_again(&mut client_again(&server), command);
        is_started();
    }
    assert!(server.terminate().success());
    assert_eq!(told(), "STOPPING=1\n");
}

/// Upstart lets a process that has stopped itself go on once: the second time it stood still for good.
#[test]
fn a_server_of_upstart_stops_itself_once() {
    let world = World::new();
    let options = [&DEBUG[..], &["--supervised", "upstart"]].concat();
    let server = world.start_in("UPSTART_JOB=everlog", &options);
    eventually("it has stopped itself", || server.is_stopped());
    server.signal(Signal::CONT);
    begin_again(&mut server.client(), "DEBUG RESTART");
    client_again(&server);
    assert!(server.terminate().success());
}
