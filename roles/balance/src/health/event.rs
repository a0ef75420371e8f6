//! What health decides and why: the vocabulary between the state machine and those who act.
//!
//! **Job.** Name actions, transitions, reasons and what a probe can find. **Made by** `health`. **Read by** the control side
//! (probes, publishing), the log, status and metrics.
//!
//! Not here: deciding (`health`).

use std::fmt;
use std::time::{Duration, Instant};

use crate::server::{ServerId, Standing, State};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask this server and tell [`super::Health::probe`] before `deadline` what came of it.
    Probe {
        /// Whom.
        server: ServerId,
        /// After this it is too late.
        deadline: Instant,
    },
    /// Tell the workers ([`crate::pool::Pool::publish`]).
    Publish {
        /// Of whom.
        server: ServerId,
        /// What.
        standing: Standing,
    },
    /// Tell the workers ([`crate::pool::Pool::set_panic`]), the log and the metrics.
    Panic {
        /// Whether it begins.
        on: bool,
        /// Primaries up.
        up: usize,
        /// Primaries in rotation.
        of: usize,
    },
    /// Tell the log and the metrics.
    Event(Event),
}

/// A server changed its state, or would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Who.
    pub server: ServerId,
    /// When.
    pub at: Instant,
    /// The state before.
    pub from: State,
    /// The state now; the same when nothing came of it.
    pub to: State,
    /// Why.
    pub why: Why,
}

/// Why a server changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Health checks passed.
    ChecksPassed {
        /// So many in a row.
        in_a_row: u32,
    },
    /// Health checks failed.
    ChecksFailed {
        /// So many in a row.
        in_a_row: u32,
        /// The last one's reason.
        last: ProbeFailure,
    },
    /// Requests failed one after the other.
    FailuresInARow {
        /// So many.
        failures: u32,
        /// It rests so long.
        rest: Duration,
    },
    /// Too few answers were good while the others did better.
    SuccessRate {
        /// Percent good here.
        percent: u8,
        /// Percent good at the others together.
        others: u8,
        /// Answers that were looked at here.
        answers: u64,
        /// It rests so long.
        rest: Duration,
    },
    /// It should rest, but too few would be left.
    TooFewLeft {
        /// Not up already.
        not_up: usize,
        /// Of so many.
        of: usize,
    },
    /// Its rest is over: it is tried.
    RestOver,
    /// The trial went well.
    TrialPassed,
    /// The trial failed.
    TrialFailed {
        /// It rests so long.
        rest: Duration,
    },
    /// The operator wanted it.
    Operator,
    /// The settings changed.
    Settings,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChecksPassed { in_a_row } => write!(f, "{in_a_row} health checks passed"),
            Self::ChecksFailed { in_a_row, last } => {
                write!(f, "{in_a_row} health checks failed, last: {last}")
            }
            Self::FailuresInARow { failures, rest } => {
                write!(f, "{failures} requests failed in a row; rests {rest:?}")
            }
            Self::SuccessRate { percent, others, answers, rest } => {
                write!(f, "{percent} % of {answers} answers good, others {others} %; rests {rest:?}")
            }
            Self::TooFewLeft { not_up, of } => {
                write!(f, "should rest but stays: {not_up} of {of} are not up already")
            }
            Self::RestOver => f.write_str("rest is over, on trial"),
            Self::TrialPassed => f.write_str("trial passed"),
            Self::TrialFailed { rest } => write!(f, "trial failed; rests {rest:?}"),
            Self::Operator => f.write_str("by the operator"),
            Self::Settings => f.write_str("settings changed"),
        }
    }
}

/// What was wrong with the answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFailure {
    /// The connection did not open.
    NotConnected,
    /// No answer in time.
    Late,
    /// TLS failed: certificate, name, version.
    Tls,
    /// The connection broke.
    Broken,
    /// What came was no answer.
    Nonsense,
    /// A status that is not good.
    Status(u16),
    /// A field is missing or has another value.
    Header,
    /// The body does not hold the text.
    Body,
    /// gRPC: not SERVING.
    NotServing,
}

impl ProbeFailure {
    /// Whether the server gave no answer at all.
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::NotConnected | Self::Late)
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("no connection"),
            Self::Late => f.write_str("no answer in time"),
            Self::Tls => f.write_str("TLS failed"),
            Self::Broken => f.write_str("connection broke"),
            Self::Nonsense => f.write_str("no valid answer"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Header => f.write_str("field missing or wrong"),
            Self::Body => f.write_str("text missing in body"),
            Self::NotServing => f.write_str("not serving"),
        }
    }
}
