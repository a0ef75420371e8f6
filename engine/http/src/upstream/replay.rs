//! A request's body that can be sent more than once, up to a limit.
//!
//! **Job.** Pass the client's body on piece by piece and keep the pieces while they are few, for another attempt.
//! **Made by** whoever may retry. **Read by** `attempt`.
//!
//! Invariants
//! 1. At most `keep_bytes_max` are kept; beyond that the body is passed on and can no longer be sent again.
//!
//! Not here: whether another attempt is allowed (`roles/balance`).

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::body::{BodyFault, RequestBody};

/// See the module.
pub struct Replay {
    body: RequestBody,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keep_bytes_max: usize,
    /// Next of `kept` to give.
    at: usize,
    ended: bool,
    /// More came than could be kept.
    passed: bool,
}

impl Replay {
    /// Takes the body over.
    pub fn new(body: RequestBody, keep_bytes_max: usize) -> Self {
        let ended = body.is_none();
        Self { body, kept: Vec::new(), kept_bytes: 0, keep_bytes_max, at: 0, ended, passed: false }
    }

    /// Whether there is no body at all.
    pub fn is_none(&self) -> bool {
        self.body.is_none()
    }

    /// Whether nobody has asked for any of it yet.
    pub fn is_untouched(&self) -> bool {
        !self.ended && !self.passed && self.kept.is_empty()
    }

    /// A conversation, whose pauses are judged by its reader here ([`RequestBody::set_patient`]).
    pub(super) fn set_patient(&self) {
        self.body.set_patient();
    }

    /// Whether all of it can be given once more.
    pub fn can_rewind(&self) -> bool {
        !self.passed
    }

    /// All of it, where it came whole and was kept; `None` where it was not. Without a body: nothing at all.
    pub fn whole(&self) -> Option<&[Bytes]> {
        (self.ended && !self.passed).then_some(&self.kept[..])
    }

    /// From the beginning.
    pub fn rewind(&mut self) {
        debug_assert!(self.can_rewind(), "what was passed on is gone");
        self.at = 0;
    }

    /// Takes what is still to come, for whoever goes on sending beside the answer; here it can no longer be sent again.
    pub(super) fn take(&mut self) -> Self {
        let nothing = Self { passed: true, ..Self::new(RequestBody::default(), 0) };
        std::mem::replace(self, nothing)
    }

    /// The trailer section, once the end was reached.
    pub fn trailers(&self) -> Vec<(Bytes, Bytes)> {
        self.body.trailers()
    }

    /// The next piece; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        if let Some(piece) = self.kept.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(piece.clone())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.body.poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(piece))) if !self.passed => {
                if self.kept_bytes + piece.len() <= self.keep_bytes_max {
                    self.kept_bytes += piece.len();
                    self.kept.push(piece.clone());
                    self.at = self.kept.len();
                } else {
                    self.passed = true;
                    self.kept = Vec::new();
                    self.at = 0;
                }
            }
            Poll::Ready(None) => self.ended = true,
            _ => {}
        }
        polled
    }
}
