//! Servers that are no address: a program of its own for each connection.
//!
//! **Job.** Say what this role needs of whoever starts programs, and how a connection to one ends. **Implemented by**
//! `madang`, which joins apps to streams. **Called by** `open`, `pass`.
//!
//! Invariants
//! 1. A place of the pool is free again only once both the connection is over and the program has ended.
//!
//! Not here: starting programs (`roles/supervise`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use madang_host::connection::Ends;
use madang_host::net::stream::Plain;
use tokio::sync::oneshot;

/// Whoever has programs.
pub trait Programs {
    /// One for a connection with these ends.
    fn open(&self, app: Arc<str>, ends: Ends) -> Pin<Box<dyn Future<Output = io::Result<Program>>>>;
}

/// A program's standard input and output.
pub struct Program {
    /// Both of them.
    pub socket: Plain,
    /// How it goes on.
    pub bond: Bond,
}

/// What ties a connection to its program.
pub struct Bond {
    /// Resolves once the program has ended, whatever it says.
    pub ended: oneshot::Receiver<()>,
    /// Told once the connection is over as its two ends wanted; dropped when it broke.
    pub held: oneshot::Sender<()>,
    /// It was seen that it has ended.
    pub gone: bool,
}

impl Bond {
    /// Whether the program has ended.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        // An error means that nobody is left to say so.
        self.gone = self.gone || matches!(Pin::new(&mut self.ended).poll(cx), Poll::Ready(_));
        self.gone
    }
}
