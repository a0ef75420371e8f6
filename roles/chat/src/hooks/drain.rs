//! One hook at work: its queue read, its letters sent one after the other.
//!
//! **Job.** Send what waits, remember how far it is, keep what was given up, do what the operator ordered. **Run by** `office`, a
//! task for each hook. **Calls** `delivery` (what to do), `lease`, the store, `http::upstream::webhook`.
//!
//! Invariants
//! 1. Letters leave in their order, one at a time. How far it is is on disk before the next one leaves: a crash repeats at most
//!    one letter, with the same number.
//! 2. A letter leaves the line only when it was taken or is among the dead letters.
//! 3. Of several machines the one that holds the lease sends.
//!
//! Not here: which letters there are (`hub`), when to try again (`delivery`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use madang_host::clock;
use madang_host::net::resolve::Resolver;
use madang_http::upstream::webhook::{self, Message};
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::When;
use madang_store::log::{Batch, Entry, History, Keep, NewEntry, Read, StreamId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::delivery::{Attempt, Delivery, Outcome, Patience, Step, judge};
use super::lease::Lease;
use super::ledger::{Ledger, Place};
use super::letter::{self, DEAD_MAX, Dead, Outline, WAITING_MAX};
use super::office::Tell;
use crate::config::HookSettings;
use crate::hub::now_ms;

/// Letters read at once.
const PAGE: usize = 64;
/// What was sent is taken out of the queue about this often.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// What was sent stays so long: a sweep after a crash looks there for what is queued already.
const SENT_KEPT: Duration = Duration::from_secs(600);
/// Dead letters are kept so long.
const DEAD_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often another machine's letters are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked all the same where there is no other machine.
const LOOK_SELDOM: Duration = Duration::from_secs(60);
/// After the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What the operator ordered for a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Dead letters wait again, and the hook is on.
    Retry,
    /// Dead letters are thrown away.
    Drop,
}

/// Why a hook is off, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Off {
    /// The address that said so, hashed: another one is another receiver.
    url: u64,
    why: String,
}

/// See the module.
pub(super) struct Drain {
    pub(super) chat: Arc<str>,
    pub(super) settings: Arc<HookSettings>,
    pub(super) store: Store,
    pub(super) ledger: Arc<Ledger>,
    pub(super) resolver: Resolver,
    pub(super) tell: Tell,
    pub(super) seed: u64,
    pub(super) lease: Option<Lease>,
}

/// Where its letters lie.
struct Streams {
    queue: StreamId,
    dead: StreamId,
    space: String,
}

impl Drain {
    /// Works until it is told to end. A letter on its way then is sent again by whoever comes next.
    pub(super) async fn run(mut self, mut end: watch::Receiver<bool>) {
        tokio::select! {
            () = self.work_on() => {}
            // Whoever would say it is gone: that is the end too.
            _ = end.changed() => {}
        }
        if let Some(lease) = &mut self.lease {
            lease.give_back(&self.store).await;
        }
    }

    async fn work_on(&mut self) {
        let (Ok(queue), Ok(dead)) =
            (letter::queue(&self.chat, &self.settings.name), letter::dead(&self.chat, &self.settings.name))
        else {
            return;
        };
        let streams = Streams { queue, dead, space: letter::space(&self.chat) };
        loop {
            if self.work(&streams).await.is_err() {
                // It is tried again, and whoever writes to the chat is told what is wrong with the store.
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }

    /// From what is kept on, until the store fails or the lease is lost.
    async fn work(&mut self, streams: &Streams) -> Result<(), StoreError> {
        if !self.holds().await? {
            self.ledger.write(|sheet| sheet.elsewhere = true);
            self.wait(LOOK_EVERY).await;
            return Ok(());
        }
        let mut place = self.recall(streams).await?;
        let off = self.recall_off(streams).await?;
        self.ledger.write(|sheet| (sheet.elsewhere, sheet.off) = (false, off.clone()));
        let patience =
            Patience { tries_max: self.settings.tries_max, give_up_after: self.settings.give_up_after };
        let mut delivery = Delivery::new(patience, self.seed, off);
        let mut tidied = clock::now();
        loop {
            if !self.holds().await? {
                return Ok(());
            }
            self.obey(streams, &mut delivery).await?;
            let page =
                match self.store.log().read(&streams.queue, Read::from(place.next).entries(PAGE)).await? {
                    History::Page(page) => page,
                    _ => {
                        self.wait(self.pause()).await;
                        continue;
                    }
                };
            if page.position.epoch != place.epoch || place.next < page.position.first {
                place = self.skip(place, page.position.epoch, page.position.first);
            }
            self.ledger.write(|sheet| sheet.place = place);
            for entry in page.entries {
                if !self.settle(streams, &mut delivery, &entry).await? {
                    // Something else is first: an order, another holder.
                    break;
                }
                place.next = entry.offset + 1;
                self.keep(streams, place).await?;
            }
            if clock::now().saturating_duration_since(tidied) > TIDY_EVERY {
                tidied = clock::now();
                self.tidy(streams, place).await?;
            }
            if !page.more && place.next >= page.position.next {
                self.wait(self.pause()).await;
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.lease.is_some() { LOOK_EVERY } else { LOOK_SELDOM }
    }

    async fn wait(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.ledger.rung()).await;
    }

    async fn holds(&mut self) -> Result<bool, StoreError> {
        match &mut self.lease {
            Some(lease) => lease.holds(&self.store).await,
            None => Ok(true),
        }
    }

    /// Sees one letter to its end. `false`: it is still first in line, something else is to be looked at.
    async fn settle(
        &mut self,
        streams: &Streams,
        delivery: &mut Delivery,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        delivery.next_letter();
        loop {
            let age = Duration::from_millis(now_ms().saturating_sub(entry.at_ms));
            match delivery.step(age, clock::now()) {
                Step::Wait(due) => {
                    let left = due.saturating_duration_since(clock::now());
                    self.wait_for_order(left).await;
                    if !self.holds().await? {
                        return Ok(false);
                    }
                    self.obey(streams, delivery).await?;
                }
                Step::Bury(why) => {
                    self.bury(streams, entry, why).await?;
                    return Ok(true);
                }
                Step::Send => {
                    let attempt = self.send(entry).await;
                    if self.went(streams, delivery, entry, attempt).await? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// A pause, in which another letter does not matter but an order does, and the lease is kept.
    async fn wait_for_order(&self, left: Duration) {
        let most = if self.lease.is_some() { LOOK_EVERY } else { left };
        let _ = tokio::time::timeout(left.min(most), self.ledger.ordered()).await;
    }

    async fn send(&self, entry: &Entry) -> Attempt {
        let outline = Outline::read(&entry.data);
        let message = Message {
            url: &self.settings.url,
            secret: self.settings.secret.as_ref(),
            id: &outline.id,
            agent: "madang-chat",
            body: entry.data.to_vec(),
            allow_private: self.settings.allow_private,
        };
        let within = self.settings.timeout;
        match tokio::time::timeout(within, webhook::post(message, &self.resolver)).await {
            Ok(Ok(answer)) => {
                let after = answer.fields.iter().find(|(name, _)| name == "retry-after");
                judge(answer.status, after.map(|(_, value)| value.as_str()))
            }
            Ok(Err(webhook::NotSent::Private { host, address })) => Attempt::Failed {
                why: format!("{host} is {address}, a private address; allow_private = true would send there"),
                after: None,
            },
            Ok(Err(not_sent)) => Attempt::Failed { why: not_sent.to_string(), after: None },
            Err(_) => {
                let within = madang_settings::unit::show_duration(within);
                Attempt::Failed { why: format!("no answer within {within}"), after: None }
            }
        }
    }

    /// Whether the letter is out of the line.
    async fn went(
        &self,
        streams: &Streams,
        delivery: &mut Delivery,
        entry: &Entry,
        attempt: Attempt,
    ) -> Result<bool, StoreError> {
        let (Attempt::Taken(why) | Attempt::Refused(why) | Attempt::Gone(why) | Attempt::Failed { why, .. }) =
            attempt.clone();
        let taken = matches!(attempt, Attempt::Taken(_));
        self.ledger.write(|sheet| sheet.tried(taken, &why));
        match delivery.went(&attempt, clock::now()) {
            Outcome::Delivered { recovered } => {
                if recovered {
                    self.say(false, &format!("{why}, works again"));
                }
                Ok(true)
            }
            Outcome::Again { first } => {
                // Told once for each time it stops working; the list of hooks has the latest.
                if first {
                    self.say(true, &format!("{why}; it is tried again"));
                }
                Ok(false)
            }
            Outcome::Bury => {
                self.say(true, &format!("{why}; a letter is given up"));
                self.bury(streams, entry, why).await?;
                Ok(true)
            }
            Outcome::Off => {
                let off = Off { url: self.url_mark(), why: why.clone() };
                let bytes = Bytes::from(serde_json::to_vec(&off).unwrap_or_default());
                self.store.kv().put(&streams.space, &self.key("off"), bytes, When::Always, None).await?;
                self.ledger.write(|sheet| sheet.off = Some(why.clone()));
                let (chat, hook) = (&self.chat, &self.settings.name);
                self.say(
                    true,
                    &format!(
                        "{why}: it is switched off; madang chat hooks {chat} --retry {hook} switches it on"
                    ),
                );
                Ok(false)
            }
        }
    }

    fn say(&self, bad: bool, what: &str) {
        (self.tell)(bad, &format!("hook {} of {}: {what}", self.settings.name, self.chat));
    }

    async fn bury(&self, streams: &Streams, entry: &Entry, why: String) -> Result<(), StoreError> {
        let letter = String::from_utf8_lossy(&entry.data).into_owned();
        let dead = Dead { why, since_ms: entry.at_ms, letter };
        let data = Bytes::from(serde_json::to_vec(&dead).unwrap_or_default());
        self.store.log().append(&streams.dead, Batch::one(data, "")).await?;
        self.ledger.write(|sheet| sheet.dead += 1);
        Ok(())
    }

    /// Does what was ordered, here or on another machine.
    async fn obey(&self, streams: &Streams, delivery: &mut Delivery) -> Result<(), StoreError> {
        let key = self.key("order");
        let Some(held) = self.store.kv().get(&streams.space, &key).await? else { return Ok(()) };
        match serde_json::from_slice::<Order>(&held.value) {
            Ok(Order::Retry) => {
                delivery.begin_anew();
                self.store.kv().delete(&streams.space, &self.key("off"), When::Always).await?;
                self.ledger.write(|sheet| sheet.off = None);
                let count = self.exhume(streams).await?;
                self.say(false, &format!("{count} dead letters wait again"));
            }
            Ok(Order::Drop) => {
                while !self.store.log().remove(&streams.dead).await? {}
                self.say(false, "its dead letters were thrown away");
            }
            Err(_) => {}
        }
        // Another order that came meanwhile stays.
        self.store.kv().delete(&streams.space, &key, When::Version(held.version)).await?;
        Ok(())
    }

    /// Dead letters wait again, in their order. A crash in between repeats letters; it loses none.
    async fn exhume(&self, streams: &Streams) -> Result<u64, StoreError> {
        let (mut next, mut count) = (1, 0);
        while let History::Page(page) =
            self.store.log().read(&streams.dead, Read::from(next).entries(PAGE).bytes(1 << 20)).await?
        {
            next = page.entries.last().map_or(next, |last| last.offset + 1);
            let letters =
                page.entries.iter().filter_map(|entry| serde_json::from_slice::<Dead>(&entry.data).ok());
            let entries: Vec<NewEntry> =
                letters.map(|dead| NewEntry { data: dead.letter.into(), text: String::new() }).collect();
            count += entries.len() as u64;
            if !entries.is_empty() {
                self.store.log().append(&streams.queue, Batch { entries, ..Batch::default() }).await?;
            }
            if !page.more {
                break;
            }
        }
        while !self.store.log().remove(&streams.dead).await? {}
        Ok(count)
    }

    fn key(&self, what: &str) -> String {
        format!("{what}/{}", self.settings.name)
    }

    fn url_mark(&self) -> u64 {
        let url = &self.settings.url;
        let whole = format!("{} {} {}", url.secure, url.authority, url.path);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, whole.as_bytes());
        hash.as_ref().iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }

    async fn recall(&self, streams: &Streams) -> Result<Place, StoreError> {
        let held = self.store.kv().get(&streams.space, &self.key("at")).await?;
        let kept = held.and_then(|held| serde_json::from_slice(&held.value).ok());
        match kept {
            Some(place) => Ok(place),
            None => {
                let position = self.store.log().open(&streams.queue).await?;
                Ok(Place { epoch: position.epoch, next: position.first })
            }
        }
    }

    async fn recall_off(&self, streams: &Streams) -> Result<Option<String>, StoreError> {
        let held = self.store.kv().get(&streams.space, &self.key("off")).await?;
        let off = held.and_then(|held| serde_json::from_slice::<Off>(&held.value).ok());
        Ok(off.filter(|off| off.url == self.url_mark()).map(|off| off.why))
    }

    async fn keep(&self, streams: &Streams, place: Place) -> Result<(), StoreError> {
        let bytes = Bytes::from(serde_json::to_vec(&place).unwrap_or_default());
        self.store.kv().put(&streams.space, &self.key("at"), bytes, When::Always, None).await?;
        self.ledger.write(|sheet| sheet.place = place);
        Ok(())
    }

    /// What waited there is gone: there was too much of it, or the store is another one.
    fn skip(&self, place: Place, epoch: u64, first: u64) -> Place {
        if place.epoch == epoch {
            let lost = first.saturating_sub(place.next);
            self.say(true, &format!("{lost} letters were given up: more than {WAITING_MAX} waited"));
        }
        Place { epoch, next: first }
    }

    /// What was sent leaves the queue; what is too much or too old leaves both.
    async fn tidy(&self, streams: &Streams, place: Place) -> Result<(), StoreError> {
        let first = match self.store.log().read(&streams.queue, Read::from(place.next).entries(1)).await? {
            History::Page(page) => page.entries.first().map(|entry| entry.at_ms),
            _ => return Ok(()),
        };
        let waited =
            first.map_or(Duration::ZERO, |at_ms| Duration::from_millis(now_ms().saturating_sub(at_ms)));
        let sent =
            Keep { entries_max: Some(WAITING_MAX), age_max: Some(waited + SENT_KEPT), bytes_max: None };
        self.store.log().trim(&streams.queue, sent).await?;
        let dead = Keep { entries_max: Some(DEAD_MAX), age_max: Some(DEAD_KEPT), bytes_max: None };
        match self.store.log().trim(&streams.dead, dead).await {
            // Nothing ever died.
            Ok(_) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
