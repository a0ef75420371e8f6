//! When an app that ended unasked is started again.
//!
//! **Job.** Growing waits with jitter; too many ends in a window, and it has failed. Pure. **Called by** `app`.
//!
//! Invariants
//! 1. No wait is shorter than nine tenths of `after` nor longer than eleven tenths of `longest`.
//! 2. Within any window at most `at_most` restarts are granted.
//!
//! Not here: starting (`app`), the operator's wishes (`app`).

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use madang_host::draws::Draws;
use madang_settings::unit;

use crate::config::{AtMost, RestartSettings};

/// What follows from an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again then.
    At(Instant),
    /// It has failed.
    Failed(TooMany),
}

/// Why nothing is started any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// So many ends in this time.
    Ends {
        /// So many.
        count: u32,
        /// In this time.
        window: Duration,
    },
    /// The first was one too many.
    Never,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends { count, window } => {
                write!(f, "it ended {count} times within {}", unit::show_duration(*window))
            }
            Self::Never => f.write_str("it ended, and restart.at_most allows no restart"),
        }
    }
}

/// The memory of one app's ends.
#[derive(Debug)]
pub struct Restarts {
    ends: VecDeque<Instant>,
    /// Ends since it last ran for long.
    in_a_row: u32,
}

/// The bound of [`AtMost::Count`]; more need not be remembered.
const ENDS_MAX: usize = 1001;

impl Restarts {
    /// Nothing happened yet.
    pub const fn new() -> Self {
        Self { ends: VecDeque::new(), in_a_row: 0 }
    }

    /// It ended unasked after it had run for `ran`.
    pub fn ended(
        &mut self,
        rules: &RestartSettings,
        ran: Duration,
        draws: &mut Draws,
        now: Instant,
    ) -> Verdict {
        // Whoever ran for as long as the longest wait had not the same trouble as before.
        if ran >= rules.longest.max(Duration::from_secs(1)) {
            self.in_a_row = 0;
        }
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        match rules.at_most {
            AtMost::Never => return Verdict::Failed(TooMany::Never),
            AtMost::Always => {}
            AtMost::Count(count, window) => {
                while self.ends.front().is_some_and(|end| now.saturating_duration_since(*end) > window) {
                    self.ends.pop_front();
                }
                if self.ends.len() > count as usize {
                    let count = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
                    return Verdict::Failed(TooMany::Ends { count, window });
                }
            }
        }
        let wait = rules.after.saturating_mul(1 << self.in_a_row.min(20)).min(rules.longest);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Verdict::At(now + draws.around(wait))
    }

    /// Somebody looked after it: what was before does not count any more.
    pub fn forgive(&mut self) {
        self.ends.clear();
        self.in_a_row = 0;
    }
}

impl Default for Restarts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: RestartSettings = RestartSettings {
        after: Duration::from_secs(5),
        longest: Duration::from_secs(60),
        at_most: AtMost::Count(10, Duration::from_secs(600)),
    };

    fn begin() -> Instant {
        madang_host::clock::now()
    }

    // Goal: waits double from `after` to `longest` and begin anew after a long life; the eleventh end is one too many.
    #[test]
    fn waits_grow_and_too_many_ends_fail() {
        let (mut restarts, mut draws, begin) = (Restarts::new(), Draws::new(7), begin());
        let mut now = begin;
        let mut waits = Vec::new();
        for _ in 0..10 {
            let Verdict::At(at) = restarts.ended(&RULES, Duration::ZERO, &mut draws, now) else { panic!() };
            waits.push((at - now).as_secs_f64());
            now = at;
        }
        for (wait, want) in waits.iter().zip([5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0]) {
            assert!((want * 0.9..=want * 1.1).contains(wait), "{waits:?}");
        }
        let mut eleventh =
            restarts.ended(&RULES, Duration::ZERO, &mut draws, begin + Duration::from_secs(599));
        let Verdict::Failed(why) = eleventh else { panic!("{eleventh:?}") };
        assert_eq!(why.to_string(), "it ended 11 times within 10m");

        restarts.forgive();
        eleventh = restarts.ended(&RULES, Duration::ZERO, &mut draws, now);
        let Verdict::At(at) = eleventh else { panic!("{eleventh:?}") };
        assert!(at - now < Duration::from_secs(6));
        // Once a day is no trouble, however often.
        for _ in 0..100 {
            now += Duration::from_secs(86_400);
            let verdict = restarts.ended(&RULES, Duration::from_secs(86_000), &mut draws, now);
            let Verdict::At(at) = verdict else { panic!("{verdict:?}") };
            assert!(at - now < Duration::from_secs(6));
        }
    }

    proptest! {
        // Goal: both invariants, whatever happens. Method: random lives, sums over every window.
        #[test]
        fn no_window_has_more_restarts_than_allowed(
            seed: u64,
            count in 1_u32..20,
            lives in prop::collection::vec(0_u64..200, 1..100),
        ) {
            let window = Duration::from_secs(300);
            let rules = RestartSettings { at_most: AtMost::Count(count, window), ..RULES };
            let (mut restarts, mut draws, mut now) = (Restarts::new(), Draws::new(seed), begin());
            let mut granted = Vec::new();
            for life in lives {
                now += Duration::from_secs(life);
                match restarts.ended(&rules, Duration::from_secs(life), &mut draws, now) {
                    Verdict::At(at) => {
                        let wait = at - now;
                        prop_assert!(wait >= rules.after * 9 / 10 && wait <= rules.longest * 11 / 10);
                        granted.push(now);
                        now = at;
                    }
                    Verdict::Failed(_) => {}
                }
            }
            for (at, first) in granted.iter().enumerate() {
                let within = granted[at..].iter().filter(|end| **end - *first <= window).count();
                prop_assert!(within <= count as usize, "{within}");
            }
        }
    }
}
