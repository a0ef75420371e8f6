//! The upstream client: requests to servers behind us.
//!
//! **Job.** Send a canonical request to one server and bring its answer back, over connections that are kept between
//! requests: HTTP/1.1 one request at a time, HTTP/2 (`http2`) many at once.
//! **Called by** roles (`balance`). **Calls** `host::net::connect`, `wire::http1`.
//!
//! Invariants
//! 1. What goes out is written from the canonical head, never copied from the wire (DESIGN section 5).
//! 2. A connection is used again only when its last request was sent whole and its answer read whole, by a framing that
//!    has one reading.
//! 3. A [`Fault`] says whether the server may have seen the request and whether an answer had begun: retrying is
//!    decided from that, not here.
//!
//! Not here: which server (`roles/balance`), retries, health.

mod answer;
pub mod ask;
mod attempt;
mod body;
mod fault;
pub mod http2;
mod replay;
pub mod request_head;
mod tally;
mod upload;
pub mod webhook;
mod websocket;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use madang_host::deadline::Deadline;
use madang_host::net::connect::connect;
use madang_host::net::listen::Address;
use madang_host::net::stream::Stream;
use madang_host::tls::connect::ClientTls;
use madang_host::worker::Worker;
use madang_wire::http1::answer_head::AnswerHead;

use crate::body::RequestBody;
use crate::endpoint::Pool;
use crate::exchange::Exchange;

pub use answer::Watch;
pub use fault::{Fault, FaultKind, Step};
pub use replay::Replay;
pub use tally::ConnectionTally;

/// Times and sizes towards one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Until the connection stands, TLS included. Default 3 s.
    pub connect: Duration,
    /// From the request's last byte to the answer's first. Default 60 s.
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction. Default 30 s.
    pub idle: Duration,
    /// How long an unused connection is kept. Default 60 s.
    pub keep_alive: Duration,
    /// Unused connections kept per worker. Default 64.
    pub idle_connections_max: usize,
    /// Bytes of an answer's head. Default 64 KiB.
    pub head_bytes_max: usize,
    /// HTTP/2: silence of the server while streams wait before it is asked by PING. Default 10 s.
    pub ping_after: Duration,
    /// HTTP/2: how long the answer to a PING may take before the connection counts as broken. Default 5 s.
    pub ping_timeout: Duration,
    /// HTTP/2: pause between PINGs while the silence goes on; servers of gRPC end connections that ask more often
    /// than every five minutes. Default 5 min 10 s.
    pub ping_again: Duration,
}

/// What is spoken to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: in the clear by prior knowledge (RFC 9113 3.3), with TLS where the server chooses it by ALPN.
    Http2,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
            idle_connections_max: 64,
            head_bytes_max: 64 * 1024,
            ping_after: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            ping_again: Duration::from_secs(310),
        }
    }
}

/// One server, as one worker speaks to it.
pub struct Upstream {
    address: Address,
    tls: Option<ClientTls>,
    limits: UpstreamLimits,
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    idle: RefCell<VecDeque<Idle>>,
    /// Where HTTP/2 is spoken.
    links: Option<Rc<http2::Links>>,
    /// Heads between uses: their tables keep their room.
    heads: RefCell<Vec<AnswerHead>>,
    tally: Arc<ConnectionTally>,
}

/// Heads kept.
const HEADS_KEPT: usize = 16;

struct Idle {
    stream: Stream,
    since_ms: u64,
}

impl Upstream {
    /// A server; nothing is opened yet. `tally` counts its connections.
    pub fn new(
        address: Address,
        tls: Option<ClientTls>,
        spoken: Spoken,
        limits: UpstreamLimits,
        worker: &Rc<Worker>,
        pool: &Rc<Pool>,
        tally: Arc<ConnectionTally>,
    ) -> Rc<Self> {
        let this = Self {
            address,
            tls,
            limits,
            worker: Rc::clone(worker),
            pool: Rc::clone(pool),
            idle: RefCell::default(),
            links: (spoken == Spoken::Http2).then(|| http2::Links::new(worker)),
            heads: RefCell::default(),
            tally,
        };
        Rc::new(this)
    }

    /// Unused connections of HTTP/1.1.
    pub fn idle_connections(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Connections of HTTP/2 that take new streams.
    pub fn http2_connections(&self) -> usize {
        self.links.as_ref().map_or(0, |links| links.open_links())
    }

    /// Closes connections that were unused for too long. For the worker's sweep.
    pub fn sweep(&self) {
        let keep = u64::try_from(self.limits.keep_alive.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.worker.clock.ms();
        let mut idle = self.idle.borrow_mut();
        // The oldest are in front: the newest is used first.
        while idle.front().is_some_and(|idle| now_ms.saturating_sub(idle.since_ms) > keep) {
            idle.pop_front();
        }
        if let Some(links) = &self.links {
            links.sweep(self);
        }
    }

    /// Sends the request: `head` as [`request_head::write`] wrote it, then what `body` gives. Fills the exchange's answer;
    /// `watch` is asked for where that is not whole yet. `fresh`: by a new connection.
    ///
    /// # Errors
    /// A [`Fault`]; the exchange's answer is then as it was.
    pub async fn send(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        head: &[u8],
        body: &mut Replay,
        watch: impl FnOnce() -> Box<dyn Watch>,
        fresh: bool,
    ) -> Result<(), Fault> {
        if self.links.is_some() || exchange.head.protocol().is_some() {
            // Larger than the plain way: kept out of the future that every request carries.
            return Box::pin(self.send_otherwise(exchange, head, body, watch, fresh)).await;
        }
        let (stream, reused) = self.connection(fresh).await?;
        let answered = attempt::run(self, stream, reused, exchange, head, body).await?;
        answer::fill(self, exchange, answered, body, watch);
        Ok(())
    }

    /// The same where HTTP/2 may be spoken to the server, or a websocket comes by HTTP/2.
    async fn send_otherwise(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        head: &[u8],
        body: &mut Replay,
        watch: impl FnOnce() -> Box<dyn Watch>,
        fresh: bool,
    ) -> Result<(), Fault> {
        let (stream, reused) = match &self.links {
            None => self.connection(fresh).await?,
            Some(links) => match links.way(self, asks_for_websocket(exchange)).await? {
                http2::Way::Stream(place) => {
                    return http2::send(self, place, exchange, head, body, watch).await;
                }
                http2::Way::Alone(stream) => (stream, false),
                http2::Way::Http1 => {
                    let (stream, reused) = self.connection(fresh).await?;
                    if !reused && stream.chose_http2() {
                        // It changed its mind since the last time.
                        let place = links.add(self, stream).await?;
                        return http2::send(self, place, exchange, head, body, watch).await;
                    }
                    (stream, reused)
                }
            },
        };
        if exchange.head.protocol().is_some() {
            return self.switch(stream, reused, exchange, head, watch).await;
        }
        let answered = attempt::run(self, stream, reused, exchange, head, body).await?;
        answer::fill(self, exchange, answered, body, watch);
        Ok(())
    }

    /// The extended CONNECT of a client of HTTP/2 (RFC 8441) to a server of HTTP/1.1: an upgrade.
    async fn switch(
        self: &Rc<Self>,
        stream: Stream,
        reused: bool,
        exchange: &mut Exchange,
        head: &[u8],
        watch: impl FnOnce() -> Box<dyn Watch>,
    ) -> Result<(), Fault> {
        // What the client sends is the tunnel's, not a body.
        let mut nothing = Replay::new(RequestBody::default(), 0);
        let answered = attempt::run(self, stream, reused, exchange, head, &mut nothing).await?;
        answer::fill(self, exchange, answered, &mut nothing, watch);
        let (status, fields) = (exchange.response.status, &mut exchange.response.fields);
        let want = websocket::written(head, "sec-websocket-key").map(crate::websocket::proof);
        let fits = want.is_none_or(|want| fields.get("sec-websocket-accept") == Some(want.as_bytes()));
        let why = match status {
            101 if fits => {
                fields.remove("sec-websocket-accept");
                return Ok(());
            }
            101 => "its proof of the websocket's key is wrong",
            // Towards the client it would mean that the tunnel stands.
            200..300 => "it answered the upgrade as a usual request",
            _ => return Ok(()),
        };
        exchange.response.clear();
        Err(Fault { step: Step::Answer, kind: FaultKind::NoUpgrade(why), sent: true, reused })
    }

    /// A connection for one request of HTTP/1.1, and whether it was used before.
    async fn connection(&self, fresh: bool) -> Result<(Stream, bool), Fault> {
        let idle = if fresh { None } else { self.take_idle().await };
        match idle {
            Some(stream) => Ok((stream, true)),
            // Rare and large, too.
            None => Ok((Box::pin(self.open(self.tls.as_ref())).await?, false)),
        }
    }

    async fn take_idle(&self) -> Option<Stream> {
        loop {
            let Idle { mut stream, .. } = self.idle.borrow_mut().pop_back()?;
            if poll_fn(|cx| Poll::Ready(stream.poll_is_quiet(cx))).await {
                self.tally.reused.add(1);
                return Some(stream);
            }
        }
    }

    async fn open(&self, tls: Option<&ClientTls>) -> Result<Stream, Fault> {
        let deadline = self.deadline(self.limits.connect);
        let mut connecting = std::pin::pin!(connect(&self.address, tls));
        let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(FaultKind::from)),
            Poll::Pending => deadline.poll(cx).map(|()| Err(FaultKind::Timeout)),
        });
        let connected = connected.await;
        match &connected {
            Ok(_) => self.tally.opened.add(1),
            // What rustls says of a peer comes as this kind.
            Err(FaultKind::Network(ErrorKind::InvalidData, _)) => self.tally.tls_failed.add(1),
            Err(_) => {}
        }
        connected.map_err(|kind| Fault { step: Step::Connect, kind, sent: false, reused: false })
    }

    fn head(&self) -> AnswerHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    fn give_head(&self, head: AnswerHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < HEADS_KEPT {
            heads.push(head);
        }
    }

    fn deadline(&self, after: Duration) -> Deadline {
        self.worker.deadlines.after(after)
    }

    /// Back from a request whose answer was read whole.
    fn give_back(&self, stream: Stream) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.limits.idle_connections_max {
            idle.pop_front();
        }
        if self.limits.idle_connections_max > 0 {
            idle.push_back(Idle { stream, since_ms: self.worker.clock.ms() });
        }
    }
}

fn asks_for_websocket(exchange: &Exchange) -> bool {
    exchange.head.protocol().or(exchange.head.upgrade()) == Some("websocket")
}
