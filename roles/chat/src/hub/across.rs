//! The same chat on other machines: they write to the same log, and say so on the bus.
//!
//! **Job.** Tell other machines what was written here, hear what was written there. **Called by** `hub`, `writing`, `rooms`.
//! **Calls** the bus, the store.
//!
//! The log gives the order: whatever the bus loses, repeats or brings late, a conversation is told from where it was told last,
//! and what lacks is read.
//!
//! Invariants
//! 1. What another machine wrote is told here in its place, once.
//! 2. A conversation that somebody here is in is heard from before its law is read: nothing falls between the two.
//!
//! Not here: how the bus carries (`engine/bus`), presence (`presence`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use madang_bus::mailbox::{Limits, Mailbox, What as Heard};
use madang_bus::{Bus, Handle, Subscription};
use madang_store::log::{History, Read};
use serde::{Deserialize, Serialize};

use super::Hub;
use super::state::{Asker, Key, Kind, Known, Room, Side, State};
use crate::ask::{Join, Seen};
use crate::event::{Event, Person, PersonId, What, from_entry};
use crate::notice::Notice;
use crate::refusal::Refusal;

/// The tag of the topic on which people are called; conversations have their number.
const CALLS: u64 = 0;
/// A database that is away is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What machines say to each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Carried {
    /// Written in the conversation of this topic.
    Events(Vec<Told>),
    /// Somebody is writing there.
    Typing(Person),
    /// These people are concerned by something in a conversation they may not be in.
    Call { to: Vec<PersonId>, of: Place, from: u64 },
}

/// An event without what the topic says already.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    epoch: u64,
    offset: u64,
    at_ms: u64,
    by: Person,
    #[serde(flatten)]
    what: What,
}

/// Which conversation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    Room(Arc<str>),
    Direct([Person; 2]),
}

/// The way to other machines.
pub(super) struct Across {
    handle: Handle,
    /// Held for as long as the hub lives.
    calls: Option<Subscription>,
}

impl Across {
    /// The way, and where what comes waits.
    pub(super) fn open(bus: &Bus, chat: &str) -> (Self, Mailbox) {
        let (handle, mailbox) = bus.open(Limits::default());
        let calls = handle.topic(&calls_topic(chat)).ok().map(|topic| handle.subscribe(&topic, CALLS));
        (Self { handle, calls }, mailbox)
    }

    fn publish(&self, topic: &str, carried: &Carried) {
        debug_assert!(self.calls.is_some(), "names of chats are short");
        // Numbers and text: nothing that could not be written.
        let bytes = Bytes::from(serde_json::to_vec(carried).unwrap_or_default());
        if let Ok(topic) = self.handle.topic(topic) {
            // What is too large is found in the log by whoever notices that it lacks.
            let _ = self.handle.publish(&topic, bytes);
        }
    }

    /// A conversation is heard from now on.
    pub(super) fn listen(&self, room: &Room, key: Key) -> Option<Subscription> {
        let topic = self.handle.topic(room.stream.as_str()).ok()?;
        Some(self.handle.subscribe(&topic, room.id(key, 0).0))
    }
}

fn calls_topic(chat: &str) -> String {
    format!("chat/{chat}/calls")
}

impl Hub {
    /// Tells other machines what was written here.
    pub(super) fn carry(&self, room: &Room, events: &[Event]) {
        let Some(across) = &self.across else { return };
        let told = events.iter().map(|event| Told {
            epoch: event.epoch,
            offset: event.offset,
            at_ms: event.at_ms,
            by: event.by.clone(),
            what: event.what.clone(),
        });
        across.publish(room.stream.as_str(), &Carried::Events(told.collect()));
        let Some(from) = events.first().map(|event| event.offset) else { return };
        let (to, of) = match &room.kind {
            Kind::Direct(two) => {
                (two.iter().map(|person| person.id.clone()).collect(), Place::Direct(two.clone()))
            }
            Kind::Room => {
                let called = events.iter().filter_map(|event| match &event.what {
                    What::Invited { who } => Some(who.id.clone()),
                    _ => None,
                });
                (called.collect::<Vec<_>>(), Place::Room(Arc::clone(&room.name)))
            }
            Kind::Everyone => return,
        };
        if !to.is_empty() {
            across.publish(&calls_topic(&self.name), &Carried::Call { to, of, from });
        }
    }

    /// Tells other machines that somebody is writing.
    pub(super) fn carry_typing(&self, room: &Room, by: &Person) {
        if let Some(across) = &self.across {
            across.publish(room.stream.as_str(), &Carried::Typing(by.clone()));
        }
    }

    /// Hears other machines until there is no bus. To be spawned.
    pub(super) async fn hear(self: Rc<Self>, mut mailbox: Mailbox) {
        let mut events = Vec::new();
        loop {
            mailbox.next(&mut events).await;
            for event in events.drain(..) {
                match event.what {
                    Heard::Message(bytes) => {
                        // Of a newer program: what lacks is read from the log.
                        let carried = serde_json::from_slice::<Carried>(&bytes);
                        match carried {
                            Ok(Carried::Call { to, of, from }) => self.called(&to, of, from),
                            Ok(Carried::Events(told)) => self.told_by_others(event.tag, told),
                            Ok(Carried::Typing(by)) => self.typing_elsewhere(event.tag, &by),
                            Err(_) => self.look_for_more(event.tag),
                        }
                    }
                    Heard::Live | Heard::Gap(_) => self.look_for_more(event.tag),
                }
            }
            self.flush();
        }
    }

    fn tagged(state: &State, tag: u64) -> Option<Key> {
        let key = tag >> 1;
        state.rooms.get(key).map(|_| key)
    }

    /// Something may be missing: of one conversation, or of calls, which may be about any.
    fn look_for_more(self: &Rc<Self>, tag: u64) {
        let state = self.state.borrow();
        let keys: Vec<Key> = match tag {
            CALLS => state.rooms.iter().map(|(key, _)| key).collect(),
            tag => Self::tagged(&state, tag).into_iter().collect(),
        };
        drop(state);
        for key in keys {
            self.catch_up(key);
        }
    }

    fn told_by_others(self: &Rc<Self>, tag: u64, told: Vec<Told>) {
        let mut state = self.state.borrow_mut();
        let Some(key) = Self::tagged(&state, tag) else { return };
        let Some(room) = state.rooms.get_mut(key) else { return };
        if !matches!(room.known, Known::Yes) {
            drop(state);
            return self.catch_up(key);
        }
        let (name, epoch) = (Arc::clone(&room.name), room.epoch);
        let events: Vec<Event> = told
            .into_iter()
            .filter(|told| told.epoch == epoch && told.offset >= room.told)
            .map(|told| Event {
                what: told.what,
                room: Arc::clone(&name),
                epoch: told.epoch,
                offset: told.offset,
                at_ms: told.at_ms,
                by: told.by,
            })
            .collect();
        for event in &events {
            room.law.apply(&event.by, &event.what);
        }
        self.tell_gathered(&mut state, key);
        self.tell(&mut state, key, events);
    }

    fn typing_elsewhere(&self, tag: u64, by: &Person) {
        let mut state = self.state.borrow_mut();
        let Some(key) = Self::tagged(&state, tag) else { return };
        let Some(room) = state.rooms.get(key) else { return };
        match &room.kind {
            Kind::Direct(two) => {
                let side = u8::from(two[0].id == by.id);
                let notice = Notice::Typing { room: room.called(side), by: by.clone() };
                let sessions: Vec<_> =
                    room.here.iter().filter(|(_, have)| **have == side).map(|(id, _)| *id).collect();
                for session in sessions {
                    let notice = notice.clone();
                    state.post(session.worker, crate::post::ToWorker::Tell { session, notice });
                }
            }
            _ => {
                let notice = Arc::new(Notice::Typing { room: room.called(0), by: by.clone() });
                state.around(key, &notice, None);
            }
        }
    }

    /// Somebody who may be here is concerned by something written elsewhere.
    fn called(self: &Rc<Self>, to: &[PersonId], of: Place, from: u64) {
        let is_here = to.iter().any(|id| self.state.borrow().humans.contains_key(id));
        if !is_here {
            return;
        }
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let key = match &of {
                Place::Room(name) => this.room_named(name),
                Place::Direct([one, other]) => this.direct(one, other).map(|(key, _)| key),
            };
            // What cannot be opened now is found in the list of rooms later.
            let Ok(key) = key else { return };
            if this.known(key).await.is_err() {
                return;
            }
            if let Some(room) = this.state.borrow_mut().rooms.get_mut(key)
                && room.here.is_empty()
            {
                room.told = room.told.min(from.max(room.first));
            }
            this.catch_up(key);
        });
    }

    /// Reads and tells what lacks between what was told and what there is.
    pub(super) fn catch_up(self: &Rc<Self>, key: Key) {
        {
            let mut state = self.state.borrow_mut();
            let Some(room) = state.rooms.get_mut(key) else { return };
            if matches!(room.known, Known::Soon(_)) || room.catching_up {
                room.missed = true;
                return;
            }
            (room.catching_up, room.missed) = (true, false);
        }
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                match this.catch_up_once(key).await {
                    Step::Done => break,
                    Step::More => {}
                    // Those who are here hear nothing until it is back.
                    Step::Away => tokio::time::sleep(AGAIN).await,
                }
            }
            let mut state = this.state.borrow_mut();
            if let Some(room) = state.rooms.get_mut(key) {
                room.catching_up = false;
            }
            state.forget_if_idle(key);
            drop(state);
            this.flush();
        });
    }

    async fn catch_up_once(self: &Rc<Self>, key: Key) -> Step {
        let found = self.state.borrow().rooms.get(key).map(|room| {
            (room.stream.clone(), room.told, matches!(room.known, Known::Yes), room.here.is_empty())
        });
        let Some((stream, from, is_known, is_empty)) = found else { return Step::Done };
        // Whoever comes next reads it then.
        let away = if is_empty { Step::Done } else { Step::Away };
        if !is_known {
            return match self.known(key).await {
                Ok(()) => Step::More,
                Err(_) => away,
            };
        }
        let Ok(History::Page(page)) = self.store.log().read(&stream, Read::from(from)).await else {
            return away;
        };
        let mut state = self.state.borrow_mut();
        let Some(room) = state.rooms.get_mut(key) else { return Step::Done };
        let name = Arc::clone(&room.name);
        if page.position.epoch != room.epoch {
            // Another life of it: who is there reads it from its beginning.
            room.known = Known::No;
            return Step::Done;
        }
        let events: Vec<Event> = page
            .entries
            .into_iter()
            .filter(|entry| entry.offset >= room.told)
            .map(|entry| from_entry(&name, page.position.epoch, entry))
            .collect();
        for event in &events {
            room.law.apply(&event.by, &event.what);
        }
        // What is gathered here is among them; others do not know of it yet.
        let gathered = std::mem::take(&mut room.gathered);
        self.carry(room, &gathered);
        self.tell_all(&mut state, key, events);
        let again = state.rooms.get_mut(key).is_some_and(|room| std::mem::take(&mut room.missed));
        drop(state);
        self.flush();
        if page.more || again { Step::More } else { Step::Done }
    }

    /// The conversation somebody joins. Who names nothing that they saw begins behind what has been written by now, on whatever
    /// machine: the bus may be behind, and would tell of what they know from another machine.
    pub(super) async fn find_to_join(
        self: &Rc<Self>,
        asker: &Asker,
        join: Join,
    ) -> Result<(Key, Side, Join), Refusal> {
        loop {
            let (key, side) = self.find(asker, &join.room).await?;
            let stream = {
                let state = self.state.borrow();
                let Some(room) = state.rooms.get(key) else { continue };
                let is_there = asker.session.is_some_and(|id| room.here.contains_key(&id));
                if self.across.is_none() || join.since.is_some() || is_there {
                    return Ok((key, side, join));
                }
                room.stream.clone()
            };
            let positions = self.store.log().positions(vec![stream]).await?;
            let position = positions.into_iter().next().flatten();
            let since = {
                let state = self.state.borrow();
                // Forgotten meanwhile: it is looked up again.
                let Some(room) = state.rooms.get(key) else { continue };
                let newer = position.filter(|have| have.epoch == room.epoch && have.next > room.told);
                newer.map(|have| Seen { epoch: have.epoch, offset: have.next - 1 })
            };
            if since.is_some() {
                self.catch_up(key);
            }
            return Ok((key, side, Join { since, ..join }));
        }
    }
}

/// What becomes of catching up.
enum Step {
    /// All is told.
    Done,
    /// There is more.
    More,
    /// The database is away.
    Away,
}
