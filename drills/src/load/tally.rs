//! What was sent and what came of it.
//!
//! **Job.** Count each message's deliveries and their times; say which did not come as often as they should.
//! **Called by** `load`, `crowd`. Pure.

use crate::speak::stamp::Stamp;

/// One order's counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// The number of the first message of this order.
    first: u32,
    /// Of each message, how often it came.
    came: Vec<u32>,
    /// Of each delivery, microseconds since its message was due.
    times_us: Vec<u32>,
    sorted: bool,
    pub(super) delivered: u64,
    pub(super) acked: u64,
    /// Deliveries of earlier orders' messages: each is one too many.
    strays: u32,
    pub(super) late_ns: u64,
}

impl Tally {
    /// For messages from number `first` on.
    pub(super) fn new(first: u32) -> Self {
        Self {
            first,
            came: Vec::new(),
            times_us: Vec::new(),
            sorted: false,
            delivered: 0,
            acked: 0,
            strays: 0,
            late_ns: 0,
        }
    }

    /// One more message is sent.
    pub(super) fn sent(&mut self) {
        self.came.push(0);
    }

    /// So many were sent.
    pub(super) fn messages(&self) -> u32 {
        u32::try_from(self.came.len()).unwrap_or(u32::MAX)
    }

    /// A message came to somebody.
    pub(super) fn came(&mut self, stamp: Stamp, now_ns: u64) {
        let place = stamp.number.checked_sub(self.first).and_then(|at| self.came.get_mut(at as usize));
        let Some(count) = place else {
            self.strays += 1;
            return;
        };
        *count += 1;
        self.delivered += 1;
        self.sorted = false;
        self.times_us.push(u32::try_from(now_ns.saturating_sub(stamp.due_ns) / 1_000).unwrap_or(u32::MAX));
    }

    /// How many messages came more or less often than `each` times.
    pub(super) fn wrong(&self, each: u32) -> u32 {
        let wrong = self.came.iter().filter(|came| **came != each).count();
        u32::try_from(wrong).unwrap_or(u32::MAX).saturating_add(self.strays)
    }

    /// The time within which this share of the deliveries came.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index: below the length
    pub(super) fn percentile_ms(&mut self, share: f64) -> f64 {
        if !self.sorted {
            self.times_us.sort_unstable();
            self.sorted = true;
        }
        let last = self.times_us.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.times_us.get(at).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: nothing that came too rarely, too often or at the wrong time makes a valid count.
    #[test]
    fn every_message_counts_for_itself() {
        check(&[10, 10, 11, 11], 0);
        check(&[10, 11, 11], 1);
        check(&[10, 10, 10, 11], 2);
        check(&[10, 10, 11, 11, 9], 1);
        check(&[10, 10, 11, 11, 12], 1);

        #[track_caller]
        fn check(numbers: &[u32], wrong: u32) {
            let mut tally = Tally::new(10);
            tally.sent();
            tally.sent();
            for number in numbers {
                tally.came(Stamp { due_ns: 0, number: *number }, 1_000);
            }
            assert_eq!(tally.wrong(2), wrong, "{numbers:?}");
        }
    }

    #[test]
    fn percentiles_are_of_all_deliveries() {
        let mut tally = Tally::new(0);
        tally.sent();
        for ms in (0..=100).rev() {
            tally.came(Stamp { due_ns: 500, number: 0 }, ms * 1_000_000 + 500);
        }
        let at = [0.5, 0.99, 1.0].map(|share| tally.percentile_ms(share));
        assert_eq!((at, tally.delivered), ([50.0, 99.0, 100.0], 101));
    }
}
