//! Where a thread's messages wait.
//!
//! **Job.** Keep what came for one reader, bounded, and wake it once however much came. **Filled by** `exchange`.
//! **Emptied by** the thread that opened it.
//!
//! A batch is what waits between two takes. A subscription with more in one batch than it may have is told
//! [`Gap::Lagging`], once, and gets nothing more in that batch: whoever is behind reads the log, which has it all, instead
//! of slowing the publisher or growing.
//!
//! Invariants
//! 1. A subscription has at most `messages_max` events and one gap in a batch; all messages together `bytes_max` bytes.
//! 2. One waker is called per batch. Whoever fills never waits longer than for a push.
//! 3. After a subscription ends, nothing more comes for it, whatever was waiting.
//!
//! Not here: who gets what (`exchange`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use slab::Slab;

/// How much may wait for one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events of one subscription that may wait. 1..=1,000,000, default 8,192.
    pub messages_max: u32,
    /// Bytes of all messages together that may wait. Default 64 MiB.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages_max: 8192, bytes_max: 64 << 20 }
    }
}

/// Something that happened in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The number that was given when subscribing.
    pub tag: u64,
    /// What.
    pub what: What,
    slot: usize,
    serial: u64,
}

/// What happened in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// From here on everything that is published comes, or a gap is told. Whoever reads history reads it now: what was
    /// published before this may not come. The first event of a subscription while others can be reached.
    Live,
    /// A message.
    Message(Bytes),
    /// Messages are missing here.
    Gap(Gap),
}

/// Why messages are missing. The position is lost: read the log from where you were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gap {
    /// This reader was too slow: more came than may wait.
    Lagging,
    /// This machine was away from the others.
    Away,
    /// Messages of another machine did not arrive.
    Missed,
}

/// The shared side of a mailbox.
pub(crate) struct Desk {
    /// Different for every mailbox of this bus.
    pub(crate) id: u64,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: Vec<Event>,
    bytes: usize,
    /// Counts the batches taken: slots' counts of an older batch mean nothing.
    batch: u64,
    slots: Slab<Slot>,
    serials: u64,
    waker: Option<Waker>,
    delivered: u64,
    lagging: u64,
}

struct Slot {
    serial: u64,
    tag: u64,
    counted_in: u64,
    waiting: u32,
    lagging: bool,
}

impl Desk {
    pub(crate) fn new(id: u64, limits: Limits) -> Self {
        let limits = Limits { messages_max: limits.messages_max.clamp(1, 1_000_000), ..limits };
        Self { id, limits, state: Mutex::new(State::default()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a subscription: its slot and its serial.
    pub(crate) fn register(&self, tag: u64) -> (usize, u64) {
        let mut state = self.state();
        state.serials += 1;
        let (serial, counted_in) = (state.serials, state.batch);
        (state.slots.insert(Slot { serial, tag, counted_in, waiting: 0, lagging: false }), serial)
    }

    /// The subscription is over.
    pub(crate) fn forget(&self, slot: usize, serial: u64) {
        let mut state = self.state();
        if state.slots.get(slot).is_some_and(|have| have.serial == serial) {
            state.slots.remove(slot);
        }
    }

    /// Puts an event in, or a gap if there is no room. Gives the reader's waker if it is to be called.
    pub(crate) fn push(&self, slot: usize, serial: u64, what: What) -> Option<Waker> {
        let mut state = self.state();
        let state = &mut *state;
        let batch = state.batch;
        let own = state.slots.get_mut(slot).filter(|own| own.serial == serial)?;
        if own.counted_in != batch {
            (own.counted_in, own.waiting, own.lagging) = (batch, 0, false);
        }
        let size = if let What::Message(bytes) = &what { bytes.len() } else { 0 };
        if own.lagging {
            state.lagging += 1;
            return None;
        }
        let full = own.waiting >= self.limits.messages_max
            || (size > 0 && state.bytes.saturating_add(size) > self.limits.bytes_max);
        let tag = own.tag;
        if full {
            own.lagging = true;
            state.lagging += 1;
            state.queue.push(Event { tag, what: What::Gap(Gap::Lagging), slot, serial });
        } else {
            own.waiting += 1;
            state.bytes += size;
            state.delivered += 1;
            state.queue.push(Event { tag, what, slot, serial });
        }
        state.waker.take()
    }

    /// Takes what waits, or leaves a waker.
    fn poll_take(&self, context: &Context<'_>, into: &mut Vec<Event>) -> Poll<()> {
        into.clear();
        let mut state = self.state();
        if state.queue.is_empty() {
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                state.waker = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        self.take(&mut state, into);
        if into.is_empty() {
            // All of it was of subscriptions that are over.
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn take(&self, state: &mut State, into: &mut Vec<Event>) {
        std::mem::swap(&mut state.queue, into);
        (state.bytes, state.batch) = (0, state.batch + 1);
        let slots = &state.slots;
        into.retain(|event| slots.get(event.slot).is_some_and(|own| own.serial == event.serial));
    }

    /// Messages put in, and not put in for want of room.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let state = self.state();
        (state.delivered, state.lagging)
    }
}

/// The reading end. It belongs to one task.
pub struct Mailbox {
    desk: Arc<Desk>,
}

impl Mailbox {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    /// Waits until something is there and puts all of it into `into`, which is emptied first. Its room is used again for
    /// the next batch, so hand in the same one. Dropping the future loses nothing.
    pub async fn next(&mut self, into: &mut Vec<Event>) {
        std::future::poll_fn(|context| self.desk.poll_take(context, into)).await;
    }

    /// The same as a poll, for state machines.
    pub fn poll_next(&mut self, context: &Context<'_>, into: &mut Vec<Event>) -> Poll<()> {
        self.desk.poll_take(context, into)
    }

    /// What waits now, which may be nothing.
    pub fn take(&mut self, into: &mut Vec<Event>) {
        into.clear();
        self.desk.take(&mut self.desk.state(), into);
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mailbox({})", self.desk.id)
    }
}
