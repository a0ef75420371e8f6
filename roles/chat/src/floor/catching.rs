//! Those who are behind: what they missed, one page of the log after another.
//!
//! **Job.** Ask for a connection's next page when it has room for it; hand pages out when nobody waits for what is said now.
//! **Called by** `floor`. **Calls** [`super::Face`], the hub.
//!
//! Invariants
//! 1. One page at most is on its way to a connection, whatever number of conversations it is behind in: each in turn.
//! 2. A connection that takes nothing has nothing read for it.
//! 3. Pages wait for what is said now, never the other way round: a crowd that comes back is served beside the room, not before it.
//!
//! Not here: which offset is next (`cursor`), reading (`hub::pages`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Floor, Slot, out_of, slot_of, touch};
use crate::cursor::Piece;
use crate::notice::Notice;
use crate::post::{Published, RoomId, SessionId, ToHub, ToWorker};

/// Pages handed out before it is looked whether something was said.
const PAGES_PER_TURN: usize = 16;

/// What the hub said meanwhile is done at once, up to so many messages: a worker that has more to do than it can writes more to
/// each connection with one call.
const TOGETHER_MAX: usize = 256;

/// The post of a worker: first what is said now, then pages.
pub(super) struct Post {
    inbox: Receiver<Vec<ToWorker>>,
    /// Bounded: one for each connection.
    pages: VecDeque<ToWorker>,
}

impl Post {
    pub(super) fn new(inbox: Receiver<Vec<ToWorker>>) -> Self {
        Self { inbox, pages: VecDeque::new() }
    }

    /// What is to be done next. `None`: there is no hub any more.
    pub(super) async fn next(&mut self) -> Option<Vec<ToWorker>> {
        loop {
            let came = if self.pages.is_empty() {
                self.inbox.recv().await
            } else {
                match self.inbox.try_recv() {
                    Ok(batch) => Some(batch),
                    Err(TryRecvError::Disconnected) => None,
                    Err(TryRecvError::Empty) => {
                        // Connections have their turn, too: what was handed out before is being written.
                        tokio::task::yield_now().await;
                        let turn = self.pages.len().min(PAGES_PER_TURN);
                        return Some(self.pages.drain(..turn).collect());
                    }
                }
            };
            let mut batch = came?;
            while batch.len() < TOGETHER_MAX
                && let Ok(more) = self.inbox.try_recv()
            {
                batch.extend(more);
            }
            // A page may come later than it was sent: the cursor knows whether it still fits.
            self.pages.extend(batch.extract_if(.., |one| matches!(one, ToWorker::Page { .. })));
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }
}

impl Floor {
    /// A face has room again: what it missed is read.
    pub(crate) fn caught_up(&self, id: SessionId) {
        let Ok(mut state) = self.state.try_borrow_mut() else { return };
        if let Some(slot) = slot_of(&mut state, id) {
            let takes = slot.face.takes();
            self.read_on(id, slot, takes);
        }
    }

    /// Asks for the next page, if one is missing, none is on its way and there is room for it.
    pub(super) fn read_on(&self, id: SessionId, slot: &mut Slot, takes: bool) {
        if !takes || slot.reading.is_some() {
            return;
        }
        let places = slot.places.len();
        for step in 0..places {
            let at = (slot.turn + step) % places;
            let (room, cursor) = &mut slot.places[at];
            if let Some(from) = cursor.poll_read(true) {
                slot.reading = Some((*room, from));
                slot.turn = at + 1;
                return self.hub.say(ToHub::Read { session: id, room: *room, from });
            }
        }
    }

    /// A page came.
    pub(super) fn page(
        &self,
        id: SessionId,
        published: &Published,
        (from, end): (u64, u64),
        touched: &mut Vec<u32>,
    ) {
        let room = published.room;
        let found = {
            let mut state = self.state.borrow_mut();
            let Some(slot) = slot_of(&mut state, id) else { return };
            if slot.reading == Some((room, from)) {
                slot.reading = None;
            }
            touch(slot, id.slot, touched);
            // It may have left meanwhile, or joined again from another place.
            let cursor = slot.places.iter_mut().find(|(have, _)| *have == room).map(|(_, cursor)| cursor);
            let cursor = cursor.filter(|cursor| cursor.next() == from);
            cursor.map(|cursor| {
                (std::rc::Rc::clone(&slot.face), cursor.piece(published.first, published.count, end))
            })
        };
        if let Some((face, piece)) = found
            && piece != Piece::Drop
        {
            if let Piece::DeliverAfterGap { from, to } = piece {
                face.told(&Notice::Gap { room: Arc::clone(&published.name), from, to });
            }
            if published.count > 0 {
                face.published(published);
            }
            self.counts.deliveries.fetch_add(published.count, Ordering::Relaxed);
        }
        let mut state = self.state.borrow_mut();
        let Some(slot) = slot_of(&mut state, id) else { return };
        // Asked only when more is missing: who is told that it wants none now takes nothing that is said now, either.
        if slot.places.iter().any(|(_, cursor)| !cursor.is_live()) {
            let takes = slot.face.wants_page();
            self.read_on(id, slot, takes);
        }
    }

    /// A page could not be read: it is asked for again.
    pub(super) fn not_read(&self, id: SessionId, room: RoomId) {
        let mut state = self.state.borrow_mut();
        let Some(slot) = slot_of(&mut state, id) else { return };
        if slot.reading.is_some_and(|(reading, _)| reading == room) {
            slot.reading = None;
        }
        if let Some((_, cursor)) = slot.places.iter_mut().find(|(have, _)| *have == room) {
            cursor.not_read();
        }
        let takes = slot.face.takes();
        self.read_on(id, slot, takes);
    }

    /// A connection is not in a conversation any more: a page that is on its way from there is not waited for.
    pub(super) fn out(&self, id: SessionId, room: RoomId) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(slot) = slot_of(&mut state, id) else { return false };
        if let Some(at) = slot.places.iter().position(|(have, _)| *have == room) {
            slot.places.remove(at);
            // Whose turn it is stays so.
            slot.turn -= usize::from(at < slot.turn);
        }
        if slot.reading.is_some_and(|(reading, _)| reading == room) {
            slot.reading = None;
        }
        let takes = slot.face.takes();
        self.read_on(id, slot, takes);
        out_of(&mut state, room, id.slot);
        true
    }
}
