//! A client of IRC, line by line, that knows nothing of the program's own code.
//!
//! **Job.** Say lines, hear lines, in the order in which they come. **Called by** the tests of IRC.
//!
//! Invariants
//! 1. What differs from run to run (numbers of guests, times, names of messages) is shown as `ID`, `TIME`, `MSGID`.
//!
//! Not here: other faces of the chat (`talk`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::client::Wire;

/// One connection.
pub struct Irc {
    wire: Box<dyn Wire>,
    unread: Vec<u8>,
    marks: u32,
}

impl Irc {
    /// Connects, and says nothing.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    /// Speaks over any wire.
    pub fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), unread: Vec::new(), marks: 0 }
    }

    /// A guest of this name with these capabilities, welcomed.
    #[track_caller]
    pub fn guest(address: SocketAddr, nick: &str, caps: &str) -> Self {
        let mut irc = Self::open(address);
        irc.enter(nick, caps);
        irc
    }

    /// Registers.
    #[track_caller]
    pub fn enter(&mut self, nick: &str, caps: &str) {
        if !caps.is_empty() {
            self.say(&format!("CAP REQ :{caps}"));
        }
        self.say(&format!("NICK {nick}"));
        self.say(&format!("USER {nick} 0 * :{nick}"));
        if !caps.is_empty() {
            self.say("CAP END");
        }
        // The message of the day, or that there is none.
        self.until_any(&[" 376 ", " 422 "]);
    }

    /// Says a line.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        self.bytes(format!("{line}\r\n").as_bytes());
    }

    /// Sends bytes.
    #[track_caller]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).unwrap();
    }

    /// The next line as it came; `None`: the server has closed.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            let mut room = [0; 4096];
            match self.wire.read(&mut room) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no line within {PATIENCE:?}: {error}"),
            }
        }
    }

    /// Lines up to the first that has this in it.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> Vec<String> {
        self.until_any(&[text])
    }

    /// Lines up to the first that has one of these in it.
    #[track_caller]
    pub fn until_any(&mut self, texts: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("closed before {texts:?}, after {lines:#?}"));
            let found = texts.iter().any(|text| line.contains(text));
            lines.push(plain(&line));
            if found {
                return lines;
            }
        }
    }

    /// Says a line and gives what comes before the server has done it.
    #[track_caller]
    pub fn answers(&mut self, line: &str) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        self.say(line);
        self.say(&format!("PING {mark}"));
        let mut lines = self.until(&format!("PONG town.madang :{mark}"));
        lines.pop();
        lines
    }
}

/// Without what differs from run to run.
fn plain(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let word = match word.strip_prefix('@').filter(|_| words.is_empty()) {
            Some(tags) => format!("@{}", tags.split(';').map(plain_tag).collect::<Vec<_>>().join(";")),
            None => word.to_owned(),
        };
        words.push(plain_number(&word));
    }
    words.join(" ")
}

fn plain_tag(tag: &str) -> String {
    match tag.split_once('=') {
        Some(("time", _)) => "time=TIME".to_owned(),
        Some((key @ ("msgid" | "+draft/reply"), _)) => format!("{key}=MSGID"),
        _ => tag.to_owned(),
    }
}

/// `~` and sixteen digits: a guest's number.
fn plain_number(word: &str) -> String {
    match word.split_once('~') {
        Some((before, after))
            if after.len() >= 16 && after.bytes().take(16).all(|byte| byte.is_ascii_hexdigit()) =>
        {
            format!("{before}~ID{}", &after[16..])
        }
        _ => word.to_owned(),
    }
}
