//! What is written: to the disk first, then acknowledged and told, in the order of offsets.
//!
//! **Job.** Append events, await them in their order, tell everybody. **Called by** `hub`, `flows`. **Calls** the store.
//!
//! Invariants
//! 1. Nothing is acknowledged or told before it is on disk.
//! 2. What is told of one conversation is in the order of its offsets.
//! 3. A frame is built once, whoever gets it.
//!
//! Not here: whether it may be written (`hub`, `flows`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use madang_host::clock;
use madang_store::Answer;
use madang_store::log::{Appended, Batch, Key as Nonce};
use madang_wire::websocket::write_text;
use tokio::sync::mpsc;

use super::state::{Asker, Key, Kind, Known, Side, State};
use super::{Back, Hub};
use crate::event::{self, Event, Person, What};
use crate::post::{Published, SessionId, ToWorker};
use crate::refusal::Refusal;
use crate::reply::{Kept, Reply};

/// Appends on their way to the disk; who writes more waits or is refused.
const WRITING_MAX: usize = 4096;
/// A room with more events a second is busy: they are gathered for a moment before they are told.
const BUSY_PER_SECOND: u32 = 200;
/// So long; the clock of the runtime adds up to a millisecond.
const GATHER: Duration = Duration::from_millis(1);
/// Events that are told in one piece at most.
const PIECE_EVENTS_MAX: usize = 256;
/// A room's law is saved at least every so many events, so that reading it takes no longer than that.
const UNSAVED_MAX: u64 = 500;

/// On its way to the disk.
pub(super) struct Writing {
    back: Option<Back>,
    key: Key,
    side: Side,
    by: Person,
    what: What,
    lawful: bool,
    answer: Answer<Appended>,
}

/// The queue of what is on its way.
pub(super) type WritingQueue = mpsc::UnboundedSender<Writing>;

impl Hub {
    /// Has an event written, as the next one of its conversation. `nonce`: the asker's own, to know it again.
    pub(super) fn write(
        &self,
        asker: &Asker,
        key: Key,
        side: Side,
        what: What,
        nonce: Option<&str>,
        back: Option<Back>,
    ) {
        let mut state = self.state.borrow_mut();
        let is_full = self.writing.get() >= WRITING_MAX;
        let room = state.rooms.get_mut(key).filter(|_| !is_full);
        let Some(room) = room else {
            drop(state);
            if let Some(back) = back {
                self.answer(back, Err(Refusal::Busy { again_ms: 200 }));
            }
            return;
        };
        let entry = event::to_entry(&asker.person, what.clone());
        let mut batch = Batch { entries: vec![entry], ..Batch::default() };
        if let Some(nonce) = nonce {
            batch = batch.keyed(Nonce::new(&asker.person.id.0, nonce));
        }
        // It holds from here on: whoever asks next is judged by it. Should the disk refuse it, the law is read again.
        let lawful = room.law.apply(&asker.person, &what);
        let answer = self.store.log().append(&room.stream, batch);
        room.writing += 1;
        self.writing.set(self.writing.get() + 1);
        let writing = Writing { back, key, side, by: asker.person.clone(), what, lawful, answer };
        // Its reader lives as long as this hub.
        let _ = self.queue.send(writing);
    }

    /// Awaits what is on its way, in order. To be spawned.
    pub(super) async fn tell_written(self: Rc<Self>, mut queue: mpsc::UnboundedReceiver<Writing>) {
        while let Some(mut writing) = queue.recv().await {
            let result = (&mut writing.answer).await;
            self.written(writing, result);
            // What the same commit wrote is there too.
            let mut more = 0;
            while more < PIECE_EVENTS_MAX
                && let Ok(mut next) = queue.try_recv()
            {
                let result = match (&mut next.answer).now_or_never() {
                    Some(result) => result,
                    None => {
                        self.tell_untold();
                        (&mut next.answer).await
                    }
                };
                self.written(next, result);
                more += 1;
            }
            self.tell_untold();
        }
    }

    /// What one commit wrote is told together: of each conversation in one piece.
    pub(super) fn tell_untold(self: &Rc<Self>) {
        for key in self.untold.take() {
            let mut state = self.state.borrow_mut();
            self.tell_gathered(&mut state, key);
            state.forget_if_idle(key);
        }
        self.flush();
    }

    fn written(self: &Rc<Self>, writing: Writing, result: Result<Appended, madang_store::error::StoreError>) {
        let Writing { back, key, side, by, what, lawful, .. } = writing;
        self.writing.set(self.writing.get() - 1);
        if self.writing.get() == 0 {
            self.settled.notify_one();
        }
        let mut state = self.state.borrow_mut();
        let Some(room) = state.rooms.get_mut(key) else { return };
        room.writing -= 1;
        let name = room.called(side);
        let mut is_doubtful = false;
        let outcome = match result {
            Ok(Appended { epoch, first, at_ms, duplicate, .. }) => {
                if lawful && self.across.is_some() {
                    // What other machines wrote before it may have come after it.
                    room.law.apply(&by, &what);
                }
                if !duplicate {
                    let event = Event { what, room: Arc::clone(&name), epoch, offset: first, at_ms, by };
                    self.heard(&mut state, key, event, lawful);
                }
                Ok(Reply::Kept(Kept { room: name, epoch, offset: first, at_ms, duplicate }))
            }
            Err(error) => {
                if lawful {
                    // What was saved since may hold what was not written: the whole log is read again.
                    room.known = Known::No;
                    self.forget_law(room);
                }
                self.counts.refused_by_store();
                is_doubtful = self.across.is_some() && !room.here.is_empty();
                Err(Refusal::Store(error))
            }
        };
        state.forget_if_idle(key);
        drop(state);
        if is_doubtful {
            // It may be in the log, and nobody else will tell of it.
            self.catch_up(key);
        }
        if let Some(back) = back {
            self.answer(back, outcome);
        }
    }

    /// Something was written by this machine.
    fn heard(self: &Rc<Self>, state: &mut State, key: Key, event: Event, lawful: bool) {
        let now = clock::now();
        self.hand_out(state, key, &event);
        let Some(room) = state.rooms.get_mut(key) else { return };
        self.counts.event();
        room.unsaved += 1;
        if lawful || room.unsaved >= UNSAVED_MAX {
            room.unsaved = 0;
            self.save_law(room, event.offset + 1);
        }
        let busy = room.busy.more(now, BUSY_PER_SECOND);
        let is_first = room.gathered.is_empty();
        room.gathered.push(event);
        if room.gathered.len() >= PIECE_EVENTS_MAX {
            self.tell_gathered(state, key);
        } else if is_first && !busy {
            self.untold.borrow_mut().push(key);
        } else if is_first {
            let this = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(GATHER).await;
                {
                    let mut state = this.state.borrow_mut();
                    this.tell_gathered(&mut state, key);
                    state.forget_if_idle(key);
                }
                this.flush();
            });
        }
    }

    /// What is gathered is told now: nobody will be there to tell it later.
    pub(super) fn tell_all_gathered(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let gathering = state.rooms.iter().filter(|(_, room)| !room.gathered.is_empty());
        let keys: Vec<Key> = gathering.map(|(key, _)| key).collect();
        for key in keys {
            self.tell_gathered(&mut state, key);
        }
    }

    pub(super) fn tell_gathered(self: &Rc<Self>, state: &mut State, key: Key) {
        let Some(room) = state.rooms.get_mut(key) else { return };
        let gathered = std::mem::take(&mut room.gathered);
        if !gathered.is_empty() {
            self.carry(room, &gathered);
            self.tell(state, key, gathered);
        }
    }

    /// Tells events of one conversation that come after what was told. If another machine wrote between, the log is read.
    pub(super) fn tell(self: &Rc<Self>, state: &mut State, key: Key, mut events: Vec<Event>) {
        let Some(told) = state.rooms.get(key).map(|room| room.told) else { return };
        events.retain(|event| event.offset >= told);
        let Some(first) = events.first().map(|event| event.offset) else { return };
        let last = first + events.len() as u64 - 1;
        let is_whole = first == told && events.last().is_some_and(|event| event.offset == last);
        if is_whole || self.across.is_none() {
            return self.tell_all(state, key, events);
        }
        let this = Rc::clone(self);
        // Not within what is being done.
        tokio::task::spawn_local(async move { this.catch_up(key) });
    }

    /// Tells events of one conversation. Those that do not follow each other are told apart.
    pub(super) fn tell_all(&self, state: &mut State, key: Key, mut events: Vec<Event>) {
        while !events.is_empty() {
            let follow = events.windows(2).position(|two| two[0].offset + 1 != two[1].offset);
            let rest = follow.map_or_else(Vec::new, |at| events.split_off(at + 1));
            self.tell_piece(state, key, events);
            events = rest;
        }
    }

    fn tell_piece(&self, state: &mut State, key: Key, events: Vec<Event>) {
        let Some(first) = events.first().map(|event| event.offset) else { return };
        self.come_in(state, key);
        state.introduce(key, &events, clock::now());
        let Some(room) = state.rooms.get_mut(key) else { return };
        room.told = room.told.max(first + events.len() as u64);
        let doors: Vec<Event> = events.iter().filter(|event| is_at_the_door(event)).cloned().collect();
        let hear = |side: Side| room.by_worker.iter().any(|counts| counts[usize::from(side)] > 0);
        let two = matches!(room.kind, Kind::Direct(_)) && hear(1);
        let mut pieces: Vec<(Side, Published)> = Vec::new();
        if two {
            pieces.push((1, publish(room.id(key, 1), room.called(1), first, events.clone())));
        }
        if hear(0) {
            pieces.push((0, publish(room.id(key, 0), room.called(0), first, events)));
        }
        for (side, piece) in pieces {
            let piece = Arc::new(piece);
            for (counts, out) in room.by_worker.iter().zip(&mut state.out) {
                if counts[usize::from(side)] > 0 {
                    out.push(ToWorker::Published(Arc::clone(&piece)));
                }
            }
        }
        doors.iter().for_each(|event| show_the_door(state, key, event));
    }

    /// Everybody whom direct messages concern hears them, on every connection.
    fn come_in(&self, state: &mut State, key: Key) {
        let Some(room) = state.rooms.get(key) else { return };
        let Kind::Direct(two) = &room.kind else { return };
        let mut lacking: Vec<(SessionId, Side)> = Vec::new();
        for (side, person) in [0, 1].into_iter().zip(two) {
            let sessions =
                state.humans.get(&person.id).map(|human| human.sessions.as_slice()).unwrap_or_default();
            lacking.extend(sessions.iter().filter(|id| !room.here.contains_key(id)).map(|id| (*id, side)));
        }
        for (id, side) in lacking {
            // Who has no place left finds it in the list of rooms.
            let _ = state.enter(id, key, side, None, None);
        }
    }
}

/// Whether somebody is in or out by it.
fn is_at_the_door(event: &Event) -> bool {
    matches!(event.what, What::Kicked { .. } | What::Banned { .. } | What::Invited { .. })
}

/// Who was kicked or banned is out, and who was invited is in, as soon as it is told.
fn show_the_door(state: &mut State, key: Key, event: &Event) {
    let (who, why, word) = match &event.what {
        What::Kicked { who, why } => (who, why, "kicked"),
        What::Banned { who, why, .. } => (who, why, "banned"),
        What::Invited { who } => {
            let sessions = state.humans.get(&who.id).map(|human| human.sessions.clone()).unwrap_or_default();
            for id in sessions {
                if !state.rooms.get(key).is_some_and(|room| room.here.contains_key(&id)) {
                    // Who has no place left may still join.
                    let _ = state.enter(id, key, 0, None, None);
                }
            }
            return;
        }
        _ => return,
    };
    let sessions = state.humans.get(&who.id).map(|human| human.sessions.clone()).unwrap_or_default();
    let text: Arc<str> = match why {
        Some(why) => format!("{word} by {}: {why}", event.by.name).into(),
        None => format!("{word} by {}", event.by.name).into(),
    };
    for id in sessions {
        state.leave(id, key, Some(Some(Arc::clone(&text))));
    }
}

/// Events as they are handed to workers. Their `room` becomes what the readers call it.
pub(super) fn publish(
    room: crate::post::RoomId,
    name: Arc<str>,
    first: u64,
    mut events: Vec<Event>,
) -> Published {
    let mut frames = Vec::with_capacity(256 * events.len());
    let mut json = Vec::with_capacity(256);
    for event in &mut events {
        event.room = Arc::clone(&name);
        json.clear();
        // Numbers and text: nothing that could not be written.
        let _ = serde_json::to_writer(&mut json, event);
        write_text(&mut frames, &json);
    }
    Published { room, name, first, count: events.len() as u64, frames: Bytes::from(frames), events }
}
