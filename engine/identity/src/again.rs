//! When an issuer's keys are read anew.
//!
//! **Job.** Say whether it is time. **Called by** `keep`. Pure: time comes in.
//!
//! Invariants
//! 1. However many tokens name a key we do not have, keys are read at most once in [`MISSED_MS`]: made-up names are no way to make us
//!    flood an issuer.
//! 2. What failed is tried again after a second, then two, four, … up to a minute.
//!
//! Not here: reading (`keep`).

use std::time::Duration;

/// After a token named an unknown key, the earliest next reading. Milliseconds.
const MISSED_MS: u64 = 30_000;
const FIRST_MS: u64 = 1_000;
const LAST_MS: u64 = 60_000;

/// When keys were read and how it went.
#[derive(Debug, Default)]
pub(crate) struct Again {
    next_ms: u64,
    read_ms: u64,
    misses: u64,
    failures: u32,
}

impl Again {
    /// Whether it is time. `misses`: how many tokens ever named a key that is not known.
    pub(crate) fn is_due(&self, misses: u64, now_ms: u64) -> bool {
        now_ms >= self.next_ms
            || (self.failures == 0
                && misses > self.misses
                && now_ms >= self.read_ms.saturating_add(MISSED_MS))
    }

    /// They were read, or not.
    pub(crate) fn read(&mut self, worked: bool, every: Duration, misses: u64, now_ms: u64) {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.failures = if worked { 0 } else { self.failures.saturating_add(1) };
        let wait = match self.failures.checked_sub(1) {
            None => every_ms,
            Some(before) => (FIRST_MS << before.min(16)).min(LAST_MS).min(every_ms),
        };
        (self.next_ms, self.read_ms, self.misses) = (now_ms.saturating_add(wait), now_ms, misses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(3600);

    // Goal: keys are read by the hour, sooner for an unknown key, and a storm of made-up keys changes nothing.
    #[test]
    fn keys_are_read_by_the_hour_and_when_one_is_missing() {
        let mut again = Again::default();
        assert!(again.is_due(0, 0), "at the start");
        again.read(true, EVERY, 0, 1_000);
        assert!(!again.is_due(0, 3_600_999) && again.is_due(0, 3_601_000));
        assert!(!again.is_due(1, 30_999), "not half a minute later yet");
        assert!(again.is_due(1, 31_000));
        again.read(true, EVERY, 1, 31_000);
        let readings = (31_000..331_000).step_by(100).filter(|now| {
            let due = again.is_due(*now, *now);
            if due {
                again.read(true, EVERY, *now, *now);
            }
            due
        });
        assert_eq!(readings.count(), 9, "five minutes of made-up keys");
    }

    // Goal: an issuer that is down is asked after 1, 2, 4 … 60 s, whatever tokens name.
    #[test]
    fn what_failed_is_tried_again_ever_later() {
        let (mut again, mut now, mut waits) = (Again::default(), 0, Vec::new());
        for misses in 0..9 {
            again.read(false, EVERY, misses, now);
            let due = (now..).step_by(500).find(|at| again.is_due(u64::MAX, *at)).unwrap();
            waits.push((due - now) / 1000);
            now = due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        again.read(true, EVERY, 0, now);
        assert!(!again.is_due(0, now + 60_000));
    }
}
