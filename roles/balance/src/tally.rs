//! What a pool did beside plain proxying, counted.
//!
//! **Job.** Counters and gauges of a pool that all workers write and every snapshot shares. **Written by** `ways`, `mirror`,
//! `hedge`, `hold`. **Read by** the keeper's view, for status and metrics.
//!
//! Invariants
//! 1. Nothing here is touched by a request that does none of these things: the plain path shares no line between workers.
//! 2. Counts only grow, over reloads too; `waiting` is how many wait now.
//!
//! Not here: counts by server (`server`).

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    pub(crate) split: Count,
    pub(crate) mirrored: Count,
    pub(crate) mirror_skipped: Count,
    pub(crate) hedged: Count,
    pub(crate) hedge_won: Count,
    pub(crate) held: Count,
    pub(crate) hold_refused: Count,
    pub(crate) waiting: Count,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TallyView {
    /// Requests that a route's `split` sent here.
    pub split: u64,
    /// Requests that were copied to this pool.
    pub mirrored: u64,
    /// Requests that were not: the body was not kept, or too many were under way.
    pub mirror_skipped: u64,
    /// Requests that a second server was asked for.
    pub hedged: u64,
    /// Those among them that the second answered first.
    pub hedge_won: u64,
    /// Requests that waited because nobody was up, or the pool was held.
    pub held: u64,
    /// Those that waited in vain, or found no room to wait.
    pub hold_refused: u64,
    /// Requests that wait so now.
    pub waiting: u64,
}

impl Tally {
    /// Now.
    pub fn view(&self) -> TallyView {
        TallyView {
            split: self.split.get(),
            mirrored: self.mirrored.get(),
            mirror_skipped: self.mirror_skipped.get(),
            hedged: self.hedged.get(),
            hedge_won: self.hedge_won.get(),
            held: self.held.get(),
            hold_refused: self.hold_refused.get(),
            waiting: self.waiting.get(),
        }
    }
}
