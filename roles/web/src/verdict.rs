//! What a step of the pipeline may say about a request.
//!
//! **Job.** One closed vocabulary for phases, actions and files: go on, answered, wait, hand over, failed.
//! **Made by** every phase and action. **Read by** the pipeline, which turns a [`Failure`] into an error answer.
//!
//! Invariants
//! 1. A failure carries facts, never a finished page: error pages are made in one place.
//! 2. Whoever says [`Verdict::Wait`] gives the exchange back when it resumes.
//!
//! Not here: the order of the phases (`phases`), how errors look (error pages).

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

pub use madang_host::blame::Blame;
use madang_http::body::LocalFuture;
use madang_http::exchange::{Exchange, Service};

/// What follows from a step.
pub enum Verdict {
    /// Nothing to say: the next step decides.
    Next,
    /// The answer is in `exchange.response`.
    Answer,
    /// Something must be waited for; the pipeline hands the exchange over and goes on with the verdict that comes back.
    Wait(Resume),
    /// Another role answers: the exchange is handed over whole.
    Hand(Rc<dyn Service>),
    /// No answer, and why. What the step already put into `exchange.response.fields` (`allow`, `content-range`, …)
    /// belongs to the error answer.
    Fail(Failure),
}

/// The rest of a step that waits.
pub type Resume = Box<dyn FnOnce(Box<Exchange>) -> LocalFuture<(Box<Exchange>, Verdict)>>;

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next => f.write_str("Next"),
            Self::Answer => f.write_str("Answer"),
            Self::Wait(_) => f.write_str("Wait"),
            Self::Hand(_) => f.write_str("Hand"),
            Self::Fail(failure) => f.debug_tuple("Fail").field(failure).finish(),
        }
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

/// Why a request gets an error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status to answer with, 400..=599.
    pub status: u16,
    /// Whose fault it is: decides the log level and who gets told.
    pub blame: Blame,
    /// A stable kebab-case name (`file-not-found`): in the log, the metrics and the error answer.
    pub name: &'static str,
    /// One sentence for the log, lower case, no full stop. Never shown to the client: it may hold paths.
    pub detail: Cow<'static, str>,
}

impl Failure {
    /// A failure with these facts.
    pub fn new(status: u16, blame: Blame, name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, blame, name, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.name, self.detail)
    }
}
impl std::error::Error for Failure {}
