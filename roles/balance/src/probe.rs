//! Asking a server how it is.
//!
//! **Job.** One health check over a connection of its own: TCP, HTTP with status, fields and text, or the health service of
//! gRPC. **Called by** `keeper`. **Calls** `host::net::connect`, `wire::http1::answer_head`, `http::upstream::http2::ask`.
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
use madang_http::upstream::http2::ask::{self, Answer, NoAnswer};
use madang_wire::http1::answer_head::{AnswerHead, Asked, BodyFraming};
use madang_wire::http1::chunked::{Chunk, ChunkedDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::{Check, StatusRange};
use crate::grpc_health;
use crate::health::ProbeFailure;

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
        let mut stream = connected.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => ProbeFailure::Tls,
            _ => ProbeFailure::NotConnected,
        })?;
        match &self.check {
            Check::Tcp => Ok(()),
            Check::Http { path, statuses, body, headers } if self.http2 || stream.chose_http2() => {
                let asked =
                    ask::Asked { method: "GET", path, fields: &[("accept", "*/*")], body: Vec::new() };
                let answer = self.ask(stream, asked).await?;
                judge(&answer, statuses, headers, body.as_deref())
            }
            Check::Http { path, statuses, body, headers } => {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: madang-health\r\naccept: */*\r\nconnection: close\r\n\r\n",
                    self.host
                );
                stream.write_all(request.as_bytes()).await.map_err(|_| ProbeFailure::Broken)?;
                stream.flush().await.map_err(|_| ProbeFailure::Broken)?;
                let answer = read(&mut stream, body.is_some()).await?;
                judge(&answer, statuses, headers, body.as_deref())
            }
            Check::Grpc { .. } if self.tls.is_some() && !stream.chose_http2() => Err(ProbeFailure::Nonsense),
            Check::Grpc { service } => {
                let fields = &[("content-type", "application/grpc"), ("te", "trailers")];
                let (path, body) = ("/grpc.health.v1.Health/Check", grpc_health::request(service));
                let answer = self.ask(stream, ask::Asked { method: "POST", path, fields, body }).await?;
                grpc_health::judge(&answer)
            }
        }
    }

    async fn ask(&self, stream: Stream, asked: ask::Asked<'_>) -> Result<Answer, ProbeFailure> {
        let asked = ask::ask(stream, self.tls.is_some(), &self.host, asked, ANSWER_BYTES_MAX);
        asked.await.map_err(|no_answer| match no_answer {
            NoAnswer::Broken => ProbeFailure::Broken,
            NoAnswer::Nonsense | NoAnswer::TooLarge => ProbeFailure::Nonsense,
        })
    }
}

/// The head, and the body where it matters.
async fn read(stream: &mut Stream, with_body: bool) -> Result<Answer, ProbeFailure> {
    let (mut bytes, mut head) = (Vec::with_capacity(2048), AnswerHead::default());
    let end = loop {
        match head.parse(&bytes, Asked::Other, ANSWER_BYTES_MAX) {
            Ok(Some(end)) if (100..200).contains(&head.status) => drop(bytes.drain(..end)),
            Ok(Some(end)) => break end,
            Ok(None) => more(stream, &mut bytes).await?,
            Err(_) => return Err(ProbeFailure::Nonsense),
        }
    };
    head.lower_names(&mut bytes);
    let text = |range: &std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range.clone()]).into_owned();
    let fields = head.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    let body =
        if with_body { content(stream, bytes.split_off(end), head.framing).await? } else { Vec::new() };
    Ok(Answer { status: head.status, fields, body })
}

async fn content(
    stream: &mut Stream,
    mut bytes: Vec<u8>,
    framing: BodyFraming,
) -> Result<Vec<u8>, ProbeFailure> {
    match framing {
        BodyFraming::None => Ok(Vec::new()),
        BodyFraming::Length(length) => {
            let wanted = usize::try_from(length).unwrap_or(ANSWER_BYTES_MAX).min(ANSWER_BYTES_MAX);
            while bytes.len() < wanted {
                more(stream, &mut bytes).await?;
            }
            Ok(bytes)
        }
        BodyFraming::UntilClose => {
            while bytes.len() < ANSWER_BYTES_MAX && more(stream, &mut bytes).await.is_ok() {}
            Ok(bytes)
        }
        BodyFraming::Chunked => {
            let (mut decoder, mut body) = (ChunkedDecoder::default(), Vec::new());
            loop {
                match decoder.decode(&bytes).map_err(|_| ProbeFailure::Nonsense)? {
                    Chunk::Data { skip, len } => {
                        body.extend_from_slice(&bytes[skip..skip + len]);
                        bytes.drain(..skip + len);
                        if body.len() >= ANSWER_BYTES_MAX {
                            return Ok(body);
                        }
                    }
                    Chunk::NeedMore { consumed } => {
                        bytes.drain(..consumed);
                        more(stream, &mut bytes).await?;
                    }
                    Chunk::End { .. } => return Ok(body),
                }
            }
        }
    }
}

async fn more(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), ProbeFailure> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(ProbeFailure::Nonsense);
    }
    match stream.read_buf(bytes).await {
        Ok(0) | Err(_) => Err(ProbeFailure::Broken),
        Ok(_) => Ok(()),
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
