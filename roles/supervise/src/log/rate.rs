//! How many bytes of lines are kept a second.
//!
//! **Job.** Let lines through up to a rate, count those that are not. Pure. **Called by** `keeper::journal`.
//!
//! Invariants
//! 1. In any second at most twice the rate is let through: what was saved up and what comes in.
//!
//! Not here: holding the program back (`host::process::output`).

use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Rate {
    /// Bytes a second, and at once.
    per_second: u64,
    left: u64,
    filled: Option<Instant>,
    dropped: u64,
}

impl Rate {
    /// So many bytes a second.
    pub const fn new(per_second: u64) -> Self {
        Self { per_second, left: per_second, filled: None, dropped: 0 }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        let filled = *self.filled.get_or_insert(now);
        let millis = u64::try_from(now.saturating_duration_since(filled).as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let more = self.per_second.saturating_mul(millis) / 1000;
            self.left = self.left.saturating_add(more).min(self.per_second);
            self.filled = Some(now);
        }
    }

    /// Whether a line of so many bytes is kept. One that is longer than a second's worth is, when nothing was before it.
    pub fn take(&mut self, bytes: usize) -> bool {
        let bytes = (bytes as u64).min(self.per_second);
        if self.left < bytes {
            self.dropped += 1;
            return false;
        }
        self.left -= bytes;
        true
    }

    /// Lines that were not kept since this was asked the last time.
    pub fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// `12,345`.
pub fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // Goal: a flood is cut to its rate and counted; a quiet program loses nothing.
    #[test]
    fn a_flood_is_cut_to_its_rate() {
        let (mut rate, begin) = (Rate::new(1000), madang_host::clock::now());
        let mut kept = 0;
        for millis in 0..2000 {
            rate.tick(begin + Duration::from_millis(millis));
            kept += (0..10).filter(|_| rate.take(10)).count();
        }
        assert!((290..=300).contains(&kept), "{kept}");
        assert_eq!(rate.dropped(), 20_000 - kept as u64);
        assert_eq!(rate.dropped(), 0);
        rate.tick(begin + Duration::from_secs(10));
        assert!((0..100).all(|_| rate.take(10)) && !rate.take(10));
    }

    #[test]
    fn numbers_are_counted_in_threes() {
        for (number, want) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(counted(number), want);
        }
    }
}
