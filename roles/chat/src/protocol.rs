//! What is said over a websocket: one JSON object a message (docs/chat.md).
//!
//! **Job.** Read a client's requests strictly, write answers and events. **Called by** `hub`, `session`. **Calls** serde.
//!
//! Invariants
//! 1. Every request has an `id`, and exactly one answer bears it.
//! 2. The text of an event is made once, whoever gets it.
//!
//! Not here: what a request does (`hub`), frames (`wire::websocket`).

use madang_store::log::Entry;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)] // docs/chat.md documents each
pub enum Request {
    /// Who it is. The first request.
    Hello { id: u64, name: String },
    /// Messages of this room from now on, and those since what was seen last.
    Join { id: u64, room: String, since: Option<Seen> },
    /// No more of this room.
    Leave { id: u64, room: String },
    /// Writes. The same nonce of the same name is the same message, however often it is sent.
    Send { id: u64, room: String, text: String, nonce: String },
    /// Older messages.
    History { id: u64, room: String, before: Option<u64>, limit: Option<usize> },
    /// Who is there.
    Who { id: u64, room: String },
}

impl Request {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], with what is wrong.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        serde_json::from_str(text).map_err(|error| Refusal::Malformed { why: error.to_string() })
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        match self {
            Self::Hello { id, .. }
            | Self::Join { id, .. }
            | Self::Leave { id, .. }
            | Self::Send { id, .. }
            | Self::History { id, .. }
            | Self::Who { id, .. } => *id,
        }
    }
}

/// The last message that a client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The life of the conversation it belongs to.
    pub epoch: u64,
    /// Its place; 0: none was seen.
    pub offset: u64,
}

/// What an entry of the log holds beside its text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Kept {
    /// Who wrote it.
    pub from: String,
}

/// Something that happened in a room.
#[derive(Debug, Serialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub(crate) enum Event<'e> {
    Message { room: &'e str, epoch: u64, offset: u64, from: &'e str, at_ms: u64, text: &'e str },
    Removed { room: &'e str, epoch: u64, offset: u64, at_ms: u64 },
    /// Messages that are not kept any more.
    Gap { room: &'e str, from: u64, to: u64 },
}

/// An event as text.
pub(crate) fn event(event: &Event<'_>) -> Vec<u8> {
    // Its parts are numbers and text: nothing that could not be written.
    serde_json::to_vec(event).unwrap_or_default()
}

/// An entry of the log as the event of a message.
pub(crate) fn message(room: &str, epoch: u64, entry: &Entry) -> Vec<u8> {
    let (offset, at_ms) = (entry.offset, entry.at_ms);
    match serde_json::from_slice::<Kept>(&entry.data) {
        Ok(kept) if !entry.removed => {
            let (from, text) = (kept.from.as_str(), entry.text.as_str());
            event(&Event::Message { room, epoch, offset, from, at_ms, text })
        }
        _ => event(&Event::Removed { room, epoch, offset, at_ms }),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a, T> {
    Ok { id: u64, ok: &'a T },
    Error { id: Option<u64>, error: Told<'a> },
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    text: String,
}

/// The answer to a request that was carried out.
pub(crate) fn done<T: Serialize>(id: u64, ok: &T) -> Vec<u8> {
    serde_json::to_vec(&Answer::Ok { id, ok }).unwrap_or_default()
}

/// The answer to one that was not; without `id` it could not be read at all.
pub(crate) fn refused(id: Option<u64>, refusal: &Refusal) -> Vec<u8> {
    let error = Told { name: refusal.name(), text: refusal.to_string() };
    serde_json::to_vec(&Answer::<()>::Error { id, error }).unwrap_or_default()
}

/// Texts of events as one JSON array.
pub(crate) fn list(events: &[Vec<u8>]) -> Box<RawValue> {
    let mut all = vec![b'['];
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            all.push(b',');
        }
        all.extend_from_slice(event);
    }
    all.push(b']');
    // Written by serde_json, each of them.
    String::from_utf8(all).ok().and_then(|all| RawValue::from_string(all).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let join = Request::read(r#"{"do":"join","id":3,"room":"lobby","since":{"epoch":7,"offset":12}}"#);
        assert_eq!(join, Ok(Request::Join { id: 3, room: "lobby".into(), since: Some(Seen { epoch: 7, offset: 12 }) }));
        assert_eq!(Request::read(r#"{"do":"who","id":1,"room":"a"}"#).map(|request| request.id()), Ok(1));
        check(r#"{"do":"who","id":1,"room":"a","rom":"b"}"#, "unknown field `rom`");
        check(r#"{"do":"shout","id":1}"#, "unknown variant `shout`, expected one of `hello`, `join`");
        check(r#"{"do":"join","room":"a"}"#, "missing field `id`");
        check("[]", "invalid");
        check("", "EOF");

        #[track_caller]
        fn check(text: &str, want: &str) {
            let refusal = Request::read(text).unwrap_err();
            assert!(refusal.to_string().contains(want), "{refusal}");
        }
    }

    #[test]
    fn answers_bear_the_number_of_their_request() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(done(4, &Seen { epoch: 1, offset: 2 })), r#"{"id":4,"ok":{"epoch":1,"offset":2}}"#);
        let refused = text(refused(Some(4), &Refusal::NotThere { room: "lobby".into() }));
        assert_eq!(refused, r#"{"id":4,"error":{"name":"not-there","text":"you are not in lobby: join it first"}}"#);
    }
}
