//! A room as server-sent events: read only, resumed by the browser itself (WHATWG HTML 9.2).
//!
//! **Job.** Join, write each event with its place as `id`, and end a reader that takes nothing. **Called by** `super`.
//! **Calls** [`crate::session`].
//!
//! Invariants
//! 1. `id` is `EPOCH:OFFSET`: what comes back as `Last-Event-ID` is exactly where the reader was.
//! 2. What waits for a reader is bounded; beyond it the reader is fed from the log when it takes again.
//!
//! Not here: who may read (`hub`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use madang_host::deadline::Deadline;
use madang_http::body::{Body, BodyFault, BodyStream, Frame};
use madang_http::exchange::Exchange;
use madang_wire::request::Method;
use serde::Serialize;

use super::query::parameter;
use super::{only, refuse};
use crate::ask::{Join, Seen};
use crate::floor::{Cut, Face};
use crate::here::Here;
use crate::notice::Notice;
use crate::post::Published;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::session::Session;

/// The numbers of the two requests that a reader makes.
const HELLO: u64 = 1;
const JOIN: u64 = 2;
/// Milliseconds after which a browser comes back.
const RETRY_MS: u64 = 1500;

/// What one reader is told and has not taken.
struct Ear {
    waits: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    answer: RefCell<Option<Result<(), Refusal>>>,
    waker: RefCell<Option<Waker>>,
    over: Cell<bool>,
    above: Cell<bool>,
}

impl Ear {
    /// With so much next to nothing waits.
    fn low(&self) -> usize {
        self.bytes_max / 8
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn push(&self, bytes: Bytes) {
        self.bytes.set(self.bytes.get() + bytes.len());
        self.waits.borrow_mut().push_back(bytes);
        if self.bytes.get() >= self.bytes_max {
            self.above.set(true);
        }
    }

    fn tell(&self, id: Option<(u64, u64)>, name: &str, data: &impl Serialize) {
        let mut text = String::new();
        if let Some((epoch, offset)) = id {
            text.push_str(&format!("id: {epoch}:{offset}\n"));
        }
        // JSON as serde writes it has no line breaks.
        let data = serde_json::to_string(data).unwrap_or_default();
        text.push_str(&format!("event: {name}\ndata: {data}\n\n"));
        self.push(text.into());
    }
}

/// The name of an event or notice: what it says of itself.
fn name_of(what: &impl Serialize) -> String {
    let value = serde_json::to_value(what).unwrap_or_default();
    value.get("on").and_then(|name| name.as_str()).unwrap_or("message").to_owned()
}

impl Face for Ear {
    fn takes(&self) -> bool {
        !self.above.get() && !self.over.get()
    }
    fn wants_page(&self) -> bool {
        if self.bytes.get() > self.low() {
            self.above.set(true);
        }
        self.takes()
    }
    fn published(&self, published: &Published) {
        for event in &published.events {
            self.tell(Some((event.epoch, event.offset)), &name_of(event), event);
        }
    }
    fn answered(&self, tag: u64, outcome: &Result<Reply, Refusal>) {
        if tag == JOIN
            && let Ok(Reply::Joined(joined)) = outcome
        {
            // Where it is now is an event too: a reader that gets nothing else before it is cut resumes from there.
            let at = joined.next.saturating_sub(1);
            self.tell(Some((joined.epoch, at)), "joined", joined);
        }
        self.answer.replace(Some(outcome.as_ref().map(|_| ()).map_err(Clone::clone)));
        self.wake();
    }
    fn told(&self, notice: &Notice) {
        if matches!(
            notice,
            Notice::Gap { .. } | Notice::Left { .. } | Notice::Presence { .. } | Notice::Typing { .. }
        ) {
            self.tell(None, &name_of(notice), notice);
        }
        if let Notice::Left { .. } = notice {
            self.over.set(true);
        }
    }
    fn flush(&self) {
        self.wake();
    }
    fn cut(&self, _: Cut) {
        self.over.set(true);
        self.wake();
    }
}

/// The answer's body.
struct Stream {
    ear: Rc<Ear>,
    session: Session,
    /// When a word is due again.
    quiet: Deadline,
    every: Duration,
}

impl BodyStream for Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        let ear = &self.ear;
        let mut out = Vec::new();
        while let Some(next) = ear.waits.borrow_mut().pop_front() {
            ear.bytes.set(ear.bytes.get().saturating_sub(next.len()));
            out.extend_from_slice(&next);
            if out.len() >= 16 * 1024 {
                break;
            }
        }
        if ear.above.get() && ear.bytes.get() <= ear.low() {
            ear.above.set(false);
            self.session.caught_up();
        }
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::Data(out.into()))));
        }
        if ear.over.get() {
            return Poll::Ready(None);
        }
        // A comment now and then keeps what lies between us awake, and tells us of a reader that has gone.
        if self.quiet.poll(cx).is_ready() {
            self.quiet.set(self.every);
            return Poll::Ready(Some(Ok(Frame::Data(Bytes::from_static(b":\n\n")))));
        }
        ear.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// `rooms/ROOM/events`.
pub(super) async fn events(here: Rc<Here>, mut exchange: Box<Exchange>, room: String) -> Box<Exchange> {
    if exchange.head.method() != Method::Get {
        only(&mut exchange, "GET");
        return exchange;
    }
    if let Err(refusal) = begin(&here, &mut exchange, room).await {
        refuse(&mut exchange, &refusal);
    }
    exchange
}

async fn begin(here: &Rc<Here>, exchange: &mut Exchange, room: String) -> Result<(), Refusal> {
    let last = exchange.head.get_str("last-event-id").map(str::to_owned);
    let since = match last {
        Some(last) => Some(last),
        None => parameter(exchange.head.query(), "since")?,
    };
    let since = since.as_deref().map(seen).transpose()?;
    let claim = super::rooms::reader(here, exchange).await?;
    let settings = here.settings();
    let ear = Rc::new(Ear {
        waits: RefCell::default(),
        bytes: Cell::new(0),
        bytes_max: settings.outbox_bytes_max,
        answer: RefCell::default(),
        waker: RefCell::default(),
        over: Cell::new(false),
        above: Cell::new(false),
    });
    ear.push(format!("retry: {RETRY_MS}\n\n").into());
    let session = here.floor.enter(Rc::clone(&ear) as Rc<dyn Face>);
    session.hello(HELLO, claim)?;
    answered(&ear).await?;
    session.ask(JOIN, Join { room, since, ..Join::default() })?;
    answered(&ear).await?;
    let (every, quiet) = (settings.ping, here.worker().deadlines.after(settings.ping));
    let fields = &mut exchange.response.fields;
    fields.set("content-type", "text/event-stream");
    fields.set("cache-control", "no-store");
    fields.set("x-accel-buffering", "no");
    exchange.response.body = Body::Stream(Box::new(Stream { ear, session, quiet, every }));
    Ok(())
}

async fn answered(ear: &Rc<Ear>) -> Result<(), Refusal> {
    std::future::poll_fn(|cx| match ear.answer.borrow_mut().take() {
        Some(outcome) => Poll::Ready(outcome),
        None if ear.over.get() => Poll::Ready(Err(Refusal::ShuttingDown)),
        None => {
            ear.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await
}

/// `EPOCH:OFFSET`.
fn seen(text: &str) -> Result<Seen, Refusal> {
    let pair =
        text.split_once(':').and_then(|(epoch, offset)| Some((epoch.parse().ok()?, offset.parse().ok()?)));
    let bad = || Refusal::Malformed { why: "since: EPOCH:OFFSET, as the last event's id".to_owned() };
    pair.map(|(epoch, offset)| Seen { epoch, offset }).ok_or_else(bad)
}
