//! Deadlines for work in flight, checked by the worker's sweep.
//!
//! **Job.** Wake a task when its time is up, at the cost of a slot in a table instead of a timer per request.
//! **Called by** the upstream client. **Calls** nothing of ours.
//!
//! Invariants
//! 1. A deadline is never early, and late by at most one sweep (250 ms): good for timeouts of seconds, not for pacing.
//! 2. A dropped deadline leaves nothing behind.
//!
//! Not here: limits of connections (`connection`), which know phases and rates.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

/// One worker's deadlines.
#[derive(Default)]
pub struct Deadlines {
    now_ms: std::cell::Cell<u64>,
    table: RefCell<Slab<Entry>>,
}

struct Entry {
    at_ms: u64,
    waker: Option<Waker>,
}

/// One deadline. Dropping it forgets it.
pub struct Deadline {
    all: Rc<Deadlines>,
    key: usize,
}

impl Deadlines {
    /// Time passes: called by the sweep with the coarse clock. Tasks whose time is up are woken.
    pub fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        for (_, entry) in self.table.borrow_mut().iter_mut() {
            if entry.at_ms <= now_ms
                && let Some(waker) = entry.waker.take()
            {
                waker.wake();
            }
        }
    }

    /// A deadline `after` from now.
    pub fn after(self: &Rc<Self>, after: Duration) -> Deadline {
        let key = self.table.borrow_mut().insert(Entry { at_ms: self.at(after), waker: None });
        Deadline { all: Rc::clone(self), key }
    }

    /// The coarse clock may be a sweep behind: rounded up, so that nobody is cut early.
    fn at(&self, after: Duration) -> u64 {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let sweep = u64::try_from(crate::worker::SWEEP.as_millis()).unwrap_or(0);
        self.now_ms.get().saturating_add(after).saturating_add(sweep)
    }
}

impl Deadline {
    /// Begins anew.
    pub fn set(&self, after: Duration) {
        let at_ms = self.all.at(after);
        if let Some(entry) = self.all.table.borrow_mut().get_mut(self.key) {
            entry.at_ms = at_ms;
        }
    }

    /// Ready once the time is up; else the task is woken then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut table = self.all.table.borrow_mut();
        let Some(entry) = table.get_mut(self.key) else { return Poll::Pending };
        if entry.at_ms <= self.all.now_ms.get() {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.table.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: never early, at most a sweep late, and forgotten when dropped.
    #[test]
    fn deadlines_wake_once_their_time_is_up() {
        let all = Rc::<Deadlines>::default();
        let cx = Context::from_waker(Waker::noop());
        all.tick(1000);
        let deadline = all.after(Duration::from_millis(500));
        assert!(deadline.poll(&cx).is_pending());
        all.tick(1500);
        assert!(deadline.poll(&cx).is_pending(), "the clock that set it may have been a sweep behind");
        all.tick(1750);
        assert!(deadline.poll(&cx).is_ready());
        deadline.set(Duration::from_secs(1));
        assert!(deadline.poll(&cx).is_pending());
        drop(deadline);
        assert!(all.table.borrow().is_empty());
    }
}
