//! The alerts as a machine: facts in, messages out.
//!
//! **Job.** Remember of each alert what is so, since when, and what was told of it; say what is to be told. Pure.
//! **Owned by** `keeper`. **Calls** `condition`.
//!
//! A message is the difference between what was told last and what is so now. After one, nothing more is told for `group`:
//! whatever comes and goes meanwhile makes one message, or none.
//!
//! Invariants
//! 1. A thing that goes on is told once, then every `repeat`; its end is told once, and only if its beginning was.
//! 2. At most [`SUBJECTS_MAX`] things are remembered for each alert, and one message per alert leaves in each `group`,
//!    however many facts there are.
//! 3. New settings of an alert that watches the same thing keep what was told.
//!
//! Not here: sending (`delivery`, `send`), collecting facts (`madang`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::draws::Draws;
use serde::{Deserialize, Serialize};

use super::condition::Judged;
use super::fact::Fact;
use super::message::{ITEMS_MAX, Item, Message, Status};
use crate::config::AlertSettings;

/// Things remembered for each alert; more of them are counted.
pub const SUBJECTS_MAX: usize = 256;
/// Looks at a counter of restarts that are remembered.
const LOOKS_MAX: usize = 1024;

/// One thing that is or was bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    item: Item,
    episode: u64,
    /// The episode that was told; `None`: not yet.
    told: Option<u64>,
    bad: bool,
    /// When it became so; not kept over restarts: then it has been so for long enough.
    #[serde(skip)]
    began: Option<Instant>,
    #[serde(skip)]
    seen: bool,
}

impl Subject {
    fn is_firing(&self, lasting: Duration, now: Instant) -> bool {
        let long = |began: Instant| now.saturating_duration_since(began) >= lasting;
        self.bad && self.began.is_none_or(long)
    }
}

/// One alert.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) settings: Arc<AlertSettings>,
    pub(super) subjects: BTreeMap<String, Subject>,
    /// Bad ones that found no place.
    more: usize,
    /// Nothing is told before.
    gate: Option<Instant>,
    last: Option<Instant>,
    /// Seconds since 1970 of the last message.
    pub(super) last_time: Option<u64>,
    pub(super) messages: u64,
    counters: BTreeMap<String, Counter>,
}

/// How often something happened of late, from a number that only grows.
#[derive(Debug, Default)]
struct Counter {
    last: u64,
    looks: VecDeque<(Instant, u64)>,
}

impl Counter {
    fn look(&mut self, total: u64, within: Duration, now: Instant) -> u32 {
        // A smaller number: it began anew, and everything in it is news.
        let more = total.checked_sub(self.last).unwrap_or(total);
        self.last = total;
        if more > 0 {
            self.looks.push_back((now, more));
            if self.looks.len() > LOOKS_MAX {
                self.looks.pop_front();
            }
        }
        while self.looks.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > within) {
            self.looks.pop_front();
        }
        u32::try_from(self.looks.iter().map(|(_, count)| count).sum::<u64>()).unwrap_or(u32::MAX)
    }
}

/// An alert as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct RuleView {
    pub alert: String,
    pub when: String,
    /// What is so now, the first few.
    pub firing: Vec<Item>,
    /// How much of that there is.
    pub count: usize,
    /// Seconds since 1970 of the last message.
    pub last: Option<u64>,
    pub messages: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    draws: Draws,
}

impl Rules {
    /// No alert yet.
    pub const fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), draws: Draws::new(seed) }
    }

    /// New settings.
    pub fn update(&mut self, settings: &[Arc<AlertSettings>]) {
        let mut before = std::mem::take(&mut self.rules);
        for settings in settings {
            let same =
                |rule: &Rule| rule.settings.name == settings.name && rule.settings.when == settings.when;
            let rule = match before.iter().position(same) {
                Some(at) => Rule { settings: Arc::clone(settings), ..before.swap_remove(at) },
                None => Rule::new(Arc::clone(settings)),
            };
            self.rules.push(rule);
        }
    }

    /// What is seen now. Gives what is to be told; `time`: seconds since 1970.
    pub fn see(&mut self, facts: &[Fact], now: Instant, time: u64) -> Vec<Message> {
        let mut messages = Vec::new();
        for rule in &mut self.rules {
            rule.see(facts, now, time);
            messages.extend(rule.tell(&mut self.draws, now, time));
        }
        messages
    }

    /// A message to try the way of an alert; `None`: there is no such alert.
    pub fn test(&mut self, alert: &str, time: u64) -> Option<Message> {
        let rule = self.rules.iter().find(|rule| *rule.settings.name == *alert)?;
        Some(rule.message(&mut self.draws, Status::Test, time))
    }

    /// Everything, for people.
    pub fn views(&self, now: Instant) -> Vec<RuleView> {
        let view = |rule: &Rule| {
            let lasting = rule.settings.when.lasting();
            let firing = || rule.subjects.values().filter(|subject| subject.is_firing(lasting, now));
            RuleView {
                alert: rule.settings.name.to_string(),
                when: rule.settings.when.to_string(),
                firing: firing().take(ITEMS_MAX).map(|subject| subject.item.clone()).collect(),
                count: firing().count() + rule.more,
                last: rule.last_time,
                messages: rule.messages,
            }
        };
        self.rules.iter().map(view).collect()
    }
}

impl Rule {
    fn new(settings: Arc<AlertSettings>) -> Self {
        Self {
            settings,
            subjects: BTreeMap::new(),
            more: 0,
            gate: None,
            last: None,
            last_time: None,
            messages: 0,
            counters: BTreeMap::new(),
        }
    }

    /// What an earlier server knew.
    pub(super) fn recall(&mut self, subjects: Vec<Subject>, last_time: Option<u64>, now: Instant) {
        self.subjects = subjects.into_iter().map(|subject| (subject.item.subject.clone(), subject)).collect();
        self.last_time = last_time;
        // How long ago it was told is not known to this clock; from here on `repeat` is counted anew.
        self.last = self.subjects.values().any(|subject| subject.told.is_some()).then_some(now);
    }

    /// What the next server has to know.
    pub(super) fn told(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.values().filter(|subject| subject.told.is_some())
    }

    fn see(&mut self, facts: &[Fact], now: Instant, time: u64) {
        self.more = 0;
        for subject in self.subjects.values_mut() {
            subject.seen = false;
        }
        let within = match self.settings.when {
            super::condition::Condition::AppRestarts { within, .. } => within,
            _ => Duration::ZERO,
        };
        let counters = &mut self.counters;
        for fact in facts {
            let named =
                |name: &str| self.settings.of.is_empty() || self.settings.of.iter().any(|of| of == name);
            if !fact.name().is_none_or(named) {
                continue;
            }
            let count = |app: &str, total: u64| match counters.get_mut(app) {
                Some(counter) => counter.look(total, within, now),
                None => {
                    // What happened before it was watched is no news.
                    let counter = Counter { last: total, looks: VecDeque::new() };
                    counters.insert(app.to_owned(), counter);
                    0
                }
            };
            let Some(judged) = self.settings.when.judge(fact, count) else { continue };
            Self::learn(&mut self.subjects, &mut self.more, judged, now, time);
        }
        for subject in self.subjects.values_mut().filter(|subject| !subject.seen && subject.bad) {
            subject.bad = false;
            subject.item.text = format!("{} is not there any more", subject.item.subject);
            subject.item.lines.clear();
        }
        // What nobody was told of may be forgotten.
        self.subjects.retain(|_, subject| subject.bad || subject.told.is_some());
        let apps = |name: &str| facts.iter().any(|fact| fact.name() == Some(name));
        counters.retain(|name, _| apps(name));
    }

    fn learn(
        subjects: &mut BTreeMap<String, Subject>,
        more: &mut usize,
        judged: Judged,
        now: Instant,
        time: u64,
    ) {
        let Judged { subject, bad, episode, text, lines } = judged;
        let full = subjects.len() >= SUBJECTS_MAX;
        match subjects.get_mut(&subject) {
            Some(known) => {
                known.seen = true;
                let Some(bad) = bad else { return };
                let again = bad && (!known.bad || episode != known.episode);
                if again {
                    (known.item.since, known.began, known.episode) = (time, Some(now), episode);
                }
                // What it wrote as it fell stays with it.
                if !lines.is_empty() || !bad {
                    known.item.lines = lines;
                }
                (known.item.text, known.bad) = (text, bad);
            }
            None if bad != Some(true) => {}
            None if full => *more += 1,
            None => {
                let item = Item { subject: subject.clone(), since: time, text, lines };
                let fresh = Subject { item, episode, told: None, bad: true, began: Some(now), seen: true };
                subjects.insert(subject, fresh);
            }
        }
    }

    /// The message that is due.
    fn tell(&mut self, draws: &mut Draws, now: Instant, time: u64) -> Option<Message> {
        let settings = Arc::clone(&self.settings);
        let lasting = settings.when.lasting();
        if !settings.resolved {
            self.subjects.retain(|_, subject| subject.bad || subject.told.is_none());
        }
        let begun =
            |subject: &Subject| subject.is_firing(lasting, now) && subject.told != Some(subject.episode);
        let over = |subject: &Subject| subject.told.is_some() && !subject.bad;
        let news = self.subjects.values().any(|subject| begun(subject) || over(subject));
        let goes_on = self.subjects.values().any(|subject| subject.bad && subject.told.is_some());
        let again = settings.repeat.zip(self.last).is_some_and(|(repeat, last)| now >= last + repeat);
        if !(news || (goes_on && again)) || self.gate.is_some_and(|gate| now < gate) {
            return None;
        }
        let mut message = self.message(draws, Status::Firing, time);
        // A repetition tells all of it, news included.
        let listed = |subject: &&Subject| begun(subject) || (!news && subject.is_firing(lasting, now));
        let pick = |wanted: &dyn Fn(&&Subject) -> bool| -> (Vec<Item>, usize) {
            let all = self.subjects.values().filter(|subject| wanted(subject));
            let count = all.clone().count();
            (all.take(ITEMS_MAX).map(|subject| subject.item.clone()).collect(), count)
        };
        let ((firing, firing_count), (resolved, resolved_count)) =
            (pick(&listed), pick(&|subject| over(subject)));
        message.more = firing_count - firing.len() + resolved_count - resolved.len();
        if firing_count > 0 {
            message.more += self.more;
        }
        message.status = match (firing_count, news) {
            (_, false) => Status::Still,
            (0, true) if !goes_on => Status::Resolved,
            // Part of it is over.
            (0, true) => Status::Still,
            _ => Status::Firing,
        };
        (message.firing, message.resolved) = (firing, resolved);
        self.subjects.retain(|_, subject| subject.bad || subject.told.is_none());
        for subject in self.subjects.values_mut().filter(|subject| subject.is_firing(lasting, now)) {
            subject.told = Some(subject.episode);
        }
        self.gate = Some(now + settings.group);
        (self.last, self.last_time) = (Some(now), Some(time));
        self.messages += 1;
        Some(message)
    }

    fn message(&self, draws: &mut Draws, status: Status, time: u64) -> Message {
        Message {
            id: format!("{:016x}{:016x}", draws.next(), draws.next()),
            alert: self.settings.name.to_string(),
            status,
            when: self.settings.when.to_string(),
            time,
            firing: Vec::new(),
            resolved: Vec::new(),
            more: 0,
        }
    }
}
