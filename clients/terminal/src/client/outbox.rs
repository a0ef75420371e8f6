//! What was written and is not acknowledged yet.
//!
//! **Job.** Keep it in order, give it out one at a time, again after a cut. **Called by** `client`.
//!
//! Invariants
//! 1. A draft keeps its nonce until the server has answered it: however often it is sent, it is one message.
//! 2. One is under way at a time: none can overtake another.
//!
//! Not here: the connection, how a request looks (`client`).

use std::collections::VecDeque;

use serde_json::Value;

/// How many may wait. Further ones are refused at once.
const DRAFTS_MAX: usize = 200;

/// A message on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Names it for the server.
    pub nonce: String,
    /// Where it goes.
    pub room: String,
    /// As it is shown while it waits.
    pub text: String,
    /// The whole request without its number.
    pub(super) request: Value,
}

/// The drafts.
#[derive(Debug, Default)]
pub struct Outbox {
    drafts: VecDeque<Draft>,
    under_way: bool,
    /// Not before then.
    again_at: u64,
}

impl Outbox {
    /// Takes one, unless too many wait.
    pub(super) fn push(&mut self, draft: Draft) -> Result<(), usize> {
        if self.drafts.len() >= DRAFTS_MAX {
            return Err(DRAFTS_MAX);
        }
        self.drafts.push_back(draft);
        Ok(())
    }

    /// The one to send now, if any.
    pub(super) fn next(&mut self, now: u64) -> Option<&Draft> {
        if self.under_way || now < self.again_at {
            return None;
        }
        let draft = self.drafts.front()?;
        self.under_way = true;
        Some(draft)
    }

    /// When there is one to send, if time alone decides.
    pub(super) fn due(&self) -> Option<u64> {
        (!self.under_way && !self.drafts.is_empty()).then_some(self.again_at)
    }

    /// The one under way was answered for good.
    pub(super) fn answered(&mut self, nonce: &str) -> Option<Draft> {
        if self.drafts.front().is_some_and(|draft| draft.nonce == nonce) {
            self.under_way = false;
            return self.drafts.pop_front();
        }
        None
    }

    /// The one under way is to be sent again, then.
    pub(super) fn later(&mut self, at: u64) {
        self.under_way = false;
        self.again_at = at;
    }

    /// The connection is gone, and with it whatever was under way.
    pub(super) fn cut(&mut self) {
        self.under_way = false;
        self.again_at = 0;
    }

    /// Those that wait for a conversation.
    pub fn of<'o>(&'o self, room: &'o str) -> impl DoubleEndedIterator<Item = &'o Draft> {
        self.drafts.iter().filter(move |draft| draft.room == room)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.drafts.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }
}
