//! The connections of one worker, and what they hear.
//!
//! **Job.** Hand what the hub says to those on this worker whom it concerns, each at its own pace. **Runs on** its worker.
//! **Called by** the faces (through [`Session`]) and the worker's task that takes the hub's post. **Calls** [`Face`].
//!
//! Invariants
//! 1. Delivering looks at a subscriber's cursor and its face, and at nothing else: no lock, no allocation, no wait.
//! 2. A face that takes no more is never given more: it falls behind, and reads the log when it has room again.
//! 3. A face may end its session while it is called.
//!
//! Not here: who may hear what (`hub`), bytes and sockets (the faces).

mod catching;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::catching::Post;
use slab::Slab;
use tokio::sync::mpsc;

use crate::cursor::Cursor;
use crate::notice::Notice;
use crate::post::{HubLink, Published, RoomId, SessionId, ToHub, ToWorker};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::session::Session;

/// Why a connection is ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It took nothing for too long. It may come back and resume.
    TooSlow,
    /// It did not say who it is.
    HelloLate,
    /// What it came by was taken back: logged out, disabled, removed, a key revoked.
    LoggedOut,
    /// It made too many errors.
    TooManyErrors,
    /// It answered no ping.
    Idle,
    /// The server ends. It may come back.
    ShuttingDown,
}

impl Cut {
    /// The close code of a websocket (RFC 6455 7.4).
    pub fn close_code(self) -> u16 {
        match self {
            Self::ShuttingDown => 1001,
            Self::TooSlow => 4000,
            Self::HelloLate => 4001,
            Self::LoggedOut => 4002,
            Self::TooManyErrors => 4003,
            Self::Idle => 4004,
        }
    }

    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::ShuttingDown => "the server is ending: come back in a moment",
            Self::TooSlow => "too slow: come back and resume",
            Self::HelloLate => "no hello in time",
            Self::LoggedOut => "logged out: log in again",
            Self::TooManyErrors => "too many errors",
            Self::Idle => "no sign of life",
        }
    }

    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShuttingDown => "shutting-down",
            Self::TooSlow => "too-slow",
            Self::HelloLate => "hello-late",
            Self::LoggedOut => "logged-out",
            Self::TooManyErrors => "too-many-errors",
            Self::Idle => "idle",
        }
    }
}

/// One connection, whatever it speaks. Called on its worker only; never waits.
pub trait Face {
    /// Whether it has room: less than its high-water mark waits to be written.
    fn takes(&self) -> bool;
    /// Whether it has room for a page of the log: next to nothing waits to be written. After a no it takes nothing, until it says
    /// that it has caught up ([`Session::caught_up`]).
    fn wants_page(&self) -> bool {
        self.takes()
    }
    /// Events of a conversation it is in.
    fn published(&self, published: &Published);
    /// The answer to the request of this tag.
    fn answered(&self, tag: u64, outcome: &Result<Reply, Refusal>);
    /// Something without a place in the log.
    fn told(&self, notice: &Notice);
    /// Nothing more for now: what was gathered is written.
    fn flush(&self);
    /// To be ended.
    fn cut(&self, why: Cut);
}

struct Slot {
    life: u32,
    face: Rc<dyn Face>,
    /// A few: looked through in order.
    places: Vec<(RoomId, Cursor)>,
    /// The page of the log that is on its way to it.
    reading: Option<(RoomId, u64)>,
    /// Whose turn is next when pages are read, among `places`.
    turn: usize,
    /// It has to be flushed at the end of this batch.
    touched: Cell<bool>,
}

#[derive(Default)]
struct State {
    slots: Slab<Slot>,
    rooms: HashMap<RoomId, Vec<u32>>,
    life: u32,
}

/// What was done on a worker; written there, read anywhere.
#[derive(Debug, Default)]
pub struct FloorCounts {
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Events handed to connections.
    pub deliveries: AtomicU64,
    /// Times a connection had no room and fell behind.
    pub behind: AtomicU64,
    /// Connections that were cut.
    pub cut: AtomicU64,
    /// Connections that ended, by why.
    ended: Mutex<BTreeMap<&'static str, u64>>,
}

impl FloorCounts {
    /// A connection ended, for this reason.
    pub fn ended(&self, why: &'static str) {
        // A panic under this lock leaves the numbers whole.
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    /// How many ended, by why.
    pub fn ends(&self) -> BTreeMap<&'static str, u64> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// See the module.
pub struct Floor {
    worker: u16,
    hub: HubLink,
    state: RefCell<State>,
    /// Sessions that ended while the floor was at work.
    ended: RefCell<Vec<SessionId>>,
    counts: Arc<FloorCounts>,
}

impl Floor {
    /// The floor of the worker of this place.
    pub fn new(worker: u16, hub: HubLink, counts: Arc<FloorCounts>) -> Rc<Self> {
        Rc::new(Self { worker, hub, state: RefCell::default(), ended: RefCell::default(), counts })
    }

    /// What was done here.
    pub fn counts(&self) -> &FloorCounts {
        &self.counts
    }

    /// The hub behind it.
    pub fn hub(&self) -> &HubLink {
        &self.hub
    }

    /// A new connection. It is gone when what this gives is dropped.
    pub fn enter(self: &Rc<Self>, face: Rc<dyn Face>) -> Session {
        let mut state = self.state.borrow_mut();
        state.life = state.life.wrapping_add(1);
        let life = state.life;
        let slot = state.slots.insert(Slot {
            life,
            face,
            places: Vec::new(),
            reading: None,
            turn: 0,
            touched: Cell::new(false),
        });
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        // Slots are reused: there are never 2^32 connections at once.
        let id = SessionId { worker: self.worker, slot: u32::try_from(slot).unwrap_or(u32::MAX), life };
        Session::new(Rc::clone(self), id)
    }

    /// Takes the hub's post until there is no hub. To be spawned on the worker.
    pub async fn serve(self: Rc<Self>, post: mpsc::Receiver<Vec<ToWorker>>) {
        let mut post = Post::new(post);
        while let Some(batch) = post.next().await {
            self.take(batch);
        }
        self.cut_all(Cut::ShuttingDown);
    }

    /// Hands out one batch.
    pub fn take(&self, batch: Vec<ToWorker>) {
        let mut touched: Vec<u32> = Vec::new();
        for message in batch {
            self.one(message, &mut touched);
        }
        self.flush(touched);
    }

    fn flush(&self, touched: Vec<u32>) {
        for slot in touched {
            let face = {
                let state = self.state.borrow();
                let Some(slot) = state.slots.get(slot as usize) else { continue };
                slot.touched.set(false);
                Rc::clone(&slot.face)
            };
            face.flush();
        }
        self.end_ended();
    }

    /// Ends every connection.
    pub fn cut_all(&self, why: Cut) {
        let faces: Vec<Rc<dyn Face>> =
            self.state.borrow().slots.iter().map(|(_, slot)| Rc::clone(&slot.face)).collect();
        faces.iter().for_each(|face| face.cut(why));
        self.end_ended();
    }

    pub(crate) fn gone(&self, id: SessionId) {
        self.ended.borrow_mut().push(id);
        if self.state.try_borrow_mut().is_ok() {
            self.end_ended();
        }
    }

    fn end_ended(&self) {
        let ended = std::mem::take(&mut *self.ended.borrow_mut());
        for id in ended {
            let slot = {
                let mut state = self.state.borrow_mut();
                if slot_of(&mut state, id).is_none() {
                    continue;
                }
                let slot = state.slots.remove(id.slot as usize);
                for (room, _) in &slot.places {
                    out_of(&mut state, *room, id.slot);
                }
                slot
            };
            // The last hold on its face may be this one: outside of the borrow.
            drop(slot);
            self.counts.connections.fetch_sub(1, Ordering::Relaxed);
            self.hub.say(ToHub::Gone(id));
        }
    }

    fn one(&self, message: ToWorker, touched: &mut Vec<u32>) {
        match message {
            ToWorker::Published(published) => self.publish(&published, touched),
            ToWorker::Answer { session, tag, outcome } => {
                self.with_face(session, touched, |face| face.answered(tag, &outcome));
            }
            ToWorker::Joined { session, room, tag, mut joined, next, end, stays } => {
                let stands = if stays { self.next_of(session, room) } else { None };
                if let (Some(joined), Some(next)) = (&mut joined, stands) {
                    joined.next = next;
                }
                let joined = joined.map(|joined| match tag {
                    Some(tag) => (Some(tag), Joining::Answer(Ok(Reply::Joined(joined)))),
                    None => (None, Joining::Notice(Notice::Joined(joined))),
                });
                self.with_face(session, touched, |face| match &joined {
                    Some((Some(tag), Joining::Answer(answer))) => face.answered(*tag, answer),
                    Some((_, Joining::Notice(notice))) => face.told(notice),
                    _ => {}
                });
                if stands.is_none() {
                    self.place(session, room, Cursor::new(next, end));
                }
            }
            ToWorker::Left { session, room, notice } => {
                if self.out(session, room)
                    && let Some(notice) = notice
                {
                    self.with_face(session, touched, |face| face.told(&notice));
                }
            }
            ToWorker::Page { session, published, from, end } => {
                self.page(session, &published, (from, end), touched);
            }
            ToWorker::NotRead { session, room } => self.not_read(session, room),
            ToWorker::Around { room, notice, except } => self.around(room, &notice, except, touched),
            ToWorker::Tell { session, notice } => self.with_face(session, touched, |face| face.told(&notice)),
            ToWorker::Cut { session, why } => {
                self.counts.cut.fetch_add(1, Ordering::Relaxed);
                self.with_face(session, touched, |face| face.cut(why));
            }
        }
    }

    fn with_face(&self, id: SessionId, touched: &mut Vec<u32>, what: impl FnOnce(&dyn Face)) {
        let face = {
            let mut state = self.state.borrow_mut();
            let Some(slot) = slot_of(&mut state, id) else { return };
            touch(slot, id.slot, touched);
            Rc::clone(&slot.face)
        };
        what(&*face);
    }

    /// What comes next to somebody who is there.
    fn next_of(&self, id: SessionId, room: RoomId) -> Option<u64> {
        let mut state = self.state.borrow_mut();
        let (_, cursor) = slot_of(&mut state, id)?.places.iter().find(|(have, _)| *have == room)?;
        Some(cursor.next())
    }

    fn place(&self, id: SessionId, room: RoomId, cursor: Cursor) {
        let mut state = self.state.borrow_mut();
        let Some(slot) = slot_of(&mut state, id) else { return };
        let takes = slot.face.takes();
        let is_new = match slot.places.iter_mut().find(|(have, _)| *have == room) {
            Some((_, have)) => {
                // It joins again, from another place: what is being read for it is not what it asks for now.
                *have = cursor;
                false
            }
            None => {
                slot.places.push((room, cursor));
                true
            }
        };
        self.read_on(id, slot, takes);
        if is_new {
            state.rooms.entry(room).or_default().push(id.slot);
        }
    }

    /// The hot path: everybody in a conversation, one after another.
    fn publish(&self, published: &Published, touched: &mut Vec<u32>) {
        let mut state = self.state.borrow_mut();
        let State { slots, rooms, .. } = &mut *state;
        let Some(members) = rooms.get(&published.room) else { return };
        let (mut delivered, mut behind) = (0, 0);
        for &at in members {
            let Some(slot) = slots.get_mut(at as usize) else { continue };
            let Some((_, cursor)) = slot.places.iter_mut().find(|(have, _)| *have == published.room) else {
                continue;
            };
            let was_live = cursor.is_live();
            let takes = slot.face.takes();
            if cursor.published(published.first, published.count, takes) {
                slot.face.published(published);
                touch(slot, at, touched);
                delivered += published.count;
            } else if !cursor.is_live() {
                behind += u64::from(was_live);
                let id = SessionId { worker: self.worker, slot: at, life: slot.life };
                self.read_on(id, slot, takes);
            }
        }
        self.counts.deliveries.fetch_add(delivered, Ordering::Relaxed);
        self.counts.behind.fetch_add(behind, Ordering::Relaxed);
    }

    fn around(&self, room: RoomId, notice: &Notice, except: Option<SessionId>, touched: &mut Vec<u32>) {
        let mut state = self.state.borrow_mut();
        let State { slots, rooms, .. } = &mut *state;
        let Some(members) = rooms.get(&room) else { return };
        for &at in members {
            let Some(slot) = slots.get_mut(at as usize) else { continue };
            let id = SessionId { worker: self.worker, slot: at, life: slot.life };
            // Nobody is made to wait for it, and it is kept for nobody.
            if Some(id) != except && slot.face.takes() {
                slot.face.told(notice);
                touch(slot, at, touched);
            }
        }
    }
}

enum Joining {
    Answer(Result<Reply, Refusal>),
    Notice(Notice),
}

fn slot_of(state: &mut State, id: SessionId) -> Option<&mut Slot> {
    state.slots.get_mut(id.slot as usize).filter(|slot| slot.life == id.life)
}

fn out_of(state: &mut State, room: RoomId, slot: u32) {
    if let Some(members) = state.rooms.get_mut(&room) {
        if let Some(at) = members.iter().position(|have| *have == slot) {
            members.swap_remove(at);
        }
        if members.is_empty() {
            state.rooms.remove(&room);
        }
    }
}

fn touch(slot: &Slot, at: u32, touched: &mut Vec<u32>) {
    if !slot.touched.replace(true) {
        touched.push(at);
    }
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Floor({})", self.worker)
    }
}

#[cfg(test)]
mod tests;
