//! What a chat server says: answers, events, notices.
//!
//! **Job.** Read a frame of the JSON protocol. **Called by** `client`. **Calls** `wire::clean`.
//!
//! Invariants
//! 1. Every text that can be shown has been made harmless here, once: what holds one of these may show it.
//! 2. What a newer server says and this reader does not know is no error: it is [`What::Other`].
//!
//! Not here: what is asked (`client::request`).

use madang_wire::clean::clean;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Text that does nothing to a terminal. May have several lines.
fn harmless<'de, D: Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    String::deserialize(reader).map(|text| harmless_text(&text))
}

fn harmless_if_any<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(reader)?.map(|text| harmless_text(&text)))
}

/// The same for a text in hand: line ends stay, tabs become spaces.
pub(crate) fn harmless_text(text: &str) -> String {
    let lines: Vec<String> =
        text.split('\n').map(|line| clean(line.trim_end_matches('\r').as_bytes())).collect();
    lines.join("\n").replace('\t', "    ")
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Person {
    /// Who: never shown.
    pub id: String,
    /// As shown.
    #[serde(deserialize_with = "harmless")]
    pub name: String,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct File {
    /// As shown.
    #[serde(deserialize_with = "harmless")]
    pub name: String,
    /// Below the chat's own address.
    #[serde(deserialize_with = "harmless")]
    pub url: String,
}

/// Something in a conversation's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// The conversation.
    pub room: String,
    /// Its life.
    pub epoch: u64,
    /// Its place there.
    pub offset: u64,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub at_ms: u64,
    /// Whose doing.
    pub by: Person,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the protocol's own words, explained where the server makes them")]
pub enum What {
    Message {
        #[serde(default, deserialize_with = "harmless")]
        text: String,
        #[serde(default)]
        reply: Option<u64>,
        #[serde(default)]
        files: Vec<File>,
        #[serde(default)]
        action: bool,
        #[serde(default)]
        notice: bool,
        #[serde(default)]
        mentions: Vec<String>,
        #[serde(default)]
        edits: u32,
    },
    Removed,
    Edited {
        of: u64,
        #[serde(default, deserialize_with = "harmless")]
        text: String,
    },
    Deleted {
        of: u64,
    },
    Reaction {
        of: u64,
        #[serde(deserialize_with = "harmless")]
        emoji: String,
        add: bool,
    },
    Created,
    Topic {
        #[serde(deserialize_with = "harmless")]
        text: String,
    },
    Settings {
        #[serde(default)]
        private: bool,
        #[serde(default)]
        invite_only: bool,
        #[serde(default)]
        slow_ms: u64,
    },
    Role {
        who: Person,
        #[serde(deserialize_with = "harmless")]
        role: String,
    },
    Invited {
        who: Person,
    },
    Kicked {
        who: Person,
        #[serde(default, deserialize_with = "harmless_if_any")]
        why: Option<String>,
    },
    Banned {
        who: Person,
        #[serde(default, deserialize_with = "harmless_if_any")]
        why: Option<String>,
    },
    Unbanned {
        who: Person,
    },
    Muted {
        who: Person,
        #[serde(default, deserialize_with = "harmless_if_any")]
        why: Option<String>,
    },
    Unmuted {
        who: Person,
    },
    #[serde(other)]
    Other,
}

/// Where one is now: the answer to join, and the notice of another way in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Joined {
    /// The conversation.
    pub room: String,
    /// Its life.
    pub epoch: u64,
    /// The first offset that will come.
    pub next: u64,
    /// The one behind the newest.
    pub end: u64,
    /// What was seen before is of no use.
    #[serde(default)]
    pub reset: bool,
    /// What it is about.
    #[serde(default, deserialize_with = "harmless")]
    pub topic: String,
    /// How many are here.
    #[serde(default)]
    pub people: u64,
}

/// Something without a place in a log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as above")]
pub enum Notice {
    Gap {
        room: String,
        from: u64,
        to: u64,
    },
    Joined(Joined),
    Left {
        room: String,
        #[serde(default, deserialize_with = "harmless_if_any")]
        why: Option<String>,
    },
    Presence {
        room: String,
        #[serde(default)]
        joined: Vec<Person>,
        #[serde(default)]
        left: Vec<Person>,
        #[serde(default)]
        people: u64,
    },
    Typing {
        room: String,
        by: Person,
    },
    Read {
        room: String,
        offset: u64,
    },
    Away {
        room: String,
        by: Person,
        #[serde(default, deserialize_with = "harmless_if_any")]
        text: Option<String>,
    },
    #[serde(other)]
    Other,
}

/// To hello.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Welcome {
    /// The chat's name.
    #[serde(deserialize_with = "harmless")]
    pub chat: String,
    /// Who one is.
    pub you: Person,
    /// A guest's way back.
    #[serde(default)]
    pub key: Option<String>,
}

/// To send, edit and whatever else is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kept {
    /// Where.
    pub room: String,
    /// Its life.
    pub epoch: u64,
    /// Its place there.
    pub offset: u64,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub at_ms: u64,
    /// It had been written before.
    #[serde(default)]
    pub duplicate: bool,
}

/// To history.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Past {
    /// Where.
    pub room: String,
    /// Its life.
    pub epoch: u64,
    /// In the order of offsets.
    pub events: Vec<Event>,
    /// There is more in the direction that was asked for.
    #[serde(default)]
    pub more: bool,
}

/// To search.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// The newest first.
    pub found: Vec<Event>,
}

/// One of one's own conversations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mine {
    /// Which.
    pub room: String,
    /// What it is about.
    #[serde(default, deserialize_with = "harmless")]
    pub topic: String,
    /// Read up to there.
    #[serde(default)]
    pub read: u64,
    /// Messages of others behind it.
    #[serde(default)]
    pub unread: u64,
    /// Those that mention one.
    #[serde(default)]
    pub mentions: u64,
}

/// A room everybody may join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Open {
    /// Which.
    #[serde(deserialize_with = "harmless")]
    pub room: String,
    /// What it is about.
    #[serde(default, deserialize_with = "harmless")]
    pub topic: String,
    /// How many are here.
    #[serde(default)]
    pub people: u64,
}

/// To rooms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoomList {
    /// One's own.
    #[serde(default)]
    pub mine: Vec<Mine>,
    /// Those one may join.
    #[serde(default)]
    pub open: Vec<Open>,
    /// There are more open ones.
    #[serde(default)]
    pub more: bool,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Present {
    /// As shown.
    #[serde(deserialize_with = "harmless")]
    pub name: String,
    /// Their rank there.
    #[serde(default, deserialize_with = "harmless")]
    pub role: String,
    /// Connected now.
    #[serde(default = "yes")]
    pub here: bool,
    /// Not at the keyboard, and why.
    #[serde(default, deserialize_with = "harmless_if_any")]
    pub away: Option<String>,
}

fn yes() -> bool {
    true
}

/// To who.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct People {
    /// Not all of them in a large room.
    pub people: Vec<Present>,
    /// How many are here.
    #[serde(default)]
    pub count: u64,
}

/// To whois.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Known {
    /// As shown.
    #[serde(deserialize_with = "harmless")]
    pub name: String,
    /// Without a login.
    #[serde(default)]
    pub guest: bool,
    /// Connected now.
    #[serde(default)]
    pub here: bool,
    /// Not at the keyboard, and why.
    #[serde(default, deserialize_with = "harmless_if_any")]
    pub away: Option<String>,
    /// Connected since, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: Option<u64>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Stable, for programs.
    pub name: String,
    /// For people.
    #[serde(default, deserialize_with = "harmless")]
    pub text: String,
    /// When the same may succeed, in milliseconds from now.
    #[serde(default)]
    pub again_ms: Option<u64>,
}

impl Refusal {
    /// Whether the very same request may succeed later.
    pub fn is_passing(&self) -> bool {
        self.again_ms.is_some()
            || matches!(self.name.as_str(), "too-fast" | "slow-mode" | "busy" | "shutting-down")
            || self.name.starts_with("store-")
    }
}

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The answer to the request of this number.
    Answer(u64, Result<Value, Refusal>),
    /// Something in a log.
    Event(Event),
    /// Something else.
    Notice(Notice),
}

/// Reads a frame; `None`: no words of this protocol.
pub fn read(text: &str) -> Option<Said> {
    let value: Value = serde_json::from_str(text).ok()?;
    if let Some(id) = value.get("id").and_then(Value::as_u64) {
        let outcome = match value.get("error") {
            Some(error) => Err(serde_json::from_value(error.clone()).ok()?),
            None => Ok(value.get("ok").cloned().unwrap_or_default()),
        };
        return Some(Said::Answer(id, outcome));
    }
    if value.get("offset").is_some() && value.get("epoch").is_some() {
        return serde_json::from_value(value).ok().map(Said::Event);
    }
    serde_json::from_value(value).ok().map(Said::Notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        let event = r#"{"on":"message","text":"a\u001b[2Jb\nc","mentions":["mina"],"room":"lobby","epoch":7,"offset":3,"at_ms":9,"by":{"id":"g:1","name":"jun"},"new":1}"#;
        let Some(Said::Event(event)) = read(event) else { panic!("no event") };
        let What::Message { text, mentions, .. } = event.what else { panic!("no message") };
        assert_eq!((text.as_str(), mentions.as_slice()), ("a\\x1b[2Jb\nc", &["mina".to_owned()][..]));

        let refused = r#"{"id":4,"error":{"name":"too-fast","text":"wait","again_ms":600}}"#;
        let Some(Said::Answer(4, Err(refusal))) = read(refused) else { panic!("no refusal") };
        assert!(refusal.is_passing());

        let future = r#"{"on":"pinned","room":"lobby","epoch":7,"offset":3,"at_ms":9,"by":{"id":"g:1","name":"jun"},"of":2}"#;
        assert!(matches!(read(future), Some(Said::Event(Event { what: What::Other, .. }))));
        assert_eq!(read(r#"{"on":"weather","room":"lobby"}"#), Some(Said::Notice(Notice::Other)));
        let joined = r#"{"on":"joined","room":"@jun","epoch":1,"first":1,"next":1,"end":1,"reset":false,"topic":"","people":2}"#;
        assert!(matches!(read(joined), Some(Said::Notice(Notice::Joined(_)))));
        let read_up_to = r#"{"on":"read","room":"lobby","offset":5}"#;
        assert!(matches!(read(read_up_to), Some(Said::Notice(Notice::Read { offset: 5, .. }))));
        for nonsense in ["", "[]", "{", "null", r#"{"id":1,"error":7}"#, "{}"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
