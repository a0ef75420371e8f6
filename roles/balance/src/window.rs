//! Counts over the last so many seconds.
//!
//! **Job.** Two counters that forget what is older than a span. **Called by** `health::passive`, `retry`.
//!
//! The span is cut into ten parts; the oldest is forgotten whole. So it looks back on nine to ten tenths of the span.
//!
//! Invariants
//! 1. A count is in the sum for at least nine tenths of the span and never longer than the span.
//! 2. No memory but the parts.
//!
//! Not here: what is counted.

use std::time::{Duration, Instant};

const PARTS: usize = 10;

/// The counters.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    part: Duration,
    born: Instant,
    /// Number of the part that is filled now.
    current: u64,
    counts: [(u64, u64); PARTS],
}

impl Window {
    pub(crate) fn new(span: Duration, now: Instant) -> Self {
        #[allow(clippy::cast_possible_truncation)] // ten
        let part = (span / PARTS as u32).max(Duration::from_millis(1));
        Self { part, born: now, current: 0, counts: [(0, 0); PARTS] }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts = [(0, 0); PARTS];
    }

    fn turn(&mut self, now: Instant) {
        let part = now.saturating_duration_since(self.born).as_nanos() / self.part.as_nanos();
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        let passed = part.saturating_sub(self.current);
        for step in 1..=passed.min(PARTS as u64) {
            *self.slot(self.current.wrapping_add(step)) = (0, 0);
        }
        self.current = self.current.max(part);
    }

    #[allow(clippy::cast_possible_truncation)] // below ten
    fn slot(&mut self, part: u64) -> &mut (u64, u64) {
        &mut self.counts[(part % PARTS as u64) as usize]
    }

    /// Counts so many of each.
    pub(crate) fn add(&mut self, first: u64, second: u64, now: Instant) {
        self.turn(now);
        let current = self.current;
        let slot = self.slot(current);
        slot.0 = slot.0.saturating_add(first);
        slot.1 = slot.1.saturating_add(second);
    }

    /// The sums.
    pub(crate) fn sums(&mut self, now: Instant) -> (u64, u64) {
        self.turn(now);
        self.counts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: the sum holds all of the last nine tenths and nothing older than the span. Method: random arrivals.
        #[test]
        fn what_is_young_counts_and_what_is_old_does_not(gaps in prop::collection::vec(0_u64..3_000, 1..80)) {
            #[allow(clippy::disallowed_methods)] // any moment will do
            let born = Instant::now();
            let mut window = Window::new(Duration::from_secs(10), born);
            let mut at = 0;
            let mut arrivals = Vec::new();
            for gap in gaps {
                at += gap;
                window.add(1, 2, born + Duration::from_millis(at));
                arrivals.push(at);
                let (first, second) = window.sums(born + Duration::from_millis(at));
                let younger = |ms: u64| arrivals.iter().filter(|then| at - **then < ms).count() as u64;
                prop_assert_eq!(second, 2 * first);
                prop_assert!(first >= younger(9_000) && first <= younger(10_001), "{}", first);
            }
        }
    }
}
