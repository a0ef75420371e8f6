//! Presence: who is where, on all machines.
//!
//! **Job.** Carry the notes of the state machine over a topic of the bus, and give whoever asks the merged view and its
//! changes. **Called by** roles, from one task. **Calls** `state` for every decision.
//!
//! ```
//! use madang_bus::presence::{Presence, Times};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let bus = madang_bus::Bus::local();
//! let mut here = Presence::new(&bus, "chat/town", Times::default()).unwrap();
//!
//! here.set("lobby", "u:mina", 2); // two connections of hers to this node
//! let mut changes = Vec::new();
//! here.next(&mut changes).await; // at most once in 250 ms
//! assert_eq!((&*changes[0].user, changes[0].before, changes[0].now), ("u:mina", 0, 2));
//! assert_eq!(here.count("lobby"), 1);
//! # });
//! ```
//!
//! Not here: what people see of it (roles).

mod note;
mod state;
mod tally;

use std::sync::Arc;

use madang_host::clock;

use crate::Bus;
use crate::error::BusError;
use crate::exchange::{Handle, Subscription, Topic};
use crate::mailbox::{Event, Limits, Mailbox, What};

use self::state::State;
pub use self::state::{Change, NAME_MAX, Times};

/// One node's part in the presence of one name. Dropping it tells the others that the node goes.
pub struct Presence {
    state: State,
    handle: Handle,
    mailbox: Mailbox,
    topic: Topic,
    events: Vec<Event>,
    _reading: Subscription,
}

impl Presence {
    /// Takes part. `name`: nodes with the same name see each other.
    ///
    /// # Errors
    /// [`BusError::Invalid`]: the name is longer than 190 bytes or has control characters.
    pub fn new(bus: &Bus, name: &str, times: Times) -> Result<Self, BusError> {
        let (handle, mailbox) = bus.open(Limits::default());
        let topic = handle.topic(&format!("presence/{name}"))?;
        let reading = handle.subscribe(&topic, 0);
        let state = State::new(madang_host::random::seed(), times);
        Ok(Self { state, handle, mailbox, topic, events: Vec::new(), _reading: reading })
    }

    /// Somebody has so many connections to this node in a room; 0: none any more. Names longer than [`NAME_MAX`] bytes
    /// are not kept. Others hear of it while [`Self::next`] is awaited.
    pub fn set(&mut self, room: &str, user: &str, connections: u32) {
        self.state.set(room, user, connections);
    }

    /// Waits until somebody came or went, here or on another node, and puts all such changes into `into`, which is emptied
    /// first. At most once per [`Times::batch`]; whoever came and went in between is not told. To be awaited again and
    /// again, also by nodes that ask nothing: it is what speaks to the others. Dropping the future loses nothing.
    pub async fn next(&mut self, into: &mut Vec<Change>) {
        into.clear();
        loop {
            let now = clock::now();
            let mut batch = self.handle.batch();
            while let Some(note) = self.state.poll(now) {
                // Notes are smaller than the bus's limit.
                let _ = batch.publish(&self.topic, note);
            }
            drop(batch);
            self.state.changes(now, into);
            if !into.is_empty() {
                return;
            }
            let due = self.state.due(now);
            tokio::select! {
                biased;
                () = self.mailbox.next(&mut self.events) => {}
                () = clock::due(Some(due)) => {}
            }
            let now = clock::now();
            for event in self.events.drain(..) {
                match event.what {
                    What::Message(note) => self.state.handle(&note, now),
                    What::Live | What::Gap(_) => self.state.missed(),
                }
            }
        }
    }

    /// Who is in a room, with all their connections, in no order.
    pub fn people(&self, room: &str) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.state.people(room)
    }

    /// How many people are in a room.
    pub fn count(&self, room: &str) -> usize {
        self.state.count(room)
    }

    /// Somebody's connections in a room, of all nodes together.
    pub fn connections(&self, room: &str, user: &str) -> u32 {
        self.state.connections(room, user)
    }

    /// Other nodes that are there.
    pub fn nodes(&self) -> usize {
        self.state.nodes()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = self.handle.publish(&self.topic, self.state.bye());
    }
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presence({:?})", self.topic.name())
    }
}
