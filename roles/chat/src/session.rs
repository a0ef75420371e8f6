//! A connection's hold on the chat.
//!
//! **Job.** Let a face ask, and say that it is gone. **Made by** [`Floor::enter`]. **Called by** the faces.
//!
//! Not here: what is answered ([`crate::floor::Face`]).

use std::rc::Rc;

use crate::ask::Ask;
use crate::floor::Floor;
use crate::post::{Claim, SessionId, ToHub};
use crate::refusal::Refusal;

/// One connection, as its face holds it. Dropped: the connection is gone.
pub struct Session {
    floor: Rc<Floor>,
    id: SessionId,
}

impl Session {
    pub(crate) fn new(floor: Rc<Floor>, id: SessionId) -> Self {
        Self { floor, id }
    }

    /// Says who it is. The answer comes by [`crate::floor::Face::answered`].
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`]: it was not handed over, and no answer will come.
    pub fn hello(&self, tag: u64, claim: Claim) -> Result<(), Refusal> {
        self.floor.hub().ask(ToHub::Hello { session: self.id, tag, claim })
    }

    /// Asks for something. The answer comes by [`crate::floor::Face::answered`].
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`]: it was not handed over, and no answer will come.
    pub fn ask(&self, tag: u64, ask: impl Into<Ask>) -> Result<(), Refusal> {
        self.floor.hub().ask(ToHub::Ask { session: self.id, tag, ask: ask.into() })
    }

    /// The face has room again.
    pub fn caught_up(&self) {
        self.floor.caught_up(self.id);
    }

    /// Its number, for logs.
    pub fn id(&self) -> SessionId {
        self.id
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.floor.gone(self.id);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:?})", self.id)
    }
}
