//! A server of a pool: who it is, what state it has, what is going on there.
//!
//! **Job.** Hold what changes while requests run, as atomics that every worker reads and writes without a lock.
//! **Written by** `pick` and the proxy (in flight, results), by what `health` decides (state, share). **Read by** `pick`,
//! `health` (counts), status and metrics.
//!
//! Invariants
//! 1. `in_flight` is raised by [`Server::begin`] alone and lowered once for each, by `Drop` of [`InFlight`].
//! 2. State and share are one word: no reader sees the state of one moment with the share of another.
//! 3. A server outlives the snapshot of its pool: a reload that keeps its address keeps its state and counters.
//!
//! Not here: weight, backup, limits (`pool`: settings may change while the server stays), who decides a state (`health`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::breaker::{Breaker, Change, Circuit};
use crate::config::{Address, BreakerSettings, Place};
use crate::latency::Latency;
use crate::ledger::{Ledgers, ServerLedger};

/// A full share, in permille of a server's weight.
pub const SHARE_FULL: u16 = 1000;
/// Where slow start begins, and what a server on trial gets.
pub const SHARE_LEAST: u16 = 100;
/// What a failure counts as for `least-time`: a server that fails quickly must not look quick.
const FAILURE_TOOK: Duration = Duration::from_secs(1);

/// Names a server within its pool: the same on every machine and after every start. From its address, not reversible by
/// itself but guessable: never shown to clients (`sticky`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u64);

/// What may be sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Everything.
    Up,
    /// Nothing: its health checks fail.
    Down,
    /// Nothing for a while: its requests failed.
    Ejected,
    /// One request at a time, or none where health checks decide: it was ejected, or has not been checked yet.
    Probing,
    /// Nothing new: the operator wants it empty.
    Draining,
    /// Nothing: the operator switched it off.
    Disabled,
}

impl State {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Up, Self::Down, Self::Ejected, Self::Probing, Self::Draining, Self::Disabled];

    /// For people and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    /// Whether the operator took it out: health and panic have no say then.
    pub const fn is_taken_out(self) -> bool {
        matches!(self, Self::Draining | Self::Disabled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What `health` says of a server, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// It does not answer at all (as opposed to: answers wrongly). A panic does not help such a one.
    pub silent: bool,
    /// Its share, in permille of its weight: below 1000 in slow start.
    pub share: u16,
}

impl Standing {
    /// Up with its full share.
    pub const UP: Self = Self { state: State::Up, silent: false, share: SHARE_FULL };
    /// Not checked yet.
    pub(crate) const PROBING: Self = Self { state: State::Probing, silent: false, share: SHARE_LEAST };

    fn pack(self) -> u32 {
        let state = State::ALL.iter().position(|state| *state == self.state).unwrap_or_default();
        u32::try_from(state).unwrap_or_default() | u32::from(self.silent) << 8 | u32::from(self.share) << 16
    }

    #[allow(clippy::cast_possible_truncation)] // the upper half of 32 bits
    fn unpack(word: u32) -> Self {
        let state = State::ALL.get((word & 0xFF) as usize).copied().unwrap_or(State::Up);
        Self { state, silent: word & 0x100 != 0, share: (word >> 16) as u16 }
    }
}

/// How an attempt at a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 500.
    Good,
    /// An answer of 500 and above.
    Error,
    /// The connection did not open.
    NotConnected,
    /// The connection broke before the answer was whole.
    Broken,
    /// No answer in time.
    Late,
    /// What came was no answer (RFC 9112), or one whose length was wrong.
    Nonsense,
    /// The client left or the other of two hedged attempts was first: says nothing about the server.
    Abandoned,
}

impl Outcome {
    /// Whether it speaks against the server.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Good | Self::Abandoned)
    }
}

/// Counts since the server was born. They only grow (but for `in_a_row`); whoever reads them takes differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Answers below 500.
    pub good: u64,
    /// Failures of every kind.
    pub failed: u64,
    /// Those among them where no connection opened.
    pub not_connected: u64,
    /// Failures since the last good answer.
    pub in_a_row: u32,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    id: ServerId,
    name: Box<str>,
    address: Address,
    place: Place,
    born: Instant,
    standing: AtomicU32,
    in_flight: AtomicU32,
    connections: AtomicU32,
    latency: Latency,
    pub(crate) breaker: Breaker,
    good: AtomicU64,
    failed: AtomicU64,
    not_connected: AtomicU64,
    in_a_row: AtomicU32,
    picked: AtomicU64,
    ledgers: Ledgers<ServerLedger>,
}

impl Server {
    /// A server that was not seen before. `place` is where `address` leads: the same, or what its name resolved to.
    pub(crate) fn new(id: ServerId, address: Address, place: Place, begin: Standing, born: Instant) -> Self {
        let name =
            if place == address.place { address.key() } else { format!("{} ({place})", address.key()) };
        Self {
            id,
            name: name.into(),
            address,
            place,
            born,
            standing: AtomicU32::new(begin.pack()),
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            latency: Latency::default(),
            breaker: Breaker::default(),
            good: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            not_connected: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            picked: AtomicU64::new(0),
            ledgers: Ledgers::default(),
        }
    }

    /// Its name within the pool.
    pub const fn id(&self) -> ServerId {
        self.id
    }

    /// For people: its address, and where that leads if it is a name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As written in the settings: the protocol, and the host for SNI.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Where to connect.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What `health` says of it. One load.
    pub fn standing(&self) -> Standing {
        Standing::unpack(self.standing.load(Ordering::Acquire))
    }

    pub(crate) fn publish(&self, standing: Standing) {
        let before = Standing::unpack(self.standing.swap(standing.pack(), Ordering::AcqRel));
        if standing.state == State::Up && before.state != State::Up {
            self.latency.reset();
        }
    }

    /// Requests open now, of all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests ever sent here.
    pub fn picked(&self) -> u64 {
        self.picked.load(Ordering::Relaxed)
    }

    /// Connections open now; the upstream client keeps count.
    pub const fn connections(&self) -> &AtomicU32 {
        &self.connections
    }

    /// What the workers count about it.
    pub const fn ledgers(&self) -> &Ledgers<ServerLedger> {
        &self.ledgers
    }

    /// The circuit breaker, if the pool has one.
    pub fn circuit(&self, now: Instant) -> Circuit {
        self.breaker.circuit(self.ms(now))
    }

    /// Time to the first byte of late; zero without a sample.
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.latency_micros(now) / 1e6)
    }

    pub(crate) fn latency_micros(&self, now: Instant) -> f64 {
        self.latency.micros(self.ms(now))
    }

    /// What requests showed so far.
    pub fn counts(&self) -> Counts {
        Counts {
            good: self.good.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            not_connected: self.not_connected.load(Ordering::Relaxed),
            in_a_row: self.in_a_row.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes a place for one more request, unless `max` are taken (0: no limit).
    ///
    /// Never waits. Costs one read-modify-write and one `Arc` clone.
    pub fn begin(self: &Arc<Self>, max: u32) -> Option<InFlight> {
        let room = |open: u32| (max == 0 || open < max).then_some(open).and_then(|open| open.checked_add(1));
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        self.picked.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { server: Arc::clone(self) })
    }

    /// Takes note of how an attempt ended; `took` is the time to the answer's first byte, or to the failure.
    pub(crate) fn record(
        &self,
        outcome: Outcome,
        took: Duration,
        now: Instant,
        breaker: Option<&BreakerSettings>,
    ) -> Change {
        let now_ms = self.ms(now);
        if outcome == Outcome::Abandoned {
            // It took at least so long; that counts when it is longer than what we thought.
            if took.as_secs_f64() * 1e6 > self.latency.micros(now_ms) {
                self.latency.record(took, now_ms);
            }
            return Change::None;
        }
        let failed = outcome.is_failure();
        self.latency.record(if failed { took.max(FAILURE_TOOK) } else { took }, now_ms);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
            if outcome == Outcome::NotConnected {
                self.not_connected.fetch_add(1, Ordering::Relaxed);
            }
            self.in_a_row.fetch_add(1, Ordering::Relaxed);
        } else {
            self.good.fetch_add(1, Ordering::Relaxed);
            // A load first: on the good path the line stays shared between workers.
            if self.in_a_row.load(Ordering::Relaxed) != 0 {
                self.in_a_row.store(0, Ordering::Relaxed);
            }
        }
        breaker.map_or(Change::None, |rules| self.breaker.record(!failed, now_ms, rules))
    }
}

/// A place taken at a server; dropping it gives the place back.
#[derive(Debug)]
pub struct InFlight {
    server: Arc<Server>,
}

impl InFlight {
    /// Where.
    pub const fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
