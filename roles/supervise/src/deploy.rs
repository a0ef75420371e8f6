//! A new version takes over from an old one.
//!
//! **Job.** From how the new instances do, say which share of the requests they get, and whether the old version stays.
//! Pure. **Called by** `app`.
//!
//! The way: starting -> one step of the share after the other -> watching, the old ones standing by without requests ->
//! won. From each of these a failure leads to lost, where the old ones have all requests again.
//!
//! Invariants
//! 1. The new version gets nothing before all of its instances are well.
//! 2. Shares only grow until it is won, or become 0 when it is lost.
//! 3. The old instances are there until it is won.
//!
//! Not here: starting and ending instances (`app`), sending requests (`roles/balance`).

use std::fmt;
use std::time::{Duration, Instant};

use madang_settings::unit;

use crate::config::DeploySettings;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The new instances start.
    Starting {
        /// Too late.
        deadline: Instant,
    },
    /// They have a share of the requests.
    Step {
        /// Which of the steps.
        index: usize,
        /// The next comes then.
        until: Instant,
    },
    /// They have all requests; the old ones stand by.
    Watching {
        /// Then it is won.
        until: Instant,
    },
    /// The old version may go.
    Won,
    /// The new version must go.
    Lost(Why),
}

/// Why a version was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was not well in time.
    NotHealthy {
        /// Instances that were.
        ready: u32,
        /// Of so many.
        of: u32,
        /// The time there was.
        within: Duration,
    },
    /// An instance ended or got sick.
    Failed {
        /// How, in words.
        how: String,
    },
    /// The operator wanted it.
    Operator,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHealthy { ready, of, within } => {
                write!(f, "only {ready} of {of} instances were well within {}", unit::show_duration(*within))
            }
            Self::Failed { how } => write!(f, "an instance of it {how}"),
            Self::Operator => f.write_str("by the operator"),
        }
    }
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The new version gets so many percent from now on.
    Share(u8),
    /// It is the version from now on; the old instances may go.
    Won,
    /// The old version has all requests again; the new instances must go.
    Lost(Why),
}

/// A deploy under way.
#[derive(Debug)]
pub struct Deploy {
    rules: DeploySettings,
    stage: Stage,
    share: u8,
    failed: Option<Why>,
}

impl Deploy {
    /// Begins: the new instances are being started.
    pub fn new(rules: DeploySettings, now: Instant) -> Self {
        let deadline = now + rules.healthy_within;
        Self { rules, stage: Stage::Starting { deadline }, share: 0, failed: None }
    }

    /// How far it is.
    pub const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The new version's share of the requests, in percent.
    pub const fn share(&self) -> u8 {
        self.share
    }

    /// An instance of the new version ended or got sick.
    pub fn failed(&mut self, how: String) {
        self.failed.get_or_insert(Why::Failed { how });
    }

    /// The operator wants the old version back.
    pub fn take_back(&mut self) {
        self.failed.get_or_insert(Why::Operator);
    }

    /// What changed, until `None`. `ready` of `of` new instances are well.
    pub fn poll(&mut self, ready: u32, of: u32, now: Instant) -> Option<Change> {
        if matches!(self.stage, Stage::Won | Stage::Lost(_)) {
            return None;
        }
        if let Some(why) = self.failed.take() {
            return Some(self.lose(why));
        }
        match self.stage {
            Stage::Starting { .. } if ready >= of => Some(self.step(0, now)),
            Stage::Starting { deadline } if now >= deadline => {
                Some(self.lose(Why::NotHealthy { ready, of, within: self.rules.healthy_within }))
            }
            Stage::Step { index, until } if now >= until => Some(self.step(index + 1, now)),
            Stage::Watching { until } if now >= until => {
                self.stage = Stage::Won;
                Some(Change::Won)
            }
            _ => None,
        }
    }

    fn step(&mut self, index: usize, now: Instant) -> Change {
        self.share = self.rules.steps.get(index).copied().unwrap_or(100);
        self.stage = if self.share >= 100 {
            Stage::Watching { until: now + self.rules.watch }
        } else {
            Stage::Step { index, until: now + self.rules.pause }
        };
        Change::Share(self.share)
    }

    fn lose(&mut self, why: Why) -> Change {
        self.share = 0;
        self.stage = Stage::Lost(why.clone());
        Change::Lost(why)
    }

    /// When [`Deploy::poll`] will have something to do by time alone.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Starting { deadline } => Some(deadline),
            Stage::Step { until, .. } | Stage::Watching { until } => Some(until),
            Stage::Won | Stage::Lost(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(steps: &[u8]) -> DeploySettings {
        let seconds = Duration::from_secs;
        DeploySettings {
            steps: steps.to_vec(),
            pause: seconds(10),
            healthy_within: seconds(60),
            watch: seconds(20),
            keep: 3,
            disk: 1 << 30,
        }
    }

    // Goal: a good version goes through every step and wins; a bad one is taken back wherever it fails.
    // Method: ten readings of the clock a minute, one failure at a time of our choice.
    #[test]
    fn good_versions_win_and_bad_ones_are_taken_back() {
        check(&[10, 50, 100], 2, None, "10 50 100 won@42");
        check(&[100], 2, None, "100 won@22");
        check(&[100], 70, None, "lost@60: only 0 of 2 instances were well within 1m");
        check(&[10, 100], 2, Some(1), "lost@1: an instance of it ended");
        check(&[10, 100], 2, Some(5), "10 lost@5: an instance of it ended");
        check(&[10, 100], 2, Some(30), "10 100 lost@30: an instance of it ended");
        check(&[10, 100], 2, Some(33), "10 100 won@32");

        #[track_caller]
        fn check(steps: &[u8], ready_at: u64, fails_at: Option<u64>, want: &str) {
            let begin = madang_host::clock::now();
            let mut deploy = Deploy::new(rules(steps), begin);
            let mut told = Vec::new();
            for second in 0..100 {
                if fails_at == Some(second) {
                    deploy.failed("ended".to_owned());
                }
                let ready = if second >= ready_at { 2 } else { 0 };
                while let Some(change) = deploy.poll(ready, 2, begin + Duration::from_secs(second)) {
                    told.push(match change {
                        Change::Share(share) => share.to_string(),
                        Change::Won => format!("won@{second}"),
                        Change::Lost(why) => format!("lost@{second}: {why}"),
                    });
                }
            }
            assert_eq!(told.join(" "), want);
        }
    }

    proptest! {
        // Goal: the invariants, in whatever order things happen.
        #[test]
        fn shares_grow_until_it_is_won_or_are_nothing(
            steps in prop::collection::btree_set(1_u8..100, 0..5),
            events in prop::collection::vec((0_u64..15_000, 0_u32..4, 0_u32..60), 1..80),
        ) {
            let steps: Vec<u8> = steps.into_iter().chain([100]).collect();
            let mut now = madang_host::clock::now();
            let mut deploy = Deploy::new(rules(&steps), now);
            let (mut share, mut over) = (0, false);
            for (ms, ready, chance) in events {
                now += Duration::from_millis(ms);
                if chance == 0 {
                    deploy.failed("ended".to_owned());
                }
                while let Some(change) = deploy.poll(ready, 3, now) {
                    prop_assert!(!over, "something after the end");
                    match change {
                        Change::Share(next) => {
                            prop_assert!(next > share);
                            prop_assert!(share > 0 || ready >= 3, "requests before it was well");
                            share = next;
                        }
                        Change::Won => {
                            prop_assert_eq!(share, 100);
                            over = true;
                        }
                        Change::Lost(_) => {
                            prop_assert_eq!(deploy.share(), 0);
                            over = true;
                        }
                    }
                }
            }
        }
    }
}
