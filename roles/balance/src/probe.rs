//! Asking a server how it is.
//!
//! **Job.** One health check over a connection of its own: TCP, HTTP with status, fields and text, or the health service of
//! gRPC. **Called by** `keeper`. **Calls** `host::net::connect`, `http::upstream::ask`, `http::upstream::http2::ask`.
//!
//! Invariants
//! 1. At most [`ANSWER_BYTES_MAX`] of an answer are read.
//! 2. The caller's deadline ends it: dropping the future closes the connection.
//!
//! Not here: when (`health`), what a result means (`health`).

use std::io;

use madang_host::net::connect::connect;
use madang_host::net::listen;
use madang_host::net::stream::Stream;
use madang_host::tls::connect::ClientTls;
use madang_http::upstream::ask as http1;
use madang_http::upstream::http2::ask::{self as http2, Answer, Asked, NoAnswer};

use crate::config::{Check, StatusRange};
use crate::grpc_health;
use crate::health::ProbeFailure;

/// Who asks.
const AGENT: (&str, &str) = ("user-agent", "madang-health");
/// What of an answer is looked at.
const ANSWER_BYTES_MAX: usize = 80 * 1024;

/// What to ask, and whom.
pub(crate) struct Probe {
    pub(crate) address: listen::Address,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) host: String,
    /// Whether HTTP/2 is spoken without asking (h2c).
    pub(crate) http2: bool,
    pub(crate) check: Check,
}

impl Probe {
    /// Asks once.
    pub(crate) async fn run(&self) -> Result<(), ProbeFailure> {
        let connected = connect(&self.address, self.tls.as_ref()).await;
        let stream = connected.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => ProbeFailure::Tls,
            _ => ProbeFailure::NotConnected,
        })?;
        match &self.check {
            Check::Tcp => Ok(()),
            Check::Http { path, statuses, body, headers } if self.http2 || stream.chose_http2() => {
                let asked =
                    Asked { method: "GET", path, fields: &[AGENT, ("accept", "*/*")], body: Vec::new() };
                let answer = self.ask(stream, asked).await?;
                judge(&answer, statuses, headers, body.as_deref())
            }
            Check::Http { path, statuses, body, headers } => {
                let content_max = if body.is_some() { ANSWER_BYTES_MAX } else { 0 };
                let asked =
                    Asked { method: "GET", path, fields: &[AGENT, ("accept", "*/*")], body: Vec::new() };
                let answer = http1::ask(stream, &self.host, asked, ANSWER_BYTES_MAX, content_max).await;
                let answer = answer.map_err(failure)?;
                judge(&answer, statuses, headers, body.as_deref())
            }
            Check::Grpc { .. } if self.tls.is_some() && !stream.chose_http2() => Err(ProbeFailure::Nonsense),
            Check::Grpc { service } => {
                let fields = &[AGENT, ("content-type", "application/grpc"), ("te", "trailers")];
                let (path, body) = ("/grpc.health.v1.Health/Check", grpc_health::request(service));
                let answer = self.ask(stream, Asked { method: "POST", path, fields, body }).await?;
                grpc_health::judge(&answer)
            }
        }
    }

    async fn ask(&self, stream: Stream, asked: Asked<'_>) -> Result<Answer, ProbeFailure> {
        let asked = http2::ask(stream, self.tls.is_some(), &self.host, asked, ANSWER_BYTES_MAX);
        asked.await.map_err(failure)
    }
}

const fn failure(no_answer: NoAnswer) -> ProbeFailure {
    match no_answer {
        NoAnswer::Broken => ProbeFailure::Broken,
        NoAnswer::Nonsense | NoAnswer::TooLarge => ProbeFailure::Nonsense,
    }
}

fn judge(
    answer: &Answer,
    statuses: &[StatusRange],
    headers: &[(String, Option<String>)],
    body: Option<&str>,
) -> Result<(), ProbeFailure> {
    if !statuses.iter().any(|range| range.holds(answer.status)) {
        return Err(ProbeFailure::Status(answer.status));
    }
    let has = |(name, value): &(String, Option<String>)| {
        answer.fields.iter().any(|(have, is)| have == name && value.as_ref().is_none_or(|value| value == is))
    };
    if !headers.iter().all(has) {
        return Err(ProbeFailure::Header);
    }
    match body {
        Some(text) if !String::from_utf8_lossy(&answer.body).contains(text) => Err(ProbeFailure::Body),
        _ => Ok(()),
    }
}
