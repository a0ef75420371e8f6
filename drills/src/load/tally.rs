//! What was sent and what came of it.
//!
//! **Job.** Count each message's deliveries and their times; say which did not come as often as they should.
//! **Called by** `load`, `crowd`. Pure.

use serde::Serialize;

use crate::speak::stamp::Stamp;

/// One order's counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// The number of the first message of this order.
    first: u32,
    /// Of each message, how often it came.
    came: Vec<u32>,
    /// Of each message, microseconds of its slowest delivery.
    slowest_us: Vec<u32>,
    /// Of each message, microseconds by which it was sent late.
    late_us: Vec<u32>,
    /// Of each delivery, microseconds since its message was due.
    times_us: Vec<u32>,
    sorted: bool,
    pub(super) delivered: u64,
    pub(super) acked: u64,
    /// Deliveries of earlier orders' messages: each is one too many.
    strays: u32,
}

impl Tally {
    /// For messages from number `first` on.
    pub(super) fn new(first: u32) -> Self {
        Self {
            first,
            came: Vec::new(),
            slowest_us: Vec::new(),
            late_us: Vec::new(),
            times_us: Vec::new(),
            sorted: false,
            delivered: 0,
            acked: 0,
            strays: 0,
        }
    }

    /// One more message is sent, so many nanoseconds after it was due.
    pub(super) fn sent(&mut self, late_ns: u64) {
        self.came.push(0);
        self.slowest_us.push(0);
        self.late_us.push(microseconds(late_ns));
    }

    /// So many were sent.
    pub(super) fn messages(&self) -> u32 {
        u32::try_from(self.came.len()).unwrap_or(u32::MAX)
    }

    /// A message came to somebody.
    pub(super) fn came(&mut self, stamp: Stamp, now_ns: u64) {
        let at = stamp.number.checked_sub(self.first).map_or(usize::MAX, |at| at as usize);
        let (Some(count), Some(slowest)) = (self.came.get_mut(at), self.slowest_us.get_mut(at)) else {
            self.strays += 1;
            return;
        };
        let took = microseconds(now_ns.saturating_sub(stamp.due_ns));
        *count += 1;
        *slowest = took.max(*slowest);
        self.delivered += 1;
        self.sorted = false;
        self.times_us.push(took);
    }

    /// How many messages came more or less often than `each` times.
    pub(super) fn wrong(&self, each: u32) -> u32 {
        let wrong = self.came.iter().filter(|came| **came != each).count();
        u32::try_from(wrong).unwrap_or(u32::MAX).saturating_add(self.strays)
    }

    /// By how much the latest message was sent late.
    pub(super) fn late_ms(&self) -> f64 {
        self.late_us.iter().max().map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }

    /// Of the messages of each second, at `rate` a second: the slowest delivery, and by how much the latest was sent late.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate is at most 1e6
    pub(super) fn by_second(&self, rate: f64) -> Vec<Second> {
        let each = rate.round().max(1.0) as usize;
        let most = |us: &[u32]| us.iter().max().map_or(0.0, |us| f64::from(*us) / 1_000.0);
        let seconds = self.slowest_us.chunks(each).zip(self.late_us.chunks(each));
        seconds.map(|(slowest, late)| Second { longest_ms: most(slowest), late_ms: most(late) }).collect()
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

fn microseconds(ns: u64) -> u32 {
    u32::try_from(ns / 1_000).unwrap_or(u32::MAX)
}

/// What became of the messages that were due in one second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Second {
    longest_ms: f64,
    late_ms: f64,
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
            tally.sent(0);
            tally.sent(0);
            for number in numbers {
                tally.came(Stamp { due_ns: 0, number: *number }, 1_000);
            }
            assert_eq!(tally.wrong(2), wrong, "{numbers:?}");
        }
    }

    #[test]
    fn percentiles_are_of_all_deliveries() {
        let mut tally = Tally::new(0);
        tally.sent(0);
        for ms in (0..=100).rev() {
            tally.came(Stamp { due_ns: 500, number: 0 }, ms * 1_000_000 + 500);
        }
        let at = [0.5, 0.99, 1.0].map(|share| tally.percentile_ms(share));
        assert_eq!((at, tally.delivered), ([50.0, 99.0, 100.0], 101));
    }

    // Goal: what went wrong for a moment is seen at that moment, and the generator's own lateness beside it.
    #[test]
    fn a_bad_second_is_found() {
        let mut tally = Tally::new(0);
        for (number, took_ms, late_ms) in [(0, 4, 0), (1, 3, 1), (2, 700, 0), (3, 5, 0), (4, 6, 2)] {
            tally.sent(late_ms * 1_000_000);
            tally.came(Stamp { due_ns: 0, number }, 1_000_000);
            tally.came(Stamp { due_ns: 0, number }, took_ms * 1_000_000);
        }
        let found: Vec<_> = tally.by_second(2.0).iter().map(|one| (one.longest_ms, one.late_ms)).collect();
        assert_eq!(found, [(4.0, 1.0), (700.0, 0.0), (6.0, 2.0)]);
        assert_eq!(tally.late_ms(), 2.0);
    }
}
