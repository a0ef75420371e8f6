//! What chat servers speak, from a client's side: how one takes a seat, says something, and hears what others say.
//!
//! **Job.** Turn a server's bytes into the few things a load generator has to know, and its wishes into bytes.
//! **Called by** `load::crowd`. **Calls** the protocols below, one file each.
//!
//! Invariants
//! 1. No socket, clock or randomness: the same bytes give the same answers.
//! 2. A delivery is counted at the boundary of its frame, never by searching a stream.
//! 3. Nothing is allocated for a delivery.
//!
//! Not here: who says what when (`load::pace`), sockets (`load::crowd`), what a resuming client keeps.

mod floor;
mod frame;
mod irc;
mod json;
mod mqtt;
mod socketio;
pub mod stamp;

/// The protocols a crowd can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// One write(2) for each delivery and nothing else: `benches/chat/floor.c`
    Floor,
    /// Madang's JSON over websocket
    Madang,
    /// socket.io 4 over websocket: `benches/chat/socketio.js`
    SocketIo,
    /// IRC
    Irc,
    /// MQTT 3.1.1, QoS 0
    Mqtt0,
    /// MQTT 3.1.1, QoS 1
    Mqtt1,
}

/// Where somebody sits: this decides names and rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Of all people, from 0.
    pub number: u32,
    /// Of all rooms, from 0.
    pub room: u32,
}

/// How far one connection's talk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Talk {
    /// What the server has to say next, counted by each protocol for itself.
    step: u8,
    /// Requests sent.
    asked: u32,
}

/// What the front of a server's bytes was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// So many bytes are done with; 0: more are needed.
    pub bytes: usize,
    /// What they were.
    pub what: What,
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Nothing that counts.
    Nothing,
    /// This connection sits in its room now.
    Ready,
    /// Something that was said is acknowledged.
    Acked,
    /// Something that was said in the room.
    Delivered(stamp::Stamp),
}

impl Heard {
    const MORE: Self = Self { bytes: 0, what: What::Nothing };

    fn new(bytes: usize, what: What) -> Self {
        Self { bytes, what }
    }
}

/// The server said no, or what no server of this protocol says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its words, cut.
    pub said: String,
}

impl Trouble {
    fn said(bytes: &[u8]) -> Self {
        Self { said: String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned() }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server said: {}", self.said)
    }
}

impl Protocol {
    /// What a new connection says first.
    pub fn begin(self, path: &str, seat: Seat, out: &mut Vec<u8>) {
        match self {
            Self::Floor => {}
            Self::Madang => frame::upgrade(path, Some("madang.chat.v1"), out),
            Self::SocketIo => frame::upgrade("/socket.io/?EIO=4&transport=websocket", None, out),
            Self::Irc => irc::begin(seat, out),
            Self::Mqtt0 | Self::Mqtt1 => mqtt::begin(seat, out),
        }
    }

    /// Whether a connection sits in its room as soon as it is open.
    pub fn sits_at_once(self) -> bool {
        self == Self::Floor
    }

    /// Whether who says something hears it too.
    pub fn echoes(self) -> bool {
        self != Self::Irc
    }

    /// Reads the front of `input`; what has to be answered goes to `out`.
    ///
    /// # Errors
    /// [`Trouble`]: this connection is of no use any more.
    pub fn hear(
        self,
        seat: Seat,
        talk: &mut Talk,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Heard, Trouble> {
        match self {
            Self::Floor => floor::hear(input),
            Self::Madang => json::hear(seat, talk, input, out),
            Self::SocketIo => socketio::hear(seat, talk, input, out),
            Self::Irc => irc::hear(seat, talk, input, out),
            Self::Mqtt0 => mqtt::hear(seat, 0, input, out),
            Self::Mqtt1 => mqtt::hear(seat, 1, input, out),
        }
    }

    /// Says `text` to the seat's room.
    pub fn say(self, seat: Seat, talk: &mut Talk, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Floor => floor::say(text, out),
            Self::Madang => json::say(seat, talk, text, out),
            Self::SocketIo => socketio::say(text, out),
            Self::Irc => irc::say(seat, text, out),
            Self::Mqtt0 => mqtt::say(seat, talk, 0, text, out),
            Self::Mqtt1 => mqtt::say(seat, talk, 1, text, out),
        }
    }
}

/// Adds formatted text to bytes.
macro_rules! put {
    ($out:expr, $($format:tt)*) => {{
        use std::io::Write as _;
        let _ = write!($out, $($format)*); // a vector takes everything
    }};
}
use put;
