//! The life of one instance: starting, ready, draining, stopping, gone.
//!
//! **Job.** Say from what is seen of it what is to be done with it next. Pure. **Called by** `app`.
//!
//! Invariants
//! 1. The order is one way; SIGKILL is the last thing that is sent, and it is sent at the end of the grace at the latest.
//! 2. The stop signal goes out only when nothing is open there, or the time for that is over.
//!
//! Not here: the process (`host::process`), whether another one takes its place (`app`).

use std::time::{Duration, Instant};

use crate::config::{AppSettings, StopSettings};

/// How long an instance is drained at least: a request that was on its way there when nothing more was to go has arrived.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Where in its life an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It runs and is not ready yet.
    Starting {
        /// Too late.
        deadline: Instant,
    },
    /// It is well.
    Ready,
    /// It was ready and is not well since then.
    Sick {
        /// When that was noticed.
        since: Instant,
    },
    /// Nothing new goes there.
    Draining {
        /// Since when.
        since: Instant,
        /// What is open then is cut.
        until: Instant,
    },
    /// It was asked to end.
    Stopping {
        /// Then it is killed.
        kill_at: Instant,
    },
    /// It was killed; the kernel needs a moment.
    Killed,
}

impl Phase {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready => "ready",
            Self::Sick { .. } => "sick",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Killed => "killed",
        }
    }

    /// Whether it is on its way out.
    pub const fn is_leaving(self) -> bool {
        matches!(self, Self::Draining { .. } | Self::Stopping { .. } | Self::Killed)
    }
}

/// What is seen of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// The pool's checks: `None` while it was not asked yet.
    pub fit: Option<bool>,
    /// It said READY=1.
    pub notified: bool,
    /// Requests open there.
    pub in_flight: u32,
}

/// What is to be done, or was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is ready now.
    Ready,
    /// It is not ready in time: end it.
    Late,
    /// It is not well any more.
    Sick,
    /// It was not well for too long: end it.
    TooSick,
    /// It is well again.
    Well,
    /// Ask it to end.
    Stop,
    /// End it.
    Kill,
}

/// One instance's life.
#[derive(Debug)]
pub struct Life {
    phase: Phase,
    look: Look,
}

impl Life {
    /// It was started.
    pub fn new(settings: &AppSettings, now: Instant) -> Self {
        let phase = if settings.kind.is_job() {
            Phase::Ready
        } else {
            Phase::Starting { deadline: now + settings.start_within }
        };
        Self { phase, look: Look::default() }
    }

    /// Where it is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What was seen last.
    pub const fn look(&self) -> Look {
        self.look
    }

    /// What is seen now.
    pub const fn see(&mut self, look: Look) {
        self.look = look;
    }

    /// It has to go: drained first, unless `at_once`.
    pub fn leave(&mut self, rules: &StopSettings, at_once: bool, now: Instant) {
        match &mut self.phase {
            Phase::Draining { until, .. } if at_once => *until = now,
            phase if phase.is_leaving() => {}
            phase => {
                let drain = if at_once { Duration::ZERO } else { rules.drain };
                *phase = Phase::Draining { since: now, until: now + drain };
            }
        }
    }

    /// The next thing, until `None`.
    pub fn poll(&mut self, settings: &AppSettings, now: Instant) -> Option<Step> {
        let fit = self.look.fit == Some(true);
        let (phase, step) = match self.phase {
            Phase::Starting { .. } if fit => (Phase::Ready, Step::Ready),
            Phase::Starting { deadline } if now >= deadline => {
                (Phase::Draining { since: now, until: now }, Step::Late)
            }
            Phase::Ready if self.look.fit == Some(false) => (Phase::Sick { since: now }, Step::Sick),
            Phase::Sick { .. } if fit => (Phase::Ready, Step::Well),
            Phase::Sick { since } if now >= since + settings.restart.after => {
                // Whoever is still served there may be served to the end.
                (Phase::Draining { since: now, until: now + settings.stop.drain }, Step::TooSick)
            }
            Phase::Draining { since, until }
                if now >= until || (self.look.in_flight == 0 && now >= since + SETTLED_AFTER) =>
            {
                (Phase::Stopping { kill_at: now + settings.stop.grace }, Step::Stop)
            }
            Phase::Stopping { kill_at } if now >= kill_at => (Phase::Killed, Step::Kill),
            _ => return None,
        };
        self.phase = phase;
        Some(step)
    }

    /// When [`Life::poll`] will have something to do by time alone.
    pub fn deadline(&self, settings: &AppSettings) -> Option<Instant> {
        match self.phase {
            Phase::Starting { deadline } => Some(deadline),
            Phase::Sick { since } => Some(since + settings.restart.after),
            Phase::Draining { since, until } => Some(until.min(since + SETTLED_AFTER)),
            Phase::Stopping { kill_at } => Some(kill_at),
            Phase::Ready | Phase::Killed => None,
        }
    }
}
