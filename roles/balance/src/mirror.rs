//! A copy of a request for another pool, whose answer nobody gets.
//!
//! **Job.** Once the client's own answer has begun, send the same request to the shadow pool and throw away what comes back.
//! **Called by** `proxy`. **Calls** `proxy` again, as the shadow's service.
//!
//! Invariants
//! 1. The client's request never waits for its copy and never fails by it: the copy is a task of its own with a time limit.
//! 2. Only what was kept for a retry is copied: a body beyond the `body_buffer` of the route's own pool is not mirrored.
//! 3. At most [`MIRRORS_MAX`] copies are under way to a pool, per worker; what is more is not mirrored. Both are counted.
//! 4. A copy says so (`x-madang-mirror: 1`), and nobody else can: a client's field of that name goes nowhere.
//!
//! Not here: choosing a server of the shadow, retries (`proxy`).

use std::rc::Rc;
use std::time::Duration;

use madang_host::clock;
use madang_http::body::{Body, RequestBody};
use madang_http::exchange::{Exchange, Reply, Service};
use madang_http::upstream::Replay;

use crate::here::Here;
use crate::proxy::Proxy;

/// Copies under way to one pool, per worker.
pub const MIRRORS_MAX: usize = 64;

/// The field that marks a copy, and its value.
pub const MARK: (&str, &str) = ("x-madang-mirror", "1");

/// Where copies go.
pub struct Mirror {
    /// The shadow pool's service, with [`MARK`] among its fields.
    pub to: Rc<Proxy>,
    /// Of so many percent of the requests, 0 to 100.
    pub percent: u8,
    /// The time for a whole copy, its answer included.
    pub timeout: Duration,
}

impl Mirror {
    /// Copies a request that was answered just now.
    pub(crate) fn copy(&self, exchange: &Exchange, body: &Replay, random: u64) {
        // An upgraded connection cannot be copied.
        if random % 100 >= u64::from(self.percent) || matches!(exchange.response.body, Body::Upgrade(_)) {
            return;
        }
        let here = self.to.here();
        let pool = here.pool();
        let (Some(pieces), Some(place)) = (body.whole(), Place::take(here)) else {
            return pool.tally().mirror_skipped.up();
        };
        pool.tally().mirrored.up();
        let mut copy = Box::new(Exchange::new(exchange.connection.detached(), clock::now()));
        copy.head = exchange.head.clone();
        if !body.is_none() {
            copy.body = RequestBody::of(pieces.iter().cloned());
        }
        copy.notes.client = exchange.notes.client;
        copy.notes.request_id.clone_from(&exchange.notes.request_id);
        let (to, timeout) = (Rc::clone(&self.to), self.timeout);
        tokio::task::spawn_local(async move {
            let _place = place;
            // How it ended is the shadow's health's business; nobody waits for it here.
            let _ = tokio::time::timeout(timeout, thrown_away(&to, copy)).await;
        });
    }
}

/// Sends the copy and reads its answer to the end, so that the connection can be used again.
async fn thrown_away(to: &Proxy, copy: Box<Exchange>) {
    let answered = match to.call(copy) {
        Reply::Now(answered) => answered,
        Reply::Later(answer) => answer.await,
    };
    if let Body::Stream(mut body) = answered.response.body {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| body.poll_next(cx)).await {}
    }
}

/// One of the places for copies.
struct Place(Rc<Here>);

impl Place {
    fn take(here: &Rc<Here>) -> Option<Self> {
        let under_way = here.mirrors().get();
        if under_way >= MIRRORS_MAX {
            return None;
        }
        here.mirrors().set(under_way + 1);
        Some(Self(Rc::clone(here)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.mirrors().set(self.0.mirrors().get() - 1);
    }
}
