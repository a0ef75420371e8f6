//! A connection's bytes: buffered input, output, and the waits in between.
//!
//! **Job.** Read and write with counting, cuts and pooled buffers, so that the driver reads like the protocol.
//! **Called by** the driver (`http1`), `answer`. **Calls** `host::net::stream`, `host::connection`.
//!
//! Invariants
//! 1. The input buffer is given back to the pool whenever a read would block and nothing is buffered.
//! 2. Output is on its way before any read is awaited, and its buffer is never given back with bytes in it.
//!
//! Not here: what the bytes mean.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use madang_host::connection::{Connection, Cut, LINGER_BYTES_MAX, Phase};
use madang_host::deadline::{Deadline, Deadlines};
use madang_host::net::stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body_in::BodyIn;
use crate::endpoint::{BUFFER_BYTES, Endpoint, Pool};

/// How long an answer may stand still for a peer that has closed its sending half. Most that do have left and cannot say
/// so; a few only said that no more requests come, and still read.
const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(5);

/// Why a connection's driver stops.
#[derive(Debug)]
pub(super) enum Ended {
    /// The peer closed or reset it.
    Gone,
    /// We cut it.
    Cut(Cut),
    /// The answer's body broke off at its source, for this reason.
    Source(&'static str),
    /// It speaks HTTP/2.
    Preface,
}

/// Bytes read and not yet taken.
#[derive(Default)]
pub(super) struct Input {
    buffer: Vec<u8>, // always wholly initialised; `start..end` is what was read
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            self.start = 0;
            self.end = 0;
        }
    }
    /// Makes room for a head that is longer than what the buffer can hold behind what was taken.
    pub(super) fn reserve(&mut self, head_bytes_max: usize) {
        if self.end < self.buffer.len() {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            // One byte more than allowed, so that the parser sees a head that is too long.
            let size = (self.buffer.len() * 2).clamp(BUFFER_BYTES, (head_bytes_max + 1).max(BUFFER_BYTES));
            self.buffer.resize(size.max(self.end + 1), 0);
        }
    }
    fn room(&self) -> bool {
        self.end < self.buffer.len() || self.buffer.is_empty() || self.start > 0
    }
}

pub(super) struct Io {
    pub(super) stream: Stream,
    pub(super) connection: Rc<Connection>,
    pub(super) input: Input,
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Whether no request was read yet.
    pub(super) first: bool,
    /// Whether the peer may still be sending: then closing must wait for it.
    pub(super) linger: bool,
    /// Body bytes of the current answer that left.
    pub(super) body_sent: u64,
    /// The peer sends no more; how long it is still taken for one that reads.
    half_closed: Option<Deadline>,
    deadlines: Rc<Deadlines>,
    pool: Rc<Pool>,
}

impl Io {
    pub(super) fn new(stream: Stream, early: &[u8], connection: Rc<Connection>, endpoint: &Endpoint) -> Self {
        let pool = Rc::clone(&endpoint.pool);
        let mut input = Input::default();
        if !early.is_empty() {
            input.buffer = pool.input();
            if early.len() > input.buffer.len() {
                input.buffer = early.to_vec();
            } else {
                input.buffer[..early.len()].copy_from_slice(early);
            }
            input.end = early.len();
        }
        let (out, written, body_sent) = (Vec::new(), 0, 0);
        Self {
            stream,
            connection,
            input,
            out,
            written,
            first: true,
            linger: true,
            body_sent,
            half_closed: None,
            deadlines: Rc::clone(&endpoint.worker.deadlines),
            pool,
        }
    }

    /// The output buffer, taken from the pool when it is needed.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = self.pool.output();
        }
        &mut self.out
    }

    /// Whether anything waits to be written.
    pub(super) fn has_unsent(&self) -> bool {
        self.written < self.out.len()
    }

    /// Between two requests.
    pub(super) fn next_request(&mut self) {
        if self.input.is_empty() {
            self.connection.enter(Phase::Idle);
        } else {
            self.connection.enter(Phase::Head);
        }
    }

    /// Reads more input; 0 is the end of it.
    pub(super) async fn fill(&mut self) -> Result<usize, Ended> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Ended>> {
        if let Some(cut) = self.connection.poll_cut(cx) {
            return Poll::Ready(Err(Ended::Cut(cut)));
        }
        if self.connection.phase() == Phase::Idle && self.connection.ends_when_idle() {
            return Poll::Ready(Err(Ended::Gone));
        }
        if self.written < self.out.len() {
            ready!(self.poll_flush_out(cx))?;
        }
        self.poll_read(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Ended>> {
        if self.input.buffer.is_empty() {
            self.input.buffer = self.pool.input();
        } else if self.input.end == self.input.buffer.len() {
            let size = self.input.buffer.len();
            self.input.reserve(size);
        }
        let mut room = ReadBuf::new(&mut self.input.buffer[self.input.end..]);
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                self.input.end += count;
                self.connection.received(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Ended::Gone)),
            Poll::Pending => {
                if self.input.is_empty() {
                    self.pool.give_input(std::mem::take(&mut self.input.buffer));
                    // What has not left yet is nobody else's buffer.
                    if !self.has_unsent() {
                        self.pool.give_output(std::mem::take(&mut self.out));
                        self.written = 0;
                    }
                }
                Poll::Pending
            }
        }
    }

    /// While a handler works: feeds it the body it asks for, and notices a peer that has gone. Ready only with the end.
    pub(super) fn poll_while_handled(
        &mut self,
        cx: &mut Context<'_>,
        body: Option<&mut BodyIn>,
    ) -> Poll<Ended> {
        if let Some(cut) = self.connection.poll_cut(cx) {
            if let Some(body) = body {
                body.fail_gone();
            }
            return Poll::Ready(Ended::Cut(cut));
        }
        // What waits to leave (interim answers, the answer to an earlier pipelined request) does not wait for a handler.
        if self.has_unsent()
            && let Poll::Ready(Err(ended)) = self.poll_flush_out(cx)
        {
            return Poll::Ready(ended);
        }
        if let Some(body) = body
            && !body.is_done()
        {
            return match ready!(body.poll_feed(self, cx)) {
                Ok(()) => Poll::Pending,
                Err(ended) => Poll::Ready(ended),
            };
        }
        self.connection.enter_if_new(Phase::Handling);
        // A peer may close its sending half and still wait for the answer: an error means at once that it has gone.
        while self.half_closed.is_none() && self.input.room() {
            match ready!(self.poll_read(cx)) {
                Ok(0) => self.half_closed = Some(self.deadlines.after(HALF_CLOSED_PATIENCE)),
                Ok(_) => {}
                Err(ended) => return Poll::Ready(ended),
            }
        }
        match &self.half_closed {
            Some(patience) => patience.poll(cx).map(|()| Ended::Gone),
            None => Poll::Pending,
        }
    }

    /// Bytes left: a peer that has closed its sending half still reads.
    fn sent(&self, count: usize) {
        self.connection.sent(count);
        if let Some(patience) = &self.half_closed {
            patience.set(HALF_CLOSED_PATIENCE);
        }
    }

    /// Writes out what `out` holds and flushes.
    pub(super) fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while self.written < self.out.len() {
            if let Some(cut) = self.connection.poll_cut(cx) {
                return Poll::Ready(Err(Ended::Cut(cut)));
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..])) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Gone)),
                Ok(count) => {
                    self.written += count;
                    self.sent(count);
                }
            }
        }
        self.out.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| Ended::Gone)
    }

    /// Writes `out` and then `body` in as few system calls as possible.
    pub(super) fn poll_write_both(
        &mut self,
        cx: &mut Context<'_>,
        body: &[u8],
        body_written: &mut usize,
    ) -> Poll<Result<(), Ended>> {
        while self.written < self.out.len() || *body_written < body.len() {
            if let Some(cut) = self.connection.poll_cut(cx) {
                return Poll::Ready(Err(Ended::Cut(cut)));
            }
            let slices = [IoSlice::new(&self.out[self.written..]), IoSlice::new(&body[*body_written..])];
            match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Gone)),
                Ok(count) => {
                    let of_head = count.min(self.out.len() - self.written);
                    self.written += of_head;
                    *body_written += count - of_head;
                    self.body_sent += (count - of_head) as u64;
                    self.sent(count);
                }
            }
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads past the rest of a body nobody wanted. False: it did not end in time, the connection must close.
    pub(super) async fn read_past(&mut self, body: &mut BodyIn) -> Result<bool, Ended> {
        if body.is_done() {
            return Ok(true);
        }
        self.connection.enter(Phase::Body);
        poll_fn(|cx| self.poll_flush_out(cx)).await?;
        loop {
            if !body.skip(&mut self.input) {
                return Ok(false);
            }
            if body.is_done() {
                return Ok(true);
            }
            if self.fill().await? == 0 {
                return Err(Ended::Gone);
            }
        }
    }

    /// Ends the connection so that the peer sees our last answer: says that we are done, then reads until the peer is
    /// (closing a socket with unread bytes would reset it and take the answer with it).
    pub(super) async fn close(&mut self) {
        if self.connection.phase() != Phase::Closing {
            self.connection.enter(Phase::Closing);
        }
        if poll_fn(|cx| self.poll_flush_out(cx)).await.is_err() {
            return;
        }
        let shut = poll_fn(|cx| {
            if self.connection.poll_cut(cx).is_some() {
                return Poll::Ready(false);
            }
            Pin::new(&mut self.stream).poll_shutdown(cx).map(|result| result.is_ok())
        });
        if !shut.await || !self.linger {
            return;
        }
        let mut seen = 0;
        while seen < LINGER_BYTES_MAX {
            let length = self.input.end - self.input.start;
            self.input.consume(length);
            match self.fill().await {
                Ok(count) if count > 0 => seen += count,
                _ => return,
            }
        }
        // Closing now would reset the connection under a peer that still sends and take our answer with it. Nobody reads any
        // more: with its window shut the peer looks at what came, until the limit of this phase.
        let connection = &self.connection;
        poll_fn(|cx| if connection.poll_cut(cx).is_some() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The stream and what was read too early.
    pub(super) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        let early = self.input.bytes().to_vec();
        self.pool.give_input(std::mem::take(&mut self.input.buffer));
        (self.stream, early)
    }

    /// Both directions, for an upgraded connection.
    pub(super) fn into_tunnel(self) -> super::super::tunnel::Tunnel {
        let connection = Rc::clone(&self.connection);
        let (stream, early) = self.into_parts();
        super::super::tunnel::Tunnel::new(stream, early, connection)
    }
}
