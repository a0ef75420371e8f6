//! Looking: history, search, who is where, what is unread.
//!
//! **Job.** Read the log and the state for somebody who may. **Called by** `hub`, `flows`. **Calls** the store.
//!
//! Invariants
//! 1. Nothing of a conversation is read to anybody whom its law does not let in.
//! 2. Pages and lists are bounded.
//!
//! Not here: anything that changes a conversation, pages for those who fell behind (`pages`).

use std::rc::Rc;
use std::sync::Arc;

use madang_store::log::{Before, Entry, From, History as Piece, Position, Read, Search as Words, StreamId};

use super::Hub;
use super::greeting::now_ms;
use super::rooms::Saved;
use super::state::{Asker, Key, Kind, Side, count};
use crate::ask::{FOUND_MAX, History, PAGE_MAX, Search};
use crate::event::{Event, Person, PersonId, Rank, What, from_entry};
use crate::law::Barred;
use crate::notice::Notice;
use crate::post::{SessionId, ToWorker};
use crate::refusal::Refusal;
use crate::reply::{BanList, Found, Known, Marked, Mine, Open, Past, People, Present, Reply, RoomList, Shut};

/// Events one page gives at most.
const PAGE_EVENTS_MAX: usize = PAGE_MAX;
/// And about so many bytes.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Unread messages are counted up to here.
const UNREAD_MAX: usize = 100;
const OPEN_MAX: usize = 200;
const MINE_MAX: usize = 200;
const PEOPLE_MAX: usize = 1000;

impl Hub {
    /// Entries as events; an edit has the text that its message has now.
    pub(super) async fn events(
        &self,
        stream: &StreamId,
        name: &Arc<str>,
        position: &Position,
        entries: Vec<Entry>,
    ) -> Vec<Event> {
        let mut events: Vec<Event> =
            entries.into_iter().map(|entry| from_entry(name, position.epoch, entry)).collect();
        for event in &mut events {
            if let What::Edited { of, text, .. } = &mut event.what
                && let Ok(Some(target)) = self.entry(stream, *of).await
            {
                *text = target.text;
            }
        }
        events
    }

    pub(super) async fn history(self: &Rc<Self>, asker: &Asker, history: History) -> Result<Reply, Refusal> {
        let History { room, before, after, limit, .. } = history;
        if before.is_some() && after.is_some() {
            return Err(Refusal::Malformed { why: "history: before or after, not both".into() });
        }
        let limit = limit.unwrap_or(50).clamp(1, PAGE_EVENTS_MAX);
        let (stream, name) = self.readable(asker, &room).await?;
        let read = match after {
            Some(after) => Read { from: From::Offset(after.saturating_add(1)), ..Read::newest(limit) },
            None => Read::before(before.unwrap_or(u64::MAX), limit),
        };
        match self.store.log().read(&stream, read.bytes(PAGE_BYTES_MAX)).await? {
            Piece::Page(page) => {
                let Position { epoch, first, next, .. } = page.position;
                let events = self.events(&stream, &name, &page.position, page.entries).await;
                Ok(Reply::Past(Box::new(Past { room: name, epoch, first, next, events, more: page.more })))
            }
            _ => Ok(Reply::Past(Box::new(Past {
                room: name,
                epoch: 0,
                first: 1,
                next: 1,
                events: vec![],
                more: false,
            }))),
        }
    }

    /// A conversation somebody may read.
    async fn readable(self: &Rc<Self>, asker: &Asker, room: &str) -> Result<(StreamId, Arc<str>), Refusal> {
        let (key, side) = self.find(asker, room).await?;
        self.readable_at(asker, key, side)
    }

    fn readable_at(&self, asker: &Asker, key: Key, side: Side) -> Result<(StreamId, Arc<str>), Refusal> {
        let mut state = self.state.borrow_mut();
        let Some(room) = state.rooms.get(key) else { return Err(Refusal::Busy { again_ms: 100 }) };
        let found = (room.stream.clone(), room.called(side));
        let judged = match room.kind {
            Kind::Room if !room.law.exists => Err(Refusal::NoSuchRoom { room: Arc::clone(&room.name) }),
            Kind::Room => room.law.may_read(asker.who(), now_ms()),
            Kind::Direct(_) | Kind::Everyone => Ok(()),
        };
        state.forget_if_idle(key);
        judged.map(|()| found)
    }

    pub(super) async fn search(self: &Rc<Self>, asker: &Asker, search: Search) -> Result<Reply, Refusal> {
        let Search { words, room, before, limit, .. } = search;
        let before = before.as_deref().map(cursor).transpose()?;
        if words.trim().is_empty() {
            return Err(Refusal::BadText { must: "words to look for" });
        }
        let names: Vec<String> = match room {
            Some(room) => vec![room],
            None => self.mine(asker).into_iter().map(|(name, _)| name.to_string()).collect(),
        };
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            match self.readable(asker, &name).await {
                Ok(place) => places.push(place),
                Err(refusal) if places.capacity() == 1 => return Err(refusal),
                // What one may not read any more is not looked through.
                Err(_) => {}
            }
        }
        if places.is_empty() {
            return Ok(Reply::Found(Found { found: vec![], before: None }));
        }
        let entries_max = limit.unwrap_or(20).clamp(1, FOUND_MAX);
        let before = before.map(|before| before.in_one_of(&places)).transpose()?;
        let streams = places.iter().map(|(stream, _)| stream.clone()).collect();
        let found = self.store.log().search(Words { streams, words, entries_max, before }).await?;
        let next = if found.len() == entries_max { found.last().map(|last| last.cursor()) } else { None };
        let next = next.and_then(|Before { at_ms, stream, offset }| {
            let place = places.iter().position(|(have, _)| *have == stream)?;
            places.get(place).map(|(_, name)| format!("{at_ms}:{offset}:{name}"))
        });
        let events = found.into_iter().filter_map(|found| {
            let (_, name) = places.iter().find(|(stream, _)| *stream == found.stream)?;
            Some(from_entry(name, found.epoch, found.entry))
        });
        Ok(Reply::Found(Found { found: events.collect(), before: next }))
    }

    /// What somebody calls their conversations, and how far they read there.
    fn mine(&self, asker: &Asker) -> Vec<(Arc<str>, u64)> {
        let state = self.state.borrow();
        let human = state.humans.get(&asker.person.id);
        human
            .map(|human| {
                human.mine.iter().take(MINE_MAX).map(|(name, read)| (Arc::clone(name), *read)).collect()
            })
            .unwrap_or_default()
    }

    pub(super) async fn rooms(self: &Rc<Self>, asker: &Asker) -> Result<Reply, Refusal> {
        let mut mine = Vec::new();
        for (name, read) in self.mine(asker) {
            let Ok((key, side)) = self.find(asker, &name).await else { continue };
            let (topic, private, role) = {
                let state = self.state.borrow();
                let Some(room) = state.rooms.get(key) else { continue };
                (Arc::clone(&room.law.topic), room.law.private, room.law.rank(&asker.person.id))
            };
            let Ok((stream, name)) = self.readable_at(asker, key, side) else { continue };
            let unread = self.unread(asker, &stream, &name, read).await?;
            let (epoch, next, unread, mentions, last) = unread;
            mine.push(Mine { room: name, topic, private, role, epoch, next, read, unread, mentions, last });
        }
        let (open, more) = self.open_rooms().await?;
        Ok(Reply::Rooms(Box::new(RoomList { mine, open, more })))
    }

    async fn unread(
        &self,
        asker: &Asker,
        stream: &StreamId,
        name: &Arc<str>,
        read: u64,
    ) -> Result<(u64, u64, usize, usize, Option<Event>), Refusal> {
        let Piece::Page(newest) = self.store.log().read(stream, Read::newest(UNREAD_MAX)).await? else {
            return Ok((0, 1, 0, 0, None));
        };
        let Position { epoch, next, .. } = newest.position;
        let folded = crate::names::fold(&asker.person.name);
        let (mut unread, mut mentioned, mut last) = (0, 0, None);
        for entry in newest.entries {
            let event = from_entry(name, epoch, entry);
            let What::Message { mentions, .. } = &event.what else { continue };
            if event.offset > read && event.by.id != asker.person.id {
                unread += 1;
                mentioned += usize::from(mentions.iter().any(|name| crate::names::fold(name) == folded));
            }
            last = Some(event);
        }
        Ok((epoch, next, unread, mentioned, last))
    }

    /// Rooms that everybody may join, the fullest first.
    pub(super) async fn open_rooms(self: &Rc<Self>) -> Result<(Vec<Open>, bool), Refusal> {
        let saved = self.store.kv().scan(&self.space("room"), "", None, 1000).await?;
        let mut open: std::collections::BTreeMap<Arc<str>, Open> = saved
            .into_iter()
            .filter_map(|(name, held)| {
                let Saved { law, .. } = serde_json::from_slice(&held.value).ok()?;
                let name: Arc<str> = name.into();
                let room = Open { room: Arc::clone(&name), topic: law.topic, people: 0 };
                (law.exists && !law.private && !law.invite_only).then_some((name, room))
            })
            .collect();
        let state = self.state.borrow();
        for (_, room) in state.rooms.iter() {
            if !matches!(room.kind, Kind::Room) {
                continue;
            }
            if room.law.exists && !room.law.private && !room.law.invite_only {
                let (name, topic) = (Arc::clone(&room.name), Arc::clone(&room.law.topic));
                open.insert(
                    Arc::clone(&name),
                    Open { room: name, topic, people: count(room, &state.elsewhere) },
                );
            } else {
                // What was saved of it is older.
                open.remove(&room.name);
            }
        }
        let mut open: Vec<Open> = open.into_values().collect();
        open.sort_by(|a, b| b.people.cmp(&a.people).then_with(|| a.room.cmp(&b.room)));
        let more = open.len() > OPEN_MAX;
        open.truncate(OPEN_MAX);
        Ok((open, more))
    }

    pub(super) async fn who(self: &Rc<Self>, asker: &Asker, room: &str) -> Result<Reply, Refusal> {
        let (key, side) = self.find(asker, room).await?;
        let (_, name) = self.readable_at(asker, key, side)?;
        let state = self.state.borrow();
        let Some(room) = state.rooms.get(key) else {
            return Ok(Reply::People(People { room: name, people: vec![], count: 0 }));
        };
        let away = |id| state.humans.get(id).and_then(|human| human.away.clone());
        let here = room.people.keys().filter_map(|id| state.humans.get(id)).map(|human| {
            let person = human.person.clone();
            let (role, away, about) = (room.law.rank(&person.id), human.away.clone(), human.about.clone());
            Present { role, here: true, away, about, person }
        });
        let others = state.elsewhere.people(&name).filter(|person| !room.people.contains_key(&person.id));
        let others = others.map(|person| Present {
            person: person.clone(),
            role: room.law.rank(&person.id),
            here: true,
            away: None,
            about: None,
        });
        let mut people: Vec<Present> = match &room.kind {
            Kind::Direct(two) => two
                .iter()
                .map(|person| {
                    let here = state.is_connected(&person.id);
                    let about = state.humans.get(&person.id).and_then(|human| human.about.clone());
                    Present { role: Rank::None, here, away: away(&person.id), about, person: person.clone() }
                })
                .collect(),
            _ => here.chain(others).collect(),
        };
        let count = people.iter().filter(|present| present.here).count();
        let absent = room
            .law
            .ranks
            .iter()
            .filter(|(id, _)| !room.people.contains_key(*id) && !state.elsewhere.has(&name, id));
        people.extend(absent.map(|(id, ranked)| Present {
            person: crate::event::Person { id: id.clone(), name: Arc::clone(&ranked.name) },
            role: ranked.rank,
            here: false,
            away: None,
            about: None,
        }));
        people.sort_by(|a, b| b.role.cmp(&a.role).then_with(|| a.person.name.cmp(&b.person.name)));
        people.truncate(PEOPLE_MAX);
        Ok(Reply::People(People { room: name, people, count }))
    }

    pub(super) async fn whois(self: &Rc<Self>, asker: &Asker, name: &str) -> Result<Reply, Refusal> {
        let name = name.strip_prefix('@').unwrap_or(name);
        let person = self.person_named(name).await?;
        let state = self.state.borrow();
        let human = state.humans.get(&person.id);
        let of = |id: &crate::event::PersonId| -> std::collections::BTreeSet<Key> {
            let sessions = state.humans.get(id).map(|human| human.sessions.as_slice()).unwrap_or_default();
            let places =
                sessions.iter().filter_map(|id| state.sessions.get(id)).flat_map(|session| &session.places);
            places.map(|(key, _)| *key).collect()
        };
        let both: Vec<Key> = of(&asker.person.id).intersection(&of(&person.id)).copied().collect();
        let rooms = both.into_iter().filter_map(|key| state.rooms.get(key));
        let rooms =
            rooms.filter(|room| matches!(room.kind, Kind::Room)).map(|room| Arc::clone(&room.name)).collect();
        Ok(Reply::Known(Box::new(Known {
            guest: person.id.is_guest(),
            here: state.is_connected(&person.id),
            away: human.and_then(|human| human.away.clone()),
            about: human.and_then(|human| human.about.clone()),
            since_ms: human.map(|human| human.since_ms),
            rooms,
            person,
        })))
    }

    /// Who is kept out of a room, or silent there: for whoever may come in.
    pub(super) async fn bans(self: &Rc<Self>, asker: &Asker, room: &str) -> Result<Reply, Refusal> {
        let (key, side) = self.find(asker, room).await?;
        let (_, name) = self.readable_at(asker, key, side)?;
        let (state, now_ms) = (self.state.borrow(), now_ms());
        let Some(room) = state.rooms.get(key) else { return Err(Refusal::Busy { again_ms: 100 }) };
        let list = |barred: &std::collections::BTreeMap<PersonId, Barred>| {
            let holding = barred.iter().filter(|(_, barred)| barred.holds(now_ms)).map(|(id, barred)| Shut {
                person: Person { id: id.clone(), name: Arc::clone(&barred.name) },
                until_ms: barred.until_ms,
            });
            let mut list: Vec<Shut> = holding.collect();
            list.sort_by(|a, b| a.person.name.cmp(&b.person.name));
            list.truncate(PEOPLE_MAX);
            list
        };
        let (bans, mutes) = (list(&room.law.bans), list(&room.law.mutes));
        Ok(Reply::Bans(Box::new(BanList { room: name, bans, mutes })))
    }

    /// Everything up to there was read by somebody; their other connections are told. How far it is now.
    pub(super) async fn mark_read(
        self: &Rc<Self>,
        asker: &Asker,
        room: &str,
        offset: Option<u64>,
    ) -> Result<Reply, Refusal> {
        let (key, side) = self.find(asker, room).await?;
        let (_, name) = self.readable_at(asker, key, side)?;
        let mut state = self.state.borrow_mut();
        let told = state.rooms.get(key).map_or(u64::MAX, |room| room.told);
        let Some(human) = state.humans.get_mut(&asker.person.id) else { return Err(Refusal::HelloFirst) };
        let have = human.mine.get(&name).copied().unwrap_or(0);
        let offset = offset.map_or(0, |offset| offset.min(told.saturating_sub(1).max(1)));
        if have >= offset {
            return Ok(Reply::Marked(Marked { room: name, offset: have }));
        }
        let read = human.mine.entry(Arc::clone(&name)).or_insert(0);
        *read = offset;
        let others: Vec<SessionId> =
            human.sessions.iter().copied().filter(|id| Some(*id) != asker.session).collect();
        for session in others {
            let notice = Notice::Read { room: Arc::clone(&name), offset };
            state.post(session.worker, ToWorker::Tell { session, notice });
        }
        drop(state);
        self.keep_membership(&asker.person.id, &name, Some(offset));
        Ok(Reply::Marked(Marked { room: name, offset }))
    }
}

fn cursor(text: &str) -> Result<Cursor<'_>, Refusal> {
    let bad = || Refusal::Malformed { why: "before: what the last search gave".into() };
    let mut parts = text.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (at_ms, offset) = (number().ok_or_else(bad)?, number().ok_or_else(bad)?);
    match parts.next() {
        Some(room) if !room.is_empty() => Ok(Cursor { at_ms, offset, room }),
        _ => Err(bad()),
    }
}

/// Where a page of what was found ended.
struct Cursor<'t> {
    at_ms: u64,
    offset: u64,
    room: &'t str,
}

impl Cursor<'_> {
    /// It may have been left, or closed to whoever asks, since.
    fn in_one_of(&self, places: &[(StreamId, Arc<str>)]) -> Result<Before, Refusal> {
        let Self { at_ms, offset, room } = *self;
        let place = places.iter().find(|(_, have)| **have == *room);
        let (stream, _) = place.ok_or_else(|| Refusal::NoSuchRoom { room: room.into() })?;
        Ok(Before { at_ms, stream: stream.clone(), offset })
    }
}
