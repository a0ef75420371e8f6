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
use crate::server::{InFlight, Server, Standing, State};
use madang_host::draws::Draws;

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

/// How many of the last passes take servers that were tried before.
const AGAIN: usize = 2;

/// The servers as one pick sees them.
pub(super) struct Candidates<'a> {
    pub(super) pool: &'a Pool,
    pub(super) ask: &'a Ask<'a>,
    pub(super) now: Instant,
    panic: bool,
    /// Whether health checks try an ejected server; else requests must.
    checked: bool,
    /// Whether there are circuits to look at.
    circuits: bool,
    pass: Cell<Pass>,
    saw_full: Cell<bool>,
    saw_open: Cell<bool>,
    saw_any: Cell<bool>,
}

/// A server at one glance.
#[derive(Clone, Copy)]
struct Glance {
    standing: Standing,
    circuit: Circuit,
    /// Requests have to show that it is well again.
    on_trial: bool,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(pool: &'a Pool, ask: &'a Ask<'a>, now: Instant) -> Self {
        let no = || Cell::new(false);
        Self {
            pool,
            ask,
            now,
            panic: pool.is_in_panic(),
            checked: pool.settings().health.is_some(),
            circuits: pool.settings().breaker.is_some(),
            pass: Cell::new(CALM[0]),
            saw_full: no(),
            saw_open: no(),
            saw_any: no(),
        }
    }

    /// The passes of this pick. Without servers tried before, the last ones would only repeat the first.
    pub(super) fn passes(&self) -> &'static [Pass] {
        let all: &[Pass] = if self.panic { &PANIC } else { &CALM };
        if self.ask.tried.is_empty() { &all[..all.len() - AGAIN] } else { all }
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
        let glance = self.glance(member);
        if !self.can(member, glance, pass.fit) {
            return 0;
        }
        (u32::from(member.weight) * u32::from(glance.standing.share)).max(1)
    }

    fn glance(&self, member: &Member) -> Glance {
        let standing = member.server.standing();
        let circuit = if self.circuits { member.server.circuit(self.now) } else { Circuit::Closed };
        let on_trial = match standing.state {
            State::Up => circuit == Circuit::HalfOpen,
            State::Probing => !self.checked,
            _ => false,
        };
        Glance { standing, circuit, on_trial }
    }

    /// Whether a server is fit and has room.
    fn can(&self, member: &Member, glance: Glance, fit: Fit) -> bool {
        if glance.standing.state.is_taken_out() {
            return false;
        }
        self.saw_any.set(true);
        let fits = match fit {
            Fit::Healthy => glance.standing.state == State::Up && !glance.on_trial,
            Fit::Trial => glance.on_trial,
            Fit::Answering => !glance.standing.silent,
            Fit::Any => true,
        };
        if !fits {
            return false;
        }
        if glance.circuit == Circuit::Open {
            self.saw_open.set(true);
            return false;
        }
        let limit = self.limit(member, glance);
        let room = limit == 0 || member.server.in_flight() < limit;
        if !room {
            self.saw_full.set(true);
        }
        room
    }

    /// Requests that may be open at a server: one while it is on trial.
    fn limit(&self, member: &Member, glance: Glance) -> u32 {
        let one = glance.circuit == Circuit::HalfOpen || (glance.on_trial && !self.panic);
        if one { 1 } else { member.max_connections }
    }

    /// A server on trial, in one of [`TRIAL_EVERY`] picks: or it would wait for ever under a rule that finds it slow or
    /// heavy.
    pub(super) fn trial(&self, draws: &mut Draws) -> Option<usize> {
        if (self.checked && !self.circuits) || draws.below(TRIAL_EVERY) != 0 {
            return None;
        }
        let is_due = |index: &usize| {
            let member = &self.pool.members()[*index];
            member.weight > 0
                && !self.ask.tried.holds(member.server.id())
                && self.can(member, self.glance(member), Fit::Trial)
        };
        let from = usize::try_from(draws.below(self.len() as u64)).unwrap_or_default();
        (from..self.len()).chain(0..from).find(is_due)
    }

    /// The server the client belongs to, when that one is fit, has room and was not tried. Its weight may be 0.
    pub(super) fn stuck_to(&self) -> Option<usize> {
        let id = self.ask.sticky?;
        let index = self.pool.members().iter().position(|member| member.server.id() == id)?;
        let member = &self.pool.members()[index];
        let can = !self.ask.tried.holds(id) && self.can(member, self.glance(member), Fit::Healthy);
        can.then_some(index)
    }

    /// Takes a place; `None` when another worker was faster.
    pub(super) fn take(&self, index: usize) -> Option<InFlight> {
        let member = self.pool.members().get(index)?;
        let glance = self.glance(member);
        let place = member.server.begin(self.limit(member, glance))?;
        if glance.circuit == Circuit::HalfOpen {
            member.server.breaker.begin_trial();
        }
        Some(place)
    }

    /// Why nobody was found.
    pub(super) fn nobody(&self) -> Pick {
        if self.saw_full.get() || self.pool.awaits_names() {
            Pick::Wait
        } else if self.pool.members().is_empty() {
            Pick::NoneUp(NoneUp::NoAddress)
        } else if self.saw_open.get() {
            Pick::NoneUp(NoneUp::CircuitsOpen)
        } else if self.saw_any.get() {
            Pick::NoneUp(NoneUp::Sick)
        } else {
            Pick::NoneUp(NoneUp::Empty)
        }
    }
}
