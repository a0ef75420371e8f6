//! Rooms by plain HTTP: say something, read what was said, see which rooms are open.
//!
//! **Job.** `POST rooms/ROOM/messages`, `GET rooms/ROOM/messages`, `GET rooms`. **Called by** `super`. **Calls** the hub, once
//! per request.
//!
//! Invariants
//! 1. A 201 is on the disk; the same nonce again is answered 200 and is the same message.
//! 2. A body is bounded like a frame of the websocket.
//!
//! Not here: what follows live (`sse`, `ws`).

use std::rc::Rc;

use bytes::Bytes;
use madang_http::body::Body;
use madang_http::exchange::Exchange;
use madang_wire::request::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::query::number;
use super::{only, refuse, who};
use crate::ask::{Ask, History, PAGE_MAX, Rooms, Send};
use crate::event::File;
use crate::exact::{self, NUMBER_MAX};
use crate::here::Here;
use crate::post::{Claim, ToHub};
use crate::refusal::Refusal;
use crate::reply::Reply;

/// Says something without a connection.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// What. May be left out beside files.
    #[serde(default)]
    text: String,
    /// The same one of the same person is the same message, however often it is sent.
    nonce: String,
    /// A guest's; users show a token.
    name: Option<String>,
    /// A guest's that has one.
    key: Option<String>,
    /// The offset of the message it answers.
    reply: Option<u64>,
    /// Attachments.
    #[serde(default, deserialize_with = "exact::objects")]
    files: Vec<File>,
    /// `/me`: what somebody does, not says.
    #[serde(default)]
    action: bool,
    /// Nothing that answers by itself may answer it, as a `NOTICE` of IRC.
    #[serde(default)]
    notice: bool,
}

/// `rooms/ROOM/messages`.
pub(super) async fn messages(here: Rc<Here>, mut exchange: Box<Exchange>, room: String) -> Box<Exchange> {
    match exchange.head.method() {
        Method::Post => {
            let outcome = say(&here, &mut exchange, room).await;
            answer(&mut exchange, outcome, true);
        }
        Method::Get | Method::Head => {
            let outcome = past(&here, &exchange, room).await;
            answer(&mut exchange, outcome, false);
        }
        _ => only(&mut exchange, "GET, HEAD, POST"),
    }
    exchange
}

/// `rooms`.
pub(super) async fn open(here: Rc<Here>, mut exchange: Box<Exchange>) -> Box<Exchange> {
    if !matches!(exchange.head.method(), Method::Get | Method::Head) {
        only(&mut exchange, "GET, HEAD");
        return exchange;
    }
    let outcome = match reader(&here, &exchange).await {
        Ok(claim) => once(&here, claim, Rooms::default()).await,
        Err(refusal) => Err(refusal),
    };
    answer(&mut exchange, outcome, false);
    exchange
}

async fn say(here: &Here, exchange: &mut Exchange, room: String) -> Result<Reply, Refusal> {
    let max = here.settings().frame_bytes_max;
    let body = exchange.body.collect(max as u64).await;
    let body = body.map_err(|fault| match fault {
        madang_http::body::BodyFault::TooLarge { .. } => {
            Refusal::TooLong { what: "a body", bytes: max + 1, max }
        }
        fault => Refusal::Malformed { why: fault.to_string() },
    })?;
    let malformed = |why: String| Refusal::Malformed { why };
    let text = std::str::from_utf8(&body).map_err(|_| malformed("not UTF-8".into()))?;
    if !exact::is_object(text) {
        return Err(malformed("the body is an object, {…}".into()));
    }
    let said: Said = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    exact::within("reply", &said.reply, 0, NUMBER_MAX)?;
    let Said { text, nonce, name, key, reply, files, action, notice } = said;
    let claim = match (who(here, &exchange.head).await?, name) {
        (Some(claim), _) => claim,
        (None, Some(name)) => Claim::Guest { name, key, keeps: false },
        (None, None) => return Err(Refusal::UsersOnly),
    };
    once(here, claim, Send { room, text, nonce, reply, files, action, notice, ..Send::default() }).await
}

async fn past(here: &Here, exchange: &Exchange, room: String) -> Result<Reply, Refusal> {
    let query = exchange.head.query();
    let (before, after) = (number(query, "before")?, number(query, "after")?);
    let limit = number(query, "limit")?;
    exact::within("limit", &limit, 1, PAGE_MAX as u64)?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let claim = reader(here, exchange).await?;
    once(here, claim, History { room, before, after, limit, ..History::default() }).await
}

/// Who reads: a user, or a guest of no name that matters.
pub(super) async fn reader(here: &Here, exchange: &Exchange) -> Result<Claim, Refusal> {
    let nobody = || Claim::Guest {
        name: format!("reader-{:08x}", madang_host::random::seed() & 0xffff_ffff),
        key: None,
        keeps: false,
    };
    Ok(who(here, &exchange.head).await?.unwrap_or_else(nobody))
}

/// Asks the hub without a connection.
pub(super) async fn once(here: &Here, claim: Claim, ask: impl Into<Ask>) -> Result<Reply, Refusal> {
    let (answer, wait) = oneshot::channel();
    here.floor.hub().ask(ToHub::Once { claim, ask: ask.into(), answer })?;
    wait.await.unwrap_or(Err(Refusal::ShuttingDown))
}

pub(super) fn answer(exchange: &mut Exchange, outcome: Result<Reply, Refusal>, writes: bool) {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(refusal) => return refuse(exchange, &refusal),
    };
    let is_new = matches!(&reply, Reply::Kept(kept) if !kept.duplicate);
    exchange.response.status = if writes && is_new { 201 } else { 200 };
    json(exchange, &reply);
}

/// An answer in JSON that nobody keeps.
pub(super) fn json(exchange: &mut Exchange, what: &impl serde::Serialize) {
    // Maps have text for keys and numbers are numbers: nothing here can fail.
    let text = serde_json::to_vec(what).unwrap_or_default();
    let fields = &mut exchange.response.fields;
    fields.set("content-type", "application/json");
    fields.set("x-content-type-options", "nosniff");
    fields.set("cache-control", "no-store");
    exchange.response.body = Body::Bytes(Bytes::from(text));
}
