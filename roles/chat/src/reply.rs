//! What answers a request that was done.
//!
//! **Job.** Name the answers and their JSON. **Made by** `hub`. **Told by** the faces.
//!
//! Not here: why something was not done ([`crate::refusal`]).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Event, Person, PersonId, Rank};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To hello.
    Welcome(Box<Welcome>),
    /// To join and create.
    Joined(Box<Joined>),
    /// To what is written: send, edit, delete, react, announce, and what changes a room.
    Kept(Kept),
    /// To history.
    Past(Box<Past>),
    /// To search.
    Found(Found),
    /// To rooms.
    Rooms(Box<RoomList>),
    /// To who.
    People(People),
    /// To whois.
    Known(Box<Known>),
    /// To rename: who one is now.
    You(You),
    /// To read: how far it is read now.
    Marked(Marked),
    /// To watch.
    Watched(Watched),
    /// To whowas.
    Gone(Gone),
    /// To bans.
    Bans(Box<BanList>),
    /// There is no more to say.
    Done(Done),
}

/// `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Done {}

/// Whoever said hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct You {
    /// Who.
    pub id: PersonId,
    /// As shown.
    pub name: Arc<str>,
    /// Without a login.
    pub guest: bool,
    /// May do everything everywhere in this chat.
    pub admin: bool,
}

/// What is bounded here, for clients that want to know before they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limits {
    /// Of one message.
    pub message_bytes: usize,
    /// One person may be in so many rooms at once.
    pub rooms: usize,
    /// Messages in one go.
    pub burst: u32,
    /// Then so many a second.
    pub per_second: u32,
    /// Of one uploaded file; 0: none may be uploaded.
    pub file_bytes: u64,
}

/// To hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Welcome {
    /// The chat's name.
    pub chat: Arc<str>,
    /// Who one is here.
    pub you: You,
    /// A guest's: with it one comes back as the same guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is bounded.
    pub limits: Limits,
    /// The server's time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// To join: where one is now, and where what follows begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Joined {
    /// The conversation, as one calls it.
    pub room: Arc<str>,
    /// Which life of it.
    pub epoch: u64,
    /// The oldest offset that is kept.
    pub first: u64,
    /// The first offset one will be told.
    pub next: u64,
    /// The one behind the newest.
    pub end: u64,
    /// What one had seen is of no use: everything kept is told.
    pub reset: bool,
    /// What it is about.
    pub topic: Arc<str>,
    /// Only members see and hear it.
    pub private: bool,
    /// Only who was invited comes in.
    pub invite_only: bool,
    /// Slow mode.
    pub slow_ms: u64,
    /// One's own rank.
    pub role: Rank,
    /// How many are here.
    pub people: usize,
}

/// To what is written: on disk, at this place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kept {
    /// Where.
    pub room: Arc<str>,
    /// Which life of it.
    pub epoch: u64,
    /// Its place.
    pub offset: u64,
    /// When it was taken, in milliseconds since 1970; of a duplicate: when the first one was.
    pub at_ms: u64,
    /// It had been written before: this is where.
    pub duplicate: bool,
}

/// To history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Past {
    /// Where.
    pub room: Arc<str>,
    /// Which life of it.
    pub epoch: u64,
    /// The oldest offset that is kept.
    pub first: u64,
    /// The offset behind the newest.
    pub next: u64,
    /// In the order of offsets.
    pub events: Vec<Event>,
    /// There is more in the direction that was asked for.
    pub more: bool,
}

/// To search: the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Found {
    /// Messages.
    pub found: Vec<Event>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// One of one's own conversations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mine {
    /// Which.
    pub room: Arc<str>,
    /// What it is about.
    pub topic: Arc<str>,
    /// Only members see and hear it.
    pub private: bool,
    /// One's own rank.
    pub role: Rank,
    /// Which life of it.
    pub epoch: u64,
    /// The offset behind the newest.
    pub next: u64,
    /// Everything up to there was read.
    pub read: u64,
    /// Messages of others behind it; 100: that or more.
    pub unread: usize,
    /// Those of them that mention one.
    pub mentions: usize,
    /// The newest message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Event>,
}

/// A room everybody may join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Open {
    /// Which.
    pub room: Arc<str>,
    /// What it is about.
    pub topic: Arc<str>,
    /// How many are here.
    pub people: usize,
}

/// To rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RoomList {
    /// One's own.
    pub mine: Vec<Mine>,
    /// All that may be joined, the fullest first, at most 200.
    pub open: Vec<Open>,
    /// There are more open ones.
    pub more: bool,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Present {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Their rank there.
    pub role: Rank,
    /// Connected now; otherwise a member who is not.
    pub here: bool,
    /// Not at the keyboard, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Arc<str>>,
    /// What they say of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Arc<str>>,
}

/// To who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct People {
    /// Where.
    pub room: Arc<str>,
    /// By rank, then by name; at most 1,000.
    pub people: Vec<Present>,
    /// How many are here.
    pub count: usize,
}

/// To whois.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Known {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Without a login.
    pub guest: bool,
    /// Connected now.
    pub here: bool,
    /// Not at the keyboard, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Arc<str>>,
    /// What they say of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Arc<str>>,
    /// Connected since, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Rooms that whoever asks sees too.
    pub rooms: Vec<Arc<str>>,
}

/// To read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Marked {
    /// Where.
    pub room: Arc<str>,
    /// Everything up to there was read; 0: nothing.
    pub offset: u64,
}

/// To watch: whoever of them is here, in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Watched {
    /// Connected now.
    pub here: Vec<Person>,
}

/// Somebody who had a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Former {
    /// As they were called.
    #[serde(flatten)]
    pub person: Person,
    /// What they said of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Arc<str>>,
    /// Until then, in milliseconds since 1970.
    pub until_ms: u64,
}

/// To whowas: the last one first; what is older than some hundred departures is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gone {
    /// Those who had it.
    pub people: Vec<Former>,
}

/// Somebody who may not come in, or not speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Shut {
    /// Who, as they were called.
    #[serde(flatten)]
    pub person: Person,
    /// Until then, in milliseconds since 1970; none: for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// To bans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BanList {
    /// Which room.
    pub room: Arc<str>,
    /// Who may not come in, by name, at most 1,000.
    pub bans: Vec<Shut>,
    /// Who may not speak, likewise.
    pub mutes: Vec<Shut>,
}
