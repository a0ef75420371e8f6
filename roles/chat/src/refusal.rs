//! Why a request was not carried out.
//!
//! **Job.** One name and one sentence for each reason. **Made by** `core`, `hub`. **Told by** `protocol`.
//!
//! Not here: what ends a connection (`session`).

use std::fmt;

use madang_store::error::StoreError;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No request of the protocol.
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// It said something before it said who it is.
    HelloFirst,
    /// It said who it is already.
    HelloTwice,
    /// Not a name that can be had.
    Name {
        /// What a name must be.
        must: &'static str,
    },
    /// Somebody here has this name.
    NameTaken {
        /// The name.
        name: String,
    },
    /// Not the name of a room.
    Room {
        /// What it must be.
        must: &'static str,
    },
    /// It is not in that room.
    NotThere {
        /// The room.
        room: String,
    },
    /// A limit of places.
    Full {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A message of too many bytes.
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing to say, or a character that may not be said.
    Text {
        /// What a text must be.
        must: &'static str,
    },
    /// More messages than one may write.
    TooFast {
        /// When the next one is taken, in milliseconds.
        again_ms: u64,
    },
    /// The store did not do it.
    Store(StoreError),
}

impl Refusal {
    /// A stable kebab-case name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::HelloFirst => "hello-first",
            Self::HelloTwice => "hello-twice",
            Self::Name { .. } => "bad-name",
            Self::NameTaken { .. } => "name-taken",
            Self::Room { .. } => "bad-room",
            Self::NotThere { .. } => "not-there",
            Self::Full { .. } => "full",
            Self::TooLong { .. } => "too-long",
            Self::Text { .. } => "bad-text",
            Self::TooFast { .. } => "too-fast",
            Self::Store(error) => error.name(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { why } => write!(f, "not a request: {why}"),
            Self::HelloFirst => f.write_str("say hello with a name first"),
            Self::HelloTwice => f.write_str("hello was said already"),
            Self::Name { must } => write!(f, "a name must be {must}"),
            Self::NameTaken { name } => write!(f, "somebody here is called {name} already"),
            Self::Room { must } => write!(f, "the name of a room must be {must}"),
            Self::NotThere { room } => write!(f, "you are not in {room}: join it first"),
            Self::Full { what, max } => write!(f, "no more {what}: at most {max}"),
            Self::TooLong { bytes, max } => write!(f, "a message of {bytes} bytes: at most {max}"),
            Self::Text { must } => write!(f, "a message must be {must}"),
            Self::TooFast { again_ms } => write!(f, "too fast: wait {again_ms} ms"),
            Self::Store(error) => write!(f, "the message was not kept: {error}"),
        }
    }
}
impl std::error::Error for Refusal {}
