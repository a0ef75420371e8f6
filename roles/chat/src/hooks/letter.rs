//! A letter: what one hook is told of one event.
//!
//! **Job.** Its JSON, its number, the names of the streams and keys it lies under. **Written by** `hub`. **Read by** `drain`.
//!
//! What is kept in the queue is the very body that is sent: every attempt sends the same bytes.
//!
//! Not here: queueing (`hub`), sending (`drain`).

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use madang_store::error::StoreError;
use madang_store::log::{NewEntry, StreamId};
use serde::{Deserialize, Serialize};

use super::rule::Kind;
use crate::event::{Event, Person};

/// Letters that wait for one hook at most; the oldest make room.
pub const WAITING_MAX: u64 = 100_000;
/// Dead letters of one hook that are kept.
pub const DEAD_MAX: u64 = 10_000;

/// A hook's queue.
///
/// # Errors
/// None for names that were checked.
pub fn queue(chat: &str, hook: &str) -> Result<StreamId, StoreError> {
    StreamId::new(&format!("hooks/{chat}/{hook}/queue"))
}

/// A hook's dead letters.
///
/// # Errors
/// None for names that were checked.
pub fn dead(chat: &str, hook: &str) -> Result<StreamId, StoreError> {
    StreamId::new(&format!("hooks/{chat}/{hook}/dead"))
}

/// The namespace of the store's key-value in which a chat's hooks keep where they are.
pub fn space(chat: &str) -> String {
    format!("chat/{chat}/hooks")
}

#[derive(Serialize)]
struct Body<'b> {
    id: &'b str,
    #[serde(rename = "type")]
    kind: &'static str,
    chat: &'b str,
    hook: &'b str,
    at_ms: u64,
    room: &'b str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'b Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'b Person>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    to: &'b [Person],
}

/// What a letter tells.
#[derive(Debug, Clone)]
pub enum News {
    /// Something was said; `to`: those who were not there, of a mention.
    Said {
        /// What.
        event: Event,
        /// Whom it concerns.
        to: Vec<Person>,
        /// Nobody but the two may read it: the text stays here.
        direct: bool,
    },
    /// Somebody became one of a room.
    Came {
        /// Who.
        who: Person,
        /// Where.
        room: Arc<str>,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// A letter for the queue, and its number: of the same event it is always the same.
pub fn write(chat: &str, hook: &str, kind: Kind, news: &News, stream: &str) -> (String, NewEntry) {
    let (event, who, to): (Option<Cow<'_, Event>>, _, &[Person]) = match news {
        News::Said { event, to, direct: true } => (Some(Cow::Owned(silenced(event))), None, to),
        News::Said { event, to, direct: false } => (Some(Cow::Borrowed(event)), None, to),
        News::Came { who, .. } => (None, Some(who), &[]),
    };
    let (room, at_ms, place) = match news {
        News::Said { event, .. } => (&event.room, event.at_ms, format!("{}/{}", event.epoch, event.offset)),
        News::Came { who, room, at_ms } => (room, *at_ms, format!("{}/{at_ms}", who.id.0)),
    };
    let id = number(&[chat, hook, kind.name(), stream, &place]);
    let body = Body { id: &id, kind: kind.name(), chat, hook, at_ms, room, event: event.as_deref(), who, to };
    // Numbers and text: nothing that could not be written.
    let data = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
    (id, NewEntry { data, text: String::new() })
}

/// The event without what was said.
fn silenced(event: &Event) -> Event {
    let mut event = event.clone();
    if let crate::event::What::Message { text, files, mentions, .. } = &mut event.what {
        text.clear();
        files.clear();
        mentions.clear();
    }
    event
}

fn number(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What `drain` and lists need of a letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Outline {
    /// Its number.
    #[serde(default)]
    pub id: String,
    /// What it tells.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Of which conversation.
    #[serde(default)]
    pub room: String,
}

impl Outline {
    /// Of a letter's body; of what cannot be read, nothing.
    pub fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// A dead letter, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Why.
    pub why: String,
    /// Since when it waited, in milliseconds since 1970.
    pub since_ms: u64,
    /// The body.
    pub letter: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PersonId, What};

    fn person(name: &str) -> Person {
        Person { id: PersonId(format!("u:{name}").into()), name: name.into() }
    }

    fn said(text: &str) -> Event {
        let what = What::Message {
            text: text.into(),
            reply: None,
            files: vec![],
            action: false,
            notice: false,
            mentions: vec!["jun".into()],
            edits: 0,
        };
        Event { what, room: "lobby".into(), epoch: 2, offset: 7, at_ms: 9, by: person("mina") }
    }

    // Goal: the JSON is what docs/chat-hooks.md shows, and its number depends on the event alone.
    #[test]
    fn a_letter_is_as_documented() {
        let news = News::Said { event: said("hi @jun"), to: vec![person("jun")], direct: false };
        let (id, entry) = write("town", "push", Kind::Mention, &news, "chat/town/room/lobby");
        assert_eq!(
            std::str::from_utf8(&entry.data).unwrap(),
            format!(
                r#"{{"id":"{id}","type":"mention","chat":"town","hook":"push","at_ms":9,"room":"lobby","event":{{"on":"message","text":"hi @jun","mentions":["jun"],"room":"lobby","epoch":2,"offset":7,"at_ms":9,"by":{{"id":"u:mina","name":"mina"}}}},"to":[{{"id":"u:jun","name":"jun"}}]}}"#
            )
        );
        assert_eq!(write("town", "push", Kind::Mention, &news, "chat/town/room/lobby").0, id);
        assert_ne!(write("town", "push", Kind::Message, &news, "chat/town/room/lobby").0, id);
        assert_eq!(Outline::read(&entry.data).room, "lobby");
        let came = News::Came { who: person("jun"), room: "lobby".into(), at_ms: 3 };
        let (id, entry) = write("town", "push", Kind::Join, &came, "");
        assert_eq!(
            std::str::from_utf8(&entry.data).unwrap(),
            format!(
                r#"{{"id":"{id}","type":"join","chat":"town","hook":"push","at_ms":3,"room":"lobby","who":{{"id":"u:jun","name":"jun"}}}}"#
            )
        );
    }

    // Goal: what two people say to each other stays between them.
    #[test]
    fn a_direct_message_keeps_its_text() {
        let news = News::Said { event: said("a secret"), to: vec![person("jun")], direct: true };
        let (_, entry) = write("town", "push", Kind::Mention, &news, "chat/town/direct/1");
        let body = String::from_utf8(entry.data.to_vec()).unwrap();
        assert!(!body.contains("secret") && body.contains("\"u:mina\""), "{body}");
    }
}
