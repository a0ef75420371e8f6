//! The body of an upstream's answer while it passes through.
//!
//! **Job.** Read it as the client takes it, by its framing; give the connection back at its end.
//! **Made by** `answer`. **Read by** the protocol towards the client.
//!
//! Invariants
//! 1. At most one piece is held: a client that reads slowly slows the server (back-pressure).
//! 2. A body that ends before its framing says so is a fault: the client sees a broken answer, never a short one.
//! 3. What is left of an unfinished request goes on beside the answer, if the server still takes it; else the connection ends.
//! 4. A client that goes away closes the connection: what it did not read is nobody else's answer.
//!
//! Not here: the client's pace (`host::connection`).

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use madang_host::deadline::Deadline;
use madang_host::net::stream::Stream;
use madang_wire::http1::answer_head::BodyFraming;
use madang_wire::http1::chunked::{Chunk, ChunkedDecoder};
use tokio::io::AsyncReadExt;

use super::answer::Watch;
use super::upload::Beside;
use super::{FaultKind, Upstream};
use crate::body::{BodyFault, BodyStream, Frame};

/// Room for one read.
const READ_BYTES: usize = 32 * 1024;

enum Rest {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
    Done,
}

pub(super) struct UpstreamBody {
    upstream: Rc<Upstream>,
    stream: Option<Stream>,
    buffer: BytesMut,
    rest: Rest,
    announced: Option<u64>,
    keep: bool,
    /// The request's body, still on its way.
    beside: Option<Box<Beside>>,
    deadline: Deadline,
    watch: Box<dyn Watch>,
}

impl UpstreamBody {
    pub(super) fn new(
        upstream: &Rc<Upstream>,
        stream: Stream,
        early: Bytes,
        framing: BodyFraming,
        keep: bool,
        beside: Option<Box<Beside>>,
        watch: Box<dyn Watch>,
    ) -> Self {
        let (rest, announced) = match framing {
            BodyFraming::None => (Rest::Done, Some(0)),
            BodyFraming::Length(length) => (Rest::Length(length), Some(length)),
            BodyFraming::Chunked => (Rest::Chunked(Box::default()), None),
            BodyFraming::UntilClose => (Rest::UntilClose, None),
        };
        let mut buffer = BytesMut::with_capacity(early.len().max(READ_BYTES));
        buffer.extend_from_slice(&early);
        Self {
            deadline: upstream.deadline(upstream.limits.idle),
            upstream: Rc::clone(upstream),
            stream: Some(stream),
            buffer,
            rest,
            announced,
            keep,
            beside,
            watch,
        }
    }

    /// The end: the connection goes back, or closes.
    fn finish(&mut self) {
        self.rest = Rest::Done;
        self.watch.ended(true);
        // Bytes behind the end are nobody's, and a request that did not leave whole is not followed by another.
        let in_step = self.keep && self.beside.is_none() && self.buffer.is_empty();
        if let Some(stream) = self.stream.take().filter(|_| in_step) {
            self.upstream.give_back(stream);
        }
    }

    /// Reads more; 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyFault>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(0)) };
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
            self.buffer.reserve(READ_BYTES);
        }
        let read = pin!(stream.read_buf(&mut self.buffer)).poll(cx);
        match read {
            Poll::Ready(Ok(count)) => {
                self.deadline.set(self.upstream.limits.idle);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(BodyFault::Source { what: "upstream-cut" })),
            Poll::Pending => {
                self.deadline.poll(cx).map(|()| Err(BodyFault::Source { what: "upstream-idle-timeout" }))
            }
        }
    }

    /// The rest of the request goes on. `Some`: it never will, for this reason.
    fn poll_beside(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        let (Some(beside), Some(stream)) = (&mut self.beside, &mut self.stream) else { return None };
        let polled = beside.poll(stream, cx);
        if beside.has_moved() {
            self.deadline.set(self.upstream.limits.idle);
        }
        match polled {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                self.beside = None;
                None
            }
            Poll::Ready(Err(FaultKind::Client(fault))) => Some(fault.name()),
            // The server wants no more of it: its answer tells why.
            Poll::Ready(Err(_)) => {
                (self.beside, self.keep) = (None, false);
                None
            }
        }
    }

    fn cut(&mut self, what: &'static str) -> Poll<Option<Result<Frame, BodyFault>>> {
        self.stream = None;
        self.rest = Rest::Done;
        self.watch.ended(false);
        Poll::Ready(Some(Err(BodyFault::Source { what })))
    }
}

impl BodyStream for UpstreamBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        if let Some(what) = self.poll_beside(cx) {
            // The client's doing: nothing against the server, which learns by the end of its connection.
            (self.stream, self.beside, self.rest) = (None, None, Rest::Done);
            self.watch.ended(true);
            return Poll::Ready(Some(Err(BodyFault::Source { what })));
        }
        loop {
            match &mut self.rest {
                Rest::Done => return Poll::Ready(None),
                Rest::Length(left) => {
                    if !self.buffer.is_empty() {
                        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                        *left -= take as u64;
                        let last = *left == 0;
                        let piece = self.buffer.split_to(take).freeze();
                        if last {
                            self.finish();
                        }
                        return Poll::Ready(Some(Ok(Frame::Data(piece))));
                    }
                }
                Rest::UntilClose => {
                    if !self.buffer.is_empty() {
                        let piece = self.buffer.split().freeze();
                        return Poll::Ready(Some(Ok(Frame::Data(piece))));
                    }
                }
                Rest::Chunked(decoder) => match decoder.decode(&self.buffer) {
                    Ok(Chunk::Data { skip, len }) => {
                        self.buffer.advance(skip);
                        let piece = self.buffer.split_to(len).freeze();
                        return Poll::Ready(Some(Ok(Frame::Data(piece))));
                    }
                    Ok(Chunk::NeedMore { consumed }) => self.buffer.advance(consumed),
                    Ok(Chunk::End { consumed }) => {
                        self.buffer.advance(consumed);
                        let owned = |(name, value): (String, &[u8])| {
                            (Bytes::from(name), Bytes::copy_from_slice(value))
                        };
                        let trailers: Vec<_> = decoder.trailers().map(owned).collect();
                        self.finish();
                        if trailers.is_empty() {
                            return Poll::Ready(None);
                        }
                        return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
                    }
                    Err(error) => return self.cut(error.name()),
                },
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(self.rest, Rest::UntilClose) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(0) => return self.cut("upstream-cut"),
                Ok(_) => {}
                Err(BodyFault::Source { what }) => return self.cut(what),
                Err(_) => return self.cut("upstream-cut"),
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.announced
    }
}
