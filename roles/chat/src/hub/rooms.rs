//! Conversations as people call them: found, read from the store, made.
//!
//! **Job.** From `lobby`, `@mina` or `*` to a conversation whose law is known. **Called by** `flows`, `greeting`, `reading`.
//! **Calls** the store.
//!
//! Invariants
//! 1. A conversation's law is the fold of its whole log; what is saved is only a shorter way to it.
//!
//! Not here: who may do what there (`law`).

use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use madang_store::kv::When;
use madang_store::log::{History, Read, StreamId};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Hub;
use super::greeting::{hex, user_id};
use super::state::{Asker, Key, Kind, Known, Room, Side};
use crate::event::{Person, PersonId, from_entry};
use crate::law::Law;
use crate::names::{self, Address};
use crate::refusal::Refusal;

/// A law as it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    /// What comes before this offset is in it.
    upto: u64,
    epoch: u64,
    #[serde(flatten)]
    pub(super) law: Law,
}

/// How often a conversation is looked up again that was forgotten meanwhile.
const FORGOTTEN_MAX: usize = 100;

/// Who reads a conversation's law.
enum Reader {
    Nobody,
    Other(Rc<Notify>),
    You(Rc<Notify>),
}

impl Hub {
    /// The conversation somebody means, with its law known.
    pub(super) async fn find(self: &Rc<Self>, asker: &Asker, room: &str) -> Result<(Key, Side), Refusal> {
        let address = Address::read(room)?;
        // It may be forgotten by those who waited for it too and left: then it is looked up again.
        for _ in 0..FORGOTTEN_MAX {
            let (key, side) = match &address {
                Address::Room(name) => (self.room_named(name)?, 0),
                Address::Everyone => return Ok((self.everyone().await?, 0)),
                Address::Direct(name) => {
                    let other = self.person_named(name).await?;
                    self.direct(&asker.person, &other)?
                }
            };
            self.known(key).await?;
            if self.state.borrow().rooms.get(key).is_some() {
                return Ok((key, side));
            }
        }
        Err(Refusal::Busy { again_ms: 100 })
    }

    /// The same, if nothing has to be waited for.
    pub(super) fn find_now(&self, asker: &Asker, room: &str) -> Option<(Key, Side)> {
        let state = self.state.borrow();
        // By its name as it was told: the usual case, without looking at its letters.
        let session = asker.session.and_then(|id| state.sessions.get(&id))?;
        let by_name = session.places.iter().find(|(key, side)| {
            state.rooms.get(*key).is_some_and(|have| match have.kind {
                Kind::Direct(_) => *have.called(*side) == *room,
                _ => *have.name == *room,
            })
        });
        let (key, side) = *by_name?;
        matches!(state.rooms.get(key)?.known, Known::Yes).then_some((key, side))
    }

    pub(super) fn room_named(&self, name: &Arc<str>) -> Result<Key, Refusal> {
        let stream = StreamId::new(&format!("chat/{}/room/{name}", self.name))?;
        self.state.borrow_mut().room(stream, Arc::clone(name), Kind::Room)
    }

    pub(super) async fn everyone(self: &Rc<Self>) -> Result<Key, Refusal> {
        let stream = StreamId::new(&format!("chat/{}/everyone", self.name))?;
        let key = self.state.borrow_mut().room(stream, "*".into(), Kind::Everyone)?;
        self.known(key).await?;
        Ok(key)
    }

    /// The conversation of two people, and the side of the first.
    pub(super) fn direct(&self, one: &Person, other: &Person) -> Result<(Key, Side), Refusal> {
        let (side, two) = if one.id <= other.id { (0, [one, other]) } else { (1, [other, one]) };
        let both = format!("{}\0{}", two[0].id.0, two[1].id.0);
        let mark = hex(&digest::digest(&digest::SHA256, both.as_bytes()).as_ref()[..16]);
        let stream = StreamId::new(&format!("chat/{}/direct/{mark}", self.name))?;
        let kind = Kind::Direct([two[0].clone(), two[1].clone()]);
        let key = self.state.borrow_mut().room(stream, format!("@{mark}").into(), kind)?;
        Ok((key, side))
    }

    /// Whoever has this name: connected, a guest who may come back, or a user.
    pub(super) async fn person_named(&self, name: &str) -> Result<Person, Refusal> {
        let folded = names::fold(name);
        {
            let state = self.state.borrow();
            let here = state.names.get(&folded).and_then(|id| state.humans.get(id));
            if let Some(human) = here {
                return Ok(human.person.clone());
            }
            if let Some(person) = state.elsewhere.named(&folded) {
                return Ok(person);
            }
        }
        if let Some((record, _)) = self.guest(&folded).await? {
            return Ok(Person { id: record.id, name: record.name });
        }
        if let Some(directory) = &self.directory
            && let Some(name) = directory.find(&folded).await
        {
            return Ok(Person { id: user_id(&name), name });
        }
        Err(Refusal::NoSuchUser { name: name.into() })
    }

    /// Waits until a conversation's law is known.
    pub(super) async fn known(self: &Rc<Self>, key: Key) -> Result<(), Refusal> {
        loop {
            match self.reader(key)? {
                Reader::Nobody => return Ok(()),
                Reader::Other(soon) => soon.notified().await,
                Reader::You(soon) => {
                    let read = self.read_law(key).await;
                    let mut state = self.state.borrow_mut();
                    let mut missed = false;
                    if let Some(room) = state.rooms.get_mut(key) {
                        room.known = if read.is_ok() { Known::Yes } else { Known::No };
                        missed = room.missed;
                    }
                    soon.notify_waiters();
                    if missed {
                        drop(state);
                        self.catch_up(key);
                        return read;
                    }
                    if read.is_err() {
                        state.forget_if_idle(key);
                    }
                    return read;
                }
            }
        }
    }

    /// Who reads a conversation's law now.
    fn reader(&self, key: Key) -> Result<Reader, Refusal> {
        let mut state = self.state.borrow_mut();
        let Some(room) = state.rooms.get_mut(key) else { return Ok(Reader::Nobody) };
        Ok(match &room.known {
            Known::Yes => Reader::Nobody,
            Known::Soon(soon) => Reader::Other(Rc::clone(soon)),
            Known::No => {
                let soon = Rc::new(Notify::new());
                room.known = Known::Soon(Rc::clone(&soon));
                if let Some(across) = self.across.as_ref().filter(|_| room.listening.is_none()) {
                    room.listening = across.listen(room, key);
                }
                Reader::You(soon)
            }
        })
    }

    async fn read_law(&self, key: Key) -> Result<(), Refusal> {
        let (stream, name, is_room) = {
            let state = self.state.borrow();
            let Some(room) = state.rooms.get(key) else { return Ok(()) };
            (room.stream.clone(), Arc::clone(&room.name), matches!(room.kind, Kind::Room))
        };
        let position = self.store.log().open(&stream).await?;
        let mut law = Law::default();
        let mut upto = position.first;
        if is_room {
            let held = self.store.kv().get(&self.space("room"), &name).await?;
            let saved = held.and_then(|held| serde_json::from_slice::<Saved>(&held.value).ok());
            if let Some(saved) = saved.filter(|saved| saved.epoch == position.epoch) {
                (law, upto) = (saved.law, saved.upto.max(position.first));
            }
            while upto < position.next {
                match self.store.log().read(&stream, Read::from(upto)).await? {
                    History::Page(page) => {
                        for entry in page.entries {
                            upto = entry.offset + 1;
                            let event = from_entry(&name, position.epoch, entry);
                            law.apply(&event.by, &event.what);
                        }
                        if !page.more {
                            break;
                        }
                    }
                    _ => break,
                }
            }
        }
        law.exists |= position.next > 1;
        let mut state = self.state.borrow_mut();
        let Some(room) = state.rooms.get_mut(key) else { return Ok(()) };
        room.law = law;
        (room.epoch, room.first) = (position.epoch, position.first);
        // Of a conversation somebody is in already, only the law is read again.
        if room.here.is_empty() && room.writing == 0 {
            room.told = position.next;
        }
        Ok(())
    }

    /// Saves a law, so that the log before `upto` need not be read for it.
    pub(super) fn save_law(self: &Rc<Self>, room: &Room, upto: u64) {
        if !matches!(room.kind, Kind::Room) {
            return;
        }
        let saved = Saved { upto, epoch: room.epoch, law: room.law.clone() };
        let bytes = Bytes::from(serde_json::to_vec(&saved).unwrap_or_default());
        let put = self.store.kv().put(&self.space("room"), &room.name, bytes, When::Always, None);
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Not saved: the log says it all the same, it only takes longer.
            if put.await.is_err() {
                this.counts.refused_by_store();
            }
        });
    }

    /// What was saved of a law is not to be relied on.
    pub(super) fn forget_law(&self, room: &Room) {
        // In line before whoever reads it next.
        drop(self.store.kv().delete(&self.space("room"), &room.name, When::Always));
    }

    /// What a user belongs to, and how far they read.
    pub(super) async fn memberships(
        &self,
        person: &PersonId,
    ) -> Result<std::collections::BTreeMap<Arc<str>, u64>, Refusal> {
        let prefix = format!("{}/", person.0);
        let all = self.store.kv().scan(&self.space("mine"), &prefix, None, 1000).await?;
        let read = |held: &madang_store::kv::Held| {
            std::str::from_utf8(&held.value).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        Ok(all
            .iter()
            .filter_map(|(key, held)| Some((key.strip_prefix(&prefix)?.into(), read(held))))
            .collect())
    }

    /// Keeps that somebody belongs to a conversation and read up to there; or that they do not any more.
    pub(super) fn keep_membership(self: &Rc<Self>, person: &PersonId, room: &str, read: Option<u64>) {
        if person.is_guest() {
            return;
        }
        let key = format!("{}/{room}", person.0);
        let put = match read {
            Some(read) => {
                // That somebody belongs there does not undo what they have read.
                let when = if read == 0 { When::Absent } else { When::Always };
                self.store.kv().put(&self.space("mine"), &key, Bytes::from(read.to_string()), when, None)
            }
            None => self.store.kv().delete(&self.space("mine"), &key, When::Always),
        };
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if put.await.is_err() {
                this.counts.refused_by_store();
            }
        });
    }
}
