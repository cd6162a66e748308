//! Where clients may come from: the addresses to listen on, how many there is room for, and whom to turn away at the
//! door.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::{Registry, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::connection::{Connection, Listener};
use crate::executor::Server;
use crate::logger::Level;

/// The sockets that clients come from.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// The Unix socket, which stays, before those of TCP, which CONFIG SET may change.
    sockets: Vec<Listener>,
    /// How many of them the poll watches; the others are behind them.
    watched: usize,
}

impl Listeners {
    /// Opens all that the configuration names.
    ///
    /// # Errors
    /// Redis's words for the first that failed.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        // First, since another server may have the port: it keeps its Unix socket then.
        let tcp = listen_tcp(config)?;
        let mut sockets = Vec::new();
        if !config.unixsocket.as_os_str().is_empty() {
            let mode = Some(config.unixsocketperm).filter(|&mode| mode != 0);
            let listener = Listener::unix(&config.unixsocket, mode, backlog(config));
            sockets.push(listener.map_err(|error| format!("Failed opening Unix socket: bind: {error}"))?);
        }
        sockets.extend(tcp);
        Ok(Listeners { sockets, watched: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Listener> {
        self.sockets.get(at)
    }

    /// Puts those under the poll's watch that are not yet, each under the token of its place.
    ///
    /// # Errors
    /// What epoll says.
    pub(crate) fn watch(&mut self, registry: &Registry, token: impl Fn(usize) -> Token) -> io::Result<()> {
        while let Some(listener) = self.sockets.get_mut(self.watched) {
            listener.register(registry, token(self.watched))?;
            self.watched += 1;
        }
        Ok(())
    }

    /// Listens where the configuration says now, and nowhere else; where that fails, as before. The old sockets are
    /// closed first: they may be in the way of the new ones.
    fn rebind(&mut self, config: &Config) -> Result<(), String> {
        let before: Vec<SocketAddr> = self.sockets.iter().filter_map(Listener::address).collect();
        self.sockets.retain(|listener| listener.address().is_none());
        self.watched = self.watched.min(self.sockets.len());
        let (sockets, outcome) = match listen_tcp(config) {
            Ok(sockets) => (sockets, Ok(())),
            Err(reason) => {
                let reopen = |addr| Listener::tcp(addr, backlog(config)).ok();
                (before.into_iter().filter_map(reopen).collect(), Err(reason))
            }
        };
        self.sockets.extend(sockets);
        outcome
    }
}

fn backlog(config: &Config) -> i32 {
    i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX)
}

/// Opens the listeners of TCP. An address that is marked optional (`-::1`) and not there is passed over.
fn listen_tcp(config: &Config) -> Result<Vec<Listener>, String> {
    let mut sockets = Vec::new();
    let addresses = if config.port == 0 { &[][..] } else { &config.bind };
    for text in addresses {
        let text = String::from_utf8_lossy(text);
        let (text, optional) = text.strip_prefix('-').map_or((&*text, false), |rest| (rest, true));
        match address(text).and_then(|ip| Listener::tcp(SocketAddr::new(ip, config.port), backlog(config))) {
            Ok(listener) => sockets.push(listener),
            Err(error) if optional && is_absent(&error) => {}
            Err(error) => {
                let port = config.port;
                return Err(format!(
                    "Could not create server TCP listening socket {text}:{port}: bind: {error}\nFailed listening on port {port} (tcp), aborting."
                ));
            }
        }
    }
    Ok(sockets)
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

/// Descriptors that no client may take: without one the log could not begin a new file. Source: redis 7.2
/// `src/server.h` `CONFIG_MIN_RESERVED_FDS`.
const RESERVED_DESCRIPTORS: u64 = 32;

/// Lets the process have descriptors for so many clients, as far as it may: the soft limit up to the hard one, and where
/// that is not enough the hard one too, which root can raise. Returns how many clients there is room for.
fn make_room(maxclients: u32) -> u32 {
    let (limit, wanted) = (getrlimit(Resource::Nofile), u64::from(maxclients) + RESERVED_DESCRIPTORS);
    let is_enough = |maximum: Option<u64>| maximum.is_none_or(|maximum| maximum >= wanted);
    let beyond = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    if is_enough(limit.maximum) || setrlimit(Resource::Nofile, beyond).is_err() {
        // What is refused leaves fewer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    clients_within(getrlimit(Resource::Nofile).current).min(maxclients)
}

/// How many clients so many descriptors are enough for.
fn clients_within(descriptors: Option<u64>) -> u32 {
    let clients = descriptors.map(|descriptors| descriptors.saturating_sub(RESERVED_DESCRIPTORS));
    clients.and_then(|clients| u32::try_from(clients).ok()).unwrap_or(u32::MAX)
}

/// What a client that is turned away in protected mode is told.
const DENIED: &str = "-DENIED Everlog is running in protected mode: it has no password and this connection does not \
                      come from the machine itself. Set a password with 'requirepass', or, if nobody else can reach \
                      the port, turn the mode off with 'protected-mode no'.\r\n";

impl Server {
    /// Reduces `maxclients` to what the system has descriptors for.
    ///
    /// # Errors
    /// There are not enough for a single one.
    pub(crate) fn fit_maxclients(&mut self) -> Result<(), String> {
        let maxclients = self.config.maxclients;
        let room = make_room(maxclients);
        let descriptors = u64::from(room) + RESERVED_DESCRIPTORS;
        if room == 0 {
            return Err(format!(
                "The limit of open files is not enough for the server to start. Please increase 'ulimit -n' to at least {}. Exiting.",
                u64::from(maxclients) + RESERVED_DESCRIPTORS
            ));
        }
        if room < maxclients {
            let line = format!(
                "You requested maxclients of {maxclients}. Current maximum open files is {descriptors}. maxclients has been reduced to {room} to compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
            );
            self.log(Level::Warning, line);
            self.config.maxclients = room;
        }
        Ok(())
    }

    /// CONFIG SET port, CONFIG SET bind.
    ///
    /// # Errors
    /// An address that cannot be listened on; all is as it was then.
    pub(crate) fn rebind(&mut self, refusal: &str) -> Result<(), String> {
        self.listeners.rebind(&self.config).map_err(|reason| {
            reason.lines().for_each(|line| self.log(Level::Warning, line));
            refusal.to_owned()
        })
    }

    /// CONFIG SET maxclients.
    ///
    /// # Errors
    /// Redis's words where the system cannot have so many.
    pub(crate) fn raise_maxclients(&self) -> Result<(), String> {
        let room = make_room(self.config.maxclients);
        if room < self.config.maxclients {
            return Err(format!(
                "The operating system is not able to handle the specified number of clients, try with {room}"
            ));
        }
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_no_clients() {
        for (descriptors, clients) in [
            (Some(0), 0),
            (Some(32), 0),
            (Some(33), 1),
            (Some(1024), 992),
            (Some(u64::MAX), u32::MAX),
            (None, u32::MAX),
        ] {
            assert_eq!(clients_within(descriptors), clients, "{descriptors:?}");
        }
    }
}
