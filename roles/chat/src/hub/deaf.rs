//! Other machines cannot be heard: what they write is looked for in the log.
//!
//! **Job.** While the bus is away, read on in the conversations that somebody here is in. **Called by** `hub`, once. **Calls**
//! `across`.
//!
//! Invariants
//! 1. While the bus is there, nothing is asked of the database.
//!
//! Not here: what is read when the bus comes back (`across`).

use std::rc::Rc;
use std::time::Duration;

use madang_bus::{Bus, Reach};

use super::Hub;
use super::state::Key;

/// How long somebody waits at most for what was written elsewhere, in a house of few rooms.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Conversations that are looked at in one round; the others have their turn in the next.
const LOOKS_MAX: usize = 256;

impl Hub {
    /// Looks again and again. To be spawned.
    pub(super) async fn look_while_deaf(self: Rc<Self>, bus: Bus) {
        let mut last: Option<Key> = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if bus.reach() != Reach::Away {
                continue;
            }
            let mut keys: Vec<Key> = {
                let state = self.state.borrow();
                let all = state.rooms.iter().filter(|(key, room)| Some(*key) > last && !room.here.is_empty());
                all.map(|(key, _)| key).collect()
            };
            keys.sort_unstable();
            keys.truncate(LOOKS_MAX);
            // Behind the last one it begins again.
            last = if keys.len() < LOOKS_MAX { None } else { keys.last().copied() };
            keys.into_iter().for_each(|key| self.catch_up(key));
        }
    }
}
