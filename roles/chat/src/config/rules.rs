//! What of a chat's settings its hub goes by.
//!
//! **Job.** Turn [`ChatSettings`] into [`Rules`]. **Called by** `madang`.
//!
//! Not here: the rules' meaning (`hub`, `law`).

use super::{ChatSettings, Create};
use crate::pace::Rate;
use crate::rules::{Makers, Rules};

impl ChatSettings {
    /// For the hub.
    pub fn rules(&self) -> Rules {
        Rules {
            guests: self.guests,
            message_bytes_max: self.message_bytes_max,
            outbox_bytes_max: self.outbox_bytes_max,
            rate: Rate { burst: self.rate.burst, every: self.rate.period / self.rate.count.max(1) },
            rooms_max: self.rooms.max,
            makers: match self.rooms.create {
                Create::Everyone => Makers::Everyone,
                Create::Users => Makers::Users,
                Create::Admins => Makers::Admins,
            },
            members_max: self.rooms.members_max,
            rooms_per_session_max: self.rooms.per_person,
            presence_every: self.presence,
            history_age_max: self.history.age,
            history_entries_max: self.history.messages,
            history_bytes_max: self.history.bytes,
            file_bytes_max: self.files.as_ref().map_or(0, |files| files.bytes_max),
            hooks: self.hooks.iter().map(|hook| hook.rule()).collect(),
            posts: self.posts.iter().map(|post| post.rule()).collect(),
            ..Rules::default()
        }
    }
}
