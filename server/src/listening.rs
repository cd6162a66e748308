//! Where clients may come from: the addresses to listen on, and whom to turn away at the door.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Config;
use crate::connection::{Connection, Listener};
use crate::executor::Server;

/// Opens all listeners that the configuration names. An address that is marked optional (`-::1`) and not there is
/// passed over.
///
/// # Errors
/// Redis's words for the first that failed.
pub fn listen(config: &Config) -> Result<Vec<Listener>, String> {
    let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
    let mut listeners = Vec::new();
    if config.port != 0 {
        for text in &config.bind {
            let text = String::from_utf8_lossy(text);
            let (text, optional) = text.strip_prefix('-').map_or((&*text, false), |rest| (rest, true));
            let failed = |error: io::Error| {
                let port = config.port;
                format!("Could not create server TCP listening socket {text}:{port}: bind: {error}\nFailed listening on port {port} (tcp), aborting.")
            };
            match address(text).and_then(|ip| Listener::tcp(SocketAddr::new(ip, config.port), backlog)) {
                Ok(listener) => listeners.push(listener),
                Err(error) if optional && is_absent(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    if !config.unixsocket.as_os_str().is_empty() {
        let mode = Some(config.unixsocketperm).filter(|&mode| mode != 0);
        let listener = Listener::unix(&config.unixsocket, mode, backlog);
        listeners.push(listener.map_err(|error| format!("Failed opening Unix socket: bind: {error}"))?);
    }
    Ok(listeners)
}

/// The address that a `bind` word means. A name is looked up; its first address counts.
fn address(text: &str) -> io::Result<IpAddr> {
    match text {
        "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        "::*" => Ok(Ipv6Addr::UNSPECIFIED.into()),
        _ => text.parse().or_else(|_| {
            let mut found = std::net::ToSocketAddrs::to_socket_addrs(&(text, 0))?;
            found.next().map(|addr| addr.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
        }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// What a client that is turned away in protected mode is told.
const DENIED: &str = "-DENIED Everlog is running in protected mode: it has no password and this connection does not \
                      come from the machine itself. Set a password with 'requirepass', or, if nobody else can reach \
                      the port, turn the mode off with 'protected-mode no'.\r\n";

impl Server {
    /// Why a new connection is not let in, if it is not.
    pub fn refusal(&self, connection: &Connection) -> Option<String> {
        if self.clients.len() >= self.config.maxclients as usize {
            return Some("-ERR max number of clients reached\r\n".to_owned());
        }
        let remote = connection.peer().is_some_and(|peer| !peer.ip().to_canonical().is_loopback());
        let protected = self.config.protected_mode && self.config.requirepass.is_empty();
        (remote && protected).then(|| DENIED.to_owned())
    }
}
