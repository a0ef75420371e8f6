//! One attempt over HTTP/2: a request out on its stream, the head of its answer in.
//!
//! **Job.** Open the stream, send the body while listening for the answer, say what a broken stream means.
//! **Called by** `Upstream::send`. **Calls** h2, `request`, `upload`, `answer`.
//!
//! Invariants
//! 1. The waits are those of HTTP/1.1 (`upstream::attempt`): `idle` while the body goes out, `first_byte` after it.
//! 2. Dropping the attempt resets its stream (CANCEL) and nothing else.
//! 3. Interim answers and `100 Continue` are passed on and waited for as over HTTP/1.1.
//! 4. `sent: false` only where the server itself says that it did not process the stream, or where nothing left.
//!
//! Not here: the answer's body (`answer`), connections (`link`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{Method, Response};
use madang_host::deadline::Deadline;
use madang_wire::http1::answer_head::BadAnswer;

use super::upload::Upload;
use super::{Place, answer, request};
use crate::body::BodyFault;
use crate::exchange::Exchange;
use crate::interim::{INTERIM_MAX, Interim, InterimSlot};
use crate::upstream::attempt::continue_wait;
use crate::upstream::{Fault, FaultKind, Replay, Step, Upstream, UpstreamLimits, Watch};

/// What came back, and what is still on its way out.
pub(super) struct Answered {
    pub(super) response: Response<RecvStream>,
    pub(super) upload: Upload,
    pub(super) place: Place,
    /// Whether the request was an extended CONNECT.
    pub(super) tunnel: bool,
}

/// Sends a request as a stream; see `Upstream::send`.
pub(in crate::upstream) async fn send(
    upstream: &Rc<Upstream>,
    place: Place,
    exchange: &mut Exchange,
    head: &[u8],
    body: &mut Replay,
    watch: impl FnOnce() -> Box<dyn Watch>,
) -> Result<(), Fault> {
    // Messages come when there is something to say: `idle` judges the pauses, a least rate means nothing.
    if exchange.head.get("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        body.set_patient();
    }
    let answered = run(upstream, place, exchange, head, body).await?;
    answer::fill(upstream, exchange, answered, body, watch)
}

async fn run(
    upstream: &Upstream,
    place: Place,
    exchange: &Exchange,
    head: &[u8],
    body: &mut Replay,
) -> Result<Answered, Fault> {
    let reused = place.link.used.get();
    let unsent = |kind| Fault { step: Step::Send, kind, sent: false, reused };
    let Some(request) = request::of(head, upstream.tls.is_some()) else {
        let what = "authority";
        return Err(unsent(FaultKind::Client(BodyFault::Malformed { what })));
    };
    let tunnel = request.method() == Method::CONNECT;
    let is_empty = tunnel || body.is_none();
    let opened = place.link.opener().send_request(request, is_empty && !tunnel);
    let (answer, stream) = opened.map_err(|error| unsent(kind_of(&error).0))?;
    let limits = &upstream.limits;
    let mut attempt = Attempt {
        limits,
        answer,
        upload: Upload::new(stream, is_empty),
        interim: 0,
        slot: &exchange.interim,
        waits: continue_wait(upstream, exchange, body),
        deadline: upstream.deadline(if is_empty { limits.first_byte } else { limits.idle }),
    };
    match poll_fn(|cx| attempt.poll(cx, body)).await {
        Ok(response) => {
            place.link.used.set(true);
            if attempt.waits.is_some() {
                attempt.upload.give_up();
            }
            Ok(Answered { response, upload: attempt.upload, place, tunnel })
        }
        Err((step, kind, sent)) => Err(Fault { step, kind, sent, reused }),
    }
}

struct Attempt<'u> {
    limits: &'u UpstreamLimits,
    answer: ResponseFuture,
    upload: Upload,
    interim: usize,
    slot: &'u InterimSlot,
    /// As over HTTP/1.1: the client holds its body back until then.
    waits: Option<Deadline>,
    deadline: Deadline,
}

type Stopped = (Step, FaultKind, bool);

impl Attempt<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Replay,
    ) -> Poll<Result<Response<RecvStream>, Stopped>> {
        self.poll_interim(cx)?;
        if self.waits.as_ref().is_some_and(|waits| waits.poll(cx).is_ready()) {
            self.waits = None;
        }
        let was_done = self.upload.is_done();
        let uploaded = if self.waits.is_some() { Poll::Pending } else { self.upload.poll(cx, body) };
        if self.upload.moved.take() {
            self.deadline.set(self.limits.idle);
        }
        if !was_done && self.upload.is_done() {
            self.deadline.set(self.limits.first_byte);
        }
        // An answer may come before the request is out, and tells more than what follows it.
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer.map_err(|error| {
                let (kind, sent) = kind_of(&error);
                (self.step(), kind, sent)
            }));
        }
        if let Poll::Ready(Err(fault)) = uploaded {
            return Poll::Ready(Err((Step::Send, FaultKind::Client(fault), true)));
        }
        self.deadline.poll(cx).map(|()| {
            // A client that sends nothing is not the server's fault.
            let kind = match self.upload.waits_for_client {
                true => FaultKind::Client(BodyFault::TooSlow { limit: "timeouts.idle" }),
                false => FaultKind::Timeout,
            };
            Err((self.step(), kind, true))
        })
    }

    /// 100 concerns the body that we send; everything else is the client's.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Result<(), Stopped> {
        while let Poll::Ready(Some(Ok(one))) = self.answer.poll_informational(cx) {
            self.interim += 1;
            let status = one.status().as_u16();
            // 101 does not exist in HTTP/2 (RFC 9113 8.6).
            if self.interim > INTERIM_MAX || status == 101 {
                return Err((Step::Answer, FaultKind::Bad(BadAnswer::Protocol), true));
            }
            if status == 100 {
                self.waits = None;
            } else if self.slot.is_open() {
                let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                let fields = one.headers().iter();
                let fields =
                    fields.map(|(name, value)| (copy(name.as_str().as_bytes()), copy(value.as_bytes())));
                self.slot.put(Interim { status, fields: fields.collect() });
            }
        }
        Ok(())
    }

    const fn step(&self) -> Step {
        if self.upload.is_done() { Step::Wait } else { Step::Send }
    }
}

/// What a failed stream means, and whether the server may have seen the request.
pub(super) fn kind_of(error: &h2::Error) -> (FaultKind, bool) {
    let reason = error.reason();
    match (error.is_remote(), error.is_reset(), error.is_go_away()) {
        // Only streams above the last one that it names end by a GOAWAY: it did not process them.
        (true, _, true) => (FaultKind::Closed, false),
        (true, true, _) if reason == Some(Reason::REFUSED_STREAM) => (FaultKind::RefusedStream, false),
        (true, true, _) => (FaultKind::Reset(reason.map_or(0, u32::from)), true),
        _ if error.is_io() => {
            let kind = error.get_io().map_or(std::io::ErrorKind::BrokenPipe, std::io::Error::kind);
            (FaultKind::from(std::io::Error::from(kind)), true)
        }
        // h2 refuses what the server sent; it does not tell a head that is too large from one that is wrong.
        _ if error.is_library() => (FaultKind::Bad(BadAnswer::Protocol), true),
        _ => (FaultKind::Closed, true),
    }
}
