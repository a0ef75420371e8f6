//! Who is where, over all nodes. Pure: fed with notes and times, asked for notes and changes.
//!
//! **Job.** Keep every node's own list of who is connected to it, tell it to the others in small differences, and merge
//! them all into one view. **Called by** `presence`. **Calls** `note`, `tally`.
//!
//! Each node writes its own list and nobody else's; the view is their sum, so there is nothing to settle between nodes.
//! A list has a version. Whoever does not have the version before a difference, or hears of a version it does not have,
//! asks for the whole list.
//!
//! Invariants
//! 1. A node that is silent for `expire` is out of the view.
//! 2. A node sends at most one difference per `batch`, its whole list at most once per `batch * 4`, one answer to hellos per
//!    `batch`, one question per other node and second.
//! 3. Once every note arrives again, all views are the same within two beats.
//!
//! Not here: carrying notes (`presence`), what people see of it (roles).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;

use super::note::{ENTRIES_BYTES_MAX, Entry, Note, Says};
use super::tally::Tally;

/// Bytes of a room's or a user's name; longer ones are not kept.
pub const NAME_MAX: usize = 200;
/// Other nodes that are kept.
const NODES_MAX: usize = 1000;
/// Entries of one other node that are kept.
const ENTRIES_MAX: usize = 1_000_000;
/// How long an answer to a question may take before it is asked again.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How often what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Differences are gathered for so long, towards other nodes and towards whoever asks. Default 250 ms.
    pub batch: Duration,
    /// A node says that it is there so often. Default 5 s.
    pub beat: Duration,
    /// A node silent for so long is taken for dead. Default 15 s.
    pub expire: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            batch: Duration::from_millis(250),
            beat: Duration::from_secs(5),
            expire: Duration::from_secs(15),
        }
    }
}

/// Somebody has another number of connections in a room than when it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The room.
    pub room: Arc<str>,
    /// Who.
    pub user: Arc<str>,
    /// Connections before, of all nodes together.
    pub before: u32,
    /// Connections now; 0: gone.
    pub now: u32,
}

type Place = (Arc<str>, Arc<str>);

/// The state of one node.
pub(crate) struct State {
    me: u64,
    times: Times,
    mine: Tally,
    version: u64,
    /// What of mine was not told to others yet, with the count they know.
    untold: HashMap<Place, u32>,
    told_at: Option<Instant>,
    others: HashMap<u64, Other>,
    view: Tally,
    /// What of the view was not told to whoever asks yet, with the count it knows.
    changed: HashMap<Place, u32>,
    changed_at: Option<Instant>,
    next_beat: Option<Instant>,
    hello: bool,
    asked_for_all: bool,
    all_told_at: Option<Instant>,
    outbox: Vec<Note>,
}

struct Other {
    /// The version of `list`; none: not known.
    version: Option<u64>,
    list: Tally,
    heard: Instant,
    gathering: Option<Gathering>,
    wanted: bool,
    asked_at: Option<Instant>,
}

/// A whole list that comes in parts.
struct Gathering {
    version: u64,
    next: u32,
    list: Tally,
}

impl State {
    /// `me`: a number no other life of a node has.
    pub(crate) fn new(me: u64, times: Times) -> Self {
        Self {
            me,
            times,
            mine: Tally::default(),
            version: 0,
            untold: HashMap::new(),
            told_at: None,
            others: HashMap::new(),
            view: Tally::default(),
            changed: HashMap::new(),
            changed_at: None,
            next_beat: None,
            hello: true,
            asked_for_all: false,
            all_told_at: None,
            outbox: Vec::new(),
        }
    }

    /// Somebody has so many connections to this node in a room. Names longer than [`NAME_MAX`] bytes are not kept.
    pub(crate) fn set(&mut self, room: &str, user: &str, connections: u32) {
        if room.len() > NAME_MAX || user.len() > NAME_MAX {
            return;
        }
        let before = self.mine.set(room, user, connections);
        if before != connections {
            self.untold.entry((room.into(), user.into())).or_insert(before);
            self.shift(room, user, before, connections);
        }
    }

    /// Somebody's connections of one node changed.
    fn shift(&mut self, room: &str, user: &str, before: u32, now: u32) {
        shift(&mut self.view, &mut self.changed, room, user, before, now);
    }

    /// A note came.
    pub(crate) fn handle(&mut self, bytes: &[u8], now: Instant) {
        let Some(note) = Note::read(bytes).filter(|note| note.node != self.me) else { return };
        let known = self.others.contains_key(&note.node);
        if note.says == Says::Bye {
            return self.remove(note.node);
        }
        if !known && self.others.len() >= NODES_MAX {
            return;
        }
        let (view, changed) = (&mut self.view, &mut self.changed);
        let other = self.others.entry(note.node).or_insert_with(|| Other {
            version: None,
            list: Tally::default(),
            heard: now,
            gathering: None,
            wanted: false,
            asked_at: None,
        });
        other.heard = now;
        match note.says {
            Says::Beat { version } => {
                if version == 0 && other.version.is_none() {
                    other.version = Some(0);
                }
                other.wanted = other.version != Some(version);
            }
            Says::Hello => {
                self.next_beat = Some(self.next_beat.map_or(now, |at| at.min(now + self.times.batch)))
            }
            Says::Delta { from, to, entries } => {
                if from == 0 && other.version.is_none() {
                    other.version = Some(0);
                }
                if other.version == Some(from) {
                    other.version = Some(to);
                    for entry in entries {
                        if other.list.len() < ENTRIES_MAX || entry.connections == 0 {
                            let before = other.list.set(&entry.room, &entry.user, entry.connections);
                            shift(view, changed, &entry.room, &entry.user, before, entry.connections);
                        }
                    }
                } else if other.version.is_none_or(|have| have < to) {
                    other.wanted = true;
                }
            }
            Says::Full { version, part, parts, entries } => {
                other.full(version, part, parts, entries, view, changed)
            }
            Says::Ask { whom } => self.asked_for_all |= whom == self.me,
            Says::Bye => {}
        }
    }

    /// Notes were missed: everybody is asked where they stand.
    pub(crate) fn missed(&mut self) {
        self.hello = true;
    }

    fn remove(&mut self, node: u64) {
        if let Some(other) = self.others.remove(&node) {
            for (room, user, count) in other.list.all() {
                shift(&mut self.view, &mut self.changed, room, user, count, 0);
            }
        }
    }

    /// Time passes: gives the next note to send, until there is none.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Bytes> {
        if self.outbox.is_empty() {
            self.work(now);
            // The first is sent first.
            self.outbox.reverse();
        }
        self.outbox.pop().map(|note| note.bytes())
    }

    fn say(&mut self, says: Says) {
        self.outbox.push(Note { node: self.me, says });
    }

    fn work(&mut self, now: Instant) {
        let gone: Vec<u64> = self
            .others
            .iter()
            .filter(|(_, other)| now.saturating_duration_since(other.heard) >= self.times.expire)
            .map(|(node, _)| *node)
            .collect();
        gone.into_iter().for_each(|node| self.remove(node));
        if std::mem::take(&mut self.hello) {
            self.say(Says::Hello);
        }
        if !self.untold.is_empty() && self.told_at.is_none_or(|at| now >= at + self.times.batch) {
            self.told_at = Some(now);
            self.tell_changes();
        }
        let told_all = self.all_told_at.is_some_and(|at| now < at + self.times.batch * 4);
        if self.asked_for_all && !told_all {
            (self.asked_for_all, self.all_told_at) = (false, Some(now));
            // Differences first, so that everything is of one version.
            self.tell_changes();
            self.tell_all();
        }
        if self.next_beat.is_none_or(|at| now >= at) {
            self.next_beat = Some(now + self.times.beat);
            let version = self.version;
            self.say(Says::Beat { version });
        }
        let mut asks = Vec::new();
        for (node, other) in &mut self.others {
            if other.wanted && other.asked_at.is_none_or(|at| now >= at + ASK_EVERY) {
                other.asked_at = Some(now);
                asks.push(*node);
            }
        }
        asks.into_iter().for_each(|whom| self.say(Says::Ask { whom }));
    }

    fn tell_changes(&mut self) {
        let untold: Vec<(Place, u32)> = self.untold.drain().collect();
        let entries = untold.into_iter().filter_map(|((room, user), known)| {
            let connections = self.mine.get(&room, &user);
            let entry =
                || Entry { room: room.as_ref().to_owned(), user: user.as_ref().to_owned(), connections };
            (connections != known).then(entry)
        });
        for entries in parts(entries.collect()) {
            let (from, to) = (self.version, self.version + 1);
            self.version = to;
            self.say(Says::Delta { from, to, entries });
        }
    }

    fn tell_all(&mut self) {
        let entries = self.mine.all().map(|(room, user, connections)| Entry {
            room: room.as_ref().to_owned(),
            user: user.as_ref().to_owned(),
            connections,
        });
        let mut parts = parts(entries.collect());
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let (version, count) = (self.version, u32::try_from(parts.len()).unwrap_or(u32::MAX));
        for (part, entries) in (0..).zip(parts) {
            self.say(Says::Full { version, part, parts: count, entries });
        }
    }

    /// When [`Self::poll`] or [`Self::changes`] have something to do next.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let batch = self.times.batch;
        let soon = |at: Option<Instant>, pause: Duration| at.map_or(now, |at| at + pause);
        let mut due = self.next_beat.unwrap_or(now);
        if self.hello || !self.outbox.is_empty() {
            due = now;
        }
        if !self.untold.is_empty() {
            due = due.min(soon(self.told_at, batch));
        }
        if self.asked_for_all {
            due = due.min(soon(self.all_told_at, batch * 4));
        }
        if !self.changed.is_empty() {
            due = due.min(soon(self.changed_at, batch));
        }
        for other in self.others.values() {
            due = due.min(other.heard + self.times.expire);
            if other.wanted {
                due = due.min(soon(other.asked_at, ASK_EVERY));
            }
        }
        due
    }

    /// What changed in the view, once per `batch`.
    pub(crate) fn changes(&mut self, now: Instant, into: &mut Vec<Change>) {
        if self.changed.is_empty() || self.changed_at.is_some_and(|at| now < at + self.times.batch) {
            return;
        }
        self.changed_at = Some(now);
        for ((room, user), before) in self.changed.drain() {
            let now = self.view.get(&room, &user);
            if now != before {
                into.push(Change { room, user, before, now });
            }
        }
    }

    /// The last word of a node that goes.
    pub(crate) fn bye(&self) -> Bytes {
        Note { node: self.me, says: Says::Bye }.bytes()
    }

    /// Who is in a room, with all their connections, in no order.
    pub(crate) fn people(&self, room: &str) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.view.room(room)
    }

    /// How many people are in a room.
    pub(crate) fn count(&self, room: &str) -> usize {
        self.view.count(room)
    }

    /// Somebody's connections in a room.
    pub(crate) fn connections(&self, room: &str, user: &str) -> u32 {
        self.view.get(room, user)
    }

    /// Other nodes that are there.
    pub(crate) fn nodes(&self) -> usize {
        self.others.len()
    }
}

impl Other {
    /// A part of the whole list came.
    fn full(
        &mut self,
        version: u64,
        part: u32,
        parts: u32,
        entries: Vec<Entry>,
        view: &mut Tally,
        changed: &mut HashMap<Place, u32>,
    ) {
        if self.version.is_some_and(|have| have >= version) {
            // Asked for by somebody else, or we caught up in the meantime.
            self.wanted &= self.version != Some(version);
            return;
        }
        if part == 0 {
            self.gathering = Some(Gathering { version, next: 0, list: Tally::default() });
        }
        let Some(gathering) =
            self.gathering.as_mut().filter(|all| all.version == version && all.next == part)
        else {
            self.gathering = None;
            return;
        };
        gathering.next += 1;
        for entry in entries {
            if gathering.list.len() < ENTRIES_MAX {
                gathering.list.set(&entry.room, &entry.user, entry.connections);
            }
        }
        if gathering.next != parts {
            return;
        }
        let Some(gathering) = self.gathering.take() else { return };
        let before = std::mem::replace(&mut self.list, gathering.list);
        for (room, user, count) in before.all() {
            shift(view, changed, room, user, count, self.list.get(room, user));
        }
        for (room, user, count) in self.list.all() {
            if before.get(room, user) == 0 {
                shift(view, changed, room, user, 0, count);
            }
        }
        (self.version, self.wanted) = (Some(version), false);
    }
}

/// One node's count of somebody changed: so does the sum.
fn shift(view: &mut Tally, changed: &mut HashMap<Place, u32>, room: &str, user: &str, before: u32, now: u32) {
    let sum = view.get(room, user);
    let next = sum.saturating_sub(before).saturating_add(now);
    if next != sum {
        view.set(room, user, next);
        changed.entry((room.into(), user.into())).or_insert(sum);
    }
}

/// Cuts a list into parts that fit a note.
fn parts(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut parts: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        bytes = bytes.saturating_add(entry.bytes());
        if bytes > ENTRIES_BYTES_MAX {
            bytes = entry.bytes();
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(entry);
        }
    }
    parts
}

#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;
