//! Pages of the log for those who fell behind or come back.
//!
//! **Job.** Read a page once, however many ask for it at the same time, and few at a time. **Called by** `hub`. **Calls** the store.
//!
//! Invariants
//! 1. At most [`PAGES_AT_ONCE`] pages are read or made into frames at a time: what is said now waits for no more than those.
//! 2. Whoever asks for a page that is on its way gets that one; each gets it once, or is told that it could not be read.
//! 3. Nothing is read for those who are not there any more.
//!
//! Not here: who needs which page and when (`cursor`, `floor`), history that somebody asks for (`reading`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use madang_store::log::{History, Read, StreamId};
use tokio::sync::Semaphore;

use super::Hub;
use super::state::Side;
use super::writing::publish;
use crate::post::{Published, RoomId, SessionId, ToWorker};

/// Pages under way. More would not come sooner from one disk, and would hold up what is said now.
const PAGES_AT_ONCE: usize = 8;
/// Bytes of one page, as the log has them: small, so that who reads slowly holds little and who reads fast waits for little.
const PAGE_BYTES_MAX: usize = 32 * 1024;
/// A page that could not be read is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Pages {
    /// Who waits for which.
    awaited: RefCell<HashMap<(RoomId, u64), Vec<SessionId>>>,
    permits: Semaphore,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { awaited: RefCell::default(), permits: Semaphore::new(PAGES_AT_ONCE) }
    }

    /// One more waits for this page. Whether it is the first.
    fn awaits(&self, page: (RoomId, u64), session: SessionId) -> bool {
        match self.awaited.borrow_mut().entry(page) {
            Entry::Occupied(mut others) => {
                others.get_mut().push(session);
                false
            }
            Entry::Vacant(nobody) => {
                nobody.insert(vec![session]);
                true
            }
        }
    }

    fn take(&self, page: (RoomId, u64)) -> Vec<SessionId> {
        self.awaited.borrow_mut().remove(&page).unwrap_or_default()
    }
}

impl Hub {
    /// A subscriber fell behind, or came back: a page of the log.
    pub(super) fn read_page(self: &Rc<Self>, session: SessionId, room: RoomId, from: u64) {
        if !self.pages.awaits((room, from), session) {
            return;
        }
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Never closed.
            let Ok(_permit) = this.pages.permits.acquire().await else { return };
            let Some((stream, name)) = this.still_awaited(room, from) else { return };
            let page = this.page(room, &stream, name, from).await;
            if page.is_none() {
                tokio::time::sleep(AGAIN).await;
            }
            let mut state = this.state.borrow_mut();
            for session in this.pages.take((room, from)) {
                let message = match &page {
                    Some((published, end)) => {
                        ToWorker::Page { session, published: Arc::clone(published), from, end: *end }
                    }
                    None => ToWorker::NotRead { session, room },
                };
                state.post(session.worker, message);
            }
            this.flush();
        });
    }

    /// Where to read it, if somebody who waits for it is still there.
    fn still_awaited(&self, room: RoomId, from: u64) -> Option<(StreamId, Arc<str>)> {
        let (key, side) = (room.0 >> 1, Side::from(room.0 & 1 == 1));
        let state = self.state.borrow();
        let have = state.rooms.get(key);
        let mut awaited = self.pages.awaited.borrow_mut();
        let waiting = awaited.get_mut(&(room, from))?;
        waiting.retain(|session| have.is_some_and(|have| have.here.get(session) == Some(&side)));
        if waiting.is_empty() {
            awaited.remove(&(room, from));
        }
        drop(awaited);
        have.filter(|_| self.pages.awaited.borrow().contains_key(&(room, from)))
            .map(|have| (have.stream.clone(), have.called(side)))
    }

    /// The page, and the offset behind the newest in the log.
    async fn page(
        &self,
        room: RoomId,
        stream: &StreamId,
        name: Arc<str>,
        from: u64,
    ) -> Option<(Arc<Published>, u64)> {
        // It must not fill by itself what may wait for a connection, whatever is written around its texts.
        let bytes = PAGE_BYTES_MAX.min(self.state.borrow().rules.outbox_bytes_max / 2);
        let read = Read::from(from).entries(bytes / 256).bytes(bytes);
        let Ok(History::Page(page)) = self.store.log().read(stream, read).await else { return None };
        self.counts.page();
        let first = page.entries.first().map_or(page.position.first.max(from), |entry| entry.offset);
        let events = self.events(stream, &name, &page.position, page.entries).await;
        Some((Arc::new(publish(room, name, first, events)), page.position.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a thousand who lack the same page have it read once; who asks when it has been handed out has it read anew.
    #[test]
    fn a_page_is_read_once_for_all_who_wait_for_it() {
        let pages = Pages::new();
        let session = |slot| SessionId { worker: 0, slot, life: 1 };
        let first: Vec<bool> = (0..1_000).map(|slot| pages.awaits((RoomId(2), 7), session(slot))).collect();
        assert!(first[0] && !first[1..].contains(&true));
        assert!(pages.awaits((RoomId(2), 8), session(1_000)), "another page");
        assert!(pages.awaits((RoomId(4), 7), session(1_001)), "of another room");
        assert_eq!(pages.take((RoomId(2), 7)), (0..1_000).map(session).collect::<Vec<_>>());
        assert!(pages.take((RoomId(2), 7)).is_empty() && pages.awaits((RoomId(2), 7), session(3)));
    }
}
