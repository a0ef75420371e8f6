//! Whose fault a failure is, and whether to try again.
//!
//! **Job.** One vocabulary for every error of the house: log level, status and retry follow from it.
//! **Used by** errors everywhere. Not here: any error.

use std::time::Duration;

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Whoever sent the request.
    Client,
    /// A server behind us.
    Upstream,
    /// Whoever wrote the settings or keeps the machine.
    Operator,
    /// Nobody: there is more work than a limit allows.
    Load,
    /// A bug here.
    Us,
}

impl Blame {
    /// The name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Operator => "operator",
            Self::Load => "load",
            Self::Us => "us",
        }
    }
}

/// Whether the very same attempt may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// It may succeed after about this long.
    After(Duration),
}
