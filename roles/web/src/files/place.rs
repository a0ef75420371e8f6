//! A place among a few: work that may go on so many times at once on one worker.
//!
//! **Job.** Count, refuse beyond the limit, give back when dropped. **Called by** `listing`, `upload`.
//!
//! Not here: what the work is.

use std::cell::Cell;
use std::rc::Rc;

/// See the module.
pub(super) struct Place(Rc<Cell<u32>>);

impl Place {
    /// A place, unless `max` are taken.
    pub(super) fn take(count: &Rc<Cell<u32>>, max: u32) -> Option<Self> {
        if count.get() >= max {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(Rc::clone(count)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
