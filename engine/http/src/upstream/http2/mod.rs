//! HTTP/2 towards a server (RFC 9113): a few shared connections, many streams.
//!
//! **Job.** Give each request a stream on a connection that has room, open another connection when none has, forget those
//! that leave or end. **Called by** `Upstream::send`. **Calls** `link`, `attempt`; `host::net::connect` by way of `Upstream`.
//!
//! What is bounded
//! - streams on one connection: what the server allows (MAX_CONCURRENT_STREAMS), never more than `link::STREAMS_MAX`;
//! - connections to one server from one worker: [`LINKS_MAX`]. Requests beyond wait, at most as long as connecting may take;
//! - bytes that a server may send before its clients took them: `link`'s windows;
//! - one opening at a time: who comes meanwhile waits for it, and hears its failure too.
//!
//! Invariants
//! 1. A stream that the server certainly did not process (REFUSED_STREAM, above the last one of its GOAWAY) is a fault with
//!    `sent: false`: it may be sent again, whatever its method (RFC 9113 8.7).
//! 2. After GOAWAY nothing new begins there; what is open ends in peace.
//! 3. A server that takes HTTP/1.1 by ALPN gets HTTP/1.1, each time anew as it says.
//!
//! Not here: fields (`request_head`), retrying (`roles/balance`).

mod answer;
pub mod ask;
mod attempt;
mod link;
mod request;
mod upload;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use madang_host::deadline::Deadline;
use madang_host::net::stream::Stream;
use madang_host::worker::Worker;
use tokio::sync::Notify;

use self::link::{Fate, Link};
use super::{Fault, FaultKind, Step, Upstream};

pub(super) use self::attempt::send;

/// Connections to one server from one worker: with 128 streams each, 8192 requests at once.
const LINKS_MAX: usize = 64;

/// The connections of HTTP/2 to one server.
pub(super) struct Links {
    links: RefCell<Vec<Rc<Link>>>,
    opening: Cell<bool>,
    /// A place was given back, a connection was opened, or opening one failed.
    changed: Notify,
    /// How many openings failed, and why the last one did.
    failed: RefCell<(u64, Option<FaultKind>)>,
    /// What the server chose last: with TLS it may be HTTP/1.1.
    is_http1: Cell<bool>,
    worker: Rc<Worker>,
}

/// How a request goes.
pub(super) enum Way {
    /// As a stream among others.
    Stream(Place),
    /// By HTTP/1.1 on this new connection.
    Alone(Stream),
    /// By HTTP/1.1, which the server chose before.
    Http1,
}

/// A stream's place on a connection, given back when dropped.
pub(super) struct Place {
    link: Rc<Link>,
    links: Rc<Links>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.end_stream(self.links.worker.clock.ms());
        self.links.changed.notify_one();
    }
}

/// Exactly one opens; however it ends, the others look again.
struct Opening<'l>(&'l Links);

impl<'l> Opening<'l> {
    fn begin(links: &'l Links) -> Self {
        links.opening.set(true);
        Self(links)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.changed.notify_waiters();
    }
}

impl Links {
    pub(super) fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            links: RefCell::default(),
            opening: Cell::new(false),
            changed: Notify::new(),
            failed: RefCell::default(),
            is_http1: Cell::new(false),
            worker: Rc::clone(worker),
        })
    }

    /// Connections that take new streams.
    pub(super) fn open_links(&self) -> usize {
        self.links.borrow().iter().filter(|link| link.is_open()).count()
    }

    /// Judges each connection; for the worker's sweep.
    pub(super) fn sweep(&self, upstream: &Upstream) {
        let (now_ms, mut links) = (self.worker.clock.ms(), self.links.borrow_mut());
        let before = links.len();
        links.retain(|link| link.look(&upstream.limits, now_ms) == Fate::Stay);
        if links.len() < before {
            self.changed.notify_one();
        }
    }

    /// A way for one request. `websocket`: it must be an extended CONNECT, or HTTP/1.1.
    pub(super) async fn way(self: &Rc<Self>, upstream: &Upstream, websocket: bool) -> Result<Way, Fault> {
        if self.is_http1.get() {
            return Ok(Way::Http1);
        }
        let deadline = upstream.deadline(upstream.limits.connect);
        let way = self.stream(upstream, &deadline).await?;
        let Way::Stream(place) = way else { return Ok(way) };
        if !websocket
            || within(&deadline, place.link.allows_extended_connect()).await.map_err(not_connected)?
        {
            return Ok(Way::Stream(place));
        }
        drop(place);
        match &upstream.tls {
            // Most servers have websockets on HTTP/1.1 only, and offer that too.
            Some(tls) => upstream.open(Some(&tls.only_http1())).await.map(Way::Alone),
            None => {
                Err(not_connected(FaultKind::NoUpgrade("its settings do not allow the extended CONNECT")))
            }
        }
    }

    async fn stream(self: &Rc<Self>, upstream: &Upstream, deadline: &Deadline) -> Result<Way, Fault> {
        loop {
            if let Some(place) = self.place() {
                upstream.tally.reused.add(1);
                return Ok(Way::Stream(place));
            }
            if !self.opening.get() && self.links.borrow().len() < LINKS_MAX {
                return self.open(upstream).await;
            }
            let failures = self.failed.borrow().0;
            within(deadline, self.changed.notified()).await.map_err(not_connected)?;
            if self.is_http1.get() {
                return Ok(Way::Http1);
            }
            let failed = self.failed.borrow();
            if let (true, Some(kind)) = (failed.0 != failures, &failed.1) {
                return Err(not_connected(kind.clone()));
            }
        }
    }

    /// A place on the first connection that has one: the others come to rest and are closed.
    fn place(self: &Rc<Self>) -> Option<Place> {
        let now_ms = self.worker.clock.ms();
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.is_open());
        let link = links.iter().find(|link| link.has_room(now_ms))?;
        link.begin_stream();
        Some(Place { link: Rc::clone(link), links: Rc::clone(self) })
    }

    async fn open(self: &Rc<Self>, upstream: &Upstream) -> Result<Way, Fault> {
        let opening = Opening::begin(self);
        let opened = upstream.open(upstream.tls.as_ref()).await;
        let stream = opened.inspect_err(|fault| {
            let mut failed = self.failed.borrow_mut();
            *failed = (failed.0 + 1, Some(fault.kind.clone()));
        })?;
        if upstream.tls.is_some() && !stream.chose_http2() {
            self.is_http1.set(true);
            return Ok(Way::Alone(stream));
        }
        let place = self.add(upstream, stream).await?;
        drop(opening);
        Ok(Way::Stream(place))
    }

    /// A new connection that speaks HTTP/2, and the first place on it.
    pub(super) async fn add(self: &Rc<Self>, upstream: &Upstream, stream: Stream) -> Result<Place, Fault> {
        self.is_http1.set(false);
        let link = Link::new(stream, &upstream.limits, &upstream.pool, self.worker.clock.ms()).await;
        let link = link.map_err(|error| not_connected(attempt::kind_of(&error).0))?;
        link.begin_stream();
        self.links.borrow_mut().push(Rc::clone(&link));
        Ok(Place { link, links: Rc::clone(self) })
    }
}

fn not_connected(kind: FaultKind) -> Fault {
    Fault { step: Step::Connect, kind, sent: false, reused: false }
}

/// Waits for it, but not longer than the deadline.
async fn within<T>(deadline: &Deadline, what: impl Future<Output = T>) -> Result<T, FaultKind> {
    let mut what = pin!(what);
    poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => deadline.poll(cx).map(|()| Err(FaultKind::Timeout)),
    })
    .await
}
