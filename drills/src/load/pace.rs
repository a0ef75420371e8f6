//! Who says something when.
//!
//! **Job.** The moments of a constant pace, and whose turn it is: rooms in turn, in each room its members in turn.
//! **Called by** `load`. Pure.
//!
//! Invariants
//! 1. The n-th message is due at begin + n / rate, whatever happened to those before it.

/// A constant pace for a while.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    began_ns: u64,
    rate: f64,
    messages: u64,
    next: u64,
    rooms: u32,
    members: u32,
}

impl Pace {
    /// `rate` messages a second for `seconds`, over all rooms.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded: at most 1e6/s for 600 s
    pub(super) fn new(began_ns: u64, rate: f64, seconds: f64, rooms: u32, members: u32) -> Self {
        Self { began_ns, rate, messages: (rate * seconds).round() as u64, next: 0, rooms, members }
    }

    /// When the next message is due; `None`: all were taken.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as above
    pub(super) fn due_ns(&self) -> Option<u64> {
        (self.next < self.messages).then(|| self.began_ns + (self.next as f64 * 1e9 / self.rate) as u64)
    }

    /// The room and the member whose turn it is.
    pub(super) fn take(&mut self) -> (u32, u32) {
        let (rooms, members) = (u64::from(self.rooms), u64::from(self.members));
        let turn = (self.next % rooms, self.next / rooms % members);
        self.next += 1;
        (u32::try_from(turn.0).unwrap_or_default(), u32::try_from(turn.1).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the pace keeps to its rate, and everybody has the same number of turns.
    #[test]
    fn a_pace_is_even() {
        let mut pace = Pace::new(1_000, 100.0, 2.0, 4, 5);
        let mut turns = std::collections::BTreeMap::new();
        let mut dues = Vec::new();
        while let Some(due) = pace.due_ns() {
            dues.push(due);
            *turns.entry(pace.take()).or_insert(0) += 1;
        }
        assert_eq!((dues.len(), dues[0], dues[199]), (200, 1_000, 1_990_001_000));
        assert_eq!((turns.len(), turns.values().min(), turns.values().max()), (20, Some(&10), Some(&10)));
    }

    #[test]
    fn no_rate_is_no_message() {
        assert_eq!(Pace::new(0, 0.0, 5.0, 1, 1).due_ns(), None);
    }
}
