//! Who may be chosen: one pass over the tiers at a time.
//!
//! **Job.** Say of each server whether it can be chosen in this pass, and with what weight. **Called by** the rules of `pick`.
//! **Reads** the snapshot and the servers' atomics. **Writes** only what it saw, to tell why nobody could.
//!
//! Not here: the rules.

use std::cell::Cell;
use std::time::Instant;

use super::{Ask, NoneUp, Pick, Tier};
use crate::breaker::Circuit;
use crate::pool::{Member, Pool};
use crate::random::Draws;
use crate::server::{InFlight, Server, State};

/// How fit a server must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Up, with a closed circuit.
    Healthy,
    /// On trial: nothing open there, and it may have one request.
    Trial,
    /// Not known to be without any answer.
    Answering,
    /// Not taken out by the operator.
    Any,
}

/// One of so many picks goes to a server on trial that has nothing open.
const TRIAL_EVERY: u64 = 10;

/// One walk over the servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    backup: bool,
    fit: Fit,
    again: bool,
    pub(super) tier: Tier,
}

const fn pass(backup: bool, fit: Fit, again: bool, tier: Tier) -> Pass {
    Pass { backup, fit, again, tier }
}

/// When enough are up.
const CALM: [Pass; 6] = [
    pass(false, Fit::Healthy, false, Tier::Primary),
    pass(true, Fit::Healthy, false, Tier::Backup),
    pass(false, Fit::Trial, false, Tier::Trial),
    pass(true, Fit::Trial, false, Tier::Trial),
    pass(false, Fit::Healthy, true, Tier::Again),
    pass(true, Fit::Healthy, true, Tier::Again),
];

/// When too few are up. A server that does not answer at all is of no use even then, unless it is the last.
const PANIC: [Pass; 6] = [
    pass(false, Fit::Answering, false, Tier::Panic),
    pass(true, Fit::Healthy, false, Tier::Backup),
    pass(false, Fit::Any, false, Tier::Panic),
    pass(true, Fit::Any, false, Tier::Panic),
    pass(false, Fit::Any, true, Tier::Again),
    pass(true, Fit::Any, true, Tier::Again),
];

impl Pass {
    /// How many of the last passes take servers that were tried before.
    pub(super) const AGAIN: usize = 2;

    pub(super) const fn in_order(panic: bool) -> &'static [Self] {
        if panic { &PANIC } else { &CALM }
    }
}

/// The servers as one pick sees them.
pub(super) struct Candidates<'a> {
    pub(super) pool: &'a Pool,
    pub(super) ask: &'a Ask<'a>,
    pub(super) now: Instant,
    pass: Cell<Pass>,
    saw_full: Cell<bool>,
    saw_open: Cell<bool>,
    saw_any: Cell<bool>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(pool: &'a Pool, ask: &'a Ask<'a>, now: Instant) -> Self {
        let no = || Cell::new(false);
        Self { pool, ask, now, pass: Cell::new(CALM[0]), saw_full: no(), saw_open: no(), saw_any: no() }
    }

    pub(super) fn enter(&self, pass: Pass) {
        self.pass.set(pass);
    }

    pub(super) fn len(&self) -> usize {
        self.pool.members().len()
    }

    pub(super) fn server(&self, index: usize) -> &'a Server {
        &self.pool.members()[index].server
    }

    /// The share of a server in this pass, weight times permille; 0 when it cannot be chosen.
    pub(super) fn weight(&self, index: usize) -> u32 {
        let Some(member) = self.pool.members().get(index) else { return 0 };
        let pass = self.pass.get();
        if member.backup != pass.backup || member.weight == 0 {
            return 0;
        }
        if !pass.again && self.ask.tried.holds(member.server.id()) {
            return 0;
        }
        if !self.can(member, pass.fit) {
            return 0;
        }
        (u32::from(member.weight) * u32::from(member.server.standing().share)).max(1)
    }

    /// Whether a server is fit and has room.
    fn can(&self, member: &Member, fit: Fit) -> bool {
        let standing = member.server.standing();
        if standing.state.is_taken_out() {
            return false;
        }
        self.saw_any.set(true);
        let fits = match fit {
            Fit::Healthy => standing.state == State::Up && !self.is_on_trial(member),
            Fit::Trial => self.is_on_trial(member),
            Fit::Answering => !standing.silent,
            Fit::Any => true,
        };
        if !fits {
            return false;
        }
        if self.circuit(member) == Circuit::Open {
            self.saw_open.set(true);
            return false;
        }
        let limit = self.limit(member);
        let room = limit == 0 || member.server.in_flight() < limit;
        if !room {
            self.saw_full.set(true);
        }
        room
    }

    fn circuit(&self, member: &Member) -> Circuit {
        match self.pool.settings().breaker {
            None => Circuit::Closed,
            Some(_) => member.server.circuit(self.now),
        }
    }

    /// Whether requests have to show that it is well again. Where the pool has health checks, those try an ejected server.
    fn is_on_trial(&self, member: &Member) -> bool {
        match member.server.standing().state {
            State::Up => self.circuit(member) == Circuit::HalfOpen,
            State::Probing => self.pool.settings().health.is_none(),
            _ => false,
        }
    }

    /// Requests that may be open at a server: one while it is on trial.
    fn limit(&self, member: &Member) -> u32 {
        let panic = self.pool.is_in_panic() && self.circuit(member) != Circuit::HalfOpen;
        if !panic && self.is_on_trial(member) { 1 } else { member.max_connections }
    }

    /// A server whose turn it is to be tried: each in a tenth of all picks, or they would wait for ever under a rule that
    /// finds them slow or heavy.
    pub(super) fn trial(&self, draws: &mut Draws) -> Option<usize> {
        let settings = self.pool.settings();
        if settings.health.is_some() && settings.breaker.is_none() {
            return None;
        }
        let is_due = |index: &usize| {
            let member = &self.pool.members()[*index];
            self.is_on_trial(member)
                && member.weight > 0
                && !self.ask.tried.holds(member.server.id())
                && self.can(member, Fit::Trial)
                && draws.below(TRIAL_EVERY) == 0
        };
        (0..self.len()).find(is_due)
    }

    /// The server the client belongs to, when that one is fit, has room and was not tried. Its weight may be 0.
    pub(super) fn stuck_to(&self) -> Option<usize> {
        let id = self.ask.sticky?;
        let index = self.pool.members().iter().position(|member| member.server.id() == id)?;
        let member = &self.pool.members()[index];
        (!self.ask.tried.holds(id) && self.can(member, Fit::Healthy)).then_some(index)
    }

    /// Takes a place; `None` when another worker was faster.
    pub(super) fn take(&self, index: usize) -> Option<InFlight> {
        let member = self.pool.members().get(index)?;
        let place = member.server.begin(self.limit(member))?;
        if self.circuit(member) == Circuit::HalfOpen {
            member.server.breaker.begin_trial();
        }
        Some(place)
    }

    /// Why nobody was found.
    pub(super) fn nobody(&self) -> Pick {
        if self.saw_full.get() {
            Pick::Wait
        } else if self.saw_open.get() {
            Pick::NoneUp(NoneUp::CircuitsOpen)
        } else if self.saw_any.get() {
            Pick::NoneUp(NoneUp::Sick)
        } else {
            Pick::NoneUp(NoneUp::Empty)
        }
    }
}
