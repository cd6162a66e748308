//! The floor: a server that parses every request and does nothing else. `floor --port PORT`.
//!
//! What a request costs here is what loopback TCP, the event loop and the parser cost; `cargo xtask bench` subtracts it
//! from what a real server's request costs. A turn has the shape of ours: poll, read, parse, write. SET and whatever
//! else is answered `+OK`, GET is answered with a null.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use bytes::{Buf, BytesMut};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use resp::{Encoder, Limits, Parser, Version};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 16 * 1024;

fn main() -> anyhow::Result<()> {
    // Started with the options of a real server, of which it heeds one.
    let port = std::env::args().skip_while(|word| word != "--port").nth(1);
    let port = port.context("usage: floor --port PORT")?.parse()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
            } else if let Some(slot) = clients.get_mut(event.token().0)
                && let Some(client) = slot
                && client.turn().is_none()
            {
                *slot = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Option<Client>>) -> anyhow::Result<()> {
    // Edge-triggered: until there is nobody left.
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true)?;
        let at = clients.iter().position(Option::is_none).unwrap_or(clients.len());
        poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        let client =
            Client { stream, parser: Parser::default(), input: BytesMut::new(), output: BytesMut::new() };
        if at == clients.len() { clients.push(Some(client)) } else { clients[at] = Some(client) }
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    parser: Parser,
    input: BytesMut,
    output: BytesMut,
}

impl Client {
    /// Reads, parses and answers until the socket has no more; `None` ends the connection.
    fn turn(&mut self) -> Option<()> {
        let mut chunk = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => {
                    self.input.extend_from_slice(&chunk[..len]);
                    self.answer()?;
                    // A short read has emptied the socket: the next bytes are a new event.
                    if len < READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        self.send()
    }

    fn answer(&mut self) -> Option<()> {
        let mut at = 0;
        while let Some(len_bytes) = self.parser.parse(&self.input[at..], &Limits::default()).ok()? {
            let argv = self.parser.argv(&self.input[at..]);
            let mut encoder = Encoder::new(&mut self.output, Version::Resp2);
            match argv.first() {
                Some(name) if name.eq_ignore_ascii_case(b"get") => encoder.null(),
                Some(_) => encoder.ok(),
                None => {}
            }
            at += len_bytes;
        }
        self.input.advance(at);
        Some(())
    }

    fn send(&mut self) -> Option<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(len) => self.output.advance(len),
                // The socket will say when it takes more.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}
