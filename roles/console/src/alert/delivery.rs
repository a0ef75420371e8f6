//! One way out: the messages that wait for it, what is tried again and what is given up.
//!
//! **Job.** Say what is to be sent now, and what comes of how it went. Pure. **Owned by** `keeper`, one for each `send` of
//! each alert.
//!
//! Invariants
//! 1. Messages leave in their order, one at a time; one that was taken is not sent again.
//! 2. At most [`WAITING_MAX`] wait: the oldest is given up for the newest. Nothing waits longer than [`GIVE_UP_AFTER`].
//! 3. Whatever is given up is counted, and told by the caller.
//!
//! Not here: the sending itself (`send`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use madang_host::draws::Draws;
use serde::Serialize;

use super::message::{Message, Status};

/// Messages that wait for one way.
pub const WAITING_MAX: usize = 16;
/// The first pause after a failure; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Nobody is helped by a message that is older.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Taken(String),
    /// It may go better later.
    Failed(String),
    /// It will never be taken.
    Refused(String),
}

/// What is told of an attempt, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct LastAttempt {
    pub message: String,
    pub taken: bool,
    /// Whether it will be tried again.
    pub again: bool,
    pub text: String,
    /// Seconds since 1970.
    pub time: u64,
}

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Its id.
    pub message: String,
    /// Why.
    pub why: String,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    since: Instant,
    attempts: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Delivery {
    waiting: VecDeque<Waiting>,
    /// The first of them is out.
    is_out: bool,
    /// Not before.
    next: Option<Instant>,
    draws: Draws,
    /// Messages that were taken.
    pub taken: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages that were given up.
    pub dead: u64,
    /// The latest attempt.
    pub last: Option<LastAttempt>,
}

impl Delivery {
    /// Nothing waits.
    pub const fn new(seed: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            is_out: false,
            next: None,
            draws: Draws::new(seed),
            taken: 0,
            failed: 0,
            dead: 0,
            last: None,
        }
    }

    /// One more message. Gives the one that has to make room.
    pub fn add(&mut self, message: Message, now: Instant) -> Option<GivenUp> {
        self.waiting.push_back(Waiting { message, since: now, attempts: 0 });
        if self.waiting.len() <= WAITING_MAX {
            return None;
        }
        // The first may be on its way: what is on its way stays.
        let oldest = self.waiting.remove(usize::from(self.is_out))?;
        Some(self.give_up(oldest, "newer messages needed its place".to_owned()))
    }

    /// What is to be sent now, if anything; then [`Delivery::done`] is to be told.
    pub fn due(&mut self, now: Instant) -> Option<Message> {
        if self.is_out || self.next.is_some_and(|next| now < next) {
            return None;
        }
        let message = self.waiting.front()?.message.clone();
        self.is_out = true;
        Some(message)
    }

    /// How it went; `time`: seconds since 1970. Gives what is given up.
    pub fn done(&mut self, attempt: Attempt, now: Instant, time: u64) -> Option<GivenUp> {
        self.is_out = false;
        self.next = None;
        let mut first = self.waiting.pop_front()?;
        first.attempts += 1;
        let (taken, again, text) = match &attempt {
            Attempt::Taken(text) => (true, false, text.clone()),
            // A test is tried once: somebody waits for how it went.
            Attempt::Failed(text) if first.message.status == Status::Test => (false, false, text.clone()),
            Attempt::Failed(text) => {
                (false, now.saturating_duration_since(first.since) < GIVE_UP_AFTER, text.clone())
            }
            Attempt::Refused(text) => (false, false, text.clone()),
        };
        let id = first.message.id.clone();
        self.last = Some(LastAttempt { message: id, taken, again, text: text.clone(), time });
        if taken {
            self.taken += 1;
            return None;
        }
        self.failed += 1;
        if again {
            let pause =
                PAUSE_FIRST.saturating_mul(1 << first.attempts.saturating_sub(1).min(16)).min(PAUSE_MAX);
            self.next = Some(now + self.draws.around(pause));
            self.waiting.push_front(first);
            return None;
        }
        Some(self.give_up(first, text))
    }

    /// When [`Delivery::due`] will have something by time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next.filter(|_| !self.is_out && !self.waiting.is_empty())
    }

    /// Those that wait, the one on its way included, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Message> {
        self.waiting.iter().map(|waiting| &waiting.message)
    }

    fn give_up(&mut self, waiting: Waiting, why: String) -> GivenUp {
        self.dead += 1;
        GivenUp { message: waiting.message.id, why }
    }
}
