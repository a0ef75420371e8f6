//! The threads that read.
//!
//! **Job.** Answer questions from what is committed, each thread with a connection that cannot write.
//! **Fed by** `sqlite` through a line. Not here: what is asked (`log`, `search`, `kv`, `tables`).
//!
//! Invariants
//! 1. A question that takes longer than [`READ_TIME_MAX`] is stopped and told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use madang_host::clock;
use rusqlite::{Connection, Error, ErrorCode};

use super::fault;
use super::line::{Line, Taken};
use crate::answer::Reply;
use crate::error::StoreError;

/// A question may take so long.
pub(super) const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// How many steps of SQLite's machine between two looks at the clock: about 0.1 ms.
const STEPS: i32 = 10_000;

/// A question that waits for a reader.
pub(super) type Question = Box<dyn FnOnce(&Connection) + Send>;

/// Makes a question of a function and its answer's end.
pub(super) fn question<T: Send + 'static>(
    reply: Reply<T>,
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> Question {
    Box::new(move |connection| {
        if reply.is_closed() {
            return;
        }
        // The one who asked may have gone.
        let _ = reply.send(work(connection));
    })
}

/// What a reader's errors mean.
pub(super) fn meaning(error: &Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::TooSlow { limit: READ_TIME_MAX },
        _ => fault::meaning(error),
    }
}

/// Works until the line is closed and empty.
pub(super) fn run(mut connection: Connection, line: &Line<Question>) {
    let born = clock::now();
    let until = Arc::new(AtomicU64::new(u64::MAX));
    let seen = Arc::clone(&until);
    let late = move || millis(born.elapsed()) >= seen.load(Ordering::Relaxed);
    // Without the limit questions are answered all the same.
    let _ = connection.progress_handler(STEPS, Some(late));
    loop {
        match line.take(1, usize::MAX, Duration::from_secs(3600)) {
            Taken::Jobs(questions) => {
                for question in questions {
                    until.store(millis(born.elapsed() + READ_TIME_MAX), Ordering::Relaxed);
                    question(&connection);
                }
            }
            Taken::Nothing => {}
            Taken::Closed => return,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
