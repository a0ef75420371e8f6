//! What is told at once and not kept: who comes and goes, who is writing, what a client has to know about its place.
//!
//! **Job.** Name it and its JSON. **Made by** `hub`, `floor`. **Told by** the faces.
//!
//! Not here: what has a place in a log ([`crate::event`]).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Person, Rank};
use crate::reply::Joined;

/// Something that has no offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum Notice {
    /// These offsets are not kept any more and will not be told.
    Gap {
        /// Where.
        room: Arc<str>,
        /// The first that is gone.
        from: u64,
        /// The first that is still there.
        to: u64,
    },
    /// One is in this conversation from now on, without having asked for it here.
    Joined(Box<Joined>),
    /// One is not in it any more.
    Left {
        /// Where.
        room: Arc<str>,
        /// Why, if not by one's own wish.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<Arc<str>>,
    },
    /// Who came and who went since the last one.
    Presence {
        /// Where.
        room: Arc<str>,
        /// Who came. Empty in rooms of more than 200.
        joined: Arc<[Arrived]>,
        /// Who went. Empty in rooms of more than 200.
        left: Arc<[Person]>,
        /// How many are here.
        people: usize,
    },
    /// Somebody is writing. To be shown for five seconds.
    Typing {
        /// Where.
        room: Arc<str>,
        /// Who.
        by: Person,
    },
    /// Another connection of one's own read up to there.
    Read {
        /// Where.
        room: Arc<str>,
        /// The last one.
        offset: u64,
    },
    /// Somebody is not at the keyboard, or back.
    Away {
        /// Where one sees them.
        room: Arc<str>,
        /// Who.
        by: Person,
        /// Why; left out: back.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Arc<str>>,
    },
    /// Somebody has another name from now on, wherever one meets them.
    Renamed {
        /// Who, as they were called.
        by: Person,
        /// What they are called now.
        name: Arc<str>,
    },
    /// What somebody says of themselves.
    About {
        /// Who.
        by: Person,
        /// What; left out: nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Arc<str>>,
    },
    /// Somebody one watches came or went.
    Watched {
        /// Who.
        who: Person,
        /// Came; or went.
        here: bool,
    },
}

/// Somebody who came into a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Arrived {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Their rank there.
    #[serde(skip_serializing_if = "Rank::is_none")]
    pub role: Rank,
    /// What they say of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Arc<str>>,
    /// Not at the keyboard, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Arc<str>>,
}

impl Arrived {
    /// Somebody of whom nothing more is known.
    pub fn of(person: Person) -> Self {
        Self { person, role: Rank::None, about: None, away: None }
    }
}
