//! HTTP/1.1 of a client, as little as the drill needs: a request, its answer's head, its body whole or piece by piece.
//!
//! **Job.** Write requests, read answers (RFC 9112). **Called by** `sse`. **Calls** nothing of ours: it is a witness.
//!
//! Invariants
//! 1. An answer that ends early is an error, never a short body.
//!
//! Not here: what is asked and answered (`sse`).

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A body larger than that is none of this drill's.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// One connection.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    framing: Framing,
}

/// How the body that comes is framed.
enum Framing {
    Chunked,
    Length(usize),
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), framing: Framing::Length(0) })
    }

    /// The other side is told of the end by a reset.
    pub(super) fn end_by_reset(&self) {
        let _ = self.stream.get_ref().set_zero_linger(); // else it is cut with a FIN
    }

    /// Sends a request and reads the head of its answer; gives the status.
    pub(super) async fn ask(&mut self, method: &str, path: &str, fields: &str, body: &str) -> Result<u16> {
        let length =
            if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let first = self.line().await?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| told("no status line", &first))?;
        self.framing = Framing::Length(0);
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(status);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| told("no field", &line))?;
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.trim().parse().map_err(|_| told("no length", value))?;
                self.framing = Framing::Length(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                self.framing = Framing::Chunked;
            }
        }
    }

    /// The whole body.
    pub(super) async fn body(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_MAX {
                return Err(told("a body without an end", ""));
            }
        }
        Ok(body)
    }

    /// The next piece of the body; `None`: that was all.
    pub(super) async fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        let length = match self.framing {
            Framing::Length(0) => return Ok(None),
            Framing::Length(length) => length,
            Framing::Chunked => {
                let line = self.line().await?;
                let digits = line.split(';').next().unwrap_or_default();
                usize::from_str_radix(digits, 16).map_err(|_| told("no size of a chunk", &line))?
            }
        };
        if length > BODY_MAX {
            return Err(told("too large", &length.to_string()));
        }
        let mut piece = vec![0; length];
        self.stream.read_exact(&mut piece).await?;
        if let Framing::Length(left) = &mut self.framing {
            *left = 0;
            return Ok(Some(piece));
        }
        // Behind a chunk, and behind the last one where trailers would be.
        let end = self.line().await?;
        if !end.is_empty() {
            return Err(told("something behind a chunk", &end));
        }
        Ok((length > 0).then_some(piece))
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn told(what: &str, text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what}: {text:?}"))
}
