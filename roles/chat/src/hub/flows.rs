//! What one asks for, step by step, where a step may wait for the store.
//!
//! **Job.** Do a request: find the conversation, judge it, have it written or read. **Called by** `hub`.
//!
//! Invariants
//! 1. Each request is answered exactly once.
//! 2. Between judging and writing nothing waits: what was judged still holds.
//!
//! Not here: the law (`law`), who changes somebody's place (`order`), looking (`reading`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;

use super::checks::{check_files, check_nonce, check_said, check_text, check_topic};
use super::greeting::now_ms;
use super::limits::AWAY_BYTES_MAX;
use super::state::{Asker, Key, Kind, NAMED_MAX, Side};
use super::{Back, Hub};
use crate::ask::{Announce, Ask, Create, Join, Seen, Send, mentions};
use crate::event::What;
use crate::names::Address;
use crate::notice::Notice;
use crate::refusal::Refusal;
use crate::reply::{Done, Reply};
use crate::rules::Makers;

const TYPED_EVERY: Duration = Duration::from_secs(2);

impl Hub {
    /// Does a request that may have to wait.
    pub(super) async fn flow(self: &Rc<Self>, asker: Asker, ask: Ask, back: Back) {
        let outcome = match ask {
            Ask::Send(send) => return self.send(&asker, send, back).await,
            Ask::Edit(edit) => return self.edit(&asker, edit, back).await,
            Ask::Delete(delete) => return self.delete(&asker, delete, back).await,
            Ask::React(react) => return self.react(&asker, react, back).await,
            Ask::Announce(announce) => return self.announce(&asker, announce, back).await,
            Ask::Join(join) => return self.join(&asker, join, back).await,
            Ask::Create(create) => return self.create(&asker, create, back).await,
            Ask::Set(_)
            | Ask::Role(_)
            | Ask::Invite(_)
            | Ask::Kick(_)
            | Ask::Ban(_)
            | Ask::Unban(_)
            | Ask::Mute(_)
            | Ask::Unmute(_) => return self.order(&asker, ask, back).await,
            Ask::History(history) => self.history(&asker, history).await,
            Ask::Search(search) => self.search(&asker, search).await,
            Ask::Rooms(_) => self.rooms(&asker).await,
            Ask::Who(who) => self.who(&asker, &who.room).await,
            Ask::Whois(whois) => self.whois(&asker, &whois.who).await,
            Ask::MarkRead(read) => self.mark_read(&asker, &read.room, read.offset).await,
            Ask::Bans(bans) => self.bans(&asker, &bans.room).await,
            Ask::Rename(rename) => self.rename(&asker, &rename.name).await,
            Ask::About(about) => self.about(&asker, about.text),
            Ask::Watch(watch) => self.watch(&asker, &watch.who),
            Ask::Whowas(was) => Ok(Reply::Gone(self.state.borrow().whowas(&was.who))),
            Ask::Leave(leave) => self.leave(&asker, &leave.room),
            Ask::Typing(typing) => self.typing(&asker, &typing.room, clock::now()),
            Ask::Away(away) => self.away(&asker, away.text),
            Ask::Ping(_) => Ok(Reply::Done(Done {})),
        };
        self.answer(back, outcome);
    }

    /// The hot path: to a conversation the connection is in.
    pub(super) fn send_at_once(
        self: &Rc<Self>,
        asker: &Asker,
        send: Send,
        back: Back,
    ) -> Option<(Ask, Back)> {
        // Files are noted in the store first.
        let found = if send.files.is_empty() { self.find_now(asker, &send.room) } else { None };
        let Some((key, side)) = found else {
            return Some((Ask::Send(send), back));
        };
        self.send_to(asker, send, (key, side), back);
        None
    }

    async fn send(self: &Rc<Self>, asker: &Asker, send: Send, back: Back) {
        match self.find(asker, &send.room).await {
            Ok(place) => {
                let named = self.name_files(&asker.person.id.0, &send.nonce, &send.files).await;
                match named {
                    Ok(()) => self.send_to(asker, send, place, back),
                    Err(refusal) => self.answer(back, Err(refusal)),
                }
            }
            Err(refusal) => self.answer(back, Err(refusal)),
        }
    }

    fn send_to(self: &Rc<Self>, asker: &Asker, send: Send, (key, side): (Key, Side), back: Back) {
        let judged = self.judge_send(asker, &send, key);
        match judged {
            Ok(()) => {
                let Send { text, nonce, reply, files, action, notice, .. } = send;
                let mentions = mentions(&text);
                let what = What::Message { text, reply, files, action, notice, mentions, edits: 0 };
                self.belong(key);
                self.write(asker, key, side, what, Some(&nonce), Some(back));
            }
            Err(refusal) => {
                self.state.borrow_mut().forget_if_idle(key);
                self.answer(back, Err(refusal));
            }
        }
    }

    fn judge_send(&self, asker: &Asker, send: &Send, key: Key) -> Result<(), Refusal> {
        let now = clock::now();
        check_nonce(&send.nonce)?;
        let mut state = self.state.borrow_mut();
        let (bytes_max, files_below) = (state.rules.message_bytes_max, state.rules.files_below.clone());
        if send.files.is_empty() {
            check_said(&send.text, send.notice, bytes_max)?;
        } else {
            check_files(&send.files, &files_below)?;
            if !send.text.trim().is_empty() {
                check_said(&send.text, send.notice, bytes_max)?;
            }
        }
        let Some(room) = state.rooms.get(key) else { return Err(Refusal::Busy { again_ms: 100 }) };
        match &room.kind {
            Kind::Room => {
                if !room.law.exists {
                    return Err(Refusal::NoSuchRoom { room: Arc::clone(&room.name) });
                }
                room.law.may_speak(asker.who(), now_ms())?;
                if asker.session.is_some_and(|id| !room.here.contains_key(&id)) {
                    return Err(Refusal::NotThere { room: Arc::clone(&room.name) });
                }
            }
            Kind::Direct(_) => {}
            Kind::Everyone => return Err(Refusal::NotAllowed { who_may: "admins, by announce," }),
        }
        state.pace(asker, key, now)
    }

    /// Both who write to each other have the conversation among theirs from now on.
    fn belong(self: &Rc<Self>, key: Key) {
        let mut new = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let Some(room) = state.rooms.get(key) else { return };
            let Kind::Direct(two) = room.kind.clone() else { return };
            // Once in the life of this place is enough: it is looked up again when it was forgotten.
            if room.law.exists {
                return;
            }
            let called = [room.called(0), room.called(1)];
            for (person, called) in two.into_iter().zip(called) {
                if let Some(human) = state.humans.get_mut(&person.id) {
                    human.mine.entry(Arc::clone(&called)).or_insert(0);
                }
                new.push((person.id, called));
            }
        }
        for (person, called) in new {
            self.keep_membership(&person, &called, Some(0));
        }
    }

    async fn announce(self: &Rc<Self>, asker: &Asker, announce: Announce, back: Back) {
        let key = match self.everyone().await {
            Ok(key) => key,
            Err(refusal) => return self.answer(back, Err(refusal)),
        };
        let bytes_max = self.state.borrow().rules.message_bytes_max;
        let judged =
            if asker.admin { Ok(()) } else { Err(Refusal::NotAllowed { who_may: "admins of this chat" }) };
        let judged = judged
            .and_then(|()| check_nonce(&announce.nonce))
            .and_then(|()| check_text("a message", &announce.text, bytes_max));
        if let Err(refusal) = judged {
            return self.answer(back, Err(refusal));
        }
        let mentions = mentions(&announce.text);
        let what = What::Message {
            text: announce.text,
            reply: None,
            files: vec![],
            action: false,
            notice: false,
            mentions,
            edits: 0,
        };
        self.write(asker, key, 0, what, Some(&announce.nonce), Some(back));
    }

    async fn join(self: &Rc<Self>, asker: &Asker, join: Join, back: Back) {
        let found = self.find_to_join(asker, join).await;
        let outcome = found.and_then(|(key, side, join)| self.come_into(asker, key, side, &join, &back));
        match outcome {
            // The answer is on its way with the place.
            Ok(()) => self.flush(),
            Err(refusal) => self.answer(back, Err(refusal)),
        }
    }

    fn come_into(
        self: &Rc<Self>,
        asker: &Asker,
        key: Key,
        side: Side,
        join: &Join,
        back: &Back,
    ) -> Result<(), Refusal> {
        let Back::Session { session, tag } = back else {
            return Err(Refusal::Malformed { why: "join needs a connection".into() });
        };
        let missing = {
            let state = self.state.borrow();
            let room = state.rooms.get(key).ok_or(Refusal::Busy { again_ms: 100 })?;
            if matches!(room.kind, Kind::Room) {
                room.law.may_enter(asker.who(), now_ms())?;
            }
            matches!(room.kind, Kind::Room) && !room.law.exists
        };
        if missing {
            let may = self.may_make(asker);
            if may.is_err() {
                let mut state = self.state.borrow_mut();
                let room = state.rooms.get(key).map(|room| Arc::clone(&room.name)).unwrap_or_default();
                state.forget_if_idle(key);
                return Err(Refusal::NoSuchRoom { room });
            }
            self.make(asker, key, false, false, None);
        }
        let mut state = self.state.borrow_mut();
        let entered = state.enter(*session, key, side, join.since, Some(*tag));
        if entered.is_err() {
            state.forget_if_idle(key);
            return entered;
        }
        let called = state.rooms.get(key).map(|room| room.called(side)).unwrap_or_default();
        let human = state.humans.get_mut(&asker.person.id);
        let is_new = human.is_some_and(|human| match human.mine.entry(Arc::clone(&called)) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(0);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        });
        if is_new && let Some(room) = state.rooms.get(key) {
            self.hand_out_join(&state, room, &asker.person);
        }
        drop(state);
        self.presence_later();
        if is_new && *called != *"*" {
            self.keep_membership(&asker.person.id, &called, Some(0));
        }
        Ok(())
    }

    fn may_make(&self, asker: &Asker) -> Result<(), Refusal> {
        let makers = self.state.borrow().rules.makers;
        match makers {
            Makers::Everyone => Ok(()),
            Makers::Users if asker.admin || !asker.person.id.is_guest() => Ok(()),
            Makers::Users => Err(Refusal::UsersOnly),
            Makers::Admins if asker.admin => Ok(()),
            Makers::Admins => Err(Refusal::NotAllowed { who_may: "admins of this chat" }),
        }
    }

    /// Writes that a room is made. Its maker owns it; a guest only if they made it on purpose.
    fn make(self: &Rc<Self>, asker: &Asker, key: Key, private: bool, invite_only: bool, back: Option<Back>) {
        let mut maker = asker.clone();
        if asker.person.id.is_guest() && back.is_none() && !private && !invite_only {
            // Nobody's: a room that came to be because somebody looked in.
            maker.person.id = crate::event::PersonId("".into());
        }
        self.write(&maker, key, 0, What::Created { private, invite_only }, None, back);
    }

    async fn create(self: &Rc<Self>, asker: &Asker, create: Create, back: Back) {
        let Create { room, topic, private, invite_only, .. } = create;
        let found = match Address::read(&room) {
            Ok(Address::Room(_)) => self.find(asker, &room).await,
            Ok(_) => Err(Refusal::BadRoom { must: "a room of a name without @ and *, to be made" }),
            Err(refusal) => Err(refusal),
        };
        let judged = found.and_then(|(key, side)| {
            self.may_make(asker)?;
            if let Some(topic) = &topic {
                check_topic(topic)?;
            }
            let state = self.state.borrow();
            let have = state.rooms.get(key).ok_or(Refusal::Busy { again_ms: 100 })?;
            if have.law.exists {
                return Err(Refusal::RoomTaken { room: Arc::clone(&have.name) });
            }
            Ok((key, side))
        });
        let (key, side) = match judged {
            Ok(place) => place,
            Err(refusal) => return self.answer(back, Err(refusal)),
        };
        // Answered when it is on disk: the last of what is written says so.
        let (once, kept) = tokio::sync::oneshot::channel();
        let mut once = Some(Back::Once(once));
        let topic = topic.filter(|topic| !topic.is_empty());
        let of_created = if topic.is_none() { once.take() } else { None };
        self.write(asker, key, side, What::Created { private, invite_only }, None, of_created);
        if let Some(text) = topic {
            self.write(asker, key, side, What::Topic { text }, None, once);
        }
        let made = match kept.await {
            Ok(Ok(Reply::Kept(kept))) => Ok(Seen { epoch: kept.epoch, offset: 0 }),
            Ok(Err(refusal)) => Err(refusal),
            _ => Err(Refusal::ShuttingDown),
        };
        let found = match made {
            Ok(since) => self.find(asker, &room).await.map(|place| (place, since)),
            Err(refusal) => Err(refusal),
        };
        let entered = found.and_then(|((key, side), since)| {
            let join = Join { room, since: Some(since), ..Join::default() };
            self.come_into(asker, key, side, &join, &back)
        });
        match entered {
            Ok(()) => self.flush(),
            Err(refusal) => self.answer(back, Err(refusal)),
        }
    }

    pub(super) fn leave(self: &Rc<Self>, asker: &Asker, room: &str) -> Result<Reply, Refusal> {
        let not_there = || Refusal::NotThere { room: room.into() };
        let folded = match Address::read(room)? {
            Address::Room(name) => name,
            _ => room.into(),
        };
        let (key, _) = self.find_now(asker, &folded).ok_or_else(not_there)?;
        let id = asker.session.ok_or_else(not_there)?;
        let mut state = self.state.borrow_mut();
        if matches!(state.rooms.get(key).map(|room| &room.kind), Some(Kind::Everyone)) {
            return Err(Refusal::NotAllowed {
                who_may: "nobody: everybody hears announcements, so nobody leaves them;",
            });
        }
        state.leave(id, key, None);
        let still = state.rooms.get(key).is_some_and(|room| room.people.contains_key(&asker.person.id));
        if !still && let Some(human) = state.humans.get_mut(&asker.person.id) {
            human.mine.remove(&folded);
        }
        state.forget_if_idle(key);
        drop(state);
        if !still {
            self.keep_membership(&asker.person.id, &folded, None);
        }
        self.presence_later();
        Ok(Reply::Done(Done {}))
    }

    pub(super) fn typing(&self, asker: &Asker, room: &str, now: Instant) -> Result<Reply, Refusal> {
        Address::read(room)?;
        let (key, side) =
            self.find_now(asker, room).ok_or_else(|| Refusal::NotThere { room: room.into() })?;
        let mut state = self.state.borrow_mut();
        let Some(human) = state.humans.get_mut(&asker.person.id) else { return Err(Refusal::HelloFirst) };
        let too_soon = human.typed.is_some_and(|last| now.saturating_duration_since(last) < TYPED_EVERY);
        let Some(room) = state.rooms.get(key) else { return Ok(Reply::Done(Done {})) };
        // In a large room nobody looks who is writing.
        if too_soon || room.people.len() > NAMED_MAX || room.law.may_speak(asker.who(), now_ms()).is_err() {
            return Ok(Reply::Done(Done {}));
        }
        if let Kind::Direct(two) = &room.kind {
            let other = &two[usize::from(1 - side)];
            self.carry_typing(room, &asker.person);
            let notice = Notice::Typing { room: room.called(1 - side), by: asker.person.clone() };
            let sessions =
                state.humans.get(&other.id).map(|human| human.sessions.clone()).unwrap_or_default();
            for session in sessions {
                state.post(session.worker, crate::post::ToWorker::Tell { session, notice: notice.clone() });
            }
        } else {
            self.carry_typing(room, &asker.person);
            let notice = Arc::new(Notice::Typing { room: room.called(side), by: asker.person.clone() });
            state.around(key, &notice, asker.session);
        }
        if let Some(human) = state.humans.get_mut(&asker.person.id) {
            human.typed = Some(now);
        }
        Ok(Reply::Done(Done {}))
    }

    pub(super) fn away(&self, asker: &Asker, text: Option<String>) -> Result<Reply, Refusal> {
        let text = text.filter(|text| !text.trim().is_empty());
        if let Some(text) = &text {
            check_text("a reason", text, AWAY_BYTES_MAX)?;
        }
        let text: Option<Arc<str>> = text.map(Into::into);
        let mut state = self.state.borrow_mut();
        let Some(human) = state.humans.get_mut(&asker.person.id) else { return Err(Refusal::HelloFirst) };
        human.away.clone_from(&text);
        let sessions = human.sessions.clone();
        let mut keys: Vec<Key> = sessions
            .iter()
            .filter_map(|id| state.sessions.get(id))
            .flat_map(|session| session.places.iter().map(|(key, _)| *key))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Some(room) = state.rooms.get(key) else { continue };
            if matches!(room.kind, Kind::Room) && room.people.len() <= NAMED_MAX {
                let notice =
                    Notice::Away { room: room.called(0), by: asker.person.clone(), text: text.clone() };
                state.around(key, &Arc::new(notice), asker.session);
            }
        }
        Ok(Reply::Done(Done {}))
    }

    /// Who came and went is told soon.
    pub(super) fn presence_later(self: &Rc<Self>) {
        self.moved.notify_one();
        let state = self.state.borrow();
        if state.moved.is_empty() || state.presence_awaited.replace(true) {
            return;
        }
        let mut wait = state.rules.presence_every;
        drop(state);
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(wait).await;
                let now = clock::now();
                let mut state = this.state.borrow_mut();
                let next = state.tell_presence(now);
                this.flush();
                match next {
                    Some(next) => wait = next.saturating_duration_since(now).max(Duration::from_millis(10)),
                    None => {
                        state.presence_awaited.set(false);
                        return;
                    }
                }
            }
        });
    }
}
