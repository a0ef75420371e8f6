//! Being asked to end.
//!
//! **Job.** Ctrl+C, SIGTERM and the terminal's end as one event. **Called by** `talk`. **Calls** tokio.
//!
//! Not here: `/quit` and the end of the input (`console`).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Caught from the moment this is made.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves when one of them comes. May be dropped and asked again.
    pub(crate) async fn comes(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
