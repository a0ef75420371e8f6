//! A request's body on its way from the socket to the handler.
//!
//! **Job.** Decode the framing, enforce the size limit, answer `Expect: 100-continue` when the handler first asks, and
//! stop reading when the handler does.
//! **Called by** the driver while a handler works or an answer is streamed. **Calls** `wire::http1::chunked`, `body::Pipe`.
//!
//! Invariants
//! 1. Not one byte of the body is read before the handler asks for it (but what came with the head).
//! 2. Bytes behind the body's end stay in the input: they are the next request.
//!
//! Not here: rate limits (the connection's phase), multipart or JSON (handlers).

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use madang_host::connection::Phase;
use madang_wire::http1::chunked::{Chunk, ChunkedDecoder};
use madang_wire::request::{Framing, RequestHead, Version};

use super::io::{Ended, Input, Io};
use crate::body::{BodyFault, Pipe, RequestBody};

/// An unread rest up to this is read past so that the connection can go on.
const READ_PAST_BYTES_MAX: u64 = 64 * 1024;

enum Left {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    Done,
}

pub(super) struct BodyIn {
    left: Left,
    pipe: Rc<Pipe>,
    received: u64,
    default_max: u64,
    /// The peer waits for "100 Continue" before it sends.
    continue_due: bool,
    broken: bool,
}

impl BodyIn {
    /// `None` for a request without a body.
    pub(super) fn new(head: &RequestHead, default_max: u64) -> Option<Self> {
        let left = match head.framing() {
            Framing::None | Framing::Length(0) => return None,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked | Framing::Stream => Left::Chunked(Box::default()),
        };
        let continue_due = head.expects_continue() && head.version() == Version::Http11;
        Some(Self {
            left,
            pipe: Pipe::bounded(default_max),
            received: 0,
            default_max,
            continue_due,
            broken: false,
        })
    }

    pub(super) fn handler_end(&self) -> RequestBody {
        RequestBody::piped(Rc::clone(&self.pipe))
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.left, Left::Done)
    }

    /// Whether the connection may go on after this request: nothing is left, or so little that it can be read past.
    pub(super) fn can_read_past(&self) -> bool {
        if self.broken {
            return false;
        }
        match self.left {
            Left::Done => true,
            // A peer that was never told to continue may or may not send its body now: framing is in doubt.
            _ if self.continue_due => false,
            Left::Length(left) => left <= READ_PAST_BYTES_MAX,
            Left::Chunked(_) => true,
        }
    }

    pub(super) fn fail_gone(&mut self) {
        self.fail(BodyFault::Gone);
    }

    fn fail(&mut self, fault: BodyFault) {
        self.broken = true;
        self.left = Left::Done;
        self.pipe.fail(fault);
    }

    /// Moves what the handler has room for. Ready when the body is at its end or broken; the handler is told either way.
    pub(super) fn poll_feed(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while !self.is_done() {
            if self.pipe.poll_room(cx).is_pending() {
                io.connection.enter_if_new(Phase::Handling);
                return Poll::Pending;
            }
            if std::mem::take(&mut self.continue_due) && io.input.is_empty() {
                io.out().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if io.written < io.out.len() {
                ready!(io.poll_flush_out(cx))?;
            }
            if io.input.is_empty() {
                io.connection.enter_if_new(Phase::Body);
                match ready!(io.poll_fill(cx)) {
                    Ok(0) => self.fail(BodyFault::Gone),
                    Ok(_) => {}
                    Err(ended) => {
                        self.fail(BodyFault::Gone);
                        return Poll::Ready(Err(ended));
                    }
                }
                continue;
            }
            self.decode(&mut io.input, true);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes decoded bytes out of `input` without keeping them. False when the body is broken or its rest too long.
    pub(super) fn skip(&mut self, input: &mut Input) -> bool {
        let before = self.received;
        while !input.is_empty() && !self.is_done() {
            let length = input.bytes().len();
            self.decode(input, false);
            if input.bytes().len() == length {
                break;
            }
        }
        // A chunked rest has no announced length: what was read past counts.
        if let Left::Chunked(_) = self.left {
            self.default_max = self
                .default_max
                .min(self.received + READ_PAST_BYTES_MAX - (self.received - before).min(READ_PAST_BYTES_MAX));
        }
        !self.broken
    }

    fn decode(&mut self, input: &mut Input, keep: bool) {
        let max = self.pipe.limit().unwrap_or(self.default_max);
        match &mut self.left {
            Left::Done => {}
            Left::Length(left) => {
                if self.received.saturating_add(*left) > max && keep {
                    return self.fail(BodyFault::TooLarge { max });
                }
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.bytes().len());
                if keep {
                    self.pipe.push(Bytes::copy_from_slice(&input.bytes()[..take]));
                }
                input.consume(take);
                self.received += take as u64;
                *left -= take as u64;
                if *left == 0 {
                    self.left = Left::Done;
                    self.pipe.end(Vec::new());
                }
            }
            Left::Chunked(decoder) => match decoder.decode(input.bytes()) {
                Ok(Chunk::Data { skip, len }) => {
                    if self.received.saturating_add(len as u64) > max {
                        return self.fail(BodyFault::TooLarge { max });
                    }
                    if keep {
                        self.pipe.push(Bytes::copy_from_slice(&input.bytes()[skip..skip + len]));
                    }
                    input.consume(skip + len);
                    self.received += len as u64;
                }
                Ok(Chunk::NeedMore { consumed }) => input.consume(consumed),
                Ok(Chunk::End { consumed }) => {
                    let trailers = decoder
                        .trailers()
                        .map(|(name, value)| {
                            (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value))
                        })
                        .collect();
                    input.consume(consumed);
                    self.left = Left::Done;
                    self.pipe.end(trailers);
                }
                Err(malformed) => self.fail(BodyFault::Malformed { what: malformed.name() }),
            },
        }
    }
}
