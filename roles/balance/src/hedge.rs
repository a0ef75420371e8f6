//! A second server asked while the first still thinks (Dean & Barroso, "The Tail at Scale", 2013).
//!
//! **Job.** Send a request; when it has no answer at the moment `retry` names, send it to another server as well; take the
//! answer that comes first and give the other attempt up. **Called by** `proxy`. **Calls** `retry`, `pick`, `http::upstream`.
//!
//! Invariants
//! 1. Only requests that do no harm twice (`is_harmless`), and only while the retry budget has room.
//! 2. The slower attempt is dropped the moment the other answers: its connection closes, its place is free, and nothing is held
//!    against its server.
//! 3. Of a race in which both fail, the first server's failure is the one that is judged.
//!
//! Not here: when (`retry::hedge_at`), what follows from a failure (`proxy`).

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use madang_host::clock;
use madang_http::body::RequestBody;
use madang_http::exchange::Exchange;
use madang_http::upstream::{Fault, Replay, Upstream};
use madang_wire::request::Method;

use crate::pick::{Ask, Chosen, Pick, Tried};
use crate::pool::Pool;
use crate::proxy::{Proxy, failure_of, hash_key};
use crate::retry;
use crate::server::{InFlight, Outcome, Server};

/// One attempt about to be made.
pub(crate) struct Leg {
    pub(crate) server: Arc<Server>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) place: InFlight,
    pub(crate) begun: Instant,
}

/// How the race ended: whose result it is.
pub(crate) struct Raced {
    pub(crate) result: Result<(), Fault>,
    pub(crate) server: Arc<Server>,
    pub(crate) begun: Instant,
}

/// Whether a second copy of this request does no harm: GET and HEAD without a body (RFC 9110 9.2.1), and no upgrade.
pub(crate) fn is_harmless(exchange: &Exchange, body: &Replay) -> bool {
    matches!(exchange.head.method(), Method::Get | Method::Head)
        && body.is_none()
        && exchange.head.upgrade().is_none()
}

/// Who came in first.
enum Winner {
    First(Result<(), Fault>),
    Second,
}

impl Proxy {
    /// See the module. The exchange's answer is the winner's.
    pub(crate) async fn hedged(
        &self,
        pool: &Arc<Pool>,
        first: Leg,
        exchange: &mut Exchange,
        head: &[u8],
        tried: &Tried,
        at: Instant,
    ) -> Raced {
        let Leg { server, upstream, place, begun } = first;
        // The second attempt fills an answer of its own; what it needs of the request is copied before the first has it.
        let mut other = Exchange::new(Rc::clone(&exchange.connection), exchange.started);
        other.head = exchange.head.clone();
        other.notes.client = exchange.notes.client;
        let (mut nothing, mut nothing_again) = (empty(), empty());
        let (winner, second) = {
            let watch = self.watch(pool, place, begun);
            let mut asked = pin!(upstream.send(exchange, head, &mut nothing, watch, false));
            let mut timer = pin!(tokio::time::sleep_until(at.into()));
            let early = poll_fn(|cx| match asked.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
            });
            if let Some(result) = early.await {
                return Raced { result, server, begun };
            }
            let Some(second) = self.second(pool, &server, &other, tried) else {
                let result = asked.await;
                return Raced { result, server, begun };
            };
            let (other_server, second_begun) = (Arc::clone(second.place.server()), clock::now());
            let (name, way) = self.here().way_to(pool, &other_server);
            let Ok(way) = way else {
                drop(second);
                self.here().place_given_back();
                let result = asked.await;
                return Raced { result, server, begun };
            };
            pool.tally().hedged.up();
            let watch = self.watch(pool, second.place, second_begun);
            let mut asked_too = pin!(way.send(&mut other, head, &mut nothing_again, watch, false));
            let (mut failed, mut failed_too) = (None, None);
            let winner = poll_fn(|cx| {
                if failed.is_none()
                    && let Poll::Ready(result) = asked.as_mut().poll(cx)
                {
                    match result {
                        Ok(()) => return Poll::Ready(Winner::First(Ok(()))),
                        Err(fault) => failed = Some(fault),
                    }
                }
                if failed_too.is_none()
                    && let Poll::Ready(result) = asked_too.as_mut().poll(cx)
                {
                    match result {
                        Ok(()) => return Poll::Ready(Winner::Second),
                        Err(fault) => failed_too = Some(fault),
                    }
                }
                match (&failed, &failed_too) {
                    (Some(fault), Some(_)) => Poll::Ready(Winner::First(Err(fault.clone()))),
                    _ => Poll::Pending,
                }
            })
            .await;
            // The winner is judged by the caller, the other here; one that was given up says nothing against its server.
            let (loser, fault, since) = match &winner {
                Winner::First(_) => (&other_server, failed_too, second_begun),
                Winner::Second => (&server, failed, begun),
            };
            let now = clock::now();
            let outcome = fault.as_ref().map_or(Some(Outcome::Abandoned), |fault| {
                (!fault.was_stale()).then(|| failure_of(fault).map(|failure| failure.outcome())).flatten()
            });
            if let Some(outcome) = outcome {
                self.here().note(pool, loser, outcome, now.saturating_duration_since(since), now);
            }
            (winner, (other_server, second_begun, name))
        };
        // Both attempts are dropped: the loser's place is free.
        self.here().place_given_back();
        match winner {
            Winner::First(result) => Raced { result, server, begun },
            Winner::Second => {
                pool.tally().hedge_won.up();
                let (server, begun, name) = second;
                std::mem::swap(&mut exchange.response, &mut other.response);
                exchange.notes.upstream = Some(name);
                Raced { result: Ok(()), server, begun }
            }
        }
    }

    /// Another server with a place, where the budget has room for it.
    fn second(&self, pool: &Pool, first: &Server, exchange: &Exchange, tried: &Tried) -> Option<Chosen> {
        let mut tried = *tried;
        tried.add(first.id());
        let key = hash_key(pool.settings(), exchange);
        let ask = Ask { key, sticky: None, tried: &tried, random: self.here().random() };
        let now = clock::now();
        let Pick::Server(chosen) = self.here().pick(pool, &ask, now) else { return None };
        let another = !tried.holds(chosen.place.server().id());
        let may = retry::may_hedge(&pool.settings().retry, &mut self.here().budget(), another, now);
        if !may {
            drop(chosen);
            self.here().place_given_back();
            return None;
        }
        Some(chosen)
    }
}

fn empty() -> Replay {
    Replay::new(RequestBody::default(), 0)
}
