//! A client's socket, TCP or Unix, and the listeners they come from.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

/// A non-blocking stream.
#[derive(Debug)]
pub enum Connection {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Connection {
    /// Puts the socket under the poll's watch, edge-triggered, for both directions at once: it is never registered
    /// again.
    ///
    /// # Errors
    /// What epoll says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Connection::Tcp(stream) => registry.register(stream, token, interest),
            Connection::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Where the client connects from; `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Connection::Tcp(stream) => stream.peer_addr().ok(),
            Connection::Unix(_) => None,
        }
    }

    /// The address it connects to, as CLIENT LIST prints it.
    pub fn local(&self) -> String {
        match self {
            Connection::Tcp(stream) => {
                stream.local_addr().map_or_else(|_| "?:0".into(), |addr| addr.to_string())
            }
            Connection::Unix(stream) => {
                let addr = stream.local_addr().ok();
                let path = addr.as_ref().and_then(|addr| addr.as_pathname());
                format!("{}:0", path.map_or(String::new(), |path| path.display().to_string()))
            }
        }
    }

    /// Reads once, through EINTR.
    ///
    /// # Errors
    /// What read(2) says, `WouldBlock` too.
    #[inline]
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| match self {
            Connection::Tcp(stream) => stream.read(into),
            Connection::Unix(stream) => stream.read(into),
        })
    }

    /// Writes once, through EINTR.
    ///
    /// # Errors
    /// What write(2) says, `WouldBlock` too.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        })
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A socket that clients come from.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a TCP address.
    ///
    /// # Errors
    /// What the system says, `AddrInUse` among it.
    pub fn tcp(addr: SocketAddr, backlog: i32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog)?;
        Ok(Listener::Tcp(TcpListener::from_std(socket.into())))
    }

    /// Listens on a Unix socket, in the place of a stale one. Its permissions are set before anybody can connect.
    ///
    /// # Errors
    /// What the system says.
    pub fn unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        if let Some(mode) = mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        socket.listen(backlog)?;
        let listener: std::os::unix::net::UnixListener = std::os::fd::OwnedFd::from(socket).into();
        Ok(Listener::Unix(UnixListener::from_std(listener)))
    }

    /// The address of one of TCP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Puts the listener under the poll's watch.
    ///
    /// # Errors
    /// What epoll says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Listener::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// Accepts one client.
    ///
    /// # Errors
    /// What accept(2) says, `WouldBlock` when nobody is left.
    pub fn accept(&self, keepalive: Option<Duration>) -> io::Result<Connection> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Options that the system refuses make the connection slower, not wrong.
                let _ = stream.set_nodelay(true);
                if let Some(interval) = keepalive {
                    let third = (interval / 3).max(Duration::from_secs(1));
                    let keepalive =
                        TcpKeepalive::new().with_time(interval).with_interval(third).with_retries(3);
                    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                }
                Ok(Connection::Tcp(stream))
            }
            Listener::Unix(listener) => Ok(Connection::Unix(listener.accept()?.0)),
        }
    }
}
