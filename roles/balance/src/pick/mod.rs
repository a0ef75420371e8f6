//! Which server gets a request.
//!
//! **Job.** Go through the tiers - primaries, backups, those on trial, in a panic the doubtful - and let the pool's rule choose within the
//! first tier that can. **Owned by** one worker. **Reads** the pool's snapshot and the atomics of its servers.
//! **Called by** the proxy, once per attempt.
//!
//! Invariants
//! 1. No lock, no allocation (but for the first pick of a new snapshot).
//! 2. `max_connections` is never exceeded, in no tier: the place is taken atomically before a pick is given.
//! 3. A server that is drained or disabled is never chosen, one that is down or ejected only in a panic.
//! 4. A server that this request tried already is chosen only when no other can.
//! 5. An open circuit is obeyed in every tier.
//!
//! Why so: docs/decisions/0008-who-gets-a-request.md.
//!
//! Not here: what to do with a pick (the proxy), waiting in line (the proxy, by `queue`), states (`health`).

mod candidates;
pub mod hash;
mod least;
mod least_time;
mod round_robin;
mod two_choices;

use std::fmt;
use std::time::Instant;

use self::candidates::Candidates;
use crate::config::{Balance, Sticky};
use crate::pool::Pool;
use crate::server::{InFlight, ServerId};
use madang_host::draws::Draws;

/// Attempts that one request may make, and so servers it may have tried.
pub const ATTEMPTS_MAX: usize = 8;
/// How often a pick starts anew because other workers took the last place of its choice.
const RACES_MAX: usize = 8;

/// The servers a request tried already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    ids: [Option<ServerId>; ATTEMPTS_MAX],
}

impl Tried {
    /// Remembers one. The ninth is forgotten: no request makes so many attempts.
    pub fn add(&mut self, id: ServerId) {
        if !self.holds(id)
            && let Some(free) = self.ids.iter_mut().find(|free| free.is_none())
        {
            *free = Some(id);
        }
    }

    /// Whether it was tried.
    pub fn holds(&self, id: ServerId) -> bool {
        // The first attempt has tried nobody: the common case is one comparison.
        !self.is_empty() && self.ids.contains(&Some(id))
    }

    /// Whether none was.
    pub const fn is_empty(&self) -> bool {
        self.ids[0].is_none()
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The hash of what the pool hashes by ([`hash::key_of`]), for `balance = "hash"` and `sticky = "ip"`. Without one,
    /// two choices are drawn.
    pub key: Option<u64>,
    /// The server its cookie names.
    pub sticky: Option<ServerId>,
    /// Where it was already.
    pub tried: &'a Tried,
    /// A fresh random number.
    pub random: u64,
}

/// By which rule a server was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// It was its turn.
    RoundRobin,
    /// It has the fewest open, for its weight.
    LeastConnections,
    /// The better of two drawn.
    TwoChoices,
    /// The quickest of late, for what is open there.
    LeastTime,
    /// The key belongs to it.
    Hash,
    /// The key belongs to another that cannot take it or has too much already; this is the next on the ring.
    HashNext,
    /// The client belongs to it.
    Sticky,
    /// It was drawn to be tried.
    Trial,
}

/// From which tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// A fit primary.
    Primary,
    /// A fit backup: no primary could.
    Backup,
    /// It has to show that it is well again.
    Trial,
    /// Too few are up: it may be sick.
    Panic,
    /// It was tried before and no other could.
    Again,
}

/// Why this server: for `madang trace`, the log and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Why {
    pub rule: Rule,
    pub tier: Tier,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.rule {
            Rule::RoundRobin => "round robin",
            Rule::LeastConnections => "least connections",
            Rule::TwoChoices => "two choices",
            Rule::LeastTime => "least time",
            Rule::Hash => "hash",
            Rule::HashNext => "hash, next on the ring",
            Rule::Sticky => "sticky",
            Rule::Trial => "drawn",
        })?;
        f.write_str(match self.tier {
            Tier::Primary => "",
            Tier::Backup => " (backup: no primary could)",
            Tier::Trial => " (on trial)",
            Tier::Panic => " (panic: too few are up)",
            Tier::Again => " (tried before: no other could)",
        })
    }
}

/// A server, chosen, with a place taken there.
#[derive(Debug)]
pub struct Chosen {
    /// Its index in [`Pool::members`].
    pub index: usize,
    /// Why it.
    pub why: Why,
    /// The place; hand it to [`Pool::finish`].
    pub place: InFlight,
}

/// Why nobody can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoneUp {
    /// Only drained and disabled servers.
    Empty,
    /// None of the pool's names leads to an address.
    NoAddress,
    /// All are down or ejected, and there is no panic to doubt it.
    Sick,
    /// The circuits of all that would do are open.
    CircuitsOpen,
}

impl fmt::Display for NoneUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no server in rotation",
            Self::NoAddress => "its names lead to no address (the log tells why)",
            Self::Sick => "no server is up",
            Self::CircuitsOpen => "the circuits of all servers are open",
        })
    }
}

/// The answer.
#[derive(Debug)]
pub enum Pick {
    /// Go there.
    Server(Chosen),
    /// Somebody could, but all their places are taken: wait in line.
    Wait,
    /// Nobody can.
    NoneUp(NoneUp),
}

/// One worker's view of one pool.
#[derive(Debug)]
pub struct Picker {
    seed: u64,
    generation: Option<u64>,
    round_robin: round_robin::Turns,
}

impl Picker {
    /// A picker. Give each worker another seed: then they do not all begin with the same server.
    pub const fn new(seed: u64) -> Self {
        Self { seed, generation: None, round_robin: round_robin::Turns::new() }
    }

    /// Chooses a server and takes a place there.
    ///
    /// Never waits. Costs a walk over the servers (about 5 ns each) and two read-modify-writes.
    pub fn pick(&mut self, pool: &Pool, ask: &Ask<'_>, now: Instant) -> Pick {
        if self.generation != Some(pool.generation()) || self.round_robin.len() != pool.members().len() {
            self.generation = Some(pool.generation());
            self.round_robin.start(pool, self.seed);
        }
        let mut draws = Draws::new(ask.random);
        for _ in 0..RACES_MAX {
            let candidates = Candidates::new(pool, ask, now);
            let Some((index, why)) = self.choose(&candidates, &mut draws) else {
                return candidates.nobody();
            };
            if let Some(place) = candidates.take(index) {
                return Pick::Server(Chosen { index, why, place });
            }
        }
        Pick::Wait
    }

    fn choose(&mut self, candidates: &Candidates<'_>, draws: &mut Draws) -> Option<(usize, Why)> {
        if let Some(index) = candidates.stuck_to() {
            return Some((index, Why { rule: Rule::Sticky, tier: Tier::Primary }));
        }
        if let Some(index) = candidates.trial(draws) {
            return Some((index, Why { rule: Rule::Trial, tier: Tier::Trial }));
        }
        candidates.passes().iter().find_map(|pass| {
            candidates.enter(*pass);
            let (index, rule) = self.by_rule(candidates, draws)?;
            Some((index, Why { rule, tier: pass.tier }))
        })
    }

    fn by_rule(&mut self, candidates: &Candidates<'_>, draws: &mut Draws) -> Option<(usize, Rule)> {
        let settings = candidates.pool.settings();
        if let (Some(ring), Some(key)) = (candidates.pool.ring(), candidates.ask.key) {
            return hash::choose(ring, key, candidates);
        }
        debug_assert!(settings.sticky != Sticky::Ip || settings.balance != Balance::Hash);
        match settings.balance {
            Balance::RoundRobin => self.round_robin.choose(candidates).map(|index| (index, Rule::RoundRobin)),
            Balance::LeastConnections => {
                least::choose(candidates, draws).map(|index| (index, Rule::LeastConnections))
            }
            Balance::LeastTime => least_time::choose(candidates, draws).map(|index| (index, Rule::LeastTime)),
            Balance::TwoChoices | Balance::Hash => {
                two_choices::choose(candidates, draws).map(|index| (index, Rule::TwoChoices))
            }
        }
    }
}
