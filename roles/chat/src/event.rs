//! What happens in a conversation and is kept: the entries of its log.
//!
//! **Job.** Name them, as they are kept and as they are told. **Made by** `hub`. **Read by** every face.
//!
//! Invariants
//! 1. What is kept and what is told have one form; only a message's text is kept apart, where search finds it.
//!
//! Not here: what has no place in the log ([`crate::notice`]).

use std::sync::Arc;

use madang_store::log::{Entry, NewEntry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Somebody: `u:` and a user's name, or `g:` and a number for a guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PersonId(pub Arc<str>);

impl PersonId {
    /// Whether this is a guest.
    pub fn is_guest(&self) -> bool {
        self.0.starts_with("g:")
    }
}

/// Somebody and what they are called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// As shown.
    pub name: Arc<str>,
}

/// What somebody may do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    /// What everybody may who is let in.
    #[default]
    None,
    /// Is let into a private room.
    Member,
    /// Keeps order: topic, kick, ban, mute, invite, deletes messages.
    Moderator,
    /// Everything, ranks and settings too.
    Owner,
}

impl Rank {
    /// Whether this is what everybody has.
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's form
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// An attachment: a link to an uploaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// As shown.
    pub name: String,
    /// Where it is, below the chat's own path.
    pub url: String,
    /// Its size.
    #[serde(deserialize_with = "crate::exact::number")]
    pub bytes: u64,
    /// Its media type.
    #[serde(rename = "type")]
    pub media_type: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum What {
    /// Something was said.
    Message {
        /// What.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// The offset of the message it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<u64>,
        /// Attachments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<File>,
        /// `/me`: what somebody does, not says.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        action: bool,
        /// Nothing that answers by itself answers it (a `NOTICE` of IRC); whoever shows it may show it quieter.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        notice: bool,
        /// Names it mentions with `@`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<Arc<str>>,
        /// How often it was edited; its text is the last one.
        #[serde(default, skip_serializing_if = "is_zero")]
        edits: u32,
    },
    /// In the place of a message that was deleted.
    Removed,
    /// The message of an earlier offset has another text now.
    Edited {
        /// Its offset.
        of: u64,
        /// The text; left out where it was deleted since.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// The message is a notice, and so is what is said about its new text.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        notice: bool,
    },
    /// The message of an earlier offset is gone.
    Deleted {
        /// Its offset.
        of: u64,
    },
    /// A reaction to a message.
    Reaction {
        /// Its offset.
        of: u64,
        /// The sign.
        emoji: String,
        /// Given; or taken back.
        add: bool,
    },
    /// The room was made.
    Created {
        /// Only members see and hear it.
        private: bool,
        /// Only who was invited comes in.
        invite_only: bool,
    },
    /// The room has another topic.
    Topic {
        /// Empty: none.
        text: String,
    },
    /// The room's settings, as they are now.
    Settings {
        /// Only members see and hear it.
        private: bool,
        /// Only who was invited comes in.
        invite_only: bool,
        /// Slow mode: one message of everybody in so many milliseconds; 0: off.
        slow_ms: u64,
    },
    /// Somebody has another rank.
    Role {
        /// Who.
        who: Person,
        /// Which.
        role: Rank,
    },
    /// Somebody may come in.
    Invited {
        /// Who.
        who: Person,
    },
    /// Somebody was shown the door.
    Kicked {
        /// Who.
        who: Person,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Somebody was shown the door and may not come back.
    Banned {
        /// Who.
        who: Person,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Until then, in milliseconds since 1970; none: for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
    },
    /// Somebody may come back.
    Unbanned {
        /// Who.
        who: Person,
    },
    /// Somebody may listen, not speak.
    Muted {
        /// Who.
        who: Person,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Until then, in milliseconds since 1970; none: for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
    },
    /// Somebody may speak again.
    Unmuted {
        /// Who.
        who: Person,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's form
fn is_zero(edits: &u32) -> bool {
    *edits == 0
}

/// An entry of a conversation's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Event {
    /// What happened.
    #[serde(flatten)]
    pub what: What,
    /// The conversation, as whoever is told calls it.
    pub room: Arc<str>,
    /// Which life of it.
    pub epoch: u64,
    /// Its place.
    pub offset: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose doing.
    pub by: Person,
}

/// What an entry's data is in the store: the event without its place and without its text.
#[derive(Serialize, Deserialize)]
struct Kept {
    by: Person,
    #[serde(flatten)]
    what: What,
}

/// An event as the store keeps it.
pub fn to_entry(by: &Person, mut what: What) -> NewEntry {
    let text = match &mut what {
        What::Message { text, .. } => std::mem::take(text),
        // Its text is the message's own now; kept here it would outlive the message.
        What::Edited { text, .. } => {
            text.clear();
            String::new()
        }
        _ => String::new(),
    };
    let kept = Kept { by: by.clone(), what };
    // Numbers and text: nothing that could not be written.
    NewEntry { data: serde_json::to_vec(&kept).unwrap_or_default().into(), text }
}

/// An entry of the store as an event. What this program cannot read (of a newer one) is a removed message.
pub fn from_entry(room: &Arc<str>, epoch: u64, entry: Entry) -> Event {
    let Entry { offset, at_ms, edits: changed, removed, data, text: said } = entry;
    let kept = if removed { None } else { serde_json::from_slice::<Kept>(&data).ok() };
    let Some(Kept { by, mut what }) = kept else {
        let nobody = Person { id: PersonId("".into()), name: "".into() };
        return Event { what: What::Removed, room: Arc::clone(room), epoch, offset, at_ms, by: nobody };
    };
    if let What::Message { text, edits, .. } = &mut what {
        (*text, *edits) = (said, changed);
    }
    Event { what, room: Arc::clone(room), epoch, offset, at_ms, by }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mina() -> Person {
        Person { id: PersonId("u:mina".into()), name: "mina".into() }
    }

    fn said(text: &str) -> What {
        What::Message {
            text: text.into(),
            reply: None,
            files: vec![],
            action: false,
            notice: false,
            mentions: vec![],
            edits: 0,
        }
    }

    // Goal: what is kept comes back as it was, and the JSON is what the document shows.
    #[test]
    fn an_event_is_kept_and_told_in_one_form() {
        check(said("hi"), r#"{"on":"message","text":"hi""#);
        let notice = What::Message {
            text: "hi".into(),
            reply: None,
            files: vec![],
            action: false,
            notice: true,
            mentions: vec![],
            edits: 0,
        };
        check(notice, r#"{"on":"message","text":"hi","notice":true"#);
        check(
            What::Reaction { of: 3, emoji: "🙂".into(), add: true },
            r#"{"on":"reaction","of":3,"emoji":"🙂","add":true"#,
        );
        check(
            What::Role { who: mina(), role: Rank::Moderator },
            r#"{"on":"role","who":{"id":"u:mina","name":"mina"},"role":"moderator""#,
        );
        check(What::Topic { text: String::new() }, r#"{"on":"topic","text":"""#);

        #[track_caller]
        fn check(what: What, begins: &str) {
            let new = to_entry(&mina(), what.clone());
            let entry =
                Entry { offset: 7, at_ms: 9, edits: 0, removed: false, data: new.data, text: new.text };
            let event = from_entry(&"lobby".into(), 2, entry);
            assert_eq!(event.what, what);
            let json = serde_json::to_string(&event).unwrap();
            let ends =
                r#","room":"lobby","epoch":2,"offset":7,"at_ms":9,"by":{"id":"u:mina","name":"mina"}}"#;
            assert_eq!(json, format!("{begins}{ends}"));
        }
    }

    // Goal: what was kept before there were notices is none.
    #[test]
    fn an_entry_without_the_flag_is_no_notice() {
        let data = br#"{"by":{"id":"u:mina","name":"mina"},"on":"message"}"#;
        let entry = Entry {
            offset: 1,
            at_ms: 1,
            edits: 0,
            removed: false,
            data: bytes::Bytes::from_static(data),
            text: "hi".into(),
        };
        assert_eq!(from_entry(&"lobby".into(), 1, entry).what, said("hi"));
    }

    // Goal: a deleted message leaves nothing but its place, and an edit keeps no second copy of its text.
    #[test]
    fn deleted_text_is_nowhere() {
        let edit = to_entry(&mina(), What::Edited { of: 1, text: "secret".into(), notice: false });
        assert!(!String::from_utf8_lossy(&edit.data).contains("secret") && edit.text.is_empty());
        let gone = Entry {
            offset: 1,
            at_ms: 1,
            edits: 1,
            removed: true,
            data: bytes::Bytes::new(),
            text: String::new(),
        };
        assert_eq!(from_entry(&"lobby".into(), 1, gone).what, What::Removed);
    }
}
