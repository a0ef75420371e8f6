//! What PostgreSQL's errors mean.
//!
//! **Job.** Turn an error into a [`StoreError`]; tell a lost connection from a refused statement.
//! **Called by** everything in `postgres`. Not here: what is done about them (`lane`, `readers`).

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::readers::READ_TIME_MAX;
use crate::error::StoreError;

/// Whether the connection is gone, or will be in a moment.
pub(super) fn is_lost(error: &Error) -> bool {
    match error.code() {
        // Shut down, crashed, starting: classes 57P and 08. Ended in the middle of a transaction, for we were cut off: 25P03.
        Some(code) => ["57P", "08", "25P03"].iter().any(|class| code.code().starts_with(class)),
        None => error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>()),
    }
}

/// Whether the same transaction may succeed at once: it lost against another one.
pub(super) fn is_a_tie(error: &Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE))
}

/// What an error means, where nothing can have been committed.
pub(crate) fn meaning(error: &Error) -> StoreError {
    let why = told(error);
    if is_lost(error) {
        return StoreError::Unreachable { why };
    }
    match error.code() {
        Some(&SqlState::DISK_FULL | &SqlState::OUT_OF_MEMORY | &SqlState::INSUFFICIENT_RESOURCES) => {
            StoreError::Full { why }
        }
        Some(&SqlState::TOO_MANY_CONNECTIONS) => StoreError::Unreachable { why },
        Some(&SqlState::QUERY_CANCELED) => StoreError::TooSlow { limit: READ_TIME_MAX },
        Some(&SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED) => StoreError::Damaged { why },
        _ => StoreError::Failed { why },
    }
}

/// A broken rule of a table in its statement; else as [`meaning`].
pub(super) fn of_statement(statement: usize, error: &Error) -> StoreError {
    match error.code() {
        Some(code) if code.code().starts_with("23") => StoreError::Constraint { statement, why: told(error) },
        _ => meaning(error),
    }
}

/// The sentence with its cause; never the address's password, which no error holds.
pub(crate) fn told(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
