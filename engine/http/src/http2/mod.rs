//! HTTP/2 (RFC 9113) over the h2 crate: a child equal to `http1`.
//!
//! **Job.** Accept streams, hand them to the service as exchanges, keep one connection's misbehaviour bounded.
//! **Called by** `accept`. **Calls** h2, `stream` (one request and its answer), `cork` (frames leave together), `duplex` (extended CONNECT, RFC 8441).
//!
//! What h2 bounds by itself: streams open, decoded header bytes, CONTINUATION frames, streams reset before we saw them,
//! resets it must send. What we add, each ending the connection with ENHANCE_YOUR_CALM:
//! - *glitches*: requests the peer resets or that are refused, counted against `h2_glitches_max` and forgiven slowly by
//!   answered ones (rapid reset, MadeYouReset: the budget is on work started, not on streams open);
//! - *chatter*: bytes received beyond the heads and bodies of requests (ping, settings, priority, window floods). What we
//!   let the peer send is no chatter, read or not: a stream's first window, what its reader took, and the window updates
//!   that go with what we send;
//! - *stalls*: answers whose window the peer does not open are judged by the same `write_idle_timeout` and
//!   `write_rate_min` as HTTP/1 (`stream`), on cumulative progress, so that a drip of one byte refreshes nothing.
//!
//! Not here: HPACK, frames, flow control (h2), routing.

mod body_in;
pub(crate) mod cork;
pub(crate) mod duplex;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection as H2Connection};
use madang_host::connection::{Connection, Phase};
use madang_host::net::stream::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::endpoint::{Endpoint, HttpLimits};
use crate::tunnel::Tunnel;
use cork::Cork;

/// Control bytes a connection may send beside its requests, and more for each request.
const CHATTER_BYTES: u64 = 128 * 1024;
const CHATTER_BYTES_PER_REQUEST: u64 = 1024;
/// A DATA frame that carries content brings its own head and some padding.
const FRAME_BYTES: u64 = 32;
/// One byte in for so many out: a client that reads 512 bytes at a time sends 13 of WINDOW_UPDATE for each.
const BYTES_OUT_PER_BYTE_IN: u64 = 32;
/// What a peer may still send after the goodbyes before we stop reading it.
const LINGER_BYTES_MAX: usize = 64 * 1024;
/// So many answered requests make up for one glitch.
const REQUESTS_PER_PARDON: u64 = 10;

/// What one connection's streams tell it.
#[derive(Default)]
pub(crate) struct Score {
    active: Cell<u32>,
    glitches: Cell<u64>,
    answered: Cell<u64>,
    /// Bytes of heads, and of bodies as far as our windows let them come.
    granted_bytes: Cell<u64>,
}

impl Score {
    fn glitch(&self) {
        self.glitches.set(self.glitches.get() + 1);
    }
    fn overdrawn(&self, limits: &HttpLimits) -> bool {
        let pardoned = self.answered.get() / REQUESTS_PER_PARDON;
        self.glitches.get().saturating_sub(pardoned) > u64::from(limits.h2_glitches_max)
    }
    fn grant(&self, bytes: u64) {
        self.granted_bytes.set(self.granted_bytes.get() + bytes);
    }
    /// The reader took a DATA frame: as much may come again.
    fn took(&self, bytes: usize) {
        if bytes > 0 {
            self.grant(bytes as u64 + FRAME_BYTES);
        }
    }
    fn chatters(&self, connection: &Connection, requests: u64) -> bool {
        let (bytes_in, bytes_out) = connection.bytes();
        let beside = CHATTER_BYTES + requests * CHATTER_BYTES_PER_REQUEST + bytes_out / BYTES_OUT_PER_BYTE_IN;
        bytes_in > self.granted_bytes.get() + beside
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    stream: Stream,
    early: Vec<u8>,
    connection: Rc<Connection>,
    endpoint: Rc<Endpoint>,
) {
    let limits = endpoint.serving().limits;
    connection.enter(Phase::Head);
    let io = Tunnel::new(stream, early, Rc::clone(&connection));
    let cork = Cork::new(io, Rc::clone(&endpoint.pool));
    let mut greeting = std::pin::pin!(builder(&limits).handshake::<_, Bytes>(cork.clone()));
    let greeted = poll_fn(|cx| {
        let greeted = greeting.as_mut().poll(cx);
        // Our settings leave while the peer's are awaited.
        if greeted.is_pending() && matches!(cork.poll_pour(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(None);
        }
        greeted.map(Result::ok)
    });
    let Some(mut h2) = greeted.await else { return };
    connection.enter_if_new(Phase::Idle);
    let score = Rc::new(Score::default());
    let mut requests = 0_u64;
    let mut leaving = false;
    loop {
        let next = poll_fn(|cx| {
            if connection.poll_cut(cx).is_some() {
                return Poll::Ready(Step::Cut);
            }
            if !leaving && (connection.draining() || requests >= limits.requests_per_connection_max) {
                return Poll::Ready(Step::Leave);
            }
            let accepted = h2.poll_accept(cx);
            // Requests that wait to be taken brought bytes that are not granted yet: only behind the last of them can
            // anything be called chatter.
            let chatters = accepted.is_pending() && score.chatters(&connection, requests);
            if score.overdrawn(&limits) || chatters {
                return Poll::Ready(Step::Calm);
            }
            if accepted.is_pending() && matches!(cork.poll_pour(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Step::Gone);
            }
            accepted.map(Step::Accepted)
        })
        .await;
        match next {
            Step::Accepted(Some(Ok((request, respond)))) => {
                requests += 1;
                connection.count_request();
                let head_bytes: usize =
                    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                score.grant(head_bytes as u64 + 64);
                if !request.body().is_end_stream() {
                    score.grant(u64::from(limits.h2_stream_window_bytes));
                }
                start(request, respond, &connection, &endpoint, &score, &limits);
            }
            Step::Accepted(None) => {
                drop(h2);
                return linger(cork, &connection).await;
            }
            Step::Accepted(Some(Err(_))) | Step::Gone => break,
            Step::Leave => {
                leaving = true;
                h2.graceful_shutdown();
            }
            Step::Calm => {
                endpoint.serving().service.refused(&connection, 0, "h2_glitches_max");
                say_last(&mut h2, &cork, Reason::ENHANCE_YOUR_CALM, &connection).await;
                break;
            }
            Step::Cut => {
                // The peer hears why before the connection goes.
                connection.begin_goodbye();
                say_last(&mut h2, &cork, Reason::NO_ERROR, &connection).await;
                break;
            }
        }
    }
}

/// Reads until the peer has gone too: its last frames (an acknowledgement, its own goodbye) would meet a closed socket, which
/// answers with a reset, and a reset may overtake what we sent.
async fn linger(mut cork: Cork<Tunnel>, connection: &Connection) {
    connection.enter(Phase::Closing);
    let mut seen = 0;
    let mut piece = [0; 1024];
    while seen < LINGER_BYTES_MAX {
        let read = poll_fn(|cx| {
            if connection.poll_cut(cx).is_some() {
                return Poll::Ready(0);
            }
            let mut room = ReadBuf::new(&mut piece);
            let read = Pin::new(&mut cork).poll_read(cx, &mut room);
            read.map(|read| if read.is_ok() { room.filled().len() } else { 0 })
        });
        match read.await {
            0 => return,
            count => seen += count,
        }
    }
}

type Accepted = (http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

#[allow(
    clippy::large_enum_variant,
    reason = "lives for one turn of the loop; a box would cost each request one"
)]
enum Step {
    Accepted(Option<Result<Accepted, h2::Error>>),
    Leave,
    Calm,
    Cut,
    Gone,
}

fn builder(limits: &HttpLimits) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits.h2_stream_window_bytes)
        .initial_connection_window_size(limits.h2_connection_window_bytes)
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(limits.h2_header_list_bytes_max)
        .max_send_buffer_size(limits.h2_send_buffer_bytes_max)
        .max_concurrent_reset_streams(16)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(64))
        .enable_connect_protocol();
    builder
}

/// Sends GOAWAY and gives it until the next limit to leave.
async fn say_last(
    h2: &mut H2Connection<Cork<Tunnel>, Bytes>,
    cork: &Cork<Tunnel>,
    reason: Reason,
    connection: &Connection,
) {
    h2.abrupt_shutdown(reason);
    connection.enter(Phase::Closing);
    // Streams that still arrive are dropped here: they get no work.
    poll_fn(|cx| {
        if connection.poll_cut(cx).is_some() {
            return Poll::Ready(());
        }
        let closed = h2.poll_closed(cx);
        if closed.is_pending() && matches!(cork.poll_pour(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        closed.map(|_| ())
    })
    .await;
}

fn start(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    connection: &Rc<Connection>,
    endpoint: &Rc<Endpoint>,
    score: &Rc<Score>,
    limits: &HttpLimits,
) {
    // A reset stream leaves h2's count at once, its work here a moment later: what counts is the work.
    if score.active.get() >= limits.h2_streams_max {
        score.glitch();
        return respond.send_reset(Reason::REFUSED_STREAM);
    }
    score.active.set(score.active.get() + 1);
    connection.enter_if_new(Phase::Handling);
    let (connection, endpoint, score) = (Rc::clone(connection), Rc::clone(endpoint), Rc::clone(score));
    tokio::task::spawn_local(async move {
        let end = stream::serve(request, respond, &connection, &endpoint, &score).await;
        match end {
            stream::End::Answered => score.answered.set(score.answered.get() + 1),
            stream::End::Reset => score.glitch(),
        }
        score.active.set(score.active.get() - 1);
        if score.active.get() == 0 {
            connection.enter_if_new(Phase::Idle);
        }
        // The connection's task judges the score: it must look at it now.
        connection.nudge();
    });
}
