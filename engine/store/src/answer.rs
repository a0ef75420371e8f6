//! An answer that comes later.
//!
//! **Job.** What every operation returns: a future that any runtime can await, or a thread can wait for.
//! **Made by** `sqlite`, `postgres`. **Awaited by** roles.
//!
//! Invariants
//! 1. The operation has its place in line when the answer is handed out, not when it is first awaited.
//! 2. Dropping an answer undoes nothing: what was asked for is done all the same.
//!
//! Not here: who answers (`sqlite::writer`, `postgres::group`).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::StoreError;

/// The end of an answer that the database's side holds.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// An answer that comes later. Never blocks the thread that awaits it.
#[must_use = "an answer says whether it is on disk"]
pub struct Answer<T>(State<T>);

enum State<T> {
    Now(Option<StoreError>),
    Later(oneshot::Receiver<Result<T, StoreError>>),
}

impl<T> Answer<T> {
    /// An answer and the end that fills it.
    pub(crate) fn later() -> (Reply<T>, Self) {
        let (reply, later) = oneshot::channel();
        (reply, Self(State::Later(later)))
    }

    /// Refused at once.
    pub(crate) fn refused(error: StoreError) -> Self {
        Self(State::Now(Some(error)))
    }

    /// Waits for it on this thread: for commands and tests. Panics inside a runtime.
    ///
    /// # Errors
    /// The operation's.
    pub fn wait(self) -> Result<T, StoreError> {
        match self.0 {
            State::Now(error) => Err(error.unwrap_or(StoreError::Closed)),
            State::Later(later) => later.blocking_recv().unwrap_or(Err(StoreError::Closed)),
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Now(error) => Poll::Ready(Err(error.take().unwrap_or(StoreError::Closed))),
            State::Later(later) => {
                Pin::new(later).poll(context).map(|told| told.unwrap_or(Err(StoreError::Closed)))
            }
        }
    }
}

impl<T> Unpin for Answer<T> {}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}
