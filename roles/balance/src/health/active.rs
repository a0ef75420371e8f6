//! Health checks of one server: when to ask, and when answers make it up or down.
//!
//! **Job.** Schedule probes with jitter; count good and bad answers in a row. **Called by** `health`.
//!
//! Invariants
//! 1. At most one probe is out; one whose result never comes counts as late.
//! 2. After the first answer, `rise` good or `fall` bad ones in a row are needed for a change.
//!
//! Not here: asking (the probes), what up and down mean beside ejection (`health`).

use std::time::{Duration, Instant};

use super::event::ProbeFailure;
use crate::config::HealthSettings;
use madang_host::draws::Draws;

/// The first probe of a server comes within this time, so that a start does not ask all at once nor wait for `every`.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// How long after its deadline the result of a probe may still come in.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// What checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet; taken for up.
    Trusted,
    /// Nothing yet; not asked before it passed.
    Unknown,
    Up,
    Down,
}

/// What one answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    Up { in_a_row: u32 },
    Down { in_a_row: u32, last: ProbeFailure },
}

#[derive(Debug)]
pub(super) struct Active {
    verdict: Verdict,
    good: u32,
    bad: u32,
    next: Instant,
    /// The deadline of the probe that is out.
    out: Option<Instant>,
    silent: bool,
}

impl Active {
    pub(super) fn new(verdict: Verdict, rules: &HealthSettings, draws: &mut Draws, now: Instant) -> Self {
        let next = now + draws.up_to(FIRST_WITHIN.min(rules.every));
        Self { verdict, good: 0, bad: 0, next, out: None, silent: false }
    }

    pub(super) const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the last answer was none at all.
    pub(super) const fn is_silent(&self) -> bool {
        self.silent
    }

    /// Good answers in a row.
    pub(super) const fn good(&self) -> u32 {
        self.good
    }

    /// Counts from here: what was before does not help the server.
    pub(super) const fn forget_good(&mut self) {
        self.good = 0;
    }

    /// Asks as soon as possible.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.out.map_or(self.next, |out| out + LOST_AFTER)
    }

    /// Whether a probe is due; it is out then. Gives its deadline.
    pub(super) fn due(&mut self, rules: &HealthSettings, draws: &mut Draws, now: Instant) -> Option<Instant> {
        if self.out.is_some() || now < self.next {
            return None;
        }
        self.next = now + draws.around(rules.every);
        self.out = Some(now + rules.timeout);
        self.out
    }

    /// Whether the probe that is out was lost.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.out.is_some_and(|out| now >= out + LOST_AFTER)
    }

    /// An answer. One that nobody waits for (a probe given up, or of other settings) is dropped.
    pub(super) fn answer(&mut self, answer: Result<(), ProbeFailure>, rules: &HealthSettings) -> Turn {
        if self.out.take().is_none() {
            return Turn::None;
        }
        let first = matches!(self.verdict, Verdict::Trusted | Verdict::Unknown);
        match answer {
            Ok(()) => {
                (self.good, self.bad, self.silent) = (self.good.saturating_add(1), 0, false);
                if self.verdict != Verdict::Up && (first || self.good >= rules.rise) {
                    self.verdict = Verdict::Up;
                    return Turn::Up { in_a_row: self.good };
                }
            }
            Err(last) => {
                (self.good, self.bad, self.silent) = (0, self.bad.saturating_add(1), last.is_silent());
                if self.verdict != Verdict::Down && (first || self.bad >= rules.fall) {
                    self.verdict = Verdict::Down;
                    return Turn::Down { in_a_row: self.bad, last };
                }
            }
        }
        Turn::None
    }
}
