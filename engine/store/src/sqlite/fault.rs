//! What SQLite's errors mean.
//!
//! **Job.** Turn an error code into a [`StoreError`]; tell faults, which undo a whole group, from refusals, which do not.
//! **Called by** everything in `sqlite`.
//!
//! Not here: what is done about them (`writer`).

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::error::StoreError;

/// Why an operation on the writer's connection did not do it.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing was written by it: the others of its group go on.
    Refused(StoreError),
    /// The database failed: the whole group is undone.
    Fault(StoreError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(meaning(&error))
    }
}

/// Refuses an operation before it has written anything.
pub(super) fn refuse<T>(error: StoreError) -> Result<T, Stop> {
    Err(Stop::Refused(error))
}

/// An error while a file is opened.
pub(crate) fn at(path: &Path, error: &Error) -> StoreError {
    let place = path.display();
    match meaning(error) {
        StoreError::Damaged { why } => StoreError::Damaged { why: format!("{place}: {why}") },
        StoreError::Full { why } => StoreError::Full { why: format!("{place}: {why}") },
        other => StoreError::Failed { why: format!("{place}: {}", reason(&other)) },
    }
}

fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Failed { why } | StoreError::Unknown { why } => why.clone(),
        other => other.to_string(),
    }
}

/// An error outside a commit.
pub(crate) fn meaning(error: &Error) -> StoreError {
    let why = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { why },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged { why },
        _ => StoreError::Failed { why },
    }
}

/// An error of the commit itself: when the disk failed, the journal may hold the group or not.
pub(super) fn of_commit(error: &Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StoreError::Unknown { why: error.to_string() },
        _ => meaning(error),
    }
}

/// Whether the connection must be opened anew: after a failed sync nothing is known of what the kernel still holds.
pub(super) fn is_of_the_disk(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}
