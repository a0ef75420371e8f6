//! The body of a request on its way into a stream.
//!
//! **Job.** Send as the server's windows open and the client's pieces come; go on beside the answer where that begins first
//! (streams of gRPC, RFC 9113 8.1). **Called by** `attempt`, then by a task of its own. **Calls** h2.
//!
//! Invariants
//! 1. One piece is held, and one looked at behind it: nothing is read from the client faster than the server takes it.
//! 2. Dropping it before the end resets the stream and nothing else.
//!
//! Not here: when it has taken too long (`attempt`, `answer`).

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::body::BodyFault;
use crate::upstream::Replay;

pub(super) struct Upload {
    send: SendStream<Bytes>,
    piece: Bytes,
    next: Bytes,
    /// The client's side has come to its end.
    ended: bool,
    /// All is handed over, or the server wants no more.
    done: bool,
    /// It stands still because the client sends nothing.
    pub(super) waits_for_client: bool,
    /// Whether anything moved since somebody last looked.
    pub(super) moved: Rc<Cell<bool>>,
}

impl Upload {
    pub(super) fn new(send: SendStream<Bytes>, is_empty: bool) -> Self {
        Self {
            send,
            piece: Bytes::new(),
            next: Bytes::new(),
            ended: is_empty,
            done: is_empty,
            waits_for_client: false,
            moved: Rc::default(),
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// The server has answered without having asked for the body: nobody sends it.
    pub(super) const fn give_up(&mut self) {
        self.done = true;
    }

    /// For an extended CONNECT: the stream without a body.
    pub(super) fn into_stream(self) -> SendStream<Bytes> {
        self.send
    }

    /// Goes on. Ready at the end; a server that wants no more of it tells why by its answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, body: &mut Replay) -> Poll<Result<(), BodyFault>> {
        while !self.done {
            self.waits_for_client = false;
            if self.piece.is_empty() {
                self.piece = std::mem::take(&mut self.next);
            }
            if self.piece.is_empty() && !self.ended {
                match body.poll_next(cx) {
                    Poll::Pending => {
                        self.waits_for_client = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(piece))) => self.piece = piece,
                    Poll::Ready(None) => self.ended = true,
                    Poll::Ready(Some(Err(fault))) => {
                        self.done = true;
                        self.send.send_reset(Reason::CANCEL);
                        return Poll::Ready(Err(fault));
                    }
                }
                self.moved.set(true);
                continue;
            }
            if self.piece.is_empty() {
                self.end(body);
                break;
            }
            let Some(capacity) = ready!(self.poll_capacity(cx)) else {
                self.done = true;
                break;
            };
            self.send_some(capacity, cx, body);
        }
        Poll::Ready(Ok(()))
    }

    /// Room in the windows; `None`: the stream takes no more.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.send.reserve_capacity(self.piece.len());
        loop {
            let capacity = self.send.capacity();
            if capacity > 0 {
                return Poll::Ready(Some(capacity));
            }
            match ready!(self.send.poll_capacity(cx)) {
                // Room that another stream took meanwhile: asked again.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }

    fn send_some(&mut self, capacity: usize, cx: &mut Context<'_>, body: &mut Replay) {
        let part = self.piece.split_to(capacity.min(self.piece.len()));
        let mut last = false;
        // Looking one piece ahead, so that the end goes with the last bytes instead of a frame of its own.
        if self.piece.is_empty() && !self.ended && self.next.is_empty() {
            match body.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => self.next = piece,
                Poll::Ready(None) => self.ended = true,
                // The next turn finds it again.
                Poll::Ready(Some(Err(_))) | Poll::Pending => {}
            }
            if self.ended {
                let trailers = body.trailers();
                if trailers.is_empty() {
                    last = true;
                } else {
                    self.done = self.send.send_data(part, false).is_err();
                    return self.end_with(&trailers);
                }
            }
        }
        self.moved.set(true);
        self.done = self.send.send_data(part, last).is_err() || last;
    }

    fn end(&mut self, body: &Replay) {
        let trailers = body.trailers();
        if trailers.is_empty() {
            // An error says that the stream is over: its answer tells.
            let _ = self.send.send_data(Bytes::new(), true);
            self.done = true;
        } else {
            self.end_with(&trailers);
        }
    }

    fn end_with(&mut self, trailers: &[(Bytes, Bytes)]) {
        let mut map = HeaderMap::with_capacity(trailers.len());
        for (name, value) in trailers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value.clone()))
            {
                map.append(name, value);
            }
        }
        let _ = self.send.send_trailers(map);
        self.done = true;
    }

    /// Goes on beside the answer until dropped.
    pub(super) fn beside(self, body: Replay) -> Beside {
        let moved = Rc::clone(&self.moved);
        let (mut upload, mut body) = (self, body);
        let task = tokio::task::spawn_local(async move {
            // What went wrong is told by the answer, or by nobody: the client has left.
            let _ = poll_fn(|cx| upload.poll(cx, &mut body)).await;
        });
        Beside { task, moved }
    }
}

/// An upload that goes on while the answer comes.
pub(super) struct Beside {
    task: tokio::task::JoinHandle<()>,
    moved: Rc<Cell<bool>>,
}

impl Beside {
    /// Whether anything moved since the last look.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.take()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.task.abort();
    }
}
