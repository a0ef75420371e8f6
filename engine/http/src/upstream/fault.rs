//! Why an attempt at an upstream failed, as data.
//!
//! **Job.** Say at which step, by what, and what the server may have seen. **Read by** retries, health, logs.

use std::fmt;
use std::io;

use madang_wire::http1::answer_head::BadAnswer;

use crate::body::BodyFault;

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stopped.
    pub step: Step,
    /// By what.
    pub kind: FaultKind,
    /// Whether any byte of the request may have reached the server.
    pub sent: bool,
    /// Whether the connection had been used before: then the server may simply have closed it for its age.
    pub reused: bool,
}

/// The steps of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Opening the connection.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the first byte of the answer.
    Wait,
    /// Reading the answer's head.
    Answer,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Nobody listens there.
    Refused,
    /// The time for this step was up.
    Timeout,
    /// The server closed or reset the connection.
    Closed,
    /// HTTP/2: the server did not process the stream, and says so (REFUSED_STREAM).
    RefusedStream,
    /// HTTP/2: the server reset the stream, with this code (RFC 9113 7).
    Reset(u32),
    /// It does not switch to the protocol that was asked for, and why. Not a failure of the server.
    NoUpgrade(&'static str),
    /// Another error of the network or of TLS.
    Network(io::ErrorKind, String),
    /// No descriptors or memory of ours.
    Exhausted,
    /// An answer that cannot be passed on.
    Bad(BadAnswer),
    /// The client's body broke off: not the server's fault.
    Client(BodyFault),
}

impl From<io::Error> for FaultKind {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused | Kind::NotFound => Self::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
                Self::Closed
            }
            Kind::TimedOut => Self::Timeout,
            kind => {
                // EMFILE, ENFILE: ours, and no reason to think less of the server.
                if matches!(error.raw_os_error(), Some(23 | 24)) || kind == Kind::OutOfMemory {
                    return Self::Exhausted;
                }
                Self::Network(kind, error.to_string())
            }
        }
    }
}

impl Fault {
    /// A stable kebab-case name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match (&self.kind, self.step) {
            (FaultKind::Refused, _) => "upstream-refused",
            (FaultKind::Timeout, Step::Connect) => "upstream-connect-timeout",
            (FaultKind::Timeout, Step::Send) => "upstream-send-timeout",
            (FaultKind::Timeout, _) => "upstream-first-byte-timeout",
            (FaultKind::Closed, Step::Answer) => "upstream-cut",
            (FaultKind::Closed, _) => "upstream-closed",
            (FaultKind::RefusedStream, _) => "upstream-refused-stream",
            (FaultKind::Reset(_), _) => "upstream-reset",
            (FaultKind::NoUpgrade(_), _) => "upstream-no-upgrade",
            (FaultKind::Network(..), _) => "upstream-network",
            (FaultKind::Exhausted, _) => "no-descriptors",
            (FaultKind::Bad(bad), _) => bad.name(),
            (FaultKind::Client(BodyFault::TooLarge { .. }), _) => "body-too-large",
            (FaultKind::Client(_), _) => "client-body",
        }
    }

    /// Whether an idle connection had merely been closed by the server before our request came.
    pub fn was_stale(&self) -> bool {
        self.reused && self.kind == FaultKind::Closed && matches!(self.step, Step::Send | Step::Wait)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Connect => "connecting",
            Step::Send => "sending the request",
            Step::Wait => "waiting for the answer",
            Step::Answer => "reading the answer",
        };
        match &self.kind {
            FaultKind::Refused => write!(f, "{step}: nobody listens there"),
            FaultKind::Timeout => write!(f, "{step}: the time was up"),
            FaultKind::Closed => write!(f, "{step}: the server closed the connection"),
            FaultKind::RefusedStream => write!(f, "{step}: the server refused the stream unprocessed"),
            FaultKind::Reset(code) => write!(f, "{step}: the server reset the stream, code {code}"),
            FaultKind::NoUpgrade(why) => write!(f, "the server does not upgrade: {why}"),
            FaultKind::Network(_, why) => write!(f, "{step}: {why}"),
            FaultKind::Exhausted => write!(f, "{step}: no file descriptor or memory left here"),
            FaultKind::Bad(bad) => bad.fmt(f),
            FaultKind::Client(fault) => write!(f, "{step}: {fault}"),
        }
    }
}
impl std::error::Error for Fault {}
