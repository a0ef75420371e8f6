//! Sessions by client, in the order in which they last moved.
//!
//! **Job.** Find a session, note that it moved, give the one that was quiet longest. Pure: time is handed in, in ms.
//! **Called by** `super`. **Calls** nothing of ours.
//!
//! Invariants
//! 1. Each client has at most one session.
//! 2. From the oldest to the newest, the times of the last movement never go back.
//! 3. Every operation but [`Table::oldest_where`] costs the same for ten sessions and ten thousand.
//!
//! Not here: how many may be there, what a session is (`super`).

use std::collections::HashMap;
use std::hash::Hash;

use slab::Slab;

/// See the module.
#[derive(Debug)]
pub(super) struct Table<C, T> {
    by_client: HashMap<C, usize>,
    slots: Slab<Slot<C, T>>,
    oldest: Option<usize>,
    newest: Option<usize>,
}

#[derive(Debug)]
struct Slot<C, T> {
    client: C,
    session: T,
    moved_ms: u64,
    older: Option<usize>,
    newer: Option<usize>,
}

impl<C: Copy + Eq + Hash, T> Table<C, T> {
    /// Empty.
    pub(super) fn new() -> Self {
        Self { by_client: HashMap::new(), slots: Slab::new(), oldest: None, newest: None }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The session of a number.
    pub(super) fn get(&self, key: usize) -> Option<&T> {
        self.slots.get(key).map(|slot| &slot.session)
    }

    /// A client's session and its number, which has moved now.
    pub(super) fn find(&mut self, client: C, now_ms: u64) -> Option<(usize, &T)> {
        let key = *self.by_client.get(&client)?;
        self.moved(key, now_ms);
        Some((key, &self.slots.get(key)?.session))
    }

    /// A new session, which moved now. A client that has one already keeps it: `None`.
    pub(super) fn insert(&mut self, client: C, session: T, now_ms: u64) -> Option<usize> {
        if self.by_client.contains_key(&client) {
            return None;
        }
        let key =
            self.slots.insert(Slot { client, session, moved_ms: now_ms, older: self.newest, newer: None });
        self.by_client.insert(client, key);
        self.join_newest(key, now_ms);
        Some(key)
    }

    /// The session moved: it is the newest now.
    pub(super) fn moved(&mut self, key: usize, now_ms: u64) {
        if self.newest == Some(key) {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.moved_ms = slot.moved_ms.max(now_ms);
            }
        } else if self.slots.contains(key) {
            self.leave(key);
            self.join_newest(key, now_ms);
        }
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        if !self.slots.contains(key) {
            return None;
        }
        self.leave(key);
        let slot = self.slots.remove(key);
        self.by_client.remove(&slot.client);
        Some(slot.session)
    }

    /// The one that was quiet longest, and since when.
    pub(super) fn oldest(&self) -> Option<(usize, u64, &T)> {
        let key = self.oldest?;
        self.slots.get(key).map(|slot| (key, slot.moved_ms, &slot.session))
    }

    /// The oldest for which it is so, among the `look` oldest.
    pub(super) fn oldest_where(&self, look: usize, so: impl Fn(&C) -> bool) -> Option<usize> {
        let mut at = self.oldest;
        for _ in 0..look {
            let key = at?;
            let slot = self.slots.get(key)?;
            if so(&slot.client) {
                return Some(key);
            }
            at = slot.newer;
        }
        None
    }

    /// All of them, in no order.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, slot)| &slot.session)
    }

    fn leave(&mut self, key: usize) {
        let Some((older, newer)) = self.slots.get(key).map(|slot| (slot.older, slot.newer)) else { return };
        match older.and_then(|older| self.slots.get_mut(older)) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match newer.and_then(|newer| self.slots.get_mut(newer)) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }

    fn join_newest(&mut self, key: usize, now_ms: u64) {
        let before = self.newest.replace(key);
        let mut moved_ms = now_ms;
        match before.and_then(|before| self.slots.get_mut(before)) {
            Some(slot) => {
                slot.newer = Some(key);
                moved_ms = moved_ms.max(slot.moved_ms);
            }
            None => self.oldest = Some(key),
        }
        if let Some(slot) = self.slots.get_mut(key) {
            (slot.older, slot.newer, slot.moved_ms) = (before, None, moved_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        // Goal: the table is what a plain list is, only quicker.
        // Method: a list in the order of movement beside it, any operations on few clients, everything compared each time.
        #[test]
        fn the_table_keeps_the_order_of_a_plain_list(steps in vec((0..5_u8, 0..8_u8, 0..3_u64), 0..200)) {
            let (mut table, mut list, mut now) = (Table::new(), Vec::<(u8, usize)>::new(), 0);
            for (step, client, later) in steps {
                now += later;
                let at = list.iter().position(|(have, _)| *have == client);
                match (step, at) {
                    (0 | 1, None) => {
                        let key = table.insert(client, u32::from(client), now).unwrap();
                        list.push((client, key));
                    }
                    (0, Some(_)) => prop_assert_eq!(table.insert(client, 0, now), None),
                    (1 | 2, _) => {
                        let found = table.find(client, now).map(|(key, session)| (key, *session));
                        prop_assert_eq!(found, at.map(|at| (list[at].1, u32::from(client))));
                        if let Some(at) = at {
                            let entry = list.remove(at);
                            list.push(entry);
                        }
                    }
                    (3, Some(at)) => {
                        let (_, key) = list.remove(at);
                        prop_assert_eq!(table.remove(key), Some(u32::from(client)));
                        prop_assert_eq!(table.remove(key), None);
                    }
                    (_, at) => {
                        let found = table.oldest_where(usize::MAX, |have| *have == client);
                        prop_assert_eq!(found, at.map(|at| list[at].1));
                        prop_assert_eq!(table.oldest_where(0, |_| true), None);
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert_eq!(table.oldest().map(|(key, ..)| key), list.first().map(|(_, key)| *key));
                let mut walk = Vec::new();
                let (mut at, mut last) = (table.oldest, 0);
                while let Some(key) = at {
                    let slot = &table.slots[key];
                    prop_assert!(slot.moved_ms >= last && slot.moved_ms <= now);
                    (at, last) = (slot.newer, slot.moved_ms);
                    walk.push((slot.client, key));
                }
                prop_assert_eq!(&walk, &list);
                prop_assert_eq!(table.sessions().count(), list.len());
            }
        }
    }
}
