//! Signals, as what they ask for.
//!
//! **Job.** HUP reload, TERM and INT stop, USR1 reopen logs, USR2 upgrade. **Called by** `run`. **Calls** tokio.
//!
//! Not here: doing it (`run`).

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What signals ask for.
pub enum Sign {
    /// Read the settings again.
    Reload,
    /// Open log files anew.
    Reopen,
    /// Hand over to the program that is on disk now.
    Upgrade,
    /// Drain and end.
    Stop,
}

/// Caught from the moment this is made.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Catches them.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Sign {
        tokio::select! {
            _ = self.hangup.recv() => Sign::Reload,
            _ = self.terminate.recv() => Sign::Stop,
            _ = self.interrupt.recv() => Sign::Stop,
            _ = self.reopen.recv() => Sign::Reopen,
            _ = self.upgrade.recv() => Sign::Upgrade,
        }
    }

    /// Somebody asks to stop who has asked before.
    pub async fn stop_again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
