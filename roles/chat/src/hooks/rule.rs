//! What a hook wants to hear of.
//!
//! **Job.** Say whether an event of a conversation is one for a hook. Pure. **Made by** `config`. **Called by** `hub`.
//!
//! Invariants
//! 1. Nothing of a private room goes to a hook that does not name the room, and no text of a direct message to any.
//!
//! Not here: who is connected (`hub`), what is sent (`letter`).

use std::sync::Arc;

/// What a hook may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Something was said in a room.
    Message,
    /// Somebody became one of a room.
    Join,
    /// Somebody was mentioned or written to directly who is not connected.
    Mention,
}

impl Kind {
    /// As it is written in settings and in what is sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Join => "join",
            Self::Mention => "mention",
        }
    }
}

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where<'w> {
    /// In a room of this name.
    Room {
        /// Folded.
        name: &'w str,
        /// Only members see and hear it.
        private: bool,
    },
    /// Between two people.
    Direct,
    /// To everybody.
    Everyone,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRule {
    /// The hook's name.
    pub name: Arc<str>,
    /// At least one.
    pub on: Vec<Kind>,
    /// Folded names, `*` for announcements; empty: every room that is not private, and announcements.
    pub rooms: Vec<Arc<str>>,
}

impl HookRule {
    /// Whether it is told of this.
    pub fn wants(&self, kind: Kind, place: Where<'_>) -> bool {
        let named = |name: &str| self.rooms.iter().any(|room| **room == *name);
        self.on.contains(&kind)
            && match place {
                Where::Room { name, private } => named(name) || (self.rooms.is_empty() && !private),
                // Announcements mention nobody: everybody hears them.
                Where::Everyone => kind == Kind::Message && (self.rooms.is_empty() || named("*")),
                Where::Direct => kind == Kind::Mention && self.rooms.is_empty(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is private stays so unless the settings name it.
    #[test]
    fn a_hook_hears_what_it_may() {
        let open = Where::Room { name: "lobby", private: false };
        let private = Where::Room { name: "board", private: true };
        check(&[], Kind::Message, open, true);
        check(&[], Kind::Message, private, false);
        check(&[], Kind::Mention, private, false);
        check(&["board"], Kind::Message, private, true);
        check(&["board"], Kind::Message, open, false);
        check(&[], Kind::Message, Where::Direct, false);
        check(&[], Kind::Mention, Where::Direct, true);
        check(&["lobby"], Kind::Mention, Where::Direct, false);
        check(&[], Kind::Message, Where::Everyone, true);
        check(&["*"], Kind::Message, Where::Everyone, true);
        check(&["lobby"], Kind::Message, Where::Everyone, false);
        check(&[], Kind::Mention, Where::Everyone, false);
        let deaf = HookRule { name: "a".into(), on: vec![Kind::Join], rooms: vec![] };
        assert!(!deaf.wants(Kind::Message, open) && deaf.wants(Kind::Join, open));

        #[track_caller]
        fn check(rooms: &[&str], kind: Kind, place: Where<'_>, want: bool) {
            let rooms = rooms.iter().map(|room| Arc::from(*room)).collect();
            let rule = HookRule { name: "a".into(), on: vec![Kind::Message, Kind::Mention], rooms };
            assert_eq!(rule.wants(kind, place), want, "{rule:?} {kind:?} {place:?}");
        }
    }
}
