//! A blocking client for both protocols, small enough to compile with every `cargo xtask`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long one reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reply. A RESP3 map or set arrives as the array that RESP2 would have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// A null of any kind.
    Null,
    /// An integer.
    Integer(i64),
    /// A simple or bulk string, or the text of a double.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// An error's text.
    Error(String),
}

impl Value {
    /// The text of a string, or of an integer.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Integer(value) => value.to_string(),
            other => format!("{other:?}"),
        }
    }

    /// The replies of an array; none for anything else.
    pub(crate) fn into_array(self) -> Vec<Value> {
        match self {
            Value::Array(values) => values,
            _ => Vec::new(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    input: BufReader<TcpStream>,
    out: Vec<u8>,
    waiting: usize,
}

impl Client {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { input: BufReader::with_capacity(64 * 1024, stream), out: Vec::new(), waiting: 0 })
    }

    /// Sends one request and returns its reply.
    ///
    /// # Errors
    /// An error reply is one, with the request in its context.
    pub(crate) fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> Result<Value> {
        self.push(argv);
        let replies = self.flush().with_context(|| printable(argv))?;
        replies.into_iter().next().context("no reply")
    }

    /// Adds a request to the pipeline.
    pub(crate) fn push(&mut self, argv: &[impl AsRef<[u8]>]) {
        encode(argv, &mut self.out);
        self.waiting += 1;
    }

    /// Sends the pipeline and returns its replies.
    ///
    /// # Errors
    /// The first error reply, after all have been read.
    pub(crate) fn flush(&mut self) -> Result<Vec<Value>> {
        let replies = self.flush_all()?;
        match replies.iter().find_map(|reply| if let Value::Error(text) = reply { Some(text) } else { None })
        {
            Some(text) => bail!("{text}"),
            None => Ok(replies),
        }
    }

    /// Sends the pipeline and returns its replies, error replies among them.
    pub(crate) fn flush_all(&mut self) -> Result<Vec<Value>> {
        self.input.get_mut().write_all(&self.out)?;
        self.out.clear();
        let mut replies = Vec::with_capacity(self.waiting);
        for _ in 0..std::mem::take(&mut self.waiting) {
            replies.push(read(&mut self.input)?);
        }
        Ok(replies)
    }

    /// One field of INFO.
    pub(crate) fn info(&mut self, field: &str) -> Result<String> {
        let text = self.call(&["INFO"])?.text();
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(String::from(found.with_context(|| format!("INFO has no {field}"))?))
    }

    /// Waits until a field of INFO has a value.
    pub(crate) fn wait_for(&mut self, field: &str, value: &str, patience: Duration) -> Result<()> {
        let deadline = std::time::Instant::now() + patience;
        while self.info(field)? != value {
            if std::time::Instant::now() > deadline {
                bail!("{field} is not {value} after {patience:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Has the append-only file rewritten, and waits for its end.
    pub(crate) fn rewrite_aof(&mut self) -> Result<()> {
        self.call(&["BGREWRITEAOF"])?;
        self.wait_for("aof_rewrite_scheduled", "0", PATIENCE)?;
        self.wait_for("aof_rewrite_in_progress", "0", 10 * PATIENCE)?;
        let status = self.info("aof_last_bgrewrite_status")?;
        if status != "ok" {
            bail!("aof_last_bgrewrite_status is {status}");
        }
        Ok(())
    }
}

/// Reads one reply.
pub(crate) fn read(input: &mut impl BufRead) -> Result<Value> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let Some((kind, rest)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else {
        bail!("the connection was closed, or a reply has no line end");
    };
    let text = String::from_utf8_lossy(rest);
    Ok(match kind {
        b'_' => Value::Null,
        b'-' => Value::Error(text.into_owned()),
        b':' => Value::Integer(text.parse()?),
        b'#' => Value::Integer(i64::from(text == "t")),
        b'+' | b',' | b'(' => Value::Bytes(rest.to_vec()),
        b'$' | b'=' | b'!' => match text.parse::<i64>()? {
            -1 => Value::Null,
            len => bulk(input, len.try_into()?)?,
        },
        b'*' | b'~' | b'>' => match text.parse::<i64>()? {
            -1 => Value::Null,
            len => array(input, len.try_into()?)?,
        },
        b'%' => array(input, 2 * text.parse::<usize>()?)?,
        other => bail!("a reply of unknown type {:?}", char::from(*other)),
    })
}

fn bulk(input: &mut impl BufRead, len: usize) -> Result<Value> {
    let mut bytes = vec![0; len + 2];
    input.read_exact(&mut bytes)?;
    bytes.truncate(len);
    Ok(Value::Bytes(bytes))
}

fn array(input: &mut impl BufRead, len: usize) -> Result<Value> {
    (0..len).map(|_| read(input)).collect::<Result<_>>().map(Value::Array)
}

/// Appends a request.
pub(crate) fn encode(argv: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", argv.len()).as_bytes());
    for arg in argv {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// A request's first words, for an error message.
fn printable(argv: &[impl AsRef<[u8]>]) -> String {
    let words =
        argv.iter().take(3).map(|arg| String::from_utf8_lossy(arg.as_ref()).chars().take(40).collect());
    words.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Value, encode, read};

    fn reply(bytes: &[u8]) -> Value {
        read(&mut &bytes[..]).unwrap()
    }

    #[test]
    fn a_reply_reads_the_same_in_both_protocols() {
        let pair = Value::Array(vec![Value::Bytes(b"f".to_vec()), Value::Integer(1)]);
        assert_eq!(reply(b"*2\r\n$1\r\nf\r\n:1\r\n"), pair);
        assert_eq!(reply(b"%1\r\n+f\r\n#t\r\n"), pair);
        assert_eq!([reply(b"$-1\r\n"), reply(b"*-1\r\n"), reply(b"_\r\n")], [const { Value::Null }; 3]);
        assert_eq!(reply(b",1.5\r\n"), reply(b"$3\r\n1.5\r\n"));
        assert_eq!(reply(b"-ERR no\r\n"), Value::Error(String::from("ERR no")));
        assert_eq!(reply(b"$4\r\n\r\n\x00\xff\r\n"), Value::Bytes(b"\r\n\x00\xff".to_vec()));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bytes in [&b""[..], b"+OK", b"?1\r\n", b":x\r\n", b"$-2\r\n", b"$5\r\nab\r\n", b"*2\r\n:1\r\n"] {
            assert!(read(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_request_is_a_multibulk() {
        let mut out = Vec::new();
        encode(&["GET", "\r\n"], &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n");
    }
}
