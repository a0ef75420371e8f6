//! What happened to a pool and its servers, as the control side saw it.
//!
//! **Job.** Remember the last events, each server's last reason, and how often what happened. **Owned by** the keeper, one for each
//! pool. **Read by** `view`, `families`.
//!
//! Invariants
//! 1. At most [`EVENTS_MAX`] events and one record for each server of the pool are kept.
//! 2. An event is told to the log and remembered by the same value: they cannot differ.
//!
//! Not here: what workers count (`ledger`), deciding (`health`, `names`).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Instant, SystemTime};

use crate::health::{Event, ProbeFailure, Why};
use crate::pool::Pool;
use crate::recent::Recent;
use crate::server::{ServerId, State};

/// Events remembered for each pool.
pub const EVENTS_MAX: usize = 32;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: SystemTime,
    /// A word for programs: `server`, `panic`, `names`.
    pub what: &'static str,
    /// To which server; `None`: to the pool.
    pub server: Option<String>,
    /// The server's state before and now, where it is about that.
    pub states: Option<(State, State)>,
    /// Why.
    pub why: String,
    /// Whether an operator should look.
    pub bad: bool,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.server, self.states) {
            (Some(server), Some((from, to))) if from == to => write!(f, "{server} is {to}: {}", self.why),
            (Some(server), Some((from, to))) => write!(f, "{server} was {from}, is {to}: {}", self.why),
            (Some(server), None) => write!(f, "{server}: {}", self.why),
            (None, _) => f.write_str(&self.why),
        }
    }
}

/// What ejections are counted by.
pub(crate) const EJECTIONS: [&str; 3] = ["failures", "success-rate", "trial-failed"];
/// What answers to probes are counted by.
pub(crate) const PROBES: [&str; 10] =
    ["good", "not-connected", "late", "tls", "broken", "nonsense", "status", "header", "body", "not-serving"];
/// What look-ups are counted by.
pub(crate) const LOOKUPS: [&str; 5] = ["found", "nothing", "refused", "late", "unreachable"];

/// One server's record.
#[derive(Debug)]
pub(crate) struct Record {
    /// Why its state is what it is; empty: it has been so from the beginning.
    pub(crate) why: String,
    /// What was wrong with the last answer to a probe; `None`: nothing.
    pub(crate) failure: Option<ProbeFailure>,
    pub(crate) ejections: [u64; EJECTIONS.len()],
    /// It should have rested and too few would have been left.
    pub(crate) not_ejected: u64,
    pub(crate) probes: [u64; PROBES.len()],
    /// Times it came into each state.
    pub(crate) turns: [u64; State::ALL.len()],
    pub(crate) recent: Recent,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            why: String::new(),
            failure: None,
            ejections: [0; EJECTIONS.len()],
            not_ejected: 0,
            probes: [0; PROBES.len()],
            turns: [0; State::ALL.len()],
            recent: Recent::new(now),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    events: VecDeque<Happened>,
    servers: BTreeMap<ServerId, Record>,
    pub(crate) panics: u64,
    pub(crate) lookups: [u64; LOOKUPS.len()],
}

impl Chronicle {
    /// Follows the next snapshot: records of servers that left end.
    pub(crate) fn follow(&mut self, pool: &Pool, now: Instant) {
        self.servers.retain(|id, _| pool.member(*id).is_some());
        for member in pool.members() {
            self.servers.entry(member.server.id()).or_insert_with(|| Record::new(now));
        }
    }

    /// Remembers an event.
    pub(crate) fn note(&mut self, happened: Happened) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(happened);
    }

    /// A server changed its state, or would have: counted, and as people read it.
    pub(crate) fn turned(&mut self, pool: &Pool, event: &Event, at: SystemTime) -> Happened {
        let why = event.why.to_string();
        if let Some(record) = self.servers.get_mut(&event.server) {
            let ejected = match event.why {
                Why::FailuresInARow { .. } => Some(0),
                Why::SuccessRate { .. } => Some(1),
                Why::TrialFailed { .. } => Some(2),
                Why::TooFewLeft { .. } => {
                    record.not_ejected += 1;
                    None
                }
                _ => None,
            };
            if let Some(at) = ejected {
                record.ejections[at] += 1;
            }
            if event.from != event.to {
                if let Some(at) = State::ALL.iter().position(|state| *state == event.to) {
                    record.turns[at] += 1;
                }
                record.why.clone_from(&why);
            }
        }
        let server = pool.member(event.server).map_or("a server that left", |member| member.server.name());
        Happened {
            at,
            what: "server",
            server: Some(server.to_owned()),
            states: Some((event.from, event.to)),
            why,
            // What somebody ordered, and a server that is tried again, are no news to wake anybody for.
            bad: matches!(event.to, State::Down | State::Ejected),
        }
    }

    /// An answer to a probe.
    pub(crate) fn probed(&mut self, server: ServerId, answer: Result<(), ProbeFailure>) {
        let Some(record) = self.servers.get_mut(&server) else { return };
        let at = match answer {
            Ok(()) => 0,
            Err(ProbeFailure::NotConnected) => 1,
            Err(ProbeFailure::Late) => 2,
            Err(ProbeFailure::Tls) => 3,
            Err(ProbeFailure::Broken) => 4,
            Err(ProbeFailure::Nonsense) => 5,
            Err(ProbeFailure::Status(_)) => 6,
            Err(ProbeFailure::Header) => 7,
            Err(ProbeFailure::Body) => 8,
            Err(ProbeFailure::NotServing) => 9,
        };
        record.probes[at] += 1;
        record.failure = answer.err();
    }

    /// A look-up ended, by one of [`LOOKUPS`].
    pub(crate) fn looked_up(&mut self, result: &str) {
        if let Some(at) = LOOKUPS.iter().position(|name| *name == result) {
            self.lookups[at] += 1;
        }
    }

    pub(crate) fn record(&self, server: ServerId) -> Option<&Record> {
        self.servers.get(&server)
    }

    pub(crate) fn record_mut(&mut self, server: ServerId) -> Option<&mut Record> {
        self.servers.get_mut(&server)
    }

    /// The last events, newest last.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Happened> {
        self.events.iter()
    }
}
