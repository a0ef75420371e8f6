//! One hook's luck: whether the first letter in line is sent now, later, or never.
//!
//! **Job.** Say what is to be done with the letter, and what comes of how an attempt went. Pure: time and a seed are handed in.
//! **Owned by** `drain`, one for each hook.
//!
//! Invariants
//! 1. A letter is tried at most [`Patience::tries_max`] times. While nothing gets through, one older than
//!    [`Patience::give_up_after`] is not tried again.
//! 2. After a failure there is a pause, for all letters of the hook: the receiver is the same. Each further one is twice as
//!    long, up to [`PAUSE_MAX`], and never shorter than the receiver asked for (up to [`ASKED_MAX`]).
//! 3. A hook that is off sends nothing until it is switched on.
//!
//! Not here: the sending (`drain`), the order of letters (the log).

use std::time::{Duration, Instant};

use madang_host::draws::Draws;

/// The first pause after a failure, give or take a half.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest that we choose.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The longest that a receiver may ask for (`Retry-After`).
pub const ASKED_MAX: Duration = Duration::from_secs(3600);

/// How long it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts for one letter.
    pub tries_max: u32,
    /// A letter's age.
    pub give_up_after: Duration,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Taken(String),
    /// It may go better later, not before this time has passed.
    Failed {
        /// For people.
        why: String,
        /// The receiver's wish.
        after: Option<Duration>,
    },
    /// This letter will never be taken; others may be.
    Refused(String),
    /// The receiver wants no more letters at all.
    Gone(String),
}

/// What is to be done with the first letter in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is sent now; then [`Delivery::went`] is to be told.
    Send,
    /// Not before.
    Wait(Instant),
    /// It becomes a dead letter, for this reason.
    Bury(String),
}

/// What comes of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The letter is delivered: the next one. `recovered`: after failures.
    Delivered {
        /// Whether the attempt before had failed.
        recovered: bool,
    },
    /// The same letter again, later. `first`: the attempt before had not failed.
    Again {
        /// Whether it began to fail now.
        first: bool,
    },
    /// It becomes a dead letter.
    Bury,
    /// The hook is off from now on; what becomes of the letter says [`Delivery::step`].
    Off,
}

/// See the module.
#[derive(Debug)]
pub struct Delivery {
    patience: Patience,
    draws: Draws,
    /// Of the first letter in line.
    tries: u32,
    /// Failures since something was taken.
    streak: u32,
    not_before: Option<Instant>,
    off: Option<String>,
}

impl Delivery {
    /// Nothing was tried yet. `off`: it was switched off, for this reason.
    pub const fn new(patience: Patience, seed: u64, off: Option<String>) -> Self {
        Self { patience, draws: Draws::new(seed), tries: 0, streak: 0, not_before: None, off }
    }

    /// What is to be done with the first letter in line, which is this old.
    pub fn step(&self, age: Duration, now: Instant) -> Step {
        if let Some(why) = &self.off {
            return Step::Bury(format!("the hook is off: {why}"));
        }
        if self.streak > 0 && age > self.patience.give_up_after {
            let age = madang_settings::unit::show_duration(Duration::from_secs(age.as_secs()));
            return Step::Bury(format!("not taken for {age}"));
        }
        match self.not_before {
            Some(due) if due > now => Step::Wait(due),
            _ => Step::Send,
        }
    }

    /// How it went.
    pub fn went(&mut self, attempt: &Attempt, now: Instant) -> Outcome {
        self.tries = self.tries.saturating_add(1);
        match attempt {
            Attempt::Taken(_) => {
                let recovered = self.streak > 0;
                (self.tries, self.streak, self.not_before) = (0, 0, None);
                Outcome::Delivered { recovered }
            }
            Attempt::Failed { after, .. } => {
                let first = self.streak == 0;
                let pause = PAUSE_FIRST.saturating_mul(1 << self.streak.min(16)).min(PAUSE_MAX);
                // Many servers that fail at once do not come back at once.
                let pause = pause / 2 + self.draws.up_to(pause);
                let asked = after.unwrap_or_default().min(ASKED_MAX);
                self.streak = self.streak.saturating_add(1);
                self.not_before = Some(now + pause.max(asked));
                if self.tries >= self.patience.tries_max {
                    self.tries = 0;
                    return Outcome::Bury;
                }
                Outcome::Again { first }
            }
            Attempt::Refused(_) => {
                (self.tries, self.streak, self.not_before) = (0, 0, None);
                Outcome::Bury
            }
            Attempt::Gone(why) => {
                (self.tries, self.streak, self.not_before) = (0, 0, None);
                self.off = Some(why.clone());
                Outcome::Off
            }
        }
    }

    /// The first letter in line is another one now.
    pub fn next_letter(&mut self) {
        self.tries = 0;
    }

    /// Somebody wants it tried at once, whatever was before.
    pub fn begin_anew(&mut self) {
        (self.tries, self.streak, self.not_before, self.off) = (0, 0, None, None);
    }

    /// Why it is off; `None`: it is not.
    pub fn off(&self) -> Option<&str> {
        self.off.as_deref()
    }

    /// Whether the latest attempt failed.
    pub const fn is_failing(&self) -> bool {
        self.streak > 0
    }
}

/// What an answer means.
pub fn judge(status: u16, retry_after: Option<&str>) -> Attempt {
    let told = format!("answered {status}");
    let after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    match status {
        200..=299 => Attempt::Taken(told),
        300..=399 => {
            let why = format!("{told}; redirects are not followed: write where they lead");
            Attempt::Failed { why, after: None }
        }
        410 => Attempt::Gone(told),
        // The letter itself is what it does not take.
        400 | 413 | 415 | 422 => Attempt::Refused(told),
        429 | 503 => Attempt::Failed { why: told, after },
        _ => Attempt::Failed { why: told, after: None },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience = Patience { tries_max: 4, give_up_after: Duration::from_secs(3600) };

    // Goal: what each answer means is what the document says.
    #[test]
    fn answers_are_judged() {
        check(204, None, Attempt::Taken("answered 204".into()));
        check(410, None, Attempt::Gone("answered 410".into()));
        check(422, None, Attempt::Refused("answered 422".into()));
        check(500, Some("7"), Attempt::Failed { why: "answered 500".into(), after: None });
        check(
            503,
            Some("7"),
            Attempt::Failed { why: "answered 503".into(), after: Some(Duration::from_secs(7)) },
        );
        check(429, Some("soon"), Attempt::Failed { why: "answered 429".into(), after: None });
        assert!(matches!(judge(302, None), Attempt::Failed { .. }));

        #[track_caller]
        fn check(status: u16, retry_after: Option<&str>, want: Attempt) {
            assert_eq!(judge(status, retry_after), want);
        }
    }

    // Goal: what a receiver asks for is kept, but not for days.
    #[test]
    fn a_receiver_says_when() {
        let now = madang_host::clock::now();
        for (asked, want) in [(60, 60), (1_000_000, 3600)] {
            let mut delivery = Delivery::new(PATIENCE, 1, None);
            let after = Some(Duration::from_secs(asked));
            delivery.went(&Attempt::Failed { why: String::new(), after }, now);
            assert_eq!(delivery.step(Duration::ZERO, now), Step::Wait(now + Duration::from_secs(want)));
        }
    }

    // Goal: after 410 nothing is sent, and after it was switched on it is.
    #[test]
    fn a_hook_that_is_off_is_silent_until_it_is_switched_on() {
        let now = madang_host::clock::now();
        let mut delivery = Delivery::new(PATIENCE, 1, None);
        assert_eq!(delivery.went(&Attempt::Gone("answered 410".into()), now), Outcome::Off);
        let why = "the hook is off: answered 410".to_owned();
        assert_eq!(delivery.step(Duration::ZERO, now), Step::Bury(why));
        delivery.begin_anew();
        assert_eq!((delivery.step(Duration::ZERO, now), delivery.off()), (Step::Send, None));
    }

    /// What a receiver does next.
    #[derive(Debug, Clone, Copy)]
    enum Mood {
        Takes,
        Fails,
        Asks(u64),
        Refuses,
    }

    fn mood() -> impl Strategy<Value = Mood> {
        prop_oneof![
            3 => Just(Mood::Takes),
            4 => Just(Mood::Fails),
            1 => (0_u64..10_000).prop_map(Mood::Asks),
            1 => Just(Mood::Refuses),
        ]
    }

    proptest! {
        // Goal: whatever a receiver does, each letter ends delivered once or dead once, in its order, within its tries, and no
        // attempt comes before the pause is over. Method: a line of letters and a simulated receiver, the clock jumps to the
        // next deadline.
        #[test]
        fn every_letter_has_one_end(
            seed in any::<u64>(),
            moods in prop::collection::vec(mood(), 1..120),
            gaps in prop::collection::vec(0_u64..2_000, 1..30),
        ) {
            let start = madang_host::clock::now();
            let mut now = start;
            let mut delivery = Delivery::new(PATIENCE, seed, None);
            let mut arrival = start;
            let mut line: VecDeque<(usize, Instant)> = gaps.iter().enumerate().map(|(letter, gap)| {
                arrival += Duration::from_secs(*gap);
                (letter, arrival)
            }).collect();
            let mut moods = moods.into_iter().cycle();
            let (mut ends, mut tries, mut pause_until) = (Vec::new(), 0, start);
            let mut steps = 0;
            while let Some((letter, since)) = line.front().copied() {
                steps += 1;
                prop_assert!(steps < 10_000, "it comes to an end");
                now = now.max(since);
                match delivery.step(now - since, now) {
                    Step::Wait(due) => {
                        prop_assert!(due > now);
                        now = due;
                    }
                    Step::Bury(_) => {
                        prop_assert!(delivery.is_failing() && now - since > PATIENCE.give_up_after);
                        line.pop_front();
                        ends.push(letter);
                        delivery.next_letter();
                        tries = 0;
                    }
                    Step::Send => {
                        prop_assert!(now >= pause_until, "no attempt within the pause");
                        tries += 1;
                        prop_assert!(tries <= PATIENCE.tries_max);
                        let attempt = match moods.next() {
                            Some(Mood::Takes) | None => Attempt::Taken(String::new()),
                            Some(Mood::Fails) => Attempt::Failed { why: String::new(), after: None },
                            Some(Mood::Asks(s)) => {
                                let after = Duration::from_secs(s);
                                pause_until = now + after.min(ASKED_MAX);
                                Attempt::Failed { why: String::new(), after: Some(after) }
                            }
                            Some(Mood::Refuses) => Attempt::Refused(String::new()),
                        };
                        if matches!(attempt, Attempt::Failed { .. }) {
                            pause_until = pause_until.max(now + PAUSE_FIRST / 2);
                        }
                        match delivery.went(&attempt, now) {
                            Outcome::Delivered { .. } | Outcome::Bury => {
                                line.pop_front();
                                ends.push(letter);
                                tries = 0;
                            }
                            Outcome::Again { .. } => {}
                            Outcome::Off => prop_assert!(false, "nobody said so"),
                        }
                    }
                }
            }
            prop_assert_eq!(ends, (0..gaps.len()).collect::<Vec<_>>());
        }
    }
}
