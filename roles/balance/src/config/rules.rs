//! `passive`, `retry` and `breaker` of a pool: as checked (`health` is `http::check`).
//!
//! **Job.** Read the rules by which servers are judged and attempts repeated. **Called by** `config`. **Calls** `settings`.
//!
//! Not here: applying them (`health`, `retry`, `breaker`).

use std::time::Duration;

use madang_http::check::StatusRange;
use madang_settings::reader::Reader;

pub(super) fn small(count: Option<u64>) -> u8 {
    count.and_then(|count| u8::try_from(count).ok()).unwrap_or_default()
}

pub(super) fn count(r: &mut Reader<'_>, key: &str) -> usize {
    r.count(key).and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
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
