//! Posts by URL: whoever knows the token says something in one room.
//!
//! **Job.** `POST hooks/TOKEN`. **Called by** `super`. **Calls** the hub, once per request.
//!
//! The body is what many programs send to chats already: `{"text":"…"}`, whatever its Content-Type says. Fields that other chats
//! know beside it are left alone: so those programs need not be changed.
//!
//! Invariants
//! 1. How long a wrong token takes to be refused says nothing about the right ones.
//!
//! Not here: how fast it may be, who it is shown as (`hub::posting`).

use std::rc::Rc;
use std::sync::Arc;

use madang_http::exchange::Exchange;
use madang_wire::request::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rooms::{answer, once};
use super::{only, refuse};
use crate::ask::Send;
use crate::config::PostSettings;
use crate::here::Here;
use crate::post::Claim;
use crate::refusal::Refusal;
use crate::reply::Reply;

/// Says something as a program, in the form many programs know already. Other fields are left alone.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Said {
    /// What.
    text: String,
    /// As which it wishes to be shown; `username` is the same.
    #[serde(default, alias = "username")]
    name: Option<String>,
    /// The same one is the same message; left out: each is another. The field `Idempotency-Key` is the same.
    #[serde(default)]
    nonce: Option<String>,
}

/// `hooks/TOKEN`.
pub(super) async fn post(here: Rc<Here>, mut exchange: Box<Exchange>, token: String) -> Box<Exchange> {
    let settings = here.settings();
    let Some(way) = find(&settings.posts, &token) else {
        refuse(&mut exchange, &Refusal::BadToken);
        return exchange;
    };
    if exchange.head.method() != Method::Post {
        only(&mut exchange, "POST");
        return exchange;
    }
    let outcome = say(&here, &mut exchange, way).await;
    answer(&mut exchange, outcome, true);
    exchange
}

/// All are looked at, also when one was found.
fn find(posts: &[Arc<PostSettings>], token: &str) -> Option<Arc<PostSettings>> {
    posts.iter().fold(None, |found, one| if one.token.is(token) { Some(Arc::clone(one)) } else { found })
}

async fn say(here: &Here, exchange: &mut Exchange, way: Arc<PostSettings>) -> Result<Reply, Refusal> {
    let max = here.settings().frame_bytes_max;
    let body = exchange.body.collect(max as u64).await.map_err(|fault| match fault {
        madang_http::body::BodyFault::TooLarge { .. } => {
            Refusal::TooLong { what: "a body", bytes: max + 1, max }
        }
        fault => Refusal::Malformed { why: fault.to_string() },
    })?;
    let said: Said = serde_json::from_slice(&body).map_err(|error| Refusal::Malformed {
        why: format!("the body is JSON, {{\"text\":\"…\"}}: {error}"),
    })?;
    // Whoever sends again after a lost answer says so with the same nonce; who gives none means another message.
    let nonce = said
        .nonce
        .or_else(|| exchange.head.get_str("idempotency-key").map(str::to_owned))
        .unwrap_or_else(|| format!("{:016x}", madang_host::random::seed()));
    let claim = Claim::Post { post: Arc::clone(&way.name), name: said.name };
    once(here, claim, Send { room: way.room.to_string(), text: said.text, nonce, ..Send::default() }).await
}
