//! One attempt: a request out, the head of its answer in.
//!
//! **Job.** Send head and body while listening for the answer, which may come before the body is out (RFC 9112 9.5).
//! **Called by** `Upstream::send`. **Calls** `host::net::stream`, `wire::http1`.
//!
//! Invariants
//! 1. Every wait has a deadline.
//! 2. Interim answers go to the exchange's slot, but for 100, which only says that the body is wanted; 101 ends the exchange
//!    of messages.
//! 3. A client that waits for `100 Continue` is not asked for its body before the server wants it, or keeps silent for
//!    [`CONTINUE_WAIT`]: a server that refuses at once never sees it.
//!
//! Not here: writing the request (`upload`), the answer's body (`body`).

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use madang_host::deadline::Deadline;
use madang_host::net::stream::Stream;
use madang_wire::http1::answer_head::{AnswerHead, Asked, BadAnswer};
use madang_wire::request::Method;
use tokio::io::{AsyncRead, ReadBuf};

use super::upload::Upload;
use super::{Fault, FaultKind, Replay, Step, Upstream, request_head};
use crate::exchange::Exchange;
use crate::interim::{INTERIM_MAX, Interim, InterimSlot};

/// How long a server may keep silent about an expectation before it gets the body unasked (RFC 9110 10.1.1: some never
/// answer it).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What came back.
pub(super) struct Answered {
    pub(super) stream: Stream,
    /// Pooled; the head is `..head_end`, behind it up to `end` is the body's beginning.
    pub(super) input: Vec<u8>,
    pub(super) head_end: usize,
    pub(super) end: usize,
    pub(super) head: AnswerHead,
    /// Whether the request left whole: else the connection is good for nothing more.
    pub(super) sent_whole: bool,
    /// What of it did not, and may go on beside the answer.
    pub(super) unfinished: Option<Upload>,
}

/// Sends one request on `stream` and reads the head of its answer.
pub(super) async fn run(
    upstream: &Upstream,
    stream: Stream,
    reused: bool,
    exchange: &Exchange,
    head: &[u8],
    body: &mut Replay,
) -> Result<Answered, Fault> {
    let is_head = exchange.head.method() == Method::Head;
    let mut out = upstream.pool.output();
    out.extend_from_slice(head);
    let mut attempt = Attempt {
        upstream,
        stream,
        asked: if is_head { Asked::Head } else { Asked::Other },
        upload: Upload::new(
            out,
            request_head::is_chunked(&exchange.head) && !body.is_none(),
            !body.is_none(),
        ),
        input: upstream.pool.input(),
        end: 0,
        answer: upstream.head(),
        interim: 0,
        slot: &exchange.interim,
        waits: continue_wait(upstream, exchange, body),
        deadline: upstream.deadline(if body.is_none() {
            upstream.limits.first_byte
        } else {
            upstream.limits.idle
        }),
    };
    let result = poll_fn(|cx| attempt.poll(cx, body)).await;
    let (sent, wanted) = (attempt.upload.sent, attempt.waits.is_none());
    let unfinished = if attempt.upload.is_whole() {
        upstream.pool.give_output(attempt.upload.into_buffer());
        None
    } else {
        Some(attempt.upload)
    };
    match result {
        Ok(head_end) => Ok(Answered {
            sent_whole: unfinished.is_none(),
            // A client that was never asked for its body does not send it.
            unfinished: unfinished.filter(|_| wanted),
            stream: attempt.stream,
            input: attempt.input,
            head_end,
            end: attempt.end,
            head: attempt.answer,
        }),
        Err((step, kind)) => {
            upstream.pool.give_input(attempt.input);
            upstream.give_head(attempt.answer);
            Err(Fault { step, kind, sent, reused })
        }
    }
}

/// Until when the body waits for the server to ask for it; `None`: it does not.
pub(super) fn continue_wait(upstream: &Upstream, exchange: &Exchange, body: &Replay) -> Option<Deadline> {
    let waits = exchange.head.expects_continue() && body.is_untouched();
    waits.then(|| upstream.deadline(CONTINUE_WAIT))
}

struct Attempt<'u> {
    upstream: &'u Upstream,
    stream: Stream,
    asked: Asked,
    upload: Upload,
    input: Vec<u8>,
    end: usize,
    answer: AnswerHead,
    interim: usize,
    slot: &'u InterimSlot,
    /// The client holds its body back until the server wants it, at the latest until then.
    waits: Option<Deadline>,
    deadline: Deadline,
}

type Stopped = (Step, FaultKind);

impl Attempt<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, body: &mut Replay) -> Poll<Result<usize, Stopped>> {
        let mut send = self.poll_send(cx, body);
        // An answer may come before the request is out, and tells more than the broken pipe that follows it.
        let waited = self.waits.is_some();
        if let Poll::Ready(answered) = self.poll_answer(cx) {
            return match (answered, send) {
                (Err((_, FaultKind::Closed)), Poll::Ready(Err(stopped))) => Poll::Ready(Err(stopped)),
                (answered, _) => Poll::Ready(answered),
            };
        }
        if waited && self.waits.is_none() {
            send = self.poll_send(cx, body);
        }
        if let Poll::Ready(Err((step, kind))) = send
            && !matches!(kind, FaultKind::Closed)
        {
            return Poll::Ready(Err((step, kind)));
        }
        self.deadline.poll(cx).map(|()| Err((self.step(), FaultKind::Timeout)))
    }

    fn step(&self) -> Step {
        if self.end > 0 {
            Step::Answer
        } else if self.upload.is_sending() || self.upload.has_unsent() {
            Step::Send
        } else {
            Step::Wait
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, body: &mut Replay) -> Poll<Result<(), Stopped>> {
        if self.waits.as_ref().is_some_and(|waits| waits.poll(cx).is_ready()) {
            self.waits = None;
        }
        let polled = self.upload.poll(&mut self.stream, body, self.waits.is_none(), cx);
        if self.upload.has_moved() {
            let limits = &self.upstream.limits;
            self.deadline.set(if self.upload.is_sending() { limits.idle } else { limits.first_byte });
        }
        polled.map_err(|kind| (Step::Send, kind))
    }

    /// Reads until the final head is complete; gives where it ends.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Stopped>> {
        let max = self.upstream.limits.head_bytes_max;
        loop {
            if self.end > 0 {
                let parsed = self.answer.parse(&self.input[..self.end], self.asked, max);
                match parsed.map_err(|bad| (Step::Answer, FaultKind::Bad(bad)))? {
                    Some(head_end) if self.is_interim() => {
                        self.interim += 1;
                        if self.interim > INTERIM_MAX {
                            let bad = FaultKind::Bad(BadAnswer::Malformed);
                            return Poll::Ready(Err((Step::Answer, bad)));
                        }
                        self.pass_interim(head_end);
                        self.input.copy_within(head_end..self.end, 0);
                        self.end -= head_end;
                        continue;
                    }
                    Some(head_end) => return Poll::Ready(Ok(head_end)),
                    None if self.end == self.input.len() => {
                        // One byte more than allowed, so that the parser sees a head that is too long.
                        let size = (self.input.len() * 2).min(max + 1).max(self.end + 1);
                        self.input.resize(size, 0);
                    }
                    None => {}
                }
            }
            let mut room = ReadBuf::new(&mut self.input[self.end..]);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room));
            let count = room.filled().len();
            let step = if self.end > 0 { Step::Answer } else { self.step() };
            read.map_err(|error| (step, FaultKind::from(error)))?;
            if count == 0 {
                return Poll::Ready(Err((step, FaultKind::Closed)));
            }
            self.end += count;
        }
    }

    /// 100 concerns the body that we send; everything else is the client's.
    fn pass_interim(&mut self, head_end: usize) {
        if self.answer.status == 100 {
            self.waits = None;
        } else if self.slot.is_open() {
            let mut copy = self.input[..head_end].to_vec();
            self.answer.lower_names(&mut copy);
            let copy = Bytes::from(copy);
            let slice = |(name, value): &(Range<usize>, Range<usize>)| {
                (copy.slice(name.clone()), copy.slice(value.clone()))
            };
            let fields = self.answer.fields.iter().map(slice).collect();
            self.slot.put(Interim { status: self.answer.status, fields });
        }
    }

    /// 100 and 103 come before the answer; 101 is one.
    fn is_interim(&self) -> bool {
        (100..200).contains(&self.answer.status) && self.answer.status != 101
    }
}
