//! Why something was not done: one name and one sentence for each reason, the same on every face.
//!
//! **Job.** Name reasons. **Made by** `hub`, `rooms`, the faces. **Told by** the faces, each in its own words' form.
//!
//! Not here: what ends a connection ([`crate::floor::Cut`]).

use std::fmt;
use std::sync::Arc;

use madang_store::error::StoreError;
use schemars::JsonSchema;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(tag = "refusal", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// No request of the protocol.
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// It asked for something before it said who it is.
    HelloFirst,
    /// It said who it is already.
    HelloTwice,
    /// Not a name that can be had.
    BadName {
        /// What a name must be.
        must: &'static str,
    },
    /// Somebody has this name.
    NameTaken {
        /// The name.
        name: Arc<str>,
    },
    /// The key is not the one this guest was given.
    BadKey,
    /// The token was not given out here, or is not whole.
    BadToken,
    /// The token's time is over.
    TokenExpired,
    /// Guests are not let in here, or may not do this.
    UsersOnly,
    /// Not what a conversation can be called.
    BadRoom {
        /// What it must be.
        must: &'static str,
    },
    /// There is none of this name, and it is not made by joining it.
    NoSuchRoom {
        /// The name.
        room: Arc<str>,
    },
    /// There is nobody of this name.
    NoSuchUser {
        /// The name.
        name: Arc<str>,
    },
    /// There is one of this name already.
    RoomTaken {
        /// The name.
        room: Arc<str>,
    },
    /// It is not in that room.
    NotThere {
        /// The room.
        room: Arc<str>,
    },
    /// Only members see and hear this room.
    Private,
    /// Only who was invited may come in.
    InviteOnly,
    /// It was banned from this room.
    Banned {
        /// Until when, in milliseconds since 1970; none: for good.
        until_ms: Option<u64>,
    },
    /// It was muted in this room.
    Muted {
        /// Until when, in milliseconds since 1970; none: for good.
        until_ms: Option<u64>,
    },
    /// The room lets everybody speak only every so often.
    SlowMode {
        /// When the next message is taken, in milliseconds from now.
        again_ms: u64,
    },
    /// Its role in the room is not enough.
    NotAllowed {
        /// Who may.
        who_may: &'static str,
    },
    /// Too many bytes.
    TooLong {
        /// What.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing to say, or a character that may not be said.
    BadText {
        /// What a text must be.
        must: &'static str,
    },
    /// An attachment that is none.
    BadFile {
        /// What it must be.
        must: &'static str,
    },
    /// More than one may say.
    TooFast {
        /// When the next one is taken, in milliseconds from now.
        again_ms: u64,
    },
    /// A limit of places.
    Full {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// There is none at this offset, or it was deleted.
    NoSuchMessage {
        /// The offset.
        offset: u64,
    },
    /// Somebody else wrote it.
    NotYours,
    /// The server has more to do than it can.
    Busy {
        /// When to try again, in milliseconds from now.
        again_ms: u64,
    },
    /// The server is ending.
    ShuttingDown,
    /// The store did not do it.
    #[schemars(skip)]
    Store(StoreError),
}

impl Refusal {
    /// A stable kebab-case name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::HelloFirst => "hello-first",
            Self::HelloTwice => "hello-twice",
            Self::BadName { .. } => "bad-name",
            Self::NameTaken { .. } => "name-taken",
            Self::BadKey => "bad-key",
            Self::BadToken => "bad-token",
            Self::TokenExpired => "token-expired",
            Self::UsersOnly => "users-only",
            Self::BadRoom { .. } => "bad-room",
            Self::NoSuchRoom { .. } => "no-such-room",
            Self::NoSuchUser { .. } => "no-such-user",
            Self::RoomTaken { .. } => "room-taken",
            Self::NotThere { .. } => "not-there",
            Self::Private => "private",
            Self::InviteOnly => "invite-only",
            Self::Banned { .. } => "banned",
            Self::Muted { .. } => "muted",
            Self::SlowMode { .. } => "slow-mode",
            Self::NotAllowed { .. } => "not-allowed",
            Self::TooLong { .. } => "too-long",
            Self::BadText { .. } => "bad-text",
            Self::BadFile { .. } => "bad-file",
            Self::TooFast { .. } => "too-fast",
            Self::Full { .. } => "full",
            Self::NoSuchMessage { .. } => "no-such-message",
            Self::NotYours => "not-yours",
            Self::Busy { .. } => "busy",
            Self::ShuttingDown => "shutting-down",
            Self::Store(error) => store_name(error),
        }
    }

    /// When the same request may succeed, in milliseconds from now; none: time alone does not help.
    pub fn again_ms(&self) -> Option<u64> {
        match self {
            Self::TooFast { again_ms } | Self::SlowMode { again_ms } | Self::Busy { again_ms } => {
                Some(*again_ms)
            }
            Self::ShuttingDown | Self::Store(_) => Some(1000),
            _ => None,
        }
    }

    /// The status of an HTTP answer that says so (RFC 9110 15).
    pub fn status(&self) -> u16 {
        match self {
            Self::HelloFirst | Self::BadKey | Self::BadToken | Self::TokenExpired | Self::UsersOnly => 401,
            Self::Private
            | Self::InviteOnly
            | Self::Banned { .. }
            | Self::Muted { .. }
            | Self::NotAllowed { .. }
            | Self::NotYours
            | Self::NotThere { .. } => 403,
            Self::NoSuchRoom { .. } | Self::NoSuchUser { .. } | Self::NoSuchMessage { .. } => 404,
            Self::NameTaken { .. } | Self::RoomTaken { .. } | Self::HelloTwice => 409,
            Self::TooLong { .. } => 413,
            Self::SlowMode { .. } | Self::TooFast { .. } => 429,
            Self::Full { .. } | Self::Busy { .. } | Self::ShuttingDown | Self::Store(_) => 503,
            Self::Malformed { .. }
            | Self::BadName { .. }
            | Self::BadRoom { .. }
            | Self::BadText { .. }
            | Self::BadFile { .. } => 400,
        }
    }
}

/// The store's reasons among the protocol's.
fn store_name(error: &StoreError) -> &'static str {
    match error {
        StoreError::Overloaded { .. } | StoreError::TooSlow { .. } => "busy",
        StoreError::Full { .. } => "store-full",
        StoreError::Unreachable { .. } => "store-unreachable",
        // It may be written or not: the same nonce again tells.
        StoreError::Unknown { .. } => "store-unknown",
        StoreError::Closed => "shutting-down",
        _ => "store-failed",
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
            Self::HelloFirst => f.write_str("say hello first"),
            Self::HelloTwice => f.write_str("hello was said already"),
            Self::BadName { must } => write!(f, "a name must be {must}"),
            Self::NameTaken { name } => write!(f, "somebody is called {name} already"),
            Self::BadKey => f.write_str("this key does not belong to this name"),
            Self::BadToken => f.write_str("this token is not valid here"),
            Self::TokenExpired => f.write_str("the token's time is over: log in again or refresh it"),
            Self::UsersOnly => f.write_str("this needs a login: guests may not"),
            Self::BadRoom { must } => write!(f, "a conversation is {must}"),
            Self::NoSuchRoom { room } => write!(f, "there is no room {room}"),
            Self::NoSuchUser { name } => write!(f, "there is nobody called {name}"),
            Self::RoomTaken { room } => write!(f, "there is a room {room} already"),
            Self::NotThere { room } => write!(f, "you are not in {room}: join it first"),
            Self::Private => f.write_str("this room is private: only its members are let in"),
            Self::InviteOnly => f.write_str("this room is by invitation only"),
            Self::Banned { until_ms } => write!(f, "you are banned from this room{}", until(*until_ms)),
            Self::Muted { until_ms } => write!(f, "you are muted in this room{}", until(*until_ms)),
            Self::SlowMode { again_ms } => write!(f, "this room is in slow mode: wait {again_ms} ms"),
            Self::NotAllowed { who_may } => write!(f, "only {who_may} may do this"),
            Self::TooLong { what, bytes, max } => write!(f, "{what} of {bytes} bytes: at most {max}"),
            Self::BadText { must } => write!(f, "a text must be {must}"),
            Self::BadFile { must } => write!(f, "an attachment must be {must}"),
            Self::TooFast { again_ms } => write!(f, "too fast: wait {again_ms} ms"),
            Self::Full { what, max } => write!(f, "no more {what}: at most {max}"),
            Self::NoSuchMessage { offset } => write!(f, "there is no message {offset}"),
            Self::NotYours => f.write_str("somebody else wrote this message"),
            Self::Busy { again_ms } => write!(f, "the server is busy: try again in {again_ms} ms"),
            Self::ShuttingDown => f.write_str("the server is ending: come back in a moment"),
            Self::Store(error) => write!(f, "it was not kept: {error}"),
        }
    }
}
impl std::error::Error for Refusal {}

fn until(until_ms: Option<u64>) -> &'static str {
    if until_ms.is_some() { " for a while" } else { "" }
}
