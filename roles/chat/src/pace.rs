//! How fast somebody may do something.
//!
//! **Job.** A token bucket. **Called by** `hub`. **Calls** nothing.
//!
//! Invariants
//! 1. Over any time nobody gets more than the burst and what was earned since.
//! 2. Time is handed in.
//!
//! Not here: what it is for.

use std::time::{Duration, Instant};

/// How fast: so many in one go, then one each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In one go, at least 1.
    pub burst: u32,
    /// One more each.
    pub every: Duration,
}

/// What somebody has left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    tokens: u32,
    /// What was earned before is counted.
    since: Instant,
}

impl Pace {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, since: now }
    }

    /// Takes one; or how long to wait for it.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let every = rate.every.max(Duration::from_micros(1));
        let passed = now.saturating_duration_since(self.since);
        let earned = u32::try_from(passed.as_nanos() / every.as_nanos()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(rate.burst);
            self.since += every.saturating_mul(earned);
            if self.tokens == rate.burst {
                self.since = now;
            }
        }
        if self.tokens == 0 {
            return Err(every.saturating_sub(now.saturating_duration_since(self.since)));
        }
        self.tokens -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { burst: 2, every: Duration::from_secs(1) };

    // Goal: how long to wait is said exactly.
    #[test]
    fn the_wait_is_named() {
        let now = madang_host::clock::now();
        let mut pace = Pace::new(RATE, now);
        assert!(pace.take(RATE, now).is_ok() && pace.take(RATE, now).is_ok());
        assert_eq!(pace.take(RATE, now + Duration::from_millis(400)), Err(Duration::from_millis(600)));
        assert!(pace.take(RATE, now + Duration::from_secs(1)).is_ok());
    }

    proptest! {
        // Goal: invariant 1.
        #[test]
        fn no_haste_gets_more(gaps in prop::collection::vec(0_u64..3_000, 1..100)) {
            let start = madang_host::clock::now();
            let (mut pace, mut now, mut taken) = (Pace::new(RATE, start), start, 0);
            for gap in gaps {
                now += Duration::from_millis(gap);
                taken += u64::from(pace.take(RATE, now).is_ok());
                prop_assert!(taken <= 2 + (now - start).as_secs());
            }
        }
    }
}
