//! How long history is kept.
//!
//! **Job.** Take away what is older than the settings say, a little at a time. **Called by** `hub`, once. **Calls** the store.
//!
//! Invariants
//! 1. Nothing is taken that the settings keep.
//!
//! Not here: deleting single messages (`flows`).

use std::rc::Rc;
use std::time::Duration;

use madang_store::log::{Keep, StreamId};

use super::Hub;

/// Each conversation is looked at about this often.
const EVERY: Duration = Duration::from_secs(600);
/// Between two pieces of work, so that writing goes on.
const BREATH: Duration = Duration::from_millis(20);

impl Hub {
    /// Goes round all conversations again and again. To be spawned.
    pub(super) async fn keep_history(self: Rc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let keep = {
                let rules = &self.state.borrow().rules;
                Keep {
                    entries_max: rules.history_entries_max,
                    bytes_max: rules.history_bytes_max,
                    age_max: rules.history_age_max,
                }
            };
            if keep != Keep::default() {
                self.trim_all(keep).await;
            }
        }
    }

    /// What could not be done is tried again in the next round.
    async fn trim_all(&self, keep: Keep) {
        let prefix = format!("chat/{}/", self.name);
        let mut after: Option<StreamId> = None;
        loop {
            let Ok(streams) = self.store.log().streams(&prefix, after.as_ref()).await else { return };
            let Some(last) = streams.last() else { return };
            after = Some(last.clone());
            for stream in streams {
                while let Ok(trimmed) = self.store.log().trim(&stream, keep).await {
                    if let Some(key) = self.state.borrow().by_stream.get(&stream).copied()
                        && let Some(room) = self.state.borrow_mut().rooms.get_mut(key)
                    {
                        room.first = trimmed.first;
                    }
                    tokio::time::sleep(BREATH).await;
                    if !trimmed.more {
                        break;
                    }
                }
            }
        }
    }
}
