//! `hooks` and `posts` of a chat: whom it tells, and who may post by URL.
//!
//! **Job.** Read both. A [`HookSettings`] in hand is the proof that its URL can be asked and its bounds hold. **Called by**
//! `config`. **Calls** `settings`, `http::url`, `http::upstream::webhook`.
//!
//! Invariants
//! 1. A URL's path, a secret and a token are shown nowhere.
//!
//! Not here: sending (`hooks`), posting (`web`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use madang_http::upstream::webhook::{SECRET_BYTES_MIN, Secret, is_private};
use madang_http::url::Url;
use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};

use crate::hooks::rule::{HookRule, Kind as Of};
use crate::names::{self, Address};
use crate::pace::Rate;

/// `hooks.NAME`.
pub const HOOK: Section = Section {
    title: "hooks.NAME",
    doc: "A webhook: another server is told what happens. docs/chat-hooks.md shows what is sent and how it is signed; `madang chat hooks CHAT` shows what waits.",
    keys: &[
        key("url", Kind::Text, "", "Where it is sent, by POST: `\"https://…\"`."),
        key(
            "on",
            Kind::List(&Kind::Choice(&["message", "join", "mention"])),
            "\"message\"",
            "What is told: every `message`; who becomes one of a room (`join`); who was mentioned or written to directly while not connected (`mention`).",
        ),
        key(
            "rooms",
            Kind::List(&Kind::Text),
            "",
            "Only these rooms, private ones too; `\"*\"`: announcements. Left out: all that are not private, announcements, and mentions in direct messages.",
        ),
        key(
            "secret",
            Kind::Text,
            "",
            "Signs what is sent: 16 bytes or more, or base64 behind `whsec_`. Better from the environment: `\"${HOOK_SECRET}\"`.",
        ),
        key(
            "allow_private",
            Kind::Bool,
            "false",
            "Also to addresses that only this machine or its networks reach (127.0.0.1, 10.0.0.0/8, 169.254.0.0/16, …).",
        ),
        key("timeout", Kind::Duration("100ms", "1m"), "\"10s\"", "How long one attempt may take."),
        key("tries", Kind::Count(1, 1000), "20", "Attempts for one letter; then it is a dead letter."),
        key(
            "give_up",
            Kind::Duration("1m", "30d"),
            "\"24h\"",
            "While nothing is taken, older letters become dead letters.",
        ),
    ],
};

/// `posts.NAME`.
pub const POST: Section = Section {
    title: "posts.NAME",
    doc: "Whoever knows the token may post to one room, under the name of this table: `curl -d '{\"text\":\"built\"}' https://…/chat/hooks/TOKEN`. See docs/chat-hooks.md.",
    keys: &[
        key("room", Kind::Text, "", "The room; made by the first post if there is none."),
        key(
            "token",
            Kind::Text,
            "",
            "The last part of the URL: 22 to 128 letters, digits, `-` and `_`, drawn at random (`openssl rand -hex 16`). Better from the environment: `\"${BUILD_TOKEN}\"`.",
        ),
        key("rate", Kind::Rate, "\"1/s\"", "How often it may post in the long run."),
        key("burst", Kind::Count(1, 1000), "10", "How many at once after a pause."),
    ],
};

/// Hooks of one chat, each kind.
const MANY_MAX: usize = 32;
/// 128 bits in the 64 signs of base64url.
const TOKEN_BYTES_MIN: usize = 22;
const TOKEN_BYTES_MAX: usize = 128;

/// A hook, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `HOOK` documents each
pub struct HookSettings {
    pub name: Arc<str>,
    pub url: Url,
    pub on: Vec<Of>,
    pub rooms: Vec<Arc<str>>,
    pub secret: Option<Secret>,
    pub allow_private: bool,
    pub timeout: Duration,
    pub tries_max: u32,
    pub give_up_after: Duration,
}

/// A way to post by URL, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `POST` documents each
pub struct PostSettings {
    pub name: Arc<str>,
    /// Folded.
    pub room: Arc<str>,
    pub token: Token,
    pub rate: Rate,
}

/// A token, as its hash. In no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    fn new(token: &str) -> Self {
        let mut hash = [0; 32];
        let made = digest::digest(&digest::SHA256, token.as_bytes());
        for (to, from) in hash.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
        Self(hash)
    }

    /// Whether this is the one; how long that takes says nothing about it.
    pub fn is(&self, given: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::new(given).0).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl HookSettings {
    /// For the hub.
    pub fn rule(&self) -> HookRule {
        HookRule { name: Arc::clone(&self.name), on: self.on.clone(), rooms: self.rooms.clone() }
    }

    fn read(r: &mut Reader<'_>, name: &str) -> Option<Self> {
        let named = check_name(r, name, "hook");
        let allow_private = r.bool("allow_private");
        let url = read_url(r, allow_private);
        let on = r.texts("on");
        for word in &on {
            if !["message", "join", "mention"].contains(&word.as_str()) {
                let help = Some("\"message\", \"join\", \"mention\"".to_owned());
                r.error("on", format!("{word:?} is nothing a hook is told of"), help);
            }
        }
        if r.has("on") && on.is_empty() {
            r.error("on", "a hook that is told of nothing", Some("on = [\"message\"]".to_owned()));
        }
        let mut kinds: Vec<Of> = [Of::Message, Of::Join, Of::Mention]
            .into_iter()
            .filter(|kind| on.iter().any(|word| *word == kind.name()))
            .collect();
        if kinds.is_empty() {
            kinds.push(Of::Message);
        }
        let rooms = read_rooms(r);
        let secret = r.text("secret").and_then(|text| {
            let secret = Secret::parse(text.trim());
            if secret.is_none() {
                let help = Some("for example: openssl rand -hex 32".to_owned());
                let message = format!(
                    "it is no secret of {SECRET_BYTES_MIN} bytes or more (behind whsec_ it is base64)"
                );
                r.error("secret", message, help);
            }
            secret
        });
        let (timeout, tries_max) = (r.duration("timeout"), r.count_u32("tries"));
        let give_up_after = r.duration("give_up");
        Some(Self {
            name: named?,
            url: url?,
            on: kinds,
            rooms,
            secret,
            allow_private,
            timeout,
            tries_max,
            give_up_after,
        })
    }
}

fn read_url(r: &mut Reader<'_>, allow_private: bool) -> Option<Url> {
    const EXAMPLE: &str = "for example url = \"https://app.example.org/chat\"";
    let Some(text) = r.text("url") else {
        if !r.has("url") {
            r.error("url", "`url` is missing: where it is sent", Some(EXAMPLE.to_owned()));
        }
        return None;
    };
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(why) => {
            // The URL itself is not shown.
            r.error("url", why, Some(EXAMPLE.to_owned()));
            return None;
        }
    };
    let address = url.host.parse().ok();
    if !allow_private && (url.host == "localhost" || address.is_some_and(is_private)) {
        let help = Some("allow_private = true, if that is meant".to_owned());
        let message = format!("{} is an address of this machine or of a private network", url.host);
        r.error("url", message, help);
        return None;
    }
    if !url.secure && !url.is_near() {
        let (mark, path) = (r.mark(), r.key_path("url"));
        let message = format!("what is said goes to {} in the clear", url.authority);
        r.report.warn(mark, &path, message, Some("use https://".to_owned()));
    }
    Some(url)
}

fn read_rooms(r: &mut Reader<'_>) -> Vec<Arc<str>> {
    let mut rooms = Vec::new();
    for (node, text) in r.texts_with_nodes("rooms") {
        match Address::read(&text) {
            Ok(Address::Room(name)) => rooms.push(name),
            Ok(Address::Everyone) => rooms.push("*".into()),
            Ok(Address::Direct(_)) | Err(_) => {
                let (path, help) = (r.key_path("rooms"), Some("rooms = [\"lobby\"]".to_owned()));
                r.report.error(node.mark, &path, format!("{text:?} is not a room"), help);
            }
        }
    }
    if r.has("rooms") && rooms.is_empty() {
        r.error("rooms", "a hook that hears no room", Some("rooms = [\"lobby\"]".to_owned()));
    }
    rooms
}

impl PostSettings {
    /// For the hub.
    pub fn rule(&self) -> PostRule {
        PostRule { name: Arc::clone(&self.name), rate: self.rate }
    }

    fn read(r: &mut Reader<'_>, name: &str) -> Option<Self> {
        let named = check_name(r, name, "post");
        let room = match r.text("room") {
            Some(text) => match Address::read(&text) {
                Ok(Address::Room(room)) => Some(room),
                _ => {
                    r.error("room", format!("{text:?} is not a room"), Some("room = \"lobby\"".to_owned()));
                    None
                }
            },
            None => {
                if !r.has("room") {
                    r.error(
                        "room",
                        "`room` is missing: where it posts to",
                        Some("room = \"lobby\"".to_owned()),
                    );
                }
                None
            }
        };
        let fits = |text: &String| {
            (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let given = r.text("token");
        let token = given.filter(fits);
        if token.is_none() {
            let message = if r.has("token") {
                format!("a token is {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} letters, digits, - and _")
            } else {
                "`token` is missing: the part of the URL that nobody can guess".to_owned()
            };
            r.error("token", message, Some("for example: openssl rand -hex 16".to_owned()));
        }
        let burst = r.count_u32("burst");
        let every = match r.rate("rate") {
            Some(rate) => rate.period / rate.count.max(1),
            None => Duration::from_secs(1),
        };
        Some(Self { name: named?, room: room?, token: Token::new(&token?), rate: Rate { burst, every } })
    }
}

/// What the hub needs of a way to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostRule {
    /// Its name, and the one it is shown under.
    pub name: Arc<str>,
    /// How fast.
    pub rate: Rate,
}

/// Both of a chat.
pub(super) fn read(r: &mut Reader<'_>) -> (Vec<Arc<HookSettings>>, Vec<Arc<PostSettings>>) {
    let hooks = r.named("hooks", &HOOK, HookSettings::read);
    let posts = r.named("posts", &POST, PostSettings::read);
    for (key, count) in [("hooks", hooks.len()), ("posts", posts.len())] {
        if count > MANY_MAX {
            r.error(key, format!("{count} are more than the {MANY_MAX} that a chat may have"), None);
        }
    }
    let posts: Vec<_> = posts.into_iter().flatten().map(Arc::new).collect();
    for (at, one) in posts.iter().enumerate() {
        if let Some(other) = posts.iter().take(at).find(|other| other.token == one.token) {
            let message = format!("{} and {} have the same token", other.name, one.name);
            r.error("posts", message, Some("for example: openssl rand -hex 16".to_owned()));
        }
    }
    (hooks.into_iter().flatten().map(Arc::new).collect(), posts)
}

/// The name is part of names in the store, and of a person.
fn check_name(r: &mut Reader<'_>, name: &str, what: &str) -> Option<Arc<str>> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.len() <= 32 && name.bytes().all(fits) && names::person(name).is_ok() {
        return Some(name.into());
    }
    let (mark, path) = (r.mark(), r.path().to_owned());
    let help = Some("1 to 32 of a-z, 0-9, - and _, the first a letter or digit".to_owned());
    r.report.error(mark, &path, format!("{name:?} cannot be the name of a {what}"), help);
    None
}
