//! Bodies: what follows a head, in both directions.
//!
//! **Job.** One type for the answer's body and one for the request's, whatever the protocol.
//! **Request bodies** come through a bounded pipe: the protocol pushes what it decodes, the handler takes it; a
//! handler that does not read stops the socket from being read (back-pressure), one that never reads costs nothing.
//!
//! Invariants
//! 1. A pipe holds at most [`PIPE_BYTES_MAX`] plus one decoded piece.
//! 2. A request without a body has no pipe: the plain path allocates nothing.
//!
//! Not here: framing (`wire::http1::chunked`), limits on size and rate (the protocols, from `Limits`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a request's pipe holds before the socket is no longer read.
pub const PIPE_BYTES_MAX: usize = 64 * 1024;

/// A future that stays on its worker.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The body of an answer.
#[derive(Default)]
pub enum Body {
    /// Nothing follows.
    #[default]
    Empty,
    /// Bytes at hand, shared.
    Bytes(Bytes),
    /// A piece of a file: goes out by sendfile where the connection is plain TCP.
    File(FileBody),
    /// Made while it is sent. Its length may be unknown: then it is chunked (HTTP/1.1) or ends with the connection.
    Stream(Box<dyn BodyStream>),
    /// For a 101 (HTTP/1) or a 200 to an extended CONNECT (HTTP/2): the connection's bytes belong to this task from now on.
    Upgrade(UpgradeTask),
}

/// What takes over an upgraded connection or stream.
pub type UpgradeTask = Box<dyn FnOnce(Box<dyn Duplex>) -> LocalFuture<()>>;

/// Both directions of an upgraded connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// `length` bytes of `file` from `offset`. The file's own position is never used, so a file can be shared.
#[derive(Clone)]
pub struct FileBody {
    /// The open file.
    pub file: Rc<File>,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// A body that is made piece by piece.
pub trait BodyStream {
    /// The next piece; `None` at the end. After `None` or an error it is not asked again.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>>;
    /// The exact length when it is known before the first piece.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// A piece of a streamed body.
#[derive(Debug)]
pub enum Frame {
    /// Content.
    Data(Bytes),
    /// The trailer section; nothing may follow it.
    Trailers(Vec<(Bytes, Bytes)>),
}

/// Why a body broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFault {
    /// More than the limit (413).
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// Framing was wrong (400).
    Malformed {
        /// The name of what was wrong.
        what: &'static str,
    },
    /// The peer went away or was cut.
    Gone,
    /// It came too slowly, or stopped coming (408).
    TooSlow {
        /// The name of the limit that says so.
        limit: &'static str,
    },
    /// The source of an answer's body failed while it was sent.
    Source {
        /// The name of what failed.
        what: &'static str,
    },
}

impl BodyFault {
    /// A stable name for logs, where the fault ends an answer that has begun.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "body-too-large",
            Self::Malformed { what } | Self::Source { what } => what,
            Self::Gone => "client-gone",
            Self::TooSlow { limit } => limit,
        }
    }

    /// The status to answer with, where an answer is still possible.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::Malformed { .. } | Self::Gone => 400,
            Self::TooSlow { .. } => 408,
            Self::Source { .. } => 500,
        }
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { max } => write!(f, "the body is larger than {max} bytes"),
            Self::Malformed { what } => write!(f, "malformed body: {what}"),
            Self::Gone => f.write_str("the peer went away before its body was complete"),
            Self::TooSlow { limit } => write!(f, "the body came too slowly: {limit}"),
            Self::Source { what } => write!(f, "the body's source failed: {what}"),
        }
    }
}
impl std::error::Error for BodyFault {}

impl Body {
    /// The exact number of bytes, when known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(file) => Some(file.length),
            Self::Stream(stream) => stream.length(),
            Self::Upgrade(_) => None,
        }
    }
    /// Whether nothing follows the head.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// The handler's end of a request's body.
#[derive(Default)]
pub struct RequestBody {
    pipe: Option<Rc<Pipe>>,
}

impl RequestBody {
    /// A body fed through `pipe`.
    pub fn piped(pipe: Rc<Pipe>) -> Self {
        Self { pipe: Some(pipe) }
    }

    /// Whether the request has no body at all.
    pub fn is_none(&self) -> bool {
        self.pipe.is_none()
    }

    /// Lowers (or raises) the limit for this request; a route may differ from `[limits]`.
    pub fn set_limit(&self, bytes_max: u64) {
        if let Some(pipe) = &self.pipe {
            pipe.state.borrow_mut().limit = Some(bytes_max);
        }
    }

    /// Bytes, pieces at hand: for a request of our own making.
    pub fn of(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pipe = Pipe::default();
        pieces.into_iter().for_each(|piece| pipe.push(piece));
        pipe.end(Vec::new());
        Self::piped(Rc::new(pipe))
    }

    /// The largest body that is taken, in bytes: the route's limit or that of the server. `None` without a body.
    pub fn limit(&self) -> Option<u64> {
        let state = self.pipe.as_ref()?.state.borrow();
        state.limit.or(state.default_limit)
    }

    /// A body that is a conversation: pauses are its nature, and whoever reads it has its own limit for them.
    pub fn set_patient(&self) {
        if let Some(pipe) = &self.pipe {
            pipe.state.borrow_mut().patient = true;
        }
    }

    /// The next piece, or `None` at the end. The first call makes the protocol answer `Expect: 100-continue`.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        match &self.pipe {
            None => Poll::Ready(None),
            Some(pipe) => pipe.poll_take(cx),
        }
    }

    /// The next piece, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyFault>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The whole body, at most `bytes_max`.
    pub async fn collect(&mut self, bytes_max: u64) -> Result<Bytes, BodyFault> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if (all.len() + piece.len()) as u64 > bytes_max {
                return Err(BodyFault::TooLarge { max: bytes_max });
            }
            if all.is_empty() && self.pipe.as_ref().is_some_and(|pipe| pipe.ended_and_empty()) {
                return Ok(piece); // the usual small body: no copy
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// The trailer section, once the end was reached.
    pub fn trailers(&self) -> Vec<(Bytes, Bytes)> {
        self.pipe
            .as_ref()
            .map(|pipe| std::mem::take(&mut pipe.state.borrow_mut().trailers))
            .unwrap_or_default()
    }
}

/// Between a protocol and a handler. One thread: plain cells, no locks.
#[derive(Default)]
pub struct Pipe {
    state: RefCell<PipeState>,
}

#[derive(Default)]
struct PipeState {
    pieces: VecDeque<Bytes>,
    buffered: usize,
    ended: bool,
    fault: Option<BodyFault>,
    trailers: Vec<(Bytes, Bytes)>,
    limit: Option<u64>,
    default_limit: Option<u64>,
    patient: bool,
    asked: bool,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

impl Pipe {
    /// Protocol: a pipe of a body that may have so many bytes unless the route says otherwise.
    pub fn bounded(bytes_max: u64) -> Rc<Self> {
        let this = Self::default();
        this.state.borrow_mut().default_limit = Some(bytes_max);
        Rc::new(this)
    }

    /// Protocol: a decoded piece.
    pub fn push(&self, piece: Bytes) {
        let mut state = self.state.borrow_mut();
        state.buffered += piece.len();
        state.pieces.push_back(piece);
        wake(&mut state.reader);
    }

    /// Protocol: the body is complete.
    pub fn end(&self, trailers: Vec<(Bytes, Bytes)>) {
        let mut state = self.state.borrow_mut();
        state.ended = true;
        state.trailers = trailers;
        wake(&mut state.reader);
    }

    /// Protocol: the body broke off.
    pub fn fail(&self, fault: BodyFault) {
        let mut state = self.state.borrow_mut();
        state.fault.get_or_insert(fault);
        wake(&mut state.reader);
    }

    /// Protocol: whether the handler has asked for the body and there is room; else `feeder` is woken when there is.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if state.asked && state.buffered < PIPE_BYTES_MAX {
            return Poll::Ready(());
        }
        if !state.feeder.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.feeder = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Protocol: whether the handler has ever asked for the body.
    pub fn asked(&self) -> bool {
        self.state.borrow().asked
    }

    /// Protocol: the route's own limit, where it set one.
    pub fn limit(&self) -> Option<u64> {
        self.state.borrow().limit
    }

    /// Protocol: whether the reader judges the body's pauses itself.
    pub fn is_patient(&self) -> bool {
        self.state.borrow().patient
    }

    fn ended_and_empty(&self) -> bool {
        let state = self.state.borrow();
        state.ended && state.pieces.is_empty() && state.fault.is_none()
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        let mut state = self.state.borrow_mut();
        state.asked = true;
        wake(&mut state.feeder);
        if let Some(piece) = state.pieces.pop_front() {
            state.buffered -= piece.len();
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(fault) = &state.fault {
            return Poll::Ready(Some(Err(fault.clone())));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
