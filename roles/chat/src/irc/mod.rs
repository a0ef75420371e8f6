//! IRC: the same rooms for whoever comes with irssi, weechat or a bot (RFC 1459 and 2812, IRCv3).
//!
//! **Job.** Speak IRC with one connection. [`machine::Machine`] decides, from lines and answers to lines and requests; `door` moves
//! its bytes. **Called by** the listeners `irc://` and `ircs://`, and by websockets that ask for `text.ircv3.net`.
//! **Calls** [`crate::session::Session`].
//!
//! How the two worlds meet (docs/decisions/0027-irc.md has the reasons):
//! - `#lobby` is the room `lobby`; a nick is a person's name; `kim` as a target is the conversation `@kim`.
//! - Owners and moderators are operators (`@`). Nobody's address is shown: the host of everybody is the chat's name.
//! - A `msgid` names a room, an epoch and an offset; server-time is the log's.
//! - One command is done after the other: what a client pastes waits its turn, in its own socket.
//!
//! Where to begin: [`machine`] (commands and answers), [`told`] (what comes from others), `register` (the first lines).
//!
//! Not here: the grammar of lines (`madang_wire::irc`), who may do what (`hub`).

pub mod caps;
mod channel;
mod commands;
mod face;
mod history;
mod labels;
pub mod machine;
mod marks;
mod message;
mod mode;
mod monitor;
mod numeric;
mod own;
mod pen;
mod person;
mod register;
pub mod sasl;
mod seek;
mod server;
mod stamp;
mod text;
mod told;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::face::{BINARY, Irc, IrcDoor, TEXT, open_websocket};

/// What all connections of one chat say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The chat's name: the host of everybody, and what the network is called.
    pub name: Arc<str>,
    /// The server's own name in front of what it says. It has a dot, so that no client takes it for a nick.
    pub server: Arc<str>,
    /// `madang-` and the program's version.
    pub version: Arc<str>,
    /// Told after the welcome, line by line.
    pub motd: Vec<String>,
    /// Of one message.
    pub message_bytes: usize,
    /// Rooms that one person may be in at once.
    pub rooms: usize,
    /// How to log in: names of SASL mechanisms, the best first; none: only guests are here.
    pub mechanisms: &'static [&'static str],
}

impl Network {
    /// What is said of a chat of this name.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            server: format!("{name}.madang").into(),
            version: format!("madang-{version}").into(),
            motd: Vec::new(),
            message_bytes: 8192,
            rooms: 50,
            mechanisms: &[],
        }
    }
}
