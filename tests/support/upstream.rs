//! A server behind the proxy that does what a test wants, right or wrong.
//!
//! **Job.** Read requests strictly (a second reading of what the proxy wrote), note them, answer as scripted.
//! **Called by** tests of `balance`. **Calls** sockets.
//!
//! Invariants
//! 1. A request that is not framed in one way fails the test: the proxy must never write one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Request line and fields.
    pub head: String,
    /// The content.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    /// A field's only value.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (have, value) = line.split_once(": ")?;
            have.eq_ignore_ascii_case(name).then_some(value)
        });
        let first = values.next();
        assert!(values.next().is_none(), "{name} is there twice:\n{}", self.head);
        first
    }
}

/// What the server does after a request.
pub enum Then {
    /// Waits for the next on the same connection.
    Keep,
    /// Closes.
    Close,
    /// Closes with a reset.
    Reset,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    streams: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// One running server.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// Answers a request with 200 and this text.
pub fn ok(stream: &mut TcpStream, text: &str) {
    // In one write: a second small one would wait for the first to be acknowledged.
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    let _ = stream.write_all(answer.as_bytes());
}

impl Upstream {
    /// A server that answers every request by `answer`.
    pub fn start(answer: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// The same at an address that was used before.
    pub fn at(
        address: SocketAddr,
        answer: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::listening(address, move |stream, all| serve(stream, all, &answer))
    }

    /// A server that speaks no HTTP.
    pub fn raw(speak: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::listening("127.0.0.1:0".parse().unwrap(), move |stream, _| speak(stream))
    }

    fn listening(address: SocketAddr, speak: impl Fn(TcpStream, &Shared) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            streams: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let (all, speak) = (Arc::clone(&shared), Arc::new(speak));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if all.stopped.load(Ordering::SeqCst) {
                    return; // the listener closes with this thread
                }
                let Ok(stream) = stream else { continue };
                all.connections.fetch_add(1, Ordering::SeqCst);
                all.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (all, speak) = (Arc::clone(&all), Arc::clone(&speak));
                std::thread::spawn(move || {
                    let peer = stream.peer_addr().ok();
                    speak(stream, &all);
                    // The copy kept for `die` would hold the connection open.
                    all.streams.lock().unwrap().retain(|kept| kept.peer_addr().ok() != peer);
                });
            }
        });
        Self { address, shared }
    }

    /// A server that tells its name.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |_, stream| {
            ok(stream, name);
            Then::Keep
        })
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Connections it accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Dies: nobody listens any more, and what was open is cut.
    pub fn die(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes the listener.
        drop(TcpStream::connect(self.address));
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if !self.shared.stopped.load(Ordering::SeqCst) {
            self.die();
        }
    }
}

fn serve(mut stream: TcpStream, all: &Shared, answer: &dyn Fn(&Seen, &mut TcpStream) -> Then) {
    let mut unread = Vec::new();
    while let Some(seen) = read(&mut stream, &mut unread) {
        all.seen.lock().unwrap().push(seen.clone());
        match answer(&seen, &mut stream) {
            Then::Keep => {}
            Then::Close => break,
            Then::Reset => {
                let socket = socket2::SockRef::from(&stream);
                let _ = socket.set_linger(Some(std::time::Duration::ZERO));
                break;
            }
        }
    }
}

/// The next request; `None` when the other side closed.
fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Seen> {
    let mut more = |unread: &mut Vec<u8>| {
        let mut piece = [0; 64 * 1024];
        match stream.read(&mut piece) {
            Ok(count @ 1..) => unread.extend_from_slice(&piece[..count]),
            _ => return None,
        }
        Some(())
    };
    let end = loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(unread)?;
    };
    let head = String::from_utf8(unread.drain(..end + 4).take(end).collect()).expect("a head in UTF-8");
    let mut seen = Seen { head, body: Vec::new() };
    let length = seen.field("content-length").map(|text| text.parse::<usize>().expect("a length"));
    let chunked = seen.field("transfer-encoding").map(|coding| assert_eq!(coding, "chunked")).is_some();
    assert!(!(chunked && length.is_some()), "framed in two ways:\n{}", seen.head);
    if let Some(length) = length {
        while unread.len() < length {
            more(unread)?;
        }
        seen.body = unread.drain(..length).collect();
    }
    if !chunked {
        return Some(seen);
    }
    loop {
        let line = loop {
            if let Some(at) = unread.windows(2).position(|two| two == b"\r\n") {
                break String::from_utf8(unread.drain(..at + 2).take(at).collect()).expect("a chunk size");
            }
            more(unread)?;
        };
        let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("a chunk size: {line:?}"));
        while unread.len() < size + 2 {
            more(unread)?;
        }
        seen.body.extend(unread.drain(..size));
        assert_eq!(unread.drain(..2).collect::<Vec<_>>(), b"\r\n", "a chunk ends with CRLF");
        if size == 0 {
            return Some(seen);
        }
    }
}

/// The bytes of a head, and none behind it; `None`: the peer has gone. For servers that decide before they read a body.
pub fn head_alone(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut one = [0; 1];
        stream.read_exact(&mut one).ok()?;
        head.push(one[0]);
    }
    Some(head)
}
