//! The circuit breaker of one server: closed, open, half open.
//!
//! **Job.** Stop sending at once when too many answers are failures; after a while let a few try. **Written** by every
//! worker, without a lock. **Called by** `server` (results), `pick` (may it be asked). **Calls** nothing of ours.
//!
//! How it differs from the ejection of `health`: it acts within the worker, on the very answer that crosses the line, knows
//! nothing of the other servers and is obeyed in a panic too. It is off unless `breaker` is written.
//!
//! Invariants
//! 1. Open for `open_for`, whatever results come in from before.
//! 2. Half open: at most one request at a time (`pick` asks for an idle server), and `trials` good ones in a row to close.
//!
//! Not here: what counts as a failure (`server::Outcome`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::BreakerSettings;

/// What the breaker says about one more request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Go ahead.
    Closed,
    /// Go ahead when nothing else is in flight there.
    HalfOpen,
    /// No.
    Open,
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

/// The breaker. Times are milliseconds since the server was born.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// `Phase`, packed.
    phase: AtomicU64,
    /// The two halves of the window: epoch (16 bits), good (24), failed (24).
    halves: [AtomicU64; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    /// Until this millisecond.
    Open(u64),
    /// So many good in a row.
    Trying(u64),
}

impl Phase {
    const fn pack(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open(until) => (until << 2) | 1,
            Self::Trying(good) => (good << 2) | 2,
        }
    }

    const fn unpack(word: u64) -> Self {
        match word & 3 {
            1 => Self::Open(word >> 2),
            2 => Self::Trying(word >> 2),
            _ => Self::Closed,
        }
    }
}

const COUNT_MAX: u64 = (1 << 24) - 1;

const fn half_of(word: u64) -> (u64, u64, u64) {
    (word >> 48, (word >> 24) & COUNT_MAX, word & COUNT_MAX)
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX >> 3)
}

impl Breaker {
    /// Whether a request may go.
    pub(crate) fn circuit(&self, now_ms: u64) -> Circuit {
        match Phase::unpack(self.phase.load(Ordering::Acquire)) {
            Phase::Closed => Circuit::Closed,
            Phase::Open(until) if now_ms < until => Circuit::Open,
            Phase::Open(_) | Phase::Trying(_) => Circuit::HalfOpen,
        }
    }

    /// A trial begins: the time of being open is over.
    pub(crate) fn begin_trial(&self) {
        let begun = |word| match Phase::unpack(word) {
            Phase::Open(_) => Some(Phase::Trying(0).pack()),
            Phase::Closed | Phase::Trying(_) => None,
        };
        // Refused when another worker was first: then there is nothing to do.
        let _ = self.phase.fetch_update(Ordering::AcqRel, Ordering::Acquire, begun);
    }

    /// One result.
    pub(crate) fn record(&self, good: bool, now_ms: u64, rules: &BreakerSettings) -> Change {
        let open = Phase::Open(now_ms.saturating_add(ms(rules.open_for)));
        match Phase::unpack(self.phase.load(Ordering::Acquire)) {
            Phase::Open(_) => Change::None,
            Phase::Closed => {
                let (all, failed) = self.count(good, now_ms, rules.window);
                let sick = !good
                    && all >= u64::from(rules.requests_min)
                    && failed * 100 >= all * u64::from(rules.error_percent);
                if sick && self.turn(Phase::Closed, open) { Change::Opened } else { Change::None }
            }
            trying @ Phase::Trying(_) if !good => {
                if self.turn(trying, open) {
                    Change::Opened
                } else {
                    Change::None
                }
            }
            trying @ Phase::Trying(so_far) if so_far + 1 < u64::from(rules.trials) => {
                self.turn(trying, Phase::Trying(so_far + 1));
                Change::None
            }
            trying @ Phase::Trying(_) => {
                for half in &self.halves {
                    half.store(0, Ordering::Relaxed);
                }
                if self.turn(trying, Phase::Closed) { Change::Closed } else { Change::None }
            }
        }
    }

    fn turn(&self, from: Phase, to: Phase) -> bool {
        self.phase.compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Counts one result; gives all and failed of the window.
    fn count(&self, good: bool, now_ms: u64, window: Duration) -> (u64, u64) {
        let epoch = now_ms / (ms(window) / 2).max(1);
        let (this, before) = (epoch & 0xFFFF, epoch.wrapping_sub(1) & 0xFFFF);
        let half = |at: u64| &self.halves[usize::from(at & 1 == 1)];
        let add = |word: u64| {
            let (at, goods, fails) = match half_of(word) {
                (at, ..) if at != this => (this, 0, 0),
                same => same,
            };
            let (goods, fails) = if good { (goods + 1, fails) } else { (goods, fails + 1) };
            Some((at << 48) | (goods.min(COUNT_MAX) << 24) | fails.min(COUNT_MAX))
        };
        let _ = half(this).fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        let sum = |at: u64| match half_of(half(at).load(Ordering::Acquire)) {
            (of, goods, fails) if of == at => (goods + fails, fails),
            _ => (0, 0),
        };
        let (now, then) = (sum(this), sum(before));
        (now.0 + then.0, now.1 + then.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerSettings = BreakerSettings {
        error_percent: 50,
        requests_min: 4,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        trials: 2,
    };

    // Goal: the whole round: closed, open, half open, closed. Method: results at given moments.
    #[test]
    fn it_opens_at_the_share_and_closes_after_trials() {
        let breaker = Breaker::default();
        for good in [true, true, false] {
            assert_eq!(breaker.record(good, 0, &RULES), Change::None);
        }
        assert_eq!(breaker.record(false, 10, &RULES), Change::Opened);
        assert_eq!(breaker.circuit(5_009), Circuit::Open);
        assert_eq!(breaker.record(true, 100, &RULES), Change::None, "results from before change nothing");
        assert_eq!(breaker.circuit(5_010), Circuit::HalfOpen);
        breaker.begin_trial();
        assert_eq!(breaker.record(true, 5_020, &RULES), Change::None);
        assert_eq!(breaker.circuit(5_020), Circuit::HalfOpen);
        assert_eq!(breaker.record(true, 5_030, &RULES), Change::Closed);
        assert_eq!(breaker.circuit(5_030), Circuit::Closed);
        // The past is forgotten: one more failure is one failure.
        assert_eq!(breaker.record(false, 5_040, &RULES), Change::None);
    }

    #[test]
    fn a_failed_trial_opens_it_again_for_the_whole_time() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            breaker.record(false, 0, &RULES);
        }
        breaker.begin_trial();
        assert_eq!(breaker.record(false, 6_000, &RULES), Change::Opened);
        assert_eq!(breaker.circuit(10_999), Circuit::Open);
        assert_eq!(breaker.circuit(11_000), Circuit::HalfOpen);
    }

    #[test]
    fn few_requests_and_old_failures_open_nothing() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            assert_eq!(breaker.record(false, 0, &RULES), Change::None);
        }
        // More than a window later the three are forgotten.
        assert_eq!(breaker.record(false, 15_001, &RULES), Change::None);
        assert_eq!(breaker.circuit(15_001), Circuit::Closed);
    }
}
