//! Who is connected to other machines.
//!
//! **Job.** Say on the bus who is here, keep who is elsewhere. **Called by** `hub`, `state`. **Calls** the bus's presence.
//!
//! Invariants
//! 1. Somebody who is here and elsewhere is one; they go when the last of their connections does, wherever it was.
//!
//! Not here: telling a room about it (`state`), how machines find out (`engine/bus`).

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use madang_bus::Bus;
use madang_bus::presence::{Change, Presence, Times};

use super::Hub;
use super::state::{Kind, State};
use crate::event::{Person, PersonId};
use crate::names;

/// The name under which everybody is kept who is connected, whatever they are in.
pub(super) const ANYWHERE: &str = "";

/// What the machines say to each other about presence.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Whether there are other machines at all.
    pub(super) shared: bool,
    /// What changed here and was not said yet: room, who, connections.
    unsaid: Vec<(Arc<str>, Person, u32)>,
    rooms: HashMap<Arc<str>, BTreeMap<PersonId, Person>>,
    names: HashMap<String, PersonId>,
}

impl Elsewhere {
    /// Somebody has so many connections here in a room.
    pub(super) fn here(&mut self, room: &Arc<str>, person: &Person, connections: u32) {
        if self.shared {
            self.unsaid.push((Arc::clone(room), person.clone(), connections));
        }
    }

    /// Whether somebody is in a room by another machine.
    pub(super) fn has(&self, room: &str, person: &PersonId) -> bool {
        self.rooms.get(room).is_some_and(|people| people.contains_key(person))
    }

    /// Those who are in a room by other machines.
    pub(super) fn people(&self, room: &str) -> impl Iterator<Item = &Person> + use<'_> {
        self.rooms.get(room).into_iter().flat_map(|people| people.values())
    }

    /// Whoever has this folded name and is connected to another machine.
    pub(super) fn named(&self, folded: &str) -> Option<Person> {
        let id = self.names.get(folded)?;
        self.rooms.get(ANYWHERE)?.get(id).cloned()
    }

    /// Whoever stood there before under this id: nobody, or the same one, perhaps by another name.
    fn put(&mut self, room: &str, person: Person) -> Option<Person> {
        let (id, folded) = (person.id.clone(), names::fold(&person.name));
        let before = self.rooms.entry(room.into()).or_default().insert(id.clone(), person);
        if room == ANYWHERE {
            if let Some(before) = &before {
                self.names.remove(&names::fold(&before.name));
            }
            self.names.insert(folded, id);
        }
        before
    }

    fn take(&mut self, room: &str, person: &Person) -> bool {
        let Some(people) = self.rooms.get_mut(room) else { return false };
        // By this name they are gone; by another they may have come meanwhile.
        if people.get(&person.id).is_some_and(|have| have.name != person.name) {
            return false;
        }
        if room == ANYWHERE {
            self.names.remove(&names::fold(&person.name));
        }
        let was = people.remove(&person.id).is_some();
        if people.is_empty() {
            self.rooms.remove(room);
        }
        was
    }
}

impl Hub {
    /// Speaks and hears for as long as there is a bus. To be spawned.
    pub(super) async fn share_presence(self: Rc<Self>, bus: Bus) {
        let presence = Presence::new(&bus, &format!("chat/{}", self.name), Times::default());
        let Ok(mut presence) = presence else {
            // Nobody will take what is to be said: it is not kept.
            self.state.borrow_mut().elsewhere = Elsewhere::default();
            return;
        };
        let mut changes = Vec::new();
        loop {
            let unsaid = std::mem::take(&mut self.state.borrow_mut().elsewhere.unsaid);
            for (room, person, connections) in unsaid {
                presence.set(&room, &spell(&person), connections);
            }
            tokio::select! {
                () = self.moved.notified() => {}
                () = presence.next(&mut changes) => {
                    let mut state = self.state.borrow_mut();
                    changes.drain(..).for_each(|change| elsewhere(&mut state, &change));
                    drop(state);
                    self.presence_later();
                    self.flush();
                }
            }
        }
    }
}

/// Somebody came or went on some machine.
fn elsewhere(state: &mut State, change: &Change) {
    let Some(person) = read(&change.user) else { return };
    let key =
        state.rooms.iter().find(|(_, room)| matches!(room.kind, Kind::Room) && room.name == change.room);
    let key = key.map(|(key, _)| key);
    let here = match key {
        Some(key) => state.rooms.get(key).and_then(|room| room.people.get(&person.id)).copied().unwrap_or(0),
        None if *change.room == *ANYWHERE => state
            .humans
            .get(&person.id)
            .map_or(0, |human| u32::try_from(human.sessions.len()).unwrap_or(u32::MAX)),
        None => 0,
    };
    let (mut went, mut came) = (None, None);
    if change.now > here {
        went = state.elsewhere.put(&change.room, person.clone());
        came = Some(person);
        if went == came {
            return;
        }
    } else if state.elsewhere.take(&change.room, &person) {
        went = Some(person);
    }
    if here > 0 {
        return;
    }
    if *change.room == *ANYWHERE {
        went.iter().for_each(|person| state.watched(person, false));
        came.iter().for_each(|person| state.watched(person, true));
    }
    let Some(room) = key.and_then(|key| state.rooms.get_mut(key)) else { return };
    for (person, is_here) in [(went, false), (came, true)] {
        if let Some(person) = person {
            room.note(person, is_here);
        }
    }
    state.moved.extend(key);
}

fn spell(person: &Person) -> String {
    format!("{}\t{}", person.id.0, person.name)
}

fn read(user: &str) -> Option<Person> {
    let (id, name) = user.split_once('\t')?;
    Some(Person { id: PersonId(id.into()), name: name.into() })
}
