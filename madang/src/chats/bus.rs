//! What NATS says of itself, for people.
//!
//! **Job.** Keep the last word about the way to other machines and tell the log what changed. **Called by** the bus's own thread,
//! `status`. **Calls** the log.
//!
//! Invariants
//! 1. What is said again and again while NATS is away is told once.
//!
//! Not here: the way itself (`engine/bus`), its counters (`view`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use madang_bus::config::{Address, BusSettings};
use madang_bus::{Bus, Reach, Told};
use madang_host::clock::{self, unix_seconds};
use madang_host::config::Level;
use serde::Serialize;

use crate::telemetry::Telemetry;

/// Different troubles that are told until it is connected again.
const TOLD_MAX: usize = 8;

/// The way to other machines as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct BusView {
    /// `connected` or `away`.
    pub state: &'static str,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Where NATS is, without logins.
    pub servers: Vec<String>,
    /// Other machines heard of now.
    pub machines: u64,
    /// What NATS said last that was no good, until it is connected again.
    pub trouble: Option<String>,
}

/// What was heard last.
pub struct BusNews {
    telemetry: Arc<Telemetry>,
    servers: Vec<String>,
    last: Mutex<Last>,
}

struct Last {
    connected: Option<bool>,
    since: SystemTime,
    trouble: Option<String>,
    /// What was told since it was connected last.
    told: Vec<String>,
}

impl BusNews {
    /// Of this way; nothing was heard yet.
    pub fn new(settings: &BusSettings, telemetry: &Arc<Telemetry>) -> Arc<Self> {
        let servers = match settings {
            BusSettings::Nats(nats) => nats.servers.iter().map(Address::to_string).collect(),
            BusSettings::Local => Vec::new(),
        };
        let last =
            Mutex::new(Last { connected: None, since: clock::wall(), trouble: None, told: Vec::new() });
        Arc::new(Self { telemetry: Arc::clone(telemetry), servers, last })
    }

    /// To be told everything, from any thread.
    pub fn hear(&self, told: Told) {
        let sentence = {
            // Changed in whole steps.
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.hear(told, clock::wall(), &self.servers.join(", "))
        };
        if let Some((level, sentence)) = sentence {
            self.telemetry.log.always(level, "bus", &sentence);
        }
    }

    /// As `madang status` shows it.
    pub fn view(&self, bus: &Bus) -> BusView {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        BusView {
            state: if bus.reach() == Reach::Connected { "connected" } else { "away" },
            since: unix_seconds(last.since),
            servers: self.servers.clone(),
            machines: bus.numbers().1.map_or(0, |numbers| numbers.nodes),
            trouble: last.trouble.clone(),
        }
    }
}

impl Last {
    /// What is worth a line of the log.
    fn hear(&mut self, told: Told, now: SystemTime, servers: &str) -> Option<(Level, String)> {
        match told {
            Told::Connected => {
                let before = self.connected.replace(true);
                (self.since, self.trouble) = (now, None);
                self.told.clear();
                let word = if before.is_none() { "connected with" } else { "connected again with" };
                Some((Level::Info, format!("{word} NATS ({servers}): other machines are heard")))
            }
            Told::Away if self.connected == Some(false) => None,
            Told::Away => {
                self.connected = Some(false);
                self.since = now;
                let means = "other machines are not heard; it is tried again, and what was missed is read from the database";
                Some((Level::Warn, format!("NATS ({servers}) is away: {means}")))
            }
            Told::Trouble { why } => {
                let sentence = format!("NATS ({servers}) says: {why}");
                self.trouble(why).then_some((Level::Warn, sentence))
            }
            Told::Slow => {
                let why = "messages came faster than they were taken, and some were given up: they are read from the database";
                self.trouble(why.to_owned()).then(|| (Level::Warn, why.to_owned()))
            }
        }
    }

    /// Whether it was not told yet.
    fn trouble(&mut self, why: String) -> bool {
        self.trouble = Some(why.clone());
        let is_new = self.told.len() < TOLD_MAX && !self.told.contains(&why);
        if is_new {
            self.told.push(why);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what changes is told, what is only said again is not, and a connection ends the trouble before it.
    #[test]
    fn what_is_said_again_is_told_once() {
        let now = clock::wall();
        let mut last = Last { connected: None, since: now, trouble: None, told: Vec::new() };
        let trouble = |why: &str| Told::Trouble { why: why.to_owned() };
        let mut told =
            |what| last.hear(what, now, "nats://a").map(|(level, said)| (level, said[..20].to_owned()));
        let (away, says) = ("NATS (nats://a) is a".to_owned(), "NATS (nats://a) says".to_owned());
        assert_eq!(told(trouble("refused")), Some((Level::Warn, says.clone())));
        assert_eq!(told(trouble("refused")), None);
        assert_eq!(told(Told::Connected), Some((Level::Info, "connected with NATS ".to_owned())));
        assert_eq!(told(Told::Away), Some((Level::Warn, away.clone())));
        assert_eq!(told(Told::Away), None);
        assert_eq!(told(trouble("refused")), Some((Level::Warn, says)));
        assert_eq!(told(Told::Connected), Some((Level::Info, "connected again with".to_owned())));
        assert_eq!(told(Told::Slow).map(|(level, _)| level), Some(Level::Warn));
        assert_eq!(told(Told::Slow), None);
        assert_eq!(told(Told::Away), Some((Level::Warn, away)));
    }
}
