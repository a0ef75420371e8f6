//! A pool: its settings and its servers, as one snapshot that all workers share.
//!
//! **Job.** Hold who belongs to the pool and by which rules; make the next snapshot when settings or names change, keeping
//! the servers that stay. **Read by** `pick`, `health`, the proxy. **Calls** `server`, `pick::hash` (the ring).
//!
//! Invariants
//! 1. A snapshot never changes but for the panic flag, what all snapshots share, and what is inside its servers.
//! 2. At most [`SERVERS_MAX`] servers; no two with the same id.
//!
//! Not here: deciding states (`health`), choosing (`pick`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::breaker::Change;
use crate::config::{Balance, Place, PoolSettings, SERVERS_MAX, ServerSettings, Sticky};
use crate::ledger::{Ledgers, PoolLedger};
use crate::pick::Tried;
use crate::pick::hash::{Ring, key_of};
use crate::server::{InFlight, Outcome, Server, ServerId, Standing, State};
use crate::tally::Tally;

/// A server and how this pool uses it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What changes while requests run.
    pub server: Arc<Server>,
    /// Its share beside the others', 0 to 256.
    pub weight: u16,
    /// Used only when no other can.
    pub backup: bool,
    /// Requests open at once; 0: no limit.
    pub max_connections: u32,
}

/// One server as settings and name resolution give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As written.
    pub settings: ServerSettings,
    /// Where its address leads: the same, or one of the addresses its name has.
    pub place: Place,
}

impl From<ServerSettings> for Endpoint {
    fn from(settings: ServerSettings) -> Self {
        let place = settings.address.place.clone();
        Self { settings, place }
    }
}

/// What a result means for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noticed {
    /// Enough failures in a row that `health` should look now ([`crate::health::Health::passive`]), not at its next turn.
    pub look_now: bool,
    /// What the circuit breaker did.
    pub circuit: Change,
}

/// A pool.
#[derive(Debug)]
pub struct Pool {
    settings: Arc<PoolSettings>,
    generation: u64,
    members: Vec<Member>,
    ring: Option<Ring>,
    panic: AtomicBool,
    /// Whether names are being looked up for the first time.
    awaits_names: AtomicBool,
    shared: Arc<Shared>,
    /// Requests in line, of all workers; one count for all snapshots.
    waiting: Arc<AtomicU32>,
}

/// What all snapshots of a pool share.
#[derive(Debug, Default)]
struct Shared {
    held: AtomicBool,
    tally: Tally,
    ledgers: Ledgers<PoolLedger>,
}

impl Pool {
    /// A pool that was not there before, of the servers in its settings. Names have no server before they were looked up.
    pub fn new(settings: Arc<PoolSettings>, now: Instant) -> Self {
        let endpoints = settings.servers.iter().cloned().map(Endpoint::from).collect();
        Self::build(settings, endpoints, None, now)
    }

    /// The next snapshot: other settings or other servers. Servers that stay keep their state, counters and open requests.
    pub fn next(&self, settings: Arc<PoolSettings>, endpoints: Vec<Endpoint>, now: Instant) -> Self {
        Self::build(settings, endpoints, Some(self), now)
    }

    fn build(
        settings: Arc<PoolSettings>,
        endpoints: Vec<Endpoint>,
        last: Option<&Self>,
        now: Instant,
    ) -> Self {
        let id = |endpoint: &Endpoint| {
            let address = &endpoint.settings.address;
            let mut name = address.key();
            if endpoint.place != address.place {
                name = format!("{name} at {}", endpoint.place);
            }
            ServerId(key_of(name.as_bytes()))
        };
        // A pool that goes on with servers that are up does not need its new ones before they passed a check.
        let is_up = |member: &Member| member.server.standing().state == State::Up;
        let goes_on = |last: &Self| endpoints.iter().any(|new| last.member(id(new)).is_some_and(is_up));
        // Nor does one whose requests wait for them.
        let checked_first =
            settings.health.is_some() && last.is_some_and(|last| settings.hold.is_some() || goes_on(last));
        let begin = if checked_first { Standing::PROBING } else { Standing::UP };
        let mut members: Vec<Member> = Vec::with_capacity(endpoints.len().min(SERVERS_MAX));
        for endpoint in endpoints {
            let id = id(&endpoint);
            let Endpoint { settings, place } = endpoint;
            let known = members.iter().any(|member| member.server.id() == id);
            if place.is_name() || known || members.len() == SERVERS_MAX {
                continue;
            }
            let kept = last.and_then(|last| last.member(id)).map(|member| Arc::clone(&member.server));
            let ServerSettings { address, weight, backup, max_connections } = settings;
            let server = kept.unwrap_or_else(|| Arc::new(Server::new(id, address, place, begin, now)));
            members.push(Member { server, weight, backup, max_connections });
        }
        let keyed = settings.balance == Balance::Hash || settings.sticky == Sticky::Ip;
        Self {
            ring: keyed.then(|| Ring::new(&members)),
            generation: last.map_or(0, |last| last.generation + 1),
            panic: AtomicBool::new(last.is_some_and(Self::is_in_panic)),
            awaits_names: AtomicBool::new(false),
            shared: last.map(|last| Arc::clone(&last.shared)).unwrap_or_default(),
            waiting: last.map(|last| Arc::clone(&last.waiting)).unwrap_or_default(),
            settings,
            members,
        }
    }

    /// Whether it uses the same servers in the same way.
    pub(crate) fn has_the_servers_of(&self, other: &Self) -> bool {
        let same = |(a, b): (&Member, &Member)| {
            a.server.id() == b.server.id() && (a.weight, a.backup) == (b.weight, b.backup)
        };
        self.members.len() == other.members.len() && self.members.iter().zip(&other.members).all(same)
    }

    /// Its rules.
    pub const fn settings(&self) -> &Arc<PoolSettings> {
        &self.settings
    }

    /// Its servers, in the order of the settings.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The server of an id.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.iter().find(|member| member.server.id() == id)
    }

    /// The servers that an operator may mean: by name, by address as written, by the place it leads to.
    pub fn find(&self, text: &str) -> Vec<&Arc<Server>> {
        let meant = |server: &&Arc<Server>| {
            server.name() == text || server.address().key() == text || server.place().to_string() == text
        };
        self.members.iter().map(|member| &member.server).filter(meant).collect()
    }

    /// Whether a server is up that a request did not try yet: then nobody needs to wait before the next attempt.
    pub fn has_another(&self, tried: &Tried) -> bool {
        let fresh =
            |member: &Member| member.server.standing().state == State::Up && !tried.holds(member.server.id());
        self.members.iter().any(fresh)
    }

    /// Goes up with each snapshot.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether so few servers are up that health is doubted.
    pub fn is_in_panic(&self) -> bool {
        self.panic.load(Ordering::Acquire)
    }

    /// What the workers count about it as a whole.
    pub fn ledgers(&self) -> &Ledgers<PoolLedger> {
        &self.shared.ledgers
    }

    /// Whether it has no server yet because names are being looked up for the first time: requests wait then.
    pub fn awaits_names(&self) -> bool {
        self.awaits_names.load(Ordering::Acquire)
    }

    /// Told by the keeper of names.
    pub(crate) fn set_awaits_names(&self, on: bool) {
        self.awaits_names.store(on, Ordering::Release);
    }

    /// Whether the operator holds it: requests wait.
    pub fn is_held(&self) -> bool {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// The operator's wish, for every snapshot of this pool.
    pub fn set_held(&self, on: bool) {
        self.shared.held.store(on, Ordering::Relaxed);
    }

    /// What it did beside plain proxying.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Requests that wait for a place or for a server, of all workers.
    pub fn waiting(&self) -> u32 {
        let held = u32::try_from(self.shared.tally.view().waiting).unwrap_or(u32::MAX);
        self.waiting.load(Ordering::Relaxed).saturating_add(held)
    }

    pub(crate) const fn line(&self) -> &Arc<AtomicU32> {
        &self.waiting
    }

    pub(crate) const fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Obeys [`crate::health::Action::Publish`].
    pub fn publish(&self, id: ServerId, standing: Standing) {
        if let Some(member) = self.member(id) {
            member.server.publish(standing);
        }
    }

    /// Obeys [`crate::health::Action::Panic`].
    pub fn set_panic(&self, on: bool) {
        self.panic.store(on, Ordering::Release);
    }

    /// An attempt ended: takes note and gives the place back. `took` is the time to the answer's first byte, or to the failure.
    ///
    /// Never waits; a handful of atomic additions.
    pub fn finish(&self, place: InFlight, outcome: Outcome, took: Duration, now: Instant) -> Noticed {
        self.note(place.server(), outcome, took, now)
    }

    /// The same while the place is still held: an answer has begun, or broke off later.
    pub fn note(&self, server: &Arc<Server>, outcome: Outcome, took: Duration, now: Instant) -> Noticed {
        let circuit = server.record(outcome, took, now, self.settings.breaker.as_ref());
        let limit = self.settings.passive.failures;
        let look_now = outcome.is_failure() && limit > 0 && server.counts().in_a_row >= limit;
        Noticed { look_now, circuit }
    }
}
