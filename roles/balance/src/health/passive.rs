//! What requests show about one server.
//!
//! **Job.** Turn the counts of the workers into "failed so often in a row" and "so many percent good". **Called by** `health`.
//! **Calls** `window`.
//!
//! Invariants
//! 1. What was before the server came (back) into rotation does not count against it.
//!
//! Not here: what follows from it (`eject`).

use std::time::{Duration, Instant};

use crate::server::Counts;
use crate::window::Window;

/// Answers of a window below which no rate is taken.
pub(super) const ANSWERS_MIN: u64 = 20;

/// What is new since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fresh {
    pub(super) good: u64,
    pub(super) failed: u64,
    /// Failures in a row, those before the comeback left out.
    pub(super) in_a_row: u32,
    /// Whether most of the failures were connections that did not open.
    pub(super) silent: bool,
}

#[derive(Debug)]
pub(super) struct Passive {
    window: Window,
    last: Counts,
    /// Failures in a row that are older than the comeback.
    old: u32,
}

impl Passive {
    pub(super) fn new(span: Duration, now: Instant) -> Self {
        Self { window: Window::new(span, now), last: Counts::default(), old: 0 }
    }

    /// Takes note of the counts of this moment.
    pub(super) fn see(&mut self, counts: Counts, now: Instant) -> Fresh {
        let good = counts.good.saturating_sub(self.last.good);
        let failed = counts.failed.saturating_sub(self.last.failed);
        let not_connected = counts.not_connected.saturating_sub(self.last.not_connected);
        self.last = counts;
        if good > 0 || counts.in_a_row < self.old {
            self.old = 0;
        }
        self.window.add(good, failed, now);
        let in_a_row = counts.in_a_row - self.old;
        Fresh { good, failed, in_a_row, silent: not_connected * 2 > failed }
    }

    /// Begins anew: the server comes back.
    pub(super) fn forget(&mut self) {
        self.old = self.last.in_a_row;
        self.window.clear();
    }

    /// Good and failed of the window.
    pub(super) fn sums(&mut self, now: Instant) -> (u64, u64) {
        self.window.sums(now)
    }
}

/// Whole percent good.
#[allow(clippy::cast_possible_truncation)] // at most 100
pub(super) const fn percent(good: u64, failed: u64) -> u8 {
    let all = good.saturating_add(failed);
    if all == 0 { 100 } else { (good as u128 * 100 / all as u128) as u8 }
}

/// Whether a server is worse than the rules allow while the others show that it could be better.
pub(super) const fn is_outlier(own: (u64, u64), others: (u64, u64), rate: u8) -> bool {
    own.0 + own.1 >= ANSWERS_MIN
        && others.0 + others.1 >= ANSWERS_MIN
        && percent(own.0, own.1) < rate
        && percent(others.0, others.1) >= rate
}
