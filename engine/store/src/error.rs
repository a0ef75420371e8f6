//! What can go wrong with data.
//!
//! **Job.** One error for every operation of the store: facts as fields, whose fault it is, whether to try again.
//! **Made by** `sqlite`, `postgres` and the checks of `log`, `kv`, `tables`. **Read by** roles.
//!
//! Invariants
//! 1. Only [`StoreError::Unknown`] leaves open whether a write was done. After every other error it was not.
//!
//! Not here: answers that are no failure, such as "too old" ([`crate::log::History`]).

use std::fmt;
use std::time::Duration;

use madang_host::blame::{Blame, Retry};

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// As many operations wait as may. Nothing was done.
    Overloaded {
        /// Operations in the queue.
        waiting: usize,
        /// As many may be in it.
        waiting_max: usize,
    },
    /// More than a limit allows.
    TooLarge {
        /// What is too large: `entry`, `key`, …
        what: &'static str,
        /// Its size in bytes, or its count.
        size: usize,
        /// The limit in the same unit.
        max: usize,
    },
    /// Not of the form it must have.
    Invalid {
        /// What: `stream`, `namespace`, …
        what: &'static str,
        /// How it must be.
        must: &'static str,
    },
    /// The stream's next offset is another one than expected.
    Moved {
        /// The stream's epoch now.
        epoch: u64,
        /// The offset the next entry gets.
        next: u64,
    },
    /// There is no such stream, or no such entry in it (any more).
    Missing {
        /// The stream's name.
        stream: String,
        /// The offset asked for; 0 when the stream itself is missing.
        offset: u64,
    },
    /// A counter was wanted where another value is, or it would leave the range of 64 bits.
    NoCounter,
    /// A statement changed another number of rows than it must; its whole transaction was undone.
    Unexpected {
        /// Which statement of the transaction, from 0.
        statement: usize,
        /// Rows it changed.
        changed: u64,
        /// Rows it must change.
        must: u64,
    },
    /// A statement broke a rule of a table (unique, not null, check, foreign key); its transaction was undone.
    Constraint {
        /// Which statement of the transaction, from 0.
        statement: usize,
        /// What the database says.
        why: String,
    },
    /// What is applied is not what the program knows.
    Migration {
        /// Whose tables.
        owner: String,
        /// The migration's number.
        number: u32,
        /// What does not fit.
        why: String,
    },
    /// The operation took longer than it may and was stopped. Nothing was done.
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// No room: the disk is full, or the database has its largest allowed size. Nothing was done.
    Full {
        /// What the database says.
        why: String,
    },
    /// The file is damaged. It is left as it is.
    Damaged {
        /// What was found.
        why: String,
    },
    /// The database cannot be reached. Nothing was done.
    Unreachable {
        /// What the system says.
        why: String,
    },
    /// The database went away, or the disk failed, while it was asked to commit: whether it did is not known.
    /// The same append with the same key tells.
    Unknown {
        /// What the system says.
        why: String,
    },
    /// The store is closed.
    Closed,
    /// Anything else the database says.
    Failed {
        /// What it says.
        why: String,
    },
}

impl StoreError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Moved { .. }
            | Self::Missing { .. }
            | Self::NoCounter
            | Self::Unexpected { .. }
            | Self::Constraint { .. } => Blame::Client,
            Self::Overloaded { .. } | Self::TooSlow { .. } => Blame::Load,
            Self::Full { .. } | Self::Damaged { .. } | Self::Migration { .. } => Blame::Operator,
            Self::Unreachable { .. } | Self::Unknown { .. } => Blame::Upstream,
            Self::Closed | Self::Failed { .. } => Blame::Us,
        }
    }

    /// Whether the very same operation may succeed a little later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Overloaded { .. } => Retry::After(Duration::from_millis(50)),
            Self::Unreachable { .. } | Self::Unknown { .. } | Self::TooSlow { .. } => {
                Retry::After(Duration::from_secs(1))
            }
            Self::Full { .. } => Retry::After(Duration::from_secs(10)),
            _ => Retry::Never,
        }
    }

    /// A stable kebab-case name, for logs, metrics and error answers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "overloaded",
            Self::TooLarge { .. } => "too-large",
            Self::Invalid { .. } => "invalid",
            Self::Moved { .. } => "moved",
            Self::Missing { .. } => "missing",
            Self::NoCounter => "no-counter",
            Self::Unexpected { .. } => "unexpected",
            Self::Constraint { .. } => "constraint",
            Self::Migration { .. } => "migration",
            Self::TooSlow { .. } => "too-slow",
            Self::Full { .. } => "full",
            Self::Damaged { .. } => "damaged",
            Self::Unreachable { .. } => "unreachable",
            Self::Unknown { .. } => "unknown",
            Self::Closed => "closed",
            Self::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded { waiting, waiting_max } => {
                write!(f, "the store is overloaded: {waiting} of {waiting_max} operations wait")
            }
            Self::TooLarge { what, size, max } => write!(f, "{what} of {size}: at most {max}"),
            Self::Invalid { what, must } => write!(f, "{what} must be {must}"),
            Self::Moved { epoch, next } => write!(f, "the next offset is {next} (epoch {epoch})"),
            Self::Missing { stream, offset: 0 } => write!(f, "there is no stream {stream:?}"),
            Self::Missing { stream, offset } => write!(f, "stream {stream:?} has no entry {offset}"),
            Self::NoCounter => f.write_str("the value is no counter, or it would leave the range of 64 bits"),
            Self::Unexpected { statement, changed, must } => {
                write!(f, "statement {statement} changed {changed} rows where it must change {must}")
            }
            Self::Constraint { statement, why } => write!(f, "statement {statement}: {why}"),
            Self::Migration { owner, number, why } => {
                write!(f, "tables of {owner}, migration {number}: {why}")
            }
            Self::TooSlow { limit } => write!(f, "stopped after {} ms", limit.as_millis()),
            Self::Full { why } => write!(f, "no room for more data: {why}"),
            Self::Damaged { why } => write!(f, "the database is damaged: {why}"),
            Self::Unreachable { why } => write!(f, "the database cannot be reached: {why}"),
            Self::Unknown { why } => write!(f, "it is not known whether it was written: {why}"),
            Self::Closed => f.write_str("the store is closed"),
            Self::Failed { why } => write!(f, "the database says: {why}"),
        }
    }
}
impl std::error::Error for StoreError {}
