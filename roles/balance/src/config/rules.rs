//! `health`, `passive`, `retry` and `breaker` of a pool: as checked.
//!
//! **Job.** Read the rules by which servers are judged and attempts repeated. **Called by** `config`. **Calls** `settings`.
//!
//! Not here: applying them (`health`, `retry`, `breaker`).

use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::tree::{Node, Value};

use super::is_token;

pub(super) fn small(count: Option<u64>) -> u8 {
    count.and_then(|count| u8::try_from(count).ok()).unwrap_or_default()
}

pub(super) fn count(r: &mut Reader<'_>, key: &str) -> usize {
    r.count(key).and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
}

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
    pub(super) fn parse(text: &str) -> Option<Self> {
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
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
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
        if is_token(&name) {
            all.push((name.to_ascii_lowercase(), Some(value).filter(|value| value != "*")));
        } else {
            r.error("header", format!("{name:?} is not the name of a field"), None);
        }
    }
    all
}

/// `passive`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct PassiveSettings {
    pub failures: u32,
    pub window: Duration,
    pub eject_for: Duration,
    /// Percent.
    pub eject_max: u8,
    /// Percent.
    pub success_rate: u8,
}

impl PassiveSettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            failures: r.count_u32("failures"),
            window: r.duration("window"),
            eject_for: r.duration("eject_for"),
            eject_max: small(r.count("eject_max")),
            success_rate: small(r.count("success_rate")),
        }
    }
}

/// A failure that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// The connection did not open.
    Connect,
    /// It broke.
    Reset,
    /// No answer in time.
    Timeout,
    /// What came was no answer.
    BadAnswer,
    /// An answer of these statuses.
    Status(StatusRange),
}

/// `retry`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct RetrySettings {
    /// 1 to 8.
    pub attempts: u8,
    /// Percent.
    pub budget_percent: u8,
    pub deadline: Duration,
    pub on: Vec<RetryOn>,
    pub hedge_after: Option<Duration>,
}

impl RetrySettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let status = |status| RetryOn::Status(StatusRange { first: status, last: status });
        let mut on = Vec::new();
        for (node, text) in r.texts_with_nodes("on") {
            match text.as_str() {
                "connect" => on.push(RetryOn::Connect),
                "reset" => on.push(RetryOn::Reset),
                "timeout" => on.push(RetryOn::Timeout),
                "bad-answer" => on.push(RetryOn::BadAnswer),
                other => match StatusRange::parse(other).filter(|range| range.first >= 400) {
                    Some(range) => on.push(RetryOn::Status(range)),
                    None => {
                        let path = r.key_path("on");
                        let help = Some("connect, reset, timeout, bad-answer, 5xx, 503".to_owned());
                        r.report.error(node.mark, &path, format!("{text:?} is nothing to retry on"), help);
                    }
                },
            }
        }
        if !r.has("on") {
            on = vec![RetryOn::Connect, RetryOn::Reset, RetryOn::Timeout, RetryOn::BadAnswer];
            on.extend([502, 503, 504].map(status));
        }
        let (attempts, budget_percent) = (small(r.count("attempts")), small(r.count("budget_percent")));
        if r.has("hedge_after") && (attempts == 1 || budget_percent == 0) {
            let message = "a second server is asked only where `attempts` and `budget_percent` allow a retry";
            r.warn("hedge_after", message, None);
        }
        Self {
            attempts,
            budget_percent,
            deadline: r.duration("deadline"),
            on,
            hedge_after: Some(r.duration("hedge_after")).filter(|after| !after.is_zero()),
        }
    }
}

/// `breaker`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct BreakerSettings {
    /// Percent.
    pub error_percent: u8,
    pub requests_min: u32,
    pub window: Duration,
    pub open_for: Duration,
    pub trials: u32,
}

impl BreakerSettings {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            error_percent: small(r.count("error_percent")),
            requests_min: r.count_u32("requests_min"),
            window: r.duration("window"),
            open_for: r.duration("open_for"),
            trials: r.count_u32("trials"),
        }
    }
}
