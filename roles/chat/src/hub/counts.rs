//! What a hub did, for the admin surface.
//!
//! **Job.** Count. **Written by** `hub`. **Read by** `madang`.
//!
//! Not here: deliveries (`floor`), times of the disk (`store`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::state::State;

/// Written on the hub's thread, read anywhere.
#[derive(Debug, Default)]
pub struct HubCounts {
    people: AtomicU64,
    sessions: AtomicU64,
    rooms: AtomicU64,
    writing: AtomicU64,
    events: AtomicU64,
    refused: AtomicU64,
    store_failures: AtomicU64,
    pages: AtomicU64,
}

/// One look at them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// People who are connected.
    pub people: u64,
    /// Connections that said hello.
    pub sessions: u64,
    /// Conversations somebody is in.
    pub rooms: u64,
    /// Events on their way to the disk.
    pub writing: u64,
    /// Events that were written, since the start.
    pub events: u64,
    /// Requests that were refused, since the start.
    pub refused: u64,
    /// Events the store did not take, since the start.
    pub store_failures: u64,
    /// Pages of the log that were read for those who fell behind or came back, since the start.
    pub pages: u64,
}

impl HubCounts {
    /// As they are now.
    pub fn look(&self) -> Counts {
        Counts {
            people: self.people.load(Relaxed),
            sessions: self.sessions.load(Relaxed),
            rooms: self.rooms.load(Relaxed),
            writing: self.writing.load(Relaxed),
            events: self.events.load(Relaxed),
            refused: self.refused.load(Relaxed),
            store_failures: self.store_failures.load(Relaxed),
            pages: self.pages.load(Relaxed),
        }
    }

    pub(super) fn watch(&self, state: &State, writing: usize) {
        self.people.store(state.humans.len() as u64, Relaxed);
        self.sessions.store(state.sessions.len() as u64, Relaxed);
        self.rooms.store(state.rooms.len() as u64, Relaxed);
        self.writing.store(writing as u64, Relaxed);
    }

    pub(super) fn event(&self) {
        self.events.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn page(&self) {
        self.pages.fetch_add(1, Relaxed);
    }

    pub(super) fn refused_by_store(&self) {
        self.store_failures.fetch_add(1, Relaxed);
    }
}
