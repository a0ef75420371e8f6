//! A client that sends exactly the bytes it is given and reads answers as RFC 9112 frames them.
//!
//! **Job.** Raw requests in, [`Answer`]s out. **Called by** tests. **Calls** sockets, rustls by way of `tls`.
//!
//! Invariants
//! 1. What is left in the buffer after an answer belongs to the next: pipelining needs no second client.
//! 2. A frame that is not as declared fails the test here, with the bytes.
//!
//! Not here: what an answer should be.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Both directions of a connection.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// One connection.
pub struct Client {
    wire: Box<dyn Wire>,
    unread: Vec<u8>,
}

/// One answer, interim ones included.
#[derive(Debug)]
pub struct Answer {
    /// 100..=599.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The content, chunked framing removed.
    pub body: Vec<u8>,
}

impl Answer {
    /// A field's value; joined by `, ` when there are several.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        if values.is_empty() { None } else { Some(values.join(", ")) }
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Connects without TLS.
    #[track_caller]
    pub fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    /// Speaks over any wire.
    pub fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), unread: Vec::new() }
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write_all(bytes.as_ref()).unwrap();
        self.wire.flush().unwrap();
    }

    /// A GET with `Host: localhost`, and its answer.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "")
    }

    /// A request without content: `fields` are whole lines, each ending in CRLF.
    #[track_caller]
    pub fn ask(&mut self, method: &str, target: &str, fields: &str) -> Answer {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
        self.answer(method)
    }

    /// Reads one answer to a request of this method.
    #[track_caller]
    pub fn answer(&mut self, method: &str) -> Answer {
        let end = self.find(b"\r\n\r\n") + 4;
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("a head in UTF-8");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.field("content-length").map(|text| text.parse::<usize>().expect("a length"));
        let chunked = answer.field("transfer-encoding").is_some_and(|coding| coding == "chunked");
        assert!(!(chunked && length.is_some()), "both framings in {answer:?}");
        answer.body = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else if chunked {
            self.chunks()
        } else if let Some(length) = length {
            self.exactly(length)
        } else {
            self.rest()
        };
        answer
    }

    #[track_caller]
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let at = self.find(b"\r\n");
            let line: Vec<u8> = self.unread.drain(..at + 2).collect();
            let text = std::str::from_utf8(&line[..at]).unwrap();
            let size = usize::from_str_radix(text.split(';').next().unwrap(), 16);
            let size = size.unwrap_or_else(|_| panic!("a chunk size: {text:?}"));
            if size == 0 {
                // Trailers end with an empty line.
                loop {
                    let at = self.find(b"\r\n");
                    self.unread.drain(..at + 2);
                    if at == 0 {
                        return body;
                    }
                }
            }
            let mut chunk = self.exactly(size + 2);
            assert_eq!(&chunk[size..], b"\r\n", "a chunk ends with CRLF");
            chunk.truncate(size);
            body.append(&mut chunk);
        }
    }

    /// Exactly this many bytes.
    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let had = self.unread.len();
            assert!(self.more(), "closed after {had} of {count} bytes");
        }
        self.unread.drain(..count).collect()
    }

    /// Everything until the other side closes.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.unread)
    }

    /// Asserts that nothing more comes and the connection ends.
    #[track_caller]
    pub fn closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more than expected: {:?}", String::from_utf8_lossy(&rest));
    }

    #[track_caller]
    fn find(&mut self, wanted: &[u8]) -> usize {
        let mut from = 0;
        loop {
            let found = self.unread[from..].windows(wanted.len()).position(|window| window == wanted);
            if let Some(at) = found {
                return from + at;
            }
            from = self.unread.len().saturating_sub(wanted.len());
            assert!(self.more(), "closed before {wanted:?}; had {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// Whether more came; `false` at the end.
    #[track_caller]
    fn more(&mut self) -> bool {
        let mut piece = vec![0; 64 * 1024];
        match self.wire.read(&mut piece) {
            Ok(count) => {
                self.unread.extend_from_slice(&piece[..count]);
                count > 0
            }
            // The server may end a connection whose bytes it did not want to read.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                false
            }
            Err(error) => panic!("reading: {error}; had {:?}", String::from_utf8_lossy(&self.unread)),
        }
    }
}
