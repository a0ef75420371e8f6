//! What a machine wrote before it died and had no time to queue for hooks.
//!
//! **Job.** From the mark of a machine that is gone on, look through all conversations and queue the letters that lack. **Called by**
//! `handing`. **Calls** the store.
//!
//! Invariants
//! 1. A letter that is in its queue is not queued again: letters have the number of their event.
//! 2. The mark stays until everything behind it is queued.
//!
//! Not here: letters (`handing`). Joins are in no log: one that was not queued at the moment of a crash is not told.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use madang_store::error::StoreError;
use madang_store::kv::When;
use madang_store::log::{History, Position, Read, StreamId};

use super::Hub;
use super::handing::{Seen, concerns};
use super::state::Kind;
use crate::event::{Event, Person, from_entry};
use crate::hooks::letter::{self, Outline};
use crate::hooks::rule::HookRule;
use crate::refusal::Refusal;

/// A mark is moved a little before what was written a little before it is told. In milliseconds.
const MARGIN_MS: u64 = 30_000;
/// Marks of machines that are looked at.
const MARKS_MAX: usize = 100;

impl Hub {
    /// Takes care of the marks of machines that are gone. Whether none is left.
    pub(super) async fn sweep_marks(self: &Rc<Self>) -> bool {
        let space = letter::space(&self.name);
        let Ok(marks) = self.store.kv().scan(&space, "mark/", None, MARKS_MAX).await else {
            self.counts.refused_by_store();
            return false;
        };
        let mut all = true;
        for (key, held) in marks {
            let text = std::str::from_utf8(&held.value).ok();
            let Some(mark_ms) = text.and_then(|text| text.parse().ok()) else { continue };
            if !self.handing.is_stale(&key, mark_ms) {
                continue;
            }
            if !self.sweep(mark_ms).await {
                all = false;
            } else if key != self.handing.mark_key() {
                let _ = self.store.kv().delete(&space, &key, When::Version(held.version)).await;
            }
        }
        all
    }

    /// Queues what was written from there on and is not queued. Whether all of it is.
    pub(super) async fn sweep(self: &Rc<Self>, mark_ms: u64) -> bool {
        let rules = self.state.borrow().rules.hooks.clone();
        if rules.is_empty() {
            return true;
        }
        let swept = self.sweep_from(mark_ms.saturating_sub(MARGIN_MS), &rules).await;
        if swept.is_err() {
            self.counts.refused_by_store();
        }
        swept.is_ok()
    }

    async fn sweep_from(self: &Rc<Self>, since_ms: u64, rules: &[HookRule]) -> Result<(), Refusal> {
        let mut queued = HashSet::new();
        for rule in rules {
            let queue = letter::queue(&self.name, &rule.name)?;
            self.each(&queue, since_ms, |_, entry| {
                queued.insert(Outline::read(&entry.data).id);
            })
            .await?;
        }
        let prefix = format!("chat/{}/", self.name);
        let mut after: Option<StreamId> = None;
        loop {
            let streams = self.store.log().streams(&prefix, after.as_ref()).await?;
            let Some(last) = streams.last() else { return Ok(()) };
            after = Some(last.clone());
            let positions = self.store.log().positions(streams.clone()).await?;
            for (stream, position) in streams.into_iter().zip(positions) {
                if position.is_some_and(|position| position.at_ms >= since_ms) {
                    self.sweep_stream(&stream, since_ms, rules, &queued).await?;
                }
            }
        }
    }

    async fn sweep_stream(
        self: &Rc<Self>,
        stream: &StreamId,
        since_ms: u64,
        rules: &[HookRule],
        queued: &HashSet<String>,
    ) -> Result<(), Refusal> {
        let Some(of) = stream.as_str().strip_prefix(&format!("chat/{}/", self.name)) else { return Ok(()) };
        let name: Arc<str> = match of.split_once('/') {
            Some(("room", name)) => name.into(),
            None if of == "everyone" => "*".into(),
            _ => "@".into(),
        };
        let mut events = Vec::new();
        self.each(stream, since_ms, |position, entry| {
            let entry = entry.clone();
            events.push(from_entry(&name, position.epoch, entry));
        })
        .await?;
        let (kind, private) = match &*name {
            "*" => (Kind::Everyone, false),
            "@" => match self.two(stream, &events).await? {
                Some(two) => (Kind::Direct(two), true),
                None => return Ok(()),
            },
            _ => {
                let key = self.room_named(&name)?;
                let known = self.known(key).await;
                let mut state = self.state.borrow_mut();
                let private = state.rooms.get(key).is_some_and(|room| room.law.private);
                state.forget_if_idle(key);
                known?;
                (Kind::Room, private)
            }
        };
        let lacking = events.into_iter().filter(|event| concerns(rules, &kind, &name, private, event));
        let seen: Vec<Seen> = lacking
            .map(|event| Seen::Said { event, stream: stream.clone(), kind: kind.clone(), private })
            .collect();
        self.queue_lacking(seen, queued).await;
        Ok(())
    }

    /// The two whose direct messages these are: a user who wrote there has the other among theirs.
    async fn two(
        self: &Rc<Self>,
        stream: &StreamId,
        events: &[Event],
    ) -> Result<Option<[Person; 2]>, Refusal> {
        let Some(by) = events.iter().map(|event| &event.by).find(|by| !by.id.0.is_empty()) else {
            return Ok(None);
        };
        for called in self.memberships(&by.id).await?.into_keys() {
            let Some(other) = called.strip_prefix('@') else { continue };
            let Ok(other) = self.person_named(other).await else { continue };
            let (key, _) = self.direct(by, &other)?;
            let mut state = self.state.borrow_mut();
            let is_it = state.rooms.get(key).is_some_and(|room| room.stream == *stream);
            state.forget_if_idle(key);
            if is_it {
                return Ok(Some([by.clone(), other]));
            }
        }
        Ok(None)
    }

    /// Every entry of a stream from a time on.
    async fn each(
        &self,
        stream: &StreamId,
        since_ms: u64,
        mut each: impl FnMut(&Position, &madang_store::log::Entry),
    ) -> Result<(), StoreError> {
        let known = self.store.log().positions(vec![stream.clone()]).await?;
        if known.first().copied().flatten().is_none() {
            return Ok(());
        }
        let mut next = self.store.log().offset_at(stream, since_ms).await?;
        while let History::Page(page) = self.store.log().read(stream, Read::from(next)).await? {
            for entry in &page.entries {
                next = entry.offset + 1;
                each(&page.position, entry);
            }
            if !page.more {
                break;
            }
        }
        Ok(())
    }
}
