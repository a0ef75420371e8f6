//! `[pool.NAME]`: as checked.
//!
//! **Job.** Read pools. A [`PoolSettings`] in hand is the proof that its addresses parse and every bound in `keys` holds.
//! **Called by** `madang` (config). **Calls** `settings`, `address`, `rules`.
//!
//! Not here: live state (`server`, `pool`), what the values do (`pick`, `health`, `retry`, `breaker`).

mod address;
mod keys;
mod rules;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::tree::Value;

pub use self::address::{Address, Place, Protocol};
pub use madang_http::check::{Check, HEALTH, HealthSettings, StatusRange};

pub use self::keys::{BREAKER, PASSIVE, POOL, QUEUE, RETRY, SERVER, STICKY, TIMEOUTS, UPSTREAM_TLS};
pub use self::rules::{BreakerSettings, PassiveSettings, RetryOn, RetrySettings};
pub use self::stream::{
    ProxyHeader, STREAM, STREAM_ROUTE, STREAM_UDP, StreamRoute, StreamSettings, UdpSettings,
};

/// Servers that one pool may have, names resolved.
pub const SERVERS_MAX: usize = 256;

/// A pool, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct PoolSettings {
    pub name: Arc<str>,
    pub servers: Vec<ServerSettings>,
    pub balance: Balance,
    pub hash_by: HashBy,
    pub sticky: Sticky,
    pub slow_start: Duration,
    pub health: Option<HealthSettings>,
    pub passive: PassiveSettings,
    /// Percent; 0 is off.
    pub panic_below: u8,
    pub retry: RetrySettings,
    pub queue: QueueSettings,
    pub hold: Option<Duration>,
    pub breaker: Option<BreakerSettings>,
    pub timeouts: Timeouts,
    pub keep_alive: usize,
    /// With https.
    pub http2: bool,
    /// Bytes.
    pub body_buffer: u64,
    pub tls: UpstreamTls,
}

/// A server, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct ServerSettings {
    pub address: Address,
    /// 0 to 256.
    pub weight: u16,
    pub backup: bool,
    /// 0: no limit.
    pub max_connections: u32,
}

/// Who gets the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // `keys` documents each
pub enum Balance {
    RoundRobin,
    LeastConnections,
    TwoChoices,
    LeastTime,
    Hash,
}

/// What a request is hashed by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashBy {
    /// The client's address.
    Ip,
    /// The canonical path.
    Path,
    /// Path and query.
    Uri,
    /// A field's value, lower-case name.
    Header(String),
    /// A cookie's value.
    Cookie(String),
}

/// Whether a client stays at its server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sticky {
    /// It need not.
    Off,
    /// By its address.
    Ip,
    /// By a signed cookie, good for `ttl`; zero: for the session.
    Cookie {
        /// Its name.
        name: String,
        /// How long it is good for.
        ttl: Duration,
    },
}

/// `queue`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct QueueSettings {
    pub length: usize,
    pub wait: Duration,
}

/// `timeouts`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub whole: Option<Duration>,
}

/// `tls`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct UpstreamTls {
    pub verify: bool,
    pub ca: Option<PathBuf>,
    pub name: Option<String>,
    /// Certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl PoolSettings {
    /// Reads one pool.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        let servers = ServerSettings::read_all(r);
        let balance = match r.choice("balance") {
            "least-connections" => Balance::LeastConnections,
            "two-choices" => Balance::TwoChoices,
            "least-time" => Balance::LeastTime,
            "hash" => Balance::Hash,
            _ => Balance::RoundRobin,
        };
        if r.has("hash_by") && balance != Balance::Hash {
            r.warn("hash_by", "without balance = \"hash\" this has no effect", None);
        }
        let hash_by = r.text_or_default("hash_by");
        let hash_by = HashBy::parse(&hash_by).unwrap_or_else(|| {
            let help = "ip, path, uri, header:NAME or cookie:NAME".to_owned();
            r.error("hash_by", format!("{hash_by:?} is nothing to hash by"), Some(help));
            HashBy::Ip
        });
        let sticky = Sticky::read(r);
        if sticky == Sticky::Ip && balance == Balance::Hash {
            r.error("sticky", "balance = \"hash\" already says where a client goes", None);
        }
        let timeouts = r.table_or_default("timeouts", &TIMEOUTS, Timeouts::read);
        let health = r.table("health", &HEALTH, HealthSettings::read).flatten();
        Self {
            name: name.into(),
            servers,
            balance,
            hash_by,
            sticky,
            slow_start: r.duration("slow_start"),
            health,
            passive: r.table_or_default("passive", &PASSIVE, PassiveSettings::read),
            panic_below: rules::small(r.count("panic_below")),
            retry: r.table_or_default("retry", &RETRY, RetrySettings::read),
            queue: r.table_or_default("queue", &QUEUE, QueueSettings::read),
            hold: Some(r.duration("hold")).filter(|hold| !hold.is_zero()),
            breaker: r.table("breaker", &BREAKER, BreakerSettings::read),
            timeouts,
            keep_alive: rules::count(r, "keep_alive"),
            http2: r.bool("http2"),
            body_buffer: r.size("body_buffer"),
            tls: r.table_or_default("tls", &UPSTREAM_TLS, UpstreamTls::read),
        }
    }

    /// A pool of these servers with every other key at its default: what an app's instances get.
    pub fn of(name: &str, servers: Vec<ServerSettings>) -> Self {
        let empty = madang_settings::tree::Table::default();
        let mut scratch = madang_settings::report::Report::default();
        let mut settings = Self::read(&mut Reader::root(&empty, &POOL, &mut scratch), name);
        settings.servers = servers;
        settings
    }
}

impl ServerSettings {
    /// A server of weight 1 without a limit.
    pub const fn plain(address: Address) -> Self {
        Self { address, weight: 1, backup: false, max_connections: 0 }
    }

    fn read_all(r: &mut Reader<'_>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let nodes = r.nodes("servers");
        if nodes.is_empty() {
            let help = Some("for example servers = [\"127.0.0.1:3001\", \"127.0.0.1:3002\"]".to_owned());
            r.error("servers", "a pool needs `servers`", help);
        }
        if nodes.len() > SERVERS_MAX {
            r.error("servers", format!("{} servers, at most {SERVERS_MAX} are taken", nodes.len()), None);
        }
        for (index, node) in nodes.into_iter().enumerate().take(SERVERS_MAX) {
            let path = format!("{}[{index}]", r.key_path("servers"));
            let server = match &node.value {
                Value::Table(_) => r.below("servers", node, path.clone(), &SERVER, Self::table).flatten(),
                Value::Text(text) => {
                    let address = Address::parse(text);
                    if address.is_none() {
                        let message = format!("{} is not the address of a server", node.shown());
                        r.report.error(node.mark, &path, message, Some(HELP.to_owned()));
                    }
                    address.map(Self::plain)
                }
                _ => {
                    let message = format!("{} is not the address of a server", node.shown());
                    r.report.error(node.mark, &path, message, Some(HELP.to_owned()));
                    None
                }
            };
            let Some(server) = server else { continue };
            if all.iter().any(|other| other.address == server.address) {
                let message = format!("{} is in this pool already", server.address.key());
                r.report.error(node.mark, &path, message, Some("give it a `weight` instead".to_owned()));
            } else {
                all.push(server);
            }
        }
        if !all.is_empty() && all.iter().all(|server| server.backup) {
            r.error("servers", "every server is a backup: at least one must not be", None);
        } else if !all.is_empty() && all.iter().all(|server| server.backup || server.weight == 0) {
            r.error("servers", "every server has weight 0: nobody would get a request", None);
        }
        all
    }

    fn table(r: &mut Reader<'_>) -> Option<Self> {
        let weight = r.count("weight").and_then(|weight| u16::try_from(weight).ok()).unwrap_or(1);
        let (backup, max_connections) = (r.bool("backup"), r.count_u32("max_connections"));
        let Some(text) = r.text("address") else {
            if !r.has("address") {
                r.error("address", "`address` is missing", Some(HELP.to_owned()));
            }
            return None;
        };
        let Some(address) = Address::parse(&text) else {
            r.error("address", format!("{text:?} is not the address of a server"), Some(HELP.to_owned()));
            return None;
        };
        if matches!(address.place, Place::Service(_)) && r.has("weight") {
            r.error("weight", "the weights of a service come with its records", None);
        }
        Some(Self { address, weight, backup, max_connections })
    }
}

const HELP: &str = "for example \"127.0.0.1:3001\", \"app.internal:3001\", \"unix:/run/app.sock\", \"https://app.internal\", \"srv://_http._tcp.app.internal\"";

/// A token of RFC 9110 5.6.2: the names of fields and cookies.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl HashBy {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => match text {
                "ip" => Some(Self::Ip),
                "path" => Some(Self::Path),
                "uri" => Some(Self::Uri),
                _ => None,
            },
            Some(("header", name)) if is_token(name) => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) if is_token(name) => Some(Self::Cookie(name.to_owned())),
            Some(_) => None,
        }
    }
}

impl Sticky {
    fn read(r: &mut Reader<'_>) -> Self {
        let Some(node) = r.node("sticky") else { return Self::Off };
        match &node.value {
            Value::Text(text) if text == "ip" => Self::Ip,
            Value::Table(_) => {
                let cookie = r.table("sticky", &STICKY, |r| {
                    let (name, ttl) = (r.text_or_default("cookie"), r.duration("ttl"));
                    if !is_token(&name) {
                        r.error("cookie", format!("{name:?} cannot be the name of a cookie"), None);
                    }
                    Self::Cookie { name, ttl }
                });
                cookie.unwrap_or(Self::Off)
            }
            _ => {
                let help = Some("\"ip\" or { cookie = \"NAME\" }".to_owned());
                r.error("sticky", format!("{} is no way to stick", node.shown()), help);
                Self::Off
            }
        }
    }
}

impl QueueSettings {
    fn read(r: &mut Reader<'_>) -> Self {
        Self { length: rules::count(r, "length"), wait: r.duration("wait") }
    }
}

impl Timeouts {
    fn read(r: &mut Reader<'_>) -> Self {
        Self {
            connect: r.duration("connect"),
            first_byte: r.duration("first_byte"),
            idle: r.duration("idle"),
            whole: Some(r.duration("whole")).filter(|whole| !whole.is_zero()),
        }
    }
}

impl UpstreamTls {
    fn read(r: &mut Reader<'_>) -> Self {
        let (verify, ca, name) = (r.bool("verify"), r.path_value("ca"), r.text("name"));
        if !verify {
            r.warn("verify", "anybody between here and the servers can read and change what passes", None);
        }
        let identity = match (r.path_value("cert"), r.path_value("key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                let written = if r.has("cert") { "cert" } else { "key" };
                r.error(written, "both `cert` and `key` are needed", None);
                None
            }
        };
        Self { verify, ca, name, identity }
    }
}

#[cfg(test)]
mod tests;
