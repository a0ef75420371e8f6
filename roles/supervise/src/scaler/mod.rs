//! Servers beyond this machine: how many a pool needs, who is there, who leaves.
//!
//! **Job.** From what a pool's servers do, and what the operator's program answers, to the servers that are its members beside
//! the written ones. Pure. **Owned by** `keeper`. **Calls** `scale` (how many), `answer`, `question`.
//!
//! Fed by [`Fleet::see`] and [`Fleet::answered`]; asked by [`Fleet::is_due`], [`Fleet::question`] and [`Fleet::poll`].
//!
//! This machine first: what the settings have (an app: its most instances) is counted as there; only what is needed beyond that
//! is asked for.
//!
//! Invariants
//! 1. A bad answer changes no server, and is told once, not at each look.
//! 2. At most one question is open; two begin at least `every` apart.
//! 3. A server that is in no good answer any more drains: it leaves when nothing is open there, or after `drain`.
//! 4. `min <= asked for <= max`.
//!
//! Not here: running the program (`keeper`), checking servers and sending requests there (`roles/balance`).

pub mod answer;
pub mod keeper;
pub mod question;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::answer::{Answer, Fault, Given};
use self::question::{Asked, Question};
use crate::app::Tone;
use crate::config::{ScaleBy, ScalerSettings};
use crate::scale::{Load, Rules, Scaler};

/// A member of the pool as it is seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Server {
    /// In the one spelling of its pool.
    pub address: String,
    /// Up, down, probing, draining, ….
    pub state: &'static str,
    /// Requests open there.
    pub in_flight: u32,
    /// Of late, to the first byte.
    pub latency: Duration,
    /// Percent of one core, where it runs here.
    pub cpu_percent: Option<f64>,
}

/// A pool as it is seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Its members, given ones included.
    pub servers: Vec<Server>,
    /// Servers that it has, or may have, by the settings alone; at least 1.
    pub own: u32,
    /// Requests waiting in line.
    pub queued: u32,
    /// Requests that each server takes at once; 0: no limit, or not the same for all.
    pub places: u32,
    /// Requests ever sent.
    pub requests: u64,
}

/// A member that the program gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub given: Given,
    /// Nothing new goes there.
    pub draining: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// These are members of the pool beside the written ones, from now on.
    Members(Vec<Member>),
    /// Tell the log.
    Tell(Tone, String),
}

#[derive(Debug)]
struct Place {
    given: Given,
    /// Since when it drains.
    leaving: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    settings: Arc<ScalerSettings>,
    /// As many as the facts said last.
    own: u32,
    scaler: Scaler,
    places: Vec<Place>,
    fault: Option<Fault>,
    note: Option<String>,
    /// A question is open.
    asking: bool,
    next: Instant,
    asked: u64,
    failed: u64,
    actions: VecDeque<Action>,
}

impl Fleet {
    /// Begins with those that an earlier server knew.
    pub fn new(settings: Arc<ScalerSettings>, own: u32, known: Vec<Given>, now: Instant) -> Self {
        let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let scaler = Scaler::new(rules(&settings, own), own.saturating_add(count), now);
        let places = known.into_iter().map(|given| Place { given, leaving: None }).collect();
        let mut this = Self {
            settings,
            own,
            scaler,
            places,
            fault: None,
            note: None,
            asking: false,
            next: now,
            asked: 0,
            failed: 0,
            actions: VecDeque::new(),
        };
        if !this.places.is_empty() {
            this.tell_members();
        }
        this
    }

    /// Its settings.
    pub const fn settings(&self) -> &Arc<ScalerSettings> {
        &self.settings
    }

    /// New settings: who is there stays.
    pub fn update(&mut self, settings: Arc<ScalerSettings>, now: Instant) {
        let last = std::mem::replace(&mut self.settings, settings);
        if *last != *self.settings {
            self.begin_anew(now);
            self.next = now;
        }
    }

    /// How many are asked for.
    pub const fn wanted(&self) -> u32 {
        self.scaler.wanted().saturating_sub(self.own)
    }

    /// What is wrong with the last answer.
    pub const fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// What the last good answer says to people.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Questions asked, and those without a good answer.
    pub const fn counts(&self) -> (u64, u64) {
        (self.asked, self.failed)
    }

    /// Everybody given that is there, those that drain included.
    pub fn members(&self) -> Vec<Member> {
        let member = |place: &Place| Member { given: place.given.clone(), draining: place.leaving.is_some() };
        self.places.iter().map(member).collect()
    }

    /// Looks at the pool. To be told a few times a second.
    pub fn see(&mut self, facts: &Facts, now: Instant) {
        if facts.own != self.own {
            self.own = facts.own;
            self.begin_anew(now);
        }
        self.scaler.see(&load_of(facts), now);
        let before = self.places.len();
        let drain = self.settings.drain;
        self.places.retain(|place| {
            let Some(since) = place.leaving else { return true };
            let open = facts.servers.iter().find(|server| server.address == place.given.address);
            let passed = now.saturating_duration_since(since);
            // What was on its way there when it was told to drain has arrived by then.
            let settled = passed >= Duration::from_millis(500);
            let empty = open.is_none_or(|server| server.in_flight == 0);
            !((settled && empty) || passed >= drain)
        });
        if self.places.len() != before {
            self.tell_members();
        }
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, now: Instant) -> bool {
        !self.asking && now >= self.next
    }

    /// What to ask now. The answer comes by [`Fleet::answered`].
    pub fn question(&mut self, facts: &Facts, now: Instant) -> Question {
        self.asking = true;
        self.asked += 1;
        self.next = now + self.settings.every;
        let given = |server: &Server| self.places.iter().find(|place| place.given.address == server.address);
        let servers = facts.servers.iter().map(|server| {
            let place = given(server);
            Asked {
                address: server.address.clone(),
                given: place.is_some(),
                state: if place.is_some_and(|place| place.leaving.is_some()) {
                    "draining"
                } else {
                    server.state
                },
                in_flight: server.in_flight,
                latency_ms: (server.latency.as_secs_f64() * 10_000.0).round() / 10.0,
                cpu_percent: server.cpu_percent.map(|percent| (percent * 10.0).round() / 10.0),
            }
        });
        Question {
            pool: self.settings.name.to_string(),
            wanted: self.wanted(),
            min: self.settings.min,
            max: self.settings.max,
            why: format!("{}; the settings have {}", self.scaler.why(), self.own),
            in_flight: facts.servers.iter().map(|server| server.in_flight).sum(),
            queued: facts.queued,
            servers: servers.collect(),
        }
    }

    /// What came of it.
    pub fn answered(&mut self, answer: Result<Answer, Fault>, now: Instant) {
        self.asking = false;
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                self.failed += 1;
                // Invariant 1.
                if self.fault.as_ref() != Some(&fault) {
                    let program = self.settings.run.first().map_or("", String::as_str);
                    self.tell(Tone::Bad, format!("{program}: {fault}; nothing changes"));
                    self.fault = Some(fault);
                }
                return;
            }
        };
        if self.fault.take().is_some() {
            self.tell(Tone::Good, "its answers are good again".to_owned());
        }
        if answer.note.is_some() && answer.note != self.note {
            self.tell(Tone::Good, format!("says: {}", answer.note.as_deref().unwrap_or_default()));
        }
        self.note = answer.note;
        self.adopt(answer.servers, now);
    }

    /// It is in the settings no more: everybody leaves.
    pub fn dismiss(&mut self, now: Instant) {
        self.adopt(Vec::new(), now);
    }

    fn adopt(&mut self, servers: Vec<Given>, now: Instant) {
        let before = self.members();
        for place in &mut self.places {
            match servers.iter().find(|given| given.address == place.given.address) {
                Some(given) => *place = Place { given: given.clone(), leaving: None },
                None => place.leaving = place.leaving.or(Some(now)),
            }
        }
        for given in servers {
            if !self.places.iter().any(|place| place.given.address == given.address) {
                self.places.push(Place { given, leaving: None });
            }
        }
        let after = self.members();
        if after == before {
            return;
        }
        let stays = |members: &[Member], one: &Member| {
            members
                .iter()
                .any(|other| other.given.address == one.given.address && other.draining == one.draining)
        };
        let mut told = Vec::new();
        for member in after.iter().filter(|member| !stays(&before, member)) {
            let what = if member.draining { "leaves" } else { "comes" };
            told.push(format!("{} {what}", member.given.address));
        }
        if !told.is_empty() {
            let (wanted, why) = (self.wanted(), self.scaler.why());
            self.tell(Tone::Good, format!("{} ({wanted} wanted: {why})", told.join(", ")));
        }
        self.tell_members();
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn begin_anew(&mut self, now: Instant) {
        let there = self.places.iter().filter(|place| place.leaving.is_none()).count();
        let there = u32::try_from(there).unwrap_or(u32::MAX);
        self.scaler = Scaler::new(rules(&self.settings, self.own), self.own.saturating_add(there), now);
    }

    fn tell_members(&mut self) {
        self.actions.push_back(Action::Members(self.members()));
    }

    fn tell(&mut self, tone: Tone, sentence: String) {
        self.actions.push_back(Action::Tell(tone, sentence));
    }
}

fn rules(settings: &ScalerSettings, own: u32) -> Rules {
    let bound = |count: u32| own.saturating_add(count).max(1);
    Rules { scale: settings.scale.clone(), min: bound(settings.min), max: bound(settings.max) }
}

fn load_of(facts: &Facts) -> Load {
    let up = facts.servers.iter().filter(|server| server.state == "up");
    let ready = u32::try_from(up.clone().count()).unwrap_or(u32::MAX);
    let known: Vec<f64> = up.clone().filter_map(|server| server.cpu_percent).collect();
    // Those elsewhere do as much as those here: they share the same requests.
    let each = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    Load {
        ready,
        in_flight: facts.servers.iter().map(|server| server.in_flight).sum(),
        queued: facts.queued,
        places: facts.places,
        latency: up.map(|server| server.latency).max().unwrap_or_default(),
        cpu_percent: each.map(|each| each * f64::from(ready)),
        requests: facts.requests,
    }
}

/// Whether what a scaler looks at is known of such a pool.
pub fn knows_cpu(settings: &ScalerSettings, is_app: bool) -> bool {
    is_app || !settings.scale.looks_at(ScaleBy::Cpu)
}

#[cfg(test)]
mod tests;
