//! Who supervises the process, and is told when it is ready and when it ends: systemd by datagrams to `$NOTIFY_SOCKET`,
//! upstart by SIGSTOP.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::config::Supervised;

/// The directive `supervised` beside what the environment says.
#[derive(Debug, Default)]
pub(crate) enum Supervisor {
    /// Nobody.
    #[default]
    None,
    /// It goes on once the process has stopped itself.
    Upstart,
    /// It is told by datagrams to this address.
    Systemd(SocketAddr),
}

impl Supervisor {
    /// Source: redis 7.2 `redisIsSupervised`.
    ///
    /// # Errors
    /// The environment does not say what the directive asks for; in words.
    pub(crate) fn find(wanted: Supervised) -> Result<Self, String> {
        let is_upstart = env::var_os("UPSTART_JOB").is_some();
        let is_systemd = env::var_os("NOTIFY_SOCKET").is_some();
        match wanted {
            Supervised::Upstart if !is_upstart => {
                Err("upstart supervision requested, but UPSTART_JOB not found".into())
            }
            Supervised::Systemd if !is_systemd => {
                Err("systemd supervision requested, but NOTIFY_SOCKET not found".into())
            }
            Supervised::No => Ok(Supervisor::None),
            Supervised::Upstart => Ok(Supervisor::Upstart),
            Supervised::Auto if is_upstart => Ok(Supervisor::Upstart),
            Supervised::Auto if !is_systemd => Ok(Supervisor::None),
            Supervised::Systemd | Supervised::Auto => {
                notify_socket().map(Supervisor::Systemd).map_err(|error| format!("NOTIFY_SOCKET: {error}"))
            }
        }
    }

    /// What INFO calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Supervisor::None => "no",
            Supervisor::Upstart => "upstart",
            Supervisor::Systemd(_) => "systemd",
        }
    }

    /// Clients are served from now on.
    pub(crate) fn is_ready(&self) -> io::Result<()> {
        match self {
            Supervisor::Upstart => {
                let own = rustix::process::getpid();
                Ok(rustix::process::kill_process(own, rustix::process::Signal::STOP)?)
            }
            _ => self.notify("STATUS=Ready to accept connections\nREADY=1\n"),
        }
    }

    /// Tells systemd, and nobody else. Source: sd_notify(3).
    pub(crate) fn notify(&self, state: &str) -> io::Result<()> {
        let Supervisor::Systemd(address) = self else { return Ok(()) };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), address).map(drop)
    }
}

/// A path, or behind `@` an abstract name.
fn notify_socket() -> io::Result<SocketAddr> {
    let name = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    }
}
