//! Logging in (`AUTHENTICATE`, `PASS`).
//!
//! **Job.** Name the steps of a login, put the pieces of AUTHENTICATE together, read PLAIN (RFC 4616).
//! **Called by** `register`; whoever knows users implements [`Accounts`].
//!
//! Invariants
//! 1. What a client sends in one login is bounded.
//!
//! Not here: whether a password is right (`engine/identity`).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::post::Claim;

/// Characters of one AUTHENTICATE line (IRCv3 sasl-3.1): a line of exactly so many is followed by another.
const CHUNK_CHARS: usize = 400;
/// Characters of one message in all. SCRAM needs some hundred, tokens more.
const MESSAGE_CHARS_MAX: usize = 16 * CHUNK_CHARS;

/// A step that the client takes.
#[derive(Clone, PartialEq, Eq)]
pub enum Attempt {
    /// By this mechanism, whose name is one of [`Accounts::mechanisms`].
    Begin(&'static str),
    /// A message of the mechanism.
    Message(Vec<u8>),
    /// `PASS`: `name:password`, a token, or the key of a guest.
    Pass(String),
    /// It gave up.
    Abort,
}

// What a client sends here is its password.
impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Begin(mechanism) => mechanism,
            Self::Message(_) => "Message",
            Self::Pass(_) => "Pass",
            Self::Abort => "Abort",
        })
    }
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The mechanism's next message to the client; empty at its beginning, for most.
    Challenge(Vec<u8>),
    /// It is this user.
    Done(Claim),
    /// Not with this. The words are for the client and say nothing about which part was wrong.
    Refused(String),
    /// What was given with `PASS` is no login: perhaps a guest's key.
    NoLogin,
}

/// A step under way.
pub type Stepping = Pin<Box<dyn Future<Output = Step>>>;

/// Whoever knows users.
pub trait Accounts {
    /// Names of SASL mechanisms, the best first; none: there are only guests.
    fn mechanisms(&self) -> &'static [&'static str];
    /// A login from this address.
    fn begin(&self, from: SocketAddr) -> Box<dyn Login>;
}

/// One login.
pub trait Login {
    /// Takes the client's step.
    fn step(&mut self, attempt: Attempt) -> Stepping;
}

/// What a piece of AUTHENTICATE came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// More follows.
    More,
    /// A whole message.
    Message(Vec<u8>),
    /// It is longer than it may be.
    TooLong,
    /// It is not base64.
    Malformed,
}

/// Puts the pieces of one message together.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    text: String,
}

impl Pieces {
    pub(super) fn add(&mut self, piece: &str) -> Gathered {
        let content = if piece == "+" { "" } else { piece };
        if content.len() > CHUNK_CHARS || self.text.len() + content.len() > MESSAGE_CHARS_MAX {
            return Gathered::TooLong;
        }
        self.text.push_str(content);
        if piece.len() == CHUNK_CHARS {
            return Gathered::More;
        }
        match STANDARD.decode(std::mem::take(&mut self.text)) {
            Ok(message) => Gathered::Message(message),
            Err(_) => Gathered::Malformed,
        }
    }
}

/// A message of the server as lines of AUTHENTICATE: a full one is followed by another, if only by `+`.
pub(super) fn chunks(message: &[u8]) -> Vec<String> {
    let text = STANDARD.encode(message);
    let mut lines: Vec<String> = text
        .as_bytes()
        .chunks(CHUNK_CHARS)
        .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
        .collect();
    if text.len().is_multiple_of(CHUNK_CHARS) {
        lines.push("+".to_owned());
    }
    lines
}

/// Name and password of a PLAIN message (RFC 4616). Nobody acts for somebody else: the first part is empty or the name.
pub fn read_plain(message: &[u8]) -> Option<(&str, &str)> {
    let mut parts = std::str::from_utf8(message).ok()?.split('\0');
    let (acts_for, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = parts.next().is_none() && !name.is_empty() && !password.is_empty();
    (fits && (acts_for.is_empty() || acts_for == name)).then_some((name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: messages of any length survive the pieces of AUTHENTICATE; those beyond the limit do not.
    #[test]
    fn messages_travel_in_pieces() {
        for length in [0, 1, 299, 300, 301, 600, 1500, 4799] {
            let message = vec![7; length];
            let mut pieces = Pieces::default();
            let lines = chunks(&message);
            let (last, full) = lines.split_last().unwrap();
            assert!(full.iter().all(|line| line.len() == CHUNK_CHARS && pieces.add(line) == Gathered::More));
            assert_eq!(pieces.add(last), Gathered::Message(message), "{length} bytes");
        }
        let mut pieces = Pieces::default();
        let full = "A".repeat(CHUNK_CHARS);
        assert!((0..16).all(|_| pieces.add(&full) == Gathered::More));
        assert_eq!(pieces.add("AAAA"), Gathered::TooLong);
        assert_eq!(Pieces::default().add(&"A".repeat(401)), Gathered::TooLong);
        assert_eq!(Pieces::default().add("!"), Gathered::Malformed);
    }

    #[test]
    fn plain_has_three_parts() {
        check(b"\0mina\0secret", Some(("mina", "secret")));
        check(b"mina\0mina\0secret", Some(("mina", "secret")));
        for wrong in [
            &b"kim\0mina\0secret"[..],
            b"\0mina\0",
            b"\0\0secret",
            b"mina\0secret",
            b"\0a\0b\0c",
            b"\0\xff\0b",
            b"",
        ] {
            check(wrong, None);
        }

        #[track_caller]
        fn check(message: &[u8], want: Option<(&str, &str)>) {
            assert_eq!(read_plain(message), want);
        }
    }
}
