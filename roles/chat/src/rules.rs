//! What a chat's settings say to its hub.
//!
//! **Job.** Hold it, checked. **Made by** `config`. **Read by** `hub`.
//!
//! Not here: how it is written in madang.toml (`config`).

use std::time::Duration;

use crate::config::hooks::PostRule;
use crate::hooks::rule::HookRule;
use crate::pace::Rate;

/// Who may make rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makers {
    /// Guests too; joining a room that is not there makes it.
    Everyone,
    /// Who has a login.
    Users,
    /// Who may do everything.
    Admins,
}

/// What a chat's settings say to its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// People without a login are let in.
    pub guests: bool,
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// What may wait for one connection.
    pub outbox_bytes_max: usize,
    /// Messages of one person.
    pub rate: Rate,
    /// Conversations that somebody is in at the same time.
    pub rooms_max: usize,
    /// Who may make rooms.
    pub makers: Makers,
    /// Connections in one room.
    pub members_max: usize,
    /// Conversations one connection may be in.
    pub rooms_per_session_max: usize,
    /// Connections of one person.
    pub sessions_per_person_max: usize,
    /// Presence is told at most this often.
    pub presence_every: Duration,
    /// Messages are kept so long; none: for good.
    pub history_age_max: Option<Duration>,
    /// And so many of one conversation; none: any number.
    pub history_entries_max: Option<u64>,
    /// And so many bytes of one conversation; none: any number.
    pub history_bytes_max: Option<u64>,
    /// Of one uploaded file; 0: none may be uploaded.
    pub file_bytes_max: u64,
    /// Uploaded files begin with this: the chat's own path.
    pub files_below: String,
    /// What other servers are told of.
    pub hooks: Vec<HookRule>,
    /// Who posts by URL.
    pub posts: Vec<PostRule>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            guests: true,
            message_bytes_max: 8 * 1024,
            outbox_bytes_max: 256 * 1024,
            rate: Rate { burst: 20, every: Duration::from_millis(200) },
            rooms_max: 100_000,
            makers: Makers::Everyone,
            members_max: 100_000,
            rooms_per_session_max: 200,
            sessions_per_person_max: 100,
            presence_every: Duration::from_millis(250),
            history_age_max: None,
            history_entries_max: None,
            history_bytes_max: None,
            file_bytes_max: 0,
            files_below: "files/".into(),
            hooks: Vec::new(),
            posts: Vec::new(),
        }
    }
}
