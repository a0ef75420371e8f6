//! The end of `timeouts.whole` in the middle of an answer.
//!
//! **Job.** Pass a body on until the time for the whole request is up, then break it off by name. **Made by** `proxy`.
//! **Read by** the protocol towards the client.
//!
//! Invariants
//! 1. What broke off is a broken answer for the client, never a short one.
//!
//! Not here: the time until an answer begins (`proxy`), pauses inside it (`timeouts.idle`, the upstream client).

use std::task::{Context, Poll};

use madang_host::deadline::Deadline;
use madang_http::body::{Body, BodyFault, BodyStream, Frame};

/// The name of the error, in the log.
pub(crate) const WHOLE_TIMEOUT: &str = "upstream-whole-timeout";

struct Whole {
    inner: Box<dyn BodyStream>,
    deadline: Deadline,
}

/// The same body, until the deadline. Bodies that are at hand, and upgraded connections, have no end by time.
pub(crate) fn until(deadline: Deadline, body: Body) -> Body {
    match body {
        Body::Stream(inner) => Body::Stream(Box::new(Whole { inner, deadline })),
        other => other,
    }
}

impl BodyStream for Whole {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        // Asked first: a server that never pauses must not outrun it.
        if self.deadline.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyFault::Source { what: WHOLE_TIMEOUT })));
        }
        self.inner.poll_next(cx)
    }

    fn length(&self) -> Option<u64> {
        self.inner.length()
    }
}
