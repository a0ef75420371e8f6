//! Who is told that somebody came or went, and who was here not long ago.
//!
//! **Job.** Keep whom each connection watches, tell it at once; remember the last ones who went. **Called by** `hub`, `state`.
//!
//! Invariants
//! 1. A connection watches at most [`WATCHED_MAX`] names and is told of each coming and going once, whatever rooms they share.
//! 2. What is remembered is bounded, in memory only, and no address.
//!
//! Not here: who is in a room (`state`), on other machines (`presence`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::Hub;
use super::state::{Asker, State};
use crate::ask::WATCHED_MAX;
use crate::event::Person;
use crate::names;
use crate::notice::Notice;
use crate::post::{SessionId, ToWorker};
use crate::refusal::Refusal;
use crate::reply::{Former, Gone, Reply, Watched};

/// Departures that are remembered.
const FORMER_MAX: usize = 500;
/// Of one name, told at once.
const TOLD_MAX: usize = 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// By the folded name.
    by_name: HashMap<String, BTreeSet<SessionId>>,
    /// The last one at the end.
    former: VecDeque<Former>,
}

impl Hub {
    /// Watches these and nobody else.
    pub(super) fn watch(&self, asker: &Asker, who: &[String]) -> Result<Reply, Refusal> {
        let id = asker.session.ok_or(Refusal::Malformed { why: "watch needs a connection".into() })?;
        if who.len() > WATCHED_MAX {
            return Err(Refusal::Full { what: "names one connection watches", max: WATCHED_MAX });
        }
        Ok(Reply::Watched(Watched { here: self.state.borrow_mut().watch(id, who) }))
    }
}

impl State {
    /// Those of them who are here.
    fn watch(&mut self, id: SessionId, who: &[String]) -> Vec<Person> {
        self.watch_nobody(id);
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        let mut here = Vec::new();
        // What is no name is nobody's, ever.
        for name in who.iter().filter(|name| names::person(name).is_ok()) {
            let folded = names::fold(name);
            let watchers = self.watching.by_name.entry(folded.clone()).or_default();
            if !watchers.insert(id) {
                continue;
            }
            let human = self.names.get(&folded).and_then(|person| self.humans.get(person));
            here.extend(human.map(|human| human.person.clone()).or_else(|| self.elsewhere.named(&folded)));
            session.watches.push(folded);
        }
        here
    }

    /// Nobody is watched from there any more.
    pub(super) fn watch_nobody(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for folded in std::mem::take(&mut session.watches) {
            if let Some(watchers) = self.watching.by_name.get_mut(&folded) {
                watchers.remove(&id);
                if watchers.is_empty() {
                    self.watching.by_name.remove(&folded);
                }
            }
        }
    }

    /// Somebody came or went: those who watch this name are told.
    pub(super) fn watched(&mut self, who: &Person, here: bool) {
        let watchers = self.watching.by_name.get(&names::fold(&who.name)).cloned().unwrap_or_default();
        for session in watchers {
            let notice = Notice::Watched { who: who.clone(), here };
            self.post(session.worker, ToWorker::Tell { session, notice });
        }
    }

    /// Somebody has this name here no more.
    pub(super) fn went(&mut self, person: &Person, about: Option<Arc<str>>, now_ms: u64) {
        if self.watching.former.len() >= FORMER_MAX {
            self.watching.former.pop_front();
        }
        self.watching.former.push_back(Former { person: person.clone(), about, until_ms: now_ms });
        let folded = names::fold(&person.name);
        if !self.names.contains_key(&folded) && self.elsewhere.named(&folded).is_none() {
            self.watched(person, false);
        }
    }

    /// Who had this name, the last one first.
    pub(super) fn whowas(&self, name: &str) -> Gone {
        let folded = names::fold(name);
        let those = self.watching.former.iter().rev().filter(|one| names::fold(&one.person.name) == folded);
        Gone { people: those.take(TOLD_MAX).cloned().collect() }
    }
}
