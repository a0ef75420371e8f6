//! How often something happened: since the start, and in the last minute.
//!
//! **Job.** Count by the second. Pure. **Called by** `super`.
//!
//! Not here: what is counted.

use std::time::Instant;

const SECONDS: usize = 60;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    all: u64,
    begun: Option<Instant>,
    /// Counts of a second, and which one it is.
    slots: [(u64, u64); SECONDS],
}

impl Default for Recent {
    fn default() -> Self {
        Self { all: 0, begun: None, slots: [(0, u64::MAX); SECONDS] }
    }
}

impl Recent {
    /// Once more.
    pub(super) fn add(&mut self, now: Instant) {
        self.all += 1;
        let second = now.saturating_duration_since(*self.begun.get_or_insert(now)).as_secs();
        let slot = &mut self.slots[usize::try_from(second).unwrap_or(0) % SECONDS];
        if slot.1 != second {
            *slot = (0, second);
        }
        slot.0 += 1;
    }

    /// Since the start.
    pub(super) const fn all(&self) -> u64 {
        self.all
    }

    /// In the last 60 seconds.
    pub(super) fn minute(&self, now: Instant) -> u64 {
        let Some(begun) = self.begun else { return 0 };
        let second = now.saturating_duration_since(begun).as_secs();
        let young = |slot: &&(u64, u64)| slot.1 <= second && second - slot.1 < SECONDS as u64;
        self.slots.iter().filter(young).map(|slot| slot.0).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // Goal: what is older than a minute is not counted in it, and never forgotten in the whole.
    #[test]
    fn a_minute_forgets_and_the_whole_does_not() {
        let begun = madang_host::clock::now();
        let mut recent = Recent::default();
        assert_eq!(recent.minute(begun), 0);
        for second in 0..90 {
            recent.add(begun + Duration::from_secs(second));
            recent.add(begun + Duration::from_secs(second));
        }
        assert_eq!((recent.all(), recent.minute(begun + Duration::from_secs(89))), (180, 120));
        assert_eq!(recent.minute(begun + Duration::from_secs(119)), 60);
        assert_eq!(recent.minute(begun + Duration::from_secs(1000)), 0);
    }
}
