//! What somebody is called, and what they say of themselves, while they are connected.
//!
//! **Job.** Give a guest another name, in one step, wherever the old one stands; keep a line about somebody. **Called by** `hub`,
//! `flows`. **Calls** the store.
//!
//! Invariants
//! 1. A name belongs to one person at a time: the new one is theirs before the old one is anybody's.
//! 2. Rank, bans and history are a person's, not a name's: they stay as they are.
//! 3. Each connection that meets them is told once, in however many rooms.
//!
//! Not here: the first name (`greeting`). A user's name is their account's.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use madang_host::clock;
use madang_store::kv::{Put, When};

use super::Hub;
use super::checks::check_line;
use super::greeting::{KEPT_FOR, now_ms};
use super::presence::ANYWHERE;
use super::state::{Asker, Key, Kind, NAMED_MAX, State};
use crate::ask::ABOUT_BYTES_MAX;
use crate::event::Person;
use crate::names;
use crate::notice::Notice;
use crate::pace::Rate;
use crate::post::{SessionId, ToWorker};
use crate::refusal::Refusal;
use crate::reply::{Done, Reply, You};

/// Changes of a name or of a line about oneself: everybody who meets them is told.
pub(super) const CHANGES: Rate = Rate { burst: 5, every: Duration::from_secs(5) };

impl Hub {
    /// Another name for a guest, when it is free.
    pub(super) async fn rename(self: &Rc<Self>, asker: &Asker, wished: &str) -> Result<Reply, Refusal> {
        if !asker.person.id.is_guest() {
            return Err(Refusal::NotAllowed { who_may: "guests (a user is called as the account is)" });
        }
        let name = names::person(wished)?;
        let (old, new) = (names::fold(&asker.person.name), names::fold(&name));
        if name == asker.person.name {
            return Ok(Reply::You(you(asker, name)));
        }
        self.state.borrow_mut().may_change(asker)?;
        if old != new {
            self.name_is_free(&name, &new).await?;
            if self.guest(&new).await?.is_some() {
                return Err(Refusal::NameTaken { name });
            }
        }
        let record = self.state.borrow().humans.get(&asker.person.id).and_then(|human| human.kept.clone());
        let record = record.and_then(|record| Self::renamed(&record, &name));
        if let Some(record) = &record {
            let when = if old == new { When::Always } else { When::Absent };
            let put = self.store.kv().put(&self.space("guest"), &new, record.clone(), when, Some(KEPT_FOR));
            if let Put::Held(_) = put.await? {
                return Err(Refusal::NameTaken { name });
            }
        }
        let done = self.state.borrow_mut().rename(asker, &name, record.clone(), now_ms());
        if old != new && record.is_some() {
            // The name that is nobody's now: the new one if it was taken meanwhile, else the old one.
            let freed = if done.is_ok() { &old } else { &new };
            let delete = self.store.kv().delete(&self.space("guest"), freed, When::Always);
            if delete.await.is_err() {
                self.counts.refused_by_store();
            }
        }
        for (person, was, is, read) in done? {
            self.keep_membership(&person, &was, None);
            self.keep_membership(&person, &is, Some(read));
        }
        self.moved.notify_one();
        Ok(Reply::You(you(asker, name)))
    }

    /// What somebody says of themselves.
    pub(super) fn about(&self, asker: &Asker, text: Option<String>) -> Result<Reply, Refusal> {
        let text: Option<Arc<str>> = text.filter(|text| !text.trim().is_empty()).map(Into::into);
        if let Some(text) = &text {
            check_line("a line about oneself", text, ABOUT_BYTES_MAX)?;
        }
        let mut state = self.state.borrow_mut();
        let Some(human) = state.humans.get(&asker.person.id) else { return Err(Refusal::HelloFirst) };
        if human.about != text {
            state.may_change(asker)?;
            if let Some(human) = state.humans.get_mut(&asker.person.id) {
                human.about.clone_from(&text);
            }
            state.tell_those_near(asker, &Notice::About { by: asker.person.clone(), text });
        }
        Ok(Reply::Done(Done {}))
    }
}

fn you(asker: &Asker, name: Arc<str>) -> You {
    You { id: asker.person.id.clone(), name, guest: asker.person.id.is_guest(), admin: asker.admin }
}

/// Whose list of conversations calls one by another name now: who, the name before, the name now, how far they read.
type Called = (crate::event::PersonId, Arc<str>, Arc<str>, u64);

impl State {
    fn may_change(&mut self, asker: &Asker) -> Result<(), Refusal> {
        let Some(human) = self.humans.get_mut(&asker.person.id) else { return Err(Refusal::HelloFirst) };
        human.changes.take(CHANGES, clock::now()).map_err(|wait| Refusal::TooFast {
            again_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
        })
    }

    /// From here on they have this name, everywhere.
    fn rename(
        &mut self,
        asker: &Asker,
        name: &Arc<str>,
        record: Option<bytes::Bytes>,
        now_ms: u64,
    ) -> Result<Vec<Called>, Refusal> {
        let (before, new) = (asker.person.clone(), names::fold(name));
        let after = Person { id: before.id.clone(), name: Arc::clone(name) };
        if self.names.get(&new).is_some_and(|have| *have != before.id) {
            return Err(Refusal::NameTaken { name: Arc::clone(name) });
        }
        let Some(human) = self.humans.get_mut(&before.id) else { return Err(Refusal::HelloFirst) };
        human.person = after.clone();
        human.kept = record.or_else(|| human.kept.take());
        let about = human.about.clone();
        let sessions = u32::try_from(human.sessions.len()).unwrap_or(u32::MAX);
        self.names.remove(&names::fold(&before.name));
        self.names.insert(new, after.id.clone());
        self.elsewhere.here(&ANYWHERE.into(), &before, 0);
        self.elsewhere.here(&ANYWHERE.into(), &after, sessions);
        let called = self.rename_in_rooms(&before, &after);
        self.tell_those_near(asker, &Notice::Renamed { by: before.clone(), name: Arc::clone(name) });
        self.went(&before, about, now_ms);
        if names::fold(&before.name) != names::fold(name) {
            self.watched(&after, true);
        }
        Ok(called)
    }

    fn rename_in_rooms(&mut self, before: &Person, after: &Person) -> Vec<Called> {
        let mut called = Vec::new();
        for (_, room) in self.rooms.iter_mut() {
            if let Some(count) = room.people.get(&before.id).copied()
                && matches!(room.kind, Kind::Room)
            {
                self.elsewhere.here(&room.name, before, 0);
                self.elsewhere.here(&room.name, after, count);
                // Nobody was told of them yet: they come by the new name.
                if room.came.remove(before) {
                    room.came.insert(after.clone());
                }
            }
            let Kind::Direct(two) = &mut room.kind else { continue };
            let Some(at) = two.iter().position(|person| person.id == before.id) else { continue };
            two[at] = after.clone();
            // With themselves there is nobody else to call them so.
            let Some(other) = two.get(1 - at).filter(|other| other.id != before.id) else { continue };
            let (was, is): (Arc<str>, Arc<str>) =
                (format!("@{}", before.name).into(), format!("@{}", after.name).into());
            if let Some(human) = self.humans.get_mut(&other.id)
                && let Some(read) = human.mine.remove(&was)
            {
                let read = *human.mine.entry(Arc::clone(&is)).or_insert(read);
                called.push((other.id.clone(), was, is, read));
            }
        }
        called
    }

    /// Once to each connection that meets somebody, in rooms whose people are named or alone, and to their own.
    fn tell_those_near(&mut self, asker: &Asker, notice: &Notice) {
        let own = self.humans.get(&asker.person.id).map(|human| human.sessions.clone()).unwrap_or_default();
        let places: BTreeSet<Key> = own
            .iter()
            .filter_map(|id| self.sessions.get(id))
            .flat_map(|session| session.places.iter().map(|(key, _)| *key))
            .collect();
        let near = places.into_iter().filter_map(|key| self.rooms.get(key)).filter(|room| match room.kind {
            Kind::Room => room.people.len() <= NAMED_MAX,
            Kind::Direct(_) => true,
            Kind::Everyone => false,
        });
        let mut told: BTreeSet<SessionId> = near.flat_map(|room| room.here.keys().copied()).collect();
        told.extend(own);
        for session in told {
            self.post(session.worker, ToWorker::Tell { session, notice: notice.clone() });
        }
    }
}
