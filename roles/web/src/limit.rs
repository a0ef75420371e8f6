//! Rate limits: so many requests in so much time per key, for the whole machine.
//!
//! **Job.** Decide whether one more request of a key is within its rate, and when it would be.
//! **Reads** nothing but its own table; time is handed in. **Called by** `phases` (limit) on every worker at once.
//!
//! The token bucket is kept as GCRA: per key one moment, the *theoretical arrival time*, which lies ahead of now by what
//! the key has used of its burst. That moment and a tag of the key fit into one `AtomicU64`, so workers share the table
//! without a lock: a check is one load and one compare-and-swap in one cache line.
//!
//! Invariants
//! 1. Per slot: never more than `burst + rate * t` admitted in any span `t`, whatever keys share it and in whatever order.
//! 2. Memory never grows: a new key takes an empty slot, else a refilled one, else it joins the least used slot of its
//!    set and inherits what was used there. So flooding the table with keys gains nobody a fresh burst.
//!
//! Not here: which key a request has (`phases`), the fields that tell the client (`limit_fields`).

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::DefaultHashBuilder;
use madang_settings::unit::Rate;

/// Slots of one limiter. 128 KiB: keys that used some of their burst lately; refilled keys need none.
pub(crate) const SLOTS: usize = 16_384;
/// Slots a key may live in: one cache line.
const WAYS: usize = 8;
/// Nanoseconds in a tick: 2^48 ticks are 104 days.
const TICK_NS: u128 = 32;
const TAT_BITS: u32 = 48;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;
/// Longest span a burst may take to refill: well under half the ticks' range.
const WINDOW_TICKS_MAX: u64 = 1 << (TAT_BITS - 2);
/// How often a check starts anew because another worker was faster on its slot; beyond, the request is refused.
const TRIES_MAX: usize = 64;

/// What a limiter says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Whether it may pass.
    pub(crate) admitted: bool,
    /// How many more could pass right now.
    pub(crate) remaining: u32,
    /// When a refused request could pass; zero for an admitted one.
    pub(crate) retry_after: Duration,
    /// When the whole burst is there again.
    pub(crate) refilled_after: Duration,
}

/// One rate over all keys. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Rate,
    born: Instant,
    /// Ticks between requests at the steady rate, rounded up: rounding never admits more.
    interval: u64,
    /// Ticks the arrival time may lie ahead of now: `burst` intervals.
    window: u64,
    hasher: DefaultHashBuilder,
    slots: Box<[AtomicU64]>,
}

impl Limiter {
    /// An empty table; its time begins at `born`.
    pub(crate) fn new(rate: Rate, born: Instant) -> Self {
        Self::with_slots(rate, born, SLOTS)
    }

    fn with_slots(rate: Rate, born: Instant, slots: usize) -> Self {
        let per = rate.period.as_nanos().div_ceil(TICK_NS);
        let interval = per.div_ceil(u128::from(rate.count.max(1))).max(1);
        let window = interval * u128::from(rate.burst.max(1));
        // A burst that takes longer than 26 days to refill is cut to what refills in 26 days.
        let cut = |ticks: u128| u64::try_from(ticks).unwrap_or(u64::MAX).min(WINDOW_TICKS_MAX);
        Self {
            rate,
            born,
            interval: cut(interval),
            window: cut(window),
            hasher: DefaultHashBuilder::default(),
            slots: std::iter::repeat_with(|| AtomicU64::new(0)).take(slots.next_multiple_of(WAYS)).collect(),
        }
    }

    /// The rate it keeps.
    pub(crate) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Counts one request of `key` at `now`. Lock-free; about 30 ns.
    pub(crate) fn check(&self, key: &(impl Hash + ?Sized), now: Instant) -> Allowance {
        let hash = self.hasher.hash_one(key);
        let now = ticks(now.saturating_duration_since(self.born));
        // Tag 0 marks an empty slot.
        let tag = (hash >> TAT_BITS).max(1);
        let sets = self.slots.len() / WAYS;
        let set = usize::try_from(hash & TAT_MASK).unwrap_or(0) % sets * WAYS;
        let Some(set) = self.slots.get(set..set + WAYS) else { return self.allowance(true, 0) };
        for _ in 0..TRIES_MAX {
            let (slot, seen, debt) = self.find(set, tag, now);
            let used = debt + self.interval;
            if used > self.window {
                return self.allowance(false, debt);
            }
            let next = tag << TAT_BITS | (now.wrapping_add(used) & TAT_MASK);
            if slot.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return self.allowance(true, used);
            }
        }
        // Other workers admit on this very slot without pause: it is refused, for the rate is surely used up.
        self.allowance(false, self.window)
    }

    /// The slot of this tag, or the one it takes over; with what it held and how far its arrival time lies ahead.
    fn find<'s>(&self, set: &'s [AtomicU64], tag: u64, now: u64) -> (&'s AtomicU64, u64, u64) {
        let mut best: Option<(&AtomicU64, u64, u64)> = None;
        for slot in set {
            let word = slot.load(Ordering::Acquire);
            let debt = if word == 0 { 0 } else { self.debt(word, now) };
            if word >> TAT_BITS == tag {
                return (slot, word, debt);
            }
            if best.is_none_or(|(_, _, least)| debt < least) {
                best = Some((slot, word, debt));
            }
        }
        // A set is never empty; the first slot stands in for the impossible.
        best.unwrap_or((&set[0], 0, 0))
    }

    /// Ticks by which a slot's arrival time lies ahead of now; 0 for one in the past (or too far ahead to be real).
    fn debt(&self, word: u64, now: u64) -> u64 {
        let ahead = (word & TAT_MASK).wrapping_sub(now) & TAT_MASK;
        // A worker may be handed a `now` slightly before the one that wrote: hence the slack of a second burst.
        if ahead <= self.window.saturating_mul(2) { ahead } else { 0 }
    }

    fn allowance(&self, admitted: bool, debt: u64) -> Allowance {
        let left = self.window.saturating_sub(debt) / self.interval;
        let wait = (debt + self.interval).saturating_sub(self.window);
        Allowance {
            admitted,
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            retry_after: if admitted { Duration::ZERO } else { duration(wait) },
            refilled_after: duration(debt),
        }
    }
}

fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_nanos() / TICK_NS).unwrap_or(u64::MAX) & TAT_MASK
}

fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_host::clock;
    use madang_settings::unit::RateKey;
    use proptest::prelude::*;

    fn rate(count: u32, per_ms: u64, burst: u32) -> Rate {
        Rate { count, period: Duration::from_millis(per_ms), burst, key: RateKey::All }
    }

    // Goal: a burst passes, the next is refused with the time to wait, and after that time exactly one passes.
    #[test]
    fn a_used_up_burst_refills_at_the_rate() {
        let born = clock::now();
        let limiter = Limiter::new(rate(10, 1000, 3), born);
        for remaining in [2, 1, 0] {
            let allowance = limiter.check("a", born);
            assert_eq!((allowance.admitted, allowance.remaining), (true, remaining));
        }
        let refused = limiter.check("a", born);
        assert_eq!((refused.admitted, refused.retry_after), (false, Duration::from_millis(100)));
        assert_eq!(refused.refilled_after, Duration::from_millis(300));
        assert!(limiter.check("b", born).admitted, "another key has its own burst");

        let just_before = born + Duration::from_micros(99_999);
        assert!(!limiter.check("a", just_before).admitted);
        let then = born + Duration::from_millis(100);
        assert!(limiter.check("a", then).admitted);
        assert!(!limiter.check("a", then).admitted);
    }

    // Goal: a long-idle key has its full burst again and not more, also past the wrap of the tick counter.
    #[test]
    fn idle_keys_are_full_again_after_any_time() {
        check(Duration::from_secs(1));
        check(Duration::from_secs(3600));
        check(Duration::from_secs(40 * 86400));
        check(Duration::from_secs(104 * 86400));
        check(Duration::from_secs(1000 * 86400));

        #[track_caller]
        fn check(idle: Duration) {
            let born = clock::now();
            let limiter = Limiter::new(rate(10, 1000, 3), born);
            while limiter.check("a", born).admitted {}
            let admitted = (0..10).filter(|_| limiter.check("a", born + idle).admitted).count();
            assert_eq!(admitted, 3, "after {idle:?}");
        }
    }

    // Goal: eight workers that hammer one key at once get the burst between them, not each.
    #[test]
    fn all_workers_share_one_burst() {
        let born = clock::now();
        let limiter = Limiter::new(rate(60, 3_600_000, 1000), born);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        admitted.fetch_add(u64::from(limiter.check("a", born).admitted), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1000);
    }

    proptest! {
        // Goal: never more than burst + rate * t, for any rate, burst and schedule.
        // Method: random steps of time; count what was admitted since every earlier moment.
        #[test]
        fn no_schedule_is_admitted_beyond_burst_and_rate(
            count in 1_u32..1000, per_ms in 1_u64..5000, burst in 1_u32..50,
            steps in prop::collection::vec(0_u64..200_000, 1..200),
        ) {
            let born = clock::now();
            let limiter = Limiter::new(rate(count, per_ms, burst), born);
            let (mut now, mut admitted) = (0_u64, Vec::new());
            for step in steps {
                now += step; // microseconds
                if limiter.check(&7, born + Duration::from_micros(now)).admitted {
                    admitted.push(now);
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                for (further, to) in admitted[index..].iter().enumerate() {
                    let allowed = f64::from(burst) + f64::from(count) * (to - from) as f64 / (per_ms as f64 * 1e3);
                    prop_assert!((further + 1) as f64 <= allowed + 1e-9);
                }
            }
        }

        // Goal: however many keys, a full table admits no more than its slots times the burst.
        // Method: a table of one set, far more keys than slots, no time passing.
        #[test]
        fn a_flood_of_keys_gains_no_fresh_bursts(keys in prop::collection::vec(0_u32..1000, 0..600)) {
            let born = clock::now();
            let limiter = Limiter::with_slots(rate(1, 1000, 3), born, WAYS);
            let admitted = keys.iter().filter(|key| limiter.check(key, born).admitted).count();
            prop_assert!(admitted <= WAYS * 3);
        }
    }
}
