//! What is counted about pools and servers.
//!
//! **Job.** Give each worker its own block of a server's and a pool's counters; sum them when read. **Written by** `here`, on the
//! path of every request. **Read by** the keeper, for metrics and status.
//!
//! Invariants
//! 1. A block is written by one worker: plain load and store, no read-modify-write, no line shared with another writer.
//! 2. A server's blocks live as long as the server, a pool's as long as its name is in the settings: over reloads, counters
//!    never go back.
//! 3. What is counted by is an index known to the compiler: no text is made or looked up where it is counted.
//!
//! Not here: how it is told (`families`, `view`), what the control side alone sees (`chronicle`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use madang_host::telemetry::metrics::{BUCKETS, Counter, Histogram};
use madang_http::upstream::ConnectionTally;

use crate::breaker::Change;
use crate::pick::{NoneUp, Rule, Tier, Why};
use crate::retry::{Failure, WhyNot};
use crate::server::Outcome;

/// Blocks of all workers.
pub struct Ledgers<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Ledgers<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> fmt::Debug for Ledgers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledgers")
    }
}

impl<T: Default> Ledgers<T> {
    /// One worker's block. Rare: a worker keeps it.
    pub(crate) fn block(&self) -> Arc<T> {
        let block = Arc::new(T::default());
        // Counters are whole numbers: there is no half-made state to fear.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&block));
        block
    }

    /// One number of all workers.
    pub(crate) fn sum(&self, of: impl Fn(&T) -> u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|block| of(block)).sum()
    }
}

/// The texts of an enum's values, in the order of their indexes.
pub(crate) const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Good, "good"),
    (Outcome::Error, "error"),
    (Outcome::NotConnected, "not-connected"),
    (Outcome::Broken, "broken"),
    (Outcome::Late, "late"),
    (Outcome::Nonsense, "nonsense"),
    (Outcome::Abandoned, "abandoned"),
];
pub(crate) const RULES: [(Rule, &str); 8] = [
    (Rule::RoundRobin, "round-robin"),
    (Rule::LeastConnections, "least-connections"),
    (Rule::TwoChoices, "two-choices"),
    (Rule::LeastTime, "least-time"),
    (Rule::Hash, "hash"),
    (Rule::HashNext, "hash-next"),
    (Rule::Sticky, "sticky"),
    (Rule::Trial, "drawn"),
];
pub(crate) const TIERS: [(Tier, &str); 5] = [
    (Tier::Primary, "primary"),
    (Tier::Backup, "backup"),
    (Tier::Trial, "trial"),
    (Tier::Panic, "panic"),
    (Tier::Again, "again"),
];
pub(crate) const NOBODY: [(NoneUp, &str); 4] = [
    (NoneUp::Empty, "none-in-rotation"),
    (NoneUp::NoAddress, "no-address"),
    (NoneUp::Sick, "none-up"),
    (NoneUp::CircuitsOpen, "circuits-open"),
];
pub(crate) const WHY_NOT: [(WhyNot, &str); 8] = [
    (WhyNot::AnswerBegun, "answer-begun"),
    (WhyNot::NotSafe, "not-safe"),
    (WhyNot::BodyGone, "body-not-kept"),
    (WhyNot::NotListed, "not-listed"),
    (WhyNot::Attempts, "attempts"),
    (WhyNot::Deadline, "deadline"),
    (WhyNot::RetryAfter, "retry-after"),
    (WhyNot::Budget, "budget"),
];
/// Why a request was tried again; the last: the server had closed an idle connection.
pub(crate) const RETRIED: [&str; 6] = ["connect", "reset", "timeout", "bad-answer", "status", "stale"];

/// One server on one worker. Aligned so that two workers' blocks share no line (two lines: the CPU fetches pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServerLedger {
    outcomes: [Counter; OUTCOMES.len()],
    picks: [[Counter; TIERS.len()]; RULES.len()],
    circuit_opened: Counter,
    circuit_closed: Counter,
    first_byte: Histogram,
    /// Written by the upstream client.
    pub(crate) connections: Arc<ConnectionTally>,
}

impl ServerLedger {
    /// An attempt ended, or its answer began.
    pub(crate) fn attempt(&self, outcome: Outcome, took: Duration, circuit: Change) {
        self.outcomes[outcome as usize].add(1);
        if matches!(outcome, Outcome::Good | Outcome::Error) {
            self.first_byte.observe(took);
        }
        match circuit {
            Change::None => {}
            Change::Opened => self.circuit_opened.add(1),
            Change::Closed => self.circuit_closed.add(1),
        }
    }

    /// It was chosen.
    pub(crate) fn picked(&self, why: Why) {
        self.picks[why.rule as usize][why.tier as usize].add(1);
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    pub(crate) fn picks(&self, rule: Rule, tier: Tier) -> u64 {
        self.picks[rule as usize][tier as usize].get()
    }

    pub(crate) fn circuit(&self) -> (u64, u64) {
        (self.circuit_opened.get(), self.circuit_closed.get())
    }

    pub(crate) const fn first_byte(&self) -> &Histogram {
        &self.first_byte
    }
}

impl Ledgers<ServerLedger> {
    /// How long first bytes took, by bucket, and the sum in microseconds.
    pub(crate) fn first_bytes(&self) -> ([u64; BUCKETS], u64) {
        let mut all = [0; BUCKETS];
        for (bucket, count) in all.iter_mut().enumerate() {
            *count = self.sum(|block| block.first_byte().bucket(bucket));
        }
        (all, self.sum(|block| block.first_byte().sum_us()))
    }
}

/// One pool on one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PoolLedger {
    retried: [Counter; RETRIED.len()],
    not_retried: [Counter; WHY_NOT.len()],
    nobody: [Counter; NOBODY.len()],
    pub(crate) queue_entered: Counter,
    pub(crate) queue_left: Counter,
    pub(crate) queue_timeouts: Counter,
    pub(crate) queue_full: Counter,
}

impl PoolLedger {
    /// It is tried again; `stale`: because the server had closed an idle connection.
    pub(crate) fn retried(&self, failure: Failure, stale: bool) {
        let at = match failure {
            _ if stale => 5,
            Failure::NotConnected => 0,
            Failure::Broken => 1,
            Failure::Late => 2,
            Failure::Nonsense => 3,
            Failure::Status(_) => 4,
        };
        self.retried[at].add(1);
    }

    /// It is not.
    pub(crate) fn not_retried(&self, why: WhyNot) {
        self.not_retried[why as usize].add(1);
    }

    /// Nobody could take it.
    pub(crate) fn nobody(&self, why: NoneUp) {
        self.nobody[why as usize].add(1);
    }

    pub(crate) fn retries(&self, at: usize) -> u64 {
        self.retried.get(at).map_or(0, Counter::get)
    }

    pub(crate) fn refused_retries(&self, why: WhyNot) -> u64 {
        self.not_retried[why as usize].get()
    }

    pub(crate) fn nobodies(&self, why: NoneUp) -> u64 {
        self.nobody[why as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every table names each value at the place it is counted at. Method: indexes beside places.
    #[test]
    fn the_tables_are_in_the_order_of_their_values() {
        assert!(OUTCOMES.iter().enumerate().all(|(at, (outcome, _))| *outcome as usize == at));
        assert!(RULES.iter().enumerate().all(|(at, (rule, _))| *rule as usize == at));
        assert!(TIERS.iter().enumerate().all(|(at, (tier, _))| *tier as usize == at));
        assert!(NOBODY.iter().enumerate().all(|(at, (why, _))| *why as usize == at));
        assert!(WHY_NOT.iter().enumerate().all(|(at, (why, _))| *why as usize == at));
    }

    #[test]
    fn what_workers_count_apart_is_read_as_one() {
        let ledgers: Ledgers<ServerLedger> = Ledgers::default();
        let blocks = [ledgers.block(), ledgers.block()];
        for block in &blocks {
            block.attempt(Outcome::Good, Duration::from_millis(3), Change::None);
            block.attempt(Outcome::Late, Duration::from_secs(9), Change::Opened);
            block.picked(Why { rule: Rule::Sticky, tier: Tier::Primary });
        }
        assert_eq!(ledgers.sum(|block| block.outcome(Outcome::Good)), 2);
        assert_eq!(ledgers.sum(|block| block.picks(Rule::Sticky, Tier::Primary)), 2);
        assert_eq!(ledgers.sum(|block| block.circuit().0), 2);
        // A failure is no first byte.
        let (buckets, sum_us) = ledgers.first_bytes();
        assert_eq!((buckets.iter().sum::<u64>(), sum_us), (2, 6_000));
        // Two workers never write to one line.
        assert_eq!(std::mem::align_of_val(&*blocks[0]), 128);
    }
}
