//! Sends commands to a Redis server in one pipeline and prints the replies.
//!
//! ```text
//! $ cargo run --example pipeline -- 127.0.0.1:6379 'SET greeting "hello world"' 'GET greeting' 'INCR visits'
//! SET greeting "hello world"
//!     OK
//! GET greeting
//!     "hello world"
//! INCR visits
//!     1
//! ```
//! Commands are quoted as in redis-cli. The connection speaks RESP3. Without arguments, the server is a small one in this
//! program, which answers each request with its words: the other side of the protocol.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::{Buf, BytesMut};
use resp::{Decoder, Encoder, Limits, Parser, Reply, Version, request};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (address, commands) = match arguments.next() {
        Some(address) => (address, arguments.collect()),
        None => (echo_server()?, vec![r#"ECHO "hello world""#.to_owned(), "PING".to_owned()]),
    };
    let commands: Vec<String> = std::iter::once("HELLO 3".to_owned()).chain(commands).collect();

    let mut pipeline = BytesMut::new();
    for command in &commands {
        append(command, &mut pipeline)?;
    }
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&pipeline)?;

    let mut decoder = Decoder::default();
    let mut received = BytesMut::new();
    for command in &commands {
        println!("{command}\n    {}", show(&next_reply(&mut stream, &mut decoder, &mut received)?));
    }
    Ok(())
}

/// Starts a server for one connection that answers each request with the array of its words; returns its address.
fn echo_server() -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let (mut parser, mut received, mut chunk) = (Parser::default(), BytesMut::new(), [0; 16 * 1024]);
        loop {
            let len = stream.read(&mut chunk)?;
            if len == 0 {
                return Ok(());
            }
            received.extend_from_slice(&chunk[..len]);
            let mut out = BytesMut::new();
            while let Some(len_bytes) =
                parser.parse(&received, &Limits::default()).map_err(std::io::Error::other)?
            {
                let argv = parser.argv(&received);
                let mut reply = Encoder::new(&mut out, Version::Resp3);
                reply.array(argv.len());
                argv.iter().for_each(|word| reply.bulk(word));
                drop(argv);
                received.advance(len_bytes);
            }
            stream.write_all(&out)?;
        }
    });
    Ok(address)
}

/// Splits a command line into words and appends it as a request.
fn append(command: &str, pipeline: &mut BytesMut) -> Result<(), Box<dyn Error>> {
    let (mut words, mut spans) = (Vec::new(), Vec::new());
    request::split_words(command.as_bytes(), &mut words, |start, len| spans.push(start..start + len))?;
    let argv: Vec<&[u8]> = spans.into_iter().map(|span| &words[span]).collect();
    request::encode(&argv, pipeline);
    Ok(())
}

/// Reads until a reply is whole; what follows it stays in `received`.
fn next_reply(
    stream: &mut TcpStream,
    decoder: &mut Decoder,
    received: &mut BytesMut,
) -> Result<Reply, Box<dyn Error>> {
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some((reply, len_bytes)) = decoder.decode(received)? {
            let _ = received.split_to(len_bytes);
            return Ok(reply);
        }
        match stream.read(&mut chunk)? {
            0 => return Err("the server closed the connection".into()),
            len => received.extend_from_slice(&chunk[..len]),
        }
    }
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Bulk(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Reply::Integer(value) => value.to_string(),
        Reply::Array(replies) | Reply::Set(replies) | Reply::Push(replies) => {
            format!("[{}]", replies.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        Reply::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", show(key), show(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}
