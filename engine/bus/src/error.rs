//! What can go wrong on the bus.
//!
//! **Job.** One error for every operation: facts as fields, whose fault it is, whether to try again.
//! **Made by** the rest of this crate. **Read by** roles.
//!
//! Not here: losing one's position in a topic, which is no failure but an event ([`crate::mailbox::Gap`]).

use std::fmt;
use std::time::Duration;

use madang_host::blame::{Blame, Retry};

/// Why the bus did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusError {
    /// Not of the form it must have.
    Invalid {
        /// What: `the name of a topic`, …
        what: &'static str,
        /// How it must be.
        must: &'static str,
    },
    /// More than a limit allows.
    TooLarge {
        /// What is too large: `message`, …
        what: &'static str,
        /// Its size in bytes, or its count.
        size: usize,
        /// The limit in the same unit.
        max: usize,
    },
    /// The server of the bus cannot be reached. Nothing was done.
    Unreachable {
        /// What the system says.
        why: String,
    },
    /// The server did not answer in time, or went away while it was asked: whether it was done is not known. The very
    /// same operation with the same name tells.
    Unknown {
        /// What the system says.
        why: String,
    },
    /// As much waits as may. Nothing was done.
    Full {
        /// What is full.
        what: &'static str,
        /// How much waits.
        waiting: usize,
        /// As much may.
        max: usize,
    },
    /// Anything else the server or the system says.
    Failed {
        /// What it says.
        why: String,
    },
    /// The bus is closed.
    Closed,
}

impl BusError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Invalid { .. } | Self::TooLarge { .. } => Blame::Client,
            Self::Unreachable { .. } | Self::Unknown { .. } => Blame::Upstream,
            Self::Full { .. } => Blame::Load,
            Self::Failed { .. } => Blame::Operator,
            Self::Closed => Blame::Us,
        }
    }

    /// Whether the very same operation may succeed a little later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::Unknown { .. } | Self::Full { .. } => {
                Retry::After(Duration::from_secs(1))
            }
            _ => Retry::Never,
        }
    }

    /// A stable kebab-case name, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::TooLarge { .. } => "too-large",
            Self::Unreachable { .. } => "unreachable",
            Self::Unknown { .. } => "unknown",
            Self::Full { .. } => "full",
            Self::Failed { .. } => "failed",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { what, must } => write!(f, "{what} must be {must}"),
            Self::TooLarge { what, size, max } => write!(f, "{what} of {size}: at most {max}"),
            Self::Unreachable { why } => write!(f, "the bus's server cannot be reached: {why}"),
            Self::Unknown { why } => write!(f, "it is not known whether the bus's server did it: {why}"),
            Self::Full { what, waiting, max } => write!(f, "{what} is full: {waiting} of {max} wait"),
            Self::Failed { why } => write!(f, "the bus: {why}"),
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}
impl std::error::Error for BusError {}
