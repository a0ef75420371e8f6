//! What happened lately, from counters that only grow.
//!
//! **Job.** Requests per second over the last ten seconds and latencies over the last half to whole minute, by looking at
//! counters once a second. **Called by** the keeper.
//!
//! Invariants
//! 1. At most [`SAMPLES`] numbers and two copies of the buckets are kept, however many requests there are.
//!
//! Not here: counting (`ledger`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use madang_host::telemetry::metrics::BUCKETS;

/// How often counters are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that are remembered: the rate is over the time between the first of them and now.
const SAMPLES: usize = 10;
/// Latencies are of the present window and the one before.
const WINDOW: Duration = Duration::from_secs(30);

/// Counts by bucket.
pub(crate) type Buckets = [u64; BUCKETS];

#[derive(Debug, Clone)]
pub(crate) struct Recent {
    samples: VecDeque<(Instant, u64)>,
    older: Buckets,
    newer: Buckets,
    turned: Instant,
}

impl Recent {
    pub(crate) fn new(now: Instant) -> Self {
        let none = [0; BUCKETS];
        Self { samples: VecDeque::with_capacity(SAMPLES), older: none, newer: none, turned: now }
    }

    /// Looks at the counters of this moment; `buckets` is asked only when a window ends.
    pub(crate) fn look(&mut self, requests: u64, buckets: impl FnOnce() -> Buckets, now: Instant) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, requests));
        if now.saturating_duration_since(self.turned) >= WINDOW {
            (self.older, self.newer, self.turned) = (self.newer, buckets(), now);
        }
    }

    /// Requests per second of late.
    pub(crate) fn per_second(&self, requests: u64, now: Instant) -> f64 {
        let Some((since, before)) = self.samples.front() else { return 0.0 };
        let span = now.saturating_duration_since(*since).max(LOOK_EVERY);
        requests.saturating_sub(*before) as f64 / span.as_secs_f64()
    }

    /// Latencies of the present window and the one before.
    pub(crate) fn latencies(&self, buckets: &Buckets) -> Buckets {
        let mut late = *buckets;
        for (count, before) in late.iter_mut().zip(&self.older) {
            *count = count.saturating_sub(*before);
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_in(bucket: usize, count: u64) -> Buckets {
        let mut buckets = [0; BUCKETS];
        buckets[bucket] = count;
        buckets
    }

    // Goal: what is old is forgotten. Method: counters that grow evenly, then stop.
    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        #[allow(clippy::disallowed_methods)] // any moment will do
        let begin = Instant::now();
        let at = |second: u64| begin + Duration::from_secs(second);
        let mut recent = Recent::new(begin);
        assert_eq!(recent.per_second(7, begin), 0.0, "nothing was seen yet");
        for second in 0..=20 {
            recent.look(second * 50, || all_in(0, 0), at(second));
        }
        assert_eq!(recent.per_second(20 * 50, at(20)), 50.0);
        for second in 21..=25 {
            recent.look(20 * 50, || all_in(0, 0), at(second));
        }
        assert!(recent.per_second(20 * 50, at(25)) < 25.1);
        for second in 26..=31 {
            recent.look(20 * 50, || all_in(0, 0), at(second));
        }
        assert_eq!(recent.per_second(20 * 50, at(31)), 0.0);
    }

    #[test]
    fn latencies_are_of_the_last_half_to_whole_minute() {
        #[allow(clippy::disallowed_methods)] // any moment will do
        let begin = Instant::now();
        let mut recent = Recent::new(begin);
        let mut counts = all_in(3, 100);
        assert_eq!(recent.latencies(&counts), all_in(3, 100));
        recent.look(0, || all_in(3, 100), begin + WINDOW);
        counts[5] = 7;
        assert_eq!(recent.latencies(&counts)[3], 100, "the window before counts");
        recent.look(0, || counts, begin + WINDOW * 2);
        assert_eq!(recent.latencies(&counts), all_in(5, 7), "the one before that does not");
        recent.look(0, || counts, begin + WINDOW * 3);
        assert_eq!(recent.latencies(&counts), all_in(5, 0));
    }
}
