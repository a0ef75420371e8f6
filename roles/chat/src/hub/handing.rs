//! Letters for hooks: written to their queues as events are told.
//!
//! **Job.** Take note of what was written here, find out whom it concerns who is not there, queue the letters. **Called by**
//! `writing`, `flows`. **Calls** `hooks` (which, what), the store.
//!
//! The queue is another stream than the conversation's: between the two writes the server may die. So this machine keeps a mark,
//! "everything I wrote before this time is queued"; whoever finds the mark of a machine that is gone looks through the
//! conversations from there on (`sweep`).
//!
//! Invariants
//! 1. Nothing here waits for a receiver, and nothing told waits for what is here.
//! 2. Letters of one hook are queued in the order in which their events were told here.
//! 3. What is held in memory is bounded; what did not fit is found by a sweep.
//!
//! Not here: sending (`hooks::drain`), looking through conversations (`sweep`).

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use madang_host::clock;
use madang_store::error::StoreError;
use madang_store::kv::When;
use madang_store::log::{Batch, Key as Nonce, NewEntry, StreamId};
use tokio::sync::mpsc;

use super::Hub;
use super::greeting::now_ms;
use super::presence::ANYWHERE;
use super::state::{Key, Kind, Room, State};
use crate::event::{Event, Person, PersonId, What};
use crate::hooks::letter::{self, News};
use crate::hooks::office::Board;
use crate::hooks::rule::{HookRule, Kind as Of, Where};

/// Events that wait to become letters.
const WAITING_MAX: usize = 20_000;
/// Events whose letters are written together.
const TOGETHER_MAX: usize = 256;
/// Bytes of one append.
const TOGETHER_BYTES_MAX: usize = 2 << 20;
/// Names of one message that are looked up.
const MENTIONS_MAX: usize = 50;
/// How often the mark is moved.
const MARK_EVERY: Duration = Duration::from_secs(5);
/// When nothing happens, so often for other machines to see that this one lives.
const ALIVE_EVERY: Duration = Duration::from_secs(20);
/// A mark that was not moved for so long is one of a machine that is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// Between two attempts at the store.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long the end of the hub waits for a store that fails; the next start sweeps.
pub(super) const END_WITHIN: Duration = Duration::from_secs(5);

/// Something hooks may be told of.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// A message was written.
    Said { event: Event, stream: StreamId, kind: Kind, private: bool },
    /// Somebody became one of a room.
    Came { who: Person, room: Arc<str>, private: bool, at_ms: u64 },
    /// The hub ends.
    End,
}

/// The hub's end of it.
pub(super) struct Handing {
    queue: mpsc::UnboundedSender<Seen>,
    pub(super) board: Arc<Board>,
    waiting: Cell<usize>,
    /// Something was left out since the mark.
    left_out: Cell<bool>,
    /// This machine, in the names of marks.
    me: String,
    shared: bool,
}

impl Handing {
    pub(super) fn new(board: Arc<Board>, shared: bool) -> (Self, mpsc::UnboundedReceiver<Seen>) {
        let (queue, seen) = mpsc::unbounded_channel();
        let me = if shared { format!("{:016x}", madang_host::random::seed()) } else { "this".to_owned() };
        let (waiting, left_out) = (Cell::new(0), Cell::new(false));
        (Self { queue, board, waiting, left_out, me, shared }, seen)
    }

    fn push(&self, seen: Seen) {
        if self.waiting.get() >= WAITING_MAX {
            self.left_out.set(true);
            return;
        }
        self.waiting.set(self.waiting.get() + 1);
        // Its reader lives as long as this hub.
        let _ = self.queue.send(seen);
    }

    pub(super) fn end(&self) {
        let _ = self.queue.send(Seen::End);
    }

    pub(super) fn mark_key(&self) -> String {
        format!("mark/{}", self.me)
    }

    /// Whether a mark is one of a machine that is gone.
    pub(super) fn is_stale(&self, key: &str, mark_ms: u64) -> bool {
        let gone_after = u64::try_from(GONE_AFTER.as_millis()).unwrap_or(u64::MAX);
        // Without other machines it is of this one's life before.
        !self.shared || (key != self.mark_key() && mark_ms.saturating_add(gone_after) < now_ms())
    }
}

/// Where a conversation is, as hooks see it.
pub(super) fn place<'r>(kind: &Kind, name: &'r str, private: bool) -> Where<'r> {
    match kind {
        Kind::Room => Where::Room { name, private },
        Kind::Direct(_) => Where::Direct,
        Kind::Everyone => Where::Everyone,
    }
}

impl Hub {
    /// Something was written here: whether a hook is told is found out later.
    pub(super) fn hand_out(&self, state: &State, key: Key, event: &Event) {
        if state.rules.hooks.is_empty() {
            return;
        }
        let Some(room) = state.rooms.get(key) else { return };
        if concerns(&state.rules.hooks, &room.kind, &room.name, room.law.private, event) {
            let (stream, kind, private) = (room.stream.clone(), room.kind.clone(), room.law.private);
            self.handing.push(Seen::Said { event: event.clone(), stream, kind, private });
        }
    }

    /// Somebody became one of a room.
    pub(super) fn hand_out_join(&self, state: &State, room: &Room, who: &Person) {
        let place = place(&room.kind, &room.name, room.law.private);
        if matches!(room.kind, Kind::Room) && state.rules.hooks.iter().any(|hook| hook.wants(Of::Join, place))
        {
            let (room, private) = (Arc::clone(&room.name), room.law.private);
            self.handing.push(Seen::Came { who: who.clone(), room, private, at_ms: now_ms() });
        }
    }

    /// Writes letters until the hub ends. To be spawned.
    pub(super) async fn hand_all(self: Rc<Self>, mut queue: mpsc::UnboundedReceiver<Seen>) {
        let mut marked = Marked::default();
        // What another life of this machine did not get done comes first: the mark is not moved before.
        while !self.sweep_marks().await {
            tokio::time::sleep(STORE_PAUSE).await;
        }
        let mut next_mark = clock::now();
        loop {
            let first = tokio::select! {
                seen = queue.recv() => seen,
                () = clock::due(Some(next_mark)) => {
                    next_mark = clock::now() + MARK_EVERY;
                    if !self.state.borrow().rules.hooks.is_empty() {
                        self.mark(&mut marked).await;
                    }
                    continue;
                }
            };
            let before = now_ms();
            let (mut batch, mut ends) = (Vec::new(), false);
            let mut next = first;
            while let Some(seen) = next {
                match seen {
                    Seen::End => {
                        ends = true;
                        break;
                    }
                    seen => batch.push(seen),
                }
                next = if batch.len() < TOGETHER_MAX { queue.try_recv().ok() } else { None };
            }
            let all = batch.len() < TOGETHER_MAX;
            self.handing.waiting.set(self.handing.waiting.get().saturating_sub(batch.len()));
            self.queue_letters(batch).await;
            if ends {
                if !self.handing.left_out.get() && marked.written_ms > 0 {
                    let key = self.handing.mark_key();
                    let _ = self.store.kv().delete(&letter::space(&self.name), &key, When::Always).await;
                }
                return;
            }
            if all {
                marked.clean_ms = before;
            }
        }
    }

    /// Moves the mark, if there is a reason.
    async fn mark(self: &Rc<Self>, marked: &mut Marked) {
        if self.handing.left_out.replace(false) && !self.sweep(marked.written_ms).await {
            return self.handing.left_out.set(true);
        }
        if self.handing.waiting.get() == 0 {
            marked.clean_ms = now_ms();
        }
        let events = self.counts.look().events;
        let age = now_ms().saturating_sub(marked.written_ms);
        let old = self.handing.shared && u128::from(age) > ALIVE_EVERY.as_millis();
        if events == marked.events && !old && marked.written_ms > 0 {
            return;
        }
        let value = Bytes::from(marked.clean_ms.to_string());
        let key = self.handing.mark_key();
        let put = self.store.kv().put(&letter::space(&self.name), &key, value, When::Always, None);
        if put.await.is_ok() {
            (marked.events, marked.written_ms) = (events, marked.clean_ms);
        }
        if self.handing.shared && old {
            self.sweep_marks().await;
        }
    }

    /// Makes letters and writes them, until the store takes them.
    async fn queue_letters(&self, seen: Vec<Seen>) {
        self.queue_lacking(seen, &HashSet::new()).await;
    }

    /// The same without those whose numbers are queued.
    pub(super) async fn queue_lacking(&self, seen: Vec<Seen>, queued: &HashSet<String>) {
        let rules: Vec<HookRule> = self.state.borrow().rules.hooks.clone();
        let mut queues: Vec<Vec<(String, NewEntry)>> = rules.iter().map(|_| Vec::new()).collect();
        for seen in seen {
            for (at, of, news, stream) in self.letters(&rules, seen).await {
                if let (Some(rule), Some(queue)) = (rules.get(at), queues.get_mut(at)) {
                    let letter = letter::write(&self.name, &rule.name, of, &news, &stream);
                    if !queued.contains(&letter.0) {
                        queue.push(letter);
                    }
                }
            }
        }
        for (rule, letters) in rules.iter().zip(queues) {
            if !letters.is_empty() {
                self.append(&rule.name, letters).await;
                self.handing.board.of(&rule.name).ring();
            }
        }
    }

    /// Which hooks are told what.
    async fn letters(&self, rules: &[HookRule], seen: Seen) -> Vec<(usize, Of, News, String)> {
        let mut all = Vec::new();
        match seen {
            Seen::Said { event, stream, kind, private } => {
                let name = Arc::clone(&event.room);
                let place = place(&kind, &name, private);
                let stream = stream.as_str().to_owned();
                let direct = matches!(kind, Kind::Direct(_));
                let mentions = rules.iter().any(|rule| rule.wants(Of::Mention, place));
                let to = if mentions { self.absent(&event, &kind).await } else { Vec::new() };
                for (at, rule) in rules.iter().enumerate() {
                    if rule.wants(Of::Message, place) {
                        let news = News::Said { event: event.clone(), to: Vec::new(), direct };
                        all.push((at, Of::Message, news, stream.clone()));
                    }
                    if !to.is_empty() && rule.wants(Of::Mention, place) {
                        let mut event = event.clone();
                        if direct {
                            // As they call it who are told of it.
                            event.room = format!("@{}", event.by.name).into();
                        }
                        let news = News::Said { event, to: to.clone(), direct };
                        all.push((at, Of::Mention, news, stream.clone()));
                    }
                }
            }
            Seen::Came { who, room, private, at_ms } => {
                let name = Arc::clone(&room);
                let place = Where::Room { name: &name, private };
                for (at, _) in rules.iter().enumerate().filter(|(_, rule)| rule.wants(Of::Join, place)) {
                    let news = News::Came { who: who.clone(), room: Arc::clone(&room), at_ms };
                    all.push((at, Of::Join, news, String::new()));
                }
            }
            Seen::End => {}
        }
        all
    }

    /// Those whom a message concerns and who are not connected.
    async fn absent(&self, event: &Event, kind: &Kind) -> Vec<Person> {
        let What::Message { mentions, .. } = &event.what else { return Vec::new() };
        let mut absent: Vec<Person> = Vec::new();
        let mut add = |person: Person| {
            let known = absent.iter().any(|have| have.id == person.id);
            if person.id != event.by.id && !known && !self.is_here(&person.id) {
                absent.push(person);
            }
        };
        if let Kind::Direct(two) = kind {
            two.iter().cloned().for_each(&mut add);
            return absent;
        }
        for name in mentions.iter().take(MENTIONS_MAX) {
            // Nobody's name is nobody's mention; a store that cannot be asked knows nobody.
            if let Ok(person) = self.person_named(name).await {
                add(person);
            }
        }
        absent
    }

    /// Whether somebody is connected, to any machine.
    fn is_here(&self, id: &PersonId) -> bool {
        let state = self.state.borrow();
        state.humans.contains_key(id) || state.elsewhere.has(ANYWHERE, id)
    }

    async fn append(&self, hook: &str, letters: Vec<(String, NewEntry)>) {
        let Ok(queue) = letter::queue(&self.name, hook) else { return };
        let mut letters = letters.into_iter().peekable();
        while let Some((id, first)) = letters.next() {
            // The same batch again is the same one, should an answer be lost.
            let nonce = Nonce::new("hooks", &id);
            let mut bytes = first.data.len();
            let mut entries = vec![first];
            while let Some((_, next)) = letters.next_if(|(_, next)| {
                entries.len() < TOGETHER_MAX && bytes + next.data.len() <= TOGETHER_BYTES_MAX
            }) {
                bytes += next.data.len();
                entries.push(next);
            }
            loop {
                let batch = Batch { entries: entries.clone(), ..Batch::default() }.keyed(nonce.clone());
                match self.store.log().append(&queue, batch).await {
                    Ok(_) | Err(StoreError::TooLarge { .. } | StoreError::Invalid { .. }) => break,
                    Err(_) => {
                        self.counts.refused_by_store();
                        tokio::time::sleep(STORE_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// How far it is known to be.
#[derive(Default)]
struct Marked {
    /// Everything before is queued.
    clean_ms: u64,
    /// The mark in the store; 0: none.
    written_ms: u64,
    /// Events written when the mark was.
    events: u64,
}

/// Whether any hook may be told of an event.
pub(super) fn concerns(hooks: &[HookRule], kind: &Kind, name: &str, private: bool, event: &Event) -> bool {
    let What::Message { mentions, .. } = &event.what else { return false };
    let place = place(kind, name, private);
    let calls = matches!(kind, Kind::Direct(_)) || !mentions.is_empty();
    hooks.iter().any(|hook| hook.wants(Of::Message, place) || (calls && hook.wants(Of::Mention, place)))
}
