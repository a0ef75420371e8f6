//! One connection of HTTP/2 to a server: a task that drives it, and what the others may know of it.
//!
//! **Job.** Let frames flow, count the streams, notice a server that is gone without a word, say when it is full, leaving or
//! ended. **Owned by** `Links` and by each stream on it. **Calls** h2, `cork`.
//!
//! Invariants
//! 1. The window of the whole connection is that of all streams together: a client that does not read stops its own answer
//!    and nobody else's. What one connection can pin is therefore [`STREAMS_MAX`] times [`STREAM_WINDOW_BYTES`], 16 MiB.
//! 2. A server that says nothing while streams wait is asked by PING; without an answer in time all of them hear it.
//! 3. PINGs are rare: servers of gRPC end connections that send more than a few without data (every five minutes is allowed).
//!
//! Not here: which link a request takes (`Links`), streams (`attempt`, `answer`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use madang_host::net::stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::endpoint::Pool;
use crate::http2::cork::Cork;
use crate::upstream::UpstreamLimits;

/// Streams that we open at once on one connection, whatever more the server allows.
pub(super) const STREAMS_MAX: u32 = 128;
/// Bytes of one answer that wait for its client.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Bytes of one request's body that wait for the socket.
const SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// A PING that is not answered for so long makes a link doubtful, before `ping_timeout` ends it.
const DOUBTED_AFTER_MS: u64 = 1000;

/// What the driving task and the streams both see.
#[derive(Default)]
struct Shared {
    driver: RefCell<Option<Waker>>,
    heard_bytes: Cell<u64>,
    /// Bytes of the server's first frame, its SETTINGS, once its length is known.
    greeting_bytes: Cell<Option<u64>>,
    greeted: Notify,
    wants_ping: Cell<bool>,
    /// What had been heard when the last PING was answered.
    heard_at_pong: Cell<u64>,
    awaits_pong: Cell<bool>,
    cut: Cell<bool>,
    ended: Cell<bool>,
}

impl Shared {
    fn wake_driver(&self) {
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }

    fn is_greeted(&self) -> bool {
        self.greeting_bytes.get().is_some_and(|bytes| self.heard_bytes.get() >= bytes)
    }
}

/// One connection.
pub(super) struct Link {
    send: RefCell<SendRequest<Bytes>>,
    shared: Rc<Shared>,
    streams: Cell<u32>,
    /// Whether any stream ended here with an answer.
    pub(super) used: Cell<bool>,
    seen_bytes: Cell<u64>,
    quiet_since_ms: Cell<u64>,
    idle_since_ms: Cell<u64>,
    pinged_ms: Cell<Option<u64>>,
}

/// What the sweep makes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stay,
    /// Nothing was asked for too long, or the server left: no new streams.
    Go,
}

impl Link {
    /// Greets the server and drives the connection until it ends. Waits for nothing.
    pub(super) async fn new(
        stream: Stream,
        limits: &UpstreamLimits,
        pool: &Rc<Pool>,
        now_ms: u64,
    ) -> Result<Rc<Self>, h2::Error> {
        let shared = Rc::<Shared>::default();
        let ear = Ear { stream, first: [0; 3], shared: Rc::clone(&shared) };
        let cork = Cork::new(ear, Rc::clone(pool));
        let head_bytes = u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX);
        let (send, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * STREAMS_MAX)
            .max_header_list_size(head_bytes)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_concurrent_reset_streams(STREAMS_MAX as usize)
            .handshake::<_, Bytes>(cork.clone())
            .await?;
        tokio::task::spawn_local(drive(connection, cork, Rc::clone(&shared)));
        Ok(Rc::new(Self {
            send: RefCell::new(send),
            shared,
            streams: Cell::new(0),
            used: Cell::new(false),
            seen_bytes: Cell::new(0),
            quiet_since_ms: Cell::new(now_ms),
            idle_since_ms: Cell::new(now_ms),
            pinged_ms: Cell::new(None),
        }))
    }

    /// Whether new streams may still be opened at all: the server has neither left nor gone.
    pub(super) fn is_open(&self) -> bool {
        let ready = self.send.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        !self.shared.ended.get() && !matches!(ready, Poll::Ready(Err(_)))
    }

    /// Whether one more stream may be opened now. A server that has owed an answer to a PING for a while gets none.
    pub(super) fn has_room(&self, now_ms: u64) -> bool {
        let allowed = u32::try_from(self.send.borrow().current_max_send_streams()).unwrap_or(u32::MAX);
        let owes = |at| self.shared.awaits_pong.get() && now_ms.saturating_sub(at) > DOUBTED_AFTER_MS;
        self.streams.get() < allowed.min(STREAMS_MAX) && !self.pinged_ms.get().is_some_and(owes)
    }

    /// A handle that opens one stream.
    pub(super) fn opener(&self) -> SendRequest<Bytes> {
        self.send.borrow().clone()
    }

    /// Waits for the server's settings; true when they allow the extended CONNECT (RFC 8441 3).
    pub(super) async fn allows_extended_connect(&self) -> bool {
        while !self.shared.is_greeted() && !self.shared.ended.get() {
            self.shared.greeted.notified().await;
        }
        self.send.borrow().is_extended_connect_protocol_enabled()
    }

    pub(super) fn begin_stream(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    pub(super) fn end_stream(&self, now_ms: u64) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.idle_since_ms.set(now_ms);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Judges it; called by the sweep. Cuts it when a PING was not answered.
    pub(super) fn look(&self, limits: &UpstreamLimits, now_ms: u64) -> Fate {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if !self.is_open() {
            return Fate::Go;
        }
        let heard = self.shared.heard_bytes.get();
        if heard != self.seen_bytes.replace(heard) {
            self.quiet_since_ms.set(now_ms);
            if heard > self.shared.heard_at_pong.get() && !self.shared.awaits_pong.get() {
                self.pinged_ms.set(None);
            }
        }
        if self.is_idle() {
            let idle = now_ms.saturating_sub(self.idle_since_ms.get());
            return if idle > ms(limits.keep_alive) { Fate::Go } else { Fate::Stay };
        }
        let since = |then: u64| now_ms.saturating_sub(then);
        match self.pinged_ms.get() {
            Some(at) if self.shared.awaits_pong.get() => {
                if since(at) > ms(limits.ping_timeout) {
                    self.cut();
                    return Fate::Go;
                }
            }
            Some(at) if since(at) < ms(limits.ping_again) => {}
            None if since(self.quiet_since_ms.get()) < ms(limits.ping_after) => {}
            _ => {
                self.pinged_ms.set(Some(now_ms));
                self.shared.wants_ping.set(true);
                self.shared.awaits_pong.set(true);
                self.shared.wake_driver();
            }
        }
        Fate::Stay
    }

    /// Ends it at once: every stream on it hears that the connection broke.
    fn cut(&self) {
        self.shared.cut.set(true);
        self.shared.wake_driver();
    }
}

/// Drives a connection to its end. Holds no [`Link`]: when nobody wants streams any more, the connection ends by itself.
async fn drive(mut connection: Connection<Cork<Ear>, Bytes>, cork: Cork<Ear>, shared: Rc<Shared>) {
    let mut pings = connection.ping_pong();
    poll_fn(|cx| {
        if shared.cut.get() {
            return Poll::Ready(());
        }
        let is_same = |waker: &Waker| waker.will_wake(cx.waker());
        if !shared.driver.borrow().as_ref().is_some_and(is_same) {
            *shared.driver.borrow_mut() = Some(cx.waker().clone());
        }
        if let Some(pings) = &mut pings {
            poll_ping(pings, &shared, cx);
        }
        let ended = Pin::new(&mut connection).poll(cx).is_ready();
        if shared.is_greeted() {
            shared.greeted.notify_waiters();
        }
        if ended || matches!(cork.poll_pour(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    shared.ended.set(true);
    // Streams that are still open hear of it here.
    drop(connection);
    shared.greeted.notify_waiters();
}

fn poll_ping(pings: &mut PingPong, shared: &Shared, cx: &mut Context<'_>) {
    if shared.wants_ping.get() && pings.send_ping(Ping::opaque()).is_ok() {
        shared.wants_ping.set(false);
    }
    if shared.awaits_pong.get() && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
        shared.awaits_pong.set(false);
        shared.heard_at_pong.set(shared.heard_bytes.get());
    }
}

/// The stream below, with an ear for how much the server said.
struct Ear {
    stream: Stream,
    first: [u8; 3],
    shared: Rc<Shared>,
}

impl Ear {
    fn hear(&mut self, bytes: &[u8]) {
        let heard = self.shared.heard_bytes.get();
        if let Ok(at) = usize::try_from(heard)
            && at < self.first.len()
        {
            for (place, byte) in self.first[at..].iter_mut().zip(bytes) {
                *place = *byte;
            }
        }
        let heard = heard + bytes.len() as u64;
        self.shared.heard_bytes.set(heard);
        if heard >= 3 && self.shared.greeting_bytes.get().is_none() {
            let [a, b, c] = self.first;
            // RFC 9113 4.1: a frame's head has 9 bytes, the first three are the length of what follows.
            self.shared.greeting_bytes.set(Some(9 + u64::from(u32::from_be_bytes([0, a, b, c]))));
        }
    }
}

impl AsyncRead for Ear {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let this = &mut *self;
        this.hear(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ear {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
