//! Tokens that ended before their time.
//!
//! **Job.** Say of somebody whose token is right whether it was taken back. **Called by** `identity` on every check. **Written by**
//! `session`, `users`, `api_key` at once, and by `keep` with what other machines wrote.
//!
//! A revocation is kept as long as tokens live that it could be about: it is a short list, however many users there are.
//!
//! Invariants
//! 1. Looking costs one relaxed load while nothing is revoked, and one read lock and two lookups else.
//! 2. An entry never gets weaker: generations only grow.
//!
//! Not here: where they are kept for other machines (`keep`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::refused::Refused;
use crate::who::{Via, Who};

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// Logins of a user before a generation.
    User(String),
    /// One session.
    Session(String),
    /// An API key.
    Key(String),
}

impl What {
    /// As it is kept.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::User(id) => format!("u/{id}"),
            Self::Session(id) => format!("s/{id}"),
            Self::Key(id) => format!("k/{id}"),
        }
    }

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (kind, id) = key.split_once('/')?;
        match kind {
            "u" => Some(Self::User(id.to_owned())),
            "s" => Some(Self::Session(id.to_owned())),
            "k" => Some(Self::Key(id.to_owned())),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Of users: what is of an earlier generation is over.
    before: u64,
    until_ms: u64,
}

#[derive(Default)]
struct Entries {
    users: HashMap<String, Entry>,
    sessions: HashMap<String, Entry>,
    keys: HashMap<String, Entry>,
}

/// See the module.
pub(crate) struct Revoked {
    entries: RwLock<Entries>,
    count: AtomicUsize,
    changes: watch::Sender<u64>,
    /// Written by this machine where others look.
    pub(crate) written: watch::Sender<u64>,
    /// What others wrote may have been missed.
    pub(crate) doubts: watch::Sender<u64>,
}

impl Default for Revoked {
    fn default() -> Self {
        let number = || watch::Sender::new(0);
        Self {
            entries: RwLock::default(),
            count: AtomicUsize::new(0),
            changes: number(),
            written: number(),
            doubts: number(),
        }
    }
}

impl Revoked {
    /// Revokes until `until_ms`, when no token it is about can be left. `before`: of users, the first generation that is good.
    pub(crate) fn add(&self, what: What, before: u64, until_ms: u64) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let (map, id) = match what {
            What::User(id) => (&mut entries.users, id),
            What::Session(id) => (&mut entries.sessions, id),
            What::Key(id) => (&mut entries.keys, id),
        };
        let is_new = map.get(&id).is_none_or(|have| have.before < before);
        let entry = map.entry(id).or_insert(Entry { before, until_ms });
        entry.before = entry.before.max(before);
        entry.until_ms = entry.until_ms.max(until_ms);
        self.counted(&entries);
        drop(entries);
        if is_new {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    /// Forgets what is over.
    pub(crate) fn sweep(&self, now_ms: u64) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let Entries { users, sessions, keys } = &mut *entries;
        for map in [users, sessions, keys] {
            map.retain(|_, entry| entry.until_ms > now_ms);
        }
        self.counted(&entries);
    }

    fn counted(&self, entries: &Entries) {
        let count = entries.users.len() + entries.sessions.len() + entries.keys.len();
        self.count.store(count, Ordering::Release);
    }

    /// Whether somebody may still come in.
    pub(crate) fn check(&self, who: &Who) -> Result<(), Refused> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let of_user = who
            .user
            .as_ref()
            .and_then(|user| entries.users.get(user.as_str()))
            .is_some_and(|entry| who.generation < entry.before);
        let of_session = who.session.as_deref().is_some_and(|id| entries.sessions.contains_key(id));
        let of_key = matches!(&who.via, Via::Key(id) if entries.keys.contains_key(&**id));
        if of_user || of_session || of_key { Err(Refused::TokenRevoked) } else { Ok(()) }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Changes its number with every revocation: who holds connections open looks at them again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::mina;

    // Goal: exactly what was revoked is refused, until its time is over; watchers hear of each once.
    #[test]
    fn exactly_what_was_revoked_is_refused() {
        let revoked = Revoked::default();
        let mut changes = revoked.changes();
        assert!(revoked.check(&mina()).is_ok());

        revoked.add(What::User("8".to_owned()), 9, 5_000);
        revoked.add(What::User("7".to_owned()), 3, 5_000);
        assert!(revoked.check(&mina()).is_ok(), "of generation 3 is good");
        assert_eq!(*changes.borrow_and_update(), 2);
        revoked.add(What::User("7".to_owned()), 4, 5_000);
        assert_eq!(revoked.check(&mina()), Err(Refused::TokenRevoked));
        revoked.add(What::User("7".to_owned()), 1, 9_000);
        assert_eq!(revoked.check(&mina()), Err(Refused::TokenRevoked), "never weaker");
        assert_eq!(*changes.borrow_and_update(), 3, "nothing new was said");

        revoked.sweep(8_999);
        assert_eq!((revoked.len(), revoked.check(&mina())), (1, Err(Refused::TokenRevoked)));
        revoked.sweep(9_000);
        assert_eq!((revoked.len(), revoked.check(&mina())), (0, Ok(())));

        revoked.add(What::Session("family".to_owned()), 0, 5_000);
        assert_eq!(revoked.check(&mina()), Err(Refused::TokenRevoked));
        let key = Who { via: Via::Key("abc".into()), session: None, ..mina() };
        assert!(revoked.check(&key).is_ok());
        revoked.add(What::Key("abc".to_owned()), 0, 5_000);
        assert_eq!(revoked.check(&key), Err(Refused::TokenRevoked));
    }

    #[test]
    fn what_is_kept_comes_back() {
        for what in [What::User("7".into()), What::Session("a_b-c".into()), What::Key("x".into())] {
            assert_eq!(What::from_key(&what.key()), Some(what));
        }
        assert_eq!(What::from_key("x/7"), None);
        assert_eq!(What::from_key(""), None);
    }
}
