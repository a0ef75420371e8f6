//! Who is where, and what they may do: pure.
//!
//! **Job.** Names, rooms, places in them, how fast somebody may write. **Called by** `hub`. **Calls** nothing.
//!
//! Invariants
//! 1. A name belongs to one session at a time, whatever its letters' case.
//! 2. Sessions, rooms and places are bounded; a room without anybody is forgotten (its messages are the store's).
//! 3. Time is handed in.
//!
//! Not here: messages (`hub`), delivering (`floor`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::refusal::Refusal;

/// A connection of a client: the worker that holds it, and its number there, which is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The worker's place.
    pub worker: usize,
    /// Its number there.
    pub number: u64,
}

/// What is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Rooms with somebody in them.
    pub rooms_max: usize,
    /// Rooms one connection may be in.
    pub rooms_per_session_max: usize,
    /// Connections in one room.
    pub members_max: usize,
    /// Messages in one go.
    pub burst: u32,
    /// One more each.
    pub every: Duration,
}

const NAME_CHARS_MAX: usize = 32;
const NAME_MUST: &str = "1 to 32 letters, digits, - _ or . long";
const ROOM_MUST: &str = "1 to 64 letters, digits, - _ or . long";
const ROOM_CHARS_MAX: usize = 64;
const NONCE_BYTES_MAX: usize = 64;

#[derive(Debug)]
struct Session {
    name: Option<Arc<str>>,
    rooms: BTreeSet<Arc<str>>,
    /// Messages it may write now, and as of when.
    tokens: u32,
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Town {
    rules: Rules,
    sessions: HashMap<SessionId, Session>,
    /// Folded names.
    names: HashMap<String, SessionId>,
    rooms: BTreeMap<Arc<str>, BTreeSet<SessionId>>,
}

impl Town {
    /// Nobody is there.
    pub fn new(rules: Rules) -> Self {
        Self { rules, sessions: HashMap::new(), names: HashMap::new(), rooms: BTreeMap::new() }
    }

    /// Other bounds from now on; nobody is thrown out.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// A connection says who it is.
    ///
    /// # Errors
    /// [`Refusal::HelloTwice`], [`Refusal::Name`], [`Refusal::NameTaken`].
    pub fn hello(&mut self, id: SessionId, name: &str, now: Instant) -> Result<(), Refusal> {
        if self.sessions.contains_key(&id) {
            return Err(Refusal::HelloTwice);
        }
        if !is_word(name, NAME_CHARS_MAX) {
            return Err(Refusal::Name { must: NAME_MUST });
        }
        let folded = name.to_lowercase();
        if self.names.contains_key(&folded) {
            return Err(Refusal::NameTaken { name: name.to_owned() });
        }
        self.names.insert(folded, id);
        let tokens = self.rules.burst;
        let session = Session { name: Some(name.into()), rooms: BTreeSet::new(), tokens, since: now };
        self.sessions.insert(id, session);
        Ok(())
    }

    /// It is in a room from now on, or still.
    ///
    /// # Errors
    /// [`Refusal::HelloFirst`], [`Refusal::Room`], [`Refusal::Full`].
    pub fn join(&mut self, id: SessionId, room: &str) -> Result<Arc<str>, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::HelloFirst)?;
        if let Some(there) = session.rooms.get(room) {
            return Ok(Arc::clone(there));
        }
        if !is_word(room, ROOM_CHARS_MAX) {
            return Err(Refusal::Room { must: ROOM_MUST });
        }
        if session.rooms.len() >= self.rules.rooms_per_session_max {
            return Err(Refusal::Full { what: "rooms for one connection", max: self.rules.rooms_per_session_max });
        }
        let name: Arc<str> = match self.rooms.get_key_value(room) {
            Some((name, members)) => {
                if members.len() >= self.rules.members_max {
                    return Err(Refusal::Full { what: "places in this room", max: self.rules.members_max });
                }
                Arc::clone(name)
            }
            None if self.rooms.len() >= self.rules.rooms_max => {
                return Err(Refusal::Full { what: "rooms", max: self.rules.rooms_max });
            }
            None => room.into(),
        };
        session.rooms.insert(Arc::clone(&name));
        self.rooms.entry(Arc::clone(&name)).or_default().insert(id);
        Ok(name)
    }

    /// It leaves a room.
    ///
    /// # Errors
    /// [`Refusal::NotThere`].
    pub fn leave(&mut self, id: SessionId, room: &str) -> Result<Arc<str>, Refusal> {
        let left = self.sessions.get_mut(&id).and_then(|session| session.rooms.take(room));
        let left = left.ok_or_else(|| Refusal::NotThere { room: room.to_owned() })?;
        self.empty(&left, id);
        Ok(left)
    }

    /// The connection is gone: the rooms it was in.
    pub fn gone(&mut self, id: SessionId) -> Vec<Arc<str>> {
        let Some(session) = self.sessions.remove(&id) else { return Vec::new() };
        if let Some(name) = &session.name {
            self.names.remove(&name.to_lowercase());
        }
        for room in &session.rooms {
            self.empty(room, id);
        }
        session.rooms.into_iter().collect()
    }

    fn empty(&mut self, room: &str, id: SessionId) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        members.remove(&id);
        if members.is_empty() {
            self.rooms.remove(room);
        }
    }

    /// It writes: its name and the room's, if it may.
    ///
    /// # Errors
    /// [`Refusal::HelloFirst`], [`Refusal::NotThere`], [`Refusal::TooLong`], [`Refusal::Text`], [`Refusal::TooFast`].
    pub fn write(
        &mut self,
        id: SessionId,
        room: &str,
        text: &str,
        nonce: &str,
        now: Instant,
    ) -> Result<(Arc<str>, Arc<str>), Refusal> {
        let rules = &self.rules;
        let session = self.sessions.get_mut(&id).ok_or(Refusal::HelloFirst)?;
        let there = session.rooms.get(room).ok_or_else(|| Refusal::NotThere { room: room.to_owned() })?;
        if text.len() > rules.message_bytes_max {
            return Err(Refusal::TooLong { bytes: text.len(), max: rules.message_bytes_max });
        }
        if text.trim().is_empty() || text.contains('\0') {
            return Err(Refusal::Text { must: "more than blanks, without the character 0" });
        }
        if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX {
            return Err(Refusal::Malformed { why: format!("nonce: 1 to {NONCE_BYTES_MAX} bytes") });
        }
        let name = session.name.clone().ok_or(Refusal::HelloFirst)?;
        let passed = now.saturating_duration_since(session.since);
        let every = rules.every.max(Duration::from_micros(1));
        let earned = u32::try_from(passed.as_nanos() / every.as_nanos()).unwrap_or(u32::MAX);
        if earned > 0 {
            session.tokens = session.tokens.saturating_add(earned).min(rules.burst);
            session.since += every.saturating_mul(earned);
            if session.tokens == rules.burst {
                session.since = now;
            }
        }
        if session.tokens == 0 {
            let wait = every.saturating_sub(now.saturating_duration_since(session.since));
            return Err(Refusal::TooFast { again_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1) });
        }
        session.tokens -= 1;
        Ok((name, Arc::clone(there)))
    }

    /// Whether it may read what is written there.
    ///
    /// # Errors
    /// [`Refusal::HelloFirst`], [`Refusal::NotThere`].
    pub fn reads(&self, id: SessionId, room: &str) -> Result<(), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::HelloFirst)?;
        session.rooms.get(room).map(|_| ()).ok_or_else(|| Refusal::NotThere { room: room.to_owned() })
    }

    /// The names of those in a room, in order.
    pub fn who(&self, room: &str) -> Vec<Arc<str>> {
        let members = self.rooms.get(room).into_iter().flatten();
        let mut names: Vec<_> =
            members.filter_map(|id| self.sessions.get(id).and_then(|session| session.name.clone())).collect();
        names.sort();
        names
    }

    /// Whether somebody on this worker is in the room.
    pub fn is_on(&self, room: &str, worker: usize) -> bool {
        let first = SessionId { worker, number: 0 };
        let members = self.rooms.get(room);
        members.is_some_and(|members| members.range(first..).next().is_some_and(|id| id.worker == worker))
    }

    /// Connections that said hello, and rooms with somebody in them.
    pub fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.rooms.len())
    }
}

/// Letters of any language, digits and a few marks: nothing that looks like markup, a path or an empty place.
fn is_word(word: &str, chars_max: usize) -> bool {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !word.is_empty() && word.chars().count() <= chars_max && word.chars().all(fine) && !word.starts_with('.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules {
            message_bytes_max: 10,
            rooms_max: 2,
            rooms_per_session_max: 2,
            members_max: 2,
            burst: 2,
            every: Duration::from_secs(1),
        }
    }

    fn id(number: u64) -> SessionId {
        SessionId { worker: usize::try_from(number % 2).unwrap(), number }
    }

    #[test]
    fn a_name_belongs_to_one_at_a_time() {
        let (mut town, now) = (Town::new(rules()), madang_host::clock::now());
        assert_eq!(town.join(id(1), "lobby"), Err(Refusal::HelloFirst));
        town.hello(id(1), "Mina", now).unwrap();
        assert_eq!(town.hello(id(1), "other", now), Err(Refusal::HelloTwice));
        assert_eq!(town.hello(id(2), "mina", now), Err(Refusal::NameTaken { name: "mina".into() }));
        for name in ["", "a b", "<b>", "a\u{0}", ".hidden", "a/b", &"x".repeat(33)] {
            assert_eq!(town.hello(id(2), name, now), Err(Refusal::Name { must: NAME_MUST }), "{name:?}");
        }
        town.hello(id(2), "민아", now).unwrap();
        town.gone(id(1));
        town.hello(id(3), "MINA", now).unwrap();
        town.join(id(2), "lobby").unwrap();
        town.join(id(3), "lobby").unwrap();
        assert_eq!(town.who("lobby"), ["MINA".into(), Arc::<str>::from("민아")]);
    }

    #[test]
    fn places_are_bounded() {
        let (mut town, now) = (Town::new(rules()), madang_host::clock::now());
        for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
            town.hello(id(number), name, now).unwrap();
        }
        town.join(id(1), "one").unwrap();
        town.join(id(1), "two").unwrap();
        assert!(matches!(town.join(id(1), "three"), Err(Refusal::Full { max: 2, .. })));
        assert!(matches!(town.join(id(2), "three"), Err(Refusal::Full { what: "rooms", .. })));
        town.join(id(2), "one").unwrap();
        assert!(matches!(town.join(id(3), "one"), Err(Refusal::Full { what: "places in this room", .. })));
        town.leave(id(2), "one").unwrap();
        town.join(id(3), "one").unwrap();
        assert_eq!(town.leave(id(2), "one"), Err(Refusal::NotThere { room: "one".into() }));
        assert_eq!(town.gone(id(1)).len(), 2);
        assert_eq!(town.counts(), (2, 1));
        assert!(town.is_on("one", 1) && !town.is_on("one", 0));
    }

    #[test]
    fn one_writes_so_much_and_so_fast() {
        let (mut town, now) = (Town::new(rules()), madang_host::clock::now());
        town.hello(id(1), "a", now).unwrap();
        assert_eq!(town.write(id(1), "r", "x", "1", now), Err(Refusal::NotThere { room: "r".into() }));
        town.join(id(1), "r").unwrap();
        assert_eq!(town.write(id(1), "r", "12345678901", "1", now), Err(Refusal::TooLong { bytes: 11, max: 10 }));
        assert!(matches!(town.write(id(1), "r", " \n", "1", now), Err(Refusal::Text { .. })));
        assert!(matches!(town.write(id(1), "r", "x", "", now), Err(Refusal::Malformed { .. })));
        town.write(id(1), "r", "x", "1", now).unwrap();
        town.write(id(1), "r", "x", "2", now).unwrap();
        let later = now + Duration::from_millis(400);
        assert_eq!(town.write(id(1), "r", "x", "3", later), Err(Refusal::TooFast { again_ms: 600 }));
        town.write(id(1), "r", "x", "3", now + Duration::from_secs(1)).unwrap();
    }

    proptest! {
        // Goal: over any time nobody writes more than the burst and what was earned since.
        #[test]
        fn no_haste_gets_more(gaps in prop::collection::vec(0_u64..3_000, 1..100)) {
            let (mut town, start) = (Town::new(rules()), madang_host::clock::now());
            town.hello(id(1), "a", start).unwrap();
            town.join(id(1), "r").unwrap();
            let (mut now, mut written) = (start, 0);
            for gap in gaps {
                now += Duration::from_millis(gap);
                written += u64::from(town.write(id(1), "r", "x", "n", now).is_ok());
                prop_assert!(written <= 2 + (now - start).as_secs());
            }
        }
    }
}
