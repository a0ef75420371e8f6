//! What a server says in JSON, over websocket and over HTTP, as far as it counts here.
//!
//! **Job.** Read it. **Called by** the clients that speak JSON. Pure.
//!
//! Not here: what is right (`ledger`).

use serde::Deserialize;

use super::ledger::{Print, Seen};

/// All that a server says; entries of a log come with `on` in events and in pages.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// Of the request that is answered.
    pub id: Option<u64>,
    /// Yes.
    pub ok: Option<Answer>,
    /// No.
    pub error: Option<Refused>,
    /// Which event.
    pub on: String,
    /// Where.
    pub room: String,
    /// At which place.
    pub offset: Option<u64>,
    /// Who.
    pub by: By,
    /// What.
    pub text: String,
    /// The first offset that is gone.
    pub from: u64,
    /// The first that is still there.
    pub to: u64,
}

/// Who.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct By {
    /// Their name.
    pub name: String,
}

/// Why not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refused {
    /// Its name in the protocol.
    pub name: String,
    /// For people.
    pub text: String,
    /// After so long it may succeed.
    pub again_ms: Option<u64>,
}

impl Refused {
    /// Whether the same may succeed a little later.
    pub(super) fn is_for_now(&self) -> bool {
        matches!(self.name.as_str(), "too-fast" | "slow-mode" | "busy" | "shutting-down")
            || self.is_of_store()
    }

    /// Whether it is the store of this machine that fails: another machine may do better.
    pub(super) fn is_of_store(&self) -> bool {
        self.name.starts_with("store-")
    }
}

/// What is answered with yes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    /// A guest's.
    pub key: Option<String>,
    /// Which life of the conversation.
    pub epoch: u64,
    /// What will be told first.
    pub next: u64,
    /// The offset behind the newest.
    pub end: u64,
    /// What was seen is worth nothing.
    pub reset: bool,
    /// Where a message is.
    pub offset: u64,
    /// It was there already.
    pub duplicate: bool,
    /// A page is not the last.
    pub more: bool,
    /// Of a page.
    pub events: Vec<Told>,
}

impl Told {
    /// As an entry of a log, when it has a place in one.
    pub(super) fn seen(&self) -> Option<Seen> {
        let offset = self.offset.filter(|_| !matches!(self.on.as_str(), "read" | "joined"))?;
        Some(Seen {
            offset,
            print: Print::of(&self.on, &self.by.name, &self.text),
            message: self.on == "message",
        })
    }
}
