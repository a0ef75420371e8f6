//! What a client of the drill keeps over all its connections, whatever face it comes by.
//!
//! **Job.** Hold what is still to be said, what was seen of each conversation, and tell the book. **Called by** the clients.
//!
//! Invariants
//! 1. What had no answer when a connection ended is said again first, in its order.
//!
//! Not here: how anything is said (the clients).

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use madang_host::clock;

use super::book::{Book, End, Stage};
use super::ledger::{Conversation, Finding, Print, Promise, View};
use super::plan::{Cuts, Message, Place, Plan};

/// One client's.
pub(super) struct Diary {
    pub(super) book: Rc<Book>,
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) places: Vec<Place>,
    /// Of each place.
    pub(super) views: Vec<View>,
    to_say: VecDeque<Message>,
    pub(super) cuts: Cuts,
    /// Nobody answers for so long: the connection is given up.
    pub(super) silence: Duration,
    arrived: Option<Stage>,
    lost_at: Option<Instant>,
}

impl Diary {
    /// Of a client that has not connected yet.
    pub(super) fn new(book: &Rc<Book>, plan: &Plan, number: u32) -> Self {
        let places = plan.places(number);
        Self {
            book: Rc::clone(book),
            number,
            name: Plan::name(number),
            views: places.iter().map(|_| View::default()).collect(),
            places,
            to_say: plan.messages(number).into(),
            cuts: plan.cuts(number),
            silence: plan.silence(),
            arrived: None,
            lost_at: None,
        }
    }

    /// It has done what the stage asks for; counts once.
    pub(super) fn arrive(&mut self, stage: &Stage) {
        if self.arrived.as_ref() != Some(stage) {
            self.arrived = Some(stage.clone());
            self.book.arrived();
        }
    }

    /// What is to be said next, if anything may be said now.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        let next = self.to_say.front()?;
        if self.book.may_send(self.print(next)) { self.to_say.pop_front() } else { None }
    }

    /// A message goes out.
    pub(super) fn sending(&self, message: &Message) {
        self.book.sending(self.print(message), message.number);
    }

    /// A message was acknowledged, at `offset` where the face tells.
    pub(super) fn acked(&self, message: &Message, epoch: u64, offset: Option<u64>, duplicate: bool) {
        let conversation = self.places[message.place].conversation.clone();
        let promise = Promise { conversation, epoch, offset, print: self.print(message) };
        self.book.acked(message.number, promise, duplicate);
    }

    /// These were not answered, or were put off.
    pub(super) fn unanswered(&mut self, mut messages: Vec<Message>) {
        messages.sort_by_key(|message| std::cmp::Reverse(message.number));
        for message in messages {
            self.to_say.push_front(message);
        }
    }

    /// The connection is over, and another will be opened.
    pub(super) fn lost(&mut self) {
        self.lost_at.get_or_insert_with(clock::now);
        self.book.counts.borrow_mut().reconnects += 1;
    }

    /// All that was missed has come.
    pub(super) fn caught_up(&mut self) {
        if let Some(lost_at) = self.lost_at.take() {
            self.book.resumed(clock::now().duration_since(lost_at));
        }
    }

    /// Whether every place was seen up to its end.
    pub(super) fn has_seen(&self, ends: &BTreeMap<Conversation, End>) -> bool {
        let end = |place: &Place| ends.get(&place.conversation).map(|end| end.offset);
        self.places.iter().zip(&self.views).all(|(place, view)| view.next() >= end(place))
    }

    /// All was seen: what it saw is judged.
    pub(super) fn close(&self) {
        for (place, view) in self.places.iter().zip(&self.views) {
            self.book.judge_view(self.number, &place.conversation, view);
        }
        self.book.arrived();
    }

    /// What a message of this client is in a log.
    pub(super) fn print(&self, message: &Message) -> Print {
        Print::of("message", &self.name, &message.text)
    }

    /// The server said what it may not say.
    pub(super) fn said(&self, what: String) {
        self.book.found(Finding::Said { client: self.number, what });
    }
}
