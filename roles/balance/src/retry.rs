//! What is tried again, and what is not.
//!
//! **Job.** Judge a failed attempt; keep the budget; say when a second server is asked at the same time (hedging).
//! **Owned by** one worker. **Called by** the proxy. **Calls** `window`.
//!
//! A retry is safe when the server cannot have acted on the request: nothing of it was sent, or the method is idempotent
//! (RFC 9110 9.2.2). It is bearable when the budget has room: a pool in which everything fails must not get twice the load.
//!
//! Invariants
//! 1. Nothing is tried again once a byte of an answer went to the client, or when its body is not there any more.
//! 2. Of the last 10 s, attempts beyond the first are at most `budget_percent` of the requests, or [`RETRIES_FREE`]. Not
//!    counted are those whose first went nowhere: nobody listened, or an idle connection had been closed. They put no load on
//!    anybody that a budget would have to bound; `attempts` and `deadline` bound them.
//! 3. No attempt begins later than `deadline` after the first, nor more than `attempts`.
//!
//! Not here: choosing the other server (`pick`, which knows who was tried).

use std::fmt;
use std::time::{Duration, Instant};

use crate::config::{RetryOn, RetrySettings};
use crate::server::Outcome;
use crate::window::Window;
use madang_host::draws::Draws;

/// The span of the budget.
pub const BUDGET_SPAN: Duration = Duration::from_secs(10);
/// Retries in a span that are always allowed: a quiet pool could not retry at all by percent.
pub const RETRIES_FREE: u64 = 10;
/// A server's Retry-After is waited for up to this long; beyond, the client gets the answer and may wait itself.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// The first pause before asking a server that failed already; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// How an attempt failed, or which answer may be worth another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection did not open.
    NotConnected,
    /// It broke.
    Broken,
    /// No answer in time.
    Late,
    /// What came was no answer.
    Nonsense,
    /// An answer of this status, not passed on yet.
    Status(u16),
}

impl Failure {
    /// What it says about the server.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::NotConnected => Outcome::NotConnected,
            Self::Broken => Outcome::Broken,
            Self::Late => Outcome::Late,
            Self::Nonsense => Outcome::Nonsense,
            Self::Status(500..) => Outcome::Error,
            Self::Status(_) => Outcome::Good,
        }
    }

    fn is_listed(self, on: &[RetryOn]) -> bool {
        on.iter().any(|on| match (on, self) {
            (RetryOn::Connect, Self::NotConnected)
            | (RetryOn::Reset, Self::Broken)
            | (RetryOn::Timeout, Self::Late)
            | (RetryOn::BadAnswer, Self::Nonsense) => true,
            (RetryOn::Status(range), Self::Status(status)) => range.holds(status),
            _ => false,
        })
    }
}

/// A failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// How it failed.
    pub failure: Failure,
    /// Whether the method is idempotent (RFC 9110 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE).
    pub idempotent: bool,
    /// Whether any of the request may have reached the server. Not so when the connection did not open, or when it said that
    /// it did not process the stream (RFC 9113 8.7).
    pub sent: bool,
    /// Whether the body, if any, can be sent again from its first byte.
    pub body_kept: bool,
    /// Whether any byte of an answer went to the client.
    pub answer_begun: bool,
    /// Whether it broke on a connection that was idle before: the server may just have closed it.
    pub idle_connection: bool,
    /// Whether the machine answered that nobody listens there: no server had any work from it.
    pub refused: bool,
    /// The Retry-After of the answer (RFC 9110 10.2.3), as a span.
    pub retry_after: Option<Duration>,
    /// Attempts made, this one counted.
    pub attempts: u8,
    /// When the first began.
    pub started: Instant,
    /// Whether there is a server that was not tried.
    pub another: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after `wait`.
    Again {
        /// Zero: at once.
        wait: Duration,
        /// At the same server by a new connection: it only closed an idle one. Else let `pick` choose.
        fresh_connection: bool,
    },
    /// Give up; the client gets what there is.
    No(WhyNot),
}

/// Why an attempt is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhyNot {
    /// The client has a part of an answer.
    AnswerBegun,
    /// The server may have acted on it.
    NotSafe,
    /// The body was larger than `body_buffer`.
    BodyGone,
    /// `on` does not list it.
    NotListed,
    /// All attempts are made.
    Attempts,
    /// It is too late.
    Deadline,
    /// The only server asks for a longer pause than is waited.
    RetryAfter,
    /// Too many retries lately.
    Budget,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnswerBegun => "the answer had begun",
            Self::NotSafe => "the server may have acted on it",
            Self::BodyGone => "the body was not kept",
            Self::NotListed => "not listed in retry.on",
            Self::Attempts => "all attempts made",
            Self::Deadline => "retry.deadline passed",
            Self::RetryAfter => "the server asked for a longer pause",
            Self::Budget => "retry budget spent",
        })
    }
}

/// Requests and retries of one worker at one pool.
#[derive(Debug)]
pub struct RetryBudget {
    /// Requests, retries.
    window: Window,
}

impl RetryBudget {
    /// An empty one.
    pub fn new(now: Instant) -> Self {
        Self { window: Window::new(BUDGET_SPAN, now) }
    }

    /// A request came: to be told once for each, before its first attempt.
    pub fn request(&mut self, now: Instant) {
        self.window.add(1, 0, now);
    }

    /// Takes one retry, if there is room.
    pub fn take(&mut self, percent: u8, now: Instant) -> bool {
        let (requests, retries) = self.window.sums(now);
        let room = retries < RETRIES_FREE || (retries + 1) * 100 <= requests * u64::from(percent);
        let allowed = percent > 0 && room;
        if allowed {
            self.window.add(0, 1, now);
        }
        allowed
    }

    /// Requests and retries of the last span, for metrics.
    pub fn sums(&mut self, now: Instant) -> (u64, u64) {
        self.window.sums(now)
    }
}

/// Judges a failed attempt. `random` spreads the pauses. Takes from the budget when the verdict is to try again.
pub fn judge(
    rules: &RetrySettings,
    budget: &mut RetryBudget,
    attempt: &Attempt,
    random: u64,
    now: Instant,
) -> Verdict {
    if attempt.answer_begun {
        return Verdict::No(WhyNot::AnswerBegun);
    }
    if attempt.sent && !attempt.idempotent {
        return Verdict::No(WhyNot::NotSafe);
    }
    if !attempt.body_kept {
        return Verdict::No(WhyNot::BodyGone);
    }
    // A server that closed an idle connection did not fail, so no list and no budget is asked.
    let fresh_connection = attempt.idle_connection && attempt.failure == Failure::Broken;
    if !fresh_connection && !attempt.failure.is_listed(&rules.on) {
        return Verdict::No(WhyNot::NotListed);
    }
    if attempt.attempts >= rules.attempts {
        return Verdict::No(WhyNot::Attempts);
    }
    let wait = if fresh_connection {
        Duration::ZERO
    } else {
        match pause(attempt, random) {
            Some(wait) => wait,
            None => return Verdict::No(WhyNot::RetryAfter),
        }
    };
    if (now + wait).saturating_duration_since(attempt.started) >= rules.deadline {
        return Verdict::No(WhyNot::Deadline);
    }
    let went_nowhere = fresh_connection || attempt.refused;
    if !went_nowhere && !budget.take(rules.budget_percent, now) {
        return Verdict::No(WhyNot::Budget);
    }
    Verdict::Again { wait, fresh_connection }
}

/// How long to wait; `None`: longer than is waited.
fn pause(attempt: &Attempt, random: u64) -> Option<Duration> {
    match attempt.retry_after {
        // Its wish is its own: another server may be asked at once.
        Some(after) if !attempt.another => return (after <= RETRY_AFTER_MAX).then_some(after),
        _ if attempt.another && attempt.attempts <= 1 => return Some(Duration::ZERO),
        _ => {}
    }
    let doublings = u32::from(attempt.attempts.saturating_sub(1)).min(16);
    let longest = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    Some(longest / 2 + Draws::new(random).up_to(longest / 2))
}

/// When a request that has no answer yet is also sent to a second server; `None`: never. Only GET without a body: a second
/// one does no harm (RFC 9110 9.2.1).
pub fn hedge_at(rules: &RetrySettings, is_plain_get: bool, started: Instant) -> Option<Instant> {
    let after = rules.hedge_after.filter(|after| is_plain_get && *after < rules.deadline)?;
    (rules.attempts > 1).then(|| started + after)
}

/// Whether the second attempt of a hedge may begin now: another server is there and the budget has room.
pub fn may_hedge(rules: &RetrySettings, budget: &mut RetryBudget, another: bool, now: Instant) -> bool {
    another && budget.take(rules.budget_percent, now)
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
