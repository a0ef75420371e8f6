//! `[chat.NAME]`: as checked.
//!
//! **Job.** Read a chat's settings. A [`ChatSettings`] in hand is the proof that every bound in `keys` holds and nothing
//! contradicts itself. **Called by** `madang` (config). **Calls** `settings`, `host::config`.
//!
//! Not here: what is done with the values (the hub, the faces), whether addresses are free (`madang`).

pub mod hooks;
mod keys;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use madang_host::config::{Listen, TlsSettings};
use madang_host::net::listen::Address;
use madang_settings::reader::Reader;
use madang_settings::tree::Value;
use madang_settings::unit;

pub use self::hooks::{HookSettings, PostSettings};
pub use self::keys::{CHAT, FILES, ROOMS};
use crate::listen::is_spoken;

/// A chat, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct ChatSettings {
    pub name: Arc<str>,
    pub listen: Vec<ChatListen>,
    pub tls: Option<TlsSettings>,
    pub history: History,
    pub guests: bool,
    pub rooms: RoomSettings,
    pub message_bytes_max: usize,
    pub frame_bytes_max: usize,
    pub rate: SendRate,
    /// `None`: nothing may be attached.
    pub files: Option<FileSettings>,
    pub ping: Duration,
    pub outbox_bytes_max: usize,
    pub stalled: Duration,
    pub presence: Duration,
    pub origins: Origins,
    pub hooks: Vec<Arc<HookSettings>>,
    pub posts: Vec<Arc<PostSettings>>,
    pub motd: Option<String>,
}

/// One address of `listen`, and what is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatListen {
    /// Address, TLS, who may connect.
    pub listen: Listen,
    /// What is spoken.
    pub speaks: Speaks,
}

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaks {
    /// `irc://`, `ircs://`.
    Irc,
    /// `line://`, `lines://`: plain lines of text.
    Line,
}

/// How much of each room is kept; everything that is `Some` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct History {
    /// `None`: forever.
    pub age: Option<Duration>,
    pub messages: Option<u64>,
    pub bytes: Option<u64>,
}

/// `rooms`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct RoomSettings {
    pub max: usize,
    pub create: Create,
    pub members_max: usize,
    pub per_person: usize,
}

/// Who may make rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub enum Create {
    Everyone,
    Users,
    Admins,
}

/// How fast one person may send: `burst` at once, then `count` every `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct SendRate {
    pub count: u32,
    pub period: Duration,
    pub burst: u32,
}

/// `files`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct FileSettings {
    pub bytes_max: u64,
    /// Lower case; `image/*` for a whole kind.
    pub types: Vec<String>,
    pub total_bytes_max: u64,
    pub guests: bool,
}

/// Whose pages may open connections from browsers, beside those of the same host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// These, lower case, without a slash at the end.
    Only(Vec<String>),
    /// All.
    Any,
}

/// What a frame holds beside the text of its message.
const FRAME_BYTES_BESIDE: usize = 4 * 1024;

/// What may be attached when nothing is said: nothing that a browser runs.
const TYPES: [&str; 6] =
    ["image/*", "audio/*", "video/*", "text/plain", "application/pdf", "application/zip"];

impl ChatSettings {
    /// Reads one chat.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        check_name(r, name);
        let listen = read_listen(r);
        let tls = TlsSettings::read(r);
        let ends_tls = listen.iter().any(|one| one.listen.secure);
        if ends_tls && tls.is_none() && !r.has("tls") {
            let help = "write tls = \"local\" while developing, or tls = { cert = \"…\", key = \"…\" }";
            let message = "an address is ircs:// or lines:// but the chat has no `tls`";
            r.error("listen", message, Some(help.to_owned()));
        }
        let listen_was_wrong = r.has("listen") && listen.is_empty();
        if tls.is_some() && !ends_tls && !listen_was_wrong {
            let help = "listen by ircs:// or lines://; browsers have the TLS of their site".to_owned();
            r.error("tls", "there are certificates but no ircs:// or lines:// address", Some(help));
        }
        let message_bytes_max = memory(r.size("message_size"));
        let frame_bytes_max = memory(r.size("frame"));
        let needed = message_bytes_max + FRAME_BYTES_BESIDE;
        if frame_bytes_max < needed {
            let (key, message) = if r.has("frame") {
                ("frame", "a message of `message_size` does not fit into a frame")
            } else {
                ("message_size", "a message of this size does not fit into a frame of 64KiB")
            };
            let help = format!("frame = {:?} or more", unit::show_size(needed as u64));
            r.error(key, message, Some(help));
        }
        let (hooks, posts) = hooks::read(r);
        Self {
            name: name.into(),
            listen,
            tls,
            history: History {
                age: read_history(r),
                messages: r.count("history_messages").filter(|count| *count > 0),
                bytes: Some(r.size("history_bytes")).filter(|bytes| *bytes > 0),
            },
            guests: r.bool("guests"),
            rooms: r.table_or_default("rooms", &ROOMS, RoomSettings::read),
            message_bytes_max,
            frame_bytes_max,
            rate: SendRate::read(r),
            files: read_files(r),
            ping: r.duration("ping"),
            outbox_bytes_max: memory(r.size("outbox")),
            stalled: r.duration("stalled"),
            presence: r.duration("presence"),
            origins: Origins::read(r),
            hooks,
            posts,
            motd: r.text("motd").filter(|text| !text.is_empty()),
        }
    }
}

impl Default for ChatSettings {
    /// What a chat has that says nothing: for tests, and for what is tried out in a library.
    fn default() -> Self {
        let table = madang_settings::tree::Table::default();
        let mut report = madang_settings::report::Report::default();
        Self::read(&mut Reader::root(&table, &CHAT, &mut report), "chat")
    }
}

fn memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The name is part of paths and of names in the store.
fn check_name(r: &mut Reader<'_>, name: &str) {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
        let (mark, path) = (r.mark(), r.path().to_owned());
        let help = Some("1 to 32 of a-z, 0-9, - and _: [chat.town]".to_owned());
        r.report.error(mark, &path, format!("{name:?} cannot be the name of a chat"), help);
    }
}

const HELP: &str = "for example listen = [\"irc://127.0.0.1:6667\", \"line://127.0.0.1:7000\"]";

fn read_listen(r: &mut Reader<'_>) -> Vec<ChatListen> {
    let (allow, deny) = (r.networks("allow"), r.networks("deny"));
    let proxy_protocol = r.networks("proxy_protocol");
    let connections_max = r.count_u32("connections_max");
    let mut all = Vec::new();
    for (node, text) in r.texts_with_nodes("listen") {
        match address(&text) {
            Some((_, _, speaks)) if !is_spoken(speaks) => {
                let path = r.key_path("listen");
                let help = "browsers reach a chat by a route of a site: { path = \"/chat/*\", chat = \"…\" }";
                let message = format!("{text:?} is not in this version");
                r.report.error(node.mark, &path, message, Some(help.to_owned()));
            }
            Some((address, secure, speaks)) => all.push(ChatListen {
                listen: Listen {
                    name: text,
                    secure,
                    address,
                    allow: allow.clone(),
                    deny: deny.clone(),
                    connections_max,
                    proxy_protocol: proxy_protocol.clone(),
                    h2c: false,
                },
                speaks,
            }),
            None => {
                let path = r.key_path("listen");
                let web = text.starts_with("http") || text.starts_with("ws");
                let help = if web {
                    "browsers reach a chat by a route of a site: { path = \"/chat/*\", chat = \"…\" }"
                } else {
                    HELP
                };
                let message = format!("{text:?} is not an address that a chat listens on");
                r.report.error(node.mark, &path, message, Some(help.to_owned()));
            }
        }
    }
    all
}

/// An address, whether TLS ends there, and what is spoken.
fn address(text: &str) -> Option<(Address, bool, Speaks)> {
    let (scheme, rest) = text.split_once("://")?;
    let (secure, speaks) = match scheme {
        "irc" => (false, Speaks::Irc),
        "ircs" => (true, Speaks::Irc),
        "line" => (false, Speaks::Line),
        "lines" => (true, Speaks::Line),
        _ => return None,
    };
    let rest = rest.trim_end_matches('/');
    let address = match (rest.strip_prefix("unix:"), rest.strip_prefix("localhost:")) {
        (Some(path), _) => path.starts_with('/').then(|| Address::Unix(path.into()))?,
        (None, Some(port)) => Address::Tcp(format!("127.0.0.1:{port}").parse().ok()?),
        (None, None) => Address::Tcp(rest.parse().ok()?),
    };
    Some((address, secure, speaks))
}

/// `None`: forever.
fn read_history(r: &mut Reader<'_>) -> Option<Duration> {
    const DAYS: Duration = Duration::from_secs(30 * 24 * 3600);
    const RANGE: std::ops::RangeInclusive<Duration> =
        Duration::from_secs(3600)..=Duration::from_secs(5200 * 7 * 24 * 3600);
    let Some(node) = r.node("history") else { return Some(DAYS) };
    let age = match &node.value {
        Value::Text(text) if text == "forever" => return None,
        Value::Text(text) => unit::duration(text).filter(|age| RANGE.contains(age)),
        _ => None,
    };
    if age.is_none() {
        let message =
            format!("{} is neither \"forever\" nor a duration from \"1h\" to \"5200w\"", node.shown());
        r.error("history", message, Some("for example history = \"30d\"".to_owned()));
    }
    age.or(Some(DAYS))
}

fn read_files(r: &mut Reader<'_>) -> Option<FileSettings> {
    match r.node("files").map(|node| &node.value) {
        Some(Value::Bool(false)) => None,
        Some(Value::Table(_)) => r.table("files", &FILES, FileSettings::read),
        Some(Value::Bool(true)) | None => Some(FileSettings::default()),
        Some(_) => {
            let help = Some("files = false, or files = { size = \"10MiB\", total = \"1GiB\" }".to_owned());
            r.error("files", "what may be attached is a table, or false", help);
            None
        }
    }
}

impl RoomSettings {
    fn read(r: &mut Reader<'_>) -> Self {
        let count = |r: &mut Reader<'_>, key: &str| memory(r.count(key).unwrap_or(1));
        Self {
            max: count(r, "max"),
            create: match r.choice("create") {
                "users" => Create::Users,
                "admins" => Create::Admins,
                _ => Create::Everyone,
            },
            members_max: count(r, "members_max"),
            per_person: count(r, "per_person"),
        }
    }
}

impl SendRate {
    fn read(r: &mut Reader<'_>) -> Self {
        if let Some(node) = r.node("rate")
            && let Value::Text(text) = &node.value
            && text.contains(' ')
            && unit::rate(text).is_some()
        {
            let help = "for example rate = \"5/s\" and burst = 20".to_owned();
            r.error(
                "rate",
                "the rate of a chat is of each person, and `burst` is a key of its own",
                Some(help),
            );
        }
        let burst = r.count_u32("burst");
        match r.rate("rate") {
            Some(rate) => Self { count: rate.count, period: rate.period, burst },
            None => Self { count: 5, period: Duration::from_secs(1), burst },
        }
    }
}

impl FileSettings {
    fn read(r: &mut Reader<'_>) -> Self {
        let (bytes_max, total_bytes_max) = (r.size("size"), r.size("total"));
        if bytes_max > total_bytes_max {
            let help = Some("total = \"1GiB\" or more".to_owned());
            r.error("total", "one file of `size` is more than all together may have", help);
        }
        let mut types = Vec::new();
        for (node, text) in r.texts_with_nodes("types") {
            if is_media_type(&text) {
                types.push(text.to_ascii_lowercase());
            } else {
                let (path, help) = (r.key_path("types"), Some("\"image/png\", \"image/*\"".to_owned()));
                r.report.error(node.mark, &path, format!("{text:?} is not a media type"), help);
            }
        }
        if !r.has("types") {
            types.extend(TYPES.map(str::to_owned));
        }
        Self { bytes_max, types, total_bytes_max, guests: r.bool("guests") }
    }

    /// Whether files of this media type are taken; parameters (`; charset=…`) do not count.
    pub fn takes(&self, media_type: &str) -> bool {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let fits = |one: &String| match one.strip_suffix("/*") {
            Some(kind) => essence.split_once('/').is_some_and(|(have, _)| have.eq_ignore_ascii_case(kind)),
            None => essence.eq_ignore_ascii_case(one),
        };
        is_media_type(essence) && self.types.iter().any(fits)
    }
}

impl Default for FileSettings {
    fn default() -> Self {
        let table = madang_settings::tree::Table::default();
        let mut report = madang_settings::report::Report::default();
        Self::read(&mut Reader::root(&table, &FILES, &mut report))
    }
}

/// `type/subtype` of tokens (RFC 9110 8.3.1).
fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part.len() <= 64
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, below)| token(kind) && token(below))
}

impl Origins {
    fn read(r: &mut Reader<'_>) -> Self {
        let mut only = Vec::new();
        for (node, text) in r.texts_with_nodes("origins") {
            if text == "*" {
                return Self::Any;
            }
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            // A slash, a path or a user would never be equal to what a browser sends (RFC 6454 6.2).
            if rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' '])) {
                only.push(text.to_ascii_lowercase());
            } else {
                let path = r.key_path("origins");
                let help = Some(
                    "scheme and host, without a slash at the end: \"https://app.example.org\"".to_owned(),
                );
                r.report.error(node.mark, &path, format!("{text:?} is not an origin"), help);
            }
        }
        Self::Only(only)
    }
}

#[cfg(test)]
mod tests;
