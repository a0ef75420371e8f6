//! The rest of one server: how long, how often, and the trial behind it.
//!
//! **Job.** Keep the phase in rotation / resting / on trial, and how long the next rest is. **Called by** `health`.
//!
//! Invariants
//! 1. A rest is twice as long as the one before, up to [`REST_FACTOR_MAX`] times the first.
//! 2. Each span of the last rest's length in rotation takes one doubling back.
//! 3. Behind a rest there is always a trial.
//!
//! Not here: reasons and limits (`health`).

use std::time::{Duration, Instant};

/// The longest rest, in first rests.
pub const REST_FACTOR_MAX: u32 = 32;
const LEVEL_MAX: u32 = REST_FACTOR_MAX.ilog2() + 1;
/// Good answers in a row that end a trial by requests.
const TRIALS: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    InRotation {
        since: Instant,
    },
    Resting {
        until: Instant,
        silent: bool,
    },
    /// Good answers so far.
    Trial {
        good: u64,
    },
}

#[derive(Debug)]
pub(super) struct Ejection {
    phase: Phase,
    /// Rests lately: the next one is `2^level` times the first.
    level: u32,
}

fn rest(first: Duration, level: u32) -> Duration {
    first.saturating_mul(1 << level.saturating_sub(1).min(LEVEL_MAX - 1))
}

impl Ejection {
    pub(super) const fn new(now: Instant) -> Self {
        Self { phase: Phase::InRotation { since: now }, level: 0 }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Sends it to rest; gives how long.
    pub(super) fn eject(&mut self, first: Duration, silent: bool, now: Instant) -> Duration {
        if let Phase::InRotation { since } = self.phase {
            let mut well = now.saturating_duration_since(since);
            while self.level > 0 && well >= rest(first, self.level) {
                well -= rest(first, self.level);
                self.level -= 1;
            }
        }
        self.level = (self.level + 1).min(LEVEL_MAX);
        let rest = rest(first, self.level);
        self.phase = Phase::Resting { until: now + rest, silent };
        rest
    }

    /// Whether the rest is over; the trial begins then.
    pub(super) fn wakes(&mut self, now: Instant) -> bool {
        let over = matches!(self.phase, Phase::Resting { until, .. } if now >= until);
        if over {
            self.phase = Phase::Trial { good: 0 };
        }
        over
    }

    /// Good answers of a trial by requests; whether they are enough.
    pub(super) const fn tried(&mut self, more: u64) -> bool {
        match &mut self.phase {
            Phase::Trial { good } => {
                *good += more;
                *good >= TRIALS
            }
            _ => false,
        }
    }

    /// Back in rotation.
    pub(super) const fn pardon(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::InRotation { .. }) {
            self.phase = Phase::InRotation { since: now };
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Resting { until, .. } => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);

    // Goal: rests double up to the limit and good times take doublings back. Method: eject, wake, pardon at given moments.
    #[test]
    fn rests_double_and_good_times_shorten_them_again() {
        #[allow(clippy::disallowed_methods)] // any moment will do
        let mut now = Instant::now();
        let mut ejection = Ejection::new(now);
        for factor in [1, 2, 4, 8, 16, 32, 32, 32] {
            let rest = ejection.eject(FIRST, false, now);
            assert_eq!(rest, FIRST * factor);
            assert!(!ejection.wakes(now + rest - Duration::from_millis(1)));
            now += rest;
            assert!(ejection.wakes(now) && !ejection.wakes(now));
            ejection.pardon(now);
        }
        // 320 s and 160 s in rotation: two doublings back, then one more.
        now += FIRST * 48;
        assert_eq!(ejection.eject(FIRST, false, now), FIRST * 16);
        ejection.pardon(now);
        now += FIRST * 1000;
        assert_eq!(ejection.eject(FIRST, false, now), FIRST);
    }

    #[test]
    fn a_failed_trial_takes_nothing_back() {
        #[allow(clippy::disallowed_methods)] // any moment will do
        let now = Instant::now();
        let mut ejection = Ejection::new(now);
        ejection.eject(FIRST, false, now);
        assert!(ejection.wakes(now + FIRST));
        assert!(!ejection.tried(1));
        assert_eq!(ejection.eject(FIRST, false, now + FIRST * 100), FIRST * 2);
    }
}
