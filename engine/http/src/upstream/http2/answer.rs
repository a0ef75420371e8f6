//! An upstream's answer over HTTP/2 becomes the exchange's.
//!
//! **Job.** Fields into the answer; a short body at once, a longer one as its client takes it, with its trailers; an accepted
//! extended CONNECT as a tunnel. **Called by** `attempt`. **Calls** h2.
//!
//! Invariants
//! 1. The window is opened only by what the client took: one that reads slowly slows the server (back-pressure).
//! 2. The stream keeps its place on the connection until the body has been read whole or dropped.
//! 3. An answer of gRPC that breaks off ends as gRPC says it (`grpc-status` 14, UNAVAILABLE): its client knows what to do.
//! 4. What h2 lets through and HTTP does not is refused: a status that is none, an answer of a length that it does not have.
//!
//! Not here: fields that a route adds or takes out (`roles/web`, `roles/balance`).

use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use madang_host::deadline::Deadline;
use madang_wire::http1::answer_head::BadAnswer;
use madang_wire::request::Method;

use super::Place;
use super::attempt::{Answered, kind_of};
use super::upload::{Beside, Upload};
use crate::body::{Body, BodyFault, BodyStream, Frame};
use crate::exchange::Exchange;
use crate::http2::duplex::H2Duplex;
use crate::upstream::answer::is_copied;
use crate::upstream::{Fault, FaultKind, Replay, Step, Upstream, Watch};

/// Fills the exchange's answer. On an error it is as it was.
pub(super) fn fill(
    upstream: &Rc<Upstream>,
    exchange: &mut Exchange,
    answered: Answered,
    body: &mut Replay,
    watch: impl FnOnce() -> Box<dyn Watch>,
) -> Result<(), Fault> {
    let Answered { response, upload, place, tunnel } = answered;
    let (head, mut recv) = response.into_parts();
    let status = head.status.as_u16();
    if !(200..600).contains(&status) {
        let kind = FaultKind::Bad(BadAnswer::Malformed);
        return Err(Fault { step: Step::Answer, kind, sent: true, reused: false });
    }
    let announced = length_of(&head.headers);
    let is_head = exchange.head.method() == Method::Head;
    exchange.response.status = status;
    fields(exchange, &head.headers);
    if tunnel && (200..300).contains(&status) {
        switch(exchange, recv, upload, place, watch());
        return Ok(());
    }
    exchange.response.length_hint = announced;
    // Whatever follows where nothing may follow is not taken: the stream is dropped.
    if is_head || matches!(status, 204 | 304) || recv.is_end_stream() {
        return Ok(());
    }
    let mut first = None;
    if let Poll::Ready(Some(Ok(piece))) = recv.poll_data(&mut Context::from_waker(Waker::noop())) {
        if recv.is_end_stream() {
            // A short answer that is whole already needs nobody to wait for it. The window is given back with the stream.
            exchange.response.body = Body::Bytes(piece);
            return Ok(());
        }
        first = Some(piece);
    }
    let beside = (!upload.is_done()).then(|| upload.beside(body.take()));
    let deadline = upstream.deadline(upstream.limits.idle);
    let upstream = Rc::clone(upstream);
    exchange.response.body = Body::Stream(Box::new(StreamBody {
        upstream,
        recv,
        first,
        taken: 0,
        announced,
        data_done: false,
        over: false,
        is_grpc: head
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")),
        beside,
        deadline,
        _place: place,
        watch: watch(),
    }));
    Ok(())
}

fn length_of(fields: &HeaderMap) -> Option<u64> {
    // h2 has refused several that differ, and any that is no number.
    fields.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn fields(exchange: &mut Exchange, fields: &HeaderMap) {
    let split = fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    // Its length is written by the protocol towards the client.
    let copied = split.filter(|(name, _)| is_copied(name) && *name != b"content-length");
    exchange.response.fields.pass_on_split(copied);
}

/// The server agreed: from now on the stream is the client's.
fn switch(
    exchange: &mut Exchange,
    recv: RecvStream,
    upload: Upload,
    place: Place,
    mut watch: Box<dyn Watch>,
) {
    let response = &mut exchange.response;
    response.status = 101;
    if let Some(key) = exchange.head.get("sec-websocket-key").filter(|_| exchange.head.protocol().is_none()) {
        response.fields.set("sec-websocket-accept", crate::websocket::proof(key));
    }
    response.fields.set("upgrade", "websocket");
    response.body = Body::Upgrade(Box::new(move |mut client| {
        Box::pin(async move {
            let _place = place;
            let mut server = H2Duplex::new(recv, upload.into_stream(), None);
            // Either side's end ends both; whoever was cut has been told by its own connection.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            watch.ended(true);
        })
    }));
}

struct StreamBody {
    upstream: Rc<Upstream>,
    recv: RecvStream,
    /// What came together with the head.
    first: Option<Bytes>,
    /// Bytes of the last piece: the client has taken them when it asks for the next.
    taken: usize,
    announced: Option<u64>,
    data_done: bool,
    over: bool,
    /// Whether this is an answer of gRPC.
    is_grpc: bool,
    /// The request's body, still on its way.
    beside: Option<Beside>,
    deadline: Deadline,
    _place: Place,
    watch: Box<dyn Watch>,
}

impl StreamBody {
    fn cut(&mut self, what: &'static str) -> Poll<Option<Result<Frame, BodyFault>>> {
        self.over = true;
        self.beside = None;
        self.watch.ended(false);
        if self.is_grpc {
            let field = |name: &'static str, value: &'static str| (name.into(), value.into());
            let trailers = vec![field("grpc-status", "14"), field("grpc-message", what)];
            return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
        }
        Poll::Ready(Some(Err(BodyFault::Source { what })))
    }

    fn broken(&mut self, error: &h2::Error) -> Poll<Option<Result<Frame, BodyFault>>> {
        let what = match kind_of(error).0 {
            FaultKind::Reset(_) | FaultKind::RefusedStream => "upstream-reset",
            FaultKind::Bad(bad) => bad.name(),
            _ => "upstream-cut",
        };
        self.cut(what)
    }

    /// Nothing comes: for too long? What the client sends meanwhile is a sign of life too.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        if self.beside.as_ref().is_some_and(Beside::has_moved) {
            self.deadline.set(self.upstream.limits.idle);
        }
        ready!(self.deadline.poll(cx));
        self.cut("upstream-idle-timeout")
    }

    fn piece(&mut self, piece: Bytes) -> Poll<Option<Result<Frame, BodyFault>>> {
        self.taken = piece.len();
        self.deadline.set(self.upstream.limits.idle);
        Poll::Ready(Some(Ok(Frame::Data(piece))))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Poll<Option<Result<Frame, BodyFault>>> {
        self.over = true;
        // A server that has answered whole wants no more of the request (RFC 9113 8.1).
        self.beside = None;
        self.watch.ended(true);
        let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
            return Poll::Ready(None);
        };
        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let list = trailers
            .iter()
            .map(|(name, value)| (copy(name.as_str().as_bytes()), copy(value.as_bytes())))
            .collect();
        Poll::Ready(Some(Ok(Frame::Trailers(list))))
    }
}

impl BodyStream for StreamBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            // An error says that the stream has ended: what is left of it is read all the same.
            let _ = self.recv.flow_control().release_capacity(taken);
        }
        if let Some(first) = self.first.take() {
            return self.piece(first);
        }
        while !self.data_done {
            match self.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => return self.piece(piece),
                Poll::Ready(Some(Err(error))) => return self.broken(&error),
                Poll::Ready(None) => self.data_done = true,
                Poll::Pending => return self.wait(cx),
            }
        }
        match self.recv.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => self.finish(trailers),
            Poll::Ready(Err(error)) => self.broken(&error),
            Poll::Pending => self.wait(cx),
        }
    }

    fn length(&self) -> Option<u64> {
        self.announced
    }
}
