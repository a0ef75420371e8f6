//! A client of the chat's JSON protocol, frame by frame, that knows nothing of the program's own code.
//!
//! **Job.** Upgrade, send requests, hear answers and events in the order in which they come. **Called by** the tests of chats.
//!
//! Not here: other faces of the chat.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::PATIENCE;

/// One connection.
pub struct Talk {
    stream: TcpStream,
    id: u64,
    /// Events that came while an answer was awaited.
    pub heard: VecDeque<Value>,
}

/// What the server ended it with: its close code; `None`: without a word.
pub type Code = Option<u16>;

impl Talk {
    /// Upgrades at this path, with more fields of the head where there are any.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { stream, id: 0, heard: VecDeque::new() }
    }

    /// A guest of this name at `/chat/ws`.
    #[track_caller]
    pub fn guest(address: SocketAddr, name: &str) -> Self {
        let mut talk = Self::open(address, "/chat/ws", "");
        talk.ask(json!({ "do": "hello", "name": name }));
        talk
    }

    /// A frame with a mask.
    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        let mask = [7, 1, 3, 9];
        let mut out = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ 0..126), _) => out.push(0x80 | short),
            (_, Ok(middle)) => {
                out.push(0x80 | 126);
                out.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        // A server that has closed is noticed by what is read.
        let _ = self.stream.write_all(&out);
    }

    /// Sends bytes that are no frame of ours.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // As above.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request without waiting; its number.
    pub fn say(&mut self, mut request: Value) -> u64 {
        self.id += 1;
        request["id"] = self.id.into();
        self.frame(0x81, request.to_string().as_bytes());
        self.id
    }

    /// Sends a request and waits for what is good: its `ok`.
    #[track_caller]
    pub fn ask(&mut self, request: Value) -> Value {
        let answer = self.answered(request.clone());
        assert!(answer["ok"].is_object(), "{request}: {answer}");
        answer["ok"].clone()
    }

    /// Sends a request and waits for its answer, good or not; events go to `heard`.
    #[track_caller]
    pub fn answered(&mut self, request: Value) -> Value {
        let id = self.say(request);
        loop {
            match self.next() {
                Ok(told) if told["id"] == id => return told,
                Ok(event) => self.heard.push_back(event),
                Err(code) => panic!("closed with {code:?} instead of an answer"),
            }
        }
    }

    /// The next event of this name; others before it are left out.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            let event = match self.heard.pop_front() {
                Some(event) => event,
                None => self.next().unwrap_or_else(|code| panic!("closed with {code:?} instead of {name}")),
            };
            if event["on"] == name {
                return event;
            }
        }
    }

    /// The next thing the server says in JSON; pings are answered. An error is the end, with its code.
    #[track_caller]
    pub fn next(&mut self) -> Result<Value, Code> {
        loop {
            let Some((first, payload)) = self.raw() else { return Err(None) };
            match first {
                0x81 => return Ok(serde_json::from_slice(&payload).unwrap()),
                0x89 => self.frame(0x8a, &payload),
                0x88 => {
                    self.frame(0x88, &payload);
                    return Err(Some(u16::from_be_bytes([payload[0], payload[1]])));
                }
                _ => panic!("a frame {first:#x}"),
            }
        }
    }

    /// The code with which the server ends it, whatever it says before.
    #[track_caller]
    pub fn ended(&mut self) -> Code {
        loop {
            if let Err(code) = self.next() {
                return code;
            }
        }
    }

    /// The same of a client that answers no ping.
    #[track_caller]
    pub fn ended_unanswered(&mut self) -> Code {
        loop {
            match self.raw() {
                None => return None,
                Some((0x88, payload)) => return Some(u16::from_be_bytes([payload[0], payload[1]])),
                Some(_) => {}
            }
        }
    }

    /// The next frame; `None`: the end.
    #[track_caller]
    pub fn raw(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing within {PATIENCE:?}")
            }
            Err(_) => return None,
        }
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).ok()?;
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).ok()?;
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[0], payload))
    }
}
