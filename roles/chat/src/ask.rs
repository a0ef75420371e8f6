//! What one may ask of a chat, whatever the face.
//!
//! **Job.** Name the requests and read them from JSON, strictly. **Made by** the faces. **Done by** `hub`.
//!
//! Invariants
//! 1. A field that is not known is refused by its name: a misspelt one never does nothing in silence.
//!
//! Not here: answers ([`crate::reply`]), who asks ([`crate::session`]).

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::event::{File, Rank};
use crate::exact::{self, NUMBER_MAX, within};
use crate::refusal::Refusal;

/// The last event a client has seen of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The life of the conversation it belongs to.
    #[serde(deserialize_with = "exact::number")]
    pub epoch: u64,
    /// Its place; 0: none was seen.
    #[serde(deserialize_with = "exact::number")]
    pub offset: u64,
}

/// Of one nonce.
pub const NONCE_BYTES_MAX: usize = 64;
/// Of a page of history, in events.
pub const PAGE_MAX: usize = 200;
/// Of a page of what was found, in events.
pub const FOUND_MAX: usize = 50;
/// An hour.
pub const SLOW_MS_MAX: u64 = 3_600_000;
/// Ten years.
pub const MINUTES_MAX: u64 = 60 * 24 * 366 * 10;

/// A request with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What its answer bears.
    pub id: u64,
    /// What is asked.
    pub ask: Asked,
}

/// A request as the JSON protocol knows it: who one is, or anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The first one.
    Hello(Hello),
    /// Any other.
    Ask(Ask),
}

/// A request that could not be read, with its number if that could.
pub type Unread = (Option<u64>, Refusal);

macro_rules! asks {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal $kind:ident => $($answer:ident)|+ {
            $($(#[$meta:meta])+ $field:ident: $type:ty $([$min:expr, $max:expr])? $(= $default:ident)?),* $(,)?
        }
    )+) => {
        /// What one may ask for, after hello.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Ask {
            $($(#[doc = $doc])+ $kind($kind)),+
        }

        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $kind {
                #[serde(rename = "do", default)]
                #[doc(hidden)]
                pub kind: Skipped,
                #[serde(default)]
                #[doc(hidden)]
                pub id: Skipped,
                $($(#[$meta])+ $(#[serde($default)])? pub $field: $type),*
            }

            impl From<$kind> for Ask {
                fn from(ask: $kind) -> Self {
                    Self::$kind(ask)
                }
            }
        )+

        fn read_ask(kind: &str, text: &str) -> Result<Ask, Refusal> {
            match kind {
                $($name => {
                    let ask: $kind = serde_json::from_str(text).map_err(|error| malformed(&error))?;
                    $($(within(stringify!($field), &ask.$field, $min, $max as u64)?;)?)*
                    Ok(Ask::$kind(ask))
                })+
                _ => Err(Refusal::Malformed { why: format!("do: {kind:?} is none of {}", NAMES.join(", ")) }),
            }
        }

        const NAMES: &[&str] = &["hello", $($name),+];

        /// Every request but hello, in the order of the document.
        pub(crate) const KINDS: &[Kind] = &[$(Kind {
            name: $name,
            bounds: &[$($((stringify!($field), $min, $max as u64),)?)*],
            request: |schemas| schemas.root_schema_for::<$kind>(),
            answers: &[$(|schemas| schemas.root_schema_for::<crate::reply::$answer>()),+],
        }),+];
    };
}

/// A request as `protocol` describes it.
pub(crate) struct Kind {
    /// In `do`.
    pub(crate) name: &'static str,
    /// Fields with the least and the most that they may be: a number, or the bytes of a text.
    pub(crate) bounds: &'static [(&'static str, u64, u64)],
    pub(crate) request: fn(&mut SchemaGenerator) -> Schema,
    /// What its `ok` is, one of these.
    pub(crate) answers: &'static [fn(&mut SchemaGenerator) -> Schema],
}

/// A field that was read before and is nothing to this reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(reader).map(|_| Self)
    }
}

impl JsonSchema for Skipped {
    fn schema_name() -> Cow<'static, str> {
        "Skipped".into()
    }
    fn inline_schema() -> bool {
        true
    }
    /// What it must be is said where every request is described (`protocol`).
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
}

/// Who one is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    #[serde(rename = "do", default)]
    #[doc(hidden)]
    pub kind: Skipped,
    #[serde(default)]
    #[doc(hidden)]
    pub id: Skipped,
    /// A guest's name.
    #[serde(default)]
    pub name: Option<String>,
    /// What a guest was given before: who has it comes back as the same guest.
    #[serde(default)]
    pub key: Option<String>,
    /// A user's.
    #[serde(default)]
    pub token: Option<String>,
}

asks! {
    /// Everything of a conversation from now on, after what was missed.
    "join" Join => Joined {
        /// Which.
        room: String,
        /// The last that was seen; none: from now on.
        #[serde(deserialize_with = "exact::object")]
        since: Option<Seen> = default,
    }
    /// No more of it.
    "leave" Leave => Done {
        /// Which.
        room: String,
    }
    /// Says something.
    "send" Send => Kept {
        /// Where.
        room: String,
        /// What.
        text: String = default,
        /// The same one of the same person is the same message, however often it is sent; 1 to 64 bytes.
        nonce: String [1, NONCE_BYTES_MAX],
        /// The offset of the message it answers.
        reply: Option<u64> [0, NUMBER_MAX] = default,
        /// Attachments.
        #[serde(deserialize_with = "exact::objects")]
        files: Vec<File> = default,
        /// `/me`.
        action: bool = default,
        /// Nothing that answers by itself may answer it, as a `NOTICE` of IRC.
        notice: bool = default,
    }
    /// Gives a message of one's own another text.
    "edit" Edit => Kept {
        /// Where.
        room: String,
        /// Which.
        offset: u64 [0, NUMBER_MAX],
        /// The text.
        text: String,
        /// As in `send`.
        nonce: String [1, NONCE_BYTES_MAX],
    }
    /// Takes a message away for good.
    "delete" Delete => Kept {
        /// Where.
        room: String,
        /// Which.
        offset: u64 [0, NUMBER_MAX],
        /// As in `send`.
        nonce: String [1, NONCE_BYTES_MAX],
    }
    /// A sign below a message.
    "react" React => Kept {
        /// Where.
        room: String,
        /// Which.
        offset: u64 [0, NUMBER_MAX],
        /// The sign: 1 to 32 bytes.
        emoji: String,
        /// Give it, or take it back.
        add: bool,
        /// As in `send`.
        nonce: String [1, NONCE_BYTES_MAX],
    }
    /// A page of what was.
    "history" History => Past {
        /// Where.
        room: String,
        /// The newest ones before this offset.
        before: Option<u64> [0, NUMBER_MAX] = default,
        /// Or the oldest ones after this.
        after: Option<u64> [0, NUMBER_MAX] = default,
        /// How many at most; left out: 50.
        limit: Option<usize> [1, PAGE_MAX] = default,
    }
    /// Looks for words.
    "search" Search => Found {
        /// All of them, `"…"` for words in a row.
        words: String,
        /// Only there; left out: everywhere one is.
        room: Option<String> = default,
        /// What the last answer gave, for its next page.
        before: Option<String> = default,
        /// How many at most; left out: 20.
        limit: Option<usize> [1, FOUND_MAX] = default,
    }
    /// One's own conversations, and the open rooms.
    "rooms" Rooms => RoomList {}
    /// Who is in a room.
    "who" Who => People {
        /// Which.
        room: String,
    }
    /// About somebody.
    "whois" Whois => Known {
        /// Their name.
        who: String,
    }
    /// One is writing just now.
    "typing" Typing => Done {
        /// Where.
        room: String,
    }
    /// Everything up to there was read.
    "read" MarkRead => Marked {
        /// Where.
        room: String,
        /// The last one; left out: only says how far it is.
        offset: Option<u64> [0, NUMBER_MAX] = default,
    }
    /// A new room.
    "create" Create => Joined {
        /// Its name.
        room: String,
        /// What it is about.
        topic: Option<String> = default,
        /// Only members see and hear it.
        private: bool = default,
        /// Only who was invited comes in.
        invite_only: bool = default,
    }
    /// Changes a room's settings; what is left out stays.
    "set" Set => Kept | Done {
        /// Which.
        room: String,
        /// What it is about; empty: nothing.
        topic: Option<String> = default,
        /// Only members see and hear it.
        private: Option<bool> = default,
        /// Only who was invited comes in.
        invite_only: Option<bool> = default,
        /// One message of everybody in so many milliseconds, up to an hour; 0: off.
        slow_ms: Option<u64> [0, SLOW_MS_MAX] = default,
    }
    /// Gives somebody a rank.
    "role" Role => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
        /// Which.
        role: Rank,
    }
    /// Lets somebody in.
    "invite" Invite => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
    }
    /// Shows somebody the door.
    "kick" Kick => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
        /// Why.
        why: Option<String> = default,
    }
    /// For some time or for good.
    "ban" Ban => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
        /// Why.
        why: Option<String> = default,
        /// Left out: for good.
        minutes: Option<u64> [1, MINUTES_MAX] = default,
    }
    /// Ends a ban.
    "unban" Unban => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
    }
    /// Somebody may listen, not speak, for some time or for good.
    "mute" Mute => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
        /// Why.
        why: Option<String> = default,
        /// Left out: for good.
        minutes: Option<u64> [1, MINUTES_MAX] = default,
    }
    /// Ends a mute.
    "unmute" Unmute => Kept {
        /// Where.
        room: String,
        /// Their name.
        who: String,
    }
    /// Tells everybody.
    "announce" Announce => Kept {
        /// What.
        text: String,
        /// As in `send`.
        nonce: String [1, NONCE_BYTES_MAX],
    }
    /// One is not here, or here again.
    "away" Away => Done {
        /// Why; left out: here again.
        text: Option<String> = default,
    }
    /// Another name for a guest.
    "rename" Rename => You {
        /// As wished.
        name: String,
    }
    /// A line about oneself, kept while one is connected.
    "about" About => Done {
        /// What; left out: nothing.
        text: Option<String> = default,
    }
    /// Whose coming and going is told from now on, instead of those before.
    "watch" Watch => Watched {
        /// Their names, 100 at most; none: nobody's.
        who: Vec<String>,
    }
    /// Who had a name before they went, or took another.
    "whowas" Whowas => Gone {
        /// The name.
        who: String,
    }
    /// Who may not come into a room, and who may not speak there.
    "bans" Bans => BanList {
        /// Which.
        room: String,
    }
    /// Nothing but an answer.
    "ping" Ping => Done {}
}

/// Names that one connection watches at most.
pub const WATCHED_MAX: usize = 100;
/// Bytes of a line about oneself at most.
pub const ABOUT_BYTES_MAX: usize = 200;

/// What every request has.
#[derive(Deserialize)]
struct Envelope<'t> {
    #[serde(rename = "do", borrow)]
    kind: Cow<'t, str>,
    id: u64,
}

impl Request {
    /// Reads one message of the JSON protocol.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] with what is wrong, and the request's number where there is one.
    pub fn read(text: &str) -> Result<Self, Unread> {
        if !exact::is_object(text) {
            return Err((None, Refusal::Malformed { why: "invalid: a request is an object, {…}".into() }));
        }
        let Envelope { kind, id } = serde_json::from_str(text).map_err(|error| (None, malformed(&error)))?;
        if id == 0 || id > NUMBER_MAX {
            return Err((None, Refusal::Malformed { why: "id: a number from 1 to 2^53-1".into() }));
        }
        let ask = if kind == "hello" {
            serde_json::from_str(text).map(Asked::Hello).map_err(|error| malformed(&error))
        } else {
            read_ask(&kind, text).map(Asked::Ask)
        };
        ask.map(|ask| Self { id, ask }).map_err(|refusal| (Some(id), refusal))
    }
}

fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::Malformed { why: error.to_string() }
}

/// Names in a text that begin with `@`, each once, at most 20.
pub fn mentions(text: &str) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if c == '@' && !before.is_alphanumeric() && names.len() < 20 {
            let rest = text.get(at + 1..).unwrap_or_default();
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.')))
                .unwrap_or(rest.len());
            let name = rest.get(..end).unwrap_or_default().trim_end_matches('.');
            if crate::names::person(name).is_ok() && !names.iter().any(|have| **have == *name) {
                names.push(name.into());
            }
        }
        before = c;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: requests are read as the document shows them, and nothing else is.
    #[test]
    fn requests_are_read_strictly() {
        let join =
            Request::read(r#"{"do":"join","id":3,"room":"lobby","since":{"epoch":7,"offset":12}}"#).unwrap();
        let since = Some(Seen { epoch: 7, offset: 12 });
        let want = Join { room: "lobby".into(), since, ..Join::default() };
        assert_eq!(join, Request { id: 3, ask: Asked::Ask(want.into()) });
        assert!(Request::read(r#"{"id":1,"do":"ping"}"#).is_ok());
        assert!(Request::read(r#"{"id":1,"do":"hello","name":"mina"}"#).is_ok());
        check(r#"{"do":"who","id":1,"room":"a","rom":"b"}"#, Some(1), "unknown field `rom`");
        check(r#"{"do":"shout","id":1}"#, Some(1), r#"do: "shout" is none of hello, join, leave, send"#);
        check(r#"{"do":"join","room":"a"}"#, None, "missing field `id`");
        check(r#"{"do":"ping","id":0}"#, None, "id: a number from 1");
        check(r#"{"do":"ping","id":9007199254740992}"#, None, "id: a number from 1");
        check(r#"{"do":"send","id":2,"room":"a","text":"x"}"#, Some(2), "missing field `nonce`");
        check(r#"{"do":"history","id":1,"room":"a","limit":201}"#, Some(1), "limit: 1 to 200");
        check(r#"{"do":"history","id":1,"room":"a","limit":0}"#, Some(1), "limit: 1 to 200");
        check(r#"{"do":"read","id":1,"room":"a","offset":9007199254740992}"#, Some(1), "offset: 0 to 900");
        check(r#"{"do":"ban","id":1,"room":"a","who":"b","minutes":0}"#, Some(1), "minutes: 1 to 5");
        check(r#"{"do":"send","id":1,"room":"a","text":"b","nonce":""}"#, Some(1), "nonce: 1 to 64 bytes");
        check(
            r#"{"do":"join","id":1,"room":"a","since":{"epoch":1,"offset":9007199254740992}}"#,
            Some(1),
            "up to",
        );
        check(r#"{"do":"join","id":1,"room":"a","since":{"epoch":1}}"#, Some(1), "missing field `offset`");
        check(r#"{"do":"role","id":1,"room":"a","who":"b","role":"king"}"#, Some(1), "unknown variant");
        check(r#"{"do":"ping","id":1} {}"#, None, "trailing");
        check(r#"{"do":"ping","id":1,"id":1}"#, None, "duplicate field");
        // What other readers of JSON would take for the same: a list in place of an object, a table in place of a word.
        check(r#"["ping",1]"#, None, "an object");
        check(r#"{"do":"join","id":1,"room":"a","since":[7,12]}"#, Some(1), "expected an object");
        check(
            r#"{"do":"send","id":1,"room":"a","nonce":"n","files":[["a","files/1/a",1,"image/png"]]}"#,
            Some(1),
            "expected an object",
        );
        check(r#"{"do":"role","id":1,"room":"a","who":"b","role":{"owner":null}}"#, Some(1), "invalid type");
        check("[]", None, "invalid");
        check("", None, "an object");

        #[track_caller]
        fn check(text: &str, id: Option<u64>, want: &str) {
            let (got, refusal) = Request::read(text).unwrap_err();
            assert_eq!(got, id, "{text}");
            assert!(refusal.to_string().contains(want), "{text}: {refusal}");
        }
    }

    // Goal: who is mentioned is found in running text, in any script, and addresses of mail are nobody.
    #[test]
    fn mentions_are_found() {
        let names = |text| mentions(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("hi @mina, and @민아! (@kim_2) @mina."), ["mina", "민아", "kim_2"]);
        assert!(names("mail me: a@b.c @ @- x").is_empty());
        assert_eq!(mentions(&(0..50).map(|n| format!("@a{n} ")).collect::<String>()).len(), 20);
    }
}
