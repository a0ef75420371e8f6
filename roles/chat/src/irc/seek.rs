//! A moment in a log: the first entry that is not before it.
//!
//! **Job.** Say which entry to look at next, until it is found. Offsets and times grow together, so each look halves what is left.
//! **Called by** `history`, `marks`. Pure.
//!
//! Invariants
//! 1. A log of any length needs at most 65 looks.
//!
//! Not here: reading the log (`hub`).

use crate::ask::{History, Skipped};
use crate::event::Event;
use crate::reply::Past;

/// The first offset whose time is `time` or later: `low` or behind it, at most `high`.
#[derive(Debug)]
pub(super) struct Seek {
    time: u64,
    low: u64,
    /// Not known before the first page came.
    high: Option<u64>,
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Read so many entries behind this one; without one: the newest.
    Read(Option<u64>, usize),
    /// This is the first offset that is not before the moment; it may be one that nothing has yet.
    Found(u64),
}

impl Seek {
    /// For this moment, in milliseconds since 1970.
    pub(super) fn new(time: u64) -> Self {
        Self { time, low: 0, high: None }
    }

    /// What is to be done next.
    pub(super) fn look(&self) -> Look {
        match self.high {
            None => Look::Read(None, 1),
            Some(high) if self.low < high => Look::Read(Some(self.middle().saturating_sub(1)), 1),
            Some(found) => Look::Found(found),
        }
    }

    /// What was read came.
    pub(super) fn take(&mut self, past: &Past) {
        match self.high {
            None => (self.low, self.high) = (past.first, Some(past.next)),
            Some(_) => self.halve(past.events.first()),
        }
    }

    fn middle(&self) -> u64 {
        self.high.map_or(self.low, |high| self.low + high.saturating_sub(self.low) / 2)
    }

    /// The first event at the middle or behind it came; `None`: there is none.
    fn halve(&mut self, event: Option<&Event>) {
        let middle = self.middle();
        match event {
            Some(event) if event.at_ms < self.time => self.low = event.offset.max(middle) + 1,
            _ => self.high = Some(middle),
        }
        if self.high.is_some_and(|high| self.low > high) {
            self.high = Some(self.low);
        }
    }
}

/// The question for some entries of a log: those behind `after`, or before `before`, or the newest.
pub(super) fn page(room: &str, before: Option<u64>, after: Option<u64>, limit: usize) -> History {
    History { kind: Skipped, id: Skipped, room: room.to_owned(), before, after, limit: Some(limit) }
}
