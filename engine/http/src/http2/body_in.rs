//! A request's body on its way from its stream to the handler.
//!
//! **Job.** Move what the handler has room for, enforce size and speed, and read past what the handler left, so that the
//! client comes to its end and sees the answer.
//! **Called by** `stream`. **Calls** h2, `body::Pipe`; the limits are those of `host::connection`.
//!
//! Invariants
//! 1. The body's window is opened only by what the handler took, or by what is read past: back-pressure reaches the peer.
//! 2. Nobody waits longer for a body than `body_idle_timeout`, nor for less than `body_rate_min`, whoever reads it; but who
//!    reads a conversation (`RequestBody::set_patient`) judges its pauses itself.
//! 3. Not more than the largest body that is taken is read past.
//!
//! Not here: the HTTP/1 framings (`http1::body_in`).

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use madang_host::clock;
use madang_host::connection::{Connection, Cut, Phase};
use madang_wire::request::RequestHead;

use super::Score;
use crate::body::{BodyFault, Pipe, RequestBody};

/// How often a body that does not come is judged.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct BodyIn {
    body: RecvStream,
    pipe: Rc<Pipe>,
    received: u64,
    default_max: u64,
    /// The handler was told the end, or why there is none.
    told: bool,
    /// All content came.
    data_done: bool,
    connection: Rc<Connection>,
    score: Rc<Score>,
    /// The handler had no room: that time is not the peer's.
    paused: bool,
    /// Since when, and since how many bytes, the peer is judged.
    judged_since: Instant,
    judged_from: u64,
    moved: Instant,
    judge: Option<tokio::time::Interval>,
}

impl BodyIn {
    /// `None` for a request without a body.
    pub(super) fn new(
        body: RecvStream,
        head: &RequestHead,
        default_max: u64,
        connection: &Rc<Connection>,
        score: &Rc<Score>,
    ) -> Option<Self> {
        if body.is_end_stream() && head.protocol().is_none() {
            return None;
        }
        let now = clock::now();
        Some(Self {
            body,
            pipe: Pipe::bounded(default_max),
            received: 0,
            default_max,
            told: false,
            data_done: false,
            connection: Rc::clone(connection),
            score: Rc::clone(score),
            paused: false,
            judged_since: now,
            judged_from: 0,
            moved: now,
            judge: None,
        })
    }

    pub(super) fn handler_end(&self) -> RequestBody {
        RequestBody::piped(Rc::clone(&self.pipe))
    }

    /// Whether the handler has asked for it: a peer that waits for `100 Continue` gets it now.
    pub(super) fn is_wanted(&self) -> bool {
        self.pipe.asked() && self.received == 0
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// For an extended CONNECT: from here on the bytes are its role's, and so is their speed.
    pub(super) fn into_stream(self) -> RecvStream {
        self.body
    }

    /// Moves what the handler has room for. A peer that sends too little too late is told to the handler.
    pub(super) fn poll_feed(&mut self, cx: &mut Context<'_>) {
        while !self.told {
            if self.pipe.poll_room(cx).is_pending() {
                self.paused = true;
                return;
            }
            if std::mem::take(&mut self.paused) {
                self.begin_judging();
            }
            if self.data_done {
                let Poll::Ready(trailers) = self.body.poll_trailers(cx) else { return self.wait(cx) };
                let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                let list = trailers.ok().flatten().map(|map| {
                    map.iter()
                        .map(|(name, value)| (copy(name.as_str().as_bytes()), copy(value.as_bytes())))
                        .collect()
                });
                self.pipe.end(list.unwrap_or_default());
                self.told = true;
                return;
            }
            match self.body.poll_data(cx) {
                Poll::Pending => return self.wait(cx),
                Poll::Ready(None) => self.data_done = true,
                Poll::Ready(Some(Err(_))) => {
                    self.data_done = true;
                    self.fail(BodyFault::Gone);
                }
                Poll::Ready(Some(Ok(data))) => {
                    self.count(data.len());
                    let max = self.max();
                    if self.received > max {
                        self.fail(BodyFault::TooLarge { max });
                    } else {
                        self.open_window(data.len());
                        self.pipe.push(data);
                    }
                }
            }
        }
    }

    /// Reads past what the handler left.
    ///
    /// A client may take an end or a reset that comes before its last byte for a failure, though RFC 9113 8.1 allows both
    /// (curl up to 7.88 does). Ready when the body is at its end, when nothing more of it comes for a moment (a body larger
    /// than any that is taken gets no window), or when it comes too slowly. Dropping the stream behind the answer
    /// then sends the reset with NO_ERROR that the RFC asks for.
    pub(super) fn poll_read_past(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.data_done {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.count(data.len());
                    if self.received <= self.max() {
                        self.open_window(data.len());
                    }
                }
                Poll::Ready(_) => self.data_done = true,
                Poll::Pending => {
                    // The pause that a closing connection is given is enough for a stream too.
                    let quiet = self.moved.elapsed();
                    let over =
                        self.connection.phase_limits().judge(Phase::Closing, quiet, quiet, 0).is_some();
                    let slow = self.poll_judge(Phase::Body, cx).is_some();
                    return if over || slow { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        }
        Poll::Ready(())
    }

    fn max(&self) -> u64 {
        self.pipe.limit().unwrap_or(self.default_max)
    }

    fn count(&mut self, bytes: usize) {
        self.received += bytes as u64;
        self.moved = clock::now();
    }

    fn open_window(&mut self, bytes: usize) {
        self.score.took(bytes);
        // Without the window back the peer stops: an error here means the stream has ended anyway.
        let _ = self.body.flow_control().release_capacity(bytes);
    }

    /// Nothing came: for how long already?
    fn wait(&mut self, cx: &mut Context<'_>) {
        if !self.pipe.is_patient()
            && let Some(cut) = self.poll_judge(Phase::Body, cx)
        {
            self.fail(BodyFault::TooSlow { limit: cut.name() });
        }
    }

    fn begin_judging(&mut self) {
        (self.judged_since, self.judged_from, self.moved) = (clock::now(), self.received, clock::now());
    }

    fn poll_judge(&mut self, phase: Phase, cx: &mut Context<'_>) -> Option<Cut> {
        let waiting_since = clock::now();
        let judge = self.judge.get_or_insert_with(|| {
            tokio::time::interval_at(tokio::time::Instant::from_std(waiting_since) + JUDGE_EVERY, JUDGE_EVERY)
        });
        while judge.poll_tick(cx).is_ready() {
            let (lasted, quiet) = (self.judged_since.elapsed(), self.moved.elapsed());
            let bytes = self.received - self.judged_from;
            let cut = self.connection.phase_limits().judge(phase, lasted, quiet, bytes);
            if cut.is_some() {
                return cut;
            }
        }
        None
    }

    fn fail(&mut self, fault: BodyFault) {
        self.told = true;
        self.pipe.fail(fault);
    }
}
