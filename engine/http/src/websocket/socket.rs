//! One connection as a role holds it.
//!
//! **Job.** Send frames: at once where the kernel takes them, through the outbox where it does not; close with a code; judge time
//! limits. **Called by** roles, `serve`, `hall`. **Calls** `outbox`, `body::Duplex`.
//!
//! Invariants
//! 1. While something waits for the kernel, only the connection's own task writes: frames keep their order.
//! 2. Behind a close frame nothing is sent.
//! 3. Sending never waits and never calls back into the role.
//!
//! Not here: reading (`serve`).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use madang_host::connection::Connection;
use madang_wire::websocket;
use tokio::task::coop::unconstrained;

use super::hall::Hall;
use super::outbox::{GATHERED_MAX, Outbox};
use super::{Closed, Limits, code};
use crate::body::Duplex;

/// How long a client may take to answer our close.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long the parts of one message may take.
const MESSAGE_TIME: Duration = Duration::from_secs(60);
/// An outbox with this part of its limit is as good as empty: what the kernel holds keeps the client busy.
const LOW_PART: usize = 8;
/// Pings without an answer.
const OWED_MAX: u8 = 2;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The close frame is on its way, or nothing can be sent any more.
    Closing(Closed),
}

/// One connection. Cheap to hold; it stays with its worker.
pub struct Socket {
    duplex: RefCell<Option<Box<dyn Duplex>>>,
    connection: RefCell<Option<Rc<Connection>>>,
    outbox: RefCell<Outbox>,
    /// Of the connection's task. `None` before its first turn: until then everything waits.
    waker: RefCell<Option<Waker>>,
    hall: Rc<Hall>,
    key: usize,
    limits: Limits,
    state: Cell<State>,
    /// The kernel takes no more: the task is woken when it does.
    blocked: Cell<bool>,
    /// [`Self::takes`] said no since the handler was told otherwise.
    above: Cell<bool>,
    /// Nothing can be read or written any more.
    broken: Cell<bool>,
    heard_ms: Cell<u64>,
    moved_ms: Cell<u64>,
    /// Since when a message is unfinished, or since when the close is awaited.
    begun_ms: Cell<Option<u64>>,
    owed: Cell<u8>,
}

impl Socket {
    pub(super) fn new(
        duplex: Box<dyn Duplex>,
        connection: Rc<Connection>,
        hall: &Rc<Hall>,
        limits: Limits,
    ) -> Rc<Self> {
        let now_ms = hall.now_ms();
        Rc::new_cyclic(|me| Self {
            duplex: RefCell::new(Some(duplex)),
            connection: RefCell::new(Some(connection)),
            outbox: RefCell::default(),
            waker: RefCell::default(),
            hall: Rc::clone(hall),
            key: hall.enter(me),
            limits,
            state: Cell::new(State::Open),
            blocked: Cell::new(true),
            above: Cell::new(false),
            broken: Cell::new(false),
            heard_ms: Cell::new(now_ms),
            moved_ms: Cell::new(now_ms),
            begun_ms: Cell::new(None),
            owed: Cell::new(0),
        })
    }

    /// Sends whole frames that were built before; what the kernel takes is not copied. Never waits.
    pub fn send(&self, frames: &Bytes) {
        if self.state.get() != State::Open {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        if self.blocked.get() || !outbox.is_empty() {
            drop(outbox);
            self.queue(frames.clone());
            return self.flush();
        }
        match self.io(|duplex, cx| duplex.poll_write(cx, frames)) {
            Poll::Ready(Ok(count)) if count == frames.len() => {
                drop(outbox);
                self.flush_duplex();
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                drop(outbox);
                self.breaks();
            }
            taken => {
                let count = if let Poll::Ready(Ok(count)) = taken { count } else { 0 };
                if count == 0 {
                    outbox.push(frames.clone());
                    self.blocked.set(true);
                } else {
                    outbox.push_rest(frames.slice(count..));
                }
                drop(outbox);
                self.moved_ms.set(self.hall.now_ms());
                // Asks the kernel to tell when it takes more.
                self.write_out();
                self.bound();
            }
        }
    }

    /// Like [`Self::send`], but waits for [`Self::flush`]: several frames then leave by one call into the kernel.
    pub fn queue(&self, frames: Bytes) {
        if self.state.get() != State::Open {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_empty() {
            self.moved_ms.set(self.hall.now_ms());
        }
        outbox.push(frames);
        drop(outbox);
        self.bound();
    }

    /// Writes out what was queued.
    pub fn flush(&self) {
        if !self.blocked.get() && !self.outbox.borrow().is_empty() {
            self.write_out();
            if self.above.get() {
                self.wake();
            }
        }
    }

    /// Whether more may be sent: less than `outbox_bytes_max` waits. After a no, [`super::Handler::drained`] tells when next
    /// to nothing waits.
    pub fn takes(&self) -> bool {
        !self.above.get() && self.state.get() == State::Open
    }

    /// Whether next to nothing waits: an eighth of `outbox_bytes_max` at most. After a no [`Self::takes`] says no too, until
    /// [`super::Handler::drained`].
    pub fn is_low(&self) -> bool {
        if self.outbox.borrow().bytes() > self.low() {
            self.above.set(true);
        }
        self.takes()
    }

    fn low(&self) -> usize {
        self.limits.outbox_bytes_max / LOW_PART
    }

    /// What waits for the client, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// Ends it: what waits goes out, then the close frame. Of `reason`, 123 bytes are sent. The handler is told soon.
    pub fn close(&self, code: u16, reason: &str) {
        self.close_as(Closed::Ours(code), code, reason);
    }

    /// Ends it without what waits: the client does not keep up and can come back.
    pub fn cut(&self, code: u16, reason: &str) {
        if self.state.get() == State::Open {
            self.outbox.borrow_mut().keep_begun();
            self.close(code, reason);
        }
    }

    /// The connection in the worker's table, while it is open.
    pub fn connection(&self) -> Option<Rc<Connection>> {
        self.connection.borrow().clone()
    }

    pub(super) fn close_as(&self, why: Closed, code: u16, reason: &str) {
        if self.state.get() != State::Open {
            return;
        }
        let mut frame = Vec::new();
        websocket::write_close(&mut frame, code, reason);
        self.outbox.borrow_mut().push(frame.into());
        self.ends(why);
        if !self.blocked.get() {
            self.write_out();
        }
    }

    /// From now on nothing is sent.
    fn ends(&self, why: Closed) {
        self.state.set(State::Closing(why));
        self.begun_ms.set(Some(self.hall.now_ms()));
        self.wake();
    }

    /// Over without a word.
    pub(super) fn ends_at_once(&self, why: Closed) {
        if self.state.get() == State::Open {
            self.ends(why);
        }
        self.broken.set(true);
    }

    fn breaks(&self) {
        self.ends_at_once(Closed::Gone);
        self.wake();
    }

    /// A client that neither takes nor leaves cannot hold more than this.
    fn bound(&self) {
        let (waits, max) = (self.outbox.borrow().bytes(), self.limits.outbox_bytes_max);
        if waits > max.saturating_mul(2) {
            self.cut(code::TOO_SLOW, "what was sent was not taken: come back and go on where you were");
        } else if waits >= max {
            self.above.set(true);
        }
    }

    /// Tells whether next to nothing waits any more since there was too much; once.
    pub(super) fn has_drained(&self) -> bool {
        let room = self.above.get() && self.outbox.borrow().bytes() <= self.low();
        if room {
            self.above.set(false);
        }
        room
    }

    /// Writes what waits until the kernel takes no more.
    pub(super) fn write_out(&self) {
        loop {
            let outbox = self.outbox.borrow();
            let written = match outbox.only() {
                Some(one) => self.io(|duplex, cx| duplex.poll_write(cx, one)),
                None => {
                    let mut slices = [IoSlice::new(&[]); GATHERED_MAX];
                    let filled = outbox.gather(&mut slices);
                    if filled == 0 {
                        break;
                    }
                    self.io(|duplex, cx| duplex.poll_write_vectored(cx, &slices[..filled]))
                }
            };
            drop(outbox);
            match written {
                Poll::Pending => return self.blocked.set(true),
                Poll::Ready(Ok(0) | Err(_)) => return self.breaks(),
                Poll::Ready(Ok(count)) => {
                    self.outbox.borrow_mut().advance(count);
                    self.moved_ms.set(self.hall.now_ms());
                }
            }
        }
        self.flush_duplex();
    }

    /// What the duplex holds back itself (records of TLS).
    fn flush_duplex(&self) {
        match self.io(|duplex, cx| duplex.poll_flush(cx)) {
            Poll::Ready(Ok(())) => self.blocked.set(false),
            Poll::Ready(Err(_)) => self.breaks(),
            Poll::Pending => self.blocked.set(true),
        }
    }

    /// One call to the duplex on behalf of the connection's task, whoever makes it.
    ///
    /// Unconstrained: a task that sends to a thousand sockets would else use up its turn's budget and be told by the later
    /// ones that they take nothing.
    pub(super) fn io<T>(
        &self,
        mut call: impl FnMut(Pin<&mut dyn Duplex>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (waker, mut duplex) = (self.waker.borrow(), self.duplex.borrow_mut());
        let (Some(waker), Some(duplex)) = (&*waker, duplex.as_deref_mut()) else { return Poll::Pending };
        let calling = poll_fn(|cx| call(Pin::new(&mut *duplex), cx));
        pin!(unconstrained(calling)).poll(&mut Context::from_waker(waker))
    }

    /// Called by the task, first in each turn.
    pub(super) fn register(&self, waker: &Waker) {
        let mut have = self.waker.borrow_mut();
        if !have.as_ref().is_some_and(|have| have.will_wake(waker)) {
            *have = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    pub(super) fn all_left(&self) -> bool {
        !self.blocked.get() && self.outbox.borrow().is_empty()
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        self.limits.message_bytes_max
    }

    pub(super) fn hall(&self) -> &Rc<Hall> {
        &self.hall
    }

    /// Bytes came: the client lives.
    pub(super) fn heard(&self) {
        self.heard_ms.set(self.hall.now_ms());
        self.owed.set(0);
    }

    /// Whether a message has begun and not ended; `anew`: it is another one than before.
    pub(super) fn set_unfinished(&self, unfinished: bool, anew: bool) {
        if self.state.get() == State::Open {
            let since = self.begun_ms.get().filter(|_| !anew).unwrap_or_else(|| self.hall.now_ms());
            self.begun_ms.set(unfinished.then_some(since));
        }
    }

    /// The sweep: every limit in time of this connection.
    pub(super) fn judge(&self, now_ms: u64) {
        let over =
            |since_ms: u64, limit: Duration| u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis();
        if let State::Closing(_) = self.state.get() {
            if self.begun_ms.get().is_some_and(|since| over(since, GOODBYE)) {
                self.broken.set(true);
                self.wake();
            }
            return;
        }
        if self.connection.borrow().as_ref().is_some_and(|connection| connection.draining()) {
            self.wake();
        }
        if !self.outbox.borrow().is_empty() && over(self.moved_ms.get(), self.limits.stalled) {
            return self
                .cut(code::TOO_SLOW, "nothing of what waits was taken: come back and go on where you were");
        }
        if self.begun_ms.get().is_some_and(|since| over(since, MESSAGE_TIME)) {
            return self.close(code::POLICY, "a message took more than a minute");
        }
        let owed = self.owed.get();
        if !over(self.heard_ms.get(), self.limits.ping * (u32::from(owed) + 1)) {
            return;
        }
        if owed >= OWED_MAX {
            return self.cut(code::IDLE, "no sign of life");
        }
        self.owed.set(owed + 1);
        let mut ping = Vec::new();
        websocket::write_ping(&mut ping);
        self.send(&ping.into());
    }

    /// Gives everything back; who still holds it holds a shell.
    pub(super) fn release(&self) {
        self.hall.leave(self.key);
        self.broken.set(true);
        self.duplex.take();
        self.connection.take();
        self.waker.take();
        self.outbox.take();
    }
}
