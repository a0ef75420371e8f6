//! A connection's seat in the chat, the same for every face.
//!
//! **Job.** What all of them do alike: come in, have ten seconds to say who it is, ask, read on, wait a moment, go.
//! **Called by** the faces (`irc`, `line`, `web`). **Calls** [`Here`], [`Session`].
//!
//! Invariants
//! 1. It is taken once and left once; whoever asks before or after that is refused.
//! 2. Nothing is borrowed while the session ends: that drops the face, and the seat with it.
//!
//! Not here: what is asked and what is shown (the faces), delivery ([`crate::floor`]).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use crate::ask::Ask;
use crate::floor::Face;
use crate::here::{Here, Silent};
use crate::post::Claim;
use crate::refusal::Refusal;
use crate::session::Session;

/// See the module.
pub(crate) struct Seat {
    here: Rc<Here>,
    session: RefCell<Option<Session>>,
    /// When what came too fast is tried again, by the worker's clock.
    hold_ms: Cell<Option<u64>>,
}

impl Seat {
    /// A seat nobody has taken yet.
    pub(crate) fn new(here: &Rc<Here>) -> Self {
        Self { here: Rc::clone(here), session: RefCell::default(), hold_ms: Cell::new(None) }
    }

    /// The face whose seat it is comes in; if it does not say who it is in time it is cut.
    pub(crate) fn take<F: Silent + 'static>(&self, face: &Rc<F>) {
        let session = self.here.floor.enter(Rc::clone(face) as Rc<dyn Face>);
        self.session.replace(Some(session));
        let face: Weak<F> = Rc::downgrade(face);
        self.here.await_hello(face);
    }

    /// The chat it is in.
    pub(crate) fn here(&self) -> &Rc<Here> {
        &self.here
    }

    /// Says who it is ([`Session::hello`]).
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`]: no answer will come.
    pub(crate) fn hello(&self, tag: u64, claim: Claim) -> Result<(), Refusal> {
        self.with_session(|session| session.hello(tag, claim))
    }

    /// Asks for something ([`Session::ask`]).
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`]: no answer will come.
    pub(crate) fn ask(&self, tag: u64, ask: Ask) -> Result<(), Refusal> {
        self.with_session(|session| session.ask(tag, ask))
    }

    fn with_session(&self, call: impl FnOnce(&Session) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.session.borrow().as_ref().map_or(Err(Refusal::ShuttingDown), call)
    }

    /// The face has room again.
    pub(crate) fn caught_up(&self) {
        if let Some(session) = &*self.session.borrow() {
            session.caught_up();
        }
    }

    /// What came too fast waits so many milliseconds from now; what waits longer already goes on waiting.
    pub(crate) fn hold(&self, after_ms: u64) {
        let at_ms = self.here.now_ms() + after_ms;
        self.hold_ms.set(Some(self.hold_ms.get().map_or(at_ms, |have| have.max(at_ms))));
    }

    /// Whether a wait is over; true once for each.
    pub(crate) fn is_held_no_more(&self, now_ms: u64) -> bool {
        let is_over = self.hold_ms.get().is_some_and(|at_ms| at_ms <= now_ms);
        if is_over {
            self.hold_ms.set(None);
        }
        is_over
    }

    /// The connection is gone, for this reason.
    pub(crate) fn leave(&self, why: &'static str) {
        self.here.floor.counts().ended(why);
        let session = self.session.take();
        drop(session);
    }
}
