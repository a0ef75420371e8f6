//! The conversations that are in memory, each under a number that is never given again.
//!
//! **Job.** Find one by its number. **Called by** everything in `hub`.
//!
//! Invariants
//! 1. Who held a number while it waited finds the same conversation again, or none: never another one.
//!
//! Not here: what a conversation is (`state`), by which name it is found (`rooms`).

use std::collections::HashMap;

use super::state::Room;

/// A conversation's number.
pub(super) type Key = u64;

/// See the module.
#[derive(Default)]
pub(super) struct Places {
    rooms: HashMap<Key, Room>,
    last: Key,
}

impl Places {
    pub(super) fn get(&self, key: Key) -> Option<&Room> {
        self.rooms.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Room> {
        self.rooms.get_mut(&key)
    }

    pub(super) fn insert(&mut self, room: Room) -> Key {
        self.last += 1;
        self.rooms.insert(self.last, room);
        self.last
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Room> {
        self.rooms.remove(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Room)> {
        self.rooms.iter().map(|(key, room)| (*key, room))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Room)> {
        self.rooms.iter_mut().map(|(key, room)| (*key, room))
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }
}
