//! A health check as the settings say it: what is asked, and how the answer is judged.
//!
//! **Job.** The keys of `health` and their checked form, for every role that has servers to ask (`[pool.NAME]`, `[app.NAME]`).
//! **Called by** the roles' `config`. **Calls** `settings`.
//!
//! Not here: asking and judging (`roles/balance`).

use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};
use madang_settings::tree::{Node, Value};

/// `health`.
pub const HEALTH: Section = Section {
    title: "health",
    doc: "One of `path`, `tcp` and `grpc`, and how to judge the answer.",
    keys: &[
        key("path", Kind::Text, "", "Ask this path with GET."),
        key("tcp", Kind::Bool, "false", "It is enough that a connection opens (and TLS, with `tls`)."),
        key(
            "grpc",
            Kind::Either(&[Kind::Bool, Kind::Text]),
            "false",
            "Ask grpc.health.v1.Health, about the whole server (true) or the service of this name.",
        ),
        key(
            "every",
            Kind::Duration("100ms", "1h"),
            "\"2s\"",
            "How often; each time up to a tenth sooner or later.",
        ),
        key("timeout", Kind::Duration("10ms", "1m"), "\"1s\"", "How long an answer may take."),
        key("rise", Kind::Count(1, 100), "2", "So many good answers in a row: up."),
        key("fall", Kind::Count(1, 100), "3", "So many bad answers in a row: down."),
        key(
            "status",
            Kind::List(&Kind::Either(&[Kind::Count(100, 599), Kind::Text])),
            "\"200-399\"",
            "With `path`: statuses that are good: `204`, `\"2xx\"`, `\"200-399\"`.",
        ),
        key(
            "body",
            Kind::Text,
            "",
            "With `path`: the first 64 KiB of the answer's body must hold this text.",
        ),
        key(
            "header",
            Kind::Map(&Kind::Text),
            "",
            "With `path`: fields the answer must have, with these values (`*`: any).",
        ),
        key(
            "host",
            Kind::Text,
            "",
            "With `path` and `grpc`: the Host that is asked for. Left out: the server's.",
        ),
        key("port", Kind::Count(1, 65_535), "", "Ask at another port of the same address."),
        key("tls", Kind::Bool, "", "Ask by TLS. Left out: as requests go."),
    ],
};

/// Statuses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl StatusRange {
    /// Whether a status is one of them.
    pub const fn holds(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }

    /// `204`, `2xx`, `200-399`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text.len() {
            3 => text.parse::<u16>().ok().filter(|status| (100..=599).contains(status)),
            _ => None,
        };
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (number(first)?, number(last)?);
            return (first <= last).then_some(Self { first, last });
        }
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))?;
            return Some(Self { first: class * 100, last: class * 100 + 99 });
        }
        number(text).map(|status| Self { first: status, last: status })
    }
}

/// What a health check asks and expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// GET `path`.
    Http {
        /// With its query.
        path: String,
        /// Good statuses.
        statuses: Vec<StatusRange>,
        /// Text that the first 64 KiB of the body must hold.
        body: Option<String>,
        /// Fields that the answer must have: lower-case name, value; `None` is any.
        headers: Vec<(String, Option<String>)>,
    },
    /// A connection opens.
    Tcp,
    /// grpc.health.v1.Health/Check answers SERVING; an empty service is the whole server.
    Grpc {
        /// The service asked about.
        service: String,
    },
}

/// `health`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct HealthSettings {
    pub check: Check,
    pub every: Duration,
    pub timeout: Duration,
    pub rise: u32,
    pub fall: u32,
    pub host: Option<String>,
    pub port: Option<u16>,
    /// `None`: as requests go.
    pub tls: Option<bool>,
}

impl HealthSettings {
    /// Reads it; `None` when it does not say what to ask.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let grpc = match r.node("grpc").map(|node| &node.value) {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(String::new()),
            Some(Value::Text(service)) => Some(service.clone()),
            Some(_) => {
                r.error("grpc", "`grpc` is true or the name of a service", None);
                None
            }
        };
        let (path, tcp) = (r.text("path"), r.bool("tcp"));
        let http_only = ["status", "body", "header"];
        let statuses = read_statuses(r);
        let (body, headers) = (r.text("body"), read_headers(r));
        let check = match (path, tcp, grpc) {
            (Some(path), false, None) => {
                if !path.starts_with('/') || path.bytes().any(|b| b <= b' ' || b == b'#' || b >= 0x7f) {
                    let help = Some("for example \"/healthz\"".to_owned());
                    r.error("path", format!("{path:?} is not a path"), help);
                }
                Some(Check::Http { path, statuses, body, headers })
            }
            (None, true, None) => Some(Check::Tcp),
            (None, false, Some(service)) => Some(Check::Grpc { service }),
            (None, false, None) => {
                let help = Some("for example health = { path = \"/healthz\" }".to_owned());
                let (mark, path) = (r.mark(), r.path().to_owned());
                r.report.error(mark, &path, "`health` needs one of path, tcp, grpc", help);
                None
            }
            _ => {
                let (mark, path) = (r.mark(), r.path().to_owned());
                r.report.error(mark, &path, "`health` takes one of path, tcp, grpc", None);
                None
            }
        };
        if !matches!(check, None | Some(Check::Http { .. })) {
            for key in http_only {
                if r.has(key) {
                    r.error(key, format!("`{key}` goes with `path` only"), None);
                }
            }
        }
        let (every, timeout) = (r.duration("every"), r.duration("timeout"));
        Some(Self {
            check: check?,
            every,
            timeout,
            rise: r.count_u32("rise"),
            fall: r.count_u32("fall"),
            host: r.text("host"),
            port: r.count("port").and_then(|port| u16::try_from(port).ok()),
            tls: r.has("tls").then(|| r.bool("tls")),
        })
    }
}

fn read_statuses(r: &mut Reader<'_>) -> Vec<StatusRange> {
    let mut all = Vec::new();
    for node in r.nodes("status") {
        match status_range(node) {
            Some(range) => all.push(range),
            None => {
                let path = r.key_path("status");
                let help = Some("for example 204, \"2xx\", \"200-399\"".to_owned());
                r.report.error(node.mark, &path, format!("{} is no status", node.shown()), help);
            }
        }
    }
    if all.is_empty() {
        all.push(StatusRange { first: 200, last: 399 });
    }
    all
}

fn status_range(node: &Node) -> Option<StatusRange> {
    match &node.value {
        Value::Integer(status) => StatusRange::parse(&status.to_string()),
        Value::Text(text) => StatusRange::parse(text),
        _ => None,
    }
}

fn read_headers(r: &mut Reader<'_>) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    for (name, value) in r.text_map("header") {
        if is_field_name(&name) {
            all.push((name.to_ascii_lowercase(), Some(value).filter(|value| value != "*")));
        } else {
            r.error("header", format!("{name:?} is not the name of a field"), None);
        }
    }
    all
}

/// A token of RFC 9110 5.6.2.
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
