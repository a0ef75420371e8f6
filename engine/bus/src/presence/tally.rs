//! How many connections everybody has in every room.
//!
//! **Job.** A map of maps that forgets what is zero. **Called by** `state`.
//!
//! Not here: whose connections they are (`state`).

use std::sync::Arc;

use hashbrown::HashMap;

/// Connections by room and user. Nobody in it has none.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rooms: HashMap<Arc<str>, HashMap<Arc<str>, u32>>,
    entries: usize,
}

impl Tally {
    /// Sets a count and gives the one before.
    pub(super) fn set(&mut self, room: &str, user: &str, connections: u32) -> u32 {
        if connections == 0 {
            let Some(users) = self.rooms.get_mut(room) else { return 0 };
            let before = users.remove(user).unwrap_or(0);
            if users.is_empty() {
                self.rooms.remove(room);
            }
            self.entries -= usize::from(before > 0);
            return before;
        }
        let users = match self.rooms.get_mut(room) {
            Some(users) => users,
            None => self.rooms.entry(room.into()).or_default(),
        };
        match users.get_mut(user) {
            Some(have) => std::mem::replace(have, connections),
            None => {
                users.insert(user.into(), connections);
                self.entries += 1;
                0
            }
        }
    }

    pub(super) fn get(&self, room: &str, user: &str) -> u32 {
        self.rooms.get(room).and_then(|users| users.get(user)).copied().unwrap_or(0)
    }

    /// Users in a room, in no order.
    pub(super) fn room(&self, room: &str) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.rooms.get(room).into_iter().flatten().map(|(user, count)| (user, *count))
    }

    /// How many users are in a room.
    pub(super) fn count(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, HashMap::len)
    }

    /// Everything, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, u32)> {
        self.rooms
            .iter()
            .flat_map(|(room, users)| users.iter().map(move |(user, count)| (room, user, *count)))
    }

    /// Users of all rooms.
    pub(super) fn len(&self) -> usize {
        self.entries
    }
}
