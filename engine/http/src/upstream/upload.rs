//! A request of HTTP/1.1 on its way out: the head, then the body as the client brings it.
//!
//! **Job.** Write as the server takes it, in chunks where there is no length; go on beside the answer where that begins first
//! (RFC 9112 9.5: a server may answer while it still reads). **Called by** `attempt`, then by `body`. **Calls** `wire::http1`.
//!
//! Invariants
//! 1. Nothing of the client's body is read faster than the server takes it: one piece is held.
//! 2. A body that did not leave whole has no end mark: the server cannot take it for whole.
//!
//! Not here: when it has taken too long (`attempt`, `body`).

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use madang_host::net::stream::Stream;
use madang_wire::http1::chunked::{write_chunk_head, write_last_chunk};
use tokio::io::AsyncWrite;

use super::{FaultKind, Replay};

pub(super) struct Upload {
    chunked: bool,
    /// What is written before `piece`: the head, chunk framing.
    out: Vec<u8>,
    written: usize,
    piece: Bytes,
    /// Whether a chunk's end mark follows the piece.
    piece_end: bool,
    /// Whether the body has more to give.
    sending: bool,
    /// Whether any byte left.
    pub(super) sent: bool,
    moved: bool,
}

/// An upload that goes on while the answer comes, and what it sends.
pub(super) struct Beside {
    upload: Upload,
    body: Replay,
}

impl Upload {
    /// `out` holds the head; `sending`: a body follows.
    pub(super) const fn new(out: Vec<u8>, chunked: bool, sending: bool) -> Self {
        let piece = Bytes::new();
        Self { chunked, out, written: 0, piece, piece_end: false, sending, sent: false, moved: false }
    }

    /// Whether the body has more to give.
    pub(super) const fn is_sending(&self) -> bool {
        self.sending
    }

    /// Whether something waits to be written.
    pub(super) fn has_unsent(&self) -> bool {
        self.written < self.out.len() || !self.piece.is_empty()
    }

    /// Whether all of it left.
    pub(super) fn is_whole(&self) -> bool {
        !self.sending && !self.has_unsent()
    }

    /// Whether the body moved since the last look.
    pub(super) const fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// The buffer, for another use.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.out
    }

    /// Goes on beside the answer.
    pub(super) fn beside(self, body: Replay) -> Box<Beside> {
        Box::new(Beside { upload: self, body })
    }

    /// Goes on. Ready at the end, or with why there is none. `may_ask`: the client may be asked for its body.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        body: &mut Replay,
        may_ask: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FaultKind>> {
        loop {
            ready!(self.poll_flush(stream, cx))?;
            if !self.sending {
                return Poll::Ready(Ok(()));
            }
            if !may_ask {
                return Poll::Pending;
            }
            let next = ready!(body.poll_next(cx));
            self.moved = true;
            match next {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    if self.chunked {
                        write_chunk_head(&mut self.out, piece.len());
                        self.piece_end = true;
                    }
                    self.piece = piece;
                }
                Some(Err(fault)) => return Poll::Ready(Err(FaultKind::Client(fault))),
                None => {
                    self.sending = false;
                    if self.chunked {
                        let trailers = body.trailers();
                        let trailers = trailers.iter().map(|(name, value)| (&name[..], &value[..]));
                        write_last_chunk(&mut self.out, trailers);
                    }
                }
            }
        }
    }

    /// Writes `out`, then the piece, then its end mark.
    fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), FaultKind>> {
        while self.has_unsent() {
            let stream = Pin::new(&mut *stream);
            let front = &self.out[self.written..];
            let count = if self.piece.is_empty() {
                ready!(stream.poll_write(cx, front)).map_err(FaultKind::from)?
            } else {
                let slices = [IoSlice::new(front), IoSlice::new(&self.piece)];
                ready!(stream.poll_write_vectored(cx, &slices)).map_err(FaultKind::from)?
            };
            if count == 0 {
                return Poll::Ready(Err(FaultKind::Closed));
            }
            self.sent = true;
            let of_out = count.min(front.len());
            self.written += of_out;
            self.piece.advance(count - of_out);
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                if self.piece.is_empty() && std::mem::take(&mut self.piece_end) {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            self.moved |= self.sending;
        }
        match stream {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            stream => Pin::new(stream).poll_flush(cx).map_err(FaultKind::from),
        }
    }
}

impl Beside {
    /// Goes on; see [`Upload::poll`].
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), FaultKind>> {
        self.upload.poll(stream, &mut self.body, true, cx)
    }

    /// Whether the body moved since the last look.
    pub(super) const fn has_moved(&mut self) -> bool {
        self.upload.has_moved()
    }
}
