//! What the hub knows: connections, people, conversations, and what is on its way to the workers.
//!
//! **Job.** Hold it, and change it in whole steps that wait for nothing. **Called by** the rest of `hub`. **Calls** nothing that waits.
//!
//! Invariants
//! 1. A connection is in a room's `here` exactly when the room is among its `places`.
//! 2. Post for a worker is in the order of what happened: a connection joins between two publications, never during one.
//! 3. Everything is bounded by `Rules`.
//!
//! Not here: the store (`writing`, `reading`, `flows`).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_store::log::StreamId;
use tokio::sync::Notify;

use super::places::Places;
use super::presence::{ANYWHERE, Elsewhere};
use super::watching::Watching;
use crate::ask::{Ask, Seen};
use crate::event::{Event, Person, PersonId, Rank};
use crate::law::{Law, Who};
use crate::login::Held;
use crate::notice::{Arrived, Notice};
use crate::pace::{Pace, Rate};
use crate::post::{RoomId, SessionId, ToWorker};
use crate::refusal::Refusal;
use crate::reply::Joined;
use crate::rules::Rules;

/// Requests of one connection that wait for an earlier one of its own.
pub(super) const QUEUE_MAX: usize = 256;
/// Requests of any kind of one connection, unless messages alone may be more.
const ASKS: Rate = Rate { burst: 200, every: Duration::from_millis(5) };
/// People of a room whose names are told as they come and go; in larger ones only their number.
pub(super) const NAMED_MAX: usize = 200;

pub(super) use super::places::Key;

/// Which of the two sides of direct messages; 0 for every other conversation.
pub(super) type Side = u8;

/// A connection.
pub(super) struct Session {
    pub(super) person: Option<PersonId>,
    pub(super) places: Vec<(Key, Side)>,
    pub(super) pace: Pace,
    /// A request of its own is waiting for the store; later ones wait for it.
    pub(super) busy: bool,
    pub(super) queue: VecDeque<(u64, Ask)>,
    /// Folded names of those whose coming and going it is told.
    pub(super) watches: Vec<String>,
    /// By what its user is here, where that can be taken back.
    pub(super) login: Option<Held>,
    /// It was taken back: nothing is done for it any more.
    pub(super) over: bool,
}

/// Somebody who is connected.
pub(super) struct Human {
    pub(super) person: Person,
    pub(super) admin: bool,
    /// A guest whose name and key are kept while they are away; its record.
    pub(super) kept: Option<bytes::Bytes>,
    pub(super) sessions: Vec<SessionId>,
    pub(super) pace: Pace,
    pub(super) away: Option<Arc<str>>,
    pub(super) about: Option<Arc<str>>,
    pub(super) since_ms: u64,
    /// Conversations they belong to, as they call them, and the last offset they read there.
    pub(super) mine: BTreeMap<Arc<str>, u64>,
    pub(super) typed: Option<Instant>,
    /// How often they may change what they are called, or what they say of themselves.
    pub(super) changes: Pace,
}

/// What kind of conversation.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Room,
    /// Between these two, in the order of their ids.
    Direct([Person; 2]),
    Everyone,
}

/// Whether a conversation's law and place are known.
pub(super) enum Known {
    /// Not yet, or not any more; who needs it reads it.
    No,
    /// Being read; whoever waits is told.
    Soon(Rc<Notify>),
    Yes,
}

/// A conversation.
pub(super) struct Room {
    pub(super) name: Arc<str>,
    pub(super) stream: StreamId,
    pub(super) kind: Kind,
    pub(super) known: Known,
    /// What other machines write there is heard while this is held.
    pub(super) listening: Option<madang_bus::Subscription>,
    /// What lacks is being read.
    pub(super) catching_up: bool,
    /// Something was told by others that could not be taken yet.
    pub(super) missed: bool,
    pub(super) law: Law,
    pub(super) epoch: u64,
    /// The oldest offset that is kept.
    pub(super) first: u64,
    /// The offset behind the last one that was told.
    pub(super) told: u64,
    /// Events since its law was saved.
    pub(super) unsaved: u64,
    pub(super) here: BTreeMap<SessionId, Side>,
    pub(super) people: HashMap<PersonId, u32>,
    /// Connections of each side on each worker.
    pub(super) by_worker: Vec<[u32; 2]>,
    /// On their way to the disk.
    pub(super) writing: u32,
    pub(super) spoke: HashMap<PersonId, Instant>,
    pub(super) busy: Busy,
    pub(super) gathered: Vec<Event>,
    pub(super) came: BTreeSet<Person>,
    pub(super) went: BTreeSet<Person>,
    pub(super) presence_next: Option<Instant>,
}

/// How much is said in a room.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Busy {
    since: Option<Instant>,
    count: u32,
    /// In the second before.
    last: u32,
}

impl Busy {
    /// One more message. Whether there are more than `most` a second.
    pub(super) fn more(&mut self, now: Instant, most: u32) -> bool {
        self.many(now, 1, most)
    }

    /// So many more. Whether there are more than `most` a second.
    pub(super) fn many(&mut self, now: Instant, count: u32, most: u32) -> bool {
        match self.since.map(|since| now.saturating_duration_since(since)) {
            Some(passed) if passed < Duration::from_secs(1) => {}
            Some(passed) => {
                self.last = if passed < Duration::from_secs(2) { self.count } else { 0 };
                (self.since, self.count) = (Some(now), 0);
            }
            None => (self.since, self.count) = (Some(now), 0),
        }
        self.count = self.count.saturating_add(count);
        self.per_second() > most
    }

    /// About how many there are a second.
    pub(super) fn per_second(&self) -> u32 {
        self.count.max(self.last)
    }
}

impl Room {
    /// The number by which workers know one side of it.
    pub(super) fn id(&self, key: Key, side: Side) -> RoomId {
        RoomId((key << 1) | u64::from(side))
    }

    /// What one side calls it.
    pub(super) fn called(&self, side: Side) -> Arc<str> {
        match &self.kind {
            Kind::Direct(two) => {
                let other = &two[usize::from(1 - side)];
                format!("@{}", other.name).into()
            }
            _ => Arc::clone(&self.name),
        }
    }

    /// Somebody came or went, as the room sees it.
    pub(super) fn note(&mut self, person: Person, came: bool) {
        let (undone, done) =
            if came { (&mut self.went, &mut self.came) } else { (&mut self.came, &mut self.went) };
        if !undone.remove(&person) {
            done.insert(person);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.here.is_empty()
            && self.writing == 0
            && self.gathered.is_empty()
            && !self.catching_up
            && !matches!(self.known, Known::Soon(_))
            && !matches!(self.kind, Kind::Everyone)
    }

    /// Where somebody who has seen this much begins, and whether that is of no use.
    pub(super) fn begin(&self, since: Option<Seen>) -> (u64, bool) {
        match since {
            None => (self.told, false),
            Some(seen) if seen.epoch != self.epoch => (self.first, true),
            // Nothing of what it misses is gone: also when nothing is left of what it has seen.
            Some(seen) if seen.offset.saturating_add(1) >= self.first => {
                (seen.offset.saturating_add(1), false)
            }
            Some(_) => (self.first, true),
        }
    }
}

/// Whoever asks for something.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) person: Person,
    pub(super) admin: bool,
    pub(super) session: Option<SessionId>,
}

impl Asker {
    pub(super) fn who(&self) -> Who<'_> {
        Who { id: &self.person.id, admin: self.admin }
    }
}

/// See the module.
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) humans: HashMap<PersonId, Human>,
    /// Folded names of those who are connected.
    pub(super) names: HashMap<String, PersonId>,
    pub(super) rooms: Places,
    pub(super) by_stream: HashMap<StreamId, Key>,
    pub(super) out: Vec<Vec<ToWorker>>,
    /// Rooms in which somebody came or went since it was told.
    pub(super) moved: BTreeSet<Key>,
    pub(super) elsewhere: Elsewhere,
    pub(super) watching: Watching,
    /// Somebody will tell it.
    pub(super) presence_awaited: Cell<bool>,
    pub(super) ending: bool,
}

impl State {
    pub(super) fn new(rules: Rules, workers: usize) -> Self {
        Self {
            rules,
            sessions: HashMap::new(),
            humans: HashMap::new(),
            names: HashMap::new(),
            rooms: Places::default(),
            by_stream: HashMap::new(),
            out: (0..workers).map(|_| Vec::new()).collect(),
            moved: BTreeSet::new(),
            elsewhere: Elsewhere::default(),
            watching: Watching::default(),
            presence_awaited: Cell::new(false),
            ending: false,
        }
    }

    /// How fast one connection may ask for anything: twice as fast as it may send.
    pub(super) fn asks(&self) -> Rate {
        let Rate { burst, every } = self.rules.rate;
        Rate { burst: ASKS.burst.max(burst.saturating_mul(2)), every: ASKS.every.min(every / 2) }
    }

    pub(super) fn post(&mut self, worker: u16, message: ToWorker) {
        if let Some(out) = self.out.get_mut(usize::from(worker)) {
            out.push(message);
        }
    }

    /// A conversation's place, made if it has none.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub(super) fn room(&mut self, stream: StreamId, name: Arc<str>, kind: Kind) -> Result<Key, Refusal> {
        if let Some(key) = self.by_stream.get(&stream) {
            return Ok(*key);
        }
        let max = self.rules.rooms_max;
        if self.rooms.len() >= max {
            return Err(Refusal::Full { what: "rooms", max });
        }
        let room = Room {
            name,
            stream: stream.clone(),
            kind,
            known: Known::No,
            listening: None,
            catching_up: false,
            missed: false,
            law: Law::default(),
            epoch: 0,
            first: 1,
            told: 1,
            unsaved: 0,
            here: BTreeMap::new(),
            people: HashMap::new(),
            by_worker: vec![[0; 2]; self.out.len()],
            writing: 0,
            spoke: HashMap::new(),
            busy: Busy::default(),
            gathered: Vec::new(),
            came: BTreeSet::new(),
            went: BTreeSet::new(),
            presence_next: None,
        };
        let key = self.rooms.insert(room);
        self.by_stream.insert(stream, key);
        Ok(key)
    }

    /// Forgets a conversation nobody is in; the store has it.
    pub(super) fn forget_if_idle(&mut self, key: Key) {
        if self.rooms.get(key).is_some_and(Room::is_idle) {
            if let Some(room) = self.rooms.remove(key) {
                self.by_stream.remove(&room.stream);
            }
            self.moved.remove(&key);
        }
    }

    /// A connection is in a conversation from now on, from `since` on, or still.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub(super) fn enter(
        &mut self,
        id: SessionId,
        key: Key,
        side: Side,
        since: Option<Seen>,
        tag: Option<u64>,
    ) -> Result<(), Refusal> {
        let (members_max, places_max) = (self.rules.members_max, self.rules.rooms_per_session_max);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        // Nobody chose to hear announcements: they take no place.
        let chosen = |(key, _): &&(Key, Side)| {
            self.rooms.get(*key).is_some_and(|room| !matches!(room.kind, Kind::Everyone))
        };
        let places = session.places.iter().filter(chosen).count();
        let Some(room) = self.rooms.get_mut(key) else { return Ok(()) };
        let is_new = !room.here.contains_key(&id);
        if is_new && !matches!(room.kind, Kind::Everyone) {
            if room.here.len() >= members_max {
                return Err(Refusal::Full { what: "places in this room", max: members_max });
            }
            if places >= places_max {
                return Err(Refusal::Full { what: "rooms for one connection", max: places_max });
            }
        }
        if is_new {
            room.here.insert(id, side);
            session.places.push((key, side));
            if let Some(counts) = room.by_worker.get_mut(usize::from(id.worker)) {
                counts[usize::from(side)] += 1;
            }
            if let Some(human) = session.person.as_ref().and_then(|person| self.humans.get(person)) {
                let count = room.people.entry(human.person.id.clone()).or_default();
                *count += 1;
                let count = *count;
                if matches!(room.kind, Kind::Room) {
                    self.elsewhere.here(&room.name, &human.person, count);
                    if count == 1 && !self.elsewhere.has(&room.name, &human.person.id) {
                        room.note(human.person.clone(), true);
                    }
                    self.moved.insert(key);
                }
            }
        }
        let (next, reset) = room.begin(since);
        // Whoever was told more by another machine than this one knows yet has missed nothing.
        let end = room.told.max(next);
        let rank = session.person.as_ref().map_or(Rank::None, |person| room.law.rank(person));
        let joined = Joined {
            room: room.called(side),
            epoch: room.epoch,
            first: room.first,
            next,
            end,
            reset,
            topic: Arc::clone(&room.law.topic),
            private: room.law.private,
            invite_only: room.law.invite_only,
            slow_ms: room.law.slow_ms,
            role: rank,
            people: count(room, &self.elsewhere),
        };
        // Everybody hears announcements, and nobody is told so who did not ask.
        let silent = tag.is_none() && matches!(room.kind, Kind::Everyone);
        let message = ToWorker::Joined {
            session: id,
            room: room.id(key, side),
            tag,
            joined: (!silent).then(|| Box::new(joined)),
            next,
            end,
            stays: !is_new && since.is_none(),
        };
        self.post(id.worker, message);
        Ok(())
    }

    /// A connection leaves a conversation. `why`: it is told, for it did not ask. Whether it was there.
    pub(super) fn leave(&mut self, id: SessionId, key: Key, why: Option<Option<Arc<str>>>) -> bool {
        let Some(room) = self.rooms.get(key) else { return false };
        let Some(side) = room.here.get(&id).copied() else { return false };
        let notice = why.map(|why| Notice::Left { room: room.called(side), why });
        let left = ToWorker::Left { session: id, room: room.id(key, side), notice };
        self.post(id.worker, left);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.places.retain(|(have, _)| *have != key);
        }
        self.out_of(id, key);
        true
    }

    fn out_of(&mut self, id: SessionId, key: Key) {
        let person = self.sessions.get(&id).and_then(|session| session.person.clone());
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(side) = room.here.remove(&id) else { return };
        if let Some(counts) = room.by_worker.get_mut(usize::from(id.worker)) {
            counts[usize::from(side)] = counts[usize::from(side)].saturating_sub(1);
        }
        let Some(human) = person.as_ref().and_then(|person| self.humans.get(person)) else { return };
        if let Some(count) = room.people.get_mut(&human.person.id) {
            *count -= 1;
            let count = *count;
            if count == 0 {
                room.people.remove(&human.person.id);
            }
            if matches!(room.kind, Kind::Room) {
                self.elsewhere.here(&room.name, &human.person, count);
                if count == 0 && !self.elsewhere.has(&room.name, &human.person.id) {
                    room.note(human.person.clone(), false);
                }
                self.moved.insert(key);
            }
        }
    }

    /// A connection ended. What is to be kept of its person, if it was their last one and they are a guest who may come back.
    pub(super) fn gone(&mut self, id: SessionId, now_ms: u64) -> Option<(Person, bytes::Bytes)> {
        let places = self.sessions.get_mut(&id).map(|session| std::mem::take(&mut session.places))?;
        self.watch_nobody(id);
        for (key, _) in places {
            self.out_of(id, key);
            self.forget_if_idle(key);
        }
        let person = self.sessions.remove(&id)?.person?;
        let human = self.humans.get_mut(&person)?;
        human.sessions.retain(|have| *have != id);
        let left = u32::try_from(human.sessions.len()).unwrap_or(u32::MAX);
        self.elsewhere.here(&ANYWHERE.into(), &human.person, left);
        if !human.sessions.is_empty() {
            return None;
        }
        let human = self.humans.remove(&person)?;
        self.names.remove(&crate::names::fold(&human.person.name));
        self.went(&human.person, human.about.clone(), now_ms);
        Some((human.person, human.kept?))
    }

    /// Somebody speaks: whether their rate and the room's allow it.
    ///
    /// # Errors
    /// [`Refusal::TooFast`], [`Refusal::SlowMode`].
    pub(super) fn pace(&mut self, asker: &Asker, key: Key, now: Instant) -> Result<(), Refusal> {
        let rate = self.rules.rate;
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        if let Some(human) = self.humans.get_mut(&asker.person.id) {
            human.pace.take(rate, now).map_err(|wait| Refusal::TooFast { again_ms: ms(wait) })?;
        }
        let Some(room) = self.rooms.get_mut(key) else { return Ok(()) };
        let slow = Duration::from_millis(room.law.slow_ms);
        if slow.is_zero() || asker.admin || room.law.rank(&asker.person.id) >= Rank::Moderator {
            return Ok(());
        }
        if room.spoke.len() > 1000 {
            room.spoke.retain(|_, last| now.saturating_duration_since(*last) < slow);
        }
        let last = room.spoke.get(&asker.person.id);
        if let Some(wait) =
            last.and_then(|last| (*last + slow).checked_duration_since(now)).filter(|wait| !wait.is_zero())
        {
            return Err(Refusal::SlowMode { again_ms: ms(wait) });
        }
        room.spoke.insert(asker.person.id.clone(), now);
        Ok(())
    }

    /// Whether somebody is connected, to whichever machine.
    pub(super) fn is_connected(&self, person: &PersonId) -> bool {
        self.humans.contains_key(person) || self.elsewhere.has(ANYWHERE, person)
    }

    /// Who asks on this connection.
    ///
    /// # Errors
    /// [`Refusal::HelloFirst`].
    pub(super) fn asker(&self, id: SessionId) -> Result<Asker, Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::HelloFirst)?;
        if session.over {
            return Err(Refusal::TokenExpired);
        }
        let human =
            session.person.as_ref().and_then(|person| self.humans.get(person)).ok_or(Refusal::HelloFirst)?;
        Ok(Asker { person: human.person.clone(), admin: human.admin, session: Some(id) })
    }

    /// Tells who came and went in rooms where it is time. When it is time for the next; none: nothing waits.
    pub(super) fn tell_presence(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for key in std::mem::take(&mut self.moved) {
            let Some(room) = self.rooms.get_mut(key) else { continue };
            if !matches!(room.kind, Kind::Room) || (room.came.is_empty() && room.went.is_empty()) {
                room.came.clear();
                room.went.clear();
                continue;
            }
            if let Some(due) = room.presence_next.filter(|due| *due > now) {
                next = Some(next.map_or(due, |have| have.min(due)));
                self.moved.insert(key);
                continue;
            }
            self.tell_presence_of(key, now);
        }
        next
    }

    fn tell_presence_of(&mut self, key: Key, now: Instant) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let people = count(room, &self.elsewhere);
        // The larger the room, the rarer: what it costs stays the same.
        let times = u32::try_from(people / NAMED_MAX).unwrap_or(u32::MAX).max(1);
        room.presence_next = Some(now + self.rules.presence_every.saturating_mul(times));
        let (came, went) = (std::mem::take(&mut room.came), std::mem::take(&mut room.went));
        let named = people <= NAMED_MAX;
        let arrived = |person: Person| {
            let human = self.humans.get(&person.id);
            let about = human.and_then(|human| human.about.clone());
            let away = human.and_then(|human| human.away.clone());
            Arrived { role: room.law.rank(&person.id), about, away, person }
        };
        let joined = if named { came.into_iter().map(arrived).collect() } else { Arc::from([]) };
        let left = if named { went.into_iter().collect() } else { Arc::from([]) };
        let notice = Notice::Presence { room: room.called(0), joined, left, people };
        self.around(key, &Arc::new(notice), None);
    }

    /// Who has just come and speaks already is told to be there before what they say, where people are told by name.
    pub(super) fn introduce(&mut self, key: Key, speakers: &[Event], now: Instant) {
        let Some(room) = self.rooms.get(key) else { return };
        let is_new = !room.came.is_empty() && speakers.iter().any(|event| room.came.contains(&event.by));
        if is_new && matches!(room.kind, Kind::Room) && count(room, &self.elsewhere) <= NAMED_MAX {
            self.tell_presence_of(key, now);
        }
    }

    /// For everybody in a room who can take it.
    pub(super) fn around(&mut self, key: Key, notice: &Arc<Notice>, except: Option<SessionId>) {
        let Some(room) = self.rooms.get(key) else { return };
        let id = room.id(key, 0);
        let workers: Vec<usize> =
            room.by_worker.iter().enumerate().filter(|(_, counts)| counts[0] > 0).map(|(at, _)| at).collect();
        for worker in workers {
            if let Some(out) = self.out.get_mut(worker) {
                out.push(ToWorker::Around { room: id, notice: Arc::clone(notice), except });
            }
        }
    }
}

/// How many are in a room, on all machines.
pub(super) fn count(room: &Room, elsewhere: &Elsewhere) -> usize {
    let others = elsewhere.people(&room.name).filter(|person| !room.people.contains_key(&person.id));
    room.people.len() + others.count()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
